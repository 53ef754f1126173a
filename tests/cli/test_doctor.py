"""doctor: what is missing, slow or wrong is said, and a wrong kernel is found."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import pytest

from segcrf.cli import doctor, main


def test_everything_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    topics = (
        "segcrf ",
        "torch ",
        "threads ",
        "this folder ",
        "compiled kernels ",
        "linear chain, cpu ",
        "semi-Markov, cpu ",
    )
    assert all(any(topic in line for line in lines) for topic in topics)


@pytest.mark.parametrize(("name", "wrong"), [("torch", True), ("matplotlib", False)])
def test_a_missing_package_is_named_with_its_use(monkeypatch: pytest.MonkeyPatch, name: str, wrong: bool) -> None:
    def version(package: str) -> str:
        if package == name:
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    (found,) = [finding for finding in doctor.examine() if finding.topic == name]
    assert found.wrong == wrong and f"pip install {name}" in found.text


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(device: Any) -> float:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setitem(doctor.SELF_TESTS, "linear chain", lambda device: 1e-3)
    monkeypatch.setitem(doctor.SELF_TESTS, "semi-Markov", fail)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"WRONG +linear chain, cpu +differs from the reference by 1e-03 of the result", out)
    assert re.search(r"WRONG +semi-Markov, cpu +RuntimeError: no kernel image is available", out)


def test_no_place_for_compiled_kernels_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segcrf.kernels.cache_folder", lambda: None)
    (found,) = [finding for finding in doctor.examine() if finding.topic == "compiled kernels"]
    assert found.wrong and "NUMBA_CACHE_DIR" in found.text
