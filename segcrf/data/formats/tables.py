"""Tables of bands: one row per band, with start, end or duration, and label; also recording and annotator.

Columns may have the names that other tools give them (NAMES), with or without a unit: ``Start (s)``,
``onset``, ``end_frame``. Ends are exclusive. Times are seconds, frames, clock times such as 0:01:30.5 from the start of
the recording, or whatever the time column of the recordings holds; only a unit in the name of a column decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segcrf.data.formats.base import LabelFormat, parse_seconds, recording_of
from segcrf.data.readers import TableError, columns_of, import_pandas, label_column, listing, read_table, write_table

__all__ = ["TABLE", "holds_bands", "read_band_table"]

#: What columns of a role may be called, in lower case, with words separated by "_" and without a unit.
NAMES = {
    "recording": ("recording", "recording_id", "file", "filename", "file_name", "record", "media", "notated_path"),
    "start": ("start", "onset", "begin", "start_time", "begin_time", "onset_time", "tmin", "xmin"),
    "end": ("end", "stop", "offset", "finish", "end_time", "stop_time", "offset_time", "tmax", "xmax"),
    "duration": ("duration",),
    "label": ("label", "class", "trial_type", "event_label", "activity", "behavior", "behaviour", "state", "stage",
              "annotation", "description", "event", "name"),
    "annotator": ("annotator", "rater", "coder", "observer", "tier", "scorer"),
}  # fmt: skip
# Seconds per unit of a column; None: frames. The first units are preferred where a table has several.
_UNITS: dict[str, float | None] = {
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 1.0),
    "min": 60.0,
    **dict.fromkeys(("ms", "msec", "milliseconds"), 1e-3),
    **dict.fromkeys(("frame", "frames", "sample", "samples"), None),
}
_CLOCK = re.compile(r"\s*\d+:\d\d(:\d\d)?([.]\d*)?\s*")
_PATHS = ("filename", "file_name", "file", "media", "notated_path")


class RoleColumn(NamedTuple):
    """A column with a role.

    Attributes:
        name: of the column, as the table writes it.
        usual: the name in lower case without its unit.
        unit: of its times, a key of the units; "" where the name has none.
    """

    name: str
    usual: str
    unit: str


def _find_roles(columns: Sequence[str]) -> dict[str, RoleColumn]:
    """Return the column of each role that a table has.

    Where several fit a role, the first in NAMES counts, and of several units the first of seconds, minutes,
    milliseconds, frames and none.
    """
    split = [_split_name(name) for name in columns]
    units = [*_UNITS, ""]
    roles: dict[str, RoleColumn] = {}
    for role, known in NAMES.items():
        timed = role in ("start", "end", "duration")
        found = [column for column in split if column.usual in known and (timed or not column.unit)]
        if found:
            roles[role] = min(found, key=lambda column: (known.index(column.usual), units.index(column.unit)))
    if {"start", "end"} <= roles.keys():
        roles["end"] = _in_unit_of(roles["start"], roles["end"], split)
    return roles


def holds_bands(columns: Sequence[str]) -> bool:
    """Return whether a table with these columns is one of bands: a start, an end or duration, and a label in each row.

    Args:
        columns: names of all columns.

    Example:
        >>> holds_bands(["start", "end", "label"]), holds_bands(["time", "ax", "label"])
        (True, False)
        >>> holds_bands(["Onset (s)", "duration", "trial_type"])
        True
    """
    roles = _find_roles(columns)
    return {"start", "label"} <= roles.keys() and bool({"end", "duration"} & roles.keys())


def read_band_table(file: Path, missing: Sequence[str] = ()) -> Any:
    """Return the table of bands of a file.

    Args:
        file: a table that :func:`~segcrf.data.read_table` reads.
        missing: words that mean no value, beside an empty cell.

    Raises:
        TableError: there is no column of starts, ends or labels, or a time with a unit is no number.
    """
    available = columns_of(file)
    roles = _find_roles(available)
    roles.pop("duration" if "end" in roles else "", None)
    for role in ("start", "end", "label"):
        if role not in roles and not (role == "end" and "duration" in roles):
            names = NAMES[role] + (NAMES["duration"] if role == "end" else ())
            expected = f"one of {listing(available)} to be called {listing(names)}"
            raise TableError(f"column {role!r}", "no such column", expected, "rename a column", file=file)
    text = [roles[role].name for role in ("recording", "label", "annotator") if role in roles]
    frame: Any = read_table(file, [column.name for column in roles.values()], text=text)
    pd = import_pandas()
    table = pd.DataFrame(index=frame.index)
    table["recording"] = _read_recordings(frame, roles.get("recording"), file)
    first, last = roles["start"], roles.get("end") or roles["duration"]
    start, unit = _read_times(frame, first, file, missing)
    end, other = _read_times(frame, last, file, missing)
    if unit != other and "frames" in (unit, other):
        got = f"{first.name!r} and {last.name!r}"
        raise TableError("header", got, "times of one unit", "name both columns with their unit", file=file)
    if "duration" in roles:
        _check_numbers(start, first, file)
        _check_numbers(end, last, file)
        end = start + end
    table["start"], table["end"] = start, end
    table["label"] = label_column(frame, roles["label"].name, file)
    if missing:
        table["label"] = table["label"].where(~table["label"].isin([*missing]), "")
    if "annotator" in roles:
        table["annotator"] = frame[roles["annotator"].name].fillna("").astype(str)
    if not len(table):  # a file without rows says nothing of the type of its columns
        table = table.astype({"start": "float64", "end": "float64"})
    table.attrs["unit"] = unit or other
    return table


def _split_name(name: str) -> RoleColumn:
    """Return a column with its name in lower case, cut into what it names and its unit."""
    words = [word for word in re.split(r"[\s_()\[\]-]+", name.strip().lower()) if word]
    unit = words[-1] if len(words) > 1 and words[-1] in _UNITS else ""
    return RoleColumn(name, "_".join(words[: len(words) - bool(unit)]), unit)


def _in_unit_of(start: RoleColumn, end: RoleColumn, columns: Sequence[RoleColumn]) -> RoleColumn:
    """Return the end that has the unit of the start, if there is one."""
    same = [column for column in columns if column.usual in NAMES["end"] and column.unit == start.unit]
    return min(same, key=lambda column: column.usual != end.usual) if same else end


def _read_recordings(frame: Any, column: RoleColumn | None, file: Path) -> Any:
    """Return the names of recordings: those of a column, without folders and endings where it names files."""
    if column is None:
        return recording_of(file)
    values = frame[column.name]
    missing = values.isna() | (values == "")
    if missing.any():
        row = int(frame.index[int(missing.to_numpy().argmax())])
        raise TableError(f"column {column.name!r}", "no name", "the recording in every row", file=file, row=row)
    names = values.astype(str)
    if column.usual in _PATHS:
        names = names.map(_name_of_file)
    return names


def _name_of_file(path: str) -> str:
    """Return the name of a file without its folders and its ending."""
    name = re.split(r"[/\\]", path)[-1]
    return name.rpartition(".")[0] or name


def _read_times(frame: Any, column: RoleColumn, file: Path, missing: Sequence[str]) -> tuple[Any, str | None]:
    """Return times and their unit: seconds, frames, or None for times as they are written."""
    pd = import_pandas()
    values = frame[column.name]
    if missing and values.dtype.kind not in "iufM":
        values = values.where(~values.isin([*missing]))
    numbers = None if values.dtype.kind == "M" else pd.to_numeric(values, errors="coerce")
    clocks = numbers is not None and bool((numbers.isna() & values.astype(str).str.fullmatch(_CLOCK)).any())
    if not column.unit and not clocks:
        whole = numbers is not None and not (numbers.isna() & values.notna()).any()
        return (numbers if whole else values), None
    parsed = [
        float("nan") if pd.isna(value) else parse_seconds(value, f"column {column.name!r}", file, int(row))
        for row, value in zip(frame.index, values.tolist(), strict=True)
    ]
    per_unit = _UNITS.get(column.unit, 1.0)
    seconds = pd.Series(parsed, index=frame.index, dtype="float64")
    return (seconds, "frames") if per_unit is None else (seconds * per_unit, "seconds")


def _check_numbers(times: Any, column: RoleColumn, file: Path) -> None:
    """Raise for a start or duration that is no number, as ends are their sums."""
    if times.dtype.kind in "iuf":
        return
    at = 0
    if times.dtype.kind != "M":
        numbers = import_pandas().to_numeric(times, errors="coerce")
        at = int((numbers.isna() & times.notna()).to_numpy().argmax())
    got, row = repr(times.tolist()[at])[:80], int(times.index[at])
    advice = "write seconds, or a column of ends instead of durations"
    raise TableError(f"column {column.name!r}", got, "a number", advice, file=file, row=row)


def _read(file: Path, sampling_rate: float | None) -> Any:
    return read_band_table(file)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    write_table(table, file)


TABLE = LabelFormat("table", (".csv", ".csv.gz", ".tsv", ".parquet"), _read, _write, many=True)
