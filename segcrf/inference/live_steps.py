"""The next frames of one recording through a model, with little Python around the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError
from segcrf.nn import JointModel, Preparation, SwitchingModel, check_steps, linear_of_arrays

__all__ = ["LiveSteps", "Scores"]

Array = npt.NDArray[Any]


class Scores(NamedTuple):
    """What a model makes of the next frames of one recording.

    Attributes:
        emissions: class scores (1, N, C), as an array where the exact kernels run.
        predictions: predicted targets (R,) of the last frame, those of a switching model (C, R); None without targets.
        state: of the model after these frames, for the next call.
    """

    emissions: Tensor | Array
    predictions: Tensor | None
    state: Any


class LiveSteps:
    """Run ``model.step`` for one recording.

    Where the encoder has an exact kernel, encoder and heads keep the weights that the model has now, and work on
    arrays: a tensor around each of them would take longer than the kernels. The results are the same to the bit.

    Args:
        model: with a causal encoder, in evaluation mode.
    """

    def __init__(self, model: JointModel | SwitchingModel) -> None:
        self._model = model
        with torch.no_grad():
            self._encode = model.encoder.freeze_step()
        self._num_channels = model.encoder.in_features
        self._scales = _scales(model.preparation)
        self._class_head = _weights(model.class_head)
        self._target_head = None if model.target_head is None else _weights(model.target_head)
        self._shape = model.shape if isinstance(model, SwitchingModel) else (-1,)

    def push(self, frames: Tensor, state: Any) -> Scores:
        """Take the next frames (N, F), at least one; ``state`` is that of the previous call, None at the beginning.

        Raises:
            InputError: another number of channels than the encoder takes.
        """
        if self._encode is None:
            heads, after = self._model.step(frames[None], state)
            return Scores(heads.emissions, None if heads.predictions is None else heads.predictions[0, -1], after)
        gap, encoded = (None, None) if state is None else state
        signal, gap = self._prepare(frames, gap)
        weight, bias = self._class_head
        if signal.shape[2] != self._num_channels:  # the kernel reads just these
            raise InputError("signal", f"{signal.shape[2]} channels", f"{self._num_channels}, as the encoder takes")
        features, encoded = self._encode(signal, encoded)
        predictions = None
        if self._target_head is not None:
            last = linear_of_arrays(features[:, -1], *self._target_head)
            predictions = torch.from_numpy(last).reshape(self._shape)
        return Scores(linear_of_arrays(features, weight, bias), predictions, (gap, encoded))

    def _prepare(self, frames: Tensor, gap: Any) -> tuple[Array, Any]:
        """Return the next frames as an array (1, N, prepared channels), and what the preparation remembers."""
        preparation, dtype = self._model.preparation, self._class_head[0].dtype
        if preparation is None:
            return np.ascontiguousarray(frames[None].numpy(), dtype), None
        if self._scales is not None and frames.dim() == 2 and frames.shape[1] == len(self._scales[0]):
            values = (frames.numpy().astype(np.float64) - self._scales[0]) / self._scales[1]
            if not np.isnan(values).any():
                remembered = torch.from_numpy(values[None, -1:].copy()) if preparation.memory else None
                return values[None].astype(np.float32).astype(dtype, copy=False), remembered
        with torch.no_grad():
            x, gap = preparation.step(frames[None], gap)
        return np.ascontiguousarray(x.numpy(), dtype), gap

    def to_tensors(self, state: Any) -> Any:
        """Return a state as a nest of tensors, lists, tuples and None, as ``model.step`` returns it."""
        if self._encode is None or state is None:
            return state
        return state[0], torch.from_numpy(state[1].copy())

    def from_tensors(self, state: Any) -> Any:
        """Return the inverse of :meth:`to_tensors`."""
        if self._encode is None or state is None:
            return state
        return state[0], state[1].numpy().copy()


def _scales(preparation: Preparation | None) -> tuple[Array, Array] | None:
    """Return copies of means and scales (F,), if a preparation does no more than use them."""
    if preparation is None or not preparation.only_scales:
        return None
    check_steps(preparation)
    assert preparation.channels is not None
    mean, scale = preparation.channels.mean, preparation.channels.scale
    return mean.cpu().numpy().copy(), scale.cpu().numpy().copy()


def _weights(head: nn.Linear) -> tuple[Array, Array]:
    """Return copies of the weight (out, H) and the bias (out,) of a head."""
    weight, bias = head.weight.detach().cpu(), head.bias.detach().cpu()
    return weight.contiguous().numpy().copy(), bias.numpy().copy()
