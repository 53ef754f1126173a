"""Measurements in separate processes or settings: memory, first call, threads, kernel, training step and growth."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import chain, semimarkov
from benchmarks.speed.contest import Call, Contestant, gradient_of
from segcrf import CRF
from segcrf.kernels.linear_chain import numba_kernels

LENGTHS = (1_000, 2_000, 5_000, 10_000, 20_000, 100_000, 1_000_000)
#: (T, K) of the semi-Markov chain: T grows first, then K.
DURATIONS = ((1_000, 50), (10_000, 50), (100_000, 50), (1_000_000, 50), (10_000, 10), (10_000, 200), (10_000, 1_000))
PEER_LENGTH = 20_000  # pytorch-crf's backward grows with the square of T


def use_cores(count: int) -> list[int]:
    """Pin the process to ``count`` cores, and PyTorch to as many threads.

    Returns:
        The cores; empty if the system does not support pinning.
    """
    torch.set_num_threads(count)
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(_ALL_CORES)[:count]
    os.sched_setaffinity(0, cores)
    return cores


_ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


# ----------------------------------------------------------------------------------------------------- memory
def memory(task: str, name: str, size: tuple[int, ...]) -> float | None:
    """Return the MiB that one call adds at its peak, measured in a new process; None if the process fails."""
    command = [sys.executable, "-c", _MEMORY, task, name, *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return round(int(done.stdout) / 1024, 1) if done.returncode == 0 else None


_MEMORY = """
import sys
from benchmarks.speed import probes
print(probes.added_kibibytes(sys.argv[1], sys.argv[2], tuple(map(int, sys.argv[3:]))))
"""


def added_kibibytes(task: str, name: str, size: tuple[int, ...]) -> int:
    """Return the peak memory of one call minus the memory before it; a small call loads and compiles first."""
    use_cores(1)
    tasks: Any = chain.tasks if len(size) == 3 else semimarkov.tasks
    small = (size[0], 32, *size[2:])
    for shape in (small, size):
        contestant = next(c for c in tasks(*shape)[task].contestants if c.name == name)
        assert contestant.prepare is not None
        call = contestant.prepare()
        if shape is small or name in ("jax scan", "dynamax"):  # JAX compiles for each shape
            call()
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = _status("VmRSS")
    result = call()
    peak = _status("VmHWM")
    del result
    return peak - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))


# ------------------------------------------------------------------------------------------------- first call
_FIRST = {
    "chain nll+backward": "(-LinearChain(e, t).log_prob(y).sum()).backward()",
    "chain decode": "LinearChain(e.detach(), t).mode",
    "semi-Markov nll+backward": "(-SemiMarkov(e, t, d).log_prob(y).sum()).backward()",
    "semi-Markov decode": "SemiMarkov(e.detach(), t, d).mode",
}
_FIRST_PROGRAM = """
import time, torch
torch.set_num_threads(1)
from segcrf import LinearChain, SemiMarkov
e, t = torch.zeros({batch}, 50, 3, requires_grad=True), torch.zeros(3, 3)
y, d = torch.arange(50).div(10, rounding_mode="floor").remainder(3).expand({batch}, 50), torch.zeros(3, 20)
begin = time.perf_counter()
{call}
print(time.perf_counter() - begin)
"""


def first_calls(batch: int = 16) -> list[dict[str, Any]]:
    """Measure the first call in a new process, first with an empty cache of compiled code and then with a full one."""
    rows: list[dict[str, Any]] = []
    for name, call in _FIRST.items():
        with tempfile.TemporaryDirectory() as folder:
            program = _FIRST_PROGRAM.format(batch=batch, call=call)
            command = [sys.executable, "-c", program]
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            empty, full = (
                float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
                for _ in range(2)
            )
        rows.append({"task": name, "empty_cache_s": round(empty, 2), "full_cache_s": round(full, 3)})
        print(f"first call: {name:26} {empty:6.2f} s compiling, {full:6.3f} s from the cache")
    return rows


# ---------------------------------------------------------------------------------------------------- threads
def two_threads(rounds: int, sizes: tuple[tuple[int, int, int], ...]) -> list[dict[str, Any]]:
    """Measure our time with one thread and with two, in turn; both may use two cores."""
    rows: list[dict[str, Any]] = []
    if len(_ALL_CORES) < 2:
        return rows
    use_cores(2)
    for size in sizes:
        for task, (contestants, _) in chain.tasks(*size).items():
            ours = contestants[0]
            assert ours.prepare is not None
            ours.call = ours.prepare()
            times: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(rounds + 1):
                for threads, seconds in times.items():
                    torch.set_num_threads(threads)
                    ours.run()
                    seconds.append(ours.seconds[-1])
            one, two = (1e3 * statistics.median(seconds[1:]) for seconds in times.values())
            rows.append({"B": size[0], "T": size[1], "C": size[2], "task": task, "one_ms": one, "two_ms": two})
            print(f"{size!s:20} {task:13} one thread {one:9.2f} ms, two {two:9.2f} ms: {one / two:.2f} x")
    use_cores(1)
    return rows


# ------------------------------------------------------------------------------------------------ where time goes
def inside(rounds: int, sizes: tuple[tuple[int, int, int], ...] = chain.SIZES) -> list[dict[str, Any]]:
    """Measure our time and the time of the compiled kernel in it; the rest is Python, checks, autograd and lists."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        problem = chain.Problem(*size)
        scores = [score.detach() for score in (problem.emissions, *problem.shared)]
        lengths = torch.full((size[0],), size[1])
        kernels: dict[str, Call] = {
            "nll+backward": lambda s=scores, n=lengths, y=problem.tags: numba_kernels.log_prob(*s, y, n, True),
            "decode": lambda s=scores, n=lengths: numba_kernels.max_product(*s, n),
        }
        for task, (contestants, _) in chain.tasks(*size).items():
            prepare = contestants[0].prepare
            assert prepare is not None
            # Each call runs twice, because the caches hold the data of the other call at first.
            whole, kernel = _medians((prepare(), kernels[task]), rounds, warm=True)
            where = dict(zip("BTC", size, strict=True))
            rows.append({**where, "task": task, "ms": 1e3 * whole, "kernel": kernel / whole})
            print(f"{size!s:20} {task:13} {1e3 * whole:9.3f} ms, share of the kernel {kernel / whole:.0%}")
    return rows


# ------------------------------------------------------------------------------------------- a step of training
def training_share(rounds: int, batch: int = 16, frames: int = 1000, classes: int = 8) -> list[dict[str, Any]]:
    """Measure the share of our layer and of pytorch-crf in a training step with an LSTM of 64 hidden units."""
    torch.manual_seed(0)
    encoder = torch.nn.LSTM(8, 64, batch_first=True)
    head = torch.nn.Linear(64, classes)
    signal, tags = torch.randn(batch, frames, 8), torch.randint(0, classes, (batch, frames))
    rows: list[dict[str, Any]] = []
    for name, layer in _layers(classes).items():
        scores = head(encoder(signal)[0])
        leaf = scores.detach().requires_grad_()
        alone = gradient_of(lambda layer=layer, leaf=leaf: -layer(leaf, tags), [leaf, *layer.parameters()])
        everything = [*encoder.parameters(), *head.parameters(), *layer.parameters()]
        step = gradient_of(lambda layer=layer: -layer(head(encoder(signal)[0]), tags), everything)
        layer_s, step_s = _medians((alone, step), rounds)
        rows.append({"layer": name, "layer_ms": 1e3 * layer_s, "step_ms": 1e3 * step_s, "share": layer_s / step_s})
        print(f"training step: {name:12} {1e3 * layer_s:9.2f} of {1e3 * step_s:9.2f} ms: {layer_s / step_s:.1%}")
    return rows


def _layers(classes: int) -> dict[str, Any]:
    layers: dict[str, Any] = {"segcrf": CRF(classes, batch_first=True)}
    try:
        from torchcrf import CRF as Peer  # noqa: N811

        layers["pytorch-crf"] = Peer(classes, batch_first=True)
    except ImportError:
        pass
    return layers


def _medians(calls: tuple[Call, ...], rounds: int, *, warm: bool = False) -> list[float]:
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, times in zip(calls, seconds, strict=True):
            if warm:
                call()
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
    return [statistics.median(times[1:]) for times in seconds]


# ------------------------------------------------------------------------------------------------------ growth
def growth(rounds: int, lengths: tuple[int, ...] = LENGTHS) -> list[dict[str, Any]]:
    """Measure time by the length of one recording with C = 5, and our peak memory relative to input and gradient."""
    rows: list[dict[str, Any]] = []
    for frames in lengths:
        contestants = [c for c in chain.tasks(1, frames, 5)["nll+backward"].contestants if c.name in _GROWING]
        for contestant in contestants:
            _time(contestant, frames, rounds)
        added = memory("nll+backward", "segcrf", (1, frames, 5))
        # The added memory includes the gradient, but not the emissions: they exist before the call.
        least = frames * 5 * 4 / 2**20
        over = None if added is None else (added + least) / (2 * least)
        rows.append(
            {"T": frames, "contestants": [c.row() for c in contestants], "memory_over_input_and_gradient": over}
        )
        times = "   ".join(
            f"{c.name} {1e3 * statistics.median(c.seconds):10.2f} ms" if c.seconds else f"{c.name} {c.reason}"
            for c in contestants
        )
        print(f"T = {frames:>9,}   {times}   memory {over or float('nan'):.2f} x (input + gradient)")
    return rows


def semimarkov_growth(rounds: int, sizes: tuple[tuple[int, int], ...] = DURATIONS) -> list[dict[str, Any]]:
    """Measure our time and added memory for one recording with C = 5, by its length T and longest duration K."""
    rows: list[dict[str, Any]] = []
    for frames, longest in sizes:
        contestant = semimarkov.tasks(1, frames, longest, 5)["nll+backward"].contestants[0]
        _time(contestant, frames, rounds)
        added = memory("nll+backward", "segcrf", (1, frames, longest, 5))
        median = round(1e3 * statistics.median(contestant.seconds), 3)
        rows.append({"T": frames, "K": longest, "C": 5, "median_ms": median, "added_mib": added})
        print(f"T = {frames:>9,}   K = {longest:>5,}   {median:10.2f} ms   adds {added} MiB at its peak")
    return rows


_GROWING = ("segcrf", "pytorch-crf")


def _time(contestant: Contestant, frames: int, rounds: int) -> None:
    if contestant.name != "segcrf" and frames > PEER_LENGTH:
        contestant.reason = f"not run beyond T = {PEER_LENGTH:,}"
        return
    assert contestant.prepare is not None
    try:
        contestant.call = contestant.prepare()
    except ImportError:
        contestant.reason = "not installed"
        return
    for _ in range(rounds + 1 if contestant.name == "segcrf" else 2):
        contestant.run()
    contestant.seconds.pop(0)
