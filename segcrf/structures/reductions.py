"""Reductions over the frames of padded batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segcrf.kernels import frame_mask

__all__ = ["sum_between", "without_padding"]


def without_padding(potentials: Sequence[Tensor], lengths: Tensor) -> list[Tensor]:
    """Return potentials (B, T, C), or (B, T - 1, C, C) of steps, with zeros where a recording has no frame.

    Padding may hold anything, and in a sum zero times infinity or NaN would be NaN.
    """
    cleared: list[Tensor] = []
    for i, values in enumerate(potentials):
        inside = frame_mask(lengths - int(i > 0), values.shape[1])  # step t leads to frame t + 1
        cleared.append(torch.where(inside.view(*inside.shape, *[1] * (values.dim() - 2)), values, 0.0))
    return cleared


def sum_between(values: Tensor, recording: Tensor, start: Tensor, end: Tensor, label: Tensor) -> Tensor:
    """Return sums (N,) of values (B, T, C) over the frames [start, end) of a recording and class; -inf stays -inf."""

    def between(addends: Tensor) -> Tensor:
        before = torch.nn.functional.pad(addends.cumsum(1), (0, 0, 1, 0))
        return before[recording, end, label] - before[recording, start, label]

    blocked = values == -torch.inf
    total = between(values.masked_fill(blocked, 0.0))
    return total.masked_fill(between(blocked.long()) > 0, -torch.inf)
