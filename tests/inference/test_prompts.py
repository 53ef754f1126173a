"""Prompts: read from every form, and decoded exactly, against enumeration; conflicts are named where they are."""

from __future__ import annotations

import re
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given

from segcrf import LinearChain, Segments
from segcrf._validation import InputError, InputTypeError
from segcrf.data import ClassCoder
from segcrf.inference import (
    Inferred,
    Known,
    Prompts,
    blank_uncertain,
    decode_constrained,
    predict_bands,
    predict_labels,
    predict_probabilities,
    read_prompts,
)
from segcrf.nn import DecodingRule, JointModel, LinearChainCRF, LSTMEncoder, SemiMarkovCRF
from segcrf.testing.answers import close, make
from segcrf.testing.cases import Case, chains, enumerated, semi_markovs
from segcrf.testing.errors import rejects
from segcrf.testing.oracle import UNLABELLED, Enumeration

NAMES = np.array(["rest", "run", "walk"])
CODER = ClassCoder(NAMES, named=True)
NUMBERS = ClassCoder(np.arange(3), named=False)
both = pytest.mark.parametrize("cases", [chains(max_frames=6), semi_markovs(max_frames=5)], ids=["chain", "semi"])
seeds = st.integers(0, 10_000)


def read(lengths: list[int], coder: ClassCoder = CODER, **values: Any) -> list[Known]:
    prompts = read_prompts(coder, lengths, **values)
    assert prompts is not None
    return prompts.recordings


def bands(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["recording", "start", "end", "label"])


# ------------------------------------------------------------------------------------------------------------ reading
def test_nothing_known_is_none() -> None:
    assert read_prompts(CODER, [3, 2]) is None
    assert read_prompts(CODER, [3, 2], given=[["", "", ""], None], forbid=[], transcript=[None, None]) is None
    assert read_prompts(CODER, [3, 2], min_duration=1) is None
    assert read_prompts(CODER, [3, 2], given=bands(), forbid=bands((0, 0, 1, ""))) is None


def test_labels_may_be_names_indices_or_missing() -> None:
    named = read([3, 2], given=[["", "walk", "rest"], None])
    numbered = read([3, 2], NUMBERS, given=[np.array([-100, 2, 0]), None])
    for known in (named, numbered):
        assert known[0].given is not None and known[0].given.tolist() == [-100, 2, 0]
        assert known[1] == Known()


@pytest.mark.parametrize("sampling_rate", [None, 20.0])
def test_a_table_of_bands_is_the_same_as_labels(sampling_rate: float | None) -> None:
    labels = [["", "walk", "walk", "rest", ""], ["run", ""]]
    indices = [np.array([-100, 2, 2, 0, -100]), np.array([1, -100])]
    table = Segments.from_labels(indices).to_table(
        classes=NAMES.tolist(), sampling_rate=sampling_rate, recordings=["a", "b"]
    )
    shuffled = pd.concat([table, bands(("a", 0, 1 if sampling_rate is None else 0.05, ""))]).iloc[::-1]
    ours = read([5, 2], given=shuffled, sampling_rate=sampling_rate, recordings=["a", "b"])
    theirs = read([5, 2], given=labels)
    assert [each.given.tolist() for each in ours] == [each.given.tolist() for each in theirs]  # type: ignore[union-attr]


def test_a_row_without_a_label_is_unknown() -> None:
    table = bands((0, 0, 2, None), (0, 2, 3, "run"), (0, 3, 4, ""))
    assert read([4], given=table)[0].given.tolist() == [-100, -100, 1, -100]  # type: ignore[union-attr]
    numbers = bands((0, 0, 2, -100), (0, 2, 3, 1))
    assert read([4], NUMBERS, given=numbers)[0].given.tolist() == [-100, -100, 1, -100]  # type: ignore[union-attr]


def forbidden(known: Known) -> list[list[int]]:
    assert known.forbid is not None
    return known.forbid.astype(int).tolist()


def test_forbidden_classes_are_for_all_recordings_for_each_or_in_bands() -> None:
    everywhere = read([2, 1], forbid=["walk", "rest"])
    assert [forbidden(each) for each in everywhere] == [[[1, 0, 1]] * 2, [[1, 0, 1]]]
    each = read([2, 1, 1], forbid=[["walk"], [], None])
    assert forbidden(each[0]) == [[0, 0, 1]] * 2 and each[1] == each[2] == Known()
    # Bands of different classes overlap.
    table = read([3], forbid=bands((0, 0, 2, "rest"), (0, 1, 3, "walk"), (0, 1, 2, "")))
    assert forbidden(table[0]) == [[1, 0, 0], [1, 0, 1], [0, 0, 1]]
    assert forbidden(read([1], NUMBERS, forbid=[0, 2])[0]) == [[1, 0, 1]]


def test_transcripts_are_lists_of_names_or_none() -> None:
    known = read([4, 1], transcript=[["walk", "rest", "walk"], None])
    assert known == [Known(transcript=[2, 0, 2]), Known()]


@pytest.mark.parametrize(
    ("value", "sampling_rate", "expected"),
    [
        (5, None, [5, 5, 5]),
        (0.5, 50.0, [25, 25, 25]),
        ({"walk": 0.1}, 30.0, [1, 1, 3]),  # 0.1 * 30 is a little above 3
        ({"walk": 0.11, "run": 0}, 30.0, [1, 1, 4]),
        (np.float32(2), None, [2, 2, 2]),
    ],
)
def test_minimum_durations_are_rounded_up_to_frames(value: Any, sampling_rate: float | None, expected: Any) -> None:
    assert read([9], min_duration=value, sampling_rate=sampling_rate)[0].min_duration == expected


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"given": [["walk"] * 3]}, {"argument": "given", "got": "1 recordings", "expected": "2"}),
        ({"given": [["walk"] * 3, ["walk"]]}, {"argument": "given", "got": "1 frames", "recording": 1}),
        (
            {"given": [["", "fly", ""], None]},
            {"argument": "given", "got": "'fly'", "expected": "'rest', 'run', 'walk'", "recording": 0, "frame": 1},
        ),
        ({"given": [[0, 1, 2], [0, 0]]}, {"argument": "given", "got": "integers", "kind": InputTypeError}),
        (
            {"given": bands((0, 0, 1, "fly"))},
            {"argument": "given", "got": "'fly'", "expected": "'rest', 'run', 'walk'"},
        ),
        ({"given": bands((0, 0, 4, "walk"))}, {"argument": "given", "got": r"\[0, 4\)", "recording": 0}),
        ({"given": bands((5, 0, 1, "walk"))}, {"argument": "given", "got": "recording 5", "expected": "0 to 1"}),
        ({"given": bands((0, 0, 2, "walk"), (0, 1, 3, "run"))}, {"argument": "given", "got": r"frames \[1, 3\)"}),
        (
            {"given": bands((0, 0, 1, "run"))[["start", "end", "label"]]},
            {"argument": "given", "expected": "'recording'"},
        ),
        ({"forbid": bands((0, 0, 1, "run"))[["recording", "start"]]}, {"argument": "forbid", "expected": "'end'"}),
        ({"forbid": "walk"}, {"argument": "forbid", "got": "'walk'", "kind": InputTypeError}),
        ({"forbid": ["walk", ["run"]]}, {"argument": "forbid", "kind": InputTypeError}),
        ({"forbid": ["fly"]}, {"argument": "forbid", "got": "'fly'", "expected": "'rest', 'run', 'walk'"}),
        ({"forbid": [["fly"], []]}, {"argument": "forbid", "got": "'fly'", "recording": 0}),
        ({"forbid": [["walk"]]}, {"argument": "forbid", "got": "1 recordings", "expected": "2"}),
        ({"forbid": bands((0, 0, 9, "walk"))}, {"argument": "forbid", "got": r"\[0, 9\)", "recording": 0}),
        ({"forbid": bands((0, 0, 1, "fly"))}, {"argument": "forbid", "got": "'fly'", "expected": "'rest', 'run'"}),
        ({"transcript": ["walk", "run"]}, {"argument": "transcript", "got": "'walk'", "kind": InputTypeError}),
        ({"transcript": "walk"}, {"argument": "transcript", "kind": InputTypeError}),
        ({"transcript": [["walk"]]}, {"argument": "transcript", "got": "1 recordings", "expected": "2"}),
        ({"transcript": [["walk"], []]}, {"argument": "transcript", "got": "0 bands", "recording": 1}),
        (
            {"transcript": [None, ["walk", "run", "walk"]]},
            {"argument": "transcript", "got": "3 bands", "expected": "1 to 2", "recording": 1},
        ),
        (
            {"transcript": [["walk", "fly"], None]},
            {"argument": "transcript", "got": "'fly' as band 1", "expected": "'rest', 'run', 'walk'", "recording": 0},
        ),
        (
            {"transcript": [["walk", "run", "run"], None]},
            {"argument": "transcript", "got": "'run' as bands 1 and 2", "recording": 0},
        ),
        ({"min_duration": -1}, {"argument": "min_duration", "got": "-1"}),
        ({"min_duration": "long"}, {"argument": "min_duration", "got": "'long'"}),
        ({"min_duration": 2.5}, {"argument": "min_duration", "got": "2.5", "advice": "sampling_rate"}),
        ({"min_duration": {"fly": 2}}, {"argument": "min_duration", "got": "'fly'", "expected": "'rest', 'run'"}),
        ({"min_duration": {"walk": None}}, {"argument": "min_duration", "got": "None"}),
        ({"min_duration": 1, "sampling_rate": -1}, {"argument": "sampling_rate", "got": "-1"}),
    ],
)
def test_what_cannot_be_read_is_named(values: dict[str, Any], fields: dict[str, Any]) -> None:
    with rejects(**fields):
        read_prompts(CODER, [3, 2], **values)


@pytest.mark.parametrize("values", [{"forbid": [True]}, {"transcript": [[1.0]]}, {"min_duration": {True: 2}}])
def test_only_integers_are_indices(values: dict[str, Any]) -> None:
    with pytest.raises((InputError, InputTypeError)):
        read_prompts(NUMBERS, [3], **values)


# ----------------------------------------------------------------------------------------------------------- decoding
def runs(labels: Any, starts: Any) -> list[tuple[int, int]]:
    """Class and duration of each band of one outcome."""
    first = np.flatnonzero(starts)
    return list(zip(labels[first].tolist(), np.diff([*first, len(labels)]).tolist(), strict=True))


def obeys(known: Known, labels: Any, starts: Any) -> bool:
    """Whether one outcome of a recording agrees with all that is known about it."""
    frames = np.arange(len(labels))
    right = known.given is None or bool(((known.given == labels) | (known.given == UNLABELLED)).all())
    right &= known.forbid is None or not known.forbid[frames, labels].any()
    right &= known.transcript is None or [c for c, _ in runs(labels, starts)] == known.transcript
    least = known.min_duration
    return right and (least is None or all(n >= least[c] for c, n in runs(labels, starts)[1:-1]))


def restricted(truth: Enumeration, known: Known) -> Enumeration:
    agree = np.array([obeys(known, *one) for one in zip(truth.labels, truth.starts, strict=True)])
    return Enumeration(truth.labels, truth.starts, truth.steps, np.where(agree, truth.scores, -np.inf))


def some_knowledge(rng: np.random.Generator, truth: Enumeration, least: list[int] | None) -> Known:
    """Anything of each kind, made around one outcome; with a small probability it contradicts itself."""
    n = rng.choice(np.flatnonzero(truth.scores > -np.inf))
    labels, starts = truth.labels[n], truth.starts[n]
    size = (len(labels), truth.num_classes)
    given = np.where(rng.random(len(labels)) < 0.3, labels, UNLABELLED)
    forbid = rng.random(size) < 0.3
    forbid[np.arange(len(labels)), labels] = False
    if rng.random() < 0.2:
        forbid |= rng.random(size) < 0.2
    order = [c for c, _ in runs(labels, starts)]
    return Known(
        given if rng.random() < 0.6 else None,
        forbid if rng.random() < 0.6 else None,
        order if rng.random() < 0.4 else None,
        least,
    )


def drawn(data: st.DataObject, cases: st.SearchStrategy[Case]) -> tuple[Case, list[Known]]:
    case = data.draw(cases)
    rng = np.random.default_rng(data.draw(seeds))
    least = rng.integers(1, 5, case.num_classes).tolist() if rng.random() < 0.6 else None
    return case, [some_knowledge(rng, truth, least) for truth in enumerated(case)]


def inferred(case: Case, rule: DecodingRule) -> Inferred:
    dist = make(case)
    return Inferred(list(range(len(case.lengths))), dist, rule.decode(dist), None)


def prompts_of(known: list[Known], num_classes: int) -> Prompts:
    return Prompts([f"class {i}" for i in range(num_classes)], known)


@both
@given(data=st.data(), factor=st.sampled_from([1.0, 2.0]), by_frame=st.booleans())
def test_answers_are_those_of_the_outcomes_that_agree(
    cases: st.SearchStrategy[Case], data: st.DataObject, factor: float, by_frame: bool
) -> None:
    case, known = drawn(data, cases)
    truths = [restricted(*pair) for pair in zip(enumerated(case), known, strict=True)]
    if not all(truth.feasible for truth in truths):
        return
    louder = case.having(emissions=case.emissions * factor)
    decoded = [restricted(*pair) for pair in zip(enumerated(louder), known, strict=True)]
    found = inferred(case, DecodingRule(factor, by_frame))
    seen: list[int] = []
    for answer in decode_constrained(found, prompts_of(known, case.num_classes)):
        for row, recording in enumerate(answer.recordings):
            seen.append(recording)
            truth, length = truths[recording], int(case.lengths[recording])
            close(answer.dist.marginals.labels[row, :length], truth.label_marginals, case)
            labels = answer.bands.labels[row, :length].numpy()
            starts = answer.bands.starts[row, :length].numpy()
            check_decoding(decoded[recording], known[recording], labels, starts, by_frame, louder)
    assert sorted(seen) == list(range(len(known)))


def check_decoding(truth: Enumeration, known: Known, labels: Any, starts: Any, by_frame: bool, case: Case) -> None:
    posterior, frames = truth.label_marginals, np.arange(len(labels))
    if not by_frame:
        close(truth.scores[truth.agreeing(labels, starts)].max(), truth.best_score, case)
    elif known.transcript is None and known.min_duration is None:
        close(posterior[frames, labels], posterior.max(1), case)
        assert obeys(known, labels, starts)
    else:
        allowed = truth.scores > -np.inf
        assert (truth.agreeing(labels, starts) & allowed).any()
        right = posterior[frames, truth.labels].sum(1)
        close(posterior[frames, labels].sum(), right[allowed].max(), case)


@both
@given(data=st.data())
def test_a_conflict_names_recording_and_frame_and_what_to_relax(
    cases: st.SearchStrategy[Case], data: st.DataObject
) -> None:
    case, known = drawn(data, cases)
    truths = enumerated(case)
    possible = [restricted(*pair).feasible for pair in zip(truths, known, strict=True)]
    found, prompts = inferred(case, DecodingRule()), prompts_of(known, case.num_classes)
    if all(possible):
        list(decode_constrained(found, prompts))
        return
    with pytest.raises(InputError) as raised:
        list(decode_constrained(found, prompts))
    error = raised.value
    recording = error.recording
    assert isinstance(recording, int) and not possible[recording]
    truth, bad = truths[recording], known[recording]
    for kind in re.findall("`(.*?)`", error.advice):
        assert restricted(truth, bad._replace(**{kind: None})).feasible
    if error.frame is not None:
        assert error.argument in ("given", "forbid")
        for frames, feasible in ((error.frame, True), (error.frame + 1, False)):
            until = np.arange(truth.labels.shape[1]) < frames
            part = bad._replace(
                given=None if bad.given is None else np.where(until, bad.given, UNLABELLED),
                forbid=None if bad.forbid is None else bad.forbid & until[:, None],
            )
            assert restricted(truth, part).feasible == feasible
    else:
        assert not restricted(truth, bad._replace(given=None, forbid=None)).feasible


NO_WAY_BACK = torch.tensor([[0.0, 0.0, 0.0], [-torch.inf, 0.0, 0.0], [-torch.inf, -torch.inf, 0.0]])


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        (
            {"given": [["", "walk", "", ""]], "forbid": [["walk"]]},
            {"argument": "given", "got": "class 'walk', which `forbid` excludes", "frame": 1, "advice": "`given`"},
        ),
        (
            {"given": [["", "walk", "rest", ""]]},
            {"argument": "given", "got": "class 'rest' after 'walk'", "expected": "a step", "frame": 2},
        ),
        (
            {"given": [["walk", "", "", "rest"]]},
            {"argument": "given", "got": "class 'rest'", "frame": 3, "advice": "relax `given`"},
        ),
        (
            {"given": [["walk", "", "", ""]], "transcript": [["rest", "walk"]]},
            {"argument": "given", "got": "class 'walk'", "frame": 0, "advice": "`given` or `transcript`"},
        ),
        (
            {"given": [["rest", "run", "walk", ""]], "min_duration": 2},
            {"argument": "given", "got": "'walk'", "frame": 2, "advice": "`given` or `min_duration`"},
        ),
        ({"forbid": ["rest", "run", "walk"]}, {"argument": "forbid", "got": "'rest', 'run', 'walk'", "frame": 0}),
        (
            {"transcript": [["rest", "walk", "rest"]]},
            {"argument": "transcript", "got": r"'rest' after 'walk' \(bands 1 and 2\)", "expected": "a step"},
        ),
        (
            {"transcript": [["rest", "run", "walk"]], "min_duration": {"run": 3}},
            {"argument": "transcript", "got": "3 bands", "advice": "`transcript` or `min_duration`"},
        ),
    ],
)
def test_conflicts_in_words(values: dict[str, Any], fields: dict[str, Any]) -> None:
    dist = LinearChain(torch.zeros(1, 4, 3), NO_WAY_BACK)
    prompts = read_prompts(CODER, [4], **values)
    assert prompts is not None
    with rejects(**fields, recording=0):
        list(decode_constrained(Inferred([0], dist, DecodingRule().decode(dist), None), prompts))


def test_a_minimum_that_the_model_forbids_is_named() -> None:
    single = torch.zeros(2, 2).fill_diagonal_(-torch.inf)
    dist = LinearChain(torch.zeros(1, 4, 2), single)  # every band lasts one frame
    found = Inferred([0], dist, DecodingRule().decode(dist), None)
    with rejects("min_duration", advice="relax `min_duration`", recording=0):
        list(decode_constrained(found, Prompts(["a", "b"], [Known(min_duration=[2, 2])])))


# ------------------------------------------------------------------------------------------------- with a whole model
LENGTHS = (40, 1, 7, 25)


def model(structure: str, by_frame: bool) -> JointModel:
    torch.manual_seed(0)
    crf = LinearChainCRF(3) if structure == "chain" else SemiMarkovCRF(3, 6, censored=True)
    made = JointModel(LSTMEncoder(2, hidden=6), crf).eval()
    made.class_head.weight.data *= 8.0
    made.decode_by_frame.fill_(by_frame)
    made.decode_factor.fill_(1.5)
    return made


def signals() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 2)).astype(np.float32) for n in LENGTHS]


every_model = pytest.mark.parametrize(
    ("structure", "by_frame"), [("chain", False), ("chain", True), ("semi", False), ("semi", True)]
)


@every_model
def test_a_model_obeys(structure: str, by_frame: bool) -> None:
    asked, X = model(structure, by_frame), signals()
    given = [np.full(n, "", dtype=object) for n in LENGTHS]
    given[0] = np.where(np.arange(40) // 4 == 5, "walk", "")
    given[3][0] = "run"
    prompts = read_prompts(
        CODER, LENGTHS, given=given, forbid=[[], ["rest"], ["walk"], []], min_duration={"run": 5, "walk": 4},
        transcript=[None, None, None, ["run", "rest", "walk", "rest"]],
    )  # fmt: skip
    assert prompts is not None
    labels = predict_labels(asked, X, prompts)
    shown = predict_bands(asked, X, "frames", prompts)
    for each, known, row in zip(labels, prompts.recordings, shown.to_labels(LENGTHS), strict=True):
        assert obeys(known, each, np.append(True, each[1:] != each[:-1]))
        assert (each == row).all()
    posterior = predict_probabilities(asked, X, prompts)
    for n, each, known in zip(LENGTHS, posterior, prompts.recordings, strict=True):
        np.testing.assert_allclose(each.sum(1), 1.0, rtol=1e-5)
        if known.given is not None:
            marked = known.given != UNLABELLED
            assert each[marked, known.given[marked]] == pytest.approx(1.0)
        if known.forbid is not None:
            assert not each[known.forbid].any()
        assert each.shape == (n, 3)
    for confidence in ("frames", "band"):
        score = predict_bands(asked, X, confidence, prompts).score
        assert score is not None and ((score >= 0) & (score <= 1 + 1e-6)).all()


@every_model
def test_a_recording_does_not_notice_what_is_known_about_others(structure: str, by_frame: bool) -> None:
    asked, X = model(structure, by_frame), signals()
    whole = read_prompts(CODER, LENGTHS, given=[np.full(n, "run") for n in LENGTHS[:1]] + [None] * 3)
    assert whole is not None
    ours, free = predict_labels(asked, X, whole), predict_labels(asked, X)
    assert (ours[0] == 1).all()
    for a, b in zip(ours[1:], free[1:], strict=True):
        assert (a == b).all()


@every_model
def test_uncertain_bands_become_unlabelled(structure: str, by_frame: bool) -> None:
    asked, X = model(structure, by_frame), signals()
    bands = predict_bands(asked, X, "frames")
    assert bands.score is not None
    least = float(np.median(bands.score))
    labels = predict_labels(asked, X, min_confidence=least)
    for recording, (each, free) in enumerate(zip(labels, predict_labels(asked, X), strict=True)):
        expected = free.copy()
        own = bands.of(recording)
        assert own.score is not None
        for start, end, score in zip(own.start, own.end, own.score, strict=True):
            if score < least:
                expected[start:end] = UNLABELLED
        assert (each == expected).all()
    assert any((each == UNLABELLED).any() for each in labels)
    assert any((each != UNLABELLED).any() for each in labels)


def test_uncertain_rows_stay_without_a_label_and_can_be_given_back() -> None:
    table = bands((0, 0, 2, "walk"), (0, 2, 5, "run")).assign(confidence=[0.4, 0.6])
    shown = blank_uncertain(table, 0.5)
    assert shown["label"].tolist() == ["", "run"] and table["label"].tolist() == ["walk", "run"]
    assert read([5], given=shown)[0].given.tolist() == [-100, -100, 1, 1, 1]  # type: ignore[union-attr]
    numbers = table.assign(label=[2, 1])
    assert blank_uncertain(numbers, 0.5)["label"].tolist() == [-100, 1]


@pytest.mark.parametrize("value", [-0.1, 1.1, "much", float("nan")])
def test_a_confidence_is_a_probability(value: Any) -> None:
    with rejects("min_confidence"):
        predict_labels(model("chain", False), signals(), min_confidence=value)
    with rejects("min_confidence"):
        blank_uncertain(pd.DataFrame({"label": ["a"], "confidence": [0.5]}), value)
