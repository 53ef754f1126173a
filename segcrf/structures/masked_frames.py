"""Masks with holes: frames that are missing at the left, in the middle or at the right, and what that means.

Lengths say that a recording ends. A mask can also say that a sensor dropped out, that frames were thrown away, or that
several takes share a row. The mask alone does not say which, so the meaning has a name:

============  ========================================================================================================
``gap=``      what a hole is
============  ========================================================================================================
``"bridge"``  time passed and nothing was observed: the frames exist, their emissions are 0, their labels are inferred
``"skip"``    the frames never existed: the frames around the hole are neighbours
``"break"``   an end and a new beginning: the pieces are recordings of their own
============  ========================================================================================================

Masked frames before the first and after the last observed one are no part of the recording in any of the three.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, InputTypeError, check_choice
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_emissions_shape, check_integer_labels
from segcrf.structures.distribution import LabelDistribution, Marginals

__all__ = ["GAPS", "Gapped"]

GAPS = ("bridge", "skip", "break")


class Gapped(LabelDistribution):
    """The distribution of the labels of recordings with masked frames.

    A structure over the frames without holes answers, and its answers are put back to where the frames were.

    Args:
        crf: makes a structure of emissions (P, L, C) and lengths (P,): a module such as
            :class:`~segcrf.LinearChainCRF`, or a function.
        emissions: class scores (B, T, C); masked frames are not read.
        mask: (B, T) bool, True where a frame was observed. Any pattern, with one frame at least per recording.
        gap: ``"bridge"``, ``"skip"`` or ``"break"``, see above.

    Attributes:
        pieces: the structure over P pieces: one per recording, or with ``"break"`` one per run of observed frames.
        recording: (P,) which recording each piece is of.
        present: (B, T) bool, frames that have an answer: the observed ones and, with ``"bridge"``, those between them.

    Raises:
        ValueError: a mask of another shape, a recording without any frame, or an unknown ``gap``. ``TypeError``: a mask
            that is not boolean.

    Example:
        >>> from segcrf import LinearChain
        >>> emissions = torch.tensor([[[9.0, 9.0], [0.0, 1.0], [9.0, 0.0], [0.0, 3.0]]])
        >>> mask = torch.tensor([[False, True, False, True]])
        >>> sticky = torch.tensor([[0.0, -1.0], [-1.0, 0.0]])
        >>> crf = lambda emissions, lengths: LinearChain(emissions, sticky, lengths=lengths)
        >>> Gapped(crf, emissions, mask, "bridge").mode
        tensor([[-100,    1,    1,    1]])
        >>> Gapped(crf, emissions, mask, "skip").mode
        tensor([[-100,    1, -100,    1]])
        >>> Gapped(crf, emissions, mask, "break").pieces.lengths
        tensor([1, 1])
    """

    def __init__(self, crf: Callable[[Tensor, Tensor], Structure], emissions: Tensor, mask: Tensor, gap: str) -> None:
        num_recordings, num_frames, self.num_classes = check_emissions_shape(emissions)
        _check_mask(mask, (num_recordings, num_frames))
        super().__init__(torch.Size([num_recordings]), torch.Size([num_frames]), validate_args=False)
        check_choice(gap, "gap", GAPS)
        if gap == "bridge":
            on = mask.to(torch.uint8)
            self.present = (on.cummax(1).values.bool()) & (on.flip(1).cummax(1).values.flip(1).bool())
        else:
            self.present = mask
        piece = self._number_pieces(mask if gap == "break" else None)
        recording, frame = self.present.nonzero(as_tuple=True)
        which = piece[recording, frame]
        lengths = torch.bincount(which)
        first = lengths.cumsum(0) - lengths
        place = torch.arange(len(which), device=which.device) - first[which]
        self.recording = recording[first]
        self._from, self._to = (recording, frame), (which, place)
        self._observed = mask
        # A band may lie anywhere in the padded batch.
        self.lengths = torch.full((num_recordings,), num_frames, device=emissions.device)
        seen = torch.where(mask[..., None], emissions, 0.0)
        self.pieces = crf(self.gather(seen, 0.0, lengths), lengths)

    def _number_pieces(self, mask: Tensor | None) -> Tensor:
        """Return the number (B, T) of the piece that a present frame belongs to."""
        if mask is None:
            return torch.arange(len(self.present), device=self.present.device)[:, None].expand_as(self.present)
        begins = mask.clone()
        begins[:, 1:] &= ~mask[:, :-1]
        return (begins.flatten().cumsum(0) - 1).view_as(mask)

    def gather(self, values: Tensor, fill: float, lengths: Tensor | None = None) -> Tensor:
        """Return values of frames, arranged by piece.

        Args:
            values: (B, T, ...); those of frames that are not ``present`` are left out.
            fill: what stands in the padding.
            lengths: (P,) frames of each piece; None: those of ``pieces``.

        Returns:
            (P, L, ...), L frames in the longest piece.
        """
        lengths = self.pieces.lengths if lengths is None else lengths
        arranged = values.new_full((len(lengths), int(lengths.max()), *values.shape[2:]), fill)
        return arranged.index_put(self._to, values[self._from])

    def scatter(self, values: Tensor, fill: float) -> Tensor:
        """Return values of pieces, put back to where the frames were.

        Args:
            values: (P, L, ...).
            fill: what stands on frames that are not ``present``.

        Returns:
            (B, T, ...).
        """
        back = values.new_full((*self.present.shape, *values.shape[2:]), fill)
        return back.index_put(self._from, values[self._to])

    def total(self, values: Tensor) -> Tensor:
        """Return values of pieces (P, ...), such as log-probabilities and entropies, summed by recording (B, ...)."""
        return values.new_zeros(len(self.present), *values.shape[1:]).index_add(0, self.recording, values)

    @property
    def frame_mask(self) -> Tensor:
        """Frames (B, T) that have a label: ``present``."""
        return self.present

    @property
    def log_partition(self) -> Tensor:
        """Log partition (B,), summed over pieces."""
        return self.total(self.pieces.log_partition)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability (B,) of labels, summed over pieces.

        Args:
            value: (B, T) integers, -100 = unlabelled; on masked frames they are not read.

        Raises:
            TypeError: labels are not integers.
            ValueError: labels have another shape, or one is no class.
        """
        _check_masked_labels(value, tuple(self._observed.shape))
        known = value.masked_fill(~self._observed, UNLABELLED)
        return self.total(self.pieces.log_prob(self.gather(known, UNLABELLED)))

    @property
    def mode(self) -> Tensor:
        """The most probable labels (B, T), -100 where a frame is not ``present``."""
        return self.scatter(self.pieces.mode, UNLABELLED)

    @property
    def marginals(self) -> Marginals:
        """Posterior probabilities, zero where a frame is not ``present``; transitions are summed over pieces."""
        labels, transitions, starts = self.pieces.marginals
        return Marginals(self.scatter(labels, 0.0), self.total(transitions), self.scatter(starts, 0.0))

    def __repr__(self) -> str:
        recordings, frames = self.present.shape
        return f"Gapped(B={recordings}, T={frames}, C={self.num_classes}, pieces={self.pieces!r})"


def _check_mask(values: Tensor, event: tuple[int, int]) -> None:
    """Raise for a mask that is not boolean (B, T), or leaves a recording without any frame."""
    if not torch.is_tensor(values) or values.dtype != torch.bool:  # pyright: ignore[reportUnnecessaryComparison]
        got = str(values.dtype) if torch.is_tensor(values) else type(values).__name__  # pyright: ignore[reportUnnecessaryComparison]
        raise InputTypeError("mask", got, "a boolean tensor (True = observed)", "convert it with mask != 0")
    if tuple(values.shape) != event:
        raise InputError("mask", f"shape {tuple(values.shape)}", f"shape (B, T) = {event}")
    empty = ~values.any(1)
    if empty.any():
        recording = int(empty.nonzero()[0, 0])
        raise InputError("mask", "no observed frame", "one at least", "leave the recording out", recording=recording)


def _check_masked_labels(values: Tensor, event: tuple[int, ...]) -> None:
    """Raise for labels that are no integers of the mask's shape (B, T)."""
    check_integer_labels(values)
    if tuple(values.shape) != event:
        raise InputError("labels", f"shape {tuple(values.shape)}", f"shape (B, T) = {event}, as the mask")
