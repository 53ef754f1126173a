"""What the Numba kernels share: compilation, a vectorised exponential, and threads."""

# pyright: basic
# NumPy scalars reinterpret their bits here, and Numba infers the types.
from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from segcrf.kernels.layout import working_dtype

__all__ = [
    "array",
    "cache_folder",
    "compiled",
    "exact",
    "exact_exp",
    "exact_part",
    "exp",
    "explicit",
    "exponentiate",
    "finite_range",
    "inlined",
    "label_range",
    "part",
    "scratch",
    "share",
    "source_digest",
]

#: A kernel call shorter than this many units of work (multiply-adds, about a nanosecond each) stays on one thread.
_WORTH_A_THREAD = 500_000


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs without the interpreter lock, cached on disk where the disk is writable.

    Sums may be reordered into SIMD lanes at compile time only, so results are the same in every run and for every
    number of threads. Infinities keep their meaning: -inf forbids.
    """
    return _compiled(function, fastmath={"contract", "reassoc", "nsz"})


def explicit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `compiled` does, but keep the order of sums as written: for code in vectors of `simd`."""
    return _compiled(function, fastmath={"contract", "nsz"})


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of an `explicit` function, without an entry point for Python."""
    return _compiled(function, fastmath={"contract", "nsz"}, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as `compiled` does, but round every multiplication and every sum by itself, in the order as written.

    A result has the same bits in a vector and in the rest of a loop, whatever the sizes of the arrays are.
    """
    return _compiled(function)


def exact_part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of an `exact` function, without an entry point for Python."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Inline a part of an `explicit` function before that function is compiled.

    With one more level of functions, LLVM would optimise everything below once more.
    """
    return numba.njit(inline="always")(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no cache folder is writable: a read-only installation without a home directory
        return numba.njit(**options)(function)
    # Numba checks only the file of the function, but the functions that it calls are compiled into it: without this, a
    # change in them would be missed. This is private to Numba; where a version lacks it, Numba's own rule applies.
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = source_digest()
    if hasattr(file, "_index_path"):
        _forgive(file)
    return dispatcher


def _forgive(file: Any) -> None:
    """Let a function be compiled again where its cache is damaged, and go on where nothing can be written to the disk.

    Otherwise a file that a full disk or a power cut truncated would stop every later process.
    """
    load, save = file.load, file.save

    def load_or_remove(key: Any) -> Any:
        try:
            return load(key)
        except Exception:  # what a damaged pickle raises is any error
            Path(file._index_path).unlink(missing_ok=True)
            return None

    def save_if_possible(key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            save(key, data)

    file.load, file.save = load_or_remove, save_if_possible


def cache_folder() -> Path | None:
    """Return the folder where compiled kernels are kept; None if no folder can be written to."""
    kept: Any = getattr(exponentiate, "_cache", None)
    path: str | None = getattr(kept, "cache_path", None)
    return None if path is None else Path(path)


@cache
def source_digest() -> str:
    """Return a digest of the sources of all CPU kernels: the cache on disk is valid only for these sources."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        if not file.name.startswith("triton"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


_LOG2E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, left in the low bits
_BIAS = np.int64(1023)
_SHIFT = np.int64(52)


def _exp(x: float) -> float:
    """Return exp(x) for x in [-700, 700] to about 1e-14, without branches, so that a loop over it becomes SIMD code.

    Range reduction by Cody and Waite, then a Taylor polynomial of degree 11 on |r| <= ln(2) / 2.
    """
    rounded = x * _LOG2E + _ROUND
    k = rounded - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = np.float64(rounded).view(np.int64)
    return p * np.int64((bits << _SHIFT) + (_BIAS << _SHIFT)).view(np.float64)


# Inlined by LLVM, not by Numba: the rounding inside must not inherit a caller's licence to reorder sums.
exp = numba.njit(forceinline=True, fastmath={"contract"}, error_model="numpy")(_exp)
#: The same without any licence of fastmath, so that each lane of a loop and the rest of it round alike.
exact_exp = numba.njit(forceinline=True, error_model="numpy")(_exp)


@compiled
def exponentiate(values):
    """Replace values of at most 0 by their exponentials, in place; exactly 0 for -inf."""
    for i in range(values.size):
        x = values[i]
        e = exp(max(x, -700.0))
        values[i] = e if x > -700.0 else 0.0


@part
def label_range(labels, row, length):
    """Return the lowest and the highest label of one recording; labels may be unchecked."""
    lowest = highest = labels[row, 0]
    for t in range(1, length):
        lowest, highest = min(lowest, labels[row, t]), max(highest, labels[row, t])
    return lowest, highest


@part
def finite_range(scores):
    """Return the largest finite score, or 0 if there is none, and the span of the finite scores."""
    top, lowest = -np.inf, np.inf
    for score in scores:
        if score > -np.inf:
            top, lowest = max(top, score), min(lowest, score)
    return (top, top - lowest) if top > -np.inf else (0.0, 0.0)


# ------------------------------------------------------------------------------------------------- arrays and threads
def array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return a NumPy view of a CPU tensor, contiguous, in a type that Numba knows."""
    return tensor.detach().to(working_dtype(tensor)).contiguous().numpy()


class _Scratch(threading.local):
    memory = np.empty(0)


_scratch = _Scratch()
_LINE = 8  # elements of a cache line


def scratch(*sizes: int) -> list[np.ndarray[Any, Any]]:
    """Return work arrays of ``sizes`` elements, valid until this thread calls `scratch` again.

    They are kept between calls: every 4 KiB of fresh memory costs a page fault, in total as much as a small kernel.
    Each array begins at a cache line, so that no vector lies across two lines.
    """
    bounds = [0, *accumulate(-(-size // _LINE) * _LINE for size in sizes)]
    if _scratch.memory.size < bounds[-1]:
        memory = np.empty(bounds[-1] + _LINE)
        shift = -memory.ctypes.data % (8 * _LINE) // 8
        _scratch.memory = memory[shift : shift + bounds[-1]]
    return [_scratch.memory[begin : begin + size] for begin, size in zip(bounds, sizes, strict=False)]


def share(function: Callable[[int, int], None], count: int, work: float) -> None:
    """Call ``function(first, last)`` on pieces of ``range(count)``, on as many threads as PyTorch may use.

    ``work`` is the total in multiply-adds; a small call stays on the caller's thread.
    """
    threads = min(count, torch.get_num_threads(), int(work / _WORTH_A_THREAD) + 1)
    if threads <= 1:
        function(0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    # The pieces run without the interpreter lock. The first piece runs here, so that one thread fewer has to wake up.
    others: list[Future[None]] = []
    try:
        try:
            for piece in pairwise(bounds[1:]):
                others.append(_pool(os.getpid()).submit(function, *piece))
        except RuntimeError:  # the interpreter shuts down while a thread of the user still computes
            function(bounds[1 + len(others)], count)
        function(0, bounds[1])
    finally:  # no piece may write after an error has been raised
        wait(others)
    for other in others:
        other.result()


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(process: int) -> ThreadPoolExecutor:
    # One pool per process: threads do not survive a fork, for example in DataLoader workers.
    if process not in _pools:
        _pools[process] = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="segcrf")
    return _pools[process]
