"""Semirings: the laws that a scan relies on, and the gradient of each, which answers the companion question."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare
from torch import Tensor

from segcrf.structures import KBest, Log, Max, Sample, Semiring, logsumexp

INF = float("inf")

scores = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    elements=st.floats(-1e4, 1e4) | st.sampled_from([-INF, 0.0, 1.0]),
).map(torch.from_numpy)
semirings = pytest.mark.parametrize(
    "semiring", [Log(), Max(), KBest(1), KBest(3)], ids=["log", "max", "best of 1", "best of 3"]
)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- laws
@semirings
@given(values=scores)
def test_sums_may_be_taken_in_any_order(semiring: Semiring, values: Tensor) -> None:
    lifted = semiring.lift(values)
    at_once = semiring.sum(lifted.flatten(-2), -1)
    close(semiring.sum(semiring.sum(lifted, -1), -1), at_once)
    close(semiring.sum(semiring.sum(lifted, -2), -1), at_once)
    close(semiring.sum(semiring.lift(values.flip(-1)), -1), semiring.sum(lifted, -1))


@semirings
@given(values=scores, factor=st.floats(-100, 100))
def test_products_distribute_over_sums(semiring: Semiring, values: Tensor, factor: float) -> None:
    lifted = semiring.lift(values)
    for dim in (-1, -2, -3):
        close(semiring.sum(lifted + factor, dim), semiring.sum(lifted, dim) + factor)


@semirings
@given(values=scores)
def test_lifting_keeps_the_score_and_forbidden_is_zero(semiring: Semiring, values: Tensor) -> None:
    lifted = semiring.lift(values)
    close(semiring.sum(lifted[..., None], -1), lifted)
    nothing = semiring.lift(torch.full_like(values, -INF))
    assert (semiring.sum(nothing, -1) == -INF).all()
    close(semiring.sum(torch.cat([lifted, nothing], -1), -1), semiring.sum(lifted, -1))


# --------------------------------------------------------------------------------------------------------- values
@given(values=scores)
def test_log_is_torchs(values: Tensor) -> None:
    for dim in (-1, -2, -3):
        close(Log().sum(values, dim), values.logsumexp(dim))
        close(Sample().sum(values, dim), values.logsumexp(dim))


@given(values=scores, k=st.integers(1, 5))
def test_kbest_is_the_top_of_all(values: Tensor, k: int) -> None:
    # Two lists of candidates per cell, so that more than one of a list can be among the best.
    candidates = torch.stack([values, values - 1.0]).sort(0, descending=True).values
    semiring = KBest(k)
    full = torch.cat([candidates, torch.full((max(k - 2, 0), *values.shape), -INF)]).double()[:k]
    for dim in (-1, -2, -3):
        expected = full.movedim(dim, 0).flatten(0, 1).sort(0, descending=True).values[:k]
        close(semiring.sum(full, dim), expected)


@given(values=scores)
def test_kbest_of_one_is_max(values: Tensor) -> None:
    semiring = KBest(1)
    for dim in (-1, -2, -3):
        assert torch.equal(semiring.sum(semiring.lift(values), dim)[0], Max().sum(values, dim))


# ------------------------------------------------------------------------------------------------------ gradients
@given(values=scores)
def test_the_gradient_of_log_is_softmax(values: Tensor) -> None:
    leaf = values.clone().requires_grad_()
    (grad,) = torch.autograd.grad(Log().sum(leaf, -1).sum(), leaf)
    possible = (values > -INF).any(-1, keepdim=True)
    close(grad, torch.where(possible, values.softmax(-1).nan_to_num(0.0), 0.0))


def test_what_is_forbidden_has_gradient_zero_not_nan() -> None:
    leaf = torch.tensor([[-INF, -INF], [-INF, 0.0], [1e4, -1e4]], dtype=torch.float64, requires_grad=True)
    total = logsumexp(leaf, -1)
    assert torch.equal(total, torch.tensor([-INF, 0.0, 1e4], dtype=torch.float64))
    (first,) = torch.autograd.grad(total.sum(), leaf, create_graph=True)
    assert torch.equal(first, torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64))
    (second,) = torch.autograd.grad(first[:, 0].sum(), leaf)
    assert torch.equal(second, torch.zeros_like(second))


def test_log_is_differentiable_twice() -> None:
    values = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for dim in (-1, -2):
        assert torch.autograd.gradcheck(lambda v, d=dim: Log().sum(v, d), values)
        assert torch.autograd.gradgradcheck(lambda v, d=dim: Log().sum(v, d), values)


@given(values=scores)
def test_the_gradient_of_max_picks_one(values: Tensor) -> None:
    leaf = values.clone().requires_grad_()
    (grad,) = torch.autograd.grad(Max().sum(leaf, -1).sum(), leaf)
    assert torch.equal(grad.sum(-1), torch.ones_like(grad[..., 0]))
    assert ((grad == 0) | (grad == 1)).all()
    assert torch.equal(values[grad == 1].view(values.shape[:-1]), values.max(-1).values)


def test_the_gradients_of_kbest_pick_one_each_and_never_twice() -> None:
    leaf = torch.tensor([2.0, 5.0, 5.0, 1.0], requires_grad=True)
    best = KBest(3).sum(KBest(3).lift(leaf), -1)
    picked = torch.stack([torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in best])
    assert torch.equal(best.detach(), torch.tensor([5.0, 5.0, 2.0]))
    assert torch.equal(picked.sum(0), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert torch.equal(picked[2], torch.tensor([1.0, 0.0, 0.0, 0.0]))


# ------------------------------------------------------------------------------------------------------- sampling
def draw(values: Tensor, dim: int, seed: int) -> Tensor:
    leaf = values.clone().requires_grad_()
    total = Sample(torch.Generator().manual_seed(seed)).sum(leaf, dim)
    return torch.autograd.grad(total.sum(), leaf)[0]


def test_the_gradient_of_sample_is_one_draw() -> None:
    values = torch.tensor([0.0, 1.0, -INF, 2.0], dtype=torch.float64).expand(5000, 4)
    drawn = draw(values, -1, seed=0)
    assert torch.equal(drawn.sum(-1), torch.ones(5000, dtype=torch.float64))
    assert ((drawn == 0) | (drawn == 1)).all()
    observed = drawn.sum(0)
    assert observed[2] == 0, "drew what is forbidden"
    expected = 5000 * values[0].softmax(0)
    kept = [0, 1, 3]
    assert chisquare(observed[kept].numpy(), expected[kept].numpy()).pvalue > 1e-3


def test_draws_are_independent_of_each_other_and_follow_their_axis() -> None:
    values = torch.zeros(2, 3000, dtype=torch.float64)
    drawn = draw(values, -2, seed=1)
    assert torch.equal(drawn.sum(-2), torch.ones(3000, dtype=torch.float64))
    together = drawn[0].reshape(-1, 2)
    observed = torch.stack([(together == torch.tensor(pair)).all(1).sum() for pair in ((0, 0), (0, 1), (1, 0), (1, 1))])
    assert chisquare(observed.numpy()).pvalue > 1e-3


def test_a_generator_repeats_its_draws() -> None:
    values = torch.zeros(100, 4, dtype=torch.float64)
    assert torch.equal(draw(values, -1, seed=2), draw(values, -1, seed=2))
    assert not torch.equal(draw(values, -1, seed=2), draw(values, -1, seed=3))


def test_a_semiring_says_what_its_sum_is() -> None:
    with pytest.raises(NotImplementedError):
        Semiring().sum(torch.zeros(2), -1)
