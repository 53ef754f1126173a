"""``segcrf predict``: write the bands of recordings as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf import plot
from segcrf._validation import UNLABELLED, InputError
from segcrf.cli.inputs import DATA_HELP, add_reading_options, dialect_of, load_model, read_for_model
from segcrf.cli.labels import (
    PLACE,
    check_bands_file,
    check_no_bands,
    naming_sampling_rate,
    write_bands,
)
from segcrf.cli.messages import count, naming_options_and_rows, say, warn
from segcrf.cli.options import add_column_options, add_command, add_fitted_model_options
from segcrf.cli.prompts import add_prompt_options, read_prompt_options
from segcrf.data import (
    Columns,
    RecordingTable,
    check_folder,
    columns_of_files,
    escape_formulas,
    find_label_format,
    format_of,
    listing,
    segments_to_seconds,
    segments_to_times,
    write_atomically,
    write_table,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from segcrf.segmenter import Segmenter

__all__ = ["add_predict_command"]

Array = npt.NDArray[Any]


def add_predict_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    command = add_command(commands, "predict", run_predict, "Write the bands of recordings as a table.")
    command.add_argument("data", nargs="+", metavar="DATA", help=DATA_HELP)
    add_fitted_model_options(command)
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="BANDS",
        help="file to write: .csv, .tsv, .parquet, .txt (Audacity), .TextGrid, .eaf, .json (Label Studio), .rttm, "
        ".atr, .edf; {recording} in its name writes one file per recording",
    )
    command.add_argument(
        "--frames",
        type=Path,
        metavar="FILE",
        help="also write every frame: label, posterior per class, predicted targets",
    )
    command.add_argument(
        "--safe-csv",
        action="store_true",
        help="write an apostrophe before a name that a spreadsheet would take for a formula",
    )
    command.add_argument(
        "--interval",
        type=float,
        metavar="P",
        help="also write an interval for each boundary that holds the true one with this probability, such as 0.9",
    )
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the first recording and its bands")
    add_column_options(command)
    add_reading_options(command)
    add_prompt_options(command)


def run_predict(arguments: argparse.Namespace) -> None:
    """Predict and write bands, and frames and a figure if asked for.

    Args:
        arguments: of the command.
    """
    _check_outputs(arguments)
    fitted = load_model(arguments)
    columns, model = fitted.columns, fitted.segmenter
    wanted = _with_truth(columns, arguments) if arguments.plot else columns.without_answers()
    check_no_bands(arguments.data, columns.channels, "give the recordings; predict writes bands itself")
    recordings = read_for_model(fitted, wanted, arguments)
    with naming_sampling_rate():
        known = read_prompt_options(arguments, recordings, model.classes_)
    model.set_params(sampling_rate=None)  # bands get the times of the file's own clock, gaps and all
    with naming_options_and_rows(recordings):
        options = {"min_confidence": arguments.min_confidence, "interval": arguments.interval}
        bands: Any = model.predict_segments(recordings.signals, **options, **known)
    segments = bands.assign(recording=np.array(recordings.names)[bands["recording"]])
    files = _write_segments(segments, recordings, arguments)
    labels = _labels_of_frames(segments, recordings)
    if arguments.frames:
        posterior = model.predict_proba(recordings.signals, **known)
        table = _tabulate_frames(model, recordings, labels, posterior, columns.targets)
        write_table(_safe(table, arguments.frames, arguments), arguments.frames)
    if arguments.plot:
        chart: Any = _draw_first(model, recordings, labels[0])
        with write_atomically(arguments.plot) as temporary:
            chart.savefig(temporary)
    written = str(files[0]) if len(files) == 1 else count(len(files), "file")
    say(f"{written}: {count(len(segments), 'band')} in {count(len(recordings.names), 'recording')}")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Find a mistake in the outputs before the work is done."""
    taken = {Path(data).resolve(): "DATA" for data in arguments.data}
    for option, path in (("--out", arguments.out), ("--frames", arguments.frames), ("--plot", arguments.plot)):
        if path is None:
            continue
        if option == "--plot":
            plot.check_format(path)
        elif option == "--out":
            check_bands_file(path)
        else:
            format_of(path)
        check_folder(path)
        before = taken.setdefault(path.resolve(), option)
        if before != option:
            raise InputError(option, f"{path}, which is also {before}", "a file of its own")


def _write_segments(segments: Any, recordings: RecordingTable, arguments: argparse.Namespace) -> list[Path]:
    """Write bands in the unit of the recordings as a table, in seconds in any other format; return the files."""
    rate: float | None = arguments.sampling_rate
    if find_label_format(arguments.out, existing=False).name == "table":
        bands = _safe(segments_to_times(segments, recordings), arguments.out, arguments)
        if PLACE in arguments.out.name:
            return write_bands(bands, arguments.out)
        write_table(bands, arguments.out)
        return [arguments.out]
    with naming_sampling_rate():
        seconds = segments_to_seconds(segments, recordings, rate)
    return write_bands(seconds, arguments.out, rate=rate or recordings.sampling_rate)


def _safe(table: Any, path: Path, arguments: argparse.Namespace) -> Any:
    """Return a table without formulas if asked for; Parquet has types, and no program takes its text for one."""
    return escape_formulas(table) if arguments.safe_csv and path.suffix != ".parquet" else table


def _with_truth(columns: Columns, arguments: argparse.Namespace) -> Columns:
    """Return the columns with label and targets, as far as the file has them."""
    available = columns_of_files(arguments.data, dialect_of(arguments))
    label = columns.label if columns.label in available else ""
    targets = columns.targets if set(columns.targets) <= set(available) else ()
    return dataclasses.replace(columns, label=label, targets=targets)


def _labels_of_frames(segments: Any, recordings: RecordingTable) -> list[Array]:
    """Return the label of every frame from a table of bands, which cover their recordings."""
    frames = (segments["end"] - segments["start"]).to_numpy()
    labels = np.repeat(segments["label"].to_numpy(), frames)
    return np.split(labels, np.cumsum(recordings.lengths)[:-1])


def _tabulate_frames(
    model: Segmenter,
    recordings: RecordingTable,
    labels: Sequence[Array],
    posterior: Sequence[Array],
    targets: Sequence[str],
) -> pd.DataFrame:
    """Return one row per frame: recording, frame or time, label, posterior of every class, predicted targets."""
    import pandas as pd

    table: dict[str, Any] = {"recording": np.repeat(recordings.names, recordings.lengths)}
    if recordings.times is None or recordings.columns.time is None:
        table["frame"] = np.concatenate([np.arange(length) for length in recordings.lengths])
    else:
        table[recordings.columns.time] = recordings.clock()
    table["label"] = np.concatenate(labels)
    share = np.concatenate(posterior)
    table |= {f"p({name})": share[:, index] for index, name in enumerate(model.classes_)}
    if model.n_targets_:
        values = np.concatenate(model.predict_targets(recordings.signals))
        names = targets or [str(index) for index in range(model.n_targets_)]
        table |= {f"predicted({name})": values[:, index] for index, name in enumerate(names)}
    return pd.DataFrame(table)


def _draw_first(model: Segmenter, recordings: RecordingTable, labels: Array) -> Figure:
    """Draw the first recording with its bands, and the true bands above them if they are known."""
    classes = [str(name) for name in model.classes_]
    signal = recordings.signals[0]
    tracks = {"predicted": _to_indices(labels, classes)}
    if recordings.labels is not None:
        true = recordings.labels[0]
        unknown = sorted({str(label) for label in np.unique(true)} - {*classes, ""})
        if unknown:
            warn(
                f"{recordings.source}: recording {recordings.names[0]!r} has classes that the model does not know "
                f"({listing(unknown)}); they are drawn as unlabelled"
            )
        tracks = {"true": _to_indices(true, classes)} | tracks
    y = None if recordings.targets is None else recordings.targets[0]
    y_hat = model.predict_targets([signal])[0] if model.n_targets_ else None
    rate, channels = recordings.sampling_rate, recordings.columns.channels
    return plot.figure(signal, tracks, y, y_hat, sampling_rate=rate, classes=classes, channels=channels)


def _to_indices(labels: Array, classes: Sequence[str]) -> Array:
    """Return labels given as text as class indices, -100 where there is none or an unknown one."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number.get(str(label), UNLABELLED) for label in labels], dtype=np.int64)
