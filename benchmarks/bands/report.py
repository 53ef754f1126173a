"""Tables, paired differences and ranks, of whatever cells are finished.

A missing cell leaves a dash; a mean over data sets is taken over those that every method compared has finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Row = dict[str, Any]
Result = dict[str, Any]

# The metrics of the tables: what the title says of them, and how a number is printed.
METRICS = {
    "f1@50": ("F1@50 in percent, bands of all recordings pooled, greedy matching, no class left out", ".1f"),
    "edit": ("Edit score in percent, mean over recordings, no class left out", ".1f"),
    "accuracy": ("Frame accuracy in percent, frames of all recordings pooled", ".1f"),
    "macro_f1": ("Frame-wise F1 in percent, mean over classes, frames pooled", ".1f"),
    "band_ratio": ("Predicted bands per true band, pooled; 1 is right, more is flicker, less is missed bands", ".2f"),
    "boundary_f1": ("Boundary F1 in percent within the margin of the data set, pooled, whatever the classes", ".1f"),
    "covering": ("Covering in percent, mean over recordings", ".1f"),
}
COMPARED = ("f1@50", "edit", "accuracy")
# The layers that are held against every other method: chain and semi-Markov by likelihood, decoded by marginals with
# the scale tuned; the chain with a frame loss, as a `Segmenter` trains and decodes it; and the most probable sequence.
LAYERS = ("crf,marginal,scaled", "semi,marginal,scaled", "crf,frames,scaled", "crf")
# What a barcode shows beside these: the plain network, a penalty, filters, counts.
SHOWN = ("ce", "bce+switches", "ce+tmse,median", "median", "counted")
# Fewer test recordings than this say nothing about others, whatever the bootstrap makes of them.
ENOUGH = 5
DRAWS = 2000


class Table(NamedTuple):
    """A title, names of the columns, and rows of text."""

    title: str
    header: list[str]
    rows: list[list[str]]


def summarise(cells: Sequence[Row], budget: dict[str, Any], methods: dict[str, dict[str, Any]]) -> Result:
    """What is kept of the cells: scores, knobs, paired differences, and the bands of one recording of each task.

    Args:
        cells: as :class:`benchmarks.bands.cells.Cache` holds them.
        budget: its name and settings.
        methods: title of each method, and whether it is "structured".
    """
    dropped = ("per_recording", "barcode", "truth")
    return {
        "budget": budget,
        "methods": methods,
        "seeds": sorted({cell["seed"] for cell in cells}),
        "rows": [{name: value for name, value in cell.items() if name not in dropped} for cell in cells],
        "differences": _differences(cells, [name for name, method in methods.items() if not method["structured"]]),
        "barcodes": _barcodes(cells),
    }


# ------------------------------------------------------------------------------------------------ paired differences
def _differences(cells: Sequence[Row], rivals: Sequence[str]) -> list[Row]:
    """Layers minus rivals, per task and encoder, over the recordings that both were tested on."""
    by_key: dict[tuple[str, str, str], list[Row]] = {}
    for cell in cells:
        by_key.setdefault((cell["task"], cell["encoder"], cell["method"]), []).append(cell)
    found = []
    for (task, encoder, method), own in sorted(by_key.items()):
        for rival in rivals if method in LAYERS else ():
            theirs = by_key.get((task, encoder, rival), [])
            gaps = {metric: _paired(own, theirs, metric) for metric in COMPARED}
            if theirs:
                found.append({"task": task, "encoder": encoder, "method": method, "rival": rival} | gaps)
    return found


def _paired(own: Sequence[Row], rivals: Sequence[Row], metric: str) -> dict[str, Any]:
    """Mean difference over recordings, seeds averaged first, and its 95 % interval."""
    theirs = {cell["seed"]: cell["per_recording"][metric] for cell in rivals}
    gaps = [np.subtract(c["per_recording"][metric], theirs[c["seed"]]) for c in own if c["seed"] in theirs]
    if not gaps:
        return {"mean": None, "interval": None}
    values = np.mean(gaps, axis=0)
    values = values[~np.isnan(values)]
    interval = bootstrap(values) if len(values) >= ENOUGH else None
    return {"mean": round(float(values.mean()), 2), "interval": interval}


def bootstrap(values: Array) -> list[float]:
    """95 % percentile interval of the mean, from resampling the values."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (DRAWS, len(values))).mean(1)
    return [round(float(limit), 2) for limit in np.quantile(means, (0.025, 0.975))]


def _barcodes(cells: Sequence[Row]) -> dict[str, dict[str, dict[str, str]]]:
    """task -> encoder -> method, and "truth" -> bands as text, of the first seed."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for cell in sorted(cells, key=lambda cell: -cell["seed"]):
        rows = found.setdefault(cell["task"], {}).setdefault(cell["encoder"], {})
        if cell["method"] in (*SHOWN, *LAYERS):
            rows["truth"], rows[cell["method"]] = _packed(cell["truth"]), _packed(cell["barcode"])
    return found


def _packed(bands: Iterable[Sequence[int]]) -> str:
    return " ".join(f"{start}-{end}:{label}" for start, end, label in bands)


def unpacked(text: str) -> list[tuple[int, int, int]]:
    """(start, end, class) of bands as text."""
    bands = []
    for band in text.split():
        frames, label = band.split(":")
        start, end = frames.split("-")
        bands.append((int(start), int(end), int(label)))
    return bands


# ------------------------------------------------------------------------------------------------------------ tables
def tables(result: Result) -> dict[str, Table]:
    """All tables of a result by name."""
    found = {"targets": target_table(result)}
    for encoder in _distinct(result, "encoder"):
        for metric in METRICS:
            found[f"{metric.replace('@', '')}_{encoder}"] = score_table(result, encoder, metric)
        for metric in COMPARED:
            found[f"gap_{metric.replace('@', '')}_{encoder}"] = difference_table(result, encoder, metric)
    return found | {"knobs": knob_table(result)}


def score_table(result: Result, encoder: str, metric: str) -> Table:
    """Methods by tasks, mean ± sd over seeds; the last column is the mean rank."""
    tasks = _distinct(result, "task")
    ranks = mean_ranks(result, encoder, metric) if metric != "band_ratio" else {}
    rows = []
    for method, description in result["methods"].items():
        scores = [_scores(result, task, encoder, method, metric) for task in tasks]
        if any(scores):
            rank = f"{ranks[method]:.1f}" if method in ranks else "–"
            rows.append([description["title"], *(_mean_sd(s, METRICS[metric][1]) for s in scores), rank])
    return Table(f"{METRICS[metric][0]}. Encoder: {encoder}.", ["", *map(plain, tasks), "mean rank"], rows)


def difference_table(result: Result, encoder: str, metric: str) -> Table:
    """Rivals by structured methods: mean over tasks of the paired difference, its interval, wins and losses."""
    methods, rows = result["methods"], []
    for rival in [name for name, method in methods.items() if not method["structured"]]:
        gaps = [_gaps(result, encoder, own, rival, metric) for own in LAYERS]
        if any(len(values) for values in gaps):
            rows.append([methods[rival]["title"], *map(_difference_text, gaps)])
    title = (
        f"{metric.upper() if metric[0] == 'f' else metric.capitalize()}: structured layer minus rival, in points, mean "
        f"over data sets with its 95 % interval, and on how many data sets the layer is ahead. Encoder: {encoder}."
    )
    return Table(title, ["rival", *(methods[name]["title"] for name in LAYERS)], rows)


def target_table(result: Result) -> Table:
    """On each task: both layers by likelihood and marginals, beside the best of all other methods."""
    sides = ("CRF", "semi-Markov", "best other")
    f1, edit, accuracy = ([f"{metric}: {side}" for side in sides] for metric in ("F1@50", "edit", "accuracy"))
    bands = ["bands: CRF", "bands: semi-Markov"]
    header = ["data set", "encoder", *f1, "which other", "CRF over BCE + switches", *edit, *accuracy, *bands]
    rows = []
    for task in _distinct(result, "task"):
        for encoder in _distinct(result, "encoder"):
            means = {m: _means(result, task, encoder, m) for m in result["methods"]}
            rivals = {m: s for m, s in means.items() if s and not result["methods"][m]["structured"]}
            ours = [means[layer] for layer in LAYERS[:2] if means.get(layer)]
            if len(ours) == 2 and rivals:
                rows.append([plain(task), encoder, *_target_row(result, ours, rivals)])
    title = (
        "The two layers by likelihood alone, decoded by marginals with the scale tuned, and of all methods without an "
        "end-to-end layer the one that turned out best on the test recordings, score by score."
    )
    return Table(title, header, rows)


def _target_row(result: Result, ours: Sequence[Row], rivals: dict[str, Row]) -> list[str]:
    best = {metric: max(rivals, key=lambda name: rivals[name][metric]) for metric in COMPARED}
    cells: list[str] = []
    for metric in COMPARED:
        cells += [f"{scores[metric]:.1f}" for scores in ours] + [f"{rivals[best[metric]][metric]:.1f}"]
        if metric == "f1@50":
            cells.append(result["methods"][best[metric]]["title"])
            penalised = rivals.get("bce+switches")
            cells.append(f"{ours[0][metric] - penalised[metric]:+.1f}" if penalised else "–")
    return [*cells, *(f"{scores['band_ratio']:.2f}" for scores in ours)]


def knob_table(result: Result) -> Table:
    """What was tuned, and to what."""
    tasks, rows = _distinct(result, "task"), []
    for encoder in _distinct(result, "encoder"):
        for method, description in result["methods"].items():
            texts = [_knob(result, task, encoder, method) for task in tasks]
            if any(text not in ("", "–") for text in texts):
                rows.append([description["title"], encoder, *texts])
    return Table(
        "Knobs, as tuned on validation recordings with the first seed; nothing where no penalty was better.",
        ["", "encoder", *map(plain, tasks)],
        rows,
    )


def mean_ranks(result: Result, encoder: str, metric: str = "f1@50") -> dict[str, float]:
    """Mean rank of each method over the tasks that all methods have finished; 1 is best, ties share."""
    scores, methods = complete(result, encoder, metric)
    if not len(scores):
        return {}
    from scipy.stats import rankdata

    ranks = rankdata(-scores, axis=1).mean(0)
    return dict(zip(methods, ranks.tolist(), strict=True))


def complete(result: Result, encoder: str, metric: str) -> tuple[Array, list[str]]:
    """Scores (tasks, methods) of the tasks that all methods have finished, and those methods."""
    methods = [
        m for m in result["methods"] if any(r["method"] == m and r["encoder"] == encoder for r in result["rows"])
    ]
    rows = []
    for task in _distinct(result, "task"):
        scores = [_scores(result, task, encoder, method, metric) for method in methods]
        if scores and all(scores):
            rows.append([float(np.mean(s)) for s in scores])
    return np.array(rows), methods


def _distinct(result: Result, name: str) -> list[str]:
    """Values in the order in which results are written; synthetic tasks last."""
    return sorted({row[name] for row in result["rows"]}, key=lambda value: (value.startswith("synthetic"), value))


def _scores(result: Result, task: str, encoder: str, method: str, metric: str) -> list[float]:
    return [row["scores"][metric] for row in _rows(result, task, encoder, method)]


def _rows(result: Result, task: str, encoder: str, method: str) -> list[Row]:
    key = (task, encoder, method)
    return [row for row in result["rows"] if (row["task"], row["encoder"], row["method"]) == key]


def _means(result: Result, task: str, encoder: str, method: str) -> dict[str, float]:
    rows = [row["scores"] for row in _rows(result, task, encoder, method)]
    return {metric: float(np.mean([row[metric] for row in rows])) for metric in METRICS} if rows else {}


def _mean_sd(scores: Sequence[float], form: str) -> str:
    if not scores:
        return "–"
    mean = format(float(np.mean(scores)), form)
    return mean if len(scores) == 1 else f"{mean} ± {format(float(np.std(scores, ddof=1)), form)}"


def _gaps(result: Result, encoder: str, own: str, rival: str, metric: str) -> Array:
    rows = [
        row for row in result["differences"] if (row["encoder"], row["method"], row["rival"]) == (encoder, own, rival)
    ]
    return np.array([row[metric]["mean"] for row in rows if row[metric]["mean"] is not None])


def _difference_text(gaps: Array) -> str:
    if not len(gaps):
        return "–"
    low, high = bootstrap(gaps)
    return f"{gaps.mean():+.1f} [{low:+.1f}, {high:+.1f}], {np.count_nonzero(gaps > 0)} of {len(gaps)}"


def _knob(result: Result, task: str, encoder: str, method: str) -> str:
    rows = _rows(result, task, encoder, method)
    if not rows:
        return "–"
    network, knob = rows[0]["network"], rows[0]["knob"]
    weight = [f"λ {network['weight']:g}"] if network["penalty"] else []
    return ", ".join([*weight, *(f"{name.replace('_', ' ')} {value:g}" for name, value in knob.items())])


def plain(task: str) -> str:
    """The name of a task with spaces, which may break over lines."""
    return task.replace("_", " ")


# --------------------------------------------------------------------------------------------------------- rendering
def text(result: Result) -> str:
    """All tables for a terminal."""
    return "\n\n".join([settings_text(result), *map(_as_text, tables(result).values())])


def settings_text(result: Result) -> str:
    """What a network was given, in a sentence."""
    cells: dict[tuple[str, ...], int] = {}
    for row in result["rows"]:
        key = (row["task"], row["encoder"], row["method"])
        cells[key] = cells.get(key, 0) + 1
    fewest, most = min(cells.values()), max(cells.values())
    seeds = f"{fewest} to {most} seeds" if fewest < most else f"{most} {'seed' if most == 1 else 'seeds'}"
    return (
        "Budget {name!r}: an LSTM of {hidden} units per direction, about {steps} batches of {batch_size} windows of "
        "{window} frames, {weights} weights tried for each penalty beside none, ".format(**result["budget"])
        + f"{seeds}."
    )


def _as_text(table: Table) -> str:
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    printed = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([table.title, *printed])


def rst(table: Table) -> str:
    """A table for the documentation."""
    lines = [".. list-table::", "   :header-rows: 1", "   :class: scores", ""]
    for row in (table.header, *table.rows):
        lines += [f"   {'*' if column == 0 else ' '} - {cell}" for column, cell in enumerate(row)]
    return "\n".join([table.title, "", *lines, ""])


def write_includes(result: Result, folder: Path) -> None:
    """Each table as a file that a page of the documentation includes."""
    (folder / "settings.inc").write_text(settings_text(result) + "\n", encoding="utf-8")
    for name, table in tables(result).items():
        (folder / f"{name}.inc").write_text(rst(table), encoding="utf-8")
