"""The Segmenter under what is known: labels, probabilities and tables agree, in every form and unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from segmenters import NAMES, SMALL, recordings

from segcrf import Segmenter
from segcrf.testing.errors import rejects

X, LABELS, _ = recordings()


@pytest.fixture(scope="module", params=["linear-chain", "semi-markov"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """A fitted Segmenter of named classes at 10 frames per second."""
    model = Segmenter(structure=request.param, sampling_rate=10.0, **SMALL)
    return model.fit(X, [NAMES[k] for k in LABELS])


def inner_bands(table: pd.DataFrame) -> pd.DataFrame:
    """Bands that no edge of a recording cuts."""
    edge = [(table.groupby("recording")[name].transform(how) == table[name]) for name, how in
            (("start", "min"), ("end", "max"))]  # fmt: skip
    return table[~(edge[0] | edge[1])]


def test_a_correction_is_kept_and_so_is_its_table(segmenter: Segmenter) -> None:
    given = [np.full(len(k), "", dtype=object) for k in LABELS]
    given[1][20:30] = "swing"
    rows = pd.DataFrame([(1, 2.0, 3.0, "swing")], columns=["recording", "start", "end", "label"])
    for known in (given, rows):
        found = segmenter.predict(X, given=known)
        assert (found[1][20:30] == "swing").all()
        assert segmenter.predict_proba(X, given=known)[1][20:30, 1] == pytest.approx(1.0)
        table = segmenter.predict_segments(X, given=known)
        confidence = table[(table["recording"] == 1) & (table["start"] < 3.0) & (table["end"] > 2.0)]["confidence"]
        assert (confidence > 0.5).all()
    free = segmenter.predict(X)
    assert all((a == b).all() for i, (a, b) in enumerate(zip(found, free, strict=True)) if i != 1)


def test_its_own_answer_changes_nothing(segmenter: Segmenter) -> None:
    names = [f"r{i}" for i in range(len(X))]
    free = segmenter.predict_segments(X, names)
    again = segmenter.predict_segments(X, names, given=free)
    assert again.drop(columns="confidence").equals(free.drop(columns="confidence"))
    np.testing.assert_allclose(again["confidence"], 1.0, atol=1e-5)


def test_all_kinds_together(segmenter: Segmenter) -> None:
    orders: list[Any] = [None] * len(X)
    orders[0] = ["walk", "rest", "walk", "rest"]
    known: dict[str, Any] = {"forbid": ["swing"], "transcript": orders, "min_duration": {"rest": 1.5, "walk": 0.8}}
    found, table = segmenter.predict(X, **known), segmenter.predict_segments(X, **known)
    assert table[table["recording"] == 0]["label"].tolist() == orders[0]
    assert "swing" not in set(np.concatenate(found))
    assert (np.concatenate([p[:, 1] for p in segmenter.predict_proba(X, **known)]) == 0).all()
    inner = inner_bands(table)
    least = inner["label"].map(known["min_duration"])
    assert (inner["end"] - inner["start"] >= least - 1e-9).all()
    for recording, labels in enumerate(found):
        own = table[table["recording"] == recording]
        frames = ((own["end"] - own["start"]) * 10).round().astype(int)
        assert np.repeat(own["label"].to_numpy(), frames).tolist() == labels.tolist()


def test_durations_are_frames_without_a_sampling_rate(segmenter: Segmenter) -> None:
    seconds = segmenter.predict(X, min_duration=1.2)
    segmenter.set_params(sampling_rate=None)
    try:
        frames = segmenter.predict(X, min_duration=12)
    finally:
        segmenter.set_params(sampling_rate=10.0)
    assert all((a == b).all() for a, b in zip(seconds, frames, strict=True))


def test_uncertain_bands_become_empty_and_can_be_labelled_by_hand(segmenter: Segmenter) -> None:
    free = segmenter.predict_segments(X)
    least = float(free["confidence"].median())
    table = segmenter.predict_segments(X, min_confidence=least)
    assert (table["label"] == "").equals(free["confidence"] < least)
    labels = segmenter.predict(X, min_confidence=least)
    assert {str(label) for label in np.concatenate(labels)} <= {*NAMES.tolist(), ""}
    assert sum(int((k == "").sum()) for k in labels) == round(
        10 * (free["end"] - free["start"])[free["confidence"] < least].sum()
    )
    first = table.index[table["label"] == ""][0]
    table.loc[first, "label"] = "walk"
    own = table.loc[first]
    begin, end = round(own["start"] * 10), round(own["end"] * 10)
    assert (segmenter.predict(X, given=table)[own["recording"]][begin:end] == "walk").all()


def test_class_indices_are_marked_by_minus_100() -> None:
    model = Segmenter(**SMALL).fit(X, LABELS)
    free = model.predict_segments(X)
    least = float(free["confidence"].max())
    labels = model.predict(X, min_confidence=least, forbid=[[]] * len(X))
    assert set(np.concatenate(labels)) <= {-100, 0, 1, 2} and (np.concatenate(labels) == -100).any()
    assert set(model.predict_segments(X, min_confidence=least)["label"]) <= {-100, 0, 1, 2}
    assert set(np.concatenate(model.predict(X, forbid=[0, 2]))) == {1}


def test_what_cannot_be_is_named(segmenter: Segmenter) -> None:
    given = [None] * len(X)
    given[2] = np.array(["walk"] + [""] * (len(LABELS[2]) - 1), dtype=object)  # type: ignore[call-overload]
    with rejects("given", got="'walk', which `forbid` excludes", recording=2, frame=0, advice="`given` or `forbid`"):
        segmenter.predict(X, given=given, forbid=["walk"])
    with rejects("forbid", got="'fly'", expected="'rest', 'swing', 'walk'"):
        segmenter.predict_proba(X, forbid=["fly"])
    with rejects("transcript", got="1 recordings", expected=str(len(X))):
        segmenter.predict_segments(X, transcript=[["walk"]])
