"""Compare the structured layers with their peers: ``python -m benchmarks.speed [--structure chain|semimarkov]``.

One process, pinned to one core, computes the negative log-likelihood of a batch with its gradient, and decodes the
batch. Results are checked first: ``error`` is the largest relative difference from a float64 reference, and a wrong
result gets no time. Runs are interleaved, round by round, so that a busy machine slows all contestants alike. The table
shows medians with their range, ratios of medians, and our time relative to the limits of the machine.

The peers are the installed packages of the extra ``bench``. A peer that fails at a size is listed with the reason.
For the chain, further tables show time and memory by the length of a recording, the first call, two threads against
one, and the share of the layer in a training step. ``--grid`` measures a grid of B, T and C instead.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from typing import Any

# By default, PyTorch's threads spin for milliseconds after each operation, on the core that our second thread needs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# JAX also gets one thread; it reads this when it is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks import record
from benchmarks.speed import ceilings, chain, contest, probes, semimarkov

ROUNDS = 7
PACKAGES = (
    "segcrf", "torch", "numba", "numpy", "pytorch-crf", "TorchCRF", "torch-struct", "flash-semicrf", "jax", "dynamax",
    "librosa", "hmmlearn", "torbi", "python-crfsuite"
)  # fmt: skip
TWO_THREADS = ((16, 1000, 8), (128, 1000, 20), (64, 200, 50), (1, 100_000, 5), (1, 1_000_000, 5))


def run(
    structure: str,
    sizes: tuple[tuple[int, ...], ...],
    rounds: int,
    peaks: dict[str, float],
    results: list[dict[str, Any]],
    *,
    keep: Callable[[list[dict[str, Any]]], Any] = lambda results: None,
) -> list[dict[str, Any]]:
    """Measure both tasks at all sizes that ``results`` lacks, and print and keep each result.

    Args:
        structure: ``"chain"`` or ``"semimarkov"``.
        sizes: (B, T, C) or (B, T, K, C).
        rounds: timed runs of each contestant.
        peaks: the ceilings of the machine.
        results: earlier results; new results are appended.
        keep: called with all results after each measured size.

    Returns:
        ``results``.
    """
    tasks_of: Any = chain.tasks if structure == "chain" else semimarkov.tasks
    letters = "BTC" if structure == "chain" else "BTKC"
    for size in sizes:
        where = dict(zip(letters, size, strict=True))
        if any(where.items() <= case.items() for case in results):
            continue
        input_bytes = 4 * size[0] * size[1] * size[-1]
        if input_bytes > chain.LARGEST:
            reason = f"not run: the emissions alone take {input_bytes / 1e9:.1f} GB"
            results.append({**where, "task": "all", "contestants": [], "reason": reason})
            print(f"{size!s:24} {reason}")
            continue
        for task, (contestants, truth) in tasks_of(*size).items():
            for contestant in contestants:
                frames, seconds = _longest_shorter(contestant.name, where | {"task": task}, results)
                if seconds * (size[1] / frames) ** contestant.power > contest.SLOW:
                    contestant.prepare, contestant.reason = None, f"not run: T = {frames:,} took {seconds:.1f} s"
            rows = contest.compete(contestants, truth, rounds)
            result = {**where, "task": task, "contestants": rows}
            if structure == "chain" and rows[0]["median_ms"] is not None:
                work = ceilings.chain_work(task, *size)
                result |= work | ceilings.fraction(work, rows[0]["median_ms"] / 1e3, peaks)
            results.append(result)
            print_rows(size, result)
        keep(results)
    return results


def _longest_shorter(name: str, where: dict[str, Any], results: list[dict[str, Any]]) -> tuple[int, float]:
    """Return the length and time of the longest finished run that differs only in its smaller T."""
    like = {letter: value for letter, value in where.items() if letter != "T"}
    times = [
        (case["T"], row["first_s"])
        for case in results
        if like.items() <= case.items() and case["T"] < where["T"]
        for row in case["contestants"]
        if row["name"] == name and row["first_s"] is not None
    ]
    return max(times, default=(1, 0.0))


def print_rows(size: tuple[int, ...], result: dict[str, Any]) -> None:
    """Print a line per contestant: the error, the time, and the ratio to our time."""
    ours = result["contestants"][0]["median_ms"]
    for row in result["contestants"]:
        line = f"{size!s:24} {result['task']:13} {row['name']:19}"
        if row["median_ms"] is None:
            print(line, row["reason"])
            continue
        error = "unchecked" if row["error"] is None else f"{row['error']:.1e}"
        spread = f"({row['least_ms']:.2f} to {row['most_ms']:.2f})"
        ratio = f"{row['median_ms'] / ours:9.1f} x" if ours else ""
        print(f"{line} error {error:9}  {row['median_ms']:10.2f} ms {spread:>22}  {ratio} {row['reason']}")
    if "of_fma" in result:
        near = f"{result['of_fma']:.1%} of the multiply-add rate, {result['of_copy']:.1%} of the copy rate of one core"
        print(f"{'':38} segcrf reaches {near}")


def main() -> None:
    """Parse the command line, measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structure", choices=("chain", "semimarkov"), default="chain")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--grid", action="store_true", help="a grid of B, T and C for the chain, not the usual sizes")
    parser.add_argument("--resume", action="store_true", help="continue: measure only sizes that the JSON file lacks")
    parser.add_argument("--quick", action="store_true", help="two small sizes and short probes; write nothing")
    arguments = parser.parse_args()
    # Some peers cause a warning of PyTorch or NumPy at every call.
    warnings.simplefilter("ignore")
    cores = probes.use_cores(1)
    peaks = ceilings.measure()
    print(f"one thread, pinned to core {cores}" if cores else "one thread, not pinned: this system does not support it")
    billions = {name: value / 1e9 for name, value in peaks.items()}
    print("ceilings: {fma_per_s:.1f} G multiply-adds/s (float64), copy {copy_bytes_per_s:.1f} GB/s".format(**billions))
    quick = arguments.quick
    sizes: Any = chain.SIZES if arguments.structure == "chain" else semimarkov.SIZES
    name = "speed" if arguments.structure == "chain" else "speed_semimarkov"
    if arguments.grid:
        sizes, name = tuple(s for s in chain.GRID if not quick or s[1] <= 1000), "speed_grid"
    elif quick:
        sizes = sizes[:2]
    structure = "chain" if arguments.grid else arguments.structure
    result: dict[str, Any] = {"structure": structure, "threads": 1, "cores": cores, "ceilings": peaks}
    result |= record.environment(PACKAGES)
    done = resumed(name, result) if arguments.resume else []

    def keep(results: list[dict[str, Any]]) -> None:
        if arguments.grid and not quick:  # the grid takes an hour; an interruption loses one size
            record.write(name, result | {"results": results})

    result["results"] = run(structure, sizes, arguments.rounds, peaks, done, keep=keep)
    if structure == "chain" and not arguments.grid:
        result |= extras(sizes, arguments.rounds, quick)
    elif structure == "semimarkov":
        result["growth"] = probes.semimarkov_growth(3, probes.DURATIONS[:1] if quick else probes.DURATIONS)
    if not quick:
        print(f"written to {record.write(name, result)}")


def resumed(name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the results of an earlier run; the versions and the machine must be the same.

    Raises:
        SystemExit: if they differ.
    """
    stored = record.read(name)
    if not stored:
        return []
    for key in ("versions", "machine"):
        if stored[key] != result[key]:
            raise SystemExit(f"{name}.json has {key} {stored[key]}, this run {result[key]}; run without --resume")
    return stored["results"]


def extras(sizes: tuple[tuple[int, int, int], ...], rounds: int, quick: bool) -> dict[str, Any]:
    """Measure first calls, a training step, the share of the kernel, two threads, growth with T, and memory."""
    result: dict[str, Any] = {
        "first_call": probes.first_calls(),
        "training_step": probes.training_share(rounds),
        "inside": probes.inside(20 * rounds, sizes),
        "two_threads": probes.two_threads(rounds, TWO_THREADS[:1] if quick else TWO_THREADS),
        "growth": probes.growth(3, probes.LENGTHS[:2] if quick else probes.LENGTHS),
    }
    rows: list[dict[str, Any]] = []
    for task in chain.TASKS:
        for name in ("segcrf", "pytorch-crf", "jax scan"):
            added = probes.memory(task, name, sizes[0])
            rows.append({**dict(zip("BTC", sizes[0], strict=True)), "task": task, "name": name, "added_mib": added})
            print(f"{sizes[0]!s:24} {task:13} {name:15} adds {added} MiB at its peak")
    long = (1, 1_000_000, 15)
    if not quick:
        added = probes.memory("decode", "segcrf", long)
        rows.append({**dict(zip("BTC", long, strict=True)), "task": "decode", "name": "segcrf", "added_mib": added})
        print(f"{long!s:24} decode        segcrf          adds {added} MiB at its peak")
    return result | {"memory": rows}


if __name__ == "__main__":
    main()
