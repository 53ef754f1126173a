"""Schedule: which recordings run side by side, one by one or from both ends, and how threads share them."""

# pyright: basic
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.layout import time_first
from segcrf.kernels.linear_chain.state import Recording
from segcrf.kernels.numba_runtime import array, explicit, scratch, share
from segcrf.kernels.simd import WIDTH

__all__ = [
    "AT_ONCE",
    "chunk_size",
    "flatten",
    "group_recordings",
    "lay_out_scores",
    "message_size",
    "padded",
    "share_recordings",
    "split_in_halves",
]

AT_ONCE = 10  # multiply-adds in the time that `share` counts as one
_KEPT = 1 << 17  # elements of each kind kept at once: 1 MiB, about a core's cache
_LANES_FROM = 4  # recordings; fewer run one after another
_LONG = 1 << 14  # frames; from this length on, a single recording is split between two threads


def flatten(values: Tensor) -> tuple[Any, tuple[int, int]]:
    """Return values (B, T, C) as a flat array, and the steps in it from recording to recording and frame to frame."""
    batch, frames, classes = values.shape
    if time_first(values):
        return array(values.transpose(0, 1)).reshape(-1), (classes, batch * classes)
    return array(values).reshape(-1), (frames * classes, classes)


def padded(classes: int) -> int:
    """Return ``classes`` rounded up to whole vectors."""
    return -(-classes // WIDTH) * WIDTH


def message_size(classes: int) -> tuple[int, int]:
    """Return the size of one recording's message, in elements and in vectors."""
    return padded(classes), padded(classes) // WIDTH


def chunk_size(length: int, width: int) -> int:
    """Return how many frames are kept at once, with messages of ``width`` vectors: a multiple of ``BLOCK``."""
    held = min(length, max(_KEPT // (width * WIDTH), 64))
    return held if held == length else held // 64 * 64


def share_recordings(kernel: Any, inputs: tuple[Any, ...], room: tuple[int, ...], count: int, work: float) -> None:
    """Call a kernel on some threads, each with work arrays of sizes ``room``."""
    share(lambda first, last: kernel(*inputs, *scratch(*room), first, last), count, work / AT_ONCE)


def group_recordings(lengths: Any) -> tuple[Any, Any, Any]:
    """Return recordings to run eight at a time (G, 8), those to run one by one, and those to split in halves.

    Recordings run eight at a time if there are enough of them. Neighbours in length share a group; a group that is not
    full repeats its last recording. A long recording by itself runs from both ends at once. This choice does not depend
    on the number of threads, so neither do results.
    """
    batch = len(lengths)
    rest = batch % WIDTH if batch % WIDTH < _LANES_FROM else 0
    rows = np.argsort(-lengths, kind="stable")
    groups, others = rows[: batch - rest], rows[batch - rest :]
    missing = -len(groups) % WIDTH
    if missing:
        groups = np.append(groups, [groups[-1]] * missing)
    groups, threads = groups.reshape(-1, WIDTH), torch.get_num_threads()
    if min(len(groups), threads) > 1:  # each thread takes a range of groups: distribute the long ones
        groups = np.concatenate([groups[i::threads] for i in range(threads)])
    if not rest:
        return groups, others, others
    long = lengths[others] >= _LONG
    return groups, others[~long], others[long]


def split_in_halves(row: int, length: int, steps: tuple[int, int], classes: int) -> tuple[Recording, Recording]:
    """Return both halves of a recording. The later half begins at the end, where time runs backwards."""
    counts = length // 2, length - length // 2
    held = chunk_size(counts[1], padded(classes) // WIDTH)
    begin = row * steps[0]
    earlier = Recording(begin, steps[1], counts[0], classes, held)
    return earlier, Recording(begin + (length - 1) * steps[1], -steps[1], counts[1], classes, held)


def lay_out_scores(shared: Any, size: int) -> tuple[Any, ...]:
    """Return `Tables` of scores, padded with -inf.

    Transitions are padded to ``size`` classes, their transpose to whole vectors in each row.
    """
    classes = len(shared[1])
    tables = np.empty(size * size), np.empty(classes * padded(classes)), np.empty(2 * size)
    _lay_out_scores(*shared, size, padded(classes), *tables)
    return tables


@explicit
def _lay_out_scores(transitions, start, end, size, row, matrix, transposed, edges):
    matrix[:] = -np.inf
    transposed[:] = -np.inf
    edges[:] = -np.inf
    for i in range(start.size):
        edges[i], edges[size + i] = start[i], end[i]
        for j in range(start.size):
            matrix[i * size + j] = transposed[j * row + i] = transitions[i, j]
