"""Semi-Markov chain on a CPU: entry points of the Numba kernels.

Sums are in `numba_forward_backward`, expected counts in `numba_counts`, best segmentations in `numba_viterbi`, the
score of given labels in `numba_score`, and the memory layout of all scores in `numba_tables`.
"""

# pyright: basic
# Compiled functions have no types that Python sees.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segcrf.kernels.layout import working_dtype
from segcrf.kernels.likelihood import subtract_observed
from segcrf.kernels.numba_runtime import array, share
from segcrf.kernels.semi_markov.numba_forward_backward import sum_rows
from segcrf.kernels.semi_markov.numba_score import observe_rows
from segcrf.kernels.semi_markov.numba_tables import Outputs, Scores, lay_out
from segcrf.kernels.semi_markov.numba_viterbi import max_rows

__all__ = ["log_partition", "log_prob", "max_product", "sum_product"]


def log_partition(*inputs: Tensor) -> Tensor:
    """Return the log partition (B,), float64."""
    return _sum(*inputs, gradient=False, starts=False)[0]


def sum_product(*inputs: Any) -> tuple[Tensor, ...]:
    """Return the log partition and, per recording, the expected counts of each potential and, on request, of starts."""
    *potentials, starts = inputs
    return _sum(*potentials, gradient=True, starts=starts)


def log_prob(*inputs: Any) -> tuple[Tensor, ...]:
    """Return the log-probability of labels, the log partition and, on request, expected less observed counts."""
    emissions, *shared, labels, lengths, gradient = inputs
    tables = _tables(shared)
    log_z, *counts, _ = _scaled(emissions, tables, lengths, gradient=gradient, starts=False)
    laid_out = Scores(*tables.laid_out)
    inputs = (array(emissions), labels.numpy(), lengths.numpy(), *tables.plain[:5], laid_out.opening, laid_out.closing)
    outputs = tuple(count.numpy() for count in counts)

    def observe(total: Any) -> tuple[bool, bool]:
        return observe_rows(*inputs, log_z.numpy(), total, *outputs)

    def restricted_sum(clamped: Tensor, rows: Tensor) -> Sequence[Tensor]:
        return _scaled(clamped, tables, lengths[rows], gradient=gradient, starts=False)[:-1]

    log_prob = subtract_observed(emissions, labels, lengths, log_z, counts, observe, restricted_sum)
    return log_prob, log_z, counts[0], *_apart(counts[1], shared, counts[0].dtype)


def max_product(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best score (B,), labels (B, T) and band starts (B, T)."""
    emissions, *shared, lengths = inputs
    batch, frames, classes = emissions.shape
    scores = torch.empty(batch, dtype=torch.float64)
    labels = torch.empty(batch, frames, dtype=torch.int64)
    starts = torch.empty(batch, frames, dtype=torch.bool)
    tables = tuple(p.detach().double().contiguous().numpy() for p in shared)
    arrays = (array(emissions), lengths.numpy(), tables, scores.numpy(), labels.numpy(), starts.numpy())
    work = 2.0 * emissions.numel() * (shared[1].shape[1] + classes + 20)
    share(lambda first, last: max_rows(*arrays, first, last), batch, work)
    return scores, labels, starts


class _Tables(NamedTuple):
    """The scores that all recordings share, as given and as the kernels read them."""

    plain: tuple[Any, ...]
    laid_out: tuple[Any, ...]


def _tables(shared: Sequence[Tensor]) -> _Tables:
    plain = tuple(p.detach().double().contiguous().numpy() for p in shared)
    return _Tables(plain, lay_out(*plain))


def _sum(*inputs: Tensor, gradient: bool, starts: bool) -> tuple[Tensor, ...]:
    emissions, *shared, lengths = inputs
    log_z, by_label, counts, by_start = _scaled(emissions, _tables(shared), lengths, gradient=gradient, starts=starts)
    return log_z, by_label, *_apart(counts, shared, by_label.dtype), by_start


def _scaled(emissions: Tensor, tables: _Tables, lengths: Tensor, *, gradient: bool, starts: bool) -> tuple[Tensor, ...]:
    """Return the log partition and the counts of labels, of all shared scores (one row a recording) and of starts."""
    batch, frames, classes = emissions.shape
    dtype = working_dtype(emissions)
    rows = batch if gradient else 0  # an empty array means that the kernel need not compute it
    log_z = torch.empty(batch, dtype=torch.float64)
    by_label = torch.zeros(rows, frames, classes, dtype=dtype)
    counts = torch.zeros(rows, sum(scores.size for scores in tables.plain), dtype=torch.float64)
    by_start = torch.zeros(batch if starts else 0, frames, classes, dtype=dtype)
    inputs = (array(emissions).reshape(-1), lengths.numpy(), tables.laid_out)
    outputs = Outputs(log_z.numpy(), by_label.numpy().reshape(-1), counts.numpy(), by_start.numpy().reshape(-1))
    work = emissions.numel() * (tables.plain[1].shape[1] + classes + 40) * (3.0 if gradient else 1.0)
    share(lambda first, last: sum_rows(*inputs, tuple(outputs), first, last), batch, work)
    return log_z, by_label, counts, by_start


def _apart(counts: Tensor, shared: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the counts of each shared score in a tensor of its own."""
    parts = counts.split([scores.numel() for scores in shared], 1)
    return tuple(part.to(dtype, copy=True).reshape(-1, *p.shape) for part, p in zip(parts, shared, strict=True))
