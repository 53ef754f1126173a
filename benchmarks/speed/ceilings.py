"""What the machine can do at most, timed in the same run: a copy of memory and products of matrices; and what a task
needs at least."""

from __future__ import annotations

import time
from typing import Any

import torch


def measure(repeats: int = 9) -> dict[str, float]:
    """Multiply-adds per second, float64 (the kernels' arithmetic), and bytes read and written per second by a copy."""
    side = 768
    a, b, out = (torch.ones(side, side, dtype=torch.float64) for _ in range(3))
    source = torch.zeros(1 << 25)  # 128 MiB: far larger than any cache
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
    """Multiply-adds (or add-and-maximum), exponentials and bytes that a task cannot do without.

    Likelihood and gradient: forward, backward and transition counts, one C x C each per frame; scores are read and
    their gradient is written. Decoding: one C x C per frame; scores and labels.
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
    """How near a time comes to either ceiling."""
    return {
        "of_fma": work["operations"] / seconds / ceilings["fma_per_s"],
        "of_copy": work["bytes"] / seconds / ceilings["copy_bytes_per_s"],
    }
