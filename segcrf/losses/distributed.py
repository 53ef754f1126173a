"""Data-parallel training: what the processes share, so that the weight of a frame does not depend on its process."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_over_processes"]


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of ``values`` over the processes of data-parallel training; with one process, ``values``."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()
