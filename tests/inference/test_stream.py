"""Streams: against the mode and the filter of whole recordings, however these are cut into calls."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segcrf import InputTypeError, LinearChain, LinearChainCRF, Segmenter, Segments, SemiMarkovCRF
from segcrf.data import switching_sinusoid
from segcrf.inference import SignalStream, SignalStreams, Stream
from segcrf.nn import DecodingRule, GRUEncoder, JointModel, LSTMEncoder, Preparation, Standardizer, TCNEncoder
from segcrf.testing.cases import Case, chains
from segcrf.testing.errors import rejects


def layer_of(case: Case) -> Any:
    shared = {name: values for name, values in case.potentials.items() if name != "emissions"}
    return lambda emissions: LinearChain(emissions, **shared, validate_args=False)


def labels_of(bands: list[Segments], frames: int) -> Tensor:
    """Labels (T,) of the bands of all calls; every frame must be in one, in order."""
    joined = Segments.concatenate(bands)
    assert joined.start.tolist() == [0, *joined.end[:-1].tolist()] and joined.end[-1] == frames
    assert (joined.label[1:] != joined.label[:-1]).all(), "bands of one class touch"
    return torch.from_numpy(joined.to_labels([frames])[0])


def pushed(stream: Any, values: Tensor, cuts: list[int]) -> list[Segments]:
    pieces = torch.tensor_split(values, sorted(cuts))
    return [*(stream.push(piece) for piece in pieces), stream.finish()]


@given(chains(), st.lists(st.integers(0, 7), max_size=4))
def test_bands_are_those_of_the_mode(case: Case, cuts: list[int]) -> None:
    for row, length in enumerate(case.lengths.tolist()):
        emissions = case.emissions[row, :length]
        whole = layer_of(case)(emissions[None])
        best = whole.best.score
        labels = labels_of(pushed(Stream(layer_of(case)), emissions, cuts), length)
        got = whole.log_prob(labels[None]) + whole.log_partition
        torch.testing.assert_close(got, best, rtol=1e-6, atol=1e-6)  # where several are best, either will do


@given(chains())
def test_filtered_probabilities_are_those_of_the_structure(case: Case) -> None:
    length = int(case.lengths[0])
    emissions = case.emissions[0, :length]
    expected = layer_of(case)(emissions[None]).double().filtered[0]
    stream = Stream(layer_of(case))
    for t in range(length):
        stream.push(emissions[t : t + 1])
        torch.testing.assert_close(stream.filtered, expected[t], rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def recording() -> tuple[LinearChain, Tensor]:
    """3,000 frames that switch now and then, and are ambiguous in places."""
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 4, 60), rng.integers(10, 90, 60))[:3000]
    scores = rng.normal(size=(len(truth), 4)) + 1.5 * np.eye(4)[truth]
    emissions = torch.from_numpy(scores)
    return LinearChain(emissions[None], 3 * torch.eye(4, dtype=torch.float64)), emissions


def test_a_long_recording_needs_little_memory(recording: tuple[LinearChain, Tensor]) -> None:
    chain, emissions = recording
    stream = Stream(lambda e: LinearChain(e, chain.transitions))
    bands, waiting, current = [], [], []
    for piece in emissions.split(7):
        bands.append(stream.push(piece))
        waiting.append(stream.pending)
        current.append(stream.current[0] == chain.mode[0, stream.frames - 1])
    assert stream.frames == len(emissions)
    assert torch.equal(labels_of([*bands, stream.finish()], len(emissions)), chain.mode[0])
    assert max(waiting) < 100, "frames wait that nothing can change any more"
    assert np.mean(current) > 0.9, "the guess at the running band is no good"


@pytest.mark.parametrize("delay", [1, 10, 1000])
def test_no_label_waits_longer_than_it_may(recording: tuple[LinearChain, Tensor], delay: int) -> None:
    chain, emissions = recording
    stream = Stream(lambda e: LinearChain(e, chain.transitions), max_delay=delay)
    bands = []
    for piece in emissions.split(3):
        bands.append(stream.push(piece))
        assert stream.pending <= delay
    right = (labels_of([*bands, stream.finish()], len(emissions)) == chain.mode[0]).double().mean()
    assert right == 1.0 if delay == 1000 else 0.8 < right < 1.0


def test_the_running_band_starts_where_it_says(recording: tuple[LinearChain, Tensor]) -> None:
    chain, emissions = recording
    stream = Stream(lambda e: LinearChain(e, chain.transitions))
    for t in range(200):
        stream.push(emissions[t : t + 1])
        last = Segments.from_labels(LinearChain(emissions[None, : t + 1], chain.transitions).mode)
        assert stream.current == (last.label[-1], last.start[-1])


@pytest.mark.parametrize(
    "encoder", [LSTMEncoder(2, 4, layers=2), GRUEncoder(2, 4), TCNEncoder(2, 4, layers=3, causal=True)]
)
def test_a_signal_is_encoded_as_it_comes_in(encoder: Any) -> None:
    torch.manual_seed(0)
    model = live_model(encoder, LinearChainCRF(3), DecodingRule())
    signal = 10 * torch.randn(60, 2)
    with torch.no_grad():
        expected = model(signal[None]).dist.mode[0]
    assert torch.equal(labels_of(pushed(SignalStream(model), signal, [1, 1, 20, 37]), 60), expected)


@pytest.mark.parametrize("prepared", [True, False])
def test_frames_of_another_width_never_reach_a_kernel(prepared: bool) -> None:
    model = live_model(LSTMEncoder(2, 4), LinearChainCRF(3), DecodingRule())
    if not prepared:
        model.preparation = None
    stream = SignalStream(model)
    for width in (1, 3):
        with rejects("signal", got=f"{width} channels", expected="2, as"):
            stream.push(torch.zeros(5, width))
    assert sum(int(bands.durations.sum()) for bands in pushed(stream, torch.zeros(5, 2), [5])) == 5


def test_a_rejected_call_changes_nothing() -> None:
    emissions = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    layer = LinearChainCRF(3)
    stream = Stream(layer)
    bands = [stream.push(emissions[:4])]
    spoilt = emissions[4:].clone()
    spoilt[2, 1] = torch.nan
    with rejects("emissions", frame=6, got="nan for class 1", expected="a finite score"):
        stream.push(spoilt)
    spoilt[2] = -torch.inf
    with rejects("emissions", frame=6, got="no allowed labelling"):
        stream.push(spoilt)
    with rejects("emissions", got=r"shape \(6, 2\)", expected=r"shape \(N, 3\)"):
        stream.push(spoilt[:, :2])
    assert stream.frames == 4
    bands += [stream.push(emissions[4:]), stream.finish()]
    expected = Stream(layer)
    assert torch.equal(labels_of(bands, 10), labels_of([expected.push(emissions), expected.finish()], 10))


def test_misuse_says_what_to_do() -> None:
    stream = Stream(LinearChainCRF(2))
    for ask in (lambda: stream.current, lambda: stream.filtered, stream.finish):
        with pytest.raises(ValueError, match="has seen no frame yet; push"):
            ask()
    stream.push(torch.zeros(3, 2))
    assert len(stream.push(torch.zeros(0, 2))) == 0
    stream.finish()
    for again in (stream.finish, lambda: stream.push(torch.zeros(1, 2))):
        with pytest.raises(ValueError, match="is finished; begin another one"):
            again()
    with rejects("layer", got="int", advice="decode pieces", kind=InputTypeError):
        Stream(lambda _: 3).push(torch.zeros(1, 2))
    with rejects("factor", got="0"):
        Stream(LinearChainCRF(2), factor=0.0)
    varying = LinearChain(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2))
    with rejects("layer", got="LinearChain with transitions of every step", kind=InputTypeError):
        Stream(lambda _: varying).push(torch.zeros(2, 2))
    with rejects("max_delay", got="0"):
        Stream(LinearChainCRF(2), max_delay=0)
    with rejects("emissions", expected="floating-point", kind=InputTypeError):
        Stream(LinearChainCRF(2)).push(torch.zeros(1, 2, dtype=torch.long))
    with rejects("emissions", got="list", advice=r"torch\.as_tensor", kind=InputTypeError):
        Stream(LinearChainCRF(2)).push([[0.0, 1.0]])  # type: ignore[arg-type]


def test_a_stream_shows_where_it_is() -> None:
    stream = Stream(lambda emissions: LinearChain(emissions, 2 * torch.eye(2)), max_delay=5)
    assert repr(stream) == "Stream(no frames, max_delay=5)"
    stream.push(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]))
    assert repr(stream) == "Stream(2 classes, 3 frames, 1 undecided, max_delay=5; class 1 since frame 2)"
    semi = Stream(SemiMarkovCRF(2, 3), factor=2.0, by_frame=True, max_delay=0)
    assert repr(semi) == "Stream(no frames, factor=2, by_frame, max_delay=0)"
    live = SignalStream(
        live_model(LSTMEncoder(1, 4), SemiMarkovCRF(2, 3), DecodingRule(2.0, by_frame=True, max_delay=0))
    )
    assert repr(live) == f"SignalStream(LSTMEncoder, {semi!r})"
    stream.finish()
    assert repr(stream) == "Stream(2 classes, 3 frames, 0 undecided, max_delay=5; finished)"


# ------------------------------------------------------------------------------------------ confidence, state, slots
def live_model(encoder: Any, layer: Any, rule: DecodingRule) -> JointModel:
    torch.manual_seed(0)
    preparation = Preparation(encoder.in_features, 1)
    preparation.channels = Standardizer(
        torch.full((encoder.in_features,), 3.0), torch.full((encoder.in_features,), 0.5)
    )
    model = JointModel(encoder, layer, 1, preparation=preparation).eval()
    model.class_head.weight.data *= 8.0
    model.set_decoding_rule(rule)
    return model


def some_layer(kind: str) -> Any:
    torch.manual_seed(1)
    if kind == "chain":
        return LinearChainCRF(3, emission_scale=True)
    return SemiMarkovCRF(3, 6, min_duration=2, durations="geometric", self_transitions=True, censored=True)


def some_scores(frames: int = 120, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 3, frames), 7)[:frames]
    return torch.from_numpy(rng.normal(size=(frames, 3)) + 1.5 * np.eye(3)[truth]).float()


RULES: list[dict[str, Any]] = [
    {},
    {"max_delay": 5, "factor": 1.7},
    {"by_frame": True, "max_delay": 0},
    {"by_frame": True, "max_delay": 9, "factor": 0.6},
    {"by_frame": True},
]


def rows_of(bands: list[Segments]) -> list[tuple[Any, ...]]:
    joined = Segments.concatenate(bands)
    assert joined.score is not None
    return list(zip(joined.start, joined.end, joined.label, joined.score, strict=True))


@pytest.mark.parametrize("kind", ["chain", "semi-markov"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_bands_and_confidences_do_not_depend_on_how_the_frames_are_cut(kind: str, rule: dict[str, Any]) -> None:
    layer, scores = some_layer(kind), some_scores()
    at_once = rows_of(pushed(Stream(layer, **rule), scores, []))
    assert rows_of(pushed(Stream(layer, **rule), scores, list(range(1, 120)))) == at_once
    assert rows_of(pushed(Stream(layer, **rule), scores, [0, 3, 3, 50, 51, 90])) == at_once
    with torch.no_grad():
        dist = layer(scores[None]).scaled(emissions=rule.get("factor", 1.0))
    if rule == {"by_frame": True}:  # all is decided at the end
        expected = Segments.from_labels(dist.posterior_mode)
        assert [row[:3] for row in at_once] == list(zip(expected.start, expected.end, expected.label, strict=True))
        confidence = dist.double().mean_marginal(expected).detach()
        np.testing.assert_allclose([row[3] for row in at_once], confidence.numpy(), rtol=1e-9)
    if rule == {}:
        best = dist.best
        expected = Segments.from_labels(best.labels, best.starts)
        assert [row[:3] for row in at_once] == list(zip(expected.start, expected.end, expected.label, strict=True))


@pytest.mark.parametrize("kind", ["chain", "semi-markov"])
@pytest.mark.parametrize("encoder", [LSTMEncoder(2, 4, layers=2), TCNEncoder(2, 4, layers=3, causal=True)])
def test_a_saved_stream_goes_on_as_if_it_had_not_stopped(kind: str, encoder: Any) -> None:
    torch.manual_seed(0)
    model = live_model(encoder, some_layer(kind), DecodingRule(max_delay=20))
    signal = 5 * torch.randn(80, 2)

    def fresh() -> SignalStream:
        return SignalStream(model)

    expected = rows_of(pushed(fresh(), signal, list(range(10, 80, 10))))
    stream = fresh()
    bands = []
    for turn, piece in enumerate(signal.split(10)):
        file = io.BytesIO()
        torch.save(stream.state_dict(), file)
        file.seek(0)
        stream = pickle.loads(pickle.dumps(stream)) if turn % 3 == 0 else copy.deepcopy(stream)
        if turn % 3 == 1:
            stream = fresh()
            stream.load_state_dict(torch.load(file, weights_only=True))
        bands.append(stream.push(piece))
    assert rows_of([*bands, stream.finish()]) == expected
    stream.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match="is finished"):
        stream.finish()


def test_the_next_class_is_predicted() -> None:
    layer = some_layer("semi-markov")
    stream = Stream(layer)
    scores = some_scores(20)
    stream.push(scores)
    after = layer(torch.cat([scores, torch.zeros(1, 3)])[None]).double().filtered[0, -1]
    torch.testing.assert_close(stream.following, after, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["chain", "semi-markov"])
def test_slots_begin_and_end_at_their_own_times(kind: str) -> None:
    torch.manual_seed(0)
    model = live_model(LSTMEncoder(2, 4), some_layer(kind), DecodingRule(3.0, by_frame=True, max_delay=4))
    streams = SignalStreams(model, 4)
    assert repr(streams) == "SignalStreams(LSTMEncoder, n=4, no frames)" and streams.decoder is None
    alone: dict[int, SignalStream] = {}
    got: dict[int, list[Any]] = {slot: [] for slot in range(4)}
    expected: dict[int, list[Any]] = {slot: [] for slot in range(4)}
    rng = np.random.default_rng(0)

    def sort(bands: Segments) -> None:
        for slot in range(4):
            got[slot] += rows_of([bands.select(bands.recording == slot)])

    for turn in range(40):
        pieces = {slot: 5 * torch.randn(rng.integers(0, 6), 2) for slot in range(4) if rng.random() < 0.7}
        listed = [pieces.get(slot) for slot in range(4)]
        sort(streams.push(pieces if turn % 2 else listed))
        for slot, piece in pieces.items():
            own = alone.setdefault(slot, SignalStream(model))
            expected[slot] += rows_of([own.push(piece)])
            if streams.frames[slot]:
                assert streams.targets(slot) == own.targets
        slot = int(rng.integers(4))
        if turn % 5 == 4 and streams.frames[slot]:
            sort(streams.finish(slot))
            expected[slot] += rows_of([alone.pop(slot).finish()])
        if turn == 20:
            other = SignalStreams(model, 4)
            other.load_state_dict(pickle.loads(pickle.dumps(streams.state_dict())))
            streams = other
        assert got == expected
    assert "OnlineDecoder" in repr(streams)


def test_a_wrong_slot_changes_nothing() -> None:
    model = live_model(LSTMEncoder(1, 4), LinearChainCRF(2), DecodingRule())
    streams = SignalStreams(model, 2)
    with rejects("slot", got="2", expected="0 to 1"):
        streams.push({2: torch.zeros(1, 1)})
    with rejects("signals", got="1 entries", expected="2"):
        streams.push([None])
    with rejects("signals", got="3 entries", expected="2"):
        streams.push(torch.zeros(3, 1, 1))
    with rejects("signals", got="Tensor", kind=InputTypeError):
        streams.push(torch.zeros(2, 1))
    with rejects("slot", got="slot 1, which has no frame"):
        streams.finish(1)
    streams.push({0: torch.zeros(3, 1)})
    with rejects("emissions", recording=1, frame=0, got="nan"):
        streams.push({0: torch.zeros(3, 1), 1: torch.full((1, 1), torch.nan)})
    assert streams.frames.tolist() == [3, 0]
    with rejects("state", got="2 slots", expected="3"):
        SignalStreams(model, 3).load_state_dict(streams.state_dict())


# ------------------------------------------------------------------------------------------------------- Segmenter
@pytest.fixture(scope="module")
def fitted() -> tuple[Segmenter, list[Any]]:
    x, _, k = switching_sinusoid(num_recordings=4, length=400, sampling_rate=100.0, seed=0)
    options: dict[str, Any] = {"hidden": 8, "max_epochs": 2, "sampling_rate": 100.0, "progress": False}
    segmenter = Segmenter(bidirectional=False, standardize="dataset", **options)
    return segmenter.fit(list(x), [np.array(["slow", "mid", "fast"])[row] for row in k]), list(x)


def test_a_segmenter_decodes_what_is_still_being_measured(fitted: tuple[Segmenter, list[Any]]) -> None:
    segmenter, signals = fitted
    segmenter.set_decoding(by_frame=False)  # by frame needs a largest delay
    stream = segmenter.stream(recording="live")
    tables = [stream.push(piece) for piece in np.array_split(signals[0], 9)]
    label, since = stream.decoder.current
    got = pd.concat([*tables, stream.finish()], ignore_index=True)
    assert got["confidence"].between(0.0, 1.0).all()
    expected = segmenter.predict_segments([signals[0]], ["live"])
    drop = {"columns": "confidence"}  # of the whole recording there, of the frames so far here
    pd.testing.assert_frame_equal(got.drop(**drop), expected.drop(**drop), check_dtype=False)
    assert segmenter.classes_[label] == got["label"].iloc[-1] and since / 100.0 == got["start"].iloc[-1]


def test_an_empty_table_is_changed_without_effect_on_later_ones(fitted: tuple[Segmenter, list[Any]]) -> None:
    segmenter, signals = fitted
    stream = segmenter.set_decoding(by_frame=False).stream()
    first = stream.push(signals[0][:0])
    first["note"] = "mine"
    assert list(stream.push(signals[0][:0])) == ["recording", "start", "end", "label", "confidence"]


def test_the_order_in_which_slots_are_given_changes_nothing() -> None:
    model = live_model(LSTMEncoder(2, 4), some_layer("chain"), DecodingRule())
    signals = {slot: torch.randn(50, 2, generator=torch.Generator().manual_seed(slot)) for slot in range(3)}
    states = []
    for order in ((0, 1, 2), (2, 0, 1)):
        streams = SignalStreams(model, 3)
        streams.push({slot: signals[slot] for slot in order})
        assert streams.decoder is not None
        states.append(streams.decoder.filtered)
    np.testing.assert_array_equal(*states)


def test_a_segmenter_that_needs_later_frames_says_what_to_fit(fitted: tuple[Segmenter, list[Any]]) -> None:
    segmenter, signals = fitted
    with pytest.raises(ValueError, match="learned nothing yet"):
        Segmenter().stream()
    live = copy.deepcopy(segmenter).set_decoding(by_frame=False)
    with pytest.raises(ValueError, match=r"2 channels.*1"):
        live.stream().push(np.zeros((5, 2)))
    with rejects("max_delay", got="None", advice=r"set_decoding\(max_delay=50\)"):
        copy.deepcopy(segmenter).set_decoding(by_frame=True).stream()
    both = Segmenter(hidden=4, max_epochs=1, progress=False).fit(signals, [np.arange(len(x)) % 2 for x in signals])
    with rejects("bidirectional"):
        both.stream()
