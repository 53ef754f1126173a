"""Streams of many recordings at once: each begins and ends at its own time, and they are decoded in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError
from segcrf.inference.last_targets import LastTargets
from segcrf.inference.layer_decoder import NO_BANDS, GrowingBands, LayerDecoder
from segcrf.inference.stream import check_live
from segcrf.nn import JointModel, SwitchingModel, to_tensor
from segcrf.segments import Segments
from segcrf.structures import OnlineDecoder

__all__ = ["SignalStreams"]


class SignalStreams:
    """Decode n raw signals at once as they come in, by a trained model and its decoding rule.

    The bands of each slot are those of a :class:`SignalStream` of its own. When its recording is finished, the next
    frames of the slot begin another one.

    Args:
        model: with a causal encoder, in evaluation mode.
        streams: number n of slots.
        check: returns frames as they are measured as an array (N, F), or raises for those that cannot be used.
        show: turns finished bands, with slots as recordings, into what is returned; None: bands as they are.

    Raises:
        InputError: ``streams`` is below 1, or the model cannot run live, see :class:`SignalStream`.

    Example:
        >>> from segcrf import LinearChainCRF
        >>> from segcrf.nn import LSTMEncoder
        >>> streams = SignalStreams(JointModel(LSTMEncoder(1, hidden=4), LinearChainCRF(2)).eval(), 3)
        >>> bands = streams.push({0: torch.zeros(10, 1), 2: torch.zeros(5, 1)})
        >>> streams.frames
        array([10,  0,  5])
        >>> streams.finish(2).end[-1], streams.frames
        (np.int64(5), array([10,  0,  0]))
    """

    def __init__(
        self,
        model: JointModel | SwitchingModel,
        streams: int,
        check: Callable[[Any], Any] = torch.as_tensor,
        show: Callable[[Segments], Any] | None = None,
    ) -> None:
        check_live(model)
        self.model, self._check, self._show = model, check, show
        self._decoder = LayerDecoder(model.crf, streams, model.decoding_rule)
        self._bands = GrowingBands(streams, model.calibration)
        self._states = self._initial(streams)
        self._targets = LastTargets(model, streams)

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
        return f"SignalStreams({type(self.model.encoder).__name__}, {shown})"

    def push(self, signals: Mapping[int, Any] | Sequence[Any]) -> Any:
        """Take the next frames of some signals.

        Args:
            signals: frames (N, F) by slot, each with any N; a list with one entry per slot, None for no frames; or an
                array (n, N, F) of as many frames for all slots, which is the fastest.

        Returns:
            The bands that are finished, of all slots in one.

        Raises:
            InputError: there is no such slot, or a signal or its scores cannot be used. The call changes nothing.
        """
        states, parts, predictions = self._states, list[tuple[list[int], Tensor]](), dict[int, Tensor]()
        for slots, frames in self._groups(signals):
            heads, after = self.model.step(frames, _rows(states, slots))
            states = _with_rows(states, slots, after)
            parts.append((slots, heads.emissions))
            if heads.predictions is not None:
                predictions |= dict(zip(slots, heads.predictions[:, -1], strict=True))
        if not parts:
            return self._shown(NO_BANDS)
        scores = _padded(parts, self._decoder.streams)
        decided = self._decoder.push(*scores)
        self._states = states
        if predictions:
            self._targets.take(predictions, *scores)
        return self._shown(NO_BANDS if decided is None else self._bands.cut(decided))

    def finish(self, slot: int) -> Any:
        """End the recording of a slot; return its remaining bands.

        Raises:
            InputError: there is no such slot, it has no frames, or no labelling may end here.
        """
        _check_slot(slot, self._decoder.streams)
        frames = int(self.frames[slot])
        if not frames:
            raise InputError("slot", f"slot {slot}, which has no frame", "a slot with frames", "push some first")
        bands = self._bands.cut(self._decoder.finish([slot]))
        self._states = _with_rows(self._states, [slot], self._initial(1))
        self._targets.end(slot)
        return self._shown(Segments.concatenate([bands, self._bands.close(slot, frames)]))

    def targets(self, slot: int) -> npt.NDArray[np.float64]:
        """Return the predicted targets (R,) at the last frame of a slot, see :attr:`SignalStream.targets`.

        Raises:
            InputError: there is no such slot, it has no frames, or the model has no targets.
        """
        _check_slot(slot, self._decoder.streams)
        last = self._targets.of(slot)
        if last is None:
            raise InputError("slot", f"slot {slot} without predicted targets", "a slot with frames and targets")
        return last

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all recordings: of the encoder (nests of tensors, lists, tuples and None) and decoder."""
        mine = {"model": self._states, "targets": self._targets.state_dict()}
        return mine | {"decoder": self._decoder.state_dict(), "bands": self._bands.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the streams stopped that returned ``state``, with the same model and decoding rule.

        Raises:
            InputError: the state is that of streams with another structure, decoding rule or number of slots.
        """
        slots = len(state["bands"]["label"])
        if slots != self._decoder.streams:
            raise InputError("state", f"{slots} slots", f"{self._decoder.streams}, as here")
        self._decoder.load_state_dict(state["decoder"])
        self._bands.load_state_dict(state["bands"])
        self._targets.load_state_dict(state["targets"])
        self._states = state["model"]

    def _initial(self, streams: int) -> Any:
        """Return the state of the model before the first frame of each recording."""
        nothing = torch.zeros(streams, 0, self.model.num_channels, device=self.model.class_head.weight.device)
        return self.model.step(nothing)[1]

    def _groups(self, signals: Any) -> list[tuple[list[int], Tensor]]:
        """Return slots with equally many frames together, and these frames (n, N, F)."""
        streams, device = self._decoder.streams, self.model.class_head.weight.device
        if getattr(signals, "ndim", 0) == 3:
            if len(signals) != streams:
                raise InputError("signals", f"{len(signals)} entries", f"{streams}, one per slot")
            try:
                flat = to_tensor(self._check(signals.reshape(-1, signals.shape[2])))
            except InputError as error:
                if error.frame is not None:
                    error.recording, error.frame = divmod(error.frame, signals.shape[1])
                raise
            frames = flat.reshape(*signals.shape).to(device)
            return [(list(range(streams)), frames)] if signals.shape[1] else []
        checked = {slot: to_tensor(self._check(frames)) for slot, frames in _by_slot(signals, streams).items()}
        sizes = sorted({len(frames) for frames in checked.values()} - {0})
        together = [[slot for slot, frames in checked.items() if len(frames) == size] for size in sizes]
        return [(slots, torch.stack([checked[slot].double() for slot in slots]).to(device)) for slots in together]

    def _shown(self, bands: Segments) -> Any:
        return bands if self._show is None else self._show(bands)


def _padded(parts: list[tuple[list[int], Tensor]], streams: int) -> tuple[Tensor, list[int] | None]:
    """Return class scores of some slots as (n, N, C) for all, and how many frames each has; None: all N."""
    slots, first = parts[0]
    if slots == list(range(streams)):
        return first, None
    scores = first.new_zeros(streams, max(part.shape[1] for _, part in parts), first.shape[2])
    lengths = dict.fromkeys(range(streams), 0)
    for slots, part in parts:
        scores[slots, : part.shape[1]] = part
        lengths |= dict.fromkeys(slots, part.shape[1])
    return scores, list(lengths.values())


def _rows(state: Any, slots: list[int]) -> Any:
    """Return the state of some recordings: rows of tensors, entries of lists."""
    if torch.is_tensor(state):
        return state if slots == list(range(len(state))) else state[slots]
    if isinstance(state, tuple):
        return tuple(_rows(part, slots) for part in state)
    return None if state is None else [state[slot] for slot in slots]


def _with_rows(state: Any, slots: list[int], rows: Any) -> Any:
    """Return the state with that of some recordings replaced."""
    if torch.is_tensor(state):
        if slots == list(range(len(state))):
            return rows
        changed = state.clone()
        changed[slots] = rows
        return changed
    if isinstance(state, tuple):
        return tuple(_with_rows(part, slots, row) for part, row in zip(state, rows, strict=True))
    if state is None:
        return None
    changed = list(state)
    for slot, row in zip(slots, rows, strict=True):
        changed[slot] = row
    return changed


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
