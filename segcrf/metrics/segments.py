"""Segment scores: order, overlap and number of bands, and over- and under-segmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError, check_choice, is_number
from segcrf.metrics.pairing import Class, FloatArray, LabelPair, check_flag, mean, percent, ranges
from segcrf.segments import IntArray, Recordings, Segments

__all__ = [
    "Matching",
    "SegmentationEntropy",
    "band_ratio",
    "covering",
    "edit_score",
    "segment_f1",
    "segmentation_entropy",
]

Matching = Literal["greedy", "optimal"]


def edit_score(true: Recordings, pred: Recordings, *, ignore: Sequence[Class] = (), pooled: bool = False) -> float:
    """Return how alike the orders of bands are, whatever their durations, in percent.

    100 (1 - d / n), with d the Levenshtein distance between the classes of the bands in order, and n the
    number of bands on the side that has more. The time it takes grows with predicted times true bands.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        ignore: classes; their bands are dropped first.
        pooled: distances and lengths added up, or the mean over recordings (Lea et al., 2017).

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Lea et al., "Temporal convolutional networks for action segmentation and detection", 2017.

    >>> round(edit_score([[0, 1, 1, 1, 0]], [[0, 0, 1, 2, 2]]), 1)
    66.7
    """
    pair = LabelPair.of(true, pred)
    orders = [pair.split(bands.recording, bands.label) for bands in pair.bands(ignore)]
    longest = [max(len(actual), len(predicted)) for actual, predicted in zip(*orders, strict=True)]
    distances = [_edit_distance(actual, predicted) for actual, predicted in zip(*orders, strict=True)]
    return percent(np.subtract(longest, distances), longest, pooled)


def segment_f1(
    true: Recordings,
    pred: Recordings,
    *,
    overlap: float = 0.5,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
    matching: Matching = "greedy",
) -> float:
    """Return the F1 of bands that overlap a true band of their class by at least ``overlap``, in percent.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        overlap: least intersection over union (IoU), above 0 and at most 1.
        pooled: bands of all recordings counted together (Farha and Gall, 2019), or the mean of the
            recordings' F1 (Lea et al., 2017).
        ignore: classes; their bands are dropped first.
        matching: "greedy": in time order each predicted band claims the true band it overlaps most (the
            earlier of two), and is wrong if that one is taken, even if another is free; "optimal": as many
            pairs as possible. Above an IoU of 0.5 they agree.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``overlap`` or ``matching`` is not one of the above.

    Source: Lea et al., 2017; Farha and Gall, "MS-TCN", 2019.

    >>> round(segment_f1([[0, 0, 0, 1, 1, 1]], [[0, 0, 1, 1, 0, 1]], overlap=0.5), 1)
    33.3
    """
    _check_overlap(overlap)
    check_choice(matching, "matching", ("greedy", "optimal"))
    pair = LabelPair.of(true, pred)
    actual, predicted = pair.bands(ignore)
    found = _found(actual, predicted, overlap, matching)
    total = pair.count(actual.recording) + pair.count(predicted.recording)
    return percent(2 * pair.count(actual.recording[found]), total, pooled)


def covering(true: Recordings, pred: Recordings, *, pooled: bool = False, ignore: Sequence[Class] = ()) -> float:
    """Return how well predicted bands cover the true ones, whatever their classes, in percent.

    Each true band counts with its duration and the IoU of the predicted band that it overlaps most.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        pooled: over all frames, or the mean over recordings.
        ignore: classes; their bands are dropped first, from truth and prediction.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Arbelaez et al., "Contour detection and hierarchical image segmentation", 2011; van den Burg and
    Williams, "An evaluation of change point detection algorithms", 2020.

    >>> covering([[5, 5, 5, 5, 6, 6]], [[0, 0, 1, 1, 1, 1]])
    50.0
    """
    pair = LabelPair.of(true, pred)
    actual, predicted = pair.bands(ignore)
    common = _overlaps(actual, predicted)
    best = np.zeros(len(actual))
    np.maximum.at(best, common.true, common.iou)
    covered, frames = (pair.count(actual.recording, w) for w in (actual.durations * best, actual.durations))
    return percent(covered, frames, pooled)


def band_ratio(true: Recordings, pred: Recordings, *, pooled: bool = True, ignore: Sequence[Class] = ()) -> float:
    """Return predicted bands per true band: above 1 the prediction flickers, below 1 it misses bands.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        pooled: bands of all recordings counted together, or the mean of the recordings' ratios.
        ignore: classes; their bands are not counted, in truth and prediction.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    >>> band_ratio([[0, 0, 1, 1]], [[0, 1, 0, 1]])
    2.0
    """
    pair = LabelPair.of(true, pred)
    actual, predicted = pair.bands(ignore)
    return percent(pair.count(predicted.recording), pair.count(actual.recording), pooled) / 100


class SegmentationEntropy(NamedTuple):
    """Scores from 0 to 1 that fall as a labelling is over- or under-segmented."""

    over: float
    under: float


def segmentation_entropy(
    true: Recordings,
    pred: Recordings,
    *,
    by: Literal["band", "class"] = "band",
    pooled: bool = False,
    ignore: Sequence[Class] = (),
) -> SegmentationEntropy:
    """Return the normalised conditional entropies of over- and under-segmentation.

    ``over`` is 1 - H(predicted | true) / log(predicted units): 1 where every true unit has one predicted
    unit. ``under`` is 1 - H(true | predicted) / log(true units). A side with a single unit scores 1
    (mir_eval: 0). Frames without a prediction are left out, and a recording without any prediction scores 0.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        by: the units: every band for itself, or all bands of a class together as in mir_eval's
            ``segment.nce``.
        pooled: entropies over the frames of all recordings at once, or the mean over recordings.
        ignore: classes; their bands are dropped first, from truth and prediction; frames that are then in no band of
            one of the two are left out.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``by`` is not one of the above.

    Source: Lukashevich, "Towards quantitative measures of evaluating song segmentation", 2008.

    >>> segmentation_entropy([[0, 0, 1, 1]], [[0, 1, 0, 1]])
    SegmentationEntropy(over=0.5, under=1.0)
    """
    check_choice(by, "by", ("band", "class"))
    check_flag(pooled, "pooled")
    pair = LabelPair.of(true, pred)
    actual, predicted = pair.bands(ignore)
    common = _overlaps(actual, predicted)
    units = common.true, common.pred
    if by == "class":
        units = actual.label[common.true], predicted.label[common.pred]
    columns, recording = (*units, common.frames), predicted.recording[common.pred]
    banded = pair.count(actual.recording) + pair.count(predicted.recording) > 0
    if pooled:
        scores = [_entropy_scores(*columns, bool(banded.any()))] if pair.true else []
    else:
        groups = zip(*(pair.split(recording, values) for values in columns), banded.tolist(), strict=True)
        scores = [_entropy_scores(*group) for group in groups]
    return SegmentationEntropy(*(mean([score[side] for score in scores]) for side in (0, 1)))


def _edit_distance(first: IntArray, second: IntArray) -> int:
    """Return the Levenshtein distance, a row of the table at a time."""
    long, short = (first, second) if len(first) >= len(second) else (second, first)
    steps = np.arange(len(long) + 1, dtype=np.int32)
    row = steps
    for symbol in short:
        best = row + 1
        np.minimum(best[1:], row[:-1] + (long != symbol), out=best[1:])
        # Insertions run along the row at 1 each: a running minimum once the number of steps is taken off.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


# --------------------------------------------------------------------------------------------------- overlaps
class _Overlaps(NamedTuple):
    """The pairs of true and predicted bands that share frames, in the order of the predicted ones."""

    true: IntArray
    pred: IntArray
    frames: IntArray
    iou: FloatArray


def _overlaps(true: Segments, pred: Segments) -> _Overlaps:
    """Find all overlaps; there are fewer than bands, so this takes no longer than sorting them."""
    span = int(max(true.end.max(initial=0), pred.end.max(initial=0)))
    # Recordings laid end to end: bands of different ones cannot overlap.
    true_start, pred_start = true.recording * span + true.start, pred.recording * span + pred.start
    true_end, pred_end = true_start + true.durations, pred_start + pred.durations
    first = np.searchsorted(true_end, pred_start, side="right")
    count = np.searchsorted(true_start, pred_end, side="left") - first
    i, j = ranges(first, count)
    frames = np.minimum(pred_end[i], true_end[j]) - np.maximum(pred_start[i], true_start[j])
    return _Overlaps(j, i, frames, frames / (pred.durations[i] + true.durations[j] - frames))


def _found(true: Segments, pred: Segments, least: float, matching: Matching) -> npt.NDArray[np.bool_]:
    """Return the true bands that are matched, (N_true,) bool."""
    common = _overlaps(true, pred)
    good = (pred.label[common.pred] == true.label[common.true]) & (common.iou >= least)
    i, j, quality = common.pred[good], common.true[good], common.iou[good]
    if matching == "greedy":
        order = np.lexsort((j, -quality, i))
        _, best = np.unique(i[order], return_index=True)
        # The first of its claimants takes a true band: it is found if there is any.
        matched = j[order][best]
    else:
        matched = _most_pairs(j, i)
    found = np.zeros(len(true), dtype=np.bool_)
    found[matched] = True
    return found


def _most_pairs(true: IntArray, pred: IntArray) -> list[int]:
    """Return the true bands of a largest matching among overlaps.

    Overlaps are sorted by both bands at once, so that taking each one with two free bands leaves most to
    those after.
    """
    matched: list[int] = []
    last = -1
    for i, j in zip(pred.tolist(), true.tolist(), strict=True):
        if i > last and (not matched or j > matched[-1]):
            last = i
            matched.append(j)
    return matched


def _entropy_scores(true: IntArray, pred: IntArray, frames: IntArray, banded: bool) -> tuple[float, float]:
    """Return (over, under) from overlaps.

    Args:
        true: true unit of each overlap.
        pred: predicted unit of each overlap.
        frames: frames that they have in common.
        banded: whether there is any band, true or predicted.
    """
    if not frames.size:
        return (0.0, 0.0) if banded else (1.0, 1.0)
    _, codes = np.unique(true, return_inverse=True)
    joint = _entropy(pred * (codes.max() + 1) + codes, frames)

    def score(units: IntArray, given: IntArray) -> float:
        number = len(np.unique(units))
        # H(units | given) = H(units, given) - H(given), which rounding may put below 0.
        return 1.0 - max(joint - _entropy(given, frames), 0.0) / math.log(number) if number > 1 else 1.0

    return score(pred, given=true), score(true, given=pred)


def _entropy(units: IntArray, frames: IntArray) -> float:
    """Return the entropy in nats of the unit of a frame."""
    _, codes = np.unique(units, return_inverse=True)
    shares = np.bincount(codes, frames) / frames.sum()
    return float(-(shares * np.log(shares)).sum())


def _check_overlap(value: float) -> None:
    """Raise for anything but a number above 0 and at most 1."""
    if not is_number(value) or not 0 < value <= 1:
        raise InputError("overlap", repr(value), "a share above 0 and at most 1", "give 0.5 for 50 %")
