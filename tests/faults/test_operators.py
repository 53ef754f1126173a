"""Operators trust no caller: hostile inputs end in a named error or -inf, never in memory that is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import segcrf

PROGRAM = Path(__file__).with_name("hostile.py")
ROOT = Path(segcrf.__file__).parents[1]

pytestmark = pytest.mark.faults


def run(structure: str, way: str, calls: int, *flags: str) -> None:
    command = [sys.executable, *flags, str(PROGRAM), structure, way, str(calls)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr[-3000:]}"
    assert "Error" in result.stdout or "-inf" in result.stdout


@pytest.mark.parametrize("structure", ["chain", pytest.param("chain_varying", marks=pytest.mark.slow), "semimarkov"])
@pytest.mark.parametrize(
    ("way", "calls"), [("raw", 400), ("public", 300), pytest.param("compiled", 200, marks=pytest.mark.slow)]
)
def test_hostile_inputs_end_in_an_error_or_minus_infinity(structure: str, way: str, calls: int) -> None:
    run(structure, way, calls)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["chain", "semimarkov"])
def test_nothing_changes_without_assertions(structure: str) -> None:
    run(structure, "public", 200, "-O")
