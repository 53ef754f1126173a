"""Encoders: from a signal ``(B, T, F)`` to features ``(B, T, H)``.

Every encoder keeps three promises, which the tests check:

* the frames beyond a recording's length, and their number, change nothing for the valid frames;
* ``encoder.chunks(x, size)`` yields, piece by piece and in bounded memory, what ``encoder(x)`` returns at once;
* ``step`` of a causal encoder carries its state, so that frames may come as they are measured; by ``step_by_frame``
  it gives a frame the same features, to the last bit, however the frames are cut into calls.
"""

from segcrf.nn.encoders.base import Encoder, State
from segcrf.nn.encoders.by_frame import linear_by_frame, linear_of_arrays, step_by_frame
from segcrf.nn.encoders.convolutional import TCNEncoder
from segcrf.nn.encoders.custom import CustomEncoder, adopt_encoder, import_path_of
from segcrf.nn.encoders.recurrent import GRUEncoder, LSTMEncoder, SequenceDropout
from segcrf.nn.encoders.registry import ENCODERS, make_encoder

__all__ = [
    "ENCODERS",
    "CustomEncoder",
    "Encoder",
    "GRUEncoder",
    "LSTMEncoder",
    "SequenceDropout",
    "State",
    "TCNEncoder",
    "adopt_encoder",
    "import_path_of",
    "linear_by_frame",
    "linear_of_arrays",
    "make_encoder",
    "step_by_frame",
]
