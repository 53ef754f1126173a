"""LinearChain with transitions of every step: the contract of structures, and what is only true of these."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from segcrf import LinearChain
from segcrf.testing.answers import answers, close, on_every_backend
from segcrf.testing.cases import Case, chain_case, chains, enumerated
from segcrf.testing.errors import rejects
from segcrf.testing.structures import StructureContract

INF = math.inf


def as_chain(case: Case, backend: str = "auto", **options: Any) -> LinearChain:
    return LinearChain(**case.potentials, lengths=case.lengths, backend=backend, **case.options, **options)


class TestVaryingChain(StructureContract):
    cases = chains(varying=True)

    def example(self) -> Case:
        case = chain_case(seed=3, lengths=(4, 3), num_frames=5, num_classes=3, varying=True)
        transitions = case.potentials["transitions"].clone()
        transitions[0, 1, 0, 1] = transitions[1, 0, 2, 0] = -INF
        return case.having(transitions=transitions)

    def make(self, case: Case, backend: str, **options: Any) -> LinearChain:
        return as_chain(case, backend, **options)


@on_every_backend
@given(case=chains())
def test_one_table_repeated_is_the_shared_table(backend: str, case: Case) -> None:
    steps = case.emissions.shape[1] - 1
    repeated = case.potentials["transitions"].expand(len(case.lengths), steps, -1, -1)
    shared = answers(as_chain(case, backend))
    for name, value in answers(as_chain(case.having(transitions=repeated), backend)).items():
        close(value, shared[name], case, name)


@on_every_backend
@given(data=st.data())
def test_each_step_has_its_own_gradient(backend: str, data: st.DataObject) -> None:
    case = data.draw(chains(varying=True))
    leaf = Case({k: v.clone().requires_grad_() for k, v in case.potentials.items()}, case.lengths)
    as_chain(leaf, backend).log_partition.sum().backward()
    got = leaf.potentials["transitions"].grad
    if got is None:
        got = torch.zeros_like(leaf.potentials["transitions"])
    for b, truth in enumerate(enumerated(case)):
        length = int(case.lengths[b])
        for t in range(length - 1):
            pairs = np.zeros((case.num_classes, case.num_classes))
            np.add.at(pairs, (truth.labels[:, t], truth.labels[:, t + 1]), truth.probabilities)
            close(got[b, t], pairs, case)
        assert not got[b, length - 1 :].any(), "padding has a gradient"


@on_every_backend
def test_a_forbidden_step_is_named_with_its_frame(backend: str) -> None:
    transitions = torch.zeros(1, 3, 2, 2)
    transitions[0, 1, 0, 1] = -INF
    dist = LinearChain(torch.zeros(1, 4, 2), transitions, backend=backend)
    with rejects("labels", got=r"class 1 after class 0 \(transitions\[0, 1, 0, 1\] = -inf\)", frame=2):
        dist.log_prob(torch.tensor([[0, 0, 1, 1]]))
    assert dist.log_prob(torch.tensor([[0, 1, 1, 1]])).isfinite().all()


@pytest.mark.parametrize("size", [(2, 4, 3, 3), (2, 3, 3), (3, 2), (1, 3, 3, 3), (2, 3, 3, 2)])
def test_transitions_of_the_wrong_shape_are_rejected(size: tuple[int, ...]) -> None:
    with rejects("transitions", got="shape", expected=r"shape \((B, T - 1, )?C, C\) = "):
        LinearChain(torch.zeros(2, 4, 3), torch.zeros(size))


def test_a_score_that_is_not_a_number_is_named_unless_it_is_padding() -> None:
    transitions = torch.zeros(2, 3, 2, 2)
    transitions[1, 2, 0, 1] = math.nan
    emissions = torch.zeros(2, 4, 2)
    with rejects("transitions", got="nan for the step from class 0 to 1", recording=1, frame=2):
        LinearChain(emissions, transitions)
    dist = LinearChain(emissions, transitions, lengths=torch.tensor([4, 3]))
    torch.testing.assert_close(dist.log_partition, torch.tensor([4.0, 3.0]) * math.log(2))


# ----------------------------------------------------------------------------------------------- long and wide
def long_case(seed: int, lengths: list[int], num_classes: int) -> Case:
    return chain_case(seed, lengths, max(lengths), num_classes, varying=True)


@pytest.mark.parametrize("num_classes", [1, 2, 5, 20])
def test_many_blocks_of_frames_agree_with_the_reference(num_classes: int) -> None:
    case = long_case(1, [1400, 1, 2, 1305], num_classes)
    expected = answers(as_chain(case, "torch"))
    for name, value in answers(as_chain(case, "numba")).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("span", [140.0, 149.999, 150.001, 700.0, 1e4])
def test_scores_that_span_more_than_scaled_probabilities_hold(span: float) -> None:
    case = long_case(2, [30, 17, 1, 2], 4)
    transitions = case.potentials["transitions"].clone()
    transitions[:, 3:7, :, 1] -= span
    transitions[0, 5, :2, 1] += 2 * span
    case = case.having(transitions=transitions)
    expected = answers(as_chain(case, "torch"))
    for name, value in answers(as_chain(case, "numba")).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("per_frame", [0.3, pytest.param(40.0, marks=pytest.mark.slow), 149.0])
def test_a_rare_state_survives_until_it_is_the_only_one(per_frame: float) -> None:
    # Class 0 is ahead of the others by per_frame at each frame, cannot be left, and is forbidden at the end.
    case = long_case(3, [1300, 900, 1], 3)
    transitions = case.potentials["transitions"].clone()
    transitions[..., 0, 0] += per_frame
    transitions[..., 0, 1:] = -INF
    case = case.having(transitions=transitions, end=torch.tensor([-INF, 0.0, 0.0], dtype=torch.float64))
    expected = answers(as_chain(case, "torch"))
    for name, value in answers(as_chain(case, "numba")).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@on_every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_of_fewer_digits_are_read_as_they_are(backend: str, dtype: torch.dtype) -> None:
    case = long_case(4, [50, 20], 4)
    narrow = {name: values.to(dtype) for name, values in case.potentials.items()}
    dist = as_chain(case.having(**narrow), backend)
    exact = as_chain(case.having(**{name: values.double() for name, values in narrow.items()}), "torch")
    torch.testing.assert_close(dist.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(dist.marginals.labels.double(), exact.marginals.labels, rtol=0, atol=1e-5)
    assert torch.equal(dist.mode, exact.mode)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_operators_keep_their_promises_to_torch(dtype: torch.dtype) -> None:
    case = Case(chain_case(5, [5, 3], 6, 3, varying=True).padded(0, 0.0).potentials, torch.tensor([5, 3]))
    leaves = tuple(values.to(dtype).requires_grad_() for values in case.potentials.values())
    labels = torch.tensor([[0, -100, 2, 1, 1, -100], [2, 2, 0, -100, -100, -100]])
    ops = torch.ops.segcrf
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.chain_varying_log_partition, (*leaves, case.lengths), test_utils=tests)
    torch.library.opcheck(ops.chain_varying_max_product, (*leaves, case.lengths), test_utils=tests)
    for flag in (False, True):
        torch.library.opcheck(ops.chain_varying_sum_product, (*leaves, case.lengths, flag), test_utils=tests)
        torch.library.opcheck(ops.chain_varying_log_prob, (*leaves, labels, case.lengths, flag), test_utils=tests)


def test_labels_of_any_leading_shape_are_scored() -> None:
    case = long_case(6, [5, 3], 3)
    dist = as_chain(case)
    labels = dist.sample((2, 3))
    got = dist.log_prob(labels)
    assert got.shape == (2, 3, 2)
    each: list[Tensor] = [dist.log_prob(labels[i, j]) for i in range(2) for j in range(3)]
    torch.testing.assert_close(got.flatten(0, 1), torch.stack(each))
