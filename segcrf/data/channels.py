"""Channels: what the training recordings say about each, and which steps of preparation follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from segcrf.nn import ChannelPlan, Preparation, Tails, fill_missing

__all__ = ["HEAVY", "SLOW", "channel_pace", "describe_plan", "measure_steps", "plan_channels"]

Array = npt.NDArray[Any]

# Measured on validation recordings, with and without differences: F1@50 of gaze (pace 0.02) 92 and 0, gestures (0.07)
# 35 and 32, motion capture (0.2) 57 and 27, ECG (0.3) 99 and 97, sleep (0.4) 47 and 44, power (0.4) 66 and 58. The
# differences of noise, of pace 1, are noise again; EMG has a pace of 0.9.
SLOW = 0.5
# The weight of the tails, see segcrf.nn.Tails.weigh, beyond which they are compressed. Compressing all channels of
# sleep and motion capture, of weights from 3 to 900, changed F1@50 by 1 to 2, less than the seed does. The largest
# weights are of artefacts, which would set the scale of a channel; ECG has 20, power 37, EMG 29 to 54.
HEAVY = 60.0
# The deviation of a constant channel is rounding error.
_CONSTANT = 1e-7
# Channels that a note lists by number.
_LISTED = 12


def channel_pace(signals: Sequence[Array]) -> Array:
    """Return how far each channel moves from frame to frame against its spread, (F,).

    It is the root mean square of the differences, divided by the deviation and the square root of 2: near 1 for white
    noise, and near 0 for a slow channel. NaN is left out. A channel without a difference or a deviation has pace 1.

    Args:
        signals: (T, F) each.

    Example:
        >>> time, noise = np.arange(1000.0), np.random.default_rng(0).normal(size=1000)
        >>> channel_pace([np.stack([time, noise], axis=1)]).round(2)
        array([0., 1.])
    """
    num_channels = signals[0].shape[1]
    totals = np.zeros((5, num_channels))  # differences squared, their number; values, values squared, their number
    offset = np.array([_first_known(signals, channel) for channel in range(num_channels)])
    for signal in signals:
        values = signal.astype(np.float64) - offset
        moves = np.diff(values, axis=0)
        known, moved = ~np.isnan(values), ~np.isnan(moves)
        totals += np.stack([
            np.nansum(moves**2, axis=0), moved.sum(axis=0),
            np.nansum(values, axis=0), np.nansum(values**2, axis=0), known.sum(axis=0),
        ])  # fmt: skip
    move, spread = totals[0] / np.maximum(totals[1], 1), np.maximum(totals[4], 1)
    variance = totals[3] / spread - (totals[2] / spread) ** 2
    usable = (totals[1] > 0) & (variance > 0.0)
    return np.sqrt(np.where(usable, move / np.where(usable, 2.0 * variance, 1.0), 1.0))


def plan_channels(
    signals: Sequence[Array], standardized: Sequence[Array], *, automatic: bool, flag: bool, centred: bool
) -> ChannelPlan:
    """Return which channels to keep, to compress, to difference and to flag.

    A channel that is the same in all frames is dropped, unless all are. A kept channel of a pace below ``SLOW`` is
    differenced, and one with tails heavier than ``HEAVY`` compressed.

    Args:
        signals: training recordings (T, F); NaN where values are missing.
        standardized: the same, standardised.
        automatic: whether to drop, compress and difference channels.
        flag: whether to add an indicator of missing values for each channel that misses some. Channels that miss the
            same frames share one.
        centred: whether differences may depend on later frames.

    Example:
        >>> slow = np.sin(np.arange(1000) / 100)
        >>> slow[5] = np.nan
        >>> signals = [np.stack([slow, np.ones(1000)], axis=1)]
        >>> plan_channels(signals, signals, automatic=True, flag=True, centred=False)
        ChannelPlan(kept=(0,), compressed=(), slow=(0,), flagged=(0,), spans=(1, 2, 4, 8, 16), centred=False)
    """
    num_channels = signals[0].shape[1]
    flagged = _missing_alike(signals) if flag else ()
    if not automatic:
        return ChannelPlan(tuple(range(num_channels)), flagged=flagged)
    varying = [channel for channel in range(num_channels) if _varies(signals, channel)]
    kept = tuple(varying or range(num_channels))
    pace = channel_pace(standardized)
    slow = tuple(channel for channel in kept if pace[channel] < SLOW)
    return ChannelPlan(kept, _with_heavy_tails(standardized, kept), slow, flagged, centred=centred)


def measure_steps(preparation: Preparation, signals: Sequence[Array]) -> None:
    """Measure the scales of compressed channels and of differences.

    Args:
        preparation: its buffers are set.
        signals: training recordings (T, F), standardised; NaN where values are missing.
    """
    plan, policy = preparation.plan, "hold" if preparation.missing == "error" else preparation.missing
    filled = [fill_missing(torch.from_numpy(signal)[None], policy) for signal in signals]
    if preparation.tails is not None:
        values = torch.cat(filled, 1)[0].numpy()[:, list(plan.kept)]
        preparation.tails.measure(values, np.isin(plan.kept, plan.compressed).tolist())
    if preparation.differences is not None:
        moved = [preparation.differences.unscaled(each[..., list(plan.slow)]) for each in filled]
        values = torch.cat(moved, 1)[0].numpy()
        # Measured on gestures, at two seeds: F1@50 is 4 and 7 higher with compressed differences than with plain ones.
        preparation.differences.tails.measure(values, [True] * values.shape[1])


def describe_plan(plan: ChannelPlan, num_channels: int) -> list[str]:
    """Return one line for each decision of a plan.

    Args:
        plan: the plan.
        num_channels: channels of the raw signal.

    Example:
        >>> describe_plan(ChannelPlan(kept=(0, 1), slow=(1,), spans=(1, 2)), 2)
        ['channel 1 moves slowly: differences over 1, 2 frames were added']
    """
    dropped = sorted(set(range(num_channels)) - set(plan.kept))
    spans = ", ".join(map(str, plan.spans))
    lines = [
        (dropped, ("is", "are"), "constant in training, and left out"),
        (plan.slow, ("moves", "move"), f"slowly: differences over {spans} frames were added"),
        (plan.compressed, ("has", "have"), "heavy tails, which were compressed"),
        (plan.flagged, ("misses", "miss"), "values in some frames: the last one is held, and an indicator was added"),
    ]
    return [f"{_listed(channels, verbs)} {text}" for channels, verbs, text in lines if channels]


def _listed(channels: Sequence[int], verbs: tuple[str, str]) -> str:
    """Return the numbers of channels with a verb for one of them and for several."""
    more = f" and {len(channels) - _LISTED} more" if len(channels) > _LISTED else ""
    numbers = ", ".join(map(str, channels[:_LISTED]))
    return f"channel {numbers} {verbs[0]}" if len(channels) == 1 else f"channels {numbers}{more} {verbs[1]}"


def _first_known(signals: Sequence[Array], channel: int) -> float:
    """Return a value of a channel; differences from it keep the digits of signals far from 0."""
    for signal in signals:
        known = signal[~np.isnan(signal[:, channel]), channel]
        if len(known):
            return float(known[0])
    return 0.0


def _varies(signals: Sequence[Array], channel: int) -> bool:
    """Return whether a channel has two different values, beyond rounding."""
    known = [signal[~np.isnan(signal[:, channel]), channel] for signal in signals]
    values = np.concatenate(known).astype(np.float64)
    return len(values) > 0 and float(np.ptp(values)) > _CONSTANT * float(np.abs(values).max())


def _missing_alike(signals: Sequence[Array]) -> tuple[int, ...]:
    """Return channels that miss some frames and not all, one of those that miss the same ones."""
    gaps = np.isnan(np.concatenate(signals))
    some = np.flatnonzero(gaps.any(axis=0) & ~gaps.all(axis=0))
    return tuple(sorted({gaps[:, channel].tobytes(): int(channel) for channel in some[::-1]}.values()))


def _with_heavy_tails(signals: Sequence[Array], kept: Sequence[int]) -> tuple[int, ...]:
    """Return the kept channels with heavy tails."""
    heavy: list[int] = []
    for channel in kept:
        known = [signal[~np.isnan(signal[:, channel]), channel] for signal in signals]
        values = np.concatenate(known).astype(np.float64)[:, None]
        if len(values) and Tails.weigh(values)[0] > HEAVY:
            heavy.append(channel)
    return tuple(heavy)
