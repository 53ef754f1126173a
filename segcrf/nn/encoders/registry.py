"""The encoders by name."""

from __future__ import annotations

from typing import Any

from segcrf._validation import check_choice
from segcrf.nn.encoders.attention import AttentionEncoder
from segcrf.nn.encoders.base import Encoder
from segcrf.nn.encoders.chained import ConvGRUEncoder, ConvLSTMEncoder, MSTCNEncoder
from segcrf.nn.encoders.convolutional import TCNEncoder
from segcrf.nn.encoders.recurrent import GRUEncoder, LSTMEncoder
from segcrf.nn.encoders.unet import UNetEncoder

__all__ = ["ENCODERS", "make_encoder"]

#: Encoders by name; each takes the channels F of the signal and options of its own.
ENCODERS: dict[str, type[Encoder]] = {
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "tcn": TCNEncoder,
    "unet": UNetEncoder,
    "ms-tcn": MSTCNEncoder,
    "attention": AttentionEncoder,
    "conv-lstm": ConvLSTMEncoder,
    "conv-gru": ConvGRUEncoder,
}


def make_encoder(name: str, in_features: int, **options: Any) -> Encoder:
    """Build an encoder by its name.

    Args:
        name: one of :data:`ENCODERS`.
        in_features: channels F of the signal.
        **options: passed on to the encoder.

    Raises:
        InputError: no encoder has this name.

    Example:
        >>> make_encoder("gru", 3, hidden=8, bidirectional=True).out_features
        16
    """
    check_choice(name, "encoder", tuple(ENCODERS))
    return ENCODERS[name](in_features, **options)
