"""Prediction: labels, probabilities, targets and bands of whole recordings, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, check_number
from segcrf.inference.constrained import Constrained, decode_constrained
from segcrf.inference.prompts import Prompts
from segcrf.inference.recordings import Inferred, infer
from segcrf.nn import BoundaryIntervals, Calibration, JointModel, SwitchingModel
from segcrf.segments import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONFIDENCES",
    "blank_uncertain",
    "predict_bands",
    "predict_intervals",
    "predict_labels",
    "predict_probabilities",
    "predict_targets",
]

Array = npt.NDArray[Any]
Model = JointModel | SwitchingModel
Question = Callable[[Any], Tensor]

#: What the confidence of a band may be: the calibrated probability that it is right, the mean calibrated posterior of
#: its class, or the posterior of the whole band.
CONFIDENCES = ("right", "frames", "band")


def ask_model(
    model: Model, signals: Sequence[Array], *questions: Question, prompts: Prompts | None = None
) -> list[list[Array]]:
    """Answer questions about recordings.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F); they are moved to the model's device.
        questions: each makes one row per recording (B, T, ...) of what the model infers: of an :class:`Inferred`, or
            with prompts of a :class:`Constrained`.
        prompts: what is known about the recordings.

    Returns:
        For each question one array (T, ...) per recording.
    """
    answers: list[list[Array]] = [[np.empty(0)] * len(signals) for _ in questions]
    for found in _answers(model, signals, prompts):
        for answer, question in zip(answers, questions, strict=True):
            rows = question(found).cpu().numpy()
            for row, recording in zip(rows, found.recordings, strict=True):
                answer[recording] = np.array(row[: len(signals[recording])])
    return answers


def _answers(model: Model, signals: Sequence[Array], prompts: Prompts | None) -> Iterator[Inferred | Constrained]:
    for found in infer(model, signals):
        if prompts is None:
            yield found
        else:
            with torch.no_grad():
                yield from decode_constrained(found, prompts)


def predict_labels(
    model: Model, signals: Sequence[Array], prompts: Prompts | None = None, *, min_confidence: float | None = None
) -> list[Array]:
    """Return the decoded class indices (T,) of each recording.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        prompts: what is known about the recordings.
        min_confidence: bands with less confidence become -100; the confidence is that of ``"right"``.

    Raises:
        InputError: no labelling agrees with the prompts, or ``min_confidence`` is not from 0 to 1.
    """
    if min_confidence is None:
        return ask_model(model, signals, _labels, prompts=prompts)[0]
    _check_min_confidence(min_confidence)
    bands = predict_bands(model, signals, "right", prompts)
    assert bands.score is not None
    return list(bands.select(bands.score >= min_confidence).to_labels([len(signal) for signal in signals]))


def predict_probabilities(model: Model, signals: Sequence[Array], prompts: Prompts | None = None) -> list[Array]:
    """Return the calibrated posterior probabilities (T, C) of each recording, given the prompts, float64.

    They are those of the decoded distribution, its emissions multiplied by the factor of the decoding rule, after
    calibration. So the classes that a rule by frame decides are the most probable ones.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        prompts: what is known about the recordings.

    Raises:
        InputError: no labelling agrees with the prompts.
    """
    calibration = model.calibration
    (posteriors,) = ask_model(model, signals, _posteriors, prompts=prompts)
    return [calibration.probabilities(posterior) for posterior in posteriors]


def predict_targets(model: Model, signals: Sequence[Array], posterior: str | None = None) -> list[Array]:
    """Return the predicted targets (T, R) of each recording, in their unit.

    Args:
        model: with targets.
        signals: raw signals (T, F).
        posterior: probability of the classes that mixes the regressions of a switching model; None: the model's own.
    """
    in_unit = torch.nn.Identity() if model.preparation is None else model.preparation.to_unit_of_targets

    def values(found: Inferred) -> Tensor:
        if found.switching is not None:
            assert isinstance(model, SwitchingModel)
            return in_unit(found.switching.predict(posterior=posterior or model.posterior).mean)
        assert found.predictions is not None
        return in_unit(found.predictions)

    return ask_model(model, signals, values)[0]


def predict_bands(model: Model, signals: Sequence[Array], confidence: str, prompts: Prompts | None = None) -> Segments:
    """Return the bands of all recordings, with their confidence as the score.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        confidence: one of :data:`CONFIDENCES`, see :meth:`segcrf.Segmenter.predict_segments`.
        prompts: what is known about the recordings. A band of known frames has the confidence 1, except for ``"band"``.

    Raises:
        InputError: no labelling agrees with the prompts.
    """
    if confidence != "band":
        labels, starts, each = ask_model(model, signals, _labels, _starts, _posteriors, prompts=prompts)
        return _scored(model.calibration, Segments.from_labels(labels, starts), each, confidence, prompts)
    labels, starts, each = ask_model(model, signals, _labels, _starts, _band_confidence, prompts=prompts)
    bands = Segments.from_labels(labels, starts)
    return bands.with_score(_means(bands, each))


def predict_intervals(
    model: Model, signals: Sequence[Array], confidence: str, level: float
) -> tuple[Segments, BoundaryIntervals]:
    """Return the bands of all recordings, with their confidence as the score, and an interval for each boundary.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        confidence: ``"right"`` or ``"frames"``.
        level: share of the boundaries of right bands that their intervals hold, see
            :meth:`segcrf.nn.Calibration.intervals`.

    Raises:
        InputError: the level is out of range, or there were too few held-out recordings for it.
    """
    calibration = model.calibration
    calibration.radius(level)  # an error before the work
    labels, starts, each = ask_model(model, signals, _labels, _starts, _posteriors)
    bands = Segments.from_labels(labels, starts)
    parts = [calibration.intervals(posterior, bands.of(i), level) for i, posterior in enumerate(each)]
    none = np.empty(0, dtype=np.int64)
    intervals = BoundaryIntervals(*(np.concatenate([none, *columns]) for columns in zip(*parts, strict=True)))
    return _scored(calibration, bands, each, confidence, None), intervals


def _scored(
    calibration: Calibration,
    bands: Segments,
    posteriors: Sequence[Array],
    confidence: str,
    prompts: Prompts | None,
) -> Segments:
    """Return bands with the mean calibrated posterior of their class, or with the probability that they are right."""
    lengths = [len(posterior) for posterior in posteriors]
    own = [
        np.take_along_axis(calibration.probabilities(posterior), labels[:, None], axis=1)[:, 0]
        for posterior, labels in zip(posteriors, bands.to_labels(lengths), strict=True)
    ]
    scored = bands.with_score(_means(bands, own))
    if confidence == "frames":
        return scored
    score = calibration.confidence(scored)
    if prompts is not None:
        given = [each.given for each in prompts.recordings]
        known = [
            np.zeros(length) if labels is None else np.asarray(labels != UNLABELLED, np.float64)
            for labels, length in zip(given, lengths, strict=True)
        ]
        score = np.where(_means(bands, known) == 1.0, 1.0, score)
    return bands.with_score(score)


def _means(bands: Segments, each: Sequence[Array]) -> npt.NDArray[np.float64]:
    """Return the mean over the frames of each band; bands cover their recordings, which have a value per frame."""
    first = np.cumsum([0, *map(len, each)])[bands.recording] + bands.start
    return np.add.reduceat(np.concatenate(each).astype(np.float64), first) / bands.durations


def blank_uncertain(table: pd.DataFrame, min_confidence: float) -> pd.DataFrame:
    """Return a table of bands without the labels of uncertain bands.

    Their rows stay, with start, end and confidence, so that they can be looked at, labelled and given back as known.

    Args:
        table: columns ``label`` and ``confidence``, as :meth:`segcrf.Segmenter.predict_segments` returns them.
        min_confidence: the label of a band with less becomes "", or -100 where classes are indices.

    Raises:
        InputError: ``min_confidence`` is not from 0 to 1.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"label": ["rest", "walk"], "confidence": [0.9, 0.5]})
        >>> blank_uncertain(table, 0.6)["label"].tolist()
        ['rest', '']
    """
    _check_min_confidence(min_confidence)
    blanked: Any = table
    indices = blanked["label"].dtype.kind in "iu"
    label = blanked["label"].mask(blanked["confidence"] < min_confidence, UNLABELLED if indices else "")
    return blanked.assign(label=label)


def _labels(found: Inferred | Constrained) -> Tensor:
    return found.bands.labels


def _starts(found: Inferred | Constrained) -> Tensor:
    return found.bands.starts


def _posteriors(found: Inferred | Constrained) -> Tensor:
    """(B, T, C): of the decoded distribution, by the whole recording or by what is known when a delay ends."""
    return found.posteriors if isinstance(found, Constrained) else found.bands.posteriors


def _band_confidence(found: Inferred | Constrained) -> Tensor:
    """(B, T): posterior probability of the band that a frame lies in."""
    dist, lengths = found.dist, found.dist.lengths.tolist()
    shown = (found.bands.labels, found.bands.starts)
    rows = [[row[:n] for row, n in zip(values, lengths, strict=True)] for values in shown]
    bands = Segments.from_labels(rows[0], rows[1])
    probability = dist.band_probability(bands)
    each = probability.repeat_interleave(torch.as_tensor(bands.durations, device=probability.device))
    return torch.nn.utils.rnn.pad_sequence(list(each.split(lengths)), batch_first=True)


def _check_min_confidence(value: float) -> None:
    """Raise unless a smallest confidence is a number from 0 to 1."""
    check_number(value, "min_confidence", 0.0)
    if value > 1:
        raise InputError("min_confidence", repr(value), "a probability from 0 to 1")
