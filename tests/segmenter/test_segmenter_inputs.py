"""Recordings that a Segmenter rejects, with the place of the fault."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from segmenters import NAMES, SMALL, at, cut, examples, missing, recordings

from segcrf import InputTypeError, Segmenter
from segcrf.testing.errors import rejects
from segcrf.training import TrainingWarning

pytestmark = pytest.mark.usefixtures("short_epochs")


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    return Segmenter(**SMALL | {"max_epochs": 8}, sampling_rate=10.0, missing="error").fit(**examples())


#: Which list is changed, how, and the fields of the error.
BAD: list[tuple[str, Any, dict[str, Any]]] = [
    ("X", at(np.nan, 1, 17, 1), {"argument": "X", "recording": 1, "frame": 17, "got": "nan in channel 1"}),
    ("X", at(-np.inf, 0, 3, 0), {"argument": "X", "recording": 0, "frame": 3, "got": "-inf in channel 0"}),
    ("X", cut(2, 0), {"argument": "X", "recording": 2, "got": r"\(0, 2\)", "expected": "not empty"}),
    ("X", cut(2, 9), {"argument": "y", "recording": 2, "got": "[0-9]+ frames", "expected": "9 frames, as in X"}),
    ("X", lambda X: X[:4], {"argument": "y", "got": "5 recordings", "expected": "4, as in X"}),
    ("X", lambda X: [], {"argument": "X", "got": "an empty list"}),
    ("X", lambda X: [x[:, 0] for x in X], {"argument": "X", "recording": 0, "advice": r"reshape\(-1, 1\)"}),
    ("X", lambda X: X[0], {"argument": "X", "got": r"one array of shape \(\d+, 2\)", "kind": InputTypeError}),
    ("X", lambda X: torch.as_tensor(X[0]), {"argument": "X", "got": "one array of shape", "kind": InputTypeError}),
    ("X", lambda X: pd.DataFrame(X[0]), {"argument": "X", "got": "one array of shape", "kind": InputTypeError}),
    ("X", lambda X: X[0][:, 0].tolist(), {"argument": "X", "got": "numbers or words", "kind": InputTypeError}),
    ("X", lambda X: X[0][:, 0], {"argument": "X", "advice": "put it in a list", "kind": InputTypeError}),
    ("X", lambda X: [*X[:3], X[3][:, :1], X[4]], {"recording": 3, "got": "1 channels", "expected": "2, as in record"}),
    ("X", lambda X: [x.astype(str) for x in X], {"recording": 0, "got": "<U32", "kind": InputTypeError}),
    ("y", at(-1, 1, 5), {"argument": "y", "recording": 1, "frame": 5, "got": "-1", "advice": "-100"}),
    ("y", lambda k: [a.astype(float) for a in k], {"recording": 0, "expected": "integers", "kind": InputTypeError}),
    ("y", lambda k: [a[:, None] for a in k], {"argument": "y", "recording": 0, "expected": r"\(T,\)"}),
    ("y", lambda k: [np.full_like(a, -100) for a in k], {"argument": "y", "got": "no labelled frame"}),
    ("y", lambda k: [NAMES[k[0]], *k[1:]], {"argument": "y", "got": "integers and text", "kind": InputTypeError}),
    ("y", lambda k: k[0], {"argument": "y", "advice": "put it in a list", "kind": InputTypeError}),
    ("y", lambda k: NAMES[k[0]].tolist(), {"got": "numbers or words", "kind": InputTypeError}),
    ("y", lambda k: [], {"argument": "y", "got": "an empty list", "advice": "at least one"}),
    ("y", lambda k: [k[0], None, *k[2:]], {"recording": 1, "got": "None", "advice": "-100", "kind": InputTypeError}),
    ("y", missing(None, NAMES), {"recording": 2, "frame": 7, "got": "None", "kind": InputTypeError}),
    ("y", missing(np.nan, NAMES), {"recording": 2, "frame": 7, "got": "nan", "kind": InputTypeError}),
    ("y", missing(pd.NA, np.arange(3)), {"recording": 2, "frame": 7, "got": "<NA>", "kind": InputTypeError}),
    ("y", lambda k: at(np.nan, 2, 7)([a * 1.0 for a in k]), {"recording": 2, "frame": 7, "kind": InputTypeError}),
    ("targets", lambda y: [a[:, 0] for a in y], {"argument": "targets", "recording": 0, "expected": r"\(T, R\)"}),
    ("targets", lambda y: [*y[:4], np.hstack([y[4], y[4]])], {"recording": 4, "got": r", 2\)", "expected": r", 1\)"}),
    ("targets", at(np.inf, 2, 7, 0), {"recording": 2, "frame": 7, "got": "inf in target 0"}),
    ("targets", lambda y: y[:3], {"argument": "targets", "got": "3 recordings", "expected": "5, as in X"}),
    ("targets", lambda y: y[0], {"argument": "targets", "got": "one array of shape", "kind": InputTypeError}),
    ("targets", lambda y: [*y[:4], None], {"recording": 4, "advice": "fill it with NaN", "kind": InputTypeError}),
]


@pytest.mark.parametrize(("which", "change", "fields"), BAD)
def test_bad_recordings_are_rejected_before_training(which: str, change: Any, fields: dict[str, Any]) -> None:
    data = examples()
    with rejects(**fields):
        Segmenter(**SMALL, missing="error").fit(**data | {which: change(data[which])})


def test_groups_are_one_name_per_recording_and_two_at_least() -> None:
    data = examples()
    model = Segmenter(**SMALL)
    with rejects("groups", got="4 names", expected="5 names"):
        model.fit(**data, groups=["a"] * 4)
    with rejects("groups", got="str", kind=InputTypeError):
        model.fit(**data, groups="abcde")
    with rejects("groups", got="1 group with labels", expected="2 or more", advice="validation_fraction=0"):
        model.fit(**data, groups=["a"] * 5)
    data["y"][0][:] = -100
    with rejects("groups", got="1 group with labels"):
        model.fit(**data, groups=["a", "b", "b", "b", "b"])


def test_classes_without_training_frames_are_reported_by_name() -> None:
    X, labels, _ = recordings()
    options = SMALL | {"max_epochs": 1}
    with pytest.warns(TrainingWarning, match="no training frame is of class jump, never: it cannot be learned") as seen:
        model = Segmenter(**options, classes=["rest", "jump", *NAMES[1:], "never"]).fit(X, [NAMES[k] for k in labels])
    assert seen[0].filename == __file__ and model.notes_[0] == str(seen[0].message)
    assert model.predict_proba(X)[0].shape == (len(X[0]), 5)
    with pytest.warns(TrainingWarning, match="no training frame is of class 1:"):
        Segmenter(**options).fit(X, [np.where(k == 1, 2, k) for k in labels])
    one = np.repeat([0, 1, 2], [60, 80, 10])  # the last class is held out as a whole
    with pytest.warns(TrainingWarning, match=r"no training frame is of class 2: .* other recordings for validation="):
        Segmenter(**options, validation_fraction=0.4).fit([X[0][:150]], [one])


def test_names_that_are_not_classes_are_rejected() -> None:
    X, labels, _ = recordings()
    named = [NAMES[k] for k in labels]
    named[3] = named[3].astype("U9")
    named[3][4] = "wlak"
    with rejects("y", recording=3, frame=4, got="'wlak'", expected="one of .*'walk'"):
        Segmenter(**SMALL, classes=list(NAMES)).fit(X, named)


def test_validation_must_be_like_training() -> None:
    X, labels, targets = recordings()
    model = Segmenter(**SMALL)
    with rejects("validation: targets", got="None", expected="1 per frame"):
        model.fit(X, labels, targets=targets, validation=(X, labels))
    with rejects("validation: X", recording=0, got="1 channels", expected="2"):
        model.fit(X, labels, validation=([x[:, :1] for x in X], labels))
    with rejects("validation: y", recording=1, frame=3, got="3", expected="0 to 2"):
        model.fit(X, labels, validation=(X, at(3, 1, 3)(labels)))
    with rejects("validation: y", recording=1, frame=3, got="'jump'", expected="one of "):
        model.fit(X, [NAMES[k] for k in labels], validation=(X, at("jump", 1, 3)([NAMES[k] for k in labels])))
    with rejects("validation", got="float", expected=r"\(X, y\)", advice="validation_fraction", kind=InputTypeError):
        model.fit(X, labels, validation=0.2)  # type: ignore[arg-type]
    with rejects("validation", got="list of 5", kind=InputTypeError):
        model.fit(X, labels, validation=X)
    with rejects("validation: y", got="no labelled frame"):
        model.fit(X, labels, validation=(X, [np.full_like(k, -100) for k in labels]))


def test_prediction_must_be_like_fitting(fitted: Segmenter) -> None:
    X, labels, _ = recordings()
    for ask in ("predict", "predict_proba", "predict_targets", "predict_segments"):
        with pytest.raises(ValueError, match="has learned nothing yet; call fit"):
            getattr(Segmenter(), ask)(X)
    with rejects("X", recording=0, got="3 channels", expected="2, as in fit"):
        fitted.predict([np.zeros((5, 3))])
    with rejects("X", recording=1, frame=2, got="nan in channel 0"):
        fitted.predict(at(np.nan, 1, 2, 0)(X))
    with rejects("y", got="text", expected="integers", kind=InputTypeError):
        fitted.score(X, [NAMES[k] for k in labels])
    with pytest.raises(ValueError, match="fitted without targets"):
        Segmenter(**SMALL | {"max_epochs": 1}).fit(X, labels).predict_targets(X)
    with pytest.raises(ValueError, match="learned nothing yet"):
        Segmenter().save("nowhere")
    assert not os.path.exists("nowhere")
