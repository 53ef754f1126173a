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
    """Classes (..., B, T, C) that agree with labels (..., B, T): one where it is known, all where it is -100 or
    padding."""
    beyond = torch.arange(labels.shape[-1], device=labels.device) >= lengths[:, None]
    classes = torch.arange(num_classes, device=labels.device)
    return (labels[..., None] == classes) | ((labels == UNLABELLED) | beyond)[..., None]


def clamp(emissions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Emissions (B, T, C) that forbid (-inf) what does not agree with labels (B, T)."""
    return emissions.masked_fill(~agreeing(labels, emissions.shape[-1], lengths), -torch.inf)


def time_first(values: Tensor) -> bool:
    """Whether (B, T, C) on a CPU lies in memory with time first, as pytorch-crf and PyTorch's recurrent networks have
    it: kernels read it where it lies."""
    return values.device.type == "cpu" and not values.is_contiguous() and values.transpose(0, 1).is_contiguous()


def empty_beside(emissions: Tensor, wanted: bool) -> Tensor:
    """Room for a number per score, in the layout of the scores: a gradient need not be turned round; none for no
    recording, if it is not ``wanted``."""
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    if wanted and time_first(emissions):
        return emissions.new_empty((frames, batch, classes), dtype=dtype).transpose(0, 1)
    return emissions.new_empty((batch if wanted else 0, frames, classes), dtype=dtype)


def working_dtype(emissions: Tensor) -> torch.dtype:
    """Half-precision scores are read as they are and computed in float32; others keep their type."""
    return torch.promote_types(emissions.dtype, torch.float32)
