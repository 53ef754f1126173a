"""Structures: what a distribution over label sequences is, and every query of it."""

from segcrf.kernels import frame_mask
from segcrf.structures.alignment import Alignment, allowed_classes, boundary_tolerance, evidence, timestamps, transcript
from segcrf.structures.base import Structure
from segcrf.structures.checks import (
    check_emissions_shape,
    check_feasible,
    check_integer_labels,
    check_labels,
    check_lengths,
    check_scores_shape,
    check_weights,
)
from segcrf.structures.constraints import minimum_duration, most_accurate
from segcrf.structures.distribution import Best, LabelDistribution, Marginals
from segcrf.structures.linear_chain import LinearChain, LinearChainPotentials
from segcrf.structures.masked_frames import GAPS, Gapped
from segcrf.structures.online import Decided, OnlineDecoder, RunningBands
from segcrf.structures.reductions import sum_between, without_padding
from segcrf.structures.semi_markov import SemiMarkov, SemiMarkovPotentials, survival
from segcrf.structures.semirings import KBest, Log, Max, Sample, Semiring, logsumexp
from segcrf.structures.switching import POSTERIORS, Prediction, SwitchingRegression

__all__ = [
    "GAPS",
    "POSTERIORS",
    "Alignment",
    "Best",
    "Decided",
    "Gapped",
    "KBest",
    "LabelDistribution",
    "LinearChain",
    "LinearChainPotentials",
    "Log",
    "Marginals",
    "Max",
    "OnlineDecoder",
    "Prediction",
    "RunningBands",
    "Sample",
    "SemiMarkov",
    "SemiMarkovPotentials",
    "Semiring",
    "Structure",
    "SwitchingRegression",
    "allowed_classes",
    "boundary_tolerance",
    "check_emissions_shape",
    "check_feasible",
    "check_integer_labels",
    "check_labels",
    "check_lengths",
    "check_scores_shape",
    "check_weights",
    "evidence",
    "frame_mask",
    "logsumexp",
    "minimum_duration",
    "most_accurate",
    "sum_between",
    "survival",
    "timestamps",
    "transcript",
    "without_padding",
]
