"""Estimate the time of a run before it begins, from the seconds per batch of the last run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from benchmarks.bands.cells import TUNING_SEED, Cache, Cell, key_of
from benchmarks.bands.methods import METHODS
from benchmarks.bands.tasks import Task
from benchmarks.bands.training import Budget, Network, batches

# Time to decode a task with every method and knob and to score it, for one encoder and seed: a constant, and seconds
# for each validation and test frame. Measured with --quick, on one core of two.
SECONDS, SECONDS_PER_FRAME = 5.0, 6e-5


@dataclass(frozen=True)
class Estimate:
    """Remaining work.

    Args:
        networks: number of networks to train.
        seconds: time in one process; NaN where the last run lacks a task, an encoder or a loss.
    """

    networks: int
    seconds: float

    def __str__(self) -> str:
        known = "no earlier run shows how long that takes"
        if not np.isnan(self.seconds):
            known = f"{_time(self.seconds)} with decoding, at the speed of the last run, in one process"
        return f"Networks to train: about {self.networks}; {known}."


def _time(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def estimate(missing: Sequence[Cell], budget: Budget, cache: Cache, tasks: dict[str, Task], last: Any) -> Estimate:
    """Return the estimate for a run of these cells.

    Args:
        missing: cells that are not finished.
        budget: training budget of a network.
        cache: has the networks that need no training.
        tasks: the tasks of the cells by name.
        last: the result of the last run, see :func:`benchmarks.bands.report.summarise`; empty without one.
    """
    wanted = {
        (cell.task, cell.encoder, network.on(tasks[cell.task]), cell.seed)
        for cell in missing
        for network in _wanted(cell, budget, cache)
    }
    left = [key for key in wanted if not cache.has_network(key_of(*key))]
    each = seconds_per_network(budget, tasks, last) if last else {}
    training = sum(each.get((task, encoder, network.loss), np.nan) for task, encoder, network, _ in left)
    groups = {(cell.task, cell.encoder, cell.seed) for cell in missing}
    return Estimate(len(left), training + sum(_decoding(tasks[task]) for task, *_ in groups))


def _decoding(task: Task) -> float:
    return SECONDS + SECONDS_PER_FRAME * sum(map(len, (*task.valid.labels, *task.test.labels)))


def _wanted(cell: Cell, budget: Budget, cache: Cache) -> list[Network]:
    """Return the networks of a cell: all candidates with the tuning seed, the chosen one with other seeds."""
    method = METHODS[cell.method]
    networks = method.networks(budget)
    if cell.seed == TUNING_SEED:
        return [*networks, *(method.beyond(networks[0], networks) if budget.widen else [])]
    tuned = cache.cell(Cell(cell.task, cell.encoder, cell.method, TUNING_SEED))
    return networks[-1:] if tuned is None else [Network(**tuned["network"])]


def seconds_per_network(budget: Budget, tasks: dict[str, Task], last: Any) -> dict[tuple[str, str, str], float]:
    """Return (task, encoder, loss) -> seconds of training, for those in the last run.

    The time is proportional to the batches, and to the square root of the hidden units.
    """
    before = Budget(**{field.name: last["budget"][field.name] for field in fields(Budget)})
    size = (budget.hidden / before.hidden) ** 0.5
    scale = {name: size * batches(task, budget) / batches(task, before) for name, task in tasks.items()}
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in last["rows"]:
        if row["task"] in tasks:
            loss = Network(**row["network"]).on(tasks[row["task"]]).loss
            found.setdefault((row["task"], row["encoder"], loss), []).append(row["seconds"] * scale[row["task"]])
    return {key: float(np.median(seconds)) for key, seconds in found.items()}
