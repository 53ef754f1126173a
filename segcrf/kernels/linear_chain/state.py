"""State: what the Numba kernels of the linear chain share and carry from frame to frame, by name.

Compiled functions that Python calls take plain tuples and name them first: Numba finds the type of a plain tuple
faster than that of a named one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "BLOCK",
    "LEAST",
    "LOGS",
    "NORM",
    "NUM_ROWS",
    "PRODUCT",
    "SPAN",
    "TINY",
    "TOPS",
    "Counts",
    "Group",
    "Messages",
    "Path",
    "Recording",
    "Tables",
    "Weights",
]

SPAN = 150.0  # nats that finite scores of one table or frame may span in scaled probability space
TINY = 1e-150  # the least share of a state that is trusted: a smaller share may have lost mass
BLOCK = 16  # frames that are processed together in the first-level cache

#: Rows of the state of a scaled scan: a scalar each for one recording, a vector each for eight in lanes.
NORM = 0  # of the last message, or of that of the last even frame: the next divisor
PRODUCT = 1  # of the divisors since the last logarithm was taken
LOGS = 2  # the logarithm of the earlier divisors
TOPS = 3  # the sum of the maxima subtracted from the scores; NaN if the scores of a frame span too much
LEAST = 4  # the least positive entry of a message
NUM_ROWS = 5


class Tables(NamedTuple):
    """The scores that all frames share, or their exponentials, in flat arrays padded to whole rows."""

    matrix: Any  # transitions, from (row) to (column)
    transposed: Any  # transitions, to (row) from (column)
    edges: Any  # start, then end


class Weights(NamedTuple):
    """`Tables` of exponentials, and the maxima that were subtracted from the scores."""

    matrix: Any
    transposed: Any
    edges: Any
    top: Any  # the maximum of the transitions
    ends: Any  # the maximum of start plus that of end
    fits: Any  # whether finite scores span too little to underflow


class Counts(NamedTuple):
    """Expected counts, an output; an array is empty if it is not needed."""

    by_label: Any  # (B, T, C), flat
    by_step: Any  # (B, C, C)
    by_first: Any  # (B, C)
    by_last: Any  # (B, C)
    by_start: Any  # (B, T, C), flat


class Path(NamedTuple):
    """Best labellings, an output."""

    score: Any  # (B,)
    labels: Any  # (B, T)
    starts: Any  # (B, T)


class Recording(NamedTuple):
    """One recording, or one half of it, in flat scores: frame t begins at element ``offset + t * step``."""

    offset: Any
    step: Any  # negative where time runs backwards
    length: Any
    classes: Any
    held: Any  # frames that are kept at once


class Group(NamedTuple):
    """Eight recordings, one per lane, aligned at their last frame."""

    rows: Any  # the recordings (8,)
    first: Any  # the frame of the group at which each begins (8,)
    offsets: Any  # the element of flat scores at which frame 0 of the group would lie (8,)
    step: Any  # elements from frame to frame
    size: Any  # frames of the longest
    classes: Any
    held: Any  # frames that are kept at once


class Messages(NamedTuple):
    """Messages of a chunk of frames, in vectors."""

    alpha: Any  # message t + 1 is that of frame t; message 0 enters the chunk
    weights: Any  # exponentials of the scores, divided as the messages are; for the maximum, the scores themselves
    kept: Any  # the message before each chunk (and in the sum its norm)
