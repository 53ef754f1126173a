"""Kernels as PyTorch operators: what they promise to autograd and the compiler, and how one is chosen."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from strategies import Case, chain_case
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segcrf import LinearChain, LinearChainCRF
from segcrf.kernels import BACKENDS, backends, numba_runtime, pick, simd, working_dtype
from segcrf.kernels.linear_chain import numba_kernels
from segcrf.kernels.numba_runtime import array, scratch, share

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
def test_operators_keep_their_promises_to_torch(batch: int, dtype: torch.dtype) -> None:
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
    """At the last time the counts that the kernel made are handed out; before, nobody may find them changed."""
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


def test_transforms_that_kernels_do_not_know_are_refused_with_what_works() -> None:
    emissions = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(0))

    def total(emissions: Tensor, **options: Any) -> Tensor:
        return LinearChain(emissions, torch.zeros(3, 3), **options).log_partition

    message = r"do not see into backend 'numba'.*add a batch axis.*backend='torch', validate_args=False"
    with pytest.raises(ValueError, match=message):
        torch.vmap(total)(emissions)
    with pytest.raises(ValueError, match=message):
        torch.func.grad(lambda e: total(e).sum())(emissions[0])
    with pytest.raises(ValueError, match="backend 'torch' with validate_args"):
        torch.vmap(lambda e: total(e, backend="torch"))(emissions)
    # What the message names works.
    options: dict[str, Any] = {"backend": "torch", "validate_args": False}
    expected = torch.stack([total(e) for e in emissions])
    torch.testing.assert_close(torch.vmap(lambda e: total(e, **options))(emissions), expected)
    per_recording = torch.vmap(torch.func.grad(lambda e: total(e[None], **options).sum()))(emissions[0])
    torch.testing.assert_close(per_recording, LinearChain(emissions[0], torch.zeros(3, 3)).marginals.labels)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch's own, in make_dual
def test_forward_mode_derivatives_are_refused_with_what_works() -> None:
    emissions, direction = torch.randn(2, 5, 3), torch.randn(2, 5, 3)

    def total(emissions: Tensor, backend: str) -> Tensor:
        return LinearChain(emissions, torch.zeros(3, 3), backend=backend).log_partition

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(emissions, direction)
        with pytest.raises(ValueError, match=r"backend 'numba', they would be lost; use backend='torch', or reverse"):
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
        with pytest.raises(ValueError, match=rf"label of recording 1, frame 2: got {label}, expected 0 to 2"):
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
        # Compiled code reads what it was told that an operator returns.
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
def test_what_is_not_asked_changes_nothing(batch: int) -> None:
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


# ------------------------------------------------------------------------------------------------------- the choice
def test_pick_names_what_is_known_and_what_would_run() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert pick("auto", cpu) == pick("numba", cpu) == "numba"
    assert pick("auto", meta) == pick("torch", meta) == pick("torch", cpu) == "torch"
    with pytest.raises(ValueError, match=r"'numba' runs on cpu, the emissions are on meta; .*backend='auto'"):
        pick("numba", meta)
    with pytest.raises(ValueError, match=r"backend: got 'cuda', expected one of 'auto', 'torch', 'numba'"):
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


# -------------------------------------------------------------------------------------------------- compiled models
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
    with pytest.raises(ValueError, match="forbidden at frame 1"):
        LinearChain(emissions, transitions).log_prob(torch.tensor([[0, 1]]))
    with pytest.raises(ValueError, match="got nan"):
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


# --------------------------------------------------------------------------------------------------- shared parts
@pytest.mark.parametrize(("count", "threads"), [(1, 1), (1, 2), (2, 2), (7, 2), (8, 3), (3, 8)])
def test_work_is_shared_without_gaps_or_repeats(count: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done, lock = [], threading.Lock()

        def piece(first: int, last: int) -> None:
            with lock:
                done.extend(range(first, last))

        share(piece, count, work=1e9)
        assert sorted(done) == list(range(count))
        done.clear()
        share(piece, count, work=1.0)
        assert done == list(range(count)), "a small call stays on the caller's thread, in order"
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def piece(first: int, last: int) -> None:
        raise RuntimeError(f"failed at {first}")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="failed at 0"):
            share(piece, 4, work=1e9)
    finally:
        torch.set_num_threads(before)


def test_work_goes_on_while_the_interpreter_shuts_down(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    monkeypatch.setattr(numba_runtime, "_pool", lambda _: closed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    share(lambda first, last: done.extend(range(first, last)), 10, work=1e9)
    assert sorted(done) == list(range(10))


def test_room_to_work_in_is_kept_by_each_thread() -> None:
    first, second = scratch(5, 17)
    assert (first.size, second.size) == (5, 17)
    assert first.ctypes.data % 64 == second.ctypes.data % 64 == 0
    first[:], second[:] = 1.0, 2.0
    assert (first == 1.0).all()  # they do not overlap
    again, larger = scratch(4, 3)[0], scratch(10_000)[0]
    assert again.ctypes.data == first.ctypes.data
    assert larger.size == 10_000 and larger.ctypes.data % 64 == 0
    with ThreadPoolExecutor(1) as pool:
        (others,) = pool.submit(scratch, 5).result()
    assert not np.shares_memory(others, scratch(5)[0])
    assert scratch() == []


def test_what_is_cached_on_disk_is_of_these_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = numba_runtime._sources()
    assert numba_kernels._sum_rows._cache._cache_file._source_stamp == before
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" * (path.name == "numba_rows.py"))
    assert numba_runtime._sources.__wrapped__() != before


def test_the_fast_exponential_is_accurate() -> None:
    from segcrf.kernels.numba_runtime import exponentiate

    x = np.concatenate([np.linspace(-699.0, 0.0, 20_001), [-1e-300, -0.5 * math.log(2), -math.log(2)]])
    got = x.copy()
    exponentiate(got)
    np.testing.assert_allclose(got, np.exp(x), rtol=1e-13)
    forbidden = np.array([-np.inf, -1e4, 0.0, -np.inf])
    exponentiate(forbidden)
    assert forbidden.tolist() == [0.0, 0.0, 1.0, 0.0]


@numba.njit(error_model="numpy", fastmath={"contract", "nsz"})
def vector_answers(x: Any, floats: Any, offsets: Any, packed: Any, unpacked: Any) -> tuple[Any, ...]:
    powers, some, ordered = np.empty(8), np.empty(8), np.empty(8)
    simd.store(powers, 0, simd.exp(simd.load(x, 0)))
    simd.store(some, 0, simd.load_part(floats, 1, 3, -1.0))
    simd.store(ordered, 0, simd.spread(simd.larger(simd.load(x, 0), simd.splat(-1.0)), 5))
    simd.gather(floats, offsets, 2, packed, 1)
    simd.scatter(packed, 1, unpacked, offsets, 2)
    vector = simd.load(powers, 0)
    sums = simd.total(vector), simd.peak(vector), simd.first_equal(vector, 1.0), simd.first_equal(vector, 3.0)
    outside = simd.any_outside(vector, simd.splat(-1.0), simd.splat(1.5))
    return powers, some, ordered, sums, outside, simd.any_outside(vector, simd.splat(0.0), simd.splat(1.5))


def test_vectors_do_what_their_names_say() -> None:
    x = np.array([0.0, -1e-300, -0.3, -20.0, -699.0, -700.0, -1e4, -np.inf])
    floats = np.arange(160, dtype=np.float32)
    offsets = np.arange(8)[::-1] * 16
    packed, unpacked = np.zeros(72), np.zeros(160, np.float32)
    powers, some, ordered, sums, outside, not_positive = vector_answers(x, floats, offsets, packed, unpacked)
    np.testing.assert_allclose(powers, np.where(x > -700, np.exp(x), 0.0), rtol=1e-13)
    assert powers[0] == 1.0 and (powers[5:] == 0.0).all()
    assert some.tolist() == [1.0, 2.0, 3.0, -1.0, -1.0, -1.0, -1.0, -1.0]
    assert (ordered == -1.0).all()
    assert (packed[8:].reshape(8, 8) == (offsets + 2)[None, :] + np.arange(8)[:, None]).all()  # lane l, number i
    touched = (offsets[:, None] + 2 + np.arange(8)).ravel()
    assert (unpacked[touched] == floats[touched]).all() and unpacked.sum() == floats[touched].sum()
    assert math.isclose(sums[0], powers.sum(), rel_tol=1e-15) and sums[1:] == (1.0, 0, 8)
    assert not outside and not_positive


@numba.njit(error_model="numpy", fastmath={"contract", "nsz"})
def logarithms(x: Any, out: Any) -> None:
    for k in range(x.size // 8):
        simd.store(out, k, simd.log(simd.load(x, k)))


def test_logarithms_are_those_of_numpy() -> None:
    x = np.concatenate([np.geomspace(1e-300, 1e300, 2001), np.linspace(0.5, 2.0, 3000), [1.0, 0.5**0.5, 2.0**0.5]])
    x = np.concatenate([x, np.ones(-x.size % 8)])
    got = np.empty_like(x)
    logarithms(x, got)
    np.testing.assert_allclose(got, np.log(x), rtol=1e-15, atol=1e-15)
    assert (got[x == 1.0] == 0.0).all()


@pytest.mark.parametrize(("lengths", "classes"), [([9000, 1, 15, 16, 17, 8999, 4000, 3277], 5), ([6001], 20)])
def test_messages_that_are_computed_again_are_the_same(lengths: list[int], classes: int) -> None:
    # Longer than what is kept: every message but those of the last chunk is computed twice.
    rng = np.random.default_rng(0)
    batch, sizes = len(lengths), torch.tensor(lengths)
    emissions = torch.from_numpy(rng.normal(size=(batch, max(lengths), classes)))
    shared = [torch.from_numpy(rng.normal(size=size)) for size in ((classes, classes), classes, classes)]
    log_z, *counts = numba_kernels.sum_product(emissions, *shared, sizes, True)
    again, *others = (torch.zeros_like(each) for each in (log_z, *counts))
    others[0], others[-1] = (others[i].view(-1) for i in (0, -1))
    inputs = (each.numpy() for each in (sizes, torch.arange(batch), *shared, again))
    outputs = tuple(each.numpy() for each in others)
    numba_kernels._sum_logarithmic(*numba_kernels._flat(emissions), *inputs, outputs, 0, batch)
    others[0], others[-1] = (others[i].view(emissions.shape) for i in (0, -1))
    torch.testing.assert_close(log_z, again, rtol=1e-12, atol=1e-12)
    for got, expected in zip(counts, others, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)
    score, labels, _ = numba_kernels.max_product(emissions, *shared, sizes)
    for row, length in enumerate(lengths):  # those decoded side by side one by one, and the other way round
        copies = 1 if batch > 1 else 8
        same = emissions[row : row + 1, :length].repeat(copies, 1, 1)
        other = numba_kernels.max_product(same, *shared, torch.full((copies,), length))
        assert labels[row, :length].tolist() == other[1][0].tolist() and (labels[row, length:] == -100).all()
        assert math.isclose(score[row], other[0][0], rel_tol=1e-12)


@pytest.mark.parametrize(
    ("length", "classes", "forbidden", "spread"),
    [
        (2, 4, 0.0, 1.0),
        (7, 3, 0.3, 2.0),
        (33, 1, 0.0, 1.0),
        (501, 9, 0.0, 3.0),
        (60, 17, 0.4, 1.0),
        (12, 4, 0.0, 200.0),  # so wide that it is done again in log space
        (9, 3, 1.0, 1.0),  # no labelling is allowed
    ],
)
def test_a_long_recording_is_done_from_both_ends(
    length: int, classes: int, forbidden: float, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(length)
    shared = [torch.from_numpy(rng.normal(size=size)) for size in ((classes, classes), classes, classes)]
    shared[0][torch.from_numpy(rng.random((classes, classes)) < forbidden)] = -torch.inf
    emissions = spread * torch.from_numpy(rng.normal(size=(2, length + 3, classes)))
    lengths = torch.tensor([length, length + 3])

    def both() -> tuple[Tensor, ...]:
        counts = numba_kernels.sum_product(emissions, *shared, lengths, True)
        total = numba_kernels.log_partition(emissions, *shared, lengths)
        return (*counts, total, *numba_kernels.max_product(emissions, *shared, lengths))

    whole = both()
    monkeypatch.setattr(numba_kernels, "_LONG", 2)
    for got, expected in zip(both(), whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_arrays_are_views_where_they_can_be() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert np.shares_memory(array(tensor), tensor.numpy())
    assert array(tensor.T).flags["C_CONTIGUOUS"]
    assert array(tensor.bfloat16()).dtype == np.float32 and array(tensor.double()).dtype == np.float64


# --------------------------------------------------------------------------------------------------------- processes
class Decoding(Dataset[Tensor]):
    """Decodes in the worker of a DataLoader, on two threads."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __len__(self) -> int:
        return 2

    def __getitem__(self, _: int) -> Tensor:
        torch.set_num_threads(2)
        # Without validation: PyTorch's own threads, unlike ours, hang in a child that was forked after they had run.
        return LinearChain(**self.case.potentials, lengths=self.case.lengths, validate_args=False).mode


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_run_in_the_workers_of_a_data_loader(method: str) -> None:
    # Large enough to be shared among threads: a pool of the parent does not survive a fork.
    rng = np.random.default_rng(0)
    potentials = {
        "emissions": torch.from_numpy(rng.normal(size=(32, 1000, 20))),
        "transitions": torch.from_numpy(rng.normal(size=(20, 20))),
    }
    decoding = Decoding(Case(potentials, torch.full((32,), 1000)))
    before = torch.get_num_threads()
    try:
        expected = decoding[0]
    finally:
        torch.set_num_threads(before)
    loader = DataLoader(decoding, batch_size=None, num_workers=1, multiprocessing_context=method, timeout=120)
    assert all(torch.equal(got, expected) for got in loader)


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


READ_ONLY = """
import numba.core.caching as caching
class ReadOnly:
    @classmethod
    def from_function(cls, function, path):  # no folder can be written
        return None
caching.CacheImpl._locator_classes = [ReadOnly]
import torch
from segcrf import LinearChain
print(LinearChain(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.zeros(2, 2)).mode.tolist())
from segcrf.kernels.linear_chain import numba_kernels
print(numba_kernels._max_rows.stats.cache_path)
"""


@pytest.mark.slow
def test_a_read_only_installation_compiles_without_a_cache() -> None:
    run = subprocess.run([sys.executable, "-c", READ_ONLY], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[[0, 1]]", "None"]
