"""Viterbi on a CPU: the best labelling of each recording, without backpointers.

Only the best scores are kept. The backward pass finds the predecessor of a label again, one column per frame: the first
class that attains the best score, computed with the same sums.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments.
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.linear_chain import numba_viterbi_rows as one_by_one
from segcrf.kernels.linear_chain.numba_schedule import (
    AT_ONCE,
    chunk_size,
    flatten,
    group_recordings,
    lay_out_scores,
    message_size,
    padded,
    share_recordings,
    split_in_halves,
)
from segcrf.kernels.linear_chain.numba_viterbi_lanes import best_group
from segcrf.kernels.linear_chain.state import BLOCK, Messages, Path, Recording, Tables
from segcrf.kernels.numba_runtime import compiled, explicit, share
from segcrf.kernels.simd import WIDTH

__all__ = ["best_recordings", "best_rows", "mark_starts"]


def best_recordings(emissions: Tensor, shared: tuple[Any, ...], lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T) of emissions (B, T, C).

    ``shared`` holds transitions (C, C), start (C,) and end (C,), float64 arrays.
    """
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    outputs = (scores.numpy(), labels.numpy(), starts.numpy())
    lengths_of = lengths.numpy()
    groups, short, long = group_recordings(lengths_of)
    flat, steps = flatten(emissions)
    for kernel, some, size, width in (
        (best_lanes, groups, classes, classes), (best_rows, short, *message_size(classes))
    ):  # fmt: skip
        if len(some):
            inputs = (flat, steps, lengths_of, some, lay_out_scores(shared, size), outputs)
            room = ((chunk_size(frames, width) + 1) * width * WIDTH, BLOCK * width * WIDTH)
            share_recordings(kernel, inputs, room, len(some), 2.0 * some.size * frames * classes**2)
    tables = lay_out_scores(shared, padded(classes)) if len(long) else ()
    for row in long:
        _best_halves(flat, steps, row, int(lengths_of[row]), classes, tables, outputs)
    return scores, labels, starts


@explicit
def best_lanes(emissions, steps, lengths, groups, tables, outputs, best, scores, first, last):
    """Decode groups ``first`` to ``last`` of eight recordings side by side."""
    shared, path = Tables(*tables), Path(*outputs)
    classes = shared.edges.size // 2
    held = best.size // (classes * WIDTH) - 1
    for g in range(first, last):
        rows = groups[g]
        best_group(emissions, steps, lengths, rows, shared, held, path.score, path.labels, best, scores)
        for row in rows:
            mark_starts(path.labels, path.starts, row, 0 if path.score[row] == -np.inf else lengths[row])


@explicit
def best_rows(emissions, steps, lengths, rows, tables, outputs, best, scores, first, last):
    """Decode recordings ``rows[first:last]`` one after another."""
    shared, path = Tables(*tables), Path(*outputs)
    size = shared.edges.size // 2
    classes, held = emissions.size // path.labels.size, best.size // size - 1
    for g in range(first, last):
        row = rows[g]
        recording = Recording(row * steps[0], steps[1], lengths[row], classes, held)
        path.score[row] = one_by_one.best_row(emissions, recording, shared, best, scores, path.labels[row])
        mark_starts(path.labels, path.starts, row, 0 if path.score[row] == -np.inf else lengths[row])


def _best_halves(
    flat: Any, steps: tuple[int, int], row: int, length: int, classes: int, tables: Any, outputs: Any
) -> None:
    """Decode one long recording from both ends."""
    path, size = Path(*outputs), padded(classes)
    transitions, transposed, edges = tables
    back = np.full(size * size, -np.inf)  # each row of a transposed table is a class; swapped if time runs back
    back[: len(transposed)] = transposed
    both_tables = ((transitions, transposed, edges), (back, transitions, np.roll(edges, size)))
    halves = split_in_halves(row, length, steps, classes)
    held = halves[0].held
    messages = [
        Messages(np.empty((held + 1) * size), np.empty(BLOCK * size), np.empty((-(-half.length // held), size)))
        for half in halves
    ]
    work = 2.0 * length * classes**2

    def forward(first: int, last: int) -> None:
        for i in range(first, last):
            one_by_one.forward_half(flat, tuple(halves[i]), both_tables[i], tuple(messages[i]))

    share(forward, 2, work / AT_ONCE)
    middle, lengths = np.zeros(2, np.int64), np.array([half.length for half in halves])
    ends = tuple(each.alpha for each in messages)
    path.score[row] = one_by_one.meet(ends, lengths, held, classes, transitions, size // WIDTH, middle)
    begins = (0, length - 1)

    def backward(first: int, last: int) -> None:
        for i in range(first, last):
            half, label = tuple(halves[i]), middle[i]
            one_by_one.backward_half(flat, half, both_tables[i], tuple(messages[i]), label, path.labels[row], begins[i])

    share(backward, 2, work / AT_ONCE)
    mark_starts(path.labels, path.starts, row, 0 if path.score[row] == -np.inf else length)


@compiled
def mark_starts(labels, starts, row, length):
    """Write the band starts of a path, and padding (-100, False) beyond its length."""
    before = -1
    for t in range(labels.shape[1]):
        if t >= length:
            labels[row, t] = -100
        starts[row, t] = t < length and labels[row, t] != before
        before = labels[row, t]
