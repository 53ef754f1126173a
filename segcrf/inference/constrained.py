"""Constrained decoding: the answers of a model given what is known, exact, and the error where it cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, about_argument
from segcrf.inference.prompts import Known, Prompts
from segcrf.inference.recordings import Inferred
from segcrf.nn import Decoded
from segcrf.structures import Alignment, Best, Structure, minimum_duration, most_accurate, transcript

__all__ = ["Constrained", "decode_constrained"]


class Constrained(NamedTuple):
    """The answer of a model for some of the recordings, given what is known of them.

    Attributes:
        recordings: their indices, B of them.
        dist: distribution over their labels given what is known.
        decoded: the same in float64, with emissions multiplied by the factor of the decoding rule; the posteriors are
            its own.
        bands: the labelling to show; it agrees with what is known.
    """

    recordings: list[int]
    dist: Structure | Alignment
    decoded: Structure | Alignment
    bands: Decoded | Best

    @property
    def posteriors(self) -> Tensor:
        """(B, T, C) float64 probability of each class at each frame given what is known, before calibration."""
        return self.decoded.marginals.labels


def decode_constrained(found: Inferred, prompts: Prompts) -> Iterator[Constrained]:
    """Yield the answers of a model given what is known, by the decoding rule of the model.

    A rule that takes the most probable sequence takes the most probable one that agrees. A rule that decides frame by
    frame takes the most probable class of each frame given what is known; with a transcript or a minimum duration,
    which bind frames together, it takes the labelling of :func:`~segcrf.structures.most_accurate`.

    Args:
        found: what the model infers without knowing anything.
        prompts: what is known about all recordings.

    Raises:
        InputError: no labelling agrees. It names the recording, the frame, the class and what to relax.
    """
    known = [prompts.recordings[i] for i in found.recordings]
    alone = any(each.transcript is not None for each in known)
    for rows in [[row] for row in range(len(known))] if alone else [list(range(len(known)))]:
        own = [known[row] for row in rows]
        whole, decoded = (dist[rows[0]] if alone else dist for dist in (found.dist, found.bands.dist))
        dist = _constrain(whole, own)
        scored = _constrain(decoded.double(), own)
        for row, feasible in zip(rows, _feasible(scored), strict=True):
            if not feasible:
                raise _conflict(found.dist[row], known[row], found.recordings[row], prompts.classes)
        recordings = [found.recordings[row] for row in rows]
        yield Constrained(recordings, dist, scored, _decode(scored, found.bands.by_frame, own))


def _decode(dist: Structure | Alignment, by_frame: bool, known: Sequence[Known]) -> Decoded | Best:
    """Return the labelling of a constrained distribution by the decoding rule."""
    if isinstance(dist, Structure) and known[0].min_duration is None:
        return Decoded(dist, by_frame)
    return most_accurate(dist) if by_frame else dist.best


def _constrain(dist: Structure, known: Sequence[Known]) -> Structure | Alignment:
    """Return the distribution given what is known about each of its recordings.

    Args:
        dist: over B recordings.
        known: of each; where one has a transcript, all have.

    Raises:
        InputError: a minimum duration with transitions of every step.
    """
    dist = dist.replace(validate_args=False)  # what nothing obeys is found, and explained, afterwards
    allowed = _allowed(dist, known)
    if allowed is not None:
        dist = dist.restrict(allowed)
    least = known[0].min_duration
    if least is not None:
        with about_argument("min_duration"):
            dist = minimum_duration(dist, least)
    orders = [each.transcript for each in known if each.transcript is not None]
    return transcript(dist, orders) if orders else dist


def _allowed(dist: Structure, known: Sequence[Known]) -> Tensor | None:
    """Return the classes (B, T, C) that may stand at each frame; None: all."""
    if all(each.given is None and each.forbid is None for each in known):
        return None
    allowed = np.ones(tuple(dist.emissions.shape), dtype=bool)
    for rows, each in zip(allowed, known, strict=True):
        if each.given is not None:
            frames = np.flatnonzero(each.given != UNLABELLED)
            rows[frames] = False
            rows[frames, each.given[frames]] = True
        if each.forbid is not None:
            rows[: len(each.forbid)] &= ~each.forbid
    return torch.from_numpy(allowed).to(dist.emissions.device)


def _feasible(dist: Structure | Alignment) -> list[bool]:
    """Return for each recording whether any labelling is allowed.

    The best score says it, because the best labelling costs less than a sum and is needed anyway.
    """
    parts = dist.places if isinstance(dist, Alignment) else [dist]
    return [score > -torch.inf for part in parts for score in part.best.score.tolist()]


# ---------------------------------------------------------------------------------------------------------- conflicts
def _conflict(dist: Structure, known: Known, recording: int, classes: Sequence[object]) -> InputError:
    """Return the error that says where what is known about one recording leaves no labelling, and what to relax."""

    def feasible(**changes: Any) -> bool:
        return _feasible(_constrain(dist, [known._replace(**changes)]))[0]

    kinds = [kind for kind, value in known._asdict().items() if value is not None]
    enough = [f"`{kind}`" for kind in kinds if feasible(**{kind: None})]
    advice = f"relax {' or '.join(enough)}" if enough else f"relax several of {', '.join(kinds)}"
    if feasible(given=None, forbid=None):
        frame = _first_conflict(dist, known)
        argument, got, expected = _conflict_at(dist, known, frame, classes)
        return InputError(argument, got, expected, advice, recording=recording, frame=frame)
    if known.transcript is None:
        got, expected = "a minimum that no labelling has", "one that the model allows"
        return InputError("min_duration", got, expected, advice, recording=recording)
    got, expected = _conflict_in_order(dist, known.transcript, classes)
    return InputError("transcript", got, expected, advice, recording=recording)


def _first_conflict(dist: Structure, known: Known) -> int:
    """Return the first frame t such that what is known about the frames up to t leaves no labelling."""
    fine, conflict = 0, int(dist.lengths[0])
    while conflict - fine > 1:
        frames = (fine + conflict) // 2
        possible = _feasible(_constrain(dist, [_until(known, frames)]))[0]
        fine, conflict = (frames, conflict) if possible else (fine, frames)
    return conflict - 1


def _until(known: Known, frames: int) -> Known:
    """Return what is known about the first frames, and about bands."""
    given, forbid = known.given, known.forbid
    if given is not None:
        given = np.where(np.arange(len(given)) < frames, given, UNLABELLED)
    return known._replace(given=given, forbid=None if forbid is None else forbid[:frames])


def _conflict_at(dist: Structure, known: Known, frame: int, classes: Sequence[object]) -> tuple[str, str, str]:
    """Return the argument that conflicts with earlier frames or with the model, what it holds and what it could."""
    label = UNLABELLED if known.given is None else int(known.given[frame])
    forbidden = [] if known.forbid is None else np.flatnonzero(known.forbid[frame]).tolist()
    if label == UNLABELLED:
        named = ", ".join(repr(classes[each]) for each in forbidden)
        return "forbid", f"{named} forbidden", "a class that may stand here, given the other frames and the model"
    got = f"class {classes[label]!r}"
    if label in forbidden:
        return "given", f"{got}, which `forbid` excludes", "a class that may stand here"
    before = UNLABELLED if known.given is None or not frame else int(known.given[frame - 1])
    if before not in (UNLABELLED, label) and not _may_follow(dist, before, label, frame):
        return "given", f"{got} after {classes[before]!r}", "a step that the model allows (its score is -inf)"
    return "given", got, "a class that may stand here, given the other frames and the model"


def _conflict_in_order(dist: Structure, order: Sequence[int], classes: Sequence[object]) -> tuple[str, str]:
    """Return what is wrong with a transcript by itself, or with the minimum duration, and what would fit."""
    steps = range(1, int(dist.lengths[0]) if dist.potentials.transitions.dim() == 4 else 2)
    for place, (before, label) in enumerate(itertools.pairwise(order)):
        if not any(_may_follow(dist, before, label, frame) for frame in steps):
            got = f"{classes[label]!r} after {classes[before]!r} (bands {place} and {place + 1})"
            return got, "a step that the model allows (its score is -inf)"
    got = f"{len(order)} bands, {classes[order[0]]!r} to {classes[order[-1]]!r}"
    return got, f"bands that fit into {int(dist.lengths[0])} frames, by their durations and the model"


def _may_follow(dist: Structure, before: int, label: int, frame: int) -> bool:
    """Return whether a structure over one recording allows the step from one class to another at a frame."""
    steps: Tensor = dist.potentials.transitions
    score = steps[before, label] if steps.dim() == 2 else steps[0, frame - 1, before, label]
    return bool(score > -torch.inf)
