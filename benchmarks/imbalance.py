"""Where one class is nearly everywhere: ``python -m benchmarks.imbalance``.

Appliances of ``nilm_devicescope``: "none" has nine frames in ten. The same network is trained on all windows, and on
windows where those that show "none" alone are capped (``RandomWindows(balance=...)``), for each of several seeds; a
third house tests. Printed, and written to ``benchmarks/results/imbalance.json``, with the calibration that capping
may cost: training then shows rare classes more often than they are. Windows are of an hour: hardly any of four hours
shows "none" alone.

The environment variable ``SEGCRF_DATA`` names the folder of the data sets.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import record
from benchmarks.joint import PACKAGES, Budget, Problem, nilm_devicescope
from segcrf.crf import LinearChainCRF
from segcrf.encoders import LSTMEncoder
from segcrf.losses import FixedWeights, JointObjective
from segcrf.model import JointModel
from segcrf.training import parameter_groups
from segcrf.windows import RandomWindows, Windows, collate, grid

BALANCES = {"all windows": None, "3 of “none” per other": 3.0, "1 of “none” per other": 1.0}
BINS = 15
WINDOW = 64


def train(problem: Problem, balance: float | None, budget: Budget, rate: float, seed: int) -> JointModel:
    """A network of classes alone, on windows capped so."""
    torch.manual_seed(seed)
    crf = LinearChainCRF(problem.num_classes).init_from([recording.labels for recording in problem.parts[0]])
    model = JointModel(LSTMEncoder(1, hidden=budget.hidden // 2, bidirectional=True), crf)
    objective, combine = JointObjective(None), FixedWeights()
    groups = [group for group in parameter_groups(model, objective, rate, 1e-2) if group["params"]]
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], budget.steps, pct_start=0.05, cycle_momentum=False
    )
    options: dict[str, Any] = {"balance": balance, "seed": seed}
    windows = RandomWindows(problem.parts[0], problem.window, budget.batch_size, **options)
    data = Windows(problem.parts[0])
    batches = iter(windows)
    for _ in range(budget.steps):
        try:
            chosen = next(batches)
        except StopIteration:
            windows.set_epoch(windows.epoch + 1)
            batches = iter(windows)
            chosen = next(batches)
        batch = collate(data[chosen])
        optimiser.zero_grad()
        combine(objective(model(batch.signal, batch.lengths), batch.labels)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def score(model: JointModel, problem: Problem) -> dict[str, float]:
    """F1 of frames by class, and how far posterior marginals are from frequencies."""
    recordings = problem.parts[2]
    true, found, chance = [], [], []
    for window in grid(recordings, max(len(recording.labels) for recording in recordings)):
        recording = recordings[window.recording]
        distribution = model(recording.signal[None]).distribution
        true.append(recording.labels.numpy())
        found.append(distribution.mode[0].numpy())
        chance.append(distribution.marginals.labels[0].numpy())
    labels, decoded, p = (np.concatenate(part) for part in (true, found, chance))
    size = problem.num_classes
    counts = np.bincount(labels * size + decoded, minlength=size * size).reshape(size, size)
    f1 = 2 * counts.diagonal() / np.maximum(counts.sum(0) + counts.sum(1), 1)
    share = np.bincount(labels, minlength=size) / len(labels)
    return {
        "accuracy": 100.0 * float((labels == decoded).mean()),
        "f1 of the commonest": 100.0 * float(f1[share.argmax()]),
        "f1 of the others, mean": 100.0 * float(np.delete(f1, share.argmax()).mean()),
        "calibration error": 100.0 * _calibration_error(p.max(1), labels == p.argmax(1)),
        "frames expected of the others": 100.0 * float(1.0 - p[:, share.argmax()].mean()),
        "frames there are of the others": 100.0 * float(1.0 - share.max()),
    }


def _calibration_error(confidence: Any, right: Any) -> float:
    """Mean distance of confidence and accuracy over bins of confidence (Naeini, Cooper and Hauskrecht, 2015)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).sum() for b in set(place)]
    return float(sum(gaps) / len(confidence))


def main() -> None:
    """Train, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="networks per sampling (default: 3)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--rate", type=float, default=1e-2, help="learning rate (default: 0.01)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    budget = Budget(seeds=arguments.seeds, steps=arguments.steps, hidden=32, batch_size=64, rates=(arguments.rate,))
    problem = dataclasses.replace(nilm_devicescope(0), window=WINDOW)
    rows = []
    for name, balance in BALANCES.items():
        scores = [score(train(problem, balance, budget, arguments.rate, seed), problem) for seed in range(budget.seeds)]
        sampler = RandomWindows(problem.parts[0], WINDOW, budget.batch_size, balance=balance)
        row: dict[str, Any] = {"sampling": name, "seeds": scores, "windows per epoch": sum(map(len, sampler))}
        for key in scores[0]:
            row[key] = float(np.mean([s[key] for s in scores]))
        rows.append(row)
        print(f"{name:<24}" + "  ".join(f"{key} {row[key]:.1f}" for key in scores[0]), flush=True)
    command = f"python -m benchmarks.imbalance --seeds {budget.seeds} --steps {budget.steps} --rate {arguments.rate:g}"
    result = {"command": command, "budget": dataclasses.asdict(budget), "window": WINDOW, "rows": rows}
    print(record.write("imbalance", result | record.environment(PACKAGES)))


if __name__ == "__main__":
    main()
