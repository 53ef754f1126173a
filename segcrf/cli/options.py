"""Options that several commands share, options of the model, and the option of each parameter."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segcrf.training import PARAMETERS, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "OPTION_OF",
    "ModelOption",
    "add_column_options",
    "add_command",
    "add_fitted_model_options",
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


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> Any:
    """Add a command and return its parser.

    Args:
        commands: the sub-parsers of the root.
        name: of the command.
        run: the function that runs it, and may return an exit code.
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


def add_fitted_model_options(command: Any, *, required: bool = True) -> None:
    """Add ``--model``, and ``--encoder`` for models with an encoder that the user wrote.

    Args:
        command: the parser of a command that loads a model.
        required: whether the command always loads one.
    """
    command.add_argument("--model", type=Path, required=required, metavar="FOLDER", help="model that fit wrote")
    text = "encoder that fit was given as MODULE:NAME, imported from the working directory or installed packages"
    command.add_argument("--encoder", type=_parse_encoder, metavar="MODULE:NAME", help=text)


def _parse_encoder(text: str) -> Any:
    """Return the encoder of a name, or import ``module:name``.

    Raises:
        argparse.ArgumentTypeError: the module or the name in it is missing, or the name is not a callable.
    """
    module, colon, name = text.partition(":")
    if not colon:
        return text
    sys.path.insert(0, os.getcwd())  # a console script does not look there
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a class or function in a module: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise argparse.ArgumentTypeError(f"got {text!r}, which is {type(found).__name__}, expected a class or function")
    return found


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


def _parse_number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _model_option(parameter: Parameter) -> ModelOption:
    """Return the option of a parameter, made of its row in the table."""
    if parameter.name in _SWITCHES:
        option, text = _SWITCHES[parameter.name]
        return ModelOption(parameter.name, option, {"action": "store_false", "default": None, "help": text})
    automatic = "; or auto" if "auto" in parameter.special else ""
    choices = f" ({', '.join(parameter.choices)})" if parameter.choices else automatic
    if parameter.name == "encoder":
        choices = f" ({', '.join(parameter.choices)}, or MODULE:NAME of your own)"
    settings: dict[str, Any] = {"metavar": _METAVARS.get(parameter.name, "N"), "help": parameter.help + choices}
    kind = _parse_encoder if parameter.name == "encoder" else parameter.kind
    if kind is not str:
        settings["type"] = _parse_number_or_word if "auto" in parameter.special else kind
    return ModelOption(parameter.name, _RENAMED.get(parameter.name, f"--{parameter.name.replace('_', '-')}"), settings)


#: Parameters that are on by default, with the option that turns each off.
_SWITCHES = {
    "bidirectional": ("--causal", "let the encoder see the past only, for live use"),
    "progress": ("--quiet", "show no progress bar"),
}
#: Options that are shorter than the names of their parameters.
_RENAMED = {"max_epochs": "--epochs"}
_METAVARS = {
    **dict.fromkeys(("structure", "encoder", "combine", "posterior", "decoding", "device"), "NAME"),
    **dict.fromkeys(("dropout", "validation_fraction"), "SHARE"),
    "standardize": "BY", "missing": "HOW", "frame_loss": "WEIGHT", "regression": "LOSS", "switching": "FORM",
    "window": "FRAMES", "learning_rate": "RATE", "balance": "RATIO", "patience": "EPOCHS",
}  # fmt: skip

#: The options of the model: a row of :data:`segcrf.training.PARAMETERS` each.
MODEL_OPTIONS = tuple(_model_option(parameter) for parameter in PARAMETERS.values() if parameter.command_line)

#: The option, as it is typed, of each parameter that errors may name.
OPTION_OF = {option.parameter: option.option for option in MODEL_OPTIONS} | {
    "directory": "--model",
    "forbid": "--forbid",
    "given": "--given",
    "interval": "--interval",
    "min_confidence": "--min-confidence",
    "min_duration": "--min-duration",
    "resume": "--resume",
    "targets": "--targets",
    "transcript": "--transcript",
    "validation": "--validation",
}
