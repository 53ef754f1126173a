"""Bands of the linear chain against bands of the semi-Markov chain: ``python -m benchmarks.durations``.

The same encoder, recipe, budget, windows and seeds on recordings of other people than those that train:

* ``ecg_ludb``: waves of the electrocardiogram at 500 Hz. People 1 to 160 train, the others test.
* ``eye_lookatpoint``: fixations, saccades and blinks at 1 kHz. S1 to S4 train, S5 and S6 test. From one millisecond to
  the next a gaze moves by a hundredth of its spread, too little for an encoder to see: its velocity is given beside it.

The chain is also trained by its likelihood alone, without the cross-entropy of frames that a Segmenter tries too where
bands are long; where they are short, both are one.

Nothing is tuned. Scores are those of :func:`segcrf.metrics.evaluate`, per seed, and their mean; whichever is
ahead. They are written to ``benchmarks/results/durations.json`` after every run, so that a kill loses one run; a data
set that is not named keeps what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks import data, record
from segcrf import Segmenter, metrics

WAYS: dict[str, dict[str, Any]] = {
    "linear-chain": {},
    "linear-chain, likelihood alone": {"frame_loss": 0.0},
    "semi-markov": {"structure": "semi-markov"},
}
SHOWN = ("accuracy", "edit", "f1@10", "f1@25", "f1@50", "band_ratio")
#: The same for all ways: epochs are few, and windows hold several bands of each class.
RECIPES: dict[str, dict[str, Any]] = {
    "ecg_ludb": {"max_epochs": 12, "window": 1000},
    "eye_lookatpoint": {"max_epochs": 12, "window": 1000},
}
PACKAGES = ("segcrf", "torch", "lightning", "numba", "numpy")


def tests(name: str, identifier: str) -> bool:
    """Whether a recording tests."""
    return int(identifier) > 160 if name == "ecg_ludb" else identifier in ("S5", "S6")


def load(name: str) -> data.DataSet:
    """Read a data set; a gaze gets its velocity as further channels."""
    recordings = data.load(name)
    if name != "eye_lookatpoint":
        return recordings
    gazes = recordings.signals.items()
    moving = {i: np.hstack([x, np.gradient(x[:, :2], axis=0)]).astype(np.float32) for i, x in gazes}
    return dataclasses.replace(recordings, signals=moving)


def run(recordings: data.DataSet, way: str, seed: int) -> dict[str, Any]:
    """Fit on the training recordings, and score the bands of the others."""
    test = [i for i in recordings.signals if tests(recordings.name, i)]
    train = [i for i in recordings.signals if i not in test]
    recipe = RECIPES[recordings.name]
    segmenter = Segmenter(seed=seed, progress=sys.stderr.isatty(), **recipe, **WAYS[way])
    begin = time.perf_counter()
    segmenter.fit(*recordings.lists(train))
    seconds = time.perf_counter() - begin
    signals, labels = recordings.lists(test)
    scores = metrics.evaluate(labels, segmenter.predict(signals))
    return {
        "way": way,
        "seed": seed,
        "frame_loss": segmenter.frame_loss_,
        "max_duration": segmenter.max_duration_,
        "best_epoch": segmenter.best_epoch_,
        "fit_seconds": round(seconds, 1),
        "scores": {key: round(float(scores[key]), 4) for key in SHOWN},
    }


def mean_of(runs: list[dict[str, Any]], way: str) -> dict[str, float]:
    """Mean scores of a way over its seeds."""
    rows = [run["scores"] for run in runs if run["way"] == way]
    return {key: round(statistics.mean(row[key] for row in rows), 2) for key in SHOWN} if rows else {}


def table(results: dict[str, Any]) -> str:
    """One line per data set and way."""
    lines = [f"{'':17}{'':32}" + "".join(f"{key:>12}" for key in SHOWN)]
    for name, result in results.items():
        for way in WAYS:
            row = result["mean"].get(way)
            if row:
                lines.append(f"{name:17}{way:32}" + "".join(f"{row[key]:12.2f}" for key in SHOWN))
    return "\n".join([*lines, metrics.conventions()])


def main() -> None:
    """Parse the command line, run, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME", help="data sets (default: both)")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = record.read("durations").get("data_sets", {})
    for name in arguments.names:
        try:
            recordings = load(name)
        except data.DataMissingError as error:
            print(f"{name}: skipped, {error}")
            continue
        runs: list[dict[str, Any]] = []
        results[name] = {"recipe": RECIPES[name], "runs": runs, "mean": {}}
        for seed in range(arguments.seeds):
            for way in WAYS:
                runs.append(run(recordings, way, seed))
                print(name, runs[-1], flush=True)
                results[name]["mean"] = {each: mean_of(runs, each) for each in WAYS}
                record.write("durations", {"data_sets": results, **record.environment(PACKAGES)})
    print(table(results))


if __name__ == "__main__":
    main()
