"""Kernels inside compiled models: one graph, the same gradients, the same checks, the same types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segcrf import LinearChain, LinearChainCRF
from segcrf.testing.cases import chain_case
from segcrf.testing.errors import rejects


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_a_training_step_compiles_to_one_graph() -> None:
    case = chain_case(seed=0, lengths=[6, 4], num_frames=6, num_classes=3)
    emissions, lengths = case.emissions.nan_to_num(0.0, 0.0, 0.0).float(), case.lengths
    labels = torch.randint(3, (2, 6), generator=torch.Generator().manual_seed(0))
    crf, layer = LinearChainCRF(3), torch.nn.Linear(3, 3)

    def loss() -> Tensor:
        dist = crf(layer(emissions), lengths)
        return dist.log_partition.sum() - dist.log_prob(labels).sum()

    parameters = [*crf.parameters(), *layer.parameters()]
    expected = torch.autograd.grad(loss(), parameters)
    got = torch.autograd.grad(compiled(loss)(), parameters)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_compiled_model_does_not_turn_checks_off() -> None:
    emissions, transitions = torch.zeros(1, 2, 2), torch.tensor([[0.0, -math.inf], [0.0, 0.0]])
    compiled(lambda: LinearChain(emissions, transitions).log_partition)()
    with rejects(frame=1):
        LinearChain(emissions, transitions).log_prob(torch.tensor([[0, 1]]))
    with rejects("emissions", got="nan"):
        LinearChain(emissions * math.nan, transitions)


def test_decoding_compiles_to_one_graph() -> None:
    case = chain_case(seed=1, lengths=[6, 4], num_frames=6, num_classes=3)
    crf = LinearChainCRF(3).double()

    def decode(emissions: Tensor, lengths: Tensor) -> Tensor:
        return crf(emissions, lengths).mode

    run = compiled(decode)
    assert torch.equal(run(case.emissions, case.lengths), decode(case.emissions, case.lengths))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor imports what PyTorch deprecates itself
def test_a_training_step_compiles_with_inductor() -> None:
    torch._dynamo.reset()
    crf, layer = LinearChainCRF(3), torch.nn.Linear(2, 3)
    signal = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        return crf(layer(signal)).log_partition.sum()

    torch.testing.assert_close(torch.compile(loss, fullgraph=True)(), loss())


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_changes_the_emissions_but_not_the_layer(dtype: torch.dtype) -> None:
    signal = torch.randn(4, 30, 8, generator=torch.Generator().manual_seed(0))
    crf, layer = LinearChainCRF(3), torch.nn.Linear(8, 3)
    labels = torch.randint(3, (4, 30), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype):
        emissions = layer(signal)
        loss = -crf(emissions).log_prob(labels).sum()
    assert emissions.dtype == dtype and loss.dtype == torch.float32
    loss.backward()
    exact = -crf(emissions.detach().float()).log_prob(labels).sum()
    torch.testing.assert_close(loss, exact, rtol=1e-6, atol=1e-4)
    for parameter in (*crf.parameters(), *layer.parameters()):
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all()
