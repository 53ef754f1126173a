"""Predictor: what a fitted model answers about recordings, as lists of arrays, as tables, live and exported."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from segcrf._validation import UNLABELLED, InputError, check_choice, frames_per_second
from segcrf.data import ClassCoder, Given, check_any_labelled, check_matching, check_signals
from segcrf.inference.export import export_model
from segcrf.inference.predict import (
    CONFIDENCES,
    blank_uncertain,
    predict_bands,
    predict_intervals,
    predict_labels,
    predict_probabilities,
    predict_targets,
)
from segcrf.inference.prompts import Prompts, read_prompts
from segcrf.inference.step import export_step
from segcrf.inference.stream import SignalStream
from segcrf.inference.streams import SignalStreams
from segcrf.nn import BoundaryIntervals, DecodingRule, JointModel, SwitchingModel
from segcrf.segments import Segments
from segcrf.structures import POSTERIORS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Predictor"]

Array = npt.NDArray[Any]
Self = TypeVar("Self", bound="Predictor")


class Predictor:
    """Answer for recordings by a fitted model: the part of a :class:`segcrf.Segmenter` that does not learn.

    Every method reads ``model_``, which takes the raw signal, so that all answers agree.

    Attributes:
        model_: the fitted model, in evaluation mode.
        classes_: (C,) names of the classes, or their indices.
        n_features_in_: channels F.
        sampling_rate: frames per second, the unit of tables; None: tables are in frames.
    """

    model_: JointModel | SwitchingModel
    classes_: Array
    n_features_in_: int
    sampling_rate: float | None
    _coder: ClassCoder

    # ------------------------------------------------------------------------------------------------- decoding
    @property
    def decoding_(self) -> DecodingRule:
        """The decoding rule: how labels are read off the probabilities. :meth:`set_decoding` changes it."""
        self._check_fitted()
        return self.model_.decoding_rule

    def set_decoding(self: Self, rule: DecodingRule | None = None, **changes: Any) -> Self:
        """Decode by another rule from here on, in all methods, streams, exports and saved models.

        The calibration stays that of the former rule. :meth:`segcrf.Segmenter.calibrate` fits it to the new one.

        Args:
            rule: the rule; None: the present one.
            **changes: fields of :class:`segcrf.nn.DecodingRule` that differ from ``rule``, such as ``by_frame=True``.

        Returns:
            self.

        Raises:
            InputError: a field has no such value, or ``max_delay`` is given and the encoder looks at later frames.
            TypeError: the rule has no such field.

        Example:
            >>> segmenter.set_decoding(by_frame=False).decoding_    # doctest: +SKIP
            DecodingRule(factor=2.0, by_frame=False, max_delay=None)
        """
        self._check_fitted()
        self.model_.set_decoding_rule(dataclasses.replace(rule or self.decoding_, **changes))
        return self

    # ----------------------------------------------------------------------------------------------- predicting
    def predict(
        self,
        X: Given,
        *,
        given: Any = None,
        forbid: Any = None,
        transcript: Any = None,
        min_duration: Any = None,
        min_confidence: float | None = None,
    ) -> list[Array]:
        """Return the classes, decoded over each whole recording, exactly under what is known about it.

        What is known restricts the distribution of the labels, so neighbouring frames change with a known one. The
        whole recording then decides, also with a ``max_delay``.

        Args:
            X: signals, (T, F) each.
            given: classes that are known: labels (T,) per recording, written as in ``fit`` (-100 or "" where unknown;
                None for a recording without any); or a table of bands as :meth:`predict_segments` returns it. Its rows
                without a label are unknown.
            forbid: classes that cannot occur: names for all recordings, a list of names per recording, or a table of
                bands in which the class cannot be.
            transcript: per recording the names of its bands in order; None for a recording of unknown order.
            min_duration: shortest band, in seconds if the Segmenter has a ``sampling_rate``, else in frames; one number
                or a dict by class. The first and the last band may be shorter: the edges of the recording cut them.
            min_confidence: the labels of bands with less confidence become -100 or "". The confidence is that of
                :meth:`predict_segments`.

        Returns:
            Labels (T,) of each recording, written as in ``fit``.

        Raises:
            ValueError, TypeError: the signals are not as in ``fit``, or there was no fit; likewise below.
            InputError: nothing agrees with what is known. It names the recording, the frame and what to relax.
        """
        signals = self._check_signals(X)
        prompts = self._read_prompts(
            signals, given=given, forbid=forbid, transcript=transcript, min_duration=min_duration
        )
        labels = predict_labels(self.model_, signals, prompts, min_confidence=min_confidence)
        return [self._coder.decode(array) for array in labels]

    def predict_proba(
        self, X: Given, *, given: Any = None, forbid: Any = None, transcript: Any = None, min_duration: Any = None
    ) -> list[Array]:
        """Return the calibrated probability of each class at each frame, given the whole recording.

        It is the posterior of the distribution that :meth:`predict` decodes, its emissions multiplied by the factor of
        ``decoding_``, raised to the power 1 / temperature and normalised. Validation recordings chose the temperature
        in ``fit``; without them it is 1. A rule that decides by frame predicts the most probable class of each frame.
        A rule that takes the most probable sequence may predict another one: it weighs whole sequences of bands, and
        leaves out a band at an uncertain position. So may a transcript or a minimum duration, which bind frames
        together. With a ``max_delay`` the probability is given what is known when the frame is decided.

        Args:
            X: signals, (T, F) each.
            given: as in :meth:`predict`; the probabilities are given what is known.
            forbid: as in :meth:`predict`.
            transcript: as in :meth:`predict`.
            min_duration: as in :meth:`predict`.

        Returns:
            Probabilities (T, C) of each recording, float64, in the order of ``classes_``; they sum to one over the
            classes.
        """
        signals = self._check_signals(X)
        prompts = self._read_prompts(
            signals, given=given, forbid=forbid, transcript=transcript, min_duration=min_duration
        )
        return predict_probabilities(self.model_, signals, prompts)

    def predict_targets(self, X: Given, *, posterior: str | None = None) -> list[Array]:
        """Return the predicted targets at each frame.

        Args:
            X: signals, (T, F) each.
            posterior: of a switching model, the class probability to mix by; None: the model's own.

        Returns:
            Predictions (T, R) of each recording, in the unit of the targets in ``fit``.

        Raises:
            ValueError: ``fit`` had no targets; or a ``posterior`` was given to a model without ``switching``.
        """
        self._check_fitted()
        if self.model_.target_head is None:
            raise ValueError("predict_targets: the model was fitted without targets; give fit(X, y, targets=...)")
        if posterior is not None:
            check_choice(posterior, "posterior", POSTERIORS)
            if not isinstance(self.model_, SwitchingModel):
                advice = "this model has one regression for all classes: leave it out, or fit with switching='mean'"
                raise InputError("posterior", repr(posterior), "None", advice)
        return predict_targets(self.model_, self._check_signals(X), posterior)

    def predict_segments(
        self,
        X: Given,
        recordings: Sequence[object] | None = None,
        *,
        confidence: str = "right",
        interval: float | None = None,
        given: Any = None,
        forbid: Any = None,
        transcript: Any = None,
        min_duration: Any = None,
        min_confidence: float | None = None,
    ) -> pd.DataFrame:
        """Return the bands of each recording.

        Args:
            X: signals, (T, F) each.
            recordings: their names; None: their indices.
            confidence: ``"right"``, the calibrated probability that the band is right: that a true band of its class
                has an intersection over union of at least 0.5 with it. Without validation recordings in ``fit`` it is
                the same as ``"frames"``, the mean calibrated probability of the class over the band. Or ``"band"``, the
                posterior probability of the whole band from first to last frame, before calibration: small where a
                boundary is uncertain, and slow with ``"semi-markov"`` or ``min_duration``: a Python loop.
            interval: share of the boundaries of right bands that their intervals shall hold, such as 0.9. It holds on
                average over recordings like the validation recordings of ``fit``, with at least 9 of them for 0.9.
                The first start and the last end of a recording are certain. Not together with what is known.
            given: as in :meth:`predict`; a table names recordings as ``recordings`` does.
            forbid: likewise.
            transcript: as in :meth:`predict`.
            min_duration: as in :meth:`predict`.
            min_confidence: the label of a band with less ``confidence`` becomes "" (-100 where classes are indices).
                Its row stays, to be looked at, labelled and passed as ``given``.

        Returns:
            A table with a row per band: ``recording``, ``start`` and ``end`` (half-open; in frames, or in seconds if
            the Segmenter has a ``sampling_rate``), ``label``, and ``confidence``. With an interval also ``start_low``,
            ``start_high``, ``end_low`` and ``end_high``, in the same unit; both ends belong to an interval.

        Raises:
            ValueError: there are fewer names than recordings, or a repeated one; or ``confidence`` is unknown.
            InputError: ``fit`` had too few validation recordings for the interval; the text says how many it needs.
        """
        check_choice(confidence, "confidence", CONFIDENCES)
        signals = self._check_signals(X)
        prompts = self._read_prompts(
            signals, recordings, given=given, forbid=forbid, transcript=transcript, min_duration=min_duration
        )
        if interval is None:
            bands, columns = predict_bands(self.model_, signals, confidence, prompts), {}
        else:
            _check_intervals_answer(confidence, prompts)
            bands, intervals = predict_intervals(self.model_, signals, confidence, interval)
            columns = _in_unit(intervals, self.sampling_rate)
        names = self.classes_.tolist()
        table = bands.to_table(classes=names, sampling_rate=self.sampling_rate, recordings=recordings).assign(**columns)
        return table if min_confidence is None else blank_uncertain(table, min_confidence)

    def stream(self, *, recording: object = 0) -> SignalStream:
        """Begin a recording that is still being measured.

        All calls together give the labels of :meth:`predict`, however the frames are cut into calls. ``decoding_`` says
        how long a frame waits: at most ``max_delay`` frames; without it, until later frames cannot change its label.

        Args:
            recording: name in the tables.

        Returns:
            A :class:`~segcrf.inference.SignalStream`. Its ``push`` takes the next frames (N, F) and returns a table of
            the finished bands, as :meth:`predict_segments`; ``finish`` returns the others. The confidence of a band is
            the probability that it is right, given what was known when each frame was decided.

        Raises:
            InputError: the encoder looks at later frames; recordings are standardised by themselves, as a whole; or the
                rule decides by frame without a ``max_delay``.
        """
        now = self._as_it_is()
        return SignalStream(now.model_, now._check_frames, _Tables(now, [recording]))

    def streams(self, n: int, *, recordings: Sequence[object] | None = None) -> SignalStreams:
        """Begin n recordings that are still being measured, each at its own time.

        Args:
            n: number of slots.
            recordings: names of the slots in the tables; None: their indices.

        Returns:
            A :class:`~segcrf.inference.SignalStreams`. Its ``push`` takes the next frames by slot and returns one table
            of the finished bands; ``finish(slot)`` ends one recording, and the slot may begin another.

        Raises:
            InputError: as of :meth:`stream`, or ``n`` is below 1.
        """
        now = self._as_it_is()
        names = list[object](range(n)) if recordings is None else list(recordings)
        return SignalStreams(now.model_, n, now._check_frames, _Tables(now, names))

    def export(self, path: str | os.PathLike[str], *, step: bool = False) -> Path:
        """Write the whole model as one file that other programs run: raw signal in, the answers of ``predict`` out.

        Args:
            path: the file: ``.onnx``, for any ONNX runtime; or ``.pt2``, a program of ``torch.export``.
            step: write what a live system calls with every piece of the signal, with the state as inputs and outputs,
                see :func:`segcrf.inference.export_step`. False: what answers whole recordings, see
                :func:`segcrf.inference.export_model`.

        Returns:
            The path. Names of classes, sampling rate and decoding rule are in the file too.

        Raises:
            InputError: another ending, a folder that is not writable, or a rule or model that cannot be exported so.
            ImportError: packages are missing; the text says which.
        """
        self._check_fitted()
        names = [str(name) for name in self.classes_]
        write = export_step if step else export_model
        return write(self.model_, path, classes=names, sampling_rate=self.sampling_rate)

    def score(self, X: Given, y: Given) -> float:
        """Return the share of labelled frames, of all recordings together, that have the right predicted class.

        Args:
            X: signals, (T, F) each.
            y: true labels, (T,) each, written as in ``fit``; unlabelled frames are left out.

        Returns:
            The frame accuracy, from 0 to 1; higher is better.

        Raises:
            ValueError, TypeError: signals or labels are not as in ``fit``, or no frame has a label.
        """
        signals = self._check_signals(X)
        predicted = predict_labels(self.model_, signals)
        arrays = check_matching(y, "y", [len(array) for array in predicted])
        true = np.concatenate(self._coder.encode(arrays))
        check_any_labelled([true])
        return float((np.concatenate(predicted) == true)[true != UNLABELLED].mean())

    def _check_signals(self, X: Given) -> list[Array]:
        """Return signals as arrays (T, F) if they are like those of ``fit``."""
        self._check_fitted()
        preparation = self.model_.preparation
        gaps = preparation is not None and preparation.missing != "error"
        return check_signals(X, self.n_features_in_, gaps=gaps)

    def _read_prompts(
        self, signals: Sequence[Array], recordings: Sequence[object] | None = None, **known: Any
    ) -> Prompts | None:
        """Return what is known about recordings, in frames; None: nothing."""
        lengths = [len(signal) for signal in signals]
        coder = self._coder
        return read_prompts(coder, lengths, sampling_rate=self.sampling_rate, recordings=recordings, **known)

    def _as_it_is(self) -> Predictor:
        """Return what another fit, or another decoding rule, does not change: streams run on."""
        self._check_fitted()
        now = copy.copy(self)
        now.model_ = copy.deepcopy(self.model_)
        return now

    def _check_frames(self, frames: Any) -> Array:
        """Return the next frames of a stream as an array (N, F), quickly if nothing is wrong with them."""
        plain = isinstance(frames, np.ndarray) and frames.ndim == 2 and frames.shape[1] == self.n_features_in_
        if plain and frames.dtype.kind == "f" and np.isfinite(frames).all():
            return frames
        if getattr(frames, "ndim", 0) == 2 and not len(frames):
            return np.empty((0, self.n_features_in_))
        return self._check_signals([frames])[0]

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise ValueError("this Segmenter has learned nothing yet; call fit, or Segmenter.load, first")


def _check_intervals_answer(confidence: str, prompts: Prompts | None) -> None:
    """Raise for an interval beside what is known, and beside a confidence that costs a Python loop of its own."""
    if prompts is not None:
        advice = "leave it out: held-out recordings show the errors of boundaries where nothing is known"
        raise InputError("interval", "an interval beside what is known", "None", advice)
    if confidence == "band":
        raise InputError("confidence", "'band' with an interval", "'right' or 'frames'", "ask for each by itself")


def _in_unit(intervals: BoundaryIntervals, sampling_rate: float | None) -> dict[str, Array]:
    """Return the columns of intervals, in seconds if there is a sampling rate, else in frames."""
    if sampling_rate is None:
        return intervals._asdict()
    return {name: frames / frames_per_second(sampling_rate) for name, frames in intervals._asdict().items()}


class _Tables:
    """Write the finished bands of streams as tables.

    Most calls of a stream finish no band, and pandas takes longer for a table than a stream for a frame. So the empty
    table is made once and copied.

    Args:
        predictor: what decodes.
        recordings: names of the streams.
    """

    def __init__(self, predictor: Predictor, recordings: Sequence[object]) -> None:
        self._names: dict[str, Any] = {
            "classes": predictor.classes_.tolist(),
            "sampling_rate": predictor.sampling_rate,
            "recordings": list(recordings),
        }
        self._empty: pd.DataFrame | None = None

    def __call__(self, bands: Segments) -> pd.DataFrame:
        if len(bands):
            return bands.to_table(**self._names)
        if self._empty is None:
            self._empty = bands.to_table(**self._names)
        return self._empty.copy(deep=False)  # there is no row that a user could change
