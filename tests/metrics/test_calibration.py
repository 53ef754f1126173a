"""Calibration: reliability by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from segcrf.metrics import reliability
from segcrf.testing.errors import rejects


def test_reliability_by_hand() -> None:
    posterior = [np.array([[0.95, 0.05], [0.55, 0.45], [0.2, 0.8]]), np.array([[0.92, 0.08]])]
    table = reliability([[0, 1, -100], [1]], posterior)
    assert table.cases.tolist() == [0] * 5 + [1, 0, 0, 0, 2]
    assert table.confidence[9] == pytest.approx(0.935) and table.accuracy[9] == 0.5 and table.accuracy[5] == 0.0
    assert np.isnan(table.accuracy[0])
    assert table.error == pytest.approx((1 * 0.55 + 2 * (0.935 - 0.5)) / 3)
    assert str(table).count("\n") == 3


def test_edges_belong_to_the_bin_below() -> None:
    table = reliability([[0, 0]], [np.array([[1.0, 0.0], [0.5, 0.5]])], bins=2)
    assert table.cases.tolist() == [1, 1]


def test_nothing_labelled_has_no_error() -> None:
    assert math.isnan(reliability([[-100]], [np.array([[1.0, 0.0]])]).error)


@pytest.mark.parametrize(
    ("true", "posterior", "fields"),
    [
        ([[0, 1], [0]], [np.ones((2, 2))], {"argument": "probabilities", "got": "1 recordings", "expected": "2"}),
        ([[0, 5]], [np.ones((2, 2))], {"argument": "true", "got": "5", "expected": "0 to 1", "frame": 1}),
        ([[0, 1, 1]], [np.ones((2, 2))], {"argument": "probabilities", "got": "2 frames", "expected": "3, as in true"}),
        ([], [], {"argument": "true", "got": "an empty list"}),
    ],
)
def test_bad_input_is_named(true: Any, posterior: Any, fields: dict[str, Any]) -> None:
    with rejects(**fields):
        reliability(true, posterior)
