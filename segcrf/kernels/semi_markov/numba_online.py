"""Online decoding of the semi-Markov chain on a CPU.

Forward: the log-mass of every running band by its age up to K, of older ones, and of the one that began with the
recording, all relative to the best class. Backward, over the undecided frames only: the probability that a band begins
at a frame is spread over the bands before it and their lengths. Given where a band begins, what comes before it is
independent of what follows, so these are probabilities, and nothing underflows that matters. Best labellings repeat the
sums of `numba_viterbi` one by one, so that ties are broken alike.

Source: Guedon, "Estimating hidden semi-Markov chains from discrete sequences", 2003.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

from typing import Any

import numpy as np

from segcrf.kernels.numba_online import (
    Decisions,
    Rule,
    check_scores,
    exponential,
    first_largest,
    log_of_sum,
    mark_changes,
    open_band,
    write_decided,
)
from segcrf.kernels.numba_runtime import exp, explicit, part
from segcrf.kernels.online import ALLOWED, DECIDED, FORBIDDEN, FRAMES, LABEL, NUM_HEADER, Sizes
from segcrf.kernels.semi_markov.numba_online_best import (
    agreed,
    close_best,
    find_origins,
    last_band,
    running_band,
    take_best,
    trace_bands,
)
from segcrf.kernels.semi_markov.numba_online_state import (
    CLOSED,
    ENTERED,
    FRESH,
    INVERSE,
    LOW,
    NUM_RECORD,
    OLD,
    STEP,
    WEIGHT,
    Tables,
    make_work,
    view_stream,
)
from segcrf.kernels.semi_markov.numba_tables import duration_score

__all__ = ["advance", "begin", "current", "filtered", "finish", "following", "lay_out", "sizes"]

_FAR = 1e4  # nats: sums of scores beyond it are not used
_SPAN = 300.0  # nats
_NEGLIGIBLE = 1e-32  # a probability below it is not spread further: posteriors are absolute to 1e-16


def sizes(tables: Any) -> Sizes:
    """Return the sizes of a stream's state."""
    classes, size = tables[1].shape
    reals = (10 + 2 * size) * classes
    return Sizes(reals, NUM_HEADER + 2 * classes, NUM_RECORD * classes, 3 * classes)


def begin(tables: Any, reals: Any, wholes: Any) -> None:
    """Set rows of streams to the state before the first frame."""
    classes = tables[1].shape[0]
    reals[...] = -np.inf
    wholes[...] = 0
    wholes[..., LABEL] = -1
    reals[..., 5 * classes : 6 * classes] = 0.0  # the prefix sums


def lay_out(*scores: Any) -> tuple[Any, ...]:
    """Return the fields of `Tables` as a plain tuple."""
    transitions, durations, tail, start, end, first, last, edge = scores
    longest = np.zeros((2, len(tail)), np.int64)
    for row, tables in enumerate(((durations, last), (first,))):
        possible = np.maximum.reduce(tables) > -np.inf
        for c in range(len(tail)):
            longest[row, c] = possible[c].nonzero()[0][-1] + 1 if possible[c].any() else 0
            if possible[c, -1] and tail[c] > -np.inf:
                longest[row, c] = np.iinfo(np.int64).max
    best = _largest(durations, 1)
    top = _largest(transitions.ravel(), 0)
    lengths = np.exp(durations - best[:, None])[:, ::-1].copy()
    steps = np.exp(transitions - top)
    tops = np.append(best, top)
    return transitions, durations, tail, start, end, first, last, edge, longest, steps, lengths, tops


def _largest(scores: Any, axis: int) -> Any:
    """Return the largest scores along an axis, 0 where all are -inf."""
    top = scores.max(axis)
    return np.where(top > -np.inf, top, 0.0)


@explicit
def advance(emissions, lengths, tables, rule, reals, wholes, decided):
    """Take the next frames of each stream, and write the frames that are decided by then.

    Returns the number of decided frames; then what was wrong with a frame, its stream, the frame, and the class.
    """
    tables, rule, decided = Tables(*tables), Rule(*rule), Decisions(*decided)
    rows, work = 0, make_work(tables, rule)
    for i in range(lengths.size):
        stream = view_stream(reals[i], wholes[i], tables, rule)
        header = stream.header
        for t in range(lengths[i]):
            frame = header[FRAMES]
            wrong, label = check_scores(emissions[i, t])
            if wrong == ALLOWED and not _take(emissions[i, t], frame, tables, rule, stream, work):
                wrong = FORBIDDEN
            if wrong == ALLOWED and not rule.by_frame:
                take_best(emissions[i, t], frame, tables, rule, stream)
                if not running_band(frame, tables, stream, work):
                    wrong = FORBIDDEN
            if wrong != ALLOWED:
                return rows, wrong, i, frame, label
            header[FRAMES] = frame + 1
            rows = _decide(tables, rule, stream, work, decided, rows, i)
            _close(frame, tables, rule, stream, work)
            if not rule.by_frame:
                close_best(frame, tables, rule, stream, work)
    return rows, ALLOWED, 0, 0, 0


@explicit
def finish(which, tables, rule, reals, wholes, decided):
    """Decide all frames of some streams by the scores of the last band; return as `advance` does."""
    tables, rule, decided = Tables(*tables), Rule(*rule), Decisions(*decided)
    rows, work = 0, make_work(tables, rule)
    for k in range(which.size):
        i = which[k]
        stream = view_stream(reals[i], wholes[i], tables, rule)
        header = stream.header
        last, count = header[FRAMES] - 1, header[FRAMES] - header[DECIDED]
        possible = _weigh(last, tables, tables.last, tables.first, tables.end, rule, stream, work)
        if possible and not rule.by_frame:
            possible = last_band(last, tables, stream, work)
        if not possible:
            return rows, FORBIDDEN, i, last, 0
        if count == 0:
            continue
        _sweep(tables, rule, stream, work, decided, rows, count)
        if rule.by_frame:
            _label_by_frame(header, decided, rows, work, count)
        else:
            trace_bands(last, rule, stream, work)
        rows = write_decided(header, decided, rows, i, work.path, work.begins, count)
    return rows, ALLOWED, 0, 0, 0


@explicit
def filtered(tables, rule, reals, wholes, probability):
    """Write the probability (streams, C) of the class of each last frame; zero without a frame."""
    tables, rule = Tables(*tables), Rule(*rule)
    for i in range(len(wholes)):
        stream = view_stream(reals[i], wholes[i], tables, rule)
        for c in range(tables.tail.size):
            probability[i, c] = stream.message[c]
        log_of_sum(probability[i], tables.tail.size)


@explicit
def following(tables, rule, reals, wholes, probability):
    """Write the probability (streams, C) of the class of each next frame; zero if nothing is allowed there."""
    tables, rule = Tables(*tables), Rule(*rule)
    classes, size = tables.durations.shape
    terms = np.empty(size + 2)
    for i in range(len(wholes)):
        stream = view_stream(reals[i], wholes[i], tables, rule)
        frame = stream.header[FRAMES]
        for c in range(classes):
            edge, tail = tables.edge, tables.tail[c]
            if frame == 0:
                probability[i, c] = tables.start[c] + edge[c, 0]
                continue
            terms[0] = stream.entering[c] + edge[c, 0]
            for d in range(1, size):
                terms[d] = stream.running[c, (frame - d) % size] + edge[c, d]
            older = max(stream.running[c, frame % size], stream.beyond[c])
            if older > -np.inf:
                total = exponential(stream.running[c, frame % size] - older) + exponential(stream.beyond[c] - older)
                older += np.log(total)
            terms[size] = older + tail + edge[c, size - 1]
            terms[size + 1] = stream.opening[c] + duration_score(edge, tables.tail, c, frame + 1)
            probability[i, c] = log_of_sum(terms, size + 2)
        log_of_sum(probability[i], classes)


@explicit
def current(tables, rule, reals, wholes, labels, firsts):
    """Write the class and the first frame of the last band of each stream, by what is known so far."""
    tables, rule = Tables(*tables), Rule(*rule)
    work = make_work(tables, rule)
    none = np.zeros(tables.tail.size)
    posterior = np.empty((rule.capacity if rule.by_frame else 0, tables.tail.size))
    unused = np.empty(0, np.int64)
    kept = Decisions(unused, unused, unused, unused, posterior)
    for i in range(len(wholes)):
        stream = view_stream(reals[i], wholes[i], tables, rule)
        header = stream.header
        last, count = header[FRAMES] - 1, header[FRAMES] - header[DECIDED]
        if count and rule.by_frame:
            _weigh(last, tables, tables.edge, tables.edge, none, rule, stream, work)
            _sweep(tables, rule, stream, work, kept, 0, count)
            _label_by_frame(header, kept, 0, work, count)
        elif count:
            running_band(last, tables, stream, work)
            trace_bands(last, rule, stream, work)
        labels[i], firsts[i] = open_band(header, work.path, work.begins)


@part
def _label_by_frame(header, decided, row, work, count):
    """Write the most probable class of each of ``count`` frames from ``row`` on."""
    for k in range(count):
        work.path[k] = first_largest(decided.posterior[row + k])
    mark_changes(work.path, work.begins, count, header[LABEL])


@part
def _take(scores, frame, tables, rule, stream, work):
    """Advance the log-masses by the scores (C,) of a frame; return whether a labelling is allowed."""
    classes, size = tables.durations.shape
    peak = scores[first_largest(scores)]
    if peak == -np.inf:
        return False
    record, slot, terms = stream.records[frame & (rule.capacity - 1)], frame % size, work.terms
    for c in range(classes):
        x = scores[c] - peak
        oldest, beyond = stream.running[c, slot], stream.beyond[c]
        older = max(oldest, beyond)
        record[FRESH, c] = 0.0
        if older > -np.inf:
            share = exponential(oldest - older)
            total = share + exponential(beyond - older)
            record[FRESH, c] = share / total
            older += np.log(total) + tables.tail[c] + x
        stream.beyond[c] = older
        if frame == 0:
            stream.opening[c] = tables.start[c]
        stream.running[c, slot] = record[ENTERED, c] = stream.entering[c]
        record[INVERSE, c] = stream.inverse[c]
        stream.opening[c] += x
        record[STEP, c] = x
        running = stream.running[c]
        for k in range(size):
            running[k] += x
        _add_by_age(running, slot, tables.edge[c], terms)
        terms[size] = older + tables.edge[c, size - 1]
        terms[size + 1] = stream.opening[c] + duration_score(tables.edge, tables.tail, c, frame + 1)
        stream.message[c] = log_of_sum(terms, size + 2)
    top = stream.message[first_largest(stream.message)]
    if top == -np.inf:
        return False
    for c in range(classes):
        stream.message[c] -= top
        stream.beyond[c] -= top
        stream.opening[c] -= top
        record[STEP, c] -= top
        running = stream.running[c]
        for k in range(size):
            running[k] -= top
    return True


@part
def _add_by_age(running, slot, scores, terms):
    """Write the sums of log-masses of running bands and scores by age; those of age 1 are in column ``slot``."""
    for d in range(slot + 1):
        terms[d] = running[slot - d] + scores[d]
    for d in range(slot + 1, scores.size):
        terms[d] = running[slot - d + scores.size] + scores[d]


@part
def _close(frame, tables, rule, stream, work):
    """Find the log-mass of the bands that end at a frame, and of those that begin at the next."""
    classes, size = tables.durations.shape
    record, terms = stream.records[frame & (rule.capacity - 1)], work.terms
    for c in range(classes):
        _add_by_age(stream.running[c], frame % size, tables.durations[c], terms)
        terms[size] = stream.beyond[c] + tables.durations[c, size - 1]
        terms[size + 1] = stream.opening[c] + duration_score(tables.first, tables.tail, c, frame + 1)
        record[CLOSED, c] = log_of_sum(terms, size + 2)
        record[OLD, c] = terms[size]
    top = record[CLOSED, first_largest(record[CLOSED])]
    for i in range(classes):
        record[WEIGHT, i] = exponential(record[CLOSED, i] - top) if top > -np.inf else 0.0
    for j in range(classes):
        total = 0.0
        for i in range(classes):
            total += record[WEIGHT, i] * tables.steps[i, j]
        if total >= LOW:
            stream.entering[j], stream.inverse[j] = np.log(total) + top + tables.tops[classes], 1.0 / total
        else:
            for i in range(classes):
                work.sums[i] = record[CLOSED, i] + tables.transitions[i, j]
            stream.entering[j], stream.inverse[j] = log_of_sum(work.sums, classes), 0.0


@part
def _decide(tables, rule, stream, work, decided, rows, i):
    """Decide what can be decided after a frame, and return the next row of ``decided``."""
    header = stream.header
    frame = header[FRAMES] - 1
    pending = frame + 1 - header[DECIDED]
    late = rule.max_delay >= 0 and pending > rule.max_delay
    if rule.by_frame:
        if not late:
            return rows
        count = pending - rule.max_delay
    else:
        count = agreed(frame, tables, rule, stream, work, late)
        if count == 0:
            return rows
    for c in range(work.sums.size):
        work.sums[c] = 0.0
    _weigh(frame, tables, tables.edge, tables.edge, work.sums, rule, stream, work)
    _sweep(tables, rule, stream, work, decided, rows, count)
    if rule.by_frame:
        _label_by_frame(header, decided, rows, work, count)
    rows = write_decided(header, decided, rows, i, work.path, work.begins, count)
    if not rule.by_frame:
        find_origins(rule, stream)
    return rows


@part
def _weigh(frame, tables, table, first, end, rule, stream, work):
    """Find the probabilities of the running bands, given the scores of their durations; return whether there are any.

    ``work.begun`` gets that of a band that begins at each undecided frame but the oldest, ``work.older`` that of one
    that is older than K frames, and ``work.posterior`` that of each class.
    """
    classes, size = tables.durations.shape
    oldest, terms, totals = stream.header[DECIDED], work.terms, work.posterior
    for t in range(frame + 1 - oldest):
        for c in range(classes):
            work.begun[t, c] = 0.0
    for c in range(classes):
        _add_by_age(stream.running[c], frame % size, table[c], terms)
        terms[size] = stream.beyond[c] + table[c, size - 1]
        terms[size + 1] = stream.opening[c] + duration_score(first, tables.tail, c, frame + 1)
        totals[c] = log_of_sum(terms, size + 2) + end[c]
        for d in range(min(size, frame - oldest)):
            work.begun[frame - d - oldest, c] = terms[d]
        work.older[c] = terms[size]
    if log_of_sum(totals, classes) == -np.inf:
        return False
    for c in range(classes):
        for t in range(max(1, frame - size + 1 - oldest), frame + 1 - oldest):
            work.begun[t, c] *= totals[c]
        work.older[c] *= totals[c]
    return True


@part
def _sweep(tables, rule, stream, work, decided, row, count):
    """Write the posterior of the ``count`` oldest undecided frames, after `_weigh`."""
    header, begun, older, posterior = stream.header, work.begun, work.older, work.posterior
    classes, size = tables.durations.shape
    oldest, frame = header[DECIDED], header[FRAMES] - 1
    _scale(frame + 1 - oldest, oldest, rule, stream, work)
    while True:
        if frame - oldest < count:
            for c in range(classes):
                decided.posterior[row + frame - oldest, c] = min(max(posterior[c], 0.0), 1.0)
        if frame == oldest:
            return
        here = stream.records[frame & (rule.capacity - 1)]
        record = stream.records[(frame - 1) & (rule.capacity - 1)]
        for c in range(classes):
            work.sums[c] = 0.0
        for c in range(classes):
            fresh = older[c] * here[FRESH, c]  # these have begun K frames ago
            older[c] -= fresh
            if frame - size > oldest:
                begun[frame - size - oldest, c] += fresh
            k = frame - oldest
            share = begun[k, c] + work.scales[c, k] * work.spread[c, k]
            posterior[c] -= share
            work.entered[c] = share * here[INVERSE, c]
            if here[INVERSE, c] == 0.0 and share > _NEGLIGIBLE:
                for i in range(classes):
                    x = record[CLOSED, i] + tables.transitions[i, c] - here[ENTERED, c]
                    work.sums[i] += share * exponential(x)
        frame -= 1
        for i in range(classes):
            ended = 0.0
            for c in range(classes):
                ended += tables.steps[i, c] * work.entered[c]
            ended = work.sums[i] + record[WEIGHT, i] * ended
            posterior[i] += ended
            older[i] += ended * record[OLD, i]
            last = frame - oldest
            if ended <= _NEGLIGIBLE or last == 0:
                continue
            x = np.inf
            if work.anchor[i] < np.inf:
                x = work.emitted[i, last + 1] - record[CLOSED, i] + work.anchor[i] + tables.tops[i]
            if x < _SPAN:  # what underflows is below exp(_SPAN - 700), relative to 1
                factor, within = ended * exponential(x), min(size, last)
                spread = work.spread[i, last + 1 - within : last + 1]
                lengths = tables.lengths[i, size - within :]
                for k in range(within):
                    spread[k] += factor * lengths[k]
            else:
                _spread(ended, frame, i, oldest, tables, rule, stream, work)


@part
def _scale(count, oldest, rule, stream, work):
    """Scale the log-masses of the bands that begin at undecided frames, so that `_sweep` needs no exponentials.

    They are relative to the largest of each class. A class that is forbidden at one of these frames is not scaled.
    """
    for c in range(work.anchor.size):
        total, most, top = 0.0, 0.0, -np.inf
        for k in range(count):
            record = stream.records[(oldest + k) & (rule.capacity - 1)]
            work.emitted[c, k] = total
            work.spread[c, k] = 0.0
            if most < _FAR:
                work.scales[c, k] = record[ENTERED, c] - total
                top = max(top, work.scales[c, k])
                total += record[STEP, c]
                most = max(most, abs(total))
        work.emitted[c, count] = total
        scales = work.scales[c, :count]
        if most >= _FAR or top == -np.inf:
            work.anchor[c] = np.inf
            for k in range(count):
                scales[k] = 0.0
            continue
        work.anchor[c] = top
        for k in range(count):
            x = scales[k] - top
            e = exp(max(x, -700.0))
            scales[k] = e if x > -700.0 else 0.0


@part
def _spread(ended, frame, label, oldest, tables, rule, stream, work):
    """Spread the probability that a band ends at a frame over the undecided frames at which it may have begun.

    This is for a class without scales: log-masses are far apart, or the class is forbidden somewhere.
    """
    terms, last = work.terms, frame - oldest
    count, slot = min(tables.durations.shape[1], last), frame & (rule.capacity - 1)
    emitted = -stream.records[slot, CLOSED, label]
    for d in range(count):
        emitted += stream.records[slot, STEP, label]
        terms[d] = emitted + stream.records[slot, ENTERED, label] + tables.durations[label, d]
        slot = slot - 1 if slot > 0 else rule.capacity - 1
    for d in range(count):
        x = terms[d]
        e = exp(max(x, -700.0))
        terms[d] = e if x > -700.0 else 0.0
    for d in range(count):
        work.begun[last - d, label] += ended * terms[d]
