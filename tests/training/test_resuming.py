"""Resumption: a fit that was killed continues as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmenters import NAMES, SMALL, examples, recordings

from segcrf import Segmenter
from segcrf.testing.errors import rejects
from segcrf.training import loop

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_it_is_silent_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Segmenter(**SMALL).fit(**examples())
    out, err = capfd.readouterr()
    assert out == "" and err == ""
    assert list(tmp_path.iterdir()) == []
    Segmenter(**SMALL | {"progress": True}).fit(**examples())
    bar = capfd.readouterr().err
    assert "3/3" in bar and "crf=" in bar and "regression=" in bar


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
import torch
from segmenters import SMALL, examples
from segcrf import Segmenter
from segcrf.training import loop, task
torch.set_num_threads(1)
loop.MIN_BATCHES = 4
step = task.Task.training_step
def slow(self, batch, index):
    if self.current_epoch == 2 and index == 1:
        print("now", flush=True)
        time.sleep(60)
    return step(self, batch, index)
task.Task.training_step = slow
Segmenter(**SMALL | {"max_epochs": 4}, directory=sys.argv[1]).fit(**examples())
"""


def test_a_killed_fit_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    X, labels, targets = recordings()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "fit"), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert said == b"now\n"
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == ["best", "last.ckpt"]
    assert len(Segmenter.load(tmp_path / "fit" / "best").history_) in (1, 2)  # usable as it is

    options = SMALL | {"max_epochs": 4}
    resumed = Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets=targets, resume=True)
    unbroken = Segmenter(**options).fit(X, labels, targets=targets)
    assert resumed.history_ == unbroken.history_ and len(resumed.history_) == 4
    assert resumed.predict_proba(X)[0].tobytes() == unbroken.predict_proba(X)[0].tobytes()

    stamp = (tmp_path / "fit" / "last.ckpt").stat().st_mtime_ns
    again = Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets=targets, resume=True)
    assert (tmp_path / "fit" / "last.ckpt").stat().st_mtime_ns == stamp  # it was finished
    assert again.predict_proba(X)[0].tobytes() == unbroken.predict_proba(X)[0].tobytes()
    with rejects("checkpoint", got="last.ckpt of a fit with hidden=8", expected="hidden=9"):
        Segmenter(**options | {"hidden": 9}, directory=tmp_path / "fit").fit(X, labels, targets=targets, resume=True)
    (tmp_path / "fit" / "last.ckpt").write_bytes(b"half of")
    with rejects("checkpoint", expected=r"a checkpoint of Segmenter\.fit"):
        Segmenter(**options, directory=tmp_path / "fit").fit(X, labels, targets=targets, resume=True)


def test_a_checkpoint_of_another_problem_is_rejected_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, labels, targets = recordings()
    options = SMALL | {"max_epochs": 1, "directory": tmp_path}
    Segmenter(**options).fit(X, labels, targets=targets)
    monkeypatch.setattr(loop, "train", None)
    wide = [np.column_stack([x, x]) for x in X]
    data = "data='5 recordings, [0-9]+ frames, checksum [0-9a-f]{16}'"
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str, str]] = [
        ((wide, labels, targets), {}, f"channels=2, {data}", f"channels=4, {data}"),
        ((X, labels), {}, f"targets=1, {data}", f"targets=0, {data}"),
        ((X, labels, [np.hstack([y, y]) for y in targets]), {}, f"targets=1, {data}", f"targets=2, {data}"),
        ((X, [NAMES[k] for k in labels], targets), {}, r"classes=\[0, 1, 2\]", r"classes=\['rest', 'swing', "),
        ((X, labels, targets), {"encoder": "gru"}, "encoder='lstm'", "encoder='gru'"),
        ((X, labels, targets), {"structure": "semi-markov", "hidden": 9}, "structure='linear-chain', hidden=8", ""),
        ((X[::-1], labels[::-1], targets[::-1]), {}, data, data),
        ((X, labels, targets), {"learning_rate": "auto"}, "learning_rate=0.05", "learning_rate='auto'"),
    ]
    for given, other, got, expected in cases:
        arguments = dict(zip(("X", "y", "targets"), given, strict=False))
        with rejects("checkpoint", got=f"last.ckpt of a fit with {got}", expected=expected):
            Segmenter(**options | other).fit(**arguments, resume=True)


def test_resume_without_a_checkpoint_begins(tmp_path: Path) -> None:
    model = Segmenter(**SMALL | {"max_epochs": 1}, directory=tmp_path / "new").fit(**examples(), resume=True)
    assert len(model.history_) == 1
    with rejects("resume", got="True with directory=None"):
        Segmenter(**SMALL).fit(**examples(), resume=True)
