"""One recording by itself, with classes in SIMD lanes: read scores into vectors, write results back, sum products.

Frame t begins at element ``offset + t * step`` of the flat scores, so that time may run either way. A frame is
``width`` vectors of `simd`, padded with classes that cannot be reached.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import part
from segcrf.kernels.simd import WIDTH, fma, load, load_part, splat, store, store_part

__all__ = ["outer", "read", "write"]


@part
def read(emissions, offset, step, count, classes, buffer, k, width):
    """Read scores of ``count`` frames into vectors from index ``k`` on; -inf beyond the classes."""
    for t in range(count):
        at, row = (k + t * width) * WIDTH, offset + t * step
        if width == 1 and row + WIDTH <= emissions.size:
            store(buffer, k + t, load_part(emissions, row, classes, -np.inf))
            continue
        for c in range(classes):
            buffer[at + c] = emissions[row + c]
        for c in range(classes, width * WIDTH):
            buffer[at + c] = -np.inf


@part
def write(buffer, offset, step, count, classes, width, out):
    """Write vectors of ``count`` frames to where `read` would read them."""
    spills = (width == 1) & (abs(step) == classes)  # writes beyond the classes, which the next frames overwrite
    for n in range(count):
        t = n if step > 0 else count - 1 - n  # in the order of memory
        at = offset + t * step
        if spills & (n * classes + WIDTH <= count * classes):
            store_part(out, at, load(buffer, t))
            continue
        for c in range(classes):
            out[at + c] = buffer[t * width * WIDTH + c]


@part
def outer(left, right, begin, end, width, classes, out):
    """Add to ``out`` the sum over frames of the outer products of left[t] and right[t], four classes at a time."""
    whole, row = classes // 4 * 4, width * WIDTH
    for v in range(width):
        for i in range(0, whole, 4):
            o = i * width + v
            a, b = load(out, o), load(out, o + width)
            c, d = load(out, o + 2 * width), load(out, o + 3 * width)
            for t in range(begin, end):
                x, at = load(right, t * width + v), t * row + i
                a, b = fma(splat(left[at]), x, a), fma(splat(left[at + 1]), x, b)
                c, d = fma(splat(left[at + 2]), x, c), fma(splat(left[at + 3]), x, d)
            store(out, o, a)
            store(out, o + width, b)
            store(out, o + 2 * width, c)
            store(out, o + 3 * width, d)
        for i in range(whole, classes):
            a = load(out, i * width + v)
            for t in range(begin, end):
                a = fma(splat(left[t * row + i]), load(right, t * width + v), a)
            store(out, i * width + v, a)
