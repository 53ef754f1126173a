"""``segcrf stream`` and ``segcrf export`` as processes: lines while frames come in, signals, pipes, states."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from segcrf import Segmenter
from segcrf.cli import main
from segcrf.cli.frames import CsvFrames, RawFrames
from segcrf.data import Columns, columns_to_config
from segcrf.testing.errors import rejects
from segcrf.training import loop

Place = tuple[Path, Any, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with a causal model, a recording, and the bands that `predict_segments` finds in it."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.integers(2, size=10), 20) for _ in range(4)]
    X = [np.stack([3.0 * k + rng.normal(size=len(k)), rng.normal(size=len(k))], 1).round(3) for k in labels]
    options: dict[str, Any] = {"hidden": 8, "max_epochs": 3, "window": 64, "learning_rate": 0.05, "progress": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MIN_BATCHES", 4)
        model = Segmenter(bidirectional=False, max_delay=5, sampling_rate=10.0, missing="hold", **options)
        model.fit(X, [np.array(["rest", "walk"])[k] for k in labels])
    folder = tmp_path_factory.mktemp("stream")
    columns = Columns("rec", "t", "state", ("level", "other"))
    model.save(folder / "model", table=columns_to_config(columns, 10.0))
    signal_ = X[0].astype(np.float32).astype(np.float64)
    return folder, signal_, model.predict_segments([signal_], ["0"]).to_dict("records")


def start(folder: Path, *options: object, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "segcrf.cli", "stream", "--model", folder / "model", *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([str(part) for part in command], env=environment, **pipes)


def csv_of(signal_: Any) -> str:
    rows = [f"{t / 10},{b!r},{a!r}\n" for t, (a, b) in enumerate(signal_.tolist())]
    return "t,other,level\n" + "".join(rows)


def bands_of(out: bytes) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, out.decode().splitlines()) if "current" not in line]


def same(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    pd.testing.assert_frame_equal(pd.DataFrame(got), pd.DataFrame(expected), check_dtype=False)


def test_lines_of_csv_become_the_bands_of_predict(place: Place) -> None:
    folder, signal_, expected = place
    process = start(folder, "--current")
    out, err = process.communicate(csv_of(signal_).encode())
    assert process.returncode == 0, err.decode()
    same(bands_of(out), expected)
    current = [line for line in map(json.loads, out.decode().splitlines()) if "current" in line]
    assert current and set(current[0]) == {"recording", "current", "start", "probability"}
    assert sum(current[0]["probability"].values()) == pytest.approx(1.0)


def test_a_column_that_names_recordings_ends_one_and_begins_the_next(place: Place) -> None:
    folder, signal_, expected = place
    rows = [f"{name},{a!r},{b!r}\n" for name in ("Ann", "Bob") for a, b in signal_.tolist()]
    out, err = start(folder).communicate(("rec,level,other\n" + "".join(rows)).encode())
    same(bands_of(out), [band | {"recording": name} for name in ("Ann", "Bob") for band in expected])
    assert err == b""


def test_a_band_is_written_as_soon_as_it_is_finished(place: Place) -> None:
    folder, signal_, expected = place
    process = start(folder, "--format", "float32")
    assert process.stdin is not None and process.stdout is not None
    end = round(expected[0]["end"] * 10)
    process.stdin.write(signal_[: end + 6].astype(np.float32).tobytes())
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["end"] == expected[0]["end"]  # though the input has not ended
    out, _ = process.communicate(signal_[end + 6 :].astype(np.float32).tobytes())
    same(bands_of(json.dumps(expected[0]).encode() + b"\n" + out), expected)


@pytest.mark.parametrize("ended", [signal.SIGTERM, signal.SIGINT])
def test_a_terminated_stream_is_continued(place: Place, tmp_path: Path, ended: signal.Signals) -> None:
    folder, signal_, expected = place
    text = csv_of(signal_).encode()
    cut = len(text) * 2 // 3  # within a line
    state = tmp_path / "state"
    first = start(folder, "--state", state, "--current")
    assert first.stdin is not None and first.stdout is not None
    first.stdin.write(text[:cut])
    first.stdin.flush()
    out = first.stdout.readline()
    while b"current" not in out.splitlines()[-1]:
        out += first.stdout.readline()
    first.send_signal(ended)
    rest, err = first.communicate()
    assert first.returncode == 128 + ended and b"keeps the state" in err and b"Traceback" not in err
    assert state.exists()
    second = start(folder, "--state", state)
    more, err = second.communicate(text[cut:])
    assert second.returncode == 0, err.decode()
    same(bands_of(out + rest + more), expected)
    assert not state.exists()  # the recording has ended


def test_a_reader_that_leaves_ends_it_quietly(place: Place) -> None:
    folder, signal_, _ = place
    process = start(folder, "--current")
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(csv_of(signal_[:50]).encode())
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(csv_of(signal_[50:]).encode().partition(b"\n")[2])
    process.stdin.close()
    assert process.wait(60) == 0 and process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level,other\n1,2\n3,x\n", "standard input, line 3: got 'x' in other, expected a number"),
        ("level,speed\n1,2\n", "line 1: got a header without other"),
        ("1,2\n1,2,3\n", "line 2: got 3 fields, expected 2"),
        ("1,2,3\n", "line 1: got 3 numbers, expected the 2 channels level, other"),
    ],
)
def test_a_bad_line_is_named(place: Place, text: str, message: str) -> None:
    process = start(place[0])
    _, err = process.communicate(text.encode())
    assert process.returncode == 2 and message in err.decode() and err.count(b"\n") == 1


def test_states_of_other_models_and_files_are_rejected(place: Place, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("nothing")
    process = start(place[0], "--state", tmp_path / "state")
    _, err = process.communicate(b"")
    assert process.returncode == 2 and b"--state" in err and b"remove it to begin anew" in err


def test_frames_may_be_cut_anywhere() -> None:
    text = "\ufefflevel;nothing".encode()
    with rejects("standard input, line 1", got="a header without"):
        CsvFrames(["level", "other"]).take(text + b"\n")
    data = b"# comment\nother,level\r\n1,2\r\n\r\nnan,\n5,6"
    expected = np.array([[2.0, 1.0], [np.nan, np.nan], [6.0, 5.0]])
    for size in (1, 2, 3, 7, 100):
        frames = CsvFrames(["level", "other"])
        parts = [part for i in range(0, len(data), size) for part in frames.take(data[i : i + size])] + frames.finish()
        np.testing.assert_array_equal(np.concatenate([values for _, values in parts]), expected)
    raw = np.arange(10, dtype=np.float32).tobytes()
    for size in (1, 3, 8, 40):
        numbers = RawFrames(2)
        parts = [part for i in range(0, len(raw), size) for part in numbers.take(raw[i : i + size])]
        assert np.concatenate([values for _, values in parts]).ravel().tolist() == list(range(10))
    numbers.take(b"abc")
    with rejects("standard input", got="3 bytes after the last frame"):
        numbers.finish()


def test_export_writes_a_file_that_other_programs_run(place: Place, tmp_path: Path, capsys: Any) -> None:
    import onnxruntime

    folder, signal_, expected = place
    assert main(["export", "--model", str(folder / "model"), "--out", str(tmp_path / "model.onnx")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    signal_ = signal_.copy()
    found = session.run(None, {"x": signal_[None], "lengths": np.array([len(signal_)])})
    starts = np.flatnonzero(found[1][0])
    assert [names[label] for label in found[0][0][starts]] == [band["label"] for band in expected]
    assert (starts / 10).tolist() == [band["start"] for band in expected]
    assert main(["export", "--model", str(folder / "model"), "--out", str(tmp_path / "model.txt")]) == 2
    assert ".onnx" in capsys.readouterr().err
