"""Kernels for CPUs: threads, memory, SIMD vectors, chunks and halves of long recordings, processes."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segcrf import LinearChain
from segcrf.kernels import numba_runtime, simd
from segcrf.kernels.linear_chain import numba_forward_backward, numba_kernels, numba_schedule
from segcrf.kernels.numba_runtime import array, exponentiate, scratch, share
from segcrf.testing.cases import Case


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
    before = numba_runtime.source_digest()
    assert numba_forward_backward.sum_rows._cache._cache_file._source_stamp == before
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" * (path.name == "numba_viterbi_rows.py"))
    assert numba_runtime.source_digest.__wrapped__() != before


def test_the_fast_exponential_is_accurate() -> None:
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
    numba_forward_backward.sum_logarithmic(*numba_schedule.flatten(emissions), *inputs, outputs, 0, batch)
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
    monkeypatch.setattr(numba_schedule, "_LONG", 2)
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
from segcrf.kernels.linear_chain import numba_viterbi
print(numba_viterbi.best_rows.stats.cache_path)
"""


@pytest.mark.slow
def test_a_read_only_installation_compiles_without_a_cache() -> None:
    run = subprocess.run([sys.executable, "-c", READ_ONLY], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[[0, 1]]", "None"]
