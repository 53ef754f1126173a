"""LinearChain: a distribution over label sequences in which a label depends on the one before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError
from segcrf.kernels import Operator
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_emissions_shape, check_scores_shape
from segcrf.structures.reductions import sum_between, without_padding
from segcrf.structures.semirings import Log, Semiring

__all__ = ["LinearChain", "LinearChainPotentials"]

FORBIDDEN = -1e30


class LinearChainPotentials(NamedTuple):
    """Scores of a linear chain.

    ``emissions`` (B, T, C), ``transitions`` (C, C) or (B, T - 1, C, C), ``start`` (C,) and ``end`` (C,).
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor


class LinearChain(Structure):
    """Linear-chain conditional random field over T frames and C classes, as a distribution.

    The score of labels y is ``start[y_0] + sum_t emissions[t, y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_last]``.
    Their probability is exp(score), normalised over all C^T labellings. Scores are in nats; ``-inf`` forbids.

    Args:
        emissions: class scores (B, T, C).
        transitions: score of stepping from class (row) to class (column), (C, C); or one such table for every step
            of every recording, (B, T - 1, C, C), where entry t scores the step from frame t to t + 1.
        start: score of the first label, (C,); zero if omitted.
        end: score of the last label, (C,); zero if omitted.
        lengths: valid frames of each recording, (B,) integers from 1 to T; all T if omitted.
        backend: ``"auto"`` chooses; ``"torch"`` (any device, differentiable any number of times, slow), ``"numba"``
            (CPU) or ``"triton"`` (GPU) insists.
        validate_args: check values and labels; None: unless Python runs with ``-O``. (The first ``torch.compile``
            of a process disables PyTorch's default for its own distributions, but not this one.)

    Raises:
        ValueError: wrong shape, NaN or +inf, a length outside 1..T, a backend that cannot run, or a recording
            without any allowed labelling. ``TypeError``: wrong kind of tensor.

    Source:
        Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001; scaling: Rabiner 1989, section V.A.

    Example:
        >>> emissions = torch.tensor([[[2.0, 0.0], [0.0, 0.5], [2.0, 0.0]]])
        >>> sticky = torch.tensor([[0.0, -1.0], [-1.0, 0.0]])
        >>> LinearChain(emissions, torch.zeros(2, 2)).mode      # frame by frame: a blip
        tensor([[0, 1, 0]])
        >>> chain = LinearChain(emissions, sticky)              # a switch costs one nat: a solid band
        >>> chain.mode
        tensor([[0, 0, 0]])
        >>> chain.log_prob(chain.mode).exp()
        tensor([0.6581])
    """

    potentials: LinearChainPotentials

    def __init__(
        self,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor | None = None,
        end: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        backend: str = "auto",
        validate_args: bool | None = None,
    ) -> None:
        num_recordings, num_frames, num_classes = check_emissions_shape(emissions)
        _check_transitions_shape(transitions, num_recordings, num_frames, num_classes)
        ends = [
            transitions.new_zeros(num_classes)
            if values is None
            else check_scores_shape(values, name, (num_classes,), "(C,)")
            for name, values in (("start", start), ("end", end))
        ]
        super().__init__(LinearChainPotentials(emissions, transitions, *ends), lengths, backend, validate_args)

    @property
    def transitions(self) -> Tensor:
        """Scores (C, C), or (B, T - 1, C, C), of stepping from one class (row) to another (column)."""
        return self.potentials.transitions

    @property
    def start(self) -> Tensor:
        """Scores (C,) of the first label."""
        return self.potentials.start

    @property
    def end(self) -> Tensor:
        """Scores (C,) of the last label."""
        return self.potentials.end

    @property
    def operator(self) -> Operator:
        return _OPERATORS[self.transitions.dim() == 4]

    @staticmethod
    def _scan(semiring: Semiring, potentials: LinearChainPotentials, lengths: Tensor, starts: Tensor | None) -> Tensor:
        first, *later = LinearChain._messages(semiring, potentials, starts)
        value = first
        for t, message in enumerate(later, 1):
            value = torch.where((t < lengths)[:, None], message, value)
        return semiring.sum(value + potentials.end, -1)

    @staticmethod
    def _messages(semiring: Semiring, potentials: LinearChainPotentials, starts: Tensor | None) -> Iterator[Tensor]:
        """Yield for each frame the total (..., B, C) over all labels before it."""
        emissions, transitions, start, _ = potentials
        other = 1 - torch.eye(emissions.shape[-1], dtype=emissions.dtype, device=emissions.device)
        # Unbound at once: a gradient through emissions[:, t] would write all frames at every frame.
        scores = emissions.unbind(1)
        steps = transitions.unbind(1) if transitions.dim() == 4 else [transitions] * (len(scores) - 1)
        begun = None if starts is None else starts.unbind(1)
        value = semiring.lift(start + scores[0] if begun is None else start + scores[0] + begun[0])
        yield value
        for t, step in enumerate(steps, 1):
            step = step if begun is None else step + other * begun[t][:, None, :]
            value = semiring.sum(value[..., :, None] + step, -2) + scores[t]
            yield value

    def _running(self) -> Iterator[Tensor]:
        return iter(_messages_in_chunks(*self._batched()[:3]).unbind(1))

    def _band_log_prob(self, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
        # Given the scores, labels are a Markov chain: a band is entered, kept from frame to frame, and left. The
        # probability that frame t keeps the class of t - 1 is that of the class less that of a start.
        labels, _, starts = self.double().marginals
        before = torch.nn.functional.pad(labels[:, :-1], (0, 0, 1, 0))
        log_stay = (_log(labels - starts) - _log(before)).masked_fill(before == 0, -torch.inf)
        entered = _log(starts)[recording, start, label]
        kept = sum_between(log_stay, recording, start + 1, end, label)
        left = _log(1 - log_stay[recording, end.clamp(max=labels.shape[1] - 1), label].exp())
        return entered + kept + torch.where(end < self.lengths[recording], left, 0.0)

    def _score(self, labels: Tensor) -> Tensor:
        known = labels != UNLABELLED
        labels = labels.masked_fill(~known, 0)
        last = labels.gather(-1, (self.lengths - 1).expand(labels.shape[:-1])[..., None])[..., 0]
        emitted = self.emissions.expand(*labels.shape, -1).gather(-1, labels[..., None])[..., 0]
        return (
            torch.where(known, emitted, 0.0).double().sum(-1)
            + self._transition_score(labels, known)
            + self.start[labels[..., 0]].double()
            + self.end[last].double()
        )

    def _transition_score(self, labels: Tensor, known: Tensor) -> Tensor:
        pairs = labels[..., :-1] * self.num_classes + labels[..., 1:]
        if self.transitions.dim() == 4:
            table = self.transitions.flatten(-2).expand(*pairs.shape, -1)
            return torch.where(known[..., 1:], table.gather(-1, pairs[..., None])[..., 0], 0.0).double().sum(-1)
        # Counts times scores rather than a gather of scores: the gradient is then the counts, without atomics.
        counts = self.transitions.new_zeros((*labels.shape[:-1], self.num_classes**2), dtype=torch.float64)
        counts = counts.scatter_add(-1, pairs, known[..., 1:].double())
        scores = self.transitions.double().flatten()
        return torch.where(counts > 0, counts * scores, 0.0).sum(-1)

    def _forbidden(self, labels: Tensor) -> InputError:
        rows: Any = labels.tolist()
        for row, sequence in enumerate(rows):
            recording = row % self._batch_shape[0]
            for t in range(int(self.lengths[recording])):
                reason = self._forbidden_step(recording, t, sequence)
                if reason:
                    advice = "correct the label, mark the frame -100 (unlabelled), or allow it in the model"
                    return InputError("labels", reason, "an allowed labelling", advice, recording=recording, frame=t)
        got = "labelled frames without an allowed completion"
        return InputError("labels", got, "an allowed labelling", "relax the -inf scores")

    def _forbidden_step(self, recording: int, t: int, sequence: list[int]) -> str | None:
        label = sequence[t]
        if label == UNLABELLED:
            return None
        before = sequence[t - 1] if t else UNLABELLED
        if self.emissions[recording, t, label] == -torch.inf:
            return f"class {label} with an emission of -inf"
        if t == 0 and self.start[label] == -torch.inf:
            return f"class {label}, which may not start a recording (start[{label}] = -inf)"
        where = (before, label) if self.transitions.dim() == 2 else (recording, t - 1, before, label)
        if before != UNLABELLED and self.transitions[where] == -torch.inf:
            return f"class {label} after class {before} (transitions{list(where)} = -inf)"
        if t == int(self.lengths[recording]) - 1 and self.end[label] == -torch.inf:
            return f"class {label}, which may not end a recording (end[{label}] = -inf)"
        return None


def _log(probability: Tensor) -> Tensor:
    """Return the logarithm; -inf, with gradient zero, where rounding has produced zero or slightly less."""
    possible = probability > 0
    return torch.where(possible, probability, 1.0).log().masked_fill(~possible, -torch.inf)


def _messages_in_chunks(emissions: Tensor, transitions: Tensor, start: Tensor) -> Tensor:
    """Return forward messages (B, T, C) in about 2 sqrt(T) steps instead of T.

    A frame is a matrix of scores from class to class. Chunks of frames are multiplied out side by side, then carried
    from chunk to chunk: many short steps cost more than few long ones.
    """
    # A number in place of -inf keeps gradients finite, and nothing possible comes near it.
    emissions, transitions, start = (p.clamp(min=FORBIDDEN) for p in (emissions, transitions, start))
    num_frames, size = emissions.shape[1:]
    varying = transitions if transitions.dim() == 4 else transitions.unsqueeze(1)
    steps = varying + emissions[:, 1:].unsqueeze(2)
    # The first frame follows every class with the same score, so each row of its products is the message itself.
    opening = (start + emissions[:, 0]).unsqueeze(1).expand(-1, size, -1)
    steps = torch.cat([opening.unsqueeze(1), steps], 1)
    chunk = math.isqrt(num_frames - 1) + 1
    steps = torch.nn.functional.pad(steps, (0, 0, 0, 0, 0, -num_frames % chunk)).unflatten(1, (-1, chunk))
    products = [steps[:, :, 0]]
    for step in steps.unbind(2)[1:]:
        products.append((products[-1].unsqueeze(-1) + step.unsqueeze(-3)).logsumexp(-2))
    within = torch.stack(products, 2)
    carried = [within[:, 0, -1, 0]]
    for whole in within[:, 1:, -1].unbind(1):
        carried.append((carried[-1].unsqueeze(-1) + whole).logsumexp(1))
    before = torch.stack(carried, 1)[:, :-1, None, :, None]
    messages = torch.cat([within[:, :1, :, 0], (before + within[:, 1:]).logsumexp(-2)], 1)
    return messages.flatten(1, 2)[:, :num_frames]


def _reference(potentials: Sequence[Tensor], lengths: Tensor, starts: Tensor) -> Tensor:
    batched = 2 if potentials[1].dim() == 4 else 1
    cleared = without_padding(potentials[:batched], lengths)
    named = LinearChainPotentials(*cleared, *potentials[batched:])
    return LinearChain._scan(Log(), named, lengths, starts)  # pyright: ignore[reportPrivateUsage]


#: Kernels for transitions shared by all steps, and for transitions of every step.
_OPERATORS = (
    Operator(
        "chain",
        {"emissions": "BTC", "transitions": "CC", "start": "C", "end": "C"},
        _reference,
        beside=True,
        kernels={"numba": "linear_chain.numba_kernels", "triton": "linear_chain.triton_kernels"},
    ),
    Operator(
        "chain_varying",
        {"emissions": "BTC", "transitions": "BSCC", "start": "C", "end": "C"},
        _reference,
        kernels={"numba": "linear_chain.numba_varying"},
    ),
)


def _check_transitions_shape(values: Tensor, batch: int, frames: int, classes: int) -> None:
    """Raise for transition scores that are neither (C, C) nor (B, T - 1, C, C)."""
    if torch.is_tensor(values) and values.dim() == 4:  # pyright: ignore[reportUnnecessaryComparison]
        check_scores_shape(values, "transitions", (batch, frames - 1, classes, classes), "(B, T - 1, C, C)")
    else:
        check_scores_shape(values, "transitions", (classes, classes), "(C, C)")
