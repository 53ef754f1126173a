"""Table files of any format: their columns, reading and writing."""

from __future__ import annotations

import csv
import difflib
import os
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrf.data.files import write_atomically
from segcrf.data.readers.csv_files import csv_columns, explain_csv_error, explain_undecodable, read_csv
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.parquet_files import parquet_columns, read_parquet
from segcrf.data.readers.values import parse_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["columns_of", "format_of", "listing", "read_table", "write_table"]

FORMATS = (".csv", ".csv.gz", ".tsv", ".parquet")
_LISTED = 20
# What a formula of a spreadsheet begins with.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def columns_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the column names of a table file.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.

    Returns:
        The names in order. The index that pandas keeps in a Parquet file is not a column, unless it has a name.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        TableError: the format is unknown, a name occurs twice, or the file is empty, damaged or not in UTF-8.
    """
    file = _existing_file(path)
    with _reading(file):
        return parquet_columns(file) if format_of(file) == ".parquet" else csv_columns(file)


def read_table(path: str | os.PathLike[str], columns: Sequence[str], text: Sequence[str | None] = ()) -> pd.DataFrame:
    """Read columns of a table file.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.
        columns: the columns to read.
        text: columns to keep as they are written, so that "01" stays "01" and "NA" is a word.

    Returns:
        The columns, indexed by row as a spreadsheet counts.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        TableError: a column is missing, or the file is empty, damaged or of an unknown format.
    """
    file = _existing_file(path)
    _check_columns(columns, columns_of(file), file)
    wanted = list(dict.fromkeys(columns))
    with _reading(file):
        if format_of(file) == ".parquet":
            frame = read_parquet(file, wanted)
        else:
            frame = read_csv(file, [name for name in text if name is not None], wanted)
    return frame


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], *, safe: bool = False) -> None:
    """Write a table in the format of the file name's ending, whole or not at all.

    Args:
        frame: the table; its index is left out.
        path: a .csv, .csv.gz, .tsv or .parquet file; an existing file is replaced.
        safe: whether text that a spreadsheet would take for a formula gets an apostrophe before it. Parquet has types,
            and stays as it is.

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
            table = _without_formulas(table) if safe else table
            table.to_csv(temporary, index=False, sep="\t" if ending == ".tsv" else ",")


def _without_formulas(frame: Any) -> Any:
    """Return a table with an apostrophe before every text, and name of a column, that begins as a formula does."""

    def mark(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

    return frame.apply(lambda column: column.map(mark)).rename(columns=mark)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the ending that determines the format of a table file.

    Args:
        path: the file; it need not exist.

    Raises:
        TableError: the format cannot be read or written.

    Example:
        >>> format_of("recordings/Walk.CSV.gz")
        '.csv.gz'
    """
    name = Path(path).name.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending
    raise TableError("", "an unknown table format", f"a name that ends in {', '.join(FORMATS)}", file=path)


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


def _existing_file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        kind = "a folder, not a file" if file.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {kind}; expected a table of recordings ({', '.join(FORMATS)})")
    format_of(file)
    return file


@contextmanager
def _reading(file: Path) -> Generator[None, None, None]:
    """Replace the errors of pandas and pyarrow by one that names the file and what to do."""
    empty = TableError("", "an empty file", "a header and one row per frame", file=file)
    if file.stat().st_size == 0:
        raise empty
    try:
        yield
    except TableError:
        raise
    except UnicodeDecodeError as error:
        raise explain_undecodable(file) from error
    except (ValueError, EOFError, OSError, zlib.error, csv.Error) as error:  # those of pandas and pyarrow too
        if isinstance(error, import_pandas().errors.EmptyDataError):
            raise empty from error
        kind = {".parquet": "Parquet", ".csv.gz": "CSV compressed by gzip"}.get(format_of(file), "CSV")
        got = f"a file that is not readable as {kind} ({explain_csv_error(str(error))})"
        raise TableError("", got, f"a whole {kind} file", file=file) from error


def _check_columns(wanted: Sequence[str], available: Sequence[str], file: Path) -> None:
    for name in wanted:
        if name not in available:
            advice = _advise_column(name, available, file)
            raise TableError(f"column {name!r}", "no such column", f"one of {listing(available)}", advice, file=file)


def _advise_column(name: str, available: Sequence[str], file: Path) -> str:
    """Return what may be the reason that a column is missing."""
    lowered = {column.lower(): column for column in available}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    data = [name for name in available if not name.isdecimal() and parse_number(name) is not None]
    advice = [f"did you mean {lowered[close[0]]!r}?"] if close else []
    advice += [f"{data[0]!r} looks like data: is the header missing?"] if data else []
    if len(available) == 1 and format_of(file) != ".parquet":
        advice.append("separate columns by commas, semicolons or tabs")
    return " ".join(advice)
