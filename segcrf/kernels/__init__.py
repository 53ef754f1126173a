"""Kernels: how the scans of structures are made fast, on CPUs and GPUs."""

from segcrf.kernels.backends import BACKENDS, cache_folder, pick
from segcrf.kernels.guard import check_labels_in_range, check_lengths_in_range, check_potentials
from segcrf.kernels.layout import agreeing, clamp, empty_beside, frame_mask, time_first, working_dtype
from segcrf.kernels.online import (
    ALLOWED,
    DECIDED,
    FRAMES,
    MASKED,
    NO_SCORE,
    UNDECIDED_AT_ONCE,
    Sizes,
    online_kernels,
)
from segcrf.kernels.operator import Operator

__all__ = [
    "ALLOWED",
    "BACKENDS",
    "DECIDED",
    "FRAMES",
    "MASKED",
    "NO_SCORE",
    "UNDECIDED_AT_ONCE",
    "Operator",
    "Sizes",
    "agreeing",
    "cache_folder",
    "check_labels_in_range",
    "check_lengths_in_range",
    "check_potentials",
    "clamp",
    "empty_beside",
    "frame_mask",
    "online_kernels",
    "pick",
    "time_first",
    "working_dtype",
]
