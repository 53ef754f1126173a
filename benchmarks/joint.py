"""Compare ways to train labels and targets together: ``python -m benchmarks.joint``.

Each method, problem and seed has one network, called a cell. All cells have the same encoder, batches, steps and
optimiser. The first seeds choose the learning rate of each method on validation recordings: once for all founding
problems, at the middle noise, and once for each recorded data set. Test recordings choose nothing.

Problems:

* ``founding 0.1``, ``0.3``, ``0.5``: signals of amplitude 1 that switch between 5, 10 and 15 Hz; the name gives the
  standard deviation of the noise. The target is the clean signal 50 ms ahead. Because this is a forecast, the encoder
  is causal, and predictions that mix the regressions of the classes use the filtering posterior.
* ``gesture_phase``: 18 coordinates at about 27 Hz, and five phases. The targets are 32 velocities and accelerations at
  the same time. Persons a and b train (a3 validates), and c tests. b3 is left out, because its targets are up to a
  hundred standard deviations off. Nothing is forecast, so the encoder is bidirectional.
* ``nilm_devicescope``: the power of a house each minute. The label is the appliance that is on, and the targets are the
  powers of four appliances. Two houses train (the last tenth of each validates). A third house tests, on every tenth
  day.

Every finished cell is kept in ``benchmarks/cache/joint``, so that an interrupted run can continue. The result, with all
cells, is written to ``benchmarks/results/joint.json``. The environment variable ``SEGCRF_DATA`` names the folder of the
recorded data sets; without it, only the founding problems run.
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
from segcrf.data import Batch, RandomWindows, Recording, Windows, collate, grid, switching_sinusoid
from segcrf.losses import (
    Combiner,
    FixedWeights,
    JointObjective,
    Losses,
    RunningMeanWeights,
    SwitchingObjective,
    UncertaintyWeights,
)
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, Standardizer, SwitchingModel
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
    """Size of the cells and their number.

    Args:
        seeds: networks per method and problem. Recorded problems get at most 3, because their test recordings do not
            depend on the seed. The first two seeds choose the learning rate.
        rates: learning rates to choose from.
        steps: training steps.
        noises: noise levels of the founding problem.
        hidden: units of the LSTM; a bidirectional LSTM has half of them per direction.
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
    """Recordings for training, validation and test.

    Args:
        name: name of the problem.
        parts: training, validation and test recordings, standardised.
        window: frames of a training window.
        num_classes: number of classes C.
        posterior: posterior that weights the regressions of the classes: ``"filter"`` for forecasts, else ``"smooth"``.
    """

    name: str
    parts: tuple[list[Recording], list[Recording], list[Recording]]
    window: int
    num_classes: int
    posterior: str

    @property
    def num_targets(self) -> int:
        """Number of targets R."""
        targets = self.parts[0][0].targets
        assert targets is not None
        return targets.shape[1]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        name: name in the table.
        objective: makes the objective from the number of targets.
        combine: makes the combiner.
        model: ``"joint"``, ``"heteroscedastic"`` or ``"switching"``.
        decode: ``"bands"`` for the best sequence, ``"frames"`` for the best label of each frame; None: no labels.
        regression: whether it predicts targets.
        only: ``"founding"`` or ``"recorded"`` problems; None: all.
    """

    name: str
    objective: Callable[[int], nn.Module]
    combine: Callable[[], Combiner] = FixedWeights
    model: str = "joint"
    decode: str | None = "bands"
    regression: bool = True
    only: str | None = None


class FrameWise(nn.Module):
    """Squared error per known target and cross-entropy per labelled frame, without a structured layer."""

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
    Method("targets only", functools.partial(_only, "regression"), decode=None),
    Method("classes only", functools.partial(_only, "crf"), regression=False),
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
    """Return the founding problem; every seed draws its own signals."""

    def draw(number: int, length: int, part: int) -> list[Recording]:
        options = {"noise": noise, "horizon": 5, "mean_dwell": 1.0, "seed": 1000 * (seed + 1) + part}
        x, y, k = (torch.from_numpy(a) for a in switching_sinusoid(number, length, **options))
        return [Recording(*row) for row in zip(x, k, y, strict=True)]

    return Problem(f"founding {noise:g}", (draw(512, 200, 0), draw(128, 200, 1), draw(64, 500, 2)), 200, 3, "filter")


@functools.cache
def gesture_phase(seed: int) -> Problem:
    """Return a problem where two persons train and a third one tests."""
    recordings = load("gesture_phase")
    named = [["a1", "a2", "b1"], ["a3"], ["c1", "c3"]]
    parts = [[_of(recordings, name) for name in names] for names in named]
    return Problem("gesture_phase", _standardised(parts, own=True), 128, 5, "smooth")


@functools.cache
def nilm_devicescope(seed: int) -> Problem:
    """Return a problem where two houses train and a third one tests."""
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
    """Scale signals and targets to mean 0 and standard deviation 1.

    Targets are scaled by statistics of the training part, and signals too, unless each is scaled by its ``own``.
    """
    inputs = Standardizer.fit([x for x, _, _ in parts[0]])
    outputs = Standardizer.fit([y for _, _, y in parts[0]])

    def scaled(x: Any, k: Any, y: Any) -> Recording:
        signal = (Standardizer.fit([x]) if own else inputs).transform(x)
        return Recording(*(torch.from_numpy(a) for a in (
            signal.astype(np.float32), k, outputs.transform(y).astype(np.float32),
        )))  # fmt: skip

    return tuple([scaled(*row) for row in part] for part in parts)


def problems(budget: Budget) -> dict[str, Callable[[int], Problem]]:
    """Return the problems by name; each is made from a seed."""
    made: dict[str, Callable[[int], Problem]] = {
        f"founding {noise:g}": functools.partial(founding, noise) for noise in budget.noises
    }
    if os.environ.get("SEGCRF_DATA"):
        made |= {"gesture_phase": gesture_phase, "nilm_devicescope": nilm_devicescope}
    return made


# ------------------------------------------------------------------------------------------------------------ a cell
def cell(problem: Problem, method: Method, rate: float, seed: int, budget: Budget) -> dict[str, Any]:
    """Train a network and score it.

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
    """Yield batches of random windows, the same for every method."""
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
    """Return the mean squared error of standardised targets, and scores of the bands in percent.

    ``nll`` is the negative log-likelihood of the labels in nats per frame, which shows whether probabilities are right.

    A switching forecast has three more scores. ``mse_smooth`` uses the posterior given the whole recording, and
    ``mse_oracle`` the true class. ``filter_accuracy`` is the accuracy of the likeliest class given the past.
    """
    square = known = 0.0
    switching = method.model == "switching" and problem.posterior == "filter"
    extra = dict.fromkeys(("mse_smooth", "mse_oracle", "filter_accuracy"), 0.0) if switching else {}
    predicted: list[Any] = []
    cost = 0.0
    whole = grid(recordings, max(len(recording.labels) for recording in recordings))
    data = Windows(recordings)
    for start in range(0, len(whole), 32):
        batch = collate(data[whole[start : start + 32]])
        output = model(batch.signal, batch.lengths)
        if method.regression:
            sum_of_squares = functools.partial(_squares, batch)
            square, known = square + sum_of_squares(output.predictions), known + float((~batch.targets.isnan()).sum())
            if switching:
                own = batch.labels[..., None, None].expand(-1, -1, 1, problem.num_targets)
                extra["mse_smooth"] += sum_of_squares(output.switching.predict(posterior="smooth").mean)
                extra["mse_oracle"] += sum_of_squares(output.switching.mean.gather(2, own).squeeze(2))
                likeliest = output.switching.weights(posterior="filter").argmax(-1)
                extra["filter_accuracy"] += 100.0 * float((likeliest == batch.labels).sum())
        if method.decode is not None:
            cost -= float(output.dist.log_prob(batch.labels).sum())
            frames = output.dist.emissions.argmax(-1) if method.decode == "frames" else output.dist.mode
            predicted += [row[:length].numpy() for row, length in zip(frames, batch.lengths, strict=True)]
    scores: dict[str, float] = {}
    if method.regression:
        scores["mse"] = square / known
    scores |= {name: value / known for name, value in extra.items()}
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
    """Return the sum of both tasks' errors, each 0 at best and about 1 if useless; it chooses the learning rate."""
    bands = [1.0 - scores[name] / 100.0 for name in ("accuracy", "edit", "f1@50") if name in scores]
    total = scores.get("mse", 0.0) + (sum(bands) / len(bands) if bands else 0.0)
    return total if np.isfinite(total) else float("inf")


# ------------------------------------------------------------------------------------------------------------- the run
class Cache:
    """Finished cells, one JSON file each; each file is written in one step."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        self.folder, self.budget = folder, dataclasses.asdict(budget)
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, make: Callable[[int], Problem], name: str, method: Method, rate: float, seed: int) -> dict[str, Any]:
        """Return a cell from its file, or compute and store it."""
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
    """Return the methods that are compared on a problem.

    The founding problem has only one target, so one σ for all targets equals the σ of the Gaussian; heavy tails are for
    recorded targets. Two switching methods test the filtering posterior, which only forecasts use.
    """
    kind = "founding" if problem.startswith("founding") else "recorded"
    return [method for method in METHODS if method.only in (None, kind)]


def middle(budget: Budget) -> str:
    """Return the name of the founding problem that chooses the learning rates for all noises."""
    return f"founding {budget.noises[len(budget.noises) // 2]:g}"


def run(budget: Budget, minutes: float) -> dict[str, Any]:
    """Compute all cells: first those that choose learning rates, then the others, seed by seed.

    Args:
        budget: size of the cells and their number.
        minutes: time after which no cell starts, except cells that choose learning rates.

    Returns:
        Cells of the chosen learning rates, and the errors of all learning rates by problem and method.
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

    # For a fair comparison, keep only seeds that all methods of a problem have finished.
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
    """Train a few methods longer, at the middle noise, to see whether they differ only in speed.

    Args:
        budget: budget of the other cells.
        tried: errors of the learning rates by problem and method; the best rate is used.
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
    """Return the test error of the mean training targets, the baseline of the regression."""
    parts = []
    for recordings in (problem.parts[0], problem.parts[2]):
        parts.append(torch.cat([r.targets for r in recordings if r.targets is not None]))
    return float((parts[1] - parts[0].nanmean(0)).square().nanmean())


def summary(problem: str, cells: list[dict[str, Any]], methods: Sequence[Method] | None = None) -> list[dict[str, Any]]:
    """Return a row per method: mean and standard error of every test score over seeds, and the learning rate."""
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
    """Return the summary as text, one table per problem."""
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
    """Run the missing cells, print the tables, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, half the steps, two rates, one noise level")
    parser.add_argument("--seeds", type=int, help="networks per method and problem (default: 5, quick: 2)")
    parser.add_argument("--steps", type=int, help="training steps (default: 400, quick: 200)")
    parser.add_argument("--hidden", type=int, help="units of the LSTM (default: 48)")
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to choose from")
    parser.add_argument("--longer", action="store_true", help="also train a few methods four times as long")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time limit; only whole seeds are kept")
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
