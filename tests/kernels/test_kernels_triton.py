"""Kernels for GPUs, judged by the CPU's: interpreted without a GPU, compiled for one without running, and run on one.

Triton's interpreter is chosen by an environment variable before Triton is imported, so a process of its own runs the
kernels and the tests here send it tensors.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segcrf import LinearChain, SemiMarkov
from segcrf.structures import LinearChainPotentials
from segcrf.testing.cases import Case, chain_case, semi_markov_case

pytest.importorskip("triton", reason="Triton is not installed: it has wheels for Linux only")

FOLDERS = {"chain": "linear_chain", "semimarkov": "semi_markov"}
LENGTHS = [5, 2, 1, 6]
Call = Callable[..., list[Tensor]]


# ------------------------------------------------------------------------------------------------- the interpreter
def serve(pipe: Any) -> None:
    """Answer calls of kernels in a process where Triton interprets; blocks and pieces are small, to have several."""
    warnings.simplefilter("ignore")  # NumPy's, of log(0)
    torch.set_num_threads(1)
    chain = importlib.import_module("segcrf.kernels.linear_chain.triton_kernels")
    semimarkov = importlib.import_module("segcrf.kernels.semi_markov.triton_kernels")
    cut = chain._cut
    chain._ROWS_PER_PROGRAM = 1
    semimarkov._BLOCK, semimarkov._STRETCH = 8, 4
    while True:
        structure, name, pieces, arguments = pipe.recv()
        module = chain if structure == "chain" else semimarkov
        chain._cut = (lambda batch, frames, classes, p=pieces: (p, -(-frames // p))) if pieces else cut
        result = getattr(module, name)(*map(unpacked, arguments))
        pipe.send([packed(r) for r in (result if isinstance(result, tuple) else (result,))])


def packed(value: Any) -> Any:
    """Plain numbers: a tensor would travel by shared memory. NumPy has no bfloat16, float32 holds it."""
    return (value.dtype, value.detach().float().numpy()) if is_half(value) else numbers(value)


def numbers(value: Any) -> Any:
    return (value.dtype, value.detach().numpy()) if isinstance(value, Tensor) else value


def is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def unpacked(value: Any) -> Any:
    return torch.from_numpy(np.array(value[1])).to(value[0]) if isinstance(value, tuple) else value


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Call]:
    """``interpreted(structure, function, *arguments, pieces=None)``: outputs of a Triton kernel, interpreted."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=serve, args=(there,), daemon=True)
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        worker.start()
    finally:
        os.environ.pop("TRITON_INTERPRET")
        if before is not None:
            os.environ["TRITON_INTERPRET"] = before
    there.close()

    def call(structure: str, name: str, *arguments: Any, pieces: int | None = None) -> list[Tensor]:
        here.send((structure, name, pieces, [packed(a) for a in arguments]))
        return [unpacked(r) for r in here.recv()]

    yield call
    worker.kill()
    worker.join()


def judged(call: Call, structure: str, potentials: tuple[Tensor, ...], lengths: Tensor, **options: Any) -> None:
    """All four functions agree with the CPU's kernels, in every output."""
    judge = importlib.import_module(f"segcrf.kernels.{FOLDERS[structure]}.numba_kernels")
    best = judge.max_product(*potentials, lengths)
    labels = best[1].clone()
    labels[0, 1:3] = -100  # recording 0 is labelled in part, the others completely
    labels[-1, 0] = -100
    for name, *extra in (
        ("log_partition",), ("sum_product", True), ("sum_product", False), ("max_product",),
        ("log_prob", labels, True), ("log_prob", labels, False)
    ):  # fmt: skip
        arguments = (*potentials, *(e for e in extra if isinstance(e, Tensor)), lengths)
        arguments += tuple(e for e in extra if isinstance(e, bool))
        expected = getattr(judge, name)(*arguments)
        same(call(structure, name, *arguments, **options), expected, name, potentials[0].dtype)


def same(got: list[Tensor], expected: Any, name: str, dtype: torch.dtype) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-5
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(
            a, b, rtol=tolerance, atol=tolerance, msg=lambda m, i=i: f"output {i} of {name}: {m}"
        )


def chain_inputs(classes: int, kind: str, dtype: torch.dtype, forbidden: float = 0.3) -> tuple[Any, Tensor]:
    case = chain_case(classes, LENGTHS, 7, classes, kind, forbidden)
    return tuple(p.to(dtype) for p in case.potentials.values()), case.lengths


@pytest.mark.parametrize(
    ("classes", "kind", "dtype"),
    [
        (1, "normal", torch.float64),
        (2, "extreme", torch.float64),
        pytest.param(5, "normal", torch.bfloat16, marks=pytest.mark.slow),
        (5, "ties", torch.float32),
        (33, "normal", torch.float32),
    ],
)
def test_chain_by_recordings(interpreted: Call, classes: int, kind: str, dtype: torch.dtype) -> None:
    potentials, lengths = chain_inputs(classes, kind, dtype)
    judged(interpreted, "chain", potentials, lengths)


@pytest.mark.parametrize(
    ("classes", "kind", "dtype"),
    [
        pytest.param(1, "normal", torch.float64, marks=pytest.mark.slow),
        (3, "extreme", torch.float64),
        (5, "normal", torch.float16),
    ],
)
def test_chain_by_pieces_of_time(interpreted: Call, classes: int, kind: str, dtype: torch.dtype) -> None:
    potentials, lengths = chain_inputs(classes, kind, dtype)
    judged(interpreted, "chain", potentials, lengths, pieces=3)


@pytest.mark.parametrize("pieces", [None, 2])
def test_a_recording_without_a_labelling_counts_nothing(interpreted: Call, pieces: int | None) -> None:
    (emissions, *shared), lengths = chain_inputs(2, "normal", torch.float64, forbidden=0.0)
    emissions[0, 2] = -torch.inf
    log_z, by_label, steps, first, last, starts = interpreted(
        "chain", "sum_product", emissions, *shared, lengths, True, pieces=pieces
    )
    assert log_z[0] == -torch.inf and log_z[1:].isfinite().all()
    for count in (by_label, steps, first, last, starts):
        assert (count[0] == 0).all() and count.isfinite().all()
    score, labels, begins = interpreted("chain", "max_product", emissions, *shared, lengths, pieces=pieces)
    assert score[0] == -torch.inf and (labels[0] == -100).all() and not begins[0].any()


@pytest.mark.parametrize(
    ("classes", "longest", "kind", "dtype", "options"),
    [
        pytest.param(
            *(1, 2, "normal", torch.float64, {"censored": False, "self_transitions": True}), marks=pytest.mark.slow
        ),
        (2, 1, "extreme", torch.float64, {"censored": False, "self_transitions": False}),
        pytest.param(
            *(3, 3, "normal", torch.float32, {"censored": True, "self_transitions": False}), marks=pytest.mark.slow
        ),
        (2, 20, "ties", torch.float64, {"censored": True, "self_transitions": True}),
    ],
)
def test_semi_markov(
    interpreted: Call, classes: int, longest: int, kind: str, dtype: torch.dtype, options: dict[str, bool]
) -> None:
    case = semi_markov_case(classes, [6, 1, 4], 7, classes, longest, kind, 0.3, **options)
    structure = SemiMarkov(*(p.to(dtype) for p in case.potentials.values()), case.lengths, **options)
    judged(interpreted, "semimarkov", structure.potentials, case.lengths)


# ------------------------------------------------------------------------------------------------------- compiled
TYPES = {
    torch.float64: "*fp64", torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.int64: "*i64", torch.int32: "*i32", torch.int16: "*i16", torch.uint8: "*u8", torch.bool: "*i1"
}  # fmt: skip


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the kernels that have been compiled to machine code of sm_90 (Hopper) instead of being launched."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    names: set[str] = set()

    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **keywords: Any) -> None:
        options = {k: keywords.pop(k) for k in ("num_warps", "enable_fp_fusion")}
        bound = inspect.signature(kernel.fn).bind(*arguments, **keywords).arguments
        # A launch compiles an integer of 1 as a constant.
        names_fixed = {p.name for p in kernel.params if p.is_constexpr} | {
            n for n, v in bound.items() if type(v) is int and v == 1
        }
        fixed = {name: bound[name] for name in names_fixed}
        types = {
            n: "constexpr" if n in fixed else TYPES[v.dtype] if isinstance(v, Tensor) else "i32"
            for n, v in bound.items()
        }
        result = triton.compile(ASTSource(kernel, types, fixed), target=GPUTarget("cuda", 90, 32), options=options)
        assert result.asm["cubin"]
        names.add(kernel.fn.__name__)

    monkeypatch.setattr(JITFunction, "run", compile_only)
    return names


def everything(structure: str, potentials: tuple[Tensor, ...], lengths: Tensor) -> None:
    module = importlib.import_module(f"segcrf.kernels.{FOLDERS[structure]}.triton_kernels")
    labels = torch.zeros(potentials[0].shape[:2], dtype=torch.int64)
    module.log_partition(*potentials, lengths)
    module.sum_product(*potentials, lengths, True)
    module.log_prob(*potentials, labels, lengths, True)
    module.max_product(*potentials, lengths)


@pytest.mark.parametrize(
    ("batch", "frames", "classes", "dtype"),
    [
        (1000, 50, 5, torch.bfloat16),
        (1, 2000, 3, torch.float32),
        pytest.param(2, 30, 100, torch.float32, marks=pytest.mark.slow),
    ],
)
def test_chain_compiles_for_a_gpu(
    compiled: set[str], batch: int, frames: int, classes: int, dtype: torch.dtype
) -> None:
    shared = torch.zeros(classes, classes), torch.zeros(classes), torch.zeros(classes)
    everything("chain", (torch.zeros(batch, frames, classes, dtype=dtype), *shared), torch.full((batch,), frames))
    expected = {"_forward", "_scan", "_backward", "_score", "_trace"}
    assert compiled == expected | ({"_link"} if batch == 1 else set())


def test_semi_markov_compiles_for_a_gpu(compiled: set[str]) -> None:
    emissions = torch.zeros(2, 30, 5, dtype=torch.float16)
    potentials = SemiMarkov(emissions, torch.zeros(5, 5), torch.zeros(5, 40), torch.full((5,), -1.0)).potentials
    everything("semimarkov", potentials, torch.full((2,), 30))
    assert compiled == {"_forward", "_backward", "_edges", "_durations", "_best", "_trace"}


# ------------------------------------------------------------------------------------------------------ on hardware
@pytest.fixture
def gpu() -> Call:
    """``gpu(structure, function, *arguments)``: outputs of a kernel on the GPU, brought back."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")

    def call(structure: str, name: str, *arguments: Any) -> list[Tensor]:
        module = importlib.import_module(f"segcrf.kernels.{FOLDERS[structure]}.triton_kernels")
        result = getattr(module, name)(*(a.cuda() if isinstance(a, Tensor) else a for a in arguments))
        return [r.cpu() for r in (result if isinstance(result, tuple) else (result,))]

    return call


@pytest.mark.gpu
@pytest.mark.parametrize("classes", [1, 2, 5, 31, 32, 33, 100])
@pytest.mark.parametrize("kind", ["normal", "extreme"])
def test_chain_on_hardware(gpu: Call, classes: int, kind: str) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16) if kind == "normal" else (torch.float64,):
        potentials, lengths = chain_inputs(classes, kind, dtype)
        judged(gpu, "chain", potentials, lengths)


@pytest.mark.gpu
@pytest.mark.parametrize(("batch", "frames", "classes"), [(300, 100, 5), (1, 1_000_000, 8), (3, 5_000, 33)])
def test_chain_on_hardware_at_size(gpu: Call, batch: int, frames: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    emissions = torch.randn(batch, frames, classes, generator=generator)
    shared = [torch.randn(*size, generator=generator) for size in ((classes, classes), (classes,), (classes,))]
    lengths = torch.randint(frames // 2, frames + 1, (batch,), generator=generator)
    case = Case(dict(zip(LinearChainPotentials._fields, (emissions, *shared), strict=True)), lengths)
    exact = LinearChain(**{k: v.double() for k, v in case.potentials.items()}, lengths=lengths)
    log_z, by_label, *_ = gpu("chain", "sum_product", emissions, *shared, lengths, True)
    torch.testing.assert_close(log_z, exact.log_partition, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(by_label.double(), exact.marginals.labels, rtol=1e-3, atol=1e-4)
    score, _, _ = gpu("chain", "max_product", emissions, *shared, lengths)
    torch.testing.assert_close(score, exact.best.score, rtol=1e-6, atol=1e-4)
    for again in range(2):
        repeated = gpu("chain", "sum_product", emissions, *shared, lengths, True)
        assert torch.equal(repeated[1], by_label), f"run {again} differs: the kernels must be deterministic"


@pytest.mark.gpu
@pytest.mark.parametrize(("classes", "longest"), [(1, 2), (3, 3), (2, 20)])
def test_semi_markov_on_hardware(gpu: Call, classes: int, longest: int) -> None:
    options = {"censored": True, "self_transitions": classes == 1}
    case = semi_markov_case(classes, [6, 1, 4], 7, classes, longest, "normal", 0.3, **options)
    structure = SemiMarkov(*case.potentials.values(), case.lengths, **options)
    judged(gpu, "semimarkov", structure.potentials, case.lengths)


@pytest.mark.gpu
def test_a_gpu_picks_its_kernels(gpu: Call) -> None:
    emissions = torch.randn(2, 50, 3, device="cuda", requires_grad=True)
    chain = LinearChain(emissions, torch.zeros(3, 3, device="cuda"))
    assert chain.backend == "triton"
    loss = -chain.log_prob(chain.mode).sum()
    loss.backward()
    assert emissions.grad is not None
    reference = LinearChain(emissions.detach().cpu().requires_grad_(), torch.zeros(3, 3))
    torch.testing.assert_close(loss.cpu(), -reference.log_prob(chain.mode.cpu()).sum(), rtol=1e-5, atol=1e-4)
