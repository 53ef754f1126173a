"""What people use instead of a CRF: penalties for training, filters for decoding.

**Penalties** take the class scores of a network before the softmax, (B, T, C), and the frames of each
recording, and return one number to add to a frame-wise loss with a weight of one's own. Each is a sum over
neighbouring frames divided by the number of valid frames; padding counts for nothing. A score of -inf forbids a
class at a frame: its probability is 0. Half precision is computed, and returned, in float32.

**Filters** take and return lists of recordings as numpy arrays, and know nothing of training:

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
from torch import Tensor

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.segments import IntArray, Recordings, Segments
from segcrf.structures import LinearChain, check_emissions_shape, check_lengths

Array = npt.NDArray[Any]


# -------------------------------------------------------------------------------------------------- penalties
def expected_switches(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the expected number of class changes per frame if every frame's class were drawn on its own.

    The sum of 1 - sum_c p[t, c] p[t - 1, c] over neighbouring frames, divided by the number of valid frames.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 to 1.

    Raises:
        TypeError, ValueError: ``logits`` are no (B, T, C) floating tensor, a length is not from 1 to T, or a
            frame forbids every class.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> round(expected_switches(certain).item(), 4)
    0.25
    """
    before, after, frames = _neighbours(logits, lengths)
    return (1 - (before.softmax(-1) * after.softmax(-1)).sum(-1)).sum() / frames


def total_variation(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over classes of ``|p[t] - p[t - 1]|``, per frame.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 to 2.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`.

    Source: Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> round(total_variation(certain).item(), 4)
    0.5
    """
    before, after, frames = _neighbours(logits, lengths)
    return (after.softmax(-1) - before.softmax(-1)).abs().sum() / frames


def neighbour_kl(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p[t - 1] || p[t]) per frame, in nats.

    The earlier frame is a target: no gradient goes through it. A class that is forbidden (-inf) in the earlier
    frame adds nothing. One that is forbidden in the later frame only makes the divergence infinite, as its
    definition says; the gradient is finite even so.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 or more.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`.

    Source: Farha and Gall, "MS-TCN", 2019, section 3.3.

    >>> neighbour_kl(torch.zeros(1, 5, 3)).item()
    0.0
    """
    before, after, frames = _neighbours(logits, lengths)
    target = before.detach().log_softmax(-1)
    share = target.exp()
    # 0 log 0 is 0: an infinite difference times 0 would be NaN.
    difference = torch.where(share > 0, target - after.log_softmax(-1), 0.0)
    return (share * difference).sum() / frames


def truncated_mse(logits: Tensor, lengths: Tensor | None = None, tau: float = 4.0) -> Tensor:
    """Return the truncated mean squared difference of neighbouring log-probabilities, per frame and class.

    The sum of min(abs(log p[t, c] - log p[t - 1, c]), tau)^2, divided by valid frames times classes. The
    earlier frame is a target: no gradient goes through it. A class that is forbidden (-inf) in both frames has not
    changed and adds nothing; one that is forbidden in one of them adds ``tau`` squared. The weight of the paper is
    0.15.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.
        tau: largest difference that counts, in nats, above 0.

    Returns:
        A scalar, 0 to ``tau`` squared.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`; or ``tau`` is not above 0.

    Source: Farha and Gall, "MS-TCN", 2019, section 3.3.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> truncated_mse(certain).item()
    4.0
    """
    _validation.positive(tau, "tau")
    before, after, frames = _neighbours(logits, lengths)
    now, target = after.log_softmax(-1), before.detach().log_softmax(-1)
    # Before abs(), whose gradient at NaN, -inf minus -inf, is NaN.
    change = torch.where((now > -torch.inf) | (target > -torch.inf), now - target, 0.0)
    return change.abs().clamp(max=tau).square().sum() / (frames * logits.shape[-1])


def _neighbours(logits: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (M, C) of the frames that have one after them, scores (M, C) of those, and the number of frames."""
    num_recordings, num_frames, _ = check_emissions_shape(logits)
    lengths = check_lengths(lengths, num_recordings, num_frames, logits.device)
    # Chosen, not masked: padding may hold NaN, and NaN times zero is NaN in the gradient too.
    inside = torch.arange(1, num_frames, device=logits.device) < lengths[:, None]
    _check_any_class(logits, lengths)
    # A sum over many frames in float16 would pass its largest number, 65,504.
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return scores[:, :-1][inside], scores[:, 1:][inside], lengths.sum()


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
    arrays = _validation.score_arrays(scores, "scores")
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
    return [_mode_filtered(array, reach) for array in _validation.label_arrays(labels)]


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
    _validation.whole(min_duration, "min_duration", 1)
    return [_purged(array, min_duration) for array in _validation.label_arrays(labels)]


def _purged(labels: IntArray, min_duration: int) -> IntArray:
    bands = _LinkedBands(labels)
    short = [(bands.duration(i), i) for i in range(len(bands.label)) if bands.duration(i) < min_duration]
    heapq.heapify(short)
    while short:
        duration, i = heapq.heappop(short)
        if duration != bands.duration(i):
            continue  # it has grown or gone since it was queued
        for grown in bands.remove(i):
            if bands.duration(grown) < min_duration:
                heapq.heappush(short, (bands.duration(grown), grown))
    return bands.to_labels(len(labels))


class _LinkedBands:
    """The bands of a recording, each of which knows the ones that it touches (-1: none)."""

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
        """Hand the frames of band ``i`` over, and return the bands that grew."""
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
    """Switch only when the present class has dropped below one threshold and the best one has reached
    another.

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
    return [_hysteresis(array, enter, leave) for array in _validation.score_arrays(scores, "scores")]


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
            probable path, which leaves out bands whose boundaries are uncertain.

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
    arrays = _validation.score_arrays(log_scores, "log_scores")
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
    _validation.positive(pseudocount, "pseudocount")
    arrays = _validation.score_arrays(log_scores, "log_scores")
    _check_any_class_of(arrays, "log_scores")
    labels = _validation.label_arrays(training_labels, "training_labels")
    if not arrays:
        return []
    num_classes: int = arrays[0].shape[1]
    _validation.class_indices(labels, num_classes, "training_labels")
    transitions, start = _counts(labels, num_classes)
    log_transitions, log_start = (_log_shares(counts + pseudocount) for counts in (transitions, start))
    return [_decoded(array, log_transitions, log_start, by_frame) for array in arrays]


def _counts(labels: list[IntArray], num_classes: int) -> tuple[IntArray, IntArray]:
    """How often each class follows each (C, C), and how often each is a recording's first (C,)."""
    transitions = np.zeros((num_classes, num_classes), dtype=np.int64)
    start = np.zeros(num_classes, dtype=np.int64)
    for array in labels:
        known = (array[:-1] != UNLABELLED) & (array[1:] != UNLABELLED)
        np.add.at(transitions, (array[:-1][known], array[1:][known]), 1)
        first = array[:1]
        start[first[first != UNLABELLED]] += 1
    return transitions, start


def _log_shares(counts: Array) -> Array:
    """Log of each count's share of its row; the quotient itself may round to 0, which would forbid."""
    logs = np.log(counts)
    return logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True)


def _decoded(log_scores: Array, log_transitions: Array, log_start: Array, by_frame: bool) -> IntArray:
    emissions = torch.as_tensor(np.array(log_scores, order="C"))[None]
    transitions, start = (emissions.new_tensor(scores) for scores in (log_transitions, log_start))
    chain = LinearChain(emissions, transitions, start)
    return (chain.posterior_mode if by_frame else chain.mode)[0].numpy()


def _check_any_class(logits: Tensor, lengths: Tensor) -> None:
    """Refuse a frame whose every class is forbidden: it has no probabilities."""
    if torch.compiler.is_compiling():
        return
    within = torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]
    bad = (logits.detach().amax(-1) == -torch.inf) & within
    if bad.any():
        recording, frame = bad.nonzero()[0].tolist()
        raise ValueError(_no_class(f"logits of recording {recording}, frame {frame}"))


def _check_any_class_of(arrays: Sequence[Array], name: str) -> None:
    """Refuse a frame whose every class is forbidden in one of a list of (T, C) arrays."""
    for recording, array in enumerate(arrays):
        bad = np.flatnonzero(array.max(1) == -np.inf)
        if bad.size:
            raise ValueError(_no_class(f"{name}, recording {recording}, frame {bad[0]}"))


def _no_class(place: str) -> str:
    return (
        f"{place}: got -inf (forbidden) for every class, expected a finite score for one at least; relax the scores "
        "of that frame"
    )


def _check_probability(value: float, name: str) -> None:
    """Refuse anything but a number above 0 and below 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: got {value!r}, expected a probability above 0 and below 1")


def _check_thresholds(enter: float, leave: float) -> None:
    """Refuse a threshold to leave a class that is not at or below the one to enter it."""
    if not leave <= enter:
        raise ValueError(f"enter, leave: got {enter!r}, {leave!r}, expected leave at or below enter; swap them")


def _check_window(value: object, name: str) -> int:
    """Return the frames on either side of the centre of a window of odd width."""
    _validation.whole(value, name, 1)
    width = cast(int, value)
    if width % 2 == 0:
        raise ValueError(
            f"{name}: got {width}, expected an odd number of frames, so that a window has a centre; try {width + 1}"
        )
    return width // 2
