"""Plots: figures of signals, bands and training histories."""

from segcrf.plot.figures import INK, bands, check_format, class_colors, figure, formats, history

__all__ = ["INK", "bands", "check_format", "class_colors", "figure", "formats", "history"]
