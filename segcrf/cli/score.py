"""``segcrf score``: print how well predictions match the labels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segcrf._validation import InputError
from segcrf.cli.comparison import compare_files, holds_labels
from segcrf.cli.inputs import (
    DATA_HELP,
    add_reading_options,
    check_no_overlap,
    check_within,
    labels_of,
    load_model,
    predict_classes,
    read_files,
    read_for_model,
)
from segcrf.cli.labels import add_label_options, check_no_bands, label_column_of, label_recordings, naming_sampling_rate
from segcrf.cli.messages import say, warn
from segcrf.cli.options import add_column_options, add_command, add_fitted_model_options, parse_names
from segcrf.data import (
    Columns,
    TableError,
    class_order,
    listing,
    read_labels,
    segments_to_frames,
)
from segcrf.metrics import Report
from segcrf.segments import Segments

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["add_score_command"]

# What was meant where bands were given as recordings.
_MEANT = "two files of bands are compared by: segcrf score --predicted BANDS --truth {file}"


def add_score_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    command = add_command(commands, "score", run_score, "Print how well predictions match the labels.")
    command.add_argument("data", nargs="*", metavar="DATA", help=f"labelled, to be predicted with --model; {DATA_HELP}")
    add_fitted_model_options(command, required=False)
    command.add_argument("--predicted", type=Path, metavar="BANDS", help="bands that predict wrote, or any")
    command.add_argument("--truth", metavar="DATA", help="labelled recordings, or bands, to hold --predicted against")
    command.add_argument(
        "--margin",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="largest difference of boundaries of two files of bands (frames, if they are in frames; default: 1)",
    )
    command.add_argument(
        "--ignore",
        type=parse_names,
        default=(),
        metavar="A,B,...",
        help="classes that edit and F1 leave out, such as a background",
    )
    command.add_argument(
        "--per-recording",
        action="store_true",
        help="means over recordings, where frames and bands are otherwise pooled",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    add_column_options(command)
    add_reading_options(command)
    add_label_options(command)


def run_score(arguments: argparse.Namespace) -> None:
    """Score a model, or a table of bands, and print the report.

    Args:
        arguments: of the command.
    """
    by_model = bool(arguments.data) and arguments.model is not None
    by_table = arguments.truth is not None and arguments.predicted is not None
    if by_model == by_table or bool(arguments.data) != bool(arguments.model):
        got = "both or neither" if by_model == by_table else "DATA or --model alone"
        raise InputError("score", got, "DATA and --model, or --predicted and --truth")
    if not by_model and holds_labels(arguments.truth):
        report, boundaries = _score_bands(arguments)
    else:
        report, boundaries = _score_model(arguments) if by_model else _score_table(arguments), []
    say(json.dumps(report.to_json(), indent=2) if arguments.json else "\n".join([str(report), *boundaries]))


def _score_model(arguments: argparse.Namespace) -> Report:
    fitted = load_model(arguments)
    model = fitted.segmenter
    label = label_column_of(arguments, fitted.columns.label or "label")
    check_no_bands(arguments.data, fitted.columns.channels, _MEANT)
    columns = dataclasses.replace(fitted.columns, label=label)
    recordings = label_recordings(read_for_model(fitted, columns, arguments), arguments)
    classes = [str(name) for name in model.classes_]
    recordings.check_classes(classes)
    _check_ignored(arguments.ignore, classes)
    predicted = [labels.astype(str) for labels in predict_classes(model, recordings)]
    values = model.predict_targets(recordings.signals) if recordings.targets else None
    return Report.of(
        recordings, predicted, predicted_targets=values, ignore=arguments.ignore, pooled=not arguments.per_recording
    )


def _score_table(arguments: argparse.Namespace) -> Report:
    columns = Columns(arguments.recording, arguments.time, label_column_of(arguments, "label"), channels=())
    truth = label_recordings(read_files(arguments.truth, columns, arguments), arguments)
    truth.check_labelled()
    rate = arguments.sampling_rate
    table = read_labels(arguments.predicted, sampling_rate=rate)
    with naming_sampling_rate():
        bands: Any = segments_to_frames(table, truth, source=arguments.predicted, sampling_rate=rate)
    classes = class_order([bands["label"].to_numpy(dtype=str)])
    known = class_order(labels_of(truth))
    if not {*classes} & {*known}:
        got = f"the classes {listing(classes)}, where {truth.source} has {listing(known)}"
        advice = "name the column of the truth with --label, or rename the classes"
        raise TableError("column 'label'", got, "a class in common", advice, file=arguments.predicted)
    _check_ignored(arguments.ignore, class_order([*labels_of(truth), np.array(classes)]))
    check_within(bands, truth, arguments.predicted)
    check_no_overlap(bands, arguments.predicted)
    absent = [name for name in truth.names if name not in set(bands["recording"])]
    if absent:
        warn(f"{arguments.predicted}: there is no band of recording {listing(absent)}; its frames count as wrong")
    segments = Segments.from_table(bands, classes=[*classes, ""], recordings=truth.names)
    names = np.array([*classes, "", ""])  # -1 and below: no band, no class
    predicted = [names[np.maximum(labels, -1)] for labels in segments.to_labels(truth.lengths)]
    return Report.of(truth, predicted, ignore=arguments.ignore, pooled=not arguments.per_recording)


def _score_bands(arguments: argparse.Namespace) -> tuple[Report, list[str]]:
    """Return the report of two files of bands, and lines about their boundaries."""
    found = compare_files(arguments)
    _check_ignored(arguments.ignore, class_order([*labels_of(found.truth), *found.predicted]))
    report = Report.of(found.truth, found.predicted, ignore=arguments.ignore, pooled=not arguments.per_recording)
    return report, found.describe_boundaries(arguments.margin, arguments.ignore)


def _check_ignored(ignored: Sequence[str], known: Sequence[str]) -> None:
    for name in ignored:
        if name not in known:
            raise InputError("--ignore", repr(name), f"classes among {listing(known)}")
