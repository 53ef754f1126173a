"""Check posterior probabilities before and after temperature scaling: ``python -m benchmarks.calibration``.

A Segmenter is fitted on a first group of people. On a second group, two temperatures are fitted: one divides all scores
of the structure, the other divides the emissions only. On a third group, confidence is compared with the truth:

* for each frame, the largest posterior probability with the accuracy;
* for each predicted band, its probability as a whole with how often the truth contains the band, and the mean
  probability of its frames with the share of correct frames.

The data sets:

* ``gesture_phase``: Kinect gestures. Users a and b train; of user c, one recording calibrates and one tests.
* ``sleep_edf20``: sleep stages in epochs of 30 s. People 00 to 05 train, 06 and 07 calibrate, 08 and 09 test.

Results are written to ``benchmarks/results/calibration.json`` after every run, whether the temperature helps or not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import data, record
from segcrf import Segmenter, Segments, Structure, metrics
from segcrf.inference import infer
from segcrf.metrics import Reliability, reliability
from segcrf.training import TEMPERATURE_SCOPES, fit_temperature

PACKAGES = ("segcrf", "torch", "lightning", "numba", "numpy", "scipy")
#: Prefixes of the identifiers that train, calibrate and test, and the options of the Segmenter.
DATA_SETS: dict[str, tuple[tuple[tuple[str, ...], ...], dict[str, Any]]] = {
    "gesture_phase": ((("a", "b"), ("c1",), ("c3",)), {"max_epochs": 20}),
    "sleep_edf20": (
        (("SC400", "SC401", "SC402", "SC403", "SC404", "SC405"), ("SC406", "SC407"), ("SC408", "SC409")),
        {"max_epochs": 20},
    ),
}


def structures(segmenter: Segmenter, signals: Sequence[data.Array]) -> list[Structure]:
    """Return the distribution over the labels of each recording."""
    return [found.dist for signal in signals for found in infer(segmenter.model_, [signal])]


@torch.no_grad()
def measure(dists: Sequence[Structure], labels: Sequence[data.Array]) -> dict[str, Any]:
    """Return the reliability of frames and bands, the log-loss, and the scores of the decoded bands."""
    posterior = [dist.marginals.labels[0].numpy() for dist in dists]
    frames = reliability(list(labels), posterior)
    loss = -sum(float(dist.log_prob(torch.as_tensor(k)[None])) for dist, k in zip(dists, labels, strict=True))
    predicted = [dist.mode[0].numpy() for dist in dists]
    scores = metrics.evaluate(labels, predicted)
    return {
        "log_loss_per_frame": round(loss / sum(map(len, labels)), 4),
        "expected_calibration_error": round(frames.error, 4),
        "frames": rows(frames),
        "bands": of_bands(dists, labels),
        "accuracy": round(scores["accuracy"], 2),
        "f1@50": round(scores["f1@50"], 2),
        "band_ratio": round(scores["band_ratio"], 3),
    }


def of_bands(dists: Sequence[Structure], labels: Sequence[data.Array]) -> dict[str, float]:
    """Compare the mean confidences of decoded bands with the truth; only bands of labelled frames count."""
    columns: dict[str, list[float]] = {"probability": [], "exact": [], "mean_marginal": [], "share_right": []}
    for dist, truth in zip(dists, labels, strict=True):
        predicted, true = Segments.from_labels(dist.mode), Segments.from_labels([truth])
        known = [
            bool((truth[a:z] != data.UNLABELLED).all()) for a, z in zip(predicted.start, predicted.end, strict=True)
        ]
        bands = predicted.select(np.array(known))
        found = set(zip(true.start.tolist(), true.end.tolist(), true.label.tolist(), strict=True))
        places = list(zip(bands.start.tolist(), bands.end.tolist(), bands.label.tolist(), strict=True))
        columns["probability"] += dist.band_probability(bands).tolist()
        columns["exact"] += [float(place in found) for place in places]
        columns["mean_marginal"] += dist.mean_marginal(bands).tolist()
        columns["share_right"] += [float((truth[start:end] == label).mean()) for start, end, label in places]
    return {"count": len(columns["exact"])} | {name: round(float(np.mean(v)), 4) for name, v in columns.items()}


def rows(table: Reliability) -> list[dict[str, float]]:
    """Return the filled bins of a reliability table for JSON."""
    columns = zip(table.edges[:-1], table.edges[1:], table.cases, table.confidence, table.accuracy, strict=True)
    return [
        {
            "from": round(low, 2),
            "to": round(high, 2),
            "frames": int(n),
            "confidence": round(c, 4),
            "accuracy": round(a, 4),
        }
        for low, high, n, c, a in columns
        if n
    ]


def run(name: str, seed: int) -> dict[str, Any]:
    """Fit, calibrate and measure on one data set."""
    parts, recipe = DATA_SETS[name]
    recordings = data.load(name)
    train, held, test = ([i for i in recordings.signals if i.startswith(part)] for part in parts)
    segmenter = Segmenter(seed=seed, progress=False, **recipe)
    begin = time.perf_counter()
    segmenter.fit(*recordings.lists(train))
    seconds = time.perf_counter() - begin
    signals, labels = recordings.lists(held)
    held_out = structures(segmenter, signals), [torch.as_tensor(k)[None] for k in labels]
    fitted = {scope: fit_temperature(*held_out, scope) for scope in TEMPERATURE_SCOPES}
    signals, labels = recordings.lists(test)
    dists = structures(segmenter, signals)
    return {
        "recordings": {"train": train, "calibrate": held, "test": test},
        "recipe": recipe | {"seed": seed},
        "fit_seconds": round(seconds, 1),
        "temperature": {scope: round(temperature, 3) for scope, temperature in fitted.items()},
        "as trained": measure(dists, labels),
        "structure": measure([dist.scaled(1 / fitted["structure"]) for dist in dists], labels),
        "emissions": measure([dist.scaled(emissions=1 / fitted["emissions"]) for dist in dists], labels),
    }


def table(name: str, result: dict[str, Any]) -> str:
    """Return confidences and accuracies as text, before and after temperature scaling."""
    lines = [f"{name}: temperature {result['temperature']}"]
    for when in ("as trained", *TEMPERATURE_SCOPES):
        found = result[when]
        lines.append(
            f"  {when:10} log-loss {found['log_loss_per_frame']:.4f}  calibration error "
            f"{found['expected_calibration_error']:.4f}  accuracy {found['accuracy']:.1f}  bands {found['bands']}"
        )
        lines += [
            f"    {row['from']:.1f} - {row['to']:.1f} {row['frames']:8d} {row['confidence']:.3f} {row['accuracy']:.3f}"
            for row in found["frames"]
        ]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(DATA_SETS), metavar="NAME", help="data sets (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in arguments.names:
        results[name] = run(name, arguments.seed)
        print(table(name, results[name]), flush=True)
        record.write("calibration", {"data_sets": results, **record.environment(PACKAGES)})


if __name__ == "__main__":
    main()
