"""Times of frames: numbers or dates in a column, sampling rates, and edges between frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.dates import is_clock, is_dated, parse_clock, parse_dates, to_utc
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.values import number_column

__all__ = [
    "advise_without_time",
    "check_increasing",
    "format_time",
    "frame_edges",
    "sampling_rate_of",
    "seconds_of",
    "time_column",
    "to_dates",
]

Array = npt.NDArray[Any]


def time_column(frame: Any, name: str, file: object, dialect: Dialect) -> tuple[Array, bool, list[str]]:
    """Return times as float64, whether they are dates (then seconds since 1970 UTC), and what was recognised.

    Args:
        frame: a data frame, indexed by row.
        name: the column of times.
        file: the table, for errors.
        dialect: what the user states about dates.

    Raises:
        TableError: a time is missing, or is neither a number, a date nor a time of day.
    """
    raw = frame[name]
    if raw.dtype.kind == "M":
        naive = np.full(len(raw), getattr(raw.dt, "tz", None) is None)
        return to_utc(seconds_of(raw), naive, raw, file, dialect), True, []
    if raw.dtype.kind == "m":
        return raw.dt.total_seconds().to_numpy(dtype=np.float64), False, []
    if raw.dtype.kind == "O" and len(raw):
        text = raw.astype("str")
        first = str(text.iloc[0])
        if is_dated(first):
            seconds, notes = parse_dates(text, file, dialect)
            return seconds, True, notes
        if is_clock(first):
            seconds, notes = parse_clock(text, file)
            return seconds, False, notes
    advice = f"write times as numbers or as 2024-05-31 23:59:59, or {advise_without_time(name)}"
    numbers = number_column(frame, name, file, advice)
    missing = np.flatnonzero(~np.isfinite(numbers))
    if missing.size:
        advice = f"fill it in, or {advise_without_time(name)}"
        row = int(frame.index[int(missing[0])])
        raise TableError(f"column {name!r}", "no time", "a time in every row", advice, file=file, row=row)
    return numbers, False, []


def check_increasing(
    times: Sequence[Array], rows: Sequence[Array], names: Sequence[str], written: Any, file: object
) -> None:
    """Check that time increases in every recording.

    Args:
        times: (T,) each.
        rows: (T,) each, the row of each frame.
        names: names of the recordings.
        written: the column of times as it is written, indexed by row.
        file: the table, for errors.

    Raises:
        TableError: time stands still or goes backwards.
    """
    for name, time, row in zip(names, times, rows, strict=True):
        back = np.flatnonzero(np.diff(time) <= 0)
        if not back.size:
            continue
        frame = int(back[0]) + 1
        verb = "stands still" if time[frame] == time[frame - 1] else "goes backwards"
        earlier = np.flatnonzero(time[:frame] == time[frame])
        advice = "distinguish recordings with --recording"
        if earlier.size:
            advice = f"row {row[earlier[0]]} has that time already: leave out rows that occur twice, {advice}"
        else:
            advice = f"sort the rows, {advice}"
        rate = _sampling_rate_of_rows(time)
        if rate is not None and verb == "stands still":
            advice = f"count rows, as there are {rate:g} per unit of time, {advice}"
        now, before = (format_time(written.loc[row[index]]) for index in (frame, frame - 1))
        error = TableError(
            f"column {str(written.name)!r}",
            f"{now} after {before}: time {verb}",
            "increasing times in each recording",
            f"{advice}, or {advise_without_time(str(written.name))}",
            file=file,
            row=int(row[frame]),
            recording=name,
            frame=frame,
        )
        raise error if rate is None else error.fixed_by(("--time", "", "--sampling-rate", f"{rate:g}"))


def advise_without_time(time: str | None) -> str:
    """Return how to do without the column of times, so that it does not become a channel.

    Args:
        time: the column.
    """
    return "count frames with --time ''" + ("" if time == "time" else " and name the --channels")


def format_time(time: Any) -> str:
    """Return a time as its column shows it.

    Args:
        time: a number, a date or text.
    """
    return f"{time:.15g}" if isinstance(time, float) else str(time)


def _sampling_rate_of_rows(time: Array) -> float | None:
    """Return rows per unit of time where many rows share a coarse time, such as a second, or None."""
    steps = np.diff(time)
    changes = np.flatnonzero(steps)
    if len(changes) < 3 or (steps < 0).any():
        return None
    rows, passed = changes[-1] - changes[0], time[changes[-1]] - time[changes[0]]
    return float(f"{rows / passed:.3g}")


def sampling_rate_of(steps: Array) -> float:
    """Return frames per unit of time, rounded to the digits that survive a subtraction of times.

    Args:
        steps: (N,) steps of time.
    """
    return float(f"{1.0 / np.median(steps):.9g}")


def frame_edges(time: Array, sampling_rate: float | None) -> Array:
    """Return (T + 1,) times: the start of each frame, and the end of the last one.

    Args:
        time: (T,) times of the frames.
        sampling_rate: frames per unit of time; None: 1.
    """
    step = 1.0 if sampling_rate is None else 1.0 / sampling_rate
    return np.append(time, time[-1] + step)


def seconds_of(stamps: Any) -> Array:
    """Return dates as seconds since 1970 UTC; a date without a time zone counts as UTC.

    Args:
        stamps: a series of dates.
    """
    naive = import_pandas().to_datetime(stamps, utc=True).dt.tz_localize(None)
    return naive.to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9


def to_dates(seconds: Array) -> Array:
    """Return seconds since 1970 UTC as dates, to the microsecond.

    Args:
        seconds: of any shape.
    """
    return (np.round(seconds * 1e6)).astype("datetime64[us]")
