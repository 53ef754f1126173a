"""Best segmentations of streams of the semi-Markov chain, with the sums and choices among equals of `numba_viterbi`.

A running band is a hypothesis: a class and a start, with its best history. Frames are decided up to where the histories
of all hypotheses agree that may still win. Where each hypothesis is at the oldest undecided frame is carried along, so
that the search for the common history runs only when there is one.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_online import LIMIT, first_largest
from segcrf.kernels.numba_runtime import part
from segcrf.kernels.online import DECIDED, FRAMES
from segcrf.kernels.semi_markov.numba_online_state import BEFORE, LASTED, ORIGIN
from segcrf.kernels.semi_markov.numba_tables import WIDE, duration_score

__all__ = ["agreed", "close_best", "find_origins", "last_band", "running_band", "take_best", "trace_bands"]

_UNLIMITED = np.iinfo(np.int64).max
_BEYOND, _WHOLE = 0, 1  # rows of the best scores of long bands


@part
def take_best(scores, frame, tables, rule, stream):
    """Add the scores (C,) of a frame to the running bands, and begin those that begin there."""
    classes, size = tables.durations.shape
    top, ring = scores[first_largest(scores)], size + 1
    for c in range(classes):
        x, logs = scores[c] - top, stream.logs[c]
        if frame == 0:
            stream.long[_WHOLE, c] = tables.start[c]
        logs[frame % ring] = stream.enter[c] - stream.sums[c] if frame > 0 else -np.inf
        if x == -np.inf:
            stream.alive[c], stream.long[_BEYOND, c] = frame + 1, -np.inf
            continue
        low = max(1, stream.alive[c])
        if x <= -WIDE:  # the prefix sums skip this score
            for s in range(max(frame - size, low), frame + 1):
                logs[s % ring] += x
            stream.long[_BEYOND, c] += x
            stream.long[_WHOLE, c] += x
        else:
            stream.sums[c] += x
        if frame - size >= low:
            if logs[(frame - size) % ring] > stream.long[_BEYOND, c]:
                stream.long[_BEYOND, c], stream.since[c] = logs[(frame - size) % ring], frame - size
            stream.long[_BEYOND, c] += tables.tail[c]
        if frame >= size and stream.alive[c] == 0:
            _drop_opening(c, frame, tables, stream)


@part
def _drop_opening(c, frame, tables, stream):
    """Drop the band that began with the recording, if the best one beyond K frames will always be better.

    The scores of both change by the same tail from here on. Without this, no frame would ever be decided.
    """
    last = tables.durations.shape[1] - 1
    whole = stream.long[_WHOLE, c] + duration_score(tables.first, tables.tail, c, frame + 1)
    beyond = stream.long[_BEYOND, c] + min(tables.durations[c, last], tables.last[c, last])
    if whole < beyond - 1e-6 * (1.0 + abs(whole)):
        stream.long[_WHOLE, c] = -np.inf


@part
def close_best(frame, tables, rule, stream, work):
    """Find the best band of each class that ends at a frame, and the best that begins at the next one."""
    classes, size = tables.durations.shape
    closed, links = work.sums, stream.links[frame & (rule.capacity - 1)]
    for c in range(classes):
        closed[c], links[LASTED, c] = -np.inf, 1
        if stream.alive[c] > frame:
            continue
        best, begun = stream.long[_BEYOND, c] + tables.durations[c, size - 1], stream.since[c]
        low = max(1, frame - size + 1, stream.alive[c])
        total, start = _best_start(stream.logs[c], frame, low, tables.durations[c])
        if total > best:
            best, begun = total, start
        if stream.alive[c] == 0:
            total = stream.long[_WHOLE, c] + duration_score(tables.first, tables.tail, c, frame + 1)
            if total > best:
                best, begun = total, 0
        if best > -np.inf:
            closed[c], links[LASTED, c] = best + stream.sums[c], frame + 1 - begun
    after = stream.links[(frame + 1) & (rule.capacity - 1)]
    oldest = stream.header[DECIDED]
    for j in range(classes):
        stream.enter[j], after[BEFORE, j] = -np.inf, 0
        for i in range(classes):
            if closed[i] + tables.transitions[i, j] > stream.enter[j]:
                stream.enter[j], after[BEFORE, j] = closed[i] + tables.transitions[i, j], i
    for j in range(classes):
        i = after[BEFORE, j]
        if frame >= oldest:
            after[ORIGIN, j] = _origin(i, frame + 1 - links[LASTED, i], oldest, stream.links)
    _reduce(stream)


@part
def _best_start(logs, frame, low, durations):
    """Return the best score of a band that ends at a frame, less the prefix sum, and its start: the first of equals."""
    ring, slot = logs.size, frame % logs.size
    best, d = -np.inf, 0
    for k in range(frame + 1 - low):
        x = logs[slot - k if slot >= k else slot - k + ring] + durations[k]
        if x >= best and x > -np.inf:
            best, d = x, k
    return best, frame - d


@part
def _reduce(stream):
    """Keep totals and prefix sums small, so that they keep their digits however long the recording is."""
    top = stream.enter[first_largest(stream.enter)]
    shift = top if abs(top) > LIMIT and top > -np.inf else 0.0
    for c in range(stream.sums.size):
        skipped = stream.sums[c] if stream.sums[c] < -LIMIT else 0.0
        if shift == 0.0 and skipped == 0.0:
            continue
        stream.enter[c] -= shift
        stream.sums[c] -= skipped
        stream.long[_BEYOND, c] += skipped - shift
        stream.long[_WHOLE, c] += skipped - shift
        logs = stream.logs[c]
        for k in range(logs.size):
            logs[k] += skipped - shift


@part
def running_band(frame, tables, stream, work):
    """Choose the best running band, scored by its survival; return whether there is one.

    It is the first class of equal ones, and the earliest start.
    """
    classes, size = tables.durations.shape
    top, ring = -np.inf, size + 1
    for c in range(classes):
        if stream.alive[c] > frame:
            continue
        edge, sums = tables.edge, stream.sums[c]
        if stream.alive[c] == 0:
            score = stream.long[_WHOLE, c] + duration_score(edge, tables.tail, c, frame + 1) + sums
            if score > top:
                top, work.chosen[0], work.chosen[1] = score, c, 0
        score = stream.long[_BEYOND, c] + edge[c, size - 1] + sums
        if score > top:
            top, work.chosen[0], work.chosen[1] = score, c, stream.since[c]
        slot = frame % ring
        for d in range(frame - max(1, frame - size + 1, stream.alive[c]), -1, -1):
            score = stream.logs[c, slot - d if slot >= d else slot - d + ring] + edge[c, d] + sums
            if score > top:
                top, work.chosen[0], work.chosen[1] = score, c, frame - d
    return top > -np.inf


@part
def last_band(frame, tables, stream, work):
    """Choose the last band of the best segmentation of a recording that ends here; return whether there is one."""
    classes, size = tables.durations.shape
    top, ring = -np.inf, size + 1
    for c in range(classes):
        if stream.alive[c] > frame:
            continue
        best, begun = -np.inf, 0
        for s in range(frame, max(1, frame - size + 1, stream.alive[c]) - 1, -1):
            score = stream.logs[c, s % ring] + tables.last[c, frame - s]
            if score >= best and score > -np.inf:  # the earliest of equals
                best, begun = score, s
        score = stream.long[_BEYOND, c] + tables.last[c, size - 1]
        if score >= best and score > -np.inf:
            best, begun = score, stream.since[c]
        if stream.alive[c] == 0:
            score = stream.long[_WHOLE, c] + duration_score(tables.first, tables.tail, c, frame + 1)
            if score >= best and score > -np.inf:
                best, begun = score, 0
        score = best + stream.sums[c] + tables.end[c]
        if score > top:
            top, work.chosen[0], work.chosen[1] = score, c, begun
    return top > -np.inf


@part
def agreed(frame, tables, rule, stream, work, late):
    """Return on how many of the oldest frames all labellings agree that may still win, and write these labels.

    ``late``: the oldest frame must be decided, so labellings are dropped that disagree with the best one on it.
    """
    oldest = stream.header[DECIDED]
    origin = _origin(work.chosen[0], work.chosen[1], oldest, stream.links)
    same = _visit(frame, tables, stream, work, origin, late, False) == 0
    if not (same or late):
        return 0
    trace_bands(frame, rule, stream, work)
    count = frame + 1 - oldest
    after = count
    for k in range(count - 1, -1, -1):
        work.until[k] = after
        if work.begins[k]:
            after = k
    for k in range(1, count):
        for c in range(tables.tail.size):
            i = stream.links[(oldest + k) & (rule.capacity - 1), BEFORE, c]
            lasted = stream.links[(oldest + k - 1) & (rule.capacity - 1), LASTED, i]
            work.shared[k, c] = _common(i, k - lasted, k, work.shared, work.path, work.begins, work.until)
    return _visit(frame, tables, stream, work, origin, False, True)


@part
def _visit(frame, tables, stream, work, origin, drop, common):
    """Visit every running band that may still win.

    Returns how many have another class or start than ``origin`` at the oldest undecided frame, after the scores of
    these are set to -inf if ``drop``; with ``common`` the number of frames that all have in common instead.
    """
    classes, size = tables.durations.shape
    oldest, ring, others, shortest = stream.header[DECIDED], size + 1, 0, frame + 1 - stream.header[DECIDED]
    count, links = shortest, stream.links
    shared, path, begins, until = work.shared, work.path, work.begins, work.until
    for c in range(classes):
        if stream.alive[c] > frame:
            continue
        for row in range(2):
            start = 0 if row == _WHOLE else stream.since[c]
            if row == _WHOLE:
                possible = stream.alive[c] == 0 and frame < tables.longest[1, c]
            else:
                possible = tables.longest[0, c] == _UNLIMITED
            if possible and stream.long[row, c] > -np.inf:
                if common:
                    shortest = min(shortest, _common(c, start - oldest, count, shared, path, begins, until))
                elif _origin(c, start, oldest, links) != origin:
                    others += 1
                    if drop:
                        stream.long[row, c] = -np.inf
        slot = frame % ring
        for s in range(frame, max(1, frame - size + 1, stream.alive[c]) - 1, -1):
            if stream.logs[c, slot] > -np.inf and frame - s < tables.longest[0, c]:
                if common:
                    shortest = min(shortest, _common(c, s - oldest, count, shared, path, begins, until))
                elif _origin(c, s, oldest, links) != origin:
                    others += 1
                    if drop:
                        stream.logs[c, slot] = -np.inf
            slot = slot - 1 if slot > 0 else ring - 1
    return shortest if common else others


@part
def _common(label, start, stop, shared, path, begins, until):
    """Return how many undecided frames a band and its history have in common with the chosen path.

    The band covers the undecided frames ``start`` to ``stop - 1``, where a start before the oldest one is negative.
    """
    if start > 0 and shared[start, label] < start:
        return shared[start, label]
    first = max(start, 0)
    if path[first] != label or (begins[first] != 0) != (start >= 0):
        return first
    return min(stop, until[first])


@part
def _origin(label, start, oldest, links):
    """Return where a band and its history are at the oldest undecided frame: see `ORIGIN`."""
    if start > oldest:
        return links[start & (len(links) - 1), ORIGIN, label]
    return 2 * label + (1 if start == oldest else 0)


@part
def find_origins(rule, stream):
    """Find where all bands that begin at undecided frames are at the oldest of these."""
    oldest = stream.header[DECIDED]
    for s in range(oldest + 1, stream.header[FRAMES]):
        links, ended = stream.links[s & (rule.capacity - 1)], stream.links[(s - 1) & (rule.capacity - 1)]
        for c in range(stream.enter.size):
            i = links[BEFORE, c]
            links[ORIGIN, c] = _origin(i, s - ended[LASTED, i], oldest, stream.links)


@part
def trace_bands(frame, rule, stream, work):
    """Write the labels and band starts of the undecided frames that lead to the chosen band."""
    oldest = stream.header[DECIDED]
    label, start, stop = work.chosen[0], work.chosen[1], frame + 1
    while True:
        for t in range(max(start, oldest), stop):
            work.path[t - oldest], work.begins[t - oldest] = label, 0
        if start >= oldest and stop > start:
            work.begins[start - oldest] = 1
        if start <= oldest:
            return
        stop = start
        label = stream.links[start & (rule.capacity - 1), BEFORE, label]
        start -= stream.links[(start - 1) & (rule.capacity - 1), LASTED, label]
