"""Recurrent encoders: LSTM and GRU, in one direction or both."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf.nn.encoders.base import State
from segcrf.nn.encoders.stepping import Array, SteppingEncoder, add_plain_parameters, submodules

__all__ = ["GRUEncoder", "LSTMEncoder", "SequenceDropout"]


class SequenceDropout(nn.Module):
    """Drop a feature for a whole recording, or not at all.

    Neighbouring frames of a signal are nearly equal, so the next frame shows what ordinary dropout hides at one frame.

    Args:
        p: probability that a feature is dropped, 0 to 1.

    Source:
        Gal and Ghahramani, *A theoretically grounded application of dropout in recurrent neural networks*, 2016.

    Example:
        >>> x = SequenceDropout(0.5).train()(torch.ones(1, 100, 8))
        >>> bool((x == x[:, :1]).all())
        True
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, T, H) with features dropped in training mode, ``x`` itself otherwise."""
        if not self.training or self.p == 0.0:
            return x
        keep = x.new_ones(x.shape[0], 1, x.shape[2])
        return x * functional.dropout(keep, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _RecurrentLayer(nn.Module):
    """One recurrent layer of one direction or two.

    The two directions are two unidirectional networks. Padding lies to the right, so the network ahead needs no
    packing; the network back reads each recording reversed within its length. A packed GRU is several times slower.
    """

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], in_features: int, hidden: int, bidirectional: bool) -> None:
        super().__init__()
        self.ahead = cell(in_features, hidden, batch_first=True)
        self.back = cell(in_features, hidden, batch_first=True) if bidirectional else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        ahead, _ = self.ahead(x)
        if self.back is None:
            return ahead
        back, _ = self.back(_reversed_within(x, lengths))
        return torch.cat([ahead, _reversed_within(back, lengths)], dim=2)

    def run_back(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the network back over one piece, from its state after the later piece."""
        assert self.back is not None
        back, state = self.back(x.flip(1), state)
        return back.flip(1), state


_WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
_Seams = tuple[list[State], list[State]]


class _RecurrentEncoder(SteppingEncoder):
    """What LSTM and GRU share: a stack of recurrent layers with dropout after each."""

    cell: type[nn.LSTM] | type[nn.GRU]
    _memories: int  # vectors that a layer carries from frame to frame: the hidden values, and the cells of an LSTM

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = hidden * (2 if bidirectional else 1)
        self.in_features, self.out_features, self.causal = in_features, width, not bidirectional
        self.layers = nn.ModuleList(
            _RecurrentLayer(self.cell, in_features if i == 0 else width, hidden, bidirectional) for i in range(layers)
        )
        self.dropout = SequenceDropout(dropout)
        self.state_shape = (layers, self._memories, hidden)

    def _stack(self) -> list[_RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, _RecurrentLayer)]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        for layer in self._stack():
            x = self.dropout(layer(x, lengths))
        return x

    def _parameters_in_order(self) -> list[Tensor] | None:
        parameters: list[Tensor] = []
        for layer in submodules(submodules(self)["layers"]).values():
            if not add_plain_parameters(submodules(layer)["ahead"], self.cell, _WEIGHTS, parameters):
                return None
        return parameters

    def _step_in_torch(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        after: list[Tensor] = []
        for i, layer in enumerate(self._stack()):
            memories = [memory[None].contiguous() for memory in state[:, i].unbind(1)]
            x, left = layer.ahead(x, tuple(memories) if len(memories) > 1 else memories[0])
            x = self.dropout(x)
            after.append(torch.cat(list(left) if isinstance(left, tuple) else [left]).transpose(0, 1))
        return x, torch.stack(after, dim=1)

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        pieces = torch.split(x, size, dim=1)
        if self.causal:
            state = None
            for piece in pieces:
                features, state = self.step(piece, state)
                yield features
            return
        # Exact without storing features: one sweep finds the states at the seams, a second one yields the features.
        seams: list[_Seams] = []
        for _ in self._stack():
            seams.append(self._sweep(pieces, seams))
        for i, piece in enumerate(pieces):
            yield self._piece(piece, i, seams)

    def _sweep(self, pieces: tuple[Tensor, ...], below: list[_Seams]) -> _Seams:
        """Return the states with which the next layer enters each piece, from the left and from the right."""
        layer = self._stack()[len(below)]
        ahead: list[State] = [None] * len(pieces)
        back: list[State] = [None] * len(pieces)
        for i in range(len(pieces) - 1):
            _, ahead[i + 1] = layer.ahead(self._piece(pieces[i], i, below), ahead[i])
        for i in range(len(pieces) - 1, 0, -1):
            _, back[i - 1] = layer.run_back(self._piece(pieces[i], i, below), back[i])
        return ahead, back

    def _piece(self, x: Tensor, i: int, seams: list[_Seams]) -> Tensor:
        """Return piece i after as many layers as have ``seams``."""
        for layer, (ahead, back) in zip(self._stack(), seams, strict=False):
            x = self.dropout(torch.cat([layer.ahead(x, ahead[i])[0], layer.run_back(x, back[i])[0]], dim=2))
        return x


class LSTMEncoder(_RecurrentEncoder):
    """A long short-term memory network; on a CPU three to five times as fast as a GRU of the same size.

    Args:
        in_features: channels F of the signal.
        hidden: units of one direction.
        layers: number of recurrent layers.
        bidirectional: whether a second network reads the recording from its end. Then H = 2 * hidden, and the encoder
            is not causal.
        dropout: probability that a feature of a layer's output is dropped, for a whole recording.

    Source:
        Hochreiter and Schmidhuber, *Long short-term memory*, 1997.

    Example:
        >>> encoder = LSTMEncoder(3, hidden=8, bidirectional=True)
        >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 20])).shape
        torch.Size([2, 50, 16])
    """

    cell = nn.LSTM
    _memories = 2

    def _pack(self, parameters: list[Tensor]) -> Tensor:
        parts: list[Tensor] = []
        for i in range(0, len(parameters), 4):
            given, kept, bias, other_bias = parameters[i : i + 4]
            parts += [bias + other_bias, given.t().flatten(), kept.t().flatten()]
        return torch.cat(parts)

    def _step_exactly(self, x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
        from segcrf.kernels.by_frame import numba_kernels

        return numba_kernels.lstm(x, weights, state)


class GRUEncoder(_RecurrentEncoder):
    """A network of gated recurrent units, with the arguments and shapes of :class:`LSTMEncoder`.

    Source:
        Cho et al., *Learning phrase representations using RNN encoder-decoder*, 2014.

    Example:
        >>> encoder = GRUEncoder(3, hidden=8)
        >>> features, state = encoder.step(torch.zeros(1, 10, 3))
        >>> features, state = encoder.step(torch.zeros(1, 1, 3), state)
        >>> features.shape
        torch.Size([1, 1, 8])
    """

    cell = nn.GRU
    _memories = 1

    def _pack(self, parameters: list[Tensor]) -> Tensor:
        parts: list[Tensor] = []
        for i in range(0, len(parameters), 4):
            given, kept, bias, other_bias = parameters[i : i + 4]
            parts += [bias, given.t().flatten(), other_bias, kept.t().flatten()]
        return torch.cat(parts)

    def _step_exactly(self, x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
        from segcrf.kernels.by_frame import numba_kernels

        return numba_kernels.gru(x, weights, state)


def _reversed_within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the valid frames of each recording and leave the padding in place; this is its own inverse."""
    if lengths is None:
        return x.flip(1)
    frame = torch.arange(x.shape[1], device=x.device)
    last = lengths.to(x.device).unsqueeze(1) - 1
    index = torch.where(frame <= last, last - frame, frame)
    return x.gather(1, index.unsqueeze(2).expand_as(x))
