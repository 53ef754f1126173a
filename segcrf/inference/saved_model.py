"""Storage: a model as a folder of numbers and text, from which nothing is ever executed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from segcrf.data import hold, write_atomically

__all__ = [
    "best_model_folder",
    "check_replaceable",
    "hold_checkpoint",
    "holds_checkpoint",
    "read_config",
    "read_model",
    "remove_checkpoint",
    "write_model",
]

FORMAT = "segcrf-segmenter"
FORMAT_VERSION = 1
# The config names the file of the tensors, and that name has the first digits of their digest. So a model is replaced
# when its config is: tensors of another model may lie beside it, but are never mixed in.
CONFIG = "config.json"
TENSORS = re.compile(r"model-[0-9a-f]{12}\.safetensors")
# Hidden files of segcrf.data: a lock, and the draft of a process that was killed.
_OURS = rf"(config\.json|{TENSORS.pattern})"
_HIDDEN = re.compile(rf"\.{_OURS}\.lock|\.segcrf-[0-9a-f]{{16}}\.{_OURS}")
# A config of more bytes is none: it holds a line of numbers per epoch and a name per class.
LARGEST_CONFIG = 64 * 2**20
# What a fit keeps in the directory of its checkpoint beside the best model so far; drafts are of fits that were killed.
BEST = "best"
CHECKPOINT_FILE = re.compile(r"(\.segcrf-[0-9a-f]{16}\.)?(last(-frame_loss=[0-9.e+-]+)?\.ckpt|race\.json)")

PathLike = str | os.PathLike[str]


def write_model(folder: PathLike, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model folder in one step: a reader finds the old model or the new one, whole, at any time.

    Args:
        folder: the folder to write; an earlier model is replaced.
        config: everything but the tensors, as JSON.
        tensors: tensors by name.

    Raises:
        ValueError: ``folder`` is not a model, or holds other files too.
        BlockingIOError: another process writes the same folder.
    """
    from safetensors.torch import save as to_bytes

    import segcrf

    target = Path(folder)
    check_replaceable(target)
    data = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "segcrf_version": segcrf.__version__}
    head["tensors"] = f"model-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
    text = json.dumps(head | config, indent=2, ensure_ascii=False) + "\n"
    new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with hold(target / CONFIG):
            try:
                with write_atomically(target / head["tensors"]) as temporary:
                    temporary.write_bytes(data)
                with write_atomically(target / CONFIG) as temporary:
                    temporary.write_text(text, encoding="utf-8")
            finally:
                _remove_unnamed(target)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # it may hold the work of another process by now
                target.rmdir()
        raise


def _remove_unnamed(folder: Path) -> None:
    """Remove tensors that the config of a folder does not name, and what killed processes left; call it with the lock.

    The lock itself is removed by its holder. Where the disk fails, a later call removes the rest.
    """
    config = folder / CONFIG
    with contextlib.suppress(OSError):
        named = _read_json(config).get("tensors")
        if named is None and config.exists():
            return  # it could not be read: any of the tensors may be those that it names
        for path in folder.iterdir():
            unnamed = TENSORS.fullmatch(path.name) and path.name != named
            if unnamed or (_HIDDEN.fullmatch(path.name) and path.name != f".{CONFIG}.lock"):
                path.unlink(missing_ok=True)


def check_replaceable(folder: PathLike) -> None:
    """Raise unless a model can be written to a folder; call it before the work that makes the model.

    Args:
        folder: a new folder, or an earlier model; what else lies beside the model stays.

    Raises:
        ValueError: there is something else at ``folder``, or on the way to it, or in it without a model.
        PermissionError: the folder that would contain it is not writable.
    """
    target = Path(folder)
    if target.is_dir():
        names = sorted(path.name for path in target.iterdir())
        others = [name for name in names if not (TENSORS.fullmatch(name) or _HIDDEN.fullmatch(name))]
        if others and not _is_ours(target / CONFIG):
            raise ValueError(
                f"{target} is a folder with other things in it ({', '.join(others[:3])}), expected a new folder or an "
                "earlier model. Choose another folder, or move them."
            )
    elif target.exists():
        raise ValueError(f"{target} is a file, expected a new folder. Choose another path.")
    above = next(parent for parent in target.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueError(f"{target}: {above} is a file, expected a folder to make it in. Choose another path.")
    if not os.access(above, os.W_OK):
        raise PermissionError(f"{target}: the folder {above} is closed to writing. Choose another path.")


def best_model_folder(directory: PathLike | None) -> Path | None:
    """Return where a fit with this ``directory`` keeps the best model so far; None without a directory."""
    return None if directory is None else Path(directory) / BEST


@contextlib.contextmanager
def hold_checkpoint(directory: PathLike | None) -> Generator[None, None, None]:
    """Make the directory of a fit and keep other fits from it while the block runs; None: there is none.

    Args:
        directory: of the fit. It is removed at the end if nothing is in it.

    Raises:
        BlockingIOError: another process or thread holds it.
    """
    if directory is None:
        yield
        return
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    with hold(place, wait=0.0):
        try:
            yield
        finally:
            if place.is_dir() and not _entries(place):
                place.rmdir()


def holds_checkpoint(directory: PathLike) -> bool:
    """Return whether a fit left a checkpoint here that another fit can continue from.

    Args:
        directory: of the fit; it need not exist.
    """
    return any(_is_checkpoint(path) and path.suffix == ".ckpt" for path in _entries(directory))


def remove_checkpoint(directory: PathLike) -> None:
    """Remove what a fit with this ``directory`` kept in it, and the directory if nothing else is there.

    Args:
        directory: of the fit; files of others stay.
    """
    for path in _entries(directory):
        if _is_checkpoint(path):
            path.unlink()
        elif _holds_only_a_model(path):
            shutil.rmtree(path)
    if Path(directory).is_dir() and not _entries(directory):
        Path(directory).rmdir()


def _entries(directory: PathLike) -> list[Path]:
    return list(Path(directory).iterdir()) if Path(directory).is_dir() else []


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and CHECKPOINT_FILE.fullmatch(path.name) is not None


def _holds_only_a_model(path: Path) -> bool:
    """Return whether this is the best model of a fit, whole or begun, with nothing else."""
    if path.is_symlink() or not path.is_dir() or path.name != BEST:
        return False
    names = [file.name for file in path.iterdir()]
    return all(name == CONFIG or TENSORS.fullmatch(name) or _HIDDEN.fullmatch(name) for name in names) and (
        CONFIG not in names or _is_ours(path / CONFIG)
    )


def _is_ours(path: Path) -> bool:
    """Return whether this is the config of a model, of any version."""
    return _read_json(path).get("format") == FORMAT


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing if it is missing, or holds anything but a JSON object."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def read_model(folder: PathLike, *, forbidding: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and tensors that ``write_model`` wrote.

    Args:
        folder: the folder that was written.
        forbidding: names of tensors of scores, where -inf forbids; all others must be finite.

    Raises:
        ValueError: the folder or a file is missing, damaged, of another program, or of a newer segcrf; or a tensor
            holds a value that is not finite.
    """
    source = Path(folder)
    config, tensors = _read_both(source)
    for name, tensor in tensors.items():
        _check_finite(tensor, f"{source / config['tensors']}, tensor {name}", name in forbidding)
    return config, tensors


def _read_both(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a config and the tensors that it names; begin anew if a writer replaces the model in between."""
    config = read_config(source)
    while True:
        try:
            return config, _read_tensors(source / config["tensors"], config)
        except FileNotFoundError as error:
            before, config = config, read_config(source)
            if config == before:
                raise ValueError(
                    f"{source}: expected {config['tensors']} beside {CONFIG}, found {_listing(source)}. Copy the "
                    "folder again, or save the model again."
                ) from error


def _check_finite(tensor: Tensor, place: str, forbidding: bool) -> None:
    bad = ~tensor.isfinite()
    if forbidding:
        bad &= tensor != -torch.inf
    if bad.any():
        where = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{place}{where or ''}: expected finite numbers{' or -inf' if forbidding else ''}, found "
            f"{tensor[tuple(where)].item()}. The file is damaged, or training went wrong: copy the folder again, or "
            "fit again."
        )


def _read_tensors(path: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    """Read the tensors of a model, and compare them with the digest in their name and the sizes in the config."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    data = path.read_bytes()
    try:
        tensors = from_bytes(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path}: expected tensors in safetensors format, found {len(data)} bytes that are not ({error}). "
            "The file is cut short or damaged: copy the folder again, or save the model again."
        ) from error
    digest = hashlib.sha256(data).hexdigest()[:12]
    if digest not in path.name:
        raise ValueError(
            f"{path}: expected the tensors with the digest in this name, found those with {digest}. The file is "
            "damaged, or of another model: copy the folder again, or save the model again."
        )
    _check_sizes(path.with_name(CONFIG), config, tensors)
    return tensors


def _check_sizes(path: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Raise for a config that asks for a larger model than its tensors are, before memory is taken for it."""
    most = max((tensor.numel() for tensor in tensors.values()), default=0)
    limits = {"layers": len(tensors), "hidden": most, "channels": most, "targets": most, "max_duration": most}
    asked = {**config, **(config["parameters"] if isinstance(config.get("parameters"), dict) else {})}
    for name, limit in limits.items():
        value = asked.get(name)
        if isinstance(value, int) and value > limit:
            raise ValueError(
                f"{path}: expected at most {limit} {name}, as many as the tensors beside it can have, found {value}. "
                "The file is damaged: copy the folder again, or save the model again."
            )


def _listing(folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else "no such folder"
    return str(found or "an empty folder")


def read_config(folder: PathLike) -> dict[str, Any]:
    """Read what ``write_model`` wrote beside the tensors.

    Args:
        folder: the folder that was written.

    Raises:
        ValueError: the folder or the file is missing, damaged, of another program, or of a newer segcrf.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: expected a model folder with {CONFIG}, found {_listing(path.parent)}. Give the folder "
            "that Segmenter.save wrote."
        )
    if path.stat().st_size > LARGEST_CONFIG:
        raise ValueError(
            f"{path}: expected at most {LARGEST_CONFIG} bytes, found {path.stat().st_size}. Give the folder that "
            "Segmenter.save wrote."
        )
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected JSON, found something else ({error}). The file is cut short or damaged: copy the folder "
            "again, or save the model again."
        ) from error
    config = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    found = config.get("format", content)
    if found != FORMAT:
        raise ValueError(
            f"{path}: expected the format {FORMAT!r}, found {found!r}. The folder belongs to another program: give the "
            "folder that Segmenter.save wrote."
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected format version {FORMAT_VERSION}, found {config.get('format_version')!r}, written by "
            f"segcrf {config.get('segcrf_version')}. Install that version, or fit again with this one."
        )
    name = config.get("tensors")
    if not isinstance(name, str) or not TENSORS.fullmatch(name):
        raise ValueError(
            f"{path}: expected the name of a file in 'tensors', found {name!r}. The file is damaged: copy the folder "
            "again, or save the model again."
        )
    return config
