"""Decode the founding problem by exact inference: no method that waits as long is right on more frames, on average.

The generator of :func:`segcrf.data.switching_sinusoid` is a hidden Markov model. The phase moves by one of a few steps,
which are multiples of a common fraction of a cycle, so it stays on a grid. Mode and phase on the grid are the state.
The offset of the grid is constant and uniform; it is averaged over equally spaced values. The posterior of a mode given
the frames up to a delay is then a sum of forward-backward products. Its largest value decides the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["SwitchingPhase", "decided", "posteriors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SwitchingPhase:
    """A signal that switches its frequency, as the arguments of :func:`segcrf.data.switching_sinusoid` describe it.

    Args:
        frequencies: frequency of each of C modes, in Hz.
        sampling_rate: frames per second.
        mean_dwell: mean time in a mode, in seconds.
        noise: standard deviation of the noise.
        offsets: values of the offset of the grid that are averaged over.
    """

    frequencies: Sequence[float] = (5.0, 10.0, 15.0)
    sampling_rate: float = 100.0
    mean_dwell: float = 1.0
    noise: float = 0.1
    offsets: int = 8

    @property
    def steps(self) -> Ints:
        """Steps (C,) of the phase per frame, in points of the grid."""
        cycles = self._cycles()
        return np.array([int(step * self.points) for step in cycles], np.int64)

    @property
    def points(self) -> int:
        """Points of the grid in one cycle."""
        return math.lcm(*(step.denominator for step in self._cycles()))

    @property
    def switch(self) -> float:
        """Probability of a step to another mode, any of them."""
        return 1.0 / (self.mean_dwell * self.sampling_rate)

    def densities(self, signal: Floats) -> Floats:
        """Return (T, offsets, points): likelihoods of the frames of a signal (T,), times a factor per frame."""
        shares = (np.arange(self.offsets) + 0.5) / self.offsets
        phase = (np.arange(self.points) + shares[:, None]) / self.points
        square = np.square(signal[:, None, None] - np.sin(2 * np.pi * phase)) / (2 * self.noise**2)
        return np.exp(square.min((1, 2), keepdims=True) - square)

    def _cycles(self) -> list[Fraction]:
        rate = Fraction(self.sampling_rate)
        return [Fraction(frequency) / rate for frequency in self.frequencies]


def posteriors(signal: npt.ArrayLike, model: SwitchingPhase, delays: Sequence[int]) -> Floats:
    """Return the probability of each mode at each frame, given the frames that have come when it is decided.

    Args:
        signal: (T,).
        model: what generated it.
        delays: frames that a decision waits, D of them. At the end of the signal, waiting frames are decided at once.

    Returns:
        (D + 1, T, C), float64. The last entry is given the whole signal.
    """
    values = np.asarray(signal, np.float64).reshape(-1)
    waits = np.array(sorted(set(delays)), np.int64)
    found = np.zeros((len(waits) + 1, len(values), len(model.steps)))
    _smooth(model.densities(values), (model.steps, model.switch), waits, found)
    return found[[*np.searchsorted(waits, np.asarray(delays, np.int64)), -1]]


def decided(signals: Sequence[npt.ArrayLike], model: SwitchingPhase, delays: Sequence[int]) -> list[list[Ints]]:
    """Return for each delay, and for the whole recording last, the most probable mode (T,) at each frame."""
    found = [posteriors(signal, model, delays).argmax(-1) for signal in signals]
    return [[labels[d] for labels in found] for d in range(len(delays) + 1)]


@numba.njit(cache=True)
def _smooth(density: Any, moves: Any, waits: Any, found: Any) -> None:
    """Add the posteriors of all offsets to ``found`` (D + 1, T, C), each by its weight when a frame is decided."""
    frames, offsets, points = density.shape
    modes = len(moves[0])
    ahead = np.empty((offsets, frames, modes, points))
    weight = np.empty((frames, offsets))
    for o in range(offsets):
        _filter(density[:, o], moves, ahead[o], weight[:, o])
    for t in range(frames):
        weight[t] = np.exp(weight[t] - weight[t].max())
        weight[t] /= weight[t].sum()
    longest = waits[-1] if len(waits) else 0
    for o in range(offsets):
        for end in range(frames):
            first = 0 if end == frames - 1 else max(end - longest, 0)
            _look_back((density[:, o], ahead[o], weight[end, o]), moves, (first, end), waits, found)


@numba.njit(cache=True)
def _filter(density: Any, moves: Any, ahead: Any, weight: Any) -> None:
    """Write the filtered probabilities (T, C, P) of one offset, and the log-likelihood (T,) of the frames so far."""
    steps, switch = moves
    frames, points = density.shape
    modes = len(steps)
    other = switch / (modes - 1)
    total, so_far = 0.0, np.empty(points)
    for t in range(frames):
        if t:
            so_far[:] = 0.0
            for mode in range(modes):
                so_far += ahead[t - 1, mode]
        for mode in range(modes):
            for point in range(points):
                prior = 1.0 / (modes * points)
                if t:
                    origin = (point - steps[mode]) % points
                    prior = (1.0 - switch - other) * ahead[t - 1, mode, origin] + other * so_far[origin]
                ahead[t, mode, point] = prior * density[t, point]
        scale = ahead[t].sum()
        ahead[t] /= scale
        total += np.log(scale)
        weight[t] = total


@numba.njit(cache=True)
def _look_back(known: Any, moves: Any, span: Any, waits: Any, found: Any) -> None:
    """Add the posteriors of the frames from the first to the last of ``span`` that are decided at its last frame."""
    (density, ahead, weight), (steps, switch), (first, end) = known, moves, span
    frames, points = density.shape
    modes = len(steps)
    other = switch / (modes - 1)
    last = end == frames - 1
    behind, after, total = np.ones((modes, points)), np.empty((modes, points)), np.empty(points)
    given = np.empty(modes)
    for t in range(end, first - 1, -1):
        if last or (waits == end - t).any():
            for mode in range(modes):
                given[mode] = (ahead[t, mode] * behind[mode]).sum()
            given *= weight / given.sum()
            for d in range(len(waits)):
                if waits[d] == end - t or (last and waits[d] > end - t):
                    found[d, t] += given
            if last:
                found[-1, t] += given
        total[:] = 0.0
        for mode in range(modes):
            for point in range(points):
                target = (point + steps[mode]) % points
                after[mode, point] = density[t, target] * behind[mode, target]
                total[point] += after[mode, point]
        peak = total.max()
        for mode in range(modes):
            for point in range(points):
                behind[mode, point] = ((1.0 - switch - other) * after[mode, point] + other * total[point]) / peak
