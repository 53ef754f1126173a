"""Streams: a recording is decoded while it is measured. Frames go in, finished bands come out.

A band is finished when its last frame is decided. Decided frames are forgotten, so memory does not grow with the
recording; :class:`segcrf.structures.OnlineDecoder` says when a frame is decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError
from segcrf.inference.last_targets import LastTargets
from segcrf.inference.layer_decoder import NO_BANDS, GrowingBands, LayerDecoder
from segcrf.inference.live_steps import LiveSteps
from segcrf.nn import DecodingRule, JointModel, SwitchingModel, check_causal, to_tensor
from segcrf.segments import Segments

__all__ = ["SignalStream", "Stream", "check_live"]


class Stream:
    """Decode the class scores of one recording as they come in.

    The bands of all calls together are those of the whole recording at once, however it is cut into calls; without
    ``max_delay`` they are those of ``layer(emissions).mode``. Each has a confidence as its score: the mean, over its
    frames, of the posterior of its class at the moment of decision. Filtered probabilities and the running band are
    available immediately.

    Args:
        layer: makes a :class:`~segcrf.LinearChain` or a :class:`~segcrf.SemiMarkov` of class scores (B, T, C), as a
            :class:`~segcrf.LinearChainCRF` does; all steps must share its transitions. Its potentials are those at the
            first frame.
        factor: of the emissions, as in :class:`~segcrf.nn.DecodingRule`.
        by_frame: decide each frame by its posterior, instead of the most probable labelling.
        max_delay: frames after which a label is decided although later frames could change it, at least 1, or 0 with
            ``by_frame``; None: wait until they cannot. If steps are forbidden, an early decision by the most probable
            labelling may leave none allowed later.

    Raises:
        InputError: ``max_delay`` is too small, or ``factor`` is not above 0.
        InputTypeError: the layer makes another structure.

    Source:
        Šrámek, Brejová and Vinař, "On-line Viterbi algorithm for analysis of long biological sequences", 2007.

    Example:
        >>> from segcrf import LinearChain
        >>> stream = Stream(lambda emissions: LinearChain(emissions, 2 * torch.eye(2)))
        >>> len(stream.push(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])))
        0
        >>> stream.current         # class 1 since frame 2, by the best labelling so far
        (1, 2)
        >>> stream.push(torch.tensor([[0.0, 9.0]]))
        Segments: 1 in 1 recording
        recording  start  end  label  score
                0      0    2      0  1.000
        >>> stream
        Stream(2 classes, 4 frames, 1 undecided; class 1 since frame 2)
        >>> stream.finish()
        Segments: 1 in 1 recording
        recording  start  end  label  score
                0      2    4      1  1.000
    """

    def __init__(
        self,
        layer: Callable[[Tensor], Any],
        *,
        factor: float = 1.0,
        by_frame: bool = False,
        max_delay: int | None = None,
    ) -> None:
        self._decoder = LayerDecoder(layer, 1, DecodingRule(factor, by_frame, max_delay))
        self._bands = GrowingBands(1)
        self._finished = 0  # frames of the recording, if it is finished

    @property
    def frames(self) -> int:
        """Frames that have been pushed."""
        return self._finished or int(self._decoder.frames[0])

    @property
    def pending(self) -> int:
        """Frames with a label that later frames may still change."""
        online = self._decoder.online
        return 0 if online is None else int(online.pending[0])

    @property
    def current(self) -> tuple[int, int]:
        """Class and first frame of the running band, by what is known so far; it may change."""
        label, start = self._online().current
        return int(label[0]), int(start[0])

    @property
    def filtered(self) -> Tensor:
        """Probability (C,) of the class of the last frame given all frames so far, float64: see
        :attr:`~segcrf.Structure.filtered`."""
        return torch.from_numpy(self._online().filtered[0])

    @property
    def following(self) -> Tensor:
        """Probability (C,) of the class of the next frame given all frames so far, float64; zero if nothing is allowed
        there."""
        return torch.from_numpy(self._online().following[0])

    def __repr__(self) -> str:
        settings = self._decoder.settings
        if not self.frames:
            return f"Stream(no frames{settings})"
        label, begin = self.current if not self._finished else (0, 0)
        state = "finished" if self._finished else f"class {label} since frame {begin}"
        classes = self._decoder.online.num_classes if self._decoder.online is not None else 0
        plural = "" if self.frames == 1 else "s"
        return f"Stream({classes} classes, {self.frames} frame{plural}, {self.pending} undecided{settings}; {state})"

    def push(self, emissions: Tensor) -> Segments:
        """Take the class scores of the next frames.

        Args:
            emissions: (N, C), any N; the first call fixes C.

        Returns:
            The bands that are finished, with frames counted from the beginning of the recording, and their confidence
            as score. They follow those of earlier calls without a gap.

        Raises:
            InputError: a score is NaN or +inf, or no labelling is allowed any more. The call changes nothing.
            ValueError: the stream is finished.
        """
        online = self._decoder.online
        _check_scores(emissions, None if online is None else online.num_classes)
        return self.push_scores(emissions[None])

    def push_scores(self, scores: Tensor | npt.NDArray[Any]) -> Segments:
        """Take class scores (1, N, C) of a model, as :meth:`push` takes those of a user: their form is not checked."""
        _check_still_open(bool(self._finished))
        try:
            decided = self._decoder.push(scores)
        except InputError as error:
            error.recording = None  # there is only one
            raise
        return NO_BANDS if decided is None else self._bands.cut(decided)

    def finish(self) -> Segments:
        """End the recording, by the scores of its last label and last band; return the remaining bands.

        Raises:
            InputError: no labelling may end here.
            ValueError: there was no frame, or the stream is finished.
        """
        _check_still_open(bool(self._finished))
        self._online()
        frames = self.frames
        try:
            decided = self._decoder.finish([0])
        except InputError as error:
            error.recording = None
            raise
        bands = self._bands.cut(decided)
        self._finished = frames
        return Segments.concatenate([bands, self._bands.close(0, frames)])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the recording, to be saved and loaded. It holds no parameters of the layer."""
        return {"decoder": self._decoder.state_dict(), "bands": self._bands.state_dict(), "finished": self._finished}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the stream stopped that returned ``state``; layer and decoding rule must be the same.

        Raises:
            InputError: the state is that of a stream with another structure or decoding rule.
        """
        self._decoder.load_state_dict(state["decoder"])
        self._bands.load_state_dict(state["bands"])
        self._finished = int(state["finished"])

    def _online(self) -> Any:
        if not self.frames:
            raise ValueError("the stream has seen no frame yet; push class scores (N, C) first")
        return self._decoder.online


class SignalStream:
    """Decode one raw signal as it comes in, by a trained model and its decoding rule.

    :meth:`segcrf.Segmenter.stream` makes one. All calls together give the labels of ``predict``, to the bit on a CPU.

    Args:
        model: with a causal encoder, in evaluation mode. Its weights are those at the beginning of the stream.
        check: returns frames as they are measured as an array (N, F), or raises for those that cannot be used.
        show: turns finished bands into what :meth:`push` and :meth:`finish` return; None: bands as they are.

    Attributes:
        decoder: the :class:`Stream` of the class scores; it reports the undecided frames and the running band.

    Raises:
        InputError: the model needs later frames, or the whole recording; or its rule by frame has no ``max_delay``.

    Example:
        >>> from segcrf import LinearChainCRF
        >>> from segcrf.nn import LSTMEncoder
        >>> stream = SignalStream(JointModel(LSTMEncoder(1, hidden=4), LinearChainCRF(2)).eval())
        >>> bands = [stream.push(torch.zeros(10, 1)) for _ in range(5)] + [stream.finish()]
        >>> sum(int(band.durations.sum()) for band in bands)        # every frame is in one band
        50
    """

    def __init__(
        self,
        model: JointModel | SwitchingModel,
        check: Callable[[Any], Any] = torch.as_tensor,
        show: Callable[[Segments], Any] | None = None,
    ) -> None:
        check_live(model)
        rule = model.decoding_rule
        self.model, self._check, self._show = model, check, show
        self.decoder = Stream(model.crf, factor=rule.factor, by_frame=rule.by_frame, max_delay=rule.max_delay)
        self._steps, self._state = LiveSteps(model), None
        self._targets = LastTargets(model, 1)

    def push(self, signal: Any) -> Any:
        """Take the next frames (N, F) of the signal, any N.

        Returns:
            The bands that are finished, see :meth:`Stream.push`.

        Raises:
            InputError: the frames cannot be used. The call changes nothing.
            ValueError: the stream is finished.
        """
        frames = to_tensor(self._check(signal)).to(self.model.class_head.weight.device)
        if not len(frames):
            return self._shown(NO_BANDS)
        scores = self._steps.push(frames, self._state)
        bands = self.decoder.push_scores(scores.emissions)
        self._state = scores.state
        if scores.predictions is not None:
            self._targets.take({0: scores.predictions}, torch.as_tensor(scores.emissions))
        return self._shown(bands)

    def finish(self) -> Any:
        """End the recording; return the remaining bands."""
        return self._shown(self.decoder.finish())

    @property
    def targets(self) -> npt.NDArray[np.float64]:
        """Predicted targets (R,) at the last frame, in their unit.

        Those of a switching model are mixed by the filtered probability of its classes.

        Raises:
            ValueError: the model has no targets, or there was no frame.
        """
        last = self._targets.of(0)
        if last is None:
            raise ValueError("there are no predicted targets: the model has none, or no frame was pushed")
        return last

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the recording: of the encoder (a nest of tensors, lists, tuples and None) and decoder.

        It holds no parameters, so it belongs to this model and its decoding rule.
        """
        model = self._steps.to_tensors(self._state)
        return {"model": model, "decoder": self.decoder.state_dict(), "targets": self._targets.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the stream stopped that returned ``state``, with the same model and decoding rule.

        Raises:
            InputError: the state is that of a stream with another structure or decoding rule.
        """
        self.decoder.load_state_dict(state["decoder"])
        self._targets.load_state_dict(state["targets"])
        self._state = self._steps.from_tensors(state["model"])

    def __repr__(self) -> str:
        return f"SignalStream({type(self.model.encoder).__name__}, {self.decoder!r})"

    def _shown(self, bands: Segments) -> Any:
        return bands if self._show is None else self._show(bands)


def check_live(model: JointModel | SwitchingModel) -> None:
    """Raise for a model that a stream cannot run.

    Args:
        model: of a stream.

    Raises:
        InputError: the model needs later frames, or the whole recording; or its rule by frame has no ``max_delay``.
    """
    check_causal(model)
    rule = model.decoding_rule
    if rule.by_frame and rule.max_delay is None:
        expected = "a number of frames, because the rule decides by frame and otherwise needs the whole recording"
        advice = "set_decoding(max_delay=50), set_decoding(by_frame=False), or fit with Segmenter(max_delay=50)"
        raise InputError("max_delay", "None", expected, advice)


def _check_still_open(finished: bool) -> None:
    """Raise for a stream that is finished."""
    if finished:
        raise ValueError("the stream is finished; begin another one for the next recording")


def _check_scores(values: Tensor, classes: int | None) -> None:
    """Raise for what is not (N, C) class scores, or has another C than before."""
    if not torch.is_tensor(values):  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("emissions", type(values).__name__, "a torch.Tensor", "use torch.as_tensor")
    if not values.is_floating_point():
        raise InputTypeError("emissions", str(values.dtype), "floating-point scores", "convert with .float()")
    if values.dim() != 2 or not values.shape[1] or (classes is not None and values.shape[1] != classes):
        expected = f"shape (N, {'C' if classes is None else classes}): frames, classes"
        raise InputError("emissions", f"shape {tuple(values.shape)}", expected)
