"""Alarms: signs that a finished fit is not what it seems, each with a number and the next step.

A score of validation recordings looks the same whether it means something or not. Each function here looks for one
sign that it does not, and returns a sentence or None. Nothing here trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segcrf._validation import UNLABELLED
from segcrf.data import Labelled, Recording, Windows, collate, grid
from segcrf.metrics import edit_score, frame_accuracy, segment_f1
from segcrf.segments import Segments
from segcrf.training.recipe import Model

__all__ = [
    "Evidence",
    "Side",
    "decode_side",
    "equal_recordings",
    "few_bands",
    "find_alarms",
    "first_epochs",
    "identifiers",
    "missing_classes",
    "small_validation",
    "times",
    "too_many_or_few_bands",
    "training_apart",
    "unpredicted_classes",
]

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]

# With fewer bands in all, every measure here is mostly chance: alarms are notes then, not warnings.
TRIAL = 100
# With so many bands the standard error of a share of bands, such as an F1 of 80 %, is 6 points.
ENOUGH = 50
# A fifth of so many bands is enough.
AMPLE = 250
# With fewer bands in all, a class is learned from a few, and its score says little.
LEAST = 10
# Bands per true band. Two thirds to one and a half is common; outside these, bands are missed or broken on the whole.
FEWEST, MOST = 0.5, 2.0
# Points of the mean of accuracy, edit score and F1. Training is usually ahead by 5 to 20; validation never by much.
ABOVE, BELOW = 10.0, 30.0
# A best epoch among the first tenth of at least so many: training made the model worse.
EPOCHS, EARLY = 5, 10
# Above this score, in percent, the first epoch has learned everything.
PERFECT = 99.0
# Steps of a time differ by rounding only; a shorter recording may rise evenly by chance.
ROUNDING, STEPS = 1e-3, 10


class Side(NamedTuple):
    """True and predicted labels of the windows of one side, (T,) each."""

    true: Sequence[Array]
    predicted: Sequence[Array]

    @property
    def score(self) -> float:
        """Mean of accuracy, edit score and F1@50, in percent."""
        return sum(score(self.true, self.predicted) for score in (frame_accuracy, edit_score, segment_f1)) / 3

    def known(self) -> list[Array]:
        """Return the predicted labels where the truth is known."""
        pairs = zip(self.true, self.predicted, strict=True)
        return [np.where(true == UNLABELLED, UNLABELLED, pred) for true, pred in pairs]


class Evidence(NamedTuple):
    """What a finished fit has seen.

    Args:
        classes: C names.
        train: recordings for training.
        held: recordings for validation; there may be none.
        learned: decoded windows of training recordings, or None.
        judged: decoded windows of validation recordings, or None.
        epochs: how many were trained.
        best_epoch: the best of them, from 0.
    """

    classes: Sequence[str]
    train: Labelled
    held: Labelled
    learned: Side | None
    judged: Side | None
    epochs: int
    best_epoch: int


def find_alarms(evidence: Evidence) -> tuple[list[str], list[str]]:
    """Return the alarms of a fit, worst first, and those that deserve a warning.

    With fewer than 100 bands in all none does: a trial of a few recordings is what it is, and measures are mostly
    chance. A validation of fewer than 50 bands deserves one from 250 bands on, where a fifth would be enough.

    Args:
        evidence: what the fit has seen.
    """
    train, held, number = evidence.train, evidence.held, len(evidence.classes)
    learned, judged = (count_bands(part.labels, number) for part in (train, held))
    total, small = int((learned + judged).sum()), None
    found: list[str | None] = []
    if evidence.judged is not None and evidence.learned is not None:
        true, pred = (count_frames(labels, number) for labels in (evidence.judged.true, evidence.judged.known()))
        bands = [len(Segments.from_labels(labels)) for labels in (evidence.judged.known(), evidence.judged.true)]
        scores = evidence.learned.score, evidence.judged.score
        small = small_validation(int(judged.sum()))
        found += [
            equal_recordings(train, held),
            too_many_or_few_bands(*bands),
            unpredicted_classes(true, pred, evidence.classes),
            training_apart(*scores, int(judged.sum())),
            first_epochs(evidence.best_epoch, evidence.epochs, scores[1]),
            missing_classes(learned, judged, evidence.classes),
            small,
        ]
    signals = [*train.signals, *held.signals]
    found += [identifiers(signals), times(signals), few_bands(learned + judged, evidence.classes)]
    texts = [text for text in found if text is not None]
    return texts, [text for text in texts if total >= (AMPLE if text == small else TRIAL)]


# ------------------------------------------------------------------------------------------- alarms about results
def equal_recordings(train: Labelled, held: Labelled) -> str | None:
    """Return an alarm for recordings that are on both sides, by the digest of their signals.

    Args:
        train: recordings for training.
        held: recordings for validation.

    Example:
        >>> one = Labelled([np.arange(3.0)[:, None]], [np.zeros(3, int)], None)
        >>> equal_recordings(one, one)[:53]
        '1 recording for validation is also one for training: '
    """
    known = {_digest(signal) for signal in train.signals}
    names = [name for name, signal in zip(held.names, held.signals, strict=True) if _digest(signal) in known]
    if not names:
        return None
    copies = "1 recording for validation is also one" if len(names) == 1 else f"{len(names)} recordings are also ones"
    return (
        f"{copies} for training: {', '.join(names[:3])} of validation; its score is no measure of new recordings. "
        "Remove the copies, or name them alike in groups="
    )


def too_many_or_few_bands(predicted: int, true: int) -> str | None:
    """Return an alarm if the bands predicted on validation recordings are under half or over twice the true ones.

    Args:
        predicted: bands predicted.
        true: true bands, 1 or more.

    Example:
        >>> too_many_or_few_bands(3, 100)[:56]
        '3 bands are predicted on validation recordings, 100 are '
    """
    if FEWEST * true <= predicted <= MOST * true:
        return None
    advice = (
        "bands are missed: look at the channels (slow ones need their differences), train for more epochs, or give "
        "balance=1"
        if predicted < true
        else "bands are broken into pieces: train for more epochs, or give structure='semi-markov'"
    )
    return (
        f"{predicted} bands are predicted on validation recordings, {true} are true ({predicted / true:.2g}): {advice}"
    )


def unpredicted_classes(true: Counts, predicted: Counts, classes: Sequence[str]) -> str | None:
    """Return an alarm for classes that validation recordings have and that are never predicted.

    Args:
        true: (C,) frames of each class.
        predicted: (C,) frames predicted as each class.
        classes: C names.

    Example:
        >>> unpredicted_classes(np.array([90, 10]), np.array([100, 0]), ["rest", "walk"])[:43]
        'never predicted on validation recordings: w'
    """
    missed = [f"{classes[c]} ({true[c]} frames)" for c in np.flatnonzero((true > 0) & (predicted == 0)).tolist()]
    if not missed:
        return None
    return (
        f"never predicted on validation recordings: {', '.join(missed)}; label more of it, give balance=1, or merge it "
        "with another class"
    )


def training_apart(learned: float, judged: float, bands: int) -> str | None:
    """Return an alarm if the score of validation is far above that of training, or very far below.

    A difference counts if it is also twice its standard error, at most 50 points by the root of the number of bands.

    Args:
        learned: mean of accuracy, edit score and F1@50 on training recordings, in percent.
        judged: the same on validation recordings.
        bands: true bands of validation.

    Example:
        >>> training_apart(60.0, 90.0, bands=100)[:51]
        'validation scores 90.0, training 60.0: validation r'
    """
    chance = 100.0 / max(bands, 1) ** 0.5
    scores = f"validation scores {judged:.1f}, training {learned:.1f}"
    if judged - learned > max(ABOVE, chance):
        return (
            f"{scores}: validation recordings are easier than training, or known to it; check that no recording or "
            "person is on both sides (groups=), and that their labels are of one kind"
        )
    if learned - judged > max(BELOW, chance):
        return (
            f"{scores}: new recordings differ from those of training; compare their channels and units, try "
            "standardize='recording', give more people or days, or a smaller hidden"
        )
    return None


def first_epochs(best_epoch: int, epochs: int, score: float) -> str | None:
    """Return an alarm if the best epoch is among the first tenth, and its score is not perfect.

    Args:
        best_epoch: from 0.
        epochs: how many were trained; fewer than 5 raise no alarm.
        score: of the best epoch on validation recordings, in percent.

    Example:
        >>> first_epochs(0, 16, 40.0)[:33]
        'the best of 16 epochs is number 1'
    """
    if epochs < EPOCHS or best_epoch >= max(epochs // EARLY, 1) or score >= PERFECT:
        return None
    return (
        f"the best of {epochs} epochs is number {best_epoch + 1}: training made the bands of validation recordings "
        "worse; lower learning_rate, check that labels and signals are of the same frames, or give more recordings"
    )


# ------------------------------------------------------------------------------------------ alarms about the data
def missing_classes(learned: Counts, judged: Counts, classes: Sequence[str]) -> str | None:
    """Return an alarm for classes that training has and validation lacks.

    Args:
        learned: (C,) bands of each class for training.
        judged: (C,) bands of each class for validation.
        classes: C names.

    Example:
        >>> missing_classes(np.array([5, 2]), np.array([3, 0]), ["rest", "walk"])[:36]
        'validation has no band of walk (2 in'
    """
    lacking = np.flatnonzero((learned > 0) & (judged == 0)).tolist()
    missing = [f"{classes[c]} ({learned[c]} in training)" for c in lacking]
    if not missing:
        return None
    return (
        f"validation has no band of {', '.join(missing)}: its score says nothing about that; record the class in three "
        "recordings or more, or give validation="
    )


def small_validation(bands: int) -> str | None:
    """Return an alarm if validation has fewer than 50 bands.

    Args:
        bands: true bands of validation.

    Example:
        >>> small_validation(20)[:24]
        'validation has 20 bands:'
    """
    if bands >= ENOUGH:
        return None
    error = 50.0 / max(bands, 1) ** 0.5
    return (
        f"validation has {bands} bands: its scores are uncertain by {error:.0f} points, and so is what they choose; "
        "raise validation_fraction, or label more"
    )


def few_bands(bands: Counts, classes: Sequence[str]) -> str | None:
    """Return an alarm for classes with fewer than 10 bands in all.

    Args:
        bands: (C,) bands of each class, of training and validation.
        classes: C names.

    Example:
        >>> few_bands(np.array([40, 3]), ["rest", "walk"])[:34]
        'few bands in all of walk (3): a cl'
    """
    few = [f"{classes[c]} ({bands[c]})" for c in np.flatnonzero((bands > 0) & (bands < LEAST)).tolist()]
    if not few:
        return None
    return f"few bands in all of {', '.join(few)}: a class needs {LEAST} or more; label more of it, or merge it"


def identifiers(signals: Sequence[Array]) -> str | None:
    """Return an alarm for channels that are constant within recordings and differ between at least half of them.

    Args:
        signals: (T, F) each; fewer than three raise no alarm.

    Example:
        >>> identifiers([np.full((4, 1), person) for person in (1, 2, 3)])[:42]
        'channel 0 is constant within recordings an'
    """
    if len(signals) < 3:
        return None
    first = np.array([signal[0] for signal in signals])
    constant = np.all([(signal == signal[0]).all(0) for signal in signals], axis=0)
    distinct = np.array([len(np.unique(column)) for column in first.T])
    return _channels(
        constant & (2 * distinct >= len(signals)) & (distinct > 2),
        "constant within recordings and different between them",
        "a network learns by it which recording it sees",
    )


def times(signals: Sequence[Array]) -> str | None:
    """Return an alarm for channels that rise or fall by equal steps in every recording.

    Args:
        signals: (T, F) each; one with fewer than 10 known steps raises no alarm.

    Example:
        >>> times([np.arange(20.0)[:, None]])[:36]
        'channel 0 is monotone in equal steps'
    """

    def steady(values: Array) -> bool:
        steps = np.diff(values.astype(np.float64))
        steps = steps[np.isfinite(steps)]
        if len(steps) < STEPS:
            return False
        usual = float(np.median(steps))
        rounding = ROUNDING * abs(usual) + 4 * np.finfo(np.float32).eps * float(np.nanmax(np.abs(values)))
        return abs(usual) > 0 and float(np.abs(steps - usual).max()) <= min(rounding, 0.5 * abs(usual))

    found = np.array([all(steady(signal[:, f]) for signal in signals) for f in range(signals[0].shape[1])])
    return _channels(found, "monotone in equal steps, as a time is", "a network learns by it when bands were, not why")


def _channels(found: Array, what: str, why: str) -> str | None:
    """Return an alarm that names channels."""
    if not found.any():
        return None
    names = ", ".join(map(str, np.flatnonzero(found).tolist()))
    verb = "channel {} is" if found.sum() == 1 else "channels {} are"
    return f"{verb.format(names)} {what}: {why}; leave it out"


# ---------------------------------------------------------------------------------------------------- measurements
@torch.no_grad()
def decode_side(model: Model, recordings: Sequence[Recording], size: int, most: int | None = None) -> Side:
    """Decode windows of recordings by the model's own rule.

    Args:
        model: a trained model in evaluation mode.
        recordings: prepared as for training.
        size: frames of a window.
        most: decode about so many frames, in windows that are spread evenly; None: all.
    """
    windows = grid(recordings, size)
    number = len(windows) if most is None else min(max(round(most / size), 1), len(windows))
    chosen = [windows[i] for i in np.linspace(0, len(windows) - 1, number).round().astype(int)]
    device = next(iter(model.state_dict().values())).device
    true, predicted = list[Array](), list[Array]()
    for start in range(0, len(chosen), 16):
        batch = collate(Windows(recordings)[chosen[start : start + 16]])
        output = model.from_prepared(batch.signal.to(device), batch.lengths.to(device))
        decoded = model.decoding_rule.decode(output.dist).labels.cpu().numpy()
        for labels, row, length in zip(batch.labels.numpy(), decoded, batch.lengths.tolist(), strict=True):
            true.append(labels[:length])
            predicted.append(row[:length])
    return Side(true, predicted)


def count_bands(labels: Sequence[Array], number: int) -> Counts:
    """Return the bands of each class, (C,)."""
    return np.bincount(Segments.from_labels(labels).label, minlength=number)


def count_frames(labels: Sequence[Array], number: int) -> Counts:
    """Return the frames of each class, (C,)."""
    everything = np.concatenate(labels)
    return np.bincount(everything[everything != UNLABELLED], minlength=number)


def _digest(signal: Array) -> bytes:
    """Return a digest of the values of a signal, whatever their type."""
    return hashlib.sha256(repr(signal.shape).encode() + np.ascontiguousarray(signal, np.float32).tobytes()).digest()
