"""Decoding: how the structure over labels becomes the labels that are shown.

The most probable sequence misses bands: where a band is nearly certain but its boundaries are not, each placement of
it is improbable, and the one sequence without it wins. The most probable class of each frame does not suffer from this.
Nor do likelihoods ask for the right number of bands, so how much the emissions count against the scores of the
structure is chosen like the best epoch: by the bands of validation recordings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segcrf import _check
from segcrf._check import UNLABELLED
from segcrf.inference import infer
from segcrf.metrics import edit_score, frame_accuracy, segment_f1
from segcrf.model import JointModel
from segcrf.segments import Segments
from segcrf.structure import Structure
from segcrf.windows import Recording

__all__ = ["DECODINGS", "SHARPNESS", "choose_sharpness", "decode"]

Array = npt.NDArray[np.int64]

# A choice among five by a handful of bands is a choice by chance.
FEWEST_BANDS = 20

DECODINGS = ("marginal", "sequence")
SHARPNESS = (1.0, 2.0, 0.5, 4.0, 8.0)
"""What :func:`choose_sharpness` chooses from; of equally good ones the first."""


def decode(model: JointModel, distribution: Structure, decoding: str = "marginal", sharpness: float = 1.0) -> Tensor:
    """Turns a model's structure into labels (B, T), -100 beyond a recording's length.

    Args:
        model: makes a structure of emissions.
        distribution: what it made.
        decoding: ``"marginal"``, the class of the largest posterior probability at each frame (no labelling has fewer
            expected wrong frames); ``"sequence"``, the most probable labels as a whole.
        sharpness: factor of the emissions, above 0: the larger, the less the structure smooths.

    Source: Rabiner, *A tutorial on hidden Markov models*, 1989, section III.B, for both.

    >>> from segcrf.crf import LinearChainCRF
    >>> from segcrf.encoders import LSTMEncoder
    >>> model = JointModel(LSTMEncoder(1, hidden=4), LinearChainCRF(2)).eval()
    >>> decode(model, model(torch.zeros(1, 5, 1)).distribution, sharpness=2.0).shape
    torch.Size([1, 5])
    """
    _check.choice(decoding, "decoding", DECODINGS)
    if sharpness != 1.0:
        distribution = model.distribution(sharpness * distribution.emissions, distribution.lengths)
    if decoding == "sequence":
        return distribution.mode
    frames = torch.arange(distribution.emissions.shape[1], device=distribution.lengths.device)
    labels = distribution.marginals.labels.argmax(-1)
    return labels.masked_fill(frames >= distribution.lengths[:, None], UNLABELLED)


def choose_sharpness(model: JointModel, recordings: Sequence[Recording], decoding: str = "marginal") -> float:
    """Chooses the sharpness whose bands are best, by the mean of frame accuracy, edit and F1 at half overlap.

    Args:
        model: trained, in evaluation mode.
        recordings: standardised recordings that it was not trained on; those without labels say nothing.
        decoding: as in :func:`decode`.

    Returns:
        One of :data:`SHARPNESS`; 1 where fewer than 20 bands are labelled.
    """
    recordings = [recording for recording in recordings if bool((recording.labels != UNLABELLED).any())]
    true = [recording.labels.numpy() for recording in recordings]
    if len(Segments.from_labels(true)) < FEWEST_BANDS:
        return 1.0
    device = next(model.parameters()).device
    found = list(infer(model, [recording.signal.to(device) for recording in recordings]))
    scores: list[float] = []
    for sharpness in SHARPNESS:
        predicted = [np.empty(0, dtype=np.int64)] * len(recordings)
        for part in found:
            with torch.no_grad():
                rows = decode(model, part.distribution, decoding, sharpness).cpu().numpy()
            for row, i in zip(rows, part.recordings, strict=True):
                predicted[i] = row[: len(true[i])]
        scores.append(_quality(predicted, true))
    return SHARPNESS[int(np.argmax(scores))]


def _quality(predicted: list[Array], true: list[Array]) -> float:
    return frame_accuracy(predicted, true) + edit_score(predicted, true) + segment_f1(predicted, true)
