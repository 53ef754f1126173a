"""Weighting of losses: combiners, which turn named losses into the scalar that is minimised.

Any callable from the dict of losses to a scalar serves as a combiner.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_positive, check_share
from segcrf.losses.distributed import mean_over_processes
from segcrf.losses.joint import Losses
from segcrf.losses.regression import HALF_LOG_TWO_PI, MEMORY, Deviation
from segcrf.nn import MIN_LOG_SIGMA

__all__ = ["Combiner", "FadingWeights", "FixedWeights", "RunningMeanWeights", "UncertaintyWeights"]

Combiner = Callable[[Losses], Tensor]
"""Turns named losses into the scalar that is minimised."""

# Chosen on validation recordings among 0, 0.02 and 0.05: the higher ones gain squared error where labels are nearly
# solved (power of appliances), the lower ones gain bands (founding problem).
FLOOR = 0.02


class FixedWeights(nn.Module):
    """Add up named losses, each times a given weight.

    Args:
        **weights: weight by name of the loss; 1 for a loss without a weight.

    Example:
        >>> float(FixedWeights(regression=0.5)({"crf": torch.tensor(1.0), "regression": torch.tensor(4.0)}))
        3.0
    """

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, losses: Losses) -> Tensor:
        """Return the weighted sum of ``losses``.

        Raises:
            InputError: a weight has the name of a loss that does not exist.
        """
        unknown = sorted(self.weights.keys() - losses.keys())
        if unknown:
            expected = f"a name among the losses {', '.join(map(repr, sorted(losses)))}"
            raise InputError("weights", repr(unknown[0]), expected, "correct the name of the weight")
        return torch.stack([self.weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={weight}" for name, weight in self.weights.items())


class FadingWeights(FixedWeights):
    """Add a named loss to the loss of the labels, with a weight that falls to zero during training.

    A loss that speeds up the start need not be the loss of interest: cross-entropy of single frames teaches an encoder
    fast, and the likelihood of the whole sequence then decides.

    Args:
        name: the loss that fades.
        weight: its weight at the start.
        until: share of the training after which its weight is 0.
        combine: adds up all other losses, and the labels' loss with the fading one in it; None: their sum.

    Example:
        >>> combine = FadingWeights("frames", until=0.5)
        >>> losses = {"crf": torch.tensor(1.0), "frames": torch.tensor(4.0)}
        >>> combine.at(0.0), float(combine(losses)), combine.at(0.25), float(combine(losses)), combine.at(0.75)
        (1.0, 5.0, 0.5, 3.0, 0.0)
    """

    def __init__(self, name: str, weight: float = 1.0, *, until: float = 0.5, combine: Combiner | None = None) -> None:
        super().__init__(**{name: weight})
        check_positive(until, "until")
        self.name, self.weight, self.until, self.combine = name, weight, until, combine

    def forward(self, losses: Losses) -> Tensor:
        """Return the combined loss, with the fading one at its present weight."""
        if self.combine is None:
            return super().forward(losses)
        others = {name: loss for name, loss in losses.items() if name != self.name}
        return self.combine(others | {"crf": losses["crf"] + self.weights[self.name] * losses[self.name]})

    def at(self, progress: float) -> float:
        """Set the weight to its value after a share of the training, and return it.

        Args:
            progress: share of the training, 0 to 1.
        """
        self.weights[self.name] = self.weight * max(1.0 - progress / self.until, 0.0)
        return self.weights[self.name]


class UncertaintyWeights(nn.Module):
    """Treat some losses as squared errors of Gaussians with one deviation each, and add up the log-likelihoods.

    A named loss L becomes ``L / (2 sigma^2) + log sigma + log(2 pi) / 2``; all others are added as they are. With
    ``JointObjective("mse")`` this is the Gaussian negative log-likelihood with a deviation that the R targets share;
    ``JointObjective("gaussian")`` has one per target, and needs no such combiner.

    Args:
        sigma: ``"learned"``, ``"profiled"`` or a number, see :class:`Deviation`.
        names: the losses that are squared errors.
        min_log_sigma: floor of the log-deviations.

    Raises:
        InputError: ``"crf"`` is among the names. The scale of the emissions is learned and would absorb its weight.

    Source:
        Kendall, Gal and Cipolla, *Multi-task learning using uncertainty to weigh losses*, 2018. That a learned sigma
        lags, and the optimum in closed form: Kirchdorfer et al., *Analytical uncertainty-based loss weighting in
        multi-task learning*, 2024.

    Example:
        >>> combine = UncertaintyWeights("profiled")
        >>> losses = {"crf": torch.tensor(0.25), "regression": torch.tensor(4.0)}
        >>> round(float(combine(losses)), 4)    # 0.25 + 1/2 + log 2 + log(2 pi) / 2
        2.3621
    """

    def __init__(
        self,
        sigma: str | float = "learned",
        names: tuple[str, ...] = ("regression",),
        *,
        min_log_sigma: float = MIN_LOG_SIGMA,
    ) -> None:
        super().__init__()
        if "crf" in names:
            advice = "the scale of the emissions would absorb the weight of 'crf'"
            raise InputError("names", "'crf'", "names of losses that are squared errors", advice)
        self.names = names
        self.deviation = Deviation(len(names), sigma, min_log_sigma=min_log_sigma)

    def forward(self, losses: Losses) -> Tensor:
        """Return the sum of ``losses``, with squared errors as log-likelihoods.

        Raises:
            InputError: a named loss is negative.
        """
        here = [name in losses for name in self.names]
        absent = torch.zeros_like(next(iter(losses.values())))
        errors = torch.stack([losses.get(name, absent) for name in self.names])
        if bool((errors < 0).any()):
            name, error = next(pair for pair in zip(self.names, errors.tolist(), strict=True) if pair[1] < 0)
            advice = (
                "a negative loss is already a likelihood: give JointObjective('mse'), or combine with FixedWeights()"
            )
            raise InputError(f"losses[{name!r}]", f"{error:g}", "a squared error of 0 or more", advice)
        self.deviation.observe(errors.detach(), torch.tensor(here, device=errors.device))
        log_sigma = self.deviation()
        weighted = 0.5 * errors * torch.exp(-2.0 * log_sigma) + log_sigma + HALF_LOG_TWO_PI
        others = [loss for name, loss in losses.items() if name not in self.names]
        return torch.stack([*others, *(term for term, is_here in zip(weighted, here, strict=True) if is_here)]).sum()


class RunningMeanWeights(nn.Module):
    """Divide every loss by its running mean, so that all weigh alike whatever their units, and add them up.

    The default of :class:`segcrf.Segmenter`. The gradient is that of the sum of the losses' logarithms, except for the
    noise of the batch: a loss that has become small pulls as hard as one that is still large. The likelihood of labels
    in long bands soon is a hundredth of a nat per frame. A plain sum hardly weighs it against the likelihood of the
    targets, which counts each of a thousand neighbouring frames as if they were independent.

    Args:
        memory: share of the running mean that each batch keeps.
        floor: smallest divisor, so that a solved loss does not outweigh the others.

    Note:
        This is no likelihood: it does not show when the labels are learned well enough, so watch their loss on
        recordings that are held out. It needs losses above zero: log-densities of targets need not be.

    Source:
        Lakkapragada et al., *Mitigating negative transfer in multi-task learning with exponential moving average loss
        weighting strategies*, 2022.

    Example:
        >>> combine = RunningMeanWeights()
        >>> float(combine({"crf": torch.tensor(0.02), "regression": torch.tensor(40.0)}))
        2.0
    """

    def __init__(self, memory: float = MEMORY, *, floor: float = FLOOR) -> None:
        super().__init__()
        check_share(memory, "memory")
        check_positive(floor, "floor")
        self.memory, self.floor = memory, floor
        self.means: dict[str, tuple[float, float]] = {}

    def forward(self, losses: Losses) -> Tensor:
        """Return the sum of ``losses``, each divided by its running mean.

        Raises:
            InputError: a loss is negative.
        """
        if self.training:
            self._observe(losses)
        unknown = {name: float(loss.detach()) for name, loss in losses.items() if name not in self.means}
        scale = {name: mean / seen for name, (mean, seen) in self.means.items()} | unknown
        return torch.stack([loss / max(scale[name], self.floor) for name, loss in losses.items()]).sum()

    def _observe(self, losses: Losses) -> None:
        values = mean_over_processes(torch.stack([loss.detach().double() for loss in losses.values()])).tolist()
        for name, value in zip(losses, values, strict=True):
            if value < 0:
                advice = (
                    "log-densities of continuous targets may be negative: give JointObjective('mse'), or combine with "
                    "FixedWeights()"
                )
                raise InputError(f"losses[{name!r}]", f"{value:g}", "0 or more, since it is divided by", advice)
            if value == 0:  # a batch in which nothing is known carries no information on the loss
                continue
            mean, seen = self.means.get(name, (0.0, 0.0))
            keep = self.memory
            self.means[name] = (keep * mean + (1.0 - keep) * value, keep * seen + 1.0 - keep)

    def get_extra_state(self) -> dict[str, list[float]]:
        """Return the running means, for ``state_dict``."""
        return {name: list(pair) for name, pair in self.means.items()}

    def set_extra_state(self, state: dict[str, list[float]]) -> None:
        """Restore the running means from a ``state_dict``."""
        self.means = {name: (mean, seen) for name, (mean, seen) in state.items()}

    def extra_repr(self) -> str:
        return f"memory={self.memory}, floor={self.floor}"
