"""Inference: a trained model at work on whole recordings, on streams, exported, and stored."""

from segcrf.inference.constrained import Constrained, decode_constrained
from segcrf.inference.export import export_model
from segcrf.inference.predict import (
    CONFIDENCES,
    blank_uncertain,
    predict_bands,
    predict_labels,
    predict_probabilities,
    predict_targets,
)
from segcrf.inference.predictor import Predictor
from segcrf.inference.prompts import Known, Prompts, duration_in_frames, read_prompts
from segcrf.inference.recordings import Inferred, infer
from segcrf.inference.saved_model import (
    best_model_folder,
    check_replaceable,
    hold_checkpoint,
    holds_checkpoint,
    read_config,
    read_model,
    remove_checkpoint,
    write_model,
)
from segcrf.inference.step import export_step
from segcrf.inference.stream import SignalStream, Stream
from segcrf.inference.streams import SignalStreams

__all__ = [
    "CONFIDENCES",
    "Constrained",
    "Inferred",
    "Known",
    "Predictor",
    "Prompts",
    "SignalStream",
    "SignalStreams",
    "Stream",
    "best_model_folder",
    "blank_uncertain",
    "check_replaceable",
    "decode_constrained",
    "duration_in_frames",
    "export_model",
    "export_step",
    "hold_checkpoint",
    "holds_checkpoint",
    "infer",
    "predict_bands",
    "predict_labels",
    "predict_probabilities",
    "predict_targets",
    "read_config",
    "read_model",
    "read_prompts",
    "remove_checkpoint",
    "write_model",
]
