"""Inference: a trained model at work on whole recordings, on streams, exported, and stored."""

from segcrf.inference.export import export_model
from segcrf.inference.predict import (
    CONFIDENCES,
    predict_bands,
    predict_labels,
    predict_probabilities,
    predict_targets,
)
from segcrf.inference.recordings import Inferred, infer
from segcrf.inference.saved_model import (
    best_model_folder,
    check_replaceable,
    holds_checkpoint,
    read_model,
    remove_checkpoint,
    write_model,
)
from segcrf.inference.step import export_step
from segcrf.inference.stream import SignalStream, Stream, check_streamable_fit, open_stream

__all__ = [
    "CONFIDENCES",
    "Inferred",
    "SignalStream",
    "Stream",
    "best_model_folder",
    "check_replaceable",
    "check_streamable_fit",
    "export_model",
    "export_step",
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
