"""Transitions with forbidden pairs: constraints on any family, cycles and ordered stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from segcrf._validation import InputError, check_whole
from segcrf.nn.transitions.base import Transitions
from segcrf.nn.transitions.homogeneous import FullTransitions

__all__ = ["ConstrainedTransitions", "cycle", "left_to_right"]


class ConstrainedTransitions(Transitions):
    """Transitions of any family with some pairs forbidden, in the likelihood and in decoding alike.

    Args:
        base: the transitions to constrain, of any family.
        forbidden: pairs (from, to) that may not follow each other.
        required: pairs (from, to). A class that stands here as *from* may only stay or go to a class paired with it.

    Attributes:
        base: the wrapped module.
        forbidden: buffer (C, C) bool, True where a pair may not follow each other.

    Raises:
        InputError: an unknown class in a pair, a pair both required and forbidden, or a class without a follower.

    Example:
        >>> from segcrf.nn import PottsTransitions
        >>> family = ConstrainedTransitions(PottsTransitions(3), forbidden=[(0, 2)], required=[(2, 0)])
        >>> family().isfinite()
        tensor([[ True,  True, False],
                [ True,  True,  True],
                [ True, False,  True]])
    """

    forbidden: Tensor

    def __init__(
        self,
        base: Transitions,
        *,
        forbidden: Iterable[tuple[int, int]] = (),
        required: Iterable[tuple[int, int]] = (),
    ) -> None:
        super().__init__(base.num_classes)
        self.base = base
        self.context = base.context
        size = base.num_classes
        banned = torch.zeros(size, size, dtype=torch.bool)
        needed = _check_class_pairs(required, "required", size)
        for before in {pair[0] for pair in needed}:
            banned[before] = torch.arange(size) != before
        for pair in needed:
            banned[pair] = False
        for pair in _check_class_pairs(forbidden, "forbidden", size):
            if pair in needed:
                got, advice = f"{pair}, which is required too", "leave the pair out of one of them"
                raise InputError("forbidden", got, "pairs that are not required", advice)
            banned[pair] = True
        _check_followers(banned)
        self.register_buffer("forbidden", banned)

    def forward(self, context: Tensor | None = None) -> Tensor:
        scores = self.base() if context is None else self.base(context)
        return scores.masked_fill(self.forbidden, -torch.inf)

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        self.base.set_counts(counts, stays=stays)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, forbidden={int(self.forbidden.sum())} of {self.forbidden.numel()} pairs"


def cycle(num_classes: int) -> ConstrainedTransitions:
    """Return transitions round a cycle 0, 1, ..., C - 1, 0, ..., such as the phases of a gait or of a heartbeat.

    Args:
        num_classes: C.

    Example:
        >>> cycle(3)().isfinite().int()
        tensor([[1, 1, 0],
                [0, 1, 1],
                [1, 0, 1]], dtype=torch.int32)
    """
    pairs = [(c, (c + 1) % num_classes) for c in range(num_classes)]
    return ConstrainedTransitions(FullTransitions(num_classes), required=pairs)


def left_to_right(num_classes: int, max_skip: int = 0) -> ConstrainedTransitions:
    """Return transitions through ordered classes that never return, such as the stages of a procedure.

    The layer's ``start`` and ``end`` say where a recording begins and ends: set them to ``-inf`` for other classes.

    Args:
        num_classes: C.
        max_skip: how many classes a step may leave out.

    Example:
        >>> left_to_right(3)().isfinite().int()
        tensor([[1, 1, 0],
                [0, 1, 1],
                [0, 0, 1]], dtype=torch.int32)
    """
    check_whole(max_skip, "max_skip", 0)
    pairs = [(a, b) for a in range(num_classes) for b in range(a, min(a + max_skip + 2, num_classes))]
    return ConstrainedTransitions(FullTransitions(num_classes), required=pairs)


def _check_class_pairs(pairs: Iterable[tuple[int, int]], name: str, num_classes: int) -> list[tuple[int, int]]:
    """Return pairs (from, to) of class indices."""
    listed = [tuple(int(c) for c in pair) for pair in pairs]
    for pair in listed:
        if len(pair) != 2 or not all(0 <= c < num_classes for c in pair):
            raise InputError(name, str(pair), f"pairs (from, to) of classes 0 to {num_classes - 1}")
    return cast(list[tuple[int, int]], listed)


def _check_followers(forbidden: Tensor) -> None:
    """Raise if no class may follow some class, itself included."""
    stuck = forbidden.all(1).nonzero()
    if len(stuck):
        label = int(stuck[0, 0])
        got = f"no class that may follow class {label}, not even itself"
        advice = f"a recording could only end there: allow ({label}, {label}), or drop the class"
        raise InputError("forbidden", got, "one follower of each class at least", advice)
