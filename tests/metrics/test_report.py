"""The standard row and the report: every score beside its convention."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from label_pairs import same

from segcrf import metrics
from segcrf.data import Columns, RecordingTable
from segcrf.metrics import Report
from segcrf.testing.errors import rejects

TRUE = [np.array(["a", "a", "b", "b", ""]), np.array(["b", "b", "a"])]
FOUND = [np.array(["a", "b", "b", "b", "a"]), np.array(["b", "b", "a"])]


def truth(labels=TRUE, targets=None) -> RecordingTable:
    signals = [np.zeros((len(array), 0), dtype=np.float32) for array in labels]
    columns = Columns(label="state", targets=() if targets is None else ("p", "q"))
    return RecordingTable(columns, ["r", "s"], signals, labels=labels, targets=targets, source="truth.csv")


def test_scores_are_those_of_the_metrics():
    report = Report.of(truth(), FOUND)
    assert (report.recordings, report.frames, report.unlabelled) == (2, 8, 1)
    assert report.scores["accuracy"] == pytest.approx(100 * 6 / 7)
    assert report.scores["edit"] == metrics.edit_score(TRUE, FOUND)
    assert report.scores["f1@50"] == metrics.segment_f1(TRUE, FOUND, overlap=0.5)
    assert report.scores["kappa"] == metrics.cohen_kappa(TRUE, FOUND)


def test_per_recording_averages_and_says_so():
    report = Report.of(truth(), FOUND, pooled=False)
    assert report.scores["accuracy"] == pytest.approx((75 + 100) / 2)
    assert report.conventions()["accuracy"] == "mean over recordings, all classes"
    assert Report.of(truth(), FOUND).conventions()["accuracy"] == "pooled over recordings, all classes"


def test_ignored_classes_are_left_out_and_named():
    report = Report.of(truth(), FOUND, ignore=("a",))
    assert report.scores["edit"] == metrics.edit_score(TRUE, FOUND, ignore=["a"])
    assert report.conventions()["edit"].endswith("bands left out: a")


# Each score by the convention that a line of the text names.
COUNTED = {
    "frame accuracy": lambda case, pooled, ignore: metrics.frame_accuracy(*case, pooled=pooled),
    "frame macro F1": lambda case, pooled, ignore: metrics.macro_f1(*case, pooled=pooled),
    "frame Cohen's kappa": lambda case, pooled, ignore: metrics.cohen_kappa(*case, pooled=pooled),
    "segment edit": lambda case, pooled, ignore: metrics.edit_score(*case, ignore=ignore, pooled=pooled),
    "segment F1@10": lambda case, pooled, ignore: metrics.segment_f1(*case, overlap=0.10, pooled=pooled, ignore=ignore),
    "segment F1@25": lambda case, pooled, ignore: metrics.segment_f1(*case, overlap=0.25, pooled=pooled, ignore=ignore),
    "segment F1@50": lambda case, pooled, ignore: metrics.segment_f1(*case, overlap=0.50, pooled=pooled, ignore=ignore),
    "segment covering": lambda case, pooled, ignore: metrics.covering(*case, pooled=pooled, ignore=ignore),
    "bands predicted/true": lambda case, pooled, ignore: metrics.band_ratio(*case, pooled=pooled, ignore=ignore),
}


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ignore", [(), ("a",)])
def test_every_number_is_what_its_line_says(pooled, ignore):
    rng = np.random.default_rng(0)
    case = [[rng.choice(["a", "b", "c"], frames) for frames in (6, 40)] for _ in range(2)]
    lines = str(Report.of(truth(case[0]), case[1], ignore=ignore, pooled=pooled)).splitlines()[1:]
    assert [line[:21].strip() for line in lines] == list(COUNTED)
    for line, count in zip(lines, COUNTED.values(), strict=True):
        how, *rest = line[32:].split(", ")
        assert how in ("pooled over recordings", "mean over recordings")
        left_out = [part.removeprefix("bands left out: ") for part in rest if part.startswith("bands left out: ")]
        named = [name for name in left_out if name != "none"]
        assert bool(left_out) != any("all classes" in part for part in rest), line
        printed = 0.0501 if line[29] == "%" else 0.00501  # half the last digit
        assert float(line[22:28]) == pytest.approx(count(case, how == "pooled over recordings", named), abs=printed)


def test_errors_of_targets_leave_unknown_values_out():
    targets = [np.array([[0.0, 1], [0, np.nan], [0, 1], [0, 1], [0, 1]]), np.full((3, 2), np.nan)]
    predicted = [np.full((5, 2), 2.0), np.zeros((3, 2))]
    report = Report.of(truth(targets=targets), FOUND, predicted_targets=predicted)
    assert report.targets == {
        "p": {"rmse": 2.0, "mae": 2.0, "known": 5.0},
        "q": {"rmse": 1.0, "mae": 1.0, "known": 4.0},
    }
    assert "target q: RMSE 1, MAE 1, 4 known frames" in str(report)


def test_text_shows_every_score_with_its_rule():
    lines = str(Report.of(truth(), FOUND)).splitlines()
    assert lines[0] == "8 frames of 2 recordings; 1 unlabelled frames left out"
    assert lines[1] == "frame accuracy          85.7 %  pooled over recordings, all classes"
    assert [line.split("  ")[0] for line in lines[5:8]] == ["segment F1@10", "segment F1@25", "segment F1@50"]


def test_json_has_null_for_what_is_undefined():
    report = Report({"accuracy": math.nan}, {}, 1, 1, 0, (), True)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["accuracy"] is None


def test_without_any_label_there_is_nothing_to_score():
    with rejects("column 'state'", got="no label", advice="--label"):
        Report.of(truth([np.array([""] * 5), np.array([""] * 3)]), FOUND)


# -------------------------------------------------------------------------------------------------- the standard row
def test_evaluate_is_the_standard_row():
    pred, true = [[0, 0, 1, 0, 2, 2], [1, 1]], [[0, 0, 0, 1, 2, 2], [1, -100]]
    row = metrics.evaluate(true, pred, ignore=[0], pooled=False)
    assert list(row) == ["accuracy", "macro_f1", "edit", "f1@10", "f1@25", "f1@50", "band_ratio"]
    assert row["accuracy"] == metrics.frame_accuracy(true, pred, pooled=False)
    assert row["edit"] == metrics.edit_score(true, pred, ignore=[0])
    assert row["f1@25"] == metrics.segment_f1(true, pred, overlap=0.25, pooled=False, ignore=[0])
    assert row["band_ratio"] == metrics.band_ratio(true, pred, pooled=False)
    assert metrics.evaluate(true, pred, classes=[2])["macro_f1"] == 100.0


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ignore", [(), (0, 2)])
@pytest.mark.parametrize("matching", ["greedy", "optimal"])
def test_the_line_says_how_the_standard_row_is_counted(pooled, ignore, matching):
    rng = np.random.default_rng(1)
    case = [[rng.integers(0, 4, frames) for frames in (8, 60)] for _ in range(2)]
    row = metrics.evaluate(*case, ignore=ignore, pooled=pooled, matching=matching)
    line = metrics.conventions(ignore=ignore, pooled=pooled, matching=matching)
    parts = dict(part.split(": ") for part in line.split("; ") if ": " in part)
    named = [int(c) for c in parts["classes left out of edit and F1@k"].replace("none", "").split(", ") if c]
    for how, together in (("pooled over recordings", True), ("mean over recordings", False)):
        for score in parts[how].split(", "):
            {
                "accuracy": lambda p=together: same(row["accuracy"], metrics.frame_accuracy(*case, pooled=p)),
                "macro F1": lambda p=together: same(row["macro_f1"], metrics.macro_f1(*case, pooled=p)),
                "edit": lambda p=together: same(row["edit"], metrics.edit_score(*case, ignore=named, pooled=p)),
                "bands pred/true": lambda p=together: same(row["band_ratio"], metrics.band_ratio(*case, pooled=p)),
                f"F1@k ({matching} matching)": lambda p=together: same(
                    [row[f"f1@{k}"] for k in (10, 25, 50)],
                    [
                        metrics.segment_f1(*case, overlap=k / 100, pooled=p, ignore=named, matching=matching)
                        for k in (10, 25, 50)
                    ],
                ),
            }[score]()
    assert "unlabelled frames left out" in line


def test_a_recording_of_a_day_is_scored_without_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    cuts = np.sort(rng.choice(np.arange(1, 660_000), 5_000, replace=False))
    true = np.repeat(np.arange(5_001) % 5, np.diff([0, *cuts, 660_000]))
    pred = np.roll(true, 3)
    row = metrics.evaluate([true], [pred])
    assert row["band_ratio"] == pytest.approx(1, abs=0.01)
    assert metrics.boundary_error([true], [pred], margin=3)[0, 1].mean == pytest.approx(3, abs=0.2)
