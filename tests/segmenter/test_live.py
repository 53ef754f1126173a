"""Segmenter: a stream, streams of many, a saved state and an export give the labels of `predict`."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenters import SMALL, recordings
from torch import Tensor, nn

from segcrf import Segmenter
from segcrf.testing.errors import rejects
from segcrf.training import loop

Array = npt.NDArray[Any]


class Recurrent(nn.Module):
    """An encoder of a user: a cell in a loop."""

    causal = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(channels, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)[0]

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        frames = [x.new_empty(len(x), 0, 8)]
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            frames.append(state[:, None])
        return torch.cat(frames, 1), state


MODELS: dict[str, dict[str, Any]] = {
    "frame by frame": {"max_delay": 6, "decoding": "frame"},
    "at once": {"max_delay": 0},
    "sequence": {"max_delay": 6, "decoding": "sequence"},
    "sequence without a delay": {"decoding": "sequence"},
    "semi-markov": {"max_delay": 6, "structure": "semi-markov", "decoding": "frame"},
    "semi-markov sequence": {"structure": "semi-markov", "decoding": "sequence"},
    "gru and gaps": {"max_delay": 3, "decoding": "frame", "encoder": "gru", "layers": 2, "missing": "hold"},
    "tcn": {"max_delay": 3, "encoder": "tcn", "layers": 3},
    "unet": {"max_delay": 3, "encoder": "unet"},
    "attention": {"max_delay": 3, "encoder": "attention"},
    "conv-gru": {"max_delay": 3, "encoder": "conv-gru"},
    "own": {"max_delay": 4, "encoder": Recurrent, "window": 32},
    "switching": {"max_delay": 4, "decoding": "frame", "switching": "mean", "posterior": "filter"},
}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    model_of.cache_clear()


@functools.cache
def model_of(name: str) -> tuple[Segmenter, list[Array], list[Array], pd.DataFrame]:
    """A trained model, recordings, and its labels and bands of them."""
    X, y, targets = recordings()
    if MODELS[name].get("missing") == "hold":
        X = [np.where(np.random.default_rng(i).random(x.shape) < 0.2, np.nan, x) for i, x in enumerate(X)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MIN_BATCHES", 4)
        model = Segmenter(**SMALL | {"bidirectional": False, "sampling_rate": 20.0} | MODELS[name])
        model.fit(X, y, targets=targets)
    return model, X, model.predict(X), model.predict_segments(X)


def labels_of(tables: list[pd.DataFrame]) -> Array:
    table = pd.concat([each for each in tables if len(each)])
    frames = ((table["end"] - table["start"]) * 20.0).round().astype(int)
    return np.repeat(table["label"].to_numpy(), frames)


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_a_stream_gives_the_labels_of_predict(name: str, data: st.DataObject) -> None:
    model, X, expected, bands = model_of(name)
    which = data.draw(st.integers(0, len(X) - 1), "recording")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(X[which])), max_size=6), "cuts"))
    stream, tables = model.stream(recording=which), []
    for piece in np.split(X[which], cuts):
        kind = data.draw(st.sampled_from(["as it is", "saved", "pickled", "after a bad call"]), "between")
        if kind == "saved":
            state, stream = stream.state_dict(), model.stream(recording=which)
            stream.load_state_dict(state)
        elif kind == "pickled" and name != "own":
            stream = pickle.loads(pickle.dumps(stream))
        elif kind == "after a bad call":
            with rejects("X", got="inf in channel 1", frame=0):
                stream.push(np.array([[0.0, np.inf]]))
        tables.append(stream.push(piece))
    tables.append(stream.finish())
    assert np.array_equal(labels_of(tables), expected[which])
    if model.decoding_.max_delay is not None:
        mine = bands[bands["recording"] == which].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), mine, check_dtype=False)
        values = model.predict_targets([X[which]], **({"posterior": "filter"} if name == "switching" else {}))
        np.testing.assert_allclose(stream.targets, values[0][-1], rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_many_streams_give_the_labels_of_predict(name: str) -> None:
    model, X, expected, _ = model_of(name)
    rng = np.random.default_rng(0)
    streams, at = model.streams(len(X)), np.zeros(len(X), int)
    tables: dict[int, list[pd.DataFrame]] = {slot: [] for slot in range(len(X))}

    def sort(table: pd.DataFrame) -> None:
        for slot, part in table.groupby("recording"):
            tables[int(str(slot))].append(part)

    shortest = min(map(len, X)) // 3
    sort(streams.push(np.stack([x[:shortest] for x in X])))
    at += shortest
    while any(at < [len(x) for x in X]):
        sizes = rng.integers(0, 15, len(X))
        sort(streams.push({slot: X[slot][t : t + n] for slot, (t, n) in enumerate(zip(at, sizes, strict=True))}))
        at = np.minimum(at + sizes, [len(x) for x in X])
    for slot in range(len(X)):
        sort(streams.finish(slot))
        assert np.array_equal(labels_of(tables[slot]), expected[slot])


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_and_an_export_give_the_labels_of_predict(name: str, tmp_path: Path) -> None:
    model, X, expected, _ = model_of(name)
    model.save(tmp_path / "model")
    own = MODELS[name].get("encoder") if name == "own" else None
    loaded = Segmenter.load(tmp_path / "model", encoder=own)
    assert loaded.decoding_ == model.decoding_
    for got in (loaded.predict(X), [loaded.predict([x])[0] for x in X]):
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))
    if name == "sequence":
        with rejects("model", advice="by_frame=True"):
            model.export(tmp_path / "model.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("sequence", "own")])
def test_an_onnx_file_gives_the_labels_of_predict(name: str, tmp_path: Path) -> None:
    import onnxruntime

    model, X, expected, _ = model_of(name)
    session = onnxruntime.InferenceSession(model.export(tmp_path / "model.onnx"))
    lengths = np.array([len(x) for x in X])
    padded = np.zeros((len(X), lengths.max(), 2))
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    labels = session.run(["labels"], {"x": padded, "lengths": lengths})[0]
    for row, length, truth in zip(labels, lengths, expected, strict=True):
        assert np.array_equal(row[:length], truth)


def test_validation_chooses_the_rule_under_the_delay() -> None:
    model, *_ = model_of("at once")
    assert model.decoding_.by_frame and model.decoding_.max_delay == 0
    model, *_ = model_of("sequence")
    assert not model.decoding_.by_frame and model.decoding_.max_delay == 6


def test_a_running_stream_keeps_its_rule_and_its_model() -> None:
    model, X, expected, _ = model_of("frame by frame")
    model = pickle.loads(pickle.dumps(model))
    stream = model.stream()
    first = stream.push(X[0][:30])
    model.set_decoding(factor=0.01, max_delay=1)
    model.model_.class_head.weight.data.zero_()
    assert np.array_equal(labels_of([first, stream.push(X[0][30:]), stream.finish()]), expected[0])


def test_a_delay_excludes_what_looks_ahead() -> None:
    X, y, _ = recordings()
    for name, value in (("bidirectional", True), ("standardize", "recording"), ("missing", "interpolate")):
        options: dict[str, Any] = {"bidirectional": False, name: value}
        with rejects("max_delay", got=f"5 with {name}="):
            Segmenter(**SMALL, **options, max_delay=5).fit(X, y)
    with rejects("max_delay", got="0 with decoding="):
        Segmenter(**SMALL, bidirectional=False, max_delay=0, decoding="sequence").fit(X, y)
    with rejects("max_delay", got="-1"):
        Segmenter(**SMALL, bidirectional=False, max_delay=-1).fit(X, y)
