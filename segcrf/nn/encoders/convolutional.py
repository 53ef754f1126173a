"""Convolutional encoders: the temporal convolutional network (TCN)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, State
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
        inner = torch.relu(self.filter(functional.pad(x, self.padding)))
        return x + self.dropout(self.mix(inner))


class TCNEncoder(Encoder):
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

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        seen = x if state is None else torch.cat([state, x], dim=1)
        features = self(seen)[:, seen.shape[1] - x.shape[1] :]
        return features, seen[:, max(seen.shape[1] - (self.receptive_field - 1), 0) :]

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        past = self.receptive_field - 1 if self.causal else self.receptive_field // 2
        future = 0 if self.causal else past
        frames = x.shape[1]
        for start in range(0, frames, size):
            stop = min(start + size, frames)
            left = max(start - past, 0)
            features = self(x[:, left : min(stop + future, frames)])
            yield features[:, start - left : stop - left]
