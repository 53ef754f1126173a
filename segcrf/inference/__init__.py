"""Inference: a trained model at work on whole recordings, on streams, exported, and stored."""

from segcrf.inference.export import export_onnx
from segcrf.inference.recordings import Inferred, infer
from segcrf.inference.storage import check_replaceable, holds_checkpoint, read_model, remove_checkpoint, write_model
from segcrf.inference.stream import SignalStream, Stream

__all__ = [
    "Inferred",
    "SignalStream",
    "Stream",
    "check_replaceable",
    "export_onnx",
    "holds_checkpoint",
    "infer",
    "read_model",
    "remove_checkpoint",
    "write_model",
]
