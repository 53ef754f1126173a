"""Recordings as other packages hold them, given to fit and predict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from segcrf import Segmenter
from segcrf.data import check_signals, read_labelled
from segcrf.testing.errors import rejects

N, T, F = 3, 50, 2


def recordings() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    y = [np.repeat(rng.permutation(5) % 2, 10) for _ in range(N)]
    return [np.stack([labels, -labels], 1) + 0.1 * rng.normal(size=(T, F)) for labels in y], y


def as_multiindex(parts: list[np.ndarray]) -> pd.DataFrame:
    frames = [pd.DataFrame(part, columns=["a", "b"]) for part in parts]
    return pd.concat(frames, keys=[f"r{i}" for i in range(len(parts))])


def shapes(kind: str) -> object:
    X, _ = recordings()
    if kind == "pandas":
        return [pd.DataFrame(x) for x in X]
    if kind == "polars":
        polars = pytest.importorskip("polars")
        return [polars.DataFrame(x) for x in X]
    if kind == "arrow":
        import pyarrow

        return [pyarrow.table({"a": x[:, 0], "b": x[:, 1]}) for x in X]
    if kind == "xarray":
        xarray = pytest.importorskip("xarray")
        return [xarray.DataArray(x.T, dims=("channel", "time")) for x in X]
    if kind == "xarray in one":
        xarray = pytest.importorskip("xarray")
        return xarray.DataArray(np.stack(X).transpose(1, 0, 2), dims=("time", "trial", "channel")).transpose(
            "trial", "channel", "time"
        )
    if kind == "pd-multiindex":
        return as_multiindex(X)
    return {"aeon": np.stack(X).transpose(0, 2, 1), "np-list": [x.T for x in X], "array": np.stack(X), "list": X}[kind]


KINDS = ["pandas", "polars", "arrow", "xarray", "xarray in one", "pd-multiindex", "aeon", "np-list", "array", "list"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_the_same_arrays(kind: str):
    X, y = recordings()
    data = read_labelled(shapes(kind), y, None)
    for found, expected in zip(data.signals, X, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(check_signals(shapes(kind), F), X, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_kind_is_predicted_alike():
    X, y = recordings()
    model = Segmenter(hidden=4, max_epochs=2, window=25, progress=False).fit(shapes("pd-multiindex"), y)
    expected = model.predict(X)
    for kind in KINDS:
        for found, labels in zip(model.predict(shapes(kind)), expected, strict=True):
            np.testing.assert_array_equal(found, labels)


def test_labels_of_the_same_index():
    X, y = recordings()
    table = as_multiindex(X)
    labels = pd.Series(np.concatenate(y), index=table.index)
    assert [part.tolist() for part in read_labelled(table, labels, None).labels] == [part.tolist() for part in y]


def test_rows_of_a_recording_need_not_be_neighbours():
    X, y = recordings()
    table = as_multiindex(X)
    mixed = table.iloc[np.argsort(np.arange(N * T) % T, kind="stable")]
    for found, expected in zip(read_labelled(mixed, y, None).signals, X, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_arrays_and_tables_of_one_type_are_not_copied():
    X, y = recordings()
    assert all(np.shares_memory(a, b) for a, b in zip(read_labelled(X, y, None).signals, X, strict=True))
    turned = np.stack(X).transpose(0, 2, 1).copy()
    assert all(np.shares_memory(a, turned) for a in read_labelled(turned, y, None).signals)


def test_frames_first_wins_and_doubt_is_an_error():
    square = np.random.default_rng(0).normal(size=(2, 4, 4))
    np.testing.assert_array_equal(read_labelled(square, np.zeros((2, 4), dtype=int), None).signals, square)
    with rejects("X", got="7 channels", expected="3, as in fit"):
        check_signals([np.zeros((3, 7))], 3)  # three frames of seven channels are no recording of three
    with rejects("y", got="9 frames", expected="an array of 5 frames"):
        read_labelled([np.zeros((5, 3))], [np.zeros(9, dtype=int)], None)
