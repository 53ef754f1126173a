"""The command line: ``segcrf demo | fit | predict | score``.

Recordings are long tables in CSV or Parquet (:mod:`segcrf.tables`). Bad input ends with exit code 2 and one line that
says what was wrong and what to do; ``--debug`` shows where it happened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from segcrf import tables
from segcrf._check import UNLABELLED
from segcrf.tables import Columns, Recordings

if TYPE_CHECKING:
    from segcrf.estimator import Segmenter

Array = npt.NDArray[Any]

BAD_INPUT = 2
INTERRUPTED = 130
MODEL_OPTIONS = (
    "structure", "encoder", "hidden", "layers", "bidirectional", "regression", "max_epochs", "batch_size", "window",
    "learning_rate", "patience", "seed", "device", "progress",
)  # fmt: skip


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
    command.add_argument("--out", type=Path, default=Path("segcrf-demo.png"), metavar="FILE.png",
                         help="the figure (default: segcrf-demo.png)")  # fmt: skip


def _add_fit(commands: Any) -> None:
    command = _command(commands, "fit", _fit, "Train a model on labelled recordings.")
    command.add_argument("train", metavar="TRAIN", help="long table: .csv, .csv.gz, .tsv or .parquet")
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="folder to write the model to")
    _add_columns(command, "recording", "time", "label")
    command.add_argument("--channels", type=_names, default=(), metavar="A,B,...",
                         help="columns of the signal (default: all that have no other role)")  # fmt: skip
    command.add_argument("--targets", type=_names, default=(), metavar="A,B,...", help="columns of numbers to predict")
    command.add_argument("--validation", metavar="FILE", help="recordings for early stopping (default: some of TRAIN)")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint of a killed fit")
    command.add_argument("--overwrite", action="store_true", help="replace the model that is in FOLDER")
    _add_model_options(command)


def _add_model_options(command: Any) -> None:
    """Options of the Segmenter; one that is not given keeps the Segmenter's default."""
    group = command.add_argument_group("model and training (defaults: those of segcrf.Segmenter)")
    group.add_argument("--structure", choices=("linear-chain", "semi-markov"))
    group.add_argument("--encoder", choices=("lstm", "gru", "tcn"))
    group.add_argument("--hidden", type=int, metavar="N", help="features per direction")
    group.add_argument("--layers", type=int, metavar="N")
    group.add_argument("--causal", dest="bidirectional", action="store_false", default=None,
                       help="an encoder that sees the past only, for live use")  # fmt: skip
    group.add_argument("--regression", choices=("gaussian", "mse", "smooth_l1"), help="loss of the targets")
    group.add_argument("--epochs", dest="max_epochs", type=int, metavar="N", help="at most so many epochs")
    group.add_argument("--batch-size", type=int, metavar="N", help="windows per step")
    group.add_argument("--window", type=int, metavar="FRAMES", help="length of a training window")
    group.add_argument("--learning-rate", type=float, metavar="RATE")
    group.add_argument("--patience", type=int, metavar="EPOCHS", help="stop after so many without improvement")
    group.add_argument("--seed", type=int, metavar="N")
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, ...")
    group.add_argument("--quiet", dest="progress", action="store_false", default=None, help="no progress bar")


def _add_predict(commands: Any) -> None:
    command = _command(commands, "predict", _predict, "Write the bands of recordings as a table.")
    command.add_argument("data", metavar="DATA", help="long table: .csv, .csv.gz, .tsv or .parquet")
    command.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="model that fit wrote")
    command.add_argument("--out", type=Path, required=True, metavar="SEGMENTS", help="table to write: .csv or .parquet")
    command.add_argument("--frames", type=Path, metavar="FILE",
                         help="also write every frame: label, posterior per class, predicted targets")  # fmt: skip
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the first recording and its bands")
    _add_columns(command, "recording", "time", "label")


def _add_score(commands: Any) -> None:
    command = _command(commands, "score", _score, "Print how well predictions match the labels.")
    command.add_argument("data", nargs="?", metavar="DATA", help="labelled long table, to be predicted with --model")
    command.add_argument("--model", type=Path, metavar="FOLDER", help="model that fit wrote")
    command.add_argument("--predicted", type=Path, metavar="SEGMENTS", help="a table that predict wrote")
    command.add_argument("--truth", metavar="DATA", help="labelled long table to hold --predicted against")
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
            f"--{role}", metavar="COL", help=f"{texts[role]} (default: {role}, if there is one; predict, score: as fit)"
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
