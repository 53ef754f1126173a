"""Minimum durations and decoding by frame under constraints, against enumeration, for both structures.

The oracle lists every outcome and keeps those that obey the constraint, by a predicate of labels and band starts.
"""

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

from segcrf import LinearChain, Segments, SemiMarkov, Structure
from segcrf.structures import Alignment, Best, minimum_duration, most_accurate, transcript
from segcrf.testing.answers import close, drawn, make
from segcrf.testing.cases import Case, chain_case, chains, enumerated, semi_markov_case, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED, Enumeration

INF = math.inf
Keep = Callable[[Any, Any], bool]
seeds = st.integers(0, 1000)
shared = pytest.mark.parametrize("cases", [chains(max_frames=7), semi_markovs(max_frames=6)], ids=["chain", "semi"])
every = pytest.mark.parametrize(
    "cases",
    [chains(max_frames=6), chains(max_frames=5, varying=True), semi_markovs(max_frames=5)],
    ids=["chain", "varying", "semi"],
)


def bands(labels: Any, starts: Any) -> list[tuple[int, int, int]]:
    """Class, first frame and the frame after the last one, of the bands of one outcome."""
    first = [*np.flatnonzero(starts), len(labels)]
    return [(int(labels[a]), int(a), int(z)) for a, z in itertools.pairwise(first)]


def lasts(minimum: list[int]) -> Keep:
    """Whether all bands but the first and the last have their minimum."""
    return lambda labels, starts: all(z - a >= minimum[c] for c, a, z in bands(labels, starts)[1:-1])


def kept(truth: Enumeration, *keeps: Keep) -> Enumeration:
    """The outcomes that obey."""
    agree = np.array([all(keep(*one) for keep in keeps) for one in zip(truth.labels, truth.starts, strict=True)])
    return Enumeration(truth.labels, truth.starts, truth.steps, np.where(agree, truth.scores, -np.inf))


def minima(data: st.DataObject, case: Case) -> list[int]:
    return data.draw(st.lists(st.integers(1, 6), min_size=case.num_classes, max_size=case.num_classes))


def agrees(got: Structure | Alignment, case: Case, known: list[Enumeration]) -> None:
    """Marginals, the best outcome and the probability of its bands are those of the outcomes kept."""
    best = got.best
    rows = [(a[:n], s[:n]) for a, s, n in zip(best.labels, best.starts, case.lengths.tolist(), strict=True)]
    segments = Segments.from_labels([labels for labels, _ in rows], [starts for _, starts in rows])
    probability = got.band_probability(segments)
    for b, (truth, (labels, starts)) in enumerate(zip(known, rows, strict=True)):
        length = int(case.lengths[b])
        close(got.marginals.labels[b, :length], truth.label_marginals, case)
        close(got.marginals.starts[b, :length], truth.start_marginals, case)
        close(truth.scores[truth.agreeing(labels.numpy(), starts.numpy())].max(), truth.best_score, case)
        close(best.score[b], truth.best_score, case)
        own = segments.of(b)
        expected = [truth.band_probability(*band) for band in zip(own.start, own.end, own.label, strict=True)]
        close(probability[segments.recording == b], expected, case)


# ---------------------------------------------------------------------------------------------------- minimum duration
@shared
@given(data=st.data())
def test_a_minimum_duration_keeps_exactly_the_outcomes_with_it(
    cases: st.SearchStrategy[Case], data: st.DataObject
) -> None:
    case = data.draw(cases)
    minimum, truths = minima(data, case), enumerated(case)
    known = [kept(truth, lasts(minimum)) for truth in truths]
    if not all(each.feasible for each in known):
        return
    whole = make(case)
    got = minimum_duration(whole, minimum)
    for share, each, truth in zip(got.log_share(whole), known, truths, strict=True):
        close(share, each.log_partition - truth.log_partition, case)
    agrees(got, case, known)


@shared
@given(data=st.data())
def test_a_minimum_duration_that_nothing_obeys_has_no_mass(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    minimum = minima(data, case)
    got = minimum_duration(make(case, validate_args=False), minimum)
    feasible = [kept(truth, lasts(minimum)).feasible for truth in enumerated(case)]
    assert (got.log_z > -INF).tolist() == feasible


@given(case=chains(max_frames=6))
def test_a_minimum_of_one_frame_changes_nothing(case: Case) -> None:
    chain = make(case)
    same = minimum_duration(chain, 1)
    close(same.log_partition, chain.log_partition, case)
    close(same.marginals.labels, chain.marginals.labels, case)
    close(same.best.score, chain.best.score, case)
    assert same.max_duration == 1


def test_a_minimum_beyond_every_recording_costs_no_larger_table() -> None:
    chain = LinearChain(torch.randn(2, 9, 3), torch.randn(3, 3), lengths=torch.tensor([7, 4]))
    got = minimum_duration(chain, 10**9)
    assert got.max_duration == 7
    assert torch.equal(got.mode, minimum_duration(chain, 7).mode)
    assert int(got.best.starts.sum(1).max()) <= 2  # both edges cut one


def test_a_table_grows_by_its_tail_as_far_as_the_minimum() -> None:
    case = semi_markov_case(0, (6,), 6, 2, 2, censored=True, self_transitions=False)
    case = case.having(tail=torch.tensor([-0.5, -0.2], dtype=torch.float64))
    got = minimum_duration(make(case), [5, 1])
    table = case.potentials["durations"]
    torch.testing.assert_close(got.durations[1], torch.cat([table[1], table[1, -1] - 0.2 * torch.arange(1, 4)]))
    assert got.durations[0, :4].isneginf().all() and got.durations[0, 4] == table[0, -1] - 1.5
    assert got.potentials.first[0].isfinite().all(), "the edge of the recording may cut the first band"


def test_a_minimum_duration_is_differentiable() -> None:
    for case in (
        chain_case(3, (4, 3), 5, 2).differentiable(),
        semi_markov_case(4, (4, 3), 5, 2, 2, censored=True, self_transitions=False).differentiable(),
    ):
        names = list(case.potentials)

        def loss(*leaves: Tensor, case: Case = case, names: list[str] = names) -> Tensor:
            whole = make(case.having(**dict(zip(names, leaves, strict=True))))
            return minimum_duration(whole, [2, 3]).log_share(whole)

        assert torch.autograd.gradcheck(loss, tuple(case.potentials.values()))


def test_float32_stays_float32_and_as_exact_as_that() -> None:
    case = chain_case(1, (300,), 300, 3)
    narrow, wide = (
        LinearChain(*(p.float().to(dtype) for p in case.potentials.values()), lengths=case.lengths)
        for dtype in (torch.float32, torch.float64)
    )
    got, expected = (minimum_duration(dist, [5, 1, 9]) for dist in (narrow, wide))
    assert got.dtype == torch.float32 == got.marginals.labels.dtype
    torch.testing.assert_close(got.log_partition.double(), expected.log_partition, rtol=1e-6, atol=1e-4)
    assert torch.equal(got.mode, expected.mode)


@pytest.mark.parametrize("mask", [float(torch.finfo(torch.float64).min) / 4, -1e30, -INF])
def test_a_stay_that_is_masked_is_never_taken(mask: float) -> None:
    transitions = torch.tensor([[mask, 0.0], [0.0, 0.0]], dtype=torch.float64)
    got = minimum_duration(LinearChain(torch.zeros(1, 5, 2, dtype=torch.float64), transitions), [1, 2])
    free = LinearChain(torch.zeros(1, 5, 2, dtype=torch.float64), transitions)
    truth = kept(enumerated(Case({**free.potentials._asdict()}, free.lengths))[0], lasts([1, 2]))
    torch.testing.assert_close(got.marginals.labels[0], torch.from_numpy(truth.label_marginals))


def test_without_anything_to_say_bands_of_a_class_are_as_long_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    chain = LinearChain(2 * torch.randn(3, 400, 4, generator=generator), torch.zeros(4, 4))
    found = Segments.from_labels(minimum_duration(chain, [1, 5, 12, 30]).mode)
    inner = (found.start > 0) & (found.end < 400)
    assert (found.durations >= np.array([1, 5, 12, 30])[found.label])[inner].all()
    assert set(found.label[inner]) >= {0, 1, 2}


# -------------------------------------------------------------------------------------------------- by frame, allowed
def is_most_accurate(got: Best, known: list[Enumeration], case: Case) -> None:
    """Labels are allowed, and no allowed labelling has more right frames, by the oracle's posterior."""
    for b, truth in enumerate(known):
        length = int(case.lengths[b])
        posterior, allowed = truth.label_marginals, truth.scores > -np.inf
        right = posterior[np.arange(length), truth.labels].sum(1)
        labels = got.labels[b, :length].numpy()
        agree = truth.agreeing(labels, got.starts[b, :length].numpy())
        assert (agree & allowed).any()
        close(right[agree].max(), right[allowed].max(), case)
        close(got.score[b], right[allowed].max(), case)
        assert (got.labels[b, length:] == UNLABELLED).all() and not got.starts[b, length:].any()


@every
@given(data=st.data())
def test_the_most_accurate_labelling_is_allowed_and_the_best_of_those(
    cases: st.SearchStrategy[Case], data: st.DataObject
) -> None:
    case = data.draw(cases)
    is_most_accurate(most_accurate(make(case)), enumerated(case), case)


@shared
@given(data=st.data())
def test_the_most_accurate_labelling_with_a_minimum_duration(
    cases: st.SearchStrategy[Case], data: st.DataObject
) -> None:
    case, minimum = data.draw(cases), None
    minimum = minima(data, case)
    known = [kept(truth, lasts(minimum)) for truth in enumerated(case)]
    if all(each.feasible for each in known):
        is_most_accurate(most_accurate(minimum_duration(make(case), minimum)), known, case)


@every
@given(data=st.data())
def test_the_most_accurate_labelling_with_a_transcript(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case = data.draw(cases)
    orders = [[c for c, *_ in bands(*one)] for one in drawn(case, data.draw(seeds))]
    known = [
        kept(truth, lambda k, s, order=order: [c for c, *_ in bands(k, s)] == order)
        for truth, order in zip(enumerated(case), orders, strict=True)
    ]
    got = transcript(make(case), orders)
    agrees(got, case, known)
    is_most_accurate(most_accurate(got), known, case)


@shared
@given(data=st.data())
def test_everything_at_once(cases: st.SearchStrategy[Case], data: st.DataObject) -> None:
    case, rng = data.draw(cases), np.random.default_rng(data.draw(seeds))
    minimum = minima(data, case)
    truths = [kept(truth, lasts(minimum)) for truth in enumerated(case)]
    if not all(truth.feasible for truth in truths):
        return
    allowed = torch.from_numpy(rng.random(tuple(case.emissions.shape)) < 0.7)
    orders: list[list[int]] = []
    known: list[Enumeration] = []
    for b, truth in enumerate(truths):
        n = rng.choice(np.flatnonzero(truth.scores > -np.inf))  # a labelling that stays possible
        labels, length = truth.labels[n], truth.labels.shape[1]
        allowed[b, torch.arange(length), torch.from_numpy(labels)] = True
        orders.append([c for c, *_ in bands(labels, truth.starts[n])])
        known.append(
            kept(
                truth.restricted(allowed[b, :length].numpy()),
                lambda k, s, b=b: [c for c, *_ in bands(k, s)] == orders[b],
            )
        )
    got = transcript(minimum_duration(make(case).restrict(allowed), minimum), orders)
    agrees(got, case, known)
    is_most_accurate(most_accurate(got), known, case)


def test_without_structure_it_takes_the_most_probable_class_of_each_frame() -> None:
    dist = LinearChain(torch.randn(3, 50, 4), torch.randn(4, 4), lengths=torch.tensor([50, 1, 20]))
    got = most_accurate(dist)
    assert torch.equal(got.labels, dist.posterior_mode)
    right = dist.marginals.labels.amax(-1).sum(1)
    torch.testing.assert_close(got.score, right)


# --------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("frames", "fields"),
    [
        (0, {"argument": "frames", "got": "0", "expected": "1 or more"}),
        ([1, 2], {"argument": "frames", "got": "2 minima", "expected": "one per class"}),
        ([1, 2, 2.5], {"argument": "frames", "got": "2.5"}),
        ([1, 2, True], {"argument": "frames", "got": "True"}),
    ],
)
def test_bad_minima_are_named(frames: Any, fields: dict[str, Any]) -> None:
    with rejects(**fields):
        minimum_duration(LinearChain(torch.zeros(1, 5, 3), torch.zeros(3, 3)), frames)


def test_transitions_of_every_step_have_no_durations() -> None:
    with rejects("dist", got="transitions of every step"):
        minimum_duration(LinearChain(torch.zeros(1, 5, 2), torch.zeros(1, 4, 2, 2)), 2)


def test_neighbours_of_one_class_that_may_not_touch_are_named() -> None:
    apart = SemiMarkov(torch.zeros(1, 5, 2), torch.zeros(2, 2), torch.zeros(2, 3))
    with rejects("orders", got="bands 1 and 2 of one class, 1", recording=0):
        transcript(apart, [[0, 1, 1]])
    touching = SemiMarkov(torch.zeros(1, 3, 2), torch.zeros(2, 2), torch.zeros(2, 3), self_transitions=True)
    assert most_accurate(transcript(touching, [[0, 1, 1]])).starts.tolist() == [[True, True, True]]
