"""What every result is written with: versions, machine, and the time of day it was measured."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def environment(packages: tuple[str, ...]) -> dict[str, Any]:
    """Versions of the packages (None: not installed) and the machine."""
    return {
        "measured": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """Write ``results/<name>.json`` in one step, so that a kill leaves the old or the new file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    with tempfile.NamedTemporaryFile("w", dir=RESULTS, suffix=".part", delete=False) as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    Path(file.name).replace(path)
    return path


def read(name: str) -> dict[str, Any]:
    """What ``write`` has written; empty where nothing was."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def digest(identity: dict[str, Any]) -> str:
    """A short name for what was computed from this, for a cache."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
