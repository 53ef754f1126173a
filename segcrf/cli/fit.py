"""``segcrf fit``: train a model on labelled recordings."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segcrf._validation import InputError
from segcrf.cli.inputs import DATA_HELP, add_reading_options, labels_of, read_columns, read_files, read_with_columns
from segcrf.cli.labels import add_label_options, check_no_bands, label_column_of, label_recordings
from segcrf.cli.messages import count, naming_options_and_rows, say, warn
from segcrf.cli.options import (
    add_column_options,
    add_command,
    add_model_options,
    given_parameters,
    parse_names,
    parse_some_names,
)
from segcrf.data import (
    Columns,
    RecordingTable,
    TableError,
    class_order,
    columns_to_config,
    hold,
    listing,
)
from segcrf.inference import saved_model

if TYPE_CHECKING:
    from collections.abc import Generator

    from segcrf.segmenter import Segmenter

__all__ = ["add_fit_command"]

# What was meant where bands were given as recordings.
_MEANT = "give the recordings, and these as labels: segcrf fit RECORDINGS --labels {{file}} --model {folder}"


def add_fit_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    command = add_command(commands, "fit", run_fit, "Train a model on labelled recordings.")
    command.add_argument("train", nargs="+", metavar="TRAIN", help=DATA_HELP)
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="folder to write the model to")
    add_column_options(command)
    command.add_argument(
        "--channels",
        type=parse_some_names,
        metavar="A,B,...",
        help="columns of the signal (default: all that have no other role)",
    )
    command.add_argument(
        "--targets", type=parse_names, default=(), metavar="A,B,...", help="columns of regression targets"
    )
    command.add_argument("--validation", metavar="DATA", help="recordings for early stopping (default: some of TRAIN)")
    command.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="MODEL",
        help="go on from the weights of this model, with the columns of its table; new classes are appended",
    )
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint of a killed fit")
    command.add_argument(
        "--overwrite", action="store_true", help="replace the model that is in FOLDER, or begin a killed fit anew"
    )
    add_reading_options(command)
    add_label_options(command)
    add_model_options(command)


def run_fit(arguments: argparse.Namespace) -> None:
    """Train, save and report a model.

    Args:
        arguments: of the command.
    """
    folder: Path = arguments.model
    _check_writable(folder, arguments)
    _check_objective(arguments)
    columns = _columns_of(arguments)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold(folder, wait=0.0):
        _fit_into(folder, arguments, columns)


def _fit_into(folder: Path, arguments: argparse.Namespace, columns: Columns) -> None:
    """Train, save and report a model, while no other process writes to its folder."""
    from segcrf.training import TrainingWarning

    checkpoint = _check_writable(folder, arguments)  # again: another fit may have ended in between
    check_no_bands(arguments.train, arguments.channels, _MEANT.format(folder=folder))
    train = label_recordings(read_files(arguments.train, columns, arguments), arguments)
    train.check_sampling_rate()
    train.check_labelled()
    _check_targets(train)
    model = _make_segmenter(arguments, train, checkpoint)
    held = None if arguments.validation is None else _read_validation(arguments, train)
    validation = None if held is None else (held.signals, labels_of(held), held.targets)
    warn(*train.doubts(), *_doubt_single_class(train))
    if not arguments.resume:
        saved_model.remove_checkpoint(checkpoint)  # files of another fit would outlast this one
    with _keeping_checkpoint(checkpoint):
        with naming_options_and_rows(train, held), warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)  # the progress bar and the notes report them
            data = train.signals, labels_of(train)
            warm = arguments.start is not None
            resume = arguments.resume
            model.fit(*data, targets=train.targets, validation=validation, resume=resume, warm_start=warm)
        model.save(folder, table=columns_to_config(train.columns, train.sampling_rate))
    saved_model.remove_checkpoint(checkpoint)
    say(_summarise(model, train, folder))
    for note in model.notes_:
        say(f"note: {note}")


def _check_writable(folder: Path, arguments: argparse.Namespace) -> Path:
    """Check that the model can be written, before hours of training; return the folder of the checkpoint."""
    if folder.name in ("", ".."):
        advice = f"give it a name, such as {folder / 'model'}"
        raise InputError("--model", repr(str(folder)), "a new folder for the model", advice)
    checkpoint = folder.with_name(f"{folder.name}.checkpoint")
    begun = saved_model.holds_checkpoint(checkpoint)
    if folder.exists() and not (arguments.overwrite or (arguments.resume and begun)):
        advice = "choose another folder, or replace it with --overwrite"
        raise InputError("--model", f"{folder}, which exists already", "a new folder", advice)
    if begun and not (arguments.overwrite or arguments.resume):
        got = f"{folder}, and {checkpoint} holds a fit that was cut off"
        raise InputError("--model", got, "a new folder", "go on with it by --resume, or begin anew by --overwrite")
    saved_model.check_replaceable(folder)
    if checkpoint.exists() and not checkpoint.is_dir():
        got = f"{folder}, and {checkpoint} is a file"
        raise InputError("--model", got, "a folder for the checkpoint in its place", "choose another --model")
    saved_model.check_replaceable(checkpoint / saved_model.BEST)
    return checkpoint


def _check_objective(arguments: argparse.Namespace) -> None:
    """Check options that need each other, before the table is read."""
    if arguments.switching and not arguments.targets:
        raise InputError("--switching", f"{arguments.switching} without targets", "targets to predict", "add --targets")
    if arguments.posterior and not arguments.switching:
        got, advice = f"{arguments.posterior} without --switching", "add --switching mean, or leave --posterior out"
        raise InputError("--posterior", got, "a regression per class", advice)
    if arguments.posterior == "filter" and arguments.bidirectional is not False:
        got, advice = "filter without --causal", "add --causal, or choose --posterior smooth"
        raise InputError("--posterior", got, "an encoder that does not see the future", advice)


def _columns_of(arguments: argparse.Namespace) -> Columns:
    """Return the columns that were given, and those of the model that the fit goes on from."""
    if arguments.start is None:
        label = label_column_of(arguments, "label")
        return Columns(arguments.recording, arguments.time, label, arguments.channels, arguments.targets)
    if not arguments.start.is_dir():
        raise InputError("--from", f"{arguments.start}, which is no folder", "a model that fit wrote")
    columns, _ = read_columns(arguments.start)
    given = {each.name: getattr(arguments, each.name) for each in dataclasses.fields(columns)}
    given["label"] = None
    columns = dataclasses.replace(columns, label=label_column_of(arguments, columns.label or "label"))
    return dataclasses.replace(columns, **{role: value for role, value in given.items() if value})


def _check_targets(train: RecordingTable) -> None:
    """Check that there is something to learn in every column of targets."""
    for index, name in enumerate(train.columns.targets):
        if all(np.isnan(values[:, index]).all() for values in train.targets or []):
            raise TableError(f"column {name!r}", "no number", "some targets to learn from", file=train.source)


@contextlib.contextmanager
def _keeping_checkpoint(checkpoint: Path) -> Generator[None, None, None]:
    """Say how to go on from the checkpoint when training, or what follows it, is cut off."""
    try:
        yield
    except BaseException as error:
        wrong = isinstance(error, (ValueError, TypeError))  # would be as wrong the next time
        if saved_model.holds_checkpoint(checkpoint) and not wrong:
            print(
                f"segcrf: {checkpoint} keeps the epochs so far; the same command with --resume goes on from there",
                file=sys.stderr,
            )
        raise


def _make_segmenter(arguments: argparse.Namespace, train: RecordingTable, checkpoint: Path) -> Segmenter:
    """Return a Segmenter with the options that were given, and its own defaults for the others."""
    from segcrf.segmenter import Segmenter

    if arguments.device is not None:
        _check_device(arguments.device)
    given = given_parameters(arguments)
    if arguments.start is not None:
        encoder = given.pop("encoder", None)
        model = Segmenter.load(arguments.start, encoder=None if isinstance(encoder, str) else encoder)
        return model.set_params(sampling_rate=train.sampling_rate, directory=checkpoint, **given)
    classes = class_order(labels_of(train))
    return Segmenter(classes=classes, sampling_rate=train.sampling_rate, directory=checkpoint, **given)


def _check_device(name: str) -> None:
    """Try a device; PyTorch reports a bad name and a missing device by different errors."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition(". ")[0].rstrip(".")  # PyTorch goes on for a page
        got = f"{name}, which does not work here ({reason})"
        raise InputError("--device", got, "a device of this machine", "leave it out for the CPU") from error


def _read_validation(arguments: argparse.Namespace, train: RecordingTable) -> RecordingTable:
    recordings = label_recordings(read_with_columns(arguments.validation, train.columns, arguments), arguments)
    recordings.check_sampling_rate(train.sampling_rate)
    recordings.check_labelled()
    recordings.check_classes(class_order(labels_of(train)))
    warn(*recordings.doubts())
    return recordings


def _doubt_single_class(train: RecordingTable) -> list[str]:
    classes = class_order(labels_of(train))
    if len(classes) > 1:
        return []
    return [f"{train.source}: {classes[0]!r} is the only class, and nothing can be learned; label another one too"]


def _summarise(model: Segmenter, train: RecordingTable, folder: Path) -> str:
    best = next(row for row in model.history_ if row["epoch"] == model.best_epoch_)
    loss = best.get("val_crf", best["crf"])
    kind = "validation loss" if "val_crf" in best else "loss"
    classes = [str(name) for name in model.classes_]
    return (
        f"{folder}: {count(len(classes), 'class', 'classes')} ({listing(classes)}) from "
        f"{listing(train.columns.channels or ())}; {count(sum(train.lengths), 'frame')} in "
        f"{count(len(train.names), 'recording')}; best epoch {best['epoch'] + 1:.0f} of {len(model.history_)}, "
        f"{kind} of the labels {loss:.4f} per frame"
    )
