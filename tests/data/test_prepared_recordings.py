"""Preparation of recordings: what is measured of channels, and what is decided by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from segcrf.data import Labelled, channel_pace, choose_preparation, has_free_offsets, plan_channels, prepare_recordings
from segcrf.nn import Tails

Array = npt.NDArray[Any]
NONE = Labelled([], [], None)


def labelled(signals: list[Array], labels: list[Array] | None = None) -> Labelled:
    plain = [np.arange(len(x)) // 10 % 2 for x in signals]
    return Labelled(signals, labels or plain, None)


def walk(frames: int, channels: int, seed: int = 0) -> Array:
    return np.cumsum(np.random.default_rng(seed).normal(size=(frames, channels)), axis=0)


def test_pace_is_that_of_single_differences() -> None:
    signals = [walk(200, 3, seed) for seed in range(3)]
    signals[1][50:60, 1] = np.nan
    signals[2] = signals[2][:1]
    expected = []
    for channel in range(3):
        values = np.concatenate([x[:, channel] for x in signals])
        moves = [b - a for x in signals for a, b in zip(x[:-1, channel], x[1:, channel], strict=True)]
        expected.append(np.sqrt(np.nanmean(np.square(moves)) / 2.0) / np.nanstd(values))
    np.testing.assert_allclose(channel_pace(signals), expected, rtol=1e-10)
    np.testing.assert_allclose(channel_pace([x * 3.0 + 1e9 for x in signals]), expected, rtol=1e-5)
    single = [np.array([[1.0, np.nan, 2.0]]), np.array([[1.0, np.nan, 2.0]])]
    assert channel_pace(single).tolist() == [1.0, 1.0, 1.0]


def test_what_is_decided_of_each_channel() -> None:
    random = np.random.default_rng(0)
    signal = np.column_stack([
        walk(4000, 1), random.normal(size=4000), random.standard_cauchy(4000), np.full(4000, 0.1),
        random.normal(size=4000), np.full(4000, np.nan),
    ])  # fmt: skip
    signal[5:9, [1, 4]] = np.nan
    plan = plan_channels([signal], [signal], automatic=True, flag=True, centred=True)
    assert (plan.kept, plan.slow, plan.compressed, plan.flagged) == ((0, 1, 2, 4), (0,), (2,), (1,))
    plan = plan_channels([signal], [signal], automatic=True, flag=False, centred=True)
    assert plan.flagged == ()
    plan = plan_channels([signal], [signal], automatic=False, flag=True, centred=True)
    assert (plan.kept, plan.slow, plan.compressed, plan.flagged) == ((0, 1, 2, 3, 4, 5), (), (), (1,))
    nothing = np.ones((1, 2))
    assert plan_channels([nothing], [nothing], automatic=True, flag=True, centred=True).kept == (0, 1)


def test_flags_are_of_channels_that_miss_other_frames() -> None:
    signal = np.random.default_rng(0).normal(size=(50, 4))
    signal[3:7, :3] = np.nan
    signal[9, 2] = np.nan
    assert plan_channels([signal], [signal], automatic=True, flag=True, centred=True).flagged == (0, 2)


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
def test_signals_of_any_type_are_prepared(kind: str) -> None:
    signals = [np.round(walk(300, 2, seed)).astype(kind) for seed in range(2)]
    preparation, _ = choose_preparation(labelled(signals), NONE)
    prepared = prepare_recordings(preparation, labelled(signals))
    assert prepared[0].signal.shape == (300, preparation.num_prepared)


def test_scales_are_measured_on_training_recordings_alone() -> None:
    train, other = labelled([walk(5000, 2, 0)]), labelled([1e4 * walk(500, 2, 1)])
    alone, notes = choose_preparation(train, NONE, standardize="dataset")
    both, _ = choose_preparation(train, other, standardize="dataset")
    assert all(torch.equal(both.state_dict()[name], each) for name, each in alone.state_dict().items())
    assert notes == ["channels 0, 1 move slowly: differences over 1, 2, 4, 8, 16 frames were added"]
    prepared = prepare_recordings(alone, train)[0].signal
    np.testing.assert_allclose(prepared.std(0, correction=0).numpy(), 1.0, rtol=1e-4)
    assert prepared.shape == (5000, 12)


@pytest.mark.parametrize("missing", ["auto", "flag", "hold", "interpolate"])
def test_missing_values_in_training_decide_for_an_indicator(missing: str) -> None:
    whole, gaps = (labelled([np.random.default_rng(0).normal(size=(300, 2))]) for _ in range(2))
    gaps.signals[0][7, 1] = np.nan
    flagged = (1,) if missing in ("auto", "flag") else ()
    for recordings, expected in ((whole, ()), (gaps, flagged)):
        preparation, notes = choose_preparation(recordings, NONE, missing=missing)
        assert preparation.plan.flagged == expected
        assert len(notes) == len(expected)
        assert preparation.missing == ("interpolate" if missing == "interpolate" else "hold")


def test_offsets_of_several_recordings_decide_for_their_own_scales() -> None:
    random = np.random.default_rng(0)
    apart = labelled([random.normal(size=(300, 2)) + 50.0 * i for i in range(4)])
    alike = labelled([random.normal(size=(300, 2)) for _ in range(4)])
    assert has_free_offsets(apart, NONE) and not has_free_offsets(alike, NONE)
    preparation, notes = choose_preparation(apart, NONE)
    assert preparation.per_recording and notes[0].startswith("offsets of recordings say little")
    assert not choose_preparation(apart, NONE, looks_ahead=False)[0].per_recording
    assert not choose_preparation(apart, NONE, standardize="dataset")[0].per_recording


def test_a_single_recording_shows_its_drift_if_it_is_long_enough() -> None:
    random = np.random.default_rng(0)
    still = random.normal(size=(2000, 2))
    drifting = still + 2.0 * np.arange(2000)[:, None] / 2000
    assert has_free_offsets(labelled([drifting]), NONE) and not has_free_offsets(labelled([still]), NONE)
    assert not has_free_offsets(labelled([drifting[::10]]), NONE)
    unlabelled = [np.where(np.arange(2000) < 500, 0, -100)]
    assert not has_free_offsets(labelled([drifting], unlabelled), NONE)


def test_compressed_differences_are_measured_as_they_are_used() -> None:
    signals = [walk(400, 1, seed) for seed in range(3)]
    preparation, _ = choose_preparation(labelled(signals), NONE, standardize="dataset", looks_ahead=False)
    assert preparation.differences is not None and preparation.channels is not None
    z = [preparation.channels.transform(x) for x in signals]
    for index, span in enumerate(preparation.plan.spans):
        moved = np.concatenate([x[:, 0] - x[np.maximum(np.arange(400) - span, 0), 0] for x in z])[:, None]
        tails = Tails(1)
        tails.measure(moved, [True])
        for name in ("centre", "knee", "scale"):
            got = getattr(preparation.differences.tails, name)[index]
            torch.testing.assert_close(got, getattr(tails, name)[0], rtol=1e-10, atol=1e-12)
