"""Viterbi for eight recordings together: one recording per SIMD lane.

Only the best scores are kept. The backward pass finds the predecessor of a label again, one column per frame.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_lanes import align, copy, next_first, pack
from segcrf.kernels.linear_chain.state import BLOCK, Messages
from segcrf.kernels.numba_runtime import inlined, part
from segcrf.kernels.simd import WIDTH, larger, load, look_up, splat, store, where_above

__all__ = ["best_group"]


@inlined
def best_group(emissions, steps, lengths, rows, tables, held, score, labels, best, scores):
    """Find the best labelling (Viterbi, 1967) of one group of recordings ``rows``, one per lane."""
    edges = tables.edges
    classes = edges.size // 2
    group = align(rows, lengths, steps, classes, held)
    size = group.size
    chunks = (size + held - 1) // held
    messages = Messages(best, scores, np.empty((chunks, classes * WIDTH)))
    for c in range(classes):
        store(best, c, splat(0.0))
    for k in range(chunks):
        if k > 0:
            copy(best, held * classes, best, 0, classes)
        copy(best, 0, messages.kept[k], 0, classes)
        _climb(emissions, group, k * held, min(held, size - k * held), tables, messages)
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
            copy(messages.kept[k], 0, best, 0, classes)
            _climb(emissions, group, begin, count, tables, messages)
        _trace(best, tables.transposed, rows, group.first, begin, count, classes, label, labels)


@part
def _climb(emissions, group, begin, count, tables, messages):
    """Compute best[t + 1] from best[t] for ``count`` frames, in blocks; each lane begins at its first frame."""
    best, scores, _ = messages
    first, classes, edges = group.first, group.classes, tables.edges
    for t in range(0, count, BLOCK):
        stop = min(t + BLOCK, count)
        pack(emissions, group.step, group.offsets, first, begin + t, stop - t, classes, scores, 0)
        i = t
        while i < stop:
            joins = next_first(first, begin + i) - begin
            if joins > i:
                joins = min(joins, stop)
                _best(scores, best, (i - t) * classes, i * classes, (joins - i) * classes, classes, tables.matrix)
                i = joins
            else:
                _best(scores, best, (i - t) * classes, i * classes, classes, classes, tables.matrix)
                for lane in range(WIDTH):
                    if first[lane] == begin + i:
                        for c in range(classes):
                            emitted = scores[((i - t) * classes + c) * WIDTH + lane]
                            best[((i + 1) * classes + c) * WIDTH + lane] = edges[c] + emitted
                i += 1


@part
def _best(scores, best, at, begin, count, classes, transitions):
    """Compute best[j] of each frame: its score plus the max over i of the previous best[i] + transitions[i, j]."""
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
    """Write the labels of ``count`` frames from last to first.

    The predecessor is the first class that attains the best score, computed with the same sums as in the forward pass.
    """
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
