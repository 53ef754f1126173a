"""State of a stream of the semi-Markov chain, by name, and the memory that a call needs once."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from segcrf.kernels.numba_runtime import part
from segcrf.kernels.online import NUM_HEADER

__all__ = [
    "BEFORE",
    "CLOSED",
    "ENTERED",
    "FRESH",
    "INVERSE",
    "LASTED",
    "LOW",
    "NUM_RECORD",
    "OLD",
    "ORIGIN",
    "STEP",
    "WEIGHT",
    "Stream",
    "Tables",
    "Work",
    "make_work",
    "view_stream",
]

#: Rows of the real record of a frame, one element per class.
STEP = 0  # its score, relative
ENTERED = 1  # log-mass of the bands that begin at it, before its score
CLOSED = 2  # log-mass of the bands that end at it
OLD = 3  # share of those that are older than K frames
FRESH = 4  # share of the bands that exceed K frames since this frame in all those beyond K
WEIGHT = 5  # exp(CLOSED - the largest)
INVERSE = 6  # 1 / scaled sum of the weights before a band that begins at it; 0 where that sum has lost digits
NUM_RECORD = 7

LOW = 1e-150  # a scaled sum above it has lost nothing that float64 resolves

#: Rows of the whole record of a frame.
BEFORE = 0  # the class before the best band that begins at it
LASTED = 1  # the duration of the best band that ends at it
ORIGIN = 2  # of a band that begins at it: the class at the oldest undecided frame, twice, plus 1 if a band begins there


class Tables(NamedTuple):
    """Scores that all streams share."""

    transitions: Any  # (C, C)
    durations: Any  # (C, K)
    tail: Any  # (C,)
    start: Any
    end: Any
    first: Any  # (C, K)
    last: Any
    edge: Any  # survival
    longest: Any  # (2, C): the longest possible duration, of bands and of the first one
    steps: Any  # (C, C): exp(transitions - the largest)
    lengths: Any  # (C, K): exp(durations - the largest of the class), from K down to 1
    tops: Any  # (C + 1,): the largest duration score of each class, and the largest transition


class Stream(NamedTuple):
    """Views of the state of one stream."""

    header: Any
    since: Any  # (C,): where the best band beyond K began
    alive: Any  # (C,): the frame after the last that forbids the class
    links: Any  # (capacity, 3, C): whole records
    message: Any  # (C,): log-sum over the labellings so far, less that of the best class
    entering: Any  # (C,): log-mass of the bands that begin at the next frame
    inverse: Any  # (C,): INVERSE of the next frame
    opening: Any  # (C,): of the band that began with the recording
    beyond: Any  # (C,): of the bands older than K frames
    sums: Any  # (C,): prefix sums of the scores
    enter: Any  # (C,): score of the best band that begins at the next frame
    long: Any  # (2, C): of the best band beyond K, and of the one that began with the recording
    running: Any  # (C, K): log-mass by start, start s in column s % K
    logs: Any  # (C, K + 1): best score by start less the prefix sum there, start s in column s % (K + 1)
    records: Any  # (capacity, 7, C): real records


class Work(NamedTuple):
    """Memory that a call needs once."""

    terms: Any  # (K + 2,)
    sums: Any  # (C,)
    posterior: Any  # (C,)
    older: Any  # (C,)
    begun: Any  # (capacity, C)
    path: Any  # (capacity,)
    begins: Any  # (capacity,)
    until: Any  # (capacity,)
    shared: Any  # (capacity, C)
    chosen: Any  # (2,): class and start of a running band
    emitted: Any  # (C, capacity + 1): sums of STEP over the undecided frames before
    scales: Any  # (C, capacity): exp(ENTERED - emitted - anchor)
    spread: Any  # (C, capacity): sums to be multiplied by these
    anchor: Any  # (C,)
    entered: Any  # (C,)


@part
def view_stream(reals, wholes, tables, rule):
    """Return views of the state of one stream."""
    classes, size = tables.durations.shape
    fixed, a, b = 9 * classes, (9 + size) * classes, (10 + 2 * size) * classes
    rows = reals[:fixed].reshape((9, classes))
    links = wholes[NUM_HEADER + 2 * classes :]
    return Stream(
        wholes[:NUM_HEADER],
        wholes[NUM_HEADER : NUM_HEADER + classes],
        wholes[NUM_HEADER + classes : NUM_HEADER + 2 * classes],
        links.reshape((rule.capacity, 3, classes)),
        rows[0],
        rows[1],
        rows[2],
        rows[3],
        rows[4],
        rows[5],
        rows[6],
        rows[7:9],
        reals[fixed:a].reshape((classes, size)),
        reals[a:b].reshape((classes, size + 1)),
        reals[b:].reshape((rule.capacity, NUM_RECORD, classes)),
    )


@part
def make_work(tables, rule):
    """Allocate the memory of a call."""
    classes, size = tables.durations.shape
    return Work(
        np.empty(size + 2),
        np.empty(classes),
        np.empty(classes),
        np.empty(classes),
        np.empty((rule.capacity, classes)),
        np.empty(rule.capacity, np.int64),
        np.empty(rule.capacity, np.int64),
        np.empty(rule.capacity, np.int64),
        np.empty((rule.capacity, classes), np.int64),
        np.empty(2, np.int64),
        np.empty((classes, rule.capacity + 1)),
        np.empty((classes, rule.capacity)),
        np.empty((classes, rule.capacity)),
        np.empty(classes),
        np.empty(classes),
    )
