"""The metrics against published numbers: ``python -m benchmarks.published_scores CLONE``.

``CLONE`` is a clone of github.com/colincsl/TemporalConvolutionalNetworks, which keeps the predictions that Lea et al.,
"Temporal convolutional networks for action segmentation and detection" (2017) scored: 50 Salads, mid level, five
splits. Their convention is the mean over recordings with the background (class 0) left out of edit and F1. The command
fails where the published row is not reproduced, and writes ``results/published_scores.json``, which also
says by how much other conventions move the scores of the very same predictions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import record
from segcrf import metrics

Array = npt.NDArray[Any]

MODELS = {"ED-TCN": "mid_video_ED-TCN_L2_C15", "Dilated TCN": "mid_video_DilatedTCN_B3_L5"}
# Accuracy, edit, F1@10, F1@25, F1@50 as published.
PUBLISHED = {"ED-TCN": (64.7, 59.8, 68.0, 63.9, 52.6), "Dilated TCN": (59.3, 43.1, 52.2, 47.6, 37.4)}
CONVENTIONS: dict[str, dict[str, Any]] = {
    "mean over recordings, background left out": {"pooled": False, "ignore": [0]},
    "pooled, background left out": {"pooled": True, "ignore": [0]},
    "mean over recordings, background kept": {"pooled": False, "ignore": []},
    "pooled, background kept": {"pooled": True, "ignore": []},
}


def main() -> None:
    """Score, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, help="folder of the clone")
    clone = parser.parse_args().clone
    rows: dict[str, dict[str, list[float]]] = {}
    for model, folder in MODELS.items():
        predicted, true = read(clone / "predictions" / "50Salads" / "mid" / folder)
        rows[model] = {name: score(predicted, true, **options) for name, options in CONVENTIONS.items()}
        for name, row in rows[model].items():
            print(f"{model:12} {name:42}", *(f"{value:5.1f}" for value in row))
        ours = np.round(next(iter(rows[model].values())), 1)
        assert np.allclose(ours, PUBLISHED[model]), f"{model}: got {ours}, published {PUBLISHED[model]}"
    columns = ["accuracy", "edit", "f1@10", "f1@25", "f1@50"]
    result = {"columns": columns, "published": PUBLISHED, "rows": rows}
    print("written to", record.write("published_scores", record.environment(("segcrf", "numpy", "scipy")) | result))


def read(folder: Path) -> tuple[list[Array], list[Array]]:
    """Predicted and true labels of all recordings of all splits."""
    from scipy.io import loadmat

    splits = [loadmat(folder / f"{split}.mat") for split in range(1, 6)]
    predicted, true = ([_labels(cell) for split in splits for cell in split[name].ravel()] for name in ("P", "Y"))
    return predicted, true


def _labels(cell: Any) -> Array:
    return np.asarray(cell).ravel().astype(np.int64)


def score(predicted: list[Array], true: list[Array], pooled: bool, ignore: list[int]) -> list[float]:
    """Accuracy, edit and F1 at 10, 25 and 50 % overlap."""
    f1 = [metrics.segment_f1(predicted, true, iou, pooled, ignore) for iou in (0.1, 0.25, 0.5)]
    row = [metrics.frame_accuracy(predicted, true, pooled), metrics.edit_score(predicted, true, ignore), *f1]
    return [round(value, 3) for value in row]


if __name__ == "__main__":
    main()
