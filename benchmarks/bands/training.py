"""One network: encoder, loss and penalty in; class scores, or bands, of validation and test recordings out.

The structured layers are a :class:`segcrf.Segmenter`, defaults and all. The frame-wise networks are the same
encoder, trained by the same engine with the same recipe: AdamW, warm-up and cosine, dropout, noise, and the epoch whose
bands are best on the validation recordings.
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
from segcrf.data import OFFSETS_DOMINATE, Labelled, Recording, offset_share
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
# Weights to choose from, the middle ones first wanted: penalties are per frame, T-MSE's own paper has 0.15.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "switches": (0.02, 0.1, 0.5, 2.0, 8.0, 30.0, 120.0),
    "tv": (0.01, 0.05, 0.25, 1.0, 4.0, 15.0, 60.0),
    "kl": (0.005, 0.02, 0.1, 0.5, 2.5, 10.0, 50.0),
    "tmse": (0.005, 0.015, 0.05, 0.15, 0.6, 2.5, 10.0),
}


@dataclass(frozen=True)
class Budget:
    """What every method may spend.

    Args:
        steps: batches that a network learns from at most, roughly: epochs are whole.
        epochs: passes over the recordings at most; one has 16 batches at least.
        hidden: units of the LSTM, per direction.
        weights: how many weights of a penalty are tried at first, the middle ones of ``WEIGHTS``.
        seeds: repetitions.
        batch_size, window: windows of a batch, and frames of a window.
        widen: whether the weights beyond are tried for as long as the best one is at an end of those tried.
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
        """The middle ones of the weights of a penalty."""
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
    """Which network: ``loss`` is "ce", "bce", "chain" or "semi", the latter two as a ``Segmenter`` trains them or, with
    "+alone", by their likelihood alone; ``weight`` is that of the penalty."""

    loss: str
    penalty: str | None = None
    weight: float = 0.0

    def name(self) -> str:
        """For files: no two networks share it."""
        return self.loss if self.penalty is None else f"{self.loss}+{self.penalty}*{self.weight:g}"

    def on(self, task: Task) -> Network:
        """The network to train on a task: where a ``Segmenter`` tries the likelihood alone only, both are one."""
        base = self.loss.removesuffix("+alone")
        return Network(base) if base != self.loss and not has_long_bands(task.train.labels) else self


@dataclass(frozen=True)
class Trained:
    """What a network leaves, and how it was trained.

    Args:
        train: (T, C) class scores of each training recording; for "ce" only, else it is empty.
        valid, test: of each recording, what methods read: (T, C) class "scores" of a frame-wise network; of a
            structured one labels (T,), the "bands" as ``Segmenter.predict`` gives them, and the most probable
            "sequence".
        decoding: what the ``Segmenter`` chose, the factor and manner of decoding and the weight of the loss of frames;
            empty for a frame-wise network.
        history: scores of the validation windows, epoch by epoch.
        best_epoch: the one whose weights were kept.
        seconds: of training.
    """

    train: list[Tensor]
    valid: dict[str, list[Tensor]]
    test: dict[str, list[Tensor]]
    decoding: dict[str, float]
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float


class Independent(LinearChain):
    """A chain without transitions: both ways of decoding are the argmax."""

    @property
    def posterior_mode(self) -> Tensor:
        return self.mode


class FrameWise(nn.Module):
    """A structured layer without structure: its mode is the argmax, and it learns nothing."""

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
        self.log_sigma = None  # no numbers are predicted, so none have a deviation

    def forward(self, output: ModelOutput, labels: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        scores, lengths = output.dist.emissions, output.dist.lengths
        known = labels != UNLABELLED
        if self.network.loss == "ce":
            loss = functional.cross_entropy(scores[known], labels[known])
        else:
            each = functional.one_hot(labels[known], scores.shape[-1]).to(scores)
            # Summed over classes: the sum of C yes-or-no questions, of the size of a cross-entropy.
            loss = functional.binary_cross_entropy_with_logits(scores[known], each) * scores.shape[-1]
        if self.network.penalty is not None:
            loss = loss + self.network.weight * PENALTIES[self.network.penalty](scores, lengths)
        return {"crf": loss}


def fit(task: Task, encoder: str, network: Network, seed: int, budget: Budget) -> Trained:
    """Train a network and score all recordings with it."""
    learn = _sampled(task.train, budget, seed)
    structured = network.loss.startswith(tuple(STRUCTURES))
    segmenter = _segmenter(encoder, network, seed, budget, _epochs(learn, budget))
    return _structured(task, segmenter, learn) if structured else _frame_wise(task, segmenter, network, learn)


def _segmenter(encoder: str, network: Network, seed: int, budget: Budget, epochs: int) -> Segmenter:
    """The recipe of every network: the defaults of a Segmenter, but for size and number of epochs."""
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
        learning_rate=LEARNING_RATE,  # the default for classes alone, which the frame-wise networks are given too
        seed=seed,
        progress=False,
    )


def _structured(task: Task, segmenter: Segmenter, learn: Labelled) -> Trained:
    """A Segmenter, as its users have it."""
    begin = time.perf_counter()
    segmenter.set_params(classes=task.classes)
    segmenter.fit(learn.signals, learn.labels, validation=(task.valid.signals, task.valid.labels))
    seconds = time.perf_counter() - begin
    best = segmenter.history_[segmenter.best_epoch_]
    decoding = {"factor": best["val_decode_factor"], "by_frame": best["val_decode_by_frame"]}
    decoding["frame_loss"] = segmenter.frame_loss_
    valid, test = ({"bands": _predicted(segmenter, p), "sequence": _sequence(segmenter, p)} for p in _judged(task))
    return Trained([], valid, test, decoding, segmenter.history_, segmenter.best_epoch_, seconds)


def _predicted(segmenter: Segmenter, part: Labelled) -> list[Tensor]:
    return [torch.as_tensor(labels) for labels in segmenter.predict(part.signals)]


def _sequence(segmenter: Segmenter, part: Labelled) -> list[Tensor]:
    """The most probable sequence by the likelihood as it is."""
    return _read(segmenter.model_, part.signals, lambda found: found.dist.mode)


def _frame_wise(task: Task, segmenter: Segmenter, network: Network, learn: Labelled) -> Trained:
    """The same encoder, trained by the same engine, without a structured layer."""
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
    valid, test = ({"scores": _scores(model, part, scale)} for part in _judged(task))
    return Trained(train_scores, valid, test, {}, result.history, result.best_epoch, seconds)


def _judged(task: Task) -> tuple[Labelled, Labelled]:
    return task.valid, task.test


def standardizer(learn: Labelled, valid: Labelled, bidirectional: bool) -> Scale:
    """The scale of all channels, chosen as the Segmenter chooses it."""
    everything = Labelled(learn.signals + valid.signals, learn.labels + valid.labels, None)
    own = bidirectional and offset_share(everything) > OFFSETS_DOMINATE
    return _own_scale if own else Standardizer.fit(learn.signals).transform


def _own_scale(signal: Array) -> Array:
    return Standardizer.fit([signal]).transform(signal)


def _scores(model: JointModel, part: Labelled, scale: Scale) -> list[Tensor]:
    """Class scores (T, C) of each recording, encoded whole."""
    signals = [torch.as_tensor(scale(signal).astype(np.float32)) for signal in part.signals]
    return _read(model, signals, lambda found: found.dist.emissions)


def _read(model: JointModel, signals: list[Any], question: Callable[[Inferred], Tensor]) -> list[Tensor]:
    """What a model says of each recording."""
    answers: list[Tensor] = [torch.empty(0)] * len(signals)
    for found in infer(model, signals):
        for row, recording in zip(question(found), found.recordings, strict=True):
            answers[recording] = row[: len(signals[recording])].clone()
    return answers


def _build(task: Task, segmenter: Segmenter) -> JointModel:
    options = {"hidden": segmenter.hidden, "bidirectional": segmenter.bidirectional, "dropout": segmenter.dropout}
    layer: Any = FrameWise(len(task.classes))
    return JointModel(make_encoder(segmenter.encoder, task.train.signals[0].shape[1], **options), layer)


def batches(task: Task, budget: Budget) -> int:
    """How many batches a network learns from."""
    learn = _sampled(task.train, budget, seed=0)
    return round(_epochs(learn, budget) * _batches_per_epoch(learn, budget))


def _epochs(learn: Labelled, budget: Budget) -> int:
    """So many epochs that a network learns from about as many batches as the budget has, within its epochs."""
    return min(max(round(budget.steps / _batches_per_epoch(learn, budget)), 1), budget.epochs)


def _batches_per_epoch(learn: Labelled, budget: Budget) -> float:
    from segcrf.data import grid
    from segcrf.training import MIN_BATCHES

    windows = grid(_recordings(learn, lambda signal: signal), budget.window)
    return max(len(windows) / budget.batch_size, MIN_BATCHES)


def _sampled(recordings: Labelled, budget: Budget, seed: int) -> Labelled:
    """So many pieces of long recordings, at random, that half the budget passes over all of them once."""
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
    """The budget as results are written with it."""
    return asdict(budget)
