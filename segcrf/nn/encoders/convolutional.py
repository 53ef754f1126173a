"""Convolutional encoders: the temporal convolutional network (TCN)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError
from segcrf.nn.encoders.stepping import Array, SteppingEncoder, add_plain_parameters, submodules
from segcrf.structures import frame_mask

__all__ = ["TCNEncoder"]


class _DilatedBlock(nn.Module):
    """A dilated convolution, a rectifier, a mix of the channels, and a residual connection."""

    def __init__(self, hidden: int, kernel_size: int, dilation: int, causal: bool, dropout: float) -> None:
        super().__init__()
        reach = (kernel_size - 1) * dilation
        self.padding = (reach, 0) if causal else (reach // 2, reach // 2)
        self.filter = nn.Conv1d(hidden, hidden, kernel_size, dilation=dilation)
        self.mix = nn.Conv1d(hidden, hidden, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(functional.pad(x, self.padding), x)

    def after(self, context: Tensor, x: Tensor) -> Tensor:
        """Return the block's output for frames ``x`` (B, H, N), given them with the frames that the filter needs."""
        return x + self.dropout(self.mix(torch.relu(self.filter(context))))


class TCNEncoder(SteppingEncoder):
    """A temporal convolutional network with dilations 1, 2, 4, ...: a known receptive field and no recurrence.

    Args:
        in_features: channels F of the signal.
        hidden: channels of every layer; H = hidden.
        layers: number of dilated layers. The receptive field is ``1 + (kernel_size - 1) * (2 ** layers - 1)`` frames.
        kernel_size: frames that one filter covers; odd unless causal.
        causal: whether a frame sees only itself and earlier frames, instead of equally many frames on either side.
        dropout: probability that a channel of a layer is dropped, for a whole recording.

    Raises:
        InputError: an even kernel_size without causal, which would shift the features by half a frame.

    Source:
        Farha and Gall, *MS-TCN: multi-stage temporal convolutional network for action segmentation*, 2019 (one stage).

    Attributes:
        receptive_field: frames of the signal that change the features of one frame.

    Example:
        >>> encoder = TCNEncoder(3, hidden=8, layers=6)
        >>> encoder.receptive_field
        127
        >>> encoder(torch.zeros(2, 50, 3)).shape
        torch.Size([2, 50, 8])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 6,
        kernel_size: int = 3,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not causal and kernel_size % 2 == 0:
            expected = "an odd number, because a frame sees equally many frames on either side"
            raise InputError("kernel_size", str(kernel_size), expected, f"use {kernel_size + 1}, or causal=True")
        self.in_features, self.out_features, self.causal = in_features, hidden, causal
        self.receptive_field = 1 + (kernel_size - 1) * (2**layers - 1)
        self.lift = nn.Conv1d(in_features, hidden, 1)
        self.blocks = nn.ModuleList(_DilatedBlock(hidden, kernel_size, 2**i, causal, dropout) for i in range(layers))
        # Of each block the inputs that its filter needs, the oldest first.
        self.state_shape = (self.receptive_field - 1, hidden)
        self._taps, self._dilations = kernel_size, np.array([2**i for i in range(layers)], np.int64)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        valid = None if lengths is None else frame_mask(lengths.to(x.device), x.shape[1]).unsqueeze(1)
        h = self._keep(self.lift(x.transpose(1, 2)), valid)
        for block in self.blocks:
            h = self._keep(block(h), valid)
        return h.transpose(1, 2)

    @staticmethod
    def _keep(h: Tensor, valid: Tensor | None) -> Tensor:
        # Every layer must see zeros beyond a recording's end, as it does in a batch without padding.
        return h if valid is None else h.masked_fill(~valid, 0.0)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, receptive_field={self.receptive_field}"

    def _stack(self) -> list[_DilatedBlock]:
        return [block for block in self.blocks if isinstance(block, _DilatedBlock)]

    def _parameters_in_order(self) -> list[Tensor] | None:
        blocks = submodules(submodules(self)["blocks"]).values()
        maps = [submodules(self)["lift"], *(submodules(block)[name] for block in blocks for name in ("filter", "mix"))]
        parameters: list[Tensor] = []
        for part in maps:
            if not add_plain_parameters(part, nn.Conv1d, ("weight", "bias"), parameters):
                return None
        return parameters

    def _pack(self, parameters: list[Tensor]) -> Tensor:
        parts: list[Tensor] = []
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            parts += [bias, weight.permute(2, 1, 0).flatten()]  # (taps, inputs, H)
        return torch.cat(parts)

    def _step_exactly(self, x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
        from segcrf.kernels.by_frame import numba_kernels

        return numba_kernels.tcn(x, weights, state, self._dilations, self._taps)

    def _step_in_torch(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, after, top = self.lift(x.transpose(1, 2)), [state[:, :0]], 0
        for block in self._stack():
            reach = block.padding[0]
            context = torch.cat([state[:, top : top + reach].transpose(1, 2), h], dim=2)
            after.append(context[:, :, context.shape[2] - reach :].transpose(1, 2))
            h, top = block.after(context, h), top + reach
        return h.transpose(1, 2), torch.cat(after, dim=1)

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        past = self.receptive_field - 1 if self.causal else self.receptive_field // 2
        future = 0 if self.causal else past
        frames = x.shape[1]
        for start in range(0, frames, size):
            stop = min(start + size, frames)
            left = max(start - past, 0)
            features = self(x[:, left : min(stop + future, frames)])
            yield features[:, start - left : stop - left]
