"""Reading of text tables: CSV, TSV and their kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.decimals import convert_decimals
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.layout import Layout, find_layout
from segcrf.data.readers.sheet import Sheet, distinct_names

__all__ = ["explain_csv_error", "open_csv"]

# Cells that mean "no value" in a column of numbers.
_MISSING_WORDS = (
    "", "NA", "N/A", "n/a", "n.a.", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "None", "-nan", "-NaN", "1.#QNAN",
    "#N/A", "#NV", "#VALUE!", "#DIV/0!", "#NUM!", "-", "--", "---", "?",
)  # fmt: skip


def open_csv(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only table of a text file; its rows are read later.

    Args:
        file: the file, perhaps compressed by gzip.
        dialect: what the user states about it.

    Raises:
        TableError: the file is empty, or its text cannot be decoded.
    """
    layout = find_layout(file, dialect)
    names, notes = distinct_names(layout.names)

    def read(columns: Sequence[str], text: Sequence[str]) -> Any:
        return _read_csv(file, layout._replace(names=names), columns, text, dialect)

    return [Sheet(None, [name for name in names if name], read, [*layout.notes, *notes])]


def _read_csv(file: Path, layout: Layout, columns: Sequence[str], text: Sequence[str], dialect: Dialect) -> Any:
    """Return columns of a text table, indexed by row as a spreadsheet counts. Blank lines are left out."""
    kept = [*text, *(f"\0{place}" for place, name in enumerate(layout.names) if not name)]
    names = [name or f"\0{place}" for place, name in enumerate(layout.names)]
    frame = import_pandas().read_csv(
        file,
        sep=layout.separator,
        header=None,
        names=names,
        skiprows=layout.first,
        dtype=dict.fromkeys(kept, str),
        keep_default_na=False,
        na_values={name: [""] if name in text else list(_MISSING_WORDS) for name in names},
        skip_blank_lines=False,  # so that row numbers are the file's own
        skipinitialspace=True,
        encoding=layout.encoding,
        low_memory=False,
    )
    if not isinstance(frame.index, import_pandas().RangeIndex):
        got, expected = "rows with more fields than the header", "one field per column"
        raise TableError("", got, expected, "look for a trailing separator or a decimal comma", file=file)
    frame.index = np.arange(layout.first + 1, layout.first + len(frame) + 1)
    for name in [name for name in names if name.startswith("\0")]:
        _check_empty(frame[name], file)
    filled = (frame.notna() & (frame != "")).to_numpy().any(axis=1)
    frame = frame.loc[filled, list(columns)] if not filled.all() else frame[list(columns)]
    return convert_decimals(frame, text, file, dialect.decimal)


def explain_csv_error(message: str) -> str:
    """Return a message of the CSV parser in one line, with rows counted as a spreadsheet counts them.

    Args:
        message: the parser's message.

    Example:
        >>> explain_csv_error("Error tokenizing data. C error: EOF inside string starting at row 1")
        'row 2: a quotation mark opens that nothing closes'
    """
    line = " ".join(message.split())
    quote = re.search(r"EOF inside string starting at row (\d+)", line)
    return f"row {int(quote[1]) + 1}: a quotation mark opens that nothing closes" if quote else line


def _check_empty(column: Any, file: Path) -> None:
    """Check that a column without a name, as separators at the ends of rows make it, has no cells."""
    counted = import_pandas().to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    filled = np.flatnonzero((column.notna() & (column.str.strip() != "")).to_numpy())
    if not filled.size or (len(counted) > 1 and (np.diff(counted) == 1).all()):
        return  # nothing, or row numbers
    row, word = int(column.index[filled[0]]), column.iloc[filled[0]]
    advice = "give the column a name, or look for decimal commas"
    got, expected = f"no name for the column of {word!r}", "a name for every column"
    raise TableError("header", got, expected, advice, file=file, row=row)
