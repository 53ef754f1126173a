"""Models outside Python: ONNX, with decoding in the graph.

``torch.export`` needs nothing of this module: the kernels are PyTorch operators, and an exported program that decodes
runs wherever ``segcrf`` is imported. ONNX knows no such operators; here are their equals made of ONNX's own ``Scan``,
written in ONNX's text format.
"""

# pyright: basic
# onnx and onnxscript are optional, and carry no types.
from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["export_onnx"]

_DOMAIN = "segcrf"


def export_onnx(model: nn.Module, path: str | PathLike[str], x: Tensor, lengths: Tensor | None = None) -> Path:
    """Write an ONNX file that decodes: from a signal and lengths to labels, for any number of recordings and frames.

    Inputs of the file are ``x`` (B, T, F), float32, and ``lengths`` (B,), int64; its output is ``labels`` (B, T),
    int64, -100 beyond a recording's length. The labels are those of ``model(x, lengths)``'s mode: scores are summed in
    float64 here too, so that long recordings lose no digits.

    Args:
        model: called with (x, lengths), returns a structure, or something with a ``dist``, such as
            :class:`~segcrf.nn.JointModel`; a layer alone takes emissions (B, T, C) as x. It is exported as it
            predicts, in evaluation mode.
        path: file to write.
        x: an example, (B, T, F), with B and T of at least 2; which ones does not matter.
        lengths: valid frames of the example's recordings, (B,); all T when left out.

    Returns:
        The path.

    Raises:
        ImportError: the packages of ``pip install 'segcrf[onnx]'`` are missing.

    Source:
        The ONNX operators: https://onnx.ai/onnx/operators

    Example:
        >>> from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
        >>> model = JointModel(LSTMEncoder(2, hidden=8), LinearChainCRF(3))
        >>> export_onnx(model, "model.onnx", torch.randn(2, 10, 2))   # doctest: +SKIP
        PosixPath('model.onnx')
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise ImportError("export_onnx needs onnx and onnxscript; pip install 'segcrf[onnx]'") from error
    lengths = torch.full((x.shape[0],), x.shape[1]) if lengths is None else lengths
    recordings, frames = torch.export.Dim("recordings"), torch.export.Dim("frames")
    was_training = model.training
    decoder = _Decoder(model).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's exporter warns of PyTorch's own ways
            program: Any = torch.onnx.export(
                decoder,
                (x, lengths),
                dynamo=True,
                input_names=["x", "lengths"],
                output_names=["labels"],
                dynamic_shapes=({0: recordings, 1: frames}, {0: recordings}),
                custom_translation_table={getattr(torch.ops.segcrf, name).default: _call(name) for name in _FUNCTIONS},
                verbose=False,
            )
    finally:
        model.train(was_training)
    file = program.model_proto
    called = {node.op_type for node in file.graph.node}
    file.functions.extend(_function(name) for name in _FUNCTIONS if name in called)
    onnx.save(file, path)
    return Path(path)


class _Decoder(nn.Module):
    """What is exported: from a signal to labels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        output = self.model(x, lengths)
        return getattr(output, "dist", output).mode


def _function(name: str) -> Any:
    """The ONNX function that stands for an operator."""
    import onnx

    return onnx.parser.parse_function(f'<domain: "{_DOMAIN}", opset_import: ["" : 18]>\n{name} {_FUNCTIONS[name]}')


def _call(name: str) -> Callable[..., Any]:
    """What the exporter calls where a program has the operator: a node that calls the function."""
    import onnx
    import onnxscript

    fields, outputs = (list(names) for names in (_function(name).input, _function(name).output))
    parameter = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        name,
        _DOMAIN,
        1,
        inputs=[parameter(field, f"T_{field}") for field in fields],
        outputs=[parameter(output, kind) for output, kind in zip(outputs, _OUTPUT_TYPES, strict=True)],
        type_constraints=[(f"T_{field}", ["tensor(float)", "tensor(double)", "tensor(int64)"], "") for field in fields],
    )
    values: Any = onnxscript.values  # pyright: ignore[reportAttributeAccessIssue]
    operator = values.Op(values.Opset(_DOMAIN, 1), name, schema)

    def call(*arguments: Any) -> Any:
        return operator(*arguments)

    # The exporter reads the parameters off the signature.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    call.__signature__ = inspect.Signature([inspect.Parameter(field, kind) for field in fields])  # type: ignore[attr-defined]
    return call


_OUTPUT_TYPES = ("tensor(double)", "tensor(int64)", "tensor(bool)")

# ------------------------------------------------------------------------------------------------- the functions
#: Names that every function begins with. Axes: T, B, C.
_BEGIN = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    axis0 = Constant <value = int64[1] {0}> ()
    axis1 = Constant <value = int64[1] {1}> ()
    axis2 = Constant <value = int64[1] {2}> ()
    nothing = Constant <value = double {0.0}> ()
    infinity = Constant <value_float = inf> ()
    negative = Neg (infinity)
    forbidden = Cast <to = 11> (negative)
    unlabelled = Constant <value = int64 {-100}> ()
    wide = Cast <to = 11> (emissions)
    scores = Transpose <perm = [1, 0, 2]> (wide)
    table = Cast <to = 11> (transitions)
    opening = Cast <to = 11> (start)
    closing = Cast <to = 11> (end)
    frames = Shape <start = 0, end = 1> (scores)
    size = Shape <start = 1, end = 3> (scores)
    classes = Shape <start = 2, end = 3> (scores)
    num_frames = Squeeze (frames)
    num_classes = Squeeze (classes)
    frame = Range (zero, num_frames, one)
    column = Unsqueeze (frame, axis1)
    inside = Less (column, lengths)
    valid = Unsqueeze (inside, axis2)
    first_frame = Equal (frame, zero)
"""

#: From ``path`` (T, B, 1) and ``score`` (B,) to ``labels`` (B, T) and where they may stand.
_LABELS = """
    path_flat = Squeeze (path, axis2)
    by_recording = Transpose <perm = [1, 0]> (path_flat)
    valid_by_recording = Transpose <perm = [1, 0]> (inside)
    impossible = IsInf <detect_positive = 0> (score)
    possible = Not (impossible)
    possible_column = Unsqueeze (possible, axis1)
    labelled = And (valid_by_recording, possible_column)
    labels = Where (labelled, by_recording, unlabelled)
"""

#: Viterbi with a pointer per frame and class. As in the kernels the first of equal classes wins; a frame beyond a
#: recording's length points each class to itself. MATRIX is the table of a step, one or one of its own for each.
_CHAIN = (
    """(emissions, transitions, start, end, lengths) => (score, labels, starts) {"""
    + _BEGIN
    + """
    PREPARE
    each = Range (zero, num_classes, one)
    itself = Expand (each, size)
    unbegun = Expand (nothing, size)
    final, pointers = Scan <num_scan_inputs = COUNT, body = forward (
        double[B, C] best, double[B, C] here, bool[B, 1] is_valid, bool is_first MORE
    ) => (double[B, C] following, int64[B, C] pointer) {
        rows = Unsqueeze (best, axis2)
        reached = Add (rows, matrix)
        most = ReduceMax <keepdims = 0> (reached, axis1)
        entered = Where (is_first, opening, most)
        moved = Add (entered, here)
        following = Where (is_valid, moved, best)
        from = ArgMax <axis = 1, keepdims = 0> (reached)
        pointer = Where (is_valid, from, itself)
    }> (unbegun, scores, valid, first_frame GIVEN)
    total = Add (final, closing)
    score = ReduceMax <keepdims = 0> (total, axis1)
    last = ArgMax <axis = 1, keepdims = 1> (total)
    before_first, path = Scan <
        num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
        body = backward (
            int64[B, 1] label, int64[B, C] pointer_here
        ) => (int64[B, 1] previous, int64[B, 1] label_here) {
            previous = GatherElements <axis = 1> (pointer_here, label)
            label_here = Identity (label)
        }
    > (last, pointers)
    """
    + _LABELS
    + """
    pads = Constant <value = int64[4] {0, 1, 0, 0}> ()
    moved_on = Pad (labels, pads, unlabelled)
    labels_before = Slice (moved_on, axis0, frames, axis1)
    unchanged = Equal (labels_before, labels)
    changed = Not (unchanged)
    starts = And (changed, labelled)
}"""
)


def _chain(prepare: str, count: int, more: str, given: str) -> str:
    return _CHAIN.replace("PREPARE", prepare).replace("COUNT", str(count)).replace("MORE", more).replace("GIVEN", given)


#: As `segcrf.structures.semi_markov` scans: bands that run, by age; those older than K; the one that began with the
#: recording. A band that closes remembers the frame at which it began, and one that begins the class before it.
_SEMI_MARKOV = (
    """(emissions, transitions, durations, tail, start, end, first, last, lengths) => (score, labels, starts) {"""
    + _BEGIN
    + """
    inner = Cast <to = 11> (durations)
    edge = Cast <to = 11> (last)
    slope = Cast <to = 11> (tail)
    whole_table = Cast <to = 11> (first)
    longest = Shape <start = 1, end = 2> (inner)
    num_durations = Squeeze (longest)
    before_longest = Sub (longest, axis1)
    matrix = Unsqueeze (table, axis0)
    inner_end = Slice (inner, before_longest, longest, axis1)
    inner_old = Squeeze (inner_end, axis1)
    edge_end = Slice (edge, before_longest, longest, axis1)
    edge_old = Squeeze (edge_end, axis1)

    by_duration = Transpose <perm = [1, 0]> (whole_table)
    end_of_table = Sub (num_durations, one)
    row = Min (frame, end_of_table)
    listed = Gather <axis = 0> (by_duration, row)
    excess = Sub (frame, end_of_table)
    excess_wide = Cast <to = 11> (excess)
    excess_column = Unsqueeze (excess_wide, axis1)
    sloped = Mul (excess_column, slope)
    beyond_table = Greater (excess_column, nothing)
    added = Where (beyond_table, sloped, nothing)
    whole_scores = Add (listed, added)

    ages = Range (zero, num_durations, one)
    size_by_age = Concat <axis = 0> (size, longest)
    no_band = Expand (forbidden, size)
    no_bands = Expand (forbidden, size_by_age)
    no_frame = Expand (zero, size)
    recordings = Shape <start = 0, end = 1> (no_band)
    one_column = Concat <axis = 0> (recordings, axis1)
    no_score = Expand (forbidden, one_column)
    no_label = Expand (zero, one_column)
    begun = Expand (opening, size)
    last_frame = Sub (lengths, one)
    at_end = Equal (column, last_frame)
    is_end = Unsqueeze (at_end, axis2)

    f0, f1, f2, f3, f4, score_column, last_label, last_begin, befores, begins = Scan <
        num_scan_inputs = 4, body = forward (
        double[B, C] open, double[B, C, K] running, double[B, C] beyond, int64[B, C] beyond_begin,
        double[B, C] entering, double[B, 1] final, int64[B, 1] final_label, int64[B, 1] final_begin,
        double[B, C] here, int64 t, double[C] whole_here, bool[B, 1] ends_here
    ) => (
        double[B, C] open_on, double[B, C, K] running_on, double[B, C] beyond_on, int64[B, C] beyond_begin_on,
        double[B, C] entering_on, double[B, 1] final_on, int64[B, 1] final_label_on, int64[B, 1] final_begin_on,
        int64[B, C] before, int64[B, C] begin
    ) {
        oldest_column = Slice (running, before_longest, longest, axis2)
        oldest = Squeeze (oldest_column, axis2)
        oldest_begin = Sub (t, num_durations)
        grown = Greater (oldest, beyond)
        beyond_begin_on = Where (grown, oldest_begin, beyond_begin)
        older = Max (oldest, beyond)
        older_here = Add (older, here)
        beyond_on = Add (older_here, slope)
        young = Slice (running, axis0, before_longest, axis2)
        entering_column = Unsqueeze (entering, axis2)
        aged = Concat <axis = 2> (entering_column, young)
        here_column = Unsqueeze (here, axis2)
        running_on = Add (aged, here_column)
        open_on = Add (open, here)
        whole = Add (open_on, whole_here)
        whole_column = Unsqueeze (whole, axis2)
        begins_by_age = Sub (t, ages)
        begins_running = Expand (begins_by_age, size_by_age)
        begins_beyond = Unsqueeze (beyond_begin_on, axis2)
        begins_whole = Unsqueeze (no_frame, axis2)
        all_begins = Concat <axis = 2> (begins_running, begins_beyond, begins_whole)

        inner_running = Add (running_on, inner)
        inner_beyond = Add (beyond_on, inner_old)
        inner_beyond_column = Unsqueeze (inner_beyond, axis2)
        inner_ends = Concat <axis = 2> (inner_running, inner_beyond_column, whole_column)
        closed = ReduceMax <keepdims = 0> (inner_ends, axis2)
        which = ArgMax <axis = 2, keepdims = 1> (inner_ends)
        begin_column = GatherElements <axis = 2> (all_begins, which)
        begin = Squeeze (begin_column, axis2)
        closed_rows = Unsqueeze (closed, axis2)
        reached = Add (closed_rows, matrix)
        entering_on = ReduceMax <keepdims = 0> (reached, axis1)
        before = ArgMax <axis = 1, keepdims = 0> (reached)

        edge_running = Add (running_on, edge)
        edge_beyond = Add (beyond_on, edge_old)
        edge_beyond_column = Unsqueeze (edge_beyond, axis2)
        edge_ends = Concat <axis = 2> (edge_running, edge_beyond_column, whole_column)
        edge_best = ReduceMax <keepdims = 0> (edge_ends, axis2)
        edge_which = ArgMax <axis = 2, keepdims = 1> (edge_ends)
        edge_begin_column = GatherElements <axis = 2> (all_begins, edge_which)
        edge_begin = Squeeze (edge_begin_column, axis2)
        edge_total = Add (edge_best, closing)
        edge_score = ReduceMax <keepdims = 1> (edge_total, axis1)
        edge_label = ArgMax <axis = 1, keepdims = 1> (edge_total)
        edge_label_begin = GatherElements <axis = 1> (edge_begin, edge_label)
        final_on = Where (ends_here, edge_score, final)
        final_label_on = Where (ends_here, edge_label, final_label)
        final_begin_on = Where (ends_here, edge_label_begin, final_begin)
    }> (begun, no_bands, no_band, no_frame, no_band, no_score, no_label, no_label, scores, frame, whole_scores, is_end)
    score = Squeeze (score_column, axis1)

    pads = Constant <value = int64[6] {1, 0, 0, 0, 0, 0}> ()
    befores_later = Pad (befores, pads, zero)
    begins_later = Pad (begins, pads, zero)
    befores_here = Slice (befores_later, axis0, frames, axis0)
    begins_here = Slice (begins_later, axis0, frames, axis0)
    b0, b1, path, path_starts = Scan <
        num_scan_inputs = 4, scan_input_directions = [1, 1, 1, 1], scan_output_directions = [1, 1],
        body = backward (
            int64[B, 1] label, int64[B, 1] began, int64 t, int64[B, C] before, int64[B, C] begin, bool[B, 1] is_valid
        ) => (int64[B, 1] previous, int64[B, 1] previous_began, int64[B, 1] label_here, bool[B, 1] starts_here) {
            label_here = Identity (label)
            is_begin = Equal (began, t)
            starts_here = And (is_begin, is_valid)
            other = GatherElements <axis = 1> (before, label)
            other_began = GatherElements <axis = 1> (begin, other)
            previous = Where (starts_here, other, label)
            previous_began = Where (starts_here, other_began, began)
        }
    > (last_label, last_begin, frame, befores_here, begins_here, valid)
    """
    + _LABELS
    + """
    starts_flat = Squeeze (path_starts, axis2)
    starts_by_recording = Transpose <perm = [1, 0]> (starts_flat)
    starts = And (starts_by_recording, labelled)
}"""
)

_FUNCTIONS = {
    "chain_max_product": _chain("matrix = Unsqueeze (table, axis0)", 3, "", ""),
    "chain_varying_max_product": _chain(
        """by_step = Transpose <perm = [1, 0, 2, 3]> (table)
    pads_of_steps = Constant <value = int64[8] {1, 0, 0, 0, 0, 0, 0, 0}> ()
    matrices = Pad (by_step, pads_of_steps, nothing)""",
        4,
        ", double[B, C, C] matrix",
        ", matrices",
    ),
    "semimarkov_max_product": _SEMI_MARKOV,
}
