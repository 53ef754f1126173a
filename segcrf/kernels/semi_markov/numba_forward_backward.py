"""Semi-Markov chain on a CPU: exact sums in O(C K + C^2) per frame and O(T C) memory, and best segmentations.

Let S[t] be the prefix sums of the emissions, ``enter[s]`` the log-sum over all ways to begin a segment at frame s, and
``close[t]`` the log-sum over all ways to end a segment with frame t. A segment that lasts [s, t] adds S[t+1] - S[s] and
its duration score, so

    close[t] = S[t+1] + log sum_d exp(G[t+1-d] + durations[d]),   G[s] = enter[s] - S[s]

is a dot product over the window of the last K starts, when ``exp(G - reference)`` is kept beside G. Beyond K, one
scaled number per class carries the sum. Transitions enter between segments, once per frame. Classes lie in SIMD lanes,
in vectors of `simd`: dot products, exponentials and logarithms of eight classes at a time.

Differences of prefix sums are exact if the sums stay small. A score of one frame that is ``WIDE`` below the best of its
frame, for example a mask of -1e9, would absorb the digits of all others: the sums skip it as they skip -inf, and a
sweep adds it to every segment that is open.

Scaling loses nothing: a sum between 1e-150 and 1e300 has dropped only terms below 1e-300, less than float64 resolves;
any other sum is computed again in log space, and gives a new reference. The check is per class and frame, so no
recording is ever too wide.

The backward pass is the same sweep with time reversed: ``begin[s]`` sums over everything that can follow a start at s,
``leave[t]`` over everything that can follow an end at t. It keeps K frames and a block; marginals of labels are a
running difference of starts and ends.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.linear_chain.numba_lanes import copy
from segcrf.kernels.linear_chain.numba_rows import outer, read, write
from segcrf.kernels.numba_runtime import explicit, inlined, part
from segcrf.kernels.semi_markov.numba_counts import collect, finish
from segcrf.kernels.semi_markov.numba_tables import (
    BEYOND,
    BLOCK,
    FRAMES,
    HIGH,
    KTH,
    LOW,
    NEXT,
    NUM_SHARED,
    NUM_STATE,
    REFERENCE,
    SCALE,
    SINCE,
    TAIL,
    TAPS,
    TOP,
    UNTIL,
    VALID,
    WHOLE,
    WIDE,
    Direction,
    Message,
    Outputs,
    Recording,
    Scores,
    Tallies,
    Window,
    duration_scores,
    far_below,
)
from segcrf.kernels.simd import WIDTH, any_outside, exp, fma, larger, load, log, peak, splat, store, where_above

__all__ = ["sum_rows"]


@explicit
def sum_rows(emissions, lengths, table, out, first, last):
    """Write the sums of recordings ``first`` to ``last``.

    ``table`` and ``out`` are plain tuples with the fields of `Scores` and `Outputs`.
    """
    scores, outputs = Scores(*table), Outputs(*out)
    (classes, size), nothing = scores.durations.shape, np.empty(0)
    row = scores.shared.size // NUM_SHARED
    width, taps, frames = row // WIDTH, scores.weights.size // row, emissions.size // classes // lengths.size
    block = max(BLOCK, taps)
    logs, masses = np.empty((taps + block) * row), np.empty((taps + block) * row)
    window = Window(np.empty(NUM_STATE * row), logs, masses, np.empty(4 * row))
    ends, until, posterior = np.empty(row), np.empty(row), np.empty(row)
    back, with_starts = outputs.counts.shape[0] > 0, outputs.by_start.size > 0
    left, begun = np.empty(block * row if back else 0), np.empty(block * row if back else 0)
    starts = np.empty(block * row if with_starts else 0)
    for b in range(first, last):
        length, offset, total = lengths[b], b * frames * classes, 0.0
        sums, forbids = np.empty((length + 1) * row), np.empty(length, np.bool_)
        entered, closed = np.empty(length * row), np.empty(length * row)
        outputs.log_z[b] = _sum_scores(emissions, offset, length, classes, width, scores.shared, sums, forbids)
        lower = np.zeros(length * row if back and forbids.any() else 0)
        if lower.size:
            _sum_masks(emissions, offset, classes, row, forbids, lower)
        recording = Recording(emissions, offset, length, forbids, sums, lower, np.full(lower.size, np.inf))
        count = outputs.counts[b] if back else nothing
        raw = np.zeros(taps * row if back else 0)
        edges, steps = np.zeros((2 * size + 3) * row), np.zeros(classes * row)
        # Forwards, then backwards: the same sweep, so that it is compiled only once.
        for way in range(2 if back else 1):
            moves, edge = (scores.backwards, scores.closing) if way else (scores.forwards, scores.opening)
            enters, closes, before = (left, begun, entered) if way else (entered, closed, nothing)
            direction, message = Direction(way, moves, edge), Message(enters, closes, before)
            tallies = Tallies(raw, edges, steps, count if way else nothing)
            _begin(window, moves, sums, length * way, taps, row)
            for n in range(0, length, block):
                stop = min(n + block, length)
                origin = (length - stop) * way
                _sweep(direction, n, stop, origin, recording, scores, window, message, total, tallies)
                copy(logs, block * width, logs, 0, taps * width)
                copy(masses, block * width, masses, 0, taps * width)
                if way:
                    for c in range(row if n == 0 else 0):
                        score = sums[length * row + c] + moves[(classes + 1) * row + c]
                        left[(length - 1 - origin) * row + c] = score
                        posterior[c] = np.exp(ends[c] - total)
                    collect(
                        n, stop, recording, scores, until, left, begun, entered, closed, total, posterior, starts,
                        tallies,
                    )  # fmt: skip
                    outer(left, begun, 0, stop - n, width, classes, steps)
                    at = offset + origin * classes
                    write(closed[origin * row :], at, classes, stop - n, classes, width, outputs.by_label)
                    if with_starts:
                        write(starts, at, classes, stop - n, classes, width, outputs.by_start)
            if way == 0:
                total = _end(recording, scores, entered, window.state, ends)
                outputs.log_z[b] += total
                for c in range(row):
                    until[c] = window.state[UNTIL * row + c]
                if total == -np.inf:
                    break
        if back and total > -np.inf:
            finish(scores, Tallies(raw, edges, steps, count), ends, total)


@part
def _sum_scores(emissions, offset, length, classes, width, shared, sums, forbids):
    """Write prefix sums of the scores less their maximum per frame, and return the sum of these maxima.

    The sums skip -inf and scores far below the best; ``forbids`` marks the frames with such a class.
    """
    zero, nothing, wide, shift = splat(0.0), splat(-np.inf), splat(-WIDE), 0.0
    read(emissions, offset, classes, length, classes, sums, width, width)
    for v in range(width):
        store(sums, v, zero)
    for t in range(length):
        highest = nothing
        for v in range((t + 1) * width, (t + 2) * width):
            highest = larger(load(sums, v), highest)
        best, forbids[t] = peak(highest), False
        best = best if best > -np.inf else 0.0
        shift += best
        for v in range(width):
            at = (t + 1) * width + v
            x = load(sums, at) - splat(best)
            if any_outside(where_above(load(shared, VALID * width + v), zero, x, zero), wide, splat(np.inf)):
                forbids[t] = True
            store(sums, at, load(sums, at - width) + where_above(x, wide, x, zero))
    return shift


@part
def _sum_masks(emissions, offset, classes, row, forbids, lower):
    """Write sums, up to each frame, of the finite scores that the prefix sums skip."""
    for t in range(forbids.size):
        for c in range(classes):
            x = far_below(emissions, offset + t * classes, classes, c) if forbids[t] else 0.0
            lower[t * row + c] = (lower[(t - 1) * row + c] if t else 0.0) + (x if x > -np.inf else 0.0)


@part
def _begin(window, moves, sums, origin, taps, row):
    """Set the window before the first frame of a sweep."""
    state, logs, masses, _ = window
    for i in range(NUM_STATE * row):
        state[i] = 0.0
    for i in range(taps * row):
        logs[i], masses[i] = -np.inf, 0.0
    border = moves.size // 2
    for c in range(row):
        state[WHOLE * row + c] = moves[border + c] + (sums[origin * row + c] if origin else 0.0)
        state[UNTIL * row + c] = np.inf
        state[NEXT * row + c] = -np.inf


# ---------------------------------------------------------------------------------------------------------- a sweep
@part
def _sweep(direction, begin, end, origin, recording, scores, window, message, log_z, tallies):
    """Process frames ``begin`` to ``end``, counted from the first or, against time, from the last.

    Write the scores ``entered`` (less the prefix sum) and ``closed``. Given ``before``, the scores entered in the other
    direction, count durations too.
    """
    way, moves, edge = direction
    emissions, offset, length, forbids, sums, _, _ = recording
    durations, weights, shared = scores.durations, scores.weights, scores.shared
    state, logs, masses, scratch = window
    entered, closed, before = message
    raw, tally, _, count = tallies
    (classes, size), row = durations.shape, scratch.size // 4
    width, taps = row // WIDTH, weights.size // row
    zero, one, nothing = splat(0.0), splat(1.0), splat(-np.inf)
    low, high, sign, norm = splat(LOW), splat(HIGH), splat(1.0 - 2.0 * way), splat(log_z)
    for n in range(begin, end):
        at = length - 1 - n if way else n
        near, far = at + way, at + 1 - way
        here, kept = (taps + n - begin) * width, (at - origin) * width
        for v in range(width):
            score = load(state, NEXT * width + v) - sign * load(sums, near * width + v)
            store(logs, here + v, score)
            store(entered, kept + v, score)
            x = score - load(state, REFERENCE * width + v)
            if _exceeds(x, 340.0):
                _raise_references(n, v, here * WIDTH, size, row, logs, masses, state)
                x = score - load(state, REFERENCE * width + v)
            store(masses, here + v, exp(x))
        if forbids[at]:
            _pass_masks(n, at, way, here * WIDTH, taps, row, classes, recording, window)
        if n == length - 1:
            for v in range(width):
                store(closed, kept + v, nothing)
            return
        best = nothing
        for v in range(width):
            tail = load(shared, TAIL * width + v)
            reference = load(state, REFERENCE * width + v) + load(shared, TOP * width + v)
            whole = load(state, WHOLE * width + v) + duration_scores(edge, n + 1, size, width, v, tail)
            total = _within(masses, weights, here, v, width, min(taps, (n + TAPS - 1) // TAPS * TAPS))
            total = total + _weight(whole - reference)
            beyond, running, scale = zero, zero, zero
            if n > size:
                beyond, running, scale = _beyond(here - size * width, v, width, classes, shared, logs, state, tail)
                total = total + where_above(beyond, zero, beyond * _weight(scale - reference), zero)
            if before.size:
                enters = load(before, at * width + v) - norm
                store(scratch, 3 * width + v, enters)
                _count_edges(n, v, size, width, exp(enters + whole), enters + scale, beyond, running, tally)
                mass = where_above(total, low, where_above(high, total, exp(enters + reference), zero), zero)
                if peak(mass) > 0.0:
                    for k in range(taps):
                        tap = k * width + v
                        store(raw, tap, fma(mass, load(masses, here - k * width + v), load(raw, tap)))
            score = where_above(total, zero, log(total) + reference, nothing) + sign * load(sums, far * width + v)
            store(closed, kept + v, score)
            if any_outside(where_above(load(shared, VALID * width + v), zero, total, one), low, high):
                store(scratch, width + v, total)
                store(scratch, 2 * width + v, whole)
                for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                    if not (scratch[row + c] > LOW and scratch[row + c] < HIGH):
                        score = -np.inf
                        if not (forbids[at] and emissions[offset + at * classes + c] == -np.inf):
                            score = _exactly(c, n, here * WIDTH + c, row, durations, window, shared, count)
                            score += -sums[far * row + c] if way else sums[far * row + c]
                        closed[kept * WIDTH + c] = score
            best = larger(load(closed, kept + v), best)
        _enter(peak(best), kept, width, classes, closed, moves, scores.top, scratch, state)


@inlined
def _within(masses, weights, here, v, width, taps):
    """Return the sum over the durations within K of the masses of starts and the weights."""
    a = b = c = d = splat(0.0)
    for k in range(0, taps, TAPS):
        past, tap = here - k * width + v, k * width + v
        a = fma(load(masses, past), load(weights, tap), a)
        b = fma(load(masses, past - width), load(weights, tap + width), b)
        c = fma(load(masses, past - 2 * width), load(weights, tap + 2 * width), c)
        d = fma(load(masses, past - 3 * width), load(weights, tap + 3 * width), d)
    return (a + b) + (c + d)


@inlined
def _beyond(oldest, v, width, classes, shared, logs, state, tail):
    """Move the oldest start of the window beyond K. Return the mass there, its frames beyond K, and its scale."""
    zero, one, nothing = splat(0.0), splat(1.0), splat(-np.inf)
    score = where_above(tail, nothing, load(logs, oldest + v), nothing)
    beyond, scale = load(state, BEYOND * width + v), load(state, SCALE * width + v)
    has = larger(beyond, where_above(score, nothing, one, zero))
    x = score - scale
    beyond = beyond + where_above(x, splat(340.0), splat(np.nan), exp(x))
    if any_outside(where_above(has, zero, beyond, one), splat(1e-100), splat(1e100)):
        row = width * WIDTH
        for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
            if shared[TAIL * row + c] > -np.inf:
                _join(c, logs[oldest * WIDTH + c], row, state)
        beyond, scale = load(state, BEYOND * width + v), load(state, SCALE * width + v)
    running = load(state, FRAMES * width + v) + beyond
    scale = scale + tail
    store(state, BEYOND * width + v, beyond)
    store(state, FRAMES * width + v, running)
    store(state, SCALE * width + v, scale)
    return beyond, running, scale + load(shared, KTH * width + v)


@inlined
def _count_edges(n, v, size, width, whole, scale, beyond, running, tally):
    """Count the segment of mass ``whole`` that begins at the edge, and the segments beyond K."""
    zero, last = splat(0.0), 2 * size * width + v
    tap = min(n, size - 1) * width + v
    store(tally, tap, load(tally, tap) + whole)
    longer = whole * splat(max(n + 1.0 - size, 0.0))
    mass = where_above(beyond, zero, exp(scale), zero)
    store(tally, last, fma(mass, beyond, load(tally, last)))
    store(tally, last + width, fma(mass, running, longer) + load(tally, last + width))


@inlined
def _enter(highest, kept, width, classes, closed, moves, top, scratch, state):
    """Write the scores of entering the next frame: sums over transitions, relative to the best end of a segment."""
    zero, one, nothing, best, row = splat(0.0), splat(1.0), splat(-np.inf), splat(highest), width * WIDTH
    for v in range(width):
        if highest > -np.inf:
            store(scratch, v, exp(load(closed, kept + v) - best))
        else:
            store(state, NEXT * width + v, nothing)
    for v in range(width if highest > -np.inf else 0):
        a = b = zero
        for i in range(0, classes - 1, 2):
            a = fma(splat(scratch[i]), load(moves, i * width + v), a)
            b = fma(splat(scratch[i + 1]), load(moves, (i + 1) * width + v), b)
        if classes % 2:
            a = fma(splat(scratch[classes - 1]), load(moves, (classes - 1) * width + v), a)
        total = a + b
        store(state, NEXT * width + v, where_above(total, zero, log(total) + splat(highest + top), nothing))
        if any_outside(where_above(load(moves, classes * width + v), zero, total, one), splat(LOW), splat(HIGH)):
            store(scratch, width + v, total)
            for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                if not scratch[row + c] > LOW:
                    state[NEXT * row + c] = _entering(c, kept * WIDTH, closed, moves, classes, row)


@inlined
def _exceeds(x, bound):
    """Return whether an element of x is above ``bound``."""
    return any_outside(where_above(x, splat(bound), x, splat(0.0)), splat(-1.0), splat(bound))


@inlined
def _weight(x):
    """Return exp(x), or NaN if it might overflow."""
    return where_above(x, splat(300.0), splat(np.nan), exp(x))


# The functions below run seldom, for one class.
@part
def _raise_references(n, v, newest, size, row, logs, masses, state):
    """Change the reference of the classes in vector ``v`` for which a start would overflow."""
    for c in range(v * WIDTH, (v + 1) * WIDTH):
        score = logs[newest + c]
        if score - state[REFERENCE * row + c] > 340.0:
            _refer(c, score, newest + c, min(size, n), row, logs, masses, state)


@part
def _pass_masks(n, at, way, newest, taps, row, classes, recording, window):
    """Add the scores that the prefix sums skip in one frame to the segments that contain it."""
    crossing = recording.crossing
    for c in range(classes):
        x = far_below(recording.emissions, recording.offset + at * classes, classes, c)
        if x == -np.inf:
            _forbid(c, n, newest + c, taps, row, window)
        elif x < 0.0:
            bound = _lower(c, x, n, newest + c, taps, row, window)
            if crossing.size:
                crossing[at * row + c] = crossing[at * row + c] + (bound + x) if way else bound


@part
def _refer(c, reference, newest, steps, row, logs, masses, state):
    """Take the window of class c relative to another reference."""
    state[REFERENCE * row + c] = reference
    for k in range(steps):
        masses[newest - k * row] = np.exp(logs[newest - k * row] - reference)


@part
def _forbid(c, n, newest, taps, row, window):
    """End all segments of class c before frame n."""
    state, logs, masses, _ = window
    since = np.int64(state[SINCE * row + c])
    for k in range(min(n + 1 - since, taps + 1)):  # K + 1 at most: the oldest is about to move beyond K
        logs[newest - k * row], masses[newest - k * row] = -np.inf, 0.0
    if since == 0:
        state[UNTIL * row + c] = n
    state[SINCE * row + c] = n + 1
    state[BEYOND * row + c] = state[FRAMES * row + c] = 0.0
    state[WHOLE * row + c] = -np.inf


@part
def _lower(c, x, n, newest, taps, row, window):
    """Add the score x of frame n, which the prefix sums skip, to all segments of class c.

    Return a bound of their previous log-sum, without the scores of durations within K.
    """
    state, logs, masses, _ = window
    steps = min(n + 1 - np.int64(state[SINCE * row + c]), taps + 1)
    best, mass = state[WHOLE * row + c], state[BEYOND * row + c]
    if mass > 0.0:
        best = max(best, state[SCALE * row + c] + np.log(mass))
    for k in range(steps):
        best = max(best, logs[newest - k * row])
        logs[newest - k * row] += x
        masses[newest - k * row] = 0.0  # at most exp(340 - 5e3)
    state[SCALE * row + c] += x
    state[WHOLE * row + c] += x
    return best + np.log(steps + 2.0)


@part
def _join(c, score, row, state):
    """Add exp(score) to the mass beyond K of class c, and make the sum the scale."""
    mass, scale = state[BEYOND * row + c], state[SCALE * row + c]
    held = scale + np.log(mass) if mass > 0.0 else -np.inf
    best = max(held, score)
    if best > -np.inf:
        joined = best + np.log(np.exp(held - best) + np.exp(score - best))
        state[BEYOND * row + c], state[SCALE * row + c] = 1.0, joined
        state[FRAMES * row + c] *= np.exp(scale - joined) if mass > 0.0 else 0.0


@part
def _exactly(c, n, newest, row, durations, window, shared, count):
    """Return the log-sum over all segments of class c that end with frame n, and count those that begin in the window.

    It is computed in log space. The new reference of the window makes the next sum about 1.
    """
    state, logs, masses, scratch = window
    whole, enters = scratch[2 * row + c], scratch[3 * row + c]
    size = durations.shape[1]
    steps = min(size, n, n + 1 - np.int64(state[SINCE * row + c]))
    beyond = -np.inf
    if state[BEYOND * row + c] > 0.0:
        beyond = np.log(state[BEYOND * row + c]) + state[SCALE * row + c] + durations[c, size - 1]
    best, highest = max(whole, beyond), -np.inf
    for k in range(steps):
        highest = max(highest, logs[newest - k * row])
        best = max(best, logs[newest - k * row] + durations[c, k])
    if best == -np.inf:
        return best
    total = np.exp(whole - best) + np.exp(beyond - best)
    for k in range(steps):
        score = logs[newest - k * row] + durations[c, k]
        total += np.exp(score - best)
        if count.size:
            count[durations.shape[0] ** 2 + c * size + k] += np.exp(enters + score)
    total = best + np.log(total)
    _refer(c, max(total - shared[TOP * row + c], highest - 340.0), newest, steps, row, logs, masses, state)
    return total


@part
def _entering(c, at, closed, moves, classes, row):
    """Return the log-sum over transitions into class c, in log space."""
    best, total = -np.inf, 0.0
    for i in range(classes):
        best = max(best, closed[at + i] + moves[(classes + 2 + i) * row + c])
    if best == -np.inf:
        return best
    for i in range(classes):
        total += np.exp(closed[at + i] + moves[(classes + 2 + i) * row + c] - best)
    return best + np.log(total)


@part
def _end(recording, scores, entered, state, ends):
    """Write log-sums over the segments of each class that end with the recording, of every length.

    Return their total.
    """
    emissions, offset, length, forbids, sums, _, _ = recording
    opening, closing, shared, backwards = scores.opening, scores.closing, scores.shared, scores.backwards
    (classes, size), row = scores.durations.shape, ends.size
    width, border = row // WIDTH, backwards.size // 2
    zero, nothing, lower = splat(0.0), splat(-np.inf), np.empty(row)
    for v in range(width):
        since, tail = load(state, SINCE * width + v), load(shared, TAIL * width + v)
        whole = load(state, WHOLE * width + v) + duration_scores(opening, length, size, width, v, tail)
        best = whole
        sum_ = zero
        for again in range(2):  # the maximum, then the sum
            if again:
                best = where_above(best, nothing, best, zero)
                sum_ = exp(whole - best)
            store(lower, v, zero)  # scores from frame s on that the prefix sums skip
            for s in range(length - 1, 0, -1):
                if forbids[s]:
                    for c in range(v * WIDTH, min((v + 1) * WIDTH, classes)):
                        lower[c] += far_below(emissions, offset + s * classes, classes, c)
                score = load(entered, s * width + v) + duration_scores(closing, length - s, size, width, v, tail)
                score = score + load(lower, v)
                score = where_above(splat(s + 0.5), since, score, nothing)
                if again:
                    sum_ = sum_ + exp(score - best)
                else:
                    best = larger(score, best)
        final = best + load(sums, length * width + v) + load(backwards, border // WIDTH + v)
        store(ends, v, where_above(sum_, zero, log(sum_) + final, nothing))
    best, sum_ = -np.inf, 0.0
    for c in range(row):
        best = max(best, ends[c])
    if best > -np.inf:
        for c in range(row):
            sum_ += np.exp(ends[c] - best)
        best += np.log(sum_)
    return best
