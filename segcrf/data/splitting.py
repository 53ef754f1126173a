"""Splitting of recordings into training and validation recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import UNLABELLED, InputError
from segcrf.data.dataset import Labelled, check_any_labelled

__all__ = ["split_recordings"]

Array = npt.NDArray[Any]


def split_recordings(
    recordings: Labelled, fraction: float, seed: int, groups: Sequence[object] | None = None
) -> tuple[Labelled, Labelled]:
    """Split recordings into training and validation recordings.

    Whole recordings are held out, in a random order, but none that is the only one with some class. Windows of one
    recording resemble each other too much for validation. Only a single recording is split in time: its last frames
    are held out.

    Args:
        recordings: all recordings.
        fraction: share of the labelled recordings to hold out, rounded, one at least; 0 for none.
        seed: of the random order.
        groups: one name per recording; whole groups are held out instead of whole recordings.

    Returns:
        Recordings for training and for validation. Unlabelled recordings are among the former.

    Raises:
        InputError: no frame is labelled, or a single frame is, which would have to be in both parts; or only one group
            has labels.

    Example:
        >>> labels = [np.array([0, 1]), np.array([0, 1]), np.array([0, 2])]
        >>> signals = [np.zeros((2, 1))] * 3
        >>> split_recordings(Labelled(signals, labels, None), 0.5, seed=0)[1].names
        ['recording 0']
    """
    check_any_labelled(recordings.labels)
    everything = range(len(recordings.labels))
    if fraction == 0.0:
        return recordings, recordings.take([])
    if groups is not None:
        return _split_by_group(recordings, fraction, seed, groups)
    labelled = [i for i in everything if (recordings.labels[i] != UNLABELLED).any()]
    if len(labelled) == 1:
        return _split_in_time(recordings, labelled[0], fraction)
    order = np.random.default_rng(seed).permutation(labelled).tolist()
    held = _dispensable(recordings.labels, order, max(round(fraction * len(order)), 1))
    return recordings.take([i for i in everything if i not in held]), recordings.take(sorted(held))


def _split_by_group(
    recordings: Labelled, fraction: float, seed: int, groups: Sequence[object]
) -> tuple[Labelled, Labelled]:
    """Hold out whole groups, with their unlabelled recordings."""
    members: dict[object, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    labels = [np.concatenate([recordings.labels[i] for i in each]) for each in members.values()]
    labelled = [g for g, array in enumerate(labels) if (array != UNLABELLED).any()]
    if len(labelled) < 2:
        advice = "give validation= with recordings of other groups, or validation_fraction=0, or leave groups out"
        raise InputError("groups", f"{len(labelled)} group with labels", "2 or more", advice)
    order = np.random.default_rng(seed).permutation(labelled).tolist()
    chosen = _dispensable(labels, order, max(round(fraction * len(order)), 1))
    held = sorted(i for g, each in enumerate(members.values()) if g in chosen for i in each)
    return recordings.take([i for i in range(len(recordings.labels)) if i not in set(held)]), recordings.take(held)


def _dispensable(labels: list[Array], order: list[int], count: int) -> set[int]:
    """Return the first ``count`` recordings without which no class is lost; the first one if there are none."""
    classes = {i: set(np.unique(labels[i]).tolist()) for i in order}
    held: set[int] = set()
    for i in order:
        others = set[int]().union(*(classes[j] for j in order if j != i and j not in held))
        if len(held) < count and classes[i] <= others | {UNLABELLED}:
            held.add(i)
    return held or {order[0]}


def _split_in_time(recordings: Labelled, only: int, fraction: float) -> tuple[Labelled, Labelled]:
    known = np.flatnonzero(recordings.labels[only] != UNLABELLED)
    if len(known) < 2:
        raise InputError(
            "y",
            "the only labelled frame",
            "at least two labelled frames, one for training and one for validation",
            "label more frames, give validation recordings, or set the validation fraction to 0",
            recording=only,
        )
    at = int(known[min(max(round((1.0 - fraction) * len(known)), 1), len(known) - 1)])
    one = recordings.take([only])
    others = recordings.take([i for i in range(len(recordings.labels)) if i != only])
    early = one.cut(0, at)
    targets = None if early.targets is None or others.targets is None else early.targets + others.targets
    indices = [*(early.indices or ()), *(others.indices or ())]
    train = Labelled(early.signals + others.signals, early.labels + others.labels, targets, indices)
    return train, one.cut(at, None)
