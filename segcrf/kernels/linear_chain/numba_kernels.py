"""Linear chain on a CPU: the four functions of its kernels, over forward-backward and Viterbi.

Both process time in chunks that stay in cache. A long recording keeps one vector per chunk and computes the chunk again
on the way back, so memory beyond input and output does not grow with T, except for one vector per chunk.

Eight recordings at a time share the SIMD lanes (`numba_forward_backward_lanes`, `numba_viterbi_lanes`). Few recordings
are processed one by one, with classes in the lanes (`numba_forward_backward_rows`, `numba_viterbi_rows`).
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from segcrf.kernels.likelihood import subtract_observed
from segcrf.kernels.linear_chain.numba_forward_backward import sum_recordings
from segcrf.kernels.linear_chain.numba_schedule import flatten
from segcrf.kernels.linear_chain.numba_viterbi import best_recordings
from segcrf.kernels.numba_runtime import explicit, label_range, share

__all__ = ["log_partition", "log_prob", "max_product", "sum_product"]

_OBSERVED = 10.0  # the time of scoring and counting one label, in multiply-adds


def log_partition(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return the log partition (B,), float64, in O(C) memory per recording."""
    shared = _plain(transitions, start, end)
    return sum_recordings(emissions, shared, lengths, gradient=False, starts=False)[0]


def sum_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor, starts: bool
) -> tuple[Tensor, ...]:
    """Return the log partition and, per recording, the expected counts of each potential and, on request, of starts."""
    return sum_recordings(emissions, _plain(transitions, start, end), lengths, gradient=True, starts=starts)


def log_prob(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, labels: Tensor, lengths: Tensor, gradient: bool
) -> tuple[Tensor, ...]:
    """Return the log-probability of labels, the log partition and, on request, expected less observed counts."""
    shared = _plain(transitions, start, end)
    log_z, *counts, _ = sum_recordings(emissions, shared, lengths, gradient=gradient, starts=False)
    outputs = (flatten(counts[0])[0], *(count.numpy() for count in counts[1:]))
    inputs = (*flatten(emissions), *shared, labels.numpy(), lengths.numpy(), log_z.numpy())

    def observe(total: Any) -> tuple[bool, bool]:
        found: list[tuple[bool, bool]] = []
        work = _OBSERVED * labels.numel()
        share(lambda first, last: found.append(_observe(*inputs, total, outputs, first, last)), len(labels), work)
        return any(partial for partial, _ in found), any(outside for _, outside in found)

    def restricted_sum(clamped: Tensor, rows: Tensor) -> Sequence[Tensor]:
        return sum_recordings(clamped, shared, lengths[rows], gradient=gradient, starts=False)[:-1]

    return subtract_observed(emissions, labels, lengths, log_z, counts, observe, restricted_sum), log_z, *counts


def max_product(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T)."""
    return best_recordings(emissions, _plain(transitions, start, end), lengths)


def _plain(*shared: Tensor) -> tuple[Any, ...]:
    """Return contiguous float64 arrays."""
    return tuple(scores.detach().double().contiguous().numpy() for scores in shared)


@explicit
def _observe(emissions, steps, transitions, start, end, labels, lengths, log_z, total, counts, first, last):
    """Write the log-probability of complete labels, and subtract their counts from the expected ones.

    If a label is missing, write NaN and subtract no count. Return whether a label is missing in any recording, and
    whether any label lies beyond the classes.
    """
    by_label, by_step, by_first, by_last = counts
    gradient, any_partial, any_outside = by_label.size > 0, False, False
    for b in range(first, last):
        lowest, highest = label_range(labels, b, lengths[b])
        if highest >= start.size:
            any_outside = True
            continue
        if lowest < 0:
            total[b], any_partial = np.nan, True
            continue
        if log_z[b] == -np.inf:
            total[b] = -np.inf
            continue
        before = labels[b, 0]
        at = b * steps[0]
        score = start[before] + emissions[at + before]
        for t in range(1, lengths[b]):
            label = labels[b, t]
            score += emissions[at + t * steps[1] + label] + transitions[before, label]
            before = label
        total[b] = score + end[before] - log_z[b]
        if gradient:
            before = labels[b, 0]
            by_first[b, before] -= 1.0
            by_label[at + before] -= 1.0
            for t in range(1, lengths[b]):
                label = labels[b, t]
                by_label[at + t * steps[1] + label] -= 1.0
                by_step[b, before, label] -= 1.0
                before = label
            by_last[b, before] -= 1.0
    return any_partial, any_outside
