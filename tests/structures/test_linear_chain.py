"""LinearChain: the contract of structures, decoding in the user's sense, long recordings, wide scores, threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from segcrf import LinearChain
from segcrf.testing.answers import answers, on_every_backend
from segcrf.testing.cases import Case, chain_case, chains
from segcrf.testing.structures import StructureContract

INF = math.inf


def in_between(value: float) -> Any:
    """A parameter between others that are tested always."""
    return pytest.param(value, marks=pytest.mark.slow)


def as_chain(case: Case, backend: str = "auto", **options: Any) -> LinearChain:
    return LinearChain(**case.potentials, lengths=case.lengths, backend=backend, **case.options, **options)


class TestLinearChain(StructureContract):
    cases = chains()

    def example(self) -> Case:
        case = chain_case(seed=3, lengths=(4, 3), num_frames=5, num_classes=3)
        transitions = case.potentials["transitions"].clone()
        transitions[0, 1] = -INF
        return case.having(transitions=transitions)

    def make(self, case: Case, backend: str, **options: Any) -> LinearChain:
        return as_chain(case, backend, **options)


# ------------------------------------------------------------------------------------------- potentials left out
@on_every_backend
@given(case=chains(kinds=["normal"]))
def test_start_and_end_are_zero_when_left_out(backend: str, case: Case) -> None:
    zero = torch.zeros(case.num_classes, dtype=torch.float64)
    case = case.having(start=zero, end=zero)
    left_out = LinearChain(case.emissions, case.potentials["transitions"], lengths=case.lengths, backend=backend)
    assert_same(left_out, as_chain(case, backend), exactly=True)


@on_every_backend
def test_lengths_are_all_frames_when_left_out(backend: str) -> None:
    case = chain_case(seed=1, lengths=(6, 6), num_frames=6, num_classes=3)
    assert_same(LinearChain(**case.potentials, backend=backend), as_chain(case, backend), exactly=True)
    assert_same(LinearChain(**case.potentials, lengths=[6, 6], backend=backend), as_chain(case, backend), exactly=True)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- decoding, as a user means it
@st.composite
def signals(draw: st.DrawFn, max_classes: int = 4, max_frames: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions (B, T, C), transitions (C, C) and lengths of a batch too long to be enumerated."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(1, max_classes))
    lengths = draw(st.lists(st.integers(1, max_frames), min_size=1, max_size=6))
    emissions = rng.normal(0.0, draw(st.sampled_from([0.3, 1.0, 5.0])), (len(lengths), max(lengths), classes))
    return torch.from_numpy(emissions), torch.from_numpy(rng.normal(size=(classes, classes))), torch.tensor(lengths)


def num_bands(labels: Tensor) -> Tensor:
    """Bands of each recording (B,), from labels (B, T) with -100 beyond its length."""
    switches = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] != -100)
    return 1 + switches.sum(1)


@on_every_backend
@given(batch=signals(), step=st.floats(0.01, 3.0))
def test_raising_the_cost_of_every_switch_never_gives_more_bands(backend: str, batch: Any, step: float) -> None:
    emissions, transitions, lengths = batch
    switch = 1 - torch.eye(len(transitions), dtype=torch.float64)
    bands = [
        num_bands(LinearChain(emissions, transitions - cost * step * switch, lengths=lengths, backend=backend).mode)
        for cost in range(6)
    ]
    for fewer, more in zip(bands[1:], bands[:-1], strict=True):
        assert (fewer <= more).all()


@on_every_backend
@given(batch=signals())
def test_no_labelling_beats_the_mode(backend: str, batch: Any) -> None:
    emissions, transitions, lengths = batch
    dist = LinearChain(emissions, transitions, lengths=lengths, backend=backend)
    best = dist.log_prob(dist.mode) + 1e-9
    assert (dist.log_prob(emissions.argmax(-1)) <= best).all()
    assert (dist.log_prob(dist.marginals.labels.argmax(-1)) <= best).all()
    assert (dist.log_prob(dist.sample((20,))) <= best).all()
    assert (dist.topk(3).score[1:] <= dist.best.score + 1e-9).all()


@on_every_backend
@given(batch=signals())
def test_without_transition_scores_frames_are_independent(backend: str, batch: Any) -> None:
    emissions, transitions, lengths = batch
    dist = LinearChain(emissions, torch.zeros_like(transitions), lengths=lengths, backend=backend)
    valid = torch.arange(emissions.shape[1]) < lengths[:, None]
    assert torch.equal(dist.mode[valid], emissions.argmax(-1)[valid])
    torch.testing.assert_close(dist.marginals.labels[valid], emissions.softmax(-1)[valid])
    torch.testing.assert_close(dist.log_partition, (emissions.logsumexp(-1) * valid).sum(1))


@on_every_backend
@given(batch=signals(), seed=st.integers(0, 2**32 - 1))
def test_emissions_beyond_the_range_of_the_transitions_decide(backend: str, batch: Any, seed: int) -> None:
    emissions, transitions, lengths = batch
    rng = np.random.default_rng(seed)
    path = torch.from_numpy(rng.integers(len(transitions), size=emissions.shape[:2]))
    # Forbid every step that no recording takes: what is left of the path is allowed.
    taken = torch.zeros_like(transitions, dtype=torch.bool)
    taken[path[:, :-1], path[:, 1:]] = True
    scale = 2 * (transitions.max() - transitions.min()) + 1
    emissions = torch.nn.functional.one_hot(path, len(transitions)).double() * scale
    dist = LinearChain(emissions, transitions.masked_fill(~taken, -INF), lengths=lengths, backend=backend)
    valid = torch.arange(emissions.shape[1]) < lengths[:, None]
    assert torch.equal(dist.mode[valid], path[valid])


@on_every_backend
def test_a_favoured_class_stays_favoured(backend: str) -> None:
    # Centring the emissions over time, as another library does, would decode this as anything but class 0.
    emissions = torch.zeros(1, 40, 3)
    emissions[:, :36, 0] = 3.0
    transitions = torch.eye(3) * 2
    dist = LinearChain(emissions, transitions, backend=backend)
    assert (dist.mode == 0).all()


@on_every_backend
def test_one_class_is_certain(backend: str) -> None:
    case = chain_case(seed=0, lengths=(7, 1, 3), num_frames=8, num_classes=1)
    dist = as_chain(case, backend)
    torch.testing.assert_close(dist.log_prob(dist.mode), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(dist.entropy(), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(dist.marginals.starts.sum((1, 2)), torch.ones(3, dtype=torch.float64))


# ------------------------------------------------------------------------------------------------ many and long
def ragged(seed: int, lengths: list[int], num_classes: int, scale: float = 1.0) -> Case:
    rng = np.random.default_rng(seed)
    potentials = {
        "emissions": scale * rng.normal(size=(len(lengths), max(lengths), num_classes)),
        "transitions": scale * rng.normal(size=(num_classes, num_classes)),
        "start": scale * rng.normal(size=num_classes),
        "end": scale * rng.normal(size=num_classes),
    }
    return Case({name: torch.from_numpy(values) for name, values in potentials.items()}, torch.tensor(lengths))


def varying(case: Case) -> Case:
    """The same case with its transitions given for every step, for which other kernels answer."""
    batch, frames, classes = case.emissions.shape
    return case.having(transitions=case.potentials["transitions"].expand(batch, frames - 1, classes, classes))


def assert_same(ours: LinearChain, reference: LinearChain, *, exactly: bool = False, atol: float = 1e-9) -> None:
    """The two give the same numbers; and the same labels, where the best labelling is unique."""
    expected = answers(reference)
    for name, value in answers(ours).items():
        assert value.isfinite().all(), name
        if exactly:
            assert torch.equal(value, expected[name]), name
        else:
            torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=atol, msg=lambda m, n=name: f"{n}: {m}")
    assert torch.equal(ours.mode, reference.mode)
    assert torch.equal(ours.best.starts, reference.best.starts)


def assert_same_gradients(case: Case, atol: float = 1e-9) -> None:
    """The kernels' gradients, of a partition and of partly unlabelled labels, are those of the reference scan."""
    labels = as_chain(case, "numba").mode
    labels[::3, ::2] = -100
    weights = torch.arange(1.0, len(labels) + 1, dtype=torch.float64)
    grads: list[dict[str, Tensor]] = []
    for backend in ("numba", "torch"):
        leaves = {name: values.clone().requires_grad_() for name, values in case.potentials.items()}
        dist = as_chain(case.having(**leaves), backend)
        (dist.log_prob(labels) * weights + dist.log_partition * weights.flip(0)).sum().backward()
        grads.append({name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None})
    for name, expected in grads[1].items():
        assert grads[0][name].isfinite().all(), name
        torch.testing.assert_close(grads[0][name], expected, rtol=1e-9, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def assert_same_alone(case: Case, atol: float = 1e-9) -> None:
    """The kernels say the same of a recording in a batch as by itself, though they go other ways."""
    together = answers(as_chain(case, "numba"))
    for b, length in enumerate(case.lengths.tolist()):
        for name, value in answers(as_chain(case.only(b), "numba")).items():
            got = together[name][b : b + 1]
            got = got[:, :length] if name in ("labels", "starts") else got
            torch.testing.assert_close(got, value, rtol=1e-9, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def test_recordings_that_cross_the_kernels_chunks() -> None:
    # The kernels keep 2^18 numbers at once: 512 frames of 16 recordings and 32 classes, 2621 of one with 100.
    many = ragged(0, [600, 1, 2, 511, 512, 513, 514, 515, 90, 88, 512, 513, 599, 99, 64, 65], num_classes=32)
    assert_same(as_chain(many, "numba"), as_chain(many, "torch"))
    assert_same_gradients(many)
    assert_same_alone(many)
    one = ragged(1, [2623], num_classes=100)
    assert_same(as_chain(one, "numba"), as_chain(one, "torch"))


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 5, 7, 8, 9, 17, 33])
@pytest.mark.parametrize("batch", [1, 3, 4, 19])
def test_any_number_of_recordings_and_classes(batch: int, num_classes: int) -> None:
    rng = np.random.default_rng(batch * 100 + num_classes)
    case = ragged(batch, rng.integers(1, 14, size=batch).tolist(), num_classes)
    assert_same(as_chain(case, "numba"), as_chain(case, "torch"))
    assert_same_gradients(case)


@pytest.mark.parametrize("num_frames", [1, 2, 1025, 70_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_chain_that_factorises_has_a_closed_form(num_frames: int, batch: int) -> None:
    # transitions[i, j] = entry[j] and start = entry: every frame is a softmax of its own.
    generator = torch.Generator().manual_seed(num_frames)
    emissions = 2 * torch.randn(batch, num_frames, 3, generator=generator, dtype=torch.float64)
    entry = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    dist = LinearChain(emissions, entry.expand(3, 3), entry, backend="numba")
    p = (emissions + entry).softmax(-1)
    close = {"rtol": 1e-11, "atol": 1e-9}
    torch.testing.assert_close(dist.log_partition, (emissions + entry).logsumexp(-1).sum(1), **close)
    torch.testing.assert_close(dist.marginals.labels, p, **close)
    torch.testing.assert_close(dist.marginals.transitions, torch.einsum("bti,btj->bij", p[:, :-1], p[:, 1:]), **close)
    torch.testing.assert_close(dist.marginals.starts[:, 1:], p[:, 1:] * (1 - p[:, :-1]), **close)
    assert torch.equal(dist.mode, (emissions + entry).argmax(-1))
    torch.testing.assert_close(dist.entropy(), -(p * p.log()).sum((1, 2)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [6, 1024, 65_536, 65_537, 140_000])
@pytest.mark.parametrize("batch", [1, 5])
def test_a_known_frame_cuts_a_recording_in_two(length: int, batch: int) -> None:
    # Given the class at a frame, what precedes is independent of what follows: two short recordings are one long one.
    case = ragged(15, [length - b % 2 for b in range(batch)], num_classes=3)
    cut = length // 2
    allowed = torch.ones(batch, length, 3, dtype=torch.bool)
    allowed[:, cut] = torch.tensor([False, True, False])
    whole = as_chain(case, "numba").restrict(allowed)
    emissions, transitions = case.emissions, case.potentials["transitions"]
    before = LinearChain(emissions[:, :cut], transitions, case.potentials["start"], transitions[:, 1])
    rest = case.lengths - cut - 1
    after = LinearChain(emissions[:, cut + 1 :], transitions, transitions[1], case.potentials["end"], rest)
    close = {"rtol": 1e-11, "atol": 1e-9}
    parts = before.log_partition + emissions[:, cut, 1] + after.log_partition
    torch.testing.assert_close(whole.log_partition, parts, **close)
    for name in ("labels", "starts"):
        got = [getattr(dist.marginals, name) for dist in (whole, before, after)]
        torch.testing.assert_close(got[0][:, :cut], got[1], **close)
        torch.testing.assert_close(got[0][:, cut + 2 :], got[2][:, 1:], **close)
    inner = before.marginals.transitions + after.marginals.transitions
    edge = torch.zeros(batch, 3, 3, dtype=torch.float64)
    edge[:, :, 1] += before.marginals.labels[:, -1]
    edge[:, 1] += after.marginals.labels[:, 0]
    torch.testing.assert_close(whole.marginals.transitions, inner + edge, rtol=1e-9, atol=1e-7)
    assert torch.equal(whole.mode[:, :cut], before.mode) and torch.equal(whole.mode[:, cut + 1 :], after.mode)
    assert (whole.mode[:, cut] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_million_frames_keep_their_digits(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    emissions = (2 * torch.randn(1, 1_000_000, 4, generator=generator)).to(dtype)
    transitions = torch.eye(4) * 4
    dist = LinearChain(emissions, transitions)
    exact = LinearChain(emissions.double(), transitions.double())
    labels = exact.mode
    assert torch.equal(dist.mode, labels)
    # The loss is a difference of two totals of about 6e6: it must not come out of their float32 rounding.
    torch.testing.assert_close(dist.log_prob(labels).double(), exact.log_prob(labels), rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(dist.marginals.labels.double(), exact.marginals.labels, rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------------------------ wide scores
@on_every_backend
@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_only_way_may_be_far_below_the_others(backend: str, batch: int) -> None:
    emissions = torch.zeros(batch, 3, 2, dtype=torch.float64)
    emissions[:, 1, 1] = -1000.0
    never = torch.tensor([[0.0, -INF], [-INF, 0.0]], dtype=torch.float64)
    dist = LinearChain(emissions, never, torch.tensor([-INF, 0.0], dtype=torch.float64), backend=backend)
    assert dist.log_partition.tolist() == [-1000.0] * batch


@pytest.mark.parametrize("per_step", [False, True])
def test_large_totals_leave_probabilities_their_digits(per_step: bool) -> None:
    case = ragged(2, [40, 7, 1], num_classes=3)
    case = varying(case) if per_step else case
    emissions = case.emissions.clone()
    emissions[..., 1] -= 300.0  # not for scaled probabilities
    small, large = (as_chain(case.having(emissions=e), "numba").marginals for e in (emissions, emissions + 2.0**36))
    for ours, theirs in zip(large, small, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # 2**36 leaves 1e-5 of a score
    assert large.labels.max() <= 1.0 + 1e-12


@pytest.mark.parametrize("span", [140.0, 149.999, 150.0, 150.001, 160.0, 700.0, 710.0, 1e4])
@pytest.mark.parametrize("place", ["emissions", "transitions", "start", "end"])
def test_scores_that_span_more_than_scaled_probabilities_hold(span: float, place: str) -> None:
    lengths = [30, 17, 1, 2, 30]
    case = ragged(1, lengths, num_classes=4)
    values = case.potentials[place].clone()
    values[..., 1] -= span
    case = case.having(**{place: values})
    # Class 1 costs ``span`` wherever it is entered, and one recording has nowhere else to go.
    allowed = torch.ones(5, 30, 4, dtype=torch.bool)
    allowed[4, 10:20] = torch.tensor([False, True, False, False])
    numba, torch_ = (as_chain(case, backend).restrict(allowed) for backend in ("numba", "torch"))
    assert_same(numba, torch_, atol=1e-5)
    assert_same_gradients(case, atol=1e-7)


@pytest.mark.parametrize("per_frame", [0.3, in_between(1.0), in_between(40.0), 149.0])
@pytest.mark.parametrize("by", ["end", "restrict"])
def test_a_rare_state_survives_until_it_is_the_only_one(per_frame: float, by: str) -> None:
    # Class 0 is ahead of the others by per_frame at each frame, cannot be left, and is forbidden at the end.
    case = ragged(2, [1300, 1300, 1024, 900, 1], num_classes=3)
    emissions, end = case.emissions.clone(), case.potentials["end"].clone()
    emissions[..., 0] += per_frame
    transitions = torch.tensor([[0.0, -INF, -INF], [-INF, 0.0, 1.0], [-INF, 1.0, 0.0]], dtype=torch.float64)
    if by == "end":
        end[0] = -INF
    else:
        emissions[torch.arange(5), case.lengths - 1, 0] = -INF
    case = case.having(emissions=emissions, transitions=transitions, end=end)
    numba = as_chain(case, "numba")
    assert_same(numba, as_chain(case, "torch"), atol=1e-5)
    assert_same_alone(case, atol=1e-5)
    assert not numba.marginals.labels[..., 0].any()
    assert_same(as_chain(varying(case), "numba"), as_chain(case, "torch"), atol=1e-5)


@pytest.mark.parametrize("per_frame", [0.3, in_between(1.0), in_between(40.0), 149.0])
def test_a_class_that_cannot_be_reached_does_not_disturb(per_frame: float) -> None:
    # Nothing leads to class 1, though it would score best from anywhere on: its backward score has no bound.
    case = ragged(3, [1300, 1299, 1024, 900, 1], num_classes=3)
    emissions, start = case.emissions.clone(), case.potentials["start"].clone()
    emissions[..., 1] += per_frame
    start[1] = -INF
    transitions = torch.tensor([[0.0, -INF, 1.0], [0.0, 0.0, 0.0], [1.0, -INF, 0.0]], dtype=torch.float64)
    case = case.having(emissions=emissions, transitions=transitions, start=start)
    assert_same(as_chain(case, "numba"), as_chain(case, "torch"), atol=1e-5)
    assert_same_alone(case, atol=1e-5)
    assert_same_gradients(case)
    assert_same(as_chain(varying(case), "numba"), as_chain(case, "torch"), atol=1e-5)


def test_left_to_right_bands_come_in_order() -> None:
    # 0 -> 1 -> 2 -> 3: each recording starts in 0 and has to reach 3, whatever the signal says.
    case = ragged(4, [1200, 4, 1025, 1100, 700], num_classes=4, scale=3.0)
    transitions = torch.full((4, 4), -INF, dtype=torch.float64)
    transitions[range(4), range(4)] = 0.0
    transitions[range(3), range(1, 4)] = -5.0
    only = torch.full((2, 4), -INF, dtype=torch.float64)
    only[0, 0] = only[1, 3] = 0.0
    case = case.having(transitions=transitions, start=only[0], end=only[1])
    numba = as_chain(case, "numba")
    assert_same(numba, as_chain(case, "torch"), atol=1e-6)
    assert_same_alone(case, atol=1e-6)
    torch.testing.assert_close(numba.marginals.starts.sum(1), torch.ones(5, 4, dtype=torch.float64))
    assert (num_bands(numba.mode) == 4).all()


def test_one_wide_recording_does_not_change_the_others() -> None:
    case = ragged(5, [40, 40, 40, 40], num_classes=3)
    wide = case.emissions.clone()
    wide[2, 7, 1] -= 1e4
    calm, mixed = answers(as_chain(case, "numba")), answers(as_chain(case.having(emissions=wide), "numba"))
    for name, value in calm.items():
        torch.testing.assert_close(mixed[name][[0, 1, 3]], value[[0, 1, 3]], rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------ types and memory layout
@on_every_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_frames", [50, pytest.param(1500, marks=pytest.mark.slow)])
def test_emissions_of_fewer_digits_are_read_as_they_are(backend: str, dtype: torch.dtype, num_frames: int) -> None:
    case = ragged(6, [num_frames, num_frames // 2], num_classes=4, scale=2.0)
    shared = {name: values.float() for name, values in case.potentials.items() if name != "emissions"}
    emissions = case.emissions.to(dtype).requires_grad_()
    dist = as_chain(case.having(emissions=emissions, **shared), backend)
    exact_emissions = emissions.detach().double().requires_grad_()
    exact = as_chain(
        case.having(emissions=exact_emissions, **{name: values.double() for name, values in shared.items()}), "numba"
    )
    assert dist.log_partition.dtype == dist.marginals.labels.dtype == dist.entropy().dtype == torch.float32
    torch.testing.assert_close(dist.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(dist.marginals.labels.double(), exact.marginals.labels, rtol=0, atol=1e-5)
    torch.testing.assert_close(dist.entropy().double(), exact.entropy(), rtol=1e-5, atol=1e-3)
    assert torch.equal(dist.mode, exact.mode)
    ours, theirs = dist.log_prob(dist.mode), exact.log_prob(exact.mode)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-3)
    ours.sum().backward()
    theirs.sum().backward()
    assert emissions.grad is not None and exact_emissions.grad is not None and emissions.grad.dtype == dtype
    # Autograd adds up the reference's gradient in the type of the emissions; a kernel rounds once, at the end.
    eps = torch.finfo(dtype).eps
    atol = 1e-5 if backend == "numba" else 1e-5 + eps
    torch.testing.assert_close(emissions.grad.double(), exact_emissions.grad, rtol=2 * eps, atol=atol)


@on_every_backend
def test_results_have_the_widest_type_of_the_potentials(backend: str) -> None:
    case = ragged(7, [5, 3], num_classes=2)
    for name in case.potentials:
        mixed = {key: values if key == name else values.float() for key, values in case.potentials.items()}
        for key, value in answers(as_chain(case.having(**mixed), backend)).items():
            assert value.dtype == torch.float64, f"{key} with {name} in float64"


@pytest.mark.parametrize("num_classes", [1, 3, 8, 11])
@pytest.mark.parametrize("batch", [2, 3, 5, 8, 17])
def test_emissions_with_time_first_are_read_where_they_lie(batch: int, num_classes: int) -> None:
    lengths = [90, 1, 33, *np.random.default_rng(batch).integers(1, 91, 14).tolist()][:batch]
    case = ragged(batch, lengths, num_classes)
    by_time = case.emissions.transpose(0, 1).contiguous().transpose(0, 1)
    assert not by_time.is_contiguous()
    labels = as_chain(case).sample(generator=torch.Generator().manual_seed(0))
    ours, same = (answers(as_chain(c, "numba"), labels) for c in (case.having(emissions=by_time), case))
    for name, value in same.items():  # sums over frames are PyTorch's, in an order of its own
        torch.testing.assert_close(ours[name], value, rtol=1e-13, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")
    scale = torch.full((batch, 1, 1), 200.0, dtype=torch.float64)  # some in log space
    scale[::2] = 1.0
    ours, same = (as_chain(case.having(emissions=e * scale), "numba") for e in (by_time, case.emissions))
    assert torch.equal(ours.marginals.labels, same.marginals.labels)


def test_long_emissions_with_time_first_are_done_from_both_ends() -> None:
    case = ragged(3, [17000, 16400], num_classes=3)
    by_time = case.emissions.transpose(0, 1).contiguous().transpose(0, 1)
    ours, same = (as_chain(c, "numba") for c in (case.having(emissions=by_time), case))
    assert torch.equal(ours.mode, same.mode)
    for value, expected in zip(ours.marginals, same.marginals, strict=True):
        assert torch.equal(value, expected)


@on_every_backend
def test_any_memory_layout(backend: str) -> None:
    case = ragged(8, [9, 9, 4], num_classes=3)
    scattered = case.having(
        emissions=case.emissions.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        transitions=case.potentials["transitions"].T.contiguous().T,
        start=torch.stack([case.potentials["start"]] * 2, 1)[:, 0],
    )
    assert not scattered.emissions.is_contiguous() and not scattered.potentials["start"].is_contiguous()
    assert_same(as_chain(scattered, backend), as_chain(case, backend), exactly=True)
    narrow = Case(case.potentials, case.lengths.int())
    assert_same(as_chain(narrow, backend), as_chain(case, backend), exactly=True)


@on_every_backend
@pytest.mark.parametrize("name", ["emissions", "transitions", "start", "end"])
def test_each_potential_can_be_the_only_one_with_a_gradient(backend: str, name: str) -> None:
    case = ragged(9, [6, 4], num_classes=3)
    leaf = case.potentials[name].clone().requires_grad_()
    case = case.having(**{name: leaf})
    labels = as_chain(case, backend).mode
    (alone,) = torch.autograd.grad(as_chain(case, backend).log_prob(labels).sum(), leaf)
    together = case.differentiable()
    as_chain(together, backend).log_prob(labels).sum().backward()
    torch.testing.assert_close(alone, together.potentials[name].grad)


@on_every_backend
def test_labels_of_any_leading_shape(backend: str) -> None:
    dist = as_chain(ragged(10, [5, 3], num_classes=3), backend)
    labels = dist.sample((2, 3))
    labels[1, 2, 0, 1] = -100
    got = dist.log_prob(labels)
    assert got.shape == (2, 3, 2)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(got[i, j], dist.log_prob(labels[i, j]))
    torch.testing.assert_close(dist.log_prob(labels.int()), got)


@on_every_backend
def test_unvalidated_forbidden_labels_have_no_probability(backend: str) -> None:
    case = ragged(11, [4, 4], num_classes=2)
    transitions = torch.tensor([[0.0, -INF], [0.0, 0.0]], dtype=torch.float64)
    dist = as_chain(case.having(transitions=transitions), backend, validate_args=False)
    got = dist.log_prob(torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]]))
    assert got[0] == -INF and got[1] > -INF


@on_every_backend
def test_where_nothing_is_allowed_nothing_has_a_gradient(backend: str) -> None:
    emissions = torch.zeros(2, 3, 2, dtype=torch.float64)
    emissions[0, 1] = -INF
    emissions.requires_grad_()
    transitions = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    dist = LinearChain(emissions, transitions, backend=backend, validate_args=False)
    total = dist.log_prob(torch.zeros(2, 3, dtype=torch.int64))
    assert total[0] == -INF
    torch.testing.assert_close(total[1].item(), -3 * math.log(2))
    counts, steps = torch.autograd.grad(total.sum(), (emissions, transitions))
    assert not counts[0].any()
    torch.testing.assert_close(steps, torch.tensor([[1.5, -0.5], [-0.5, -0.5]], dtype=torch.float64))
    best = dist.best
    assert best.score.tolist() == [-INF, 0.0] and best.labels[0].tolist() == [-100] * 3


@on_every_backend
def test_a_restriction_leaves_the_original_alone(backend: str) -> None:
    dist = as_chain(ragged(12, [6, 5], num_classes=3), backend)
    before = dist.log_partition.clone()
    allowed = torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    allowed[..., 0] = True
    narrower = dist.restrict(allowed)
    assert isinstance(narrower, LinearChain) and narrower.backend == dist.backend
    assert (narrower.log_partition <= before).all()
    assert torch.equal(dist.log_partition, before) and dist.emissions.isfinite().all()
    twice = narrower.restrict(allowed)
    assert torch.equal(twice.log_partition, narrower.log_partition)


@on_every_backend
def test_a_value_asked_without_gradients_first_still_has_one_later(backend: str) -> None:
    case = ragged(13, [5, 4], num_classes=3).differentiable()
    dist = as_chain(case, backend)
    with torch.no_grad():
        quiet = dist.log_partition.clone()
        dist.entropy()
    (dist.log_partition + dist.entropy()).sum().backward()
    assert case.emissions.grad is not None and case.emissions.grad.any()
    torch.testing.assert_close(dist.log_partition.detach(), quiet.detach())


# ------------------------------------------------------------------------------------------------------- threads
@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def everything(case: Case) -> dict[str, Tensor]:
    """Answers and gradients of a batch, on the kernels."""
    leaves = {name: values.clone().requires_grad_() for name, values in case.potentials.items()}
    dist = as_chain(case.having(**leaves), "numba")
    dist.log_prob(dist.mode).sum().backward()
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {key: value.detach() for key, value in (answers(dist) | gradients | {"mode": dist.mode}).items()}


@pytest.mark.parametrize(("batch", "num_classes"), [(16, 8), (7, 3), (2, 20), (1, 5)])
def test_the_number_of_threads_changes_no_bit(batch: int, num_classes: int) -> None:
    rng = np.random.default_rng(batch)
    case = ragged(14, [1200, *rng.integers(1, 1200, size=batch - 1).tolist()], num_classes)
    with torch_threads(1):
        alone = everything(case)
    with torch_threads(2):
        for _ in range(2):
            for name, value in everything(case).items():
                if name in ("log_count", "divergence"):
                    # Lanes, and with them the frames between two logarithms, depend on the number of threads, so that
                    # the last bit of a log partition may; of some scores, such as all zeros, it does.
                    torch.testing.assert_close(value, alone[name], rtol=1e-14, atol=1e-12, msg=name)
                else:
                    assert torch.equal(value, alone[name]), name


def test_many_python_threads_may_ask_at_once() -> None:
    cases = [ragged(seed, [300 + seed, 200, 100], num_classes=2 + seed % 4) for seed in range(8)]
    expected = [everything(case) for case in cases]
    with torch_threads(2), ThreadPoolExecutor(8) as pool:
        for got, alone in zip(pool.map(everything, cases * 3), expected * 3, strict=True):
            for name, value in got.items():
                assert torch.equal(value, alone[name]), name
