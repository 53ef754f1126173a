"""Segmenter: what goes in comes out, on time, in bands, and bad input is told what to do."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from torch import nn

from segcrf import Segmenter
from segcrf.data import switching_sinusoid
from segcrf.losses import FixedWeights
from segcrf.training import TrainingWarning, loop

Array = npt.NDArray[Any]

SMALL: dict[str, Any] = {
    "hidden": 8, "max_epochs": 3, "window": 64, "batch_size": 8, "learning_rate": 0.05, "progress": False
}  # fmt: skip
NAMES = np.array(["rest", "swing", "walk"])


def recordings(count: int = 5, bands: int = 8, seed: int = 0) -> tuple[list[Array], list[Array], list[Array]]:
    """Signals of two channels, the class of each frame, and a number that depends on the class."""
    random = np.random.default_rng(seed)
    labels = [np.repeat(random.integers(3, size=bands), random.integers(10, 30, size=bands)) for _ in range(count)]
    X = [np.eye(3)[k][:, :2] * 5.0 + random.normal(size=(len(k), 2)) for k in labels]
    return X, labels, [100.0 + 10.0 * k[:, None] for k in labels]


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MIN_BATCHES", 4)
        yield


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    return Segmenter(**SMALL | {"max_epochs": 8}, sampling_rate=10.0).fit(*recordings())


# -------------------------------------------------------------------------------------------------- what it learns
def test_it_learns_classes_and_numbers(fitted: Segmenter) -> None:
    X, labels, targets = recordings(seed=1)
    assert fitted.score(X, labels) > 0.95
    error = np.concatenate(fitted.predict_targets(X)) - np.concatenate(targets)
    assert np.sqrt((error**2).mean()) < 4.0  # their deviation is 8
    assert [k.shape for k in fitted.predict(X)] == [k.shape for k in labels]


def test_semi_markov_bands_last_as_long_as_the_training_bands(tmp_path: Path) -> None:
    X, labels, _ = recordings()
    model = Segmenter(**SMALL | {"max_epochs": 6}, structure="semi-markov").fit(X, labels)
    assert model.max_duration_ is not None
    assert 29 <= model.max_duration_ <= 8 * 29  # neighbours of one class make a band of several times 10 to 29
    assert f"durations up to {model.max_duration_} frames" in repr(model)
    X, labels, _ = recordings(seed=1)
    assert model.score(X, labels) > 0.9
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    assert all((a == b).all() for a, b in zip(again.predict(X), model.predict(X), strict=True))


def test_labels_come_back_as_they_were_given() -> None:
    X, labels, _ = recordings()
    for given, classes, expected in (
        ([k.astype(np.int8) for k in labels], None, [0, 1, 2]),
        (labels, ["a", "b", "c"], ["a", "b", "c"]),
        ([NAMES[k] for k in labels], None, ["rest", "swing", "walk"]),
        ([NAMES[k].astype(object) for k in labels], ["walk", "swing", "rest"], ["walk", "swing", "rest"]),
    ):
        model = Segmenter(**SMALL, classes=classes).fit(X, given)
        assert model.classes_.tolist() == expected
        assert model.predict_proba(X)[0].shape == (len(labels[0]), len(expected))
        predicted = np.concatenate(model.predict(X))
        assert np.mean(predicted == np.concatenate(given)) > 0.8
        assert model.score(X, given) == np.mean(predicted == np.concatenate(given))


def test_unlabelled_frames_are_marginalised_and_unknown_targets_ignored() -> None:
    X, labels, targets = recordings()
    labels = [np.where(np.arange(len(k)) % 3 == 0, k, -100) for k in labels]
    labels[2][:] = -100  # and one recording has only numbers
    targets[1][::2] = np.nan
    model = Segmenter(**SMALL | {"max_epochs": 8}).fit(X, labels, targets)
    X, labels, _ = recordings(seed=1)
    assert model.score(X, labels) > 0.9
    labels[0][:10] = -100
    assert model.score(X, labels) > 0.9
    named = [np.where(k >= 0, NAMES[np.maximum(k, 0)], "") for k in labels]
    assert "" not in Segmenter(**SMALL).fit(X, named).classes_


def test_validation_is_by_recording_or_given_or_by_time_or_none() -> None:
    X, labels, targets = recordings()
    model = Segmenter(**SMALL).fit(X[:3], labels[:3], targets[:3], validation=(X[3:], labels[3:], targets[3:]))
    assert model.scaler_ is not None
    np.testing.assert_allclose(model.scaler_.mean, np.concatenate(X[:3]).mean(axis=0))
    one = Segmenter(**SMALL).fit(X[:1], labels[:1])
    assert one.scaler_ is not None
    np.testing.assert_allclose(one.scaler_.mean, X[0][: round(0.8 * len(X[0]))].mean(axis=0))
    everything = Segmenter(**SMALL, validation_fraction=0.0).fit(X, labels)
    assert everything.best_epoch_ == 2 and "val_loss" not in everything.history_[0]


def long_bands() -> tuple[list[Any], list[Any]]:
    """Signals of bands of 60 frames, and their labels."""
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.permutation(3), 60) for _ in range(4)]
    return [k[:, None] + rng.normal(size=(len(k), 1)) for k in labels], labels


def test_a_loss_of_frames_fades() -> None:
    X, labels = long_bands()
    model = Segmenter(**SMALL | {"max_epochs": 4}, frame_loss=0.5).fit(X, labels)
    assert model.frame_loss_ == 0.5 and model.model_.crf.log_emission_scale is not None
    assert [row["weight_frames"] for row in model.history_] == pytest.approx([0.5, 0.25, 0.0, 0.0])


def test_where_bands_are_long_validation_chooses_whether_frames_have_a_loss(tmp_path: Path) -> None:
    X, labels = long_bands()
    each = {w: Segmenter(**SMALL, frame_loss=w).fit(X, labels) for w in (1.0, 0.0)}
    errors = {w: model.history_[model.best_epoch_]["val_error"] for w, model in each.items()}
    best = each[0.0 if errors[0.0] < errors[1.0] else 1.0]
    assert errors[0.0] != errors[1.0]
    model = Segmenter(**SMALL, directory=tmp_path).fit(X, labels)
    assert model.frame_loss_ == best.frame_loss_ and model.history_ == best.history_
    assert model.predict_proba(X)[0].tobytes() == best.predict_proba(X)[0].tobytes()
    told = " and ".join(f"{error:.3f} with {weight:g}" for weight, error in errors.items())
    assert model.notes_[0] == f"frame_loss='auto' trained twice, as bands are long; validation error: {told}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "last-frame_loss=0.ckpt", "last-frame_loss=1.ckpt"]
    kept = Segmenter.load(tmp_path / "best")
    assert kept.frame_loss_ == best.frame_loss_
    assert kept.predict_proba(X)[0].tobytes() == best.predict_proba(X)[0].tobytes()
    # A fit that was cut off in the second training goes on there; the first is not trained again.
    (tmp_path / "last-frame_loss=0.ckpt").unlink()
    before = (tmp_path / "last-frame_loss=1.ckpt").stat().st_mtime_ns
    resumed = Segmenter(**SMALL, directory=tmp_path).fit(X, labels, resume=True)
    assert (tmp_path / "last-frame_loss=1.ckpt").stat().st_mtime_ns == before
    assert resumed.history_ == model.history_ and resumed.notes_ == model.notes_


def test_a_loss_of_frames_where_bands_are_short_or_nothing_chooses() -> None:
    X, labels = long_bands()
    short = Segmenter(**SMALL).fit([x[::4] for x in X], [k[::4] for k in labels])
    assert short.frame_loss_ == 0.0 and "frames" not in short.history_[0]
    assert Segmenter(**SMALL, validation_fraction=0.0).fit(X, labels).frame_loss_ == 1.0


def test_history_has_both_losses_and_the_best_epoch_is_kept(fitted: Segmenter) -> None:
    names = ("crf", "regression")
    losses = {prefix + name for prefix in ("", "val_") for name in ("loss", *names)}
    scores = {f"val_{name}" for name in ("accuracy", "edit", "f1", "mse", "error", "decode_factor", "decode_by_frame")}
    told = {f"{about}_{name}" for about in ("gradient", "weight") for name in names}
    told |= {"epoch", "learning_rate", "gradient", "clipped", "cosine", "bands"}
    assert [set(row) for row in fitted.history_] == [losses | scores | told] * 8
    assert [row["epoch"] for row in fitted.history_] == list(range(8))
    errors = [(row["val_error"], row["val_loss"]) for row in fitted.history_]
    assert fitted.best_epoch_ == errors.index(min(errors))
    assert fitted.history_[-1]["crf"] < fitted.history_[0]["crf"]


def test_best_weights_are_restored_and_patience_ends_the_fit() -> None:
    X, labels, _ = recordings(count=3)
    random = np.random.default_rng(0)
    noise = [random.permutation(k) for k in labels]  # nothing to learn: the first epochs are the best
    model = Segmenter(**SMALL | {"max_epochs": 30}, patience=2, noise=0.0).fit(X, noise)
    assert len(model.history_) == model.best_epoch_ + 3 < 30
    short = Segmenter(**SMALL | {"max_epochs": 30}, patience=2, noise=0.0)
    assert short.fit(X, noise).predict_proba(X)[0].tobytes() == model.predict_proba(X)[0].tobytes()


def test_the_seed_decides_everything_and_nothing_else_is_touched() -> None:
    X, labels, targets = recordings()
    before = torch.get_rng_state()

    def weights(seed: int) -> bytes:
        model = Segmenter(**SMALL, seed=seed).fit(X, labels, targets).model_
        return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())

    first = weights(0)
    torch.rand(3)
    assert weights(0) == first
    assert weights(1) != first
    torch.set_rng_state(before)
    weights(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "gru", "bidirectional": False},
        {"encoder": "tcn", "layers": 2},
        {"encoder": "tcn", "bidirectional": False},
        {"standardize": "recording", "layers": 2, "regression": "smooth_l1"},
    ],
)
def test_every_encoder_and_regression(options: dict[str, Any]) -> None:
    X, labels, targets = recordings()
    X = [np.column_stack([x, np.full(len(x), 1e6)]) for x in X]  # a constant channel
    model = Segmenter(**SMALL | options).fit(X, labels, targets)
    assert model.score(X, labels) > 0.6
    assert model.model_.encoder.causal == (options.get("bidirectional") is False)
    assert all(np.isfinite(y).all() for y in model.predict_targets(X))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"combine": {"regression": 0.25}}, {"weight_crf": 1.0, "weight_regression": 0.25}),
        ({"combine": lambda losses: 3.0 * losses["crf"] + losses["regression"]}, {"weight_crf": 3.0}),
        ({"combine": FixedWeights(regression=7.0)}, {"weight_regression": 7.0}),
        ({"combine": "uncertainty"}, {"weight_crf": 1.0}),
        ({"combine": "sum", "regression": "gaussian"}, {"weight_crf": 1.0, "weight_regression": 1.0}),
        ({"regression": "gaussian"}, {"weight_crf": 1.0, "weight_regression": 1.0}),
        ({"switching": "likelihood", "posterior": "smooth"}, {"weight_crf": 1.0, "weight_regression": 1.0}),
        ({"combine": {"regression": 0.5}, "frame_loss": 1.0}, {"weight_frames": 1.0, "weight_regression": 0.5}),
    ],
)
def test_losses_are_combined_as_asked(options: dict[str, Any], weights: dict[str, float]) -> None:
    model = Segmenter(**SMALL | {"max_epochs": 1} | options).fit(*recordings(3))
    assert {name: model.history_[0][name] for name in weights} == pytest.approx(weights)


def test_by_default_labels_and_numbers_weigh_alike(fitted: Segmenter) -> None:
    for row in fitted.history_[:4]:  # later losses are below the floor
        shares = [row[f"weight_{name}"] * row[name] for name in ("crf", "regression")]
        assert 0.2 < shares[0] / shares[1] < 5.0
    X, labels, _ = recordings(3)
    assert Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels).history_[0]["weight_crf"] == 1.0


@pytest.mark.parametrize(
    ("form", "posterior"), [("mean", "filter"), ("likelihood", "smooth"), ("predictive", "smooth")]
)
def test_a_switching_model_learns_and_is_stored(form: str, posterior: str, tmp_path: Path) -> None:
    """In one class the number is x, in the other -x."""
    random = np.random.default_rng(0)
    labels = [np.repeat(random.integers(2, size=8), 20) for _ in range(6)]
    X = [np.column_stack([k + 0.3 * random.normal(size=len(k)), random.normal(size=len(k))]) for k in labels]
    targets = [(10.0 * x[:, 1] * (2 * k - 1))[:, None] for x, k in zip(X, labels, strict=True)]
    options = {"switching": form, "posterior": posterior, "bidirectional": posterior == "smooth", "encoder": "tcn"}
    model = Segmenter(**SMALL | options | {"max_epochs": 12, "dropout": 0.0, "learning_rate": 0.02, "layers": 2})
    model.fit(X, labels, targets)
    error = np.concatenate(model.predict_targets(X)) - np.concatenate(targets)
    assert np.sqrt((error**2).mean()) < 6.0  # their deviation is 10, and one linear regression of x has all of it
    other = "filter" if posterior == "smooth" else "smooth"
    mixed = np.concatenate(model.predict_targets(X, posterior=other))
    assert not np.allclose(mixed, np.concatenate(model.predict_targets(X)))
    for own, named in zip(model.predict_targets(X), model.predict_targets(X, posterior=posterior), strict=True):
        assert np.array_equal(own, named)
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    for ask in ("predict", "predict_proba", "predict_targets"):
        for ours, theirs in zip(getattr(again, ask)(X), getattr(model, ask)(X), strict=True):
            assert np.array_equal(ours, theirs)


def test_a_combiner_of_ones_own_begins_anew_and_is_not_stored(tmp_path: Path) -> None:
    class Count(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.weight = 0, nn.Parameter(torch.ones(()))

        def forward(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
            self.calls += 1
            return losses["crf"] + (self.weight - 1.0) ** 2 + losses["regression"]

    combine = Count()
    model = Segmenter(**SMALL, combine=combine).fit(*recordings(3))
    assert combine.calls == 0 and model.combine is combine
    first = model.history_
    assert model.fit(*recordings(3)).history_ == first
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    X, labels, targets = recordings(3)
    assert all(np.array_equal(a, b) for a, b in zip(again.predict_targets(X), model.predict_targets(X), strict=True))
    with pytest.raises(ValueError, match=r"combine: got 'custom', .* not saved; set_params\(combine="):
        again.fit(X, labels, targets)
    assert again.set_params(combine="auto").fit(X, labels, targets).score(X, labels) > 0.5


def test_the_learning_rate_is_tried_where_it_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RATES", (1e-5, 0.05))
    monkeypatch.setattr(loop, "TRIAL_STEPS", 8)
    X, labels, targets = recordings()
    auto = Segmenter(**SMALL | {"learning_rate": "auto"}).fit(X, labels, targets)
    assert auto.learning_rate_ == 0.05 and "at 1e-05" in auto.notes_[0]
    given = Segmenter(**SMALL).fit(X, labels, targets)  # the trials leave no trace
    assert given.history_ == auto.history_
    assert Segmenter(**SMALL | {"learning_rate": None}).fit(X, labels, targets).history_ == auto.history_
    assert Segmenter(**SMALL | {"learning_rate": None}).fit(X, labels).learning_rate_ == 5e-3  # classes alone
    everything = Segmenter(**SMALL | {"learning_rate": None, "validation_fraction": 0.0}).fit(X, labels, targets)
    assert everything.learning_rate_ == 5e-3
    auto.save(tmp_path / "model")
    assert Segmenter.load(tmp_path / "model").learning_rate_ == 0.05
    with pytest.raises(ValueError, match="learning_rate='auto' chooses by validation recordings, got none"):
        Segmenter(**SMALL | {"learning_rate": "auto", "validation_fraction": 0.0}).fit(X, labels, targets)


@pytest.mark.slow
def test_the_rate_that_is_found_serves_the_founding_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TRIAL_STEPS", 48)
    x, y, k = switching_sinusoid(48, 200, noise=0.3, horizon=5, mean_dwell=1.0, seed=0)
    data, held = ([list(part[rows]) for part in (x, k, y)] for rows in (slice(32), slice(32, None)))
    options = {"hidden": 16, "bidirectional": False, "window": 200, "batch_size": 4, "max_epochs": 8, "progress": False}

    def error(rate: float | None) -> float:
        model = Segmenter(**options, learning_rate=rate).fit(*data, validation=held)
        return min(row["val_error"] for row in model.history_)

    found = error(None)
    assert found < 0.9 * error(5e-3)
    assert found < 1.1 * min(error(1e-2), error(3e-2))


def test_offsets_of_a_recording_are_removed_where_they_dominate() -> None:
    X, labels, _ = recordings()
    moved = [x + 100.0 * i for i, x in enumerate(X)]
    model = Segmenter(**SMALL | {"max_epochs": 1})
    assert model.fit(X, labels).standardize_ == "dataset"
    assert model.fit(moved, labels).standardize_ == "recording"
    elsewhere = model.predict([x - 7777.0 for x in moved])
    assert all((a == b).all() for a, b in zip(elsewhere, model.predict(moved), strict=True))
    assert model.set_params(bidirectional=False).fit(moved, labels).standardize_ == "dataset"  # live
    assert model.set_params(standardize="recording").fit(moved, labels).standardize_ == "recording"


# --------------------------------------------------------------------------------------------------------- tables
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
    with pytest.raises(ValueError, match="confidence: got 'bands', expected one of 'frames', 'band'"):
        fitted.predict_segments(X, confidence="bands")


def test_prediction_does_not_depend_on_the_company(fitted: Segmenter) -> None:
    X, _, _ = recordings(seed=1)
    for i, (labels, p) in enumerate(zip(fitted.predict(X), fitted.predict_proba(X), strict=True)):
        assert (fitted.predict(X[i : i + 1])[0] == labels).all()
        np.testing.assert_allclose(fitted.predict_proba(X[i : i + 1])[0], p, atol=1e-5)


# ------------------------------------------------------------------------------------------- scikit-learn's manners
def everything(model: Segmenter, X: list[Array]) -> bytes:
    """All that a model with targets says of recordings."""
    arrays = [*model.predict(X), *model.predict_proba(X), *model.predict_targets(X)]
    return b"".join(a.tobytes() for a in arrays) + model.predict_segments(X).to_csv().encode()


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
    model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels, targets)
    before, learned = everything(model, X), {k: v for k, v in vars(model).items() if k not in model.get_params()}
    with pytest.raises(kinds):
        model.set_params(**broken).fit(*other)
    assert everything(model, X) == before
    assert all(vars(model)[name] is value for name, value in learned.items())


def test_parameters_that_are_set_after_a_fit_count_from_the_next(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = [np.repeat(random.integers(2, size=8), 20) for _ in range(3)]
    X = [k[:, None] + random.normal(size=(len(k), 1)) for k in labels]
    data = X, labels, [x * (2 * k - 1)[:, None] for x, k in zip(X, labels, strict=True)]
    options = {"switching": "mean", "posterior": "filter", "bidirectional": False, "standardize": "dataset"}
    combine = {"regression": 0.5}
    model = Segmenter(**SMALL | options | {"max_epochs": 2}, combine=combine).fit(*data)
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
    model.set_params(device="cpu", posterior=None).fit([np.column_stack([x, x]) for x in X], *data[1:])
    assert model.model_.encoder.causal is False
    bands += [running.push(X[0][30:]), running.finish()]
    assert pd.concat(bands).to_csv(index=False) == pd.concat(whole).to_csv(index=False)


def test_the_rate_is_the_unit_of_tables_and_counts_at_once(fitted: Segmenter, tmp_path: Path) -> None:
    X, _, _ = recordings(seed=1)
    seconds = fitted.predict_segments(X)
    other = copy.copy(fitted).set_params(sampling_rate=None)
    np.testing.assert_allclose(other.predict_segments(X)["end"], seconds["end"] * 10.0)
    other.save(tmp_path / "model")
    assert Segmenter.load(tmp_path / "model").sampling_rate is None
    with pytest.raises(ValueError, match="sampling_rate: got 'fast', expected frames per second"):
        other.set_params(sampling_rate="fast").save(tmp_path / "other")


def test_numbers_of_numpy_and_devices_of_torch_are_parameters(tmp_path: Path) -> None:
    X, labels, targets = recordings(3)
    given: dict[str, Any] = {name: np.asarray(value)[()] for name, value in SMALL.items()}
    given |= {"seed": np.int64(0), "layers": np.int32(1), "dropout": np.float32(0.25), "frame_loss": np.float64(0.0)}
    given |= {"bidirectional": np.bool_(True), "device": torch.device("cpu"), "classes": np.array(["a", "b", "c"])}
    given |= {"combine": {"regression": np.float32(0.5)}}
    assert type(given["hidden"]) is np.int64 and type(given["learning_rate"]) is np.float64
    model = Segmenter(**given, directory=tmp_path / "fit").fit(X, labels, targets)
    assert model.hidden is given["hidden"] and model.device is given["device"]
    plain = Segmenter(**SMALL, dropout=0.25, frame_loss=0.0, classes=["a", "b", "c"], combine={"regression": 0.5})
    plain.fit(X, labels, targets)
    assert everything(model, X) == everything(plain, X)
    again = Segmenter(**given, directory=tmp_path / "fit").fit(X, labels, targets, resume=True)
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
    with pytest.raises(ValueError, match=r"'depth' is no parameter of Segmenter\. It has structure, encoder"):
        model.set_params(window=64, depth=3)
    assert model.window == 128  # all of them or none


# -------------------------------------------------------------------------------------------------------- storage
def test_a_saved_model_is_the_same_model(fitted: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted.save(tmp_path / "deep" / "model")
    assert sorted(path.name for path in (tmp_path / "deep").rglob("*")) == ["config.json", "model", "model.safetensors"]
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


def test_a_config_that_does_not_fit_the_tensors_is_refused(fitted: Segmenter, tmp_path: Path) -> None:
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


# ---------------------------------------------------------------------------------------- litter, noise, resumption
def test_it_is_silent_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Segmenter(**SMALL).fit(*recordings())
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    assert list(tmp_path.iterdir()) == []
    Segmenter(**SMALL | {"progress": True}).fit(*recordings())
    bar = capfd.readouterr().err
    assert "3/3" in bar and "crf=" in bar and "regression=" in bar


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
import torch
from test_estimator import SMALL, recordings
from segcrf import training
from segcrf.estimator import Segmenter
torch.set_num_threads(1)
training.MIN_BATCHES = 4
step = training._Task.training_step
def slow(self, batch, index):
    if self.current_epoch == 2 and index == 1:
        print("now", flush=True)
        time.sleep(60)
    return step(self, batch, index)
training._Task.training_step = slow
Segmenter(**SMALL | {"max_epochs": 4}, directory=sys.argv[1]).fit(*recordings())
"""


def test_a_killed_fit_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    X, labels, targets = recordings()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "fit"), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert said == b"now\n"
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == ["best", "last.ckpt"]
    assert len(Segmenter.load(tmp_path / "fit" / "best").history_) in (1, 2)  # usable as it is

    options = SMALL | {"max_epochs": 4}
    resumed = Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets, resume=True)
    unbroken = Segmenter(**options).fit(X, labels, targets)
    assert resumed.history_ == unbroken.history_ and len(resumed.history_) == 4
    assert resumed.predict_proba(X)[0].tobytes() == unbroken.predict_proba(X)[0].tobytes()

    stamp = (tmp_path / "fit" / "last.ckpt").stat().st_mtime_ns
    again = Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets, resume=True)
    assert (tmp_path / "fit" / "last.ckpt").stat().st_mtime_ns == stamp  # it was finished
    assert again.predict_proba(X)[0].tobytes() == unbroken.predict_proba(X)[0].tobytes()
    with pytest.raises(ValueError, match=r"last.ckpt is of a fit with hidden=8, got hidden=9; resume with the same"):
        Segmenter(**options | {"hidden": 9}, directory=tmp_path / "fit").fit(X, labels, targets, resume=True)
    (tmp_path / "fit" / "last.ckpt").write_bytes(b"half of")
    with pytest.raises(ValueError, match=r"expected a checkpoint of Segmenter\.fit, found something else"):
        Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets, resume=True)


def test_a_checkpoint_of_another_problem_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, labels, targets = recordings()
    options = SMALL | {"max_epochs": 1, "directory": tmp_path}
    Segmenter(**options).fit(X, labels, targets)
    monkeypatch.setattr(loop, "train", None)
    wide = [np.column_stack([x, x]) for x in X]
    data = "data='5 recordings, [0-9]+ frames, checksum [0-9a-f]{16}'"
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((wide, labels, targets), {}, f"channels=2, {data}, got channels=4, {data}; resume"),
        ((X, labels), {}, f"targets=1, {data}, got targets=0, {data}; resume"),
        ((X, labels, [np.hstack([y, y]) for y in targets]), {}, f"targets=1, {data}, got targets=2, {data}; resume"),
        ((X, [NAMES[k] for k in labels], targets), {}, r"classes=\[0, 1, 2\], got classes=\['rest', 'swing', .*;"),
        ((X, labels, targets), {"encoder": "gru"}, "encoder='lstm', got encoder='gru'; resume"),
        ((X, labels, targets), {"structure": "semi-markov", "hidden": 9}, "structure='linear-chain', hidden=8, got"),
        ((X[::-1], labels[::-1], targets[::-1]), {}, f"{data}, got {data}; resume with the same data and"),
        ((X, labels, targets), {"learning_rate": "auto"}, "learning_rate=0.05, got learning_rate='auto'; resume"),
    ]
    for given, other, message in cases:
        with pytest.raises(ValueError, match=f"last.ckpt is of a fit with {message}"):
            Segmenter(**options | other).fit(*given, resume=True)


def test_resume_without_a_checkpoint_begins(tmp_path: Path) -> None:
    model = Segmenter(**SMALL | {"max_epochs": 1}, directory=tmp_path / "new").fit(*recordings(), resume=True)
    assert len(model.history_) == 1
    with pytest.raises(ValueError, match="resume=True: got directory=None"):
        Segmenter(**SMALL).fit(*recordings(), resume=True)


# ------------------------------------------------------------------------------------------------------- bad input
def at(value: Any, recording: int, frame: int, column: int | None = None) -> Any:
    """A change of one value of a list of arrays."""

    def change(arrays: list[Array]) -> list[Array]:
        arrays = [array.copy() for array in arrays]
        arrays[recording][frame if column is None else (frame, column)] = value
        return arrays

    return change


def cut(recording: int, frames: int) -> Any:
    return lambda arrays: [a[:frames] if i == recording else a for i, a in enumerate(arrays)]


def missing(value: Any, names: Array) -> Any:
    """Labels as objects, one of which is missing."""
    return lambda labels: at(value, 2, 7)([names[k].astype(object) for k in labels])


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("X", at(np.nan, 1, 17, 1), ValueError, "recording 1, frame 17, channel 1: got nan, expected a finite number"),
    ("X", at(-np.inf, 0, 3, 0), ValueError, "recording 0, frame 3, channel 0: got -inf"),
    ("X", cut(2, 0), ValueError, r"recording 2: X is empty, shape \(0, 2\)"),
    ("X", cut(2, 9), ValueError, "recording 2: labels has [0-9]+ frames, X has 9"),
    ("X", lambda X: X[:4], ValueError, "labels holds 5 recordings, X 4"),
    ("X", lambda X: [], ValueError, "X holds no recording"),
    ("X", lambda X: [x[:, 0] for x in X], ValueError, r"recording 0: X must have shape \(T, F\) .*reshape\(-1, 1\)"),
    ("X", lambda X: X[0], TypeError, r"X must be a list of .*, got one array of shape \(\d+, 2\); put it in a list"),
    ("X", lambda X: torch.as_tensor(X[0]), TypeError, r"X must be a list of .*, got one array of shape \(\d+, 2\)"),
    ("X", lambda X: pd.DataFrame(X[0]), TypeError, r"X must be a list of .*, got one array of shape \(\d+, 2\)"),
    ("X", lambda X: X[0][:, 0].tolist(), TypeError, "X must be a list of .*, got one list of [0-9]+ numbers or words"),
    ("X", lambda X: X[0][:, 0], TypeError, "X must be a list of .* signals.* put it in a list"),
    ("X", lambda X: [*X[:3], X[3][:, :1], X[4]], ValueError, "recording 3 has 1 channels, expected 2, as recording 0"),
    ("X", lambda X: [x.astype(str) for x in X], TypeError, "recording 0: X must hold real numbers, got <U32"),
    ("labels", at(-1, 1, 5), ValueError, "recording 1, frame 5: got label -1, expected 0 .* -100"),
    ("labels", lambda k: [a.astype(float) for a in k], TypeError, "recording 0: labels must be integers"),
    ("labels", lambda k: [a[:, None] for a in k], ValueError, r"recording 0: labels must have shape \(T,\)"),
    ("labels", lambda k: [np.full_like(a, -100) for a in k], ValueError, "all labels are missing"),
    ("labels", lambda k: [NAMES[k[0]], *k[1:]], TypeError, "labels mix integers and text"),
    ("labels", lambda k: k[0], TypeError, "labels must be a list of arrays.* put it in a list"),
    ("labels", lambda k: NAMES[k[0]].tolist(), TypeError, "labels must be a list .* numbers or words; put it in a "),
    ("labels", lambda k: [], ValueError, "labels holds no recording; give at least one"),
    ("labels", lambda k: [k[0], None, *k[2:]], TypeError, "recording 1: labels are None, .* fill it with -100"),
    ("labels", missing(None, NAMES), TypeError, "recording 2, frame 7: got label None, expected a class; .*''"),
    ("labels", missing(np.nan, NAMES), TypeError, "recording 2, frame 7: got label nan, expected a class; .*''"),
    ("labels", missing(pd.NA, np.arange(3)), TypeError, "recording 2, frame 7: got label <NA>, expected .* -100 among"),
    ("labels", lambda k: at(np.nan, 2, 7)([a * 1.0 for a in k]), TypeError, "recording 2, frame 7: got label nan"),
    ("targets", lambda y: [a[:, 0] for a in y], ValueError, r"recording 0: targets must have shape \(T, R\)"),
    ("targets", lambda y: [*y[:4], np.hstack([y[4], y[4]])], ValueError, r"recording 4: targets .* 1\), got \(.*, 2\)"),
    ("targets", at(np.inf, 2, 7, 0), ValueError, "recording 2, frame 7, target 0: got inf"),
    ("targets", lambda y: y[:3], ValueError, "targets holds 3 recordings, X 5"),
    ("targets", lambda y: y[0], TypeError, r"targets must be a list of arrays, got one array of shape \(\d+, 1\); put"),
    ("targets", lambda y: [*y[:4], None], TypeError, "recording 4: targets are None, .* fill it with NaN"),
]


@pytest.mark.parametrize(("which", "change", "error", "message"), BAD)
def test_bad_recordings_are_refused_at_the_door(which: str, change: Any, error: type[Exception], message: str) -> None:
    data = dict(zip(("X", "labels", "targets"), recordings(), strict=True))
    with pytest.raises(error, match=message):
        Segmenter(**SMALL).fit(**data | {which: change(data[which])})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "mlp"}, "encoder: got 'mlp', expected one of 'lstm', 'gru', 'tcn'"),
        ({"structure": "tree"}, "structure: got 'tree', expected one of 'linear-chain'"),
        ({"regression": None}, "regression: got None"),
        ({"hidden": 0}, "hidden: got 0, expected an integer of 1 or more"),
        ({"window": 1}, "window: got 1"),
        ({"dropout": 1.0}, "dropout: got 1.0, expected a share from 0 to below 1"),
        ({"balance": 0.0}, "balance: got 0.0, expected above 0"),
        ({"learning_rate": -1.0}, r"learning_rate \(or .auto.\): got -1.0"),
        ({"sampling_rate": 0.0}, "sampling_rate: got 0.0"),
        ({"combine": "mean"}, "combine: got 'mean', expected one of 'auto', 'sum'"),
        ({"combine": "running-mean", "regression": "gaussian"}, "expected one of 'mse', 'smooth_l1'; or give combine="),
        ({"combine": "uncertainty", "regression": "student_t"}, "got regression='student_t', expected one of 'mse'"),
        ({"combine": {"loss": 2.0}}, "a weight was given for the loss 'loss'"),
        ({"switching": "sum"}, "switching: got 'sum', expected one of 'mean', 'likelihood', 'predictive'"),
        ({"switching": "mean"}, r"posterior \(of a switching model\): got None, expected one of 'filter', 'smooth'"),
        ({"posterior": "smooth"}, "got 'smooth' with switching=None, expected None"),
        ({"switching": "mean", "posterior": "filter"}, "got 'filter' with bidirectional=True"),
        ({"switching": "likelihood", "posterior": "smooth", "regression": "mse"}, "got 'mse' with switching="),
        ({"classes": ["a", "a", "b"]}, "classes: got repeated names"),
        ({"classes": ["a", "b"]}, "got label 2, expected 0 to 1"),
    ],
)
def test_bad_parameters_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segmenter(**SMALL | options).fit(*recordings())


def test_a_combiner_that_is_none_and_a_mixture_without_parts_are_refused(fitted: Segmenter) -> None:
    with pytest.raises(TypeError, match="combine: got int, expected one of 'sum', 'running-mean'"):
        Segmenter(**SMALL, combine=3).fit(*recordings())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="switching: got 'mean' and no targets"):
        Segmenter(**SMALL, switching="mean", posterior="smooth").fit(*recordings()[:2])
    with pytest.raises(ValueError, match="one regression for all classes; leave it out"):
        fitted.predict_targets(recordings()[0], posterior="smooth")


def test_what_cannot_go_well_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(loop, "train", train)
    (tmp_path / "file").write_text("text")
    (tmp_path / "full" / "best").mkdir(parents=True)
    (tmp_path / "full" / "best" / "thesis.tex").write_text("text")
    data = recordings()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"layers": 0}, ValueError, r"layers \(or None\): got 0, expected an integer of 1 or more"),
        ({"bidirectional": "no"}, ValueError, "bidirectional: got 'no', expected one of True, False"),
        ({"sampling_rate": "fast"}, ValueError, "sampling_rate: got 'fast', expected frames per second, above 0"),
        ({"device": "gpu"}, ValueError, "device: got 'gpu', expected one that this machine has: 'cpu'"),
        ({"device": None}, ValueError, "device: got None, expected one"),
        ({"device": "cpu:1"}, ValueError, "device: got 'cpu:1', expected one"),
        ({"device": f"cuda:{torch.cuda.device_count()}"}, ValueError, "device: got 'cuda:[0-9]+', expected one"),
        ({"directory": 3}, TypeError, "directory: got 3, expected the path of a folder, or None"),
        ({"directory": tmp_path / "file"}, ValueError, "directory: got '.*file', but .*file is a file; choose another"),
        ({"directory": str(tmp_path / "file" / "new")}, ValueError, "new', but .*file is a file; choose another"),
        ({"directory": tmp_path / "full"}, ValueError, r"best is a folder with other things in it \(thesis.tex\)"),
        ({"classes": "abc"}, TypeError, "classes: got 'abc', expected a list of names"),
        ({"classes": []}, ValueError, "classes: got an empty list, expected names; or None"),
        ({"classes": ["a", "b", ""]}, ValueError, "classes: got '' in .*, which marks a frame without a label"),
        ({"combine": {"regresion": 2.0}}, ValueError, "given for the loss 'regresion', expected one of 'crf'"),
        ({"combine": {"crf": "much"}}, ValueError, r"combine\['crf'\]: got 'much', expected a finite number"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message):
            Segmenter(**SMALL | options).fit(*data)
    with pytest.raises(ValueError, match="weight was given for the loss 'regression', expected one of 'crf'; correct"):
        Segmenter(**SMALL, combine={"regression": 2.0}).fit(*data[:2])
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # for root may write anywhere
    with pytest.raises(ValueError, match=r"directory: got '.*new', but .* cannot be written to; choose another"):
        Segmenter(**SMALL, directory=tmp_path / "deep" / "new").fit(*data)
    with pytest.raises(ValueError, match="device: got 'gpu', expected one"):
        Segmenter.load(tmp_path / "nowhere", device="gpu")
    with pytest.raises(AssertionError, match="trained"):
        Segmenter(**SMALL).fit(*data)


def test_classes_without_training_frames_are_told_by_name() -> None:
    X, labels, _ = recordings()
    options = SMALL | {"max_epochs": 1}
    with pytest.warns(TrainingWarning, match="no training frame is of class jump, never: it cannot be learned") as told:
        model = Segmenter(**options, classes=["rest", "jump", *NAMES[1:], "never"]).fit(X, [NAMES[k] for k in labels])
    assert told[0].filename == __file__ and model.notes_[0] == str(told[0].message)
    assert model.predict_proba(X)[0].shape == (len(X[0]), 5)
    with pytest.warns(TrainingWarning, match="no training frame is of class 1:"):
        Segmenter(**options).fit(X, [np.where(k == 1, 2, k) for k in labels])
    one = np.repeat([0, 1, 2], 50)  # the last class is held out as a whole
    with pytest.warns(TrainingWarning, match=r"no training frame is of class 2: .* other recordings for validation="):
        Segmenter(**options, validation_fraction=0.4).fit([X[0][:150]], [one])


def test_names_that_are_not_classes_are_refused() -> None:
    X, labels, _ = recordings()
    named = [NAMES[k] for k in labels]
    named[3] = named[3].astype("U9")
    named[3][4] = "wlak"
    with pytest.raises(ValueError, match=r"recording 3, frame 4: got label 'wlak', expected one of .*'walk'"):
        Segmenter(**SMALL, classes=list(NAMES)).fit(X, named)


def test_validation_must_be_like_training() -> None:
    X, labels, targets = recordings()
    model = Segmenter(**SMALL)
    with pytest.raises(ValueError, match="validation: there are no targets, expected 1 per frame"):
        model.fit(X, labels, targets, validation=(X, labels))
    with pytest.raises(ValueError, match="validation: recording 0 has 1 channels, expected 2"):
        model.fit(X, labels, validation=([x[:, :1] for x in X], labels))
    with pytest.raises(ValueError, match="validation: recording 1, frame 3: got label 3, expected 0 to 2"):
        model.fit(X, labels, validation=(X, at(3, 1, 3)(labels)))
    with pytest.raises(ValueError, match="validation: recording 1, frame 3: got label 'jump', expected one of "):
        model.fit(X, [NAMES[k] for k in labels], validation=(X, at("jump", 1, 3)([NAMES[k] for k in labels])))
    with pytest.raises(TypeError, match=r"validation: got float, expected \(X, labels\) or .* set validation_fraction"):
        model.fit(X, labels, validation=0.2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="validation: got list of 5, expected"):
        model.fit(X, labels, validation=X)
    with pytest.raises(ValueError, match="validation: all labels are missing"):
        model.fit(X, labels, validation=(X, [np.full_like(k, -100) for k in labels]))


def test_prediction_must_be_like_fitting(fitted: Segmenter) -> None:
    X, labels, _ = recordings()
    for ask in ("predict", "predict_proba", "predict_targets", "predict_segments"):
        with pytest.raises(ValueError, match="has learned nothing yet; call fit"):
            getattr(Segmenter(), ask)(X)
    with pytest.raises(ValueError, match="recording 0 has 3 channels, expected 2, as in fit"):
        fitted.predict([np.zeros((5, 3))])
    with pytest.raises(ValueError, match="recording 1, frame 2, channel 0: got nan"):
        fitted.predict(at(np.nan, 1, 2, 0)(X))
    with pytest.raises(TypeError, match="labels are given by name, expected integers"):
        fitted.score(X, [NAMES[k] for k in labels])
    with pytest.raises(ValueError, match="fitted without targets"):
        Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels).predict_targets(X)
    with pytest.raises(ValueError, match="learned nothing yet"):
        Segmenter().save("nowhere")
    assert not os.path.exists("nowhere")
