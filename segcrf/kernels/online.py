"""Online decoding: which compiled functions advance the streams of a structure, and the layout of a stream's state.

A stream is one row of two flat arrays, ``reals`` (float64) and ``wholes`` (int64). A row holds a header, values of
fixed size, and a ring of one record for each undecided frame: frame t lies in record ``t % capacity``, and the capacity
is a power of two. The record of the frame after the last one is in use too, so the capacity exceeds the number of
undecided frames by one at least.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

__all__ = [
    "ALLOWED",
    "BEGUN",
    "DECIDED",
    "FORBIDDEN",
    "FRAMES",
    "LABEL",
    "MASKED",
    "NO_SCORE",
    "NUM_HEADER",
    "UNDECIDED_AT_ONCE",
    "Sizes",
    "online_kernels",
]

#: Columns of the header, the first entries of a row of ``wholes``.
FRAMES = 0  # frames so far
DECIDED = 1  # frames with a decided label
LABEL = 2  # the last decided label, or -1
BEGUN = 3  # the first frame of its band
NUM_HEADER = 4

#: Records of a ring at first, where nothing limits the number of undecided frames.
UNDECIDED_AT_ONCE = 64

#: What became of a frame.
ALLOWED = 0
NO_SCORE = 1  # NaN or +inf
MASKED = 2  # a finite mask on every class
FORBIDDEN = 3  # no labelling is allowed any more


class Sizes(NamedTuple):
    """Entries of a stream in ``reals`` and ``wholes``: of fixed size, and of the record of one frame."""

    reals: int
    wholes: int
    reals_of_frame: int
    wholes_of_frame: int


@cache
def online_kernels(structure: str) -> Any:
    """Return the module of compiled functions that advance streams of ``"linear_chain"`` or ``"semi_markov"``.

    It has ``lay_out``, ``sizes``, ``begin``, ``advance``, ``finish``, ``filtered``, ``following`` and ``current``.
    """
    return importlib.import_module(f"segcrf.kernels.{structure}.numba_online")
