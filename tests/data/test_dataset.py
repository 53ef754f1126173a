"""Recordings: labels to indices and back, and a split that loses no class."""

import numpy as np

from segcrf.data import ClassCoder, Labelled, read_labelled, split_recordings
from segcrf.testing.errors import rejects


def labelled(*labels: list[int]) -> Labelled:
    arrays = [np.array(row) for row in labels]
    return Labelled([np.full((len(row), 1), i) for i, row in enumerate(arrays)], arrays, None)


def numbers(recordings: Labelled) -> list[int]:
    return [int(signal[0, 0]) for signal in recordings.signals]


def test_names_to_indices_and_back() -> None:
    given = [np.array(["b", "", "a"]), np.array(["c", "c"], dtype=object)]
    coder = ClassCoder.learn(given)
    assert coder.classes.tolist() == ["a", "b", "c"]
    assert [k.tolist() for k in coder.encode(given)] == [[1, -100, 0], [2, 2]]
    assert coder.decode(np.array([2, 0])).tolist() == ["c", "a"]
    assert ClassCoder.learn(given, ["c", "b", "a", "d"]).encode(given)[0].tolist() == [1, -100, 2]


def test_indices_stay_indices_with_and_without_names() -> None:
    given = [np.array([3, -100, 0], dtype=np.int8)]
    for classes, expected in ((None, [0, 1, 2, 3]), (["a", "b", "c", "d"], ["a", "b", "c", "d"])):
        coder = ClassCoder.learn(given, classes)
        assert coder.classes.tolist() == expected
        (codes,) = coder.encode(given)
        assert codes.tolist() == [3, -100, 0] and codes.dtype == np.int64
        assert coder.decode(np.array([3, 0])).tolist() == [3, 0]


def test_the_split_is_by_recording_seeded_and_complete() -> None:
    recordings = labelled(*[[0, 1]] * 10)
    train, held = split_recordings(recordings, 0.2, seed=0)
    assert len(held.labels) == 2 and sorted(numbers(train) + numbers(held)) == list(range(10))
    assert numbers(split_recordings(recordings, 0.2, seed=0)[1]) == numbers(held)
    assert {tuple(numbers(split_recordings(recordings, 0.2, seed)[1])) for seed in range(20)} != {tuple(numbers(held))}
    assert [len(part.labels) for part in split_recordings(recordings, 0.0, seed=0)] == [10, 0]
    assert len(split_recordings(labelled([0], [0]), 0.9, seed=0)[0].labels) == 1  # something is left to learn from


def test_the_split_loses_no_class() -> None:
    recordings = labelled([0, 1], [0, 2], [0, 0], [0, 3])
    for seed in range(10):
        assert numbers(split_recordings(recordings, 0.5, seed)[1]) == [2]
    hopeless = labelled([0], [1], [2])
    assert len(split_recordings(hopeless, 0.5, seed=0)[1].labels) == 1


def test_unlabelled_recordings_are_not_held_out() -> None:
    recordings = labelled([-100, -100], [0, 0], [-100, -100], [0, 0])
    for seed in range(10):
        assert numbers(split_recordings(recordings, 0.3, seed)[1])[0] in (1, 3)


def test_a_single_labelled_recording_is_split_in_time() -> None:
    recordings = Labelled(
        [np.arange(10.0)[:, None], np.full((4, 1), 50.0)],
        [np.array([-100, 0, 0, 0, 1, -100, 1, 1, 1, 1]), np.full(4, -100)],
        [np.arange(10.0)[:, None], np.full((4, 1), 50.0)],
    )
    train, held = split_recordings(recordings, 0.25, seed=0)
    assert held.signals[0][:, 0].tolist() == [8.0, 9.0] and held.labels[0].tolist() == [1, 1]
    assert [len(array) for array in train.labels] == [8, 4]
    assert train.targets is not None and train.targets[0][-1, 0] == 7.0
    with rejects("y", got="the only labelled frame", expected="at least two", recording=0):
        split_recordings(labelled([-100, 1]), 0.2, seed=0)


def test_reading_keeps_what_was_given_and_changes_nothing() -> None:
    X, labels = [[[1, 2], [3, 4]]], [["a", ""]]
    data = read_labelled(X, labels, None)
    assert data.signals[0].shape == (2, 2) and data.labels[0].tolist() == ["a", ""] and data.targets is None
