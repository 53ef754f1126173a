"""Scores that people type in place of -inf: each answer is that of an enumeration, whatever the mask is.

A mask times a probability that rounding left above zero is a huge number, so what cannot happen must count as exactly
zero.
"""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.distributions import kl_divergence

from segcrf import LinearChain, SemiMarkov, Structure
from segcrf.testing.answers import on_every_backend
from segcrf.testing.cases import Case, chain_case, enumerated, semi_markov_case
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import Enumeration

FLOAT32, FLOAT64 = float(torch.finfo(torch.float32).min), float(torch.finfo(torch.float64).min)
MASKS = (-1e4, -1e9, -1e30, FLOAT32, FLOAT64 / 4, -float("inf"))
KINDS = ("chain", "segments", "censored")
NUM_CLASSES, MAX_DURATION = 3, 3
LENGTHS = (5, 4)

every_kind = pytest.mark.parametrize("kind", KINDS)
# The masks in between cost as much and fail as these do.
OFTEN = (-1e9, FLOAT32, -float("inf"))
every_mask = pytest.mark.parametrize(
    "mask", [mask if mask in OFTEN else pytest.param(mask, marks=pytest.mark.slow) for mask in MASKS]
)


def free_case(seed: int, kind: str) -> Case:
    """Scores of ordinary size, nothing forbidden; zeros in the padding."""
    if kind == "chain":
        case = chain_case(seed, LENGTHS, max(LENGTHS), NUM_CLASSES)
    else:
        options = {"censored": kind == "censored", "self_transitions": bool(seed % 2)}
        case = semi_markov_case(seed, LENGTHS, max(LENGTHS), NUM_CLASSES, MAX_DURATION, **options)
        case = case.having(tail=case.potentials["tail"].clamp(min=-2.0))
    return case.padded(0, 0.0)


def random_hits(rng: np.random.Generator, case: Case, share: float) -> dict[str, Tensor]:
    """Which scores are masked: any but those that one labelling of each recording needs."""
    hits = {name: torch.from_numpy(rng.random(tuple(v.shape)) < share) for name, v in case.potentials.items()}
    classes = [int(c) for c in rng.permutation(NUM_CLASSES)[:2]]
    for recording, length in enumerate(LENGTHS):  # two bands: of two frames, and of the rest
        labels = torch.tensor([classes[0]] * 2 + [classes[1]] * (length - 2))
        hits["emissions"][recording, torch.arange(length), labels] = False
        hits["emissions"][recording, length:] = False
        hits["transitions"][labels[:-1], labels[1:]] = False
    hits["start"][classes[0]] = hits["end"][classes[1]] = False
    if "durations" in hits:
        hits["durations"][classes[0], 1] = hits["durations"][classes[1], 1:] = False
    return hits


def masked(case: Case, hits: dict[str, Tensor], mask: float) -> Case:
    return case.having(**{name: values.masked_fill(hits[name], mask) for name, values in case.potentials.items()})


def made(case: Case, backend: str) -> Structure:
    build = SemiMarkov if "durations" in case.potentials else LinearChain
    return build(**case.potentials, lengths=case.lengths, backend=backend, **case.options)


def truths(case: Case) -> list[Enumeration]:
    with np.errstate(over="ignore"):  # four masks of a quarter of the largest number are -inf
        return enumerated(case)


def same(got: Tensor, expected: list[float], tolerance: float = 1e-9) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance)


def check_marginals(dist: Structure, case: Case, tolerance: float = 1e-9) -> None:
    for b, truth in enumerate(truths(case)):
        length = int(case.lengths[b])
        for got, expected in (
            (dist.marginals.labels[b, :length], truth.label_marginals),
            (dist.marginals.starts[b, :length], truth.start_marginals),
        ):
            torch.testing.assert_close(got, torch.from_numpy(expected), rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------- masks to be kept clear of
@on_every_backend
@every_kind
@every_mask
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.2, 0.5, 0.9]))
def test_answers_under_masks_are_those_of_the_enumeration(
    mask: float, kind: str, backend: str, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = free_case(seed, kind), free_case(seed + 1, kind)
    theirs = replace(theirs, options=ours.options)
    hits = random_hits(rng, ours, share)
    fewer = {name: hit & torch.from_numpy(rng.random(tuple(hit.shape)) < 0.7) for name, hit in hits.items()}
    ours, theirs = masked(ours, hits, mask), masked(theirs, fewer, mask)
    p, q = made(ours, backend), made(theirs, backend)
    pairs = list(zip(truths(ours), truths(theirs), strict=True))
    check_marginals(p, ours)
    assert (p.marginals.labels[hits["emissions"]] == 0).all()
    assert (p.marginals.transitions[:, hits["transitions"]] == 0).all()
    same(p.entropy(), [a.entropy for a, _ in pairs])
    same(p.cross_entropy(q), [a.cross_entropy(b) for a, b in pairs])
    same(kl_divergence(p, q), [a.cross_entropy(b) - a.entropy for a, b in pairs])


@on_every_backend
@every_kind
@pytest.mark.parametrize("mask", [-1e4, -1e9, -1e30, FLOAT32])
def test_single_precision_loses_no_entropy_to_a_mask(mask: float, kind: str, backend: str) -> None:
    for seed in range(5):
        case = free_case(seed, kind)
        case = masked(case, random_hits(np.random.default_rng(seed), case, 0.4), mask)
        case = case.having(**{name: values.float() for name, values in case.potentials.items()})
        exact = case.having(**{name: values.double() for name, values in case.potentials.items()})
        same(made(case, backend).entropy(), [truth.entropy for truth in truths(exact)], 1e-4)


@every_mask
def test_masks_of_a_long_recording_leave_no_counts(mask: float) -> None:
    """The rounding of a running difference grows with time; a masked class keeps none of it."""
    rng = np.random.default_rng(0)
    num_frames, num_classes = 3000, 5
    emissions = torch.from_numpy(rng.normal(0, 3, (1, num_frames, num_classes)))
    hits = torch.from_numpy(rng.random(emissions.shape) < 0.3)
    hits[..., 0] = False
    tables = [torch.from_numpy(rng.normal(size=size)) for size in ((num_classes, num_classes), (num_classes, 12))]
    tail = torch.full((num_classes,), -0.2, dtype=torch.float64)
    dist, exact = (
        SemiMarkov(emissions.masked_fill(hits, value), *tables, tail, backend="numba")
        for value in (mask, -float("inf"))
    )
    assert (dist.marginals.labels[hits] == 0).all()
    torch.testing.assert_close(dist.entropy(), exact.entropy(), rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(dist.marginals.labels, exact.marginals.labels, rtol=0, atol=1e-9)


# ------------------------------------------------------------------------------------------------ masks to be crossed
@on_every_backend
@every_kind
@pytest.mark.parametrize(("mask", "tolerance"), [(-1e4, 1e-8), (-1e9, 1e-5)])
@given(seed=st.integers(0, 2**32 - 1))
def test_marginals_are_right_where_a_mask_has_to_be_crossed(
    mask: float, tolerance: float, kind: str, backend: str, seed: int
) -> None:
    case = free_case(seed, kind)
    hits = np.random.default_rng(seed).random(tuple(case.emissions.shape)) < 0.8
    case = masked(case, {name: torch.zeros_like(v, dtype=torch.bool) for name, v in case.potentials.items()}, mask)
    case = case.having(emissions=case.emissions.masked_fill(torch.from_numpy(hits), mask)).padded(0, 0.0)
    check_marginals(made(case, backend), case, tolerance)


@on_every_backend
@every_kind
def test_a_frame_with_every_class_masked_is_a_frame_without_an_observation(kind: str, backend: str) -> None:
    for seed in range(5):
        case = free_case(seed, kind)
        silent, all_masked = case.emissions.clone(), case.emissions.clone()
        silent[:, 2], all_masked[:, 2] = 0.0, -1e9
        silent_case = case.having(emissions=silent)
        dist = made(case.having(emissions=all_masked), backend)
        check_marginals(dist, silent_case, 1e-6)
        same(dist.entropy(), [each.entropy for each in truths(silent_case)], 1e-8)


@on_every_backend
@every_kind
@pytest.mark.parametrize("mask", MASKS[2:-1])
def test_a_frame_with_every_class_masked_beyond_the_digits_is_named(mask: float, kind: str, backend: str) -> None:
    case = free_case(0, kind)
    emissions = case.emissions.clone()
    emissions[1, 2] = mask
    with rejects("emissions", got="for every class", advice="emissions of 0", recording=1, frame=2):
        made(case.having(emissions=emissions), backend)
    emissions[1, 2] = 0.0
    emissions[1, LENGTHS[1] :] = mask  # padding
    assert made(case.having(emissions=emissions), backend).log_partition.isfinite().all()


@on_every_backend
@every_kind
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_transitions_far_from_zero_lose_no_entropy(
    dtype: torch.dtype, tolerance: float, kind: str, backend: str
) -> None:
    case = free_case(3, kind)
    # Whole numbers, so that the offset is exact in single precision.
    case = case.having(**{name: values.round() for name, values in case.potentials.items() if name != "tail"})
    case = case.having(transitions=case.potentials["transitions"] + 2.0**20)
    truth = [each.entropy for each in truths(case)]
    case = case.having(**{name: values.to(dtype) for name, values in case.potentials.items()})
    if kind != "chain" and backend == "numba":
        tolerance = 1e-2  # the number of segments is known to 1e-9, and each counts the offset
    same(made(case, backend).entropy(), truth, tolerance)
