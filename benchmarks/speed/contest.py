"""Check implementations of one task at one size against a float64 reference, then time them in turn."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SLOW = 20.0  # seconds; a slower contestant is timed once, and skips longer recordings that would take more than this
ENOUGH = 10.0  # seconds of timed runs after which a contestant skips the remaining rounds
COLD = 0.1  # seconds; a shorter run is repeated, because the caches hold another contestant's data at first
WORTH_ANOTHER = 1.0  # seconds; a longer first run is repeated, because it may include compilation
WRONG = 1e-3  # relative error of a wrong result; float32 stays below it over many frames

Call = Callable[[], Any]


@dataclass
class Contestant:
    """One implementation of one task at one size.

    Args:
        name: name in the table.
        prepare: returns the call to be timed. It may raise: the package may be missing, or the size too large.
        reason: why it is not timed, or timed only once.
        value: turns the result of the call into a tensor to check; it is not timed.
        unchecked: why the result of another model cannot be compared with the reference.
        power: exponent of T in the running time.
    """

    name: str
    prepare: Callable[[], Call] | None = None
    reason: str = ""
    value: Callable[[Any], Tensor] = torch.as_tensor
    unchecked: str = ""
    power: float = 1.0
    seconds: list[float] = field(default_factory=list)
    first_seconds: float | None = None
    error: float | None = None
    call: Call | None = None

    def run(self) -> Any:
        assert self.call is not None
        begin = time.perf_counter()
        result = self.call()
        self.seconds.append(time.perf_counter() - begin)
        return result

    def enter(self, truth: Tensor) -> None:
        """Run once, which also compiles, and compare with ``truth``; set ``reason`` if the run fails or is wrong."""
        if self.prepare is None:
            return
        try:
            self.call = self.prepare()
            result = self.run()
        except ImportError:
            self.reason = "not installed"
        except Exception as error:  # a peer may raise anything
            self.reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        if self.reason:
            self.call = None
            return
        self.first_seconds = self.seconds.pop()
        if self.first_seconds > WORTH_ANOTHER:  # the first run may have compiled
            self.run()
            self.first_seconds = self.seconds.pop()
        if not self.unchecked:
            self.error = relative_error(self.value(result), truth)
            if not self.error < WRONG:
                self.reason = f"wrong: relative error {self.error:.1e}"
                self.call = None

    def row(self) -> dict[str, Any]:
        times = {"median_ms": None, "least_ms": None, "most_ms": None}
        if self.seconds:
            picked = (statistics.median(self.seconds), min(self.seconds), max(self.seconds))
            times = {key: round(1e3 * value, 4) for key, value in zip(times, picked, strict=True)}
        return {
            "name": self.name, "error": self.error, **times, "rounds": len(self.seconds),
            "first_s": self.first_seconds, "reason": self.reason or self.unchecked
        }  # fmt: skip


def compete(contestants: list[Contestant], truth: Callable[[], Tensor], rounds: int) -> list[dict[str, Any]]:
    """Check every contestant against ``truth``, then time them in turn; return a row for each."""
    expected = truth()
    for contestant in contestants:
        contestant.enter(expected)
    running = [c for c in contestants if c.call is not None]
    for contestant in running:
        assert contestant.first_seconds is not None
        if contestant.first_seconds > SLOW:
            contestant.reason = f"timed once: it takes more than {SLOW:.0f} s"
            contestant.seconds.append(contestant.first_seconds)
    running = [c for c in running if not c.reason]
    for _ in range(rounds):
        gc.collect()
        for contestant in running:
            if sum(contestant.seconds) > ENOUGH:
                continue
            contestant.run()
            if contestant.seconds[-1] < COLD:
                contestant.run()
                contestant.seconds.pop(-2)
    return [c.row() for c in contestants]


def relative_error(value: Tensor, truth: Tensor) -> float:
    """Return the largest difference relative to the largest true value."""
    return float((value.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-300))


def gradient_of(loss: Callable[[], Tensor], parameters: list[Tensor]) -> Call:
    """Return a call that computes a loss and its gradients."""

    def call() -> tuple[Tensor, ...]:
        value = loss()
        return (value.detach(), *torch.autograd.grad(value, parameters))

    return call


def vector(parts: Any) -> Tensor:
    """Join a loss and its gradients in one vector, for the comparison."""
    return torch.cat([torch.as_tensor(part).double().flatten() for part in parts])
