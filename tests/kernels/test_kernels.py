"""Kernels as PyTorch operators: what autograd and the compiler rely on, and how a backend is chosen."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from segcrf import LinearChain, LinearChainCRF
from segcrf.kernels import BACKENDS, backends, pick, working_dtype
from segcrf.testing.cases import chain_case
from segcrf.testing.errors import rejects

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
FIELDS = ("emissions", "transitions", "start", "end")


def arguments(batch: int, dtype: torch.dtype = torch.float64, *, forbidden: float = 0.0) -> tuple[Tensor, ...]:
    """Emissions, transitions, start, end, lengths; garbage in the padding."""
    case = chain_case(seed=batch, lengths=[5, 3, 1, 4, 5, 2][:batch], num_frames=6, num_classes=3, forbidden=forbidden)
    return (*(case.potentials[name].to(dtype) for name in FIELDS), case.lengths)


def labels_of(lengths: Tensor) -> Tensor:
    labels = torch.randint(3, (len(lengths), 6), generator=torch.Generator().manual_seed(0))
    labels[torch.arange(6) >= lengths[:, None]] = -100
    labels[0, 1] = -100
    return labels


# ------------------------------------------------------------------------------------------------------- operators
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 6])
def test_operators_pass_the_checks_of_torch(batch: int, dtype: torch.dtype) -> None:
    *potentials, lengths = arguments(batch, dtype)
    leaves = tuple(p.nan_to_num(0.0, 0.0, 0.0).requires_grad_() for p in potentials)
    ops = torch.ops.segcrf
    # Each gradient is checked below: opcheck's own compares dtypes that a loss never sees.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.chain_log_partition, (*potentials, lengths), test_utils=tests)
    torch.library.opcheck(ops.chain_max_product, (*potentials, lengths), test_utils=tests)
    for flag in (False, True):
        torch.library.opcheck(ops.chain_sum_product, (*leaves, lengths, flag), test_utils=tests)
        torch.library.opcheck(ops.chain_log_prob, (*leaves, labels_of(lengths), lengths, flag), test_utils=tests)


def test_gradients_of_several_outputs_add_up() -> None:
    *potentials, lengths = arguments(2)
    leaves = tuple(p.nan_to_num(0.0, 0.0, 0.0).requires_grad_() for p in potentials)

    def everything(*potentials: Tensor) -> Tensor:
        log_z, *counts = torch.ops.segcrf.chain_sum_product(*potentials, lengths, True)
        return log_z + sum((count * count.cos()).flatten(1).sum(1) for count in counts)

    assert torch.autograd.gradcheck(everything, leaves)

    def likelihood(*potentials: Tensor) -> Tensor:
        log_prob, _, *counts = torch.ops.segcrf.chain_log_prob(*potentials, labels_of(lengths), lengths, True)
        return log_prob + sum((count * count.cos()).flatten(1).sum(1) for count in counts)

    assert torch.autograd.gradcheck(likelihood, leaves)


@pytest.mark.parametrize("varying", [False, True])
def test_derivatives_of_every_order_are_those_of_the_reference(varying: bool) -> None:
    case = chain_case(seed=1, lengths=[5, 3], num_frames=6, num_classes=3, varying=varying)

    def derivatives(backend: str) -> list[Tensor]:
        leaf = case.differentiable()
        parameters = list(leaf.potentials.values())
        value, found = LinearChain(**leaf.potentials, lengths=leaf.lengths, backend=backend).log_partition.sum(), []
        for _ in range(3):
            grads = torch.autograd.grad(value, parameters, create_graph=True)
            found += [grad.detach() for grad in grads]
            value = sum((grad * grad.cos()).sum() for grad in grads)
        return found

    for ours, reference in zip(derivatives("numba"), derivatives("torch"), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


def test_a_gradient_of_a_plain_sum_may_be_asked_for_again() -> None:
    """The last gradient is the kernel's own counts; those before must be copies, so that none of them changes."""
    emissions, labels = torch.randn(3, 20, 4, requires_grad=True), torch.randint(4, (3, 20))
    loss = -LinearChain(emissions, torch.randn(4, 4)).log_prob(labels).sum()
    (first,) = torch.autograd.grad(loss, emissions, retain_graph=True)
    expected = first.clone()
    torch.testing.assert_close(torch.autograd.grad(3.0 * loss, emissions, retain_graph=True)[0], 3.0 * expected)
    for times in (1, 2):
        loss.backward(retain_graph=True)
        torch.testing.assert_close(emissions.grad, times * expected)
    first.zero_()
    (last,) = torch.autograd.grad(loss, emissions)
    torch.testing.assert_close(last, expected)
    assert not last.requires_grad
    torch.testing.assert_close(emissions.grad, 2 * expected)


def test_transforms_that_kernels_do_not_know_are_rejected_with_what_works() -> None:
    emissions = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(0))

    def total(emissions: Tensor, **options: Any) -> Tensor:
        return LinearChain(emissions, torch.zeros(3, 3), **options).log_partition

    way = r"add a batch axis.*backend='torch', validate_args=False"
    with rejects("potentials", got="not see into backend 'numba'", advice=way):
        torch.vmap(total)(emissions)
    with rejects("potentials", got="not see into backend 'numba'", advice=way):
        torch.func.grad(lambda e: total(e).sum())(emissions[0])
    with rejects("potentials", got="backend 'torch' with validate_args"):
        torch.vmap(lambda e: total(e, backend="torch"))(emissions)
    # What the message names works.
    options: dict[str, Any] = {"backend": "torch", "validate_args": False}
    expected = torch.stack([total(e) for e in emissions])
    torch.testing.assert_close(torch.vmap(lambda e: total(e, **options))(emissions), expected)
    per_recording = torch.vmap(torch.func.grad(lambda e: total(e[None], **options).sum()))(emissions[0])
    torch.testing.assert_close(per_recording, LinearChain(emissions[0], torch.zeros(3, 3)).marginals.labels)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own, in make_dual
def test_forward_mode_derivatives_are_rejected_with_what_works() -> None:
    emissions, direction = torch.randn(2, 5, 3), torch.randn(2, 5, 3)

    def total(emissions: Tensor, backend: str) -> Tensor:
        return LinearChain(emissions, torch.zeros(3, 3), backend=backend).log_partition

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(emissions, direction)
        with rejects("potentials", got="backend 'numba' would lose", advice="backend='torch'"):
            total(dual, "numba")
        got = torch.autograd.forward_ad.unpack_dual(total(dual, "torch")).tangent
    (gradient,) = torch.autograd.grad(total(emissions.requires_grad_(), "numba").sum(), emissions)
    torch.testing.assert_close(got, (gradient * direction).sum((1, 2)))


@pytest.mark.parametrize("label", [3, 10**9, 2**62])
@pytest.mark.parametrize("structure", ["chain", "chain_varying", "semimarkov"])
def test_a_label_beyond_the_classes_is_no_address(structure: str, label: int) -> None:
    labels, lengths = torch.zeros(2, 4, dtype=torch.int64), torch.tensor([4, 3])
    labels[1, 3] = label  # beyond its length, where nothing is read
    emissions, table, vector = torch.zeros(2, 4, 3), torch.zeros(3, 3), torch.zeros(3)
    shared = (table, vector, vector)
    if structure == "chain_varying":
        shared = (torch.zeros(2, 3, 3, 3), vector, vector)
    if structure == "semimarkov":
        shared = (table.fill_diagonal_(-math.inf), table.exp(), vector - 1, vector, vector, table.exp(), table.exp())
    operator = getattr(torch.ops.segcrf, f"{structure}_log_prob")
    for gradient in (False, True):
        assert operator(emissions, *shared, labels, lengths, gradient)[0].isfinite().all()
        labels[1, 2] = label
        with rejects("labels", got=str(label), expected="0 to 2", recording=1, frame=2):
            operator(emissions, *shared, labels, lengths, gradient)
        labels[1, 2] = 0


@pytest.mark.parametrize("batch", [2, 6])
def test_counts_lie_in_memory_as_the_emissions_do(batch: int) -> None:
    emissions, *shared, lengths = (p.nan_to_num(0.0, 0.0, 0.0) for p in arguments(batch))
    by_time = emissions.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    sum_product, log_prob = torch.ops.segcrf.chain_sum_product, torch.ops.segcrf.chain_log_prob
    inputs = {sum_product: (lengths, True), log_prob: (labels_of(lengths), lengths, True)}
    for operator, more in inputs.items():
        by_label = operator(by_time, *shared, *more)[1 if operator is sum_product else 2]
        assert by_label.stride() == by_time.stride()
        # Compiled code reads what the fake operator says about its outputs.
        tests = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator, (by_time, *shared, *more), test_utils=tests)


@pytest.mark.slow
def test_operators_trace_with_their_gradients() -> None:
    *potentials, lengths = arguments(6)
    leaves = tuple(p.nan_to_num(0.0, 0.0, 0.0).requires_grad_() for p in potentials)
    torch.library.opcheck(torch.ops.segcrf.chain_sum_product, (*leaves, lengths, True))
    torch.library.opcheck(torch.ops.segcrf.chain_log_prob, (*leaves, labels_of(lengths), lengths, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 6])
def test_operators_return_the_types_and_shapes_they_state(batch: int, dtype: torch.dtype) -> None:
    inputs = arguments(batch, dtype)
    frames = tuple(inputs[0].shape)
    ops = torch.ops.segcrf
    log_z, *counts, starts = ops.chain_sum_product(*inputs, True)
    assert log_z.dtype == torch.float64 and log_z.shape == (batch,)
    assert [tuple(c.shape) for c in counts] == [frames, (batch, 3, 3), (batch, 3), (batch, 3)]
    assert starts.shape == frames
    assert {c.dtype for c in (*counts, starts)} == {working_dtype(inputs[0])}
    assert ops.chain_sum_product(*inputs, False)[-1].shape[0] == 0
    assert torch.equal(ops.chain_log_partition(*inputs), log_z)
    score, labels, begins = ops.chain_max_product(*inputs)
    assert (score.dtype, labels.dtype, begins.dtype) == (torch.float64, torch.int64, torch.bool)
    assert labels.shape == begins.shape == frames[:2]


@pytest.mark.parametrize("batch", [1, 6])
def test_leaving_out_an_output_changes_no_other(batch: int) -> None:
    inputs = arguments(batch, forbidden=0.3)
    ops = torch.ops.segcrf
    with_starts, without = ops.chain_sum_product(*inputs, True), ops.chain_sum_product(*inputs, False)
    for a, b in zip(with_starts[:-1], without[:-1], strict=True):
        assert torch.equal(a, b)
    known = (*inputs[:-1], labels_of(inputs[-1]), inputs[-1])
    with_gradient, without = ops.chain_log_prob(*known, True), ops.chain_log_prob(*known, False)
    assert torch.equal(with_gradient[0], without[0]) and torch.equal(with_gradient[1], without[1])
    assert all(len(count) == 0 for count in without[2:])


def test_expected_counts_of_the_kernel_agree_with_each_other() -> None:
    *potentials, lengths = arguments(6, forbidden=0.3)
    _, labels, steps, first, last, starts = torch.ops.segcrf.chain_sum_product(*potentials, lengths, True)
    torch.testing.assert_close(labels.sum((1, 2)), lengths.double())
    torch.testing.assert_close(steps.sum((1, 2)), lengths.double() - 1)
    torch.testing.assert_close(first, labels[:, 0])
    torch.testing.assert_close(last, labels[torch.arange(6), lengths - 1])
    torch.testing.assert_close(starts[:, 0], first)
    # A band of class c begins wherever c is entered from another class, and at the first frame.
    entered = steps.sum(1) - steps.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(starts.sum(1), entered + first)


def test_many_python_threads_may_call_at_once() -> None:
    *potentials, lengths = arguments(6)
    expected = torch.ops.segcrf.chain_sum_product(*potentials, lengths, True)
    path = torch.ops.segcrf.chain_max_product(*potentials, lengths)[1]

    def both(_: int) -> bool:
        counts = torch.ops.segcrf.chain_sum_product(*potentials, lengths, True)
        same = all(torch.equal(a, b) for a, b in zip(counts, expected, strict=True))
        return same and torch.equal(torch.ops.segcrf.chain_max_product(*potentials, lengths)[1], path)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(both, range(64)))


# ------------------------------------------------------------------------------------------------------- the choice
def test_pick_names_what_is_known_and_what_would_run() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert pick("auto", cpu) == pick("numba", cpu) == "numba"
    assert pick("auto", meta) == pick("torch", meta) == pick("torch", cpu) == "torch"
    with pytest.raises(ValueError, match=r"'numba' runs on cpu, the emissions are on meta; .*backend='auto'"):
        pick("numba", meta)
    with rejects("backend", got="'cuda'", expected="one of 'auto', 'torch', 'numba'"):
        LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2), backend="cuda")
    assert set(BACKENDS) == {"auto", "torch", "numba", "triton"}


def test_a_gpu_gets_triton_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, installed = torch.device("cuda"), {"triton": True, "numba": True}
    monkeypatch.setattr(backends, "_INSTALLED", installed)
    assert pick("auto", gpu) == pick("triton", gpu) == "triton"
    with pytest.raises(ValueError, match=r"'triton' runs on cuda, the emissions are on cpu; .*backend='auto'"):
        pick("triton", torch.device("cpu"))
    installed["triton"] = False
    assert pick("auto", gpu, ("numba",)) == "torch"
    with pytest.raises(ValueError, match="backend 'triton' has no kernels for these potentials, 'numba' has"):
        pick("triton", gpu, ("numba",))
    assert pick("auto", gpu) == "torch"
    with pytest.raises(ValueError, match=r"needs the package triton; pip install triton, or use backend='auto'"):
        pick("triton", gpu)


def test_without_numba_the_reference_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_INSTALLED", {"numba": False, "triton": False})
    assert pick("auto", torch.device("cpu")) == "torch"
    with pytest.raises(ValueError, match=r"needs the package numba; pip install numba, or use backend='auto'"):
        pick("numba", torch.device("cpu"))


def test_the_module_passes_its_backend_on() -> None:
    emissions = torch.zeros(1, 3, 2)
    assert LinearChainCRF(2, backend="torch")(emissions).backend == "torch"
    assert LinearChainCRF(2)(emissions).backend == "numba"
