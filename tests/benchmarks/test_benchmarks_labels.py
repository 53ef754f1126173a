"""The plumbing of the benchmarks of unlabelled recordings and of calibration, on data made up here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import calibration, unlabelled
from segcrf import LinearChain

LABELS = [np.array([-100, 0, 0, -100, -100, 1, -100]), np.array([1, 1, -100])]
SIGNALS = [np.arange(len(labels), dtype=np.float32)[:, None] for labels in LABELS]


def test_stretches_and_joined_keep_every_labelled_frame_and_no_other() -> None:
    signals, labels = unlabelled.stretches(SIGNALS, LABELS)
    assert [row.tolist() for row in labels] == [[0, 0], [1], [1, 1]]
    assert [row[:, 0].tolist() for row in signals] == [[1, 2], [5], [0, 1]]
    signals, labels = unlabelled.joined(SIGNALS, LABELS)
    assert [row.tolist() for row in labels] == [[0, 0, 1], [1, 1]]
    assert [row[:, 0].tolist() for row in signals] == [[1, 2, 5], [0, 1]]


def test_unmarked_counts_frames_between_two_labels_that_are_of_neither() -> None:
    predicted = [np.array([2, 0, 0, 0, 2, 1, 2]), np.array([1, 1, 2])]  # frames 3 and 4 lie between labels
    assert unlabelled.unmarked(predicted, LABELS) == 50.0


def test_bands_are_compared_where_all_their_frames_are_labelled() -> None:
    dist = LinearChain(torch.tensor([[[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0], [9.0, 0.0]]]), torch.zeros(2, 2))
    found = calibration.of_bands([dist], [np.array([0, 0, 1, 0, -100])])
    assert found["count"] == 2 and found["exact"] == 0.5 and found["share_right"] == 0.75
    assert found["probability"] == pytest.approx(1.0, abs=0.01) and found["mean_marginal"] == pytest.approx(1, abs=0.01)
