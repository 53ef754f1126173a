"""Values of table cells: numbers of channels and targets, and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError

__all__ = ["class_order", "label_column", "number_column", "number_matrix", "parse_number"]

Array = npt.NDArray[Any]

# What a column of floats adds to whole numbers.
_ZEROS = re.compile(r"(?<=\d)\.0*$")


def number_matrix(frame: Any, columns: Sequence[str], file: object, *, targets: bool) -> Array:
    """Return columns of numbers as (rows, columns) float32.

    Args:
        frame: a data frame, indexed by row.
        columns: the columns, in order.
        file: the table, for errors.
        targets: the columns are regression targets, where NaN means unknown; otherwise channels, where it is an error.

    Raises:
        TableError: a cell is not a number, is infinite or beyond float32, or is empty among channels.
    """
    advice = "correct the value, or fit with other " + ("--targets" if targets else "--channels")
    values = [number_column(frame, name, file, advice) for name in columns]
    matrix = np.stack(values, axis=1) if values else np.empty((len(frame), 0))
    with np.errstate(over="ignore"):
        single = matrix.astype(np.float32)
    bad = np.argwhere(np.isinf(single) if targets else ~np.isfinite(single))
    if bad.size:
        row, column = (int(index) for index in bad[0])
        value = matrix[row, column]
        got = "a missing value (NaN)" if np.isnan(value) else "an infinite value"
        if np.isfinite(value):
            got = f"{value:g}, beyond what float32 holds"
        expected = f"a finite number in the {'targets' if targets else 'signal'}"
        advice = "fill it in or leave the row out"
        raise TableError(f"column {columns[column]!r}", got, expected, advice, file=file, row=int(frame.index[row]))
    return single


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
