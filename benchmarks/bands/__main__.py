"""Compare the bands of the CRF layers with those of common alternatives.

Trains the same encoder under every method, tunes every knob on validation recordings with one seed, and writes tables
and ``benchmarks/results/bands.json``. A run may be killed at any time: the next run reuses its finished cells, and
``--report`` makes tables of the cells finished so far. :mod:`benchmarks.data` finds or downloads the real data sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record
from benchmarks.bands.cells import Cache, cells_of, groups, run_group
from benchmarks.bands.cost import estimate
from benchmarks.bands.methods import METHODS
from benchmarks.bands.report import summarise, text
from benchmarks.bands.tasks import NAMES, described, load
from benchmarks.bands.training import BUDGETS, ENCODERS, Budget, settings

CACHE = Path(__file__).parents[2] / "build" / "bands"
PACKAGES = ("segcrf", "torch", "lightning", "numpy", "scipy", "numba")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selected cells, then print and write the tables."""
    given = parser().parse_args(arguments)
    name = "quick" if given.quick else given.budget
    budget = BUDGETS[name]
    budget = budget if given.seeds is None else dataclasses.replace(budget, seeds=given.seeds)
    if not given.report:
        run(budget, given.data_sets, given.encoders, given.methods, given.cache)
    cells = Cache(given.cache, _kept(budget)).cells()
    if not cells:
        raise SystemExit("no cell of this budget is finished with the present code; run without --report first")
    methods = {key: {"title": method.title, "structured": method.structured} for key, method in METHODS.items()}
    found = {task: described(load(task)) for task in sorted({cell["task"] for cell in cells})}
    result = summarise(cells, {"name": name} | settings(budget), methods, found)
    print(text(result))
    out = default_name(given) if given.out is None else given.out
    if out:
        path = record.write(out, record.environment(PACKAGES) | result)
        print(f"written to {path}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bands", description=__doc__)
    parser.add_argument("--budget", choices=BUDGETS, default="full", help="budget of a network (default: full)")
    parser.add_argument("--quick", action="store_true", help="same as --budget quick, about ten minutes")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: that of the budget)")
    parser.add_argument("--data-sets", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=tuple(ENCODERS), help="(default: both)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS), metavar="NAME",
                        help=", ".join(METHODS))  # fmt: skip
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of finished cells (default: build/bands)")
    parser.add_argument("--report", action="store_true", help="run nothing, report the finished cells")
    parser.add_argument("--out", help="name of the JSON file in benchmarks/results; '' writes none (default: bands, "
                        "which the documentation shows, or bands_quick; none for a selection of cells)")  # fmt: skip
    return parser


def default_name(given: argparse.Namespace) -> str:
    """Return the name of the result, which is empty for a selection: a part must not replace the whole."""
    whole = (given.data_sets, given.encoders, given.methods) == (NAMES, tuple(ENCODERS), tuple(METHODS))
    return ("bands_quick" if given.quick or given.budget == "quick" else "bands") if whole else ""


def run(budget: Budget, tasks: Sequence[str], encoders: Sequence[str], methods: Sequence[str], root: Path) -> None:
    """Measure all cells that the cache lacks."""
    from tqdm import tqdm

    cache, todo = Cache(root, _kept(budget)), list(groups(tasks, encoders, range(budget.seeds)))
    cells = [cell for group in todo for cell in cells_of(group, methods)]
    missing = cache.missing(cells)
    finished = len(cells) - len(missing)
    print(reused(cache, finished, len(cells)), file=sys.stderr)
    if missing:
        loaded = {name: load(name) for name in {cell.task for cell in missing}}
        print(estimate(missing, _kept(budget), cache, loaded, record.read("bands")), file=sys.stderr)
    with tqdm(total=len(cells), initial=finished, unit="cell", smoothing=0) as bar:

        def step(cell: str) -> None:
            bar.set_postfix_str(cell, refresh=False)
            bar.update()

        for group in todo:
            run_group(group, _kept(budget), root, methods, step)


def reused(cache: Cache, finished: int, asked: int) -> str:
    """Return a sentence on the cells and networks that a run reuses."""
    networks = len(list(cache.networks.glob("*.pt")))
    return (
        f"{finished} of {asked} cells are finished and {networks} networks trained with this budget and code. "
        "The run reuses these, and ignores results of other budgets or code."
    )


def _kept(budget: Budget) -> Budget:
    """Return the budget without seeds, which names the cache, so that a run with more seeds reuses it."""
    return dataclasses.replace(budget, seeds=0)


if __name__ == "__main__":
    main()
