"""Streams: a recording is decoded while it is measured. Frames go in, finished bands come out.

A band is finished when no later frame can change it: when all labellings that may still win agree on it. Their number
is that of the classes, and they part where the signal is ambiguous, so the wait is short where it is clear. What has
been decided is forgotten: memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf import _validation
from segcrf.segments import Segments
from segcrf.structures import LinearChain

__all__ = ["SignalStream", "Stream"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Stream:
    """Decodes the class scores of one recording as they come in.

    Without ``max_delay`` the bands of all calls together are those of ``layer(emissions).mode``. Filtered probabilities
    and the running band are there at once, for who cannot wait.

    Args:
        layer: what makes a :class:`~segcrf.LinearChain` of class scores (B, T, C), as a
            :class:`~segcrf.LinearChainCRF` does; its transitions must be shared by all steps.
        max_delay: frames after which a label is decided although later frames could change it, at least 1; None: wait
            until they cannot. Where steps are forbidden, what was decided early may leave no labelling allowed later.

    Raises:
        TypeError: the layer makes another structure, such as a semi-Markov chain.

    Source: Šrámek, Brejová and Vinař, "On-line Viterbi algorithm for analysis of long biological sequences", 2007.

    Example:
        >>> from segcrf import LinearChain
        >>> stream = Stream(lambda emissions: LinearChain(emissions, 2 * torch.eye(2)))
        >>> stream.push(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]))
        Segments: 0 in 0 recordings
        recording  start  end  label
        >>> stream.current         # class 1 since frame 2, as it looks; not yet for certain
        (1, 2)
        >>> stream.push(torch.tensor([[0.0, 9.0]]))
        Segments: 1 in 1 recording
        recording  start  end  label
                0      0    2      0
        >>> stream.finish()
        Segments: 1 in 1 recording
        recording  start  end  label
                0      2    4      1
    """

    def __init__(self, layer: Callable[[Tensor], Any], *, max_delay: int | None = None) -> None:
        if max_delay is not None:
            _validation.whole(max_delay, "max_delay", 1)
        self._layer, self._max_delay = layer, max_delay
        self._frames = 0
        self._finished = False
        # Of each class, the best score of a labelling that ends in it; and the log-probability of being in it.
        self._best = self._running = np.empty(0)
        # Of each undecided frame, the label before it by its own label; and the label that the oldest undecided frame
        # has in the best labelling that ends in each class.
        self._before: list[IntArray] = []
        self._oldest = np.empty(0, np.int64)
        self._open: tuple[int, int] | None = None  # the last decided band: label, start
        self._end = np.empty(0)  # scores of the last label, should it be that of the last frame so far

    @property
    def frames(self) -> int:
        """Frames that have been pushed."""
        return self._frames

    @property
    def pending(self) -> int:
        """Frames whose label later ones may still change."""
        return len(self._before)

    @property
    def current(self) -> tuple[int, int]:
        """Class and first frame of the band that is running now, by the best labelling so far; it may change."""
        self._require_frames()
        labels = _path(self._before, int(self._best.argmax()))
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
        return torch.from_numpy(np.exp(self._running))

    def push(self, emissions: Tensor) -> Segments:
        """Takes the class scores of the next frames.

        Args:
            emissions: (N, C), any N; the first call fixes C.

        Returns:
            The bands that are finished now, frames counted from the beginning of the recording. They follow those of
            earlier calls without a gap.

        Raises:
            ValueError: a score is NaN or +inf, no labelling is allowed any more, or the stream is finished. Nothing of
                the call is taken then.
        """
        _check_still_open(self._finished)
        _check_stream_scores(emissions, self._frames, len(self._best) or None)
        if not len(emissions):
            return _NONE
        with torch.no_grad():
            chain = self._layer(emissions.detach()[None])
        _check_streamable(chain, LinearChain)
        scores, transitions, start, end = (p.detach().double().cpu().numpy() for p in chain.potentials)
        best, running, oldest, before = self._best, self._running, self._oldest, list(self._before)
        classes, decided = np.arange(len(start)), [np.empty(0, np.int64)]
        for t, row in enumerate(scores[0], self._frames):
            came = classes
            if len(best):
                steps = best[:, None] + transitions
                came = steps.argmax(0)
                best, running = steps[came, classes] + row, _log_sum(running[:, None] + transitions) + row
            else:
                best = running = start + row
            oldest = oldest[came] if before else classes
            before.append(came)
            _check_still_allowed(best, t)
            best, running = best - best.max(), running - _log_sum(running[:, None])
            if self._max_delay is not None and len(before) > self._max_delay:
                # Who disagrees with the best labelling on the oldest frame is out.
                best = np.where(oldest == oldest[best.argmax()], best, -np.inf)
                oldest = _forget(before, best, decided)
        if len(np.unique(oldest[best > -np.inf])) == 1 and before:
            oldest = _forget(before, best, decided)
        self._best, self._running, self._oldest, self._before, self._end = best, running, oldest, before, end
        self._frames += len(emissions)
        return self._cut(np.concatenate(decided))

    def finish(self) -> Segments:
        """Ends the recording, by the scores of its last label; returns the bands that are left.

        Raises:
            ValueError: there was no frame, the stream is finished, or no labelling may end here.
        """
        _check_still_open(self._finished)
        self._require_frames()
        final = self._best + self._end
        _check_still_allowed(final, self._frames - 1)
        labels, self._before, self._finished = _path(self._before, int(final.argmax())), [], True
        bands = self._cut(labels)
        assert self._open is not None  # there was a frame, and all are decided
        label, start = self._open
        return Segments.concatenate([bands, _segments([start], [self._frames], [label])])

    def _cut(self, labels: IntArray) -> Segments:
        """The bands that end within the next decided labels; the last one stays open."""
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


class SignalStream:
    """Runs a causal encoder over a signal as it comes in, and decodes its class scores.

    Made by :meth:`segcrf.Segmenter.stream`; by hand for an encoder of your own.

    Args:
        encoder: with a method ``step(x, state)``, as :class:`segcrf.nn.Encoder` has.
        head: class scores (1, N, C) of features (1, N, H).
        decoder: where the scores go.
        prepare: from frames as they are measured, (N, F), to what the encoder expects.
        show: from finished bands to what :meth:`push` and :meth:`finish` return; None: bands as they are.

    Attributes:
        decoder: the :class:`Stream` of the scores: how many frames are pending, what is running now.

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
        """Takes the next frames (N, F) of the signal, any N; returns the bands that are finished, as
        :meth:`Stream.push`."""
        if not len(signal):
            return self._shown(_NONE)
        with torch.no_grad():
            features, state = self._encoder.step(self._prepare(signal)[None], self._state)
            bands = self.decoder.push(self._head(features)[0])
        self._state = state
        return self._shown(bands)

    def finish(self) -> Any:
        """Ends the recording; returns the bands that are left."""
        return self._shown(self.decoder.finish())

    def _shown(self, bands: Segments) -> Any:
        return bands if self._show is None else self._show(bands)


class Stepping(Protocol):
    """An encoder that goes on where it stopped."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Features of the next frames, and the state for the next call."""
        ...


def _segments(start: Any, end: Any, label: Any) -> Segments:
    start, end, label = (np.asarray(column, np.int64) for column in (start, end, label))
    return Segments(np.zeros(len(start), np.int64), start, end, label)


_NONE = _segments([], [], [])


def _log_sum(terms: FloatArray) -> FloatArray:
    """Log of the sum of exp over the first axis; -inf where all are."""
    top = terms.max(0)
    safe = np.where(top > -np.inf, top, 0.0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(terms - safe).sum(0))


def _path(before: list[IntArray], label: int) -> IntArray:
    """The labels of the pending frames, given the last one."""
    labels = np.empty(len(before), np.int64)
    for t in range(len(before) - 1, -1, -1):
        labels[t] = label
        label = int(before[t][label])
    return labels


def _forget(before: list[IntArray], best: FloatArray, decided: list[IntArray]) -> IntArray:
    """Moves the frames on which all labellings that may still win agree from ``before`` to ``decided``; returns the
    label of the oldest frame that is left, by the label of the last."""
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
    """Refuse what is no (N, C) of scores, has another C than before, or holds NaN or +inf; frames count from
    ``frame``."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"emissions must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if not values.is_floating_point():
        raise TypeError(f"emissions must be floating-point scores, got {values.dtype}; convert with .float()")
    expected = f"(N, {'C' if classes is None else classes})"
    if values.dim() != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        raise ValueError(f"emissions must have shape {expected}: frames, classes; got {tuple(values.shape)}")
    bad = values.isnan() | (values == torch.inf)
    if bad.any():
        t, label = bad.nonzero()[0].tolist()
        raise ValueError(
            f"emissions of frame {frame + t} of the stream, class {label}: got {values[t, label].item()}, expected a "
            "finite score or -inf (forbidden); nothing of this call was taken: correct the frame and push again"
        )


def _check_streamable(structure: Any, kind: type) -> None:
    """Refuse a structure that cannot be decoded while it grows."""
    if not isinstance(structure, kind) or structure.transitions.dim() != 2:
        got = type(structure).__name__ + (" with transitions of every step" if isinstance(structure, kind) else "")
        raise TypeError(
            f"a stream decodes a {kind.__name__} whose transitions all steps share, got {got}; decode pieces of the "
            "recording with `mode`, or fit a linear chain"
        )


def _check_still_open(finished: bool) -> None:
    """Refuse to go on with a stream that is finished."""
    if finished:
        raise ValueError("the stream is finished; begin another one for the next recording")


def _check_still_allowed(best: np.ndarray[Any, Any], frame: int) -> None:
    """Refuse scores by class that leave no labelling allowed."""
    if best.max() == -np.inf:
        raise ValueError(
            f"frame {frame} of the stream leaves no labelling that is allowed; nothing of this call was taken: relax "
            "the -inf scores, or end the recording before it"
        )
