"""Races: the better half of the candidates trains on, level ones go to the first, and a fit keeps what it chose."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segcrf import Segmenter
from segcrf.testing.errors import rejects
from segcrf.training import Parameters, list_candidates, race, selection

SMALL: dict[str, Any] = {"hidden": 4, "max_epochs": 2, "window": 50, "budget": "quick", "progress": False}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replaces trainings by a table of errors; returns which ones were asked for."""
    done: list[tuple[str, int]] = []

    def tried(begin: Callable[[], tuple[str, float]], recipe: Any, recordings: Any, steps: int) -> float:
        name, error = begin()
        done.append((name, steps))
        if math.isnan(error):
            raise ValueError("not finite")
        return error

    monkeypatch.setattr(selection, "_try", tried)
    return done


def run(errors: dict[str, float], level: float = 0.01) -> tuple[str, list[dict[str, float]]]:
    entrants: dict[str, Any] = {name: (lambda name=name: (name, errors[name])) for name in errors}
    return race(entrants, None, ([], []), steps=10, level=level)  # type: ignore[arg-type]


def test_the_better_half_trains_twice_as_long(steps: list[tuple[str, int]]) -> None:
    winner, rounds = run({"a": 0.5, "b": 0.3, "c": 0.2, "d": 0.9, "e": 0.31})
    assert winner == "c"
    assert [list(each) for each in rounds] == [["a", "b", "c", "d", "e"], ["b", "c", "e"], ["b", "c"]]
    assert [count for _, count in steps] == [10] * 5 + [20] * 3 + [40] * 2


def test_level_ones_go_to_the_first(steps: list[tuple[str, int]]) -> None:
    assert run({"default": 0.305, "other": 0.3})[0] == "default"
    assert run({"default": 0.32, "other": 0.3})[0] == "other"
    assert run({"other": 0.3, "default": 0.305})[0] == "other"
    assert run({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3})[0] == "a"


def test_one_that_fails_loses(steps: list[tuple[str, int]]) -> None:
    winner, rounds = run({"a": math.nan, "b": 0.9, "c": math.nan})
    assert winner == "b" and rounds[0]["a"] == math.inf
    with pytest.raises(ValueError, match="not finite"):
        run({"a": math.nan, "b": math.nan})


def test_one_alone_needs_no_training(steps: list[tuple[str, int]]) -> None:
    assert run({"a": 0.5}) == ("a", []) and not steps


def test_what_is_auto_is_what_is_tried() -> None:
    assert [str(each) for each in list_candidates(Parameters())] == ["lstm + linear-chain"]
    both = list_candidates(Parameters(encoder="auto", structure="auto"))
    assert str(both[0]) == "lstm + linear-chain" and len(both) == 6
    live = list_candidates(Parameters(encoder="auto", bidirectional=False))
    assert [each.encoder for each in live] == ["lstm", "tcn"]


def recordings(count: int = 6) -> tuple[list[Any], list[Any]]:
    random = np.random.default_rng(0)
    labels = [np.repeat(random.integers(0, 2, 12), random.integers(8, 20, 12)) for _ in range(count)]
    return [(each + 0.3 * random.standard_normal(len(each)))[:, None] for each in labels], labels


@pytest.mark.filterwarnings("ignore::segcrf.training.TrainingWarning")
def test_a_fit_chooses_and_the_model_remembers(tmp_path: Path) -> None:
    X, y = recordings()
    model = Segmenter(encoder="auto", structure="auto", directory=tmp_path / "fit", **SMALL).fit(X, y)
    (note,) = [note for note in model.notes_ if note.startswith("'auto' is ")]
    assert f"'auto' is {model.encoder_} + {model.structure_}, by validation errors" in note and "32 steps" in note
    assert (model.encoder, model.structure) == ("auto", "auto")
    model.save(tmp_path / "model")
    loaded = Segmenter.load(tmp_path / "model")
    assert (loaded.encoder_, loaded.structure_) == (model.encoder_, model.structure_)
    np.testing.assert_array_equal(loaded.predict(X)[0], model.predict(X)[0])
    kept = json.loads((tmp_path / "fit" / "race.json").read_text())
    assert kept["candidate"] == [model.encoder_, model.structure_]


@pytest.mark.filterwarnings("ignore::segcrf.training.TrainingWarning")
def test_a_resumed_fit_takes_the_choice_that_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = recordings()
    options = {"structure": "auto", "encoder": "tcn", "directory": tmp_path / "fit", **SMALL}
    first = Segmenter(**options).fit(X, y)
    monkeypatch.setattr(selection, "_try", None)  # no race is run again
    again = Segmenter(**options).fit(X, y, resume=True)
    assert again.structure_ == first.structure_
    np.testing.assert_array_equal(again.predict(X)[0], first.predict(X)[0])
    with rejects("checkpoint", advice="resume with the same data"):
        Segmenter(**options).fit(X[:-1], y[:-1], resume=True)


def test_a_race_needs_validation_recordings() -> None:
    X, y = recordings(2)
    with rejects("encoder", got="'auto' without validation recordings", advice="validation_fraction above 0"):
        Segmenter(encoder="auto", validation_fraction=0, **SMALL).fit(X, y)


@pytest.mark.filterwarnings("ignore::segcrf.training.TrainingWarning")
def test_a_choice_is_kept_by_a_warm_start(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = recordings()
    model = Segmenter(structure="auto", encoder="tcn", **SMALL).fit(X, y)
    structure = model.structure_
    monkeypatch.setattr(selection, "_try", None)  # no race is run again
    assert model.fit(X, y, warm_start=True).structure_ == structure
