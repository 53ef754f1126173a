"""Bands of recordings: between frames, seconds and the unit of a time column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError, frames_per_second
from segcrf.data.readers import (
    RecordingTable,
    TableError,
    format_time,
    frame_edges,
    import_pandas,
    listing,
    seconds_of,
    to_dates,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["segments_to_frames", "segments_to_seconds", "segments_to_times"]

Array = npt.NDArray[Any]

# Columns of frames that become times.
TIMED = ("start", "end", "start_low", "start_high", "end_low", "end_high")


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


def segments_to_seconds(
    segments: pd.DataFrame, recordings: RecordingTable, sampling_rate: float | None = None
) -> pd.DataFrame:
    """Convert segments in frames to segments in seconds, as files of labels have them.

    Args:
        segments: columns recording, start, end (half-open frames), and others, which are kept.
        recordings: the recordings of the segments.
        sampling_rate: frames per second. None: the numbers of the time column are seconds. Dates always count from
            the first frame of the recording.

    Returns:
        The same rows.

    Raises:
        InputError: there are neither times nor a sampling rate.
    """
    per_second = _units_per_second(recordings, sampling_rate)
    timed: Any = segments_to_times(segments, recordings)
    names = _recording_names(timed)
    first = _first_times(recordings)
    offset = np.array([first[name] for name in names], dtype=np.float64)
    seconds = timed.copy()
    for column in ("start", "end"):
        values = seconds_of(timed[column]) if recordings.dated else timed[column].to_numpy(dtype=np.float64)
        seconds[column] = (values - offset) / per_second
    return seconds


def segments_to_frames(
    segments: pd.DataFrame,
    recordings: RecordingTable,
    *,
    source: object = "bands",
    sampling_rate: float | None = None,
) -> pd.DataFrame:
    """Convert segments to half-open frames: the inverse of :func:`segments_to_times` and :func:`segments_to_seconds`.

    Args:
        segments: columns recording, start, end, and others, which are kept. ``attrs["unit"]`` is the unit of times as
            :func:`read_labels` returns it; without one it is that of the time column, or frames if there is none.
            Numbers count from the first frame where the time column has dates.
        recordings: the recordings of the segments.
        source: file of the segments, for errors.
        sampling_rate: frames per second, if the time column does not count seconds or there is none. Times of segments
            without a unit are then seconds where there is no time column.

    Returns:
        The same rows with ``start`` and ``end`` as the frames nearest to their times. A time outside of its recording
        becomes a frame outside.

    Raises:
        InputError: times are seconds, and there are neither times of frames nor a sampling rate.
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
    unit = table.attrs.get("unit")
    if unit is None and recordings.times is None and sampling_rate is not None:
        unit = "seconds"
    framed = table.copy()
    for column in ("start", "end"):
        times = _band_times(table[column], unit, recordings, source)
        if unit == "seconds":
            times = _unit_of_recordings(times, recording, recordings, sampling_rate)
        elif recordings.dated and unit is None and table[column].dtype.kind in "iuf":
            times = times + np.array([time[0] for time in recordings.times or []])[recording]
        framed[column] = _nearest_frames(times, unit, recording, recordings)
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


def _units_per_second(recordings: RecordingTable, sampling_rate: float | None) -> float:
    """Return how many units of the times of recordings, or frames without times, are a second."""
    if recordings.times is None:
        if sampling_rate is None:
            got, expected = "None", f"frames per second, as {recordings.source} has no times"
            raise InputError("sampling_rate", got, expected, "give it, as bands are in seconds")
        return frames_per_second(sampling_rate)
    known = recordings.sampling_rate
    if sampling_rate is None or recordings.dated or known is None:
        return 1.0
    return frames_per_second(sampling_rate) / known


def _first_times(recordings: RecordingTable) -> dict[str, float]:
    """Return what seconds count from: the first frame where times are dates, else 0."""
    if not recordings.dated:
        return dict.fromkeys(recordings.names, 0.0)
    return {name: float(time[0]) for name, time in zip(recordings.names, recordings.times or [], strict=True)}


def _unit_of_recordings(
    seconds: Array, recording: Array, recordings: RecordingTable, sampling_rate: float | None
) -> Array:
    """Convert (N,) seconds, each of its recording, to the unit of the times of recordings, or to whole frames."""
    times = seconds * _units_per_second(recordings, sampling_rate)
    if recordings.times is None:
        return np.rint(times)
    first = _first_times(recordings)
    return times + np.array([first[name] for name in recordings.names])[recording]


def _nearest_frames(times: Array, unit: str | None, recording: Array, recordings: RecordingTable) -> Array:
    """Convert (N,) times, each of its recording, to the nearest frames, or one outside for a time outside."""
    if recordings.times is None or unit == "frames":
        return times.astype(np.int64)
    frames = np.empty(len(times), dtype=np.int64)
    for number, time in enumerate(recordings.times):
        own = recording == number
        edges = frame_edges(time, recordings.sampling_rate)
        slack = edges[-1] - time[-1]
        frames[own] = np.searchsorted((edges[:-1] + edges[1:]) / 2, times[own])
        frames[own] += (times[own] > edges[-1] + slack).astype(np.int64) - (times[own] < time[0] - slack)
    return frames


def _band_times(values: Any, unit: str | None, recordings: RecordingTable, source: object) -> Array:
    """Return (N,) times of bands as float64: seconds since 1970 for dates, else the numbers that they are."""
    pd = import_pandas()
    dated = recordings.dated and unit is None and values.dtype.kind not in "iuf"
    if dated:
        stamps = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        times = np.where(stamps.isna(), np.nan, seconds_of(stamps))
    else:
        times = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(times)
    if unit == "seconds":
        expected = "a number of seconds"
    elif recordings.times is None or unit == "frames":
        wrong |= times != np.rint(times)
        expected = "a whole number of frames"
        if unit is None:
            expected += f", as {recordings.source} has no times (seconds need a sampling rate)"
    else:
        kind = "a date and time" if dated else "a number"
        expected = f"{kind}, as column {recordings.columns.time!r} of {recordings.source} has"
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        value = values.iloc[first]
        got = "an empty cell" if pd.isna(value) else repr(value) if isinstance(value, str) else format_time(value)
        raise TableError(f"column {values.name!r}", got, expected, file=source, row=int(values.index[first]))
    return times
