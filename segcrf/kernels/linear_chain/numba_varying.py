"""Linear chain with transition scores of every step, (B, T - 1, C, C), on a CPU.

The recurrences are those of `numba_forward_backward` and `numba_viterbi`, one recording after another. The scores are
C * C elements a frame, so the cost of a step is to read and exponentiate them. Vectors of every frame may be kept,
since they are C times smaller, and recordings side by side in SIMD lanes would gain nothing. Results are exact in every
range for the same reasons: scores of one frame that span more than ``SPAN`` nats, or a state with a share below
``TINY``, send a recording to log space.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.layout import working_dtype
from segcrf.kernels.likelihood import subtract_observed
from segcrf.kernels.linear_chain import log_space
from segcrf.kernels.linear_chain.numba_viterbi import mark_starts
from segcrf.kernels.linear_chain.state import SPAN, TINY
from segcrf.kernels.numba_runtime import array, compiled, exponentiate, inlined, label_range, share

__all__ = ["log_partition", "log_prob", "max_product", "sum_product"]

_KEPT = 1 << 15  # matrix entries exponentiated at once: 256 KiB, within the second-level cache


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return the log partition (B,), float64."""
    return _sum(emissions, transitions, start, end, lengths, gradient=False, starts=False)[0]


def sum_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, starts: bool
) -> tuple[Tensor, ...]:
    """Return the log partition and, per recording, the expected counts of each potential and, on request, of starts."""
    return _sum(emissions, transitions, start, end, lengths, gradient=True, starts=starts)


def log_prob(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, labels: Tensor, lengths: Tensor, gradient: bool
) -> tuple[Tensor, ...]:
    """Return the log-probability of labels, the log partition and, on request, expected less observed counts."""
    log_z, *counts, _ = _sum(emissions, transitions, start, end, lengths, gradient=gradient, starts=False)
    inputs = (*_arrays(emissions, transitions, start, end, lengths), labels.numpy(), log_z.numpy())
    outputs = tuple(count.numpy() for count in counts)

    def observe(total: Any) -> tuple[bool, bool]:
        found = _observe(*inputs, total, *outputs)
        np.subtract(total, inputs[-1], out=total, where=inputs[-1] > -np.inf)
        return found

    def restricted_sum(clamped: Tensor, rows: Tensor) -> Sequence[Tensor]:
        return _sum(clamped, transitions[rows], start, end, lengths[rows], gradient=gradient, starts=False)[:-1]

    return subtract_observed(emissions, labels, lengths, log_z, counts, observe, restricted_sum), log_z, *counts


def max_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T)."""
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    inputs = _arrays(emissions, transitions, start, end, lengths)
    outputs = (scores.numpy(), labels.numpy(), starts.numpy())
    work = 2.0 * emissions.numel() * classes
    share(lambda first, last: _max_recordings(*inputs, *outputs, first, last), batch, work)
    return scores, labels, starts


def _arrays(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> tuple[Any, ...]:
    """Return all inputs as arrays, with start and end in float64."""
    edges = (scores.detach().double().numpy() for scores in (start, end))
    return array(emissions), array(transitions), *edges, lengths.numpy()


def _sum(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, *, gradient: bool, starts: bool
) -> tuple[Tensor, ...]:
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array means that the kernel need not compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    counts = [
        torch.empty(rows, frames, classes, dtype=dtype),
        torch.empty(rows, frames - 1, classes, classes, dtype=dtype),
        torch.empty(rows, classes, dtype=dtype),
        torch.empty(rows, classes, dtype=dtype),
        torch.empty(batch if starts else 0, frames, classes, dtype=dtype),
    ]
    *scores, first, last, sizes = _arrays(emissions, transitions, start, end, lengths)
    (first_edge, first_top, first_fits), (last_edge, last_top, last_fits) = _weights(first), _weights(last)
    edges = np.stack([first_edge, last_edge]), first_top + last_top, first_fits and last_fits
    log_z_of, outputs = log_z.numpy(), tuple(count.numpy() for count in counts)
    inputs = (*scores, sizes, *edges, log_z_of, *outputs)
    work = emissions.numel() * classes * (8.0 if gradient else 3.0)
    share(lambda first, last: _sum_recordings(*inputs, first, last), batch, work)
    lost = np.isnan(log_z_of).nonzero()[0]
    if len(lost):  # a kernel of its own, so that it is compiled only when needed
        again = (*scores, sizes, lost, first, last, log_z_of, *outputs)
        share(lambda first, last: _sum_logarithmic(*again, first, last), len(lost), 8.0 * work * len(lost) / batch)
    return log_z, *counts


# ------------------------------------------------------------------------------------- sum: scaled probabilities
def _weights(scores: Any) -> tuple[Any, float, bool]:
    """Return exp(scores - max), the maximum, and whether finite scores span too little to underflow."""
    top = float(scores.max())
    if top == -np.inf:
        return np.zeros(scores.shape), 0.0, True
    lowest = float(scores[scores > -np.inf].min())
    return np.exp(scores - top), top, top - lowest < SPAN


@compiled
def _sum_recordings(
    emissions, transitions, lengths, edges, top_edges, fits, log_z, by_label, by_step, by_first, by_last, by_start,
    first, last,
):  # fmt: skip
    """Sum recordings ``first`` to ``last`` one after another; write NaN where mass could be lost."""
    classes = emissions.shape[2]
    frames = min(emissions.shape[1], max(_KEPT // (classes * classes), 16))
    alpha, weights = np.empty((emissions.shape[1], classes)), np.empty((frames, classes))
    matrices, beta = np.empty((frames, classes, classes)), np.empty(classes)
    following, before = np.empty(classes), np.empty(classes)
    for row in range(first, last):
        length = lengths[row]
        log_z[row] = np.nan
        if fits:
            scores, steps = emissions[row, :length], transitions[row, : length - 1]
            log_z[row] = top_edges + _scaled(scores, steps, edges, alpha, weights, matrices, beta)
            if by_label.shape[0] and log_z[row] > -np.inf:
                out = (by_label[row], by_step[row], by_first[row], by_last[row])
                if _counts(scores, steps, beta, alpha, weights, matrices, following, before, *out):
                    log_z[row] = np.nan
                if by_start.shape[0]:
                    _starts(by_label[row], by_step[row], by_start[row], length)
        _clear(by_label, by_step, by_first, by_last, by_start, row, length, log_z[row] == -np.inf)


@inlined
def _scaled(scores, steps, edges, alpha, weights, matrices, beta):
    """Return the log of the sum over labellings, less the maxima of start and end; NaN if mass could be lost.

    Write the end weights into ``beta``, scaled so that alpha . beta = 1.
    """
    length, frames, classes = scores.shape[0], weights.shape[0], scores.shape[1]
    total, norm = 0.0, 1.0
    for begin in range(0, length, frames):
        part = scores[begin : begin + frames]
        tops = _exponentials(part, steps, begin, weights, matrices)
        logs, norm, tiny = _forward(weights, matrices, edges, alpha, begin, part.shape[0], norm)
        total += tops + logs
        if np.isnan(tops) or tiny:
            return np.nan
        if norm == 0.0:  # every labelling is forbidden from this frame on
            return -np.inf
    mass = 0.0
    for c in range(classes):
        mass += alpha[length - 1, c] * edges[1, c]
    if mass == 0.0:
        return -np.inf
    for c in range(classes):
        beta[c] = edges[1, c] / mass
    # The last norm is in ``total`` too, although no message was divided by it.
    return total + np.log(mass) - np.log(norm)


@inlined
def _emission_weights(scores, out):
    """Write exp(scores[t] - max over classes) into ``out[t]``, and return the sum of the maxima.

    The sum is NaN if the span is too wide.
    """
    count, classes = scores.shape
    total, lowest = 0.0, 0.0
    for t in range(count):
        top = -np.inf
        for c in range(classes):
            top = max(top, np.float64(scores[t, c]))
        if top == -np.inf:  # all classes are forbidden: the weights become zero
            top = 0.0
        for c in range(classes):
            x = np.float64(scores[t, c]) - top
            out[t, c] = x
            lowest = x if (x < lowest) & (x > -np.inf) else lowest
        total += top
    exponentiate(out.reshape(-1)[: count * classes])
    return total if lowest > -SPAN else np.nan


@compiled
def _exponentials(scores, steps, begin, weights, matrices):
    """Write the weights of the frames from ``begin`` on, and the matrices of the steps into them.

    Return the sum of the maxima that were subtracted, NaN if a span is too wide.
    """
    count, classes = scores.shape
    total = _emission_weights(scores, weights)
    lowest = 0.0
    for i in range(1 if begin == 0 else 0, count):  # no step leads to the first frame
        step, matrix = steps[begin + i - 1], matrices[i]
        top = -np.inf
        for a in range(classes):
            for b in range(classes):
                top = max(top, np.float64(step[a, b]))
        if top == -np.inf:  # all steps are forbidden: the weights become zero
            top = 0.0
        for a in range(classes):
            for b in range(classes):
                x = np.float64(step[a, b]) - top
                matrix[a, b] = x
                lowest = x if (x < lowest) & (x > -np.inf) else lowest
        total += top
    if begin == 0:
        for a in range(classes):
            for b in range(classes):
                matrices[0, a, b] = 0.0
    exponentiate(matrices.reshape(-1)[: count * classes * classes])
    return total if lowest > -SPAN else np.nan


@compiled
def _forward(weights, matrices, edges, alpha, begin, count, norm):
    """Compute alpha from frame ``begin`` on for ``count`` frames, each divided by the norm of the previous frame.

    Return the log of the norms, the last norm, and the count of positive entries so small that a later one could
    vanish.
    """
    classes = alpha.shape[1]
    logs, product, tiny = 0.0, 1.0, 0
    for i in range(count):
        row = alpha[begin + i]
        for c in range(classes):
            row[c] = edges[0, c] if begin + i == 0 else 0.0
        if begin + i > 0:
            vector, matrix = alpha[begin + i - 1], matrices[i]
            for a in range(classes):
                for c in range(classes):
                    row[c] += vector[a] * matrix[a, c]
        scale, norm = 1.0 / norm, 0.0
        for c in range(classes):
            value = row[c] * (weights[i, c] * scale)
            row[c] = value
            norm += value
            tiny += (value > 0.0) & (value < TINY)
        if norm == 0.0:  # every labelling is forbidden from here on, or the allowed ones have underflowed
            return logs, norm, tiny
        product *= norm
        if product < 1e-100 or product > 1e100:
            logs += np.log(product)
            product = 1.0
    return logs + np.log(product), norm, tiny


@compiled
def _counts(
    scores, steps, beta, alpha, weights, matrices, following, before, by_label, by_step, by_first, by_last
):  # fmt: skip
    """Write expected counts, frames from last to first; ``beta`` is scaled so that alpha . beta = 1.

    Return the count of entries so small that mass could be lost.
    """
    length, classes = scores.shape
    frames, tiny = weights.shape[0], 0
    last = (length - 1) // frames * frames
    for begin in range(last, -1, -frames):
        part = scores[begin : begin + frames]
        if begin < last:
            _exponentials(part, steps, begin, weights, matrices)
        for i in range(part.shape[0] - 1, -1, -1):
            t = begin + i
            for c in range(classes):
                by_label[t, c] = alpha[t, c] * beta[c]
                following[c] = weights[i, c] * beta[c]
            if t == 0:
                break
            previous, matrix = alpha[t - 1], matrices[i]
            mass = 0.0
            for a in range(classes):
                total = 0.0
                for b in range(classes):
                    total += matrix[a, b] * following[b]
                before[a] = total
                mass += previous[a] * total
            scale = 1.0 / mass
            for c in range(classes):
                # A class that cannot be reached may have any score: the others must not overflow through it.
                value = before[c] * scale if previous[c] > 0.0 else 0.0
                beta[c] = value
                tiny += (value > 0.0) & (value < TINY)
            for a in range(classes):
                weight = previous[a] * scale
                for b in range(classes):
                    by_step[t - 1, a, b] = weight * (matrix[a, b] * following[b])
    for c in range(classes):
        by_first[c], by_last[c] = by_label[0, c], by_label[length - 1, c]
    return tiny


@compiled
def _starts(by_label, by_step, by_start, length):
    """Write the probability that a band begins: at the first frame, and with every step from another class."""
    classes = by_label.shape[1]
    for b in range(classes):
        by_start[0, b] = by_label[0, b]
        for t in range(1, length):
            entered = 0.0
            for a in range(classes):
                entered += by_step[t - 1, a, b] if a != b else 0.0
            by_start[t, b] = entered


@compiled
def _clear(by_label, by_step, by_first, by_last, by_start, row, length, everything):
    """Zero the counts beyond a recording's length, or all counts if no labelling is allowed."""
    first, classes = 0 if everything else length, by_label.shape[2]
    for t in range(first, by_label.shape[1]):
        for c in range(classes):
            if by_label.shape[0]:
                by_label[row, t, c] = 0.0
            if by_start.shape[0]:
                by_start[row, t, c] = 0.0
    if by_label.shape[0]:
        for t in range(max(first - 1, 0), by_step.shape[1]):
            for a in range(classes):
                for b in range(classes):
                    by_step[row, t, a, b] = 0.0
        for c in range(classes if everything else 0):
            by_first[row, c] = by_last[row, c] = 0.0


@compiled
def _observe(
    emissions, transitions, start, end, lengths, labels, log_z, score, by_label, by_step, by_first, by_last
):  # fmt: skip
    """Write the score of complete labels (-inf where ``log_z`` is), and subtract their counts from the expected ones.

    If a label is missing, write NaN and subtract no count. Return whether a label is missing in any recording, and
    whether any label lies beyond the classes.
    """
    any_partial, any_outside = False, False
    for b in range(lengths.size):
        lowest, highest = label_range(labels, b, lengths[b])
        if highest >= start.size:
            any_outside = True
            continue
        if lowest < 0:
            score[b], any_partial = np.nan, True
            continue
        if log_z[b] == -np.inf:
            score[b] = -np.inf
            continue
        before = labels[b, 0]
        total = start[before] + emissions[b, 0, before]
        for t in range(1, lengths[b]):
            label = labels[b, t]
            total += np.float64(emissions[b, t, label]) + transitions[b, t - 1, before, label]
            before = label
        score[b] = total + end[before]
        if by_label.shape[0]:
            by_first[b, labels[b, 0]] -= 1.0
            by_last[b, before] -= 1.0
            for t in range(lengths[b]):
                by_label[b, t, labels[b, t]] -= 1.0
                if t:
                    by_step[b, t - 1, labels[b, t - 1], labels[b, t]] -= 1.0
    return any_partial, any_outside


# ---------------------------------------------------------------------------------------------- sum: logarithms
@compiled
def _sum_logarithmic(
    emissions, transitions, lengths, rows, start, end, log_z, by_label, by_step, by_first, by_last, by_start, first,
    last,
):  # fmt: skip
    """Sum recordings ``rows[first:last]`` in log space."""
    for g in range(first, last):
        row = rows[g]
        length, classes = lengths[row], start.size
        (scores, tops), steps = log_space.less_best(emissions[row, :length]), transitions[row, : length - 1]
        alpha = np.empty((length, classes))
        total = log_space.forward(scores, steps, start, end, alpha)
        log_z[row] = total + tops
        if by_label.shape[0] and total > -np.inf:
            beta = np.empty((length, classes))
            log_space.backward(scores, steps, end, total, beta)
            _count_logarithmic(
                scores, steps, alpha, beta, by_label[row], by_step[row], by_first[row], by_last[row]
            )  # fmt: skip
            if by_start.shape[0]:
                _starts(by_label[row], by_step[row], by_start[row], length)
        _clear(by_label, by_step, by_first, by_last, by_start, row, length, log_z[row] == -np.inf)


@compiled
def _count_logarithmic(scores, steps, alpha, beta, by_label, by_step, by_first, by_last):
    """Write the expected counts of one recording, given its messages in log space."""
    length, classes = scores.shape
    following, terms = np.empty(classes), np.empty(classes)
    for t in range(length):
        for c in range(classes):
            by_label[t, c] = np.exp(alpha[t, c] + beta[t, c])
            following[c] = scores[t, c] + beta[t, c]
        for i in range(classes if t > 0 else 0):
            for c in range(classes):
                terms[c] = steps[t - 1, i, c] + following[c]
                by_step[t - 1, i, c] = np.exp(alpha[t - 1, i] + terms[c])
    for c in range(classes):
        by_first[c], by_last[c] = by_label[0, c], by_label[length - 1, c]


# ------------------------------------------------------------------------------------------------------------- max
@compiled
def _max_recordings(emissions, transitions, start, end, lengths, score, labels, starts, first, last):
    """Decode recordings ``first`` to ``last`` one after another."""
    best = np.empty((emissions.shape[1], emissions.shape[2]))
    for row in range(first, last):
        length = lengths[row]
        score[row] = _best_path(
            emissions[row, :length], transitions[row, : length - 1], start, end, best, labels[row]
        )  # fmt: skip
        mark_starts(labels, starts, row, 0 if score[row] == -np.inf else length)


@inlined
def _best_path(scores, steps, start, end, best, path):
    """Write the best labels (Viterbi, 1967) into ``path``, and return their score.

    ``best[t]`` is the best score of a labelling that ends in each class at frame t. The predecessor is found again on
    the way back: the first class that attains the best score, by the same sums.
    """
    length, classes = scores.shape
    for c in range(classes):
        best[0, c] = start[c] + scores[0, c]
    for t in range(1, length):
        for c in range(classes):
            best[t, c] = -np.inf
        for i in range(classes):
            for c in range(classes):
                x = best[t - 1, i] + steps[t - 1, i, c]
                best[t, c] = x if x > best[t, c] else best[t, c]
        for c in range(classes):
            best[t, c] += scores[t, c]
    label, final = 0, -np.inf
    for c in range(classes):
        x = best[length - 1, c] + end[c]
        if x > final:
            label, final = c, x
    for t in range(length - 1, 0, -1):
        path[t] = label
        reached, before = -np.inf, 0
        for i in range(classes):
            x = best[t - 1, i] + steps[t - 1, i, label]
            if x > reached:
                reached, before = x, i
        label = before
    path[0] = label
    return final
