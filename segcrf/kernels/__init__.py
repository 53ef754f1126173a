"""Kernels: how the scans of structures are made fast, on CPUs and GPUs."""

from segcrf.kernels.backends import BACKENDS, pick
from segcrf.kernels.guard import check_labels_in_range, check_lengths_in_range, check_potentials
from segcrf.kernels.layout import agreeing, clamp, empty_beside, frame_mask, time_first, working_dtype
from segcrf.kernels.operator import Operator

__all__ = [
    "BACKENDS",
    "Operator",
    "agreeing",
    "check_labels_in_range",
    "check_lengths_in_range",
    "check_potentials",
    "clamp",
    "empty_beside",
    "frame_mask",
    "pick",
    "time_first",
    "working_dtype",
]
