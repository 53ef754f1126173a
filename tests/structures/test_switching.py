"""Switching regression: every answer against enumeration, and against statsmodels where both can say the same."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segcrf.structures import LinearChain, SemiMarkov, Structure, SwitchingRegression
from segcrf.testing import oracle
from segcrf.testing.errors import rejects

T, C, R = 5, 3, 2
KINDS = ("chain", "varying", "semi-markov", "censored")


class Problem:
    """Two recordings, the second one frame shorter, with their enumerations: whole, and of every prefix."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.lengths = [T, T - 1]
        self.emissions = rng.normal(0, 2, (2, T, C))
        self.mean, self.sigma = rng.normal(0, 2, (2, T, C, R)), rng.uniform(0.3, 2.0, (C, R))
        self.values = rng.normal(0, 2, (2, T, R))
        self.values[rng.random(self.values.shape) < 0.3] = math.nan
        self.labels = rng.integers(C, size=(2, T))
        for row in self.labels:  # bands, so that no structure forbids them
            row[1:3] = row[0]
        self.transitions, self.start, self.end = rng.normal(size=(C, C)), rng.normal(size=C), rng.normal(size=C)
        if kind == "varying":
            self.transitions = rng.normal(size=(2, T - 1, C, C))
        self.durations, self.tail = rng.normal(size=(C, 3)), -rng.uniform(0.2, 1.0, C)
        self.kind, self.censored = kind, kind == "censored"
        self.structure = self._structure()
        self.switching = SwitchingRegression(self.structure, torch.tensor(self.mean), torch.tensor(self.sigma).log())
        self.whole = [self._enumerate(i, n, self.end) for i, n in enumerate(self.lengths)]

    def _structure(self) -> Structure:
        scores = [torch.tensor(s) for s in (self.transitions, self.durations, self.tail, self.start, self.end)]
        transitions, durations, tail, start, end = scores
        emissions, lengths = torch.tensor(self.emissions), torch.tensor(self.lengths)
        if self.kind in ("chain", "varying"):
            return LinearChain(emissions, transitions, start, end, lengths)
        return SemiMarkov(emissions, transitions, durations, tail, start, end, lengths, censored=self.censored)

    def _enumerate(self, i: int, frames: int, end: Any, *, cut: bool = False) -> oracle.Enumeration:
        if self.kind in ("chain", "varying"):
            transitions = self.transitions[i] if self.kind == "varying" else self.transitions
            return oracle.chain(self.emissions[i, :frames], transitions, self.start, end)
        potentials = self.emissions[i, :frames], self.transitions, self.durations, self.tail, self.start, end
        if cut and not self.censored:
            return self._cut_on_the_right(frames, potentials)
        return oracle.semi_markov(*potentials, censored=self.censored)

    def _cut_on_the_right(self, frames: int, potentials: Any) -> oracle.Enumeration:
        """The last segment scores its survival, all others their length."""
        outcomes = oracle.semi_markov(*potentials)
        scores = outcomes.scores.copy()
        for n, starts in enumerate(outcomes.starts):
            label, length = outcomes.labels[n, -1], frames - int(np.flatnonzero(starts)[-1])
            of_class = self.durations[label], float(self.tail[label]), length
            scores[n] += oracle.log_survival(*of_class) - oracle.duration_score(*of_class)
        return oracle.Enumeration(outcomes.labels, outcomes.starts, outcomes.steps, scores)

    def seen(self, i: int, outcomes: oracle.Enumeration) -> oracle.Enumeration:
        frames = outcomes.labels.shape[1]
        return oracle.with_numbers(outcomes, self.values[i, :frames], self.mean[i, :frames], self.sigma)

    def posterior(self, name: str, *, seen: bool) -> Tensor:
        """(2, T, C), zero beyond lengths."""
        result = torch.zeros(2, T, C, dtype=torch.float64)
        for i, frames in enumerate(self.lengths):
            look = (lambda e, i=i: self.seen(i, e)) if seen else (lambda e: e)
            if name == "smooth":
                rows = look(self.whole[i]).label_marginals
            else:
                prefixes = [self._enumerate(i, n, np.zeros(C), cut=True) for n in range(1, frames + 1)]
                rows = oracle.filtered([look(prefix) for prefix in prefixes])
            result[i, :frames] = torch.tensor(rows)
        return result


problems = st.builds(Problem, st.sampled_from(KINDS), st.integers(0, 10_000))


@given(problems, st.booleans())
def test_posteriors_are_those_of_enumeration(problem: Problem, seen: bool) -> None:
    numbers = torch.tensor(problem.values) if seen else None
    for name in ("filter", "smooth"):
        expected = problem.posterior(name, seen=seen)
        torch.testing.assert_close(problem.switching.weights(posterior=name, seen=numbers), expected)


@given(problems)
def test_likelihoods_of_all_of_some_and_of_no_labels(problem: Problem) -> None:
    values, labels = torch.tensor(problem.values), torch.tensor(problem.labels)
    some = labels.clone()
    some[:, 3] = -100
    for known in (labels, some, None):
        expected = []
        for i, frames in enumerate(problem.lengths):
            row = np.full(frames, -100) if known is None else known[i, :frames].numpy()
            expected.append(problem.seen(i, problem.whole[i]).score(row) - problem.whole[i].log_partition)
        got = problem.switching.log_prob(values, known)
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@given(problems)
def test_labels_decoded_with_the_numbers_in_sight(problem: Problem) -> None:
    mode = problem.switching.given(torch.tensor(problem.values)).mode
    for i, frames in enumerate(problem.lengths):
        outcomes = problem.seen(i, problem.whole[i])
        assert outcomes.score(mode[i, :frames].numpy()) == pytest.approx(outcomes.best_score)
    assert problem.switching.structure.mode.shape == mode.shape


@given(problems)
def test_mean_and_variance_are_those_of_the_mixture(problem: Problem) -> None:
    weight = problem.posterior("filter", seen=False).numpy()[..., None]
    first = (weight * problem.mean).sum(2)
    second = (weight * (problem.mean**2 + problem.sigma**2)).sum(2)
    mean, variance = problem.switching.predict(posterior="filter")
    torch.testing.assert_close(mean, torch.tensor(first))
    torch.testing.assert_close(variance, torch.tensor(second - first**2), rtol=1e-6, atol=1e-9)


@given(problems, st.floats(0.1, 0.99))
def test_an_interval_holds_its_share_of_the_mixture(problem: Problem, level: float) -> None:
    low, high = problem.switching.interval(level, posterior="smooth")
    weight, sigma = problem.posterior("smooth", seen=False).unsqueeze(-1), torch.tensor(problem.sigma)
    mean = torch.tensor(problem.mean)
    below = [(weight * torch.special.ndtr((edge.unsqueeze(2) - mean) / sigma)).sum(2) for edge in (low, high)]
    valid = torch.arange(T) < torch.tensor(problem.lengths)[:, None]
    for got, share in zip(below, (0.5 - level / 2, 0.5 + level / 2), strict=True):
        torch.testing.assert_close(got[valid], torch.full_like(got[valid], share), atol=1e-6, rtol=0.0)


@given(problems)
def test_predictive_density_is_the_mixture_by_frame(problem: Problem) -> None:
    got = problem.switching.predictive_log_prob(torch.tensor(problem.values), posterior="filter")
    weight = problem.posterior("filter", seen=False).numpy()
    for i, frames in enumerate(problem.lengths):
        for t in range(frames):
            known = ~np.isnan(problem.values[i, t])
            scaled = ((problem.values[i, t] - problem.mean[i, t]) / problem.sigma)[:, known]
            density = np.exp(-0.5 * scaled**2) / problem.sigma[:, known] / math.sqrt(2 * math.pi)
            expected = math.log(weight[i, t] @ density.prod(1)) if known.any() else 0.0
            assert float(got[i, t]) == pytest.approx(expected, abs=1e-9)
    assert (got[1, T - 1 :] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_filter_and_likelihood(kind: str) -> None:
    problem = Problem(kind, seed=3)
    emissions, mean = torch.tensor(problem.emissions), torch.tensor(problem.mean)

    def answers(emissions: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        structure = problem.structure.replace(emissions=emissions)
        switching = SwitchingRegression(structure, mean, torch.tensor(problem.sigma).log())
        values = torch.tensor(problem.values)
        return (
            switching.predict(posterior="filter").mean,
            switching.log_prob(values),
            switching.predictive_log_prob(values, posterior="filter"),
        )

    inputs = (emissions.requires_grad_(), mean.requires_grad_())
    assert torch.autograd.gradcheck(answers, inputs, eps=1e-6, atol=1e-5)


def test_the_filter_does_not_see_the_future_and_smoothing_does() -> None:
    problem = Problem("chain", seed=1)
    changed = torch.tensor(problem.emissions)
    changed[:, 3:] += torch.randn(2, 2, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = SwitchingRegression(
        problem.structure.replace(emissions=changed), problem.switching.mean, problem.switching.log_sigma
    )
    before, after = (s.weights(posterior="filter")[:, :3] for s in (problem.switching, other))
    assert torch.equal(before, after)
    before, after = (s.weights(posterior="smooth")[:, :3] for s in (problem.switching, other))
    assert (before - after).abs().max() > 1e-3


def test_forbidden_classes_leave_no_nan() -> None:
    problem = Problem("chain", seed=2)
    emissions = torch.tensor(problem.emissions)
    emissions[0, 2, 1] = -math.inf
    emissions.requires_grad_()
    transitions = torch.tensor(problem.transitions)
    transitions[0, 2] = -math.inf
    structure = LinearChain(emissions, transitions)
    switching = SwitchingRegression(structure, problem.switching.mean, problem.switching.log_sigma)
    loss = switching.predictive_log_prob(torch.tensor(problem.values), posterior="filter").sum()
    loss = loss + switching.predict(posterior="filter").mean.sum()
    loss.backward()
    assert emissions.grad is not None and bool(emissions.grad.isfinite().all())
    assert switching.weights(posterior="filter")[0, 2, 1] == 0


def test_there_is_no_default_posterior_and_wrong_shapes_are_rejected() -> None:
    switching = Problem("chain", seed=0).switching
    with pytest.raises(TypeError, match="posterior"):
        switching.predict()  # type: ignore[call-arg]
    with rejects("posterior", got="'both'", expected="'filter', 'smooth'"):
        switching.predict(posterior="both")
    with rejects("targets", got=r"\(2, 5, 1\)", expected=r"\(B, T, R\) = \(2, 5, 2\)"):
        switching.given(torch.zeros(2, T, 1))
    with rejects("mean", got=r"\(2, 5, 3\)"):
        SwitchingRegression(switching.structure, torch.zeros(2, T, C), torch.zeros(1))
    with rejects("log_sigma", got=r"\(4,\)"):
        SwitchingRegression(switching.structure, switching.mean, torch.zeros(4))
    with rejects("level", got="1"):
        switching.interval(1.0, posterior="smooth")


def test_statsmodels_agrees_on_a_model_that_both_can_express() -> None:
    """A Markov-switching regression with constant transitions: a chain with log-probabilities as scores."""
    statsmodels = pytest.importorskip(
        "statsmodels.tsa.regime_switching.markov_regression",
        reason="the second oracle of switching regression: pip install 'segcrf[test]'",
    )
    rng = np.random.default_rng(0)
    covariate, regimes = rng.normal(size=60), np.repeat([0, 1, 0, 1], 15)
    intercept, slope, sigma = np.array([-1.0, 2.0]), np.array([0.5, -1.5]), np.array([0.7, 1.3])
    y = intercept[regimes] + slope[regimes] * covariate + sigma[regimes] * rng.normal(size=60)
    stay, start = np.array([0.9, 0.8]), np.array([2 / 3, 1 / 3])  # the stationary law
    model = statsmodels.MarkovRegression(y, 2, exog=covariate[:, None], switching_variance=True)
    # Order of its parameters: p[0->0], p[1->0], intercepts, slopes, variances.
    fitted = model.smooth([stay[0], 1 - stay[1], *intercept, *slope, *sigma**2])

    steps = np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
    potentials = torch.tensor(steps).log(), torch.tensor(start).log()
    structure = LinearChain(torch.zeros(1, 60, 2, dtype=torch.float64), *potentials)
    mean = torch.tensor(intercept + slope * covariate[:, None])[None, ..., None]
    switching = SwitchingRegression(structure, mean, torch.tensor(sigma).log()[:, None])
    values = torch.tensor(y)[None, :, None]
    torch.testing.assert_close(float(switching.log_prob(values)), float(fitted.llf), rtol=1e-9, atol=0.0)
    for name, theirs in (("filter", "filtered"), ("smooth", "smoothed")):
        ours = switching.weights(posterior=name, seen=values)[0].numpy()
        np.testing.assert_allclose(ours, getattr(fitted, f"{theirs}_marginal_probabilities"), atol=1e-9)
