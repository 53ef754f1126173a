"""Long tables, one row per frame, as recordings with names, labels, targets and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.clock import (
    advise_without_time,
    format_time,
    sampling_rate_of,
    to_dates,
)
from segcrf.data.readers.columns import Columns
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.table import listing

__all__ = ["RecordingTable"]

Array = npt.NDArray[Any]

RATE_TOLERANCE = 0.1
# Steps of time beyond so many usual steps are reported as gaps; sensors drop a few frames all the time.
GAP = 10.0
# Whole numbers as labels are suspicious from so many classes on, if most of them also occur only once.
MANY_CLASSES = 20


@dataclass(frozen=True, eq=False)
class RecordingTable:
    """The recordings of a long table, in the order in which they first appear.

    Args:
        columns: the columns that were read.
        names: N names of recordings.
        signals: N arrays (T, F), float32.
        labels: N arrays (T,) of text, "" = unlabelled; None when no label column was read.
        targets: N arrays (T, R), float32, NaN = unknown; None when no target columns were read.
        times: N arrays (T,), float64, in the unit of the time column (dates: seconds since 1970 UTC); None
            without one.
        dated: the time column holds dates.
        rows: N arrays (T,), the row of each frame as a spreadsheet counts, for messages; None if unknown.
        source: the file or files, for messages.
        files: N files, for messages; None: ``source``.
        notes: what was recognised in the files and can be stated otherwise, a sentence each.
    """

    columns: Columns
    names: list[str]
    signals: list[Array]
    labels: list[Array] | None = None
    targets: list[Array] | None = None
    times: list[Array] | None = None
    dated: bool = False
    rows: list[Array] | None = field(default=None, repr=False)
    source: str = field(default="table", repr=False)
    files: list[str] | None = field(default=None, repr=False)
    notes: list[str] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        read = [name for name in ("labels", "targets", "times") if getattr(self, name) is not None]
        parts = [f"recordings={len(self.names)}", f"frames={sum(self.lengths)}", f"with {', '.join(read) or 'signals'}"]
        return f"RecordingTable({self.source!r}, {', '.join(parts)})"

    @property
    def lengths(self) -> list[int]:
        """Frames of each recording."""
        return [len(signal) for signal in self.signals]

    @property
    def sampling_rate(self) -> float | None:
        """Frames per unit of time (1 / median step over all recordings), or None without a time column."""
        steps = [] if self.times is None else [np.diff(time) for time in self.times]
        pooled = np.concatenate(steps) if steps else np.empty(0)
        return sampling_rate_of(pooled) if pooled.size else None

    def clock(self) -> Array:
        """Return (frames of all recordings,) times as the table has them, recording after recording."""
        assert self.times is not None
        seconds = np.concatenate(self.times)
        return to_dates(seconds) if self.dated else seconds

    def file_of(self, recording: int) -> str:
        """Return the file of a recording, for messages.

        Args:
            recording: index of the recording.
        """
        return self.source if self.files is None else self.files[recording]

    def row_of(self, recording: int, frame: int | None) -> int | None:
        """Return the row of a frame as a spreadsheet counts, or None if it is unknown.

        Args:
            recording: index of the recording.
            frame: index of the frame in its recording; None is none.
        """
        if self.rows is None or frame is None or not 0 <= frame < len(self.rows[recording]):
            return None
        return int(self.rows[recording][frame])

    def check_sampling_rate(self, expected: float | None = None) -> None:
        """Check that all recordings have the same sampling rate, and the expected one.

        Args:
            expected: frames per unit of time; None: the rate of the table as a whole.

        Raises:
            TableError: the median step of a recording is more than a tenth off.
        """
        expected = self.sampling_rate if expected is None else expected
        for index, (name, time) in enumerate(zip(self.names, self.times or [], strict=False)):
            if expected is None or len(time) < 2:
                continue
            sampling_rate = sampling_rate_of(np.diff(time))
            if abs(sampling_rate / expected - 1.0) > RATE_TOLERANCE:
                error = TableError(
                    "times" if self.columns.time is None else f"column {self.columns.time!r}",
                    f"{sampling_rate:.6g} frames per unit of time",
                    f"{expected:.6g}",
                    f"resample it: --resample {expected:.6g}, or {advise_without_time(self.columns.time)}",
                    file=self.file_of(index),
                    recording=name,
                )
                raise error.fixed_by(("--resample", f"{expected:.6g}"))

    def check_labelled(self) -> None:
        """Check that at least one frame has a label.

        Raises:
            TableError: every frame is unlabelled.
        """
        if not any((labels != "").any() for labels in self.labels or []):
            argument, expected = f"column {self.columns.label!r}", "one labelled frame at least"
            raise TableError(argument, "no label", expected, "name the column with --label", file=self.source)

    def check_classes(self, known: Sequence[str]) -> None:
        """Check that every label is a known class.

        Args:
            known: names of the classes.

        Raises:
            TableError: a label is not. The error carries the recording and the first such frame.
        """
        for index, (name, labels) in enumerate(zip(self.names, self.labels or [], strict=False)):
            unknown = np.flatnonzero(~np.isin(labels, [*known, ""]))
            if unknown.size:
                frame = int(unknown[0])
                raise TableError(
                    f"column {self.columns.label!r}",
                    f"the class {str(labels[frame])!r}",
                    f"one of {listing(known)}",
                    "correct it, empty the cell (unlabelled), or fit a model that knows the class",
                    file=self.file_of(index),
                    row=self.row_of(index, frame),
                    recording=name,
                    frame=frame,
                )

    def doubts(self) -> list[str]:
        """Return a sentence about each oddity that is no error: gaps in time, and numbers that seem no classes."""
        return [f"{self.source}: {doubt}" for doubt in (self._doubt_gaps(), self._doubt_labels()) if doubt]

    def _doubt_gaps(self) -> str:
        if self.times is None or self.sampling_rate is None:
            return ""
        found = [
            (name, time, np.diff(time) * self.sampling_rate) for name, time in zip(self.names, self.times, strict=True)
        ]
        count = sum(int(np.count_nonzero(steps > GAP)) for _, _, steps in found)
        if not count:
            return ""
        name, time, steps = max(found, key=lambda recording: recording[2].max(initial=0.0))
        at = int(np.argmax(steps))
        often = "once," if count == 1 else f"{count} times, farthest"
        before, after = to_dates(time[[at, at + 1]]) if self.dated else time[[at, at + 1]]
        return (
            f"time jumps {often} in recording {name!r}, from {format_time(before)} to {format_time(after)}, "
            f"{steps[at]:,.0f} usual steps; the frames on both sides count as neighbours. If they are not, give the "
            "frames after a gap a name of their own in the column of recordings "
            f"({self.columns.recording or '--recording'})"
        )

    def _doubt_labels(self) -> str:
        bands = [labels[np.append(True, labels[1:] != labels[:-1])] for labels in self.labels or []]
        found = np.concatenate(bands) if bands else np.empty(0, dtype=str)
        classes, counts = np.unique(found[found != ""], return_counts=True)
        if len(classes) < MANY_CLASSES or np.median(counts) > 1 or not all(map(str.isdecimal, classes.tolist())):
            return ""
        return (
            f"column {self.columns.label!r} has {len(classes)} different whole numbers as classes, most of them for "
            "one band only; if it is a quantity or a counter, name another column with --label"
        )
