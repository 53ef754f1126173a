"""Prediction: labels, probabilities, targets and bands of whole recordings, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf.inference.recordings import Inferred, infer
from segcrf.nn import JointModel, SwitchingModel
from segcrf.segments import Segments

__all__ = [
    "CONFIDENCES",
    "predict_bands",
    "predict_labels",
    "predict_probabilities",
    "predict_targets",
]

Array = npt.NDArray[Any]
Model = JointModel | SwitchingModel
Question = Callable[[Inferred], Tensor]


def ask_model(model: Model, signals: Sequence[Array], *questions: Question) -> list[list[Array]]:
    """Answer questions about recordings.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F); they are moved to the model's device.
        questions: each makes one row per recording (B, T, ...) of what the model infers.

    Returns:
        For each question one array (T, ...) per recording.
    """
    answers: list[list[Array]] = [[np.empty(0)] * len(signals) for _ in questions]
    for found in infer(model, signals):
        for answer, question in zip(answers, questions, strict=True):
            rows = question(found).cpu().numpy()
            for row, recording in zip(rows, found.recordings, strict=True):
                answer[recording] = np.array(row[: len(signals[recording])])
    return answers


def predict_labels(model: Model, signals: Sequence[Array]) -> list[Array]:
    """Return the decoded class indices (T,) of each recording."""
    return ask_model(model, signals, _labels)[0]


def predict_probabilities(model: Model, signals: Sequence[Array]) -> list[Array]:
    """Return the posterior probabilities (T, C) of each recording."""
    return ask_model(model, signals, lambda found: found.dist.marginals.labels)[0]


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


def predict_bands(model: Model, signals: Sequence[Array], confidence: str) -> Segments:
    """Return the bands of all recordings, with their confidence as the score.

    Args:
        model: in evaluation mode.
        signals: raw signals (T, F).
        confidence: ``"frames"`` or ``"band"``, see :meth:`segcrf.Segmenter.predict_segments`.
    """
    labels, starts, each = ask_model(model, signals, _labels, _starts, CONFIDENCES[confidence])
    bands = Segments.from_labels(labels, starts)
    first = np.cumsum([0, *map(len, labels)])[bands.recording] + bands.start
    mean = np.add.reduceat(np.concatenate(each).astype(np.float64), first) / bands.durations
    return bands.with_score(mean)


def _labels(found: Inferred) -> Tensor:
    return found.bands.labels


def _starts(found: Inferred) -> Tensor:
    return found.bands.starts


def _frame_confidence(found: Inferred) -> Tensor:
    """(B, T): posterior probability of the class that was decoded."""
    return found.dist.marginals.labels.gather(-1, found.bands.labels.clamp(min=0)[..., None])[..., 0]


def _band_confidence(found: Inferred) -> Tensor:
    """(B, T): posterior probability of the band that a frame lies in."""
    dist, lengths = found.dist, found.dist.lengths.tolist()
    shown = (found.bands.labels, found.bands.starts)
    rows = [[row[:n] for row, n in zip(values, lengths, strict=True)] for values in shown]
    bands = Segments.from_labels(rows[0], rows[1])
    probability = dist.band_probability(bands)
    each = probability.repeat_interleave(torch.as_tensor(bands.durations, device=probability.device))
    return torch.nn.utils.rnn.pad_sequence(list(each.split(lengths)), batch_first=True)


#: What the confidence of a band is made of, by name.
CONFIDENCES: dict[str, Question] = {"frames": _frame_confidence, "band": _band_confidence}
