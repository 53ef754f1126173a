"""Training: which parameters decay, how fast each learns, and what happens when something goes wrong."""

import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from segcrf.data import Recording, collate
from segcrf.losses import FixedWeights, JointObjective, Losses, SwitchingObjective, UncertaintyWeights
from segcrf.nn import DecodingRule, JointModel, LinearChainCRF, LSTMEncoder, ModelOutput, SwitchingModel
from segcrf.structures import LinearChain
from segcrf.testing.errors import rejects
from segcrf.training import (
    Recipe,
    Result,
    TrainingWarning,
    candidate_rules,
    find_learning_rate,
    optimizer,
    parameter_groups,
    selection,
    train,
)
from segcrf.training.validation import ValidationScores

RECIPE: dict[str, Any] = {
    "max_epochs": 3, "batch_size": 4, "window": 20, "learning_rate": 1e-2, "weight_decay": 1e-2, "patience": 5,
    "clip": 1.0, "noise": 0.1, "seed": 0, "device": "cpu", "directory": None, "progress": False, "fingerprint": {},
}  # fmt: skip


def build() -> tuple[JointModel, JointObjective]:
    torch.manual_seed(0)
    return JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3), num_targets=1), JointObjective()


def recordings(count: int) -> list[Recording]:
    generator = torch.Generator().manual_seed(count)
    labels = [torch.randint(3, (5,), generator=generator).repeat_interleave(10) for _ in range(count)]
    return [Recording(torch.eye(3)[k][:, :2], k, k[:, None].float()) for k in labels]


def run(combine: Callable[[Losses], torch.Tensor] | None = None, **recipe: Any) -> Result:
    model, objective = build()
    torch.set_num_threads(1)
    return train(model, objective, combine or FixedWeights(), Recipe(**RECIPE | recipe), (recordings(4), recordings(2)))


def test_every_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    model, objective = build()
    groups = parameter_groups(model, objective, 1e-2, 0.1)
    everything = [*model.parameters(), *objective.parameters()]
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, everything))
    options = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        learning_rate, decay = options[id(parameter)]
        assert decay == (0.1 if "weight" in name else 0.0), name
        assert (learning_rate > 1e-2) == name.startswith("crf."), name
    (sigma,) = objective.parameters()
    assert options[id(sigma)] == (optimizer.SIGMA_FACTOR * 1e-2, 0.0)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    result = run(max_epochs=6)
    learning_rates = [row["learning_rate"] for row in result.history]
    assert learning_rates == sorted(learning_rates, reverse=True)
    assert learning_rates[-1] < 1e-4 < learning_rates[0] <= 1e-2


def test_any_callable_combines_and_the_losses_are_recorded() -> None:
    result = run(lambda losses: 2.0 * losses["crf"])
    for row in result.history:
        assert row["loss"] == pytest.approx(2.0 * row["crf"], rel=1e-5)
        assert row["val_loss"] == pytest.approx(2.0 * row["val_crf"], rel=1e-5)
    assert "regression" in result.history[0]


def test_a_loss_that_is_not_finite_is_reported_with_a_next_step() -> None:
    with rejects("the training loss", got="nan in epoch 0, batch 0", advice="lower learning_rate"):
        run(lambda losses: losses["crf"] * torch.nan)


def test_an_interrupt_is_an_interrupt_and_keys_and_logs_work_afterwards() -> None:
    handler, level = signal.getsignal(signal.SIGINT), logging.getLogger("lightning.pytorch").level

    def interrupt(losses: Losses) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert logging.getLogger("lightning.pytorch").level == level


def test_the_checkpoint_holds_nothing_but_tensors_and_plain_values(tmp_path: Any) -> None:
    run(directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["epoch"] == 2


def test_history_holds_gradients_weights_bands_and_clipping() -> None:
    result = run(lambda losses: losses["crf"] + 7.0 * losses["regression"], clip=1e-3)
    for row in result.history:
        assert (row["weight_crf"], row["weight_regression"]) == (1.0, 7.0)
        assert row["gradient_crf"] > 0 and row["gradient_regression"] > 0 and -1 <= row["cosine"] <= 1
        assert row["clipped"] == 1.0 and row["gradient"] > 1e-3
        assert row["bands"] > 0 and row["sigma"] > 0
    assert all(row["clipped"] == 0.0 for row in run(clip=0.0).history)


def test_combiners_with_parameters_are_trained_and_watched() -> None:
    combine = UncertaintyWeights("learned")
    model, _ = build()
    objective = JointObjective("mse")
    train(model, objective, combine, Recipe(**RECIPE), (recordings(4), recordings(2)))
    assert float(combine.deviation.log_sigma.detach()) != 0.0


def test_what_is_not_finite_is_named_with_recording_frames_and_batch() -> None:
    data = [recording._replace(name=f"recording {7 + i}") for i, recording in enumerate(recordings(4))]
    bad = data[2].targets
    assert bad is not None
    bad[:] = torch.inf
    model, objective = build()
    where = r"epoch 0, batch 0 \(found in regression; first in recording 9, frames \d+-\d+"
    with rejects("the training loss", got=where):
        train(model, objective, FixedWeights(), Recipe(**RECIPE | {"batch_size": 64}), (data, []))


def test_the_factor_with_the_best_bands_is_chosen_and_kept_with_the_best_epoch() -> None:
    # Band of one frame in noise: the layer, sure of long bands, finds them only where the signal counts for more.
    labels = torch.zeros(1, 30, dtype=torch.long)
    labels[0, 10:13] = 1
    emissions = torch.nn.functional.one_hot(labels, 2).float() * 0.5
    transitions = torch.tensor([[0.0, -4.0], [-4.0, 0.0]])
    validation = ValidationScores(candidate_rules("auto"))
    batch = collate([Recording(emissions[0], labels[0], None)])
    chain = LinearChain(emissions, transitions)
    assert not chain.mode.any()
    validation.add(batch, ModelOutput(chain, None, emissions))
    scores = validation.scores()
    assert scores["f1"] == 100.0 and scores["decode_factor"] == 8.0  # 3 frames * 0.5 * 8 > 2 switches * 4
    assert scores["decode_by_frame"] == 0.0
    result = run()
    best = result.history[result.best_epoch]
    assert float(result.weights["decode_factor"]) == best["val_decode_factor"]
    assert bool(result.weights["decode_by_frame"]) == bool(best["val_decode_by_frame"])


def test_a_band_whose_place_is_uncertain_is_found_frame_by_frame() -> None:
    # Where the band is, is open: each place is improbable, its middle frames are in nearly all of them.
    labels = torch.zeros(1, 30, dtype=torch.long)
    labels[0, 12:18] = 1
    emissions = torch.zeros(1, 30, 2)
    emissions[..., 1] = torch.where(labels == 1, 1.4, -1.0)
    transitions = torch.tensor([[0.0, -6.0], [-3.0, 0.0]])  # 9 to enter and leave, for 6 frames of 1.4
    chain = LinearChain(emissions, transitions)
    assert not chain.mode.any() and chain.posterior_mode.any()
    validation = ValidationScores([DecodingRule(), DecodingRule(by_frame=True)])
    validation.add(collate([Recording(emissions[0], labels[0], None)]), ModelOutput(chain, None, emissions))
    assert validation.scores()["decode_by_frame"] == 1.0


def test_a_summed_likelihood_is_reported() -> None:
    with pytest.warns(TrainingWarning, match="summed over the frames"):
        result = run(lambda losses: 200.0 * losses["crf"], max_epochs=1)
    assert len(result.notes) == 1


def test_a_switching_model_is_trained_by_either_objective() -> None:
    for objective in (SwitchingObjective(), JointObjective()):
        torch.manual_seed(0)
        crf = LinearChainCRF(3)
        model = SwitchingModel(LSTMEncoder(2, hidden=4), crf, num_targets=1, posterior="filter")
        result = train(model, objective, FixedWeights(), Recipe(**RECIPE), (recordings(4), recordings(2)))
        assert result.history[-1]["regression"] < result.history[0]["regression"]
        assert result.history[0]["sigma"] > 0


def test_windows_are_balanced_when_asked() -> None:
    plain = [Recording(torch.zeros(400, 2), torch.zeros(400, dtype=torch.long), torch.zeros(400, 1))]
    model, objective = build()
    batches: list[int] = []

    def combine(losses: Losses) -> torch.Tensor:
        batches.append(1)
        return losses["crf"] + losses["regression"]

    train(model, objective, combine, Recipe(**RECIPE | {"max_epochs": 1}), (plain + recordings(4), []))
    without, batches[:] = len(batches), []
    train(model, objective, combine, Recipe(**RECIPE | {"max_epochs": 1, "balance": 1.0}), (plain + recordings(4), []))
    assert 0 < len(batches) < without


def begin() -> tuple[JointModel, JointObjective, FixedWeights]:
    return (*build(), FixedWeights())


def test_a_learning_rate_is_found_by_short_trainings_that_anneal(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, int, int]] = []
    real = selection.train

    def spy(model: Any, objective: Any, combine: Any, recipe: Recipe, data: Any) -> Result:
        result = real(model, objective, combine, recipe, data)
        assert result.history[-1]["learning_rate"] < 0.1 * recipe.learning_rate
        seen.append((recipe.learning_rate, len(result.history), recipe.max_batches or 0))
        return result

    monkeypatch.setattr(selection, "train", spy)
    data = recordings(4), recordings(2)
    begin()  # it seeds the global generator, so this test depends on no other
    state = torch.get_rng_state()
    errors = find_learning_rate(begin, Recipe(**RECIPE), data, learning_rates=(1e-5, 0.1), steps=40)
    assert errors[0.1] < errors[1e-5] - 0.05  # at the smaller one nothing is learned
    assert seen == [(1e-5, 3, 14), (0.1, 3, 14)]
    assert torch.equal(torch.get_rng_state(), state)
    assert find_learning_rate(begin, Recipe(**RECIPE), data, learning_rates=(1e-5, 0.1), steps=40) == errors


def test_a_learning_rate_at_which_training_fails_is_not_chosen() -> None:
    def explode(losses: Losses) -> torch.Tensor:
        return losses["crf"] * (torch.nan if float(losses["crf"].detach()) > 5.0 else 1.0)

    data = recordings(4), recordings(2)
    with rejects("the training loss", got="nan"):
        find_learning_rate(
            lambda: (*build(), lambda losses: losses["crf"] * torch.nan), Recipe(**RECIPE), data, steps=4
        )
    errors = find_learning_rate(
        lambda: (*build(), explode), Recipe(**RECIPE), data, learning_rates=(1e-3, 1e3), steps=24
    )
    assert errors[1e-3] < errors[1e3] == torch.inf
    with rejects("learning_rate", got="'auto' without validation recordings"):
        find_learning_rate(begin, Recipe(**RECIPE), (data[0], []))


def test_sigma_is_recorded_for_the_module_that_holds_it() -> None:
    data = recordings(4), recordings(2)

    def is_recorded(objective: JointObjective | SwitchingObjective) -> bool:
        torch.manual_seed(0)
        model = SwitchingModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3), num_targets=1, posterior="smooth")
        return "sigma" in train(model, objective, FixedWeights(), Recipe(**RECIPE), data).history[0]

    assert is_recorded(SwitchingObjective()) and is_recorded(JointObjective("gaussian"))
    assert not is_recorded(JointObjective("mse"))
