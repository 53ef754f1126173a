"""Two files of bands held against each other: two annotators, or predictions and truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError, frames_per_second
from segcrf.cli.labels import is_label_file
from segcrf.cli.messages import warn
from segcrf.data import (
    Columns,
    RecordingTable,
    TableError,
    fill_frames,
    listing,
    read_labels,
    segments_to_frames,
)
from segcrf.metrics import boundary_error

if TYPE_CHECKING:
    import argparse

__all__ = ["Comparison", "compare_files", "holds_labels"]

Array = npt.NDArray[Any]
#: Frames per second of a comparison in seconds, where none are given.
RATE = 100.0
_TIMES = ("start", "end")
# Bands are compared frame by frame: so many frames are an error in the unit of times.
_MOST_FRAMES = 500_000_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two labellings of the same recordings, frame by frame.

    Args:
        truth: recordings with the labels of the first file, and no signal.
        predicted: (T,) each, text: the labels of the second file.
        rate: frames per second; None: times were frames.
    """

    truth: RecordingTable
    predicted: list[Array]
    rate: float | None

    def describe_boundaries(self, margin: float, ignore: tuple[str, ...] = ()) -> list[str]:
        """Return a line for each pair of classes about the differences of their boundaries.

        Args:
            margin: largest difference that counts as the same boundary, in seconds, or frames without a rate.
            ignore: classes; their boundaries are left out.
        """
        errors = boundary_error(
            self.truth.labels or [], self.predicted, margin=margin, sampling_rate=self.rate, ignore=ignore
        )
        unit = "frames" if self.rate is None else "s"
        lines = [f"boundaries at most {margin:g} {unit} apart, predicted minus true:"]
        for (before, after), error in errors.items():
            difference = f"{error.mean:+.3g} {unit} (sd {error.sd:.3g})" if error.found else "no pair"
            counts = f"{error.found} found, {error.missed} missed, {error.extra} extra"
            lines.append(f"  {before} to {after}: {difference}; {counts}")
        return lines


def holds_labels(path: str | None) -> bool:
    """Return whether a file that was given as the truth holds bands, or is no table at all.

    Args:
        path: as ``--truth`` gives it.
    """
    return path is not None and Path(path).is_file() and (is_label_file(Path(path)) or Path(path).suffix == ".edf")


def compare_files(arguments: argparse.Namespace) -> Comparison:
    """Read the files of ``--truth`` and ``--predicted``.

    Args:
        arguments: of the command.

    Raises:
        InputError, TableError: a file cannot be used, the units differ, or bands of one file overlap.
    """
    paths = Path(arguments.truth), Path(arguments.predicted)
    tables: list[Any] = [read_labels(path, sampling_rate=arguments.sampling_rate) for path in paths]
    tables = [table[table["label"] != ""] for table in tables]
    rate = _common_rate(tables, paths, arguments.sampling_rate)
    names = [list(dict.fromkeys(table["recording"].astype(str))) for table in tables]
    if len(names[0]) == len(names[1]) == 1:  # files of one recording are often called differently
        tables[1] = tables[1].assign(recording=names[0][0])
        names[1] = names[0]
    absent = [name for name in names[0] if name not in names[1]]
    if absent:
        warn(f"{paths[1]}: there is no band of recording {listing(absent)}; its frames count as wrong")
    lengths = _lengths(tables, names[0], rate, paths[0])
    signals = [np.zeros((length, 0), dtype=np.float32) for length in lengths]
    truth = RecordingTable(Columns(label="label"), names[0], signals, source=str(paths[0]))
    labels: list[list[Array]] = []
    for table, path in zip(tables, paths, strict=True):
        framed = segments_to_frames(table, truth, source=path, sampling_rate=rate)
        early = framed[framed["start"] < 0]
        if len(early):
            row = int(early.index[0])
            raise TableError("column 'start'", "a negative time", "0 or more", "shift all times", file=path, row=row)
        labels.append(fill_frames(framed, truth.names, lengths, source=path))
    return Comparison(dataclasses.replace(truth, labels=labels[0]), labels[1], rate)


def _common_rate(tables: list[Any], paths: tuple[Path, Path], given: float | None) -> float | None:
    """Return frames per second of the comparison; None where both files are in frames."""
    kinds = [_unit_of(table) for table in tables]
    if "date" in kinds:
        if kinds != ["date", "date"]:
            got, advice = f"dates in {paths[kinds.index('date')]} alone", "write both as seconds or both as dates"
            raise InputError("--truth and --predicted", got, "times of one unit", advice)
        origin = min(table["start"].min() for table in map(_to_seconds_since, tables) if len(table))
        for index, table in enumerate(tables):
            seconds = _to_seconds_since(table)
            tables[index] = seconds.assign(start=seconds["start"] - origin, end=seconds["end"] - origin)
            tables[index].attrs["unit"] = "seconds"
        kinds = ["seconds", "seconds"]
    if {*kinds} == {"frames", "seconds"} and given is None:
        got = f"{kinds[0]} in {paths[0]} and {kinds[1]} in {paths[1]}"
        raise InputError("--sampling-rate", got, "frames per second", "give it, to compare frames with seconds")
    if "seconds" not in kinds and given is None:
        return None
    rate = frames_per_second(RATE if given is None else given)
    for table, kind in zip(tables, kinds, strict=True):
        table.attrs["unit"] = "frames" if kind == "frames" else "seconds"
    return rate


def _unit_of(table: Any) -> str:
    """Return the unit of times: seconds, frames, date, or whole numbers, which are frames or seconds."""
    unit = table.attrs.get("unit")
    columns = table[[*_TIMES]]
    if unit is None and len(table) and not all(kind.kind in "iuf" for kind in columns.dtypes):
        return "date"
    if unit is None:
        return "whole" if (columns == np.rint(columns)).all(axis=None) else "seconds"
    return str(unit)


def _to_seconds_since(table: Any) -> Any:
    """Return a table with dates as seconds since 1970; a value that is no date becomes NaN."""
    import pandas as pd

    origin = pd.Timestamp(0, tz="UTC")
    dates = {name: pd.to_datetime(table[name], errors="coerce", utc=True, format="ISO8601") for name in _TIMES}
    return table.assign(**{name: (stamps - origin).dt.total_seconds() for name, stamps in dates.items()})


def _lengths(tables: list[Any], names: list[str], rate: float | None, file: Path) -> list[int]:
    """Return the frames of each recording: up to the last end in either file."""
    per_second = frames_per_second(rate)
    lengths: list[int] = []
    for name in names:
        ends = [
            float(own.max()) * (1.0 if table.attrs.get("unit") == "frames" else per_second)
            for table in tables
            if len(own := table["end"][table["recording"].astype(str) == name])
        ]
        lengths.append(max(int(np.rint(max(ends))), 1) if ends and np.isfinite(max(ends)) else 1)
    if sum(lengths) > _MOST_FRAMES:
        got, expected = f"{sum(lengths):,} frames", f"at most {_MOST_FRAMES:,}"
        raise TableError("column 'end'", got, expected, "check the unit of times, or lower --sampling-rate", file=file)
    return lengths
