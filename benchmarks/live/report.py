"""Draw and tabulate the results of live decoding for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segcrf.plot import INK, class_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["delay_figure", "picked_table", "speed_table", "write_includes"]

Rows = Sequence[dict[str, Any]]
SHOWN = {"f1@50": "F1@50", "accuracy": "accuracy", "band_ratio": "bands per true band"}
TITLES = {
    "synthetic_low": "founding problem, noise 0.5",
    "synthetic_mid": "founding problem, noise 1",
    "synthetic_high": "founding problem, noise 2",
    "ecg_ludb": "ECG",
    "eye_lookatpoint": "gaze",
}
CAPTION = (
    "Scores of test recordings by the delay of a decision, on a logarithmic axis that begins with 0. A causal LSTM "
    "with 64 units decides by frame; thin lines are seeds. The levels are decisions by the whole recording: of the "
    "same network, and of a bidirectional one. The dashed line is exact inference with the true model, which has the "
    "largest accuracy that is possible on average at this delay. A solid band costs waiting: without a delay even "
    "exact inference flickers."
)


def write_includes(result: dict[str, Any], folder: Path) -> None:
    """Write the figure and the tables that the documentation includes; none where nothing was measured.

    Args:
        result: what ``python -m benchmarks.live`` writes.
        folder: of the includes.
    """
    folder.mkdir(exist_ok=True)
    shown = dict.fromkeys(("delay", "picked", "speed"), "Not measured.\n")
    if "delay" in result:
        delay_figure(result["delay"]["cells"]).savefig(folder / "delay.svg", metadata={"Date": None})
        shown["delay"] = f".. figure:: generated/{folder.name}/delay.svg\n\n   {CAPTION}\n"
        shown["picked"] = picked_table(result["delay"]["picked"])
    if "speed" in result:
        shown["speed"] = speed_table(result["speed"]["cells"])
    for name, text in shown.items():
        (folder / f"{name}.inc").write_text(text, encoding="utf-8")


def delay_figure(rows: Rows) -> Figure:
    """Draw each score by delay, one column per data set."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["task"] for row in rows))
    figure = Figure(figsize=(3.2 * len(names), 7.0), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(names), squeeze=False, sharex=True)
    for column, name in zip(axes.T, names, strict=True):
        column[0].set_title(TITLES.get(name, name), fontsize=9)
        column[-1].set_xlabel("delay (s)", fontsize=8)
        for ax, score in zip(column, SHOWN, strict=True):
            _curves(ax, [row for row in rows if row["task"] == name], score)
    for ax, title in zip(axes[:, 0], SHOWN.values(), strict=True):
        ax.set_ylabel(title, fontsize=8)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return figure


def _curves(ax: Axes, rows: Rows, score: str) -> None:
    """Draw one score of one data set."""
    colors = dict(zip(("causal", "bidirectional"), class_colors(2), strict=True))
    for encoder, color in colors.items():
        mine = [row for row in rows if row["encoder"] == encoder]
        offline = [row[score] for row in mine if row["delay"] is None]
        if offline:
            ax.axhline(float(np.mean(offline)), color=color, linestyle=":", label=f"{encoder}, offline")
        curves = [_live(mine, score, seed) for seed in sorted({row["seed"] for row in mine})]
        whole = [curve for curve in curves if curve and len(curve) == len(curves[0])]
        for curve in curves:
            ax.plot(*zip(*curve, strict=True), color=color, linewidth=0.6) if curve else None
        if whole:
            ax.plot(*np.mean(whole, axis=0).T, color=color, marker="o", markersize=3, label=f"{encoder}, live")
    exact = _live([row for row in rows if row["encoder"] == "limit"], score, None)
    if exact:
        ax.plot(*zip(*exact, strict=True), color=INK, linestyle="--", linewidth=1, label="exact inference")
    ax.set_xscale("symlog", linthresh=0.02)
    ax.set_xlim(0)
    ax.set_xticks([0, 0.02, 0.1, 0.5, 2], ["0", "0.02", "0.1", "0.5", "2"])
    ax.tick_params(labelsize=7)
    ax.spines[["top", "right"]].set_visible(False)


def _live(rows: Rows, score: str, seed: int | None) -> list[tuple[float, float]]:
    """Return delays in seconds and scores of one network, or of exact inference."""
    return [(row["seconds"], row[score]) for row in rows if row["delay"] is not None and row.get("seed") == seed]


def picked_table(rows: Rows) -> str:
    """Return the delays that validation recordings pick, with the scores there and offline, as reStructuredText."""
    header = ["data set", "seed", "delay (s)", *(f"{name}, live / offline" for name in ("accuracy", "edit", "F1@50"))]
    lines = [
        [TITLES.get(row["task"], row["task"]), row["seed"], f"{row['seconds']:g}"]
        + ["{:.1f} / {:.1f}".format(*row[name]) for name in ("accuracy", "edit", "f1@50")]
        for row in rows
    ]
    return _list_table(header, lines)


def speed_table(rows: Rows) -> str:
    """Return the time of a call, of streams and of decoding the last two seconds anew, as reStructuredText."""
    header = ["what", "structure", "classes", "decision", "streams", "p50 / p99 (µs)", "processor (µs)"]
    header += ["anew, p50 (µs)", "processor (µs)"]
    ways = {tuple(row[key] for key in _KEYS): row for row in rows if row["way"] == "window"}
    lines: list[list[Any]] = []
    for row in rows:
        if row["way"] == "stream":
            anew = ways.get(tuple(row[key] for key in _KEYS))
            lines.append(
                [row[key] for key in _KEYS]
                + [f"{row['p50_us']:,.0f} / {row['p99_us']:,.0f}", f"{row['cpu_us']:,.0f}"]
                + (["", ""] if anew is None else [f"{anew['p50_us']:,.0f}", f"{anew['cpu_us']:,.0f}"])
            )
    return _list_table(header, lines)


_KEYS = ("what", "structure", "classes", "rule", "streams")


def _list_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
