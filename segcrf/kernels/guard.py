"""Guard: what a registered operator checks, in O(B), before any kernel addresses memory.

Operators are public entries: ``torch.compile``, ``torch.export``, ``validate_args=False`` and ``torch.ops`` call them
without the checks of a structure. Only shapes, types, devices and lengths are checked here; the kernels check labels,
because they read all labels anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, InputTypeError
from segcrf.kernels.layout import frame_mask

__all__ = [
    "check_labels",
    "check_labels_in_range",
    "check_lengths",
    "check_lengths_in_range",
    "check_one_device",
    "check_potentials",
    "clamp_lengths",
    "prepare_labels",
]

_SCORES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_potentials(axes: Mapping[str, str], potentials: Sequence[Tensor]) -> None:
    """Raise unless the potentials have the shapes that ``axes`` names, one type of score and one device.

    Args:
        axes: by potential, its axes: B recordings, T frames, S = T - 1 steps, C classes, K durations.
        potentials: the scores in the order of ``axes``, emissions (B, T, C) first.
    """
    emissions = potentials[0]
    if emissions.dim() != 3 or 0 in emissions.shape:
        raise InputError("emissions", f"shape {tuple(emissions.shape)}", "shape (B, T, C), not empty")
    batch, frames, classes = emissions.shape
    sizes = {"B": batch, "T": frames, "S": frames - 1, "C": classes}
    for (name, letters), values in zip(axes.items(), potentials, strict=True):
        if values.dtype not in _SCORES or values.layout != torch.strided:
            raise InputTypeError(name, f"{values.dtype}, {values.layout}", "dense floating-point scores")
        _check_device(name, values, emissions)
        shape = values.shape
        if "K" in letters and "K" not in sizes and len(shape) == 2 and shape[1] > 0:
            sizes["K"] = shape[1]
        if len(shape) != len(letters) or any(n != sizes.get(a) for a, n in zip(letters, shape, strict=True)):
            expected = ", ".join(f"{letter} = {sizes.get(letter, '1 or more')}" for letter in letters)
            raise InputError(name, f"shape {tuple(shape)}", f"shape ({expected})", "see the shapes of the structure")


def check_one_device(tensors: Sequence[Tensor]) -> None:
    """Raise unless all tensors are on the device of the first, the emissions."""
    for values in tensors[1:]:
        _check_device("potentials", values, tensors[0])


def _check_device(name: str, values: Tensor, emissions: Tensor) -> None:
    if values.device != emissions.device:
        raise InputError(name, f"device {values.device}", f"{emissions.device}, as emissions", "move both to one")


def check_lengths(lengths: Tensor, emissions: Tensor) -> Tensor:
    """Return contiguous lengths (B,) after checking that each lies within 1 to T."""
    _check_integers("lengths", lengths, tuple(emissions.shape[:1]), "(B,)", emissions)
    check_lengths_in_range(lengths, emissions.shape[1])
    return lengths.contiguous()


def check_lengths_in_range(lengths: Tensor, num_frames: int) -> None:
    """Raise for the first length (B,) outside 1 to T."""
    lowest, highest = lengths.aminmax()
    if lowest.item() < 1 or highest.item() > num_frames:
        recording = int(((lengths < 1) | (lengths > num_frames)).nonzero()[0, 0])
        advice = "drop empty recordings, and pad emissions to the longest"
        raise InputError("lengths", str(int(lengths[recording])), f"1 to T = {num_frames}", advice, recording=recording)


def clamp_lengths(lengths: Tensor, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """Return lengths (B,) clamped to 1 to T, and which were outside: raising would make the host wait for the GPU."""
    _check_integers("lengths", lengths, tuple(emissions.shape[:1]), "(B,)", emissions)
    clamped = lengths.clamp(1, emissions.shape[1])
    return clamped, clamped != lengths


def prepare_labels(labels: Tensor, emissions: Tensor) -> Tensor:
    """Return contiguous labels (B, T) after checking their shape, type and device; kernels check the values."""
    _check_integers("labels", labels, tuple(emissions.shape[:2]), "(B, T)", emissions)
    return labels.contiguous()


def _check_integers(name: str, values: Tensor, shape: tuple[int, ...], meaning: str, emissions: Tensor) -> None:
    if values.dtype != torch.int64 or values.layout != torch.strided:
        raise InputTypeError(name, f"{values.dtype}, {values.layout}", "dense torch.int64", "convert with .long()")
    _check_device(name, values, emissions)
    if tuple(values.shape) != shape:
        raise InputError(name, f"shape {tuple(values.shape)}", f"shape {meaning} = {shape}, as emissions")


def check_labels(labels: Tensor, num_classes: int, lengths: Tensor) -> None:
    """Raise for the first label (B, T) within a recording that is no class and not -100."""
    check_labels_in_range(labels.masked_fill(~frame_mask(lengths, labels.shape[-1]), UNLABELLED), num_classes)


def check_labels_in_range(labels: Tensor, num_classes: int, recording: int | None = None) -> None:
    """Raise for the first of labels (..., B, T), or of the labels (T,) of one recording, that is no class."""
    bad = (labels != UNLABELLED) & ((labels < 0) | (labels >= num_classes))
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise InputError(
            "labels",
            str(int(labels[tuple(where)])),
            f"0 to {num_classes - 1}, or {UNLABELLED} for unlabelled",
            f"renumber the classes, or mark the frame {UNLABELLED}",
            recording=where[-2] if recording is None else recording,
            frame=where[-1],
        )
