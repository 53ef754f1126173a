"""Losses: their values by hand, one normaliser, and what unknown frames and padding may not change."""

import math

import pytest
import torch
from torch import Tensor

from segcrf.chain import LinearChain
from segcrf.losses import FixedWeights, JointObjective
from segcrf.model import ModelOutput

LENGTHS = torch.tensor([6, 2])


def batch(seed: int = 0) -> tuple[ModelOutput, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    emissions, transitions = torch.randn(2, 6, 3, generator=generator), torch.randn(3, 3, generator=generator)
    values = torch.randn(2, 6, 2, generator=generator)
    labels = torch.randint(3, (2, 6), generator=generator)
    targets = torch.randn(2, 6, 2, generator=generator)
    labels[1, 2:] = -100
    targets[1, 2:] = math.nan
    return ModelOutput(LinearChain(emissions, transitions, lengths=LENGTHS), values, values), labels, targets


def test_both_losses_are_per_valid_frame() -> None:
    output, labels, targets = batch()
    losses = JointObjective("mse")(output, labels, targets)
    assert output.values is not None
    error = torch.cat([(output.values - targets)[0], (output.values - targets)[1, :2]])
    torch.testing.assert_close(losses["crf"], -output.distribution.log_prob(labels).sum() / 8)
    torch.testing.assert_close(losses["regression"], error.square().sum() / (8 * 2))


@pytest.mark.parametrize("regression", ["gaussian", "mse", "smooth_l1"])
def test_regressions_agree_with_torch(regression: str) -> None:
    output, labels, targets = batch()
    assert output.values is not None
    objective = JointObjective(regression, num_targets=2)
    valid = torch.arange(6) < LENGTHS[:, None]
    y, f = targets[valid], output.values[valid]
    if objective.log_sigma is not None:
        with torch.no_grad():
            objective.log_sigma.copy_(torch.tensor([0.3, -1.0]))
        expected = -torch.distributions.Normal(f, objective.log_sigma.exp()).log_prob(y).mean()
    else:
        expected = (torch.nn.MSELoss() if regression == "mse" else torch.nn.SmoothL1Loss())(f, y)
    torch.testing.assert_close(objective(output, labels, targets)["regression"], expected)


def test_unknown_targets_say_nothing_and_leave_no_nan_in_the_gradient() -> None:
    output, labels, targets = batch()
    assert output.values is not None
    values = output.values.requires_grad_()
    targets[0, 3, 1] = math.nan
    objective = JointObjective("gaussian", num_targets=2)
    loss = objective(output._replace(values=values), labels, targets)["regression"]
    loss.backward()
    assert values.grad is not None and bool(values.grad.isfinite().all())
    touched = values.grad != 0
    assert not touched[0, 3, 1] and not touched[1, 2:].any()
    assert touched.sum() == 2 * 8 - 1
    assert objective.log_sigma is not None and objective.log_sigma.grad is not None
    assert bool(objective.log_sigma.grad.isfinite().all())


def test_an_unlabelled_frame_is_marginalised() -> None:
    output, labels, _ = batch()
    labels[0, 2] = -100
    loss = JointObjective(None)(output, labels)["crf"]
    total = torch.tensor(0.0)
    for label in range(3):
        filled = labels.clone()
        filled[0, 2] = label
        total = total + output.distribution.log_prob(filled)[0].exp()
    torch.testing.assert_close(loss, -(total.log() + output.distribution.log_prob(labels)[1]) / 8)


def test_padding_content_changes_no_loss() -> None:
    output, labels, targets = batch()
    assert output.values is not None
    objective = JointObjective("gaussian", num_targets=2)
    before = objective(output, labels, targets)
    values, targets = output.values.clone(), targets.clone()
    values[1, 2:], targets[1, 2:] = 1e9, -1e9
    after = objective(output._replace(values=values), labels, targets)
    for name, loss in before.items():
        torch.testing.assert_close(after[name], loss)


def test_sigma_finds_the_root_mean_square_error_and_respects_its_floor() -> None:
    output, labels, targets = batch()
    assert output.values is not None
    objective = JointObjective("gaussian", num_targets=2, min_log_sigma=-2.0)
    assert objective.log_sigma is not None

    def descend(targets: Tensor) -> None:
        optimiser = torch.optim.Adam(objective.parameters(), lr=0.1)
        for _ in range(150):
            optimiser.zero_grad()
            objective(output, labels, targets)["regression"].backward()
            optimiser.step()

    descend(targets)
    valid = torch.arange(6) < LENGTHS[:, None]
    rms = (output.values - targets)[valid].square().mean(0).sqrt()
    torch.testing.assert_close(objective.log_sigma.exp(), rms, rtol=1e-2, atol=0.0)
    descend(output.values)
    torch.testing.assert_close(objective.log_sigma.data, torch.tensor([-2.0, -2.0]), atol=0.2, rtol=0.0)
    descend(targets)  # and it comes back from the floor
    torch.testing.assert_close(objective.log_sigma.data, rms.log(), atol=0.2, rtol=0.0)


def test_losses_exist_only_where_there_is_something_to_compare() -> None:
    output, labels, targets = batch()
    assert set(JointObjective("mse")(output, labels)) == {"crf"}
    assert set(JointObjective(None)(output, labels, targets)) == {"crf"}
    assert set(JointObjective("mse")(output._replace(values=None), labels, targets)) == {"crf"}
    with pytest.raises(ValueError, match="'gaussian', 'mse', 'smooth_l1', .* or None, got 'l2'"):
        JointObjective("l2")


def test_fixed_weights() -> None:
    losses = {"crf": torch.tensor(2.0), "regression": torch.tensor(-3.0)}
    assert float(FixedWeights()(losses)) == -1.0
    assert float(FixedWeights(regression=10.0)(losses)) == -28.0
    with pytest.raises(ValueError, match=r"'mse', got losses \['crf', 'regression'\]"):
        FixedWeights(mse=1.0)(losses)


def test_the_objective_is_float32_under_autocast() -> None:
    output, labels, targets = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = JointObjective("gaussian", num_targets=2)(output, labels, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
