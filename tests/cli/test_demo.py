"""The demo: the same start and budget for every method, an honest choice of the penalty, a table and a figure."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch

from segcrf.cli import demo
from segcrf.losses import JointObjective
from segcrf.testing.errors import rejects

if TYPE_CHECKING:
    from pathlib import Path

TINY = demo.Settings(
    num_train=8, num_test=3, train_length=40, test_length=60, mean_dwell=0.1, hidden=4, steps=2, batch_size=4
)
CRF = demo.Method("MSE + CRF", JointObjective("mse"), demo.decode_viterbi)
PLAIN = demo.Method("MSE + BCE", demo.frame_wise_losses, demo.decode_argmax)


@pytest.fixture(scope="module")
def outcome():
    return demo.compare_methods(TINY, progress=False)


def train(method: demo.Method, settings: demo.Settings = TINY) -> demo.Trained:
    with demo.progress_bar(0, show=False) as bar:
        return demo.train_method(method, demo.make_signals(settings).train, settings, bar)


def test_three_methods_are_tested_on_the_same_signals(outcome):
    signals, results = outcome
    plain, penalised, crf = (result.name for result in results)
    assert (plain, crf) == ("MSE + BCE", "MSE + CRF")
    assert penalised in [f"MSE + BCE + {weight:g} × switches" for weight in demo.PENALTIES]
    for result in results:
        assert result.modes.shape == signals.k.shape == (3, 60)
        assert result.predictions.shape == signals.y.shape == (3, 60, 1)
        assert all(math.isfinite(score) for score in result.scores.values())


def test_scores_are_those_of_the_predictions(outcome):
    signals, results = outcome
    for result in results:
        assert result.scores["accuracy"] == pytest.approx(100 * (result.modes == signals.k).mean())
        assert result.scores["mse"] == pytest.approx(((result.predictions - signals.y) ** 2).mean())


def test_the_same_seed_gives_the_same_results(outcome):
    _, again = demo.compare_methods(TINY, progress=False)
    assert [result.scores for result in again] == [result.scores for result in outcome[1]]
    _, other = demo.compare_methods(dataclasses.replace(TINY, seed=1), progress=False)
    assert [result.scores for result in other] != [result.scores for result in outcome[1]]


def test_every_method_starts_from_the_same_weights():
    untrained = dataclasses.replace(TINY, steps=0)
    ours, theirs = (train(method, untrained).model.state_dict() for method in (PLAIN, CRF))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_method_sees_the_same_batches():
    """A method with the losses of another, under another name, ends with the same weights."""
    ours = train(PLAIN).model.state_dict()
    theirs = train(dataclasses.replace(CRF, losses=demo.frame_wise_losses)).model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_signals_of_training_validation_and_test_differ():
    parts = demo.make_signals(dataclasses.replace(TINY, num_train=3, train_length=60))
    assert not any(np.array_equal(a.x, b.x) for a, b in [(parts[0], parts[1]), (parts[1], parts[2])])


def test_the_penalty_is_chosen_on_validation_signals(monkeypatch: pytest.MonkeyPatch):
    """The weight that is best on the validation signals is taken, whatever the test signals say."""
    signals = demo.make_signals(TINY)

    def score(trained: demo.Trained, given: demo.SwitchingSignal) -> demo.Result:
        weight = dict(trained.method.weights).get("switches", 0.0)
        validating = np.array_equal(given.x, signals.validation.x)
        best = weight == demo.PENALTIES[1] if validating else weight == demo.PENALTIES[0]
        return demo.Result(trained.method.name, given.k, given.y, {"f1@50": 100.0 * best})

    monkeypatch.setattr(demo.Trained, "test", score)
    _, (_, chosen, _) = demo.compare_methods(TINY, progress=False)
    assert chosen.name == f"MSE + BCE + {demo.PENALTIES[1]:g} × switches"


def test_the_penalty_counts_expected_switches():
    model = train(PLAIN).model
    signals = demo.make_signals(TINY).test
    output = model(torch.from_numpy(signals.x))
    losses = demo.penalised_losses(output, torch.from_numpy(signals.k), torch.from_numpy(signals.y))
    p = output.dist.emissions.softmax(2)
    expected = (1 - (p[:, 1:] * p[:, :-1]).sum(2)).sum() / p[..., 0].numel()
    assert losses["switches"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(losses) == {"mse", "bce", "switches"}


def test_cross_entropy_is_in_nats_per_frame():
    model = train(PLAIN).model
    signals = demo.make_signals(TINY).test
    output = model(torch.from_numpy(signals.x))
    scores, k = output.dist.emissions.double(), torch.from_numpy(signals.k)
    own = scores.gather(2, k[..., None])
    expected = torch.log1p(scores.exp()).sum(2) - own[..., 0]
    losses = demo.frame_wise_losses(output, k, torch.from_numpy(signals.y))
    assert losses["bce"].item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_the_table_has_a_row_per_method_as_it_came_out(outcome):
    signals, results = outcome
    lines = demo.format_table(results, signals).splitlines()
    assert all(name in lines[0] for name in ("test MSE", "accuracy %", "bands pred/true", "edit %", "F1@50 %"))
    for line, result in zip(lines[1:], results, strict=False):
        assert line.startswith(result.name)
        mse, accuracy, ratio, edit, f1 = map(float, line.removeprefix(result.name).split())
        assert mse == pytest.approx(result.scores["mse"], abs=6e-5)
        assert ratio == pytest.approx(result.scores["band_ratio"], abs=6e-3)
        for shown, name in ((accuracy, "accuracy"), (edit, "edit"), (f1, "f1@50")):
            assert shown == pytest.approx(result.scores[name], abs=0.06)
    bands = 3 + np.count_nonzero(np.diff(signals.k, axis=1))
    assert f"3 held-out signals of 0.6 s with {bands} true bands" in lines[5]


def test_the_figure_shows_signal_forecast_and_bands(outcome):
    signals, results = outcome
    figure = demo.draw_figure(signals, results)
    assert len(figure.axes) == 3
    names = [label.get_text().split("\n")[0] for label in figure.axes[2].get_yticklabels()]
    assert names == ["true k", *(result.name for result in results)]


def test_the_command_prints_the_table_and_writes_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo, "QUICK", TINY)
    demo.run_demo(quick=True, seed=0, out=tmp_path / "demo.png")
    printed = capsys.readouterr()
    assert printed.out.count("\nMSE + ") == 3
    assert "step" in printed.err  # the progress bar
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_figure_that_cannot_be_written_is_found_before_training(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        demo.run_demo(quick=True, seed=0, out=tmp_path / "no" / "demo.png")
    with rejects(r"demo\.doc", got=r"ending \.doc", expected=r"a format of figures: one of \..*\.png"):
        demo.run_demo(quick=True, seed=0, out=tmp_path / "demo.doc")


def test_tables_to_try_are_seeded_and_the_new_ones_lack_only_their_labels(tmp_path: Path):
    files = demo.write_tables(tmp_path / "a", seed=1)
    assert [file.name for file in files] == ["labelled.csv", "new.csv", "truth.csv"]
    known, new, truth = (pd.read_csv(file) for file in files)
    assert known["recording"].nunique() == 12 and set(known["label"]) == set(demo.CLASSES)
    assert new.equals(truth.drop(columns="label")) and not set(new["recording"]) & set(known["recording"])
    again, other = demo.write_tables(tmp_path / "b", seed=1), demo.write_tables(tmp_path / "c", seed=2)
    assert files[0].read_bytes() == again[0].read_bytes() != other[0].read_bytes()
    with pytest.raises(FileExistsError, match=r"labelled\.csv: exists already"):
        demo.write_tables(tmp_path / "a")


@pytest.mark.slow
def test_the_crf_gives_solid_bands():
    _, (plain, _, crf) = demo.compare_methods(dataclasses.replace(demo.QUICK, steps=200), progress=False)
    assert abs(crf.scores["band_ratio"] - 1) < 0.5 * abs(plain.scores["band_ratio"] - 1)
    assert crf.scores["edit"] > plain.scores["edit"]
    assert crf.scores["accuracy"] >= plain.scores["accuracy"]
