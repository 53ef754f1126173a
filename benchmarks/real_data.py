"""Run the three commands on real recordings: ``python -m benchmarks.real_data``.

Converts two data sets to long tables and runs ``segcrf fit``, ``predict`` and ``score`` on them, as a user would.
Prints the scores and writes them, with versions and machine, to ``benchmarks/results/real_data.json``.

* ``gesture_phase``, as CSV: Kinect coordinates at about 27 Hz, five phases of gestures. Users a and b train, c tests.
* ``nilm_devicescope``, as Parquet: the power of a house each minute, and the appliance that is on. The power of each
  appliance is a regression target. Two houses train, in stretches of 30 days, so that some can be held out to choose
  the best epoch. The third house tests, as one recording of 485,280 frames.

:mod:`benchmarks.data` finds or downloads the recordings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import data, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = ("segcrf", "torch", "lightning", "numpy", "numba", "pandas", "pyarrow")


@dataclass(frozen=True)
class Trial:
    """Split of a data set, and options of its fit.

    Args:
        name: name of the data set.
        train, test: prefixes of the identifiers of recordings.
        suffix: file suffix of the tables.
        stretch: frames into which training recordings are cut; None leaves them whole.
        rate: frames per unit of the time column; None for tables without one.
        targets: number of regression targets, the first ones of the data set.
        options: options of ``segcrf fit``.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    suffix: str
    stretch: int | None = None
    rate: float | None = None
    targets: int = 0
    options: tuple[str, ...] = ()


TRIALS = (
    Trial("gesture_phase", ("a", "b"), ("c",), ".csv"),
    Trial(
        "nilm_devicescope",
        ("REFIT_House20", "UKDALE_House2"),
        ("REFIT_House2",),
        ".parquet",
        stretch=30 * 24 * 60,
        rate=1.0,
        targets=4,
        options=("--epochs", "12"),
    ),
)


def main() -> None:
    """Run all data sets, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to run (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fit (default: 0)")
    arguments = parser.parse_args()
    for trial in TRIALS:
        if not arguments.names or trial.name in arguments.names:
            try:
                recordings = data.load(trial.name)
            except (data.ChecksumError, data.DataMissingError) as error:
                raise SystemExit(str(error)) from error
            store(trial.name, run(trial, recordings, arguments.seed))


def run(trial: Trial, recordings: data.DataSet, seed: int) -> dict[str, Any]:
    """Convert a data set, fit, predict and score.

    Returns:
        The commands, their seconds, and the output of ``segcrf score --json``.
    """
    with tempfile.TemporaryDirectory() as folder:
        train, test, targets = convert(trial, recordings, folder)
        model, bands = f"{folder}/model", f"{folder}/bands{trial.suffix}"
        options = [
            *trial.options,
            "--seed",
            str(seed),
            *(["--targets", ",".join(targets)] if targets else []),
        ]
        commands = [
            ["fit", train, "--model", model, *options],
            ["predict", test, "--model", model, "--out", bands],
            ["score", test, "--model", model],
            ["score", "--predicted", bands, "--truth", test, "--json"],
            ["score", test, "--model", model, "--json"],
        ]
        seconds, printed = zip(*(command(arguments) for arguments in commands), strict=True)
        from_table, from_model = json.loads(printed[3]), json.loads(printed[4])
        assert all(from_model[name] == from_table[name] for name in ("accuracy", "edit", "f1@50")), (
            "the two scores are of different bands"
        )
    print(f"{trial.name}\n{printed[2]}")
    return {
        "commands": [" ".join(["segcrf", *arguments]).replace(folder + "/", "") for arguments in commands],
        "seconds": [round(value, 1) for value in seconds],
        "fitted": printed[0].strip().replace(folder + "/", ""),
        "scores": from_model,
    }


def command(arguments: Sequence[str]) -> tuple[float, str]:
    """Run a command; return its seconds and its output."""
    begin = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", "segcrf.cli", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - begin, finished.stdout


def convert(trial: Trial, recordings: data.DataSet, folder: str) -> tuple[str, str, list[str]]:
    """Write the long tables of a data set.

    Returns:
        The training table, the test table, and the names of the target columns.
    """
    import pandas as pd

    paths: list[str] = []
    for part, beginnings in (("train", trial.train), ("test", trial.test)):
        stretch = trial.stretch if part == "train" else None
        chosen = [name for name in recordings.signals if _belongs(name, beginnings, recordings)]
        table = pd.concat([frame for name in chosen for frame in _frames(trial, recordings, name, stretch)])
        paths.append(f"{folder}/{part}{trial.suffix}")
        if trial.suffix == ".csv":
            table.to_csv(paths[-1], index=False)
        else:
            table.to_parquet(paths[-1], index=False)
    return paths[0], paths[1], list(recordings.target_names[: trial.targets])


def _belongs(name: str, beginnings: Sequence[str], recordings: data.DataSet) -> bool:
    """Return whether a recording has one of the names, or one of the prefixes where no recording has such a name."""
    exact = [beginning for beginning in beginnings if beginning in recordings.signals]
    return name in exact if exact else name.startswith(tuple(beginnings))


def _frames(trial: Trial, recordings: data.DataSet, name: str, stretch: int | None) -> Iterator[Any]:
    """Yield the long tables of one recording, whole or in stretches."""
    import pandas as pd

    signal, labels = recordings.signals[name], recordings.labels[name]
    columns = {channel: signal[:, index] for index, channel in enumerate(recordings.channels)}
    for index, target in enumerate(recordings.target_names[: trial.targets]):
        columns[target] = recordings.targets[name][:, index]
    names = np.array([*recordings.classes, ""])
    columns["label"] = names[np.where(labels == data.UNLABELLED, len(recordings.classes), labels)]
    if trial.rate is not None:
        columns["time"] = np.arange(len(labels)) / trial.rate
    table = pd.DataFrame(columns)
    step = stretch or len(table)
    for number, start in enumerate(range(0, len(table), step)):
        part = table.iloc[start : start + step].copy()
        part["recording"] = name if stretch is None else f"{name}/{number}"
        yield part


def store(name: str, result: dict[str, Any]) -> None:
    """Add a result to the file of results."""
    record.write("real_data", record.read("real_data") | {name: result | record.environment(PACKAGES)})


if __name__ == "__main__":
    main()
