"""Families of durations: scipy's distributions, moments, tails, and the module that trains with them."""

from __future__ import annotations

import re

import pytest
import torch
from scipy import stats

from segcrf import Segments, SemiMarkovCRF
from segcrf._validation import InputTypeError
from segcrf.nn import (
    DURATION_FAMILIES,
    GeometricDurations,
    LearnedDurations,
    NegativeBinomialDurations,
    PoissonDurations,
    UniformDurations,
)
from segcrf.testing.errors import rejects

MEAN, VARIANCE = torch.tensor([6.0, 12.0]), torch.tensor([16.0, 40.0])


def test_tables_are_those_of_scipy():
    frames = torch.arange(1, 41).numpy()
    poisson, binomial, geometric = (
        family(2, 40) for family in (PoissonDurations, NegativeBinomialDurations, GeometricDurations)
    )
    for family in (poisson, binomial, geometric):
        family.set_moments(MEAN, VARIANCE)
    for c in range(2):
        mean, variance = float(MEAN[c]) - 1, float(VARIANCE[c])
        expected = {
            poisson: stats.poisson.logpmf(frames - 1, mean),
            binomial: stats.nbinom.logpmf(frames - 1, mean**2 / (variance - mean), mean / variance),
            geometric: stats.geom.logpmf(frames, 1 / (1 + mean)),
        }
        for family, table in expected.items():
            torch.testing.assert_close(family()[0][c], torch.tensor(table).float(), rtol=1e-4, atol=1e-4)


def test_uniform_durations_are_all_alike():
    table, tail = UniformDurations(3, 25)()
    assert bool((table == table[0, 0]).all()) and bool((tail < 0).all())
    assert DURATION_FAMILIES["uniform"] is UniformDurations


@pytest.mark.parametrize("name", DURATION_FAMILIES)
def test_every_family_gives_a_table_and_a_falling_tail(name):
    family = DURATION_FAMILIES[name](3, 25)
    table, tail = family()
    assert table.shape == (3, 25)
    assert tail.shape == (3,)
    assert bool((tail < 0).all())
    total = table.sum() + tail.sum()
    total.backward()
    assert all(parameter.grad is None or bool(parameter.grad.isfinite().all()) for parameter in family.parameters())


@pytest.mark.parametrize("name", ["learned", "negative_binomial"])
def test_moments_come_back(name):
    family = DURATION_FAMILIES[name](2, 200)
    family.set_moments(MEAN, VARIANCE)
    mean, variance = family.moments()
    torch.testing.assert_close(mean, MEAN.double(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(variance, VARIANCE.double(), rtol=1e-2, atol=1e-2)


def test_the_tail_goes_on_as_the_family_does():
    family = GeometricDurations(1, 10)
    family.set_moments(torch.tensor([5.0]), torch.tensor([20.0]))
    table, tail = family()
    torch.testing.assert_close(tail, table[:, -1] - table[:, -2])


def test_a_learned_table_peaks_where_the_data_are():
    family = LearnedDurations(2, 30)
    family.fit([torch.tensor([7, 7, 7, 8]), torch.tensor([], dtype=torch.int64)])
    table, _ = family()
    assert int(table[0].argmax()) + 1 == 7
    assert bool((table[1] == 0).all())  # no observation: as it was


def test_bands_at_the_edges_are_not_counted_where_others_are():
    labels = [torch.tensor([0] * 2 + [1] * 5 + [0] * 9 + [1] * 5 + [0] * 3)]
    crf = SemiMarkovCRF(2, 20, durations="poisson").fit_durations(Segments.from_labels(labels))
    torch.testing.assert_close(crf.durations.log_mean.exp(), torch.tensor([8.0, 4.0]))


def test_durations_in_seconds():
    crf = SemiMarkovCRF(2, 100, durations="negative_binomial").set_durations(
        [0.1, 0.3], [0.05, 0.1], sampling_rate=100.0
    )
    torch.testing.assert_close(crf.durations.moments()[0], torch.tensor([10.0, 30.0]).double(), rtol=1e-3, atol=1e-2)


def test_no_band_is_shorter_than_the_minimum_of_its_class():
    torch.manual_seed(0)
    crf = SemiMarkovCRF(3, 10, min_duration=[1, 4, 6])
    best = crf(torch.randn(4, 80, 3)).best
    bands = Segments.from_labels(best.labels, best.starts)
    for label, shortest in enumerate([1, 4, 6]):
        assert bands.durations[bands.label == label].min(initial=99) >= shortest


def test_a_hard_maximum():
    torch.manual_seed(0)
    crf = SemiMarkovCRF(3, 10, tail="none")
    best = crf(torch.randn(2, 80, 3) + torch.tensor([5.0, 0.0, 0.0])).best
    assert Segments.from_labels(best.labels, best.starts).durations.max() <= 10


def test_a_module_of_ones_own():
    class Fixed(torch.nn.Module):
        def forward(self):
            return torch.zeros(2, 5), torch.tensor([-0.1, -0.2])

    crf = SemiMarkovCRF(2, 5, durations=Fixed())
    assert crf(torch.zeros(1, 7, 2)).tail.tolist() == pytest.approx([-0.1, -0.2])
    with rejects("durations", got="Fixed", kind=InputTypeError):
        crf.set_durations([1, 2], [1, 1])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("durations", "gamma", "one of 'learned'"),
        ("tail", "long", "one of 'geometric', 'none'"),
        ("min_duration", 9, "1 to max_duration = 8 frames"),
        ("min_duration", [1, 2], "3 integers"),
        ("max_duration", 0, "1 or more"),
    ],
)
def test_bad_arguments_are_rejected(name, value, expected):
    with rejects(name, got=re.escape(repr(value)), expected=expected):
        SemiMarkovCRF(3, **{"max_duration": 8} | {name: value})


@pytest.mark.parametrize("bad", [[1.0], [1.0, 0.0], [1.0, float("inf")]])
def test_bad_seconds_are_rejected(bad):
    for name in ("mean", "std"):
        with rejects(f"^{name}$", got=re.escape(repr(bad)), expected="2 positive numbers"):
            SemiMarkovCRF(2, 8).set_durations(**{"mean": [1.0, 1.0], "std": [1.0, 1.0]} | {name: bad})
