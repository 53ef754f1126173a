"""Operator: the kernels of a structure as PyTorch operators, with guards, autograd and fake kernels.

Every module of kernels exports the same functions over plain tensors, without autograd or validation::

    log_partition(*potentials, lengths)              -> log_z (B,)
    sum_product(*potentials, lengths, starts)        -> log_z (B,), one gradient per potential, starts (B, T, C)
    log_prob(*potentials, labels, lengths, gradient) -> log_prob (B,), log_z (B,), one gradient per potential
    max_product(*potentials, lengths)                -> score (B,), labels (B, T), starts (B, T)

Gradients are per recording: a potential without a batch axis gets one, a potential with a batch axis keeps its shape.
Those of ``sum_product`` are expected counts; those of ``log_prob`` are gradients of ``-log_prob``: expected less
observed counts. ``starts`` (probability that a band begins) and the gradient of ``log_prob`` are computed on request,
else empty. ``log_z`` and scores are float64: over a million frames the loss is the difference of two large totals, and
float32 would round it away. Labels of -100 inside a recording are summed over; beyond its length labels are not read,
and are written as -100.

:class:`Operator` turns them into PyTorch operators, so that autograd, ``torch.compile`` and ``torch.export`` see one
node. Each operator checks its inputs before a kernel addresses memory, see :mod:`segcrf.kernels.guard`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segcrf.kernels.backends import DEVICE_OF
from segcrf.kernels.guard import check_lengths, check_one_device, check_potentials, clamp_lengths, prepare_labels
from segcrf.kernels.layout import clamp, empty_beside, working_dtype

__all__ = ["Operator"]

# Defined by hand: torch.library.custom_op adds to each call as much time as a small kernel takes.
_LIBRARY = torch.library.Library("segcrf", "FRAGMENT")


class Operator:
    """The kernels of one structure as PyTorch operators ``segcrf::<structure>_*``.

    Args:
        structure: the beginning of the operators' names.
        axes: the potentials in order, and the axes of each: B recordings, T frames, S = T - 1 steps, C classes,
            K durations. The first, the emissions ``"BTC"`` at least, have the batch axis, the others have none.
        scan: ``scan(potentials, lengths, starts)``, the differentiable reference of the log partition. Derivatives of
            a gradient, of any order, go through it, since kernels compute first derivatives only.
        beside: whether kernels return counts of labels and starts in the memory layout of the emissions, see
            :func:`empty_beside`.
        kernels: by backend, the module of this package that holds its kernels.
    """

    def __init__(
        self,
        structure: str,
        axes: Mapping[str, str],
        scan: Callable[..., Tensor],
        *,
        beside: bool = False,
        kernels: Mapping[str, str],
    ) -> None:
        self._structure = structure
        self._beside = beside
        self.kernels = kernels
        self._scan = scan
        self.axes = axes
        self.batched = sum(letters.startswith("B") for letters in axes.values())
        arguments = ", ".join(f"Tensor {name}" for name in axes)
        counts = ", ".join(["Tensor"] * len(axes))
        define = self._define
        self.log_partition = define("log_partition", f"({arguments}, Tensor lengths) -> Tensor", _fake_log_partition)
        self.max_product = define(
            "max_product", f"({arguments}, Tensor lengths) -> (Tensor, Tensor, Tensor)", _fake_max_product
        )
        self.sum_product = define(
            "sum_product",
            f"({arguments}, Tensor lengths, bool starts) -> (Tensor, {counts}, Tensor)",
            self._fake_sum_product,
        )
        self._differentiate(self.sum_product, self._sum_product_backward, _remember_sum_product)
        self.log_prob = define(
            "log_prob",
            f"({arguments}, Tensor labels, Tensor lengths, bool gradient) -> (Tensor, Tensor, {counts})",
            self._fake_log_prob,
        )
        self._differentiate(self.log_prob, self._log_prob_backward, _remember_log_prob)

    def _define(self, name: str, schema: str, fake: Callable[..., Any]) -> Any:
        def kernel_of(kernels: str) -> Callable[..., Any]:
            def kernel() -> Callable[..., Any]:  # imported at the first call: compilers are heavy
                return getattr(importlib.import_module(f"segcrf.kernels.{self.kernels[kernels]}"), name)

            def on_cpu(*arguments: Any) -> Any:
                potentials, labels, lengths, options = self._guarded(arguments)
                return kernel()(*potentials, *labels, check_lengths(lengths, potentials[0]), *options)

            def on_gpu(*arguments: Any) -> Any:
                potentials, labels, lengths, options = self._guarded(arguments)
                lengths, outside = clamp_lengths(lengths, potentials[0])
                with torch.cuda.device_of(potentials[0]):  # kernels run on the GPU that the tensors are on
                    answers = kernel()(*potentials, *labels, lengths, *options)
                return _forbid_recordings(answers, outside)

            return on_gpu if DEVICE_OF[kernels] == "cuda" else on_cpu

        full = f"{self._structure}_{name}"
        _LIBRARY.define(f"{full}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        for kernels in self.kernels:
            _LIBRARY.impl(full, kernel_of(kernels), DEVICE_OF[kernels].upper())

        def on_one_device(*arguments: Any) -> Any:  # a mixture with meta tensors would get memory without values
            check_one_device([each for each in arguments if isinstance(each, Tensor)])
            return fake(*arguments)

        torch.library.register_fake(f"segcrf::{full}", on_one_device, lib=_LIBRARY)
        return getattr(torch.ops.segcrf, full).default

    def _guarded(self, arguments: Sequence[Any]) -> tuple[Sequence[Tensor], list[Tensor], Tensor, list[bool]]:
        """Return potentials, labels (if any), lengths and options of a call; all tensors but lengths are checked."""
        count = len(self.axes)
        potentials = arguments[:count]
        check_potentials(self.axes, potentials)
        *labels, lengths = (each for each in arguments[count:] if isinstance(each, Tensor))
        options = [each for each in arguments[count:] if isinstance(each, bool)]
        return potentials, [prepare_labels(each, potentials[0]) for each in labels], lengths, options

    def _differentiate(self, operator: Any, backward: Callable[..., Any], remember: Callable[..., None]) -> None:
        below: Any = torch._C._AutoDispatchBelowAutograd  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]

        class Derivative(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
                with below():
                    answers = operator(*arguments)
                remember(ctx, arguments, answers)
                return answers

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
                return backward(ctx, *grads)

        def run(*arguments: Any) -> Any:
            if torch.is_grad_enabled() and any(torch.is_tensor(each) and each.requires_grad for each in arguments):
                return Derivative.apply(*arguments)
            with below():
                return operator(*arguments)

        _LIBRARY.impl(operator.name().removeprefix("segcrf::").removesuffix(".default"), run, "Autograd")

    def _sum_product_backward(
        self, ctx: Any, grad: Tensor | None, *vectors: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        grads = self._backward(ctx, grad, vectors, self._scan)
        return (*grads, None, None)

    def _log_prob_backward(
        self, ctx: Any, grad: Tensor | None, _: Tensor | None, *vectors: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        labels = ctx.saved_tensors[-1]

        def negative_log_prob(potentials: Sequence[Tensor], lengths: Tensor, starts: Tensor) -> Tensor:
            emissions, *shared = potentials
            clamped = self._scan((clamp(emissions, labels, lengths), *shared), lengths, starts)
            return self._scan(potentials, lengths, starts) - clamped

        grads = self._backward(ctx, None if grad is None else -grad, (*vectors, None), negative_log_prob, owned=True)
        return (*grads, None, None, None)

    def _backward(
        self,
        ctx: Any,
        grad: Tensor | None,
        vectors: tuple[Tensor | None, ...],
        scan: Callable[..., Tensor],
        *,
        owned: bool = False,
    ) -> list[Tensor]:
        """Return the gradients of the potentials, given that of the total (B,) and, for second derivatives, of counts.

        ``owned``: the counts have no other user, so they may be returned as gradients themselves.
        """
        lengths, *saved = ctx.saved_tensors
        potentials, counts = saved[: ctx.arity], saved[ctx.arity : 2 * ctx.arity]
        grad = None if grad is None else grad.to(counts[0].dtype)
        # The loss of most training is a sum: multiplying by ones would cost as much as a small kernel, in new memory.
        unit = owned and grad is not None and _are_ones(grad)
        grads = [None if grad is None else self._weighted(grad, count, i, unit) for i, count in enumerate(counts)]
        if any(vector is not None for vector in vectors):
            second = self._second_order(scan, potentials, lengths, vectors)
            second = [each if i < self.batched else each.sum(0) for i, each in enumerate(second)]
            grads = [each if first is None else first + each for first, each in zip(grads, second, strict=True)]
        return [
            torch.zeros_like(potential) if grad is None else grad.to(potential.dtype)
            for grad, potential in zip(grads, potentials, strict=True)
        ]

    def _weighted(self, grad: Tensor, count: Tensor, i: int, unit: bool) -> Tensor:
        """Return the gradient of potential ``i``: its counts times ``grad``, the gradient of the total (B,).

        ``unit``: ``grad`` is all ones. The result is summed over the recordings if they share the potential.
        """
        if unit:
            return count.detach() if i < self.batched else count.sum(0)
        if i < self.batched:
            return grad.view(-1, *[1] * (count.dim() - 1)) * count
        return torch.mv(count.flatten(1).t(), grad).view(count.shape[1:])

    def _second_order(
        self,
        scan: Callable[..., Tensor],
        potentials: list[Tensor],
        lengths: Tensor,
        vectors: tuple[Tensor | None, ...],
    ) -> tuple[Tensor, ...]:
        """Hessian of ``scan`` times ``vectors``, by two passes through the reference scan."""
        further = torch.is_grad_enabled()  # a third derivative may be taken of this one
        with torch.enable_grad():
            # Views, so that a vector that depends on a potential is constant in these two passes.
            leaves = [
                p.view_as(p) if i < self.batched else p.expand(len(lengths), *p.shape) for i, p in enumerate(potentials)
            ]
            leaves = [p if further and p.requires_grad else p.detach().requires_grad_() for p in leaves]
            starts = torch.zeros_like(leaves[0], requires_grad=True)
            total = scan(leaves, lengths, starts).sum()
            counts = torch.autograd.grad(total, [*leaves, starts], create_graph=True, materialize_grads=True)
            inner = [(c * v).sum() for c, v in zip(counts, vectors, strict=True) if v is not None and v.numel()]
            return torch.autograd.grad(torch.stack(inner).sum(), leaves, create_graph=further, materialize_grads=True)

    def _fake_sum_product(self, emissions: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        *shared, _, starts = rest
        counts = self._fake_counts(emissions, shared, True)
        return (_fake_log_partition(emissions), *counts, self._fake_frames(emissions, starts))

    def _fake_log_prob(self, emissions: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        *shared, _, _, gradient = rest
        totals = _fake_log_partition(emissions), _fake_log_partition(emissions)
        return (*totals, *self._fake_counts(emissions, shared, gradient))

    def _fake_counts(self, emissions: Tensor, shared: Sequence[Tensor], gradient: bool) -> list[Tensor]:
        rows = emissions.shape[0] if gradient else 0  # len would fix the number in a traced program
        shapes = [p.shape[1:] if i < self.batched else p.shape for i, p in enumerate(shared, 1)]
        counts = [emissions.new_empty((rows, *shape), dtype=working_dtype(emissions)) for shape in shapes]
        return [self._fake_frames(emissions, gradient), *counts]

    def _fake_frames(self, emissions: Tensor, wanted: bool) -> Tensor:
        return empty_beside(emissions if self._beside else emissions.contiguous(), wanted)


def _forbid_recordings(answers: Any, outside: Tensor) -> Any:
    """Set the totals (B,) of recordings with a wrong length to -inf, as if no labelling were allowed."""
    if isinstance(answers, Tensor):
        return answers.masked_fill(outside, -torch.inf)
    totals = [each.masked_fill(outside, -torch.inf) if _is_total(each) else each for each in answers]
    return tuple(totals)


def _is_total(values: Tensor) -> bool:
    return values.dim() == 1 and values.is_floating_point()


def _remember_sum_product(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *potentials, lengths, _ = inputs
    _remember(ctx, potentials, lengths, output[1:-1])


def _remember_log_prob(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *potentials, labels, lengths, _ = inputs
    _remember(ctx, potentials, lengths, output[2:], labels)


def _remember(ctx: Any, potentials: Sequence[Tensor], lengths: Tensor, counts: Sequence[Tensor], *more: Tensor) -> None:
    ctx.set_materialize_grads(False)
    ctx.arity = len(potentials)
    ctx.save_for_backward(lengths, *potentials, *counts, *more)


def _are_ones(grad: Tensor) -> bool:
    """Return whether a gradient is all ones on a CPU, and whether the tensors saved by the forward pass may be reused.

    This holds if no graph is kept or made, and if nothing traces the pass or maps over it.
    """
    native: Any = torch._C  # pyright: ignore[reportPrivateUsage]
    autograd, functorch = native._autograd, native._functorch
    if grad.device.type != "cpu" or type(grad) is not Tensor or functorch.is_functorch_wrapped_tensor(grad):
        return False
    kept = torch.is_grad_enabled() or autograd._get_current_graph_task_keep_graph()
    return not kept and bool((grad == 1.0).all())


def _fake_log_partition(emissions: Tensor, *rest: Tensor) -> Tensor:
    return emissions.new_empty(emissions.shape[0], dtype=torch.float64)


def _fake_max_product(emissions: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    frames = emissions.shape[:2]
    return (
        emissions.new_empty(frames[0], dtype=torch.float64),
        emissions.new_empty(frames, dtype=torch.int64),
        emissions.new_empty(frames, dtype=torch.bool),
    )
