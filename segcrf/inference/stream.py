"""Streams: a recording is decoded while it is measured. Frames go in, finished bands come out.

A band is finished when no later frame can change it: when all labellings that may still win agree on it. There are as
many of these as classes, and they differ where the signal is ambiguous, so the wait is short where it is clear. Decided
frames are forgotten: memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError, check_whole
from segcrf.nn import JointModel, SwitchingModel, check_causal, to_tensor
from segcrf.segments import Segments
from segcrf.structures import LinearChain

__all__ = ["SignalStream", "Stepping", "Stream", "open_stream"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Stream:
    """Decode the class scores of one recording as they come in.

    Without ``max_delay`` the bands of all calls together are those of ``layer(emissions).mode``. Filtered probabilities
    and the running band are available immediately.

    Args:
        layer: makes a :class:`~segcrf.LinearChain` of class scores (B, T, C), as a :class:`~segcrf.LinearChainCRF`
            does; all steps must share its transitions.
        max_delay: frames after which a label is decided although later frames could change it, at least 1; None: wait
            until they cannot. If steps are forbidden, an early decision may leave no labelling allowed later.

    Raises:
        InputError: ``max_delay`` is below 1.
        InputTypeError: the layer makes another structure, such as a semi-Markov chain.

    Source:
        Šrámek, Brejová and Vinař, "On-line Viterbi algorithm for analysis of long biological sequences", 2007.

    Example:
        >>> from segcrf import LinearChain
        >>> stream = Stream(lambda emissions: LinearChain(emissions, 2 * torch.eye(2)))
        >>> stream.push(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]))
        Segments: 0 in 0 recordings
        recording  start  end  label
        >>> stream.current         # class 1 since frame 2, by the best labelling so far
        (1, 2)
        >>> stream.push(torch.tensor([[0.0, 9.0]]))
        Segments: 1 in 1 recording
        recording  start  end  label
                0      0    2      0
        >>> stream
        Stream(2 classes, 4 frames, 1 undecided; class 1 since frame 2)
        >>> stream.finish()
        Segments: 1 in 1 recording
        recording  start  end  label
                0      2    4      1
    """

    def __init__(self, layer: Callable[[Tensor], Any], *, max_delay: int | None = None) -> None:
        if max_delay is not None:
            check_whole(max_delay, "max_delay", 1)
        self._layer, self._max_delay = layer, max_delay
        self._frames = 0
        self._finished = False
        self._beam = _Beam(np.empty(0), np.empty(0), np.empty(0, np.int64), [])
        self._open: tuple[int, int] | None = None  # the last decided band: label, start
        self._end = np.empty(0)  # scores of the last label, if it is that of the last frame so far

    @property
    def frames(self) -> int:
        """Frames that have been pushed."""
        return self._frames

    @property
    def pending(self) -> int:
        """Frames with a label that later frames may still change."""
        return len(self._beam.before)

    @property
    def current(self) -> tuple[int, int]:
        """Class and first frame of the running band, by the best labelling so far; it may change."""
        self._require_frames()
        labels = _path(self._beam.before, int(self._beam.best.argmax()))
        label, begin = self._open if self._open is not None else (int(labels[0]), 0)
        changes = np.flatnonzero(np.append(label, labels[:-1]) != labels) if len(labels) else labels
        if not len(changes):
            return label, begin
        return int(labels[-1]), self._frames - len(labels) + int(changes[-1])

    @property
    def filtered(self) -> Tensor:
        """Probability (C,) of the class of the last frame given all frames so far, float64: see
        :attr:`~segcrf.Structure.filtered`."""
        self._require_frames()
        return torch.from_numpy(np.exp(self._beam.running))

    def __repr__(self) -> str:
        delay = "" if self._max_delay is None else f", max_delay={self._max_delay}"
        if not self._frames:
            return f"Stream(no frames{delay})"
        label, begin = self.current if not self._finished else (0, 0)
        state = "finished" if self._finished else f"class {label} since frame {begin}"
        plural = "" if self._frames == 1 else "s"
        counts = f"{len(self._beam.best)} classes, {self._frames} frame{plural}, {self.pending} undecided"
        return f"Stream({counts}{delay}; {state})"

    def push(self, emissions: Tensor) -> Segments:
        """Take the class scores of the next frames.

        Args:
            emissions: (N, C), any N; the first call fixes C.

        Returns:
            The bands that are finished, with frames counted from the beginning of the recording. They follow those of
            earlier calls without a gap.

        Raises:
            InputError: a score is NaN or +inf, or no labelling is allowed any more. The call changes nothing.
            ValueError: the stream is finished.
        """
        _check_still_open(self._finished)
        _check_stream_scores(emissions, self._frames, len(self._beam.best) or None)
        if not len(emissions):
            return _NONE
        with torch.no_grad():
            chain = self._layer(emissions.detach()[None])
        _check_streamable(chain, LinearChain)
        scores, transitions, start, end = (p.detach().double().cpu().numpy() for p in chain.potentials)
        beam = self._beam._replace(before=list(self._beam.before))
        decided = [np.empty(0, np.int64)]
        for t, row in enumerate(scores[0], self._frames):
            beam = _advance(beam, row, transitions, start)
            _check_still_allowed(beam.best, t)
            best, running = beam.best - beam.best.max(), beam.running - _log_sum(beam.running[:, None])
            beam = beam._replace(best=best, running=running)
            if self._max_delay is not None and len(beam.before) > self._max_delay:
                # Labellings are dropped that disagree with the best one on the oldest frame.
                best = np.where(beam.oldest == beam.oldest[best.argmax()], best, -np.inf)
                beam = beam._replace(best=best, oldest=_forget(beam.before, best, decided))
        if len(np.unique(beam.oldest[beam.best > -np.inf])) == 1 and beam.before:
            beam = beam._replace(oldest=_forget(beam.before, beam.best, decided))
        self._beam, self._end = beam, end
        self._frames += len(emissions)
        return self._cut(np.concatenate(decided))

    def finish(self) -> Segments:
        """End the recording, by the scores of its last label; return the remaining bands.

        Raises:
            InputError: no labelling may end here.
            ValueError: there was no frame, or the stream is finished.
        """
        _check_still_open(self._finished)
        self._require_frames()
        final = self._beam.best + self._end
        _check_still_allowed(final, self._frames - 1)
        labels = _path(self._beam.before, int(final.argmax()))
        self._beam, self._finished = self._beam._replace(before=[]), True
        bands = self._cut(labels)
        assert self._open is not None  # there was a frame, and all are decided
        label, start = self._open
        return Segments.concatenate([bands, _segments([start], [self._frames], [label])])

    def _cut(self, labels: IntArray) -> Segments:
        """Return the bands that end within the next decided labels; the last one stays open."""
        if not len(labels):
            return _NONE
        first = self._frames - self.pending - len(labels)
        label, begin = self._open if self._open is not None else (int(labels[0]), first)
        changes = np.flatnonzero(np.append(labels[0] != label, labels[1:] != labels[:-1])) + first
        starts, classes = np.append(begin, changes), np.append(label, labels[changes - first])
        self._open = int(classes[-1]), int(starts[-1])
        return _segments(starts[:-1], starts[1:], classes[:-1])

    def _require_frames(self) -> None:
        if not self._frames:
            raise ValueError("the stream has seen no frame yet; push class scores (N, C) first")


class _Beam(NamedTuple):
    """The best labelling that ends in each class.

    Args:
        best: (C,), the score of that labelling, up to a constant.
        running: (C,), log-probability of each class at the last frame.
        oldest: (C,), the label that the labelling has at the oldest undecided frame.
        before: of each undecided frame, (C,): the label before it by its own label.
    """

    best: FloatArray
    running: FloatArray
    oldest: IntArray
    before: list[IntArray]


def _advance(beam: _Beam, row: FloatArray, transitions: FloatArray, start: FloatArray) -> _Beam:
    """Take the scores (C,) of one more frame; its pointers are appended to ``before``."""
    classes = came = np.arange(len(start))
    if len(beam.best):
        steps = beam.best[:, None] + transitions
        came = steps.argmax(0)
        best, running = steps[came, classes] + row, _log_sum(beam.running[:, None] + transitions) + row
    else:
        best = running = start + row
    oldest = beam.oldest[came] if beam.before else classes
    beam.before.append(came)
    return _Beam(best, running, oldest, beam.before)


class SignalStream:
    """Run a causal encoder over a signal as it comes in, and decode its class scores.

    :meth:`segcrf.Segmenter.stream` makes one; make one yourself for an encoder of your own.

    Args:
        encoder: with a method ``step(x, state)``, as :class:`segcrf.nn.Encoder` has.
        head: makes class scores (1, N, C) of features (1, N, H).
        decoder: decodes the scores.
        prepare: turns frames as they are measured, (N, F), into what the encoder expects.
        show: turns finished bands into what :meth:`push` and :meth:`finish` return; None: bands as they are.

    Attributes:
        decoder: the :class:`Stream` of the scores; it reports the undecided frames and the running band.

    Example:
        >>> from segcrf import LinearChainCRF
        >>> from segcrf.nn import LSTMEncoder
        >>> encoder, head = LSTMEncoder(1, hidden=4).eval(), torch.nn.Linear(4, 2)
        >>> stream = SignalStream(encoder, head, Stream(LinearChainCRF(2)))
        >>> bands = [stream.push(torch.zeros(10, 1)) for _ in range(5)] + [stream.finish()]
        >>> sum(int(band.durations.sum()) for band in bands)        # every frame is in one band
        50
    """

    def __init__(
        self,
        encoder: Stepping,
        head: Callable[[Tensor], Tensor],
        decoder: Stream,
        prepare: Callable[[Any], Tensor] = torch.as_tensor,
        show: Callable[[Segments], Any] | None = None,
    ) -> None:
        self._encoder, self._head, self._prepare, self._show = encoder, head, prepare, show
        self.decoder = decoder
        self._state: Any = None

    def push(self, signal: Any) -> Any:
        """Take the next frames (N, F) of the signal, any N; return the bands that are finished, see
        :meth:`Stream.push`."""
        if not len(signal):
            return self._shown(_NONE)
        with torch.no_grad():
            features, state = self._encoder.step(self._prepare(signal)[None], self._state)
            bands = self.decoder.push(self._head(features)[0])
        self._state = state
        return self._shown(bands)

    def finish(self) -> Any:
        """End the recording; return the remaining bands."""
        return self._shown(self.decoder.finish())

    def __repr__(self) -> str:
        return f"SignalStream({type(self._encoder).__name__}, {self.decoder!r})"

    def _shown(self, bands: Segments) -> Any:
        return bands if self._show is None else self._show(bands)


class Stepping(Protocol):
    """An encoder that continues where it stopped."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return features of the next frames, and the state for the next call."""
        ...


def open_stream(
    model: JointModel | SwitchingModel,
    check: Callable[[Any], Array],
    show: Callable[[Segments], Any],
    *,
    max_delay: int | None = None,
) -> SignalStream:
    """Return a stream that decodes with a trained model.

    Args:
        model: with a causal encoder and a linear chain.
        check: returns frames as an array (N, F), or raises for those that cannot be used.
        show: turns finished bands into what the stream returns.
        max_delay: as of :class:`Stream`.

    Raises:
        InputError: the model needs later frames, or the whole recording.
        InputTypeError: the bands are semi-Markov.
    """
    check_causal(model)
    device = model.class_head.weight.device
    decoder = Stream(lambda scores: model.decode(model.dist(scores)).dist, max_delay=max_delay)

    def head(features: Tensor) -> Tensor:
        return model.heads(features).emissions

    def to_model(frames: Any) -> Tensor:
        return model.prepare(to_tensor(check(frames)).to(device)[None])[0]

    return SignalStream(model.encoder, head, decoder, to_model, show)


def _segments(start: Any, end: Any, label: Any) -> Segments:
    start, end, label = (np.asarray(column, np.int64) for column in (start, end, label))
    return Segments(np.zeros(len(start), np.int64), start, end, label)


_NONE = _segments([], [], [])


def _log_sum(terms: FloatArray) -> FloatArray:
    """Return the log of the sum of exp over the first axis; -inf where all are."""
    top = terms.max(0)
    safe = np.where(top > -np.inf, top, 0.0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(terms - safe).sum(0))


def _path(before: list[IntArray], label: int) -> IntArray:
    """Return the labels of the undecided frames, given the last one."""
    labels = np.empty(len(before), np.int64)
    for t in range(len(before) - 1, -1, -1):
        labels[t] = label
        label = int(before[t][label])
    return labels


def _forget(before: list[IntArray], best: FloatArray, decided: list[IntArray]) -> IntArray:
    """Move the frames on which all labellings that may still win agree from ``before`` to ``decided``; return the label
    of the oldest remaining frame, by the label of the last one."""
    alive, t = np.flatnonzero(best > -np.inf), len(before) - 1
    origins = np.arange(len(best))
    while len(alive) > 1:
        alive, t = np.unique(before[t][alive]), t - 1
    decided.append(_path(before[: t + 1], int(alive[0])))
    del before[: t + 1]
    for came in reversed(before[1:]):
        origins = came[origins]
    return origins


def _check_stream_scores(values: Tensor, frame: int, classes: int | None) -> None:
    """Raise for what is not (N, C) scores, has another C than before, or holds NaN or +inf; ``frame`` is the first."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("emissions", type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if not values.is_floating_point():
        raise InputTypeError("emissions", str(values.dtype), "floating-point scores", "convert with .float()")
    if values.dim() != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        expected = f"shape (N, {'C' if classes is None else classes}): frames, classes"
        raise InputError("emissions", f"shape {tuple(values.shape)}", expected)
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        t, label = bad.nonzero()[0].tolist()
        got, advice = f"{values[t, label].item()} for class {label}", "correct the frame and push all of them again"
        raise InputError("emissions", got, "a finite score or -inf (forbidden)", advice, frame=frame + t)


def _check_streamable(structure: Any, kind: type) -> None:
    """Raise for a structure that cannot be decoded while it grows."""
    if not isinstance(structure, kind) or structure.transitions.dim() != 2:
        got = type(structure).__name__ + (" with transitions of every step" if isinstance(structure, kind) else "")
        advice = "decode pieces of the recording with `mode`, or fit a linear chain"
        raise InputTypeError("layer", got, f"a {kind.__name__} with transitions that all steps share", advice)


def _check_still_open(finished: bool) -> None:
    """Raise for a stream that is finished."""
    if finished:
        raise ValueError("the stream is finished; begin another one for the next recording")


def _check_still_allowed(best: np.ndarray[Any, Any], frame: int) -> None:
    """Raise for scores by class that leave no labelling allowed."""
    if best.max() == -np.inf:
        advice = "nothing of this call was taken: relax the -inf scores, or end the recording before this frame"
        raise InputError("emissions", "no allowed labelling", "one at least", advice, frame=frame)
