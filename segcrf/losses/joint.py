"""Joint objectives: a model's output, labels and targets to named losses.

Both losses are negative log-likelihoods in nats, divided by the valid frames of the batch. So their sum is the negative
log-likelihood of labels and targets together, per frame, and neither the length of a recording nor the padding of a
batch carries a hidden weight. Data-parallel training counts the frames of all processes, so that the weight of a frame
does not depend on its process.

An objective returns a dict of named losses; a *combiner* of :mod:`segcrf.losses.weighting` turns it into a scalar.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import UNLABELLED, InputError, check_choice, check_positive
from segcrf.losses.distributed import mean_over_processes
from segcrf.losses.regression import REGRESSIONS, Deviation, gaussian_nll, student_t_nll
from segcrf.nn import MIN_LOG_SIGMA
from segcrf.structures import Structure, SwitchingRegression, frame_mask

__all__ = ["FORMS", "JointObjective", "JointOutput", "Losses", "SwitchingObjective", "SwitchingOutput"]

Losses = dict[str, Tensor]
"""Named scalar losses, each per valid frame."""

FORMS = ("likelihood", "predictive")


class JointOutput(Protocol):
    """What :class:`JointObjective` needs of a model's output."""

    @property
    def dist(self) -> Structure:
        """The structure over the labels of B recordings of T frames."""
        ...

    @property
    def predictions(self) -> Tensor | None:
        """Predicted targets (B, T, R), or None."""
        ...

    @property
    def log_sigma(self) -> Tensor | None:
        """Predicted log-deviations of the targets (B, T, R), or None."""
        ...

    @property
    def scores(self) -> Tensor | None:
        """Class scores (B, T, C) before the structured layer scaled them; None: the emissions."""
        ...


class SwitchingOutput(Protocol):
    """What :class:`SwitchingObjective` needs of a model's output."""

    @property
    def switching(self) -> SwitchingRegression:
        """Labels and targets in one distribution."""
        ...

    @property
    def posterior(self) -> str:
        """How predictions mix the classes' regressions: ``"filter"`` or ``"smooth"``."""
        ...

    @property
    def dist(self) -> Structure:
        """The structure over the labels."""
        ...

    @property
    def scores(self) -> Tensor | None:
        """Class scores (B, T, C) before the structured layer scaled them; None: the emissions."""
        ...


class JointObjective(nn.Module):
    """The losses of labels and targets, by name.

    ``"crf"`` is the negative log-likelihood of the labels, summed over the batch and divided by its valid frames. An
    unlabelled frame (-100) is marginalised: it is a valid frame that carries no information.

    ``"regression"`` is the loss of the targets, summed over the frames where a target is known, averaged over the R
    targets and divided by the valid frames. A NaN is an unknown target.

    Args:
        regression: the loss of an error.

            * ``"gaussian"``, the negative log-density, with the model's own log-deviation where its output has one, and
              with one per target (see ``sigma``) where it has none. The default: the unit of the target cancels.
            * ``"mse"``, the squared error: a Gaussian of variance 1/2, except for a constant.
            * ``"smooth_l1"``, half the square below an error of 1 and linear beyond: Huber's loss.
            * ``"student_t"``, the negative log-density of Student's distribution with ``degrees``, for targets with
              outliers; deviations as for ``"gaussian"``.
            * ``"beta_nll"``, the Gaussian one times sigma^(2 beta), held constant, for a model that predicts
              log-deviations: it continues to learn the mean where it has come to expect large errors.
            * None, no regression.
        num_targets: targets R.
        sigma: of ``"gaussian"`` and ``"student_t"`` where the model predicts none: ``"learned"``, ``"profiled"`` (not
            for Student's) or a number, see :class:`Deviation`.
        degrees: degrees of freedom of ``"student_t"``.
        beta: of ``"beta_nll"``: 0 is the Gaussian, 1 weighs all errors alike.
        min_log_sigma: floor of the log-deviation.
        frames: add ``"frames"``, the cross-entropy of the class scores at the labelled frames, divided by the valid
            ones. Where bands last many frames a structured layer alone learns slowly at first, since its transitions
            explain most labels already; where cross-entropy by itself does badly, it harms the layer too. Give the
            layer a learned ``emission_scale``, so that scores can be logits of frames and yet weigh little in the
            structure.

    Attributes:
        log_sigma: (R,) log-deviation, in the targets' units, which should be standardised; None without one. A learned
            one moves slowly: give it a larger learning rate than the network, and no weight decay.

    Raises:
        InputError: an unknown regression or sigma.

    Source:
        The Gaussian term is that of Kendall, Gal and Cipolla, *Multi-task learning using uncertainty to weigh losses*,
        2018. The term of the labels has no such weight: the scale of the emissions would absorb it. Huber, *Robust
        estimation of a location parameter*, 1964. Seitzer et al., *On the pitfalls of heteroscedastic uncertainty
        estimation with probabilistic neural networks*, 2022. Cross-entropy beside a sequence likelihood: Povey et al.,
        *Purely sequence-trained neural networks for ASR based on lattice-free MMI*, 2016.

    Example:
        >>> from segcrf import LinearChain
        >>> from segcrf.nn import ModelOutput
        >>> flat = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> output = ModelOutput(flat, predictions=torch.ones(1, 4, 1), features=torch.zeros(1, 4, 3))
        >>> losses = JointObjective("mse")(output, torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 4, 1))
        >>> {name: round(float(loss), 4) for name, loss in losses.items()}
        {'crf': 0.6931, 'regression': 1.0}
    """

    def __init__(
        self,
        regression: str | None = "gaussian",
        num_targets: int = 1,
        *,
        sigma: str | float = "learned",
        degrees: float = 4.0,
        beta: float = 0.5,
        min_log_sigma: float = MIN_LOG_SIGMA,
        frames: bool = False,
    ) -> None:
        super().__init__()
        check_choice(regression, "regression", (*REGRESSIONS, None))
        if regression == "student_t" and sigma == "profiled":
            expected = "'learned' or a number with regression='student_t'"
            advice = "the root mean square error is no estimate of Student's scale; or give regression='gaussian'"
            raise InputError("sigma", "'profiled'", expected, advice)
        check_positive(degrees, "degrees")
        self.regression, self.degrees, self.beta, self.frames = regression, degrees, beta, frames
        shared = regression in ("gaussian", "student_t")
        self.deviation = Deviation(num_targets, sigma, min_log_sigma=min_log_sigma) if shared else None

    @property
    def log_sigma(self) -> Tensor | None:
        """(R,) log-deviation of the targets, or None."""
        return None if self.deviation is None else self.deviation.log_sigma

    def forward(self, output: JointOutput, labels: Tensor, targets: Tensor | None = None) -> Losses:
        """Compute the losses of a batch.

        Args:
            output: the model's output for the batch.
            labels: (B, T) int64, -100 = unlabelled.
            targets: (B, T, R), NaN = unknown; None for a batch without targets.

        Returns:
            Scalars by name: ``"crf"``; ``"frames"`` if asked for; and ``"regression"`` where the batch has targets and
            the output has predictions.

        Raises:
            InputError: the output has no log-deviations, which ``"beta_nll"`` needs.
        """
        dist = output.dist
        frames = _frames_per_process(dist.lengths, self.training)
        with torch.autocast(labels.device.type, enabled=False):
            losses = {"crf": -dist.log_prob(labels).sum() / frames}
            if self.frames:
                losses["frames"] = _cross_entropy(dist, output.scores, labels) / frames
            if self.regression is not None and output.predictions is not None and targets is not None:
                known = _known_targets(targets, dist.lengths)
                error = torch.where(known, output.predictions.float() - targets.float(), 0.0)
                density = torch.where(known, self._loss(error, known, output.log_sigma), 0.0)
                losses["regression"] = density.sum() / (frames * targets.shape[2])
        return losses

    def _loss(self, error: Tensor, known: Tensor, log_sigma: Tensor | None) -> Tensor:
        if self.regression == "mse":
            return error.square()
        if self.regression == "smooth_l1":
            return functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
        log_sigma = self._log_sigma(error, known, log_sigma)
        if self.regression == "student_t":
            return student_t_nll(error, log_sigma, self.degrees)
        density = gaussian_nll(error, log_sigma)
        return density if self.regression == "gaussian" else density * (2.0 * self.beta * log_sigma.detach()).exp()

    def _log_sigma(self, error: Tensor, known: Tensor, predicted: Tensor | None) -> Tensor:
        if predicted is not None:
            return predicted.float()
        if self.deviation is None:
            expected = "log-deviations (B, T, R) for regression='beta_nll'"
            advice = "build the model with JointModel(..., heteroscedastic=True), or take regression='gaussian'"
            raise InputError("output.log_sigma", "None", expected, advice)
        self.deviation.observe(error.square().sum((0, 1)), known.sum((0, 1)))
        return self.deviation()

    def extra_repr(self) -> str:
        return f"regression={self.regression!r}"


class SwitchingObjective(nn.Module):
    """The losses of a switching regression, by name: the two terms of one likelihood.

    Args:
        form: ``"likelihood"``: ``"crf"`` is -log p(k | x) per valid frame and ``"regression"`` is -log p(y | k, x);
            their sum is -log p(y, k | x), and no weight belongs between them. Frames without a label are summed over,
            frames without a target carry no information; without any labels the sum is -log p(y | x).
            ``"predictive"``: ``"regression"`` is -log of the density of y_t under the mixture of the classes' Gaussians
            by the output's ``posterior`` of k_t: with ``"filter"``, the measure of a forecast of y.
        frames: add ``"frames"``, as :class:`JointObjective` does.

    Note:
        Unlike :class:`JointObjective`, ``"regression"`` is summed over the R targets, not averaged: a likelihood.

    Raises:
        InputError: an unknown form.

    Example:
        >>> from segcrf import LinearChain
        >>> from segcrf.nn import SwitchingModelOutput
        >>> flat = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> switching = SwitchingRegression(flat, mean=torch.zeros(1, 4, 2, 1), log_sigma=torch.zeros(2, 1))
        >>> output = SwitchingModelOutput(switching, features=torch.zeros(1, 4, 3), posterior="filter")
        >>> losses = SwitchingObjective()(output, torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 4, 1))
        >>> {name: round(float(loss), 4) for name, loss in losses.items()}
        {'crf': 0.6931, 'regression': 0.9189}
    """

    def __init__(self, form: str = "likelihood", *, frames: bool = False) -> None:
        super().__init__()
        check_choice(form, "form", FORMS)
        self.form, self.frames = form, frames
        self.log_sigma = None  # the model has its own

    def forward(self, output: SwitchingOutput, labels: Tensor, targets: Tensor | None = None) -> Losses:
        """Compute the losses of a batch; arguments as those of :class:`JointObjective`.

        Returns:
            Scalars by name: ``"crf"``; ``"frames"`` if asked for; and ``"regression"`` where the batch has targets.
        """
        switching = output.switching
        frames = _frames_per_process(switching.structure.lengths, self.training)
        with torch.autocast(labels.device.type, enabled=False):
            log_p_labels = switching.structure.log_prob(labels)
            losses = {"crf": -log_p_labels.sum() / frames}
            if self.frames:
                losses["frames"] = _cross_entropy(output.dist, output.scores, labels) / frames
            if targets is not None:
                if self.form == "predictive":
                    log_p_targets = switching.predictive_log_prob(targets, posterior=output.posterior).sum(1)
                else:
                    log_p_targets = switching.log_prob(targets, labels) - log_p_labels
                losses["regression"] = -log_p_targets.sum() / frames
        return losses

    def extra_repr(self) -> str:
        return f"form={self.form!r}"


def _frames_per_process(lengths: Tensor, training: bool) -> Tensor:
    """Return the divisor of the losses: valid frames per process.

    Data-parallel training averages the gradients of its processes. So where each divides by the mean number of frames,
    not by its own, the average is the sum of all frames' gradients divided by all frames.
    """
    frames = lengths.sum().float()
    # Validation may give one process more batches than another, which would then wait for ever.
    return mean_over_processes(frames) if training else frames


def _cross_entropy(dist: Structure, scores: Tensor | None, labels: Tensor) -> Tensor:
    """Return the cross-entropy of class scores (None: the emissions), summed over the labelled frames."""
    scores = dist.emissions if scores is None else scores
    known = labels.masked_fill(~frame_mask(dist.lengths, labels.shape[1]), UNLABELLED)
    rows = scores.float().flatten(0, 1), known.flatten()
    return functional.cross_entropy(*rows, ignore_index=UNLABELLED, reduction="sum")


def _known_targets(targets: Tensor, lengths: Tensor) -> Tensor:
    """Return which targets (B, T, R) are known."""
    valid = frame_mask(lengths.to(targets.device), targets.shape[1])
    return valid.unsqueeze(2) & ~targets.isnan()
