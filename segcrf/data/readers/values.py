"""Values of table cells: numbers of channels and targets, and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.dates import is_dated
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.problems import Problems

__all__ = [
    "channel_matrix",
    "class_order",
    "label_column",
    "number_column",
    "parse_number",
    "target_matrix",
    "usable_channels",
]

Array = npt.NDArray[Any]

# Names of columns that are row numbers if they count by one.
_COUNTERS = ("index", "frame", "sample", "row", "id", "nr", "no", "#", "sample number", "frame number", "sample_number")
# What a column of floats adds to whole numbers.
_ZEROS = re.compile(r"(?<=\d)\.0*$")


def usable_channels(frame: Any, columns: Sequence[str], file: object) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns that can be channels, and a note on those that hold text, dates, row numbers or nothing.

    Args:
        frame: a data frame, indexed by row.
        columns: the columns, in order.
        file: the table, for errors.

    Raises:
        TableError: no column is left.
    """
    skipped: dict[str, list[str]] = {"text": [], "dates": [], "no value at all": [], "row numbers": []}
    for name in columns:
        kind = _unusable(frame[name], name)
        if kind:
            skipped[kind].append(name)
    left = tuple(name for name in columns if not any(name in names for names in skipped.values()))
    if columns and not left:
        got = f"no column of numbers: {', '.join(map(repr, columns[:20]))}"
        raise TableError("header", got, "one column of numbers at least", "choose --channels", file=file)
    reasons = ((kind, names) for kind, names in skipped.items() if names)
    notes = [
        f"{'columns' if len(names) > 1 else 'column'} {', '.join(map(repr, names[:20]))} "
        f"{'hold' if len(names) > 1 else 'holds'} {kind} and {'are no channels' if len(names) > 1 else 'is no channel'}"
        for kind, names in reasons
    ]
    return left, notes


def channel_matrix(frame: Any, columns: Sequence[str], file: object) -> Array:
    """Return channels as (rows, channels) float32, with NaN for empty cells.

    Args:
        frame: a data frame, indexed by row.
        columns: the channels, in order.
        file: the table, for errors.

    Raises:
        TableError: a cell is not a number, is infinite or beyond float32.
        ReadingError: several channels have such cells.
    """
    return _number_matrix(frame, columns, file, "channels")


def target_matrix(frame: Any, columns: Sequence[str], file: object) -> Array:
    """Return regression targets as (rows, targets) float32, with NaN for empty cells, which are unknown.

    Args:
        frame: a data frame, indexed by row.
        columns: the targets, in order.
        file: the table, for errors.

    Raises:
        TableError: a cell is not a number, is infinite or beyond float32.
        ReadingError: several columns have such cells.
    """
    return _number_matrix(frame, columns, file, "targets")


def number_column(frame: Any, name: str, file: object, advice: str) -> Array:
    """Return a column of numbers as float64; an empty cell becomes NaN.

    Args:
        frame: a data frame, indexed by row.
        name: the column.
        file: the table, for errors.
        advice: what to do about a cell that is not a number.

    Raises:
        TableError: a cell is text, or the column holds dates or durations.
    """
    raw = frame[name]
    if raw.dtype.kind in "biuf":
        return raw.to_numpy(dtype=np.float64)
    if raw.dtype.kind in "mM":  # to_numeric would count these in nanoseconds
        raise TableError(f"column {name!r}", "dates or durations", "numbers", advice, file=file)
    numbers = import_pandas().to_numeric(raw, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = np.flatnonzero(np.isnan(numbers) & raw.notna().to_numpy())
    if text.size:
        first = int(text[0])
        word = raw.iloc[first]
        if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", str(word)):
            advice = "write decimals with a point"
        row = int(frame.index[first])
        raise TableError(f"column {name!r}", repr(word), "a number", advice, file=file, row=row)
    return numbers


def label_column(frame: Any, name: str, file: object) -> Array:
    """Return labels as text, "" where there is none. Whole numbers lose their ".0", and -100 means none.

    All else stays as it is written: "01" is not "1".

    Args:
        frame: a data frame, indexed by row.
        name: the column.
        file: the table, for errors.

    Raises:
        TableError: all labels are numbers, and one is a fraction or negative.
    """
    raw = frame[name]
    stripped = raw.astype(str).str.strip().to_numpy(dtype=object)
    words = np.where(raw.isna().to_numpy(), "", stripped).astype(str)
    kinds, codes = np.unique(words, return_inverse=True)
    numbers = [parse_number(kind) for kind in kinds]
    if not all(kind == "" or number is not None for kind, number in zip(kinds, numbers, strict=True)):
        return np.where(words == "-100", "", words)
    for kind, number in zip(kinds, numbers, strict=True):
        if number is None or (number.is_integer() and (number >= 0 or number == -100)):
            continue
        got = f"{kind}, a negative number" if number.is_integer() else f"{kind}, a fraction"
        expected = "a class name or a whole number from 0"
        row = int(frame.index[int(np.flatnonzero(words == kind)[0])])
        advice = "leave the cell of an unlabelled frame empty, or write -100"
        raise TableError(f"column {name!r}", got, expected, advice, file=file, row=row)
    none = [number is None or number < 0 for number in numbers]
    whole = ["" if missing else _ZEROS.sub("", kind) for kind, missing in zip(kinds.tolist(), none, strict=True)]
    return np.array(whole, dtype=str)[codes]


def class_order(labels: Sequence[Array]) -> list[str]:
    """Return the classes that occur, each once: numbers by value, words by the alphabet.

    Args:
        labels: arrays (T,) of text, "" = unlabelled.

    Example:
        >>> class_order([np.array(["10", "2", ""]), np.array(["1"])])
        ['1', '2', '10']
    """
    words = {str(word) for recording in labels for word in np.unique(recording)} - {""}
    if all(word.isdecimal() for word in words):
        return sorted(sorted(words), key=int)
    return sorted(words)


def parse_number(word: str) -> float | None:
    """Return the finite number that a word is, or None.

    Args:
        word: the text of a cell.
    """
    try:
        number = float(word)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _number_matrix(frame: Any, columns: Sequence[str], file: object, role: str) -> Array:
    single = np.empty((len(frame), len(columns)), dtype=np.float32)
    problems = Problems()
    for place, name in enumerate(columns):
        with problems.kept():
            values = number_column(frame, name, file, f"correct the value, or fit with other --{role}")
            with np.errstate(over="ignore"):
                single[:, place] = values
            bad = np.flatnonzero(np.isinf(single[:, place]))
            if bad.size:
                value = values[bad[0]]
                got = f"{value:g}, beyond what float32 holds" if np.isfinite(value) else "an infinite value"
                expected = f"a finite number in the {'targets' if role == 'targets' else 'signal'}"
                advice, row = "correct the value or empty the cell", int(frame.index[bad[0]])
                raise TableError(f"column {name!r}", got, expected, advice, file=file, row=row)
    wrong = {error.argument for error in problems.found if isinstance(error, TableError)}
    others = [name for name in columns if f"column {name!r}" not in wrong]
    for error in problems.found:
        if isinstance(error, TableError) and others and not any("," in name for name in others):
            error.fixed_by((f"--{role}", ",".join(others)))
    problems.raise_any()
    return single


def _unusable(values: Any, name: str) -> str:
    """Return why a column is no channel, or ""."""
    if values.isna().all():
        return "no value at all"
    if values.dtype.kind in "mM":
        return "dates"
    if values.dtype.kind in "biuf":
        if name.strip().casefold() in _COUNTERS and len(values) > 1:
            steps = np.diff(values.to_numpy(dtype=np.float64))
            return "row numbers" if (steps == 1).all() else ""
        return ""
    words = import_pandas().Series(values.dropna().unique()).astype("str")
    if import_pandas().to_numeric(words, errors="coerce").notna().any():
        return ""
    return "dates" if words.map(is_dated).all() else "text"
