"""Encoders frame by frame, in Numba: each kernel takes packed weights, a signal and a state, and makes a new state.

Arrays are C-contiguous. A state holds recordings first, so that its rows may be selected and joined. It is never
changed: a caller may continue from it twice.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from segcrf.kernels.by_frame.numba_arithmetic import add_products, begin_with, copy, sigmoid, tanh
from segcrf.kernels.numba_runtime import exact, share

Array = np.ndarray[Any, Any]

__all__ = ["gru", "linear", "lstm", "tcn"]


def lstm(x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
    """Return the hidden values of the last layer, (B, N, H), and the state after the last frame.

    Args:
        x: signal, (B, N, F).
        weights: of each layer, flat: the biases (4 H), then the weights (inputs + H, 4 H); gates in PyTorch's order.
        state: before the first frame, (B, layers, 2, H): the hidden values and the cells of each layer.
    """
    return _run(_lstm, x, weights, state)


def gru(x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
    """Return the hidden values of the last layer, (B, N, H), and the state after the last frame.

    Args:
        x: signal, (B, N, F).
        weights: of each layer, flat: the biases (3 H) and the weights (inputs, 3 H) of the inputs, then those of the
            hidden values; gates in PyTorch's order.
        state: before the first frame, (B, layers, 1, H): the hidden values of each layer.
    """
    return _run(_gru, x, weights, state)


def tcn(x: Array, weights: Array, state: Array, dilations: Array, taps: int) -> tuple[Array, Array]:
    """Return the output of a causal temporal convolutional network, (B, N, H), and the state after the last frame.

    Args:
        x: signal, (B, N, F).
        weights: flat: the bias (H) and the weights (F, H) of the first map; of each block the bias and the weights
            (taps, H, H) of its filter, and the bias and the weights (H, H) of its mix.
        state: before the first frame, (B, R, H): of each block its last (taps - 1) * dilation inputs, the oldest first.
        dilations: frames between two taps, of each block, int64.
        taps: frames that one filter covers.
    """
    return _run(_tcn, x, weights, state, dilations, taps)


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Return ``x @ weight.T + bias``, (..., out), for x (..., in), weight (out, in) and bias (out,)."""
    rows = x.reshape(-1, weight.shape[1])
    out = np.empty((len(rows), len(weight)), x.dtype)
    share(lambda first, last: _linear(rows, weight, bias, out, first, last), len(rows), float(weight.size) * len(rows))
    return out.reshape(*x.shape[:-1], len(weight))


def _run(kernel: Callable[..., Any], x: Array, weights: Array, before: Array, *more: Any) -> tuple[Array, Array]:
    batch, frames, _ = x.shape
    out, after = np.empty((batch, frames, before.shape[-1]), x.dtype), np.empty_like(before)
    inputs = x, weights, before, out, after, *more
    work = float(weights.size) * batch * frames + before.size
    share(lambda first, last: kernel(*inputs, first, last), batch, work)
    return out, after


@exact
def _lstm(x, weights, state, out, after, first, last):
    frames, (layers, _, hidden) = x.shape[1], state.shape[1:]
    gates = np.empty(4 * hidden, x.dtype)
    for b in range(first, last):
        after[b] = state[b]
        for t in range(frames):
            at = 0
            for layer in range(layers):
                h, cell = after[b, layer, 0], after[b, layer, 1]
                at = begin_with(weights, at, gates)
                at = add_products(weights, at, x[b, t] if layer == 0 else after[b, layer - 1, 0], gates)
                at = add_products(weights, at, h, gates)
                opened, forget = gates[:hidden], gates[hidden : 2 * hidden]
                new, shown = gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
                for j in range(hidden):
                    cell[j] = sigmoid(forget[j]) * cell[j] + sigmoid(opened[j]) * tanh(new[j])
                    h[j] = sigmoid(shown[j]) * tanh(cell[j])
            for j in range(hidden):
                out[b, t, j] = after[b, layers - 1, 0, j]


@exact
def _gru(x, weights, state, out, after, first, last):
    frames, (layers, _, hidden) = x.shape[1], state.shape[1:]
    given, kept = np.empty(3 * hidden, x.dtype), np.empty(3 * hidden, x.dtype)
    for b in range(first, last):
        after[b] = state[b]
        for t in range(frames):
            at = 0
            for layer in range(layers):
                h = after[b, layer, 0]
                at = begin_with(weights, at, given)
                at = add_products(weights, at, x[b, t] if layer == 0 else after[b, layer - 1, 0], given)
                at = begin_with(weights, at, kept)
                at = add_products(weights, at, h, kept)
                for j in range(hidden):
                    reset = sigmoid(given[j] + kept[j])
                    update = sigmoid(given[hidden + j] + kept[hidden + j])
                    new = tanh(given[2 * hidden + j] + reset * kept[2 * hidden + j])
                    h[j] = (1.0 - update) * new + update * h[j]
            for j in range(hidden):
                out[b, t, j] = after[b, layers - 1, 0, j]


@exact
def _tcn(x, weights, state, out, after, dilations, taps, first, last):
    frames, (rows, hidden) = x.shape[1], state.shape[1:]
    ring = np.empty((rows, hidden), x.dtype)  # of each block, its past inputs: frame t in row t modulo their number
    inner, mixed = np.empty(hidden, x.dtype), np.empty(hidden, x.dtype)
    for b in range(first, last):
        copy(state[b], ring)
        for t in range(frames):
            h, top = out[b, t], 0
            at = begin_with(weights, 0, h)
            at = add_products(weights, at, x[b, t], h)
            for dilation in dilations:
                reach = (taps - 1) * dilation
                at = begin_with(weights, at, inner)
                for tap in range(taps - 1):
                    at = add_products(weights, at, ring[top + (t + tap * dilation) % reach], inner)
                at = add_products(weights, at, h, inner)
                for j in range(hidden):
                    inner[j] = 0.0 if inner[j] < 0.0 else inner[j]  # NaN stays
                at = begin_with(weights, at, mixed)
                at = add_products(weights, at, inner, mixed)
                if reach > 0:
                    ring[top + t % reach] = h
                for j in range(hidden):
                    h[j] = h[j] + mixed[j]
                top += reach
        top = 0
        for dilation in dilations:
            reach = (taps - 1) * dilation
            split = frames % reach if reach > 0 else 0  # the oldest frame
            copy(ring[top + split : top + reach], after[b, top : top + reach - split])
            copy(ring[top : top + split], after[b, top + reach - split : top + reach])
            top += reach


@exact
def _linear(x, weight, bias, out, first, last):
    outputs, inputs = weight.shape
    packed = np.empty(outputs * (inputs + 1), x.dtype)
    packed[:outputs] = bias
    for j in range(outputs):
        for i in range(inputs):
            packed[outputs * (i + 1) + j] = weight[j, i]
    for row in range(first, last):
        add_products(packed, begin_with(packed, 0, out[row]), x[row], out[row])
