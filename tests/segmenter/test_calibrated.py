"""Segmenter: probabilities, confidences and intervals that held-out recordings calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from segmenters import NAMES, SMALL, recordings

from segcrf import Segmenter
from segcrf.nn import Calibration
from segcrf.testing.errors import rejects

pytestmark = pytest.mark.usefixtures("short_epochs")
LEARNED = recordings(10, seed=2)[:2]
OTHERS = recordings(12, seed=3)[:2]


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    """By frame, calibrated by the two validation recordings."""
    options = SMALL | {"max_epochs": 4}
    model = Segmenter(**options, bidirectional=False, decoding="frame", max_delay=4, sampling_rate=10.0)
    return model.fit(*LEARNED)


@pytest.fixture(scope="module")
def calibrated(fitted: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """The same model, calibrated by 12 recordings."""
    folder = tmp_path_factory.mktemp("model") / "fitted"
    fitted.save(folder)
    return Segmenter.load(folder).calibrate(*OTHERS)


def uncalibrated(model: Segmenter, folder: Path) -> Segmenter:
    """The same model without its calibration."""
    model.save(folder)
    other = Segmenter.load(folder)
    other.model_.set_calibration(Calibration())
    return other


def test_fit_calibrates_by_the_validation_recordings(fitted: Segmenter) -> None:
    assert fitted.model_.calibration.temperature != 1.0
    assert any("calibrated on 2 held-out recordings" in note for note in fitted.notes_)


def test_labels_are_the_most_probable_classes_and_do_not_change(fitted: Segmenter, tmp_path: Path) -> None:
    plain = uncalibrated(fitted, tmp_path / "model")
    X = OTHERS[0]
    for labels, before, p in zip(fitted.predict(X), plain.predict(X), fitted.predict_proba(X), strict=True):
        assert (labels == before).all() and (labels == p.argmax(1)).all()
        assert p.dtype == np.float64 and p.sum(1) == pytest.approx(1.0)
    same = {"columns": "confidence"}
    tables = [model.predict_segments(X).drop(**same) for model in (fitted, plain)]
    pd.testing.assert_frame_equal(*tables)
    assert plain.predict_segments(X).equals(plain.predict_segments(X, confidence="frames"))
    assert not fitted.predict_segments(X).equals(fitted.predict_segments(X, confidence="frames"))


def test_without_validation_recordings_nothing_is_calibrated() -> None:
    model = Segmenter(**SMALL, validation_fraction=0.0).fit(*LEARNED)
    assert model.model_.calibration.temperature == 1.0
    assert any("not calibrated" in note for note in model.notes_)
    with rejects("interval", got="0 held-out recordings"):
        model.predict_segments(OTHERS[0], interval=0.5)


def test_a_warm_start_calibrates_anew() -> None:
    model = Segmenter(**SMALL).fit(*LEARNED).calibrate(*OTHERS)
    assert model.model_.calibration.boundary_recordings > 2
    again = model.set_params(validation_fraction=0.0).fit(*LEARNED, warm_start=True)
    assert again.model_.calibration.boundary_recordings == 0 and again.model_.calibration.temperature == 1.0


def test_a_saved_model_and_the_best_one_are_calibrated(tmp_path: Path) -> None:
    model = Segmenter(**SMALL, directory=tmp_path / "run").fit(*LEARNED)
    model.save(tmp_path / "saved")
    for folder in (tmp_path / "saved", tmp_path / "run" / "best"):
        other = Segmenter.load(folder)
        assert other.predict_proba(OTHERS[0])[0].tobytes() == model.predict_proba(OTHERS[0])[0].tobytes()
        assert other.predict_segments(OTHERS[0]).equals(model.predict_segments(OTHERS[0]))


def test_a_stream_has_the_confidences_of_whole_recordings(calibrated: Segmenter) -> None:
    X = OTHERS[0][:3]
    whole = calibrated.predict_segments(X)
    streams = calibrated.streams(3)
    for i, x in enumerate(X):
        stream = calibrated.stream(recording=i)
        pieces = [stream.push(piece) for piece in np.array_split(x, 5)]
        found = [pd.concat([*pieces, stream.finish()], ignore_index=True)]
        together = [streams.push({i: piece}) for piece in np.array_split(x, 7)]
        found.append(pd.concat([*together, streams.finish(i)], ignore_index=True))
        for table in found:
            own = whole[whole["recording"] == i].reset_index(drop=True)
            pd.testing.assert_frame_equal(table, own, check_dtype=False, rtol=1e-9)


# --------------------------------------------------------------------------------------------------------- intervals
def test_intervals_are_in_the_unit_of_the_table(calibrated: Segmenter) -> None:
    X = OTHERS[0]
    table = calibrated.predict_segments(X, interval=0.9)
    columns = ["start_low", "start_high", "end_low", "end_high"]
    assert list(table.columns) == ["recording", "start", "end", "label", "confidence", *columns]
    assert table.drop(columns=columns).equals(calibrated.predict_segments(X))
    assert (table["start_low"] <= table["start"]).all() and (table["start"] <= table["start_high"]).all()
    assert (table["end_low"] <= table["end"]).all() and (table["end"] <= table["end_high"]).all()
    for i, x in enumerate(X):
        own = table[table["recording"] == i]
        assert own[["start_low", "start_high"]].iloc[0].tolist() == [0.0, 0.0]
        assert own[["end_low", "end_high"]].iloc[-1].tolist() == [len(x) / 10.0] * 2
    narrow = calibrated.predict_segments(X, interval=0.3)
    assert (narrow["start_low"] >= table["start_low"]).all() and (narrow["end_high"] <= table["end_high"]).all()
    frames = Segmenter.predict_segments(calibrated.set_params(sampling_rate=None), X, interval=0.9)
    calibrated.set_params(sampling_rate=10.0)
    assert all(frames[name].dtype == np.int64 for name in columns)
    np.testing.assert_allclose(frames[columns] / 10.0, table[columns])


def test_an_interval_that_cannot_be_says_why(fitted: Segmenter, calibrated: Segmenter) -> None:
    X = OTHERS[0]
    with rejects("interval", got="2 held-out recordings", expected="at least 9"):
        fitted.predict_segments(X, interval=0.9)
    with rejects("interval", got="what is known"):
        calibrated.predict_segments(X, interval=0.9, forbid=["rest"] if calibrated.classes_.dtype.kind == "U" else [0])
    with rejects("confidence", got="'band' with an interval"):
        calibrated.predict_segments(X, interval=0.9, confidence="band")
    for level in (0.0, 1.0, float("nan"), "0.9"):
        with rejects("interval"):
            calibrated.predict_segments(X, interval=level)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------- calibrate
def test_calibrate_takes_labels_as_fit_does() -> None:
    X, labels = LEARNED
    model = Segmenter(**SMALL).fit(X, [NAMES[k] for k in labels])
    X, labels = OTHERS
    before = model.predict(X)
    model.calibrate(X, [np.where(np.arange(len(k)) < 5, "", NAMES[k]) for k in labels])
    assert model.model_.calibration.boundary_recordings > 8
    assert all((a == b).all() for a, b in zip(before, model.predict(X), strict=True))
    rule = model.set_decoding(factor=8.0).model_.calibration.temperature
    assert model.calibrate(X, [NAMES[k] for k in labels]).model_.calibration.temperature != rule


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda X, y: (X, y[:-1]), {"argument": "y"}),
        (lambda X, y: (X, [np.full(len(k), -100) for k in y]), {}),
        (lambda X, y: (X, [k + 5 for k in y]), {}),
        (lambda X, y: ([x[:, :1] for x in X], y), {"argument": "X"}),
        (lambda X, y: ([], []), {}),
    ],
)
def test_recordings_that_cannot_calibrate_are_rejected(fitted: Segmenter, change: Any, fields: Any) -> None:
    before = fitted.model_.calibration.temperature
    with pytest.raises(ValueError):  # noqa: PT011 - every one names another thing
        fitted.calibrate(*change(*OTHERS))
    assert fitted.model_.calibration.temperature == before
    with pytest.raises(ValueError, match="fit"):
        Segmenter().calibrate(*OTHERS)
