"""Masks with holes: against enumeration of the pieces, for both structures."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from segcrf import InputError, InputTypeError, LinearChain, LinearChainCRF, SemiMarkov, Structure
from segcrf.structures import GAPS, Gapped
from segcrf.testing.answers import close
from segcrf.testing.cases import Case, chains, enumerated, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED, Enumeration

both = pytest.mark.parametrize("cases", [chains(max_frames=6), semi_markovs(max_frames=6)], ids=["chain", "semi"])
#: One piece of a recording, as the oracle sees it: its frames and its enumeration.
Piece = tuple[list[int], Enumeration]


def crf_of(case: Case) -> Any:
    kind = SemiMarkov if "durations" in case.potentials else LinearChain
    shared = {name: values for name, values in case.potentials.items() if name != "emissions"}

    def crf(emissions: Tensor, lengths: Tensor) -> Structure:
        return kind(emissions, **shared, lengths=lengths, **case.options, validate_args=False)

    return crf


def masks(case: Case, seed: int) -> Tensor:
    """Any pattern within the recording: holes, left padding, all frames, one frame."""
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.random(tuple(case.emissions.shape[:2])) < rng.choice([0.4, 0.7, 1.0])) & case.valid
    for b, length in enumerate(case.lengths.tolist()):
        mask[b, rng.integers(length)] = True
    return mask


def pieces(case: Case, mask: Tensor, gap: str, recording: int) -> list[Piece]:
    on = np.flatnonzero(mask[recording].numpy()).tolist()
    if gap == "bridge":
        groups = [list(range(on[0], on[-1] + 1))]
    elif gap == "skip":
        groups = [on]
    else:
        runs = itertools.groupby(enumerate(on), lambda pair: pair[1] - pair[0])
        groups = [[frame for _, frame in run] for _, run in runs]
    found = []
    for frames in groups:
        emissions = case.emissions[recording : recording + 1, frames]
        seen = torch.where(mask[recording, frames, None], emissions, 0.0)
        alone = replace(case.having(emissions=seen), lengths=torch.tensor([len(frames)]))
        found.append((frames, enumerated(alone)[0]))
    return found


@both
@pytest.mark.parametrize("gap", GAPS)
@given(data=st.data())
def test_every_meaning_is_that_of_its_pieces(cases: st.SearchStrategy[Case], gap: str, data: st.DataObject) -> None:
    case = data.draw(cases)
    mask = masks(case, data.draw(st.integers(0, 1000)))
    expected = [pieces(case, mask, gap, b) for b in range(len(mask))]
    if not all(truth.feasible for group in expected for _, truth in group):
        return
    got = Gapped(crf_of(case), case.emissions, mask, gap)
    mode, (marginals, steps, starts) = got.mode, got.marginals
    labels = torch.where(mask, mode, 77)  # what stands on masked frames is not read
    labels[:, ::3] = torch.where(mask[:, ::3], UNLABELLED, 77)
    log_prob = got.log_prob(labels)
    for b, group in enumerate(expected):
        present = [frame for frames, _ in group for frame in frames]
        assert got.present[b].nonzero()[:, 0].tolist() == present
        known = np.where(mask[b].numpy(), labels[b].numpy(), UNLABELLED)
        close(got.log_partition[b], sum(truth.log_partition for _, truth in group), case)
        close(log_prob[b], sum(truth.log_prob(known[frames]) for frames, truth in group), case)
        close(steps[b], sum(truth.expected_steps for _, truth in group), case)
        for frames, truth in group:
            close(marginals[b, frames], truth.label_marginals, case)
            close(starts[b, frames], truth.start_marginals, case)
            best = truth.scores[truth.agreeing(mode[b, frames].numpy())].max()
            close(best, truth.best_score, case)
        absent = [frame for frame in range(mask.shape[1]) if frame not in present]
        assert (mode[b, absent] == UNLABELLED).all() and not marginals[b, absent].any()


@pytest.mark.parametrize("gap", GAPS)
def test_without_holes_all_meanings_are_the_recording_itself(gap: str) -> None:
    torch.manual_seed(0)
    crf, emissions, lengths = LinearChainCRF(3), torch.randn(3, 7, 3), torch.tensor([7, 4, 1])
    whole = crf(emissions, lengths)
    mask = torch.arange(7) < lengths[:, None]
    got = Gapped(crf, emissions, mask, gap)
    assert torch.equal(got.mode, whole.mode)
    torch.testing.assert_close(got.log_prob(whole.mode), whole.log_prob(whole.mode))
    torch.testing.assert_close(got.total(got.pieces.entropy()), whole.entropy())
    shifted = Gapped(crf, emissions.flip(1), mask.flip(1), gap)  # left padding
    assert (shifted.mode[2, :6] == UNLABELLED).all() and shifted.mode[2, 6] >= 0


@pytest.mark.parametrize("gap", GAPS)
def test_gradients_reach_observed_frames_only(gap: str) -> None:
    torch.manual_seed(0)
    crf, mask = (
        LinearChainCRF(2).double(),
        torch.tensor([[False, True, False, True, True], [True, False, False, True, False]]),
    )
    labels = torch.tensor([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]])

    def loss(emissions: Tensor) -> Tensor:
        return Gapped(crf, emissions, mask, gap).log_prob(labels)

    emissions = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (emissions,))
    loss(emissions).sum().backward()
    assert emissions.grad is not None
    assert (emissions.grad[mask] != 0).all() and not emissions.grad[~mask].any()


def test_nan_on_masked_frames_is_not_read() -> None:
    emissions = torch.randn(1, 5, 2)
    mask = torch.tensor([[True, False, True, True, False]])
    garbage = torch.where(mask[..., None], emissions, torch.nan)
    for gap in GAPS:
        first, second = (Gapped(LinearChainCRF(2), values, mask, gap) for values in (emissions, garbage))
        assert second.log_partition.isfinite().all() and first.mode.shape == second.mode.shape


BOOL = torch.bool


@pytest.mark.parametrize(
    ("mask", "gap", "kind", "fields"),
    [
        (torch.ones(2, 3), "skip", InputTypeError, {"argument": "mask", "expected": "boolean"}),
        ([[True]], "skip", InputTypeError, {"argument": "mask", "got": "list"}),
        (torch.ones(2, 4, dtype=BOOL), "skip", InputError, {"argument": "mask", "expected": r"\(B, T\) = \(2, 3\)"}),
        (torch.tensor([[True] * 3, [False] * 3]), "skip", InputError, {"got": "no observed frame", "recording": 1}),
        (torch.ones(2, 3, dtype=BOOL), "ignore", InputError, {"argument": "gap", "got": "'ignore'"}),
    ],
)
def test_bad_masks_are_named(mask: Any, gap: str, kind: Any, fields: dict[str, Any]) -> None:
    with rejects(**fields, kind=kind):
        Gapped(LinearChainCRF(2), torch.zeros(2, 3, 2), mask, gap)


@pytest.mark.parametrize(
    ("labels", "kind", "fields"),
    [
        ([[0] * 3] * 2, InputTypeError, {"got": "list", "expected": "torch.Tensor"}),
        (torch.zeros(2, 3), InputTypeError, {"got": "float32", "expected": "integers"}),
        (torch.zeros(2, 4).long(), InputError, {"got": r"\(2, 4\)", "expected": r"\(B, T\) = \(2, 3\), as the mask"}),
        (torch.zeros(3).long(), InputError, {"got": r"\(3,\)", "expected": "as the mask"}),
        (torch.zeros(5, 2, 3).long(), InputError, {"got": r"\(5, 2, 3\)", "expected": "as the mask"}),
        (torch.full((2, 3), 7), InputError, {"got": "7", "expected": "0 to 1"}),
    ],
)
def test_bad_labels_are_named(labels: Any, kind: Any, fields: dict[str, Any]) -> None:
    """Neither one row of labels nor a batch of labellings is taken for labels of the mask's shape."""
    gapped = Gapped(LinearChainCRF(2), torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool), "skip")
    with rejects("labels", **fields, kind=kind):
        gapped.log_prob(labels)
