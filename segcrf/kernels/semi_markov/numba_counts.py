"""Expected counts of the semi-Markov chain on a CPU, from the sums of both directions."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import part
from segcrf.kernels.semi_markov.numba_tables import LONGEST, TAIL, duration_scores
from segcrf.kernels.simd import WIDTH, exp, fma, larger, load, peak, smaller, splat, store, where_above

__all__ = ["collect", "finish"]


@part
def collect(
    begin, end, recording, scores, until, left, begun, entered, closed, log_z, posterior, starts, tallies
):  # fmt: skip
    """Write marginals of frames ``begin`` to ``end``, counted from the last, in place of ``closed``.

    ``left`` and ``begun``, the scores of everything after an end or a start, are overwritten by the factors of the
    counts of transitions. ``posterior``, the marginal of the frame after, is a running difference of ends and starts.
    """
    _, _, length, forbids, sums, lower, _ = recording
    shared, forwards, opening, top = scores.shared, scores.forwards, scores.opening, scores.top
    tally, count = tallies.edges, tallies.count
    (classes, size), row = scores.durations.shape, posterior.size
    width = row // WIDTH
    zero, one, nothing, norm = splat(0.0), splat(1.0), splat(-np.inf), splat(log_z)
    for n in range(begin, end):
        at = length - 1 - n
        kept, whole = (end - 1 - n) * width, 2 * size * width
        most, best = nothing, nothing
        for v in range(width):
            after = load(left, kept + v) - norm
            score = load(forwards, (classes + 1) * width + v) + after
            score = score + duration_scores(opening, at + 1, size, width, v, load(shared, TAIL * width + v))
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
            _limit(at, classes, row, recording, shared, log_z, posterior)
        from_, to = peak(most), peak(best)
        exponent = from_ + to + top - log_z
        fits = exponent < 300.0 and scores.narrow
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
def _limit(at, classes, row, recording, shared, log_z, posterior):
    """Limit the rounding error in the marginals of one frame to the largest possible marginals of its masked classes.

    A mask times a marginal must be zero where the class is forbidden: for a mask of -inf the marginal is zero, and for
    a large finite mask at most a bound of the segments across it, which underflows to zero.
    """
    emissions, crossing = recording.emissions, recording.crossing
    for c in range(classes):
        if emissions[recording.offset + at * classes + c] == -np.inf:
            posterior[c] = 0.0
        elif crossing.size:
            tail = shared[TAIL * row + c]
            bound = crossing[at * row + c] + shared[LONGEST * row + c] - log_z
            bound += tail * recording.length if tail > 0.0 else 0.0
            if bound < 0.0:
                posterior[c] = min(max(posterior[c], 0.0), np.exp(bound))


@part
def _pairs(before, after, classes, row, closed, begun, moves, log_z, count):
    """Count transitions at one boundary, pair by pair, in log space."""
    for i in range(classes):
        for j in range(classes):
            score = closed[before + i] + moves[(classes + 2 + i) * row + j] + begun[after + j]
            count[i * classes + j] += np.exp(score - log_z)


@part
def finish(scores, tallies, ends, log_z):
    """Write all counts except those of labels and starts, class by class."""
    raw, tally, steps, count = tallies
    weights, forwards = scores.weights, scores.forwards
    (classes, size), row = scores.durations.shape, ends.size
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
        count[edges + classes + i] = np.exp(ends[i] - log_z)
