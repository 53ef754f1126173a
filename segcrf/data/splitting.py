"""Splitting of recordings into training and validation recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf._validation import UNLABELLED, InputError
from segcrf.data.dataset import Labelled, check_any_labelled
from segcrf.segments import Segments

__all__ = ["split_recordings"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

# Up to so many choices are compared one by one. Beyond, swaps improve so many random choices for at most so many
# rounds, each time by the best of so many swaps.
EXACT, STARTS, ROUNDS, SWAPS = 10_000, 8, 50, 1024
# A class in so many recordings is learned from several people or days. Measured: to hold out one of two people with a
# class cost that class more than the better match of shares gained.
ENOUGH = 2
# The last frames of a single recording: how far their share may be from the fraction, as a factor either way.
STRETCH = 2.0


def split_recordings(
    recordings: Labelled, fraction: float, seed: int, groups: Sequence[object] | None = None
) -> tuple[Labelled, Labelled]:
    """Split recordings into training and validation recordings that are alike.

    Whole recordings are held out, or whole groups, because windows of one recording resemble each other too much for
    validation. Among all choices of that many recordings, these rules decide, in this order:

    1. Training keeps every class.
    2. A class keeps two recordings (or groups) for training, so a class in one or two of them is not held out.
    3. As many recordings are held out as the fraction says, and fewer only where more would break rule 1 or 2.
    4. Validation has every class that it may have.
    5. The held-out recordings have the right share of each class: the least sum over classes of
       ``abs(held - fraction * all) / total``, for frames and for bands, added up. ``held`` and ``all`` count the
       frames or bands of a class, ``total`` those of all classes.

    Where the first two rules cannot be kept, one recording is held out, the one that breaks them for the fewest
    classes. Up to 10 000 choices are compared one by one; among more, swaps improve eight random choices. The seed
    decides between equal choices, and draws the random ones.

    Only a single recording is split in time: its last frames are held out. The cut is where training and validation
    lack the fewest classes, and then nearest to the fraction. Their share stays between half and twice the fraction.

    Args:
        recordings: all recordings; labels are class indices.
        fraction: share of the labelled recordings to hold out, rounded, one at least; 0 for none.
        seed: decides between choices that are equally good.
        groups: one name per recording; whole groups are held out instead of whole recordings.

    Returns:
        Recordings for training and for validation. Unlabelled recordings are among the former.

    Raises:
        InputError: no frame is labelled, or a single frame is, which would have to be in both parts; or only one group
            has labels.

    Source: Sechidis et al., "On the stratification of multi-label data", 2011, for shares of each class by whole
        samples.

    Example:
        >>> labels = [np.array([0, 1]), np.array([0, 1]), np.array([0, 2]), np.array([0, 1])]
        >>> signals = [np.zeros((2, 1))] * 4
        >>> split_recordings(Labelled(signals, labels, None), 0.25, seed=0)[1].names
        ['recording 0']
    """
    check_any_labelled(recordings.labels)
    everything = range(len(recordings.labels))
    if fraction == 0.0:
        return recordings, recordings.take([])
    members = _labelled_units(recordings.labels, groups)
    if len(members) == 1:
        return _split_in_time(recordings, members[0][0], fraction)
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    members = [members[i] for i in order]
    counts = _Counts.of([[recordings.labels[i] for i in each] for each in members])
    chosen = _best_subset(counts, max(round(fraction * len(members)), 1), fraction, seed)
    held = {i for unit in chosen.tolist() for i in members[unit]}
    return recordings.take([i for i in everything if i not in held]), recordings.take(sorted(held))


def _labelled_units(labels: Sequence[Array], groups: Sequence[object] | None) -> list[list[int]]:
    """Return the recordings of each group that has labels; without groups, each labelled recording by itself."""
    members: dict[object, list[int]] = {}
    for i, group in enumerate(range(len(labels)) if groups is None else groups):
        members.setdefault(group, []).append(i)
    units = [each for each in members.values() if any((labels[i] != UNLABELLED).any() for i in each)]
    if groups is not None and len(units) < 2:
        advice = "give validation= with recordings of other groups, or validation_fraction=0, or leave groups out"
        raise InputError("groups", f"{len(units)} group with labels", "2 or more", advice)
    return units


class _Counts(NamedTuple):
    """What the choice depends on, by recording or group ("unit").

    Args:
        shares: (N, 2 C) each unit's share of all frames and of all bands, by class.
        has: (N, C) whether a unit has the class.
    """

    shares: npt.NDArray[np.float64]
    has: Mask

    @classmethod
    def of(cls, labels: Sequence[Sequence[Array]]) -> _Counts:
        """Count frames and bands of each class in the recordings of each unit."""
        bands = Segments.from_labels([array for each in labels for array in each])
        unit = np.repeat(np.arange(len(labels)), [len(each) for each in labels])[bands.recording]
        classes, code = np.unique(bands.label, return_inverse=True)
        cell, size = unit * len(classes) + code.ravel(), len(labels) * len(classes)
        tables = [np.bincount(cell, weights, minlength=size) for weights in (bands.durations, None)]
        frames, runs = (table.reshape(len(labels), -1).astype(np.float64) for table in tables)
        return cls(np.hstack([frames / frames.sum(), runs / runs.sum()]), frames > 0)


# ------------------------------------------------------------------------------------------- which to hold out
def _best_subset(counts: _Counts, size: int, fraction: float, seed: int) -> Array:
    """Return the best choice of at most ``size`` units, as their numbers."""
    # A unit with a class that one or two units have breaks a rule by itself.
    free = np.flatnonzero(~(counts.has & (counts.has.sum(0) <= ENOUGH)).any(1))
    if not len(free):
        return _best_of(np.arange(len(counts.has))[:, None], counts, fraction)
    random = np.random.default_rng(seed)
    for count in range(min(size, len(free)), 0, -1):
        if math.comb(len(free), count) <= EXACT:
            choices = np.array(list(combinations(free.tolist(), count)))
        else:
            choices = np.stack([_improved(free, count, counts, fraction, random) for _ in range(STARTS)])
        best = _best_of(choices, counts, fraction)
        if not _broken(counts.has[best].sum(0)[None], counts).any():
            return best
    raise AssertionError("a single free unit breaks no rule")


def _improved(free: Array, count: int, counts: _Counts, fraction: float, random: np.random.Generator) -> Array:
    """Improve a random choice by the best swap, round by round, until none that is tried improves it."""
    order = random.permutation(free)
    inside, outside = order[:count], order[count:]
    for _ in range(ROUNDS):
        number = len(inside) * len(outside)
        pairs = np.arange(number) if number <= SWAPS else random.integers(number, size=SWAPS)
        leave, enter = np.append(-1, pairs % count), np.append(-1, pairs // count)  # first: no swap
        tried = [
            np.where(leave[:, None] < 0, 0, table[outside[enter]] - table[inside[leave]]) + table[inside].sum(0)
            for table in (counts.shares, counts.has.astype(np.int64))
        ]
        best = _order(tried[0], tried[1], counts, fraction)[0]
        if best == 0:
            break
        i, j = leave[best], enter[best]
        inside[i], outside[j] = outside[j], inside[i]
    return np.sort(inside)


def _best_of(choices: Array, counts: _Counts, fraction: float) -> Array:
    """Return the best row of (M, K) choices of K units; the first of equal ones."""
    held, having = (
        sum(table[column] for column in choices.T) for table in (counts.shares, counts.has.astype(np.int64))
    )
    return choices[_order(np.asarray(held), np.asarray(having), counts, fraction)[0]]


def _order(held: Array, having: Array, counts: _Counts, fraction: float) -> Array:
    """Sort choices by the rules of :func:`split_recordings`, best first.

    Args:
        held: (M, 2 C) what each choice holds of the shares.
        having: (M, C) how many units with a class it holds.
        counts: of all units.
        fraction: of the shares that it should hold.
    """
    distance = np.abs(held - fraction * counts.shares.sum(0)).sum(1)
    lost, alone = _broken(having, counts).T
    # Rounded, because sums in another order differ in the last digits.
    return np.lexsort((distance.round(9), (having == 0).sum(1), alone, lost))


def _broken(having: Array, counts: _Counts) -> Array:
    """Return how many classes lose all units of training, and how many keep a single one of several, (M, 2)."""
    total = counts.has.sum(0)
    left = total - having
    return np.stack([(left == 0).sum(1), ((left == 1) & (total >= ENOUGH)).sum(1)], axis=1)


# --------------------------------------------------------------------------------------------- a single recording
def _split_in_time(recordings: Labelled, only: int, fraction: float) -> tuple[Labelled, Labelled]:
    """Hold out the last frames of the only labelled recording."""
    at = _best_cut(recordings.labels[only], fraction, only)
    one = recordings.take([only])
    others = recordings.take([i for i in range(len(recordings.labels)) if i != only])
    early = one.cut(0, at)
    targets = None if early.targets is None or others.targets is None else early.targets + others.targets
    indices = [*(early.indices or ()), *(others.indices or ())]
    train = Labelled(early.signals + others.signals, early.labels + others.labels, targets, indices)
    return train, one.cut(at, None)


def _best_cut(labels: Array, fraction: float, recording: int) -> int:
    """Return the first frame to hold out: one with a label."""
    known = np.flatnonzero(labels != UNLABELLED)
    if len(known) < 2:
        raise InputError(
            "y",
            "the only labelled frame",
            "at least two labelled frames, one for training and one for validation",
            "label more frames, give validation recordings, or set the validation fraction to 0",
            recording=recording,
        )
    usual = min(max(round((1.0 - fraction) * len(known)), 1), len(known) - 1)
    held = len(known) - np.arange(1, len(known))
    allowed = (held >= fraction / STRETCH * len(known)) & (held <= fraction * STRETCH * len(known))
    # The usual cut comes first, so it is the one where no other is better.
    cuts = np.append(usual, 1 + np.flatnonzero(allowed))
    classes, first = np.unique(labels[known], return_index=True)
    last = len(known) - 1 - np.unique(labels[known][::-1], return_index=True)[1]
    lost = len(classes) - np.searchsorted(np.sort(first), cuts, side="left")
    missing = np.searchsorted(np.sort(last), cuts, side="left")
    return int(known[cuts[np.lexsort((np.abs(cuts - usual), missing, lost))[0]]])
