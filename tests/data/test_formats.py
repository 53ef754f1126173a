"""Formats of bands keep the contract of formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segcrf.data import read_segments, write_table
from segcrf.testing import FormatContract

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class TestCsv(FormatContract):
    ending = ".csv"

    def write(self, bands: pd.DataFrame, file: Path) -> None:
        write_table(bands, file)

    def read(self, file: Path) -> pd.DataFrame:
        return read_segments(file)


class TestCompressedCsv(TestCsv):
    ending = ".csv.gz"


class TestTsv(TestCsv):
    ending = ".tsv"


class TestParquet(TestCsv):
    ending = ".parquet"
