"""The second half of the contract of a structure: derivatives, and what must not change an answer."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from scipy.stats import chisquare
from torch import Tensor

from segcrf import Structure
from segcrf.testing.answers import (
    StructureUnderTest,
    answers,
    close,
    on_every_backend,
    segments_of,
    tolerance,
)
from segcrf.testing.cases import enumerated
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED

__all__ = ["InvarianceContract"]


class InvarianceContract(StructureUnderTest):
    """Derivatives, padding, batches, samples and bad input.

    First derivatives are compared entry by entry, second ones along random directions, which is much quicker.
    """

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
            assert torch.autograd.gradcheck(lambda *p, q=query: q(rebuild(*p)), leaves, fast_mode=True)

    @on_every_backend
    def test_gradgradcheck(self, backend: str) -> None:
        _, leaves, rebuild = self._leaves(backend)
        labels = rebuild(*leaves).mode.clone()
        labels[:, 1:3] = UNLABELLED
        assert torch.autograd.gradgradcheck(lambda *p: rebuild(*p).log_partition, leaves, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda *p: rebuild(*p).log_prob(labels), leaves, fast_mode=True)

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
        # These end in a plain sum over T; its order in PyTorch depends on T. Everything else is the same bit for bit.
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
