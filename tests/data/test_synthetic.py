"""The switching sinusoid is what its documentation says, frame by frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from segcrf.data import switching_sinusoid
from segcrf.testing.errors import rejects


def test_shapes_and_types():
    x, y, k = switching_sinusoid(3, 50, horizon=7)
    assert x.shape == y.shape == (3, 50, 1)
    assert k.shape == (3, 50)
    assert (x.dtype, y.dtype, k.dtype) == (np.float32, np.float32, np.int64)


def test_the_seed_decides_everything():
    first, again, other = (switching_sinusoid(4, 100, seed=seed) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize("horizon", [0, 1, 5])
def test_y_is_the_clean_signal_exactly_horizon_frames_ahead(horizon):
    # The same seed draws the same modes only at the same total length.
    total = 120
    now = switching_sinusoid(5, total, noise=0.0, horizon=0, seed=8)
    ahead = switching_sinusoid(5, total - horizon, noise=0.0, horizon=horizon, seed=8)
    np.testing.assert_array_equal(ahead.k, now.k[:, : total - horizon])
    np.testing.assert_array_equal(ahead.x, now.x[:, : total - horizon])
    np.testing.assert_array_equal(ahead.y, now.x[:, horizon:])


def test_phase_steps_at_the_frequency_of_the_frames_mode():
    frequencies, sampling_rate = (2.0, 5.0, 11.0), 100.0
    signal = switching_sinusoid(
        8, 400, frequencies=frequencies, sampling_rate=sampling_rate, mean_dwell=0.3, noise=0.0, horizon=0
    )
    clean, step = signal.x[..., 0].astype(np.float64), 2 * np.pi * np.array(frequencies)[signal.k] / sampling_rate
    # sin(a + s) + sin(a - s') = 2 sin(a) cos(s) if the steps into and out of a frame are equal.
    steady = signal.k[:, 1:-1] == signal.k[:, 2:]
    predicted = 2 * clean[:, 1:-1] * np.cos(step[:, 1:-1]) - clean[:, :-2]
    np.testing.assert_allclose(predicted[steady], clean[:, 2:][steady], atol=1e-5)
    # At a switch the phase goes on: the next value is one step of the new mode away on the circle.
    phase = np.arcsin(np.clip(clean, -1, 1))
    for recording, frame in zip(*np.nonzero(np.diff(signal.k)), strict=True):
        candidates = [phase[recording, frame], np.pi - phase[recording, frame]]
        following = np.sin(np.array(candidates) + step[recording, frame + 1])
        assert np.abs(following - clean[recording, frame + 1]).min() < 2e-3


def dwells(k: np.ndarray) -> np.ndarray:
    """Durations of the bands that lie wholly inside a recording."""
    found: list[int] = []
    for labels in k:
        found += [len(list(group)) for _, group in itertools.groupby(labels.tolist())][1:-1]
    return np.array(found)


@pytest.mark.parametrize("mean_dwell", [0.05, 0.2])
def test_dwell_times_are_geometric_with_the_mean_given(mean_dwell):
    k = switching_sinusoid(1, 100_000, mean_dwell=mean_dwell, sampling_rate=100.0, frequencies=(1.0, 2.0, 3.0)).k
    durations, mean = dwells(k), mean_dwell * 100
    error = mean / np.sqrt(len(durations))
    assert abs(durations.mean() - mean) < 4 * error
    assert durations.min() == 1
    share, expected = (durations == 1).mean(), 1 / mean
    assert abs(share - expected) < 4 * np.sqrt(expected / len(durations))


def test_a_dwell_of_one_frame_switches_every_frame():
    k = switching_sinusoid(4, 200, mean_dwell=0.01, sampling_rate=100.0).k
    assert (np.diff(k) != 0).all()


def test_the_next_mode_is_any_of_the_others_and_the_first_any_at_all():
    k = switching_sinusoid(3000, 40, mean_dwell=0.05).k
    before, after = k[:, :-1], k[:, 1:]
    switched = before != after
    for mode in range(3):
        counts = np.bincount(after[switched & (before == mode)], minlength=3)
        assert counts[mode] == 0
        others = np.delete(counts, mode)
        assert abs(others[0] - others[1]) < 4 * np.sqrt(others.sum())
    first = np.bincount(k[:, 0], minlength=3)
    assert np.abs(first - 1000).max() < 4 * np.sqrt(1000)


def test_noise_has_the_standard_deviation_given():
    quiet, noisy = (switching_sinusoid(20, 500, noise=noise, seed=2) for noise in (0.0, 0.3))
    np.testing.assert_array_equal(quiet.y, noisy.y)
    residual = noisy.x - quiet.x
    assert abs(residual.std() - 0.3) < 0.01
    assert abs(residual.mean()) < 0.01


@pytest.mark.parametrize(
    ("name", "value", "fields"),
    [
        ("num_recordings", 0, {"got": "0", "expected": "an integer of 1 or more"}),
        ("length", 1.5, {"got": "1.5"}),
        ("length", True, {"got": "True"}),
        ("horizon", -1, {"got": "-1", "expected": "an integer of 0 or more"}),
        ("noise", -0.1, {"got": "-0.1"}),
        ("noise", float("nan"), {"got": "nan"}),
        ("sampling_rate", 0.0, {"got": "0.0"}),
        ("frequencies", (5.0,), {"expected": "two or more different"}),
        ("frequencies", (5.0, 5.0), {"expected": "two or more different"}),
        ("frequencies", (5.0, 50.0), {"got": "50.0 Hz", "expected": "above 0 and below 50 Hz"}),
        ("frequencies", (0.0, 5.0), {"got": "0.0 Hz"}),
        ("mean_dwell", 0.009, {"got": "0.009", "expected": r"seconds, from 0\.01 \(one frame\)"}),
        ("mean_dwell", float("inf"), {"got": "inf"}),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_rejected(name, value, fields):
    with rejects(name, **fields):
        switching_sinusoid(**{name: value})
