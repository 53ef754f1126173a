"""Input-dependent transitions: scores of every step from the features of the frame that it enters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_whole
from segcrf.nn.transitions.base import Transitions, check_rank, log_frequencies

__all__ = ["InputDependentTransitions"]


class InputDependentTransitions(Transitions):
    """Scores of every step from the features of the frame that it enters: the signal announces a switch.

    ``bias + W h``, or with a rank r ``bias + (W h) @ after.T``, where W h is (C, C) or (C, r).

    Args:
        num_features: H, features per frame in the context.
        num_classes: C.
        rank: r, from 1 to C; ``None`` learns a weight for each feature and pair.

    Attributes:
        bias: parameter (C, C), the scores if all features are zero.
        weight: a linear layer from H to C * C or C * r.
        after: parameter (C, r), with a rank.

    Source:
        Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001: features of edges.

    Example:
        >>> family = InputDependentTransitions(8, num_classes=3, rank=2)
        >>> features = torch.randn(2, 50, 8)
        >>> family(features).shape
        torch.Size([2, 49, 3, 3])
    """

    context = "features (B, T, H)"

    def __init__(self, num_features: int, num_classes: int, *, rank: int | None = None) -> None:
        super().__init__(num_classes)
        check_whole(num_features, "num_features", 1)
        self.rank = rank if rank is None else check_rank(rank, num_classes)
        columns = num_classes if rank is None else rank
        self.bias = nn.Parameter(torch.empty(num_classes, num_classes).uniform_(-0.1, 0.1))
        self.weight = nn.Linear(num_features, num_classes * columns, bias=False)
        self.after = None if rank is None else nn.Parameter(torch.randn(num_classes, rank) / rank)

    def forward(self, context: Tensor) -> Tensor:
        _check_features(context, self.weight.in_features)
        scores = self.weight(context[:, 1:]).unflatten(-1, (self.num_classes, -1))
        if self.after is not None:
            scores = scores @ self.after.T
        return scores + self.bias

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Set the bias to log-frequencies and the weight to zero, so that training adds the effect of features."""
        self.bias.copy_(log_frequencies(counts))
        self.weight.weight.zero_()

    def extra_repr(self) -> str:
        return f"num_features={self.weight.in_features}, {super().extra_repr()}, rank={self.rank}"


def _check_features(values: Tensor, num_features: int) -> None:
    """Raise for features that are not (B, T, H)."""
    if values.dim() != 3 or values.shape[-1] != num_features:
        expected = f"features of shape (B, T, H) = (B, T, {num_features})"
        raise InputError("context", f"shape {tuple(values.shape)}", expected)
