"""The multi-rate encoder: convolutions at ever lower rates, a recurrent network at the lowest, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError
from segcrf.nn.encoders.base import Encoder, State
from segcrf.nn.encoders.pieces import stepped_chunks, traced_more
from segcrf.nn.encoders.recurrent import LSTMEncoder
from segcrf.structures import frame_mask

__all__ = ["UNetEncoder"]


class _Block(nn.Module):
    """Normalise each frame over its channels, rectify, convolve, and add to the input.

    The normalisation of a frame depends on no other frame, so neither padding nor other recordings reach it.
    """

    def __init__(self, width: int, kernel_size: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.reach = kernel_size - 1
        self.padding = (self.reach, 0) if causal else (self.reach // 2, self.reach // 2)
        self.norm = nn.LayerNorm(width)
        self.filter = nn.Conv1d(width, width, kernel_size)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        active = _keep(self._activate(x), valid)
        return x + self.dropout(self.filter(functional.pad(active, self.padding)))

    def step(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the output for the next frames, and what the filter needs of them later."""
        changed, after = _filter_next(self.filter, self._activate(x), before)
        return x + self.dropout(changed), after

    def _activate(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(x.transpose(1, 2))).transpose(1, 2)


class UNetEncoder(Encoder):
    """A multi-rate convolutional network with a recurrent network at its lowest rate.

    Every level halves the rate: a frame of the next level joins two frames. At the lowest rate, an LSTM sees the whole
    recording in few steps. On the way back, every level adds what the lower rate knows to its own features, so the
    features of a frame keep the full rate.

    A causal network uses a frame of a lower level only when both of its frames were measured, and zeros before.

    Args:
        in_features: channels F of the signal.
        hidden: channels of the lower rates, and units of one direction of the LSTM. The full rate has half as many.
        layers: how often the rate is halved; the lowest rate is ``2 ** -layers`` of the full rate.
        kernel_size: frames that one filter covers; odd unless causal.
        causal: whether a frame sees only itself and earlier frames; otherwise the LSTM reads in both directions.
        dropout: probability that a channel is dropped, for a whole recording.

    Raises:
        InputError: an even kernel_size without causal.

    Source:
        Ronneberger, Fischer and Brox, *U-Net: convolutional networks for biomedical image segmentation*, 2015;
        He et al., *Identity mappings in deep residual networks*, 2016 (the blocks); Ba, Kiros and Hinton, *Layer
        normalization*, 2016.

    Attributes:
        stride: frames of the signal per frame of the lowest rate.

    Example:
        >>> encoder = UNetEncoder(3, hidden=16, layers=2)
        >>> encoder(torch.zeros(2, 50, 3), lengths=torch.tensor([50, 21])).shape
        torch.Size([2, 50, 8])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int = 64,
        *,
        layers: int = 3,
        kernel_size: int = 5,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not causal and kernel_size % 2 == 0:
            expected = "an odd number, because a frame sees equally many frames on either side"
            raise InputError("kernel_size", str(kernel_size), expected, f"use {kernel_size + 1}, or causal=True")
        thin = max(hidden // 2, 1)
        self.in_features, self.out_features, self.causal = in_features, thin, causal
        self.stride = 2**layers
        widths = [thin, *[hidden] * layers]
        self.enter = nn.Conv1d(in_features, thin, kernel_size)
        self.down = nn.ModuleList(_Block(width, kernel_size, causal, dropout) for width in widths)
        self.halve = nn.ModuleList(nn.Conv1d(widths[i], widths[i + 1], 2, stride=2) for i in range(layers))
        self.bottom = LSTMEncoder(widths[-1], hidden, bidirectional=not causal, dropout=dropout)
        self.leave = nn.Conv1d(self.bottom.out_features, widths[-1], 1)
        self.lift = nn.ModuleList(nn.Conv1d(widths[i + 1], widths[i], 1) for i in range(layers))
        self.up = nn.ModuleList(_Block(width, kernel_size, causal, dropout) for width in widths[:-1])

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, stride={self.stride}"

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        lengths = None if lengths is None else lengths.to(x.device)
        if not traced_more():
            return self._encode(x, lengths)
        frames = x.shape[1]
        if lengths is None:
            lengths = torch.full((len(x),), frames, device=x.device)
        longer = functional.pad(x, (0, 0, 0, self.stride * traced_more()))
        return self._encode(longer, lengths).index_select(1, torch.arange(frames, device=x.device))

    def _encode(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        skips, valid, coarse = self._descend(x, lengths)
        below = None if lengths is None else _coarser(lengths, len(self.halve))
        return self._ascend(skips, valid, self.bottom(coarse.transpose(1, 2), below))

    def _descend(self, x: Tensor, lengths: Tensor | None) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """Return the features of each rate, channels second, the masks of their valid frames, and the lowest rate."""
        valid = [_valid(lengths, x.shape[1])]
        h = functional.pad(_keep(x.transpose(1, 2), valid[0]), _blocks(self.down)[0].padding)
        h = _blocks(self.down)[0](self.enter(h), valid[0])
        skips: list[Tensor] = []
        for i, (halve, block) in enumerate(zip(self.halve, _blocks(self.down)[1:], strict=True)):
            skips.append(h)
            # One frame of zeros completes the last pair of an odd number of frames.
            h = halve(functional.pad(_keep(h, valid[i]), (0, 1)))
            valid.append(_valid(None if lengths is None else _coarser(lengths, i + 1), h.shape[2]))
            h = block(h, valid[i + 1])
        return [*skips, h], valid, h

    def _ascend(self, skips: list[Tensor], valid: list[Tensor | None], known: Tensor) -> Tensor:
        """Return the features at the full rate, given those of the recurrent network (B, n, ...)."""
        h = skips[-1] + self.leave(known.transpose(1, 2))
        for i in reversed(range(len(self.lift))):
            h = self.lift[i](h)
            frame = torch.arange(skips[i].shape[2], device=h.device)
            if self.causal:  # a pair is known at its second frame
                h, frame = functional.pad(h, (1, 0)), frame + 1
            # Index instead of a slice, so that the number of frames stays free where PyTorch traces.
            h = _blocks(self.up)[i](skips[i] + h.index_select(2, frame // 2), valid[i])
        return h.transpose(1, 2)

    # ------------------------------------------------------------------------------------------------------ pieces
    def chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        if self.causal:
            yield from stepped_chunks(self, x, size)
            return
        # The features of the lowest rate exist as a whole, `stride` times fewer than frames; others do in pieces only.
        reach = self._reach()
        aligned = -(-size // self.stride) * self.stride
        bottoms = [
            self._bottom_of(x, start, min(start + aligned, x.shape[1]), reach)
            for start in range(0, x.shape[1], aligned)
        ]
        known = self.bottom(torch.cat(bottoms, dim=2).transpose(1, 2))
        for start in range(0, x.shape[1], size):
            stop = min(start + size, x.shape[1])
            left = max(start - reach, 0) // self.stride * self.stride
            skips, valid, _ = self._descend(x[:, left : stop + reach], None)
            first = left // self.stride
            part = self._ascend(skips, valid, known[:, first : first + skips[-1].shape[2]])
            yield part[:, start - left : stop - left]

    def _bottom_of(self, x: Tensor, start: int, stop: int, reach: int) -> Tensor:
        """Return the features of the lowest rate for the frames from ``start``, a multiple of the stride."""
        left = max(start - reach, 0)
        _, _, coarse = self._descend(x[:, left : stop + reach], None)
        first = (start - left) // self.stride
        return coarse[:, :, first : first - (-(stop - start) // self.stride)]

    def _reach(self) -> int:
        """Return how many frames on either side the convolutions see at most; a multiple of the stride."""
        filters = 1 + 2 * sum(2**i for i in range(len(self.halve))) + self.stride
        frames = filters * (_blocks(self.down)[0].reach // 2) + self.stride
        return -(-frames // self.stride) * self.stride

    # ------------------------------------------------------------------------------------------------------- steps
    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        self._require_causal()
        self._check_step(x, state)
        if x.shape[1] == 0:
            return x.new_zeros(x.shape[0], 0, self.out_features), state
        entered, levels = (None, None) if state is None else state
        h, entered = _filter_next(self.enter, x.transpose(1, 2), entered)
        h, levels = self._step_level(0, h, levels)
        return h.transpose(1, 2), (entered, levels)

    def _step_level(self, level: int, h: Tensor, state: State) -> tuple[Tensor, State]:
        """Take the next frames of a rate through it and all lower rates.

        The state holds the frames that the two blocks need, a frame that waits for the other of its pair, the last
        answer of the lower rate, and the state of the lower rate.
        """
        down, up, waiting, last, below = (None,) * 5 if state is None else cast(tuple[Any, ...], state)
        h, down = _blocks(self.down)[level].step(h, down)
        if level == len(self.halve):
            known, below = self.bottom.step(h.transpose(1, 2).contiguous(), below)
            return h + self.leave(known.transpose(1, 2)), (down, None, None, None, below)
        early = 0 if waiting is None else waiting.shape[2]
        frames = h if waiting is None else torch.cat([waiting, h], dim=2)
        pairs = frames.shape[2] // 2
        answers = h.new_zeros(*h.shape[:2], 1) if last is None else last
        if pairs:
            lower, below = self._step_level(level + 1, self.halve[level](frames[:, :, : 2 * pairs]), below)
            answers = torch.cat([answers, self.lift[level](lower)], dim=2)
        complete = (torch.arange(h.shape[2], device=h.device) + early + 1) // 2
        h, up = _blocks(self.up)[level].step(h + answers[:, :, complete], up)
        left = frames[:, :, 2 * pairs :].clone()
        return h, (down, up, left, answers[:, :, -1:].clone(), below)

    def _check_step(self, x: Tensor, state: State) -> None:
        """Raise for a signal of another shape, and for a state that is not of these recordings."""
        if x.dim() != 3 or x.shape[2] != self.in_features:
            expected = f"(B, N, {self.in_features}): recordings, frames and channels"
            raise InputError("x", f"shape {tuple(x.shape)}", expected)
        if state is not None and (not isinstance(state, tuple) or len(cast(Any, state)[0]) != x.shape[0]):
            got = f"{len(cast(Any, state)[0])} recordings" if isinstance(state, tuple) else type(state).__name__
            advice = "pass what step returned for these recordings; None to begin"
            raise InputError("state", got, f"the state of {x.shape[0]} recordings", advice)


def _blocks(modules: nn.ModuleList) -> list[_Block]:
    return [block for block in modules if isinstance(block, _Block)]


def _keep(h: Tensor, valid: Tensor | None) -> Tensor:
    """Replace features (B, H, T) beyond the end of a recording by zeros, as filters see them without padding."""
    return h if valid is None else h.masked_fill(~valid, 0.0)


def _valid(lengths: Tensor | None, frames: int) -> Tensor | None:
    return None if lengths is None else frame_mask(lengths, frames).unsqueeze(1)


def _coarser(lengths: Tensor, halvings: int) -> Tensor:
    """Return how many frames of a lower rate hold at least one valid frame."""
    return (lengths + 2**halvings - 1) // 2**halvings


def _filter_next(layer: nn.Conv1d, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Convolve the next frames (B, H, N), given the frames that the filter needs before them; zeros if None."""
    reach = layer.kernel_size[0] - 1
    before = x.new_zeros(*x.shape[:2], reach) if before is None else before
    context = torch.cat([before, x], dim=2)
    return layer(context), context[:, :, context.shape[2] - reach :].clone()
