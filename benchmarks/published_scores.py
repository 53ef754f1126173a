"""Compare the metrics with published scores: ``python -m benchmarks.published_scores CLONE``.

``CLONE`` is a clone of github.com/colincsl/TemporalConvolutionalNetworks. It has the predictions scored by Lea et al.,
"Temporal convolutional networks for action segmentation and detection" (2017): 50 Salads, mid level, five splits. Their
convention is the mean over recordings, with the background (class 0) left out of edit and F1. MS-TCN (Farha and Gall,
2019) pools frames and bands of each split. The command fails where a score of either convention is not reproduced. It
writes ``results/published_scores.json``, which also has the scores of the same predictions by other conventions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import record
from benchmarks.bands.report import Table, rst
from segcrf import metrics

Array = npt.NDArray[Any]
# True and predicted labels of the recordings of one split.
Split = tuple[list[Array], list[Array]]

MODELS = {"ED-TCN": "mid_video_ED-TCN_L2_C15", "Dilated TCN": "mid_video_DilatedTCN_B3_L5"}
COLUMNS = ("accuracy", "edit", "f1@10", "f1@25", "f1@50")
POOLING = {
    "recording": "mean over recordings",
    "split": "pooled in each split, mean over splits",
    "all": "pooled over all recordings",
}
BACKGROUND = {"left out": [0], "kept": []}
# The authors of each convention without background.
AUTHORS = {"recording": " (Lea et al., 2017)", "split": " (MS-TCN, but for edit)", "all": ""}
# The expected scores. Per recording: as printed by Lea et al. Per split: as computed by the functions of MS-TCN's
# eval.py (github.com/yabufarha/ms-tcn at 33ed91c), without edit, which is a mean over recordings there.
EXPECTED = {
    "recording": {
        "ED-TCN": {"accuracy": 64.7, "edit": 59.8, "f1@10": 68.0, "f1@25": 63.9, "f1@50": 52.6},
        "Dilated TCN": {"accuracy": 59.3, "edit": 43.1, "f1@10": 52.2, "f1@25": 47.6, "f1@50": 37.4},
    },
    "split": {
        "ED-TCN": {"accuracy": 64.3, "f1@10": 67.2, "f1@25": 63.1, "f1@50": 51.9},
        "Dilated TCN": {"accuracy": 58.5, "f1@10": 50.5, "f1@25": 45.7, "f1@50": 35.3},
    },
}


def main() -> None:
    """Score the predictions, check the scores and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, help="folder of the clone")
    clone = parser.parse_args().clone
    rows: list[dict[str, Any]] = []
    for model, folder in MODELS.items():
        splits = read(clone / "predictions" / "50Salads" / "mid" / folder)
        for background, ignore in BACKGROUND.items():
            for pooling in POOLING:
                row = {"model": model, "pooling": pooling, "background": background}
                rows.append(row | score(splits, pooling, ignore))
    check(rows)
    result = {"expected": EXPECTED, "rows": rows}
    print(table(result))
    print("written to", record.write("published_scores", record.environment(("segcrf", "numpy", "scipy")) | result))


def read(folder: Path) -> list[Split]:
    """Return the true and predicted labels of each split."""
    from scipy.io import loadmat

    files = [loadmat(folder / f"{split}.mat") for split in range(1, 6)]
    return [(_labels(file["Y"]), _labels(file["P"])) for file in files]


def _labels(cells: Any) -> list[Array]:
    return [np.asarray(cell).ravel().astype(np.int64) for cell in cells.ravel()]


def score(splits: list[Split], pooling: str, ignore: list[int]) -> dict[str, float]:
    """Return accuracy, edit and F1 at 10, 25 and 50 % overlap.

    Args:
        splits: true and predicted labels.
        pooling: a key of ``POOLING``.
        ignore: classes to leave out of edit and F1.
    """
    pooled = pooling != "recording"
    if pooling != "split":
        splits = [([t for split in splits for t in split[0]], [p for split in splits for p in split[1]])]
    each = [
        [
            metrics.frame_accuracy(*split, pooled=pooled),
            metrics.edit_score(*split, ignore=ignore, pooled=pooled),
            *(metrics.segment_f1(*split, overlap=iou, pooled=pooled, ignore=ignore) for iou in (0.1, 0.25, 0.5)),
        ]
        for split in splits
    ]
    return dict(zip(COLUMNS, np.round(np.mean(each, axis=0), 3).tolist(), strict=True))


def check(rows: list[dict[str, Any]]) -> None:
    """Raise ValueError where a score without background differs from the expected one."""
    for pooling, models in EXPECTED.items():
        for model, expected in models.items():
            wanted = {"model": model, "pooling": pooling, "background": "left out"}
            row = next(row for row in rows if wanted.items() <= row.items())
            for column, value in expected.items():
                if round(row[column], 1) != value:
                    raise ValueError(
                        f"{model}, {POOLING[pooling]}, background left out: got {column} {row[column]}, expected "
                        f"{value}; check that the clone is at cccdf86, and look for changes of segcrf.metrics"
                    )


def table(result: dict[str, Any]) -> str:
    """Return the scores as a table for the documentation, or a sentence without scores."""
    if not result:
        return "Not measured: ``python -m benchmarks.published_scores`` has not been run.\n"
    lines = []
    for row in result["rows"]:
        author = AUTHORS[row["pooling"]] if row["background"] == "left out" else ""
        convention = f"{POOLING[row['pooling']]}; background {row['background']}{author}"
        lines.append([row["model"], convention, *(f"{row[column]:.1f}" for column in COLUMNS)])
    header = ["Predictions", "Convention", "Accuracy", "Edit", "F1@10", "F1@25", "F1@50"]
    title = "In percent: frame accuracy, edit score and F1 of bands of 50 recordings in five splits."
    note = (
        "Conventions: accuracy always includes all classes; edit and F1 include the bands of the background where the "
        "row says so; bands are matched greedily; no frame is unlabelled."
    )
    return rst(Table(title, header, lines, note))


if __name__ == "__main__":
    main()
