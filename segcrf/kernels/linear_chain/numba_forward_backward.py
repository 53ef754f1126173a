"""Forward-backward on a CPU: log partitions and expected counts, in scaled probability space.

With ``E_t = exp(emissions_t - max)`` and ``A = exp(transitions - max)`` a step is one matrix-vector product,
``a_t = E_t * (A' a_{t-1}) / s_t`` for a divisor s_t that keeps it in range. The log partition is the logarithm of the
product of divisors, taken once in many frames (Rabiner 1989, section V.A). Scores that span more than ``SPAN`` nats, or
a state with a share below ``TINY``, could underflow and lose mass: such a recording is computed again in log space. So
no loss of mass stays undetected.

NumPy's assignments and expressions are written as loops: they take several times as long to compile and run no faster.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments.
from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.layout import empty_beside, working_dtype
from segcrf.kernels.linear_chain import log_space
from segcrf.kernels.linear_chain import numba_forward_backward_rows as one_by_one
from segcrf.kernels.linear_chain.numba_forward_backward_lanes import sum_group
from segcrf.kernels.linear_chain.numba_schedule import (
    AT_ONCE,
    chunk_size,
    flatten,
    group_recordings,
    message_size,
    padded,
    share_recordings,
    split_in_halves,
)
from segcrf.kernels.linear_chain.state import SPAN, TINY, Counts, Messages, Recording, Tables, Weights
from segcrf.kernels.numba_runtime import compiled, explicit, finite_range, share
from segcrf.kernels.simd import WIDTH

__all__ = ["sum_logarithmic", "sum_recordings", "sum_rows"]


def sum_recordings(
    emissions: Tensor, shared: tuple[Any, ...], lengths: Tensor, *, gradient: bool, starts: bool
) -> tuple[Tensor, ...]:
    """Return the log partition (B,) and the five `Counts`, each empty unless requested.

    Args:
        emissions: class scores (B, T, C).
        shared: transitions (C, C), start (C,) and end (C,), float64 arrays.
        lengths: valid frames (B,).
        gradient: compute counts of labels, steps, and first and last labels.
        starts: compute the probability that a band begins.
    """
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array means that the kernel need not compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    by_label, by_start = empty_beside(emissions, gradient), empty_beside(emissions, starts)
    shapes = ((rows, classes, classes), (rows, classes), (rows, classes))
    counts = [by_label, *(torch.empty(shape, dtype=dtype) for shape in shapes), by_start]
    outputs = (flatten(by_label)[0], *(count.numpy() for count in counts[1:4]), flatten(by_start)[0])
    log_z_of, lengths_of, (flat, steps) = log_z.numpy(), lengths.numpy(), flatten(emissions)
    groups, short, long = group_recordings(lengths_of)
    work = float(classes + 4) * (3.0 if gradient else 1.0) * frames * classes  # for one recording
    for kernel, some, size, width in ((sum_lanes, groups, classes, classes), (sum_rows, short, *message_size(classes))):
        if len(some):
            inputs = (flat, steps, lengths_of, some, _exponentiate(shared, size), log_z_of, outputs)
            held = chunk_size(frames, width)
            room = ((held + 1) * width * WIDTH, held * width * WIDTH)
            share_recordings(kernel, inputs, room, len(some), work * some.size)
    weights = _exponentiate(shared, padded(classes)) if len(long) else ()
    for row in long:
        log_z_of[row] = _sum_halves(flat, steps, row, int(lengths_of[row]), weights, outputs, work)
        _clear(outputs, steps, row, int(lengths_of[row]), frames, log_z_of[row] == -math.inf)
    lost = np.isnan(log_z_of).nonzero()[0]
    if len(lost):  # a kernel of its own, so that it is compiled only when needed
        inputs = (flat, steps, lengths_of, lost, *shared, log_z_of, outputs)
        share_recordings(sum_logarithmic, inputs, (), len(lost), 32.0 * work * len(lost))
    return log_z, *counts


# ------------------------------------------------------------------------------------------------- shared weights
def _exponentiate(shared: Any, size: int) -> tuple[Any, ...]:
    """Return `Weights` of the shared scores as a plain tuple, padded to ``size`` classes."""
    tables = np.zeros(size * size), np.zeros(size * size), np.zeros(2 * size)  # Numba returns arrays slowly
    return *tables, *_exponentiate_into(*shared, size, *tables)


@explicit
def _exponentiate_into(transitions, start, end, size, matrix, transposed, edges):
    classes = start.size
    top, span = finite_range(transitions.reshape(-1))
    for i in range(classes):
        for j in range(classes):
            weight = np.exp(transitions[i, j] - top)
            matrix[i * size + j] = weight
            transposed[j * size + i] = weight
    top_first, span_first = finite_range(start)
    top_last, span_last = finite_range(end)
    for c in range(classes):
        edges[c] = np.exp(start[c] - top_first)
        edges[size + c] = np.exp(end[c] - top_last)
    return top, top_first + top_last, span < SPAN and span_first < SPAN and span_last < SPAN


# ------------------------------------------------------------------------------------------- pieces of recordings
@explicit
def sum_lanes(emissions, steps, lengths, groups, weights, log_z, counts, alpha, room, first, last):
    """Sum groups ``first`` to ``last`` of eight recordings side by side; write NaN where mass could be lost."""
    shared, outputs = Weights(*weights), Counts(*counts)
    tables = Tables(shared.matrix, shared.transposed, shared.edges)
    classes = shared.edges.size // 2
    frames, held = emissions.size // classes // lengths.size, room.size // (classes * WIDTH)
    for g in range(first, last):
        rows = groups[g]
        if shared.fits:
            sum_group(emissions, steps, lengths, rows, tables, held, log_z, outputs, alpha, room)
        before = -1
        for row in rows:
            if row != before:
                log_z[row] = log_z[row] + shared.top * (lengths[row] - 1) + shared.ends if shared.fits else np.nan
                _clear(counts, steps, row, lengths[row], frames, False)
            before = row


@explicit
def sum_rows(emissions, steps, lengths, rows, weights, log_z, counts, alpha, room, first, last):
    """Sum recordings ``rows[first:last]`` one after another; write NaN where mass could be lost."""
    shared, all_counts = Weights(*weights), Counts(*counts)
    tables = Tables(shared.matrix, shared.transposed, shared.edges)
    size, classes = shared.edges.size // 2, all_counts.by_first.shape[1]
    frames, held = emissions.size // classes // lengths.size, room.size // size
    for g in range(first, last):
        row = rows[g]
        log_z[row] = np.nan
        if shared.fits:
            outputs = Counts(
                all_counts.by_label,
                all_counts.by_step[row : row + 1],
                all_counts.by_first[row : row + 1],
                all_counts.by_last[row : row + 1],
                all_counts.by_start,
            )
            recording = Recording(row * steps[0], steps[1], lengths[row], classes, held)
            total = one_by_one.sum_row(emissions, recording, tables, outputs, alpha, room)
            log_z[row] = total + shared.top * (lengths[row] - 1) + shared.ends
        _clear(counts, steps, row, lengths[row], frames, log_z[row] == -np.inf)


def _sum_halves(
    flat: Any, steps: tuple[int, int], row: int, length: int, weights: Any, outputs: Any, work: float
) -> float:
    """Return the log partition of one long recording, computed from both ends, and write its counts."""
    matrix, transposed, edges, top, ends, fits = weights
    if not fits:
        return np.nan
    counts, size = Counts(*outputs), len(edges) // 2
    classes = counts.by_first.shape[1]
    halves = split_in_halves(row, length, steps, classes)
    held = halves[0].held
    tables = ((matrix, transposed, edges), (transposed, matrix, np.roll(edges, size)))  # time runs back: swapped
    messages = [
        Messages(np.empty((held + 1) * size), np.empty(held * size), np.empty((-(-half.length // held), size + WIDTH)))
        for half in halves
    ]
    states = [one_by_one.fresh_state() for _ in halves]

    def forward(first: int, last: int) -> None:
        for i in range(first, last):
            one_by_one.forward_half(flat, tuple(halves[i]), tables[i], tuple(messages[i]), states[i])

    share(forward, 2, work / 2 / AT_ONCE)
    betas, stay, between = np.empty((2, size)), np.zeros((2, size)), np.empty((classes, classes))
    alphas, lengths = tuple(each.alpha for each in messages), np.array([half.length for half in halves])
    mass = one_by_one.meet(alphas, lengths, held, classes, matrix, betas, stay[1], between)
    total = sum(one_by_one.log_mass(state) for state in states) + (math.log(mass) if mass else -math.inf)
    taken, least = np.zeros((2, classes, size)), np.ones(2)

    def backward(first: int, last: int) -> None:
        for i in range(first, last):
            least[i] = one_by_one.backward_half(
                flat, tuple(halves[i]), tables[i], tuple(messages[i]), betas[i], stay[i], counts.by_label,
                counts.by_start, taken[i].reshape(-1),
            )  # fmt: skip

    if counts.by_step.size and total > -math.inf:
        share(backward, 2, work / 2 / AT_ONCE)
        earlier, later = (taken[i] * tables[i][0].reshape(size, size)[:classes] for i in range(2))
        counts.by_step[row] = earlier[:, :classes] + later[:, :classes].T + between
        outer_frames = (counts.by_label[half.offset : half.offset + classes] for half in halves)
        counts.by_first[row], counts.by_last[row] = outer_frames
        total = total if least.min() >= TINY else np.nan
    return total + top * (length - 1) + ends


@compiled
def sum_logarithmic(emissions, steps, lengths, rows, transitions, start, end, log_z, counts, first, last):
    """Sum recordings ``rows[first:last]`` in log space."""
    by_label = counts[0]
    classes, frames = start.size, emissions.size // start.size // lengths.size
    tables = transitions.reshape(1, classes, classes)
    for g in range(first, last):
        row = rows[g]
        length = lengths[row]
        scores = np.empty((length, classes))
        for t in range(length):
            for c in range(classes):
                scores[t, c] = emissions[row * steps[0] + t * steps[1] + c]
        scores, tops = log_space.less_best(scores)
        alpha = np.empty((length, classes))
        total = log_space.forward(scores, tables, start, end, alpha)
        log_z[row] = total + tops
        if by_label.size and total > -np.inf:
            beta = np.empty((length, classes))
            log_space.backward(scores, tables, end, total, beta)
            _count_logarithmic(scores, transitions, alpha, beta, row, steps, counts)
        _clear(counts, steps, row, length, frames, log_z[row] == -np.inf)


@compiled
def _count_logarithmic(scores, transitions, alpha, beta, row, apart, counts):
    """Write the expected counts of one recording, given its messages in log space."""
    by_label, by_step, by_first, by_last, by_start = counts
    length, classes = scores.shape
    following, entered, taken = np.empty(classes), np.empty(classes), np.zeros((classes, classes))
    for t in range(length - 1, -1, -1):
        at = row * apart[0] + t * apart[1]
        for c in range(classes):
            by_label[at + c] = np.exp(alpha[t, c] + beta[t, c])
            following[c] = scores[t, c] + beta[t, c]
            entered[c] = by_label[at + c] if t == 0 else 0.0
            if t == 0:
                by_first[row, c] = by_label[at + c]
            if t == length - 1:
                by_last[row, c] = by_label[at + c]
        for i in range(classes if t > 0 else 0):
            for c in range(classes):
                step = np.exp(alpha[t - 1, i] + transitions[i, c] + following[c])
                taken[i, c] += step
                entered[c] += step if i != c else 0.0
        for c in range(classes if by_start.size else 0):
            by_start[at + c] = entered[c]
    by_step[row] = taken


@compiled
def _clear(counts, steps, row, length, frames, everything):
    """Zero the counts beyond a recording's length, or all counts if no labelling is allowed."""
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
