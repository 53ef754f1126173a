"""What people use instead of a structured layer: penalties for training, filters for decoding."""

from segcrf.baselines.filters import hmm_filter, hysteresis, median_filter, mode_filter, purge, viterbi_counted
from segcrf.baselines.penalties import expected_switches, neighbour_kl, total_variation, truncated_mse

__all__ = [
    "expected_switches",
    "hmm_filter",
    "hysteresis",
    "median_filter",
    "mode_filter",
    "neighbour_kl",
    "purge",
    "total_variation",
    "truncated_mse",
    "viterbi_counted",
]
