"""Reading of MATLAB files, of all versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.sheet import Sheet
from segcrf.data.signals.numpy_files import sheets_of_variables

__all__ = ["open_mat"]


def open_mat(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the recordings of a MATLAB file, among its arrays and the fields of its structs.

    Args:
        file: a .mat file. Version 7.3 is HDF5 and needs h5py.
        dialect: ``variable`` names one array.

    Raises:
        ImportError: h5py is not installed, for version 7.3.
        TableError: there is no array of numbers.
    """
    with file.open("rb") as stream:
        new = b"MATLAB 7.3" in stream.read(128)
    found: dict[str, Any] = {}
    if new:

        def visit(name: str, item: Any) -> None:
            if hasattr(item, "dtype"):
                _keep(found, name, item[()].T)  # HDF5 holds the axes of MATLAB in reverse

        with import_reader("h5py", "mat").File(file, "r") as archive:
            archive.visititems(visit)
    else:
        from scipy.io import loadmat

        for name, value in loadmat(file, simplify_cells=True, chars_as_strings=True).items():
            if not name.startswith("__"):
                _flatten(found, name, value)
    return sheets_of_variables(found, file, dialect)


def _flatten(found: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for field, inside in value.items():
            _flatten(found, str(field) if field not in found else f"{name}.{field}", inside)
    else:
        _keep(found, name, np.asarray(value))


def _keep(found: dict[str, Any], name: str, array: Any) -> None:
    if array.dtype.kind in "biufUS" and not name.startswith("#"):
        found[name] = array
