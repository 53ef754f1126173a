"""Calibration: whether what has a probability of 0.8 happens eight times out of ten.

Networks trained for long are too sure of themselves, and so are the scores they give a structure. Calibrate on
recordings that did not train the network, and measure on yet others.
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
from segcrf.segments import Recordings, Segments, check_segments_fit

__all__ = ["Reliability", "band_reliability", "matching_bands", "reliability"]

FloatArray = npt.NDArray[np.float64]


class Reliability(NamedTuple):
    """Confidence against accuracy, in bins of confidence.

    Args:
        cases: (N,) frames with their largest posterior probability in the bin, or bands with their confidence there.
        confidence: (N,) mean of that probability; NaN in an empty bin.
        accuracy: (N,) share of these cases that are right; NaN in an empty bin.
        edges: (N + 1,) edges of the bins, of equal width; a bin includes its upper edge.
    """

    cases: npt.NDArray[np.int64]
    confidence: FloatArray
    accuracy: FloatArray
    edges: FloatArray

    @property
    def error(self) -> float:
        """Expected calibration error: mean over cases of ``|accuracy - confidence|`` of their bin; NaN without any."""
        total = self.cases.sum()
        return float(np.nansum(self.cases * np.abs(self.accuracy - self.confidence)) / total) if total else math.nan

    def __str__(self) -> str:
        lines = [f"{'claimed':>13}{'cases':>10}{'confidence':>12}{'accuracy':>10}"]
        rows = zip(self.edges[:-1], self.edges[1:], self.cases, self.confidence, self.accuracy, strict=True)
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
              claimed     cases  confidence  accuracy
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
    return _binned(claimed, right, bins)


def band_reliability(true: Recordings, bands: Segments, *, bins: int = 10) -> Reliability:
    """Compare the confidence of predicted bands with whether they are right.

    Args:
        true: per recording, (T,) classes; -100 is left out, and so are bands without another frame.
        bands: predicted bands of these recordings, with their confidence as score.
        bins: number of bins of equal width, from 0 to 1.

    Raises:
        TypeError, ValueError: the two do not match, or a label is no class.
        InputError: bands have no score.

    Example:
        >>> bands = Segments.from_labels([[0, 0, 1, 1, 0]]).with_score([0.9, 0.9, 0.2])
        >>> print(band_reliability([[0, 0, 1, 1, 1]], bands, bins=2))
              claimed     cases  confidence  accuracy
          0.00 - 0.50         1       0.200     0.000
          0.50 - 1.00         2       0.900     1.000
        expected calibration error 0.1333
    """
    check_whole(bins, "bins", 1)
    labels = check_label_arrays(true, "true")
    check_segments_fit(bands.recording, bands.end, [len(row) for row in labels])
    if bands.score is None:
        raise InputError("bands", "bands without a score", "their confidence as score", "use bands.with_score")
    matches = np.concatenate([matching_bands(row, bands.of(i)) for i, row in enumerate(labels)])
    judged = matches > -2
    return _binned(bands.score[judged], matches[judged] >= 0, bins)


def matching_bands(true: npt.NDArray[np.int64], bands: Segments) -> npt.NDArray[np.int64]:
    """Return for each band of one recording the true band that makes it right.

    Only labelled frames count. A band is right if a true band of its class has an intersection over union of at least
    0.5 with it; if two have exactly that, the first.

    Args:
        true: (T,) labels of the recording, -100 = unlabelled.
        bands: N predicted bands of it.

    Returns:
        (N,) int64: the index among ``Segments.from_labels([true])``; -1 for a band that is wrong; -2 for one without a
        labelled frame.

    Example:
        >>> true = np.array([0, 0, 1, 1, 1, -100])
        >>> matching_bands(true, Segments.from_labels([[0, 1, 1, 1, 0, 1]]))
        array([ 0,  1, -1, -2])
    """
    of_true = Segments.from_labels([true])
    place = np.repeat(np.arange(len(of_true)), of_true.durations)  # the true band of each labelled frame
    before = np.cumsum(np.append(0, true != UNLABELLED))
    matches = np.full(len(bands), -1, dtype=np.int64)
    for i, (start, end, label) in enumerate(zip(before[bands.start], before[bands.end], bands.label, strict=True)):
        if start == end:
            matches[i] = -2
            continue
        first, count = np.unique(place[start:end], return_counts=True)
        union = end - start + of_true.durations[first] - count
        good = (2 * count >= union) & (of_true.label[first] == label)
        if good.any():
            matches[i] = first[good][0]
    return matches


def _binned(claimed: FloatArray, right: npt.NDArray[np.bool_], bins: int) -> Reliability:
    """Return confidence against accuracy in bins of equal width."""
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
