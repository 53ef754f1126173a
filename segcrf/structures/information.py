"""Information: entropies and divergences of structures, from expected counts in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segcrf.structures.checks import check_same_kind
from segcrf.structures.reductions import without_padding

if TYPE_CHECKING:
    from segcrf.structures.base import Structure

__all__ = ["divergence", "expected_score"]

FAR = 1e4


def expected_score(dist: Structure, other: Structure) -> Tensor:
    """Return the cross-entropy (B,) of two structures in float64: ``log Z_other - <counts, potentials of other>``."""
    centred = _centred(dist)
    _, counts, _ = centred.expectations
    log_z, potentials = _relative(centred if other is dist else _centred(other), counts)
    return log_z - _weighted(counts, potentials)


def _centred(dist: Structure) -> Structure:
    """Return the same distribution in float64, with the best class at 0 where a frame is far from zero.

    Large totals would cancel, and digits with them: a frame may have an offset of its own, or a mask on all classes.
    """
    exact = dist.double()
    top = _tops(exact)
    return exact.replace(emissions=exact.emissions - torch.where(top.abs() > FAR, top, 0.0))


def _tops(dist: Structure) -> Tensor:
    """Return the best score (B, T, 1) of each frame, 0 in the padding and where every class is forbidden."""
    top = dist.emissions.detach().amax(-1, keepdim=True)
    return torch.where(top.isfinite() & dist.frame_mask[..., None], top, 0.0)


def _relative(centred: Structure, counts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return log partition and potentials, less the best score of each frame and an offset of all transitions.

    That offset counts as often as there are steps, by the ``counts`` of the distribution that is averaged over.
    """
    emissions, transitions, *others = centred.potentials
    top = _tops(centred)
    best = _offset(
        transitions if transitions.dim() == 2 else without_padding((emissions, transitions), centred.lengths)[1]
    )
    steps = counts[1].flatten(1).sum(1)
    return centred.log_z - top.sum((1, 2)) - best * steps, [emissions - top, transitions - best, *others]


def _offset(scores: Tensor) -> Tensor:
    """Return the largest score where it is far from zero, else 0: a small one costs no digits."""
    if not scores.numel():
        return scores.new_zeros(())
    largest = scores.amax()
    return torch.where(largest.isfinite() & (largest.abs() > FAR), largest, 0.0)


def _weighted(counts: Sequence[Tensor], potentials: Sequence[Tensor]) -> Tensor:
    """Return the sum (B,) over all potentials of count times score; a count of 0 counts 0, also at a score of -inf."""
    total = counts[0].new_zeros(len(counts[0]), dtype=torch.float64)
    for count, potential in zip(counts, potentials, strict=True):
        total = total + (count * potential.masked_fill(count == 0, 0.0)).flatten(1).sum(1)
    return total


def divergence(p: Structure, q: Structure) -> Tensor:
    """Return KL(p || q) (B,), which is ``torch.distributions.kl_divergence(p, q)``.

    It is ``log Z_q - log Z_p + <expected counts of p, potentials of p - potentials of q>``, exact; infinite where p
    gives mass to labellings that q forbids. Where bands of one class may touch, it is that of segmentations.
    """
    check_same_kind(p, q)
    ours, theirs = _centred(p), _centred(q)
    _, counts, _ = ours.expectations
    (log_p, mine), (log_q, yours) = _relative(ours, counts), _relative(theirs, counts)
    # The difference first: two entropies of a long recording are large and nearly the same.
    difference = [
        a.masked_fill(never, 0.0) - b.masked_fill(never, 0.0)
        for never, a, b in zip((count == 0 for count in counts), mine, yours, strict=True)
    ]
    return (log_q - log_p + _weighted(counts, difference)).clamp(min=0.0).to(p.dtype)
