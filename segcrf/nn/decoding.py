"""The decoding rule: how one labelling is read off a distribution over label sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from segcrf._validation import UNLABELLED, check_choice, check_positive, check_whole
from segcrf.structures import OnlineDecoder, Structure

__all__ = ["Decoded", "DecodingRule"]


@dataclass(frozen=True)
class DecodingRule:
    """How one labelling is read off a distribution.

    Args:
        factor: factor of the emissions before decoding; above 1 the signal counts more against the structure.
        by_frame: take the most probable class of each frame by itself, :attr:`Structure.posterior_mode`. Otherwise take
            the most probable sequence as a whole, :attr:`Structure.mode`, which leaves out a band at an uncertain
            position.
        max_delay: frames after which a label is decided, by what is known then: 0 or more by frame, 1 or more for
            sequences. None: every label is decided by the whole recording.

    Raises:
        InputError: ``factor`` is not above 0, or ``max_delay`` is too small.

    Example:
        >>> import torch
        >>> from segcrf.nn import LinearChainCRF
        >>> dist = LinearChainCRF(3)(torch.randn(2, 50, 3))
        >>> bool((DecodingRule().decode(dist).labels == dist.mode).all())
        True
    """

    factor: float = 1.0
    by_frame: bool = False
    max_delay: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.factor, "factor")
        check_choice(self.by_frame, "by_frame", (True, False))
        if self.max_delay is not None:
            check_whole(self.max_delay, "max_delay", 0 if self.by_frame else 1)

    def decode(self, dist: Structure) -> Decoded:
        """Return the labelling of ``dist`` by this rule."""
        scaled = dist if self.factor == 1.0 else dist.scaled(emissions=self.factor)
        if self.max_delay is None:
            return Decoded(scaled, self.by_frame)
        return _DelayedDecoded(scaled, self.by_frame, self.max_delay)


@dataclass(frozen=True, eq=False)
class Decoded:
    """One labelling of a batch, computed when it is asked for.

    Attributes:
        dist: the decoded distribution, its emissions multiplied by the factor of the rule.
        by_frame: as in :class:`DecodingRule`.
    """

    dist: Structure
    by_frame: bool = False

    @property
    def labels(self) -> Tensor:
        """(B, T) int64, -100 beyond a recording's length."""
        return self.dist.posterior_mode if self.by_frame else self.dist.mode

    @property
    def starts(self) -> Tensor:
        """(B, T) bool, True where a band begins."""
        if not self.by_frame:
            return self.dist.best.starts
        labels = self.labels
        before = functional.pad(labels[:, :-1], (1, 0), value=UNLABELLED)
        return (labels != before) & (labels != UNLABELLED)

    @property
    def posteriors(self) -> Tensor:
        """(B, T, C) float64 probability of each class at each frame, before calibration.

        It is that of the decoded distribution, so with ``by_frame`` the labels are its most probable classes. It is in
        float64, because a large factor makes probabilities too small for float32, and calibration raises them again.
        """
        return self.dist.double().marginals.labels


@dataclass(frozen=True, eq=False)
class _DelayedDecoded(Decoded):
    """One labelling of a batch that a live system finds: every label is decided after ``max_delay`` frames.

    It is what :class:`segcrf.Stream` decides frame by frame, to the bit. It is computed when it is asked for.

    Attributes:
        max_delay: as in :class:`DecodingRule`.
    """

    max_delay: int = 0

    @property
    def labels(self) -> Tensor:
        return self._found[0]

    @property
    def starts(self) -> Tensor:
        return self._found[1]

    @property
    def posteriors(self) -> Tensor:
        """(B, T, C) float64 probability of each class at each frame, by what is known when the frame is decided."""
        return self._found[2]

    @cached_property
    def _found(self) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, starts and posteriors."""
        dist, streams = self.dist, len(self.dist.lengths)
        decoder = OnlineDecoder(dist, by_frame=self.by_frame, max_delay=self.max_delay, streams=streams)
        shape, device = dist.emissions.shape, dist.emissions.device
        labels, starts = np.full(shape[:2], UNLABELLED), np.zeros(shape[:2], np.bool_)
        posteriors = np.zeros(shape)
        for part in (decoder.push(dist.emissions, dist.lengths), decoder.finish()):
            labels[part.stream, part.frame] = part.label
            starts[part.stream, part.frame] = part.start
            posteriors[part.stream, part.frame] = part.posterior
        labels, starts, posteriors = (torch.from_numpy(array).to(device) for array in (labels, starts, posteriors))
        return labels, starts, posteriors
