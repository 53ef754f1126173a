"""Packages that tables need, imported when a table is read or written, so that ``import segcrf`` stays light."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["import_pandas", "import_parquet"]


def import_pandas() -> Any:
    """Return pandas, typed as Any because its types are incomplete.

    Raises:
        ImportError: pandas is not installed.
    """
    return _import_module("pandas")


def import_parquet() -> Any:
    """Return pyarrow's reader of Parquet.

    Raises:
        ImportError: pyarrow is not installed.
    """
    return _import_module("pyarrow.parquet")


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"tables need pandas and pyarrow ({error}); pip install 'segcrf[train]'") from error
