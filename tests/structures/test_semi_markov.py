"""SemiMarkov: the contract of structures, and durations to the frame."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from segcrf import LinearChain
from segcrf.structures import SemiMarkov
from segcrf.testing.answers import answers, close, on_every_backend, outcome
from segcrf.testing.cases import Case, chain_case, chains, enumerated, semi_markov_case, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.structures import StructureContract

INF = float("inf")


def as_semi_markov(case: Case, backend: str = "auto", **options: Any) -> SemiMarkov:
    return SemiMarkov(**case.potentials, lengths=case.lengths, backend=backend, **case.options, **options)


class TestSemiMarkov(StructureContract):
    cases = semi_markovs()

    def example(self) -> Case:
        case = semi_markov_case(4, (5, 4), 6, 2, 3, censored=False, self_transitions=False)
        durations = case.potentials["durations"].clone()
        durations[1, 0] = -INF
        return case.having(durations=durations, tail=torch.tensor([-0.4, -INF], dtype=torch.float64))

    def make(self, case: Case, backend: str, **options: Any) -> SemiMarkov:
        return as_semi_markov(case, backend, **options)


class TestSemiMarkovThatTouches(TestSemiMarkov):
    """The same with censored edges and with bands of one class that may touch."""

    def example(self) -> Case:
        return semi_markov_case(6, (4, 3), 5, 2, 2, censored=True, self_transitions=True)


# ------------------------------------------------------------------------------------------------- segmentations
@on_every_backend
@given(data=st.data())
def test_probabilities_of_all_segmentations_are_right_and_sum_to_one(backend: str, data: st.DataObject) -> None:
    case = data.draw(semi_markovs(max_frames=4))
    dist = as_semi_markov(case, backend, validate_args=False)
    for b, truth in enumerate(enumerated(case)):
        length, total = int(case.lengths[b]), 0.0
        for n in np.random.default_rng(0).permutation(len(truth.scores))[:25]:
            labels, starts = dist.mode.clone(), dist.best.starts.clone()
            labels[b, :length] = torch.from_numpy(truth.labels[n])
            starts[b, :length] = torch.from_numpy(truth.starts[n])
            close(dist.log_prob(labels, starts)[b], truth.scores[n] - truth.log_partition, case)
            total += float(truth.probabilities[n])
        assert total <= 1 + 1e-9


@on_every_backend
@given(case=semi_markovs(max_frames=5))
def test_gradients_of_durations_count_the_segments(backend: str, case: Case) -> None:
    leaf = Case({k: v.clone().requires_grad_() for k, v in case.potentials.items()}, case.lengths, case.options)
    as_semi_markov(leaf, backend).log_partition.sum().backward()
    expected = {name: np.zeros(tuple(case.potentials[name].shape)) for name in ("start", "end", "durations", "tail")}
    for truth in enumerated(case):
        last = truth.labels.shape[1]
        for p, labels, starts in zip(truth.probabilities, truth.labels, truth.starts, strict=True):
            expected["start"][labels[0]] += p
            expected["end"][labels[-1]] += p
            cuts = [*np.flatnonzero(starts), last]
            for first, after in pairwise(cuts):
                count_duration(expected, labels[first], after - first, p)
    names = ("start", "end") if case.options["censored"] else tuple(expected)
    for name in names:
        close(leaf.potentials[name].grad, expected[name], case, name)


def count_duration(counts: dict[str, Any], label: int, duration: int, p: float) -> None:
    longest = counts["durations"].shape[1]
    counts["durations"][label, min(duration, longest) - 1] += p
    counts["tail"][label] += p * max(duration - longest, 0)


# --------------------------------------------------------------------------------------------------- special cases
@on_every_backend
@given(case=chains(max_classes=4, max_frames=6))
def test_segments_of_one_frame_that_touch_are_a_chain(backend: str, case: Case) -> None:
    nothing = torch.zeros(case.num_classes, 1, dtype=torch.float64)
    ours = SemiMarkov(
        **case.potentials, durations=nothing, lengths=case.lengths, self_transitions=True, backend=backend
    )
    theirs = LinearChain(**case.potentials, lengths=case.lengths, backend="torch")
    for name in ("log_partition", "labels", "transitions", "best_score", "entropy"):
        close(answers(ours)[name], answers(theirs)[name], case, name)
    labels = theirs.sample(generator=torch.Generator().manual_seed(0))
    close(ours.log_prob(labels), theirs.log_prob(labels), case)


@on_every_backend
@given(case=chains(kinds=["normal", "wide"], max_classes=4, max_frames=6), longest=st.integers(1, 8))
def test_a_geometric_duration_is_a_chain_that_stays(backend: str, case: Case, longest: int) -> None:
    stay = case.potentials["transitions"].diagonal()
    stay = stay.masked_fill(stay == -INF, -3.0)
    transitions = case.potentials["transitions"].diagonal_scatter(stay)
    durations = stay[:, None] * torch.arange(longest)
    theirs = LinearChain(**(case.potentials | {"transitions": transitions}), lengths=case.lengths, backend="torch")
    ours = SemiMarkov(**case.potentials, durations=durations, tail=stay, lengths=case.lengths, backend=backend)
    for name in ("log_partition", "log_prob", "labels", "starts", "best_score", "entropy"):
        close(answers(ours)[name], answers(theirs)[name], case, name)


@pytest.mark.parametrize("duration", [1, 2, 4, 17])
def test_trained_on_bands_of_one_duration_it_decodes_them(duration: int) -> None:
    labels = (torch.arange(34 * 4) // duration % 2)[None]
    durations = torch.zeros(2, 20, requires_grad=True)
    transitions = torch.zeros(2, 2, requires_grad=True)
    optimiser = torch.optim.Adam([durations, transitions], lr=0.5)
    emissions = torch.zeros(1, labels.shape[1], 2)
    emissions[0, 0, 0] = 1.0
    for _ in range(60):
        optimiser.zero_grad()
        loss = -SemiMarkov(emissions, transitions, durations).log_prob(labels).mean()
        assert loss >= -1e-4, "a likelihood above one"
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert torch.equal(SemiMarkov(emissions, transitions, durations).mode, labels)


@on_every_backend
def test_a_favoured_class_stays_favoured(backend: str) -> None:
    emissions = torch.zeros(1, 40, 3)
    emissions[:, :36, 0] = 3.0
    dist = SemiMarkov(emissions, torch.zeros(3, 3), torch.zeros(3, 5), torch.zeros(3), backend=backend)
    assert (dist.mode[0, :36] == 0).all()


@on_every_backend
@given(seed=st.integers(0, 2**32 - 1), shortest=st.integers(1, 4), spread=st.integers(0, 3), censored=st.booleans())
def test_no_band_breaks_its_limits(backend: str, seed: int, shortest: int, spread: int, censored: bool) -> None:
    rng = np.random.default_rng(seed)
    lengths = [36, 24, 12]  # can be filled with bands of 1 to 4 frames
    emissions = torch.from_numpy(rng.normal(0, 3, (3, 36, 3)))
    longest = shortest + spread
    durations = torch.full((3, longest), -INF, dtype=torch.float64)
    durations[:, shortest - 1 :] = torch.from_numpy(rng.normal(size=(3, spread + 1)))
    dist = SemiMarkov(
        emissions, torch.zeros(3, 3, dtype=torch.float64), durations, lengths=torch.tensor(lengths), censored=censored,
        backend=backend,
    )  # fmt: skip
    for labels, length in zip([*dist.mode, *dist.sample()], lengths * 2, strict=True):
        inside = band_durations(labels[:length])
        if censored:
            assert all(d <= longest for d in inside)
            inside = inside[1:-1]
        assert all(shortest <= d <= longest for d in inside)


def band_durations(labels: Tensor) -> list[int]:
    return torch.unique_consecutive(labels, return_counts=True)[1].tolist()


@on_every_backend
def test_what_cannot_be_segmented_names_the_durations_at_fault(backend: str) -> None:
    durations = torch.tensor([[-INF, -INF, 0.0], [-INF, -INF, 0.0]])
    dist = SemiMarkov(torch.zeros(2, 6, 2), torch.zeros(2, 2), durations, lengths=torch.tensor([6, 5]), backend=backend)
    with rejects(got="5 frames", advice=r"shortest.*\[3, 3\].*longest.*\[3, 3\]", recording=1):
        dist.mode  # noqa: B018
    labels = torch.tensor([[0, 0, 0, 0, 1, 1]])
    alone = SemiMarkov(torch.zeros(1, 6, 2), torch.zeros(2, 2), durations, backend=backend)
    with rejects("labels", got="a band of class 0 of 4 frames", recording=0, frame=0):
        alone.log_prob(labels)


def test_a_tail_that_does_not_fall_cannot_be_censored() -> None:
    with rejects("tail"):
        SemiMarkov(torch.zeros(1, 3, 2), torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([-1.0, 0.0]), censored=True)


# ------------------------------------------------------------------------------------------------- long and wide
@pytest.mark.parametrize("censored", [False, True])
@pytest.mark.parametrize(
    ("num_classes", "longest", "lengths"),
    [(3, 7, [400, 399, 1, 50]), pytest.param(5, 60, [300], marks=pytest.mark.slow), (2, 300, [200])],
)
def test_kernels_are_the_reference_on_longer_recordings(
    num_classes: int, longest: int, lengths: list[int], censored: bool
) -> None:
    rng = np.random.default_rng(longest)
    case = chain_case(longest, lengths, max(lengths), num_classes)
    durations = torch.from_numpy(rng.normal(0, 2, (num_classes, longest)))
    tail = torch.from_numpy(-rng.exponential(0.5, num_classes) - 0.01)
    potentials = {k: v.nan_to_num(0.0, 0.0, 0.0) for k, v in case.potentials.items()}
    case = Case(potentials | {"durations": durations, "tail": tail}, case.lengths, {"censored": censored})
    ours, theirs = (answers(as_semi_markov(case, backend)) for backend in ("numba", "torch"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-9, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("mask", [-INF, -2e4, -1e9, float(torch.finfo(torch.float32).min)])
@pytest.mark.parametrize("longest", [1, 3, 4, 8])
def test_masked_classes_of_any_depth_are_those_of_the_reference(longest: int, mask: float) -> None:
    """A mask may be a large finite number, of one frame or of many: it must not drown the scores of the others."""
    rng = np.random.default_rng(longest)
    case = chain_case(longest, [70, 66, 5], 70, 3)
    emissions = torch.from_numpy(rng.normal(size=(3, 70, 3)))
    emissions[torch.from_numpy(rng.random((3, 70, 3)) < 0.2)] = mask
    emissions[..., 0] = emissions[..., 0].masked_fill((emissions == mask).all(-1), 0.0)
    # By class 0 at its best: the reference subtracts nothing, and would lose what all classes of a frame share.
    emissions = emissions - emissions.amax(-1, keepdim=True)
    durations = torch.from_numpy(rng.normal(0, 2, (3, longest)))
    tail = torch.from_numpy(-rng.exponential(0.5, 3) - 0.01)
    potentials = case.potentials | {"emissions": emissions, "durations": durations, "tail": tail}
    case = Case(potentials, case.lengths, {"censored": True, "self_transitions": longest != 4})
    ours, theirs = (as_semi_markov(case.differentiable(), backend) for backend in ("numba", "torch"))
    for name in ("log_partition", "mode"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-8)
    for ours_, theirs_ in zip(ours.marginals, theirs.marginals, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(ours.best.score, theirs.best.score, rtol=1e-9, atol=1e-8)
    gradients = [torch.autograd.grad(d.log_partition.sum(), d.potentials[1:4]) for d in (ours, theirs)]
    for ours_, theirs_ in zip(*gradients, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("masked", range(10))
@pytest.mark.parametrize("first", [0, 1])
def test_a_band_that_has_to_cross_a_mask_pays_for_it_once(first: int, masked: int) -> None:
    # Class ``first`` lasts two frames at most and never comes again, so that the other has all the rest, or everything.
    other = 1 - first
    emissions = torch.from_numpy(np.random.default_rng(masked).normal(size=(1, 10, 2)))
    emissions[0, masked, other] = -1e5
    transitions = torch.zeros(2, 2, dtype=torch.float64)
    transitions[other, first] = -INF
    tail = torch.full((2,), -0.3, dtype=torch.float64)
    tail[first] = -INF
    durations = torch.tensor([[0.2, -0.1], [0.5, -0.4]], dtype=torch.float64)
    table = (emissions, transitions, durations, tail)
    ours, theirs = (
        SemiMarkov(*(p.clone().requires_grad_() for p in table), backend=backend) for backend in ("numba", "torch")
    )
    assert ours.mode.tolist() == theirs.mode.tolist()
    torch.testing.assert_close(ours.best.score, theirs.best.score, rtol=0, atol=1e-8)
    torch.testing.assert_close(ours.log_partition, theirs.log_partition, rtol=0, atol=1e-8)
    wanted = (0, 2, 3)  # emissions, durations, tail
    gradients = [torch.autograd.grad(d.log_partition.sum(), [d.potentials[i] for i in wanted]) for d in (ours, theirs)]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-8)


def test_a_start_far_above_those_that_count_is_not_lost_in_infinity() -> None:
    emissions = torch.tensor([[[0.0, 0.0], [0.0, -INF], [0.0, -740.0], [-398.0, 0.0]]], dtype=torch.float64)
    durations = torch.tensor([[0.0, -INF], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    total = SemiMarkov(emissions, torch.zeros(2, 2, dtype=torch.float64), durations).log_partition.sum()
    (got,) = torch.autograd.grad(total, durations)
    # 0 | 1 1 is forbidden at frame 1, so that class 1 ends before it and is alone on frame 2: 1 0 1 1, 1 0 1 0.
    torch.testing.assert_close(got, torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64))


@on_every_backend
def test_a_restriction_keeps_everything_but_the_emissions(backend: str) -> None:
    case = semi_markov_case(0, (5, 4), 6, 2, 3, censored=False, self_transitions=False)
    dist = as_semi_markov(case, backend)
    free = dist.restrict(torch.ones(dist.emissions.shape, dtype=torch.bool))
    best = dist.best
    torch.testing.assert_close(free.log_prob(best.labels, best.starts), dist.log_prob(best.labels, best.starts))
    labels, starts = outcome(case, 0, best.labels[0], best.starts[0])
    close(dist.log_prob(best.labels, best.starts)[0], enumerated(case)[0].log_prob(labels, starts), case)
