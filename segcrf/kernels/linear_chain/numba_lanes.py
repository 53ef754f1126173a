"""Linear chain on a CPU, many recordings at once: one recording per SIMD lane.

The recurrences of `chain_numba` for eight recordings together, as vectors of `_simd`: a step is C * C multiply-adds of
whole registers. Buffers are flat, ``[frame, class]`` in vectors. Recordings of a group are aligned at their last
frame; a shorter one joins late, at its first frame, by an assignment. So ragged lengths cost nothing. A group that is
not full repeats a recording: computed twice, and written twice alike.

Frames pass in blocks that stay in the first-level cache from the scores to the messages, and from the messages to the
counts.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import inlined, part
from segcrf.kernels.simd import (
    WIDTH,
    any_outside,
    exp,
    first_equal,
    fma,
    gather,
    larger,
    load,
    look_up,
    peak,
    scatter,
    smaller,
    splat,
    store,
    where_above,
)  # fmt: skip

SPAN = 150.0
TINY = 1e-150
BLOCK = 16  # frames
# What a group carries from frame to frame, one vector each: the norm of the last message, the product of the norms
# that were divided by, its logarithm as far as it was taken, the least positive entry, the sum of maxima.
_NORM, _PRODUCT, _LOGS, _LEAST, _TOPS, _STATE = 0, 1, 2, 3, 4, 5


# ---------------------------------------------------------------------------------------------- into lanes and back
@inlined
def places(rows, lengths, size, steps):
    """For each lane: the frame of the group at which it begins, and the number in a flat array at which the group's
    frame 0 would lie; ``steps`` are those from recording to recording and from frame to frame."""
    first, offsets = np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64)
    for lane in range(WIDTH):
        first[lane] = size - lengths[rows[lane]]
        offsets[lane] = rows[lane] * steps[0] - first[lane] * steps[1]
    return first, offsets


@inlined
def longest(rows, lengths):
    """The length of the longest recording of a group."""
    size = np.int64(0)
    for row in rows:
        size = max(size, lengths[row])
    return size


@part
def _latest(first):
    """The frame from which on every lane has begun."""
    latest = first[0]
    for lane in range(1, WIDTH):
        latest = max(latest, first[lane])
    return latest


@part
def copy(source, k, target, m, count):
    """``count`` vectors from number ``k`` of one buffer to number ``m`` of another."""
    for i in range(count):
        store(target, m + i, load(source, k + i))


@part
def _pack(emissions, step, offsets, first, frame, count, classes, buffer, k):
    """Scores of ``count`` frames, ``step`` numbers apart, into vectors from number ``k`` on; 0 where a lane has not
    begun."""
    joined, size = min(max(_latest(first) - frame, 0), count), count * classes  # then every lane has begun
    for lane in range(WIDTH):
        for i in range(joined):
            source, begun = offsets[lane] + (frame + i) * step, frame + i >= first[lane]
            for c in range(classes):
                buffer[(k + i * classes + c) * WIDTH + lane] = emissions[source + c] if begun else 0.0
    # Frames that follow each other are one run of numbers.
    run = classes if step > classes else max(size - joined * classes, 1)
    whole = run // WIDTH * WIDTH
    for at in range(joined * classes, size, run):
        source = (frame + at // classes) * step
        for i in range(0, whole, WIDTH):
            gather(emissions, offsets, source + i, buffer, k + at + i)
        for i in range(whole, run):
            for lane in range(WIDTH):
                buffer[(k + at + i) * WIDTH + lane] = emissions[offsets[lane] + source + i]


@part
def _deliver(buffer, offsets, step, first, frame, count, classes, out):
    """The inverse of `_pack`, of lanes that have begun."""
    joined, size = min(max(_latest(first) - frame, 0), count), count * classes
    for lane in range(WIDTH):
        for i in range(max(first[lane] - frame, 0), joined):
            target = offsets[lane] + (frame + i) * step
            for c in range(classes):
                out[target + c] = buffer[(i * classes + c) * WIDTH + lane]
    run = classes if step > classes else max(size - joined * classes, 1)
    whole = run // WIDTH * WIDTH
    for at in range(joined * classes, size, run):
        target = (frame + at // classes) * step
        for i in range(0, whole, WIDTH):
            scatter(buffer, at + i, out, offsets, target + i)
        for i in range(whole, run):
            for lane in range(WIDTH):
                out[offsets[lane] + target + i] = buffer[(at + i) * WIDTH + lane]


@inlined
def _four(vectors, k, matrix, j, classes):
    """Four vectors: the sum over i of vector k + i times matrix[i, j], for j to j + 3."""
    a = b = c = d = splat(0.0)
    for i in range(classes):
        x, m = load(vectors, k + i), i * classes + j
        a, b = fma(x, splat(matrix[m]), a), fma(x, splat(matrix[m + 1]), b)
        c, d = fma(x, splat(matrix[m + 2]), c), fma(x, splat(matrix[m + 3]), d)
    return a, b, c, d


@inlined
def _one(vectors, k, matrix, j, classes):
    a = splat(0.0)
    for i in range(classes):
        a = fma(load(vectors, k + i), splat(matrix[i * classes + j]), a)
    return a


# -------------------------------------------------------------------------------------------------------------- sum
@inlined
def sum_group(emissions, steps, shape, rows, lengths, matrix, transposed, edges, log_z, outputs, alpha, weights):
    """One group of recordings ``rows``, one per lane. ``log_z`` (less the maxima of the shared scores) and counts go
    to the recordings' places; NaN where mass could be lost."""
    classes, held = shape
    size = longest(rows, lengths)
    first, offsets = places(rows, lengths, size, steps)
    chunks = (size + held - 1) // held
    kept = np.empty((chunks, (classes + 1) * WIDTH))  # the message before each chunk, and its norm
    state = _fresh_state()
    for c in range(classes):
        store(alpha, c, splat(1.0 / classes))
    for k in range(chunks):
        count = min(held, size - k * held)
        if k > 0:
            copy(alpha, held * classes, alpha, 0, classes)
        copy(alpha, 0, kept[k], 0, classes)
        store(kept[k], classes, load(state, _NORM))
        _advance(emissions, steps[1], first, offsets, k * held, count, classes, matrix, edges, alpha, weights, state)
    last = (size - (chunks - 1) * held) * classes
    mass = splat(0.0)
    for c in range(classes):
        mass = fma(load(alpha, last + c), splat(edges[classes + c]), mass)
    masses = np.empty(WIDTH)
    store(masses, 0, mass)
    for lane in range(WIDTH):
        total = np.log(masses[lane]) + np.log(state[_PRODUCT * WIDTH + lane])
        total += state[_LOGS * WIDTH + lane] + state[_TOPS * WIDTH + lane]
        sound = masses[lane] > 0.0 and state[_LEAST * WIDTH + lane] >= TINY
        log_z[rows[lane]] = total if sound else np.nan
    if outputs[1].size:
        beta = np.empty(classes * WIDTH)
        for c in range(classes):
            store(beta, c, splat(edges[classes + c]) / mass)
        moves = (matrix, transposed, edges)
        least = _counts(
            emissions, steps[1], shape, rows, lengths, first, offsets, moves, alpha, weights, kept, beta, outputs
        )
        for lane in range(WIDTH):
            if not least[lane] >= TINY:
                log_z[rows[lane]] = np.nan


@inlined
def _fresh_state():
    state = np.zeros(_STATE * WIDTH)
    store(state, _NORM, splat(1.0))
    store(state, _PRODUCT, splat(1.0))
    store(state, _LEAST, splat(1.0))
    return state


@part
def _advance(emissions, step, first, offsets, begin, count, classes, matrix, edges, alpha, weights, state):
    """Messages of ``count`` frames, block by block; lanes begin where they do."""
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        _pack(emissions, step, offsets, first, begin + t, stop - t, classes, weights, t * classes)
        _exponentials(weights, t, stop - t, classes, state)
        i = t
        while i < stop:
            joins = _next(first, begin + i) - begin
            if joins > i:
                _forward(weights, alpha, i, min(joins, stop), classes, matrix, state)
                i = min(joins, stop)
            else:
                _join(first, begin + i, weights, alpha, i, classes, matrix, edges, state)
                i += 1


@inlined
def _next(first, frame):
    """The next frame, this one included, at which a lane begins."""
    following = np.int64(1) << 62
    for lane in range(WIDTH):
        if first[lane] >= frame:
            following = min(following, first[lane])
    return following


@part
def _exponentials(weights, frame, count, classes, state):
    """weights = exp(weights - max over classes) in place; adds the maxima to the state, NaN where the span is too
    wide."""
    tops, least, zero, nothing = load(state, _TOPS), splat(0.0), splat(0.0), splat(-np.inf)
    for k in range(frame * classes, (frame + count) * classes, classes):
        top = load(weights, k)
        for c in range(1, classes):
            top = larger(load(weights, k + c), top)
        top = where_above(top, nothing, top, zero)  # every class forbidden: weights of zero say so
        tops = tops + top
        for c in range(classes):
            x = load(weights, k + c) - top
            least = smaller(where_above(x, nothing, x, zero), least)
            store(weights, k + c, exp(x))
    store(state, _TOPS, where_above(least, splat(-SPAN), tops, splat(np.nan)))


@inlined
def _message(weights, alpha, k, product, scale):
    """One entry of a message from its sum over predecessors. The weight is left divided as the message is, so that
    the way back meets the same scale."""
    weight = load(weights, k) * scale
    value = product * weight
    store(weights, k, weight)
    store(alpha, k, value)
    return value


@inlined
def lesser(value, least):
    """The least positive entry, one value more seen."""
    return smaller(where_above(value, splat(0.0), value, least), least)


@part
def _forward(weights, alpha, begin, end, classes, matrix, state):
    """alpha[t + 1] from alpha[t], divided by the norm of alpha[t]: the division runs beside the product."""
    norm, product, least = load(state, _NORM), load(state, _PRODUCT), load(state, _LEAST)
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
            store(state, _PRODUCT, product)
            for lane in range(WIDTH):
                state[_LOGS * WIDTH + lane] += np.log(state[_PRODUCT * WIDTH + lane])
            product = one
    store(state, _NORM, norm)
    store(state, _PRODUCT, product)
    store(state, _LEAST, least)


@part
def _join(first, begins, weights, alpha, frame, classes, matrix, edges, state):
    """A frame at which lanes begin: for them the start scores stand for the product, and nothing has divided."""
    for lane in range(WIDTH):
        if first[lane] == begins:
            state[_NORM * WIDTH + lane] = 1.0
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
            state[_NORM * WIDTH + lane] = norm
            state[_PRODUCT * WIDTH + lane] = 1.0
            state[_LOGS * WIDTH + lane] = 0.0
            state[_LEAST * WIDTH + lane] = least


@inlined
def _counts(emissions, step, shape, rows, lengths, first, offsets, moves, alpha, weights, kept, beta, outputs):
    """Expected counts into the recordings' places, frames from last to first; returns the least positive entry of
    beta of each lane."""
    classes, held = shape
    matrix, transposed, edges = moves
    by_label, by_step, by_first, by_last, by_start = outputs
    steps, state = np.zeros(classes * classes * WIDTH), _fresh_state()
    posterior = np.empty(BLOCK * classes * WIDTH)
    stayed = np.empty(BLOCK * classes * WIDTH if by_start.size else 0)
    least = np.ones(WIDTH)
    size = longest(rows, lengths)
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, size - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, alpha, 0, classes)
            store(state, _NORM, load(kept[k], classes))
            _advance(emissions, step, first, offsets, begin, count, classes, matrix, edges, alpha, weights, state)
        for stop in range(count, 0, -BLOCK):
            t = max(stop - BLOCK, 0)
            _backward(weights, alpha, posterior, stayed, beta, t, stop - t, classes, transposed, first, begin, least)
            _outer(alpha, weights, t, stop - t, classes, steps)
            _deliver(posterior, offsets, step, first, begin + t, stop - t, classes, by_label)
            if by_start.size:
                _deliver(stayed, offsets, step, first, begin + t, stop - t, classes, by_start)
    for lane in range(WIDTH):
        row = rows[lane]
        for i in range(classes):
            for j in range(classes):
                by_step[row, i, j] = steps[(i * classes + j) * WIDTH + lane] * matrix[i * classes + j]
            by_first[row, i] = by_label[offsets[lane] + first[lane] * step + i]
            by_last[row, i] = by_label[offsets[lane] + (size - 1) * step + i]
    return least


@part
def _backward(weights, alpha, posterior, stayed, beta, frame, count, classes, transposed, first, begin, leasts):
    """Marginals of ``count`` frames from last to first. ``beta`` comes in for the last of them and leaves for the
    frame before them; ``weights`` leave as the right factor of the transition counts. The scale is that of the way
    forward, so that alpha . beta = 1 at every frame."""
    least, zero = load(leasts, 0), splat(0.0)
    latest, whole = _latest(first), classes // 4 * 4
    for t in range(frame + count - 1, frame - 1, -1):
        k, at = t * classes, (t - frame) * classes
        for c in range(classes):
            b = load(beta, c)
            store(posterior, at + c, load(alpha, k + classes + c) * b)
            store(weights, k + c, load(weights, k + c) * b)
        if begin + t <= latest:
            for lane in range(WIDTH):
                if first[lane] == begin + t:  # nothing precedes the first frame
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
    """What cannot be reached may score any amount from here on: it must not overflow into the others."""
    zero = splat(0.0)
    value = where_above(load(alpha, k), zero, value, zero)
    store(beta, j, value)
    return value


@part
def _outer(left, right, frame, count, classes, out):
    """out[i, j] += sum over frames of left[t, i] * right[t, j], in tiles of two by four that stay in registers."""
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


# -------------------------------------------------------------------------------------------------------------- max
@inlined
def best_group(emissions, steps, shape, rows, lengths, transitions, transposed, edges, score, labels, best, scores):
    """Viterbi for one group of recordings ``rows``, one per lane."""
    classes, held = shape
    size = longest(rows, lengths)
    first, offsets = places(rows, lengths, size, steps)
    chunks = (size + held - 1) // held
    kept = np.empty((chunks, classes * WIDTH))
    for c in range(classes):
        store(best, c, splat(0.0))
    for k in range(chunks):
        if k > 0:
            copy(best, held * classes, best, 0, classes)
        copy(best, 0, kept[k], 0, classes)
        count = min(held, size - k * held)
        _climb(emissions, steps[1], first, offsets, k * held, count, classes, transitions, edges, best, scores)
    label = np.zeros(WIDTH, np.int64)
    final = (size - (chunks - 1) * held) * classes * WIDTH
    for lane in range(WIDTH):
        top = -np.inf
        for c in range(classes):
            reached = best[final + c * WIDTH + lane] + edges[classes + c]
            if reached > top:
                top, label[lane] = reached, c
        score[rows[lane]] = top
    for k in range(chunks - 1, -1, -1):
        begin = k * held
        count = min(held, size - begin)
        if k < chunks - 1:
            copy(kept[k], 0, best, 0, classes)
            _climb(emissions, steps[1], first, offsets, begin, count, classes, transitions, edges, best, scores)
        _trace(best, transposed, rows, first, begin, count, classes, label, labels)


@part
def _climb(emissions, step, first, offsets, begin, count, classes, transitions, edges, best, scores):
    """best[t + 1] from best[t] for ``count`` frames, in blocks; lanes begin where they do."""
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        _pack(emissions, step, offsets, first, begin + t, stop - t, classes, scores, 0)
        i = t
        while i < stop:
            joins = _next(first, begin + i) - begin
            if joins > i:
                joins = min(joins, stop)
                _best(scores, best, (i - t) * classes, i * classes, (joins - i) * classes, classes, transitions)
                i = joins
            else:
                _best(scores, best, (i - t) * classes, i * classes, classes, classes, transitions)
                for lane in range(WIDTH):
                    if first[lane] == begin + i:
                        for c in range(classes):
                            emitted = scores[((i - t) * classes + c) * WIDTH + lane]
                            best[((i + 1) * classes + c) * WIDTH + lane] = edges[c] + emitted
                i += 1


@part
def _best(scores, best, at, begin, count, classes, transitions):
    """best[j] of a frame = max over i of best[i] of the frame before + transitions[i, j], + its score."""
    whole = classes // 4 * 4
    for k in range(begin, begin + count, classes):
        ahead = k + classes
        for j in range(0, whole, 4):
            a = b = c = d = splat(-np.inf)
            for i in range(classes):
                x, m = load(best, k + i), i * classes + j
                a, b = larger(x + splat(transitions[m]), a), larger(x + splat(transitions[m + 1]), b)
                c, d = larger(x + splat(transitions[m + 2]), c), larger(x + splat(transitions[m + 3]), d)
            store(best, ahead + j, a + load(scores, at + j))
            store(best, ahead + j + 1, b + load(scores, at + j + 1))
            store(best, ahead + j + 2, c + load(scores, at + j + 2))
            store(best, ahead + j + 3, d + load(scores, at + j + 3))
        for j in range(whole, classes):
            a = splat(-np.inf)
            for i in range(classes):
                a = larger(load(best, k + i) + splat(transitions[i * classes + j]), a)
            store(best, ahead + j, a + load(scores, at + j))
        at += classes


@part
def _trace(best, transposed, rows, first, begin, count, classes, label, labels):
    """Labels of ``count`` frames from last to first. The predecessor is the first class that attains the best score,
    found by the same sums as on the way forward."""
    found, row = np.empty(WIDTH), splat(1.0 * (transposed.size // classes))
    for lane in range(WIDTH):
        found[lane] = label[lane]
    current = load(found, 0)
    for t in range(count - 1, -1, -1):
        store(found, 0, current)
        for lane in range(WIDTH):
            frame = t + begin - first[lane]
            if frame >= 0:
                labels[rows[lane], frame] = np.int64(found[lane])
        into, reached, current = current * row, splat(-np.inf), splat(0.0)
        for i in range(classes):
            x = load(best, t * classes + i) + look_up(transposed, into, i)
            current = where_above(x, reached, splat(1.0 * i), current)
            reached = larger(x, reached)
    store(found, 0, current)
    for lane in range(WIDTH):
        label[lane] = np.int64(found[lane])


@inlined
def predecessor(reached, k, transposed, label, width):
    """The first class that attains the best score of what led to ``label``, found by the same sums as on the way
    forward: ``width`` vectors of scores from number ``k`` on, and the row of the label."""
    m = label * width
    highest = load(reached, k) + load(transposed, m)
    for v in range(1, width):
        highest = larger(load(reached, k + v) + load(transposed, m + v), highest)
    top, found = peak(highest), np.int64(0)
    for v in range(width):
        i = first_equal(load(reached, k + v) + load(transposed, m + v), top)
        if i < WIDTH:
            found = v * WIDTH + i
            break
    return found
