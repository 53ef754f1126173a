"""Figures: bands lie where the labels say, in the colour of their class, and nothing global is touched."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from segcrf import Segments, plot
from segcrf._validation import InputTypeError
from segcrf.plot import figures, style
from segcrf.testing.errors import rejects

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array([0, 0, 1, -100, -100, 1, 1, 2])


def drawn(ax):
    """(colour, [(left, right), ...]) of every class that has bands."""
    found = {}
    for collection in ax.collections:
        spans = [path.get_extents() for path in collection.get_paths()]
        color = to_hex(collection.get_facecolor()[0]).upper()
        found[color] = [(float(span.x0), float(span.x1)) for span in spans]
    return found


def test_bands_are_half_open_in_frames():
    ax = Figure().add_subplot()
    plot.bands(LABELS, ax)
    blue, orange, green = style.PALETTE[:3]
    assert drawn(ax) == {blue: [(0, 2)], orange: [(2, 3), (5, 7)], green: [(7, 8)]}


def test_bands_in_seconds():
    ax = Figure().add_subplot()
    plot.bands(LABELS, ax, sampling_rate=2.0)
    assert drawn(ax)[style.PALETTE[1]] == [(1.0, 1.5), (2.5, 3.5)]


def test_bands_of_segments_keep_seams_between_bands_of_one_class():
    ax = Figure().add_subplot()
    segments = Segments.from_labels([np.zeros(4, dtype=np.int64)], starts=[[True, False, True, False]])
    plot.bands(segments, ax)
    assert drawn(ax) == {style.PALETTE[0]: [(0, 2), (2, 4)]}


@pytest.mark.parametrize("kind", [str, object])
def test_bands_of_text(kind: type):
    ax = Figure().add_subplot()
    words = np.array(["walk", "walk", "", "rest"], dtype=kind)
    plot.bands(words, ax)
    rest, walk = style.PALETTE[:2]
    assert drawn(ax) == {rest: [(3, 4)], walk: [(0, 2)]}
    ax = Figure().add_subplot()
    plot.bands(words, ax, classes=np.array(["walk", "run", "rest"]))  # as Segmenter.classes_ is
    assert drawn(ax) == {style.PALETTE[0]: [(0, 2)], style.PALETTE[2]: [(3, 4)]}


def test_text_and_numbers_share_the_classes_that_are_named():
    words = np.array(["b", "b", "a", "", "", "a", "a", "c"])
    tracks = {"words": words, "numbers": LABELS}
    rows = plot.figure(np.zeros(8), tracks, classes=["b", "a", "c"]).axes[-1]
    assert [text.get_text() for text in rows.get_legend().get_texts()] == ["b", "a", "c"]
    with rejects("words", got="text", expected="integers, like those of numbers", advice="name the classes by"):
        plot.figure(np.zeros(8), tracks)
    with rejects("labels", got="text", expected="integers, as classes=3 counts"):
        plot.bands(words, Figure().add_subplot(), classes=3)


def test_every_channel_has_a_panel_of_its_own_scale():
    signal = np.arange(24.0).reshape(8, 3) * [1, 10, 100]
    chart = plot.figure(signal, {"k": LABELS}, channels=["acc [g]", "$x$", "_y"])
    assert [ax.get_ylabel() for ax in chart.axes] == ["acc [g]", "$x$", "_y", ""]
    for ax, column in zip(chart.axes, signal.T, strict=False):
        (line,) = ax.lines
        assert to_hex(line.get_color()).upper() == style.INK
        np.testing.assert_array_equal(line.get_ydata(), column)
    many = plot.figure(np.zeros((8, 9)), {"k": LABELS})
    assert [ax.get_ylabel() for ax in many.axes[:-1]] == [f"x{i}" for i in range(6)]
    with rejects("channels", got="2 names", expected="3, as the signal has channels"):
        plot.figure(signal, {"k": LABELS}, channels=["a", "b"])


def test_names_are_shown_as_they_are(tmp_path: Path):
    names = ["$10-$20", "_rest", "a$b", "\x1b[31m"]
    labels = np.array(names)[np.arange(8) // 2]
    chart = plot.figure(np.zeros(8), {"$k$": labels}, classes=names)
    rows = chart.axes[-1]
    chart.savefig(tmp_path / "names.png")  # draws every text
    assert [text.get_text() for text in rows.get_legend().get_texts()] == [*names[:3], r"\x1b[31m"]
    assert [text.get_text() for text in rows.get_yticklabels()] == ["$k$"]


def test_text_has_a_legend_and_numbers_without_names_have_none():
    words = np.array(["b", "b", "a", "", "", "a", "a", "c"])
    rows = plot.figure(np.zeros(8), {"k": words}).axes[-1]
    assert [text.get_text() for text in rows.get_legend().get_texts()] == ["a", "b", "c"]
    for labels in (LABELS, np.full(8, "")):
        assert plot.figure(np.zeros(8), {"k": labels}).axes[-1].get_legend() is None


@pytest.mark.parametrize("classes", [2, ["a", "b"]])
@pytest.mark.parametrize("segments", [False, True])
def test_a_class_beyond_the_classes_is_rejected(classes: int | list[str], segments: bool):
    labels = Segments.from_labels([LABELS]) if segments else LABELS
    with rejects("k", got="class 2", expected="one of the 2 of classes, from 0", frame=7):
        plot.figure(np.zeros(8), {"k": labels}, classes=["a", "b"])
    with rejects("labels", got="class 2", frame=7):
        plot.bands(labels, Figure().add_subplot(), classes=classes)


def test_labels_that_are_none_are_rejected():
    ax = Figure().add_subplot()
    with rejects("labels", got="'x'", expected=r"one of \['a', 'b'\]", frame=1):
        plot.bands(np.array(["a", "x"]), ax, classes=["a", "b"])
    with rejects("labels", got="-1", frame=1):
        plot.bands(np.array([0, -1]), ax)
    for values in (np.array([0.0, 1.0]), np.array([0, 1], dtype=object)):
        with rejects("labels", expected="integers .* or text", kind=InputTypeError):
            plot.bands(values, ax)
    with rejects("labels", got="None", expected="a class", frame=1, kind=InputTypeError):
        plot.bands(np.array(["a", None]), ax)
    with rejects("labels", got=r"shape \(2, 8\)", expected=r"shape \(T,\)"):
        plot.bands(np.stack([LABELS, LABELS]), ax)
    with rejects("labels", got="2 recordings", expected="one", advice="choose it by Segments.of"):
        plot.bands(Segments.from_labels([LABELS, LABELS]), ax)
    with rejects("sampling_rate", got="0"):
        plot.bands(LABELS, ax, sampling_rate=0.0)
    with rejects("x", got=r"shape \(2, 8, 1\)", expected=r"shape \(T,\) or \(T, n\)"):
        plot.figure(np.zeros((2, 8, 1)), {"k": LABELS})


def test_a_class_keeps_its_colour_whatever_classes_occur():
    ax = Figure().add_subplot()
    plot.bands(np.array([2, 2]), ax, classes=["a", "b", "c"])
    assert drawn(ax) == {style.PALETTE[2]: [(0, 2)]}


def test_colours_differ_for_many_classes():
    assert len({tuple(np.round(color, 3)) for color in plot.class_colors(15)}) == 15


def test_unlabelled_recording_draws_no_band():
    ax = Figure().add_subplot()
    plot.bands(np.full(5, -100), ax)
    assert drawn(ax) == {}


def test_figure_has_signal_targets_and_a_row_per_labelling(tmp_path: Path):
    rng = np.random.default_rng(0)
    tracks = {"true": LABELS, "found": np.zeros(8, dtype=np.int64)}
    chart = plot.figure(
        rng.normal(size=(8, 2)), tracks, np.ones(8), np.zeros((8, 1)), sampling_rate=4.0, classes=["a", "b", "c"]
    )
    first, second, targets, rows = chart.axes
    assert len(first.lines) == len(second.lines) == 1
    assert [line.get_ydata()[0] for line in targets.lines] == [1.0, 0.0]
    assert [label.get_text() for label in rows.get_yticklabels()] == ["true", "found"]
    assert [text.get_text() for text in rows.get_legend().get_texts()] == ["a", "b", "c"]
    assert rows.get_xlim() == (0.0, 2.0)
    chart.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_figure_without_targets_has_two_panels():
    assert len(plot.figure(np.zeros(8), {"k": LABELS}).axes) == 2


def test_rows_are_drawn_from_top_to_bottom():
    rows = plot.figure(np.zeros(8), {"first": LABELS, "second": LABELS}).axes[-1]
    bottom, top = rows.get_ylim()
    assert bottom > top
    assert rows.get_yticks()[0] < rows.get_yticks()[1]


def test_a_long_line_keeps_its_extremes():
    values = np.zeros(100_000)
    values[54_321], values[77_777] = 5.0, -7.0
    line = plot.figure(values, {"k": np.zeros(100_000, dtype=np.int64)}).axes[0].lines[0]
    drawn_values = np.asarray(line.get_ydata())
    assert len(drawn_values) <= figures.LONGEST_LINE
    assert (drawn_values.max(), drawn_values.min()) == (5.0, -7.0)
    assert abs(float(np.asarray(line.get_xdata())[drawn_values.argmax()]) - 54_321) <= 10


def test_inputs_are_not_modified():
    labels, values = LABELS.copy(), np.arange(8.0)
    plot.figure(values, {"k": labels}, values)
    assert (labels == LABELS).all()
    assert (values == np.arange(8.0)).all()


def test_a_labelling_of_another_length_is_rejected():
    with rejects("k", got="8 frames", expected="9, as in the signal"):
        plot.figure(np.zeros(9), {"k": LABELS})


def test_targets_of_another_length_are_rejected():
    with rejects("y", got="7 frames", expected="8, as in the signal"):
        plot.figure(np.zeros(8), {"k": LABELS}, y=np.zeros(7))


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'segcrf\[plot\]'"):
        plot.figure(np.zeros(8), {"k": LABELS})


def test_formats_of_figures_are_those_that_can_be_written(tmp_path: Path):
    for ending in ("pdf", "png", "SVG"):
        plot.check_format(tmp_path / f"figure.{ending}")
        Figure().savefig(tmp_path / f"figure.{ending}")
    with rejects(r"figure\.doc", got=r"the ending \.doc", expected=r"one of \."):
        plot.check_format("figure.doc")
    with rejects("figure", got="no ending"):
        plot.check_format("figure")


def test_no_global_state_is_used():
    before = set(sys.modules)
    plot.figure(np.zeros(8), {"k": LABELS})
    assert "matplotlib.pyplot" not in set(sys.modules) - before


def test_a_history_has_a_panel_for_each_of_its_rows() -> None:
    row = {"epoch": 0, "crf": 1.0, "regression": -0.5, "gradient_crf": 0.0, "gradient_regression": 2.0, "cosine": 0.1}
    chart = plot.history([row, row | {"epoch": 1, "crf": 0.3}])
    titles = {ax.get_title(): ax for ax in chart.axes}
    losses = ["loss of the labels", "loss of the targets"]
    assert list(titles) == [*losses, "pull at the features", "agreement of the pulls"]
    np.testing.assert_array_equal(titles["loss of the labels"].lines[0].get_ydata(), [1.0, 0.3])
    assert titles["pull at the features"].get_yscale() == "linear"  # a logarithm has no place for zero
    chart.savefig(io.BytesIO())
    with rejects("history", got="no epoch", advice="fit first"):
        plot.history([])
