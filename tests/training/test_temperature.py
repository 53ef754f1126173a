"""Temperature scaling: temperatures that are known are found again, and calibrate."""

from __future__ import annotations

import pytest
import torch

from segcrf import LinearChain
from segcrf.metrics import reliability
from segcrf.testing.answers import make
from segcrf.testing.cases import Case, chain_case, semi_markov_case
from segcrf.testing.errors import rejects
from segcrf.training import fit_temperature


@pytest.mark.parametrize("kind", ["chain", "semi"])
def test_a_structure_is_calibrated_on_its_own_draws_and_a_sharpened_one_is_not(kind: str) -> None:
    lengths = (400,) * 5
    case = chain_case(5, lengths, 400, 3) if kind == "chain" else having_durations(5, lengths)
    dist = make(case)
    labels = dist.sample(generator=torch.Generator().manual_seed(0))
    assert reliability(labels, dist.marginals.labels).error < 0.05
    for scope in ("structure", "emissions"):
        assert fit_temperature([dist], [labels], scope) == pytest.approx(1.0, rel=0.1)
    sharp = dist.scaled(4.0)
    assert reliability(labels, sharp.marginals.labels).error > 0.1
    temperature = fit_temperature([sharp], [labels])
    assert temperature == pytest.approx(4.0, rel=0.1)
    assert torch.equal(sharp.scaled(1 / temperature).mode, sharp.mode)
    assert fit_temperature([dist.scaled(emissions=4.0)], [labels], "emissions") == pytest.approx(4.0, rel=0.1)
    assert reliability(labels, sharp.scaled(1 / temperature).marginals.labels).error < 0.05


def having_durations(seed: int, lengths: tuple[int, ...]) -> Case:
    # Not compared with the oracle: the recordings are too long to be enumerated.
    case = chain_case(seed, lengths, max(lengths), 3)
    small = semi_markov_case(seed, (3,), 3, 3, 4, censored=True, self_transitions=False)
    return Case(small.potentials | {"emissions": case.emissions}, case.lengths, small.options)


def test_unlabelled_frames_and_several_batches() -> None:
    case = chain_case(2, (200, 150), 200, 2)
    dist = make(case).scaled(2.0)
    labels = make(case).sample(generator=torch.Generator().manual_seed(1))
    labels[:, ::2] = -100
    one = fit_temperature([dist, dist], [labels, labels])
    assert one == pytest.approx(fit_temperature([dist], [labels]), rel=1e-3) and 1.3 < one < 3.0


def test_bad_arguments_are_named() -> None:
    dist, labels = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2)), torch.zeros(1, 4, dtype=torch.int64)
    with rejects("scope", got="'transitions'", expected="'structure', 'emissions'"):
        fit_temperature([dist], [labels], "transitions")
    with rejects("labels", got="2", expected="1, as in dists"):
        fit_temperature([dist], [labels, labels])
