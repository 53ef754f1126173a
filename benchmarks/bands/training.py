"""One network: an encoder trained with a loss and a penalty, and the class scores that it gives.

All networks are trained by :func:`segcrf.training.train`, as a ``Segmenter`` is: AdamW, warm-up and cosine, dropout,
noise, and the epoch whose decoded bands are best on the validation recordings. What differs is the loss alone, and for
the structured layers their potentials, which start from counts in the training labels.
"""

from __future__ import annotations

import math
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
from segcrf import smoothing
from segcrf.chain import LinearChain
from segcrf.crf import LinearChainCRF, SemiMarkovCRF
from segcrf.encoders import make_encoder
from segcrf.estimator import EMISSION_SCALE, OFFSETS_DOMINATE, _max_duration
from segcrf.inference import infer
from segcrf.losses import FixedWeights, JointObjective
from segcrf.model import JointModel, ModelOutput
from segcrf.recordings import Labelled, offset_share
from segcrf.windows import Recording, Standardizer

Array = npt.NDArray[Any]
Penalty = Callable[[Tensor, Tensor], Tensor]

ENCODERS = {"causal": False, "bidirectional": True}
UNLABELLED = -100
# Frames that are encoded side by side: recordings of a month are long, and few.
CHUNK = 600_000

PENALTIES: dict[str, Penalty] = {
    "switches": smoothing.expected_switches,
    "tv": smoothing.total_variation,
    "kl": smoothing.neighbour_kl,
    "tmse": smoothing.truncated_mse,
}
# Weights to choose from, the middle ones first wanted: penalties are per frame, T-MSE's own paper has 0.15.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "switches": (0.1, 0.5, 2.0, 8.0, 30.0),
    "tv": (0.05, 0.25, 1.0, 4.0, 15.0),
    "kl": (0.02, 0.1, 0.5, 2.5, 10.0),
    "tmse": (0.015, 0.05, 0.15, 0.6, 2.5),
}


@dataclass(frozen=True)
class Budget:
    """What every method may spend.

    Args:
        steps: batches that a network learns from, roughly: epochs are whole.
        hidden: units of the LSTM, per direction.
        weights: how many weights of a penalty are tried, the middle ones of ``WEIGHTS``.
        seeds: repetitions.
        batch_size, window: windows of a batch, and frames of a window.
    """

    steps: int
    hidden: int
    weights: int
    seeds: int
    batch_size: int = 16
    window: int = 256

    def candidates(self, penalty: str) -> tuple[float, ...]:
        """The middle ones of the weights of a penalty."""
        everything = WEIGHTS[penalty]
        spare = (len(everything) - self.weights) // 2
        return everything[spare : spare + self.weights]


BUDGETS = {
    "quick": Budget(steps=60, hidden=16, weights=1, seeds=1),
    "small": Budget(steps=300, hidden=32, weights=2, seeds=1),
    "full": Budget(steps=1000, hidden=64, weights=5, seeds=3),
}


@dataclass(frozen=True)
class Network:
    """Which network: ``loss`` is "ce", "bce", "chain" or "semi", the latter two by likelihood alone or, with "+frames",
    as a ``Segmenter`` trains them; ``weight`` is that of the penalty."""

    loss: str
    penalty: str | None = None
    weight: float = 0.0

    def name(self) -> str:
        """For files: no two networks share it."""
        return self.loss if self.penalty is None else f"{self.loss}+{self.penalty}*{self.weight:g}"


@dataclass(frozen=True)
class Trained:
    """What a network leaves: its class scores, potentials if it has any, and how it was trained.

    Args:
        valid, test: (T, C) class scores of each recording; for "ce" ``train`` as well, else it is empty.
        potentials: the state of the structured layer.
        history: scores of the validation windows, epoch by epoch.
        seconds: of training.
    """

    train: list[Tensor]
    valid: list[Tensor]
    test: list[Tensor]
    potentials: dict[str, Tensor]
    history: list[dict[str, float]]
    seconds: float


class FrameWise(nn.Module):
    """A structured layer without structure: its mode is the argmax, and it learns nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> LinearChain:
        return LinearChain(emissions, emissions.new_zeros(self.num_classes, self.num_classes), lengths=lengths)


class FrameObjective(nn.Module):
    """(Binary) cross-entropy per labelled frame, plus a weighted penalty per valid frame."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.log_sigma = None  # no numbers are predicted, so none have a deviation

    def forward(self, output: ModelOutput, labels: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        scores, lengths = output.distribution.emissions, output.distribution.lengths
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


def make_layer(loss: str, task: Task) -> nn.Module:
    """The structured layer of a loss, its potentials counted in the training labels."""
    num_classes, scaled = len(task.classes), loss.endswith("+frames")
    if loss.startswith("chain"):
        layer = LinearChainCRF(num_classes, emission_scale=scaled)
    elif loss.startswith("semi"):
        longest = _max_duration(task.train.labels)  # as the Segmenter chooses it
        layer = SemiMarkovCRF(num_classes, longest, censored=True, emission_scale=scaled)
    else:
        return FrameWise(num_classes)
    if layer.log_emission_scale is not None:
        nn.init.constant_(layer.log_emission_scale, math.log(EMISSION_SCALE))
    return layer.init_from(_tensors(task.train.labels))


def fit(task: Task, encoder: str, network: Network, seed: int, budget: Budget) -> Trained:
    """Train a network and score all recordings with it."""
    from segcrf.training import train

    scale = standardizer(task, bidirectional=ENCODERS[encoder])
    learn, validate = (_recordings(part, scale) for part in (task.train, task.valid))
    begin = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(task, encoder, network, budget)
    learn = _sampled(learn, budget, seed)
    structured = network.loss.startswith(("chain", "semi"))
    frames = network.loss.endswith("+frames")
    objective: Any = JointObjective(None, frames=frames) if structured else FrameObjective(network)
    recipe = _recipe(budget, seed, learn)
    result = train(model, objective, FixedWeights(), recipe, (learn, validate))
    seconds = time.perf_counter() - begin
    model.load_state_dict(result.weights)
    parts = (task.train if network == Network("ce") else task.train.take([]), task.valid, task.test)
    scores = [score(model.eval(), part, scale) for part in parts]
    return Trained(*scores, model.crf.state_dict(), result.history, seconds)


def standardizer(task: Task, bidirectional: bool) -> Callable[[Array], Array]:
    """The scale of all channels, chosen as the Segmenter chooses it."""
    everything = Labelled(task.train.signals + task.valid.signals, task.train.labels + task.valid.labels, None)
    if bidirectional and offset_share(everything) > OFFSETS_DOMINATE:
        return lambda signal: Standardizer.fit([signal]).apply(signal)
    return Standardizer.fit(task.train.signals).apply


def score(model: JointModel, part: Labelled, scale: Callable[[Array], Array]) -> list[Tensor]:
    """Class scores (T, C) of each recording, encoded whole, before a structured layer scales them."""
    if not part.signals:
        return []
    scores: list[Tensor] = [torch.empty(0)] * len(part.signals)
    signals = [torch.as_tensor(scale(signal).astype(np.float32)) for signal in part.signals]
    learned = getattr(model.crf, "log_emission_scale", None)  # the layer will apply it again when it decodes
    factor = 1.0 if learned is None else float(learned.detach().exp())
    for found in infer(model, signals, chunk=CHUNK):
        for row, recording in zip(found.distribution.emissions, found.recordings, strict=True):
            scores[recording] = row[: len(signals[recording])] / factor
    return scores


def _build(task: Task, encoder: str, network: Network, budget: Budget) -> JointModel:
    options = {"hidden": budget.hidden, "bidirectional": ENCODERS[encoder], "dropout": 0.3}
    lstm = make_encoder("lstm", task.train.signals[0].shape[1], **options)
    layer: Any = make_layer(network.loss, task)
    return JointModel(lstm, layer)


def _recipe(budget: Budget, seed: int, learn: list[Recording]) -> Any:
    """The defaults of the Segmenter, but for the number of epochs."""
    from segcrf.estimator import Segmenter
    from segcrf.training import MIN_BATCHES, Recipe
    from segcrf.windows import grid

    batches = max(len(grid(learn, budget.window)) / budget.batch_size, MIN_BATCHES)
    epochs = max(round(budget.steps / batches), 1)
    fields = Recipe.__dataclass_fields__
    defaults = {name: value for name, value in Segmenter().get_params().items() if name in fields}
    changed = {"max_epochs": epochs, "patience": epochs, "window": budget.window, "batch_size": budget.batch_size}
    return Recipe(**defaults | changed | {"seed": seed, "progress": False, "fingerprint": {}})


def _sampled(recordings: list[Recording], budget: Budget, seed: int) -> list[Recording]:
    """So many pieces of long recordings, at random, that half the budget passes over all of them once."""
    frames = budget.steps * budget.batch_size * budget.window // 2
    if sum(len(recording.labels) for recording in recordings) <= frames:
        return recordings
    size = 8 * budget.window
    pieces = [r.cut(start, start + size) for r in recordings for start in range(0, len(r.labels), size)]
    order = np.random.default_rng(seed).permutation(len(pieces))
    return [pieces[i] for i in order[: max(frames // size, 1)]]


def _recordings(part: Labelled, scale: Callable[[Array], Array]) -> list[Recording]:
    rows = zip(part.signals, part.labels, strict=True)
    return [Recording(torch.as_tensor(scale(x).astype(np.float32)), torch.as_tensor(y), None) for x, y in rows]


def _tensors(labels: list[Array]) -> list[Tensor]:
    return [torch.as_tensor(array) for array in labels]


def settings(budget: Budget) -> dict[str, Any]:
    """The budget as results are written with it."""
    return asdict(budget)
