"""The command line: ``segcrf demo | fit | predict | score``.

Recordings are long tables in CSV or Parquet (:mod:`segcrf.data.tables`). Bad input ends with exit code 2 and one
line that says what was wrong and what to do; ``--debug`` shows where it happened. What is odd but can be worked
with is told in lines that begin with ``segcrf: warning``, on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from segcrf import plot
from segcrf._validation import UNLABELLED
from segcrf.data import Columns, Recordings, tables
from segcrf.inference import storage
from segcrf.metrics import Report
from segcrf.segments import Segments

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
    from matplotlib.figure import Figure

    from segcrf.segmenter import Segmenter

Array = npt.NDArray[Any]

BAD_INPUT = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; those of the process when left out.

    Returns:
        0, or 2 when the input is at fault, or 130 when interrupted.

    >>> main(["score", "missing.csv", "--model", "nowhere"])
    2
    """
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.run(arguments)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if arguments.debug:
            raise
        print(f"segcrf: error: {_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("segcrf: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the message with the command whose help explains it, and exit with code 2."""
        print(f"segcrf: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    root = Parser(prog="segcrf", description="Solid class bands from long signals.")
    commands = root.add_subparsers(required=True, metavar="demo | fit | predict | score", parser_class=Parser)
    _add_demo(commands)
    _add_fit(commands)
    _add_predict(commands)
    _add_score(commands)
    return root


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> Any:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _add_demo(commands: Any) -> None:
    command = _command(commands, "demo", _demo, "Train three ways on the founding problem, print a table, draw it.")
    command.add_argument("--quick", action="store_true", help="a shorter training, to see that everything runs")
    command.add_argument("--seed", type=int, default=0, help="seed of signals and networks (default: 0)")
    command.add_argument(
        "--out",
        type=Path,
        default=Path("segcrf-demo.png"),
        metavar="FILE.png",
        help="the figure (default: segcrf-demo.png)",
    )
    command.add_argument(
        "--tables",
        type=Path,
        metavar="FOLDER",
        help="instead, write tables to try fit, predict and score on",
    )


def _add_fit(commands: Any) -> None:
    command = _command(commands, "fit", _fit, "Train a model on labelled recordings.")
    command.add_argument("train", metavar="TRAIN", help="long table: .csv, .csv.gz, .tsv or .parquet")
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="folder to write the model to")
    _add_columns(command, "recording", "time", "label")
    command.add_argument(
        "--channels",
        type=_some_names,
        metavar="A,B,...",
        help="columns of the signal (default: all that have no other role)",
    )
    command.add_argument("--targets", type=_names, default=(), metavar="A,B,...", help="columns of numbers to predict")
    command.add_argument("--validation", metavar="FILE", help="recordings for early stopping (default: some of TRAIN)")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint of a killed fit")
    command.add_argument(
        "--overwrite", action="store_true", help="replace the model that is in FOLDER, or begin a killed fit anew"
    )
    _add_model_options(command)


def _add_model_options(command: Any) -> None:
    """Options of the Segmenter; one that is not given keeps the Segmenter's default."""
    group = command.add_argument_group("model and training (defaults: those of segcrf.Segmenter)")
    group.add_argument("--structure", metavar="NAME", help="linear-chain or semi-markov")
    group.add_argument("--encoder", metavar="NAME", help="lstm, gru or tcn")
    group.add_argument("--hidden", type=int, metavar="N", help="features per direction")
    group.add_argument("--layers", type=int, metavar="N")
    group.add_argument(
        "--causal",
        dest="bidirectional",
        action="store_false",
        default=None,
        help="an encoder that sees the past only, for live use",
    )
    group.add_argument("--dropout", type=float, metavar="SHARE", help="probability that a feature is dropped")
    group.add_argument(
        "--frame-loss",
        type=_number_or_auto,
        metavar="WEIGHT",
        help="of a loss of single frames that fades: a number, or auto (tried where bands are long)",
    )
    group.add_argument("--standardize", metavar="BY", help="channels by the mean and deviation of: dataset, recording")
    group.add_argument(
        "--regression", metavar="LOSS", help="of the targets: mse, smooth_l1, gaussian, student_t or beta_nll"
    )
    group.add_argument("--combine", metavar="NAME", help="losses of labels and targets: running-mean, sum, uncertainty")
    group.add_argument(
        "--switching", metavar="FORM", help="a regression per class, trained by: mean, likelihood or predictive"
    )
    group.add_argument(
        "--posterior", metavar="NAME", help="with --switching: filter (targets in the future; --causal) or smooth"
    )
    group.add_argument("--epochs", dest="max_epochs", type=int, metavar="N", help="at most so many epochs")
    group.add_argument("--batch-size", type=int, metavar="N", help="windows per step")
    group.add_argument("--window", type=int, metavar="FRAMES", help="length of a training window")
    group.add_argument(
        "--learning-rate",
        type=_number_or_auto,
        metavar="RATE",
        help="a number; or auto, as with --targets: try several",
    )
    group.add_argument(
        "--balance", type=float, metavar="RATIO", help="windows of the commonest class alone, at most, per other window"
    )
    group.add_argument(
        "--validation-fraction",
        type=float,
        metavar="SHARE",
        help="of TRAIN that chooses the best epoch, where --validation is not given; 0: none",
    )
    group.add_argument("--patience", type=int, metavar="EPOCHS", help="stop after so many without improvement")
    group.add_argument("--seed", type=int, metavar="N")
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, ...")
    group.add_argument("--quiet", dest="progress", action="store_false", default=None, help="no progress bar")


def _add_predict(commands: Any) -> None:
    command = _command(commands, "predict", _predict, "Write the bands of recordings as a table.")
    command.add_argument("data", metavar="DATA", help="long table: .csv, .csv.gz, .tsv or .parquet")
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="model that fit wrote")
    command.add_argument("--out", type=Path, required=True, metavar="SEGMENTS", help="table to write: .csv or .parquet")
    command.add_argument(
        "--frames",
        type=Path,
        metavar="FILE",
        help="also write every frame: label, posterior per class, predicted targets",
    )
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the first recording and its bands")
    _add_columns(command, "recording", "time", "label")


def _add_score(commands: Any) -> None:
    command = _command(commands, "score", _score, "Print how well predictions match the labels.")
    command.add_argument("data", nargs="?", metavar="DATA", help="labelled long table, to be predicted with --model")
    command.add_argument("--model", type=Path, metavar="FOLDER", help="model that fit wrote")
    command.add_argument("--predicted", type=Path, metavar="SEGMENTS", help="a table that predict wrote")
    command.add_argument("--truth", metavar="DATA", help="labelled long table to hold --predicted against")
    command.add_argument(
        "--ignore",
        type=_names,
        default=(),
        metavar="A,B,...",
        help="classes whose bands edit and F1 leave out, such as a background",
    )
    command.add_argument(
        "--per-recording",
        action="store_true",
        help="means over recordings, where frames and bands are otherwise pooled",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    _add_columns(command, "recording", "time", "label")


def _add_columns(command: Any, *roles: str) -> None:
    texts = {
        "recording": "column that tells recordings apart",
        "time": "column of times ('' counts frames)",
        "label": "column of classes, text or integers; empty = unlabelled",
    }
    for role in roles:
        command.add_argument(
            f"--{role}",
            metavar="COL",
            help=f"{texts[role]} (default: {role}, if there is one; predict, score: as fit)",
        )


def _demo(arguments: argparse.Namespace) -> None:
    from segcrf.cli import demo

    if arguments.tables is not None:
        files = demo.write_tables(arguments.tables, arguments.seed)
        print(f"written: {', '.join(map(str, files))}")
        return
    demo.main(quick=arguments.quick, seed=arguments.seed, out=arguments.out)


def _fit(arguments: argparse.Namespace) -> None:
    from segcrf.training import TrainingWarning

    folder: Path = arguments.model
    checkpoint = _check_free(folder, arguments)
    asked = Columns(
        arguments.recording, arguments.time, arguments.label or "label", arguments.channels, arguments.targets
    )
    train = tables.read_recordings(arguments.train, asked)
    train.check_rate()
    train.check_labelled()
    _check_targets(train)
    model = _segmenter(arguments, train, checkpoint)
    validation = _validation(arguments.validation, train)
    _warn(*train.doubts(), *_lone_class(train))
    if not arguments.resume:
        storage.remove_checkpoint(checkpoint)  # of another fit, whose files would outlast this one
    with _keeping(checkpoint):
        with _in_the_words_of(arguments, train), warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)  # the bar and the notes tell them
            data = train.signals, _labels(train)
            model.fit(*data, targets=train.targets, validation=validation, resume=arguments.resume)
        model.save(folder)
        tables.save_columns(folder, train.columns, train.sampling_rate)
    storage.remove_checkpoint(checkpoint)
    print(_fitted(model, train, folder))
    for note in model.notes_:
        print(f"note: {_typed(note, arguments, train.names)}")


def _check_free(folder: Path, arguments: argparse.Namespace) -> Path:
    """Check that the model can be written, before hours of training; return where the checkpoint goes."""
    if folder.name in ("", ".."):
        raise ValueError(f"{folder}: expected a new folder for the model; give it a name, such as {folder / 'model'}")
    checkpoint = folder.with_name(f"{folder.name}.checkpoint")
    begun = storage.holds_checkpoint(checkpoint)
    if folder.exists() and not (arguments.overwrite or (arguments.resume and begun)):
        raise ValueError(f"{folder}: exists already; choose another folder, or replace it with --overwrite")
    if begun and not (arguments.overwrite or arguments.resume):
        raise ValueError(
            f"{checkpoint}: holds a fit that was cut off; go on with it by --resume, or begin anew by --overwrite"
        )
    storage.check_replaceable(folder)
    if checkpoint.exists() and not checkpoint.is_dir():
        raise ValueError(f"{checkpoint}: is a file, expected a folder for the checkpoint; choose another --model")
    storage.check_replaceable(checkpoint / storage.BEST)
    return checkpoint


def _check_targets(train: Recordings) -> None:
    """Check that there is something to learn in every column of targets."""
    for index, name in enumerate(train.columns.targets):
        if all(np.isnan(values[:, index]).all() for values in train.targets or []):
            raise ValueError(f"{train.source}: column {name!r} has no number, expected some to learn from")


@contextlib.contextmanager
def _keeping(checkpoint: Path) -> Generator[None, None, None]:
    """Say how to go on from the checkpoint when training, or what follows it, is cut off."""
    try:
        yield
    except BaseException as error:
        wrong = isinstance(error, (ValueError, TypeError))  # what would be as wrong the next time
        if storage.holds_checkpoint(checkpoint) and not wrong:
            print(
                f"segcrf: {checkpoint} keeps the epochs so far; the same command with --resume goes on from there",
                file=sys.stderr,
            )
        raise


@contextlib.contextmanager
def _in_the_words_of(arguments: argparse.Namespace, train: Recordings) -> Generator[None, None, None]:
    """Let errors of the Segmenter name recordings as the table does and options as they are typed."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(_typed(str(error), arguments, train.names)) from error


def _typed(text: str, arguments: argparse.Namespace, names: Sequence[str]) -> str:
    """A message of the Segmenter with names of recordings for their numbers, and with options for parameters."""

    def name(found: re.Match[str]) -> str:
        return f"recording {names[int(found[1])]!r}" if int(found[1]) < len(names) else found[0]

    switches = {"bidirectional=False": "--causal", "bidirectional=True": "no --causal", "resume=False": "--overwrite"}
    for written, option in {**switches, "validation=": "--validation"}.items():
        text = text.replace(written, option)
    for parameter in _parameters(arguments):
        option = "--epochs" if parameter == "max_epochs" else f"--{parameter.replace('_', '-')}"
        text = re.sub(rf"\b{parameter}=None", f"no {option}", text)
        text = re.sub(rf"\b{parameter}='?([\w-]+(?:\.\w+)?)'?", rf"{option} \1", text)
        text = re.sub(rf"^{parameter}\b(?=.*: got)", option, text)
        if "_" in parameter:  # elsewhere too, as this is no word of English
            text = re.sub(rf"(?<![-\w]){parameter}\b", option, text)
    return re.sub(r"\brecording (\d+)\b", name, text)


def _parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters of the Segmenter that have an option, None where it was not given."""
    from segcrf.segmenter import Segmenter

    return {name: vars(arguments)[name] for name in Segmenter().get_params() if name in vars(arguments)}


def _segmenter(arguments: argparse.Namespace, train: Recordings, checkpoint: Path) -> Segmenter:
    """A Segmenter with the options that were given, and its own defaults for the others."""
    from segcrf.segmenter import Segmenter

    if arguments.switching and not arguments.targets:
        raise ValueError(f"--switching {arguments.switching}: a regression per class needs numbers; add --targets")
    if arguments.device is not None:
        _check_device(arguments.device)
    given = {name: value for name, value in _parameters(arguments).items() if value is not None}
    classes = tables.class_order(_labels(train))
    return Segmenter(classes=classes, sampling_rate=train.sampling_rate, directory=checkpoint, **given)


def _check_device(name: str) -> None:
    """Find out whether a device works, of which PyTorch and Lightning tell each in a way of its own."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"\.\s|\.?$", str(error), maxsplit=1)[0]  # PyTorch goes on for a page
        raise ValueError(f"--device {name}: does not work here ({reason}); leave it out for the CPU") from error


def _validation(path: str | None, train: Recordings) -> tuple[Any, ...] | None:
    if path is None:
        return None
    recordings = tables.read_recordings(path, _fixed(train.columns))
    recordings.check_rate(train.sampling_rate)
    recordings.check_labelled()
    recordings.check_classes(tables.class_order(_labels(train)))
    _warn(*recordings.doubts())
    return recordings.signals, _labels(recordings), recordings.targets


def _lone_class(train: Recordings) -> list[str]:
    classes = tables.class_order(_labels(train))
    if len(classes) > 1:
        return []
    return [f"{train.source}: {classes[0]!r} is the only class, and nothing can be learned; label another one too"]


def _fitted(model: Segmenter, train: Recordings, folder: Path) -> str:
    best = next(row for row in model.history_ if row["epoch"] == model.best_epoch_)
    loss = best.get("val_crf", best["crf"])
    told = "validation loss" if "val_crf" in best else "loss"
    classes = [str(name) for name in model.classes_]
    return (
        f"{folder}: {_counted(len(classes), 'class', 'classes')} ({tables.listing(classes)}) from "
        f"{tables.listing(train.columns.channels or ())}; {_counted(sum(train.lengths), 'frame')} in "
        f"{_counted(len(train.names), 'recording')}; best epoch {best['epoch'] + 1:.0f} of {len(model.history_)}, "
        f"{told} of the labels {loss:.4f} per frame"
    )


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _predict(arguments: argparse.Namespace) -> None:
    _check_outputs(arguments)
    model, columns, sampling_rate = _load(arguments)
    wanted = _with_truth(columns, arguments.data) if arguments.plot else columns.without_answers()
    recordings = _read_for(model, arguments.data, wanted, sampling_rate)
    model.set_params(sampling_rate=None)  # bands are placed by the file's own clock, gaps and all
    segments = model.predict_segments(recordings.signals, recordings=recordings.names)
    tables.write_table(tables.place(segments, recordings), arguments.out)
    if arguments.frames:
        tables.write_table(_frame_table(model, recordings, columns.targets), arguments.frames)
    if arguments.plot:
        chart: Any = _chart(model, recordings)
        with tables.atomic(arguments.plot) as temporary:
            chart.savefig(temporary)
    print(f"{arguments.out}: {_counted(len(segments), 'band')} in {_counted(len(recordings.names), 'recording')}")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Find a mistake in the outputs before the work is done."""
    taken = {Path(arguments.data).resolve(): "DATA"}
    for option, path in (("--out", arguments.out), ("--frames", arguments.frames), ("--plot", arguments.plot)):
        if path is None:
            continue
        if option == "--plot":
            plot.check_format(path)
        else:
            tables.format_of(path)
        tables.check_folder(path)
        before = taken.setdefault(path.resolve(), option)
        if before != option:
            raise ValueError(f"{path}: is both {before} and {option}; give each a file of its own")


def _load(arguments: argparse.Namespace) -> tuple[Segmenter, Columns, float | None]:
    """The model, its columns with those that were given now, and the sampling rate it was fitted at."""
    from segcrf.segmenter import Segmenter

    model = Segmenter.load(arguments.model)
    columns, sampling_rate = tables.load_columns(arguments.model)
    given = {role: getattr(arguments, role) for role in ("recording", "time", "label")}
    columns = dataclasses.replace(columns, **{role: name for role, name in given.items() if name is not None})
    if columns.channels is None:  # the model was saved from Python, which knows no columns
        columns = columns.resolve(tables.columns_of(arguments.data))
    return model, columns, sampling_rate


def _with_truth(columns: Columns, path: str) -> Columns:
    """The columns with label and targets, as far as the file has them."""
    available = tables.columns_of(path)
    label = columns.label if columns.label in available else ""
    targets = columns.targets if set(columns.targets) <= set(available) else ()
    return dataclasses.replace(columns, label=label, targets=targets)


def _read_for(model: Segmenter, path: str, columns: Columns, sampling_rate: float | None) -> Recordings:
    """Read recordings for a model, which must have its channels and its sampling rate."""
    available = tables.columns_of(path)
    channels = columns.channels or ()
    absent = [name for name in channels if name not in available]
    if absent or len(channels) != model.n_features_in_:
        if absent:
            wanted = f" ({tables.listing(channels)})"
            found = f"the columns {tables.listing(available)}, without {tables.listing(absent)}"
        else:
            wanted, found = "", f"{len(channels)} ({tables.listing(channels)})"
        raise ValueError(
            f"{path}: the model was fitted with {_counted(model.n_features_in_, 'channel')}{wanted}, got {found}; give "
            "recordings of the same channels"
        )
    recordings = tables.read_recordings(path, _fixed(columns))
    if recordings.times is not None:
        recordings.check_rate(sampling_rate)
    _warn(*recordings.doubts())
    return recordings


def _fixed(columns: Columns) -> Columns:
    """The same columns, none of which is to be guessed any more."""
    return dataclasses.replace(
        columns, recording=columns.recording or "", time=columns.time or "", label=columns.label or ""
    )


def _frame_table(model: Segmenter, recordings: Recordings, targets: Sequence[str]) -> pd.DataFrame:
    """One row per frame: recording, frame or time, label, posterior of every class, predicted targets."""
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    table: dict[str, Any] = {"recording": np.repeat(recordings.names, recordings.lengths)}
    if recordings.times is None or recordings.columns.time is None:
        table["frame"] = np.concatenate([np.arange(length) for length in recordings.lengths])
    else:
        table[recordings.columns.time] = recordings.clock()
    table["label"] = np.concatenate(_classes(model, recordings.signals))
    posterior = np.concatenate(model.predict_proba(recordings.signals))
    table |= {f"p({name})": posterior[:, index] for index, name in enumerate(model.classes_)}
    if model.n_targets_:
        values = np.concatenate(model.predict_targets(recordings.signals))
        names = targets or [str(index) for index in range(model.n_targets_)]
        table |= {f"predicted({name})": values[:, index] for index, name in enumerate(names)}
    return pd.DataFrame(table)


def _chart(model: Segmenter, recordings: Recordings) -> Figure:
    """The first recording with its bands, and the truth above them where it is known."""
    classes = [str(name) for name in model.classes_]
    signal = recordings.signals[0]
    tracks = {"predicted": _numbered(_classes(model, [signal])[0], classes)}
    if recordings.labels is not None:
        true = recordings.labels[0]
        unknown = sorted({str(label) for label in np.unique(true)} - {*classes, ""})
        if unknown:
            _warn(
                f"{recordings.source}: recording {recordings.names[0]!r} has classes that the model does not know "
                f"({tables.listing(unknown)}); they are drawn as unlabelled"
            )
        tracks = {"true": _numbered(true, classes)} | tracks
    y = None if recordings.targets is None else recordings.targets[0]
    y_hat = model.predict_targets([signal])[0] if model.n_targets_ else None
    return plot.figure(signal, tracks, y, y_hat, sampling_rate=recordings.sampling_rate, classes=classes)


def _classes(model: Segmenter, signals: Sequence[Array]) -> list[Array]:
    """The predicted classes by name, also where the model was fitted on their numbers."""
    predicted = model.predict(signals)
    return [model.classes_[labels] if labels.dtype.kind in "iu" else labels for labels in predicted]


def _numbered(labels: Array, classes: Sequence[str]) -> Array:
    """Text labels as numbers of classes, -100 where there is none or another."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number.get(str(label), UNLABELLED) for label in labels], dtype=np.int64)


def _score(arguments: argparse.Namespace) -> None:
    by_model = arguments.data is not None and arguments.model is not None
    by_table = arguments.truth is not None and arguments.predicted is not None
    if by_model == by_table or bool(arguments.data) != bool(arguments.model):
        raise ValueError("score needs DATA and --model, or --predicted and --truth")
    report = _score_model(arguments) if by_model else _score_table(arguments)
    print(json.dumps(report.to_json(), indent=2) if arguments.json else report)


def _score_model(arguments: argparse.Namespace) -> Report:
    model, columns, sampling_rate = _load(arguments)
    columns = dataclasses.replace(columns, label=columns.label or "label")
    recordings = _read_for(model, arguments.data, columns, sampling_rate)
    classes = [str(name) for name in model.classes_]
    recordings.check_classes(classes)
    _check_ignored(arguments.ignore, classes)
    predicted = [labels.astype(str) for labels in _classes(model, recordings.signals)]
    values = model.predict_targets(recordings.signals) if recordings.targets else None
    return Report.of(predicted, recordings, values, arguments.ignore, not arguments.per_recording)


def _score_table(arguments: argparse.Namespace) -> Report:
    columns = Columns(arguments.recording, arguments.time, arguments.label or "label")
    truth = tables.read_recordings(arguments.truth, dataclasses.replace(columns, channels=()))
    truth.check_labelled()
    written = tables.read_segments(arguments.predicted)
    try:
        bands: Any = tables.to_frames(written, truth)
    except ValueError as error:
        raise ValueError(f"{arguments.predicted}: {error}") from error
    classes = tables.class_order([bands["label"].to_numpy(dtype=str)])
    known = tables.class_order(_labels(truth))
    if not {*classes} & {*known}:
        raise ValueError(
            f"{arguments.predicted} has the classes {tables.listing(classes)}, {arguments.truth} has "
            f"{tables.listing(known)}, and none is the same; name the column of the truth with --label, or rename them"
        )
    _check_ignored(arguments.ignore, tables.class_order([*_labels(truth), np.array(classes)]))
    _check_within(bands, truth, arguments.predicted)
    segments = Segments.from_table(bands, classes=[*classes, ""], recordings=truth.names)
    names = np.array([*classes, "", ""])  # -1 and below: no band, no class
    predicted = [names[np.maximum(labels, -1)] for labels in segments.to_labels(truth.lengths)]
    return Report.of(predicted, truth, None, arguments.ignore, not arguments.per_recording)


def _check_within(bands: Any, truth: Recordings, path: Path) -> None:
    """Check that bands in frames lie within their recordings, side by side."""
    length = dict(zip(truth.names, truth.lengths, strict=True))
    outside = bands[(bands["start"] < 0) | (bands["end"] > bands["recording"].map(length))]
    if len(outside):
        band = outside.iloc[0]
        raise ValueError(
            f"{path}: row {outside.index[0]}: a band of frames {band['start']} to {band['end']}, where recording "
            f"{band['recording']!r} of {truth.source} has frames 0 to {length[band['recording']]}; give the recordings "
            "that were segmented, with times in the same unit"
        )
    sorted_bands = bands.sort_values(["recording", "start"], kind="stable")
    one, next_one = sorted_bands.iloc[:-1], sorted_bands.iloc[1:]
    same = one["recording"].to_numpy() == next_one["recording"].to_numpy()
    overlapping = np.flatnonzero(same & (one["end"].to_numpy() > next_one["start"].to_numpy()))
    if overlapping.size:
        rows = [part.index[overlapping[0]] for part in (one, next_one)]
        raise ValueError(
            f"{path}: rows {rows[0]} and {rows[1]}: two bands of recording {one['recording'].iloc[overlapping[0]]!r} "
            "overlap; a frame has one class, cut one of them"
        )
    absent = [name for name in truth.names if name not in set(bands["recording"])]
    if absent:
        _warn(f"{path}: there is no band of recording {tables.listing(absent)}; its frames count as wrong")


def _check_ignored(ignored: Sequence[str], known: Sequence[str]) -> None:
    for name in ignored:
        if name not in known:
            raise ValueError(f"--ignore: there is no class {name!r}; the classes are {tables.listing(known)}")


def _labels(recordings: Recordings) -> list[Array]:
    assert recordings.labels is not None  # a column without a default was asked for
    return recordings.labels


def _number_or_auto(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number or auto") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _some_names(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not names:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected at least one name")
    return names


def _warn(*texts: str) -> None:
    for text in texts:
        print(f"segcrf: warning: {' '.join(text.split())}", file=sys.stderr)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning of Python in one line, without the place in the code that it came from."""
    _warn(str(message))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
