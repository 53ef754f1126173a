"""Models and tables that commands read, and the classes that a model predicts for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf.cli.messages import count, naming_options_and_rows, warn
from segcrf.data import Columns, RecordingTable, TableError, columns_from_config, columns_of, listing, read_recordings
from segcrf.inference import read_config

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from segcrf.segmenter import Segmenter

__all__ = [
    "FittedModel",
    "check_no_overlap",
    "check_within",
    "labels_of",
    "load_model",
    "load_segmenter",
    "predict_classes",
    "read_columns",
    "read_for_model",
    "read_with_columns",
]

Array = npt.NDArray[Any]


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
        columns = columns.resolve(columns_of(arguments.data))
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


def read_for_model(model: FittedModel, path: str, columns: Columns) -> RecordingTable:
    """Read recordings, which must have the channels and the sampling rate of a model.

    Args:
        model: the model.
        path: the table.
        columns: the columns to read.

    Raises:
        TableError: the table does not fit the model, or cannot be used.
    """
    available = columns_of(path)
    channels = columns.channels or ()
    expected = count(model.segmenter.n_features_in_, "channel")
    advice = "give recordings of the same channels"
    absent = [name for name in channels if name not in available]
    if absent:
        got = f"the columns {listing(available)}, without {listing(absent)}"
        raise TableError("channels", got, f"{expected} ({listing(channels)}), as in fit", advice, file=path)
    if len(channels) != model.segmenter.n_features_in_:
        got = f"{len(channels)} ({listing(channels)})"
        raise TableError("channels", got, f"{expected}, as in fit", advice, file=path)
    recordings = read_with_columns(path, columns)
    if recordings.times is not None:
        recordings.check_sampling_rate(model.sampling_rate)
    warn(*recordings.doubts())
    return recordings


def read_with_columns(path: str, columns: Columns) -> RecordingTable:
    """Read recordings by the given columns; a role without a column stays without one.

    Args:
        path: the table.
        columns: the columns to read.
    """
    roles = {role: getattr(columns, role) or "" for role in ("recording", "time", "label")}
    return read_recordings(path, dataclasses.replace(columns, **roles))


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
