"""What the library must say, found by listing every outcome: float64, NumPy, nothing of segcrf.

An :class:`Enumeration` holds every outcome of one recording with its score; each query is then one line over that list.
`chain` lists the C^T labellings of a linear chain, `semi_markov` all labelled segmentations. Slow on purpose, and
meant to be believed by reading it: one recording, T up to 7 or so, no recursion over time, no log-space tricks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNLABELLED", "Enumeration", "chain", "duration_score", "log_sum_exp", "log_survival", "semi_markov"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNLABELLED = -100


@dataclass(frozen=True)
class Enumeration:
    """All N outcomes of a recording of T frames and C classes.

    ``labels`` (N, T); ``starts`` (N, T), True where a band begins; ``steps`` (N, C, C), how often a transition score
    was counted; ``scores`` (N,), -inf where forbidden.
    """

    labels: Ints
    starts: Bools
    steps: Ints
    scores: Floats

    @property
    def num_classes(self) -> int:
        return self.steps.shape[1]

    @property
    def feasible(self) -> bool:
        return bool((self.scores > -np.inf).any())

    @property
    def log_partition(self) -> float:
        return log_sum_exp(self.scores)

    @property
    def probabilities(self) -> Floats:
        return np.exp(self.scores - self.log_partition)

    @property
    def label_marginals(self) -> Floats:
        """(T, C): probability that frame t has class c."""
        return np.stack([self.probabilities @ (self.labels == c) for c in range(self.num_classes)], axis=1)

    @property
    def start_marginals(self) -> Floats:
        """(T, C): probability that a band of class c begins at frame t."""
        begun = [self.probabilities @ ((self.labels == c) & self.starts) for c in range(self.num_classes)]
        return np.stack(begun, axis=1)

    @property
    def expected_steps(self) -> Floats:
        """(C, C): expected number of counted transitions."""
        return np.tensordot(self.probabilities, self.steps, axes=1)

    @property
    def entropy(self) -> float:
        possible = self.scores > -np.inf
        return float(-(self.probabilities[possible] * (self.scores[possible] - self.log_partition)).sum())

    def cross_entropy(self, other: Enumeration) -> float:
        """Expected negative log-probability that ``other`` gives to what this one draws."""
        possible = self.probabilities > 0
        return float(-(self.probabilities[possible] * (other.scores[possible] - other.log_partition)).sum())

    @property
    def expected_bands(self) -> float:
        return float(self.probabilities @ self.starts.sum(axis=1))

    @property
    def expected_frames(self) -> Floats:
        """(C,): expected number of frames of each class."""
        return np.array([self.probabilities @ (self.labels == c).sum(axis=1) for c in range(self.num_classes)])

    def risk(self, labels: Ints, cost: Floats) -> float:
        """Expected cost[true, said], summed over frames, of saying ``labels`` (T,)."""
        return float(self.probabilities @ cost[self.labels, labels].sum(axis=1))

    @property
    def log_count(self) -> float:
        return math.log((self.scores > -np.inf).sum())

    def band_probability(self, start: int, end: int, label: int) -> float:
        """Probability that frames [start, end) are one band of this class, and no longer one."""
        begins = np.zeros(self.labels.shape[1] + 1, dtype=bool)
        begins[[start, end]] = True
        cuts = np.concatenate([self.starts, np.ones((len(self.starts), 1), dtype=bool)], axis=1)
        same = (cuts[:, start : end + 1] == begins[start : end + 1]).all(axis=1)
        return float(self.probabilities[same & (self.labels[:, start] == label)].sum())

    @property
    def best_score(self) -> float:
        return float(self.scores.max())

    def top_scores(self, k: int) -> Floats:
        """The k best scores, best first, filled up with -inf."""
        best = np.sort(self.scores)[::-1][:k]
        return np.concatenate([best, np.full(k - len(best), -np.inf)])

    def agreeing(self, labels: Ints, starts: Bools | None = None) -> Bools:
        """(N,): outcomes that agree with ``labels`` (T,) where these are known, and with ``starts`` if given."""
        agree = ((self.labels == labels) | (labels == UNLABELLED)).all(axis=1)
        return agree if starts is None else agree & (self.starts == starts).all(axis=1)

    def score(self, labels: Ints, starts: Bools | None = None) -> float:
        """Log of the total exp(score) of the agreeing outcomes: the score itself where only one agrees."""
        return log_sum_exp(self.scores[self.agreeing(labels, starts)])

    def log_prob(self, labels: Ints, starts: Bools | None = None) -> float:
        return self.score(labels, starts) - self.log_partition

    def restricted(self, allowed: Bools) -> Enumeration:
        """The same, with the outcomes forbidden that visit a class where ``allowed`` (T, C) is False."""
        kept = allowed[np.arange(allowed.shape[0]), self.labels].all(axis=1)
        return Enumeration(self.labels, self.starts, self.steps, np.where(kept, self.scores, -np.inf))


def log_sum_exp(scores: Floats) -> float:
    """Return the logarithm of a sum of exponentials."""
    top = float(scores.max(initial=-np.inf))
    return top if top == -np.inf else top + math.log(float(np.exp(scores - top).sum()))


# ---------------------------------------------------------------------------------------------------- linear chain
def chain(emissions: Floats, transitions: Floats, start: Floats, end: Floats) -> Enumeration:
    """Every labelling of a linear chain: emissions (T, C), transitions (C, C) or (T - 1, C, C), start, end (C,)."""
    num_frames, num_classes = emissions.shape
    labels, starts, steps = _labellings(num_frames, num_classes)
    scores = start[labels[:, 0]] + end[labels[:, -1]]
    for t in range(num_frames):
        scores = scores + emissions[t, labels[:, t]]
    for t in range(1, num_frames):
        step = transitions if transitions.ndim == 2 else transitions[t - 1]
        scores = scores + step[labels[:, t - 1], labels[:, t]]
    return Enumeration(labels, starts, steps, scores)


@cache
def _labellings(num_frames: int, num_classes: int) -> tuple[Ints, Bools, Ints]:
    labels = np.array(list(itertools.product(range(num_classes), repeat=num_frames)), dtype=np.int64)
    starts = np.ones(labels.shape, dtype=bool)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    steps = np.zeros((len(labels), num_classes, num_classes), dtype=np.int64)
    for t in range(1, num_frames):
        steps[np.arange(len(labels)), labels[:, t - 1], labels[:, t]] += 1
    return labels, starts, steps


# ----------------------------------------------------------------------------------------------------- semi-Markov
#: One segment: its class, its first frame, and the frame after its last.
Segment = tuple[int, int, int]


def semi_markov(
    emissions: Floats,
    transitions: Floats,
    durations: Floats,
    tail: Floats,
    start: Floats,
    end: Floats,
    *,
    censored: bool = False,
    self_transitions: bool = False,
    goes_on: bool = False,
) -> Enumeration:
    """Every labelled segmentation: durations (C, K), tail (C,), the rest as in :func:`chain`.

    A segment scores its emissions and the score of its length, see :func:`duration_score`; consecutive segments score a
    transition, the first ``start``, the last ``end``. Without ``self_transitions`` neighbours differ in class. With
    ``censored`` the window may have cut the segments that touch its edges: they score :func:`log_survival`; with
    ``goes_on``, the last one does.
    """
    num_frames, num_classes = emissions.shape
    outcomes = _segmentations(num_frames, num_classes, self_transitions)
    labels = np.zeros((len(outcomes), num_frames), dtype=np.int64)
    starts = np.zeros((len(outcomes), num_frames), dtype=bool)
    steps = np.zeros((len(outcomes), num_classes, num_classes), dtype=np.int64)
    scores = np.zeros(len(outcomes))
    for n, segments in enumerate(outcomes):
        scores[n] = start[segments[0][0]] + end[segments[-1][0]]
        for c, first, after in segments:
            labels[n, first:after] = c
            starts[n, first] = True
            cut = (censored and first == 0) or ((censored or goes_on) and after == num_frames)
            length_score = log_survival if cut else duration_score
            scores[n] += emissions[first:after, c].sum() + length_score(durations[c], float(tail[c]), after - first)
        for (before, _, _), (c, _, _) in itertools.pairwise(segments):
            steps[n, before, c] += 1
            scores[n] += transitions[before, c]
    return Enumeration(labels, starts, steps, scores)


def duration_score(durations: Floats, tail: float, length: int) -> float:
    """Score of a segment of ``length`` frames: ``durations`` (K,) of its class, and a geometric tail beyond K."""
    longest = len(durations)
    if length <= longest:
        return float(durations[length - 1])
    return -math.inf if tail == -math.inf else float(durations[-1]) + (length - longest) * tail


def log_survival(durations: Floats, tail: float, length: int) -> float:
    """Log of the total exp(duration_score) of all lengths from ``length`` on; the geometric series in closed form."""
    if tail >= 0:
        raise ValueError(f"tail must be negative for the lengths to have a finite sum, got {tail}")
    first_beyond = max(length, len(durations) + 1)
    beyond = duration_score(durations, tail, first_beyond) - math.log1p(-math.exp(tail))
    return log_sum_exp(np.array([*durations[length - 1 :], beyond]))


@cache
def _segmentations(num_frames: int, num_classes: int, self_transitions: bool) -> list[list[Segment]]:
    return [
        [(c, first, after) for c, (first, after) in zip(classes, itertools.pairwise(cuts), strict=True)]
        for cuts in _cuts(num_frames)
        for classes in itertools.product(range(num_classes), repeat=len(cuts) - 1)
        if self_transitions or all(a != b for a, b in itertools.pairwise(classes))
    ]


def _cuts(num_frames: int) -> Iterator[tuple[int, ...]]:
    """Every way to cut a recording: 0, the inner frames at which a segment begins, T."""
    for count in range(num_frames):
        for inner in itertools.combinations(range(1, num_frames), count):
            yield (0, *inner, num_frames)


# ----------------------------------------------------------------------------------------- numbers beside the labels
def with_numbers(outcomes: Enumeration, values: Floats, mean: Floats, sigma: Floats) -> Enumeration:
    """The same outcomes, each with the log-density of the known numbers added to its score.

    Where an outcome has class c at frame t, ``values`` (T, R) are Gaussian around ``mean`` (T, C, R) with deviation
    ``sigma`` (C, R); NaN = unknown. So total(scores) is the log-density of the numbers times the old partition.
    """
    scores = outcomes.scores.copy()
    for n, labels in enumerate(outcomes.labels):
        for t, c in enumerate(labels):
            for r in range(values.shape[1]):
                if not math.isnan(values[t, r]):
                    scaled = (values[t, r] - mean[t, c, r]) / sigma[c, r]
                    scores[n] += -0.5 * scaled**2 - math.log(sigma[c, r]) - 0.5 * math.log(2.0 * math.pi)
    return Enumeration(outcomes.labels, outcomes.starts, outcomes.steps, scores)


def filtered(prefixes: list[Enumeration]) -> Floats:
    """(T, C): probability of the last class of each prefix; one enumeration per prefix, of 1 to T frames."""
    return np.stack([prefix.label_marginals[-1] for prefix in prefixes])
