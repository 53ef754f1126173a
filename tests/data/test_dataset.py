"""Recordings: labels to indices and back."""

import numpy as np

from segcrf.data import ClassCoder, read_labelled


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


def test_reading_keeps_what_was_given_and_changes_nothing() -> None:
    X, labels = [[[1, 2], [3, 4]]], [["a", ""]]
    data = read_labelled(X, labels, None)
    assert data.signals[0].shape == (2, 2) and data.labels[0].tolist() == ["a", ""] and data.targets is None
