"""Exact steps: the kernels against formulas in NumPy, when they run, and what they reject."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from segcrf.kernels.by_frame import numba_kernels
from segcrf.nn import CustomEncoder, Encoder, GRUEncoder, LSTMEncoder, TCNEncoder, linear_by_frame, step_by_frame
from segcrf.testing.encoders import CausalEncoderContract, in_pieces, same
from segcrf.testing.errors import rejects

Array = npt.NDArray[Any]
Build = Callable[..., LSTMEncoder | GRUEncoder | TCNEncoder]

KINDS: dict[str, Build] = {
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "tcn": lambda *sizes, **options: TCNEncoder(*sizes, causal=True, **options),
}
SIZES = [(1, 1, 1), (1, 4, 3), (2, 3, 2), (8, 16, 1), (5, 33, 2)]


def build(kind: str, *sizes: int, seed: int = 0, **options: Any) -> LSTMEncoder | GRUEncoder | TCNEncoder:
    torch.manual_seed(seed)
    return KINDS[kind](*sizes, **options).eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------ the formulas, in NumPy
def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def lstm_formula(weights: dict[str, Array], x: Array, layers: int) -> Array:
    for layer in range(layers):
        given, kept, b, c = cell_weights(weights, layer)
        h = cell = np.zeros(kept.shape[1])
        rows: list[Array] = []
        for frame in x:
            opened, forget, new, shown = np.split(given @ frame + b + kept @ h + c, 4)
            cell = sigmoid(forget) * cell + sigmoid(opened) * np.tanh(new)
            h = sigmoid(shown) * np.tanh(cell)
            rows.append(h)
        x = np.array(rows)
    return x


def gru_formula(weights: dict[str, Array], x: Array, layers: int) -> Array:
    for layer in range(layers):
        given, kept, b, c = cell_weights(weights, layer)
        h = np.zeros(kept.shape[1])
        rows: list[Array] = []
        for frame in x:
            (r, z, n), (s, u, m) = np.split(given @ frame + b, 3), np.split(kept @ h + c, 3)
            update = sigmoid(z + u)
            h = (1.0 - update) * np.tanh(n + sigmoid(r + s) * m) + update * h
            rows.append(h)
        x = np.array(rows)
    return x


def tcn_formula(weights: dict[str, Array], x: Array, layers: int) -> Array:
    h = x @ weights["lift.weight"][:, :, 0].T + weights["lift.bias"]
    for layer in range(layers):
        filters, mix = weights[f"blocks.{layer}.filter.weight"], weights[f"blocks.{layer}.mix.weight"][:, :, 0]
        taps = filters.shape[2]
        rows: list[Array] = []
        for t in range(len(h)):
            inner = weights[f"blocks.{layer}.filter.bias"].copy()
            for tap in range(taps):
                past = t - (taps - 1 - tap) * 2**layer
                if past >= 0:
                    inner += filters[:, :, tap] @ h[past]
            rows.append(h[t] + mix @ np.maximum(inner, 0.0) + weights[f"blocks.{layer}.mix.bias"])
        h = np.array(rows)
    return h


def cell_weights(weights: dict[str, Array], layer: int) -> list[Array]:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [weights[f"layers.{layer}.ahead.{name}"] for name in names]


FORMULAS = {"lstm": lstm_formula, "gru": gru_formula, "tcn": tcn_formula}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_the_formula(kind: str, sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
    channels, hidden, layers = sizes
    encoder = build(kind, channels, hidden, layers=layers).to(dtype)
    weights = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    x = 3.0 * random(2, 30, channels).to(dtype)
    features, _ = in_pieces(encoder, x, [1, 12, 17])
    expected = np.array([FORMULAS[kind](weights, recording.double().numpy(), layers) for recording in x])
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(features.numpy(), expected, rtol=tolerance, atol=tolerance)


def test_linear_maps_sum_over_the_inputs_in_their_order() -> None:
    for inputs, outputs in ((1, 1), (3, 5), (7, 16), (64, 9)):
        x, weight, bias = random(11, inputs), random(outputs, inputs, seed=1), random(outputs, seed=2)
        expected = np.tile(bias.numpy(), (11, 1))
        for i in range(inputs):  # NumPy rounds each product and each sum to float32
            expected = expected + weight.numpy()[:, i] * x.numpy()[:, i : i + 1]
        with torch.no_grad():
            assert same(linear_by_frame(x, weight, bias), torch.from_numpy(expected))


def test_saturated_gates_are_exact() -> None:
    encoder = build("lstm", 1, 2)
    with torch.no_grad():
        for value in (1e4, -1e4, 1e30, -1e30):
            features, state = encoder.step(torch.full((1, 3, 1), value))
            assert bool(torch.isfinite(features).all() & torch.isfinite(state).all())
            torch.testing.assert_close(features, encoder(torch.full((1, 3, 1), value)), rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------- when they run
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_of_a_step_share_their_state(kind: str) -> None:
    encoder, x = build(kind, 3, 8, layers=3), random(2, 40, 3)
    with torch.no_grad():
        assert encoder.exact_steps
        first, state = encoder.step(x[:, :15])
    assert not encoder.exact_steps  # gradients are on
    middle, state = encoder.step(x[:, 15:20], state)
    none, state = encoder.step(x[:, 20:20], state)
    middle.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    with torch.no_grad():
        last, state = encoder.step(x[:, 20:], state)
    assert state.shape == (2, *encoder.state_shape)
    together = torch.cat([first, middle, none, last], dim=1)
    torch.testing.assert_close(together, encoder(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_has_recordings_first(kind: str) -> None:
    encoder, x = build(kind, 3, 8, layers=2), random(5, 12, 3)
    expected, _ = in_pieces(encoder, x, [12])
    _, state = in_pieces(encoder, x[:, :7], [7])
    joined = torch.cat([state[[3]], torch.zeros(1, *encoder.state_shape), state[[1]]])
    features, _ = in_pieces(encoder, torch.cat([x[[3], 7:], x[[4], :5], x[[1], 7:]]), [5], joined)
    assert same(features[0], expected[3, 7:])
    assert same(features[1], expected[4, :5])
    assert same(features[2], expected[1, 7:])


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_runs_in_training_and_where_a_module_is_changed(kind: str) -> None:
    encoder, x = build(kind, 3, 8, dropout=0.5), random(1, 9, 3)
    with torch.no_grad():
        assert encoder.exact_steps
        assert not encoder.train().exact_steps
        one, _ = encoder.step(x)
        other, _ = encoder.step(x)
        assert not torch.equal(one, other)  # dropout
        assert encoder.eval().exact_steps
        assert encoder.to(torch.float64).exact_steps
        assert not encoder.to(torch.bfloat16).exact_steps
        encoder.to(torch.float32)
        with torch.autocast("cpu"):
            assert not encoder.exact_steps
            if kind != "lstm":  # PyTorch lacks an LSTM in bfloat16 on many CPUs
                _, state = encoder.step(x)
                assert state.dtype == x.dtype
                torch.testing.assert_close(encoder.step(x, state)[0], encoder(x.repeat(1, 2, 1))[:, 9:])
        seen: list[str] = []
        inner = next(part for part in encoder.modules() if isinstance(part, nn.LSTM | nn.GRU | nn.Conv1d))

        def hook(*_: Any) -> None:
            seen.append("hook")

        handle = inner.register_forward_hook(hook)
        assert not encoder.exact_steps
        encoder.step(x)
        assert seen == ["hook"]
        handle.remove()
        assert encoder.exact_steps


def test_the_network_of_a_step_can_be_parametrized() -> None:
    encoder, x = build("lstm", 3, 4), random(1, 9, 3)
    cell = next(part for part in encoder.modules() if isinstance(part, nn.LSTM))
    nn.utils.parametrizations.spectral_norm(cell, "weight_hh_l0")
    encoder.eval()
    with torch.no_grad():
        assert not encoder.exact_steps
        torch.testing.assert_close(encoder.step(x)[0], encoder(x))
        nn.utils.parametrize.remove_parametrizations(cell, "weight_hh_l0")  # the parameter comes last in its module
        assert encoder.exact_steps
        torch.testing.assert_close(encoder.step(x)[0], encoder(x), rtol=1e-5, atol=1e-5)


def test_inference_mode_uses_and_notices_weights_made_in_it() -> None:
    x = random(1, 9, 3)
    with torch.inference_mode():
        encoder = build("gru", 3, 4)
        before, _ = encoder.step(x)
        torch.testing.assert_close(before, encoder(x), rtol=1e-5, atol=1e-5)
        for parameter in encoder.parameters():
            parameter.mul_(0.5)  # an inference tensor counts no versions
        torch.testing.assert_close(encoder.step(x)[0], encoder(x), rtol=1e-5, atol=1e-5)


def test_an_optimizer_step_is_noticed() -> None:
    encoder, x = build("lstm", 3, 4), random(2, 9, 3)
    optimizer = torch.optim.Adam(encoder.parameters(), 0.1)
    for _ in range(3):
        encoder(x).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            torch.testing.assert_close(encoder.step(x)[0], encoder(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_have_weights_of_their_own(kind: str) -> None:
    encoder, x = build(kind, 3, 4), random(1, 9, 3)
    size = len(pickle.dumps(encoder))
    expected, _ = in_pieces(encoder, x, [9])
    assert len(pickle.dumps(encoder)) == size  # without the packed copy
    twins = copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))
    for twin in twins:
        assert same(in_pieces(twin, x, [9])[0], expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert not same(in_pieces(twin, x, [9])[0], expected)
    assert same(in_pieces(encoder, x, [9])[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_bit(kind: str) -> None:
    encoder, x = build(kind, 2, 64), random(60, 40, 2)
    one = in_pieces(encoder, x, [40])
    torch.set_num_threads(3)
    try:
        assert same(in_pieces(encoder, x, [40]), one)
    finally:
        torch.set_num_threads(1)


def test_one_encoder_serves_several_threads() -> None:
    encoder, x = build("lstm", 2, 16), random(8, 200, 2)
    expected, _ = in_pieces(encoder, x, [200])
    found: dict[int, Tensor] = {}

    def run(b: int) -> None:
        found[b] = in_pieces(encoder, x[b : b + 1], [1] * 200)[0]

    threads = [threading.Thread(target=run, args=(b,)) for b in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(torch.cat([found[b] for b in range(8)]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_may_lie_in_memory_in_any_way(kind: str) -> None:
    encoder, x = build(kind, 3, 8), random(4, 20, 3)
    expected, state = in_pieces(encoder, x, [20])
    spread = torch.zeros(20, 3, 8)[:, :, ::2].permute(2, 0, 1).copy_(x)
    with torch.no_grad():
        assert same(encoder.step(spread)[0], expected)
        assert same(encoder.step(x.clone().requires_grad_())[0], expected)
        apart = torch.zeros(*state.shape, 2)[..., 0].copy_(state)
        assert same(encoder.step(x, apart), encoder.step(x, state))
        none, state = encoder.step(x[:0])
    assert none.shape == (0, 20, encoder.out_features)
    assert state.shape == (0, *encoder.state_shape)


class _Step(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.step(x, state)


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # PyTorch's exporter warns of PyTorch's own networks
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_can_be_exported_and_compiled(kind: str) -> None:
    encoder, x = build(kind, 3, 4), random(2, 6, 3)
    with torch.no_grad():
        _, state = encoder.step(x)
        program = torch.export.export(_Step(encoder), (x, state))
        features, after = program.module()(x, state)
        expected, left = encoder.step(x, state)
        compiled, _ = torch.compile(_Step(encoder), backend="eager", fullgraph=kind == "tcn")(x, state)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after, left, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------ encoders of other people
class _Average(Encoder):
    """A causal encoder made by a user: a running mean of a linear map, with a state of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features, self.causal = 3, 40, True
        self.map = nn.Linear(3, 40)
        self.mix = nn.Linear(40, 40)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.step(x)[0]

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        count, total = (x.new_zeros(1), x.new_zeros(len(x), 1, 40)) if state is None else state
        totals = torch.cat([total, self.mix(torch.tanh(self.map(x)))], dim=1).cumsum(1)
        counts = count + torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
        return totals[:, 1:] / counts[:, None], (count + x.shape[1], totals[:, -1:])

    def chunks(self, x: Tensor, size: int) -> Any:
        raise NotImplementedError


class TestAnEncoderWithoutExactSteps(CausalEncoderContract):
    @pytest.fixture
    def encoder(self) -> Encoder:
        torch.manual_seed(0)
        return _Average().double().eval()


def test_a_step_that_is_not_exact_is_called_frame_by_frame() -> None:
    encoder = build("lstm", 3, 4).to(torch.bfloat16)
    x = random(3, 20, 3).to(torch.bfloat16)
    assert not encoder.exact_steps
    assert same(in_pieces(encoder, x, [20]), in_pieces(encoder, x, [3, 1, 16]))
    with rejects("state", got="Tensor", expected="list of 3 states"):
        step_by_frame(encoder, x, torch.zeros(3))
    with rejects("state", got="2 recordings", expected="list of 3 states"):
        step_by_frame(encoder, x, [None, None])


def test_a_module_of_a_user_says_whether_its_steps_are_exact() -> None:
    module, x = _Average().eval(), random(2, 8, 3)
    custom = CustomEncoder(module, 3)
    assert not custom.exact_steps
    assert same(in_pieces(custom, x, [8])[0], in_pieces(module, x, [1, 7])[0])
    with torch.no_grad():
        assert CustomEncoder(build("gru", 3, 4), 3).exact_steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_linear_map_is_the_same_in_every_call(dtype: torch.dtype, gradients: bool) -> None:
    x, weight, bias = random(4, 25, 64).to(dtype), random(5, 64, seed=1).to(dtype), random(5, seed=2).to(dtype)
    weight.requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        whole = linear_by_frame(x, weight, bias)
        assert whole.requires_grad == gradients
        assert whole.shape == (4, 25, 5)
        for b, t in ((0, 0), (1, 24), (3, 7)):
            assert same(linear_by_frame(x[b, t], weight, bias).detach(), whole[b, t].detach())
        assert linear_by_frame(x[:, :0], weight, bias).shape == (4, 0, 5)
    tolerance = 1e-5 if dtype != torch.bfloat16 else 0.2
    torch.testing.assert_close(whole, nn.functional.linear(x, weight, bias), rtol=tolerance, atol=tolerance)


# -------------------------------------------------------------------------------------------------- what is rejected
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_rejected(kind: str, gradients: bool) -> None:
    encoder, x = build(kind, 3, 4), random(2, 9, 3)
    with torch.set_grad_enabled(gradients):
        _, state = encoder.step(x)
        for wrong in (x[0], x[..., :2], x[None]):
            with rejects("x", got="shape", expected=r"\(B, N, 3\)"):
                encoder.step(wrong)
        for wrong in (state[:1], state[..., :2], state[None]):
            with rejects("state", got="shape", expected=r"shape \(2, ", advice="None to begin"):
                encoder.step(x, wrong)
        with rejects("state", got="list", expected="a tensor"):
            encoder.step(x, [state])
        with rejects("state", got="float64 on cpu", expected="float32 on cpu", advice="state.to"):
            encoder.step(x, state.double())
    if not gradients:
        with torch.no_grad(), rejects("x", got="float64", expected="float32", advice=r"x\.to"):
            encoder.step(x.double())


def test_linear_maps_reject_what_does_not_fit() -> None:
    x, weight, bias = random(2, 5, 4), random(3, 4), random(3)
    with rejects("x", got=r"\(2, 5, 4\)", expected=r"\(\.\.\., 5\)"):
        linear_by_frame(x, random(3, 5), bias)
    with rejects("bias", got=r"\(4,\)", expected=r"\(3,\)"):
        linear_by_frame(x, weight, random(4))
    with rejects("x", got="float64", expected="float32", advice=r"x\.to\(weight\)"):
        linear_by_frame(x.double(), weight, bias)


def test_the_kernels_give_what_pytorch_gives_for_no_recording() -> None:
    assert numba_kernels.linear(np.zeros((0, 4)), np.zeros((3, 4)), np.zeros(3)).shape == (0, 3)
