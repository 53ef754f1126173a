"""The modules: the layers, and CRF against pytorch-crf, the second oracle, call by call and error by error."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchcrf
from hypothesis import given
from torch import Tensor, nn

from segcrf import CRF, LinearChain, LinearChainCRF, SemiMarkovCRF
from segcrf._validation import InputTypeError
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import Enumeration, chain

REDUCTIONS = ["none", "sum", "mean", "token_mean"]
layouts = pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])

# pytorch-crf makes a mask of bytes where none is given, which torch now warns about at every frame.
pytestmark = pytest.mark.filterwarnings("ignore:where received a uint8 condition tensor")


# -------------------------------------------------------------------------------------------------- LinearChainCRF
def test_calling_the_module_gives_a_chain_of_its_parameters() -> None:
    crf = LinearChainCRF(3)
    emissions, lengths = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 2])
    dist = crf(emissions, lengths)
    assert isinstance(dist, LinearChain)
    by_hand = LinearChain(emissions, crf.transitions, crf.start, crf.end, lengths)
    assert torch.equal(dist.log_partition, by_hand.log_partition)
    shapes = {name: tuple(p.shape) for name, p in crf.named_parameters()}
    assert shapes == {"transitions": (3, 3), "start": (3,), "end": (3,)}
    assert repr(crf) == "LinearChainCRF(num_classes=3, transitions='full')"


def test_a_semi_markov_layer_shows_its_sizes_families_and_options() -> None:
    shown = repr(SemiMarkovCRF(3, 20, min_duration=[1, 2, 5], censored=True, emission_scale=True))
    assert "num_classes=3, max_duration=20, transitions='full', emission_scale=True, tail='geometric'" in shown
    assert "min_duration=[1, 2, 5], censored=True" in shown
    assert "LearnedDurations(num_classes=3, max_duration=20)" in shown
    assert "PottsTransitions" in repr(SemiMarkovCRF(3, 20, transitions="potts"))


def test_parameters_begin_small_and_not_equal() -> None:
    torch.manual_seed(0)
    crf = LinearChainCRF(20)
    for parameter in crf.parameters():
        assert parameter.abs().max() <= 0.1 and parameter.std() > 0.02 and parameter.requires_grad


def test_the_loss_teaches_every_parameter() -> None:
    crf = LinearChainCRF(3)
    emissions = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.randint(3, (4, 10), generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(crf.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = -crf(emissions).log_prob(labels).mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in (*crf.parameters(), emissions))
        optimiser.step()
        losses.append(loss.item())
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_the_module_travels() -> None:
    crf = LinearChainCRF(3, backend="torch")
    for twin in (copy.deepcopy(crf), pickle.loads(pickle.dumps(crf))):
        assert twin.backend == "torch" and torch.equal(twin.transitions, crf.transitions)
    other = LinearChainCRF(3)
    other.load_state_dict(crf.state_dict())
    assert torch.equal(other.end, crf.end)
    assert crf.double()(torch.zeros(1, 2, 3, dtype=torch.float64)).log_partition.dtype == torch.float64


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_module_needs_a_class(num_classes: int) -> None:
    with rejects("num_classes", got=str(num_classes), expected="an integer of 1 or more"):
        LinearChainCRF(num_classes)


def test_an_unknown_backend_is_rejected_when_the_module_is_made_or_called() -> None:
    with rejects("backend", got="'fast'", expected="one of 'auto', 'torch', 'numba'"):
        LinearChainCRF(2, backend="fast")(torch.zeros(1, 2, 2))


@pytest.mark.parametrize("make", [LinearChainCRF, lambda c, **options: SemiMarkovCRF(c, 4, **options)])
@pytest.mark.parametrize("options", [{}, {"emission_scale": True}, {"transitions": "potts"}])
def test_emissions_of_other_classes_are_rejected_with_both_numbers(make: Any, options: dict[str, Any]) -> None:
    with rejects("emissions", got="4 classes", expected="3 classes", advice="num_classes=4, or emit 3 scores"):
        make(3, **options)(torch.zeros(2, 5, 4))
    with rejects("emissions", got=r"\(5, 3\)", advice="add a batch axis"):
        make(3, **options)(torch.zeros(5, 3))


# ------------------------------------------------------------------------------------------------------- init_from
def test_init_from_counts_starts_ends_and_steps() -> None:
    labels = [torch.tensor([0, 0, 1, 1, 1]), torch.tensor([2, -100, 1, 0]), torch.tensor([-100, 2, 2])]
    crf = LinearChainCRF(3)
    assert crf.init_from(labels, smoothing=0.5) is crf
    steps = torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]) + 0.5
    torch.testing.assert_close(crf.transitions.exp(), steps / steps.sum(1, keepdim=True))
    torch.testing.assert_close(crf.start.exp(), torch.tensor([1.5, 0.5, 1.5]) / 3.5)
    torch.testing.assert_close(crf.end.exp(), torch.tensor([1.5, 1.5, 1.5]) / 4.5)
    assert all(p.requires_grad for p in crf.parameters())


def test_init_from_accepts_arrays_and_single_frames() -> None:
    crf = LinearChainCRF(2).init_from([np.array([0, 0, 1]), np.array([1], dtype=np.int32)])  # type: ignore[list-item]
    torch.testing.assert_close(crf.transitions.exp(), torch.tensor([[2, 2], [1, 1]]) / torch.tensor([[4.0], [2.0]]))
    torch.testing.assert_close(crf.start.exp(), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(crf.end.exp(), torch.tensor([1.0, 3.0]) / 4)


def test_init_from_gives_bands_as_long_as_the_data() -> None:
    crf = LinearChainCRF(2).init_from([torch.arange(40_000) // 50 % 2])
    stay = crf.transitions.diagonal().exp().double()
    torch.testing.assert_close(1 / (1 - stay), torch.full((2,), 50.0, dtype=torch.float64), rtol=0.1, atol=0)


def test_init_from_never_makes_a_score_that_is_not_a_number() -> None:
    # Class 1 never occurs: without smoothing its row would be 0 / 0.
    crf = LinearChainCRF(2)
    try:
        crf.init_from([torch.zeros(5, dtype=torch.long)], smoothing=0.0)
    except ValueError:
        return
    assert not any(p.isnan().any() for p in crf.parameters())


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ([torch.tensor([0, 3])], {"recording": 0, "frame": 1, "got": "^3$", "expected": "0 to 1"}),
        ([torch.tensor([0, 1]), torch.tensor([0, 1, -1])], {"recording": 1, "frame": 2, "got": "^-1$"}),
        ([torch.zeros(2, 2, dtype=torch.long)], {"recording": 0, "got": r"\(2, 2\)", "expected": r"\(T,\)"}),
        ([torch.zeros(0, dtype=torch.long)], {"recording": 0, "expected": "T >= 1"}),
    ],
)
def test_init_from_names_the_recording_at_fault(labels: list[Tensor], fields: dict[str, Any]) -> None:
    with rejects("labels", **fields):
        LinearChainCRF(2).init_from(labels)


def test_init_from_rejects_labels_of_float_type() -> None:
    with rejects("labels", got=r"torch\.float32", expected="integers", recording=0, kind=InputTypeError):
        LinearChainCRF(2).init_from([torch.tensor([0.0, 1.0])])


# ----------------------------------------------------------------------------------- CRF: equal to pytorch-crf
def pair(num_tags: int, batch_first: bool, seed: int = 0) -> tuple[CRF, torchcrf.CRF]:
    """Ours and theirs with the same parameters, exchanged through a state_dict; scores wide enough to matter."""
    torch.manual_seed(seed)
    theirs = torchcrf.CRF(num_tags, batch_first=batch_first)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours = CRF(num_tags, batch_first)
    ours.load_state_dict(theirs.state_dict())
    return ours.double(), theirs.double()


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None]:
    """Emissions, tags and a right-padded mask (or none), batch first."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_tags = draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    size = (len(lengths), max(lengths))
    emissions = torch.from_numpy(rng.normal(0, draw(st.sampled_from([1.0, 100.0])), (*size, num_tags)))
    tags = torch.from_numpy(rng.integers(num_tags, size=size))
    mask = torch.arange(size[1]) < torch.tensor(lengths)[:, None]
    dtype = draw(st.sampled_from([torch.bool, torch.uint8]))
    return emissions, tags, None if mask.all() and draw(st.booleans()) else mask.to(dtype)


def arranged(values: Tensor | None, batch_first: bool) -> Tensor | None:
    return values if values is None or batch_first else values.transpose(0, 1)


@layouts
@pytest.mark.parametrize("reduction", REDUCTIONS)
@given(batch=batches())
def test_the_likelihood_and_its_gradients_are_theirs(batch_first: bool, reduction: str, batch: Any) -> None:
    emissions, tags, mask = (arranged(values, batch_first) for values in batch)
    assert emissions is not None
    results = []
    for crf in pair(emissions.shape[-1], batch_first):
        leaf = emissions.detach().clone().requires_grad_()
        value = crf(leaf, tags, mask=mask, reduction=reduction)
        value.sum().backward()
        grads = {name: parameter.grad for name, parameter in crf.named_parameters()} | {"emissions": leaf.grad}
        # One frame has no transition: torch says None or zero, and an optimiser does the same with either.
        results.append((value.detach(), {name: torch.zeros(()) if g is None else g for name, g in grads.items()}))
    (value, grads), (expected, expected_grads) = results
    assert value.dtype == expected.dtype and value.shape == expected.shape
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    for name, gradient in expected_grads.items():
        got, gradient = torch.broadcast_tensors(grads[name].double(), gradient.double())
        torch.testing.assert_close(got, gradient, rtol=1e-9, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("num_tags", [256, 257])
def test_decoded_lists_are_the_mode_whatever_the_number_of_tags(num_tags: int) -> None:
    crf, emissions = CRF(num_tags, batch_first=True), 9.0 * torch.randn(2, 6, num_tags)
    emissions[0, 0, -1] = 99.0
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    modes = crf.dist(emissions, mask).mode.tolist()
    assert crf.decode(emissions, mask) == [modes[0], modes[1][:3]] and modes[0][0] == num_tags - 1


@layouts
@given(batch=batches())
def test_decoded_tags_are_theirs(batch_first: bool, batch: Any) -> None:
    emissions, _, mask = (arranged(values, batch_first) for values in batch)
    assert emissions is not None
    ours, theirs = pair(emissions.shape[-1], batch_first)
    got = ours.decode(emissions, mask)
    assert got == theirs.decode(emissions, mask)
    assert isinstance(got, list) and all(type(tag) is int for path in got for tag in path)


def test_construction_is_theirs() -> None:
    torch.manual_seed(7)
    theirs = torchcrf.CRF(4)
    torch.manual_seed(7)
    ours = CRF(4)
    assert (ours.num_tags, ours.batch_first, repr(ours)) == (theirs.num_tags, theirs.batch_first, repr(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, parameter in theirs.named_parameters():
        assert torch.equal(ours.get_parameter(name), parameter), f"{name} is drawn in another order"
    theirs.load_state_dict(CRF(4, batch_first=True).state_dict())
    torch.manual_seed(8)
    ours.reset_parameters()
    torch.manual_seed(8)
    theirs.reset_parameters()
    assert torch.equal(ours.transitions, theirs.transitions)


def test_defaults_are_theirs() -> None:
    ours, theirs = pair(3, batch_first=False)
    emissions = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tags = torch.randint(3, (5, 2), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(emissions, tags), theirs(emissions, tags))
    mask = torch.ones(5, 2, dtype=torch.uint8)
    torch.testing.assert_close(ours(emissions, tags, mask, "mean"), theirs(emissions, tags, mask, "mean"))
    assert ours.decode(emissions) == theirs.decode(emissions=emissions, mask=mask)


def test_second_derivatives_are_theirs() -> None:
    ours, theirs = pair(3, batch_first=True)
    emissions = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    hessians = []
    for crf in (ours, theirs):
        leaf = emissions.clone().requires_grad_()
        (first,) = torch.autograd.grad(crf(leaf, tags, mask), leaf, create_graph=True)
        hessians.append(torch.autograd.grad(first.square().sum(), [leaf, crf.transitions, crf.start_transitions]))
    for got, expected in zip(*hessians, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_of_results_are_theirs(dtype: torch.dtype) -> None:
    ours, theirs = (crf.float() for crf in pair(3, batch_first=True))
    emissions = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    tags = torch.zeros(2, 6, dtype=torch.long)
    value, expected = ours(emissions, tags), theirs(emissions, tags)
    assert value.dtype == expected.dtype
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    assert ours.decode(emissions) == theirs.decode(emissions)


# ------------------------------------------------------------------------------------ CRF: their errors, one by one
def outcome(call: Callable[[], Any]) -> tuple[type[BaseException] | None, str]:
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None, ""


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape)


def tags_of(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.long)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


OFF_FIRST = torch.tensor([[True, True], [True, False], [True, True]])
BAD_CALLS: dict[str, Callable[[Any], Any]] = {
    "emissions of two dimensions": lambda crf: crf(zeros(3, 2), tags_of(3, 2)),
    "emissions of four dimensions": lambda crf: crf(zeros(3, 2, 3, 1), tags_of(3, 2)),
    "emissions of other tags": lambda crf: crf(zeros(3, 2, 4), tags_of(3, 2)),
    "fewer frames of tags": lambda crf: crf(zeros(3, 2, 3), tags_of(2, 2)),
    "fewer sequences of tags": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 1)),
    "tags of three dimensions": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2, 3)),
    "mask of another shape": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2), ones(3, 1)),
    "mask of one dimension": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2), ones(3)),
    "first frame masked": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2), ~ones(3, 2)),
    "first frame of one sequence masked": lambda crf: crf(
        zeros(3, 2, 3) if not crf.batch_first else zeros(2, 3, 3),
        tags_of(3, 2) if not crf.batch_first else tags_of(2, 3),
        torch.tensor([[True, False], [True, True], [True, True]])
        if not crf.batch_first
        else torch.tensor([[True, True, True], [False, True, True]]),
    ),
    "unknown reduction": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2), reduction="average"),
    "two errors: the shape comes first": lambda crf: crf(zeros(3, 2, 4), tags_of(3, 2), reduction="average"),
    "a tag beyond the last": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2) + 3),
    "no tags": lambda crf: crf(zeros(3, 2, 3)),
    "an unknown argument": lambda crf: crf(zeros(3, 2, 3), tags_of(3, 2), lengths=None),
    "decode: emissions of two dimensions": lambda crf: crf.decode(zeros(3, 2)),
    "decode: emissions of other tags": lambda crf: crf.decode(zeros(3, 2, 4)),
    "decode: mask of another shape": lambda crf: crf.decode(zeros(3, 2, 3), ones(2, 2)),
    "decode: first frame masked": lambda crf: crf.decode(zeros(3, 2, 3), ~ones(3, 2)),
}


@layouts
@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_are_theirs(name: str, batch_first: bool) -> None:
    pair = CRF(3, batch_first), torchcrf.CRF(3, batch_first)
    ours, theirs = (outcome(lambda c=crf: BAD_CALLS[name](c)) for crf in pair)
    assert theirs[0] is not None
    assert ours[0] is theirs[0], f"{ours} instead of {theirs}"
    if theirs[0] is ValueError:
        assert ours[1].startswith(theirs[1]), "the message begins as theirs does"


@pytest.mark.parametrize("num_tags", [0, -3, 2.5, "3", None])
def test_errors_of_the_constructor_are_theirs(num_tags: Any) -> None:
    ours, theirs = outcome(lambda: CRF(num_tags)), outcome(lambda: torchcrf.CRF(num_tags))
    assert ours[0] is theirs[0] and theirs[0] is not None
    if theirs[0] is ValueError:
        assert ours[1] == theirs[1]


def test_a_wrong_tag_is_named() -> None:
    tags = tags_of(2, 3)
    tags[1, 2] = 7
    with pytest.raises(IndexError, match=r"tag of sequence 1, frame 2.*got 7, expected 0 to 2"):
        CRF(3, batch_first=True)(zeros(2, 3, 3), tags)
    tags[1, 2] = -1  # theirs reads tags from the end, as Python indices
    with pytest.raises(IndexError, match="got -1"):
        CRF(3, batch_first=True)(zeros(2, 3, 3), tags)


# ----------------------------------------------------------------- CRF: where pytorch-crf is wrong, against enumeration
def enumerated(crf: CRF, emissions: Tensor, on: Tensor) -> Enumeration:
    """One sequence (T, C), the frames left out that are off."""
    scores = (crf.transitions, crf.start_transitions, crf.end_transitions)
    return chain(emissions[on].numpy(), *(p.detach().numpy() for p in scores))


@layouts
@given(data=st.data())
def test_masks_with_holes_leave_frames_out(batch_first: bool, data: st.DataObject) -> None:
    emissions, tags, _ = data.draw(batches().filter(lambda b: b[0].shape[-1] ** b[0].shape[1] <= 20_000))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    mask = torch.from_numpy(rng.random(tags.shape) < 0.6)
    mask[:, 0] = True
    tags = torch.where(mask, tags, torch.from_numpy(rng.choice([-100, 99, -1], tags.shape)))
    unlabelled = torch.from_numpy(rng.random(tags.shape) < 0.2)
    tags = tags.masked_fill(unlabelled, -100)
    emissions = torch.where(mask[..., None], emissions, torch.nan)
    crf, _ = pair(emissions.shape[-1], batch_first)
    inputs = [arranged(values, batch_first) for values in (emissions, tags, mask)]
    likelihood, decoded = crf(*inputs, reduction="none"), crf.decode(inputs[0], inputs[2])
    total = crf(*inputs, reduction="token_mean")
    for b in range(len(tags)):
        truth = enumerated(crf, emissions[b], mask[b])
        expected = truth.log_prob(tags[b][mask[b]].numpy())
        assert likelihood[b].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert len(decoded[b]) == int(mask[b].sum())
        assert truth.score(np.array(decoded[b])) == pytest.approx(truth.best_score, rel=1e-12)
    torch.testing.assert_close(total, likelihood.sum() / mask.sum())


def test_a_distribution_asks_everything_else() -> None:
    crf, _ = pair(3, batch_first=False)
    emissions = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    dist = crf.dist(emissions, mask)
    assert isinstance(dist, LinearChain) and dist.lengths.tolist() == [3, 3]
    for b in range(2):
        truth = enumerated(crf, emissions[:, b], mask[:, b])
        torch.testing.assert_close(dist.marginals.labels[b, :3], torch.from_numpy(truth.label_marginals))
        assert dist.mode[b, :3].tolist() == crf.decode(emissions, mask)[b]


def test_inputs_are_left_alone() -> None:
    for batch_first in (False, True):
        crf, _ = pair(3, batch_first)
        for batch in (1, 3):
            shape = (batch, 5) if batch_first else (5, batch)
            emissions = torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            tags = torch.full(shape, -100)
            tags[0, 0] = 1
            mask = torch.ones(shape, dtype=torch.uint8)
            kept = [values.clone() for values in (emissions, tags, mask)]
            crf(emissions, tags, mask)
            crf.decode(emissions, mask)
            assert all(torch.equal(now, before) for now, before in zip((emissions, tags, mask), kept, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_rejected(value: float) -> None:
    emissions = zeros(2, 3, 3)
    emissions[1, 2, 0] = value
    with pytest.raises(ValueError, match="emissions of recording 1, frame 2"):
        CRF(3, batch_first=True)(emissions, tags_of(2, 3))
