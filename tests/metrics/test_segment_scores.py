"""Segment scores against their definitions, by hand, and against other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import (
    bands,
    both_bands,
    cut_case,
    ignored,
    judged,
    labellings,
    long_case,
    reference_covering,
    reference_edit,
    reference_entropies,
    reference_f1,
    same,
)

from segcrf import metrics


@given(
    labellings(max_frames=9),
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]),
    st.booleans(),
    ignored,
    st.sampled_from(["greedy", "optimal"]),
)
def test_segment_f1_is_its_definition(case, threshold, pooled, ignore, matching):
    got = metrics.segment_f1(*case, overlap=threshold, pooled=pooled, ignore=ignore, matching=matching)
    same(got, reference_f1(*case, threshold, pooled, ignore, matching))


@given(labellings(), st.booleans(), ignored)
def test_edit_score_is_its_definition(case, pooled, ignore):
    same(metrics.edit_score(*case, ignore=ignore, pooled=pooled), reference_edit(*case, pooled, ignore))


@given(labellings(), st.booleans(), ignored)
def test_covering_is_its_definition(case, pooled, ignore):
    same(metrics.covering(*case, pooled=pooled, ignore=ignore), reference_covering(*case, pooled, ignore))


@given(labellings(), st.sampled_from(["band", "class"]), st.booleans(), ignored)
def test_segmentation_entropy_is_its_definition(case, by, pooled, ignore):
    got = metrics.segmentation_entropy(*case, by=by, pooled=pooled, ignore=ignore)
    same(got, reference_entropies(*case, by, pooled, ignore))


@given(labellings(), st.booleans(), ignored)
def test_band_ratio_counts_bands(case, pooled, ignore):
    counts = [tuple(map(len, both_bands(pred, true, ignore))) for true, pred in judged(*case)]
    if pooled and counts:
        counts = [tuple(map(sum, zip(*counts, strict=True)))]
    ratios = [p / t if t else math.inf if p else 1.0 for p, t in counts]
    same(metrics.band_ratio(*case, pooled=pooled, ignore=ignore), np.mean(ratios) if ratios else math.nan)


def test_edit_score_by_hand():
    # Orders 0 1 2 0 and 0 2 0: one deletion, four bands.
    assert metrics.edit_score([[0, 0, 2, 0, 0]], [[0, 1, 2, 2, 0]]) == 75.0
    # Without class 0: 1 2 against 2.
    assert metrics.edit_score([[0, 0, 2, 0, 0]], [[0, 1, 2, 2, 0]], ignore=[0]) == 50.0


def test_dropping_an_ignored_band_does_not_merge_its_neighbours():
    # Orders 1 1 and 1, not 1 and 1.
    assert metrics.edit_score([[1, 1, 1]], [[1, 0, 1]], ignore=[0]) == 50.0


def test_segment_f1_by_hand():
    true = [[0] * 10 + [1] * 10]
    # The band of 1 is cut in two by a blip: IoU 4/10 and 5/10, and the 0 inside it is wrong.
    pred = [[0] * 10 + [1] * 4 + [0] + [1] * 5]
    assert metrics.segment_f1(true, pred, overlap=0.5) == pytest.approx(200 * 2 / (4 + 2))
    assert metrics.segment_f1(true, pred, overlap=0.51) == pytest.approx(200 * 1 / (4 + 2))


def test_greedy_matching_loses_a_band_that_optimal_matching_finds():
    pred, true = [[0, 1, 0, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 0, 1, 0, 0]]
    # Both predicted bands of 0 overlap the first true one most (1/5, 3/8); the second is free (2/6).
    assert metrics.segment_f1(true, pred, overlap=0.1, matching="greedy") == pytest.approx(200 * 1 / 6)
    assert metrics.segment_f1(true, pred, overlap=0.1, matching="optimal") == pytest.approx(200 * 2 / 6)


def test_a_predicted_band_is_matched_once():
    pred, true = [[0] * 8], [[0, 0, 0, 1, 0, 0, 0, 0]]
    for matching in ("greedy", "optimal"):
        assert metrics.segment_f1(true, pred, overlap=0.1, matching=matching) == pytest.approx(200 * 1 / (1 + 3))


def test_covering_by_hand():
    # |A| = 4 of IoU 1/2 or 2/6; |A| = 2 of IoU 2/4.
    assert metrics.covering([[0, 0, 0, 0, 1, 1]], [[0, 0, 1, 1, 1, 1]]) == pytest.approx(100 * (4 * 0.5 + 2 * 0.5) / 6)


def test_bands_where_none_are_true_are_infinitely_many():
    assert metrics.band_ratio([[0, 0]], [[0, 1]], ignore=[0]) == math.inf
    assert metrics.band_ratio([[0, 0]], [[0, 0]], ignore=[0]) == 1.0
    assert metrics.segmentation_entropy([[0, 0]], [[0, 0]], ignore=[0]) == (1.0, 1.0)
    assert metrics.segmentation_entropy([[0, 0]], [[0, 1]], ignore=[0]) == (0.0, 0.0)


def test_pooled_distances_and_entropies_by_hand():
    pred, true = [[0, 0, 0, 1], [0, 1, 0, 1]], [[0, 1, 1, 1], [0, 0, 1, 1]]
    assert metrics.hausdorff(true, pred) == 1.5
    assert metrics.hausdorff(true, pred, pooled=True) == 2.0
    # Given the true class of a frame, the predicted one: of 0 in the first recording certain, 0 twice in three of 1; in
    # the second one even chances. Pooled: of three true 0 two are 0, of five true 1 three are 0.
    entropy = lambda *shares: -sum(p * math.log(p) for p in shares) / math.log(2)  # noqa: E731
    each = [3 / 4 * entropy(2 / 3, 1 / 3), 1.0]
    assert metrics.segmentation_entropy(true, pred, by="class").over == pytest.approx(1 - np.mean(each))
    pooled = 3 / 8 * entropy(2 / 3, 1 / 3) + 5 / 8 * entropy(3 / 5, 2 / 5)
    assert metrics.segmentation_entropy(true, pred, by="class", pooled=True).over == pytest.approx(1 - pooled)


def test_entropies_separate_over_from_under_segmentation():
    over = metrics.segmentation_entropy([[0, 0, 0, 0, 1, 1, 1, 1]], [[0, 0, 1, 1, 2, 2, 3, 3]])
    under = metrics.segmentation_entropy([[0, 0, 1, 1, 2, 2, 3, 3]], [[0, 0, 0, 0, 1, 1, 1, 1]])
    assert over == pytest.approx((0.5, 1.0))
    assert under == pytest.approx((1.0, 0.5))


@pytest.mark.filterwarnings("error")
def test_only_ignored_bands_are_nothing_to_find():
    assert metrics.segment_f1([[0, 0]], [[0, 0]], ignore=[0]) == 100.0
    assert metrics.edit_score([[0, 0]], [[0, 0]], ignore=[0]) == 100.0
    assert metrics.segment_f1([[0, 0]], [[0, 1]], ignore=[0]) == 0.0
    assert metrics.edit_score([[0, 0]], [[0, 1]], ignore=[0]) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_edit_distance_is_that_of_torchmetrics(seed):
    text = pytest.importorskip("torchmetrics.functional.text", reason="torchmetrics is an independent reference")
    true, pred = long_case(seed)
    ours, theirs = ("".join(str(label) for label, *_ in bands(side.tolist())) for side in (pred, true))
    distance = float(text.edit_distance([ours], [theirs], reduction="sum"))
    expected = 100 * (1 - distance / max(len(ours), len(theirs)))
    assert metrics.edit_score([true], [pred]) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["band", "class"])
def test_segmentation_entropy_is_that_of_mir_eval(seed, by):
    segment = pytest.importorskip("mir_eval.segment", reason="mir_eval is an independent reference")
    sides = []
    for labels in long_case(seed):
        own = bands(labels.tolist())
        intervals = np.array([[start, end] for _, start, end in own], dtype=float)
        sides += [intervals, [str(i if by == "band" else label) for i, (label, *_) in enumerate(own)]]
    over, under, _ = segment.nce(*sides, frame_size=1.0)
    true, pred = long_case(seed)
    assert metrics.segmentation_entropy([true], [pred], by=by) == pytest.approx((over, under))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["band", "class"])
def test_pooled_entropies_are_those_of_mir_eval_over_all_frames(seed, by):
    segment = pytest.importorskip("mir_eval.segment", reason="mir_eval is an independent reference")
    trues, preds = cut_case(seed)
    sides = []
    for labels in (trues, preds):
        intervals, names = [], []
        for recording, (own, offset) in enumerate(zip(labels, (0, 150, 200), strict=True)):
            for label, start, end in bands(own.tolist()):
                intervals.append([offset + start, offset + end])
                names.append(f"{recording}:{start}" if by == "band" else str(label))
        sides += [np.array(intervals, dtype=float), names]
    over, under, _ = segment.nce(*sides, frame_size=1.0)
    assert metrics.segmentation_entropy(trues, preds, by=by, pooled=True) == pytest.approx((over, under))
