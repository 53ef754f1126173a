"""Segmenter with an encoder that the user wrote: trained, saved, loaded, and used in every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmenters import SMALL, everything, recordings
from torch import Tensor, nn

from segcrf import InputError, InputTypeError, Segmenter
from segcrf.nn import CustomEncoder, LSTMEncoder, adopt_encoder
from segcrf.testing.errors import rejects

pytestmark = pytest.mark.usefixtures("short_epochs")


class Smoothing(nn.Module):
    """Two convolutions that see the padding, as it takes no lengths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lift, self.mix = nn.Conv1d(channels, 8, 5, padding="same"), nn.Conv1d(8, 8, 5, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.relu(self.lift(x.mT))).mT


class Masked(Smoothing):
    """The same with lengths."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # type: ignore[override]
        if lengths is not None:
            x = x.where((torch.arange(x.shape[1]) < lengths[:, None])[..., None], 0.0)
        return torch.relu(self.lift(x.mT)).mT


class Strided(nn.Module):
    """A feature for every four frames, and for what is left at the end."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lift = nn.Conv1d(channels, 8, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.lift(nn.functional.pad(x.mT, (0, -x.shape[1] % 4))).mT


class Causal(nn.Module):
    """A linear layer with a state that nothing depends on, to be run live."""

    causal = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lift = nn.Linear(channels, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.lift(x)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self.lift(x), None


OWN = {"no lengths": Smoothing, "lengths": Masked, "strided": Strided, "causal": Causal}


@pytest.mark.parametrize("name", OWN)
def test_an_own_encoder_is_trained_saved_loaded_and_used(name: str, tmp_path: Path) -> None:
    X, y, targets = recordings()
    model = Segmenter(**SMALL, encoder=OWN[name]).fit(X, y, targets=targets)
    assert model.score(X, y) > 0.5
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model", encoder=OWN[name])
    assert everything(loaded, X) == everything(model, X)
    assert everything(loaded.fit(X, y, targets=targets), X) == everything(model, X)  # refits with the same encoder


@pytest.mark.parametrize("name", OWN)
def test_other_recordings_of_a_batch_change_nothing(name: str) -> None:
    X, y, _ = recordings()
    X = [x[:length] for x, length in zip(X, (90, 41, 1, 7, 60), strict=True)]
    y = [k[: len(x)] for x, k in zip(X, y, strict=True)]
    model = Segmenter(**SMALL, encoder=OWN[name], validation_fraction=0).fit(X, y)
    together = model.predict_proba(X)
    for x, expected in zip(X, together, strict=True):
        np.testing.assert_allclose(model.predict_proba([x])[0], expected, atol=1e-5)


def test_a_module_is_copied_by_every_fit_and_begins_with_its_weights() -> None:
    X, y, _ = recordings()
    module = Smoothing(2)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    for parameter in module.lift.parameters():
        parameter.requires_grad_(False)  # frozen: fine-tunes the rest
    first = Segmenter(**SMALL, encoder=module).fit(X, y)
    second = Segmenter(**SMALL, encoder=module).fit(X, y)
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())
    assert isinstance(first.model_.encoder, CustomEncoder)
    trained = first.model_.encoder.module.state_dict()
    assert torch.equal(trained["lift.weight"], before["lift.weight"])
    assert not torch.equal(trained["mix.weight"], before["mix.weight"])
    assert [a.tolist() for a in first.predict(X)] == [a.tolist() for a in second.predict(X)]


def test_a_strided_encoder_repeats_its_features() -> None:
    encoder = CustomEncoder(Strided(2), 2)
    assert (encoder.stride, encoder.out_features) == (4, 8)
    x = torch.randn(2, 11, 2)
    features, few = encoder(x), encoder.module(x)
    assert torch.equal(features, few.repeat_interleave(4, dim=1)[:, :11])
    dropping = CustomEncoder(nn.Sequential(Transposed(), nn.Conv1d(2, 8, 4, stride=4), Transposed()), 2)
    padded = nn.functional.pad(x, (0, 0, 0, 1))
    assert torch.equal(dropping(x), dropping.module(padded).repeat_interleave(4, dim=1)[:, :11])
    wide = CustomEncoder(nn.Sequential(Transposed(), nn.Conv1d(2, 8, 40, stride=4), Transposed()), 2)
    with rejects(
        "encoder", got=r"Sequential, which failed on 11 frames: .*[Kk]ernel size", advice="as short as one frame"
    ):
        wide(x)


class Transposed(nn.Module):
    """(B, T, F) to (B, F, T) and back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mT


def test_an_encoder_of_this_library_may_be_given_as_a_module() -> None:
    X, y, _ = recordings()
    model = Segmenter(**SMALL, encoder=lambda channels: LSTMEncoder(channels, 4), bidirectional=False, max_delay=3).fit(
        X, y
    )
    assert isinstance(model.model_.encoder, LSTMEncoder)
    bands = [band for x in X[:1] for band in (model.stream().push(x),)]
    assert len(bands) == 1


def test_a_model_folder_names_the_encoder_and_asks_for_it(tmp_path: Path) -> None:
    X, y, _ = recordings()
    model = Segmenter(**SMALL, encoder=Smoothing).fit(X, y)
    model.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["encoder"] == f"{__name__}:Smoothing" and config["parameters"]["encoder"] == "custom"
    with rejects("encoder", got="None", expected=f"the encoder of this model, {__name__}:Smoothing"):
        Segmenter.load(tmp_path / "model")
    with pytest.raises(ValueError, match="pass the encoder that the model was fitted with"):
        Segmenter.load(tmp_path / "model", encoder=Strided)
    Segmenter(**SMALL).fit(X, y).save(tmp_path / "plain")
    with rejects("encoder", expected="None: this model has the encoder 'lstm'"):
        Segmenter.load(tmp_path / "plain", encoder=Smoothing)
    with rejects("encoder", got="'custom', which stands for a module"):
        Segmenter(encoder="custom").fit(X, y)


class Crashing(nn.Module):
    """Expects another layout."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(7, 11, 13)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (nn.LSTM(2, 4, batch_first=True), "LSTM, which returns tuple"),
        (Transposed(), r"Transposed, which returns shape \(1, 2, 960\) for a signal of shape \(1, 960, F\)"),
        (nn.Flatten(), r"Flatten, which returns shape \(1, 1920\)"),
        (lambda channels: channels, "a callable that returned int"),
        (3, "int"),
    ],
)
def test_what_does_not_encode_is_rejected(given: Any, got: str) -> None:
    X, y, _ = recordings()
    kind = InputError if isinstance(given, Transposed | nn.Flatten) else InputTypeError
    with rejects("encoder", got=got, kind=kind):
        Segmenter(encoder=given, progress=False).fit(X, y)


def test_a_failing_module_is_named_with_its_error() -> None:
    with rejects("encoder", got=r"Crashing, which failed on a signal of shape \(1, 960, 2\): shape '\[7, 11, 13\]'"):
        adopt_encoder(Crashing(), 2)


def test_live_use_needs_a_causal_module_with_a_step() -> None:
    X, y, _ = recordings()
    with rejects("encoder", got=f"{__name__}:Smoothing without causal = True"):
        Segmenter(**SMALL, encoder=Smoothing, bidirectional=False).fit(X, y)
    model = Segmenter(**SMALL, encoder=Smoothing).fit(X, y)
    with rejects("bidirectional"):
        model.stream()
    live = Segmenter(**SMALL, encoder=Causal).fit(X, y)
    assert live.standardize_ == "dataset"
    live.set_decoding(max_delay=3).stream().push(X[0])
