"""Streams of many recordings at once: each begins and ends at its own time, and they are decoded in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError
from segcrf.inference.layer_decoder import NO_BANDS, GrowingBands, LayerDecoder
from segcrf.inference.stream import Stepping
from segcrf.nn import DecodingRule
from segcrf.segments import Segments
from segcrf.structures import Decided, OnlineDecoder

__all__ = ["SignalStreams"]


class SignalStreams:
    """Run a causal encoder over n signals as they come in, and decode their class scores together.

    The bands of each slot are those of a :class:`SignalStream` of its own. When its recording is finished, the next
    frames of the slot begin another one.

    Args:
        encoder: with a method ``step(x, state)``, as :class:`segcrf.nn.Encoder` has.
        head: makes class scores (1, N, C) of features (1, N, H).
        layer: makes a structure of class scores, as in :class:`Stream`.
        streams: number n of slots.
        prepare: turns frames as they are measured, (N, F), into what the encoder expects.
        show: turns the number of a slot and its finished bands into what is returned; None: bands as they are.
        rule: the decoding rule; None: the most probable labelling, without a limit of the delay.

    Raises:
        InputError: ``streams`` is below 1, or a setting of the rule is wrong.

    Example:
        >>> from segcrf import LinearChainCRF
        >>> from segcrf.nn import LSTMEncoder
        >>> encoder, head = LSTMEncoder(1, hidden=4).eval(), torch.nn.Linear(4, 2)
        >>> streams = SignalStreams(encoder, head, LinearChainCRF(2), 3)
        >>> bands = streams.push({0: torch.zeros(10, 1), 2: torch.zeros(5, 1)})
        >>> sorted(bands), streams.frames
        ([0, 2], array([10,  0,  5]))
        >>> streams.finish(2).end[-1], streams.frames
        (np.int64(5), array([10,  0,  0]))
    """

    def __init__(
        self,
        encoder: Stepping,
        head: Callable[[Tensor], Tensor],
        layer: Callable[[Tensor], Any],
        streams: int,
        *,
        prepare: Callable[[Any], Tensor] = torch.as_tensor,
        show: Callable[[int, Segments], Any] | None = None,
        rule: DecodingRule | None = None,
    ) -> None:
        self._encoder, self._head, self._prepare, self._show = encoder, head, prepare, show
        self._decoder = LayerDecoder(layer, streams, rule or DecodingRule())
        self._bands = [GrowingBands() for _ in range(streams)]
        self._states: list[Any] = [None] * streams

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """Frames (n,) of each recording so far; 0 where none has begun."""
        return self._decoder.frames

    @property
    def decoder(self) -> OnlineDecoder | None:
        """The decoder of all slots, with their running bands and probabilities; None before the first frame."""
        return self._decoder.online

    def __repr__(self) -> str:
        shown = self.decoder if self.decoder is not None else f"n={self._decoder.streams}, no frames"
        return f"SignalStreams({type(self._encoder).__name__}, {shown})"

    def push(self, signals: Mapping[int, Any] | Sequence[Any]) -> dict[int, Any]:
        """Take the next frames of some signals.

        Args:
            signals: frames (N, F) by slot, each with any N; or a list with one entry per slot, None for no frames.

        Returns:
            The bands that are finished, by slot, for every slot that is given.

        Raises:
            InputError: there is no such slot, or a signal or its scores cannot be used. The call changes nothing.
        """
        given = _by_slot(signals, self._decoder.streams)
        scores: dict[int, Tensor] = {}
        states: dict[int, Any] = {}
        with torch.no_grad():
            for slot, frames in given.items():
                if len(frames):
                    features, states[slot] = self._encoder.step(self._prepare(frames)[None], self._states[slot])
                    scores[slot] = self._head(features)[0]
        decided = self._decoder.push(scores)
        for slot, state in states.items():
            self._states[slot] = state
        finished = {} if decided is None else self._cut(decided)
        return {slot: self._shown(slot, finished.get(slot, NO_BANDS)) for slot in given}

    def finish(self, slot: int) -> Any:
        """End the recording of a slot; return its remaining bands.

        Raises:
            InputError: there is no such slot, it has no frames, or no labelling may end here.
        """
        _check_slot(slot, self._decoder.streams)
        frames = int(self.frames[slot])
        if not frames:
            raise InputError("slot", f"slot {slot}, which has no frame", "a slot with frames", "push some first")
        bands = self._cut(self._decoder.finish([slot])).get(slot, NO_BANDS)
        self._states[slot] = None
        return self._shown(slot, Segments.concatenate([bands, self._bands[slot].close(frames)]))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all recordings: of the encoder (nests of tensors, lists, tuples and None) and decoder."""
        opened = [bands.open for bands in self._bands]
        return {"encoder": list(self._states), "decoder": self._decoder.state_dict(), "open": opened}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the streams stopped that returned ``state``, with the same encoder, head and decoding rule.

        Raises:
            InputError: the state is that of streams with another structure, decoding rule or number of slots.
        """
        if len(state["encoder"]) != self._decoder.streams:
            raise InputError("state", f"{len(state['encoder'])} slots", f"{self._decoder.streams}, as here")
        self._decoder.load_state_dict(state["decoder"])
        self._states = list(state["encoder"])
        for bands, opened in zip(self._bands, state["open"], strict=True):
            bands.open = opened

    def _cut(self, decided: Decided) -> dict[int, Segments]:
        """Return the finished bands of every slot with decided frames."""
        slots, begun, counts = np.unique(decided.stream, return_index=True, return_counts=True)
        finished: dict[int, Segments] = {}
        for slot, first, count in zip(slots.tolist(), begun, counts, strict=True):
            mine = slice(first, first + count)
            columns = decided.label[mine], decided.start[mine], decided.frame[mine], decided.posterior[mine]
            finished[slot] = self._bands[slot].cut(*columns)
        return finished

    def _shown(self, slot: int, bands: Segments) -> Any:
        return bands if self._show is None else self._show(slot, bands)


def _by_slot(signals: Mapping[int, Any] | Sequence[Any], streams: int) -> dict[int, Any]:
    """Return frames by slot, after checking that the slots exist."""
    if isinstance(signals, Mapping):
        for slot in signals:
            _check_slot(slot, streams)
        return dict(signals)
    if not isinstance(signals, list | tuple):
        got = type(signals).__name__
        raise InputTypeError("signals", got, "frames by slot, or a list with one entry per slot", "use {slot: frames}")
    if len(signals) != streams:
        raise InputError("signals", f"{len(signals)} entries", f"{streams}, one per slot", "give None for no frames")
    return {slot: frames for slot, frames in enumerate(signals) if frames is not None}


def _check_slot(slot: object, streams: int) -> None:
    """Raise for a slot that does not exist."""
    if isinstance(slot, bool) or not isinstance(slot, int | np.integer) or not 0 <= slot < streams:
        raise InputError("slot", repr(slot), f"an integer from 0 to {streams - 1}")
