"""Online decoding of the linear chain on a CPU: forward messages, then as many steps back as frames are undecided.

Forward messages are logarithms. Given the label of the next frame and all frames so far, a label is independent of what
follows, so the way back is a product of stochastic matrices: no step of it can lose mass. A column of a matrix is
computed from scaled weights, or from logarithms where its scaled sum would have lost digits.

Source: Rabiner 1989, section III; Šrámek, Brejová and Vinař, "On-line Viterbi algorithm for analysis of long biological
sequences", 2007.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from segcrf.kernels.numba_online import (
    LIMIT,
    Decisions,
    Rule,
    check_scores,
    exponential,
    first_largest,
    mark_changes,
    open_band,
    write_decided,
)
from segcrf.kernels.numba_runtime import explicit, finite_range, part
from segcrf.kernels.online import ALLOWED, DECIDED, FORBIDDEN, FRAMES, LABEL, NUM_HEADER, Sizes

__all__ = ["advance", "begin", "current", "filtered", "finish", "following", "lay_out", "sizes"]

_LOW = 1e-150  # a scaled sum above it has lost nothing that float64 resolves


class Tables(NamedTuple):
    """Scores that all streams share."""

    transitions: Any  # (C, C)
    weights: Any  # exp(transitions - top)
    start: Any
    end: Any
    top: Any  # (1,), the largest finite transition


class Stream(NamedTuple):
    """Views of the state of one stream."""

    header: Any
    origins: Any  # (C,): the label of the oldest undecided frame, by the label of the last one
    before: Any  # (capacity, C): the label before, by the label of a frame
    message: Any  # (C,): log-sum over the labellings so far, less that of the best class
    best: Any  # (C,): the score of the best of them
    messages: Any  # (capacity, 3 C): of each frame its message, exp of it, and 1 / scaled sum of its column


class Work(NamedTuple):
    """Memory that a call needs once."""

    posterior: Any  # (C,)
    earlier: Any  # (C,)
    shares: Any  # (C,)
    path: Any  # (capacity,)
    begins: Any  # (capacity,)
    alive: Any  # (C,)
    origins: Any  # (C,)


def sizes(tables: Any) -> Sizes:
    """Return the sizes of a stream's state."""
    classes = tables[2].size
    return Sizes(2 * classes, NUM_HEADER + classes, 3 * classes, classes)


def begin(tables: Any, reals: Any, wholes: Any) -> None:
    """Set rows of streams to the state before the first frame."""
    reals[...] = 0.0
    wholes[...] = 0
    wholes[..., LABEL] = -1


@explicit
def lay_out(transitions, start, end):
    """Return the fields of `Tables` as a plain tuple."""
    top, _ = finite_range(transitions.ravel())
    return transitions, np.exp(transitions - top), start, end, np.array([top])


@explicit
def advance(emissions, lengths, tables, rule, reals, wholes, decided):
    """Take the next frames of each stream, and write the frames that are decided by then.

    Returns the number of decided frames; then what was wrong with a frame, its stream, the frame, and the class.
    """
    tables, rule, decided = Tables(*tables), Rule(*rule), Decisions(*decided)
    classes, rows = tables.start.size, 0
    work = _work(classes, rule.capacity)
    for i in range(lengths.size):
        stream = _stream(reals[i], wholes[i], classes, rule.capacity)
        for t in range(lengths[i]):
            frame = stream.header[FRAMES]
            wrong, label = check_scores(emissions[i, t])
            if wrong == ALLOWED and not _take(emissions[i, t], frame, tables, rule, stream, work):
                wrong = FORBIDDEN
            if wrong != ALLOWED:
                return rows, wrong, i, frame, label
            stream.header[FRAMES] = frame + 1
            rows = _decide(tables, rule, stream, work, decided, rows, i)
    return rows, ALLOWED, 0, 0, 0


@explicit
def finish(which, tables, rule, reals, wholes, decided):
    """Decide all frames of some streams by the scores of the last label; return as `advance` does."""
    tables, rule, decided = Tables(*tables), Rule(*rule), Decisions(*decided)
    classes, rows = tables.start.size, 0
    work = _work(classes, rule.capacity)
    for k in range(which.size):
        i = which[k]
        stream = _stream(reals[i], wholes[i], classes, rule.capacity)
        header = stream.header
        last = header[FRAMES] - 1
        count = header[FRAMES] - header[DECIDED]
        best = stream.best + tables.end
        label = first_largest(best)
        possible = _normalise(stream.message + tables.end, work.posterior)
        if not possible or (not rule.by_frame and best[label] == -np.inf):
            return rows, FORBIDDEN, i, last, 0
        if count == 0:
            continue
        _sweep(tables, rule, stream, work, decided, rows, count)
        if rule.by_frame:
            for r in range(count):
                work.path[r] = first_largest(decided.posterior[rows + r])
        else:
            _trace(rule, stream, label, work.path, count)
        mark_changes(work.path, work.begins, count, header[LABEL])
        rows = write_decided(header, decided, rows, i, work.path, work.begins, count)
    return rows, ALLOWED, 0, 0, 0


@explicit
def filtered(tables, rule, reals, wholes, probability):
    """Write the probability (streams, C) of the class of each last frame; zero without a frame."""
    tables, rule = Tables(*tables), Rule(*rule)
    for i in range(len(wholes)):
        stream = _stream(reals[i], wholes[i], tables.start.size, rule.capacity)
        probability[i] = 0.0
        if stream.header[FRAMES]:
            _normalise(stream.message, probability[i])


@explicit
def following(tables, rule, reals, wholes, probability):
    """Write the probability (streams, C) of the class of each next frame; zero if nothing is allowed there."""
    tables, rule = Tables(*tables), Rule(*rule)
    message = np.empty(tables.start.size)
    for i in range(len(wholes)):
        stream = _stream(reals[i], wholes[i], tables.start.size, rule.capacity)
        for j in range(message.size):
            message[j] = tables.start[j]
            if stream.header[FRAMES]:
                message[j] = _log_sum_into(stream.message, tables, j)
        if not _normalise(message, probability[i]):
            probability[i] = 0.0


@explicit
def current(tables, rule, reals, wholes, labels, firsts):
    """Write the class and the first frame of the last band of each stream, by what is known so far."""
    tables, rule = Tables(*tables), Rule(*rule)
    classes = tables.start.size
    work = _work(classes, rule.capacity)
    posterior = np.empty((rule.capacity if rule.by_frame else 0, classes))
    unused = np.empty(0, np.int64)
    kept = Decisions(unused, unused, unused, unused, posterior)
    for i in range(len(wholes)):
        stream = _stream(reals[i], wholes[i], classes, rule.capacity)
        header = stream.header
        count = header[FRAMES] - header[DECIDED]
        if count and rule.by_frame:
            _normalise(stream.message, work.posterior)
            _sweep(tables, rule, stream, work, kept, 0, count)
            for r in range(count):
                work.path[r] = first_largest(posterior[r])
        elif count:
            _trace(rule, stream, first_largest(stream.best), work.path, count)
        mark_changes(work.path, work.begins, count, header[LABEL])
        labels[i], firsts[i] = open_band(header, work.path, work.begins)


@part
def _stream(reals, wholes, classes, capacity):
    ring, links = reals[2 * classes :], wholes[NUM_HEADER + classes :]
    return Stream(
        wholes[:NUM_HEADER],
        wholes[NUM_HEADER : NUM_HEADER + classes],
        links.reshape((capacity, classes)),
        reals[:classes],
        reals[classes : 2 * classes],
        ring.reshape((capacity, 3 * classes)),
    )


@part
def _work(classes, capacity):
    return Work(
        np.empty(classes),
        np.empty(classes),
        np.empty(classes),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(classes, np.bool_),
        np.empty(classes, np.int64),
    )


@part
def _normalise(message, probability):
    """Write the probabilities of classes with log-masses ``message``; return whether there are any."""
    top = message[first_largest(message)]
    if top == -np.inf:
        return False
    total = 0.0
    for c in range(message.size):
        probability[c] = exponential(message[c] - top)
        total += probability[c]
    for c in range(message.size):
        probability[c] /= total
    return True


@part
def _log_sum_into(message, tables, j):
    """Return the log-sum over the classes before class j."""
    top = -np.inf
    for i in range(message.size):
        top = max(top, message[i] + tables.transitions[i, j])
    if top == -np.inf:
        return top
    total = 0.0
    for i in range(message.size):
        total += exponential(message[i] + tables.transitions[i, j] - top)
    return top + np.log(total)


@part
def _take(scores, frame, tables, rule, stream, work):
    """Advance both recursions by the scores (C,) of a frame; return whether a labelling is allowed."""
    classes = scores.size
    peak = scores[first_largest(scores)]
    if peak == -np.inf:
        return False
    record = stream.messages[frame & (rule.capacity - 1)]
    message, earlier, reached = stream.message, work.earlier, work.shares
    if frame == 0:
        for j in range(classes):
            message[j] = tables.start[j] + (scores[j] - peak)
            reached[j] = 0.0
    else:
        for i in range(classes):
            earlier[i] = exponential(message[i])
        for j in range(classes):
            total = 0.0
            for i in range(classes):
                total += earlier[i] * tables.weights[i, j]
            if total >= _LOW:
                record[classes + j] = np.log(total) + tables.top[0]
                reached[j] = 1.0 / total
            else:
                record[classes + j] = _log_sum_into(message, tables, j)
                reached[j] = 0.0
        for j in range(classes):
            message[j] = record[classes + j] + (scores[j] - peak)
    top = message[first_largest(message)]
    if top == -np.inf:
        return False
    for j in range(classes):
        message[j] -= top
        record[j], record[classes + j] = message[j], exponential(message[j])
        record[2 * classes + j] = reached[j]
    return bool(rule.by_frame) or _take_best(scores, frame, tables, rule, stream, work)


@part
def _take_best(scores, frame, tables, rule, stream, work):
    """Advance the best labellings by a frame: of equal ones the first class before it, as in `max_product`."""
    classes, best, reached = scores.size, stream.best, work.earlier
    before = stream.before[frame & (rule.capacity - 1)]
    for j in range(classes):
        reached[j], before[j] = -np.inf, 0
        if frame == 0:
            reached[j] = tables.start[j]
            continue
        for i in range(classes):
            if best[i] + tables.transitions[i, j] > reached[j]:
                reached[j], before[j] = best[i] + tables.transitions[i, j], i
    top = -np.inf
    for j in range(classes):
        best[j] = reached[j] + scores[j]
        top = max(top, best[j])
    if abs(top) > LIMIT:
        for j in range(classes):
            best[j] -= top
    if frame == stream.header[DECIDED]:
        for j in range(classes):
            stream.origins[j] = j
    else:
        for j in range(classes):
            work.origins[j] = stream.origins[before[j]]
        for j in range(classes):
            stream.origins[j] = work.origins[j]
    return top > -np.inf


@part
def _decide(tables, rule, stream, work, decided, rows, i):
    """Decide what can be decided after a frame, and return the next row of ``decided``."""
    header = stream.header
    pending = header[FRAMES] - header[DECIDED]
    late = rule.max_delay >= 0 and pending > rule.max_delay
    if rule.by_frame:
        if not late:
            return rows
        count = pending - rule.max_delay
    else:
        count = _agreed(rule, stream, work, late)
        if count == 0:
            return rows
        _trace(rule, stream, first_largest(stream.best), work.path, pending)
    _normalise(stream.message, work.posterior)
    _sweep(tables, rule, stream, work, decided, rows, count)
    if rule.by_frame:
        for r in range(count):
            work.path[r] = first_largest(decided.posterior[rows + r])
    mark_changes(work.path, work.begins, count, header[LABEL])
    rows = write_decided(header, decided, rows, i, work.path, work.begins, count)
    if not rule.by_frame:
        _find_origins(rule, stream, work)
    return rows


@part
def _agreed(rule, stream, work, late):
    """Return on how many of the oldest frames all labellings agree that may still win.

    ``late``: the oldest frame must be decided, so labellings are dropped that disagree with the best one on it.
    """
    header, best, origins, alive = stream.header, stream.best, stream.origins, work.alive
    first = first_largest(best)
    same = True
    for c in range(best.size):
        alive[c] = best[c] > -np.inf
        if alive[c] and origins[c] != origins[first]:
            same = False
            if late:
                best[c], alive[c] = -np.inf, False
    if not (same or late):
        return 0
    frame = header[FRAMES] - 1
    while True:
        number = 0
        for c in range(best.size):
            number += alive[c]
        if number <= 1:
            return frame + 1 - header[DECIDED]
        before = stream.before[frame & (rule.capacity - 1)]
        for c in range(best.size):
            work.earlier[c] = 0.0
        for c in range(best.size):
            if alive[c]:
                work.earlier[before[c]] = 1.0
        for c in range(best.size):
            alive[c] = work.earlier[c] > 0.0
        frame -= 1


@part
def _find_origins(rule, stream, work):
    """Find the label of the oldest undecided frame, by the label of the last one."""
    header, origins = stream.header, stream.origins
    for c in range(origins.size):
        origins[c] = c
    for frame in range(header[FRAMES] - 1, header[DECIDED], -1):
        before = stream.before[frame & (rule.capacity - 1)]
        for c in range(origins.size):
            origins[c] = before[origins[c]]


@part
def _trace(rule, stream, label, path, count):
    """Write the labels of the ``count`` undecided frames that lead to ``label``."""
    frame = stream.header[FRAMES] - 1
    for k in range(count - 1, -1, -1):
        path[k] = label
        label = stream.before[frame & (rule.capacity - 1), label]
        frame -= 1


@part
def _sweep(tables, rule, stream, work, decided, row, count):
    """Write the posterior of the ``count`` oldest undecided frames, given that of the last frame.

    The last one is in ``work.posterior``.
    """
    header, posterior, earlier, shares = stream.header, work.posterior, work.earlier, work.shares
    classes, oldest, frame = posterior.size, header[DECIDED], header[FRAMES] - 1
    while True:
        if frame - oldest < count:
            for c in range(classes):
                decided.posterior[row + frame - oldest, c] = posterior[c]
        if frame == oldest:
            return
        after = stream.messages[frame & (rule.capacity - 1)]
        record = stream.messages[(frame - 1) & (rule.capacity - 1)]
        for i in range(classes):
            earlier[i] = 0.0
        for j in range(classes):
            inverse = after[2 * classes + j]
            shares[j] = posterior[j] * inverse
            if inverse == 0.0 and posterior[j] > 0.0:
                total = _log_sum_into(record[:classes], tables, j)
                for i in range(classes):
                    earlier[i] += posterior[j] * exponential(record[i] + tables.transitions[i, j] - total)
        for i in range(classes):
            total = 0.0
            for j in range(classes):
                total += tables.weights[i, j] * shares[j]
            posterior[i] = earlier[i] + record[classes + i] * total
        frame -= 1
