"""What the streams share: a structured layer that decodes online, and the bands of decided frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError, check_whole
from segcrf.nn import DecodingRule
from segcrf.segments import Segments
from segcrf.structures import Decided, OnlineDecoder

__all__ = ["NO_BANDS", "GrowingBands", "LayerDecoder"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class LayerDecoder:
    """Decode the class scores of n recordings as they come in, with the structure that a layer makes.

    The layer is called at the first frame, and its potentials are kept. A layer that changes class scores before it
    uses them as emissions is called again for all frames, unless it has a method ``scale_emissions`` for that, as CRF
    layers do.

    Args:
        layer: makes a structure of class scores (B, T, C).
        streams: n.
        rule: the decoding rule.
    """

    def __init__(self, layer: Callable[[Tensor], Any], streams: int, rule: DecodingRule) -> None:
        check_whole(streams, "streams", 1)
        self._layer, self._streams, self._rule = layer, streams, rule
        self._unchanged = False  # whether the layer uses class scores as they are
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

    def push(self, scores: Tensor, lengths: Sequence[int] | None = None) -> Decided | None:
        """Take the class scores of the next frames of every recording; return what is decided.

        Args:
            scores: (n, N, C), 0 beyond the frames of a recording.
            lengths: how many of the N frames each recording has, n of them; None: all N.

        Raises:
            InputError, InputTypeError: scores that cannot be decoded; the call changes nothing.
        """
        online, values = self._online, scores.detach()
        if not self._unchanged:  # otherwise the decoder checks them, and the layer would not know the frame
            _check_numbers(values, self.frames)
        if not values.shape[1]:
            return None
        if online is None:
            online = self._begun(values[:1])
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
        online = self._begun(torch.zeros(1, 1, int(state["num_classes"])))
        online.load_state_dict(state)
        self._online = online

    def _begun(self, scores: Tensor) -> OnlineDecoder:
        """Return a decoder with the potentials that the layer makes of class scores (1, N, C)."""
        with torch.no_grad():
            dist = self._layer(scores)
        emissions = getattr(dist, "emissions", None)
        try:
            by_frame, delay = self._rule.by_frame, self._rule.max_delay
            online = OnlineDecoder(dist, by_frame=by_frame, max_delay=delay, streams=self._streams)
        except InputTypeError as error:
            error.argument = "layer"
            raise
        self._unchanged = (
            torch.is_tensor(emissions) and emissions.data_ptr() == scores.data_ptr() and emissions.dtype == scores.dtype
        )
        return online

    def _emissions(self, scores: Tensor) -> Tensor:
        """Return the emissions that the layer makes of class scores (n, N, C), times the factor of the rule."""
        if not self._unchanged:
            scale = getattr(self._layer, "scale_emissions", None)  # much quicker than a call of the layer
            with torch.no_grad():
                scores = self._layer(scores).emissions if scale is None else scale(scores)
        return scores if self._rule.factor == 1.0 else scores * self._rule.factor


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


def _check_numbers(values: Tensor, frames: IntArray) -> None:
    """Raise for NaN and +inf in scores (n, N, C) that follow ``frames`` (n,) frames."""
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        stream, t, label = bad.nonzero()[0].tolist()
        got, advice = (
            f"{values[stream, t, label].item()} for class {label}",
            "correct the frame and push all of them again",
        )
        expected = "a finite score or -inf (forbidden)"
        raise InputError("emissions", got, expected, advice, recording=stream, frame=int(frames[stream]) + t)
