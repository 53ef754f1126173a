"""The commands, as a user types them: what they write, and that every mistake is one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import segcrf
from segcrf import Segmenter
from segcrf._validation import InputError
from segcrf.cli import BAD_INPUT, FAULT, INTERRUPTED, TERMINATED, main
from segcrf.cli.inputs import read_columns
from segcrf.data import Columns, hold, read_labels, read_recordings, segments_to_frames

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = ["--hidden", "4", "--epochs", "2", "--window", "40", "--batch-size", "4", "--quiet"]


def long_table(seed: int, count: int = 4, length: int = 60) -> pd.DataFrame:
    """Recordings whose class is plain to see in channel "level"; "other" is noise and "twice" a target."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        k = np.repeat(rng.permutation(length // 10) % 2, 10)
        table = pd.DataFrame(
            {
                "rec": f"r{number}",
                "clock": 100.0 * number + np.arange(length) / 20,
                "level": k + 0.1 * rng.normal(size=length),
                "other": rng.normal(size=length),
                "twice": 2.0 * k,
                "state": np.array(["off", "on"])[k],
            }
        )
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


COLUMNS = ["--recording", "rec", "--time", "clock", "--label", "state"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, test.csv and the model that `fit` made of the former."""
    folder = tmp_path_factory.mktemp("cli")
    long_table(0).to_csv(folder / "train.csv", index=False)
    long_table(1, 2).to_csv(folder / "test.csv", index=False)
    command = ["fit", folder / "train.csv", "--model", folder / "model", *COLUMNS, *SMALL, "--targets", "twice"]
    assert main([str(part) for part in command]) == 0
    return folder


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in the folder; return the exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        before = os.getcwd()
        os.chdir(place)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        finally:
            os.chdir(before)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refuse(run):
    """Run a command that must fail by exit code 2 and one line; return the line."""

    def call(*arguments: object) -> str:
        code, out, err = run(*arguments)
        assert (code, out) == (BAD_INPUT, "")
        line, *commands = err.splitlines()
        assert line.startswith("segcrf: error: ")
        assert all(command.startswith("segcrf: try: segcrf ") for command in commands)
        return f"{line}\n"

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------------- fit
def test_fit_writes_a_model_that_remembers_its_columns(place: Path):
    columns, sampling_rate = read_columns(place / "model")
    assert columns == Columns("rec", "clock", "state", ("level", "other"), ("twice",))
    assert sampling_rate == 20.0
    assert sorted(path.suffix for path in (place / "model").iterdir()) == [".json", ".safetensors"]
    assert str(place) not in (place / "model" / "config.json").read_text()
    model = Segmenter.load(place / "model")
    assert model.classes_.tolist() == ["off", "on"]
    assert (model.hidden, model.max_epochs, model.sampling_rate) == (4, 2, 20.0)


def test_fit_leaves_nothing_else(place: Path):
    assert {path.name for path in place.iterdir()} >= {"train.csv", "test.csv", "model"}
    assert not [path for path in place.iterdir() if "checkpoint" in path.name or path.name.startswith(".")]
    assert not [path for path in place.iterdir() if path.name.startswith("lightning")]


def test_fit_keeps_an_existing_model_without_overwrite(run, refuse, place: Path):
    before = contents(place / "model")
    assert "--overwrite" in refuse("fit", "train.csv", "--model", "model", *COLUMNS, *SMALL)
    assert contents(place / "model") == before
    run("fit", "train.csv", "--model", "again", *COLUMNS, *SMALL, "--seed", "1")
    first = contents(place / "again")
    code, out, _ = run("fit", "train.csv", "--model", "again", *COLUMNS, *SMALL, "--overwrite", "--seed", "2")
    assert code == 0
    assert out.startswith("again: 2 classes (off, on)")
    assert contents(place / "again").keys() != first.keys()  # the name of the tensors is their digest


def test_fit_takes_validation_and_chosen_channels(run, place: Path):
    code, _, _ = run(
        "fit", "train.csv", "--model", "validated", *COLUMNS, *SMALL, "--channels", "level", "--validation", "test.csv"
    )
    assert code == 0
    assert read_columns(place / "validated")[0].channels == ("level",)
    assert "val_loss" in Segmenter.load(place / "validated").history_[0]


def test_fit_offers_the_objective_and_tries_learning_rates(run, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("segcrf.training.selection.TRIAL_STEPS", 2)
    switching = ["--causal", "--targets", "twice", "--switching", "mean", "--posterior", "filter"]
    options = [*switching, "--regression", "smooth_l1", "--combine", "sum", "--learning-rate", "auto"]
    code, out, _ = run("fit", "train.csv", "--model", "switching", *COLUMNS, *SMALL, *options)
    assert code == 0 and "validation loss of the labels" in out
    model = Segmenter.load(place / "switching")
    assert (model.switching, model.posterior, model.combine, model.learning_rate) == ("mean", "filter", "sum", "auto")
    assert any("tried short trainings" in note for note in model.notes_)


def test_fit_resumes_from_the_checkpoint_that_a_killed_fit_left(
    run, refuse, place: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed between the end of training and the writing of the model: no model, but a checkpoint."""
    command = ["fit", "train.csv", "--model", "cut", *COLUMNS, *SMALL]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Segmenter, "save", interrupt)
        code, _, err = run(*command)
    assert code == INTERRUPTED
    kept, interrupted = err.splitlines()
    assert "cut.checkpoint keeps the epochs so far; the same command with --resume" in kept
    assert interrupted == "segcrf: interrupted"
    assert not (place / "cut").exists()
    assert (place / "cut.checkpoint").is_dir()
    assert "holds a fit that was cut off, expected a new folder; go on with it by --resume" in refuse(*command)
    assert run(*command, "--resume")[0] == 0
    assert (place / "cut").is_dir()
    assert not (place / "cut.checkpoint").exists()


def test_fit_removes_of_the_checkpoint_only_what_it_wrote(run, place: Path):
    other = place / "shared.checkpoint" / "thesis.txt"
    other.parent.mkdir()
    other.write_text("years of work")
    assert run("fit", "train.csv", "--model", "shared", *COLUMNS, *SMALL)[0] == 0
    assert [path.name for path in other.parent.iterdir()] == ["thesis.txt"]
    assert other.read_text() == "years of work"


def test_fit_finds_that_it_cannot_save_before_it_trains(refuse, place: Path, monkeypatch: pytest.MonkeyPatch):
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained first")

    monkeypatch.setattr(Segmenter, "fit", train)
    (place / "file").write_text("")
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("years of work")
    (place / "blocked.checkpoint").write_text("")
    (place / "worse.checkpoint" / "best").mkdir(parents=True)
    (place / "worse.checkpoint" / "best" / "thesis.txt").write_text("years of work")
    for name, expected in [
        ("file", "file is a file"),
        ("full", r"other things in it (thesis.txt)"),
        ("file/model", "file is a file, expected a folder to make it in"),
        ("blocked", "--model: got blocked, and blocked.checkpoint is a file"),
        ("worse", "other things in it (thesis.txt)"),
        (".", "--model: got '.', expected a new folder for the model"),
    ]:
        assert expected in refuse("fit", "train.csv", "--model", name, *COLUMNS, *SMALL, "--overwrite")


def test_fit_prints_a_summary_and_the_notes_of_the_model(run, place: Path, monkeypatch: pytest.MonkeyPatch):
    def note(self: Segmenter, *_: object, **__: object) -> Segmenter:
        self.notes_ = ["learning_rate='auto' was tried", "the loss is odd"]
        return self

    untouched = Segmenter.fit
    monkeypatch.setattr(Segmenter, "fit", lambda self, *a, **k: note(untouched(self, *a, **k)))
    _, out, _ = run("fit", "train.csv", "--model", "noted", *COLUMNS, *SMALL)
    summary, *notes = out.splitlines()
    expected = "noted: 2 classes (off, on) from level, other, twice; 240 frames in 4 recordings; best epoch "
    assert summary.startswith(expected) and "of 2, validation loss of the labels" in summary
    assert notes == ["note: learning_rate='auto' was tried", "note: the loss is odd"]


def test_fit_offers_what_the_segmenter_has_for_rare_classes(run, place: Path):
    options = ["--frame-loss", "0.5", "--balance", "2", "--validation-fraction", "0.5"]
    assert run("fit", "train.csv", "--model", "rare", *COLUMNS, *SMALL, *options)[0] == 0
    model = Segmenter.load(place / "rare")
    assert (model.frame_loss, model.balance, model.validation_fraction) == (0.5, 2.0, 0.5)


def test_fit_without_validation_does_not_claim_any(run):
    _, out, _ = run("fit", "train.csv", "--model", "all", *COLUMNS, *SMALL, "--validation-fraction", "0")
    assert ", loss of the labels" in out and "validation" not in out


def test_doubts_are_reported_and_the_work_goes_on(run, place: Path):
    table = long_table(0)
    table.loc[30:59, "clock"] += 5000
    table.to_csv(place / "gap.csv", index=False)
    for command in (["fit", "gap.csv", "--model", "gap", *SMALL], ["score", "gap.csv", "--model", "model"]):
        code, _, err = run(*command, *COLUMNS)
        assert code == 0
        assert err.startswith("segcrf: warning: gap.csv: time jumps once, in recording 'r0', from 1.45 to 5001.5,")
        assert err.count("\n") == 1
    long_table(0).assign(state="on").to_csv(place / "lone.csv", index=False)
    code, _, err = run("fit", "lone.csv", "--model", "lone", *COLUMNS, *SMALL)
    assert (code, err.count("'on' is the only class")) == (0, 1)


# --------------------------------------------------------------------------------------------------------- predict
def test_predict_writes_bands_in_the_time_of_the_file(run, place: Path):
    code, out, _ = run("predict", "test.csv", "--model", "model", "--out", "bands.csv")
    bands = read_labels(place / "bands.csv")
    assert code == 0
    assert out == f"bands.csv: {len(bands)} bands in 2 recordings\n"
    assert list(pd.read_csv(place / "bands.csv").columns) == ["recording", "start", "end", "label", "confidence"]
    assert list(dict.fromkeys(bands["recording"])) == ["r0", "r1"]
    second = bands[bands["recording"] == "r1"]
    assert second["start"].iloc[0] == 100.0
    assert second["end"].iloc[-1] == pytest.approx(103.0)
    assert (bands["start"].iloc[1:].to_numpy() == bands["end"].iloc[:-1].to_numpy())[
        (bands["recording"].iloc[1:].to_numpy() == bands["recording"].iloc[:-1].to_numpy())
    ].all()


def test_predict_writes_parquet_frames_and_figure(run, place: Path):
    outputs = ["--out", "bands.parquet", "--frames", "frames.parquet", "--plot", "bands.png"]
    assert run("predict", "test.csv", "--model", "model", *outputs)[0] == 0
    frames = pd.read_parquet(place / "frames.parquet")
    assert list(frames.columns) == ["recording", "clock", "label", "p(off)", "p(on)", "predicted(twice)"]
    truth = pd.read_csv(place / "test.csv")
    assert len(frames) == len(truth)
    assert frames["clock"].tolist() == truth["clock"].tolist()
    assert np.allclose(frames["p(off)"] + frames["p(on)"], 1.0, atol=1e-5)
    assert (place / "bands.png").read_bytes().startswith(b"\x89PNG")
    bands = read_labels(place / "bands.parquet")
    recordings = read_recordings(place / "test.csv", Columns("rec", "clock", "state", ("level", "other"), ("twice",)))
    framed = segments_to_frames(bands, recordings)
    labels = frames["label"].to_numpy().reshape(2, -1)
    for row in framed.itertuples():
        stretch = labels[recordings.names.index(row.recording), row.start : row.end]
        assert set(stretch) == {row.label}


def test_predict_needs_no_labels_and_ignores_other_columns(run, place: Path):
    table = long_table(1, 2).drop(columns=["state", "twice"]).assign(note="text")
    table.to_csv(place / "bare.csv", index=False)
    assert run("predict", "bare.csv", "--model", "model", "--out", "bare_bands.csv")[0] == 0
    run("predict", "test.csv", "--model", "model", "--out", "bands.csv")
    assert (place / "bare_bands.csv").read_text() == (place / "bands.csv").read_text()


def test_predict_finds_that_it_cannot_write_before_it_decodes(refuse, place: Path, monkeypatch: pytest.MonkeyPatch):
    def load(*_: object) -> None:
        raise AssertionError("loaded the model first")

    monkeypatch.setattr(Segmenter, "load", load)
    (place / "folder.csv").mkdir()
    before = (place / "test.csv").read_bytes()
    for outputs, expected in [
        (["--out", "bands.doc"], "bands.doc: got an unknown format of labels"),
        (["--out", "nowhere/bands.csv"], "there is no folder nowhere"),
        (["--out", "folder.csv"], "folder.csv: is a folder, expected a file to write"),
        (["--out", "a.csv", "--plot", "a.doc"], "a.doc: got the ending .doc, expected a format of figures: one of ."),
        (["--out", "a.csv", "--plot", "a"], "a: got no ending, expected a format of figures"),
        (["--out", "test.csv"], "--out: got test.csv, which is also DATA"),
        (["--out", "a.csv", "--frames", "./a.csv"], "--frames: got a.csv, which is also --out"),
        (["--out", "a.csv", "--plot", "nowhere/a.png"], "there is no folder nowhere"),
    ]:
        assert expected in refuse("predict", "test.csv", "--model", "model", *outputs)
    assert (place / "test.csv").read_bytes() == before
    assert not (place / "a.csv").exists()


def test_predict_counts_frames_without_a_time_column(run, place: Path):
    assert run("predict", "test.csv", "--model", "model", "--time", "", "--out", "counted.csv")[0] == 0
    bands = pd.read_csv(place / "counted.csv")
    assert bands["start"].dtype.kind == "i"
    assert (bands["start"].iloc[0], bands["end"].iloc[-1]) == (0, 60)


def test_predict_reads_a_model_saved_from_python(run, place: Path):
    table = long_table(0)
    signals = [part[["level", "other"]].to_numpy() for _, part in table.groupby("rec")]
    labels = [part["state"].to_numpy(dtype=str) for _, part in table.groupby("rec")]
    Segmenter(hidden=4, max_epochs=1, progress=False).fit(signals, labels).save(place / "python")
    table[["level", "other"]].to_csv(place / "plain.csv", index=False)
    assert run("predict", "plain.csv", "--model", "python", "--out", "plain_bands.csv")[0] == 0
    assert pd.read_csv(place / "plain_bands.csv")["recording"].unique().tolist() == ["plain"]


def test_classes_that_the_model_does_not_know_are_drawn_empty_with_a_warning(run, place: Path):
    table = long_table(1, 2)
    table.loc[:9, "state"] = "else"
    table.to_csv(place / "strange.csv", index=False)
    code, _, err = run("predict", "strange.csv", "--model", "model", "--out", "strange_bands.csv", "--plot", "s.png")
    assert code == 0
    assert "recording 'r0' has classes that the model does not know (else); they are drawn as unlabelled" in err


def test_a_model_fitted_on_indices_of_named_classes_predicts_names(run, place: Path):
    table = long_table(0)
    parts = [part for _, part in table.groupby("rec")]
    numbers = [(part["state"] == "on").to_numpy(dtype=np.int64) for part in parts]
    model = Segmenter(hidden=4, max_epochs=1, progress=False, classes=["off", "on"])
    model.fit([part[["level", "other"]].to_numpy() for part in parts], numbers).save(place / "numbers")
    table[["level", "other", "state"]].to_csv(place / "named.csv", index=False)
    outputs = ["--out", "numbers.csv", "--frames", "numbers_frames.csv"]
    assert run("predict", "named.csv", "--model", "numbers", "--label", "state", *outputs)[0] == 0
    assert set(pd.read_csv(place / "numbers_frames.csv")["label"]) <= {"off", "on"}
    _, out, _ = run("score", "named.csv", "--model", "numbers", "--label", "state", "--json")
    assert json.loads(out)["accuracy"] > 0


# ----------------------------------------------------------------------------------------------------------- score
def test_scores_from_the_model_and_from_its_table_agree(run):
    run("predict", "test.csv", "--model", "model", "--out", "bands.csv")
    _, by_model, _ = run("score", "test.csv", "--model", "model", "--json")
    _, by_table, _ = run("score", "--predicted", "bands.csv", "--truth", "test.csv", *COLUMNS, "--json")
    ours, theirs = json.loads(by_model), json.loads(by_table)
    assert ours["targets"]["twice"]["known"] == 120
    assert {**ours, "targets": None} == {**theirs, "targets": None}


def test_the_truth_scores_perfectly(run, place: Path):
    truth = long_table(1, 2)
    rows = [
        {
            "recording": name,
            "start": part["clock"].iloc[i],
            "end": part["clock"].iloc[i] + 0.5,
            "label": part["state"].iloc[i],
        }
        for name, part in truth.groupby("rec")
        for i in range(0, len(part), 10)
    ]
    pd.DataFrame(rows).to_csv(place / "true_bands.csv", index=False)
    _, out, _ = run("score", "--predicted", "true_bands.csv", "--truth", "test.csv", *COLUMNS, "--json")
    scores = json.loads(out)
    assert [scores[name] for name in ("accuracy", "edit", "f1@50", "kappa", "band_ratio")] == [100, 100, 100, 1, 1]


def test_one_frame_off_is_seen(run, place: Path):
    bands = pd.read_csv(place / "true_bands.csv")
    bands.loc[0, "end"] -= 0.05
    bands.to_csv(place / "shifted.csv", index=False)
    _, out, _ = run("score", "--predicted", "shifted.csv", "--truth", "test.csv", *COLUMNS, "--json")
    assert json.loads(out)["accuracy"] == pytest.approx(100 * 119 / 120)


def test_score_names_its_conventions(run):
    _, out, _ = run("score", "test.csv", "--model", "model")
    assert "frame accuracy" in out
    assert "pooled over recordings" in out
    assert "bands left out: none" in out
    assert "target twice: RMSE" in out
    _, out, _ = run("score", "test.csv", "--model", "model", "--per-recording", "--ignore", "off")
    assert "mean over recordings, greedy matching, bands left out: off" in out


def test_unlabelled_frames_are_left_out(run, place: Path):
    table = long_table(1, 2)
    table.loc[:29, "state"] = ""
    table.to_csv(place / "partial.csv", index=False)
    _, out, _ = run("score", "partial.csv", "--model", "model", "--json")
    assert (json.loads(out)["frames"], json.loads(out)["unlabelled"]) == (120, 30)


# ------------------------------------------------------------------------------------------------------- mistakes
def test_missing_column(refuse):
    message = refuse("fit", "train.csv", "--model", "new", "--label", "stat")
    assert "train.csv: column 'stat': got no such column, expected one of rec, clock, level" in message
    assert "did you mean 'state'?" in message


def test_no_label_column(refuse):
    assert "column 'label': got no such column" in refuse("fit", "train.csv", "--model", "new")


@pytest.mark.parametrize(
    ("column", "row", "value", "expected"),
    [
        ("level", 3, "high", "row 5, column 'level': got 'high', expected a number"),
        ("clock", 3, "0.05", "recording 'r0', row 5, column 'clock': got 0.05 after 0.1: time goes backwards"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "predict"])
def test_bad_cells(refuse, place: Path, command: str, column: str, row: int, value: str, expected: str):
    table = long_table(1, 2).astype({column: object})
    table.loc[row, column] = value
    table.to_csv(place / "bad.csv", index=False)
    options = ["--out", "bad_bands.csv"] if command == "predict" else [*COLUMNS, *SMALL]
    assert expected in refuse(command, "bad.csv", "--model", "model" if command == "predict" else "new", *options)
    assert not (place / "bad_bands.csv").exists()
    assert not (place / "new").exists()


def test_missing_values_are_held_or_rejected(run, refuse, place: Path):
    table = long_table(1, 2).astype({"level": object})
    table.loc[3, "level"] = ""
    table.to_csv(place / "gap.csv", index=False)
    message = refuse("fit", "gap.csv", "--model", "new", *COLUMNS, *SMALL, "--missing", "error")
    assert "recording 'r0', row 5" in message and "got nan in channel 0, expected a finite number" in message
    assert run("predict", "gap.csv", "--model", "model", "--out", "held.csv")[0] == 0


def test_files_that_cannot_be_read(refuse, place: Path):
    (place / "empty.csv").touch()
    (place / "table.xls").touch()
    assert "empty.csv: got an empty file, expected a header" in refuse("fit", "empty.csv", "--model", "new")
    assert "no such file" in refuse("fit", "nothing.csv", "--model", "new")
    assert "table.xls: got an unknown table format" in refuse("fit", "table.xls", "--model", "new")


def test_another_set_of_channels(refuse, place: Path):
    long_table(1, 2).drop(columns="other").to_csv(place / "fewer.csv", index=False)
    message = refuse("predict", "fewer.csv", "--model", "model", "--out", "fewer_bands.csv")
    assert "fewer.csv: channels: got the columns rec, clock, level, twice, state, without other" in message
    assert "expected 2 channels (level, other)" in message


def test_another_sampling_rate_is_resampled_with_a_note(run, place: Path):
    table = long_table(1, 2)
    table["clock"] *= 2
    table.to_csv(place / "slow.csv", index=False)
    code, _, err = run("predict", "slow.csv", "--model", "model", "--out", "slow_bands.csv")
    assert code == 0 and "slow.csv: 10 frames per unit of time, and 20 in fit: resampled" in err
    bands = read_labels(place / "slow_bands.csv")
    ends = bands.groupby("recording")["end"].max()
    assert ends.to_dict() == pytest.approx({"r0": 5.95, "r1": 205.95})


def test_a_sampling_rate_that_is_rather_another_unit(refuse, place: Path):
    table = long_table(1, 2)
    table["clock"] *= 1000
    table.to_csv(place / "milli.csv", index=False)
    assert "recording 'r0', column 'clock': got 0.02 frames per unit of time, expected 20" in refuse(
        "predict", "milli.csv", "--model", "model", "--out", "milli_bands.csv"
    )


def test_models_that_are_none(refuse, place: Path):
    assert "nowhere" in refuse("predict", "test.csv", "--model", "nowhere", "--out", "x.csv")
    (place / "foreign").mkdir(exist_ok=True)
    (place / "foreign" / "config.json").write_text("{}")
    assert "foreign" in refuse("predict", "test.csv", "--model", "foreign", "--out", "x.csv")
    truncated = place / "truncated"
    truncated.mkdir(exist_ok=True)
    for name, content in contents(place / "model").items():
        (truncated / name).write_bytes(content if name == "config.json" else content[: len(content) // 2])
    assert "cut short or damaged" in refuse("predict", "test.csv", "--model", "truncated", "--out", "x.csv")
    assert not (place / "x.csv").exists()


def test_labels_in_validation_that_training_lacks(refuse, place: Path):
    long_table(1, 2).assign(state="else").to_csv(place / "other.csv", index=False)
    message = refuse("fit", "train.csv", "--model", "new", *COLUMNS, *SMALL, "--validation", "other.csv")
    assert "else" in message


def test_nothing_labelled(refuse, place: Path):
    long_table(1, 2).assign(state="").to_csv(place / "bare.csv", index=False)
    assert "label" in refuse("fit", "bare.csv", "--model", "new", *COLUMNS, *SMALL)
    assert "bare.csv: column 'state': got no label, expected one labelled frame at least" in refuse(
        "score", "bare.csv", "--model", "model"
    )


def test_labels_of_a_score_that_the_model_does_not_know(refuse, place: Path):
    table = long_table(1, 2)
    table.loc[70, "state"] = "else"
    table.to_csv(place / "partly.csv", index=False)
    expected = "partly.csv: recording 'r1', row 72, column 'state': got the class 'else', expected one of off, on;"
    assert expected in refuse("score", "partly.csv", "--model", "model")
    assert expected in refuse("fit", "train.csv", "--model", "new", *COLUMNS, *SMALL, "--validation", "partly.csv")


def test_classes_to_ignore_that_are_none(refuse, run):
    expected = "--ignore: got 'onn', expected classes among off, on"
    assert expected in refuse("score", "test.csv", "--model", "model", "--ignore", "onn")
    run("predict", "test.csv", "--model", "model", "--out", "bands.csv")
    table = ["--predicted", "bands.csv", "--truth", "test.csv", *COLUMNS]
    assert expected in refuse("score", *table, "--ignore", "off,onn")


def test_a_class_to_ignore_may_be_absent_from_the_table(run, place: Path):
    long_table(1, 2).assign(state="on", level=1.0).to_csv(place / "on.csv", index=False)
    code, out, _ = run("score", "on.csv", "--model", "model", "--ignore", "off")
    assert code == 0 and "bands left out: off" in out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"end": [60, 103]}, "row 2, start and end: got a band of frames 0 to 61, expected frames 0 to 60, as in test"),
        (
            {"recording": ["r1"] * 2, "start": [100, 101], "end": [102, 103]},
            "recording 'r1', row 2, column 'end': got a band that overlaps the band of row 3",
        ),
        ({"recording": ["r0", "r7"]}, "row 3, column 'recording': got 'r7', expected a recording of test.csv: r0, r1"),
        ({"end": ["a", "b"]}, "row 2, column 'end': got 'a', expected a number, as column 'clock' of test.csv has"),
        ({"end": [-1, 103]}, "row 2, column 'end': got -1, with a start of 0 and no frame between them"),
        (
            {"label": ["x", "y"]},
            "column 'label': got the classes x, y, where test.csv has off, on, expected a class in",
        ),
    ],
)
def test_bands_that_do_not_fit_the_truth(refuse, place: Path, changes: dict[str, list[object]], expected: str):
    bands = pd.DataFrame({"recording": ["r0", "r1"], "start": [0, 100], "end": [3, 103], "label": ["on", "off"]})
    bands.assign(**changes).to_csv(place / "bad_bands.csv", index=False)
    message = refuse("score", "--predicted", "bad_bands.csv", "--truth", "test.csv", *COLUMNS)
    assert "bad_bands.csv" in message and expected in message


def test_a_recording_without_bands_is_reported(run, place: Path):
    bands = pd.DataFrame({"recording": ["r0"], "start": [0], "end": [3], "label": ["on"]})
    bands.to_csv(place / "half_bands.csv", index=False)
    code, _, err = run("score", "--predicted", "half_bands.csv", "--truth", "test.csv", *COLUMNS)
    assert code == 0
    assert err == ("segcrf: warning: half_bands.csv: there is no band of recording r1; its frames count as wrong\n")


def test_targets_without_a_number(refuse, place: Path):
    long_table(0).assign(twice="").to_csv(place / "bare_targets.csv", index=False)
    message = refuse("fit", "bare_targets.csv", "--model", "new", *COLUMNS, *SMALL, "--targets", "twice")
    assert "bare_targets.csv: column 'twice': got no number" in message


def test_a_device_that_is_not_there(refuse):
    message = refuse("fit", "train.csv", "--model", "new", *COLUMNS, *SMALL, "--device", "cuba")
    assert "--device: got cuba, which does not work here (Expected one of cpu, cuda" in message


def test_errors_of_the_segmenter_name_options(run, refuse, place: Path):
    long_table(0).iloc[[0]].to_csv(place / "frame.csv", index=False)
    _, _, err = run("fit", "frame.csv", "--model", "new", *COLUMNS, *SMALL)
    assert "frame.csv: recording 'r0', column 'state': got the only labelled frame, expected at least two" in err
    for options, expected in [
        (["--hidden", "0"], "error: --hidden: got 0, expected an integer"),
        (["--epochs", "0"], "error: --epochs: got 0, expected an integer"),
        (["--layers", "0"], "error: --layers: got 0, expected an integer"),
        (["--learning-rate", "-1"], "error: --learning-rate: got -1.0, expected a finite number"),
        (["--switching", "mean"], "--switching: got mean without targets, expected .*; add --targets"),
        (["--posterior", "smooth"], "--posterior: got smooth without --switching, expected .*; add --switching mean"),
        (
            ["--targets", "twice", "--switching", "mean", "--posterior", "filter"],
            "--posterior: got filter without --causal, expected .*; add --causal, or choose --posterior smooth",
        ),
        (["--channels", ""], "argument --channels: got '', expected at least one name"),
    ]:
        assert re.search(expected, refuse("fit", "train.csv", "--model", "new", *COLUMNS, *SMALL, *options))


@pytest.mark.parametrize(
    ("argument", "place_in_table"),
    [
        ("X", "train.csv: recording 'r1', row 64, channels level, other, twice"),
        ("y", "train.csv: recording 'r1', row 64, column 'state'"),
        ("validation: y", "test.csv: recording 'r1', row 64, column 'state'"),
        ("window (or None)", "train.csv: recording 'r1', row 64, --window"),
    ],
)
def test_errors_of_the_segmenter_name_columns_and_rows(
    refuse, monkeypatch: pytest.MonkeyPatch, argument: str, place_in_table: str
):
    def fit(*_: object, **__: object) -> None:
        raise InputError(argument, "this", "that", recording=1, frame=2)

    monkeypatch.setattr(Segmenter, "fit", fit)
    command = ["fit", "train.csv", "--model", "new", *COLUMNS, *SMALL, "--validation", "test.csv"]
    assert refuse(*command) == f"segcrf: error: {place_in_table}: got this, expected that\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["fit", "train.csv"],
        ["fit", "train.csv", "--model", "new", "--epochs", "many"],
        ["score"],
        ["score", "test.csv"],
        ["score", "--predicted", "bands.csv"],
        ["predict", "test.csv", "--model", "model", "--out", "bands.doc"],
        ["predict", "test.csv", "--model", "model", "--out", "nowhere/bands.csv"],
    ],
)
def test_mistakes_in_the_command(refuse, arguments: list[str]):
    refuse(*arguments)


def test_a_failing_write_leaves_the_old_table(run, place: Path, monkeypatch: pytest.MonkeyPatch):
    (place / "kept.csv").write_text("old")

    def fail(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_csv", fail)
        code, _, err = run("predict", "test.csv", "--model", "model", "--out", "kept.csv")
    assert (code, err) == (BAD_INPUT, "segcrf: error: disk full\n")
    assert (place / "kept.csv").read_text() == "old"
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            MemoryError("cannot take 80 GiB"),
            "memory is not enough (cannot take 80 GiB); give fewer or",
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "memory is not enough (DefaultCPUAllocator"),
        (ZeroDivisionError("division by zero"), "a fault of segcrf (ZeroDivisionError: division by zero); run"),
        (RecursionError(), "a fault of segcrf (RecursionError); run the command again with --debug"),
    ],
)
def test_a_fault_is_one_line_too(run, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Segmenter, "load", fail)
    code, out, err = run("predict", "test.csv", "--model", "model", "--out", "x.csv")
    assert (code, out) == (FAULT, "")
    assert err.startswith(f"segcrf: error: {said}") and err.count("\n") == 1
    with pytest.raises(type(error)):
        run("predict", "test.csv", "--model", "model", "--out", "x.csv", "--debug")


def test_termination_leaves_nothing_half_written(run, place: Path, monkeypatch: pytest.MonkeyPatch):
    def end(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_csv", end)
        code, _, err = run("predict", "test.csv", "--model", "model", "--out", "ended.csv")
    assert (code, err) == (TERMINATED, "segcrf: terminated\n")
    assert not [path for path in place.iterdir() if "ended.csv" in path.name]
    assert signal.getsignal(signal.SIGTERM) is before


def test_control_characters_never_reach_the_terminal(run, refuse, place: Path):
    table = long_table(2)
    table["state"] = table["state"].replace({"on": "\x1b[31mon\x07"})
    table.to_csv(place / "escape.csv", index=False)
    code, out, err = run("fit", "escape.csv", "--model", "escape", *COLUMNS, *SMALL)
    assert code == 0 and r"\x1b[31mon\x07" in out and "\x1b" not in out + err
    assert r"no\x1b[31m.csv" in refuse("fit", "no\x1b[31m.csv", "--model", "x")


def test_two_fits_into_one_folder(run, refuse, place: Path):
    with hold(place / "taken"):
        done: list[tuple[int, str]] = []

        def other() -> None:
            code, _, err = run("fit", "train.csv", "--model", "taken", *COLUMNS, *SMALL)
            done.append((code, err))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    ((code, err),) = done
    assert code == BAD_INPUT
    assert f"taken: process {os.getpid()} on" in err and "wait until it has ended, or choose another path" in err
    assert not (place / "taken").exists()


def test_debug_shows_the_traceback(run):
    with pytest.raises(FileNotFoundError):
        run("fit", "nothing.csv", "--model", "new", "--debug")


def test_as_a_process(place: Path):
    command = [sys.executable, "-m", "segcrf.cli", "predict", "test.csv", "--model", "nowhere", "--out", "x.csv"]
    environment = {**os.environ, "PYTHONPATH": str(Path(segcrf.__file__).parents[1])}
    finished = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == BAD_INPUT
    assert finished.stderr.startswith("segcrf: error: ")
    assert finished.stderr.count("\n") == 1
    assert "Traceback" not in finished.stderr


def test_the_commands_of_the_readme_go_from_a_table_to_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    block = readme.partition("<!-- commands: tables -->\n\n")[2].partition("\n\n")[0]
    monkeypatch.chdir(tmp_path)
    commands = [line.strip().removeprefix(".venv/bin/segcrf ").split() for line in block.splitlines()]
    assert [command[0] for command in commands] == ["demo", "fit", "predict", "score"]
    for command in commands:
        quick = ["--epochs", "1", "--hidden", "8", "--quiet"] if command[0] == "fit" else []
        assert main([*command, *quick]) == 0
    printed = capsys.readouterr().out
    assert "3 classes (10 Hz, 15 Hz, 5 Hz) from x; 12,000 frames in 12 recordings" in printed
    assert "2,000 frames of 2 recordings; 0 unlabelled" in printed
    assert (tmp_path / "example" / "bands.png").exists() and (tmp_path / "example" / "bands.csv").exists()


def test_the_tables_to_try_replace_nothing(tmp_path: Path, refuse):
    (tmp_path / "new.csv").write_text("years of work")
    assert "new.csv: exists already" in refuse("demo", "--tables", tmp_path)
    assert "new.csv: is a file, expected a folder" in refuse("demo", "--tables", tmp_path / "new.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


# ------------------------------------------------------------------------------------------------ own encoder
def test_an_own_encoder_is_imported_from_the_working_directory(place: Path, run: Callable[..., tuple[int, str, str]]):
    (place / "mynet.py").write_text(
        "from torch import nn\n\ndef make(channels):\n    return nn.Linear(channels, 8)\n\nsize = 3\n"
    )
    fit = ["fit", "train.csv", "--model", "own", *COLUMNS, *SMALL]
    code, _, err = run(*fit, "--encoder", "mynet:make")
    assert code == 0, err
    code, _, err = run("predict", "test.csv", "--model", "own", "--out", "own.csv", "--encoder", "mynet:make")
    assert code == 0, err
    code, out, _ = run("score", "test.csv", "--model", "own", "--encoder", "mynet:make", "--json")
    assert code == 0 and json.loads(out)
    code, _, err = run("predict", "test.csv", "--model", "own", "--out", "own.csv")
    assert code == BAD_INPUT and "mynet:make" in err and err.count("\n") == 1
    for wrong in ("mynet:size", "mynet:absent", "absent:make", "mynet:"):
        code, _, err = run(*fit, "--overwrite", "--encoder", wrong)
        assert code == BAD_INPUT and wrong in err, wrong


# ------------------------------------------------------------------------------------------------------- warm start
def test_fit_goes_on_from_a_model_with_new_classes(place: Path, run: Callable[..., tuple[int, str, str]]):
    table = long_table(5)
    table["state"] = table["state"].replace({"on": "idle"})
    table.to_csv(place / "later.csv", index=False)
    code, out, err = run("fit", "later.csv", "--model", "later", "--from", "model", "--epochs", "1", "--quiet")
    assert code == 0, err
    assert Segmenter.load(place / "later").classes_.tolist() == ["off", "on", "idle"]
    assert read_columns(place / "later") == read_columns(place / "model")
    assert "may be forgotten" in out
    code, _, err = run("fit", "later.csv", "--model", "x", "--from", "model", "--hidden", "9", "--quiet")
    assert code == BAD_INPUT and "--hidden" in err and "as in the fitted model" in err
    code, _, err = run("fit", "later.csv", "--model", "x", "--from", "absent", "--quiet")
    assert code == BAD_INPUT and "absent" in err
