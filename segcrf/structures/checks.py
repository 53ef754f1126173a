"""Checks of tensors that several structures, layers and losses share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, InputTypeError
from segcrf.kernels import frame_mask

__all__ = [
    "check_emissions_shape",
    "check_feasible",
    "check_integer_labels",
    "check_labels",
    "check_labels_in_range",
    "check_lengths",
    "check_scores_shape",
    "check_weights",
]


def check_scores_shape(values: Tensor, name: str, expected: tuple[int, ...], meaning: str) -> Tensor:
    """Return ``values`` if it is a floating tensor of the expected shape."""
    _check_scores(values, name)
    if tuple(values.shape) != expected:
        raise InputError(name, f"shape {tuple(values.shape)}", f"shape {meaning} = {expected}")
    return values


def _check_scores(values: Tensor, name: str) -> None:
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError(name, type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if values.layout != torch.strided or values.device.type == "meta":
        got = "a tensor without values" if values.device.type == "meta" else f"a tensor of layout {values.layout}"
        raise InputTypeError(name, got, "a dense tensor", "convert with .to_dense(), or move it to a device")
    if not values.is_floating_point():
        raise InputTypeError(name, str(values.dtype), "floating-point scores", "convert with .float()")


def check_emissions_shape(emissions: Tensor) -> tuple[int, int, int]:
    """Return (B, T, C) of emissions after checking that they are scores of at least one frame and class."""
    _check_scores(emissions, "emissions")
    expected = "shape (B, T, C) = (recordings, frames, classes)"
    if emissions.dim() != 3:
        advice = "add a batch axis with emissions[None] for a single recording"
        raise InputError("emissions", f"shape {tuple(emissions.shape)}", expected, advice)
    if min(emissions.shape) == 0:
        advice = "drop empty recordings before they reach the model"
        raise InputError("emissions", f"shape {tuple(emissions.shape)}, without a frame", expected, advice)
    return emissions.shape[0], emissions.shape[1], emissions.shape[2]


def check_lengths(values: Tensor | None, num_recordings: int, num_frames: int, device: torch.device) -> Tensor:
    """Return a copy of lengths (B,) as int64 on ``device``; ``None`` means that every recording has all T frames.

    It is a copy, so that a later change of the caller's tensor cannot invalidate what was checked.
    """
    if values is None:
        return torch.full((num_recordings,), num_frames, dtype=torch.int64, device=device)
    values = torch.as_tensor(values)
    hint = "lengths are frame counts; for a mask use mask.sum(1)"
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        advice = hint if values.dtype == torch.bool else "convert with .long()"
        raise InputTypeError("lengths", str(values.dtype), "integers (frames per recording)", advice)
    if values.shape != (num_recordings,):
        advice = hint if values.shape == (num_recordings, num_frames) else "give one length per recording"
        raise InputError("lengths", f"shape {tuple(values.shape)}", f"shape (B,) = ({num_recordings},)", advice)
    values = values.detach().to(device, torch.int64, copy=True)
    if torch.compiler.is_compiling():
        return values  # the operators check them
    lowest, highest = values.aminmax()
    if lowest.item() < 1 or highest.item() > num_frames:
        recording = int(((values < 1) | (values > num_frames)).nonzero()[0, 0])
        advice = "drop empty recordings, and pad emissions to the longest"
        raise InputError("lengths", str(int(values[recording])), f"1 to T = {num_frames}", advice, recording=recording)
    return values


def check_integer_labels(values: Tensor) -> None:
    """Raise unless ``values`` is a tensor of integers."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("labels", type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise InputTypeError("labels", str(values.dtype), "integers", "convert with .long()")


def check_labels(values: Tensor, event: tuple[int, int], num_classes: int, lengths: Tensor) -> Tensor:
    """Check labels (..., B, T) and return them as int64; labels beyond ``lengths`` are not read."""
    check_integer_labels(values)
    if tuple(values.shape[-2:]) != event:
        raise InputError("labels", f"shape {tuple(values.shape)}", f"shape (..., B, T) = (..., {event[0]}, {event[1]})")
    if torch.compiler.is_compiling() or not values.numel():
        return values.long()
    lowest, highest = values.aminmax()
    if lowest.item() < 0 or highest.item() >= num_classes:
        check_labels_in_range(values.masked_fill(~frame_mask(lengths, event[1]), UNLABELLED), num_classes)
    return values.long()


def check_labels_in_range(values: Tensor, num_classes: int, recording: int | None = None) -> None:
    """Check labels (..., B, T), or the labels (T,) of one recording."""
    bad = (values != UNLABELLED) & ((values < 0) | (values >= num_classes))
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise InputError(
            "labels",
            str(int(values[tuple(where)])),
            f"0 to {num_classes - 1}, or {UNLABELLED} for unlabelled",
            f"renumber the classes, or mark the frame {UNLABELLED}",
            recording=where[-2] if recording is None else recording,
            frame=where[-1],
        )


def check_feasible(total: Tensor, lengths: Tensor, reason: Callable[[], str]) -> None:
    """Raise for a recording that has no allowed labelling: its ``total`` (B,) score is -inf."""
    if torch.compiler.is_compiling() or total.detach().amin().item() != -torch.inf:
        return
    recording = int((total == -torch.inf).nonzero()[0, 0])
    raise InputError(
        "potentials",
        f"no allowed labelling of its {int(lengths[recording])} frames",
        "one at least",
        reason(),
        recording=recording,
    )


def check_weights(values: Tensor, event: tuple[int, ...], lengths: Tensor) -> None:
    """Raise for weights (B, T, C) that are negative, infinite or NaN; padding may hold anything."""
    check_scores_shape(values, "weights", event, "(B, T, C)")
    if torch.compiler.is_compiling():
        return
    bad = ~((values >= 0) & (values < torch.inf)) & frame_mask(lengths, event[1])[..., None]
    if bad.any():
        recording, frame, label = where = tuple(bad.nonzero()[0].tolist())
        got, expected = f"{values[where].item()} for class {label}", "a finite number of 0 or more"
        raise InputError("weights", got, expected, "give probabilities, not scores", recording=recording, frame=frame)
