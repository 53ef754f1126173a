"""Models and tables that commands read, and the classes that a model predicts for them."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf.cli.messages import count, naming_options_and_rows, note, warn
from segcrf.data import (
    DATE_ORDERS,
    FORMATS,
    Columns,
    Dialect,
    Paths,
    RecordingTable,
    TableError,
    columns_from_config,
    columns_of_files,
    listing,
    read_recordings,
    resample_recordings,
    standard_input_as_file,
)
from segcrf.inference import read_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator
    from pathlib import Path

    from segcrf.segmenter import Segmenter

__all__ = [
    "DATA_HELP",
    "FittedModel",
    "add_reading_options",
    "check_no_overlap",
    "check_within",
    "dialect_of",
    "labels_of",
    "load_model",
    "load_segmenter",
    "predict_classes",
    "read_columns",
    "read_files",
    "read_for_model",
    "read_with_columns",
    "with_standard_input",
]

Array = npt.NDArray[Any]


#: The help of arguments that take recordings.
DATA_HELP = f"files, folders, patterns or - for standard input: {', '.join(FORMATS)}"
# Rates that differ by more are rather times in another unit, which is to be stated.
_UNIT_FACTOR = 50.0


class FittedModel(NamedTuple):
    """A model with the columns and the sampling rate that it was fitted with.

    Attributes:
        segmenter: the model.
        columns: of the training table; roles that were given now replace them.
        sampling_rate: frames per unit of the time column, or None.
    """

    segmenter: Segmenter
    columns: Columns
    sampling_rate: float | None


def load_model(arguments: argparse.Namespace) -> FittedModel:
    """Load the model of ``--model``.

    Args:
        arguments: with model, data and the roles of columns.
    """
    segmenter = load_segmenter(arguments.model, arguments.encoder)
    columns, sampling_rate = read_columns(arguments.model)
    given = {role: getattr(arguments, role) for role in ("recording", "time", "label")}
    columns = dataclasses.replace(columns, **{role: name for role, name in given.items() if name is not None})
    if columns.channels is None:  # the model was saved from Python, which knows no columns
        columns = columns.resolve(columns_of_files(arguments.data, dialect_of(arguments)))
    return FittedModel(segmenter, columns, sampling_rate)


def read_columns(folder: Path) -> tuple[Columns, float | None]:
    """Return the columns and the sampling rate of the table that a model was fitted on.

    Args:
        folder: of the model.
    """
    return columns_from_config(read_config(folder).get("table"), folder)


def load_segmenter(folder: Path, encoder: Any) -> Segmenter:
    """Load a model.

    Args:
        folder: as ``--model`` gives it.
        encoder: as ``--encoder`` gives it: the user's own, or None.
    """
    from segcrf.segmenter import Segmenter

    return Segmenter.load(folder, encoder=encoder)


def add_reading_options(command: Any) -> None:
    """Add the options that say what files do not say about themselves.

    Args:
        command: the parser of a command.
    """
    group = command.add_argument_group("files (what is not given is recognised, and said in a note)")
    group.add_argument("--encoding", metavar="NAME", help="encoding of text, such as utf-8 or cp1252")
    group.add_argument("--separator", metavar="CHAR", help="separator of columns in text, such as ; or tab")
    group.add_argument("--decimal", choices=(".", ","), help="mark of decimals in text")
    group.add_argument("--dates", choices=DATE_ORDERS, help="order of day, month and year in dates")
    group.add_argument(
        "--time-zone", metavar="ZONE", help="of dates that state none, such as Europe/Berlin (default: UTC)"
    )
    group.add_argument(
        "--sampling-rate", type=float, metavar="HERTZ", help="of files that state neither times nor a rate"
    )
    group.add_argument("--variable", metavar="NAME", help="sheet, array or series of a file to read")
    group.add_argument("--resample", type=float, metavar="RATE", help="frames per unit of time to resample to")
    group.add_argument("--join", action="store_true", help="the files of a folder are channels of one recording")


def dialect_of(arguments: argparse.Namespace) -> Dialect:
    """Return what the options say about files.

    Args:
        arguments: of a command with these options.

    Raises:
        InputError: a value cannot be used.
    """
    given = {each.name: getattr(arguments, each.name) for each in dataclasses.fields(Dialect)}
    given["separator"] = "\t" if given["separator"] in ("\\t", "tab") else given["separator"]
    return Dialect(**given)


def read_files(paths: Paths, columns: Columns, arguments: argparse.Namespace) -> RecordingTable:
    """Read recordings, and print what was recognised in their files.

    Args:
        paths: files, folders or patterns.
        columns: the columns to read.
        arguments: with the options about files.
    """
    dialect, resample, join = dialect_of(arguments), arguments.resample, arguments.join
    recordings = read_recordings(paths, columns, dialect=dialect, resample=resample, join=join)
    note(*recordings.notes)
    return recordings


@contextlib.contextmanager
def with_standard_input(arguments: argparse.Namespace) -> Generator[None, None, None]:
    """Replace "-" among the recordings of a command by a file, because they may be read twice.

    Args:
        arguments: of the command; changed within the block.
    """
    names = [name for name in ("data", "train") if "-" in (getattr(arguments, name, None) or [])]
    if not names:
        yield
        return
    with standard_input_as_file(getattr(arguments, names[0])) as paths:
        setattr(arguments, names[0], paths)
        yield


def read_for_model(model: FittedModel, columns: Columns, arguments: argparse.Namespace) -> RecordingTable:
    """Read the recordings of a command, which must have the channels of a model, at the model's sampling rate.

    Recordings of another rate are resampled with a note, unless the rates are so different that the unit of their
    times is in doubt.

    Args:
        model: the model.
        columns: the columns to read.
        arguments: of the command, with data and the options about files.

    Raises:
        TableError: the table does not fit the model, or cannot be used.
    """
    channels = columns.channels or ()
    if len(channels) != model.segmenter.n_features_in_:
        got, expected = f"{len(channels)} ({listing(channels)})", count(model.segmenter.n_features_in_, "channel")
        advice = "give recordings of the same channels"
        raise TableError("channels", got, f"{expected}, as in fit", advice, file=listing(arguments.data))
    recordings = read_with_columns(arguments.data, columns, arguments)
    rate = model.sampling_rate
    if recordings.times is not None and rate is not None:
        own = recordings.sampling_rate or rate
        if not 0.9 < own / rate < 1.1 and 1.0 / _UNIT_FACTOR < own / rate < _UNIT_FACTOR:
            recordings.check_sampling_rate()
            note(f"{recordings.source}: {own:.6g} frames per unit of time, and {rate:.6g} in fit: resampled")
            recordings = resample_recordings(recordings, rate)
        recordings.check_sampling_rate(rate)
    elif rate is not None:
        note(f"{recordings.source}: there are no times; frames are taken to be as far apart as in fit")
    warn(*recordings.doubts())
    return recordings


def read_with_columns(paths: Paths, columns: Columns, arguments: argparse.Namespace) -> RecordingTable:
    """Read recordings by the given columns; a role without a column stays without one.

    Args:
        paths: files, folders or patterns.
        columns: the columns to read.
        arguments: with the options about files.
    """
    roles = {role: getattr(columns, role) or "" for role in ("recording", "time", "label")}
    return read_files(paths, dataclasses.replace(columns, **roles), arguments)


def labels_of(recordings: RecordingTable) -> list[Array]:
    """Return the labels of a table that was read with a column of labels.

    Args:
        recordings: the table.
    """
    assert recordings.labels is not None  # a column without a default was asked for
    return recordings.labels


def predict_classes(model: Segmenter, recordings: RecordingTable) -> list[Array]:
    """Predict the class of every frame by name, also if the model was fitted on class indices.

    Args:
        model: the model.
        recordings: the table.

    Returns:
        Text (T,) of each recording.
    """
    with naming_options_and_rows(recordings):
        predicted = model.predict(recordings.signals)
    names = np.asarray(model.classes_)
    return [names[labels] if labels.dtype.kind in "iu" else labels for labels in predicted]


def check_within(bands: Any, recordings: RecordingTable, path: str | Path) -> None:
    """Check that bands in frames lie within their recordings.

    Args:
        bands: a data frame with recording, start and end, indexed by row.
        recordings: the recordings.
        path: file of the bands.

    Raises:
        TableError: a band does not. The error carries its row.
    """
    length = dict(zip(recordings.names, recordings.lengths, strict=True))
    outside = bands[(bands["start"] < 0) | (bands["end"] > bands["recording"].map(length))]
    if len(outside):
        band = outside.iloc[0]
        expected = f"frames 0 to {length[band['recording']]}, as in {recordings.source}"
        raise TableError(
            "start and end",
            f"a band of frames {band['start']} to {band['end']}",
            expected,
            "give the recordings that were segmented, with times in the same unit",
            file=path,
            row=int(outside.index[0]),
            recording=band["recording"],
        )


def check_no_overlap(bands: Any, path: str | Path) -> None:
    """Check that bands in frames lie side by side.

    Args:
        bands: a data frame with recording, start and end, indexed by row.
        path: file of the bands.

    Raises:
        TableError: two bands share a frame. The error carries the row of one.
    """
    sorted_bands = bands.sort_values(["recording", "start"], kind="stable")
    one, next_one = sorted_bands.iloc[:-1], sorted_bands.iloc[1:]
    same = one["recording"].to_numpy() == next_one["recording"].to_numpy()
    overlapping = np.flatnonzero(same & (one["end"].to_numpy() > next_one["start"].to_numpy()))
    if overlapping.size:
        first, second = (int(part.index[overlapping[0]]) for part in (one, next_one))
        raise TableError(
            "column 'end'",
            f"a band that overlaps the band of row {second}",
            "one class per frame",
            "cut one of the two bands",
            file=path,
            row=first,
            recording=one["recording"].iloc[overlapping[0]],
        )
