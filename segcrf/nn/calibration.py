"""Calibration: what held-out recordings say about the probabilities, bands and boundaries of a model.

A network that was trained for long is too sure of itself, and so are the posteriors of its structure. This module
holds a few numbers that correct them. :func:`segcrf.training.fit_calibration` finds the numbers, and they are buffers
of the model, so they are saved, exported and streamed with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_number
from segcrf.segments import Segments

__all__ = [
    "CAPACITY",
    "BoundaryIntervals",
    "Calibration",
    "CalibrationBuffers",
    "band_features",
    "boundary_spreads",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Errors of boundaries that a model keeps. Of more, quantiles are kept, rounded up.
CAPACITY = 512
# The coefficients a and b with which the confidence of a band is the mean posterior.
NEUTRAL = (0.0, 1.0)
# Frames where nothing is known are divided by it. The largest probability of any other frame is far above, and float32,
# in which exporters write constants, can hold it.
TINY = 1e-30
# A mean posterior is kept this far from 0 and 1, where log-odds are infinite.
EDGE = 1e-9
# Rounding of a sum of shares must not move a rank.
TOLERANCE = 1e-9


class BoundaryIntervals(NamedTuple):
    """Intervals of the boundaries of N bands, in frames; both ends belong to an interval.

    Attributes:
        start_low, start_high: (N,) int64, first and last frame at which the band may begin.
        end_low, end_high: (N,) int64, the same for the frame after its last one.
    """

    start_low: IntArray
    start_high: IntArray
    end_low: IntArray
    end_high: IntArray


def _nothing() -> Array:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What held-out recordings say about posteriors, bands and boundaries.

    The default one changes nothing: the confidence of a band is the mean posterior of its class, and there is no
    interval.

    * **Posteriors** are raised to the power 1 / ``temperature`` frame by frame and normalised. Their order stays, so
      the most probable class of a frame stays.
    * **Confidence** is the probability that a band is right: that a true band of its class has an intersection over
      union of at least 0.5 with it. Its log-odds are ``a + b * logit(mean)``, where ``mean`` is the mean calibrated
      posterior of its class. ``b`` is above 0, so the confidence rises with the mean.
    * **Intervals** are conformal: ``radius(level)`` is how many spreads a true boundary lies from the predicted one, in
      held-out recordings, at most, with a probability of ``level``.

    Args:
        temperature: above 0; above 1 the model was too sure.
        band_coefficients: a and b.
        boundary_errors: (N,) float64, sorted errors of boundaries in spreads, at most 512 of them.
        boundary_shares: (N,) float64, share of the errors up to each, where every recording weighs the same.
        boundary_recordings: number of held-out recordings with such errors.

    Source:
        Guo et al., "On calibration of modern neural networks", 2017, for the temperature. Lee, Barber and Willett,
        "Distribution-free inference with hierarchical data", 2023, for intervals from recordings.

    Example:
        >>> Calibration(temperature=2.0).probabilities(np.array([[0.9, 0.1]]))
        array([[0.75, 0.25]])
    """

    temperature: float = 1.0
    band_coefficients: tuple[float, float] = NEUTRAL
    boundary_errors: Array = field(default_factory=_nothing)
    boundary_shares: Array = field(default_factory=_nothing)
    boundary_recordings: int = 0

    def probabilities(self, posterior: npt.NDArray[Any]) -> Array:
        """Return calibrated probabilities.

        A frame gets the same bits whatever frames are beside it, so a stream agrees with whole recordings.

        Args:
            posterior: (..., C), sums to one; or zero where nothing is known, and such frames stay zero.

        Returns:
            Probabilities of the same shape, float64, in the same order from class to class.
        """
        exact = posterior.astype(np.float64)
        if self.temperature == 1.0:
            return exact
        largest = np.maximum(exact.max(-1, keepdims=True), TINY)
        powers = (exact / largest) ** (1.0 / self.temperature)  # the largest is 1: they do not underflow to all zeros
        return powers / np.maximum(powers.sum(-1, keepdims=True), 1.0)

    def traced_probabilities(self, posterior: Tensor) -> Tensor:
        """Return :meth:`probabilities` of a tensor, in its type, by operations that an export can write.

        Args:
            posterior: (..., C).
        """
        if self.temperature == 1.0:
            return posterior
        largest = posterior.amax(-1, keepdim=True).clamp(min=TINY)
        powers = (posterior / largest).pow(1.0 / self.temperature)
        return powers / powers.sum(-1, keepdim=True).clamp(min=1.0)

    def confidence(self, bands: Segments) -> Array:
        """Return the probability that each band is right.

        Args:
            bands: N bands; their score is the mean calibrated posterior of their class.

        Returns:
            (N,) probabilities from 0 to 1.
        """
        assert bands.score is not None
        if self.band_coefficients == NEUTRAL:
            return bands.score
        log_odds = band_features(bands) @ np.array(self.band_coefficients)
        return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500.0, 500.0)))

    def radius(self, level: float) -> float:
        """Return the largest error of a boundary in spreads, at a level.

        With K held-out recordings a new recording is as likely to be the worst of all K + 1 as any other. Its errors
        therefore count as infinite with a share of 1 / (K + 1), and the radius is a quantile of that mixture.

        Args:
            level: probability from 0 to 1, both excluded.

        Raises:
            InputError: ``level`` is out of range, or too high for the number of held-out recordings.
        """
        check_number(level, "interval", 0.0)
        if not 0.0 < level < 1.0:
            raise InputError("interval", repr(level), "a probability above 0 and below 1, such as 0.9")
        recordings = self.boundary_recordings
        needed = max(math.ceil(level / (1.0 - level) - TOLERANCE), 1)
        if recordings < needed:
            got = f"{level:g} with {recordings} held-out recording{'s' * (recordings != 1)} that have right bands"
            expected = f"at least {needed} such recordings, because fewer cannot show a share of {level:g}"
            advice = "call calibrate(X, y) with more recordings that did not train the model, or take a lower interval"
            raise InputError("interval", got, expected, advice)
        rank = np.searchsorted(self.boundary_shares, level * (recordings + 1) / recordings - TOLERANCE)
        return float(self.boundary_errors[min(int(rank), len(self.boundary_errors) - 1)])

    def intervals(self, posterior: Array, bands: Segments, level: float) -> BoundaryIntervals:
        """Return an interval for each boundary of the bands of one recording.

        Of the bands that are right, see above, a share of ``level`` has its true start within the interval, and
        likewise its true end, on average over recordings like the held-out ones. A band that is not right has no true
        boundary. The first start and the last end are those of the recording, so they are certain.

        Args:
            posterior: (T, C) probabilities before calibration. Held-out recordings chose the temperature, so calibrated
                ones would not be exchangeable with theirs.
            bands: N bands of one recording.
            level: as of :meth:`radius`.

        Raises:
            InputError: as of :meth:`radius`.
        """
        radius, frames = self.radius(level), len(posterior)
        ends: list[IntArray] = []
        for at, spread in zip((bands.start, bands.end), boundary_spreads(posterior, bands), strict=True):
            # The same product and tolerance as in the score, so that an error of exactly the radius is inside.
            reach = np.floor(np.minimum(radius * spread * (1.0 + TOLERANCE), frames)).astype(np.int64)
            ends += [np.maximum(at - reach, 0), np.minimum(at + reach, frames)]
        return BoundaryIntervals(*ends)


def band_features(bands: Segments) -> Array:
    """Return what the log-odds of the confidence of bands are linear in.

    Args:
        bands: N bands; their score is the mean calibrated posterior of their class.

    Returns:
        (N, 2): 1, and the log-odds of the mean posterior.

    Example:
        >>> band_features(Segments.from_labels([[0, 0, 1]]).with_score([0.5, 0.8])).round(2)
        array([[1.  , 0.  ],
               [1.  , 1.39]])
    """
    assert bands.score is not None
    mean = np.clip(bands.score, EDGE, 1.0 - EDGE)
    return np.stack([np.ones(len(bands)), np.log(mean / (1.0 - mean))], axis=1)


def boundary_spreads(posterior: Array, bands: Segments) -> tuple[Array, Array]:
    """Return how far posteriors spread around the start and the end of each band of one recording, in frames.

    If one switch from class a to class b lies anywhere in two neighbouring bands, then the posterior of b before the
    predicted boundary, summed over the first band, plus that of a after it, summed over the second band, is the
    expected distance of the switch. One frame is added. The first start and the last end have spread 0.

    Args:
        posterior: (T, C).
        bands: N bands that follow each other without a gap.

    Returns:
        Spreads (N,) of the starts, and of the ends.

    Example:
        >>> posterior = np.array([[1.0, 0.0], [0.8, 0.2], [0.5, 0.5], [0.0, 1.0]])
        >>> boundary_spreads(posterior, Segments.from_labels([[0, 0, 1, 1]]))
        (array([0. , 1.7]), array([1.7, 0. ]))
    """
    total = np.concatenate([np.zeros((1, posterior.shape[1])), np.cumsum(posterior, axis=0, dtype=np.float64)])
    start, end, label = bands.start, bands.end, bands.label
    before = total[end[:-1], label[1:]] - total[start[:-1], label[1:]]
    after = total[end[1:], label[:-1]] - total[start[1:], label[:-1]]
    inner = 1.0 + np.maximum(before, 0.0) + np.maximum(after, 0.0)
    edge = np.zeros(min(len(bands), 1))
    return np.concatenate([edge, inner]), np.concatenate([inner, edge])


class CalibrationBuffers(nn.Module):
    """Hold a :class:`Calibration` as buffers, so that a ``state_dict`` does.

    Example:
        >>> held = CalibrationBuffers()
        >>> held.set(Calibration(temperature=2.0))
        >>> held.value.temperature
        2.0
    """

    temperature: Tensor
    band_coefficients: Tensor
    boundary_errors: Tensor
    boundary_shares: Tensor
    boundary_recordings: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))
        self.register_buffer("band_coefficients", torch.tensor(NEUTRAL, dtype=torch.float64))
        self.register_buffer("boundary_errors", torch.zeros(CAPACITY, dtype=torch.float64))
        self.register_buffer("boundary_shares", torch.zeros(CAPACITY, dtype=torch.float64))  # 0: not used
        self.register_buffer("boundary_recordings", torch.zeros((), dtype=torch.int64))

    @property
    def value(self) -> Calibration:
        """The calibration."""
        errors, shares = (each.cpu().double().numpy().copy() for each in (self.boundary_errors, self.boundary_shares))
        a, b = self.band_coefficients.tolist()
        used = int((shares > 0.0).sum())
        recordings = int(self.boundary_recordings)
        return Calibration(float(self.temperature), (a, b), errors[:used], shares[:used], recordings)

    @torch.no_grad()
    def set(self, calibration: Calibration) -> None:
        """Hold another calibration from here on."""
        self.temperature.fill_(calibration.temperature)
        self.band_coefficients.copy_(torch.tensor(calibration.band_coefficients, dtype=torch.float64))
        for buffer, values in (
            (self.boundary_errors, calibration.boundary_errors),
            (self.boundary_shares, calibration.boundary_shares),
        ):
            buffer.zero_()
            buffer[: len(values)] = torch.from_numpy(values)
        self.boundary_recordings.fill_(calibration.boundary_recordings)
