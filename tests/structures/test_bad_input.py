"""Bad input to a structure: the fields of the error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segcrf import InputTypeError, LinearChain
from segcrf.testing.answers import on_every_backend
from segcrf.testing.errors import rejects

INF, NAN = float("inf"), float("nan")


def scores(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(*shape, dtype=dtype)


def having(values: Tensor, place: tuple[int, ...], value: float) -> Tensor:
    values = values.clone()
    values[place] = value
    return values


def of(
    emissions: Any = None, transitions: Any = None, start: Any = None, end: Any = None, lengths: Any = None
) -> LinearChain:
    """Two recordings of four frames and three classes, unless said otherwise."""
    emissions = scores(2, 4, 3) if emissions is None else emissions
    return LinearChain(emissions, scores(3, 3) if transitions is None else transitions, start, end, lengths)


TYPE = {"kind": InputTypeError}
# name: (call, the fields of its error)
BAD: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    # ---- shapes and types of scores
    "emissions as a list": (
        lambda: of([[0.0]]),
        {**TYPE, "argument": "emissions", "got": "list", "expected": "torch.Tensor", "advice": "torch.as_tensor"},
    ),
    "emissions without batch": (
        lambda: of(scores(4, 3)),
        {"argument": "emissions", "got": r"\(4, 3\)", "expected": r"\(B, T, C\)", "advice": r"emissions\[None\]"},
    ),
    "emissions of integers": (
        lambda: of(torch.zeros(2, 4, 3, dtype=torch.long)),
        {**TYPE, "argument": "emissions", "got": "torch.int64", "advice": r"\.float\(\)"},
    ),
    "emissions without values": (
        lambda: of(scores(2, 4, 3).to("meta")),
        {**TYPE, "argument": "emissions", "got": "without values"},
    ),
    "sparse emissions": (
        lambda: of(scores(2, 4, 3).to_sparse()),
        {**TYPE, "argument": "emissions", "got": "sparse", "expected": "dense"},
    ),
    "no recording": (
        lambda: of(scores(0, 4, 3)),
        {"argument": "emissions", "got": r"\(0, 4, 3\), without a frame", "advice": "drop empty recordings"},
    ),
    "no frame": (lambda: of(scores(2, 0, 3)), {"argument": "emissions", "got": r"\(2, 0, 3\), without a frame"}),
    "no class": (lambda: of(scores(2, 4, 0), scores(0, 0)), {"argument": "emissions", "got": r"\(2, 4, 0\)"}),
    "transitions of other classes": (
        lambda: of(transitions=scores(2, 2)),
        {"argument": "transitions", "got": r"\(2, 2\)", "expected": r"\(C, C\) = \(3, 3\)"},
    ),
    "transitions not square": (
        lambda: of(transitions=scores(3, 4)),
        {"argument": "transitions", "got": r"\(3, 4\)", "expected": r"\(3, 3\)"},
    ),
    "transitions of integers": (
        lambda: of(transitions=torch.eye(3, dtype=torch.long)),
        {**TYPE, "argument": "transitions", "got": "torch.int64"},
    ),
    "transitions as a list": (lambda: of(transitions=[[0.0]]), {**TYPE, "argument": "transitions", "got": "list"}),
    "start of other classes": (
        lambda: of(start=scores(4)),
        {"argument": "start", "got": r"\(4,\)", "expected": r"\(C,\) = \(3,\)"},
    ),
    "end of other classes": (
        lambda: of(end=scores(1, 3)),
        {"argument": "end", "got": r"\(1, 3\)", "expected": r"\(C,\) = \(3,\)"},
    ),
    # ---- values of scores
    "NaN in emissions": (
        lambda: of(having(scores(2, 4, 3), (1, 2, 0), NAN)),
        {
            "argument": "emissions",
            "recording": 1,
            "frame": 2,
            "got": "nan for class 0",
            "expected": "finite score or -inf",
            "advice": "look for NaN",
        },
    ),
    "+inf in emissions": (
        lambda: of(having(scores(2, 4, 3), (0, 3, 2), INF)),
        {"recording": 0, "frame": 3, "got": "inf for class 2"},
    ),
    "NaN at the last valid frame": (
        lambda: of(having(scores(2, 4, 3), (1, 2, 1), NAN), lengths=torch.tensor([4, 3])),
        {"recording": 1, "frame": 2, "got": "nan for class 1"},
    ),
    "NaN behind padding": (
        lambda: of(having(having(scores(2, 4, 3), (0, 3, 0), NAN), (1, 3, 2), INF), lengths=torch.tensor([3, 4])),
        {"recording": 1, "frame": 3, "got": "inf for class 2"},
    ),
    "NaN in transitions": (
        lambda: of(transitions=having(scores(3, 3), (2, 1), NAN)),
        {"argument": "transitions", "got": r"nan at transitions\[2, 1\]"},
    ),
    "+inf in start": (
        lambda: of(start=having(scores(3), (1,), INF)),
        {"argument": "start", "got": r"inf at start\[1\]"},
    ),
    "NaN in end": (lambda: of(end=having(scores(3), (2,), NAN)), {"argument": "end", "got": r"nan at end\[2\]"}),
    # ---- lengths
    "a length of zero": (
        lambda: of(lengths=torch.tensor([4, 0])),
        {"argument": "lengths", "recording": 1, "got": "^0$", "expected": "1 to T = 4", "advice": "drop empty"},
    ),
    "a negative length": (
        lambda: of(lengths=torch.tensor([-1, 4])),
        {"argument": "lengths", "recording": 0, "got": "-1"},
    ),
    "a length beyond the frames": (
        lambda: of(lengths=torch.tensor([4, 5])),
        {"argument": "lengths", "recording": 1, "got": "5", "advice": "pad"},
    ),
    "too few lengths": (
        lambda: of(lengths=torch.tensor([4])),
        {"argument": "lengths", "got": r"\(1,\)", "expected": r"\(B,\) = \(2,\)", "advice": "one length per recording"},
    ),
    "lengths of floats": (
        lambda: of(lengths=torch.tensor([4.0, 4.0])),
        {**TYPE, "argument": "lengths", "got": "torch.float32", "expected": "integers", "advice": r"\.long\(\)"},
    ),
    "a mask of booleans for lengths": (
        lambda: of(lengths=torch.ones(2, 4, dtype=torch.bool)),
        {**TYPE, "got": "torch.bool", "advice": r"mask.sum\(1\)"},
    ),
    "a mask of integers for lengths": (
        lambda: of(lengths=torch.ones(2, 4, dtype=torch.long)),
        {"got": r"\(2, 4\)", "advice": r"mask.sum\(1\)"},
    ),
    "lengths of booleans": (lambda: of(lengths=torch.tensor([True, True])), {**TYPE, "got": "torch.bool"}),
    # ---- labels
    "a label beyond the classes": (
        lambda: of().log_prob(torch.tensor([[0, 1, 2, 0], [0, 3, 0, 0]])),
        {
            "argument": "labels",
            "recording": 1,
            "frame": 1,
            "got": "3",
            "expected": "0 to 2, or -100",
            "advice": "renumber",
        },
    ),
    "a negative label": (
        lambda: of().log_prob(torch.tensor([[0, 0, 0, -1], [0, 0, 0, 0]])),
        {"recording": 0, "frame": 3, "got": "-1", "expected": "0 to 2"},
    ),
    "a bad label among samples": (
        lambda: of().log_prob(torch.stack([torch.zeros(2, 4).long(), torch.full((2, 4), 7)])),
        {"recording": 0, "frame": 0, "got": "7"},
    ),
    "labels of floats": (
        lambda: of().log_prob(scores(2, 4)),
        {**TYPE, "argument": "labels", "got": "torch.float32", "advice": r"\.long\(\)"},
    ),
    "labels of booleans": (
        lambda: of().log_prob(scores(2, 4) > 0),
        {**TYPE, "argument": "labels", "got": "torch.bool"},
    ),
    "labels as a list": (lambda: of().log_prob([[0] * 4] * 2), {**TYPE, "argument": "labels", "got": "list"}),
    "labels of fewer frames": (
        lambda: of().log_prob(torch.zeros(2, 3).long()),
        {"got": r"\(2, 3\)", "expected": r"\(..., 2, 4\)"},
    ),
    "labels of one recording": (
        lambda: of().log_prob(torch.zeros(4).long()),
        {"got": r"\(4,\)", "expected": r"\(..., 2, 4\)"},
    ),
    # ---- restrictions, queries and other distributions
    "allowed as numbers": (
        lambda: of().restrict(scores(2, 4, 3)),
        {**TYPE, "argument": "allowed", "got": "torch.float32", "expected": "boolean"},
    ),
    "allowed of another shape": (
        lambda: of().restrict(torch.ones(2, 4, dtype=torch.bool)),
        {"argument": "allowed", "got": r"\(2, 4\)", "expected": r"\(2, 4, 3\)"},
    ),
    "no best labelling": (lambda: of().topk(0), {"argument": "k", "got": "0", "expected": "1 or more"}),
    "a negative number of samples": (lambda: of().sample((-1,)), {"argument": "sample_shape", "got": "-1"}),
    "a factor below zero": (lambda: of().scaled(-1.0), {"argument": "factor", "got": "-1.0"}),
    "a factor of zero": (lambda: of().scaled(emissions=torch.tensor(0.0)), {"argument": "emissions", "got": "0.0"}),
    "replaced emissions of other classes": (
        lambda: of().replace(emissions=scores(2, 4, 30)),
        {"argument": "transitions", "got": r"\(3, 3\)", "expected": "C = 30"},
    ),
    "replaced lengths beyond the frames": (
        lambda: of().replace(lengths=torch.tensor([10**6, 4])),
        {"argument": "lengths", "recording": 0, "got": "1000000"},
    ),
    "an unknown potential": (lambda: of().replace(durations=scores(3, 2)), {"argument": "replace", "got": "durations"}),
    "an unknown backend": (
        lambda: LinearChain(scores(1, 1, 1), scores(1, 1), backend="gpu"),
        {"argument": "backend", "got": "'gpu'", "expected": "'auto', 'torch', 'numba'"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_rejected_by_name(name: str) -> None:
    call, fields = BAD[name]
    with rejects(**fields):
        call()


@pytest.mark.parametrize("device", ["meta"])
def test_scores_on_two_devices_are_rejected(device: str) -> None:
    with rejects("transitions", kind=InputTypeError):
        of(transitions=scores(3, 3).to(device))


def test_a_later_change_of_the_callers_lengths_changes_nothing() -> None:
    lengths = torch.tensor([4, 2])
    dist = of(torch.randn(2, 4, 3), lengths=lengths)
    expected = of(dist.emissions, lengths=torch.tensor([4, 2])).log_partition
    lengths.fill_(10**6)
    assert torch.equal(dist.log_partition, expected)


def test_what_torch_compile_does_to_distributions_does_not_silence_the_checks() -> None:
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # as torch.compile does, for the whole process
    try:
        with rejects("emissions", got="nan for class 0", recording=0, frame=0):
            LinearChain(torch.full((1, 2, 2), torch.nan), torch.zeros(2, 2))
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


# --------------------------------------------------------------------------------------------- what is not an error
def test_minus_infinity_and_garbage_in_the_padding_are_welcome() -> None:
    emissions = having(having(scores(2, 4, 3), (1, 3, 0), NAN), (1, 2, 1), INF)
    emissions[0, 0, 0] = -INF
    transitions, start = having(scores(3, 3), (0, 1), -INF), having(scores(3), (1,), -INF)
    dist = of(emissions, transitions, start, lengths=torch.tensor([4, 2]))
    assert dist.log_partition.isfinite().all()


def test_labels_in_the_padding_are_not_read() -> None:
    dist = of(lengths=torch.tensor([4, 2]))
    padded = torch.tensor([[0, 1, 2, 0], [0, 1, 77, -5]])
    clean = torch.tensor([[0, 1, 2, 0], [0, 1, -100, -100]])
    assert torch.equal(dist.log_prob(padded), dist.log_prob(clean))


# --------------------------------------------------------------------------------------------------- forbidden labels
STEP = having(scores(3, 3), (0, 1), -INF)
FORBIDDEN: dict[str, tuple[dict[str, Any], list[list[int]], dict[str, Any]]] = {
    "a transition": (
        {"transitions": STEP},
        [[0, 0, 2, 2], [2, 0, 1, 1]],
        {"recording": 1, "frame": 2, "got": "class 1 after class 0"},
    ),
    "a start": (
        {"start": having(scores(3), (2,), -INF)},
        [[0] * 4, [2, 2, 0, 0]],
        {"recording": 1, "frame": 0, "got": "class 2.*start"},
    ),
    "an end": (
        {"end": having(scores(3), (1,), -INF)},
        [[0, 0, 0, 1], [0] * 4],
        {"recording": 0, "frame": 3, "got": "class 1.*end"},
    ),
    "an emission": (
        {"emissions": having(scores(2, 4, 3), (1, 1, 2), -INF)},
        [[0] * 4, [0, 2, 0, 0]],
        {"recording": 1, "frame": 1, "got": "class 2 with an emission of -inf"},
    ),
    "the end of a shorter recording": (
        {"end": having(scores(3), (1,), -INF), "lengths": torch.tensor([4, 2])},
        [[0] * 4, [0, 1, 0, 0]],
        {"recording": 1, "frame": 1, "got": "class 1.*end"},
    ),
    "a gap that nothing can fill": (
        {"transitions": torch.eye(3).where(torch.eye(3) > 0, -INF)},
        [[0] * 4, [0, -100, 1, 1]],
        {"got": "without an allowed completion"},
    ),
}


@on_every_backend
@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_labels_name_the_first_frame_at_fault(name: str, backend: str) -> None:
    potentials, labels, fields = FORBIDDEN[name]
    arguments = {"emissions": scores(2, 4, 3), "transitions": scores(3, 3)} | potentials
    dist = LinearChain(**arguments, backend=backend)  # type: ignore[arg-type]
    with rejects("labels", **fields):
        dist.log_prob(torch.tensor(labels))
    with rejects("labels", **fields):
        dist.log_prob(torch.tensor([[[0] * 4, [0] * 4], labels]))


@on_every_backend
def test_a_recording_that_cannot_be_labelled_is_named(backend: str) -> None:
    # Class 0 leads only to itself, and a recording must start in 0 and end in 1.
    transitions = torch.eye(2).where(torch.eye(2) > 0, -INF)
    ends = torch.tensor([[0.0, -INF], [-INF, 0.0]])
    dist = LinearChain(scores(2, 3, 2), transitions, ends[0], ends[1], torch.tensor([3, 2]), backend=backend)
    for query in (lambda: dist.mode, lambda: dist.log_partition, dist.sample, dist.entropy, lambda: dist.marginals):
        with rejects("potentials", got="no allowed labelling of its 3 frames", advice="relax", recording=0):
            query()


@on_every_backend
def test_without_validation_nothing_is_rejected(backend: str) -> None:
    transitions = torch.full((2, 2), -INF)
    dist = LinearChain(scores(1, 3, 2), transitions, backend=backend, validate_args=False)
    assert dist.log_partition == -INF
    assert not dist.log_prob(torch.zeros(1, 3, dtype=torch.long)).isnan().any(), "NaN instead of -inf"
    assert not dist.marginals.labels.isnan().any()
