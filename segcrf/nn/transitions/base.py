"""The base class of transition families, and what families share."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_whole

__all__ = ["Transitions", "check_rank", "log_frequencies"]


class Transitions(nn.Module):
    """A family of transition scores for C classes.

    To add a family, subclass this class and implement ``forward()``, or set ``context`` and implement
    ``forward(context)``. Implement :meth:`set_counts` if labelled recordings can set the parameters. Add a family that
    needs the number of classes only to ``registry.py``, and every family to the contract in the tests.

    Args:
        num_classes: C.
    """

    #: What ``forward`` takes as its context; ``None``: nothing, because the scores are shared by all steps.
    context: str | None = None

    def __init__(self, num_classes: int) -> None:
        check_whole(num_classes, "num_classes", 1)
        super().__init__()
        self.num_classes = num_classes

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Set the parameters from counted steps.

        Args:
            counts: steps from class to class, (C, C).
            stays: whether steps within a class are counted too; otherwise only switches are.
        """
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}"


def log_frequencies(counts: Tensor) -> Tensor:
    """Return the logarithm of each column's share of its row; a row without counts becomes uniform."""
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1e-300), 1.0 / counts.shape[-1]).log()


def check_rank(value: object, num_classes: int) -> int:
    """Return a rank between 1 and the number of classes."""
    check_whole(value, "rank", 1)
    if cast(int, value) > num_classes:
        advice = "the rank of all C classes is full"
        raise InputError("rank", str(value), f"at most the number of classes, {num_classes}", advice)
    return cast(int, value)
