"""The joint model: shapes, padding, precision, and a plain training loop with nothing but PyTorch."""

import torch
from torch import Tensor

from segcrf.crf import LinearChainCRF
from segcrf.encoders import LSTMEncoder, TCNEncoder
from segcrf.losses import FixedWeights, JointObjective
from segcrf.model import JointModel


def build(num_targets: int = 2) -> JointModel:
    torch.manual_seed(0)
    return JointModel(LSTMEncoder(3, hidden=16, bidirectional=True), LinearChainCRF(4), num_targets)


def test_shapes() -> None:
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 4])
    output = build()(x, lengths)
    assert output.distribution.emissions.shape == (2, 9, 4)
    assert output.values is not None and output.values.shape == (2, 9, 2)
    assert output.features.shape == (2, 9, 32)
    assert output.distribution.mode[1, 4:].tolist() == [-100] * 5
    assert build(num_targets=0)(x).values is None


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
    assert output.distribution.emissions.dtype == torch.float32
    assert output.distribution.log_partition.dtype == torch.float32


def test_a_plain_loop_learns_classes_and_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (8, 5), generator=generator).repeat_interleave(10, dim=1)
    x = torch.randn(8, 50, 3, generator=generator) * 0.3 + labels[..., None]
    targets = labels[..., None].float() - 1.5
    model, objective, combine = build(num_targets=1), JointObjective(), FixedWeights()
    optimiser = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=2e-2, weight_decay=0.0)
    for _ in range(60):
        optimiser.zero_grad()
        loss = combine(objective(model(x), labels, targets))
        loss.backward()
        optimiser.step()
    output = model(x)
    assert (output.distribution.mode == labels).float().mean() > 0.98
    assert output.values is not None and (output.values - targets).square().mean() < 0.1
