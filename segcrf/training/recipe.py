"""Recipe and result: how a model is trained, and what training returns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segcrf.losses import JointObjective, SwitchingObjective
from segcrf.nn import DecodingRule, JointModel, ModelOutput, SwitchingModel, SwitchingModelOutput
from segcrf.training.rules import candidate_rules

__all__ = ["Model", "Objective", "Output", "Recipe", "Result"]

Model = JointModel | SwitchingModel
"""What can be trained."""

Output = ModelOutput | SwitchingModelOutput
"""What such a model returns."""

Objective = JointObjective | SwitchingObjective
"""What turns an output into named losses."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the fields without a description are those of :class:`segcrf.Segmenter`."""

    max_epochs: int
    batch_size: int
    window: int
    learning_rate: float
    weight_decay: float
    patience: int
    clip: float
    noise: float
    seed: int
    device: str
    directory: str | os.PathLike[str] | None
    progress: bool
    fingerprint: dict[str, Any]
    """What a checkpoint must share with the fit that resumes from it."""
    trial: str = ""
    """Name of this training among several, for its progress bar and its checkpoint."""
    balance: float | None = None
    max_batches: int | None = None
    """Batches per epoch at most; None: all."""
    validate_every: int = 1
    """Epochs from one validation to the next."""
    rules: tuple[DecodingRule, ...] = candidate_rules("auto")
    """Decoding rules that validation chooses among; the first is the prior."""
    optimize: str = "bands"


@dataclass(frozen=True, repr=False)
class Result:
    """Best weights, best epoch, per-epoch history and notes."""

    weights: dict[str, Tensor]
    """State dict of the model after the best epoch."""
    best_epoch: int
    """Index of the best epoch."""
    history: list[dict[str, float]]
    """One row of losses and scores per epoch."""
    notes: list[str]
    """Warnings and explanations, each once."""

    def __repr__(self) -> str:
        return f"Result(best_epoch={self.best_epoch}, epochs={len(self.history)}, notes={len(self.notes)})"
