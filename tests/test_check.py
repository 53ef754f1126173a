"""Bad input at the door of a structure: the type of error, and that its message names what to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from contract import on_every_backend
from torch import Tensor

from segcrf import LinearChain

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


# name: (call, type of error, parts of the message: where, got, expected, and what to do next)
BAD: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    # ---- shapes and types of scores
    "emissions as a list": (lambda: of([[0.0]]), TypeError, ("emissions", "torch.Tensor", "list", "torch.as_tensor")),
    "emissions without batch": (lambda: of(scores(4, 3)), ValueError, ("(B, T, C)", "(4, 3)", "emissions[None]")),
    "emissions of integers": (
        lambda: of(torch.zeros(2, 4, 3, dtype=torch.long)), TypeError, ("emissions", "torch.int64", ".float()"),
    ),
    "no recording": (lambda: of(scores(0, 4, 3)), ValueError, ("(0, 4, 3)", "no frame", "drop empty recordings")),
    "no frame": (lambda: of(scores(2, 0, 3)), ValueError, ("(2, 0, 3)", "no frame", "drop empty recordings")),
    "no class": (lambda: of(scores(2, 4, 0), scores(0, 0)), ValueError, ("(2, 4, 0)",)),
    "transitions of other classes": (
        lambda: of(transitions=scores(2, 2)), ValueError, ("transitions", "(C, C) = (3, 3)", "(2, 2)"),
    ),
    "transitions not square": (lambda: of(transitions=scores(3, 4)), ValueError, ("transitions", "(3, 3)", "(3, 4)")),
    "transitions of integers": (
        lambda: of(transitions=torch.eye(3, dtype=torch.long)), TypeError, ("transitions", "torch.int64", ".float()"),
    ),
    "transitions as a list": (lambda: of(transitions=[[0.0]]), TypeError, ("transitions", "list", "torch.as_tensor")),
    "start of other classes": (lambda: of(start=scores(4)), ValueError, ("start", "(C,) = (3,)", "(4,)")),
    "end of other classes": (lambda: of(end=scores(1, 3)), ValueError, ("end", "(C,) = (3,)", "(1, 3)")),
    "transitions elsewhere": (
        lambda: of(transitions=scores(3, 3).to("meta")), ValueError, ("transitions", "meta", "cpu", "one device"),
    ),
    # ---- values of scores
    "NaN in emissions": (
        lambda: of(having(scores(2, 4, 3), (1, 2, 0), NAN)), ValueError,
        ("recording 1, frame 2, class 0", "got nan", "finite score or -inf", "look for NaN"),
    ),
    "+inf in emissions": (
        lambda: of(having(scores(2, 4, 3), (0, 3, 2), INF)), ValueError, ("recording 0, frame 3, class 2", "got inf"),
    ),
    "NaN at the last valid frame": (
        lambda: of(having(scores(2, 4, 3), (1, 2, 1), NAN), lengths=torch.tensor([4, 3])), ValueError,
        ("recording 1, frame 2, class 1", "got nan"),
    ),
    "NaN behind padding": (
        lambda: of(having(having(scores(2, 4, 3), (0, 3, 0), NAN), (1, 3, 2), INF), lengths=torch.tensor([3, 4])),
        ValueError, ("recording 1, frame 3, class 2", "got inf"),
    ),
    "NaN in transitions": (
        lambda: of(transitions=having(scores(3, 3), (2, 1), NAN)), ValueError, ("transitions[2, 1]", "got nan"),
    ),
    "+inf in start": (lambda: of(start=having(scores(3), (1,), INF)), ValueError, ("start[1]", "got inf", "-inf")),
    "NaN in end": (lambda: of(end=having(scores(3), (2,), NAN)), ValueError, ("end[2]", "got nan")),
    # ---- lengths
    "a length of zero": (
        lambda: of(lengths=torch.tensor([4, 0])), ValueError, ("recording 1", "length 0", "1 to T = 4", "drop empty"),
    ),
    "a negative length": (
        lambda: of(lengths=torch.tensor([-1, 4])), ValueError,
        ("recording 0", "length -1", "1 to T = 4"),
    ),
    "a length beyond the frames": (
        lambda: of(lengths=torch.tensor([4, 5])), ValueError, ("recording 1", "length 5", "1 to T = 4", "pad"),
    ),
    "too few lengths": (
        lambda: of(lengths=torch.tensor([4])), ValueError,
        ("(B,) = (2,)", "(1,)", "one length per recording"),
    ),
    "lengths of floats": (
        lambda: of(lengths=torch.tensor([4.0, 4.0])), TypeError,
        ("lengths", "integers", "torch.float32", ".long()"),
    ),
    "a mask of booleans for lengths": (
        lambda: of(lengths=torch.ones(2, 4, dtype=torch.bool)), TypeError,
        ("lengths", "integers", "torch.bool", "for a mask use mask.sum(1)"),
    ),
    "a mask of integers for lengths": (
        lambda: of(lengths=torch.ones(2, 4, dtype=torch.long)), ValueError,
        ("lengths", "(B,) = (2,)", "(2, 4)", "for a mask use mask.sum(1)"),
    ),
    "lengths of booleans": (
        lambda: of(lengths=torch.tensor([True, True])), TypeError,
        ("lengths", "integers", "torch.bool"),
    ),
    # ---- labels
    "a label beyond the classes": (
        lambda: of().log_prob(torch.tensor([[0, 1, 2, 0], [0, 3, 0, 0]])), ValueError,
        ("recording 1, frame 1", "got 3", "0 to 2", "-100", "renumber"),
    ),
    "a negative label": (
        lambda: of().log_prob(torch.tensor([[0, 0, 0, -1], [0, 0, 0, 0]])), ValueError,
        ("recording 0, frame 3", "got -1", "0 to 2", "-100"),
    ),
    "a bad label among samples": (
        lambda: of().log_prob(torch.stack([torch.zeros(2, 4).long(), torch.full((2, 4), 7)])), ValueError,
        ("recording 0, frame 0", "got 7"),
    ),
    "labels of floats": (
        lambda: of().log_prob(scores(2, 4)), TypeError,
        ("labels", "integers", "torch.float32", ".long()"),
    ),
    "labels of booleans": (lambda: of().log_prob(scores(2, 4) > 0), TypeError, ("labels", "integers", "torch.bool")),
    "labels as a list": (lambda: of().log_prob([[0] * 4] * 2), TypeError, ("labels", "torch.Tensor", "list")),
    "labels of fewer frames": (
        lambda: of().log_prob(torch.zeros(2, 3).long()), ValueError, ("(..., B, T) = (..., 2, 4)", "(2, 3)"),
    ),
    "labels of one recording": (lambda: of().log_prob(torch.zeros(4).long()), ValueError, ("(..., 2, 4)", "(4,)")),
    # ---- restrictions and queries
    "allowed as numbers": (lambda: of().restrict(scores(2, 4, 3)), TypeError, ("allowed", "boolean", "torch.float32")),
    "allowed of another shape": (
        lambda: of().restrict(torch.ones(2, 4, dtype=torch.bool)), ValueError, ("(B, T, C) = (2, 4, 3)", "(2, 4)"),
    ),
    "no best labelling": (lambda: of().topk(0), ValueError, ("k must be at least 1", "got 0")),
    "an unknown backend": (
        lambda: LinearChain(scores(1, 1, 1), scores(1, 1), backend="gpu"), ValueError,
        ("backend: got 'gpu', expected one of 'auto', 'torch', 'numba'", "got 'gpu'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str) -> None:
    call, kind, parts = BAD[name]
    with pytest.raises(kind) as caught:
        call()
    assert caught.type is kind
    for part in parts:
        assert part in str(caught.value)


def test_what_torch_compile_does_to_distributions_does_not_silence_the_checks() -> None:
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # as torch.compile does, for the whole process
    try:
        with pytest.raises(ValueError, match="recording 0, frame 0, class 0: got nan"):
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
FORBIDDEN = {
    "a transition": (
        {"transitions": STEP}, [[0, 0, 2, 2], [2, 0, 1, 1]], r"recording 1 .* frame 2: got class 1 after class 0",
    ),
    "a start": (
        {"start": having(scores(3), (2,), -INF)}, [[0] * 4, [2, 2, 0, 0]],
        r"recording 1 .* frame 0: got class 2.*start",
    ),
    "an end": (
        {"end": having(scores(3), (1,), -INF)}, [[0, 0, 0, 1], [0] * 4], r"recording 0 .* frame 3: got class 1.*end",
    ),
    "an emission": (
        {"emissions": having(scores(2, 4, 3), (1, 1, 2), -INF)}, [[0] * 4, [0, 2, 0, 0]],
        r"recording 1 .* frame 1: got class 2, whose emission is -inf",
    ),
    "the end of a shorter recording": (
        {"end": having(scores(3), (1,), -INF), "lengths": torch.tensor([4, 2])}, [[0] * 4, [0, 1, 0, 0]],
        r"recording 1 .* frame 1: got class 1.*end",
    ),
    "a gap that nothing can fill": (
        {"transitions": torch.eye(3).where(torch.eye(3) > 0, -INF)}, [[0] * 4, [0, -100, 1, 1]],
        r"no completion of the labelled frames is allowed",
    ),
}  # fmt: skip


@on_every_backend
@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_labels_name_the_first_frame_at_fault(name: str, backend: str) -> None:
    potentials, labels, message = FORBIDDEN[name]
    arguments = {"emissions": scores(2, 4, 3), "transitions": scores(3, 3)} | potentials
    dist = LinearChain(**arguments, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        dist.log_prob(torch.tensor(labels))
    with pytest.raises(ValueError, match=message):
        dist.log_prob(torch.tensor([[[0] * 4, [0] * 4], labels]))


@on_every_backend
def test_a_recording_that_cannot_be_labelled_is_named(backend: str) -> None:
    # Class 0 leads only to itself, and a recording must start in 0 and end in 1.
    transitions = torch.eye(2).where(torch.eye(2) > 0, -INF)
    ends = torch.tensor([[0.0, -INF], [-INF, 0.0]])
    dist = LinearChain(scores(2, 3, 2), transitions, ends[0], ends[1], torch.tensor([3, 2]), backend=backend)
    for query in (lambda: dist.mode, lambda: dist.log_partition, dist.sample, dist.entropy, lambda: dist.marginals):
        with pytest.raises(ValueError, match=r"recording 0 \(3 frames\) has no labelling that is allowed: .*relax"):
            query()


@on_every_backend
def test_without_validation_nothing_is_refused(backend: str) -> None:
    transitions = torch.full((2, 2), -INF)
    dist = LinearChain(scores(1, 3, 2), transitions, backend=backend, validate_args=False)
    assert dist.log_partition == -INF
    assert not dist.log_prob(torch.zeros(1, 3, dtype=torch.long)).isnan().any(), "NaN instead of -inf"
    assert not dist.marginals.labels.isnan().any()
