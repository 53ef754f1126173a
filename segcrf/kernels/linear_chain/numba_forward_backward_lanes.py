"""Forward-backward for eight recordings together: one recording per SIMD lane, in scaled probability space.

A step is C * C multiply-adds of whole registers. Frames are processed in blocks that stay in the first-level cache
between scores, messages and counts.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_lanes import align, copy, deliver, latest_first, next_first, pack
from segcrf.kernels.linear_chain.state import BLOCK, LEAST, LOGS, NORM, NUM_ROWS, PRODUCT, SPAN, TINY, TOPS, Messages
from segcrf.kernels.numba_runtime import inlined, part
from segcrf.kernels.simd import (
    WIDTH,
    any_outside,
    exp,
    fma,
    larger,
    load,
    smaller,
    splat,
    store,
    where_above,
)  # fmt: skip

__all__ = ["lesser", "sum_group"]


@inlined
def sum_group(emissions, steps, lengths, rows, tables, held, log_z, counts, alpha, weights):
    """Sum over the labellings of one group of recordings ``rows``, one per lane.

    Write ``log_z`` (less the maxima of the shared scores) and counts to the recordings' places; write NaN where mass
    could be lost.
    """
    edges = tables.edges
    classes = edges.size // 2
    group = align(rows, lengths, steps, classes, held)
    chunks = (group.size + held - 1) // held
    messages = Messages(alpha, weights, np.empty((chunks, (classes + 1) * WIDTH)))
    state = _fresh_state()
    for c in range(classes):
        store(alpha, c, splat(1.0 / classes))
    for k in range(chunks):
        if k > 0:
            copy(alpha, held * classes, alpha, 0, classes)
        copy(alpha, 0, messages.kept[k], 0, classes)
        store(messages.kept[k], classes, load(state, NORM))
        _advance(emissions, group, k * held, min(held, group.size - k * held), tables, messages, state)
    last = (group.size - (chunks - 1) * held) * classes
    mass = splat(0.0)
    for c in range(classes):
        mass = fma(load(alpha, last + c), splat(edges[classes + c]), mass)
    masses = np.empty(WIDTH)
    store(masses, 0, mass)
    for lane in range(WIDTH):
        total = np.log(masses[lane]) + np.log(state[PRODUCT * WIDTH + lane])
        total += state[LOGS * WIDTH + lane] + state[TOPS * WIDTH + lane]
        sound = masses[lane] > 0.0 and state[LEAST * WIDTH + lane] >= TINY
        log_z[rows[lane]] = total if sound else np.nan
    if counts.by_step.size:
        beta = np.empty(classes * WIDTH)
        for c in range(classes):
            store(beta, c, splat(edges[classes + c]) / mass)
        least = _counts(emissions, group, tables, messages, beta, counts)
        for lane in range(WIDTH):
            if not least[lane] >= TINY:
                log_z[rows[lane]] = np.nan


@inlined
def _counts(emissions, group, tables, messages, beta, counts):
    """Write expected counts into the recordings' places, frames from last to first.

    Return the least positive entry of beta of each lane.
    """
    rows, first, offsets, step, size, classes, held = group
    alpha, weights, kept = messages
    by_label, by_step, by_first, by_last, by_start = counts
    matrix = tables.matrix
    steps, state = np.zeros(classes * classes * WIDTH), _fresh_state()
    posterior = np.empty(BLOCK * classes * WIDTH)
    stayed = np.empty(BLOCK * classes * WIDTH if by_start.size else 0)
    least = np.ones(WIDTH)
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, size - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, alpha, 0, classes)
            store(state, NORM, load(kept[k], classes))
            _advance(emissions, group, begin, count, tables, messages, state)
        for stop in range(count, 0, -BLOCK):
            t = max(stop - BLOCK, 0)
            _backward(
                weights, alpha, posterior, stayed, beta, t, stop - t, classes, tables.transposed, first, begin, least
            )  # fmt: skip
            _outer(alpha, weights, t, stop - t, classes, steps)
            deliver(posterior, offsets, step, first, begin + t, stop - t, classes, by_label)
            if by_start.size:
                deliver(stayed, offsets, step, first, begin + t, stop - t, classes, by_start)
    for lane in range(WIDTH):
        row = rows[lane]
        for i in range(classes):
            for j in range(classes):
                by_step[row, i, j] = steps[(i * classes + j) * WIDTH + lane] * matrix[i * classes + j]
            by_first[row, i] = by_label[offsets[lane] + first[lane] * step + i]
            by_last[row, i] = by_label[offsets[lane] + (size - 1) * step + i]
    return least


@inlined
def _fresh_state():
    """Return the state of a scan before its first frame."""
    state = np.zeros(NUM_ROWS * WIDTH)
    store(state, NORM, splat(1.0))
    store(state, PRODUCT, splat(1.0))
    store(state, LEAST, splat(1.0))
    return state


@part
def _advance(emissions, group, begin, count, tables, messages, state):
    """Compute the messages of ``count`` frames, block by block; each lane begins at its first frame."""
    alpha, weights, _ = messages
    first, classes = group.first, group.classes
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        pack(emissions, group.step, group.offsets, first, begin + t, stop - t, classes, weights, t * classes)
        _exponentials(weights, t, stop - t, classes, state)
        i = t
        while i < stop:
            joins = next_first(first, begin + i) - begin
            if joins > i:
                _forward(weights, alpha, i, min(joins, stop), classes, tables.matrix, state)
                i = min(joins, stop)
            else:
                _join(first, begin + i, weights, alpha, i, classes, tables.matrix, tables.edges, state)
                i += 1


# --------------------------------------------------------------------------------------------------------- forward
@part
def _exponentials(weights, frame, count, classes, state):
    """Replace scores by exp(scores - max over classes), and add the maxima to the state: NaN for too wide a span."""
    tops, least, zero, nothing = load(state, TOPS), splat(0.0), splat(0.0), splat(-np.inf)
    for k in range(frame * classes, (frame + count) * classes, classes):
        top = load(weights, k)
        for c in range(1, classes):
            top = larger(load(weights, k + c), top)
        top = where_above(top, nothing, top, zero)  # all classes are forbidden: the weights become zero
        tops = tops + top
        for c in range(classes):
            x = load(weights, k + c) - top
            least = smaller(where_above(x, nothing, x, zero), least)
            store(weights, k + c, exp(x))
    store(state, TOPS, where_above(least, splat(-SPAN), tops, splat(np.nan)))


@inlined
def _four(vectors, k, matrix, j, classes):
    """Return four vectors: the sum over i of vector k + i times matrix[i, j], for j to j + 3."""
    a = b = c = d = splat(0.0)
    for i in range(classes):
        x, m = load(vectors, k + i), i * classes + j
        a, b = fma(x, splat(matrix[m]), a), fma(x, splat(matrix[m + 1]), b)
        c, d = fma(x, splat(matrix[m + 2]), c), fma(x, splat(matrix[m + 3]), d)
    return a, b, c, d


@inlined
def _one(vectors, k, matrix, j, classes):
    """Return the vector of `_four` for j alone."""
    a = splat(0.0)
    for i in range(classes):
        a = fma(load(vectors, k + i), splat(matrix[i * classes + j]), a)
    return a


@inlined
def _message(weights, alpha, k, product, scale):
    """Return one entry of a message, given its sum over predecessors.

    The weight is divided by the same scale as the message, so that the backward pass uses that scale too.
    """
    weight = load(weights, k) * scale
    value = product * weight
    store(weights, k, weight)
    store(alpha, k, value)
    return value


@inlined
def lesser(value, least):
    """Return the smaller of ``least`` and of the positive entries of ``value``."""
    return smaller(where_above(value, splat(0.0), value, least), least)


@part
def _forward(weights, alpha, begin, end, classes, matrix, state):
    """Compute alpha[t + 1] from alpha[t], divided by the norm of alpha[t]: the division runs beside the product."""
    norm, product, least = load(state, NORM), load(state, PRODUCT), load(state, LEAST)
    one, zero, low, high = splat(1.0), splat(0.0), splat(1e-100), splat(1e100)
    ahead = alpha[classes * WIDTH :]
    whole = classes // 4 * 4
    for k in range(begin * classes, end * classes, classes):
        scale = where_above(norm, zero, one / norm, zero)
        product = product * where_above(norm, zero, norm, one)
        norm = zero
        for j in range(0, whole, 4):
            p, q, r, s = _four(alpha, k, matrix, j, classes)
            p, q = _message(weights, ahead, k + j, p, scale), _message(weights, ahead, k + j + 1, q, scale)
            r, s = _message(weights, ahead, k + j + 2, r, scale), _message(weights, ahead, k + j + 3, s, scale)
            least = lesser(s, lesser(r, lesser(q, lesser(p, least))))
            norm = norm + ((p + q) + (r + s))
        for j in range(whole, classes):
            p = _message(weights, ahead, k + j, _one(alpha, k, matrix, j, classes), scale)
            least = lesser(p, least)
            norm = norm + p
        if any_outside(product, low, high):
            store(state, PRODUCT, product)
            for lane in range(WIDTH):
                state[LOGS * WIDTH + lane] += np.log(state[PRODUCT * WIDTH + lane])
            product = one
    store(state, NORM, norm)
    store(state, PRODUCT, product)
    store(state, LEAST, least)


@part
def _join(first, begins, weights, alpha, frame, classes, matrix, edges, state):
    """Compute a frame at which lanes begin: their start scores replace the product, and no divisor applies yet."""
    for lane in range(WIDTH):
        if first[lane] == begins:
            state[NORM * WIDTH + lane] = 1.0
    _forward(weights, alpha, frame, frame + 1, classes, matrix, state)
    for lane in range(WIDTH):
        if first[lane] == begins:
            norm, least = 0.0, 1.0
            for c in range(classes):
                at = (frame * classes + c) * WIDTH + lane
                value = edges[c] * weights[at]
                alpha[at + classes * WIDTH] = value
                norm += value
                least = value if 0.0 < value < least else least
            state[NORM * WIDTH + lane] = norm
            state[PRODUCT * WIDTH + lane] = 1.0
            state[LOGS * WIDTH + lane] = 0.0
            state[LEAST * WIDTH + lane] = least


# -------------------------------------------------------------------------------------------------------- backward
@part
def _backward(weights, alpha, posterior, stayed, beta, frame, count, classes, transposed, first, begin, leasts):
    """Compute the marginals of ``count`` frames from last to first.

    On entry ``beta`` belongs to the last of them, on return to the frame before them. On return ``weights`` hold the
    right factor of the transition counts. The scale is that of the forward pass, so that alpha . beta = 1 at every
    frame.
    """
    least, zero = load(leasts, 0), splat(0.0)
    latest, whole = latest_first(first), classes // 4 * 4
    for t in range(frame + count - 1, frame - 1, -1):
        k, at = t * classes, (t - frame) * classes
        for c in range(classes):
            b = load(beta, c)
            store(posterior, at + c, load(alpha, k + classes + c) * b)
            store(weights, k + c, load(weights, k + c) * b)
        if begin + t <= latest:
            for lane in range(WIDTH):
                if first[lane] == begin + t:  # no frame precedes the first one
                    for c in range(classes):
                        weights[(k + c) * WIDTH + lane] = 0.0
        for j in range(0, whole, 4):
            p, q, r, s = _four(weights, k, transposed, j, classes)
            p, q = _reached(alpha, k + j, p, beta, j), _reached(alpha, k + j + 1, q, beta, j + 1)
            r, s = _reached(alpha, k + j + 2, r, beta, j + 2), _reached(alpha, k + j + 3, s, beta, j + 3)
            least = lesser(s, lesser(r, lesser(q, lesser(p, least))))
        for j in range(whole, classes):
            p = _reached(alpha, k + j, _one(weights, k, transposed, j, classes), beta, j)
            least = lesser(p, least)
        if stayed.size:
            for c in range(classes):
                kept = load(alpha, k + c) * splat(transposed[c * classes + c]) * load(weights, k + c)
                store(stayed, at + c, larger(load(posterior, at + c) - kept, zero))
    store(leasts, 0, least)


@inlined
def _reached(alpha, k, value, beta, j):
    """Write ``value`` into ``beta``, 0 for a class that cannot be reached: its large score could overflow."""
    zero = splat(0.0)
    value = where_above(load(alpha, k), zero, value, zero)
    store(beta, j, value)
    return value


@part
def _outer(left, right, frame, count, classes, out):
    """Add to ``out[i, j]`` the sum over frames of left[t, i] * right[t, j], in tiles of 2 x 4 in registers."""
    begin, end, even, whole = frame * classes, (frame + count) * classes, classes // 2 * 2, classes // 4 * 4
    for j in range(0, whole, 4):
        for i in range(0, even, 2):
            o, u = i * classes + j, (i + 1) * classes + j
            a, b, c, d = load(out, o), load(out, o + 1), load(out, o + 2), load(out, o + 3)
            e, f, g, h = load(out, u), load(out, u + 1), load(out, u + 2), load(out, u + 3)
            for k in range(begin, end, classes):
                x, y, m = load(left, k + i), load(left, k + i + 1), k + j
                p, q, r, s = load(right, m), load(right, m + 1), load(right, m + 2), load(right, m + 3)
                a, b, c, d = fma(x, p, a), fma(x, q, b), fma(x, r, c), fma(x, s, d)
                e, f, g, h = fma(y, p, e), fma(y, q, f), fma(y, r, g), fma(y, s, h)
            store(out, o, a)
            store(out, o + 1, b)
            store(out, o + 2, c)
            store(out, o + 3, d)
            store(out, u, e)
            store(out, u + 1, f)
            store(out, u + 2, g)
            store(out, u + 3, h)
    for i in range(classes):
        for j in range(whole if i < even else 0, classes):
            a = load(out, i * classes + j)
            for k in range(begin, end, classes):
                a = fma(load(left, k + i), load(right, k + j), a)
            store(out, i * classes + j, a)
