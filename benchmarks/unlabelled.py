"""Compare ways to treat unlabelled frames in training: ``python -m benchmarks.unlabelled``.

``emg_gestures`` has gestures of a hand; 64 % of its frames are unlabelled. The same encoder and linear chain are
trained in three ways, with the same people, epochs, recipe and seeds, and tested on whole recordings of other people:

* ``as they are``: unlabelled frames are -100, and the likelihood sums over their possible classes.
* ``stretches``: each labelled stretch is a separate recording, and unlabelled frames are dropped.
* ``joined``: unlabelled frames are dropped, and the labelled frames of a recording are joined.

Nothing is tuned. The scores are those of :func:`segcrf.metrics.evaluate`, which uses labelled frames only. A further
score is the share of unlabelled frames with a predicted class that differs from both labelled neighbours, which are
extra bands. The result is written to ``benchmarks/results/unlabelled.json`` after each run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import data, record
from segcrf import Segmenter, Segments, metrics

NAME = "emg_gestures"
SHOWN = ("accuracy", "macro_f1", "edit", "f1@25", "f1@50", "band_ratio")
RECIPE: dict[str, Any] = {"hidden": 32, "max_epochs": 20, "window": 1000, "validation_fraction": 0.0}
PACKAGES = ("segcrf", "torch", "lightning", "numba", "numpy")
Lists = tuple[list[data.Array], list[data.Array]]


def as_they_are(signals: list[data.Array], labels: list[data.Array]) -> Lists:
    """Keep unlabelled frames, marked -100."""
    return signals, labels


def stretches(signals: list[data.Array], labels: list[data.Array]) -> Lists:
    """Return a recording for each run of labelled frames."""
    cut: Lists = ([], [])
    for signal, marks in zip(signals, labels, strict=True):
        known = marks != data.UNLABELLED
        edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
        for start, end in edges.reshape(-1, 2):
            cut[0].append(signal[start:end])
            cut[1].append(marks[start:end])
    return cut


def joined(signals: list[data.Array], labels: list[data.Array]) -> Lists:
    """Drop unlabelled frames and join the rest of each recording."""
    kept = [marks != data.UNLABELLED for marks in labels]
    return (
        [signal[frames] for signal, frames in zip(signals, kept, strict=True)],
        [marks[frames] for marks, frames in zip(labels, kept, strict=True)],
    )


WAYS: dict[str, Callable[[list[data.Array], list[data.Array]], Lists]] = {
    "as they are": as_they_are,
    "stretches": stretches,
    "joined": joined,
}


def run(recordings: data.DataSet, way: str, seed: int, people: int) -> dict[str, Any]:
    """Fit on people 1 to ``people``, and score the bands of the people after 30."""
    train = [i for i in recordings.signals if int(i[:2]) <= people]
    test = [i for i in recordings.signals if int(i[:2]) > 30]
    segmenter = Segmenter(seed=seed, progress=False, **RECIPE)
    begin = time.perf_counter()
    segmenter.fit(*WAYS[way](*recordings.lists(train)))
    seconds = time.perf_counter() - begin
    signals, labels = recordings.lists(test)
    predicted = segmenter.predict(signals)
    scores = metrics.evaluate(labels, predicted)
    return {
        "way": way,
        "seed": seed,
        "fit_seconds": round(seconds, 1),
        "scores": {key: round(float(scores[key]), 2) for key in SHOWN},
        "bands_per_recording": round(len(Segments.from_labels(predicted)) / len(test), 1),
        "unmarked": round(unmarked(predicted, labels), 2),
    }


def unmarked(predicted: Sequence[data.Array], labels: Sequence[data.Array]) -> float:
    """Return the percentage of unlabelled frames with a predicted class that differs from both labelled neighbours."""
    odd = total = 0
    for ours, marks in zip(predicted, labels, strict=True):
        frames = np.arange(len(marks))
        known = np.flatnonzero(marks != data.UNLABELLED)
        between = (marks == data.UNLABELLED) & (frames > known[0]) & (frames < known[-1])
        after = np.searchsorted(known, frames[between])
        neighbours = marks[known[after - 1]], marks[known[after]]
        odd += int(((ours[between] != neighbours[0]) & (ours[between] != neighbours[1])).sum())
        total += int(between.sum())
    return 100 * odd / total


def table(runs: list[dict[str, Any]]) -> str:
    """Return the mean scores of each way over seeds as text."""
    columns = [*SHOWN, "unmarked", "seconds"]
    lines = [f"{'':14}" + "".join(f"{name:>12}" for name in columns)]
    for way in WAYS:
        rows = [
            {**run["scores"], "unmarked": run["unmarked"], "seconds": run["fit_seconds"]}
            for run in runs
            if run["way"] == way
        ]
        if rows:
            means = (statistics.mean(row[name] for row in rows) for name in columns)
            lines.append(f"{way:14}" + "".join(f"{mean:12.2f}" for mean in means))
    return "\n".join([*lines, metrics.conventions()])


def main() -> None:
    """Parse the command line, run, then print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--people", type=int, default=10, help="number of people who train (default: 10)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recordings = data.load(NAME)
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        for way in WAYS:
            runs.append(run(recordings, way, seed, arguments.people))
            print(runs[-1], flush=True)
            result = {"data_set": NAME, "recipe": RECIPE, "people": arguments.people, "runs": runs}
            record.write("unlabelled", result | record.environment(PACKAGES))
    print(table(runs))


if __name__ == "__main__":
    main()
