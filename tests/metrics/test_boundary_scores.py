"""Boundary scores against their definitions, by hand, and against other libraries."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import (
    bands,
    breakpoints,
    changes,
    cut_case,
    judged,
    labellings,
    long_case,
    masked,
    nearest_first,
    reference_boundaries,
    reference_hausdorff,
    same,
)

from segcrf import metrics


@given(
    labellings(max_frames=9),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([(), (), (0,)]),
    st.sampled_from(["optimal", "nearest"]),
)
def test_boundary_scores_are_their_definition(case, margin, pooled, ignore, matching):
    options = {"pooled": pooled, "ignore": ignore, "matching": matching}
    got = metrics.boundary_scores(*case, margin=margin, **options)
    same(got, reference_boundaries(*case, margin, pooled, ignore, matching))
    same(metrics.boundary_f1(*case, margin=margin, **options), got.f1)


@given(labellings(), st.booleans(), st.sampled_from([(), (), (0,)]))
def test_hausdorff_is_its_definition(case, pooled, ignore):
    same(metrics.hausdorff(*case, pooled=pooled, ignore=ignore), reference_hausdorff(*case, pooled, ignore))


@given(labellings(max_frames=9), st.integers(0, 4), st.sampled_from([(), (), (0,)]))
def test_boundary_error_matches_nearest_first_within_a_pair_of_classes(case, margin, ignore):
    expected = defaultdict(lambda: ([], [0, 0]))
    for true, pred in judged(*case):
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
    got = metrics.boundary_error(*case, margin=margin, ignore=ignore)
    assert set(got) == set(expected)
    for pair, (errors, (missed, extra)) in expected.items():
        assert (got[pair].found, got[pair].missed, got[pair].extra) == (len(errors), missed, extra)
        # Ties across recordings are never compared, so the errors are the same numbers in some order.
        same(got[pair].mean, np.mean(errors) if errors else math.nan)
        same(got[pair].sd, np.std(errors) if errors else math.nan)


def test_boundary_error_by_hand_in_frames_and_seconds():
    true = [[0] * 10 + [1] * 10 + [0] * 10, [0] * 5 + [1] * 5]
    pred = [[0] * 12 + [1] * 7 + [0] * 11, [0] * 9 + [1]]
    errors = metrics.boundary_error(true, pred, margin=3)
    assert errors[0, 1] == metrics.BoundaryError(mean=2.0, sd=0.0, found=1, missed=1, extra=1)
    assert errors[1, 0] == metrics.BoundaryError(mean=-1.0, sd=0.0, found=1, missed=0, extra=0)
    seconds = metrics.boundary_error(true, pred, margin=0.04, sampling_rate=100)
    assert seconds[0, 1] == pytest.approx((0.03, 0.01, 2, 0, 0))


def test_the_nearest_pair_may_cost_another_its_partner():
    # Boundaries at 2 and 4, found at 4 and 6: in order both are 2 late, nearest first one is right and one is lost.
    true, pred = [[0, 0, 1, 1, 2, 2, 2, 2]], [[0, 0, 0, 0, 1, 1, 2, 2]]
    assert metrics.boundary_f1(true, pred, margin=2) == 100.0
    assert metrics.boundary_f1(true, pred, margin=2, matching="nearest") == 50.0


def test_a_margin_in_seconds_is_the_same_margin_in_frames():
    for frames in range(60):
        true, pred = [[0] * 100 + [1] * 100], [[0] * (100 + frames) + [1] * (100 - frames)]
        # 0.29 * 100 is 28.999999999999996.
        assert metrics.boundary_f1(true, pred, margin=frames / 100, sampling_rate=100) == 100.0
        assert metrics.boundary_f1(true, pred, margin=(frames - 1) / 100 if frames else 0, sampling_rate=100) == (
            100.0 if frames == 0 else 0.0
        )


@given(st.integers(3, 20), st.integers(3, 20), st.sampled_from([-2, -1, 1, 2]))
def test_one_boundary_moved_by_a_frame_is_seen_at_margin_0(before, after, shift):
    true = [[0] * before + [1] * after]
    pred = [[0] * (before + shift) + [1] * (after - shift)]
    assert metrics.boundary_f1(true, pred, margin=0) == 0.0
    assert metrics.boundary_f1(true, pred, margin=abs(shift) - 1) == 0.0
    assert metrics.boundary_f1(true, pred, margin=abs(shift)) == 100.0
    assert metrics.hausdorff(true, pred) == abs(shift)
    assert metrics.boundary_error(true, pred, margin=2)[0, 1].mean == shift
    assert metrics.frame_accuracy(true, pred) == pytest.approx(100 - 100 * abs(shift) / (before + after))
    assert metrics.edit_score(true, pred) == 100.0


@pytest.mark.parametrize("seed", range(3))
def test_boundary_scores_are_those_of_ruptures(seed):
    ruptures = pytest.importorskip("ruptures.metrics", reason="ruptures is an independent reference")
    # It lets one true boundary use up several predicted ones: compared where they are further apart than that.
    true, pred = long_case(seed, flicker=0.0)
    sides = breakpoints(true), breakpoints(pred)
    for margin in (0, 1, 2, 3):
        precision, recall = ruptures.precision_recall(*sides, margin=margin + 1)  # its margin is strict
        got = metrics.boundary_scores([true], [pred], margin=margin)
        assert got[:2] == pytest.approx((100 * precision, 100 * recall))
    true, pred = long_case(seed)
    assert metrics.hausdorff([true], [pred]) == ruptures.hausdorff(breakpoints(true), breakpoints(pred))


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
    true, pred = long_case(seed, flicker=0.05)
    cut = slice(1, None) if edge == "onset" else slice(None, -1)
    sides = [[("event", *band[1:]) for band in bands(labels.tolist())[cut]] for labels in (pred, true)]
    for collar in (0, 1, 2, 5, 30):
        expected = event_based(*sides, collar, 0.0, onset=edge == "onset", offset=edge == "offset")
        assert metrics.boundary_scores([true], [pred], margin=collar) == pytest.approx(100 * np.array(expected))


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_distance_of_all_recordings_is_that_of_ruptures(seed):
    ruptures = pytest.importorskip("ruptures.metrics", reason="ruptures is an independent reference")
    trues, preds = cut_case(seed)
    each = [ruptures.hausdorff(breakpoints(t), breakpoints(p)) for p, t in zip(preds, trues, strict=True)]
    assert metrics.hausdorff(trues, preds, pooled=True) == max(each)
    assert metrics.hausdorff(trues, preds) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("sampling_rate", [None, 10, 1e9])
@pytest.mark.parametrize("margin", [100, 2**40, 1e19, 1e300])
def test_a_margin_beyond_every_recording_is_the_longest_one(margin, sampling_rate):
    pred, true = [[0, 0, 1, 0, 0], [1, 1, 0]], [[0, 1, 1, 1, 1], [1, 0, 0]]
    within = {"margin": margin, "sampling_rate": sampling_rate}
    whole = metrics.boundary_scores(true, pred, margin=5)
    assert metrics.boundary_scores(true, pred, **within) == whole
    assert metrics.boundary_f1(true, pred, **within, matching="nearest") == whole.f1
    found = metrics.boundary_error(true, pred, **within)
    assert {pair: error.found for pair, error in found.items()} == {(0, 1): 1, (1, 0): 1}
    # Recordings are laid end to end, further apart than the margin.
    many = [[[0, 0, 1]] * 2000, [[0, 1, 1]] * 2000]
    assert metrics.boundary_f1(*many, **within) == 100.0
    assert metrics.boundary_error(*many, **within)[0, 1].found == 2000
