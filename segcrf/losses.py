"""The joint objective: a model's output and what is known of it, to named losses; and how these become one number.

Both losses are negative log-likelihoods in nats over one normaliser, the valid frames of the batch. So their sum is
the negative log-likelihood of classes and numbers together, per frame, and neither the length of a recording nor the
padding of a batch carries a hidden weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf.structure import Structure

__all__ = ["REGRESSIONS", "FixedWeights", "JointObjective", "JointOutput", "Losses"]

Losses = dict[str, Tensor]
"""Named scalar losses, each per valid frame."""

REGRESSIONS = ("gaussian", "mse", "smooth_l1")


class JointOutput(Protocol):
    """What an objective needs of a model's output."""

    @property
    def distribution(self) -> Structure:
        """The structure over the labels of B recordings of T frames."""
        ...

    @property
    def values(self) -> Tensor | None:
        """Predicted numbers (B, T, R), or None."""
        ...


class JointObjective(nn.Module):
    """The losses of classes and numbers, by name.

    ``"crf"`` is the negative log-likelihood of the labels, summed over the batch and divided by its valid frames. An
    unlabelled frame (-100) is marginalised: it is a valid frame that says nothing.

    ``"regression"`` is the loss of the targets, summed over the frames where a target is known, averaged over the R
    targets and divided by the valid frames. A NaN is an unknown target.

    Args:
        regression: ``"gaussian"``, the negative log-density with a learned deviation per target; ``"mse"``, the squared
            error (a Gaussian whose variance is 1/2, but for a constant); ``"smooth_l1"``, squared below an error of 1
            and linear beyond; None for no regression.
        num_targets: targets R.
        min_log_sigma: floor of the learned log-deviation. Targets without noise would drive it to minus infinity.

    Attributes:
        log_sigma: (R,) learned log-deviation of ``"gaussian"``, in the targets' units, which should be standardised.
            It moves slowly: give it a larger learning rate than the network, and no weight decay.

    Raises:
        ValueError: an unknown regression.

    Source:
        The Gaussian term is that of Kendall, Gal and Cipolla, *Multi-task learning using uncertainty to weigh losses*,
        2018. The term of the labels has no such weight: the scale of the emissions would absorb it.

    >>> from segcrf.chain import LinearChain
    >>> from segcrf.model import ModelOutput
    >>> flat = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
    >>> output = ModelOutput(flat, values=torch.ones(1, 4, 1), features=torch.zeros(1, 4, 3))
    >>> losses = JointObjective("mse")(output, torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 4, 1))
    >>> {name: round(float(loss), 4) for name, loss in losses.items()}
    {'crf': 0.6931, 'regression': 1.0}
    """

    def __init__(
        self, regression: str | None = "gaussian", num_targets: int = 1, *, min_log_sigma: float = -4.6
    ) -> None:
        super().__init__()
        if regression is not None and regression not in REGRESSIONS:
            raise ValueError(
                f"regression must be one of {', '.join(map(repr, REGRESSIONS))} or None, got {regression!r}."
            )
        self.regression, self.min_log_sigma = regression, min_log_sigma
        self.log_sigma = nn.Parameter(torch.zeros(num_targets)) if regression == "gaussian" else None

    def forward(self, output: JointOutput, labels: Tensor, targets: Tensor | None = None) -> Losses:
        """Computes the losses of a batch.

        Args:
            output: what the model made of the batch.
            labels: classes (B, T) int64, -100 = unlabelled.
            targets: numbers (B, T, R), NaN = unknown; None for a batch without any.

        Returns:
            Scalars by name: ``"crf"``, and ``"regression"`` where output and batch both have numbers.
        """
        distribution = output.distribution
        frames = distribution.lengths.sum()
        with torch.autocast(labels.device.type, enabled=False):
            losses = {"crf": -distribution.log_prob(labels).sum() / frames}
            if self.regression is not None and output.values is not None and targets is not None:
                known = self._known(targets, distribution.lengths)
                error = torch.where(known, output.values.float() - targets.float(), 0.0)
                density = torch.where(known, self._loss(error), 0.0)
                losses["regression"] = density.sum() / (frames * targets.shape[2])
        return losses

    @staticmethod
    def _known(targets: Tensor, lengths: Tensor) -> Tensor:
        frame = torch.arange(targets.shape[1], device=targets.device)
        valid = frame < lengths.to(targets.device).unsqueeze(1)
        return valid.unsqueeze(2) & ~targets.isnan()

    def _loss(self, error: Tensor) -> Tensor:
        if self.regression == "mse":
            return error.square()
        if self.log_sigma is None:
            return functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
        # A projection, not a clamp in the graph: behind a clamp the gradient is zero and the floor would never be left.
        self.log_sigma.data.clamp_(min=self.min_log_sigma)
        scaled = error * torch.exp(-self.log_sigma)
        return 0.5 * scaled.square() + self.log_sigma + 0.5 * math.log(2.0 * math.pi)

    def extra_repr(self) -> str:
        return f"regression={self.regression!r}"


class FixedWeights(nn.Module):
    """Adds up named losses, each times a weight that was given beforehand.

    Args:
        **weights: weight by name of the loss; 1 for a loss that is not named.

    >>> float(FixedWeights(regression=0.5)({"crf": torch.tensor(1.0), "regression": torch.tensor(4.0)}))
    3.0
    """

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, losses: Losses) -> Tensor:
        """The weighted sum of ``losses``.

        Raises:
            ValueError: a weight was given for a loss that does not exist.
        """
        unknown = sorted(self.weights.keys() - losses.keys())
        if unknown:
            raise ValueError(
                f"a weight was given for the loss {unknown[0]!r}, got losses {sorted(losses)}. Correct its name."
            )
        return torch.stack([self.weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={weight}" for name, weight in self.weights.items())


Combiner = Callable[[Losses], Tensor]
"""Turns named losses into the scalar that is minimised."""
