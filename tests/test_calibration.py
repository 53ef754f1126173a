"""Calibration: reliability by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from segcrf.metrics import reliability


def test_reliability_by_hand() -> None:
    posterior = [np.array([[0.95, 0.05], [0.55, 0.45], [0.2, 0.8]]), np.array([[0.92, 0.08]])]
    table = reliability(posterior, [[0, 1, -100], [1]])
    assert table.frames.tolist() == [0] * 5 + [1, 0, 0, 0, 2]
    assert table.confidence[9] == pytest.approx(0.935) and table.accuracy[9] == 0.5 and table.accuracy[5] == 0.0
    assert np.isnan(table.accuracy[0])
    assert table.error == pytest.approx((1 * 0.55 + 2 * (0.935 - 0.5)) / 3)
    assert str(table).count("\n") == 3


def test_edges_belong_to_the_bin_below() -> None:
    table = reliability([np.array([[1.0, 0.0], [0.5, 0.5]])], [[0, 0]], bins=2)
    assert table.frames.tolist() == [1, 1]


def test_nothing_labelled_has_no_error() -> None:
    assert math.isnan(reliability([np.array([[1.0, 0.0]])], [[-100]]).error)


@pytest.mark.parametrize(
    ("posterior", "true", "message"),
    [
        ([np.ones((2, 2))], [[0, 1], [0]], "probabilities hold 1 recordings, true hold 2"),
        ([np.ones((2, 2))], [[0, 5]], "got label 5, expected 0 to 1"),
        ([np.ones((2, 2))], [[0, 1, 1]], "recording 0: probabilities has 2 frames"),
    ],
)
def test_bad_input_is_named(posterior: Any, true: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(posterior, true)
