"""``segcrf check``: print what other commands would use of files."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from segcrf.cli.inputs import DATA_HELP, add_reading_options, read_files
from segcrf.cli.labels import add_label_options, label_column_of, label_recordings
from segcrf.cli.messages import count, say, warn
from segcrf.cli.options import add_column_options, add_command, parse_names, parse_some_names
from segcrf.data import Columns, RecordingTable, class_order, jitter, listing

if TYPE_CHECKING:
    import argparse

__all__ = ["add_check_command"]

_FEW_BANDS = 5
_SHOWN = 50


def add_check_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    text = "Print what would be used of files: recordings, rate, channels, classes, and what is suspicious."
    command = add_command(commands, "check", run_check, text)
    command.add_argument("data", nargs="+", metavar="DATA", help=DATA_HELP)
    add_column_options(command)
    command.add_argument("--channels", type=parse_some_names, metavar="A,B,...", help="columns of the signal")
    command.add_argument("--targets", type=parse_names, default=(), metavar="A,B,...", help="columns of targets")
    add_reading_options(command)
    add_label_options(command)


def run_check(arguments: argparse.Namespace) -> None:
    """Read files and print what was found.

    Args:
        arguments: of the command.
    """
    label = arguments.label if arguments.labels is None else label_column_of(arguments, "")
    columns = Columns(arguments.recording, arguments.time, label, arguments.channels, arguments.targets)
    recordings = label_recordings(read_files(arguments.data, columns, arguments), arguments)
    warn(*recordings.doubts(), *_suspicions(recordings))
    sys.stderr.flush()
    say("\n".join(_describe(recordings)))


def _describe(recordings: RecordingTable) -> list[str]:
    """Return a line about each aspect of recordings."""
    lengths = recordings.lengths
    roles = dataclasses.asdict(recordings.columns)
    lines = [
        f"recordings: {len(lengths)} ({listing(recordings.names)})",
        f"frames: {sum(lengths):,}, {min(lengths):,} to {max(lengths):,} per recording",
        *(f"{role} column: {roles[role]}" for role in ("recording", "time", "label") if roles[role]),
        f"sampling rate: {_describe_rate(recordings)}",
        f"channels: {len(recordings.columns.channels or ())}",
    ]
    for place, name in enumerate(recordings.columns.channels or ()):
        if place == _SHOWN:
            lines.append(f"  and {len(recordings.columns.channels or ()) - _SHOWN} more")
            break
        lines.append(f"  {name}: {_describe_values([signal[:, place] for signal in recordings.signals])}")
    for place, name in enumerate(recordings.columns.targets):
        lines.append(f"target {name}: {_describe_values([values[:, place] for values in recordings.targets or []])}")
    if recordings.labels is None:
        return [*lines, "classes: none, as there is no column of labels and no --labels (predict needs none)"]
    classes = class_order(recordings.labels)
    lines.append(f"classes: {len(classes)}")
    for name in classes[:_SHOWN]:
        bands, frames = _count_bands(recordings, name)
        lines.append(f"  {name}: {count(bands, 'band')}, {count(frames, 'frame')} ({frames / sum(lengths):.1%})")
    frames = sum(int((labels == "").sum()) for labels in recordings.labels)
    return [*lines, f"unlabelled: {count(frames, 'frame')} ({frames / sum(lengths):.1%})"]


def _describe_rate(recordings: RecordingTable) -> str:
    if recordings.times is None or recordings.sampling_rate is None:
        return "unknown, as there are no times (frames count as neighbours)"
    share = max(map(jitter, recordings.times))
    steady = "steady" if share == 0 else f"{share:.1%} of the steps are irregular"
    unit = "second" if recordings.dated else "unit of the time column"
    return f"{recordings.sampling_rate:g} frames per {unit}, {steady}"


def _describe_values(parts: list[Any]) -> str:
    values = np.concatenate(parts)
    missing = np.isnan(values)
    if missing.all():
        return "no values"
    low, high, mean = values[~missing].min(), values[~missing].max(), values[~missing].mean(dtype=np.float64)
    text = f"{low:.4g} to {high:.4g}, mean {mean:.4g}"
    return f"{text}, {missing.mean():.1%} missing" if missing.any() else text


def _count_bands(recordings: RecordingTable, name: str) -> tuple[int, int]:
    """Return the bands and frames of a class."""
    bands = frames = 0
    for labels in recordings.labels or []:
        own = labels == name
        bands += int(np.count_nonzero(np.diff(own.astype(np.int8), prepend=0) == 1))
        frames += int(own.sum())
    return bands, frames


def _suspicions(recordings: RecordingTable) -> list[str]:
    """Return a sentence about what is usable but probably not meant."""
    found: list[str] = []
    for place, name in enumerate(recordings.columns.channels or ()):
        values = np.concatenate([signal[:, place] for signal in recordings.signals])
        known = values[~np.isnan(values)]
        if known.size and known.min() == known.max():
            found.append(f"channel {name!r} is constant ({known[0]:g})")
        elif known.size and (known == known.min()).mean() > 0.01 and known.min() in (-1.0, -99.0, -999.0, -9999.0):
            found.append(
                f"channel {name!r} often is {known.min():g}; if that stands for a missing value, empty the cells"
            )
    short = [name for name, length in zip(recordings.names, recordings.lengths, strict=True) if length < 10]
    if short:
        found.append(f"recordings of fewer than 10 frames: {listing(short)}; is the column of recordings right?")
    if recordings.labels is not None:
        rare = [name for name in class_order(recordings.labels) if _count_bands(recordings, name)[0] < _FEW_BANDS]
        if rare:
            found.append(f"classes with fewer than {_FEW_BANDS} bands can hardly be learned: {listing(rare)}")
    return [f"{recordings.source}: {sentence}" for sentence in found]
