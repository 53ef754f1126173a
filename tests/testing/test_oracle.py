"""The oracle itself, where a few numbers can be worked out by hand: a judge must not be wrong quietly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segcrf.testing.oracle import chain, duration_score, log_survival, semi_markov

RNG = np.random.default_rng(0)
NONE = np.zeros(2)


def test_two_frames_of_two_classes_by_hand() -> None:
    emissions, transitions = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0, -1.0], [3.0, 0.5]])
    truth = chain(emissions, transitions, np.array([0.1, 0.2]), np.array([0.0, -0.3]))
    scores = {(0, 0): 1.1, (0, 1): 1.1 - 1 + 2 - 0.3, (1, 0): 0.2 + 3, (1, 1): 0.2 + 0.5 + 2 - 0.3}
    assert dict(zip(map(tuple, truth.labels.tolist()), truth.scores, strict=True)) == pytest.approx(scores)
    z = sum(math.exp(score) for score in scores.values())
    assert truth.log_partition == pytest.approx(math.log(z))
    p = {labels: math.exp(score) / z for labels, score in scores.items()}
    assert truth.label_marginals[1, 1] == pytest.approx(p[0, 1] + p[1, 1])
    assert truth.expected_steps[1, 0] == pytest.approx(p[1, 0])
    assert truth.start_marginals[1, 1] == pytest.approx(p[0, 1])
    assert truth.entropy == pytest.approx(-sum(q * math.log(q) for q in p.values()))
    assert truth.log_prob(np.array([0, -100])) == pytest.approx(math.log(p[0, 0] + p[0, 1]))
    assert truth.top_scores(5).tolist() == pytest.approx([*sorted(scores.values(), reverse=True), -math.inf])
    starts_in_0 = truth.restricted(np.array([[True, False], [True, True]]))
    assert starts_in_0.log_partition == pytest.approx(math.log(z * (p[0, 0] + p[0, 1])))


def test_every_segmentation_comes_once() -> None:
    for frames, classes in ((1, 3), (4, 2), (5, 3)):
        zero = np.zeros(classes)
        free = (np.zeros((frames, classes)), np.zeros((classes, classes)), np.zeros((classes, 1)), zero, zero, zero)
        touching, apart = semi_markov(*free, self_transitions=True), semi_markov(*free)
        # Each inner boundary is a cut or not, and each band has a class; without touching bands labels say it all.
        assert len(touching.scores) == classes * (classes + 1) ** (frames - 1)
        assert len(apart.scores) == classes**frames
        for truth in (touching, apart):
            pairs = zip(truth.labels, truth.starts, strict=True)
            outcomes = {(tuple(labels), tuple(starts)) for labels, starts in pairs}
            assert len(outcomes) == len(truth.scores)
            assert (truth.steps.sum((1, 2)) == truth.starts.sum(1) - 1).all()


def test_segments_of_one_frame_are_a_chain() -> None:
    emissions, transitions, start, end = (RNG.normal(size=size) for size in ((4, 2), (2, 2), 2, 2))
    only_one = np.zeros((2, 1)), np.full(2, -np.inf)
    ours = semi_markov(emissions, transitions, *only_one, start, end, self_transitions=True)
    theirs = chain(emissions, transitions, start, end)
    assert ours.log_partition == pytest.approx(theirs.log_partition)
    np.testing.assert_allclose(ours.label_marginals, theirs.label_marginals)
    np.testing.assert_allclose(ours.expected_steps, theirs.expected_steps)


def test_a_geometric_tail_is_a_chain_that_stays() -> None:
    # Staying costs stay[c] per frame: a segment of d frames scores (d - 1) * stay[c].
    emissions, stay = RNG.normal(size=(5, 2)), np.array([-0.3, -1.2])
    transitions = RNG.normal(size=(2, 2))
    theirs = chain(emissions, np.where(np.eye(2) > 0, np.diag(stay), transitions), NONE, NONE)
    ours = semi_markov(emissions, transitions, np.zeros((2, 1)), stay, NONE, NONE)
    assert ours.log_partition == pytest.approx(theirs.log_partition)
    np.testing.assert_allclose(ours.start_marginals, theirs.start_marginals)


def test_lengths_are_scored_to_the_frame() -> None:
    durations = np.array([0.1, 0.7, 0.2])
    assert [duration_score(durations, -0.5, d) for d in (1, 3, 4, 6)] == pytest.approx([0.1, 0.2, -0.3, -1.3])
    assert duration_score(durations, -math.inf, 3) == 0.2 and duration_score(durations, -math.inf, 4) == -math.inf


@pytest.mark.parametrize("tail", [-0.05, -2.0, -math.inf])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_survival_is_the_sum_of_all_longer_lengths(length: int, tail: float) -> None:
    durations = np.array([0.1, -math.inf, 0.2])
    total = sum(math.exp(duration_score(durations, tail, d)) for d in range(length, 2000))
    assert log_survival(durations, tail, length) == pytest.approx(math.log(total) if total else -math.inf)


def test_survival_of_a_tail_that_does_not_fall_diverges() -> None:
    with pytest.raises(ValueError, match="tail must be negative"):
        log_survival(np.zeros(2), 0.0, 1)


def test_only_the_segments_at_the_edges_are_censored() -> None:
    durations, tail = np.array([[-math.inf, 0.0], [-math.inf, 0.0]]), np.full(2, -math.inf)
    rest = (np.zeros((2, 2)), durations, tail, NONE, NONE)
    whole, cut = (semi_markov(np.zeros((4, 2)), *rest, censored=censored) for censored in (False, True))
    # Bands last exactly two frames; a window may cut the first and the last, not one in between.
    assert {tuple(row) for row in whole.labels[whole.scores > -np.inf].tolist()} == {(0, 0, 1, 1), (1, 1, 0, 0)}
    assert whole.score(np.array([0, 1, 1, 0])) == -math.inf and cut.score(np.array([0, 1, 1, 0])) == 0.0
    assert cut.score(np.array([0, 0, 1, 0])) == -math.inf
