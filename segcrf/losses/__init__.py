"""Losses: structured losses of label sequences, joint objectives, and the weighting of several losses."""

from segcrf.losses.joint import FORMS, JointObjective, JointOutput, Losses, SwitchingObjective, SwitchingOutput
from segcrf.losses.regression import REGRESSIONS, Deviation
from segcrf.losses.structured import (
    expected_risk,
    smoothed_loss,
    soft_cross_entropy,
    softmax_margin,
    structured_hinge,
    weighted_marginal_loss,
)
from segcrf.losses.weighting import Combiner, FadingWeights, FixedWeights, RunningMeanWeights, UncertaintyWeights

__all__ = [
    "FORMS",
    "REGRESSIONS",
    "Combiner",
    "Deviation",
    "FadingWeights",
    "FixedWeights",
    "JointObjective",
    "JointOutput",
    "Losses",
    "RunningMeanWeights",
    "SwitchingObjective",
    "SwitchingOutput",
    "UncertaintyWeights",
    "expected_risk",
    "smoothed_loss",
    "soft_cross_entropy",
    "softmax_margin",
    "structured_hinge",
    "weighted_marginal_loss",
]
