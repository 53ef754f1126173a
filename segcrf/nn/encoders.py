"""Encoders: from a signal ``(B, T, F)`` to features ``(B, T, H)``.

Every encoder keeps three promises, which the tests hold it to:

* what stands behind a recording's length, and how much of it, changes nothing for the valid frames;
* ``encoder.chunks(x, size)`` gives, piece by piece and in bounded memory, what ``encoder(x)`` gives at once;
* a causal encoder's ``step`` carries its state, so that frames may come as they are measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Encoder", "GRUEncoder", "LSTMEncoder", "TCNEncoder", "make_encoder"]

State = Any
"""What a causal encoder remembers between two calls of ``step``: opaque to the caller."""


class SequenceDropout(nn.Module):
    """Dropout that drops a feature for a whole recording, or not at all.

    Neighbouring frames of a signal are nearly equal: what ordinary dropout hides at one frame is read off the next.

    Args:
        rate: probability that a feature is dropped, 0 to 1.

    Source:
        Gal and Ghahramani, *A theoretically grounded application of dropout in recurrent neural networks*, 2016.

    >>> x = SequenceDropout(0.5).train()(torch.ones(1, 100, 8))
    >>> bool((x == x[:, :1]).all())
    True
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drops features of ``x`` (B, T, H) while training; the identity otherwise."""
        if not self.training or self.rate == 0.0:
            return x
        keep = x.new_ones(x.shape[0], 1, x.shape[2])
        return x * functional.dropout(keep, self.rate)

    def extra_repr(self) -> str:
        return f"{self.rate}"


class Encoder(nn.Module, ABC):
    """The base of all encoders.

    Attributes:
        in_features: channels F of the signal.
        out_features: features H of a frame.
        causal: whether a frame's features depend on no later frame.
    """

    in_features: int
    out_features: int
    causal: bool

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encodes a batch of recordings.

        Args:
            x: signal, (B, T, F).
            lengths: valid frames of each recording, (B,) int64; all T when None.

        Returns:
            Features, (B, T, H). Those beyond a recording's length mean nothing.
        """

    @abstractmethod
    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Encodes the next frames of recordings that are still being measured.

        Args:
            x: the next frames, (B, N, F), N at least 1.
            state: what the previous call returned; None at the first frame.

        Returns:
            The features of these frames, (B, N, H), and the state for the next call.

        Raises:
            ValueError: the encoder is not causal.
        """

    @abstractmethod
    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """Encodes one long recording piece by piece.

        Args:
            x: signal of one recording, (1, T, F).
            size: frames in a piece.

        Yields:
            Features (1, n, H) of consecutive pieces, n up to ``size``; together they equal ``encoder(x)``.
        """

    def _require_causal(self) -> None:
        if not self.causal:
            raise ValueError(
                f"step needs an encoder that looks at no later frame, got {type(self).__name__} with a view of the "
                "future. Build it with bidirectional=False (recurrent) or causal=True (TCN)."
            )


def _reversed_within(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverses the valid frames of each recording and leaves the padding in place; its own inverse."""
    if lengths is None:
        return x.flip(1)
    frame = torch.arange(x.shape[1], device=x.device)
    last = lengths.to(x.device).unsqueeze(1) - 1
    index = torch.where(frame <= last, last - frame, frame)
    return x.gather(1, index.unsqueeze(2).expand_as(x))


class _RecurrentLayer(nn.Module):
    """One recurrent layer: a forward pass and, where asked, a backward pass of its own.

    The two directions are two unidirectional networks. Padding lies to the right, so the forward pass needs no packing;
    the backward pass reads each recording reversed within its length. A packed GRU is several times slower.
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
        """The backward pass over one piece, from the state it had when it came out of the later piece."""
        assert self.back is not None
        back, state = self.back(x.flip(1), state)
        return back.flip(1), state


class _RecurrentEncoder(Encoder):
    """What LSTM and GRU share: a stack of recurrent layers with dropout behind each."""

    cell: type[nn.LSTM] | type[nn.GRU]

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

    def _stack(self) -> list[_RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, _RecurrentLayer)]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        for layer in self._stack():
            x = self.dropout(layer(x, lengths))
        return x

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        stack = self._stack()
        before = [None] * len(stack) if state is None else state
        after: list[State] = []
        for layer, s in zip(stack, before, strict=True):
            x, s = layer.ahead(x, s)
            x = self.dropout(x)
            after.append(s)
        return x, after

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        pieces = torch.split(x, size, dim=1)
        if self.causal:
            state = None
            for piece in pieces:
                features, state = self.step(piece, state)
                yield features
            return
        # Exact, and without keeping features: sweep once for the states at the seams, then once for the features.
        seams: list[_Seams] = []
        for _ in self._stack():
            seams.append(self._sweep(pieces, seams))
        for i, piece in enumerate(pieces):
            yield self._piece(piece, i, seams)

    def _sweep(self, pieces: tuple[Tensor, ...], below: list[_Seams]) -> _Seams:
        """The states with which the next layer enters each piece, from the left and from the right."""
        layer = self._stack()[len(below)]
        ahead: list[State] = [None] * len(pieces)
        back: list[State] = [None] * len(pieces)
        for i in range(len(pieces) - 1):
            _, ahead[i + 1] = layer.ahead(self._piece(pieces[i], i, below), ahead[i])
        for i in range(len(pieces) - 1, 0, -1):
            _, back[i - 1] = layer.run_back(self._piece(pieces[i], i, below), back[i])
        return ahead, back

    def _piece(self, x: Tensor, i: int, seams: list[_Seams]) -> Tensor:
        """Piece i through as many layers as there are seams."""
        for layer, (ahead, back) in zip(self._stack(), seams, strict=False):
            x = self.dropout(torch.cat([layer.ahead(x, ahead[i])[0], layer.run_back(x, back[i])[0]], dim=2))
        return x


_Seams = tuple[list[State], list[State]]


class LSTMEncoder(_RecurrentEncoder):
    """Long short-term memory; on a CPU three to five times as fast as a GRU of the same size.

    Args:
        in_features: channels F of the signal.
        hidden: units of one direction.
        layers: recurrent layers on top of each other.
        bidirectional: whether a second pass reads the recording from its end. Then H = 2 * hidden, and the encoder is
            not causal.
        dropout: probability that a feature of a layer's output is dropped, for a whole recording.

    Source:
        Hochreiter and Schmidhuber, *Long short-term memory*, 1997.

    >>> encoder = LSTMEncoder(3, hidden=8, bidirectional=True)
    >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 20])).shape
    torch.Size([2, 50, 16])
    """

    cell = nn.LSTM


class GRUEncoder(_RecurrentEncoder):
    """Gated recurrent units; the arguments and shapes are those of :class:`LSTMEncoder`.

    Source:
        Cho et al., *Learning phrase representations using RNN encoder-decoder*, 2014.

    >>> encoder = GRUEncoder(3, hidden=8)
    >>> features, state = encoder.step(torch.zeros(1, 10, 3))
    >>> features, state = encoder.step(torch.zeros(1, 1, 3), state)
    >>> features.shape
    torch.Size([1, 1, 8])
    """

    cell = nn.GRU


class _DilatedBlock(nn.Module):
    """A dilated convolution, a rectifier, a mix of the channels, and the input added back."""

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
    """Temporal convolutions with dilations 1, 2, 4, ...: a known field of view and no recurrence.

    Args:
        in_features: channels F of the signal.
        hidden: channels of every layer; H = hidden.
        layers: dilated layers. The field of view is ``1 + (kernel_size - 1) * (2 ** layers - 1)`` frames.
        kernel_size: taps of a layer; odd unless causal.
        causal: whether a frame sees only itself and earlier frames, rather than as many on either side.
        dropout: probability that a channel of a layer is dropped, for a whole recording.

    Raises:
        ValueError: an even kernel_size without causal, which would shift the features by half a frame.

    Source:
        Farha and Gall, *MS-TCN: multi-stage temporal convolutional network for action segmentation*, 2019 (one stage).

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
            raise ValueError(
                f"kernel_size must be odd when a frame sees both sides, got {kernel_size}. "
                f"Use {kernel_size + 1}, or causal=True."
            )
        self.in_features, self.out_features, self.causal = in_features, hidden, causal
        self.receptive_field = 1 + (kernel_size - 1) * (2**layers - 1)
        self.lift = nn.Conv1d(in_features, hidden, 1)
        self.blocks = nn.ModuleList(_DilatedBlock(hidden, kernel_size, 2**i, causal, dropout) for i in range(layers))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        valid = None if lengths is None else _valid_frames(lengths, x).unsqueeze(1)
        h = self._keep(self.lift(x.transpose(1, 2)), valid)
        for block in self.blocks:
            h = self._keep(block(h), valid)
        return h.transpose(1, 2)

    @staticmethod
    def _keep(h: Tensor, valid: Tensor | None) -> Tensor:
        # Behind a recording's end every layer must see the zeros that an unpadded recording would be given there.
        return h if valid is None else h.masked_fill(~valid, 0.0)

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


def _valid_frames(lengths: Tensor, x: Tensor) -> Tensor:
    """(B, T) bool: whether a frame lies within its recording."""
    return torch.arange(x.shape[1], device=x.device) < lengths.to(x.device).unsqueeze(1)


ENCODERS: dict[str, type[Encoder]] = {"lstm": LSTMEncoder, "gru": GRUEncoder, "tcn": TCNEncoder}


def make_encoder(name: str, in_features: int, **options: Any) -> Encoder:
    """Builds an encoder by its name.

    Args:
        name: ``"lstm"``, ``"gru"`` or ``"tcn"``.
        in_features: channels F of the signal.
        **options: passed on to the encoder.

    Raises:
        ValueError: no encoder has this name.

    >>> make_encoder("gru", 3, hidden=8, bidirectional=True).out_features
    16
    """
    if name not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(map(repr, ENCODERS))}, got {name!r}.")
    return ENCODERS[name](in_features, **options)
