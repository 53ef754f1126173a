"""Preparation of signals: the scale of each channel, and how much recordings differ by their offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import UNLABELLED
from segcrf.data.dataset import Labelled
from segcrf.data.windows import Recording

__all__ = ["OFFSETS_DOMINATE", "Preparation", "Standardizer", "offset_share"]

Array = npt.NDArray[Any]

# Measured: the share is 0.9 for gestures of three people before a camera, 0.2 for sleep, and below 0.05 for ECG, EMG,
# power and motion.
OFFSETS_DOMINATE = 0.5


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Bring every channel to mean 0 and standard deviation 1; a constant channel becomes 0.

    Args:
        mean: (F,) float64.
        scale: (F,) float64, positive.

    Example:
        >>> scaler = Standardizer.fit([np.array([[1.0, 5.0], [3.0, 5.0]])])
        >>> scaler.apply(np.array([[2.0, 5.0], [4.0, 5.0]]))
        array([[0., 0.],
               [2., 0.]])
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, arrays: Sequence[Array]) -> Standardizer:
        """Measure mean and deviation over all (T, F) arrays together; NaN is left out."""
        count = np.maximum(sum(np.sum(~np.isnan(a), axis=0) for a in arrays), 1)
        mean = sum(np.nansum(a, axis=0, dtype=np.float64) for a in arrays) / count
        square = sum(np.nansum(np.square(a - mean), axis=0) for a in arrays) / count
        deviation = np.sqrt(square)
        # The deviation of a constant channel is rounding error: a division by it would amplify the rounding.
        varies = deviation > 1e-7 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
        return cls(np.asarray(mean), np.where(varies, deviation, 1.0))

    def apply(self, array: Array) -> Array:
        """Return (T, F) values standardised."""
        return (array - self.mean) / self.scale

    def undo(self, array: Array) -> Array:
        """Return the inverse of :meth:`apply`."""
        return array * self.scale + self.mean


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
        residual[labels == label] -= residual[labels == label].mean(axis=0)
    between = np.zeros(residual.shape[1])
    for part in np.split(residual, np.cumsum([len(signal) for signal in signals])[:-1]):
        between += len(part) * part.mean(axis=0) ** 2
    total = np.square(residual).sum(axis=0)
    return float(np.median(between / np.where(total > 0.0, total, 1.0)))


@dataclass(frozen=True)
class Preparation:
    """The scale of channels and targets.

    Args:
        scaler: of the channels; None: every recording is standardised by itself.
        target_scaler: of the targets; None: there are no targets.
    """

    scaler: Standardizer | None
    target_scaler: Standardizer | None

    @classmethod
    def choose(cls, standardize: str, bidirectional: bool, train: Labelled, validate: Labelled) -> Preparation:
        """Measure scales on the training recordings.

        Args:
            standardize: ``"dataset"``, ``"recording"``, or ``"auto"``: the latter where most of a channel's variance is
                an offset of its recording, and the encoder may see the whole recording.
            bidirectional: whether it may.
            train: recordings to learn from.
            validate: recordings that, with the others, decide for ``"auto"``.
        """
        if standardize == "auto":
            everything = Labelled(train.signals + validate.signals, train.labels + validate.labels, None)
            own = bidirectional and offset_share(everything) > OFFSETS_DOMINATE
            standardize = "recording" if own else "dataset"
        scaler = Standardizer.fit(train.signals) if standardize == "dataset" else None
        return cls(scaler, Standardizer.fit(train.targets) if train.targets else None)

    @property
    def standardize(self) -> str:
        """``"dataset"`` or ``"recording"``."""
        return "recording" if self.scaler is None else "dataset"

    def signal(self, signal: Array) -> Tensor:
        """Standardise the signal (T, F) of one recording, as float32."""
        scaler = self.scaler or Standardizer.fit([signal])
        return torch.as_tensor(scaler.apply(signal).astype(np.float32))

    def recordings(self, labelled: Labelled) -> list[Recording]:
        """Standardise signals and targets of recordings."""
        targets: list[Tensor | None] = [None] * len(labelled.signals)
        if labelled.targets is not None and self.target_scaler is not None:
            scaled = (self.target_scaler.apply(array).astype(np.float32) for array in labelled.targets)
            targets = [torch.as_tensor(array) for array in scaled]
        rows = zip(labelled.signals, labelled.labels, targets, labelled.names, strict=True)
        return [Recording(self.signal(signal), torch.as_tensor(labels), y, name) for signal, labels, y, name in rows]
