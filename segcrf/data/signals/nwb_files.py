"""Reading of NWB files (Neurodata Without Borders)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.sheet import Sheet, sheet_of_arrays

__all__ = ["open_nwb"]


def open_nwb(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the time series of an NWB file as recordings.

    Args:
        file: a .nwb file.
        dialect: ``variable`` names one series; with several of different shape it must be given.

    Raises:
        ImportError: pynwb is not installed.
        TableError: there is no series of numbers, or no such series, or there are several.
    """
    pynwb: Any = import_reader("pynwb", "nwb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older versions of the schema
        with pynwb.NWBHDF5IO(str(file), mode="r", load_namespaces=True) as io:
            series = {item.name: item for item in io.read().objects.values() if isinstance(item, pynwb.TimeSeries)}
            found = {
                name: item for name, item in series.items() if getattr(item.data, "dtype", np.dtype("O")).kind in "biuf"
            }
            if dialect.variable is not None:
                found = {name: item for name, item in found.items() if name == dialect.variable}
            if len(found) != 1:
                got = f"{len(found)} series of numbers ({', '.join(found or series)})"
                raise TableError("variable", got, "the name of one series", "choose one: --variable NAME", file=file)
            return [_open_series(*next(iter(found.items())))]


def _open_series(name: str, item: Any) -> Sheet:
    values = np.asarray(item.data[()], dtype=np.float64) * (item.conversion or 1.0) + (item.offset or 0.0)
    matrix = values.reshape(len(values), -1)
    unit = f" [{item.unit}]" if item.unit else ""
    single = matrix.shape[1] == 1
    columns = {
        f"{name}{unit}" if single else f"{name} {place}{unit}": matrix[:, place] for place in range(matrix.shape[1])
    }
    if item.timestamps is not None:
        columns = {"time": np.asarray(item.timestamps[()], dtype=np.float64), **columns}
    return sheet_of_arrays(
        None, columns, None if item.rate is None else float(item.rate), [f"the series {name!r} is read"]
    )
