"""Losses: their values by hand, one normaliser, and invariance to unknown frames and padding."""

import math
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import Tensor

from segcrf.losses import (
    Deviation,
    FadingWeights,
    FixedWeights,
    JointObjective,
    RunningMeanWeights,
    SwitchingObjective,
    UncertaintyWeights,
)
from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, ModelOutput, SwitchingModelOutput
from segcrf.structures import LinearChain, SwitchingRegression
from segcrf.testing.errors import rejects

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
    assert output.predictions is not None
    error = torch.cat([(output.predictions - targets)[0], (output.predictions - targets)[1, :2]])
    torch.testing.assert_close(losses["crf"], -output.dist.log_prob(labels).sum() / 8)
    torch.testing.assert_close(losses["regression"], error.square().sum() / (8 * 2))


@pytest.mark.parametrize("regression", ["gaussian", "mse", "smooth_l1"])
def test_regressions_agree_with_torch(regression: str) -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    objective = JointObjective(regression, num_targets=2)
    valid = torch.arange(6) < LENGTHS[:, None]
    y, f = targets[valid], output.predictions[valid]
    if objective.log_sigma is not None:
        with torch.no_grad():
            objective.log_sigma.copy_(torch.tensor([0.3, -1.0]))
        expected = -torch.distributions.Normal(f, objective.log_sigma.exp()).log_prob(y).mean()
    else:
        expected = (torch.nn.MSELoss() if regression == "mse" else torch.nn.SmoothL1Loss())(f, y)
    torch.testing.assert_close(objective(output, labels, targets)["regression"], expected)


def test_unknown_targets_carry_no_information_and_leave_no_nan_in_the_gradient() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    values = output.predictions.requires_grad_()
    targets[0, 3, 1] = math.nan
    objective = JointObjective("gaussian", num_targets=2)
    loss = objective(output._replace(predictions=values), labels, targets)["regression"]
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
        total = total + output.dist.log_prob(filled)[0].exp()
    torch.testing.assert_close(loss, -(total.log() + output.dist.log_prob(labels)[1]) / 8)


def test_padding_content_changes_no_loss() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    objective = JointObjective("gaussian", num_targets=2)
    before = objective(output, labels, targets)
    values, targets = output.predictions.clone(), targets.clone()
    values[1, 2:], targets[1, 2:] = 1e9, -1e9
    after = objective(output._replace(predictions=values), labels, targets)
    for name, loss in before.items():
        torch.testing.assert_close(after[name], loss)


def test_sigma_finds_the_root_mean_square_error_and_respects_its_floor() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
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
    rms = (output.predictions - targets)[valid].square().mean(0).sqrt()
    torch.testing.assert_close(objective.log_sigma.exp(), rms, rtol=1e-2, atol=0.0)
    descend(output.predictions)
    torch.testing.assert_close(objective.log_sigma.data, torch.tensor([-2.0, -2.0]), atol=0.2, rtol=0.0)
    descend(targets)  # and it comes back from the floor
    torch.testing.assert_close(objective.log_sigma.data, rms.log(), atol=0.2, rtol=0.0)


def test_losses_exist_only_where_there_is_something_to_compare() -> None:
    output, labels, targets = batch()
    assert set(JointObjective("mse")(output, labels)) == {"crf"}
    assert set(JointObjective(None)(output, labels, targets)) == {"crf"}
    assert set(JointObjective("mse")(output._replace(predictions=None), labels, targets)) == {"crf"}
    with rejects("regression", got="'l2'", expected="'gaussian', 'mse', 'smooth_l1', .*, None"):
        JointObjective("l2")


def test_the_loss_of_frames_is_the_cross_entropy_of_the_scores_at_labelled_frames() -> None:
    output, labels, _ = batch()
    scores = torch.randn(output.dist.emissions.shape, generator=torch.Generator().manual_seed(3))
    labels = labels.clone()
    labels[0, 1] = -100
    got = JointObjective(None, frames=True)(output._replace(scores=scores), labels)["frames"]
    total, frames = 0.0, 0
    for row, sequence, length in zip(scores, labels, LENGTHS.tolist(), strict=True):
        frames += length
        for t in range(length):
            if sequence[t] >= 0:
                total -= float(row[t].log_softmax(-1)[sequence[t]])
    assert float(got) == pytest.approx(total / frames, rel=1e-5)
    without = JointObjective(None, frames=True)(output._replace(scores=None), labels)["frames"]
    emitted = output._replace(scores=output.dist.emissions)
    torch.testing.assert_close(without, JointObjective(None, frames=True)(emitted, labels)["frames"])


def test_fixed_weights() -> None:
    losses = {"crf": torch.tensor(2.0), "regression": torch.tensor(-3.0)}
    assert float(FixedWeights()(losses)) == -1.0
    assert float(FixedWeights(regression=10.0)(losses)) == -28.0
    with rejects("weights", got="'mse'", expected="'crf', 'regression'"):
        FixedWeights(mse=1.0)(losses)


def test_the_objective_is_float32_under_autocast() -> None:
    output, labels, targets = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = JointObjective("gaussian", num_targets=2)(output, labels, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


# ------------------------------------------------------------------------------------------------------ regressions
def test_the_models_own_deviations_take_precedence_over_the_objectives() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    log_sigma = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    predicted = output._replace(log_sigma=log_sigma)
    valid = torch.arange(6) < LENGTHS[:, None]
    density = -torch.distributions.Normal(output.predictions[valid], log_sigma[valid].exp()).log_prob(targets[valid])
    got = JointObjective("gaussian", num_targets=2)(predicted, labels, targets)["regression"]
    torch.testing.assert_close(got, density.mean())
    got = JointObjective("beta_nll", num_targets=2, beta=0.5)(predicted, labels, targets)["regression"]
    weighted = density * log_sigma[valid].exp().detach()
    torch.testing.assert_close(got, weighted.mean())
    ours, theirs = (torch.autograd.grad(loss, log_sigma)[0] for loss in (got, weighted.mean()))
    torch.testing.assert_close(ours, theirs)
    with rejects("log_sigma", got="None", expected="beta_nll", advice=r"JointModel\(\.\.\., heteroscedastic=True\)"):
        JointObjective("beta_nll", num_targets=2)(output, labels, targets)


def test_student_t_agrees_with_torch_and_bounds_the_pull_of_an_outlier() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    objective = JointObjective("student_t", num_targets=2, degrees=3.0, sigma=0.7)
    valid = torch.arange(6) < LENGTHS[:, None]
    expected = -torch.distributions.StudentT(3.0, output.predictions[valid], 0.7).log_prob(targets[valid]).mean()
    torch.testing.assert_close(objective(output, labels, targets)["regression"], expected)
    targets[0, 0, 0] = 1e4
    values = output.predictions.clone().requires_grad_()
    objective(output._replace(predictions=values), labels, targets)["regression"].backward()
    assert values.grad is not None and values.grad[0, 0].abs().max() < values.grad.abs().max()
    with rejects("sigma", got="'profiled'", advice="no estimate of Student's scale"):
        JointObjective("student_t", sigma="profiled")


def test_a_profiled_deviation_is_the_running_root_mean_square_and_its_gradient_that_of_half_the_log() -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    values = output.predictions.clone().requires_grad_()
    objective = JointObjective("gaussian", num_targets=2, sigma="profiled")
    assert not list(objective.parameters())
    loss = objective(output._replace(predictions=values), labels, targets)["regression"]
    square = (values - targets)[torch.arange(6) < LENGTHS[:, None]].square().mean(0)
    assert objective.log_sigma is not None
    torch.testing.assert_close(objective.log_sigma, square.sqrt().log())
    ours, theirs = (torch.autograd.grad(x, values)[0] for x in (loss, 0.5 * square.log().mean()))
    torch.testing.assert_close(ours, theirs)
    before = objective.log_sigma.clone()
    objective.eval()(output._replace(predictions=values + 5.0), labels, targets)
    assert torch.equal(objective.log_sigma, before)  # validation does not move it
    again = JointObjective("gaussian", num_targets=2, sigma="profiled")
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.log_sigma, before)


def test_a_target_that_is_never_known_leaves_its_deviation_alone() -> None:
    deviation = Deviation(2, "profiled")
    deviation.observe(torch.tensor([8.0, 0.0]), torch.tensor([2, 0]))
    torch.testing.assert_close(deviation().exp(), torch.tensor([2.0, 1.0]))
    for wrong in ("none", -1.0):
        with rejects("sigma", got=repr(wrong)):
            Deviation(1, wrong)


# -------------------------------------------------------------------------------------------------------- combiners
@pytest.mark.parametrize("sigma", ["learned", "profiled", 0.6])
def test_uncertainty_weights_of_a_squared_error_are_the_gaussian_objective(sigma: Any) -> None:
    output, labels, targets = batch()
    assert output.predictions is not None
    single = output._replace(predictions=output.predictions[..., :1])
    combine, objective = UncertaintyWeights(sigma), JointObjective("gaussian", sigma=sigma)
    ours = combine(JointObjective("mse")(single, labels, targets[..., :1]))
    theirs = FixedWeights()(objective(single, labels, targets[..., :1]))
    torch.testing.assert_close(ours, theirs)
    assert len(list(combine.parameters())) == (sigma == "learned")
    torch.testing.assert_close(combine({"crf": torch.tensor(0.5)}), torch.tensor(0.5))  # a batch without targets


def test_uncertainty_weights_reject_the_labels_loss_and_negative_losses() -> None:
    with rejects("names", got="'crf'", advice="the scale of the emissions would absorb"):
        UncertaintyWeights(names=("crf",))
    with rejects("losses.'regression'", got="-0.1", advice="a negative loss is already a likelihood"):
        UncertaintyWeights()({"crf": torch.tensor(1.0), "regression": torch.tensor(-0.1)})


def test_running_means_weigh_all_losses_alike_whatever_their_units() -> None:
    parameter = torch.tensor([3.0], requires_grad=True)
    grads = []
    for unit in (1.0, 1000.0):
        combine = RunningMeanWeights(memory=0.5)
        for _ in range(3):
            total = combine({"crf": parameter.sum(), "regression": unit * parameter.square().sum()})
        torch.testing.assert_close(total, torch.tensor(2.0))
        grads.append(torch.autograd.grad(total, parameter)[0])
    torch.testing.assert_close(*grads)
    again = RunningMeanWeights(memory=0.5)
    again.load_state_dict(combine.state_dict())
    losses = {"crf": torch.tensor(2.0), "regression": torch.tensor(7.0)}
    torch.testing.assert_close(again.eval()(losses), combine.eval()(losses))
    with rejects("losses.'regression'", got="-2", expected="0 or more", advice="log-densities"):
        RunningMeanWeights()({"crf": torch.tensor(1.0), "regression": torch.tensor(-2.0)})


# -------------------------------------------------------------------------------------------------------- switching
def test_the_losses_of_a_switching_regression_add_up_to_its_likelihood() -> None:
    output, labels, targets = batch()
    generator = torch.Generator().manual_seed(4)
    mean, log_sigma = torch.randn(2, 6, 3, 2, generator=generator), torch.randn(3, 2, generator=generator)
    switching = SwitchingRegression(output.dist, mean, log_sigma)
    made = SwitchingModelOutput(switching, output.features, "filter")
    for known in (labels, torch.where(torch.arange(6) == 2, -100, labels)):
        losses = SwitchingObjective()(made, known, targets)
        torch.testing.assert_close(FixedWeights()(losses), -switching.log_prob(targets, known).sum() / 8)
        torch.testing.assert_close(losses["crf"], -output.dist.log_prob(known).sum() / 8)
    losses = SwitchingObjective("predictive")(made, labels, targets)
    density = switching.predictive_log_prob(targets, posterior="filter")
    torch.testing.assert_close(losses["regression"], -density.sum() / 8)
    assert set(SwitchingObjective()(made, labels)) == {"crf"}
    with rejects("form", got="'mean'"):
        SwitchingObjective("mean")


# ---------------------------------------------------------------------------------------------- data-parallel training
@pytest.mark.slow
def test_the_weight_of_a_frame_does_not_depend_on_its_process(tmp_path: Path) -> None:
    """Two processes with 6 and 2 frames: their averaged gradients are those of one process with all 8."""
    context = torch.multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    workers = [context.Process(target=_worker, args=(rank, str(tmp_path / "meet"), results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    parts = [results.get() for _ in workers]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    losses, emissions, log_sigma = _gradients(slice(0, 2))
    torch.testing.assert_close(sum(torch.tensor(part[0]) for part in parts) / 2, torch.tensor(losses))
    torch.testing.assert_close(sum(torch.tensor(part[1]) for part in parts) / 2, torch.tensor(emissions))
    for part in parts:  # both profile the same deviation
        torch.testing.assert_close(torch.tensor(part[2]), torch.tensor(log_sigma))


def _worker(rank: int, meet: str, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    results.put(_gradients(slice(rank, rank + 1)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _gradients(rows: slice) -> tuple[list[float], Any, Any]:
    """Losses, the gradient at all emissions, and the profiled log-deviation, of a process that holds some rows."""
    output, labels, targets = batch()
    assert output.predictions is not None
    emissions = output.dist.emissions.clone().requires_grad_()
    values = output.predictions.clone().requires_grad_()
    own = LinearChain(emissions[rows], torch.zeros(3, 3), lengths=LENGTHS[rows])
    objective = JointObjective("gaussian", num_targets=2, sigma="profiled")
    losses = objective(ModelOutput(own, values[rows], values[rows]), labels[rows], targets[rows])
    FixedWeights()(losses).backward()
    assert emissions.grad is not None and values.grad is not None and objective.log_sigma is not None
    found = torch.cat([emissions.grad.flatten(), values.grad.flatten()])
    return [float(loss.detach()) for loss in losses.values()], found.tolist(), objective.log_sigma.tolist()


def test_running_means_leave_out_batches_without_labels_and_have_a_floor() -> None:
    combine = RunningMeanWeights(memory=0.5, floor=0.1)
    parameter = torch.tensor(1.0, requires_grad=True)
    combine({"crf": 4.0 * parameter, "regression": parameter})
    total = combine({"crf": 0.0 * parameter, "regression": parameter})  # a batch without a label
    torch.testing.assert_close(total, torch.tensor(1.0))
    assert combine.means["crf"][0] / combine.means["crf"][1] == 4.0
    for _ in range(30):
        total = combine({"crf": 1e-6 * parameter, "regression": 1e-9 * parameter})
    torch.testing.assert_close(total, torch.tensor(1e-5), rtol=2e-3, atol=0.0)  # 1e-6 by the floor, not by itself


def test_a_fading_loss_counts_with_the_labels_whatever_combines_them() -> None:
    losses = {name: torch.tensor(value) for name, value in (("crf", 1.0), ("frames", 4.0), ("regression", 5.0))}
    combine = FadingWeights("frames", 0.5, combine=lambda given: given["crf"] + 10.0 * given["regression"])
    assert float(combine(losses)) == 1.0 + 0.5 * 4.0 + 10.0 * 5.0
    combine.at(1.0)
    assert float(combine(losses)) == 51.0
    means = FadingWeights("frames", combine=RunningMeanWeights())
    assert float(means(losses)) == 2.0  # labels and targets weigh alike
    assert not means.eval().combine.training
    again = FadingWeights("frames", combine=RunningMeanWeights())
    again.load_state_dict(means.state_dict())
    assert again.combine.means == means.combine.means


def test_frames_of_a_switching_model_are_those_of_its_scores() -> None:
    output, labels, targets = batch()
    switching = SwitchingRegression(output.dist, torch.zeros(2, 6, 3, 2), torch.zeros(2))
    scores = 2.0 * output.dist.emissions
    made = SwitchingModelOutput(switching, output.features, "filter", scores)
    losses = SwitchingObjective(frames=True)(made, labels, targets)
    expected = JointObjective(None, frames=True)(output._replace(scores=scores), labels)
    torch.testing.assert_close(losses["frames"], expected["frames"])
    assert set(losses) == {"crf", "frames", "regression"}


def test_the_recipe_for_methods_that_change_gradients_runs_as_documented() -> None:
    pytest.importorskip("torchjd", reason="torchjd is optional; pip install torchjd")
    page = (Path(__file__).parents[2] / "docs" / "examples" / "harmonising.py").read_text(encoding="utf-8")
    block = page[page.index("#     from torchjd") :]
    recipe = textwrap.dedent("\n".join(line[1:] for line in block[: block.index("\n#\n# With")].splitlines()))
    torch.manual_seed(0)
    labels = torch.randint(2, (8, 5)).repeat_interleave(8, dim=1)
    x = torch.randn(8, 40, 2) + labels[..., None]
    model = JointModel(LSTMEncoder(2, hidden=8), LinearChainCRF(2), num_targets=1)
    objective = JointObjective("gaussian")
    names: dict[str, Any] = {
        "model": model, "objective": objective, "x": x, "lengths": None, "labels": labels, "targets": x[..., :1],
        "optimiser": torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=0.02),
    }  # fmt: skip
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    first = {name: float(loss.detach()) for name, loss in objective(model(x), labels, x[..., :1]).items()}
    for _ in range(40):
        exec(recipe, names)
    assert all(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    for name, loss in objective(model(x), labels, x[..., :1]).items():
        assert float(loss.detach()) < first[name] - 0.1, name
