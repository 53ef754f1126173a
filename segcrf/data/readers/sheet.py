"""A table in a file: its columns, and a function that reads its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from segcrf.data.readers.dependencies import import_pandas

__all__ = ["Sheet", "distinct_names", "sheet_of_arrays", "sheet_of_frame"]


class Sheet(NamedTuple):
    """A table in a file.

    Attributes:
        name: of the table in its file, or None if it is the only one.
        columns: names of its columns.
        read: a function of the columns to read, and of those among them to keep as text. It returns a data frame,
            indexed by row as a spreadsheet counts.
        notes: what was recognised, a sentence each.
    """

    name: str | None
    columns: list[str]
    read: Callable[[Sequence[str], Sequence[str]], Any]
    notes: list[str]


def sheet_of_frame(name: str | None, frame: Any, notes: Sequence[str] = (), *, first_row: int = 1) -> Sheet:
    """Return a sheet of a data frame that is in memory.

    Args:
        name: of the table in its file, or None.
        frame: a data frame.
        notes: what was recognised.
        first_row: the number of its first row.
    """
    frame.index = np.arange(first_row, first_row + len(frame))
    names, renamed = distinct_names([str(column) for column in frame.columns])
    frame.columns = names

    def read(columns: Sequence[str], text: Sequence[str]) -> Any:
        return frame[list(columns)]

    return Sheet(name, names, read, [*notes, *renamed])


def sheet_of_arrays(
    name: str | None, columns: dict[str, Any], sampling_rate: float | None, notes: Sequence[str] = ()
) -> Sheet:
    """Return a sheet of arrays of equal length, with times if the rate is known.

    Args:
        name: of the recording in its file, or None.
        columns: arrays (T,) by name.
        sampling_rate: frames per second, or None.
        notes: what was recognised.
    """
    frame = import_pandas().DataFrame(columns)
    if sampling_rate is not None and "time" not in columns:
        frame.insert(0, "time", np.arange(len(frame)) / sampling_rate)
    return sheet_of_frame(name, frame, notes)


def distinct_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names such that each occurs once, and a note if some were changed; empty names stay.

    Args:
        names: of columns.

    Example:
        >>> distinct_names(["ax", "ax"])
        (['ax', 'ax (2)'], ["the header has 'ax' 2 times; they are called ax, ax (2)"])
    """
    found: list[str] = []
    for name in names:
        number, distinct = 1, name
        while name and distinct in found:
            number += 1
            distinct = f"{name} ({number})"
        found.append(distinct)
    notes: list[str] = []
    for name in dict.fromkeys(name for name in names if name and names.count(name) > 1):
        called = [new for new, old in zip(found, names, strict=True) if old == name]
        notes.append(f"the header has {name!r} {len(called)} times; they are called {', '.join(called)}")
    return found, notes
