"""What the Triton kernels share: block sizes, types, and sums of logarithms."""

# pyright: basic, reportOperatorIssue=false
# The functions below are compiled: Triton infers the types of their arguments.
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from segcrf.kernels.layout import working_dtype

#: The scores of all pairs of classes are held in registers.
MAX_CLASSES = 256

#: Products and sums may be fused, as by default; said aloud, because Triton warns that its default will change.
_FUSION = {"enable_fp_fusion": True}

_DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


def arithmetic(emissions: Tensor) -> tl.dtype:
    """The type that a kernel computes in: float32, or float64 where the emissions are."""
    return _DTYPES[working_dtype(emissions)]


def padded_classes(classes: int) -> int:
    """Classes rounded up to a power of two, as Triton's blocks are; raises where they do not fit into registers."""
    if classes > MAX_CLASSES:
        raise ValueError(
            f"the Triton kernels take up to {MAX_CLASSES} classes, got {classes}; use backend='torch', or fewer classes"
        )
    return max(2, triton.next_power_of_2(classes))


def options(elements: int) -> dict[str, int]:
    """Launch options of a program whose largest block has so many elements: 32 per thread, 16 warps at most."""
    return {"num_warps": min(16, max(1, triton.next_power_of_2(triton.cdiv(elements, 1024)))), **_FUSION}


@triton.jit
def finite(x):
    """x, and 0 instead of -inf: what to subtract before an exponential."""
    return tl.where(x == -float("inf"), 0.0, x)


@triton.jit
def log_add(a, b):
    """log(exp(a) + exp(b)), of which either may be -inf."""
    top = tl.maximum(a, b)
    shift = finite(top)
    return shift + tl.log(tl.exp(a - shift) + tl.exp(b - shift))
