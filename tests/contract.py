"""The contract of every structure: each query against enumeration, and what may not change an answer.

A test class subclasses :class:`StructureContract` and supplies ``cases`` (a Hypothesis strategy), ``example`` (one
fixed case) and ``make``. Every test runs on every backend.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from errors import rejects
from hypothesis import given
from oracle import UNLABELLED, Enumeration, log_sum_exp
from scipy.stats import chisquare
from strategies import Case, enumerated, enumerated_until
from torch import Tensor

from segcrf import InputTypeError, LinearChain, Segments, SemiMarkov, Structure

BACKENDS = ("torch", "numba")
on_every_backend = pytest.mark.parametrize("backend", BACKENDS)


class StructureContract:
    """What a distribution over label sequences owes its user."""

    #: Hypothesis strategy of feasible :class:`Case`.
    cases: st.SearchStrategy[Case]

    def example(self) -> Case:
        """A small ragged case with forbidden scores, for the tests that need one case and many evaluations."""
        raise NotImplementedError

    def make(self, case: Case, backend: str, **options: Any) -> Structure:
        """The structure under test."""
        raise NotImplementedError

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
    @on_every_backend
    def test_gradcheck(self, backend: str) -> None:
        names, leaves, rebuild = self._leaves(backend)
        labels = rebuild(*leaves).mode.clone()
        labels[0, 1] = UNLABELLED
        other = rebuild(*(leaf.detach() * 0.5 for leaf in leaves))
        for query in (
            lambda d: d.log_partition,
            lambda d: d.log_prob(labels),
            lambda d: d.best.score,
            lambda d: d.cross_entropy(other),
            other.cross_entropy,
            lambda d: torch.distributions.kl_divergence(d, other),
        ):
            assert torch.autograd.gradcheck(lambda *p, q=query: q(rebuild(*p)), leaves), names

    @on_every_backend
    def test_gradcheck_of_what_is_a_gradient_itself(self, backend: str) -> None:
        _, leaves, rebuild = self._leaves(backend)
        bands = segments_of(rebuild(*leaves))
        for query in (
            lambda d: d.entropy(),
            lambda d: d.marginals.labels,
            lambda d: d.marginals.transitions,
            lambda d: d.marginals.starts,
            lambda d: d.expected_bands,
            lambda d: d.filtered,
            lambda d: d.band_probability(bands),
            lambda d: d.mean_marginal(bands),
        ):
            assert torch.autograd.gradcheck(lambda *p, q=query: q(rebuild(*p)), leaves)

    @on_every_backend
    def test_gradgradcheck(self, backend: str) -> None:
        _, leaves, rebuild = self._leaves(backend)
        labels = rebuild(*leaves).mode.clone()
        labels[:, 1:3] = UNLABELLED
        assert torch.autograd.gradgradcheck(lambda *p: rebuild(*p).log_partition, leaves)
        assert torch.autograd.gradgradcheck(lambda *p: rebuild(*p).log_prob(labels), leaves)

    def _leaves(self, backend: str) -> tuple[list[str], tuple[Tensor, ...], Any]:
        case = self.example().differentiable()
        names = list(case.potentials)

        def rebuild(*potentials: Tensor) -> Structure:
            return self.make(case.having(**dict(zip(names, potentials, strict=True))), backend)

        return names, tuple(case.potentials.values()), rebuild

    # ------------------------------------------------------------------------------ what may not change an answer
    @given(data=st.data())
    def test_backends_agree(self, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        ours, reference = (answers(self.make(case, backend)) for backend in ("numba", "torch"))
        for name, value in reference.items():
            close(ours[name], value, case, name)

    @on_every_backend
    @given(data=st.data())
    def test_a_constant_per_frame_changes_nothing(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        constant = torch.from_numpy(rng.normal(0.0, 30.0, tuple(case.emissions.shape[:2])))
        labels = self.make(case, backend).mode
        before = answers(self.make(case, backend), labels)
        after = answers(self.make(case.having(emissions=case.emissions + constant[..., None]), backend), labels)
        added = torch.where(case.valid, constant, 0.0).sum(1)
        after["log_partition"] = after["log_partition"] - added
        after["best_score"] = after["best_score"] - added
        for name, value in before.items():
            close(after[name], value, case, name)

    @on_every_backend
    @given(data=st.data(), extra=st.integers(0, 3), garbage=st.sampled_from([np.nan, np.inf, -np.inf, 1e308, 7.0]))
    def test_padding_changes_nothing(self, backend: str, data: st.DataObject, extra: int, garbage: float) -> None:
        case = data.draw(self.cases)
        batch, frames, _ = case.emissions.shape
        labels = self.make(case, backend).mode
        longer = torch.full((batch, frames + extra), 0)
        longer[:, :frames] = torch.where(case.valid, labels, 0)
        before = answers(self.make(case, backend), labels)
        after = answers(self.make(case.padded(extra, garbage), backend), longer)
        # These end in a plain sum over T, whose order in PyTorch depends on T. Everything else is the same bit for bit.
        summed = {"entropy", "divergence", "expected_bands", "expected_frames"}
        summed |= {"log_prob"} if backend == "torch" else set()
        for name, value in before.items():
            got = after[name]
            if name in ("labels", "starts"):
                assert not got[:, frames:].any(), name
                got = got[:, :frames]
            if name in summed:
                close(got, value, case, name)
            else:
                assert torch.equal(got, value), name

    @on_every_backend
    @given(data=st.data())
    def test_the_rest_of_a_batch_changes_nothing(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        labels = self.make(case, backend).mode
        together = answers(self.make(case, backend), labels)
        for b, length in enumerate(case.lengths.tolist()):
            alone = answers(self.make(case.only(b), backend), labels[b : b + 1, :length])
            for name, value in alone.items():
                got = together[name][b : b + 1]
                close(got[:, :length] if name in ("labels", "starts") else got, value, case, name)

    @on_every_backend
    @given(data=st.data())
    def test_inputs_are_not_modified(self, backend: str, data: st.DataObject) -> None:
        drawn = data.draw(self.cases)
        for case in (drawn, drawn.only(0)):
            before = {name: values.clone() for name, values in case.potentials.items()}
            before["lengths"] = case.lengths.clone()
            labels = self.make(case, backend).mode
            given_labels = labels.clone()
            given_labels[:, 0] = UNLABELLED
            kept = given_labels.clone()
            self._ask_everything(self.make(case, backend), given_labels)
            self._ask_everything(self.make(case.differentiable(), backend), given_labels)
            assert torch.equal(given_labels, kept)
            for name, values in before.items():
                now = case.lengths if name == "lengths" else case.potentials[name]
                assert torch.equal(now.nan_to_num(1.5, 2.5, 3.5), values.nan_to_num(1.5, 2.5, 3.5)), name

    def _ask_everything(self, dist: Structure, labels: Tensor) -> None:
        answers(dist, labels)
        dist.topk(2)
        dist.sample((2,))
        dist.restrict(torch.ones(dist.emissions.shape, dtype=torch.bool)).log_prob(labels)

    # --------------------------------------------------------------------------------------------------- the rest
    @on_every_backend
    @given(data=st.data())
    def test_what_comes_out_can_be_fed_back(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        mode, best, draws = dist.mode, dist.topk(1), dist.sample((3,))
        log_prob = dist.log_prob(mode)
        assert (dist.log_prob(draws) > -torch.inf).all()
        score = dist.best.score - dist.log_partition
        if case.options.get("self_transitions"):  # labels can then be cut in several ways, and the mode is one of them
            assert (log_prob >= score - tolerance(case)).all()
            return
        close(log_prob, score, case)
        close(dist.log_prob(best.labels)[0], log_prob, case)
        assert (dist.log_prob(draws) <= log_prob + tolerance(case)).all()

    @on_every_backend
    @given(data=st.data())
    def test_frames_beyond_a_recording_are_unlabelled(self, backend: str, data: st.DataObject) -> None:
        case = data.draw(self.cases)
        dist = self.make(case, backend)
        best, kbest = dist.best, dist.topk(2)
        for labels in (dist.mode, best.labels, kbest.labels[0], dist.sample(), dist.sample((2, 2))[1, 1]):
            assert (labels[~case.valid] == UNLABELLED).all()
            assert ((labels >= 0) & (labels < case.num_classes))[case.valid].all()
        for starts in (best.starts, kbest.starts[0]):
            assert starts.dtype == torch.bool and not starts[~case.valid].any()
            assert starts[:, 0].all()

    @on_every_backend
    def test_sample_shapes(self, backend: str) -> None:
        case = self.example()
        dist = self.make(case, backend)
        event = tuple(case.emissions.shape[:2])
        for shape in ((), (1,), (3,), (2, 3), (0,)):
            assert dist.sample(shape).shape == (*shape, *event)
        assert dist.batch_shape == event[:1] and dist.event_shape == event[1:]

    @on_every_backend
    def test_samples_come_as_often_as_they_are_probable(self, backend: str) -> None:
        case = self.example()
        dist = self.make(case, backend)
        draws = dist.sample((4000,), generator=torch.Generator().manual_seed(0)).numpy()
        for b, truth in enumerate(enumerated(case)):
            rows, index = np.unique(truth.labels, axis=0, return_inverse=True)
            expected = 4000 * np.bincount(index.ravel(), weights=truth.probabilities)
            number = {tuple(row): i for i, row in enumerate(rows.tolist())}
            drawn = [number[tuple(row)] for row in draws[:, b, : case.lengths[b]].tolist()]
            observed = np.bincount(drawn, minlength=len(rows))
            assert not observed[expected == 0].any(), "drew a forbidden labelling"
            common = expected >= 5
            assert common.sum() > 3, "the example is too peaked to test"
            pooled = [np.append(x[common], x[~common].sum()) for x in (observed, expected)]
            kept = pooled[1] > 0
            assert chisquare(pooled[0][kept], pooled[1][kept]).pvalue > 1e-3

    @on_every_backend
    def test_samples_repeat_with_their_generator(self, backend: str) -> None:
        dist = self.make(self.example(), backend)
        first, second, other = (dist.sample((50,), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, second) and not torch.equal(first, other)
        torch.manual_seed(5)
        first = dist.sample((50,))
        torch.manual_seed(5)
        assert torch.equal(first, dist.sample((50,)))

    @on_every_backend
    def test_a_recording_without_any_labelling_is_named(self, backend: str) -> None:
        case = self.example()
        emissions = case.emissions.clone()
        emissions[1, int(case.lengths[1]) - 1] = -torch.inf
        dist = self.make(case.having(emissions=emissions), backend)
        queries = (
            *(lambda: dist.log_partition, lambda: dist.marginals, lambda: dist.mode, dist.entropy, dist.sample),
            *(lambda: dist.filtered, lambda: dist.log_count, lambda: dist.topk(1)),
        )
        for query in queries:
            with rejects("potentials", got=f"no allowed labelling of its {int(case.lengths[1])} frames", recording=1):
                query()
        with rejects(recording=1):
            dist.log_prob(torch.zeros(emissions.shape[:2], dtype=torch.int64))

    @on_every_backend
    def test_a_gradient_is_the_same_every_time(self, backend: str) -> None:
        grads = []
        for _ in range(2):
            case = self.example().differentiable()
            dist = self.make(case, backend)
            dist.log_prob(dist.mode).sum().backward()
            grads.append([p.grad for p in case.potentials.values()])
        for first, second in zip(*grads, strict=True):
            assert first is not None and second is not None and torch.equal(first, second)

    @on_every_backend
    def test_without_gradients_nothing_requires_one(self, backend: str) -> None:
        case = self.example().differentiable()
        with torch.no_grad():
            for name, value in answers(self.make(case, backend)).items():
                assert not value.requires_grad, f"{name} keeps a graph under torch.no_grad()"


# ------------------------------------------------------------------------------------------------------- helpers
def answers(dist: Structure, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Every answer that is a number; ``labels`` (default: the mode) are those to be scored."""
    marginals = dist.marginals
    return {
        "log_partition": dist.log_partition,
        "log_prob": dist.log_prob(dist.mode if labels is None else labels),
        "labels": marginals.labels,
        "transitions": marginals.transitions,
        "starts": marginals.starts,
        "best_score": dist.best.score,
        "entropy": dist.entropy(),
        "expected_bands": dist.expected_bands,
        "expected_frames": dist.expected_frames,
        "log_count": dist.log_count,
        "divergence": torch.distributions.kl_divergence(dist, dist.uniform()),
    }


def step_gradient(case: Case) -> Tensor:
    """Gradient of the transitions, summed over steps where each has its own; zero where one frame has no step."""
    got = case.potentials["transitions"].grad
    if got is None:
        return torch.zeros(())
    return got.sum((0, 1)) if got.dim() == 4 else got


def segments_of(dist: Structure) -> Segments:
    """The bands of the best labelling, without padding."""
    best = dist.best
    rows = [(a[:n], s[:n]) for a, s, n in zip(best.labels, best.starts, dist.lengths.tolist(), strict=True)]
    return Segments.from_labels([labels for labels, _ in rows], [starts for _, starts in rows])


def outcome(case: Case, recording: int, labels: Tensor, starts: Tensor) -> tuple[Any, Any]:
    """Labels and starts of one recording, without padding, for the oracle."""
    length = int(case.lengths[recording])
    return labels[:length].numpy(), starts[:length].numpy()


def tolerance(case: Case) -> float:
    """1e-9 for scores of the order of one; float64 loses digits with the size of the total score."""
    finite = [values[values.isfinite() & (values.abs() < 1e6)] for values in case.potentials.values()]
    largest = max((float(values.abs().max()) for values in finite if values.numel()), default=0.0)
    return 1e-9 * (1.0 + largest / 10)


def close(got: Any, expected: Any, case: Case, name: str = "") -> None:
    """Assert equality of anything array-like, in float64, to the digits that the size of the scores leaves."""
    values = (got.detach() if torch.is_tensor(got) else np.asarray(got, np.float64) for got in (got, expected))
    got, expected = torch.broadcast_tensors(*(torch.as_tensor(value).double() for value in values))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=tolerance(case), msg=lambda text: f"{name}: {text}")
