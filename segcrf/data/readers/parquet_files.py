"""Reading of Parquet and Feather files, and of Parquet data sets in parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcrf.data.readers.dependencies import import_arrow
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.sheet import Sheet

__all__ = ["open_feather", "open_parquet"]

# The name of a data frame's unnamed index in a file that pandas wrote.
_INDEX = re.compile(r"__index_level_\d+__")


def open_parquet(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only table of a Parquet file, or of a folder with the parts of one.

    Args:
        file: a .parquet file, or a folder of such files; folders ``key=value`` are a column.
        dialect: not used.
    """
    return [_open_dataset(file, "parquet")]


def open_feather(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only table of a Feather file.

    Args:
        file: a .feather or .arrow file, as pandas, polars and Arrow write it.
        dialect: not used.
    """
    return [_open_dataset(file, "feather")]


def _open_dataset(file: Path, kind: str) -> Sheet:
    dataset = import_arrow("dataset").dataset(file, format=kind, partitioning="hive" if file.is_dir() else None)

    def read(columns: Sequence[str], text: Sequence[str]) -> Any:
        # The index of the frame is ignored: pandas would make it of columns that are asked for.
        frame = dataset.to_table(columns=list(columns)).to_pandas(ignore_metadata=True)
        frame.index = np.arange(1, len(frame) + 1)
        return frame

    return Sheet(None, [str(name) for name in dataset.schema.names if not _INDEX.fullmatch(name)], read, [])
