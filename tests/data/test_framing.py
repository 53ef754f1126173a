"""Labels of frames from bands, by the rule for overlaps, and bands between frames, seconds and clocks."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

import segcrf
from segcrf import Segments
from segcrf.data import Columns, RecordingTable, label_frames, segments_to_frames, segments_to_seconds
from segcrf.testing import rejects

NONE = ""
TWO = pd.DataFrame({"recording": 0, "start": [0, 2, 3], "end": [6, 5, 4], "label": ["long", "mid", "short"]})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("first", ["long"] * 6 + [NONE]),
        ("last", ["long", "long", "mid", "short", "mid", "long", NONE]),
        ("shortest", ["long", "long", "mid", "short", "mid", "long", NONE]),
    ],
)
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_rule_decides_for_frames_in_several_bands(rule: str, expected: list[str], order: list[int]) -> None:
    assert label_frames(TWO.iloc[order], [7], overlaps=rule)[0].tolist() == expected


def test_first_last_and_shortest_differ() -> None:
    bands = TWO.assign(start=[0, 1, 4], end=[3, 6, 7])
    found = {rule: label_frames(bands, [7], overlaps=rule)[0].tolist() for rule in ("first", "last", "shortest")}
    assert found["first"] == ["long"] * 3 + ["mid"] * 3 + ["short"]
    assert found["last"] == ["long"] + ["mid"] * 3 + ["short"] * 3
    assert found["shortest"] == ["long"] * 3 + ["mid"] + ["short"] * 3


def test_overlaps_are_an_error_unless_a_rule_is_chosen() -> None:
    with rejects(got="'long' in frames 0 to 6 and 'mid' in 2 to 5", advice="first, last or shortest", recording="0"):
        label_frames(TWO, [7])
    with rejects(advice="choose one annotator of anna, bert"):
        label_frames(TWO.assign(annotator=["anna", "bert", "anna"]), [7])
    with rejects("overlaps", got="'longest'"):
        label_frames(TWO, [7], overlaps="longest")


@given(st.data())
def test_labels_of_frames_come_back_from_their_bands(data: st.DataObject) -> None:
    names = ["", "a", "b"]
    labels = data.draw(
        st.lists(st.lists(st.sampled_from([-100, 0, 1]), min_size=1, max_size=12), min_size=1, max_size=3)
    )
    rate = data.draw(st.sampled_from([None, 1.0, 30.0, 100 / 3]))
    bands = Segments.from_labels(labels).to_table(classes=names[1:], sampling_rate=rate)
    found = label_frames(bands, [len(own) for own in labels], sampling_rate=rate)
    for got, own in zip(found, labels, strict=True):
        assert got.tolist() == [names[max(label, -1) + 1] for label in own]


def test_a_frame_is_labelled_if_more_than_half_of_it_is_in_the_band() -> None:
    bands = pd.DataFrame({"recording": 0, "start": [0.6, 3.4], "end": [1.6, 4.6], "label": ["a", "b"]})
    assert label_frames(bands, [6], sampling_rate=1)[0].tolist() == [NONE, "a", NONE, "b", "b", NONE]


def test_one_recording_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "walk.txt").write_text("0\t1\ta\n")
    bands = segcrf.read_labels(tmp_path / "walk.txt")
    assert label_frames(bands, [3], sampling_rate=2)[0].tolist() == ["a", "a", NONE]
    assert label_frames(bands, [1, 3], recordings=["run", "walk"], sampling_rate=2)[0].tolist() == [NONE]
    with rejects("bands: column 'recording'", got="'walk'", expected="0, 1"):
        label_frames(bands, [1, 3], sampling_rate=2)
    with rejects("sampling_rate", got="None", expected="bands are in seconds"):
        label_frames(bands, [3])


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"start": 0.5}, {"expected": "a whole number of frames"}),
        ({"start": np.nan}, {"argument": "column 'start', row 0", "got": "nan"}),
        ({"end": np.inf}, {"argument": "column 'end', row 0", "got": "inf"}),
        ({"end": "soon"}, {"got": "'soon'"}),
        ({"start": -1}, {"expected": "within the recording"}),
        ({"end": 8}, {"got": "frames 0 to 8 of 7", "expected": "within the recording"}),
        ({"start": 7, "end": 3}, {"expected": "an end after the start"}),
    ],
)
def test_bands_that_cannot_be_used(change: dict[str, object], fields: dict[str, str]) -> None:
    with rejects(**fields):
        label_frames(TWO.iloc[:1].assign(**change), [7])


def test_a_table_of_something_else_is_rejected() -> None:
    with rejects("bands", got="recording, start, end", expected="a column 'label'"):
        label_frames(TWO.drop(columns="label"), [7])
    with rejects("bands", expected="a column 'recording'"):
        label_frames([[0, 1]], [7])


def test_no_bands_label_nothing() -> None:
    assert [own.tolist() for own in label_frames(TWO.iloc[:0], [2, 0])] == [[NONE, NONE], []]


# --------------------------------------------------------------------------------------------- between units
def recordings_with(times: np.ndarray | None, *, dated: bool = False) -> RecordingTable:
    length = 5 if times is None else len(times)
    known = None if times is None else [times]
    return RecordingTable(Columns(time="time"), ["r"], [np.zeros((length, 1))], times=known, dated=dated)


@pytest.mark.parametrize(
    ("times", "dated", "rate"),
    [
        (None, False, 20.0),
        (np.arange(5) / 20, False, None),
        (3.0 + np.arange(5) / 20, False, None),
        (np.arange(5) * 50.0, False, 20.0),  # milliseconds
        (1.7e9 + np.arange(5) / 20, True, None),
    ],
)
def test_seconds_and_frames_are_inverse(times: np.ndarray | None, dated: bool, rate: float | None) -> None:
    recordings = recordings_with(times, dated=dated)
    frames = pd.DataFrame({"recording": "r", "start": [0, 3], "end": [2, 5], "label": ["a", "b"]})
    seconds = segments_to_seconds(frames, recordings, rate)
    shift = 3.0 if times is not None and times[0] == 3.0 else 0.0
    np.testing.assert_allclose(seconds["end"] - shift, [0.1, 0.25], atol=1e-6)
    seconds.attrs["unit"] = "seconds"
    again = segments_to_frames(seconds, recordings, sampling_rate=rate)
    assert again[["start", "end"]].to_numpy().tolist() == [[0, 2], [3, 5]]


def test_frames_are_frames_whatever_the_clock() -> None:
    bands = pd.DataFrame({"recording": "r", "start": [1.0], "end": [3.0], "label": ["a"]})
    bands.attrs["unit"] = "frames"
    for dated in (False, True):
        framed = segments_to_frames(bands, recordings_with(100.0 + np.arange(5), dated=dated))
        assert (framed["start"][0], framed["end"][0]) == (1, 3)


def test_numbers_count_from_the_first_frame_of_a_dated_recording() -> None:
    bands = pd.DataFrame({"recording": "r", "start": [1.0], "end": [3.0], "label": ["a"]})
    framed = segments_to_frames(bands, recordings_with(1.7e9 + np.arange(5.0), dated=True))
    assert (framed["start"][0], framed["end"][0]) == (1, 3)


def test_seconds_without_times_need_a_sampling_rate() -> None:
    bands = pd.DataFrame({"recording": "r", "start": [1.0], "end": [3.0], "label": ["a"]})
    with rejects("sampling_rate", got="None", expected="table has no times"):
        segments_to_seconds(bands, recordings_with(None))
    bands.attrs["unit"] = "seconds"
    with rejects("sampling_rate", got="None"):
        segments_to_frames(bands, recordings_with(None))
