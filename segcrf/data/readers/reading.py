"""Recordings of one or many files: the columns of each file, its cells, and all files together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.clock import check_increasing, time_column
from segcrf.data.readers.columns import Columns, check_channel_columns
from segcrf.data.readers.dates import is_clock, is_dated
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.joining import join_folders
from segcrf.data.readers.paths import Paths, RecordingFile, list_files, standard_input_as_file
from segcrf.data.readers.problems import Problems
from segcrf.data.readers.recording_table import RecordingTable
from segcrf.data.readers.resampling import jitter, resample_recordings
from segcrf.data.readers.roles import is_time_name, recognise_columns
from segcrf.data.readers.sheet import Sheet
from segcrf.data.readers.table import check_columns, listing, open_sheets, reading
from segcrf.data.readers.values import channel_matrix, label_column, target_matrix, usable_channels

__all__ = ["columns_of_files", "read_recordings"]

Array = npt.NDArray[Any]

# Columns of a table of bands; it has one of each.
_STARTS = {"start", "begin", "onset", "start time", "start_time", "tmin", "xmin"}
_ENDS = {"end", "stop", "offset", "duration", "end time", "end_time", "tmax", "xmax"}
_LABELS = {
    "label",
    "labels",
    "class",
    "event",
    "trial_type",
    "annotation",
    "description",
    "behavior",
    "state",
    "activity",
    "stage",
}
# Recordings with a larger share of irregular steps get a note.
_IRREGULAR = 0.02


def read_recordings(
    paths: Paths,
    columns: Columns | None = None,
    *,
    dialect: Dialect | None = None,
    resample: float | None = None,
    join: bool = False,
) -> RecordingTable:
    r"""Read recordings from files as people have them.

    A file without a column of recordings is one recording, named after the file. Columns of text, empty columns and
    row numbers are no channels unless ``columns`` names them. Every guess is a sentence in ``notes`` of the result; a
    guess that could be wrong without a sign, such as the order of day and month, is an error with its readings.
    Irregular times are kept unless ``resample`` is given, and a note states their jitter.

    Args:
        paths: a file, a folder, a pattern such as ``"data/*.csv"``, ``"-"`` for standard input, or a list of these.
        columns: the roles of the columns; open roles are filled in by their names. None: all are open.
        dialect: what files do not say about themselves. None: it is recognised.
        resample: frames per unit of time; other recordings are resampled to it. None: as they are.
        join: whether the files of a folder are channels of one recording, at the times of the fastest one.

    Returns:
        One signal per recording, with labels, targets and times if there are such columns. Missing values of signals
        are NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a package that a format needs is not installed.
        InputError: a column has two roles.
        TableError: a file cannot be used.
        ReadingError: there are several problems, in one file or in many.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "walk.csv").write_text("Time;acc [g]\n0,0;1,5\n0,5;2,5\n")
        ...     table = read_recordings(folder)
        >>> table.names, table.columns.channels, table.sampling_rate
        (['walk'], ('acc [g]',), 2.0)
    """
    columns, dialect = columns or Columns(), dialect or Dialect()
    problems = Problems()
    with standard_input_as_file(paths) as given:
        files, notes = list_files(given)
        tables: list[RecordingTable] = []
        for file in files:
            with problems.kept():
                tables.extend(_read_file(file, columns, dialect, problems))
        problems.raise_any()
        if join:
            tables = join_folders(tables)
        if columns.channels is None:
            tables = _share_channels(tables, problems, notes)
        table = _join(tables, problems, notes)
    problems.raise_any()
    return table if resample is None else resample_recordings(table, resample)


def columns_of_files(paths: Paths, dialect: Dialect | None = None) -> list[str]:
    """Return the columns that every table in files has.

    Args:
        paths: as in :func:`read_recordings`.
        dialect: what files do not say about themselves.

    Raises:
        FileNotFoundError, ImportError, TableError: as :func:`read_recordings` raises them.
    """
    files, _ = list_files(paths)
    found = [sheet.columns for file in files for sheet in open_sheets(file.path, dialect or Dialect())]
    return [name for name in found[0] if all(name in columns for columns in found)]


def _read_file(file: RecordingFile, columns: Columns, dialect: Dialect, problems: Problems) -> list[RecordingTable]:
    tables: list[RecordingTable] = []
    for sheet in open_sheets(file.path, dialect):
        with problems.kept():
            name = file.name if sheet.name is None else f"{file.name}/{sheet.name}"
            tables.append(_read_sheet(file.path, name, sheet, columns, dialect))
    return tables


def _read_sheet(file: Path, name: str, sheet: Sheet, given: Columns, dialect: Dialect) -> RecordingTable:
    """Return the recordings of one table, or raise all its problems."""
    columns, notes = recognise_columns(given, sheet.columns)
    columns = columns.resolve(sheet.columns)
    if given.channels is None:
        _check_no_bands(sheet.columns, file)
        columns, said = _without_times(columns)
        notes += said
        check_channel_columns(columns.channels or (), sheet.columns, file)
    _check_channels(given.channels or (), columns.channels or (), sheet.columns, file)
    _check_label(columns.label, sheet.columns, file)
    check_columns(columns.used(), sheet.columns, file)
    date = _date_column(columns, sheet.columns)
    text = [column for column in (columns.recording, columns.label, date) if column is not None]
    with reading(file):
        frame = sheet.read(list(dict.fromkeys([*columns.used(), *([date] if date else [])])), text)
    if len(frame) == 0:
        raise TableError("", "a header without rows", "one row at least", file=file)
    if given.channels is None:
        _check_no_bare_bands(frame, file)
        channels, skipped = usable_channels(frame, columns.channels or (), file)
        columns, notes = dataclasses.replace(columns, channels=channels), [*notes, *skipped]
    if date is not None and columns.time is not None:
        frame, columns, joined = _with_dates(frame, columns, date)
        notes += joined
    problems = Problems()
    names, order, bounds = _group_rows(frame, columns.recording, file, name)
    table = RecordingTable(columns, names, [], source=str(file), files=[str(file)] * len(names))

    def by_recording(values: Array) -> list[Array]:
        return np.split(values[order], bounds)

    rows = by_recording(np.asarray(frame.index))
    fields: dict[str, Any] = {"rows": rows}
    with problems.kept():
        timed, said = _read_times(frame, table, rows, by_recording, dialect)
        fields |= timed
        notes += said
    with problems.kept():
        fields["signals"] = by_recording(channel_matrix(frame, columns.channels or (), file))
    with problems.kept():
        if columns.label is not None:
            fields["labels"] = by_recording(label_column(frame, columns.label, file))
    with problems.kept():
        if columns.targets:
            fields["targets"] = by_recording(target_matrix(frame, columns.targets, file))
    problems.raise_any()
    said = [f"{file}: {note}" for note in (*sheet.notes, *notes)]
    return dataclasses.replace(table, **{"columns": columns, **fields}, notes=said)


def _read_times(
    frame: Any, table: RecordingTable, rows: list[Array], by_recording: Callable[[Array], list[Array]], dialect: Dialect
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of times, of the column or of a known rate, and what was recognised."""
    if table.columns.time is None:
        if dialect.sampling_rate is None:
            return {}, []
        return {"times": [np.arange(len(own)) / dialect.sampling_rate for own in rows]}, []
    seconds, dated, notes = time_column(frame, table.columns.time, table.source, dialect)
    times = by_recording(seconds)
    check_increasing(times, rows, table.names, frame[table.columns.time], table.source)
    shares = [jitter(time) for time in times]
    if max(shares) > _IRREGULAR:
        worst = table.names[int(np.argmax(shares))]
        notes.append(
            f"times are irregular: {max(shares):.1%} of the steps of recording {worst!r} are no whole number of usual "
            "steps; frames count as equally far apart unless you give --resample RATE"
        )
    return {"times": times, "dated": dated}, notes


def _check_label(label: str | None, available: Sequence[str], file: Path) -> None:
    """Check that the column of labels is there; columns that may be meant are the fix."""
    if label is None or label in available:
        return
    meant = [name for name in available if name.strip().casefold() in _LABELS]
    try:
        check_columns([label], available, file)
    except TableError as error:
        raise error.fixed_by(*(("--label", name) for name in meant)) from None


def _check_no_bands(available: Sequence[str], file: Path) -> None:
    """Check that a table is not one of bands, which would pass for a signal of starts and ends."""
    words = {name.strip().casefold() for name in available}
    if words & _STARTS and words & _ENDS and words & _LABELS:
        got, expected = "bands (a start, an end and a label per row)", "a signal, with a row per frame"
        advice = "give the recordings, and this file as labels; or name the channels"
        raise TableError("", got, expected, advice, file=file)


def _check_no_bare_bands(frame: Any, file: Path) -> None:
    """Check that a table without a header is not one of starts, ends and labels, as Audacity writes them."""
    if list(frame.columns) != ["column 1", "column 2", "column 3"]:
        return
    start, end, label = (frame[name] for name in frame.columns)
    if {start.dtype.kind, end.dtype.kind} <= {"i", "f"} and label.dtype.kind == "O":
        ordered = np.append(start.to_numpy()[1:], np.inf) >= start.to_numpy()
        if ordered.all() and (end >= start).all() and len(frame) > 1:
            _check_no_bands(["start", "end", "label"], file)


def _without_times(columns: Columns) -> tuple[Columns, list[str]]:
    """Return the roles without channels that are called like times."""
    channels = columns.channels or ()
    times = [name for name in channels if is_time_name(name)]
    if not times:
        return columns, []
    left = tuple(name for name in channels if name not in times)
    note = f"{listing(times)}: taken for times, and no channel (otherwise: --time, --channels)"
    return dataclasses.replace(columns, channels=left), [note]


def _check_channels(given: Sequence[str], channels: Sequence[str], available: Sequence[str], file: Path) -> None:
    """Check that named channels are there; all that are absent are one problem."""
    absent = [name for name in channels if name not in available]
    if len(absent) > 1 or (absent and len(given) > 1):
        got = f"the columns {listing(available)}, without {listing(absent)}"
        expected = f"{len(given)} channels ({listing(given)})"
        raise TableError("channels", got, expected, "give recordings of the same channels", file=file)


def _date_column(columns: Columns, available: Sequence[str]) -> str | None:
    """Return the column of dates beside a column of times of day."""
    if columns.time is None:
        return None
    used = {columns.recording, columns.time, columns.label, *columns.targets}
    found = [name for name in available if name.strip().casefold() in ("date", "datum", "day") and name not in used]
    return found[0] if len(found) == 1 else None


def _with_dates(frame: Any, columns: Columns, date: str) -> tuple[Any, Columns, list[str]]:
    """Return the table with dates before the times of day, if the two columns are such."""
    assert columns.time is not None
    times = frame[columns.time]
    if times.dtype.kind != "O" or not is_clock(str(times.iloc[0])) or not is_dated(str(frame[date].iloc[0])):
        return frame, columns, []
    joined = frame[date].astype("str").str.strip() + " " + times.astype("str").str.strip()
    channels = tuple(name for name in columns.channels or () if name != date)
    note = f"times are those of columns {date!r} and {columns.time!r} together"
    columns = dataclasses.replace(columns, channels=channels)
    return frame.assign(**{str(columns.time): joined}), columns, [note]


def _group_rows(frame: Any, column: str | None, file: Path, name: str) -> tuple[list[str], Array, Array]:
    """Return names of the recordings, the order that brings their rows together, and where to split."""
    if column is None:
        return [name], np.arange(len(frame)), np.empty(0, dtype=np.int64)
    values = frame[column]
    missing = np.flatnonzero((values.isna() | (values == "")).to_numpy())
    if missing.size:
        row = int(frame.index[int(missing[0])])
        raise TableError(f"column {column!r}", "no name", "the recording's name in every row", file=file, row=row)
    codes, unique = import_pandas().factorize(values)
    order = np.argsort(codes, kind="stable")
    return [str(name) for name in unique], order, np.cumsum(np.bincount(codes))[:-1]


def _share_channels(tables: list[RecordingTable], problems: Problems, notes: list[str]) -> list[RecordingTable]:
    """Return the tables with the channels of most files; a file that lacks some is a problem."""
    sets = Counter(frozenset(table.columns.channels or ()) for table in tables)
    most = max(sets.values())
    usual = min((s for s, often in sets.items() if often == most), key=len)
    first = next(table for table in tables if frozenset(table.columns.channels or ()) == usual)
    channels = first.columns.channels or ()
    kept: list[RecordingTable] = []
    for table in tables:
        own = table.columns.channels or ()
        absent = [name for name in channels if name not in own]
        extra = [name for name in own if name not in channels]
        if absent:
            got = f"{listing(own)}, without {listing(absent)}"
            common = [name for name in channels if all(name in (t.columns.channels or ()) for t in tables)]
            advice = f"use those that all files have: --channels {','.join(common)}" if common else ""
            expected = f"{listing(channels)}, as in {first.source}"
            with problems.kept():
                error = TableError("channels", got, expected, advice or "leave the file out", file=table.source)
                raise error.fixed_by(("--channels", ",".join(common))) if common else error
            continue
        if extra:
            notes.append(f"{table.source}: columns that {first.source} does not have are left out: {listing(extra)}")
        if own != channels:
            place = [own.index(name) for name in channels]
            columns = dataclasses.replace(table.columns, channels=channels)
            table = dataclasses.replace(table, columns=columns, signals=[signal[:, place] for signal in table.signals])
        kept.append(table)
    return kept


def _join(tables: list[RecordingTable], problems: Problems, notes: list[str]) -> RecordingTable:
    """Return the recordings of all tables as one; their roles must agree."""
    if not tables:
        problems.raise_any()
    first = tables[0]
    if len(tables) == 1:
        return dataclasses.replace(first, notes=[*notes, *first.notes])
    for table in tables[1:]:
        with problems.kept():
            _check_alike(table, first)
    names = [name for table in tables for name in table.names]
    if len(set(names)) < len(names):
        stems = [Path(table.source).name.split(".")[0] for table in tables]
        prefixes = stems if len(set(stems)) == len(stems) else [table.source for table in tables]
        names = [f"{prefix}/{name}" for prefix, table in zip(prefixes, tables, strict=True) for name in table.names]
        notes.append("recordings of the same name are in several files; their names begin with that of the file")

    def joined(field: str) -> list[Any] | None:
        parts = [getattr(table, field) for table in tables]
        return None if any(part is None for part in parts) else [each for part in parts for each in part]

    fields = {field: joined(field) for field in ("labels", "targets", "times", "rows", "files")}
    signals = [signal for table in tables for signal in table.signals]
    said = [*notes, *_once([note for table in tables for note in table.notes])]
    source = listing(list(dict.fromkeys(table.source for table in tables))[:3])
    more = len({table.source for table in tables}) - 3
    source += f" and {more} more files" if more > 0 else ""
    return dataclasses.replace(first, names=names, signals=signals, notes=said, source=source, **fields)


def _check_alike(table: RecordingTable, first: RecordingTable) -> None:
    """Check that two files both have labels, times or dates, or neither."""
    for role, field in (("label", "labels"), ("time", "times")):
        here, there = getattr(table, field) is not None, getattr(first, field) is not None
        if here != there:
            other = getattr((table if here else first).columns, role)
            got = f"{'a' if here else 'no'} column of {field} ({other!r})"
            expected = f"{'one' if there else 'none'}, as in {first.source}"
            advice = f"name it with --{role}, or leave it out with --{role} ''"
            raise TableError(field, got, expected, advice, file=table.source).fixed_by((f"--{role}", ""))
    if table.dated != first.dated:
        got, expected = ("dates", "numbers") if table.dated else ("numbers", "dates")
        raise TableError("times", got, f"{expected}, as in {first.source}", "write all alike", file=table.source)


def _once(notes: Sequence[str]) -> list[str]:
    """Return notes, those of many files about the same matter only once."""
    matters: dict[str, list[str]] = {}
    for note in notes:
        file, _, matter = note.partition(": ")
        matters.setdefault(matter, []).append(file)
    return [
        f"{files[0]}: {matter}" if len(files) == 1 else f"{len(files)} files, such as {files[0]}: {matter}"
        for matter, files in matters.items()
    ]
