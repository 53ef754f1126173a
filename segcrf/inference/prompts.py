"""Prompts: what is known about recordings at prediction, as users write it and as decoders need it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf._validation import (
    UNLABELLED,
    InputError,
    InputTypeError,
    about_argument,
    check_number,
    check_same_number,
    frames_per_second,
)
from segcrf.data import ClassCoder, check_matching
from segcrf.segments import Segments

__all__ = ["Known", "Prompts", "duration_in_frames", "read_prompts"]

Array = npt.NDArray[Any]


class Known(NamedTuple):
    """What is known about one recording of T frames; None: nothing of that kind.

    Attributes:
        given: (T,) int64, the class of each frame, -100 where it is unknown.
        forbid: (T, C) bool, True where a class cannot be.
        transcript: the classes of the bands, first to last.
        min_duration: the shortest band of each class, in frames, C of them; the same for all recordings.
    """

    given: Array | None = None
    forbid: Array | None = None
    transcript: list[int] | None = None
    min_duration: list[int] | None = None


class Prompts(NamedTuple):
    """What is known about recordings.

    Attributes:
        classes: names of the classes, for messages.
        recordings: one entry per recording.
    """

    classes: list[object]
    recordings: list[Known]


def read_prompts(
    coder: ClassCoder,
    lengths: Sequence[int],
    *,
    given: Any = None,
    forbid: Any = None,
    transcript: Any = None,
    min_duration: Any = None,
    sampling_rate: float | None = None,
    recordings: Sequence[object] | None = None,
) -> Prompts | None:
    """Return what is known about recordings, checked and in frames; None if nothing is known.

    Args:
        coder: the classes, and whether labels are written as names.
        lengths: frames of each recording.
        given: labels (T,) per recording, written as in ``fit``, -100 or "" where unknown, None for a recording without
            any; or a table of bands with the columns recording, start, end, label.
        forbid: classes that cannot occur: names for all recordings, a list of names per recording, or a table of bands
            in which the class cannot be.
        transcript: names of the bands in order, a list per recording; None for a recording of unknown order.
        min_duration: shortest band, in seconds with a ``sampling_rate``, else in frames; a number, or a dict by class.
        sampling_rate: frames per second.
        recordings: names of the recordings in tables; None: their indices.

    Raises:
        InputTypeError: a value is of another kind.
        InputError: a class is unknown, a length does not match, or a duration is no number of 0 or more. The error
            carries the recording and the frame.

    Example:
        >>> coder = ClassCoder(np.array(["rest", "walk"]), named=True)
        >>> read_prompts(coder, [3], given=[["", "walk", ""]], min_duration={"walk": 2}).recordings
        [Known(given=array([-100,    1, -100]), forbid=None, transcript=None, min_duration=[1, 2])]
    """
    reader = _Reader(coder, lengths, sampling_rate, recordings)
    columns = [
        [None] * len(lengths) if values is None else read(values)
        for read, values in (
            (reader.read_given, given),
            (reader.read_forbidden, forbid),
            (reader.read_transcripts, transcript),
            (reader.read_minimum, min_duration),
        )
    ]
    known = [Known(*row) for row in zip(*columns, strict=True)]
    anything = any(value is not None for each in known for value in each)
    return Prompts(reader.classes, known) if anything else None


def duration_in_frames(value: float, sampling_rate: float | None) -> int:
    """Return a minimum duration in frames, rounded up to 1 or more.

    A millionth of a frame more does not count, so that 0.1 seconds at 30 frames per second are 3 frames.

    Args:
        value: seconds, or frames without a sampling rate.
        sampling_rate: frames per second.

    Raises:
        InputError: the value is negative or no number, or it is no whole number of frames without a sampling rate.

    Example:
        >>> duration_in_frames(0.1, 30.0), duration_in_frames(0.11, 30.0)
        (3, 4)
    """
    check_number(value, "min_duration", 0.0)
    frames = float(value) * frames_per_second(sampling_rate)
    if sampling_rate is None and frames != round(frames):
        advice = "a duration is in seconds if there is a sampling_rate"
        raise InputError("min_duration", repr(value), "a whole number of frames", advice)
    return max(1, math.ceil(frames * (1.0 - 1e-6)))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads each kind of knowledge into one entry per recording."""

    coder: ClassCoder
    lengths: Sequence[int]
    sampling_rate: float | None
    recordings: Sequence[object] | None

    @property
    def classes(self) -> list[object]:
        return self.coder.classes.tolist()

    def read_given(self, values: Any) -> list[Array | None]:
        labels = self._bands(values, "given").to_labels(self.lengths) if _is_table(values) else self._labels(values)
        return [None if (row == UNLABELLED).all() else row for row in labels]

    def _labels(self, values: Any) -> list[Array]:
        """Return labels (T,) per recording as class indices."""
        nothing = "" if self.coder.named else UNLABELLED
        if isinstance(values, list | tuple) and len(values) == len(self.lengths):
            values = [np.full(n, nothing) if row is None else row for row, n in zip(values, self.lengths, strict=True)]
        return self.coder.encode(check_matching(values, "given", self.lengths), "given")

    def read_forbidden(self, values: Any) -> list[Array | None]:
        if _is_table(values):
            return self._forbidden_bands(values)
        expected = "a list of class names, such a list per recording, or a table of bands"
        listed = _list_of(values, "forbid", expected)
        single = [_is_name(value) for value in listed]
        if any(single) and not all(single):
            raise InputTypeError("forbid", "names and lists", expected)
        if all(single):
            sets = [listed] * len(self.lengths)
        else:
            check_same_number(len(listed), len(self.lengths), "forbid", "X")
            sets = [[] if each is None else _list_of(each, "forbid", expected) for each in listed]
        found: list[Array | None] = []
        for recording, (names, length) in enumerate(zip(sets, self.lengths, strict=True)):
            never = np.zeros(len(self.classes), dtype=bool)
            for name in names:
                never[self._index(name, "forbid", repr(name), recording)] = True
            found.append(np.broadcast_to(never, (length, len(never))) if never.any() else None)
        return found

    def _forbidden_bands(self, table: Any) -> list[Array | None]:
        forbidden = [np.zeros((length, len(self.classes)), dtype=bool) for length in self.lengths]
        for name in list(dict.fromkeys(table["label"].tolist())) if "label" in table else [None]:
            # Class by class: bands of different classes may overlap.
            bands = self._bands(table if name is None else table[table["label"] == name], "forbid")
            for recording, start, end, label in zip(bands.recording, bands.start, bands.end, bands.label, strict=True):
                forbidden[recording][start:end, label] = True
        return [each if each.any() else None for each in forbidden]

    def read_transcripts(self, values: Any) -> list[list[int] | None]:
        expected = "per recording a list of class names in order, or None"
        listed = _list_of(values, "transcript", expected)
        if any(map(_is_name, listed)):
            raise InputTypeError("transcript", f"the name {listed[0]!r}", expected, "put the names in a list of lists")
        check_same_number(len(listed), len(self.lengths), "transcript", "X")
        rows = enumerate(zip(listed, self.lengths, strict=True))
        return [None if order is None else self._order(order, i, length) for i, (order, length) in rows]

    def _order(self, values: Any, recording: int, length: int) -> list[int]:
        names = _list_of(values, "transcript", "a list of class names")
        if not 0 < len(names) <= length:
            got, expected = f"{len(names)} bands", f"1 to {length}, the frames of the recording"
            advice = "give None for a recording of unknown order"
            raise InputError("transcript", got, expected, advice, recording=recording)
        order = [self._index(name, "transcript", f"{name!r} as band {i}", recording) for i, name in enumerate(names)]
        for place, label in enumerate(order[1:], 1):
            if label == order[place - 1]:
                got, expected = f"{names[place]!r} as bands {place - 1} and {place}", "another class in each next band"
                raise InputError("transcript", got, expected, "list them as one", recording=recording)
        return order

    def read_minimum(self, values: Any) -> list[list[int] | None]:
        if isinstance(values, Mapping):
            least = [1] * len(self.classes)
            for name, value in values.items():
                least[self._index(name, "min_duration", repr(name))] = duration_in_frames(value, self.sampling_rate)
        else:
            least = [duration_in_frames(values, self.sampling_rate)] * len(self.classes)
        return [None if max(least) == 1 else least] * len(self.lengths)

    def _bands(self, table: Any, argument: str) -> Segments:
        """Return the bands of a table, without those that have no label."""
        if "label" in table:
            labels = table["label"]
            rows = zip(labels.notna(), labels, strict=True)
            table = table[[bool(known) and label not in ("", UNLABELLED) for known, label in rows]]
            if not len(table):
                return Segments.from_labels([])
        with about_argument(argument):
            bands = Segments.from_table(
                table, classes=self.classes, sampling_rate=self.sampling_rate, recordings=self.recordings
            )
        self._check_within(bands, argument)
        return bands

    def _check_within(self, bands: Segments, argument: str) -> None:
        """Raise for a band beyond its recording, or of a recording that is none."""
        if bands.recording[-1] >= len(self.lengths):
            got, expected = f"recording {bands.recording[-1]}", f"0 to {len(self.lengths) - 1}, as in X"
            raise InputError(argument, got, expected, "give bands of these recordings")
        lengths = np.asarray(self.lengths)[bands.recording]
        beyond = np.flatnonzero(bands.end > lengths)
        if beyond.size:
            row = beyond[0]
            got = f"a band of frames [{bands.start[row]}, {bands.end[row]})"
            unit = "frames" if self.sampling_rate is None else "seconds"
            advice = f"times are in {unit}, as the sampling_rate says"
            expected = f"frames 0 to {lengths[row]}, as the recording has"
            raise InputError(argument, got, expected, advice, recording=int(bands.recording[row]))

    def _index(self, name: object, argument: str, got: str, recording: int | None = None) -> int:
        """Return the index of a class by its name."""
        if not _is_name(name) or name not in self.classes:
            raise InputError(argument, got, f"one of {self.classes}", "correct its spelling", recording=recording)
        return self.classes.index(name)


def _is_table(values: object) -> bool:
    return hasattr(values, "columns")


def _is_name(value: object) -> bool:
    return isinstance(value, str | int | np.integer) and not isinstance(value, bool)


def _list_of(values: Any, argument: str, expected: str) -> list[Any]:
    """Return values as a list; a single word is none."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputTypeError(argument, repr(values), expected, "put it in a list")
    return list(values)
