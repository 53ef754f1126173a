"""Tables of the Numba kernels of the semi-Markov chain: scores in SIMD lanes, and the state of a sweep, by name.

Compiled functions that Python calls take plain tuples and name them first: Numba finds the type of a plain tuple
faster than that of a named one.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from segcrf.kernels.numba_runtime import explicit, inlined, part
from segcrf.kernels.simd import WIDTH, load, splat

__all__ = [
    "BEYOND",
    "BLOCK",
    "FRAMES",
    "HIGH",
    "KTH",
    "LONGEST",
    "LOW",
    "NEXT",
    "NUM_SHARED",
    "NUM_STATE",
    "REFERENCE",
    "SCALE",
    "SINCE",
    "TAIL",
    "TAPS",
    "TOP",
    "UNTIL",
    "VALID",
    "WHOLE",
    "WIDE",
    "Direction",
    "Message",
    "Outputs",
    "Recording",
    "Scores",
    "Tallies",
    "Window",
    "duration_score",
    "duration_scores",
    "far_below",
    "lay_out",
]

LOW, HIGH = 1e-150, 1e300  # a sum between them has lost nothing that float64 resolves
WIDE = 5e3  # nats below the best class of a frame from which on a score counts as a mask, and the prefix sums skip it
BLOCK = 64  # frames of a window kept beyond K
TAPS = 4  # durations summed separately
_SPAN = 300.0  # nats that finite scores of one table may span in scaled probability space

#: Rows of the state that a sweep carries from frame to frame, one element per class.
REFERENCE = 0  # the scale of the window
BEYOND = 1  # the mass beyond K
FRAMES = 2  # that mass times its frames beyond K
SCALE = 3  # the scale of both
WHOLE = 4  # the score of a segment that has lasted since the edge
SINCE = 5  # the frame after the last that forbids the class
UNTIL = 6  # the first frame that forbids the class
NEXT = 7  # the score of entering the next frame
NUM_STATE = 8

#: Rows of the data that all sweeps share, one element per class.
TOP = 0  # the best score of the durations
KTH = 1  # the score of K frames
TAIL = 2  # the score of each frame beyond K
VALID = 3  # 1 for a class, 0 for padding
LONGEST = 4  # a bound of the score of K frames or fewer, also at an edge
NUM_SHARED = 5


class Scores(NamedTuple):
    """Scores that all recordings share, in flat arrays with a row of whole vectors for each duration or class.

    Moves are the weights of transitions, then 1 for each class that can be reached, the scores at the edge, and the
    transitions.
    """

    durations: Any  # (C, K), as they are
    weights: Any  # exp(durations - best of the class); NaN where they could underflow
    shared: Any  # rows TOP to LONGEST
    forwards: Any  # moves with time
    backwards: Any  # moves against time
    opening: Any  # durations at the start of a recording
    closing: Any  # durations at its end
    top: Any  # the best transition
    narrow: Any  # whether the weights of transitions do not underflow


class Outputs(NamedTuple):
    """Output arrays, all flat except the counts; an empty array is not computed."""

    log_z: Any  # (B,)
    by_label: Any  # marginals of labels
    counts: Any  # (B, all shared scores)
    by_start: Any  # probabilities that a segment begins


class Recording(NamedTuple):
    """One recording: its scores in the flat batch, and their prefix sums."""

    emissions: Any  # of the batch, flat
    offset: Any  # of the recording in them
    length: Any
    forbids: Any  # (T,): whether the prefix sums skip a score of the frame
    sums: Any  # prefix sums, (T + 1) rows
    lower: Any  # sums, up to each frame, of the finite scores that the prefix sums skip; empty if there is none
    crossing: Any  # per frame and class a bound of the log-sum of the segments across a finite mask; empty like `lower`


class Window(NamedTuple):
    """State of a sweep: the scores of the last K starts, and the rest in rows of ``state``."""

    state: Any  # rows REFERENCE to NEXT
    logs: Any  # scores of the starts less the prefix sums before them
    masses: Any  # exp(logs - reference)
    scratch: Any  # four rows


class Direction(NamedTuple):
    """Direction of a sweep."""

    way: Any  # 0 with time, 1 against it
    moves: Any
    edge: Any  # durations of the segment that begins at the edge


class Message(NamedTuple):
    """Scores of the frames of one direction: see `sweep` for ``entered`` and ``closed``.

    ``before``, the scores entered in the other direction, is empty in the first sweep.
    """

    entered: Any
    closed: Any
    before: Any


class Tallies(NamedTuple):
    """Sums from which the counts of one recording are made."""

    raw: Any  # per duration, without its weight
    edges: Any  # K rows at the end, K rows at the start, then beyond K: segments, frames, and segments that begin
    steps: Any  # (C, C) without the weights of transitions
    count: Any  # exact counts, (all shared scores,)


@explicit
def lay_out(transitions, durations, tail, start, end, first, last):
    """Return the fields of `Scores` as a plain tuple."""
    classes, size = durations.shape
    row, taps = (classes + WIDTH - 1) // WIDTH * WIDTH, (size + TAPS - 1) // TAPS * TAPS
    weights, shared = np.zeros(taps * row), np.zeros(NUM_SHARED * row)
    forwards, backwards = np.zeros((2 * classes + 2) * row), np.zeros((2 * classes + 2) * row)
    opening, closing = np.empty(size * row), np.empty(size * row)
    top, narrow = _range(transitions, np.int64(0), classes)
    for c in range(row):
        real = c < classes
        shared[KTH * row + c] = durations[c, size - 1] if real else -np.inf
        shared[TAIL * row + c] = tail[c] if real else -np.inf
        shared[VALID * row + c] = 1.0 if real else 0.0
        shared[LONGEST * row + c] = -np.inf
        forwards[(classes + 1) * row + c] = start[c] if real else -np.inf
        backwards[(classes + 1) * row + c] = end[c] if real else -np.inf
        for k in range(size):
            opening[k * row + c] = first[c, k] if real else -np.inf
            closing[k * row + c] = last[c, k] if real else -np.inf
            if real:
                best = max(durations[c, k], first[c, k], last[c, k])
                shared[LONGEST * row + c] = max(shared[LONGEST * row + c], best)
    for c in range(classes):
        best, fits = _range(durations, c, c + 1)
        shared[TOP * row + c] = best
        for k in range(size):
            weights[k * row + c] = np.exp(durations[c, k] - best) if fits else np.nan
        for j in range(classes):
            score = transitions[c, j]
            weight = np.exp(score - top)
            forwards[c * row + j] = backwards[j * row + c] = weight
            forwards[(classes + 2 + c) * row + j] = backwards[(classes + 2 + j) * row + c] = score
            if score > -np.inf:
                forwards[classes * row + j] = backwards[classes * row + c] = 1.0
    return durations, weights, shared, forwards, backwards, opening, closing, top, narrow


@part
def _range(scores, begin, end):
    """Return the largest finite score of some rows, or 0, and whether finite scores span too little to underflow."""
    top, lowest = -np.inf, np.inf
    for i in range(begin, end):
        for j in range(scores.shape[1]):
            if scores[i, j] > -np.inf:
                top, lowest = max(top, scores[i, j]), min(lowest, scores[i, j])
    return (top, top - lowest < _SPAN) if top > -np.inf else (0.0, True)


@inlined
def duration_scores(table, duration, size, width, v, tail):
    """Return scores (a vector of classes) of one duration: the table up to K, the geometric tail beyond."""
    score = load(table, (min(duration, size) - 1) * width + v)
    if duration > size:
        score = score + splat(np.float64(duration - size)) * tail
    return score


@part
def duration_score(table, tail, c, duration):
    """Return the score of one duration of class c: the table up to K, the geometric tail beyond."""
    size = table.shape[1]
    if duration <= size:
        return table[c, duration - 1]
    return table[c, size - 1] + (duration - size) * tail[c]


@part
def far_below(emissions, at, classes, c):
    """Return the part of the score of class c that the prefix sums skip, in the frame that begins at ``at``.

    It is the whole score, less the maximum of the frame, if that is far below the maximum; else 0.
    """
    best = -np.inf
    for i in range(classes):
        best = max(best, np.float64(emissions[at + i]))
    x = np.float64(emissions[at + c]) - best if best > -np.inf else best
    return x if x <= -WIDE else 0.0
