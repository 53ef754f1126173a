"""The first half of the contract of a structure: every query equals that of an enumeration."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from segcrf import InputTypeError, LinearChain, Segments, SemiMarkov
from segcrf.testing.answers import (
    StructureUnderTest,
    close,
    on_every_backend,
    outcome,
    segments_of,
    step_gradient,
)
from segcrf.testing.cases import Case, enumerated, enumerated_until
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED, Enumeration, log_sum_exp

__all__ = ["EnumerationContract"]


class EnumerationContract(StructureUnderTest):
    """Queries that an enumeration of all labellings answers too."""

    # ------------------------------------------------------------------------------------ equal to enumeration
    @on_every_backend
    @given(data=st.data())
    def test_probabilities_of_all_labellings_are_right_and_sum_to_one(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend, validate_args=False)
        filler = dist.mode
        for b, truth in enumerate(enumerated(case)):
            rows = np.unique(truth.labels, axis=0)
            labels = filler.repeat(len(rows), 1, 1)
            labels[:, b, : rows.shape[1]] = torch.from_numpy(rows)
            got = dist.log_prob(labels)[:, b]
            expected = [truth.log_prob(row) for row in rows[:200]]
            close(got[:200], expected, case)
            assert got.exp().sum().item() == pytest.approx(1.0, abs=1e-6)

    @on_every_backend
    @given(data=st.data())
    def test_log_partition(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        got = self.make(case, backend).log_partition
        close(got, [truth.log_partition for truth in enumerated(case)], case)

    @on_every_backend
    @given(data=st.data())
    def test_marginals(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        marginals = self.make(case, backend).marginals
        for b, truth in enumerate(enumerated(case)):
            length = int(case.lengths[b])
            close(marginals.labels[b, :length], truth.label_marginals, case)
            close(marginals.starts[b, :length], truth.start_marginals, case)
            close(marginals.transitions[b], truth.expected_steps, case)
            assert not marginals.labels[b, length:].any() and not marginals.starts[b, length:].any()

    @on_every_backend
    @given(data=st.data())
    def test_gradients_of_the_log_partition_are_expected_counts(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        leaf = Case({k: v.clone().requires_grad_() for k, v in case.potentials.items()}, case.lengths, case.options)
        weights = torch.arange(1.0, len(case.lengths) + 1, dtype=torch.float64)
        (self.make(leaf, backend).log_partition * weights).sum().backward()
        truths = enumerated(case)
        for b, truth in enumerate(truths):
            length = int(case.lengths[b])
            got = leaf.emissions.grad
            assert got is not None
            close(got[b, :length], weights[b].item() * truth.label_marginals, case)
            assert not got[b, length:].any(), "padding has a gradient"
        expected = sum(w * truth.expected_steps for w, truth in zip(weights.tolist(), truths, strict=True))
        close(step_gradient(leaf), expected, case)

    @on_every_backend
    @given(data=st.data())
    def test_gradients_of_a_likelihood_are_observed_less_expected_counts(
        self, backend: str, data: st.DataObject
    ) -> None:
        case = data.draw(self.cases)
        leaf = Case({k: v.clone().requires_grad_() for k, v in case.potentials.items()}, case.lengths, case.options)
        dist = self.make(leaf, backend)
        labels = dist.sample(generator=torch.Generator().manual_seed(data.draw(st.integers(0, 1000))))
        labels[:, :: data.draw(st.integers(1, 3))] = UNLABELLED
        dist.log_prob(labels).sum().backward()
        expected_steps = np.zeros(())
        got = leaf.emissions.grad
        assert got is not None
        for b, truth in enumerate(enumerated(case)):
            length = int(case.lengths[b])
            agree = truth.agreeing(labels[b, :length].numpy())
            known = Enumeration(truth.labels, truth.starts, truth.steps, np.where(agree, truth.scores, -np.inf))
            close(got[b, :length], known.label_marginals - truth.label_marginals, case)
            assert not got[b, length:].any(), "padding has a gradient"
            expected_steps = expected_steps + known.expected_steps - truth.expected_steps
        close(step_gradient(leaf), expected_steps, case)

    @on_every_backend
    @given(data=st.data())
    def test_mode_is_a_best_labelling(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        best = dist.best
        assert dist.mode.dtype == torch.int64
        assert torch.equal(best.labels, dist.mode)
        for b, truth in enumerate(enumerated(case)):
            labels, starts = outcome(case, b, best.labels[b], best.starts[b])
            close(best.score[b], truth.best_score, case)
            close(truth.scores[truth.agreeing(labels, starts)].max(), truth.best_score, case)

    @on_every_backend
    @given(data=st.data(), k=st.integers(1, 6))
    def test_topk_are_the_best_labellings(self, backend: str, data: st.DataObject, k: int) -> None:
        case = data.draw(self.cases)
        best = self.make(case, backend).topk(k)
        for b, truth in enumerate(enumerated(case)):
            expected = truth.top_scores(k)
            close(best.score[:, b], expected, case)
            found = set()
            for i in range(k):
                labels, starts = outcome(case, b, best.labels[i, b], best.starts[i, b])
                if expected[i] == -np.inf:
                    assert (labels == UNLABELLED).all() and not starts.any()
                else:
                    close(truth.scores[truth.agreeing(labels, starts)].max(), expected[i], case)
                    found.add((tuple(labels), tuple(starts)))
            assert len(found) == (expected > -np.inf).sum(), "one labelling came twice"

    @on_every_backend
    @given(data=st.data())
    def test_entropy(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        close(self.make(case, backend).entropy(), [truth.entropy for truth in enumerated(case)], case)

    @on_every_backend
    @given(data=st.data())
    def test_a_restriction_forbids_labels_frame_by_frame(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        allowed = torch.from_numpy(rng.random(tuple(case.emissions.shape)) < 0.6)
        truths = enumerated(case)
        # One outcome of each recording stays allowed, so that there is something to compare.
        for b, truth in enumerate(truths):
            possible = np.flatnonzero(truth.scores > -np.inf)
            labels = truth.labels[rng.choice(possible)]
            allowed[b, np.arange(len(labels)), labels] = True
        dist = self.make(case, backend).restrict(allowed)
        best, marginals = dist.best, dist.marginals
        for b, truth in enumerate(truths):
            length = int(case.lengths[b])
            truth = truth.restricted(allowed[b, :length].numpy())
            close(dist.log_partition[b], truth.log_partition, case)
            close(best.score[b], truth.best_score, case)
            close(marginals.labels[b, :length], truth.label_marginals, case)
            assert allowed[b, np.arange(length), best.labels[b, :length].numpy()].all()

    @on_every_backend
    @given(data=st.data())
    def test_unlabelled_frames_are_summed_over(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        dist = self.make(case, backend)
        labels = dist.mode.clone()
        labels[torch.from_numpy(rng.random(tuple(labels.shape)) < 0.5)] = UNLABELLED
        got = dist.log_prob(labels)
        for b, truth in enumerate(enumerated(case)):
            close(got[b], truth.log_prob(labels[b, : case.lengths[b]].numpy()), case)

    # ------------------------------------------------------------------------------------------- further questions
    @on_every_backend
    @given(data=st.data())
    def test_cross_entropy_and_divergence(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        noise = torch.from_numpy(rng.normal(0.0, 1.0, tuple(case.emissions.shape)))
        steps = case.potentials["transitions"]
        other = case.having(emissions=case.emissions + noise, transitions=steps + torch.from_numpy(rng.normal(size=())))
        p, q = self.make(case, backend), self.make(other, backend)
        pairs = list(zip(enumerated(case), enumerated(other), strict=True))
        close(p.cross_entropy(q), [a.cross_entropy(b) for a, b in pairs], case)
        divergence = torch.distributions.kl_divergence(p, q)
        close(divergence, [a.cross_entropy(b) - a.entropy for a, b in pairs], case)
        close(torch.distributions.kl_divergence(p, p), torch.zeros(len(pairs)), case)

    @on_every_backend
    def test_a_divergence_is_infinite_where_the_other_forbids_what_may_be(self, backend: str) -> None:
        p = self.make(self.example(), backend)
        allowed = torch.ones(p.emissions.shape, dtype=torch.bool)
        allowed[0, 1] = torch.arange(p.num_classes) == p.mode[0, 1]
        q = p.restrict(allowed)
        divergence = torch.distributions.kl_divergence(p, q)
        assert divergence[0] == torch.inf and divergence[1].abs() < 1e-12
        assert p.cross_entropy(q)[0] == torch.inf
        inverse = torch.distributions.kl_divergence(q, p)  # -log of the probability of the restriction
        torch.testing.assert_close(inverse, p.log_partition - q.log_partition, rtol=1e-9, atol=1e-9)

    def test_what_cannot_be_compared_is_named(self) -> None:
        case = self.example()
        p = self.make(case, "auto")
        longer = self.make(case.padded(3, 0.0), "auto")
        with rejects("emissions", expected="one shape in both"):
            p.cross_entropy(longer)
        shorter = self.make(replace(case, lengths=case.lengths - 1), "auto")
        frames = int(case.lengths[0])
        with rejects("lengths", got=f"{frames} and {frames - 1} frames", recording=0):
            torch.distributions.kl_divergence(p, shorter)
        kind = SemiMarkov if isinstance(p, LinearChain) else LinearChain
        with rejects("structures", expected="two of one kind", kind=InputTypeError):
            p.cross_entropy(kind.__new__(kind))

    def test_bands_that_cannot_be_are_named(self) -> None:
        dist = self.make(self.example(), "auto")
        frames = int(dist.lengths[1])
        with rejects("lengths", got=f"^{frames}$", expected=f"{frames + 1} or more, where segment 1 ends", recording=1):
            dist.band_probability(Segments.from_labels([[0], [0] * (frames + 1)]))
        with rejects("bands", got=r"class 7 in segment 1, frames \[1, 2\)", recording=0):
            dist.mean_marginal(Segments.from_labels([[0, 7], [0]]))

    @on_every_backend
    @given(data=st.data())
    def test_expected_bands_and_frames(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        truths = enumerated(case)
        close(dist.expected_bands, [truth.expected_bands for truth in truths], case)
        close(dist.expected_frames, np.stack([truth.expected_frames for truth in truths]), case)

    @on_every_backend
    @given(data=st.data())
    def test_minimum_risk(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        classes = dist.num_classes
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        hamming = 1.0 - np.eye(classes)
        decoded = [(hamming, dist.posterior_mode), (hamming, dist.minimum_risk(torch.from_numpy(hamming)))]
        cost = rng.random((classes, classes))
        decoded.append((cost, dist.minimum_risk(torch.from_numpy(cost))))
        for b, truth in enumerate(enumerated(case)):
            length = int(case.lengths[b])
            for cost, labels in decoded:
                best = (truth.label_marginals @ cost).min(axis=1).sum()
                close(truth.risk(labels[b, :length].numpy(), cost), best, case)
                assert (labels[b, length:] == UNLABELLED).all()

    @on_every_backend
    @given(data=st.data())
    def test_log_count(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        close(dist.log_count, [truth.log_count for truth in enumerated(case)], case)
        close(dist.uniform().entropy(), dist.log_count, case)

    @on_every_backend
    @given(data=st.data())
    def test_filtered_is_what_is_known_by_then(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        if (case.potentials.get("tail", torch.tensor(-1.0)) >= 0).any():
            with rejects("tail", expected="the survival of a band"):
                _ = dist.filtered
            return
        got = dist.filtered
        for b, length in enumerate(case.lengths.tolist()):
            for t in range(length):
                close(got[b, t], enumerated_until(case, b, t).label_marginals[t], case)
            assert not got[b, length:].any()

    @on_every_backend
    @given(data=st.data())
    def test_band_probability_and_mean_marginal(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        cut = rng.random(tuple(case.emissions.shape[:2])) < 0.5
        labels = rng.integers(0, dist.num_classes, cut.shape)  # cut anywhere, whatever is probable
        labels = np.take_along_axis(labels, np.maximum.accumulate(np.where(cut, np.arange(cut.shape[1]), 0), 1), 1)
        lengths = case.lengths.tolist()
        lists = [[row[:length] for row, length in zip(rows, lengths, strict=True)] for rows in (labels, cut)]
        for bands in (Segments.from_labels(*lists), segments_of(dist)):
            truths = enumerated(case)
            rows = list(zip(bands.recording, bands.start, bands.end, bands.label, strict=True))
            close(dist.band_probability(bands), [truths[b].band_probability(s, e, c) for b, s, e, c in rows], case)
            close(dist.mean_marginal(bands), [truths[b].label_marginals[s:e, c].mean() for b, s, e, c in rows], case)

    @on_every_backend
    @given(data=st.data())
    def test_a_temperature_divides_scores(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        whole, emissions = dist.scaled(0.4), dist.scaled(emissions=0.4)
        cooled = enumerated(case.having(emissions=case.emissions / 2.5))
        close(emissions.log_partition, [truth.log_partition for truth in cooled], case)
        for b, truth in enumerate(enumerated(case)):
            close(whole.log_partition[b], log_sum_exp(truth.scores / 2.5), case)
            close(whole.best.score[b], truth.best_score / 2.5, case)

    # ---------------------------------------------------------------------------------------------- derivatives
