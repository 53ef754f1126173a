"""Structure: a distribution over the label sequences of a batch of recordings, and every query of it, written once.

A structure supplies its potentials, one scan of them over a semiring, and the score of a given labelling. Each query is
that scan with another semiring, or a gradient of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.kernels import BACKENDS, Operator, agreeing, pick
from segcrf.segments import Segments, check_segments_fit
from segcrf.structures.checks import check_feasible, check_labels, check_scores_shape
from segcrf.structures.semirings import KBest, Log, Max, Sample, Semiring, logsumexp

Array = npt.NDArray[Any]

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
        _validation.choice(backend, "backend", BACKENDS)
        self._memory: dict[tuple[str, bool], Any] = {}
        self.potentials = potentials
        self.lengths = lengths
        self.backend = pick(backend, self.emissions.device, self.operator.kernels)
        num_recordings, num_frames, self.num_classes = self.emissions.shape
        # Not PyTorch's default: torch.compile turns that off for the whole process, and with it every later message.
        validated = __debug__ if validate_args is None else validate_args
        super().__init__(torch.Size([num_recordings]), torch.Size([num_frames]), validated)
        _check_transformed(potentials, self.backend, self._validate_args)
        if self._validate_args:
            shared = dict(zip(self.fields[1:], potentials[1:], strict=True))
            _check_potentials(self.emissions, shared, lengths)

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

    def _running(self) -> Iterator[Tensor]:
        """For each frame, the log-sum (B, C) over what may have happened up to it, by the class it is in."""
        raise NotImplementedError

    def _band_log_prob(self, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
        """Log-probability (N,), float64, that [start, end) of a recording is a band of this class."""
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
            value = check_labels(value, event, self.num_classes, self.lengths)
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
            score = self._score_of(best.labels, best.starts)
            return best._replace(score=torch.where(best.score == -torch.inf, -torch.inf, score).to(self.dtype))
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
            self._refuse_infeasible(scores[0])
            each = torch.eye(k, dtype=scores.dtype, device=scores.device)[..., None].expand(k, *scores.shape)
            grads = torch.autograd.grad(scores, [leaves[0], starts], each, is_grads_batched=True)
        return Best(scores.detach().to(self.dtype), *self._path(grads, scores))

    def entropy(self) -> Tensor:
        """Entropy (B,) in nats of the distribution over label sequences."""
        return self.cross_entropy(self)

    def cross_entropy(self: Self, other: Self) -> Tensor:
        """Expected negative log-likelihood (B,), in nats, that ``other`` gives to what this distribution draws.

        ``log Z_other - <expected counts, potentials of other>``; infinite where this distribution gives mass to what
        ``other`` forbids. With ``self`` a teacher and ``other`` a student, it is the loss of distillation; with
        ``self`` frame-wise soft labels (``LinearChain(probabilities.log(), zeros)``), the expected log-loss under them.
        Less the entropy it is the divergence, ``torch.distributions.kl_divergence(p, q)``.

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
        _check_same_kind_of_structure(self, other)
        _, counts, _ = self._expectations
        log_z, potentials = other._relative
        return (log_z - _expected(counts, potentials)).to(self.dtype)

    @property
    def expected_bands(self) -> Tensor:
        """Expected number (B,) of bands: maximal runs of one class, or the segments of a semi-Markov chain.

        Example:
            >>> from segcrf import LinearChain
            >>> LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2)).expected_bands     # 1, and two fair coins
            tensor([2.])
        """
        return self.marginals.starts.sum((1, 2))

    @property
    def expected_frames(self) -> Tensor:
        """Expected number (B, C) of frames of each class; its sum is the length of the recording."""
        return self.marginals.labels.sum(1)

    @property
    def posterior_mode(self) -> Tensor:
        """The most probable class of each frame by itself, (B, T), -100 beyond a recording's length.

        Posterior decoding, which is minimum-risk decoding for the Hamming loss: no labelling has fewer expected wrong
        frames. As a whole it may be improbable, or even forbidden, and it flickers more than :attr:`mode`.
        """
        return self.marginals.labels.argmax(-1).masked_fill(~self._valid, UNLABELLED)

    def minimum_risk(self, cost: Tensor) -> Tensor:
        """The labels (B, T) of the smallest expected cost, where the cost of a labelling is summed over its frames.

        Args:
            cost: of saying class (column) where class (row) is true, (C, C). ``1 - eye(C)`` gives
                :attr:`posterior_mode`.

        Source: Goodman, "Parsing algorithms and metrics", 1996.

        Example:
            >>> from segcrf import LinearChain
            >>> chain = LinearChain(torch.log(torch.tensor([[[0.7, 0.3]]])), torch.zeros(2, 2))
            >>> chain.minimum_risk(torch.tensor([[0.0, 1.0], [5.0, 0.0]]))      # missing a 1 costs five false alarms
            tensor([[1]])
        """
        cost = check_scores_shape(cost, "cost", (self.num_classes, self.num_classes), "(C, C)")
        risk = self.marginals.labels @ cost.to(self.marginals.labels)
        return risk.argmin(-1).masked_fill(~self._valid, UNLABELLED)

    @property
    def log_count(self) -> Tensor:
        """Log of the number of labellings that are allowed, (B,) float64: every finite score counts as 0.

        For a semi-Markov chain, of the segmentations.

        Example:
            >>> from segcrf import LinearChain
            >>> no_way_back = torch.tensor([[0.0, 0.0], [-torch.inf, 0.0]])
            >>> LinearChain(torch.zeros(1, 5, 2), no_way_back).log_count.exp()      # 0..01..1, switching at 0 to 5
            tensor([6.], dtype=torch.float64)
        """
        return self.uniform()._log_z

    def uniform(self: Self) -> Self:
        """The uniform distribution over the labellings that this one allows: every finite score becomes 0."""
        flat = (torch.where(p == -torch.inf, p.detach(), 0.0) for p in self.potentials)
        return self.having(*flat)

    @property
    @_remembered
    def filtered(self) -> Tensor:
        """Probability (B, T, C) of the class of each frame given the emissions up to it, zero beyond lengths.

        It is the marginal of the last frame of the recording cut after that frame, as if cut out of a longer one:
        without ``end`` scores, and with the running band of a semi-Markov chain scored by its survival. What a
        live system may know: later frames, and scores that depend on them, have no say.

        Source: Rabiner 1989, section III.A: the forward variable, normalised.
        """
        self._refuse_infeasible(self._log_z)
        messages = torch.stack(list(self._running()), 1)
        probability = (messages - logsumexp(messages, -1)[..., None]).exp()
        return torch.where(self._valid[..., None], probability, 0.0).to(self.dtype)

    def band_probability(self, bands: Segments) -> Tensor:
        """Posterior probability (N,) that each band, as a whole, is a band: this class on these frames, and no longer.

        A strict measure: where a boundary is uncertain by a few frames, the probability is shared among all its
        places. :meth:`mean_marginal` is the lenient one.

        Args:
            bands: of this batch, as ``Segments.from_labels(labels)`` or ``from_labels(labels, starts)`` cuts them. They
                need not be bands of the mode.

        Raises:
            ValueError: a band lies beyond the recordings, or has no such class.

        Example:
            >>> from segcrf import LinearChain
            >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
            >>> fair.band_probability(Segments.from_labels([[0, 1, 1, 0]]))     # 0 1 . .; 0 1 1 0; . . 1 0
            tensor([0.2500, 0.0625, 0.2500])
        """
        columns = self._columns(bands)
        return self._band_log_prob(*columns).exp().clamp(max=1.0).to(self.dtype)

    def mean_marginal(self, bands: Segments) -> Tensor:
        """Mean (N,), over the frames of each band, of the posterior probability of its class.

        The expected share of the band's frames that are right; it says nothing of where the band begins or ends.

        Args:
            bands: as in :meth:`band_probability`.
        """
        recording, start, end, label = self._columns(bands)
        total = sum_between(self.marginals.labels.double(), recording, start, end, label)
        return (total / (end - start)).to(self.dtype)

    @torch.no_grad()
    def sample(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, sample_shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw exact, independent label sequences ``(*sample_shape, B, T)``, -100 beyond lengths.

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
            _check_allowed(allowed, tuple(self.emissions.shape))
        return self._replace(self.emissions.masked_fill(~allowed, -torch.inf))

    def having(
        self: Self, *potentials: Tensor, lengths: Tensor | None = None, validate_args: bool | None = None
    ) -> Self:
        """The same kind of structure with other potentials, in the order of ``fields``, and perhaps other lengths."""
        new = self.__class__.__new__(self.__class__)
        lengths = self.lengths if lengths is None else lengths
        validate_args = self._validate_args if validate_args is None else validate_args
        Structure.__init__(new, potentials, lengths, self.backend, validate_args)
        return new

    def double(self: Self) -> Self:
        """The same structure in float64."""
        return self if self.dtype == torch.float64 else self.having(*(p.double() for p in self.potentials))

    def log_share(self, whole: Structure) -> Tensor:
        """Log-probability (B,) that ``whole`` gives to the labellings that this restriction of it leaves.

        ``log_partition - whole.log_partition``, but subtracted in float64: of a long recording the difference of the
        two, rounded to float32, would be noise.

        Example:
            >>> from segcrf import LinearChain
            >>> fair = LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2))
            >>> allowed = torch.tensor([[[True, True], [True, False], [True, True]]])
            >>> fair.restrict(allowed).log_share(fair).exp()
            tensor([0.5000])
        """
        return (self._log_z - whole._log_z).to(self.dtype)

    def tempered(self: Self, temperature: float | Tensor) -> Self:
        """The same structure with all scores divided by ``temperature``: above 1 it is less sure, below 1 surer.

        Probabilities change; which labelling is the best does not. :meth:`rescale` weighs the emissions alone.

        Args:
            temperature: above 0; :func:`segcrf.metrics.fit_temperature` fits it.
        """
        return self.having(*(potential / temperature for potential in self.potentials))

    def rescale(self: Self, factor: float) -> Self:
        """The same structure with its emissions times ``factor``, above 0: how much the signal counts.

        The most likely model is not the one whose best labelling is best. Neighbouring frames err together, so a
        likelihood learns to trust each frame little, and its mode leaves short bands out, though the sum over all ways
        to place them is likely. So a decoder wants a temperature of its own for the emissions, chosen on validation
        recordings, as speech recognition chooses its acoustic scale.

        Example:
            >>> from segcrf import LinearChain
            >>> chain = LinearChain(torch.tensor([[[0.0, 1.0], [0.6, 0.0], [0.0, 1.0]]]), 0.5 * torch.eye(2))
            >>> chain.mode, chain.rescale(2.0).mode
            (tensor([[1, 1, 1]]), tensor([[1, 0, 1]]))
        """
        if self._validate_args:
            _validation.positive(factor, "factor")
        return self._replace(self.emissions * factor)

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
    def _relative(self) -> tuple[Tensor, list[Tensor]]:
        """Log partition and potentials, float64, with the best class of each frame at 0.

        Large totals would cancel, and digits with them.
        """
        emissions, *shared = (p.double() for p in self.potentials)
        top = emissions.amax(-1, keepdim=True)
        top = torch.where(top.isfinite() & self._valid[..., None], top, 0.0)
        return self._log_z - top.sum((1, 2)), [emissions - top, *shared]

    @property
    @_remembered
    def _best(self) -> Best:
        if self.backend == "torch":
            with torch.enable_grad():
                leaves, starts = self._leaves(1)
                score = self._scan(Max(), leaves, self.lengths, starts)
                grads = torch.autograd.grad(score.sum(), [leaves[0], starts])
                best = Best(score.detach(), *self._path(grads, score))
        else:
            with torch.no_grad():
                best = Best(*self.operator.max_product(*self._kernel_inputs, self.lengths))
        self._refuse_infeasible(best.score)
        return best

    def _path(self, grads: tuple[Tensor, ...], score: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and starts of the one labelling whose indicator is the gradient of its score; none where that is
        -inf."""
        absent = (score == -torch.inf)[..., None]
        labels = grads[0].argmax(-1).masked_fill(~self._valid | absent, UNLABELLED)
        return labels, (grads[1].sum(-1) > 0.5) & ~absent

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
        return self.having(emissions, *self.potentials[1:], validate_args=validate)

    def _columns(self, bands: Segments) -> tuple[Tensor, ...]:
        columns = (bands.recording, bands.start, bands.end, bands.label)
        _check_bands_fit(columns, self.lengths.cpu().numpy(), self.num_classes)
        return tuple(torch.as_tensor(column, device=self.lengths.device) for column in columns)

    def _refuse_infeasible(self, total: Tensor) -> None:
        if self._validate_args:
            check_feasible(total, self.lengths, self._infeasible_reason)

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


def _expected(counts: Sequence[Tensor], potentials: Sequence[Tensor]) -> Tensor:
    """Sum (B,) over all potentials of count times score; what never happens counts 0, also where its score is -inf."""
    total = counts[0].new_zeros(len(counts[0]), dtype=torch.float64)
    for count, potential in zip(counts, potentials, strict=True):
        weighted = count.double() * potential.masked_fill(count == 0, 0.0)
        total = total + weighted.flatten(1).sum(1)
    return total


def sum_between(values: Tensor, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
    """Sums (N,) of values (B, T, C) over the frames [start, end) of a recording and class; -inf counts as it should."""

    def between(addends: Tensor) -> Tensor:
        before = torch.nn.functional.pad(addends.cumsum(1), (0, 0, 1, 0))
        return before[recording, end, label] - before[recording, start, label]

    blocked = values == -torch.inf
    total = between(values.masked_fill(blocked, 0.0))
    return total.masked_fill(between(blocked.long()) > 0, -torch.inf)


@register_kl(Structure, Structure)
def _kl_divergence(p: Structure, q: Structure) -> Tensor:
    """KL(p || q) (B,): ``torch.distributions.kl_divergence(p, q)``.

    ``log Z_q - log Z_p + <expected counts of p, potentials of p - potentials of q>``, exact; infinite where p gives
    mass to what q forbids. Of segmentations, where bands of one class may touch.
    """
    _check_same_kind_of_structure(p, q)
    _, counts, _ = p._expectations  # pyright: ignore[reportPrivateUsage]
    (log_p, ours), (log_q, theirs) = p._relative, q._relative  # pyright: ignore[reportPrivateUsage]
    # The difference first: two entropies of a long recording are large and nearly the same.
    difference = [
        a.masked_fill(never, 0.0) - b.masked_fill(never, 0.0)
        for never, a, b in zip((count == 0 for count in counts), ours, theirs, strict=True)
    ]
    return (log_q - log_p + _expected(counts, difference)).clamp(min=0.0).to(p.dtype)


def _check_potentials(emissions: Tensor, shared: dict[str, Tensor], lengths: Tensor) -> None:
    """Check the scores of a structure: ``emissions`` (B, T, C), and the others by name. These are shared by all
    recordings, but for scores of every step (B, T - 1, C, C)."""
    _check_scores(emissions, "emissions", lengths)
    for name, values in shared.items():
        if values.device != emissions.device:
            raise ValueError(f"{name} is on {values.device}, emissions on {emissions.device}; move both to one device")
        _check_scores(values, name, lengths - 1 if values.dim() == 4 else None)


def _check_transformed(potentials: tuple[Tensor, ...], backend: str, validated: bool) -> None:
    """Refuse what torch.func transforms (vmap, grad, jacrev) cannot see into, and name the ways that work."""
    inside: Any = cast(Any, torch)._C._functorch
    if backend != "torch" and not torch.compiler.is_compiling() and any(map(_has_tangent, potentials)):
        raise ValueError(
            f"forward-mode derivatives do not pass through backend {backend!r}, they would be lost; use "
            "backend='torch', or reverse mode (backward, torch.autograd.grad)"
        )
    if torch.compiler.is_compiling() or not any(inside.is_functorch_wrapped_tensor(p) for p in potentials):
        return
    mapped = any(inside.is_batchedtensor(p) for p in potentials)
    if backend != "torch" or (mapped and validated):
        raise ValueError(
            f"torch.func transforms do not see into backend {backend!r}{' with validate_args' if validated else ''}; "
            "instead of vmap add a batch axis (emissions (B, T, C) hold many recordings, `marginals` are a gradient "
            "for each), or use backend='torch', validate_args=False"
        )


def _has_tangent(values: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(values).tangent is not None  # pyright: ignore[reportPrivateUsage]


def _check_scores(values: Tensor, name: str, lengths: Tensor | None = None) -> None:
    """Refuse NaN and +inf; -inf is a score: it forbids. With ``lengths``, frames of padding may hold anything."""
    if torch.compiler.is_compiling() or not values.numel() or values.detach().amax().item() < torch.inf:
        return
    bad = values.isnan() | (values == torch.inf)
    if lengths is not None:
        frames = torch.arange(values.shape[1], device=values.device)
        bad &= (frames < lengths[:, None]).view(*values.shape[:2], *[1] * (values.dim() - 2))
    if not bad.any():
        return
    where = bad.nonzero()[0].tolist()
    got = values[tuple(where)].item()
    place = (
        f"emissions of recording {where[0]}, frame {where[1]}, class {where[2]}"
        if name == "emissions"
        else f"{name}{where}"
    )
    raise ValueError(
        f"{place}: got {got}, expected a finite score or -inf (forbidden); "
        "look for NaN in the signal, a diverged network or a division by zero"
    )


def _check_allowed(values: Tensor, event: tuple[int, ...]) -> Tensor:
    """Check a restriction (B, T, C) of labels per frame."""
    if values.dtype != torch.bool:
        raise TypeError(f"allowed must be boolean (True = this class may stand here), got {values.dtype}")
    if tuple(values.shape) != event:
        raise ValueError(f"allowed must have shape (B, T, C) = {event}, got {tuple(values.shape)}")
    return values


def _check_same_kind_of_structure(ours: Any, theirs: Any) -> None:
    """Refuse two distributions that are not over the same label sequences, or whose tables differ in shape."""
    if type(ours) is not type(theirs):
        raise TypeError(
            f"two structures of one kind are compared, got {type(ours).__name__} and {type(theirs).__name__}; "
            "make a LinearChain a SemiMarkov of durations of one frame, or compare their marginals"
        )
    for name, a, b in zip(ours.fields, ours.potentials, theirs.potentials, strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"the two structures must have {name} of one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
                "give both the same recordings, classes and longest duration"
            )
    if not torch.compiler.is_compiling() and not torch.equal(ours.lengths, theirs.lengths):
        recording = int((ours.lengths != theirs.lengths).nonzero()[0, 0])
        raise ValueError(
            f"recording {recording} has {int(ours.lengths[recording])} frames in one structure and "
            f"{int(theirs.lengths[recording])} in the other; give both the same lengths"
        )


def _check_bands_fit(columns: Sequence[Array], lengths: Array, num_classes: int) -> None:
    """Refuse bands of classes that a structure does not have, or beyond its recordings."""
    recording, start, end, label = columns
    check_segments_fit(recording, end, lengths)
    if (label >= num_classes).any():
        row = int((label >= num_classes).argmax())
        raise ValueError(
            f"segment {row} (recording {recording[row]}, frames [{start[row]}, {end[row]})): got class {label[row]}, "
            f"expected 0 to {num_classes - 1}; give bands of the same classes"
        )
