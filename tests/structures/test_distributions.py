"""Every distribution over labels obeys one contract: structures, alignments, masked frames, classes given targets."""

from __future__ import annotations

import torch
from torch import Tensor

from segcrf import LinearChain, SemiMarkov
from segcrf.structures import Gapped, LabelDistribution, Structure, SwitchingRegression, timestamps, transcript
from segcrf.testing import LabelDistributionContract

TRANSITIONS = torch.tensor([[1.0, -0.5, 0.2], [0.0, 0.7, -1.0], [-0.3, 0.4, 1.5]], dtype=torch.float64)
EDGES = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64)
DURATIONS = torch.tensor([[0.1, 0.6, -0.3], [-1.0, 0.4, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def chain(emissions: Tensor, lengths: Tensor | None = None) -> Structure:
    return LinearChain(emissions, TRANSITIONS, EDGES, EDGES.flip(0), lengths)


def semi_markov(emissions: Tensor, lengths: Tensor | None = None) -> Structure:
    return SemiMarkov(emissions, TRANSITIONS, DURATIONS, EDGES - 1.0, EDGES, EDGES.flip(0), lengths)


class TestLinearChain(LabelDistributionContract):
    def make(self, emissions: Tensor) -> LabelDistribution:
        return chain(emissions, torch.tensor(self.lengths))


class TestSemiMarkov(LabelDistributionContract):
    def make(self, emissions: Tensor) -> LabelDistribution:
        return semi_markov(emissions, torch.tensor(self.lengths))


class TestAlignmentOfAChain(LabelDistributionContract):
    def make(self, emissions: Tensor) -> LabelDistribution:
        return transcript(chain(emissions, torch.tensor(self.lengths)), [[0, 2, 1], [1], [2, 0]])


class TestAlignmentOfASemiMarkovChain(LabelDistributionContract):
    def make(self, emissions: Tensor) -> LabelDistribution:
        return transcript(semi_markov(emissions, torch.tensor(self.lengths)), [[0, 2, 0], [1], [2, 0]])


class TestTimestamps(LabelDistributionContract):
    def make(self, emissions: Tensor) -> LabelDistribution:
        known = torch.full((3, 5), -100)
        known[0, 1], known[0, 3], known[1, 0], known[2, 2] = 1, 0, 2, 1
        return timestamps(chain(emissions, torch.tensor(self.lengths)), known)


MASK = torch.tensor([[1, 0, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)


class GappedContract(LabelDistributionContract):
    lengths = (5, 5, 5)
    gap = ""

    def make(self, emissions: Tensor) -> LabelDistribution:
        return Gapped(chain, emissions, MASK, self.gap)

    def observed(self, dist: LabelDistribution) -> Tensor:
        return MASK


class TestSkippedFrames(GappedContract):
    gap = "skip"


class TestBridgedFrames(GappedContract):
    gap = "bridge"


class TestFramesThatBreakARecording(GappedContract):
    gap = "break"


class TestClassesGivenTargets(LabelDistributionContract):
    """A switching regression is over labels and targets; given targets it is a distribution over labels."""

    def make(self, emissions: Tensor) -> LabelDistribution:
        generator = torch.Generator().manual_seed(9)
        mean, targets = (torch.randn(3, 5, *more, generator=generator, dtype=torch.float64) for more in ((3, 2), (2,)))
        targets[0, 2, 1] = torch.nan
        switching = SwitchingRegression(chain(emissions, torch.tensor(self.lengths)), mean, torch.zeros(3, 2))
        return switching.given(targets)
