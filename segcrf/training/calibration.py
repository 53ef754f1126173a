"""Calibration of a trained model on held-out recordings: posteriors, confidence of bands, errors of boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segcrf._validation import UNLABELLED, InputError
from segcrf.data import Recording
from segcrf.nn import CAPACITY, Calibration, JointModel, SwitchingModel, boundary_spreads
from segcrf.segments import Segments

__all__ = ["RIGHT", "Decoding", "decode_held_out", "fit_calibration", "true_matches"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Least intersection over union of a right band with a true band of its class.
RIGHT = 0.5
# Frames that a model encodes at once.
CHUNK = 16_384
# A posterior of a true class is at least this in the log-loss, since no temperature mends a zero.
LEAST = 1e-12
# Beyond these temperatures posteriors are certainties or noise, and the loss is flat.
LOWEST, HIGHEST = 0.05, 100.0
# The confidence of a band rises at least so much with the mean posterior.
LEAST_SLOPE = 0.05


class Decoding(NamedTuple):
    """How a model decoded one held-out recording, and the truth.

    Attributes:
        true: (T,) int64, -100 = unlabelled.
        labels: (T,) int64, by the decoding rule.
        starts: (T,) bool, True where a band begins.
        posteriors: (T, C) of the decoded distribution, before calibration.
    """

    true: IntArray
    labels: IntArray
    starts: npt.NDArray[np.bool_]
    posteriors: Array


@torch.no_grad()
def decode_held_out(model: JointModel | SwitchingModel, recordings: Sequence[Recording]) -> list[Decoding]:
    """Decode recordings that did not train a model, by its decoding rule.

    Args:
        model: trained; it runs in evaluation mode.
        recordings: with prepared signals, see :func:`segcrf.data.prepare_recordings`.

    Returns:
        One decoding per recording that has a labelled frame.
    """
    device, training, found = model.class_head.weight.device, model.training, list[Decoding]()
    model.eval()
    for recording in recordings:
        if not (recording.labels != UNLABELLED).any():
            continue
        signal = recording.signal[None].to(device)
        pieces = [model.heads(features).emissions for features in model.encoder.chunks(signal, CHUNK)]
        decoded = model.decode(model.dist(torch.cat(pieces, dim=1)))
        arrays = [each[0].cpu().numpy() for each in (decoded.labels, decoded.starts, decoded.posteriors)]
        found.append(Decoding(recording.labels.numpy(), *arrays))
    model.train(training)
    return found


def fit_calibration(held_out: Sequence[Decoding]) -> Calibration:
    """Fit a calibration to decoded recordings that did not train the model.

    * **Temperature**: the least log-loss of the true classes of frames. Frames repeat their neighbours, so the mean
      loss counts once per true band. A normal prior of its logarithm, around 0 with deviation 1, draws it to 1 where
      there are few bands.
    * **Confidence**: a logistic regression of whether a band is right, with normal priors of deviation 1 around "the
      mean posterior as it is": a = 0, b = 1, c = 0. ``b`` is at least 0.05.
    * **Intervals**: the errors of the boundaries of right bands, in spreads. Every recording weighs the same, whatever
      the number of its bands.

    Args:
        held_out: at least one recording with a labelled frame. If several models decoded them, as in cross-fitting,
            each recording must be decoded by a model that was trained without it.

    Returns:
        A new calibration. ``model.calibration.load_state_dict(fit_calibration(...).state_dict())`` sets it.

    Raises:
        InputError: there is no labelled frame.

    Example:
        >>> true = np.repeat([0, 1, 0, 1], 50)
        >>> posterior = np.where(true[:, None] == [0, 1], 0.999, 0.001)
        >>> posterior[::5] = posterior[::5, ::-1]         # one frame of five is surely wrong
        >>> held_out = Decoding(true, posterior.argmax(1), np.ones(200, bool), posterior)
        >>> float(fit_calibration([held_out]).temperature) > 3.0
        True
    """
    labelled = [each for each in held_out if (each.true != UNLABELLED).any()]
    if not labelled:
        raise InputError("held_out", "no labelled frame", "recordings with labels", "label some frames of other people")
    calibration = Calibration(labelled[0].posteriors.shape[1])
    calibration.temperature.fill_(_temperature(labelled))
    calibrated = [calibration.probabilities(torch.from_numpy(each.posteriors)).numpy() for each in labelled]
    bands = [_scored_bands(each, posterior) for each, posterior in zip(labelled, calibrated, strict=True)]
    matches = [true_matches(own, each.true) for own, each in zip(bands, labelled, strict=True)]
    _fit_confidence(calibration, bands, matches)
    rows = zip(labelled, calibrated, bands, matches, strict=True)
    _store_errors(calibration, [_boundary_errors(*row) for row in rows])
    return calibration


# ----------------------------------------------------------------------------------------------------- temperature
def _temperature(held_out: Sequence[Decoding]) -> float:
    """Return the temperature with the least penalised log-loss of frames."""
    from scipy.optimize import minimize_scalar

    known = [each.true != UNLABELLED for each in held_out]
    posterior = np.concatenate([each.posteriors[frames] for each, frames in zip(held_out, known, strict=True)])
    true = np.concatenate([each.true[frames] for each, frames in zip(held_out, known, strict=True)])
    logits = np.log(np.maximum(posterior.astype(np.float64), LEAST))
    logits -= logits.max(axis=1, keepdims=True)
    of_true = logits[np.arange(len(true)), true]
    bands = len(Segments.from_labels([each.true for each in held_out]))

    def loss(log_temperature: float) -> float:
        factor = math.exp(-log_temperature)
        log_loss = np.log(np.exp(factor * logits).sum(axis=1)) - factor * of_true
        return bands * float(log_loss.mean()) + 0.5 * log_temperature**2

    found: Any = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x)


# ------------------------------------------------------------------------------------------------------------ bands
def _scored_bands(held_out: Decoding, posterior: Array) -> Segments:
    """Return the decoded bands of one recording, with the mean calibrated posterior of their class."""
    bands = Segments.from_labels([held_out.labels], [held_out.starts])
    own = posterior[np.arange(len(held_out.labels)), held_out.labels].astype(np.float64)
    return bands.with_score(np.add.reduceat(own, bands.start) / bands.durations)


def true_matches(bands: Segments, true: IntArray) -> IntArray:
    """Return for each band of one recording which true band makes it right.

    Only labelled frames count. A band is right if a true band of its class has an intersection over union of at least
    0.5 with it; if two have exactly that, the first.

    Args:
        bands: N bands of one recording.
        true: (T,) its labels, -100 = unlabelled.

    Returns:
        (N,) int64: the index among ``Segments.from_labels([true])``; -1 for a band that is wrong; -2 for one without a
        labelled frame.

    Example:
        >>> true = np.array([0, 0, 1, 1, 1, -100])
        >>> true_matches(Segments.from_labels([[0, 1, 1, 1, 0, 1]]), true)
        array([ 0,  1, -1, -2])
    """
    of_true = Segments.from_labels([true])
    part = np.repeat(np.arange(len(of_true)), of_true.durations)
    place = np.full(len(true), -1, dtype=np.int64)
    place[true != UNLABELLED] = part
    matches = np.full(len(bands), -1, dtype=np.int64)
    for i, (start, end, label) in enumerate(zip(bands.start, bands.end, bands.label, strict=True)):
        inside = place[start:end]
        inside = inside[inside >= 0]
        if not len(inside):
            matches[i] = -2
            continue
        first, count = np.unique(inside, return_counts=True)
        overlap = count / (len(inside) + of_true.durations[first] - count)
        good = (overlap >= RIGHT) & (of_true.label[first] == label)
        if good.any():
            matches[i] = first[good][0]
    return matches


def _fit_confidence(calibration: Calibration, bands: Sequence[Segments], matches: Sequence[IntArray]) -> None:
    """Fit the usual durations, and the three coefficients of the confidence."""
    from scipy.optimize import minimize

    judged = [each.select(match > -2) for each, match in zip(bands, matches, strict=True)]
    right = np.concatenate([match[match > -2] >= 0 for match in matches]).astype(np.float64)
    label = np.concatenate([each.label for each in judged])
    duration = np.log(np.concatenate([each.durations for each in judged]))
    typical = np.full(len(calibration.typical_log_duration), np.median(duration))
    for each in np.unique(label):
        typical[each] = np.median(duration[label == each])
    calibration.typical_log_duration.copy_(torch.from_numpy(typical))
    mean = np.clip(np.concatenate([np.asarray(each.score) for each in judged]), LEAST, 1.0 - LEAST)
    columns = np.stack([np.ones(len(mean)), np.log(mean / (1.0 - mean)), duration - typical[label]], axis=1)
    prior, sign = np.array([0.0, 1.0, 0.0]), 1.0 - 2.0 * right

    def loss(coefficients: FloatArray) -> tuple[float, FloatArray]:
        log_odds = columns @ coefficients
        away = coefficients - prior
        slope = sign / (1.0 + np.exp(-np.clip(sign * log_odds, -500.0, 500.0)))
        value = np.logaddexp(0.0, sign * log_odds).sum() + 0.5 * away @ away
        return float(value), columns.T @ slope + away

    bounds = [(None, None), (LEAST_SLOPE, None), (None, None)]
    found: Any = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    calibration.band_coefficients.copy_(torch.from_numpy(found.x))


# -------------------------------------------------------------------------------------------------------- boundaries
def _boundary_errors(held_out: Decoding, posterior: Array, bands: Segments, matches: IntArray) -> FloatArray:
    """Return the errors in spreads of the boundaries of right bands of one recording.

    A boundary at the edge of the recording is certain, and a true band next to an unlabelled frame begins or ends
    somewhere unknown: both are left out.
    """
    true, frames = Segments.from_labels([held_out.true]), len(held_out.true)
    padded = np.concatenate([[0], held_out.true, [0]])  # the edges of a recording are known
    errors: list[FloatArray] = []
    spreads = boundary_spreads(posterior, bands)
    for side, spread in zip(("start", "end"), spreads, strict=True):
        at, truth = getattr(bands, side), getattr(true, side)
        beyond = padded[truth] if side == "start" else padded[truth + 1]
        right = np.flatnonzero((matches >= 0) & (at > 0) & (at < frames))
        right = right[beyond[matches[right]] != UNLABELLED]
        errors.append(np.abs(truth[matches[right]] - at[right]) / spread[right])
    return np.concatenate(errors)


def _store_errors(calibration: Calibration, errors: Sequence[FloatArray]) -> None:
    """Store the sorted errors and the share of errors up to each; of too many, quantiles that are rounded up."""
    errors = [each for each in errors if len(each)]
    if not errors:
        return
    score = np.concatenate(errors)
    share = np.concatenate([np.full(len(each), 1.0 / len(each) / len(errors)) for each in errors])
    order = np.argsort(score, kind="stable")
    score, share = score[order], np.cumsum(share[order])
    if len(score) > CAPACITY:
        # The last error of each of equally many: its share is exact, and errors before it are rounded up to it.
        kept = np.ceil(np.arange(1, CAPACITY + 1) * len(score) / CAPACITY).astype(np.int64) - 1
        score, share = score[kept], share[kept]
    calibration.boundary_scores[: len(score)] = torch.from_numpy(score)
    calibration.boundary_shares[: len(score)] = torch.from_numpy(share)
    calibration.boundary_recordings.fill_(len(errors))
