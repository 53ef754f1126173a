"""``segcrf check``, and how all commands take files: many, messy, and from standard input."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segcrf.cli import BAD_INPUT, main
from segcrf.data import read_labels

SMALL = ["--hidden", "4", "--epochs", "2", "--window", "40", "--batch-size", "4", "--quiet"]


def table(seed: int, length: int = 80, rate: float = 20.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    k = np.repeat(rng.permutation(length // 10) % 2, 10)
    return pd.DataFrame(
        {
            "time": np.arange(length) / rate,
            "acc": k + 0.1 * rng.normal(size=length),
            "label": np.array(["off", "on"])[k],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of training files as a German spreadsheet writes them, and the model of them."""
    place = tmp_path_factory.mktemp("many")
    (place / "train").mkdir()
    for seed in range(4):
        table(seed).to_csv(place / "train" / f"day{seed}.csv", sep=";", decimal=",", index=False)
    assert main(["fit", str(place / "train"), "--model", str(place / "model"), *SMALL]) == 0
    return place


def test_check_prints_what_would_be_used(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", str(folder / "train")]) == 0
    out = capsys.readouterr().out
    for line in (
        "recordings: 4 (day0, day1, day2, day3)", "frames: 320, 80 to 80 per recording", "time column: time",
        "sampling rate: 20 frames per unit of the time column, steady", "channels: 1", "classes: 2",
        "unlabelled: 0 frames (0.0%)",
    ):  # fmt: skip
        assert line in out
    bands = [line for line in out.splitlines() if line.startswith(("  off:", "  on:"))]
    assert len(bands) == 2 and all("160 frames (50.0%)" in line for line in bands)


def test_check_reports_what_is_suspicious(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    odd = table(0).assign(flat=1.0, broken=[-999.0] * 8 + list(range(72)))
    odd.loc[3, "label"] = "rare"
    odd.to_csv(tmp_path / "odd.csv", index=False)
    odd[:5].to_csv(tmp_path / "short.csv", index=False)
    assert main(["check", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert "channel 'flat' is constant (1)" in err and "channel 'broken' often is -999" in err
    assert "recordings of fewer than 10 frames: short" in err and "can hardly be learned: on, rare" in err


def test_check_ends_with_two_where_a_file_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.csv").write_text("time,acc\n0,1\n0,2\n")
    assert main(["check", str(tmp_path), str(tmp_path / "none.csv"), str(tmp_path / "nor.csv")]) == BAD_INPUT
    assert "2 problems" in capsys.readouterr().err  # files that do not exist come before the content of others
    assert main(["check", str(tmp_path), "--sampling-rate", "-1"]) == BAD_INPUT
    assert "sampling_rate" in capsys.readouterr().err


def test_predict_takes_many_files_of_other_formats_and_rates(folder: Path, capsys: pytest.CaptureFixture[str]):
    table(7).to_excel(folder / "new.xlsx", index=False)
    table(8, length=160, rate=40.0).to_parquet(folder / "fast.parquet")
    new, out = [str(folder / "new.xlsx")], str(folder / "bands.csv")
    assert main(["predict", *new, "--model", str(folder / "model"), "--out", out]) == 0
    assert set(read_labels(out)["recording"]) == {"new"}
    capsys.readouterr()
    assert main(["predict", str(folder / "fast.parquet"), "--model", str(folder / "model"), "--out", out]) == 0
    assert "40 frames per unit of time, and 20 in fit: resampled" in capsys.readouterr().err
    assert read_labels(out)["end"].max() == pytest.approx(4.0)


def test_files_of_different_rates_are_rejected_with_the_command_that_resamples(folder: Path, capsys):
    table(9, length=160, rate=40.0).to_csv(folder / "fast.csv", index=False)
    command = ["fit", str(folder / "train"), str(folder / "fast.csv"), "--model", str(folder / "even"), *SMALL]
    assert main(command) == BAD_INPUT
    (tried,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("segcrf: try: segcrf ")]
    assert "--resample 20" in tried
    assert main(shlex.split(tried.removeprefix("segcrf: try: segcrf "))) == 0


def test_standard_input_is_read_as_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    class Input:
        buffer = io.BytesIO((folder / "train" / "day0.csv").read_bytes())

    monkeypatch.setattr("sys.stdin", Input)
    out, picture = str(folder / "piped.csv"), str(folder / "piped.png")
    assert main(["predict", "-", "--model", str(folder / "model"), "--out", out, "--plot", picture]) == 0
    assert set(read_labels(out)["recording"]) == {"standard input"}


def test_the_column_of_labels_is_suggested(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table(0).rename(columns={"label": "activity"}).to_csv(tmp_path / "walk.csv", index=False)
    assert main(["fit", str(tmp_path / "walk.csv"), "--model", str(tmp_path / "model"), *SMALL]) == BAD_INPUT
    assert "--label activity" in capsys.readouterr().err.splitlines()[-1]


def test_score_takes_folders(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["score", str(folder / "train"), "--model", str(folder / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 320
