"""What the streams share: a structured layer that decodes online, and the bands of decided frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError, InputTypeError, check_whole
from segcrf.nn import DecodingRule
from segcrf.segments import Segments
from segcrf.structures import Decided, OnlineDecoder, Structure

__all__ = ["NO_BANDS", "GrowingBands", "LayerDecoder"]

Numbers = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]


class LayerDecoder:
    """Decode the class scores of n recordings as they come in, with the structure that a layer makes.

    The layer is called at the first frame, and its potentials are kept. A layer that changes class scores before it
    uses them as emissions is called again for all frames, unless it has a method ``scale_emissions`` that multiplies
    them, as CRF layers do.

    Args:
        layer: makes a structure of class scores (B, T, C).
        streams: n.
        rule: the decoding rule.
    """

    def __init__(self, layer: Callable[[Tensor], Any], streams: int, rule: DecodingRule) -> None:
        check_whole(streams, "streams", 1)
        self._layer, self._streams, self._rule = layer, streams, rule
        self._scale: Numbers | None = None  # what the layer multiplies class scores by; None: ask it each time
        self._online: OnlineDecoder | None = None

    @property
    def streams(self) -> int:
        """The number n of recordings."""
        return self._streams

    @property
    def online(self) -> OnlineDecoder | None:
        """The decoder, or None before the first frame."""
        return self._online

    @property
    def frames(self) -> IntArray:
        """Frames (n,) of each recording so far."""
        return np.zeros(self.streams, np.int64) if self._online is None else self._online.frames

    @property
    def settings(self) -> str:
        """What a representation shows of the decoding rule."""
        factor, by_frame, delay = self._rule.factor, self._rule.by_frame, self._rule.max_delay
        shown = ("" if factor == 1.0 else f", factor={factor:g}") + (", by_frame" if by_frame else "")
        return shown + ("" if delay is None else f", max_delay={delay}")

    def push(self, scores: Tensor | Numbers, lengths: Sequence[int] | None = None) -> Decided | None:
        """Take the class scores of the next frames of every recording; return what is decided.

        Args:
            scores: (n, N, C), 0 beyond the frames of a recording; as an array, float32 or float64.
            lengths: how many of the N frames each recording has, n of them; None: all N.

        Raises:
            InputError, InputTypeError: scores that cannot be decoded; the call changes nothing.
        """
        values = _to_array(scores) if torch.is_tensor(scores) else scores
        if not np.isfinite(values).all():  # here, because the layer does not know the frame
            _check_numbers(values, self.frames)
        if not values.shape[1]:
            return None
        online = self._begun(values[:1]) if self._online is None else self._online
        decided = online.push(self._emissions(values), lengths)
        self._online = online
        return decided

    def finish(self, which: Sequence[int]) -> Decided:
        """End some recordings, which have frames; return what is decided."""
        assert self._online is not None
        return self._online.finish(which)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the state of the decoder, or None before the first frame."""
        return None if self._online is None else self._online.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue where the decoder stopped that returned ``state``."""
        if state is None:
            self._online = None
            return
        online = self._begun(np.zeros((1, 1, int(state["num_classes"])), np.float32))
        online.load_state_dict(state)
        self._online = online

    def _begun(self, values: Numbers) -> OnlineDecoder:
        """Return a decoder with the potentials that the layer makes of class scores (1, N, C)."""
        scores = self._to_layer(values)
        with torch.no_grad():
            dist = self._layer(scores)
        try:
            by_frame, delay = self._rule.by_frame, self._rule.max_delay
            online = OnlineDecoder(dist, by_frame=by_frame, max_delay=delay, streams=self._streams)
        except InputTypeError as error:
            error.argument = "layer"
            raise
        self._scale = self._scale_of(dist, scores)
        return online

    def _to_layer(self, values: Numbers) -> Tensor:
        """Return class scores as a tensor where the layer has its parameters."""
        parameter = next(self._layer.parameters(), None) if isinstance(self._layer, nn.Module) else None
        scores = torch.from_numpy(values)
        return scores if parameter is None else scores.to(parameter.device)

    def _scale_of(self, dist: Structure, scores: Tensor) -> Numbers | None:
        """Return what the layer multiplies class scores by; None if it does something else to them."""
        scale = getattr(self._layer, "scale_emissions", None)
        if scale is not None:
            with torch.no_grad():
                return scale(torch.ones_like(scores[:, :1])).detach().cpu().numpy()
        emissions = dist.emissions
        kept = emissions.data_ptr() == scores.data_ptr() and emissions.dtype == scores.dtype
        return np.ones((), np.float32) if kept else None

    def _emissions(self, values: Numbers) -> Numbers:
        """Return the emissions that the layer makes of class scores (n, N, C), times the factor of the rule."""
        if self._scale is not None:
            scaled = values * self._scale
        else:
            with torch.no_grad():
                scaled = _to_array(self._layer(self._to_layer(values)).emissions)
        return scaled if self._rule.factor == 1.0 else scaled * self._rule.factor


class GrowingBands:
    """Cut the decided frames of n recordings into bands, with the mean posterior of their class as score.

    Args:
        streams: n.
    """

    def __init__(self, streams: int) -> None:
        # Of the band that is not finished: its class (-1: there is none), its first frame, the sum of its posteriors.
        self.label, self.start = np.full(streams, -1), np.zeros(streams, np.int64)
        self.total = np.zeros(streams)

    def cut(self, decided: Decided) -> Segments:
        """Return the bands that end within newly decided frames; the last one of each recording stays open."""
        stream, frame, label, start, posterior = decided
        if not len(stream):
            return NO_BANDS
        if len(label) == 1 and not start[0]:
            self.total[stream[0]] += posterior[0, label[0]]
            return NO_BANDS
        given = posterior[np.arange(len(label)), label]
        if not start.any():
            np.add.at(self.total, stream, given)  # from frame to frame, so that calls of other sizes sum alike
            return NO_BANDS
        # Pieces: what one band has of these frames. The first piece of a recording may continue its open band.
        first = np.flatnonzero(start | np.diff(stream, prepend=-1).astype(bool))
        of, begins = stream[first], start[first]
        total = np.where(begins, 0.0, self.total[of])
        np.add.at(total, np.repeat(np.arange(len(first)), np.diff(np.append(first, len(stream)))), given)
        labels = np.where(begins, label[first], self.label[of])
        starts = np.where(begins, frame[first], self.start[of])
        leads = np.diff(of, prepend=-1).astype(bool)
        before = np.maximum(np.arange(len(first)) - 1, 0)
        # A band ends where another begins: the piece before it, or the band that is open from earlier calls.
        band = [np.where(leads, opened[of], here[before]) for opened, here in self._paired(labels, starts, total)]
        ended = begins & (band[0] >= 0)
        last = np.append(leads[1:], True)
        self.label[of[last]], self.start[of[last]], self.total[of[last]] = labels[last], starts[last], total[last]
        ends = frame[first][ended]
        label_of, start_of, total_of = (column[ended] for column in band)
        return _segments(of[ended], start_of, ends, label_of, total_of / (ends - start_of))

    def close(self, stream: int, frames: int) -> Segments:
        """Return the open band of a recording that ends after ``frames`` frames; another one may begin."""
        label, start, total = self.label[stream], self.start[stream], self.total[stream]
        self.label[stream], self.total[stream] = -1, 0.0
        return _segments([stream], [start], [frames], [label], [total / (frames - start)])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the open bands."""
        return {name: torch.from_numpy(values.copy()) for name, values in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with the open bands of a ``state_dict``."""
        for name in ("label", "start", "total"):
            getattr(self, name)[:] = state[name].numpy()

    def _paired(self, *pieces: Any) -> zip[tuple[Any, Any]]:
        return zip((self.label, self.start, self.total), pieces, strict=True)


def _segments(recording: Any, start: Any, end: Any, label: Any, score: Any) -> Segments:
    recording, start, end, label = (np.asarray(column, np.int64) for column in (recording, start, end, label))
    return Segments(recording, start, end, label, np.asarray(score, np.float64))


#: No band, with a column of scores.
NO_BANDS = _segments([], [], [], [], [])


def _to_array(scores: Tensor) -> Numbers:
    """Return scores as an array on the CPU, in float64 unless they are float32."""
    held = scores.detach()
    if held.device.type != "cpu" or held.dtype not in (torch.float32, torch.float64):
        held = held.cpu() if held.dtype == torch.float32 else held.to("cpu", torch.float64)
    return held.numpy()


def _check_numbers(values: Numbers, frames: IntArray) -> None:
    """Raise for NaN and +inf in scores (n, N, C) that follow ``frames`` (n,) frames."""
    bad = np.isnan(values) | (values == np.inf)
    if bad.any():
        stream, t, label = np.argwhere(bad)[0].tolist()
        got, advice = f"{values[stream, t, label]} for class {label}", "correct the frame and push all of them again"
        expected = "a finite score or -inf (forbidden)"
        raise InputError("emissions", got, expected, advice, recording=stream, frame=int(frames[stream]) + t)
