"""SemiMarkov: a distribution over segmentations, with a score for the length of each band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError
from segcrf.kernels import Operator, frame_mask
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_emissions_shape, check_labels, check_scores_shape
from segcrf.structures.reductions import sum_between, without_padding
from segcrf.structures.semirings import Log, Semiring

__all__ = ["SemiMarkov", "SemiMarkovPotentials", "survival"]


class SemiMarkovPotentials(NamedTuple):
    """Scores of a semi-Markov chain.

    ``emissions`` (B, T, C), ``transitions`` (C, C), ``durations`` (C, K), ``tail``, ``start`` and ``end`` (C,), and the
    ``durations`` (C, K) of the ``first`` and the ``last`` segment.
    """

    emissions: Tensor
    transitions: Tensor
    durations: Tensor
    tail: Tensor
    start: Tensor
    end: Tensor
    first: Tensor
    last: Tensor


class SemiMarkov(Structure):
    """Semi-Markov conditional random field over T frames and C classes, as a distribution over segmentations.

    A segment of class c and length d scores the sum of its emissions plus ``durations[c, d - 1]`` up to d = K, and
    ``durations[c, K - 1] + (d - K) * tail[c]`` beyond. Neighbouring segments add ``transitions``, the first ``start``,
    the last ``end``. Probabilities are exp(score) normalised over all segmentations of the recording, of every length.

    Args:
        emissions: class scores (B, T, C), in nats; ``-inf`` forbids.
        transitions: score of a segment of one class (row) before one of another (column), (C, C).
        durations: score of lasting 1 to K frames, (C, K). A minimum duration is ``-inf`` below it.
        tail: score of each frame beyond K, (C,); ``-inf``, or ``None``, makes K a hard maximum.
        start: score of the first segment's class, (C,); zero if omitted.
        end: score of the last segment's class, (C,); zero if omitted.
        lengths: valid frames of each recording, (B,); all T if omitted.
        censored: a window has cut the first and the last segment, so each is scored by the survival of its length:
            the log-sum of the scores of all durations at least as long. Needs ``tail < 0``.
        self_transitions: allow two segments of one class to touch. Then :meth:`log_prob` of labels sums over the
            ways to cut them; pass ``starts`` for the probability of one segmentation.
        backend, validate_args: see :class:`~segcrf.LinearChain`.

    Raises:
        ValueError: wrong shape, NaN or +inf, a diverging survival, or a recording for which every segmentation is
            forbidden. ``TypeError``: wrong kind of tensor.

    Source:
        Sarawagi and Cohen, "Semi-Markov Conditional Random Fields", NIPS 2004; censoring: Guedon 2003.

    Example:
        >>> emissions = torch.tensor([[[1.0, 0.0], [0.0, 0.8], [1.0, 0.0], [0.0, 0.2]]])
        >>> two = torch.tensor([[-torch.inf, 0.0], [-torch.inf, 0.0]])
        >>> SemiMarkov(emissions, torch.zeros(2, 2), two).mode                        # two frames, no more, no less
        tensor([[1, 1, 0, 0]])
        >>> SemiMarkov(emissions, torch.zeros(2, 2), two, tail=torch.zeros(2)).mode   # two frames at least
        tensor([[0, 0, 0, 0]])
    """

    potentials: SemiMarkovPotentials

    def __init__(  # noqa: PLR0917 - potentials are tensors, given in the order of the formula
        self,
        emissions: Tensor,
        transitions: Tensor,
        durations: Tensor,
        tail: Tensor | None = None,
        start: Tensor | None = None,
        end: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        censored: bool = False,
        self_transitions: bool = False,
        backend: str = "auto",
        validate_args: bool | None = None,
    ) -> None:
        _, _, size = check_emissions_shape(emissions)
        check_scores_shape(transitions, "transitions", (size, size), "(C, C)")
        _check_durations_shape(durations, size)
        vectors = {"tail": tail, "start": start, "end": end}
        default = {"tail": -torch.inf, "start": 0.0, "end": 0.0}
        tail, start, end = (
            durations.new_full((size,), default[name])
            if values is None
            else check_scores_shape(values, name, (size,), "(C,)")
            for name, values in vectors.items()
        )
        self._censored, self._self_transitions = censored, self_transitions
        edges = survival(durations, tail) if censored else durations
        potentials = SemiMarkovPotentials(
            emissions, self._between_segments(transitions), durations, tail, start, end, edges, edges
        )
        super().__init__(potentials, lengths, backend, validate_args)

    def _between_segments(self, transitions: Tensor) -> Tensor:
        """Return transitions with a diagonal of -inf, unless segments of one class may touch."""
        if self._self_transitions:
            return transitions
        return transitions.masked_fill(
            torch.eye(len(transitions), dtype=torch.bool, device=transitions.device), -torch.inf
        )

    @property
    def _settings(self) -> dict[str, Any]:
        return {"_censored": self._censored, "_self_transitions": self._self_transitions}

    def _merged(self, changes: dict[str, Tensor]) -> SemiMarkovPotentials:
        merged: SemiMarkovPotentials = self.potentials._replace(**changes)
        if "transitions" in changes and merged.transitions.shape == self.transitions.shape:
            merged = merged._replace(transitions=self._between_segments(merged.transitions))
        if not {"durations", "tail"} & changes.keys() or {"first", "last"} & changes.keys():
            return merged
        edges = survival(merged.durations, merged.tail) if self._censored else merged.durations
        return merged._replace(first=edges, last=edges)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"K": self.max_duration}

    @property
    def transitions(self) -> Tensor:
        """Scores (C, C) between neighbouring segments; the diagonal is -inf unless they may touch."""
        return self.potentials.transitions

    @property
    def durations(self) -> Tensor:
        """Scores (C, K) of lasting 1 to K frames."""
        return self.potentials.durations

    @property
    def max_duration(self) -> int:
        """K, the longest duration with a score of its own."""
        return self.durations.shape[-1]

    @property
    def tail(self) -> Tensor:
        """Scores (C,) of each frame beyond K."""
        return self.potentials.tail

    @property
    def start(self) -> Tensor:
        """Scores (C,) of the first segment's class."""
        return self.potentials.start

    @property
    def end(self) -> Tensor:
        """Scores (C,) of the last segment's class."""
        return self.potentials.end

    def log_prob(self, value: Tensor, starts: Tensor | None = None) -> Tensor:
        """Return the log-probability (..., B) of labels (..., B, T), -100 = unknown, or of one segmentation.

        With ``starts`` (B, T) bool, True where a segment begins, ``value`` is exactly that segmentation; without, the
        probability is summed over all segmentations that have these labels.
        """
        if starts is None:
            return super().log_prob(value)
        labels = check_labels(value, (self._batch_shape[0], self._event_shape[0]), self.num_classes, self.lengths)
        score = self._score_of(labels, _check_starts(starts, labels, self.lengths))
        return (score - self.log_z).to(self.dtype)

    # ----------------------------------------------------------------------------------- supplied by a structure
    @property
    def operator(self) -> Operator:
        return _OPERATOR

    @staticmethod
    def _scan(semiring: Semiring, potentials: SemiMarkovPotentials, lengths: Tensor, starts: Tensor | None) -> Tensor:
        tail, end, first, last = potentials.tail, potentials.end, potentials.first, potentials.last
        totals: list[Tensor] = []
        for t, (_, running, beyond, opening) in enumerate(SemiMarkov._messages(semiring, potentials, starts)):
            closed = _close(semiring, running, beyond, opening + _long(first, tail, t + 1), last)
            totals.append(semiring.sum(closed + end, -1))
        result = totals[0]
        for t, total in enumerate(totals[1:], 1):
            result = torch.where(lengths == t + 1, total, result)
        return result

    @staticmethod
    def _messages(
        semiring: Semiring, potentials: SemiMarkovPotentials, starts: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield for each frame totals by class: of segments that may begin there, and of those running by then.

        The first is (..., B, C). Running segments are of ages 1 to K (..., B, C, K), older (..., B, C), and the one
        that began with the recording (..., B, C). The score of a duration is added when the segment ends.
        """
        emissions, transitions, durations, tail, start, _, first, _ = potentials
        # Unbound at once: a gradient through emissions[:, t] would write all frames at every frame.
        scores = emissions.unbind(1)
        starting = (torch.zeros_like(emissions) if starts is None else starts).unbind(1)
        opening = entering = semiring.lift(start + starting[0])  # the segment that begins with the recording
        forbidden = torch.full_like(opening, -torch.inf)
        running = forbidden[..., None].expand(*opening.shape, durations.shape[-1])
        beyond = forbidden
        for t, score in enumerate(scores):
            older = semiring.sum(torch.stack([beyond, running[..., -1]], -1), -1)
            beyond = older + score + tail
            begun = entering if t else forbidden
            running = torch.cat([begun[..., None], running[..., :-1]], -1) + score[..., None]
            opening = opening + score
            yield entering, running, beyond, opening
            if t + 1 < len(scores):
                closed = _close(semiring, running, beyond, opening + _long(first, tail, t + 1), durations)
                entering = semiring.sum(closed[..., :, None] + transitions, -2) + starting[t + 1]

    def _running(self) -> Iterator[Tensor]:
        potentials = self._batched()
        tail, edge = potentials.tail, survival(self.durations.double(), self.tail.double())
        for t, (_, running, beyond, opening) in enumerate(self._messages(Log(), potentials, None)):
            yield _close(Log(), running, beyond, opening + _long(edge, tail, t + 1), edge)

    def _band_log_prob(self, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
        emissions, transitions, durations, tail, begin, final, first, last = self._batched()
        frames = torch.arange(self._event_shape[0], device=self.lengths.device)
        order = (self.lengths[:, None] - 1 - frames).clamp(min=0)[..., None]
        backwards = emissions.gather(1, order.expand_as(emissions))
        mirrored = SemiMarkovPotentials(backwards, transitions.mT, durations, tail, final, begin, last, first)
        before = torch.stack([entering for entering, *_ in self._messages(Log(), self._batched(), None)], 1)
        after = torch.stack([entering for entering, *_ in self._messages(Log(), mirrored, None)], 1)
        to_go = self.lengths[recording] - end
        emitted = sum_between(emissions, recording, start, end, label)
        around = before[recording, start, label] + after[recording, to_go, label]
        return emitted + around + self._lasting(start == 0, to_go == 0, label, end - start) - self.log_z[recording]

    def _lasting(self, is_first: Tensor, is_last: Tensor, label: Tensor, duration: Tensor) -> Tensor:
        """Return scores (N,), float64, of the durations of segments, by their place in the recording."""
        table = torch.stack([self.durations, self.potentials.first, self.potentials.last]).double()
        which = torch.where(is_first, 1, torch.where(is_last, 2, 0))
        extra = duration - self.max_duration
        beyond = extra * self.tail.double()[label].masked_fill(extra <= 0, 0.0)
        return table[which, label, duration.clamp(max=self.max_duration) - 1] + torch.where(extra > 0, beyond, 0.0)

    def _score(self, labels: Tensor) -> Tensor:
        """Return the log-sum over the segmentations with these labels: one, if bands of a class may not touch."""
        return self._agreeing_log_z(labels)

    def _score_of(self, labels: Tensor, starts: Tensor) -> Tensor:
        emitted = self.emissions.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        total = torch.where(self.frame_mask, emitted, 0.0).double().sum(-1)
        recording, begin = (starts & self.frame_mask).nonzero(as_tuple=True)
        is_first, is_last = begin == 0, torch.ones_like(begin, dtype=torch.bool)
        is_last[:-1] = recording[1:] != recording[:-1]
        stop = torch.where(is_last, self.lengths[recording], begin.roll(-1))
        label = labels[recording, begin]
        score = self._lasting(is_first, is_last, label, stop - begin)
        score = score + torch.where(
            is_first, self.start[label], self.transitions[label.roll(1), label].masked_fill(is_first, 0.0)
        )
        score = score + torch.where(is_last, self.end[label], 0.0)
        return total.index_add(0, recording, score.double())

    def _forbidden(self, labels: Tensor) -> InputError:
        rows: Any = labels.tolist()
        for row, sequence in enumerate(rows):
            recording = row % self._batch_shape[0]
            length = int(self.lengths[recording])
            begin = 0
            for t in range(1, length + 1):
                if t < length and sequence[t] == sequence[begin]:
                    continue
                reason = self._forbidden_segment(recording, sequence, begin, t)
                if reason:
                    advice = "correct the labels, mark the frames -100 (unlabelled), or allow it in the model"
                    return InputError(
                        "labels", reason, "an allowed labelling", advice, recording=recording, frame=begin
                    )
                begin = t
        got = "labelled frames without an allowed segmentation"
        return InputError("labels", got, "an allowed labelling", "relax durations or transitions")

    def _forbidden_segment(  # noqa: PLR0911 - one return per reason
        self, recording: int, sequence: list[int], begin: int, stop: int
    ) -> str | None:
        label = sequence[begin]
        if label == UNLABELLED:
            return None
        blocked = (self.emissions[recording, begin:stop, label] == -torch.inf).nonzero()
        if len(blocked):
            return f"class {label} with an emission of -inf at frame {begin + int(blocked[0, 0])}"
        before = sequence[begin - 1] if begin else UNLABELLED
        if before != UNLABELLED and self.transitions[before, label] == -torch.inf:
            return f"class {label} after class {before} (transitions[{before}, {label}] = -inf)"
        touches = begin == 0, stop == int(self.lengths[recording])
        potentials = self.potentials
        table = potentials.first if touches[0] else potentials.last if touches[1] else potentials.durations
        whole = begin == 0 or sequence[begin - 1] != UNLABELLED
        whole &= touches[1] or sequence[stop] != UNLABELLED
        if whole and _long(table, self.tail, stop - begin)[label] == -torch.inf:
            return f"a band of class {label} of {stop - begin} frames, a duration scored -inf"
        if touches[0] and self.start[label] == -torch.inf:
            return f"class {label}, which may not start a recording (start[{label}] = -inf)"
        if touches[1] and self.end[label] == -torch.inf:
            return f"class {label}, which may not end a recording (end[{label}] = -inf)"
        return None

    def _infeasible_reason(self) -> str:
        possible = self.durations.isfinite()
        shortest = [int(row.nonzero()[0, 0]) + 1 if row.any() else None for row in possible]
        longest = [
            None if not row.any() else "any" if tail > -torch.inf else int(row.nonzero()[-1, 0]) + 1
            for row, tail in zip(possible, self.tail, strict=True)
        ]
        return (
            f"no sequence of segments fills it (shortest duration per class {shortest}, longest {longest} "
            f"frames); allow "
            "shorter or longer durations, give a tail, use censored=True for a window cut out of a longer signal, or "
            "relax the forbidden (-inf) transitions and labels"
        )


def survival(durations: Tensor, tail: Tensor) -> Tensor:
    """Return the log-survival (C, K): of lasting at least 1 to K frames; the same tail continues it beyond K.

    The geometric tail is summed in closed form, so every ``tail`` must be below 0.

    Example:
        >>> survival(torch.log(torch.tensor([[0.5, 0.3, 0.2]])), torch.tensor([-torch.inf])).exp()
        tensor([[1.0000, 0.5000, 0.2000]])
    """
    _check_tail_converges(tail)
    ratio = torch.where(tail > -torch.inf, tail, -1.0)
    rest = torch.where(tail > -torch.inf, -torch.log(-torch.expm1(ratio)), 0.0)
    closed = torch.cat([durations[:, :-1], (durations[:, -1] + rest)[:, None]], 1)
    return Log().sum(_suffixes(closed), -1)


def _suffixes(table: Tensor) -> Tensor:
    """Return (C, K, K): row d holds the entries from d on, -inf before."""
    size = table.shape[1]
    earlier = torch.ones(size, size, dtype=torch.bool, device=table.device).tril(-1)
    return table[:, None, :].expand(-1, size, -1).masked_fill(earlier, -torch.inf)


def _long(table: Tensor, tail: Tensor, duration: int) -> Tensor:
    """Return scores (..., C) of one duration: the table (..., C, K) up to K, the geometric tail beyond."""
    longest = table.shape[-1]
    if duration <= longest:
        return table[..., duration - 1]
    return table[..., -1] + (duration - longest) * tail


def _close(semiring: Semiring, running: Tensor, beyond: Tensor, whole: Tensor, table: Tensor) -> Tensor:
    """Return the sum over the ages of the segments that end here, by class."""
    ends = [running + table, (beyond + table[..., -1])[..., None], whole[..., None]]
    return semiring.sum(torch.cat(ends, -1), -1)


def _reference(potentials: Sequence[Tensor], lengths: Tensor, starts: Tensor) -> Tensor:
    (emissions,) = without_padding(potentials[:1], lengths)
    named = SemiMarkovPotentials(emissions, *potentials[1:])
    return SemiMarkov._scan(Log(), named, lengths, starts)  # pyright: ignore[reportPrivateUsage]


_OPERATOR = Operator(
    "semimarkov",
    {
        "emissions": "BTC",
        "transitions": "CC",
        "durations": "CK",
        "tail": "C",
        "start": "C",
        "end": "C",
        "first": "CK",
        "last": "CK",
    },
    _reference,
    kernels={"numba": "semi_markov.numba_kernels", "triton": "semi_markov.triton_kernels"},
)


def _check_durations_shape(values: Tensor, num_classes: int) -> None:
    """Raise for a duration table that is not (C, K)."""
    if torch.is_tensor(values) and (values.dim() != 2 or values.shape[0] != num_classes or values.shape[1] < 1):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputError("durations", f"shape {tuple(values.shape)}", f"shape (C, K) = ({num_classes}, K >= 1)")
    check_scores_shape(values, "durations", tuple(getattr(values, "shape", ())), "(C, K)")


def _check_tail_converges(tail: Tensor) -> None:
    """Raise for a survival that sums to infinity."""
    if torch.compiler.is_compiling() or not (tail >= 0).any():
        return
    label = int((tail >= 0).nonzero()[0, 0])
    raise InputError(
        "tail",
        f"{float(tail[label]):g} for class {label}",
        "a number below 0 with censored=True, where the survival of a band sums over all longer ones",
        "give a negative tail (-0.01 is a mean of 100 more frames)",
    )


def _check_starts(values: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Check band starts (B, T) against complete labels: one at frame 0, and one wherever the label changes."""
    if values.dtype != torch.bool or values.shape != labels.shape:
        got, expected = f"{values.dtype} of shape {tuple(values.shape)}", f"bool of shape {tuple(labels.shape)}"
        raise InputError("starts", got, expected)
    within = frame_mask(lengths, labels.shape[1])
    needed = torch.ones_like(values)
    needed[:, 1:] = labels[:, 1:] != labels[:, :-1]
    for bad, got, expected in (
        (within & (labels == UNLABELLED), "an unlabelled frame", "a label: a segmentation labels every frame"),
        (within & needed & ~values, "a change of label without a start", "a start wherever the label changes"),
    ):
        if bad.any():
            recording, frame = (int(i) for i in bad.nonzero()[0])
            raise InputError("starts", got, expected, recording=recording, frame=frame)
    return values
