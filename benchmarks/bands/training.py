"""Train one network and return its class scores, or bands, of validation and test recordings.

A structured network is a :class:`segcrf.Segmenter` with its defaults. A frame-wise network is the same encoder, trained
by the same engine with the same recipe: AdamW, warm-up and cosine, dropout and noise. Both keep the epoch with the best
bands on the validation recordings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.bands.tasks import Task
from segcrf import Segmenter, baselines
from segcrf.data import Labelled, Recording, has_free_offsets
from segcrf.inference import Inferred, infer
from segcrf.losses import FixedWeights
from segcrf.nn import JointModel, ModelOutput, Standardizer, make_encoder
from segcrf.structures import LinearChain
from segcrf.training import LEARNING_RATE, has_long_bands

Array = npt.NDArray[Any]
Penalty = Callable[[Tensor, Tensor], Tensor]
Scale = Callable[[Array], Array]

ENCODERS = {"causal": False, "bidirectional": True}
STRUCTURES = {"chain": "linear-chain", "semi": "semi-markov"}
UNLABELLED = -100

PENALTIES: dict[str, Penalty] = {
    "switches": baselines.expected_switches,
    "tv": baselines.total_variation,
    "kl": baselines.neighbour_kl,
    "tmse": baselines.truncated_mse,
}
# Candidate weights; the middle ones are tried first. Penalties are per frame. The paper of T-MSE uses 0.15.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "switches": (0.02, 0.1, 0.5, 2.0, 8.0, 30.0, 120.0),
    "tv": (0.01, 0.05, 0.25, 1.0, 4.0, 15.0, 60.0),
    "kl": (0.005, 0.02, 0.1, 0.5, 2.5, 10.0, 50.0),
    "tmse": (0.005, 0.015, 0.05, 0.15, 0.6, 2.5, 10.0),
}


@dataclass(frozen=True)
class Budget:
    """Training budget, the same for every method.

    Args:
        steps: approximate maximum number of batches of a network, since epochs are whole.
        epochs: maximum number of epochs; an epoch has at least 16 batches.
        hidden: units of the LSTM per direction.
        weights: number of weights of a penalty tried at first, the middle ones of ``WEIGHTS``.
        seeds: number of seeds.
        batch_size: windows per batch.
        window: frames per window.
        widen: whether to try further weights while the best one is the smallest or largest tried.
    """

    steps: int
    epochs: int
    hidden: int
    weights: int
    seeds: int
    batch_size: int = 16
    window: int = 256
    widen: bool = True

    def candidates(self, penalty: str) -> tuple[float, ...]:
        """Return the middle weights of a penalty."""
        everything = WEIGHTS[penalty]
        spare = (len(everything) - self.weights) // 2
        return everything[spare : spare + self.weights]


BUDGETS = {
    "quick": Budget(steps=60, epochs=30, hidden=16, weights=1, seeds=1, widen=False),
    "medium": Budget(steps=600, epochs=20, hidden=64, weights=2, seeds=3),
    "full": Budget(steps=1200, epochs=30, hidden=64, weights=5, seeds=3),
}


@dataclass(frozen=True)
class Network:
    """Description of a network.

    Args:
        loss: "ce", "bce", "chain" or "semi". A ``Segmenter`` trains the last two, with "+alone" by likelihood alone.
        penalty: key of ``PENALTIES``, or None.
        weight: weight of the penalty.
    """

    loss: str
    penalty: str | None = None
    weight: float = 0.0

    def name(self) -> str:
        """Return a unique name for files."""
        return self.loss if self.penalty is None else f"{self.loss}+{self.penalty}*{self.weight:g}"

    def on(self, task: Task) -> Network:
        """Return the network to train: without long bands, a ``Segmenter`` always uses the likelihood alone."""
        base = self.loss.removesuffix("+alone")
        return Network(base) if base != self.loss and not has_long_bands(task.train.labels) else self


@dataclass(frozen=True)
class Trained:
    """Outputs of a trained network, and facts of its training.

    Args:
        train: (T, C) class scores of each training recording; empty for losses other than "ce".
        valid, test: outputs per recording. A frame-wise network has (T, C) class "scores". A structured one has labels
            (T,): the "bands" of ``Segmenter.predict``, and the most probable "sequence".
        decoding: factor, decoding rule and weight of the frame loss that the ``Segmenter`` chose; empty for a
            frame-wise network.
        history: validation scores of each epoch.
        best_epoch: epoch of the kept weights.
        seconds: time of training.
    """

    train: list[Tensor]
    valid: dict[str, list[Tensor]]
    test: dict[str, list[Tensor]]
    decoding: dict[str, float]
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float


class Independent(LinearChain):
    """Chain without transitions, for which both decoding rules are the argmax."""

    @property
    def posterior_mode(self) -> Tensor:
        return self.mode


class FrameWise(nn.Module):
    """Layer without parameters; the mode of its distribution is the argmax."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> Independent:
        return Independent(emissions, emissions.new_zeros(self.num_classes, self.num_classes), lengths=lengths)


class FrameObjective(nn.Module):
    """(Binary) cross-entropy per labelled frame, plus a weighted penalty per valid frame."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.log_sigma = None  # no targets are predicted, so there is no deviation to learn

    def forward(self, output: ModelOutput, labels: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        scores, lengths = output.dist.emissions, output.dist.lengths
        known = labels != UNLABELLED
        if self.network.loss == "ce":
            loss = functional.cross_entropy(scores[known], labels[known])
        else:
            each = functional.one_hot(labels[known], scores.shape[-1]).to(scores)
            # The sum of C binary losses has the size of a cross-entropy.
            loss = functional.binary_cross_entropy_with_logits(scores[known], each) * scores.shape[-1]
        if self.network.penalty is not None:
            loss = loss + self.network.weight * PENALTIES[self.network.penalty](scores, lengths)
        return {"crf": loss}


def fit(task: Task, encoder: str, network: Network, seed: int, budget: Budget) -> Trained:
    """Train a network and compute its outputs for all recordings."""
    learn = _sampled(task.train, budget, seed)
    structured = network.loss.startswith(tuple(STRUCTURES))
    segmenter = _segmenter(encoder, network, seed, budget, _epochs(learn, budget))
    return _structured(task, segmenter, learn) if structured else _frame_wise(task, segmenter, network, learn)


def _segmenter(encoder: str, network: Network, seed: int, budget: Budget, epochs: int) -> Segmenter:
    """Return the recipe of every network: a Segmenter with its defaults, except for the budget."""
    loss, _, alone = network.loss.partition("+")
    return Segmenter(
        structure=STRUCTURES.get(loss, "linear-chain"),
        frame_loss=0.0 if alone else "auto",
        bidirectional=ENCODERS[encoder],
        hidden=budget.hidden,
        max_epochs=epochs,
        patience=epochs,
        batch_size=budget.batch_size,
        window=budget.window,
        learning_rate=LEARNING_RATE,  # the default without targets, also for the frame-wise networks
        seed=seed,
        progress=False,
    )


def _structured(task: Task, segmenter: Segmenter, learn: Labelled) -> Trained:
    """Train a Segmenter in the usual way."""
    begin = time.perf_counter()
    segmenter.set_params(classes=task.classes)
    segmenter.fit(learn.signals, learn.labels, validation=(task.valid.signals, task.valid.labels))
    seconds = time.perf_counter() - begin
    best = segmenter.history_[segmenter.best_epoch_]
    decoding = {"factor": best["val_decode_factor"], "by_frame": best["val_decode_by_frame"]}
    decoding["frame_loss"] = segmenter.frame_loss_
    valid, test = ({"bands": _predicted(segmenter, p), "sequence": _sequence(segmenter, p)} for p in _held_out(task))
    return Trained([], valid, test, decoding, segmenter.history_, segmenter.best_epoch_, seconds)


def _predicted(segmenter: Segmenter, part: Labelled) -> list[Tensor]:
    return [torch.as_tensor(labels) for labels in segmenter.predict(part.signals)]


def _sequence(segmenter: Segmenter, part: Labelled) -> list[Tensor]:
    """Return the most probable sequence, without scaling the emissions."""
    return _read(segmenter.model_, part.signals, lambda found: found.dist.mode)


def _frame_wise(task: Task, segmenter: Segmenter, network: Network, learn: Labelled) -> Trained:
    """Train the same encoder with the same engine, without a structured layer."""
    from segcrf.training import Recipe, train

    scale = standardizer(learn, task.valid, bidirectional=segmenter.bidirectional)
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(segmenter.seed)
        model = _build(task, segmenter)
    given = {k: v for k, v in segmenter.get_params().items() if k in Recipe.__dataclass_fields__}
    parts = (_recordings(learn, scale), _recordings(task.valid, scale))
    objective: Any = FrameObjective(network)
    result = train(model, objective, FixedWeights(), Recipe(**given, fingerprint={}), parts)
    seconds = time.perf_counter() - begin
    model.load_state_dict(result.weights)
    model.eval()
    train_scores = _scores(model, task.train, scale) if network == Network("ce") else []
    valid, test = ({"scores": _scores(model, part, scale)} for part in _held_out(task))
    return Trained(train_scores, valid, test, {}, result.history, result.best_epoch, seconds)


def _held_out(task: Task) -> tuple[Labelled, Labelled]:
    return task.valid, task.test


def standardizer(learn: Labelled, valid: Labelled, bidirectional: bool) -> Scale:
    """Return the standardisation of channels that the Segmenter would choose."""
    own = bidirectional and has_free_offsets(learn, valid)
    return _own_scale if own else Standardizer.fit(learn.signals).transform


def _own_scale(signal: Array) -> Array:
    return Standardizer.fit([signal]).transform(signal)


def _scores(model: JointModel, part: Labelled, scale: Scale) -> list[Tensor]:
    """Return the class scores (T, C) of each recording."""
    signals = [torch.as_tensor(scale(signal).astype(np.float32)) for signal in part.signals]
    return _read(model, signals, lambda found: found.dist.emissions)


def _read(model: JointModel, signals: list[Any], output: Callable[[Inferred], Tensor]) -> list[Tensor]:
    """Return an output of the model for each recording."""
    outputs: list[Tensor] = [torch.empty(0)] * len(signals)
    for found in infer(model, signals):
        for row, recording in zip(output(found), found.recordings, strict=True):
            outputs[recording] = row[: len(signals[recording])].clone()
    return outputs


def _build(task: Task, segmenter: Segmenter) -> JointModel:
    options = {"hidden": segmenter.hidden, "bidirectional": segmenter.bidirectional, "dropout": segmenter.dropout}
    layer: Any = FrameWise(len(task.classes))
    return JointModel(make_encoder(segmenter.encoder, task.train.signals[0].shape[1], **options), layer)


def batches(task: Task, budget: Budget) -> int:
    """Return the number of training batches of a network."""
    learn = _sampled(task.train, budget, seed=0)
    return round(_epochs(learn, budget) * _batches_per_epoch(learn, budget))


def _epochs(learn: Labelled, budget: Budget) -> int:
    """Return the number of epochs with about as many batches as the budget, at most its epochs."""
    return min(max(round(budget.steps / _batches_per_epoch(learn, budget)), 1), budget.epochs)


def _batches_per_epoch(learn: Labelled, budget: Budget) -> float:
    from segcrf.data import grid
    from segcrf.training import MIN_BATCHES

    windows = grid(_recordings(learn, lambda signal: signal), budget.window)
    return max(len(windows) / budget.batch_size, MIN_BATCHES)


def _sampled(recordings: Labelled, budget: Budget, seed: int) -> Labelled:
    """Return random pieces of long recordings, few enough for half the budget to cover them once."""
    frames = budget.steps * budget.batch_size * budget.window // 2
    if sum(map(len, recordings.labels)) <= frames:
        return recordings
    size = 8 * budget.window
    places = [(i, start) for i, y in enumerate(recordings.labels) for start in range(0, len(y), size)]
    chosen = np.random.default_rng(seed).permutation(places)[: max(frames // size, 1)]
    pieces = [recordings.take([i]).cut(start, start + size) for i, start in chosen.tolist()]
    return Labelled([p.signals[0] for p in pieces], [p.labels[0] for p in pieces], None)


def _recordings(part: Labelled, scale: Scale) -> list[Recording]:
    rows = zip(part.signals, part.labels, strict=True)
    return [Recording(torch.as_tensor(scale(x).astype(np.float32)), torch.as_tensor(y), None) for x, y in rows]


def settings(budget: Budget) -> dict[str, Any]:
    """Return the budget as results store it."""
    return asdict(budget)
