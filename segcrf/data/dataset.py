"""Labelled recordings as people hold them: lists of arrays, checked, with classes as indices.

Three types hold recordings, for three purposes: :class:`Labelled` holds the arrays that the user gave,
:class:`~segcrf.data.windows.Recording` holds the tensors of one recording or window for training, and
:class:`~segcrf.data.readers.RecordingTable` holds what was read from a table, with names and times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import (
    UNLABELLED,
    InputError,
    InputTypeError,
    check_class_indices,
    check_names,
    find_label_kind,
    index_class_names,
)
from segcrf.data.objects import split_by_index, turn_channels_last

__all__ = ["ClassCoder", "Given", "Labelled", "check_any_labelled", "check_matching", "check_signals", "read_labelled"]

Array = npt.NDArray[Any]
Given = Sequence[npt.ArrayLike]
"""One array per recording, as a user gives them."""


@dataclass(frozen=True)
class Labelled:
    """Validated recordings with their labels.

    Args:
        signals: (T, F) each.
        labels: (T,) each, class indices; or as they were given to :func:`read_labelled`, until they are encoded.
        targets: (T, R) each, or None.
        indices: indices of the recordings in the list that the user gave; None: 0, 1, ...
    """

    signals: list[Array]
    labels: list[Array]
    targets: list[Array] | None
    indices: Sequence[int] | None = None

    def __repr__(self) -> str:
        channels = self.signals[0].shape[1] if self.signals else 0
        num_targets = 0 if not self.targets else self.targets[0].shape[1]
        frames = sum(map(len, self.signals))
        return f"Labelled(recordings={len(self.signals)}, frames={frames}, channels={channels}, targets={num_targets})"

    @property
    def names(self) -> list[str]:
        """Names of the recordings for messages."""
        return [f"recording {index}" for index in self.indices or range(len(self.signals))]

    def take(self, indices: Sequence[int]) -> Labelled:
        """Return some of the recordings.

        Args:
            indices: their positions in this list.
        """
        targets = None if self.targets is None else [self.targets[i] for i in indices]
        known = self.indices or range(len(self.signals))
        signals, labels = [self.signals[i] for i in indices], [self.labels[i] for i in indices]
        return Labelled(signals, labels, targets, [known[i] for i in indices])

    def cut(self, start: int, stop: int | None) -> Labelled:
        """Return the frames [start, stop) of every recording.

        Args:
            start: first frame.
            stop: first frame that is left out; None: the end.
        """
        targets = None if self.targets is None else [array[start:stop] for array in self.targets]
        labels = [array[start:stop] for array in self.labels]
        return Labelled([array[start:stop] for array in self.signals], labels, targets, self.indices)


def read_labelled(
    X: Given,
    y: Given,
    targets: Given | None,
    num_channels: int | None = None,
    num_targets: int | None = None,
    *,
    gaps: bool = False,
) -> Labelled:
    """Check recordings and return them as arrays; the labels stay as they were given.

    Args:
        X: signals, (T, F) each; or (F, T) each, if ``y`` shows that frames are last. Lists of arrays, tensors, and
            tables of pandas, polars, Arrow and xarray will do, and one table of pandas with an index that has the
            recording first.
        y: labels, class indices or names, (T,) each.
        targets: regression targets, (T, R) each; or None.
        num_channels: F of the training recordings, if these are other recordings.
        num_targets: R of the training recordings, if these are other recordings.
        gaps: whether signals may have missing values (NaN).

    Returns:
        The arrays, one per recording. An array is copied or converted only if necessary.

    Raises:
        InputTypeError: a value is not a list of arrays, or its type is not numeric (or text for labels).
        InputError: shapes do not match, a signal is not finite, a target is infinite, or targets are missing. The
            error carries the recording and the frame.
    """
    y, targets = split_by_index(y), split_by_index(targets)
    labels: Any = y
    known = [len(own) if hasattr(own, "__len__") else -1 for own in labels] if hasattr(labels, "__len__") else None
    signals = check_signals(turn_channels_last(split_by_index(X), known), num_channels, gaps=gaps)
    lengths = [len(signal) for signal in signals]
    if num_targets and targets is None:
        raise InputError(
            "targets", "None", f"{num_targets} per frame, as in training", "give validation=(X, y, targets)"
        )
    checked = check_matching(y, "y", lengths)
    return Labelled(signals, checked, None if targets is None else _check_targets(targets, lengths, num_targets))


@dataclass(frozen=True, eq=False)
class ClassCoder:
    """Convert labels as users write them to class indices, and back.

    Args:
        classes: (C,) names of the classes; or their indices, when labels are indices and no names are known.
        named: whether labels are written as names rather than indices.

    Example:
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
        """Find the classes in labels, or take the given ones.

        Args:
            labels: (T,) each, of indices (-100 = unlabelled) or names ("" = unlabelled).
            classes: names of the classes, in order; None: sorted names that occur, or 0 to the greatest index.

        Raises:
            InputTypeError: labels are neither indices nor names, or are mixed.
            InputError: a class has no name, or two classes have the same name.
        """
        named = find_label_kind(labels, "y") == "name"
        if classes is not None:
            return cls(np.array(_check_named_classes(classes), dtype=str), named)
        if named:
            found = {str(name) for array in labels for name in np.unique(array)} - {""}
            return cls(np.array(sorted(found), dtype=str), named)
        return cls(np.arange(max(max(int(array.max()) for array in labels) + 1, 1)), named)

    def extended(self, labels: Sequence[Array]) -> ClassCoder:
        """Return a coder with the classes of more labels appended to these, sorted among themselves.

        Args:
            labels: (T,) each, in the same form as the labels that the classes were learned from.

        Raises:
            InputTypeError: the labels are neither indices nor names, or are mixed.

        Example:
            >>> ClassCoder(np.array(["rest", "walk"]), True).extended([np.array(["walk", "run", ""])]).classes.tolist()
            ['rest', 'walk', 'run']
        """
        learned, known = ClassCoder.learn(labels), self.classes.tolist()
        if learned.named != self.named:
            return self  # `encode` reports labels in the other form
        new = [name for name in learned.classes.tolist() if name not in known]
        return self if not new else ClassCoder(np.array(known + new), self.named)

    def encode(self, labels: Sequence[Array], argument: str = "y") -> list[Array]:
        """Return arrays of class indices, with -100 where there is no label.

        Args:
            labels: (T,) each, in the same form as the labels that the classes were learned from.
            argument: name of the labels in errors.

        Raises:
            InputTypeError: the labels have the other form.
            InputError: a label is not one of the classes. The error carries the recording and the frame.
        """
        kind = find_label_kind(labels, argument)
        if self.named != (kind == "name"):
            got = "text" if kind == "name" else "integers"
            expected = f"{'text' if self.named else 'integers'}, as in the training labels"
            raise InputTypeError(argument, got, expected, "convert them")
        if self.named:
            return index_class_names(labels, self.classes.tolist(), argument)
        return check_class_indices(labels, len(self.classes), argument)

    def decode(self, indices: Array) -> Array:
        """Return class indices in the form in which the user writes labels.

        Args:
            indices: integers of any shape, 0 to C - 1, or -100 for no label.
        """
        return np.append(self.classes, "")[np.where(indices == UNLABELLED, -1, indices)] if self.named else indices


def check_signals(
    values: Sequence[npt.ArrayLike], num_channels: int | None = None, *, gaps: bool = False
) -> list[Array]:
    """Return recordings as a list of numeric, finite (T, F) arrays with the same number of channels.

    Args:
        values: one array per recording, or what :mod:`segcrf.data.objects` makes arrays of.
        num_channels: expected F; None: that of recording 0.
        gaps: whether values may be missing (NaN).

    Raises:
        InputTypeError: the value is not a list of arrays, or an array is not numeric.
        InputError: a shape does not fit, or a value is not finite. The error carries the recording and the frame.
    """
    values = turn_channels_last(split_by_index(values), num_channels=num_channels)
    arrays = check_list_of_arrays(values, "X", "(T, F) signals", 2)
    expected = num_channels
    for i, array in enumerate(arrays):
        shape = f"shape {array.shape}"
        if array.ndim != 2:
            advice = "reshape(-1, 1) makes one channel of it" if array.ndim == 1 else "give one array per recording"
            raise InputError("X", shape, "shape (T, F) = (frames, channels)", advice, recording=i)
        if array.dtype.kind not in "biuf":
            raise InputTypeError("X", str(array.dtype), "real numbers", "convert it with .astype(float)", recording=i)
        if 0 in array.shape:
            advice = "drop recordings without frames or channels"
            raise InputError("X", shape, "shape (T, F), not empty", advice, recording=i)
        expected = array.shape[1] if expected is None else expected
        if array.shape[1] != expected:
            reference = "as in recording 0" if num_channels is None else "as in fit"
            advice = "give every recording the same channels in the same order"
            raise InputError("X", f"{array.shape[1]} channels", f"{expected}, {reference}", advice, recording=i)
        _check_finite(array, i, gaps)
    return arrays


def _check_finite(array: Array, recording: int, gaps: bool) -> None:
    bad = np.isinf(array) if gaps else ~np.isfinite(array)
    if bad.any():
        frame, channel = (int(index) for index in np.argwhere(bad)[0])
        got = f"{array[frame, channel]} in channel {channel}"
        advice = "fill the gap, cut the recording in two there, or fit with missing='hold'"
        raise InputError("X", got, "a finite number", advice, recording=recording, frame=frame)


def check_any_labelled(arrays: Sequence[Array], argument: str = "y") -> None:
    """Raise unless at least one frame has a label.

    Args:
        arrays: class indices (T,) of each recording, -100 = unlabelled.
        argument: name of the labels, for the error.

    Raises:
        InputError: every frame is unlabelled.
    """
    if all((array == UNLABELLED).all() for array in arrays):
        advice = "label some frames, or leave the recordings out"
        raise InputError(argument, "no labelled frame", "one labelled frame at least", advice)


def _check_named_classes(values: Any) -> list[object]:
    """Return the names of classes as a list, after checking that each can be a class of its own."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise InputTypeError("classes", repr(values), "a list of names, such as ['rest', 'walk']")
    listed = check_names(values, "classes", -1)
    if not listed:
        raise InputError("classes", "an empty list", "names", "give None for the names that occur in the labels")
    if "" in listed:
        expected = "names of classes; '' marks a frame without a label"
        raise InputError("classes", f"'' in {listed}", expected, "leave it out, or name it")
    return listed


def _check_targets(
    values: Sequence[npt.ArrayLike], lengths: Sequence[int], num_targets: int | None = None
) -> list[Array]:
    """Return targets as (T, R) arrays with one R; NaN is allowed (unknown), infinity is not."""
    arrays = check_matching(values, "targets", lengths, ndim=2)
    expected = num_targets
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biuf":
            advice = "convert them with .astype(float)"
            raise InputTypeError("targets", str(array.dtype), "real numbers", advice, recording=i)
        if array.ndim != 2 or array.shape[1] == 0 or array.shape[1] != (expected or array.shape[1]):
            wanted = f"shape (T, R) = ({lengths[i]}, {expected or 'R'})"
            advice = "reshape(-1, 1) makes one target of a flat array"
            raise InputError("targets", f"shape {array.shape}", wanted, advice, recording=i)
        expected = array.shape[1]
        if np.isinf(array).any():
            frame, target = (int(index) for index in np.argwhere(np.isinf(array))[0])
            got = f"{array[frame, target]} in target {target}"
            raise InputError(
                "targets", got, "a finite number, or NaN for unknown", "replace it", recording=i, frame=frame
            )
    return arrays


def check_list_of_arrays(values: Any, name: str, what: str, ndim: int) -> list[Array]:
    """Return a list of arrays, one per recording, each of ``ndim`` axes; an array with one more axis is a list."""
    expected = f"a list of {what}, one per recording"
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__len__"):
        raise InputTypeError(name, type(values).__name__, expected)
    shape = getattr(values, "shape", None)
    holds_arrays = getattr(getattr(values, "dtype", None), "kind", "") == "O" and len(shape or ()) == 1
    if shape is not None and len(shape) <= ndim and not holds_arrays:
        raise InputTypeError(name, f"one array of shape {tuple(shape)}", expected, "put it in a list")
    if len(values) == 0:
        raise InputError(name, "an empty list", expected, "give at least one recording")
    arrays = [np.asarray(value) for value in values]
    if all(array.ndim == 0 for array in arrays) and any(array.dtype != object for array in arrays):
        raise InputTypeError(name, f"one list of {len(arrays)} numbers or words", expected, "put it in a list")
    return arrays


def check_matching(values: Sequence[npt.ArrayLike], name: str, lengths: Sequence[int], ndim: int = 1) -> list[Array]:
    """Return ``values`` as a list of arrays, one per recording and as long as it; one recording's has ``ndim`` axes."""
    arrays = check_list_of_arrays(values, name, "arrays", ndim)
    if len(arrays) != len(lengths):
        raise InputError(name, f"{len(arrays)} recordings", f"{len(lengths)}, as in X", "give one array for each")
    for i, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        expected = f"an array of {length} frames, as in X"
        if array.dtype == object and array.ndim == 0 and array.item() is None:
            nothing = "NaN" if name == "targets" else f"{UNLABELLED} (or '' among names)"
            raise InputTypeError(name, "None", expected, f"where nothing is known, fill it with {nothing}", recording=i)
        if array.ndim == 0 or len(array) != length:
            got = f"{len(array)} frames" if array.ndim else f"the single value {array}"
            raise InputError(name, got, expected, "both must match frame by frame", recording=i)
    return arrays
