"""The contract of a distribution over labels: its queries agree with the probabilities of all label sequences.

It holds for structures, and for what is derived from them: alignments, masked frames, classes given targets. Structures
also have the contract of :mod:`segcrf.testing.structures`, against an oracle that is not their own.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from segcrf import Segments
from segcrf.structures import LabelDistribution
from segcrf.testing.oracle import UNLABELLED

__all__ = ["LabelDistributionContract"]


class LabelDistributionContract:
    """Queries that :meth:`log_prob`, summed over all label sequences, answers too.

    A subclass supplies :meth:`make`.
    """

    lengths = (5, 1, 3)
    num_classes = 3

    def make(self, emissions: Tensor) -> LabelDistribution:
        """Return a distribution for class scores (3, 5, 3), float64, of recordings of :attr:`lengths` frames."""
        raise NotImplementedError

    def observed(self, dist: LabelDistribution) -> Tensor:
        """Return the frames (B, T) with labels that ``log_prob`` reads: by default all that have one."""
        return dist.frame_mask

    # ------------------------------------------------------------------------------------------------------- fixtures
    @pytest.fixture(params=[0, 2])
    def emissions(self, request: pytest.FixtureRequest) -> Tensor:
        """Class scores, some far apart."""
        generator = torch.Generator().manual_seed(request.param)
        shape = (len(self.lengths), max(self.lengths), self.num_classes)
        return (3.0**request.param) * torch.randn(shape, generator=generator, dtype=torch.float64)

    @pytest.fixture
    def dist(self, emissions: Tensor) -> LabelDistribution:
        """Return the distribution under test."""
        return self.make(emissions)

    # ---------------------------------------------------------------------------------------------------------- tests
    def test_probabilities_of_all_labellings_sum_to_one(self, dist: LabelDistribution) -> None:
        for recording in range(len(self.lengths)):
            _, probability = self._all(dist, recording)
            assert float(probability.sum()) == pytest.approx(1.0, abs=1e-9)

    def test_marginals_are_sums_of_probabilities(self, dist: LabelDistribution) -> None:
        marginals, mask = dist.marginals.labels, dist.frame_mask
        torch.testing.assert_close(marginals.sum(-1), mask.to(marginals.dtype), atol=1e-9, rtol=0)
        for recording in range(len(self.lengths)):
            labels, probability = self._all(dist, recording)
            for t in self.observed(dist)[recording].nonzero()[:, 0].tolist():
                expected = torch.zeros_like(marginals[0, 0]).index_add(0, labels[:, t], probability)
                torch.testing.assert_close(marginals[recording, t], expected, atol=1e-9, rtol=1e-9)

    def test_an_unlabelled_frame_sums_over_its_classes(self, dist: LabelDistribution) -> None:
        for recording in range(len(self.lengths)):
            labels, probability = self._all(dist, recording)
            frames = self.observed(dist)[recording].nonzero()[:, 0].tolist()
            for hidden in (frames[:1], frames[-1:], frames):
                partial = dist.mode.clone()
                partial[recording, hidden] = UNLABELLED
                others = [t for t in frames if t not in hidden]
                agree = (labels[:, others] == partial[recording, others]).all(1)
                got = dist.log_prob(partial)[recording].exp()
                torch.testing.assert_close(got, probability[agree].sum(), atol=1e-9, rtol=1e-9)

    def test_the_mode_is_a_most_probable_labelling(self, dist: LabelDistribution) -> None:
        mask, mode = dist.frame_mask, dist.mode
        assert torch.equal(mode != UNLABELLED, mask)
        if not torch.equal(self.observed(dist), mask):
            return  # the mode also chooses labels that log_prob sums over
        for recording in range(len(self.lengths)):
            _, probability = self._all(dist, recording)
            got = dist.log_prob(mode)[recording].exp()
            torch.testing.assert_close(got, probability.max(), atol=1e-9, rtol=1e-9)

    def test_decisions_by_frame_are_those_of_the_marginals(self, dist: LabelDistribution) -> None:
        marginals, mask = dist.marginals.labels, dist.frame_mask
        expected = marginals.argmax(-1).masked_fill(~mask, UNLABELLED)
        assert torch.equal(dist.posterior_mode, expected)
        assert torch.equal(dist.minimum_risk(1.0 - torch.eye(self.num_classes)), expected)
        torch.testing.assert_close(dist.expected_frames, marginals.sum(1))
        torch.testing.assert_close(dist.expected_frames.sum(1), mask.sum(1).to(marginals.dtype))

    def test_expected_bands_are_those_of_all_labellings(self, dist: LabelDistribution) -> None:
        torch.testing.assert_close(dist.expected_bands, dist.marginals.starts.sum((1, 2)))
        if not torch.equal(dist.frame_mask.sum(1), torch.tensor(self.lengths)):
            return  # holes join or cut bands, by the rule of the distribution
        for recording, length in enumerate(self.lengths):
            labels, probability = self._all(dist, recording)
            bands = 1 + (labels[:, 1:length] != labels[:, : length - 1]).sum(1)
            expected = (bands * probability).sum()
            torch.testing.assert_close(dist.expected_bands[recording], expected, atol=1e-7, rtol=1e-7)

    def test_the_mean_marginal_of_a_band_is_that_of_its_frames(self, dist: LabelDistribution) -> None:
        bands = Segments.from_labels([row.clone() for row in dist.posterior_mode])
        got = dist.mean_marginal(bands)
        marginals = dist.marginals.labels
        for value, recording, start, end, label in zip(
            got, bands.recording, bands.start, bands.end, bands.label, strict=True
        ):
            torch.testing.assert_close(value, marginals[int(recording), int(start) : int(end), int(label)].mean())

    def test_scores_beyond_lengths_change_nothing_and_nothing_is_written(self, emissions: Tensor) -> None:
        before = emissions.clone()
        dist = self.make(emissions)
        expected = dist.marginals.labels, dist.mode, dist.log_prob(dist.mode)
        assert torch.equal(emissions, before)
        other = emissions.clone()
        for row, length in zip(other, self.lengths, strict=True):
            row[length:] += 7.0
        again = self.make(other)
        got = again.marginals.labels, again.mode, again.log_prob(again.mode)
        for one, two in zip(got, expected, strict=True):
            torch.testing.assert_close(one, two)

    # ------------------------------------------------------------------------------------------------------ enumeration
    def _all(self, dist: LabelDistribution, recording: int) -> tuple[Tensor, Tensor]:
        """Return all labels (N, T) of the observed frames of a recording, and their probabilities (N,)."""
        frames = self.observed(dist)[recording].nonzero()[:, 0]
        mode = dist.mode
        rows: list[Tensor] = []
        found: list[Tensor] = []
        for chosen in itertools.product(range(self.num_classes), repeat=len(frames)):
            labels = mode.clone()
            labels[recording, frames] = torch.tensor(chosen)
            rows.append(labels[recording])
            found.append(dist.log_prob(labels)[recording].exp())
        return torch.stack(rows), torch.stack(found)
