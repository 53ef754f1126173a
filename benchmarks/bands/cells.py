"""One method on one task with one encoder and one seed: tuned, scored, and kept on disk.

The cache has a folder of networks and one of cells, each named after the budget and the code that made them: what other
code has left is not reused. Each network's scores and each finished cell is a file that appears at once and as a whole,
so that a kill loses what was under way and nothing else; whatever is there is a valid partial result. Networks are
shared by all methods that only decode differently.
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
# A barcode shows about so many bands, of the first test recording.
SHOWN = 30

_HERE = Path(__file__).parent
# What a trained network depends on, and what a cell depends on besides.
NETWORK_CODE = (Path(segcrf.__file__).parent, _HERE / "tasks.py", _HERE / "training.py")
CELL_CODE = (_HERE / "methods.py", _HERE / "cells.py")


@functools.cache
def code(*paths: Path) -> str:
    """A digest of Python files and of all in folders; comments and layout do not count, so that editing them costs no
    hours of training. Read once: a process goes on with the code that it began with."""
    files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n{ast.dump(ast.parse(file.read_bytes()))}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Cell:
    """What is measured: a task, an encoder, a method and a seed, by name."""

    task: str
    encoder: str
    method: str
    seed: int

    def name(self) -> str:
        """For files."""
        return f"{self.task}.{self.encoder}.{self.method}.{self.seed}"


class Cache:
    """Finished cells and trained networks of one budget, made by the code as it is.

    Args:
        root: a folder for all budgets.
        budget: decides the folders within, as the code does; where either has changed, all begins anew. Networks
            outlive a change of the methods that read them.
    """

    def __init__(self, root: Path, budget: Budget) -> None:
        networks = record.digest(settings(budget) | {"code": code(*NETWORK_CODE)})
        cells = record.digest({"networks": networks, "code": code(*CELL_CODE)})
        self.networks, self.finished = root / f"networks-{networks}", root / f"cells-{cells}"
        for folder in (self.networks, self.finished):
            folder.mkdir(parents=True, exist_ok=True)

    def cell(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell, if it is finished."""
        path = self._path(cell)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def cells(self) -> list[dict[str, Any]]:
        """All finished results, in a fixed order."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.finished.glob("*.json"))]

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Those that are not finished."""
        return [cell for cell in cells if not self._path(cell).exists()]

    def keep(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write the result of a cell."""
        text = json.dumps(asdict(cell) | result)
        _at_once(self._path(cell), lambda draft: draft.write_text(text, encoding="utf-8"))

    def has_network(self, key: str) -> bool:
        """Whether a network is on disk."""
        return (self.networks / f"{key}.pt").exists()

    def network(self, key: str, make: Callable[[], Trained]) -> Trained:
        """A trained network, from disk or made now."""
        path = self.networks / f"{key}.pt"
        try:
            return Trained(**torch.load(path, weights_only=True))
        except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
            trained = make()
            _at_once(path, lambda draft: torch.save(vars(trained), draft))
            return trained

    def _path(self, cell: Cell) -> Path:
        return self.finished / f"{cell.name()}.json"


def _at_once(path: Path, write: Callable[[Path], Any]) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    write(draft)
    os.replace(draft, path)


def key_of(task: str, encoder: str, network: Network, seed: int) -> str:
    """Of a network, for files."""
    return f"{task}.{encoder}.{network.name()}.{seed}"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a method, its score on the validation recordings, and the weights that were tried."""

    network: Network
    knob: Knob
    validation: float
    tried: list[float]


class Bench:
    """A task under one encoder and seed, and the networks that were needed so far.

    Args:
        task: its recordings.
        encoder: "causal" or "bidirectional".
        seed: of initial weights and windows.
        budget: what a network may spend.
        cache: where results are kept.
    """

    def __init__(self, task: Task, encoder: str, seed: int, budget: Budget, cache: Cache) -> None:
        self.task, self.encoder, self.seed, self.budget, self.cache = task, encoder, seed, budget, cache
        self.contexts: dict[Network, Context] = {}

    def run(self, name: str) -> dict[str, Any]:
        """The result of a method, from the cache or measured now."""
        cell = Cell(self.task.name, self.encoder, name, self.seed)
        found = self.cache.cell(cell)
        if found is None:
            self.cache.keep(cell, self._measure(METHODS[name], self._choose(name)))
            found = self.cache.cell(cell)
            assert found is not None
        return found

    def _choose(self, name: str) -> Choice:
        """What is best on the validation recordings with the tuning seed; of equals the first."""
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
        """The knob that is best for a network, and its score."""
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
    """What knobs are tuned for, and epochs chosen by: the mean of accuracy, edit and F1@50."""
    row = metrics.evaluate(task.valid.labels, predicted)
    return (row["accuracy"] + row["edit"] + row["f1@50"]) / 3


def score(predicted: list[Array], true: list[Array], margin: int) -> dict[str, float]:
    """All scores of a cell. Nothing is left out as background; edit, covering and Hausdorff are means over recordings,
    the others pooled."""
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
    """Scores of each recording by itself, for paired differences."""
    rows = [metrics.evaluate([t], [p]) for p, t in zip(predicted, true, strict=True)]
    return {name: [round(row[name], 3) for row in rows] for name in ("accuracy", "edit", "f1@50")}


def barcode(labels: Array, task: Task) -> list[list[int]]:
    """[start, end, class] of the bands of the first test recording, where most true bands are close together."""
    true = task.test.labels[0]
    switches = np.cumsum(np.diff(true, prepend=true[:1]) != 0)
    frames = min(SHOWN * len(true) // (int(switches[-1]) + 1), len(true))
    start = int(np.argmax(switches[frames - 1 :] - switches[: len(true) - frames + 1]))
    bands = Segments.from_labels([labels[start : start + frames]])
    return np.stack([bands.start, bands.end, bands.label], axis=1).tolist()


def groups(tasks: Sequence[str], encoders: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """In the order of worth: every task once before any twice."""
    for seed in seeds:
        for task in tasks:
            for encoder in encoders:
                yield task, encoder, seed


def cells_of(group: tuple[str, str, int], methods: Sequence[str]) -> list[Cell]:
    """All methods on one task with one encoder and seed."""
    task, encoder, seed = group
    return [Cell(task, encoder, method, seed) for method in methods]


def run_group(
    group: tuple[str, str, int], budget: Budget, root: Path, methods: Sequence[str], step: Callable[[str], Any]
) -> None:
    """Measure what is missing of a group; ``step`` is called with each finished cell."""
    name, encoder, seed = group
    cache = Cache(root, budget)
    missing = cache.missing(cells_of(group, methods))
    if not missing:
        return
    bench = Bench(load(name), encoder, seed, budget, cache)
    for cell in missing:
        bench.run(cell.method)
        step(cell.name())
