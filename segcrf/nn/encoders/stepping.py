"""What the encoders of this package share in ``step``: when its exact kernel runs, its checks, its packed weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, FrozenStep, State
from segcrf.nn.encoders.by_frame import as_array, kernels_can_read, kernels_may_run

__all__ = ["Array", "SteppingEncoder", "add_plain_parameters", "submodules"]

Array = npt.NDArray[Any]


class SteppingEncoder(Encoder):
    """An encoder with two ways of ``step``: a kernel with an arithmetic of its own, and PyTorch.

    The kernel gives every frame the same bits, however the frames are cut into calls and whatever the other recordings
    are. It runs in evaluation mode, without gradients (``torch.no_grad()``), on a CPU, in float32 or float64. PyTorch
    runs elsewhere: in training, under gradients, on other devices, in other types, under autocast, and where
    ``torch.compile`` or ``torch.export`` traces. Both agree to rounding and share one form of state.

    The state is one tensor (B, *state_shape), recordings first, so that its rows may be selected and joined. A
    recording begins with zeros, which None stands for.

    The kernel reads a packed copy of the weights. Changes of parameters are noticed, except a change of their memory
    through ``parameter.data`` or NumPy, which PyTorch does not count; call ``train()`` or ``eval()`` after it.

    Attributes:
        state_shape: shape of the state of one recording.
    """

    state_shape: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self._packed = _PackedWeights()

    @property
    def exact_steps(self) -> bool:
        return self.causal and self._read_exactly() is not None

    def train(self, mode: bool = True) -> SteppingEncoder:
        self._packed.forget()
        super().train(mode)
        return self

    def exact_step(self, x: Tensor, state: State = None) -> tuple[Tensor, State] | None:
        parameters = self._read_exactly() if self.causal else None
        if parameters is None:
            return None
        self._check_signal(x, parameters[0])
        before = self._checked_state(x, state)
        weights = self._packed.read(parameters, self._pack)
        features, after = self._step_exactly(as_array(x), weights, as_array(before))
        return torch.from_numpy(features), torch.from_numpy(after)

    def freeze_step(self) -> FrozenStep | None:
        parameters = self._read_exactly() if self.causal else None
        if parameters is None:
            return None
        return partial(self._step_by, self._packed.read(parameters, self._pack))  # which can be pickled

    def _step_by(self, weights: Array, x: Array, state: Array | None) -> tuple[Array, Array]:
        before = np.zeros((len(x), *self.state_shape), x.dtype) if state is None else state
        return self._step_exactly(x, weights, before)

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        exact = self.exact_step(x, state)
        if exact is not None:
            return exact
        self._check_signal(x, None)
        before = self._checked_state(x, state)
        if x.shape[1] == 0:  # PyTorch's recurrent networks take one frame or more
            return x.new_zeros(x.shape[0], 0, self.out_features), before
        features, after = self._step_in_torch(x, before)
        return features, after.to(x.dtype)  # autocast computes in another type

    @abstractmethod
    def _parameters_in_order(self) -> list[Tensor] | None:
        """Return the parameters in the order of ``_pack``; None if a submodule is not plain."""

    @abstractmethod
    def _pack(self, parameters: list[Tensor]) -> Tensor:
        """Return the weights as one flat tensor, as the kernel reads them."""

    @abstractmethod
    def _step_exactly(self, x: Array, weights: Array, state: Array) -> tuple[Array, Array]:
        """Run the kernel."""

    @abstractmethod
    def _step_in_torch(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run PyTorch, on one frame or more."""

    def _read_exactly(self) -> list[Tensor] | None:
        """Return the parameters if the kernel can run here and now."""
        if self.training or not kernels_may_run():
            return None
        parameters = self._parameters_in_order()
        return parameters if parameters is not None and kernels_can_read(parameters[0]) else None

    def _check_signal(self, x: Tensor, weight: Tensor | None) -> None:
        if x.dim() != 3 or x.shape[2] != self.in_features:
            expected = f"(B, N, {self.in_features}): recordings, frames and channels"
            raise InputError("x", f"shape {tuple(x.shape)}", expected)
        if weight is not None and (x.dtype != weight.dtype or x.device != weight.device):
            expected = f"{weight.dtype} on {weight.device}, as the weights of the encoder"
            raise InputError("x", f"{x.dtype} on {x.device}", expected, "convert it by x.to(...)")

    def _checked_state(self, x: Tensor, state: State) -> Tensor:
        shape = (x.shape[0], *self.state_shape)
        if state is None:
            return x.new_zeros(shape)
        if not isinstance(state, Tensor) or state.shape != shape:
            got = f"shape {tuple(state.shape)}" if isinstance(state, Tensor) else type(state).__name__
            expected = f"a tensor of shape {shape}"
            raise InputError("state", got, expected, "pass what step returned for these recordings; None to begin")
        if state.dtype != x.dtype or state.device != x.device:
            got = f"{state.dtype} on {state.device}"
            raise InputError("state", got, f"{x.dtype} on {x.device}, as x", "convert it by state.to(x)")
        return state


# A look-up of an attribute by nn.Module costs a microsecond, those of an encoder together as much as its kernel. So the
# next two functions read the dictionaries of a module.
def submodules(module: nn.Module) -> dict[str, nn.Module]:
    """Return the direct submodules by name."""
    return cast(dict[str, nn.Module], module._modules)  # pyright: ignore[reportPrivateUsage]


def add_plain_parameters(
    module: nn.Module, kind: type[nn.Module], names: tuple[str, ...], parameters: list[Tensor]
) -> bool:
    """Append the parameters with these names of a plain module; return whether it is plain.

    A plain module is of just this kind and has no hook, so that its parameters are all that it does.
    """
    hooks = module._forward_pre_hooks or module._forward_hooks  # pyright: ignore[reportPrivateUsage]
    if type(module) is not kind or hooks:
        return False
    found = module._parameters  # pyright: ignore[reportPrivateUsage]
    for name in names:
        parameter = found.get(name)
        if parameter is None:
            return False
        parameters.append(parameter)
    return True


class _PackedWeights:
    """A packed copy of parameters, made again when they change.

    A change of a parameter counts up its version, or moves it to other memory. The copy keeps the memory that it was
    made of alive, so that no other parameter can take the same address. Pickles and deep copies begin without a copy.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[object], list[Tensor], Array] | None = None

    def __reduce__(self) -> tuple[type[_PackedWeights], tuple[()]]:
        return _PackedWeights, ()

    def forget(self) -> None:
        """Make the copy again at the next call."""
        self._kept = None

    def read(self, parameters: list[Tensor], pack: Callable[[list[Tensor]], Tensor]) -> Array:
        """Return the packed copy of ``parameters`` as they are."""
        stamps: list[object] = []
        for parameter in parameters:
            # An inference tensor counts no versions: a new object equals no other, so every call packs its weights.
            stamps += (object(),) if parameter.is_inference() else (parameter.data_ptr(), parameter._version)
        if self._kept is None or self._kept[0] != stamps:
            memory = [parameter.detach() for parameter in parameters]
            self._kept = stamps, memory, np.ascontiguousarray(pack(memory).numpy())
        return self._kept[2]
