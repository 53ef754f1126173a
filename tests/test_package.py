"""The package as a whole: what importing it loads, and that code and set-up agree."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import segcrf
from benchmarks import record

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"lightning", "matplotlib", "numba", "pandas", "pyarrow", "pytorch_lightning", "safetensors", "scipy", "tqdm"}


def modules_after(*imports: str) -> set[str]:
    """Top-level packages in memory after these imports, in an interpreter of their own."""
    program = "; ".join([*(f"import {name}" for name in imports), "import sys", "print(*sys.modules)"])
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_import_loads_nothing_heavy_beyond_what_torch_loads() -> None:
    after_torch = modules_after("torch")
    assert "numpy" in after_torch
    assert modules_after("torch", "segcrf") & HEAVY <= after_torch


def test_every_public_name_exists_and_is_documented() -> None:
    assert len(segcrf.__all__) == len(set(segcrf.__all__))
    for name in segcrf.__all__:
        assert getattr(segcrf, name).__doc__


def test_version_is_the_installed_one() -> None:
    assert segcrf.__version__ == importlib.metadata.version("segcrf")


def test_readme_gives_the_speed_that_was_measured() -> None:
    speed = record.read("speed")
    times = [
        {row["name"]: row["median_ms"] for row in case["contestants"]}
        for case in speed["results"]
        if case["task"] == "nll+backward"
    ]
    ratios = [time["pytorch-crf"] / time["segcrf"] for time in times]
    claim = f"{min(ratios):.0f} to {max(ratios):,.0f} times as fast"
    assert claim in " ".join((ROOT / "README.md").read_text("utf-8").split())


def test_every_benchmark_can_be_imported() -> None:
    found = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "benchmarks").rglob("*.py"))
    modules = sorted(".".join(path.parts) for path in found if "cache" not in path.parts)
    assert "benchmarks.speed.__main__" in modules
    program = "; ".join(f"import {module}" for module in modules)
    command = [sys.executable, "-W", "ignore", "-c", program]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_package_is_typed() -> None:
    assert (Path(segcrf.__file__).parent / "py.typed").is_file()


def test_readme_commands_are_short_and_differ_only_in_what_they_run() -> None:
    commands = dict(re.findall(r"<!-- command: (\w+) -->\n\n    (.+)\n", (ROOT / "README.md").read_text("utf-8")))
    assert commands.keys() == {"demo", "test"}
    assert all(len(command) <= 120 for command in commands.values())
    assert all(f"-r requirements/{name}.txt" in command for name, command in commands.items())
    test = commands["demo"].replace("demo.txt", "test.txt").replace("segcrf demo", "pytest -n auto")
    assert test == commands["test"]


def test_requirements_take_pinned_versions_and_torch_alone_from_the_page_of_its_cpu_builds() -> None:
    for name in ("demo", "test"):
        lines = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
        assert [line for line in lines if not line.startswith("#")] == [
            "--find-links https://download.pytorch.org/whl/cpu/torch/",
            "-c ../constraints.txt",
            f"-e .[{name}]",
        ]
    torch = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if project(line) == "torch"]
    assert [line for line in torch if 'sys_platform == "linux"' in line and "+cpu" not in line] == []
    assert len(torch) == 2


def test_the_changelog_begins_with_what_is_not_released_and_has_the_usual_headings() -> None:
    headings = re.findall(r"^(#+) (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[:2] == [("#", "Changelog"), ("##", "[Unreleased]")]
    kinds = {title for level, title in headings if level == "###"}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_is_of_this_version() -> None:
    assert f'version: "{segcrf.__version__}"' in (ROOT / "CITATION.cff").read_text("utf-8")


def test_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = re.findall(r"`((?:segcrf|tests|docs|benchmarks|requirements)/[\w/.]*)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {project(line) for line in lines if "==" in line}
    # A requirement of one release, as the peers of benchmarks have, is its own pin.
    wanted = {project(line) for line in importlib.metadata.requires("segcrf") or [] if "==" not in line.split(";")[0]}
    assert "torch" in wanted
    assert wanted - {"segcrf"} <= pinned


def project(requirement: str) -> str:
    """The name at the head of a requirement, spelt as PyPI compares names."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
