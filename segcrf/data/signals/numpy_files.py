"""Reading of NumPy arrays: .npy and .npz."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.sheet import Sheet, sheet_of_arrays

__all__ = ["open_npy", "open_npz", "sheets_of_variables"]

_RATES = ("sampling_rate", "fs", "sfreq", "srate", "sample_rate", "samplingrate", "frequency", "rate")
_LABELS = ("y", "label", "labels", "classes", "states")
_TIMES = ("time", "times", "t", "timestamps")


def open_npy(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the recordings of a .npy file: an array (T,), (T, F), or (N, T, F), or with named fields.

    Args:
        file: the file.
        dialect: not used.

    Raises:
        TableError: the array has another shape, or is not numeric.
    """
    values = np.load(file, mmap_mode="r", allow_pickle=False)
    if values.dtype.names is not None and values.ndim == 1:
        return [sheet_of_arrays(None, {str(name): values[name] for name in values.dtype.names}, None)]
    return _sheets_of_array(None, values, None, None, file)


def open_npz(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the recordings of a .npz file.

    Args:
        file: the file. Its arrays are those that :func:`sheets_of_variables` describes.
        dialect: ``variable`` names one array.

    Raises:
        TableError: an array has another shape, or is not numeric.
    """
    with np.load(file, allow_pickle=False) as archive:
        return sheets_of_variables({name: archive[name] for name in archive.files}, file, dialect)


def sheets_of_variables(variables: Mapping[str, Any], file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the recordings among named arrays.

    Arrays (T, F), (N, T, F) and (T,) of numbers are signals. Arrays (T,) of equal length with other names are the
    channels of one recording. A single number called ``fs`` or ``sampling_rate`` is the rate. ``y`` or ``labels`` of
    the same length holds the labels, -1 = unlabelled, and ``time`` the times. ``X/name`` and ``y/name`` belong
    together.

    Args:
        variables: arrays by name.
        file: the file, for errors.
        dialect: ``variable`` names one array.

    Raises:
        TableError: there is no array of numbers, or no such variable.
    """
    arrays = {name: np.asarray(values) for name, values in variables.items()}
    rate = next((float(a.ravel()[0]) for n, a in arrays.items() if n.lower() in _RATES and _is_number(a)), None)
    rate = rate if rate is not None and 0 < rate < np.inf else None
    signals = {name: array for name, array in arrays.items() if _is_signal(name, array)}
    if dialect.variable is not None:
        if dialect.variable not in arrays:
            raise TableError("variable", repr(dialect.variable), f"one of {', '.join(arrays)}", file=file)
        signals = {dialect.variable: arrays[dialect.variable]}
    if not signals:
        got = f"the arrays {', '.join(f'{name} {array.shape}' for name, array in list(arrays.items())[:20])}"
        raise TableError("", got, "an array of numbers (T, F)", file=file)
    flat = {name: array.ravel() for name, array in signals.items() if array.size == max(array.shape)}
    if len(flat) == len(signals) > 1 and len({len(array) for array in flat.values()}) == 1:
        extra = {name: array.ravel() for name, array in _beside(arrays, "", len(next(iter(flat.values())))).items()}
        return [sheet_of_arrays(None, {**flat, **extra}, rate, _said(rate))]
    sheets: list[Sheet] = []
    for name, array in signals.items():
        own = name.partition("/")[2] or name
        sheets += _sheets_of_array(None if len(signals) == 1 else own, array, rate, (arrays, name), file)
    return sheets


def _said(rate: float | None) -> list[str]:
    return [] if rate is None else [f"the file states {rate:g} frames per second"]


def _is_number(array: Any) -> bool:
    return array.size == 1 and array.dtype.kind in "iuf"


def _is_signal(name: str, array: Any) -> bool:
    own = re.split(r"/", name.lower())[0]
    return (
        array.dtype.kind in "biuf" and 1 <= array.ndim <= 3 and array.size > 1
        and own not in (*_LABELS, *_TIMES, *_RATES) and not name.startswith("__")
    )  # fmt: skip


def _beside(arrays: Mapping[str, Any], signal: str, length: int) -> dict[str, Any]:
    """Return the labels and times that belong to a signal: of the same length, and of the same part of its name."""
    part = signal.partition("/")[2]
    found: dict[str, Any] = {}
    for role, names in (("label", _LABELS), ("time", _TIMES)):
        for name, array in arrays.items():
            own, _, rest = name.partition("/")
            if own.lower() in names and rest == part and array.size == length and array.dtype.kind in "biufUS":
                values = array.ravel()
                found[role] = (
                    np.where(values == -1, -100, values) if values.dtype.kind in "if" and role == "label" else values
                )
    return found


def _sheets_of_array(
    name: str | None, values: Any, rate: float | None, among: tuple[Mapping[str, Any], str] | None, file: Path
) -> list[Sheet]:
    if values.dtype.kind not in "biuf" or not 1 <= values.ndim <= 3 or 0 in values.shape:
        got, expected = f"an array {values.shape} of {values.dtype}", "numbers (T,), (T, F) or (N, T, F)"
        raise TableError("" if name is None else f"array {name!r}", got, expected, file=file)
    if values.ndim == 3:
        prefix = "" if name is None else f"{name}/"
        return [s for i, v in enumerate(values) for s in _sheets_of_array(f"{prefix}{i}", v, rate, None, file)]
    matrix, notes = values.reshape(len(values), -1), _said(rate)
    if matrix.shape[1] > max(64, 4 * len(matrix)) or (len(matrix) == 1 < matrix.shape[1]):
        matrix = matrix.T
        notes.append(f"the array {values.shape} is read as (channels, frames)")
    columns = {f"channel {place}": matrix[:, place] for place in range(matrix.shape[1])}
    if among is not None:
        columns |= _beside(*among, len(matrix))
    return [sheet_of_arrays(name, columns, rate, notes)]
