"""Frame scores: accuracy, macro F1 and Cohen's kappa over labelled frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from segcrf._validation import UNLABELLED
from segcrf.metrics.pairing import Class, LabelPair, mean, percent
from segcrf.segments import IntArray, Recordings

__all__ = ["cohen_kappa", "frame_accuracy", "macro_f1"]


def frame_accuracy(true: Recordings, pred: Recordings, *, pooled: bool = True, ignore: Sequence[Class] = ()) -> float:
    """Return the share of labelled frames with the right class, in percent.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        pooled: over all frames (Farha and Gall, 2019), or the mean of the recordings' accuracies (Lea et al.,
            2017).
        ignore: true classes; their frames are left out.

    Raises:
        TypeError: labels are neither integers nor text, the two sides differ in kind, or ``ignore`` is no list of
            classes given as the labels are.
        ValueError: the two sides differ in recordings or frames, a label is negative and not -100, or a name in
            ``ignore`` occurs nowhere.

    >>> round(frame_accuracy([[0, 1, 1, -100]], [[0, 0, 1, 1]]), 1)
    66.7
    """
    pair = LabelPair.of(true, pred).without(ignore)
    hits = [np.count_nonzero((p == t) & (t != UNLABELLED)) for t, p in zip(pair.true, pair.pred, strict=True)]
    return percent(hits, [np.count_nonzero(t != UNLABELLED) for t in pair.true], pooled)


def macro_f1(
    true: Recordings,
    pred: Recordings,
    *,
    classes: Sequence[Class] | None = None,
    pooled: bool = True,
    ignore: Sequence[Class] = (),
) -> float:
    """Return the mean over classes of the frame-wise F1, in percent.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        classes: the classes to average; None: all that occur in either. A class that occurs in neither is
            left out.
        pooled: F1 of the frames of all recordings, or the mean over recordings of each one's macro F1, which
            averages the classes that occur in it.
        ignore: true classes; their frames are left out. These classes are not averaged either. To keep their frames
            and leave them out of the average only, name the others in ``classes``.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`; or ``classes`` are names and none of them occurs.

    >>> round(macro_f1([[0, 0, 0, 1]], [[0, 0, 1, 1]]), 1)
    73.3
    """
    pair = LabelPair.of(true, pred)
    averaged = None if classes is None else pair.listed(classes)
    left_out = np.append(pair.ignored(ignore), UNLABELLED)
    scores: list[float] = []
    for part in pair.without(ignore).parts(pooled):
        labels, counts = _confusion(part)
        wanted = ~np.isin(labels, left_out)
        if averaged is not None:
            wanted &= np.isin(labels, averaged)
        f1 = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
        scores += [100 * float(f1[wanted].mean())] if wanted.any() else []
    return mean(scores)


def cohen_kappa(true: Recordings, pred: Recordings, *, pooled: bool = True, ignore: Sequence[Class] = ()) -> float:
    """Return Cohen's kappa over labelled frames: 1 is full agreement, 0 is what chance gives.

    It is 1 where truth and prediction are one and the same class throughout.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        pooled: over the frames of all recordings, or the mean of the recordings' kappas.
        ignore: true classes; their frames are left out.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    Source: Cohen, "A coefficient of agreement for nominal scales", 1960.

    >>> cohen_kappa([[0, 0, 0, 1]], [[0, 0, 1, 1]])
    0.5
    """
    return mean([_kappa(_confusion(part)[1]) for part in LabelPair.of(true, pred).without(ignore).parts(pooled)])


def _confusion(pair: LabelPair) -> tuple[IntArray, IntArray]:
    """Return the classes that occur (-100: not predicted), and the frames of each pair (true, predicted)."""
    none = np.empty(0, dtype=np.int64)
    true, pred = (np.concatenate([none, *side]) for side in (pair.true, pair.pred))
    labelled = true != UNLABELLED
    true, pred = true[labelled], pred[labelled]
    labels = np.union1d(true, pred)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(labels, true), np.searchsorted(labels, pred)), 1)
    return labels, counts


def _kappa(counts: IntArray) -> float:
    """Return Cohen's kappa from the frames of each pair of classes; without a frame it is NaN."""
    total = counts.sum()
    if not total:
        return math.nan
    agreed = np.trace(counts) / total
    by_chance = counts.sum(0) @ counts.sum(1) / total**2
    return 1.0 if by_chance == 1 else float((agreed - by_chance) / (1 - by_chance))
