"""Synthetic labelled signals, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError, check_number, check_whole, frames_per_second, is_number

__all__ = ["SwitchingSignal", "switching_sinusoid"]


class SwitchingSignal(NamedTuple):
    """Recordings of a signal that switches modes; each field iterates over the recordings."""

    #: (N, T, 1) float32, the noisy signal.
    x: npt.NDArray[np.float32]
    #: (N, T, 1) float32, the clean signal ``horizon`` frames later.
    y: npt.NDArray[np.float32]
    #: (N, T) int64, the mode at each frame.
    k: npt.NDArray[np.int64]


def switching_sinusoid(
    num_recordings: int = 32,
    length: int = 200,
    *,
    frequencies: Sequence[float] = (5.0, 10.0, 15.0),
    sampling_rate: float = 100.0,
    mean_dwell: float = 1.0,
    noise: float = 0.1,
    horizon: int = 5,
    seed: int = 0,
) -> SwitchingSignal:
    """Make sinusoids of amplitude 1 that switch frequency at random and keep their phase.

    A mode lasts a geometric number of frames, at least one, and is followed by one of the others with equal
    probability. The start is stationary: a random mode, a random phase. The phase of frame t is the phase of
    frame t - 1 plus a step at the frequency of mode k[t]. So a switch shows in the frame where its label changes.

    Args:
        num_recordings: N, recordings.
        length: T, frames of each.
        frequencies: frequency of each mode, in Hz; two or more, below half the sampling rate.
        sampling_rate: frames per second.
        mean_dwell: mean time in a mode before it switches, in seconds; at least one frame.
        noise: standard deviation of the white Gaussian noise on ``x``.
        horizon: how far ahead ``y`` is, in frames; 0 denoises.
        seed: the same seed gives the same signal.

    Returns:
        ``x`` (N, T, 1) noisy, ``y`` (N, T, 1) clean and ``horizon`` frames ahead, ``k`` (N, T) the mode at each frame.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> x, y, k = switching_sinusoid(2, 300, mean_dwell=0.5, seed=1)
        >>> x.shape, y.shape, k.shape
        ((2, 300, 1), (2, 300, 1), (2, 300))
        >>> np.unique(k)
        array([0, 1, 2])
    """
    check_whole(num_recordings, "num_recordings", 1)
    check_whole(length, "length", 1)
    check_whole(horizon, "horizon", 0)
    check_number(noise, "noise", 0.0)
    sampling_rate = frames_per_second(sampling_rate)
    _check_sinusoid_frequencies(frequencies, sampling_rate)
    _check_mean_dwell(mean_dwell, sampling_rate)

    rng = np.random.default_rng(seed)
    shape = (num_recordings, length + horizon)
    mode = _switching_modes(rng, shape, len(frequencies), mean_dwell * sampling_rate)
    step = 2 * np.pi * np.asarray(frequencies, dtype=np.float64)[mode] / sampling_rate
    phase = rng.uniform(0, 2 * np.pi, (num_recordings, 1)) + np.cumsum(step, axis=1)
    clean = np.sin(phase)[..., None]
    noisy = clean[:, :length] + noise * rng.standard_normal((num_recordings, length, 1))
    return SwitchingSignal(noisy.astype(np.float32), clean[:, horizon:].astype(np.float32), mode[:, :length])


def _switching_modes(
    rng: np.random.Generator, shape: tuple[int, int], num_modes: int, mean_frames: float
) -> npt.NDArray[np.int64]:
    """Return (N, T) modes: each frame switches with probability 1 / mean, to any mode but the present one."""
    switches = rng.random(shape) * mean_frames < 1
    jumps = np.where(switches, rng.integers(1, num_modes, shape), 0)
    jumps[:, 0] = rng.integers(num_modes, size=shape[0])
    return np.cumsum(jumps, axis=1) % num_modes


def _check_sinusoid_frequencies(values: Sequence[float], sampling_rate: float) -> None:
    """Raise for modes that cannot be distinguished: fewer than two, repeated, or not below half the sampling rate."""
    if len(values) < 2 or len(set(values)) < len(values):
        raise InputError("frequencies", str(tuple(values)), "two or more different frequencies")
    for value in values:
        if not 0 < value < sampling_rate / 2:
            expected = f"above 0 and below {sampling_rate / 2:g} Hz, half the sampling rate"
            raise InputError("frequencies", f"{value} Hz", expected, "raise the sampling rate or lower the frequency")


def _check_mean_dwell(value: float, sampling_rate: float) -> None:
    """Raise unless a mode lasts one frame or more on average, and not for ever."""
    shortest = 1.0 / sampling_rate
    if not is_number(value) or not shortest <= value < float("inf"):
        raise InputError("mean_dwell", repr(value), f"seconds, from {shortest:g} (one frame) to below infinity")
