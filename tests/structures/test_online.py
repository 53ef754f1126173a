"""Online decoding: against enumeration and a slow beam of whole labellings, and against itself however it is cut."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from segcrf import InputError, InputTypeError, LinearChain, SemiMarkov, Structure
from segcrf.structures import Decided, OnlineDecoder, survival
from segcrf.testing.answers import make, tolerance
from segcrf.testing.cases import KINDS, Case, chain_case, chains, enumerated, enumerated_until, semi_markov_case
from segcrf.testing.cases import semi_markovs as any_semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import duration_score, log_survival

INF = np.inf


def with_survival(case: Case) -> Case:
    """The same case with tails below 0, so that the survival of a band is finite."""
    tail = case.potentials["tail"]
    return case.having(tail=torch.where(tail >= 0, -tail - 0.01, tail))


def semi_markovs(kinds: Any = KINDS) -> st.SearchStrategy[Case]:
    return any_semi_markovs(kinds=kinds).map(with_survival)


def any_cases(kinds: Any = KINDS) -> st.SearchStrategy[Case]:
    return st.one_of(chains(kinds=kinds, max_classes=3, max_frames=6), semi_markovs(kinds))


def decoded(case: Case, one_by_one: bool = True, **rule: Any) -> tuple[Decided, list[int]]:
    """What is decided of recording 0, and the frame at which each frame is decided; T is the end."""
    decoder = OnlineDecoder(make(case), **rule)
    length = int(case.lengths[0])
    emissions = case.emissions[:1, :length]
    pieces = emissions.split(1, 1) if one_by_one else [emissions]
    parts = [decoder.push(piece) for piece in pieces] + [decoder.finish()]
    times = [n for n, part in enumerate(parts) for _ in part.frame]
    return Decided(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), times


def posteriors(case: Case, times: list[int]) -> Any:
    """The posterior (T, C) of each frame at the moment of its decision, by enumeration."""
    length = int(case.lengths[0])
    truths = {n: enumerated_until(case, 0, n) if n < length else enumerated(case)[0] for n in set(times)}
    return np.stack([truths[n].label_marginals[t] for t, n in enumerate(times)])


# -------------------------------------------------------------------------------------------------- posterior decoding
@given(any_cases(), st.integers(0, 6))
def test_a_frame_is_decided_by_its_posterior_after_the_delay(case: Case, delay: int) -> None:
    case = case.only(0)
    length = int(case.lengths[0])
    got, times = decoded(case, by_frame=True, max_delay=delay)
    assert got.frame.tolist() == list(range(length)) and not got.stream.any()
    assert times == [min(t + delay, length) for t in range(length)]
    expected = posteriors(case, times)
    np.testing.assert_allclose(got.posterior, expected, rtol=0, atol=10 * tolerance(case))
    assert (got.label == got.posterior.argmax(1)).all()
    assert got.start.tolist() == [t == 0 or got.label[t] != got.label[t - 1] for t in range(length)]


@given(any_cases())
def test_without_a_delay_posterior_decoding_waits_for_the_end(case: Case) -> None:
    case = case.only(0)
    got, times = decoded(case, by_frame=True)
    assert set(times) == {int(case.lengths[0])}
    expected = make(case).double().marginals.labels[0].numpy()
    np.testing.assert_allclose(got.posterior, expected, rtol=0, atol=10 * tolerance(case))


@given(any_cases())
def test_what_is_known_so_far_is_that_of_enumeration(case: Case) -> None:
    case = case.only(0)
    decoder = OnlineDecoder(make(case))
    length = int(case.lengths[0])
    for t in range(length):
        flat = case.having(emissions=case.emissions.index_fill(1, torch.tensor([t]), 0.0))
        expected = enumerated_until(flat, 0, t)
        following = expected.label_marginals[t] if expected.feasible else 0.0
        np.testing.assert_allclose(decoder.following[0], following, rtol=0, atol=10 * tolerance(case))
        decoder.push(case.emissions[:, t : t + 1])
        filtered = enumerated_until(case, 0, t).label_marginals[t]
        np.testing.assert_allclose(decoder.filtered[0], filtered, rtol=0, atol=10 * tolerance(case))


# ---------------------------------------------------------------------------------------------- the best labelling
@given(any_cases())
def test_the_labels_are_those_of_the_mode_with_its_choice_among_equals(case: Case) -> None:
    case = case.only(0)
    dist = make(case)
    got, _ = decoded(case, one_by_one=False)
    assert got.label.tolist() == dist.mode[0].tolist()
    assert got.start.tolist() == dist.best.starts[0].tolist()


@dataclass(frozen=True)
class Hypothesis:
    """A labelling of the frames so far, the start of its running band, and its score without that band's duration."""

    score: float
    labels: tuple[int, ...]
    starts: tuple[bool, ...]
    begun: int

    def grown(self, label: int, start: bool, score: float) -> Hypothesis:
        t = len(self.labels)
        return Hypothesis(score, (*self.labels, label), (*self.starts, start), t if start else self.begun)


class SlowBeam:
    """The definition of online decoding by labellings: whole labellings are kept, and compared frame by frame."""

    def __init__(self, case: Case, max_delay: int | None) -> None:
        self.p = {name: values.double().numpy() for name, values in case.potentials.items()}
        self.max_delay, self.decided, self.kept = max_delay, 0, []
        self.bands = "durations" in self.p
        edges = case.options.get("censored", False)
        self.edge = log_survival if edges else duration_score

    def lasting(self, table: Any, h: Hypothesis, length: int = 0) -> float:
        """Score of the running band at the end of the frames so far, or of ``length`` frames."""
        c, duration = h.labels[-1], length or len(h.labels) - h.begun
        return table(self.p["durations"][c], float(self.p["tail"][c]), duration)

    def closed(self, h: Hypothesis) -> float:
        return h.score + self.lasting(self.edge if h.begun == 0 else duration_score, h) if self.bands else h.score

    def running(self, h: Hypothesis) -> float:
        return h.score + self.lasting(log_survival, h) if self.bands else h.score

    def ended(self, h: Hypothesis) -> float:
        end = self.p["end"][h.labels[-1]]
        return h.score + end + (self.lasting(self.edge, h) if self.bands else 0.0)

    def push(self, t: int) -> list[tuple[int, bool]]:
        """Take frame t; return the labels and starts that are decided."""
        e, steps = self.p["emissions"][0, t], self.p["transitions"]
        classes = range(len(e))
        grown: list[Hypothesis] = []
        for c in classes:
            if t == 0:
                grown.append(Hypothesis(self.p["start"][c] + e[c], (c,), (True,), 0))
                continue
            entering = [h for h in self.kept if h.labels[-1] != c or self.touching or not self.bands]
            best = max(entering, key=lambda h: self.closed(h) + steps[h.labels[-1], c], default=None)
            if best is not None:
                start = self.bands or best.labels[-1] != c
                grown.append(best.grown(c, start, self.closed(best) + steps[best.labels[-1], c] + e[c]))
            if self.bands:
                grown += [h.grown(c, False, h.score + e[c]) for h in self.kept if h.labels[-1] == c]
        self.kept = [h for h in (self.merged(grown) if self.bands else grown) if self.running(h) > -INF]
        if not self.kept:
            raise RuntimeError("nothing is allowed")
        if self.max_delay is not None and t + 1 - self.decided > self.max_delay:
            best = max(self.kept, key=self.running)
            self.kept = [h for h in self.kept if self.at(h, self.decided) == self.at(best, self.decided)]
        first = self.decided
        while self.decided <= t and len({self.at(h, self.decided) for h in self.kept}) == 1:
            self.decided += 1
        return [self.at(self.kept[0], k) for k in range(first, self.decided)]

    def finish(self) -> list[tuple[int, bool]]:
        best = max(self.kept, key=self.ended)
        if self.ended(best) == -INF:
            raise RuntimeError("nothing is allowed")
        return [self.at(best, k) for k in range(self.decided, len(best.labels))]

    @staticmethod
    def at(h: Hypothesis, k: int) -> tuple[int, bool]:
        return h.labels[k], h.starts[k]

    def merged(self, grown: list[Hypothesis]) -> list[Hypothesis]:
        """Drop what never wins: of bands older than K frames all but the best, and the first one if that is better."""
        longest = self.p["durations"].shape[1]
        kept = [h for h in grown if len(h.labels) - h.begun <= longest]
        for c in range(len(self.p["tail"])):
            old = [h for h in grown if len(h.labels) - h.begun > longest and h.labels[-1] == c]
            inner = sorted((h for h in old if h.begun), key=lambda h: -self.closed(h))[:1]
            kept += inner
            for h in old:
                if h.begun == 0 and not (inner and self.behind(h, inner[0])):
                    kept.append(h)
        return kept

    def behind(self, whole: Hypothesis, inner: Hypothesis) -> bool:
        """Whether the first band ends with a lower score than the other, in the middle and at the end."""
        ours = whole.score + self.lasting(self.edge, whole)
        theirs = inner.score + min(self.lasting(table, inner) for table in (duration_score, self.edge))
        return ours < theirs - 1e-6 * (1 + abs(ours))

    touching = True


@given(any_cases(kinds=("normal",)), st.one_of(st.none(), st.integers(1, 5)))
def test_frames_are_decided_when_the_labellings_agree_or_the_delay_is_over(case: Case, delay: int | None) -> None:
    case = case.only(0)
    beam = SlowBeam(case, delay)
    beam.touching = case.options.get("self_transitions", True)
    length = int(case.lengths[0])
    expected: list[list[tuple[int, bool]]] = []
    decoder = OnlineDecoder(make(case), max_delay=delay)
    times: list[int] = []
    rows: list[Any] = []
    for t in range(length + 1):
        scores = case.emissions[:, t : t + 1]  # empty at the end
        try:
            expected.append(beam.finish() if t == length else beam.push(t))
        except RuntimeError:
            with rejects("emissions", got="no allowed labelling", recording=0, frame=min(t, length - 1)):
                decoder.finish() if t == length else decoder.push(scores)
            return
        got = decoder.finish() if t == length else decoder.push(scores)
        assert list(zip(got.label.tolist(), got.start.tolist(), strict=True)) == expected[-1], (t, length)
        times += [t] * len(got.label)
        rows.append(got.posterior)
    np.testing.assert_allclose(np.concatenate(rows), posteriors(case, times), rtol=0, atol=10 * tolerance(case))


@given(any_cases(kinds=("normal", "ties")), st.booleans())
def test_the_running_band_is_that_of_the_last_frame(case: Case, by_frame: bool) -> None:
    case = case.only(0)
    decoder = OnlineDecoder(make(case), by_frame=by_frame)
    assert decoder.current.label.tolist() == [-1]
    length = int(case.lengths[0])
    decoder.push(case.emissions)
    truth = enumerated_until(case, 0, length - 1)
    label, start = (int(column[0]) for column in decoder.current)
    if by_frame:
        labels = truth.label_marginals.argmax(1)
        gaps = np.sort(truth.label_marginals, 1)
        assume(truth.label_marginals.shape[1] == 1 or (gaps[:, -1] - gaps[:, -2]).min() > 1e-9)
        changes = np.flatnonzero(np.diff(labels))
        assert (label, start) == (labels[-1], changes[-1] + 1 if len(changes) else 0)
    else:
        best = truth.scores >= truth.scores.max() - 1e-9
        drawn = truth.labels[best], truth.starts[best]
        bands = [(row[-1], np.flatnonzero(begun)[-1]) for row, begun in zip(*drawn, strict=True)]
        assert (label, start) in bands


# ------------------------------------------------------------------------------------------------ however it is cut
def chain_dist(classes: int, ties: bool) -> Structure:
    case = chain_case(3, [1], 1, classes, "ties" if ties else "normal", 0.2)
    return make(case)


def semi_markov_dist(classes: int, ties: bool, **options: bool) -> Structure:
    case = semi_markov_case(5, [1], 1, classes, 4, "ties" if ties else "normal", 0.1, **options)
    case = with_survival(case)
    return make(case)


class Cut(RuleBasedStateMachine):
    """Streams in random pieces, with empty and bad calls, saved and loaded, against each recording at once."""

    @initialize(
        semi=st.booleans(),
        ties=st.booleans(),
        by_frame=st.booleans(),
        delay=st.one_of(st.none(), st.integers(1, 6)),
        streams=st.integers(1, 3),
        censored=st.booleans(),
        touching=st.booleans(),
    )
    def begin(
        self, semi: bool, ties: bool, by_frame: bool, delay: int | None, streams: int, censored: bool, touching: bool
    ) -> None:
        options = {"censored": censored, "self_transitions": touching}
        dist = semi_markov_dist(3, ties, **options) if semi else chain_dist(3, ties)
        # Every step is possible, so that an early decision leaves one allowed.
        self.dist = dist.replace(transitions=dist.potentials.transitions.nan_to_num(neginf=-2.0))
        self.rule = {"by_frame": by_frame, "max_delay": delay}
        self.decoder = OnlineDecoder(self.dist, streams=streams, **self.rule)
        self.ties, self.streams = ties, streams
        self.pushed = [np.empty((0, 3)) for _ in range(streams)]
        self.got: list[list[Any]] = [[] for _ in range(streams)]

    def note(self, decided: Decided, ended: bool = False) -> None:
        assert (np.diff(decided.stream) >= 0).all()
        for i in range(self.streams):
            mine = decided.stream == i
            now = len(self.pushed[i]) + ended
            for row in zip(*(column[mine] for column in decided[1:]), strict=True):
                self.got[i].append((now, *row[:3], tuple(row[3])))

    def scores(self, frames: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        size = (self.streams, frames, 3)
        return rng.integers(-1, 2, size).astype(float) if self.ties else rng.normal(0, 2, size)

    @rule(frames=st.integers(0, 9), seed=st.integers(0, 2**20), data=st.data())
    def push(self, frames: int, seed: int, data: Any) -> None:
        emissions = self.scores(frames, seed)
        lengths = [data.draw(st.integers(0, frames)) for _ in range(self.streams)]
        decided = self.decoder.push(torch.from_numpy(emissions), lengths)
        for i, length in enumerate(lengths):
            emissions[i, length:] = np.nan  # padding is not read
            self.pushed[i] = np.concatenate([self.pushed[i], emissions[i, :length]])
        self.note(decided)
        assert self.decoder.frames.tolist() == [len(x) for x in self.pushed]

    @rule(seed=st.integers(0, 2**20), bad=st.sampled_from([np.nan, np.inf, "nothing", "classes"]), at=st.integers(0, 3))
    def push_bad(self, seed: int, bad: Any, at: int) -> None:
        emissions = self.scores(4, seed)
        stream = seed % self.streams
        if bad == "classes":
            with rejects("emissions", expected="shape"):
                self.decoder.push(torch.from_numpy(emissions[..., :2]))
            return
        emissions[stream, at] = -np.inf if bad == "nothing" else bad
        with rejects("emissions", recording=stream, frame=len(self.pushed[stream]) + at):
            self.decoder.push(torch.from_numpy(emissions))

    @rule(how=st.sampled_from(["pickle", "copy", "state"]))
    def save_and_load(self, how: str) -> None:
        if how == "state":
            other = OnlineDecoder(self.dist, streams=self.streams, **self.rule)
            other.load_state_dict(self.decoder.state_dict())
            self.decoder = other
        else:
            self.decoder = pickle.loads(pickle.dumps(self.decoder)) if how == "pickle" else copy.deepcopy(self.decoder)

    @rule()
    def look(self) -> None:
        self.decoder.current, self.decoder.filtered, self.decoder.following, repr(self.decoder)

    @precondition(lambda self: max(len(x) for x in self.pushed) > 0)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        begun = [i for i in range(self.streams) if len(self.pushed[i])]
        which = data.draw(st.lists(st.sampled_from(begun), unique=True, min_size=1))
        try:
            decided = self.decoder.finish(which)
        except InputError as error:
            if error.got != "no allowed labelling" or error.recording not in which:
                raise
            return
        frames = [len(x) for x in self.pushed]
        self.note(decided, ended=True)
        for i in which:
            self.check_whole(i, frames[i])
            self.pushed[i], self.got[i] = np.empty((0, 3)), []
            assert self.decoder.frames[i] == 0

    def check_whole(self, i: int, frames: int) -> None:
        """The recording at once, by itself, gives the same; so does one frame after the other, with its times."""
        emissions = torch.from_numpy(self.pushed[i][None])
        alone = OnlineDecoder(self.dist, **self.rule)
        parts = [alone.push(emissions), alone.finish()]
        at_once = [row for part in parts for row in zip(*part[1:4], map(tuple, part.posterior), strict=True)]
        assert at_once == [row[1:] for row in self.got[i]]
        assert [row[1] for row in self.got[i]] == list(range(frames))
        steps = [alone.push(emissions[:, t : t + 1]) for t in range(frames)]
        times = [t + 1 for t, part in enumerate(steps) for _ in part.frame]
        got = [row[0] for row in self.got[i]]
        assert all(mine >= first for mine, first in zip(got, times, strict=False))
        assert len(times) == sum(row[0] <= frames for row in self.got[i])
        if self.rule == {"by_frame": False, "max_delay": None}:
            whole = self.dist.replace(emissions=emissions, lengths=torch.tensor([frames]))
            assert [row[2] for row in self.got[i]] == whole.mode[0].tolist()
            assert [row[3] for row in self.got[i]] == whole.best.starts[0].tolist()


TestCut = Cut.TestCase
TestCut.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


# ---------------------------------------------------------------------------------------------------- long recordings
def bands_of(frames: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 4, frames // 20), rng.integers(5, 90, frames // 20))[:frames]
    return torch.from_numpy(rng.normal(size=(1, len(truth), 4)) + 1.5 * np.eye(4)[truth])


def layers() -> Iterator[Structure]:
    yield LinearChain(torch.zeros(1, 1, 4), 3 * torch.eye(4))
    durations = -0.5 * ((torch.arange(30.0) - 20) / 8).square().expand(4, 30)
    yield SemiMarkov(torch.zeros(1, 1, 4), torch.zeros(4, 4), durations, torch.full((4,), -0.3), censored=True)


@pytest.mark.parametrize("dist", list(layers()), ids=["chain", "semi-markov"])
@pytest.mark.parametrize("rule", [{}, {"max_delay": 40}, {"by_frame": True, "max_delay": 40}], ids=str)
def test_memory_stays_flat_and_the_whole_recording_agrees(dist: Structure, rule: dict[str, Any]) -> None:
    emissions = bands_of(20_000)
    decoder = OnlineDecoder(dist, **rule)
    sizes, labels = set(), []
    for piece in emissions.split(333, 1):
        labels.append(decoder.push(piece).label)
        sizes.add(sum(values.numel() for values in decoder.state_dict().values() if torch.is_tensor(values)))
        assert rule == {} or decoder.pending.max() <= 40
    got = np.concatenate([*labels, decoder.finish().label])
    assert len(sizes) <= 3 and max(sizes) < 40_000
    whole = dist.replace(emissions=emissions, lengths=torch.tensor([emissions.shape[1]]))
    expected = whole.posterior_mode if "by_frame" in rule else whole.mode
    agreement = (got == expected[0].numpy()).mean()
    assert agreement == 1.0 if rule == {} else agreement > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("dist", list(layers()), ids=["chain", "semi-markov"])
def test_ten_million_frames_need_no_more_memory(dist: Structure) -> None:
    emissions = bands_of(100_000)
    decoder = OnlineDecoder(dist, max_delay=50)
    size = sum(values.numel() for values in decoder.state_dict().values() if torch.is_tensor(values))
    for turn in range(10_000_000 // emissions.shape[1] + 1):
        labels = decoder.push(emissions).label
        if turn == 1:
            expected = labels
        if turn > 1:
            assert (labels != expected).mean() < 1e-4  # sums of other sizes round otherwise
    assert size == sum(values.numel() for values in decoder.state_dict().values() if torch.is_tensor(values))
    assert abs(decoder.filtered.sum() - 1) < 1e-12


def test_scores_that_mask_and_scores_that_forbid() -> None:
    lowest = torch.finfo(torch.float64).min
    steps = torch.tensor([[0.0, -INF], [-1.0, 0.0]], dtype=torch.float64)
    emissions = torch.tensor([[[0.0, 0.0], [lowest, 0.0], [0.0, -INF], [0.0, lowest]]], dtype=torch.float64)
    durations = torch.zeros(2, 2, dtype=torch.float64)
    for dist in (
        LinearChain(emissions, steps),
        SemiMarkov(emissions, steps, durations, torch.full((2,), -1.0, dtype=torch.float64)),
    ):
        decoder = OnlineDecoder(dist)
        parts = [decoder.push(emissions), decoder.finish()]
        assert np.concatenate([part.label for part in parts]).tolist() == [1, 1, 0, 0]
        posterior = np.concatenate([part.posterior for part in parts])
        np.testing.assert_allclose(posterior, [[0, 1], [0, 1], [1, 0], [1, 0]], atol=1e-12)


# ------------------------------------------------------------------------------------------------------------ bad input
def test_what_cannot_be_decoded_online_is_rejected() -> None:
    chain = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
    with rejects("dist", got="transitions of every step", kind=InputTypeError):
        OnlineDecoder(LinearChain(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2)))
    with rejects("dist", got="int", kind=InputTypeError):
        OnlineDecoder(3)  # type: ignore[arg-type]
    with rejects("tail", got="0 for class 1"):
        tail = torch.tensor([-1.0, 0.0])
        OnlineDecoder(SemiMarkov(torch.zeros(1, 2, 2), torch.zeros(2, 2), torch.zeros(2, 3), tail))
    with rejects("max_delay", got="0"):
        OnlineDecoder(chain, max_delay=0)
    with rejects("max_delay", got="-1"):
        OnlineDecoder(chain, max_delay=-1, by_frame=True)
    with rejects("streams", got="0"):
        OnlineDecoder(chain, streams=0)


def test_bad_calls_are_rejected_and_change_nothing() -> None:
    decoder = OnlineDecoder(LinearChain(torch.zeros(1, 1, 2), torch.zeros(2, 2)), streams=2)
    decoder.push(torch.zeros(2, 3, 2), [3, 0])
    before = decoder.state_dict()
    with rejects("emissions", got="list", kind=InputTypeError):
        decoder.push([[0.0]])  # type: ignore[arg-type]
    with rejects("emissions", expected="floating", kind=InputTypeError):
        decoder.push(torch.zeros(2, 3, 2, dtype=torch.long))
    with rejects("emissions", got=r"\(3, 1, 2\)", expected=r"\(2, N, 2\)"):
        decoder.push(torch.zeros(3, 1, 2))
    with rejects("lengths", got="4", expected="0 to N = 3", recording=1):
        decoder.push(torch.zeros(2, 3, 2), [1, 4])
    with rejects("lengths", got=r"\(1,\)"):
        decoder.push(torch.zeros(2, 3, 2), [1])
    with rejects("lengths", got="float64", kind=InputTypeError):
        decoder.push(torch.zeros(2, 3, 2), [1.0, 2.0])  # type: ignore[list-item]
    with rejects("emissions", got="a finite mask on every class", recording=1, frame=0):
        decoder.push(torch.full((2, 1, 2), -1e30), [0, 1])
    with rejects("which", got="2"):
        decoder.finish([2])
    with rejects("which", got="stream 1, which has no frame"):
        decoder.finish([0, 1])
    with rejects("which", got="a repeated index"):
        decoder.finish([0, 0])
    with rejects("which", got="float64", kind=InputTypeError):
        decoder.finish([0.5])  # type: ignore[list-item]
    after = decoder.state_dict()
    assert all(
        torch.equal(torch.as_tensor(after[k]), torch.as_tensor(v)) for k, v in before.items() if k != "structure"
    )
    assert decoder.finish().frame.tolist() == [2] and not decoder.frames.any()
    assert not len(decoder.finish().frame)


def test_the_end_may_be_forbidden() -> None:
    end = torch.tensor([0.0, -INF])
    decoder = OnlineDecoder(LinearChain(torch.zeros(1, 1, 2), torch.zeros(2, 2), end=end))
    decoder.push(torch.tensor([[[0.0, 0.0], [-INF, 0.0]]]))
    with rejects("emissions", got="no allowed labelling", recording=0, frame=1, advice="push more frames"):
        decoder.finish()
    decoder.push(torch.zeros(1, 1, 2))
    assert decoder.finish().label.tolist()[-1] == 0


def test_the_state_of_another_decoder_is_rejected() -> None:
    chain = LinearChain(torch.zeros(1, 1, 2), torch.zeros(2, 2))
    state = OnlineDecoder(chain, max_delay=3).state_dict()
    with rejects("state", got="max_delay = 3", expected="-1"):
        OnlineDecoder(chain).load_state_dict(state)
    with rejects("state", got="dict", expected="state_dict"):
        OnlineDecoder(chain).load_state_dict({})
    for name, damaged in (("reals", state["reals"][:, 1:]), ("wholes", state["wholes"] - 1), ("capacity", 3)):
        with rejects("state", got="do not belong together"):
            OnlineDecoder(chain, max_delay=3).load_state_dict(state | {name: damaged})


def test_survival_is_that_of_the_structure() -> None:
    """What the beam above takes from the oracle is what the structure defines."""
    durations, tail = torch.randn(2, 4, dtype=torch.float64), torch.tensor([-0.5, -INF], dtype=torch.float64)
    expected = [[log_survival(durations[c].numpy(), float(tail[c]), d) for d in range(1, 5)] for c in range(2)]
    torch.testing.assert_close(survival(durations, tail), torch.tensor(expected, dtype=torch.float64))
