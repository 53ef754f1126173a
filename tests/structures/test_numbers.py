"""What arithmetic may not spoil: half precision, repeatable runs, derivatives of derivatives, compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor, nn

from segcrf import LinearChain, LinearChainCRF, SemiMarkov, SemiMarkovCRF
from segcrf.nn import IrregularTransitions, TCNEncoder

LONG = 100_000
Floats = Any


def chain_reference(scores: Floats, steps: Floats, start: Floats, end: Floats) -> tuple[float, Floats]:
    """Log partition and marginals of a linear chain, by the textbook's recursions in float64 logarithms."""
    forward, backward = np.empty_like(scores), np.empty_like(scores)
    forward[0], backward[-1] = start + scores[0], end
    for t in range(1, len(scores)):
        forward[t] = logsumexp_columns(forward[t - 1][:, None] + steps) + scores[t]
    for t in range(len(scores) - 2, -1, -1):
        backward[t] = logsumexp_columns((steps + scores[t + 1] + backward[t + 1]).T)
    total = float(logsumexp(forward[-1] + end))
    return total, np.exp(forward + backward - total)


def logsumexp_columns(values: Floats) -> Floats:
    top = values.max(0)
    return top + np.log(np.exp(values - top).sum(0))


def double(values: Tensor) -> Floats:
    return values.detach().double().numpy()


# ------------------------------------------------------------------------------------------------ half precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_emissions_lose_nothing_more_over_a_hundred_thousand_frames(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, crf = nn.Linear(6, 3), LinearChainCRF(3)
    with torch.no_grad():
        crf.transitions += 3 * torch.eye(3)
    signal = 2 * torch.randn(1, LONG, 6)
    with torch.autocast("cpu", dtype):
        emissions = layer(signal)
        emissions.retain_grad()
        dist = crf(emissions)
        labels = dist.mode
        loss = -dist.log_prob(labels).sum()
    assert emissions.dtype == dtype
    loss.backward()
    total, marginals = chain_reference(
        double(emissions[0]), double(crf.transitions), double(crf.start), double(crf.end)
    )
    exact = LinearChain(*(p.detach().double() for p in (emissions, crf.transitions, crf.start, crf.end)))
    assert dist.log_partition.item() == pytest.approx(total, rel=1e-7)
    assert torch.equal(labels, exact.mode)
    # The loss is a difference of two totals of 300,000 nats: it keeps float32's digits of itself, not of them.
    assert loss.item() == pytest.approx(-exact.log_prob(labels).item(), rel=1e-6)
    expected = marginals - np.eye(3)[labels[0].numpy()]
    assert emissions.grad is not None and emissions.grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(double(emissions.grad[0]), expected, rtol=eps, atol=eps * 1e-2)
    # A gradient of all frames is summed in more than half precision.
    steps = marginals_of_steps(double(emissions[0]), exact)
    counts = np.zeros((3, 3))
    np.add.at(counts, (labels[0, :-1].numpy(), labels[0, 1:].numpy()), 1.0)
    assert crf.transitions.grad is not None and crf.transitions.grad.dtype == torch.float32
    np.testing.assert_allclose(double(crf.transitions.grad), steps - counts, rtol=1e-4, atol=0.05)


def marginals_of_steps(scores: Floats, dist: LinearChain) -> Floats:
    """Expected steps as a difference of log partitions: by how much each grows with its score."""
    found = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            moved = []
            for sign in (1, -1):
                steps = dist.transitions.clone()
                steps[i, j] += sign * 1e-4
                moved.append(LinearChain(dist.emissions, steps, dist.start, dist.end).log_partition.item())
            found[i, j] = (moved[0] - moved[1]) / 2e-4
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_emissions_of_bands_lose_nothing_more(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    emissions = torch.randn(1, LONG // 5, 3).to(dtype).requires_grad_()
    crf = SemiMarkovCRF(3, 8)
    dist = crf(emissions)
    labels = dist.mode
    loss = -dist.log_prob(labels).sum()
    loss.backward()
    leaf = emissions.detach().double().requires_grad_()
    exact = SemiMarkov(leaf, *(p.detach().double() for p in dist.potentials[1:6]))
    exact_loss = -exact.log_prob(labels).sum()
    exact_loss.backward()
    assert dist.log_partition.item() == pytest.approx(exact.log_partition.item(), rel=1e-6)
    assert torch.equal(labels, exact.mode)
    assert loss.item() == pytest.approx(exact_loss.item(), rel=1e-6)
    assert emissions.grad is not None and leaf.grad is not None and emissions.grad.dtype == dtype
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(double(emissions.grad), double(leaf.grad), rtol=eps, atol=1e-5)


# --------------------------------------------------------------------------------------------- runs that repeat
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: LinearChainCRF(3),
    "potts": lambda: LinearChainCRF(3, transitions="potts", emission_scale=True),
    "semi-markov": lambda: SemiMarkovCRF(3, 5),
    "censored": lambda: SemiMarkovCRF(3, 5, durations="negative_binomial", censored=True),
}
SOME_LAYERS = ("chain", "semi-markov")
every_layer = pytest.mark.parametrize("name", LAYERS)


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([60, 41, 7, 60, 13])
    signal = torch.randn(5, 60, 2, generator=generator)
    labels = torch.randint(3, (5, 15), generator=generator).repeat_interleave(4, 1)
    labels[0, 5:9] = -100
    return signal, labels, lengths


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head, self.layer = TCNEncoder(2, hidden=4), nn.Linear(4, 3), layer

    def forward(self, signal: Tensor, lengths: Tensor) -> Any:
        return self.layer(self.head(self.encoder(signal, lengths)), lengths)


@every_layer
def test_gradients_repeat_to_the_bit(name: str) -> None:
    signal, labels, lengths = batch()
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        model = Model(LAYERS[name]())
        dist = model(signal, lengths)
        (dist.entropy().sum() - dist.log_prob(labels).sum()).backward()
        runs.append([parameter.grad for parameter in model.parameters()])
    assert any(grad is not None and grad.any() for grad in runs[0])
    for first, second in zip(*runs, strict=True):
        assert (first is None and second is None) or torch.equal(first, second)


# --------------------------------------------------------------------------------------------------- compilation
def compiled(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


# Inductor calls torch.jit while it sets itself up, which torch itself calls deprecated.
with_inductor = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "aot_eager") for name in SOME_LAYERS),
        *(pytest.param(name, "aot_eager", marks=pytest.mark.slow) for name in LAYERS if name not in SOME_LAYERS),
        *(pytest.param(name, "inductor", marks=with_inductor) for name in SOME_LAYERS),
    ],
)
def test_a_training_step_and_decoding_compile_to_one_graph(name: str, backend: str) -> None:
    torch.manual_seed(0)
    model, (signal, labels, lengths) = Model(LAYERS[name]()), batch()
    parameters = list(model.parameters())

    def loss(signal: Tensor, lengths: Tensor) -> Tensor:
        dist = model(signal, lengths)
        return -dist.log_prob(labels).sum() / lengths.sum()

    def decode(signal: Tensor, lengths: Tensor) -> Tensor:
        return model(signal, lengths).mode

    expected, value = loss(signal, lengths), compiled(loss, backend)(signal, lengths)
    torch.testing.assert_close(value, expected)
    grads = [torch.autograd.grad(v, parameters, materialize_grads=True) for v in (value, expected)]
    for got, exact in zip(*grads, strict=True):
        torch.testing.assert_close(got, exact)
    with torch.no_grad():
        assert torch.equal(compiled(decode, backend)(signal, lengths), decode(signal, lengths))


@pytest.mark.parametrize("name", ["chain", "semi-markov"])
def test_a_compiled_training_step_takes_other_sizes_without_being_compiled_for_each(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    run = torch._dynamo.testing.CompileCounter()

    def loss(emissions: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
        return -layer(emissions, lengths).log_prob(labels).sum()

    torch._dynamo.reset()
    step = torch.compile(loss, fullgraph=True, dynamic=True, backend=run)
    for frames in (8, 13, 21, 34):
        emissions = torch.randn(3, frames, 3)
        labels, lengths = torch.zeros(3, frames, dtype=torch.int64), torch.tensor([frames, frames - 2, 3])
        torch.testing.assert_close(step(emissions, labels, lengths), loss(emissions, labels, lengths))
    assert run.frame_count <= 2, "compiled again for another T"


# ------------------------------------------------------------------------------------- derivatives of derivatives
@every_layer
def test_a_penalty_on_the_gradient_has_the_gradient_of_the_reference(name: str) -> None:
    # What gradient penalties and meta-learning do: a derivative of a derivative, through the whole layer.
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    _, labels, _ = batch()
    labels, lengths = labels[:2, :8], torch.tensor([8, 5])
    scores = torch.randn(2, 8, 3, dtype=torch.float64)
    found = []
    for backend in ("torch", "numba"):
        layer.backend = backend
        emissions = scores.clone().requires_grad_()
        (grad,) = torch.autograd.grad(-layer(emissions, lengths).log_prob(labels).sum(), emissions, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), [emissions, *layer.parameters()], allow_unused=True))
    for ours, reference in zip(found[1], found[0], strict=True):
        assert (ours is None) == (reference is None)
        if ours is not None and reference is not None:
            torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


def test_uneven_times_keep_their_digits_in_float32() -> None:
    torch.manual_seed(0)
    crf = LinearChainCRF(3, transitions=IrregularTransitions(3))
    times = 10 ** torch.empty(1, 199).uniform_(-6, 4)
    emissions = torch.randn(1, 200, 3)
    exact = LinearChainCRF(3, transitions=IrregularTransitions(3)).double()
    exact.load_state_dict(crf.state_dict())
    got, expected = crf(emissions, context=times), exact(emissions.double(), context=times.double())
    torch.testing.assert_close(got.log_partition.double(), expected.log_partition, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(got.marginals.labels.double(), expected.marginals.labels, rtol=0, atol=1e-5)
