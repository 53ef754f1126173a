"""Write and read results with the versions, the machine and the time of the measurement."""

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
WIDTH = 120  # characters of a value that stays on one line
DEPTH = 3  # levels of values that are split into lines


def environment(packages: tuple[str, ...]) -> dict[str, Any]:
    """Return the versions of the packages (None: not installed) and the machine."""
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
        file.write(rendered(result) + "\n")
    Path(file.name).replace(path)
    return path


def rendered(value: Any, depth: int = 0) -> str:
    """Return JSON with one row per line: short values and the rows of a list stay on one line."""
    text = json.dumps(value)
    if len(text) <= WIDTH or depth == DEPTH or not isinstance(value, (dict, list)):
        return text
    if isinstance(value, dict):
        lines = [f"{json.dumps(str(key))}: {rendered(item, depth + 1)}" for key, item in value.items()]
    else:
        lines = [json.dumps(item) for item in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    inside, outside = "\n" + " " * (depth + 1), "\n" + " " * depth
    return start + inside + f",{inside}".join(lines) + outside + end


def read(name: str) -> dict[str, Any]:
    """Return a stored result, which is empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def digest(identity: dict[str, Any]) -> str:
    """Return a short hash of settings, as a key of a cache."""
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
