"""Likelihood: the log-probability of labels, from an unrestricted sum and one that is restricted to partial labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from segcrf.kernels.guard import check_labels
from segcrf.kernels.layout import clamp

__all__ = ["subtract_observed"]


def subtract_observed(
    emissions: Tensor,
    labels: Tensor,
    lengths: Tensor,
    log_z: Tensor,
    counts: Sequence[Tensor],
    observe: Callable[[Any], tuple[bool, bool]],
    restricted_sum: Callable[[Tensor, Tensor], Sequence[Tensor]],
) -> Tensor:
    """Return the log-probability (B,) of labels, and turn expected counts into expected less observed ones, in place.

    Args:
        emissions: class scores (B, T, C).
        labels: classes (B, T); -100 inside a recording is summed over.
        lengths: valid frames (B,).
        log_z: log partition (B,), float64.
        counts: expected counts (B, ...), each empty (0, ...) if it is not needed.
        observe: ``observe(log_prob)`` scores recordings with complete labels. It writes their log-probability (-inf
            where ``log_z`` is), subtracts their labels from the counts, and writes NaN where a label is missing. It
            returns whether a label is missing in any recording, and whether any label lies beyond the classes.
        restricted_sum: ``restricted_sum(emissions, rows)`` returns the log partition and the expected counts of the
            recordings ``rows`` (N,), given their emissions with -inf wherever the labels disagree.

    Raises:
        InputError: a label beyond the classes.
    """
    log_prob = torch.empty_like(log_z)
    any_partial, any_outside = observe(log_prob.numpy())
    if any_outside:
        check_labels(labels, emissions.shape[2], lengths)
    if any_partial:
        rows = log_prob.isnan().nonzero()[:, 0]
        score, *observed = restricted_sum(clamp(emissions[rows], labels[rows], lengths[rows]), rows)
        log_prob[rows] = torch.where(log_z[rows] == -torch.inf, -torch.inf, score - log_z[rows])
        for count, seen in zip(counts, observed, strict=True):
            if len(count):
                count[rows] -= seen
    return log_prob
