"""Semi-Markov chain on a GPU: one program per recording, in O(C K + C^2) per frame; see `numba_forward_backward`.

Scores of segments are kept as differences of prefix sums, so a frame is one log-sum over the last K starts, less the
maximum of that window: scores of any range, and -inf, are exact. All sums are float64, because prefix sums grow with
time and marginals are running differences; the data-centre GPUs that train on long recordings compute float64 at half
the speed of float32. Counts of durations need no order in time, so separate programs sum them.

No result is added by atomics and the host reads no value back, so runs are identical bit by bit.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# The functions below are compiled: Triton infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segcrf.kernels.layout import clamp, working_dtype
from segcrf.kernels.triton_runtime import finite, log_add, options, padded_classes

__all__ = ["log_partition", "log_prob", "max_product", "sum_product"]

_BLOCK = 4096  # elements of a window in registers at once
_STRETCH = 512  # frames per program that counts durations


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(*inputs: Tensor) -> Tensor:
    """Return the log partition (B,), float64."""
    return _Scan.over(*inputs).forward().log_z


def sum_product(*inputs: Any) -> tuple[Tensor, ...]:
    """Return the log partition and, per recording, the expected counts of each potential and, on request, of starts."""
    *potentials, starts = inputs
    scan = _Scan.over(*potentials)
    return scan.backward(scan.forward(), starts)


def log_prob(*inputs: Any) -> tuple[Tensor, ...]:
    """Return the log-probability of labels, the log partition and, on request, expected less observed counts.

    The labels are a restriction of the same sums, so complete labels cost a second pass too.
    """
    emissions, *shared, labels, lengths, gradient = inputs
    free = _Scan.over(emissions, *shared, lengths)
    clamped = _Scan.over(clamp(emissions, labels, lengths), *shared, lengths)
    if gradient:
        log_z, *counts, _ = free.backward(free.forward(), False)
        score, *observed, _ = clamped.backward(clamped.forward(), False)
        counts = [count.sub_(seen) for count, seen in zip(counts, observed, strict=True)]
    else:
        log_z, score = free.forward().log_z, clamped.forward().log_z
        shapes = [emissions.shape[1:], *(p.shape for p in shared)]
        counts = [emissions.new_empty((0, *shape), dtype=working_dtype(emissions)) for shape in shapes]
    return torch.where(log_z == -torch.inf, log_z, score - log_z), log_z, *counts


def max_product(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T)."""
    return _Scan.over(*inputs).best()


# ------------------------------------------------------------------------------------------------------ launches
class _Forward(NamedTuple):
    """``opened``: enter less prefix sums (B, T, C); ``close`` (B, T, C); ``ends`` and the last prefix sums (B, C)."""

    opened: Tensor
    close: Tensor
    ends: Tensor
    sums: Tensor
    log_z: Tensor


class _Scan(NamedTuple):
    emissions: Tensor
    shared: tuple[Tensor, ...]  # transitions, durations, tail, start, end, first, last
    lengths: Tensor
    vectors: tuple[Tensor, ...]  # tail, start, end, float64
    transitions: Tensor
    tables: Tensor  # durations, first, last: (3, C, K)

    @classmethod
    def over(cls, emissions: Tensor, *rest: Tensor) -> _Scan:
        *shared, lengths = rest
        transitions, durations, tail, start, end, first, last = (p.detach().double() for p in shared)
        return cls(
            emissions.detach().contiguous(), tuple(shared), lengths.contiguous(), (tail, start, end),
            transitions.contiguous(), torch.stack([durations, first, last])
        )  # fmt: skip

    @property
    def sizes(self) -> dict[str, Any]:
        padded = padded_classes(self.emissions.shape[2])
        longest = self.tables.shape[2]
        block = min(triton.next_power_of_2(longest), max(16, _BLOCK // padded))
        return {
            "C": self.emissions.shape[2], "CP": padded, "K": longest, "KB": block,
            **options(padded * max(block, padded))
        }  # fmt: skip

    def empty(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.emissions.device)

    def forward(self) -> _Forward:
        batch, frames, classes = self.emissions.shape
        out = _Forward(
            self.empty(batch, frames, classes), self.empty(batch, frames, classes), self.empty(batch, classes),
            self.empty(batch, classes), self.empty(batch)
        )  # fmt: skip
        _forward[(batch,)](
            self.emissions, self.transitions, self.tables, *self.vectors, self.lengths, *out, frames, **self.sizes
        )
        return out

    def backward(self, forward: _Forward, starts: bool) -> tuple[Tensor, ...]:
        batch, frames, classes = self.emissions.shape
        dtype = working_dtype(self.emissions)
        longest = self.tables.shape[2]
        followed = self.empty(batch, frames, classes)
        blocked = self.empty(batch, frames, classes, dtype=torch.int32)
        by_label = self.empty(batch, frames, classes, dtype=dtype)
        by_start = self.empty(batch if starts else 0, frames, classes, dtype=dtype)
        steps, tails = self.empty(batch, classes, classes), self.empty(3, batch, classes)
        first_counts, last_counts = (
            torch.zeros(batch, classes, longest, dtype=torch.float64, device=self.emissions.device) for _ in range(2)
        )
        begins, overlong = self.empty(batch, classes), self.empty(batch, classes)
        _backward[(batch,)](
            self.emissions, self.transitions, self.tables, *self.vectors, self.lengths, *forward, followed, blocked,
            by_label, by_start, steps, overlong, tails[0], frames, STARTS=starts, **self.sizes
        )  # fmt: skip
        edges = (first_counts, last_counts, tails[1], tails[2], begins)
        _edges[(batch,)](
            self.tables, *self.vectors, self.lengths, forward.opened, forward.sums, forward.log_z, followed, blocked,
            *edges, by_start, frames, STARTS=starts, BT=min(256, triton.next_power_of_2(frames)),
            C=classes, CP=padded_classes(classes), K=longest, **options(4096)
        )  # fmt: skip
        stretches = triton.cdiv(frames, _STRETCH)
        sizes = self.sizes
        durations = self.empty(batch, stretches, classes, longest)
        _durations[(batch, stretches, triton.cdiv(longest, sizes["KB"]))](
            self.tables, self.lengths, forward.opened, forward.log_z, followed, blocked, durations, frames,
            STRETCH=_STRETCH, **sizes
        )  # fmt: skip
        by_duration = durations.sum(1)
        by_duration[:, :, -1] += overlong
        last = (forward.ends - torch.where(forward.log_z == -torch.inf, torch.inf, forward.log_z)[:, None]).exp()
        counts = (steps, by_duration, tails.sum(0), begins, last, first_counts, last_counts)
        return forward.log_z, by_label, *(count.to(dtype) for count in counts), by_start

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        batch, frames, classes = self.emissions.shape
        score = self.empty(batch)
        opened = self.empty(batch, frames, classes)
        lasted = self.empty(batch, frames, classes, dtype=torch.int32)
        before = self.empty(batch, frames, classes, dtype=torch.int16)
        last = self.empty(batch, dtype=torch.int32)
        labels = torch.full((batch, frames), -100, dtype=torch.int64, device=self.emissions.device)
        starts = torch.zeros(batch, frames, dtype=torch.bool, device=self.emissions.device)
        _best[(batch,)](
            self.emissions, self.transitions, self.tables, *self.vectors, self.lengths, opened, lasted, before, last,
            score, frames, **self.sizes
        )  # fmt: skip
        _trace[(batch,)](lasted, before, last, score, self.lengths, labels, starts, frames, C=classes, **options(1))
        return score, labels, starts


# ------------------------------------------------------------------------------------------------------- forward
@triton.jit
def _long(tables, which, tail, c, duration, C: tl.constexpr, K: tl.constexpr):
    """Return the score of one duration: the table up to K, the geometric tail beyond."""
    duration += tl.zeros_like(c)
    entry = tl.minimum(duration, K) - 1
    score = tl.load(tables + which * C * K + c * K + entry, mask=(c < C) & (entry >= 0), other=-float("inf"))
    return (
        score
        + tl.where(duration > K, (duration - K) * finite(tail), 0.0)
        + tl.where((duration > K) & (tail == -float("inf")), -float("inf"), 0.0)
    )


@triton.jit
def _window(opened, tables, which, base, t, alive, c, top, total, C: tl.constexpr, K: tl.constexpr, KB: tl.constexpr):
    """Add to (maximum, scaled sum) the segments of at most K frames that end with frame t."""
    for first in range(0, K, KB):
        lag = first + tl.arange(0, KB)
        s = t - lag
        allowed = (lag < K)[None, :] & (s >= 1)[None, :] & (s[None, :] >= alive[:, None]) & (c < C)[:, None]
        x = tl.load(opened + base + s[None, :] * C + c[:, None], mask=allowed, other=-float("inf"))
        x += tl.load(tables + which * C * K + c[:, None] * K + lag[None, :], mask=allowed, other=-float("inf"))
        best = tl.maximum(top, tl.max(x, 1))
        shift = finite(best)
        total = total * tl.exp(top - shift) + tl.sum(tl.exp(x - shift[:, None]), 1)
        top = best
    return top, total


@triton.jit
def _across(scores, pairs, AXIS: tl.constexpr):
    """Return log-sums over one side of the transitions, and each pair's share of its sum."""
    if AXIS == 0:
        both = scores[:, None] + pairs
        top = finite(tl.max(both, 0))
        shares = tl.exp(both - top[None, :])
    else:
        both = pairs + scores[None, :]
        top = finite(tl.max(both, 1))
        shares = tl.exp(both - top[:, None])
    mass = tl.sum(shares, AXIS)
    return top + tl.log(mass), shares, tl.where(mass > 0.0, mass, 1.0)


@triton.jit
def _vector(pointer, c, C: tl.constexpr):
    return tl.load(pointer + c, mask=c < C, other=-float("inf"))


@triton.jit
def _matrix(transitions, c, C: tl.constexpr):
    inside = (c < C)[:, None] & (c < C)[None, :]
    return tl.load(transitions + c[:, None] * C + c[None, :], mask=inside, other=-float("inf"))


@triton.jit
def _forward(
    emissions, transitions, tables, tail, start, end, lengths, opened, close, ends, sums, log_z, frames,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, KB: tl.constexpr
):  # fmt: skip
    recording = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + recording).to(tl.int32)
    c = tl.arange(0, CP)
    base = recording * frames * C
    pairs, decay = _matrix(transitions, c, C), _vector(tail, c, C)
    opening = _vector(start, c, C)
    enter = opening
    prefix = tl.zeros([CP], tl.float64)
    beyond = tl.full([CP], -float("inf"), tl.float64)
    closed = beyond
    alive = tl.zeros([CP], tl.int32)  # the frame after the last one that forbids the class
    for t in range(length):
        score = tl.load(emissions + base + t * C + c, mask=c < C, other=-float("inf")).to(tl.float64)
        tl.store(opened + base + t * C + c, enter - prefix, mask=c < C)
        tl.debug_barrier()  # other threads read it as a part of their window
        prefix += finite(score)
        alive = tl.where(score == -float("inf"), t + 1, alive)
        behind = tl.zeros_like(c) + (t - K)
        older = (behind >= 1) & (behind >= alive) & (c < C)
        beyond = log_add(beyond, tl.load(opened + base + behind * C + c, mask=older, other=-float("inf"))) + decay
        beyond = tl.where(alive == t + 1, -float("inf"), beyond)
        which = tl.where(t == length - 1, 2, 0)
        whole = tl.where(alive == 0, opening + _long(tables, 1, decay, c, t + 1, C, K), -float("inf"))
        over = beyond + tl.load(tables + which * C * K + c * K + K - 1, mask=c < C, other=-float("inf"))
        top = tl.maximum(whole, over)
        total = tl.exp(whole - finite(top)) + tl.exp(over - finite(top))
        top, total = _window(opened, tables, which, base, t, alive, c, top, total, C, K, KB)
        closed = finite(top) + tl.log(total) + prefix
        tl.store(close + base + t * C + c, closed, mask=c < C)
        enter, _, _ = _across(closed, pairs, 0)
    closed += _vector(end, c, C)
    tl.store(ends + recording * C + c, closed, mask=c < C)
    tl.store(sums + recording * C + c, prefix, mask=c < C)
    shift = finite(tl.max(closed, 0))
    tl.store(log_z + recording, shift + tl.log(tl.sum(tl.exp(closed - shift), 0)))


# ------------------------------------------------------------------------------------------------------ backward
@triton.jit
def _possible(log_z, recording):
    """Return the log partition; +inf if no labelling is allowed, so that every probability becomes 0."""
    total = tl.load(log_z + recording)
    return tl.where(total == -float("inf"), float("inf"), total)


@triton.jit
def _backward(
    emissions, transitions, tables, tail, start, end, lengths, opened, close, ends, sums, log_z, followed, blocked,
    by_label, by_start, steps, overlong, tails, frames, STARTS: tl.constexpr,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, KB: tl.constexpr
):  # fmt: skip
    """Write marginals from the last frame to the first, as a running difference of ends and starts.

    ``followed`` is the log-sum over everything after an end, plus prefix sums; ``blocked`` the next frame that forbids
    the class.
    """
    recording = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + recording).to(tl.int32)
    possible = _possible(log_z, recording)
    c = tl.arange(0, CP)
    real = c < C
    base = recording * frames * C
    pairs, decay = _matrix(transitions, c, C), _vector(tail, c, C)
    last_sum = tl.load(sums + recording * C + c, mask=real, other=0.0)
    closing = last_sum + _vector(end, c, C)
    longest = tl.load(tables + c * K + K - 1, mask=real, other=-float("inf"))
    posterior = tl.exp(tl.load(ends + recording * C + c, mask=real, other=-float("inf")) - possible)
    prefix = last_sum
    beyond = tl.full([CP], -float("inf"), tl.float64)
    mean, over, tail_count = tl.zeros([CP], tl.float64), tl.zeros([CP], tl.float64), tl.zeros([CP], tl.float64)
    counts = tl.zeros([CP, CP], tl.float64)
    alive = tl.zeros([CP], tl.int32) + length
    for i in range(length - 1):
        s = length - 1 - i
        at = base + s * C + c
        score = tl.load(emissions + at, mask=real, other=-float("inf")).to(tl.float64)
        forbidden = score == -float("inf")
        alive = tl.where(forbidden, s, alive)
        tl.store(blocked + at, alive, mask=real)
        beyond = tl.where(forbidden, -float("inf"), beyond)
        # Exactly zero, without rounding error: a forbidden score times a probability must be zero.
        posterior = tl.where(forbidden, 0.0, posterior)
        tl.store(by_label + at, tl.minimum(tl.maximum(posterior, 0.0), 1.0), mask=real)
        prefix -= finite(score)
        begun = tl.load(opened + at, mask=real, other=-float("inf"))
        ahead = tl.zeros_like(c) + (s + K)
        older = (ahead < length - 1) & (ahead < alive) & real
        old = tl.load(followed + base + ahead * C + c, mask=older, other=-float("inf"))
        joined = log_add(beyond, old)
        mean = tl.where(joined > -float("inf"), 1.0 + mean * tl.exp(beyond - finite(joined)), 0.0)
        beyond = joined + decay
        mass = tl.exp(begun + beyond + longest - possible)
        over += mass
        tail_count += mass * mean
        final = _long(tables, 2, decay, c, length - s, C, K) + closing
        final = tl.where(alive == length, final, -float("inf"))
        top = tl.maximum(final, beyond + longest)
        total = tl.exp(final - finite(top)) + tl.exp(beyond + longest - finite(top))
        for first in range(0, K, KB):
            lag = first + tl.arange(0, KB)
            t = s + lag
            allowed = (lag < K)[None, :] & (t < length - 1)[None, :] & (t[None, :] < alive[:, None]) & real[:, None]
            x = tl.load(followed + base + t[None, :] * C + c[:, None], mask=allowed, other=-float("inf"))
            x += tl.load(tables + c[:, None] * K + lag[None, :], mask=allowed, other=-float("inf"))
            best = tl.maximum(top, tl.max(x, 1))
            total = total * tl.exp(top - finite(best)) + tl.sum(tl.exp(x - finite(best)[:, None]), 1)
            top = best
        begin = finite(top) + tl.log(total) - prefix
        begin = tl.where(forbidden, -float("inf"), begin)
        share = tl.exp(begun + prefix + begin - possible)
        posterior -= share
        if STARTS:
            tl.store(by_start + at, share, mask=real)
        leave, shares, mass_of = _across(begin, pairs, 1)
        ending = tl.exp(tl.load(close + at - C, mask=real, other=-float("inf")) + leave - possible)
        counts += shares * (ending / mass_of)[:, None]
        posterior += ending
        tl.store(followed + at - C, leave + prefix, mask=real)
        tl.debug_barrier()  # other threads read it as a part of their window
    score = tl.load(emissions + base + c, mask=real, other=-float("inf")).to(tl.float64)
    forbidden = score == -float("inf")
    tl.store(blocked + base + c, tl.where(forbidden, 0, alive), mask=real)
    tl.store(by_label + base + c, tl.where(forbidden, 0.0, tl.minimum(tl.maximum(posterior, 0.0), 1.0)), mask=real)
    inside = real[:, None] & real[None, :]
    tl.store(steps + recording * C * C + c[:, None] * C + c[None, :], counts, mask=inside)
    tl.store(overlong + recording * C + c, over, mask=real)
    tl.store(tails + recording * C + c, tail_count, mask=real)
    for t in range(length, frames):
        tl.store(by_label + base + t * C + c, tl.zeros([CP], tl.float64), mask=real)
        if STARTS:
            tl.store(by_start + base + t * C + c, tl.zeros([CP], tl.float64), mask=real)


@triton.jit
def _edges(
    tables, tail, start, end, lengths, opened, sums, log_z, followed, blocked, first_counts, last_counts, first_tails,
    last_tails, begins, by_start, frames, STARTS: tl.constexpr, BT: tl.constexpr,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """Write counts of the segments that touch an edge of the recording, one of each length and class."""
    recording = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + recording).to(tl.int32)
    possible = _possible(log_z, recording)
    c = tl.arange(0, CP)
    real = c < C
    base = recording * frames * C
    decay = _vector(tail, c, C)[:, None]
    closing = (tl.load(sums + recording * C + c, mask=real, other=0.0) + _vector(end, c, C))[:, None]
    opening = _vector(start, c, C)[:, None]
    until = tl.load(blocked + base + c, mask=real, other=0)[:, None]
    first_long, first_tail = tl.zeros([CP], tl.float64), tl.zeros([CP], tl.float64)
    last_long, last_tail = tl.zeros([CP], tl.float64), tl.zeros([CP], tl.float64)
    total = tl.zeros([CP], tl.float64)
    for low in range(0, length, BT):
        t = (low + tl.arange(0, BT))[None, :]
        valid = (t < length) & real[:, None]
        at = base + t * C + c[:, None]
        table = (recording * C + c[:, None]) * K
        # From the first frame to frame t.
        after = tl.load(followed + at, mask=valid & (t < length - 1), other=-float("inf"))
        after = tl.where(t == length - 1, closing, after)
        mass = tl.exp(opening + _long(tables, 1, decay, c[:, None], t + 1, C, K) + after - possible)
        mass = tl.where(valid & (t < until), mass, 0.0)
        tl.store(first_counts + table + t, mass, mask=valid & (t < K - 1))
        first_long += tl.sum(tl.where(t >= K - 1, mass, 0.0), 1)
        first_tail += tl.sum(mass * tl.maximum(t + 1 - K, 0), 1)
        total += tl.sum(mass, 1)
        # From frame t to the last one; the segment from the first frame is counted above.
        free = tl.load(blocked + at, mask=valid & (t > 0), other=0) >= length
        before = tl.load(opened + at, mask=valid & (t > 0), other=-float("inf"))
        mass = tl.exp(before + _long(tables, 2, decay, c[:, None], length - t, C, K) + closing - possible)
        mass = tl.where(valid & (t > 0) & free, mass, 0.0)
        lasting = length - t
        tl.store(last_counts + table + lasting - 1, mass, mask=valid & (t > 0) & (lasting < K))
        last_long += tl.sum(tl.where(lasting >= K, mass, 0.0), 1)
        last_tail += tl.sum(mass * tl.maximum(lasting - K, 0), 1)
    vector = recording * C + c
    tl.store(first_counts + vector * K + K - 1, first_long, mask=real)
    tl.store(last_counts + vector * K + K - 1, last_long, mask=real)
    tl.store(first_tails + vector, first_tail, mask=real)
    tl.store(last_tails + vector, last_tail, mask=real)
    tl.store(begins + vector, total, mask=real)
    if STARTS:
        tl.store(by_start + base + c, total, mask=real)


@triton.jit
def _durations(
    tables, lengths, opened, log_z, followed, blocked, out, frames, STRETCH: tl.constexpr,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, KB: tl.constexpr
):  # fmt: skip
    """Write counts of durations up to K of the segments that begin in a range of frames and touch no edge."""
    recording, stretch = tl.program_id(0).to(tl.int64), tl.program_id(1)
    length = tl.load(lengths + recording).to(tl.int32)
    possible = _possible(log_z, recording)
    c = tl.arange(0, CP)
    lag = tl.program_id(2) * KB + tl.arange(0, KB)
    inside = (c < C)[:, None] & (lag < K)[None, :]
    scores = tl.load(tables + c[:, None] * K + lag[None, :], mask=inside, other=-float("inf")) - possible
    base = recording * frames * C
    counts = tl.zeros([CP, KB], tl.float64)
    for s in range(tl.maximum(stretch * STRETCH, 1), tl.minimum((stretch + 1) * STRETCH, length - 1)):
        begun = tl.load(opened + base + s * C + c, mask=c < C, other=-float("inf"))
        bound = tl.minimum(tl.load(blocked + base + s * C + c, mask=c < C, other=0), length - 1)
        t = s + lag
        allowed = inside & (t[None, :] < bound[:, None])
        x = tl.load(followed + base + t[None, :] * C + c[:, None], mask=allowed, other=-float("inf"))
        counts += tl.exp(x + begun[:, None] + scores)
    place = (recording * tl.num_programs(1) + stretch) * C + c[:, None]
    tl.store(out + place * K + lag[None, :], counts, mask=inside)


# ------------------------------------------------------------------------------------------------------------ max
@triton.jit
def _best(
    emissions, transitions, tables, tail, start, end, lengths, opened, lasted, before, last, score_of, frames,
    C: tl.constexpr, CP: tl.constexpr, K: tl.constexpr, KB: tl.constexpr
):  # fmt: skip
    """Write for each frame and class the length of the best segment that ends there, and the class before its next one.

    The longest of equals is taken, as in `numba_viterbi`.
    """
    recording = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + recording).to(tl.int32)
    c = tl.arange(0, CP)
    real = c < C
    base = recording * frames * C
    pairs, decay = _matrix(transitions, c, C), _vector(tail, c, C)
    opening = _vector(start, c, C)
    enter = opening
    prefix = tl.zeros([CP], tl.float64)
    beyond = tl.full([CP], -float("inf"), tl.float64)
    closed = beyond
    since, alive = tl.zeros([CP], tl.int32), tl.zeros([CP], tl.int32)
    for t in range(length):
        at = base + t * C + c
        score = tl.load(emissions + at, mask=real, other=-float("inf")).to(tl.float64)
        tl.store(opened + at, enter - prefix, mask=real)
        tl.debug_barrier()  # other threads read it as a part of their window
        prefix += finite(score)
        alive = tl.where(score == -float("inf"), t + 1, alive)
        beyond = tl.where(alive == t + 1, -float("inf"), beyond)
        behind = tl.zeros_like(c) + (t - K)
        older = (behind >= 1) & (behind >= alive) & real
        old = tl.load(opened + base + behind * C + c, mask=older, other=-float("inf"))
        since = tl.where(old > beyond, behind, since)
        beyond = tl.maximum(old, beyond) + decay
        which = tl.where(t == length - 1, 2, 0)
        best = beyond + tl.load(tables + which * C * K + c * K + K - 1, mask=real, other=-float("inf"))
        begun = since
        for first in range(0, K, KB):
            s = t - K + 1 + first + tl.arange(0, KB)  # the earliest first
            allowed = (s >= 1)[None, :] & (s <= t)[None, :] & (s[None, :] >= alive[:, None]) & real[:, None]
            x = tl.load(opened + base + s[None, :] * C + c[:, None], mask=allowed, other=-float("inf"))
            x += tl.load(tables + which * C * K + c[:, None] * K + (t - s)[None, :], mask=allowed, other=-float("inf"))
            top, place = tl.max(x, 1, return_indices=True)
            begun = tl.where(top > best, t - K + 1 + first + place, begun)
            best = tl.maximum(top, best)
        whole = tl.where(alive == 0, opening + _long(tables, 1, decay, c, t + 1, C, K), -float("inf"))
        from_start = (whole > best) | ((whole == best) & (tl.zeros_like(c) + t == length - 1))
        begun = tl.where(from_start, 0, begun)
        closed = tl.maximum(whole, best) + prefix
        tl.store(lasted + at, t + 1 - begun, mask=real)
        enter, place = tl.max(closed[:, None] + pairs, 0, return_indices=True)
        tl.store(before + at + C, place.to(tl.int16), mask=real & (tl.zeros_like(c) + t + 1 < length))
    closed += _vector(end, c, C)
    tl.store(score_of + recording, tl.max(closed, 0))
    tl.store(last + recording, tl.argmax(closed, 0).to(tl.int32))


@triton.jit
def _trace(lasted, before, last, score, lengths, labels, starts, frames, C: tl.constexpr):
    """Trace one recording back, frame by frame; write nothing if no labelling is allowed."""
    recording = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + recording).to(tl.int32)
    length = tl.where(tl.load(score + recording) == -float("inf"), 0, length)
    base = recording * frames
    label = tl.load(last + recording)
    begun = length
    for i in range(length):
        t = length - 1 - i
        if t < begun:  # the frame before a segment is the last one of another
            if begun < length:
                label = tl.load(before + (base + begun) * C + label).to(tl.int32)
            begun = t + 1 - tl.load(lasted + (base + t) * C + label)
        tl.store(labels + base + t, label.to(tl.int64))
        tl.store(starts + base + t, t == begun)
