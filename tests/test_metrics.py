"""Scores against definitions written out loop by loop, and against other libraries.

The references below share no code with ``segcrf.metrics``: they follow the papers frame by frame and band by band.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from segcrf import metrics


# --------------------------------------------------------------------------------------------------------- references
def masked(pred, true):
    return [p if t != -100 else -100 for p, t in zip(pred, true, strict=True)]


def bands(labels):
    """(label, start, end) of each run."""
    found, frame = [], 0
    for label, group in itertools.groupby(labels):
        length = len(list(group))
        if label != -100:
            found.append((label, frame, frame + length))
        frame += length
    return found


def without(trues, ignore):
    """Frames of ignored true classes, unlabelled."""
    return [[-100 if label in ignore else label for label in true] for true in trues]


def both_bands(pred, true, ignore=()):
    return [[band for band in bands(side) if band[0] not in ignore] for side in (masked(pred, true), list(true))]


def judged(preds, trues):
    return [(list(p), list(t)) for p, t in zip(preds, trues, strict=True) if any(label != -100 for label in t)]


def reduced(counts, pooled):
    """Percent from (hits, total) of each recording."""
    if not counts:
        return math.nan
    if pooled:
        counts = [(sum(hits for hits, _ in counts), sum(total for _, total in counts))]
    return 100 * sum(hits / total if total else 1 for hits, total in counts) / len(counts)


def averaged(scores):
    scores = [score for score in scores if not math.isnan(score)]
    return sum(scores) / len(scores) if scores else math.nan


def frames_of(preds, trues, ignore, pooled):
    """(predicted, true) of the frames that count, of all recordings or of each."""
    each = [
        [(p, t) for p, t in zip(pred, true, strict=True) if t != -100]
        for pred, true in judged(preds, without(trues, ignore))
    ]
    return [list(itertools.chain(*each))] if pooled else each


def reference_macro_f1(preds, trues, pooled, ignore, classes=None):
    scores = []
    for frames in frames_of(preds, trues, ignore, pooled):
        own = []
        for c in {label for frame in frames for label in frame} - {-100, *ignore}:
            hits = sum(p == t == c for p, t in frames)
            if classes is None or c in classes:
                own.append(200 * hits / (sum(p == c for p, _ in frames) + sum(t == c for _, t in frames)))
        scores.append(averaged(own))
    return averaged(scores)


def reference_kappa(preds, trues, pooled, ignore):
    scores = []
    for frames in frames_of(preds, trues, ignore, pooled):
        if not frames:
            continue
        n = len(frames)
        classes = {label for frame in frames for label in frame}
        chance = sum(sum(p == c for p, _ in frames) * sum(t == c for _, t in frames) for c in classes) / n**2
        scores.append(1 if len(classes) == 1 else (sum(p == t for p, t in frames) / n - chance) / (1 - chance))
    return averaged(scores)


def reference_accuracy(preds, trues, pooled, ignore=()):
    counts = []
    for pred, true in judged(preds, without(trues, ignore)):
        frames = [(p, t) for p, t in zip(pred, true, strict=True) if t != -100]
        counts.append((sum(p == t for p, t in frames), len(frames)))
    return reduced(counts, pooled)


def iou(first, second):
    one, two = set(range(*first[1:])), set(range(*second[1:]))
    return len(one & two) / len(one | two)


def greedy_hits(pred, true, threshold):
    """MS-TCN's eval.py: each predicted band looks up its best true band of the same class."""
    used = [False] * len(true)
    for band in pred:
        overlaps = [iou(band, other) if band[0] == other[0] else 0.0 for other in true]
        best = max(range(len(true)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= threshold and not used[best]:
            used[best] = True
    return sum(used)


def most_pairs(first, second, fits):
    """The size of a largest matching, by trying everything."""
    if not first:
        return 0
    best = most_pairs(first[1:], second, fits)
    for place, other in enumerate(second):
        if fits(first[0], other):
            best = max(best, 1 + most_pairs(first[1:], second[:place] + second[place + 1 :], fits))
    return best


def reference_f1(preds, trues, threshold, pooled, ignore, matching):
    counts = []
    for pred, true in judged(preds, trues):
        ours, theirs = both_bands(pred, true, ignore)
        if matching == "greedy":
            hits = greedy_hits(ours, theirs, threshold)
        else:
            hits = most_pairs(ours, theirs, lambda a, b: a[0] == b[0] and iou(a, b) >= threshold)
        counts.append((2 * hits, len(ours) + len(theirs)))
    return reduced(counts, pooled)


def levenshtein(first, second):
    table = [[i + j if i * j == 0 else 0 for j in range(len(second) + 1)] for i in range(len(first) + 1)]
    for i, j in itertools.product(range(1, len(first) + 1), range(1, len(second) + 1)):
        changed = table[i - 1][j - 1] + (first[i - 1] != second[j - 1])
        table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, changed)
    return table[-1][-1]


def reference_edit(preds, trues, pooled, ignore):
    counts = []
    for pred, true in judged(preds, trues):
        ours, theirs = ([band[0] for band in side] for side in both_bands(pred, true, ignore))
        longest = max(len(ours), len(theirs))
        counts.append((longest - levenshtein(ours, theirs), longest))
    return reduced(counts, pooled)


def reference_covering(preds, trues, pooled, ignore):
    counts = []
    for pred, true in judged(preds, trues):
        ours, theirs = both_bands(pred, true, ignore)
        covered = sum((end - start) * max((iou(band, other) for other in ours), default=0)
                      for band in theirs for _, start, end in [band])  # fmt: skip
        counts.append((covered, sum(end - start for _, start, end in theirs)))
    return reduced(counts, pooled)


def changes(labels, ignore=()):
    return [
        t
        for t in range(1, len(labels))
        if labels[t] != labels[t - 1] and not {-100, *ignore} & {labels[t - 1], labels[t]}
    ]


def nearest_first(ours, theirs, margin):
    """Pairs (predicted, true), the nearest first, at equal distance the earlier true one, then the earlier predicted
    one."""
    ours, theirs, pairs = list(ours), list(theirs), []
    while candidates := [(abs(o - t), t, o) for o in ours for t in theirs if abs(o - t) <= margin]:
        _, frame, guess = min(candidates)
        pairs.append((guess, frame))
        ours.remove(guess)
        theirs.remove(frame)
    return pairs


def reference_boundaries(preds, trues, margin, pooled, ignore, matching):
    counts = []
    for pred, true in judged(preds, trues):
        ours, theirs = changes(masked(pred, true), ignore), changes(true, ignore)
        if matching == "optimal":
            hits = most_pairs(ours, theirs, lambda a, b: abs(a - b) <= margin)
        else:
            hits = len(nearest_first(ours, theirs, margin))
        counts.append((hits, len(ours), len(theirs)))
    return (
        reduced([(hits, ours) for hits, ours, _ in counts], pooled),
        reduced([(hits, theirs) for hits, _, theirs in counts], pooled),
        reduced([(2 * hits, ours + theirs) for hits, ours, theirs in counts], pooled),
    )


def reference_hausdorff(preds, trues, pooled, ignore):
    distances = []
    for pred, true in judged(preds, trues):
        ours, theirs = changes(masked(pred, true), ignore), changes(true, ignore)
        if not ours or not theirs:
            distances.append(len(true) if ours or theirs else 0)
            continue
        forth = max(min(abs(a - b) for b in theirs) for a in ours)
        back = max(min(abs(a - b) for a in ours) for b in theirs)
        distances.append(max(forth, back))
    if pooled:
        return max(distances, default=math.nan)
    return sum(distances) / len(distances) if distances else math.nan


def conditional_entropy_score(of, given_):
    """1 - H(of | given) / log(number of of), from its definition."""
    if len(set(of)) < 2:
        return 1.0
    total = 0.0
    for unit in set(given_):
        inside = [other for other, own in zip(of, given_, strict=True) if own == unit]
        for other in set(inside):
            share = inside.count(other) / len(inside)
            total -= len(inside) / len(of) * share * math.log(share)
    return 1 - total / math.log(len(set(of)))


def reference_entropies(preds, trues, by, pooled, ignore):
    # The unit of each frame of a recording in each of the two labellings.
    recordings = []
    for number, (pred, true) in enumerate(judged(preds, trues)):
        units = [{}, {}]
        for side, own in zip(units, both_bands(pred, true, ignore), strict=True):
            for label, start, end in own:
                unit = (number, start) if by == "band" else label
                side.update({(number, t): unit for t in range(start, end)})
        recordings.append(units)
    if pooled and recordings:
        sides = zip(*recordings, strict=True)
        recordings = [[dict(itertools.chain(*(frames.items() for frames in side))) for side in sides]]
    scores = []
    for units in recordings:
        frames = [t for t in units[1] if t in units[0]]
        ours, theirs = [units[0][t] for t in frames], [units[1][t] for t in frames]
        pair = conditional_entropy_score(ours, theirs), conditional_entropy_score(theirs, ours)
        scores.append(pair if frames else (0.0, 0.0) if any(units) else (1.0, 1.0))
    return np.mean(scores, axis=0) if scores else (math.nan, math.nan)


# --------------------------------------------------------------------------------------------------------- strategies
@st.composite
def labellings(draw, unpredicted=True, max_frames=12, max_recordings=3):
    """Predicted and true labels of up to three short recordings, some of them empty or unlabelled."""
    preds, trues = [], []
    for _ in range(draw(st.integers(0, max_recordings))):
        frames = draw(st.integers(0, max_frames))
        own = st.lists(st.sampled_from([0, 1, 2] + [-100] * unpredicted), min_size=frames, max_size=frames)
        theirs = st.lists(st.sampled_from([0, 0, 1, 2, -100]), min_size=frames, max_size=frames)
        preds.append(np.array(draw(own), dtype=np.int64))
        trues.append(np.array(draw(theirs), dtype=np.int64))
    return preds, trues


ignored = st.sampled_from([(), (0,), (1, 2)])


def same(value, expected):
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9)


# --------------------------------------------------------------------------------------------- against the definitions
@given(labellings(), st.booleans(), ignored)
def test_frame_accuracy_is_its_definition(case, pooled, ignore):
    same(metrics.frame_accuracy(*case, pooled, ignore=ignore), reference_accuracy(*case, pooled, ignore))


@given(labellings(), st.booleans(), ignored, st.sampled_from([None, (0, 1), (7,)]))
def test_macro_f1_is_its_definition(case, pooled, ignore, classes):
    got = metrics.macro_f1(*case, classes, pooled=pooled, ignore=ignore)
    same(got, reference_macro_f1(*case, pooled, ignore, classes))


@given(labellings(), st.booleans(), ignored)
def test_cohen_kappa_is_its_definition(case, pooled, ignore):
    same(metrics.cohen_kappa(*case, pooled=pooled, ignore=ignore), reference_kappa(*case, pooled, ignore))


@given(
    labellings(max_frames=9),
    st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0]),
    st.booleans(),
    ignored,
    st.sampled_from(["greedy", "optimal"]),
)
def test_segment_f1_is_its_definition(case, threshold, pooled, ignore, matching):
    got = metrics.segment_f1(*case, threshold, pooled, ignore, matching=matching)
    same(got, reference_f1(*case, threshold, pooled, ignore, matching))


@given(labellings(), st.booleans(), ignored)
def test_edit_score_is_its_definition(case, pooled, ignore):
    same(metrics.edit_score(*case, ignore, pooled), reference_edit(*case, pooled, ignore))


@given(labellings(), st.booleans(), ignored)
def test_covering_is_its_definition(case, pooled, ignore):
    same(metrics.covering(*case, pooled, ignore=ignore), reference_covering(*case, pooled, ignore))


@given(
    labellings(max_frames=9),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([(), (), (0,)]),
    st.sampled_from(["optimal", "nearest"]),
)
def test_boundary_scores_are_their_definition(case, margin, pooled, ignore, matching):
    options = {"pooled": pooled, "ignore": ignore, "matching": matching}
    got = metrics.boundary_scores(*case, margin, **options)
    same(got, reference_boundaries(*case, margin, pooled, ignore, matching))
    same(metrics.boundary_f1(*case, margin, **options), got.f1)


@given(labellings(), st.booleans(), st.sampled_from([(), (), (0,)]))
def test_hausdorff_is_its_definition(case, pooled, ignore):
    same(metrics.hausdorff(*case, pooled=pooled, ignore=ignore), reference_hausdorff(*case, pooled, ignore))


@given(labellings(), st.sampled_from(["band", "class"]), st.booleans(), ignored)
def test_segmentation_entropy_is_its_definition(case, by, pooled, ignore):
    got = metrics.segmentation_entropy(*case, by, pooled=pooled, ignore=ignore)
    same(got, reference_entropies(*case, by, pooled, ignore))


@given(labellings(), st.booleans(), ignored)
def test_band_ratio_counts_bands(case, pooled, ignore):
    counts = [tuple(map(len, both_bands(pred, true, ignore))) for pred, true in judged(*case)]
    if pooled and counts:
        counts = [tuple(map(sum, zip(*counts, strict=True)))]
    ratios = [p / t if t else math.inf if p else 1.0 for p, t in counts]
    same(metrics.band_ratio(*case, pooled, ignore=ignore), np.mean(ratios) if ratios else math.nan)


@given(labellings(max_frames=9), st.integers(0, 4), st.sampled_from([(), (), (0,)]))
def test_boundary_error_matches_nearest_first_within_a_pair_of_classes(case, margin, ignore):
    expected = defaultdict(lambda: ([], [0, 0]))
    for pred, true in judged(*case):
        sides = [masked(pred, true), true]
        kinds = [defaultdict(list), defaultdict(list)]
        for labels, kind in zip(sides, kinds, strict=True):
            for t in changes(labels, ignore):
                kind[labels[t - 1], labels[t]].append(t)
        for pair in set(kinds[0]) | set(kinds[1]):
            pairs = nearest_first(kinds[0][pair], kinds[1][pair], margin)
            errors, counts = expected[pair]
            errors += [guess - frame for guess, frame in pairs]
            counts[0] += len(kinds[1][pair]) - len(pairs)
            counts[1] += len(kinds[0][pair]) - len(pairs)
    got = metrics.boundary_error(*case, margin, ignore=ignore)
    assert set(got) == set(expected)
    for pair, (errors, (missed, extra)) in expected.items():
        assert (got[pair].found, got[pair].missed, got[pair].extra) == (len(errors), missed, extra)
        # Ties across recordings are never compared, so the errors are the same numbers in some order.
        same(got[pair].mean, np.mean(errors) if errors else math.nan)
        same(got[pair].sd, np.std(errors) if errors else math.nan)


# ----------------------------------------------------------------------------------------------------------- by hand
def test_edit_score_by_hand():
    # Orders 0 1 2 0 and 0 2 0: one deletion, four bands.
    assert metrics.edit_score([[0, 1, 2, 2, 0]], [[0, 0, 2, 0, 0]]) == 75.0
    # Without class 0: 1 2 against 2.
    assert metrics.edit_score([[0, 1, 2, 2, 0]], [[0, 0, 2, 0, 0]], ignore=[0]) == 50.0


def test_dropping_an_ignored_band_does_not_merge_its_neighbours():
    # Orders 1 1 and 1, not 1 and 1.
    assert metrics.edit_score([[1, 0, 1]], [[1, 1, 1]], ignore=[0]) == 50.0


def test_segment_f1_by_hand():
    true = [[0] * 10 + [1] * 10]
    # The band of 1 is cut in two by a blip: IoU 4/10 and 5/10, and the 0 inside it is wrong.
    pred = [[0] * 10 + [1] * 4 + [0] + [1] * 5]
    assert metrics.segment_f1(pred, true, 0.5) == pytest.approx(200 * 2 / (4 + 2))
    assert metrics.segment_f1(pred, true, 0.51) == pytest.approx(200 * 1 / (4 + 2))


def test_greedy_matching_loses_a_band_that_optimal_matching_finds():
    pred, true = [[0, 1, 0, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 0, 1, 0, 0]]
    # Both predicted bands of 0 overlap the first true one most (1/5, 3/8); the second is free (2/6).
    assert metrics.segment_f1(pred, true, 0.1, matching="greedy") == pytest.approx(200 * 1 / 6)
    assert metrics.segment_f1(pred, true, 0.1, matching="optimal") == pytest.approx(200 * 2 / 6)


def test_a_predicted_band_is_matched_once():
    pred, true = [[0] * 8], [[0, 0, 0, 1, 0, 0, 0, 0]]
    for matching in ("greedy", "optimal"):
        assert metrics.segment_f1(pred, true, 0.1, matching=matching) == pytest.approx(200 * 1 / (1 + 3))


def test_pooling_moves_the_score():
    pred, true = [[0, 0, 0, 0], [0, 1]], [[0, 0, 0, 0], [1, 0]]
    assert metrics.frame_accuracy(pred, true) == pytest.approx(400 / 6)
    assert metrics.frame_accuracy(pred, true, pooled=False) == 50.0
    assert metrics.segment_f1(pred, true) == pytest.approx(200 / 6)
    assert metrics.segment_f1(pred, true, pooled=False) == 50.0
    assert metrics.edit_score(pred, true) == 50.0
    assert metrics.edit_score(pred, true, pooled=True) == pytest.approx(100 / 3)


def test_covering_by_hand():
    # |A| = 4 of IoU 1/2 or 2/6; |A| = 2 of IoU 2/4.
    assert metrics.covering([[0, 0, 1, 1, 1, 1]], [[0, 0, 0, 0, 1, 1]]) == pytest.approx(100 * (4 * 0.5 + 2 * 0.5) / 6)


def test_boundary_error_by_hand_in_frames_and_seconds():
    true = [[0] * 10 + [1] * 10 + [0] * 10, [0] * 5 + [1] * 5]
    pred = [[0] * 12 + [1] * 7 + [0] * 11, [0] * 9 + [1]]
    errors = metrics.boundary_error(pred, true, margin=3)
    assert errors[0, 1] == metrics.BoundaryError(mean=2.0, sd=0.0, found=1, missed=1, extra=1)
    assert errors[1, 0] == metrics.BoundaryError(mean=-1.0, sd=0.0, found=1, missed=0, extra=0)
    seconds = metrics.boundary_error(pred, true, margin=0.04, sampling_rate=100)
    assert seconds[0, 1] == pytest.approx((0.03, 0.01, 2, 0, 0))


def test_the_nearest_pair_may_cost_another_its_partner():
    # Boundaries at 2 and 4, found at 4 and 6: in order both are 2 late, nearest first one is right and one is lost.
    true, pred = [[0, 0, 1, 1, 2, 2, 2, 2]], [[0, 0, 0, 0, 1, 1, 2, 2]]
    assert metrics.boundary_f1(pred, true, 2) == 100.0
    assert metrics.boundary_f1(pred, true, 2, matching="nearest") == 50.0


def test_leaving_a_background_out_by_hand():
    # 0 is background.     two frames right of four; the 1 is found late, the 2 is cut in two
    true, pred = [[0, 0, 1, 1, 2, 2, 0]], [[0, 0, 0, 1, 2, 0, 2]]
    assert metrics.frame_accuracy(pred, true, ignore=[0]) == 50.0
    assert metrics.frame_accuracy(pred, true) == pytest.approx(400 / 7)
    # Of 1: one of two found, nothing else called so. Of 2: the same; the last frame does not count.
    assert metrics.macro_f1(pred, true, ignore=[0]) == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)
    assert metrics.band_ratio(pred, true, ignore=[0]) == 3 / 2
    assert metrics.covering(pred, true, ignore=[0]) == pytest.approx(50.0)
    # All that is left is the boundary between 1 and 2, found where it is.
    assert metrics.boundary_scores(pred, true, 0, ignore=[0]) == (100.0, 100.0, 100.0)
    assert metrics.hausdorff(pred, true, ignore=[0]) == 0.0
    assert list(metrics.boundary_error(pred, true, 9, ignore=[0])) == [(1, 2)]


def test_bands_where_none_are_true_are_infinitely_many():
    assert metrics.band_ratio([[0, 1]], [[0, 0]], ignore=[0]) == math.inf
    assert metrics.band_ratio([[0, 0]], [[0, 0]], ignore=[0]) == 1.0
    assert metrics.segmentation_entropy([[0, 0]], [[0, 0]], ignore=[0]) == (1.0, 1.0)
    assert metrics.segmentation_entropy([[0, 1]], [[0, 0]], ignore=[0]) == (0.0, 0.0)


def test_pooled_distances_and_entropies_by_hand():
    pred, true = [[0, 0, 0, 1], [0, 1, 0, 1]], [[0, 1, 1, 1], [0, 0, 1, 1]]
    assert metrics.hausdorff(pred, true) == 1.5
    assert metrics.hausdorff(pred, true, pooled=True) == 2.0
    # Given the true class of a frame, the predicted one: of 0 in the first recording certain, 0 twice in three of 1; in
    # the second one even chances. Pooled: of three true 0 two are 0, of five true 1 three are 0.
    entropy = lambda *shares: -sum(p * math.log(p) for p in shares) / math.log(2)  # noqa: E731
    each = [3 / 4 * entropy(2 / 3, 1 / 3), 1.0]
    assert metrics.segmentation_entropy(pred, true, "class").over == pytest.approx(1 - np.mean(each))
    pooled = 3 / 8 * entropy(2 / 3, 1 / 3) + 5 / 8 * entropy(3 / 5, 2 / 5)
    assert metrics.segmentation_entropy(pred, true, "class", pooled=True).over == pytest.approx(1 - pooled)


def test_a_margin_in_seconds_is_the_same_margin_in_frames():
    for frames in range(60):
        true, pred = [[0] * 100 + [1] * 100], [[0] * (100 + frames) + [1] * (100 - frames)]
        # 0.29 * 100 is 28.999999999999996.
        assert metrics.boundary_f1(pred, true, margin=frames / 100, sampling_rate=100) == 100.0
        assert metrics.boundary_f1(pred, true, margin=(frames - 1) / 100 if frames else 0, sampling_rate=100) == (
            100.0 if frames == 0 else 0.0
        )


def test_entropies_tell_over_from_under_segmentation():
    over = metrics.segmentation_entropy([[0, 0, 1, 1, 2, 2, 3, 3]], [[0, 0, 0, 0, 1, 1, 1, 1]])
    under = metrics.segmentation_entropy([[0, 0, 0, 0, 1, 1, 1, 1]], [[0, 0, 1, 1, 2, 2, 3, 3]])
    assert over == pytest.approx((0.5, 1.0))
    assert under == pytest.approx((1.0, 0.5))


def test_evaluate_is_the_standard_row():
    pred, true = [[0, 0, 1, 0, 2, 2], [1, 1]], [[0, 0, 0, 1, 2, 2], [1, -100]]
    row = metrics.evaluate(pred, true, ignore=[0], pooled=False)
    assert list(row) == ["accuracy", "macro_f1", "edit", "f1@10", "f1@25", "f1@50", "band_ratio"]
    assert row["accuracy"] == metrics.frame_accuracy(pred, true, pooled=False)
    assert row["edit"] == metrics.edit_score(pred, true, ignore=[0])
    assert row["f1@25"] == metrics.segment_f1(pred, true, 0.25, pooled=False, ignore=[0])
    assert row["band_ratio"] == metrics.band_ratio(pred, true, pooled=False)
    assert metrics.evaluate(pred, true, classes=[2])["macro_f1"] == 100.0


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ignore", [(), (0, 2)])
@pytest.mark.parametrize("matching", ["greedy", "optimal"])
def test_the_line_says_how_the_standard_row_is_counted(pooled, ignore, matching):
    rng = np.random.default_rng(1)
    case = [[rng.integers(0, 4, frames) for frames in (8, 60)] for _ in range(2)]
    row = metrics.evaluate(*case, ignore=ignore, pooled=pooled, matching=matching)
    line = metrics.conventions(ignore=ignore, pooled=pooled, matching=matching)
    told = dict(part.split(": ") for part in line.split("; ") if ": " in part)
    named = [int(c) for c in told["classes left out of edit and F1@k"].replace("none", "").split(", ") if c]
    for how, together in (("pooled over recordings", True), ("mean over recordings", False)):
        for score in told[how].split(", "):
            {
                "accuracy": lambda p=together: same(row["accuracy"], metrics.frame_accuracy(*case, p)),
                "macro F1": lambda p=together: same(row["macro_f1"], metrics.macro_f1(*case, pooled=p)),
                "edit": lambda p=together: same(row["edit"], metrics.edit_score(*case, named, p)),
                "bands pred/true": lambda p=together: same(row["band_ratio"], metrics.band_ratio(*case, p)),
                f"F1@k ({matching} matching)": lambda p=together: same(
                    [row[f"f1@{k}"] for k in (10, 25, 50)],
                    [metrics.segment_f1(*case, k / 100, p, named, matching=matching) for k in (10, 25, 50)],
                ),
            }[score]()
    assert "unlabelled frames left out" in line


# -------------------------------------------------------------------------------------------------------- properties
SCORES = {
    "accuracy": metrics.frame_accuracy,
    "macro_f1": metrics.macro_f1,
    "kappa": lambda *case: 100 * metrics.cohen_kappa(*case),
    "edit": metrics.edit_score,
    "f1": metrics.segment_f1,
    "f1 optimal": lambda *case: metrics.segment_f1(*case, matching="optimal"),
    "f1 ignoring": lambda *case: metrics.segment_f1(*case, ignore=[0]),
    "covering": metrics.covering,
    "boundary_f1": lambda *case: metrics.boundary_f1(*case, 1),
    "precision": lambda *case: metrics.boundary_scores(*case, 1).precision,
    "recall": lambda *case: metrics.boundary_scores(*case, 1).recall,
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
    "boundary_f1 per recording": lambda *case: metrics.boundary_f1(*case, 1, pooled=False),
    "boundary_f1 nearest": lambda *case: metrics.boundary_f1(*case, 1, matching="nearest"),
    "band_ratio per recording": lambda *case: 100 * metrics.band_ratio(*case, pooled=False),
    "over pooled": lambda *case: 100 * metrics.segmentation_entropy(*case, pooled=True).over,
    "under pooled": lambda *case: 100 * metrics.segmentation_entropy(*case, pooled=True).under,
    "hausdorff pooled": lambda *case: 100 - metrics.hausdorff(*case, pooled=True),
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


@every_score
@given(case=labellings())
def test_a_perfect_prediction_scores_in_full(score, case):
    _, true = case
    assume(judged(true, true))
    assert score(true, true) == pytest.approx(100)


@every_score
@given(case=labellings(), seed=st.integers(0, 9))
def test_what_is_predicted_where_nothing_is_labelled_does_not_matter(score, case, seed):
    pred, true = case
    rng = np.random.default_rng(seed)
    other = [np.where(t == -100, rng.integers(0, 3, len(t)), p) for p, t in zip(pred, true, strict=True)]
    same(score(other, true), score(pred, true))


@every_score
@given(case=labellings())
def test_recordings_without_a_label_do_not_matter(score, case):
    pred, true = case
    nothing = [np.array([0, 1]), np.array([], dtype=np.int64)]
    none = [np.array([-100, -100]), np.array([], dtype=np.int64)]
    same(score(nothing + pred, none + true), score(pred, true))


@every_score
@given(case=labellings())
def test_a_change_of_names_changes_nothing(score, case):
    names = np.array(["walk", "rest", "run", ""])
    named = [[names[np.where(labels == -100, 3, labels)] for labels in side] for side in case]
    if score is not SCORES["f1 ignoring"] and any(len(labels) for labels in case[0]):
        same(score(*named), score(*case))


# Each score that leaves classes out, with a background in the way.
IGNORING = {
    "accuracy": lambda pred, true, ignore: metrics.frame_accuracy(pred, true, ignore=ignore),
    "macro_f1": lambda pred, true, ignore: metrics.macro_f1(pred, true, ignore=ignore),
    "kappa": lambda pred, true, ignore: metrics.cohen_kappa(pred, true, ignore=ignore),
    "edit": metrics.edit_score,
    "f1": lambda pred, true, ignore: metrics.segment_f1(pred, true, ignore=ignore),
    "covering": lambda pred, true, ignore: metrics.covering(pred, true, ignore=ignore),
    "band_ratio": lambda pred, true, ignore: metrics.band_ratio(pred, true, ignore=ignore),
    "entropies": lambda pred, true, ignore: metrics.segmentation_entropy(pred, true, ignore=ignore),
    "boundary_f1": lambda pred, true, ignore: metrics.boundary_f1(pred, true, 1, ignore=ignore),
    "boundary_error": lambda pred, true, ignore: list(metrics.boundary_error(pred, true, 1, ignore=ignore).values()),
    "hausdorff": lambda pred, true, ignore: metrics.hausdorff(pred, true, ignore=ignore),
}
every_ignoring = pytest.mark.parametrize("score", IGNORING.values(), ids=IGNORING.keys())


@every_ignoring
def test_ignored_classes_are_numbers_or_names_in_any_collection(score):
    pred, true = [[0, 0, 1, 1, 2, 2, 1]], [[0, 1, 1, 1, 1, 2, 0]]
    names = np.array(["a", "b", "c"])
    expected = score(pred, true, [0, 2])
    assert score(pred, true, (2, 0)) == expected
    assert score(pred, true, np.array([0, 2])) == expected
    assert score(pred, true, torch.tensor([0, 2])) == expected
    assert score([names[pred[0]]], [names[true[0]]], ["a", "c"]) == expected
    assert score([names[pred[0]]], [names[true[0]]], {"a", "c"}) == expected
    assert score([names[pred[0]]], [names[true[0]]], names[[0, 2]]) == expected
    assert score(pred, true, [0, 2, 7]) == expected  # a number that does not occur


@every_ignoring
@pytest.mark.parametrize(
    ("pred", "ignore", "error", "message"),
    [
        ([["rest", "walk"]], "rest", TypeError, r"ignore: got 'rest', expected a list of classes; write \['rest'\]"),
        ([["rest", "walk"]], ["rset"], ValueError, r"ignore: got the class 'rset', expected one.*: rest, walk; corr"),
        ([["rest", "walk"]], [""], ValueError, r"ignore: got '', expected a class; leave it out"),
        ([["rest", "walk"]], [0], TypeError, r"ignore: got the class 0, expected class names, as the labels are"),
        ([["rest", "walk"]], [True], TypeError, r"ignore: got the class True, expected class names"),
        ([[0, 1]], 0, TypeError, r"ignore: got 0, expected a list of classes; write \[0\]"),
        ([[0, 1]], ["rest"], TypeError, r"ignore: got the class 'rest', expected class numbers"),
        ([[0, 1]], [True], TypeError, r"ignore: got the class True, expected class numbers"),
        ([[0, 1]], [np.True_], TypeError, r"ignore: got the class np.True_, expected class numbers"),
        ([[0, 1]], [1.0], TypeError, r"ignore: got the class 1.0, expected class numbers"),
        ([[0, 1]], [-100], ValueError, r"ignore: got -100, expected a class; leave it out: frames without a label"),
    ],
    ids=str,
)
def test_what_cannot_be_ignored_is_named(score, pred, ignore, error, message):
    with pytest.raises(error, match=message):
        score(pred, pred, ignore)


@every_ignoring
def test_without_a_label_any_class_may_be_ignored(score):
    for pred, true in (([], []), ([[]], [[]]), ([["a"]], [[""]]), ([[""]], [[""]]), ([[0]], [[-100]])):
        for ignore in (["a"], [0], ["b"]):
            score(pred, true, ignore)
        with pytest.raises(TypeError, match=r"ignore: got 'a', expected a list"):
            score(pred, true, "a")


def test_the_classes_to_average_are_checked_alike():
    pred, true = [["a", "b"]], [["a", "c"]]
    assert metrics.macro_f1(pred, true, classes=["a", "x"]) == 100.0  # a model may know more than occur
    for call in (metrics.macro_f1, metrics.evaluate):
        with pytest.raises(ValueError, match=r"classes: got the class 'x', expected one that occurs.*: a, b, c"):
            call(pred, true, classes=["x"])
        with pytest.raises(TypeError, match=r"classes: got 'a', expected a list of classes"):
            call(pred, true, classes="a")


@every_score
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("true", [[], [[]], [[-100, -100]], [[-100], []]], ids=str)
def test_without_any_label_there_is_no_score_and_no_warning(score, true):
    pred = [[0] * len(labels) for labels in true]
    assert math.isnan(score(pred, true))
    assert metrics.boundary_error(pred, true, 1) == {}


@every_score
@pytest.mark.filterwarnings("error")
def test_one_band_found_scores_in_full(score):
    assert score([[1, 1, 1]], [[1, 1, 1]]) == pytest.approx(100)
    assert score([[1, -100, 1]], [[1, -100, 1]]) == pytest.approx(100)
    assert metrics.boundary_error([[1, 1, 1]], [[1, 1, 1]], 1) == {}


@pytest.mark.filterwarnings("error")
def test_one_band_cut_or_missed():
    assert metrics.edit_score([[1, 0, 1]], [[1, 1, 1]]) == pytest.approx(100 / 3)
    assert metrics.boundary_scores([[1, 0, 1]], [[1, 1, 1]], 5) == (0.0, 100.0, 0.0)
    assert metrics.boundary_scores([[1, 1, 1]], [[1, 0, 1]], 5) == (100.0, 0.0, 0.0)
    assert metrics.hausdorff([[1, 0, 1]], [[1, 1, 1]]) == 3.0
    assert metrics.hausdorff([[1, 0, 1]], [[1, 1, 1]], sampling_rate=2) == 1.5


@pytest.mark.filterwarnings("error")
def test_no_prediction_at_all_scores_nothing():
    pred, true = [[-100] * 4], [[0, 0, 1, 1]]
    for name in ("accuracy", "macro_f1", "edit", "f1", "f1 optimal", "covering", "boundary_f1", "band_ratio", "over"):
        assert SCORES[name](pred, true) == 0.0, name


@pytest.mark.filterwarnings("error")
def test_only_ignored_bands_are_nothing_to_find():
    assert metrics.segment_f1([[0, 0]], [[0, 0]], ignore=[0]) == 100.0
    assert metrics.edit_score([[0, 0]], [[0, 0]], ignore=[0]) == 100.0
    assert metrics.segment_f1([[0, 1]], [[0, 0]], ignore=[0]) == 0.0
    assert metrics.edit_score([[0, 1]], [[0, 0]], ignore=[0]) == 0.0


@given(labellings(unpredicted=False), st.integers(0, 3))
def test_scores_that_do_not_care_which_side_is_the_truth(case, margin):
    pred, true = case
    whole = [np.maximum(labels, 0) for labels in true]
    for score in (
        metrics.frame_accuracy,
        metrics.macro_f1,
        metrics.cohen_kappa,
        metrics.edit_score,
        metrics.hausdorff,
        lambda p, t: metrics.boundary_f1(p, t, margin),
        lambda p, t: metrics.segment_f1(p, t, matching="optimal"),
    ):
        same(score(pred, whole), score(whole, pred))
    forth, back = metrics.segmentation_entropy(pred, whole), metrics.segmentation_entropy(whole, pred)
    same(forth, back[::-1])


@given(st.integers(3, 20), st.integers(3, 20), st.sampled_from([-2, -1, 1, 2]))
def test_one_boundary_moved_by_a_frame_is_seen_at_margin_0(before, after, shift):
    true = [[0] * before + [1] * after]
    pred = [[0] * (before + shift) + [1] * (after - shift)]
    assert metrics.boundary_f1(pred, true, margin=0) == 0.0
    assert metrics.boundary_f1(pred, true, margin=abs(shift) - 1) == 0.0
    assert metrics.boundary_f1(pred, true, margin=abs(shift)) == 100.0
    assert metrics.hausdorff(pred, true) == abs(shift)
    assert metrics.boundary_error(pred, true, margin=2)[0, 1].mean == shift
    assert metrics.frame_accuracy(pred, true) == pytest.approx(100 - 100 * abs(shift) / (before + after))
    assert metrics.edit_score(pred, true) == 100.0


def test_a_gap_splits_bands_and_is_no_boundary():
    true = [[0, 0, -100, 0, 0, -100, 1, 1]]
    assert metrics.band_ratio([[0] * 6 + [1] * 2], true) == 1.0
    assert metrics.boundary_scores([[0] * 6 + [1] * 2], true, 0) == (100.0, 100.0, 100.0)
    # A change into frame 4 lies between two labelled frames, a change into or out of frame 5 does not.
    assert metrics.boundary_scores([[0] * 4 + [1] * 4], true, 9) == (0.0, 100.0, 0.0)
    assert metrics.boundary_scores([[0] * 5 + [1] * 3], true, 9) == (100.0, 100.0, 100.0)
    # Orders 0 0 1 and 0 1 1: what the gap parts is two bands on both sides.
    assert metrics.edit_score([[0] * 3 + [1] * 5], true) == pytest.approx(200 / 3)


def test_tensors_arrays_batches_and_lists_are_one_input():
    pred, true = [[0, 1, 1], [1, 1, 0]], [[0, 0, 1], [1, -100, -100]]
    expected = metrics.evaluate(pred, true)
    assert metrics.evaluate(torch.tensor(pred), torch.tensor(true)) == expected
    assert metrics.evaluate(np.array(pred), [torch.tensor(labels) for labels in true]) == expected


# ----------------------------------------------------------------------------------------------- other libraries
def long_case(seed, num_classes=4, num_frames=600, flicker=0.1):
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(0, num_classes, 60), 10)[:num_frames]
    pred = np.where(rng.random(num_frames) < flicker, rng.integers(0, num_classes, num_frames), np.roll(true, 2))
    return pred, true


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_are_those_of_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    pred, true = long_case(seed)
    assert metrics.frame_accuracy([pred], [true]) == pytest.approx(100 * sklearn.accuracy_score(true, pred))
    macro = sklearn.f1_score(true, pred, average="macro")
    assert metrics.macro_f1([pred[:99], pred[99:]], [true[:99], true[99:]]) == pytest.approx(100 * macro)
    some = sklearn.f1_score(true, pred, average="macro", labels=[1, 3])
    assert metrics.macro_f1([pred], [true], classes=[1, 3]) == pytest.approx(100 * some)
    assert metrics.cohen_kappa([pred], [true]) == pytest.approx(sklearn.cohen_kappa_score(true, pred))


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_are_those_of_torchmetrics(seed):
    functional = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is an independent reference")
    pred, true = (torch.tensor(labels) for labels in long_case(seed))
    true[::7] = -100
    options = {"task": "multiclass", "num_classes": 4, "ignore_index": -100}
    expected = functional.accuracy(pred, true, average="micro", **options)
    assert metrics.frame_accuracy([pred], [true]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.f1_score(pred, true, average="macro", **options)
    assert metrics.macro_f1([pred], [true]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.cohen_kappa(pred, true, **options)
    assert metrics.cohen_kappa([pred], [true]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_edit_distance_is_that_of_torchmetrics(seed):
    text = pytest.importorskip("torchmetrics.functional.text", reason="torchmetrics is an independent reference")
    pred, true = long_case(seed)
    ours, theirs = ("".join(str(label) for label, *_ in bands(side.tolist())) for side in (pred, true))
    distance = float(text.edit_distance([ours], [theirs], reduction="sum"))
    expected = 100 * (1 - distance / max(len(ours), len(theirs)))
    assert metrics.edit_score([pred], [true]) == pytest.approx(expected)


def breakpoints(labels):
    return [*changes(labels.tolist()), len(labels)]


@pytest.mark.parametrize("seed", range(3))
def test_boundary_scores_are_those_of_ruptures(seed):
    ruptures = pytest.importorskip("ruptures.metrics", reason="ruptures is an independent reference")
    # It lets one true boundary use up several predicted ones: compared where they are further apart than that.
    pred, true = long_case(seed, flicker=0.0)
    sides = breakpoints(true), breakpoints(pred)
    for margin in (0, 1, 2, 3):
        precision, recall = ruptures.precision_recall(*sides, margin=margin + 1)  # its margin is strict
        got = metrics.boundary_scores([pred], [true], margin)
        assert got[:2] == pytest.approx((100 * precision, 100 * recall))
    pred, true = long_case(seed)
    assert metrics.hausdorff([pred], [true]) == ruptures.hausdorff(breakpoints(true), breakpoints(pred))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["band", "class"])
def test_segmentation_entropy_is_that_of_mir_eval(seed, by):
    segment = pytest.importorskip("mir_eval.segment", reason="mir_eval is an independent reference")
    sides = []
    for labels in reversed(long_case(seed)):
        own = bands(labels.tolist())
        intervals = np.array([[start, end] for _, start, end in own], dtype=float)
        sides += [intervals, [str(i if by == "band" else label) for i, (label, *_) in enumerate(own)]]
    over, under, _ = segment.nce(*sides, frame_size=1.0)
    pred, true = long_case(seed)
    assert metrics.segmentation_entropy([pred], [true], by) == pytest.approx((over, under))


def event_based(estimated, reference, collar, share_of_length, onset, offset):
    """Precision, recall and F of events (label, onset, offset) by the documented rule of sed_eval 0.2.1.

    sed_eval itself is no reference here: its dcase_util needs pkg_resources, which setuptools 82 removed. Its rule,
    as its documentation of ``EventBasedMetrics`` has it: an estimated event is right if there is a reference event of
    its label, not yet used, whose onset differs by at most the collar and whose offset differs by at most the larger
    of the collar and the share of the reference event's length; "optimal" matching forms as many pairs as possible.
    """
    sparse = pytest.importorskip("scipy.sparse", reason="scipy matches bipartite graphs")

    def fits(own, other):
        at_onset = abs(own[1] - other[1]) <= collar
        at_offset = abs(own[2] - other[2]) <= max(collar, share_of_length * (other[2] - other[1]))
        return own[0] == other[0] and (at_onset or not onset) and (at_offset or not offset)

    graph = sparse.csr_array([[fits(own, other) for other in reference] for own in estimated])
    hits = int((sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    return hits / len(estimated), hits / len(reference), 2 * hits / (len(estimated) + len(reference))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("edge", ["onset", "offset"])
def test_boundaries_within_a_collar_are_events_of_sed_eval_s_rule(seed, edge):
    # Where the two overlap: every boundary is the onset of a band and the offset of the one before it, labels count
    # for nothing. The first band's onset and the last one's offset are no boundaries. There is no score here that
    # demands onset, offset and label at once; that of bands is their IoU.
    pred, true = long_case(seed, flicker=0.05)
    cut = slice(1, None) if edge == "onset" else slice(None, -1)
    sides = [[("event", *band[1:]) for band in bands(labels.tolist())[cut]] for labels in (pred, true)]
    for collar in (0, 1, 2, 5, 30):
        expected = event_based(*sides, collar, 0.0, onset=edge == "onset", offset=edge == "offset")
        assert metrics.boundary_scores([pred], [true], collar) == pytest.approx(100 * np.array(expected))


# ----------------------------------------------------------------------- other libraries, by the other conventions
def cut_case(seed):
    """A long case in recordings of 150, 50 and 400 frames."""
    return [np.split(labels, [150, 200]) for labels in long_case(seed)]


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_per_recording_are_those_of_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    preds, trues = cut_case(seed)
    sides = list(zip(trues, preds, strict=True))
    expected = 100 * np.mean([sklearn.accuracy_score(*side) for side in sides])
    assert metrics.frame_accuracy(preds, trues, pooled=False) == pytest.approx(expected)
    expected = 100 * np.mean([sklearn.f1_score(*side, average="macro") for side in sides])
    assert metrics.macro_f1(preds, trues, pooled=False) == pytest.approx(expected)
    expected = np.mean([sklearn.cohen_kappa_score(*side) for side in sides])
    assert metrics.cohen_kappa(preds, trues, pooled=False) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_an_ignored_class_are_those_that_torchmetrics_and_scikit_learn_leave_out(seed):
    functional = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is an independent reference")
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    preds, trues = cut_case(seed)
    pred, true = np.concatenate(preds), np.concatenate(trues)
    options = {"task": "multiclass", "num_classes": 4, "ignore_index": 2}
    expected = functional.accuracy(torch.tensor(pred), torch.tensor(true), average="micro", **options)
    assert metrics.frame_accuracy(preds, trues, ignore=[2]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.cohen_kappa(torch.tensor(pred), torch.tensor(true), **options)
    assert metrics.cohen_kappa(preds, trues, ignore=[2]) == pytest.approx(float(expected), abs=1e-6)
    kept = true != 2
    macro = sklearn.f1_score(true[kept], pred[kept], average="macro", labels=[0, 1, 3])
    assert metrics.macro_f1(preds, trues, ignore=[2]) == pytest.approx(100 * macro)


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_distance_of_all_recordings_is_that_of_ruptures(seed):
    ruptures = pytest.importorskip("ruptures.metrics", reason="ruptures is an independent reference")
    preds, trues = cut_case(seed)
    each = [ruptures.hausdorff(breakpoints(t), breakpoints(p)) for p, t in zip(preds, trues, strict=True)]
    assert metrics.hausdorff(preds, trues, pooled=True) == max(each)
    assert metrics.hausdorff(preds, trues) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by", ["band", "class"])
def test_pooled_entropies_are_those_of_mir_eval_over_all_frames(seed, by):
    segment = pytest.importorskip("mir_eval.segment", reason="mir_eval is an independent reference")
    preds, trues = cut_case(seed)
    sides = []
    for labels in (trues, preds):
        intervals, names = [], []
        for recording, (own, offset) in enumerate(zip(labels, (0, 150, 200), strict=True)):
            for label, start, end in bands(own.tolist()):
                intervals.append([offset + start, offset + end])
                names.append(f"{recording}:{start}" if by == "band" else str(label))
        sides += [np.array(intervals, dtype=float), names]
    over, under, _ = segment.nce(*sides, frame_size=1.0)
    assert metrics.segmentation_entropy(preds, trues, by, pooled=True) == pytest.approx((over, under))


# ------------------------------------------------------------------------------------------------------------- size
def test_a_recording_of_a_day_is_scored_without_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(np.arange(1, 660_000), 5_000, replace=False))
    true = np.repeat(np.arange(5_001) % 5, np.diff([0, *cuts, 660_000]))
    pred = np.roll(true, 3)
    row = metrics.evaluate([pred], [true])
    assert row["band_ratio"] == pytest.approx(1, abs=0.01)
    assert metrics.boundary_error([pred], [true], 3)[0, 1].mean == pytest.approx(3, abs=0.2)


# --------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("pred", "true", "error", "message"),
    [
        ([[0]], [[0], [1]], ValueError, r"pred hold 1 recordings, true hold 2"),
        ([[0], [0, 1]], [[0], [0]], ValueError, r"recording 1: pred has 2 frames, true has 1"),
        ([[0.5]], [[0]], TypeError, r"pred: recording 0: labels must be integers"),
        ([[0]], [[-1]], ValueError, r"true: recording 0, frame 0: got label -1"),
        ([["a"]], [[0]], TypeError, r"labels are of two kinds"),
        (np.array([0]), [[0]], ValueError, r"pred: got one array of shape \(1,\)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("score", [metrics.frame_accuracy, metrics.segment_f1, metrics.hausdorff])
def test_labels_that_cannot_be_compared(score, pred, true, error, message):
    with pytest.raises(error, match=message):
        score(pred, true)


@pytest.mark.parametrize("sampling_rate", [None, 10, 1e9])
@pytest.mark.parametrize("margin", [100, 2**40, 1e19, 1e300])
def test_a_margin_beyond_every_recording_is_the_longest_one(margin, sampling_rate):
    pred, true = [[0, 0, 1, 0, 0], [1, 1, 0]], [[0, 1, 1, 1, 1], [1, 0, 0]]
    assert metrics.boundary_scores(pred, true, margin, sampling_rate) == metrics.boundary_scores(pred, true, 5)
    assert metrics.boundary_f1(pred, true, margin, sampling_rate, matching="nearest") == metrics.boundary_f1(
        pred, true, 5
    )
    found = metrics.boundary_error(pred, true, margin, sampling_rate)
    assert {pair: error.found for pair, error in found.items()} == {(0, 1): 1, (1, 0): 1}
    # Recordings are laid end to end, further apart than the margin.
    many = [[[0, 0, 1]] * 2000, [[0, 1, 1]] * 2000]
    assert metrics.boundary_f1(*many, margin, sampling_rate) == 100.0
    assert metrics.boundary_error(*many, margin, sampling_rate)[0, 1].found == 2000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.segment_f1([[0]], [[0]], iou=0), r"iou: got 0"),
        (lambda: metrics.segment_f1([[0]], [[0]], iou=50), r"iou: got 50, expected above 0 and at most 1"),
        (lambda: metrics.segment_f1([[0]], [[0]], matching="best"), r"matching: got 'best', expected one of 'greedy'"),
        (lambda: metrics.boundary_f1([[0]], [[0]], -1), r"margin: got -1, expected 0 or more frames"),
        (lambda: metrics.boundary_f1([[0]], [[0]], math.nan, 10), r"margin: got nan, expected 0 or more seconds"),
        (lambda: metrics.hausdorff([[0]], [[0]], sampling_rate=-1), r"sampling_rate: got -1"),
        (lambda: metrics.boundary_f1([[0]], [[0]], "5"), r"margin: got '5', expected 0 or more frames"),
        (lambda: metrics.boundary_f1([[0]], [[0]], math.inf), r"margin: got inf, expected 0 or more frames"),
        (lambda: metrics.boundary_error([[0]], [[0]], True), r"margin: got True, expected 0 or more frames"),
        (lambda: metrics.boundary_f1([[0]], [[0]], 1, matching="greedy"), r"matching: got 'greedy', .* 'nearest'"),
        (lambda: metrics.segment_f1([[0]], [[0]], iou="0.5"), r"iou: got '0.5', expected above 0"),
        (lambda: metrics.segmentation_entropy([[0]], [[0]], by="frame"), r"by: got 'frame'"),
    ],
)
def test_arguments_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
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
        lambda *case, pooled: metrics.boundary_f1(*case, 1, pooled=pooled),
        metrics.hausdorff,
        metrics.evaluate,
    ],
)
def test_pooled_is_yes_or_no(score):
    with pytest.raises(TypeError, match=r"pooled: got 'per recording', expected True or False"):
        score([[0]], [[0]], pooled="per recording")
