"""Reading of CSV files: separators, encodings and words for missing values."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError

__all__ = ["csv_columns", "explain_csv_error", "explain_undecodable", "read_csv"]

_SEPARATORS = (",", ";", "\t")
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-nan", "-NaN", "#N/A"]


def csv_columns(file: Path) -> list[str]:
    """Return the column names of a CSV file.

    Args:
        file: a .csv, .csv.gz or .tsv file.

    Raises:
        TableError: the header has a name twice.
    """
    return [str(name) for name in _parse_csv(file, nrows=0).columns]


def read_csv(file: Path, text: Sequence[str], columns: Sequence[str]) -> Any:
    """Read columns of a CSV file.

    Args:
        file: a .csv, .csv.gz or .tsv file.
        text: columns to keep as they are written, so that "01" stays "01" and "NA" is a word.
        columns: the columns to read, each once.

    Returns:
        A data frame, indexed by row as a spreadsheet counts: the header is row 1. Blank lines at the
        end are left out; a blank line within the table is a row of missing values.

    Raises:
        TableError: the header has a name twice, or the rows have more fields than the header.
    """
    frame = _parse_csv(file, text=text)
    _check_no_extra_field(frame, file)
    frame.index = np.arange(2, len(frame) + 2)
    frame = frame[list(columns)]
    filled = np.flatnonzero((frame.notna() & (frame != "")).to_numpy().any(axis=1))
    return frame.iloc[: int(filled[-1]) + 1] if filled.size else frame.iloc[:0]


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


def explain_undecodable(file: Path) -> TableError:
    """Return the error of a file that is not UTF-8: the first row with such a byte, and what to do.

    Args:
        file: the CSV file.
    """
    advice = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
    # A compressed file may be damaged behind its first bytes too.
    with contextlib.suppress(EOFError, OSError, zlib.error), _open_bytes(file) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return TableError("", "text in UTF-16", "UTF-8", advice, file=file)
            try:
                line.decode()
            except UnicodeDecodeError as error:
                got, advice = (
                    f"byte {line[error.start]:#04x}",
                    f"{advice}, or convert it: iconv -f WINDOWS-1252 -t UTF-8",
                )
                return TableError("", got, "text in UTF-8", advice, file=file, row=number)
    return TableError("", "bytes that are not text", "text in UTF-8", advice, file=file)


def _parse_csv(file: Path, nrows: int | None = None, text: Sequence[str] = ()) -> Any:
    frame = import_pandas().read_csv(
        file,
        sep=_find_separator(file),
        nrows=nrows,
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values=_missing_words(file, text) if nrows is None else None,
        skip_blank_lines=False,  # so that row numbers are the file's own
        skipinitialspace=True,
        encoding="utf-8-sig",
        low_memory=False,
    )
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame


def _missing_words(file: Path, text: Sequence[str]) -> dict[str, list[str]]:
    """Return the words that mean "no value", by column: none but the empty one in a column of text."""
    header = _parse_csv(file, nrows=0).columns
    return {str(name): ([""] if name in text else _MISSING) for name in header}


def _find_separator(file: Path) -> str:
    """Return the separator that the header uses most, after checking that no name is in the header twice."""
    with _open_bytes(file) as stream:
        header = re.split(r"[\r\n]", stream.readline().decode("utf-8-sig"))[0]
    separator = "\t" if file.name.lower().endswith(".tsv") else max(_SEPARATORS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]
    for name in names:
        if name and names.count(name) > 1:
            got, expected = f"{names.count(name)} columns of this name", "a name of its own for each column"
            raise TableError(f"header, column {name!r}", got, expected, "rename them", file=file)
    return separator


def _check_no_extra_field(frame: Any, file: Path) -> None:
    """Raise if all rows have one field more than the header: pandas takes it for an index and shifts the rest."""
    if not isinstance(frame.index, import_pandas().RangeIndex):
        got, expected = "rows with more fields than the header", "one field per column"
        raise TableError("", got, expected, "look for a trailing separator or a decimal comma", file=file)


def _open_bytes(file: Path) -> Any:
    return gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb")
