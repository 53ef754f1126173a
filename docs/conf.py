"""Sphinx: `python -m sphinx -W -b html docs docs/_build/html`. A failing example fails the build."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.ext.napoleon import GoogleDocstring

# Set before PyTorch is imported. The models are small: on a busy machine a second thread costs more than it gains.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Examples run with the figures of a machine without a screen.
os.environ.setdefault("MPLBACKEND", "agg")

# The pages about benchmarks read their results and descriptions.
sys.path.insert(0, str(Path(__file__).parents[1]))

project = "segcrf"
author = "the segcrf authors"
copyright = "2026, the segcrf authors"  # noqa: A001 (the name is Sphinx's)
release = version = version_of("segcrf")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "sg_execution_times.rst"]
suppress_warnings = [
    "config.cache",  # the gallery's configuration holds classes, which cannot be cached
    "ref.python",  # several classes have an attribute `start`; a plain name links to the first
]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # an attribute of a NamedTuple is described once
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]


def parse_docstring(docstring: Any, parse: Any = GoogleDocstring._parse) -> None:
    """Read the docstring of a property as that of a function: with sections, and without a type before a colon."""
    if docstring._what in ("property", "attribute", "data"):
        docstring._what = "method"
    parse(docstring)


GoogleDocstring._parse = parse_docstring


def drop_alias(*event: Any) -> None:
    """Drop the docstring that Python gives to fields of named tuples; the docstring of the class describes them."""
    lines: list[str] = event[-1]
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def link_short_name(app: Any, env: Any, node: Any, contents: Any) -> Any:
    """Link a name that a docstring gives without its package, such as `Structure.mode`, to its page."""
    if node.get("refdomain") != "py" or not node.get("reftarget"):
        return None
    short = node["reftarget"].removeprefix("segcrf.segmenter.").removeprefix("segcrf.")
    short = re.sub(r"^Structure\.", "LinearChain.", short)  # its page lists the queries of every structure
    for package in ("segcrf", "segcrf.structures", "segcrf.nn", "segcrf.inference"):
        found = env.domains["py"].resolve_xref(
            env, node["refdoc"], app.builder, node["reftype"], f"{package}.{short}", node, contents
        )
        if found is not None:
            return found
    return None


def save_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a block of an example has named, to show them below it; segcrf does not use pyplot."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    names = block_vars["example_globals"]
    saved = []
    for name in [name for name, value in names.items() if isinstance(value, Figure)]:
        saved.append(next(block_vars["image_path_iterator"]))
        names.pop(name).savefig(saved[-1], dpi=150)
    return figure_rst(saved, gallery_conf["src_dir"])


sphinx_gallery_conf: dict[str, Any] = {
    "examples_dirs": "examples",
    "gallery_dirs": "generated",
    "image_scrapers": (save_figures,),
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib",),
}

html_theme = "furo"
html_title = "segcrf"
html_static_path = ["_static"]
html_css_files = ["segcrf.css"]


def command_line_help() -> str:
    """Return the help of each command as one page."""
    from segcrf.cli import main

    parts = []
    for command in ("demo", "fit", "predict", "score", "stream", "export"):
        page = io.StringIO()
        with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
            main([command, "--help"])
        indented = "".join(f"   {line}" for line in page.getvalue().splitlines(keepends=True))
        parts.append(f"segcrf {command}\n{'-' * (7 + len(command))}\n\n.. code-block:: text\n\n{indented}")
    return "\n".join(parts)


def bands_includes(folder: Path) -> None:
    """Write the tables and figures of the benchmark of bands, from its JSON."""
    from benchmarks import record
    from benchmarks.bands import figures, report

    result = record.read("bands")
    folder.mkdir(exist_ok=True)
    report.write_includes(result, folder)
    shown = [path.name for path in figures.save_all(result, folder)]
    barcodes = [name for name in shown if name.startswith("barcode")]
    images = [f".. image:: generated/bands/{name}\n   :alt: bands of one recording\n" for name in barcodes]
    (folder / "barcodes.inc").write_text("\n".join(images), encoding="utf-8")
    for encoder in ("causal", "bidirectional"):
        figure = f".. figure:: generated/bands/ranks_{encoder}.svg\n\n   {figures.rank_caption(result, encoder)}\n"
        (folder / f"ranks_{encoder}.inc").write_text(figure, encoding="utf-8")


def live_includes(folder: Path) -> None:
    """Write the figure and tables of the benchmark of live decoding, from its JSON."""
    from benchmarks import record
    from benchmarks.live import report

    report.write_includes(record.read("live"), folder)


def conventions() -> str:
    """Return the same predictions scored by several conventions, from the JSON of the benchmark of published scores."""
    from benchmarks import published_scores, record

    return published_scores.table(record.read("published_scores"))


def data_sets() -> str:
    """Return a section for each data set that benchmarks and tests run on, from the table that these read."""
    from benchmarks.data import SOURCES

    parts = []
    for source in SOURCES.values():
        files = source.files()
        size = sum(file.size for file in files) / 1e6
        parts.append(
            f"{source.name}\n{'-' * len(source.name)}\n\n{source.contents[0].upper()}{source.contents[1:]}.\n\n"
            f":Files: {len(files)}, {size:.1f} MB, below ``{source.url}``\n:Licence: {source.licence}\n"
            f":Cite: {source.citation}\n:Conversion: {source.derived}\n"
        )
    return "\n".join(parts)


def changelog() -> str:
    """Return CHANGELOG.md as reStructuredText: headings, links and code; lists and bold text are the same in both."""
    lines = []
    for line in (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"(#+) \[?(.+?)\]?( - .+)?", line):
            title = heading[2] + (heading[3] or "")
            lines += [title, {1: "=", 2: "-", 3: "~"}[len(heading[1])] * len(title)]
        else:
            line = re.sub(r"`([^`]+)`", r"``\1``", line)
            lines.append(re.sub(r"\[([^\]]+)\]\((.+?)\)", r"`\1 <\2>`__", line))
    return "\n".join(lines) + "\n"


def setup(app: Any) -> None:
    """Connect the hooks above, and write what pages include: help, changelog, data sets, results of benchmarks."""
    app.connect("autodoc-process-docstring", drop_alias)
    app.connect("missing-reference", link_short_name)
    os.environ["COLUMNS"] = "100"
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "changelog.inc").write_text(changelog(), encoding="utf-8")
    (folder / "cli.inc").write_text(command_line_help(), encoding="utf-8")
    bands_includes(folder / "bands")
    live_includes(folder / "live_benchmark")
    (folder / "conventions.inc").write_text(conventions(), encoding="utf-8")
    (folder / "data.inc").write_text(data_sets(), encoding="utf-8")
