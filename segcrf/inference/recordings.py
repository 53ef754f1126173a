"""Inference: whole recordings through a model, in bounded memory and without seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segcrf.nn import Decoded, JointModel, SwitchingModel
from segcrf.structures import Structure, SwitchingRegression

__all__ = ["Inferred", "infer"]

CHUNK = 16_384
"""Frames that are encoded at once. Features of longer recordings never exist as a whole."""


class Inferred(NamedTuple):
    """What a model says of some of the recordings.

    Attributes:
        recordings: which they are, B indices.
        dist: structure over their labels, on whole recordings: (B, T, C) padded to the longest.
        bands: the labelling to show, see :meth:`segcrf.nn.JointModel.decode`.
        predictions: predicted targets (B, T, R), or None.
        switching: of a switching model, classes and numbers in one distribution, in place of ``predictions``.
    """

    recordings: list[int]
    dist: Structure
    bands: Decoded
    predictions: Tensor | None
    switching: SwitchingRegression | None = None


def infer(model: JointModel | SwitchingModel, signals: Sequence[Tensor], *, chunk: int = CHUNK) -> Iterator[Inferred]:
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
            lengths = torch.tensor([len(signals[i]) for i in group], device=signals[group[0]].device)
            x = torch.nn.utils.rnn.pad_sequence([signals[i] for i in group], batch_first=True)
            long = x.shape[1] > chunk  # and then it is alone
            features = model.encoder.chunks(x, chunk) if long else [model.encoder(x, lengths)]
            pieces = [model.heads(piece) for piece in features]
            distribution = model.dist(torch.cat([piece.emissions for piece in pieces], dim=1), lengths)
            numbers = [piece.predictions for piece in pieces if piece.predictions is not None]
            values = torch.cat(numbers, dim=1) if numbers else None
            bands = model.decode(distribution)
            if isinstance(model, SwitchingModel):
                yield Inferred(group, distribution, bands, None, model.switching(distribution, values))
            else:
                yield Inferred(group, distribution, bands, values)


def _groups(lengths: Sequence[int], chunk: int) -> Iterator[list[int]]:
    """Recordings of similar length, as many as have ``chunk`` frames when padded."""
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if group and (len(group) + 1) * lengths[i] > chunk:
            yield group
            group = []
        group.append(i)
    yield group
