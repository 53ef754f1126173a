"""Homogeneous transitions: one table of scores for all steps. Full, Potts and low-rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcrf.nn.transitions.base import Transitions, check_rank, log_frequencies

__all__ = ["FullTransitions", "LowRankTransitions", "PottsTransitions"]


class FullTransitions(Transitions):
    """A score for every pair of classes; ``transitions="full"`` holds the same table as a plain parameter.

    Args:
        num_classes: C.

    Attributes:
        scores: parameter (C, C), in nats.

    Example:
        >>> FullTransitions(3)().shape
        torch.Size([3, 3])
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.scores = nn.Parameter(torch.empty(num_classes, num_classes).uniform_(-0.1, 0.1))

    def forward(self) -> Tensor:
        return self.scores

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        self.scores.copy_(log_frequencies(counts))


class PottsTransitions(Transitions):
    """One cost for every switch of class, zero for staying.

    Args:
        num_classes: C.

    Attributes:
        switch_cost: parameter (), in nats; negative values reward switches. It starts at zero, where frames are
            independent.

    Source:
        Potts, "Some Generalized Order-Disorder Transformations", 1952.

    Example:
        >>> family = PottsTransitions(2)
        >>> family.set_counts(torch.tensor([[90.0, 10.0], [10.0, 90.0]]))   # one step in ten is a switch
        >>> family().exp()
        tensor([[1.0000, 0.1111],
                [0.1111, 1.0000]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.switch_cost = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        # The scores are a full table although a step could be one sum and C additions. Measured: a product takes 73 ns
        # against 24 at 20 classes, 21 against 17 at 4, and a training step of one recording some 500 ns per frame.
        stays = torch.eye(self.num_classes, dtype=torch.bool, device=self.switch_cost.device)
        return torch.where(stays, 0.0, -self.switch_cost)

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Set the cost to the log-odds of staying against switching to one given class."""
        others = self.num_classes - 1
        if not others or not counts.any():
            return
        stayed, switched = counts.trace(), (counts.sum() - counts.trace()) / others
        # Between bands nothing stays: the cost says only that any of the other classes may follow.
        self.switch_cost.copy_((stayed / switched if stays else counts.new_tensor(others)).log())


class LowRankTransitions(Transitions):
    """Scores of rank r plus a score of staying per class: ``before @ after.T + diag(stay)``.

    Bands make the diagonal stand out. No low rank could follow it, so it has parameters of its own.

    Args:
        num_classes: C.
        rank: r, from 1 to C.

    Attributes:
        before, after: parameters (C, r).
        stay: parameter (C,).

    Example:
        >>> family = LowRankTransitions(50, rank=3)
        >>> family().shape, sum(p.numel() for p in family.parameters())
        (torch.Size([50, 50]), 350)
    """

    def __init__(self, num_classes: int, rank: int) -> None:
        super().__init__(num_classes)
        self.rank = check_rank(rank, num_classes)
        self.before = nn.Parameter(0.1 * torch.randn(num_classes, rank))
        self.after = nn.Parameter(0.1 * torch.randn(num_classes, rank))
        self.stay = nn.Parameter(torch.zeros(num_classes))

    def forward(self) -> Tensor:
        with torch.autocast(self.before.device.type, enabled=False):  # half-precision scores would round each step
            return self.before @ self.after.T + torch.diag(self.stay)

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Fit the log-frequencies off the diagonal with this rank, alternating between the factors and the diagonal."""
        target = log_frequencies(counts)
        target = target.clamp(min=float(target[target.isfinite()].min()))
        diagonal = torch.eye(self.num_classes, dtype=torch.bool, device=target.device)
        before, after = self._truncated(target)
        for _ in range(200):
            before, after = self._truncated(torch.where(diagonal, before @ after.T, target))
        self.before.copy_(before)
        self.after.copy_(after)
        self.stay.copy_((target - before @ after.T).diagonal())

    def _truncated(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors (C, r) of the best approximation of rank r."""
        left, size, right = torch.linalg.svd(matrix)
        root = size[: self.rank].sqrt()
        return left[:, : self.rank] * root, right[: self.rank].T * root

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"
