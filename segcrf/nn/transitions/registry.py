"""The transition families that a layer takes by name."""

from __future__ import annotations

from collections.abc import Callable

from segcrf.nn.transitions.base import Transitions
from segcrf.nn.transitions.constrained import cycle, left_to_right
from segcrf.nn.transitions.homogeneous import FullTransitions, PottsTransitions

__all__ = ["TRANSITION_FAMILIES"]

#: Families by name; each takes the number of classes and nothing else.
TRANSITION_FAMILIES: dict[str, Callable[[int], Transitions]] = {
    "full": FullTransitions,
    "potts": PottsTransitions,
    "cycle": cycle,
    "left_to_right": left_to_right,
}
