"""The operators of exported programs: in PyTorch, and as ONNX functions in onnxruntime, against enumeration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segcrf import LinearChain, SemiMarkov
from segcrf.inference.filter_operators import filtered, initial_state, lagged, run_filter
from segcrf.inference.onnx_functions import ONNX_FUNCTIONS, onnx_function
from segcrf.structures import survival
from segcrf.testing.cases import Case, chain_case, enumerated, enumerated_until, semi_markov_case

STRUCTURES = ("chain", "chain_varying", "semimarkov")
LENGTHS = [6, 1, 4, 3]
KINDS = {"int64": "INT64", "bool": "BOOL", "float64": "DOUBLE", "float32": "FLOAT"}


def random_case(structure: str, seed: int, *, ties: bool = True) -> Case:
    """Small recordings with garbage in the padding, half of them with forbidden scores."""
    kind, forbidden = ("normal", "ties", "extreme")[seed % 3], 0.3 * (seed > 2)
    if structure == "semimarkov":
        kind = kind if ties else kind.replace("ties", "wide")
        options = {"censored": seed % 2 == 0, "self_transitions": seed % 4 == 1}
        return semi_markov_case(seed, LENGTHS, 7, 3, 3, kind, forbidden, **options)
    return chain_case(seed, LENGTHS, 7, 3, kind, forbidden, varying="varying" in structure)


def make(case: Case) -> Any:
    kind = SemiMarkov if "durations" in case.potentials else LinearChain
    return kind(**case.potentials, lengths=case.lengths, **case.options)


def run_function(name: str, inputs: list[Tensor]) -> list[Tensor]:
    """An ONNX function by itself, in onnxruntime."""
    onnx = pytest.importorskip("onnx", reason="pip install 'segcrf[onnx]'")
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'segcrf[onnx]'")
    helper, function = onnx.helper, onnx_function(name)
    given = dict(zip(function.input, inputs, strict=True))
    outputs = [onnx.ValueInfoProto(name=each) for each in function.output]
    kinds = {k: getattr(onnx.TensorProto, KINDS[str(v.dtype).removeprefix("torch.")]) for k, v in given.items()}
    graph = helper.make_graph(
        [helper.make_node(name, list(function.input), list(function.output), domain=function.domain)],
        "one_call",
        [helper.make_tensor_value_info(k, kinds[k], list(v.shape)) for k, v in given.items()],
        outputs,
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(function.domain, 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(np.asarray(each)) for each in session.run(None, {k: v.numpy() for k, v in given.items()})]


def of_recording(values: Tensor, case: Case) -> list[Tensor]:
    return [row[:length] for row, length in zip(values, case.lengths.tolist(), strict=True)]


# ---------------------------------------------------------------------------------------------- whole recordings
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_onnx_finds_the_best_labelling_as_the_kernels_do(structure: str, seed: int) -> None:
    # Of equal segmentations the kernel may take another.
    dist = make(random_case(structure, seed, ties=False))
    got = run_function(f"{structure}_max_product", [*dist.potentials, dist.lengths])
    expected = getattr(torch.ops.segcrf, f"{structure}_max_product")(*dist.potentials, dist.lengths)
    for ours, kernel in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, kernel, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_onnx_marginals_are_those_of_all_labellings(structure: str, seed: int) -> None:
    case = random_case(structure, seed)
    dist = make(case)
    log_z, labels = run_function(f"{structure}_sum_product", [*dist.potentials, dist.lengths])
    for row, total, truth in zip(of_recording(labels, case), log_z, enumerated(case), strict=True):
        np.testing.assert_allclose(row, truth.label_marginals, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(total, truth.log_partition, rtol=1e-12, atol=1e-11)
    assert not labels[~case.valid].any()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_recording_without_any_labelling_has_none(structure: str) -> None:
    case = random_case(structure, 0)
    emissions = case.emissions.clone()
    emissions[0, 2] = -torch.inf
    case = case.having(emissions=emissions)
    kind = SemiMarkov if structure == "semimarkov" else LinearChain
    dist: Any = kind(**case.potentials, lengths=case.lengths, **case.options, validate_args=False)
    _, labels, starts = run_function(f"{structure}_max_product", [*dist.potentials, dist.lengths])
    assert (labels[0] == -100).all() and not starts[0].any() and (labels[2, :4] >= 0).all()
    log_z, shares = run_function(f"{structure}_sum_product", [*dist.potentials, dist.lengths])
    assert log_z[0] == -torch.inf and not shares[0].any() and shares[2, :4].sum() == pytest.approx(4.0)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_marginals_of_a_long_recording_keep_their_digits(structure: str) -> None:
    generator = torch.Generator().manual_seed(0)
    emissions = 30 * torch.randn(2, 4000, 3, generator=generator, dtype=torch.float64) + 1000
    zeros = torch.zeros(3, 3, dtype=torch.float64)  # without transitions the frames know nothing of each other
    if structure == "semimarkov":
        single = torch.tensor([[0.0, -torch.inf]]).double().expand(3, 2)
        dist: Any = SemiMarkov(emissions, zeros, single, self_transitions=True)
    else:
        dist = LinearChain(emissions, zeros if structure == "chain" else zeros.expand(2, 3999, 3, 3))
    _, labels = run_function(f"{structure}_sum_product", [*dist.potentials, dist.lengths])
    torch.testing.assert_close(labels, emissions.softmax(-1), rtol=0, atol=1e-9)


def test_probabilities_have_the_type_of_the_scores() -> None:
    dist = LinearChain(torch.randn(2, 5, 3), torch.randn(3, 3))
    _, labels = run_function("chain_sum_product", [*dist.potentials, dist.lengths])
    torch.testing.assert_close(labels, dist.marginals.labels)


# ------------------------------------------------------------------------------------------------------- filters
def onnx_filter(dist: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `run_filter` returns, by ONNX."""
    tables = list(dist.potentials[:2])
    if isinstance(dist, SemiMarkov):
        potentials = dist.potentials
        tables += [potentials.durations, potentials.tail, potentials.first]
        tables.append(survival(potentials.durations, potentials.tail))
    log_filtered, *following = run_function(f"{name_of(dist)}_filter", [*tables, *state])
    return log_filtered, tuple(following)


def name_of(dist: Any) -> str:
    if isinstance(dist, SemiMarkov):
        return "semimarkov"
    return "chain_varying" if dist.transitions.dim() == 4 else "chain"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_filters_know_what_is_known_by_then(structure: str, seed: int) -> None:
    case = with_tail_below_zero(random_case(structure, seed))
    dist = make(case)
    by_onnx, _ = onnx_filter(dist, initial_state(dist))
    for b, length in enumerate(case.lengths.tolist()):
        truth = np.stack([enumerated_until(case, b, t).label_marginals[t] for t in range(length)])
        for found in (filtered(dist), by_onnx.exp()):
            np.testing.assert_allclose(found[b, :length], truth, rtol=1e-9, atol=1e-12)
    assert not filtered(dist)[~case.valid].any()


@pytest.mark.parametrize("structure", ["chain", "semimarkov"])
def test_a_filter_goes_on_from_its_state(structure: str) -> None:
    dist = make(with_tail_below_zero(random_case(structure, 0)).padded(0, 0.0))
    whole, last = run_filter(dist, initial_state(dist))
    for run in (run_filter, onnx_filter):
        state, pieces = initial_state(dist), []
        for first, stop in ((0, 1), (1, 2), (2, 7)):
            lengths = torch.full((4,), stop - first)
            frames = dist.replace(emissions=dist.emissions[:, first:stop], lengths=lengths, **rest(dist))
            piece, state = run(frames, state)
            pieces.append(piece)
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
        for got, expected in zip(state, last, strict=True):
            torch.testing.assert_close(got, expected)


def rest(dist: Any) -> dict[str, Tensor]:
    """All potentials but the emissions, so that these may have another number of frames."""
    return {name: values for name, values in dist.potentials._asdict().items() if name != "emissions"}


def with_tail_below_zero(case: Case) -> Case:
    """A case whose survival converges."""
    return case.having(tail=case.potentials["tail"].clamp(max=-0.1)) if "tail" in case.potentials else case


@pytest.mark.parametrize("delay", [0, 1, 2, 9])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_delay_shows_as_many_later_frames(structure: str, seed: int, delay: int) -> None:
    case = with_tail_below_zero(random_case(structure, seed))
    dist = make(case)
    by_onnx = lagged(dist, delay) if delay == 0 else onnx_lag(dist, delay)  # a Scan needs an iteration
    for b, length in enumerate(case.lengths.tolist()):
        whole = enumerated(case)[b]
        for t in range(length):
            seen = enumerated_until(case, b, t + delay) if t + delay < length else whole
            for found in (lagged(dist, delay), by_onnx):
                np.testing.assert_allclose(found[b, t], seen.label_marginals[t], rtol=1e-9, atol=1e-12)
    assert not lagged(dist, delay)[~case.valid].any() and not by_onnx[~case.valid].any()


def onnx_lag(dist: Any, delay: int) -> Tensor:
    """What `lagged` returns, by ONNX."""
    if isinstance(dist, SemiMarkov):
        inputs = [*dist.potentials, survival(dist.durations, dist.tail), dist.lengths]
    else:
        emissions, transitions, _, end = dist.potentials
        inputs = [emissions, transitions, end, run_filter(dist, initial_state(dist))[0], dist.lengths]
    return run_function(f"{name_of(dist)}_lag", [*inputs, torch.tensor(delay)])[0]


def test_every_function_stands_for_an_operator() -> None:
    for name in ONNX_FUNCTIONS:
        declared = [each.name for each in getattr(torch.ops.segcrf, name).default._schema.arguments]
        fields = list(onnx_function(name).input)
        assert declared[: len(fields)] == fields, name
