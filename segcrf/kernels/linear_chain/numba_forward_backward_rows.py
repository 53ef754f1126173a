"""Forward-backward for one recording after another, classes in SIMD lanes, in scaled probability space.

A long recording is computed from both ends at once, on two threads. Its later half is a recording of its own with time
reversed; where the halves meet, each receives the messages of the other.

Up to eight classes stay in one register from frame to frame, and the loop waits for the latency of one short product.
So that path holds nothing else: a message is divided every second frame, by a norm known one frame earlier, and the
backward pass uses the same divisors instead of norms of its own.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_forward_backward_lanes import lesser
from segcrf.kernels.linear_chain.numba_lanes import copy
from segcrf.kernels.linear_chain.numba_rows import outer, read, write
from segcrf.kernels.linear_chain.state import (
    BLOCK,
    LEAST,
    LOGS,
    NORM,
    NUM_ROWS,
    PRODUCT,
    SPAN,
    TINY,
    TOPS,
    Messages,
    Recording,
    Tables,
)  # fmt: skip
from segcrf.kernels.numba_runtime import explicit, inlined, part
from segcrf.kernels.simd import (
    WIDTH,
    exp,
    fma,
    larger,
    load,
    peak,
    smaller,
    splat,
    spread,
    store,
    total,
    where_above,
)  # fmt: skip

__all__ = ["backward_half", "forward_half", "fresh_state", "log_mass", "meet", "sum_row"]


@inlined
def sum_row(emissions, recording, tables, counts, alpha, weights):
    """Return the log of the sum over labellings, less the maxima of the shared scores; NaN if mass could be lost.

    ``counts`` are those of this recording: their first axis has length one, except in the flat ones.
    """
    offset, step, length, classes, held = recording
    matrix, edges, by_label = tables.matrix, tables.edges, counts.by_label
    width = alpha.size // WIDTH // (held + 1)
    messages = Messages(alpha, weights, np.empty(((length + held - 1) // held, (width + 1) * WIDTH)))
    state = fresh_state()
    _forward_chunks(emissions, recording, tables, messages, state)
    if not state[LEAST] >= TINY:
        return np.nan
    last, mass = (length - (messages.kept.shape[0] - 1) * held) * width, 0.0
    for v in range(width):
        mass += total(load(alpha, last + v) * load(edges, width + v))
    if mass == 0.0:
        return np.nan if np.isnan(state[TOPS]) else -np.inf  # NaN: classes that underflowed may be possible
    if counts.by_step.size:
        beta, stay = np.empty(width * WIDTH), np.zeros(width * WIDTH)
        for v in range(width):
            store(beta, v, load(edges, width + v) / splat(mass))  # alpha . beta = 1 at every frame
        steps = np.zeros(classes * width * WIDTH)
        least = _backward_chunks(
            emissions, recording, tables, messages, beta, stay, by_label, counts.by_start, steps
        )  # fmt: skip
        if not least >= TINY:
            return np.nan
        for i in range(classes):
            for j in range(classes):
                counts.by_step[0, i, j] = steps[i * width * WIDTH + j] * matrix[i * width * WIDTH + j]
            counts.by_first[0, i] = by_label[offset + i]
            counts.by_last[0, i] = by_label[offset + (length - 1) * step + i]
    return log_mass(state) + np.log(mass)


@explicit
def fresh_state():
    """Return the state of a scan before its first frame."""
    state = np.zeros(NUM_ROWS)
    state[NORM] = state[PRODUCT] = state[LEAST] = 1.0
    return state


@explicit
def log_mass(state):
    """Return the log of all divisors plus the maxima that were subtracted; NaN if mass could be lost."""
    return state[TOPS] + state[LOGS] + np.log(state[PRODUCT]) if state[LEAST] >= TINY else np.nan


@explicit
def meet(ends, counts_of, held, classes, matrix, betas, stay, steps):
    """Join the messages of both halves where they meet; return the mass of the step between, NaN if it may be lost.

    Write the message from beyond each half into ``betas``, the counts of the step into ``steps``, and those of staying
    in a class into ``stay``.
    """
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


@explicit
def forward_half(emissions, recording, tables, messages, state):
    """Compute the messages of one half of a long recording: a `Recording`, `Tables` and `Messages`, as plain tuples."""
    _forward_chunks(emissions, Recording(*recording), Tables(*tables), Messages(*messages), state)


@explicit
def backward_half(emissions, recording, tables, messages, beta, stay, by_label, by_start, steps):
    """Write the expected counts of one half of a long recording, after `forward_half`; see `_backward_chunks`."""
    return _backward_chunks(
        emissions, Recording(*recording), Tables(*tables), Messages(*messages), beta, stay, by_label, by_start, steps
    )  # fmt: skip


@inlined
def _forward_chunks(emissions, recording, tables, messages, state):
    """Compute all messages; ``messages.kept`` holds the message before each chunk, and its norm."""
    alpha, _, kept = messages
    held = recording.held
    width = alpha.size // WIDTH // (held + 1)
    for k in range(kept.shape[0]):
        count = min(held, recording.length - k * held)
        if k > 0:
            copy(alpha, held * width, alpha, 0, width)
        copy(alpha, 0, kept[k], 0, width)
        kept[k, width * WIDTH] = state[NORM]
        _advance(emissions, recording, k * held, count, tables, messages, state)


@inlined
def _backward_chunks(emissions, recording, tables, messages, beta, stay, by_label, by_start, steps):
    """Write expected counts, frames from last to first, and return the least positive entry of beta.

    Write counts of labels and starts to the recording's place, and those of steps (without their weight) to ``steps``.
    """
    offset, step, length, classes, held = recording
    alpha, weights, kept = messages
    width = beta.size // WIDTH
    posterior, diagonal = np.empty(BLOCK * width * WIDTH), np.zeros(width * WIDTH)
    stayed = np.empty(posterior.size if by_start.size else 0)
    for c in range(classes):
        diagonal[c] = tables.matrix[c * width * WIDTH + c]
    state, least = fresh_state(), 1.0
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, alpha, 0, width)
            state[NORM] = kept[k, width * WIDTH]
            _advance(emissions, recording, begin, count, tables, messages, state)
        for stop in range(count, 0, -BLOCK):
            t = max(stop - BLOCK, 0)
            least = min(least, _backward(weights, alpha, posterior, beta, t, stop, width, classes, tables.transposed))
            first = 1 if begin + t == 0 else 0  # no frame precedes the first one
            outer(alpha, weights, t + first, stop, width, classes, steps)
            write(posterior, offset + (begin + t) * step, step, stop - t, classes, width, by_label)
            if by_start.size:
                _starts(alpha, weights, posterior, diagonal, stay, t, stop, width, first, step, stayed)
                write(stayed, offset + (begin + t) * step, step, stop - t, classes, width, by_start)
    return least


@part
def _advance(emissions, recording, begin, count, tables, messages, state):
    """Compute the messages of ``count`` frames, block by block."""
    offset, step, _, classes, _ = recording
    alpha, weights, _ = messages
    matrix, _, edges = tables
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
            state[NORM], state[LEAST] = total(norm), min(state[LEAST], -peak(splat(0.0) - least))
            i = 1
        if width == 1:
            _forward_narrow(weights, alpha, i, stop, matrix, state)
        else:
            _forward(weights, alpha, i, stop, width, classes, matrix, state)


# --------------------------------------------------------------------------------------------------------- forward
@part
def _exponentials(weights, frame, count, width, state):
    """Replace scores by exp(scores - max over classes), and add the maxima to the state: NaN for too wide a span."""
    tops, least, zero, nothing = 0.0, splat(0.0), splat(0.0), splat(-np.inf)
    for k in range(frame * width, (frame + count) * width, width):
        highest = load(weights, k)
        for v in range(1, width):
            highest = larger(load(weights, k + v), highest)
        top = peak(highest)
        top = top if top > -np.inf else 0.0  # all classes are forbidden: the weights become zero
        tops += top
        for v in range(width):
            x = load(weights, k + v) - splat(top)
            least = smaller(where_above(x, nothing, x, zero), least)
            store(weights, k + v, exp(x))
    state[TOPS] = state[TOPS] + tops if peak(zero - least) < SPAN else np.nan


@inlined
def _times(x, matrix):
    """Return the product of one vector and a matrix of one vector per row, in registers."""
    a, b = spread(x, 0) * load(matrix, 0), spread(x, 1) * load(matrix, 1)
    a, b = fma(spread(x, 2), load(matrix, 2), a), fma(spread(x, 3), load(matrix, 3), b)
    a, b = fma(spread(x, 4), load(matrix, 4), a), fma(spread(x, 5), load(matrix, 5), b)
    a, b = fma(spread(x, 6), load(matrix, 6), a), fma(spread(x, 7), load(matrix, 7), b)
    return a + b


@inlined
def _two(vector, at, matrix, v, width, classes):
    """Return vectors v and v + 1 of the product of a matrix and the vector that begins at element ``at``.

    Each has two sums, because the loop over frames waits for the latency of one.
    """
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
    """Return vector v of the product of `_two`."""
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
    """Return the divisor of an even frame, and keep its logarithm in the state."""
    if not norm > 0.0:  # every labelling is forbidden from this frame on
        return 1.0
    state[PRODUCT] *= norm
    if state[PRODUCT] < 1e-100 or state[PRODUCT] > 1e100:
        state[LOGS] += np.log(state[PRODUCT])
        state[PRODUCT] = 1.0
    return norm


@part
def _forward_narrow(weights, alpha, begin, end, matrix, state):
    """Compute alpha[t + 1] from alpha[t], of one vector; divide the weights by the same scale as the messages."""
    norm, least, x = state[NORM], splat(1.0), load(alpha, begin)
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
    state[NORM], state[LEAST] = norm, min(state[LEAST], -peak(splat(0.0) - least))


@part
def _forward(weights, alpha, begin, end, width, classes, matrix, state):
    """Compute alpha[t + 1] from alpha[t], of any width."""
    norm, least, even = state[NORM], splat(1.0), width // 2 * 2
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
    state[NORM], state[LEAST] = norm, min(state[LEAST], -peak(splat(0.0) - least))


# -------------------------------------------------------------------------------------------------------- backward
@part
def _backward(weights, alpha, posterior, beta, begin, end, width, classes, transposed):
    """Compute the marginals of frames ``begin`` to ``end`` from last to first; return the least positive entry of beta.

    On entry ``beta`` belongs to the last of them, on return to the frame before them. On return ``weights`` hold the
    right factor of the transition counts.
    """
    least, zero, even = splat(1.0), splat(0.0), width // 2 * 2
    x = load(beta, 0)
    for t in range(end - 1, begin - 1, -1):
        k, at = t * width, (t - begin) * width
        if width == 1:
            store(posterior, at, load(alpha, t + 1) * x)
            weight = load(weights, t) * x
            store(weights, t, weight)
            # A class that cannot be reached gets 0: its score may be so large that the others would overflow.
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
def _starts(alpha, weights, posterior, diagonal, stay, begin, end, width, first, step, out):
    """Compute the probability that a band begins, for frames ``begin`` to ``end``.

    It is the probability of the label, less that of the same label at this frame and at the frame before it in time.
    If time runs backwards, ``stay`` is the latter for the last of these frames and the next.
    """
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
