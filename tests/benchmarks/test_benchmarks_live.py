"""The benchmark of live decoding: its exact limit against enumeration, and every part at a tiny size."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks import record
from benchmarks.bands import tasks
from benchmarks.live import __main__ as command
from benchmarks.live import delay, limit, report, speed
from segcrf import LinearChainCRF
from segcrf.data import Labelled, switching_sinusoid
from segcrf.nn import DecodingRule

TINY = limit.SwitchingPhase(frequencies=(10.0, 20.0), sampling_rate=80.0, mean_dwell=0.05, noise=0.7, offsets=3)


def enumerated(signal: npt.NDArray[np.float64], delay: int | None) -> npt.NDArray[np.float64]:
    """Return the posterior (T, 2) of the modes of ``TINY``, by a sum over all paths of modes and all initial phases."""
    frames, phases = len(signal), 2 * np.pi * (np.arange(24) + 0.5) / 24  # a grid of 8 points has 3 offsets
    found = np.zeros((frames, 2))
    for t in range(frames):
        seen = frames if delay is None else min(t + delay + 1, frames)
        for path in itertools.product(range(2), repeat=seen):
            switches = np.count_nonzero(np.diff(path))
            prior = 0.25**switches * 0.75 ** (seen - 1 - switches)  # a mode lasts 4 frames on average
            moved = np.concatenate([[0.0], np.cumsum([(1 / 8, 1 / 4)[mode] for mode in path[1:]])])
            clean = np.sin(phases[:, None] + 2 * np.pi * moved)
            found[t, path[t]] += prior * np.exp(-((signal[:seen] - clean) ** 2).sum(1) / (2 * 0.7**2)).sum()
    return found / found.sum(1, keepdims=True)


def test_the_limit_is_the_enumerated_posterior_at_every_delay() -> None:
    rng = np.random.default_rng(0)
    for frames in (1, 2, 7):
        signal = rng.normal(size=frames)
        found = limit.posteriors(signal, TINY, (0, 1, 3, 50))
        for row, wait in zip(found, (0, 1, 3, 50, None), strict=True):
            np.testing.assert_allclose(row, enumerated(signal, wait), rtol=1e-10)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of results, and a small founding problem without recorded data sets."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.delenv("SEGCRF_DATA", raising=False)
    x, _, k = switching_sinusoid(6, 150, noise=0.5, mean_dwell=0.3)
    parts = (Labelled(list(x[part]), list(k[part]), None) for part in (slice(0, 3), slice(3, 5), slice(5, 6)))
    toy = tasks.Task("synthetic_low", ["a", "b", "c"], 100.0, 10, *parts, people=["0"])
    monkeypatch.setattr(tasks, "load", lambda name: toy)
    monkeypatch.setattr(delay, "TASKS", ("synthetic_low",))
    monkeypatch.setattr(delay, "SECONDS", (0.0, 0.1))
    monkeypatch.setattr(delay, "FACTORS", (1.0, 4.0))
    return tmp_path


def test_every_part_runs_is_kept_and_is_shown(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = speed.Size(runs=1, calls=3, seconds=0.01, streams=(1, 2), classes=(3,), checked=60)
    monkeypatch.setattr(command, "QUICK", tiny)
    command.main(["speed", "--quick"])
    command.main(["delay", "--seeds", "1", "--steps", "16"])
    result = record.read("live")
    assert len(result["speed"]["cells"]) == 2 * 2 * 2 * 2 + 2 * 2 * 2
    assert all(0 < row["p50_us"] <= row["p99_us"] for row in result["speed"]["cells"])
    shown = [(row["encoder"], row["delay"]) for row in result["delay"]["cells"]]
    live = [(encoder, wait) for encoder in ("limit", "causal") for wait in (0, 10, None)]
    assert shown == [*live, ("bidirectional", None)]
    (pick,) = result["delay"]["picked"]
    assert pick["seconds"] in {0.0, 0.1} and len(pick["f1@50"]) == 2
    assert "offline" in capsys.readouterr().out
    report.write_includes(result, results / "includes")
    assert {path.name for path in (results / "includes").iterdir()} == {
        "delay.svg", "delay.inc", "picked.inc", "speed.inc",
    }  # fmt: skip


def test_a_time_counts_calls_and_takes_medians_over_runs() -> None:
    calls: list[int] = []
    row = speed.timed(calls.append, [1, 2], speed.Size(runs=2, calls=5, seconds=1.0))
    assert row["calls"] == 5 and len(calls) == 200 + 2 * 5


def test_a_stream_that_is_wrong_is_not_timed() -> None:
    layer = LinearChainCRF(3)
    scores = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(0))
    speed._check_layer(layer, DecodingRule(), scores)
    with pytest.raises(AssertionError, match="nothing is timed"):
        speed._check_equal(np.array([0, 1]), np.array([0, 0]))


def test_the_shortest_delay_close_to_the_best_is_picked() -> None:
    rows = [
        {"task": "a", "seed": 0, "encoder": "causal", "delay": wait, "seconds": wait, "valid_error": error}
        | dict.fromkeys(("accuracy", "edit", "f1@50"), score)
        for wait, error, score in ((0, 0.5, 1.0), (1, 0.109, 2.0), (2, 0.1, 3.0), (None, 0.05, 4.0))
    ]
    assert delay.picked(rows) == [
        {"task": "a", "seed": 0, "seconds": 1, "accuracy": [2.0, 4.0], "edit": [2.0, 4.0], "f1@50": [2.0, 4.0]}
    ]
