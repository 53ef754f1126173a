"""Options that several commands share, options of the model, and the option of each parameter."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MODEL_OPTIONS",
    "OPTION_OF",
    "ModelOption",
    "add_column_options",
    "add_command",
    "add_model_options",
    "given_parameters",
    "parse_names",
    "parse_some_names",
]


class ModelOption(NamedTuple):
    """An option that sets a parameter of the Segmenter.

    Attributes:
        parameter: name of the parameter.
        option: the option as it is typed.
        settings: arguments of ``add_argument``.
    """

    parameter: str
    option: str
    settings: dict[str, Any]


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> Any:
    """Add a command and return its parser.

    Args:
        commands: the sub-parsers of the root.
        name: of the command.
        run: the function that runs it.
        text: its help.
    """
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def add_column_options(command: Any) -> None:
    """Add ``--recording``, ``--time`` and ``--label``.

    Args:
        command: the parser of a command.
    """
    texts = {
        "recording": "column that names the recordings",
        "time": "column of times ('' counts frames)",
        "label": "column of classes, text or integers; empty = unlabelled",
    }
    for role, text in texts.items():
        described = f"{text} (default: {role}, if there is one; predict, score: as fit)"
        command.add_argument(f"--{role}", metavar="COL", help=described)


def add_model_options(command: Any) -> None:
    """Add the options of the Segmenter; an option that is not given keeps the Segmenter's default.

    Args:
        command: the parser of a command.
    """
    group = command.add_argument_group("model and training (defaults: those of segcrf.Segmenter)")
    for parameter, option, settings in MODEL_OPTIONS:
        group.add_argument(option, dest=parameter, **settings)


def given_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the Segmenter's parameters that were given as options.

    Args:
        arguments: of a command with the options of the model.
    """
    values = {option.parameter: getattr(arguments, option.parameter) for option in MODEL_OPTIONS}
    return {parameter: value for parameter, value in values.items() if value is not None}


def parse_names(text: str) -> tuple[str, ...]:
    """Return names separated by commas.

    Args:
        text: as it was typed.

    Example:
        >>> parse_names("ax, ay,")
        ('ax', 'ay')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_some_names(text: str) -> tuple[str, ...]:
    """Return names separated by commas, one at least.

    Args:
        text: as it was typed.

    Raises:
        argparse.ArgumentTypeError: there is no name.
    """
    names = parse_names(text)
    if not names:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected at least one name")
    return names


def _parse_number_or_auto(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number or auto") from None


def _option(parameter: str, option: str | None = None, **settings: Any) -> ModelOption:
    """Return an option, by default called like its parameter."""
    return ModelOption(parameter, option or f"--{parameter.replace('_', '-')}", settings)


#: The options of the model, in the order of the help.
MODEL_OPTIONS = (
    _option("structure", metavar="NAME", help="linear-chain or semi-markov"),
    _option("encoder", metavar="NAME", help="lstm, gru or tcn"),
    _option("hidden", type=int, metavar="N", help="features per direction"),
    _option("layers", type=int, metavar="N"),
    _option(
        "bidirectional",
        "--causal",
        action="store_false",
        default=None,
        help="an encoder that sees the past only, for live use",
    ),
    _option("dropout", type=float, metavar="SHARE", help="probability that a feature is dropped"),
    _option(
        "frame_loss",
        type=_parse_number_or_auto,
        metavar="WEIGHT",
        help="of a loss of single frames that fades: a number, or auto (tried where bands are long)",
    ),
    _option("standardize", metavar="BY", help="channels by the mean and deviation of: dataset, recording"),
    _option("regression", metavar="LOSS", help="of the targets: mse, smooth_l1, gaussian, student_t or beta_nll"),
    _option("combine", metavar="NAME", help="losses of labels and targets: running-mean, sum, uncertainty"),
    _option("switching", metavar="FORM", help="a regression per class, trained by: mean, likelihood or predictive"),
    _option("posterior", metavar="NAME", help="with --switching: filter (targets in the future; --causal) or smooth"),
    _option("max_epochs", "--epochs", type=int, metavar="N", help="at most so many epochs"),
    _option("batch_size", type=int, metavar="N", help="windows per step"),
    _option("window", type=int, metavar="FRAMES", help="length of a training window"),
    _option(
        "learning_rate",
        type=_parse_number_or_auto,
        metavar="RATE",
        help="a number; or auto, as with --targets: try several",
    ),
    _option(
        "balance",
        type=float,
        metavar="RATIO",
        help="windows of the commonest class alone, at most, per other window",
    ),
    _option(
        "validation_fraction",
        type=float,
        metavar="SHARE",
        help="of TRAIN that chooses the best epoch, where --validation is not given; 0: none",
    ),
    _option("patience", type=int, metavar="EPOCHS", help="stop after so many without improvement"),
    _option("seed", type=int, metavar="N"),
    _option("device", metavar="NAME", help="cpu, cuda, ..."),
    _option("progress", "--quiet", action="store_false", default=None, help="no progress bar"),
)

#: The option, as it is typed, of each parameter that errors may name.
OPTION_OF = {option.parameter: option.option for option in MODEL_OPTIONS} | {
    "directory": "--model",
    "resume": "--resume",
    "targets": "--targets",
    "validation": "--validation",
}
