"""Validation: the decoding rule shrinks to a prior, and the score that counts is the one that was asked for."""

import numpy as np
import pytest
import torch

from segcrf.data import Recording, Windows, collate, grid
from segcrf.metrics import boundary_f1, edit_score, frame_accuracy, segment_f1
from segcrf.nn import DecodingRule, ModelOutput
from segcrf.structures import LinearChain
from segcrf.testing.errors import rejects
from segcrf.training import candidate_rules, check_parameters
from segcrf.training.parameters import Parameters
from segcrf.training.validation import ValidationScores

PRIOR, OTHER = DecodingRule(1.0, by_frame=True), DecodingRule(2.0)


def collected(
    true: list[list[int]], prior: list[list[int]], other: list[list[int]], optimize: str = "bands", one: bool = False
) -> ValidationScores:
    """Scores of two rules with given labellings, one recording each or windows of a single one."""
    validation = ValidationScores([PRIOR, OTHER], optimize)
    validation.true = [np.array(row) for row in true]
    validation.predicted = {PRIOR: [np.array(row) for row in prior], OTHER: [np.array(row) for row in other]}
    validation.names = ["one" if one else f"recording {i}" for i in range(len(true))]
    return validation


def chosen(validation: ValidationScores) -> DecodingRule:
    scores = validation.scores()
    return DecodingRule(scores["decode_factor"], bool(scores["decode_by_frame"]))


TRUE = [0] * 10 + [1] * 10
LATE = [0] * 13 + [1] * 7
FLICKER = [0] * 9 + [1] * 3 + [0] * 2 + [1] * 6


@pytest.mark.parametrize("one", [False, True])
def test_a_rule_that_is_better_everywhere_replaces_the_prior(one: bool) -> None:
    assert chosen(collected([TRUE] * 6, [LATE] * 6, [TRUE] * 6, one=one)) == OTHER
    assert chosen(collected([TRUE] * 6, [TRUE] * 6, [LATE] * 6, one=one)) == PRIOR


@pytest.mark.parametrize("one", [False, True])
def test_a_rule_that_is_better_by_chance_does_not_replace_the_prior(one: bool) -> None:
    # One rule errs in two recordings of six, the other in one of the rest.
    prior, other = [FLICKER] * 2 + [TRUE] * 4, [TRUE] * 2 + [FLICKER] + [TRUE] * 3
    validation = collected([TRUE] * 6, prior, other, one=one)
    better = collected([TRUE] * 6, other, prior, one=one)
    assert chosen(validation) == PRIOR and chosen(better) == PRIOR


def test_one_band_proves_nothing() -> None:
    assert chosen(collected([[0] * 10], [[1] * 10], [[0] * 10])) == OTHER  # half a band is right, and so is the other
    assert chosen(collected([[0]], [[1]], [[0]])) in (PRIOR, OTHER)


def test_the_bootstrap_error_is_that_of_the_recordings() -> None:
    random = np.random.default_rng(0)
    true = [[0] * 50 + [1] * 50] * 40
    wrong = [[int(random.random() < p) ^ label for label in row] for row, p in zip(true, [0.1, 0.3] * 20, strict=True)]
    validation = collected(true, wrong, true, "accuracy")
    each = [100 - frame_accuracy([t], [p]) for t, p in zip(true, wrong, strict=True)]
    expected = np.std(each, ddof=1) / 100 / len(each) ** 0.5
    assert validation._bootstrap_error(PRIOR, OTHER) == pytest.approx(expected, rel=0.15)
    assert validation._bootstrap_error(PRIOR, PRIOR) == 0.0


def test_many_recordings_are_resampled_in_groups() -> None:
    assert len(collected([TRUE] * 250, [TRUE] * 250, [TRUE] * 250)._units()) == 100
    alone = collected([TRUE * 50], [TRUE * 50], [TRUE * 50], one=True)._units()
    assert len(alone) == 30 and sum(len(true) for unit in alone for true, _ in unit) == 1000


def test_recordings_without_a_label_and_windows_of_one_recording_are_no_units() -> None:
    validation = collected([TRUE, [-100] * 4, TRUE], [LATE, [0] * 4, LATE], [TRUE, [0] * 4, TRUE])
    validation.names = ["a", "b", "c"]
    assert [len(unit) for unit in validation._units()] == [1, 1]
    validation.names = ["a", "b", "a"]
    assert [len(piece) for unit in validation._units() for piece, _ in unit] == [5, 10, 5] * 2


def test_each_score_that_is_asked_for_makes_the_error() -> None:
    true, pred = [TRUE, TRUE], [FLICKER, LATE]
    expected = {
        "f1@50": segment_f1(true, pred),
        "edit": edit_score(true, pred),
        "accuracy": frame_accuracy(true, pred),
        "boundary": boundary_f1(true, pred, margin=1),  # a tenth of the median band
    }
    expected["bands"] = (expected["accuracy"] + expected["edit"] + expected["f1@50"]) / 3
    for optimize, score in expected.items():
        scores = collected(true, pred, pred, optimize).scores()
        assert scores["error"] == pytest.approx(1 - score / 100)
        assert {"accuracy", "edit", "f1"} <= set(scores) and ("boundary" in scores) == (optimize == "boundary")


def test_what_is_optimised_decides_between_rules() -> None:
    # LATE has the better order of bands, FLICKER more right frames and the nearer boundary.
    for optimize, expected in (("edit", OTHER), ("accuracy", PRIOR), ("boundary", PRIOR)):
        assert chosen(collected([TRUE] * 6, [FLICKER] * 6, [LATE] * 6, optimize)) == expected


def test_for_accuracy_every_frame_is_decided_by_itself() -> None:
    assert all(rule.by_frame for rule in candidate_rules("auto", optimize="accuracy"))
    assert not any(rule.by_frame for rule in candidate_rules("sequence", optimize="accuracy"))
    assert [candidate_rules(name)[0] for name in ("auto", "sequence")] == [PRIOR, DecodingRule()]
    with rejects("optimize", got="'f1'", expected="'f1@50'"):
        check_parameters(Parameters(optimize="f1"))


def test_windows_of_a_recording_belong_together() -> None:
    labels = torch.tensor(TRUE)
    data = [Recording(torch.zeros(20, 1), labels, None, name) for name in ("recording 3", "", "a, frames b")]
    batch = collate(Windows(data)[grid(data, 8)])
    validation = ValidationScores([PRIOR])
    emissions = torch.zeros(*batch.labels.shape, 2)
    validation.add(
        batch, ModelOutput(LinearChain(emissions, torch.zeros(2, 2), lengths=batch.lengths), None, emissions)
    )
    assert validation.names == ["recording 3"] * 3 + ["recording 1"] * 3 + ["a, frames b"] * 3
