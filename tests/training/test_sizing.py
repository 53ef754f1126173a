"""Sizing: the bands of training decide the sizes of encoders, and a saved model keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrf import Segmenter
from segcrf.nn import ENCODERS, AttentionEncoder, ConvLSTMEncoder, MSTCNEncoder, UNetEncoder, make_encoder
from segcrf.training import choose_size, loop
from tests.segmenters import SMALL, recordings


def bands(duration: int, classes: int = 4, count: int = 100) -> list[Any]:
    return [np.repeat(np.arange(count) % classes, duration)]


def test_a_median_band_has_four_frames_at_the_lowest_rate_of_a_unet() -> None:
    for duration, layers in ((1, 1), (8, 1), (15, 1), (16, 2), (31, 2), (32, 3), (100, 4), (10_000, 5)):
        assert choose_size("unet", bands(duration), 256) == {"layers": layers}


@pytest.mark.parametrize(("duration", "classes", "horizon"), [(5, 2, 10), (5, 4, 20), (5, 9, 20), (60, 4, 128)])
def test_refined_stages_and_attention_see_the_bands_around_a_frame(duration: int, classes: int, horizon: int) -> None:
    layers = choose_size("ms-tcn", bands(duration, classes), 256)["layers"]
    seen = [2 * (2**each - 1) for each in (layers - 1, layers)]  # of two stages, on either side
    assert seen[0] < horizon <= seen[1] or layers == 3
    window = choose_size("attention", bands(duration, classes), 256)["window"]
    assert window == max(horizon // 2, 8)  # of two layers


def test_no_frame_sees_more_than_a_window_or_a_recording_holds() -> None:
    assert choose_size("attention", bands(500), 64) == {"window": 16}
    assert choose_size("attention", bands(20, count=4), 1000) == {"window": 20}


def test_a_convolutional_stem_sees_half_of_a_band() -> None:
    found = [choose_size("conv-gru", bands(duration), 256)["stem_layers"] for duration in (1, 4, 5, 12, 13, 500)]
    assert found == [1, 1, 2, 2, 3, 3]
    assert choose_size("conv-lstm", bands(12), 256) == {"stem_layers": 2}


def test_other_encoders_keep_the_sizes_of_their_class() -> None:
    assert [choose_size(name, bands(9), 256) for name in ("lstm", "gru", "tcn", "custom")] == [{}] * 4


def test_unlabelled_frames_decide_nothing() -> None:
    gaps = [np.concatenate([np.full(9000, -100), np.repeat([0, 1], 40)])]
    assert choose_size("unet", gaps, 256) == {"layers": 3}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_sizes_are_options_of_the_encoder(name: str) -> None:
    assert make_encoder(name, 3, hidden=4, **choose_size(name, bands(20), 256)).in_features == 3


@pytest.mark.parametrize("name", ["unet", "ms-tcn", "attention", "conv-lstm"])
def test_a_fit_uses_the_sizes_and_a_saved_model_keeps_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MIN_BATCHES", 4)
    X, y, _ = recordings()
    options: dict[str, Any] = SMALL | {"encoder": name, "max_epochs": 1}
    model = Segmenter(**options).fit(X, y)
    expected = choose_size(name, y, model.window)
    assert sizes_of(model) == next(iter(expected.values()))
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert sizes_of(loaded) == sizes_of(model)
    for ours, theirs in zip(model.predict(X), loaded.predict(X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_layers_of_the_user_come_first() -> None:
    X, y, _ = recordings()
    options: dict[str, Any] = SMALL | {"encoder": "unet", "layers": 2, "max_epochs": 1}
    model = Segmenter(**options).fit(X, y)
    assert sizes_of(model) == 2


def sizes_of(model: Segmenter) -> int:
    """The size that bands decide, read off the network."""
    encoder = model.model_.encoder
    if isinstance(encoder, UNetEncoder):
        return len(encoder.halve)
    if isinstance(encoder, AttentionEncoder):
        return encoder.window
    assert isinstance(encoder, MSTCNEncoder | ConvLSTMEncoder)
    return len(encoder.get_submodule("stages.0.blocks"))  # pyright: ignore[reportArgumentType]
