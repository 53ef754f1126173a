"""Penalties and filters against their definitions, written out frame by frame, and what padding may not change."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from segcrf import baselines
from segcrf._validation import InputError, InputTypeError
from segcrf.testing.errors import rejects

PENALTIES = {
    "expected_switches": baselines.expected_switches,
    "total_variation": baselines.total_variation,
    "neighbour_kl": baselines.neighbour_kl,
    "truncated_mse": baselines.truncated_mse,
}
every_penalty = pytest.mark.parametrize("name", PENALTIES)
seeds = st.integers(0, 10_000)


# --------------------------------------------------------------------------------------------------------- penalties
def reference(name, logits, lengths):
    """Each penalty as its formula says, with a loop over frames."""
    total = 0.0
    for scores, length in zip(logits, lengths, strict=True):
        p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        for t in range(1, length):
            before, after = p[t - 1], p[t]
            total += {
                "expected_switches": lambda a=before, b=after: 1 - sum(a * b),
                "total_variation": lambda a=before, b=after: sum(abs(b - a)),
                "neighbour_kl": lambda a=before, b=after: sum(a * np.log(a / b)),
                "truncated_mse": lambda a=before, b=after: (
                    sum(np.minimum(abs(np.log(b) - np.log(a)), 4.0) ** 2) / len(a)
                ),
            }[name]()
    return total / sum(lengths)


@st.composite
def batches(draw):
    size, frames, classes = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    lengths = [draw(st.integers(1, frames)) for _ in range(size)]
    rng = np.random.default_rng(draw(seeds))
    return 3 * rng.standard_normal((size, frames, classes)), lengths


@every_penalty
@given(case=batches())
def test_a_penalty_is_its_definition(name, case):
    logits, lengths = case
    got = PENALTIES[name](torch.tensor(logits), torch.tensor(lengths))
    assert got.shape == ()
    assert got.item() == pytest.approx(reference(name, logits, lengths), abs=1e-12)


@every_penalty
@given(case=batches(), content=st.sampled_from([0.0, 1e30, math.inf, math.nan]))
def test_padding_changes_neither_value_nor_gradient(name, case, content):
    values, lengths = torch.tensor(case[0]), torch.tensor(case[1])
    beyond = torch.arange(values.shape[1]) >= lengths[:, None]
    plain = values.clone().requires_grad_()
    padded = functional.pad(values.masked_fill(beyond[..., None], content), (0, 0, 0, 2), value=content)
    padded.requires_grad_()
    results = [PENALTIES[name](logits, lengths) for logits in (plain, padded)]
    torch.testing.assert_close(*results)
    first, second = torch.autograd.grad(sum(results), [plain, padded])
    torch.testing.assert_close(second[:, : values.shape[1]], first)
    assert (first[beyond] == 0).all()
    assert (second[:, values.shape[1] :] == 0).all()


@every_penalty
@given(case=batches())
def test_a_batch_is_the_frame_weighted_mean_of_its_recordings(name, case):
    logits, lengths = torch.tensor(case[0]), case[1]
    alone = [PENALTIES[name](logits[i : i + 1, :n]) * n for i, n in enumerate(lengths)]
    torch.testing.assert_close(PENALTIES[name](logits, torch.tensor(lengths)), sum(alone) / sum(lengths))


@every_penalty
@given(case=batches(), shift=st.floats(-50, 50))
def test_a_constant_per_frame_changes_nothing(name, case, shift):
    logits, lengths = torch.tensor(case[0]), torch.tensor(case[1])
    moved = logits + shift * torch.arange(logits.shape[1])[:, None]
    torch.testing.assert_close(PENALTIES[name](moved, lengths), PENALTIES[name](logits, lengths))


@every_penalty
def test_a_single_frame_costs_nothing_and_can_be_trained_on(name):
    logits = torch.randn(2, 1, 3, requires_grad=True)
    cost = PENALTIES[name](logits)
    assert cost.item() == 0.0
    assert (torch.autograd.grad(cost, logits)[0] == 0).all()


def test_certain_classes_are_counted():
    labels = torch.tensor([[0, 0, 1, 1, 2, 0, 0, 0]])  # three switches in eight frames
    logits = 100.0 * functional.one_hot(labels).double()
    assert baselines.expected_switches(logits).item() == pytest.approx(3 / 8)
    assert baselines.total_variation(logits).item() == pytest.approx(2 * 3 / 8)
    # Two of three classes change by more than tau at each switch.
    assert baselines.truncated_mse(logits, tau=5.0).item() == pytest.approx(3 * 2 * 25 / (8 * 3))


@given(case=batches())
def test_truncated_mse_is_that_of_ms_tcn(case):
    p = torch.tensor(case[0]).transpose(1, 2)
    if p.shape[2] == 1:
        return
    loss = functional.mse_loss(p.log_softmax(1)[:, :, 1:], p.detach().log_softmax(1)[:, :, :-1], reduction="none")
    frames = p.shape[2]
    expected = loss.clamp(min=0, max=16).mean() * (frames - 1) / frames  # per frame here, per pair of frames there
    torch.testing.assert_close(baselines.truncated_mse(torch.tensor(case[0])), expected)


@pytest.mark.parametrize("name", ["neighbour_kl", "truncated_mse"])
def test_the_earlier_frame_is_a_target(name):
    logits = torch.randn(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gradient = torch.autograd.grad(PENALTIES[name](logits), logits)[0][0]
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


@pytest.mark.parametrize("name", ["expected_switches", "total_variation"])
def test_both_frames_are_trained(name):
    logits = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    lengths = torch.tensor([5, 3])
    assert torch.autograd.gradcheck(lambda scores: PENALTIES[name](scores, lengths), logits)


@every_penalty
@pytest.mark.parametrize(
    ("logits", "lengths", "kind"),
    [
        (torch.zeros(4, 3), None, InputError),
        (torch.zeros(1, 4, 3, dtype=torch.int64), None, InputTypeError),
        (torch.zeros(1, 4, 3), torch.tensor([5]), InputError),
        (torch.zeros(1, 4, 3), torch.tensor([2, 2]), InputError),
    ],
    ids=["shape", "integers", "too long", "two lengths"],
)
def test_scores_that_are_none(name, logits, lengths, kind):
    with rejects("emissions|lengths", kind=kind):
        PENALTIES[name](logits, lengths)


@st.composite
def batches_with_forbidden_classes(draw):
    (logits, lengths) = draw(batches())
    rng = np.random.default_rng(draw(seeds))
    forbidden = rng.random(logits.shape) < 0.4
    # One class of each frame stays allowed.
    np.put_along_axis(forbidden, rng.integers(0, logits.shape[2], (*logits.shape[:2], 1)), False, axis=2)
    return np.where(forbidden, -np.inf, logits), lengths


def reference_with_forbidden_classes(name, logits, lengths):
    """The formulas class by class, with what a probability of 0 means written out."""

    def divergence(a, b):
        return 0.0 if a == 0 else math.inf if b == 0 else a * math.log(a / b)

    def square(a, b):
        return 0.0 if a == b == 0 else 16.0 if 0 in (a, b) else min(abs(math.log(b) - math.log(a)), 4.0) ** 2

    total = 0.0
    for scores, length in zip(logits, lengths, strict=True):
        p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        for before, after in itertools.pairwise(p[:length]):
            total += {
                "expected_switches": lambda a=before, b=after: 1 - sum(a * b),
                "total_variation": lambda a=before, b=after: sum(abs(b - a)),
                "neighbour_kl": lambda a=before, b=after: sum(map(divergence, a, b)),
                "truncated_mse": lambda a=before, b=after: sum(map(square, a, b)) / len(a),
            }[name]()
    return total / sum(lengths)


@every_penalty
@given(case=batches_with_forbidden_classes())
def test_a_forbidden_class_has_the_probability_0(name, case):
    logits, lengths = torch.tensor(case[0], requires_grad=True), torch.tensor(case[1])
    cost = PENALTIES[name](logits, lengths)
    assert cost.item() == pytest.approx(reference_with_forbidden_classes(name, *case), abs=1e-12)
    assert torch.autograd.grad(cost, logits)[0].isfinite().all()


@every_penalty
def test_a_class_that_is_always_forbidden_changes_neither_value_nor_gradient(name):
    logits = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    fewer, more = logits.clone().requires_grad_(), functional.pad(logits, (0, 1), value=-math.inf).requires_grad_()
    costs = PENALTIES[name](fewer), PENALTIES[name](more)
    per_class = 4 / 3 if name == "truncated_mse" else 1.0  # which is a mean over classes
    torch.testing.assert_close(costs[1] * per_class, costs[0])
    grads = [torch.autograd.grad(cost, leaf)[0] for cost, leaf in zip(costs, (fewer, more), strict=True)]
    torch.testing.assert_close(grads[1][..., :3] * per_class, grads[0])
    assert (grads[1][..., 3] == 0).all()


def test_the_gradient_of_an_infinite_divergence_is_the_formula_s():
    # d KL(p || q) / d logits of q is q - p, whatever q forbids.
    logits = torch.tensor([[[0.3, -0.2, 1.0], [0.5, -math.inf, 0.1]]], dtype=torch.float64, requires_grad=True)
    cost = baselines.neighbour_kl(logits)
    assert cost.item() == math.inf
    p, q = logits.detach()[0].softmax(-1)
    torch.testing.assert_close(torch.autograd.grad(cost, logits)[0][0, 1], (q - p) / 2)


@every_penalty
def test_a_frame_without_any_class_is_named(name):
    logits = torch.zeros(2, 4, 3)
    logits[1, 2] = -math.inf
    with rejects("logits", got=r"-inf \(forbidden\) for every class", recording=1, frame=2):
        PENALTIES[name](logits)
    PENALTIES[name](logits, torch.tensor([4, 2]))  # padding may hold anything


@every_penalty
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_more(name, dtype):
    logits = (20 * torch.randn(1, 90_000, 2, generator=torch.Generator().manual_seed(3))).to(dtype)
    cost = PENALTIES[name](logits)
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost.double(), PENALTIES[name](logits.double()), rtol=1e-5, atol=0)


def test_tau_must_be_above_0():
    with rejects("tau", got="0"):
        baselines.truncated_mse(torch.zeros(1, 2, 2), tau=0)


# ----------------------------------------------------------------------------------------------------------- filters
labels = st.lists(st.sampled_from([-100, 0, 0, 1, 2]), max_size=16)


def scores(seed, frames, classes=3):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), frames)


@given(seeds, st.integers(1, 12), st.sampled_from([1, 3, 5, 9]))
def test_median_filter_is_its_definition(seed, frames, width):
    values, reach = scores(seed, frames), width // 2
    mirrored = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    expected = [np.median(mirrored[t : t + width], axis=0) for t in range(frames)]
    np.testing.assert_array_equal(baselines.median_filter([values], width)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_median_of_every_type_of_score_is_one_of_its_scores(dtype):
    values = torch.tensor(scores(0, 50)).log().to(dtype)
    values[3:7, 0] = -math.inf
    (got,) = baselines.median_filter([values], 5)
    (expected,) = baselines.median_filter([values.double()], 5)
    assert got.dtype == (np.float32 if dtype == torch.bfloat16 else values.numpy().dtype)
    np.testing.assert_array_equal(got.astype(np.float64), expected)
    assert (expected[4:6, 0] == -np.inf).all()


@given(labels, st.sampled_from([1, 3, 5, 21]))
def test_mode_filter_is_its_definition(own, width):
    expected, reach = [], width // 2
    for t, label in enumerate(own):
        votes = [v for v in own[max(t - reach, 0) : t + reach + 1] if v != -100]
        most = max(map(votes.count, votes), default=0)
        best = {v for v in votes if votes.count(v) == most}
        expected.append(label if label == -100 or label in best else min(best))
    assert baselines.mode_filter([own], width)[0].tolist() == expected


def bands(own):
    found, frame = [], 0
    for label, group in itertools.groupby(own):
        length = len(list(group))
        found.append([label, frame, frame + length])
        frame += length
    return found


def purged_slowly(own, minimum):
    """Remove the shortest band with a neighbour, the earliest of equals, until none is too short."""
    own = list(own)
    while True:
        runs = bands(own)
        neighbours = [
            [i for i in (place - 1, place + 1) if 0 <= i < len(runs) and runs[i][0] != -100]
            for place in range(len(runs))
        ]
        short = [
            (end - start, place)
            for place, (label, start, end) in enumerate(runs)
            if label != -100 and end - start < minimum and neighbours[place]
        ]
        if not short:
            return own
        length, place = min(short)
        _, start, end = runs[place]
        before, after = runs[neighbours[place][0]][0], runs[neighbours[place][-1]][0]
        middle = start + length // 2
        own[start:end] = [before] * (middle - start) + [after] * (end - middle)


@given(labels, st.integers(1, 6))
def test_purge_is_its_definition(own, minimum):
    assert baselines.purge([own], minimum)[0].tolist() == purged_slowly(own, minimum)


@given(labels, st.integers(1, 6))
def test_after_a_purge_only_bands_without_neighbours_are_short(own, minimum):
    (kept,) = baselines.purge([own], minimum)
    runs = bands(kept.tolist())
    for place, (label, start, end) in enumerate(runs):
        beside = [runs[i][0] for i in (place - 1, place + 1) if 0 <= i < len(runs)]
        assert label == -100 or end - start >= minimum or set(beside) <= {-100}
    assert [label == -100 for label in kept] == [label == -100 for label in own]
    np.testing.assert_array_equal(baselines.purge([kept], minimum)[0], kept)
    np.testing.assert_array_equal(baselines.purge([own], 1)[0], own)


def test_purge_to_the_frame():
    assert baselines.purge([[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]], 4)[0].tolist() == [1] * 6 + [2] * 4
    assert baselines.purge([[0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0]], 4)[0].tolist() == [0] * 11
    assert baselines.purge([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]], 4)[0].tolist() == [0] * 5 + [2] * 6
    assert baselines.purge([[1, -100, 0, 1, 1]], 2)[0].tolist() == [1, -100, 1, 1, 1]


@given(seeds, st.integers(1, 15), st.sampled_from([(0.5, 0.5), (0.6, 0.3), (0.9, 0.1), (0.0, 0.0), (1.0, 1.0)]))
def test_hysteresis_is_its_definition(seed, frames, thresholds):
    enter, leave = thresholds
    values = scores(seed, frames)
    expected = [int(values[0].argmax())]
    for row in values[1:]:
        present, best = expected[-1], int(row.argmax())
        expected.append(best if row[present] < leave and row[best] >= enter else present)
    assert baselines.hysteresis([values], enter, leave)[0].tolist() == expected


def test_hysteresis_at_equality():
    # A score of exactly `leave` stays, one of exactly `enter` may begin.
    values = np.array([[0.75, 0.25], [0.25, 0.75], [0.125, 0.875]])
    assert baselines.hysteresis([values], enter=0.75, leave=0.25)[0].tolist() == [0, 0, 1]
    assert baselines.hysteresis([values], enter=0.75, leave=0.26)[0].tolist() == [0, 1, 1]
    assert baselines.hysteresis([values], enter=0.875, leave=0.26)[0].tolist() == [0, 0, 1]


@given(seeds, st.integers(1, 20))
def test_hysteresis_at_its_limits(seed, frames):
    values = scores(seed, frames)
    best = values.argmax(1)
    assert (baselines.hysteresis([values], 2.0, 2.0)[0] == best[0]).all()  # nothing may be entered
    assert (baselines.hysteresis([values], 0.0, 0.0)[0] == best[0]).all()  # nothing may be left
    np.testing.assert_array_equal(baselines.hysteresis([np.eye(3)[best]], 1.0, 1.0)[0], best)


def best_path(log_scores, log_transitions, log_start):
    """The best of all labellings, each scored on its own."""
    frames, classes = log_scores.shape

    def score(path):
        steps = sum(log_transitions[a, b] for a, b in itertools.pairwise(path))
        return log_start[path[0]] + steps + sum(log_scores[t, c] for t, c in enumerate(path))

    return list(max(itertools.product(range(classes), repeat=frames), key=score))


@given(seeds, st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.1, 0.5, 0.9, 0.999]))
def test_hmm_filter_is_the_best_path(seed, frames, classes, stay):
    log_scores = np.log(scores(seed, frames, classes))
    switch = (1 - stay) / (classes - 1) if classes > 1 else 0
    log_transitions = np.log(np.where(np.eye(classes), stay, switch))
    expected = best_path(log_scores, log_transitions, np.zeros(classes))
    assert baselines.hmm_filter([log_scores], stay)[0].tolist() == expected


@pytest.mark.parametrize("seed", range(5))
def test_chains_answer_frame_by_frame_too(seed):
    rng = np.random.default_rng(seed)
    log_scores, stay = rng.normal(size=(5, 3)), 0.8
    transitions = np.log(np.where(np.eye(3) > 0, stay, (1 - stay) / 2))
    paths = list(itertools.product(range(3), repeat=5))
    switches = [sum(transitions[step] for step in itertools.pairwise(path)) for path in paths]
    weights = np.exp(np.add([sum(log_scores[range(5), path]) for path in paths], switches))
    posterior = [[weights[[p[t] == c for p in paths]].sum() for c in range(3)] for t in range(5)]
    assert baselines.hmm_filter([log_scores], stay, by_frame=True)[0].tolist() == np.argmax(posterior, 1).tolist()
    # Counts of nothing are transitions of a half each way, and a start that says nothing.
    counted = baselines.viterbi_counted([log_scores], [[0]], 1e9, by_frame=True)
    assert counted[0].tolist() == log_scores.argmax(1).tolist()


@given(seeds, st.integers(1, 12))
def test_an_hmm_that_stays_no_more_than_it_switches_is_the_argmax(seed, frames):
    values = scores(seed, frames, classes=4)
    np.testing.assert_array_equal(baselines.hmm_filter([np.log(values)], 0.25)[0], values.argmax(1))


@given(seeds, st.integers(1, 5), st.lists(labels, max_size=3), st.sampled_from([0.5, 1.0]))
def test_viterbi_counted_is_the_best_path_under_counts(seed, frames, training, pseudocount):
    log_scores = np.log(scores(seed, frames))
    counts, first = np.full((3, 3), pseudocount), np.full(3, pseudocount)
    for own in training:
        for a, b in itertools.pairwise(own):
            if a != -100 and b != -100:
                counts[a, b] += 1
        if own and own[0] != -100:
            first[own[0]] += 1
    log_transitions = np.log(counts / counts.sum(1, keepdims=True))
    expected = best_path(log_scores, log_transitions, np.log(first / first.sum()))
    assert baselines.viterbi_counted([log_scores], training, pseudocount)[0].tolist() == expected


FILTERS = {
    "median_filter": lambda own: baselines.median_filter(own, 3),
    "hysteresis": lambda own: baselines.hysteresis(own, 0.6, 0.4),
    "hmm_filter": lambda own: baselines.hmm_filter(own, 0.9),
    "viterbi_counted": lambda own: baselines.viterbi_counted(own, [[0, 0, 1, 2]]),
    "mode_filter": lambda own: baselines.mode_filter([s.argmax(1) for s in own], 3),
    "purge": lambda own: baselines.purge([s.argmax(1) for s in own], 3),
}
every_filter = pytest.mark.parametrize("run", FILTERS.values(), ids=FILTERS.keys())


@every_filter
@pytest.mark.filterwarnings("error")
def test_recordings_are_filtered_on_their_own_and_left_as_they_were(run):
    own = [scores(seed, frames) for seed, frames in enumerate((1, 7, 30))]
    own[2] = own[2][::-1]  # a view with negative strides
    own[1].flags.writeable = False
    before = [values.copy() for values in own]
    together = run(own)
    for values, saved, result in zip(own, before, together, strict=True):
        np.testing.assert_array_equal(values, saved)
        np.testing.assert_array_equal(run([values])[0], result)
        assert len(result) == len(values)
        assert result.dtype == np.int64 or result.shape == values.shape


@every_filter
def test_no_recording_is_no_error(run):
    assert run([]) == []


@every_filter
def test_tensors_are_welcome(run):
    own = [scores(seed, 9) for seed in range(2)]
    for tensors in ([torch.tensor(values) for values in own], torch.tensor(np.stack(own))):
        for got, expected in zip(run(tensors), run(own), strict=True):
            np.testing.assert_array_equal(got, expected)


@every_filter
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_welcome(run, dtype):
    own = [torch.tensor(scores(seed, 9)).to(dtype) for seed in range(2)]
    for got, expected in zip(run(own), run([values.double() for values in own]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_count_that_rounds_to_nothing_forbids_nothing():
    seen = [[0, 1] * 50]
    log_scores = np.array([[0.0, -np.inf], [0.0, -np.inf]])  # twice class 0, which was never seen in a row
    for pseudocount in (5e-324, 1e308):
        assert baselines.viterbi_counted([log_scores], seen, pseudocount)[0].tolist() == [0, 0]


def test_a_forbidden_score_is_a_score():
    log_scores = np.array([[0.0, -np.inf], [-9.0, 0.0], [0.0, -np.inf]])
    assert baselines.hmm_filter([log_scores], 0.999)[0].tolist() == [0, 0, 0]


FORBIDDEN = {"got": r"-inf \(forbidden\) for every class", "expected": "a finite score", "advice": "relax"}


@pytest.mark.parametrize(
    ("call", "argument", "fields"),
    [
        (lambda: baselines.median_filter([scores(0, 4)], 4), "width", {"got": "4", "expected": "odd", "advice": "5"}),
        (lambda: baselines.mode_filter([[0]], 0), "width", {"got": "0"}),
        (lambda: baselines.mode_filter([[0.5]], 3), "labels", {"recording": 0, "kind": InputTypeError}),
        (lambda: baselines.purge([[0]], 0), "min_duration", {"got": "0"}),
        (
            lambda: baselines.hysteresis([scores(0, 4)], 0.2, 0.4),
            "enter, leave",
            {"expected": "leave at or below enter", "advice": "swap"},
        ),
        (lambda: baselines.hmm_filter([scores(0, 4)], 1.0), "stay", {"got": "1.0"}),
        (lambda: baselines.hmm_filter([np.zeros(4)], 0.9), "log_scores", {"got": r"shape \(4,\)", "recording": 0}),
        (
            lambda: baselines.hmm_filter([np.zeros((4, 2), int)], 0.9),
            "log_scores",
            {"got": "int64", "recording": 0, "kind": InputTypeError},
        ),
        (lambda: baselines.hmm_filter([np.zeros((0, 2))], 0.9), "log_scores", {"expected": "not empty"}),
        (
            lambda: baselines.hmm_filter([np.zeros((4, 2)), np.array([[0, 0], [0, np.nan]])], 0.9),
            "log_scores",
            {"got": "nan for class 1", "recording": 1, "frame": 1},
        ),
        (
            lambda: baselines.hmm_filter([np.zeros((4, 2)), np.array([[0, 0], [-np.inf, -np.inf]])], 0.9),
            "log_scores",
            FORBIDDEN | {"recording": 1, "frame": 1},
        ),
        (
            lambda: baselines.viterbi_counted([np.zeros((4, 2)), np.full((3, 2), -np.inf)], [[0]], by_frame=True),
            "log_scores",
            FORBIDDEN | {"recording": 1, "frame": 0},
        ),
        (
            lambda: baselines.hysteresis([np.eye(2), np.eye(3)], 1, 0),
            "scores",
            {"expected": "2 classes", "recording": 1},
        ),
        (
            lambda: baselines.viterbi_counted([scores(0, 4)], [[0, 3]]),
            "training_labels",
            {"got": "3", "expected": "0 to 2", "recording": 0, "frame": 1},
        ),
        (lambda: baselines.viterbi_counted([scores(0, 4)], [[0]], 0.0), "pseudocount", {"got": "0.0"}),
    ],
)
def test_bad_input_is_named(call, argument, fields):
    with rejects(argument, **fields):
        call()
