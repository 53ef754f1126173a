"""Duration scores: families of modules that score how many frames a band lasts, and minimum durations.

A family returns ``table`` (C, K), the log-probability of lasting 1 to K frames (up to a constant), and ``tail`` (C,),
the score of each frame beyond K. Data set a family by :meth:`Durations.fit`, moments by :meth:`Durations.set_moments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_whole

__all__ = [
    "DURATION_FAMILIES",
    "Durations",
    "GeometricDurations",
    "LearnedDurations",
    "NegativeBinomialDurations",
    "PoissonDurations",
    "UniformDurations",
    "shorter_than_minimum",
]

_STEEPEST_TAIL, _FLATTEST_TAIL = -8.0, -1e-4


def shorter_than_minimum(minimum: int | Sequence[int], num_classes: int, max_duration: int) -> Tensor:
    """Return which durations (C, K) a minimum duration forbids: True where a band would be too short.

    Args:
        minimum: shortest band in frames, for all classes or one per class.
        num_classes: C.
        max_duration: K, frames.

    Raises:
        InputError: a minimum is no integer from 1 to K.

    Example:
        >>> shorter_than_minimum([1, 3], num_classes=2, max_duration=4).int()
        tensor([[0, 0, 0, 0],
                [1, 1, 0, 0]], dtype=torch.int32)
    """
    each = torch.as_tensor([minimum] * num_classes if isinstance(minimum, int) else list(minimum))
    if each.shape != (num_classes,) or each.is_floating_point():
        raise InputError("min_duration", repr(minimum), f"an integer or {num_classes} integers (frames)")
    if int(each.min()) < 1 or int(each.max()) > max_duration:
        raise InputError("min_duration", repr(minimum), f"1 to max_duration = {max_duration} frames")
    return torch.arange(1, max_duration + 1) < each[:, None]


class Durations(nn.Module):
    """A family of duration scores for C classes and K frames.

    To add a family, subclass this class and implement :meth:`log_weights` for any durations, and :meth:`set_moments`.
    The tail follows: it is the ratio of the weights at K + 1 and K, kept below one, so that long bands stay possible
    and their sum stays finite. Add the class to ``DURATION_FAMILIES``, where the tests find it.

    Args:
        num_classes: C.
        max_duration: K, frames.
    """

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__()
        check_whole(num_classes, "num_classes", 1)
        check_whole(max_duration, "max_duration", 1)
        self.num_classes = num_classes
        self.max_duration = max_duration

    def log_weights(self, durations: Tensor) -> Tensor:
        """Return the log-weights (C, D) of durations (D,), frames."""
        raise NotImplementedError

    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Set the parameters from the mean (C,), in frames, and the variance (C,) of the durations."""
        raise NotImplementedError

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the table (C, K) and the tail (C,)."""
        device = next(self.parameters()).device
        weights = self.log_weights(
            torch.arange(1, self.max_duration + 2, device=device, dtype=torch.get_default_dtype())
        )
        tail = (weights[:, -1] - weights[:, -2]).clamp(_STEEPEST_TAIL, _FLATTEST_TAIL)
        return weights[:, :-1], tail

    @torch.no_grad()
    def fit(self, durations: Sequence[Tensor]) -> None:
        """Set the parameters from observed durations, one tensor (N_c,) of frames per class.

        A class without observations keeps about the durations it had.
        """
        mean, variance = self.moments()
        for label, observed in enumerate(durations):
            if len(observed):
                mean[label] = observed.double().mean()
                variance[label] = observed.double().var(correction=0)
        self.set_moments(mean, variance)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean (C,) and variance (C,) of the durations up to K that the scores imply."""
        table, _ = self()
        frames = torch.arange(1, self.max_duration + 1, device=table.device, dtype=torch.float64)
        probability = table.double().softmax(-1)
        mean = probability @ frames
        return mean, probability @ frames.square() - mean.square()

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, max_duration={self.max_duration}"


class LearnedDurations(Durations):
    """A free score for every duration, and a learned tail; all scores start equal.

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
        """Set a smoothed histogram per class; each observation spreads over a tenth of its length."""
        frames = torch.arange(1, self.max_duration + 1, dtype=torch.float64)
        for label, observed in enumerate(durations):
            if not len(observed):
                continue
            unique: Any = torch.unique(observed.cpu().double(), return_counts=True)
            values, counts = unique
            spread = (0.1 * values).clamp(min=0.3)[:, None]
            bumps = torch.exp(-0.5 * ((frames - values[:, None]) / spread).square()) / spread
            density = (counts[:, None] * bumps).sum(0) / len(observed) + 0.01 / self.max_duration
            self.table[label] = density.log().to(self.table)
            excess = (observed.double() - self.max_duration).clamp(min=0)
            mean_excess = float(excess.sum() / max(int((excess > 0).sum()), 1))
            cost_per_frame = 1.0 / mean_excess if mean_excess else 10.0 / self.max_duration
            self.raw_tail[label] = _inverse_softplus(min(cost_per_frame, 8.0))


class NegativeBinomialDurations(Durations):
    """Negative binomial d - 1: a peak of any width, wider than that of a Poisson; two parameters per class."""

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
        # A variance no larger than that of a Poisson gets a large shape, which approaches a Poisson.
        shape = torch.where(variance > mean, mean.square() / (variance - mean).clamp(min=1e-6), 1e4)
        self.log_mean.copy_(mean.log())
        self.log_shape.copy_(shape.clamp(1e-2, 1e4).log())


class PoissonDurations(Durations):
    """Poisson d - 1: a peak as wide as the root of its mean; one parameter per class."""

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
    """Geometric d, as in a linear chain: every further frame costs the same; one parameter per class."""

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
    """Equal scores for every duration up to K; only the tail is learned."""

    def __init__(self, num_classes: int, max_duration: int) -> None:
        super().__init__(num_classes, max_duration)
        self.raw_tail = nn.Parameter(torch.full((num_classes,), _inverse_softplus(1.0 / max_duration)))

    def forward(self) -> tuple[Tensor, Tensor]:
        tail = -nn.functional.softplus(self.raw_tail)
        return tail.new_zeros(self.num_classes, self.max_duration), tail

    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Do nothing: a uniform distribution has no moments to match."""


#: Families by name; each takes the number of classes and the longest duration.
DURATION_FAMILIES: dict[str, type[Durations]] = {
    "learned": LearnedDurations,
    "negative_binomial": NegativeBinomialDurations,
    "poisson": PoissonDurations,
    "geometric": GeometricDurations,
    "uniform": UniformDurations,
}


def _inverse_softplus(value: float) -> float:
    """Return the argument at which softplus is ``value``."""
    value = max(value, 1e-6)
    return float(torch.log(torch.expm1(torch.tensor(value, dtype=torch.float64))))
