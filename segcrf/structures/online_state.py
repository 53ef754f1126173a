"""State of an OnlineDecoder: its arrays with more room, and what is checked before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from segcrf._validation import InputError
from segcrf.kernels import DECIDED, FRAMES, Sizes

__all__ = ["check_state", "grown_state"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def grown_state(state: tuple[Floats, Ints], sizes: Sizes, before: int, capacity: int) -> tuple[Floats, Ints]:
    """Return a state with rings of more records; every undecided frame, and the next one, keeps its record."""
    grown: list[Any] = []
    header = state[1]
    fixed = ((sizes.reals, sizes.reals_of_frame), (sizes.wholes, sizes.wholes_of_frame))
    for values, (begun, width) in zip(state, fixed, strict=True):
        larger = np.zeros((len(values), begun + capacity * width), values.dtype)
        larger[:, :begun] = values[:, :begun]
        old, new = (array[:, begun:].reshape(len(values), -1, width) for array in (values, larger))
        for stream, (first, last) in enumerate(zip(header[:, DECIDED], header[:, FRAMES], strict=True)):
            frames = np.arange(first, last + 1)
            new[stream, frames % capacity] = old[stream, frames % before]
        grown.append(larger)
    return grown[0], grown[1]


def check_state(state: Mapping[str, Any], facts: Mapping[str, Any], sizes: Sizes) -> None:
    """Raise for the state of another decoder, or for one that has been damaged.

    Args:
        state: what is to be loaded.
        facts: what the decoder is made for.
        sizes: entries of one of its streams.
    """
    needed = {*facts, "capacity", "reals", "wholes"}
    if not isinstance(state, Mapping) or not needed <= set(state):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError("state", type(state).__name__, "what `state_dict` of an OnlineDecoder returned")
    for name, value in facts.items():
        if state[name] != value:
            advice = "load it into a decoder that is made as the one that returned it"
            raise InputError("state", f"{name} = {state[name]!r}", repr(value), advice)
    _check_values(state, facts["streams"], sizes)


def _check_values(state: Mapping[str, Any], streams: int, sizes: Sizes) -> None:
    """Raise for arrays that do not belong together: kernels address memory by them."""
    capacity, reals, wholes = state["capacity"], state["reals"], state["wholes"]
    shapes = (
        (streams, sizes.reals + capacity * sizes.reals_of_frame),
        (streams, sizes.wholes + capacity * sizes.wholes_of_frame),
    )
    sound = (tuple(reals.shape), tuple(wholes.shape)) == shapes and capacity & (capacity - 1) == 0
    sound = sound and (reals.dtype, wholes.dtype) == (torch.float64, torch.int64)
    if sound:
        frames, decided = wholes[:, FRAMES], wholes[:, DECIDED]
        sound = bool(((decided >= 0) & (decided <= frames) & (frames - decided < capacity)).all())
    if not sound:
        raise InputError("state", "arrays that do not belong together", "what `state_dict` returned, unchanged")
