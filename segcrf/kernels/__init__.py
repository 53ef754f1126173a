"""Kernels: the two scans that must be fast, log-sum and max, one file per structure and device.

Every file exports the same functions over plain tensors, without autograd, validation or modules::

    log_partition(*potentials, lengths)       -> log_z (B,)
    sum_product(*potentials, lengths, starts) -> log_z (B,), one gradient per potential, starts (B, T, C)
    max_product(*potentials, lengths)         -> score (B,), labels (B, T), starts (B, T)

Gradients are per recording: a potential without a batch axis gets one. ``starts`` (probability that a band begins) is
computed when asked, else empty. ``log_z`` and ``score`` are float64: over a million frames the difference of two
totals is the loss, and float32 would round it away. ``labels`` beyond a recording's length are -100.

:class:`Operator` makes PyTorch operators of them, so that autograd, ``torch.compile`` and ``torch.export`` see one node,
and :func:`pick` chooses the backend.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

BACKENDS = ("auto", "torch", "numba")
_DEVICE_OF = {"numba": "cpu"}


def pick(backend: str, device: torch.device) -> str:
    """Return the backend to run on ``device``; one that was insisted on and cannot run is an error with the reason."""
    if backend == "torch":
        return backend
    if backend == "auto":
        return "numba" if device.type == "cpu" and find_spec("numba") else "torch"
    if device.type != _DEVICE_OF[backend]:
        raise ValueError(
            f"backend {backend!r} runs on {_DEVICE_OF[backend]}, the emissions are on {device.type}; "
            f"move them, or use backend='auto'"
        )
    if not find_spec(backend):
        raise ValueError(f"backend {backend!r} needs the package {backend}; pip install {backend}, or use backend='auto'")
    return backend


class Operator:
    """The kernels of one structure as PyTorch operators ``segcrf::<structure>_*``.

    ``fields`` names the potentials in order; the first, the emissions (B, T, C), has the batch axis, the others have
    none. ``scan(potentials, lengths, starts)`` is the differentiable reference of the log partition: a gradient of a
    gradient goes through it, since kernels know first derivatives only.
    """

    def __init__(self, structure: str, fields: tuple[str, ...], scan: Callable[..., Tensor]) -> None:
        self._structure = structure
        self._scan = scan
        arguments = ", ".join(f"Tensor {name}" for name in (*fields, "lengths"))
        counts = ", ".join(["Tensor"] * (len(fields) + 1))
        self.log_partition = self._define("log_partition", f"({arguments}) -> Tensor", _fake_log_partition)
        self.max_product = self._define("max_product", f"({arguments}) -> (Tensor, Tensor, Tensor)", _fake_max_product)
        self.sum_product = self._define(
            "sum_product", f"({arguments}, bool starts) -> (Tensor, {counts})", _fake_sum_product
        )
        self.sum_product.register_autograd(self._backward, setup_context=_remember)

    def _define(self, name: str, schema: str, fake: Callable[..., Any]) -> Any:
        def run(*arguments: Any) -> Any:
            module = importlib.import_module(f"segcrf.kernels.{self._structure}_numba")
            return getattr(module, name)(*arguments)

        operator = torch.library.custom_op(
            f"segcrf::{self._structure}_{name}", run, mutates_args=(), device_types="cpu", schema=schema
        )
        operator.register_fake(fake)
        return operator

    def _backward(self, ctx: Any, grad_log_z: Tensor | None, *grad_counts: Tensor | None) -> tuple[Tensor | None, ...]:
        lengths, *saved = ctx.saved_tensors
        potentials, counts = saved[: ctx.arity], saved[ctx.arity :]
        grads = [torch.zeros_like(count) for count in counts]
        if grad_log_z is not None:
            grads = [_per_recording(grad_log_z, count) * count for count in counts]
        if any(grad is not None for grad in grad_counts):
            second = self._second_order(potentials, lengths, grad_counts)
            grads = [first + other for first, other in zip(grads, second, strict=True)]
        shared = (
            (grad.sum(0) if grad.dim() > potential.dim() else grad).to(potential.dtype)
            for grad, potential in zip(grads, potentials, strict=True)
        )
        return (*shared, None, None)

    def _second_order(
        self, potentials: list[Tensor], lengths: Tensor, vectors: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, ...]:
        """Hessian of the log partition times ``vectors``, by two passes through the reference scan."""
        num_recordings = len(lengths)
        with torch.enable_grad():
            leaves = [
                (p if i == 0 else p.expand(num_recordings, *p.shape)).detach().requires_grad_()
                for i, p in enumerate(potentials)
            ]
            starts = torch.zeros_like(leaves[0], requires_grad=True)
            log_z = self._scan(leaves, lengths, starts).sum()
            counts = torch.autograd.grad(log_z, [*leaves, starts], create_graph=True)
            inner = [(c * v).sum() for c, v in zip(counts, vectors, strict=True) if v is not None and v.numel()]
            return torch.autograd.grad(torch.stack(inner).sum(), leaves, materialize_grads=True)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *potentials, lengths, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.arity = len(potentials)
    ctx.save_for_backward(lengths, *potentials, *output[1:-1])


def _per_recording(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def _fake_log_partition(emissions: Tensor, *rest: Tensor) -> Tensor:
    return emissions.new_empty(emissions.shape[0], dtype=torch.float64)


def _fake_sum_product(emissions: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *shared, _, starts = rest
    dtype = working_dtype(emissions)
    batch = emissions.shape[0]
    counts = (p.new_empty((batch, *p.shape), dtype=dtype) for p in shared)
    return (
        emissions.new_empty(batch, dtype=torch.float64),
        torch.empty_like(emissions, dtype=dtype, memory_format=torch.contiguous_format),
        *counts,
        emissions.new_empty((batch if starts else 0, *emissions.shape[1:]), dtype=dtype),
    )


def _fake_max_product(emissions: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    frames = emissions.shape[:2]
    return (
        emissions.new_empty(frames[0], dtype=torch.float64),
        emissions.new_empty(frames, dtype=torch.int64),
        emissions.new_empty(frames, dtype=torch.bool),
    )


def working_dtype(emissions: Tensor) -> torch.dtype:
    """Half-precision scores are read as they are and computed in float32; others keep their type."""
    return torch.promote_types(emissions.dtype, torch.float32)
