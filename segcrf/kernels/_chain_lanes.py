"""Linear chain on a CPU, many recordings at once: one recording per SIMD lane.

The same recurrences as in `chain_numba`, with a last axis of lanes: a step of all recordings is C * C multiply-adds
of whole registers, without the latency of one short vector after another. Recordings of a group are aligned at their
last frame; a shorter one joins late, at its first frame, by an assignment. So ragged lengths cost nothing.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels._numba import compiled, exp

SPAN = 150.0
TINY = 1e-150
_BLOCK = 16  # frames transposed together: they stay in the first-level cache


@compiled
def pack(emissions, rows, first, begin, count, out, fill):
    """out[t, c, l] = emissions[rows[l], begin + t - first[l], c]; ``fill`` where the lane has not begun."""
    classes, lanes = out.shape[1], out.shape[2]
    for block in range(0, count, _BLOCK):
        stop = min(block + _BLOCK, count)
        for lane in range(lanes):
            joined = max(first[lane] - begin, block)
            out[block : min(joined, stop), :, lane] = fill
            row = rows[lane]
            offset = begin - first[lane]
            for t in range(joined, stop):
                for c in range(classes):
                    out[t, c, lane] = emissions[row, offset + t, c]


@compiled
def longest(rows, lengths):
    """The length of the longest recording of a group."""
    size = np.int64(0)
    for row in rows:
        if row >= 0:
            size = max(size, lengths[row])
    return size


@compiled
def exponentials(weights, count, tops):
    """weights = exp(weights - max over classes) in place; adds the maxima to ``tops``, NaN where the span is too
    wide."""
    classes, lanes = weights.shape[1], weights.shape[2]
    top, lowest = np.empty(lanes), np.zeros(lanes)
    for t in range(count):
        for lane in range(lanes):
            top[lane] = weights[t, 0, lane]
        for c in range(1, classes):
            for lane in range(lanes):
                x = weights[t, c, lane]
                top[lane] = x if x > top[lane] else top[lane]
        for lane in range(lanes):
            top[lane] = top[lane] if top[lane] > -np.inf else 0.0
            tops[lane] += top[lane]
        for c in range(classes):
            for lane in range(lanes):
                x = weights[t, c, lane] - top[lane]
                weights[t, c, lane] = x
                lowest[lane] = x if (x < lowest[lane]) & (x > -np.inf) else lowest[lane]
    for lane in range(lanes):
        if lowest[lane] < -SPAN:
            tops[lane] = np.nan
    exponentiate(weights[:count].reshape(-1))


@compiled
def exponentiate(values):
    """values = exp(values) in place, for values of at most 0; exactly 0 for -inf."""
    for i in range(values.size):
        x = values[i]
        e = exp(max(x, -700.0))
        values[i] = e if x > -700.0 else 0.0


@compiled
def times(vectors, matrix, out):
    """out[j, l] = sum over i of vectors[i, l] * matrix[i, j]."""
    size, lanes = vectors.shape
    whole = size // 4 * 4
    for j in range(size):
        for lane in range(lanes):
            out[j, lane] = 0.0
        for i in range(0, whole, 4):
            p, q, r, s = matrix[i, j], matrix[i + 1, j], matrix[i + 2, j], matrix[i + 3, j]
            for lane in range(lanes):
                out[j, lane] += (p * vectors[i, lane] + q * vectors[i + 1, lane]) + (
                    r * vectors[i + 2, lane] + s * vectors[i + 3, lane]
                )
        for i in range(whole, size):
            p = matrix[i, j]
            for lane in range(lanes):
                out[j, lane] += p * vectors[i, lane]


# -------------------------------------------------------------------------------------------------------------- sum
@compiled
def sum_group(
    emissions, rows, lengths, matrix, edges, log_z, by_label, by_step, by_first, by_last, by_start, alpha, weights
):
    """One group of recordings ``rows``, one per lane (-1: an idle lane). ``log_z`` (less the maxima of the shared
    scores) and counts go to the recordings' places; NaN where mass could be lost."""
    frames, classes, lanes = weights.shape
    size = longest(rows, lengths)
    first = np.where(rows >= 0, size - lengths[rows], size)
    chunks = (size + frames - 1) // frames
    kept = np.empty((chunks, classes, lanes))
    state = np.full((3, lanes), 0.0)  # sums of maxima, logs of norms, tiny entries
    alpha[0] = 1.0 / classes
    for k in range(chunks):
        begin = k * frames
        count = min(frames, size - begin)
        if k > 0:
            alpha[0] = alpha[frames]
        kept[k] = alpha[0]
        pack(emissions, rows, first, begin, count, weights, 0.0)
        exponentials(weights, count, state[0])
        _forward(weights, matrix, edges[0], alpha, count, first - begin, state)
    last = alpha[size - (chunks - 1) * frames]
    mass = np.zeros(lanes)
    norm = np.zeros(lanes)
    for c in range(classes):
        mass += last[c] * edges[1, c]
        norm += last[c]
    for lane in range(lanes):
        if rows[lane] >= 0:
            sound = state[2, lane] == 0 and mass[lane] > 0.0
            total = state[0, lane] + state[1, lane] + np.log(mass[lane]) - np.log(norm[lane])
            log_z[rows[lane]] = total if sound else np.nan
    if by_label.shape[0]:
        beta = np.empty((classes, lanes))
        for c in range(classes):
            beta[c] = edges[1, c] / mass
        outputs = (by_label, by_step, by_first, by_last, by_start)
        tiny = _counts(emissions, rows, first, lengths, matrix, edges[0], alpha, weights, kept, beta, outputs)
        for lane in range(lanes):
            if tiny[lane] > 0 and rows[lane] >= 0:
                log_z[rows[lane]] = np.nan


@compiled
def _forward(weights, matrix, start, alpha, count, first, state):
    """alpha[t + 1] from alpha[t], each divided by the norm before; lane l begins at frame ``first[l]``."""
    classes, lanes = weights.shape[1], weights.shape[2]
    norm, product, scale = np.zeros(lanes), np.ones(lanes), np.empty(lanes)
    logs, tiny = state[1], state[2]
    for c in range(classes):
        norm += alpha[0, c]
    joins = first.min()
    for t in range(count):
        for lane in range(lanes):
            scale[lane] = 1.0 / norm[lane]
            norm[lane] = 0.0
        times(alpha[t], matrix, alpha[t + 1])
        if t >= joins:
            joins = _join(t, first, start, alpha[t + 1], scale, product, logs, tiny)
        for c in range(classes):
            for lane in range(lanes):
                value = alpha[t + 1, c, lane] * (weights[t, c, lane] * scale[lane])
                alpha[t + 1, c, lane] = value
                norm[lane] += value
                tiny[lane] += 1.0 if (value > 0.0) & (value < TINY) else 0.0
        unsafe = 0
        for lane in range(lanes):
            product[lane] *= norm[lane]
            unsafe += (product[lane] < 1e-100) | (product[lane] > 1e100)
        if unsafe:
            for lane in range(lanes):
                logs[lane] += np.log(product[lane])
                product[lane] = 1.0
    for lane in range(lanes):
        logs[lane] += np.log(product[lane])


@compiled
def _join(t, first, start, row, scale, product, logs, tiny):
    """Lanes whose first frame is ``t`` begin here; returns the next frame at which one does."""
    following = np.int64(1) << 62
    for lane in range(first.size):
        if first[lane] == t:
            row[:, lane] = start[: row.shape[0]]
            scale[lane] = 1.0
            product[lane] = 1.0
            logs[lane] = 0.0
            tiny[lane] = 0.0
        elif first[lane] > t:
            following = min(following, first[lane])
    return following


@compiled
def _counts(emissions, rows, first, lengths, matrix, start, alpha, weights, kept, beta, outputs):
    by_label, by_step, by_first, by_last, _ = outputs
    frames, classes, lanes = weights.shape
    transposed = matrix[:classes, :classes].T.copy()
    steps = np.zeros((classes, classes, lanes))
    tiny, unused = np.zeros(lanes), np.zeros((3, lanes))
    size = longest(rows, lengths)
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * frames
        count = min(frames, size - begin)
        if k < kept.shape[0] - 1:
            alpha[0] = kept[k]
            pack(emissions, rows, first, begin, count, weights, 0.0)
            exponentials(weights, count, unused[0])
            _forward(weights, matrix, start, alpha, count, first - begin, unused)
        _backward(weights, transposed, alpha, beta, count, rows, first - begin, begin, outputs, tiny)
        _outer(alpha, weights, count, steps)
    for lane in range(lanes):
        row = rows[lane]
        if row >= 0:
            for i in range(classes):
                for j in range(classes):
                    by_step[row, i, j] = steps[i, j, lane] * matrix[i, j]
            by_first[row] = by_label[row, 0]
            by_last[row] = by_label[row, lengths[row] - 1]
    return tiny


@compiled
def _backward(weights, transposed, alpha, beta, count, rows, first, begin, outputs, tiny):
    """Marginals of ``count`` frames from last to first, as in `chain_numba`, into the recordings' places."""
    by_label, by_start = outputs[0], outputs[4]
    classes, lanes = weights.shape[1], weights.shape[2]
    before = np.empty((classes, lanes))
    posterior = np.empty((classes, lanes))
    mass = np.empty(lanes)
    for t in range(count - 1, -1, -1):
        for c in range(classes):
            for lane in range(lanes):
                posterior[c, lane] = alpha[t + 1, c, lane] * beta[c, lane]
                weights[t, c, lane] *= beta[c, lane]
        for lane in range(lanes):
            if first[lane] == t:  # nothing precedes the first frame
                weights[t, :, lane] = 0.0
            mass[lane] = 0.0
        times(weights[t], transposed, before)
        for c in range(classes):
            for lane in range(lanes):
                mass[lane] += alpha[t, c, lane] * before[c, lane]
        for lane in range(lanes):
            mass[lane] = 1.0 / mass[lane] if mass[lane] > 0.0 else 0.0
        for c in range(classes):
            for lane in range(lanes):
                # What cannot be reached may score any amount from here on: it must not overflow into the others.
                value = before[c, lane] * mass[lane] if alpha[t, c, lane] > 0.0 else 0.0
                weights[t, c, lane] *= mass[lane]
                beta[c, lane] = value
                tiny[lane] += 1.0 if (value > 0.0) & (value < TINY) else 0.0
        _deliver(posterior, t, rows, first, by_label)
        if by_start.shape[0]:
            for c in range(classes):
                for lane in range(lanes):
                    stayed = alpha[t, c, lane] * transposed[c, c] * weights[t, c, lane]
                    posterior[c, lane] = max(posterior[c, lane] - stayed, 0.0)
            _deliver(posterior, t, rows, first, by_start)


@compiled
def _deliver(values, t, rows, first, out):
    """out[recording, frame of the recording] = values[:, lane], for lanes that have begun."""
    classes, lanes = values.shape
    for lane in range(lanes):
        frame = t - first[lane]
        if frame >= 0 and rows[lane] >= 0:
            for c in range(classes):
                out[rows[lane], frame, c] = values[c, lane]


@compiled
def _outer(left, right, count, out):
    """out[i, j, l] += sum over frames of left[t, i, l] * right[t, j, l], four frames at a time."""
    classes, lanes = right.shape[1], right.shape[2]
    whole = count // 4 * 4
    for t in range(0, whole, 4):
        for i in range(classes):
            for j in range(classes):
                for lane in range(lanes):
                    out[i, j, lane] += (
                        left[t, i, lane] * right[t, j, lane] + left[t + 1, i, lane] * right[t + 1, j, lane]
                    ) + (left[t + 2, i, lane] * right[t + 2, j, lane] + left[t + 3, i, lane] * right[t + 3, j, lane])
    for t in range(whole, count):
        for i in range(classes):
            for j in range(classes):
                for lane in range(lanes):
                    out[i, j, lane] += left[t, i, lane] * right[t, j, lane]


# -------------------------------------------------------------------------------------------------------------- max
@compiled
def best_group(emissions, rows, lengths, transitions, start, end, score, labels, best, scores):
    """Viterbi for one group of recordings ``rows``, one per lane (-1: an idle lane)."""
    frames, classes, lanes = scores.shape
    size = longest(rows, lengths)
    first = np.where(rows >= 0, size - lengths[rows], size)
    chunks = (size + frames - 1) // frames
    kept = np.empty((chunks, classes, lanes))
    best[0] = 0.0
    for k in range(chunks):
        begin = k * frames
        if k > 0:
            best[0] = best[frames]
        kept[k] = best[0]
        count = min(frames, size - begin)
        pack(emissions, rows, first, begin, count, scores, 0.0)
        _advance(scores, transitions, start, best, count, first - begin)
    label = np.zeros(lanes, np.int64)
    final = best[size - (chunks - 1) * frames]
    for lane in range(lanes):
        if rows[lane] >= 0:
            total = final[:, lane] + end[:classes]
            label[lane] = np.argmax(total)
            score[rows[lane]] = total[label[lane]]
    for k in range(chunks - 1, -1, -1):
        begin = k * frames
        count = min(frames, size - begin)
        if k < chunks - 1:
            best[0] = kept[k]
            pack(emissions, rows, first, begin, count, scores, 0.0)
            _advance(scores, transitions, start, best, count, first - begin)
        _trace(best, transitions, rows, first - begin, count, label, labels)


@compiled
def _advance(scores, transitions, start, best, count, first):
    classes, lanes = scores.shape[1], scores.shape[2]
    joins = first.min()
    for t in range(count):
        _best_of(best[t], transitions, best[t + 1])
        if t >= joins:
            joins = np.int64(1) << 62
            for lane in range(lanes):
                if first[lane] == t:
                    best[t + 1, :, lane] = start[:classes]
                elif first[lane] > t:
                    joins = min(joins, first[lane])
        for c in range(classes):
            for lane in range(lanes):
                best[t + 1, c, lane] += scores[t, c, lane]


@compiled
def _best_of(reached, transitions, out):
    """out[j, l] = max over i of reached[i, l] + transitions[i, j]."""
    size, lanes = reached.shape
    whole = size // 2 * 2
    for j in range(size):
        for lane in range(lanes):
            out[j, lane] = reached[size - 1, lane] + transitions[size - 1, j]
        for i in range(0, whole, 2):
            p, q = transitions[i, j], transitions[i + 1, j]
            for lane in range(lanes):
                x, y = reached[i, lane] + p, reached[i + 1, lane] + q
                x = x if x > y else y
                out[j, lane] = x if x > out[j, lane] else out[j, lane]


@compiled
def _trace(best, transitions, rows, first, count, label, labels):
    """Labels of ``count`` frames from last to first. The predecessor is the first class that attains the best score,
    found by the same sums as on the way forward."""
    classes, lanes = best.shape[1], best.shape[2]
    for t in range(count - 1, -1, -1):
        for lane in range(lanes):
            frame = t - first[lane]
            if frame < 0 or rows[lane] < 0:
                continue
            labels[rows[lane], frame] = label[lane]
            reached, before = -np.inf, 0
            for i in range(classes):
                score = best[t, i, lane] + transitions[i, label[lane]]
                if score > reached:
                    reached, before = score, i
            label[lane] = before
