"""Style: the colours of classes and lines, and the formats that figures are written in."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from segcrf._validation import InputError

__all__ = [
    "ACCENT",
    "EMPTY",
    "FAINT",
    "INK",
    "PALETTE",
    "check_format",
    "class_colors",
    "import_matplotlib",
]

#: Okabe and Ito (2008), a palette for every common kind of colour vision; the yellow is darkened
#: for white paper.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#D9C300", "#555555")
#: Text, and the line that matters.
INK = "#222222"
#: A line to compare with.
FAINT = "#9A9A9A"
#: The line that stands out.
ACCENT = "#D55E00"
#: The background of a row without a band.
EMPTY = "#F0F0F0"


def class_colors(num_classes: int) -> list[Any]:
    """Return one colour per class: the palette of eight, or evenly spaced hues of "turbo" beyond.

    Args:
        num_classes: how many classes there are.

    Raises:
        ImportError: there are more than eight, and matplotlib is not installed.

    >>> class_colors(2)
    ['#0072B2', '#E69F00']
    """
    if num_classes <= len(PALETTE):
        return list(PALETTE[:num_classes])
    colormap = import_matplotlib("matplotlib").colormaps["turbo"]
    return [colormap(value) for value in np.linspace(0.03, 0.97, num_classes)]


def formats() -> tuple[str, ...]:
    """Return the endings of figures that matplotlib can write here: png, pdf, svg and others.

    Returns:
        Endings without their dot, by the alphabet.

    Raises:
        ImportError: matplotlib is not installed.

    >>> {"pdf", "png", "svg"} <= set(formats())
    True
    """
    known = import_matplotlib("matplotlib.backend_bases").FigureCanvasBase.get_supported_filetypes()
    return tuple(sorted(set(known) - {"pgf"}))  # pgf needs LaTeX


def check_format(path: str | os.PathLike[str]) -> None:
    """Check that a figure can be written under this name, before the work that makes it.

    Args:
        path: the figure to write; its ending is the format.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the ending is none that matplotlib writes.

    >>> check_format("bands.PNG")
    """
    ending, known = Path(path).suffix.removeprefix("."), formats()
    if ending.lower() not in known:
        got = f"the ending .{ending}" if ending else "no ending"
        raise InputError(str(path), got, f"a format of figures: one of .{', .'.join(known)}")


def import_matplotlib(name: str) -> Any:
    """Return a module of matplotlib, imported when a figure is drawn."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"figures need matplotlib ({error}); pip install 'segcrf[plot]'") from error
