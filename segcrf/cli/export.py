"""``segcrf export``: write a model as one file that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrf.cli.inputs import load_segmenter
from segcrf.cli.messages import say
from segcrf.cli.options import add_command, add_fitted_model_options

if TYPE_CHECKING:
    import argparse

__all__ = ["add_export_command"]


def add_export_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    command = add_command(commands, "export", run_export, "Write a model as one file that other programs run.")
    add_fitted_model_options(command)
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".onnx for any ONNX runtime, or .pt2 for PyTorch"
    )
    command.add_argument(
        "--step", action="store_true", help="for live use: pieces of the signal and a state in, the next state out"
    )


def run_export(arguments: argparse.Namespace) -> None:
    """Write the file.

    Args:
        arguments: of the command.
    """
    model = load_segmenter(arguments.model, arguments.encoder)
    say(model.export(arguments.out, step=arguments.step))
