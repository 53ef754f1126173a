"""The base class of encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy.typing as npt
from torch import Tensor, nn

from segcrf._validation import InputError

__all__ = ["Encoder", "FrozenStep", "State"]

#: What a causal encoder remembers between two calls of ``step``; opaque to the caller. It is a tensor, or a nest of
#: tensors, lists, tuples and None, so that it can be saved; ``step`` never changes one that it is given.
State = Any

#: An exact step with the weights of one moment: from frames (B, N, F) and a state, None at the first frame, to features
#: (B, N, H) and the next state.
FrozenStep = Callable[[npt.NDArray[Any], npt.NDArray[Any] | None], tuple[npt.NDArray[Any], npt.NDArray[Any]]]


class Encoder(nn.Module, ABC):
    """The base of all encoders.

    To add an encoder, subclass this class, set the three attributes in ``__init__`` and implement ``forward``, ``step``
    and ``chunks``. ``step`` of an encoder that is not causal calls ``self._require_causal()``. Add the class to
    ``registry.py``, and an example of it to the tests of encoders.

    ``step`` may round differently for one frame and for a hundred; then a stream takes one frame of one recording at a
    time, by :func:`segcrf.nn.step_by_frame`. An encoder without this difference overrides ``exact_steps``.

    Attributes:
        in_features: channels F of the signal.
        out_features: features H of a frame.
        causal: whether a frame's features depend on no later frame.
    """

    in_features: int
    out_features: int
    causal: bool

    @property
    def exact_steps(self) -> bool:
        """Whether ``step`` called here and now gives every frame the same bits in every call.

        Then features and state depend neither on how the frames are cut into calls, nor on the other recordings of a
        batch. False unless an encoder promises it.
        """
        return False

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch of recordings.

        Args:
            x: signal, (B, T, F).
            lengths: valid frames of each recording, (B,) int64; all T if None.

        Returns:
            Features, (B, T, H). Features beyond a recording's length mean nothing.
        """

    @abstractmethod
    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Encode the next frames of recordings that are still being measured.

        Args:
            x: the next frames, (B, N, F).
            state: what the previous call returned for these recordings; None at the first frame.

        Returns:
            The features of these frames, (B, N, H), and the state for the next call.

        Raises:
            InputError: the encoder is not causal, or the signal or the state does not fit it.
        """

    @abstractmethod
    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """Encode one long recording piece by piece.

        Args:
            x: signal of one recording, (1, T, F).
            size: frames in a piece.

        Yields:
            Features (1, n, H) of consecutive pieces, n up to ``size``; together they equal ``encoder(x)``.
        """

    def exact_step(self, x: Tensor, state: State = None) -> tuple[Tensor, State] | None:
        """Return what :meth:`step` returns if it is exact here and now, see :attr:`exact_steps`; otherwise None."""
        return self.step(x, state) if self.exact_steps else None

    def freeze_step(self) -> FrozenStep | None:
        """Return the exact step as a function of arrays; None if there is none here and now, see :attr:`exact_steps`.

        It checks nothing, and later changes of the weights do not reach it: a stream that takes one frame at a time
        spends more on checks and tensors than on the arithmetic.
        """
        return None

    def check_has_steps(self) -> None:
        """Raise if a causal encoder cannot take steps. Encoders of this library can."""

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, causal={self.causal}"

    def _require_causal(self) -> None:
        if not self.causal:
            expected = "an encoder without a view of later frames, because step encodes frames as they are measured"
            advice = "build it with bidirectional=False (LSTM, GRU) or causal=True (others)"
            raise InputError("encoder", f"{type(self).__name__} with causal=False", expected, advice)
