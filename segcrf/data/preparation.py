"""Preparation of signals: the scale of each channel, and how much recordings differ by their offsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError
from segcrf.data.channels import describe_plan, measure_steps, plan_channels
from segcrf.data.dataset import Labelled
from segcrf.data.windows import Recording
from segcrf.nn import Preparation, Standardizer, adopt_preparation, to_tensor

__all__ = ["choose_preparation", "has_free_offsets", "prepare_recordings"]

Array = npt.NDArray[Any]

# Measured: the share is 0.9 for gestures of three people before a camera, 0.2 for sleep, and below 0.05 for ECG, EMG,
# power and motion.
OFFSETS_DOMINATE = 0.5
# The same share between the quarters of a single recording: 0.08 to 0.21 for these gestures, where a scale per
# recording raises F1@50 on other people from 0 to 20 and 26; at most 0.05 for sleep, gaze, power, motion, ECG and EMG.
# Quarters of fewer than 100 frames differ by chance.
PARTS, OFFSETS_DRIFT, LONG_ENOUGH = 4, 0.07, 400


def _offset_share(recordings: Labelled) -> float:
    """Return how much of the signal is the recording's own offset, which classes do not explain.

    The mean of each class is subtracted from each channel first. The result is the share of the remaining variance
    that lies between recordings, as in a one-way analysis of variance; the median over the channels. It is near 0 if
    all recordings were made alike, and near 1 if a sensor was placed elsewhere each time.

    Args:
        recordings: labelled recordings; unlabelled frames are left out.

    Returns:
        A share from 0 to 1.

    Example:
        >>> labels = [np.array([0, 0, 1, 1])] * 2
        >>> alike, elsewhere = np.array([[0.0], [1.0], [9.0], [8.0]]), np.array([[50.0], [51.0], [59.0], [58.0]])
        >>> round(_offset_share(Labelled([alike, alike], labels, None)), 2)
        0.0
        >>> round(_offset_share(Labelled([alike, elsewhere], labels, None)), 2)
        1.0
    """
    known = [labels != UNLABELLED for labels in recordings.labels]
    signals = [signal[frames] for signal, frames in zip(recordings.signals, known, strict=True) if frames.any()]
    labels = np.concatenate([k[frames] for k, frames in zip(recordings.labels, known, strict=True)])
    residual = np.concatenate(signals).astype(np.float64)
    for label in np.unique(labels):
        of_class = residual[labels == label]
        known = np.maximum((~np.isnan(of_class)).sum(axis=0), 1)
        residual[labels == label] = np.nan_to_num(of_class - np.nansum(of_class, axis=0) / known)
    between = np.zeros(residual.shape[1])
    for part in np.split(residual, np.cumsum([len(signal) for signal in signals])[:-1]):
        between += len(part) * part.mean(axis=0) ** 2
    total = np.square(residual).sum(axis=0)
    return float(np.median(between / np.where(total > 0.0, total, 1.0)))


def choose_preparation(
    train: Labelled,
    validate: Labelled,
    *,
    standardize: str = "auto",
    missing: str = "auto",
    prepare: Any = "auto",
    looks_ahead: bool = True,
) -> tuple[Preparation, list[str]]:
    """Decide on each step of the preparation, and measure its scales on the training recordings.

    Args:
        train: recordings to learn from.
        validate: recordings that, with the others, decide for ``standardize="auto"``.
        standardize: ``"dataset"``, ``"recording"``, or ``"auto"``: the latter where offsets have no meaning, see
            :func:`has_free_offsets`, and the encoder may see the whole recording.
        missing: what replaces missing values, see :func:`segcrf.nn.fill_missing`; ``"flag"``: ``"hold"``, and an
            indicator for channels that miss values in training; ``"auto"``: ``"flag"``.
        prepare: ``"auto"``, which channels are dropped, compressed and differenced is decided by
            :func:`plan_channels`; None: none are; a module, or a callable that builds one.
        looks_ahead: whether the encoder may see later frames.

    Returns:
        The preparation, and a note on each decision.

    Raises:
        InputError, InputTypeError: ``prepare`` cannot prepare the signal, or sees later frames that the encoder must
            not see.
    """
    per_recording = standardize == "recording"
    if standardize == "auto":
        per_recording = looks_ahead and has_free_offsets(train, validate)
    num_channels = train.signals[0].shape[1]
    num_targets = train.targets[0].shape[1] if train.targets else 0
    plain = Preparation(num_channels, per_recording=per_recording)
    if plain.channels is not None:
        plain.channels = Standardizer.fit(train.signals)
    standardized = [plain.standardize(to_tensor(signal)[None])[0].numpy() for signal in train.signals]
    flag = missing in ("auto", "flag")
    plan = plan_channels(train.signals, standardized, automatic=prepare == "auto", flag=flag, centred=looks_ahead)
    own = None if prepare is None or isinstance(prepare, str) else adopt_preparation(prepare, num_channels)
    if own is not None and not (own.causal or looks_ahead):
        advice = "set causal = True on a module that is causal, or let the encoder see later frames"
        raise InputError("prepare", "a module without causal = True", "one that sees no later frames", advice)
    preparation = Preparation(
        num_channels,
        num_targets,
        per_recording=per_recording,
        missing="hold" if flag else missing,
        plan=plan,
        own=own,
    )
    preparation.channels = plain.channels
    measure_steps(preparation, standardized)
    if train.targets:
        preparation.targets = Standardizer.fit(train.targets)
    notes = describe_plan(plan, num_channels)
    if standardize == "auto" and per_recording:
        notes.insert(0, "offsets of recordings say little: each is standardised by its own mean and deviation")
    return preparation, notes


def has_free_offsets(train: Labelled, validate: Labelled) -> bool:
    """Return whether the offset of a recording says little about its classes.

    The mean of each class is subtracted from each channel first. What counts is the share of the remaining variance
    that lies between recordings, the median over the channels. With several training recordings, offsets say little
    where the share over all recordings is above 0.5. A single one, of 400 frames or more, is cut into quarters. If
    the classes drift from quarter to quarter, with a share above 0.07, then they will differ more from recording to
    recording. Offsets that a single recording does not show remain unnoticed.

    Args:
        train: recordings to learn from, labelled.
        validate: recordings for validation, or none.

    Example:
        >>> drifting = Labelled([np.arange(400.0)[:, None]], [np.tile([0, 0, 1, 1], 100)], None)
        >>> has_free_offsets(drifting, Labelled([], [], None))
        True
    """
    if len(train.signals) > 1:
        everything = Labelled(train.signals + validate.signals, train.labels + validate.labels, None)
        return _offset_share(everything) > OFFSETS_DOMINATE
    if len(train.labels[0]) < LONG_ENOUGH:
        return False
    signals, labels = (np.array_split(each[0], PARTS) for each in (train.signals, train.labels))
    return _offset_share(Labelled(signals, labels, None)) > OFFSETS_DRIFT


def prepare_recordings(preparation: Preparation, labelled: Labelled) -> list[Recording]:
    """Standardise signals and targets of recordings, for training."""
    targets: list[Tensor | None] = [None] * len(labelled.signals)
    if labelled.targets is not None and preparation.targets is not None:
        scaled = (preparation.targets.transform(array).astype(np.float32) for array in labelled.targets)
        targets = [torch.as_tensor(array) for array in scaled]
    with torch.no_grad():
        signals = [preparation(to_tensor(x)[None])[0] for x in labelled.signals]
    rows = zip(signals, labelled.labels, targets, labelled.names, strict=True)
    return [Recording(signal, torch.as_tensor(labels), y, name) for signal, labels, y, name in rows]
