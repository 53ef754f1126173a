"""``segcrf doctor``: what is installed, and whether the kernels of this machine compute what their definition says."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segcrf.cli.messages import in_one_line, say
from segcrf.cli.options import add_command

if TYPE_CHECKING:
    import argparse

    from torch import Tensor

__all__ = ["Finding", "add_doctor_command", "examine"]

#: Packages that segcrf runs with, and what needs each; "" means that nothing works without it.
PACKAGES = {
    "torch": "",
    "numpy": "",
    "scipy": "",
    "numba": "",
    "lightning": "fit",
    "pandas": "tables",
    "pyarrow": "Parquet",
    "safetensors": "saved models",
    "matplotlib": "figures",
    "onnx": "export to ONNX",
    "onnxruntime": "running what is exported to ONNX",
    "triton": "kernels on a GPU",
}
# Of the kernels from the reference in float64, relative to the size of the result: rounding, with room.
_TOLERANCE = 1e-9
_RECORDINGS, _FRAMES, _CLASSES, _LONGEST = 3, 40, 4, 6
_LITTLE_DISK = 2**30


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        topic: what was looked at.
        text: what was found.
        wrong: whether something must be done about it.
    """

    topic: str
    text: str
    wrong: bool = False


def add_doctor_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    text = "Show versions, devices and disk, and compare the kernels of this machine with their definition."
    add_command(commands, "doctor", run_doctor, text)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Print what is found.

    Args:
        arguments: of the command.

    Returns:
        0, or 1 if something is wrong.
    """
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        say(f"{'WRONG' if finding.wrong else 'ok':6} {finding.topic:22} {finding.text}")
    return int(any(finding.wrong for finding in findings))


def examine() -> Iterator[Finding]:
    """Yield what is found, one topic after the other.

    Example:
        >>> [finding.topic for finding in examine()][:2]
        ['segcrf', 'torch']
    """
    import segcrf

    yield Finding("segcrf", f"{segcrf.__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from _examine_packages()
    yield _examine_threads()
    yield from _examine_disk()
    for device in _devices():
        for name, difference in SELF_TESTS.items():
            yield _examine_kernels(name, difference, device)


def _examine_packages() -> Iterator[Finding]:
    for name, use in PACKAGES.items():
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            advice = f"pip install {name}"
            yield Finding(name, f"missing, needed for {use or 'everything'}; {advice}", wrong=not use)


def _examine_threads() -> Finding:
    import torch

    cores = os.cpu_count() or 1
    limits = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if name in os.environ]
    text = f"{torch.get_num_threads()} of {cores} cores"
    return Finding("threads", f"{text} ({', '.join(limits)})" if limits else text)


def _examine_disk() -> Iterator[Finding]:
    """Look for room where results are written, and where compiled kernels are kept."""
    from segcrf.kernels import cache_folder

    places = {"this folder": Path.cwd(), "compiled kernels": cache_folder()}
    for topic, place in places.items():
        if place is None:
            text = "no folder can be written to: every process compiles for minutes; set NUMBA_CACHE_DIR"
            yield Finding(topic, text, wrong=True)
            continue
        free = shutil.disk_usage(place).free
        text = f"{place}, {free / 2**30:.1f} GiB free"
        closed = not os.access(place, os.W_OK)
        yield Finding(topic, f"{text}, closed to writing" if closed else text, wrong=free < _LITTLE_DISK)


def _devices() -> list[str]:
    import torch

    return ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]


def _examine_kernels(name: str, difference: Callable[[Any], float], device: str) -> Finding:
    """Compare the kernels of a device with the reference; say how long their first call takes."""
    import torch

    topic = f"{name}, {device}"
    begun = time.perf_counter()
    try:
        error = difference(torch.device(device))
    except Exception as fault:  # whatever a driver or a compiler raises
        return Finding(topic, f"{type(fault).__name__}: {in_one_line(fault)}", wrong=True)
    seconds = time.perf_counter() - begun
    text = f"differs from the reference by {error:.0e} of the result; the first call took {seconds:.1f} s"
    return Finding(topic, text, wrong=not error <= _TOLERANCE)


def _scores(*shape: int) -> Tensor:
    import torch

    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _compare(make: Callable[[str, Any], Any], device: Any) -> float:
    """Return the largest relative difference of the kernels from the reference, in values and gradients."""
    import torch

    results: list[list[Tensor]] = []
    for backend, place in (("torch", torch.device("cpu")), ("auto", device)):
        emissions = _scores(_RECORDINGS, _FRAMES, _CLASSES).to(place).requires_grad_()
        structure = make(backend, emissions)
        value = structure.log_partition
        (gradient,) = torch.autograd.grad(value.sum(), emissions)
        marginals = structure.marginals.labels
        results.append([part.detach().cpu() for part in (value, gradient, marginals, structure.best.score)])
        results[-1].append(structure.mode.cpu().double())
    pairs = zip(*results, strict=True)
    return max(float((one - other).abs().max() / one.abs().max().clamp(min=1.0)) for one, other in pairs)


def _linear_chain_difference(device: Any) -> float:
    from segcrf.structures import LinearChain

    def make(backend: str, emissions: Tensor) -> Any:
        return LinearChain(emissions, _scores(_CLASSES, _CLASSES).to(emissions.device), backend=backend)

    return _compare(make, device)


def _semi_markov_difference(device: Any) -> float:
    from segcrf.structures import SemiMarkov

    def make(backend: str, emissions: Tensor) -> Any:
        tables = [_scores(_CLASSES, size).to(emissions.device) for size in (_CLASSES, _LONGEST)]
        return SemiMarkov(emissions, *tables, backend=backend)

    return _compare(make, device)


#: How each structure is compared with its reference.
SELF_TESTS = {"linear chain": _linear_chain_difference, "semi-Markov": _semi_markov_difference}
