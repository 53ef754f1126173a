"""Preparation of signals: the scale of each channel, and how much recordings differ by their offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import UNLABELLED
from segcrf.data.dataset import Labelled
from segcrf.data.windows import Recording
from segcrf.nn import Preparation, Standardizer, to_tensor

__all__ = ["OFFSETS_DOMINATE", "choose_preparation", "offset_share", "prepare_recordings"]

Array = npt.NDArray[Any]

# Measured: the share is 0.9 for gestures of three people before a camera, 0.2 for sleep, and below 0.05 for ECG, EMG,
# power and motion.
OFFSETS_DOMINATE = 0.5


def offset_share(recordings: Labelled) -> float:
    """Return how much of the signal is the recording's own offset, which classes do not explain.

    The mean of each class is subtracted from each channel first. The result is the share of the remaining variance
    that lies between recordings, as in a one-way analysis of variance; the median over the channels. It is near 0 if
    all recordings were made alike, and near 1 if a sensor was placed elsewhere each time.

    Args:
        recordings: labelled recordings; unlabelled frames are left out.

    Returns:
        A share from 0 to 1.

    Example:
        >>> labels = [np.array([0, 0, 1, 1])] * 2
        >>> alike, elsewhere = np.array([[0.0], [1.0], [9.0], [8.0]]), np.array([[50.0], [51.0], [59.0], [58.0]])
        >>> round(offset_share(Labelled([alike, alike], labels, None)), 2)
        0.0
        >>> round(offset_share(Labelled([alike, elsewhere], labels, None)), 2)
        1.0
    """
    known = [labels != UNLABELLED for labels in recordings.labels]
    signals = [signal[frames] for signal, frames in zip(recordings.signals, known, strict=True) if frames.any()]
    labels = np.concatenate([k[frames] for k, frames in zip(recordings.labels, known, strict=True)])
    residual = np.concatenate(signals).astype(np.float64)
    for label in np.unique(labels):
        of_class = residual[labels == label]
        known = np.maximum((~np.isnan(of_class)).sum(axis=0), 1)
        residual[labels == label] = np.nan_to_num(of_class - np.nansum(of_class, axis=0) / known)
    between = np.zeros(residual.shape[1])
    for part in np.split(residual, np.cumsum([len(signal) for signal in signals])[:-1]):
        between += len(part) * part.mean(axis=0) ** 2
    total = np.square(residual).sum(axis=0)
    return float(np.median(between / np.where(total > 0.0, total, 1.0)))


def choose_preparation(
    standardize: str, bidirectional: bool, missing: str, train: Labelled, validate: Labelled
) -> Preparation:
    """Measure the scales of channels and targets on the training recordings.

    Args:
        standardize: ``"dataset"``, ``"recording"``, or ``"auto"``: the latter where most of a channel's variance is an
            offset of its recording, and the encoder may see the whole recording.
        bidirectional: whether it may.
        missing: what replaces missing values.
        train: recordings to learn from.
        validate: recordings that, with the others, decide for ``"auto"``.
    """
    if standardize == "auto":
        everything = Labelled(train.signals + validate.signals, train.labels + validate.labels, None)
        own = bidirectional and offset_share(everything) > OFFSETS_DOMINATE
        standardize = "recording" if own else "dataset"
    num_targets = train.targets[0].shape[1] if train.targets else 0
    preparation = Preparation(
        train.signals[0].shape[1], num_targets, per_recording=standardize == "recording", missing=missing
    )
    if preparation.channels is not None:
        preparation.channels = Standardizer.fit(train.signals)
    if train.targets:
        preparation.targets = Standardizer.fit(train.targets)
    return preparation


def prepare_recordings(preparation: Preparation, labelled: Labelled) -> list[Recording]:
    """Standardise signals and targets of recordings, for training."""
    targets: list[Tensor | None] = [None] * len(labelled.signals)
    if labelled.targets is not None and preparation.targets is not None:
        scaled = (preparation.targets.transform(array).astype(np.float32) for array in labelled.targets)
        targets = [torch.as_tensor(array) for array in scaled]
    signals = (preparation(to_tensor(x)[None])[0] for x in labelled.signals)
    rows = zip(signals, labelled.labels, targets, labelled.names, strict=True)
    return [Recording(signal, torch.as_tensor(labels), y, name) for signal, labels, y, name in rows]
