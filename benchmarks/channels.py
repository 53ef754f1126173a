"""Compare preparations of channels: ``python -m benchmarks.channels``.

A Segmenter with its defaults is fitted on the training recordings of a data set, and scored on the validation
recordings, in three ways: on the channels of the sensor with ``prepare=None``; on the features that
:mod:`benchmarks.bands` makes by hand, with ``prepare=None``; and on the channels of the sensor with ``prepare="auto"``.
Test recordings are not used, since the result decides a default.

The table is printed, and written to ``benchmarks/results/channels.json`` after each fit. The environment variable
``SEGCRF_DATA`` names the folder of the data sets.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import record
from benchmarks.bands import tasks
from segcrf import Segmenter
from segcrf.metrics import edit_score, frame_accuracy, segment_f1

PACKAGES = ("segcrf", "torch", "numpy", "lightning")
TASKS = ("eye_lookatpoint", "gesture_phase", "mocap6", "sleep_edf20", "emg_gestures", "ecg_ludb", "nilm_devicescope")
#: Whether features are made by hand, and the parameter ``prepare``.
WAYS: dict[str, tuple[bool, str | None]] = {"sensor": (False, None), "by hand": (True, None), "auto": (False, "auto")}


def fit(name: str, way: str, seed: int, max_epochs: int) -> dict[str, Any]:
    """Fit once; return the scores on the validation recordings, in percent."""
    by_hand, prepare = WAYS[way]
    task = tasks.load(name, by_hand=by_hand)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Segmenter(prepare=prepare, seed=seed, max_epochs=max_epochs, progress=False)
        model.fit(task.train.signals, task.train.labels)
    predicted, true = model.predict(task.valid.signals), task.valid.labels
    return {
        "task": name,
        "way": way,
        "seed": seed,
        "f1": round(segment_f1(true, predicted), 1),
        "edit": round(edit_score(true, predicted), 1),
        "accuracy": round(frame_accuracy(true, predicted), 1),
        "channels": model.n_features_in_,
        "prepared": model.model_.encoder.in_features,
        "standardize": model.standardize_,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def means(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean scores of each data set and way over the seeds."""
    rows: list[dict[str, Any]] = []
    for task, way in dict.fromkeys((cell["task"], cell["way"]) for cell in cells):
        mine = [cell for cell in cells if (cell["task"], cell["way"]) == (task, way)]
        scores = {key: round(float(np.mean([cell[key] for cell in mine])), 1) for key in ("f1", "edit", "accuracy")}
        rows.append({"task": task, "way": way, "seeds": len(mine), **scores})
    return rows


def main() -> None:
    """Fit, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="networks per data set and way (default: 2)")
    parser.add_argument("--tasks", nargs="*", default=TASKS, help="names of data sets (default: all recorded ones)")
    parser.add_argument("--epochs", type=int, default=30, help="largest number of epochs (default: 30)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = f"--seeds {arguments.seeds} --epochs {arguments.epochs} --tasks {' '.join(arguments.tasks)}"
    cells: list[dict[str, Any]] = []
    todo = [(name, way, seed) for seed in range(arguments.seeds) for name in arguments.tasks for way in WAYS]
    for name, way, seed in tqdm(todo, unit="fit"):
        cells.append(fit(name, way, seed, arguments.epochs))
        result = {"command": f"python -m benchmarks.channels {chosen}", "means": means(cells), "cells": cells}
        record.write("channels", result | record.environment(PACKAGES))
    for row in means(cells):
        print(f"{row['task']:>16} {row['way']:>8}: F1@50 {row['f1']}, edit {row['edit']}, accuracy {row['accuracy']}")
    print(record.RESULTS / "channels.json")


if __name__ == "__main__":
    main()
