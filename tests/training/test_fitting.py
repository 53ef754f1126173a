"""Fitting: what a Segmenter learns, what it chooses, and that a seed decides it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmenters import NAMES, SMALL, examples, long_bands, recordings
from torch import nn

from segcrf import Segmenter
from segcrf.data import switching_sinusoid
from segcrf.losses import FixedWeights
from segcrf.testing.errors import rejects
from segcrf.training import TrainingWarning, selection

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    return Segmenter(**SMALL | {"max_epochs": 8}, sampling_rate=10.0).fit(**examples())


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
    model = Segmenter(**SMALL | {"max_epochs": 8}).fit(X, labels, targets=targets)
    X, labels, _ = recordings(seed=1)
    assert model.score(X, labels) > 0.9
    labels[0][:10] = -100
    assert model.score(X, labels) > 0.9
    named = [np.where(k >= 0, NAMES[np.maximum(k, 0)], "") for k in labels]
    assert "" not in Segmenter(**SMALL).fit(X, named).classes_


def test_validation_is_by_recording_or_given_or_by_time_or_none() -> None:
    X, labels, targets = recordings()
    model = Segmenter(**SMALL).fit(X[:3], labels[:3], targets=targets[:3], validation=(X[3:], labels[3:], targets[3:]))
    assert model.scaler_ is not None
    np.testing.assert_allclose(model.scaler_.mean, np.concatenate(X[:3]).mean(axis=0))
    one = Segmenter(**SMALL).fit(X[:1], labels[:1])
    assert one.scaler_ is not None
    np.testing.assert_allclose(one.scaler_.mean, X[0][: round(0.8 * len(X[0]))].mean(axis=0))
    everything = Segmenter(**SMALL, validation_fraction=0.0).fit(X, labels)
    assert everything.best_epoch_ == 2 and "val_loss" not in everything.history_[0]


def test_no_group_is_both_in_training_and_in_validation() -> None:
    X, labels, _ = recordings(6)
    groups = ["a", "b", "a", "c", "b", "a"]
    model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels, groups=groups)
    assert model.scaler_ is not None
    kept = [np.concatenate([x for x, g in zip(X, groups, strict=True) if g != held]).mean(axis=0) for held in "abc"]
    assert sum(np.allclose(model.scaler_.mean, mean) for mean in kept) == 1
    assert "val_loss" in model.history_[0]
    alike = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels, groups=np.array([1, 2, 1, 3, 2, 1]))
    assert alike.history_ == model.history_
    given = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels, groups=["a"] * 6, validation=(X, labels))
    assert given.scaler_ is not None  # nothing is held out, so one group is enough
    np.testing.assert_allclose(given.scaler_.mean, np.concatenate(X).mean(axis=0))


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
    tried = " and ".join(f"{error:.3f} with {weight:g}" for weight, error in errors.items())
    assert model.notes_[0] == f"frame_loss='auto' trained twice, as bands are long; validation error: {tried}"
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
    kept = {f"{about}_{name}" for about in ("gradient", "weight") for name in names}
    kept |= {"epoch", "learning_rate", "gradient", "clipped", "cosine", "bands"}
    assert [set(row) for row in fitted.history_] == [losses | scores | kept] * 8
    assert [row["epoch"] for row in fitted.history_] == list(range(8))
    errors = [(row["val_error"], row["val_loss"]) for row in fitted.history_]
    assert fitted.best_epoch_ == errors.index(min(errors))
    assert fitted.history_[-1]["crf"] < fitted.history_[0]["crf"]


def test_best_weights_are_restored_and_patience_ends_the_fit() -> None:
    X, labels, _ = recordings(count=3)
    random = np.random.default_rng(0)
    noise = [random.permutation(k) for k in labels]  # nothing to learn: the first epochs are the best
    options = SMALL | {"prepare": None, "max_epochs": 30, "patience": 2, "noise": 0.0}
    with pytest.warns(TrainingWarning, match="bands are missed"):
        model = Segmenter(**options).fit(X, noise)
    assert len(model.history_) == model.best_epoch_ + 3 < 30
    with pytest.warns(TrainingWarning, match="bands are missed"):
        again = Segmenter(**options).fit(X, noise)
    assert again.predict_proba(X)[0].tobytes() == model.predict_proba(X)[0].tobytes()


def test_the_seed_decides_everything_and_nothing_else_is_touched() -> None:
    X, labels, targets = recordings()
    before = torch.get_rng_state()

    def weights(seed: int) -> bytes:
        model = Segmenter(**SMALL, seed=seed).fit(X, labels, targets=targets).model_
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
        {"encoder": "unet"},
        {"encoder": "unet", "bidirectional": False},
        {"encoder": "ms-tcn", "layers": 3},
        {"encoder": "attention", "bidirectional": False},
        {"encoder": "conv-lstm"},
        {"encoder": "conv-gru", "bidirectional": False},
        {"standardize": "recording", "layers": 2, "regression": "smooth_l1"},
    ],
)
def test_every_encoder_and_regression(options: dict[str, Any]) -> None:
    X, labels, targets = recordings()
    X = [np.column_stack([x, np.full(len(x), 1e6)]) for x in X]  # a constant channel
    model = Segmenter(**SMALL | options).fit(X, labels, targets=targets)
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
    model = Segmenter(**SMALL | {"max_epochs": 1} | options).fit(**examples(3))
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
    model.fit(X, labels, targets=targets)
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
    model = Segmenter(**SMALL, combine=combine).fit(**examples(3))
    assert combine.calls == 0 and model.combine is combine
    first = model.history_
    assert model.fit(**examples(3)).history_ == first
    model.save(tmp_path / "model")
    again = Segmenter.load(tmp_path / "model")
    X, labels, targets = recordings(3)
    assert all(np.array_equal(a, b) for a, b in zip(again.predict_targets(X), model.predict_targets(X), strict=True))
    with rejects("combine", got="'custom'", advice=r"not saved .* set_params\(combine="):
        again.fit(X, labels, targets=targets)
    assert again.set_params(combine="auto").fit(X, labels, targets=targets).score(X, labels) > 0.5


def test_the_learning_rate_is_tried_where_it_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "LEARNING_RATES", (1e-5, 0.05))
    monkeypatch.setattr(selection, "TRIAL_STEPS", 8)
    X, labels, targets = recordings()
    auto = Segmenter(**SMALL | {"learning_rate": "auto"}).fit(X, labels, targets=targets)
    assert auto.learning_rate_ == 0.05 and any("at 1e-05" in note for note in auto.notes_)
    given = Segmenter(**SMALL).fit(X, labels, targets=targets)  # the trials leave no trace
    assert given.history_ == auto.history_
    assert Segmenter(**SMALL | {"learning_rate": None}).fit(X, labels, targets=targets).history_ == auto.history_
    assert Segmenter(**SMALL | {"learning_rate": None}).fit(X, labels).learning_rate_ == 5e-3  # classes alone
    everything = Segmenter(**SMALL | {"learning_rate": None, "validation_fraction": 0.0}).fit(
        X, labels, targets=targets
    )
    assert everything.learning_rate_ == 5e-3
    auto.save(tmp_path / "model")
    assert Segmenter.load(tmp_path / "model").learning_rate_ == 0.05
    with rejects("learning_rate", got="'auto' without validation recordings", advice="validation_fraction"):
        Segmenter(**SMALL | {"learning_rate": "auto", "validation_fraction": 0.0}).fit(X, labels, targets=targets)


@pytest.mark.slow
def test_the_rate_that_is_found_serves_the_founding_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "TRIAL_STEPS", 48)
    x, y, k = switching_sinusoid(48, 200, noise=0.3, horizon=5, mean_dwell=1.0, seed=0)
    data, held = ([list(part[rows]) for part in (x, k, y)] for rows in (slice(32), slice(32, None)))
    options = {"hidden": 16, "bidirectional": False, "window": 200, "batch_size": 4, "max_epochs": 8, "progress": False}

    def error(rate: float | None) -> float:
        model = Segmenter(**options, learning_rate=rate).fit(data[0], data[1], targets=data[2], validation=held)
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
