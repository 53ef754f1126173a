"""Export: a trained model as one file, from a raw signal to labels, probabilities and targets, for other programs.

``model.onnx`` runs in any ONNX runtime, without PyTorch and without this package: the loops of the structures are
functions inside the file. ``model.pt2`` is a program of :func:`torch.export.export`. It calls operators of this
package, so import ``segcrf.inference`` before :func:`torch.export.load`.
"""

# pyright: basic
# onnx and onnxscript are optional, and carry no types.
from __future__ import annotations

import copy
import importlib.util
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, InputTypeError, check_positive
from segcrf.inference.answer import Answer, check_exportable_rule
from segcrf.inference.recurrent_operators import replace_recurrent_layers
from segcrf.nn import JointModel, SwitchingModel

__all__ = ["Exported", "PathLike", "checked_path", "export_model", "frozen", "metadata_of", "write_program"]

PathLike = str | os.PathLike[str]
SUFFIXES = (".onnx", ".pt2")
# Sizes of the example that is traced. 0 and 1 would be fixed in the program; others are free.
RECORDINGS, FRAMES = 2, 5


def export_model(
    model: JointModel | SwitchingModel,
    path: PathLike,
    *,
    classes: Sequence[object] | None = None,
    sampling_rate: float | None = None,
) -> Path:
    """Write a model as one program that answers whole recordings, and return its path.

    The program takes any number of recordings and frames. (With transitions of every step, a ``.pt2`` file takes 3
    frames or more, because PyTorch cannot trace fewer.) Its inputs are the raw signal ``x`` (B, T, F), float64, and
    ``lengths`` (B,), int64; ``x`` holds no NaN within the lengths. Its outputs, in this order, are those of the model:

    * ``labels`` (B, T), int64, by the model's decoding rule; -100 beyond a recording's length, and in a recording
      without any allowed labelling;
    * ``starts`` (B, T), bool, True where a band begins;
    * ``posteriors`` (B, T, C), the calibrated probability of each class; 0 beyond a recording's length;
    * ``targets`` (B, T, R), float64, in the unit of the targets, if the model predicts any; NaN beyond a recording's
      length.

    The file also holds texts: ``classes``, ``sampling_rate`` and ``decoding``, each as JSON, ``null`` if not given.
    They are the metadata of an ONNX file, and the ``extra_files`` of :func:`torch.export.load`.

    Args:
        model: its weights are copied, and run in evaluation mode on the CPU. It is left as it is.
        path: file to write, ending in ``.onnx`` or ``.pt2``. It is written at once: a reader finds the old file or the
            new one.
        classes: names of the classes, C of them.
        sampling_rate: frames per second.

    Raises:
        InputError: another ending, a folder that does not exist or is not writable, another number of names than
            classes, or a decoding rule that no exported program computes.
        InputTypeError: something else than a model, or a model of another structure.
        ImportError: packages are missing; the text says which.

    Source:
        The ONNX operators: https://onnx.ai/onnx/operators

    Example:
        >>> from segcrf.nn import JointModel, LinearChainCRF, TCNEncoder
        >>> model = JointModel(TCNEncoder(2, hidden=8), LinearChainCRF(3))
        >>> export_model(model, "model.onnx", classes=["rest", "walk", "run"])      # doctest: +SKIP
        PosixPath('model.onnx')
    """
    target = checked_path(path)
    metadata = metadata_of(model, classes, sampling_rate)
    check_exportable_rule(model)
    answer = Answer(frozen(model)).eval()
    x = torch.zeros(RECORDINGS, FRAMES, model.num_channels, dtype=torch.float64)
    lengths = torch.tensor([FRAMES, FRAMES - 1])
    answer(x, lengths)  # what is wrong with a model is clearer here than in a trace of it
    recordings, frames = torch.export.Dim("recordings"), torch.export.Dim("frames", min=answer.shortest)
    shapes = ({0: recordings, 1: frames}, {0: recordings})
    write_program(Exported(answer, (x, lengths), shapes, ("x", "lengths"), answer.names, metadata), target)
    return target


class Exported(NamedTuple):
    """What is traced and written.

    Attributes:
        module: in evaluation mode; it returns a tuple of tensors.
        inputs: an example of its inputs.
        shapes: their free axes, as :func:`torch.export.export` takes them.
        input_names, output_names: names in the file.
        metadata: texts by name.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    shapes: tuple[dict[int, Any], ...]
    input_names: Sequence[str]
    output_names: Sequence[str]
    metadata: dict[str, str]


def frozen(model: JointModel | SwitchingModel) -> Any:
    """Return a copy of a model for the CPU, in evaluation mode and without gradients."""
    return replace_recurrent_layers(copy.deepcopy(model).cpu().eval().requires_grad_(False))


def metadata_of(
    model: JointModel | SwitchingModel, classes: Sequence[object] | None, sampling_rate: float | None
) -> dict[str, str]:
    """Return the texts that go into a file with a model, after checking them.

    Raises:
        InputError, InputTypeError: as :func:`export_model`.
    """
    if not isinstance(model, JointModel | SwitchingModel):
        expected = "a JointModel or a SwitchingModel"
        raise InputTypeError("model", type(model).__name__, expected, "give `model_` of a fitted Segmenter")
    if sampling_rate is not None:
        check_positive(sampling_rate, "sampling_rate")
    names = None if classes is None else _check_classes(classes, model.class_head.out_features)
    rule = model.decoding_rule
    decoding = {"factor": rule.factor, "by_frame": rule.by_frame, "max_delay": rule.max_delay}
    texts = {"classes": names, "sampling_rate": sampling_rate, "decoding": decoding}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in texts.items()}


def write_program(exported: Exported, path: Path) -> None:
    """Trace a module and write it in the format that the ending of ``path`` names.

    Raises:
        ImportError: packages are missing.
    """
    write = _write_onnx if path.suffix == ".onnx" else _write_torch
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of PyTorch's own ways
        write(exported, path)


def _write_onnx(exported: Exported, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"an .onnx file needs {package}; pip install 'segcrf[onnx]'")
    import onnx

    from segcrf.inference.onnx_functions import OPSET, add_called_functions, translation_table

    program: Any = torch.onnx.export(
        _traced(exported),
        dynamo=True,
        input_names=exported.input_names,
        output_names=exported.output_names,
        opset_version=OPSET,
        custom_translation_table=translation_table(),
        verbose=False,
    )
    file = program.model_proto
    add_called_functions(file)
    onnx.helper.set_model_props(file, exported.metadata)
    _replace(path, lambda draft: onnx.save(file, draft))


def _write_torch(exported: Exported, path: Path) -> None:
    program = _traced(exported)
    _replace(path, lambda draft: torch.export.save(program, draft, extra_files=exported.metadata))


def _traced(exported: Exported) -> Any:
    from torch._dynamo.exc import UserError

    try:
        return torch.export.export(exported.module, exported.inputs, dynamic_shapes=exported.shapes)
    except UserError as error:
        got = (
            f"a model that PyTorch traces for some numbers of recordings or frames only ({str(error).splitlines()[0]})"
        )
        advice = "look in your encoder or layer for len(x), int(...) and branches on a size"
        raise InputError("model", got, "a model for any number of both", advice) from error


def _replace(path: Path, write: Callable[[str], object]) -> None:
    """Write a file beside ``path``, then put it in its place."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(draft)
        Path(draft).chmod(0o644)  # temporary files are private to their owner
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- the checks
def checked_path(path: PathLike) -> Path:
    """Return the path of a file to write, after checking its ending and its folder.

    Raises:
        InputError: another ending than ``.onnx`` or ``.pt2``, or a folder that does not exist or is not writable.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        expected = "a file that ends in .onnx (any ONNX runtime) or .pt2 (torch.export)"
        raise InputError("path", repr(str(path)), expected)
    if target.is_dir():
        raise InputError("path", f"{str(path)!r}, a folder", "a file to write")
    if not target.parent.is_dir():
        raise InputError("path", repr(str(path)), "a file in a folder that exists", f"make {target.parent} first")
    if not os.access(target.parent, os.W_OK):
        raise InputError("path", repr(str(path)), "a file in a folder that is writable", "choose another folder")
    return target


def _check_classes(values: Sequence[object], num_classes: int) -> list[str]:
    names = [str(name) for name in values]
    if len(names) != num_classes:
        got, expected = f"{len(names)} names", f"{num_classes}, one for each class of the model"
        raise InputError("classes", got, expected)
    return names
