"""Band tables: one row per segment, with recording, start, end and label, in frames or in the unit of a time column."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers import (
    RecordingTable,
    TableError,
    format_time,
    frame_edges,
    import_pandas,
    label_column,
    listing,
    read_table,
    seconds_of,
    to_dates,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_segments", "segments_to_frames", "segments_to_times"]

Array = npt.NDArray[Any]

# Columns of frames that become times.
TIMED = ("start", "end", "start_low", "start_high", "end_low", "end_high")


def read_segments(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of segments, as :func:`~segcrf.data.write_table` wrote it.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file with the columns recording, start, end and label.

    Returns:
        These columns, indexed by row as a spreadsheet counts; recordings and labels are text. A header without rows
        is a table without bands.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        TableError: a column is missing, or the file is empty, damaged or of an unknown format.
    """
    frame: Any = read_table(path, ("recording", "start", "end", "label"), text=["recording", "label"])
    frame["label"] = label_column(frame, "label", Path(path))
    # A file without rows says nothing of the type of its columns.
    return frame if len(frame) else frame.astype({"start": np.float64, "end": np.float64})


def segments_to_times(segments: pd.DataFrame, recordings: RecordingTable) -> pd.DataFrame:
    """Convert segments in frames to segments in the unit of the time column.

    Args:
        segments: columns recording, start, end (half-open frames), and others, which are kept. Intervals of the
            boundaries, as :meth:`segcrf.Segmenter.predict_segments` returns them, are converted too.
        recordings: the recordings of the segments.

    Returns:
        The same rows. A segment starts at the time of its first frame and ends where the next frame begins; after
        the last frame, one median step later. Without a time column the frames are kept.
    """
    if recordings.times is None:
        return segments
    edges = {
        name: frame_edges(time, recordings.sampling_rate)
        for name, time in zip(recordings.names, recordings.times, strict=True)
    }
    names = _recording_names(segments)
    table: Any = segments
    timed = table.copy()
    for column in timed.columns.intersection(TIMED):
        frames = timed[column].tolist()
        values = np.array([edges[name][frame] for name, frame in zip(names, frames, strict=True)], dtype=np.float64)
        timed[column] = to_dates(values) if recordings.dated else values
    return timed


def segments_to_frames(segments: pd.DataFrame, recordings: RecordingTable, *, source: object = "bands") -> pd.DataFrame:
    """Convert segments in the unit of the time column to half-open frames: the inverse of :func:`segments_to_times`.

    Args:
        segments: columns recording, start, end, and others, which are kept.
        recordings: the recordings of the segments.
        source: file of the segments, for errors.

    Returns:
        The same rows with ``start`` and ``end`` as the frames nearest to their times. A time outside of its recording
        becomes a frame outside.

    Raises:
        TableError: a segment names an unknown recording, has a time that is not one, or ends before it begins.
    """
    table: Any = segments
    number = {name: index for index, name in enumerate(recordings.names)}
    names = _recording_names(table)
    for row, name in zip(table.index, names, strict=True):
        if name not in number:
            expected = f"a recording of {recordings.source}: {listing(recordings.names)}"
            raise TableError("column 'recording'", repr(name), expected, file=source, row=int(row))
    recording = np.array([number[name] for name in names], dtype=np.int64)
    framed = table.copy()
    for column in ("start", "end"):
        framed[column] = _nearest_frames(table[column], recording, recordings, source)
    reversed_ = np.flatnonzero((framed["end"] <= framed["start"]).to_numpy())
    if reversed_.size:
        row, band = table.index[reversed_[0]], table.iloc[reversed_[0]]
        unit = f"column {recordings.columns.time!r}" if recordings.times else "frames"
        raise TableError(
            "column 'end'",
            f"{format_time(band['end'])}, with a start of {format_time(band['start'])} and no frame between them",
            f"an end after the start, in the unit of {unit}",
            file=source,
            row=int(row),
            recording=band["recording"],
        )
    return framed


def _recording_names(segments: Any) -> list[str]:
    return [str(name) for name in segments["recording"].tolist()]


def _nearest_frames(values: Any, recording: Array, recordings: RecordingTable, source: object) -> Array:
    """Convert (N,) times, each of its recording, to the nearest frames, or one outside for a time outside."""
    seconds = _band_times(values, recordings, source)
    if recordings.times is None:
        return seconds.astype(np.int64)
    frames = np.empty(len(seconds), dtype=np.int64)
    for number, time in enumerate(recordings.times):
        own = recording == number
        edges = frame_edges(time, recordings.sampling_rate)
        slack = edges[-1] - time[-1]
        frames[own] = np.searchsorted((edges[:-1] + edges[1:]) / 2, seconds[own])
        frames[own] += (seconds[own] > edges[-1] + slack).astype(np.int64) - (seconds[own] < time[0] - slack)
    return frames


def _band_times(values: Any, recordings: RecordingTable, source: object) -> Array:
    """Return (N,) times of bands as float64, in the unit of the recordings: of their time column, or frames."""
    pd = import_pandas()
    if recordings.dated:
        stamps = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        times = np.where(stamps.isna(), np.nan, seconds_of(stamps))
    else:
        times = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(times)
    if recordings.times is None:
        wrong |= times != np.rint(times)
        expected = f"a whole number of frames, as {recordings.source} has no times"
    else:
        kind = "a date and time" if recordings.dated else "a number"
        expected = f"{kind}, as column {recordings.columns.time!r} of {recordings.source} has"
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        value = values.iloc[first]
        got = "an empty cell" if pd.isna(value) else repr(value) if isinstance(value, str) else format_time(value)
        raise TableError(f"column {values.name!r}", got, expected, file=source, row=int(values.index[first]))
    return times
