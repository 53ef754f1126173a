"""How long a band lasts: modules that give a table of duration scores and a tail, for training and decoding alike.

Each returns ``table`` (C, K), the log-probability of lasting 1 to K frames (up to a constant), and ``tail`` (C,), the
score of each frame beyond K. All are set from data by moments: :meth:`Durations.fit`, or :meth:`Durations.set_moments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segcrf import _validation

_STEEPEST_TAIL, _FLATTEST_TAIL = -8.0, -1e-4


class Durations(nn.Module):
    """A family of duration scores for C classes and K frames.

    A subclass implements :meth:`log_weights` for any durations, and :meth:`set_moments`. Its tail is the ratio of its
    weights at K + 1 and K, below one, so that long bands stay possible and their sum finite.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__()
        _validation.whole(num_classes, "num_classes", 1)
        _validation.whole(max_duration, "max_duration", 1)
        self.num_classes = num_classes
        self.max_duration = max_duration

    def log_weights(self, durations: Tensor) -> Tensor:
        """Log-weights (C, D) of durations (D,), frames."""
        raise NotImplementedError

    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Set the parameters from the mean (C,) in frames and variance (C,) of the durations."""
        raise NotImplementedError

    def forward(self) -> tuple[Tensor, Tensor]:
        """Table (C, K) and tail (C,)."""
        device = next(self.parameters()).device
        weights = self.log_weights(
            torch.arange(1, self.max_duration + 2, device=device, dtype=torch.get_default_dtype())
        )
        tail = (weights[:, -1] - weights[:, -2]).clamp(_STEEPEST_TAIL, _FLATTEST_TAIL)
        return weights[:, :-1], tail

    @torch.no_grad()
    def fit(self, durations: Sequence[Tensor]) -> None:
        """Set the parameters from observed durations, one (N_c,) tensor of frames per class; empty: about as it was."""
        mean, variance = self.moments()
        for label, observed in enumerate(durations):
            if len(observed):
                mean[label] = observed.double().mean()
                variance[label] = observed.double().var(correction=0)
        self.set_moments(mean, variance)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (C,) and variance (C,) of the durations up to K that the scores imply."""
        table, _ = self()
        frames = torch.arange(1, self.max_duration + 1, device=table.device, dtype=torch.float64)
        probability = table.double().softmax(-1)
        mean = probability @ frames
        return mean, probability @ frames.square() - mean.square()

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, max_duration={self.max_duration}"


class LearnedDurations(Durations):
    """A free score for every duration, and a learned tail. Starts flat.

    Example:
        >>> table, tail = LearnedDurations(2, 50)()
        >>> table.shape, bool((tail < 0).all())
        (torch.Size([2, 50]), True)
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.table = nn.Parameter(torch.zeros(num_classes, max_duration))
        self.raw_tail = nn.Parameter(torch.full((num_classes,), _inverse_softplus(1.0 / max_duration)))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.table, -nn.functional.softplus(self.raw_tail)

    @torch.no_grad()
    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Give every class the table of a negative binomial with these moments."""
        family = NegativeBinomialDurations(self.num_classes, self.max_duration)
        family.set_moments(mean.cpu(), variance.cpu())
        table, tail = family()
        self.table.copy_(table)
        self.raw_tail.copy_(torch.tensor([_inverse_softplus(-float(value)) for value in tail]))

    @torch.no_grad()
    def fit(self, durations: Sequence[Tensor]) -> None:
        """A smoothed histogram per class: each observation spreads over a tenth of its length."""
        frames = torch.arange(1, self.max_duration + 1, dtype=torch.float64)
        for label, observed in enumerate(durations):
            if not len(observed):
                continue
            lengths: Any = torch.unique(observed.cpu().double(), return_counts=True)
            values, counts = lengths
            spread = (0.1 * values).clamp(min=0.3)[:, None]
            bumps = torch.exp(-0.5 * ((frames - values[:, None]) / spread).square()) / spread
            density = (counts[:, None] * bumps).sum(0) / len(observed) + 0.01 / self.max_duration
            self.table[label] = density.log().to(self.table)
            excess = (observed.double() - self.max_duration).clamp(min=0)
            mean_excess = float(excess.sum() / max(int((excess > 0).sum()), 1))
            rate = 1.0 / mean_excess if mean_excess else 10.0 / self.max_duration
            self.raw_tail[label] = _inverse_softplus(min(rate, 8.0))


class NegativeBinomialDurations(Durations):
    """d - 1 is negative binomial: a bump of any width, wider than a Poisson's. Two parameters per class."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_mean = nn.Parameter(torch.full((num_classes,), max(0.5 * max_duration, 0.5)).log())
        self.log_shape = nn.Parameter(torch.zeros(num_classes))

    def log_weights(self, durations: Tensor) -> Tensor:
        shape, mean = self.log_shape.exp()[:, None], self.log_mean.exp()[:, None]
        count = durations - 1
        binomial = torch.lgamma(count + shape) - torch.lgamma(shape) - torch.lgamma(count + 1)
        return binomial + shape * torch.log(shape / (shape + mean)) + count * torch.log(mean / (shape + mean))

    @torch.no_grad()
    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        mean = (mean - 1).clamp(min=1e-2)
        # Not wider than a Poisson: a large shape, which approaches one.
        shape = torch.where(variance > mean, mean.square() / (variance - mean).clamp(min=1e-6), 1e4)
        self.log_mean.copy_(mean.log())
        self.log_shape.copy_(shape.clamp(1e-2, 1e4).log())


class PoissonDurations(Durations):
    """d - 1 is Poisson: a bump as wide as the root of its mean. One parameter per class."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.log_mean = nn.Parameter(torch.full((num_classes,), max(0.5 * max_duration, 0.5)).log())

    def log_weights(self, durations: Tensor) -> Tensor:
        count = durations - 1
        log_mean = self.log_mean[:, None]
        return count * log_mean - log_mean.exp() - torch.lgamma(count + 1)

    @torch.no_grad()
    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        self.log_mean.copy_((mean - 1).clamp(min=1e-2).log())


class GeometricDurations(Durations):
    """Every further frame costs the same: the durations of a linear chain. One parameter per class."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.logit_stay = nn.Parameter(torch.full((num_classes,), max(0.5 * max_duration, 0.5)).log())

    def log_weights(self, durations: Tensor) -> Tensor:
        stay, leave = (nn.functional.logsigmoid(sign * self.logit_stay)[:, None] for sign in (1.0, -1.0))
        return (durations - 1) * stay + leave

    @torch.no_grad()
    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        self.logit_stay.copy_((mean - 1).clamp(min=1e-2).log())


class UniformDurations(Durations):
    """Every duration up to K scores the same; only the tail is learned."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.raw_tail = nn.Parameter(torch.full((num_classes,), _inverse_softplus(1.0 / max_duration)))

    def forward(self) -> tuple[Tensor, Tensor]:
        tail = -nn.functional.softplus(self.raw_tail)
        return tail.new_zeros(self.num_classes, self.max_duration), tail

    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Nothing to set: a uniform has no moments to match."""


DURATION_FAMILIES: dict[str, type[Durations]] = {
    "learned": LearnedDurations,
    "negative_binomial": NegativeBinomialDurations,
    "poisson": PoissonDurations,
    "geometric": GeometricDurations,
    "uniform": UniformDurations,
}


def _inverse_softplus(value: float) -> float:
    value = max(value, 1e-6)
    return float(torch.log(torch.expm1(torch.tensor(value, dtype=torch.float64))))
