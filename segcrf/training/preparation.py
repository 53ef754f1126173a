"""Preparation: how the signals and targets of recordings are brought to one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf.data import Labelled, Recording, Standardizer, offset_share

__all__ = ["OFFSETS_DOMINATE", "Preparation"]

Array = npt.NDArray[Any]

# Measured: the share is 0.9 for gestures of three people before a camera, 0.2 for sleep, and below 0.05 for ECG, EMG,
# power and motion.
OFFSETS_DOMINATE = 0.5


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
