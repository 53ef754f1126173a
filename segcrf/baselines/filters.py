"""Filters: they smooth the scores or labels of a trained network.

Filters take and return lists of recordings as NumPy arrays, and know nothing of training:

==========================  ============  ====================================================
`median_filter`             scores        the middle score of a window, class by class
`mode_filter`               labels        the commonest class of a window
`purge`                     labels        no band shorter than a minimum
`hysteresis`                scores        a class is hard to enter and easy to stay in
`hmm_filter`                log scores    the best path when staying has a fixed probability
`viterbi_counted`           log scores    the best path under transitions counted in labels
==========================  ============  ====================================================
"""

from __future__ import annotations

import heapq
import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from segcrf._validation import (
    UNLABELLED,
    InputError,
    check_class_indices,
    check_label_arrays,
    check_positive,
    check_score_arrays,
    check_whole,
)
from segcrf.segments import IntArray, Recordings, Segments
from segcrf.structures import LinearChain

__all__ = ["hmm_filter", "hysteresis", "median_filter", "mode_filter", "purge", "viterbi_counted"]

Array = npt.NDArray[Any]


# ------------------------------------------------------------------------------- filters of scores and labels
def median_filter(scores: Recordings, width: int) -> list[Array]:
    """Replace each score by the median of a window around it, class by class.

    Args:
        scores: list of (T, C) floating arrays; -inf is a score like others.
        width: frames of the window, odd; at the ends the recording is mirrored.

    Returns:
        List of (T, C) arrays of the same type (float32 for bfloat16, which numpy does not have); their argmax
        over classes is the labelling.

    Raises:
        TypeError, ValueError: scores are no (T, C) arrays of floats without NaN, or the width is not odd.

    >>> blip = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
    >>> median_filter([blip], width=3)[0].argmax(1)
    array([0, 0, 0, 0])
    """
    ndimage = importlib.import_module("scipy.ndimage")
    arrays = check_score_arrays(scores, "scores")
    size = 2 * _check_window(width, "width") + 1

    def filtered(array: Array) -> Array:
        wide = array.astype(np.promote_types(array.dtype, np.float32))  # scipy knows no float16
        # Class by class: scipy's filter of one dimension takes log(width) per frame, that of two takes width.
        columns = [ndimage.median_filter(wide[:, c], size) for c in range(wide.shape[1])]
        return np.stack(columns, axis=1).astype(array.dtype)

    return [filtered(array) for array in arrays]


def mode_filter(labels: Recordings, width: int) -> list[IntArray]:
    """Replace each label by the commonest of a window around it.

    Args:
        labels: list of (T,) integer arrays; -100 has no vote and stays.
        width: frames of the window, odd; cut off at the ends of the recording.

    Returns:
        List of (T,) int64 arrays. Of several commonest classes the frame's own stays, otherwise the lowest is
        taken.

    Raises:
        TypeError, ValueError: labels are no (T,) arrays of classes, or the width is not odd.

    >>> mode_filter([[0, 0, 1, 0, 0, 1, 1]], width=3)
    [array([0, 0, 0, 0, 0, 1, 1])]
    """
    reach = _check_window(width, "width")
    return [_mode_filtered(array, reach) for array in check_label_arrays(labels)]


def _mode_filtered(labels: IntArray, reach: int) -> IntArray:
    frames = np.arange(len(labels))
    first, last = np.maximum(frames - reach, 0), np.minimum(frames + reach + 1, len(labels))
    votes, own, commonest = np.zeros_like(labels), np.zeros_like(labels), np.array(labels)
    for label in np.unique(labels[labels != UNLABELLED]):
        total = np.append(0, np.cumsum(labels == label))
        count = total[last] - total[first]
        commonest[count > votes] = label
        votes = np.maximum(votes, count)
        own[labels == label] = count[labels == label]
    return np.where((own == votes) | (labels == UNLABELLED), labels, commonest)


def purge(labels: Recordings, min_duration: int) -> list[IntArray]:
    """Give the frames of bands that are too short to their neighbours, the shortest band first.

    Of a band between two others the first half (rounded down) goes to the one before and the rest to the one
    after; beside an end or an unlabelled gap everything goes to the only neighbour. Of equally short bands
    the earlier goes first. A band without neighbours stays, however short; every other one ends up with at
    least ``min_duration`` frames.

    Args:
        labels: list of (T,) integer arrays; -100 stays.
        min_duration: frames of the shortest band that may stay; 1 changes nothing.

    Returns:
        List of (T,) int64 arrays.

    Raises:
        TypeError, ValueError: labels are no (T,) arrays of classes, or ``min_duration`` is not 1 or more.

    Source: the post-processing of Liu et al., "Diffusion action segmentation", 2023, made independent of the
    order.

    >>> purge([[0, 0, 0, 1, 1, 2, 2, 2]], min_duration=3)
    [array([0, 0, 0, 0, 2, 2, 2, 2])]
    """
    check_whole(min_duration, "min_duration", 1)
    return [_purged(array, min_duration) for array in check_label_arrays(labels)]


def _purged(labels: IntArray, min_duration: int) -> IntArray:
    bands = _LinkedBands(labels)
    short = [(bands.duration(i), i) for i in range(len(bands.label)) if bands.duration(i) < min_duration]
    heapq.heapify(short)
    while short:
        duration, i = heapq.heappop(short)
        if duration != bands.duration(i):
            continue  # it grew or went away after it was queued
        for grown in bands.remove(i):
            if bands.duration(grown) < min_duration:
                heapq.heappush(short, (bands.duration(grown), grown))
    return bands.to_labels(len(labels))


class _LinkedBands:
    """The bands of a recording, and for each band the bands that it touches (-1: none)."""

    def __init__(self, labels: IntArray) -> None:
        bands = Segments.from_labels([labels])
        self.start: list[int] = bands.start.tolist()
        self.end: list[int] = bands.end.tolist()
        self.label: list[int] = bands.label.tolist()
        touching = np.concatenate([[False], bands.start[1:] == bands.end[:-1], [False]])
        index = np.arange(len(bands))
        self.before: list[int] = np.where(touching[:-1], index - 1, -1)[: len(bands)].tolist()
        self.after: list[int] = np.where(touching[1:], index + 1, -1)[: len(bands)].tolist()

    def duration(self, i: int) -> int:
        return self.end[i] - self.start[i]

    def remove(self, i: int) -> list[int]:
        """Hand over the frames of band ``i``, and return the bands that grew."""
        before, after = self.before[i], self.after[i]
        if before < 0 and after < 0:
            return []
        if before >= 0 and after >= 0:
            middle = self.start[i] + self.duration(i) // 2
        else:
            middle = self.end[i] if before >= 0 else self.start[i]
        self.end[i] = self.start[i]
        self._link(before, after, middle)
        if before >= 0 and after >= 0 and self.label[before] == self.label[after]:
            return [self._join(before, after)]
        return [grown for grown in (before, after) if grown >= 0]

    def _link(self, before: int, after: int, middle: int) -> None:
        if before >= 0:
            self.after[before], self.end[before] = after, middle
        if after >= 0:
            self.before[after], self.start[after] = before, middle

    def _join(self, first: int, second: int) -> int:
        self.end[first], self.after[first] = self.end[second], self.after[second]
        if self.after[first] >= 0:
            self.before[self.after[first]] = first
        self.end[second] = self.start[second]
        return first

    def to_labels(self, num_frames: int) -> IntArray:
        labels = np.full(num_frames, UNLABELLED, dtype=np.int64)
        for start, end, label in zip(self.start, self.end, self.label, strict=True):
            labels[start:end] = label
        return labels


def hysteresis(scores: Recordings, enter: float, leave: float) -> list[IntArray]:
    """Switch only when the present class drops below one threshold and the best class reaches another.

    A recording begins with the best class of its first frame.

    Args:
        scores: list of (T, C) floating arrays, such as posterior probabilities.
        enter: least score with which a class may begin.
        leave: score below which a class may end, at or below ``enter``.

    Returns:
        List of (T,) int64 arrays.

    Raises:
        TypeError, ValueError: scores are no (T, C) arrays of floats without NaN, or ``leave`` is above
            ``enter``.

    >>> p = np.array([0.9, 0.45, 0.9, 0.2, 0.45, 0.55, 0.8])
    >>> hysteresis([np.stack([p, 1 - p], axis=1)], enter=0.7, leave=0.4)
    [array([0, 0, 0, 1, 1, 1, 0])]
    """
    _check_thresholds(enter, leave)
    return [_hysteresis(array, enter, leave) for array in check_score_arrays(scores, "scores")]


def _hysteresis(scores: Array, enter: float, leave: float) -> IntArray:
    num_frames: int = scores.shape[0]
    num_classes: int = scores.shape[1]
    best: IntArray = scores.argmax(1)
    # exits[t, c]: the first frame from t on at which class c would be left; num_frames if there is none.
    others = best[:, None] != np.arange(num_classes)
    left = (scores < leave) & (scores.max(1, keepdims=True) >= enter) & others
    frames = np.where(left, np.arange(num_frames)[:, None], num_frames)
    exits = np.minimum.accumulate(frames[::-1], axis=0)[::-1]
    labels = np.empty(num_frames, dtype=np.int64)
    start = 0
    while start < num_frames:
        end = int(exits[start, best[start]])
        labels[start:end] = best[start]
        start = end
    return labels


# --------------------------------------------------------------------------------------- filters by best path
def hmm_filter(log_scores: Recordings, stay: float, *, by_frame: bool = False) -> list[IntArray]:
    """Find the best path when a class stays with a fixed probability and all switches are equally likely.

    Args:
        log_scores: list of (T, C) floating arrays, log-probabilities of the frames; -inf forbids. For a
            hidden Markov model in the strict sense subtract the log of the class frequencies; scale
            overconfident scores down.
        stay: probability that the next frame has the same class, above 0 and below 1.
        by_frame: take the class that is most probable at each frame given the whole recording, rather than the most
            probable path. The path leaves out bands with uncertain boundaries.

    Returns:
        List of (T,) int64 arrays.

    Raises:
        TypeError, ValueError: scores are no (T, C) arrays of floats without NaN, a frame forbids every class,
            or ``stay`` is not between 0 and 1.

    Source: Rabiner, "A tutorial on hidden Markov models", 1989.

    >>> p = np.array([0.9, 0.9, 0.4, 0.9, 0.1, 0.1, 0.1])
    >>> hmm_filter([np.log(np.stack([p, 1 - p], axis=1))], stay=0.9)
    [array([0, 0, 0, 0, 1, 1, 1])]
    """
    _check_probability(stay, "stay")
    arrays = check_score_arrays(log_scores, "log_scores")
    _check_any_class_of(arrays, "log_scores")
    if not arrays:
        return []
    num_classes: int = arrays[0].shape[1]
    transitions = np.full((num_classes, num_classes), (1 - stay) / max(num_classes - 1, 1))
    np.fill_diagonal(transitions, stay)
    return [_decoded(array, np.log(transitions), np.zeros(num_classes), by_frame) for array in arrays]


def viterbi_counted(
    log_scores: Recordings, training_labels: Recordings, pseudocount: float = 1.0, *, by_frame: bool = False
) -> list[IntArray]:
    """Find the best path under the transitions and first classes counted in training labels.

    Args:
        log_scores: list of (T, C) floating arrays, as for :func:`hmm_filter`.
        training_labels: list of (T,) integer arrays below C; -100 is skipped, and so are steps to and from
            it.
        pseudocount: added to every count, so that what was never seen is unlikely rather than impossible;
            above 0.
        by_frame: as for :func:`hmm_filter`.

    Returns:
        List of (T,) int64 arrays.

    Raises:
        TypeError, ValueError: scores are no (T, C) arrays of floats without NaN, a frame forbids every class,
            labels are no classes below C, or the pseudocount is not above 0.

    Source: Rabiner, "A tutorial on hidden Markov models", 1989.

    >>> p = np.array([0.9, 0.9, 0.4, 0.9, 0.1, 0.1, 0.1])
    >>> viterbi_counted([np.log(np.stack([p, 1 - p], axis=1))], [[0] * 20 + [1] * 20])
    [array([0, 0, 0, 0, 1, 1, 1])]
    """
    check_positive(pseudocount, "pseudocount")
    arrays = check_score_arrays(log_scores, "log_scores")
    _check_any_class_of(arrays, "log_scores")
    labels = check_label_arrays(training_labels, "training_labels")
    if not arrays:
        return []
    num_classes: int = arrays[0].shape[1]
    check_class_indices(labels, num_classes, "training_labels")
    transitions, start = _counts(labels, num_classes)
    log_transitions, log_start = (_log_shares(counts + pseudocount) for counts in (transitions, start))
    return [_decoded(array, log_transitions, log_start, by_frame) for array in arrays]


def _counts(labels: list[IntArray], num_classes: int) -> tuple[IntArray, IntArray]:
    """Count how often each class follows each (C, C), and how often each is a recording's first (C,)."""
    transitions = np.zeros((num_classes, num_classes), dtype=np.int64)
    start = np.zeros(num_classes, dtype=np.int64)
    for array in labels:
        known = (array[:-1] != UNLABELLED) & (array[1:] != UNLABELLED)
        np.add.at(transitions, (array[:-1][known], array[1:][known]), 1)
        first = array[:1]
        start[first[first != UNLABELLED]] += 1
    return transitions, start


def _log_shares(counts: Array) -> Array:
    """Return the log of each count's share of its row; the quotient itself may round to 0, which would forbid."""
    logs = np.log(counts)
    return logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)


def _decoded(log_scores: Array, log_transitions: Array, log_start: Array, by_frame: bool) -> IntArray:
    emissions = torch.as_tensor(np.array(log_scores, order="C"))[None]
    transitions, start = (emissions.new_tensor(scores) for scores in (log_transitions, log_start))
    chain = LinearChain(emissions, transitions, start)
    return (chain.posterior_mode if by_frame else chain.mode)[0].numpy()


def _check_any_class_of(arrays: Sequence[Array], name: str) -> None:
    """Raise for a frame that forbids every class in one of a list of (T, C) arrays."""
    got, advice = "-inf (forbidden) for every class", "relax the scores of that frame"
    for i, array in enumerate(arrays):
        bad = np.flatnonzero(array.max(1) == -np.inf)
        if bad.size:
            expected, frame = "a finite score for one at least", int(bad[0])
            raise InputError(name, got, expected, advice, recording=i, frame=frame)


def _check_probability(value: float, name: str) -> None:
    """Raise for anything but a number above 0 and below 1."""
    if not 0 < value < 1:
        raise InputError(name, repr(value), "a probability above 0 and below 1")


def _check_thresholds(enter: float, leave: float) -> None:
    """Raise for a threshold to leave a class that is not at or below the one to enter it."""
    if not leave <= enter:
        raise InputError("enter, leave", f"{enter!r}, {leave!r}", "leave at or below enter", "swap them")


def _check_window(value: object, name: str) -> int:
    """Return the frames on either side of the centre of a window of odd width."""
    check_whole(value, name, 1)
    width = cast(int, value)
    if width % 2 == 0:
        expected = "an odd number of frames, so that a window has a centre"
        raise InputError(name, str(width), expected, f"try {width + 1}")
    return width // 2
