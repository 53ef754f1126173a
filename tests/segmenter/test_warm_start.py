"""Segmenter.fit(warm_start=True): training goes on from a fitted model, and new classes are appended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segmenters import NAMES, SMALL, recordings

from segcrf import Segmenter
from segcrf.testing.errors import rejects

pytestmark = pytest.mark.usefixtures("short_epochs")


def named(labels: list[Any], names: Any = NAMES) -> list[Any]:
    return [names[k] for k in labels]


@pytest.mark.parametrize("structure", ["linear-chain", "semi-markov"])
@pytest.mark.parametrize("switching", [None, "mean"])
def test_new_classes_are_appended_and_old_weights_kept(structure: str, switching: str | None, tmp_path: Path) -> None:
    X, y, targets = recordings()
    options = {"structure": structure, "switching": switching, "posterior": None if switching is None else "smooth"}
    first = Segmenter(**SMALL, **options).fit(X, named(y, np.array(["sit", "walk", "rest"])), targets=targets)
    assert first.classes_.tolist() == ["rest", "sit", "walk"]
    first.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model").set_params(learning_rate=1e-12, weight_decay=0.0, progress=False)
    before = loaded.model_.state_dict()
    loaded.fit(X, named(y, np.array(["sit", "climb", "rest"])), targets=targets, warm_start=True)
    assert loaded.classes_.tolist() == ["rest", "sit", "walk", "climb"]
    for name, old in before.items():
        if not name.startswith(("decode_", "calibration_")):
            new = loaded.model_.state_dict()[name]
            torch.testing.assert_close(new[tuple(slice(size) for size in old.shape)], old, atol=1e-6, rtol=1e-6)
    assert loaded.max_duration_ == first.max_duration_ and loaded.n_targets_ == 1
    trained = loaded.set_params(learning_rate=0.05).fit(X, named(y), targets=targets, warm_start=True)
    assert trained.classes_.tolist() == ["rest", "sit", "walk", "climb", "swing"]
    trained.save(tmp_path / "more")
    assert Segmenter.load(tmp_path / "more").predict(X)[0].tolist() == trained.predict(X)[0].tolist()


def test_the_same_recordings_again_change_weights_only() -> None:
    X, y, targets = recordings()
    model = Segmenter(**SMALL).fit(X, named(y), targets=targets)
    scale, classes = model.scaler_.mean.clone(), model.classes_.tolist()
    scores = [model.history_[model.best_epoch_]["val_error"]]
    for _ in range(2):
        model.fit(X, named(y), targets=targets, warm_start=True)
        assert model.classes_.tolist() == classes and torch.equal(model.scaler_.mean, scale)
        scores.append(model.history_[model.best_epoch_]["val_error"])
    assert scores[-1] <= scores[0]


def test_indices_are_extended_up_to_the_largest() -> None:
    X, y, _ = recordings()
    model = Segmenter(**SMALL).fit(X, y)
    model.fit(X, [np.where(k == 2, 4, k) for k in y], warm_start=True)
    assert model.classes_.tolist() == [0, 1, 2, 3, 4]


def test_scales_stay_those_of_the_first_fit() -> None:
    X, y, _ = recordings()
    model = Segmenter(**SMALL).fit(X, y)
    mean = model.scaler_.mean.clone()
    model.fit([x + 100.0 for x in X], y, warm_start=True)
    assert torch.equal(model.scaler_.mean, mean)


def test_a_killed_warm_start_resumes_only_from_the_same_model(tmp_path: Path) -> None:
    X, y, _ = recordings()
    model = Segmenter(**SMALL, directory=tmp_path).fit(X, y)
    model.fit(X, y, warm_start=True)
    with pytest.raises(ValueError, match="start"):
        model.fit(X, y, warm_start=True, resume=True)  # the model has been trained further


def test_what_needs_other_weights_is_rejected() -> None:
    X, y, targets = recordings()
    with pytest.raises(ValueError, match="learned nothing"):
        Segmenter(**SMALL).fit(X, y, warm_start=True)
    model = Segmenter(**SMALL).fit(X, y)
    kept = model.predict(X)[0].tolist()
    with rejects("X", got="1 channels", expected="2, as in the fitted model"):
        model.fit([x[:, :1] for x in X], y, warm_start=True)
    with rejects("targets", got="1 targets", expected="0, as in the fitted model"):
        model.fit(X, y, targets=targets, warm_start=True)
    with rejects("hidden", got="16", expected="8, as in the fitted model"):
        model.set_params(hidden=16).fit(X, y, warm_start=True)
    assert model.predict(X)[0].tolist() == kept
