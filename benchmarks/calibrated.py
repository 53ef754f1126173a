"""Check calibrated probabilities, confidences and intervals on held-out people: ``python -m benchmarks.calibrated``.

A Segmenter is fitted on the training recordings of a data set of :mod:`benchmarks.bands`; some of them choose epoch and
decoding rule. One half of the validation people then calibrates it, and the other half measures, in both directions.
Test recordings are not used. Measured are

* frames: the calibration error of the most probable class, and the log-loss of the true one;
* bands: the calibration error of the confidence, and how well it tells right bands from wrong ones (AUROC);
* boundaries: the share of the boundaries of right bands within their intervals, at 0.9, or at the highest level that so
  few recordings can show; each recording weighs the same; and the median width of the intervals in frames.

Each is given for the distribution that the likelihood learned, for the decoded one, with emissions multiplied by the
factor of the decoding rule, and after calibration. Where one recording validates, its first and its last half take
turns. The result is written to ``benchmarks/results/calibrated.json`` after each fit.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import record
from benchmarks.bands import tasks
from benchmarks.data import folder
from segcrf import Segmenter, Segments
from segcrf.inference import infer
from segcrf.metrics import band_reliability, matching_bands, reliability
from segcrf.nn import Calibration

PACKAGES = ("segcrf", "torch", "lightning", "numba", "numpy", "scipy")
NAMES = ("ecg_ludb", "eye_lookatpoint", "emg_gestures", "sleep_edf20", "gesture_phase")
LEVEL = 0.9
Array = npt.NDArray[Any]
Part = tuple[list[Array], list[Array]]


def halves(name: str, task: tasks.Task) -> tuple[Part, Part]:
    """Return signals and labels of each half of the validation people, or of the frames of a single recording."""
    source, given = tasks.SOURCES[name], list(zip(task.valid.signals, task.valid.labels, strict=True))
    if len(given) == 1:
        ((signal, labels),) = given
        cuts = (slice(0, len(labels) // 2), slice(len(labels) // 2, None))
        return tuple(([signal[cut]], [labels[cut]]) for cut in cuts)  # type: ignore[return-value]
    with np.load(folder(name) / "tidy.npz", allow_pickle=False) as arrays:
        held = [key[2:] for key in arrays.files if key.startswith("X/") and source.part(key[2:]) == "valid"]
    people = [source.person(each) for each in held]
    first = set(sorted(set(people))[: len(set(people)) // 2])
    parts = (
        [pair for pair, each in zip(given, people, strict=True) if (each in first) is side] for side in (True, False)
    )
    return tuple(([x for x, _ in part], [y for _, y in part]) for part in parts)  # type: ignore[return-value]


def posteriors(model: Segmenter, signals: Sequence[Array], *, decoded: bool) -> list[Array]:
    """Return the posteriors of each recording by the learned distribution or by the decoded one."""
    found = [answer for signal in signals for answer in infer(model.model_, [signal])]
    each = [answer.bands.posteriors if decoded else answer.dist.marginals.labels for answer in found]
    return [posterior[0].detach().double().numpy() for posterior in each]


def measure_frames(labels: Sequence[Array], probabilities: Sequence[Array]) -> dict[str, float]:
    """Return the calibration error and the log-loss of frames."""
    true, each = np.concatenate(list(labels)), np.concatenate(list(probabilities))
    known = true >= 0
    loss = -np.log(np.maximum(each[known, true[known]], 1e-12)).mean()
    return {"frame_error": round(reliability(list(labels), list(probabilities)).error, 4), "nll": round(float(loss), 4)}


def measure_bands(labels: Sequence[Array], bands: Segments, score: Array) -> dict[str, float]:
    """Return the calibration error and the AUROC of the confidence of bands."""
    scored = bands.with_score(score)
    matches = np.concatenate([matching_bands(true, bands.of(i)) for i, true in enumerate(labels)])
    right, wrong = score[matches >= 0], score[matches == -1]
    error = band_reliability(list(labels), scored).error
    return {"band_error": round(error, 4), "auroc": round(auroc(right, wrong), 4)}


def auroc(right: Array, wrong: Array) -> float:
    """Return the probability that a right band has a higher score than a wrong one; ties count half."""
    if not len(right) or not len(wrong):
        return float("nan")
    order = np.sort(wrong)
    below, up_to = np.searchsorted(order, right, "left"), np.searchsorted(order, right, "right")
    return float((below + up_to).mean() / 2.0 / len(wrong))


def measure_intervals(model: Segmenter, signals: Sequence[Array], labels: Sequence[Array]) -> dict[str, float]:
    """Return the level, the share of boundaries within their intervals, and the median width."""
    recordings = model.model_.calibration.boundary_recordings
    level = LEVEL if recordings >= 9 else recordings / (recordings + 1)
    if not level:
        return {"level": 0.0}
    table: Any = model.predict_segments(signals, interval=level)
    shares: list[float] = []
    widths: list[float] = []
    for i, true in enumerate(labels):
        own, bands = table[table["recording"] == i], Segments.from_labels([true])
        found = Segments(*(own[name].to_numpy() for name in ("recording", "start", "end", "label")))
        inside: list[bool] = []
        for row, match in zip(own.itertuples(), matching_bands(true, found), strict=True):
            if match < 0:
                continue
            start, end = bands.start[match], bands.end[match]
            if row.start > 0 and (start == 0 or true[start - 1] >= 0):
                inside.append(row.start_low <= start <= row.start_high)
                widths.append(row.start_high - row.start_low)
            if row.end < len(true) and (end == len(true) or true[end] >= 0):
                inside.append(row.end_low <= end <= row.end_high)
                widths.append(row.end_high - row.end_low)
        shares += [float(np.mean(inside))] if inside else []
    if not shares:
        return {"level": round(level, 3)}
    coverage, width = round(float(np.mean(shares)), 4), float(np.median(widths))
    return {"level": round(level, 3), "coverage": coverage, "width": width, "measured": len(shares)}


def mean_scores(bands: Segments, probabilities: Sequence[Array]) -> Array:
    """Return the mean probability of the class of each band."""
    rows = zip(bands.recording, bands.start, bands.end, bands.label, strict=True)
    return np.array([probabilities[i][start:end, label].mean() for i, start, end, label in rows])


def measure(model: Segmenter, calibrate: Part, test: Part) -> dict[str, Any]:
    """Calibrate on one half, and measure on the other."""
    signals, labels = test
    labelling = model.predict(signals)
    model.calibrate(*calibrate)
    calibration: Calibration = model.model_.calibration
    assert all((a == b).all() for a, b in zip(labelling, model.predict(signals), strict=True))
    bands = Segments.from_labels(labelling)
    rows: dict[str, Any] = {}
    for name, decoded in (("learned", False), ("decoded", True)):
        given = posteriors(model, signals, decoded=decoded)
        rows[name] = measure_frames(labels, given) | measure_bands(labels, bands, mean_scores(bands, given))
    calibrated = model.predict_proba(signals)
    score = calibration.confidence(bands.with_score(mean_scores(bands, calibrated)))
    rows["calibrated"] = measure_frames(labels, calibrated) | measure_bands(labels, bands, score)
    return {
        "recordings": [len(calibrate[0]), len(signals)],
        "bands": len(bands),
        "temperature": round(calibration.temperature, 3),
        "coefficients": [round(each, 3) for each in calibration.band_coefficients],
        "intervals": measure_intervals(model, signals, labels),
        **rows,
    }


def run(name: str, seed: int, max_epochs: int) -> dict[str, Any]:
    """Fit once, and calibrate and measure in both directions."""
    task = tasks.load(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Segmenter(seed=seed, max_epochs=max_epochs, progress=False)
        model.fit(task.train.signals, task.train.labels)
    one, other = halves(name, task)
    rule = model.decoding_
    return {
        "seed": seed,
        "max_epochs": max_epochs,
        "rule": [rule.factor, rule.by_frame],
        "directions": [measure(model, one, other), measure(model, other, one)],
    }


def table(name: str, result: dict[str, Any]) -> str:
    """Return the measures of both directions as text."""
    lines = [f"{name}: rule {result['rule']}"]
    for each in result["directions"]:
        lines.append(f"  temperature {each['temperature']}, {each['bands']} bands, intervals {each['intervals']}")
        lines += [f"    {when:10} {each[when]}" for when in ("learned", "decoded", "calibrated")]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, run, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAME", help="data sets (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in arguments.names:
        results[name] = run(name, arguments.seed, arguments.max_epochs)
        print(table(name, results[name]), flush=True)
        options = f"{' '.join(arguments.names)} --seed {arguments.seed} --max-epochs {arguments.max_epochs}"
        command = f"python -m benchmarks.calibrated {options}"
        record.write("calibrated", {"command": command, "data_sets": results, **record.environment(PACKAGES)})


if __name__ == "__main__":
    main()
