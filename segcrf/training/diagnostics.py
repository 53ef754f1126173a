"""Diagnostics: what a run of training tells about itself, and what to do next where it goes wrong.

Functions of one batch, of tensors that training has at hand anyway; nothing here trains.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segcrf._validation import UNLABELLED
from segcrf.losses import Combiner, Losses
from segcrf.structures import Structure

__all__ = ["TrainingWarning", "Watch", "band_ratio", "decay_on_potentials", "effective_weights", "feature_gradients"]

# A loss is told to rise when its running mean, over some fifty steps, has for so many steps been above its least by
# more than this share of what it had fallen and of how much it scatters from step to step.
RISE, SCATTER, STEPS_RISING, MEMORY = 0.25, 0.5, 200, 0.98
WARM_UP = 50
# An untrained model that knows nothing loses log(C) nats per frame.
SUSPICIOUS = 10.0


class TrainingWarning(UserWarning):
    """Something in a run of training is probably not as its owner wants it; the message says what to try."""


def feature_gradients(losses: Losses, features: Tensor) -> dict[str, float]:
    """How hard each task pulls at the shared features, and whether they pull together.

    Gradients of the features alone: no pass through the encoder.

    Args:
        losses: named scalars with a graph.
        features: (B, T, H), what the encoder gave.

    Returns:
        ``gradient_<name>``, the norm for each loss; and ``cosine`` between the pull of the regression and that of all
        the others, or of the only two losses: from -1 (they oppose each other) to 1. Near 0, no weighting and no
        surgery on gradients has anything to arbitrate.

    >>> features = torch.ones(1, 1, 2, requires_grad=True)
    >>> feature_gradients({"crf": 3 * features[..., 0].sum(), "regression": features[..., 1].sum()}, features)
    {'gradient_crf': 3.0, 'gradient_regression': 1.0, 'cosine': 0.0}
    """
    pulls: dict[str, Tensor] = {}
    for name, loss in losses.items():
        (pulls[name],) = torch.autograd.grad(
            loss, features, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    told = {f"gradient_{name}": float(pull.norm()) for name, pull in pulls.items()}
    if len(pulls) > 1:
        apart = "regression" if "regression" in pulls else list(pulls)[-1]
        one = pulls.pop(apart).flatten().double()
        other = torch.stack(list(pulls.values())).sum(0).flatten().double()
        told["cosine"] = float((one @ other) / (one.norm() * other.norm()).clamp(min=1e-300))
    return told


def effective_weights(combine: Combiner, losses: Losses) -> dict[str, float]:
    """By how much the total changes per unit of each loss: ``weight_<name>``, whatever the combiner does inside.

    >>> effective_weights(lambda losses: 2 * losses["crf"] + losses["regression"].log(),
    ...                   {"crf": torch.tensor(1.0), "regression": torch.tensor(0.5)})
    {'weight_crf': 2.0, 'weight_regression': 2.0}
    """
    with torch.enable_grad():
        leaves = {name: loss.detach().requires_grad_() for name, loss in losses.items()}
        gradients = torch.autograd.grad(
            combine(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
    return {f"weight_{name}": float(weight) for name, weight in zip(leaves, gradients, strict=True)}


@torch.no_grad()
def band_ratio(distribution: Structure, labels: Tensor) -> float:
    """Decoded bands per true one, where neighbouring frames are labelled: above 1 it flickers.

    Args:
        distribution: over the labels of B recordings.
        labels: (B, T) int64; -100 = unlabelled.
    """
    known = (labels[:, 1:] != UNLABELLED) & (labels[:, :-1] != UNLABELLED)
    mode = distribution.mode
    found, true = (float(((k[:, 1:] != k[:, :-1]) & known).sum()) + len(labels) for k in (mode, labels.to(mode.device)))
    return found / true


def decay_on_potentials(groups: Sequence[Mapping[str, Any]], potentials: Sequence[nn.Parameter]) -> int:
    """How many of these parameters an optimiser decays.

    Args:
        groups: an optimiser's ``param_groups``.
        potentials: of a structured layer, and log-deviations. Their size is a statement about the data.
    """
    decayed = {id(p) for group in groups if group.get("weight_decay", 0.0) > 0 for p in group["params"]}
    return sum(id(p) in decayed for p in potentials)


@dataclass
class Watch:
    """Looks at a run as it goes on, and says each thing once.

    Args:
        num_classes: C.
        notes: what was said so far.
    """

    num_classes: int
    notes: list[str] = field(default_factory=list[str])
    _trends: dict[str, _Trend] = field(default_factory=dict[str, "_Trend"])

    def losses(self, losses: Mapping[str, float]) -> None:
        """Takes note of a step's losses: tells one that rises for long, and explains a negative one."""
        for name, value in losses.items():
            trend = self._trends.setdefault(name, _Trend(value))
            trend.add(value)
            if trend.rising == STEPS_RISING:
                self.warn(
                    f"the loss {name!r} has been rising for {STEPS_RISING} steps, from {trend.least:.3g} to "
                    f"{trend.mean:.3g}: lower learning_rate; if only one of two losses rises, see the effective "
                    "weights in history_"
                )
            if name == "regression" and value < 0:
                self.note(
                    "the regression loss is below zero, and that is fine: it is the negative logarithm of a density, "
                    "and the density of a continuous number exceeds 1 where the deviation is below 0.4; compare the "
                    "mean squared error (val_mse) instead"
                )

    def scale(self, contribution: float) -> None:
        """Tells a likelihood of the labels that is not per frame.

        Args:
            contribution: loss of the labels in nats per frame times its effective weight, before training.
        """
        if contribution > SUSPICIOUS * math.log(max(self.num_classes, 2)):
            self.warn(
                f"the labels' loss begins at {contribution:.3g}, where guessing costs {math.log(self.num_classes):.3g} "
                "nats per frame: it seems to be summed over the frames of a recording, a hidden weight beside the "
                "other losses; divide it by the number of valid frames, as JointObjective does, or lower its weight"
            )

    def decay(self, decayed: int) -> None:
        """Tells weight decay where it does harm."""
        if decayed:
            self.warn(
                f"weight decay acts on {decayed} parameters of the structured layer or log-deviations, and pulls what "
                "a switch costs and how large errors are towards zero; give the optimiser the groups of "
                "segcrf.training.parameter_groups"
            )

    def note(self, text: str) -> None:
        """Keeps an explanation."""
        if text not in self.notes:
            self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keeps a warning and issues it."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(text, TrainingWarning, stacklevel=3)


@dataclass
class _Trend:
    """Running mean of a loss, how much the loss scatters around it, and for how many steps it has been rising."""

    mean: float
    scatter: float = 0.0
    steps: int = 0
    first: float = 0.0
    least: float = math.inf
    rising: int = 0

    def add(self, value: float) -> None:
        self.steps += 1
        # A plain average at first, so that no single early step counts for much.
        share = max(1.0 - MEMORY, 1.0 / self.steps)
        self.mean += share * (value - self.mean)
        self.scatter += share * (abs(value - self.mean) - self.scatter)
        if self.steps == WARM_UP:
            self.first = self.mean
        if self.steps < WARM_UP:
            return
        self.least = min(self.least, self.mean)
        margin = RISE * (self.first - self.least) + SCATTER * self.scatter + 1e-3 * (1.0 + abs(self.least))
        self.rising = self.rising + 1 if self.mean > self.least + margin else 0
