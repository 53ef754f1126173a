"""`CRF`, the drop-in for the class of that name in pytorch-crf, with its conventions and errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segcrf._validation import UNLABELLED
from segcrf.structures import LinearChain, frame_mask

__all__ = ["CRF"]


class CRF(nn.Module):
    """Drop-in for pytorch-crf's ``CRF``: change ``from torchcrf import CRF`` to ``from segcrf import CRF``.

    Constructor, calls, parameter names, ``state_dict``, shapes (time first unless ``batch_first``), reductions and
    types of error are those of pytorch-crf 0.7.2; results agree wherever its results are right. Two differences:

    * A mask with holes removes the masked frames. pytorch-crf is then silently wrong (probabilities do not sum to one),
      and its ``decode`` reads the wrong frames.
    * A tag of -100 at a masked frame is not read. At any other frame it means *unlabelled*, and the likelihood sums
      over all tags. pytorch-crf raises an ``IndexError`` for both.

    Scores of NaN or +inf raise a ``ValueError`` instead of spreading. For marginals, samples and entropy use
    :meth:`dist`.

    Args:
        num_tags: number of tags (classes).
        batch_first: whether the first axis of emissions, tags and mask is the batch.

    Example:
        >>> crf = CRF(5, batch_first=True)
        >>> emissions, tags = torch.randn(2, 3, 5), torch.tensor([[0, 2, 3], [1, 4, -100]])
        >>> mask = torch.tensor([[True, True, True], [True, True, False]])
        >>> loss = -crf(emissions, tags, mask)
        >>> [len(path) for path in crf.decode(emissions, mask)]
        [3, 2]
    """

    def __init__(self, num_tags: int, batch_first: bool = False) -> None:
        if num_tags <= 0:
            raise ValueError(f"invalid number of tags: {num_tags}")
        super().__init__()
        self.num_tags = num_tags
        self.batch_first = batch_first
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all scores uniformly from [-0.1, 0.1]."""
        for parameter in (self.start_transitions, self.end_transitions, self.transitions):
            nn.init.uniform_(parameter, -0.1, 0.1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_tags={self.num_tags})"

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum") -> Tensor:
        """Return the log-likelihood of tags; training minimises its negative.

        Args:
            emissions: scores (T, B, C), or (B, T, C) with ``batch_first``.
            tags: (T, B) or (B, T) integers.
            mask: (T, B) or (B, T), non-zero where a frame counts; the first frame of every sequence must.
            reduction: ``"none"`` gives (B,); ``"sum"``, ``"mean"`` (over sequences) or ``"token_mean"`` (over frames).

        Raises:
            ValueError: shapes that do not match, a masked first frame, an unknown reduction, NaN.
            IndexError: a tag outside 0..num_tags - 1 where the mask is on.
        """
        _check_drop_in(emissions, tags, mask, self.num_tags, self.batch_first)
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ValueError(f"invalid reduction: {reduction}")
        order, lengths = self._frames(tags if mask is None else mask, mask is not None)
        tags = self._arrange(tags, order)
        _check_tags(tags, lengths, self.num_tags)
        likelihood = self._chain(emissions, order, lengths).log_prob(tags)
        if reduction == "none":
            return likelihood
        if reduction == "sum":
            return likelihood.sum()
        return likelihood.mean() if reduction == "mean" else likelihood.sum() / lengths.sum()

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """Return the best tags of every sequence, one list each, as long as its mask has frames."""
        modes, lengths = self._decoded(emissions, mask)
        if self.num_tags > 256:
            rows: Any = zip(modes.tolist(), lengths.tolist(), strict=True)
            return [tags[:length] for tags, length in rows]
        # Python makes a list of bytes twice as fast as PyTorch makes a list of integers.
        narrow, frames = modes.to(torch.uint8).cpu().numpy().tobytes(), modes.shape[1]
        return [list(narrow[i * frames : i * frames + length]) for i, length in enumerate(lengths.tolist())]

    def dist(self, emissions: Tensor, mask: Tensor | None = None) -> LinearChain:
        """Return the distribution over tag sequences, batch first, without the masked frames."""
        _check_drop_in(emissions, None, mask, self.num_tags, self.batch_first)
        return self._chain(emissions, *self._frames(emissions[..., 0] if mask is None else mask, mask is not None))

    def _decoded(self, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            chain = self.dist(emissions, mask)
            return chain.mode, chain.lengths

    def _chain(self, emissions: Tensor, order: Tensor | None, lengths: Tensor) -> LinearChain:
        scores = (self.transitions, self.start_transitions, self.end_transitions)
        return LinearChain(self._arrange(emissions, order), *scores, lengths)

    def _frames(self, frames: Tensor, masked: bool) -> tuple[Tensor | None, Tensor]:
        """Return the order that moves masked frames behind the others (None if they are there), and the lengths."""
        frames = frames if self.batch_first else frames.transpose(0, 1)
        if not masked:
            return None, torch.full((frames.shape[0],), frames.shape[1], device=frames.device)
        on = frames != 0
        lengths = on.sum(1)
        if bool((on[:, 1:] <= on[:, :-1]).all()):
            return None, lengths
        return (~on).to(torch.uint8).argsort(dim=1, stable=True), lengths

    def _arrange(self, values: Tensor, order: Tensor | None) -> Tensor:
        """Return values batch first, with frames in ``order``."""
        values = values if self.batch_first else values.transpose(0, 1)
        if order is None:
            return values
        return values.gather(1, order if values.dim() == 2 else order[..., None].expand_as(values))


def _check_drop_in(
    emissions: Tensor, tags: Tensor | None, mask: Tensor | None, num_tags: int, batch_first: bool
) -> None:
    """Raise as pytorch-crf's ``CRF`` does, with its types of error."""
    if emissions.dim() != 3:
        raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
    if emissions.size(2) != num_tags:
        raise ValueError(f"expected last dimension of emissions is {num_tags}, got {emissions.size(2)}")
    for name, values in (("tags", tags), ("mask", mask)):
        if values is not None and emissions.shape[:2] != values.shape:
            raise ValueError(
                f"the first two dimensions of emissions and {name} must match, "
                f"got {tuple(emissions.shape[:2])} and {tuple(values.shape)}"
            )
    if mask is not None and not (mask[:, 0] if batch_first else mask[0]).all():
        raise ValueError("mask of the first timestep must all be on; move left padding to the right")


def _check_tags(values: Tensor, lengths: Tensor, num_tags: int) -> None:
    """Raise for a tag that is out of range at a frame that is not masked; -100 is unlabelled."""
    if values.numel() and not torch.compiler.is_compiling():
        lowest, highest = values.aminmax()
        if lowest.item() >= 0 and highest.item() < num_tags:
            return
    bad = frame_mask(lengths, values.shape[1]) & (values != UNLABELLED) & ((values < 0) | (values >= num_tags))
    if bad.any():
        sequence, frame = (int(i) for i in bad.nonzero()[0])
        raise IndexError(
            f"tag of sequence {sequence}, frame {frame} (masked frames not counted): got "
            f"{int(values[sequence, frame])}, expected 0 to {num_tags - 1}, or {UNLABELLED} for unlabelled"
        )
