"""The benchmark of live decoding: its exact limit against enumeration, and every part at a tiny size."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from benchmarks.live import limit

TINY = limit.SwitchingPhase(frequencies=(10.0, 20.0), sampling_rate=80.0, mean_dwell=0.05, noise=0.7, offsets=3)


def enumerated(signal: npt.NDArray[np.float64], delay: int | None) -> npt.NDArray[np.float64]:
    """Return the posterior (T, 2) of the modes of ``TINY``, by a sum over all paths of modes and all initial phases."""
    frames, phases = len(signal), 2 * np.pi * (np.arange(24) + 0.5) / 24  # a grid of 8 points has 3 offsets
    found = np.zeros((frames, 2))
    for t in range(frames):
        seen = frames if delay is None else min(t + delay + 1, frames)
        for path in itertools.product(range(2), repeat=seen):
            switches = np.count_nonzero(np.diff(path))
            prior = 0.25**switches * 0.75 ** (seen - 1 - switches)  # a mode lasts 4 frames on average
            moved = np.concatenate([[0.0], np.cumsum([(1 / 8, 1 / 4)[mode] for mode in path[1:]])])
            clean = np.sin(phases[:, None] + 2 * np.pi * moved)
            found[t, path[t]] += prior * np.exp(-((signal[:seen] - clean) ** 2).sum(1) / (2 * 0.7**2)).sum()
    return found / found.sum(1, keepdims=True)


def test_the_limit_is_the_enumerated_posterior_at_every_delay() -> None:
    rng = np.random.default_rng(0)
    for frames in (1, 2, 7):
        signal = rng.normal(size=frames)
        found = limit.posteriors(signal, TINY, (0, 1, 3, 50))
        for row, delay in zip(found, (0, 1, 3, 50, None), strict=True):
            np.testing.assert_allclose(row, enumerated(signal, delay), rtol=1e-10)
