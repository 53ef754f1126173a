"""Frame scores against their definitions, and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import (
    cut_case,
    ignored,
    labellings,
    long_case,
    reference_accuracy,
    reference_kappa,
    reference_macro_f1,
    same,
)

from segcrf import metrics


@given(labellings(), st.booleans(), ignored)
def test_frame_accuracy_is_its_definition(case, pooled, ignore):
    same(metrics.frame_accuracy(*case, pooled=pooled, ignore=ignore), reference_accuracy(*case, pooled, ignore))


@given(labellings(), st.booleans(), ignored, st.sampled_from([None, (0, 1), (7,)]))
def test_macro_f1_is_its_definition(case, pooled, ignore, classes):
    got = metrics.macro_f1(*case, classes=classes, pooled=pooled, ignore=ignore)
    same(got, reference_macro_f1(*case, pooled, ignore, classes))


@given(labellings(), st.booleans(), ignored)
def test_cohen_kappa_is_its_definition(case, pooled, ignore):
    same(metrics.cohen_kappa(*case, pooled=pooled, ignore=ignore), reference_kappa(*case, pooled, ignore))


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_are_those_of_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    true, pred = long_case(seed)
    assert metrics.frame_accuracy([true], [pred]) == pytest.approx(100 * sklearn.accuracy_score(true, pred))
    macro = sklearn.f1_score(true, pred, average="macro")
    assert metrics.macro_f1([true[:99], true[99:]], [pred[:99], pred[99:]]) == pytest.approx(100 * macro)
    some = sklearn.f1_score(true, pred, average="macro", labels=[1, 3])
    assert metrics.macro_f1([true], [pred], classes=[1, 3]) == pytest.approx(100 * some)
    assert metrics.cohen_kappa([true], [pred]) == pytest.approx(sklearn.cohen_kappa_score(true, pred))


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_are_those_of_torchmetrics(seed):
    functional = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is an independent reference")
    true, pred = (torch.tensor(labels) for labels in long_case(seed))
    true[::7] = -100
    options = {"task": "multiclass", "num_classes": 4, "ignore_index": -100}
    expected = functional.accuracy(pred, true, average="micro", **options)
    assert metrics.frame_accuracy([true], [pred]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.f1_score(pred, true, average="macro", **options)
    assert metrics.macro_f1([true], [pred]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.cohen_kappa(pred, true, **options)
    assert metrics.cohen_kappa([true], [pred]) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_frame_scores_per_recording_are_those_of_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    trues, preds = cut_case(seed)
    sides = list(zip(trues, preds, strict=True))
    expected = 100 * np.mean([sklearn.accuracy_score(*side) for side in sides])
    assert metrics.frame_accuracy(trues, preds, pooled=False) == pytest.approx(expected)
    expected = 100 * np.mean([sklearn.f1_score(*side, average="macro") for side in sides])
    assert metrics.macro_f1(trues, preds, pooled=False) == pytest.approx(expected)
    expected = np.mean([sklearn.cohen_kappa_score(*side) for side in sides])
    assert metrics.cohen_kappa(trues, preds, pooled=False) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_an_ignored_class_are_those_that_torchmetrics_and_scikit_learn_leave_out(seed):
    functional = pytest.importorskip("torchmetrics.functional", reason="torchmetrics is an independent reference")
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an independent reference")
    trues, preds = cut_case(seed)
    pred, true = np.concatenate(preds), np.concatenate(trues)
    options = {"task": "multiclass", "num_classes": 4, "ignore_index": 2}
    expected = functional.accuracy(torch.tensor(pred), torch.tensor(true), average="micro", **options)
    assert metrics.frame_accuracy(trues, preds, ignore=[2]) == pytest.approx(100 * float(expected), abs=1e-4)
    expected = functional.cohen_kappa(torch.tensor(pred), torch.tensor(true), **options)
    assert metrics.cohen_kappa(trues, preds, ignore=[2]) == pytest.approx(float(expected), abs=1e-6)
    kept = true != 2
    macro = sklearn.f1_score(true[kept], pred[kept], average="macro", labels=[0, 1, 3])
    assert metrics.macro_f1(trues, preds, ignore=[2]) == pytest.approx(100 * macro)
