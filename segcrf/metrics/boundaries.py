"""Boundary scores: whether boundaries are found within a margin, and how far off they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from segcrf._validation import InputError, check_choice, frames_per_second, is_number
from segcrf.metrics.pairing import Class, LabelPair, check_flag, mean, percent, ranges
from segcrf.segments import IntArray, Recordings, Segments

__all__ = [
    "BoundaryError",
    "BoundaryMatching",
    "BoundaryScores",
    "boundary_error",
    "boundary_f1",
    "boundary_scores",
    "hausdorff",
]

BoundaryMatching = Literal["optimal", "nearest"]


class BoundaryScores(NamedTuple):
    """How many boundaries were found, in percent."""

    precision: float
    recall: float
    f1: float


def boundary_scores(
    true: Recordings,
    pred: Recordings,
    *,
    margin: float,
    sampling_rate: float | None = None,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
    matching: BoundaryMatching = "optimal",
) -> BoundaryScores:
    """Return precision, recall and F1 of boundaries found within a margin, in percent.

    A boundary is the first frame of a band that follows another without a gap, whatever the classes. Each is
    matched once, to one at most ``margin`` away.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given.
        sampling_rate: frames per second.
        pooled: boundaries of all recordings counted together, or the mean of the recordings' scores.
        ignore: classes; their bands are dropped first, from truth and prediction: what is left are boundaries
            between two others.
        matching: "optimal": as many pairs as possible; "nearest": the nearest pairs first, at equal distance the
            earlier true one, then the earlier predicted one, which may leave a boundary without the partner that
            it could have had. With margins below half the shortest band of either side there is no difference.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``margin`` is negative, ``sampling_rate`` not above 0, or
            ``matching`` not one of the above.

    >>> boundary_scores([[0, 0, 1, 1, 1, 1]], [[0, 0, 0, 1, 0, 0]], margin=1)
    BoundaryScores(precision=50.0, recall=100.0, f1=66.66666666666667)
    """
    check_choice(matching, "matching", ("optimal", "nearest"))
    pair = LabelPair.of(true, pred)
    reach = min(_check_margin(margin, sampling_rate), pair.longest)
    actual, predicted = _both_boundaries(pair, reach, ignore)
    find = _reached if matching == "optimal" else _nearest
    found = find(actual.place, predicted.place, reach)[0]
    hits, there, claimed = map(pair.count, (actual.recording[found], actual.recording, predicted.recording))
    return BoundaryScores(
        precision=percent(hits, claimed, pooled),
        recall=percent(hits, there, pooled),
        f1=percent(2 * hits, claimed + there, pooled),
    )


def boundary_f1(
    true: Recordings,
    pred: Recordings,
    *,
    margin: float,
    sampling_rate: float | None = None,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
    matching: BoundaryMatching = "optimal",
) -> float:
    """Return the F1 of :func:`boundary_scores`, in percent.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given.
        sampling_rate: frames per second.
        pooled: boundaries of all recordings counted together, or the mean of the recordings' scores.
        ignore: classes; their bands are dropped first.
        matching: "optimal" or "nearest", as for :func:`boundary_scores`.

    Raises:
        TypeError, ValueError: as :func:`boundary_scores`.

    >>> boundary_f1([[0, 0, 1, 1, 1, 1]], [[0, 0, 0, 1, 1, 1]], margin=0)
    0.0
    """
    scores = boundary_scores(
        true, pred, margin=margin, sampling_rate=sampling_rate, pooled=pooled, ignore=ignore, matching=matching
    )
    return scores.f1


class BoundaryError(NamedTuple):
    """Signed error of the boundaries from one class to another (above 0: predicted too late), and counts."""

    mean: float
    sd: float
    found: int
    missed: int
    extra: int


def boundary_error(
    true: Recordings,
    pred: Recordings,
    *,
    margin: float,
    sampling_rate: float | None = None,
    ignore: Sequence[Class] = (),
) -> dict[tuple[Class, Class], BoundaryError]:
    """Return the error of boundaries per pair of classes, over all recordings.

    A true boundary is found if a predicted one between the same two classes lies at most ``margin`` away; the
    nearest pairs are matched first, at equal distance the earlier ones.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        margin: largest distance that still counts, in frames, or in seconds if ``sampling_rate`` is given; memory grows
            with the pairs that are within it.
        sampling_rate: frames per second.
        ignore: classes; their boundaries are left out.

    Returns:
        (class before, class after) -> mean and population standard deviation of predicted minus true time, in
        frames or seconds (NaN if none was found), and how many were found, missed, and predicted in vain.

    Raises:
        TypeError, ValueError: as :func:`boundary_scores`.

    >>> boundary_error([[0, 0, 1, 1, 1, 1]], [[0, 0, 0, 1, 1, 0]], margin=2)[0, 1]
    BoundaryError(mean=1.0, sd=0.0, found=1, missed=0, extra=0)
    """
    pair = LabelPair.of(true, pred)
    reach = min(_check_margin(margin, sampling_rate), pair.longest)
    sides = _both_boundaries(pair, reach, ignore)
    errors: dict[tuple[Class, Class], BoundaryError] = {}
    for kind in np.unique(np.concatenate([side.kind for side in sides]), axis=0):
        actual, predicted = (side.place[(side.kind == kind).all(1)] for side in sides)
        i, j = _nearest(actual, predicted, reach)
        found = (predicted[j] - actual[i]) / frames_per_second(sampling_rate)
        spread = float(found.std()) if found.size else math.nan
        before, after = (pair.named(int(number)) for number in kind)
        missed, extra = len(actual) - len(found), len(predicted) - len(found)
        errors[before, after] = BoundaryError(mean(found), spread, len(found), missed, extra)
    return errors


def hausdorff(
    true: Recordings,
    pred: Recordings,
    *,
    sampling_rate: float | None = None,
    pooled: bool = False,
    ignore: Sequence[Class] = (),
) -> float:
    """Return the largest distance from a boundary to the nearest one of the other labelling.

    It is 0 for a recording where neither has a boundary, and its whole duration where only one has.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        sampling_rate: frames per second, for a distance in seconds; None: in frames.
        pooled: the largest of all recordings, or the mean over recordings.
        ignore: classes; their bands are dropped first, as for :func:`boundary_scores`.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``sampling_rate`` is not above 0.

    >>> hausdorff([[0, 0, 1, 1, 1, 1]], [[0, 0, 0, 1, 0, 0]])
    2.0
    """
    check_flag(pooled, "pooled")
    pair = LabelPair.of(true, pred)
    actual, predicted = (pair.split(side.recording, side.place) for side in _both_boundaries(pair, 0, ignore))
    distances = [_hausdorff(*sides) for sides in zip(actual, predicted, map(len, pair.true), strict=True)]
    return mean([max(distances)] if pooled and distances else distances) / frames_per_second(sampling_rate)


# ------------------------------------------------------------------------------------------------- boundaries
class _Boundaries(NamedTuple):
    """Where a band follows another without a gap."""

    recording: IntArray  # (N,)
    place: IntArray  # (N,), first frame of the later band on one axis for all recordings
    kind: IntArray  # (N, 2), class before and after


def _both_boundaries(pair: LabelPair, reach: int, ignore: Sequence[Class]) -> tuple[_Boundaries, _Boundaries]:
    """Return true and predicted boundaries, those of two recordings placed more than ``reach`` apart."""
    true, pred = (_boundaries(side, reach + pair.longest) for side in pair.bands(ignore))
    return true, pred


def _boundaries(bands: Segments, span: int) -> _Boundaries:
    touching = (bands.recording[1:] == bands.recording[:-1]) & (bands.start[1:] == bands.end[:-1])
    recording, start = bands.recording[1:][touching], bands.start[1:][touching]
    kind = np.stack([bands.label[:-1][touching], bands.label[1:][touching]], axis=1)
    return _Boundaries(recording, recording * span + start, kind)


def _reached(true: IntArray, pred: IntArray, reach: int) -> tuple[list[int], list[int]]:
    """Match pairs at most ``reach`` apart in order; on a line, the earliest pair first gives the most pairs."""
    matched_true, matched_pred = list[int](), list[int]()
    actual, predicted = true.tolist(), pred.tolist()
    i = j = 0
    while i < len(actual) and j < len(predicted):
        if abs(actual[i] - predicted[j]) <= reach:
            matched_true.append(i)
            matched_pred.append(j)
            i, j = i + 1, j + 1
        elif actual[i] < predicted[j]:
            i += 1
        else:
            j += 1
    return matched_true, matched_pred


def _nearest(true: IntArray, pred: IntArray, reach: int) -> tuple[list[int], list[int]]:
    """Match pairs at most ``reach`` apart, the nearest first; at equal distance the earlier true one first."""
    first = np.searchsorted(pred, true - reach, side="left")
    count = np.searchsorted(pred, true + reach, side="right") - first
    i, j = ranges(first, count)
    order = np.lexsort((j, i, np.abs(pred[j] - true[i])))
    # Dictionaries keep the order in which they were filled: the pairs side by side.
    matched_true, matched_pred = dict[int, None](), dict[int, None]()
    for actual, predicted in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if actual not in matched_true and predicted not in matched_pred:
            matched_true[actual] = matched_pred[predicted] = None
    return list(matched_true), list(matched_pred)


def _hausdorff(true: IntArray, pred: IntArray, num_frames: int) -> float:
    if not len(true) or not len(pred):
        return float(num_frames * (len(true) != len(pred)))
    return float(max(_farthest(true, pred), _farthest(pred, true)))


def _farthest(points: IntArray, others: IntArray) -> int:
    """Return the largest distance from a point to the nearest of the others, all sorted."""
    after = np.searchsorted(others, points)
    before, after = others[np.maximum(after - 1, 0)], others[np.minimum(after, len(others) - 1)]
    return int(np.minimum(np.abs(points - before), np.abs(points - after)).max())


def _check_margin(value: float, sampling_rate: float | None) -> int:
    """Return a margin in whole frames; with a sampling rate the margin is in seconds."""
    per_second = frames_per_second(sampling_rate)
    if not is_number(value) or not 0 <= value < float("inf"):
        raise InputError("margin", repr(value), f"0 or more {'frames' if sampling_rate is None else 'seconds'}")
    # 0.29 s at 100 Hz is 28.999999999999996 frames in floating point, and means 29. A product may be infinite.
    return int(min(np.floor(value * per_second + 1e-6), 2.0**53))
