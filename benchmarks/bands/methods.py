"""Define the methods: network, decoder, and the knob that validation recordings tune."""

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

# Factors of the scores before a chain decodes them: below 1 for overconfident scores, above 1 for timid ones.
SCALES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0, 16.0)
# Widths and shortest durations, as multiples of the median training band.
SHARES = (0.1, 0.2, 0.4, 0.8, 1.6)
# Costs of a switch in nats. With 0 the filter does nothing, as at one end of every grid here.
COSTS = (0.0, 0.5, 1.0, 3.0, 6.0, 12.0, 25.0)
# The decoding rules of a chain and of the layers: the most probable path (0), or the most probable class per frame (1).
RULES = (0.0, 1.0)


def no_knob(task: Task) -> Sequence[Knob]:
    """Return one empty knob, for methods without one."""
    return ({},)


@dataclass(frozen=True)
class Context:
    """Inputs of decoders besides the scores: task, trained network, budget and seed."""

    task: Task
    trained: Trained
    budget: Budget
    seed: int

    @cached_property
    def on_frozen(self) -> tuple[LinearChainCRF, float]:
        """Return a chain and a scale of the scores, learned on frozen scores of the training recordings."""
        return _learn_on_frozen(self)


@dataclass(frozen=True)
class Method:
    """Method that turns signals into bands.

    Args:
        title: name in tables.
        loss: loss of its network, see :class:`benchmarks.bands.training.Network`.
        penalty: penalty of its network, with a tuned weight.
        decode: turns class scores and a knob into labels.
        knobs: returns the candidate knobs for a task.
        structured: whether it is a layer of segcrf, trained end to end.
        reading: key of the output that is decoded, see :class:`benchmarks.bands.training.Trained`.
    """

    title: str
    loss: str
    decode: Decoder
    penalty: str | None = None
    knobs: Callable[[Task], Sequence[Knob]] = no_knob
    structured: bool = False
    reading: str = "scores"

    def networks(self, budget: Budget) -> list[Network]:
        """Return the candidate networks: without the penalty, and with each of its weights."""
        weights = budget.candidates(self.penalty) if self.penalty else ()
        return [Network(self.loss), *(Network(self.loss, self.penalty, weight) for weight in weights)]

    def beyond(self, best: Network, tried: Collection[Network]) -> list[Network]:
        """Return the networks to try next.

        Where the best weight is the smallest or largest tried, its untried neighbour is next. Where no penalty is best,
        a weight below the smallest is next.
        """
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
    """Return the class with the best score in each frame."""
    return [array.argmax(1).numpy() for array in scores]


def median(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Return the argmax of class probabilities after a median filter."""
    filtered = baselines.median_filter([array.softmax(1).numpy() for array in scores], int(knob["width"]))
    return [array.argmax(1) for array in filtered]


def mode(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Return the majority label of the window around each frame."""
    return baselines.mode_filter(argmax(scores, context, knob), int(knob["width"]))


def purge(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Remove bands shorter than a minimum."""
    return baselines.purge(argmax(scores, context, knob), int(knob["min_duration"]))


def hysteresis(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Apply two thresholds to class probabilities; return the argmax where the leave threshold is 0."""
    if not knob["leave"]:
        return argmax(scores, context, knob)
    return baselines.hysteresis([array.softmax(1).numpy() for array in scores], knob["enter"], knob["leave"])


def hmm(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Decode with a chain that has one cost for all switches."""
    others = scores[0].shape[1] - 1
    log_scores = [array.log_softmax(1).double().numpy() for array in scores]
    return baselines.hmm_filter(log_scores, 1 / (1 + others * np.exp(-knob["cost"])), by_frame=bool(knob["by_frame"]))


def counted(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Decode with a chain of counted transitions."""
    scaled = [knob["scale"] * array.log_softmax(1).numpy() for array in scores]
    return baselines.viterbi_counted(scaled, context.task.train.labels, by_frame=bool(knob["by_frame"]))


def unchanged(labels: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Return the labels, which the layer has already decoded."""
    return [array.numpy() for array in labels]


def frozen(scores: list[Tensor], context: Context, knob: Knob) -> list[Array]:
    """Decode with a chain and a scale of the scores, both learned on frozen training scores."""
    layer, scale = context.on_frozen
    with torch.no_grad():
        chains = [layer(knob["scale"] * scale * x.log_softmax(1)[None]) for x in scores]
        return [(chain.posterior_mode if knob["by_frame"] else chain.mode)[0].numpy() for chain in chains]


def _learn_on_frozen(context: Context) -> tuple[LinearChainCRF, float]:
    """Fit potentials and scale to the labels of training windows by maximum likelihood, in the steps of the budget."""
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
    """Return odd widths of a window."""
    shares = (2 * round(share * task.median_duration() / 2) + 1 for share in SHARES)
    return [{"width": float(width)} for width in sorted({1, *shares})]


def shortest(task: Task) -> list[Knob]:
    """Return shortest durations."""
    shares = (round(share * task.median_duration()) for share in SHARES)
    return [{"min_duration": float(duration)} for duration in sorted({1, *shares} - {0})]


def thresholds(task: Task) -> list[Knob]:
    """Return pairs of thresholds to enter and leave a class."""
    pairs = [(enter, leave) for enter in (0.3, 0.5, 0.7, 0.9) for leave in (0.1, 0.3, 0.5) if leave <= enter]
    return [{"enter": enter, "leave": leave} for enter, leave in [(0.0, 0.0), *pairs]]


def costs(task: Task) -> list[Knob]:
    """Return costs of a switch, with each decoding rule. Scaling the scores would only repeat these settings."""
    return [{"cost": cost, "by_frame": rule} for cost in COSTS for rule in RULES]


def scales(task: Task) -> list[Knob]:
    """Return scales of the scores, with each decoding rule."""
    return [{"scale": scale, "by_frame": rule} for scale in SCALES for rule in RULES]


def _layer(title: str, loss: str, reading: str = "bands") -> Method:
    return Method(title, loss, unchanged, structured=True, reading=reading)


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
