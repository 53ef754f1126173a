"""Semirings: which question a scan answers.

A structure scans its potentials once, adding scores along a labelling and *summing* over alternatives. The semiring
defines that sum. Every product in a scan is a running value times a plain score, so only the sum differs.

===========  =========================================  ======================================
semiring     ``sum``                                    the scan returns
===========  =========================================  ======================================
`Log`        log-sum-exp                                the log partition
`Max`        maximum                                    the best score
`KBest`      the k largest, kept on a leading axis      the k best scores, ``(k, B)``
`Sample`     log-sum-exp with a draw as gradient        the log partition
===========  =========================================  ======================================

The gradient of each with respect to the potentials answers the companion question: marginals, the best labelling,
the k best labellings, one exact sample (forward filtering, backward sampling).

Source: Goodman, "Semiring Parsing", 1999; Li and Eisner, "First- and Second-Order Expectation Semirings", 2009.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["KBest", "Log", "Max", "Sample", "Semiring", "logsumexp"]


class Semiring:
    """The operations of a scan: how scores enter it, and how alternatives are summed."""

    def lift(self, scores: Tensor) -> Tensor:
        """Turn plain scores into values of the semiring."""
        return scores

    def sum(self, values: Tensor, dim: int) -> Tensor:
        """Sum the alternatives along ``dim`` (counted from the end: negative)."""
        raise NotImplementedError


class Log(Semiring):
    """Sum of probabilities, in logarithms.

    >>> Log().sum(torch.tensor([0.0, -torch.inf]), -1)
    tensor(0.)
    """

    def sum(self, values: Tensor, dim: int) -> Tensor:
        return logsumexp(values, dim)


class Max(Semiring):
    """The best alternative; the first of equal ones.

    >>> Max().sum(torch.tensor([1.0, 3.0, 2.0]), -1)
    tensor(3.)
    """

    def sum(self, values: Tensor, dim: int) -> Tensor:
        # Not amax: it shares its gradient between ties, and half a label is no label.
        return values.max(dim).values


class KBest(Semiring):
    """The ``k`` best alternatives, best first, on a leading axis.

    >>> semiring = KBest(2)
    >>> semiring.sum(semiring.lift(torch.tensor([1.0, 3.0, 2.0])), -1)
    tensor([3., 2.])
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def lift(self, scores: Tensor) -> Tensor:
        absent = scores.new_full((self.k - 1, *scores.shape), -torch.inf)
        return torch.cat([scores[None], absent])

    def sum(self, values: Tensor, dim: int) -> Tensor:
        candidates = values.movedim(0, -1).movedim(dim - 1, -2).flatten(-2)
        return candidates.topk(self.k, dim=-1).values.movedim(-1, 0)


class Sample(Semiring):
    """Sum of probabilities with a draw from them as gradient instead of the expectation.

    ``generator`` makes draws repeatable; ``None`` is PyTorch's global generator.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def sum(self, values: Tensor, dim: int) -> Tensor:
        total: Any = _SampledSum.apply(values, dim, self.generator)  # pyright: ignore[reportUnknownMemberType]
        return total


class _SampledSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(values)
        ctx.dim, ctx.generator = dim, generator
        return logsumexp(values, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (values,) = ctx.saved_tensors
        # Gumbel-max: the argmax of score + Gumbel noise is a draw from softmax(score).
        noise = torch.empty_like(values).exponential_(generator=ctx.generator).log()
        chosen = (values - noise).argmax(ctx.dim, keepdim=True)
        return torch.zeros_like(values).scatter_(ctx.dim, chosen, grad.unsqueeze(ctx.dim)), None, None


def logsumexp(values: Tensor, dim: int) -> Tensor:
    """Return log-sum-exp; ``-inf`` with gradient zero, not NaN, if every alternative is forbidden."""
    # The shift is constant in the gradient: any finite number gives the same sum.
    shift = values.detach().amax(dim, keepdim=True)
    shift = shift.masked_fill(shift == -torch.inf, 0.0)
    total = (values - shift).exp().sum(dim)
    forbidden = total == 0
    result: Tensor = total.masked_fill(forbidden, 1.0).log() + shift.squeeze(dim)
    return result.masked_fill(forbidden, -torch.inf)
