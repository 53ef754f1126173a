"""The command line: ``segcrf demo | fit | predict | score``.

Recordings are long tables in CSV or Parquet (:mod:`segcrf.tables`). Bad input ends with exit code 2 and one
line that says what was wrong and what to do; ``--debug`` shows where it happened.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from segcrf import plot, storage, tables
from segcrf._check import UNLABELLED
from segcrf.report import Report
from segcrf.segments import Segments
from segcrf.tables import Columns, Recordings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]
    from matplotlib.figure import Figure

    from segcrf.estimator import Segmenter

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


def _add_fit(commands: Any) -> None:
    command = _command(commands, "fit", _fit, "Train a model on labelled recordings.")
    command.add_argument("train", metavar="TRAIN", help="long table: .csv, .csv.gz, .tsv or .parquet")
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="folder to write the model to")
    _add_columns(command, "recording", "time", "label")
    command.add_argument(
        "--channels",
        type=_names,
        metavar="A,B,...",
        help="columns of the signal (default: all that have no other role)",
    )
    command.add_argument("--targets", type=_names, default=(), metavar="A,B,...", help="columns of numbers to predict")
    command.add_argument("--validation", metavar="FILE", help="recordings for early stopping (default: some of TRAIN)")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint of a killed fit")
    command.add_argument("--overwrite", action="store_true", help="replace the model that is in FOLDER")
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
        "--learning-rate", type=_rate, metavar="RATE", help="a number; or auto, as with --targets: try several"
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
    from segcrf import demo

    demo.main(quick=arguments.quick, seed=arguments.seed, out=arguments.out)


def _fit(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.model
    checkpoint = _check_free(folder, arguments)
    asked = Columns(
        arguments.recording, arguments.time, arguments.label or "label", arguments.channels, arguments.targets
    )
    train = tables.read_recordings(arguments.train, asked)
    train.check_rate()
    model = _segmenter(arguments, train, checkpoint)
    validation = _validation(arguments.validation, train)
    if not arguments.resume:
        storage.remove_checkpoint(checkpoint)  # of another fit, whose files would outlast this one
    with _keeping(checkpoint):
        model.fit(train.signals, _labels(train), train.targets, validation=validation, resume=arguments.resume)
        model.save(folder)
        tables.save_columns(folder, train.columns, train.rate)
    storage.remove_checkpoint(checkpoint)
    print(_fitted(model, train, folder))


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
    storage.check_target(folder)
    if checkpoint.exists() and not checkpoint.is_dir():
        raise ValueError(f"{checkpoint}: is a file, expected a folder for the checkpoint; choose another --model")
    storage.check_target(checkpoint / storage.BEST)
    return checkpoint


@contextlib.contextmanager
def _keeping(checkpoint: Path) -> Generator[None, None, None]:
    """Say how to go on from the checkpoint when training, or what follows it, is cut off."""
    try:
        yield
    except BaseException:
        if storage.holds_checkpoint(checkpoint):
            print(
                f"segcrf: {checkpoint} keeps the epochs so far; the same command with --resume goes on from there",
                file=sys.stderr,
            )
        raise


def _segmenter(arguments: argparse.Namespace, train: Recordings, checkpoint: Path) -> Segmenter:
    """A Segmenter with the options that were given, and its own defaults for the others."""
    from segcrf.estimator import Segmenter

    parameters = Segmenter().get_params()
    given = {name: value for name, value in vars(arguments).items() if name in parameters and value is not None}
    classes = tables.class_order(_labels(train))
    return Segmenter(classes=classes, rate=train.rate, directory=checkpoint, **given)


def _validation(path: str | None, train: Recordings) -> tuple[Any, ...] | None:
    if path is None:
        return None
    recordings = tables.read_recordings(path, _fixed(train.columns))
    recordings.check_rate(train.rate)
    return recordings.signals, _labels(recordings), recordings.targets


def _fitted(model: Segmenter, train: Recordings, folder: Path) -> str:
    best = next(row for row in model.history_ if row["epoch"] == model.best_epoch_)
    loss = best.get("val_crf", best["crf"])
    return (
        f"{folder}: {len(model.classes_)} classes ({', '.join(map(str, model.classes_))}) from "
        f"{', '.join(train.columns.channels or ())}; {sum(train.lengths):,} frames, recordings: {len(train.names)}; "
        f"best of {len(model.history_)} epochs: {model.best_epoch_}, validation loss of the labels {loss:.4f} per frame"
    )


def _predict(arguments: argparse.Namespace) -> None:
    _check_outputs(arguments)
    model, columns, rate = _load(arguments)
    wanted = _with_truth(columns, arguments.data) if arguments.plot else columns.without_answers()
    recordings = _read_for(model, arguments.data, wanted, rate)
    model.set_params(rate=None)  # bands are placed by the file's own clock, gaps and all
    segments = model.predict_segments(recordings.signals, recordings=recordings.names)
    tables.write_table(tables.place(segments, recordings), arguments.out)
    if arguments.frames:
        tables.write_table(_frame_table(model, recordings, columns.targets), arguments.frames)
    if arguments.plot:
        chart: Any = _chart(model, recordings)
        with tables.atomic(arguments.plot) as temporary:
            chart.savefig(temporary)
    print(f"{arguments.out}: {len(segments):,} bands in {len(recordings.names)} recordings")


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
    """The model, its columns with those that were given now, and the rate it was fitted at."""
    from segcrf.estimator import Segmenter

    model = Segmenter.load(arguments.model)
    columns, rate = tables.load_columns(arguments.model)
    given = {role: getattr(arguments, role) for role in ("recording", "time", "label")}
    columns = dataclasses.replace(columns, **{role: name for role, name in given.items() if name is not None})
    return model, columns, rate


def _with_truth(columns: Columns, path: str) -> Columns:
    """The columns with label and targets, as far as the file has them."""
    available = tables.columns_of(path)
    label = columns.label if columns.label in available else ""
    targets = columns.targets if set(columns.targets) <= set(available) else ()
    return dataclasses.replace(columns, label=label, targets=targets)


def _read_for(model: Segmenter, path: str, columns: Columns, rate: float | None) -> Recordings:
    """Read recordings for a model, which must have its channels and its rate."""
    available = tables.columns_of(path)
    if columns.channels is None:  # the model was saved from Python, which knows no columns
        columns = columns.resolve(available)
    channels = columns.channels or ()
    absent = [name for name in channels if name not in available]
    if absent or len(channels) != model.n_features_in_:
        found = f"got the columns {tables.listing(available)}, without {tables.listing(absent)}" if absent else "got"
        raise ValueError(
            f"{path}: the model was fitted with {model.n_features_in_} channels, {found} {tables.listing(channels)}; "
            "give recordings of the same channels"
        )
    recordings = tables.read_recordings(path, _fixed(columns))
    if recordings.times is not None:
        recordings.check_rate(rate)
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
    table["label"] = np.concatenate(model.predict(recordings.signals))
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
    tracks = {"predicted": _numbered(model.predict([signal])[0], classes)}
    if recordings.labels is not None:
        tracks = {"true": _numbered(recordings.labels[0], classes)} | tracks
    y = None if recordings.targets is None else recordings.targets[0]
    y_hat = model.predict_targets([signal])[0] if model.n_targets_ else None
    return plot.figure(signal, tracks, y, y_hat, rate=recordings.rate, classes=classes)


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
    model, columns, rate = _load(arguments)
    columns = dataclasses.replace(columns, label=columns.label or "label")
    recordings = _read_for(model, arguments.data, columns, rate)
    predicted = [np.asarray(labels).astype(str) for labels in model.predict(recordings.signals)]
    values = model.predict_targets(recordings.signals) if recordings.targets else None
    return Report.of(predicted, recordings, values, arguments.ignore, not arguments.per_recording)


def _score_table(arguments: argparse.Namespace) -> Report:
    columns = Columns(arguments.recording, arguments.time, arguments.label or "label")
    truth = tables.read_recordings(arguments.truth, dataclasses.replace(columns, channels=()))
    bands: Any = tables.to_frames(tables.read_segments(arguments.predicted), truth)
    classes = sorted({str(label) for label in bands["label"].tolist()})
    segments = Segments.from_table(bands, classes=classes, recordings=truth.names)
    names = np.array([*classes, ""])  # -1 and below: no band, no class
    predicted = [names[np.maximum(labels, -1)] for labels in segments.to_labels(truth.lengths)]
    return Report.of(predicted, truth, None, arguments.ignore, not arguments.per_recording)


def _labels(recordings: Recordings) -> list[Array]:
    assert recordings.labels is not None  # a column without a default was asked for
    return recordings.labels


def _rate(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number or auto") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
