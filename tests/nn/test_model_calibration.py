"""Calibration: probabilities, confidences and intervals by hand, bit for bit where streams need it, and stored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from segcrf import LinearChainCRF, Segments
from segcrf.nn import Calibration, CalibrationBuffers, JointModel, LSTMEncoder, boundary_spreads
from segcrf.testing.errors import rejects


def posteriors(frames: int, classes: int, sharpness: float = 3.0, seed: int = 0) -> Any:
    scores = sharpness * np.random.default_rng(seed).normal(size=(frames, classes))
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def full() -> Calibration:
    """One where nothing is as in the default one."""
    errors = np.array([0.0, 0.5, 1.5, 4.0])
    return Calibration(2.5, (0.3, 0.8), errors, np.array([0.3, 0.5, 0.8, 1.0]), 11)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 1.7, 100.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_probabilities_are_powers(temperature: float, dtype: Any, classes: int) -> None:
    given = posteriors(200, classes).astype(dtype)
    found = Calibration(temperature).probabilities(given)
    assert found.dtype == np.float64 and found.shape == given.shape
    for row, own in zip(found.tolist(), given.tolist(), strict=True):
        logs = [math.log(p) / temperature for p in own]
        total = math.fsum(math.exp(each - max(logs)) for each in logs)
        assert row == pytest.approx([math.exp(each - max(logs)) / total for each in logs], rel=1e-6, abs=1e-300)
    traced = Calibration(temperature).traced_probabilities(torch.from_numpy(given))
    assert traced.dtype == torch.from_numpy(given).dtype
    np.testing.assert_allclose(traced.numpy(), found, rtol=2e-4 if dtype == np.float32 else 1e-9, atol=1e-30)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 3.0, 100.0])
def test_the_most_probable_class_stays(temperature: float) -> None:
    close = 1.0 / 3.0 + np.array([[0.0, 1e-7, -1e-7], [1e-7, 0.0, -1e-7]])
    given = np.concatenate([posteriors(5000, 3), close, np.full((1, 3), 1.0 / 3.0)]).astype(np.float32)
    found = Calibration(temperature).probabilities(given)
    assert (found.argmax(1) == given.argmax(1)).all()


@pytest.mark.parametrize("value", [1.0, 2.0])
def test_certain_and_unknown_frames_stay(value: float) -> None:
    given = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1e-300, 1.0, 0.0], [0.5, 0.5, 0.0]])
    found = Calibration(value).probabilities(given)
    assert found[0].tolist() == [0.0, 1.0, 0.0] and found[1].tolist() == [0.0] * 3
    assert found[3].tolist() == [0.5, 0.5, 0.0] and np.isfinite(found).all()
    assert torch.equal(
        Calibration(value).traced_probabilities(torch.from_numpy(given[:2])), torch.from_numpy(given[:2])
    )


def test_a_frame_gets_the_same_bits_in_any_company() -> None:
    given = posteriors(501, 5)
    whole = full().probabilities(given)
    for size in (1, 2, 3, 7, 64):
        cut = [full().probabilities(given[at : at + size]) for at in range(0, len(given), size)]
        assert np.concatenate(cut).tobytes() == whole.tobytes()


def test_the_input_is_not_changed() -> None:
    given = posteriors(20, 3)
    before = given.copy()
    full().probabilities(given)[:] = 0.0
    Calibration().probabilities(given)[:] = 0.0
    assert given.tobytes() == before.tobytes()


# ------------------------------------------------------------------------------------------------------------- bands
def test_the_confidence_by_hand() -> None:
    bands = Segments.from_labels([[0, 0, 0, 2], [1]]).with_score([0.9, 0.4, 1.0])
    found = full().confidence(bands)
    for got, mean in zip(found, [0.9, 0.4, 1.0 - 1e-9], strict=True):
        log_odds = 0.3 + 0.8 * math.log(mean / (1.0 - mean))
        assert got == pytest.approx(1.0 / (1.0 + math.exp(-log_odds)), rel=1e-9)
    assert Calibration().confidence(bands).tolist() == [0.9, 0.4, 1.0]


def test_the_confidence_rises_with_the_mean() -> None:
    bands = Segments.from_labels([np.tile([0, 1], 50)]).with_score(np.repeat(np.linspace(0.0, 1.0, 50), 2))
    found = full().confidence(bands)
    assert (np.diff(found[::2]) > 0).all() and ((found >= 0) & (found <= 1)).all()


def test_no_band_has_no_confidence() -> None:
    bands = Segments.from_labels([]).with_score([])
    assert full().confidence(bands).shape == (0,)


# --------------------------------------------------------------------------------------------------------- intervals
def test_the_radius_is_a_quantile_with_the_new_recording_at_infinity() -> None:
    calibration = full()
    for level, expected in ((0.2, 0.0), (0.27, 0.0), (0.28, 0.5), (0.45, 0.5), (0.7, 1.5), (0.9, 4.0)):
        assert calibration.radius(level) == expected


@pytest.mark.parametrize(("recordings", "level"), [(0, 0.5), (1, 0.6), (8, 0.9), (18, 0.95)])
def test_too_few_recordings_say_how_many_are_needed(recordings: int, level: float) -> None:
    calibration = Calibration(boundary_errors=np.ones(4), boundary_shares=np.ones(4), boundary_recordings=recordings)
    needed = {0.5: 1, 0.6: 2, 0.9: 9, 0.95: 19}[level]
    with rejects("interval", expected=f"at least {needed} such recordings"):
        calibration.radius(level)
    enough = Calibration(boundary_errors=np.ones(4), boundary_shares=np.ones(4), boundary_recordings=needed)
    assert enough.radius(level) == 1.0


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 2.0, math.nan, "0.9", True])
def test_a_level_is_a_probability(level: Any) -> None:
    with rejects("interval"):
        full().radius(level)


def test_spreads_by_hand() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(4, size=12), rng.integers(1, 9, size=12))
    posterior, bands = posteriors(len(labels), 4), Segments.from_labels([labels])
    starts, ends = boundary_spreads(posterior, bands)
    assert starts[0] == 0.0 and ends[-1] == 0.0
    for i in range(1, len(bands)):
        before = sum(posterior[t, bands.label[i]] for t in range(bands.start[i - 1], bands.end[i - 1]))
        after = sum(posterior[t, bands.label[i - 1]] for t in range(bands.start[i], bands.end[i]))
        assert starts[i] == ends[i - 1] == pytest.approx(1.0 + before + after)


@pytest.mark.parametrize("labels", [[3], [0, 0, 0], [0, 1], [0, 1, 1, 2, 0, 0]])
def test_intervals_hold_the_boundaries_and_stay_inside_of_the_recording(labels: list[int]) -> None:
    bands, posterior = Segments.from_labels([labels]), posteriors(len(labels), 4)
    found = full().intervals(posterior, bands, 0.9)
    assert found.start_low[0] == found.start_high[0] == 0
    assert found.end_low[-1] == found.end_high[-1] == len(labels)
    for low, at, high in ((found.start_low, bands.start, found.start_high), (found.end_low, bands.end, found.end_high)):
        assert (low <= at).all() and (at <= high).all() and (low >= 0).all() and (high <= len(labels)).all()
    narrow = full().intervals(posterior, bands, 0.2)
    assert (narrow.start_low == bands.start).all() and (narrow.end_high == bands.end).all()


# ----------------------------------------------------------------------------------------------------------- storage
def test_buffers_hold_all_of_it() -> None:
    held, again = CalibrationBuffers(), CalibrationBuffers()
    assert held.value.temperature == 1.0 and held.value.boundary_recordings == 0
    held.set(full())
    again.load_state_dict(held.state_dict())
    for name, value in vars(full()).items():
        assert np.array_equal(getattr(again.value, name), value), name
    again.set(Calibration())
    assert not len(again.value.boundary_errors) and again.value.band_coefficients == (0.0, 1.0)


def test_a_model_holds_it_beside_its_rule() -> None:
    model = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3))
    x = torch.randn(2, 30, 2)
    before = model.decode(model(x).dist).labels
    model.set_calibration(full())
    other = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3))
    other.load_state_dict(model.state_dict())
    assert other.calibration.temperature == 2.5 and other.calibration.radius(0.9) == 4.0
    assert torch.equal(model.decode(model(x).dist).labels, before)
