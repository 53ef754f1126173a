"""Reading of NetCDF files, as xarray writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_pandas, import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.sheet import Sheet, sheet_of_frame

__all__ = ["open_netcdf"]

_TIMES = ("time", "t", "frame", "sample", "obs")
_RECORDINGS = ("recording", "instance", "trial", "session", "subject")


def open_netcdf(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the recordings of a NetCDF file.

    Every variable with the dimension of time is a channel, or one per value of its other dimension. A dimension
    called ``recording``, ``trial``, ``session`` or ``subject`` separates recordings.

    Args:
        file: a .nc file.
        dialect: ``variable`` names one variable.

    Raises:
        ImportError: xarray or h5netcdf is not installed.
        TableError: there is no dimension of time.
    """
    xarray: Any = import_reader("xarray", "nc")
    with file.open("rb") as stream:
        classic = stream.read(3) == b"CDF"
    if not classic:
        import_reader("h5netcdf", "nc")
    with xarray.open_dataset(file, engine="scipy" if classic else "h5netcdf") as opened:
        dataset = opened.load()
    if dialect.variable is not None:
        if dialect.variable not in dataset:
            raise TableError("variable", repr(dialect.variable), f"one of {', '.join(map(str, dataset))}", file=file)
        dataset = dataset[[dialect.variable]]
    time = next((name for name in _TIMES if name in dataset.sizes), None)
    if time is None:
        got = f"the dimensions {', '.join(map(str, dataset.sizes))}"
        raise TableError(
            "", got, f"a dimension called {' or '.join(_TIMES)}", "rename the dimension of time", file=file
        )
    split = next((name for name in _RECORDINGS if name in dataset.sizes), None)
    if split is None:
        return [_open_part(None, dataset, time)]
    labels = dataset[split].values if split in dataset.coords else np.arange(dataset.sizes[split])
    return [_open_part(str(label), dataset.isel({split: place}), time) for place, label in enumerate(labels)]


def _open_part(name: str | None, dataset: Any, time: str) -> Sheet:
    columns: dict[str, Any] = {"time": dataset[time].values} if time in dataset.coords else {}
    for key, variable in dataset.data_vars.items():
        if time not in variable.dims:
            continue
        values = variable.transpose(time, ...)
        unit = f" [{variable.attrs['units']}]" if isinstance(variable.attrs.get("units"), str) else ""
        matrix = values.values.reshape(values.sizes[time], -1)
        if matrix.shape[1] == 1 and values.ndim == 1:
            columns[f"{key}{unit}"] = matrix[:, 0]
            continue
        other = values.dims[1]
        named = values.ndim == 2 and other in values.coords
        labels = values.coords[other].values if named else np.arange(matrix.shape[1])
        columns |= {f"{key} {label}{unit}": matrix[:, place] for place, label in enumerate(labels)}
    return sheet_of_frame(name, import_pandas().DataFrame(columns))
