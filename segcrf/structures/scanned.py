"""ScannedDistribution: how the scan of a structure runs, in kernels or in the PyTorch reference, and what is cached."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, check_choice
from segcrf.kernels import BACKENDS, Operator, agreeing, check_potentials, pick
from segcrf.structures.checks import check_feasible, check_lengths, check_transformed, check_values
from segcrf.structures.distribution import Best, LabelDistribution
from segcrf.structures.reductions import without_padding
from segcrf.structures.semirings import Log, Max, Semiring

__all__ = ["ScannedDistribution", "remembered"]

Self = TypeVar("Self", bound="ScannedDistribution")
Result = TypeVar("Result")


def remembered(query: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Cache a query per structure, separately with and without grad mode: a result of ``no_grad`` has no graph.

    (PyTorch's own ``lazy_property`` always builds the graph, also under ``no_grad``.)
    """

    @functools.wraps(query)
    def cached(self: ScannedDistribution) -> Result:
        key = query.__name__, self._differentiable  # pyright: ignore[reportPrivateUsage]
        if key not in self._memory:  # pyright: ignore[reportPrivateUsage]
            self._memory[key] = query(self)  # pyright: ignore[reportPrivateUsage]
        return self._memory[key]  # pyright: ignore[reportPrivateUsage]

    return cached


class ScannedDistribution(LabelDistribution):
    """A distribution over label sequences with queries that are scans of its potentials.

    Attributes:
        potentials: a NamedTuple of scores, ``emissions`` (B, T, C) first.
        lengths: (B,) int64, valid frames of each recording.
        backend: ``"torch"``, ``"numba"`` or ``"triton"``, which runs the scans.
    """

    potentials: Any

    def __init__(self, potentials: Any, lengths: Tensor | None, backend: str, validate_args: bool | None) -> None:
        check_choice(backend, "backend", BACKENDS)
        self._memory: dict[tuple[str, bool], Any] = {}
        self.potentials = potentials
        check_potentials(self.operator.axes, potentials)
        num_recordings, num_frames, self.num_classes = self.emissions.shape
        self.lengths = check_lengths(lengths, num_recordings, num_frames, self.emissions.device)
        self.backend = pick(backend, self.emissions.device, self.operator.kernels)
        # Not PyTorch's default: torch.compile disables it for the whole process, and all later error messages with it.
        validated = __debug__ if validate_args is None else validate_args
        super().__init__(torch.Size([num_recordings]), torch.Size([num_frames]), validated)
        check_transformed(potentials, self.backend, bool(self._validate_args))
        if self._validate_args:
            for name, values in potentials._asdict().items():
                frames = {"BTC": self.lengths, "BSCC": self.lengths - 1}.get(self.operator.axes[name])
                check_values(values, name, frames)

    # ------------------------------------------------------------------------------ supplied by a structure
    @property
    def operator(self) -> Operator:
        """The kernels of this structure."""
        raise NotImplementedError

    @staticmethod
    def _scan(semiring: Semiring, potentials: Any, lengths: Tensor, starts: Tensor | None) -> Tensor:
        """Return the total score (..., B) over all labellings; ``starts`` (B, T, C) is added where a band begins."""
        raise NotImplementedError

    def _score(self, labels: Tensor) -> Tensor:
        """Return the score (..., B), float64, of complete labels (..., B, T), -100 beyond lengths."""
        raise NotImplementedError

    def _forbidden(self, labels: Tensor) -> InputError:
        """Return the error that names the place where complete labels (N, T) have a score of -inf."""
        raise NotImplementedError

    def _running(self) -> Iterator[Tensor]:
        """Yield for each frame, by its class, the log-sum (B, C) over the labels of the frames up to it."""
        raise NotImplementedError

    def _band_log_prob(self, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
        """Return the log-probability (N,), float64, that [start, end) of a recording is a band of this class."""
        raise NotImplementedError

    @property
    def _settings(self) -> dict[str, Any]:
        """Attributes beside the potentials that :meth:`Structure.replace` passes on."""
        return {}

    def _merged(self, changes: dict[str, Tensor]) -> Any:
        """Return the potentials with some replaced, and with those recomputed that depend on others."""
        return self.potentials._replace(**changes)

    @property
    def _sizes(self) -> dict[str, int]:
        """Sizes beside B, T and C that the representation shows."""
        return {}

    # ------------------------------------------------------------------------------------------------ the scans
    @property
    def emissions(self) -> Tensor:
        """Class scores (B, T, C)."""
        return self.potentials.emissions

    @property
    def dtype(self) -> torch.dtype:
        """The type of results: that of the potentials, float32 at least."""
        dtype = torch.float32
        for potential in self.potentials:
            dtype = torch.promote_types(dtype, potential.dtype)
        return dtype

    @property
    @remembered
    def log_z(self) -> Tensor:
        """Log partition (B,) in float64, so that differences of two of them keep their digits."""
        if self.backend == "torch":
            total = self._scan(Log(), self._batched(), self.lengths, None)
            total = self._within_lengths(total)
        elif self._differentiable:
            total = self.operator.sum_product(*self._kernel_inputs, self.lengths, False)[0]
        else:
            total = self.operator.log_partition(*self._kernel_inputs, self.lengths)
        self._check_feasible(total)
        return total

    @property
    @remembered
    def expectations(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Log partition (B,), the expected count of every potential per recording, and of starts (B, T, C)."""
        if self.backend == "torch":
            log_z, counts, starts = self._expectations_by_gradient()
        else:
            log_z, *counts, starts = self.operator.sum_product(*self._kernel_inputs, self.lengths, True)
        self._check_feasible(log_z)
        return log_z, tuple(counts), starts

    def _expectations_by_gradient(self) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        differentiable = self._differentiable
        with torch.enable_grad():
            leaves = self._batched() if differentiable else self._leaves(1)[0]
            leaves = self.potentials._make(
                leaf if leaf.requires_grad else leaf.detach().requires_grad_() for leaf in leaves
            )
            starts = torch.zeros_like(leaves.emissions, requires_grad=True)
            log_z = self._scan(Log(), leaves, self.lengths, starts)
            *counts, start_counts = torch.autograd.grad(
                log_z.sum(), [*leaves, starts], create_graph=differentiable, materialize_grads=True
            )
        log_z = self._within_lengths(log_z)
        return log_z, tuple(count.to(self.dtype) for count in counts), start_counts.to(self.dtype)

    @property
    @remembered
    def found_best(self) -> Best:
        """The best labelling, its score in float64 and without a gradient."""
        if self.backend == "torch":
            with torch.enable_grad():
                leaves, starts = self._leaves(1)
                score = self._scan(Max(), leaves, self.lengths, starts)
                grads = torch.autograd.grad(score.sum(), [leaves.emissions, starts])
                score = self._within_lengths(score.detach())
                best = Best(score, *self._path(grads, score))
        else:
            with torch.no_grad():
                best = Best(*self.operator.max_product(*self._kernel_inputs, self.lengths))
        self._check_feasible(best.score)
        return best

    def _within_lengths(self, totals: Tensor) -> Tensor:
        """Return totals (B,), -inf for a length outside 1..T, which compiled code has not checked."""
        if not torch.compiler.is_compiling():
            return totals
        wrong = (self.lengths < 1) | (self.lengths > self._event_shape[0])
        return totals.masked_fill(wrong, -torch.inf)

    def _path(self, grads: tuple[Tensor, ...], score: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and starts of the labelling that the gradient of its score marks; none for a score of -inf."""
        absent = (score == -torch.inf)[..., None]
        labels = grads[0].argmax(-1).masked_fill(~self.frame_mask | absent, UNLABELLED)
        return labels, (grads[1].sum(-1) > 0.5) & ~absent

    # ------------------------------------------------------------------------------------------------ the inputs
    @property
    def _differentiable(self) -> bool:
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.potentials)

    @property
    def _kernel_inputs(self) -> tuple[Tensor, ...]:
        """The potentials; kernels answer in the type of the emissions, which may not be the widest."""
        emissions = self.emissions
        if torch.promote_types(emissions.dtype, torch.float32) != self.dtype:
            return self.potentials._replace(emissions=emissions.to(self.dtype))
        return self.potentials

    def _batched(self) -> Any:
        """Return the potentials with a batch axis each, in float64, with zeros in the padding."""
        potentials = [p.double() for p in self.potentials]
        batched, shared = potentials[: self.operator.batched], potentials[self.operator.batched :]
        cleared = without_padding(batched, self.lengths)
        return self.potentials._make([*cleared, *(p.expand(len(self.lengths), *p.shape) for p in shared)])

    def _leaves(self, copies: int) -> tuple[Any, Tensor]:
        """Return detached potentials repeated ``copies`` times, and zero scores of band starts, to differentiate by."""
        leaves = (p.detach().repeat(copies, *[1] * (p.dim() - 1)).requires_grad_() for p in self._batched())
        named = self.potentials._make(leaves)
        return named, torch.zeros_like(named.emissions, requires_grad=True)

    def _reference_score(self, labels: Tensor) -> Tensor:
        """Return the log-sum (..., B), float64, over the labellings that agree with ``labels`` where they are known."""
        labels = labels.long().masked_fill(~self.frame_mask, UNLABELLED)
        if not (self.frame_mask & (labels == UNLABELLED)).any():
            return self._score(labels)
        return self._agreeing_log_z(labels)

    def _agreeing_log_z(self, labels: Tensor) -> Tensor:
        """Return log partitions (..., B), float64, of the restrictions to labels (..., B, T)."""
        this = cast(Any, self)
        rows = agreeing(labels, self.num_classes, self.lengths).view(-1, *self.emissions.shape)
        restricted = (
            this.replace(emissions=self.emissions.masked_fill(~row, -torch.inf), validate_args=False) for row in rows
        )
        return torch.stack([each.log_z for each in restricted]).view(labels.shape[:-1])

    def _score_of(self, labels: Tensor, starts: Tensor) -> Tensor:
        """Return the score of one segmentation; a structure with bands that may touch reads ``starts`` too."""
        return self._score(labels)

    def _check_feasible(self, total: Tensor) -> None:
        if self._validate_args:
            check_feasible(total, self.lengths, self._infeasible_reason)

    def _infeasible_reason(self) -> str:
        return "allow more labels, or relax the forbidden (-inf) transitions"
