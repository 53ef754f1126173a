"""Missing frames: what replaces values that were not measured (NaN)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MISSING", "fill_missing"]

#: What may replace missing values; ``"error"`` replaces nothing, and such recordings are rejected.
MISSING = ("error", "hold", "interpolate")


def fill_missing(x: Tensor, policy: str, lengths: Tensor | None = None) -> Tensor:
    """Replace NaN in standardised signals.

    Args:
        x: signals (B, T, F), of mean 0.
        policy: ``"hold"``, the last measured value of the channel, 0 before the first; ``"interpolate"``, a straight
            line between the measured neighbours, and the nearest one at both ends; ``"error"``, nothing.
        lengths: valid frames (B,) of each recording; frames beyond them are no neighbours. None: all T.

    Example:
        >>> nan = float("nan")
        >>> x = torch.tensor([[[nan], [1.0], [nan], [3.0], [nan]]])
        >>> fill_missing(x, "hold").flatten(), fill_missing(x, "interpolate").flatten()
        (tensor([0., 1., 1., 3., 3.]), tensor([1., 1., 2., 3., 3.]))
    """
    if policy == "error":
        return x
    frame = torch.arange(x.shape[1], device=x.device)[:, None].expand_as(x)
    known = ~x.isnan()
    if lengths is not None:
        known = known & (frame < lengths.to(x.device)[:, None, None])
    # The n-th measured value of a channel moves to place n; place 0 stands for "none yet", and frames without a value
    # write a 0 there.
    count = known.cumsum(1)
    place = torch.where(known, count, 0)
    shape = (x.shape[0], x.shape[1] + 2, x.shape[2])
    values = x.new_zeros(shape).scatter(1, place, x.where(known, 0.0))
    before = values.gather(1, count)
    if policy == "hold":
        return before
    times = frame.new_zeros(shape).scatter(1, place, torch.where(known, frame, 0))
    after, total = values.gather(1, count + 1), count[:, -1:]
    since, until = frame - times.gather(1, count), times.gather(1, count + 1) - frame
    between = before + (after - before) * (since.to(x.dtype) / (since + until))
    inner, left = (count > 0) & (count < total), count > 0
    return torch.where(known, x, torch.where(inner, between, torch.where(left, before, after)))
