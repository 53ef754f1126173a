"""Find or download, check and read the labelled recordings of benchmarks and tests.

A data set is a folder with ``tidy.npz`` and ``meta.json``. In ``tidy.npz``, each recording has a signal ``X/<id>``
(T, F) and classes ``y/<id>`` (T,), -1 = unlabelled. Some data sets also have regression targets ``r/<id>`` (T, R),
NaN = unknown.

Place of the folder:

* With the environment variable ``SEGCRF_DATA``, it is a folder of that name in ``$SEGCRF_DATA``, and nowhere else.
* Otherwise, it is in the cache: ``$SEGCRF_CACHE``, or ``~/.cache/segcrf``. Missing files are downloaded from the
  address in :mod:`benchmarks.data.sources` and converted by :mod:`benchmarks.data.convert`. The files and the result of
  the conversion have recorded checksums.

``python -m benchmarks.data`` lists the data sets; ``python -m benchmarks.data NAME`` downloads one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data.download import ChecksumError, DataMissingError, prepare
from benchmarks.data.sources import SOURCES

__all__ = ["SOURCES", "UNLABELLED", "ChecksumError", "DataMissingError", "DataSet", "folder", "load"]

Array = npt.NDArray[Any]
UNLABELLED = -100


@dataclass(frozen=True)
class DataSet:
    """Recordings by identifier.

    Args:
        name: name of the data set.
        signals: (T, F) float32 each.
        labels: (T,) int64 each; -100 = unlabelled.
        targets: (T, R) float32 each, NaN = unknown; empty without targets.
        classes: names of the classes.
        channels: names of the channels.
        target_names: names of the targets.
        rate: frames per second; None where frames are unevenly spaced or the source gives no rate.
    """

    name: str
    signals: dict[str, Array]
    labels: dict[str, Array]
    targets: dict[str, Array]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    target_names: tuple[str, ...]
    rate: float | None

    def lists(self, identifiers: Sequence[str]) -> tuple[list[Array], list[Array]]:
        """Return signals and labels of some recordings, in the form that :class:`segcrf.Segmenter` takes."""
        return [self.signals[i] for i in identifiers], [self.labels[i] for i in identifiers]


def cache() -> Path:
    """Return the folder of downloads and converted data sets."""
    return Path(os.environ.get("SEGCRF_CACHE") or Path.home() / ".cache" / "segcrf")


def folder(name: str, *, download: bool = True) -> Path:
    """Return the folder of a data set.

    Args:
        name: name of the data set.
        download: whether to download a data set that the cache lacks.

    Raises:
        DataMissingError: ``SEGCRF_DATA`` lacks this data set; or the cache does, and the download fails or is disabled.
        ChecksumError: a download or its conversion differs from the recorded checksum.
        ValueError: the name is unknown.
    """
    root = os.environ.get("SEGCRF_DATA")
    if root:
        found = Path(root) / name
        if not (found / "tidy.npz").is_file():
            raise DataMissingError(
                f"SEGCRF_DATA names {root}, which has no {name}/tidy.npz: correct it, or unset it to download"
            )
        return found
    if name not in SOURCES:
        raise ValueError(f"no data set is called {name!r}, expected one of {', '.join(SOURCES)}")
    found = cache() / "data" / name
    if not (found / "tidy.npz").is_file():
        if not download:
            raise DataMissingError(
                f"{name} is missing: set SEGCRF_DATA to the folder of the data sets, or run `python -m "
                f"benchmarks.data {name}`, which downloads it from {SOURCES[name].url}"
            )
        prepare(SOURCES[name], cache() / "downloads" / name, found)
    return found


def load(name: str, *, download: bool = True) -> DataSet:
    """Read a data set. Arguments and errors are those of :func:`folder`.

    Straight lines bridge gaps in a signal, such as blinks. A last channel, ``missing``, marks the gaps.
    """
    source = folder(name, download=download)
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    with np.load(source / "tidy.npz", allow_pickle=False) as arrays:
        identifiers = [key.removeprefix("X/") for key in arrays.files if key.startswith("X/")]
        signals = {i: arrays[f"X/{i}"].astype(np.float32) for i in identifiers}
        labels = {i: arrays[f"y/{i}"].astype(np.int64) for i in identifiers}
        targets = {i: arrays[f"r/{i}"].astype(np.float32) for i in identifiers if f"r/{i}" in arrays.files}
    for values in labels.values():
        values[values < 0] = UNLABELLED
    channels = tuple(meta.get("channels_names", ()))
    if any(np.isnan(signal).any() for signal in signals.values()):
        signals, channels = {i: _bridged(signal) for i, signal in signals.items()}, (*channels, "missing")
    return DataSet(
        name,
        signals,
        labels,
        targets,
        tuple(meta["classes"]),
        channels,
        tuple(meta.get("regression", ())),
        _rate(meta),
    )


def _bridged(signal: Array) -> Array:
    gaps, frames = np.isnan(signal), np.arange(len(signal))
    lines = [np.interp(frames, frames[~gap], channel[~gap]) for channel, gap in zip(signal.T, gaps.T, strict=True)]
    return np.column_stack([*lines, gaps.any(axis=1)]).astype(np.float32)


def _rate(meta: dict[str, Any]) -> float | None:
    if isinstance(meta.get("rate_hz"), int | float):
        return float(meta["rate_hz"])
    return 1.0 / meta["epoch_s"] if "epoch_s" in meta else None
