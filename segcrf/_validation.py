"""Checks that two or more modules share, and the errors that carry what was wrong as fields.

A check that one module needs stands at the bottom of that module. Public entries validate; nothing is checked twice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "UNLABELLED",
    "Array",
    "InputError",
    "InputTypeError",
    "about_argument",
    "check_choice",
    "check_class_indices",
    "check_label_arrays",
    "check_names",
    "check_number",
    "check_positive",
    "check_same_number",
    "check_score_arrays",
    "check_share",
    "check_whole",
    "find_label_kind",
    "frames_per_second",
    "index_class_names",
    "is_number",
    "list_label_arrays",
    "list_recordings",
    "to_numpy",
]

#: Marks a frame without a label, and every frame beyond a recording's length (PyTorch's ``ignore_index``).
UNLABELLED = -100
Array = npt.NDArray[Any]


# ------------------------------------------------------------------------------------------------------ errors
class _FieldsError(Exception):
    """What both kinds of input error share: the fields, and the sentence made of them."""

    def __init__(
        self,
        argument: str,
        got: str,
        expected: str,
        advice: str = "",
        *,
        recording: int | str | None = None,
        frame: int | None = None,
    ) -> None:
        super().__init__(argument, got, expected, advice)
        self.argument, self.got, self.expected, self.advice = argument, got, expected, advice
        self.recording, self.frame = recording, frame

    @property
    def place(self) -> str:
        """Where it is: the argument, with the recording and the frame if there are any."""
        recording = "" if self.recording is None else f" of recording {self.recording}"
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"{self.argument}{recording}{frame}"

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.place}: got {self.got}, expected {self.expected}{advice}"


class InputError(_FieldsError, ValueError):
    """An input that cannot be used. Its text is one sentence, made of its fields.

    Attributes:
        argument: name of the argument, such as ``"emissions"``.
        recording: index or name of the recording, or None.
        frame: index of the frame, or None.
        got: what was given, as a phrase.
        expected: what is accepted, as a phrase.
        advice: the next step, or ``""``.

    Example:
        >>> str(InputError("lengths", "51", "1 to T = 50", "pad emissions to the longest", recording=3))
        'lengths of recording 3: got 51, expected 1 to T = 50; pad emissions to the longest'
    """


class InputTypeError(_FieldsError, TypeError):
    """An input of the wrong kind, with the fields of :class:`InputError`."""


@contextmanager
def about_argument(name: str) -> Generator[None, None, None]:
    """Add to the errors of checks which of the caller's arguments they are about."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        error.argument = f"{name}: {error.argument}"
        raise


# ------------------------------------------------------------------------------------------- single parameters
def check_choice(value: object, name: str, known: Sequence[object]) -> None:
    """Raise unless ``value`` is among the ``known`` ones."""
    if value not in known:
        raise InputError(name, repr(value), f"one of {', '.join(map(repr, known))}")


def check_whole(value: object, name: str, lowest: int) -> None:
    """Raise unless ``value`` is an integer of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
        raise InputError(name, repr(value), f"an integer of {lowest} or more")


def is_number(value: object) -> bool:
    """Return whether ``value`` is a real number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_number(value: Any, name: str, lowest: float) -> None:
    """Raise unless ``value`` is a finite number of at least ``lowest``."""
    if not is_number(value) or not lowest <= value < float("inf"):
        raise InputError(name, repr(value), f"a finite number of {lowest:g} or more")


def check_positive(value: float, name: str) -> None:
    """Raise unless ``value`` is a finite number above 0."""
    check_number(value, name, 0.0)
    if value == 0:
        raise InputError(name, repr(value), "a number above 0")


def check_share(value: float, name: str) -> None:
    """Raise unless ``value`` is a number from 0 to below 1."""
    check_number(value, name, 0.0)
    if value >= 1:
        raise InputError(name, repr(value), "a share from 0 to below 1")


def frames_per_second(value: float | None) -> float:
    """Return a sampling rate in frames per second; None is 1, so that times are frames."""
    if value is None:
        return 1.0
    if not is_number(value) or not 0 < value < float("inf"):
        raise InputError("sampling_rate", repr(value), "frames per second, above 0", "or give None to count in frames")
    return float(value)


# ------------------------------------------------------------------------------------------ lists of recordings
def to_numpy(values: object) -> Array:
    """Return an array, a tensor (on any device) or a nested sequence as a NumPy array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    held = values.detach().cpu()
    return (held.float() if held.dtype == torch.bfloat16 else held).numpy()  # NumPy has no bfloat16


def list_recordings(values: object, name: str, ndim: int = 1) -> list[Array]:
    """Return a list of arrays, or a batch in one array, as a list; ``ndim`` is that of one recording."""
    one, batch = (("(T,)", "(B, T)"), ("(T, C)", "(B, T, C)"))[ndim - 1]
    expected, advice = f"a list of {one} arrays or one {batch} array", "wrap a single recording in a list"
    given = cast(Any, values)
    if isinstance(values, Tensor) or (isinstance(values, np.ndarray) and given.dtype != object):
        if given.ndim != ndim + 1:
            raise InputError(name, f"one array of shape {tuple(given.shape)}", expected, advice)
    elif isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise InputTypeError(name, type(given).__name__, expected, advice)
    arrays = [to_numpy(value) for value in given]
    for i, array in enumerate(arrays):
        if array.ndim != ndim:
            raise InputError(name, f"shape {array.shape}", expected, advice, recording=i)
    return arrays


def check_same_number(got: int, expected: int, name: str, other: str) -> None:
    """Raise if two lists hold different numbers of recordings."""
    if got != expected:
        advice = "give one array per recording in both"
        raise InputError(name, f"{got} recordings", f"{expected}, as in {other}", advice)


def check_names(values: Sequence[object], name: str, highest: int) -> list[object]:
    """Return names of recordings or classes as a list, after checking that index ``highest`` has one."""
    listed = list(values)
    if highest >= len(listed):
        raise InputError(name, f"{len(listed)} names", f"{highest + 1} or more", f"the segments hold index {highest}")
    if len(set(listed)) < len(listed):
        raise InputError(name, f"repeated names in {listed}", "a name of its own for each")
    return listed


# ------------------------------------------------------------------------------------------------------- labels
def find_label_kind(arrays: Sequence[Array], name: str = "labels") -> str:
    """Return whether labels are class indices (``"index"``) or class names (``"name"``)."""
    kinds: set[str] = set()
    for i, array in enumerate(arrays):
        if array.ndim != 1:
            raise InputError(name, f"shape {array.shape}", "shape (T,)", "give one class per frame", recording=i)
        if not array.size:
            continue  # no frame, no kind
        if array.dtype.kind in "iu":
            kinds.add("index")
        elif array.dtype.kind == "U" or (array.dtype.kind in "OT" and all(isinstance(text, str) for text in array)):
            kinds.add("name")
        else:
            for recording, other in enumerate(arrays):
                _no_missing(other, name, recording)
            expected = f"integers ({UNLABELLED} = unlabelled) or text ('' = unlabelled)"
            raise InputTypeError(
                name, str(array.dtype), expected, "convert them with .astype(int) or .astype(str)", recording=i
            )
    if len(kinds) > 1:
        raise InputTypeError(name, "integers and text", "one kind in all recordings")
    return kinds.pop() if kinds else "index"


def _no_missing(array: Array, name: str, recording: int) -> None:
    """Raise for labels that are missing in another way than ours: conversion would make a class of them."""
    for frame, label in enumerate(array):
        missing = label is None or type(label).__name__ in ("NAType", "NaTType")  # of pandas, not imported for this
        if missing or (isinstance(label, float | np.floating) and np.isnan(label)):
            advice = f"mark a frame without a label {UNLABELLED} among integers, '' among names"
            raise InputTypeError(name, str(label), "a class", advice, recording=recording, frame=frame)


def check_class_indices(arrays: Sequence[Array], num_classes: int | None = None, name: str = "labels") -> list[Array]:
    """Return integer labels as int64, after checking their range."""
    expected = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
    for i, array in enumerate(arrays):
        bad = (array < 0) & (array != UNLABELLED)
        if num_classes is not None:
            bad |= array >= num_classes
        if bad.any():
            frame = int(np.flatnonzero(bad)[0])
            advice = f"renumber the classes, or mark the frame {UNLABELLED}"
            expected += f", or {UNLABELLED} for unlabelled"
            raise InputError(name, str(array[frame]), expected, advice, recording=i, frame=frame)
    return [array.astype(np.int64) for array in arrays]


def index_class_names(arrays: Sequence[Array], classes: Sequence[str], name: str = "labels") -> list[Array]:
    """Return labels given as text as indices into ``classes``; "" becomes -100."""
    index = {text: i for i, text in enumerate(classes)} | {"": UNLABELLED}
    result: list[Array] = []
    for i, array in enumerate(arrays):
        unknown = [text for text in np.unique(array.astype(str)) if text not in index]
        if unknown:
            frame = int(np.flatnonzero(array.astype(str) == unknown[0])[0])
            expected = f"one of {list(classes)}, or '' for unlabelled"
            advice = "correct its spelling, or add it to `classes` and fit again"
            raise InputError(name, repr(str(unknown[0])), expected, advice, recording=i, frame=frame)
        result.append(np.array([index[str(text)] for text in array], dtype=np.int64))
    return result


def check_label_arrays(values: object, name: str = "labels") -> list[npt.NDArray[np.int64]]:
    """Return a list of (T,) label arrays, or a (B, T) batch, as int64 arrays; -100 is unlabelled."""
    arrays = list_label_arrays(values, name)
    if find_label_kind(arrays, name) == "name":
        advice = "number the classes 0, 1, ... and keep their names in a list"
        raise InputTypeError(name, "text", "integers", advice)
    return check_class_indices(arrays, name=name)


def list_label_arrays(values: object, name: str) -> list[Array]:
    """Return label arrays as a list; without frames there is no type of label, so NumPy's float becomes int64."""
    return [array if array.size else array.astype(np.int64) for array in list_recordings(values, name)]


# ------------------------------------------------------------------------------------------------------- scores
def check_score_arrays(values: object, name: str) -> list[Array]:
    """Return class scores of recordings as a list of (T, C) floating arrays; -inf is a score."""
    arrays = list_recordings(values, name, ndim=2)
    for i, array in enumerate(arrays):
        if array.dtype.kind != "f":
            raise InputTypeError(name, str(array.dtype), "floating-point scores", recording=i)
        if not array.size or array.shape[1] != arrays[0].shape[1]:
            expected = f"(T, C) = (frames, {arrays[0].shape[1]} classes as in recording 0), not empty"
            raise InputError(name, f"shape {array.shape}", expected, recording=i)
        bad = np.argwhere(np.isnan(array) | (array == np.inf))
        if bad.size:
            frame, column = (int(index) for index in bad[0])
            got, advice = f"{array[frame, column]} for class {column}", "look for NaN in the signal"
            raise InputError(name, got, "a finite score or -inf", advice, recording=i, frame=frame)
    return arrays
