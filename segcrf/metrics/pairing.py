"""Pairing: truth and prediction of the same recordings, side by side, as frame, segment and boundary scores read
them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segcrf._validation import (
    UNLABELLED,
    InputError,
    InputTypeError,
    check_class_indices,
    check_same_number,
    find_label_kind,
    index_class_names,
    list_label_arrays,
    to_numpy,
)
from segcrf.segments import IntArray, Recordings, Segments

__all__ = ["Class", "FloatArray", "LabelPair", "check_class_list", "check_flag", "mean", "percent", "ranges"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
#: A class as labels give it: its number, or its name.
Class = int | str


@dataclass(frozen=True)
class LabelPair:
    """Two labellings of the same recordings, -100 in both where the truth is unlabelled.

    Args:
        true: (T,) int64 of each recording; recordings without a label are left out.
        pred: (T,) int64 of each of these recordings.
        names: the class of each number; None: labels are numbers.
    """

    true: list[IntArray]
    pred: list[IntArray]
    names: list[str] | None

    @classmethod
    def of(cls, true: Recordings, pred: Recordings) -> LabelPair:
        """Check two labellings and pair them."""
        return cls._judged(*_check_label_pair(true, pred))

    @classmethod
    def _judged(cls, true: list[IntArray], pred: list[IntArray], names: list[str] | None) -> LabelPair:
        judged = [i for i, labels in enumerate(true) if (labels != UNLABELLED).any()]
        masked = [np.where(true[i] == UNLABELLED, UNLABELLED, pred[i]) for i in judged]
        return cls([true[i] for i in judged], masked, names)

    def without(self, ignore: Sequence[Class]) -> LabelPair:
        """Return the pair with the frames of ignored true classes unlabelled."""
        dropped = self.ignored(ignore)
        true = [np.where(np.isin(labels, dropped), UNLABELLED, labels) for labels in self.true]
        return self._judged(true, self.pred, self.names)

    def parts(self, pooled: bool) -> list[LabelPair]:
        """Return all recordings in one pair, or each in a pair by itself."""
        check_flag(pooled, "pooled")
        if pooled:
            return [self]
        return [LabelPair([true], [pred], self.names) for true, pred in zip(self.true, self.pred, strict=True)]

    def bands(self, ignore: Sequence[Class]) -> tuple[Segments, Segments]:
        """Return true and predicted bands, without those of ignored classes."""
        dropped = self.ignored(ignore)
        sides = Segments.from_labels(self.true), Segments.from_labels(self.pred)
        true, pred = (side.select(~np.isin(side.label, dropped)) for side in sides)
        return true, pred

    @property
    def longest(self) -> int:
        """Frames of the longest recording: no two of its boundaries are further apart."""
        return max(map(len, self.true), default=0)

    def count(self, recording: IntArray, weights: IntArray | FloatArray | None = None) -> npt.NDArray[Any]:
        """Return how many bands or boundaries each recording has, or their sum of weights.

        Args:
            recording: the recording of each band or boundary.
            weights: one per band or boundary; None: 1.
        """
        return np.bincount(recording, weights, minlength=len(self.true))

    def split(self, recording: IntArray, values: IntArray) -> list[IntArray]:
        """Return the values of each recording as an array, from the recording of each value."""
        cuts = np.searchsorted(recording, np.arange(1, len(self.true)))
        return np.split(values, cuts) if self.true else []

    def ignored(self, ignore: Sequence[Class]) -> IntArray:
        """Return the numbers of the classes to ignore; a name that occurs nowhere is a slip."""
        return self._numbers(ignore, "ignore", occur="all")

    def listed(self, classes: Sequence[Class]) -> IntArray:
        """Return the numbers of the classes to average; some names may occur nowhere, but not all of them."""
        return self._numbers(classes, "classes", occur="any")

    def _numbers(self, classes: Sequence[Class], argument: str, occur: str) -> IntArray:
        given = check_class_list(classes, argument)
        if not self.true:
            given = []  # without a label it is unknown which names there are, and whether there are names
        _check_known_classes(given, argument, self.names, occur)
        known = given if self.names is None else [self.names.index(c) for c in given if c in self.names]
        return np.array(known, dtype=np.int64)

    def named(self, number: int) -> Class:
        """Return a class as the labels give it."""
        return number if self.names is None else self.names[number]


# ------------------------------------------------------------------------------------------------------ averages
def percent(hits: npt.ArrayLike, totals: npt.ArrayLike, pooled: bool) -> float:
    """Return the percent of hits, added up before dividing or averaged after; 0 of 0 is 100, no recording is NaN."""
    check_flag(pooled, "pooled")
    counts: FloatArray = np.stack([hits, totals], axis=1).astype(np.float64)
    if pooled and len(counts):
        counts = counts.sum(axis=0, keepdims=True)
    return mean([100 * hit / total if total else math.inf if hit else 100.0 for hit, total in counts.tolist()])


def mean(values: Sequence[float] | FloatArray) -> float:
    """Return the mean; without a value it is NaN."""
    return float(np.mean(values)) if len(values) else math.nan


def ranges(first: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """Return each n as often as its count, and beside it the numbers ``first[n]`` to ``first[n] + count[n] - 1``."""
    n = np.repeat(np.arange(len(first)), count)
    return n, np.arange(len(n)) + np.repeat(first - (np.cumsum(count) - count), count)


# -------------------------------------------------------------------------------------------------------- checks
def check_class_list(values: object, name: str) -> list[Any]:
    """Return several classes as a list; a single name is not a list of letters."""
    listed = to_numpy(values).tolist() if isinstance(values, Tensor | np.ndarray) else values
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
        raise InputTypeError(name, repr(listed), "a list of classes", f"write [{listed!r}]")
    return list(cast(Iterable[Any], listed))


def check_flag(value: object, name: str) -> None:
    """Raise for anything but True and False."""
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(name, repr(value), "True or False")


def _check_known_classes(classes: Sequence[Any], name: str, names: Sequence[str] | None, occur: str) -> None:
    """Raise for classes that are not given as the labels are, or do not occur.

    Args:
        classes: numbers, or names where labels are text.
        name: name of the argument.
        names: those that occur in the labels; None: labels are numbers.
        occur: whether "all" the names must occur, or "any" of them.
    """
    kind, expected = ("numbers", int | np.integer) if names is None else ("names", str)
    for label in classes:
        if not isinstance(label, expected) or isinstance(label, bool):
            advice = f"give the {kind} of the classes"
            raise InputTypeError(name, f"the class {label!r}", f"class {kind}, as the labels are", advice)
        if label == "" or (names is None and label < 0):
            raise InputError(name, repr(label), "a class", "leave it out: frames without a label never count")
    unknown = [] if names is None else [label for label in classes if label not in names]
    if unknown and (occur == "all" or len(unknown) == len(classes)):
        known = f"one that occurs in the labels: {', '.join(names or [])}"
        raise InputError(name, f"the class {unknown[0]!r}", known, "correct its spelling, or leave it out")


def _check_label_pair(true: object, pred: object) -> tuple[list[Array], list[Array], list[str] | None]:
    """Return true and predicted labels as int64 arrays that match, and the class names where labels are text."""
    sides = {"true": list_label_arrays(true, "true"), "pred": list_label_arrays(pred, "pred")}
    check_same_number(len(sides["pred"]), len(sides["true"]), "pred", "true")
    for i, (actual, predicted) in enumerate(zip(*sides.values(), strict=True)):
        if actual.shape != predicted.shape:
            got, expected = (f"{len(array)} frames" for array in (predicted, actual))
            advice = "compare labellings of the same frames, cut to the recording's length"
            raise InputError("pred", got, f"{expected}, as in true", advice, recording=i)
    kinds = {name: find_label_kind(arrays, name) for name, arrays in sides.items()}
    if len(set(kinds.values())) > 1:
        got, expected = (f"class {'numbers' if kinds[name] == 'index' else 'names'}" for name in ("pred", "true"))
        advice = "give true and pred alike, as integers or as text"
        raise InputTypeError("pred", got, f"{expected}, as in true", advice)
    if kinds["true"] == "index":
        indices = [check_class_indices(arrays, name=name) for name, arrays in sides.items()]
        return indices[0], indices[1], None
    known = sorted({str(text) for arrays in sides.values() for array in arrays for text in np.unique(array)} - {""})
    actual, predicted = (index_class_names(arrays, known) for arrays in sides.values())
    return actual, predicted, known
