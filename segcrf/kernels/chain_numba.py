"""Linear chain on a CPU: forward-backward in scaled probability space, and Viterbi without backpointers.

*Sum.* With ``E_t = exp(emissions_t - max)`` and ``A = exp(transitions - max)`` a step is one matrix-vector product,
``a_t = E_t * (A' a_{t-1}) / |a_{t-1}|``; the logarithm of the product of norms, taken seldom, is the log partition
(Rabiner 1989, section V.A). Scores that span more than ``SPAN`` nats, or a state whose share falls below ``TINY``,
could underflow and lose mass: such a recording is done again in log space. So nothing is ever lost unnoticed.

*Max.* Only the best scores are kept; the predecessor of a label is found again on the way back, one column per frame.

Both run over time in chunks that stay in cache. A long recording keeps one vector per chunk and computes the
chunk again on the way back, so memory beyond input and output does not grow with T, but for one vector per chunk.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels import _chain_lanes as _lanes
from segcrf.kernels import agreeing, working_dtype
from segcrf.kernels._chain_lanes import SPAN, TINY, exponentiate
from segcrf.kernels._numba import array, compiled, padded, share, simd_width

_KEPT = 1 << 18  # numbers kept at once of each kind: 2 MiB, about a core's cache
_LANES = 16  # recordings side by side; measured best for C = 2 to 20
_LANES_FROM = 4  # recordings; with fewer, one after another
_LANES_TO = 32  # classes; with more, one vector fills the registers by itself


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Log partition (B,), float64, in O(C) memory per recording."""
    return _sum(emissions, transitions, start, end, lengths, gradient=False, starts=False)[0]


def sum_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, starts: bool
) -> tuple[Tensor, ...]:
    """Log partition, and per recording the expected counts of each potential and (if asked) of band starts."""
    return _sum(emissions, transitions, start, end, lengths, gradient=True, starts=starts)


def log_prob(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, labels: Tensor, lengths: Tensor, gradient: bool
) -> tuple[Tensor, ...]:
    """Log-probability of labels, log partition, and expected less observed counts (if asked)."""
    shared = (transitions, start, end)
    log_z, *counts, _ = _sum(emissions, *shared, lengths, gradient=gradient, starts=False)
    score = torch.empty_like(log_z)
    inputs = (array(emissions), *(p.detach().double().numpy() for p in shared), labels.numpy(), lengths.numpy())
    _observe(*inputs, score.numpy(), *(count.numpy() for count in counts))
    partial = score.isnan().nonzero()[:, 0]
    if len(partial):
        allowed = agreeing(labels[partial], emissions.shape[-1], lengths[partial])
        clamped = emissions[partial].masked_fill(~allowed, -torch.inf)
        score[partial], *observed, _ = _sum(clamped, *shared, lengths[partial], gradient=gradient, starts=False)
        for count, seen in zip(counts, observed, strict=True):
            if gradient:
                count[partial] -= seen
    return torch.where(log_z == -torch.inf, log_z, score - log_z), log_z, *counts


def max_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Best score (B,), labels (B, T) and band starts (B, T)."""
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    inputs = (
        array(emissions), padded(transitions, -np.inf), padded(start, -np.inf), padded(end, -np.inf), lengths.numpy()
    )  # fmt: skip
    groups, _ = _groups(lengths, classes)
    outputs = (groups, scores.numpy(), labels.numpy(), starts.numpy())
    work = 2.0 * emissions.numel() * classes
    share(lambda first, last: _max_groups(*inputs, *outputs, first, last), len(groups), work)
    return scores, labels, starts


def _sum(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, gradient: bool, starts: bool
) -> tuple[Tensor, ...]:
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array tells the kernel not to compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    counts = [
        torch.empty(rows, frames, classes, dtype=dtype),
        torch.empty(rows, classes, classes, dtype=dtype),
        torch.empty(rows, classes, dtype=dtype),
        torch.empty(rows, classes, dtype=dtype),
        torch.empty(batch if starts else 0, frames, classes, dtype=dtype),
    ]
    inputs = (
        array(emissions), padded(transitions, -np.inf), padded(start, -np.inf), padded(end, -np.inf), lengths.numpy()
    )  # fmt: skip
    groups, _ = _groups(lengths, classes)
    outputs = (groups, log_z.numpy(), *(count.numpy() for count in counts))
    work = emissions.numel() * (classes + 4) * (3.0 if gradient else 1.0)
    share(lambda first, last: _sum_groups(*inputs, *outputs, first, last), len(groups), work)
    return log_z, *counts


def _groups(lengths: Tensor, classes: int) -> tuple[Any, int]:
    """Recordings to be done together, (G, lanes), -1 where a lane is idle: neighbours in length share a group."""
    batch = len(lengths)
    if batch < _LANES_FROM or classes > _LANES_TO:
        return np.arange(batch)[:, None], 1
    threads = torch.get_num_threads()
    lanes = min(_LANES, simd_width(-(-batch // threads)))
    rows = np.full(-(-batch // lanes) * lanes, -1)
    rows[:batch] = np.argsort(-lengths.numpy(), kind="stable")
    return rows.reshape(-1, lanes), lanes


# ------------------------------------------------------------------------------------- sum: scaled probabilities
@compiled
def _sum_groups(
    emissions,
    transitions,
    start,
    end,
    lengths,
    groups,
    log_z,
    by_label,
    by_step,
    by_first,
    by_last,
    by_start,
    first,
    last,
):
    width, lanes, classes = start.size, groups.shape[1], emissions.shape[2]
    matrix, top, fits = _weights(transitions)
    edges, top_edges = np.empty((2, width)), 0.0
    for i, scores in enumerate((start, end)):
        row, top_row, row_fits = _weights(scores.reshape(1, width))
        edges[i] = row[0]
        top_edges += top_row
        fits &= row_fits
    frames = _chunk(emissions.shape[1], width, lanes)
    alpha, weights = np.zeros((frames + 1, width)), np.empty((frames, width))
    if lanes > 1:
        wide_alpha, wide_weights = np.empty((frames + 1, classes, lanes)), np.empty((frames, classes, lanes))
    for g in range(first, last):
        rows = groups[g]
        if fits and lanes > 1:
            _lanes.sum_group(
                emissions, rows, lengths, matrix, edges, log_z, by_label, by_step, by_first, by_last, by_start,
                wide_alpha, wide_weights
            )  # fmt: skip
        for row in rows[rows >= 0]:
            length = lengths[row]
            scores = emissions[row, :length]
            out = _of(row, by_label, by_step, by_first, by_last, by_start)
            if fits and lanes == 1:
                log_z[row] = _scaled(scores, matrix, edges, alpha, weights, out)
            log_z[row] += top * (length - 1) + top_edges
            if not fits or np.isnan(log_z[row]):
                log_z[row] = _logarithmic(scores, transitions, start, end, out)
            _clear(out, length, log_z[row] == -np.inf)


@compiled
def _of(row, by_label, by_step, by_first, by_last, by_start):
    """The outputs of one recording; empty ones stay empty."""
    return (
        by_label[row : row + 1], by_step[row : row + 1], by_first[row : row + 1], by_last[row : row + 1],
        by_start[row : row + 1]
    )  # fmt: skip


@compiled
def _observe(emissions, transitions, start, end, labels, lengths, score, by_label, by_step, by_first, by_last):
    """Score of complete labels, and their counts taken from the expected ones; NaN where a label is missing."""
    for b in range(lengths.size):
        before, total = -1, 0.0
        for t in range(lengths[b]):
            if labels[b, t] < 0:
                total = np.nan
                break
        if np.isnan(total):
            score[b] = total
            continue
        for t in range(lengths[b]):
            label = labels[b, t]
            total += emissions[b, t, label] + (transitions[before, label] if t else start[label])
            for row in range(b, b + 1 if by_label.shape[0] else b):
                by_label[row, t, label] -= 1.0
                if t:
                    by_step[row, before, label] -= 1.0
                else:
                    by_first[row, label] -= 1.0
            before = label
        score[b] = total + end[before]
        if by_label.shape[0]:
            by_last[b, before] -= 1.0


@compiled
def _chunk(length, width, lanes):
    """Frames whose vectors are kept at once."""
    return min(length, max(_KEPT // (width * lanes), 64))


@compiled
def _weights(scores):
    """exp(scores - max), the maximum, and whether the span of finite scores is narrow enough not to underflow."""
    top = scores.max()
    if top == -np.inf:
        return np.zeros(scores.shape), 0.0, True
    lowest = top
    for score in scores.flat:
        if score > -np.inf:
            lowest = min(lowest, score)
    return np.exp(scores - top), top, top - lowest < SPAN


@compiled
def _emission_weights(scores, out):
    """out[t] = exp(scores[t] - max over classes); returns the sum of the maxima, NaN where the span is too wide."""
    count, classes = scores.shape
    total, lowest = 0.0, 0.0
    for t in range(count):
        top = -np.inf
        for c in range(classes):
            top = max(top, np.float64(scores[t, c]))
        if top == -np.inf:  # every class is forbidden: weights of zero say so
            top = 0.0
        for c in range(classes):
            x = np.float64(scores[t, c]) - top
            out[t, c] = x
            lowest = x if (x < lowest) & (x > -np.inf) else lowest
        for c in range(classes, out.shape[1]):
            out[t, c] = -np.inf
        total += top
    exponentiate(out[:count].reshape(-1))
    return total if lowest > -SPAN else np.nan


@compiled
def _scaled(scores, matrix, edges, alpha, weights, out):
    """Log of the sum over labellings, less the maxima of the shared scores; NaN where mass could be lost."""
    length, frames = scores.shape[0], weights.shape[0]
    chunks = (length + frames - 1) // frames
    kept = np.empty((chunks, alpha.shape[1]))  # the last vector before each chunk
    total, norm = 0.0, 1.0
    for k in range(chunks):
        part = scores[k * frames : (k + 1) * frames]
        kept[k] = alpha[0]
        tops = _emission_weights(part, weights)
        logs, norm, tiny = _forward(weights, matrix, edges[0], alpha, part.shape[0], k == 0, norm)
        total += tops + logs
        if np.isnan(tops) or tiny:
            return np.nan
        if k < chunks - 1:
            alpha[0] = alpha[part.shape[0]]
    last = alpha[length - (chunks - 1) * frames]
    mass = (last * edges[1]).sum()
    if mass == 0.0:
        return -np.inf
    if out[0].shape[0] and not _counts(scores, matrix, edges, alpha, weights, kept, mass, out):
        return np.nan
    # The last norm is in ``total`` too, though nothing was divided by it.
    return total + np.log(mass) - np.log(norm)


@compiled
def _forward(weights, matrix, start, alpha, count, at_start, norm):
    """alpha[i + 1] from alpha[i] for ``count`` frames; returns the log of the norms, the last norm, and the count of
    positive entries so small that a later one could vanish."""
    width = alpha.shape[1]
    logs, product, tiny = 0.0, 1.0, 0
    for i in range(count):
        row = alpha[i + 1]
        # The last norm divides this frame: the division runs beside the product instead of after it.
        scale = 1.0 / norm
        if at_start and i == 0:
            row[:] = start
        else:
            _times(alpha[i], matrix, row)
        norm = 0.0
        for c in range(width):
            value = row[c] * (weights[i, c] * scale)
            row[c] = value
            norm += value
            tiny += (value > 0.0) & (value < TINY)
        if norm == 0.0:  # every labelling is forbidden from here on, or those that are not have underflowed
            alpha[i + 1 : count + 1] = 0.0
            return logs, 1.0, tiny
        product *= norm
        if product < 1e-100 or product > 1e100:
            logs += np.log(product)
            product = 1.0
    return logs + np.log(product), norm, tiny


@compiled
def _times(vector, matrix, out):
    """out = vector @ matrix, four rows at a time."""
    size, width = matrix.shape
    for c in range(width):
        out[c] = 0.0
    for i in range(0, size, 4):
        p, q, r, s = vector[i], vector[i + 1], vector[i + 2], vector[i + 3]
        for c in range(width):
            out[c] += (p * matrix[i, c] + q * matrix[i + 1, c]) + (r * matrix[i + 2, c] + s * matrix[i + 3, c])


@compiled
def _counts(scores, matrix, edges, alpha, weights, kept, mass, out):
    """Expected counts into ``out``, chunks from last to first; False where mass could be lost."""
    frames = weights.shape[0]
    by_label, by_step, by_first, by_last, by_start = out
    classes = by_label.shape[2]
    transposed = matrix.T.copy()
    steps = np.zeros(matrix.shape)
    beta = edges[1] / mass  # scaled so that alpha . beta = 1 at every frame
    tiny = 0
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * frames
        part = scores[begin : begin + frames]
        if k < kept.shape[0] - 1:
            alpha[0] = kept[k]
            _emission_weights(part, weights)
            _forward(weights, matrix, edges[0], alpha, part.shape[0], k == 0, 1.0 if k == 0 else kept[k].sum())
        starts = by_start[:, begin : begin + part.shape[0]]
        tiny += _backward(weights, transposed, alpha, beta, by_label[0, begin:], starts, part.shape[0], k == 0)
        _outer(alpha, weights, 1 if k == 0 else 0, part.shape[0], steps)
    for i in range(classes):
        for j in range(classes):
            by_step[0, i, j] = steps[i, j] * matrix[i, j]
    by_first[0] = by_label[0, 0]
    by_last[0] = by_label[0, scores.shape[0] - 1]
    return tiny == 0


@compiled
def _backward(weights, transposed, alpha, beta, by_label, by_start, count, at_start):
    """Marginals of ``count`` frames from last to first. ``beta`` comes in for the last frame and leaves for the frame
    before the first; ``weights`` leave as the right factor of the transition counts."""
    width, classes = alpha.shape[1], by_label.shape[1]
    posterior, before = np.empty(width), np.empty(width)
    tiny = 0
    for i in range(count - 1, -1, -1):
        row, previous, weight = alpha[i + 1], alpha[i], weights[i]
        for c in range(width):
            posterior[c] = row[c] * beta[c]
            weight[c] *= beta[c]
        by_label[i] = posterior[:classes]
        if at_start and i == 0:
            by_start[:, 0] = by_label[0]
            break
        _times(weight, transposed, before)
        mass = 0.0
        for c in range(width):
            mass += previous[c] * before[c]
        scale = 1.0 / mass
        for c in range(width):
            # What cannot be reached may score any amount from here on: it must not overflow into the others.
            value = before[c] * scale if previous[c] > 0.0 else 0.0
            weight[c] *= scale
            beta[c] = value
            tiny += (value > 0.0) & (value < TINY)
        for b in range(by_start.shape[0]):
            for c in range(classes):
                stayed = previous[c] * transposed[c, c] * weight[c]
                by_start[b, i, c] = max(posterior[c] - stayed, 0.0)
    return tiny


@compiled
def _outer(left, right, begin, count, out):
    """out += sum over frames of left[t] (outer) right[t], four frames at a time: one load and store for four
    products."""
    size = out.shape[0]
    whole = begin + (count - begin) // 4 * 4
    for t in range(begin, whole, 4):
        for i in range(size):
            p, q, r, s = left[t, i], left[t + 1, i], left[t + 2, i], left[t + 3, i]
            for j in range(size):
                out[i, j] += (p * right[t, j] + q * right[t + 1, j]) + (r * right[t + 2, j] + s * right[t + 3, j])
    for t in range(whole, count):
        for i in range(size):
            for j in range(size):
                out[i, j] += left[t, i] * right[t, j]


@compiled
def _clear(out, length, everything):
    """Zero the counts beyond a recording's length, or all of them where no labelling is allowed."""
    for count in (out[0], out[4]):
        for b in range(count.shape[0]):
            count[b, 0 if everything else length :] = 0.0
    if everything:
        out[1][:] = 0.0
        out[2][:] = 0.0
        out[3][:] = 0.0


# ---------------------------------------------------------------------------------------------- sum: logarithms
@compiled
def _logarithmic(scores, transitions, start, end, out):
    """Forward-backward in log space, for scores of any range: slower, and as exact as float64."""
    length, classes = scores.shape
    alpha = np.empty((length, classes))
    terms = np.empty(classes)
    for c in range(classes):
        alpha[0, c] = start[c] + scores[0, c]
    for t in range(1, length):
        for c in range(classes):
            for i in range(classes):
                terms[i] = alpha[t - 1, i] + transitions[i, c]
            alpha[t, c] = _log_sum(terms) + scores[t, c]
    for c in range(classes):
        terms[c] = alpha[length - 1, c] + end[c]
    total = _log_sum(terms)
    if out[0].shape[0] and total > -np.inf:
        _logarithmic_counts(scores, transitions, end, alpha, total, out)
    return total


@compiled
def _logarithmic_counts(scores, transitions, end, alpha, total, out):
    by_label, by_step, by_first, by_last, by_start = out
    length, classes = scores.shape
    beta, following = np.empty(classes), np.empty(classes)
    steps = np.zeros((classes, classes))
    for c in range(classes):
        beta[c] = end[c] - total
    for t in range(length - 1, -1, -1):
        for c in range(classes):
            by_label[0, t, c] = np.exp(alpha[t, c] + beta[c])
            following[c] = scores[t, c] + beta[c]
        if t == 0:
            by_start[:, 0] = by_label[0, 0]
            break
        for i in range(classes):
            for c in range(classes):
                steps[i, c] += np.exp(alpha[t - 1, i] + transitions[i, c] + following[c])
        for b in range(by_start.shape[0]):
            for c in range(classes):
                entered = 0.0
                for i in range(classes):
                    if i != c:
                        entered += np.exp(alpha[t - 1, i] + transitions[i, c] + following[c])
                by_start[b, t, c] = entered
        for i in range(classes):
            beta[i] = _log_sum(transitions[i, :classes] + following)
    by_step[0] = steps
    by_first[0] = by_label[0, 0]
    by_last[0] = by_label[0, length - 1]


@compiled
def _log_sum(terms):
    top = terms.max()
    if top == -np.inf:
        return top
    return top + np.log(np.exp(terms - top).sum())


# ------------------------------------------------------------------------------------------------------------- max
@compiled
def _max_groups(emissions, transitions, start, end, lengths, groups, score, labels, starts, first, last):
    classes, lanes = emissions.shape[2], groups.shape[1]
    frames = _chunk(emissions.shape[1], start.size, lanes)
    best = np.empty((frames + 1, start.size))
    if lanes > 1:
        wide_best, scores = np.empty((frames + 1, classes, lanes)), np.empty((frames, classes, lanes))
    for g in range(first, last):
        rows = groups[g]
        if lanes > 1:
            _lanes.best_group(emissions, rows, lengths, transitions, start, end, score, labels, wide_best, scores)
        for row in rows[rows >= 0]:
            length = lengths[row]
            if lanes == 1:
                score[row] = _best_path(emissions[row, :length], transitions, start, end, best, labels[row])
            if score[row] == -np.inf:
                length = 0
            _mark(labels[row], starts[row], length)


@compiled
def _mark(path, starts, length):
    """Band starts of a path, and nothing beyond its length."""
    path[length:] = -100
    starts[length:] = False
    before = -1
    for t in range(length):
        starts[t] = path[t] != before
        before = path[t]


@compiled
def _best_path(scores, transitions, start, end, best, path):
    """Viterbi (1967). ``best[i + 1]`` is the best score of a labelling that ends in each class at frame i of a
    chunk."""
    length, frames = scores.shape[0], best.shape[0] - 1
    chunks = (length + frames - 1) // frames
    kept = np.empty((chunks, best.shape[1]))
    for k in range(chunks):
        part = scores[k * frames : (k + 1) * frames]
        if k > 0:
            best[0] = best[frames]
        kept[k] = best[0]
        _advance(part, transitions, start, best, k == 0)
    final = best[length - (chunks - 1) * frames] + end
    label = int(np.argmax(final))
    score = final[label]
    for k in range(chunks - 1, -1, -1):
        part = scores[k * frames : (k + 1) * frames]
        if k < chunks - 1:
            best[0] = kept[k]
            _advance(part, transitions, start, best, k == 0)
        label = _trace(best, transitions, path[k * frames :], part.shape[0], label)
    return score


@compiled
def _advance(scores, transitions, start, best, at_start):
    count, classes = scores.shape
    for i in range(count):
        if at_start and i == 0:
            best[1] = start
        else:
            _best_of(best[i], transitions, best[i + 1])
        for c in range(classes):
            best[i + 1, c] += scores[i, c]


@compiled
def _best_of(reached, transitions, out):
    """out[j] = max over i of reached[i] + transitions[i, j], four rows at a time."""
    size = transitions.shape[0]
    for c in range(size):
        out[c] = -np.inf
    for i in range(0, size, 4):
        p, q, r, s = reached[i], reached[i + 1], reached[i + 2], reached[i + 3]
        for c in range(size):
            x, y = p + transitions[i, c], q + transitions[i + 1, c]
            x = x if x > y else y
            y, z = r + transitions[i + 2, c], s + transitions[i + 3, c]
            y = y if y > z else z
            x = x if x > y else y
            out[c] = x if x > out[c] else out[c]


@compiled
def _trace(best, transitions, path, count, label):
    """Labels of a chunk from last to first; returns the label before it. The predecessor is the first class that
    attains the best score, found by the same sums as on the way forward."""
    classes = transitions.shape[0]
    for i in range(count - 1, -1, -1):
        path[i] = label
        reached, best_before = -np.inf, 0
        for k in range(classes):
            score = best[i, k] + transitions[k, label]
            if score > reached:
                reached, best_before = score, k
        label = best_before
    return label
