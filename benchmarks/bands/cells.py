"""Tune, score and store one method on one task with one encoder and one seed.

The cache has a folder of networks and a folder of cells. The budget and the code name both folders, so that results of
other code are not reused. Each network and each finished cell is one file, written in one step. A kill therefore loses
only the work in progress, and the cache is always a valid partial result. Methods that differ only in decoding share
their networks.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import segcrf
from benchmarks import record
from benchmarks.bands.methods import METHODS, Context, Knob, Method
from benchmarks.bands.tasks import Task, load
from benchmarks.bands.training import Budget, Network, Trained, fit, settings
from segcrf import Segments, metrics

Array = npt.NDArray[Any]

TUNING_SEED = 0
# Approximate number of bands in a barcode of the first test recording.
SHOWN = 30

_HERE = Path(__file__).parent
# The code that a trained network depends on, and the code that a cell depends on in addition.
NETWORK_CODE = (Path(segcrf.__file__).parent, _HERE / "tasks.py", _HERE / "training.py")
CELL_CODE = (_HERE / "methods.py", _HERE / "cells.py")


@functools.cache
def code(*paths: Path) -> str:
    """Return a digest of Python files and of the Python files in folders.

    Comments and layout do not count, so that editing them does not force hours of training. The files are read once,
    since a process keeps the code that it started with.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{ast.dump(ast.parse(file.read_bytes()))}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Cell:
    """Unit of measurement: names of a task, an encoder and a method, and a seed."""

    task: str
    encoder: str
    method: str
    seed: int

    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.task}.{self.encoder}.{self.method}.{self.seed}"


class Cache:
    """Finished cells and trained networks of one budget and the present code.

    Args:
        root: folder for all budgets.
        budget: names the two folders, together with the code. After a change of either, all cells are measured again.
            A change of the methods alone keeps the networks.
    """

    def __init__(self, root: Path, budget: Budget) -> None:
        networks = record.digest(settings(budget) | {"code": code(*NETWORK_CODE)})
        cells = record.digest({"networks": networks, "code": code(*CELL_CODE)})
        self.networks, self.finished = root / f"networks-{networks}", root / f"cells-{cells}"
        for folder in (self.networks, self.finished):
            folder.mkdir(parents=True, exist_ok=True)

    def cell(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a cell, or None where it is not finished."""
        path = self._path(cell)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def cells(self) -> list[dict[str, Any]]:
        """Return all finished results in a fixed order."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.finished.glob("*.json"))]

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells that are not finished."""
        return [cell for cell in cells if not self._path(cell).exists()]

    def keep(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write the result of a cell."""
        text = json.dumps(asdict(cell) | result)
        _write_whole(self._path(cell), lambda draft: draft.write_text(text, encoding="utf-8"))

    def has_network(self, key: str) -> bool:
        """Return whether a network is on disk."""
        return (self.networks / f"{key}.pt").exists()

    def network(self, key: str, make: Callable[[], Trained]) -> Trained:
        """Return a trained network from disk, or train it."""
        path = self.networks / f"{key}.pt"
        try:
            return Trained(**torch.load(path, weights_only=True))
        except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
            trained = make()
            _write_whole(path, lambda draft: torch.save(vars(trained), draft))
            return trained

    def _path(self, cell: Cell) -> Path:
        return self.finished / f"{cell.name()}.json"


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    write(draft)
    os.replace(draft, path)


def key_of(task: str, encoder: str, network: Network, seed: int) -> str:
    """Return the name of the file of a network."""
    return f"{task}.{encoder}.{network.name()}.{seed}"


@dataclass(frozen=True)
class Choice:
    """Chosen network and knob of a method, their validation score, and the weights tried."""

    network: Network
    knob: Knob
    validation: float
    tried: list[float]


class Bench:
    """Task under one encoder and seed, with the networks used so far.

    Args:
        task: recordings and classes.
        encoder: "causal" or "bidirectional".
        seed: of initial weights and windows.
        budget: training budget of a network.
        cache: stores the results.
    """

    def __init__(self, task: Task, encoder: str, seed: int, budget: Budget, cache: Cache) -> None:
        self.task, self.encoder, self.seed, self.budget, self.cache = task, encoder, seed, budget, cache
        self.contexts: dict[Network, Context] = {}

    def run(self, name: str) -> dict[str, Any]:
        """Return the result of a method from the cache, or measure it."""
        cell = Cell(self.task.name, self.encoder, name, self.seed)
        found = self.cache.cell(cell)
        if found is None:
            self.cache.keep(cell, self._measure(METHODS[name], self._choose(name)))
            found = self.cache.cell(cell)
            assert found is not None
        return found

    def _choose(self, name: str) -> Choice:
        """Return the best choice on the validation recordings with the tuning seed; the first of equal ones."""
        method = METHODS[name]
        if self.seed != TUNING_SEED:
            tuned = Bench(self.task, self.encoder, TUNING_SEED, self.budget, self.cache).run(name)
            return Choice(Network(**tuned["network"]), tuned["knob"], tuned["validation"], tuned["tried"])
        tried: dict[Network, tuple[Knob, float]] = {}
        todo = method.networks(self.budget)
        while todo:
            tried |= {network: self._best_knob(method, network) for network in todo}
            best = max(tried, key=lambda network: tried[network][1])
            todo = method.beyond(best, tried) if self.budget.widen else []
        return Choice(best, *tried[best], sorted(network.weight for network in tried))

    def _best_knob(self, method: Method, network: Network) -> tuple[Knob, float]:
        """Return the best knob for a network, and its score."""
        knobs = method.knobs(self.task)
        scores = [validation_score(self._decode(method, network, knob, "valid"), self.task) for knob in knobs]
        best = int(np.argmax(scores))
        return knobs[best], scores[best]

    def _decode(self, method: Method, network: Network, knob: Knob, part: str) -> list[Array]:
        context = self._context(network.on(self.task))
        return method.decode(getattr(context.trained, part)[method.reading], context, knob)

    def _context(self, network: Network) -> Context:
        if network not in self.contexts:
            key = key_of(self.task.name, self.encoder, network, self.seed)
            trained = self.cache.network(key, lambda: fit(self.task, self.encoder, network, self.seed, self.budget))
            self.contexts[network] = Context(self.task, trained, self.budget, self.seed)
        return self.contexts[network]

    def _measure(self, method: Method, chosen: Choice) -> dict[str, Any]:
        predicted = self._decode(method, chosen.network, chosen.knob, "test")
        trained = self._context(chosen.network.on(self.task)).trained
        return {
            "network": vars(chosen.network),
            "knob": chosen.knob,
            "validation": chosen.validation,
            "tried": chosen.tried,
            "scores": score(predicted, self.task.test.labels, self.task.margin),
            "per_recording": per_recording(predicted, self.task.test.labels),
            "barcode": barcode(predicted[0], self.task),
            "truth": barcode(self.task.test.labels[0], self.task),
            "decoding": trained.decoding if method.reading == "bands" else {},
            "epochs": len(trained.history),
            "best_epoch": trained.best_epoch,
            "seconds": round(trained.seconds, 2),
        }


def validation_score(predicted: list[Array], task: Task) -> float:
    """Return the mean of accuracy, edit and F1@50, which chooses knobs and epochs."""
    row = metrics.evaluate(task.valid.labels, predicted)
    return (row["accuracy"] + row["edit"] + row["f1@50"]) / 3


def score(predicted: list[Array], true: list[Array], margin: int) -> dict[str, float]:
    """Return all scores of a cell.

    No class counts as background. Edit, covering and Hausdorff are means over recordings; the others are pooled.
    """
    boundary = metrics.boundary_scores(true, predicted, margin=margin)
    entropy = metrics.segmentation_entropy(true, predicted)
    return metrics.evaluate(true, predicted) | {
        "kappa": metrics.cohen_kappa(true, predicted),
        "covering": metrics.covering(true, predicted),
        "boundary_precision": boundary.precision,
        "boundary_recall": boundary.recall,
        "boundary_f1": boundary.f1,
        "entropy_over": entropy.over,
        "entropy_under": entropy.under,
        "hausdorff": metrics.hausdorff(true, predicted),
    }


def per_recording(predicted: list[Array], true: list[Array]) -> dict[str, list[float]]:
    """Return the scores of each recording, for paired differences."""
    rows = [metrics.evaluate([t], [p]) for p, t in zip(predicted, true, strict=True)]
    return {name: [round(row[name], 3) for row in rows] for name in ("accuracy", "edit", "f1@50")}


def barcode(labels: Array, task: Task) -> list[list[int]]:
    """Return [start, end, class] of bands in the part of the first test recording that has the most true bands."""
    true = task.test.labels[0]
    switches = np.cumsum(np.diff(true, prepend=true[:1]) != 0)
    frames = min(SHOWN * len(true) // (int(switches[-1]) + 1), len(true))
    start = int(np.argmax(switches[frames - 1 :] - switches[: len(true) - frames + 1]))
    bands = Segments.from_labels([labels[start : start + frames]])
    return np.stack([bands.start, bands.end, bands.label], axis=1).tolist()


def groups(tasks: Sequence[str], encoders: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Yield task, encoder and seed in order of value: all tasks with one seed before the next seed."""
    for seed in seeds:
        for task in tasks:
            for encoder in encoders:
                yield task, encoder, seed


def cells_of(group: tuple[str, str, int], methods: Sequence[str]) -> list[Cell]:
    """Return the cells of the methods on one task with one encoder and seed."""
    task, encoder, seed = group
    return [Cell(task, encoder, method, seed) for method in methods]


def run_group(
    group: tuple[str, str, int], budget: Budget, root: Path, methods: Sequence[str], step: Callable[[str], Any]
) -> None:
    """Measure the missing cells of a group, and call ``step`` with the name of each finished one."""
    name, encoder, seed = group
    cache = Cache(root, budget)
    missing = cache.missing(cells_of(group, methods))
    if not missing:
        return
    bench = Bench(load(name), encoder, seed, budget, cache)
    for cell in missing:
        bench.run(cell.method)
        step(cell.name())
