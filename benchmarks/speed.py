"""Speed of the structured layers against their peers: ``python -m benchmarks.speed [--structure chain|semimarkov]``.

In one process, one thread each: the negative log-likelihood of a batch with its gradient, and the decoding of it. A
result is checked before its time is printed: ``error`` is the largest relative difference from a float64 reference.
Runs are interleaved, round by round, so that a busy machine slows everybody alike; the table shows medians with the
range, and ratios of medians. A peer that cannot do a size is listed with the reason.

The chain also shows how time and memory grow with the length of one recording.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks import record
from segcrf import CRF, LinearChain, SemiMarkov

CHAIN_SIZES = ((16, 1000, 3), (16, 1000, 8), (32, 512, 20), (64, 200, 50), (1, 10000, 5))
SEMIMARKOV_SIZES = ((2, 300, 30, 5), (4, 1000, 50, 5), (4, 1000, 100, 8), (1, 100_000, 200, 5))
LENGTHS = (1_000, 2_000, 5_000, 10_000, 20_000, 100_000, 1_000_000)
PEER_LENGTH = 20_000  # pytorch-crf's backward grows with the square of T
ROUNDS = 7
SLOW = 20.0  # seconds: a peer that took longer is not run again

Call = Callable[[], Any]


@dataclass
class Contestant:
    """One implementation of one task at one size: a call to time, or the reason for none.

    ``value`` turns what the call returned into numbers to check; it is not timed.
    """

    name: str
    call: Call | None = None
    reason: str = ""
    value: Callable[[Any], Tensor] = torch.as_tensor
    seconds: list[float] = field(default_factory=list)
    error: float | None = None

    def run(self) -> Tensor:
        assert self.call is not None
        begin = time.perf_counter()
        result = self.call()
        self.seconds.append(time.perf_counter() - begin)
        return self.value(result)

    @property
    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds else None

    def row(self) -> dict[str, Any]:
        times = {"median_ms": None, "least_ms": None, "most_ms": None}
        if self.seconds:
            picked = (statistics.median(self.seconds), min(self.seconds), max(self.seconds))
            times = {key: round(1e3 * value, 4) for key, value in zip(times, picked, strict=True)}
        return {"name": self.name, "error": self.error, **times, "rounds": len(self.seconds), "reason": self.reason}


def compete(contestants: list[Contestant], truth: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Check every contestant against ``truth``, then time them in turn."""
    running = [c for c in contestants if c.call is not None]
    for contestant in running:
        value = contestant.run()  # also compiles
        contestant.error = relative_error(value, truth)
        if contestant.seconds.pop() > SLOW:
            contestant.reason = f"timed once, it takes more than {SLOW:.0f} s"
            contestant.run()
    running = [c for c in running if not c.reason]
    for _ in range(rounds):
        for contestant in running:
            contestant.run()
            contestant.run()  # the first one finds the caches full of another's numbers
            contestant.seconds.pop(-2)
    return [c.row() for c in contestants]


def relative_error(value: Tensor, truth: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((value.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-300))


def gradient_of(loss: Callable[[], Tensor], parameters: list[Tensor]) -> Call:
    """A call that computes loss and gradient, and returns both in one vector."""

    def call() -> Tensor:
        value = loss()
        grads = torch.autograd.grad(value, parameters)
        return torch.cat([value.detach().reshape(1), *(grad.flatten() for grad in grads)])

    return call


# ------------------------------------------------------------------------------------------------ linear chain
def chain_tasks(size: tuple[int, int, int]) -> dict[str, tuple[list[Contestant], Tensor]]:
    """Both tasks of the linear chain at (B, T, C)."""
    batch, frames, classes = size
    torch.manual_seed(0)
    emissions = torch.randn(batch, frames, classes).requires_grad_()
    tags = torch.randint(0, classes, (batch, frames))
    ours = CRF(classes, batch_first=True)
    exact = LinearChain(*(p.detach().double() for p in chain_potentials(ours, emissions)), backend="torch")
    truth = gradient_of(*exact_nll(ours, emissions, tags))()
    nll = [Contestant("segcrf", gradient_of(lambda: -ours(emissions, tags), [emissions, *ours.parameters()]))]
    decode = [Contestant("segcrf", lambda: ours.decode(emissions), value=lambda paths: path_score(exact, paths))]
    try:
        from torchcrf import CRF as Peer  # noqa: N811

        peer = Peer(classes, batch_first=True)
        peer.load_state_dict(ours.state_dict())
        nll.append(
            Contestant("pytorch-crf", gradient_of(lambda: -peer(emissions, tags), [emissions, *peer.parameters()]))
        )
        decode.append(
            Contestant("pytorch-crf", lambda: peer.decode(emissions), value=lambda paths: path_score(exact, paths))
        )
    except ImportError:
        for contestants in (nll, decode):
            contestants.append(Contestant("pytorch-crf", reason="not installed"))
    return {"nll+backward": (nll, truth), "decode": (decode, exact.argmax().score)}


def chain_potentials(crf: CRF, emissions: Tensor) -> tuple[Tensor, ...]:
    """The potentials in the order of :class:`LinearChain`."""
    return emissions, crf.transitions, crf.start_transitions, crf.end_transitions


def exact_nll(crf: CRF, emissions: Tensor, tags: Tensor) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The negative log-likelihood in float64 by the reference scan, and its parameters in the drop-in's order."""
    leaves = [p.detach().double().requires_grad_() for p in chain_potentials(crf, emissions)]
    scores, transitions, start, end = leaves
    order = [scores, start, end, transitions]
    return lambda: -LinearChain(scores, transitions, start, end, backend="torch").log_prob(tags).sum(), order


def path_score(exact: LinearChain, paths: list[list[int]]) -> Tensor:
    """Score of decoded labels: several paths may be best, their score is one."""
    return (exact.log_prob(torch.tensor(paths)) + exact.log_partition).detach()


def growth(rounds: int) -> list[dict[str, Any]]:
    """Time of one recording of C = 5 by its length, and our peak memory over that of the input and its gradient."""
    rows: list[dict[str, Any]] = []
    for frames in LENGTHS:
        contestants, _ = _growth_contestants(frames)
        for contestant in contestants:
            if contestant.call is not None:
                for _ in range(rounds + 1 if contestant.name == "segcrf" else 2):
                    contestant.run()
                contestant.seconds.pop(0)
        memory = _peak_memory(frames)
        rows.append(
            {"T": frames, "contestants": [c.row() for c in contestants], "memory_over_input_and_gradient": memory}
        )
        times = "   ".join(
            f"{c.name} {1e3 * c.median:10.2f} ms" if c.median else f"{c.name} {c.reason}" for c in contestants
        )
        print(f"T = {frames:>9,}   {times}   memory {memory:.2f} x (input + gradient)")
    return rows


def _growth_contestants(frames: int) -> tuple[list[Contestant], Tensor]:
    torch.manual_seed(0)
    emissions, tags = torch.randn(1, frames, 5).requires_grad_(), torch.randint(0, 5, (1, frames))
    ours = CRF(5, batch_first=True)
    contestants = [Contestant("segcrf", gradient_of(lambda: -ours(emissions, tags), [emissions, *ours.parameters()]))]
    try:
        from torchcrf import CRF as Peer  # noqa: N811
    except ImportError:
        return [*contestants, Contestant("pytorch-crf", reason="not installed")], emissions
    peer = Peer(5, batch_first=True)
    call = gradient_of(lambda: -peer(emissions, tags), [emissions, *peer.parameters()])
    fits = frames <= PEER_LENGTH
    other = Contestant("pytorch-crf", call if fits else None, "" if fits else f"not run beyond T = {PEER_LENGTH:,}")
    return [*contestants, other], emissions


_MEMORY_PROBE = """
import resource, sys, torch
torch.set_num_threads(1)
from segcrf import LinearChain
def step(frames):
    emissions = torch.zeros(1, frames, 5, requires_grad=True)
    labels = torch.zeros(1, frames, dtype=torch.int64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (-LinearChain(emissions, torch.zeros(5, 5)).log_prob(labels).sum()).backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
step(100)
print(step(int(sys.argv[1])))
"""


def _peak_memory(frames: int) -> float:
    """Memory that a step adds to input and labels, over the bytes of input and gradient, in a process of its own."""
    command = [sys.executable, "-c", _MEMORY_PROBE, str(frames)]
    kibibytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return (kibibytes * 1024 + frames * 5 * 4) / (2 * frames * 5 * 4)


# ------------------------------------------------------------------------------------------------- semi-Markov
def semimarkov_tasks(size: tuple[int, int, int, int]) -> dict[str, tuple[list[Contestant], Tensor]]:
    """Both tasks of the semi-Markov chain at (B, T, K, C)."""
    batch, frames, longest, classes = size
    torch.manual_seed(0)
    emissions = torch.randn(batch, frames, classes).requires_grad_()
    transitions = torch.randn(classes, classes).requires_grad_()
    durations = (0.1 * torch.randn(classes, longest)).requires_grad_()
    model = SemiMarkov(emissions, transitions, durations)
    labels = model.mode
    leaves = [emissions, transitions, durations]
    exact = [p.detach().double().requires_grad_() for p in leaves]
    # The reference scan builds T * K * C numbers; beyond a size the kernel in float64 stands in, and the table says so.
    backend = "torch" if frames * longest * classes <= 1_000_000 else "numba"
    truth = gradient_of(lambda: -SemiMarkov(*exact, backend=backend).log_prob(labels).sum(), exact)()
    best = SemiMarkov(*(p.detach() for p in exact), backend=backend).argmax().score
    nll = [Contestant("segcrf", gradient_of(lambda: -SemiMarkov(*leaves).log_prob(labels).sum(), leaves))]
    decode = [Contestant("segcrf", lambda: SemiMarkov(*(p.detach() for p in leaves)).argmax().score)]
    for contestants, contestant in zip((nll, decode), _flash(size, emissions, labels), strict=True):
        contestants += [contestant, Contestant("torch-struct", reason=_torch_struct_reason(size))]
    return {"nll+backward": (nll, truth), "decode": (decode, best)}


def _flash(size: tuple[int, int, int, int], emissions: Tensor, labels: Tensor) -> tuple[Contestant, Contestant]:
    """flash-semicrf on its CPU path. Its model differs (peer's own parameters), so its error is not of our numbers."""
    batch, frames, longest, classes = size
    name = "flash-semicrf"
    if batch * frames * longest * classes > 700_000:
        reason = "skipped: its Python loop over T and K would take minutes"
        return Contestant(name, reason=reason), Contestant(name, reason=reason)
    try:
        from flash_semicrf import SemiMarkovCRFHead
    except ImportError:
        return Contestant(name, reason="not installed"), Contestant(name, reason="not installed")
    head = SemiMarkovCRFHead(classes, longest)
    lengths = torch.full((batch,), frames)

    def loss() -> Tensor:
        return head.compute_loss(emissions, lengths, labels, use_triton=False, backend="streaming")

    def decode() -> Tensor:
        return torch.as_tensor(head.decode_with_traceback(emissions.detach(), lengths, use_triton=False).scores)

    return Contestant(name, gradient_of(loss, [emissions, *head.parameters()])), Contestant(name, decode)


def _torch_struct_reason(size: tuple[int, int, int, int]) -> str:
    batch, frames, longest, classes = size
    gigabytes = 4 * batch * frames * (longest * classes) ** 2 / 1e9
    return f"not run: its semi-Markov builds T * (K C)^2 numbers, {gigabytes:,.1f} GB here"


# ----------------------------------------------------------------------------------------------------- the run
def run(structure: str, rounds: int, quick: bool) -> dict[str, Any]:
    """Measure all sizes of a structure, printing as it goes."""
    sizes = CHAIN_SIZES if structure == "chain" else SEMIMARKOV_SIZES
    tasks_of = chain_tasks if structure == "chain" else semimarkov_tasks
    letters = "BTC" if structure == "chain" else "BTKC"
    results: list[dict[str, Any]] = []
    for size in sizes[:2] if quick else sizes:
        for task, (contestants, truth) in tasks_of(size).items():  # pyright: ignore[reportArgumentType]
            rows = compete(contestants, truth, rounds)
            results.append({**dict(zip(letters, size, strict=True)), "task": task, "contestants": rows})
            print_rows(size, task, rows)
    return {"structure": structure, "threads": torch.get_num_threads(), "results": results}


def print_rows(size: tuple[int, ...], task: str, rows: list[dict[str, Any]]) -> None:
    """One line per contestant: error first, then time, then how many times our time it is."""
    ours = rows[0]["median_ms"]
    for row in rows:
        line = f"{size!s:24} {task:13} {row['name']:14}"
        if row["median_ms"] is None:
            print(line, row["reason"])
            continue
        spread = f"({row['least_ms']:.2f} to {row['most_ms']:.2f})"
        print(
            f"{line} error {row['error']:.1e}  {row['median_ms']:10.2f} ms {spread:>22}  "
            f"{row['median_ms'] / ours:9.1f} x"
        )


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", choices=("chain", "semimarkov"), default="chain")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="two sizes, no growth, nothing written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Peers warn of their own use of PyTorch, once per call.
    warnings.filterwarnings("ignore", module="torchcrf|flash_semicrf")
    result = run(arguments.structure, arguments.rounds, arguments.quick)
    if arguments.quick:
        return
    if arguments.structure == "chain":
        result["growth"] = growth(3)
    result["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    packages = ("segcrf", "torch", "numba", "numpy", "pytorch-crf", "flash-semicrf", "torch-struct")
    result |= record.environment(packages)
    name = "speed" if arguments.structure == "chain" else "speed_semimarkov"
    print(f"written to {record.write(name, result)}")


if __name__ == "__main__":
    main()
