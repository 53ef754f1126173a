"""Compare ways to train with one dominant class: ``python -m benchmarks.imbalance``.

The task is to find appliances in ``nilm_devicescope``, where nine frames in ten are "none". The same network is trained
in several ways, with several seeds each. Validation chooses the learning rate of each way, and a third house tests:

* the likelihood, on all windows;
* the likelihood, with a cap on the number of windows that show only "none" (``RandomWindows(balance=...)``);
* log-marginals with class weights (:func:`segcrf.losses.weighted_marginal_loss`);
* a softmax-margin with costs proportional to these weights (:func:`segcrf.losses.softmax_margin`).

The weight of a class is one over the square root of its share of the training frames, scaled to one for "none".
Windows last an hour, because hardly any window of four hours shows only "none".

The scores are printed, and written to ``benchmarks/results/imbalance.json``. They include the calibration error,
because most of these ways treat rare classes as more frequent, or more important, than they are.

The environment variable ``SEGCRF_DATA`` names the folder of the data sets.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks import record
from benchmarks.joint import PACKAGES, Budget, Problem, nilm_devicescope
from segcrf.data import RandomWindows, Recording, Windows, collate, grid
from segcrf.losses import JointObjective, softmax_margin, weighted_marginal_loss
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
from segcrf.structures import Structure
from segcrf.training import parameter_groups


@dataclass(frozen=True)
class Way:
    """A way to train.

    Args:
        name: name in the table.
        balance: largest number of windows that show only the commonest class, per other window.
        loss: loss per recording from a distribution, labels (B, T) and class weights (C,).
    """

    name: str
    balance: float | None = None
    loss: Callable[[Structure, Tensor, Tensor], Tensor] = lambda dist, labels, _: -dist.log_prob(labels)


def margin(dist: Structure, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the softmax-margin loss; a missed frame of the rarest class costs one nat, others in proportion."""
    cost = (weights / weights.max())[:, None] * (1.0 - torch.eye(len(weights)))
    return softmax_margin(dist, labels, cost)


WAYS = (
    Way("likelihood, all windows"),
    Way("likelihood, 3 of “none” per other", balance=3.0),
    Way("likelihood, 1 of “none” per other", balance=1.0),
    Way("weighted log-marginals", loss=weighted_marginal_loss),
    Way("softmax-margin", loss=margin),
)
BINS = 15
WINDOW = 64


def class_weights(recordings: list[Recording], num_classes: int) -> Tensor:
    """Return the square root of the largest class count over the count of each class (C,)."""
    labels = torch.cat([recording.labels for recording in recordings])
    counts = torch.bincount(labels[labels >= 0], minlength=num_classes).clamp(min=1).double()
    return (counts.max() / counts).sqrt().float()


def train(problem: Problem, way: Way, budget: Budget, rate: float, seed: int) -> JointModel:
    """Train a network that predicts labels only."""
    torch.manual_seed(seed)
    crf = LinearChainCRF(problem.num_classes).init_from([recording.labels for recording in problem.parts[0]])
    model = JointModel(LSTMEncoder(1, hidden=budget.hidden // 2, bidirectional=True), crf)
    weights = class_weights(problem.parts[0], problem.num_classes)
    groups = [group for group in parameter_groups(model, JointObjective(None), rate, 1e-2) if group["params"]]
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], budget.steps, pct_start=0.05, cycle_momentum=False
    )
    options: dict[str, Any] = {"balance": way.balance, "seed": seed}
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
        loss = way.loss(model(batch.signal, batch.lengths).dist, batch.labels, weights)
        optimiser.zero_grad()
        (loss.sum() / batch.lengths.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def score(model: JointModel, problem: Problem, recordings: list[Recording]) -> dict[str, float]:
    """Return the F1 scores of frames in percent, and compare posterior marginals with frequencies."""
    true, found, chance = [], [], []
    for window in grid(recordings, max(len(recording.labels) for recording in recordings)):
        recording = recordings[window.recording]
        distribution = model(recording.signal[None]).dist
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
    """Return the mean gap between confidence and accuracy over bins (Naeini, Cooper and Hauskrecht, 2015)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).sum() for b in set(place)]
    return float(sum(gaps) / len(confidence))


def selection_score(scores: dict[str, float]) -> float:
    """Return the score that chooses the learning rate; the commonest class and the mean of the others count equally."""
    return scores["f1 of the commonest"] + scores["f1 of the others, mean"]


def main() -> None:
    """Train, score, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="networks per way (default: 3)")
    parser.add_argument("--steps", type=int, default=300, help="training steps (default: 300)")
    parser.add_argument("--rates", type=float, nargs="+", default=(1e-2, 3e-2), help="learning rates to choose from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    budget = Budget(
        seeds=arguments.seeds, steps=arguments.steps, hidden=32, batch_size=64, rates=tuple(arguments.rates)
    )
    problem = dataclasses.replace(nilm_devicescope(0), window=WINDOW)
    rows = []
    for way in tqdm(WAYS, unit="way"):
        tuning = {rate: train(problem, way, budget, rate, 0) for rate in budget.rates}
        rate = max(tuning, key=lambda rate: selection_score(score(tuning[rate], problem, problem.parts[1])))
        models = [tuning[rate], *(train(problem, way, budget, rate, seed) for seed in range(1, budget.seeds))]
        scores = [score(model, problem, problem.parts[2]) for model in models]
        sampler = RandomWindows(problem.parts[0], WINDOW, budget.batch_size, balance=way.balance)
        row: dict[str, Any] = {"training": way.name, "seeds": scores, "rate": rate}
        row["windows per epoch"] = sum(map(len, sampler))
        for key in scores[0]:
            row[key] = float(np.mean([s[key] for s in scores]))
            row[f"{key}_se"] = float(np.std([s[key] for s in scores], ddof=1) / np.sqrt(len(scores)))
        rows.append(row)
        tqdm.write(f"{way.name:<36}" + "  ".join(f"{key} {row[key]:.1f} ± {row[key + '_se']:.1f}" for key in scores[0]))
    rates = " ".join(f"{rate:g}" for rate in budget.rates)
    command = f"python -m benchmarks.imbalance --seeds {budget.seeds} --steps {budget.steps} --rates {rates}"
    result = {"command": command, "budget": dataclasses.asdict(budget), "window": WINDOW, "rows": rows}
    print(record.write("imbalance", result | record.environment(PACKAGES)))


if __name__ == "__main__":
    main()
