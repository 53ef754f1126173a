"""Compare the encoders by name: ``python -m benchmarks.encoders``.

Two tables, written to ``benchmarks/results/encoders.json`` after each cell:

* speed: frames per second of ``Segmenter.predict`` for one recording of 1,000,000 frames, in CPU time of one thread. It
  is measured only if the features in pieces equal those of the whole recording;
* quality: validation scores of the best epoch, of a fit with the default epochs. Test recordings are not used, since
  the result decides sizes and defaults.

A stored cell is measured again only with ``--again``. The environment variable ``SEGCRF_DATA`` names the folder of the
data sets.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.bands.tasks import load
from segcrf import Segmenter
from segcrf.data import Labelled
from segcrf.nn import ENCODERS

TASKS = ("synthetic_high", "ecg_ludb", "gesture_phase", "eye_lookatpoint")
PACKAGES = ("segcrf", "torch", "numpy", "numba")
FRAMES, CHANNELS, CLASSES, BAND = 1_000_000, 4, 4, 50
CHECKED, TOLERANCE = 40_000, 1e-4
SCORES = ("val_f1", "val_edit", "val_accuracy")


def speed(encoder: str) -> dict[str, Any]:
    """Return the speed of a model with this encoder, which is trained for an epoch on random bands of 50 frames.

    Raises:
        RuntimeError: the features in pieces are others than those of the whole recording.
    """
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.permutation(CLASSES), BAND) for _ in range(4)]
    signals = [rng.normal(size=(len(each), CHANNELS)) + each[:, None] for each in labels]
    model = Segmenter(encoder=encoder, max_epochs=1, frame_loss=0.0, progress=False)
    fit(model, Labelled(signals, labels, None), Labelled(signals[:1], labels[:1], None))
    network = model.model_.encoder
    x = torch.from_numpy(rng.normal(size=(1, CHECKED, CHANNELS)).astype(np.float32))
    with torch.no_grad():
        error = float((torch.cat(list(network.chunks(x, 8192)), dim=1) - network(x)).abs().max())
    if error > TOLERANCE:
        raise RuntimeError(f"{encoder}: features in pieces differ by {error}")
    long = rng.normal(size=(FRAMES, CHANNELS))
    model.predict([long[:1000]])  # compiles
    begin = time.process_time()
    model.predict([long])
    seconds = time.process_time() - begin
    return {
        "frames_per_second": round(FRAMES / seconds),
        "weights": sum(each.numel() for each in network.parameters()),
        "error": error,
    }


def quality(encoder: str, task: str, seed: int) -> dict[str, Any]:
    """Return the validation scores of the best epoch, and the CPU seconds of the fit."""
    loaded = load(task)
    model = Segmenter(encoder=encoder, seed=seed, progress=False)
    begin = time.process_time()
    fit(model, loaded.train, loaded.valid)
    seconds = time.process_time() - begin
    best = next(row for row in model.history_ if row["epoch"] == model.best_epoch_)
    scores = {name: round(best[name], 4) for name in SCORES}
    return scores | {"epoch": model.best_epoch_, "seconds": round(seconds, 1)}


def fit(model: Segmenter, train: Labelled, validation: Labelled) -> None:
    """Fit a model without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train.signals, train.labels, validation=(validation.signals, validation.labels))


def main() -> None:
    """Measure what is asked, then print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS), metavar="NAME")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), help="data sets of the quality table; none: speed")
    parser.add_argument("--seeds", type=int, default=1, help="networks per data set and encoder (default: 1)")
    parser.add_argument("--again", action="store_true", help="measure stored cells again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [("quality", (encoder, task, seed)) for seed in range(arguments.seeds)
              for task in arguments.tasks for encoder in arguments.encoders]  # fmt: skip
    if not arguments.tasks:
        wanted = [("speed", (encoder,)) for encoder in arguments.encoders]
    measures = {"speed": speed, "quality": quality}
    for table, key in wanted:
        name = ", ".join(map(str, key))
        if name in record.read("encoders").get(table, {}) and not arguments.again:
            continue
        cell = measures[table](*key)
        print(f"{table}: {name}: {cell}", flush=True)
        stored = record.read("encoders")  # another process may have added cells
        cells = {each: stored.get(each, {}) for each in measures}
        cells[table][name] = cell
        record.write("encoders", {"command": "python -m benchmarks.encoders"} | cells | record.environment(PACKAGES))


if __name__ == "__main__":
    main()
