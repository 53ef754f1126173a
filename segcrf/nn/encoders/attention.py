"""The attention encoder: a small transformer that looks at the frames nearby."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, State
from segcrf.nn.encoders.pieces import EncodedPieces, traced_more
from segcrf.nn.encoders.recurrent import SequenceDropout
from segcrf.structures import frame_mask

__all__ = ["AttentionEncoder"]

_Memory = tuple[Tensor, Tensor]
_HEADS = 4  # fewer where they do not divide the features


class _LocalAttention(nn.Module):
    """Attention of each frame to the frames within a window, with a learned bias of each distance."""

    def __init__(self, hidden: int, window: int, causal: bool) -> None:
        super().__init__()
        self.window, self.causal, self.heads = window, causal, math.gcd(hidden, _HEADS)
        self.read = nn.Linear(hidden, 3 * hidden)
        self.write = nn.Linear(hidden, hidden)
        # Of the distances -window, ..., 0, and further to window unless causal.
        self.bias = nn.Parameter(torch.zeros(self.heads, 1 + window * (1 if causal else 2)))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Attend within blocks of as many frames as a window: a frame sees its block and the neighbouring ones.

        Memory grows with T times the window.
        """
        batch, frames, _ = x.shape
        window = self.window
        blocks = (frames + (1 + traced_more()) * window - 1) // window
        last = window if self.causal else 2 * window
        starts = torch.arange(blocks, device=x.device)[:, None] * window
        rows, columns = torch.arange(window, device=x.device), torch.arange(-window, last, device=x.device)
        near = starts + columns
        seen = ((near >= 0) & (near < frames)).expand(batch, -1, -1)
        if lengths is not None:
            seen = seen & (near < lengths[:, None, None])
        distance = columns - rows[:, None]
        # A frame always sees itself, so that frames of padding see anything at all.
        allowed = (seen.flatten(0, 1)[:, None, :] | (distance == 0))[:, None]
        scores = self._scores(distance).masked_fill(~allowed, -math.inf)
        parts = zip(self.read(x).chunk(3, dim=2), (starts + rows, near, near), strict=True)
        # Index instead of slices, so that the number of frames stays free where PyTorch traces.
        queries, keys, values = (
            part.index_select(1, index.flatten().clamp(0, frames - 1)).unflatten(1, index.shape).flatten(0, 1)
            for part, index in parts
        )
        found = self._attend(queries, keys, values, scores).unflatten(0, (batch, blocks)).flatten(1, 2)
        return self.write(found.index_select(1, torch.arange(frames, device=x.device)))

    def step(self, x: Tensor, memory: _Memory | None) -> tuple[Tensor, _Memory]:
        """Attend from the next frames, given the keys and values (B, n, H) of the frames in the window before them."""
        queries, keys, values = self.read(x).chunk(3, dim=2)
        if memory is not None:
            keys, values = torch.cat([memory[0], keys], dim=1), torch.cat([memory[1], values], dim=1)
        before = keys.shape[1] - x.shape[1]
        rows = torch.arange(x.shape[1], device=x.device)
        distance = torch.arange(keys.shape[1], device=x.device) - before - rows[:, None]
        found = self._attend(queries, keys, values, self._scores(distance)[None])
        first = max(keys.shape[1] - self.window, 0)
        return self.write(found), (keys[:, first:].clone(), values[:, first:].clone())

    def _scores(self, distance: Tensor) -> Tensor:
        """Return the bias of distances, (heads, queries, keys); -inf outside the window."""
        last = 0 if self.causal else self.window
        inside = (distance >= -self.window) & (distance <= last)
        return self.bias[:, distance.clamp(-self.window, last) + self.window].masked_fill(~inside, -math.inf)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, scores: Tensor) -> Tensor:
        split = [each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (queries, keys, values)]
        return functional.scaled_dot_product_attention(*split, attn_mask=scores).transpose(1, 2).flatten(2)


class _Layer(nn.Module):
    """Attention and a network of single frames, each normalised before and added to its input."""

    def __init__(self, hidden: int, window: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = _LocalAttention(hidden, window, causal)
        self.mix = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden))
        self.dropout = SequenceDropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return self._finish(x, self.attention(self.first(x), lengths))

    def step(self, x: Tensor, memory: _Memory | None) -> tuple[Tensor, _Memory]:
        """Return the output for the next frames, and what later frames see of them."""
        found, after = self.attention.step(self.first(x), memory)
        return self._finish(x, found), after

    def _finish(self, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.dropout(found)
        return x + self.dropout(self.mix(self.second(x)))


class AttentionEncoder(Encoder):
    """A transformer with local attention: a frame attends to the frames within a window, by content and distance.

    Args:
        in_features: channels F of the signal.
        hidden: features of every layer; H = hidden.
        layers: number of layers. A frame sees ``layers * window`` frames on either side.
        window: frames that a layer sees before a frame, and after it unless causal.
        causal: whether a frame sees only itself and earlier frames.
        dropout: probability that a feature of a layer is dropped, for a whole recording.

    Raises:
        InputError: a window without a frame.

    Source:
        Vaswani et al., *Attention is all you need*, 2017; Beltagy, Peters and Cohan, *Longformer: the long-document
        transformer*, 2020 (the window); Shaw, Uszkoreit and Vaswani, *Self-attention with relative position
        representations*, 2018; Xiong et al., *On layer normalization in the transformer architecture*, 2020.

    Example:
        >>> encoder = AttentionEncoder(3, hidden=8, window=16)
        >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 20])).shape
        torch.Size([2, 50, 8])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 2,
        window: int = 64,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if window < 1:
            raise InputError("window", str(window), "1 frame or more")
        self.in_features, self.out_features, self.causal, self.window = in_features, hidden, causal, window
        self.lift = nn.Linear(in_features, hidden)
        self.layers = nn.ModuleList(_Layer(hidden, window, causal, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, window={self.window}"

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is not None:
            lengths = lengths.to(x.device)
            # Values beyond a recording's end have no weight; without NaN and infinity among them, no gradient either.
            x = x.masked_fill(~frame_mask(lengths, x.shape[1]).unsqueeze(2), 0.0)
        h = self.lift(x)
        for layer in self._stack():
            h = layer(h, lengths)
        return self.norm(h)

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        self._check_step(x, state)
        memories: list[_Memory | None] = [None] * len(self.layers) if state is None else list(state)
        features = [x.new_zeros(x.shape[0], 0, self.out_features)]
        for piece in x.split(self.window, dim=1) if x.shape[1] else ():
            h = self.lift(piece)
            for i, layer in enumerate(self._stack()):
                h, memories[i] = layer.step(h, memories[i])
            features.append(self.norm(h))
        return torch.cat(features, dim=1), tuple(memories) if x.shape[1] else state

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        reach = self.window * len(self.layers)
        yield from EncodedPieces(self, x, size, past=reach, future=0 if self.causal else reach)

    def _stack(self) -> list[_Layer]:
        return [layer for layer in self.layers if isinstance(layer, _Layer)]

    def _check_step(self, x: Tensor, state: State) -> None:
        """Raise for a signal of another shape, and for a state that is not of these recordings."""
        if x.dim() != 3 or x.shape[2] != self.in_features:
            expected = f"(B, N, {self.in_features}): recordings, frames and channels"
            raise InputError("x", f"shape {tuple(x.shape)}", expected)
        known = isinstance(state, tuple) and len(cast(Any, state)) == len(self.layers)
        if state is not None and not (known and all(len(memory[0]) == len(x) for memory in cast(Any, state))):
            expected = f"the keys and values of {len(self.layers)} layers for {len(x)} recordings"
            advice = "pass what step returned for these recordings; None to begin"
            raise InputError("state", type(state).__name__, expected, advice)
