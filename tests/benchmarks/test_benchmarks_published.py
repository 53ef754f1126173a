"""The benchmark of published scores: what it has recorded is what was published, and how it pools."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from benchmarks import published_scores, record
from segcrf import metrics


def test_the_recorded_scores_are_the_published_ones() -> None:
    result = record.read("published_scores")
    assert result["expected"] == published_scores.EXPECTED
    published_scores.check(result["rows"])
    wanted = {"model": "ED-TCN", "pooling": "split", "background": "left out"}
    (row,) = (row for row in result["rows"] if wanted.items() <= row.items())
    assert [round(row[f"f1@{iou}"], 1) for iou in (10, 25, 50)] == [67.2, 63.1, 51.9]


def test_another_score_is_rejected_by_name() -> None:
    rows = copy.deepcopy(record.read("published_scores")["rows"])
    rows[0]["f1@50"] -= 0.1
    with pytest.raises(ValueError, match=r"ED-TCN, mean over recordings, .*: got f1@50 52\.4\d+, expected 52\.6;"):
        published_scores.check(rows)


def test_splits_are_pooled_by_themselves_all_together_or_not_at_all() -> None:
    rng = np.random.default_rng(0)
    splits = [
        ([rng.integers(0, 3, n) for n in frames], [rng.integers(0, 3, n) for n in frames])
        for frames in ((5, 40), (12,))
    ]
    true, pred = ([labels for split in splits for labels in split[side]] for side in (0, 1))
    for ignore in ([], [0]):
        each = [metrics.segment_f1(*split, overlap=0.1, pooled=True, ignore=ignore) for split in splits]
        assert published_scores.score(splits, "split", ignore)["f1@10"] == pytest.approx(np.mean(each), abs=1e-3)
        pooled = published_scores.score(splits, "all", ignore)
        assert pooled["edit"] == pytest.approx(metrics.edit_score(true, pred, ignore=ignore, pooled=True), abs=1e-3)
        alone = published_scores.score(splits, "recording", ignore)
        assert alone["accuracy"] == pytest.approx(metrics.frame_accuracy(true, pred, pooled=False), abs=1e-3)


def test_the_table_names_the_convention_of_every_row() -> None:
    result = record.read("published_scores")
    lines = published_scores.table(result).splitlines()
    conventions = [line for line in lines if "background" in line and line.startswith("     - ")]
    assert len(conventions) == len(result["rows"]) == 12
    assert len(set(conventions)) == 6
    assert published_scores.table({}).startswith("Not measured")
