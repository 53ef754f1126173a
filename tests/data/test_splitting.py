"""The split into training and validation recordings: against every subset, and rule by rule."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from segcrf.data import Labelled, split_recordings, splitting
from segcrf.testing.errors import rejects

Array = npt.NDArray[np.int64]


def labelled(*labels: list[int] | Array) -> Labelled:
    arrays = [np.array(row) for row in labels]
    return Labelled([np.full((len(row), 1), i) for i, row in enumerate(arrays)], arrays, None)


def numbers(recordings: Labelled) -> list[int]:
    return [int(signal[0, 0]) for signal in recordings.signals]


def drawn(seed: int, count: int, classes: int) -> list[Array]:
    """Recordings of few bands, in which some classes are rare, and some frames have no label."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(classes, 0.5))
    bands = [random.choice(classes, size=random.integers(1, 8), p=shares) for _ in range(count)]
    labels = [np.repeat(each, random.integers(1, 9, size=len(each))) for each in bands]
    return [np.where(random.random(len(each)) < 0.1, -100, each) for each in labels]


# ------------------------------------------------------------------------------------------- oracle: all subsets
def tally(labels: list[Array]) -> tuple[dict[int, int], dict[int, int]]:
    """Frames and bands of each class, counted one frame at a time."""
    frames: dict[int, int] = {}
    bands: dict[int, int] = {}
    for each in labels:
        before = -100
        for label in each.tolist():
            if label != -100:
                frames[label] = frames.get(label, 0) + 1
                bands[label] = bands.get(label, 0) + (label != before)
            before = label
    return frames, bands


def badness(units: list[list[Array]], held: tuple[int, ...], fraction: float, most: int) -> tuple[float, ...]:
    """The rules of the docstring as one tuple; the least is the best."""
    classes = [{c for labels in unit for c in labels.tolist() if c != -100} for unit in units]
    known = set().union(*classes)
    total = {c: sum(c in each for each in classes) for c in known}
    left = {c: sum(c in each for i, each in enumerate(classes) if i not in held) for c in known}
    chosen = [labels for i in held for labels in units[i]]
    distance = 0.0
    for all_of, held_of in zip(tally([a for u in units for a in u]), tally(chosen), strict=True):
        whole = sum(all_of.values())
        distance += sum(abs(held_of.get(c, 0) - fraction * all_of[c]) / whole for c in all_of)
    return (
        sum(left[c] == 0 for c in known),
        sum(left[c] == 1 < total[c] for c in known),
        most - len(held),
        sum(total[c] == left[c] for c in known),
        round(distance, 9),
    )


def best_of_all(units: list[list[Array]], fraction: float) -> tuple[float, ...]:
    most = max(round(fraction * len(units)), 1)
    subsets = [each for k in range(1, most + 1) for each in combinations(range(len(units)), k)]
    return min(badness(units, held, fraction, most) for held in subsets)


@pytest.mark.parametrize("seed", range(30))
def test_no_subset_is_better_by_the_rules(seed: int) -> None:
    count, fraction = 2 + seed % 11, (0.1, 0.2, 0.35, 0.5)[seed % 4]
    labels = [each for each in drawn(seed, count, 1 + seed % 6) if (each != -100).any()]
    units = [[each] for each in labels]
    if len(labels) < 2:
        return
    train, held = split_recordings(labelled(*labels), fraction, seed)
    assert sorted(numbers(train) + numbers(held)) == list(range(len(labels)))
    most = max(round(fraction * len(units)), 1)
    assert badness(units, tuple(numbers(held)), fraction, most) == best_of_all(units, fraction)


@pytest.mark.parametrize("seed", range(8))
def test_no_choice_of_groups_is_better_by_the_rules(seed: int) -> None:
    labels = drawn(seed, 14, 3)
    groups = [f"p{i}" for i in np.random.default_rng(seed).integers(6, size=14)]
    members = {name: [i for i, each in enumerate(groups) if each == name] for name in groups}
    _, held = split_recordings(labelled(*labels), 0.3, seed, groups)
    chosen = tuple(i for i, name in enumerate(members) if members[name][0] in numbers(held))
    assert sorted(i for k in chosen for i in list(members.values())[k]) == numbers(held)
    units = [[labels[i] for i in each] for each in members.values()]
    most = max(round(0.3 * len(units)), 1)
    assert badness(units, chosen, 0.3, most) == best_of_all(units, 0.3)


@pytest.mark.parametrize("seed", range(12))
def test_swaps_come_close_to_the_best_subset(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "EXACT", 0)
    labels = [each for each in drawn(seed, 12, 4) if (each != -100).any()]
    units = [[each] for each in labels]
    most = max(round(0.35 * len(units)), 1)
    _, held = split_recordings(labelled(*labels), 0.35, seed)
    found, best = badness(units, tuple(numbers(held)), 0.35, most), best_of_all(units, 0.35)
    assert found[:4] == best[:4] and found[4] <= best[4] + 0.01


def test_many_recordings_are_matched_by_swaps_that_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "SWAPS", 64)
    labels = drawn(3, 60, 4)
    _, held = split_recordings(labelled(*labels), 0.25, 0)
    assert len(held.labels) == 15 and numbers(split_recordings(labelled(*labels), 0.25, 0)[1]) == numbers(held)
    assert badness([[each] for each in labels], tuple(numbers(held)), 0.25, 15)[4] < 0.1


# ------------------------------------------------------------------------------------------------- rule by rule
def test_the_split_is_by_recording_seeded_and_complete() -> None:
    recordings = labelled(*[[0, 1]] * 10)
    train, held = split_recordings(recordings, 0.2, seed=0)
    assert len(held.labels) == 2 and sorted(numbers(train) + numbers(held)) == list(range(10))
    assert numbers(split_recordings(recordings, 0.2, seed=0)[1]) == numbers(held)
    assert {tuple(numbers(split_recordings(recordings, 0.2, seed)[1])) for seed in range(20)} != {tuple(numbers(held))}
    assert [len(part.labels) for part in split_recordings(recordings, 0.0, seed=0)] == [10, 0]
    assert len(split_recordings(labelled([0], [0]), 0.9, seed=0)[0].labels) == 1  # something is left to learn from


def test_the_split_loses_no_class() -> None:
    recordings = labelled([0, 1], [0, 2], [0, 0], [0, 3])
    for seed in range(10):
        assert numbers(split_recordings(recordings, 0.5, seed)[1]) == [2]
    hopeless = labelled([0], [1], [2])
    assert len(split_recordings(hopeless, 0.5, seed=0)[1].labels) == 1


def test_a_class_keeps_its_only_two_people() -> None:
    rare, plain = [0] * 9 + [1] * 9, [0] * 10
    for seed in range(10):
        assert not {0, 1} & set(numbers(split_recordings(labelled(rare, rare, plain, plain, plain), 0.4, seed)[1]))
        held = split_recordings(labelled(*[rare] * 4, plain, plain), 0.6, seed)[1]
        assert sum(number < 4 for number in numbers(held)) == 2


def test_validation_has_the_shares_of_the_whole() -> None:
    # A third of the frames is of class 1, and all of it in four of eight recordings.
    one, other = [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0]
    for seed in range(10):
        held = split_recordings(labelled(*[one, other] * 4), 0.25, seed)[1]
        assert sorted(len(each) for each in held.labels) == [5, 7]


def test_the_fraction_counts_frames_too() -> None:
    lengths = [100, 10, 10, 10, 50, 10, 10, 10, 50, 100]
    for seed in range(10):
        held = split_recordings(labelled(*[[0, 1] * n for n in lengths]), 0.2, seed)[1]
        assert sum(map(len, held.labels)) in (120, 200)  # of 720: as near to 144 as two recordings come


def test_unlabelled_recordings_are_not_held_out() -> None:
    recordings = labelled([-100, -100], [0, 0], [-100, -100], [0, 0])
    for seed in range(10):
        assert numbers(split_recordings(recordings, 0.3, seed)[1])[0] in (1, 3)


# --------------------------------------------------------------------------------------------- a single recording
def test_a_single_labelled_recording_is_split_in_time() -> None:
    recordings = Labelled(
        [np.arange(10.0)[:, None], np.full((4, 1), 50.0)],
        [np.array([-100, 0, 0, 0, 1, -100, 1, 1, 1, 1]), np.full(4, -100)],
        [np.arange(10.0)[:, None], np.full((4, 1), 50.0)],
    )
    train, held = split_recordings(recordings, 0.25, seed=0)
    assert held.signals[0][:, 0].tolist() == [8.0, 9.0] and held.labels[0].tolist() == [1, 1]
    assert [len(array) for array in train.labels] == [8, 4]
    assert train.targets is not None and train.targets[0][-1, 0] == 7.0
    with rejects("y", got="the only labelled frame", expected="at least two", recording=0):
        split_recordings(labelled([-100, 1]), 0.2, seed=0)


def test_the_cut_in_time_gives_all_classes_to_both_sides() -> None:
    assert len(split_recordings(labelled([0] * 40 + [1] * 30 + [0] * 8 + [1] * 22), 0.2, 0)[1].labels[0]) == 23
    # Class 2 begins after the usual cut, and training comes first.
    assert len(split_recordings(labelled([0, 1] * 40 + [0, 1] * 2 + [2] * 10 + [0, 1] * 3), 0.2, 0)[1].labels[0]) == 15
    # No cut between 10 and 40 % has class 1 on both sides: the usual cut holds.
    assert len(split_recordings(labelled([0] * 30 + [1] * 10 + [0] * 60), 0.2, 0)[1].labels[0]) == 20


@pytest.mark.parametrize("seed", range(20))
def test_no_cut_in_time_is_better(seed: int) -> None:
    (labels,) = drawn(seed, 1, 3)
    known = np.flatnonzero(labels != -100)
    if len(known) < 2:
        return
    fraction = (0.2, 0.4)[seed % 2]
    usual = min(max(round((1 - fraction) * len(known)), 1), len(known) - 1)
    most = max(2 * fraction * len(known), 0)

    def worth(cut: int) -> tuple[int, int, int]:
        train, held = set(labels[known[:cut]].tolist()), set(labels[known[cut:]].tolist())
        return len((train | held) - train), len((train | held) - held), abs(cut - usual)

    cuts = [c for c in range(1, len(known)) if fraction / 2 * len(known) <= len(known) - c <= most] + [usual]
    held = split_recordings(labelled(labels), fraction, 0)[1].labels[0]
    at = len(labels) - len(held)
    assert at in known and worth(int(np.searchsorted(known, at))) == min(map(worth, cuts))
