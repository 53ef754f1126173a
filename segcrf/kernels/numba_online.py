"""What the Numba kernels of both structures share in online decoding: checks of a frame, sums, and decided frames."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from segcrf.kernels.numba_runtime import exp, part
from segcrf.kernels.online import ALLOWED, BEGUN, DECIDED, FRAMES, LABEL, MASKED, NO_SCORE

__all__ = [
    "LIMIT",
    "Decisions",
    "Rule",
    "check_scores",
    "exponential",
    "first_largest",
    "log_of_sum",
    "mark_changes",
    "open_band",
    "write_decided",
]

LIMIT = 1e9  # nats: a total beyond it is reduced, so that float64 keeps seven digits of a nat
_MASK = -1e12  # a frame with no score above it holds a finite mask on every class


class Rule(NamedTuple):
    """How streams are decided."""

    by_frame: Any  # 1: the most probable class of each frame; 0: the most probable labelling
    max_delay: Any  # frames; below 0: no limit
    capacity: Any  # records of a ring


class Decisions(NamedTuple):
    """Decided frames, one per row; rows are sorted by stream and frame."""

    stream: Any
    frame: Any
    label: Any
    start: Any
    posterior: Any  # (rows, C)


@part
def check_scores(scores):
    """Return what is wrong with the scores (C,) of a frame, or ALLOWED, and the class that it is wrong with."""
    top = -np.inf
    for c in range(scores.size):
        if np.isnan(scores[c]) or scores[c] == np.inf:
            return NO_SCORE, c
        top = max(top, scores[c])
    return (MASKED if -np.inf < top <= _MASK else ALLOWED), 0


@part
def exponential(x):
    """Return exp(x) for x up to 700; 0 below -700."""
    return exp(max(x, -700.0)) if x > -700.0 else 0.0


@part
def log_of_sum(terms, count):
    """Return the log-sum-exp of the first ``count`` terms, which are replaced by their shares in the sum."""
    top = -np.inf
    for k in range(count):
        top = terms[k] if terms[k] > top else top
    if top == -np.inf:
        for k in range(count):
            terms[k] = 0.0
        return top
    for k in range(count):
        x = terms[k] - top
        e = exp(max(x, -700.0))
        terms[k] = e if x > -700.0 else 0.0
    total = 0.0
    for k in range(count):
        total += terms[k]
    inverse = 1.0 / total
    for k in range(count):
        terms[k] *= inverse
    return top + np.log(total)


@part
def first_largest(values):
    """Return the index of the largest value, the first of equals."""
    found = 0
    for c in range(1, values.size):
        if values[c] > values[found]:
            found = c
    return found


@part
def mark_changes(path, begins, count, before):
    """Mark where the label changes; ``before`` is the label before the first one."""
    for k in range(count):
        begins[k] = path[k] != before
        before = path[k]


@part
def write_decided(header, decided, row, stream, path, begins, count):
    """Write the next ``count`` labels of a stream from ``row`` on, and return the next row."""
    for k in range(count):
        frame = header[DECIDED]
        decided.stream[row], decided.frame[row] = stream, frame
        decided.label[row], decided.start[row] = path[k], begins[k] != 0
        if begins[k]:
            header[BEGUN] = frame
        header[LABEL], header[DECIDED] = path[k], frame + 1
        row += 1
    return row


@part
def open_band(header, path, begins):
    """Return the class and the first frame of the last band, given the labels of the undecided frames."""
    first = header[DECIDED]
    for k in range(header[FRAMES] - first - 1, -1, -1):
        if begins[k]:
            return path[k], first + k
    return header[LABEL], header[BEGUN]
