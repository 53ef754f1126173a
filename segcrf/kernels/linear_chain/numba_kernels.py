"""Linear chain on a CPU: forward-backward in scaled probability space, and Viterbi without backpointers.

*Sum.* With ``E_t = exp(emissions_t - max)`` and ``A = exp(transitions - max)`` a step is one matrix-vector product,
``a_t = E_t * (A' a_{t-1}) / s_t`` for a divisor s_t that keeps it in range; the logarithm of the product of divisors,
taken seldom, is the log partition (Rabiner 1989, section V.A). Scores that span more than ``SPAN`` nats, or a state
whose share falls below ``TINY``, could underflow and lose mass: such a recording is done again in log space. So
nothing is ever lost unnoticed.

*Max.* Only the best scores are kept; the predecessor of a label is found again on the way back, one column per frame.

Both run over time in chunks that stay in cache. A long recording keeps one vector per chunk and computes the
chunk again on the way back, so memory beyond input and output does not grow with T, but for one vector per chunk.

Eight recordings at a time share the SIMD lanes (`_chain_lanes`); few go one by one, classes in the lanes
(`_chain_rows`).
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.guard import check_labels
from segcrf.kernels.layout import clamp, empty_beside, time_first, working_dtype
from segcrf.kernels.linear_chain import numba_lanes as _lanes
from segcrf.kernels.linear_chain import numba_rows as _rows
from segcrf.kernels.linear_chain.numba_lanes import SPAN, TINY
from segcrf.kernels.numba_runtime import array, compiled, explicit, label_range, part, scratch, share
from segcrf.kernels.simd import WIDTH

_KEPT = 1 << 17  # numbers kept at once of each kind: 1 MiB, about a core's cache
_AT_ONCE = 10  # multiply-adds in the time that `share` reckons for one
_OBSERVED = 10.0  # multiply-adds in the time of a label's score and counts
_LANES_FROM = 4  # recordings; fewer go one after another
_LARGE = 1e4  # a score of a frame that is taken out before logarithms are summed
_LONG = 1 << 14  # frames from which a recording by itself is worth two threads


# ---------------------------------------------------------------------------------------------------- interface
def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Log partition (B,), float64, in O(C) memory per recording."""
    return _sum(emissions, _plain(transitions, start, end), lengths, gradient=False, starts=False)[0]


def sum_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, starts: bool
) -> tuple[Tensor, ...]:
    """Log partition, and per recording the expected counts of each potential and (if asked) of band starts."""
    return _sum(emissions, _plain(transitions, start, end), lengths, gradient=True, starts=starts)


def log_prob(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, labels: Tensor, lengths: Tensor, gradient: bool
) -> tuple[Tensor, ...]:
    """Log-probability of labels, log partition, and expected less observed counts (if asked)."""
    shared = _plain(transitions, start, end)
    log_z, *counts, _ = _sum(emissions, shared, lengths, gradient=gradient, starts=False)
    total = torch.empty_like(log_z)
    outputs = (log_z.numpy(), total.numpy(), (_flat(counts[0])[0], *(count.numpy() for count in counts[1:])))
    inputs = (*_flat(emissions), *shared, labels.numpy(), lengths.numpy(), *outputs)
    found: list[tuple[bool, bool]] = []
    share(lambda first, last: found.append(_observe(*inputs, first, last)), len(labels), _OBSERVED * labels.numel())
    if any(outside for _, outside in found):
        check_labels(labels, emissions.shape[2], lengths)
    if any(partial for partial, _ in found):
        partial = total.isnan().nonzero()[:, 0]
        clamped = clamp(emissions[partial], labels[partial], lengths[partial])
        score, *observed, _ = _sum(clamped, shared, lengths[partial], gradient=gradient, starts=False)
        total[partial] = torch.where(log_z[partial] == -torch.inf, -torch.inf, score - log_z[partial])
        for count, seen in zip(counts, observed, strict=True):
            if gradient:
                count[partial] -= seen
    return total, log_z, *counts


def max_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Best score (B,), labels (B, T) and band starts (B, T)."""
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    outputs = (scores.numpy(), labels.numpy(), starts.numpy())
    lengths_of, shared = lengths.numpy(), _plain(transitions, start, end)
    groups, short, long = _groups(lengths_of)
    flat, steps = _flat(emissions)
    for best, rows, size, width in ((_max_lanes, groups, classes, classes), (_max_rows, short, *_row(classes))):
        if len(rows):
            inputs = (flat, steps, lengths_of, rows, *_laid_out(shared, size), *outputs)
            room = ((_chunk(frames, width) + 1) * width * WIDTH, _lanes.BLOCK * width * WIDTH)
            _share(best, inputs, room, len(rows), 2.0 * rows.size * frames * classes**2)
    tables = _laid_out(shared, _padded(classes)) if len(long) else ()
    for row in long:
        _max_halves(flat, steps, row, int(lengths_of[row]), classes, tables, outputs)
    return scores, labels, starts


def _sum(
    emissions: Tensor, shared: tuple[Any, ...], lengths: Tensor, *, gradient: bool, starts: bool
) -> tuple[Tensor, ...]:
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array tells the kernel not to compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    by_label, by_start = empty_beside(emissions, gradient), empty_beside(emissions, starts)
    shapes = ((rows, classes, classes), (rows, classes), (rows, classes))
    counts = [by_label, *(torch.empty(shape, dtype=dtype) for shape in shapes), by_start]
    outputs = (_flat(by_label)[0], *(count.numpy() for count in counts[1:4]), _flat(by_start)[0])
    log_z_of, lengths_of, (flat, steps) = log_z.numpy(), lengths.numpy(), _flat(emissions)
    groups, short, long = _groups(lengths_of)
    per_recording = float(classes + 4) * (3.0 if gradient else 1.0) * frames * classes
    for scaled, rows, size, width in ((_sum_lanes, groups, classes, classes), (_sum_rows, short, *_row(classes))):
        if len(rows):
            inputs = (flat, steps, lengths_of, rows, *_exponentiated(shared, size), log_z_of, outputs)
            held = _chunk(frames, width)
            room = ((held + 1) * width * WIDTH, held * width * WIDTH)
            _share(scaled, inputs, room, len(rows), per_recording * rows.size)
    weights = _exponentiated(shared, _padded(classes)) if len(long) else ()
    for row in long:
        log_z_of[row] = _sum_halves(flat, steps, row, int(lengths_of[row]), frames, weights, outputs, per_recording)
    lost = np.isnan(log_z_of).nonzero()[0]
    if len(lost):  # apart, so that it is compiled when it is needed
        inputs = (flat, steps, lengths_of, lost, *shared, log_z_of, outputs)
        _share(_sum_logarithmic, inputs, (), len(lost), 32.0 * per_recording * len(lost))
    return log_z, *counts


def _flat(values: Tensor) -> tuple[Any, tuple[int, int]]:
    """Values (B, T, C) in a flat array, and the steps in it from recording to recording and from frame to frame."""
    batch, frames, classes = values.shape
    if time_first(values):
        return array(values.transpose(0, 1)).reshape(-1), (classes, batch * classes)
    return array(values).reshape(-1), (frames * classes, classes)


def _share(kernel: Any, inputs: tuple[Any, ...], room: tuple[int, ...], count: int, work: float) -> None:
    """Call a kernel on some threads, each with ``room`` to work in."""
    share(lambda first, last: kernel(*inputs, *scratch(*room), first, last), count, work / _AT_ONCE)


def _plain(*shared: Tensor) -> tuple[Any, ...]:
    return tuple(scores.detach().double().contiguous().numpy() for scores in shared)


def _groups(lengths: Any) -> tuple[Any, Any, Any]:
    """Recordings to be done eight at a time (G, 8), while there are enough to make it worth it; those to be done one
    by one; and those so long that both halves are done at once. Neighbours in length share a group; one that is not
    full repeats its last recording. Which is which does not depend on the number of threads, so results do not."""
    batch = len(lengths)
    rest = batch % WIDTH if batch % WIDTH < _LANES_FROM else 0
    rows = np.argsort(-lengths, kind="stable")
    groups, others = rows[: batch - rest], rows[batch - rest :]
    missing = -len(groups) % WIDTH
    if missing:
        groups = np.append(groups, [groups[-1]] * missing)
    groups, threads = groups.reshape(-1, WIDTH), torch.get_num_threads()
    if min(len(groups), threads) > 1:  # each thread takes a stretch of groups: deal out the long ones
        groups = np.concatenate([groups[i::threads] for i in range(threads)])
    if not rest:
        return groups, others, others
    long = lengths[others] >= _LONG
    return groups, others[~long], others[long]


def _padded(classes: int) -> int:
    """``classes`` filled up to whole vectors."""
    return -(-classes // WIDTH) * WIDTH


def _row(classes: int) -> tuple[int, int]:
    """Numbers, and vectors, of a message of one recording by itself."""
    return _padded(classes), _padded(classes) // WIDTH


def _halves(row: int, length: int, steps: tuple[int, int], classes: int) -> tuple[Any, Any, Any, int]:
    """Of each half: the place of its first frame in flat scores, the step from frame to frame, its number of frames;
    and how many of them are kept at once. The later half begins at the end, time runs backwards there."""
    ends = row * steps[0] + np.array([0, length - 1]) * steps[1]
    counts = np.array([length // 2, length - length // 2])
    return ends, np.array([steps[1], -steps[1]]), counts, _chunk(counts.max(), _padded(classes) // WIDTH)


def _sum_halves(
    flat: Any, apart: tuple[int, int], row: int, length: int, frames: int, weights: Any, outputs: Any, work: float
) -> float:
    """Log partition of one long recording, and its counts."""
    matrix, transposed, edges, top, ends, fits = weights
    by_label, by_step, by_first, by_last, by_start = outputs
    if not fits:
        return np.nan
    classes, size = by_first.shape[1], len(edges) // 2
    offsets, steps, counts, held = _halves(row, length, apart, classes)
    moves = ((matrix, transposed, edges), (transposed, matrix, np.roll(edges, size)))
    kept = [np.empty((-(-count // held), size + WIDTH)) for count in counts]
    buffers = [(np.empty((held + 1) * size), np.empty(held * size), kept[i], _rows.fresh_state()) for i in range(2)]

    def approach(first: int, last: int) -> None:
        for i in range(first, last):
            matrix, _, edges = moves[i]
            _approach(flat, offsets[i], steps[i], counts[i], classes, held, matrix, edges, *buffers[i])

    share(approach, 2, work / 2 / _AT_ONCE)
    betas, stay, between = np.empty((2, size)), np.zeros((2, size)), np.empty((classes, classes))
    mass = _rows.meet((buffers[0][0], buffers[1][0]), counts, held, classes, matrix, betas, stay[1], between)
    total = sum(_rows.log_mass(state) for *_, state in buffers) + (math.log(mass) if mass else -math.inf)
    taken, least = np.zeros((2, classes, size)), np.ones(2)

    def depart(first: int, last: int) -> None:
        for i in range(first, last):
            alpha, weights, kept, _ = buffers[i]
            least[i] = _depart(
                flat, offsets[i], steps[i], counts[i], classes, held, moves[i], alpha, weights, kept, betas[i],
                stay[i], by_label, by_start, taken[i].reshape(-1),
            )  # fmt: skip

    if by_step.size and total > -math.inf:
        share(depart, 2, work / 2 / _AT_ONCE)
        earlier, later = (taken[i] * moves[i][0].reshape(size, size)[:classes] for i in range(2))
        by_step[row] = earlier[:, :classes] + later[:, :classes].T + between
        by_first[row], by_last[row] = (by_label[at : at + classes] for at in offsets)
        total = total if least.min() >= TINY else np.nan
    _clear(outputs, apart, row, length, frames, total == -math.inf)
    return total + top * (length - 1) + ends


def _max_halves(
    flat: Any, apart: tuple[int, int], row: int, length: int, classes: int, tables: Any, outputs: Any
) -> None:
    """Labels, band starts and score of one long recording."""
    score, labels, starts = outputs
    size = _padded(classes)
    transitions, transposed, edges = tables
    back = np.full(size * size, -np.inf)  # of a transposed table each row is a class; where time runs back, they swap
    back[: len(transposed)] = transposed
    moves = ((transitions, transposed, edges), (back, transitions, np.roll(edges, size)))
    offsets, steps, counts, held = _halves(row, length, apart, classes)
    buffers = [
        (np.empty((held + 1) * size), np.empty(_lanes.BLOCK * size), np.empty((-(-count // held), size)))
        for count in counts
    ]
    work = 2.0 * length * classes**2

    def climb(first: int, last: int) -> None:
        for i in range(first, last):
            matrix, _, edges = moves[i]
            _climb(flat, offsets[i], steps[i], counts[i], classes, held, matrix, edges, *buffers[i])

    share(climb, 2, work / _AT_ONCE)
    last = np.zeros(2, np.int64)
    ends = (buffers[0][0], buffers[1][0])
    score[row] = _rows.meet_best(ends, counts, held, classes, transitions, size // WIDTH, last)
    begins = (0, length - 1)

    def descend(first: int, final: int) -> None:
        for i in range(first, final):
            _descend(
                flat, offsets[i], steps[i], counts[i], classes, held, moves[i], *buffers[i], last[i], labels[row],
                begins[i],
            )  # fmt: skip

    share(descend, 2, work / _AT_ONCE)
    _mark(labels, starts, row, 0 if score[row] == -np.inf else length)


@explicit
def _approach(emissions, offset, step, length, classes, held, matrix, edges, alpha, weights, kept, state):
    _rows.approach(emissions, offset, step, length, classes, held, matrix, edges, alpha, weights, kept, state)


@explicit
def _depart(
    emissions, offset, step, length, classes, held, moves, alpha, weights, kept, beta, stay, by_label, by_start, steps
):
    return _rows.counts(
        emissions, offset, step, length, classes, held, moves, alpha, weights, kept, beta, stay, by_label, by_start,
        steps,
    )  # fmt: skip


@explicit
def _climb(emissions, offset, step, length, classes, held, transitions, edges, best, scores, kept):
    _rows.climb(emissions, offset, step, length, classes, held, transitions, edges, best, scores, kept)


@explicit
def _descend(emissions, offset, step, length, classes, held, moves, best, scores, kept, label, path, at):
    _rows.descend(emissions, offset, step, length, classes, held, moves, best, scores, kept, label, path, at)


# ------------------------------------------------------------------------------------- sum: scaled probabilities
# Each of these is compiled at its first use. Loops stand for NumPy's assignments and expressions, which take several
# times as long to compile and no less to run.
def _exponentiated(shared: Any, size: int) -> tuple[Any, ...]:
    """What all frames share, as weights in flat arrays padded to ``size`` classes: exp(transitions - max), its
    transpose, those of start and end in one; then the maximum of the transitions, that of both ends, and whether
    finite scores span so little that they cannot underflow."""
    arrays = np.zeros(size * size), np.zeros(size * size), np.zeros(2 * size)  # Numba returns arrays slowly
    return *arrays, *_exponentiate_shared(*shared, size, *arrays)


@explicit
def _exponentiate_shared(transitions, start, end, size, matrix, transposed, edges):
    classes = start.size
    top, fits = _range(transitions.reshape(-1))
    for i in range(classes):
        for j in range(classes):
            weight = np.exp(transitions[i, j] - top)
            matrix[i * size + j] = weight
            transposed[j * size + i] = weight
    top_first, first_fits = _range(start)
    top_last, last_fits = _range(end)
    for c in range(classes):
        edges[c] = np.exp(start[c] - top_first)
        edges[size + c] = np.exp(end[c] - top_last)
    return top, top_first + top_last, fits and first_fits and last_fits


@part
def _range(scores):
    """The largest finite score, or 0, and whether the span of finite scores is narrow enough."""
    top, lowest = -np.inf, np.inf
    for score in scores:
        if score > -np.inf:
            top, lowest = max(top, score), min(lowest, score)
    return (top, top - lowest < SPAN) if top > -np.inf else (0.0, True)


def _laid_out(shared: Any, size: int) -> tuple[Any, ...]:
    """Transitions padded by -inf to ``size`` classes, their transpose padded to whole vectors, and both ends in one,
    in flat arrays."""
    classes = len(shared[1])
    arrays = np.empty(size * size), np.empty(classes * _padded(classes)), np.empty(2 * size)
    _lay_out(*shared, size, _padded(classes), *arrays)
    return arrays


@explicit
def _lay_out(transitions, start, end, size, row, matrix, transposed, edges):
    matrix[:] = -np.inf
    transposed[:] = -np.inf
    edges[:] = -np.inf
    for i in range(start.size):
        edges[i], edges[size + i] = start[i], end[i]
        for j in range(start.size):
            matrix[i * size + j] = transposed[j * row + i] = transitions[i, j]


@explicit
def _sum_lanes(
    emissions,
    steps,
    lengths,
    groups,
    matrix,
    transposed,
    edges,
    top,
    ends,
    fits,
    log_z,
    counts,
    alpha,
    weights,
    first,
    last,
):
    """Groups of recordings side by side; NaN where mass could be lost."""
    classes = edges.size // 2
    frames = emissions.size // classes // lengths.size
    shape = (classes, weights.size // (classes * WIDTH))
    for g in range(first, last):
        rows = groups[g]
        if fits:
            _lanes.sum_group(
                emissions, steps, shape, rows, lengths, matrix, transposed, edges, log_z, counts, alpha, weights
            )
        before = -1
        for row in rows:
            if row != before:
                log_z[row] = log_z[row] + top * (lengths[row] - 1) + ends if fits else np.nan
                _clear(counts, steps, row, lengths[row], frames, False)
            before = row


@explicit
def _sum_rows(
    emissions,
    steps,
    lengths,
    rows,
    matrix,
    transposed,
    edges,
    top,
    ends,
    fits,
    log_z,
    counts,
    alpha,
    weights,
    first,
    last,
):
    """One recording after another; NaN where mass could be lost."""
    size = edges.size // 2
    classes = counts[2].shape[1]
    frames = emissions.size // classes // lengths.size
    held = weights.size // size
    for g in range(first, last):
        row = rows[g]
        log_z[row] = np.nan
        if fits:
            of = (counts[0], counts[1][row : row + 1], counts[2][row : row + 1], counts[3][row : row + 1], counts[4])
            offset = row * steps[0]
            total = _rows.sum_row(
                emissions, offset, steps[1], lengths[row], classes, held, matrix, transposed, edges, of, alpha, weights
            )
            log_z[row] = total + top * (lengths[row] - 1) + ends
        _clear(counts, steps, row, lengths[row], frames, log_z[row] == -np.inf)


@compiled
def _sum_logarithmic(emissions, steps, lengths, rows, transitions, start, end, log_z, counts, first, last):
    """Some recordings in log space."""
    classes, frames = start.size, emissions.size // start.size // lengths.size
    for g in range(first, last):
        row = rows[g]
        scores = np.empty((lengths[row], classes))
        for t in range(lengths[row]):
            for c in range(classes):
                scores[t, c] = emissions[row * steps[0] + t * steps[1] + c]
        log_z[row] = _logarithmic(scores, transitions, start, end, row, steps, counts)
        _clear(counts, steps, row, lengths[row], frames, log_z[row] == -np.inf)


@explicit
def _observe(emissions, steps, transitions, start, end, labels, lengths, log_z, total, counts, first, last):
    """Log-probability of complete labels, and their counts taken from the expected ones; where a label is missing NaN,
    and no count taken. Returns whether that is so of any, and whether there is a label beyond the classes."""
    by_label, by_step, by_first, by_last = counts
    gradient, any_partial, any_outside = by_label.size > 0, False, False
    for b in range(first, last):
        lowest, highest = label_range(labels, b, lengths[b])
        if highest >= start.size:
            any_outside = True
            continue
        if lowest < 0:
            total[b], any_partial = np.nan, True
            continue
        if log_z[b] == -np.inf:
            total[b] = -np.inf
            continue
        before = labels[b, 0]
        at = b * steps[0]
        score = start[before] + emissions[at + before]
        for t in range(1, lengths[b]):
            label = labels[b, t]
            score += emissions[at + t * steps[1] + label] + transitions[before, label]
            before = label
        total[b] = score + end[before] - log_z[b]
        if gradient:
            before = labels[b, 0]
            by_first[b, before] -= 1.0
            by_label[at + before] -= 1.0
            for t in range(1, lengths[b]):
                label = labels[b, t]
                by_label[at + t * steps[1] + label] -= 1.0
                by_step[b, before, label] -= 1.0
                before = label
            by_last[b, before] -= 1.0
    return any_partial, any_outside


def _chunk(length: int, width: int) -> int:
    """Frames whose messages are kept at once, of ``width`` vectors each: whole blocks."""
    held = min(length, max(_KEPT // (width * WIDTH), 64))
    return held if held == length else held // 64 * 64


@compiled
def _clear(counts, steps, row, length, frames, everything):
    """Zero the counts beyond a recording's length, or all of them where no labelling is allowed."""
    by_label, by_step, by_first, by_last, by_start = counts
    for t in range(0 if everything else length, frames):
        at = row * steps[0] + t * steps[1]
        for c in range(by_step.shape[1]):
            if by_label.size:
                by_label[at + c] = 0.0
            if by_start.size:
                by_start[at + c] = 0.0
    if everything and by_label.size:
        for i in range(by_step.shape[1]):
            by_first[row, i] = 0.0
            by_last[row, i] = 0.0
            for j in range(by_step.shape[2]):
                by_step[row, i, j] = 0.0


# ---------------------------------------------------------------------------------------------- sum: logarithms
@compiled
def _logarithmic(scores, transitions, start, end, row, steps, counts):
    """Forward-backward in log space, for scores of any range: slower, and as exact as float64."""
    scores, tops = _less_best(scores)
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
    if counts[0].size and total > -np.inf:
        _logarithmic_counts(scores, transitions, end, alpha, total, row, steps, counts)
    return total + tops


@compiled
def _less_best(scores):
    """Scores in float64, less the best of their frame where that is large, and the sum of what was taken: digits of a
    large total would be missing from the probabilities. Only there: what counts may be far below the best."""
    less, tops = np.empty(scores.shape), 0.0
    for t in range(scores.shape[0]):
        top = -np.inf
        for c in range(scores.shape[1]):
            top = max(top, np.float64(scores[t, c]))
        top = top if abs(top) > _LARGE and top > -np.inf else 0.0
        tops += top
        for c in range(scores.shape[1]):
            less[t, c] = np.float64(scores[t, c]) - top
    return less, tops


@compiled
def _logarithmic_counts(scores, transitions, end, alpha, total, row, apart, counts):
    by_label, by_step, by_first, by_last, by_start = counts
    length, classes = scores.shape
    beta, following, entered = np.empty(classes), np.empty(classes), np.empty(classes)
    taken = np.zeros((classes, classes))
    for c in range(classes):
        beta[c] = end[c] - total
    for t in range(length - 1, -1, -1):
        at = row * apart[0] + t * apart[1]
        for c in range(classes):
            by_label[at + c] = np.exp(alpha[t, c] + beta[c])
            following[c] = scores[t, c] + beta[c]
            if t == length - 1:
                by_last[row, c] = by_label[at + c]
            if t == 0:
                by_first[row, c] = by_label[at + c]
        for c in range(classes):
            entered[c] = by_label[at + c] if t == 0 else 0.0
        for i in range(classes if t > 0 else 0):
            for c in range(classes):
                step = np.exp(alpha[t - 1, i] + transitions[i, c] + following[c])
                taken[i, c] += step
                entered[c] += step if i != c else 0.0
            beta[i] = _log_sum(transitions[i, :classes] + following)
        for c in range(classes if by_start.size else 0):
            by_start[at + c] = entered[c]
    by_step[row] = taken


@compiled
def _log_sum(terms):
    top = terms.max()
    if top == -np.inf:
        return top
    return top + np.log(np.exp(terms - top).sum())


# ------------------------------------------------------------------------------------------------------------- max
@explicit
def _max_lanes(
    emissions, steps, lengths, groups, transitions, transposed, edges, score, labels, starts, best, scores, first, last
):
    classes = edges.size // 2
    shape = (classes, best.size // (classes * WIDTH) - 1)
    for g in range(first, last):
        rows = groups[g]
        _lanes.best_group(
            emissions, steps, shape, rows, lengths, transitions, transposed, edges, score, labels, best, scores
        )
        for row in rows:
            _mark(labels, starts, row, 0 if score[row] == -np.inf else lengths[row])


@explicit
def _max_rows(
    emissions, steps, lengths, rows, transitions, transposed, edges, score, labels, starts, best, scores, first, last
):
    size = edges.size // 2
    classes, held = emissions.size // labels.size, best.size // size - 1
    for g in range(first, last):
        row = rows[g]
        score[row] = _rows.best_row(
            emissions, row * steps[0], steps[1], lengths[row], classes, held, transitions, transposed, edges, best,
            scores, labels[row],
        )  # fmt: skip
        _mark(labels, starts, row, 0 if score[row] == -np.inf else lengths[row])


@compiled
def _mark(labels, starts, row, length):
    """Band starts of a path, and nothing beyond its length."""
    before = -1
    for t in range(labels.shape[1]):
        if t >= length:
            labels[row, t] = -100
        starts[row, t] = t < length and labels[row, t] != before
        before = labels[row, t]
