"""Calibration: reliability by hand, and temperatures that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from errors import rejects
from strategies import Case, chain_case, semi_markov_case
from test_knowledge import make

from segcrf.metrics import fit_temperature, reliability


def test_reliability_by_hand() -> None:
    posterior = [np.array([[0.95, 0.05], [0.55, 0.45], [0.2, 0.8]]), np.array([[0.92, 0.08]])]
    table = reliability([[0, 1, -100], [1]], posterior)
    assert table.frames.tolist() == [0] * 5 + [1, 0, 0, 0, 2]
    assert table.confidence[9] == pytest.approx(0.935) and table.accuracy[9] == 0.5 and table.accuracy[5] == 0.0
    assert np.isnan(table.accuracy[0])
    assert table.error == pytest.approx((1 * 0.55 + 2 * (0.935 - 0.5)) / 3)
    assert str(table).count("\n") == 3


def test_edges_belong_to_the_bin_below() -> None:
    table = reliability([[0, 0]], [np.array([[1.0, 0.0], [0.5, 0.5]])], bins=2)
    assert table.frames.tolist() == [1, 1]


def test_nothing_labelled_has_no_error() -> None:
    assert math.isnan(reliability([[-100]], [np.array([[1.0, 0.0]])]).error)


@pytest.mark.parametrize("kind", ["chain", "semi"])
def test_a_structure_is_calibrated_on_its_own_draws_and_a_sharpened_one_is_not(kind: str) -> None:
    lengths = (400,) * 5
    case = chain_case(5, lengths, 400, 3) if kind == "chain" else having_durations(5, lengths)
    dist = make(case)
    labels = dist.sample(generator=torch.Generator().manual_seed(0))
    assert reliability(labels, dist.marginals.labels).error < 0.05
    for scope in ("structure", "emissions"):
        assert fit_temperature([dist], [labels], scope) == pytest.approx(1.0, rel=0.1)
    sharp = dist.tempered(0.25)
    assert reliability(labels, sharp.marginals.labels).error > 0.1
    temperature = fit_temperature([sharp], [labels])
    assert temperature == pytest.approx(4.0, rel=0.1)
    assert torch.equal(sharp.tempered(temperature).mode, sharp.mode)
    assert fit_temperature([dist.rescale(4.0)], [labels], "emissions") == pytest.approx(4.0, rel=0.1)
    assert reliability(labels, sharp.tempered(temperature).marginals.labels).error < 0.05


def having_durations(seed: int, lengths: tuple[int, ...]) -> Case:
    # The oracle has no say here: the recordings are too long to be enumerated.
    case = chain_case(seed, lengths, max(lengths), 3)
    small = semi_markov_case(seed, (3,), 3, 3, 4, censored=True, self_transitions=False)
    return Case(small.potentials | {"emissions": case.emissions}, case.lengths, small.options)


def test_unlabelled_frames_and_several_batches() -> None:
    case = chain_case(2, (200, 150), 200, 2)
    dist = make(case).tempered(0.5)
    labels = make(case).sample(generator=torch.Generator().manual_seed(1))
    labels[:, ::2] = -100
    one = fit_temperature([dist, dist], [labels, labels])
    assert one == pytest.approx(fit_temperature([dist], [labels]), rel=1e-3) and 1.3 < one < 3.0


@pytest.mark.parametrize(
    ("true", "posterior", "fields"),
    [
        ([[0, 1], [0]], [np.ones((2, 2))], {"argument": "probabilities", "got": "1 recordings", "expected": "2"}),
        ([[0, 5]], [np.ones((2, 2))], {"argument": "true", "got": "5", "expected": "0 to 1", "frame": 1}),
        ([[0, 1, 1]], [np.ones((2, 2))], {"argument": "probabilities", "got": "2 frames", "expected": "3, as in true"}),
        ([], [], {"argument": "true", "got": "an empty list"}),
    ],
)
def test_bad_input_is_named(true: Any, posterior: Any, fields: dict[str, Any]) -> None:
    with rejects(**fields):
        reliability(true, posterior)
