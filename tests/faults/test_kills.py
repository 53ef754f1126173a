"""kill -9 at any time: a fit goes on to the same bits, outputs are whole or absent, and nothing is left over."""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segcrf.data import read_table
from segcrf.inference import read_model

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
FRAMES = 400


def fit(directory: Path, folder: Path) -> None:
    """Fit a small model in few epochs and save it, as a process of its own."""
    from segcrf import Segmenter

    random_ = np.random.default_rng(0)
    labels = [np.arange(FRAMES) // 40 % 2 for _ in range(4)]
    X = [(each + 0.3 * random_.standard_normal(FRAMES))[:, None] for each in labels]
    model = Segmenter(
        hidden=4, max_epochs=4, window=100, learning_rate=0.05, directory=directory, progress=False, decoding="sequence"
    )
    model.fit(X, labels, resume=True).save(folder)


def predict(folder: Path, data: Path, out: Path) -> None:
    """Predict by the command line, as a process of its own."""
    from segcrf.cli import main

    arguments = [data, "--model", folder, "--out", out, "--frames", out.with_suffix(".parquet")]
    sys.exit(main(["predict", *map(str, arguments)]))


class Killing:
    """Runs functions in processes that are killed after a random part of the time that a whole run takes."""

    def __init__(self) -> None:
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["segcrf.segmenter", "segcrf.cli", "segcrf.training.loop", "lightning.pytorch"]
        )
        self.random = random.Random(0)

    def run(self, work: Callable[..., None], *arguments: Any) -> float:
        """Run ``work`` to its end; return its seconds."""
        begun = time.perf_counter()
        process = self.context.Process(target=work, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0
        return time.perf_counter() - begun

    def kill(self, work: Callable[..., None], seconds: float, *arguments: Any) -> bool:
        """Run ``work`` for a random part of ``seconds``; return whether it was killed before its end."""
        process = self.context.Process(target=work, args=arguments)
        process.start()
        process.join(self.random.uniform(0, seconds))
        if process.exitcode is None:
            process.kill()
        process.join()
        assert process.exitcode in (0, -9)
        return process.exitcode != 0


@pytest.fixture(scope="module")
def killing() -> Killing:
    return Killing()


KILLS = [4, pytest.param(50, marks=pytest.mark.slow)]


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_fit_goes_on_to_the_same_bits(tmp_path: Path, killing: Killing, kills: int) -> None:
    whole = tmp_path / "whole"
    seconds = killing.run(fit, tmp_path / "directory of the whole fit", whole)
    expected = read_model(whole)[0]["tensors"]
    killed = 0
    for number in range(10 * kills):
        directory, folder = tmp_path / "fits" / f"{number}.checkpoint", tmp_path / "fits" / f"{number}"
        while killing.kill(fit, seconds, directory, folder):
            killed += 1
            if folder.exists() and any(folder.iterdir()):
                names = [path.name for path in folder.iterdir()]
                assert "config.json" not in names or read_model(folder)[0]["tensors"] == expected
        assert read_model(folder)[0]["tensors"] == expected  # the name is the digest of the weights
        assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]
        assert sorted(path.name for path in directory.iterdir()) == ["best", "last.ckpt"]
        assert not [path for path in directory.parent.iterdir() if path.name.startswith(".")]
        if killed >= kills:
            return
    raise AssertionError(f"only {killed} of {kills} kills came before the end")


@pytest.mark.parametrize("kills", KILLS)
def test_a_killed_prediction_leaves_whole_tables(tmp_path: Path, killing: Killing, kills: int) -> None:
    fit(tmp_path / "directory", tmp_path / "model")
    table = pd.DataFrame(
        {"recording": np.repeat(["a", "b"], FRAMES), "x": np.random.default_rng(1).normal(size=2 * FRAMES)}
    )
    table.to_csv(tmp_path / "data.csv", index=False)
    out = tmp_path / "out" / "bands.csv"
    out.parent.mkdir()
    work = (tmp_path / "model", tmp_path / "data.csv", out)
    seconds = killing.run(predict, *work)
    whole = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    assert sorted(whole) == ["bands.csv", "bands.parquet"]
    killed = 0
    while killed < kills:
        for path in out.parent.iterdir():
            if not path.name.startswith("."):
                path.unlink()
        killed += killing.kill(predict, seconds, *work)
        for path in out.parent.iterdir():
            if path.name in whole:
                assert len(read_table(path, ["recording"])) and path.read_bytes() == whole[path.name]
    killing.run(predict, *work)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == whole
