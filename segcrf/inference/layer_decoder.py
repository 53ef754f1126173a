"""What the streams share: a structured layer that decodes online, and the bands of decided frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError, check_positive, check_whole
from segcrf.nn import DecodingRule
from segcrf.segments import Segments
from segcrf.structures import Decided, OnlineDecoder

__all__ = ["NO_BANDS", "GrowingBands", "LayerDecoder"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class LayerDecoder:
    """Decode the class scores of n recordings as they come in, with the structure that a layer makes.

    The layer is called at the first frame, and its potentials are kept. It is called again only if it changes class
    scores before it uses them as emissions, as a layer with a learned scale does.

    Args:
        layer: makes a structure of class scores (B, T, C).
        streams: n.
        rule: the decoding rule.
    """

    def __init__(self, layer: Callable[[Tensor], Any], streams: int, rule: DecodingRule) -> None:
        check_whole(streams, "streams", 1)
        check_positive(rule.factor, "factor")
        if rule.max_delay is not None:
            check_whole(rule.max_delay, "max_delay", 0 if rule.by_frame else 1)
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

    def push(self, pieces: Mapping[int, Tensor]) -> Decided | None:
        """Take the class scores (N, C) of the next frames of some recordings; return what is decided.

        Raises:
            InputError, InputTypeError: scores that cannot be decoded; the call changes nothing.
        """
        online = self._online
        for stream, values in pieces.items():
            _check_scores(values, None if online is None else online.num_classes)
            if not self._unchanged:  # otherwise the decoder checks them, and the layer would not know the frame
                _check_numbers(values, stream, int(self.frames[stream]))
        some = {stream: values.detach() for stream, values in pieces.items() if len(values)}
        if not some:
            return None
        with torch.no_grad():
            if online is None:
                online = self._begun(next(iter(some.values())))
            scores = {stream: self._emissions(values) for stream, values in some.items()}
        if self.streams == 1:
            decided = online.push(scores[0][None])
        else:
            lengths = [len(scores[stream]) if stream in scores else 0 for stream in range(self.streams)]
            first = next(iter(scores.values()))
            padded = first.new_zeros(self.streams, max(lengths), first.shape[1])
            for stream, values in scores.items():
                padded[stream, : len(values)] = values
            decided = online.push(padded, lengths)
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
        with torch.no_grad():
            online = self._begun(torch.zeros(1, int(state["num_classes"])))
        online.load_state_dict(state)
        self._online = online

    def _begun(self, scores: Tensor) -> OnlineDecoder:
        """Return a decoder with the potentials that the layer makes of class scores (N, C)."""
        dist = self._layer(scores[None])
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
        """Return the emissions (N, C) that the layer makes of class scores, times the factor of the decoding rule."""
        emissions = scores if self._unchanged else self._layer(scores[None]).emissions[0]
        return emissions if self._rule.factor == 1.0 else emissions * self._rule.factor


class GrowingBands:
    """Cut the decided frames of one recording into bands, with the mean posterior of their class as score.

    Attributes:
        open: class, first frame and sum of posteriors of the band that is not finished; None before the first frame.
    """

    def __init__(self) -> None:
        self.open: tuple[int, int, float] | None = None

    def cut(self, label: IntArray, start: npt.NDArray[np.bool_], frame: IntArray, posterior: FloatArray) -> Segments:
        """Return the bands that end within the next decided frames; the last one stays open."""
        if not len(label):
            return NO_BANDS
        given = posterior[np.arange(len(label)), label]
        if self.open is not None and not start.any():  # the common case of a live recording
            total = self.open[2]
            for probability in given.tolist():  # not `sum`, which compensates for rounding, call by call
                total += probability
            self.open = *self.open[:2], total
            return NO_BANDS
        begun = np.flatnonzero(start)
        label_before, start_before, total = self.open if self.open is not None else (0, 0, 0.0)
        # The sums of bincount run from frame to frame, so they do not depend on how the frames are cut into calls.
        sums = np.bincount(np.append(0, np.cumsum(start)), np.append(total, given))
        labels, starts = np.append(label_before, label[begun]), np.append(start_before, frame[begun])
        if self.open is None:
            labels, starts, sums = labels[1:], starts[1:], sums[1:]
        self.open = int(labels[-1]), int(starts[-1]), float(sums[-1])
        if len(labels) == 1:
            return NO_BANDS
        return _segments(starts[:-1], starts[1:], labels[:-1], sums[:-1] / (starts[1:] - starts[:-1]))

    def close(self, frames: int) -> Segments:
        """Return the open band of a recording that ends after ``frames`` frames."""
        assert self.open is not None
        (label, start, total), self.open = self.open, None
        return _segments([start], [frames], [label], [total / (frames - start)])


def _segments(start: Any, end: Any, label: Any, score: Any) -> Segments:
    start, end, label = (np.asarray(column, np.int64) for column in (start, end, label))
    return Segments(np.zeros(len(start), np.int64), start, end, label, np.asarray(score, np.float64))


#: No band, with a column of scores.
NO_BANDS = _segments([], [], [], [])


def _check_scores(values: Tensor, classes: int | None) -> None:
    """Raise for what is not (N, C) class scores, or has another C than before."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("emissions", type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if not values.is_floating_point():
        raise InputTypeError("emissions", str(values.dtype), "floating-point scores", "convert with .float()")
    if values.dim() != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        expected = f"shape (N, {'C' if classes is None else classes}): frames, classes"
        raise InputError("emissions", f"shape {tuple(values.shape)}", expected)


def _check_numbers(values: Tensor, stream: int, frame: int) -> None:
    """Raise for NaN and +inf in scores (N, C); ``frame`` is the first."""
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        t, label = bad.nonzero()[0].tolist()
        got, advice = f"{values[t, label].item()} for class {label}", "correct the frame and push all of them again"
        expected = "a finite score or -inf (forbidden)"
        raise InputError("emissions", got, expected, advice, recording=stream, frame=frame + t)
