"""Calibration of a model: temperature by a grid, confidence by its gradient, intervals by enumeration."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from segcrf import LinearChainCRF, Segments
from segcrf.data import Recording
from segcrf.nn import CAPACITY, DecodingRule, JointModel, LSTMEncoder
from segcrf.testing.errors import rejects
from segcrf.training import HeldOut, calibrate, fit_calibration

Array = Any


def held_out(seed: int, bands: int = 10, sharpness: float = 4.0, classes: int = 3) -> HeldOut:
    """A recording with labels, some of them missing, and posteriors that are too sure by the sharpness."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.integers(classes, size=bands), rng.integers(3, 20, size=bands))
    scores = sharpness * (np.eye(classes)[true] + 0.6 * rng.normal(size=(len(true), classes)))
    powers = np.exp(scores - scores.max(1, keepdims=True))
    posterior = powers / powers.sum(1, keepdims=True)
    labels = posterior.argmax(1)
    starts = np.append(True, labels[1:] != labels[:-1])
    return HeldOut(np.where(rng.random(len(true)) < 0.1, -100, true), labels, starts, posterior)


def shifted(shifts: list[int], width: int = 100) -> HeldOut:
    """A recording in which every boundary is found so many frames too late, without doubt."""
    true = np.repeat(np.arange(len(shifts) + 1) % 3, width)
    edges = [0, *((i + 1) * width + shift for i, shift in enumerate(shifts)), len(true)]
    labels = np.repeat(np.arange(len(shifts) + 1) % 3, np.diff(edges))
    return HeldOut(true, labels, np.append(True, labels[1:] != labels[:-1]), np.eye(3)[labels])


# ------------------------------------------------------------------------------------------------------- temperature
@pytest.mark.parametrize("sharpness", [0.5, 4.0, 30.0])
@pytest.mark.parametrize("recordings", [1, 6])
def test_the_temperature_is_the_best_of_a_grid(sharpness: float, recordings: int) -> None:
    given = [held_out(seed, sharpness=sharpness) for seed in range(recordings)]
    known = [(each.posteriors[each.true >= 0], each.true[each.true >= 0]) for each in given]
    posterior, true = np.concatenate([a for a, _ in known]), np.concatenate([b for _, b in known])
    # Runs of one label, which a frame without a label ends.
    bands = sum(
        int(label >= 0 and (t == 0 or each.true[t - 1] != label)) for each in given for t, label in enumerate(each.true)
    )
    logs = np.log(np.maximum(posterior, 1e-300))

    def loss(log_temperature: float) -> float:
        scaled = logs * math.exp(-log_temperature)
        norm = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        return bands * float((norm - scaled[np.arange(len(true)), true]).mean()) + 0.5 * log_temperature**2

    grid = np.linspace(math.log(0.05), math.log(100.0), 4001)
    best = grid[np.argmin([loss(each) for each in grid])]
    found = math.log(fit_calibration(given).temperature)
    assert found == pytest.approx(best, abs=2 * (grid[1] - grid[0])) and loss(found) <= loss(best) + 1e-9


def test_few_bands_draw_the_temperature_to_one() -> None:
    one, many = (fit_calibration([held_out(0, sharpness=30.0)] * n).temperature for n in (1, 50))
    assert 1.0 < one < many


def test_a_posterior_of_zero_for_the_truth_is_no_catastrophe() -> None:
    true = np.repeat([0, 1], 20)
    wrong = HeldOut(true, 1 - true, np.arange(40) % 20 == 0, np.eye(2)[1 - true])
    assert 1.0 < fit_calibration([wrong] * 30).temperature <= 100.0
    right = HeldOut(true, true, np.arange(40) % 20 == 0, np.eye(2)[true])
    assert fit_calibration([right]).temperature == pytest.approx(1.0, abs=1e-4)


# -------------------------------------------------------------------------------------------------------- confidence
def test_the_coefficients_are_where_the_gradient_vanishes() -> None:
    given = [held_out(seed) for seed in range(30)]
    found = fit_calibration(given)
    rows: list[tuple[float, bool]] = []
    for each in given:
        powers = each.posteriors ** (1.0 / found.temperature)
        posterior = powers / powers.sum(1, keepdims=True)
        for start, end, label in runs(each.labels):
            if (each.true[start:end] < 0).all():
                continue
            inside = {t for t in range(start, end) if each.true[t] >= 0}
            others = [set(range(a, z)) for a, z, k in runs(each.true) if k == label]
            right = any(2 * len(inside & other) >= len(inside | other) for other in others)
            rows.append((float(posterior[start:end, label].mean()), right))
    a, b = found.band_coefficients
    assert b > 0.05  # inside of its bounds
    gradient = np.array([a, b - 1.0])
    for mean, right in rows:
        features = np.array([1.0, math.log(mean / (1.0 - mean))])
        gradient += (1.0 / (1.0 + math.exp(-features @ [a, b])) - right) * features
    assert len(rows) > 200 and abs(gradient).max() < 2e-2


def runs(labels: Array) -> list[tuple[int, int, int]]:
    """Runs of one class, without unlabelled ones."""
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    return [(a, z, int(labels[a])) for a, z in itertools.pairwise(edges) if labels[a] >= 0]


def test_a_confidence_that_is_always_wrong_falls_but_still_rises_with_the_mean() -> None:
    true = np.repeat([0, 1, 0, 1], 25)
    posterior = np.where(true[:, None] == [1, 0], 0.95, 0.05)
    wrong = HeldOut(true, 1 - true, np.arange(100) % 25 == 0, posterior)
    calibration = fit_calibration([wrong] * 20)
    bands = Segments.from_labels([1 - true]).with_score([0.6, 0.7, 0.8, 0.9])
    found = calibration.confidence(bands)
    assert (found < 0.3).all() and found[0] < found[2] and found[1] < found[3]


# --------------------------------------------------------------------------------------------------------- intervals
def radius_by_hand(errors: list[list[float]], level: float) -> float:
    """The smallest r such that the errors up to r have a share of the level, one recording more being infinite."""
    rows = sorted((error, 1.0 / len(own) / (len(errors) + 1)) for own in errors for error in own)
    total = 0.0
    for error, share in rows:
        total += share
        if total >= level - 1e-9:
            return error
    return math.inf


def test_coverage_over_all_exchanges_is_at_least_the_level() -> None:
    rng, levels = np.random.default_rng(0), (0.3, 0.5, 0.8, 0.9)
    for _ in range(6):
        count = int(rng.integers(10, 14))
        shifts = [rng.integers(0, 1 + rng.integers(1, 24), size=rng.integers(1, 6)).tolist() for _ in range(count)]
        covered = dict.fromkeys(levels, 0.0)
        for new in range(count):
            others = [each for i, each in enumerate(shifts) if i != new]
            calibration = fit_calibration([shifted(each) for each in others])
            for level in levels:
                radius = calibration.radius(level)
                assert radius == radius_by_hand(others, level)
                covered[level] += np.mean([shift <= radius for shift in shifts[new]]) / count
        for level, share in covered.items():
            assert share >= level - 1e-9


def test_coverage_of_new_recordings_in_2000_draws() -> None:
    rng = np.random.default_rng(1)

    def drawn() -> list[int]:
        scale = rng.exponential(4.0)  # some recordings are harder than others
        return np.minimum(rng.exponential(scale, size=3), 24).astype(int).tolist()

    covered: list[float] = []
    for _ in range(100):
        radius = fit_calibration([shifted(drawn()) for _ in range(9)]).radius(0.9)
        covered += [float(np.mean([shift <= radius for shift in drawn()])) for _ in range(20)]
    assert len(covered) == 2000 and 0.89 <= np.mean(covered) <= 0.97


def test_an_error_of_exactly_the_radius_is_inside() -> None:
    given = [held_out(seed, bands=6) for seed in range(40)]
    calibration = fit_calibration(given)
    share, recordings = 0.0, 0
    for each in given:
        bands = Segments.from_labels([each.labels], [each.starts])
        inside: list[bool] = []
        intervals = calibration.intervals(each.posteriors, bands, 0.9)
        for i, (start, end, label) in enumerate(zip(bands.start, bands.end, bands.label, strict=True)):
            frames = {t for t in range(start, end) if each.true[t] >= 0}
            for a, z, k in runs(each.true):
                if k != label or not frames or 2 * len(frames & set(range(a, z))) < len(frames | set(range(a, z))):
                    continue
                if start > 0 and (a == 0 or each.true[a - 1] >= 0):
                    inside.append(intervals.start_low[i] <= a <= intervals.start_high[i])
                if end < len(each.true) and (z == len(each.true) or each.true[z] >= 0):
                    inside.append(intervals.end_low[i] <= z <= intervals.end_high[i])
                break
        recordings += bool(inside)
        share += np.mean(inside) if inside else 0.0
    assert calibration.boundary_recordings == recordings
    assert share / recordings >= 0.9 * (recordings + 1) / recordings - 1e-9


def test_of_many_errors_quantiles_are_kept_and_rounded_up() -> None:
    given = [held_out(seed, bands=60, sharpness=8.0) for seed in range(20)]
    found, few = fit_calibration(given), fit_calibration(given[:1])
    assert len(found.boundary_errors) == CAPACITY and 0 < len(few.boundary_errors) < CAPACITY
    assert found.boundary_shares[-1] == pytest.approx(1.0) and found.boundary_recordings == 20
    assert (np.diff(found.boundary_errors) >= 0).all() and (np.diff(found.boundary_shares) > 0).all()


def test_bands_that_are_wrong_and_unlabelled_neighbours_have_no_errors() -> None:
    wrong = shifted([0, 0, 0])
    assert fit_calibration([wrong._replace(true=(wrong.true + 1) % 3)]).boundary_recordings == 0
    # The first half of the second band has no label.
    gap = wrong._replace(true=np.where(np.arange(400) // 50 == 2, -100, wrong.true))
    assert fit_calibration([gap]).boundary_recordings == 1
    assert len(fit_calibration([gap]).boundary_errors) == 4  # without the boundary beside the gap


# ------------------------------------------------------------------------------------------------------------- edges
@pytest.mark.parametrize("classes", [1, 2])
def test_one_frame_is_enough(classes: int) -> None:
    single = HeldOut(np.zeros(1, int), np.zeros(1, int), np.ones(1, bool), np.full((1, classes), 1.0 / classes))
    found = fit_calibration([single])
    assert found.temperature > 0.0 and found.boundary_recordings == 0
    bands = Segments.from_labels([[0]]).with_score([1.0 / classes])
    assert 0.0 <= found.confidence(bands)[0] <= 1.0


def test_recordings_without_a_label_do_not_count() -> None:
    given = [held_out(seed) for seed in range(3)]
    unlabelled = given[0]._replace(true=np.full(len(given[0].true), -100))
    with_it, without = fit_calibration([*given, unlabelled]), fit_calibration(given)
    for name, value in vars(without).items():
        assert np.array_equal(getattr(with_it, name), value), name
    with rejects("held_out", got="no labelled frame"):
        fit_calibration([unlabelled])
    with rejects("held_out"):
        fit_calibration([])


def test_calibrate_reads_the_posteriors_of_the_decoded_distribution() -> None:
    torch.manual_seed(0)
    model = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3)).train()
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.integers(3, size=8), 9) for _ in range(3)]
    signals = [torch.randn(72, 2) for _ in labels]
    model.set_decoding_rule(DecodingRule(3.0, by_frame=True))
    notes = calibrate(model, [Recording(x, torch.as_tensor(k), None, "") for x, k in zip(signals, labels, strict=True)])
    assert model.training and len(notes) == 1 and "3 held-out recordings" in notes[0]
    model.eval()
    by_hand: list[HeldOut] = []
    for x, true in zip(signals, labels, strict=True):
        dist = model(x[None]).dist.scaled(emissions=3.0)
        marginals = dist.double().marginals.labels[0].detach().numpy()
        predicted = marginals.argmax(1)
        by_hand.append(HeldOut(true, predicted, np.append(True, predicted[1:] != predicted[:-1]), marginals))
    assert model.calibration.temperature == pytest.approx(fit_calibration(by_hand).temperature, rel=1e-4)
    assert calibrate(model, []) and model.calibration.temperature == 1.0
