"""Inference: whole recordings through a model, in bounded memory and without seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segcrf.model import Decoding, JointModel
from segcrf.structure import Structure

__all__ = ["Inferred", "infer"]

CHUNK = 16_384
"""Frames that are encoded at once. Features of longer recordings never exist as a whole."""


class Inferred(NamedTuple):
    """What a model says of some of the recordings.

    Attributes:
        recordings: which they are, B indices.
        distribution: structure over their labels, on whole recordings: (B, T, C) padded to the longest.
        bands: the labelling to show, see :meth:`segcrf.model.JointModel.bands`.
        values: numbers (B, T, R), or None.
    """

    recordings: list[int]
    distribution: Structure
    bands: Decoding
    values: Tensor | None


def infer(model: JointModel, signals: Sequence[Tensor], *, chunk: int = CHUNK) -> Iterator[Inferred]:
    """Runs a model over recordings, short ones together and long ones in pieces.

    A long recording is encoded piece by piece (exactly: see ``Encoder.chunks``), and its class scores are then decoded
    in one go, so that no band is cut where two pieces meet.

    Args:
        model: in evaluation mode.
        signals: standardised signals (T, F) on the model's device.
        chunk: frames that are encoded at once.
    """
    with torch.no_grad():
        for group in _groups([len(signal) for signal in signals], chunk):
            if len(signals[group[0]]) > chunk:
                yield _long(model, signals[group[0]], group, chunk)
                continue
            lengths = torch.tensor([len(signals[i]) for i in group], device=signals[group[0]].device)
            x = torch.nn.utils.rnn.pad_sequence([signals[i] for i in group], batch_first=True)
            output = model(x, lengths)
            yield Inferred(group, output.distribution, model.bands(output.distribution), output.values)


def _groups(lengths: Sequence[int], chunk: int) -> Iterator[list[int]]:
    """Recordings of similar length, as many as have ``chunk`` frames when padded."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[i] > chunk:
            yield group
            group = []
        group.append(i)
    yield group


def _long(model: JointModel, signal: Tensor, group: list[int], chunk: int) -> Inferred:
    pieces = [model.heads(features) for features in model.encoder.chunks(signal.unsqueeze(0), chunk)]
    emissions = torch.cat([piece.emissions for piece in pieces], dim=1)
    values = [piece.values for piece in pieces if piece.values is not None]
    distribution = model.distribution(emissions)
    return Inferred(group, distribution, model.bands(distribution), torch.cat(values, dim=1) if values else None)
