"""Inference: whole recordings through a model, in bounded memory and without seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from segcrf.nn import Decoded, Heads, JointModel, SwitchingModel, can_step, to_tensor
from segcrf.structures import Structure, SwitchingRegression

__all__ = ["Inferred", "infer"]

Array = npt.NDArray[Any]

CHUNK = 16_384
"""Frames that are encoded at once. Features of longer recordings never exist as a whole."""


class Inferred(NamedTuple):
    """The answer of a model for some of the recordings.

    Attributes:
        recordings: their indices, B of them.
        dist: structure over their labels, on whole recordings: (B, T, C) padded to the longest.
        bands: the labelling to show, see :meth:`segcrf.nn.JointModel.decode`.
        predictions: predicted targets (B, T, R), or None.
        switching: of a switching model, classes and targets in one distribution, in place of ``predictions``.
    """

    recordings: list[int]
    dist: Structure
    bands: Decoded
    predictions: Tensor | None
    switching: SwitchingRegression | None = None


def infer(
    model: JointModel | SwitchingModel, signals: Sequence[Tensor | Array], *, chunk: int = CHUNK
) -> Iterator[Inferred]:
    """Run a model over recordings, short ones together and long ones in pieces.

    A long recording is encoded piece by piece (exactly: see ``Encoder.chunks``). Its class scores are then decoded as a
    whole, so that no band is cut where two pieces meet.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        chunk: frames that are encoded at once.
    """
    device = model.class_head.weight.device
    with torch.no_grad():
        for group in _groups([len(signal) for signal in signals], chunk):
            lengths = torch.tensor([len(signals[i]) for i in group], device=device)
            raw = [to_tensor(signals[i]).to(device) for i in group]
            pieces = _pieces(model, raw, lengths, chunk)
            dist = model.dist(torch.cat([piece.emissions for piece in pieces], dim=1), lengths)
            predicted = [piece.predictions for piece in pieces if piece.predictions is not None]
            predictions = torch.cat(predicted, dim=1) if predicted else None
            bands = model.decode(dist)
            if isinstance(model, SwitchingModel):
                yield Inferred(group, dist, bands, None, model.switching(dist, predictions))
            else:
                yield Inferred(group, dist, bands, predictions)


def _pieces(model: JointModel | SwitchingModel, signals: list[Tensor], lengths: Tensor, chunk: int) -> list[Heads]:
    """Return what the heads make of recordings, padded to the longest, in pieces of at most ``chunk`` frames.

    A model that can run live takes its steps here too, so that a stream gives the same labels to the last bit.
    """
    if can_step(model):
        x, state = torch.nn.utils.rnn.pad_sequence([each.double() for each in signals], batch_first=True), None
        pieces: list[Heads] = []
        for piece in x.split(chunk, dim=1):
            heads, state = model.step(piece, state)
            pieces.append(heads)
        return pieces
    # Each recording by itself, so that its digits do not depend on its batch.
    prepared = [model.prepare(signal[None])[0] for signal in signals]
    x = torch.nn.utils.rnn.pad_sequence(prepared, batch_first=True)
    long = x.shape[1] > chunk  # and then it is alone
    features = model.encoder.chunks(x, chunk) if long else [model.encoder(x, lengths)]
    return [model.heads(piece) for piece in features]


def _groups(lengths: Sequence[int], chunk: int) -> Iterator[list[int]]:
    """Yield groups of recordings of similar length, with at most ``chunk`` frames when padded."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[i] > chunk:
            yield group
            group = []
        group.append(i)
    yield group
