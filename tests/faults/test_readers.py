"""Damaged files: a message or a table, never another error, a crash, a hang or much memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mutants.py")
FORMATS = [
    "plain", "German spreadsheet", "dates with points", "UTF-16", "row of units", "columns of white space", "compressed",
    "workbook", "feather", "parquet", "npy", "npz", "MATLAB", "MATLAB 7.3", "sound", "EDF", "BDF", "WFDB", "NWB",
    "NetCDF", "NetCDF 3",
]  # fmt: skip
pytestmark = pytest.mark.faults


def run(name: str, count: int, seed: int) -> None:
    command = [sys.executable, str(PROGRAM), name, str(count), str(seed)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr[-3000:]


@pytest.mark.parametrize("name", FORMATS)
def test_two_hundred_damaged_files(name: str):
    run(name, 200, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_five_thousand_damaged_files(name: str):
    run(name, 5000, seed=1)
