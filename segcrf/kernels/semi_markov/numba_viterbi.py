"""Best segmentation of the semi-Markov chain on a CPU: Viterbi (1967) over segments, in O(C K + C^2) per frame."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import compiled, inlined
from segcrf.kernels.semi_markov.numba_tables import WIDE, duration_score, far_below

__all__ = ["max_rows"]


@compiled
def max_rows(emissions, lengths, tables, score, labels, starts, first, last):
    """Write the best segmentations of recordings ``first`` to ``last``, and their scores."""
    for b in range(first, last):
        for t in range(labels.shape[1]):
            labels[b, t], starts[b, t] = -100, False
        score[b] = _best_path(emissions, b, lengths[b], tables, labels[b], starts[b])


@inlined
def _best_path(emissions, b, length, tables, path, starts):
    """Write the best segmentation and return its score.

    The forward pass stores per frame and class two small integers: the length of the best segment that ends there, and
    the class before a segment that begins there. One backward pass reads them.
    """
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
            if x < 0.0:  # the prefix sums skip this score
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
                if alive[c] == 0 and whole[c] + duration_score(first, tail, c, t + 1) > best:
                    best, begun = whole[c] + duration_score(first, tail, c, t + 1), 0
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
    """Return the best start in [low, high) of a segment that ends before ``high``: block by block, then in the best."""
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
        passed = s + size + 1  # no frame from here on has had its skipped scores added to ``logs[s]``
        if passed < length and far[passed]:
            later += _below(emissions, b, passed, c)
        score = logs[s] + later + duration_score(last, tail, c, length - s)
        if score >= best and score > -np.inf:  # the earliest of equals
            best, begun = score, s
    if alive == 0:
        score = whole + duration_score(first, tail, c, length)
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
    """Return prefix sums (C, T + 1) of the scores less their maximum per frame, which frames are masked, and a shift.

    The sums skip -inf and scores far below the best; a frame with such a class counts as masked. The shift is the sum
    of the maxima.
    """
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
            far[t] = far[t] or x <= -WIDE
            sums[c, t + 1] = sums[c, t] + (x if x > -WIDE else 0.0)
    return sums, far, shift


@compiled
def _below(emissions, b, t, c):
    return far_below(emissions[b, t], 0, emissions.shape[2], c)
