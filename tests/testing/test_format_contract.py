"""The contract of formats finds the usual faults of readers and writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from segcrf.data import read_labels, write_table
from segcrf.testing import FormatContract

if TYPE_CHECKING:
    import pandas as pd

Change = Callable[["pd.DataFrame"], "pd.DataFrame"]
FAULTS: dict[str, tuple[Change, Callable[[FormatContract], None]]] = {
    "ends that are the last frame": (
        lambda bands: bands.assign(end=bands["end"] - 1 / 250),
        FormatContract.test_unlabelled_frames_stay_unlabelled,
    ),
    "milliseconds": (
        lambda bands: bands.assign(start=1000 * bands["start"], end=1000 * bands["end"]),
        FormatContract.test_unlabelled_frames_stay_unlabelled,
    ),
    "gaps closed": (
        lambda bands: bands.assign(end=bands["start"].shift(-1).fillna(bands["end"]).clip(lower=bands["end"])),
        FormatContract.test_unlabelled_frames_stay_unlabelled,
    ),
    "touching bands joined": (
        lambda bands: bands.iloc[:1].assign(end=bands["end"].iloc[-1]),
        FormatContract.test_bands_of_one_class_that_touch_stay_apart,
    ),
    "times rounded": (
        lambda bands: bands.round({"start": 3, "end": 3}),
        FormatContract.test_times_keep_their_digits_in_a_long_recording,
    ),
    "leading zeros dropped": (
        lambda bands: bands.assign(label=bands["label"].str.lstrip("0")),
        lambda contract: contract.test_a_name_of_a_class_comes_back_or_is_rejected("007"),
    ),
    "quotes dropped": (
        lambda bands: bands.assign(recording=bands["recording"].str.replace('"', "")),
        lambda contract: contract.test_a_name_of_a_recording_comes_back_or_is_rejected('say "a"'),
    ),
}


class Changed(FormatContract):
    """Band tables as CSV, with a fault in the writer."""

    __test__ = False
    ending = ".csv"

    def __init__(self, change: Change, resolution: float = 0.0) -> None:
        self.change, self.resolution = change, resolution

    def write(self, bands: pd.DataFrame, file: Path) -> None:
        write_table(self.change(bands), file)

    def read(self, file: Path) -> pd.DataFrame:
        return read_labels(file)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    change, check = FAULTS[fault]
    check(Changed(lambda bands: bands))
    with pytest.raises((AssertionError, ValueError)):
        check(Changed(change))


def test_a_coarse_format_says_its_resolution() -> None:
    change, check = FAULTS["times rounded"]
    check(Changed(change, resolution=0.0005))
