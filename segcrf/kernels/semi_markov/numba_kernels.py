"""Semi-Markov chain on a CPU: exact sums in O(C K + C^2) per frame and O(T C) memory, and best segmentations.

Let S[t] be the prefix sums of the emissions, ``enter[s]`` the log-sum over all ways to begin a segment at frame s, and
``close[t]`` that over all ways to end one with frame t. A segment that lasts [s, t] adds S[t+1] - S[s] and its
duration score, so

    close[t] = S[t+1] + log sum_d exp(G[t+1-d] + durations[d]),   G[s] = enter[s] - S[s]

is a dot product over the window of the last K starts, when ``exp(G - reference)`` is kept beside G. Beyond K the sum is
carried by one number per class and its scale. Transitions enter between segments, once per frame. Classes lie in SIMD
lanes, in vectors of `_simd`: dot products, exponentials and logarithms of eight classes at a time.

Differences of prefix sums are exact where the sums stay small. A score of one frame that is ``_WIDE`` below the best of
its frame, as a mask of -1e9 is, would drown all others: the sums pass over it as over -inf, and a sweep adds it to
every segment that it finds open.

Nothing is lost in scaling: a sum that comes out between 1e-150 and 1e300 has dropped terms below 1e-300 only, less
than float64 resolves; any other one is taken again in log space, and gives a new reference. The check is per class and
frame, so no recording is ever too wide.

The way back is the same sweep with time reversed: ``begin[s]`` sums over all that can follow a start at s, ``leave[t]``
over all that can follow an end at t. It keeps K frames and a block; marginals of labels are a running difference of
starts and ends.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.guard import check_labels
from segcrf.kernels.layout import clamp, working_dtype
from segcrf.kernels.linear_chain.numba_lanes import copy
from segcrf.kernels.linear_chain.numba_rows import outer, read, write
from segcrf.kernels.numba_runtime import array, compiled, explicit, inlined, label_range, part, share
from segcrf.kernels.simd import (
    WIDTH,
    any_outside,
    exp,
    fma,
    larger,
    load,
    log,
    peak,
    smaller,
    splat,
    store,
    where_above,
)  # fmt: skip

_LOW, _HIGH = 1e-150, 1e300
_SPAN = 300.0
_WIDE = 5e3
_BLOCK = 64  # frames of a window that are kept beyond K
_TAPS = 4  # durations that are summed apart


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(*inputs: Tensor) -> Tensor:
    """Log partition (B,), float64."""
    return _sum(*inputs, gradient=False, starts=False)[0]


def sum_product(*inputs: Any) -> tuple[Tensor, ...]:
    """Log partition, and per recording the expected counts of each potential and (if asked) of band starts."""
    *potentials, starts = inputs
    return _sum(*potentials, gradient=True, starts=starts)


def log_prob(*inputs: Any) -> tuple[Tensor, ...]:
    """Log-probability of labels, log partition, and expected less observed counts (if asked)."""
    emissions, *shared, labels, lengths, gradient = inputs
    tables = _tables(shared)
    log_z, by_label, counts, _ = _scaled(emissions, tables, lengths, gradient=gradient, starts=False)
    score = torch.empty_like(log_z)
    observed = (array(emissions), labels.numpy(), lengths.numpy(), *tables.plain[:5], *tables.laid_out[4:6])
    if _observe(*observed, log_z.numpy(), score.numpy(), by_label.numpy(), counts.numpy()):
        check_labels(labels, emissions.shape[2], lengths)
    rows = score.isnan().nonzero()[:, 0]
    if len(rows):
        clamped = clamp(emissions[rows], labels[rows], lengths[rows])
        score[rows], *seen, _ = _scaled(clamped, tables, lengths[rows], gradient=gradient, starts=False)
        if gradient:
            by_label[rows] -= seen[0]
            counts[rows] -= seen[1]
    log_prob = torch.where(log_z == -torch.inf, log_z, score - log_z)
    return log_prob, log_z, by_label, *_apart(counts, shared, by_label.dtype)


def max_product(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best score (B,), labels (B, T) and band starts (B, T)."""
    emissions, *shared, lengths = inputs
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    tables = tuple(p.detach().double().contiguous().numpy() for p in shared)
    arrays = (array(emissions), lengths.numpy(), tables, scores.numpy(), labels.numpy(), starts.numpy())
    work = 2.0 * emissions.numel() * (shared[1].shape[1] + classes + 20)
    share(lambda first, last: _max_rows(*arrays, first, last), batch, work)
    return scores, labels, starts


class _Tables(NamedTuple):
    """What all recordings share: the scores, and as the kernels read them."""

    plain: tuple[Any, ...]
    laid_out: tuple[Any, ...]


def _tables(shared: Sequence[Tensor]) -> _Tables:
    plain = tuple(p.detach().double().contiguous().numpy() for p in shared)
    return _Tables(plain, _laid_out(*plain))


def _sum(*inputs: Tensor, gradient: bool, starts: bool) -> tuple[Tensor, ...]:
    emissions, *shared, lengths = inputs
    log_z, by_label, counts, by_start = _scaled(emissions, _tables(shared), lengths, gradient=gradient, starts=starts)
    return log_z, by_label, *_apart(counts, shared, by_label.dtype), by_start


def _scaled(emissions: Tensor, tables: _Tables, lengths: Tensor, *, gradient: bool, starts: bool) -> tuple[Tensor, ...]:
    """Log partition, counts of labels, those of all shared scores in one row a recording, and those of starts."""
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array tells the kernel not to compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    by_label = torch.zeros(rows, frames, classes, dtype=dtype)
    counts = torch.zeros(rows, sum(scores.size for scores in tables.plain), dtype=torch.float64)
    by_start = torch.zeros(batch if starts else 0, frames, classes, dtype=dtype)
    durations = tables.plain[1]
    inputs = (array(emissions).reshape(-1), lengths.numpy(), durations, *tables.laid_out)
    outputs = (log_z.numpy(), by_label.numpy().reshape(-1), counts.numpy(), by_start.numpy().reshape(-1))
    work = emissions.numel() * (durations.shape[1] + classes + 40) * (3.0 if gradient else 1.0)
    share(lambda first, last: _sum_rows(*inputs, *outputs, first, last), batch, work)
    return log_z, by_label, counts, by_start


def _apart(counts: Tensor, shared: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The counts of each of the shared scores, in tensors of their own."""
    parts = counts.split([scores.numel() for scores in shared], 1)
    return tuple(part.to(dtype, copy=True).reshape(-1, *p.shape) for part, p in zip(parts, shared, strict=True))


# ------------------------------------------------------------------------------------------------- a recording
# What a sweep carries from frame to frame, a row of numbers each: per class the reference of the window; the mass
# beyond K, that mass times its frames beyond K, and the scale of both; the score of a segment that fills everything so
# far; the frame after the last that forbids the class, and the first such frame; the score of entering the next frame.
_REFERENCE, _BEYOND, _FRAMES, _SCALE, _WHOLE, _SINCE, _UNTIL, _NEXT, _STATE = range(9)
# What all sweeps share, a row each: the best score of the durations, that of K frames, the tail, 1 for a class, the best
# score of a duration anywhere.
_TOP, _KTH, _TAIL, _VALID, _MOST, _SHARED = range(6)


@explicit
def _laid_out(transitions, durations, tail, start, end, first, last):
    """Scores in flat arrays, a row of whole vectors for each duration or class: the weights of durations (NaN where
    they could underflow), what sweeps share, and per direction the moves and the durations at the edge. Moves are
    the weights of transitions, then 1 for a class that can be reached, the scores at the edge, and the transitions.
    """
    classes, size = durations.shape
    row, taps = (classes + WIDTH - 1) // WIDTH * WIDTH, (size + _TAPS - 1) // _TAPS * _TAPS
    weights, shared = np.zeros(taps * row), np.zeros(_SHARED * row)
    forwards, backwards = np.zeros((2 * classes + 2) * row), np.zeros((2 * classes + 2) * row)
    opening, closing = np.empty(size * row), np.empty(size * row)
    top, narrow = _range(transitions, np.int64(0), classes)
    for c in range(row):
        real = c < classes
        shared[_KTH * row + c] = durations[c, size - 1] if real else -np.inf
        shared[_TAIL * row + c] = tail[c] if real else -np.inf
        shared[_VALID * row + c] = 1.0 if real else 0.0
        shared[_MOST * row + c] = -np.inf
        forwards[(classes + 1) * row + c] = start[c] if real else -np.inf
        backwards[(classes + 1) * row + c] = end[c] if real else -np.inf
        for k in range(size):
            opening[k * row + c] = first[c, k] if real else -np.inf
            closing[k * row + c] = last[c, k] if real else -np.inf
            if real:
                best = max(durations[c, k], first[c, k], last[c, k])
                shared[_MOST * row + c] = max(shared[_MOST * row + c], best)
    for c in range(classes):
        best, fits = _range(durations, c, c + 1)
        shared[_TOP * row + c] = best
        for k in range(size):
            weights[k * row + c] = np.exp(durations[c, k] - best) if fits else np.nan
        for j in range(classes):
            score = transitions[c, j]
            weight = np.exp(score - top)
            forwards[c * row + j] = backwards[j * row + c] = weight
            forwards[(classes + 2 + c) * row + j] = backwards[(classes + 2 + j) * row + c] = score
            if score > -np.inf:
                forwards[classes * row + j] = backwards[classes * row + c] = 1.0
    return weights, shared, forwards, backwards, opening, closing, top, narrow


@part
def _range(scores, begin, end):
    """The largest finite score of some rows, or 0, and whether finite scores span too little to underflow."""
    top, lowest = -np.inf, np.inf
    for i in range(begin, end):
        for j in range(scores.shape[1]):
            if scores[i, j] > -np.inf:
                top, lowest = max(top, scores[i, j]), min(lowest, scores[i, j])
    return (top, top - lowest < _SPAN) if top > -np.inf else (0.0, True)


@explicit
def _sum_rows(
    emissions, lengths, durations, weights, shared, forwards, backwards, opening, closing, top, narrow, log_z,
    by_label, counts, by_start, first, last,
):  # fmt: skip
    classes, size = durations.shape
    row = shared.size // _SHARED
    width, taps, frames = row // WIDTH, weights.size // row, emissions.size // classes // lengths.size
    block = max(_BLOCK, taps)
    logs, window, scratch = np.empty((taps + block) * row), np.empty((taps + block) * row), np.empty(4 * row)
    state, ends, until, posterior = np.empty(_STATE * row), np.empty(row), np.empty(row), np.empty(row)
    back = counts.shape[0] > 0
    left, begun = np.empty(block * row if back else 0), np.empty(block * row if back else 0)
    starts, nothing = np.empty(block * row if by_start.size else 0), np.empty(0)
    for b in range(first, last):
        length, offset, total = lengths[b], b * frames * classes, 0.0
        sums, forbids = np.empty((length + 1) * row), np.empty(length, np.bool_)
        entered, closed = np.empty(length * row), np.empty(length * row)
        log_z[b] = _prefix(emissions, offset, length, classes, width, shared, sums, forbids)
        count = counts[b] if back else nothing
        lower = np.zeros(length * row if back and forbids.any() else 0)
        if lower.size:
            _passed(emissions, offset, classes, row, forbids, lower)
        crossing = np.full(lower.size, np.inf)
        raw = np.zeros(taps * row if back else 0)
        tally, steps = np.zeros((2 * size + 3) * row), np.zeros(classes * row)
        # Forwards, then backwards: the same sweep, so that it is compiled once.
        for way in range(2 if back else 1):
            moves, edge = (backwards, closing) if way else (forwards, opening)
            enters, closes, before = (left, begun, entered) if way else (entered, closed, nothing)
            _fresh(state, logs, window, moves, sums, length * way, taps, row)
            for n in range(0, length, block):
                stop = min(n + block, length)
                origin = (length - stop) * way
                _sweep(
                    way, n, stop, length, emissions, offset, origin, forbids, sums, durations, weights, shared, moves,
                    edge, top, state, logs, window, scratch, enters, closes, before, total, raw, tally,
                    count if way else nothing, crossing,
                )  # fmt: skip
                copy(logs, block * width, logs, 0, taps * width)
                copy(window, block * width, window, 0, taps * width)
                if way:
                    for c in range(row if n == 0 else 0):
                        score = sums[length * row + c] + backwards[(classes + 1) * row + c]
                        left[(length - 1 - origin) * row + c] = score
                        posterior[c] = np.exp(ends[c] - total)
                    _collect(
                        n, stop, length, emissions, offset, forbids, sums, lower, crossing, shared, forwards, opening, top,
                        narrow, until, left, begun, entered, closed, total, posterior, starts, tally, count,
                    )  # fmt: skip
                    outer(left, begun, 0, stop - n, width, classes, steps)
                    for k in range(2 if by_start.size else 1):
                        source, out = (starts, by_start) if k else (closed[origin * row :], by_label)
                        write(source, offset + origin * classes, classes, stop - n, classes, width, out)
            if way == 0:
                total = _last(
                    emissions, offset, forbids, entered, opening, closing, shared, backwards, sums, state, length,
                    classes, ends,
                )  # fmt: skip
                log_z[b] += total
                for c in range(row):
                    until[c] = state[_UNTIL * row + c]
                if total == -np.inf:
                    break
        if back and total > -np.inf:
            _finish(raw, weights, tally, steps, forwards, ends, total, classes, size, row, count)


@part
def _finish(raw, weights, tally, steps, forwards, ends, total, classes, size, row, count):
    """All counts but those of labels and starts, class by class."""
    square, table = classes * classes, classes * size
    edges = square + table + classes
    for i in range(classes):
        for j in range(classes):
            count[i * classes + j] += steps[i * row + j] * forwards[i * row + j]
        for k in range(size):
            at = i * size + k
            if raw[k * row + i] > 0.0:
                count[square + at] += raw[k * row + i] * weights[k * row + i]
            count[edges + 2 * classes + at] = tally[(size + k) * row + i]
            count[edges + 2 * classes + table + at] = tally[k * row + i]
        count[square + i * size + size - 1] += tally[2 * size * row + i]
        count[square + table + i] = tally[(2 * size + 1) * row + i]
        count[edges + i] = tally[(2 * size + 2) * row + i]
        count[edges + classes + i] = np.exp(ends[i] - total)


@part
def _prefix(emissions, offset, length, classes, width, shared, sums, forbids):
    """Prefix sums of the scores less their maximum per frame, that pass over -inf and what is far below; which frames
    have such a class; and the sum of maxima."""
    zero, nothing, wide, shift = splat(0.0), splat(-np.inf), splat(-_WIDE), 0.0
    read(emissions, offset, classes, length, classes, sums, width, width)
    for v in range(width):
        store(sums, v, zero)
    for t in range(length):
        highest = nothing
        for v in range((t + 1) * width, (t + 2) * width):
            highest = larger(load(sums, v), highest)
        best, forbids[t] = peak(highest), False
        best = best if best > -np.inf else 0.0
        shift += best
        for v in range(width):
            at = (t + 1) * width + v
            x = load(sums, at) - splat(best)
            if any_outside(where_above(load(shared, _VALID * width + v), zero, x, zero), wide, splat(np.inf)):
                forbids[t] = True
            store(sums, at, load(sums, at - width) + where_above(x, wide, x, zero))
    return shift


@part
def _far_below(emissions, at, classes, c):
    """What the prefix sums leave out of the score of class c in the frame that begins at ``at``: all of it, less the
    maximum of the frame, where that is far below; else 0."""
    best = -np.inf
    for i in range(classes):
        best = max(best, np.float64(emissions[at + i]))
    x = np.float64(emissions[at + c]) - best if best > -np.inf else best
    return x if x <= -_WIDE else 0.0


@part
def _passed(emissions, offset, classes, row, forbids, lower):
    """Sums, up to each frame, of the finite scores that the prefix sums leave out."""
    for t in range(forbids.size):
        for c in range(classes):
            x = _far_below(emissions, offset + t * classes, classes, c) if forbids[t] else 0.0
            lower[t * row + c] = (lower[(t - 1) * row + c] if t else 0.0) + (x if x > -np.inf else 0.0)


@part
def _fresh(state, logs, window, moves, sums, origin, taps, row):
    """Before the first frame of a sweep."""
    for i in range(_STATE * row):
        state[i] = 0.0
    for i in range(taps * row):
        logs[i], window[i] = -np.inf, 0.0
    border = moves.size // 2
    for c in range(row):
        state[_WHOLE * row + c] = moves[border + c] + (sums[origin * row + c] if origin else 0.0)
        state[_UNTIL * row + c] = np.inf
        state[_NEXT * row + c] = -np.inf


# ---------------------------------------------------------------------------------------------------------- a sweep
@part
def _sweep(
    way, begin, end, length, emissions, offset, origin, forbids, sums, durations, weights, shared, moves, edge, top,
    state, logs, window, scratch, entered, closed, before, log_z, raw, tally, count, crossing,
):  # fmt: skip
    """Frames ``begin`` to ``end``, counted from the first or (``way`` = 1) from the last: the scores ``entered`` (less
    the prefix sum) and ``closed``. With ``before``, the scores entered the other way, count durations as well."""
    classes, size = durations.shape
    row = scratch.size // 4
    width, taps = row // WIDTH, weights.size // row
    zero, one, nothing, unknown = splat(0.0), splat(1.0), splat(-np.inf), splat(np.nan)
    low, high, sign = splat(_LOW), splat(_HIGH), splat(1.0 - 2.0 * way)
    for n in range(begin, end):
        at = length - 1 - n if way else n
        near, far = at + way, at + 1 - way
        here, kept = (taps + n - begin) * width, (at - origin) * width
        for v in range(width):
            score = load(state, _NEXT * width + v) - sign * load(sums, near * width + v)
            store(logs, here + v, score)
            store(entered, kept + v, score)
            x = score - load(state, _REFERENCE * width + v)
            if _exceeds(x, 340.0):
                for c in range(v * WIDTH, (v + 1) * WIDTH):
                    newest = logs[here * WIDTH + c]
                    if newest - state[_REFERENCE * row + c] > 340.0:
                        _refer(c, newest, here * WIDTH + c, min(size, n), row, logs, window, state)
                x = score - load(state, _REFERENCE * width + v)
            store(window, here + v, exp(x))
        if forbids[at]:
            for c in range(classes):
                x = _far_below(emissions, offset + at * classes, classes, c)
                if x == -np.inf:
                    _forbid(c, n, here * WIDTH + c, taps, row, logs, window, state)
                elif x < 0.0:
                    best = _lower(c, x, n, here * WIDTH + c, taps, row, logs, window, state)
                    if crossing.size:
                        crossing[at * row + c] = crossing[at * row + c] + (best + x) if way else best
        if n == length - 1:
            for v in range(width):
                store(closed, kept + v, nothing)
            return
        best = nothing
        for v in range(width):
            a = b = c = d = zero
            for k in range(0, min(taps, (n + _TAPS - 1) // _TAPS * _TAPS), _TAPS):
                past, tap = here - k * width + v, k * width + v
                a = fma(load(window, past), load(weights, tap), a)
                b = fma(load(window, past - width), load(weights, tap + width), b)
                c = fma(load(window, past - 2 * width), load(weights, tap + 2 * width), c)
                d = fma(load(window, past - 3 * width), load(weights, tap + 3 * width), d)
            tail = load(shared, _TAIL * width + v)
            reference = load(state, _REFERENCE * width + v) + load(shared, _TOP * width + v)
            whole = load(state, _WHOLE * width + v) + _lasting(edge, n + 1, size, width, v, tail)
            total = ((a + b) + (c + d)) + _weight(whole - reference)
            beyond, running, scale = zero, zero, zero
            if n > size:
                score = load(logs, here - size * width + v)
                score = where_above(tail, nothing, score, nothing)
                beyond, scale = load(state, _BEYOND * width + v), load(state, _SCALE * width + v)
                has = larger(beyond, where_above(score, nothing, one, zero))
                x = score - scale
                beyond = beyond + where_above(x, splat(340.0), unknown, exp(x))
                if any_outside(where_above(has, zero, beyond, one), splat(1e-100), splat(1e100)):
                    for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                        if shared[_TAIL * row + c] > -np.inf:
                            _join(c, logs[(here - size * width) * WIDTH + c], row, state)
                    beyond, scale = load(state, _BEYOND * width + v), load(state, _SCALE * width + v)
                running = load(state, _FRAMES * width + v) + beyond
                scale = scale + tail
                store(state, _BEYOND * width + v, beyond)
                store(state, _FRAMES * width + v, running)
                store(state, _SCALE * width + v, scale)
                scale = scale + load(shared, _KTH * width + v)
                total = total + where_above(beyond, zero, beyond * _weight(scale - reference), zero)
            if before.size:
                enters = load(before, at * width + v) - splat(log_z)
                store(scratch, 3 * width + v, enters)
                mass = exp(enters + whole)
                tap = min(n, size - 1) * width + v
                store(tally, tap, load(tally, tap) + mass)
                longer = mass * splat(max(n + 1.0 - size, 0.0))
                mass = where_above(beyond, zero, exp(enters + scale), zero)
                store(tally, 2 * size * width + v, fma(mass, beyond, load(tally, 2 * size * width + v)))
                longer = fma(mass, running, longer) + load(tally, (2 * size + 1) * width + v)
                store(tally, (2 * size + 1) * width + v, longer)
                mass = where_above(total, low, where_above(high, total, exp(enters + reference), zero), zero)
                if peak(mass) > 0.0:
                    for k in range(taps):
                        tap = k * width + v
                        store(raw, tap, fma(mass, load(window, here - k * width + v), load(raw, tap)))
            score = where_above(total, zero, log(total) + reference, nothing) + sign * load(sums, far * width + v)
            store(closed, kept + v, score)
            if any_outside(where_above(load(shared, _VALID * width + v), zero, total, one), low, high):
                store(scratch, width + v, total)
                store(scratch, 2 * width + v, whole)
                for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                    if not (scratch[row + c] > _LOW and scratch[row + c] < _HIGH):
                        score = -np.inf
                        if not (forbids[at] and emissions[offset + at * classes + c] == -np.inf):
                            score = _exactly(
                                c, n, here * WIDTH + c, row, durations, logs, window, state, shared,
                                scratch[2 * row + c], scratch[3 * row + c], count,
                            )  # fmt: skip
                            score += -sums[far * row + c] if way else sums[far * row + c]
                        closed[kept * WIDTH + c] = score
            best = larger(load(closed, kept + v), best)
        highest = peak(best)
        if highest == -np.inf:
            for v in range(width):
                store(state, _NEXT * width + v, nothing)
            continue
        best = splat(highest)
        for v in range(width):
            store(scratch, v, exp(load(closed, kept + v) - best))
        for v in range(width):
            a = b = zero
            for i in range(0, classes - 1, 2):
                a = fma(splat(scratch[i]), load(moves, i * width + v), a)
                b = fma(splat(scratch[i + 1]), load(moves, (i + 1) * width + v), b)
            if classes % 2:
                a = fma(splat(scratch[classes - 1]), load(moves, (classes - 1) * width + v), a)
            total = a + b
            store(state, _NEXT * width + v, where_above(total, zero, log(total) + splat(highest + top), nothing))
            if any_outside(where_above(load(moves, classes * width + v), zero, total, one), low, high):
                store(scratch, width + v, total)
                for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                    if not scratch[row + c] > _LOW:
                        state[_NEXT * row + c] = _entering(c, kept * WIDTH, closed, moves, classes, row)


@inlined
def _exceeds(x, bound):
    """Whether an element of x is above ``bound``."""
    return any_outside(where_above(x, splat(bound), x, splat(0.0)), splat(-1.0), splat(bound))


@inlined
def _weight(x):
    """exp(x), but NaN where it might not fit."""
    return where_above(x, splat(300.0), splat(np.nan), exp(x))


# What follows is done seldom, for one class.
@part
def _refer(c, reference, newest, steps, row, logs, window, state):
    """Take the window of class c relative to another reference."""
    state[_REFERENCE * row + c] = reference
    for k in range(steps):
        window[newest - k * row] = np.exp(logs[newest - k * row] - reference)


@part
def _forbid(c, n, newest, taps, row, logs, window, state):
    """No segment of class c lasts beyond frame n - 1."""
    since = np.int64(state[_SINCE * row + c])
    for k in range(min(n + 1 - since, taps + 1)):  # one more than K at most: that one is about to pass beyond K
        logs[newest - k * row], window[newest - k * row] = -np.inf, 0.0
    if since == 0:
        state[_UNTIL * row + c] = n
    state[_SINCE * row + c] = n + 1
    state[_BEYOND * row + c] = state[_FRAMES * row + c] = 0.0
    state[_WHOLE * row + c] = -np.inf


@part
def _lower(c, x, n, newest, taps, row, logs, window, state):
    """Add the score x of frame n, that the prefix sums leave out, to all segments of class c. Return a bound of their
    log-sum before, without the scores of durations within K."""
    steps = min(n + 1 - np.int64(state[_SINCE * row + c]), taps + 1)
    best, mass = state[_WHOLE * row + c], state[_BEYOND * row + c]
    if mass > 0.0:
        best = max(best, state[_SCALE * row + c] + np.log(mass))
    for k in range(steps):
        best = max(best, logs[newest - k * row])
        logs[newest - k * row] += x
        window[newest - k * row] = 0.0  # at most exp(340 - 5e3)
    state[_SCALE * row + c] += x
    state[_WHOLE * row + c] += x
    return best + np.log(steps + 2.0)


@part
def _join(c, score, row, state):
    """Add exp(score) to the mass beyond K of class c, and make the sum the scale."""
    mass, scale = state[_BEYOND * row + c], state[_SCALE * row + c]
    held = scale + np.log(mass) if mass > 0.0 else -np.inf
    best = max(held, score)
    if best > -np.inf:
        joined = best + np.log(np.exp(held - best) + np.exp(score - best))
        state[_BEYOND * row + c], state[_SCALE * row + c] = 1.0, joined
        state[_FRAMES * row + c] *= np.exp(scale - joined) if mass > 0.0 else 0.0


@part
def _exactly(c, n, newest, row, durations, logs, window, state, shared, whole, enters, count):
    """The log-sum over all segments of class c that end with frame n, in log space, and the counts of those that begin
    in the window. The window is taken relative to what makes the next sum about 1."""
    size = durations.shape[1]
    steps = min(size, n, n + 1 - np.int64(state[_SINCE * row + c]))
    beyond = -np.inf
    if state[_BEYOND * row + c] > 0.0:
        beyond = np.log(state[_BEYOND * row + c]) + state[_SCALE * row + c] + durations[c, size - 1]
    best, highest = max(whole, beyond), -np.inf
    for k in range(steps):
        highest = max(highest, logs[newest - k * row])
        best = max(best, logs[newest - k * row] + durations[c, k])
    if best == -np.inf:
        return best
    total = np.exp(whole - best) + np.exp(beyond - best)
    for k in range(steps):
        score = logs[newest - k * row] + durations[c, k]
        total += np.exp(score - best)
        if count.size:
            count[durations.shape[0] ** 2 + c * size + k] += np.exp(enters + score)
    total = best + np.log(total)
    _refer(c, max(total - shared[_TOP * row + c], highest - 340.0), newest, steps, row, logs, window, state)
    return total


@part
def _entering(c, at, closed, moves, classes, row):
    """The log-sum over transitions into class c, in log space."""
    best, total = -np.inf, 0.0
    for i in range(classes):
        best = max(best, closed[at + i] + moves[(classes + 2 + i) * row + c])
    if best == -np.inf:
        return best
    for i in range(classes):
        total += np.exp(closed[at + i] + moves[(classes + 2 + i) * row + c] - best)
    return best + np.log(total)


@part
def _last(emissions, offset, forbids, entered, opening, closing, shared, backwards, sums, state, length, classes, ends):
    """Log-sums over the segments of each class that end with the recording, whatever their length; their total."""
    row = ends.size
    width, size, border = row // WIDTH, opening.size // row, backwards.size // 2
    zero, nothing, lower = splat(0.0), splat(-np.inf), np.empty(row)
    for v in range(width):
        since, tail = load(state, _SINCE * width + v), load(shared, _TAIL * width + v)
        whole = load(state, _WHOLE * width + v) + _lasting(opening, length, size, width, v, tail)
        best = whole
        sum_ = zero
        for again in range(2):  # the maximum, then the sum
            if again:
                best = where_above(best, nothing, best, zero)
                sum_ = exp(whole - best)
            store(lower, v, zero)  # what the prefix sums leave out of frames from s on
            for s in range(length - 1, 0, -1):
                if forbids[s]:
                    for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                        lower[c] += _far_below(emissions, offset + s * classes, classes, c)
                score = load(entered, s * width + v) + _lasting(closing, length - s, size, width, v, tail)
                score = score + load(lower, v)
                score = where_above(splat(s + 0.5), since, score, nothing)
                if again:
                    sum_ = sum_ + exp(score - best)
                else:
                    best = larger(score, best)
        final = best + load(sums, length * width + v) + load(backwards, border // WIDTH + v)
        store(ends, v, where_above(sum_, zero, log(sum_) + final, nothing))
    best, sum_ = -np.inf, 0.0
    for c in range(row):
        best = max(best, ends[c])
    if best > -np.inf:
        for c in range(row):
            sum_ += np.exp(ends[c] - best)
        best += np.log(sum_)
    return best


@inlined
def _lasting(table, duration, size, width, v, tail):
    """Scores of a duration of any length: the table up to K, the geometric tail beyond."""
    score = load(table, (min(duration, size) - 1) * width + v)
    if duration > size:
        score = score + splat(np.float64(duration - size)) * tail
    return score


# ------------------------------------------------------------------------------------------------------- the counts
@part
def _collect(
    begin, end, length, emissions, offset, forbids, sums, lower, crossing, shared, forwards, opening, top, narrow, until,
    left, begun, entered, closed, log_z, posterior, starts, tally, count,
):  # fmt: skip
    """Marginals of frames ``begin`` to ``end``, counted from the last, in the place of ``closed``; and the factors of
    the counts of transitions in that of ``left`` and ``begun``, the scores of what follows an end or a start."""
    row = posterior.size
    width, size, classes = row // WIDTH, opening.size // row, forwards.size // row // 2 - 1
    zero, one, nothing, norm = splat(0.0), splat(1.0), splat(-np.inf), splat(log_z)
    for n in range(begin, end):
        at = length - 1 - n
        kept, whole = (end - 1 - n) * width, 2 * size * width
        most, best = nothing, nothing
        for v in range(width):
            after = load(left, kept + v) - norm
            score = load(forwards, (classes + 1) * width + v) + after
            score = score + _lasting(opening, at + 1, size, width, v, load(shared, _TAIL * width + v))
            if lower.size:
                score = score + load(lower, at * width + v)
            mass = where_above(load(until, v), splat(at + 0.5), exp(score), zero)
            tap = (size + min(at, size - 1)) * width + v
            store(tally, tap, load(tally, tap) + mass)
            longer = fma(mass, splat(max(at + 1.0 - size, 0.0)), load(tally, whole + width + v))
            store(tally, whole + width + v, longer)
            store(tally, whole + 2 * width + v, load(tally, whole + 2 * width + v) + mass)
            if n > 0:
                ended = exp(load(closed, at * width + v) + after - load(sums, (at + 1) * width + v))
                store(posterior, v, load(posterior, v) + ended)
            best = larger(load(begun, kept + v), best)
            if at > 0:
                most = larger(load(closed, (at - 1) * width + v), most)
        if forbids[at]:
            # Zero exactly, whatever rounding left: a forbidden score times a probability must be nothing. A finite mask
            # may be huge too: a bound keeps what rounding left below what the segments across this frame can have.
            for c in range(classes):
                if emissions[offset + at * classes + c] == -np.inf:
                    posterior[c] = 0.0
                elif crossing.size:
                    tail = shared[_TAIL * row + c]
                    bound = crossing[at * row + c] + shared[_MOST * row + c] + (tail * length if tail > 0.0 else 0.0)
                    if bound < log_z:
                        posterior[c] = min(max(posterior[c], 0.0), np.exp(bound - log_z))
        from_, to = peak(most), peak(best)
        exponent = from_ + to + top - log_z
        fits = exponent < 300.0 and narrow
        if from_ > -np.inf and to > -np.inf and not fits:
            _pairs((at - 1) * row, kept * WIDTH, classes, row, closed, begun, forwards, log_z, count)
        scale = splat(np.exp(exponent) if fits else 0.0)
        from_, to = max(from_, -1e300), max(to, -1e300)
        for v in range(width):
            began, held = load(begun, kept + v), load(posterior, v)
            start = exp(load(entered, at * width + v) + load(sums, at * width + v) + began - norm)
            store(closed, at * width + v, smaller(larger(held, zero), one))
            store(posterior, v, held - start)
            if starts.size:
                store(starts, kept + v, start if at > 0 else load(tally, whole + 2 * width + v))
            store(begun, kept + v, exp(began - splat(to)))
            if at > 0:
                store(left, kept + v, exp(load(closed, (at - 1) * width + v) - splat(from_)) * scale)
            else:
                store(left, kept + v, zero)


@part
def _pairs(before, after, classes, row, closed, begun, moves, log_z, count):
    """Expected transitions at one boundary, pair by pair."""
    for i in range(classes):
        for j in range(classes):
            score = closed[before + i] + moves[(classes + 2 + i) * row + j] + begun[after + j]
            count[i * classes + j] += np.exp(score - log_z)


@explicit
def _observe(
    emissions, labels, lengths, transitions, durations, tail, start, end, opening, closing, log_z, score, by_label,
    counts,
):  # fmt: skip
    """Score of complete labels, and their counts taken from the expected ones. NaN where several segmentations have the
    same labels: one is missing, or segments of one class may touch. Returns whether there is a label beyond the
    classes."""
    classes, size = durations.shape
    row, touching, any_outside = opening.size // size, False, False
    at_tail, gradient = classes * (classes + size), by_label.shape[0] > 0
    for c in range(classes):
        touching = touching or transitions[c, c] > -np.inf
    for b in range(lengths.size):
        length, (lowest, highest) = lengths[b], label_range(labels, b, lengths[b])
        if highest >= classes:
            any_outside = True
            continue
        if log_z[b] == -np.inf:
            score[b] = -np.inf
            continue
        if touching or lowest < 0:
            score[b] = np.nan
            continue
        begin, label, total = 0, labels[b, 0], 0.0
        total += start[label] + end[labels[b, length - 1]]
        if gradient:
            counts[b, at_tail + classes + label] -= 1.0
            counts[b, at_tail + 2 * classes + labels[b, length - 1]] -= 1.0
        for t in range(length):
            total += emissions[b, t, label]
            if gradient:
                by_label[b, t, label] -= 1.0
            stop = t + 1
            if stop < length and labels[b, stop] == label:
                continue
            inside = min(stop - begin, size) - 1
            longer, at = stop - begin - 1 - inside, label * size + inside
            if begin == 0:
                total, at = total + opening[inside * row + label], at + at_tail + 3 * classes
            elif stop == length:
                total, at = total + closing[inside * row + label], at + at_tail + 3 * classes + classes * size
            else:
                total, at = total + durations[label, inside], at + classes * classes
            if longer:
                total += longer * tail[label]
            if gradient:
                counts[b, at] -= 1.0
                counts[b, at_tail + label] -= longer
            if stop < length:
                following = labels[b, stop]
                total += transitions[label, following]
                if gradient:
                    counts[b, label * classes + following] -= 1.0
                label = following
            begin = stop
        score[b] = total
    return any_outside


# ------------------------------------------------------------------------------------------------------------- max
@compiled
def _max_rows(emissions, lengths, tables, score, labels, starts, first, last):
    for b in range(first, last):
        for t in range(labels.shape[1]):
            labels[b, t], starts[b, t] = -100, False
        score[b] = _best_path(emissions, b, lengths[b], tables, labels[b], starts[b])


@inlined
def _best_path(emissions, b, length, tables, path, starts):
    """Best segmentation: per frame and class the length of the best segment that ends there and the class before one
    that begins there, small integers, then one pass back."""
    transitions, durations, tail, start, end, first, last = tables
    classes, size = durations.shape
    sums, far, shift = _sums(emissions, b, length)
    lasted, before = np.zeros((length, classes), np.int32), np.zeros((length, classes), np.int16)
    logs, backwards = np.empty((classes, length)), np.empty((classes, size))
    beyond, since = np.empty(classes), np.zeros(classes, np.int64)
    alive = np.zeros(classes, np.int64)
    close, enter, whole = np.empty(classes), np.empty(classes), np.empty(classes)
    for c in range(classes):
        beyond[c], enter[c], whole[c] = -np.inf, start[c], start[c]
        for k in range(size):
            backwards[c, size - 1 - k] = durations[c, k]
    for t in range(length):
        for c in range(classes):
            close[c] = -np.inf
            low = max(1, t + 1 - size, alive[c])
            logs[c, t] = enter[c] - sums[c, t] if t > 0 else -np.inf
            x = _below(emissions, b, t, c) if far[t] else 0.0
            if x == -np.inf:
                alive[c], beyond[c] = t + 1, -np.inf
                continue
            if x < 0.0:  # the sums leave it out
                for s in range(max(t - size, alive[c], 1), t + 1):
                    logs[c, s] += x
                beyond[c], whole[c] = beyond[c] + x, whole[c] + x
            if t < length - 1:
                if t - size >= max(1, alive[c]):
                    if logs[c, t - size] > beyond[c]:
                        beyond[c], since[c] = logs[c, t - size], t - size
                    beyond[c] += tail[c]
                best, begun = beyond[c] + durations[c, size - 1], since[c]
                total, s = _best_window(logs[c], low, t + 1, backwards[c], size)
                if total > best:
                    best, begun = total, s
                if alive[c] == 0 and whole[c] + _long(first, tail, c, t + 1) > best:
                    best, begun = whole[c] + _long(first, tail, c, t + 1), 0
                close[c], lasted[t, c] = best + sums[c, t + 1], t + 1 - begun
        if t < length - 1:
            for j in range(classes):
                enter[j] = -np.inf
                for i in range(classes):
                    if close[i] + transitions[i, j] > enter[j]:
                        enter[j], before[t + 1, j] = close[i] + transitions[i, j], i
    best, label = -np.inf, 0
    for c in range(classes):
        total, begun = _best_last(emissions, b, far, logs[c], c, alive[c], length, tail, whole[c], first, last)
        lasted[length - 1, c] = length - begun
        if total + sums[c, length] + end[c] > best:
            best, label = total + sums[c, length] + end[c], c
    if best > -np.inf:
        _trace(lasted, before, label, path, starts)
    return best + shift


@compiled
def _best_window(logs, low, high, backwards, size):
    """The best start in [low, high) of a segment that ends before ``high``: block by block, then within the best."""
    scores, table = logs[low:high], backwards[size - high + low :]
    best, block = -np.inf, 0
    for k in range(0, scores.size, 16):
        part, weights = scores[k : k + 16], table[k : k + 16]
        top = -np.inf
        for i in range(part.size):
            x = part[i] + weights[i]
            top = x if x > top else top
        if top > best:
            best, block = top, k
    for k in range(block, min(block + 16, scores.size)):
        if scores[k] + table[k] == best:
            return best, low + k
    return best, low


@inlined
def _best_last(emissions, b, far, logs, c, alive, length, tail, whole, first, last):
    best, begun, later, size = -np.inf, 0, 0.0, last.shape[1]
    for s in range(length - 1, max(1, alive) - 1, -1):
        passed = s + size + 1  # from there on, nothing that the sums leave out has been added to ``logs[s]``
        if passed < length and far[passed]:
            later += _below(emissions, b, passed, c)
        score = logs[s] + later + _long(last, tail, c, length - s)
        if score >= best and score > -np.inf:  # of equals the earliest
            best, begun = score, s
    if alive == 0:
        score = whole + _long(first, tail, c, length)
        if score >= best and score > -np.inf:
            best, begun = score, 0
    return best, begun


@inlined
def _trace(lasted, before, label, path, starts):
    t = lasted.shape[0] - 1
    while t >= 0:
        begun = t + 1 - lasted[t, label]
        for s in range(begun, t + 1):
            path[s] = label
        starts[begun] = True
        label = before[begun, label]
        t = begun - 1


@compiled
def _sums(emissions, b, length):
    """Prefix sums (C, T + 1) of the scores less their maximum per frame, that pass over -inf and what is far below;
    which frames have such a class; and the sum of maxima."""
    classes = emissions.shape[2]
    sums, far, shift = np.zeros((classes, length + 1)), np.zeros(length, np.bool_), 0.0
    for t in range(length):
        top = -np.inf
        for c in range(classes):
            top = max(top, np.float64(emissions[b, t, c]))
        top = top if top > -np.inf else 0.0
        shift += top
        for c in range(classes):
            x = np.float64(emissions[b, t, c]) - top
            far[t] = far[t] or x <= -_WIDE
            sums[c, t + 1] = sums[c, t] + (x if x > -_WIDE else 0.0)
    return sums, far, shift


@compiled
def _below(emissions, b, t, c):
    return _far_below(emissions[b, t], 0, emissions.shape[2], c)


@compiled
def _long(table, tail, c, duration):
    """Score of a duration of any length: the table up to K, the geometric tail beyond."""
    size = table.shape[1]
    if duration <= size:
        return table[c, duration - 1]
    return table[c, size - 1] + (duration - size) * tail[c]
