"""SwitchingRegression: classes and targets in one distribution, with a regression for each class.

A structure gives the classes, ``p(k | x)``, and each class has its own regression: where the class of frame t is c,
the target is Gaussian, ``N(y_t; mean[t, c], sigma[c])``. So

    log p(y, k | x) = log p(k | x) + sum_t log N(y_t; mean[t, k_t], sigma[k_t])

is one likelihood, without weights. As the second term is a sum of scores by frame and class, ``y`` joins the emissions:
every query of a structure is available also after targets were seen.

The field calls this a Markov-switching regression, an input-output hidden Markov model, or gated experts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, check_choice, check_positive, check_share
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_scores_shape
from segcrf.structures.semirings import logsumexp

__all__ = ["POSTERIORS", "Prediction", "SwitchingRegression"]

POSTERIORS = ("filter", "smooth")
HALVINGS = 40


class Prediction(NamedTuple):
    """Predicted targets with their uncertainty: ``mean`` and ``variance``, (B, T, R)."""

    mean: Tensor
    variance: Tensor


class SwitchingRegression:
    """The distribution of labels (B, T) and targets (B, T, R), given a structure over labels and regressions by class.

    Every query that mixes the regressions of the classes takes ``posterior``, without a default:

    * ``"filter"``: the probability of the class at frame t given the scores up to t. If the encoder is causal, this is
      the knowledge of a forecast.
    * ``"smooth"``: given the scores of the whole recording. If y lies in the future of x, this has seen the answer:
      right for filling gaps and cleaning recordings, wrong for judging forecasts.

    Args:
        structure: the distribution p(k | x) over labels.
        mean: the target that each class's regression expects, (B, T, C, R).
        log_sigma: log-deviation, (C, R); or (R,), shared by the classes; or (B, T, C, R).

    Raises:
        ValueError: shapes that do not belong together.

    Source:
        Quandt, *The estimation of the parameters of a linear regression system obeying two separate regimes*, 1958;
        Hamilton, *A new approach to the economic analysis of nonstationary time series*, 1989; Bengio and Frasconi,
        *An input output HMM architecture*, 1995; Weigend, Mangeas and Srivastava, *Nonlinear gated experts for time
        series*, 1995.

    >>> from segcrf import LinearChain
    >>> structure = LinearChain(torch.zeros(1, 3, 2), torch.tensor([[0.0, -2.0], [-2.0, 0.0]]))
    >>> mean = torch.tensor([0.0, 10.0]).view(1, 1, 2, 1).expand(1, 3, 2, 1)
    >>> switching = SwitchingRegression(structure, mean, torch.zeros(2, 1))
    >>> switching.predict(posterior="filter").mean.flatten()
    tensor([5., 5., 5.])
    >>> seen = torch.tensor([[[9.8], [torch.nan], [torch.nan]]])
    >>> switching.given(seen).mode
    tensor([[1, 1, 1]])
    >>> switching.predict(seen=seen, posterior="smooth").mean.flatten()
    tensor([10.0000,  8.8080,  7.9001])
    """

    def __init__(self, structure: Structure, mean: Tensor, log_sigma: Tensor) -> None:
        frames = tuple(structure.emissions.shape)
        if mean.dim() != 4 or tuple(mean.shape[:3]) != frames:
            expected = f"shape (B, T, C, R) with (B, T, C) = {frames} of the structure"
            raise InputError("mean", f"shape {tuple(mean.shape)}", expected)
        num_targets = mean.shape[3]
        if tuple(log_sigma.shape) not in ((num_targets,), (frames[2], num_targets), tuple(mean.shape)):
            expected = (
                f"shape (R,) = ({num_targets},), (C, R) = ({frames[2]}, {num_targets}) or that of mean, "
                f"{tuple(mean.shape)}"
            )
            raise InputError("log_sigma", f"shape {tuple(log_sigma.shape)}", expected)
        self.structure, self.mean, self.log_sigma = structure, mean, log_sigma

    # ------------------------------------------------------------------------------------------------ likelihood
    def log_density(self, targets: Tensor) -> Tensor:
        """Return the log-density of targets under each class's regression, summed over R: (B, T, C), in nats.

        Args:
            targets: (B, T, R); NaN = unknown, which has density 1.
        """
        expected = (*self.mean.shape[:2], self.mean.shape[3])
        check_scores_shape(targets, "targets", expected, "(B, T, R)")
        known = ~targets.isnan() & self._valid.unsqueeze(-1)
        error = torch.where(known, targets, 0.0).unsqueeze(2) - self.mean
        density = -0.5 * (error * torch.exp(-self.log_sigma)).square() - self.log_sigma - 0.5 * math.log(2 * math.pi)
        return torch.where(known.unsqueeze(2), density, 0.0).sum(-1)

    def given(self, targets: Tensor) -> Structure:
        """Return the structure over labels after targets were seen: p(k | x, y).

        Args:
            targets: (B, T, R); NaN = not seen.
        """
        return self.structure.replace(emissions=self.structure.emissions + self.log_density(targets))

    def log_prob(self, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the log-density (B,) of the known targets and labels together.

        Args:
            targets: (B, T, R); NaN = unknown.
            labels: (B, T) int64; -100 = unknown, summed over. None: all are unknown, so that this is log p(y | x).
        """
        if labels is not None and bool(((labels != UNLABELLED) | ~self._valid).all()):
            own = labels.masked_fill(~self._valid, 0).unsqueeze(-1)
            density = self.log_density(targets).gather(2, own).squeeze(-1)
            return self.structure.log_prob(labels) + torch.where(self._valid, density, 0.0).sum(1)
        refined = self.given(targets)
        evidence = refined.log_z - self.structure.log_z
        known = 0.0 if labels is None else refined.log_prob(labels)
        return known + evidence.to(self.structure.dtype)

    def predictive_log_prob(self, targets: Tensor, *, posterior: str) -> Tensor:
        """Return the log-density (B, T) of the targets of each frame by itself, under the mixture of regressions.

        Args:
            targets: (B, T, R); NaN = unknown, which has density 1.
            posterior: ``"filter"`` or ``"smooth"``: the weights of the mixture.
        """
        # An impossible class has weight zero and log-weight -inf, with a gradient of NaN.
        weight = self.weights(posterior=posterior).clamp(min=torch.finfo(self.structure.dtype).tiny)
        mixed = logsumexp(weight.log() + self.log_density(targets), -1)
        return torch.where(self._valid & ~targets.isnan().all(-1), mixed, 0.0)

    # ----------------------------------------------------------------------------------------------- predictions
    def weights(self, *, posterior: str, seen: Tensor | None = None) -> Tensor:
        """Return the posterior probability of each class at each frame, (B, T, C); zero beyond a recording's length.

        Args:
            posterior: ``"filter"`` or ``"smooth"``.
            seen: targets that are known, (B, T, R), NaN elsewhere; None: only x is known. The filter at frame t
                uses those of the frames up to t.
        """
        check_choice(posterior, "posterior", POSTERIORS)
        structure = self.structure if seen is None else self.given(seen)
        return structure.filtered if posterior == "filter" else structure.marginals.labels

    def predict(self, *, posterior: str, seen: Tensor | None = None) -> Prediction:
        """Return the expected targets of each frame and their variance, by the law of total variance.

        Differentiable: ``predict(posterior="filter").mean`` under squared error trains a causal forecast directly.

        Args:
            posterior: ``"filter"`` or ``"smooth"``.
            seen: targets that are known, as in :meth:`weights`.
        """
        weight = self.weights(posterior=posterior, seen=seen).unsqueeze(-1)
        mean = (weight * self.mean).sum(2)
        within = (weight * (2.0 * self.log_sigma).exp()).sum(2)
        between = (weight * (self.mean - mean.unsqueeze(2)).square()).sum(2)
        return Prediction(mean, within + between)

    @torch.no_grad()
    def interval(self, level: float, *, posterior: str, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the central interval that holds each target with probability ``level``: two tensors (B, T, R).

        These are quantiles of the mixture, not of a Gaussian with its variance: they may enclose one class's
        regression, or span two.

        Args:
            level: 0 to 1, without both.
            posterior: ``"filter"`` or ``"smooth"``.
            seen: targets that are known, as in :meth:`weights`.
        """
        check_positive(level, "level")
        check_share(level, "level")
        weight = self.weights(posterior=posterior, seen=seen)
        weight = torch.where(self._valid.unsqueeze(-1), weight, 1.0 / weight.shape[-1]).unsqueeze(-1)
        tail = 0.5 * (1.0 - level)
        return self._quantile(tail, weight), self._quantile(1.0 - tail, weight)

    def _quantile(self, share: float, weight: Tensor) -> Tensor:
        """Return the quantile of the mixture at ``share``, by halving from the quantiles of its parts.

        The quantile of a mixture lies between the least and the greatest quantile of its parts.
        """
        sigma = self.log_sigma.exp().expand_as(self.mean)
        parts = self.mean + sigma * math.sqrt(2.0) * torch.special.erfinv(self.mean.new_tensor(2.0 * share - 1.0))
        low, high = parts.amin(2), parts.amax(2)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            below = (weight * torch.special.ndtr((middle.unsqueeze(2) - self.mean) / sigma)).sum(2)
            low, high = torch.where(below < share, middle, low), torch.where(below < share, high, middle)
        return 0.5 * (low + high)

    @property
    def _valid(self) -> Tensor:
        return self.structure.frame_mask.to(self.mean.device)

    def __repr__(self) -> str:
        return f"SwitchingRegression(R={self.mean.shape[3]}, structure={self.structure!r})"
