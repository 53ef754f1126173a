"""Chained encoders: dilated stages that refine each other, and convolutions before a recurrent network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import prod
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, FrozenStep, State
from segcrf.nn.encoders.convolutional import TCNEncoder
from segcrf.nn.encoders.pieces import EncodedPieces, stepped_chunks
from segcrf.nn.encoders.recurrent import GRUEncoder, LSTMEncoder
from segcrf.nn.encoders.stepping import Array, SteppingEncoder

__all__ = ["ConvGRUEncoder", "ConvLSTMEncoder", "MSTCNEncoder"]


class _ChainedEncoder(Encoder):
    """Encoders one after another: each reads the features of the one before.

    All stages but the last are convolutional, so that their receptive field is known. The state is one tensor
    (B, *state_shape): the states of the stages, flattened, one after another. Steps are exact where those of all stages
    are.
    """

    def __init__(self, stages: Sequence[SteppingEncoder]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.in_features, self.out_features = stages[0].in_features, stages[-1].out_features
        self.causal = all(stage.causal for stage in stages)
        self.state_shape = (sum(prod(stage.state_shape) for stage in stages),)

    @property
    def exact_steps(self) -> bool:
        return all(stage.exact_steps for stage in self._stack())

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        for stage in self._stack():
            x = stage(x, lengths)
        return x

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        self._check_state(x, state)
        after: list[Tensor] = []
        for stage, before in zip(self._stack(), self._unpacked(state), strict=True):
            x, left = stage.step(x, before)
            after.append(left.flatten(1))
        return x, torch.cat(after, dim=1)

    def freeze_step(self) -> FrozenStep | None:
        stages = self._stack()
        steps = [step for stage in stages if (step := stage.freeze_step()) is not None]
        return partial(self._step_by, steps) if len(steps) == len(stages) else None

    def _step_by(self, steps: list[FrozenStep], x: Array, state: Array | None) -> tuple[Array, Array]:
        shapes = [stage.state_shape for stage in self._stack()]
        before: list[Array | None] = [None] * len(steps)
        if state is not None:
            parts = np.split(state, np.cumsum([prod(shape) for shape in shapes])[:-1], axis=1)
            before = [np.ascontiguousarray(part).reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        after: list[Array] = []
        for step, each in zip(steps, before, strict=True):
            x, left = step(x, each)
            after.append(left.reshape(len(left), -1))
        return x, np.concatenate(after, axis=1)

    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        if self.causal:
            yield from stepped_chunks(self, x, size)
            return
        stages = self._stack()
        last = stages[-1]
        if isinstance(last, LSTMEncoder | GRUEncoder):
            reach = _reach(stages[:-1])
            yield from last.encode_pieces(EncodedPieces(self._before_last, x, size, past=reach, future=reach))
        else:
            reach = _reach(stages)
            yield from EncodedPieces(self, x, size, past=reach, future=reach)

    def _stack(self) -> list[SteppingEncoder]:
        return [stage for stage in self.stages if isinstance(stage, SteppingEncoder)]

    def _before_last(self, x: Tensor) -> Tensor:
        for stage in self._stack()[:-1]:
            x = stage(x)
        return x

    def _unpacked(self, state: Tensor | None) -> list[Tensor | None]:
        """Return the states of the stages."""
        stages = self._stack()
        if state is None:
            return [None] * len(stages)
        parts = state.split([prod(stage.state_shape) for stage in stages], dim=1)
        return [
            part.reshape(len(part), *stage.state_shape).contiguous() for stage, part in zip(stages, parts, strict=True)
        ]

    def _check_state(self, x: Tensor, state: State) -> None:
        """Raise for a state that :meth:`step` did not return for these recordings."""
        shape = (x.shape[0], *self.state_shape)
        if state is not None and (not isinstance(state, Tensor) or state.shape != shape):
            got = f"shape {tuple(state.shape)}" if isinstance(state, Tensor) else type(state).__name__
            advice = "pass what step returned for these recordings; None to begin"
            raise InputError("state", got, f"a tensor of shape {shape}", advice)


def _reach(stages: Sequence[Encoder]) -> int:
    """Return how many frames on either side a chain of centred convolutional encoders sees."""
    return sum(cast(TCNEncoder, stage).receptive_field // 2 for stage in stages)


class MSTCNEncoder(_ChainedEncoder):
    """A multi-stage temporal convolutional network: each stage refines the features of the stage before.

    A stage is a :class:`TCNEncoder`. The features are those of the last stage; the earlier stages have no losses of
    their own, because an encoder does not know the classes.

    Args:
        in_features: channels F of the signal.
        hidden: channels of every layer; H = hidden.
        layers: dilated layers of a stage, with dilations 1, 2, 4, ...
        stages: number of stages.
        kernel_size: frames that one filter covers; odd unless causal.
        causal: whether a frame sees only itself and earlier frames.
        dropout: probability that a channel of a layer is dropped, for a whole recording.

    Raises:
        InputError: an even kernel_size without causal, or fewer than one stage.

    Source:
        Farha and Gall, *MS-TCN: multi-stage temporal convolutional network for action segmentation*, 2019.

    Example:
        >>> encoder = MSTCNEncoder(3, hidden=8, layers=4)
        >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 20])).shape
        torch.Size([2, 50, 8])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 6,
        stages: int = 2,
        kernel_size: int = 3,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        if stages < 1:
            raise InputError("stages", str(stages), "1 or more", "one stage is a TCNEncoder")
        widths = [in_features, *[hidden] * stages]
        super().__init__(
            [
                TCNEncoder(before, after, layers=layers, kernel_size=kernel_size, causal=causal, dropout=dropout)
                for before, after in pairwise(widths)
            ]
        )


class _ConvRecurrentEncoder(_ChainedEncoder):
    """What the recurrent encoders with a convolutional stem share."""

    recurrent: type[LSTMEncoder] | type[GRUEncoder]

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 1,
        stem_layers: int = 3,
        kernel_size: int = 5,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        options = {"layers": stem_layers, "kernel_size": kernel_size}
        stem = TCNEncoder(in_features, hidden, **options, causal=causal, dropout=dropout)
        network = self.recurrent(hidden, hidden, layers=layers, bidirectional=not causal, dropout=dropout)
        super().__init__([stem, network])


class ConvLSTMEncoder(_ConvRecurrentEncoder):
    """Convolutions, which see shapes of a few frames, before a long short-term memory network.

    Args:
        in_features: channels F of the signal.
        hidden: channels of the convolutions, and units of one direction. H = 2 * hidden, or hidden if causal.
        layers: number of recurrent layers.
        stem_layers: number of convolutions, with dilations 1, 2, 4, ..., see :class:`TCNEncoder`.
        kernel_size: frames that one filter covers; odd unless causal.
        causal: whether a frame sees only itself and earlier frames; otherwise a second network reads from the end.
        dropout: probability that a feature of a layer is dropped, for a whole recording.

    Raises:
        InputError: an even kernel_size without causal.

    Source:
        Zemblys, Niehorster and Holmqvist, *gazeNet: end-to-end eye-movement event detection with deep neural networks*,
        2019 (its order of layers).

    Example:
        >>> encoder = ConvLSTMEncoder(3, hidden=8)
        >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 20])).shape
        torch.Size([2, 50, 16])
    """

    recurrent = LSTMEncoder


class ConvGRUEncoder(_ConvRecurrentEncoder):
    """Convolutions before a network of gated recurrent units, with the arguments of :class:`ConvLSTMEncoder`.

    Source:
        Zemblys, Niehorster and Holmqvist, *gazeNet: end-to-end eye-movement event detection with deep neural networks*,
        2019 (its order of layers).

    Example:
        >>> encoder = ConvGRUEncoder(3, hidden=8, causal=True)
        >>> features, state = encoder.step(torch.zeros(1, 10, 3))
        >>> features.shape
        torch.Size([1, 10, 8])
    """

    recurrent = GRUEncoder
