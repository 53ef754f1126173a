"""What a switch of class costs: modules that give transition scores, for training and decoding alike.

Each returns scores shared by all steps, (C, C), row = from, column = to; or, given a *context* of the recordings,
scores of every step, (B, T - 1, C, C), where entry t leads from frame t to t + 1. A layer takes one as its
``transitions``.

======================================  =======================  ====================================================
module                                  parameters               for
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

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from segcrf import _validation
from segcrf.structures import check_scores_shape


class Transitions(nn.Module):
    """A family of transition scores for C classes.

    A subclass implements ``forward``, and :meth:`set_counts` where labelled recordings can set its parameters.
    """

    #: What ``forward`` needs to know of the recordings; ``None``: nothing, its scores are shared by all steps.
    context: str | None = None

    def __init__(self, num_classes: int) -> None:
        _validation.whole(num_classes, "num_classes", 1)
        super().__init__()
        self.num_classes = num_classes

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Set the parameters from counted steps (C, C); without ``stays`` only switches were counted."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}"


class FullTransitions(Transitions):
    """A score for every pair of classes: what ``transitions="full"`` holds as a plain parameter.

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

    Attributes:
        switch_cost: parameter (), in nats; negative rewards switches. Starts at zero: frames are independent.

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
        # As a table, though a step could be one sum and C additions: measured, 73 ns a product against 24 at 20 classes
        # and 21 against 17 at 4, where a training step of one recording takes some 500 ns a frame.
        stays = torch.eye(self.num_classes, dtype=torch.bool, device=self.switch_cost.device)
        return torch.where(stays, 0.0, -self.switch_cost)

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Set the cost to the log-odds of staying against switching to a given class."""
        others = self.num_classes - 1
        if not others or not counts.any():
            return
        stayed, switched = counts.trace(), (counts.sum() - counts.trace()) / others
        # Between bands there is no staying: what is left is that any of the other classes may follow.
        self.switch_cost.copy_((stayed / switched if stays else counts.new_tensor(others)).log())


class LowRankTransitions(Transitions):
    """Scores of rank r beside a score of staying per class: ``before @ after.T + diag(stay)``.

    Bands make the diagonal stand out, which no low rank could follow: so it is apart.

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
        self.rank = _check_rank(rank, num_classes)
        self.before = nn.Parameter(0.1 * torch.randn(num_classes, rank))
        self.after = nn.Parameter(0.1 * torch.randn(num_classes, rank))
        self.stay = nn.Parameter(torch.zeros(num_classes))

    def forward(self) -> Tensor:
        with torch.autocast(self.before.device.type, enabled=False):  # half-precision scores would round each step
            return self.before @ self.after.T + torch.diag(self.stay)

    @torch.no_grad()
    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """The best fit of this rank to the log-frequencies off the diagonal, found by alternating with the diagonal."""
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
        left, size, right = torch.linalg.svd(matrix)
        root = size[: self.rank].sqrt()
        return left[:, : self.rank] * root, right[: self.rank].T * root

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"


class ConstrainedTransitions(Transitions):
    """Other transitions with some pairs forbidden: neither the likelihood nor the decoder knows a path through them.

    Args:
        base: the transitions to constrain, of any family.
        forbidden: pairs (from, to) that may not follow each other.
        required: pairs (from, to): a class that is named here as *from* stays, or is followed by one of the classes
            named with it.

    Attributes:
        base: the module that is wrapped.
        forbidden: buffer (C, C) bool, True where a pair may not follow each other.

    Raises:
        ValueError: a pair that names no class, is both required and forbidden, or leaves a class without a follower.

    Example:
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
                raise ValueError(f"the pair {pair} is both required and forbidden; leave it out of one of them")
            banned[pair] = True
        _check_followers(banned)
        self.register_buffer("forbidden", banned)

    def forward(self, context: Tensor | None = None) -> Tensor:
        scores = self.base() if context is None else self.base(context)
        return scores.masked_fill(self.forbidden, -torch.inf)

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        self.base.set_counts(counts, stays=stays)


def cycle(num_classes: int) -> ConstrainedTransitions:
    """Classes that follow each other round and round: 0, 1, ..., C - 1, 0, ... (the phases of a step, or of a beat).

    >>> cycle(3)().isfinite().int()
    tensor([[1, 1, 0],
            [0, 1, 1],
            [1, 0, 1]], dtype=torch.int32)
    """
    pairs = [(c, (c + 1) % num_classes) for c in range(num_classes)]
    return ConstrainedTransitions(FullTransitions(num_classes), required=pairs)


def left_to_right(num_classes: int, max_skip: int = 0) -> ConstrainedTransitions:
    """Classes that come in order and never return, leaving out up to ``max_skip`` of them (the stages of a procedure).

    Where a recording begins and ends is up to the layer's ``start`` and ``end``: set those to ``-inf`` that may not.

    >>> left_to_right(3)().isfinite().int()
    tensor([[1, 1, 0],
            [0, 1, 1],
            [0, 0, 1]], dtype=torch.int32)
    """
    _validation.whole(max_skip, "max_skip", 0)
    pairs = [(a, b) for a in range(num_classes) for b in range(a, min(a + max_skip + 2, num_classes))]
    return ConstrainedTransitions(FullTransitions(num_classes), required=pairs)


class InputDependentTransitions(Transitions):
    """Scores of every step from the features of the frame that it enters: the signal says when to switch.

    ``bias + W h``, or with a rank r ``bias + (W h) @ after.T``, where W h is (C, C) or (C, r).

    Args:
        num_features: H, numbers per frame in the context.
        num_classes: C.
        rank: r, from 1 to C; ``None`` is a weight for each feature and pair.

    Attributes:
        bias: parameter (C, C), the scores where features are zero.
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
        _validation.whole(num_features, "num_features", 1)
        self.rank = rank if rank is None else _check_rank(rank, num_classes)
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
        """Set the bias to log-frequencies and the weight to zero, so that training adds what features know."""
        self.bias.copy_(log_frequencies(counts))
        self.weight.weight.zero_()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"


class IrregularTransitions(Transitions):
    """A Markov jump process seen at uneven times: the scores of a step are ``log expm(Q dt)``, dt the time it takes.

    Q holds the rates at which a class is left for another, per unit of time; its rows sum to zero. A long gap makes
    the class before it tell little of the class after it, as it should; no time at all forbids a switch.

    Attributes:
        log_rates: parameter (C, C), logarithm of the rates; the diagonal is not read.

    Source:
        Kalbfleisch and Lawless, "The Analysis of Panel Data under a Markov Assumption", JASA 1985; the shift by the
        largest rate: Jensen's uniformisation, 1953.

    Example:
        >>> family = IrregularTransitions(2)
        >>> family.set_rates(torch.tensor([[0.0, 0.1], [0.1, 0.0]]))   # one switch in ten seconds
        >>> seconds = torch.tensor([[0.1, 1000.0]])
        >>> family(seconds).exp().detach()
        tensor([[[[0.9901, 0.0099],
                  [0.0099, 0.9901]],
        <BLANKLINE>
                 [[0.5000, 0.5000],
                  [0.5000, 0.5000]]]])
    """

    context = "intervals (B, T - 1)"

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        # About one switch in ten units of time, to any class.
        log_rates = torch.empty(num_classes, num_classes).uniform_(-0.1, 0.1)
        self.log_rates = nn.Parameter(log_rates - torch.tensor(10.0 * max(num_classes - 1, 1)).log())

    @property
    def generator(self) -> Tensor:
        """Q (C, C), float64: rates off the diagonal, rows that sum to zero."""
        diagonal = torch.eye(self.num_classes, dtype=torch.bool, device=self.log_rates.device)
        rates = self.log_rates.double().exp().masked_fill(diagonal, 0.0)
        return rates - torch.diag(rates.sum(1))

    def forward(self, context: Tensor) -> Tensor:
        check_intervals(context)
        if torch.compiler.is_compiling():  # the number of different ones is not known then
            return self._scores(context)
        # Most recordings have few different intervals: regular ones with gaps. A gradient of `embedding` adds up in
        # one order, unlike that of an index.
        different, which = torch.unique(context, return_inverse=True)
        table = self._scores(different).flatten(1)
        return nn.functional.embedding(which, table).unflatten(-1, (self.num_classes, self.num_classes))

    def _scores(self, intervals: Tensor) -> Tensor:
        generator, times = self.generator, intervals.double()[..., None, None]
        # Without negative numbers nothing cancels, and the smallest probability keeps its digits.
        shift = (-generator.detach().diagonal().min() * times).clamp(max=_LARGEST_SHIFT)
        moved = generator * times + shift * torch.eye(self.num_classes, dtype=times.dtype, device=times.device)
        total = torch.linalg.matrix_exp(moved)
        possible = total > 0
        scores = torch.where(possible, total, 1.0).log() - shift
        return scores.masked_fill(~possible, -torch.inf).to(self.log_rates.dtype)

    @torch.no_grad()
    def set_rates(self, rates: Tensor) -> None:
        """Set the rates (C, C) of switches per unit of time; the diagonal is not read."""
        rates = check_scores_shape(rates, "rates", (self.num_classes, self.num_classes), "(C, C)")
        diagonal = torch.eye(self.num_classes, dtype=torch.bool, device=rates.device)
        self.log_rates.copy_(rates.masked_fill(diagonal, 1.0).log())

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> None:
        """Refuse: a rate is a number of switches per time, and counts know no time."""
        raise TypeError(
            "rates are switches per unit of time, and labels alone know no time; give init_from(labels, intervals=...) "
            "the time between their frames, or call set_rates"
        )


#: exp(500) is far from the largest float64, with room for what a matrix exponential makes of it.
_LARGEST_SHIFT = 500.0


def log_frequencies(counts: Tensor) -> Tensor:
    """Logarithm of the share of each column in its row; a row without counts is uniform."""
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1e-300), 1.0 / counts.shape[-1]).log()


#: Families that need to know nothing but the number of classes, by the name that a layer takes.
TRANSITION_FAMILIES: dict[str, Callable[[int], Transitions]] = {
    "full": FullTransitions,
    "potts": PottsTransitions,
    "cycle": cycle,
    "left_to_right": left_to_right,
}


def _check_rank(value: object, num_classes: int) -> int:
    """Return a rank between 1 and the number of classes."""
    _validation.whole(value, "rank", 1)
    if cast(int, value) > num_classes:
        raise ValueError(f"rank: got {value}, expected at most the number of classes, {num_classes}; full rank is that")
    return cast(int, value)


def _check_class_pairs(pairs: Iterable[tuple[int, int]], name: str, num_classes: int) -> list[tuple[int, int]]:
    """Return pairs (from, to) of class indices."""
    listed = [tuple(int(c) for c in pair) for pair in pairs]
    for pair in listed:
        if len(pair) != 2 or not all(0 <= c < num_classes for c in pair):
            raise ValueError(f"{name}: got {pair}, expected pairs (from, to) of classes 0 to {num_classes - 1}")
    return cast(list[tuple[int, int]], listed)


def _check_followers(forbidden: Tensor) -> None:
    """Refuse constraints that leave a class without any class to follow it, itself included."""
    stuck = forbidden.all(1).nonzero()
    if len(stuck):
        label = int(stuck[0, 0])
        raise ValueError(
            f"class {label} may be followed by no class, not even itself; a recording could only end there. Allow "
            f"({label}, {label}), or drop the class"
        )


def _check_features(values: Tensor, num_features: int) -> None:
    """Refuse features that are not (B, T, H)."""
    if values.dim() != 3 or values.shape[-1] != num_features:
        raise ValueError(
            f"context must be features of shape (B, T, H) = (B, T, {num_features}), got {tuple(values.shape)}"
        )


def check_intervals(values: Tensor) -> None:
    """Refuse times between frames that are not (B, T - 1), or not finite and zero or more."""
    if values.dim() != 2 or not values.is_floating_point():
        raise ValueError(
            f"context must be intervals of shape (B, T - 1), floating-point times from frame to frame, got "
            f"{values.dtype} of shape {tuple(values.shape)}"
        )
    if torch.compiler.is_compiling():
        return
    bad = ~((values >= 0) & values.isfinite())
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"interval of recording {where[0]}, from frame {where[1]} to {where[1] + 1}: got "
            f"{float(values[tuple(where)]):g}, expected a finite time of 0 or more; sort frames by time, and pad with 0"
        )
