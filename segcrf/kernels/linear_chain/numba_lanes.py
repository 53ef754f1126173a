"""Recordings side by side: eight in the lanes of SIMD vectors, with scores packed into lanes and results written back.

Buffers are flat, ``[frame, class]`` in vectors of `simd`. Recordings of a group are aligned at their last frame; a
shorter one joins at its first frame, so ragged lengths cost nothing. A group that is not full repeats a recording,
which is computed twice and written twice with the same values.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.state import Group
from segcrf.kernels.numba_runtime import inlined, part
from segcrf.kernels.simd import WIDTH, gather, load, scatter, store

__all__ = ["align", "copy", "deliver", "latest_first", "next_first", "pack"]


@inlined
def align(rows, lengths, steps, classes, held):
    """Return a group of recordings, given the ``steps`` from recording to recording and from frame to frame."""
    first, offsets = np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64)
    size = np.int64(0)
    for row in rows:
        size = max(size, lengths[row])
    for lane in range(WIDTH):
        first[lane] = size - lengths[rows[lane]]
        offsets[lane] = rows[lane] * steps[0] - first[lane] * steps[1]
    return Group(rows, first, offsets, steps[1], size, classes, held)


@part
def latest_first(first):
    """Return the first frame at which every lane has begun."""
    latest = first[0]
    for lane in range(1, WIDTH):
        latest = max(latest, first[lane])
    return latest


@inlined
def next_first(first, frame):
    """Return the next frame, this one included, at which a lane begins."""
    following = np.int64(1) << 62
    for lane in range(WIDTH):
        if first[lane] >= frame:
            following = min(following, first[lane])
    return following


@part
def copy(source, k, target, m, count):
    """Copy ``count`` vectors from index ``k`` of one buffer to index ``m`` of another."""
    for i in range(count):
        store(target, m + i, load(source, k + i))


@part
def pack(emissions, step, offsets, first, frame, count, classes, buffer, k):
    """Pack scores of ``count`` frames, ``step`` elements apart, into vectors from index ``k`` on.

    Scores are 0 where a lane has not begun.
    """
    joined, size = min(max(latest_first(first) - frame, 0), count), count * classes  # then all lanes have begun
    for lane in range(WIDTH):
        for i in range(joined):
            source, begun = offsets[lane] + (frame + i) * step, frame + i >= first[lane]
            for c in range(classes):
                buffer[(k + i * classes + c) * WIDTH + lane] = emissions[source + c] if begun else 0.0
    # Successive frames are one run of elements.
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
def deliver(buffer, offsets, step, first, frame, count, classes, out):
    """Write vectors to where `pack` reads them, for lanes that have begun."""
    joined, size = min(max(latest_first(first) - frame, 0), count), count * classes
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
