"""Models and tables that commands read, and the classes that a model predicts for them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf.cli.messages import count, naming_options_and_rows, warn
from segcrf.data import Columns, RecordingTable, TableError, columns_of, listing, load_columns, read_recordings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from segcrf.segmenter import Segmenter

__all__ = ["FittedModel", "labels_of", "load_model", "predict_classes", "read_for_model", "read_with_columns"]

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
    from segcrf.segmenter import Segmenter

    segmenter = Segmenter.load(arguments.model, encoder=arguments.encoder)
    columns, sampling_rate = load_columns(arguments.model)
    given = {role: getattr(arguments, role) for role in ("recording", "time", "label")}
    columns = dataclasses.replace(columns, **{role: name for role, name in given.items() if name is not None})
    if columns.channels is None:  # the model was saved from Python, which knows no columns
        columns = columns.resolve(columns_of(arguments.data))
    return FittedModel(segmenter, columns, sampling_rate)


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


def predict_classes(
    model: Segmenter, recordings: RecordingTable, signals: Sequence[Array] | None = None
) -> list[Array]:
    """Predict the class of every frame by name, also if the model was fitted on class indices.

    Args:
        model: the model.
        recordings: the table, for errors.
        signals: those to predict; None: all of the table.

    Returns:
        Text (T,) of each recording.
    """
    with naming_options_and_rows(recordings):
        predicted = model.predict(recordings.signals if signals is None else signals)
    names = np.asarray(model.classes_)
    return [names[labels] if labels.dtype.kind in "iu" else labels for labels in predicted]
