"""Transitions between frames at uneven times: a Markov jump process."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, InputTypeError
from segcrf.nn.transitions.base import Transitions
from segcrf.structures import check_scores_shape

__all__ = ["IrregularTransitions", "check_intervals"]

#: exp(500) is far below the largest float64 and leaves room for the terms of a matrix exponential.
_LARGEST_SHIFT = 500.0


class IrregularTransitions(Transitions):
    """A Markov jump process observed at uneven times: the scores of a step over a time dt are ``log expm(Q dt)``.

    Q holds the switching rates from class to class, per unit of time; its rows sum to zero. After a long gap the class
    before it says little about the class after it. A step that takes no time forbids a switch.

    Args:
        num_classes: C.

    Attributes:
        log_switching_rates: parameter (C, C), logarithms of the switching rates; the diagonal is not read.

    Source:
        Kalbfleisch and Lawless, "The Analysis of Panel Data under a Markov Assumption", JASA 1985; the shift by the
        largest rate: Jensen's uniformisation, 1953.

    Example:
        >>> family = IrregularTransitions(2)
        >>> family.set_switching_rates(torch.tensor([[0.0, 0.1], [0.1, 0.0]]))   # one switch in ten seconds
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
        # At the start, about one switch to any class in ten units of time.
        noise = torch.empty(num_classes, num_classes).uniform_(-0.1, 0.1)
        self.log_switching_rates = nn.Parameter(noise - torch.tensor(10.0 * max(num_classes - 1, 1)).log())

    @property
    def generator(self) -> Tensor:
        """Q (C, C), float64: switching rates off the diagonal, and rows that sum to zero."""
        diagonal = torch.eye(self.num_classes, dtype=torch.bool, device=self.log_switching_rates.device)
        rates = self.log_switching_rates.double().exp().masked_fill(diagonal, 0.0)
        return rates - torch.diag(rates.sum(1))

    def forward(self, context: Tensor) -> Tensor:
        check_intervals(context)
        if torch.compiler.is_compiling():  # the number of different intervals is unknown then
            return self._scores(context)
        # Most recordings are regular with gaps, so they have few different intervals. The gradient of `embedding` is
        # summed in one fixed order; that of indexing is not.
        different, which = torch.unique(context, return_inverse=True)
        table = self._scores(different).flatten(1)
        return nn.functional.embedding(which, table).unflatten(-1, (self.num_classes, self.num_classes))

    def _scores(self, intervals: Tensor) -> Tensor:
        generator, times = self.generator, intervals.double()[..., None, None]
        # Without negative entries nothing cancels, so the smallest probability keeps its digits.
        shift = (-generator.detach().diagonal().min() * times).clamp(max=_LARGEST_SHIFT)
        moved = generator * times + shift * torch.eye(self.num_classes, dtype=times.dtype, device=times.device)
        total = torch.linalg.matrix_exp(moved)
        possible = total > 0
        scores = torch.where(possible, total, 1.0).log() - shift
        return scores.masked_fill(~possible, -torch.inf).to(self.log_switching_rates.dtype)

    @torch.no_grad()
    def set_switching_rates(self, rates: Tensor) -> None:
        """Set the switching rates (C, C), switches per unit of time; the diagonal is not read."""
        rates = check_scores_shape(rates, "rates", (self.num_classes, self.num_classes), "(C, C)")
        diagonal = torch.eye(self.num_classes, dtype=torch.bool, device=rates.device)
        self.log_switching_rates.copy_(rates.masked_fill(diagonal, 1.0).log())

    def set_counts(self, counts: Tensor, *, stays: bool = True) -> NoReturn:
        """Not supported: counts carry no time information."""
        expected = "the times between labelled frames, because switching rates are switches per unit of time"
        raise InputTypeError("intervals", "None", expected, "give init_from intervals=, or call set_switching_rates")


def check_intervals(values: Tensor, name: str = "context", recording: int | None = None) -> None:
    """Raise for times between frames that are not (B, T - 1), or not finite and zero or more.

    ``recording`` is the index to report, if the values are those of one recording.
    """
    if values.dim() != 2 or not values.is_floating_point():
        expected = "intervals of shape (B, T - 1), floating-point times from frame to frame"
        raise InputError(name, f"{values.dtype} of shape {tuple(values.shape)}", expected)
    if torch.compiler.is_compiling():
        return
    bad = ~((values >= 0) & values.isfinite())
    if bad.any():
        row, frame = where = tuple(bad.nonzero()[0].tolist())
        raise InputError(
            name,
            f"an interval of {float(values[where]):g} to frame {frame + 1}",
            "a finite time of 0 or more",
            "sort frames by time, and pad with 0",
            recording=row if recording is None else recording,
            frame=frame,
        )
