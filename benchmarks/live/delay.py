"""Score decisions by the frames that they may wait.

One causal network per seed is fitted without a delay. Then each delay decides by frame, with the factor of the signal
that is best on validation recordings under this delay. The error that chooses is that of training: one minus the mean
of accuracy, edit score and F1@50. Test recordings are scored once for each delay. Beside it stand the same network
without a limit (offline), a bidirectional one, and on the founding problem the exact limit (:mod:`.limit`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.bands import tasks
from benchmarks.live import limit
from segcrf import Segmenter
from segcrf.metrics import evaluate
from segcrf.nn import DecodingRule
from segcrf.structures import Structure

__all__ = ["SECONDS", "TASKS", "cells", "delays", "picked"]

SECONDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
TASKS = ("synthetic_low", "ecg_ludb", "eye_lookatpoint")
LONG = 50  # frames of the median band from which a loss of single frames helps to learn
WINDOW, BATCH = 256, 16  # frames and windows of a training step
Array = npt.NDArray[Any]


def delays(rate: float) -> list[int]:
    """Return the delays in frames at a rate.

    >>> delays(125.0)
    [0, 2, 6, 12, 25, 62, 125, 250]
    """
    return [round(seconds * rate) for seconds in SECONDS]


def cells(task: tasks.Task, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one network after the other; a row has the scores of one delay (None: offline)."""
    for encoder in ("causal", "bidirectional"):
        model = _fitted(task, seed, steps, causal=encoder == "causal")
        waits = [*delays(task.rate), None] if encoder == "causal" else [None]
        dist = _distributions(model, task.valid.signals)
        for wait in waits:
            rule, error = _chosen(dist, task.valid.labels, wait)
            found = model.set_decoding(rule).predict(task.test.signals)
            row = _row(task, encoder, wait, found) | {"seed": seed, "epoch": model.best_epoch_}
            yield row | {"factor": rule.factor, "valid_error": round(error, 4)}


def limits(task: tasks.Task) -> list[dict[str, Any]]:
    """Return the rows of exact inference on the founding problem; none for recorded data."""
    if task.name not in tasks.NOISES:
        return []
    waits = delays(task.rate)
    model = limit.SwitchingPhase(noise=tasks.NOISES[task.name])
    found = limit.decided(task.test.signals, model, waits)
    return [_row(task, "limit", wait, labels) for wait, labels in zip((*waits, None), found, strict=True)]


def picked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each network, the delay that validation recordings pick, with its scores and those of offline.

    It is the shortest delay with an error within one hundredth of the least.
    """
    found: list[dict[str, Any]] = []
    causal = [row for row in rows if row["encoder"] == "causal"]
    for task, seed in dict.fromkeys((row["task"], row["seed"]) for row in causal):
        mine = [row for row in causal if (row["task"], row["seed"]) == (task, seed)]
        live = [row for row in mine if row["delay"] is not None]
        least = min(row["valid_error"] for row in live)
        pick = next(row for row in live if row["valid_error"] <= least + 0.01)
        offline = next((row for row in mine if row["delay"] is None), pick)
        found.append({"task": task, "seed": seed, "seconds": pick["seconds"]}
                     | {name: [pick[name], offline[name]] for name in ("accuracy", "edit", "f1@50")})  # fmt: skip
    return found


def _fitted(task: tasks.Task, seed: int, steps: int, *, causal: bool) -> Segmenter:
    """Return a network after about so many training steps; causal or not, it has as many features per frame."""
    batches = max(16, math.ceil(sum(map(len, task.train.labels)) / (WINDOW * BATCH)))
    model = Segmenter(
        hidden=64 if causal else 32,
        bidirectional=not causal,
        decoding="frame",
        frame_loss=1.0 if task.median_duration() >= LONG else 0.0,
        max_epochs=math.ceil(steps / batches),
        window=WINDOW,
        batch_size=BATCH,
        seed=seed,
        progress=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(task.train.signals, task.train.labels, validation=(task.valid.signals, task.valid.labels))


@torch.no_grad()
def _distributions(model: Segmenter, signals: Sequence[Array]) -> Structure:
    """Return the distribution of the labels of recordings, without a decoding rule."""
    lengths = torch.tensor([len(signal) for signal in signals])
    x = np.zeros((len(signals), int(lengths.max()), signals[0].shape[1]))
    for row, signal in zip(x, signals, strict=True):
        row[: len(signal)] = signal
    return model.model_(torch.from_numpy(x), lengths).dist


def _chosen(dist: Structure, true: Sequence[Array], wait: int | None) -> tuple[DecodingRule, float]:
    """Return the rule of least error under a delay, and its error."""
    errors: dict[DecodingRule, float] = {}
    for factor in FACTORS:
        rule = DecodingRule(factor, by_frame=True, max_delay=wait)
        labels = rule.decode(dist).labels.numpy()
        scores = evaluate(true, [row[: len(k)] for row, k in zip(labels, true, strict=True)])
        errors[rule] = 1.0 - (scores["accuracy"] + scores["edit"] + scores["f1@50"]) / 300.0
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def _row(task: tasks.Task, encoder: str, wait: int | None, found: Sequence[Array]) -> dict[str, Any]:
    scores = evaluate(task.test.labels, found)
    where = {"task": task.name, "encoder": encoder, "delay": wait}
    seconds = None if wait is None else round(wait / task.rate, 3)
    kept = {name: round(scores[name], 2) for name in ("accuracy", "edit", "f1@50", "band_ratio")}
    return where | {"seconds": seconds} | kept
