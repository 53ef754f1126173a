"""Ways to train classes and numbers together: ``python -m benchmarks.joint``.

One network per method, problem and seed, all with the same encoder, batches, steps and optimiser. The learning rate of
each method is chosen on validation recordings, with the first seeds: once for the founding problem, at its middle
noise, and apart for each recorded data set. Test recordings choose nothing.

Problems:

* ``founding 0.1``, ``0.3``, ``0.5``: signals that switch between 5, 10 and 15 Hz, with noise of that deviation on an
  amplitude of 1. The number is the clean signal 50 ms ahead, so the encoder is causal, and predictions that mix the
  classes' regressions are filtered.
* ``gesture_phase``: 18 coordinates at about 27 Hz, five phases; the numbers are 32 velocities and accelerations at the
  same time. Persons a and b train (a3 validates), c tests; b3 is left out, where targets are up to a hundred deviations
  off. Nothing is forecast: the encoder reads both ways.
* ``nilm_devicescope``: power of a house each minute, which appliance is on; the numbers are the powers of four. Two
  houses train (the last tenth of each validates); a third house tests, every tenth day of it.

Every cell is kept in ``benchmarks/cache/joint`` as it is done, so that a run that was cut off goes on. The result is
written to ``benchmarks/results/joint.json``, with all cells. The folder of recorded data sets is named by the
environment variable ``SEGCRF_DATA``; without it only the founding problem runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import record
from benchmarks.data import DataSet, load
from segcrf import metrics
from segcrf.data import Batch, RandomWindows, Recording, Standardizer, Windows, collate, grid, switching_sinusoid
from segcrf.losses import (
    Combiner,
    FixedWeights,
    JointObjective,
    Losses,
    RunningMeanWeights,
    SwitchingObjective,
    UncertaintyWeights,
)
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, SwitchingModel
from segcrf.training import parameter_groups

CACHE = Path(__file__).parent / "cache" / "joint"
PACKAGES = ("torch", "numpy", "numba", "lightning")
NOISES = (0.1, 0.3, 0.5)
TUNING_SEEDS = 2
RECORDED_SEEDS = 3
LONGER = 4
LONGER_SEEDS = 3


@dataclass(frozen=True)
class Budget:
    """What every cell may cost.

    Args:
        seeds: networks per method and problem, of recorded ones 3 at most, whose test recordings stay the same; the
            learning rate is chosen with the first two.
        rates: learning rates to choose from.
        steps: training steps.
        noises: of the founding problem.
        hidden: units of the LSTM, per direction half of them where there are two.
        batch_size: windows per step.
    """

    seeds: int = 5
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 0.1)
    steps: int = 400
    noises: tuple[float, ...] = NOISES
    hidden: int = 48
    batch_size: int = 16


QUICK = Budget(seeds=2, rates=(1e-2, 3e-2), steps=200, noises=(0.3,))


@dataclass(frozen=True, eq=False)
class Problem:
    """Recordings to learn from, to choose by and to test on.

    Args:
        name: of the problem.
        parts: training, validation and test recordings, standardised.
        window: frames of a training window.
        num_classes: C.
        posterior: by which predictions mix regressions: ``"filter"`` where the number is a forecast.
    """

    name: str
    parts: tuple[list[Recording], list[Recording], list[Recording]]
    window: int
    num_classes: int
    posterior: str

    @property
    def num_targets(self) -> int:
        """R."""
        targets = self.parts[0][0].targets
        assert targets is not None
        return targets.shape[1]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        name: what the table calls it.
        objective: makes the objective, given the number of targets.
        combine: makes the combiner.
        model: ``"joint"``, ``"heteroscedastic"`` or ``"switching"``.
        decode: ``"bands"``, the best sequence; ``"frames"``, each frame by itself; None: no classes.
        numbers: whether it predicts numbers.
        only: ``"founding"`` or ``"recorded"`` problems; None: all.
    """

    name: str
    objective: Callable[[int], nn.Module]
    combine: Callable[[], Combiner] = FixedWeights
    model: str = "joint"
    decode: str | None = "bands"
    numbers: bool = True
    only: str | None = None


class FrameWise(nn.Module):
    """Squared error and cross-entropy, each per labelled frame: the sum that the question is about."""

    def forward(self, output: Any, labels: Tensor, targets: Tensor) -> Losses:
        known = ~targets.isnan()
        error = torch.where(known, output.predictions - targets.nan_to_num(), 0.0)
        cross = functional.cross_entropy(output.dist.emissions.transpose(1, 2), labels, ignore_index=-100)
        return {"ce": cross, "regression": error.square().sum() / known.sum()}


class Only(nn.Module):
    """One of the losses of an objective."""

    def __init__(self, objective: nn.Module, name: str) -> None:
        super().__init__()
        self.objective, self.name = objective, name

    def forward(self, *batch: Any) -> Losses:
        return {self.name: self.objective(*batch)[self.name]}


def _only(name: str, targets: int) -> nn.Module:
    return Only(JointObjective("gaussian", targets), name)


def _joint(regression: str, targets: int, **options: Any) -> nn.Module:
    return JointObjective(regression, targets, **options)


_mse = functools.partial(_joint, "mse")
_smooth = functools.partial(_joint, "smooth_l1")
DEFAULT = "CRF + MSE, over running means"
INDEPENDENT = "CRF + MSE"
GAUSSIAN = "CRF + Gaussian, σ learned"
FILTERED = "switching, mean of the mixture, over running means"
METHODS = (
    Method("numbers only", functools.partial(_only, "regression"), decode=None),
    Method("classes only", functools.partial(_only, "crf"), numbers=False),
    Method("CE + MSE, frame by frame", lambda _: FrameWise(), decode="frames"),
    Method(INDEPENDENT, _mse),
    Method("CRF + 0.1 MSE", _mse, functools.partial(FixedWeights, regression=0.1)),
    Method("CRF + 10 MSE", _mse, functools.partial(FixedWeights, regression=10.0)),
    Method(GAUSSIAN, functools.partial(_joint, "gaussian")),
    Method("CRF + Gaussian, σ profiled", functools.partial(_joint, "gaussian", sigma="profiled")),
    Method("CRF + MSE, one learned σ", _mse, UncertaintyWeights, only="recorded"),
    Method(DEFAULT, _mse, RunningMeanWeights),
    Method("CRF + smooth L1, over running means", _smooth, RunningMeanWeights),
    Method("CRF + β-NLL", functools.partial(_joint, "beta_nll"), model="heteroscedastic"),
    Method("CRF + Student t", functools.partial(_joint, "student_t"), only="recorded"),
    Method("switching, one likelihood", lambda _: SwitchingObjective(), model="switching"),
    Method(
        "switching, density of the mixture",
        lambda _: SwitchingObjective("predictive"),
        model="switching",
        only="founding",
    ),
    Method("switching, mean of the mixture", functools.partial(_joint, "gaussian"), model="switching", only="founding"),
    Method(FILTERED, _mse, RunningMeanWeights, model="switching"),
)


# --------------------------------------------------------------------------------------------------------- problems
@functools.cache
def founding(noise: float, seed: int) -> Problem:
    """The founding problem; every seed draws its own signals."""

    def draw(number: int, length: int, part: int) -> list[Recording]:
        options = {"noise": noise, "horizon": 5, "mean_dwell": 1.0, "seed": 1000 * (seed + 1) + part}
        x, y, k = (torch.from_numpy(a) for a in switching_sinusoid(number, length, **options))
        return [Recording(*row) for row in zip(x, k, y, strict=True)]

    return Problem(f"founding {noise:g}", (draw(512, 200, 0), draw(128, 200, 1), draw(64, 500, 2)), 200, 3, "filter")


@functools.cache
def gesture_phase(seed: int) -> Problem:
    """Two persons train, a third one tests."""
    recordings = load("gesture_phase")
    named = [["a1", "a2", "b1"], ["a3"], ["c1", "c3"]]
    parts = [[_of(recordings, name) for name in names] for names in named]
    return Problem("gesture_phase", _standardised(parts, own=True), 128, 5, "smooth")


@functools.cache
def nilm_devicescope(seed: int) -> Problem:
    """Two houses train, a third one tests."""
    recordings = load("nilm_devicescope")
    parts: list[list[tuple[Any, ...]]] = [[], [], []]
    for house in ("REFIT_House20", "UKDALE_House2"):
        whole = _of(recordings, house)
        cut = int(0.9 * len(whole[1]))
        parts[0].append(tuple(a[:cut] for a in whole))
        validation = tuple(a[cut:] for a in whole)
        parts[1] += [tuple(a[i : i + 1440] for a in validation) for i in range(0, len(validation[1]), 2 * 1440)]
    whole = _of(recordings, "REFIT_House2")
    parts[2] = [tuple(a[i : i + 1440] for a in whole) for i in range(0, len(whole[1]), 10 * 1440)]
    return Problem("nilm_devicescope", _standardised(parts, own=False), 256, 6, "smooth")


def _of(recordings: DataSet, name: str) -> tuple[Any, Any, Any]:
    return recordings.signals[name], recordings.labels[name], recordings.targets[name]


def _standardised(parts: Sequence[Sequence[tuple[Any, ...]]], *, own: bool) -> Any:
    """Signals to mean 0 and deviation 1, by the training part or each by its ``own``; targets by the training part."""
    inputs = Standardizer.fit([x for x, _, _ in parts[0]])
    numbers = Standardizer.fit([y for _, _, y in parts[0]])

    def scaled(x: Any, k: Any, y: Any) -> Recording:
        signal = (Standardizer.fit([x]) if own else inputs).apply(x)
        return Recording(*(torch.from_numpy(a) for a in (
            signal.astype(np.float32), k, numbers.apply(y).astype(np.float32),
        )))  # fmt: skip

    return tuple([scaled(*row) for row in part] for part in parts)


def problems(budget: Budget) -> dict[str, Callable[[int], Problem]]:
    """The problems by name, each made from a seed."""
    made: dict[str, Callable[[int], Problem]] = {
        f"founding {noise:g}": functools.partial(founding, noise) for noise in budget.noises
    }
    if os.environ.get("SEGCRF_DATA"):
        made |= {"gesture_phase": gesture_phase, "nilm_devicescope": nilm_devicescope}
    return made


# ------------------------------------------------------------------------------------------------------------ a cell
def cell(problem: Problem, method: Method, rate: float, seed: int, budget: Budget) -> dict[str, Any]:
    """Trains a network and scores it.

    Returns:
        Scores of validation and test recordings by name, and the seconds of training.
    """
    torch.manual_seed(seed)
    model, objective, combine = _build(problem, method, budget)
    learned = nn.ModuleList([objective, *([combine] if isinstance(combine, nn.Module) else [])])
    groups = [group for group in parameter_groups(model, learned, rate, 1e-2) if group["params"]]
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in groups], budget.steps, pct_start=0.05, cycle_momentum=False
    )
    begin = time.perf_counter()
    for batch in _batches(problem, budget, seed):
        loss = combine(objective(model(batch.signal, batch.lengths), batch.labels, batch.targets))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    seconds = time.perf_counter() - begin
    model.eval()
    parts = {name: score(model, problem, method, problem.parts[i]) for name, i in (("validation", 1), ("test", 2))}
    return {**parts, "seconds": round(seconds, 2)}


def _build(problem: Problem, method: Method, budget: Budget) -> tuple[Any, nn.Module, Combiner]:
    both = problem.posterior == "smooth"
    features = problem.parts[0][0].signal.shape[1]
    hidden = budget.hidden // 2 if both else budget.hidden
    encoder = LSTMEncoder(features, hidden=hidden, bidirectional=both)
    crf = LinearChainCRF(problem.num_classes).init_from([recording.labels for recording in problem.parts[0]])
    if method.model == "switching":
        model: nn.Module = SwitchingModel(encoder, crf, problem.num_targets, posterior=problem.posterior)
    else:
        uneven = method.model == "heteroscedastic"
        model = JointModel(encoder, crf, problem.num_targets, heteroscedastic=uneven)
    return model, method.objective(problem.num_targets), method.combine()


def _batches(problem: Problem, budget: Budget, seed: int) -> Iterator[Batch]:
    """Random windows, the same for every method."""
    windows = RandomWindows(problem.parts[0], problem.window, budget.batch_size, seed=seed)
    data, step = Windows(problem.parts[0]), 0
    while True:
        for chosen in windows:
            yield collate(data[chosen])
            step += 1
            if step == budget.steps:
                return
        windows.set_epoch(windows.epoch + 1)


@torch.no_grad()
def score(model: Any, problem: Problem, method: Method, recordings: list[Recording]) -> dict[str, float]:
    """Mean squared error of standardised targets, and scores of the bands in percent.

    ``nll`` is what the labels cost, in nats per frame: whether probabilities are to be believed. Of a switching
    forecast also ``mse_smooth``, by the posterior that has seen the future; ``mse_oracle``, by the true class; and
    ``filter_accuracy``, of the class that is the likeliest so far.
    """
    square = known = 0.0
    switching = method.model == "switching" and problem.posterior == "filter"
    told = dict.fromkeys(("mse_smooth", "mse_oracle", "filter_accuracy"), 0.0) if switching else {}
    predicted: list[Any] = []
    cost = 0.0
    whole = grid(recordings, max(len(recording.labels) for recording in recordings))
    data = Windows(recordings)
    for start in range(0, len(whole), 32):
        batch = collate(data[whole[start : start + 32]])
        output = model(batch.signal, batch.lengths)
        if method.numbers:
            sum_of_squares = functools.partial(_squares, batch)
            square, known = square + sum_of_squares(output.predictions), known + float((~batch.targets.isnan()).sum())
            if switching:
                own = batch.labels[..., None, None].expand(-1, -1, 1, problem.num_targets)
                told["mse_smooth"] += sum_of_squares(output.switching.predict(posterior="smooth").mean)
                told["mse_oracle"] += sum_of_squares(output.switching.mean.gather(2, own).squeeze(2))
                likeliest = output.switching.weights(posterior="filter").argmax(-1)
                told["filter_accuracy"] += 100.0 * float((likeliest == batch.labels).sum())
        if method.decode is not None:
            cost -= float(output.dist.log_prob(batch.labels).sum())
            frames = output.dist.emissions.argmax(-1) if method.decode == "frames" else output.dist.mode
            predicted += [row[:length].numpy() for row, length in zip(frames, batch.lengths, strict=True)]
    scores: dict[str, float] = {}
    if method.numbers:
        scores["mse"] = square / known
    scores |= {name: value / known for name, value in told.items()}
    if predicted:
        true = [recording.labels.numpy() for recording in recordings]
        found = metrics.evaluate(true, predicted)
        scores |= {name: float(found[name]) for name in ("accuracy", "edit", "f1@50", "band_ratio")}
    if method.decode == "bands":
        scores["nll"] = cost / sum(len(recording.labels) for recording in recordings)
    return scores


def _squares(batch: Batch, values: Tensor) -> float:
    return float((values - batch.targets)[~batch.targets.isnan()].square().sum())


def error(scores: dict[str, float]) -> float:
    """What chooses the learning rate: errors of both tasks, each 0 when perfect and about 1 when useless."""
    bands = [1.0 - scores[name] / 100.0 for name in ("accuracy", "edit", "f1@50") if name in scores]
    total = scores.get("mse", 0.0) + (sum(bands) / len(bands) if bands else 0.0)
    return total if np.isfinite(total) else float("inf")


# ------------------------------------------------------------------------------------------------------------- the run
class Cache:
    """Cells that are done, one JSON file each; a file written in one step."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder, self.budget = folder, dataclasses.asdict(budget)
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, make: Callable[[int], Problem], name: str, method: Method, rate: float, seed: int) -> dict[str, Any]:
        """The cell, computed unless it is there."""
        size = {key: self.budget[key] for key in ("steps", "hidden", "batch_size")}
        identity = {"problem": name, "method": method.name, "rate": rate, "seed": seed, **size}
        path = self.folder / (record.digest(identity) + ".json")
        if not path.is_file():
            result = cell(make(seed), method, rate, seed, Budget(**self.budget))
            draft = path.with_suffix(".part")
            draft.write_text(json.dumps(identity | result))
            draft.replace(path)
        return json.loads(path.read_text())


def methods_of(problem: str) -> list[Method]:
    """The methods that are compared on a problem.

    With one target, one learned deviation is that of the Gaussian; a heavy tail is for recorded targets; and what is
    judged by the posterior so far is for forecasts.
    """
    kind = "founding" if problem.startswith("founding") else "recorded"
    return [method for method in METHODS if method.only in (None, kind)]


def middle(budget: Budget) -> str:
    """The founding problem whose learning rates the others take over."""
    return f"founding {budget.noises[len(budget.noises) // 2]:g}"


def run(budget: Budget, minutes: float) -> dict[str, Any]:
    """All cells: first those that choose learning rates, then a first seed for every problem before any second.

    Returns:
        Cells of the chosen learning rates, and the errors of those that were tried, by problem and method.
    """
    from tqdm import tqdm

    cache, made = Cache(CACHE, budget), problems(budget)
    tuned_at = {name: middle(budget) if name.startswith("founding") else name for name in made}
    tuning = [(name, method) for name in sorted(set(tuned_at.values())) for method in methods_of(name)]
    counts = {name: budget.seeds if name.startswith("founding") else min(budget.seeds, RECORDED_SEEDS) for name in made}
    testing = [
        (seed, name, method)
        for seed in range(budget.seeds)
        for name in made
        for method in methods_of(name)
        if seed < counts[name]
    ]
    seeds = range(min(TUNING_SEEDS, budget.seeds))
    again = sum(seed in seeds and tuned_at[name] == name for seed, name, _ in testing)  # cells that chose a rate
    total = len(tuning) * len(seeds) * len(budget.rates) + len(testing) - again
    bar = tqdm(total=total, file=sys.stderr, unit="cell", mininterval=1.0)
    deadline = time.monotonic() + 60.0 * minutes
    tried: dict[str, dict[str, dict[str, float]]] = {}
    cells: list[dict[str, Any]] = []
    for name, method in tuning:
        found: dict[str, float] = {}
        for rate in budget.rates:
            bar.set_description(f"{name}, {method.name}, {rate:g}")
            rows = [cache.get(made[name], name, method, rate, seed) for seed in seeds]
            found[f"{rate:g}"] = float(np.mean([error(row["validation"]) for row in rows]))
            bar.update(len(rows))
        tried.setdefault(name, {})[method.name] = found
    for seed, name, method in testing:
        if time.monotonic() > deadline:
            break
        bar.set_description(f"{name}, {method.name}, seed {seed}")
        found = tried[tuned_at[name]][method.name]
        cells.append(cache.get(made[name], name, method, float(min(found, key=lambda rate: found[rate])), seed))
        bar.update(not (seed in seeds and tuned_at[name] == name))
    bar.close()
    complete = len(cells) == len(testing)
    return _result(budget, list(made), cells, complete=complete) | {"tried": tried}


def _result(budget: Budget, names: list[str], cells: list[dict[str, Any]], *, complete: bool) -> dict[str, Any]:
    def seeds(problem: str, method: Method) -> int:
        return sum(c["problem"] == problem and c["method"] == method.name for c in cells)

    # A seed that not all methods of a problem have been given would compare unlike with unlike.
    common = {name: min(seeds(name, method) for method in methods_of(name)) for name in names}
    kept = [c for c in cells if c["seed"] < common[c["problem"]]]
    return {
        "command": " ".join(["python -m benchmarks.joint", *sys.argv[1:]]),
        "budget": dataclasses.asdict(budget),
        "complete": complete,
        "seeds": common,
        "constant": {name: constant(problems(budget)[name](0)) for name, count in common.items() if count},
        "summary": {name: summary(name, kept) for name, count in common.items() if count},
        "cells": kept,
    }


def longer(budget: Budget, tried: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """A few methods at the middle noise, trained several times as long: what of their order is but speed.

    Args:
        budget: of the other cells.
        tried: errors of the learning rates by problem and method; the best one is taken.
    """
    name = middle(budget)
    budget = dataclasses.replace(budget, steps=LONGER * budget.steps)
    cache, make = Cache(CACHE, budget), problems(budget)[name]
    methods = [method for method in METHODS if method.name in (INDEPENDENT, GAUSSIAN, DEFAULT, FILTERED)]
    cells: list[dict[str, Any]] = []
    for method in methods:
        found = tried[name][method.name]
        rate = float(min(found, key=lambda rate: found[rate]))
        cells += [cache.get(make, name, method, rate, seed) for seed in range(min(LONGER_SEEDS, budget.seeds))]
    return [{"problem": name, "steps": budget.steps} | row for row in summary(name, cells, methods)]


def constant(problem: Problem) -> float:
    """Test error of the mean of the training targets: what a method must beat to have learned anything of numbers."""
    parts = []
    for recordings in (problem.parts[0], problem.parts[2]):
        parts.append(torch.cat([r.targets for r in recordings if r.targets is not None]))
    return float((parts[1] - parts[0].nanmean(0)).square().nanmean())


def summary(problem: str, cells: list[dict[str, Any]], methods: Sequence[Method] | None = None) -> list[dict[str, Any]]:
    """A row per method: mean and standard error over seeds of every test score, and the learning rate."""
    rows = []
    for method in methods or methods_of(problem):
        own = [c for c in cells if c["problem"] == problem and c["method"] == method.name]
        row: dict[str, Any] = {"method": method.name, "rate": own[0]["rate"], "seconds": _mean(own, "seconds")}
        for name in own[0]["test"]:
            values = np.array([c["test"][name] for c in own])
            row[name] = float(values.mean())
            row[name + "_se"] = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        rows.append(row)
    return rows


def _mean(cells: list[dict[str, Any]], name: str) -> float:
    return round(float(np.mean([c[name] for c in cells])), 2)


def table(result: dict[str, Any]) -> str:
    """The summary as text, one table per problem."""
    width = max(len(method.name) for method in METHODS)
    lines: list[str] = []
    for problem, rows in result["summary"].items():
        lines += ["", f"{problem}, {result['seeds'][problem]} seeds, {result['budget']['steps']} steps"]
        titles = "   rate       MSE ± s.e.     (smooth)   (oracle)  accuracy  edit  F1@50  bands pred/true   nll"
        lines.append(" " * width + titles)
        lines.append(f"{'mean of the training targets':<{width}}         {result['constant'][problem]:7.4f}")
        for row in rows:
            cells = [
                f"{row['rate']:6g}",
                f"{_number(row, 'mse', '.4f')} {_number(row, 'mse_se', '.4f')}",
                _number(row, "mse_smooth", "9.4f"),
                _number(row, "mse_oracle", "9.4f"),
                *(_number(row, key, form) for key, form in (
                    ("accuracy", "8.1f"), ("edit", "6.1f"), ("f1@50", "6.1f"), ("band_ratio", "8.2f"),
                    ("nll", "12.4f"),
                )),
            ]  # fmt: skip
            lines.append(f"{row['method']:<{width}} " + "  ".join(cells))
    return "\n".join([*lines, "", metrics.conventions()])


def _number(row: dict[str, Any], key: str, form: str) -> str:
    value = row.get(key)
    return " " * max(int(form.split(".", maxsplit=1)[0] or 6), 6) if value is None else format(value, form)


def main() -> None:
    """Run what is missing, print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, half the steps, one noise level")
    parser.add_argument("--seeds", type=int, help="networks per method and problem (default: 5, quick: 2)")
    parser.add_argument("--steps", type=int, help="training steps (default: 400, quick: 200)")
    parser.add_argument("--hidden", type=int, help="units of the LSTM (default: 48)")
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to choose from")
    parser.add_argument("--longer", action="store_true", help="also a few methods, four times as long")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many, keep whole seeds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    budget = QUICK if arguments.quick else Budget()
    given = {
        name: getattr(arguments, name) for name in ("seeds", "steps", "hidden", "rates") if getattr(arguments, name)
    }
    given |= {"rates": tuple(given["rates"])} if "rates" in given else {}
    budget = dataclasses.replace(budget, **given)
    result = run(budget, arguments.minutes)
    if arguments.longer:
        result["longer"] = longer(budget, result["tried"])
    print(table(result))
    for row in result.get("longer", []):
        scores = ", ".join(f"{name} {_number(row, name, '.4f')}" for name in ("mse", "accuracy", "f1@50"))
        print(f"{row['problem']}, {row['method']}, {row['steps']} steps: {scores}")
    print(f"\n{record.write('joint', result | record.environment(PACKAGES))}")


if __name__ == "__main__":
    main()
