"""Log space: forward-backward for scores of any range, slower than scaled probabilities but as exact as float64.

Transitions are (1, C, C), shared by all steps, or (T - 1, C, C), one table per step.
"""

# pyright: basic
# The functions below are compiled: Numba infers the types of their arguments.
from __future__ import annotations

import numpy as np

from segcrf.kernels.numba_runtime import compiled

__all__ = ["backward", "forward", "less_best"]

_LARGE = 1e4  # a score of a frame above which the best score is subtracted before logarithms are summed


@compiled
def less_best(scores):
    """Return scores (T, C) in float64, less the best of their frame if it is large, and the sum of what was subtracted.

    A large total would take digits away from the probabilities. Elsewhere nothing is subtracted, because the classes
    that matter may be far below the best.
    """
    less, tops = np.empty(scores.shape), 0.0
    for t in range(scores.shape[0]):
        top = -np.inf
        for c in range(scores.shape[1]):
            top = max(top, np.float64(scores[t, c]))
        top = top if abs(top) > _LARGE and top > -np.inf else 0.0
        tops += top
        for c in range(scores.shape[1]):
            less[t, c] = np.float64(scores[t, c]) - top
    return less, tops


@compiled
def forward(scores, transitions, start, end, alpha):
    """Write messages (T, C) into ``alpha`` and return the log of their sum."""
    length, classes = scores.shape
    varying, terms = transitions.shape[0] > 1, np.empty(classes)
    for c in range(classes):
        alpha[0, c] = start[c] + scores[0, c]
    for t in range(1, length):
        step = transitions[t - 1 if varying else 0]
        for c in range(classes):
            for i in range(classes):
                terms[i] = alpha[t - 1, i] + step[i, c]
            alpha[t, c] = _log_sum(terms) + scores[t, c]
    for c in range(classes):
        terms[c] = alpha[length - 1, c] + end[c]
    return _log_sum(terms)


@compiled
def backward(scores, transitions, end, total, beta):
    """Write messages (T, C) into ``beta``, from last frame to first, less ``total``, the log of the sum of `forward`.

    Then exp(alpha + beta) is the probability of each label.
    """
    length, classes = scores.shape
    varying, following, terms = transitions.shape[0] > 1, np.empty(classes), np.empty(classes)
    for c in range(classes):
        beta[length - 1, c] = end[c] - total
    for t in range(length - 1, 0, -1):
        step = transitions[t - 1 if varying else 0]
        for c in range(classes):
            following[c] = scores[t, c] + beta[t, c]
        for i in range(classes):
            for c in range(classes):
                terms[c] = step[i, c] + following[c]
            beta[t - 1, i] = _log_sum(terms)


@compiled
def _log_sum(terms):
    top = terms.max()
    if top == -np.inf:
        return top
    return top + np.log(np.exp(terms - top).sum())
