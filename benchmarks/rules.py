"""Compare decoding rules: ``python -m benchmarks.rules``.

A Segmenter is fitted on the training recordings of each data set of :mod:`benchmarks.bands`. Some of them are held out
and choose its epoch and its decoding rule. Every rule then decodes the validation recordings, which no choice has seen.
The rule with the least mean error over all data sets is what a model without validation recordings decodes by; the row
``chosen`` is what the held-out recordings choose. The error is that of training: one minus the mean of accuracy, edit
score and F1@50. Test recordings are not used, since the result decides a default.

The result is written to ``benchmarks/results/rules.json`` after each fit. The environment variable ``SEGCRF_DATA``
names the folder of the data sets; without it only the synthetic ones are used.
"""

from __future__ import annotations

import argparse
import os
import warnings
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import record
from benchmarks.bands import tasks
from segcrf import Segmenter
from segcrf.metrics import edit_score, frame_accuracy, segment_f1
from segcrf.nn import DecodingRule
from segcrf.training import candidate_rules

PACKAGES = ("segcrf", "torch", "numpy", "lightning")


def score(model: Segmenter, rule: DecodingRule, task: tasks.Task) -> dict[str, float]:
    """Return the scores of a rule on the validation recordings, in percent, and its error."""
    predicted, true = model.set_decoding(rule).predict(task.valid.signals), task.valid.labels
    scores = {
        "accuracy": frame_accuracy(true, predicted),
        "edit": edit_score(true, predicted),
        "f1": segment_f1(true, predicted),
    }
    return scores | {"error": 1.0 - sum(scores.values()) / 300.0}


def fit(task: tasks.Task, structure: str, seed: int) -> list[dict[str, Any]]:
    """Fit once; return one row per rule, and one for the rule that held-out recordings choose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Segmenter(structure=structure, seed=seed, progress=False).fit(task.train.signals, task.train.labels)
    rules = {"chosen": model.decoding_} | {name_of(rule): rule for rule in candidate_rules("auto")}
    where = {"task": task.name, "structure": structure, "seed": seed}
    return [where | {"rule": name, **score(model, rule, task)} for name, rule in rules.items()]


def name_of(rule: DecodingRule) -> str:
    """Return the name of a rule in the table."""
    return f"{'frame' if rule.by_frame else 'sequence'} x {rule.factor:g}"


def means(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean scores of each rule over all fits, the least error first."""
    rows: list[dict[str, Any]] = []
    for rule in dict.fromkeys(cell["rule"] for cell in cells):
        mine = [cell for cell in cells if cell["rule"] == rule]
        keys = ("accuracy", "edit", "f1", "error")
        rows.append({"rule": rule, **{key: round(float(np.mean([cell[key] for cell in mine])), 4) for key in keys}})
    return sorted(rows, key=lambda row: row["error"])


def main() -> None:
    """Fit, score every rule, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="networks per data set and structure (default: 2)")
    parser.add_argument("--tasks", nargs="*", help="names of data sets (default: all that are here)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    here = tasks.NAMES if os.environ.get("SEGCRF_DATA") else tuple(tasks.NOISES)
    cells: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for name in tqdm(arguments.tasks or here, unit="data set"):
            for structure in ("linear-chain", "semi-markov"):
                cells += fit(tasks.load(name), structure, seed)
                chosen = "" if arguments.tasks is None else f" --tasks {' '.join(arguments.tasks)}"
                command = f"python -m benchmarks.rules --seeds {arguments.seeds}{chosen}"
                result = {"command": command, "means": means(cells), "cells": cells}
                record.write("rules", result | record.environment(PACKAGES))
    for row in means(cells):
        print(f"{row['rule']:>14}: accuracy {row['accuracy']:.1f}, edit {row['edit']:.1f}, F1@50 {row['f1']:.1f}")
    print(record.RESULTS / "rules.json")


if __name__ == "__main__":
    main()
