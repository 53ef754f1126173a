"""Knowledge of labels: every kind against enumeration, for both structures."""

from __future__ import annotations

import itertools
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
from segcrf.structures import allowed_classes, boundary_tolerance, evidence, timestamps, transcript
from segcrf.testing.answers import close, drawn, make
from segcrf.testing.cases import Case, chain_case, chains, enumerated, semi_markov_case, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED, Enumeration, log_sum_exp

INF = math.inf
both = pytest.mark.parametrize(
    "cases",
    [chains(max_frames=6), chains(max_frames=5, varying=True), semi_markovs(max_frames=5)],
    ids=["chain", "varying", "semi"],
)
Keep = Callable[[Any, Any], bool]


def bands(labels: Any, starts: Any) -> tuple[list[int], list[int]]:
    """Classes and first frames of the bands of one outcome."""
    first = np.flatnonzero(starts)
    return labels[first].tolist(), first.tolist()


def kept(truth: Enumeration, keep: Keep) -> Enumeration:
    """The outcomes that agree with what is known."""
    agree = np.array([keep(*outcome) for outcome in zip(truth.labels, truth.starts, strict=True)])
    return Enumeration(truth.labels, truth.starts, truth.steps, np.where(agree, truth.scores, -np.inf))


def agrees(got: Any, case: Case, keeps: list[Keep]) -> None:
    """Log-probability, forced alignment and marginals of an alignment are those of the outcomes kept."""
    marginals, log_prob = got.marginals, got.log_prob(got.mode)
    for b, (truth, keep) in enumerate(zip(enumerated(case), keeps, strict=True)):
        length = int(case.lengths[b])
        known = kept(truth, keep)
        close(got.log_share[b], known.log_partition - truth.log_partition, case)
        close(marginals.labels[b, :length], known.label_marginals, case)
        close(marginals.starts[b, :length], known.start_marginals, case)
        close(marginals.transitions[b], known.expected_steps, case)
        assert not marginals.labels[b, length:].any() and not marginals.starts[b, length:].any()
        labels = got.mode[b, :length].numpy()
        close(log_prob[b], known.log_prob(labels), case)
        close(known.scores[known.agreeing(labels)].max(), known.best_score, case)
        assert (got.mode[b, length:] == UNLABELLED).all()


def padded(rows: list[Any], case: Case) -> Tensor:
    labels = torch.full(tuple(case.emissions.shape[:2]), 0)
    for row, values in zip(labels, rows, strict=True):
        row[: len(values)] = torch.as_tensor(values)
    return labels


@both
@given(data=st.data())
def test_sets_of_classes(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    sets = [
        [{int(k), int(rng.integers(case.num_classes))} if rng.random() < 0.7 else () for k in labels]
        for labels, _ in drawn(case, data.draw(st.integers(0, 1000)))
    ]
    whole = make(case)
    allowed = torch.ones(case.emissions.shape, dtype=torch.bool)
    frames = allowed_classes(sets, case.num_classes)
    allowed[:, : frames.shape[1]] = frames
    got = whole.restrict(allowed).log_share(whole)
    for b, truth in enumerate(enumerated(case)):
        known = kept(truth, lambda labels, _, b=b: all(not s or k in s for k, s in zip(labels, sets[b], strict=True)))
        close(got[b], known.log_partition - truth.log_partition, case)


@both
@given(data=st.data())
def test_evidence_weighs_labellings(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    weights = rng.random(tuple(case.emissions.shape)) * (rng.random(tuple(case.emissions.shape)) < 0.7)
    for b, (labels, _) in enumerate(drawn(case, data.draw(st.integers(0, 1000)))):
        weights[b, np.arange(len(labels)), labels] = 0.5
        weights[b, len(labels) :] = rng.choice([np.nan, -1.0, 0.0, np.inf])
    got = evidence(make(case), torch.from_numpy(weights))
    for b, truth in enumerate(enumerated(case)):
        with np.errstate(divide="ignore"):
            scores = np.log(weights[b, np.arange(truth.labels.shape[1]), truth.labels]).sum(axis=1)
        close(got[b], log_sum_exp(truth.scores + scores) - truth.log_partition, case)


@both
@given(data=st.data())
def test_transcript(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    orders = [bands(*outcome)[0] for outcome in drawn(case, data.draw(st.integers(0, 1000)))]
    got = transcript(make(case), orders)
    agrees(got, case, [lambda k, s, order=order: bands(k, s)[0] == order for order in orders])


@both
@given(data=st.data())
def test_timestamps(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    rows, keeps = [], []
    for labels, starts in drawn(case, data.draw(st.integers(0, 1000))):
        _, first = bands(labels, starts)
        marked = [int(rng.integers(a, z)) for a, z in itertools.pairwise([*first, len(labels)])]
        row = np.full(len(labels), UNLABELLED)
        row[marked] = labels[marked]
        rows.append(row)
        # Neighbouring marks of one class are marks of one band.
        order = [int(k) for k, _ in itertools.groupby(row[marked])]
        keeps.append(
            lambda k, s, row=row, order=order: bands(k, s)[0] == order and (k == row)[row != UNLABELLED].all()
            # Both marks of one band lie in it: nothing else begins between them.
            and all(not s[a + 1 : z + 1].any() for a, z in itertools.pairwise(np.flatnonzero(row != UNLABELLED))
                    if row[a] == row[z])
        )  # fmt: skip
    truths = enumerated(case)
    if not all(kept(truth, keep).feasible for truth, keep in zip(truths, keeps, strict=True)):
        return  # two touching bands of one class were marked, and one band of this length is forbidden
    agrees(timestamps(make(case), padded(rows, case)), case, keeps)


@both
@given(data=st.data(), frames=st.integers(0, 3))
def test_boundary_tolerance(cases: st.SearchStrategy[Case], data: st.DataObject, frames: int) -> None:
    case = data.draw(cases)
    rows, keeps = [], []
    for labels, _ in drawn(case, data.draw(st.integers(0, 1000))):
        runs = np.append(True, labels[1:] != labels[:-1])
        order, first = bands(labels, runs)
        rows.append(labels)
        keeps.append(
            lambda k, s, order=order, first=first: (
                bands(k, s)[0] == order and np.abs(np.subtract(bands(k, s)[1], first)).max() <= frames
            )
        )
    truths = enumerated(case)
    if not all(kept(truth, keep).feasible for truth, keep in zip(truths, keeps, strict=True)):
        return  # touching bands of one class are one band of the labels, whose length may be forbidden
    agrees(boundary_tolerance(make(case), padded(rows, case), frames), case, keeps)


def test_no_tolerance_is_the_likelihood_of_the_labels() -> None:
    dist = make(chain_case(0, (6, 4), 7, 3))
    torch.testing.assert_close(boundary_tolerance(dist, dist.mode, 0).log_share, dist.log_prob(dist.mode))


@pytest.mark.parametrize("kind", ["chain", "semi"])
def test_all_are_differentiable(kind: str) -> None:
    case = (
        chain_case(3, (4, 3), 5, 2)
        if kind == "chain"
        else semi_markov_case(4, (4, 3), 5, 2, 2, censored=True, self_transitions=False)
    ).differentiable()
    names = list(case.potentials)
    weights = torch.rand(case.emissions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 0, 1, 1, 0], [1, 0, 0, 0, 0]])
    marks = torch.tensor([[0, -100, -100, 1, 0], [1, -100, 0, 0, 0]])
    for query in (
        lambda dist: transcript(dist, [[0, 1], [1, 0]]).log_share,
        lambda dist: transcript(dist, [[0, 1], [1, 0]]).marginals.labels,
        lambda dist: timestamps(dist, marks).log_share,
        lambda dist: boundary_tolerance(dist, labels, 1).log_share,
        lambda dist: evidence(dist, weights),
    ):

        def loss(*leaves: Tensor, query: Any = query) -> Tensor:
            return query(make(case.having(**dict(zip(names, leaves, strict=True)))))

        assert torch.autograd.gradcheck(loss, tuple(case.potentials.values()))


def test_float32_answers_are_float32_and_as_exact_as_that() -> None:
    case = chain_case(1, (300,), 300, 3)
    narrow = make(Case({k: v.float() for k, v in case.potentials.items()}, case.lengths))
    wide = make(Case({k: v.float().double() for k, v in case.potentials.items()}, case.lengths))
    got, expected = (transcript(dist, [[0, 1, 2, 0]]).log_share for dist in (narrow, wide))
    assert got.dtype == torch.float32 and narrow.mode.shape == (1, 300)
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)


def test_many_bands_in_a_long_recording() -> None:
    dist = LinearChain(torch.randn(1, 5000, 4), 3 * torch.eye(4))
    labels = dist.mode
    tolerant = boundary_tolerance(dist, labels, 5)
    assert len(tolerant.orders[0]) > 50
    assert dist.log_prob(labels) < tolerant.log_share < 0
    assert torch.equal(tolerant.mode, labels)


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (lambda d: transcript(d, [[0, 1]]), {"argument": "orders", "got": "1 recordings", "expected": "2"}),
        (lambda d: transcript(d, [[0, 1], []]), {"argument": "orders", "got": "no bands", "recording": 1}),
        (lambda d: transcript(d, [[0, 1], [0, 3]]), {"got": "class 3 in band 1", "expected": "0 to 2", "recording": 1}),
        (lambda d: transcript(d, [[0, 1], [0, 0]]), {"got": "bands 0 and 1 of one class, 0", "recording": 1}),
        (
            lambda d: transcript(d, [[0], [0, 1] * 3]).log_share,
            {"got": "4 frames", "advice": "not fit", "recording": 1},
        ),
        (lambda d: transcript(d, [[0], [0, 1] * 3]).mode, {"got": "4 frames", "advice": "not fit", "recording": 1}),
        (lambda d: timestamps(d, torch.full((2, 5), UNLABELLED)), {"got": "no labelled frame", "recording": 0}),
        (
            lambda d: timestamps(d, torch.full((2, 5), 7)),
            {"got": "7", "expected": "0 to 2", "recording": 0, "frame": 0},
        ),
        (
            lambda d: boundary_tolerance(d, torch.full((2, 5), UNLABELLED), 1),
            {"got": "-100", "recording": 0, "frame": 0},
        ),
        (lambda d: boundary_tolerance(d, torch.zeros(2, 5).long(), -1), {"argument": "frames", "got": "-1"}),
        (lambda d: evidence(d, torch.ones(2, 5)), {"argument": "weights", "expected": r"\(B, T, C\) = \(2, 5, 3\)"}),
        (lambda d: evidence(d, -torch.ones(2, 5, 3)), {"argument": "weights", "got": "-1.0 for class 0", "frame": 0}),
        (lambda d: evidence(d, torch.zeros(2, 5, 3)), {"got": "no allowed labelling of its 5 frames", "recording": 0}),
        (lambda d: allowed_classes([[{0}, {4}]], 3), {"got": "class 4", "recording": 0, "frame": 1}),
    ],
)
def test_bad_knowledge_is_named(call: Callable[[Structure], Any], fields: dict[str, Any]) -> None:
    dist = LinearChain(torch.zeros(2, 5, 3), torch.zeros(3, 3), lengths=torch.tensor([5, 4]))
    with rejects(**fields):
        call(dist)
