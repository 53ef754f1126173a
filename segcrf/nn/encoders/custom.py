"""Encoders that others wrote: any module from a signal to features."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError, InputTypeError
from segcrf.nn.encoders.base import Encoder, State

__all__ = ["CustomEncoder", "adopt_encoder", "import_path_of"]

# A signal of so many frames shows how many features a module returns, and how many frames share one: strides of 2 to 6
# and up to 64 divide it, and no module has so many features, so that a transposed output is noticed.
PROBED = 960


class CustomEncoder(Encoder):
    """Any module as an encoder: ``(B, T, F) -> (B, T, H)``, or ``(B, T, F), lengths -> (B, T, H)``.

    A strided module returns fewer frames, T / stride of them. The signal is padded by zeros to a multiple of the
    stride, and each feature is repeated ``stride`` times, so that every frame has features of its own stride. A module
    that does not take ``lengths`` would mix padding into the valid frames: recordings of different lengths then run one
    by one.

    A module without a ``chunks`` method encodes each recording as a whole, and one without ``step`` has no stream. Both
    methods are those of :class:`Encoder`. A module with ``step`` declares ``causal = True``, and also
    ``exact_steps = True`` if its steps are the same in every call to the last bit; otherwise a stream calls it frame by
    frame.

    Args:
        module: the module, which is not copied.
        in_features: channels F of the signal.

    Attributes:
        stride: frames of the signal per frame of the module's output.

    Raises:
        InputError, InputTypeError: the module cannot encode a signal (1, 960, F), or returns something else than
            features.

    Example:
        >>> encoder = CustomEncoder(nn.Linear(3, 8), 3)
        >>> encoder.out_features, encoder.stride, encoder.causal
        (8, 1, False)
    """

    def __init__(self, module: nn.Module, in_features: int) -> None:
        super().__init__()
        self.module, self.in_features = module, in_features
        self.causal = bool(getattr(module, "causal", False))
        self._takes_lengths = _takes_lengths(module)
        features = self._probe()
        self.out_features = features.shape[2]
        self.stride = round(PROBED / features.shape[1])

    @property
    def exact_steps(self) -> bool:
        return bool(getattr(self.module, "exact_steps", False))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self._takes_lengths:
            return self._features(x, lengths)
        if lengths is None or torch.compiler.is_compiling() or bool((lengths == x.shape[1]).all()):
            return self._features(x)
        features = x.new_zeros(*x.shape[:2], self.out_features)
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0].to(x.device)
            encoded = self._features(x[rows, :length])
            features = features.to(encoded.dtype).index_put(
                (rows[:, None], torch.arange(length, device=x.device)), encoded
            )
        return features

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        self.check_has_steps()
        step: Any = self.module.step
        return step(x, state)

    def check_has_steps(self) -> None:
        if not hasattr(self.module, "step"):
            got, expected = f"{type(self.module).__name__} without step", "a module with a method step(x, state)"
            raise InputError("encoder", got, expected, "a stream calls it frame by frame: add it, see Encoder.step")

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        chunks = getattr(self.module, "chunks", None)
        yield from [self(x)] if chunks is None else chunks(x, size)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, stride={self.stride}"

    def _features(self, x: Tensor, *lengths: Tensor | None) -> Tensor:
        """Return a feature per frame of signals, which are padded by zeros to a multiple of the stride."""
        padded = x if self.stride == 1 else functional.pad(x, (0, 0, 0, -x.shape[1] % self.stride))
        try:
            features = self.module(padded, *lengths)
        except RuntimeError as error:
            if torch.compiler.is_compiling():
                raise
            got = f"{type(self.module).__name__}, which failed on {x.shape[1]} frames: {error}"
            advice = "pad inside the module: windows of training and recordings may be as short as one frame"
            raise InputError("encoder", got, "features for any number of frames", advice) from error
        return self._at_full_rate(features, x.shape[1])

    def _at_full_rate(self, features: Tensor, frames: int) -> Tensor:
        """Return a feature per frame: each of the module's is repeated, the last as often as frames are left."""
        if self.stride == 1:
            return features
        if not features.shape[1]:
            got = f"a recording of {frames} frames"
            raise InputError("X", got, f"at least {self.stride}, the stride of the encoder", "pad it, or leave it out")
        index = torch.arange(frames, device=features.device) // self.stride
        return features[:, index.clamp(max=features.shape[1] - 1)]

    def _probe(self) -> Tensor:
        """Return the features of a signal of zeros, once they are checked."""
        name = type(self.module).__name__
        like = next(self.module.parameters(), torch.zeros(0))
        signal = torch.zeros(1, PROBED, self.in_features, device=like.device)
        given = (signal, torch.tensor([PROBED], device=like.device)) if self._takes_lengths else (signal,)
        training = self.module.training
        try:
            with torch.no_grad():
                features: Any = self.module.eval()(*given)
        except Exception as error:
            reason = f"{name}, which failed on a signal of shape {tuple(signal.shape)}: {error}"
            raise InputError("encoder", reason, "features (B, T, H) of a signal (B, T, F)") from error
        finally:
            self.module.train(training)
        _check_features(features, name)
        return features


def adopt_encoder(given: nn.Module | Callable[[int], nn.Module], in_features: int) -> Encoder:
    """Return an encoder made of a module, or of a function that builds one.

    Args:
        given: a module, which is copied; or a callable such as a class, called with the number of channels.
        in_features: channels F of the signal.

    Raises:
        InputError, InputTypeError: as of :class:`CustomEncoder`, or the callable returns no module.

    Example:
        >>> adopt_encoder(lambda channels: nn.Linear(channels, 16), 3).out_features
        16
    """
    module: Any = copy.deepcopy(given) if isinstance(given, nn.Module) else given(in_features)
    if not isinstance(module, nn.Module):
        got = f"a callable that returned {type(module).__name__}"  # pyright: ignore[reportUnknownArgumentType]
        raise InputTypeError("encoder", got, "an nn.Module", "return the module that encodes the signal")
    return module if isinstance(module, Encoder) else CustomEncoder(module, in_features)


def import_path_of(given: object) -> str:
    """Return where a class or function, or the class of a module, can be imported from, as ``module:name``.

    Example:
        >>> import_path_of(nn.Linear(2, 4))
        'torch.nn.modules.linear:Linear'
    """
    named: Any = given if hasattr(given, "__qualname__") else type(given)
    return f"{named.__module__}:{named.__qualname__}"


def _takes_lengths(module: nn.Module) -> bool:
    """Return whether ``forward`` has a parameter ``lengths``, or a second one that must be given."""
    parameters = [*inspect.signature(module.forward).parameters.values()]
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        return False
    return positional[1].name == "lengths" or positional[1].default is positional[1].empty


def _check_features(values: Any, name: str) -> None:
    """Raise for what is not features (1, T, H) of the signal that probes a module."""
    expected = "features (B, T, H)"
    if not torch.is_tensor(values):
        advice = "return the features alone: a recurrent module of PyTorch returns its state beside them"
        raise InputTypeError("encoder", f"{name}, which returns {type(values).__name__}", expected, advice)
    transposed = values.dim() == 3 and values.shape[1] != PROBED == values.shape[2]
    if transposed or values.dim() != 3 or values.shape[0] != 1 or not 1 <= values.shape[1] <= PROBED:
        got = f"{name}, which returns shape {tuple(values.shape)} for a signal of shape (1, {PROBED}, F)"
        advice = "put the batch first and the features last; a strided module may return fewer frames"
        raise InputError("encoder", got, expected, advice)
