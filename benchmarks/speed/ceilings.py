"""Measure the limits of the machine (matrix products, memory copies), and count the least work of a task."""

from __future__ import annotations

import time
from typing import Any

import torch


def measure(repeats: int = 9) -> dict[str, float]:
    """Measure float64 multiply-adds per second, and bytes read and written per second by a copy.

    The kernels compute in float64 too.
    """
    side = 768
    a, b, out = (torch.ones(side, side, dtype=torch.float64) for _ in range(3))
    source = torch.zeros(1 << 25)  # 128 MiB: larger than the caches
    target = torch.zeros_like(source)
    products = _least(lambda: torch.mm(a, b, out=out), repeats)
    copies = _least(lambda: target.copy_(source), repeats)
    return {"fma_per_s": side**3 / products, "copy_bytes_per_s": 2 * 4 * source.numel() / copies}


def _least(call: Any, repeats: int) -> float:
    seconds: list[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def chain_work(task: str, batch: int, frames: int, classes: int) -> dict[str, int]:
    """Count the least multiply-adds (for decoding: additions with maximum), exponentials and bytes of a task.

    The likelihood with its gradient needs three C x C operations per frame: forward, backward and transition counts. It
    reads scores and labels, and writes the gradient of the scores. Decoding needs one C x C operation per frame; it
    reads scores and writes labels.
    """
    cells = batch * frames
    if task == "decode":
        return {"operations": cells * classes**2, "exponentials": 0, "bytes": cells * (4 * classes + 8)}
    return {
        "operations": 3 * cells * classes**2,
        "exponentials": cells * classes,
        "bytes": cells * (2 * 4 * classes + 8),
    }


def fraction(work: dict[str, int], seconds: float, ceilings: dict[str, float]) -> dict[str, float]:
    """Return the share of each ceiling that a time reaches."""
    return {
        "of_fma": work["operations"] / seconds / ceilings["fma_per_s"],
        "of_copy": work["bytes"] / seconds / ceilings["copy_bytes_per_s"],
    }
