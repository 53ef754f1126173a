"""Modules with parameters: CRF layers, their transitions, durations, preparation, encoders, models, decoding."""

from segcrf.nn.crf import LinearChainCRF, SemiMarkovCRF
from segcrf.nn.decoding import Decoded, DecodingRule
from segcrf.nn.durations import (
    DURATION_FAMILIES,
    Durations,
    GeometricDurations,
    LearnedDurations,
    NegativeBinomialDurations,
    PoissonDurations,
    UniformDurations,
)
from segcrf.nn.encoders import ENCODERS, Encoder, GRUEncoder, LSTMEncoder, SequenceDropout, TCNEncoder, make_encoder
from segcrf.nn.model import (
    MIN_LOG_SIGMA,
    Heads,
    JointModel,
    ModelOutput,
    StructuredLayer,
    SwitchingModel,
    SwitchingModelOutput,
)
from segcrf.nn.preparation import Preparation, Standardizer, to_tensor
from segcrf.nn.torchcrf import CRF
from segcrf.nn.transitions import (
    TRANSITION_FAMILIES,
    ConstrainedTransitions,
    FullTransitions,
    InputDependentTransitions,
    IrregularTransitions,
    LowRankTransitions,
    PottsTransitions,
    Transitions,
    cycle,
    left_to_right,
    log_frequencies,
)

__all__ = [
    "CRF",
    "DURATION_FAMILIES",
    "ENCODERS",
    "MIN_LOG_SIGMA",
    "TRANSITION_FAMILIES",
    "ConstrainedTransitions",
    "Decoded",
    "DecodingRule",
    "Durations",
    "Encoder",
    "FullTransitions",
    "GRUEncoder",
    "GeometricDurations",
    "Heads",
    "InputDependentTransitions",
    "IrregularTransitions",
    "JointModel",
    "LSTMEncoder",
    "LearnedDurations",
    "LinearChainCRF",
    "LowRankTransitions",
    "ModelOutput",
    "NegativeBinomialDurations",
    "PoissonDurations",
    "PottsTransitions",
    "Preparation",
    "SemiMarkovCRF",
    "SequenceDropout",
    "Standardizer",
    "StructuredLayer",
    "SwitchingModel",
    "SwitchingModelOutput",
    "TCNEncoder",
    "Transitions",
    "UniformDurations",
    "cycle",
    "left_to_right",
    "log_frequencies",
    "make_encoder",
    "to_tensor",
]
