"""The harness that measures speed: who is wrong, missing or too slow gets no time, and says why."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import chain, contest, semimarkov
from benchmarks.speed.contest import Contestant, compete


def test_only_who_is_right_is_timed() -> None:
    def missing() -> contest.Call:
        raise ImportError("no such package")

    contestants = [
        Contestant("right", lambda: lambda: torch.ones(2)),
        Contestant("wrong", lambda: lambda: torch.tensor([1.0, 1.1])),
        Contestant("missing", missing),
        Contestant("failing", lambda: lambda: torch.ones(2) @ torch.ones(3)),
        Contestant("another model", lambda: lambda: torch.zeros(1), unchecked="not compared"),
        Contestant("too large", reason="not run: 9 GB"),
    ]
    rows = {row["name"]: row for row in compete(contestants, lambda: torch.ones(2).double(), rounds=3)}
    assert [name for name, row in rows.items() if row["median_ms"] is not None] == ["right", "another model"]
    assert rows["right"]["rounds"] == 3 and rows["right"]["error"] == 0.0
    assert rows["right"]["least_ms"] <= rows["right"]["median_ms"] <= rows["right"]["most_ms"]
    assert rows["wrong"]["reason"] == "wrong: relative error 1.0e-01"
    assert rows["missing"]["reason"] == "not installed" and rows["failing"]["reason"].startswith("RuntimeError: ")
    assert rows["another model"]["reason"] == "not compared" and rows["too large"]["reason"] == "not run: 9 GB"


def test_who_has_been_timed_long_enough_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "ENOUGH", 0.01)
    slow = Contestant("slow", lambda: lambda: (time.sleep(0.02), torch.ones(1))[1])
    fast = Contestant("fast", lambda: lambda: torch.ones(1))
    rows = compete([slow, fast], lambda: torch.ones(1).double(), rounds=4)
    assert [row["rounds"] for row in rows] == [1, 4]


def test_who_would_be_too_slow_at_a_longer_recording_is_not_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def tasks(batch: int, frames: int, classes: int) -> dict[str, Any]:
        def call() -> torch.Tensor:
            ran.append(frames)
            time.sleep(frames * 1e-4)
            return torch.ones(1)

        return {"decode": ([Contestant("segcrf", lambda: call)], lambda: torch.ones(1).double())}

    monkeypatch.setattr(chain, "tasks", tasks)
    monkeypatch.setattr(contest, "SLOW", 0.05)
    peaks = {"fma_per_s": 1e9, "copy_bytes_per_s": 1e9}
    kept: list[int] = []
    sizes = ((1, 100, 2), (1, 10_000, 2), (2, 100, 2), (1, 10**9, 2))
    results = command.run("chain", sizes, 1, peaks, [], keep=lambda results: kept.append(len(results)))
    assert set(ran) == {100} and [len(case["contestants"]) for case in results] == [1, 1, 1, 0]
    assert results[1]["contestants"][0]["reason"].startswith("not run: T = 100 took 0.0 s")
    assert results[3]["reason"] == "not run: the emissions alone take 8.0 GB"
    assert kept == [1, 2, 3]
    ran.clear()
    again = command.run("chain", sizes, 1, peaks, results[:1])
    assert set(ran) == {100} and again[0] is results[0] and [case["T"] for case in again] == [c["T"] for c in results]
    assert "not run: T = 100" in again[1]["contestants"][0]["reason"]


@pytest.mark.parametrize("tasks", [chain.tasks(2, 7, 3), semimarkov.tasks(2, 7, 4, 3)], ids=["chain", "semi-Markov"])
def test_ours_is_compared_with_the_reference(tasks: dict[str, chain.Task]) -> None:
    for contestants, truth in tasks.values():
        ours = [c for c in contestants if c.name.startswith("segcrf")]
        assert all(row["median_ms"] and row["error"] < 1e-6 for row in compete(ours, truth, rounds=1))


def test_peers_that_would_not_fit_are_left_out() -> None:
    reasons = {c.name: c.reason for c in chain.tasks(128, 1000, 100)["nll+backward"].contestants}
    assert reasons["pytorch-crf"] == "not run: it would keep 10 GB" and not reasons["jax scan"]
