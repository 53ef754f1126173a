"""Score of given labels of a semi-Markov chain on a CPU, and their counts."""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments, and Python never sees them.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import explicit, label_range

__all__ = ["observe_rows"]


@explicit
def observe_rows(
    emissions, labels, lengths, transitions, durations, tail, start, end, opening, closing, log_z, log_prob,
    by_label, counts,
):  # fmt: skip
    """Write the log-probability of labels and subtract their counts.

    It is NaN if several segmentations have the same labels: a label is missing, or segments of one class may touch.

    Returns:
        Whether any recording got NaN, and whether any label is beyond the classes.
    """
    classes, size = durations.shape
    row, touching = opening.size // size, False
    any_partial, any_outside = False, False
    at_tail, gradient = classes * (classes + size), by_label.shape[0] > 0
    for c in range(classes):
        touching = touching or transitions[c, c] > -np.inf
    for b in range(lengths.size):
        length, (lowest, highest) = lengths[b], label_range(labels, b, lengths[b])
        if highest >= classes:
            any_outside = True
            continue
        if log_z[b] == -np.inf:
            log_prob[b] = -np.inf
            continue
        if touching or lowest < 0:
            log_prob[b], any_partial = np.nan, True
            continue
        begin, label, total = 0, labels[b, 0], 0.0
        total += start[label] + end[labels[b, length - 1]]
        if gradient:
            counts[b, at_tail + classes + label] -= 1.0
            counts[b, at_tail + 2 * classes + labels[b, length - 1]] -= 1.0
        for t in range(length):
            total += emissions[b, t, label]
            if gradient:
                by_label[b, t, label] -= 1.0
            stop = t + 1
            if stop < length and labels[b, stop] == label:
                continue
            inside = min(stop - begin, size) - 1
            longer, at = stop - begin - 1 - inside, label * size + inside
            if begin == 0:
                total, at = total + opening[inside * row + label], at + at_tail + 3 * classes
            elif stop == length:
                total, at = total + closing[inside * row + label], at + at_tail + 3 * classes + classes * size
            else:
                total, at = total + durations[label, inside], at + classes * classes
            if longer:
                total += longer * tail[label]
            if gradient:
                counts[b, at] -= 1.0
                counts[b, at_tail + label] -= longer
            if stop < length:
                following = labels[b, stop]
                total += transitions[label, following]
                if gradient:
                    counts[b, label * classes + following] -= 1.0
                label = following
            begin = stop
        log_prob[b] = total - log_z[b]
    return any_partial, any_outside
