"""Compare the bands of the linear chain and of the semi-Markov chain: ``python -m benchmarks.durations``.

Both have the same encoder, recipe, budget, windows and seeds. Different people train and test:

* ``ecg_ludb``: waves of the electrocardiogram at 500 Hz. People 1 to 160 train, the others test.
* ``eye_lookatpoint``: fixations, saccades and blinks at 1 kHz. S1 to S4 train, S5 and S6 test. In one millisecond, the
  gaze moves by a hundredth of its spread. This is too little for the encoder, so the velocity is added to the signal.

The linear chain is also trained by the likelihood alone. If bands are long, a Segmenter also tries a cross-entropy of
frames. If they are short, both ways are the same.

Nothing is tuned. The scores of :func:`segcrf.metrics.evaluate`, per seed and their mean, are written to
``benchmarks/results/durations.json`` after every run, so that an interruption loses only one run. The results of data
sets that are not named are kept.
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
#: Options for all ways: few epochs, and windows that contain several bands of each class.
RECIPES: dict[str, dict[str, Any]] = {
    "ecg_ludb": {"max_epochs": 12, "window": 1000},
    "eye_lookatpoint": {"max_epochs": 12, "window": 1000},
}
PACKAGES = ("segcrf", "torch", "lightning", "numba", "numpy")


def is_test(name: str, identifier: str) -> bool:
    """Return whether a recording belongs to the test set."""
    return int(identifier) > 160 if name == "ecg_ludb" else identifier in ("S5", "S6")


def load(name: str) -> data.DataSet:
    """Read a data set; add the velocity of the gaze as further channels."""
    recordings = data.load(name)
    if name != "eye_lookatpoint":
        return recordings
    gazes = recordings.signals.items()
    moving = {i: np.hstack([x, np.gradient(x[:, :2], axis=0)]).astype(np.float32) for i, x in gazes}
    return dataclasses.replace(recordings, signals=moving)


def run(recordings: data.DataSet, way: str, seed: int) -> dict[str, Any]:
    """Fit on the training recordings, and score the bands of the test recordings."""
    test = [i for i in recordings.signals if is_test(recordings.name, i)]
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
    """Return the mean scores of a way over its seeds."""
    rows = [run["scores"] for run in runs if run["way"] == way]
    return {key: round(statistics.mean(row[key] for row in rows), 2) for key in SHOWN} if rows else {}


def table(results: dict[str, Any]) -> str:
    """Return the mean scores as text, one line per data set and way."""
    lines = [f"{'':17}{'':32}" + "".join(f"{key:>12}" for key in SHOWN)]
    for name, result in results.items():
        for way in WAYS:
            row = result["mean"].get(way)
            if row:
                lines.append(f"{name:17}{way:32}" + "".join(f"{row[key]:12.2f}" for key in SHOWN))
    return "\n".join([*lines, metrics.conventions()])


def main() -> None:
    """Parse the command line, run, print, and write the results."""
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
