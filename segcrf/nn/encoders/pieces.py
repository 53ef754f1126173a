"""Pieces of a long recording: what a bounded receptive field lets an encoder compute piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

from segcrf.nn.encoders.base import Encoder, State

__all__ = ["EncodedPieces", "stepped_chunks", "traced_more"]

Encode = Callable[[Tensor], Tensor]


class EncodedPieces(Sequence[Tensor]):
    """The features of a recording in pieces; each is computed when it is asked for, with the frames that it needs.

    Args:
        encode: turns a signal (1, n, F) into features (1, n, H); a feature sees ``past`` earlier and ``future`` later
            frames at most.
        x: signal of one recording, (1, T, F).
        size: frames in a piece.
        past, future: frames that change the features of one frame, before and after it.

    Example:
        >>> pieces = EncodedPieces(lambda x: x.cumsum(1), torch.ones(1, 5, 1), 2, past=1, future=0)
        >>> [piece.flatten().tolist() for piece in pieces]
        [[1.0, 2.0], [2.0, 3.0], [2.0]]
    """

    def __init__(self, encode: Encode, x: Tensor, size: int, *, past: int, future: int) -> None:
        self._encode, self._x, self._size, self._past, self._future = encode, x, size, past, future

    def __len__(self) -> int:
        return (self._x.shape[1] + self._size - 1) // self._size

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        frames, start = self._x.shape[1], index * self._size
        stop = min(start + self._size, frames)
        left, right = max(start - self._past, 0), min(stop + self._future, frames)
        return self._encode(self._x[:, left:right])[:, start - left : stop - left]


def stepped_chunks(encoder: Encoder, x: Tensor, size: int) -> Iterator[Tensor]:
    """Encode one long recording by the steps of a causal encoder, see :meth:`Encoder.chunks`."""
    state: State = None
    for piece in x.split(size, dim=1):
        features, state = encoder.step(piece, state)
        yield features


def traced_more() -> int:
    """Return how many blocks of frames to add where ``torch.export`` or ``torch.compile`` traces: 1, otherwise 0.

    PyTorch traces one block and several blocks apart, so a program for any number of frames needs two at least.
    """
    return int(torch.compiler.is_compiling())  # pyright: ignore[reportPrivateImportUsage]
