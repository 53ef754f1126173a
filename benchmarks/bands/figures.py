"""Draw barcodes of truth and methods, and critical-difference plots of their ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bands.report import LAYERS, METRICS, SHOWN, Result, complete, conventions, mean_ranks, plain, unpacked
from segcrf.plot import INK, bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save_all(result: Result, folder: Path) -> list[Path]:
    """Write all figures as SVG."""
    figures: dict[str, Figure] = {}
    for encoder in sorted({row["encoder"] for row in result["rows"]}):
        figures[f"ranks_{encoder}"] = critical_difference(result, encoder)
    for task, encoders in result["barcodes"].items():
        figures[f"barcode_{task}"] = barcodes(result, task, sorted(encoders))
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.svg")
        figure.savefig(paths[-1], metadata={"Date": None})
    return paths


# ---------------------------------------------------------------------------------------------------------- barcodes
def barcodes(result: Result, task: str, encoders: Sequence[str]) -> Figure:
    """Draw the bands of one test recording: truth on top, then methods; one column per encoder."""
    from matplotlib.figure import Figure

    drawn = [name for name in (*SHOWN, *LAYERS) if any(name in _rows(result, task, encoder) for encoder in encoders)]
    names = ["truth", *drawn]
    figure = Figure(figsize=(9.5, 0.8 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(encoders), squeeze=False, sharey=True)[0]
    for ax, encoder in zip(axes, encoders, strict=True):
        _barcode(result, ax, _rows(result, task, encoder), names)
        ax.set_title(f"{plain(task)}, {encoder}", fontsize=9)
    axes[0].set_yticks(
        [-i + 0.4 for i in range(len(names))],
        ["truth", *(result["methods"][name]["title"] for name in drawn)],
        fontsize=8,
    )
    return figure


def _barcode(result: Result, ax: Axes, rows: dict[str, str], names: Sequence[str]) -> None:
    classes = 1 + max(label for text in rows.values() for *_, label in unpacked(text))
    for i, name in enumerate(names):
        if name in rows:
            bands(_labels(rows[name]), ax, classes=classes, row=(-i, 0.8))
    ax.set_xlabel("frame", fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _labels(text: str) -> Any:
    """Return labels (T,), with -100 outside bands."""
    found = unpacked(text)
    labels = np.full(max(end for _, end, _ in found), -100)
    for start, end, label in found:
        labels[start:end] = label
    return labels


def _rows(result: Result, task: str, encoder: str) -> dict[str, str]:
    return result["barcodes"][task].get(encoder, {})


# ------------------------------------------------------------------------------------------------ critical difference
def critical_difference(result: Result, encoder: str, metric: str = "f1@50") -> Figure:
    """Draw mean ranks over data sets, and bars over methods that a Nemenyi test does not distinguish.

    Source: Demsar, "Statistical comparisons of classifiers over multiple data sets", 2006.
    """
    from matplotlib.figure import Figure

    ranks = dict(sorted(mean_ranks(result, encoder, metric).items(), key=lambda item: item[1]))
    scores, _ = complete(result, encoder, metric)
    figure = Figure(figsize=(9.5, 1.0 + 0.22 * max(len(ranks), 2)), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    if len(scores) < 2:
        ax.text(0.5, 0.5, "ranks need two data sets with results of all methods", ha="center", transform=ax.transAxes)
        return figure
    width = nemenyi(len(ranks), len(scores))
    bars = cliques(list(ranks.values()), width)
    _rank_axis(ax, len(ranks))
    for i, (name, rank) in enumerate(ranks.items()):
        _rank_label(ax, result["methods"][name], rank, (i, len(ranks)), top=-0.4 - 0.18 * len(bars))
    for i, (low, high) in enumerate(bars):
        ax.plot([low - 0.05, high + 0.05], [-0.25 - 0.18 * i] * 2, color=INK, linewidth=2.5)
    ax.set_title(
        f"Mean rank by {METRICS[metric][0]} over {len(scores)} real data sets, {encoder} encoder; "
        f"critical difference {width:.1f}",
        fontsize=9,
    )
    return figure


def rank_caption(result: Result, encoder: str, metric: str = "f1@50") -> str:
    """Return the caption of the plot of ranks, with its conventions."""
    return (
        f"Mean ranks by {METRICS[metric][0]}, {encoder} encoder; 1 is best. A bar joins methods that do not differ "
        f"by a Nemenyi test at 5 %. {conventions(result, metric, ranks=True)}"
    )


def nemenyi(num_methods: int, num_tasks: int, alpha: float = 0.05) -> float:
    """Return the smallest difference of mean ranks that is significant.

    >>> round(nemenyi(4, 14), 2)
    1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, num_methods, 1e6)) / math.sqrt(2)
    return q * math.sqrt(num_methods * (num_methods + 1) / (6 * num_tasks))


def cliques(ranks: Sequence[float], width: float) -> list[tuple[float, float]]:
    """Return the first and last rank of each maximal run of at least two sorted ranks within ``width``.

    >>> cliques([1.0, 2.0, 2.5, 4.0], 1.5)
    [(1.0, 2.5), (2.5, 4.0)]
    """
    found: list[tuple[float, float]] = []
    for low in ranks:
        high = max(rank for rank in ranks if rank - low <= width)
        if high > low and (not found or high > found[-1][1]):
            found.append((low, high))
    return found


def _rank_axis(ax: Axes, num_methods: int) -> None:
    ax.plot([1, num_methods], [0, 0], color=INK, linewidth=1)
    for rank in range(1, num_methods + 1):
        ax.plot([rank, rank], [0, 0.12], color=INK, linewidth=1)
        ax.text(rank, 0.2, str(rank), ha="center", va="bottom", fontsize=8)
    ax.set_xlim(-0.35 * num_methods, 1.35 * num_methods + 1)


def _rank_label(ax: Axes, method: Any, rank: float, place: tuple[int, int], top: float) -> None:
    """Write a method at ``place`` (index, count): the better half on the left, the others on the right."""
    i, count = place
    left = i < (count + 1) // 2
    y = top - 0.45 * (i if left else count - 1 - i)
    edge = 0.8 if left else count + 0.2
    ax.plot([rank, rank, edge], [0, y, y], color=INK, linewidth=0.7)
    ax.text(
        edge + (-0.1 if left else 0.1),
        y,
        f"{method['title']}  {rank:.1f}",
        ha="right" if left else "left",
        va="center",
        fontsize=8,
        fontweight="bold" if method["structured"] else "normal",
    )
