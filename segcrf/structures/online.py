"""OnlineDecoder: the class scores of many recordings are decoded as they come in, exactly and in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import InputError, InputTypeError, check_whole
from segcrf.kernels import (
    ALLOWED,
    DECIDED,
    FRAMES,
    MASKED,
    NO_SCORE,
    UNDECIDED_AT_ONCE,
    Sizes,
    online_kernels,
)
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_scores_shape
from segcrf.structures.linear_chain import LinearChain
from segcrf.structures.online_state import check_state, grown_state
from segcrf.structures.semi_markov import SemiMarkov, survival

__all__ = ["Decided", "OnlineDecoder", "RunningBands"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Decided(NamedTuple):
    """Newly decided frames, M of them, sorted by stream and frame.

    Attributes:
        stream: (M,) int64, index of the stream.
        frame: (M,) int64, frame of its recording.
        label: (M,) int64, the class.
        start: (M,) bool, whether a band begins here.
        posterior: (M, C) float64, probability of each class at this frame, given the frames at its decision.
    """

    stream: Ints
    frame: Ints
    label: Ints
    start: npt.NDArray[np.bool_]
    posterior: Floats


class RunningBands(NamedTuple):
    """The band at the last frame of each stream, by the frames so far; it may change.

    Attributes:
        label: (n,) int64, its class; -1 for a stream without frames.
        start: (n,) int64, its first frame.
    """

    label: Ints
    start: Ints


class OnlineDecoder:
    """Decode the class scores of n recordings at once while they come in.

    A *prefix* is a recording cut after its last frame so far, as if from a longer recording: without ``end`` scores,
    and with the running band of a semi-Markov chain scored by its survival, as :attr:`Structure.filtered` defines it.
    The posterior of a frame is its marginal under the distribution of the prefix at which the frame is decided;
    :meth:`finish` decides under the distribution of the whole recording.

    How the frames are cut into calls, and what the other streams do, changes nothing: labels, posteriors and the time
    of each decision are the same bit for bit. Memory is O(C) for each undecided frame, and O(C K) for each stream of a
    semi-Markov chain.

    Args:
        dist: a linear chain with transitions that all steps share, or a semi-Markov chain. Its potentials are copied,
            all but the emissions; its size B, T is ignored.
        by_frame: decide a frame by the largest of its posteriors, the first of equals. Otherwise by the most probable
            labelling, with the choice among equals of ``dist.mode``.
        max_delay: frames after which a frame is decided although later frames could change it: frame t when frame
            t + max_delay has come. At least 0 with ``by_frame``, where 0 is the filtered class. At least 1 without,
            where the frame takes its label from the most probable labelling of the prefix, and labellings that
            disagree are dropped; if steps are forbidden, nothing may be allowed later. None: a frame is decided when
            all labellings agree on it that may still win. With ``by_frame`` that is at the end, so memory grows.
        streams: n.

    Raises:
        InputError: ``max_delay`` or ``streams`` is too small, or a ``tail`` is not below 0, so that the survival of a
            band diverges.
        InputTypeError: a structure that cannot be decoded while it grows.

    Source:
        Rabiner 1989, section III; Šrámek, Brejová and Vinař, "On-line Viterbi algorithm for analysis of long biological
        sequences", 2007.

    Example:
        >>> from segcrf import LinearChain
        >>> decoder = OnlineDecoder(LinearChain(torch.zeros(1, 1, 2), 2 * torch.eye(2)))
        >>> decoder.push(torch.tensor([[[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]])).label
        array([0, 0])
        >>> decoder
        OnlineDecoder(LinearChain, n=1, C=2, 3 frames, 1 undecided)
        >>> decoder.finish().frame
        array([2])
    """

    def __init__(
        self, dist: Structure, *, by_frame: bool = False, max_delay: int | None = None, streams: int = 1
    ) -> None:
        if max_delay is not None:
            check_whole(max_delay, "max_delay", 0 if by_frame else 1)
        check_whole(streams, "streams", 1)
        self._kernels_of, scores = _scores_of(dist)
        self._structure, self._num_classes = type(dist).__name__, dist.num_classes
        self._durations = scores[1].shape[1] if self._kernels_of == "semi_markov" else 1
        self._by_frame, self._max_delay = by_frame, max_delay
        self._tables: tuple[Any, ...] = self._kernels.lay_out(*scores)
        self._capacity = UNDECIDED_AT_ONCE if max_delay is None else 1 << int(max_delay).bit_length()
        sizes = self._sizes
        rows = (
            sizes.reals + self._capacity * sizes.reals_of_frame,
            sizes.wholes + self._capacity * sizes.wholes_of_frame,
        )
        self._state = np.empty((streams, rows[0])), np.empty((streams, rows[1]), np.int64)
        self._kernels.begin(self._tables, *self._state)
        self._begin_spare()

    # -------------------------------------------------------------------------------------------------- the streams
    @property
    def streams(self) -> int:
        """The number n of streams."""
        return len(self._state[1])

    @property
    def num_classes(self) -> int:
        """The number C of classes."""
        return self._num_classes

    @property
    def frames(self) -> Ints:
        """Frames (n,) that have been pushed into each stream."""
        return self._state[1][:, FRAMES].copy()

    @property
    def pending(self) -> Ints:
        """Frames (n,) of each stream without a decided label."""
        return self._state[1][:, FRAMES] - self._state[1][:, DECIDED]

    @property
    def current(self) -> RunningBands:
        """The band at the last frame of each stream, by the frames so far; it may change."""
        labels, starts = np.empty(self.streams, np.int64), np.empty(self.streams, np.int64)
        self._kernels.current(self._tables, self._rule, *self._state, labels, starts)
        return RunningBands(labels, starts)

    @property
    def filtered(self) -> Floats:
        """Probability (n, C) of the class at the last frame, given all frames so far; zero for a stream without."""
        return self._probability(self._kernels.filtered)

    @property
    def following(self) -> Floats:
        """Probability (n, C) of the class at the next frame, given all frames so far.

        It is what ``filtered`` would be after one more frame with scores of 0; zero if nothing is allowed there.
        """
        return self._probability(self._kernels.following)

    def __repr__(self) -> str:
        frames, pending = int(self.frames.sum()), int(self.pending.sum())
        rule = ", by_frame" if self._by_frame else ""
        delay = "" if self._max_delay is None else f", max_delay={self._max_delay}"
        sizes = f"n={self.streams}, C={self.num_classes}" + (f", K={self._durations}" if self._durations > 1 else "")
        return f"OnlineDecoder({self._structure}, {sizes}{rule}{delay}, {frames} frames, {pending} undecided)"

    # ---------------------------------------------------------------------------------------------------- decisions
    def push(
        self, emissions: Tensor | npt.NDArray[Any], lengths: Tensor | Sequence[int] | Ints | None = None
    ) -> Decided:
        """Take the class scores of the next frames of every stream.

        Args:
            emissions: (n, N, C), in nats; ``-inf`` forbids. An array is quicker than a tensor.
            lengths: how many of the N frames each stream has, (n,) integers from 0 to N; None: all N. Scores beyond are
                ignored.

        Returns:
            The frames that are decided by then.

        Raises:
            InputError: a score is NaN or +inf, a frame has a finite mask on every class, or no labelling is allowed any
                more. The call changes nothing.
            InputTypeError: emissions or lengths are of another kind.
        """
        scores = _check_stream_scores(emissions, self.streams, self.num_classes)
        counts = _check_counts(lengths, *scores.shape[:2])
        self._copy_state()
        if scores.shape[1] <= _PIECE:
            parts = [self._advance(scores, counts)]
        else:
            pieces = ((t, scores[:, t : t + _PIECE]) for t in range(0, scores.shape[1], _PIECE))
            parts = [self._advance(piece, np.clip(counts - t, 0, piece.shape[1])) for t, piece in pieces]
        self._state, self._spare = self._spare, self._state
        return parts[0] if len(parts) == 1 else self._joined(parts)

    def finish(self, which: Sequence[int] | Ints | Tensor | None = None) -> Decided:
        """End recordings by the scores of the last label and the last band; return their remaining frames.

        A new recording may then begin in each of their streams.

        Args:
            which: indices of streams; None: all that have a frame.

        Raises:
            InputError: no labelling may end here, or ``which`` holds a stream without frames, one that does not exist
                or one twice. The call changes nothing.
        """
        ended = _check_which(which, self._state[1][:, FRAMES])
        self._copy_state()
        self._make_room(int(self.pending.sum()))
        rows, wrong, *place = self._kernels.finish(ended, self._tables, self._rule, *self._spare, self._room)
        if wrong != ALLOWED:
            raise self._rejection(wrong, place, None)
        decided = self._taken(rows)
        for stream in ended:
            self._kernels.begin(self._tables, self._spare[0][stream], self._spare[1][stream])
        self._state, self._spare = self._spare, self._state
        return decided

    # ----------------------------------------------------------------------------------------------------- its state
    def state_dict(self) -> dict[str, Any]:
        """Return the state of all streams: tensors and numbers, to be saved and loaded.

        It holds no potentials: load it into a decoder of the same distribution.
        """
        reals, wholes = (torch.from_numpy(values.copy()) for values in self._state)
        return self._facts | {"capacity": self._capacity, "reals": reals, "wholes": wholes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the decoder stopped that returned ``state``.

        Raises:
            InputError: the state is that of a decoder with another structure, rule or number of streams.
        """
        check_state(state, self._facts, self._sizes)
        self._state = state["reals"].numpy().copy(), state["wholes"].numpy().copy()
        self._capacity = int(state["capacity"])
        self._begin_spare()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_spare", "_room")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_spare()

    @property
    def _facts(self) -> dict[str, Any]:
        delay = -1 if self._max_delay is None else int(self._max_delay)
        return {
            "structure": self._structure,
            "num_classes": self.num_classes,
            "max_duration": self._durations,
            "by_frame": bool(self._by_frame),
            "max_delay": delay,
            "streams": self.streams,
        }

    # ------------------------------------------------------------------------------------------------- inner workings
    @property
    def _kernels(self) -> Any:
        return online_kernels(self._kernels_of)

    @property
    def _sizes(self) -> Sizes:
        return self._kernels.sizes(self._tables)

    @property
    def _rule(self) -> tuple[int, int, int]:
        return int(self._by_frame), -1 if self._max_delay is None else int(self._max_delay), self._capacity

    def _probability(self, kernel: Any) -> Floats:
        probability = np.empty((self.streams, self.num_classes))
        kernel(self._tables, self._rule, *self._state, probability)
        return probability

    def _copy_state(self) -> None:
        """Copy the state into the spare one, on which a call works: if it fails, nothing has changed."""
        for spare, values in zip(self._spare, self._state, strict=True):
            np.copyto(spare, values)

    def _begin_spare(self) -> None:
        """Provide for a spare state of the same size, and for a decided frame."""
        self._spare = np.empty_like(self._state[0]), np.empty_like(self._state[1])
        self._room: tuple[Any, ...] = ((),)
        self._make_room(1)

    def _make_room(self, rows: int) -> None:
        """Provide for ``rows`` decided frames."""
        if len(self._room[0]) < rows:
            columns = [np.empty(rows, np.int64) for _ in range(3)]
            self._room = (*columns, np.empty(rows, np.bool_), np.empty((rows, self.num_classes)))

    def _advance(self, scores: Floats, lengths: Ints) -> Decided:
        """Advance the spare state by the scores of at most ``_PIECE`` frames."""
        if self._max_delay is None:
            wholes = self._spare[1]
            most = int((wholes[:, FRAMES] - wholes[:, DECIDED]).max()) + scores.shape[1]
            if most >= self._capacity:
                self._grow(1 << most.bit_length())
        self._make_room(len(lengths) * (self._capacity + scores.shape[1]))
        rows, wrong, *place = self._kernels.advance(scores, lengths, self._tables, self._rule, *self._spare, self._room)
        if wrong != ALLOWED:
            raise self._rejection(wrong, place, scores)
        return self._taken(rows)

    def _taken(self, rows: int) -> Decided:
        """Return the first rows of the memory for decided frames."""
        stream, frame, label, start, posterior = self._room
        return Decided(
            stream[:rows].copy(), frame[:rows].copy(), label[:rows].copy(), start[:rows].copy(), posterior[:rows].copy()
        )

    def _joined(self, parts: list[Decided]) -> Decided:
        """Return the decided frames of consecutive pieces, sorted by stream and frame."""
        columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        stream, frame, label, start, posterior = (values[order] for values in columns)
        return Decided(stream, frame, label, start, posterior)

    def _grow(self, capacity: int) -> None:
        """Make room for more undecided frames in both states."""
        before, sizes = self._capacity, self._sizes
        self._capacity = capacity
        grown = [grown_state(state, sizes, before, capacity) for state in (self._state, self._spare)]
        self._state, self._spare = grown

    @staticmethod
    def _rejection(wrong: int, where: Sequence[int], scores: Floats | None) -> InputError:
        """Return the error for a frame that cannot be taken, or with ``scores`` None for a recording's end.

        ``where`` it is: the stream, the frame and the class.
        """
        stream, frame, label = where
        place: dict[str, Any] = {"recording": stream, "frame": frame}
        if wrong == NO_SCORE and scores is not None:
            bad = scores[stream, :, label]
            got = f"{bad[np.isnan(bad) | (bad == np.inf)][0]} for class {label}"
            advice = "correct the frame and push all of them again"
            return InputError("emissions", got, "a finite score or -inf (forbidden)", advice, **place)
        if wrong == MASKED:
            advice = "give a frame without an observation emissions of 0"
            return InputError("emissions", "a finite mask on every class", "a score above -1e12", advice, **place)
        advice = "nothing of this call was taken: relax the -inf scores, or end the recording before this frame"
        if scores is None:
            advice = "push more frames, or relax the -inf scores of the end and of the last band"
        return InputError("emissions", "no allowed labelling", "one at least", advice, **place)


#: Frames of each stream that a kernel takes at once.
_PIECE = 256


def _scores_of(dist: Structure) -> tuple[str, list[Floats]]:
    """Return the folder of the kernels of a structure, and its scores that streams share, float64."""
    if isinstance(dist, LinearChain) and dist.transitions.dim() == 2:
        return "linear_chain", _arrays(dist.potentials[1:])
    if isinstance(dist, SemiMarkov):
        edge = survival(dist.durations.detach().double(), dist.tail.detach().double())
        return "semi_markov", _arrays((*dist.potentials[1:], edge))
    got = type(dist).__name__ + (" with transitions of every step" if isinstance(dist, LinearChain) else "")
    expected = "a LinearChain with transitions that all steps share, or a SemiMarkov"
    raise InputTypeError("dist", got, expected, "decode pieces of the recording with `mode`")


def _arrays(scores: Sequence[Tensor]) -> list[Floats]:
    return [np.array(values.detach().double().cpu().numpy(), order="C") for values in scores]


def _check_stream_scores(values: Tensor | npt.NDArray[Any], streams: int, classes: int) -> Floats:
    """Return scores (n, N, C) as a float64 array after checking their type and shape."""
    shape = tuple(getattr(values, "shape", ()))
    expected = (streams, shape[1] if len(shape) == 3 else -1, classes)
    if isinstance(values, np.ndarray):
        if shape == expected and values.dtype.kind == "f":
            return np.ascontiguousarray(values, np.float64)
        values = torch.from_numpy(values)
    if not torch.is_tensor(values) or shape != expected or not values.is_floating_point():  # pyright: ignore[reportUnnecessaryComparison]
        check_scores_shape(values, "emissions", shape, "(n, N, C)")
        wanted = f"shape (n, N, C) = ({streams}, N, {classes}): streams, frames, classes"
        raise InputError("emissions", f"shape {shape}", wanted)
    held = values.detach()
    if held.device.type != "cpu" or held.dtype not in (torch.float32, torch.float64):
        held = held.to("cpu", torch.float64)
    return np.ascontiguousarray(held.numpy(), np.float64)


def _check_counts(values: Tensor | Sequence[int] | Ints | None, streams: int, frames: int) -> Ints:
    """Return how many of ``frames`` frames each stream has, (n,) int64."""
    if values is None:
        counts = np.empty(streams, np.int64)
        counts.fill(frames)
        return counts
    counts = np.asarray(values)
    if counts.dtype.kind not in "iu":
        raise InputTypeError("lengths", str(counts.dtype), "integers (frames per stream)", "convert them to integers")
    if counts.shape != (streams,):
        raise InputError("lengths", f"shape {counts.shape}", f"shape (n,) = ({streams},)", "give one length per stream")
    bad = (counts < 0) | (counts > frames)
    if bad.any():
        stream = int(bad.argmax())
        raise InputError("lengths", str(counts[stream]), f"0 to N = {frames}", recording=stream)
    return counts.astype(np.int64)


def _check_which(values: Sequence[int] | Ints | Tensor | None, frames: Ints) -> Ints:
    """Return the streams to be finished, sorted; each must have a frame."""
    if values is None:
        return np.flatnonzero(frames)
    which = np.atleast_1d(np.asarray(values))
    if which.size and which.dtype.kind not in "iu":
        raise InputTypeError("which", str(which.dtype), "indices of streams")
    for stream in which:
        if not 0 <= stream < len(frames):
            raise InputError("which", str(stream), f"0 to {len(frames) - 1}, the index of a stream")
        if not frames[stream]:
            raise InputError("which", f"stream {stream}, which has no frame", "streams with frames", "push some first")
    if len(np.unique(which)) < len(which):
        raise InputError("which", f"a repeated index in {which.tolist()}", "each stream once")
    return np.sort(which).astype(np.int64)
