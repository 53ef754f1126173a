"""Guard: what a registered operator checks before any kernel addresses memory."""

from __future__ import annotations

from torch import Tensor

from segcrf._validation import UNLABELLED, InputError
from segcrf.kernels.layout import frame_mask

__all__ = ["check_labels"]


def check_labels(labels: Tensor, num_classes: int, lengths: Tensor) -> None:
    """Raise for the first label (B, T) within a recording that is no class and not -100."""
    outside = (labels != UNLABELLED) & ((labels < 0) | (labels >= num_classes))
    where = (outside & frame_mask(lengths, labels.shape[1])).nonzero()
    if len(where):
        recording, frame = (int(index) for index in where[0])
        raise InputError(
            "labels",
            str(int(labels[recording, frame])),
            f"0 to {num_classes - 1}, or {UNLABELLED} for unlabelled",
            f"renumber the classes, or mark the frame {UNLABELLED}",
            recording=recording,
            frame=frame,
        )
