"""Every input check of the library and its message: the door.

Past this module nothing is validated again. A message names the recording and the frame, says what was got and
what was expected, and ends with the next step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import forward_ad

#: Marks a frame without a label, and every frame beyond a recording's length (PyTorch's ``ignore_index``).
UNLABELLED = -100


# ---------------------------------------------------------------------------------------------- potentials
def potentials(emissions: Tensor, shared: dict[str, Tensor], lengths: Tensor) -> None:
    """Check the scores of a structure: ``emissions`` (B, T, C), and the others by name. These are shared by all
    recordings, but for scores of every step (B, T - 1, C, C)."""
    scores(emissions, "emissions", lengths)
    for name, values in shared.items():
        if values.device != emissions.device:
            raise ValueError(f"{name} is on {values.device}, emissions on {emissions.device}; move both to one device")
        scores(values, name, lengths - 1 if values.dim() == 4 else None)


def transformed(potentials: tuple[Tensor, ...], backend: str, validated: bool) -> None:
    """Refuse what torch.func transforms (vmap, grad, jacrev) cannot see into, and name the ways that work."""
    inside: Any = cast(Any, torch)._C._functorch
    if backend != "torch" and not torch.compiler.is_compiling() and any(map(_has_tangent, potentials)):
        raise ValueError(
            f"forward-mode derivatives do not pass through backend {backend!r}, they would be lost; use "
            "backend='torch', or reverse mode (backward, torch.autograd.grad)"
        )
    if torch.compiler.is_compiling() or not any(inside.is_functorch_wrapped_tensor(p) for p in potentials):
        return
    mapped = any(inside.is_batchedtensor(p) for p in potentials)
    if backend != "torch" or (mapped and validated):
        raise ValueError(
            f"torch.func transforms do not see into backend {backend!r}{' with validate_args' if validated else ''}; "
            "instead of vmap add a batch axis (emissions (B, T, C) hold many recordings, `marginals` are a gradient "
            "for each), or use backend='torch', validate_args=False"
        )


def _has_tangent(values: Tensor) -> bool:
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(values).tangent is not None  # pyright: ignore[reportPrivateUsage]


def shape(values: Tensor, name: str, expected: tuple[int, ...], meaning: str) -> Tensor:
    """Return ``values`` if it is a floating tensor of the expected shape."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating-point scores, got {values.dtype}; convert with .float()")
    if tuple(values.shape) != expected:
        raise ValueError(f"{name} must have shape {meaning} = {expected}, got {tuple(values.shape)}")
    return values


def transitions_shape(values: Tensor, batch: int, frames: int, classes: int) -> None:
    """Refuse transition scores that are neither (C, C) nor (B, T - 1, C, C)."""
    if torch.is_tensor(values) and values.dim() == 4:  # pyright: ignore[reportUnnecessaryComparison]
        shape(values, "transitions", (batch, frames - 1, classes, classes), "(B, T - 1, C, C)")
    else:
        shape(values, "transitions", (classes, classes), "(C, C)")


def emissions_shape(emissions: Tensor) -> tuple[int, int, int]:
    """Return (B, T, C) of emissions after checking that they are scores of at least one frame and class."""
    if not torch.is_tensor(emissions):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"emissions must be a torch.Tensor, got {type(emissions).__name__}; use torch.as_tensor")
    if emissions.dim() != 3:
        raise ValueError(
            "emissions must have shape (B, T, C) = (recordings, frames, classes), "
            f"got {tuple(emissions.shape)}; add a batch axis with emissions[None] for a single recording"
        )
    if not emissions.is_floating_point():
        raise TypeError(f"emissions must be floating-point scores, got {emissions.dtype}; convert with .float()")
    if min(emissions.shape) == 0:
        raise ValueError(
            f"emissions {tuple(emissions.shape)} hold no frame; drop empty recordings before they reach the model"
        )
    return emissions.shape[0], emissions.shape[1], emissions.shape[2]


def emissions_of(emissions: Tensor, num_classes: int) -> None:
    """Refuse emissions of another number of classes than the layer has."""
    classes = emissions_shape(emissions)[2]
    if classes != num_classes:
        raise ValueError(
            f"emissions have {classes} classes, the layer has {num_classes}; build it with num_classes={classes}, or "
            f"emit {num_classes} scores per frame"
        )


def lengths(values: Tensor | None, num_recordings: int, num_frames: int, device: torch.device) -> Tensor:
    """Return lengths (B,) as int64 on ``device``; ``None`` means that every recording has all T frames."""
    if values is None:
        return torch.full((num_recordings,), num_frames, dtype=torch.int64, device=device)
    values = torch.as_tensor(values)
    hint = "lengths are frame counts; for a mask use mask.sum(1)"
    if values.is_floating_point() or values.dtype == torch.bool:
        advice = hint if values.dtype == torch.bool else "convert with .long()"
        raise TypeError(f"lengths must be integers (frames per recording), got {values.dtype}; {advice}")
    if values.shape != (num_recordings,):
        advice = hint if values.shape == (num_recordings, num_frames) else "give one length per recording"
        raise ValueError(f"lengths must have shape (B,) = ({num_recordings},), got {tuple(values.shape)}; {advice}")
    values = values.to(device, torch.int64)
    if torch.compiler.is_compiling():
        return values
    lowest, highest = values.aminmax()
    if lowest.item() < 1 or highest.item() > num_frames:
        bad = (values < 1) | (values > num_frames)
        recording = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"recording {recording} has length {int(values[recording])}, expected 1 to T = {num_frames}; "
            "drop empty recordings, and pad emissions to the longest"
        )
    return values


def scores(values: Tensor, name: str, lengths: Tensor | None = None) -> None:
    """Refuse NaN and +inf; -inf is a score: it forbids. With ``lengths``, frames of padding may hold anything."""
    if torch.compiler.is_compiling() or not values.numel() or values.detach().amax().item() < torch.inf:
        return
    bad = values.isnan() | (values == torch.inf)
    if lengths is not None:
        frames = torch.arange(values.shape[1], device=values.device)
        bad &= (frames < lengths[:, None]).view(*values.shape[:2], *[1] * (values.dim() - 2))
    if not bad.any():
        return
    where = bad.nonzero()[0].tolist()
    got = values[tuple(where)].item()
    place = (
        f"emissions of recording {where[0]}, frame {where[1]}, class {where[2]}"
        if name == "emissions"
        else f"{name}{where}"
    )
    raise ValueError(
        f"{place}: got {got}, expected a finite score or -inf (forbidden); "
        "look for NaN in the signal, a diverged network or a division by zero"
    )


def any_class(logits: Tensor, lengths: Tensor) -> None:
    """Refuse a frame whose every class is forbidden: it has no probabilities."""
    if torch.compiler.is_compiling():
        return
    within = torch.arange(logits.shape[1], device=logits.device) < lengths[:, None]
    bad = (logits.detach().amax(-1) == -torch.inf) & within
    if bad.any():
        recording, frame = bad.nonzero()[0].tolist()
        raise ValueError(_no_class(f"logits of recording {recording}, frame {frame}"))


def any_class_of(arrays: Sequence[Array], name: str) -> None:
    """Refuse a frame whose every class is forbidden in one of a list of (T, C) arrays."""
    for recording, array in enumerate(arrays):
        bad = np.flatnonzero(array.max(1) == -np.inf)
        if bad.size:
            raise ValueError(_no_class(f"{name}, recording {recording}, frame {bad[0]}"))


def _no_class(place: str) -> str:
    return (
        f"{place}: got -inf (forbidden) for every class, expected a finite score for one at least; relax the scores "
        "of that frame"
    )


# -------------------------------------------------------------------------------------------------- labels
def labels(values: Tensor, event: tuple[int, int], num_classes: int, lengths: Tensor) -> Tensor:
    """Check labels (..., B, T) and return them as int64; what stands beyond ``lengths`` is not looked at."""
    _whole_labels(values)
    if tuple(values.shape[-2:]) != event:
        raise ValueError(
            f"labels must have shape (..., B, T) = (..., {event[0]}, {event[1]}), got {tuple(values.shape)}"
        )
    if torch.compiler.is_compiling():
        return values.long()
    lowest, highest = values.aminmax()
    if lowest.item() < 0 or highest.item() >= num_classes:
        within = torch.arange(values.shape[-1], device=values.device) < lengths[:, None]
        _labels_in_range(values.masked_fill(~within, UNLABELLED), num_classes)
    return values.long()


def _whole_labels(values: Tensor) -> None:
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"labels must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {values.dtype}; convert with .long()")


def _labels_in_range(values: Tensor, num_classes: int, recording: int | None = None) -> None:
    """Check labels (..., B, T), or those of one recording (T,)."""
    bad = (values != UNLABELLED) & ((values < 0) | (values >= num_classes))
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"label of recording {where[-2] if recording is None else recording}, frame {where[-1]}: got "
            f"{int(values[tuple(where)])}, expected 0 to {num_classes - 1}, or {UNLABELLED} for unlabelled; "
            f"renumber the classes or mark the frame {UNLABELLED}"
        )


def feasible(total: Tensor, lengths: Tensor, reason: Callable[[], str]) -> None:
    """Refuse a recording whose every labelling is forbidden: its ``total`` (B,) score is -inf."""
    if torch.compiler.is_compiling() or total.detach().amin().item() != -torch.inf:
        return
    recording = int((total == -torch.inf).nonzero()[0, 0])
    raise ValueError(
        f"recording {recording} ({int(lengths[recording])} frames) has no labelling that is allowed: {reason()}"
    )


def stream_scores(values: Tensor, frame: int, classes: int | None) -> None:
    """Refuse what is no (N, C) of scores, has another C than before, or holds NaN or +inf; frames count from
    ``frame``."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"emissions must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if not values.is_floating_point():
        raise TypeError(f"emissions must be floating-point scores, got {values.dtype}; convert with .float()")
    expected = f"(N, {'C' if classes is None else classes})"
    if values.dim() != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        raise ValueError(f"emissions must have shape {expected}: frames, classes; got {tuple(values.shape)}")
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        t, label = bad.nonzero()[0].tolist()
        raise ValueError(
            f"emissions of frame {frame + t} of the stream, class {label}: got {values[t, label].item()}, expected a "
            "finite score or -inf (forbidden); nothing of this call was taken: correct the frame and push again"
        )


def streamable(structure: Any, kind: type) -> None:
    """Refuse a structure that cannot be decoded while it grows."""
    if not isinstance(structure, kind) or structure.potentials[1].dim() != 2:
        got = type(structure).__name__ + (" with transitions of every step" if isinstance(structure, kind) else "")
        raise TypeError(
            f"a stream decodes a {kind.__name__} whose transitions all steps share, got {got}; decode pieces of the "
            "recording with `mode`, or fit a linear chain"
        )


def streamed(bidirectional: bool, structure: str, standardize: str) -> None:
    """Refuse a fitted Segmenter that needs later frames, with what to fit instead."""
    if bidirectional:
        raise ValueError("stream: got an encoder that looks at later frames; fit with bidirectional=False")
    if structure != "linear-chain":
        raise ValueError(f"stream: got structure={structure!r}, expected 'linear-chain'; fit with that")
    if standardize != "dataset":
        raise ValueError(
            "stream: channels are standardised by mean and deviation of the whole recording, which nobody knows yet; "
            "fit with standardize='dataset'"
        )


def still_open(finished: bool) -> None:
    """Refuse to go on with a stream that is finished."""
    if finished:
        raise ValueError("the stream is finished; begin another one for the next recording")


def still_allowed(best: np.ndarray[Any, Any], frame: int) -> None:
    """Refuse scores by class that leave no labelling allowed."""
    if best.max() == -np.inf:
        raise ValueError(
            f"frame {frame} of the stream leaves no labelling that is allowed; nothing of this call was taken: relax "
            "the -inf scores, or end the recording before it"
        )


def allowed(values: Tensor, event: tuple[int, ...]) -> Tensor:
    """Check a restriction (B, T, C) of labels per frame."""
    if values.dtype != torch.bool:
        raise TypeError(f"allowed must be boolean (True = this class may stand here), got {values.dtype}")
    if tuple(values.shape) != event:
        raise ValueError(f"allowed must have shape (B, T, C) = {event}, got {tuple(values.shape)}")
    return values


def mask(values: Tensor, event: tuple[int, int]) -> None:
    """Refuse a mask that is not boolean (B, T), or leaves a recording without any frame."""
    if not torch.is_tensor(values) or values.dtype != torch.bool:  # pyright: ignore[reportUnnecessaryComparison]
        got = values.dtype if torch.is_tensor(values) else type(values).__name__  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"mask must be a boolean tensor (True = observed), got {got}; convert it with mask != 0")
    if tuple(values.shape) != event:
        raise ValueError(f"mask must have shape (B, T) = {event}, got {tuple(values.shape)}")
    empty = ~values.any(1)
    if empty.any():
        raise ValueError(
            f"recording {int(empty.nonzero()[0, 0])} has no observed frame, expected one at least; leave it out"
        )


def masked_labels(values: Tensor, event: tuple[int, ...]) -> None:
    """Refuse labels that are no integers of the mask's shape (B, T); what stands on masked frames is not looked at."""
    _whole_labels(values)
    if tuple(values.shape) != event:
        raise ValueError(f"labels must have the shape (B, T) = {event} of the mask, got {tuple(values.shape)}")


def weights(values: Tensor, event: tuple[int, ...], lengths: Tensor) -> None:
    """Refuse weights (B, T, C) of classes at frames that are negative, infinite or NaN; padding may hold anything."""
    shape(values, "weights", event, "(B, T, C)")
    if torch.compiler.is_compiling():
        return
    frames = torch.arange(event[1], device=values.device)
    bad = ~((values >= 0) & (values < torch.inf)) & (frames < lengths[:, None])[..., None]
    if bad.any():
        recording, frame, label = where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"weight of recording {recording}, frame {frame}, class {label}: got {values[where].item()}, expected a "
            "finite number of 0 or more; give probabilities, not scores"
        )


def class_weights(values: Tensor, num_classes: int) -> None:
    """Refuse weights (C,) of classes that are negative, infinite or NaN."""
    shape(values, "weights", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values >= 0) & (values < torch.inf)).all():
        return
    raise ValueError(f"weights must be finite numbers of 0 or more, one per class, got {values.tolist()}")


def prior(values: Tensor, num_classes: int) -> None:
    """Refuse shares (C,) of classes that are not all above 0."""
    shape(values, "prior", (num_classes,), "(C,)")
    if torch.compiler.is_compiling() or ((values > 0) & (values < torch.inf)).all():
        return
    raise ValueError(
        f"prior must be a share above 0 for every class, got {values.tolist()}; give unseen classes a little"
    )


def classes_at(values: Iterable[int], num_classes: int, recording: int, frame: int) -> None:
    """Refuse a class outside 0..C - 1 in a set of classes of a frame."""
    odd = [label for label in values if not 0 <= label < num_classes]
    if odd:
        raise ValueError(
            f"recording {recording}, frame {frame}: got class {odd[0]}, expected 0 to {num_classes - 1}; an empty set "
            "allows any class"
        )


def orders(values: Sequence[Sequence[int]], num_recordings: int, num_classes: int, touching: bool) -> list[list[int]]:
    """Return the classes of bands in order, per recording, after checking them."""
    same_number(len(values), num_recordings, "orders", "emissions")
    checked: list[list[int]] = []
    for recording, order in enumerate(values):
        classes = [int(label) for label in order]
        if not classes:
            raise ValueError(f"recording {recording}: the order of its bands is empty, expected one band at least")
        for place, label in enumerate(classes):
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"recording {recording}, band {place}: got class {label}, expected 0 to {num_classes - 1}; "
                    "renumber the classes"
                )
            if place and not touching and label == classes[place - 1]:
                raise ValueError(
                    f"recording {recording}, bands {place - 1} and {place} are both of class {label}: bands of a "
                    "linear chain are maximal runs; list them as one"
                )
        checked.append(classes)
    return checked


def any_known(count: int, recording: int) -> None:
    """Refuse a recording without a labelled frame."""
    if not count:
        raise ValueError(
            f"recording {recording} has no labelled frame, expected one in each band; leave the recording out"
        )


def complete(row: Tensor, recording: int) -> None:
    """Refuse an unlabelled frame among the labels (T,) of a recording."""
    missing = (row == UNLABELLED).nonzero()
    if len(missing):
        raise ValueError(
            f"recording {recording}, frame {int(missing[0, 0])}: got {UNLABELLED}, expected complete labels, of which "
            "only the boundaries are uncertain; use timestamps for labels of single frames"
        )


def same_kind_of_structure(ours: Any, theirs: Any) -> None:
    """Refuse two distributions that are not over the same label sequences, or whose tables differ in shape."""
    if type(ours) is not type(theirs):
        raise TypeError(
            f"two structures of one kind are compared, got {type(ours).__name__} and {type(theirs).__name__}; "
            "make a LinearChain a SemiMarkov of durations of one frame, or compare their marginals"
        )
    for name, a, b in zip(ours.fields, ours.potentials, theirs.potentials, strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"the two structures must have {name} of one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
                "give both the same recordings, classes and longest duration"
            )
    if not torch.compiler.is_compiling() and not torch.equal(ours.lengths, theirs.lengths):
        recording = int((ours.lengths != theirs.lengths).nonzero()[0, 0])
        raise ValueError(
            f"recording {recording} has {int(ours.lengths[recording])} frames in one structure and "
            f"{int(theirs.lengths[recording])} in the other; give both the same lengths"
        )


# ------------------------------------------------------------------- recordings: the estimator's lists of arrays
Array = npt.NDArray[Any]


def signals(values: Sequence[npt.ArrayLike], num_channels: int | None = None) -> list[Array]:
    """Return recordings as a list of (T, F) numeric arrays, finite, with one number of channels."""
    arrays = _listed(values, "X", "(T, F) signals", 2)
    expected = num_channels
    for i, array in enumerate(arrays):
        if array.ndim != 2:
            hint = "reshape(-1, 1) makes one channel of it" if array.ndim == 1 else "give one array per recording"
            raise ValueError(f"recording {i}: X must have shape (T, F) = (frames, channels), got {array.shape}; {hint}")
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"recording {i}: X must hold real numbers, got {array.dtype}; convert it with .astype(float)"
            )
        if 0 in array.shape:
            raise ValueError(
                f"recording {i}: X is empty, shape {array.shape}; drop recordings without frames or channels"
            )
        expected = array.shape[1] if expected is None else expected
        if array.shape[1] != expected:
            reference = "as recording 0" if num_channels is None else "as in fit"
            raise ValueError(
                f"recording {i} has {array.shape[1]} channels, expected {expected}, {reference}; "
                "give every recording the same channels in the same order"
            )
        _finite(array, f"recording {i}")
    return arrays


def _listed(values: Any, name: str, what: str, ndim: int) -> list[Array]:
    """Return a list of arrays, one per recording; an array with an axis more than one recording's ``ndim`` is one."""
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} must be a list of {what}, one per recording, got {type(values).__name__}")
    shape = getattr(values, "shape", None)
    holds_arrays = getattr(getattr(values, "dtype", None), "kind", "") == "O" and len(shape or ()) == 1
    if shape is not None and len(shape) <= ndim and not holds_arrays:
        raise TypeError(f"{name} must be a list of {what}, got one array of shape {tuple(shape)}; put it in a list")
    if len(values) == 0:
        raise ValueError(f"{name} holds no recording; give at least one")
    arrays = [np.asarray(value) for value in values]
    if all(array.ndim == 0 for array in arrays) and any(array.dtype != object for array in arrays):
        raise TypeError(
            f"{name} must be a list of {what}, one per recording, got one list of {len(arrays)} numbers or words; put "
            "it in a list"
        )
    return arrays


def _finite(array: Array, place: str) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        frame, channel = (int(index) for index in np.argwhere(bad)[0])
        raise ValueError(
            f"{place}, frame {frame}, channel {channel}: got {array[frame, channel]}, expected a finite number; "
            "fill the gap, or cut the recording in two there"
        )


def matching(values: Sequence[npt.ArrayLike], name: str, lengths: Sequence[int], ndim: int = 1) -> list[Array]:
    """Return ``values`` as a list of arrays, one per recording and as long as it; one recording's has ``ndim`` axes."""
    arrays = _listed(values, name, "arrays", ndim)
    if len(arrays) != len(lengths):
        raise ValueError(f"{name} holds {len(arrays)} recordings, X {len(lengths)}; give one array for each")
    for i, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
        if array.dtype == object and array.ndim == 0 and array.item() is None:
            nothing = "NaN" if name == "targets" else f"{UNLABELLED} (or '' among names)"
            raise TypeError(
                f"recording {i}: {name} are None, expected an array of {length} frames; where nothing is known, fill "
                f"it with {nothing}"
            )
        if array.ndim == 0 or len(array) != length:
            got = f"{len(array)} frames" if array.ndim else f"the single value {array}"
            raise ValueError(f"recording {i}: {name} has {got}, X has {length}; they must match frame by frame")
    return arrays


def label_kind(arrays: Sequence[Array]) -> str:
    """Whether labels are class indices (``"index"``) or class names (``"name"``)."""
    kinds: set[str] = set()
    for i, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(f"recording {i}: labels must have shape (T,), got {array.shape}; give one class per frame")
        if not array.size:
            continue  # no frame, no kind
        if array.dtype.kind in "iu":
            kinds.add("index")
        elif array.dtype.kind == "U" or (array.dtype.kind in "OT" and all(isinstance(name, str) for name in array)):
            kinds.add("name")
        else:
            for recording, other in enumerate(arrays):
                _no_missing(other, recording)
            raise TypeError(
                f"recording {i}: labels must be integers ({UNLABELLED} = unlabelled) or text ('' = unlabelled), "
                f"got {array.dtype}; convert them with .astype(int) or .astype(str)"
            )
    if len(kinds) > 1:
        raise TypeError("labels mix integers and text; use one kind in all recordings")
    return kinds.pop() if kinds else "index"


def _no_missing(array: Array, recording: int) -> None:
    """Refuse labels that are missing in another way than ours, which conversion would make a class."""
    for frame, label in enumerate(array):
        missing = label is None or type(label).__name__ in ("NAType", "NaTType")  # of pandas, not imported for this
        if missing or (isinstance(label, float | np.floating) and np.isnan(label)):
            raise TypeError(
                f"recording {recording}, frame {frame}: got label {label}, expected a class; mark a frame without a "
                f"label {UNLABELLED} among integers, '' among names"
            )


def class_indices(arrays: Sequence[Array], num_classes: int | None = None) -> list[Array]:
    """Return labels given as integers as int64, after checking their range."""
    expected = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
    for i, array in enumerate(arrays):
        bad = (array < 0) & (array != UNLABELLED)
        if num_classes is not None:
            bad |= array >= num_classes
        if bad.any():
            frame = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"recording {i}, frame {frame}: got label {array[frame]}, expected {expected}, or {UNLABELLED} for "
                f"unlabelled; renumber the classes, or mark the frame {UNLABELLED}"
            )
    return [array.astype(np.int64) for array in arrays]


def class_names(arrays: Sequence[Array], classes: Sequence[str]) -> list[Array]:
    """Return labels given as text as indices into ``classes``; "" becomes -100."""
    index = {name: i for i, name in enumerate(classes)} | {"": UNLABELLED}
    result: list[Array] = []
    for i, array in enumerate(arrays):
        unknown = [name for name in np.unique(array.astype(str)) if name not in index]
        if unknown:
            frame = int(np.flatnonzero(array.astype(str) == unknown[0])[0])
            raise ValueError(
                f"recording {i}, frame {frame}: got label {str(unknown[0])!r}, expected one of {list(classes)} "
                f"or '' for "
                "unlabelled; correct its spelling, or add it to `classes` and fit again"
            )
        result.append(np.array([index[str(name)] for name in array], dtype=np.int64))
    return result


def any_labelled(arrays: Sequence[Array], where: str) -> None:
    """Refuse recordings of which not one frame has a label."""
    if all((array == UNLABELLED).all() for array in arrays):
        raise ValueError(
            f"{where}: all labels are missing, expected at least one labelled frame; label some, or leave it out"
        )


def class_list(values: object, name: str) -> list[Any]:
    """Return several classes as a list; a single name is no list of letters."""
    listed = to_numpy(values).tolist() if isinstance(values, Tensor | np.ndarray) else values
    if isinstance(listed, str | bytes) or not isinstance(listed, Iterable):
        raise TypeError(f"{name}: got {listed!r}, expected a list of classes; write [{listed!r}]")
    return list(cast(Iterable[Any], listed))


def known_classes(classes: Sequence[Any], name: str, names: Sequence[str] | None, occur: str) -> None:
    """Refuse classes that are not given as the labels are, or do not occur.

    Args:
        classes: numbers, or names where labels are text.
        name: what the argument is called.
        names: those that occur in the labels; None: labels are numbers.
        occur: whether "all" the names must occur, or "any" of them.
    """
    kind, expected = ("numbers", int | np.integer) if names is None else ("names", str)
    for label in classes:
        if not isinstance(label, expected) or isinstance(label, bool):
            raise TypeError(f"{name}: got the class {label!r}, expected class {kind}, as the labels are; give it so")
        if label == "" or (names is None and label < 0):
            raise ValueError(
                f"{name}: got {label!r}, expected a class; leave it out: frames without a label never count"
            )
    unknown = [] if names is None else [label for label in classes if label not in names]
    if unknown and (occur == "all" or len(unknown) == len(classes)):
        raise ValueError(
            f"{name}: got the class {unknown[0]!r}, expected one that occurs in the labels: {', '.join(names or [])}; "
            "correct its spelling, or leave it out"
        )


def flag(value: object, name: str) -> None:
    """Refuse anything but True and False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value!r}, expected True or False")


def named_classes(values: Any) -> list[object]:
    """Return the names of classes as a list, after checking that each could be a class of its own."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"classes: got {values!r}, expected a list of names, such as ['rest', 'walk']")
    listed = names(values, "classes", -1)
    if not listed:
        raise ValueError("classes: got an empty list, expected names; or None for those found in the labels")
    if "" in listed:
        raise ValueError(f"classes: got '' in {listed}, which marks a frame without a label; leave it out, or name it")
    return listed


def loss_weights(values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse weights of losses that there will not be, and what is no weight."""
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f"combine: a weight was given for the loss {name!r}, expected one of {', '.join(map(repr, known))}; "
                "correct its name, or leave it out"
            )
        number(value, f"combine[{name!r}]", 0.0)


def device(value: object) -> None:
    """Refuse a device that this machine does not have."""
    numbers = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        found = torch.device(value) if isinstance(value, str | torch.device) else None
    except RuntimeError:
        found = None
    if found is None or (found.index or 0) >= numbers.get(found.type, 0):
        here = [f"{kind}:{i}" if kind == "cuda" else kind for kind, number in numbers.items() for i in range(number)]
        raise ValueError(f"device: got {value!r}, expected one that this machine has: {', '.join(map(repr, here))}")


def directory(value: Any) -> None:
    """Refuse what is no folder that can be written to, nor can be made."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"directory: got {value!r}, expected the path of a folder, or None")
    path = Path(value).absolute()  # pyright: ignore[reportUnknownArgumentType]
    nearest = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if not nearest.is_dir():
        raise ValueError(f"directory: got {str(value)!r}, but {nearest} is a file; choose another folder, or move it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(
            f"directory: got {str(value)!r}, but {nearest} cannot be written to; choose another folder, or change its "
            "permissions"
        )


def validation(values: Any) -> Sequence[Any]:
    """Return recordings for validation if they are given as two or three lists."""
    if not isinstance(values, (tuple, list)) or len(values) not in (2, 3):
        count = f" of {len(values)}" if isinstance(values, (tuple, list)) else ""
        raise TypeError(
            f"validation: got {type(values).__name__}{count}, expected (X, labels) or (X, labels, targets); to hold "
            "out a share of the recordings, set validation_fraction"
        )
    return cast("Sequence[Any]", values)


@contextmanager
def about(name: str) -> Generator[None, None, None]:
    """Begin the messages of checks with whose recordings they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def choice(value: object, name: str, known: Sequence[object]) -> None:
    """Refuse a parameter that is not among the ``known`` ones."""
    if value not in known:
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, known))}")


def share(value: float, name: str) -> None:
    """Refuse anything but a number from 0 up to, and without, 1."""
    number(value, name, 0.0)
    if value >= 1:
        raise ValueError(f"{name}: got {value!r}, expected a share from 0 to below 1")


def targets(values: Sequence[npt.ArrayLike], lengths: Sequence[int], num_targets: int | None = None) -> list[Array]:
    """Return targets as (T, R) arrays with one R; NaN is allowed (unknown), infinity is not."""
    arrays = matching(values, "targets", lengths, ndim=2)
    expected = num_targets
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"recording {i}: targets must be real numbers, got {array.dtype}; convert with .astype(float)"
            )
        if array.ndim != 2 or array.shape[1] == 0 or array.shape[1] != (expected or array.shape[1]):
            columns = expected or "R"
            raise ValueError(
                f"recording {i}: targets must have shape (T, R) = ({lengths[i]}, {columns}), got {array.shape}; "
                "reshape(-1, 1) makes one target of a flat array"
            )
        expected = array.shape[1]
        if np.isinf(array).any():
            frame, target = (int(index) for index in np.argwhere(np.isinf(array))[0])
            raise ValueError(
                f"recording {i}, frame {frame}, target {target}: got {array[frame, target]}, expected a finite number, "
                "or NaN for unknown; replace it"
            )
    return arrays


# ----------------------------------------------------------------------- label sequences (segments, metrics)
def to_numpy(values: object) -> Array:
    """Return an array, a tensor (on any device) or a nested sequence as a numpy array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    held = values.detach().cpu()
    return (held.float() if held.dtype == torch.bfloat16 else held).numpy()  # numpy has no bfloat16


def recordings(values: object, name: str, ndim: int = 1) -> list[Array]:
    """Return a list of arrays, or a batch in one array, as a list; ``ndim`` is that of one recording."""
    one, batch = (("(T,)", "(B, T)"), ("(T, C)", "(B, T, C)"))[ndim - 1]
    advice = f"expected a list of {one} arrays or one {batch} array; wrap a single recording in a list"
    given = cast(Any, values)
    if isinstance(values, Tensor) or (isinstance(values, np.ndarray) and given.dtype != object):
        if given.ndim != ndim + 1:
            raise ValueError(f"{name}: got one array of shape {tuple(given.shape)}, {advice}")
    elif isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: got {type(given).__name__}, {advice}")
    arrays = [to_numpy(value) for value in given]
    for i, array in enumerate(arrays):
        if array.ndim != ndim:
            raise ValueError(f"{name}, recording {i}: got shape {array.shape}, {advice}")
    return arrays


def label_arrays(values: object, name: str = "labels") -> list[npt.NDArray[np.int64]]:
    """Return a list of (T,) label arrays, or a (B, T) batch, as int64 arrays; -100 is unlabelled."""
    arrays = _labels_of(values, name)
    if _named_by(name, label_kind, arrays) == "name":
        raise TypeError(
            f"{name}: got text, expected integers; number the classes 0, 1, ... and keep their names in a list"
        )
    return _named_by(name, class_indices, arrays)


def label_pair(pred: object, true: object) -> tuple[list[Array], list[Array], list[str] | None]:
    """Return predicted and true labels as int64 arrays that match, and the class names where labels are text."""
    sides = {"pred": _labels_of(pred, "pred"), "true": _labels_of(true, "true")}
    same_number(len(sides["pred"]), len(sides["true"]), "pred", "true")
    for i, (ours, theirs) in enumerate(zip(*sides.values(), strict=True)):
        if ours.shape != theirs.shape:
            raise ValueError(
                f"recording {i}: pred has {len(ours)} frames, true has {len(theirs)}; "
                "compare labellings of the same frames, cut to the recording's length"
            )
    kinds = {name: _named_by(name, label_kind, arrays) for name, arrays in sides.items()}
    if len(set(kinds.values())) > 1:
        raise TypeError(f"labels are of two kinds, got {kinds}; give pred and true the same, integers or text")
    if kinds["true"] == "index":
        indices = [_named_by(name, class_indices, arrays) for name, arrays in sides.items()]
        return indices[0], indices[1], None
    known = sorted({str(text) for arrays in sides.values() for array in arrays for text in np.unique(array)} - {""})
    return class_names(sides["pred"], known), class_names(sides["true"], known), known


def _labels_of(values: object, name: str) -> list[Array]:
    # Without frames there is no type of label either: numpy calls it float.
    return [array if array.size else array.astype(np.int64) for array in recordings(values, name)]


def _named_by(name: str, check: Callable[[list[Array]], Any], arrays: list[Array]) -> Any:
    """Run a check of label arrays so that its message says whose labels they are."""
    with about(name):
        return check(arrays)


def band_starts(values: object, like: Sequence[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.bool_]]:
    """Check the frames at which bands start: a boolean per frame of the label arrays ``like``."""
    starts = recordings(values, "starts")
    same_number(len(starts), len(like), "starts", "labels")
    for recording, (frames, labels) in enumerate(zip(starts, like, strict=True)):
        if frames.dtype != np.bool_ or frames.shape != labels.shape:
            raise ValueError(
                f"starts of recording {recording}: got {frames.dtype} of shape {frames.shape}, expected bool of shape "
                f"{labels.shape} as its labels; True marks the first frame of a band"
            )
    return starts


def same_number(got: int, expected: int, name: str, other: str) -> None:
    """Refuse two lists that hold different numbers of recordings."""
    if got != expected:
        raise ValueError(f"{name} hold {got} recordings, {other} hold {expected}; give one array per recording in both")


def segments(columns: Mapping[str, npt.NDArray[Any]], score: npt.NDArray[Any] | None) -> None:
    """Check the columns ``recording``, ``start``, ``end``, ``label`` (N,) of a table of segments."""
    for name, values in columns.items():
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise TypeError(f"{name}: got {values.dtype} of shape {values.shape}, expected integers of shape (N,)")
    sizes = {name: len(values) for name, values in columns.items()}
    if score is not None:
        sizes["score"] = score.size if score.ndim == 1 else -1
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"the columns of segments must have one (N,) shape, got sizes {sizes}; give one value per segment"
        )
    recording, start, end, label = columns.values()
    for bad, expected in (
        (recording < 0, "a recording of 0 or more"),
        (start < 0, "a start of 0 or more"),
        (end <= start, "an end after its start (half-open)"),
        (label < 0, "a label of 0 or more; leave unlabelled stretches out"),
    ):
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"{_segment(columns, row)}: expected {expected}")
    bad = (recording[1:] < recording[:-1]) | ((recording[1:] == recording[:-1]) & (start[1:] < end[:-1]))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"{_segment(columns, row + 1)} overlaps or precedes {_segment(columns, row)}; "
            "sort segments by recording and start, and cut overlaps"
        )


def _segment(columns: Mapping[str, npt.NDArray[Any]], row: int) -> str:
    recording, start, end, label = (values[row] for values in columns.values())
    return f"segment {row} (recording {recording}, frames [{start}, {end}), label {label})"


def segments_fit(recording: npt.NDArray[np.int64], end: npt.NDArray[np.int64], values: object) -> npt.NDArray[np.int64]:
    """Return the lengths (B,) of recordings after checking that segments do not lie beyond them."""
    lengths = to_numpy(values)
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise TypeError(
            f"lengths: got {lengths.dtype} of shape {lengths.shape}, expected one integer of frames per recording"
        )
    if recording.size and recording[-1] >= len(lengths):
        raise ValueError(
            f"segments lie in recording {recording[-1]}, lengths hold {len(lengths)} recordings; give one "
            f"length for each"
        )
    beyond = np.flatnonzero(end > lengths[recording])
    if beyond.size:
        row = beyond[0]
        raise ValueError(
            f"recording {recording[row]}: segment {row} ends at frame {end[row]}, its length is "
            f"{lengths[recording[row]]}; "
            "give the length of the recording that was segmented"
        )
    return lengths.astype(np.int64)


def bands_fit(columns: Sequence[Array], lengths: Array, num_classes: int) -> None:
    """Refuse bands of classes that a structure does not have, or beyond its recordings."""
    recording, start, end, label = columns
    segments_fit(recording, end, lengths)
    if (label >= num_classes).any():
        row = int((label >= num_classes).argmax())
        raise ValueError(
            f"segment {row} (recording {recording[row]}, frames [{start[row]}, {end[row]})): got class {label[row]}, "
            f"expected 0 to {num_classes - 1}; give bands of the same classes"
        )


def names(values: Sequence[object], name: str, highest: int) -> list[object]:
    """Return a list of names of recordings or classes after checking that index ``highest`` has one."""
    listed = list(values)
    if highest >= len(listed):
        raise ValueError(
            f"{name}: got {len(listed)} names, the segments hold index {highest}; give {highest + 1} or more"
        )
    if len(set(listed)) < len(listed):
        raise ValueError(f"{name}: got repeated names in {listed}; give each its own")
    return listed


def rate(value: float | None) -> float:
    """Return a sampling rate in frames per second; None is 1, so that times are frames."""
    if value is None:
        return 1.0
    if not _is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"rate: got {value!r}, expected frames per second, above 0; or None to count in frames")
    return float(value)


def columns(got: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a table that lacks a column."""
    missing = [name for name in expected if name not in got]
    if missing:
        raise ValueError(f"the table has no column {missing[0]!r}, it has {list(got)}; rename or add the column")


def times(values: Array, name: str, rate: float | None) -> Array:
    """Check a column of times: numbers in seconds, or integers in frames where there is no ``rate``."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(f"column {name!r}: got {values.dtype} or missing values, expected a number in every row")
    fractional = np.flatnonzero(values != np.rint(values))
    if rate is None and fractional.size:
        row = fractional[0]
        raise ValueError(
            f"column {name!r}, row {row}: got {values[row]}, expected whole frames; give rate= if times are in seconds"
        )
    return values


def indices(values: Array, what: str) -> Array:
    """Check a column of recordings or classes that are numbered."""
    if values.size and values.dtype.kind not in "iu":
        raise TypeError(f"{what}: got {values.dtype}, expected integers; list their names with {what}=")
    return values


def index_of(values: Array, names: Sequence[object], what: str) -> npt.NDArray[np.int64]:
    """Return the place of each value in a list of names."""
    places = {name: i for i, name in enumerate(names)}
    unknown = [value for value in values.tolist() if value not in places]
    if unknown:
        raise ValueError(
            f"{what}: got {unknown[0]!r} in the table, expected one of {list(names)}; correct it or list it"
        )
    return np.array([places[value] for value in values.tolist()], dtype=np.int64)


# ------------------------------------------------------------------------------------- synthetic signals
def whole(value: object, name: str, lowest: int) -> None:
    """Refuse anything but an integer of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
        raise ValueError(f"{name}: got {value!r}, expected an integer of {lowest} or more")


def number(value: Any, name: str, lowest: float) -> None:
    """Refuse anything but a finite number of at least ``lowest``."""
    if not _is_number(value) or not lowest <= value < float("inf"):
        raise ValueError(f"{name}: got {value!r}, expected a finite number of {lowest:g} or more")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def sinusoid_frequencies(values: Sequence[float], rate: float) -> None:
    """Refuse modes that cannot be told apart: fewer than two, repeated, or not below half the sampling rate."""
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(
            f"frequencies: got {tuple(values)}, expected two or more different ones; a signal switches between them"
        )
    for value in values:
        if not 0 < value < rate / 2:
            raise ValueError(
                f"frequencies: got {value} Hz, expected above 0 and below {rate / 2:g} Hz, half the rate; "
                "raise the rate or lower the frequency"
            )


def label_sequences(values: Sequence[Tensor], num_classes: int) -> list[Tensor]:
    """Return the labels (T_i,) of recordings, each as int64."""
    sequences = [torch.as_tensor(sequence) for sequence in values]
    for recording, sequence in enumerate(sequences):
        if sequence.dim() != 1 or len(sequence) == 0:
            raise ValueError(
                f"labels of recording {recording} must have shape (T,) with T >= 1, got {tuple(sequence.shape)}; "
                "give one sequence per recording, and drop empty ones"
            )
        if sequence.is_floating_point() or sequence.dtype == torch.bool:
            raise TypeError(
                f"labels of recording {recording} must be integers, got {sequence.dtype}; convert with .long()"
            )
        _labels_in_range(sequence, num_classes, recording)
    return [sequence.long() for sequence in sequences]


# ----------------------------------------------------------------------- the drop-in: pytorch-crf's own errors
def drop_in(emissions: Tensor, tags: Tensor | None, mask: Tensor | None, num_tags: int, batch_first: bool) -> None:
    """The checks of pytorch-crf's ``CRF``, with its types of error."""
    if emissions.dim() != 3:
        raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
    if emissions.size(2) != num_tags:
        raise ValueError(f"expected last dimension of emissions is {num_tags}, got {emissions.size(2)}")
    for name, values in (("tags", tags), ("mask", mask)):
        if values is not None and emissions.shape[:2] != values.shape:
            raise ValueError(
                f"the first two dimensions of emissions and {name} must match, "
                f"got {tuple(emissions.shape[:2])} and {tuple(values.shape)}"
            )
    if mask is not None and not (mask[:, 0] if batch_first else mask[0]).all():
        raise ValueError("mask of the first timestep must all be on; move left padding to the right")


def tags(values: Tensor, lengths: Tensor, num_tags: int) -> None:
    """Refuse a tag that is out of range where it counts; -100 is unlabelled."""
    if values.numel() and not torch.compiler.is_compiling():
        lowest, highest = values.aminmax()
        if lowest.item() >= 0 and highest.item() < num_tags:
            return
    counts = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    bad = counts & (values != UNLABELLED) & ((values < 0) | (values >= num_tags))
    if bad.any():
        sequence, frame = (int(i) for i in bad.nonzero()[0])
        raise IndexError(
            f"tag of sequence {sequence}, frame {frame} (masked frames not counted): got "
            f"{int(values[sequence, frame])}, expected 0 to {num_tags - 1}, or {UNLABELLED} for unlabelled"
        )


# ---------------------------------------------------------------------------------- arguments (metrics, smoothing)
def fraction(value: float, name: str) -> None:
    """Refuse anything but a number above 0 and at most 1."""
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"{name}: got {value!r}, expected above 0 and at most 1, such as 0.5")


def margin(value: float, sampling_rate: float | None) -> int:
    """Return a margin in whole frames; with a sampling rate the margin is in seconds."""
    per_second = rate(sampling_rate)
    if not _is_number(value) or not 0 <= value < float("inf"):
        raise ValueError(
            f"margin: got {value!r}, expected 0 or more {'frames' if sampling_rate is None else 'seconds'}"
        )
    # 0.29 s at 100 Hz is 28.999999999999996 frames in floating point, and means 29. A product may be infinite.
    return int(min(np.floor(value * per_second + 1e-6), 2.0**53))


def score_arrays(values: object, name: str) -> list[Array]:
    """Return class scores of recordings as a list of (T, C) floating arrays; -inf is a score."""
    arrays = recordings(values, name, ndim=2)
    for i, array in enumerate(arrays):
        if array.dtype.kind != "f":
            raise TypeError(f"{name}, recording {i}: got {array.dtype}, expected floating-point scores")
        if not array.size or array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name}, recording {i}: got shape {array.shape}, expected (T, C) = (frames, "
                f"{arrays[0].shape[1]} classes "
                "as in recording 0), not empty"
            )
        bad = np.argwhere(np.isnan(array) | (array == np.inf))
        if bad.size:
            frame, column = bad[0]
            raise ValueError(
                f"{name}, recording {i}, frame {frame}, class {column}: got {array[frame, column]}, expected a finite "
                "score or -inf; look for NaN in the signal"
            )
    return arrays


def known_labels(arrays: Sequence[Array], num_classes: int, name: str) -> None:
    """Refuse labels that are not among ``num_classes`` classes."""
    _named_by(name, lambda labels: class_indices(labels, num_classes), list(arrays))


def probability(value: float, name: str) -> None:
    """Refuse anything but a number above 0 and below 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: got {value!r}, expected a probability above 0 and below 1")


def thresholds(enter: float, leave: float) -> None:
    """Refuse a threshold to leave a class that is not at or below the one to enter it."""
    if not leave <= enter:
        raise ValueError(f"enter, leave: got {enter!r}, {leave!r}, expected leave at or below enter; swap them")


def positive(value: float, name: str) -> None:
    """Refuse anything but a finite number above 0."""
    number(value, name, 0.0)
    if value == 0:
        raise ValueError(f"{name}: got {value!r}, expected above 0")


def window(value: object, name: str) -> int:
    """Return the frames on either side of the centre of a window of odd width."""
    whole(value, name, 1)
    width = cast(int, value)
    if width % 2 == 0:
        raise ValueError(
            f"{name}: got {width}, expected an odd number of frames, so that a window has a centre; try {width + 1}"
        )
    return width // 2


# ----------------------------------------------------------------------------------------------- semi-Markov
def durations_shape(values: Tensor, num_classes: int) -> None:
    """Refuse a duration table that is not (C, K)."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"durations must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if values.dim() != 2 or values.shape[0] != num_classes or values.shape[1] < 1:
        raise ValueError(f"durations must have shape (C, K) = ({num_classes}, K >= 1), got {tuple(values.shape)}")
    shape(values, "durations", tuple(values.shape), "(C, K)")


def tail_converges(tail: Tensor) -> None:
    """Refuse a survival that sums to infinity."""
    if torch.compiler.is_compiling() or not (tail >= 0).any():
        return
    label = int((tail >= 0).nonzero()[0, 0])
    raise ValueError(
        f"tail[{label}] is {float(tail[label]):g}, expected below 0 with censored=True: the survival of a band "
        f"is the sum "
        "over all longer ones, and it diverges; give a negative tail (-0.01 is a mean of 100 more frames)"
    )


def starts(values: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Check band starts (B, T) against complete labels: one at frame 0, and one wherever the label changes."""
    if values.dtype != torch.bool or values.shape != labels.shape:
        raise ValueError(
            f"starts must be boolean of shape {tuple(labels.shape)}, got {values.dtype} of shape {tuple(values.shape)}"
        )
    within = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    needed = torch.ones_like(values)
    needed[:, 1:] = labels[:, 1:] != labels[:, :-1]
    for bad, reason in (
        (within & (labels == UNLABELLED), "an unlabelled frame; a segmentation labels every frame"),
        (within & needed & ~values, "a change of label without a start; set starts there"),
    ):
        if bad.any():
            recording, frame = (int(i) for i in bad.nonzero()[0])
            raise ValueError(f"segmentation of recording {recording}, frame {frame}: got {reason}")
    return values


def min_duration(values: int | Sequence[int], num_classes: int, max_duration: int) -> Tensor:
    """Return the shortest durations (C,) in frames."""
    each = torch.as_tensor([values] * num_classes if isinstance(values, int) else list(values))
    if each.shape != (num_classes,) or each.is_floating_point():
        raise ValueError(f"min_duration must be an integer or {num_classes} integers (frames), got {values!r}")
    if int(each.min()) < 1 or int(each.max()) > max_duration:
        raise ValueError(f"min_duration must lie between 1 and max_duration = {max_duration} frames, got {values!r}")
    return each


# ----------------------------------------------------------------------------------------------- transitions
def rank(value: object, num_classes: int) -> int:
    """Return a rank between 1 and the number of classes."""
    whole(value, "rank", 1)
    if cast(int, value) > num_classes:
        raise ValueError(f"rank: got {value}, expected at most the number of classes, {num_classes}; full rank is that")
    return cast(int, value)


def class_pairs(pairs: Iterable[tuple[int, int]], name: str, num_classes: int) -> list[tuple[int, int]]:
    """Return pairs (from, to) of class indices."""
    listed = [tuple(int(c) for c in pair) for pair in pairs]
    for pair in listed:
        if len(pair) != 2 or not all(0 <= c < num_classes for c in pair):
            raise ValueError(f"{name}: got {pair}, expected pairs (from, to) of classes 0 to {num_classes - 1}")
    return cast(list[tuple[int, int]], listed)


def followers(forbidden: Tensor) -> None:
    """Refuse constraints that leave a class without any class to follow it, itself included."""
    stuck = forbidden.all(1).nonzero()
    if len(stuck):
        label = int(stuck[0, 0])
        raise ValueError(
            f"class {label} may be followed by no class, not even itself; a recording could only end there. Allow "
            f"({label}, {label}), or drop the class"
        )


def context(values: Tensor | None, needed: str | None, name: str) -> None:
    """Refuse a context that transitions do not take, or the lack of one."""
    if needed is None and values is not None:
        raise TypeError(f"{name} is shared by all steps and takes no context; leave context= out")
    if needed is not None and not torch.is_tensor(values):
        got = "none" if values is None else type(values).__name__
        raise TypeError(f"{name} needs {needed} as its context, got {got}; give context=")


def same_classes(got: object, num_classes: int) -> None:
    """Refuse transitions between another number of classes than the layer has."""
    if got != num_classes:
        raise ValueError(f"transitions are between {got} classes, the layer has {num_classes}; give both one number")


def shared_transitions(needed: str | None, name: str) -> None:
    """Refuse transitions of every step where they stand between bands."""
    if needed is not None:
        raise TypeError(
            f"{name} scores every step of a recording from its {needed}; bands of a SemiMarkovCRF switch by scores "
            "shared by all: take a LinearChainCRF, or another family"
        )


def features(values: Tensor, num_features: int) -> None:
    """Refuse features that are not (B, T, H)."""
    if values.dim() != 3 or values.shape[-1] != num_features:
        raise ValueError(
            f"context must be features of shape (B, T, H) = (B, T, {num_features}), got {tuple(values.shape)}"
        )


def intervals(values: Tensor) -> None:
    """Refuse times between frames that are not (B, T - 1), or not finite and zero or more."""
    if values.dim() != 2 or not values.is_floating_point():
        raise ValueError(
            f"context must be intervals of shape (B, T - 1), floating-point times from frame to frame, got "
            f"{values.dtype} of shape {tuple(values.shape)}"
        )
    if torch.compiler.is_compiling():
        return
    bad = ~((values >= 0) & values.isfinite())
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"interval of recording {where[0]}, from frame {where[1]} to {where[1] + 1}: got "
            f"{float(values[tuple(where)]):g}, expected a finite time of 0 or more; sort frames by time, and pad with 0"
        )


def counted_intervals(values: Sequence[Tensor] | None, lengths: Sequence[int]) -> list[Tensor]:
    """Return the times (T_i - 1,) between the frames of labelled recordings."""
    listed = [] if values is None else [torch.as_tensor(v) for v in values]
    if len(listed) != len(lengths):
        raise ValueError(f"intervals hold {len(listed)} recordings, labels {len(lengths)}; give (T_i - 1,) for each")
    for i, (times, length) in enumerate(zip(listed, lengths, strict=True)):
        if times.shape != (length - 1,):
            raise ValueError(
                f"recording {i} has {length} labels, its intervals have shape {tuple(times.shape)}, expected "
                f"({length - 1},): one time from each frame to the next"
            )
        intervals(times[None].double())
    return listed
