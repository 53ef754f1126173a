"""One thread, reproducible Hypothesis runs, and the folder of recorded data sets where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# Kernels compile on first use, so an example has no deadline; a contract is run by several test classes.
_shared = settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
settings.register_profile("ci", _shared, derandomize=True, max_examples=20, database=None)
settings.register_profile("dev", _shared, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds; left out with -m 'not slow'")
    config.addinivalue_line("markers", "gpu: needs a GPU")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of recorded data sets, named by the environment variable SEGCRF_DATA."""
    folder = os.environ.get("SEGCRF_DATA")
    if not folder:
        pytest.skip("recorded data sets are not at hand: set SEGCRF_DATA to their folder")
    if not Path(folder).is_dir():
        pytest.skip(f"SEGCRF_DATA names {folder}, which is not a folder")
    return Path(folder)
