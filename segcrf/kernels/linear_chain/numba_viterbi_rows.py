"""Viterbi for one recording after another, classes in SIMD lanes; a long one is computed from both ends at once."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_lanes import copy
from segcrf.kernels.linear_chain.numba_rows import read
from segcrf.kernels.linear_chain.state import BLOCK, Messages, Recording, Tables
from segcrf.kernels.numba_runtime import explicit, inlined, part
from segcrf.kernels.simd import WIDTH, first_equal, larger, load, peak, splat, spread, store

__all__ = ["backward_half", "best_row", "forward_half", "meet"]


@inlined
def best_row(emissions, recording, tables, best, scores, path):
    """Write the best labels (Viterbi, 1967) into ``path``, and return their score."""
    _, _, length, classes, held = recording
    edges = tables.edges
    width = edges.size // WIDTH // 2
    messages = Messages(best, scores, np.empty(((length + held - 1) // held, width * WIDTH)))
    _forward_chunks(emissions, recording, tables, messages)
    final, label, score = (length - (messages.kept.shape[0] - 1) * held) * width * WIDTH, np.int64(0), -np.inf
    for c in range(classes):
        reached = best[final + c] + edges[width * WIDTH + c]
        if reached > score:
            score, label = reached, np.int64(c)
    _backward_chunks(emissions, recording, tables, messages, label, path, 0)
    return score


@explicit
def forward_half(emissions, recording, tables, messages):
    """Find the best scores of one half of a long recording: a `Recording`, `Tables` and `Messages`, as plain tuples."""
    _forward_chunks(emissions, Recording(*recording), Tables(*tables), Messages(*messages))


@explicit
def backward_half(emissions, recording, tables, messages, label, path, at):
    """Write the labels of one half of a long recording, after `forward_half`; see `_backward_chunks`."""
    _backward_chunks(emissions, Recording(*recording), Tables(*tables), Messages(*messages), label, path, at)


@inlined
def _forward_chunks(emissions, recording, tables, messages):
    """Compute ``best[t + 1]``, the best score of a labelling that ends in each class at frame t of a chunk."""
    best, _, kept = messages
    held, width = recording.held, tables.edges.size // WIDTH // 2
    for k in range(kept.shape[0]):
        if k > 0:
            copy(best, held * width, best, 0, width)
        copy(best, 0, kept[k], 0, width)
        _climb(emissions, recording, k * held, min(held, recording.length - k * held), tables, messages)


@inlined
def _backward_chunks(emissions, recording, tables, messages, label, path, at):
    """Write the labels that lead to ``label``, from last to first.

    The label of frame t is ``path[at + t]``, or ``path[at - t]`` if time runs backwards.
    """
    best, _, kept = messages
    _, step, length, _, held = recording
    width = tables.edges.size // WIDTH // 2
    for k in range(kept.shape[0] - 1, -1, -1):
        begin = k * held
        count = min(held, length - begin)
        if k < kept.shape[0] - 1:
            copy(kept[k], 0, best, 0, width)
            _climb(emissions, recording, begin, count, tables, messages)
        label = _trace(best, tables.transposed, path, at + (begin if step > 0 else -begin), step, count, width, label)


@explicit
def meet(ends, counts_of, held, classes, transitions, width, labels):
    """Write the labels of the best step between the halves into ``labels``, and return the best score."""
    earlier, later = (counts_of[0] - 1) % held + 1, (counts_of[1] - 1) % held + 1
    a, b, row, score = earlier * width * WIDTH, later * width * WIDTH, width * WIDTH, -np.inf
    for i in range(classes):
        for j in range(classes):
            both = ends[0][a + i] + transitions[i * row + j] + ends[1][b + j]
            if both > score:
                score, labels[0], labels[1] = both, i, j
    return score


@part
def _climb(emissions, recording, begin, count, tables, messages):
    """Compute best[t + 1] from best[t] for ``count`` frames, in blocks."""
    offset, step, _, classes, _ = recording
    best, scores, _ = messages
    transitions, _, edges = tables
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
    """Return the largest of x[i] + rows[i], of one vector per row, in registers."""
    a, b = spread(x, 0) + load(rows, 0), spread(x, 1) + load(rows, 1)
    a, b = larger(spread(x, 2) + load(rows, 2), a), larger(spread(x, 3) + load(rows, 3), b)
    a, b = larger(spread(x, 4) + load(rows, 4), a), larger(spread(x, 5) + load(rows, 5), b)
    a, b = larger(spread(x, 6) + load(rows, 6), a), larger(spread(x, 7) + load(rows, 7), b)
    return larger(a, b)


@part
def _best(scores, best, begin, end, offset, width, classes, transitions):
    """Compute best[t + 1] from best[t], of any width."""
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
    """Write the labels of a chunk from last to first, and return the label before it."""
    for t in range(count - 1, -1, -1):
        path[at + t if step > 0 else at - t] = label
        label = _predecessor(best, t * width, transposed, label, width)
    return label


@inlined
def _predecessor(reached, k, transposed, label, width):
    """Return the first class that attains the best score of a step to ``label``.

    It uses the same sums as the forward pass: ``width`` vectors of scores from index ``k`` on, and the row of the
    label.
    """
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
