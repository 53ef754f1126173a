"""The joint model: one encoder, class scores into a structure, and numbers beside them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from segcrf.encoders import Encoder
from segcrf.structure import Structure

__all__ = ["JointModel", "ModelOutput", "StructuredLayer"]


class StructuredLayer(Protocol):
    """What the model needs of a structured layer: a module such as :class:`segcrf.crf.LinearChainCRF`."""

    num_classes: int

    def __call__(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """The distribution over the labels, given class scores (B, T, C)."""
        ...


class ModelOutput(NamedTuple):
    """What a model makes of B recordings of T frames.

    Attributes:
        distribution: structure over their labels; its ``emissions`` are the class scores (B, T, C).
        values: predicted numbers (B, T, R), or None for a model without targets.
        features: what the encoder gave, (B, T, H).
    """

    distribution: Structure
    values: Tensor | None
    features: Tensor


class JointModel(nn.Module):
    """A shared encoder with two linear heads: class scores for the structured layer, and numbers.

    Args:
        encoder: from a signal (B, T, F) to features (B, T, H).
        crf: a module that makes a structure of class scores; it knows the number of classes C.
        num_targets: numbers R to predict at each frame; 0 for none.

    >>> from segcrf.crf import LinearChainCRF
    >>> from segcrf.encoders import LSTMEncoder
    >>> model = JointModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=2)
    >>> output = model(torch.zeros(4, 50, 3), torch.tensor([50, 50, 30, 10]))
    >>> output.distribution.mode.shape, output.values.shape
    (torch.Size([4, 50]), torch.Size([4, 50, 2]))
    """

    def __init__(self, encoder: Encoder, crf: StructuredLayer, num_targets: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.crf = cast(nn.Module, crf)
        self.class_head = nn.Linear(encoder.out_features, crf.num_classes)
        self.value_head = nn.Linear(encoder.out_features, num_targets) if num_targets else None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> ModelOutput:
        """Encodes a batch and describes its labels and numbers.

        Args:
            x: signal (B, T, F).
            lengths: valid frames of each recording, (B,) int64; all T when None.
        """
        features = self.encoder(x, lengths)
        emissions, values = self.heads(features)
        return ModelOutput(self.distribution(emissions, lengths), values, features)

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Class scores (B, T, C) and numbers (B, T, R) of features (B, T, H)."""
        return self.class_head(features), None if self.value_head is None else self.value_head(features)

    def distribution(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """The structure over labels with these class scores (B, T, C), in float32 at least, whatever autocast says."""
        with torch.autocast(emissions.device.type, enabled=False):
            return self.crf(emissions.to(torch.promote_types(emissions.dtype, torch.float32)), lengths)
