"""Linear chain on a CPU, one recording after another: classes in SIMD lanes.

The recurrences of `chain_numba` for few recordings. A long one is done from both ends at once, on two threads: its
later half is a recording of its own with time reversed, and where the halves meet each learns what lies beyond. Frames
are found at ``offset + t * step`` in the flat scores, so that time may run either way.

A message is ``width`` vectors of `_simd`, padded with classes
that nothing reaches; up to eight classes stay in one register from frame to frame, and what the loop waits for is the
latency of one short product. So nothing else is on that path: a message is divided every second frame, by a norm
known a frame before, and the way back takes the same divisors instead of norms of its own.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_lanes import BLOCK, SPAN, TINY, copy, lesser, predecessor
from segcrf.kernels.numba_runtime import explicit, inlined, part
from segcrf.kernels.simd import (
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


@part
def read(emissions, offset, step, count, classes, buffer, k, width):
    """Scores of ``count`` frames into vectors from number ``k`` on; -inf beyond the classes."""
    for t in range(count):
        at, row = (k + t * width) * WIDTH, offset + t * step
        if width == 1 and row + WIDTH <= emissions.size:
            store(buffer, k + t, load_part(emissions, row, classes, -np.inf))
            continue
        for c in range(classes):
            buffer[at + c] = emissions[row + c]
        for c in range(classes, width * WIDTH):
            buffer[at + c] = -np.inf


# -------------------------------------------------------------------------------------------------------------- sum
@inlined
def sum_row(emissions, offset, step, length, classes, held, matrix, transposed, edges, outputs, alpha, weights):
    """Log of the sum over labellings, less the maxima of the shared scores; NaN where mass could be lost."""
    by_label, by_step, by_first, by_last, by_start = outputs
    width = alpha.size // WIDTH // (held + 1)
    kept, state = np.empty(((length + held - 1) // held, (width + 1) * WIDTH)), fresh_state()
    approach(emissions, offset, step, length, classes, held, matrix, edges, alpha, weights, kept, state)
    if not state[_LEAST] >= TINY:
        return np.nan
    last, mass = (length - (kept.shape[0] - 1) * held) * width, 0.0
    for v in range(width):
        mass += total(load(alpha, last + v) * load(edges, width + v))
    if mass == 0.0:
        return np.nan if np.isnan(state[_TOPS]) else -np.inf  # NaN: what was too far below may be possible
    if by_step.size:
        beta, stay = np.empty(width * WIDTH), np.zeros(width * WIDTH)
        for v in range(width):
            store(beta, v, load(edges, width + v) / splat(mass))  # alpha . beta = 1 at every frame
        steps, moves = np.zeros(classes * width * WIDTH), (matrix, transposed, edges)
        least = counts(
            emissions, offset, step, length, classes, held, moves, alpha, weights, kept, beta, stay, by_label, by_start,
            steps,
        )  # fmt: skip
        if not least >= TINY:
            return np.nan
        for i in range(classes):
            for j in range(classes):
                by_step[0, i, j] = steps[i * width * WIDTH + j] * matrix[i * width * WIDTH + j]
            by_first[0, i] = by_label[offset + i]
            by_last[0, i] = by_label[offset + (length - 1) * step + i]
    return log_mass(state) + np.log(mass)


@explicit
def fresh_state():
    """Return the state of a scan before its first frame."""
    state = np.zeros(_STATE)
    state[_NORM] = state[_PRODUCT] = state[_LEAST] = 1.0
    return state


@explicit
def log_mass(state):
    """What has been divided by, and the maxima that were taken out; NaN where mass could be lost."""
    return state[_TOPS] + state[_LOGS] + np.log(state[_PRODUCT]) if state[_LEAST] >= TINY else np.nan


@inlined
def approach(emissions, offset, step, length, classes, held, matrix, edges, alpha, weights, kept, state):
    """Messages of ``length`` frames; ``kept`` is the message before each chunk, and its norm."""
    width = alpha.size // WIDTH // (held + 1)
    for k in range(kept.shape[0]):
        count = min(held, length - k * held)
        if k > 0:
            copy(alpha, held * width, alpha, 0, width)
        copy(alpha, 0, kept[k], 0, width)
        kept[k, width * WIDTH] = state[_NORM]
        _advance(emissions, offset, step, k * held, count, classes, matrix, edges, alpha, weights, state)


@explicit
def meet(ends, counts_of, held, classes, matrix, betas, stay, steps):
    """Where the messages of both halves meet: what lies beyond for each (``betas``), the counts of the step between
    them, and its mass; NaN where mass could be lost."""
    width = betas.shape[1] // WIDTH
    earlier, later = (counts_of[0] - 1) % held + 1, (counts_of[1] - 1) % held + 1
    a, b = earlier * width * WIDTH, later * width * WIDTH
    mass, least, possible, row = 0.0, 1.0, False, width * WIDTH
    for i in range(classes):
        for j in range(classes):
            reached, step, beyond = ends[0][a + i], matrix[i * row + j], ends[1][b + j]
            possible |= reached > 0.0 and step > 0.0 and beyond > 0.0
            steps[i, j] = reached * step * beyond
            mass += steps[i, j]
    betas[:] = 0.0
    if mass < TINY:
        return np.nan if possible else 0.0
    for i in range(classes):
        for j in range(classes):
            betas[0, i] += matrix[i * row + j] * ends[1][b + j] / mass
            betas[1, j] += matrix[i * row + j] * ends[0][a + i] / mass
            steps[i, j] /= mass
        stay[i] = steps[i, i]
    for side in range(2):
        for c in range(classes):
            if betas[side, c] > 0.0:
                least = min(least, betas[side, c])
    return mass if least >= TINY else np.nan


@part
def _advance(emissions, offset, step, begin, count, classes, matrix, edges, alpha, weights, state):
    """Messages of ``count`` frames, block by block."""
    width = edges.size // WIDTH // 2
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        read(emissions, offset + (begin + t) * step, step, stop - t, classes, weights, t * width, width)
        _exponentials(weights, t, stop - t, width, state)
        i = t
        if begin + t == 0:
            norm, least = splat(0.0), splat(1.0)
            for v in range(width):
                value = load(edges, v) * load(weights, v)
                store(alpha, width + v, value)
                norm, least = norm + value, lesser(value, least)
            state[_NORM], state[_LEAST] = total(norm), min(state[_LEAST], -peak(splat(0.0) - least))
            i = 1
        if width == 1:
            _forward_narrow(weights, alpha, i, stop, matrix, state)
        else:
            _forward(weights, alpha, i, stop, width, classes, matrix, state)


@part
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


@part
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
        least = lesser(x, least)
    state[_NORM], state[_LEAST] = norm, min(state[_LEAST], -peak(splat(0.0) - least))


@part
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
            least, sums = lesser(q, lesser(p, least)), sums + (p + q)
        for v in range(even, width):
            p = _one(alpha, k * WIDTH, matrix, v, width, classes) * load(weights, k + v)
            store(alpha, k + width + v, p)
            least, sums = lesser(p, least), sums + p
        if t % 2 == 0:
            norm = total(sums)
    state[_NORM], state[_LEAST] = norm, min(state[_LEAST], -peak(splat(0.0) - least))


@inlined
def counts(
    emissions, offset, step, length, classes, held, moves, alpha, weights, kept, beta, stay, by_label, by_start, steps
):
    """Expected counts, frames from last to first: of labels and starts into the recording's place, of steps (less
    their weight) into ``steps``. Returns the least positive entry of beta."""
    matrix, transposed, edges = moves
    width = beta.size // WIDTH
    posterior, diagonal = np.empty(BLOCK * width * WIDTH), np.zeros(width * WIDTH)
    stayed = np.empty(posterior.size if by_start.size else 0)
    for c in range(classes):
        diagonal[c] = matrix[c * width * WIDTH + c]
    state, least = fresh_state(), 1.0
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, alpha, 0, width)
            state[_NORM] = kept[k, width * WIDTH]
            _advance(emissions, offset, step, begin, count, classes, matrix, edges, alpha, weights, state)
        for stop in range(count, 0, -BLOCK):
            t = max(stop - BLOCK, 0)
            least = min(least, _backward(weights, alpha, posterior, beta, t, stop, width, classes, transposed))
            first = 1 if begin + t == 0 else 0  # nothing precedes the first frame
            outer(alpha, weights, t + first, stop, width, classes, steps)
            write(posterior, offset + (begin + t) * step, step, stop - t, classes, width, by_label)
            if by_start.size:
                _starts(alpha, weights, posterior, diagonal, stay, t, stop, width, first, step, stayed)
                write(stayed, offset + (begin + t) * step, step, stop - t, classes, width, by_start)
    return least


@part
def _starts(alpha, weights, posterior, diagonal, stay, begin, end, width, first, step, out):
    """Probability that a band begins, of frames ``begin`` to ``end``: that of the label, less that of the label there
    and at the frame before, in the order of time. ``stay`` is that of the last frame and the next, where time runs
    backwards."""
    zero = splat(0.0)
    for t in range(end - 1, begin - 1, -1):
        for v in range(width):
            i, at = t * width + v, (t - begin) * width + v
            both = load(alpha, i) * load(diagonal, v) * load(weights, i)
            if first and t == begin:
                both = zero
            here = both if step > 0 else load(stay, v)
            store(out, at, larger(load(posterior, at) - here, zero))
            store(stay, v, both)


@part
def write(buffer, offset, step, count, classes, width, out):
    """The inverse of `read`."""
    spills = (width == 1) & (abs(step) == classes)  # beyond the classes, where the frames after write anew
    for n in range(count):
        t = n if step > 0 else count - 1 - n  # onwards in memory
        at = offset + t * step
        if spills & (n * classes + WIDTH <= count * classes):
            store_part(out, at, load(buffer, t))
            continue
        for c in range(classes):
            out[at + c] = buffer[t * width * WIDTH + c]


@part
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
            least = lesser(x, least)
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
            least = lesser(q, lesser(p, least))
        for v in range(even, width):
            p = where_above(load(alpha, k + v), zero, _one(weights, k * WIDTH, transposed, v, width, classes), zero)
            store(beta, v, p)
            least = lesser(p, least)
    if width == 1:
        store(beta, 0, x)
    return -peak(zero - least)


@part
def outer(left, right, begin, end, width, classes, out):
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
def best_row(emissions, offset, step, length, classes, held, transitions, transposed, edges, best, scores, path):
    """Viterbi (1967): labels into ``path``, and their score."""
    width = edges.size // WIDTH // 2
    kept = np.empty(((length + held - 1) // held, width * WIDTH))
    climb(emissions, offset, step, length, classes, held, transitions, edges, best, scores, kept)
    final, label, score = (length - (kept.shape[0] - 1) * held) * width * WIDTH, np.int64(0), -np.inf
    for c in range(classes):
        reached = best[final + c] + edges[width * WIDTH + c]
        if reached > score:
            score, label = reached, np.int64(c)
    moves = (transitions, transposed, edges)
    descend(emissions, offset, step, length, classes, held, moves, best, scores, kept, label, path, 0)
    return score


@inlined
def climb(emissions, offset, step, length, classes, held, transitions, edges, best, scores, kept):
    """``best[t + 1]``, the best score of a labelling that ends in each class at frame t of a chunk; ``kept`` is that
    before each chunk."""
    width = edges.size // WIDTH // 2
    for k in range(kept.shape[0]):
        if k > 0:
            copy(best, held * width, best, 0, width)
        copy(best, 0, kept[k], 0, width)
        count = min(held, length - k * held)
        _climb(emissions, offset, step, k * held, count, classes, transitions, edges, best, scores)


@inlined
def descend(emissions, offset, step, length, classes, held, moves, best, scores, kept, label, path, at):
    """The labels that lead to ``label``, from last to first; that of frame t is ``path[at + t]``, or ``path[at - t]``
    where time runs backwards."""
    transitions, transposed, edges = moves
    width = edges.size // WIDTH // 2
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, best, 0, width)
            _climb(emissions, offset, step, begin, count, classes, transitions, edges, best, scores)
        label = _trace(best, transposed, path, at + (begin if step > 0 else -begin), step, count, width, label)


@explicit
def meet_best(ends, counts_of, held, classes, transitions, width, labels):
    """The best step between the halves into ``labels``; returns the best score."""
    earlier, later = (counts_of[0] - 1) % held + 1, (counts_of[1] - 1) % held + 1
    a, b, row, score = earlier * width * WIDTH, later * width * WIDTH, width * WIDTH, -np.inf
    for i in range(classes):
        for j in range(classes):
            both = ends[0][a + i] + transitions[i * row + j] + ends[1][b + j]
            if both > score:
                score, labels[0], labels[1] = both, i, j
    return score


@part
def _climb(emissions, offset, step, begin, count, classes, transitions, edges, best, scores):
    width = edges.size // WIDTH // 2
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        read(emissions, offset + (begin + t) * step, step, stop - t, classes, scores, 0, width)
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


@part
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


@part
def _trace(best, transposed, path, at, step, count, width, label):
    """Labels of a chunk from last to first; returns the label before it."""
    for t in range(count - 1, -1, -1):
        path[at + t if step > 0 else at - t] = label
        label = predecessor(best, t * width, transposed, label, width)
    return label
