"""Figures: a signal with its bands below, and the history of a training.

Bands are drawn as bars in one colour per class, one row per labelling, so that truth and predictions can be
compared by eye. Matplotlib is an extra (``pip install 'segcrf[plot]'``), used through its objects: no global
state, no display.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import UNLABELLED, InputError, InputTypeError, check_names, frames_per_second, index_class_names
from segcrf.plot.style import ACCENT, EMPTY, FAINT, INK, class_colors, import_matplotlib
from segcrf.segments import Segments

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bands", "figure", "history"]

Array = npt.NDArray[Any]
Labels = Array | Segments

#: Points of a line; a longer one is drawn by its extremes.
LONGEST_LINE = 20_000
# More panels would not fit on a page.
_MOST_CHANNELS = 6


def bands(
    labels: Labels,
    ax: Axes,
    *,
    classes: Sequence[str] | int | None = None,
    sampling_rate: float | None = None,
    row: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Draw the bands of one recording as a row of bars.

    Args:
        labels: (T,) integers, -100 = unlabelled (drawn empty); or text, "" = unlabelled; or the :class:`Segments`
            of one recording.
        ax: the axes to draw in.
        classes: names of the classes or their number, which fix the colours; None: those that occur, text by the
            alphabet.
        sampling_rate: frames per second, to draw in seconds; None draws in frames.
        row: bottom and height of the bars in units of the vertical axis.

    Raises:
        ImportError: there are more than eight classes, and matplotlib is not installed.
        TypeError: labels are neither integers nor text.
        ValueError: a label is none of the classes, the segments are of several recordings, or ``sampling_rate`` is not
            above 0.

    >>> from matplotlib.figure import Figure
    >>> ax = Figure().add_subplot()
    >>> bands(np.array([0, 0, 1, 1, 1]), ax)
    >>> [len(collection.get_paths()) for collection in ax.collections]
    [1, 1]
    """
    tracks, names = _numbered({"labels": labels}, classes)
    _draw_bands(tracks["labels"], ax, len(names), sampling_rate, row)


def _draw_bands(
    segments: Segments, ax: Any, num_classes: int, sampling_rate: float | None, row: tuple[float, float]
) -> None:
    scale = 1.0 / frames_per_second(sampling_rate)
    for label, color in enumerate(class_colors(num_classes)):
        own = segments.label == label
        spans = np.stack([segments.start[own], segments.end[own] - segments.start[own]], axis=1) * scale
        if len(spans):
            ax.broken_barh(spans, row, facecolors=color, linewidth=0, antialiased=False)


def figure(
    x: Array,
    tracks: Mapping[str, Labels],
    y: Array | None = None,
    y_hat: Array | None = None,
    *,
    sampling_rate: float | None = None,
    classes: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> Figure:
    """Draw a signal, its regression targets, and the bands of one or more labellings below it.

    Args:
        x: (T,) or (T, F) signal.
        tracks: labellings by name, from top to bottom: (T,) integers, -100 = unlabelled; or text, "" = unlabelled;
            or the Segments of one recording.
        y: (T,) or (T, R) true targets, NaN = unknown.
        y_hat: (T,) or (T, R) predicted targets.
        sampling_rate: frames per second, for an axis in seconds; None counts frames.
        classes: names of the classes, for the legend; None: those that occur, with a legend if labels are text.
        channels: F names; None: numbers. Each of the first six channels has a panel of its own scale.

    Returns:
        A figure 7 inches wide (two columns of a journal), to be saved with its ``savefig``.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: labels are neither integers nor text.
        ValueError: a labelling or target is not as long as the signal, a label is none of the classes, labels are
            text in one track and numbers in another while ``classes`` does not name these, ``sampling_rate`` is not
            above 0, or there are not F names of channels.

    >>> chart = figure(np.zeros(5), {"k": np.array([0, 0, 1, 1, 1])}, classes=["low", "high"])
    >>> [ax.get_ylabel() for ax in chart.axes]
    ['x', '']
    """
    frames_per_second(sampling_rate)
    signal, targets = _column(x, "x"), {"y": y, "ŷ": y_hat}
    _check_lengths(len(signal), tracks, targets)
    shown = {name: _column(values, name) for name, values in targets.items() if values is not None}
    segments, names = _numbered(tracks, classes)
    named = bool(names) and (classes is not None or any(map(_is_text, tracks.values())))
    titles = _channel_titles(signal.shape[1], channels)
    panels = [1.5 if len(titles) == 1 else 0.75] * len(titles) + [1.1] * bool(shown) + [0.28 * max(len(tracks), 1)]
    chart, axes = _panels(panels)
    for index, title in enumerate(titles):
        _line(axes[index], signal[:, index], sampling_rate, color=INK, linewidth=0.9 if len(titles) == 1 else 0.7)
        axes[index].set_ylabel(_shown(title), fontsize=9 if len(titles) == 1 else 7.5, parse_math=False)
    if shown:
        _draw_targets(axes[len(titles)], shown, sampling_rate)
    _draw_tracks(axes[-1], segments, sampling_rate, names, legend=named)
    axes[-1].set_xlim(0, len(signal) / (sampling_rate or 1.0))
    axes[-1].set_xlabel("frame" if sampling_rate is None else "time (s)")
    return chart


#: Panels of a history: title, unit, rows of the history, whether the axis is logarithmic.
HISTORY = (
    ("loss of the labels", "nats per frame", {"crf": "training", "val_crf": "validation"}, False),
    ("loss of the targets", "per frame", {"regression": "training", "val_regression": "validation"}, False),
    ("bands", "decoded per true", {"bands": "first batch"}, False),
    ("pull at the features", "norm", {"gradient_crf": "labels", "gradient_regression": "targets"}, True),
    ("agreement of the pulls", "cosine", {"cosine": ""}, False),
    ("effective weights", "", {"weight_crf": "labels", "weight_regression": "targets"}, True),
    ("deviation of the targets", "σ", {"sigma": ""}, True),
    ("gradient, and steps clipped", "norm, share", {"gradient": "norm", "clipped": "clipped"}, False),
    ("learning rate", "", {"learning_rate": ""}, True),
)


def history(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the history of a fit, epoch by epoch: losses, pulls, weights, bands, clipping, learning rate.

    Args:
        rows: ``Segmenter.history_``, a dict per epoch. Panels without a row in it are left out.

    Returns:
        A figure 7 inches wide, three panels to a row.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there is no epoch.

    >>> chart = history([{"epoch": 0, "crf": 1.0, "val_crf": 1.1}, {"epoch": 1, "crf": 0.5, "val_crf": 0.7}])
    >>> [ax.get_title() for ax in chart.axes]
    ['loss of the labels']
    """
    if not rows:
        raise InputError("history", "no epoch", "a dict per epoch", "fit first, with max_epochs of 1 or more")
    shown = [panel for panel in HISTORY if any(name in row for name in panel[2] for row in rows)]
    count = -(-len(shown) // 3)
    chart = import_matplotlib("matplotlib.figure").Figure(
        figsize=(7.0, 1.6 * count + 0.2), dpi=200, layout="constrained"
    )
    for index, (title, unit, names, logarithmic) in enumerate(shown):
        ax = chart.add_subplot(count, min(3, len(shown)), index + 1)
        for color, (name, label) in zip((INK, ACCENT), names.items(), strict=False):
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            marker = "." if len(points) < 2 else None
            ax.plot(*zip(*points, strict=True), color=color, linewidth=0.9, marker=marker, label=label)
        ax.set_title(title, fontsize=8, color=INK)
        ax.set_ylabel(unit, fontsize=7)
        ax.tick_params(labelsize=7, colors=INK)
        ax.spines[["top", "right"]].set_visible(False)
        if logarithmic and all(row.get(name, 1.0) > 0 for row in rows for name in names):
            ax.set_yscale("log")
        if len(names) > 1:
            ax.legend(frameon=False, fontsize=6, handlelength=1.2)
    return chart


def _panels(heights: Sequence[float]) -> tuple[Any, list[Any]]:
    """Return a figure with panels of these heights in inches, one below the other, sharing the horizontal axis."""
    chart = import_matplotlib("matplotlib.figure").Figure(
        figsize=(7.0, sum(heights) + 0.75), dpi=200, layout="constrained"
    )
    chart.get_layout_engine().set(h_pad=0.03, w_pad=0.03, hspace=0.0)
    grid = chart.add_gridspec(len(heights), 1, height_ratios=list(heights))
    axes: list[Any] = []
    for index in range(len(heights)):
        axes.append(chart.add_subplot(grid[index], sharex=axes[0] if axes else None))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8, colors=INK)
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False)
    return chart, axes


def _channel_titles(num_channels: int, names: Sequence[str] | None) -> list[str]:
    """Return a title for each channel that is drawn."""
    if names is not None and len(names) != num_channels:
        raise InputError("channels", f"{len(names)} names", f"{num_channels}, as the signal has channels")
    if names is not None:
        return [str(name) for name in names[:_MOST_CHANNELS]]
    return ["x"] if num_channels == 1 else [f"x{index}" for index in range(min(num_channels, _MOST_CHANNELS))]


def _draw_targets(ax: Any, shown: Mapping[str, Array], sampling_rate: float | None) -> None:
    """Draw true targets as a wide pale line, predicted ones as a thin line on it."""
    styles = {"y": {"color": FAINT, "linewidth": 2.2, "alpha": 0.8}, "ŷ": {"color": ACCENT, "linewidth": 0.9}}
    for name, values in shown.items():
        for index in range(values.shape[1]):
            _line(ax, values[:, index], sampling_rate, label=name if index == 0 else None, **styles[name])
    ax.set_ylabel(", ".join(shown), fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, handlelength=1.2)


def _draw_tracks(
    ax: Any, tracks: Mapping[str, Segments], sampling_rate: float | None, names: Sequence[str], *, legend: bool
) -> None:
    """Draw one row of bands per labelling, named at its left, and the classes in a legend."""
    for index, segments in enumerate(tracks.values()):
        ax.axhspan(index + 0.09, index + 0.91, facecolor=EMPTY, linewidth=0)
        _draw_bands(segments, ax, len(names), sampling_rate, (index + 0.09, 0.82))
    ax.set_ylim(len(tracks), 0)
    ax.set_yticks(np.arange(len(tracks)) + 0.5, [_shown(name) for name in tracks], fontsize=7.5)
    for text in ax.get_yticklabels():
        text.set_parse_math(False)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    if legend:
        patch = import_matplotlib("matplotlib.patches").Patch
        handles = [patch(color=color) for color in class_colors(len(names))]
        box = ax.legend(
            handles, map(str, range(len(names))), loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False,
            fontsize=8, handlelength=0.9, handleheight=0.9, borderaxespad=0.2,
        )  # fmt: skip
        for text, name in zip(box.get_texts(), names, strict=True):
            text.set_parse_math(False)
            text.set_text(_shown(name))  # as a label of its handle, a name that begins with _ would be left out


def _shown(name: str) -> str:
    """Return a name with control characters but line breaks as escapes: no font has them."""
    return "\n".join(line if line.isprintable() else repr(line)[1:-1] for line in name.split("\n"))


def _line(ax: Any, values: Array, sampling_rate: float | None, **style: Any) -> None:
    """Draw a line, or for a long recording the least and the greatest value of every few frames."""
    step = -(-len(values) // (LONGEST_LINE // 2))
    scale = 1.0 if sampling_rate is None else 1.0 / sampling_rate
    if len(values) <= LONGEST_LINE:
        ax.plot(np.arange(len(values)) * scale, values, **style)
        return
    starts = np.arange(0, len(values), step)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    ax.plot(np.repeat(starts, 2) * scale, np.stack([low, high], axis=1).ravel(), **style)


def _column(values: Array, name: str) -> Array:
    """Return values (T,) or (T, n) as (T, n)."""
    array = np.asarray(values)
    if array.ndim not in (1, 2):
        raise InputError(name, f"shape {array.shape}", "shape (T,) or (T, n)", "draw one recording at a time")
    return array[:, None] if array.ndim == 1 else array


def _is_text(labels: Labels) -> bool:
    if isinstance(labels, Segments):
        return False
    array = np.asarray(labels)
    words = array.dtype.kind == "O" and all(isinstance(word, str) for word in array.flat)
    return array.dtype.kind in "UT" or (words and array.size > 0)


def _numbered(
    tracks: Mapping[str, Labels], classes: Sequence[str] | int | None
) -> tuple[dict[str, Segments], list[str]]:
    """Return labellings as segments with labels that index a list of classes; and that list."""
    texts = {name: np.asarray(labels) for name, labels in tracks.items() if _is_text(labels)}
    known: list[str] | None = None
    if classes is not None and not isinstance(classes, int):
        known = [str(name) for name in classes]
        check_names(known, "classes", -1)
    elif texts:
        others = [name for name in tracks if name not in texts]
        if others or classes is not None:
            expected = f"integers, like those of {others[0]}" if others else f"integers, as classes={classes} counts"
            raise InputError(next(iter(texts)), "labels of text", expected, "name the classes by classes=[...]")
        known = sorted({str(word) for words in texts.values() for word in words} - {""})
    segments = {name: _segments(labels, name, known) for name, labels in tracks.items()}
    if known is None:
        highest = max((int(track.label.max(initial=-1)) for track in segments.values()), default=-1)
        known = [str(number) for number in range(classes if isinstance(classes, int) else highest + 1)]
    for name, track in segments.items():
        strange = np.flatnonzero(track.label >= len(known))
        if strange.size:
            label, frame = track.label[strange[0]], int(track.start[strange[0]])
            expected = f"one of the {len(known)} of classes, from 0"
            advice = f"correct it, name the class in classes, or set it to {UNLABELLED} (unlabelled)"
            raise InputError(name, f"class {label}", expected, advice, frame=frame)
    return segments, known


def _segments(labels: Labels, name: str, known: Sequence[str] | None) -> Segments:
    """Return one labelling as segments."""
    if isinstance(labels, Segments):
        recordings = np.unique(labels.recording)
        if len(recordings) > 1:
            raise InputError(name, f"{len(recordings)} recordings", "one", "choose it by Segments.of")
        return labels
    array = np.asarray(labels)
    if array.ndim != 1:
        raise InputError(name, f"shape {array.shape}", "shape (T,), a class per frame")
    try:
        # The checks that all labels share find a word that is no class, and a label of another type.
        numbers = index_class_names([array], known) if known is not None and _is_text(labels) else [array]
        return Segments.from_labels(numbers)
    except (InputError, InputTypeError) as error:
        raise type(error)(name, error.got, error.expected, error.advice, frame=error.frame) from None


def _check_lengths(length: int, tracks: Mapping[str, Labels], targets: Mapping[str, Array | None]) -> None:
    arrays = {**tracks, **targets}
    for name, values in arrays.items():
        if values is None:
            continue
        got = int(values.end.max(initial=0)) if isinstance(values, Segments) else len(values)
        if got > length or (got < length and not isinstance(values, Segments)):
            raise InputError(name, f"{got} frames", f"{length}, as in the signal", "draw one recording at a time")
