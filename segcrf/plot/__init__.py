"""Figures of signals, bands and training histories."""

from segcrf.plot.figures import bands, figure, history
from segcrf.plot.style import INK, check_format, class_colors

__all__ = ["INK", "bands", "check_format", "class_colors", "figure", "history"]
