"""Formats of labels keep the contract of formats, and read files as the tools of the formats write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segcrf.data import read_labels, write_labels
from segcrf.testing import FormatContract

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class TestCsv(FormatContract):
    ending = ".csv"
    format: str | None = None
    sampling_rate: float | None = None

    def write(self, bands: pd.DataFrame, file: Path) -> None:
        write_labels(bands, file, format=self.format, sampling_rate=self.sampling_rate)

    def read(self, file: Path) -> pd.DataFrame:
        return read_labels(file, format=self.format, sampling_rate=self.sampling_rate)


class TestCompressedCsv(TestCsv):
    ending = ".csv.gz"


class TestTsv(TestCsv):
    ending = ".tsv"


class TestParquet(TestCsv):
    ending = ".parquet"


class TestAudacity(TestCsv):
    ending, most_recordings = ".txt", 1
    unwritable = "\t\r\n"


class TestPraat(TestCsv):
    ending, most_recordings = ".TextGrid", 1


class TestElan(TestCsv):
    ending, most_recordings = ".eaf", 1
    resolution = 0.0005
    unwritable = "\r"


class TestLabelStudioAudio(TestCsv):
    ending = ".json"


class TestLabelStudioSeries(TestCsv):
    ending, resolution, sampling_rate = ".json", 1e-9, 1000.0


class TestBoris(TestCsv):
    ending = ".boris.csv"


class TestBids(TestCsv):
    ending, most_recordings, resolution = "_events.tsv", 1, 1e-9
    unwritable = '\t\r\n"'


class TestEdf(TestCsv):
    ending, most_recordings, resolution = ".edf", 1, 1e-9


class TestWfdb(TestCsv):
    ending, most_recordings, resolution, sampling_rate = ".atr", 1, 0.5001 / 1000, 1000.0


class TestRttm(TestCsv):
    ending, resolution = ".rttm", 1e-9
    unwritable = " \t\r\n"


class TestRaven(TestCsv):
    ending, most_recordings = ".selections.txt", 1
    unwritable = "\t\r\n"


class TestCrowsetta(TestCsv):
    ending = ".seq.csv"
    unwritable_recordings = "/\\"
