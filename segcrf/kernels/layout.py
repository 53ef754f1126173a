"""Layout: masks of frames, labels as scores, and the types and memory layouts that kernels read and write."""

from __future__ import annotations

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED

__all__ = ["agreeing", "clamp", "empty_beside", "frame_mask", "time_first", "working_dtype"]


def frame_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """Return which frames (B, T) of a padded batch a recording has: True before its length."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def agreeing(labels: Tensor, num_classes: int, lengths: Tensor) -> Tensor:
    """Return which classes (..., B, T, C) agree with labels (..., B, T).

    One class agrees with a known label; all classes agree with -100 and with padding.
    """
    beyond = torch.arange(labels.shape[-1], device=labels.device) >= lengths[:, None]
    classes = torch.arange(num_classes, device=labels.device)
    return (labels[..., None] == classes) | ((labels == UNLABELLED) | beyond)[..., None]


def clamp(emissions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return emissions (B, T, C) with -inf for every class that disagrees with labels (B, T)."""
    return emissions.masked_fill(~agreeing(labels, emissions.shape[-1], lengths), -torch.inf)


def time_first(values: Tensor) -> bool:
    """Return whether values (B, T, C) on a CPU lie in memory with time first, as in pytorch-crf and PyTorch's RNNs.

    Kernels read them in place.
    """
    return values.device.type == "cpu" and not values.is_contiguous() and values.transpose(0, 1).is_contiguous()


def empty_beside(emissions: Tensor, wanted: bool) -> Tensor:
    """Allocate a (B, T, C) output in the memory layout of ``emissions``, so that no gradient has to be transposed.

    It holds no recording, (0, T, C), unless it is ``wanted``.
    """
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    if wanted and time_first(emissions):
        return emissions.new_empty((frames, batch, classes), dtype=dtype).transpose(0, 1)
    return emissions.new_empty((batch if wanted else 0, frames, classes), dtype=dtype)


def working_dtype(emissions: Tensor) -> torch.dtype:
    """Return the type to compute in: float32 for half-precision scores, which are read as they are, else their own."""
    return torch.promote_types(emissions.dtype, torch.float32)
