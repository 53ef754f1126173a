"""The operators of exported programs as ONNX functions: ONNX has no such operators, but it has ``Scan``.

Each function is text in ONNX's own format, named as the operator. An ONNX file contains those that it calls, so a
runtime needs no extension.
"""

# pyright: basic
# onnx and onnxscript are optional, and carry no types.
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

import segcrf.inference.filter_operators
import segcrf.inference.recurrent_operators  # noqa: F401 - it registers operators
from segcrf.inference.onnx_fragments import written_out
from segcrf.inference.onnx_linear_chain import LINEAR_CHAIN
from segcrf.inference.onnx_semi_markov import SEMI_MARKOV
from segcrf.inference.onnx_semi_markov_lag import SEMI_MARKOV_LAG

__all__ = ["ONNX_FUNCTIONS", "OPSET", "add_called_functions", "onnx_function", "translation_table"]

_DOMAIN = "segcrf"
#: Version of ONNX's operators, in the functions and in the graph that calls them.
OPSET = 18
#: Types of the outputs that are not float64, by name.
_KINDS = {"starts": "tensor(bool)", "elapsed_last": "tensor(int64)"}
#: Type of ``labels``, by the last words of the operator; probabilities have the type of the emissions.
_KINDS_OF_LABELS = {"max_product": "tensor(int64)", "sum_product": "T_emissions"}

#: Text of each function, by the name of its operator.
ONNX_FUNCTIONS = {name: written_out(text) for name, text in (LINEAR_CHAIN | SEMI_MARKOV | SEMI_MARKOV_LAG).items()}


def onnx_function(name: str) -> Any:
    """Return the ONNX function that stands for an operator."""
    import onnx

    head = f'<domain: "{_DOMAIN}", opset_import: ["" : {OPSET}]>'
    return onnx.parser.parse_function(f"{head}\n{name} {ONNX_FUNCTIONS[name]}")


def translation_table() -> dict[Any, Callable[..., Any]]:
    """Return, for each operator, what PyTorch's exporter calls to translate a call of it."""
    operators = torch.ops.segcrf
    recurrent = {
        operators.lstm.default: _with_signature(_lstm, "lstm"),
        operators.gru.default: _with_signature(_gru, "gru"),
    }
    return recurrent | {getattr(operators, name).default: _translation(name) for name in ONNX_FUNCTIONS}


def add_called_functions(file: Any) -> None:
    """Add to an ONNX model the functions that its graph calls."""
    called = {node.op_type for node in file.graph.node if node.domain == _DOMAIN}
    file.functions.extend(onnx_function(name) for name in ONNX_FUNCTIONS if name in called)


def _translation(name: str) -> Callable[..., Any]:
    """Return what makes a node that calls the function of an operator.

    A function may have fewer outputs than its operator: those that no exported program reads. Options of the operator
    that only choose outputs are dropped.
    """
    import onnx
    import onnxscript

    fields, outputs = (list(names) for names in (onnx_function(name).input, onnx_function(name).output))
    parameter = onnx.defs.OpSchema.FormalParameter
    kinds = ["tensor(float)", "tensor(double)", "tensor(int64)"]
    schema = onnx.defs.OpSchema(
        name,
        _DOMAIN,
        1,
        inputs=[parameter(field, f"T_{field}") for field in fields],
        outputs=[parameter(output, _kind(name, output)) for output in outputs],
        type_constraints=[(f"T_{field}", kinds, "") for field in fields],
    )
    values: Any = onnxscript.values  # pyright: ignore[reportAttributeAccessIssue]
    operator = values.Op(values.Opset(_DOMAIN, 1), name, schema)

    def call(*arguments: Any) -> Any:
        return operator(*arguments[: len(fields)])

    return _with_signature(call, name)


def _with_signature(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return ``call`` with the parameters of an operator, which the exporter reads off the signature."""
    declared = [argument.name for argument in getattr(torch.ops.segcrf, name).default._schema.arguments]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    call.__signature__ = inspect.Signature([inspect.Parameter(field, kind) for field in declared])  # type: ignore[attr-defined]
    return call


def _lstm(x: Any, h: Any, c: Any, *weights: Any) -> Any:
    """Translate a layer to ONNX's own LSTM. PyTorch orders the gates input, forget, cell, output."""
    onnx_op = _operators()
    ih, hh, bias_ih, bias_hh = (_gates(values, weights[1], (0, 3, 1, 2)) for values in weights)
    states = [onnx_op.Unsqueeze(state, [0]) for state in (h, c)]
    biases, size = onnx_op.Concat(bias_ih, bias_hh, axis=1), weights[1].shape[1]
    y, h_last, c_last = onnx_op.LSTM(_frames_first(x), ih, hh, biases, None, *states, hidden_size=size)
    return _recordings_first(y), onnx_op.Squeeze(h_last, [0]), onnx_op.Squeeze(c_last, [0])


def _gru(x: Any, h: Any, *weights: Any) -> Any:
    """Translate a layer to ONNX's own GRU. PyTorch orders the gates reset, update, new."""
    onnx_op = _operators()
    ih, hh, bias_ih, bias_hh = (_gates(values, weights[1], (1, 0, 2)) for values in weights)
    biases, size = onnx_op.Concat(bias_ih, bias_hh, axis=1), weights[1].shape[1]
    inputs = (_frames_first(x), ih, hh, biases, None, onnx_op.Unsqueeze(h, [0]))
    y, h_last = onnx_op.GRU(*inputs, hidden_size=size, linear_before_reset=1)
    return _recordings_first(y), onnx_op.Squeeze(h_last, [0])


def _gates(values: Any, weight_hh: Any, order: tuple[int, ...]) -> Any:
    """Return weights or biases (1, gates, ...) of one direction, with the gates in another order."""
    onnx_op = _operators()
    size = weight_hh.shape[1]
    rows = [gate * size + i for gate in order for i in range(size)]
    return onnx_op.Unsqueeze(onnx_op.Gather(values, onnx_op.Constant(value_ints=rows), axis=0), [0])


def _operators() -> Any:
    """Return ONNX's operators."""
    import onnxscript

    return onnxscript.opset18


def _frames_first(x: Any) -> Any:
    return _operators().Transpose(x, perm=[1, 0, 2])


def _recordings_first(y: Any) -> Any:
    onnx_op = _operators()
    return onnx_op.Transpose(onnx_op.Squeeze(y, [1]), perm=[1, 0, 2])


def _kind(name: str, output: str) -> str:
    if output == "labels":
        return next(kind for ending, kind in _KINDS_OF_LABELS.items() if name.endswith(ending))
    return _KINDS.get(output, "tensor(double)")
