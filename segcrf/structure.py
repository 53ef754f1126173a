"""Structure: a distribution over the label sequences of a batch of recordings, and every query of it, written once.

A structure supplies its potentials, one scan of them over a semiring, and the score of a given labelling. Each query is
that scan with another semiring, or a gradient of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from segcrf import _check
from segcrf._check import UNLABELLED
from segcrf.kernels import BACKENDS, Operator, agreeing, pick
from segcrf.semiring import KBest, Log, Max, Sample, Semiring

Self = TypeVar("Self", bound="Structure")
Result = TypeVar("Result")


def _remembered(query: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Compute once per structure, and apart with gradients and without: what was cached under ``no_grad`` has no graph.

    (PyTorch's own ``lazy_property`` always builds the graph, also under ``no_grad``.)
    """

    @functools.wraps(query)
    def remembered(self: Structure) -> Result:
        key = query.__name__, self._differentiable  # pyright: ignore[reportPrivateUsage]
        if key not in self._memory:  # pyright: ignore[reportPrivateUsage]
            self._memory[key] = query(self)  # pyright: ignore[reportPrivateUsage]
        return self._memory[key]  # pyright: ignore[reportPrivateUsage]

    return remembered


class Marginals(NamedTuple):
    """Posterior probabilities and expected counts of a structure.

    ``labels`` (B, T, C): probability that frame t has class c; zero beyond a recording's length.
    ``transitions`` (B, C, C): expected number of steps from one class to another.
    ``starts`` (B, T, C): probability that a band of class c begins at frame t; its sum is the expected number of bands.
    """

    labels: Tensor
    transitions: Tensor
    starts: Tensor


class Best(NamedTuple):
    """The best labelling: ``score`` (B,), ``labels`` (B, T) int64 and ``starts`` (B, T) bool, True where a band
    begins."""

    score: Tensor
    labels: Tensor
    starts: Tensor


class Structure(Distribution):
    """A distribution over label sequences (B, T): what all structures share.

    A subclass names its ``fields`` (emissions first), gives them as keyword arguments, and implements :meth:`_scan`,
    :meth:`_score` and :meth:`_forbidden`. It registers its kernels with one :class:`~segcrf.kernels.Operator`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleMethodOverride]
    fields: ClassVar[tuple[str, ...]]

    def __init__(
        self, potentials: tuple[Tensor, ...], lengths: Tensor, backend: str, validate_args: bool | None
    ) -> None:
        _check.choice(backend, "backend", BACKENDS)
        self._memory: dict[tuple[str, bool], Any] = {}
        self.potentials = potentials
        self.lengths = lengths
        self.backend = pick(backend, self.emissions.device)
        num_recordings, num_frames, self.num_classes = self.emissions.shape
        # Not PyTorch's default: torch.compile turns that off for the whole process, and with it every later message.
        validated = __debug__ if validate_args is None else validate_args
        super().__init__(torch.Size([num_recordings]), torch.Size([num_frames]), validated)
        _check.transformed(potentials, self.backend, self._validate_args)
        if self._validate_args:
            shared = dict(zip(self.fields[1:], potentials[1:], strict=True))
            _check.potentials(self.emissions, shared, lengths)

    # ------------------------------------------------------------------------------ what a structure supplies
    @property
    def operator(self) -> Operator:
        """The kernels of this structure."""
        raise NotImplementedError

    @staticmethod
    def _scan(semiring: Semiring, potentials: tuple[Tensor, ...], lengths: Tensor, starts: Tensor | None) -> Tensor:
        """Total score (..., B) over all labellings; ``starts`` (B, T, C) is added where a band begins."""
        raise NotImplementedError

    def _score(self, labels: Tensor) -> Tensor:
        """Score (..., B), float64, of complete labels (..., B, T), -100 beyond lengths."""
        raise NotImplementedError

    def _forbidden(self, labels: Tensor) -> str:
        """Say where complete labels (B, T) meet a score of -inf."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ queries
    @property
    def emissions(self) -> Tensor:
        """Class scores (B, T, C)."""
        return self.potentials[0]

    @property
    def dtype(self) -> torch.dtype:
        """The type of results: that of the potentials, float32 at least."""
        dtype = torch.float32
        for potential in self.potentials:
            dtype = torch.promote_types(dtype, potential.dtype)
        return dtype

    @property
    @_remembered
    def log_partition(self) -> Tensor:
        """Log of the sum of exp(score) over all labellings, (B,)."""
        return self._log_z.to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability (..., B) of labels (..., B, T).

        A label of -100 is unknown: the probability is summed over the classes that may stand there. Frames beyond
        a recording's length are not read. With ``validate_args`` a forbidden labelling is a ``ValueError`` that names
        the
        frame; without, its log-probability is ``-inf``.
        """
        if self._validate_args:
            event = (self._batch_shape[0], self._event_shape[0])
            value = _check.labels(value, event, self.num_classes, self.lengths)
        if self.backend == "torch" or value.dim() > 2:
            score, log_z = self._reference_score(value), self._log_z
            total = torch.where(log_z == -torch.inf, log_z, score - log_z)
        else:
            total, log_z, *_ = self.operator.log_prob(*self._kernel_inputs, value, self.lengths, self._differentiable)
        self._refuse_infeasible(log_z)
        if self._validate_args and not torch.compiler.is_compiling() and (total == -torch.inf).any():
            raise ValueError(self._forbidden(value.reshape(-1, value.shape[-1])))
        return total.to(self.dtype)

    @property
    @_remembered
    def marginals(self) -> Marginals:
        """Posterior probabilities of labels, transitions and band starts: see :class:`Marginals`.

        Differentiable: a second derivative goes through the reference scan, a Python loop over frames.
        """
        _, counts, starts = self._expectations
        steps = counts[self.fields.index("transitions")]
        return Marginals(counts[0], steps.sum(1) if steps.dim() > 3 else steps, starts)

    @property
    @_remembered
    def mode(self) -> Tensor:
        """The most probable labels (B, T), -100 beyond a recording's length."""
        return self._best.labels

    def argmax(self) -> Best:
        """The most probable labelling with its score (not normalised), differentiable in the potentials."""
        best = self._best
        if self._differentiable:
            return best._replace(score=self._score_of(best.labels, best.starts).to(self.dtype))
        return best._replace(score=best.score.to(self.dtype))

    def topk(self, k: int) -> Best:
        """The ``k`` best labellings, best first: score (k, B), labels (k, B, T), starts (k, B, T).

        Where there are fewer than k, the rest has score ``-inf`` and labels -100.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        with torch.enable_grad():
            leaves, starts = self._leaves(1)
            scores = self._scan(KBest(k), leaves, self.lengths, starts)
            rows = [
                self._path(torch.autograd.grad(row.sum(), [leaves[0], starts], retain_graph=True)) for row in scores
            ]
        labels = torch.stack([row[0] for row in rows])
        band_starts = torch.stack([row[1] for row in rows])
        absent = (scores == -torch.inf)[..., None]
        return Best(
            scores.detach().to(self.dtype),
            labels.masked_fill(absent, UNLABELLED),
            band_starts.masked_fill(absent, False),
        )

    def entropy(self) -> Tensor:
        """Entropy (B,) in nats of the distribution over label sequences."""
        _, counts, _ = self._expectations
        # Scores relative to the best class of each frame: large totals would cancel, and digits with them.
        top = self.emissions.double().amax(-1, keepdim=True)
        top = torch.where(top.isfinite() & self._valid[..., None], top, 0.0)
        expected = self._log_z - top.sum((1, 2))
        for i, (potential, count) in enumerate(zip(self.potentials, counts, strict=True)):
            relative = potential.double() - top if i == 0 else potential.double()
            weighted = count.double() * relative.masked_fill(count == 0, 0.0)
            expected = expected - weighted.flatten(1).sum(1)
        return expected.to(self.dtype)

    @torch.no_grad()
    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw exact, independent label sequences (*sample_shape, B, T), -100 beyond lengths.

        Forward filtering, backward sampling (Carter and Kohn, 1994), as a gradient of the scan.
        """
        count = torch.Size(sample_shape).numel()
        if count == 0:
            return self.lengths.new_empty((*sample_shape, *self._batch_shape, *self._event_shape))
        self._refuse_infeasible(self._log_z)
        with torch.enable_grad():
            leaves, starts = self._leaves(count)
            total = self._scan(Sample(generator), leaves, self.lengths.repeat(count), starts)
            grads = torch.autograd.grad(total.sum(), [leaves[0], starts])
        labels = grads[0].argmax(-1).view(count, *self._batch_shape, -1).masked_fill(~self._valid, UNLABELLED)
        return labels.view(*sample_shape, *self._batch_shape, -1)

    def restrict(self: Self, allowed: Tensor) -> Self:
        """The same scores with labels forbidden: ``allowed`` (B, T, C) bool, True where a class may stand.

        What is known of the labels becomes a restriction, and its probability a difference of log partitions.
        """
        if self._validate_args:
            _check.allowed(allowed, tuple(self.emissions.shape))
        return self._replace(self.emissions.masked_fill(~allowed, -torch.inf))

    # ----------------------------------------------------------------------------------------------- the parts
    @property
    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.potentials)

    @property
    @_remembered
    def _valid(self) -> Tensor:
        frames = torch.arange(self._event_shape[0], device=self.lengths.device)
        return frames < self.lengths[:, None]

    @property
    @_remembered
    def _log_z(self) -> Tensor:
        if self.backend == "torch":
            total = self._scan(Log(), self._batched(), self.lengths, None)
        elif self._differentiable:
            total = self.operator.sum_product(*self._kernel_inputs, self.lengths, False)[0]
        else:
            total = self.operator.log_partition(*self._kernel_inputs, self.lengths)
        self._refuse_infeasible(total)
        return total

    @property
    @_remembered
    def _expectations(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Log partition, expected count of every potential per recording, and starts."""
        if self.backend == "torch":
            log_z, counts, starts = self._expectations_by_gradient()
        else:
            log_z, *counts, starts = self.operator.sum_product(*self._kernel_inputs, self.lengths, True)
        self._refuse_infeasible(log_z)
        return log_z, tuple(counts), starts

    def _expectations_by_gradient(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        differentiable = self._differentiable
        with torch.enable_grad():
            leaves = self._batched() if differentiable else self._leaves(1)[0]
            leaves = tuple(leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves)
            starts = torch.zeros_like(leaves[0], requires_grad=True)
            log_z = self._scan(Log(), leaves, self.lengths, starts)
            *counts, start_counts = torch.autograd.grad(
                log_z.sum(), [*leaves, starts], create_graph=differentiable, materialize_grads=True
            )
        return log_z, tuple(count.to(self.dtype) for count in counts), start_counts.to(self.dtype)

    @property
    @_remembered
    def _best(self) -> Best:
        if self.backend == "torch":
            with torch.enable_grad():
                leaves, starts = self._leaves(1)
                score = self._scan(Max(), leaves, self.lengths, starts)
                best = Best(score.detach(), *self._path(torch.autograd.grad(score.sum(), [leaves[0], starts])))
        else:
            with torch.no_grad():
                best = Best(*self.operator.max_product(*self._kernel_inputs, self.lengths))
        self._refuse_infeasible(best.score)
        return best

    def _path(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Labels and starts of the one labelling whose indicator is the gradient of its score."""
        labels = grads[0].argmax(-1).masked_fill(~self._valid, UNLABELLED)
        return labels, grads[1].sum(-1) > 0.5

    @property
    def _kernel_inputs(self) -> tuple[Tensor, ...]:
        """The potentials; kernels answer in the type of the emissions, which may not be the widest."""
        emissions, *shared = self.potentials
        if torch.promote_types(emissions.dtype, torch.float32) != self.dtype:
            emissions = emissions.to(self.dtype)
        return (emissions, *shared)

    def _batched(self) -> tuple[Tensor, ...]:
        """The potentials with a batch axis each, in float64, padding zeroed so that it cannot leak."""
        potentials = [p.double() for p in self.potentials]
        batched, shared = potentials[: self.operator.batched], potentials[self.operator.batched :]
        cleared = without_padding(batched, self.lengths)
        return (*cleared, *(p.expand(len(self.lengths), *p.shape) for p in shared))

    def _leaves(self, copies: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Potentials repeated ``copies`` times, detached, and zero scores for band starts: leaves to differentiate
        by."""
        leaves = tuple(p.detach().repeat(copies, *[1] * (p.dim() - 1)).requires_grad_() for p in self._batched())
        return leaves, torch.zeros_like(leaves[0], requires_grad=True)

    def _reference_score(self, labels: Tensor) -> Tensor:
        """Log-sum (..., B), float64, over the labellings that agree with ``labels`` where these are known."""
        labels = labels.long().masked_fill(~self._valid, UNLABELLED)
        if not (self._valid & (labels == UNLABELLED)).any():
            return self._score(labels)
        rows = agreeing(labels, self.num_classes, self.lengths).view(-1, *self.emissions.shape)
        restricted = (self._replace(self.emissions.masked_fill(~row, -torch.inf), validate=False) for row in rows)
        return torch.stack([r._log_z for r in restricted]).view(labels.shape[:-1])

    def _score_of(self, labels: Tensor, starts: Tensor) -> Tensor:
        """Score of one segmentation; a structure whose bands may touch looks at ``starts`` too."""
        return self._score(labels)

    def _replace(self: Self, emissions: Tensor, validate: bool | None = None) -> Self:
        """The same structure over other emissions."""
        new = self.__class__.__new__(self.__class__)
        Structure.__init__(
            new,
            (emissions, *self.potentials[1:]),
            self.lengths,
            self.backend,
            self._validate_args if validate is None else validate,
        )
        return new

    def _refuse_infeasible(self, total: Tensor) -> None:
        if self._validate_args:
            _check.feasible(total, self.lengths, self._infeasible_reason())

    def _infeasible_reason(self) -> str:
        return "allow more labels, or relax the forbidden (-inf) transitions"


def without_padding(potentials: Sequence[Tensor], lengths: Tensor) -> list[Tensor]:
    """Potentials (B, T, C), or (B, T - 1, C, C) where they score steps, with zeros where a recording has no frame.

    What stands there may be anything, and a sum with infinity or NaN times zero would let it in.
    """
    cleared: list[Tensor] = []
    for i, values in enumerate(potentials):
        # Step t leads to frame t + 1.
        inside = torch.arange(values.shape[1], device=lengths.device) + (i > 0) < lengths[:, None]
        cleared.append(torch.where(inside.view(*inside.shape, *[1] * (values.dim() - 2)), values, 0.0))
    return cleared
