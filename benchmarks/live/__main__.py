"""Measure live decoding, and write ``benchmarks/results/live.json`` after each cell: ``python -m benchmarks.live``.

``speed`` times a push of one frame; ``delay`` scores decisions by the frames that they wait. The environment variable
``SEGCRF_DATA`` names the folder of the recorded data sets; without it only the founding problem is scored.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import record
from benchmarks.bands import tasks
from benchmarks.live import delay, speed

PACKAGES = ("segcrf", "torch", "numpy", "numba", "lightning", "pandas")
QUICK = speed.Size(runs=1, calls=20, seconds=0.02, streams=(1, 3), classes=(3,), checked=60)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, then print their tables."""
    given = parser().parse_args(arguments)
    torch.set_num_threads(1)
    result = record.read("live")
    if "speed" in given.parts:
        size = QUICK if given.quick else speed.Size()
        rows: list[dict[str, Any]] = []
        for row in speed.cells(size):
            rows.append(row)
            load = round(os.getloadavg()[0], 1)
            _keep(result, "speed", {"size": dataclasses.asdict(size), "load": load, "cells": rows})
    if "delay" in given.parts:
        measure_delays(result, given)
    print(text(result))
    print(record.RESULTS / "live.json")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", default=("speed", "delay"), help="speed, delay")
    parser.add_argument("--seeds", type=int, default=2, help="networks of each kind and data set (default: 2)")
    parser.add_argument("--steps", type=int, default=240, help="training steps of a network, about (default: 240)")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"data sets (default: {', '.join(delay.TASKS)})")
    parser.add_argument("--quick", action="store_true", help="few calls and streams, to try the speed")
    return parser


def measure_delays(result: dict[str, Any], given: argparse.Namespace) -> None:
    """Score every delay on all data sets, and keep the rows of each network in the result."""
    here = delay.TASKS if os.environ.get("SEGCRF_DATA") else tuple(n for n in delay.TASKS if n in tasks.NOISES)
    rows: list[dict[str, Any]] = []
    for name in given.tasks or here:
        task = tasks.load(name)
        rows += delay.limits(task)
        for seed in range(given.seeds):
            for row in delay.cells(task, seed, given.steps):
                rows.append(row)
                settings = {"seeds": given.seeds, "steps": given.steps, "picked": delay.picked(rows)}
                _keep(result, "delay", settings | {"cells": rows})


def text(result: dict[str, Any]) -> str:
    """Return the tables of both parts."""
    lines: list[str] = []
    for row in result.get("speed", {}).get("cells", []):
        where = f"{row['what']:8} {row['structure']:13} C={row['classes']} {row['rule']:19} {row['way']:7}"
        times = f"p50 {row['p50_us']:10.1f} us  p99 {row['p99_us']:10.1f} us  cpu {row['cpu_us']:10.1f} us"
        lines.append(f"{where} x{row['streams']:<5} {times}  {row['frames_per_second']:10,} frames/s")
    lines.append("")
    for row in result.get("delay", {}).get("cells", []):
        wait = "offline" if row["seconds"] is None else f"{row['seconds']:5.2f} s"
        scores = "  ".join(f"{name} {row[name]:6.2f}" for name in ("accuracy", "edit", "f1@50", "band_ratio"))
        lines.append(f"{row['task']:16} {row['encoder']:14} {row.get('seed', '')!s:2} {wait:8} {scores}")
    for row in result.get("delay", {}).get("picked", []):
        lines.append(f"picked: {row}")
    return "\n".join(lines)


def _keep(result: dict[str, Any], part: str, found: dict[str, Any]) -> None:
    """Write the result with one part replaced, and with the machine that measured this part."""
    command = f"python -m benchmarks.live {part}"
    result[part] = {"command": command} | found | record.environment(PACKAGES)
    record.write("live", result)


if __name__ == "__main__":
    main()
