"""Regression losses: the negative log-density of an error, and the deviation that it needs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from segcrf._validation import check_choice, check_positive
from segcrf.losses.distributed import mean_over_processes
from segcrf.nn import MIN_LOG_SIGMA

__all__ = ["HALF_LOG_TWO_PI", "MEMORY", "REGRESSIONS", "Deviation", "gaussian_nll", "student_t_nll"]

REGRESSIONS = ("gaussian", "mse", "smooth_l1", "student_t", "beta_nll")
DEVIATIONS = ("learned", "profiled")
# Ten batches: the error of a network that learns halves within a few dozens, and a batch has thousands of frames.
MEMORY = 0.9
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Deviation(nn.Module):
    """The log-deviation of one or more Gaussians: given, learned, or estimated from the errors.

    Args:
        size: number of Gaussians.
        sigma: ``"learned"``, a parameter, which needs a larger learning rate than the network and no weight decay;
            ``"profiled"``, the running root mean square of the errors that :meth:`observe` receives, which maximises
            the likelihood and does not lag behind; or a number, fixed.
        min_log_sigma: floor.
        memory: share of the running mean that each batch keeps.

    Attributes:
        log_sigma: (size,) parameter or buffer.

    Raises:
        InputError: ``sigma`` is neither of the two words nor a positive number.

    Example:
        >>> deviation = Deviation(1, "profiled")
        >>> deviation.observe(torch.tensor([8.0]), torch.tensor([2.0]))
        >>> deviation().exp()
        tensor([2.])
    """

    def __init__(
        self,
        size: int,
        sigma: str | float = "learned",
        *,
        min_log_sigma: float = MIN_LOG_SIGMA,
        memory: float = MEMORY,
    ) -> None:
        super().__init__()
        if isinstance(sigma, str):
            check_choice(sigma, "sigma (or a number)", DEVIATIONS)
        else:
            check_positive(sigma, "sigma")
        self.sigma, self.min_log_sigma, self.memory = sigma, min_log_sigma, memory
        start = torch.full((size,), 0.0 if isinstance(sigma, str) else max(math.log(sigma), min_log_sigma))
        self.log_sigma: Tensor
        if sigma == "learned":
            self.log_sigma = nn.Parameter(start)
            return
        self.register_buffer("log_sigma", start)
        if sigma == "profiled":
            self.register_buffer("square", torch.zeros(size, dtype=torch.float64))
            self.register_buffer("seen", torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def observe(self, square: Tensor, count: Tensor) -> None:
        """Update a profiled deviation with errors, in training mode only.

        Args:
            square: (size,) sums of squared errors.
            count: (size,) number of errors in each sum; 0 leaves an entry as it is.
        """
        if self.sigma != "profiled" or not self.training:
            return
        total, known = mean_over_processes(torch.stack([square, count]).double())
        keep = torch.where(known > 0, self.memory, 1.0)
        mean = torch.where(known > 0, total / known.clamp(min=1e-12), 0.0)
        buffers = dict(self.named_buffers())
        running, seen = buffers["square"], buffers["seen"]
        running.mul_(keep).add_((1.0 - keep) * mean)
        seen.mul_(keep).add_(1.0 - keep)  # as Adam does: the first batches are not averaged with a zero
        floor = math.exp(2.0 * self.min_log_sigma)
        estimate = 0.5 * (running / seen.clamp(min=1e-12)).clamp(min=floor).log()
        self.log_sigma.copy_(torch.where(seen > 0, estimate, self.log_sigma))

    def forward(self) -> Tensor:
        """Return the log-deviations (size,), not below the floor."""
        # A projection, not a clamp in the graph: behind a clamp the gradient is zero, and the floor would be final.
        self.log_sigma.data.clamp_(min=self.min_log_sigma)
        return self.log_sigma

    def extra_repr(self) -> str:
        return f"size={len(self.log_sigma)}, sigma={self.sigma!r}"


def gaussian_nll(error: Tensor, log_sigma: Tensor) -> Tensor:
    """Return the negative log-density of Gaussian errors.

    Args:
        error: any shape.
        log_sigma: log-deviation, broadcast to it.
    """
    return 0.5 * (error * torch.exp(-log_sigma)).square() + log_sigma + HALF_LOG_TWO_PI


def student_t_nll(error: Tensor, log_sigma: Tensor, degrees: float) -> Tensor:
    """Return the negative log-density of errors that follow Student's distribution.

    Args:
        error: any shape.
        log_sigma: logarithm of the scale, broadcast to it.
        degrees: degrees of freedom.
    """
    half = 0.5 * (degrees + 1.0)
    constant = math.lgamma(0.5 * degrees) - math.lgamma(half) + 0.5 * math.log(degrees * math.pi)
    return constant + log_sigma + half * torch.log1p((error * torch.exp(-log_sigma)).square() / degrees)
