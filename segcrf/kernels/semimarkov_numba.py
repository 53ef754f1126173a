"""Semi-Markov chain on a CPU: exact sums in O(C K + C^2) per frame and O(T C) memory, and best segmentations.

Let S[t] be the prefix sums of the emissions, ``enter[s]`` the log-sum over all ways to begin a segment at frame s, and
``close[t]`` that over all ways to end one with frame t. A segment that lasts [s, t] adds S[t+1] - S[s] and its
duration score, so

    close[t] = S[t+1] + log sum_d exp(G[t+1-d] + durations[d]),   G[s] = enter[s] - S[s]

is a dot product over the window of the last K starts, when ``exp(G - reference)`` is kept beside G. Beyond K the sum is
carried by one number per class, which decays by ``tail`` per frame. Transitions enter between segments, once per frame.

Nothing is lost in scaling: a dot product that comes out between 1e-150 and 1e300 has dropped terms below 1e-300
only, less than float64 resolves; any other one is taken again with a new reference, or in log space. The check
is per class and frame, so no recording is ever too wide.

The way back is the same with time reversed: ``begin[s]`` sums over all that can follow a start at s, ``leave[t]``
over all
that can follow an end at t. Marginals of labels are a running difference of starts and ends.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels import agreeing, working_dtype
from segcrf.kernels._numba import array, compiled, exp, share

_LOW, _HIGH = 1e-150, 1e300
_SPAN = 300.0
_NEGLIGIBLE = 50.0  # exp(-50) is far below the resolution of float64


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
    log_z, *counts, _ = _sum(emissions, *shared, lengths, gradient=gradient, starts=False)
    score = torch.empty_like(log_z)
    tables = tuple(p.detach().double().contiguous().numpy() for p in shared)
    by_label, *others = (count.numpy() for count in counts)
    _observe(array(emissions), labels.numpy(), lengths.numpy(), tables, score.numpy(), by_label, tuple(others))
    rows = score.isnan().nonzero()[:, 0]
    if len(rows):
        allowed = agreeing(labels[rows], emissions.shape[-1], lengths[rows])
        clamped = emissions[rows].masked_fill(~allowed, -torch.inf)
        score[rows], *observed, _ = _sum(clamped, *shared, lengths[rows], gradient=gradient, starts=False)
        for count, seen in zip(counts, observed, strict=True):
            if gradient:
                count[rows] -= seen
    return torch.where(log_z == -torch.inf, log_z, score - log_z), log_z, *counts


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


def _sum(*inputs: Tensor, gradient: bool, starts: bool) -> tuple[Tensor, ...]:
    emissions, *shared, lengths = inputs
    batch = emissions.shape[0]
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array tells the kernel not to compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    by_label = torch.zeros(rows, *emissions.shape[1:], dtype=dtype)
    counts = [torch.zeros(rows, *p.shape, dtype=torch.float64) for p in shared]
    by_start = torch.zeros(batch if starts else 0, *emissions.shape[1:], dtype=dtype)
    tables = tuple(p.detach().double().contiguous().numpy() for p in shared)
    outputs = tuple(count.numpy() for count in counts)
    arrays = (array(emissions), lengths.numpy(), tables, log_z.numpy(), by_label.numpy(), outputs, by_start.numpy())
    work = emissions.numel() * (shared[1].shape[1] + emissions.shape[2] + 40) * (3.0 if gradient else 1.0)
    share(lambda first, last: _sum_rows(*arrays, first, last), batch, work)
    return log_z, by_label, *(count.to(dtype) for count in counts), by_start


# ------------------------------------------------------------------------------------------------- a recording
@compiled
def _sum_rows(emissions, lengths, tables, log_z, by_label, counts, by_start, first, last):
    transitions, durations = tables[0], tables[1]
    steps = _scaled(transitions.reshape(1, -1))
    matrix = steps[0].reshape(transitions.shape), steps[1][0], steps[2][0]
    weights = _scaled(durations)
    backwards = weights[0][:, ::-1].copy()
    for b in range(first, last):
        scores, sums, shift = _prefix(emissions[b, : lengths[b]])
        enter, close, ends, total = _forward(scores, sums, tables, matrix, (backwards, weights[1], weights[2]))
        log_z[b] = total + shift
        if by_label.shape[0] and total > -np.inf:
            out = by_label[b], by_start[b : b + 1], _of(counts, b)
            _backward(scores, sums, tables, matrix, weights, (enter, close, ends, total), out)


@compiled
def _observe(emissions, labels, lengths, tables, score, by_label, counts):
    """Score of complete labels, and their counts taken from the expected ones. NaN where several segmentations have the
    same labels: one is missing, or segments of one class may touch."""
    transitions, _, tail, start, end, _, _ = tables
    touching = np.diag(transitions).max() > -np.inf
    for b in range(lengths.size):
        length = lengths[b]
        if touching or labels[b, :length].min() < 0:
            score[b] = np.nan
            continue
        begin, total = 0, start[labels[b, 0]] + end[labels[b, length - 1]]
        for t in range(length):
            label = labels[b, t]
            total += emissions[b, t, label]
            stop = t + 1
            if stop < length and labels[b, stop] == label:
                continue
            table, seen = _table_of(tables, counts, begin == 0, stop == length)
            total += _long(table, tail, label, stop - begin)
            if stop < length:
                total += transitions[label, labels[b, stop]]
            for row in range(b, b + 1 if by_label.shape[0] else b):
                by_label[row, begin:stop, label] -= 1.0
                _count_edge(seen[row], counts[2][row], label, stop - begin, -1.0)
                if stop < length:
                    counts[0][row, label, labels[b, stop]] -= 1.0
            begin = stop
        score[b] = total
        if by_label.shape[0]:
            counts[3][b, labels[b, 0]] -= 1.0
            counts[4][b, labels[b, length - 1]] -= 1.0


@compiled
def _table_of(tables, counts, at_start, at_end):
    """The duration table of a segment, by the edges that it touches, and its counts."""
    if at_start:
        return tables[5], counts[5]
    if at_end:
        return tables[6], counts[6]
    return tables[1], counts[1]


@compiled
def _of(counts, b):
    return (counts[0][b], counts[1][b], counts[2][b], counts[3][b], counts[4][b], counts[5][b], counts[6][b])


@compiled
def _scaled(scores):
    """Per row: exp(scores - max), the maximum, and whether the span is narrow enough not to underflow."""
    top = np.zeros(scores.shape[0])
    narrow = np.ones(scores.shape[0], np.bool_)
    out = np.zeros(scores.shape)
    for i in range(scores.shape[0]):
        best, lowest = scores[i].max(), np.inf
        if best == -np.inf:
            continue
        top[i] = best
        for j in range(scores.shape[1]):
            out[i, j] = np.exp(scores[i, j] - best)
            if scores[i, j] > -np.inf:
                lowest = min(lowest, scores[i, j])
        narrow[i] = best - lowest < _SPAN
    return out, top, narrow


@compiled
def _prefix(emissions):
    """Scores (T, C) less their maximum per frame, prefix sums (C, T + 1) that pass over -inf, and the sum of maxima."""
    length, classes = emissions.shape
    scores, sums, shift = np.empty((length, classes)), np.zeros((classes, length + 1)), 0.0
    for t in range(length):
        top = -np.inf
        for c in range(classes):
            top = max(top, np.float64(emissions[t, c]))
        top = top if top > -np.inf else 0.0
        shift += top
        for c in range(classes):
            x = np.float64(emissions[t, c]) - top
            scores[t, c] = x
            sums[c, t + 1] = sums[c, t] + (x if x > -np.inf else 0.0)
    return scores, sums, shift


@compiled
def _log_add(a, b):
    high, low = max(a, b), min(a, b)
    if low == -np.inf or high - low > _NEGLIGIBLE:
        return high
    return high + np.log1p(np.exp(low - high))


@compiled
def _long(table, tail, c, duration):
    """Score of a duration of any length: the table up to K, the geometric tail beyond."""
    size = table.shape[1]
    if duration <= size:
        return table[c, duration - 1]
    return table[c, size - 1] + (duration - size) * tail[c]


# ---------------------------------------------------------------------------------------------------- windows
@compiled
def _insert(logs, window, reference, c, t, score, low, high):
    """logs[c, t] = score and window[c, t] = exp(score - reference); the reference moves up if that would overflow."""
    logs[c, t] = score
    x = score - reference[c]
    if x > 400.0:
        _refer(logs, window, reference, c, score, low, high)
        x = 0.0
    window[c, t] = exp(max(x, -700.0)) if x > -700.0 else 0.0


# Slices below count from 0: an index that could be negative, and wrap, would keep a loop from becoming SIMD code.
@compiled
def _refer(logs, window, reference, c, score, low, high):
    """Take the window [low, high) of class c relative to another reference."""
    reference[c] = score
    source, out = logs[c, low:high], window[c, low:high]
    for k in range(out.size):
        x = source[k] - score
        e = exp(max(x, -700.0))
        out[k] = e if x > -700.0 else 0.0


@compiled
def _dot(window, weights, c, low, high, offset):
    """Sum over t in [low, high) of window[c, t] * weights[c, offset + t]."""
    left, right = window[c, low:high], weights[c, low + offset : high + offset]
    total = 0.0
    for k in range(left.size):
        total += left[k] * right[k]
    return total


@compiled
def _retry(logs, window, reference, c, low, high, weights, offset):
    """The dot product once more, relative to the best of the window."""
    best = logs[c, low:high].max()
    if best == -np.inf:
        return 0.0
    _refer(logs, window, reference, c, best, low, high)
    return _dot(window, weights, c, low, high, offset)


@compiled
def _log_sum(logs, c, low, high, durations, first, step):
    """log of sum over t in [low, high) of exp(logs[c, t] + durations[c, first + step * (t - low)]), in log space."""
    best, total = -np.inf, 0.0
    for t in range(low, high):
        best = max(best, logs[c, t] + durations[c, first + step * (t - low)])
    if best == -np.inf:
        return best
    for t in range(low, high):
        total += np.exp(logs[c, t] + durations[c, first + step * (t - low)] - best)
    return best + np.log(total)


@compiled
def _apply(scores, transitions, matrix, top, out):
    """out[j] = log of sum over i of exp(scores[i] + transitions[i, j]); returns the maximum of ``scores``."""
    classes = scores.size
    best = scores.max()
    out[:] = -np.inf
    if best == -np.inf:
        return best
    total = np.zeros(classes)
    for i in range(classes):
        share_of_i = np.exp(scores[i] - best)
        for j in range(classes):
            total[j] += share_of_i * matrix[i, j]
    for j in range(classes):
        if total[j] > _LOW:
            out[j] = best + top + np.log(total[j])
        else:
            for i in range(classes):
                out[j] = _log_add(out[j], scores[i] + transitions[i, j])
    return best


# ---------------------------------------------------------------------------------------------------- forward
@compiled
def _forward(scores, sums, tables, matrix, weights):
    """enter (T, C), close (T, C), the log-sum of each class at the last frame, and the total."""
    transitions, durations, tail, start, end, first, last = tables
    length, classes = scores.shape
    size = durations.shape[1]
    enter, close = np.full((length, classes), -np.inf), np.full((length, classes), -np.inf)
    logs, window = np.full((classes, length), -np.inf), np.zeros((classes, length))
    reference, beyond = np.zeros(classes), np.full(classes, -np.inf)
    alive = np.zeros(classes, np.int64)  # the frame after the last one that forbids the class
    enter[0] = start
    for t in range(length):
        for c in range(classes):
            low = max(1, t + 1 - size, alive[c])
            if t > 0:
                _insert(logs, window, reference, c, t, enter[t, c] - sums[c, t], low, t)
            if scores[t, c] == -np.inf:
                alive[c] = t + 1
                beyond[c] = -np.inf
            elif t < length - 1:
                if t - size >= max(1, alive[c]):
                    beyond[c] = _log_add(beyond[c], logs[c, t - size]) + tail[c]
                total = beyond[c] + durations[c, size - 1]
                if low <= t:
                    total = _log_add(total, _closing(logs, window, reference, c, low, t + 1, durations, *weights))
                if alive[c] == 0:
                    total = _log_add(total, start[c] + _long(first, tail, c, t + 1))
                close[t, c] = total + sums[c, t + 1]
        if t < length - 1:
            _apply(close[t], transitions, matrix[0], matrix[1], enter[t + 1])
    ends = np.full(classes, -np.inf)
    for c in range(classes):
        ends[c] = _last(logs, c, alive[c], length, tail, start, first, last) + sums[c, length] + end[c]
    total = -np.inf
    for c in range(classes):
        total = _log_add(total, ends[c])
    return enter, close, ends, total


@compiled
def _closing(logs, window, reference, c, low, high, durations, backwards, top, narrow):
    """Log-sum over the segments of at most K frames that begin in [low, high) and end before ``high``."""
    if narrow[c]:
        offset = durations.shape[1] - high
        total = _dot(window, backwards, c, low, high, offset)
        if not (total > _LOW and total < _HIGH):
            total = _retry(logs, window, reference, c, low, high, backwards, offset)
        if total > _LOW and total < _HIGH:
            return reference[c] + np.log(total) + top[c]
    return _log_sum(logs, c, low, high, durations, high - low - 1, -1)


@compiled
def _last(logs, c, alive, length, tail, start, first, last):
    """Log-sum over the segments of class c that end with the recording, whatever their length."""
    best = -np.inf
    if alive == 0:
        best = start[c] + _long(first, tail, c, length)
    for s in range(max(1, alive), length):
        best = max(best, logs[c, s] + _long(last, tail, c, length - s))
    if best == -np.inf:
        return best
    total = np.exp(start[c] + _long(first, tail, c, length) - best) if alive == 0 else 0.0
    for s in range(max(1, alive), length):
        total += np.exp(logs[c, s] + _long(last, tail, c, length - s) - best)
    return best + np.log(total)


# --------------------------------------------------------------------------------------------------- backward
@compiled
def _backward(scores, sums, tables, matrix, weights, forward, out):
    """Expected counts into ``out``; on the way from the last frame to the first."""
    transitions, durations, tail, _, end, _, last = tables
    enter, close, ends, log_z = forward
    by_label, by_start, counts = out
    length, classes = scores.shape
    size = durations.shape[1]
    logs, window = np.full((classes, length), -np.inf), np.zeros((classes, length))
    reference, beyond, mean = np.zeros(classes), np.full(classes, -np.inf), np.zeros(classes)
    alive = np.full(classes, length)  # the next frame that forbids the class
    begin, leave = np.empty(classes), np.empty(classes)
    raw = np.zeros(durations.shape)  # counts of durations, still to be multiplied by their weights
    posterior = np.exp(ends - log_z)
    steps = np.zeros(transitions.shape)
    for s in range(length - 1, 0, -1):
        for c in range(classes):
            begin[c] = -np.inf
            if scores[s, c] == -np.inf:
                # Zero exactly, whatever rounding left: a forbidden score times a probability must be nothing.
                alive[c], beyond[c], posterior[c] = s, -np.inf, 0.0
            by_label[s, c] = min(max(posterior[c], 0.0), 1.0)
            if scores[s, c] == -np.inf:
                continue
            high = min(s + size, length - 1, alive[c])
            enters = enter[s, c] - sums[c, s] - log_z
            if s + size < min(length - 1, alive[c]):
                joined = _log_add(beyond[c], logs[c, s + size])
                mean[c] = 1.0 + (mean[c] * np.exp(beyond[c] - joined) if joined > -np.inf else 0.0)
                beyond[c] = joined + tail[c]
            total = beyond[c] + durations[c, size - 1]
            if total > -np.inf:
                mass = np.exp(enters + total)
                counts[1][c, size - 1] += mass
                counts[2][c] += mass * mean[c]
            if s < high:
                total = _log_add(
                    total, _opening(logs, window, reference, c, s, high, durations, *weights, enters, raw, counts[1])
                )
            if alive[c] == length:
                final = _long(last, tail, c, length - s) + sums[c, length] + end[c]
                _count_edge(counts[6], counts[2], c, length - s, np.exp(enters + final))
                total = _log_add(total, final)
            begin[c] = total - sums[c, s]
            share_of_s = np.exp(enter[s, c] + begin[c] - log_z)
            posterior[c] -= share_of_s
            for b in range(by_start.shape[0]):
                by_start[b, s, c] = share_of_s
        top = _apply(begin, transitions.T, matrix[0].T, matrix[1], leave)
        _count_steps(close[s - 1], begin, top, transitions, matrix, log_z, steps, counts[0])
        for c in range(classes):
            posterior[c] += np.exp(close[s - 1, c] + leave[c] - log_z)
            _insert(logs, window, reference, c, s - 1, leave[c] + sums[c, s], s, min(s - 1 + size, length - 1))
    for c in range(classes):
        by_label[0, c] = min(max(posterior[c], 0.0), 1.0) if scores[0, c] > -np.inf else 0.0
    _first_segments(scores, sums, tables, logs, log_z, by_start, counts)
    counts[0][:] += steps * matrix[0]
    counts[1][:] += raw * weights[0]
    counts[4][:] = np.exp(ends - log_z)


@compiled
def _opening(logs, window, reference, c, low, high, durations, forwards, top, narrow, enters, raw, exact):
    """Log-sum over the segments of at most K frames that begin with ``low`` and end before ``high``, and their
    counts."""
    if narrow[c]:
        total = _dot(window, forwards, c, low, high, -low)
        if not (total > _LOW and total < _HIGH):
            total = _retry(logs, window, reference, c, low, high, forwards, -low)
        if total > _LOW and total < _HIGH:
            factor = np.exp(enters + reference[c] + top[c])
            if factor > 0.0:
                source, out = window[c, low:high], raw[c]
                for d in range(source.size):
                    out[d] += factor * source[d]
            return reference[c] + np.log(total) + top[c]
    for d in range(high - low):
        exact[c, d] += np.exp(enters + logs[c, low + d] + durations[c, d])
    return _log_sum(logs, c, low, high, durations, 0, 1)


@compiled
def _count_edge(table, tail, c, duration, mass):
    """Count a segment that touches the edge of the recording in its table, and its frames beyond K."""
    size = table.shape[1]
    table[c, min(duration, size) - 1] += mass
    tail[c] += mass * max(duration - size, 0)


@compiled
def _count_steps(close, begin, top, transitions, matrix, log_z, steps, exact):
    """Expected transitions at one boundary, as an outer product, or pair by pair where that could overflow."""
    classes = close.size
    best = close.max()
    if best == -np.inf or top == -np.inf:
        return
    exponent = best + top + matrix[1] - log_z
    if exponent < 300.0 and matrix[2]:
        factor = np.exp(exponent)
        for i in range(classes):
            left = factor * np.exp(close[i] - best)
            for j in range(classes):
                steps[i, j] += left * np.exp(begin[j] - top)
    else:
        for i in range(classes):
            for j in range(classes):
                exact[i, j] += np.exp(close[i] + transitions[i, j] + begin[j] - log_z)


@compiled
def _first_segments(scores, sums, tables, logs, log_z, by_start, counts):
    """Counts of the segments that begin with the recording, one of each length and class."""
    _, _, tail, start, end, first, _ = tables
    length, classes = scores.shape
    for c in range(classes):
        total = 0.0
        for t in range(length):
            if scores[t, c] == -np.inf:
                break
            after = logs[c, t] if t < length - 1 else sums[c, length] + end[c]
            mass = np.exp(start[c] + _long(first, tail, c, t + 1) + after - log_z)
            _count_edge(counts[5], counts[2], c, t + 1, mass)
            total += mass
        counts[3][c] = total
        for b in range(by_start.shape[0]):
            by_start[b, 0, c] = total


# ------------------------------------------------------------------------------------------------------------- max
@compiled
def _max_rows(emissions, lengths, tables, score, labels, starts, first, last):
    for b in range(first, last):
        labels[b] = -100
        starts[b] = False
        score[b] = _best_path(emissions[b, : lengths[b]], tables, labels[b], starts[b])


@compiled
def _best_path(emissions, tables, path, starts):
    """Best segmentation: per frame and class the length of the best segment that ends there and the class before one
    that begins there, small integers, then one pass back."""
    transitions, durations, tail, start, end, first, last = tables
    scores, sums, shift = _prefix(emissions)
    length, classes = scores.shape
    size = durations.shape[1]
    lasted, before = np.zeros((length, classes), np.int32), np.zeros((length, classes), np.int16)
    logs = np.full((classes, length), -np.inf)
    beyond, since = np.full(classes, -np.inf), np.zeros(classes, np.int64)
    alive = np.zeros(classes, np.int64)
    close, enter = np.empty(classes), start.copy()
    backwards = durations[:, ::-1].copy()
    for t in range(length):
        for c in range(classes):
            close[c] = -np.inf
            low = max(1, t + 1 - size, alive[c])
            logs[c, t] = enter[c] - sums[c, t] if t > 0 else -np.inf
            if scores[t, c] == -np.inf:
                alive[c], beyond[c] = t + 1, -np.inf
            elif t < length - 1:
                if t - size >= max(1, alive[c]):
                    if logs[c, t - size] > beyond[c]:
                        beyond[c], since[c] = logs[c, t - size], t - size
                    beyond[c] += tail[c]
                best, begun = beyond[c] + durations[c, size - 1], since[c]
                total, s = _best_window(logs[c], low, t + 1, backwards[c], size)
                if total > best:
                    best, begun = total, s
                if alive[c] == 0 and start[c] + _long(first, tail, c, t + 1) > best:
                    best, begun = start[c] + _long(first, tail, c, t + 1), 0
                close[c], lasted[t, c] = best + sums[c, t + 1], t + 1 - begun
        if t < length - 1:
            for j in range(classes):
                enter[j] = -np.inf
                for i in range(classes):
                    if close[i] + transitions[i, j] > enter[j]:
                        enter[j], before[t + 1, j] = close[i] + transitions[i, j], i
    best, label = -np.inf, 0
    for c in range(classes):
        total, begun = _best_last(logs[c], c, alive[c], length, tail, start, first, last)
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


@compiled
def _best_last(logs, c, alive, length, tail, start, first, last):
    best, begun = -np.inf, 0
    if alive == 0:
        best = start[c] + _long(first, tail, c, length)
    for s in range(max(1, alive), length):
        if logs[s] + _long(last, tail, c, length - s) > best:
            best, begun = logs[s] + _long(last, tail, c, length - s), s
    return best, begun


@compiled
def _trace(lasted, before, label, path, starts):
    t = lasted.shape[0] - 1
    while t >= 0:
        begun = t + 1 - lasted[t, label]
        path[begun : t + 1] = label
        starts[begun] = True
        label = before[begun, label]
        t = begun - 1
