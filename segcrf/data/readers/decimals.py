"""Decimal commas and separators of thousands in columns of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError

__all__ = ["convert_decimals"]

_COMMA_NUMBER = re.compile(r"[-+]?(\d[\d.' \u00a0\u202f]*)?,[\d,]+(\.\d*)?([eE][-+]?\d+)?")
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")  # 1,234: one and a bit, or a thousand
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+\.\d*|[-+]?[1-9]\d{0,2}(,\d{3}){2,}")
_FIX = "state the mark of decimals: --decimal , or --decimal ."
_FIXES = (("--decimal", ","), ("--decimal", "."))


def convert_decimals(frame: Any, text: Sequence[str], file: object, decimal: str | None) -> Any:
    """Return a data frame in which columns of numbers with commas are numbers.

    A comma is the mark of decimals if some cell of the table leaves no other reading (``0,5``), and a separator of
    thousands if some cell leaves no other reading (``1,234.5`` or ``1,234,567``). The table has one rule for all.

    Args:
        frame: a data frame, indexed by row.
        text: columns that are no numbers.
        file: the table, for errors.
        decimal: ``"."`` or ``","`` as the user states it, or None.

    Raises:
        TableError: both readings are possible, or cells contradict each other.
    """
    written = {
        name: frame[name].str.strip()
        for name in frame.columns
        if name not in text and frame[name].dtype.kind == "O" and _has_commas(frame[name])
    }
    if not written:
        return frame
    if decimal is None:
        decimal = _find_decimal(written, file)
    converted = frame.copy()
    for name, words in written.items():
        _check_rule(name, words, decimal, file)
        plain = words.str.replace(r"(?<=\d)[\s'\u00a0\u202f](?=\d)", "", regex=True)
        if decimal == ",":
            plain = plain.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        else:
            plain = plain.str.replace(",", "", regex=False)
        numbers = import_pandas().to_numeric(plain, errors="coerce")
        converted[name] = numbers if (numbers.isna() == words.isna()).all() else plain
    if decimal == ",":
        _check_no_points(frame, [name for name in frame.columns if name not in written and name not in text], file)
    return converted


def _has_commas(column: Any) -> bool:
    """Return whether most of the cells are numbers, and one has a comma."""
    words = column.dropna()
    if not len(words) or not all(isinstance(word, str) for word in words):
        return False
    comma = words.str.strip().str.fullmatch(_COMMA_NUMBER)
    plain = import_pandas().to_numeric(words, errors="coerce").notna()
    return bool(comma.any() and 2 * (comma | plain).sum() > len(words))


def _find_decimal(written: dict[str, Any], file: object) -> str:
    """Return the mark of decimals that some cell proves."""
    comma = thousands = grouped = None
    for name, words in written.items():
        numbers = words[words.str.fullmatch(_COMMA_NUMBER).fillna(False)]
        proves = numbers.str.fullmatch(_THOUSANDS)
        either = numbers.str.fullmatch(_GROUPED) & ~proves
        found = (numbers[proves], numbers[~proves & ~either], numbers[either])
        first = [(name, int(cells.index[0]), cells.iloc[0]) if len(cells) else None for cells in found]
        thousands, comma, grouped = (old or new for old, new in zip((thousands, comma, grouped), first, strict=True))
    if comma and thousands:
        got = f"{comma[2]!r} and, in row {thousands[1]} of column {thousands[0]!r}, {thousands[2]!r}"
        raise TableError(f"column {comma[0]!r}", got, "one mark of decimals", _FIX, file=file, row=comma[1])
    if not comma and not thousands and grouped:
        value = grouped[2]
        got = f"{value!r}, which is {value.replace(',', '.')} or {value.replace(',', '')}"
        raise TableError(
            f"column {grouped[0]!r}", got, "numbers with one reading", _FIX, file=file, row=grouped[1]
        ).fixed_by(*_FIXES)
    return "," if comma else "."


def _check_rule(name: str, words: Any, decimal: str, file: object) -> None:
    """Check that thousands are grouped by three digits, so that no mark is dropped from another number."""
    mark, group = (r",", r"\.") if decimal == "," else (r"\.", ",")
    grouped = rf"[-+]?([1-9]\d{{0,2}}({group}\d{{3}})+|\d[\d\s'\u00a0\u202f]*|)({mark}\d*)?([eE][-+]?\d+)?"
    number = words.str.fullmatch(r"[-+]?[\d.,\s'\u00a0\u202f]+([eE][-+]?\d+)?").fillna(False)
    wrong = np.flatnonzero((number & ~words.str.fullmatch(grouped).fillna(False)).to_numpy())
    if wrong.size:
        row, word = int(words.index[wrong[0]]), words.iloc[int(wrong[0])]
        other = "commas" if decimal == "," else "points"
        got, expected = f"{word!r}", f"a number, with {other} for decimals as in other cells"
        raise TableError(f"column {name!r}", got, expected, f"correct the value, or {_FIX}", file=file, row=row)


def _check_no_points(frame: Any, names: Sequence[str], file: object) -> None:
    """Check that no other column has decimals, which would have been read with a point."""
    for name in names:
        values = frame[name]
        if values.dtype.kind != "f":
            continue
        broken = np.flatnonzero(np.mod(values.to_numpy(), 1.0) > 0)
        if broken.size:
            row, value = int(values.index[broken[0]]), values.iloc[int(broken[0])]
            got = f"{value:g} with a decimal point, where other columns have decimal commas"
            raise TableError(f"column {name!r}", got, "one mark of decimals", _FIX, file=file, row=row)
