"""The joint objective: a model's output and what is known of it, to named losses; and how these become one number.

Both losses are negative log-likelihoods in nats over one normaliser, the valid frames of the batch. So their sum is
the negative log-likelihood of classes and numbers together, per frame, and neither the length of a recording nor the
padding of a batch carries a hidden weight. Under data-parallel training the frames of all processes are counted, so
that the weight of a frame does not depend on who holds it.

An objective returns a dict of named losses; a *combiner* turns it into the scalar that is minimised. Any callable from
the one to the other will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.nn import MIN_LOG_SIGMA
from segcrf.structures import Structure, SwitchingRegression

__all__ = [
    "REGRESSIONS",
    "Combiner",
    "Deviation",
    "FadingWeights",
    "FixedWeights",
    "JointObjective",
    "JointOutput",
    "Losses",
    "RunningMeanWeights",
    "SwitchingObjective",
    "SwitchingOutput",
    "UncertaintyWeights",
]

Losses = dict[str, Tensor]
"""Named scalar losses, each per valid frame."""

Combiner = Callable[[Losses], Tensor]
"""Turns named losses into the scalar that is minimised."""

REGRESSIONS = ("gaussian", "mse", "smooth_l1", "student_t", "beta_nll")
DEVIATIONS = ("learned", "profiled")
FORMS = ("likelihood", "predictive")
# Ten batches: the error of a network that learns halves within a few dozens, and a batch has thousands of frames.
MEMORY = 0.9
# Chosen on validation recordings among 0, 0.02 and 0.05: the higher ones gain squared error where labels are nearly
# solved (power of appliances), the lower ones gain bands (founding problem).
FLOOR = 0.02
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class JointOutput(Protocol):
    """What an objective needs of a model's output."""

    @property
    def dist(self) -> Structure:
        """The structure over the labels of B recordings of T frames."""
        ...

    @property
    def predictions(self) -> Tensor | None:
        """Predicted numbers (B, T, R), or None."""
        ...

    @property
    def log_sigma(self) -> Tensor | None:
        """Predicted log-deviations of the numbers (B, T, R), or None."""
        ...

    @property
    def scores(self) -> Tensor | None:
        """Class scores (B, T, C) before the structured layer scaled them; None: the emissions."""
        ...


class SwitchingOutput(Protocol):
    """What :class:`SwitchingObjective` needs of a model's output."""

    @property
    def switching(self) -> SwitchingRegression:
        """Classes and numbers in one distribution."""
        ...

    @property
    def posterior(self) -> str:
        """By which predictions mix the classes' regressions: ``"filter"`` or ``"smooth"``."""
        ...

    @property
    def dist(self) -> Structure:
        """The structure over the labels."""
        ...

    @property
    def scores(self) -> Tensor | None:
        """Class scores (B, T, C) before the structured layer scaled them; None: the emissions."""
        ...


class Deviation(nn.Module):
    """The log-deviation of one or more Gaussians: given, learned, or read off the errors.

    Args:
        size: how many.
        sigma: ``"learned"``, a parameter, which wants a larger learning rate than the network and no weight decay;
            ``"profiled"``, the running root mean square of the errors that are shown to :meth:`observe`, which is the
            maximum of the likelihood and does not lag behind; or a number, fixed.
        min_log_sigma: floor.
        memory: share of the running mean that each batch leaves.

    Attributes:
        log_sigma: (size,) parameter or buffer.

    Raises:
        ValueError: ``sigma`` is neither of the two words nor a positive number.

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
            _validation.choice(sigma, "sigma (or a number)", DEVIATIONS)
        else:
            _validation.positive(sigma, "sigma")
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
        """Takes note of errors while in training mode, if the deviation is profiled.

        Args:
            square: sums of squared errors (size,).
            count: how many errors each sum has, (size,); 0 leaves an entry as it was.
        """
        if self.sigma != "profiled" or not self.training:
            return
        total, known = over_ranks(torch.stack([square, count]).double())
        left = torch.where(known > 0, self.memory, 1.0)
        mean = torch.where(known > 0, total / known.clamp(min=1e-12), 0.0)
        buffers = dict(self.named_buffers())
        running, seen = buffers["square"], buffers["seen"]
        running.mul_(left).add_((1.0 - left) * mean)
        seen.mul_(left).add_(1.0 - left)  # as Adam does: the first batches are not averaged with a zero
        floor = math.exp(2.0 * self.min_log_sigma)
        estimate = 0.5 * (running / seen.clamp(min=1e-12)).clamp(min=floor).log()
        self.log_sigma.copy_(torch.where(seen > 0, estimate, self.log_sigma))

    def forward(self) -> Tensor:
        """The log-deviations (size,), not below the floor."""
        # A projection, not a clamp in the graph: behind a clamp the gradient is zero and the floor would never be left.
        self.log_sigma.data.clamp_(min=self.min_log_sigma)
        return self.log_sigma

    def extra_repr(self) -> str:
        return f"size={len(self.log_sigma)}, sigma={self.sigma!r}"


class JointObjective(nn.Module):
    """The losses of classes and numbers, by name.

    ``"crf"`` is the negative log-likelihood of the labels, summed over the batch and divided by its valid frames. An
    unlabelled frame (-100) is marginalised: it is a valid frame that says nothing.

    ``"regression"`` is the loss of the targets, summed over the frames where a target is known, averaged over the R
    targets and divided by the valid frames. A NaN is an unknown target.

    Args:
        regression: the loss of an error.

            * ``"gaussian"``, the negative log-density, with the model's own log-deviation where its output has one, and
              with one per target (see ``sigma``) where it has none. The default: the unit of the target cancels.
            * ``"mse"``, the squared error: a Gaussian whose variance is 1/2, but for a constant.
            * ``"smooth_l1"``, half the square below an error of 1 and linear beyond: Huber's loss.
            * ``"student_t"``, the negative log-density of Student's distribution with ``degrees``, for targets with
              outliers; deviations as for ``"gaussian"``.
            * ``"beta_nll"``, the Gaussian one times sigma^(2 beta), held constant, for a model that predicts
              log-deviations: it goes on learning the mean where it has come to expect large errors.
            * None, no regression.
        num_targets: targets R.
        sigma: of ``"gaussian"`` and ``"student_t"`` where the model predicts none: ``"learned"``, ``"profiled"`` (not
            for Student's) or a number, see :class:`Deviation`.
        degrees: degrees of freedom of ``"student_t"``.
        beta: of ``"beta_nll"``: 0 is the Gaussian, 1 weighs all errors alike.
        min_log_sigma: floor of the log-deviation.
        frames: add ``"frames"``, the cross-entropy of the class scores at the labelled frames, divided by the valid
            ones. Where bands last many frames a structured layer alone learns slowly at first, since its transitions
            explain most labels already; where cross-entropy by itself does badly, it takes the layer down with it. Give
            the layer a learned ``emission_scale``, so that scores can be logits of frames and yet weigh little in the
            structure.

    Attributes:
        log_sigma: (R,) log-deviation, in the targets' units, which should be standardised; None without one. A learned
            one moves slowly: give it a larger learning rate than the network, and no weight decay.

    Raises:
        ValueError: an unknown regression or sigma; a model without log-deviations for ``"beta_nll"``.

    Source:
        The Gaussian term is that of Kendall, Gal and Cipolla, *Multi-task learning using uncertainty to weigh losses*,
        2018. The term of the labels has no such weight: the scale of the emissions would absorb it. Huber, *Robust
        estimation of a location parameter*, 1964. Seitzer et al., *On the pitfalls of heteroscedastic uncertainty
        estimation with probabilistic neural networks*, 2022. Cross-entropy beside a sequence likelihood: Povey et al.,
        *Purely sequence-trained neural networks for ASR based on lattice-free MMI*, 2016.

    >>> from segcrf.chain import LinearChain
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
        if regression is not None and regression not in REGRESSIONS:
            raise ValueError(
                f"regression must be one of {', '.join(map(repr, REGRESSIONS))} or None, got {regression!r}."
            )
        if regression == "student_t" and sigma == "profiled":
            raise ValueError(
                "sigma='profiled' is the root mean square error, which is no estimate of Student's scale; "
                "give sigma='learned', or regression='gaussian'"
            )
        _validation.positive(degrees, "degrees")
        self.regression, self.degrees, self.beta, self.frames = regression, degrees, beta, frames
        shared = regression in ("gaussian", "student_t")
        self.deviation = Deviation(num_targets, sigma, min_log_sigma=min_log_sigma) if shared else None

    @property
    def log_sigma(self) -> Tensor | None:
        """(R,) log-deviation of the targets, or None."""
        return None if self.deviation is None else self.deviation.log_sigma

    def forward(self, output: JointOutput, labels: Tensor, targets: Tensor | None = None) -> Losses:
        """Computes the losses of a batch.

        Args:
            output: what the model made of the batch.
            labels: classes (B, T) int64, -100 = unlabelled.
            targets: numbers (B, T, R), NaN = unknown; None for a batch without any.

        Returns:
            Scalars by name: ``"crf"``; ``"frames"`` if asked for; and ``"regression"`` where output and batch both have
            numbers.
        """
        distribution = output.dist
        frames = _frames(distribution.lengths, self.training)
        with torch.autocast(labels.device.type, enabled=False):
            losses = {"crf": -distribution.log_prob(labels).sum() / frames}
            if self.frames:
                losses["frames"] = _cross_entropy(output, labels) / frames
            if self.regression is not None and output.predictions is not None and targets is not None:
                known = _known(targets, distribution.lengths)
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
            return _student_t(error, log_sigma, self.degrees)
        density = _gaussian(error, log_sigma)
        return density if self.regression == "gaussian" else density * (2.0 * self.beta * log_sigma.detach()).exp()

    def _log_sigma(self, error: Tensor, known: Tensor, predicted: Tensor | None) -> Tensor:
        if predicted is not None:
            return predicted.float()
        if self.deviation is None:
            raise ValueError(
                "regression='beta_nll' needs a model that predicts log-deviations, got an output without; build it "
                "with JointModel(..., heteroscedastic=True), or take regression='gaussian'"
            )
        self.deviation.observe(error.square().sum((0, 1)), known.sum((0, 1)))
        return self.deviation()

    def extra_repr(self) -> str:
        return f"regression={self.regression!r}"


class SwitchingObjective(nn.Module):
    """The losses of a switching regression, by name: one likelihood, told apart for the eye.

    Args:
        form: ``"likelihood"``: ``"crf"`` is -log p(k | x) per valid frame and ``"regression"`` is -log p(y | k, x);
            their sum is -log p(y, k | x), and no weight belongs between them. Frames without a label are summed over,
            frames without a target say nothing; without any labels the sum is -log p(y | x).
            ``"predictive"``: ``"regression"`` is -log of the density of y_t under the mixture of the classes' Gaussians
            by the output's ``posterior`` of k_t: with ``"filter"``, what a forecast of y is judged by.
        frames: add ``"frames"``, as :class:`JointObjective` does.

    Note:
        Unlike :class:`JointObjective`, ``"regression"`` is summed over the R targets, not averaged: a likelihood.

    Raises:
        ValueError: an unknown form.

    >>> from segcrf.chain import LinearChain
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
        _validation.choice(form, "form", FORMS)
        self.form, self.frames = form, frames
        self.log_sigma = None  # the model's own

    def forward(self, output: SwitchingOutput, labels: Tensor, targets: Tensor | None = None) -> Losses:
        """Computes the losses of a batch; arguments as those of :class:`JointObjective`.

        Returns:
            Scalars by name: ``"crf"``; ``"frames"`` if asked for; and ``"regression"`` where the batch has numbers.
        """
        switching = output.switching
        frames = _frames(switching.structure.lengths, self.training)
        with torch.autocast(labels.device.type, enabled=False):
            classes = switching.structure.log_prob(labels)
            losses = {"crf": -classes.sum() / frames}
            if self.frames:
                losses["frames"] = _cross_entropy(output, labels) / frames
            if targets is not None:
                if self.form == "predictive":
                    numbers = switching.predictive_log_prob(targets, posterior=output.posterior).sum(1)
                else:
                    numbers = switching.log_prob(targets, labels) - classes
                losses["regression"] = -numbers.sum() / frames
        return losses

    def extra_repr(self) -> str:
        return f"form={self.form!r}"


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


class FadingWeights(FixedWeights):
    """Adds a named loss to that of the labels, with a weight that falls to zero as training goes on.

    What helps a network off the ground need not be what it is wanted for: cross-entropy of single frames teaches an
    encoder fast, and the likelihood of the whole sequence then has the last word.

    Args:
        name: the loss that fades.
        weight: its weight at the start.
        until: share of the training after which it is gone.
        combine: adds up the labels' loss, which then holds the fading one, and all others; None: their sum.

    >>> combine = FadingWeights("frames", until=0.5)
    >>> losses = {"crf": torch.tensor(1.0), "frames": torch.tensor(4.0)}
    >>> combine.at(0.0), float(combine(losses)), combine.at(0.25), float(combine(losses)), combine.at(0.75)
    (1.0, 5.0, 0.5, 3.0, 0.0)
    """

    def __init__(self, name: str, weight: float = 1.0, *, until: float = 0.5, combine: Combiner | None = None) -> None:
        super().__init__(**{name: weight})
        _validation.positive(until, "until")
        self.name, self.weight, self.until, self.combine = name, weight, until, combine

    def forward(self, losses: Losses) -> Tensor:
        """The combined loss, with the fading one at its present weight."""
        if self.combine is None:
            return super().forward(losses)
        others = {name: loss for name, loss in losses.items() if name != self.name}
        return self.combine(others | {"crf": losses["crf"] + self.weights[self.name] * losses[self.name]})

    def at(self, progress: float) -> float:
        """Sets and returns the weight after this share of the training, 0 to 1."""
        self.weights[self.name] = self.weight * max(1.0 - progress / self.until, 0.0)
        return self.weights[self.name]


class UncertaintyWeights(nn.Module):
    """Reads some losses as squared errors of Gaussians with one deviation each, and adds up the log-likelihoods.

    A named loss L becomes ``L / (2 sigma^2) + log sigma + log(2 pi) / 2``; all others are added as they are. With
    ``JointObjective("mse")`` this is the Gaussian negative log-likelihood with a deviation that the R targets share;
    ``JointObjective("gaussian")`` has one per target, and needs no such combiner.

    Args:
        sigma: ``"learned"``, ``"profiled"`` or a number, see :class:`Deviation`.
        names: the losses that are squared errors.
        min_log_sigma: floor of the log-deviations.

    Raises:
        ValueError: ``"crf"`` is among the names. The scale of the emissions is learned and would absorb its weight.

    Source:
        Kendall, Gal and Cipolla, *Multi-task learning using uncertainty to weigh losses*, 2018. That a learned sigma
        lags, and the optimum in closed form: Kirchdorfer et al., *Analytical uncertainty-based loss weighting in
        multi-task learning*, 2024.

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
            raise ValueError(
                "names: got 'crf', whose weight the scale of the emissions would absorb; name losses that are squared "
                "errors"
            )
        self.names = names
        self.deviation = Deviation(len(names), sigma, min_log_sigma=min_log_sigma)

    def forward(self, losses: Losses) -> Tensor:
        """The sum of ``losses``, squared errors as log-likelihoods.

        Raises:
            ValueError: a named loss is negative.
        """
        here = [name in losses for name in self.names]
        absent = torch.zeros_like(next(iter(losses.values())))
        errors = torch.stack([losses.get(name, absent) for name in self.names])
        if bool((errors < 0).any()):
            raise ValueError(
                f"UncertaintyWeights weighs squared errors, got {dict(zip(self.names, errors.tolist(), strict=True))}; "
                "a negative loss is already a likelihood: give JointObjective('mse'), or combine with FixedWeights()"
            )
        self.deviation.observe(errors.detach(), torch.tensor(here, device=errors.device))
        log_sigma = self.deviation()
        weighted = 0.5 * errors * torch.exp(-2.0 * log_sigma) + log_sigma + HALF_LOG_TWO_PI
        others = [loss for name, loss in losses.items() if name not in self.names]
        return torch.stack([*others, *(term for term, is_here in zip(weighted, here, strict=True) if is_here)]).sum()


class RunningMeanWeights(nn.Module):
    """Divides every loss by its running mean, so that all weigh alike whatever their units, and adds them up.

    What a :class:`segcrf.Segmenter` takes by default. The gradient is that of the sum of the losses'
    logarithms, but for the noise of the batch: a loss that has become small pulls as hard as one that has not. The
    likelihood of labels in long bands soon is a hundredth of a nat per frame, and in a plain sum is hardly heard any
    more beside that of the numbers, which counts each of a thousand neighbouring frames as if they were independent.

    Args:
        memory: share of the running mean that each batch leaves.
        floor: the least that a loss is divided by, so that one that is solved does not drown the others.

    Note:
        This is no likelihood: it does not say when the labels are learned well enough, so watch their loss on
        recordings that are held out. It needs losses that are above zero: log-densities of numbers are not.

    Source:
        Lakkapragada et al., *Mitigating negative transfer in multi-task learning with exponential moving average loss
        weighting strategies*, 2022.

    >>> combine = RunningMeanWeights()
    >>> float(combine({"crf": torch.tensor(0.02), "regression": torch.tensor(40.0)}))
    2.0
    """

    def __init__(self, memory: float = MEMORY, *, floor: float = FLOOR) -> None:
        super().__init__()
        _validation.share(memory, "memory")
        _validation.positive(floor, "floor")
        self.memory, self.floor = memory, floor
        self.means: dict[str, tuple[float, float]] = {}

    def forward(self, losses: Losses) -> Tensor:
        """The sum of ``losses``, each divided by its running mean.

        Raises:
            ValueError: a loss is negative.
        """
        if self.training:
            self._observe(losses)
        unknown = {name: float(loss.detach()) for name, loss in losses.items() if name not in self.means}
        scale = {name: mean / seen for name, (mean, seen) in self.means.items()} | unknown
        return torch.stack([loss / max(scale[name], self.floor) for name, loss in losses.items()]).sum()

    def _observe(self, losses: Losses) -> None:
        values = over_ranks(torch.stack([loss.detach().double() for loss in losses.values()])).tolist()
        for name, value in zip(losses, values, strict=True):
            if value < 0:
                raise ValueError(
                    f"RunningMeanWeights divides by the loss, got {name}={value:g}, expected 0 or more; log-densities "
                    "of continuous targets may be negative: give JointObjective('mse'), or combine with FixedWeights()"
                )
            if value == 0:  # a batch in which nothing is known tells nothing of the loss
                continue
            mean, seen = self.means.get(name, (0.0, 0.0))
            left = self.memory
            self.means[name] = (left * mean + (1.0 - left) * value, left * seen + 1.0 - left)

    def get_extra_state(self) -> dict[str, list[float]]:
        """The running means, for ``state_dict``."""
        return {name: list(pair) for name, pair in self.means.items()}

    def set_extra_state(self, state: dict[str, list[float]]) -> None:
        """Takes them back from a ``state_dict``."""
        self.means = {name: (mean, seen) for name, (mean, seen) in state.items()}

    def extra_repr(self) -> str:
        return f"memory={self.memory}, floor={self.floor}"


def over_ranks(values: Tensor) -> Tensor:
    """The mean over the processes of data-parallel training; ``predictions`` where there is one process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def _frames(lengths: Tensor, training: bool) -> Tensor:
    """What losses are divided by: valid frames per process.

    Data-parallel training averages the gradients of its processes. So where each divides by the mean number of frames,
    not by its own, the average is the sum of all frames' gradients divided by all frames.
    """
    frames = lengths.sum().float()
    # Validation may give one process more batches than another, which would then wait for ever.
    return over_ranks(frames) if training else frames


def _cross_entropy(output: JointOutput | SwitchingOutput, labels: Tensor) -> Tensor:
    """Summed over the labelled frames."""
    distribution = output.dist
    scores = distribution.emissions if output.scores is None else output.scores
    beyond = torch.arange(labels.shape[1], device=labels.device) >= distribution.lengths[:, None]
    known = labels.masked_fill(beyond, UNLABELLED)
    rows = scores.float().flatten(0, 1), known.flatten()
    return functional.cross_entropy(*rows, ignore_index=UNLABELLED, reduction="sum")


def _known(targets: Tensor, lengths: Tensor) -> Tensor:
    frame = torch.arange(targets.shape[1], device=targets.device)
    valid = frame < lengths.to(targets.device).unsqueeze(1)
    return valid.unsqueeze(2) & ~targets.isnan()


def _gaussian(error: Tensor, log_sigma: Tensor) -> Tensor:
    return 0.5 * (error * torch.exp(-log_sigma)).square() + log_sigma + HALF_LOG_TWO_PI


def _student_t(error: Tensor, log_sigma: Tensor, degrees: float) -> Tensor:
    half = 0.5 * (degrees + 1.0)
    constant = math.lgamma(0.5 * degrees) - math.lgamma(half) + 0.5 * math.log(degrees * math.pi)
    return constant + log_sigma + half * torch.log1p((error * torch.exp(-log_sigma)).square() / degrees)
