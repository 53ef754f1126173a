"""Structure: a distribution over label sequences given by potentials and one scan, and every query of it, written once.

A structure supplies its potentials, one scan of them over a semiring, and the score of a given labelling. Each query is
that scan with another semiring, or a gradient of it. How the scan is run is in :mod:`segcrf.structures.scanned`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions.kl import register_kl

from segcrf._validation import UNLABELLED, InputError, InputTypeError, check_positive, check_whole
from segcrf.segments import Segments
from segcrf.structures.checks import check_labels, check_same_kind
from segcrf.structures.distribution import Best, Marginals
from segcrf.structures.information import divergence, expected_score
from segcrf.structures.scanned import ScannedDistribution, remembered
from segcrf.structures.semirings import KBest, Sample, logsumexp

__all__ = ["Structure"]

Self = TypeVar("Self", bound="Structure")


class Structure(ScannedDistribution):
    """A distribution over label sequences (B, T) that is given by potentials.

    To add one, subclass it: name its potentials, and implement :meth:`_scan`, :meth:`_score`, :meth:`_forbidden`,
    :meth:`_running` and :meth:`_band_log_prob`. Its kernels, if any, are one :class:`~segcrf.kernels.Operator`.
    """

    # ------------------------------------------------------------------------------------------------ likelihood
    @property
    @remembered
    def log_partition(self) -> Tensor:
        """Log of the sum of exp(score) over all labellings, (B,)."""
        return self.log_z.to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability (..., B) of labels (..., B, T).

        A label of -100 is unknown: the probability is summed over its possible classes. Frames beyond a recording's
        length are not read.

        Args:
            value: integers, 0 to C - 1 or -100.

        Raises:
            ValueError: a label is no class, or the shape is wrong; with ``validate_args`` also if a labelling is
                forbidden, with the frame. Without it, its log-probability is ``-inf``.
        """
        event = (self._batch_shape[0], self._event_shape[0])
        # The shape is always checked: a shorter tensor would be broadcast, and other labels would be scored.
        value = check_labels(value, event, self.num_classes, self.lengths, values=bool(self._validate_args))
        if self.backend == "torch" or value.dim() > 2:
            score, log_z = self._reference_score(value), self.log_z
            total = torch.where(log_z == -torch.inf, log_z, score - log_z)
        else:
            total, log_z, *_ = self.operator.log_prob(*self._kernel_inputs, value, self.lengths, self._differentiable)
        self._check_feasible(log_z)
        if self._validate_args and not torch.compiler.is_compiling() and (total == -torch.inf).any():
            raise self._forbidden(value.reshape(-1, value.shape[-1]))
        return total.to(self.dtype)

    def log_share(self, whole: Structure) -> Tensor:
        """Return the log-probability (B,) that ``whole`` gives to the labellings that this restriction of it allows.

        It is ``log_partition - whole.log_partition``, but subtracted in float64: for a long recording the difference of
        the two, rounded to float32, would be noise.

        Example:
            >>> from segcrf import LinearChain
            >>> fair = LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2))
            >>> allowed = torch.tensor([[[True, True], [True, False], [True, True]]])
            >>> fair.restrict(allowed).log_share(fair).exp()
            tensor([0.5000])
        """
        return (self.log_z - whole.log_z).to(self.dtype)

    # ----------------------------------------------------------------------------------------------- posteriors
    @property
    @remembered
    def marginals(self) -> Marginals:
        """Posterior probabilities of labels, transitions and band starts: see :class:`Marginals`.

        Differentiable: a second derivative goes through the reference scan, a Python loop over frames.
        """
        _, counts, starts = self.expectations
        named = self.potentials._make(counts)
        steps: Tensor = named.transitions
        return Marginals(named.emissions, _sum_in_order(steps) if steps.dim() > 3 else steps, starts)

    @property
    @remembered
    def filtered(self) -> Tensor:
        """Probability (B, T, C) of the class of each frame given the emissions up to it, zero beyond lengths.

        It is the marginal of the last frame of the recording cut after that frame, as if from a longer recording:
        without ``end`` scores, and with the running band of a semi-Markov chain scored by its survival. This is the
        knowledge of a live system: later frames, and scores that depend on them, have no influence.

        Source: Rabiner 1989, section III.A: the forward variable, normalised.
        """
        self._check_feasible(self.log_z)
        messages = torch.stack(list(self._running()), 1)
        probability = (messages - logsumexp(messages, -1)[..., None]).exp()
        return torch.where(self.frame_mask[..., None], probability, 0.0).to(self.dtype)

    def band_probability(self, bands: Segments) -> Tensor:
        """Return the posterior probability (N,) that each band, as a whole, is a band: this class on these frames only.

        This measure is strict: if a boundary is uncertain by a few frames, the probability is shared among all its
        places. :meth:`mean_marginal` is the lenient measure.

        Args:
            bands: of this batch, as for :meth:`mean_marginal`.

        Raises:
            ValueError: a band lies beyond the recordings, or has no such class.

        Example:
            >>> from segcrf import LinearChain
            >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
            >>> fair.band_probability(Segments.from_labels([[0, 1, 1, 0]]))     # 0 1 . .; 0 1 1 0; . . 1 0
            tensor([0.2500, 0.0625, 0.2500])
        """
        return self._band_log_prob(*self.band_columns(bands)).exp().clamp(max=1.0).to(self.dtype)

    # ------------------------------------------------------------------------------------------- best labellings
    @property
    @remembered
    def mode(self) -> Tensor:
        """The most probable labels (B, T), -100 beyond a recording's length."""
        return self.found_best.labels

    @property
    def best(self) -> Best:
        """The most probable labelling, with its score (not normalised), differentiable in the potentials."""
        best = self.found_best
        if self._differentiable:
            score = self._score_of(best.labels, best.starts)
            return best._replace(score=torch.where(best.score == -torch.inf, -torch.inf, score).to(self.dtype))
        return best._replace(score=best.score.to(self.dtype))

    def topk(self, k: int) -> Best:
        """Return the ``k`` best labellings, best first: score (k, B), labels (k, B, T), starts (k, B, T).

        If there are fewer than k, the rest has score ``-inf`` and labels -100.

        Raises:
            ValueError: ``k`` is below 1.
        """
        check_whole(k, "k", 1)
        with torch.enable_grad():
            leaves, starts = self._leaves(1)
            scores = self._scan(KBest(k), leaves, self.lengths, starts)
            self._check_feasible(scores[0])
            each = torch.eye(k, dtype=scores.dtype, device=scores.device)[..., None].expand(k, *scores.shape)
            grads = torch.autograd.grad(scores, [leaves[0], starts], each, is_grads_batched=True)
        return Best(scores.detach().to(self.dtype), *self._path(grads, scores))

    @torch.no_grad()
    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw exact, independent label sequences ``(*sample_shape, B, T)``, -100 beyond lengths.

        This is forward filtering, backward sampling (Carter and Kohn, 1994), as a gradient of the scan.

        Raises:
            ValueError: a negative size in ``sample_shape``.
        """
        for size in sample_shape:
            check_whole(size, "sample_shape", 0)
        count = torch.Size(sample_shape).numel()
        if count == 0:
            return self.lengths.new_empty((*sample_shape, *self._batch_shape, *self._event_shape))
        self._check_feasible(self.log_z)
        with torch.enable_grad():
            leaves, starts = self._leaves(count)
            total = self._scan(Sample(generator), leaves, self.lengths.repeat(count), starts)
            grads = torch.autograd.grad(total.sum(), [leaves[0], starts])
        labels = grads[0].argmax(-1).view(count, *self._batch_shape, -1).masked_fill(~self.frame_mask, UNLABELLED)
        return labels.view(*sample_shape, *self._batch_shape, -1)

    # ---------------------------------------------------------------------------------------------- information
    def entropy(self) -> Tensor:
        """Return the entropy (B,) in nats of the distribution over label sequences."""
        return self.cross_entropy(self)

    def cross_entropy(self: Self, other: Self) -> Tensor:
        """Return the expected negative log-likelihood (B,), in nats, of draws of this distribution under ``other``.

        It is ``log Z_other - <expected counts, potentials of other>``; infinite if this distribution gives mass to
        labellings that ``other`` forbids. If ``self`` is a teacher and ``other`` a student, it is the loss of
        distillation; if ``self`` holds frame-wise soft labels (``LinearChain(probabilities.log(), zeros)``), the
        expected log-loss under them. Less the entropy it is ``torch.distributions.kl_divergence(p, q)``.

        Args:
            other: a structure of the same kind over recordings of the same lengths, with tables of the same shapes.

        Raises:
            TypeError, ValueError: ``other`` is of another kind or of other shapes.

        Example:
            >>> from segcrf import LinearChain
            >>> fair = LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2))
            >>> fair.cross_entropy(fair)     # three tosses of a coin: 3 log 2
            tensor([2.0794])
        """
        check_same_kind(self, other)
        return expected_score(self, other).to(self.dtype)

    @property
    def log_count(self) -> Tensor:
        """Log of the number of allowed labellings, (B,) float64: every finite score counts as 0.

        For a semi-Markov chain it counts segmentations.

        Example:
            >>> from segcrf import LinearChain
            >>> no_way_back = torch.tensor([[0.0, 0.0], [-torch.inf, 0.0]])
            >>> LinearChain(torch.zeros(1, 5, 2), no_way_back).log_count.exp()      # 0..01..1, switching at 0 to 5
            tensor([6.], dtype=torch.float64)
        """
        return self.uniform().log_z

    # -------------------------------------------------------------------------------------- other distributions
    def replace(
        self: Self, *, lengths: Tensor | None = None, validate_args: bool | None = None, **potentials: Tensor
    ) -> Self:
        """Return the same kind of structure with some potentials replaced, and perhaps other lengths.

        Args:
            lengths: (B,); None: unchanged.
            validate_args: as for the constructor; None: unchanged.
            **potentials: new scores by name, each in the shape that the structure has. If all are given, they may
                have other shapes that belong together.

        Raises:
            ValueError, TypeError: an unknown name, shapes that do not belong together, a wrong length, or an error of
                the constructor.

        Example:
            >>> from segcrf import LinearChain
            >>> chain = LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2))
            >>> chain.replace(emissions=torch.tensor([[[0.0, 1.0]] * 3])).mode
            tensor([[1, 1, 1]])
        """
        unknown = potentials.keys() - set(self.potentials._fields)
        if unknown:
            expected = f"one of {', '.join(self.potentials._fields)}, lengths"
            raise InputError("replace", f"{sorted(unknown)[0]!r}", expected)
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self._settings)
        validate_args = self._validate_args if validate_args is None else validate_args
        merged = self._merged(potentials)
        ScannedDistribution.__init__(
            new, merged, lengths if lengths is not None else self.lengths, self.backend, validate_args
        )
        return new

    def restrict(self: Self, allowed: Tensor) -> Self:
        """Return the same scores with labels forbidden where ``allowed`` (B, T, C) is False.

        Knowledge of the labels becomes a restriction, and its probability is a difference of log partitions.

        Raises:
            TypeError, ValueError: ``allowed`` is not boolean, or has another shape than the emissions.
        """
        _check_allowed(allowed, tuple(self.emissions.shape))
        return self.replace(emissions=self.emissions.masked_fill(~allowed, -torch.inf))

    def uniform(self: Self) -> Self:
        """Return the uniform distribution over the labellings that this one allows: every finite score becomes 0."""
        flat: dict[str, Any] = {
            name: torch.where(values == -torch.inf, values.detach(), 0.0)
            for name, values in self.potentials._asdict().items()
        }
        return self.replace(**flat)

    def scaled(self: Self, factor: float | Tensor = 1.0, *, emissions: float | Tensor = 1.0) -> Self:
        """Return the same structure with all scores times ``factor``, and the emissions times ``emissions`` besides.

        ``scaled(1 / temperature)`` is less certain if the temperature is above 1. Probabilities change, the best
        labelling does not. ``scaled(emissions=factor)`` changes how much the signal counts against transitions and
        durations. A decoder needs such a factor of its own: neighbouring frames err together, so a likelihood learns to
        trust each frame little, and its mode omits short bands, though the sum over all their places is likely. Speech
        recognition chooses its acoustic scale on validation recordings for the same reason.

        Args:
            factor: above 0; 1 / :func:`segcrf.training.fit_temperature` calibrates.
            emissions: above 0.

        Raises:
            ValueError: a factor is not above 0.

        Example:
            >>> from segcrf import LinearChain
            >>> chain = LinearChain(torch.tensor([[[0.0, 1.0], [0.6, 0.0], [0.0, 1.0]]]), 0.5 * torch.eye(2))
            >>> chain.mode, chain.scaled(emissions=2.0).mode
            (tensor([[1, 1, 1]]), tensor([[1, 0, 1]]))
        """
        _check_factor(factor, "factor")
        _check_factor(emissions, "emissions")
        others = self.potentials if _is_one(factor) else self.potentials._make(p * factor for p in self.potentials)
        scores = others.emissions if _is_one(emissions) else others.emissions * emissions
        return self.replace(**(others._asdict() | {"emissions": scores}))

    def double(self: Self) -> Self:
        """Return the same structure in float64."""
        return self if self.dtype == torch.float64 else self.to(torch.float64)

    def to(self: Self, target: torch.dtype | torch.device | str) -> Self:
        """Return the same structure with its potentials in another type or on another device.

        Args:
            target: a floating-point ``torch.dtype``, a ``torch.device`` or its name. The backend is chosen anew if
                the device changes.

        Example:
            >>> from segcrf import LinearChain
            >>> LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2)).to(torch.float64).dtype
            torch.float64
        """
        moved = {name: values.to(target) for name, values in self.potentials._asdict().items()}
        return self.replace(lengths=self.lengths.to(moved["emissions"].device), **moved)

    def __getitem__(self: Self, index: int | slice | Tensor) -> Self:
        """Return the distribution of some recordings.

        Args:
            index: of one recording, which comes without its padding; a slice, or a tensor of indices.

        Example:
            >>> from segcrf import LinearChain
            >>> pair = LinearChain(torch.zeros(2, 5, 3), torch.zeros(3, 3), lengths=torch.tensor([5, 2]))
            >>> pair[1]
            LinearChain(B=1, T=2, C=3, backend='numba', device='cpu')
        """
        if isinstance(index, int):
            if not -len(self.lengths) <= index < len(self.lengths):
                raise IndexError(f"recording {index} of a batch of {len(self.lengths)}")
            index = slice(index % len(self.lengths), index % len(self.lengths) + 1)
            frames = int(self.lengths[index])
        else:
            frames = self._event_shape[0]
        batched = list(self.potentials._asdict().items())[: self.operator.batched]
        cut: dict[str, Any] = {name: values[index, : frames - (name == "transitions")] for name, values in batched}
        return self.replace(lengths=self.lengths[index], **cut)

    def __repr__(self) -> str:
        recordings, frames, classes = self.emissions.shape
        sizes = {"B": recordings, "T": frames, "C": classes} | self._sizes
        shown = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
        return f"{type(self).__name__}({shown}, backend={self.backend!r}, device={str(self.emissions.device)!r})"


register_kl(Structure, Structure)(divergence)


def _sum_in_order(steps: Tensor) -> Tensor:
    """Return the sum over steps, one after another, so that zeros of padding do not change how they are grouped."""
    return steps.cumsum(1)[:, -1] if steps.shape[1] else steps.sum(1)


def _check_allowed(values: Tensor, event: tuple[int, ...]) -> None:
    """Raise unless a restriction of labels per frame is boolean of shape (B, T, C)."""
    if not torch.is_tensor(values) or values.dtype != torch.bool:  # pyright: ignore[reportUnnecessaryComparison]
        got = str(values.dtype) if torch.is_tensor(values) else type(values).__name__  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("allowed", got, "a boolean tensor (True = this class may stand here)")
    if tuple(values.shape) != event:
        raise InputError("allowed", f"shape {tuple(values.shape)}", f"shape (B, T, C) = {event}")


def _check_factor(factor: Any, name: str) -> None:
    """Raise unless a factor of scores is a number, or a tensor of numbers, above 0."""
    if not torch.is_tensor(factor):
        check_positive(factor, name)
    elif not torch.compiler.is_compiling() and not bool(((factor > 0) & (factor < torch.inf)).all()):
        raise InputError(name, str(factor.tolist()), "finite numbers above 0")


def _is_one(factor: float | Tensor) -> bool:
    return not torch.is_tensor(factor) and factor == 1.0
