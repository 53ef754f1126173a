"""The cache of compiled kernels: damaged files and a full disk cost a compilation, never a result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import errno
import sys
from segcrf.kernels.numba_runtime import compiled

@compiled
def add_one(x):
    return x + 1

if "full" in sys.argv:
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    add_one._cache._cache_file._save_data = full
print(add_one(1), add_one(1.5), sum(add_one.stats.cache_hits.values()))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def call(*arguments: str) -> str:
        done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return call


@pytest.mark.faults
def test_a_truncated_cache_is_made_again(run: Callable[..., str], tmp_path: Path) -> None:
    assert [run(), run()] == ["2 2.5 0", "2 2.5 2"]
    files = sorted((tmp_path / "__pycache__").iterdir())
    assert {file.suffix for file in files} == {".nbi", ".nbc"}
    for file in files:
        whole = file.read_bytes()
        for length in (0, len(whole) // 2):
            file.write_bytes(whole[:length])
            assert run().startswith("2 2.5")
    assert run() == "2 2.5 2"


@pytest.mark.faults
def test_a_full_disk_costs_only_the_cache(run: Callable[..., str]) -> None:
    assert run("full") == "2 2.5 0"
    assert run() == "2 2.5 0"
    assert run() == "2 2.5 2"
