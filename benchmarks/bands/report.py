"""Compute tables, paired differences and ranks of the finished cells.

A missing cell leaves a dash. A mean over data sets uses those that have results of all compared methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Row = dict[str, Any]
Result = dict[str, Any]

# The metrics of the tables: title, and format of a score.
METRICS = {
    "f1@50": ("F1@50 in percent", ".1f"),
    "edit": ("Edit score in percent", ".1f"),
    "accuracy": ("Frame accuracy in percent", ".1f"),
    "macro_f1": ("Frame-wise F1 in percent, mean over classes", ".1f"),
    "band_ratio": ("Predicted bands per true band; 1 is right, more means flicker, less means missed bands", ".2f"),
    "boundary_f1": ("Boundary F1 in percent, within a margin", ".1f"),
    "covering": ("Covering in percent", ".1f"),
}
# How each metric combines recordings, and how it breaks ties between matches; printed by `conventions`.
POOLING = {
    "f1@50": "F1@50 of the bands of all recordings pooled",
    "edit": "edit score is the mean over recordings",
    "accuracy": "accuracy of the frames of all recordings pooled",
    "macro_f1": "frames of all recordings pooled",
    "band_ratio": "bands of all recordings pooled",
    "boundary_f1": "boundaries of all recordings pooled, regardless of class",
    "covering": "mean over recordings, regardless of class",
}
TIES = {
    "f1@50": "bands match at an IoU of 0.5 or more with the same class, greedily in time order; of two true bands with "
    "equal overlap, the earlier is taken",
    "boundary_f1": "each boundary is matched once, with as many pairs as possible",
    "covering": "each true band counts with the predicted band of largest overlap",
}
COMPARED = ("f1@50", "edit", "accuracy")
# The layers compared with every other method, both trained and decoded by a `Segmenter`.
LAYERS = ("crf", "semi")
# The penalty on flicker compared with the layers.
PENALTY = "bce+switches"
# Other methods in a barcode: the plain network, a penalty, filters, counts, the most probable sequence.
SHOWN = ("ce", PENALTY, "ce+tmse,median", "median", "counted", "crf,sequence")
# Limits of the comparisons: distance to the best frame accuracy in points, lead over the penalty in points of F1@50,
# and predicted bands per true band.
ACCURACY_WITHIN, AHEAD_BY, RATIO = 0.5, 5.0, (0.9, 1.15)
# A method further behind than this is not level, even where seeds differ more.
LEVEL_WITHIN = 2.0
# With fewer people (or data sets) than this, a bootstrap interval says nothing about others, so it is left out.
ENOUGH = 5
DRAWS = 2000


class Table(NamedTuple):
    """Title, column names, rows of text, and the conventions of the scores."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str


def summarise(
    cells: Sequence[Row], budget: dict[str, Any], methods: dict[str, dict[str, Any]], tasks: dict[str, dict[str, Any]]
) -> Result:
    """Return scores, knobs, paired differences, and the bands of one recording of each task.

    Scores of single recordings are stored as text, so that differences and intervals can be recomputed.

    Args:
        cells: results from :class:`benchmarks.bands.cells.Cache`.
        budget: name and settings of the budget.
        methods: title of each method, and whether it is "structured".
        tasks: facts of each task from :func:`benchmarks.bands.tasks.described`.
    """
    plain_methods = [name for name, method in methods.items() if not method["structured"]]
    return {
        "budget": budget,
        "methods": methods,
        "tasks": tasks,
        "seeds": sorted({cell["seed"] for cell in cells}),
        "rows": [_row(cell) for cell in cells],
        "differences": _differences(cells, plain_methods, {name: about["people"] for name, about in tasks.items()}),
        "barcodes": _barcodes(cells),
    }


def _row(cell: Row) -> Row:
    each = {metric: " ".join(f"{score:g}" for score in scores) for metric, scores in cell["per_recording"].items()}
    return {name: value for name, value in cell.items() if name not in ("barcode", "truth")} | {"per_recording": each}


# ------------------------------------------------------------------------------------------------ paired differences
def _differences(cells: Sequence[Row], rivals: Sequence[str], people: dict[str, list[str]]) -> list[Row]:
    """Return the differences between layers and other methods, per task and encoder."""
    by_key: dict[tuple[str, str, str], list[Row]] = {}
    for cell in cells:
        by_key.setdefault((cell["task"], cell["encoder"], cell["method"]), []).append(cell)
    found = []
    for (task, encoder, method), own in sorted(by_key.items()):
        for rival in rivals if method in LAYERS else ():
            theirs = by_key.get((task, encoder, rival), [])
            gaps = {metric: _paired(own, theirs, metric, people[task]) for metric in COMPARED}
            if theirs:
                found.append({"task": task, "encoder": encoder, "method": method, "rival": rival} | gaps)
    return found


def _paired(own: Sequence[Row], rivals: Sequence[Row], metric: str, people: Sequence[str]) -> dict[str, Any]:
    """Return the mean difference over recordings, with seeds averaged first, and its 95 % interval over people.

    A recording without labelled frames has no score and is left out. The difference is None without recordings or
    shared seeds. The interval is None where few people are left.
    """
    theirs = {cell["seed"]: cell["per_recording"][metric] for cell in rivals}
    gaps = [np.subtract(c["per_recording"][metric], theirs[c["seed"]]) for c in own if c["seed"] in theirs]
    values = np.mean(gaps, axis=0) if gaps else np.empty(0)
    scored = np.flatnonzero(~np.isnan(values))
    if not len(scored):
        return {"mean": None, "interval": None}
    values, known = values[scored], [people[i] for i in scored]
    interval = bootstrap(values, known) if len(set(known)) >= ENOUGH else None
    return {"mean": round(float(values.mean()), 2), "interval": interval}


def bootstrap(values: Array, people: Sequence[str] | None = None) -> list[float]:
    """Return the 95 % percentile interval of the mean, from resampling people with all their values.

    Values of one person are alike, so that resampling values would treat them as independent. Without ``people``, each
    value is from another person.
    """
    owner = np.arange(len(values)) if people is None else np.unique(people, return_inverse=True)[1]
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    drawn = np.random.default_rng(0).choice(len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [round(float(limit), 2) for limit in np.quantile(means, (0.025, 0.975))]


def _barcodes(cells: Sequence[Row]) -> dict[str, dict[str, dict[str, str]]]:
    """Return task -> encoder -> method or "truth" -> bands as text, of the first seed."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for cell in sorted(cells, key=lambda cell: -cell["seed"]):
        rows = found.setdefault(cell["task"], {}).setdefault(cell["encoder"], {})
        if cell["method"] in (*SHOWN, *LAYERS):
            rows["truth"], rows[cell["method"]] = _packed(cell["truth"]), _packed(cell["barcode"])
    return found


def _packed(bands: Iterable[Sequence[int]]) -> str:
    return " ".join(f"{start}-{end}:{label}" for start, end, label in bands)


def unpacked(text: str) -> list[tuple[int, int, int]]:
    """Return (start, end, class) of bands from their text."""
    bands = []
    for band in text.split():
        frames, label = band.split(":")
        start, end = frames.split("-")
        bands.append((int(start), int(end), int(label)))
    return bands


# ------------------------------------------------------------------------------------------------------------ tables
def tables(result: Result) -> dict[str, Table]:
    """Return all tables of a result by name."""
    found = target_tables(result) | {"data": data_table(result), "ranks": rank_table(result)}
    for encoder in _distinct(result, "encoder"):
        for metric in METRICS:
            found[f"{metric.replace('@', '')}_{encoder}"] = score_table(result, encoder, metric)
        for metric in COMPARED:
            found[f"gap_{metric.replace('@', '')}_{encoder}"] = difference_table(result, encoder, metric)
    return found | {"knobs": knob_table(result), "edges": edge_table(result)}


def conventions(result: Result, *metrics: str, single: bool = False, ranks: bool = False) -> str:
    """Return the conventions of scores: pooling, ignored classes, ties and margins.

    Args:
        result: has the margins.
        metrics: metrics of the table.
        single: whether each recording is scored by itself.
        ranks: whether the table ranks methods.
    """
    pooling = ["each recording is scored by itself"] if single else [POOLING[metric] for metric in metrics]
    rules = [*pooling, *(TIES[metric] for metric in metrics if metric in TIES)]
    if "boundary_f1" in metrics:
        rules += _margins(result)
    if ranks:
        rules.append("methods with equal scores share their mean rank")
    return f"Conventions: {'; '.join([*rules, BANDS])}."


BANDS = (
    "no class is left out as background; unlabelled frames, and those of a class that is absent from training, are "
    "left out and separate the bands around them"
)


def _margins(result: Result) -> list[str]:
    """Return the margin of each data set, and the data sets without boundaries."""
    about = {plain(task): result["tasks"][task] for task in _distinct(result, "task")}
    some = {name: a["margin"] for name, a in about.items() if a["boundaries"]}
    margins = [f"{name} {margin} ({margin / about[name]['rate']:.3g} s)" for name, margin in some.items()]
    without = [name for name in about if name not in some]
    rules = [f"margins in frames: {', '.join(margins)}"] if margins else []
    if without:
        rules.append(
            f"– on {', '.join(without)}: all test bands lie between unlabelled gaps, so that there is no boundary to "
            "find and a score would only measure flicker"
        )
    return rules


def score_table(result: Result, encoder: str, metric: str) -> Table:
    """Return scores of methods by tasks, mean ± sd over seeds; the last column is the mean rank."""
    tasks = _distinct(result, "task")
    ranks = mean_ranks(result, encoder, metric) if metric != "band_ratio" else {}
    rows = []
    for method, description in result["methods"].items():
        scores = [_scores(result, task, encoder, method, metric) for task in tasks]
        if any(scores):
            rank = f"{ranks[method]:.1f}" if method in ranks else "–"
            rows.append([description["title"], *(_mean_sd(s, METRICS[metric][1]) for s in scores), rank])
    note = conventions(result, metric, ranks=bool(ranks))
    return Table(f"{METRICS[metric][0]}. Encoder: {encoder}.", ["", *map(plain, tasks), "mean rank"], rows, note)


def difference_table(result: Result, encoder: str, metric: str) -> Table:
    """Return other methods by layers: mean paired difference over tasks, its interval and the number of wins."""
    methods, rows = result["methods"], []
    for rival in [name for name, method in methods.items() if not method["structured"]]:
        gaps = [_gaps(result, encoder, own, rival, metric) for own in LAYERS]
        if any(len(values) for values in gaps):
            rows.append([methods[rival]["title"], *map(_difference_text, gaps)])
    title = (
        f"{metric.upper() if metric[0] == 'f' else metric.capitalize()} of each recording by itself: structured layer "
        "minus other method, in points, mean over recordings and then over the real data sets; the 95 % bootstrap "
        f"interval over data sets; and the number of data sets where the layer is ahead. Encoder: {encoder}."
    )
    header = ["other method", *(methods[name]["title"] for name in LAYERS)]
    return Table(title, header, rows, conventions(result, metric, single=True))


def target_tables(result: Result) -> dict[str, Table]:
    """Return tables of both layers, the best other method and the penalty, and of the comparisons won."""
    found = {f"targets_{metric.replace('@', '')}": target_table(result, metric) for metric in COMPARED}
    return found | {"targets_bands": target_table(result, "band_ratio"), "verdicts": verdict_table(result)}


def target_table(result: Result, metric: str) -> Table:
    """Return a row per task and encoder: both layers, the best other method and the penalty."""
    named = {"crf": "CRF", "semi": "semi-Markov CRF"}
    ratio = metric == "band_ratio"
    rows = []
    for task, encoder in _cells(result):
        scores = {layer: _scores(result, task, encoder, layer, metric) for layer in (*LAYERS, PENALTY)}
        # A ratio has no best method, so the plain network shows the flicker to repair.
        best = "ce" if ratio else _best_other(result, task, encoder, metric)
        line = [*(scores[layer] for layer in LAYERS), _scores(result, task, encoder, best, metric), scores[PENALTY]]
        texts = [_mean_sd(values, METRICS[metric][1]) for values in line]
        gaps = [] if ratio else [_gap_text(result, (task, encoder), own, best, metric) for own in LAYERS]
        title = [] if ratio else [result["methods"][best]["title"]]
        rows.append([plain(task), encoder, str(len(line[0])), *texts[:3], *title, texts[3], *gaps])
    other = ["CE, argmax"] if ratio else ["best other", "which"]
    gaps = [] if ratio else [f"{named[layer]} − best other" for layer in LAYERS]
    header = ["data set", "encoder", "seeds", *named.values(), *other, "BCE + switches", *gaps]
    return Table(METRICS[metric][0] + ("." if ratio else TARGETS), header, rows, conventions(result, metric))


TARGETS = (
    ". The best other is the method without an end-to-end layer that has the best mean on these same test "
    "recordings: a choice that was impossible beforehand. Scores and paired differences are means over seeds with "
    "their standard deviation. Brackets show the 95 % bootstrap interval of the mean difference of scores of one "
    "recording, resampled by person, where at least five people test."
)


def verdict_table(result: Result) -> Table:
    """Return the number of data sets where each comparison holds, per encoder, and the names of the others."""
    rows = []
    for encoder in _distinct(result, "encoder"):
        tasks = [task for task, other in _cells(result) if other == encoder and is_real(task)]
        for words, test in _COMPARISONS:
            missed = [task for task in tasks if not test(result, (task, encoder))]
            rows.append([words, encoder, f"{len(tasks) - len(missed)} of {len(tasks)}", ", ".join(map(plain, missed))])
    title = (
        "The layers, a CRF and a semi-Markov CRF trained and decoded by a Segmenter, against the other methods on the "
        "real data sets. A comparison holds if one of the two layers wins; in the last row, one layer must win all "
        "three. Level means behind the best other by at most the standard deviation of the difference over seeds, and "
        f"by at most {LEVEL_WITHIN:g} points; with one seed, not behind."
    )
    note = conventions(result, *COMPARED, "band_ratio")
    return Table(title, ["comparison", "encoder", "holds on", "not on"], rows, note)


def _level(result: Result, cell: tuple[str, str], metric: str) -> bool:
    return any(_is_level(result, cell, own, metric) for own in LAYERS)


def _is_level(result: Result, cell: tuple[str, str], own: str, metric: str) -> bool:
    gap = _seed_gaps(result, cell, own, _best_other(result, *cell, metric), metric)
    return gap.mean() + min(gap.std(ddof=1) if len(gap) > 1 else 0.0, LEVEL_WITHIN) >= 0.0


def _all_at_once(result: Result, cell: tuple[str, str]) -> bool:
    """Return whether one layer is first or level in F1@50 and edit, and near the best accuracy."""
    best = _best_other(result, *cell, "accuracy")
    return any(
        _is_level(result, cell, own, "f1@50")
        and _is_level(result, cell, own, "edit")
        and _seed_gaps(result, cell, own, best, "accuracy").mean() >= -ACCURACY_WITHIN
        for own in LAYERS
    )


def _leads(result: Result, cell: tuple[str, str], rival: str, metric: str, by: float) -> bool:
    return any(_seed_gaps(result, cell, own, rival, metric).mean() >= by for own in LAYERS)


def _ratio(result: Result, cell: tuple[str, str]) -> bool:
    ratios = [float(np.mean(_scores(result, *cell, layer, "band_ratio"))) for layer in LAYERS]
    return any(RATIO[0] <= ratio <= RATIO[1] for ratio in ratios)


_COMPARISONS: list[tuple[str, Callable[[Result, tuple[str, str]], bool]]] = [
    ("first in F1@50, by the mean", lambda r, c: _leads(r, c, _best_other(r, *c, "f1@50"), "f1@50", 0.0)),
    ("first or level in F1@50", lambda r, c: _level(r, c, "f1@50")),
    ("first in edit, by the mean", lambda r, c: _leads(r, c, _best_other(r, *c, "edit"), "edit", 0.0)),
    ("first or level in edit", lambda r, c: _level(r, c, "edit")),
    (
        f"accuracy within {ACCURACY_WITHIN} points of the best",
        lambda r, c: _leads(r, c, _best_other(r, *c, "accuracy"), "accuracy", -ACCURACY_WITHIN),
    ),
    (f"F1@50 ahead of BCE + switches by {AHEAD_BY:g}", lambda r, c: _leads(r, c, PENALTY, "f1@50", AHEAD_BY)),
    ("F1@50 not behind BCE + switches", lambda r, c: _leads(r, c, PENALTY, "f1@50", 0.0)),
    (f"bands predicted/true within {RATIO[0]} to {RATIO[1]}", _ratio),
    ("the same layer level in F1@50 and edit, and near the best accuracy", _all_at_once),
]


def _cells(result: Result) -> list[tuple[str, str]]:
    """Return the tasks and encoders to compare: layers, penalty and plain network share a seed there."""
    needed = {*LAYERS, PENALTY, "ce"}
    return [
        (task, encoder)
        for task in _distinct(result, "task")
        for encoder in _distinct(result, "encoder")
        if set.intersection(*({row["seed"] for row in _rows(result, task, encoder, m)} for m in needed))
    ]


def _best_other(result: Result, task: str, encoder: str, metric: str) -> str:
    """Return the best method without an end-to-end layer, over the seeds that it shares with the layers."""
    shared = set.intersection(*({row["seed"] for row in _rows(result, task, encoder, own)} for own in LAYERS))
    means = {
        name: float(np.mean(scores))
        for name, method in result["methods"].items()
        if not method["structured"]
        and (scores := [r["scores"][metric] for r in _rows(result, task, encoder, name) if r["seed"] in shared])
    }
    return max(means, key=lambda name: means[name])


def _seed_gaps(result: Result, cell: tuple[str, str], own: str, rival: str, metric: str) -> Array:
    """Return the differences for the seeds of both methods."""
    ours, theirs = (
        {row["seed"]: row["scores"][metric] for row in _rows(result, *cell, method)} for method in (own, rival)
    )
    return np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def _gap_text(result: Result, cell: tuple[str, str], own: str, rival: str, metric: str) -> str:
    """Return a paired difference as text, with its interval over people where known."""
    key = (*cell, own, rival)
    rows = [r for r in result["differences"] if (r["task"], r["encoder"], r["method"], r["rival"]) == key]
    intervals = [row[metric]["interval"] for row in rows if row[metric]["interval"]]
    known = [f"[{low:+.1f}, {high:+.1f}]" for low, high in intervals]
    return " ".join([_mean_sd(_seed_gaps(result, cell, own, rival, metric).tolist(), "+.1f"), *known])


def data_table(result: Result) -> Table:
    """Return the sizes of the training, validation and test parts, and the chosen epochs."""
    rows = []
    for task in _distinct(result, "task"):
        about = result["tasks"][task]
        each = [f"{r} / {b}" for r, b in zip(about["recordings"], about["bands"], strict=True)]
        epochs = [_epochs(result, task, method) for method in ("ce", *LAYERS)]
        people = str(len(set(about["people"])))
        rows.append([plain(task), str(about["classes"]), f"{about['median_duration']:g}", *each, people, *epochs])
    names = ("CE", "CRF", "semi-Markov")
    counts = (f"{part}: recordings / bands" for part in PARTS)
    header = ["data set", "classes", "median band, frames", *counts, "test: people or houses"]
    title = (
        "Recordings and bands; people or houses in the test part (each synthetic signal counts as one); and the epoch "
        "that was best on the validation recordings, with the number of epochs: the median over encoders and seeds."
    )
    return Table(title, [*header, *(f"best epoch: {name}" for name in names)], rows, conventions_of_choice(epochs=True))


PARTS = ("training", "validation", "test")


def conventions_of_choice(epochs: bool = False) -> str:
    """Return the conventions of choosing epochs or knobs on validation recordings."""
    ties = "epochs, the one with the lower loss" if epochs else "choices, the first tried"
    return (
        "Conventions: the choice maximises the mean of accuracy (frames of all validation recordings pooled), F1@50 "
        f"(their bands pooled) and edit score (mean over recordings); among equal {ties}; {BANDS}."
    )


def _epochs(result: Result, task: str, method: str) -> str:
    rows = [row for encoder in _distinct(result, "encoder") for row in _rows(result, task, encoder, method)]
    if not rows:
        return "–"
    return f"{1 + np.median([row['best_epoch'] for row in rows]):g} of {max(row['epochs'] for row in rows)}"


def rank_table(result: Result) -> Table:
    """Return mean ranks of all methods over the tasks with results of all methods."""
    keys = [(encoder, metric) for encoder in _distinct(result, "encoder") for metric in COMPARED]
    ranks = {key: mean_ranks(result, *key) for key in keys}
    mean = {name: np.mean([r[name] for r in ranks.values() if name in r] or [np.inf]) for name in result["methods"]}
    rows = [
        [result["methods"][name]["title"], *(f"{r[name]:.1f}" if name in r else "–" for r in ranks.values())]
        for name in sorted(mean, key=lambda name: mean[name])
        if np.isfinite(mean[name])
    ]
    title = (
        "Mean rank over the real data sets with results of all methods; 1 is best. Each layer appears once, as a "
        "Segmenter decodes it."
    )
    note = conventions(result, *COMPARED, ranks=True)
    return Table(title, ["", *(f"{encoder}: {metric}" for encoder, metric in keys)], rows, note)


def knob_table(result: Result) -> Table:
    """Return the tuned knobs."""
    tasks, rows = _distinct(result, "task"), []
    for encoder in _distinct(result, "encoder"):
        for method, description in result["methods"].items():
            texts = [_knob(result, task, encoder, method) for task in tasks]
            if any(text not in ("", "–") for text in texts):
                rows.append([description["title"], encoder, *texts])
    return Table(
        "Knobs tuned on validation recordings with the first seed; empty where no penalty was better. For the layers: "
        "how the Segmenter decodes, and whether it trained with a loss of frames. It chooses both in each fit; those "
        "of the first seed are shown.",
        ["", "encoder", *map(plain, tasks)],
        rows,
        conventions_of_choice(),
    )


def edge_table(result: Result) -> Table:
    """Return the data sets where a penalty weight beyond those tried might be better."""
    rows = []
    for method, description in result["methods"].items():
        for encoder in _distinct(result, "encoder"):
            found = [_rows(result, task, encoder, method)[:1] for task in _distinct(result, "task")]
            first = [row for some in found for row in some]
            if any(row["network"]["penalty"] for row in first):
                weights = sorted({weight for row in first for weight in row["tried"]} - {0.0})
                tried = ", ".join(f"{weight:g}" for weight in weights)
                ends = [
                    [plain(row["task"]) for row in first if row["network"]["weight"] == row["tried"][at]]
                    for at in (1, -1)
                ]
                rows.append([description["title"], encoder, tried, *map(", ".join, ends)])
    title = (
        "Data sets where the tuned weight of a penalty is the smallest or largest tried: one beyond might be better."
    )
    header = ["", "encoder", "weights tried besides none", "smallest chosen on", "largest chosen on"]
    return Table(title, header, rows, conventions_of_choice())


def mean_ranks(result: Result, encoder: str, metric: str = "f1@50") -> dict[str, float]:
    """Return the mean rank of each method over the complete real tasks; 1 is best, ties share a rank."""
    scores, methods = complete(result, encoder, metric)
    if not len(scores):
        return {}
    from scipy.stats import rankdata

    ranks = rankdata(-scores, axis=1).mean(0)
    return dict(zip(methods, ranks.tolist(), strict=True))


def complete(result: Result, encoder: str, metric: str) -> tuple[Array, list[str]]:
    """Return scores (tasks, methods) of the real tasks with results of all methods, and those methods.

    Synthetic tasks and variants of the layers are left out. The synthetic tasks share their labels and the variants
    share networks, so that they would count twice.
    """
    have = {row["method"] for row in result["rows"] if row["encoder"] == encoder}
    variants = {name for name, method in result["methods"].items() if method["structured"] and name not in LAYERS}
    methods = [name for name in result["methods"] if name in have - variants]
    rows = []
    for task in filter(is_real, _distinct(result, "task")):
        scores = [_scores(result, task, encoder, method, metric) for method in methods]
        if scores and all(scores):
            rows.append([float(np.mean(s)) for s in scores])
    return np.array(rows), methods


def is_real(task: str) -> bool:
    """Return whether a task has measured recordings."""
    return not task.startswith("synthetic")


def _distinct(result: Result, name: str) -> list[str]:
    """Return the distinct values in the order of the tables; synthetic tasks last."""
    return sorted({row[name] for row in result["rows"]}, key=lambda value: (not is_real(value), value))


def _scores(result: Result, task: str, encoder: str, method: str, metric: str) -> list[float]:
    """Return the scores of all seeds; none where there is nothing to score."""
    if metric == "boundary_f1" and not result["tasks"][task]["boundaries"]:
        return []
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
    deviation = format(float(np.std(scores, ddof=1)), form.lstrip("+")) if len(scores) > 1 else ""
    return f"{mean} ± {deviation}" if deviation else mean


def _gaps(result: Result, encoder: str, own: str, rival: str, metric: str) -> Array:
    rows = [
        row for row in result["differences"] if (row["encoder"], row["method"], row["rival"]) == (encoder, own, rival)
    ]
    return np.array([row[metric]["mean"] for row in rows if row[metric]["mean"] is not None and is_real(row["task"])])


def _difference_text(gaps: Array) -> str:
    if not len(gaps):
        return "–"
    interval = " [{:+.1f}, {:+.1f}]".format(*bootstrap(gaps)) if len(gaps) >= ENOUGH else ""
    return f"{gaps.mean():+.1f}{interval}, {np.count_nonzero(gaps > 0)} of {len(gaps)}"


def _knob(result: Result, task: str, encoder: str, method: str) -> str:
    rows = _rows(result, task, encoder, method)
    if not rows:
        return "–"
    network, knob = rows[0]["network"], rows[0]["knob"]
    edge = " (largest tried)" if network["weight"] == rows[0]["tried"][-1] else ""
    weight = [f"λ {network['weight']:g}{edge}"] if network["penalty"] else []
    decoding = rows[0]["decoding"]
    if decoding:
        chosen = [f"factor {decoding['factor']:g}", "by frame" if decoding["by_frame"] else "sequence"]
        return ", ".join(chosen + ["loss of frames"] * (decoding["frame_loss"] > 0))
    answer = {0.0: ["sequence"], 1.0: ["by frame"], None: []}[knob.get("by_frame")]
    values = [f"{name.replace('_', ' ')} {value:g}" for name, value in knob.items() if name != "by_frame"]
    return ", ".join([*weight, *values, *answer])


def plain(task: str) -> str:
    """Return the name of a task with spaces, so that it can wrap."""
    return task.replace("_", " ")


# --------------------------------------------------------------------------------------------------------- rendering
def text(result: Result) -> str:
    """Return all tables for a terminal."""
    return "\n\n".join([settings_text(result), *map(_as_text, tables(result).values())])


def settings_text(result: Result) -> str:
    """Return the settings of a network in a sentence."""
    cells: dict[tuple[str, ...], int] = {}
    for row in result["rows"]:
        key = (row["task"], row["encoder"], row["method"])
        cells[key] = cells.get(key, 0) + 1
    fewest, most = min(cells.values()), max(cells.values())
    seeds = f"{fewest} to {most} seeds" if fewest < most else f"{most} {'seed' if most == 1 else 'seeds'}"
    beyond = ", and further ones where the best is the smallest or largest" if result["budget"]["widen"] else ""
    return (
        "Budget {name!r}: an LSTM of {hidden} units per direction, at most {epochs} epochs of at least 16 batches and "
        "about {steps} batches in all, a batch of {batch_size} windows of {window} frames; {weights} weights tried for "
        "each penalty besides none{beyond}; ".format(**result["budget"], beyond=beyond)
        + f"{seeds}."
    )


def _as_text(table: Table) -> str:
    lines = [table.header, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.header))]
    printed = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([table.title, *printed, table.note])


def rst(table: Table) -> str:
    """Return a table for the documentation."""
    lines = [".. list-table::", "   :header-rows: 1", "   :class: scores", ""]
    for row in (table.header, *table.rows):
        lines += [f"   {'*' if column == 0 else ' '} - {cell}" for column, cell in enumerate(row)]
    return "\n".join([table.title, "", *lines, "", table.note, ""])


def write_includes(result: Result, folder: Path) -> None:
    """Write each table to a file that a page of the documentation includes."""
    (folder / "settings.inc").write_text(settings_text(result) + "\n", encoding="utf-8")
    for name, table in tables(result).items():
        (folder / f"{name}.inc").write_text(rst(table), encoding="utf-8")
