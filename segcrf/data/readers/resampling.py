"""Recordings at another sampling rate, and channels of different rates on one grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import check_positive
from segcrf.data.readers.clock import sampling_rate_of
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.recording_table import GAP, RecordingTable

__all__ = ["align_channels", "jitter", "resample_recordings"]

Array = npt.NDArray[Any]

_MOST_FRAMES = 1_000_000_000


def resample_recordings(table: RecordingTable, rate: float) -> RecordingTable:
    """Return recordings with frames 1 / ``rate`` apart.

    Upwards, channels and targets are interpolated between the two nearest frames. Downwards, each frame is the mean of
    the time that it stands for, so that nothing above the new rate is mirrored into it. A frame has the label of the
    nearest old frame. No frame is made in a gap of more than 10 usual steps.

    Args:
        table: recordings with times.
        rate: frames per unit of time.

    Raises:
        InputError: ``rate`` is not a number above 0.
        TableError: there are no times.
    """
    check_positive(rate, "resample")
    if table.times is None:
        advice = "state the rate of the files: --sampling-rate HERTZ"
        raise TableError("times", "none", "times to resample by", advice, file=table.source)
    fields: dict[str, list[Array]] = {"signals": [], "labels": [], "targets": [], "times": [], "rows": []}
    for index, time in enumerate(table.times):
        step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0 / rate
        grid = _grid(time, step, rate, table, index)
        nearest = np.clip(np.searchsorted((time[1:] + time[:-1]) / 2, grid), 0, len(time) - 1)
        fields["times"].append(grid)
        for name, convert in (("signals", True), ("targets", True), ("labels", False), ("rows", False)):
            values = getattr(table, name)
            if values is not None:
                own = values[index]
                fields[name].append(
                    _resample(time, own, grid, step=step, rate=rate, nearest=nearest) if convert else own[nearest]
                )
    note = f"{table.source}: resampled to {rate:.6g} frames per unit of time"
    kept = {name: values for name, values in fields.items() if getattr(table, name) is not None}
    return dataclasses.replace(table, **kept, notes=[*table.notes, note])


def align_channels(channels: Mapping[str, tuple[Array, float]]) -> tuple[dict[str, Array], float, list[str]]:
    """Return channels of different rates at the highest of these rates, interpolated, and a note if some differ.

    Args:
        channels: by name: values (T,), which begin at the same time, and frames per second.

    Returns:
        Arrays of equal length by name, frames per second, and notes.

    Example:
        >>> values, rate, _ = align_channels({"a": (np.arange(4.0), 2.0), "b": (np.array([0.0, 10.0]), 1.0)})
        >>> values["b"].tolist(), rate
        ([0.0, 5.0, 10.0, 10.0], 2.0)
    """
    rate = max(own for _, own in channels.values())
    length = max(round(len(values) * rate / own) for values, own in channels.values())
    grid = np.arange(length) / rate
    aligned: dict[str, Array] = {}
    slower: list[str] = []
    for name, (values, own) in channels.items():
        if own == rate and len(values) == length:
            aligned[name] = values
            continue
        aligned[name] = np.interp(grid, np.arange(len(values)) / own, values)
        # Beyond the last frame of a channel nothing is known.
        aligned[name][grid > len(values) / own] = np.nan
        slower += [f"{name} ({own:g})"] if own != rate else []
    notes = [f"channels of lower rates are interpolated to {rate:g} frames per second: {', '.join(slower)}"]
    return aligned, rate, notes if slower else []


def jitter(time: Array) -> float:
    """Return the share of steps that are more than a fifth off a whole number of usual steps.

    Args:
        time: (T,) times.

    Example:
        >>> jitter(np.array([0.0, 1.0, 2.0, 4.0, 5.0]))
        0.0
    """
    steps = np.diff(time)
    if not len(steps):
        return 0.0
    usual = steps * sampling_rate_of(steps)
    return float(np.mean(np.abs(usual - np.maximum(np.rint(usual), 1.0)) > 0.2))


def _grid(time: Array, step: float, rate: float, table: RecordingTable, index: int) -> Array:
    """Return the new times: from the first frame to the last, without those in gaps."""
    frames = (time[-1] - time[0]) * rate
    if not frames < _MOST_FRAMES:
        got, expected = f"{frames:g} frames after resampling", f"{_MOST_FRAMES:,} at most"
        raise TableError("resample", got, expected, "choose a lower rate", file=table.file_of(index))
    grid = time[0] + np.arange(int(np.floor(frames + 1e-6)) + 1) / rate
    place = np.clip(np.searchsorted(time, grid, side="right") - 1, 0, len(time) - 1)
    following = time[np.minimum(place + 1, len(time) - 1)]
    in_gap = (following - time[place] > GAP * step) & (grid - time[place] > step) & (following - grid > step)
    return grid[~in_gap]


def _resample(time: Array, values: Array, grid: Array, *, step: float, rate: float, nearest: Array) -> Array:
    """Return (T', F) values at new times."""
    found = np.empty((len(grid), values.shape[1]), dtype=values.dtype)
    width = 1.0 / rate
    for channel in range(values.shape[1]):
        own = values[:, channel].astype(np.float64)
        missing = np.isnan(own)
        if missing.all():
            found[:, channel] = np.nan
            continue
        own = np.interp(time, time[~missing], own[~missing])  # one missing value leaves the means around it usable
        if width <= 1.5 * step:
            found[:, channel] = np.interp(grid, time, own)
            found[missing[nearest], channel] = np.nan
            continue
        edges = np.clip(np.stack([grid - width / 2, grid + width / 2]), time[0], time[-1])
        total = np.concatenate([[0.0], np.cumsum(np.diff(time) * (own[1:] + own[:-1]) / 2)])
        low, high = (_integral(time, own, total, edge) for edge in edges)
        found[:, channel] = (high - low) / np.maximum(edges[1] - edges[0], np.finfo(np.float64).tiny)
        found[missing[nearest], channel] = np.nan
    return found


def _integral(time: Array, values: Array, total: Array, until: Array) -> Array:
    """Return the integral of the broken line through ``values`` from the first time."""
    place = np.clip(np.searchsorted(time, until, side="right") - 1, 0, len(time) - 2)
    rest = until - time[place]
    share = rest / (time[place + 1] - time[place])
    return total[place] + rest * (values[place] + 0.5 * share * (values[place + 1] - values[place]))
