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
    "LASTED",
    "NUM_RECORD",
    "OLD",
    "ORIGIN",
    "STEP",
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
NUM_RECORD = 5

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


class Stream(NamedTuple):
    """Views of the state of one stream."""

    header: Any
    since: Any  # (C,): where the best band beyond K began
    alive: Any  # (C,): the frame after the last that forbids the class
    links: Any  # (capacity, 3, C): whole records
    message: Any  # (C,): log-sum over the labellings so far, less that of the best class
    entering: Any  # (C,): log-mass of the bands that begin at the next frame
    opening: Any  # (C,): of the band that began with the recording
    beyond: Any  # (C,): of the bands older than K frames
    sums: Any  # (C,): prefix sums of the scores
    enter: Any  # (C,): score of the best band that begins at the next frame
    long: Any  # (2, C): of the best band beyond K, and of the one that began with the recording
    running: Any  # (C, K): log-mass by start, start s in column s % K
    logs: Any  # (C, K + 1): best score by start less the prefix sum there, start s in column s % (K + 1)
    records: Any  # (capacity, 5, C): real records


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


@part
def view_stream(reals, wholes, tables, rule):
    """Return views of the state of one stream."""
    classes, size = tables.durations.shape
    fixed, a, b = 8 * classes, 8 * classes + classes * size, 8 * classes + classes * (2 * size + 1)
    rows = reals[:fixed].reshape((8, classes))
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
        rows[6:8],
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
    )
