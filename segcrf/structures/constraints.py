"""Constraints: minimum durations, and decoding by frame that obeys what is known.

Both are exact. A minimum duration forbids scores of short bands, so every query of the structure obeys it. Frames with
a known or a forbidden class need nothing of this module: ``dist.restrict(allowed)`` is their restriction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError, check_whole
from segcrf.structures.alignment import Alignment
from segcrf.structures.base import Structure
from segcrf.structures.distribution import Best
from segcrf.structures.linear_chain import LinearChain
from segcrf.structures.semi_markov import SemiMarkov

__all__ = ["minimum_duration", "most_accurate"]


def minimum_duration(dist: Structure, frames: int | Sequence[int]) -> SemiMarkov:
    """Return the distribution given that no band between two others is shorter than a minimum.

    The first and the last band may be shorter, because the edges of the recording cut them. So a recording shorter than
    the minimum is one band, or two that both edges cut. A linear chain becomes the semi-Markov chain with the same
    scores, where a band of d frames scores d - 1 stays; its ``marginals.transitions`` count steps between bands only.
    ``minimum_duration(dist, frames).log_share(dist)`` is the log-probability that the minimum is kept.

    A step costs O(C K + C^2), where K is the largest minimum, or the longest duration of ``dist`` if that is larger.

    Args:
        dist: a :class:`~segcrf.LinearChain` with transitions that all steps share, or a :class:`~segcrf.SemiMarkov`.
        frames: shortest band, for all classes or one per class; 1 is no minimum.

    Raises:
        InputError: a minimum is no integer of 1 or more, there is not one per class, or the transitions of a chain
            differ from step to step. InputTypeError: another kind of structure.

    Source: Rabiner 1989, section IV.D: a chain that stays has geometric durations.

    Example:
        >>> from segcrf import LinearChain
        >>> emissions = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 3.0], [1.0, 0.4], [1.0, 0.0]]])
        >>> chain = LinearChain(emissions, torch.zeros(2, 2))
        >>> chain.mode
        tensor([[0, 0, 1, 0, 0]])
        >>> minimum_duration(chain, [1, 2]).mode        # a band of class 1 has two frames at least
        tensor([[0, 0, 1, 1, 0]])
    """
    longest = int(dist.lengths.max())
    least = [min(value, longest) for value in _check_minimum(frames, dist.num_classes)]
    chain = _with_durations(dist)
    size = max(*least, chain.max_duration)
    scores = chain.potentials
    durations, first, last = (
        _extended(table, chain.tail, size) for table in (scores.durations, scores.first, scores.last)
    )
    age = torch.arange(1, size + 1, device=chain.tail.device)
    short = age < torch.as_tensor(least, device=age.device)[:, None]
    return chain.replace(durations=durations.masked_fill(short, -torch.inf), first=first, last=last)


def most_accurate(dist: Structure | Alignment) -> Best:
    """Return the allowed labelling with the largest expected number of right frames, which is its score.

    Without constraints between frames it is :attr:`~segcrf.Structure.posterior_mode`. That may be forbidden as a whole;
    this labelling never is: it is the best path through the posterior probabilities of the frames, where a forbidden
    score (-inf) stays forbidden and every other score of the structure is 0.

    Args:
        dist: over B recordings.

    Returns:
        The expected number (B,) of right frames, labels (B, T), -100 beyond lengths, and the starts (B, T) of bands.

    Raises:
        InputError: a recording has no allowed labelling.

    Source: the optimal accuracy decoder of Kall, Krogh and Sonnhammer, "An HMM posterior decoder for sequence feature
        prediction that includes homology information", 2005.

    Example:
        >>> from segcrf import LinearChain
        >>> pairs = torch.tensor([[0.4, 0.0, 0.0], [0.0, 0.25, 0.0], [0.0, 0.35, 0.0]])     # of two frames
        >>> chain = LinearChain(torch.zeros(1, 2, 3), pairs.log())
        >>> chain.posterior_mode, most_accurate(chain).labels       # 0, then 1 has probability 0
        (tensor([[0, 1]]), tensor([[2, 1]]))
    """
    right = dist.marginals.labels
    if isinstance(dist, Structure):
        return _best_path(dist, right)
    rows = zip(dist.orders, dist.places, right, strict=True)
    return dist.from_places(
        [_best_path(place, row[None, : place.emissions.shape[1], order]) for order, place, row in rows]
    )


def _with_durations(dist: Structure) -> SemiMarkov:
    """Return a semi-Markov chain with the scores of ``dist``."""
    if isinstance(dist, SemiMarkov):
        return dist
    if not isinstance(dist, LinearChain):
        raise InputTypeError("dist", type(dist).__name__, "a LinearChain or a SemiMarkov")
    if dist.transitions.dim() != 2:
        expected = "transitions (C, C) that all steps share: the score of a duration is then the same everywhere"
        raise InputError("dist", "a chain with transitions of every step", expected, "leave the minimum duration out")
    stay = dist.transitions.diagonal()
    return SemiMarkov(
        dist.emissions,
        dist.transitions,
        torch.zeros_like(stay)[:, None],
        stay,
        dist.start,
        dist.end,
        dist.lengths,
        backend=dist.backend,
        validate_args=dist._validate_args,  # pyright: ignore[reportPrivateUsage]
    )


def _extended(table: Tensor, tail: Tensor, size: int) -> Tensor:
    """Return scores (C, size) of lasting 1 to ``size`` frames: the table (C, K), continued by its tail."""
    extra = torch.arange(1, size - table.shape[1] + 1, device=table.device)
    beyond = table[:, -1:].double() + extra * tail.double()[:, None]
    return torch.cat([table, beyond.to(table.dtype)], 1)


def _best_path(dist: Structure, frames: Tensor) -> Best:
    """Return the labelling that ``dist`` allows with the largest sum of scores (B, T, C) of frames alone."""
    flat = dist.uniform()
    return flat.replace(emissions=flat.emissions + frames.to(flat.emissions.dtype)).best


def _check_minimum(values: int | Sequence[int], num_classes: int) -> list[int]:
    """Return one minimum per class after checking them."""
    each = [values] * num_classes if isinstance(values, int) else list(values)
    if len(each) != num_classes:
        raise InputError("frames", f"{len(each)} minima", f"one, or {num_classes}: one per class")
    for value in each:
        check_whole(value, "frames", 1)
    return each
