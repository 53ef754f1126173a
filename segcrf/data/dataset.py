"""Recordings as users hold them: lists of arrays, checked, with classes as indices, and split for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf import _validation
from segcrf._validation import UNLABELLED

__all__ = ["ClassCoder", "Given", "Labelled", "offset_share", "read", "split"]

Array = npt.NDArray[Any]
Given = Sequence[npt.ArrayLike]
"""One array per recording, as a user gives them."""


@dataclass(frozen=True)
class Labelled:
    """Recordings that passed the door.

    Args:
        signals: (T, F) each.
        labels: (T,) each, class indices; or what :func:`read` was given, until they are encoded.
        targets: (T, R) each, or None.
        numbers: those by which their owner knows them; None: 0, 1, ...
    """

    signals: list[Array]
    labels: list[Array]
    targets: list[Array] | None
    numbers: Sequence[int] | None = None

    @property
    def names(self) -> list[str]:
        """What messages call them."""
        return [f"recording {number}" for number in self.numbers or range(len(self.signals))]

    def take(self, indices: Sequence[int]) -> Labelled:
        """Some of the recordings.

        Args:
            indices: their places in this list.
        """
        targets = None if self.targets is None else [self.targets[i] for i in indices]
        known = self.numbers or range(len(self.signals))
        signals, labels = [self.signals[i] for i in indices], [self.labels[i] for i in indices]
        return Labelled(signals, labels, targets, [known[i] for i in indices])

    def cut(self, start: int, stop: int | None) -> Labelled:
        """The frames [start, stop) of every recording.

        Args:
            start: first frame.
            stop: first frame that is left out; None: the end.
        """
        targets = None if self.targets is None else [array[start:stop] for array in self.targets]
        labels = [array[start:stop] for array in self.labels]
        return Labelled([array[start:stop] for array in self.signals], labels, targets, self.numbers)


def read(
    X: Given, labels: Given, targets: Given | None, num_channels: int | None = None, num_targets: int | None = None
) -> Labelled:
    """Checks recordings; the labels stay as they were given.

    Args:
        X: signals, (T, F) each.
        labels: indices or names, (T,) each.
        targets: numbers, (T, R) each; or None.
        num_channels: F of the training recordings, where these are others.
        num_targets: R of the training recordings, likewise.

    Returns:
        The arrays, one per recording; none is copied or changed that need not be.

    Raises:
        TypeError: something is no list of arrays, or of another type than numbers (and text for labels).
        ValueError: shapes do not match, a signal is not finite or a target is infinite, or targets are missing. The
            message says in which recording and frame.
    """
    signals = check_signals(X, num_channels)
    lengths = [len(signal) for signal in signals]
    if num_targets and targets is None:
        raise ValueError(
            f"there are no targets, expected {num_targets} per frame as in training; "
            "give validation=(X, labels, targets)"
        )
    names = _validation.matching(labels, "labels", lengths)
    return Labelled(signals, names, None if targets is None else _check_targets(targets, lengths, num_targets))


@dataclass(frozen=True, eq=False)
class ClassCoder:
    """Labels as users write them, to class indices and back.

    Args:
        classes: (C,) names of the classes; or their indices, when labels are indices and no names are known.
        named: whether labels are written as names rather than indices.

    >>> coder = ClassCoder.learn([np.array(["walk", "", "rest"])])
    >>> coder.encode([np.array(["walk", ""])])
    [array([   1, -100])]
    >>> coder.decode(np.array([0, 1]))
    array(['rest', 'walk'], dtype='<U4')
    """

    classes: Array
    named: bool

    @classmethod
    def learn(cls, labels: Sequence[Array], classes: Sequence[str] | None = None) -> ClassCoder:
        """Finds the classes in labels, or takes those given.

        Args:
            labels: (T,) each, of indices (-100 = unlabelled) or names ("" = unlabelled).
            classes: names of the classes, in order; None: sorted names that occur, or 0 to the greatest index.

        Raises:
            TypeError: labels are neither, or are mixed.
            ValueError: a class is named twice.
        """
        named = _validation.label_kind(labels) == "name"
        if classes is not None:
            return cls(np.array(_check_named_classes(classes), dtype=str), named)
        if named:
            found = {str(name) for array in labels for name in np.unique(array)} - {""}
            return cls(np.array(sorted(found), dtype=str), named)
        return cls(np.arange(max(max(int(array.max()) for array in labels) + 1, 1)), named)

    def encode(self, labels: Sequence[Array]) -> list[Array]:
        """Arrays of class indices, -100 where there is no label.

        Args:
            labels: (T,) each, written as those that the classes were learned from.

        Raises:
            TypeError: they are written otherwise.
            ValueError: a label is none of the classes; the message says in which recording and frame.
        """
        kind = _validation.label_kind(labels)
        if self.named != (kind == "name"):
            expected = "text" if self.named else "integers"
            raise TypeError(f"labels are given by {kind}, expected {expected} as in the training labels; convert them")
        if self.named:
            return _validation.class_names(labels, self.classes.tolist())
        return _validation.class_indices(labels, len(self.classes))

    def decode(self, indices: Array) -> Array:
        """Class indices as the user writes labels.

        Args:
            indices: integers of any shape, 0 to C - 1.
        """
        return self.classes[indices] if self.named else indices


def offset_share(recordings: Labelled) -> float:
    """How much of the signal is the recording's own offset, which classes do not explain.

    What a class adds to each channel is taken away first. Of the variance that is left, this is the share between
    recordings, as in a one-way analysis of variance; the median over the channels. It is near 0 where all recordings
    were made alike, and near 1 where a sensor sat elsewhere each time.

    Args:
        recordings: labelled recordings; unlabelled frames are left out.

    Returns:
        A share from 0 to 1.

    >>> labels = [np.array([0, 0, 1, 1])] * 2
    >>> alike, elsewhere = np.array([[0.0], [1.0], [9.0], [8.0]]), np.array([[50.0], [51.0], [59.0], [58.0]])
    >>> round(offset_share(Labelled([alike, alike], labels, None)), 2)
    0.0
    >>> round(offset_share(Labelled([alike, elsewhere], labels, None)), 2)
    1.0
    """
    known = [labels != UNLABELLED for labels in recordings.labels]
    signals = [signal[frames] for signal, frames in zip(recordings.signals, known, strict=True) if frames.any()]
    labels = np.concatenate([k[frames] for k, frames in zip(recordings.labels, known, strict=True)])
    residual = np.concatenate(signals).astype(np.float64)
    for label in np.unique(labels):
        residual[labels == label] -= residual[labels == label].mean(axis=0)
    between = np.zeros(residual.shape[1])
    for part in np.split(residual, np.cumsum([len(signal) for signal in signals])[:-1]):
        between += len(part) * part.mean(axis=0) ** 2
    total = np.square(residual).sum(axis=0)
    return float(np.median(between / np.where(total > 0.0, total, 1.0)))


def split(
    recordings: Labelled, fraction: float, seed: int, groups: Sequence[object] | None = None
) -> tuple[Labelled, Labelled]:
    """Splits recordings for training and validation.

    Whole recordings are held out, in a random order, but none that alone has some class. Neighbouring windows of one
    recording are too much alike to judge by. Only a single recording is split in time: its last frames are held out.

    Args:
        recordings: what there is.
        fraction: share of the labelled recordings to hold out, rounded, one at least; 0 for none.
        seed: of the random order.
        groups: one name per recording; whole groups are held out, in place of whole recordings.

    Returns:
        Recordings for training and for validation; unlabelled recordings are among the former.

    Raises:
        ValueError: no frame is labelled, or only one is and it would have to be in both; or only one group has labels.
    """
    check_any_labelled(recordings.labels, "training")
    everything = range(len(recordings.labels))
    if fraction == 0.0:
        return recordings, recordings.take([])
    if groups is not None:
        return _split_by_group(recordings, fraction, seed, groups)
    labelled = [i for i in everything if (recordings.labels[i] != UNLABELLED).any()]
    if len(labelled) == 1:
        return _split_in_time(recordings, labelled[0], fraction)
    order = np.random.default_rng(seed).permutation(labelled).tolist()
    held = _spared(recordings.labels, order, max(round(fraction * len(order)), 1))
    return recordings.take([i for i in everything if i not in held]), recordings.take(sorted(held))


def _split_by_group(
    recordings: Labelled, fraction: float, seed: int, groups: Sequence[object]
) -> tuple[Labelled, Labelled]:
    """Hold out whole groups, their unlabelled recordings included."""
    members: dict[object, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    labels = [np.concatenate([recordings.labels[i] for i in each]) for each in members.values()]
    labelled = [g for g, array in enumerate(labels) if (array != UNLABELLED).any()]
    if len(labelled) < 2:
        advice = "give validation= with recordings of other groups, or validation_fraction=0, or leave groups out"
        raise _validation.InputError("groups", f"{len(labelled)} group with labels", "2 or more", advice)
    order = np.random.default_rng(seed).permutation(labelled).tolist()
    chosen = _spared(labels, order, max(round(fraction * len(order)), 1))
    held = sorted(i for g, each in enumerate(members.values()) if g in chosen for i in each)
    return recordings.take([i for i in range(len(recordings.labels)) if i not in set(held)]), recordings.take(held)


def _spared(labels: list[Array], order: list[int], count: int) -> set[int]:
    """The first ``count`` recordings in this order without which no class is lost; any one, if there is none such."""
    classes = {i: set(np.unique(labels[i]).tolist()) for i in order}
    held: set[int] = set()
    for i in order:
        others = set[int]().union(*(classes[j] for j in order if j != i and j not in held))
        if len(held) < count and classes[i] <= others | {UNLABELLED}:
            held.add(i)
    return held or {order[0]}


def _split_in_time(recordings: Labelled, only: int, fraction: float) -> tuple[Labelled, Labelled]:
    known = np.flatnonzero(recordings.labels[only] != UNLABELLED)
    if len(known) < 2:
        raise ValueError(
            f"recording {only} has the only labelled frame, expected at least one to train and one to validate; "
            "label more, give validation=, or set validation_fraction=0"
        )
    at = int(known[min(max(round((1.0 - fraction) * len(known)), 1), len(known) - 1)])
    one = recordings.take([only])
    others = recordings.take([i for i in range(len(recordings.labels)) if i != only])
    early = one.cut(0, at)
    targets = None if early.targets is None or others.targets is None else early.targets + others.targets
    numbers = [*(early.numbers or ()), *(others.numbers or ())]
    train = Labelled(early.signals + others.signals, early.labels + others.labels, targets, numbers)
    return train, one.cut(at, None)


def check_signals(values: Sequence[npt.ArrayLike], num_channels: int | None = None) -> list[Array]:
    """Return recordings as a list of (T, F) numeric arrays, finite, with one number of channels."""
    arrays = _validation.list_of_arrays(values, "X", "(T, F) signals", 2)
    expected = num_channels
    for i, array in enumerate(arrays):
        if array.ndim != 2:
            hint = "reshape(-1, 1) makes one channel of it" if array.ndim == 1 else "give one array per recording"
            raise ValueError(f"recording {i}: X must have shape (T, F) = (frames, channels), got {array.shape}; {hint}")
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"recording {i}: X must hold real numbers, got {array.dtype}; convert it with .astype(float)"
            )
        if 0 in array.shape:
            raise ValueError(
                f"recording {i}: X is empty, shape {array.shape}; drop recordings without frames or channels"
            )
        expected = array.shape[1] if expected is None else expected
        if array.shape[1] != expected:
            reference = "as recording 0" if num_channels is None else "as in fit"
            raise ValueError(
                f"recording {i} has {array.shape[1]} channels, expected {expected}, {reference}; "
                "give every recording the same channels in the same order"
            )
        _finite(array, f"recording {i}")
    return arrays


def _finite(array: Array, place: str) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        frame, channel = (int(index) for index in np.argwhere(bad)[0])
        raise ValueError(
            f"{place}, frame {frame}, channel {channel}: got {array[frame, channel]}, expected a finite number; "
            "fill the gap, or cut the recording in two there"
        )


def check_any_labelled(arrays: Sequence[Array], where: str) -> None:
    """Refuse recordings of which not one frame has a label."""
    if all((array == UNLABELLED).all() for array in arrays):
        raise ValueError(
            f"{where}: all labels are missing, expected at least one labelled frame; label some, or leave it out"
        )


def _check_named_classes(values: Any) -> list[object]:
    """Return the names of classes as a list, after checking that each could be a class of its own."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"classes: got {values!r}, expected a list of names, such as ['rest', 'walk']")
    listed = _validation.names(values, "classes", -1)
    if not listed:
        raise ValueError("classes: got an empty list, expected names; or None for those found in the labels")
    if "" in listed:
        raise ValueError(f"classes: got '' in {listed}, which marks a frame without a label; leave it out, or name it")
    return listed


def _check_targets(
    values: Sequence[npt.ArrayLike], lengths: Sequence[int], num_targets: int | None = None
) -> list[Array]:
    """Return targets as (T, R) arrays with one R; NaN is allowed (unknown), infinity is not."""
    arrays = _validation.matching(values, "targets", lengths, ndim=2)
    expected = num_targets
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"recording {i}: targets must be real numbers, got {array.dtype}; convert with .astype(float)"
            )
        if array.ndim != 2 or array.shape[1] == 0 or array.shape[1] != (expected or array.shape[1]):
            columns = expected or "R"
            raise ValueError(
                f"recording {i}: targets must have shape (T, R) = ({lengths[i]}, {columns}), got {array.shape}; "
                "reshape(-1, 1) makes one target of a flat array"
            )
        expected = array.shape[1]
        if np.isinf(array).any():
            frame, target = (int(index) for index in np.argwhere(np.isinf(array))[0])
            raise ValueError(
                f"recording {i}, frame {frame}, target {target}: got {array[frame, target]}, expected a finite number, "
                "or NaN for unknown; replace it"
            )
    return arrays
