"""Diagnostics: each measure by hand, and each warning provoked."""

import math
import warnings

import pytest
import torch

from segcrf.losses import FixedWeights, JointObjective, RunningMeanWeights, UncertaintyWeights
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
from segcrf.structures import LinearChain
from segcrf.training import (
    TrainingWarning,
    Watch,
    decay_on_potentials,
    decoded_band_ratio,
    effective_weights,
    feature_gradients,
    parameter_groups,
)


def test_feature_gradients_are_norms_and_their_angle() -> None:
    features = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    losses = {"crf": (features**2).sum(), "regression": -(features[..., 0] * 3.0).sum()}
    row = feature_gradients(losses, features)
    assert row["gradient_crf"] == pytest.approx(math.sqrt(20.0))
    assert row["gradient_regression"] == 3.0
    assert row["cosine"] == pytest.approx(-2.0 / math.sqrt(20.0))
    assert features.grad is None
    alone = feature_gradients({"crf": losses["crf"], "other": torch.zeros((), requires_grad=True)}, features)
    assert (alone["gradient_other"], alone["cosine"]) == (0.0, 0.0)


def test_effective_weights_of_every_combiner() -> None:
    losses = {"crf": torch.tensor(0.5), "regression": torch.tensor(4.0)}
    assert effective_weights(FixedWeights(regression=10.0), losses) == {"weight_crf": 1.0, "weight_regression": 10.0}
    assert effective_weights(UncertaintyWeights(0.5), losses)["weight_regression"] == pytest.approx(2.0)
    running = effective_weights(RunningMeanWeights(), losses)
    assert running == pytest.approx({"weight_crf": 2.0, "weight_regression": 0.25})
    assert effective_weights(lambda some: some["crf"] * 3.0, losses) == {"weight_crf": 3.0, "weight_regression": 0.0}
    with torch.no_grad():
        assert effective_weights(FixedWeights(), losses)["weight_crf"] == 1.0


def test_bands_are_counted_where_the_truth_is_known() -> None:
    flickering = torch.tensor([[0, 1, 0, 1, 0, 0]])
    emissions = 5.0 * torch.nn.functional.one_hot(flickering, 2).float()
    chain = LinearChain(emissions, torch.zeros(2, 2))
    assert decoded_band_ratio(chain, torch.tensor([[0, 0, 0, 1, 1, 1]])) == 5 / 2
    assert decoded_band_ratio(chain, torch.tensor([[0, 0, -100, -100, 0, 0]])) == 2 / 1
    assert decoded_band_ratio(chain, flickering) == 1.0


def test_decay_on_potentials_is_counted_and_reported_once() -> None:
    model, objective = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3), 1), JointObjective()
    kept = [*model.crf.parameters(), *objective.parameters()]
    careless = torch.optim.AdamW([*model.parameters(), *objective.parameters()], weight_decay=1e-2)
    assert decay_on_potentials(careless.param_groups, kept) == len(kept) == 4
    assert decay_on_potentials(parameter_groups(model, objective, 1e-2, 1e-2), kept) == 0
    watch = Watch(3)
    with pytest.warns(TrainingWarning, match=r"weight decay acts on 4 parameters .*parameter_groups"):
        watch.check_decay(4)
    watch.check_decay(0)
    assert len(watch.notes) == 1


def test_a_rising_loss_is_reported_once_and_a_falling_or_noisy_one_never() -> None:
    watch, generator = Watch(3), torch.Generator().manual_seed(0)
    noise = torch.randn(3000, generator=generator).tolist()
    for step in range(3000):
        watch.check_losses({"crf": 1.0 + 0.2 * noise[step], "other": 5.0 * math.exp(-step / 300) + 0.1 * noise[step]})
    assert watch.notes == []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1500):
            watch.check_losses({"other": 0.01 * step})
    assert len(caught) == 1 and caught[0].category is TrainingWarning
    assert "the loss 'other' has been rising for 200 steps" in str(caught[0].message)


def test_a_negative_density_is_explained_not_warned_about() -> None:
    watch = Watch(3)
    for _ in range(3):
        watch.check_losses({"crf": 0.1, "regression": -0.7})
    (note,) = watch.notes
    assert "that is fine" in note and "val_mse" in note


def test_a_likelihood_summed_over_time_is_reported() -> None:
    watch = Watch(3)
    watch.check_scale(math.log(3.0))
    assert watch.notes == []
    with pytest.warns(TrainingWarning, match="summed over the frames of a recording"):
        watch.check_scale(200 * math.log(3.0))
