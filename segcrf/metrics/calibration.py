"""Calibration: whether a posterior probability of 0.8 is right eight times out of ten.

Networks trained for long are too sure of themselves, and so are the scores they give a structure: its bands are then
too short or too long. The remedy is one number, a temperature that divides the scores. Fit it on recordings that did
not train the network, and measure on yet others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segcrf._validation import (
    UNLABELLED,
    InputError,
    check_class_indices,
    check_label_arrays,
    check_same_number,
    check_score_arrays,
    check_whole,
)
from segcrf.segments import Recordings

__all__ = ["Reliability", "reliability"]

FloatArray = npt.NDArray[np.float64]


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of confidence.

    Args:
        frames: (N,) frames with their largest posterior probability in the bin.
        confidence: (N,) mean of that probability; NaN in an empty bin.
        accuracy: (N,) share of these frames that are right; NaN in an empty bin.
        edges: (N + 1,) edges of the bins, of equal width; a bin includes its upper edge.
    """

    frames: npt.NDArray[np.int64]
    confidence: FloatArray
    accuracy: FloatArray
    edges: FloatArray

    @property
    def error(self) -> float:
        """Expected calibration error: mean over frames of ``|accuracy - confidence|`` of their bin; NaN without any."""
        total = self.frames.sum()
        return float(np.nansum(self.frames * np.abs(self.accuracy - self.confidence)) / total) if total else math.nan

    def __str__(self) -> str:
        lines = [f"{'claimed':>13}{'frames':>10}{'confidence':>12}{'accuracy':>10}"]
        rows = zip(self.edges[:-1], self.edges[1:], self.frames, self.confidence, self.accuracy, strict=True)
        for low, high, count, confidence, accuracy in rows:
            if count:
                lines.append(f"{low:6.2f} - {high:4.2f}{count:10d}{confidence:12.3f}{accuracy:10.3f}")
        return "\n".join([*lines, f"expected calibration error {self.error:.4f}"])


def reliability(true: Recordings, probabilities: Recordings, *, bins: int = 10) -> Reliability:
    """Compare posterior probabilities with true labels.

    Args:
        true: per recording, (T,) classes; -100 is left out.
        probabilities: per recording, (T, C), such as ``marginals.labels`` or :meth:`Segmenter.predict_proba
            <segcrf.segmenter.Segmenter.predict_proba>`.
        bins: number of bins of equal width, from 0 to 1.

    Raises:
        TypeError, ValueError: the two do not match, or a label is no class.

    Source: Guo et al., "On calibration of modern neural networks", 2017; Naeini, Cooper and Hauskrecht, 2015.

    Example:
        >>> sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
        >>> print(reliability([[0, 1, 1]], [sure], bins=2))
              claimed    frames  confidence  accuracy
          0.50 - 1.00         3       0.833     0.667
        expected calibration error 0.1667
    """
    check_whole(bins, "bins", 1)
    rows = check_score_arrays(probabilities, "probabilities")
    labels = check_label_arrays(true, "true")
    check_same_number(len(rows), len(labels), "probabilities", "true")
    _check_frames(rows, labels)
    check_class_indices(labels, rows[0].shape[1], "true")
    posterior, truth = np.concatenate(rows).astype(np.float64), np.concatenate(labels)
    posterior, truth = posterior[truth != UNLABELLED], truth[truth != UNLABELLED]
    claimed, right = posterior.max(axis=1), posterior.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, claimed, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    each = np.where(count > 0, count, 1)
    sums = (np.bincount(place, weights=values, minlength=bins) for values in (claimed, right))
    confidence, accuracy = (np.where(count > 0, total / each, np.nan) for total in sums)
    return Reliability(count, confidence, accuracy, edges)


def _check_frames(rows: Sequence[npt.NDArray[Any]], labels: Sequence[npt.NDArray[Any]]) -> None:
    """Raise unless there is a recording, and each has probabilities for as many frames as labels."""
    if not rows:
        raise InputError("true", "an empty list", "a list of labels, one array per recording")
    for i, (probabilities, true) in enumerate(zip(rows, labels, strict=True)):
        if len(probabilities) != len(true):
            got, expected = f"{len(probabilities)} frames", f"{len(true)}, as in true"
            raise InputError("probabilities", got, expected, "give a row per frame", recording=i)
