"""Recordings as other packages hold them: data frames, labelled arrays, and arrays with channels first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["split_by_index", "turn_channels_last"]

# Channels come first only if there are so many times more frames: a few frames of many channels are a mistake.
_FRAMES_PER_CHANNEL = 4


def split_by_index(values: Any) -> Any:
    """Return a pandas table of recordings as a list of their tables; anything else as it is.

    Args:
        values: a data frame or series with an index that has the recording first and the time second, as sktime's
            ``pd-multiindex`` has; or any other value.

    Returns:
        One table per recording, in the order of their first rows. Neighbouring rows are not copied.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_product([["a", "b"], [0, 1, 2]])
        >>> [len(part) for part in split_by_index(pd.DataFrame({"x": range(6)}, index=index))]
        [3, 3]
    """
    index = getattr(values, "index", None)
    if getattr(index, "nlevels", 1) != 2 or not hasattr(values, "iloc"):
        return values
    level: Any = index
    codes = level.codes[0] if hasattr(level, "codes") else np.zeros(0, dtype=np.int64)
    changes = np.flatnonzero(np.diff(codes)) + 1
    starts = [0, *changes.tolist(), len(codes)]
    if len(set(codes[starts[:-1]].tolist())) == len(starts) - 1:  # each recording's rows are neighbours
        return [values.iloc[start:stop] for start, stop in pairwise(starts)]
    order = list(dict.fromkeys(codes.tolist()))
    return [values.iloc[np.flatnonzero(codes == code)] for code in order]


def turn_channels_last(values: Any, lengths: Sequence[int] | None = None, num_channels: int | None = None) -> Any:
    """Return signals with frames first where it is certain that they have channels first, without a copy.

    Arrays of xarray have frames first by the name of their dimension ``time``. Arrays (channels, frames), as aeon has
    them, are recognised by the number of labels, or by the number of channels in ``fit`` if there are more than four
    times as many frames. All recordings must agree.

    Args:
        values: one array per recording, or one array with three axes.
        lengths: frames of each recording, if there are labels.
        num_channels: F of the training recordings, if these are other recordings.

    Example:
        >>> turn_channels_last(np.zeros((5, 2, 100)), lengths=[100] * 5)[0].shape
        (100, 2)
    """
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__len__") or len(values) == 0:
        return values
    named = [_frames_first(value) for value in ([values] if hasattr(values, "dims") else values)]
    if hasattr(values, "dims"):
        return named[0]
    shapes: list[tuple[int, ...]] = [getattr(value, "shape", ()) for value in named]
    if not all(len(shape) == 2 for shape in shapes):
        return values
    if lengths is not None:
        straight = any(shape[0] == length for shape, length in zip(shapes, lengths, strict=False))
        turned = len(shapes) == len(lengths) and all(s[1] == length for s, length in zip(shapes, lengths, strict=True))
    else:
        straight = num_channels is None or any(shape[1] == num_channels for shape in shapes)
        turned = all(shape[0] == num_channels and shape[1] > _FRAMES_PER_CHANNEL * shape[0] for shape in shapes)
    if straight or not turned:
        return named if any(new is not old for new, old in zip(named, values, strict=True)) else values
    return [np.asarray(value).T for value in named]


def _frames_first(value: Any) -> Any:
    """Return an array of xarray with recordings, then frames, then channels, by the name of its dimensions."""
    dims = getattr(value, "dims", None)
    if not isinstance(dims, tuple) or "time" not in dims:
        return value
    others = [name for name in dims if name != "time"]
    if len(others) > 2:
        return value
    order = [*others[:-1], "time", *others[-1:]]
    return value if order == list(dims) else value.transpose(*order)
