"""Reading of Parquet files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_parquet

__all__ = ["parquet_columns", "read_parquet"]

# The name of a data frame's unnamed index in a Parquet file that pandas wrote.
_INDEX = re.compile(r"__index_level_\d+__")


def parquet_columns(file: Path) -> list[str]:
    """Return the column names of a Parquet file; an unnamed index that pandas wrote is not a column.

    Args:
        file: a .parquet file.
    """
    names = [str(name) for name in import_parquet().read_schema(file).names]
    return [name for name in names if not _INDEX.fullmatch(name)]


def read_parquet(file: Path, columns: Sequence[str]) -> Any:
    """Read columns of a Parquet file.

    Args:
        file: a .parquet file.
        columns: the columns to read, each once.

    Returns:
        A data frame, indexed by row from 1.
    """
    # The index of the frame is ignored: pandas would make it of columns that are asked for.
    table = import_parquet().read_table(file, columns=list(columns), partitioning=None)
    frame = table.to_pandas(ignore_metadata=True)
    frame.index = np.arange(1, len(frame) + 1)
    return frame
