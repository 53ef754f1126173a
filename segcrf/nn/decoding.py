"""The decoding rule: how one labelling is read off a distribution over label sequences."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from segcrf._validation import UNLABELLED
from segcrf.structures import Structure

__all__ = ["Decoded", "DecodingRule"]


@dataclass(frozen=True)
class DecodingRule:
    """How one labelling is read off a distribution.

    Args:
        factor: factor of the emissions before decoding; above 1 the signal counts more against the structure.
        by_frame: take the most probable class of each frame by itself, :attr:`Structure.posterior_mode`. Otherwise take
            the most probable sequence as a whole, :attr:`Structure.mode`, which leaves out a band at an uncertain
            position.
        max_delay: decide each frame by as many later frames at most; None: by the whole recording.

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

    def decode(self, dist: Structure) -> Decoded:
        """Return the labelling of ``dist`` by this rule."""
        return Decoded(dist if self.factor == 1.0 else dist.scaled(emissions=self.factor), self.by_frame)


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
