"""What the Triton kernels share: block sizes, types, and sums of logarithms."""

# pyright: basic, reportOperatorIssue=false
# The functions below are compiled: Triton infers the types of their arguments.
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segcrf._validation import InputError
from segcrf.kernels.layout import working_dtype

__all__ = ["arithmetic", "finite", "log_add", "options", "padded_classes"]

#: The scores of all pairs of classes are held in registers.
MAX_CLASSES = 256

#: Products and sums may be fused. This is the default; it is stated because Triton warns that the default will change.
_FUSION = {"enable_fp_fusion": True}

_DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


def arithmetic(emissions: Tensor) -> tl.dtype:
    """Return the type that a kernel computes in: float32, or float64 where the emissions are."""
    return _DTYPES[working_dtype(emissions)]


def padded_classes(classes: int) -> int:
    """Return ``classes`` rounded up to a power of two, as Triton's blocks are.

    Raises:
        InputError: more classes than fit into registers.
    """
    if classes > MAX_CLASSES:
        raise InputError(
            "num_classes",
            str(classes),
            f"at most {MAX_CLASSES} for Triton kernels",
            "use backend='torch', or fewer classes",
        )
    return max(2, triton.next_power_of_2(classes))


def options(elements: int) -> dict[str, int]:
    """Return the launch options of a program with a largest block of ``elements``: 32 per thread, at most 16 warps."""
    return {"num_warps": min(16, max(1, triton.next_power_of_2(triton.cdiv(elements, 1024)))), **_FUSION}


@triton.jit
def finite(x):
    """Return x, with 0 instead of -inf: a value that can be subtracted before an exponential."""
    return tl.where(x == -float("inf"), 0.0, x)


@triton.jit
def log_add(a, b):
    """Return log(exp(a) + exp(b)); a and b may be -inf."""
    top = tl.maximum(a, b)
    shift = finite(top)
    return shift + tl.log(tl.exp(a - shift) + tl.exp(b - shift))
