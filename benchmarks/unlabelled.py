"""Unlabelled frames kept as they are, or cut out: ``python -m benchmarks.unlabelled``.

``emg_gestures``: gestures of a hand, of which 64 % of the frames carry no label. Three ways to train the same encoder
and linear chain on the same people, tested on whole recordings of others, with the same epochs, recipe and seeds:

* ``as they are``: unlabelled frames are -100, and the likelihood sums over what they may be.
* ``stretches``: every labelled stretch is a recording of its own; unlabelled frames are thrown away.
* ``joined``: the labelled frames of a recording are put end to end, as if nothing had been between them.

Nothing is tuned. Scores are those of :func:`segcrf.metrics.evaluate`, which looks at labelled frames only, and the
share of unlabelled frames on which the decoded class is that of neither labelled neighbour: bands that have no label.
Written to ``benchmarks/results/unlabelled.json`` after every run, whichever way is ahead.
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
    """Unlabelled frames stay, marked -100."""
    return signals, labels


def stretches(signals: list[data.Array], labels: list[data.Array]) -> Lists:
    """A recording for every run of labelled frames."""
    cut: Lists = ([], [])
    for signal, marks in zip(signals, labels, strict=True):
        known = marks != data.UNLABELLED
        edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(np.int8), [0]])))
        for start, end in edges.reshape(-1, 2):
            cut[0].append(signal[start:end])
            cut[1].append(marks[start:end])
    return cut


def joined(signals: list[data.Array], labels: list[data.Array]) -> Lists:
    """Unlabelled frames are left out, and what is left is put end to end."""
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
    """Fit on people 1 to ``people``, and score the bands of those after 30."""
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
    """Percent of the unlabelled frames whose predicted class is that of neither labelled neighbour."""
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
    """Mean over the seeds of each way."""
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
    """Parse the command line, run, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--people", type=int, default=10, help="people who train (default: 10)")
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
