"""Channels of one recording in files of their own, at rates of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.errors import TableError
from segcrf.data.readers.recording_table import GAP, RecordingTable
from segcrf.data.readers.table import listing

__all__ = ["join_folders"]

Array = npt.NDArray[Any]


def join_folders(tables: Sequence[RecordingTable]) -> list[RecordingTable]:
    """Return one table per folder, with the channels of all its files side by side.

    The frames are those of the file with the highest rate, as far as all files of the folder reach. Values of the
    others are interpolated between their two nearest frames, and missing where these are more than 10 usual steps
    apart. Labels come from the file that has them. A recording is named after its folder.

    Args:
        tables: of one file each, with times.

    Raises:
        TableError: a file has several recordings or no times, times do not overlap, or two files have labels.
    """
    folders: dict[Path, list[RecordingTable]] = {}
    for table in tables:
        folders.setdefault(Path(table.source).absolute().parent, []).append(table)
    return [_join(folder, inside) for folder, inside in folders.items()]


def _join(folder: Path, tables: Sequence[RecordingTable]) -> RecordingTable:
    for table in tables:
        _check_joinable(table, tables[0])
    rates = [table.sampling_rate or 0.0 for table in tables]
    fastest = tables[int(np.argmax(rates))]
    times = [_times_of(table) for table in tables]
    start, end = max(time[0] for time in times), min(time[-1] for time in times)
    frames = np.flatnonzero((_times_of(fastest) >= start) & (_times_of(fastest) <= end))
    if not frames.size:
        got, expected = "times that do not overlap", "files that were recorded together"
        raise TableError("times", got, expected, "look for another clock or time zone", file=folder)
    time = _times_of(fastest)[frames]
    names = [name for table in tables for name in table.columns.channels or ()]
    unique = len(set(names)) == len(names)
    channels = [
        name if unique else f"{Path(table.source).name.split('.')[0]}/{name}"
        for table in tables
        for name in table.columns.channels or ()
    ]
    signals = [table.signals[0][frames] if table is fastest else _at(time, table) for table in tables]
    rows = None if fastest.rows is None else [fastest.rows[0][frames]]
    note = f"{folder}: channels of {len(tables)} files on the frames of {Path(fastest.source).name}"
    joined = dataclasses.replace(
        fastest,
        columns=dataclasses.replace(fastest.columns, channels=tuple(channels)),
        names=[folder.name],
        signals=[np.concatenate(signals, axis=1)],
        labels=_labels_at(time, tables),
        times=[time],
        rows=rows,
        notes=[note, *(said for table in tables for said in table.notes)],
    )
    label = next((table.columns.label for table in tables if table.labels is not None), None)
    return dataclasses.replace(joined, columns=dataclasses.replace(joined.columns, label=label))


def _times_of(table: RecordingTable) -> Array:
    assert table.times is not None  # checked before
    return table.times[0]


def _at(time: Array, table: RecordingTable) -> Array:
    """Return (T', F) values of a file at other times within its own."""
    own, values = _times_of(table), table.signals[0]
    step = float(np.median(np.diff(own))) if len(own) > 1 else np.inf
    place = np.clip(np.searchsorted(own, time, side="right") - 1, 0, max(len(own) - 2, 0))
    following = own[np.minimum(place + 1, len(own) - 1)]
    far = (following - own[place] > GAP * step) & (time > own[place]) & (time < following)
    found = np.stack([np.interp(time, own, column) for column in values.T.astype(np.float64)], axis=1)
    found[far] = np.nan
    return found.astype(values.dtype)


def _labels_at(time: Array, tables: Sequence[RecordingTable]) -> list[Array] | None:
    labelled = [table for table in tables if table.labels is not None]
    if len(labelled) > 1:
        got = f"labels in {listing([table.source for table in labelled])}"
        raise TableError(
            "labels", got, "labels in one file of a folder", "leave the others out", file=labelled[1].source
        )
    if not labelled:
        return None
    own, labels = _times_of(labelled[0]), labelled[0].labels
    assert labels is not None
    return [labels[0][np.searchsorted((own[1:] + own[:-1]) / 2, time)]]


def _check_joinable(table: RecordingTable, first: RecordingTable) -> None:
    """Check that a file is one recording with times, of the kind that another has."""
    if len(table.names) != 1:
        got, advice = f"{len(table.names)} recordings ({listing(table.names)})", "give a folder for each recording"
        raise TableError("", got, "one recording in each file that is joined", advice, file=table.source)
    if table.times is None:
        advice = "name the column with --time, or state the rate: --sampling-rate HERTZ"
        raise TableError("times", "none", "times to join files by", advice, file=table.source)
    if table.targets is not None:
        got, advice = "columns of targets", "join the files first, and name them as channels"
        raise TableError("targets", got, "channels and labels in files that are joined", advice, file=table.source)
    if table.dated != first.dated:
        got, expected = ("dates", "numbers") if table.dated else ("numbers", "dates")
        raise TableError("times", got, f"{expected}, as in {first.source}", "write all alike", file=table.source)
