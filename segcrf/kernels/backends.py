"""Backends: which kernels run on which device, and how one is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch

__all__ = ["BACKENDS", "DEVICE_OF", "cache_folder", "pick"]

BACKENDS = ("auto", "torch", "numba", "triton")
DEVICE_OF = {"numba": "cpu", "triton": "cuda"}
_INSTALLED = {package: find_spec(package) is not None for package in DEVICE_OF}


def cache_folder() -> Path | None:
    """Return the folder where compiled CPU kernels are kept; None if there is none, so that every process compiles."""
    if not _INSTALLED["numba"]:
        return None
    from segcrf.kernels import numba_runtime

    return numba_runtime.cache_folder()


def pick(backend: str, device: torch.device, known: Iterable[str] = tuple(DEVICE_OF)) -> str:
    """Return the backend to run on ``device``, one that a structure has kernels for (``known``).

    Raise an error with the reason if ``backend`` names a backend that cannot run.
    """
    if backend == "torch":
        return backend
    if backend == "auto":
        for kernels in known:
            if device.type == DEVICE_OF[kernels] and _INSTALLED[kernels]:
                return kernels
        return "torch"
    if backend not in known:
        raise ValueError(
            f"backend {backend!r} has no kernels for these potentials, {' and '.join(map(repr, known))} has; use "
            "backend='auto', or transitions that all steps share"
        )
    if device.type != DEVICE_OF[backend]:
        raise ValueError(
            f"backend {backend!r} runs on {DEVICE_OF[backend]}, the emissions are on {device.type}; "
            f"move them, or use backend='auto'"
        )
    if not _INSTALLED[backend]:
        raise ValueError(
            f"backend {backend!r} needs the package {backend}; pip install {backend}, or use backend='auto'"
        )
    return backend
