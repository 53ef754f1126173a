"""The joint model: shapes, padding, precision, and a plain training loop with nothing but PyTorch."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from segcrf import Segments
from segcrf.losses import FixedWeights, JointObjective, SwitchingObjective
from segcrf.nn import (
    MIN_LOG_SIGMA,
    DecodingRule,
    JointModel,
    LinearChainCRF,
    LSTMEncoder,
    Preparation,
    Standardizer,
    SwitchingModel,
    TCNEncoder,
    can_step,
)


def build(num_targets: int = 2) -> JointModel:
    torch.manual_seed(0)
    return JointModel(LSTMEncoder(3, hidden=16, bidirectional=True), LinearChainCRF(4), num_targets)


def test_shapes() -> None:
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 4])
    output = build()(x, lengths)
    assert output.dist.emissions.shape == (2, 9, 4)
    assert output.predictions is not None and output.predictions.shape == (2, 9, 2)
    assert output.features.shape == (2, 9, 32)
    assert output.dist.mode[1, 4:].tolist() == [-100] * 5
    assert build(num_targets=0)(x).predictions is None


def test_padding_changes_neither_loss_nor_gradient() -> None:
    model, objective, combine = build(), JointObjective(num_targets=2), FixedWeights()
    x, labels, targets = torch.randn(1, 5, 3), torch.tensor([[0, 0, 1, 3, 3]]), torch.randn(1, 5, 2)

    def gradients(x: Tensor, labels: Tensor, targets: Tensor) -> list[Tensor]:
        loss = combine(objective(model(x, torch.tensor([5])), labels, targets))
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    pad = torch.nn.functional.pad
    plain = gradients(x, labels, targets)
    longer = gradients(pad(x, (0, 0, 0, 3), value=7.0), pad(labels, (0, 3)), pad(targets, (0, 0, 0, 3), value=9.0))
    for a, b in zip(plain, longer, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_structure_is_float32_under_autocast() -> None:
    model = JointModel(TCNEncoder(3, hidden=16), LinearChainCRF(4))  # not every CPU has an LSTM in bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(2, 9, 3))
    assert output.features.dtype == torch.bfloat16
    assert output.dist.emissions.dtype == torch.float32
    assert output.dist.log_partition.dtype == torch.float32


def plain_loop(steps: int, parameters: Iterable[Tensor], loss: Callable[[], Tensor]) -> None:
    optimiser = torch.optim.AdamW(parameters, lr=2e-2, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def test_a_plain_loop_learns_classes_and_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (8, 5), generator=generator).repeat_interleave(10, dim=1)
    x = torch.randn(8, 50, 3, generator=generator) * 0.3 + labels[..., None]
    targets = labels[..., None].float() - 1.5
    model, objective, combine = build(num_targets=1), JointObjective(), FixedWeights()
    parameters = [*model.parameters(), *objective.parameters()]
    plain_loop(60, parameters, lambda: combine(objective(model(x), labels, targets)))
    output = model(x)
    assert (output.dist.mode == labels).float().mean() > 0.98
    assert output.predictions is not None and (output.predictions - targets).square().mean() < 0.1


def test_predicted_deviations_stay_above_their_floor_and_can_leave_it() -> None:
    model = JointModel(LSTMEncoder(3, hidden=4), LinearChainCRF(2), num_targets=2, heteroscedastic=True)
    assert model.sigma_head is not None
    torch.nn.init.constant_(model.sigma_head.bias, -50.0)
    log_sigma = model(torch.randn(2, 9, 3)).log_sigma
    assert log_sigma is not None and log_sigma.shape == (2, 9, 2)
    torch.testing.assert_close(log_sigma, torch.full_like(log_sigma, MIN_LOG_SIGMA))
    torch.nn.init.constant_(model.sigma_head.bias, -5.0)
    (gradient,) = torch.autograd.grad(model(torch.randn(2, 9, 3)).log_sigma.sum(), model.sigma_head.bias)
    assert (gradient > 0.1).all()
    assert build()(torch.randn(2, 9, 3)).log_sigma is None


def test_a_switching_model_predicts_by_its_posterior() -> None:
    for posterior in ("filter", "smooth"):
        torch.manual_seed(0)
        model = SwitchingModel(LSTMEncoder(3, hidden=4), LinearChainCRF(4), 2, posterior=posterior)
        output = model(torch.randn(2, 9, 3), torch.tensor([9, 4]))
        expected = output.switching.predict(posterior=posterior).mean
        assert torch.equal(output.predictions, expected) and output.log_sigma is None
        assert output.dist.mode.shape == (2, 9)
    with pytest.raises(TypeError, match="posterior"):
        SwitchingModel(LSTMEncoder(3, hidden=4), LinearChainCRF(4), 2)  # type: ignore[call-arg]


@pytest.mark.parametrize("labelled", [1.0, 0.2, 0.0])
def test_a_plain_loop_learns_a_switching_model_from_all_some_or_no_labels(labelled: float) -> None:
    """y is +x or -x by the class; without labels the classes are found, in either order."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (16, 4), generator=generator).repeat_interleave(10, dim=1)
    x = torch.randn(16, 40, 1, generator=generator)
    targets = x * (2.0 * labels[..., None] - 1.0) + 0.1 * torch.randn(16, 40, 1, generator=generator)
    known = torch.where(torch.rand(16, 40, generator=generator) < labelled, labels, -100)
    targets[:, 7] = math.nan
    torch.manual_seed(1)
    model = SwitchingModel(TCNEncoder(1, hidden=8, layers=1), LinearChainCRF(2), 1, posterior="smooth")
    objective, combine = SwitchingObjective(), FixedWeights()
    model.crf.transitions.data.copy_(3.0 * torch.eye(2))
    plain_loop(150, model.parameters(), lambda: combine(objective(model(x), known, targets)))
    output = model(x)
    agree = (output.switching.given(targets).mode == labels).float().mean()  # x alone does not reveal the class
    assert max(float(agree), 1.0 - float(agree) if labelled == 0.0 else 0.0) > 0.95
    error = output.switching.predict(posterior="smooth", seen=targets).mean - targets
    assert error[~targets.isnan()].square().mean() < 0.1


def test_a_model_decodes_by_sequence_or_frame_by_frame() -> None:
    model = build()
    model.class_head.weight.data *= 8.0
    dist = model(torch.randn(2, 40, 3), torch.tensor([40, 25])).dist
    assert torch.equal(model.decode(dist).labels, dist.mode)
    assert torch.equal(model.decode(dist).starts, dist.best.starts)
    rule = DecodingRule(factor=2.0, by_frame=True)
    model.set_decoding_rule(rule)
    assert model.decoding_rule == rule
    other = build()
    other.load_state_dict(model.state_dict())
    assert other.decoding_rule == rule
    shown = model.decode(dist)
    assert torch.equal(shown.labels, dist.scaled(emissions=2.0).posterior_mode)
    for labels, starts, length in zip(shown.labels, shown.starts, (40, 25), strict=True):
        bands = Segments.from_labels([labels[:length].numpy()])
        assert starts.nonzero().flatten().tolist() == bands.start.tolist()


# ----------------------------------------------------------------------------------------------------- frame by frame
@pytest.mark.parametrize("kind", ["joint", "heteroscedastic", "switching"])
def test_steps_give_the_same_bits_in_any_pieces_and_agree_with_the_whole(kind: str) -> None:
    torch.manual_seed(0)
    preparation = Preparation(3, 2, missing="hold")
    preparation.channels = Standardizer([1.0, 50.0, -1e4], [0.1, 9.0, 3.0])
    parts: Any = LSTMEncoder(3, hidden=8, layers=2), LinearChainCRF(4), 2
    if kind == "switching":
        model: Any = SwitchingModel(*parts, posterior="filter", preparation=preparation)
    else:
        model = JointModel(*parts, heteroscedastic=kind == "heteroscedastic", preparation=preparation)
    model.eval()
    x = torch.randn(2, 50, 3, dtype=torch.float64) * preparation.channels.scale + preparation.channels.mean
    x[torch.rand(x.shape) < 0.2] = torch.nan
    whole, _ = model.step(x)
    pieces, state = [], None
    for piece in x.split([1, 7, 0, 30, 12], dim=1):
        heads, state = model.step(piece, state)
        pieces.append(heads)
    alone = [model.step(row[None])[0] for row in x]
    for index, value in enumerate(whole):
        if value is not None:
            assert torch.equal(torch.cat([piece[index] for piece in pieces], dim=1), value)
            assert torch.equal(torch.cat([each[index] for each in alone]), value)
    at_once = model.heads(model.encoder(model.prepare(x)))
    torch.testing.assert_close(whole.emissions, at_once.emissions, atol=1e-5, rtol=1e-5)
    assert can_step(model) and not can_step(JointModel(LSTMEncoder(3, hidden=4, bidirectional=True), LinearChainCRF(2)))
