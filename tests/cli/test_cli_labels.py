"""Labels in files of their own: fit and score by them, predict and convert to them, and two of them compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from segcrf import Segmenter, Segments
from segcrf.cli import BAD_INPUT, main
from segcrf.cli.inputs import read_columns
from segcrf.data import read_labels, write_labels

if TYPE_CHECKING:
    from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]] if TYPE_CHECKING else None
SMALL = ["--hidden", "4", "--epochs", "2", "--window", "40", "--batch-size", "4", "--quiet"]
NAMES = ["r0", "r1", "r2", "r3"]
RATE = 20


def make_signals(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return recordings without labels, and their bands in seconds."""
    labels = [np.repeat(rng.permutation(6) % 2, 10) for _ in NAMES]
    parts = [
        pd.DataFrame({"recording": name, "time": np.arange(60) / RATE, "level": k + 0.1 * rng.normal(size=60)})
        for name, k in zip(NAMES, labels, strict=True)
    ]
    bands = Segments.from_labels(labels).to_table(classes=["off", "on"], recordings=NAMES, sampling_rate=RATE)
    return pd.concat(parts, ignore_index=True), bands


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with signals.csv, its bands as bands.csv and as a folder of TextGrids, and a model made of them."""
    folder = tmp_path_factory.mktemp("labels")
    signals, bands = make_signals(np.random.default_rng(0))
    signals.to_csv(folder / "signals.csv", index=False)
    signals.drop(columns="time").to_csv(folder / "timeless.csv", index=False)
    dated = signals.assign(time=pd.Timestamp("2024-05-31 10:00") + pd.to_timedelta(signals["time"], unit="s"))
    dated.to_csv(folder / "dated.csv", index=False)
    write_labels(bands, folder / "bands.csv")
    (folder / "grids").mkdir()
    for name in NAMES:
        own = bands[bands["recording"] == name]
        write_labels(own, folder / "grids" / f"{name}_labels.TextGrid")
    command = ["fit", folder / "signals.csv", "--labels", folder / "bands.csv", "--model", folder / "model", *SMALL]
    assert main([str(part) for part in command]) == 0
    return folder


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in the folder; return the exit code, stdout and stderr."""
    monkeypatch.chdir(place)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


# ------------------------------------------------------------------------------------------------------ fit and score
def weights(folder: Path) -> bytes:
    (file,) = folder.glob("model-*.safetensors")
    return file.read_bytes()


@pytest.mark.parametrize(
    ("signals", "labels"),
    [("signals.csv", ["grids"]), ("dated.csv", ["grids"]), ("timeless.csv", ["grids", "--sampling-rate", RATE])],
)
def test_a_fit_by_a_folder_of_files_is_that_by_one_table(
    run: Run, place: Path, signals: str, labels: list[str]
) -> None:
    code, _, err = run("fit", signals, "--labels", *labels, "--model", "again", "--overwrite", *SMALL)
    assert (code, err) == (0, "")
    assert weights(place / "again") == weights(place / "model")
    assert read_columns(place / "model")[0].label is None


def test_fit_takes_a_table_of_bands_in_python(place: Path) -> None:
    signals, bands = make_signals(np.random.default_rng(0))
    X = [signals[signals["recording"] == name][["level"]].to_numpy() for name in NAMES]
    y = [np.repeat(own["label"], ((own["end"] - own["start"]) * RATE).round().astype(int)).to_numpy(dtype=str)
         for _, own in bands.groupby("recording")]  # fmt: skip
    numbered = bands.assign(recording=[NAMES.index(name) for name in bands["recording"]])
    options = {"hidden": 4, "max_epochs": 1, "window": 40, "progress": False, "sampling_rate": RATE}
    by_bands, by_frames = (Segmenter(**options).fit(X, labels) for labels in (numbered, y))
    for one, other in zip(by_bands.predict_proba(X), by_frames.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_is_scored_by_files_of_labels(run: Run) -> None:
    _, by_table, _ = run("score", "signals.csv", "--model", "model", "--labels", "bands.csv", "--json")
    _, by_folder, _ = run("score", "signals.csv", "--model", "model", "--labels", "grids", "--json")
    assert by_table == by_folder
    assert json.loads(by_table)["unlabelled"] == 0


def test_bands_given_as_a_signal_are_rejected_with_the_command_that_was_meant(run: Run) -> None:
    code, out, err = run("fit", "bands.csv", "--model", "nonsense", *SMALL)
    assert (code, out) == (BAD_INPUT, "")
    assert "bands.csv: got bands" in err
    assert "segcrf fit RECORDINGS --labels bands.csv --model nonsense" in err
    assert not Path("nonsense").exists()
    for command, meant in (
        ("predict", "predict writes bands itself"),
        ("score", "--predicted BANDS --truth bands.csv"),
    ):
        out = ["--out", "x.csv"] if command == "predict" else []
        code, _, err = run(command, "bands.csv", "--model", "model", *out)
        assert code == BAD_INPUT
        assert meant in err


def test_labels_that_do_not_fit_are_rejected(run: Run, place: Path) -> None:
    bands = read_labels(place / "bands.csv")
    write_labels(bands.assign(recording="zz"), place / "strange.csv")
    write_labels(bands.assign(end=bands["end"] + 9), place / "late.csv")
    write_labels(bands.assign(end=bands["end"] + (bands["start"] == 0) * 1.0), place / "overlapping.csv")
    write_labels(bands.assign(label=""), place / "empty.csv")
    (place / "none").mkdir(exist_ok=True)
    for labels, expected in [
        (["strange.csv"], "got 'zz', expected a recording of signals.csv: r0, r1, r2, r3"),
        (["late.csv"], "expected frames 0 to 60"),
        (["overlapping.csv"], "choose overlaps: first, last or shortest"),
        (["empty.csv"], "got no labelled frame"),
        (["none"], "got no file of these recordings"),
        (["missing.csv"], "missing.csv: no such file"),
        (["bands.csv", "--label", "level"], "leave --label out"),
        (["bands.csv", "--labels-format", "word"], "got 'word', expected one of table, audacity"),
        (["bands.csv", "--annotator", "anna"], "names no annotators"),
    ]:
        code, out, err = run("fit", "signals.csv", "--labels", *labels, "--model", "bad", *SMALL)
        assert (code, out, err.count("\n")) == (BAD_INPUT, "", 1), labels
        assert expected in err
    code, _, err = run("fit", "timeless.csv", "--labels", "grids", "--model", "bad", *SMALL)
    assert code == BAD_INPUT
    assert "--sampling-rate: got None" in err
    for rule in ("first", "last", "shortest"):
        command = ["fit", "signals.csv", "--labels", "overlapping.csv", "--overlaps", rule, "--model", f"by_{rule}"]
        assert run(*command, *SMALL)[0] == 0


def test_what_has_no_labels_stays_unlabelled_with_a_warning(run: Run, place: Path) -> None:
    bands = read_labels(place / "bands.csv")
    write_labels(bands[bands["recording"] != "r2"], place / "some.csv")
    code, out, err = run("score", "signals.csv", "--model", "model", "--labels", "some.csv", "--json")
    assert code == 0
    assert json.loads(out)["unlabelled"] == 60
    assert "there are no labels of r2" in err


@pytest.mark.parametrize("labels", ["bands.csv", "grids"])
def test_one_file_or_folder_labels_training_and_validation(run: Run, place: Path, labels: str) -> None:
    signals = pd.read_csv(place / "signals.csv")
    signals[signals["recording"] == "r3"].to_csv(place / "held.csv", index=False)
    signals[signals["recording"] != "r3"].to_csv(place / "others.csv", index=False)
    command = ["fit", "others.csv", "--validation", "held.csv", "--labels", labels, "--model", "both", "--overwrite"]
    code, out, err = run(*command, *SMALL)
    assert (code, err) == (0, "")
    assert "180 frames in 3 recordings" in out
    code, _, err = run("fit", "others.csv", "--labels", labels, "--model", "both", "--overwrite", *SMALL)
    assert code == 0
    assert "r3" in err
    assert "left out" in err


# -------------------------------------------------------------------------------------------------- predict and convert
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".json", ".rttm", ".boris.csv", ".seq.csv"])
def test_predict_writes_bands_in_any_format(run: Run, place: Path, ending: str) -> None:
    run("predict", "signals.csv", "--model", "model", "--out", "as.csv")
    code, out, _ = run("predict", "signals.csv", "--model", "model", "--out", f"out{ending}")
    assert code == 0
    assert out.startswith(f"out{ending}: ")
    found = read_labels(place / f"out{ending}", sampling_rate=RATE if ending == ".json" else None)
    expected = read_labels(place / "as.csv")
    assert found[["recording", "label"]].to_numpy().tolist() == expected[["recording", "label"]].to_numpy().tolist()
    np.testing.assert_allclose(found[["start", "end"]], expected[["start", "end"]], atol=1e-9)


@pytest.mark.parametrize("ending", [".txt", ".TextGrid", ".eaf", ".atr", ".edf"])
@pytest.mark.parametrize("signals", ["signals.csv", "dated.csv", "timeless.csv"])
def test_predict_writes_a_file_per_recording(run: Run, place: Path, ending: str, signals: str) -> None:
    rate = ["--time", "", "--sampling-rate", RATE] if signals == "timeless.csv" else []
    code, out, _ = run("predict", signals, "--model", "model", "--out", f"out_{{recording}}{ending}", *rate)
    assert code == 0
    assert out.startswith("4 files: ")
    run("predict", "signals.csv", "--model", "model", "--out", "as.csv")
    expected = read_labels(place / "as.csv")
    for name in NAMES:
        found, own = read_labels(place / f"out_{name}{ending}"), expected[expected["recording"] == name]
        assert found["label"].tolist() == own["label"].tolist()
        np.testing.assert_allclose(found[["start", "end"]], own[["start", "end"]], atol=6e-4)


def test_predict_says_how_to_write_a_file_per_recording(run: Run) -> None:
    code, _, err = run("predict", "signals.csv", "--model", "model", "--out", "all.TextGrid")
    assert code == BAD_INPUT
    assert "write a file for each: {recording}.TextGrid" in err
    code, _, err = run("predict", "timeless.csv", "--model", "model", "--out", "all.rttm", "--time", "")
    assert code == BAD_INPUT
    assert "--sampling-rate: got None, expected frames per second" in err


def test_convert_there_and_back_is_no_change(run: Run, place: Path) -> None:
    assert (
        run("convert", "bands.csv", "c.json")[1] == f"c.json: {len(read_labels('bands.csv'))} bands in 4 recordings\n"
    )
    assert run("convert", "c.json", "c.boris.tsv")[0] == 0
    assert run("convert", "c.boris.tsv", "c_{recording}.TextGrid")[0] == 0
    assert run("convert", *(f"c_{name}.TextGrid" for name in NAMES), "c.csv")[0] == 0
    found, expected = (read_labels(place / name) for name in ("c.csv", "bands.csv"))
    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(found[["start", "end"]], expected[["start", "end"]])


def test_convert_asks_for_what_it_cannot_know(run: Run, place: Path) -> None:
    (place / "whole.csv").write_text("start,end,label\n0,10,a\n")
    for more, expected in [
        ([], "say which by --unit seconds or --unit frames"),
        (["--unit", "frames"], "--sampling-rate: got none"),
        (["--to", "word"], "got 'word', expected one of"),
        (["--from", "praat"], "whole.csv: "),
    ]:
        code, _, err = run("convert", "whole.csv", "whole.txt", *more)
        assert (code, err.count("\n")) == (BAD_INPUT, 1)
        assert expected in err
    assert run("convert", "whole.csv", "whole.txt", "--unit", "frames", "--sampling-rate", 4)[0] == 0
    assert (place / "whole.txt").read_text() == "0.0\t2.5\ta\n"
    assert "a file of its own" in run("convert", "whole.txt", "whole.txt")[2]
    assert "unknown format" in run("convert", "whole.txt", "whole.doc")[2]


def test_what_is_known_may_be_in_any_format(run: Run, place: Path) -> None:
    """A band of half a second that is given is in the answer."""
    (place / "known.rttm").write_text("SPEAKER r1 1 0.5 0.5 <NA> <NA> on <NA> <NA>\n")
    for signals, more in (("signals.csv", []), ("timeless.csv", ["--time", "", "--sampling-rate", RATE])):
        code, _, err = run("predict", signals, "--model", "model", "--given", "known.rttm", "--out", "g.rttm", *more)
        assert code == 0 and "error" not in err
        found = read_labels(place / "g.rttm")
        own = found[(found["recording"] == "r1") & (found["label"] == "on")]
        assert ((own["start"] <= 0.5 + 1e-9) & (own["end"] >= 1.0 - 1e-9)).any()


# --------------------------------------------------------------------------------------------- two files of bands
def test_two_files_of_bands_are_compared(run: Run, place: Path) -> None:
    run("convert", "bands.csv", "anna.rttm")
    _, out, _ = run("score", "--predicted", "anna.rttm", "--truth", "bands.csv", "--json")
    scores = json.loads(out)
    assert [scores[name] for name in ("accuracy", "f1@50", "kappa", "recordings")] == [100, 100, 1, 4]
    bands = read_labels(place / "bands.csv")
    later = bands.assign(start=bands["start"] + 0.1 * (bands["start"] > 0), end=bands["end"] + 0.1 * (bands["end"] < 3))
    write_labels(later, place / "bert.csv")
    code, out, _ = run("score", "--predicted", "bert.csv", "--truth", "bands.csv", "--margin", "0.2")
    assert code == 0
    assert "frame Cohen's kappa" in out
    assert "boundaries at most 0.2 s apart, predicted minus true:" in out
    assert "off to on: +0.1 s (sd " in out
    assert " 0 missed, 0 extra" in out


def test_the_agreement_of_two_annotators_is_that_of_their_frames(run: Run, place: Path) -> None:
    """Half a second of three differs: the accuracy and kappa by hand."""
    (place / "anna.txt").write_text("0\t1.5\ta\n1.5\t3\tb\n")
    (place / "bert.txt").write_text("0\t2\ta\n2\t3\tb\n")
    _, out, _ = run("score", "--predicted", "bert.txt", "--truth", "anna.txt", "--json")
    scores = json.loads(out)
    assert scores["accuracy"] == pytest.approx(100 * 2.5 / 3)
    by_chance = 0.5 * (2 / 3) + 0.5 * (1 / 3)
    assert scores["kappa"] == pytest.approx((2.5 / 3 - by_chance) / (1 - by_chance))


def test_frames_are_compared_with_seconds_by_a_sampling_rate(run: Run, place: Path) -> None:
    (place / "frames.csv").write_text("start_frame,end_frame,label\n0,30,a\n30,60,b\n")
    (place / "seconds.txt").write_text("0\t1.5\ta\n1.5\t3\tb\n")
    files = ["--predicted", "frames.csv", "--truth", "seconds.txt"]
    assert "--sampling-rate" in run("score", *files)[2]
    assert json.loads(run("score", *files, "--sampling-rate", 20, "--json")[1])["accuracy"] == 100


def test_dates_are_compared_with_dates(run: Run, place: Path) -> None:
    rows = "start,end,label\n2024-05-31T10:00:00,2024-05-31T10:00:01,a\n2024-05-31T10:00:01,2024-05-31T10:00:02,b\n"
    (place / "x.csv").write_text(rows)
    (place / "y.csv").write_text(rows.replace(":02,b", ":03,b"))
    scores = json.loads(run("score", "--predicted", "x.csv", "--truth", "y.csv", "--json")[1])
    assert (scores["accuracy"], scores["frames"]) == (pytest.approx(200 / 3), 300)
    assert "dates in x.csv alone" in run("score", "--predicted", "x.csv", "--truth", "bands.csv")[2]


def test_files_of_bands_that_cannot_be_compared(run: Run, place: Path) -> None:
    (place / "good.txt").write_text("0\t1\ta\n")
    (place / "one.txt").write_text("0\t2\ta\n1\t3\tb\n")
    (place / "two.txt").write_text("-1\t2\ta\n")
    (place / "far.txt").write_text("0\t1e12\ta\n")
    for other, expected in [("one.txt", "overlap"), ("two.txt", "a negative time"), ("far.txt", "check the unit")]:
        code, out, err = run("score", "--predicted", other, "--truth", "good.txt")
        assert (code, out, err.count("\n")) == (BAD_INPUT, "", 1)
        assert expected in err
    assert os.getcwd() == str(place)
