"""LabelDistribution: the queries of every distribution over label sequences, given its marginals.

One rule decides between property and method. Names of :mod:`torch.distributions` keep its form (``log_prob``,
``sample``, ``entropy`` are methods, ``mode`` is a property). All other queries without arguments are
properties, computed once; queries with arguments are methods, and so are functions that make another distribution
(``restrict``, ``replace``, ``scaled``, ``uniform``, ``to``, ``double``).
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from segcrf._validation import UNLABELLED, Array, InputError
from segcrf.kernels import frame_mask
from segcrf.segments import Segments, check_segments_fit
from segcrf.structures.checks import check_scores_shape
from segcrf.structures.reductions import sum_between

__all__ = ["Best", "LabelDistribution", "Marginals"]


class Marginals(NamedTuple):
    """Posterior probabilities and expected counts.

    Attributes:
        labels: (B, T, C), probability that frame t has class c; zero beyond a recording's length.
        transitions: (B, C, C), expected number of steps from one class to another.
        starts: (B, T, C), probability that a band of class c begins at frame t; its sum is the expected number of
            bands.
    """

    labels: Tensor
    transitions: Tensor
    starts: Tensor


class Best(NamedTuple):
    """The best labelling.

    Attributes:
        score: (B,), not normalised.
        labels: (B, T) int64, -100 beyond a recording's length.
        starts: (B, T) bool, True where a band begins.
    """

    score: Tensor
    labels: Tensor
    starts: Tensor


class LabelDistribution(Distribution):
    """A distribution over the label sequences (B, T) of a batch of recordings.

    A subclass sets ``lengths`` (B,) and ``num_classes``, and supplies :meth:`log_prob`, :attr:`mode` and
    :attr:`marginals`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleMethodOverride]
    lengths: Tensor
    num_classes: int

    @property
    def frame_mask(self) -> Tensor:
        """Mask (B, T): True on frames that have a label."""
        return frame_mask(self.lengths, self._event_shape[0])

    @property
    def marginals(self) -> Marginals:
        """Posterior probabilities of labels, transitions and band starts: see :class:`Marginals`."""
        raise NotImplementedError

    @property
    def expected_bands(self) -> Tensor:
        """Expected number (B,) of bands: maximal runs of one class, or the segments of a semi-Markov chain.

        Example:
            >>> from segcrf import LinearChain
            >>> LinearChain(torch.zeros(1, 3, 2), torch.zeros(2, 2)).expected_bands     # 1, and two fair coins
            tensor([2.])
        """
        return self.marginals.starts.sum((1, 2))

    @property
    def expected_frames(self) -> Tensor:
        """Expected number (B, C) of frames of each class; its sum is the length of the recording."""
        return self.marginals.labels.sum(1)

    @property
    def posterior_mode(self) -> Tensor:
        """The most probable class of each frame by itself, (B, T), -100 beyond a recording's length.

        This is posterior decoding, the minimum-risk decoding for the Hamming loss: no labelling has fewer expected
        wrong frames. As a whole it may be improbable, or even forbidden, and it flickers more than :attr:`mode`.
        """
        return self.marginals.labels.argmax(-1).masked_fill(~self.frame_mask, UNLABELLED)

    def minimum_risk(self, cost: Tensor) -> Tensor:
        """Return the labels (B, T) of the smallest expected cost, where costs are summed over frames.

        Args:
            cost: of predicting a class (column) when another (row) is true, (C, C). ``1 - eye(C)`` gives
                :attr:`posterior_mode`.

        Source: Goodman, "Parsing algorithms and metrics", 1996.

        Example:
            >>> from segcrf import LinearChain
            >>> chain = LinearChain(torch.log(torch.tensor([[[0.7, 0.3]]])), torch.zeros(2, 2))
            >>> chain.minimum_risk(torch.tensor([[0.0, 1.0], [5.0, 0.0]]))      # a missed 1 costs five false alarms
            tensor([[1]])
        """
        cost = check_scores_shape(cost, "cost", (self.num_classes, self.num_classes), "(C, C)")
        risk = self.marginals.labels @ cost.to(self.marginals.labels)
        return risk.argmin(-1).masked_fill(~self.frame_mask, UNLABELLED)

    def mean_marginal(self, bands: Segments) -> Tensor:
        """Return the mean (N,), over the frames of each band, of the posterior probability of its class.

        It is the expected share of the band's frames that are right. It gives no information on where the band begins
        or ends.

        Args:
            bands: of this batch, as ``Segments.from_labels(labels)`` or ``from_labels(labels, starts)`` cuts them. They
                need not be bands of the mode.

        Raises:
            ValueError: a band lies beyond the recordings, or has no such class.
        """
        recording, start, end, label = self.band_columns(bands)
        labels = self.marginals.labels
        total = sum_between(labels.double(), recording, start, end, label)
        return (total / (end - start)).to(labels.dtype)

    def band_columns(self, bands: Segments) -> tuple[Tensor, ...]:
        """Return recording, start, end and label (N,) of bands as tensors, after checking that they fit."""
        columns = (bands.recording, bands.start, bands.end, bands.label)
        _check_bands_fit(columns, self.lengths.cpu().numpy(), self.num_classes)
        return tuple(torch.as_tensor(column, device=self.lengths.device) for column in columns)


def _check_bands_fit(columns: tuple[Array, ...], lengths: Array, num_classes: int) -> None:
    """Raise for bands of classes that a distribution does not have, or beyond its recordings."""
    recording, start, end, label = columns
    check_segments_fit(recording, end, lengths)
    if (label >= num_classes).any():
        row = int((label >= num_classes).argmax())
        got = f"class {label[row]} in segment {row}, frames [{start[row]}, {end[row]})"
        expected = f"0 to {num_classes - 1}"
        raise InputError("bands", got, expected, "give bands of the same classes", recording=int(recording[row]))
