"""Transition families: one contract over all of them, against enumeration and against their formulas in NumPy."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor, nn

from segcrf import LinearChain, LinearChainCRF, SemiMarkovCRF
from segcrf._validation import InputTypeError
from segcrf.nn import (
    TRANSITION_FAMILIES,
    ConstrainedTransitions,
    FullTransitions,
    InputDependentTransitions,
    IrregularTransitions,
    LowRankTransitions,
    PottsTransitions,
    Transitions,
    cycle,
    left_to_right,
)
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import Enumeration, chain, semi_markov

INF = math.inf
C, H, T = 3, 2, 5
LENGTHS = torch.tensor([5, 3, 1, 5])
BANNED = np.array([[False, False, True], [False, False, False], [False, True, False]])
Floats = Any


def array(values: Tensor) -> Floats:
    return values.detach().double().numpy()


def features(seed: int) -> Tensor:
    return torch.randn(len(LENGTHS), T, H, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def intervals(seed: int) -> Tensor:
    some = torch.tensor([0.02, 0.5, 1.0, 7.0, 300.0], dtype=torch.float64)
    return some[torch.randint(5, (len(LENGTHS), T - 1), generator=torch.Generator().manual_seed(seed))]


def jump_scores(family: IrregularTransitions, times: Floats) -> Floats:
    rates = np.exp(array(family.log_switching_rates))
    np.fill_diagonal(rates, 0.0)
    generator = rates - np.diag(rates.sum(1))
    with np.errstate(divide="ignore"):
        return np.log(np.stack([[expm(generator * time) for time in row] for row in times]))


def dependent_scores(family: InputDependentTransitions, values: Floats) -> Floats:
    scores = (values[:, 1:] @ array(family.weight.weight).T).reshape(*values[:, 1:].shape[:2], C, -1)
    if family.after is not None:
        scores = scores @ array(family.after).T
    return array(family.bias) + scores


def switch_scores(family: PottsTransitions) -> Floats:
    return np.where(np.eye(C, dtype=bool), 0.0, -array(family.switch_cost))


def low_rank_scores(family: LowRankTransitions) -> Floats:
    return array(family.before) @ array(family.after).T + np.diag(array(family.stay))


@dataclass(frozen=True)
class Family:
    """How to make a family, the formula of its scores, and the context it takes."""

    make: Callable[[], Transitions]
    formula: Callable[..., Floats]
    context: Callable[[int], Tensor] | None = None


def constrained(base: Transitions) -> ConstrainedTransitions:
    return ConstrainedTransitions(base, forbidden=[(0, 2)], required=[(2, 0)])


SHARED = {
    "full": Family(lambda: FullTransitions(C), lambda f: array(f.scores)),
    "potts": Family(lambda: PottsTransitions(C), switch_scores),
    "low_rank": Family(lambda: LowRankTransitions(C, 1), low_rank_scores),
    "constrained": Family(
        lambda: constrained(FullTransitions(C)), lambda f: np.where(BANNED, -INF, array(f.base.scores))
    ),
    "constrained_potts": Family(
        lambda: constrained(PottsTransitions(C)), lambda f: np.where(BANNED, -INF, switch_scores(f.base))
    ),
    "cycle": Family(
        lambda: cycle(C), lambda f: np.where(np.roll(np.eye(C), 1, 0).astype(bool), -INF, array(f.base.scores))
    ),
    "left_to_right": Family(
        lambda: left_to_right(C, max_skip=1),
        lambda f: np.where(np.tri(C, k=-1, dtype=bool), -INF, array(f.base.scores)),
    ),
}
OF_EVERY_STEP = {
    "input_dependent": Family(lambda: InputDependentTransitions(H, C), dependent_scores, features),
    "input_dependent_low_rank": Family(lambda: InputDependentTransitions(H, C, rank=1), dependent_scores, features),
    "irregular": Family(lambda: IrregularTransitions(C), jump_scores, intervals),
    "constrained_irregular": Family(
        lambda: constrained(IrregularTransitions(C)),
        lambda f, times: np.where(BANNED, -INF, jump_scores(f.base, times)),
        intervals,
    ),
}
ALL = SHARED | OF_EVERY_STEP
every_family = pytest.mark.parametrize("name", ALL)
on_every_backend = pytest.mark.parametrize("backend", ["torch", "numba"])


def layer(name: str, kind: str = "normal", backend: str = "auto") -> LinearChainCRF:
    """A layer in float64 with scores of the order of one, or far apart."""
    torch.manual_seed(len(name))
    crf = LinearChainCRF(C, transitions=ALL[name].make(), backend=backend).double()
    for parameter in crf.parameters():
        nn.init.normal_(parameter)
        if kind == "extreme" and "irregular" not in name:
            parameter.data *= 200
        elif kind == "extreme":
            parameter.data *= 3
    return crf


def emissions(kind: str) -> Tensor:
    """Scores (B, T, C): forbidden here and there, though not everywhere; garbage in the padding."""
    generator = torch.Generator().manual_seed(7)
    scores = torch.randn(len(LENGTHS), T, C, dtype=torch.float64, generator=generator)
    if kind == "extreme":
        scores *= 300
    if kind == "forbidden":
        scores[0, 1, 0] = scores[3, 2, 1] = scores[1, 2, 2] = -INF
    scores[torch.arange(T) >= LENGTHS[:, None]] = math.nan
    return scores


def given(name: str, seed: int = 0) -> dict[str, Tensor]:
    context = ALL[name].context
    return {} if context is None else {"context": context(seed)}


def truths(name: str, crf: LinearChainCRF, scores: Tensor) -> list[Enumeration]:
    """Enumerations of each recording with the family's formula."""
    table = ALL[name].formula(crf.transitions, *(array(values) for values in given(name).values()))
    found = []
    for b, length in enumerate(LENGTHS.tolist()):
        steps = table if table.ndim == 2 else table[b, : length - 1]
        found.append(chain(array(scores[b, :length]), steps, array(crf.start), array(crf.end)))
    return found


def close(got: Any, expected: Any, rtol: float = 1e-9, atol: float = 1e-8) -> None:
    got, expected = (
        value.detach().double() if torch.is_tensor(value) else torch.from_numpy(np.array(value, np.float64))
        for value in (got, expected)
    )
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


# -------------------------------------------------------------------------------------------------------- contract
@every_family
@pytest.mark.parametrize("kind", ["normal", "extreme"])
def test_scores_follow_their_formula(name: str, kind: str) -> None:
    family = layer(name, kind).transitions
    contexts = list(given(name).values())
    close(family(*contexts), ALL[name].formula(family, *(array(values) for values in contexts)))


@every_family
@on_every_backend
@pytest.mark.parametrize("kind", ["normal", "forbidden", "extreme"])
def test_every_answer_is_that_of_enumeration(name: str, backend: str, kind: str) -> None:
    crf, scores = layer(name, kind, backend), emissions(kind)
    dist = crf(scores, LENGTHS, **given(name))
    labels, best, marginals = dist.sample(generator=torch.Generator().manual_seed(0)), dist.best, dist.marginals
    likelihood = dist.log_prob(labels)
    for b, truth in enumerate(truths(name, crf, scores)):
        length = int(LENGTHS[b])
        close(dist.log_partition[b], truth.log_partition)
        close(likelihood[b], truth.log_prob(labels[b, :length].numpy()))
        close(best.score[b], truth.best_score)
        assert truth.scores[truth.agreeing(best.labels[b, :length].numpy())].max() >= truth.best_score - 1e-6
        close(marginals.labels[b, :length], truth.label_marginals)
        close(marginals.transitions[b], truth.expected_steps)
        close(marginals.starts[b, :length], truth.start_marginals)
        largest = max(1.0, float(np.abs(truth.scores[np.isfinite(truth.scores)]).max()))
        close(dist.entropy()[b], truth.entropy, atol=1e-9 * largest)


@every_family
@on_every_backend
def test_gradcheck(name: str, backend: str) -> None:
    crf = layer(name, backend=backend)
    scores = emissions("normal").nan_to_num(0.0).requires_grad_()
    context = {key: values.requires_grad_(key == "context" and "input" in name) for key, values in given(name).items()}
    names = [key for key, _ in crf.named_parameters()]
    labels = crf(scores, LENGTHS, **context).mode.clone()
    labels[0, 1] = -100

    def likelihood(*values: Tensor) -> Tensor:
        scores, *rest = values
        parameters = dict(zip(names, rest[: len(names)], strict=True))
        kwargs = {"context": rest[-1]} if len(rest) > len(names) else context
        dist: LinearChain = torch.func.functional_call(crf, parameters, (scores, LENGTHS), kwargs)
        return dist.log_prob(labels)

    inputs = [scores, *crf.parameters(), *(c for c in context.values() if c.requires_grad)]
    assert torch.autograd.gradcheck(likelihood, inputs)


@every_family
def test_gradients_are_the_same_in_every_run(name: str) -> None:
    grads = []
    for _ in range(2):
        crf = layer(name)
        dist = crf(emissions("normal"), LENGTHS, **given(name))
        (dist.log_prob(dist.mode).sum() + dist.entropy().sum()).backward()
        grads.append([p.grad for p in crf.parameters()])
    for first, second in zip(*grads, strict=True):
        assert first is not None and second is not None and torch.equal(first, second)


@every_family
def test_the_module_travels(name: str) -> None:
    crf = layer(name)
    twin = LinearChainCRF(C, transitions=ALL[name].make()).double()
    twin.load_state_dict(crf.state_dict())
    for other in (twin, copy.deepcopy(crf), pickle.loads(pickle.dumps(crf))):
        dist, same = (c(emissions("normal"), LENGTHS, **given(name)) for c in (crf, other))
        assert torch.equal(dist.log_partition, same.log_partition)
    assert type(crf.transitions).__name__ in repr(crf)


@every_family
def test_a_frozen_family_stays_and_the_rest_learns(name: str) -> None:
    crf = layer(name)
    for parameter in crf.transitions.parameters():
        parameter.requires_grad = False
    before = copy.deepcopy(crf.state_dict())
    labels = crf(emissions("normal"), LENGTHS, **given(name)).mode
    (-crf(emissions("normal"), LENGTHS, **given(name)).log_prob(labels)).sum().backward()
    torch.optim.SGD([p for p in crf.parameters() if p.requires_grad], lr=0.1).step()
    for key, values in crf.state_dict().items():
        assert torch.equal(values, before[key]) == key.startswith("transitions"), key


@every_family
def test_half_precision_around_the_layer_does_not_round_its_scores(name: str) -> None:
    crf = layer(name).float()
    context = {key: values.float() for key, values in given(name).items()}
    scores = emissions("normal").nan_to_num(0.0).float()
    exact = layer(name)(scores.double(), LENGTHS, **given(name)).log_partition
    with torch.autocast("cpu", torch.bfloat16):
        got = crf(scores, LENGTHS, **context).log_partition
    # Features go through a linear layer, which autocast rounds as any other of the network.
    torch.testing.assert_close(got.double(), exact, rtol=2e-2 if "input" in name else 1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["potts", "constrained", "low_rank", "input_dependent_low_rank", "irregular"])
def test_a_training_step_compiles_to_one_graph(name: str) -> None:
    crf = layer(name)
    scores, context = emissions("normal").nan_to_num(0.0), given(name)
    labels = torch.zeros(len(LENGTHS), T, dtype=torch.int64)

    def loss() -> Tensor:
        return -crf(scores, LENGTHS, **context).log_prob(labels).sum()

    torch._dynamo.reset()
    parameters = list(crf.parameters())
    expected = torch.autograd.grad(loss(), parameters)
    for got, value in zip(
        torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(), parameters),
        expected,
        strict=True,
    ):
        torch.testing.assert_close(got, value)


# ------------------------------------------------------------------------------------------------------ semi-Markov
@pytest.mark.parametrize("name", SHARED)
@on_every_backend
def test_between_bands_they_are_those_of_enumeration_too(name: str, backend: str) -> None:
    torch.manual_seed(0)
    crf = SemiMarkovCRF(C, 4, transitions=SHARED[name].make(), backend=backend).double()
    for parameter in crf.transitions.parameters():
        nn.init.normal_(parameter)
    scores, lengths = emissions("forbidden")[:2], LENGTHS[:2]
    dist = crf(scores, lengths)
    table, tail = (array(values) for values in crf.durations())
    steps = SHARED[name].formula(crf.transitions)
    for b, length in enumerate(lengths.tolist()):
        truth = semi_markov(array(scores[b, :length]), steps, table, tail, array(crf.start), array(crf.end))
        close(dist.log_partition[b], truth.log_partition)
        close(dist.best.score[b], truth.best_score)
        close(dist.marginals.transitions[b], truth.expected_steps)


@pytest.mark.parametrize("name", OF_EVERY_STEP)
def test_between_bands_there_are_no_scores_of_every_step(name: str) -> None:
    with rejects("transitions", got="scores every step", advice="take a LinearChainCRF", kind=InputTypeError):
        SemiMarkovCRF(C, 4, transitions=OF_EVERY_STEP[name].make())


# --------------------------------------------------------------------------------------------------------- by name
@pytest.mark.parametrize("name", [name for name in TRANSITION_FAMILIES if name != "full"])
def test_a_family_is_named(name: str) -> None:
    for crf in (LinearChainCRF(4, transitions=name), SemiMarkovCRF(4, 3, transitions=name)):
        assert type(crf.transitions) is type(TRANSITION_FAMILIES[name](4))


def test_the_default_keeps_its_parameters() -> None:
    for crf in (LinearChainCRF(3), LinearChainCRF(3, transitions="full")):
        assert {key: tuple(v.shape) for key, v in crf.state_dict().items()} == {
            "transitions": (3, 3), "start": (3,), "end": (3,)
        }  # fmt: skip
    torch.manual_seed(3)
    by_name, module = LinearChainCRF(3, transitions="full"), LinearChainCRF(3, transitions=FullTransitions(3))
    module.transitions.scores.data.copy_(by_name.transitions)
    module.start.data.copy_(by_name.start)
    module.end.data.copy_(by_name.end)
    scores = torch.randn(1, 6, 3)
    assert torch.equal(by_name(scores).log_partition, module(scores).log_partition)


def test_an_unknown_name_lists_those_that_are_known() -> None:
    with rejects("transitions", got="'banded'", expected="'full', 'potts', 'cycle', 'left_to_right'"):
        LinearChainCRF(3, transitions="banded")


def test_a_module_of_another_number_of_classes_is_rejected() -> None:
    with rejects("transitions", got="4 classes", expected="3 classes of the layer"):
        LinearChainCRF(3, transitions=PottsTransitions(4))


class Drifting(nn.Module):
    """A user's own transitions: the further apart two classes, the dearer."""

    def __init__(self) -> None:
        super().__init__()
        self.cost = nn.Parameter(torch.ones(()))

    def forward(self) -> Tensor:
        place = torch.arange(3.0)
        return -self.cost * (place[:, None] - place).abs()


def test_a_module_of_ones_own_is_a_family_too() -> None:
    crf = LinearChainCRF(3, transitions=Drifting())
    crf(torch.randn(1, 6, 3)).log_partition.sum().backward()
    assert crf.transitions.cost.grad is not None
    with rejects("transitions", got="Drifting", advice="set the parameters of your module", kind=InputTypeError):
        crf.init_from([torch.tensor([0, 1])])


# --------------------------------------------------------------------------------------------------------- context
def test_a_context_that_is_missing_or_not_wanted_is_named() -> None:
    scores = torch.zeros(1, 4, 3)
    with rejects("context", got="None", expected=r"features \(B, T, H\) for Input", kind=InputTypeError):
        LinearChainCRF(3, transitions=InputDependentTransitions(2, 3))(scores)
    with rejects("context", expected=r"intervals \(B, T - 1\) for Constrained", kind=InputTypeError):
        LinearChainCRF(3, transitions=constrained(IrregularTransitions(3)))(scores)
    for transitions in ("full", "potts"):
        with rejects("context", got="Tensor", expected="None", kind=InputTypeError):
            LinearChainCRF(3, transitions=transitions)(scores, context=torch.zeros(1, 3))


def test_a_context_of_the_wrong_kind_is_named() -> None:
    crf = LinearChainCRF(3, transitions=InputDependentTransitions(2, 3))
    with rejects("context", got=r"\(1, 4, 3\)", expected=r"features of shape \(B, T, H\) = \(B, T, 2\)"):
        crf(torch.zeros(1, 4, 3), context=torch.zeros(1, 4, 3))
    with rejects("transitions", expected=r"shape \(B, T - 1, C, C\) = \(1, 3, 3, 3\)"):
        crf(torch.zeros(1, 4, 3), context=torch.zeros(1, 5, 2))
    crf = LinearChainCRF(3, transitions=IrregularTransitions(3))
    for bad, value in ((-1.0, "-1"), (math.nan, "nan"), (INF, "inf")):
        times = torch.ones(2, 3)
        times[1, 2] = bad
        with rejects("context", got=f"{value} to frame 3", advice="pad with 0", recording=1, frame=2):
            crf(torch.zeros(2, 4, 3), context=times)
    with rejects("context", got="torch.int64", expected=r"intervals of shape \(B, T - 1\)"):
        crf(torch.zeros(2, 4, 3), context=torch.ones(2, 3, dtype=torch.int64))


# ----------------------------------------------------------------------------------------------------- constraints
def test_a_forbidden_pair_is_in_no_sample_no_mode_and_no_likelihood() -> None:
    crf = LinearChainCRF(C, transitions=constrained(FullTransitions(C)))
    dist = crf(5 * torch.randn(4, 200, C, generator=torch.Generator().manual_seed(0)))
    for labels in (dist.mode, *dist.sample((3,))):
        assert not BANNED[labels[:, :-1], labels[:, 1:]].any()
    assert not dist.marginals.transitions[:, torch.from_numpy(BANNED)].any()
    with pytest.raises(ValueError, match="frame 1: got class 2 after class 0"):
        crf(torch.zeros(1, 2, C)).log_prob(torch.tensor([[0, 2]]))


def test_stages_come_in_order_from_the_first_to_the_last() -> None:
    crf = LinearChainCRF(4, transitions="left_to_right")
    with torch.no_grad():
        crf.start[1:] = -INF
        crf.end[:-1] = -INF
    optimiser = torch.optim.Adam(crf.parameters(), lr=0.1)
    labels = torch.tensor([[0] * 8 + [1] * 5 + [2] * 3 + [3] * 4])
    scores = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        optimiser.zero_grad()
        (-crf(scores).log_prob(labels)).sum().backward()
        optimiser.step()
    assert (crf.start[1:] == -INF).all(), "what was forbidden stays so under an optimiser"
    mode = crf(scores).mode[0]
    assert mode[0] == 0 and mode[-1] == 3 and (mode.diff() >= 0).all() and (mode.diff() <= 1).all()


def test_skipping_is_bounded() -> None:
    upper = torch.ones(4, 4, dtype=torch.bool).triu()
    assert torch.equal(left_to_right(4, max_skip=1)().isfinite(), upper.tril(2))
    assert cycle(1)().isfinite().all() and left_to_right(1)().isfinite().all()


@pytest.mark.parametrize(
    ("forbidden", "required", "fields"),
    [
        ([(0, 3)], [], ("forbidden", r"^\(0, 3\)$", r"pairs \(from, to\) of classes 0 to 2")),
        ([], [(-1, 0)], ("required", r"^\(-1, 0\)$", "classes 0 to 2")),
        ([(0, 1)], [(0, 1)], ("forbidden", r"\(0, 1\), which is required too", "not required")),
        ([(1, 0), (1, 1), (1, 2)], [], ("forbidden", "no class that may follow class 1", "one follower")),
    ],
)
def test_constraints_that_contradict_are_rejected(forbidden: Any, required: Any, fields: tuple[str, str, str]) -> None:
    argument, got, expected = fields
    with rejects(argument, got=got, expected=expected):
        ConstrainedTransitions(FullTransitions(3), forbidden=forbidden, required=required)


# ------------------------------------------------------------------------------------------------ jumps over time
def test_two_short_steps_are_one_long_step() -> None:
    family = layer("irregular").transitions
    times = torch.tensor([[0.3, 2.0, 2.3]], dtype=torch.float64)
    first, second, both = family(times)[0].exp()
    close(first @ second, both, rtol=1e-12)
    close(family(times).exp().sum(-1), torch.ones(1, 3, 3), rtol=1e-12)
    close(family.generator.sum(1), torch.zeros(3), atol=1e-12)


def test_no_time_is_no_switch_and_rare_switches_keep_their_digits() -> None:
    family = IrregularTransitions(2).double()
    family.set_switching_rates(torch.tensor([[0.0, 1e-9], [1e-3, 0.0]], dtype=torch.float64))
    scores = family(torch.tensor([[0.0, 1e-6, 1e9]], dtype=torch.float64))[0]
    assert torch.equal(scores[0], torch.tensor([[0.0, -INF], [-INF, 0.0]], dtype=torch.float64))
    close(scores[1, 0, 1], math.log(1e-15), rtol=1e-9)
    close(scores[2, 0].exp(), torch.tensor([1e-3, 1e-9]) / (1e-3 + 1e-9), rtol=1e-6)


def test_gradients_stay_finite_where_a_switch_is_impossible() -> None:
    family = IrregularTransitions(3)
    family(torch.tensor([[0.0, 1e-12, 1e12]]))[0].clamp(min=-1e3).sum().backward()
    assert family.log_switching_rates.grad is not None and family.log_switching_rates.grad.isfinite().all()


def test_switching_rates_are_found_in_labels_with_their_times() -> None:
    generator = np.random.default_rng(0)
    rates = np.array([[0.0, 0.2, 0.05], [0.1, 0.0, 0.1], [0.3, 0.3, 0.0]])
    moves = rates - np.diag(rates.sum(1))
    times = generator.choice([0.05, 0.1, 0.3], size=60_000)
    tables = {time: expm(moves * time) for time in (0.05, 0.1, 0.3)}
    labels = [0]
    for time in times:
        labels.append(generator.choice(3, p=tables[time][labels[-1]]))
    crf = LinearChainCRF(3, transitions=IrregularTransitions(3))
    crf.init_from([torch.tensor(labels)], intervals=[torch.from_numpy(times)])
    close(crf.transitions.generator, moves, rtol=0.1, atol=0.01)


# ------------------------------------------------------------------------------------------------------- init_from
LABELS = [torch.tensor([0] * 30 + [1] * 20 + [2] * 10 + [0] * 40), torch.tensor([1] * 25 + [2] * 25 + [-100] + [0] * 9)]
COUNTS = np.array([[30 - 1 + 40 - 1 + 8, 1, 0], [0, 19 + 24, 2], [1, 0, 9 + 24]]) + 1.0
LOG_COUNTS = np.log(COUNTS / COUNTS.sum(1, keepdims=True))


def test_counted_labels_set_each_family() -> None:
    full = LinearChainCRF(3, transitions=FullTransitions(3)).init_from(LABELS).transitions
    close(full(), LOG_COUNTS, rtol=1e-6)
    close(LinearChainCRF(3).init_from(LABELS).transitions, LOG_COUNTS, rtol=1e-6)
    potts = LinearChainCRF(3, transitions="potts").init_from(LABELS).transitions
    switched = (COUNTS.sum() - np.trace(COUNTS)) / 2
    close(potts.switch_cost, np.log(np.trace(COUNTS) / switched), rtol=1e-6)
    wrapped = LinearChainCRF(3, transitions=constrained(FullTransitions(3))).init_from(LABELS).transitions
    close(wrapped(), np.where(BANNED, -INF, LOG_COUNTS), rtol=1e-6)
    dependent = LinearChainCRF(3, transitions=InputDependentTransitions(2, 3)).init_from(LABELS).transitions
    close(dependent(torch.randn(1, 2, 2))[0, 0], LOG_COUNTS, rtol=1e-6)
    exact = LinearChainCRF(3, transitions=LowRankTransitions(3, 3)).init_from(LABELS).transitions
    close(exact(), LOG_COUNTS, rtol=1e-5)


def test_a_low_rank_is_found_again() -> None:
    truth = LowRankTransitions(8, 2).double()
    scores = truth()
    scores = scores - scores.logsumexp(1, keepdim=True)  # rows of probabilities: rank 3
    family = LowRankTransitions(8, 3).double()
    family.set_counts(scores.detach().exp() * 1000)
    close(family(), scores, rtol=0, atol=1e-3)


def test_between_bands_a_switch_goes_to_any_other_class() -> None:
    crf = SemiMarkovCRF(3, 5, transitions="potts").init_from(LABELS)
    close(crf.transitions.switch_cost, math.log(2))


def test_labels_without_times_set_no_switching_rates() -> None:
    for family in (IrregularTransitions(3), constrained(IrregularTransitions(3))):
        crf = LinearChainCRF(3, transitions=family)
        with rejects("intervals", got="None", advice="give init_from intervals=", kind=InputTypeError):
            crf.init_from(LABELS)
        crf.init_from(LABELS, intervals=[torch.ones(len(labels) - 1) for labels in LABELS])
    with rejects("intervals", expected="None", advice="with IrregularTransitions", kind=InputTypeError):
        LinearChainCRF(3).init_from(LABELS, intervals=[torch.ones(len(labels) - 1) for labels in LABELS])
    with rejects("intervals", got=r"shape \(60,\)", expected=r"shape \(59,\).* 60 frames", recording=1):
        crf.init_from(LABELS, intervals=[torch.ones(99), torch.ones(60)])
    backwards = torch.ones(59)
    backwards[3] = -2.0
    with rejects("intervals", got="-2 to frame 4", recording=1, frame=3):
        crf.init_from(LABELS, intervals=[torch.ones(99), backwards])
    with rejects("intervals", got="1 recordings", expected="2 recordings"):
        crf.init_from(LABELS, intervals=[torch.ones(99)])


def test_a_class_without_labels_gets_no_score_that_is_not_a_number() -> None:
    for transitions in ("full", "potts", "cycle", LowRankTransitions(3, 2)):
        crf = LinearChainCRF(3, transitions=transitions).init_from(LABELS[:1], smoothing=0.0)
        assert not any(values.isnan().any() for values in crf.state_dict().values())
    never = LinearChainCRF(2, transitions="potts").init_from([torch.zeros(4, dtype=torch.long)], smoothing=0.0)
    assert torch.equal(never.transitions(), torch.tensor([[0.0, -INF], [-INF, 0.0]]))
    assert LinearChainCRF(1, transitions="potts").init_from([torch.zeros(4, dtype=torch.long)]).transitions().isfinite()


# -------------------------------------------------------------------------------------------------- emission scale
@pytest.mark.parametrize("make", [LinearChainCRF, lambda c, **k: SemiMarkovCRF(c, 4, **k)])
def test_a_scale_multiplies_the_emissions_and_is_learned(make: Any) -> None:
    crf = make(3, emission_scale=True)
    scores, lengths = emissions("forbidden").float()[:2], LENGTHS[:2]
    plain = make(3)
    plain.load_state_dict(crf.state_dict(), strict=False)
    assert torch.equal(crf(scores, lengths).log_partition, plain(scores, lengths).log_partition), "one at the start"
    with torch.no_grad():
        crf.log_emission_scale.fill_(math.log(2.5))
    torch.testing.assert_close(crf(scores, lengths).log_partition, plain(2.5 * scores, lengths).log_partition)
    crf(scores, lengths).log_partition.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in crf.parameters() if p.grad is not None)
    expected = (crf(scores, lengths).marginals.labels * 2.5 * scores.nan_to_num(0.0, 0.0, 0.0)).sum()
    torch.testing.assert_close(crf.log_emission_scale.grad, expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_scale_finds_how_far_an_encoder_exaggerates() -> None:
    torch.manual_seed(0)
    truth = LinearChainCRF(3, transitions="potts")
    with torch.no_grad():
        truth.transitions.switch_cost.fill_(2.0)
    honest = torch.randn(20, 200, 3)
    labels = truth(honest).sample(generator=torch.Generator().manual_seed(1))
    crf = LinearChainCRF(3, transitions="potts", emission_scale=True)
    optimiser = torch.optim.Adam(crf.parameters(), lr=0.1)
    for _ in range(120):
        optimiser.zero_grad()
        (-crf(4 * honest).log_prob(labels)).mean().backward()
        optimiser.step()
    assert crf.log_emission_scale.exp().item() == pytest.approx(0.25, rel=0.1)
    assert crf.transitions.switch_cost.item() == pytest.approx(2.0, abs=0.2)
