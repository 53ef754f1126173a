"""Calibration of a trained model on held-out recordings: posteriors, confidence of bands, errors of boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from segcrf._validation import UNLABELLED, InputError
from segcrf.data import Recording
from segcrf.metrics import matching_bands
from segcrf.nn import CAPACITY, Calibration, JointModel, SwitchingModel, band_features, boundary_spreads
from segcrf.segments import Segments

__all__ = ["HeldOut", "calibrate", "fit_calibration"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Frames that a model encodes at once.
CHUNK = 16_384
# A posterior is at least this in the log-loss, since no temperature mends a zero.
LEAST = 1e-300
# Beyond these temperatures posteriors are certainties or noise, and the loss is flat.
LOWEST, HIGHEST = 0.05, 100.0
# The confidence of a band rises at least so much with the mean posterior.
LEAST_SLOPE = 0.05


class HeldOut(NamedTuple):
    """How a model decoded one held-out recording, and the truth.

    Attributes:
        true: (T,) int64, -100 = unlabelled.
        labels: (T,) int64, by the decoding rule.
        starts: (T,) bool, True where a band begins.
        posteriors: (T, C) float64, of the decoded distribution, before calibration.
    """

    true: IntArray
    labels: IntArray
    starts: npt.NDArray[np.bool_]
    posteriors: Array


def calibrate(model: JointModel | SwitchingModel, recordings: Sequence[Recording]) -> list[str]:
    """Set the calibration of a model by recordings that did not train it; return notes.

    Args:
        model: trained, with its decoding rule; changed in place.
        recordings: with prepared signals, see :func:`segcrf.data.prepare_recordings`. Without a labelled frame the
            calibration changes nothing from here on.

    Returns:
        What a user should know of it, one sentence each.

    Example:
        >>> from segcrf.nn import LinearChainCRF, LSTMEncoder
        >>> model = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3))
        >>> calibrate(model, [])
        ['no held-out recordings: probabilities and confidences are not calibrated; call calibrate(X, y) with some']
    """
    held_out = _decode_held_out(model, recordings)
    if not held_out:
        model.set_calibration(Calibration())
        advice = "call calibrate(X, y) with some"
        return [f"no held-out recordings: probabilities and confidences are not calibrated; {advice}"]
    calibration = fit_calibration(held_out)
    model.set_calibration(calibration)
    counted = f"{len(held_out)} held-out recording{'s' * (len(held_out) > 1)}"
    return [f"calibrated on {counted}: temperature {calibration.temperature:.2f}"]


@torch.no_grad()
def _decode_held_out(model: JointModel | SwitchingModel, recordings: Sequence[Recording]) -> list[HeldOut]:
    """Decode each recording that has a labelled frame by the decoding rule of a model, in evaluation mode."""
    training, found = model.training, list[HeldOut]()
    model.eval()
    for recording in recordings:
        if not (recording.labels != UNLABELLED).any():
            continue
        signal = recording.signal[None].to(model.class_head.weight)
        pieces = [model.heads(features).emissions for features in model.encoder.chunks(signal, CHUNK)]
        decoded = model.decode(model.dist(torch.cat(pieces, dim=1)))
        labels, starts, posteriors = (
            each[0].cpu().numpy() for each in (decoded.labels, decoded.starts, decoded.posteriors)
        )
        found.append(HeldOut(recording.labels.numpy(), labels, starts, posteriors))
    model.train(training)
    return found


def fit_calibration(held_out: Sequence[HeldOut]) -> Calibration:
    """Fit a calibration to decoded recordings that did not train the model.

    * **Temperature**: the least log-loss of the true classes of frames. Frames repeat their neighbours, so the mean
      loss counts once per true band. A normal prior of its logarithm, around 0 with deviation 1, draws it to 1 where
      there are few bands.
    * **Confidence**: a logistic regression of whether a band is right, with normal priors of deviation 1 around "the
      mean posterior as it is": a = 0, b = 1. ``b`` is at least 0.05. (The duration of a band beside its mean posterior
      made the order of bands of other people worse.)
    * **Intervals**: the errors of the boundaries of right bands, in spreads. Every recording weighs the same, whatever
      the number of its bands.

    Args:
        held_out: at least one recording with a labelled frame. If several models decoded them, as in cross-fitting,
            each recording must be decoded by a model that was trained without it.

    Returns:
        A new calibration, to be set by ``model.set_calibration``.

    Raises:
        InputError: there is no labelled frame.

    Example:
        >>> true = np.repeat([0, 1, 0, 1], 50)
        >>> posterior = np.where(true[:, None] == [0, 1], 0.999, 0.001)
        >>> posterior[::5] = posterior[::5, ::-1]         # one frame of five is surely wrong
        >>> held_out = HeldOut(true, posterior.argmax(1), np.zeros(200, bool), posterior)
        >>> fit_calibration([held_out] * 20).temperature > 3.0
        True
    """
    labelled = [each for each in held_out if (each.true != UNLABELLED).any()]
    if not labelled:
        raise InputError("held_out", "no labelled frame", "recordings with labels", "label some frames of other people")
    temperature = Calibration(temperature=_temperature(labelled))
    bands = [_scored_bands(each, temperature.probabilities(each.posteriors)) for each in labelled]
    matches = [matching_bands(each.true, own) for own, each in zip(bands, labelled, strict=True)]
    errors, shares, recordings = _sorted_errors(
        [_boundary_errors(*row) for row in zip(labelled, bands, matches, strict=True)]
    )
    return replace(
        temperature,
        band_coefficients=_band_coefficients(bands, matches),
        boundary_errors=errors,
        boundary_shares=shares,
        boundary_recordings=recordings,
    )


# ----------------------------------------------------------------------------------------------------- temperature
def _temperature(held_out: Sequence[HeldOut]) -> float:
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
def _scored_bands(held_out: HeldOut, posterior: Array) -> Segments:
    """Return the decoded bands of one recording, with the mean calibrated posterior of their class."""
    bands = Segments.from_labels([held_out.labels], [held_out.starts])
    own = posterior[np.arange(len(held_out.labels)), held_out.labels].astype(np.float64)
    return bands.with_score(np.add.reduceat(own, bands.start) / bands.durations)


def _band_coefficients(bands: Sequence[Segments], matches: Sequence[IntArray]) -> tuple[float, float]:
    """Return the coefficients of the confidence of bands by penalised logistic regression."""
    from scipy.optimize import minimize

    judged = [each.select(match > -2) for each, match in zip(bands, matches, strict=True)]
    columns = np.concatenate([band_features(each) for each in judged])
    right = np.concatenate([match[match > -2] >= 0 for match in matches])
    prior, sign = np.array(Calibration().band_coefficients), np.where(right, -1.0, 1.0)

    def loss(coefficients: FloatArray) -> tuple[float, FloatArray]:
        log_odds, away = columns @ coefficients, coefficients - prior
        slope = sign / (1.0 + np.exp(-np.clip(sign * log_odds, -500.0, 500.0)))
        return float(np.logaddexp(0.0, sign * log_odds).sum() + 0.5 * away @ away), columns.T @ slope + away

    bounds = [(None, None), (LEAST_SLOPE, None)]
    found: Any = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    a, b = found.x.tolist()
    return a, b


# -------------------------------------------------------------------------------------------------------- boundaries
def _boundary_errors(held_out: HeldOut, bands: Segments, matches: IntArray) -> FloatArray:
    """Return the errors in spreads of the boundaries of right bands of one recording.

    A boundary at the edge of the recording is certain, and a true band next to an unlabelled frame begins or ends
    somewhere unknown: both are left out.
    """
    true, frames = Segments.from_labels([held_out.true]), len(held_out.true)
    padded = np.concatenate([[0], held_out.true, [0]])  # the edges of a recording are known
    errors: list[FloatArray] = []
    spreads = boundary_spreads(held_out.posteriors, bands)
    for side, spread in zip(("start", "end"), spreads, strict=True):
        at, truth = getattr(bands, side), getattr(true, side)
        beyond = padded[truth] if side == "start" else padded[truth + 1]
        right = np.flatnonzero((matches >= 0) & (at > 0) & (at < frames))
        right = right[beyond[matches[right]] != UNLABELLED]
        errors.append(np.abs(truth[matches[right]] - at[right]) / spread[right])
    return np.concatenate(errors)


def _sorted_errors(errors: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray, int]:
    """Return sorted errors, the share of errors up to each, and the number of recordings that have errors.

    Of too many errors, quantiles are kept: an error of those between is rounded up to the next one that is kept, and
    the shares of those that are kept are exact.
    """
    errors = [each for each in errors if len(each)]
    if not errors:
        return np.empty(0), np.empty(0), 0
    error = np.concatenate(errors)
    share = np.concatenate([np.full(len(each), 1.0 / len(each) / len(errors)) for each in errors])
    order = np.argsort(error, kind="stable")
    error, share = error[order], np.cumsum(share[order])
    if len(error) > CAPACITY:
        kept = np.ceil(np.arange(1, CAPACITY + 1) * len(error) / CAPACITY).astype(np.int64) - 1
        error, share = error[kept], share[kept]
    return error, share, len(errors)
