"""Segmenter: tables, parameters, storage, and that it does not write or print."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from segmenters import NAMES, SMALL, everything, examples, recordings

from segcrf import Segmenter
from segcrf.nn import DecodingRule
from segcrf.testing.errors import rejects

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    return Segmenter(**SMALL | {"max_epochs": 8}, sampling_rate=10.0).fit(**examples())


def test_segments_tile_the_recordings_with_the_mean_posterior_as_confidence(fitted: Segmenter) -> None:
    X, _, _ = recordings(seed=1)
    table = fitted.predict_segments(X, recordings=["a", "b", "c", "d", "e"])
    assert list(table.columns) == ["recording", "start", "end", "label", "confidence"]
    posterior = fitted.predict_proba(X)
    for name, labels, p in zip("abcde", fitted.predict(X), posterior, strict=True):
        own = table[table["recording"] == name]
        frames = np.round(own[["start", "end"]].to_numpy() * 10).astype(int)
        assert frames[0, 0] == 0 and frames[-1, 1] == len(labels) and (frames[1:, 0] == frames[:-1, 1]).all()
        for (start, end), label, confidence in zip(frames, own["label"], own["confidence"], strict=True):
            assert (labels[start:end] == label).all()
            assert confidence == pytest.approx(p[start:end, label].mean(), abs=1e-6)
        np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-5)


def test_confidence_of_a_band_as_a_whole(fitted: Segmenter) -> None:
    X, _, _ = recordings(seed=1)
    table = fitted.predict_segments(X, confidence="band")
    mean = fitted.predict_segments(X)["confidence"]
    assert ((table["confidence"] > 0) & (table["confidence"] <= 1)).all()
    assert not np.allclose(table["confidence"], mean)
    for i, (x, labels, p) in enumerate(zip(X, fitted.predict(X), fitted.predict_proba(X), strict=True)):
        alone = fitted.predict_segments([x], confidence="band")["confidence"].to_numpy()
        own = table[table["recording"] == i]
        np.testing.assert_allclose(own["confidence"], alone, rtol=1e-4)
        # A band as a whole is no more probable than any of its frames.
        frames = np.round(own[["start", "end"]].to_numpy() * 10).astype(int)
        least = [p[start:end, labels[start]].min() for start, end in frames]
        assert (alone <= np.array(least) + 1e-5).all()
    with rejects("confidence", got="'bands'", expected="one of 'frames', 'band'"):
        fitted.predict_segments(X, confidence="bands")


def test_prediction_does_not_depend_on_the_company(fitted: Segmenter) -> None:
    X, _, _ = recordings(seed=1)
    for i, (labels, p) in enumerate(zip(fitted.predict(X), fitted.predict_proba(X), strict=True)):
        assert (fitted.predict(X[i : i + 1])[0] == labels).all()
        np.testing.assert_allclose(fitted.predict_proba(X[i : i + 1])[0], p, atol=1e-5)


@pytest.mark.parametrize("standardize", ["dataset", "recording"])
def test_the_model_alone_answers_the_raw_signal_as_the_segmenter_does(standardize: str) -> None:
    X, labels, _ = recordings(4)
    shift = 100.0 + np.arange(len(X))
    X = [1e3 * x + offset for x, offset in zip(X, shift, strict=True)]
    segmenter = Segmenter(**SMALL, standardize=standardize).fit(X, labels)
    lengths = torch.tensor([len(x) - 7 * i for i, x in enumerate(X)])
    cut = [x[:length] for x, length in zip(X, lengths.tolist(), strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(x) for x in cut], batch_first=True, padding_value=1e9)
    with torch.no_grad():
        dist = segmenter.model_(padded, lengths).dist
        decoded, posterior = segmenter.model_.decode(dist).labels, dist.marginals.labels.numpy()
    for i, (own, p) in enumerate(zip(segmenter.predict(cut), segmenter.predict_proba(cut), strict=True)):
        np.testing.assert_allclose(posterior[i, : len(own)], p, atol=1e-5)
        np.testing.assert_array_equal(decoded[i, : len(own)], own)


@pytest.mark.parametrize("way", ["the door", "a loss", "an interrupt"])
def test_a_fit_that_fails_leaves_what_was_there(way: str) -> None:
    X, labels, targets = recordings(3)

    def fail(losses: dict[str, torch.Tensor]) -> torch.Tensor:
        if way == "an interrupt":
            raise KeyboardInterrupt
        return losses["crf"] * torch.nan

    kinds = (ValueError, KeyboardInterrupt)
    broken: dict[str, Any] = {"structure": "semi-markov", "hidden": 9}
    broken |= {"classes": ["a"]} if way == "the door" else {"combine": fail}
    other = [np.column_stack([x, x]) for x in X], [np.minimum(k, 1) for k in labels]
    model = Segmenter(**SMALL | {"max_epochs": 1} | broken)
    with pytest.raises(kinds):
        model.fit(*other)
    with pytest.raises(ValueError, match="has learned nothing yet"):
        model.predict(X)
    model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels, targets=targets)
    before, learned = everything(model, X), {k: v for k, v in vars(model).items() if k not in model.get_params()}
    with pytest.raises(kinds):
        model.set_params(**broken).fit(*other)
    assert everything(model, X) == before
    assert all(vars(model)[name] is value for name, value in learned.items())


def test_parameters_that_are_set_after_a_fit_count_from_the_next(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = [np.repeat(random.integers(2, size=8), 20) for _ in range(3)]
    X = [k[:, None] + random.normal(size=(len(k), 1)) for k in labels]
    targets = [x * (2 * k - 1)[:, None] for x, k in zip(X, labels, strict=True)]
    options = {"switching": "mean", "posterior": "filter", "bidirectional": False, "max_delay": 4}
    combine = {"regression": 0.5}
    model = Segmenter(**SMALL | options | {"max_epochs": 2}, combine=combine).fit(X, labels, targets=targets)
    before = everything(model, X)
    running = model.stream()
    bands = [running.push(X[0][:30])]
    later: dict[str, Any] = {"switching": None, "posterior": "smooth", "bidirectional": True, "hidden": 5}
    later |= {"structure": "semi-markov", "encoder": "gru", "device": "meta", "layers": 3, "classes": ["a", "b"]}
    model.set_params(**later)
    combine["regression"] = 7.0
    assert everything(model, X) == before
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    assert everything(again, X) == before
    assert (again.hidden, again.posterior, again.combine) == (8, "filter", {"regression": 0.5})
    expected = model.stream()  # and a stream that is running goes on when another model is fitted
    whole = [expected.push(X[0]), expected.finish()]
    model.set_params(device="cpu", posterior=None, max_delay=None).fit(
        [np.column_stack([x, x]) for x in X], labels, targets=targets
    )
    assert model.model_.encoder.causal is False
    bands += [running.push(X[0][30:]), running.finish()]
    assert pd.concat(bands).to_csv(index=False) == pd.concat(whole).to_csv(index=False)


def test_the_sampling_rate_is_the_unit_of_tables_and_takes_effect_at_once(fitted: Segmenter, tmp_path: Path) -> None:
    X, _, _ = recordings(seed=1)
    seconds = fitted.predict_segments(X)
    other = copy.copy(fitted).set_params(sampling_rate=None)
    np.testing.assert_allclose(other.predict_segments(X)["end"], seconds["end"] * 10.0)
    other.save(tmp_path / "model")
    assert Segmenter.load(tmp_path / "model").sampling_rate is None
    with rejects("sampling_rate", got="'fast'", expected="frames per second"):
        other.set_params(sampling_rate="fast").save(tmp_path / "other")


def test_numbers_of_numpy_and_devices_of_torch_are_parameters(tmp_path: Path) -> None:
    X, labels, targets = recordings(3)
    given: dict[str, Any] = {name: np.asarray(value)[()] for name, value in SMALL.items()}
    given |= {"seed": np.int64(0), "layers": np.int32(1), "dropout": np.float32(0.25), "frame_loss": np.float64(0.0)}
    given |= {"bidirectional": np.bool_(True), "device": torch.device("cpu"), "classes": np.array(["a", "b", "c"])}
    given |= {"combine": {"regression": np.float32(0.5)}}
    assert type(given["hidden"]) is np.int64 and type(given["learning_rate"]) is np.float64
    model = Segmenter(**given, directory=tmp_path / "fit").fit(X, labels, targets=targets)
    assert model.hidden is given["hidden"] and model.device is given["device"]
    plain = Segmenter(**SMALL, dropout=0.25, frame_loss=0.0, classes=["a", "b", "c"], combine={"regression": 0.5})
    plain.fit(X, labels, targets=targets)
    assert everything(model, X) == everything(plain, X)
    again = Segmenter(**given, directory=tmp_path / "fit").fit(X, labels, targets=targets, resume=True)
    assert everything(again, X) == everything(plain, X)
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model", device=torch.device("cpu"))
    assert everything(loaded, X) == everything(plain, X)


def test_parameters_are_kept_verbatim() -> None:
    classes = ["a", "b"]
    model = Segmenter(classes=classes, window=128)
    assert model.get_params()["classes"] is classes
    twin = type(model)(**model.get_params())
    assert twin.get_params() == model.get_params()
    assert model.set_params(hidden=3) is model and model.hidden == 3
    assert repr(model) == "Segmenter(hidden=3, classes=['a', 'b'], window=128)"
    assert repr(Segmenter(classes=np.array(["a"]))) == "Segmenter(classes=array(['a'], dtype='<U1'))"
    with rejects("depth", expected="one of structure, encoder"):
        model.set_params(window=64, depth=3)
    assert model.window == 128  # all of them or none


def test_a_saved_model_is_the_same_model(fitted: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted.save(tmp_path / "deep" / "model")
    names = sorted(path.name for path in (tmp_path / "deep").rglob("*"))
    assert names[:2] == ["config.json", "model"] and re.fullmatch(r"model-[0-9a-f]{12}\.safetensors", names[2])
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr("pickle.load", None)
    monkeypatch.setattr("pickle.Unpickler", None)
    loaded = Segmenter.load(tmp_path / "deep" / "model")
    X, _, _ = recordings(seed=1)
    for ask in ("predict", "predict_proba", "predict_targets"):
        for ours, theirs in zip(getattr(loaded, ask)(X), getattr(fitted, ask)(X), strict=True):
            assert ours.tobytes() == theirs.tobytes()
    assert loaded.predict_segments(X).equals(fitted.predict_segments(X))
    assert (loaded.history_, loaded.best_epoch_) == (fitted.history_, fitted.best_epoch_)
    assert loaded.get_params() == fitted.get_params()
    assert repr(loaded).endswith("fitted: 3 classes, 2 channels")


def test_names_and_scales_survive_storage(tmp_path: Path) -> None:
    X, labels, _ = recordings()
    model = Segmenter(**SMALL, classes=tuple(NAMES), standardize="recording").fit(X, [NAMES[k] for k in labels])
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert (loaded.predict(X)[0] == model.predict(X)[0]).all()
    assert loaded.predict(X)[0].dtype.kind == "U"
    model.save(tmp_path / "model")  # replaces
    assert Segmenter.load(tmp_path / "model").classes_.tolist() == NAMES.tolist()


def test_a_config_that_does_not_fit_the_tensors_is_rejected(fitted: Segmenter, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for change in ({"channels": 7}, {"classes": ["a"]}, {"parameters": config["parameters"] | {"depth": 3}}):
        path.write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match="do not belong together"):
            Segmenter.load(tmp_path / "model")
    path.write_text(json.dumps({name: value for name, value in config.items() if name != "labels"}))
    with pytest.raises(ValueError, match="'labels'"):
        Segmenter.load(tmp_path / "model")


def test_a_switch_that_was_forbidden_by_hand_survives_storage_and_a_weight_that_is_no_number_does_not(
    tmp_path: Path,
) -> None:
    X, labels, _ = recordings()
    model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels)
    model.model_.crf.transitions.data[0, 2] = -torch.inf
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    assert all((a == b).all() for a, b in zip(again.predict(X), model.predict(X), strict=True))
    model.model_.class_head.weight.data[1, 3] = torch.nan
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"tensor model\.class_head\.weight\[1, 3\]: expected finite .* found nan"):
        Segmenter.load(tmp_path / "model")


# --------------------------------------------------------------------------------------------------------- decoding
def test_without_validation_recordings_the_usual_rule_decodes() -> None:
    fitted = Segmenter(**SMALL, validation_fraction=0).fit(**examples())
    assert fitted.decoding_ == DecodingRule(1.0, by_frame=True)
    sequence = Segmenter(**SMALL, validation_fraction=0, decoding="sequence").fit(**examples())
    assert sequence.decoding_ == DecodingRule(1.0)


@pytest.mark.parametrize("decoding", ["sequence", "frame"])
def test_a_decoding_rule_by_name_leaves_the_factor_to_validation(decoding: str) -> None:
    fitted = Segmenter(**SMALL, decoding=decoding).fit(**examples())
    assert fitted.decoding_.by_frame == (decoding == "frame")
    assert fitted.decoding_.factor == fitted.history_[fitted.best_epoch_]["val_decode_factor"]


def test_a_decoding_rule_that_is_given_is_used_as_it_is_and_saved(tmp_path: Path) -> None:
    X, y, _ = recordings()
    rule = DecodingRule(1.5, by_frame=True)
    fitted = Segmenter(**SMALL, decoding=rule).fit(X, y)
    assert fitted.decoding_ == rule
    fitted.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert loaded.decoding_ == rule and loaded.fit(X, y).decoding_ == rule


def test_another_decoding_rule_holds_in_every_method_and_in_the_saved_model(tmp_path: Path) -> None:
    X, y, _ = recordings()
    fitted = Segmenter(**SMALL).fit(X, y)
    assert fitted.set_decoding(factor=0.3, by_frame=False) is fitted
    dist = fitted.model_(torch.as_tensor(X[0])[None]).dist.scaled(emissions=0.3)
    assert np.array_equal(fitted.predict(X)[0], dist.mode[0])
    fitted.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert loaded.decoding_ == DecodingRule(0.3)
    assert [a.tolist() for a in loaded.predict(X)] == [a.tolist() for a in fitted.predict(X)]
    with pytest.raises(TypeError, match="temperature"):
        fitted.set_decoding(temperature=2.0)
    with rejects("factor", got="0.0"):
        fitted.set_decoding(factor=0.0)
    with rejects("bidirectional"):
        fitted.set_decoding(max_delay=5)
    assert fitted.decoding_ == DecodingRule(0.3)
    with pytest.raises(ValueError, match="learned nothing"):
        Segmenter().set_decoding(factor=2.0)


# --------------------------------------------------------------------------------------------------- missing values
@pytest.mark.parametrize("missing", ["hold", "interpolate"])
@pytest.mark.parametrize("standardize", ["dataset", "recording", "auto"])
def test_missing_values_are_replaced_everywhere(missing: str, standardize: str, tmp_path: Path) -> None:
    X, y, _ = recordings()
    gaps = [np.where(np.random.default_rng(i).random(x.shape) < 0.2, np.nan, x) for i, x in enumerate(X)]
    model = Segmenter(**SMALL, missing=missing, standardize=standardize).fit(gaps, y)
    assert model.score(gaps, y) > 0.5
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert [a.tolist() for a in loaded.predict(gaps)] == [a.tolist() for a in model.predict(gaps)]
    with rejects("X", got="inf in channel 1", recording=0, frame=3):
        loaded.predict([np.where(np.arange(20).reshape(10, 2) == 7, np.inf, 1.0)])


def test_missing_values_are_rejected_unless_they_are_replaced() -> None:
    X, y, _ = recordings()
    X[2][7, 1] = np.nan
    with rejects("X", got="nan in channel 1", advice="missing='hold'", recording=2, frame=7):
        Segmenter(**SMALL).fit(X, y)
