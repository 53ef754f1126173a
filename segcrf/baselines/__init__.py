"""Baselines: penalties and filters that people use instead of a structured layer."""

from segcrf.baselines.filters import (
    expected_switches,
    hmm_filter,
    hysteresis,
    median_filter,
    mode_filter,
    neighbour_kl,
    purge,
    total_variation,
    truncated_mse,
    viterbi_counted,
)

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
