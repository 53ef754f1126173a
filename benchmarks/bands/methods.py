"""The methods: which network each one needs, how it decodes, and the knob that is tuned on validation recordings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.bands.tasks import Task
from benchmarks.bands.training import WEIGHTS, Budget, Network, Trained
from segcrf import baselines
from segcrf.data import RandomWindows, Recording, Windows, collate
from segcrf.nn import LinearChainCRF

Array = npt.NDArray[Any]
Knob = dict[str, float]
Decoder = Callable[[list[Tensor], "Context", Knob], list[Array]]

# By how much scores are scaled before a path is found through them: overconfident ones down, timid ones up.
SCALES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0, 16.0)
# Widths and shortest durations, as shares of the median training band.
SHARES = (0.1, 0.2, 0.4, 0.8, 1.6)
# Costs of a switch in nats. At none the filter does nothing, as at one end of every grid here.
COSTS = (0.0, 0.5, 1.0, 3.0, 6.0, 12.0, 25.0)
# How a chain is decoded, as the layers are: the most probable path, or the most probable class of each frame.
ANSWERS = (0.0, 1.0)


def no_knob(task: Task) -> Sequence[Knob]:
    """There is nothing to choose."""
    return ({},)


@dataclass(frozen=True)
class Context:
    """What decoders may know: the task, what the network left, and the budget."""

    task: Task
    trained: Trained
    budget: Budget
    seed: int

    @cached_property
    def on_frozen(self) -> tuple[LinearChainCRF, float]:
        """A chain, and a scale of the scores, learned on the frozen scores of the training recordings."""
        return _learn_on_frozen(self)


@dataclass(frozen=True)
class Method:
    """A way from signals to bands.

    Args:
        title: as tables print it.
        loss: of its network, see :class:`benchmarks.bands.training.Network`.
        penalty: of its network; its weight is tuned.
        decode: class scores and a knob to labels.
        knobs: the values of the knob to choose from, of a task.
        structured: whether it is one of segcrf's layers, trained end to end.
        reading: what of the network is decoded, see :class:`benchmarks.bands.training.Trained`.
    """

    title: str
    loss: str
    decode: Decoder
    penalty: str | None = None
    knobs: Callable[[Task], Sequence[Knob]] = no_knob
    structured: bool = False
    reading: str = "scores"

    def networks(self, budget: Budget) -> list[Network]:
        """The networks to choose from: without the penalty, and with each of its weights."""
        weights = budget.candidates(self.penalty) if self.penalty else ()
        return [Network(self.loss), *(Network(self.loss, self.penalty, weight) for weight in weights)]

    def beyond(self, best: Network, tried: Collection[Network]) -> list[Network]:
        """The networks to try next: with the neighbour of a best weight that is the smallest or largest of those tried.
        Where no penalty is best, with a smaller one."""
        if self.penalty is None:
            return []
        grid = WEIGHTS[self.penalty]
        places = [grid.index(network.weight) for network in tried if network.penalty]
        below = best.penalty is None or best.weight == grid[min(places)]
        above = best.weight == grid[max(places)]
        neighbours = [min(places) - 1] * below + [max(places) + 1] * above
        return [Network(self.loss, self.penalty, grid[place]) for place in neighbours if 0 <= place < len(grid)]


# --------------------------------------------------------------------------------------------------------- decoders
def argmax(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """The best class of every frame on its own."""
    return [array.argmax(1).numpy() for array in scores]


def median(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Argmax of class probabilities after a median filter."""
    filtered = baselines.median_filter([array.softmax(1).numpy() for array in scores], int(knob["width"]))
    return [array.argmax(1) for array in filtered]


def mode(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Majority of the labels in a window."""
    return baselines.mode_filter(argmax(scores, context, knob), int(knob["width"]))


def purge(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """No band shorter than a minimum."""
    return baselines.purge(argmax(scores, context, knob), int(knob["min_duration"]))


def hysteresis(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Two thresholds on class probabilities; none where one is zero."""
    if not knob["leave"]:
        return argmax(scores, context, knob)
    return baselines.hysteresis([array.softmax(1).numpy() for array in scores], knob["enter"], knob["leave"])


def hmm(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """A chain whose switches all cost the same."""
    others = scores[0].shape[1] - 1
    log_scores = [array.log_softmax(1).double().numpy() for array in scores]
    return baselines.hmm_filter(log_scores, 1 / (1 + others * np.exp(-knob["cost"])), by_frame=bool(knob["by_frame"]))


def counted(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """A chain of counted transitions."""
    scaled = [knob["scale"] * array.log_softmax(1).numpy() for array in scores]
    return baselines.viterbi_counted(scaled, context.task.train.labels, by_frame=bool(knob["by_frame"]))


def as_they_are(labels: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Labels that the layer has decoded itself."""
    return [array.numpy() for array in labels]


def frozen(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """A chain of potentials, and a scale of the scores, learned on frozen scores of the training set."""
    layer, scale = context.on_frozen
    with torch.no_grad():
        chains = [layer(knob["scale"] * scale * x.log_softmax(1)[None]) for x in scores]
        return [(chain.posterior_mode if knob["by_frame"] else chain.mode)[0].numpy() for chain in chains]


def _learn_on_frozen(context: Context) -> tuple[LinearChainCRF, float]:
    """Potentials and scale that make the labels of training windows likeliest, in the steps of a budget."""
    task, budget = context.task, context.budget
    scores = [array.log_softmax(1) for array in context.trained.train]
    learn = [Recording(x, torch.as_tensor(y), None) for x, y in zip(scores, task.train.labels, strict=True)]
    layer = LinearChainCRF(len(task.classes)).init_from([torch.as_tensor(y) for y in task.train.labels])
    log_scale = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.Adam([*layer.parameters(), log_scale], lr=0.03)
    windows, sampler = Windows(learn), RandomWindows(learn, budget.window, budget.batch_size, seed=context.seed)
    for step in range(budget.steps):
        if step % len(sampler) == 0:
            sampler.set_epoch(step)
            batches = iter(sampler)
        batch = collate(windows[next(batches)])
        loss = -layer(log_scale.exp() * batch.signal, batch.lengths).log_prob(batch.labels).sum() / batch.lengths.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layer, float(log_scale.exp().detach())


# ------------------------------------------------------------------------------------------------------------ knobs
def widths(task: Task) -> list[Knob]:
    """Odd widths of a window."""
    shares = (2 * round(share * task.median_duration() / 2) + 1 for share in SHARES)
    return [{"width": float(width)} for width in sorted({1, *shares})]


def shortest(task: Task) -> list[Knob]:
    """Shortest durations."""
    shares = (round(share * task.median_duration()) for share in SHARES)
    return [{"min_duration": float(duration)} for duration in sorted({1, *shares} - {0})]


def thresholds(task: Task) -> list[Knob]:
    """Thresholds to enter and to leave."""
    pairs = [(enter, leave) for enter in (0.3, 0.5, 0.7, 0.9) for leave in (0.1, 0.3, 0.5) if leave <= enter]
    return [{"enter": enter, "leave": leave} for enter, leave in [(0.0, 0.0), *pairs]]


def costs(task: Task) -> list[Knob]:
    """Return costs of a switch, with each decoding rule. A scale of the scores would be the same setting twice."""
    return [{"cost": cost, "by_frame": answer} for cost in COSTS for answer in ANSWERS]


def scales(task: Task) -> list[Knob]:
    """Return scales of the scores, with each decoding rule."""
    return [{"scale": scale, "by_frame": answer} for scale in SCALES for answer in ANSWERS]


def _layer(title: str, loss: str, reading: str = "bands") -> Method:
    return Method(title, loss, as_they_are, structured=True, reading=reading)


METHODS: dict[str, Method] = {
    "bce": Method("BCE, argmax", "bce", argmax),
    "ce": Method("CE, argmax", "ce", argmax),
    "bce+switches": Method("BCE + expected switches", "bce", argmax, "switches"),
    "ce+tv": Method("CE + total variation", "ce", argmax, "tv"),
    "ce+kl": Method("CE + neighbour KL", "ce", argmax, "kl"),
    "ce+tmse": Method("CE + T-MSE", "ce", argmax, "tmse"),
    "ce+tmse,median": Method("CE + T-MSE, median filter", "ce", median, "tmse", widths),
    "median": Method("CE, median filter", "ce", median, knobs=widths),
    "mode": Method("CE, mode filter", "ce", mode, knobs=widths),
    "purge": Method("CE, minimum duration", "ce", purge, knobs=shortest),
    "hysteresis": Method("CE, hysteresis", "ce", hysteresis, knobs=thresholds),
    "hmm": Method("CE, HMM of fixed switch cost", "ce", hmm, knobs=costs),
    "counted": Method("CE, chain of counted transitions", "ce", counted, knobs=scales),
    "frozen": Method("CRF on frozen CE scores", "ce", frozen, knobs=scales),
    "crf": _layer("CRF", "chain"),
    "crf,alone": _layer("CRF, likelihood alone", "chain+alone"),
    "crf,sequence": _layer("CRF, most probable sequence", "chain", "sequence"),
    "semi": _layer("semi-Markov CRF", "semi"),
    "semi,sequence": _layer("semi-Markov CRF, most probable sequence", "semi", "sequence"),
}
