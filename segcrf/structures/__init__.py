"""Structures: what a distribution over label sequences is, and every query of it."""

from segcrf.kernels import frame_mask
from segcrf.structures.alignment import Alignment, allowed_classes, boundary_tolerance, evidence, timestamps, transcript
from segcrf.structures.base import Best, Marginals, Structure, sum_between, without_padding
from segcrf.structures.checks import (
    check_emissions_shape,
    check_feasible,
    check_integer_labels,
    check_labels,
    check_labels_in_range,
    check_lengths,
    check_scores_shape,
    check_weights,
)
from segcrf.structures.linear_chain import LinearChain
from segcrf.structures.masked import GAPS, Gapped
from segcrf.structures.semi_markov import SemiMarkov, survival
from segcrf.structures.semirings import KBest, Log, Max, Sample, Semiring, logsumexp
from segcrf.structures.switching import POSTERIORS, Prediction, SwitchingRegression

__all__ = [
    "GAPS",
    "POSTERIORS",
    "Alignment",
    "Best",
    "Gapped",
    "KBest",
    "LinearChain",
    "Log",
    "Marginals",
    "Max",
    "Prediction",
    "Sample",
    "SemiMarkov",
    "Semiring",
    "Structure",
    "SwitchingRegression",
    "allowed_classes",
    "boundary_tolerance",
    "check_emissions_shape",
    "check_feasible",
    "check_integer_labels",
    "check_labels",
    "check_labels_in_range",
    "check_lengths",
    "check_scores_shape",
    "check_weights",
    "evidence",
    "frame_mask",
    "logsumexp",
    "sum_between",
    "survival",
    "timestamps",
    "transcript",
    "without_padding",
]
