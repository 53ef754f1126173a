"""Inference: a trained model at work on whole recordings, on streams, exported, and stored."""

from segcrf.inference.export import export_onnx
from segcrf.inference.predict import (
    CONFIDENCES,
    predict_bands,
    predict_labels,
    predict_probabilities,
    predict_targets,
)
from segcrf.inference.predictor import Predictor
from segcrf.inference.recordings import Inferred, infer
from segcrf.inference.saved_model import (
    best_model_folder,
    check_replaceable,
    holds_checkpoint,
    read_model,
    remove_checkpoint,
    write_model,
)
from segcrf.inference.stream import SignalStream, Stream, open_stream

__all__ = [
    "CONFIDENCES",
    "Inferred",
    "Predictor",
    "SignalStream",
    "Stream",
    "best_model_folder",
    "check_replaceable",
    "export_onnx",
    "holds_checkpoint",
    "infer",
    "open_stream",
    "predict_bands",
    "predict_labels",
    "predict_probabilities",
    "predict_targets",
    "read_model",
    "remove_checkpoint",
    "write_model",
]
