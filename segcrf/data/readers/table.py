"""Table files of any format: their columns, reading and writing."""

from __future__ import annotations

import csv
import difflib
import importlib
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrf.data.files import write_atomically
from segcrf.data.readers.csv_files import explain_csv_error
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.sheet import Sheet
from segcrf.data.readers.values import parse_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FORMATS",
    "check_columns",
    "columns_of",
    "ending_of",
    "escape_formulas",
    "format_of",
    "listing",
    "open_sheets",
    "read_table",
    "reading",
    "write_table",
]

# The module and the function that open a file, by ending. Each takes the file and a Dialect, and returns sheets.
_READERS = {
    ".csv": "readers.csv_files:open_csv",
    ".csv.gz": "readers.csv_files:open_csv",
    ".tsv": "readers.csv_files:open_csv",
    ".tsv.gz": "readers.csv_files:open_csv",
    ".txt": "readers.csv_files:open_csv",
    ".parquet": "readers.parquet_files:open_parquet",
    ".feather": "readers.parquet_files:open_feather",
    ".arrow": "readers.parquet_files:open_feather",
    ".xlsx": "readers.excel_files:open_excel",
    ".npy": "signals.numpy_files:open_npy",
    ".npz": "signals.numpy_files:open_npz",
    ".mat": "signals.matlab_files:open_mat",
    ".wav": "signals.audio_files:open_audio",
    ".flac": "signals.audio_files:open_audio",
    ".edf": "signals.edf_files:open_edf",
    ".bdf": "signals.edf_files:open_edf",
    ".hea": "signals.wfdb_files:open_wfdb",
    ".nwb": "signals.nwb_files:open_nwb",
    ".nc": "signals.netcdf_files:open_netcdf",
}
#: Endings of files that can be read.
FORMATS = tuple(_READERS)
_WRITTEN = (".csv", ".csv.gz", ".tsv", ".parquet")
_LISTED = 20
# What a formula of a spreadsheet begins with.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")


def columns_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the column names of a table file.

    Args:
        path: a file of any format in :data:`FORMATS`.

    Returns:
        The names in order. The index that pandas keeps in a Parquet file is not a column, unless it has a name.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a package that the format needs is not installed.
        TableError: the format is unknown, or the file is empty or damaged.
    """
    return open_sheets(_existing_file(path), Dialect())[0].columns


def open_sheets(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the tables of a file.

    Args:
        file: a file, or the folder of a Parquet data set.
        dialect: what the user states about it.

    Raises:
        ImportError: a package that the format needs is not installed.
        TableError: the format is unknown, or the file is empty or damaged.
    """
    place = ".parquet" if file.is_dir() else ending_of(file)
    if not place:
        raise _unknown_format(file, FORMATS)
    module, _, name = _READERS[place].partition(":")
    opener: Callable[[Path, Dialect], list[Sheet]] = getattr(importlib.import_module(f"segcrf.data.{module}"), name)
    with reading(file):
        sheets = opener(file, dialect)
    if not sheets:
        raise TableError("", "no table", "a table of recordings", file=file)
    return sheets


def read_table(path: str | os.PathLike[str], columns: Sequence[str], text: Sequence[str | None] = ()) -> pd.DataFrame:
    """Read columns of a table file.

    Args:
        path: a file of any format in :data:`FORMATS`; the first sheet of a workbook.
        columns: the columns to read.
        text: columns to keep as they are written, so that "01" stays "01" and "NA" is a word.

    Returns:
        The columns, indexed by row as a spreadsheet counts.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a package that the format needs is not installed.
        TableError: a column is missing, or the file is empty, damaged or of an unknown format.
    """
    file = _existing_file(path)
    sheet = open_sheets(file, Dialect())[0]
    check_columns(columns, sheet.columns, file)
    with reading(file):
        return sheet.read(list(dict.fromkeys(columns)), [name for name in text if name is not None])


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table in the format of the file name's ending, whole or not at all.

    Args:
        frame: the table; its index is left out.
        path: a .csv, .csv.gz, .tsv or .parquet file; an existing file is replaced.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: the path is not writable.
        TableError: the format is unknown.
    """
    ending = format_of(path)
    table: Any = frame
    with write_atomically(path) as temporary:
        if ending == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, sep="\t" if ending == ".tsv" else ",")


def escape_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an apostrophe before every text, and name of a column, that begins as a formula does.

    A spreadsheet that opens such a CSV file would otherwise run it.

    Args:
        frame: the table.

    Example:
        >>> import pandas as pd
        >>> escape_formulas(pd.DataFrame({"label": ["=1+1", "on"]}))["label"].tolist()
        ["'=1+1", 'on']
    """

    def mark(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

    table: Any = frame
    return table.map(mark).rename(columns=mark)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the ending that determines the format of a table file to write.

    Args:
        path: the file; it need not exist.

    Raises:
        TableError: the format cannot be written.

    Example:
        >>> format_of("recordings/Walk.CSV.gz")
        '.csv.gz'
    """
    ending = ending_of(path)
    if ending not in _WRITTEN:
        raise _unknown_format(path, _WRITTEN)
    return ending


def ending_of(path: str | os.PathLike[str]) -> str:
    """Return the ending that determines how a file is read, or ``""`` if it is unknown.

    Args:
        path: the file; it need not exist.

    Example:
        >>> ending_of("Sleep.EDF"), ending_of("notes.docx")
        ('.edf', '')
    """
    name = Path(path).name.lower()
    return max((ending for ending in FORMATS if name.endswith(ending)), key=len, default="")


def listing(names: Sequence[str]) -> str:
    """Return names in one line, and how many more there are.

    Args:
        names: at most 20 of them are listed.

    Example:
        >>> listing(["ax", "ay"])
        'ax, ay'
    """
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


@contextmanager
def reading(file: Path) -> Generator[None, None, None]:
    """Replace the errors of packages that read files by one that names the file and what to do.

    Args:
        file: the file that the block reads.

    Raises:
        TableError: instead of any error but those of a missing package.
    """
    empty = TableError("", "an empty file", "a header and one row per frame", file=file)
    if file.is_file() and file.stat().st_size == 0:
        raise empty
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages, about their own future
            yield
    except (TableError, ImportError, PermissionError):
        raise
    except Exception as error:  # a damaged file leads packages to any error
        if isinstance(error, import_pandas().errors.EmptyDataError):
            raise empty from error
        kind = _kind_of(file)
        reason = explain_csv_error(str(error)) if isinstance(error, (ValueError, csv.Error)) else str(error)
        reason = " ".join(reason.split())[:300] or type(error).__name__
        got = f"a file that is not readable as {kind} ({reason})"
        raise TableError("", got, f"a whole {kind} file", file=file) from error


def check_columns(wanted: Sequence[str], available: Sequence[str], file: Path) -> None:
    """Check that a table has columns.

    Args:
        wanted: their names.
        available: the names of all columns of the table.
        file: the table, for the error.

    Raises:
        TableError: a column is missing.
    """
    for name in wanted:
        if name not in available:
            advice = _advise_column(name, available, file)
            raise TableError(f"column {name!r}", "no such column", f"one of {listing(available)}", advice, file=file)


def _kind_of(file: Path) -> str:
    ending = ".parquet" if file.is_dir() else ending_of(file)
    names = {".parquet": "Parquet", ".csv.gz": "CSV compressed by gzip", ".tsv.gz": "TSV compressed by gzip"}
    return names.get(ending, ending[1:].upper())


def _unknown_format(path: object, known: Sequence[str]) -> TableError:
    return TableError("", "an unknown table format", f"a name that ends in {', '.join(known)}", file=path)


def _existing_file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        kind = "a folder, not a file" if file.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {kind}; expected a table of recordings ({', '.join(FORMATS)})")
    return file


def _advise_column(name: str, available: Sequence[str], file: Path) -> str:
    """Return what may be the reason that a column is missing."""
    lowered = {column.lower(): column for column in available}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    data = [name for name in available if not name.isdecimal() and parse_number(name) is not None]
    advice = [f"did you mean {lowered[close[0]]!r}?"] if close else []
    advice += [f"{data[0]!r} looks like data: is the header missing?"] if data else []
    if len(available) == 1 and ending_of(file) in _TEXT:
        advice.append("separate columns by commas, semicolons or tabs")
    return " ".join(advice)
