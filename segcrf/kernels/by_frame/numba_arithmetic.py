"""The arithmetic that the kernels of encoders share: sums in a fixed order, sigmoid and hyperbolic tangent.

Weights are packed in one flat array, transposed: the weights of one input lie side by side, one for each output.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numba
import numpy as np

from segcrf.kernels.numba_runtime import exact_part

__all__ = ["add_products", "begin_with", "copy", "sigmoid", "tanh"]

_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, left in the low bits
_BIAS = np.int64(1023)
_SHIFT = np.int64(52)


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


# Inlined by LLVM into loops that become SIMD code; without any licence of fastmath, so that each lane and the rest of
# the loop round alike. NaN passes through: each bound is compared so that NaN stays.
@numba.njit(forceinline=True, error_model="numpy")
def _exp(x):
    """Return exp(x) to about 1e-14 for x within 700 of 0, and the value at that bound beyond it.

    Range reduction by Cody and Waite, then a Taylor polynomial of degree 11 on |r| <= ln(2) / 2.
    """
    x = 700.0 if x > 700.0 else x
    x = -700.0 if x < -700.0 else x
    rounded = x * _LOG2E + _ROUND
    k = rounded - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = np.float64(rounded).view(np.int64)
    return p * np.int64((bits << _SHIFT) + (_BIAS << _SHIFT)).view(np.float64)


@numba.njit(forceinline=True, error_model="numpy")
def sigmoid(x):
    """Return 1 / (1 + exp(-x)), in float64."""
    return 1.0 / (1.0 + _exp(-np.float64(x)))


@numba.njit(forceinline=True, error_model="numpy")
def tanh(x):
    """Return the hyperbolic tangent, in float64, to 1e-15 absolute."""
    return 1.0 - 2.0 / (1.0 + _exp(2.0 * np.float64(x)))
