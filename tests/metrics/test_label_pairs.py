"""What all scores share: the order of their arguments, unlabelled frames, ignored classes, pooling, and bad input."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from label_pairs import judged, labellings, same

from segcrf import metrics
from segcrf._validation import InputError, InputTypeError
from segcrf.testing.errors import rejects

# ------------------------------------------------------------------------------------------------------------- order
COMPARING = [
    metrics.band_ratio,
    metrics.boundary_error,
    metrics.boundary_f1,
    metrics.boundary_scores,
    metrics.cohen_kappa,
    metrics.covering,
    metrics.edit_score,
    metrics.evaluate,
    metrics.frame_accuracy,
    metrics.hausdorff,
    metrics.macro_f1,
    metrics.reliability,
    metrics.segment_f1,
    metrics.segmentation_entropy,
]


@pytest.mark.parametrize("score", COMPARING)
def test_truth_comes_first_and_the_rest_is_named(score):
    first, second, *rest = inspect.signature(score).parameters.values()
    assert (first.name, second.name) in (("true", "pred"), ("true", "probabilities"))
    assert {parameter.kind for parameter in rest} <= {inspect.Parameter.KEYWORD_ONLY}


def test_scores_that_are_not_symmetric_prove_the_order():
    true, pred = [[0, 0, 0, 0, 1, 1, 1, 1]], [[0, 1, 0, 0, 1, 1, 0, 1]]
    # Two true bands and six predicted ones; one true boundary, found, among five predicted ones.
    assert metrics.band_ratio(true, pred) == 3.0
    assert metrics.boundary_scores(true, pred, margin=0)[:2] == (20.0, 100.0)
    assert metrics.boundary_error(true, [[0] * 6 + [1] * 2], margin=3)[0, 1].mean == 2.0  # too late
    missed, extra = (metrics.boundary_error(true, pred, margin=0)[kind] for kind in ((0, 1), (1, 0)))
    assert (missed.found, missed.missed, missed.extra) == (1, 0, 2)
    assert (extra.found, extra.missed, extra.extra) == (0, 0, 2)
    assert metrics.segmentation_entropy(true, pred).over < metrics.segmentation_entropy(true, pred).under == 1.0
    # Each true band of 4 frames is covered by 2 of them at best.
    assert metrics.covering(true, pred) == 50.0 != metrics.covering(pred, true)
    row = metrics.evaluate(true, pred)
    assert row["band_ratio"] == 3.0
    # Unlabelled frames are those of the truth: a frame without prediction is wrong.
    assert metrics.frame_accuracy([[0, -100]], [[0, 0]]) == 100.0
    assert metrics.frame_accuracy([[0, 0]], [[0, -100]]) == 50.0


# ------------------------------------------------------------------------------------------------------- conventions
def test_pooling_moves_the_score():
    pred, true = [[0, 0, 0, 0], [0, 1]], [[0, 0, 0, 0], [1, 0]]
    assert metrics.frame_accuracy(true, pred) == pytest.approx(400 / 6)
    assert metrics.frame_accuracy(true, pred, pooled=False) == 50.0
    assert metrics.segment_f1(true, pred) == pytest.approx(200 / 6)
    assert metrics.segment_f1(true, pred, pooled=False) == 50.0
    assert metrics.edit_score(true, pred) == 50.0
    assert metrics.edit_score(true, pred, pooled=True) == pytest.approx(100 / 3)


def test_leaving_a_background_out_by_hand():
    # 0 is background.     two frames right of four; the 1 is found late, the 2 is cut in two
    true, pred = [[0, 0, 1, 1, 2, 2, 0]], [[0, 0, 0, 1, 2, 0, 2]]
    assert metrics.frame_accuracy(true, pred, ignore=[0]) == 50.0
    assert metrics.frame_accuracy(true, pred) == pytest.approx(400 / 7)
    # Of 1: one of two found, nothing else called so. Of 2: the same; the last frame does not count.
    assert metrics.macro_f1(true, pred, ignore=[0]) == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)
    assert metrics.band_ratio(true, pred, ignore=[0]) == 3 / 2
    assert metrics.covering(true, pred, ignore=[0]) == pytest.approx(50.0)
    # All that is left is the boundary between 1 and 2, found where it is.
    assert metrics.boundary_scores(true, pred, margin=0, ignore=[0]) == (100.0, 100.0, 100.0)
    assert metrics.hausdorff(true, pred, ignore=[0]) == 0.0
    assert list(metrics.boundary_error(true, pred, margin=9, ignore=[0])) == [(1, 2)]


SCORES = {
    "accuracy": metrics.frame_accuracy,
    "macro_f1": metrics.macro_f1,
    "kappa": lambda *case: 100 * metrics.cohen_kappa(*case),
    "edit": metrics.edit_score,
    "f1": metrics.segment_f1,
    "f1 optimal": lambda *case: metrics.segment_f1(*case, matching="optimal"),
    "f1 ignoring": lambda *case: metrics.segment_f1(*case, ignore=[0]),
    "covering": metrics.covering,
    "boundary_f1": lambda *case: metrics.boundary_f1(*case, margin=1),
    "precision": lambda *case: metrics.boundary_scores(*case, margin=1).precision,
    "recall": lambda *case: metrics.boundary_scores(*case, margin=1).recall,
    "band_ratio": lambda *case: 100 * metrics.band_ratio(*case),
    "over": lambda *case: 100 * metrics.segmentation_entropy(*case).over,
    "under": lambda *case: 100 * metrics.segmentation_entropy(*case).under,
    "hausdorff": lambda *case: 100 - metrics.hausdorff(*case),
    # The other convention of each.
    "accuracy per recording": lambda *case: metrics.frame_accuracy(*case, pooled=False),
    "macro_f1 per recording": lambda *case: metrics.macro_f1(*case, pooled=False),
    "kappa per recording": lambda *case: 100 * metrics.cohen_kappa(*case, pooled=False),
    "edit pooled": lambda *case: metrics.edit_score(*case, pooled=True),
    "f1 per recording": lambda *case: metrics.segment_f1(*case, pooled=False),
    "covering pooled": lambda *case: metrics.covering(*case, pooled=True),
    "boundary_f1 per recording": lambda *case: metrics.boundary_f1(*case, margin=1, pooled=False),
    "boundary_f1 nearest": lambda *case: metrics.boundary_f1(*case, margin=1, matching="nearest"),
    "band_ratio per recording": lambda *case: 100 * metrics.band_ratio(*case, pooled=False),
    "over pooled": lambda *case: 100 * metrics.segmentation_entropy(*case, pooled=True).over,
    "under pooled": lambda *case: 100 * metrics.segmentation_entropy(*case, pooled=True).under,
    "hausdorff pooled": lambda *case: 100 - metrics.hausdorff(*case, pooled=True),
}


every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


@every_score
@given(case=labellings())
def test_a_perfect_prediction_scores_in_full(score, case):
    true, _ = case
    assume(judged(true, true))
    assert score(true, true) == pytest.approx(100)


@every_score
@given(case=labellings(), seed=st.integers(0, 9))
def test_what_is_predicted_where_nothing_is_labelled_does_not_matter(score, case, seed):
    true, pred = case
    rng = np.random.default_rng(seed)
    other = [np.where(t == -100, rng.integers(0, 3, len(t)), p) for p, t in zip(pred, true, strict=True)]
    same(score(true, other), score(true, pred))


@every_score
@given(case=labellings())
def test_recordings_without_a_label_do_not_matter(score, case):
    true, pred = case
    nothing = [np.array([0, 1]), np.array([], dtype=np.int64)]
    none = [np.array([-100, -100]), np.array([], dtype=np.int64)]
    same(score(none + true, nothing + pred), score(true, pred))


@every_score
@given(case=labellings())
def test_a_change_of_names_changes_nothing(score, case):
    names = np.array(["walk", "rest", "run", ""])
    named = [[names[np.where(labels == -100, 3, labels)] for labels in side] for side in case]
    if score is not SCORES["f1 ignoring"] and any(len(labels) for labels in case[0]):
        same(score(*named), score(*case))


# Each score that leaves classes out, with a background in the way.
IGNORING = {
    "accuracy": lambda true, pred, ignore: metrics.frame_accuracy(true, pred, ignore=ignore),
    "macro_f1": lambda true, pred, ignore: metrics.macro_f1(true, pred, ignore=ignore),
    "kappa": lambda true, pred, ignore: metrics.cohen_kappa(true, pred, ignore=ignore),
    "edit": lambda true, pred, ignore: metrics.edit_score(true, pred, ignore=ignore),
    "f1": lambda true, pred, ignore: metrics.segment_f1(true, pred, ignore=ignore),
    "covering": lambda true, pred, ignore: metrics.covering(true, pred, ignore=ignore),
    "band_ratio": lambda true, pred, ignore: metrics.band_ratio(true, pred, ignore=ignore),
    "entropies": lambda true, pred, ignore: metrics.segmentation_entropy(true, pred, ignore=ignore),
    "boundary_f1": lambda true, pred, ignore: metrics.boundary_f1(true, pred, margin=1, ignore=ignore),
    "boundary_error": lambda true, pred, ignore: list(
        metrics.boundary_error(true, pred, margin=1, ignore=ignore).values()
    ),
    "hausdorff": lambda true, pred, ignore: metrics.hausdorff(true, pred, ignore=ignore),
}


every_ignoring = pytest.mark.parametrize("score", IGNORING.values(), ids=IGNORING.keys())


@every_ignoring
def test_ignored_classes_are_numbers_or_names_in_any_collection(score):
    pred, true = [[0, 0, 1, 1, 2, 2, 1]], [[0, 1, 1, 1, 1, 2, 0]]
    names = np.array(["a", "b", "c"])
    expected = score(true, pred, [0, 2])
    assert score(true, pred, (2, 0)) == expected
    assert score(true, pred, np.array([0, 2])) == expected
    assert score(true, pred, torch.tensor([0, 2])) == expected
    assert score([names[true[0]]], [names[pred[0]]], ["a", "c"]) == expected
    assert score([names[true[0]]], [names[pred[0]]], {"a", "c"}) == expected
    assert score([names[true[0]]], [names[pred[0]]], names[[0, 2]]) == expected
    assert score(true, pred, [0, 2, 7]) == expected  # a number that does not occur


NAMED, NUMBERED = [["rest", "walk"]], [[0, 1]]


WANTS_NAMES, WANTS_NUMBERS = "class names, as the labels are", "class numbers, as the labels are"


@pytest.mark.parametrize(
    ("labels", "ignore", "kind", "got", "expected", "advice"),
    [
        (NAMED, "rest", InputTypeError, "'rest'", "a list of classes", r"write \['rest'\]"),
        (NAMED, ["rset"], InputError, "class 'rset'", "one that occurs .*: rest, walk", "correct its spelling"),
        (NAMED, [""], InputError, "''", "a class", "leave it out"),
        (NAMED, [0], InputTypeError, "class 0", WANTS_NAMES, "names"),
        (NAMED, [True], InputTypeError, "class True", WANTS_NAMES, "names"),
        (NUMBERED, 0, InputTypeError, "0", "a list of classes", r"write \[0\]"),
        (NUMBERED, ["rest"], InputTypeError, "class 'rest'", WANTS_NUMBERS, "numbers"),
        (NUMBERED, [True], InputTypeError, "class True", WANTS_NUMBERS, "numbers"),
        (NUMBERED, [np.True_], InputTypeError, "class np.True_", WANTS_NUMBERS, "numbers"),
        (NUMBERED, [1.0], InputTypeError, "class 1.0", WANTS_NUMBERS, "numbers"),
        (NUMBERED, [-100], InputError, "-100", "a class", "frames without a label never count"),
    ],
    ids=str,
)
@every_ignoring
def test_what_cannot_be_ignored_is_named(score, labels, ignore, kind, got, expected, advice):
    with rejects("ignore", kind=kind, got=got, expected=expected, advice=advice):
        score(labels, labels, ignore)


@every_ignoring
def test_without_a_label_any_class_may_be_ignored(score):
    for true, pred in (([], []), ([[]], [[]]), ([[""]], [["a"]]), ([[""]], [[""]]), ([[-100]], [[0]])):
        for ignore in (["a"], [0], ["b"]):
            score(true, pred, ignore)
        with rejects("ignore", kind=InputTypeError, got="'a'", expected="a list of classes"):
            score(true, pred, "a")


def test_the_classes_to_average_are_checked_alike():
    pred, true = [["a", "b"]], [["a", "c"]]
    assert metrics.macro_f1(true, pred, classes=["a", "x"]) == 100.0  # a model may know more than occur
    for call in (metrics.macro_f1, metrics.evaluate):
        with rejects("classes", got="class 'x'", expected="one that occurs.*: a, b, c"):
            call(true, pred, classes=["x"])
        with rejects("classes", kind=InputTypeError, got="'a'", expected="a list of classes"):
            call(true, pred, classes="a")


@every_score
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("true", [[], [[]], [[-100, -100]], [[-100], []]], ids=str)
def test_without_any_label_there_is_no_score_and_no_warning(score, true):
    pred = [[0] * len(labels) for labels in true]
    assert math.isnan(score(true, pred))
    assert metrics.boundary_error(true, pred, margin=1) == {}


@every_score
@pytest.mark.filterwarnings("error")
def test_one_band_found_scores_in_full(score):
    assert score([[1, 1, 1]], [[1, 1, 1]]) == pytest.approx(100)
    assert score([[1, -100, 1]], [[1, -100, 1]]) == pytest.approx(100)
    assert metrics.boundary_error([[1, 1, 1]], [[1, 1, 1]], margin=1) == {}


@pytest.mark.filterwarnings("error")
def test_one_band_cut_or_missed():
    assert metrics.edit_score([[1, 1, 1]], [[1, 0, 1]]) == pytest.approx(100 / 3)
    assert metrics.boundary_scores([[1, 1, 1]], [[1, 0, 1]], margin=5) == (0.0, 100.0, 0.0)
    assert metrics.boundary_scores([[1, 0, 1]], [[1, 1, 1]], margin=5) == (100.0, 0.0, 0.0)
    assert metrics.hausdorff([[1, 1, 1]], [[1, 0, 1]]) == 3.0
    assert metrics.hausdorff([[1, 1, 1]], [[1, 0, 1]], sampling_rate=2) == 1.5


@pytest.mark.filterwarnings("error")
def test_no_prediction_at_all_scores_nothing():
    pred, true = [[-100] * 4], [[0, 0, 1, 1]]
    for name in ("accuracy", "macro_f1", "edit", "f1", "f1 optimal", "covering", "boundary_f1", "band_ratio", "over"):
        assert SCORES[name](true, pred) == 0.0, name


@given(labellings(unpredicted=False), st.integers(0, 3))
def test_scores_that_do_not_care_which_side_is_the_truth(case, margin):
    true, pred = case
    whole = [np.maximum(labels, 0) for labels in true]
    for score in (
        metrics.frame_accuracy,
        metrics.macro_f1,
        metrics.cohen_kappa,
        metrics.edit_score,
        metrics.hausdorff,
        lambda t, p: metrics.boundary_f1(t, p, margin=margin),
        lambda t, p: metrics.segment_f1(t, p, matching="optimal"),
    ):
        same(score(pred, whole), score(whole, pred))
    forth, back = metrics.segmentation_entropy(whole, pred), metrics.segmentation_entropy(pred, whole)
    same(forth, back[::-1])


def test_a_gap_splits_bands_and_is_no_boundary():
    true = [[0, 0, -100, 0, 0, -100, 1, 1]]
    assert metrics.band_ratio(true, [[0] * 6 + [1] * 2]) == 1.0
    assert metrics.boundary_scores(true, [[0] * 6 + [1] * 2], margin=0) == (100.0, 100.0, 100.0)
    # A change into frame 4 lies between two labelled frames, a change into or out of frame 5 does not.
    assert metrics.boundary_scores(true, [[0] * 4 + [1] * 4], margin=9) == (0.0, 100.0, 0.0)
    assert metrics.boundary_scores(true, [[0] * 5 + [1] * 3], margin=9) == (100.0, 100.0, 100.0)
    # Orders 0 0 1 and 0 1 1: what the gap parts is two bands on both sides.
    assert metrics.edit_score(true, [[0] * 3 + [1] * 5]) == pytest.approx(200 / 3)


def test_tensors_arrays_batches_and_lists_are_one_input():
    pred, true = [[0, 1, 1], [1, 1, 0]], [[0, 0, 1], [1, -100, -100]]
    expected = metrics.evaluate(true, pred)
    assert metrics.evaluate(torch.tensor(true), torch.tensor(pred)) == expected
    assert metrics.evaluate([torch.tensor(labels) for labels in true], np.array(pred)) == expected


@pytest.mark.parametrize(
    ("true", "pred", "fields"),
    [
        ([[0], [1]], [[0]], {"argument": "pred", "got": "1 recordings", "expected": "2, as in true"}),
        ([[0], [0]], [[0], [0, 1]], {"argument": "pred", "got": "2 frames", "expected": "1 frames", "recording": 1}),
        ([[0]], [[0.5]], {"argument": "pred", "got": "float64", "recording": 0, "kind": InputTypeError}),
        ([[-1]], [[0]], {"argument": "true", "got": "-1", "recording": 0, "frame": 0}),
        ([[0]], [["a"]], {"argument": "pred", "got": "names", "expected": "numbers", "kind": InputTypeError}),
        ([["a"]], [[0]], {"argument": "pred", "got": "numbers", "expected": "names", "kind": InputTypeError}),
        ([[0]], np.array([0]), {"argument": "pred", "got": r"one array of shape \(1,\)"}),
        (np.array([0]), [[0]], {"argument": "true", "got": r"one array of shape \(1,\)"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("score", [metrics.frame_accuracy, metrics.segment_f1, metrics.hausdorff])
def test_labels_that_cannot_be_compared(score, true, pred, fields):
    with rejects(**fields):
        score(true, pred)


CASE = [[0]], [[0]]


@pytest.mark.parametrize(
    ("call", "argument", "got", "expected"),
    [
        (lambda: metrics.segment_f1(*CASE, overlap=0), "overlap", "0", "above 0 and at most 1"),
        (lambda: metrics.segment_f1(*CASE, overlap=50), "overlap", "50", "above 0 and at most 1"),
        (lambda: metrics.segment_f1(*CASE, overlap="0.5"), "overlap", "'0.5'", "above 0 and at most 1"),
        (lambda: metrics.segment_f1(*CASE, matching="best"), "matching", "'best'", "one of 'greedy'"),
        (lambda: metrics.segmentation_entropy(*CASE, by="frame"), "by", "'frame'", "one of 'band'"),
        (lambda: metrics.boundary_f1(*CASE, margin=-1), "margin", "-1", "0 or more frames"),
        (lambda: metrics.boundary_f1(*CASE, margin=math.nan, sampling_rate=10), "margin", "nan", "0 or more seconds"),
        (lambda: metrics.hausdorff(*CASE, sampling_rate=-1), "sampling_rate", "-1", "above 0"),
        (lambda: metrics.boundary_f1(*CASE, margin="5"), "margin", "'5'", "0 or more frames"),
        (lambda: metrics.boundary_f1(*CASE, margin=math.inf), "margin", "inf", "0 or more frames"),
        (lambda: metrics.boundary_error(*CASE, margin=True), "margin", "True", "0 or more frames"),
        (lambda: metrics.boundary_f1(*CASE, margin=1, matching="greedy"), "matching", "'greedy'", "'nearest'"),
    ],
)
def test_arguments_out_of_range(call, argument, got, expected):
    with rejects(argument, got=got, expected=expected):
        call()


@pytest.mark.parametrize(
    "score",
    [
        metrics.frame_accuracy,
        metrics.macro_f1,
        metrics.cohen_kappa,
        metrics.edit_score,
        metrics.segment_f1,
        metrics.covering,
        metrics.band_ratio,
        metrics.segmentation_entropy,
        lambda *case, pooled: metrics.boundary_f1(*case, margin=1, pooled=pooled),
        metrics.hausdorff,
        metrics.evaluate,
    ],
)
def test_pooled_is_yes_or_no(score):
    with rejects("pooled", kind=InputTypeError, got="'per recording'", expected="True or False"):
        score([[0]], [[0]], pooled="per recording")
