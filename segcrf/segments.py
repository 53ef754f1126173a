"""Segments: label sequences as bands, and bands as tables.

A segment, or band, is a run of one class in one recording. It is half-open: it covers the frames ``start`` to
``end - 1``. Labels -> segments -> labels and segments -> table -> segments lose nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segcrf._validation import (
    UNLABELLED,
    InputError,
    InputTypeError,
    check_label_arrays,
    check_names,
    check_same_number,
    frames_per_second,
    list_recordings,
    to_numpy,
)

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["IntArray", "Recordings", "Segments", "check_segments_fit"]

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
#: One array per recording in a list, or all recordings, padded, in one array or tensor.
Recordings = Sequence[npt.ArrayLike] | npt.NDArray[Any] | Tensor

COLUMNS = ("recording", "start", "end", "label")
_SHOWN = 6


@dataclass(frozen=True, eq=False, repr=False)
class Segments:
    """Bands of one or more recordings, sorted by recording and start, that do not overlap.

    Args:
        recording: (N,) int64, index of the recording.
        start: (N,) int64, first frame.
        end: (N,) int64, frame after the last one.
        label: (N,) int64, class.
        score: (N,) float64, one number per segment such as its confidence; or None.

    Raises:
        TypeError: a column does not hold integers.
        ValueError: the columns differ in size, a segment is empty or unlabelled, or two overlap or are out of
            order.

    >>> Segments.from_labels([[1, 1, 0], [2, -100, 2]])
    Segments: 4 in 2 recordings
    recording  start  end  label
            0      0    2      1
            0      2    3      0
            1      0    1      2
            1      2    3      2
    """

    recording: IntArray
    start: IntArray
    end: IntArray
    label: IntArray
    score: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        columns = {name: to_numpy(getattr(self, name)) for name in COLUMNS}
        score = None if self.score is None else to_numpy(self.score).astype(np.float64)
        _check_segments(columns, score)
        for name, values in columns.items():
            object.__setattr__(self, name, values.astype(np.int64, copy=False))
        object.__setattr__(self, "score", score)

    @classmethod
    def from_labels(cls, labels: Recordings, starts: Recordings | None = None) -> Segments:
        """Cut label sequences into runs of one class.

        Args:
            labels: list of (T,) integer arrays or tensors, or one (B, T); -100 makes no segment and ends the
                run before it.
            starts: booleans in the same shape, True where a band starts although the class does not change,
                as the decoder of a semi-Markov model returns them; None: maximal runs.

        Returns:
            The segments of all recordings; the index of a recording is its place in ``labels``.

        Raises:
            TypeError: labels are not integers.
            ValueError: a label is negative and not -100, or ``starts`` has another shape.

        >>> Segments.from_labels([[0, 0, 0, 0]], starts=[[True, False, True, False]]).start
        array([0, 2])
        """
        arrays = check_label_arrays(labels)
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        if not lengths.sum():
            none = np.empty(0, dtype=np.int64)
            return cls(none, none, none, none)
        flat, first = np.concatenate(arrays), _offsets(lengths)[lengths > 0]
        cut = np.append(True, flat[1:] != flat[:-1])
        cut[first] = True
        if starts is not None:
            cut |= np.concatenate(_check_band_starts(starts, arrays))
        start = np.flatnonzero(cut)
        end = np.append(start[1:], len(flat))
        labelled = flat[start] != UNLABELLED
        start, end = start[labelled], end[labelled]
        recording = np.repeat(np.arange(len(lengths)), lengths)[start]
        offset = _offsets(lengths)[recording]
        return cls(recording, start - offset, end - offset, flat[start])

    def to_labels(self, lengths: npt.ArrayLike | Tensor) -> list[IntArray]:
        """Write the segments back as one label per frame.

        Args:
            lengths: (B,) integers, frames of each recording.

        Returns:
            List of (T,) int64 arrays, -100 where there is no segment.

        Raises:
            ValueError: a segment lies beyond its recording, or beyond the recordings.

        >>> Segments.from_labels([[1, 1, -100, 0]]).to_labels([4])
        [array([   1,    1, -100,    0])]
        """
        frames = check_segments_fit(self.recording, self.end, lengths)
        offsets = _offsets(frames)
        flat = np.full(int(frames.sum()), UNLABELLED, dtype=np.int64)
        # Frame i of a segment's run of n frames is its start + i: count up and subtract where the run began.
        within = np.arange(int(self.durations.sum())) - np.repeat(_offsets(self.durations), self.durations)
        first = offsets[self.recording] + self.start
        flat[np.repeat(first, self.durations) + within] = np.repeat(self.label, self.durations)
        return np.split(flat, offsets[1:]) if len(frames) else []

    @classmethod
    def concatenate(cls, parts: Iterable[Segments]) -> Segments:
        """Join segments of different recordings, or of different stretches of the same ones, and sort them.

        Args:
            parts: segments that number the recordings alike; scores are kept if all parts have them.

        Raises:
            ValueError: segments of two parts overlap.

        >>> first, second = Segments.from_labels([[1, 1], []]), Segments.from_labels([[], [0]])
        >>> Segments.concatenate([second, first]).label
        array([1, 0])
        """
        joined = list(parts)
        if not joined:
            return cls.from_labels([])
        columns = [np.concatenate([getattr(part, name) for part in joined]) for name in COLUMNS]
        scores = [part.score for part in joined if part.score is not None]
        score = np.concatenate(scores) if len(scores) == len(joined) else None
        return cls._sorted(columns, score)

    @classmethod
    def _sorted(cls, columns: Sequence[npt.NDArray[Any]], score: npt.NDArray[Any] | None) -> Segments:
        order = np.lexsort((columns[1], columns[0]))
        return cls(*(column[order] for column in columns), score=None if score is None else score[order])

    def to_table(
        self,
        *,
        classes: Sequence[object] | None = None,
        sampling_rate: float | None = None,
        recordings: Sequence[object] | None = None,
    ) -> pd.DataFrame:
        """Return a table with a row per segment.

        Args:
            classes: names of the classes; None: their numbers.
            sampling_rate: frames per second, for times in seconds; None: times in frames.
            recordings: names of the recordings; None: their numbers.

        Returns:
            pandas.DataFrame with the columns ``recording``, ``start``, ``end``, ``label`` and, where there
            are scores, ``confidence``.

        Raises:
            ValueError: a class or recording has no name, a name occurs twice, or ``sampling_rate`` is not above 0.

        >>> Segments.from_labels([[1, 1, 0]]).to_table(classes=["rest", "walk"], sampling_rate=2.0)
           recording  start  end label
        0          0    0.0  1.0  walk
        1          0    1.0  1.5  rest
        """
        try:
            pd: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise ImportError(f"tables need pandas ({error}); pip install 'segcrf[train]'") from error
        per_second = frames_per_second(sampling_rate)
        table: dict[str, Any] = {
            "recording": _named(self.recording, recordings, "recordings"),
            "start": self.start if sampling_rate is None else self.start / per_second,
            "end": self.end if sampling_rate is None else self.end / per_second,
            "label": _named(self.label, classes, "classes"),
        }
        if self.score is not None:
            table["confidence"] = self.score
        return pd.DataFrame(table)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        *,
        classes: Sequence[object] | None = None,
        sampling_rate: float | None = None,
        recordings: Sequence[object] | None = None,
    ) -> Segments:
        """Read a table as :meth:`to_table` writes it; rows may come in any order.

        Args:
            table: columns ``recording``, ``start``, ``end``, ``label`` and perhaps ``confidence``.
            classes: names of the classes, if the labels are names.
            sampling_rate: frames per second, if times are in seconds; they are rounded to the nearest frame.
            recordings: names of the recordings, if the table has names.

        Raises:
            TypeError: recordings or labels are neither integers nor listed names.
            ValueError: a column is missing, a name is unknown, a time is no number, or a segment has no frame
                left.

        >>> table = Segments.from_labels([[1, 1, 0]]).to_table(classes=["rest", "walk"], sampling_rate=2.0)
        >>> Segments.from_table(table, classes=["rest", "walk"], sampling_rate=2.0).end
        array([2, 3])
        """
        given = _columns(table)
        _check_columns(list(given), COLUMNS)
        frames = [
            _check_times(given[name], name, sampling_rate) * frames_per_second(sampling_rate)
            for name in ("start", "end")
        ]
        columns = [
            _numbered(given["recording"], recordings, "recordings"),
            *(np.rint(values).astype(np.int64) for values in frames),
            _numbered(given["label"], classes, "classes"),
        ]
        return cls._sorted(columns, given.get("confidence"))

    @property
    def durations(self) -> IntArray:
        """(N,) int64, frames of each segment."""
        return self.end - self.start

    def with_score(self, values: npt.ArrayLike | Tensor) -> Segments:
        """Return the same segments with one score each.

        Args:
            values: (N,) scores.

        Raises:
            ValueError: there is not one score per segment.

        >>> Segments.from_labels([[1, 1, 0]]).with_score([0.9, 0.6]).score
        array([0.9, 0.6])
        """
        return replace(self, score=to_numpy(values))

    def of(self, recording: int) -> Segments:
        """Return the segments of one recording, which keep its number.

        >>> Segments.from_labels([[1, 1, 0], [2]]).of(1)
        Segments: 1 in 1 recording
        recording  start  end  label
                1      0    1      2
        """
        return self.select(self.recording == recording)

    def select(self, rows: npt.NDArray[np.bool_]) -> Segments:
        """Return some of the segments, in their order.

        Args:
            rows: (N,) bool, True for those to keep.

        >>> bands = Segments.from_labels([[1, 1, 0, 1]])
        >>> bands.select(bands.durations > 1).end
        array([2])
        """
        score = None if self.score is None else self.score[rows]
        return Segments(self.recording[rows], self.start[rows], self.end[rows], self.label[rows], score)

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        num_recordings = len(np.unique(self.recording))
        head = f"Segments: {len(self)} in {num_recordings} recording{'s' * (num_recordings != 1)}"
        columns = [[name, *map(str, getattr(self, name)[:_SHOWN])] for name in COLUMNS]
        if self.score is not None:
            columns.append(["score", *(f"{value:.3f}" for value in self.score[:_SHOWN])])
        aligned = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
        rest = [f"... {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([head, *("  ".join(row) for row in zip(*aligned, strict=True)), *rest])


def _offsets(lengths: IntArray) -> IntArray:
    """Where each of several stretches begins when they are laid end to end."""
    return np.cumsum(lengths) - lengths


def _columns(table: Any) -> dict[str, npt.NDArray[Any]]:
    return {str(name): np.asarray(table[name]) for name in table.columns}


def _named(indices: IntArray, names: Sequence[object] | None, what: str) -> npt.NDArray[Any]:
    if names is None:
        return indices
    return np.array(check_names(names, what, int(indices.max(initial=-1))))[indices]


def _numbered(values: npt.NDArray[Any], names: Sequence[object] | None, what: str) -> npt.NDArray[Any]:
    if names is None:
        return _check_indices(values, what)
    return _check_index_of(values, check_names(names, what, -1), what)


def _check_band_starts(values: object, like: Sequence[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.bool_]]:
    """Check the frames at which bands start: a boolean per frame of the label arrays ``like``."""
    starts = list_recordings(values, "starts")
    check_same_number(len(starts), len(like), "starts", "labels")
    for recording, (frames, labels) in enumerate(zip(starts, like, strict=True)):
        if frames.dtype != np.bool_ or frames.shape != labels.shape:
            got, expected = f"{frames.dtype} of shape {frames.shape}", f"bool of shape {labels.shape} as its labels"
            raise InputError("starts", got, expected, "True marks the first frame of a band", recording=recording)
    return starts


def _check_segments(columns: Mapping[str, npt.NDArray[Any]], score: npt.NDArray[Any] | None) -> None:
    """Check the columns ``recording``, ``start``, ``end``, ``label`` (N,) of a table of segments."""
    for name, values in columns.items():
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise InputTypeError(name, f"{values.dtype} of shape {values.shape}", "integers of shape (N,)")
    sizes = {name: len(values) for name, values in columns.items()}
    if score is not None:
        sizes["score"] = score.size if score.ndim == 1 else -1
    if len(set(sizes.values())) > 1:
        raise InputError("segments", f"columns of sizes {sizes}", "one (N,) shape", "give one value per segment")
    recording, start, end, label = columns.values()
    for bad, expected in (
        (recording < 0, "a recording of 0 or more"),
        (start < 0, "a start of 0 or more"),
        (end <= start, "an end after its start (half-open)"),
        (label < 0, "a label of 0 or more; leave unlabelled stretches out"),
    ):
        if bad.any():
            row = int(bad.argmax())
            raise InputError(f"segment {row}", _frames_text(columns, row), expected, recording=int(recording[row]))
    bad = (recording[1:] < recording[:-1]) | ((recording[1:] == recording[:-1]) & (start[1:] < end[:-1]))
    if bad.any():
        row = int(bad.argmax())
        expected = f"frames after those of segment {row}: [{start[row]}, {end[row]}) of recording {recording[row]}"
        advice = "sort segments by recording and start, and cut overlaps"
        got = _frames_text(columns, row + 1)
        raise InputError(f"segment {row + 1}", got, expected, advice, recording=int(recording[row + 1]))


def _frames_text(columns: Mapping[str, npt.NDArray[Any]], row: int) -> str:
    return f"frames [{columns['start'][row]}, {columns['end'][row]}) of label {columns['label'][row]}"


def check_segments_fit(
    recording: npt.NDArray[np.int64], end: npt.NDArray[np.int64], values: object
) -> npt.NDArray[np.int64]:
    """Return the lengths (B,) of recordings after checking that segments do not lie beyond them."""
    lengths = to_numpy(values)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        got = f"{lengths.dtype} of shape {lengths.shape}"
        raise InputTypeError("lengths", got, "integers of shape (B,)", "give the frames of each recording")
    if recording.size and recording[-1] >= len(lengths):
        expected = f"{recording[-1] + 1} or more, as the segments lie in recording {recording[-1]}"
        raise InputError("lengths", f"{len(lengths)} recordings", expected, "give one length for each")
    beyond = np.flatnonzero(end > lengths[recording])
    if beyond.size:
        row, number = beyond[0], int(recording[beyond[0]])
        expected = f"{end[row]} or more, where segment {row} ends"
        advice = "give the length of the recording that was segmented"
        raise InputError("lengths", str(lengths[number]), expected, advice, recording=number)
    return lengths.astype(np.int64)


def _check_columns(got: Sequence[str], expected: Sequence[str]) -> None:
    """Raise for a table that lacks a column."""
    missing = [name for name in expected if name not in got]
    if missing:
        raise InputError("table", f"the columns {list(got)}", f"a column {missing[0]!r}", "rename or add the column")


def _check_times(values: Array, name: str, sampling_rate: float | None) -> Array:
    """Check a column of times: numbers in seconds, or integers in frames where there is no ``sampling_rate``."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(f"column {name!r}", f"{values.dtype} or missing values", "a number in every row")
    fractional = np.flatnonzero(values != np.rint(values))
    if sampling_rate is None and fractional.size:
        row = fractional[0]
        advice = "give sampling_rate= if times are in seconds"
        raise InputError(f"column {name!r}, row {row}", str(values[row]), "whole frames", advice)
    return values


def _check_indices(values: Array, what: str) -> Array:
    """Check a column of recordings or classes that are numbered."""
    if values.size and values.dtype.kind not in "iu":
        raise InputTypeError(what, str(values.dtype), "integers", f"list their names with {what}=")
    return values


def _check_index_of(values: Array, names: Sequence[object], what: str) -> npt.NDArray[np.int64]:
    """Return the place of each value in a list of names."""
    places = {name: i for i, name in enumerate(names)}
    unknown = [value for value in values.tolist() if value not in places]
    if unknown:
        raise InputError(what, f"{unknown[0]!r} in the table", f"one of {list(names)}", "correct it or list it")
    return np.array([places[value] for value in values.tolist()], dtype=np.int64)
