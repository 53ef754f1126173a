"""Linear chain on a GPU: forward-backward and Viterbi in log space, parallel over recordings, or pieces of time.

A *row* is one vector of C scores that passes through frames; a program processes a block of rows, with all pairs of
classes in registers. Each step subtracts its maximum, and the maxima are summed in float64, so that float32 suffices
for a million frames. A step is a log-sum with a maximum per class, so scores may span any range and may be -inf.

*Many recordings.* A row is a recording.

*Few long ones.* Time is cut into about sqrt(T) pieces. First, rows pass through every piece from each class, which
gives a C x C matrix of log-sums per piece. A scan over these matrices gives the vectors that enter each piece from
either side (Hassan, Sarkka and Garcia-Fernandez, 2021, by blocks). Then the pieces are processed like recordings. This
is C times the work in about 3 sqrt(T) steps.

No result is added by atomics and the host reads no value back, so runs are identical bit by bit, and a call can be
captured in a CUDA graph.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# The functions below are compiled: Triton infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segcrf.kernels.layout import working_dtype
from segcrf.kernels.triton_runtime import arithmetic, finite, options, padded_classes

__all__ = ["log_partition", "log_prob", "max_product", "sum_product"]

_ROWS_PER_PROGRAM = 256  # from this many programs of one row on, a program takes several rows: enough to fill a GPU
_LONG = 1024  # frames from which on time is cut into pieces,
_FEW = 16384  # if recordings times C * C stay below this: beyond it, recordings alone keep a GPU busy
_FRAMES = 1024  # frames that a program scores at once


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return the log partition (B,), float64, in O(C) memory per recording, or O(C^2 sqrt(T)) for few long ones."""
    walk = _Walk.over(emissions, transitions, start, end, lengths)
    return walk.ends(maximum=False).total


def sum_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, starts: bool
) -> tuple[Tensor, ...]:
    """Return the log partition and, per recording, the expected counts of each potential and, on request, of starts."""
    walk = _Walk.over(emissions, transitions, start, end, lengths)
    by_start = walk.vectors(walk.batch if starts else 0)
    log_z, by_label, by_step = walk.expected(by_start)
    return log_z, *_counts(by_label, by_step, walk), by_start


def log_prob(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, labels: Tensor, lengths: Tensor, gradient: bool
) -> tuple[Tensor, ...]:
    """Return the log-probability of labels, the log partition and, on request, expected less observed counts.

    Complete labels are scored and counted in one pass; recordings with a label of -100 are processed a second time,
    with classes restricted to the labels.
    """
    walk = _Walk.over(emissions, transitions, start, end, lengths, labels)
    score = walk.score(labels)  # NaN: incomplete
    if gradient:
        log_z, by_label, by_step = walk.expected(walk.vectors(0), score)
        observed = walk.restricted(score, by_label, by_step)
        counts = _counts(by_label, by_step, walk)
    else:
        log_z = walk.ends(maximum=False).total
        observed = walk.ends(maximum=False, score=score).total
        counts = (walk.vectors(0), *(p.new_empty((0, *p.shape), dtype=walk.dtype) for p in (transitions, start, end)))
    score = torch.where(score.isnan(), observed, score)
    return torch.where(log_z == -torch.inf, log_z, score - log_z), log_z, *counts


def max_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T).

    The backpointers take one byte per frame and class.
    """
    walk = _Walk.over(emissions, transitions, start, end, lengths)
    labels = walk.best()
    score = walk.score(labels)
    labels = labels.masked_fill((score == -torch.inf)[:, None], -100)
    before = torch.nn.functional.pad(labels[:, :-1], (1, 0), value=-100)
    return score, labels, (labels != before) & (labels >= 0)


def _counts(by_label: Tensor, by_step: Tensor, walk: _Walk) -> tuple[Tensor, ...]:
    """Return the counts of all potentials; those of start and end are the counts of the first and last labels."""
    last = by_label[torch.arange(walk.batch, device=by_label.device), walk.lengths - 1]
    return by_label, by_step.double().sum(1).to(walk.dtype), by_label[:, 0].clone(), last


# ------------------------------------------------------------------------------------------------------ launches
class _Ends(NamedTuple):
    """Results at the ends of all pieces of a walk."""

    total: Tensor  # log-sum (B,)
    last: Tensor  # for the maximum, the last label (B,)
    entering: Tensor  # vectors that enter each piece from the left (B, pieces, C)
    leaving: Tensor  # vectors that enter it from the right


class _Walk(NamedTuple):
    """Inputs of the kernels and how they are cut: ``pieces`` of ``size`` frames per recording."""

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor
    labels: Tensor
    pieces: int
    size: int

    @classmethod
    def over(
        cls,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        lengths: Tensor,
        labels: Tensor | None = None,
    ) -> _Walk:
        """Return a walk over contiguous inputs, cut into pieces if that is faster."""
        inputs = [p.detach().contiguous() for p in (emissions, transitions, start, end)]
        labels = lengths if labels is None else labels.contiguous()  # without labels, the kernel reads none
        return cls(*inputs, lengths.contiguous(), labels, *_cut(*emissions.shape))

    @property
    def batch(self) -> int:
        """The number of recordings."""
        return self.emissions.shape[0]

    @property
    def frames(self) -> int:
        """The number of frames of the padded batch."""
        return self.emissions.shape[1]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.emissions.shape[2]

    @property
    def dtype(self) -> torch.dtype:
        """The type of vectors and counts."""
        return working_dtype(self.emissions)

    def vectors(self, rows: int) -> Tensor:
        """Allocate vectors (rows, T, C)."""
        return self.emissions.new_empty((rows, self.frames, self.classes), dtype=self.dtype)

    def shape(self, rows: int) -> dict[str, Any]:
        """Return the arguments that all walking kernels share: the number of rows, and how they form blocks."""
        padded = padded_classes(self.classes)
        together = min(max(1, 32 // padded), max(1, triton.next_power_of_2(rows // _ROWS_PER_PROGRAM)))
        return {
            "rows": rows, "frames": self.frames, "pieces": self.pieces, "size": self.size,
            "C": self.classes, "CP": padded, "BB": together, **options(together * padded * padded)
        }  # fmt: skip

    def ends(self, maximum: bool, score: Tensor | None = None) -> _Ends:
        """Walk through all frames and keep nothing: a row is a recording, or a piece together with its first class."""
        return self.walk(self.classes if self.pieces > 1 else 1, None, maximum, score)

    def kept(self, memory: Tensor, maximum: bool, score: Tensor | None = None) -> _Ends:
        """Walk and keep every vector in ``memory``, or for the maximum the backpointers."""
        if self.pieces == 1:
            return self.walk(1, memory, maximum, score)
        ends = self.ends(maximum, score)
        self.forward(1, ends.entering, memory, maximum, score)
        return ends

    def walk(self, fan: int, memory: Tensor | None, maximum: bool, score: Tensor | None) -> _Ends:
        """Walk from every class, or from ``start``, and compose the pieces."""
        out, norm = self.forward(fan, None, memory, maximum, score)
        sides = (out.new_empty(self.batch, self.pieces, self.classes) for _ in range(2))
        ends = _Ends(norm.new_empty(self.batch), self.lengths.new_empty(self.batch), *sides)
        padded = padded_classes(self.classes)
        _scan[(self.batch,)](
            out, norm, self.end, *ends, self.pieces, C=self.classes, CP=padded, FAN=fan, MAX=maximum,
            DTYPE=arithmetic(self.emissions), **options(padded * padded)
        )  # fmt: skip
        return ends

    def forward(
        self, fan: int, entering: Tensor | None, memory: Tensor | None, maximum: bool, score: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Walk from left to right; return the last vector of each row, and the sum subtracted from it."""
        rows = self.batch * self.pieces * fan
        out = self.emissions.new_empty((rows, self.classes), dtype=self.dtype)
        norm = out.new_empty(rows, dtype=torch.float64)
        shape = self.shape(rows)
        _forward[(triton.cdiv(rows, shape["BB"]),)](
            self.emissions, self.transitions, self.start, self.lengths, self.labels,
            norm if score is None else score, out if entering is None else entering, out, norm,
            out if memory is None else memory,
            **shape, FAN=fan, ENTRY=entering is not None, KEEP=memory is not None, MAX=maximum,
            RESTRICT=score is not None, DTYPE=arithmetic(self.emissions)
        )  # fmt: skip
        return out, norm

    def expected(self, by_start: Tensor, score: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log partition and the expected counts of labels (B, T, C) and steps (B, pieces, C, C).

        Subtract observed counts where ``score`` says that labels are complete.
        """
        by_label = self.vectors(self.batch)
        by_step = by_label.new_empty(self.batch, self.pieces, self.classes, self.classes)
        ends = self.kept(by_label, maximum=False)
        self.backward(ends, by_label, by_label, by_step, by_start, score, observe=score is not None, restrict=False)
        return ends.total, by_label, by_step

    def restricted(self, score: Tensor, by_label: Tensor, by_step: Tensor) -> Tensor:
        """Return the log partition restricted to incomplete labels, and subtract its counts from the expected ones."""
        alphas = self.vectors(self.batch)
        ends = self.kept(alphas, maximum=False, score=score)
        self.backward(ends, alphas, by_label, by_step, alphas[:0], score, observe=False, restrict=True)
        return ends.total

    def backward(
        self,
        ends: _Ends,
        alphas: Tensor,
        by_label: Tensor,
        by_step: Tensor,
        by_start: Tensor,
        score: Tensor | None,
        observe: bool,
        restrict: bool,
    ) -> None:
        """Walk from right to left, and write counts of labels, steps and starts."""
        shape = self.shape(self.batch * self.pieces)
        _backward[(triton.cdiv(shape["rows"], shape["BB"]),)](
            self.emissions, self.transitions, self.lengths, self.labels, ends.total if score is None else score,
            ends.entering, ends.leaving, alphas, by_label, by_step, by_start,
            **shape, STARTS=len(by_start) > 0, OBSERVE=observe, RESTRICT=restrict, DTYPE=arithmetic(self.emissions)
        )  # fmt: skip

    def score(self, labels: Tensor) -> Tensor:
        """Return the score (B,) of labels, in float64; NaN where a label is missing."""
        blocks = triton.cdiv(self.frames, _FRAMES)
        out = self.emissions.new_empty((self.batch, blocks), dtype=torch.float64)
        _score[(self.batch, blocks)](
            self.emissions, self.transitions, self.start, self.end, labels.contiguous(), self.lengths, out,
            self.frames, C=self.classes, BT=min(_FRAMES, triton.next_power_of_2(self.frames)),
            **options(4 * _FRAMES)
        )  # fmt: skip
        return out.sum(1)

    def best(self) -> Tensor:
        """Return the best labels (B, T), -100 beyond a recording's length."""
        labels = torch.full((self.batch, self.frames), -100, dtype=torch.int64, device=self.lengths.device)
        pointers = torch.empty(self.emissions.shape, dtype=torch.uint8, device=self.lengths.device)
        ends = self.kept(pointers, maximum=True)
        last = ends.last[:, None].contiguous()
        if self.pieces > 1:
            before = self.lengths.new_empty(self.batch * self.pieces * self.classes)
            self.trace(pointers, before, before, as_map=True)
            last = self.lengths.new_empty(self.batch, self.pieces)
            _link[(self.batch,)](ends.last, before, last, self.pieces, C=self.classes, **options(1))
        self.trace(pointers, last, labels, as_map=False)
        return labels

    def trace(self, pointers: Tensor, last: Tensor, out: Tensor, as_map: bool) -> None:
        """Follow the backpointers through each piece.

        Start at ``last`` and write labels, or (``as_map``) start at every class and write the label before the piece.
        """
        fan = self.classes if as_map else 1
        shape = self.shape(self.batch * self.pieces * fan) | options(1)
        grid = (triton.cdiv(shape["rows"], shape["BB"]),)
        _trace[grid](pointers, self.lengths, last, out, **shape, FAN=fan, MAP=as_map)


def _cut(batch: int, frames: int, classes: int) -> tuple[int, int]:
    """Return the number and the size of the pieces of time."""
    if frames < _LONG or batch * classes**2 > _FEW:
        return 1, frames
    size = triton.next_power_of_2(round(frames**0.5))
    return triton.cdiv(frames, size), size


# ------------------------------------------------------------------------------------------------------- kernels
@triton.jit
def _rows(lengths, score, rows, frames, pieces, size, BB: tl.constexpr, FAN: tl.constexpr, RESTRICT: tl.constexpr):
    """Return the rows of a program, their recordings, and the frames [begin, stop) to process.

    An idle row has no frames.
    """
    row = tl.program_id(0) * BB + tl.arange(0, BB)
    live = row < rows
    piece = (row // FAN) % pieces
    recording = (row // (FAN * pieces)).to(tl.int64)
    if RESTRICT:
        observed = tl.load(score + recording, mask=live, other=0.0)
        live = live & (observed != observed)  # noqa: PLR0124 - NaN: its labels are incomplete
    length = tl.load(lengths + recording, mask=live, other=0).to(tl.int32)
    begin = piece * size
    stop = tl.maximum(begin, tl.minimum(begin + size, length))
    return row, live, recording, begin, stop


@triton.jit
def _scores(emissions, labels, recording, t, valid, frames, c, C: tl.constexpr, RESTRICT: tl.constexpr, DTYPE):
    """Load emissions of frame t; -inf where labels forbid a class, beyond C, and beyond the recording."""
    at = recording * frames + t
    inside = valid[:, None] & (c < C)[None, :]
    scores = tl.load(emissions + at[:, None] * C + c[None, :], mask=inside, other=-float("inf"))
    if RESTRICT:
        label = tl.load(labels + at, mask=valid, other=-100)
        allowed = (label < 0)[:, None] | (label[:, None] == c[None, :])
        scores = tl.where(allowed, scores, -float("inf"))
    return scores.to(DTYPE)


@triton.jit
def _pairs(transitions, c, C: tl.constexpr, DTYPE):
    """Load the scores of all pairs of classes; -inf beyond C."""
    inside = (c < C)[:, None] & (c < C)[None, :]
    return tl.load(transitions + c[:, None] * C + c[None, :], mask=inside, other=-float("inf")).to(DTYPE)


@triton.jit
def _forward(
    emissions, transitions, start, lengths, labels, score, entering, out, norm, memory, rows, frames, pieces, size,
    C: tl.constexpr, CP: tl.constexpr, BB: tl.constexpr, FAN: tl.constexpr, ENTRY: tl.constexpr, KEEP: tl.constexpr,
    MAX: tl.constexpr, RESTRICT: tl.constexpr, DTYPE: tl.constexpr
):  # fmt: skip
    """Compute vectors from left to right. ``out`` is the last one of each row, ``norm`` the sum subtracted from it."""
    row, live, recording, begin, stop = _rows(lengths, score, rows, frames, pieces, size, BB, FAN, RESTRICT)
    c = tl.arange(0, CP)
    real = live[:, None] & (c < C)[None, :]
    pairs = _pairs(transitions, c, C, DTYPE)
    opening = tl.load(start + c, mask=c < C, other=-float("inf")).to(DTYPE)
    place = row.to(tl.int64)[:, None] * C + c[None, :]
    if ENTRY:
        vector = tl.load(entering + place, mask=real, other=-float("inf"))
    else:  # from each class in turn; ``start`` replaces it at the first frame of a recording
        vector = tl.where(c[None, :] == (row % FAN)[:, None], 0.0, -float("inf")).to(DTYPE)
    total = tl.zeros([BB], tl.float64)
    following = _scores(emissions, labels, recording, begin, begin < stop, frames, c, C, RESTRICT, DTYPE)
    for i in range(tl.max(stop - begin, 0)):
        t = begin + i
        current = following
        # Loaded one step ahead, so that the data have arrived when the recurrence needs them.
        following = _scores(emissions, labels, recording, t + 1, t + 1 < stop, frames, c, C, RESTRICT, DTYPE)
        reached = vector[:, :, None] + pairs[None, :, :]
        kept = ((t < stop)[:, None]) & (c < C)[None, :]
        at = (recording * frames + t)[:, None] * C + c[None, :]
        if MAX:
            moved, before = tl.max(reached, 1, return_indices=True)
            if KEEP:
                tl.store(memory + at, before.to(tl.uint8), mask=kept)
        else:
            top = finite(tl.max(reached, 1))
            moved = top + tl.log(tl.sum(tl.exp(reached - top[:, None, :]), 1))
        moved = tl.where((t == 0)[:, None], opening[None, :], moved) + current
        shift = finite(tl.max(moved, 1))
        vector = tl.where((t < stop)[:, None], moved - shift[:, None], vector)
        total += tl.where(t < stop, shift, 0.0).to(tl.float64)
        if KEEP and not MAX:
            tl.store(memory + at, vector, mask=kept)
    tl.store(out + place, vector, mask=(row < rows)[:, None] & (c < C)[None, :])
    tl.store(norm + row, total, mask=row < rows)


@triton.jit
def _scan(
    matrices, norms, end, total, last, entering, leaving, pieces, C: tl.constexpr, CP: tl.constexpr, FAN: tl.constexpr,
    MAX: tl.constexpr, DTYPE: tl.constexpr
):  # fmt: skip
    """Compose the pieces of one recording from both sides, in float64. With one piece there is one row, not C."""
    recording = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CP)
    closing = tl.load(end + c, mask=c < C, other=-float("inf")).to(tl.float64)
    # The rows of the first piece are all equal: the piece begins with ``start``.
    left = tl.where(c == 0, 0.0, -float("inf")).to(tl.float64)
    right = closing
    sum_left = tl.zeros([], tl.float64)
    for k in range(pieces):
        piece = recording * pieces + k
        tl.store(entering + piece * C + c, left.to(DTYPE), mask=c < C)
        through = _matrix(matrices, norms, piece, c, C, FAN) + left[:, None]
        if MAX:
            left = tl.max(through, 0)
        else:
            top = finite(tl.max(through, 0))
            left = top + tl.log(tl.sum(tl.exp(through - top[None, :]), 0))
        shift = finite(tl.max(left, 0))
        left -= shift
        sum_left += shift
        # The other direction runs at the same time: neither waits for the other.
        back = recording * pieces + (pieces - 1 - k)
        tl.store(leaving + back * C + c, right.to(DTYPE), mask=c < C)
        through = _matrix(matrices, norms, back, c, C, FAN) + right[None, :]
        top = finite(tl.max(through, 1))
        right = top + tl.log(tl.sum(tl.exp(through - top[:, None]), 1))
        right -= finite(tl.max(right, 0))
    final = left + closing
    if MAX:
        tl.store(last + recording, tl.argmax(final, 0).to(tl.int64))
    else:
        shift = finite(tl.max(final, 0))
        tl.store(total + recording, sum_left + shift + tl.log(tl.sum(tl.exp(final - shift), 0)))


@triton.jit
def _matrix(matrices, norms, piece, c, C: tl.constexpr, FAN: tl.constexpr):
    """Load the matrix of a piece in float64; row i leads from class i through the piece."""
    from_row = piece * FAN + c
    inside = (c < FAN)[:, None] & (c < C)[None, :]
    matrix = tl.load(matrices + from_row[:, None] * C + c[None, :], mask=inside, other=-float("inf")).to(tl.float64)
    return matrix + tl.load(norms + from_row, mask=c < FAN, other=0.0)[:, None]


@triton.jit
def _normalised(alpha, beta):
    """Return the posterior of each row: exp(alpha + beta), with sum 1, or 0 where no labelling is allowed."""
    both = alpha + beta
    shares = tl.exp(both - finite(tl.max(both, 1))[:, None])
    mass = tl.sum(shares, 1)
    return shares / tl.where(mass > 0.0, mass, 1.0)[:, None]


@triton.jit
def _backward(
    emissions, transitions, lengths, labels, score, entering, leaving, alphas, by_label, by_step, by_start,
    rows, frames, pieces, size, C: tl.constexpr, CP: tl.constexpr, BB: tl.constexpr, STARTS: tl.constexpr,
    OBSERVE: tl.constexpr, RESTRICT: tl.constexpr, DTYPE: tl.constexpr
):  # fmt: skip
    """Compute marginals from right to left. ``alphas`` may be ``by_label``: a vector is read before it is overwritten.

    With E[i, j] = exp(transitions + what follows in j), the step has the probability (posterior of i) E[i, j] / sum E.
    """
    row, live, recording, begin, stop = _rows(lengths, score, rows, frames, pieces, size, BB, 1, RESTRICT)
    c = tl.arange(0, CP)
    inside = (c < C)[None, :]
    pairs = _pairs(transitions, c, C, DTYPE)
    if OBSERVE:
        observed = tl.load(score + recording, mask=live, other=0.0)
        complete = live & (observed == observed)  # noqa: PLR0124 - not NaN
    place = row.to(tl.int64)[:, None] * C + c[None, :]
    enters = tl.load(entering + place, mask=live[:, None] & inside, other=-float("inf"))
    beta = tl.load(leaving + place, mask=live[:, None] & inside, other=-float("inf"))
    final = (recording * frames + stop - 1)[:, None] * C + c[None, :]
    alpha = tl.load(alphas + final, mask=(stop > begin)[:, None] & inside, other=-float("inf"))
    posterior = _normalised(alpha, beta)
    steps = tl.zeros([BB, CP, CP], DTYPE)
    lost = tl.zeros([BB, CP, CP], DTYPE)  # low digits of ``steps`` (Kahan, 1965): it sums up to a million small terms
    for i in range(tl.max(stop - begin, 0)):
        t = stop - 1 - i
        valid = t >= begin
        moves = valid & (t > 0)
        at = (recording * frames + t)[:, None] * C + c[None, :]
        current = _scores(emissions, labels, recording, t, valid, frames, c, C, RESTRICT, DTYPE)
        before = tl.load(alphas + at - C, mask=(t > begin)[:, None] & inside, other=-float("inf"))
        before = tl.where((t == begin)[:, None], enters, before)
        tl.debug_barrier()  # the next step overwrites what another thread may still read
        following = pairs[None, :, :] + (current + beta)[:, None, :]
        top = finite(tl.max(following, 2))
        shares = tl.exp(following - top[:, :, None])
        mass = tl.sum(shares, 2)
        moved = top + tl.log(mass)
        earlier = _normalised(before, moved)
        expected = shares * (earlier / tl.where(mass > 0.0, mass, 1.0))[:, :, None]
        marginal = posterior
        if STARTS:
            entered = tl.sum(tl.where((c[:, None] == c[None, :])[None, :, :], 0.0, expected), 1)
            begins = tl.where((t == 0)[:, None], posterior, entered)
            tl.store(by_start + at, begins, mask=valid[:, None] & inside)
        if OBSERVE:
            label = tl.load(labels + recording * frames + t, mask=valid & complete, other=-100)
            previous = tl.load(labels + recording * frames + t - 1, mask=moves & complete, other=-100)
            is_label = label[:, None] == c[None, :]
            marginal -= tl.where(is_label, 1.0, 0.0)
            expected -= tl.where((previous[:, None] == c[None, :])[:, :, None] & is_label[:, None, :], 1.0, 0.0)
        if RESTRICT:
            marginal = tl.load(by_label + at, mask=valid[:, None] & inside, other=0.0) - marginal
            tl.debug_barrier()
        tl.store(by_label + at, marginal, mask=valid[:, None] & inside)
        addend = tl.where(moves[:, None, None], expected, 0.0) - lost
        added = steps + addend
        lost = (added - steps) - addend
        steps = added
        posterior = tl.where(moves[:, None], earlier, posterior)
        beta = tl.where(moves[:, None], moved - finite(tl.max(moved, 1))[:, None], beta)
    whole = (row.to(tl.int64) * C)[:, None, None] + c[None, :, None]
    whole = whole * C + c[None, None, :]
    square = live[:, None, None] & (c < C)[None, :, None] & (c < C)[None, None, :]
    if RESTRICT:
        steps = tl.load(by_step + whole, mask=square, other=0.0) - steps
        tl.debug_barrier()
    tl.store(by_step + whole, steps, mask=square)
    if not RESTRICT:  # zeros beyond a recording's length
        bound = tl.where(row < rows, tl.minimum(begin + size, frames), stop)
        for i in range(tl.max(bound - stop, 0)):
            t = stop + i
            at = (recording * frames + t)[:, None] * C + c[None, :]
            zero = tl.zeros([BB, CP], DTYPE)
            tl.store(by_label + at, zero, mask=(t < bound)[:, None] & inside)
            if STARTS:
                tl.store(by_start + at, zero, mask=(t < bound)[:, None] & inside)


@triton.jit
def _score(
    emissions, transitions, start, end, labels, lengths, out, frames, C: tl.constexpr, BT: tl.constexpr
):  # fmt: skip
    """Score the labels of a block of frames, in float64.

    Return NaN if a label is missing, and -inf if one is beyond the classes, because labels may be unchecked.
    """
    recording = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BT + tl.arange(0, BT)
    length = tl.load(lengths + recording)
    valid = t < length
    at = recording * frames + t
    label = tl.load(labels + at, mask=valid, other=0)
    before = tl.load(labels + at - 1, mask=valid & (t > 0), other=0)
    known = (label >= 0) & (before >= 0)
    outside = tl.max(tl.where((label >= C) | (before >= C), 1, 0), 0) > 0
    valid &= known & (label < C) & (before < C)
    score = tl.load(emissions + at * C + label, mask=valid, other=0.0).to(tl.float64)
    score += tl.load(transitions + before * C + label, mask=valid & (t > 0), other=0.0).to(tl.float64)
    score += tl.load(start + label, mask=valid & (t == 0), other=0.0).to(tl.float64)
    score += tl.load(end + label, mask=valid & (t == length - 1), other=0.0).to(tl.float64)
    missing = tl.max(tl.where(known, 0, 1), 0) > 0
    total = tl.where(missing, float("nan"), tl.where(outside, float("-inf"), tl.sum(score, 0)))
    tl.store(out + recording * tl.num_programs(1) + tl.program_id(1), total)


@triton.jit
def _trace(
    pointers, lengths, last, out, rows, frames, pieces, size, C: tl.constexpr, CP: tl.constexpr, BB: tl.constexpr,
    FAN: tl.constexpr, MAP: tl.constexpr
):  # fmt: skip
    """Follow the backpointers of a piece: into labels, or as a map from every class (FAN = C) to the label before."""
    row, live, recording, begin, stop = _rows(lengths, last, rows, frames, pieces, size, BB, FAN, False)
    c = tl.arange(0, CP)
    if MAP:  # noqa: SIM108 - decided when compiled: types differ
        label = (row % FAN).to(tl.int64)
    else:
        label = tl.load(last + row, mask=live, other=0)
    at = recording * frames + stop - 1
    inside = (c < C)[None, :]
    following = tl.load(pointers + at[:, None] * C + c[None, :], mask=(stop > begin)[:, None] & inside, other=0)
    for i in range(tl.max(stop - begin, 0)):
        t = stop - 1 - i
        at = recording * frames + t
        valid = t >= begin
        row_before = following
        following = tl.load(pointers + (at - 1)[:, None] * C + c[None, :], mask=(t > begin)[:, None] & inside, other=0)
        if not MAP:
            tl.store(out + at, label, mask=valid)
        before = tl.sum(tl.where(c[None, :] == label[:, None], row_before, 0).to(tl.int32), 1)
        label = tl.where(valid, before.to(tl.int64), label)
    if MAP:
        tl.store(out + row, label, mask=live)


@triton.jit
def _link(final, before, last, pieces, C: tl.constexpr):
    """Find the last label of each piece, from the last piece to the first."""
    recording = tl.program_id(0).to(tl.int64)
    label = tl.load(final + recording)
    for k in range(pieces):
        piece = recording * pieces + (pieces - 1 - k)
        tl.store(last + piece, label)
        label = tl.load(before + piece * C + label)
