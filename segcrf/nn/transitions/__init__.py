"""Transition scores: families of modules that score the step from one class to the next.

A family returns scores shared by all steps, (C, C), row = from, column = to. A family with a *context* returns scores
of every step, (B, T - 1, C, C), where entry t leads from frame t to t + 1. A layer takes one as its ``transitions``.

======================================  =======================  ====================================================
module                                  parameters               use it for
======================================  =======================  ====================================================
:class:`FullTransitions` (default)      C²                       any preference of one class after another
:class:`PottsTransitions`               1                        little data: every switch costs the same
:class:`LowRankTransitions`             C (2 r + 1)              many classes
:class:`ConstrainedTransitions`         those of what it wraps   pairs that are impossible, or sequences that are known
:class:`InputDependentTransitions`      C² (H + 1), or less      switches that the signal itself announces
:class:`IrregularTransitions`           C (C - 1)                frames at uneven times
======================================  =======================  ====================================================

A parameter with ``requires_grad=False`` is frozen, as everywhere in PyTorch.
"""

from segcrf.nn.transitions.base import Transitions, log_frequencies
from segcrf.nn.transitions.constrained import ConstrainedTransitions, cycle, left_to_right
from segcrf.nn.transitions.homogeneous import FullTransitions, LowRankTransitions, PottsTransitions
from segcrf.nn.transitions.input_dependent import InputDependentTransitions
from segcrf.nn.transitions.irregular import IrregularTransitions
from segcrf.nn.transitions.registry import TRANSITION_FAMILIES

__all__ = [
    "TRANSITION_FAMILIES",
    "ConstrainedTransitions",
    "FullTransitions",
    "InputDependentTransitions",
    "IrregularTransitions",
    "LowRankTransitions",
    "PottsTransitions",
    "Transitions",
    "cycle",
    "left_to_right",
    "log_frequencies",
]
