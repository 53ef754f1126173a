"""Frame by frame: features and linear maps, the same to the last bit however a signal is cut into calls."""

from __future__ import annotations

from typing import Any, cast

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, State

__all__ = ["as_array", "kernels_can_read", "kernels_may_run", "linear_by_frame", "linear_of_arrays", "step_by_frame"]


def step_by_frame(encoder: Encoder, x: Tensor, state: State = None) -> tuple[Tensor, State]:
    """Encode the next frames so that the features of a frame are the same in every call.

    They depend neither on how the frames are cut into calls, nor on the other recordings. An encoder with
    ``exact_steps`` gets all frames at once. Another one gets one frame of one recording at a time, a tensor (1, 1, F)
    in memory of its own, because products of matrices round differently for other sizes and addresses.

    Args:
        encoder: a causal encoder, in evaluation mode.
        x: the next frames, (B, N, F).
        state: what the previous call returned for these recordings; None at the first frame.

    Returns:
        The features of these frames, (B, N, H), and the state for the next call.

    Raises:
        InputError: the encoder is not causal, or the state belongs to another number of recordings.

    Example:
        >>> from segcrf.nn import GRUEncoder
        >>> encoder, x = GRUEncoder(3, hidden=8).eval(), torch.randn(2, 10, 3)
        >>> with torch.no_grad():
        ...     whole, _ = step_by_frame(encoder, x)
        ...     first, state = step_by_frame(encoder, x[:, :4])
        ...     rest, state = step_by_frame(encoder, x[:, 4:], state)
        >>> torch.equal(torch.cat([first, rest], dim=1), whole)
        True
    """
    exact = encoder.exact_step(x, state)
    if exact is not None:
        return exact
    batch, frames = x.shape[:2]
    if state is not None and (not isinstance(state, list | tuple) or len(cast(list[State], state)) != batch):
        got = f"{len(cast(list[State], state))} recordings" if isinstance(state, list | tuple) else type(state).__name__
        expected = f"a list of {batch} states, one of each recording in x"
        raise InputError("state", got, expected, "pass what step_by_frame returned for these recordings")
    states: list[State] = [None] * batch if state is None else list(cast(list[State], state))
    rows = [x.new_empty(0, frames, encoder.out_features)]
    for b in range(batch):
        features = [x.new_empty(1, 0, encoder.out_features)]
        for t in range(frames):
            piece, states[b] = encoder.step(x[b : b + 1, t : t + 1].clone(), states[b])
            features.append(piece)
        rows.append(torch.cat(features, dim=1))
    return torch.cat(rows), states


def linear_by_frame(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``x @ weight.T + bias`` so that the result of a frame is the same in every call.

    It depends neither on the other frames nor on the other recordings. On a CPU in float32 or float64, without
    gradients, a kernel sums over the inputs in their order. Otherwise PyTorch gets one frame at a time.

    Args:
        x: features, (..., H).
        weight: (out, H).
        bias: (out,).

    Returns:
        (..., out).

    Raises:
        InputError: the last dimension of x is not H, or x has another type or device than the weight.

    Example:
        >>> head, x = torch.nn.Linear(4, 2), torch.randn(3, 10, 4)
        >>> with torch.no_grad():
        ...     whole, one = (linear_by_frame(part, head.weight, head.bias) for part in (x, x[1:2, 7:8]))
        >>> torch.equal(whole[1:2, 7:8], one)
        True
    """
    if x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise InputError(
            "x", f"shape {tuple(x.shape)}", f"(..., {weight.shape[1]}): the inputs of the weight come last"
        )
    if bias.shape != weight.shape[:1]:
        raise InputError("bias", f"shape {tuple(bias.shape)}", f"({len(weight)},): one bias for each row of the weight")
    if x.dtype != weight.dtype or x.device != weight.device:
        expected = f"{weight.dtype} on {weight.device}, as the weight"
        raise InputError("x", f"{x.dtype} on {x.device}", expected, "convert it by x.to(weight)")
    if kernels_may_run() and kernels_can_read(weight):
        return torch.from_numpy(linear_of_arrays(as_array(x), as_array(weight), as_array(bias)))
    frames = [functional.linear(frame.clone(), weight, bias) for frame in x.reshape(-1, x.shape[-1]).split(1)]
    return torch.cat([x.new_empty(0, len(weight)), *frames]).reshape(*x.shape[:-1], len(weight))


def linear_of_arrays(x: npt.NDArray[Any], weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what :func:`linear_by_frame` returns for C-contiguous arrays of one type; nothing is checked."""
    from segcrf.kernels.by_frame import numba_kernels

    return numba_kernels.linear(x, weight, bias)


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a tensor on the CPU as a contiguous array, in the same memory if possible."""
    return tensor.detach().contiguous().numpy()


def kernels_may_run() -> bool:
    """Return whether nothing differentiates, casts or traces here: the kernels by frame are no PyTorch operators."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # pyright: ignore[reportPrivateImportUsage]


def kernels_can_read(weight: Tensor) -> bool:
    """Return whether a weight is where the kernels by frame run, in a type that they know."""
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
