"""A write that fails or is killed at any file-system call leaves the old content or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from segcrf.data import read_table, write_table
from segcrf.inference import read_model, write_model
from tests.faults.crash_points import DONE, FAILED, KILLED, crash_points

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children share the state of this process by fork"),
]
OLD, NEW, NEXT = ({"a": torch.full((3, 2), float(value))} for value in (1, 2, 3))


def version_of(folder: Path) -> object:
    """Return the version of a model after checking that config and tensors are of the same one."""
    config, tensors = read_model(folder)
    assert tensors["a"].unique().tolist() == [config["version"]]
    return config["version"]


@pytest.mark.parametrize("how", ["killed", "full"])
@pytest.mark.parametrize("same", [False, True])
def test_a_model_is_replaced_at_one_moment(tmp_path: Path, how: str, same: bool) -> None:
    model = tmp_path / "model"
    write_model(model, {"version": 1}, OLD)
    new = ({"version": 1, "note": "other"}, OLD) if same else ({"version": 2}, NEW)
    ended: list[int] = []
    versions: list[object] = []
    for code in crash_points(lambda: write_model(model, *new), model, how):
        ended.append(code)
        versions.append(version_of(model))
        write_model(model, {"version": 1}, OLD)
        assert sorted(path.suffix for path in model.iterdir()) == [".json", ".safetensors"]  # nothing is left over
    assert len(ended) > 15 and ended[-1] == DONE and set(ended) <= {DONE, KILLED if how == "killed" else FAILED}
    if how == "killed":  # old up to some call, new from then on
        assert versions == sorted(versions, key=str) and ended[:-1] == [KILLED] * (len(ended) - 1)


@pytest.mark.parametrize("how", ["killed", "full"])
def test_a_first_model_is_there_or_not(tmp_path: Path, how: str) -> None:
    model = tmp_path / "deep" / "model"
    whole: list[bool] = []
    for _ in crash_points(lambda: write_model(model, {"version": 2}, NEW), tmp_path, how):
        whole.append((model / "config.json").exists())
        if whole[-1]:
            assert version_of(model) == 2
        write_model(model, {"version": 3}, NEXT)  # what is left of the other is in nobody's way
        assert version_of(model) == 3
        assert sorted(path.suffix for path in model.iterdir()) == [".json", ".safetensors"]
        for path in model.iterdir():
            path.unlink()
        model.rmdir()
        model.parent.rmdir()
    assert whole[-1] and not all(whole)


@pytest.mark.parametrize("how", ["killed", "full"])
@pytest.mark.parametrize("name", ["bands.csv", "bands.parquet"])
def test_a_table_is_replaced_at_one_moment(tmp_path: Path, how: str, name: str) -> None:
    path = tmp_path / name
    tables = [pd.DataFrame({"version": [version] * 3}) for version in (1, 2)]
    write_table(tables[0], path)
    versions: list[int] = []
    for _ in crash_points(lambda: write_table(tables[1], path), tmp_path, how):
        table = read_table(path, ["version"])
        assert len(table) == 3 and table["version"].nunique() == 1
        versions.append(int(table["version"].iloc[0]))
        write_table(tables[0], path)
        assert [file.name for file in tmp_path.iterdir()] == [name]
    assert versions[-1] == 2 and 1 in versions and (how == "full" or versions == sorted(versions))
