"""Packages that files need, imported when a file is read or written, so that ``import segcrf`` stays light."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["import_arrow", "import_pandas", "import_reader"]


def import_pandas() -> Any:
    """Return pandas, typed as Any because its types are incomplete.

    Raises:
        ImportError: pandas is not installed.
    """
    return _import_module("pandas")


def import_arrow(module: str) -> Any:
    """Return a module of pyarrow.

    Args:
        module: its name in pyarrow.

    Raises:
        ImportError: pyarrow is not installed.
    """
    return _import_module(f"pyarrow.{module}")


def import_reader(name: str, kind: str) -> Any:
    """Return the package that reads a format of signals.

    Args:
        name: of the package.
        kind: the ending of the format, for the error.

    Raises:
        ImportError: the package is not installed. The error has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f".{kind} files need {name} ({error}); pip install 'segcrf[formats]'") from error


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"tables need pandas and pyarrow ({error}); pip install 'segcrf[train]'") from error
