"""Damaged files: a message or a table, never another error, a crash, a hang or much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import segcrf

PROGRAM = Path(__file__).with_name("mutants.py")
ROOT = Path(segcrf.__file__).parents[1]
# One of each reader, and others that share one.
READERS = [
    "plain", "workbook", "feather", "parquet", "npy", "npz", "MATLAB", "MATLAB 7.3", "sound", "EDF", "WFDB", "NWB",
    "NetCDF",
]  # fmt: skip
OTHERS = [
    "German spreadsheet", "dates with points", "UTF-16", "row of units", "columns of white space", "compressed", "BDF",
    "NetCDF 3",
]  # fmt: skip
pytestmark = pytest.mark.faults


def run(name: str, count: int, seed: int) -> None:
    command = [sys.executable, str(PROGRAM), name, str(count), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=7200)
    assert finished.returncode == 0, finished.stdout + finished.stderr[-3000:]


@pytest.mark.parametrize("name", [*READERS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_two_hundred_damaged_files(name: str):
    run(name, 200, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, *OTHERS])
def test_five_thousand_damaged_files(name: str):
    run(name, 5000, seed=1)
