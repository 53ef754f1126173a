"""Compare ways to choose a learning rate: ``python -m benchmarks.rates``.

Compares ``Segmenter(learning_rate="auto")`` with fixed rates and with the range test (Smith, 2017), which is one
training with a rate that grows at each step. The suggested rate is that of the steepest fall of the loss, as in
Lightning, or a tenth of that of the least loss, as in fastai. All rates are scored on validation recordings, by the
criterion that chooses an epoch. Test recordings are not used, since the result decides a default.

Problems with targets are ``founding 0.3``, ``gesture_phase`` and ``nilm_devicescope`` of :mod:`benchmarks.joint`.
Problems without targets are ``ecg_ludb`` (40 people train, 20 validate) and ``sleep_edf20`` (7 train, 3 validate).
The result is written to ``benchmarks/results/rates.json`` after each seed. The environment variable ``SEGCRF_DATA``
names the folder of the data sets.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from benchmarks import record
from benchmarks.data import load
from benchmarks.joint import PACKAGES, Problem, founding, gesture_phase, nilm_devicescope
from segcrf import Segmenter
from segcrf.data import RandomWindows, Recording, Windows, collate
from segcrf.losses import FixedWeights, JointObjective
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, Standardizer
from segcrf.training import parameter_groups

RATES = (1e-3, 3e-3, 5e-3, 1e-2, 3e-2)
HIDDEN = 32
RANGE, RANGE_STEPS, SMOOTH, SKIPPED = (1e-5, 1.0), 100, 0.9, 10


class Case(NamedTuple):
    """Training and validation recordings, with settings of encoder and training."""

    train: list[Recording]
    validation: list[Recording]
    both: bool
    epochs: int
    num_classes: int


def cases(seed: int) -> dict[str, Case]:
    """Return the problems by name."""
    made = {"founding 0.3": _joint(founding(0.3, seed), 10)}
    if os.environ.get("SEGCRF_DATA"):
        made["gesture_phase"] = _joint(gesture_phase(seed), 30)
        made["nilm_devicescope"] = _joint(nilm_devicescope(seed), 2)
        made["ecg_ludb"] = _classes("ecg_ludb", 40, 60, 4)
        made["sleep_edf20"] = _classes("sleep_edf20", 14, 20, 30)
    return made


def _joint(problem: Problem, epochs: int) -> Case:
    return Case(problem.parts[0], problem.parts[1], problem.posterior == "smooth", epochs, problem.num_classes)


def _classes(name: str, train: int, end: int, epochs: int) -> Case:
    stored = load(name)
    signals, labels = stored.lists(sorted(stored.signals)[:end])
    scaler = Standardizer.fit(signals[:train])
    scaled = [torch.from_numpy(scaler.transform(x).astype(np.float32)) for x in signals]
    recordings = [Recording(x, torch.from_numpy(k), None) for x, k in zip(scaled, labels, strict=True)]
    classes = 1 + max(int(k.max()) for k in labels)
    return Case(recordings[:train], recordings[train:], True, epochs, classes)


def fit(case: Case, rate: float | str, seed: int) -> dict[str, Any]:
    """Fit a Segmenter.

    Returns:
        The learning rate, the validation scores of the best epoch, and seconds.
    """
    begin = time.perf_counter()
    model = Segmenter(
        hidden=HIDDEN, bidirectional=case.both, max_epochs=case.epochs, learning_rate=rate, seed=seed, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit warns of a large rate
        X, labels, *targets = _arrays(case.train)
        model.fit(X, labels, targets=targets[0] if targets else None, validation=_arrays(case.validation))
    best = next(row for row in model.history_ if row["epoch"] == model.best_epoch_)
    scores = {key: best[key] for key in ("val_error", "val_mse", "val_accuracy", "val_f1") if key in best}
    return {"rate": model.learning_rate_, **scores, "seconds": round(time.perf_counter() - begin, 1)}


def _arrays(recordings: list[Recording]) -> tuple[list[Any], ...]:
    columns: list[Any] = [[r.signal.double().numpy() for r in recordings], [r.labels.numpy() for r in recordings]]
    targets = [r.targets.double().numpy() for r in recordings if r.targets is not None]
    return (*columns, targets) if targets else tuple(columns)


def range_test(case: Case, seed: int) -> dict[str, float]:
    """Return the learning rates that a range test suggests, read in two ways.

    The total is the plain sum, since losses divided by their running means would stay constant.
    """
    torch.manual_seed(seed)
    targets = case.train[0].targets
    count = 0 if targets is None else targets.shape[1]
    encoder = LSTMEncoder(case.train[0].signal.shape[1], hidden=HIDDEN, bidirectional=case.both)
    crf = LinearChainCRF(case.num_classes).init_from([recording.labels for recording in case.train])
    model, objective = JointModel(encoder, crf, count), JointObjective("mse" if count else None, max(count, 1))
    groups = [group for group in parameter_groups(model, objective, 1.0, 1e-2) if group["params"]]
    optimiser = torch.optim.AdamW(groups)
    factors = [group["lr"] for group in groups]
    rates = np.geomspace(*RANGE, RANGE_STEPS)
    windows, data = RandomWindows(case.train, 256, 16, min_batches=RANGE_STEPS, seed=seed), Windows(case.train)
    losses: list[float] = []
    mean = 0.0
    for step, (rate, chosen) in enumerate(zip(rates, windows, strict=False), 1):
        for group, factor in zip(optimiser.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        batch = collate(data[chosen])
        loss = FixedWeights()(objective(model(batch.signal, batch.lengths), batch.labels, batch.targets))
        mean = SMOOTH * mean + (1.0 - SMOOTH) * float(loss.detach())
        losses.append(mean / (1.0 - SMOOTH**step))
        if losses[-1] > 4.0 * min(losses):
            break
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    curve = np.array(losses)[SKIPPED:]
    tried = rates[SKIPPED : len(losses)]
    return {
        "steepest": float(tried[np.gradient(curve).argmin()]),
        "a tenth of the least": float(tried[curve.argmin()] / 10.0),
    }


def main() -> None:
    """Fit at each rate, then print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="networks per problem and rate (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells: list[dict[str, Any]] = []
    ranges: list[dict[str, Any]] = []
    for seed in tqdm(range(arguments.seeds), unit="seed"):
        for name, case in cases(seed).items():
            ranges.append({"problem": name, "seed": seed, **range_test(case, seed)})
            tqdm.write(f"{name}, seed {seed}, range test: {ranges[-1]}")
            for rate in ("auto", *RATES):
                cells.append({"problem": name, "seed": seed, "asked": str(rate), **fit(case, rate, seed)})
                row = cells[-1]
                line = f"error {row['val_error']:.3f}, rate {row['rate']:g}, {row['seconds']} s"
                tqdm.write(f"{name}, seed {seed}, {rate}: {line}")
        result = {"command": f"python -m benchmarks.rates --seeds {seed + 1}", "cells": cells, "range tests": ranges}
        path = record.write("rates", result | record.environment(PACKAGES))
    print(path)


if __name__ == "__main__":
    main()
