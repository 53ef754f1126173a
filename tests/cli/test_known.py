"""``segcrf predict`` under what is known: the options, their units, and mistakes in their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segcrf import Segmenter
from segcrf.cli import BAD_INPUT, main

RATE, FRAMES = 20, 60


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with test.csv, two recordings r0 and r1 at 20 frames per second, and a model of three classes."""
    folder = tmp_path_factory.mktemp("known")
    rng = np.random.default_rng(0)
    parts = []
    for number in range(4):
        k = np.repeat(rng.permutation(FRAMES // 10) % 3, 10)
        level = k + 0.4 * rng.normal(size=FRAMES)
        clock = 100.0 * number + np.arange(FRAMES) / RATE
        state = np.array(["off", "on", "up"])[k]
        parts.append(pd.DataFrame({"rec": f"r{number}", "clock": clock, "level": level, "state": state}))
    pd.concat(parts).to_csv(folder / "train.csv", index=False)
    pd.concat(parts[:2]).to_csv(folder / "test.csv", index=False)
    small = ["--hidden", "4", "--epochs", "3", "--window", "40", "--batch-size", "4", "--quiet"]
    columns = ["--recording", "rec", "--time", "clock", "--label", "state"]
    assert main(["fit", str(folder / "train.csv"), "--model", str(folder / "model"), *columns, *small]) == 0
    return folder


Predict = Callable[..., pd.DataFrame]


@pytest.fixture
def predict(place: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Predict test.csv with some options, and return the table of bands with its times in frames."""
    monkeypatch.chdir(place)

    def call(*options: object) -> pd.DataFrame:
        command = ["predict", "test.csv", "--model", "model", "--out", "bands.csv", *map(str, options)]
        assert main(command) == 0
        table = pd.read_csv("bands.csv", keep_default_na=False)
        begin = 100.0 * table["recording"].str[1:].astype(int)
        return table.assign(
            start=((table["start"] - begin) * RATE).round().astype(int),
            end=((table["end"] - begin) * RATE).round().astype(int),
        )

    return call


@pytest.fixture
def mistake(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Predict with options that must fail by exit code 2 and one line; return the line."""

    def call(*options: object) -> str:
        before = os.getcwd()
        os.chdir(place)
        try:
            code = main(["predict", "test.csv", "--model", "model", "--out", "failed.csv", *map(str, options)])
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            os.chdir(before)
        out, err = capsys.readouterr()
        assert (code, out) == (BAD_INPUT, "") and not (place / "failed.csv").exists()
        assert err.startswith("segcrf: error: ") and err.count("\n") == 1, err
        return err

    return call


def labels(bands: pd.DataFrame, recording: str) -> list[str]:
    """Label of each frame of a recording."""
    own = bands[bands["recording"] == recording]
    return [row.label for row in own.itertuples() for _ in range(row.end - row.start)]


def test_corrections_in_the_time_of_the_file_are_kept(predict: Predict) -> None:
    rows = [("r1", 100.5, 101.25, "up"), ("r1", 101.25, 102.0, "off"), ("r0", 0.0, 1.0, "")]
    pd.DataFrame(rows, columns=["recording", "start", "end", "label"]).to_csv("known.csv", index=False)
    found = labels(predict("--given", "known.csv"), "r1")
    assert found[10:25] == ["up"] * 15 and found[25:40] == ["off"] * 15
    assert labels(predict("--given", "known.csv"), "r0") == labels(predict(), "r0")


def test_its_own_table_changes_nothing(predict: Predict) -> None:
    predict()
    Path("bands.csv").rename("own.csv")
    own = Path("own.csv").read_text().splitlines()
    assert [line.rpartition(",")[0] for line in own] == [
        line.rpartition(",")[0] for line in _lines(predict("--given", "own.csv"))
    ]


def _lines(_: pd.DataFrame) -> list[str]:
    return Path("bands.csv").read_text().splitlines()


def test_forbidden_classes_do_not_occur(predict: Predict) -> None:
    assert set(predict("--forbid", "up, off")["label"]) == {"on"}
    pd.DataFrame(
        [("r0", 0.5, 2.0, "off"), ("r0", 0.5, 2.0, "on")], columns=["recording", "start", "end", "label"]
    ).to_csv("never.csv", index=False)
    assert labels(predict("--forbid", "never.csv"), "r0")[10:40] == ["up"] * 30


def test_a_transcript_gives_the_order_of_the_bands(predict: Predict) -> None:
    order = ["up", "off", "on", "off"]
    pd.DataFrame({"recording": "r1", "label": order}).to_csv("order.csv", index=False)
    bands = predict("--transcript", "order.csv")
    assert bands[bands["recording"] == "r1"]["label"].tolist() == order
    assert labels(bands, "r0") == labels(predict(), "r0")


@pytest.mark.parametrize(("option", "least"), [("0.8", 16), ("on=1.2,up=0.55", 11)])
def test_durations_are_in_the_time_of_the_file(predict: Predict, option: str, least: int) -> None:
    bands = predict("--min-duration", option)
    inner = bands[(bands["start"] > 0) & (bands["end"] < FRAMES)]
    inner = inner[inner["label"] != "off"] if "=" in option else inner
    assert ((inner["end"] - inner["start"]) >= least).all()
    assert not bands.equals(predict())


def test_durations_without_a_time_column_are_frames(predict: Predict, place: Path) -> None:
    assert (
        main(["predict", "test.csv", "--model", "model", "--time", "", "--out", "a.csv", "--min-duration", "16"]) == 0
    )
    counted = pd.read_csv("a.csv")
    timed = predict("--min-duration", "0.8")
    assert counted[["start", "end", "label"]].equals(timed[["start", "end", "label"]])


def test_boundaries_have_intervals_in_the_unit_of_the_time_column(predict: Predict) -> None:
    free, bands = predict(), predict("--interval", "0.3")
    assert bands[list(free.columns)].equals(free)
    begin = 100.0 * bands["recording"].str[1:].astype(int)
    for name in ("start", "end"):
        low, high = (((bands[f"{name}_{side}"] - begin) * RATE).round(6) for side in ("low", "high"))
        assert ((low >= 0) & (low <= bands[name]) & (bands[name] <= high) & (high <= FRAMES)).all()
        assert (low == low.round()).all() and (high == high.round()).all()


def test_uncertain_bands_stay_without_a_label(predict: Predict) -> None:
    free = predict()
    least = float(free["confidence"].median())
    bands = predict("--min-confidence", least, "--frames", "frames.csv", "--plot", "bands.png")
    assert bands[["start", "end", "confidence"]].equals(free[["start", "end", "confidence"]])
    assert ((bands["label"] == "") == (free["confidence"] < least)).all() and (bands["label"] == "").any()
    frames = pd.read_csv("frames.csv", keep_default_na=False)
    assert frames["label"].tolist() == [label for name in ("r0", "r1") for label in labels(bands, name)]


def test_frames_hold_the_posterior_under_what_is_known(predict: Predict) -> None:
    predict("--forbid", "up", "--frames", "frames.csv")
    frames = pd.read_csv("frames.csv")
    assert (frames["p(up)"] == 0).all() and "up" not in set(frames["label"])
    assert np.allclose(frames["p(off)"] + frames["p(on)"], 1.0, atol=1e-5)


def test_classes_that_are_indices_are_written_as_numbers(predict: Predict, place: Path) -> None:
    table = pd.read_csv("train.csv")
    parts = [part for _, part in table.groupby("rec")]
    numbers = [part["state"].map({"off": 0, "on": 1, "up": 2}).to_numpy() for part in parts]
    model = Segmenter(hidden=4, max_epochs=1, progress=False)
    model.fit([part[["level"]].to_numpy() for part in parts], numbers).save(place / "numbers")
    table.loc[: FRAMES - 1, ["level"]].to_csv("plain.csv", index=False)
    pd.DataFrame([("plain", 5, 9, 2)], columns=["recording", "start", "end", "label"]).to_csv("two.csv", index=False)
    options = ["--given", "two.csv", "--forbid", "1", "--min-duration", "2=3", "--min-confidence", "0.9"]
    assert main(["predict", "plain.csv", "--model", "numbers", "--out", "n.csv", *options, "--frames", "f.csv"]) == 0
    assert set(pd.read_csv("n.csv")["label"]) <= {0, 2, -100}
    frames = pd.read_csv("f.csv")["label"]
    assert set(frames) <= {0, 2, -100} and (pd.read_csv("f.csv")["p(2)"][5:9] > 0.999).all()


BAND = "recording,start,end,label\n"


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        (
            "--given",
            BAND + "r9,0,1,on\n",
            "table.csv: row 2, column 'recording': got 'r9', expected a recording of test",
        ),
        (
            "--given",
            BAND + "r0,0,1,fly\n",
            "table.csv: recording 'r0', row 2, column 'label': got 'fly', expected a cla",
        ),
        (
            "--given",
            BAND + "r0,0,99,on\n",
            "table.csv: recording 'r0', row 2, start and end: got a band of frames 0 to",
        ),
        (
            "--given",
            BAND + "r0,0,1,on\nr0,0.5,2,up\n",
            "row 2, column 'end': got a band that overlaps the band of row 3",
        ),
        ("--given", BAND + "r0,soon,1,on\n", "table.csv: row 2, column 'start': got 'soon', expected a number"),
        ("--given", "recording,start,label\nr0,0,on\n", "table.csv: column 'end': got no such column"),
        ("--forbid", BAND + "r0,0,1,fly\n", "table.csv: recording 'r0', row 2, column 'label': got 'fly'"),
        ("--transcript", "recording,label\nr0,on\nr9,up\n", "table.csv: row 3, column 'recording': got 'r9'"),
        ("--transcript", "recording,label\nr0,fly\n", "table.csv: recording 'r0', row 2, column 'label': got 'fly'"),
        ("--transcript", "recording,label\nr0,\n", "table.csv: recording 'r0', row 2, column 'label': got ''"),
        (
            "--transcript",
            "recording,label\nr0,on\nr0,on\n",
            "test.csv: recording 'r0', --transcript: got 'on' as bands",
        ),
        ("--transcript", "recording,label\n" + "r0,on\nr0,up\n" * 31, "--transcript: got 62 bands, expected 1 to 60"),
    ],
)
def test_mistakes_in_files_name_the_row(
    mistake: Callable[..., str], place: Path, option: str, text: str, expected: str
) -> None:
    (place / "table.csv").write_text(text)
    assert expected in mistake(option, "table.csv")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--given", "none.csv"], "none.csv: no such file"),
        (["--forbid", "none.csv"], "none.csv: no such file"),
        (["--forbid", "fly"], "--forbid: got 'fly', expected one of ['off', 'on', 'up']"),
        (["--forbid", "off,on,up"], "test.csv: recording 'r0', row 2, --forbid: got 'off', 'on', 'up' forbidden"),
        (["--min-duration", "long"], "argument --min-duration: got 'long', expected a number such as 0.5"),
        (["--min-duration", "on=long"], "argument --min-duration: got 'on=long', expected a number such as 0.5"),
        (["--min-duration", "fly=2"], "--min-duration: got 'fly', expected one of ['off', 'on', 'up']"),
        (["--min-duration", "-2"], "--min-duration: got -2.0, expected a finite number of 0 or more"),
        (["--interval", "2"], "--interval: got 2.0, expected a probability above 0 and below 1"),
        (["--interval", "0.9"], "expected at least 9 such recordings"),
        (["--min-confidence", "2"], "--min-confidence: got 2.0, expected a probability from 0 to 1"),
    ],
)
def test_mistakes_in_options(mistake: Callable[..., str], options: list[str], expected: str) -> None:
    assert expected in mistake(*options)


def test_a_contradiction_names_recording_row_and_what_to_relax(mistake: Callable[..., str], place: Path) -> None:
    (place / "table.csv").write_text(BAND + "r1,101,102,on\n")
    error = mistake("--given", "table.csv", "--forbid", "on")
    assert "test.csv: recording 'r1', row 82, --given: got class 'on', which `forbid` excludes" in error
    assert "relax `given` or `forbid`" in error
