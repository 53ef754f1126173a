"""Losses of a structure: against enumeration, with forbidden scores, gaps and padding, for both structures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from segcrf import LinearChain, Structure
from segcrf.losses import (
    expected_risk,
    smoothed_loss,
    soft_cross_entropy,
    softmax_margin,
    structured_hinge,
    weighted_marginal_loss,
)
from segcrf.testing.answers import close, drawn, make
from segcrf.testing.cases import Case, chain_case, chains, enumerated, semi_markov_case, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED

MODERATE = ("normal", "ties")
both = pytest.mark.parametrize(
    "cases", [chains(MODERATE, max_frames=6), semi_markovs(MODERATE, max_frames=5)], ids=["chain", "semi"]
)


def labelled(case: Case, rng: Any) -> Tensor:
    """Possible labels, a third of them hidden, and garbage in the padding."""
    labels = torch.full(tuple(case.emissions.shape[:2]), -7)
    for row, (values, _) in zip(labels, drawn(case, int(rng.integers(1000))), strict=True):
        row[: len(values)] = torch.as_tensor(np.where(rng.random(len(values)) < 0.3, UNLABELLED, values))
    return labels


def rows(case: Case, labels: Tensor) -> list[tuple[int, Any, Any, Any]]:
    """Recording, its enumeration, its labels, and where these are known."""
    each = []
    for b, truth in enumerate(enumerated(case)):
        row = labels[b, : case.lengths[b]].numpy()
        each.append((b, truth, row, np.flatnonzero(row != UNLABELLED)))
    return each


@both
@given(data=st.data())
def test_weighted_marginal_loss(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels, weights = labelled(case, rng), rng.random(case.num_classes)
    got = weighted_marginal_loss(make(case), labels, torch.from_numpy(weights))
    for b, truth, row, known in rows(case, labels):
        p = truth.label_marginals[known, row[known]]
        close(got[b], -(weights[row[known]] * np.log(p)).sum(), case)


def test_weighted_marginal_loss_is_least_at_the_weighted_truth() -> None:
    # One frame, class 1 true a quarter of the time and of thrice the weight: the best posterior is one half.
    scores = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    dist = LinearChain(scores, torch.zeros(2, 2, dtype=torch.float64))
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    losses = [weighted_marginal_loss(dist, torch.tensor([[label]]), weights)[0] for label in (0, 1)]
    (0.75 * losses[0] + 0.25 * losses[1]).backward()
    assert scores.grad is not None and scores.grad.abs().max() < 1e-12


@both
@given(data=st.data())
def test_soft_cross_entropy(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    targets = np.full(tuple(case.emissions.shape), np.nan)
    truths = enumerated(case)
    for b, truth in enumerate(truths):  # targets without mass on what cannot be
        targets[b, : truth.labels.shape[1]] = truth.label_marginals**2
    got = soft_cross_entropy(make(case), torch.from_numpy(targets))
    for b, truth in enumerate(truths):
        p = truth.label_marginals
        close(got[b], -(p**2 * np.log(np.where(p > 0, p, 1.0))).sum(), case)


@both
@given(data=st.data())
def test_structured_hinge_and_softmax_margin(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels = labelled(case, rng)
    cost = rng.random((case.num_classes, case.num_classes)) * (1 - np.eye(case.num_classes))
    hamming = 1.0 - np.eye(case.num_classes)
    for matrix, given_cost in ((hamming, None), (cost, torch.from_numpy(cost))):
        got = structured_hinge(make(case), labels, given_cost)
        assert (got >= -1e-9).all()
        soft = softmax_margin(make(case), labels, given_cost)
        for b, truth, row, known in rows(case, labels):
            margin = matrix[row[known], truth.labels[:, known]].sum(axis=1)
            close(got[b], (truth.scores + margin).max() - truth.scores[truth.agreeing(row)].max(), case)
            raised = np.logaddexp.reduce(truth.scores + margin)
            close(soft[b], raised - truth.log_partition - truth.log_prob(row), case)


@both
@given(data=st.data())
def test_expected_risk(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels = labelled(case, rng)
    cost = rng.random((case.num_classes, case.num_classes))
    got = expected_risk(make(case), labels, torch.from_numpy(cost))
    wrong = expected_risk(make(case), labels)
    for b, truth, row, known in rows(case, labels):
        close(got[b], truth.probabilities @ cost[row[known], truth.labels[:, known]].sum(axis=1), case)
        close(wrong[b], truth.probabilities @ (truth.labels[:, known] != row[known]).sum(axis=1), case)


@both
@given(data=st.data())
def test_smoothed_loss(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels, prior = labelled(case, rng), rng.random(case.num_classes) + 0.1
    plain = smoothed_loss(make(case), labels, 0.3)
    skewed = smoothed_loss(make(case), labels, 0.3, torch.from_numpy(prior))
    torch.testing.assert_close(smoothed_loss(make(case), labels, 0.0), -make(case).log_prob(labels))
    for b, truth, row, _ in rows(case, labels):
        possible = truth.scores > -np.inf
        log_p = truth.scores[possible] - truth.log_partition
        close(plain[b], -0.7 * truth.log_prob(row) - 0.3 * log_p.mean(), case)
        shares = prior[truth.labels[possible]].prod(axis=1)
        close(skewed[b], -0.7 * truth.log_prob(row) - 0.3 * (shares @ log_p) / shares.sum(), case)


LOSSES: dict[str, Callable[[Structure, Tensor], Tensor]] = {
    "weighted_marginal": lambda d, k: weighted_marginal_loss(d, k, torch.arange(1.0, d.num_classes + 1)),
    "soft": lambda d, k: soft_cross_entropy(d, torch.full(d.emissions.shape, 0.5)),
    "hinge": structured_hinge,
    "softmax margin": softmax_margin,
    "risk": expected_risk,
    "smoothed": lambda d, k: smoothed_loss(d, k, 0.1),
    "smoothed with a prior": lambda d, k: smoothed_loss(d, k, 0.1, torch.arange(1.0, d.num_classes + 1)),
}


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("kind", ["chain", "semi"])
def test_gradcheck(name: str, kind: str) -> None:
    case = (
        chain_case(3, (4, 3), 5, 2)
        if kind == "chain"
        else semi_markov_case(4, (4, 3), 5, 2, 2, censored=True, self_transitions=False)
    ).differentiable()
    labels = make(case).mode.clone()
    labels[0, 0], labels[1, 1] = 1 - labels[0, 0], UNLABELLED

    def loss(*leaves: Tensor) -> Tensor:
        return LOSSES[name](make(case.having(**dict(zip(case.potentials, leaves, strict=True)))), labels)

    assert torch.autograd.gradcheck(loss, tuple(case.potentials.values()))


@pytest.mark.parametrize("name", list(LOSSES))
def test_finite_with_forbidden_classes_and_far_scores(name: str) -> None:
    emissions = torch.zeros(2, 6, 3, dtype=torch.float64)
    emissions[:, :, 0] = 2000.0
    emissions[0, :, 2] = -math.inf
    emissions.requires_grad_()
    never = torch.zeros(3, 3, dtype=torch.float64)
    never[0, 2] = -math.inf
    dist = LinearChain(emissions, never, lengths=torch.tensor([6, 4]))
    loss = LOSSES[name](dist, torch.tensor([[0, 0, 1, 1, -100, 0], [2, 1, 1, 0, 9, 9]]))
    loss.sum().backward()
    assert loss.isfinite().all() and emissions.grad is not None and emissions.grad.isfinite().all()


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (
            lambda d, k: weighted_marginal_loss(d, k, torch.ones(2)),
            {"argument": "weights", "expected": r"\(C,\) = \(3,\)"},
        ),
        (lambda d, k: weighted_marginal_loss(d, k, -torch.ones(3)), {"argument": "weights", "got": "-1.0"}),
        (lambda d, k: expected_risk(d, k, torch.ones(3)), {"argument": "cost", "expected": r"\(C, C\) = \(3, 3\)"}),
        (lambda d, k: smoothed_loss(d, k, 1.0), {"argument": "smoothing", "got": "1.0"}),
        (lambda d, k: smoothed_loss(d, k, 0.1, torch.zeros(3)), {"argument": "prior", "expected": "share above 0"}),
        (lambda d, k: structured_hinge(d, k + 5), {"argument": "labels", "got": "5", "recording": 0, "frame": 0}),
        (
            lambda d, k: soft_cross_entropy(d, -torch.ones(1, 4, 3)),
            {"argument": "targets", "got": "-1.0 for class 0", "expected": "0 or more", "recording": 0, "frame": 0},
        ),
    ],
)
def test_bad_arguments_are_named(call: Callable[[Structure, Tensor], Tensor], fields: dict[str, Any]) -> None:
    dist = LinearChain(torch.zeros(1, 4, 3), torch.zeros(3, 3))
    with rejects(**fields):
        call(dist, torch.zeros(1, 4, dtype=torch.int64))
