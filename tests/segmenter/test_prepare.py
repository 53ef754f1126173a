"""Segmenter(prepare=..., missing=...): decided by the training recordings, saved, streamed, exported and described."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from segmenters import SMALL
from torch import Tensor, nn

from segcrf import InputTypeError, Segmenter
from segcrf.testing.errors import rejects

Array = npt.NDArray[Any]
pytestmark = pytest.mark.usefixtures("short_epochs")


def slow_recordings(count: int = 5) -> tuple[list[Array], list[Array]]:
    """Two positions whose speed is the class, a constant, and one of heavy tails; some frames of the positions lost."""
    X, y = [], []
    for seed in range(count):
        random = np.random.default_rng(seed)
        labels = np.repeat(np.arange(8) % 2, random.integers(15, 40, size=8))
        speed = np.where(labels == 1, 1.0, 0.1)[:, None] * random.normal(size=(len(labels), 2))
        position = 500.0 + np.cumsum(speed + 0.3, axis=0)
        position[random.random(len(labels)) < 0.1] = np.nan
        X.append(np.column_stack([position, np.full(len(labels), 7.0), random.standard_cauchy(len(labels))]))
        y.append(labels)
    return X, y


LIVE: dict[str, Any] = {"bidirectional": False, "max_delay": 3}


def fitted(**options: Any) -> tuple[Segmenter, list[Array], list[Array]]:
    X, y = slow_recordings()
    return Segmenter(**SMALL | options).fit(X, y), X, y


def test_each_decision_is_a_note() -> None:
    model, X, _ = fitted(standardize="dataset")
    plan = model.model_.preparation.plan
    assert (plan.kept, plan.slow, plan.compressed, plan.flagged) == ((0, 1, 3), (0, 1), (3,), (0,))
    assert plan.centred and model.n_features_in_ == 4 and model.model_.encoder.in_features == 3 + 10 + 1
    assert model.notes_[:4] == [
        "channel 2 is constant in training, and left out",
        "channels 0, 1 move slowly: differences over 1, 2, 4, 8, 16 frames were added",
        "channel 3 has heavy tails, which were compressed",
        "channel 0 misses values in some frames: the last one is held, and an indicator was added",
    ]
    changed = [np.where(np.arange(4) == 2, 1e9, x) for x in X]
    assert all(np.array_equal(a, b) for a, b in zip(model.predict(changed), model.predict(X), strict=True))


def test_notes_are_shown_with_the_progress(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(max_epochs=1, progress=True)
    assert "channels 0, 1 move slowly" in capsys.readouterr().err
    fitted(max_epochs=1)
    assert "slowly" not in capsys.readouterr().err


def test_nothing_is_made_of_the_channels_if_nothing_is_asked_for() -> None:
    model, _, _ = fitted(prepare=None, missing="hold")
    assert model.model_.encoder.in_features == 4
    assert not any(text in note for text in ("were added", "left out", "compressed") for note in model.notes_)


@pytest.mark.parametrize("order", [[4, 2, 0, 3, 1]])
def test_the_order_of_the_recordings_decides_nothing(order: list[int]) -> None:
    X, y = slow_recordings()
    held = {"validation": (X[:1], y[:1])}
    plain = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, y, **held)
    other = Segmenter(**SMALL | {"max_epochs": 1}).fit([X[i] for i in order], [y[i] for i in order], **held)
    for name, buffer in plain.model_.preparation.state_dict().items():
        torch.testing.assert_close(other.model_.preparation.state_dict()[name], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, LIVE, {"missing": "interpolate"}, {"standardize": "recording"}])
def test_a_saved_model_prepares_as_before(options: dict[str, Any], tmp_path: Path) -> None:
    model, X, _ = fitted(**options)
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    for a, b in zip(loaded.predict_proba(X), model.predict_proba(X), strict=True):
        assert np.array_equal(a, b)
    assert loaded.model_.preparation.plan == model.model_.preparation.plan


def test_recordings_of_one_frame_and_lost_channels_are_predicted() -> None:
    model, X, _ = fitted()
    lost = X[0].copy()
    lost[:, 0] = np.nan
    alone = [model.predict_proba([x])[0] for x in (X[1], X[0][:1], lost)]
    for together, expected in zip(model.predict_proba([X[1], X[0][:1], lost]), alone, strict=True):
        assert np.isfinite(together).all()
        np.testing.assert_allclose(together, expected, atol=1e-5)


def test_a_huge_offset_in_float32_is_prepared_as_in_float64() -> None:
    X, y = slow_recordings()
    far = [(x + 2.0**20).astype(np.float32) for x in X]
    models = [
        Segmenter(**SMALL | {"max_epochs": 1}).fit(signals, y) for signals in (far, [x.astype(float) for x in far])
    ]
    for a, b in zip(models[0].predict_proba(far), models[1].predict_proba(far), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("missing", ["hold", "flag"])
def test_a_stream_gives_the_labels_of_predict(missing: str) -> None:
    model, X, _ = fitted(**LIVE, missing=missing)
    assert not model.model_.preparation.plan.centred
    for x, expected in zip(X, model.predict(X), strict=True):
        stream = model.stream()
        tables = [stream.push(piece) for piece in np.split(x, [1, 2, 9, 9, 30])] + [stream.finish()]
        table = pd.concat([each for each in tables if len(each)])
        assert np.array_equal(np.repeat(table["label"].to_numpy(), table["end"] - table["start"]), expected)
    streams = model.streams(2)
    pushed = [streams.push({0: X[0][:20], 1: X[1][:5]}), streams.push({1: X[1][5:]}), streams.finish(1)]
    table = pd.concat([each for each in pushed if len(each)])
    table = table[table["recording"] == 1]
    assert np.array_equal(np.repeat(table["label"].to_numpy(), table["end"] - table["start"]), model.predict(X)[1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{}, LIVE])
def test_an_export_gives_the_labels_of_predict(options: dict[str, Any], tmp_path: Path) -> None:
    model, X, _ = fitted(**options)
    program = torch.export.load(model.export(tmp_path / "model.pt2")).module()
    filled = [np.nan_to_num(x, nan=500.0) for x in X]
    lengths = torch.tensor([len(x) for x in filled])
    padded = torch.zeros(len(X), int(lengths.max()), 4, dtype=torch.float64)
    for row, x in zip(padded, filled, strict=True):
        row[: len(x)] = torch.from_numpy(x)
    for row, expected in zip(program(padded, lengths)[0], model.predict(filled), strict=True):
        assert np.array_equal(row[: len(expected)].numpy(), expected)


def test_a_warm_start_keeps_the_preparation() -> None:
    model, X, y = fitted()
    before = {name: each.clone() for name, each in model.model_.preparation.state_dict().items()}
    plan = model.model_.preparation.plan
    model.fit([x * 3.0 + 1.0 for x in X], y, warm_start=True)
    assert model.model_.preparation.plan == plan
    assert all(torch.equal(before[name], each) for name, each in model.model_.preparation.state_dict().items())
    with rejects("prepare", got="None", expected="'auto', as in the fitted model"):
        model.set_params(prepare=None).fit(X, y, warm_start=True)


# --------------------------------------------------------------------------------------------- a module of the user
class Speed(nn.Module):
    """The size of the last step of each channel, live."""

    causal, exact_steps = True, True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.full((channels,), 10.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)[0]

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        before = torch.cat([x[:, :1] if state is None else state, x], 1)
        return (x - before[:, :-1]).abs() * self.gain, before[:, -1:]


def test_an_own_module_is_saved_by_its_weights_and_given_again(tmp_path: Path) -> None:
    model, X, _ = fitted(prepare=Speed, **LIVE)
    assert model.model_.encoder.in_features == 4 + 1  # and the indicator of missing values
    model.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["prepare"] == f"{__name__}:Speed" and config["parameters"]["prepare"] == "custom"
    loaded = Segmenter.load(tmp_path / "model", prepare=Speed)
    for a, b in zip(loaded.predict(X), model.predict(X), strict=True):
        assert np.array_equal(a, b)
    with rejects("prepare", got="None", expected=f"the prepare of this model, {__name__}:Speed"):
        Segmenter.load(tmp_path / "model")
    stream = model.stream()
    tables = [stream.push(piece) for piece in np.split(X[0], [1, 30])] + [stream.finish()]
    table = pd.concat([each for each in tables if len(each)])
    assert np.array_equal(np.repeat(table["label"].to_numpy(), table["end"] - table["start"]), model.predict(X)[0])


def test_a_preparation_that_cannot_be_used_is_rejected(tmp_path: Path) -> None:
    X, y = slow_recordings(2)
    for given, got, kind in ((3, "int", InputTypeError), ("none", "'none'", None), ("custom", "'custom', which", None)):
        with rejects("prepare", got=got, **({} if kind is None else {"kind": kind})):
            Segmenter(**SMALL, prepare=given).fit(X, y)  # type: ignore[arg-type]
    with rejects("prepare", got="without causal = True"):
        Segmenter(**SMALL, prepare=nn.Linear(4, 2), bidirectional=False).fit(X, y)
    with rejects("prepare", expected="None: this model has the prepare 'auto'"):
        model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, y)
        model.save(tmp_path / "model")
        Segmenter.load(tmp_path / "model", prepare=Speed)


def test_an_encoder_that_is_a_module_gets_the_channels_of_the_signal() -> None:
    model, X, _ = fitted(encoder=nn.Linear(4, 8), max_epochs=1)
    assert model.model_.preparation.num_prepared == 4 and model.model_.preparation.missing == "hold"
    assert len(model.predict(X)) == len(X)
    model, _, _ = fitted(encoder=lambda channels: nn.Linear(channels, 8), max_epochs=1)
    assert model.model_.preparation.num_prepared == 14
