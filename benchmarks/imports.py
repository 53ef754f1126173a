"""Compare the import time of the package with that of PyTorch: ``python -m benchmarks.imports``.

New interpreters import one or the other, in turn. Medians and their ratio are written to
``benchmarks/results/imports.json``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks import record

PACKAGES = ("torch", "segcrf")
PROBE = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"


def seconds(package: str) -> float:
    """Return the seconds of one import in a new interpreter."""
    command = [sys.executable, "-c", PROBE.format(package)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for package in PACKAGES:
        seconds(package)  # fill the caches of bytecode and disk
    taken: dict[str, list[float]] = {package: [] for package in PACKAGES}
    for _ in range(rounds):
        for package in PACKAGES:
            taken[package].append(seconds(package))
    medians = {package: statistics.median(values) for package, values in taken.items()}
    ratio = medians["segcrf"] / medians["torch"]
    print(", ".join(f"import {package}: {value:.2f} s" for package, value in medians.items()), f"ratio {ratio:.2f}")
    result = {"median_seconds": {p: round(v, 3) for p, v in medians.items()}, "ratio": round(ratio, 3)}
    record.write("imports", {**result, "rounds": rounds, **record.environment(PACKAGES)})


if __name__ == "__main__":
    main()
