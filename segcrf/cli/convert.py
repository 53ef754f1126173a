"""``segcrf convert``: write bands in another format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segcrf._validation import InputError, frames_per_second
from segcrf.cli.labels import check_bands_file, write_bands
from segcrf.cli.messages import count, say
from segcrf.cli.options import add_command
from segcrf.data import LABEL_FORMATS, find_label_format, read_labels

if TYPE_CHECKING:
    import argparse

__all__ = ["add_convert_command"]


def add_convert_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    command = add_command(commands, "convert", run_convert, "Write bands in another format of labels.")
    command.add_argument("bands", nargs="+", type=Path, metavar="BANDS", help="files of bands to read")
    command.add_argument(
        "out", type=Path, metavar="OUT", help="file to write; {recording} in its name writes one file per recording"
    )
    formats = ", ".join(LABEL_FORMATS)
    command.add_argument("--from", dest="source", metavar="NAME", help=f"format of BANDS: {formats} (default: found)")
    command.add_argument("--to", metavar="NAME", help="format of OUT (default: by its ending)")
    command.add_argument("--annotator", metavar="NAME", help="person, tier or subject to take (default: all)")
    command.add_argument(
        "--unit", choices=("seconds", "frames"), help="of times in a table (default: by the names of its columns)"
    )
    text = "frames per second, where some files are in frames and others in seconds"
    command.add_argument("--sampling-rate", type=float, metavar="HERTZ", help=text)


def run_convert(arguments: argparse.Namespace) -> None:
    """Read bands and write them.

    Args:
        arguments: of the command.
    """
    import pandas as pd

    if arguments.to is None:
        check_bands_file(arguments.out)
    chosen = find_label_format(arguments.out, arguments.to, existing=False)
    parts: list[Any] = []
    for file in arguments.bands:
        if file.resolve() == arguments.out.resolve():
            raise InputError("OUT", f"{file}, which is also BANDS", "a file of its own")
        rate, annotator = arguments.sampling_rate, arguments.annotator
        table: Any = read_labels(file, format=arguments.source, sampling_rate=rate, annotator=annotator)
        if arguments.unit is not None:
            table.attrs["unit"] = arguments.unit
        if chosen.name != "table" or rate is not None:
            table = _to_seconds(table, rate, file)
        parts.append(table)
    units = {part.attrs.get("unit") for part in parts}
    if len(units) > 1:
        raise InputError("BANDS", "files in seconds and in frames", "one unit", "give --sampling-rate")
    bands = pd.concat(parts, ignore_index=True)
    if chosen.name == "table" and units == {"frames"}:
        bands = bands.rename(columns={"start": "start_frame", "end": "end_frame"})
    files = write_bands(bands, arguments.out, form=arguments.to, rate=arguments.sampling_rate)
    written = str(files[0]) if len(files) == 1 else count(len(files), "file")
    say(f"{written}: {count(len(bands), 'band')} in {count(bands['recording'].nunique(), 'recording')}")


def _to_seconds(table: Any, rate: float | None, file: Path) -> Any:
    """Return bands of a file in seconds, as :func:`~segcrf.data.read_labels` returned them."""
    unit = table.attrs.get("unit")
    times = table[["start", "end"]]
    numeric = all(kind.kind in "iuf" for kind in times.dtypes)
    if unit is None and numeric and len(table) and (times == np.rint(times)).all(axis=None):
        got, expected = f"whole numbers without a unit in {file}", "seconds or frames"
        raise InputError("times", got, expected, "say which by --unit seconds or --unit frames")
    if unit != "frames":
        return table
    if rate is None:
        raise InputError("--sampling-rate", "none", f"frames per second, as {file} is in frames", "give it")
    seconds = table.assign(**{column: table[column] / frames_per_second(rate) for column in ("start", "end")})
    seconds.attrs["unit"] = "seconds"
    return seconds
