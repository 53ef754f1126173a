"""How a structure becomes labels, and how much its emissions count."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch
from torch import nn

from segcrf.chain import LinearChain
from segcrf.crf import LinearChainCRF
from segcrf.decoding import DECODINGS, SHARPNESS, choose_sharpness, decode
from segcrf.encoders import Encoder
from segcrf.model import JointModel
from segcrf.windows import Recording


class Pass(Encoder):
    """Features are the signal."""

    def __init__(self, classes):
        super().__init__()
        self.in_features = self.out_features = classes
        self.causal = True

    def forward(self, x, lengths=None):
        return x

    def step(self, x, state=None):
        return x, None

    def chunks(self, x, size):
        yield from x.split(size, dim=1)


def model_of(factor, classes=2, stay=3.0):
    """Emissions are the signal times a factor; a switch costs ``stay``."""
    crf = LinearChainCRF(classes)
    for score in crf.parameters():
        nn.init.zeros_(score)
    crf.transitions.data = stay * torch.eye(classes)
    model = JointModel(Pass(classes), crf).eval()
    model.class_head.weight.data = factor * torch.eye(classes)
    nn.init.zeros_(model.class_head.bias)
    return model


def flickering(seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(40) % 2, rng.integers(4, 9, 40))
    signal = np.eye(2)[labels] + noise * rng.normal(size=(len(labels), 2))
    return Recording(torch.as_tensor(signal).float(), torch.as_tensor(labels), None)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_labels_are_those_of_enumeration(decoding, sharpness):
    model = model_of(1.0, classes=3, stay=0.8)
    emissions = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(3))
    labels = decode(model, model.distribution(emissions), decoding, sharpness).numpy()
    zeros = np.zeros(3)
    for row, scores in zip(labels, sharpness * emissions.double().numpy(), strict=True):
        outcomes = oracle.chain(scores, 0.8 * np.eye(3), zeros, zeros)
        best = outcomes.labels[outcomes.scores.argmax()]
        expected = outcomes.label_marginals.argmax(1) if decoding == "marginal" else best
        assert row.tolist() == expected.tolist()


@pytest.mark.parametrize("decoding", DECODINGS)
def test_nothing_is_said_beyond_a_recording(decoding):
    model = model_of(1.0)
    distribution = model.distribution(torch.zeros(2, 6, 2), torch.tensor([6, 4]))
    labels = decode(model, distribution, decoding, 2.0)
    assert labels[1].tolist()[4:] == [-100, -100] and (labels[0] >= 0).all()


def test_a_band_that_is_certain_but_for_its_place_is_found_by_marginals_alone():
    # Nine places for a switch to class 1 and nine for one back, all alike; that there is a band is likelier than not.
    emissions = torch.zeros(1, 30, 2)
    emissions[0, :6, 0] = emissions[0, 24:, 0] = 9.0
    emissions[0, 13:17, 1] = 1.6
    distribution = LinearChain(emissions, 4.6 * torch.eye(2))
    model = model_of(1.0, stay=4.6)
    assert float(distribution.marginals.labels[0, 15, 1]) > 0.5
    assert decode(model, distribution, "sequence")[0].sum() == 0
    found = decode(model, distribution, "marginal")[0]
    assert found[13:17].tolist() == [1, 1, 1, 1] and found.sum() < 24


def test_an_unknown_decoding_is_refused():
    model = model_of(1.0)
    with pytest.raises(ValueError, match="decoding"):
        decode(model, model.distribution(torch.zeros(1, 3, 2)), "best")


def test_timid_emissions_are_sharpened_and_loud_ones_smoothed():
    recording = flickering(noise=0.8)
    fitting = 1 / 0.8**2  # the log-likelihood ratio of this noise
    timid, loud = (choose_sharpness(model_of(factor * fitting), [recording]) for factor in (0.2, 8.0))
    assert timid > 1 > loud


@pytest.mark.parametrize("decoding", DECODINGS)
def test_the_choice_is_the_best_on_these_recordings(decoding):
    from segcrf.metrics import edit_score, frame_accuracy, segment_f1

    model, recording = model_of(1.0), flickering()
    distribution = model(recording.signal[None]).distribution
    quality = {}
    for sharpness in SHARPNESS:
        labels = decode(model, distribution, decoding, sharpness).numpy()
        pair = [labels[0]], [recording.labels.numpy()]
        quality[sharpness] = frame_accuracy(*pair) + edit_score(*pair) + segment_f1(*pair)
    assert quality[choose_sharpness(model, [recording], decoding)] == max(quality.values())


def test_where_there_is_too_little_to_choose_by_nothing_is_changed():
    timid, recording = model_of(0.7), flickering()
    unlabelled = Recording(recording.signal, torch.full_like(recording.labels, -100), None)
    few = recording.cut(0, 60)
    assert len(np.flatnonzero(np.diff(few.labels))) < 19
    for recordings in ([], [unlabelled], [few], [few, unlabelled]):
        assert choose_sharpness(timid, recordings) == 1.0
    assert choose_sharpness(timid, [few, recording, unlabelled]) > 1.0


def test_of_equally_good_ones_the_trained_one_is_kept():
    labels = flickering().labels
    perfect = Recording(9.0 * torch.eye(2)[labels], labels, None)
    assert choose_sharpness(model_of(1.0), [perfect]) == 1.0


def test_recordings_of_different_lengths_are_told_apart():
    recordings = [flickering(0), flickering(1).cut(0, 31), flickering(2).cut(0, 77)]
    assert choose_sharpness(model_of(0.7), recordings) > 1.0
