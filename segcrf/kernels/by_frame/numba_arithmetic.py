"""The arithmetic that the kernels of encoders share: sums in a fixed order, sigmoid and hyperbolic tangent.

Weights are packed in one flat array, transposed: the weights of one input lie side by side, one for each output.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numba
import numpy as np

from segcrf.kernels.numba_runtime import exact_exp, exact_part

__all__ = ["add_products", "begin_with", "copy", "sigmoid", "tanh"]


@exact_part
def begin_with(weights, at, sums):
    """Set sums to the biases that begin at place ``at`` of the flat weights; return the place after them."""
    count = len(sums)
    bias = weights[at : at + count]
    for j in range(count):
        sums[j] = bias[j]
    return at + count


@exact_part
def add_products(weights, at, x, sums):
    """Add ``weights[i, j] * x[i]`` to ``sums[j]`` in the order of i; return the place after these weights.

    Four inputs at a time share one visit of the sums; the order of additions stays the same.
    """
    inputs, count = len(x), len(sums)
    whole = inputs // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        row = at + i * count
        first, second = weights[row : row + count], weights[row + count : row + 2 * count]
        third, fourth = weights[row + 2 * count : row + 3 * count], weights[row + 3 * count : row + 4 * count]
        for j in range(count):
            sums[j] = (((sums[j] + first[j] * a) + second[j] * b) + third[j] * c) + fourth[j] * d
    for i in range(whole, inputs):
        a, row = x[i], at + i * count
        only = weights[row : row + count]
        for j in range(count):
            sums[j] = sums[j] + only[j] * a
    return at + inputs * count


@exact_part
def copy(source, target):
    """Copy a contiguous array (rows, columns)."""
    source, target = source.ravel(), target.ravel()
    for j in range(len(source)):
        target[j] = source[j]


# Inlined by LLVM into loops that become SIMD code. NaN passes through: each bound is compared so that NaN stays.
@numba.njit(forceinline=True, error_model="numpy")
def _exp(x):
    """Return exp(x) to about 1e-14 for x within 700 of 0, and the value at that bound beyond it."""
    x = 700.0 if x > 700.0 else x
    x = -700.0 if x < -700.0 else x
    return exact_exp(x)


@numba.njit(forceinline=True, error_model="numpy")
def sigmoid(x):
    """Return 1 / (1 + exp(-x)), in float64."""
    return 1.0 / (1.0 + _exp(-np.float64(x)))


@numba.njit(forceinline=True, error_model="numpy")
def tanh(x):
    """Return the hyperbolic tangent, in float64, to 1e-15 absolute."""
    return 1.0 - 2.0 / (1.0 + _exp(2.0 * np.float64(x)))
