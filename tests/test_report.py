"""The report: every number beside its convention, and nothing that is not so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from segcrf import metrics
from segcrf.data import Columns, RecordingTable
from segcrf.metrics import Report

TRUE = [np.array(["a", "a", "b", "b", ""]), np.array(["b", "b", "a"])]
FOUND = [np.array(["a", "b", "b", "b", "a"]), np.array(["b", "b", "a"])]


def truth(labels=TRUE, targets=None) -> RecordingTable:
    signals = [np.zeros((len(array), 0), dtype=np.float32) for array in labels]
    columns = Columns(label="state", targets=() if targets is None else ("p", "q"))
    return RecordingTable(columns, ["r", "s"], signals, labels=labels, targets=targets, source="truth.csv")


def test_scores_are_those_of_the_metrics():
    report = Report.of(FOUND, truth())
    assert (report.recordings, report.frames, report.unlabelled) == (2, 8, 1)
    assert report.scores["accuracy"] == pytest.approx(100 * 6 / 7)
    assert report.scores["edit"] == metrics.edit_score(FOUND, TRUE)
    assert report.scores["f1@50"] == metrics.segment_f1(FOUND, TRUE, 0.5)
    assert report.scores["kappa"] == metrics.cohen_kappa(FOUND, TRUE)


def test_per_recording_averages_and_says_so():
    report = Report.of(FOUND, truth(), pooled=False)
    assert report.scores["accuracy"] == pytest.approx((75 + 100) / 2)
    assert report.conventions()["accuracy"] == "mean over recordings, all classes"
    assert Report.of(FOUND, truth()).conventions()["accuracy"] == "pooled over recordings, all classes"


def test_ignored_classes_are_left_out_and_named():
    report = Report.of(FOUND, truth(), ignore=("a",))
    assert report.scores["edit"] == metrics.edit_score(FOUND, TRUE, ignore=["a"])
    assert report.conventions()["edit"].endswith("bands left out: a")


# Each score by the convention that a line of the text names.
COUNTED = {
    "frame accuracy": lambda case, pooled, ignore: metrics.frame_accuracy(*case, pooled),
    "frame macro F1": lambda case, pooled, ignore: metrics.macro_f1(*case, pooled=pooled),
    "frame Cohen's kappa": lambda case, pooled, ignore: metrics.cohen_kappa(*case, pooled=pooled),
    "segment edit": lambda case, pooled, ignore: metrics.edit_score(*case, ignore, pooled),
    "segment F1@10": lambda case, pooled, ignore: metrics.segment_f1(*case, 0.10, pooled, ignore),
    "segment F1@25": lambda case, pooled, ignore: metrics.segment_f1(*case, 0.25, pooled, ignore),
    "segment F1@50": lambda case, pooled, ignore: metrics.segment_f1(*case, 0.50, pooled, ignore),
    "segment covering": lambda case, pooled, ignore: metrics.covering(*case, pooled, ignore=ignore),
    "bands predicted/true": lambda case, pooled, ignore: metrics.band_ratio(*case, pooled, ignore=ignore),
}


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("ignore", [(), ("a",)])
def test_every_number_is_what_its_line_says(pooled, ignore):
    rng = np.random.default_rng(0)
    case = [[rng.choice(["a", "b", "c"], frames) for frames in (6, 40)] for _ in range(2)]
    lines = str(Report.of(case[0], truth(case[1]), ignore=ignore, pooled=pooled)).splitlines()[1:]
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
    values = [np.full((5, 2), 2.0), np.zeros((3, 2))]
    report = Report.of(FOUND, truth(targets=targets), values)
    assert report.targets == {
        "p": {"rmse": 2.0, "mae": 2.0, "known": 5.0},
        "q": {"rmse": 1.0, "mae": 1.0, "known": 4.0},
    }
    assert "target q: RMSE 1, MAE 1, 4 known frames" in str(report)


def test_text_shows_every_score_with_its_rule():
    lines = str(Report.of(FOUND, truth())).splitlines()
    assert lines[0] == "8 frames of 2 recordings; 1 unlabelled frames left out"
    assert lines[1] == "frame accuracy          85.7 %  pooled over recordings, all classes"
    assert [line.split("  ")[0] for line in lines[5:8]] == ["segment F1@10", "segment F1@25", "segment F1@50"]


def test_json_has_null_for_what_is_undefined():
    report = Report({"accuracy": math.nan}, {}, 1, 1, 0, (), True)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["accuracy"] is None


def test_without_any_label_there_is_nothing_to_score():
    with pytest.raises(ValueError, match=r"truth\.csv: no frame has a label in column 'state'"):
        Report.of(FOUND, truth([np.array([""] * 5), np.array([""] * 3)]))
