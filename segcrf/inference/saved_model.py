"""Storage: a model as a folder of numbers and text, from which nothing is ever executed."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from segcrf.data import COLUMNS_FILE

__all__ = [
    "best_model_folder",
    "check_replaceable",
    "holds_checkpoint",
    "read_model",
    "remove_checkpoint",
    "write_model",
]

FORMAT = "segcrf-segmenter"
FORMAT_VERSION = 1
# What a model folder holds; the last is the command line's, which writes it afterwards (segcrf.data).
CONFIG, TENSORS = "config.json", "model.safetensors"
OWN = (CONFIG, TENSORS, COLUMNS_FILE)
# What a fit keeps in the directory of its checkpoint beside the best model so far; drafts are of fits that were killed.
BEST = "best"
CHECKPOINT_FILE = re.compile(r"last(-frame_loss=[0-9.e+-]+)?\.(ckpt|draft)")
BEST_DRAFT = re.compile(r"\.best-(old-)?\w{8}")

PathLike = str | os.PathLike[str]


def write_model(folder: PathLike, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model folder in one step: a reader finds the old model, the new one, or none, but never half of one.

    Args:
        folder: the folder to write; an earlier model is replaced, if nothing else lies beside it.
        config: everything but the tensors, as JSON.
        tensors: tensors by name.

    Raises:
        ValueError: ``folder`` is not a model, or holds other files too.
    """
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

    import segcrf

    target = Path(folder)
    check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "segcrf_version": segcrf.__version__}
        (draft / CONFIG).write_text(json.dumps(head | config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, draft / TENSORS)
        _replace(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_replaceable(folder: PathLike) -> None:
    """Raise unless a model can be written to a folder; call it before the work that makes the model.

    Args:
        folder: a new folder, or an earlier model with nothing else beside it.

    Raises:
        ValueError: there is something else at ``folder`` or in it, or on the way to it.
        PermissionError: the folder that would contain it is not writable.
    """
    target = Path(folder)
    if target.is_dir():
        names = sorted(path.name for path in target.iterdir())
        # A replaced model is removed as a whole folder, so the folder may hold no other file.
        others = [name for name in names if name not in OWN]
        if names and not others and not _is_ours(target / CONFIG):
            others = names
        if others:
            raise ValueError(
                f"{target} is a folder with other things in it ({', '.join(others[:3])}), expected a new folder or an "
                "earlier model and nothing else. Choose another folder, or move them."
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
    """Return whether this is the best model of a fit, or a draft of it, with nothing else."""
    if path.is_symlink() or not path.is_dir() or not (path.name == BEST or BEST_DRAFT.fullmatch(path.name)):
        return False
    ours = path.name != BEST or _is_ours(path / CONFIG)
    return ours and all(file.is_dir() or file.name in OWN for file in path.rglob("*"))


def _is_ours(path: Path) -> bool:
    """Return whether this is the config of a model, of any version."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and cast("dict[str, Any]", content).get("format") == FORMAT


def _replace(draft: Path, target: Path) -> None:
    draft.chmod(0o755)  # temporary folders, and what safetensors writes, are private to their owner
    for path in draft.iterdir():
        path.chmod(0o644)
    if not target.exists():
        draft.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent)) / target.name
    target.rename(old)
    draft.rename(target)
    shutil.rmtree(old.parent)


def read_model(folder: PathLike, *, forbidding: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and tensors that ``write_model`` wrote.

    Args:
        folder: the folder that was written.
        forbidding: names of tensors of scores, where -inf forbids; all others must be finite.

    Raises:
        ValueError: the folder or a file is missing, damaged, of another program, or of a newer segcrf; or a tensor
            holds a value that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    source = Path(folder)
    for name in (CONFIG, TENSORS):
        if not (source / name).is_file():
            found = sorted(path.name for path in source.iterdir()) if source.is_dir() else "no such folder"
            raise ValueError(
                f"{source}: expected a model folder with {CONFIG} and {TENSORS}, found {found or 'an empty folder'}. "
                "Give the folder that Segmenter.save wrote."
            )
    config = _read_config(source / CONFIG)
    try:
        tensors = load_file(source / TENSORS)
    except (SafetensorError, OSError) as error:
        size = (source / TENSORS).stat().st_size
        raise ValueError(
            f"{source / TENSORS}: expected tensors in safetensors format, found {size} bytes that are not ({error}). "
            "The file is cut short or damaged: copy the folder again, or save the model again."
        ) from error
    for name, tensor in tensors.items():
        _check_finite(tensor, f"{source / TENSORS}, tensor {name}", name in forbidding)
    return config, tensors


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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
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
    return config
