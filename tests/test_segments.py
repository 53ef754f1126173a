"""Segments: labels to bands to tables and back, half-open, to the frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segcrf import Segments
from segcrf._validation import InputError, InputTypeError
from segcrf.testing.errors import rejects

recordings = st.lists(
    st.lists(st.sampled_from([-100, 0, 1, 2]), max_size=12).map(lambda labels: np.array(labels, dtype=np.int64)),
    max_size=4,
)


def rows(segments: Segments) -> list[tuple[int, ...]]:
    columns = (segments.recording, segments.start, segments.end, segments.label)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def runs(labels: list[np.ndarray]) -> list[tuple[int, ...]]:
    """Maximal runs by itertools.groupby, independent of numpy tricks."""
    found = []
    for recording, array in enumerate(labels):
        frame = 0
        for label, group in itertools.groupby(array.tolist()):
            length = len(list(group))
            if label != -100:
                found.append((recording, frame, frame + length, label))
            frame += length
    return found


# ------------------------------------------------------------------------------------------------ labels and segments
def test_segments_are_half_open_runs():
    segments = Segments.from_labels([[1, 1, 0], [2]])
    assert rows(segments) == [(0, 0, 2, 1), (0, 2, 3, 0), (1, 0, 1, 2)]
    assert segments.durations.tolist() == [2, 1, 1]
    assert all(column.dtype == np.int64 for column in (segments.recording, segments.start, segments.end))


@given(recordings)
def test_segments_are_the_maximal_runs(labels):
    assert rows(Segments.from_labels(labels)) == runs(labels)


@given(recordings)
def test_labels_survive_the_round_trip(labels):
    back = Segments.from_labels(labels).to_labels([len(array) for array in labels])
    assert len(back) == len(labels)
    for array, original in zip(back, labels, strict=True):
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, original)


def test_a_run_does_not_go_on_into_the_next_recording():
    assert rows(Segments.from_labels([[0, 0], [0]])) == [(0, 0, 2, 0), (1, 0, 1, 0)]


def test_unlabelled_frames_split_a_run_and_make_no_segment():
    assert rows(Segments.from_labels([[-100, 1, -100, 1, -100]])) == [(0, 1, 2, 1), (0, 3, 4, 1)]


@pytest.mark.parametrize("labels", [[], [[]], [[], []], [[-100, -100]]], ids=str)
def test_without_labels_there_are_no_segments(labels):
    segments = Segments.from_labels(labels)
    assert len(segments) == 0
    assert segments.start.dtype == np.int64
    assert [array.tolist() for array in segments.to_labels([len(array) for array in labels])] == labels


@pytest.mark.parametrize("kind", [np.array, torch.tensor, lambda batch: [torch.tensor(row) for row in batch]])
def test_a_padded_batch_and_a_list_are_the_same(kind):
    segments = Segments.from_labels(kind([[0, 0, 1], [1, -100, -100]]))
    assert rows(segments) == rows(Segments.from_labels([[0, 0, 1], [1]]))


def test_small_integer_types_are_welcome():
    segments = Segments.from_labels([np.array([3, 3], dtype=np.uint8)])
    assert rows(segments) == [(0, 0, 2, 3)]
    assert segments.label.dtype == np.int64


def test_starts_split_bands_of_one_class():
    labels, starts = [[0, 0, 0, 1]], [[True, False, True, True]]
    assert rows(Segments.from_labels(labels, starts)) == [(0, 0, 2, 0), (0, 2, 3, 0), (0, 3, 4, 1)]
    assert rows(Segments.from_labels(torch.tensor(labels), torch.tensor(starts))) == rows(
        Segments.from_labels(labels, starts)
    )


def test_a_change_of_class_starts_a_band_whatever_starts_says():
    assert rows(Segments.from_labels([[0, 1]], [[False, False]])) == [(0, 0, 1, 0), (0, 1, 2, 1)]


def test_labels_are_not_modified():
    labels = np.array([0, 0, 1])
    segments = Segments.from_labels([labels])
    segments.to_labels([3])[0][:] = 9
    assert labels.tolist() == [0, 0, 1]
    assert segments.label.tolist() == [0, 1]


def test_to_labels_leaves_frames_after_the_last_segment_unlabelled():
    labels = Segments.from_labels([[1]]).to_labels([3, 2])
    assert [array.tolist() for array in labels] == [[1, -100, -100], [-100, -100]]


# --------------------------------------------------------------------------------------------------------- operations
def test_of_gives_one_recording_with_its_scores():
    segments = Segments.from_labels([[1, 0], [], [2, 2, 1]]).with_score([0.1, 0.2, 0.3, 0.4])
    assert rows(segments.of(2)) == [(2, 0, 2, 2), (2, 2, 3, 1)]
    assert segments.of(2).score is not None
    assert segments.of(2).score.tolist() == [0.3, 0.4]
    assert len(segments.of(1)) == 0


def test_with_score_changes_nothing_else_and_not_the_original():
    segments = Segments.from_labels([[1, 0]])
    scored = segments.with_score(torch.tensor([1, 0]))
    assert scored.score is not None
    assert scored.score.dtype == np.float64
    assert rows(scored) == rows(segments)
    assert segments.score is None


@given(recordings, st.randoms(use_true_random=False))
def test_concatenating_the_recordings_in_any_order_gives_them_all(labels, random):
    whole = Segments.from_labels(labels)
    parts = [whole.of(recording) for recording in range(len(labels))]
    random.shuffle(parts)
    assert rows(Segments.concatenate(parts)) == rows(whole)


def test_concatenate_keeps_scores_only_if_all_parts_have_them():
    first, second = Segments.from_labels([[0], []]).with_score([0.5]), Segments.from_labels([[], [1]])
    assert Segments.concatenate([first, second]).score is None
    both = Segments.concatenate([second.with_score([0.25]), first])
    assert both.score is not None
    assert both.score.tolist() == [0.5, 0.25]


def test_concatenate_rejects_overlaps():
    with rejects("segment 1", got=r"\[1, 2\)", expected=r"frames after those of segment 0: \[0, 2\)", recording=0):
        Segments.concatenate([Segments.from_labels([[0, 0]]), Segments.from_labels([[-100, 1]])])


def test_repr_shows_the_first_rows_and_counts_the_rest():
    lines = repr(Segments.from_labels([[0, 1] * 5]).with_score(np.arange(10) / 10)).splitlines()
    assert lines[0] == "Segments: 10 in 1 recording"
    assert lines[1].split() == ["recording", "start", "end", "label", "score"]
    assert lines[2].split() == ["0", "0", "1", "0", "0.000"]
    assert lines[-1] == "... 4 more"
    assert repr(Segments.from_labels([])).splitlines()[0] == "Segments: 0 in 0 recordings"


# -------------------------------------------------------------------------------------------------------------- tables
@given(recordings, st.sampled_from([None, 0.3, 100.0, 44_100.0]), st.booleans(), st.booleans())
def test_a_table_holds_all_there_is(labels, sampling_rate, named, scored):
    pytest.importorskip("pandas", reason="tables are pandas tables")
    segments = Segments.from_labels(labels)
    if scored:
        segments = segments.with_score(np.linspace(0, 1, len(segments)))
    classes = ["rest", "walk", "run"] if named else None
    ids = ["a", "b", "c", "d"] if named else None
    table = segments.to_table(classes=classes, sampling_rate=sampling_rate, recordings=ids)
    back = Segments.from_table(
        table.sample(frac=1, random_state=0), classes=classes, sampling_rate=sampling_rate, recordings=ids
    )
    assert rows(back) == rows(segments)
    assert (back.score is None) == (segments.score is None)
    np.testing.assert_array_equal(back.score, segments.score)


def test_a_table_speaks_of_names_and_seconds():
    pytest.importorskip("pandas", reason="tables are pandas tables")
    segments = Segments.from_labels([[1, 1, 0]]).with_score([0.75, 1.0])
    table = segments.to_table(classes=["rest", "walk"], sampling_rate=4, recordings=["monday"])
    assert table.to_dict("list") == {
        "recording": ["monday", "monday"],
        "start": [0.0, 0.5],
        "end": [0.5, 0.75],
        "label": ["walk", "rest"],
        "confidence": [0.75, 1.0],
    }
    plain = Segments.from_labels([[1, 1, 0]]).to_table()
    assert list(plain.columns) == ["recording", "start", "end", "label"]
    assert plain["start"].dtype == np.int64


def test_times_are_rounded_to_the_nearest_frame():
    pd = pytest.importorskip("pandas", reason="tables are pandas tables")
    table = pd.DataFrame({"recording": [0], "start": [0.094], "end": [0.156], "label": [0]})
    assert rows(Segments.from_table(table, sampling_rate=100)) == [(0, 9, 16, 0)]
    table = pd.DataFrame({"recording": [0], "start": [0.149], "end": [0.151], "label": [0]})
    with rejects("segment 0", got=r"frames \[15, 15\)", expected="an end after its start"):
        Segments.from_table(table, sampling_rate=100)


# ------------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("labels", "kind", "fields"),
    [
        ([[0.0, 1.0]], InputTypeError, {"got": "float64", "recording": 0}),
        ([[True, False]], InputTypeError, {"got": "bool", "recording": 0}),
        ([["a", "b"]], InputTypeError, {"got": "text", "expected": "integers", "advice": "number the classes"}),
        ([[0], [0, -1]], InputError, {"got": "-1", "recording": 1, "frame": 1}),
        (np.array([0, 1]), InputError, {"got": r"one array of shape \(2,\)", "advice": "wrap a single recording"}),
        ([0, 1], InputError, {"got": r"shape \(\)", "recording": 0}),
        (7, InputTypeError, {"got": "int"}),
        ("ab", InputTypeError, {"got": "str"}),
    ],
    ids=str,
)
def test_labels_that_are_none(labels, kind, fields):
    with rejects("labels", kind=kind, **fields):
        Segments.from_labels(labels)


@pytest.mark.parametrize(
    ("starts", "fields"),
    [
        ([[True]], {"got": r"bool of shape \(1,\)", "expected": r"bool of shape \(2,\)", "recording": 0}),
        ([[1, 0]], {"got": "int64", "recording": 0}),
        ([[True, False]] * 2, {"got": "2 recordings", "expected": "1, as in labels"}),
    ],
    ids=str,
)
def test_starts_that_do_not_fit(starts, fields):
    with rejects("starts", **fields):
        Segments.from_labels([[0, 0]], starts)


@pytest.mark.parametrize(
    ("columns", "argument", "fields"),
    [
        (
            ([0], [2], [2], [0]),
            "segment 0",
            {"got": r"\[2, 2\) of label 0", "expected": "an end after its start"},
        ),
        (([0], [-1], [2], [0]), "segment 0", {"expected": "a start of 0 or more", "recording": 0}),
        (([-1], [0], [2], [0]), "segment 0", {"expected": "a recording of 0 or more", "recording": -1}),
        (([0], [0], [2], [-100]), "segment 0", {"got": "-100", "expected": "leave unlabelled stretches out"}),
        (([0, 0], [0, 1], [2, 3], [0, 1]), "segment 1", {"expected": "after those of segment 0", "recording": 0}),
        (([1, 0], [0, 0], [2, 2], [0, 1]), "segment 1", {"expected": "recording 1", "advice": "sort segments by"}),
        (([0, 0], [0], [2], [0]), "segments", {"got": r"sizes \{'recording': 2"}),
    ],
    ids=str,
)
def test_segments_that_are_none(columns, argument, fields):
    with rejects(argument, **fields):
        Segments(*(np.array(column) for column in columns))


def test_a_column_must_hold_integers_and_a_score_fit():
    good = np.array([0])
    with rejects("end", got="float64", kind=InputTypeError):
        Segments(good, good, np.array([1.0]), good)
    with rejects("segments", got="'score': 2"):
        Segments.from_labels([[0]]).with_score([1.0, 2.0])


@pytest.mark.parametrize(
    ("lengths", "fields"),
    [
        ([2], {"got": "^2$", "expected": "3 or more, where segment 1 ends", "recording": 0}),
        ([], {"got": "0 recordings", "expected": "1 or more"}),
    ],
)
def test_lengths_must_hold_the_segments(lengths, fields):
    with rejects("lengths", **fields):
        Segments.from_labels([[0, 0, 1]]).to_labels(np.array(lengths, dtype=np.int64))


def test_tables_that_are_none():
    pytest.importorskip("pandas", reason="tables are pandas tables")
    segments = Segments.from_labels([[1, 1, 0]])
    table = segments.to_table()
    with rejects("table", expected="a column 'end'"):
        Segments.from_table(table.drop(columns="end"))
    with rejects("column 'start', row 1", expected="whole frames", advice="sampling_rate= if times are in seconds"):
        Segments.from_table(segments.to_table(sampling_rate=4))
    named = segments.to_table(classes=["rest", "walk"])
    with rejects("classes", got="'walk' in the table", expected=r"one of \['rest'\]"):
        Segments.from_table(named, classes=["rest"])
    with rejects("classes", kind=InputTypeError, expected="integers", advice="list their names with classes="):
        Segments.from_table(named)
    with rejects("column 'end'", got="missing values"):
        Segments.from_table(table.assign(end=[2.0, np.nan]))
    with rejects("segment 0", expected="an end after its start"):
        Segments.from_table(segments.to_table(sampling_rate=100.0), sampling_rate=1.0)


def test_names_and_rates_that_do_not_fit():
    pytest.importorskip("pandas", reason="tables are pandas tables")
    segments = Segments.from_labels([[1, 1, 0]])
    with rejects("classes", got="1 names", expected="2 or more", advice="the segments hold index 1"):
        segments.to_table(classes=["rest"])
    with rejects("classes", got="repeated names"):
        segments.to_table(classes=["rest", "rest"])
    with rejects("sampling_rate", got="0"):
        segments.to_table(sampling_rate=0)
