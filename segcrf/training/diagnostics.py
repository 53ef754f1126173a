"""Diagnostics: measures of one training batch, and warnings that name the next step where training goes wrong.

The functions need only tensors that training has computed already; nothing here trains.
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

__all__ = [
    "TrainingWarning",
    "Watch",
    "decay_on_potentials",
    "decoded_band_ratio",
    "effective_weights",
    "feature_gradients",
]

# A loss is reported as rising when its running mean, over some fifty steps, has exceeded its minimum for so many steps
# by more than a share of its fall so far and of its scatter from step to step.
RISE, SCATTER, STEPS_RISING, MEMORY = 0.25, 0.5, 200, 0.98
WARM_UP = 50
# In units of log(C) nats per frame, the loss of a guess.
SUSPICIOUS = 10.0


class TrainingWarning(UserWarning):
    """A run of training is probably not as intended; the message says what to try."""


def feature_gradients(losses: Losses, features: Tensor) -> dict[str, float]:
    """Return the norm of each loss's gradient at the shared features, and the cosine between the tasks' gradients.

    The gradients stop at the features: there is no pass through the encoder.

    Args:
        losses: named scalars with a graph.
        features: (B, T, H), output of the encoder.

    Returns:
        ``gradient_<name>``, the norm for each loss; and ``cosine`` between the gradient of the regression and that of
        all the others, or of the only two losses: from -1 (they oppose each other) to 1. Near 0 there is no conflict
        that a weighting, or a method that changes gradients, could resolve.

    Example:
        >>> features = torch.ones(1, 1, 2, requires_grad=True)
        >>> feature_gradients({"crf": 3 * features[..., 0].sum(), "regression": features[..., 1].sum()}, features)
        {'gradient_crf': 3.0, 'gradient_regression': 1.0, 'cosine': 0.0}
    """
    gradients: dict[str, Tensor] = {}
    for name, loss in losses.items():
        (gradients[name],) = torch.autograd.grad(
            loss, features, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    row = {f"gradient_{name}": float(gradient.norm()) for name, gradient in gradients.items()}
    if len(gradients) > 1:
        apart = "regression" if "regression" in gradients else list(gradients)[-1]
        one = gradients.pop(apart).flatten().double()
        other = torch.stack(list(gradients.values())).sum(0).flatten().double()
        row["cosine"] = float((one @ other) / (one.norm() * other.norm()).clamp(min=1e-300))
    return row


def effective_weights(combine: Combiner, losses: Losses) -> dict[str, float]:
    """Return the derivative of the combined loss with respect to each loss, for any combiner.

    Args:
        combine: turns named losses into a scalar.
        losses: named scalars.

    Returns:
        ``weight_<name>`` for each loss.

    Example:
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
def decoded_band_ratio(dist: Structure, labels: Tensor) -> float:
    """Return the bands of the most probable labelling per true band; above 1 the labelling flickers.

    Unlike :func:`segcrf.metrics.band_ratio` this counts switches between labelled neighbours in one padded batch, on
    its device.

    Args:
        dist: over the labels of B recordings.
        labels: (B, T) int64, -100 = unlabelled.
    """
    known = (labels[:, 1:] != UNLABELLED) & (labels[:, :-1] != UNLABELLED)
    mode = dist.mode
    decoded, true = (
        float(((k[:, 1:] != k[:, :-1]) & known).sum()) + len(labels) for k in (mode, labels.to(mode.device))
    )
    return decoded / true


def decay_on_potentials(groups: Sequence[Mapping[str, Any]], potentials: Sequence[nn.Parameter]) -> int:
    """Return the number of potentials that an optimiser decays.

    Args:
        groups: an optimiser's ``param_groups``.
        potentials: parameters of a structured layer, and log-deviations. Their size is a statement about the data.
    """
    decayed = {id(p) for group in groups if group.get("weight_decay", 0.0) > 0 for p in group["params"]}
    return sum(id(p) in decayed for p in potentials)


@dataclass
class Watch:
    """Watches a run for problems, and reports each once.

    Args:
        num_classes: C.
        notes: warnings and explanations so far.
    """

    num_classes: int
    notes: list[str] = field(default_factory=list[str])
    _trends: dict[str, _Trend] = field(default_factory=dict[str, "_Trend"])

    def check_losses(self, losses: Mapping[str, float]) -> None:
        """Warn of a loss that has been rising for long, and explain a negative one.

        Args:
            losses: named losses of a step.
        """
        for name, value in losses.items():
            trend = self._trends.setdefault(name, _Trend(value))
            trend.add(value)
            if trend.rising == STEPS_RISING:
                self.warn(
                    f"the loss {name!r} has been rising for {STEPS_RISING} steps, from {trend.least:.3g} to "
                    f"{trend.mean:.3g}: lower learning_rate; if only one of two losses rises, look at the effective "
                    "weights in history_"
                )
            if name == "regression" and value < 0:
                self.note(
                    "the regression loss is below zero, and that is fine: it is the negative logarithm of a density, "
                    "and the density of a continuous target exceeds 1 where the deviation is below 0.4; compare the "
                    "mean squared error (val_mse) instead"
                )

    def check_scale(self, contribution: float) -> None:
        """Warn of a likelihood of the labels that is not per frame.

        Args:
            contribution: loss of the labels in nats per frame times its effective weight, before training.
        """
        if contribution > SUSPICIOUS * math.log(max(self.num_classes, 2)):
            self.warn(
                f"the labels' loss begins at {contribution:.3g}, but guessing costs {math.log(self.num_classes):.3g} "
                "nats per frame: it seems to be summed over the frames of a recording, a hidden weight beside the "
                "other losses; divide it by the number of valid frames, as JointObjective does, or lower its weight"
            )

    def check_decay(self, decayed: int) -> None:
        """Warn of weight decay on potentials.

        Args:
            decayed: number of such parameters, see :func:`decay_on_potentials`.
        """
        if decayed:
            self.warn(
                f"weight decay acts on {decayed} parameters of the structured layer or log-deviations, and pulls the "
                "cost of a switch and the expected size of errors towards zero; give the optimiser the groups of "
                "segcrf.training.parameter_groups"
            )

    def note(self, text: str) -> None:
        """Keep an explanation."""
        if text not in self.notes:
            self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning and issue it."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(text, TrainingWarning, stacklevel=3)


@dataclass
class _Trend:
    """Running mean and scatter of a loss, and the number of steps for which it has been rising."""

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
