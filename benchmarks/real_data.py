"""The three commands on real recordings: ``python -m benchmarks.real_data``.

Converts two data sets to long tables, runs ``segcrf fit``, ``predict`` and ``score`` on them as a user would,
prints what ``score`` printed, and writes it with versions and machine to
``benchmarks/results/real_data.json``.

* ``gesture_phase``: Kinect coordinates at about 27 Hz, five phases of gestures. Users a and b train, c tests.
  CSV.
* ``nilm_devicescope``: the power of a house each minute, and which appliance is on; the power of each
  appliance is a regression target. Two houses train, in stretches of 30 days, so that some can be held out to
  choose the best epoch; the third house tests, as one recording of 485,280 frames. Parquet.

The environment variable ``SEGCRF_DATA`` names the folder of the data sets, each with its ``tidy.npz`` and
``meta.json``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import segcrf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = Path(__file__).parent / "results" / "real_data.json"
PACKAGES = ("torch", "lightning", "numpy", "numba", "pandas", "pyarrow")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class DataSet:
    """A data set, how it is split, and how it is fitted.

    Args:
        name: its folder.
        train, test: how the identifiers of recordings begin.
        suffix: format of the tables.
        stretch: frames into which training recordings are cut; None leaves them whole.
        rate: frames per unit of the time column; None for tables without one.
        targets: number of regression targets, the first ones of the data set.
        options: of ``segcrf fit``.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    suffix: str
    stretch: int | None = None
    rate: float | None = None
    targets: int = 0
    options: tuple[str, ...] = ()


DATA_SETS = (
    DataSet("gesture_phase", ("a", "b"), ("c",), ".csv"),
    DataSet(
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
    """Run all data sets, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to run (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fit (default: 0)")
    arguments = parser.parse_args()
    folder = os.environ.get("SEGCRF_DATA")
    if not folder:
        raise SystemExit("set the environment variable SEGCRF_DATA to the folder of the data sets")
    for data_set in DATA_SETS:
        if not arguments.names or data_set.name in arguments.names:
            result = run(data_set, Path(folder) / data_set.name, arguments.seed)
            store(data_set.name, result)


def run(data_set: DataSet, source: Path, seed: int) -> dict[str, Any]:
    """Convert a data set, fit, predict and score.

    Returns:
        The commands, their seconds, and what ``segcrf score --json`` printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        train, test, targets = convert(data_set, source, Path(folder))
        model, bands = f"{folder}/model", f"{folder}/bands{data_set.suffix}"
        options = [
            *data_set.options,
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
        assert all(from_model[name] == from_table[name] for name in ("accuracy", "edit", "f1@50")), "not the same bands"
    print(f"{data_set.name}\n{printed[2]}")
    return {
        "commands": [" ".join(["segcrf", *arguments]).replace(folder + "/", "") for arguments in commands],
        "seconds": [round(value, 1) for value in seconds],
        "fitted": printed[0].strip().replace(folder + "/", ""),
        "scores": from_model,
    }


def command(arguments: Sequence[str]) -> tuple[float, str]:
    """Run a command; return its seconds and what it printed."""
    begin = time.perf_counter()
    finished = subprocess.run(
        [sys.executable, "-m", "segcrf.cli", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - begin, finished.stdout


def convert(data_set: DataSet, source: Path, folder: Path) -> tuple[str, str, list[str]]:
    """Write the long tables of a data set.

    Returns:
        The training table, the test table, and the names of the target columns.
    """
    import pandas as pd

    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    targets = list(meta["regression"])[: data_set.targets]
    with np.load(source / "tidy.npz", allow_pickle=False) as arrays:
        identifiers = [name.removeprefix("X/") for name in arrays.files if name.startswith("X/")]
        paths: list[str] = []
        for part, beginnings in (("train", data_set.train), ("test", data_set.test)):
            stretch = data_set.stretch if part == "train" else None
            chosen = [name for name in identifiers if _belongs(name, beginnings, identifiers)]
            frames = [frame for name in chosen for frame in _frames(data_set, meta, arrays, name, stretch)]
            paths.append(f"{folder}/{part}{data_set.suffix}")
            table = pd.concat(frames)
            if data_set.suffix == ".csv":
                table.to_csv(paths[-1], index=False)
            else:
                table.to_parquet(paths[-1], index=False)
    return paths[0], paths[1], targets


def _belongs(name: str, beginnings: Sequence[str], identifiers: Sequence[str]) -> bool:
    """Whether a recording is one of those named, or, where none is, begins like one."""
    exact = [beginning for beginning in beginnings if beginning in identifiers]
    return name in exact if exact else name.startswith(tuple(beginnings))


def _frames(data_set: DataSet, meta: Any, arrays: Any, name: str, stretch: int | None) -> Iterator[Any]:
    """Long tables of one recording, whole or in stretches."""
    import pandas as pd

    signal, labels = arrays[f"X/{name}"], arrays[f"y/{name}"]
    classes = np.array([*meta["classes"], ""])  # -1 is unlabelled
    columns = {channel: signal[:, index] for index, channel in enumerate(meta["channels_names"])}
    for index, target in enumerate(meta["regression"][: data_set.targets]):
        columns[target] = arrays[f"r/{name}"][:, index]
    columns["label"] = classes[labels]
    if data_set.rate is not None:
        columns["time"] = np.arange(len(labels)) / data_set.rate
    table = pd.DataFrame(columns)
    step = stretch or len(table)
    for number, start in enumerate(range(0, len(table), step)):
        part = table.iloc[start : start + step].copy()
        part["recording"] = name if stretch is None else f"{name}/{number}"
        yield part


def store(name: str, result: dict[str, Any]) -> None:
    """Put a result beside those that are there."""
    content = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    content[name] = result | {"versions": versions(), "machine": machine()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    draft = RESULTS.with_suffix(".part")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, RESULTS)


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter."""
    installed = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "segcrf": segcrf.__version__, **installed}


def machine() -> str:
    """Processor and cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


if __name__ == "__main__":
    main()
