"""Optimiser: which parameters decay, how fast each group learns, and the schedule of the learning rate."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from segcrf.training.recipe import Model

__all__ = ["SIGMA_FACTOR", "parameter_groups", "warm_up_then_cosine"]

# Potentials and deviations are few parameters of order one to ten, and every frame contributes to their gradient: they
# may move faster than weights. Log-deviations must, or the loss weighs the two tasks by an outdated deviation.
STRUCTURE_FACTOR = 3.0
SIGMA_FACTOR = 10.0
# Share of the steps in which the learning rate rises.
WARM_UP = 0.05


def parameter_groups(
    model: Model, objective: nn.Module, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Sort parameters into the groups that AdamW takes, by how each should be optimised.

    Matrices of encoder and heads decay. Biases and norms do not decay. Neither do the potentials of the structured
    layer, because their size is a statement about the data, nor the log-deviations of the objective or of a switching
    model. Potentials and log-deviations learn faster than the rest.

    Args:
        model: the joint or switching model.
        objective: a module that holds log-deviations as its parameters: an objective, or a list of it and a combiner.
        learning_rate: of the network.
        weight_decay: decoupled, of the matrices.

    Returns:
        Four groups: matrices, other parameters of the network, potentials, log-deviations. A group may be empty.

    Example:
        >>> from segcrf.losses import JointObjective
        >>> from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
        >>> groups = parameter_groups(JointModel(LSTMEncoder(3), LinearChainCRF(5)), JointObjective(), 1e-2, 0.1)
        >>> [(group["weight_decay"], round(group["lr"], 3)) for group in groups]
        [(0.1, 0.01), (0.0, 0.01), (0.0, 0.03), (0.0, 0.1)]
    """
    deviations = [*objective.parameters(), *(p for name, p in model.named_parameters() if name == "log_sigma")]
    apart = {id(p) for p in (*model.crf.parameters(), *deviations)}
    network = [p for p in model.parameters() if id(p) not in apart]
    return [
        {"params": [p for p in network if p.dim() > 1], "weight_decay": weight_decay, "lr": learning_rate},
        {"params": [p for p in network if p.dim() <= 1], "weight_decay": 0.0, "lr": learning_rate},
        {"params": list(model.crf.parameters()), "weight_decay": 0.0, "lr": STRUCTURE_FACTOR * learning_rate},
        {"params": deviations, "weight_decay": 0.0, "lr": SIGMA_FACTOR * learning_rate},
    ]


def warm_up_then_cosine(progress: float) -> float:
    """Return the share of the learning rate after a share of the steps, ``progress``."""
    warm = min((progress + 1e-3) / WARM_UP, 1.0)
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
