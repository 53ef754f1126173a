"""Alarms: each fires on what it is for, and is silent on what is well."""

import warnings
from typing import Any

import numpy as np
import pytest

from segcrf import Segmenter
from segcrf.data import Labelled, Recording
from segcrf.training import TrainingWarning, alarms

NAMES = ["rest", "walk", "run"]


def labelled(*labels: list[int], seed: int = 0) -> Labelled:
    random = np.random.default_rng(seed)
    return Labelled([random.normal(size=(len(row), 2)) for row in labels], [np.array(row) for row in labels], None)


def test_recordings_on_both_sides() -> None:
    train, held = labelled([0, 1], [1, 0]), labelled([0, 1], seed=1)
    assert alarms.equal_recordings(train, held) is None
    copied = Labelled([held.signals[0], train.signals[1].astype(np.float32)], [held.labels[0], train.labels[1]], None)
    text = alarms.equal_recordings(train, copied)
    assert text is not None and "1 recording for validation" in text and "recording 1 of validation" in text


def test_bands_predicted_per_true_band() -> None:
    for predicted in (50, 100, 200):
        assert alarms.too_many_or_few_bands(predicted, 100) is None
    few, many = alarms.too_many_or_few_bands(1, 100), alarms.too_many_or_few_bands(230, 100)
    assert few is not None and "(0.01)" in few and "differences" in few
    assert many is not None and "(2.3)" in many and "pieces" in many


def test_classes_that_are_never_predicted() -> None:
    assert alarms.unpredicted_classes(np.array([5, 5, 0]), np.array([9, 1, 0]), NAMES) is None
    text = alarms.unpredicted_classes(np.array([5, 5, 7]), np.array([17, 0, 0]), NAMES)
    assert text is not None and "walk (5 frames), run (7 frames)" in text


def test_validation_far_above_and_far_below_training() -> None:
    for learned, judged, bands in ((80.0, 60.0, 400), (60.0, 69.0, 400), (50.0, 75.0, 10), (95.0, 55.0, 4)):
        assert alarms.training_apart(learned, judged, bands) is None
    above, below = alarms.training_apart(60.0, 75.0, 400), alarms.training_apart(90.0, 50.0, 400)
    assert above is not None and "75.0, training 60.0" in above and "groups=" in above
    assert below is not None and "50.0, training 90.0" in below and "differ" in below


def test_a_best_epoch_among_the_first() -> None:
    for best, epochs, score in ((0, 4, 10.0), (1, 16, 10.0), (3, 30, 10.0), (0, 16, 99.5)):
        assert alarms.first_epochs(best, epochs, score) is None
    for best, epochs in ((0, 5), (0, 16), (2, 30)):
        text = alarms.first_epochs(best, epochs, 60.0)
        assert text is not None and f"best of {epochs} epochs is number {best + 1}" in text and "learning_rate" in text


def test_a_validation_that_lacks_a_class_or_bands() -> None:
    assert alarms.missing_classes(np.array([3, 2, 0]), np.array([1, 1, 0]), NAMES) is None
    text = alarms.missing_classes(np.array([3, 2, 1]), np.array([1, 0, 0]), NAMES)
    assert text is not None and "walk (2 in training), run (1 in training)" in text
    assert alarms.small_validation(50) is None
    small = alarms.small_validation(25)
    assert small is not None and "25 bands" in small and "10 points" in small


def test_classes_of_few_bands() -> None:
    assert alarms.few_bands(np.array([10, 12, 0]), NAMES) is None
    text = alarms.few_bands(np.array([10, 9, 0]), NAMES)
    assert text is not None and "walk (9)" in text and "run" not in text


def test_channels_that_name_the_recording() -> None:
    random = np.random.default_rng(0)
    signals = [
        np.column_stack([random.normal(size=30), np.full(30, i), np.zeros(30), np.full(30, i % 2)]) for i in range(6)
    ]
    text = alarms.identifiers(signals)
    assert text is not None and text.startswith("channel 1 is constant")
    assert alarms.identifiers(signals[:2]) is None  # two recordings differ in everything
    assert alarms.identifiers([signal[:, [0, 2, 3]] for signal in signals]) is None  # a sensor that is off; a site
    assert alarms.identifiers([np.full((4, 1), np.nan)] * 3) is None


def test_channels_that_are_a_time() -> None:
    random = np.random.default_rng(0)

    def signal(start: float, frames: int = 50) -> Any:
        time = start + 0.01 * np.arange(frames)
        return np.column_stack([random.normal(size=frames).cumsum(), -time, time.astype(np.float32), np.ones(frames)])

    text = alarms.times([signal(0.0), signal(1e4)])
    assert text is not None and text.startswith("channels 1, 2 are monotone")
    gap = signal(0.0)
    gap[7] = np.nan
    assert alarms.times([gap]) == text
    assert alarms.times([signal(0.0), signal(0.0, 10)]) is None  # nine steps
    assert alarms.times([np.arange(50.0)[:, None] ** 2]) is None
    assert alarms.times([np.arange(50)[:, None] % 25]) is None
    assert alarms.times([np.full((50, 1), np.nan)]) is None


def evidence(bands: int, judged: alarms.Side | None) -> alarms.Evidence:
    part = labelled(*[[0] * 5 + [1] * 5] * (bands // 4))
    held = part if judged is None else labelled(*[[0] * 5 + [1] * 5] * (bands // 4), seed=1)
    return alarms.Evidence(NAMES[:2], part, held, judged, judged, 30, 20)


def test_the_worst_alarm_comes_first_and_a_trial_is_not_warned_about() -> None:
    true = [np.array([0] * 5 + [1] * 5)] * 60
    good, bad = alarms.Side(true, true), alarms.Side(true, [np.zeros(10, int)] * 60)
    assert alarms.find_alarms(evidence(240, good)) == ([], [])
    texts, serious = alarms.find_alarms(evidence(200, bad))
    assert serious == texts and ["never predicted" in text for text in texts] == [True]
    texts, serious = alarms.find_alarms(evidence(40, bad))
    assert not serious and texts[-1].startswith("validation has 20 bands")
    few, many = evidence(40, good).held, labelled(*[[0] * 5 + [1] * 5] * 120, seed=2)
    for train, warned in ((many, 1), (evidence(200, good).train, 0)):
        texts, serious = alarms.find_alarms(evidence(40, good)._replace(train=train, held=few))
        assert len(texts) == 1 and texts[0].startswith("validation has 20 bands") and len(serious) == warned


def test_frames_without_a_label_are_in_no_count() -> None:
    side = alarms.Side([np.array([0, -100, 1, 1])], [np.array([0, 1, 1, 1])])
    assert [labels.tolist() for labels in side.known()] == [[0, -100, 1, 1]] and side.score == 100.0
    assert alarms.count_frames(side.known(), 3).tolist() == [1, 2, 0]
    assert alarms.count_bands(side.true, 3).tolist() == [1, 1, 0]


SMALL: dict[str, Any] = {
    "prepare": None, "hidden": 8, "max_epochs": 5, "window": 64, "learning_rate": 0.05, "progress": False
}  # fmt: skip


def example(count: int, scale: float, rare: float = 1 / 3) -> tuple[list[Any], list[Any]]:
    random = np.random.default_rng(0)
    y = [np.repeat(random.choice(3, size=30, p=[1 - 2 * rare, rare, rare]), 8) for _ in range(count)]
    return [scale * np.eye(3)[k] + random.normal(size=(len(k), 3)) for k in y], y


@pytest.mark.usefixtures("short_epochs")
def test_a_clean_fit_is_silent_and_a_collapse_is_not() -> None:
    X, y = example(10, 6.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (note,) = [note for note in Segmenter(**SMALL).fit(X, y).notes_ if not note.startswith("calibrated")]
    assert note.startswith("validation has 43 bands")  # of 219: a note
    X, y = example(20, 0.0, rare=0.1)
    with pytest.warns(TrainingWarning, match=r"may not be what it seems:\n\(1\) .*true \(0\.") as seen:
        model = Segmenter(**SMALL).fit(X, y)
    assert seen[0].filename == __file__
    assert str(seen[0].message).split("(1) ")[1].split("\n")[0] in model.notes_
    X, y = example(3, 6.0)
    assert any(
        note.startswith("validation has") for note in Segmenter(**SMALL, validation_fraction=0.3).fit(X, y).notes_
    )


def test_windows_are_decoded_side_by_side_and_spread_evenly() -> None:
    X, y = example(2, 6.0)
    model = Segmenter(**SMALL | {"max_epochs": 1}).fit(X, y).model_
    prepared = [
        Recording(*map(alarms.torch.as_tensor, (x.astype(np.float32), k)), None) for x, k in zip(X, y, strict=True)
    ]
    whole = alarms.decode_side(model, prepared, 100)
    assert [len(each) for each in whole.true] == [100, 100, 40] * 2 == [len(each) for each in whole.predicted]
    assert np.concatenate(whole.true).tolist() == np.concatenate(y).tolist()
    assert [len(each) for each in alarms.decode_side(model, prepared, 100, most=250).true] == [100, 40]
    assert len(alarms.decode_side(model, prepared, 100, most=1).true) == 1
