"""Linear chain on a CPU, one recording after another: classes in SIMD lanes.

The recurrences of `chain_numba` for few recordings. A message is ``width`` vectors of `_simd`, padded with classes
that nothing reaches; up to eight classes stay in one register from frame to frame, and what the loop waits for is the
latency of one short product. So nothing else is on that path: a message is divided every second frame, by a norm
known a frame before, and the way back takes the same divisors instead of norms of its own.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels._chain_lanes import BLOCK, SPAN, TINY, copy, predecessor
from segcrf.kernels._numba import explicit, inlined
from segcrf.kernels._simd import (
    WIDTH,
    exp,
    fma,
    larger,
    load,
    load_part,
    peak,
    smaller,
    splat,
    spread,
    store,
    store_part,
    total,
    where_above,
)  # fmt: skip

# What a recording carries from frame to frame: the norm of the last message of an even frame, the product of the norms
# that were divided by, its logarithm as far as it was taken, the sum of maxima, the least positive entry.
_NORM, _PRODUCT, _LOGS, _TOPS, _LEAST, _STATE = 0, 1, 2, 3, 4, 5


@explicit
def _read(emissions, offset, count, classes, buffer, k, width):
    """Scores of ``count`` frames into vectors from number ``k`` on; -inf beyond the classes."""
    for t in range(count):
        at, row = (k + t * width) * WIDTH, offset + t * classes
        if width == 1 and row + WIDTH <= emissions.size:
            store(buffer, k + t, load_part(emissions, row, classes, -np.inf))
            continue
        for c in range(classes):
            buffer[at + c] = emissions[row + c]
        for c in range(classes, width * WIDTH):
            buffer[at + c] = -np.inf


# -------------------------------------------------------------------------------------------------------------- sum
@inlined
def sum_row(emissions, offset, length, classes, held, matrix, transposed, edges, outputs, alpha, weights):
    """Log of the sum over labellings, less the maxima of the shared scores; NaN where mass could be lost."""
    width = alpha.size // WIDTH // (held + 1)
    chunks = (length + held - 1) // held
    kept = np.empty((chunks, (width + 1) * WIDTH))  # the message before each chunk, and its norm
    state = np.array([1.0, 1.0, 0.0, 0.0, 1.0])
    for k in range(chunks):
        count = min(held, length - k * held)
        if k > 0:
            copy(alpha, held * width, alpha, 0, width)
        copy(alpha, 0, kept[k], 0, width)
        kept[k, width * WIDTH] = state[_NORM]
        _advance(emissions, offset, k * held, count, classes, matrix, edges, alpha, weights, state)
    if not state[_LEAST] >= TINY:
        return np.nan
    last, mass = (length - (chunks - 1) * held) * width, 0.0
    for v in range(width):
        mass += total(load(alpha, last + v) * load(edges, width + v))
    if mass == 0.0:
        return -np.inf
    if outputs[1].size:
        beta, least = np.empty(width * WIDTH), 0.0
        for v in range(width):
            store(beta, v, load(edges, width + v) / splat(mass))  # alpha . beta = 1 at every frame
        moves = (matrix, transposed, edges)
        least = _counts(emissions, offset, length, classes, held, moves, alpha, weights, kept, beta, outputs)
        if not least >= TINY:
            return np.nan
    return state[_TOPS] + state[_LOGS] + np.log(state[_PRODUCT]) + np.log(mass)


@explicit
def _advance(emissions, offset, begin, count, classes, matrix, edges, alpha, weights, state):
    """Messages of ``count`` frames, block by block."""
    width = edges.size // WIDTH // 2
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        _read(emissions, offset + (begin + t) * classes, stop - t, classes, weights, t * width, width)
        _exponentials(weights, t, stop - t, width, state)
        i = t
        if begin + t == 0:
            norm, least = splat(0.0), splat(1.0)
            for v in range(width):
                value = load(edges, v) * load(weights, v)
                store(alpha, width + v, value)
                norm, least = norm + value, _least(value, least)
            state[_NORM], state[_LEAST] = total(norm), min(state[_LEAST], -peak(splat(0.0) - least))
            i = 1
        if width == 1:
            _forward_narrow(weights, alpha, i, stop, matrix, state)
        else:
            _forward(weights, alpha, i, stop, width, classes, matrix, state)


@explicit
def _exponentials(weights, frame, count, width, state):
    """weights = exp(weights - max over classes) in place; adds the maxima to the state, NaN where the span is too
    wide."""
    tops, least, zero, nothing = 0.0, splat(0.0), splat(0.0), splat(-np.inf)
    for k in range(frame * width, (frame + count) * width, width):
        highest = load(weights, k)
        for v in range(1, width):
            highest = larger(load(weights, k + v), highest)
        top = peak(highest)
        top = top if top > -np.inf else 0.0  # every class forbidden: weights of zero say so
        tops += top
        for v in range(width):
            x = load(weights, k + v) - splat(top)
            least = smaller(where_above(x, nothing, x, zero), least)
            store(weights, k + v, exp(x))
    state[_TOPS] = state[_TOPS] + tops if peak(zero - least) < SPAN else np.nan


@inlined
def _least(value, least):
    return smaller(where_above(value, splat(0.0), value, least), least)


@inlined
def _times(x, matrix):
    """The product of one vector and a matrix of one vector per row, in registers."""
    a, b = spread(x, 0) * load(matrix, 0), spread(x, 1) * load(matrix, 1)
    a, b = fma(spread(x, 2), load(matrix, 2), a), fma(spread(x, 3), load(matrix, 3), b)
    a, b = fma(spread(x, 4), load(matrix, 4), a), fma(spread(x, 5), load(matrix, 5), b)
    a, b = fma(spread(x, 6), load(matrix, 6), a), fma(spread(x, 7), load(matrix, 7), b)
    return a + b


@inlined
def _two(vector, at, matrix, v, width, classes):
    """Vectors v and v + 1 of the product of the vector that begins at number ``at`` and a matrix. Two sums each, for
    what the loop over frames waits for is the latency of one."""
    a = b = c = d = splat(0.0)
    for i in range(0, classes - 1, 2):
        x, y, m = splat(vector[at + i]), splat(vector[at + i + 1]), i * width + v
        a, b = fma(x, load(matrix, m), a), fma(x, load(matrix, m + 1), b)
        c, d = fma(y, load(matrix, m + width), c), fma(y, load(matrix, m + width + 1), d)
    if classes % 2:
        x, m = splat(vector[at + classes - 1]), (classes - 1) * width + v
        a, b = fma(x, load(matrix, m), a), fma(x, load(matrix, m + 1), b)
    return a + c, b + d


@inlined
def _one(vector, at, matrix, v, width, classes):
    """Vector v of that product."""
    a = b = splat(0.0)
    for i in range(0, classes - 1, 2):
        m = i * width + v
        a = fma(splat(vector[at + i]), load(matrix, m), a)
        b = fma(splat(vector[at + i + 1]), load(matrix, m + width), b)
    if classes % 2:
        a = fma(splat(vector[at + classes - 1]), load(matrix, (classes - 1) * width + v), a)
    return a + b


@inlined
def _divisor(state, norm):
    """The divisor of an even frame, and its logarithm into the state."""
    if not norm > 0.0:  # every labelling is forbidden from here on
        return 1.0
    state[_PRODUCT] *= norm
    if state[_PRODUCT] < 1e-100 or state[_PRODUCT] > 1e100:
        state[_LOGS] += np.log(state[_PRODUCT])
        state[_PRODUCT] = 1.0
    return norm


@explicit
def _forward_narrow(weights, alpha, begin, end, matrix, state):
    """alpha[t + 1] from alpha[t], of one vector. The weights are left divided as the messages are."""
    norm, least, x = state[_NORM], splat(1.0), load(alpha, begin)
    for t in range(begin, end):
        weight = load(weights, t)
        if t % 2 == 0:
            weight = weight * splat(1.0 / _divisor(state, norm))
            store(weights, t, weight)
        x = _times(x, matrix) * weight
        if t % 2 == 0:
            norm = total(x)
        store(alpha, t + 1, x)
        least = _least(x, least)
    state[_NORM], state[_LEAST] = norm, min(state[_LEAST], -peak(splat(0.0) - least))


@explicit
def _forward(weights, alpha, begin, end, width, classes, matrix, state):
    """alpha[t + 1] from alpha[t], of any width."""
    norm, least, even = state[_NORM], splat(1.0), width // 2 * 2
    for t in range(begin, end):
        k = t * width
        if t % 2 == 0:
            scale = splat(1.0 / _divisor(state, norm))
            for v in range(k, k + width):
                store(weights, v, load(weights, v) * scale)
        sums = splat(0.0)
        for v in range(0, even, 2):
            p, q = _two(alpha, k * WIDTH, matrix, v, width, classes)
            p, q = p * load(weights, k + v), q * load(weights, k + v + 1)
            store(alpha, k + width + v, p)
            store(alpha, k + width + v + 1, q)
            least, sums = _least(q, _least(p, least)), sums + (p + q)
        for v in range(even, width):
            p = _one(alpha, k * WIDTH, matrix, v, width, classes) * load(weights, k + v)
            store(alpha, k + width + v, p)
            least, sums = _least(p, least), sums + p
        if t % 2 == 0:
            norm = total(sums)
    state[_NORM], state[_LEAST] = norm, min(state[_LEAST], -peak(splat(0.0) - least))


@inlined
def _counts(emissions, offset, length, classes, held, moves, alpha, weights, kept, beta, outputs):
    """Expected counts, frames from last to first; returns the least positive entry of beta."""
    matrix, transposed, edges = moves
    by_label, by_step, by_first, by_last, by_start = outputs
    width = beta.size // WIDTH
    steps, posterior = np.zeros(classes * width * WIDTH), np.empty(BLOCK * width * WIDTH)
    stayed = np.empty(posterior.size if by_start.size else 0)
    diagonal = np.zeros(width * WIDTH)
    for c in range(classes):
        diagonal[c] = matrix[c * width * WIDTH + c]
    state, least = np.ones(_STATE), 1.0
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, alpha, 0, width)
            state[_NORM] = kept[k, width * WIDTH]
            _advance(emissions, offset, begin, count, classes, matrix, edges, alpha, weights, state)
        for stop in range(count, 0, -BLOCK):
            t = max(stop - BLOCK, 0)
            least = min(least, _backward(weights, alpha, posterior, beta, t, stop, width, classes, transposed))
            first = 1 if begin + t == 0 else 0  # nothing precedes the first frame
            _outer(alpha, weights, t + first, stop, width, classes, steps)
            _write(posterior, offset + (begin + t) * classes, stop - t, classes, width, by_label)
            if by_start.size:
                for i in range(t * width, stop * width):
                    kept_up = load(alpha, i) * load(diagonal, i % width) * load(weights, i)
                    at = i - t * width
                    store(stayed, at, larger(load(posterior, at) - kept_up, splat(0.0)))
                if first:
                    copy(posterior, 0, stayed, 0, width)
                _write(stayed, offset + (begin + t) * classes, stop - t, classes, width, by_start)
    for i in range(classes):
        for j in range(classes):
            by_step[0, i, j] = steps[i * width * WIDTH + j] * matrix[i * width * WIDTH + j]
        by_first[0, i] = by_label[offset + i]
        by_last[0, i] = by_label[offset + (length - 1) * classes + i]
    return least


@explicit
def _write(buffer, offset, count, classes, width, out):
    """The inverse of `_read`."""
    for t in range(count):
        if (t * classes + WIDTH <= count * classes) & (width == 1):  # beyond the classes: the frames after write anew
            store_part(out, offset + t * classes, load(buffer, t))
            continue
        for c in range(classes):
            out[offset + t * classes + c] = buffer[t * width * WIDTH + c]


@explicit
def _backward(weights, alpha, posterior, beta, begin, end, width, classes, transposed):
    """Marginals of frames ``begin`` to ``end`` from last to first. ``beta`` comes in for the last of them and leaves
    for the frame before them; ``weights`` leave as the right factor of the transition counts. Returns the least
    positive entry of beta."""
    least, zero, even = splat(1.0), splat(0.0), width // 2 * 2
    x = load(beta, 0)
    for t in range(end - 1, begin - 1, -1):
        k, at = t * width, (t - begin) * width
        if width == 1:
            store(posterior, at, load(alpha, t + 1) * x)
            weight = load(weights, t) * x
            store(weights, t, weight)
            # What cannot be reached may score any amount from here on: it must not overflow into the others.
            x = where_above(load(alpha, t), zero, _times(weight, transposed), zero)
            least = _least(x, least)
            continue
        for v in range(width):
            b = load(beta, v)
            store(posterior, at + v, load(alpha, k + width + v) * b)
            store(weights, k + v, load(weights, k + v) * b)
        for v in range(0, even, 2):
            p, q = _two(weights, k * WIDTH, transposed, v, width, classes)
            p, q = where_above(load(alpha, k + v), zero, p, zero), where_above(load(alpha, k + v + 1), zero, q, zero)
            store(beta, v, p)
            store(beta, v + 1, q)
            least = _least(q, _least(p, least))
        for v in range(even, width):
            p = where_above(load(alpha, k + v), zero, _one(weights, k * WIDTH, transposed, v, width, classes), zero)
            store(beta, v, p)
            least = _least(p, least)
    if width == 1:
        store(beta, 0, x)
    return -peak(zero - least)


@explicit
def _outer(left, right, begin, end, width, classes, out):
    """out += sum over frames of left[t] (outer) right[t], four classes at a time."""
    whole, row = classes // 4 * 4, width * WIDTH
    for v in range(width):
        for i in range(0, whole, 4):
            o = i * width + v
            a, b = load(out, o), load(out, o + width)
            c, d = load(out, o + 2 * width), load(out, o + 3 * width)
            for t in range(begin, end):
                x, at = load(right, t * width + v), t * row + i
                a, b = fma(splat(left[at]), x, a), fma(splat(left[at + 1]), x, b)
                c, d = fma(splat(left[at + 2]), x, c), fma(splat(left[at + 3]), x, d)
            store(out, o, a)
            store(out, o + width, b)
            store(out, o + 2 * width, c)
            store(out, o + 3 * width, d)
        for i in range(whole, classes):
            a = load(out, i * width + v)
            for t in range(begin, end):
                a = fma(splat(left[t * row + i]), load(right, t * width + v), a)
            store(out, i * width + v, a)


# -------------------------------------------------------------------------------------------------------------- max
@inlined
def best_row(emissions, offset, length, classes, held, transitions, transposed, edges, best, scores, path):
    """Viterbi (1967): labels into ``path``, and their score. ``best[t + 1]`` is the best score of a labelling that
    ends in each class at frame t of a chunk."""
    width = edges.size // WIDTH // 2
    chunks = (length + held - 1) // held
    kept = np.empty((chunks, width * WIDTH))
    for k in range(chunks):
        if k > 0:
            copy(best, held * width, best, 0, width)
        copy(best, 0, kept[k], 0, width)
        count = min(held, length - k * held)
        _climb(emissions, offset, k * held, count, classes, transitions, edges, best, scores)
    final, label, score = (length - (chunks - 1) * held) * width * WIDTH, np.int64(0), -np.inf
    for c in range(classes):
        reached = best[final + c] + edges[width * WIDTH + c]
        if reached > score:
            score, label = reached, c
    for k in range(chunks - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < chunks - 1:
            copy(kept[k], 0, best, 0, width)
            _climb(emissions, offset, begin, count, classes, transitions, edges, best, scores)
        label = _trace(best, transposed, path, begin, count, width, label)
    return score


@explicit
def _climb(emissions, offset, begin, count, classes, transitions, edges, best, scores):
    width = edges.size // WIDTH // 2
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        _read(emissions, offset + (begin + t) * classes, stop - t, classes, scores, 0, width)
        i = t
        if begin + t == 0:
            for v in range(width):
                store(best, width + v, load(edges, v) + load(scores, v))
            i = 1
        if width == 1:
            x = load(best, i)
            for k in range(i, stop):
                x = _best_of(x, transitions) + load(scores, k - t)
                store(best, k + 1, x)
        else:
            _best(scores, best, i, stop, t, width, classes, transitions)


@inlined
def _best_of(x, rows):
    """The largest of x[i] + rows[i], of one vector per row, in registers."""
    a, b = spread(x, 0) + load(rows, 0), spread(x, 1) + load(rows, 1)
    a, b = larger(spread(x, 2) + load(rows, 2), a), larger(spread(x, 3) + load(rows, 3), b)
    a, b = larger(spread(x, 4) + load(rows, 4), a), larger(spread(x, 5) + load(rows, 5), b)
    a, b = larger(spread(x, 6) + load(rows, 6), a), larger(spread(x, 7) + load(rows, 7), b)
    return larger(a, b)


@explicit
def _best(scores, best, begin, end, offset, width, classes, transitions):
    even = width // 2 * 2
    for t in range(begin, end):
        k, at = t * width, (t - offset) * width
        for v in range(0, even, 2):
            a = b = splat(-np.inf)
            for i in range(classes):
                x, m = splat(best[k * WIDTH + i]), i * width + v
                a, b = larger(x + load(transitions, m), a), larger(x + load(transitions, m + 1), b)
            store(best, k + width + v, a + load(scores, at + v))
            store(best, k + width + v + 1, b + load(scores, at + v + 1))
        for v in range(even, width):
            a = splat(-np.inf)
            for i in range(classes):
                a = larger(splat(best[k * WIDTH + i]) + load(transitions, i * width + v), a)
            store(best, k + width + v, a + load(scores, at + v))


@explicit
def _trace(best, transposed, path, begin, count, width, label):
    """Labels of a chunk from last to first; returns the label before it."""
    for t in range(count - 1, -1, -1):
        path[begin + t] = label
        label = predecessor(best, t * width, transposed, label, width)
    return label
