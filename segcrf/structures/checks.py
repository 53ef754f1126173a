"""Checks of tensors that several structures, layers and losses share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from segcrf._validation import UNLABELLED, InputError, InputTypeError
from segcrf.kernels import check_labels_in_range, check_lengths_in_range, frame_mask

__all__ = [
    "check_emissions_shape",
    "check_feasible",
    "check_integer_labels",
    "check_labels",
    "check_lengths",
    "check_same_kind",
    "check_scores_shape",
    "check_transformed",
    "check_values",
    "check_weights",
]

#: A total that holds a score below this has lost the digits of the others: float64 has sixteen.
MASKED = -1e12


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

    It is a copy, so that a later change of the caller's tensor cannot invalidate the check.
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
    check_lengths_in_range(values, num_frames)
    return values


def check_integer_labels(values: Tensor) -> None:
    """Raise unless ``values`` is a tensor of integers."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("labels", type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise InputTypeError("labels", str(values.dtype), "integers", "convert with .long()")


def check_labels(
    labels: Tensor, event: tuple[int, int], num_classes: int, lengths: Tensor, *, values: bool = True
) -> Tensor:
    """Check labels (..., B, T) and return them as int64; labels beyond ``lengths`` are not read.

    With ``values`` False only type and shape are checked.
    """
    check_integer_labels(labels)
    if tuple(labels.shape[-2:]) != event:
        raise InputError("labels", f"shape {tuple(labels.shape)}", f"shape (..., B, T) = (..., {event[0]}, {event[1]})")
    if not values or torch.compiler.is_compiling() or not labels.numel():
        return labels.long()
    lowest, highest = labels.aminmax()
    if lowest.item() < 0 or highest.item() >= num_classes:
        check_labels_in_range(labels.masked_fill(~frame_mask(lengths, event[1]), UNLABELLED), num_classes)
    return labels.long()


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


def check_weights(values: Tensor, name: str, event: tuple[int, ...], lengths: Tensor) -> None:
    """Raise for weights (B, T, C) that are negative, infinite or NaN; padding may hold anything."""
    check_scores_shape(values, name, event, "(B, T, C)")
    if torch.compiler.is_compiling():
        return
    bad = ~((values >= 0) & (values < torch.inf)) & frame_mask(lengths, event[1])[..., None]
    if bad.any():
        recording, frame, label = where = tuple(bad.nonzero()[0].tolist())
        got, expected = f"{values[where].item()} for class {label}", "a finite number of 0 or more"
        raise InputError(name, got, expected, "give probabilities, not scores", recording=recording, frame=frame)


def check_values(values: Tensor, name: str, lengths: Tensor | None = None) -> None:
    """Raise for NaN and +inf, and for a frame with a finite mask on every class.

    Scores of -inf forbid. With ``lengths``, padding may hold anything.
    """
    if torch.compiler.is_compiling() or not values.numel():
        return
    lowest, highest = values.detach().aminmax()
    if highest.item() < torch.inf and lowest.item() > MASKED:
        return
    bad = values.isnan() | (values == torch.inf)
    if lengths is not None:
        inside = frame_mask(lengths, values.shape[1]).view(*values.shape[:2], *[1] * (values.dim() - 2))
        bad &= inside
    if bad.any():
        _reject_value(values, name, bad.nonzero()[0].tolist())
    if name == "emissions" and lengths is not None:
        top = values.detach().amax(-1)
        where = ((top <= MASKED) & (top > -torch.inf) & frame_mask(lengths, values.shape[1])).nonzero()
        if len(where):
            recording, frame = (int(index) for index in where[0])
            got, expected = f"{float(top[recording, frame]):g} or less for every class", f"a score above {MASKED:g}"
            advice = "give a frame without an observation emissions of 0, and leave padding to `lengths`"
            raise InputError(name, got, expected, advice, recording=recording, frame=frame)


def _reject_value(values: Tensor, name: str, where: list[int]) -> None:
    got, expected = f"{values[tuple(where)].item()}", "a finite score or -inf (forbidden)"
    advice = "look for NaN in the signal, a diverged network or a division by zero"
    if name not in ("emissions", "transitions") or len(where) == 2:
        raise InputError(name, f"{got} at {name}{where}", expected, advice)
    place = f"class {where[2]}" if len(where) == 3 else f"the step from class {where[2]} to {where[3]}"
    raise InputError(name, f"{got} for {place}", expected, advice, recording=where[0], frame=where[1])


def check_transformed(potentials: tuple[Tensor, ...], backend: str, validated: bool) -> None:
    """Raise for structures that torch.func transforms (vmap, grad, jacrev) cannot trace, and name what works."""
    inside: Any = cast(Any, torch)._C._functorch
    if backend != "torch" and not torch.compiler.is_compiling() and any(map(_has_tangent, potentials)):
        got, expected = f"forward-mode derivatives, which backend {backend!r} would lose", "reverse mode"
        raise InputError("potentials", got, expected, "use backend='torch', or backward and torch.autograd.grad")
    if torch.compiler.is_compiling() or not any(inside.is_functorch_wrapped_tensor(p) for p in potentials):
        return
    mapped = any(inside.is_batchedtensor(p) for p in potentials)
    if backend != "torch" or (mapped and validated):
        validation = " with validate_args" if validated else ""
        raise InputError(
            "potentials",
            f"tensors of a torch.func transform, which does not see into backend {backend!r}{validation}",
            "plain tensors",
            "instead of vmap add a batch axis (emissions (B, T, C) hold many recordings, `marginals` are a gradient "
            "for each), or use backend='torch', validate_args=False",
        )


def _has_tangent(values: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(values).tangent is not None  # pyright: ignore[reportPrivateUsage]


def check_same_kind(ours: Any, theirs: Any) -> None:
    """Raise for two structures that are not over the same label sequences, or have tables of different shapes."""
    if type(ours) is not type(theirs):
        advice = "make a LinearChain a SemiMarkov of durations of one frame, or compare their marginals"
        got = f"{type(ours).__name__} and {type(theirs).__name__}"
        raise InputTypeError("structures", got, "two of one kind", advice)
    for name, a, b in zip(ours.potentials._fields, ours.potentials, theirs.potentials, strict=True):
        if a.shape != b.shape:
            advice = "give both the same recordings, classes and longest duration"
            raise InputError(name, f"shapes {tuple(a.shape)} and {tuple(b.shape)}", "one shape in both", advice)
    if not torch.compiler.is_compiling() and not torch.equal(ours.lengths, theirs.lengths):
        recording = int((ours.lengths != theirs.lengths).nonzero()[0, 0])
        got = f"{int(ours.lengths[recording])} and {int(theirs.lengths[recording])} frames"
        raise InputError("lengths", got, "the same in both structures", recording=recording)
