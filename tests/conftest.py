"""One thread, reproducible Hypothesis runs, and the folders of recorded data sets where these are at hand."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from benchmarks import data

torch.set_num_threads(1)
pytest.register_assert_rewrite("segcrf.testing")

# Kernels compile on first use, so an example has no deadline; a contract is run by several test classes.
_shared = settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
settings.register_profile("ci", _shared, derandomize=True, max_examples=20, database=None)
settings.register_profile("dev", _shared, max_examples=100)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """Keep what is imported out of garbage collection, which otherwise walks through all of it again and again."""
    gc.freeze()


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """Finds the folder of a recorded data set; where it is not at hand, skips the test and says why.

    Tests download nothing by themselves: the environment variable SEGCRF_DOWNLOAD=1 asks for it.
    """

    def find(name: str) -> Path:
        try:
            return data.folder(name, download=os.environ.get("SEGCRF_DOWNLOAD") == "1")
        except data.DataMissingError as error:
            pytest.skip(str(error))

    return find


@pytest.fixture(scope="module")
def short_epochs() -> Iterator[None]:
    """Let an epoch of few recordings be 4 batches instead of 16."""
    from segcrf.training import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MIN_BATCHES", 4)
        yield
