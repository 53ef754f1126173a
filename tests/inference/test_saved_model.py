"""Storage: the old model or the new one, never half of one; and what is not a model is said to be none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segcrf.inference import read_model, saved_model, write_model

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6).reshape(2, 3).T}


def tensors_in(folder: Path) -> Path:
    (path,) = folder.glob("model-*.safetensors")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_model(tmp_path / "x" / "model", {"name": "é", "loss": 0.1}, TENSORS)
    config, tensors = read_model(tmp_path / "x" / "model")
    assert (config["name"], config["loss"]) == ("é", 0.1)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["model"]


@pytest.mark.parametrize("there", [False, True])
def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    if there:
        write_model(tmp_path / "model", {"version": 1}, TENSORS)
    with pytest.raises(TypeError):
        write_model(tmp_path / "model", {"version": object()}, TENSORS)

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_model(tmp_path / "model", {"version": 2}, {"other": TENSORS["a"]})
    assert [path.name for path in tmp_path.iterdir()] == ["model"] * there
    if there:
        assert read_model(tmp_path / "model")[0]["version"] == 1
        assert len(list((tmp_path / "model").iterdir())) == 2


def test_a_model_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {"version": 1}, TENSORS)
    write_model(tmp_path / "model", {"version": 2}, {"c": TENSORS["a"]})
    config, tensors = read_model(tmp_path / "model")
    assert config["version"] == 2 and list(tensors) == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "thesis").mkdir()
    write_model(tmp_path / "thesis", {}, TENSORS)  # empty: fine
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"a folder with other things in it \(thesis.tex\).* Choose another folder"):
        write_model(tmp_path / "home", {}, TENSORS)
    with pytest.raises(ValueError, match=r"is a file, expected a new folder"):
        write_model(tmp_path / "home" / "thesis.tex", {}, TENSORS)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("config", ['{"format": "bert"}', "[]", "not JSON"])
def test_the_config_of_another_program_is_not_replaced(tmp_path: Path, config: str) -> None:
    target = tmp_path / "bert"
    target.mkdir()
    (target / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"other things in it \(config\.json\).* Choose another folder, or move them"):
        write_model(target, {}, TENSORS)
    for name in ("pytorch_model.bin", "vocab.txt", "training.log", "z.txt"):
        (target / name).write_text("weeks of work")
    with pytest.raises(ValueError, match=r"\(config\.json, pytorch_model\.bin, training\.log\)"):
        write_model(target, {}, TENSORS)
    assert (target / "config.json").read_text() == config
    assert len(list(target.iterdir())) == 5 and len(list(tmp_path.iterdir())) == 1


def test_what_its_owner_put_beside_a_model_survives(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {"version": 1}, TENSORS)
    notes = tmp_path / "model" / "notes.txt"
    notes.write_text("the good one")
    write_model(tmp_path / "model", {"version": 2}, {"other": TENSORS["a"]})
    assert notes.read_text() == "the good one" and read_model(tmp_path / "model")[0]["version"] == 2
    assert sorted(path.suffix for path in notes.parent.iterdir()) == [".json", ".safetensors", ".txt"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    left = [".config.json.lock", ".segcrf-0123456789abcdef.config.json", "model-0123456789ab.safetensors"]
    theirs = [".segcrf-0123456789abcdef.notes.txt", "model-00001-of-00002.safetensors"]
    for name in left:
        (model / name).touch()
    write_model(model, {"version": 1}, TENSORS)  # of a first save that was cut off
    assert sorted(path.suffix for path in model.iterdir()) == [".json", ".safetensors"]
    for name in (*left, *theirs):
        (model / name).touch()
    write_model(model, {"version": 2}, TENSORS)
    assert read_model(model)[0]["version"] == 2
    assert len(list(model.iterdir())) == 2 + len(theirs) and all((model / name).exists() for name in theirs)


def test_tensors_of_another_model_are_rejected(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {}, TENSORS)
    write_model(tmp_path / "other", {}, {"a": TENSORS["a"] + 1})
    mine, other = tensors_in(tmp_path / "model"), tensors_in(tmp_path / "other")
    mine.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="expected the tensors with the digest in this name, found those with"):
        read_model(tmp_path / "model")
    mine.unlink()
    with pytest.raises(ValueError, match=rf"expected {mine.name} beside config.json, found \['config.json'\]"):
        read_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["layers", "hidden", "max_duration"])
def test_a_config_that_asks_for_too_much_is_rejected_before_it_is_built(tmp_path: Path, name: str) -> None:
    config = {"parameters": {name: 100_000}} if name != "max_duration" else {name: 100_000}
    write_model(tmp_path / "model", config, TENSORS)
    with pytest.raises(ValueError, match=rf"expected at most \d {name}, as many as the tensors .* found 100000"):
        read_model(tmp_path / "model")


def test_a_deep_or_long_config_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "model", {}, TENSORS)
    config = tmp_path / "model" / "config.json"
    whole = config.read_text()
    config.write_text("[" * 200_000)
    with pytest.raises(ValueError, match="expected JSON, found something else"):
        read_model(tmp_path / "model")
    config.write_text(whole)
    monkeypatch.setattr(saved_model, "LARGEST_CONFIG", 10)
    with pytest.raises(ValueError, match=r"expected at most 10 bytes, found \d+"):
        read_model(tmp_path / "model")


def test_one_fit_at_a_time_works_in_a_directory(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "checkpoint"
    with saved_model.hold_checkpoint(directory):
        with saved_model.hold_checkpoint(directory):  # the same thread may
            assert directory.is_dir()
        code = "import sys; from segcrf.inference import hold_checkpoint\nwith hold_checkpoint(sys.argv[1]): pass"
        other = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True, check=False)
        assert other.returncode == 1
        assert f"BlockingIOError: {directory}: process {os.getpid()} on" in other.stderr
    assert not directory.exists() and not list(directory.parent.iterdir())
    with saved_model.hold_checkpoint(directory):
        (directory / "last.ckpt").touch()
    assert directory.is_dir()


def test_of_a_checkpoint_only_what_a_fit_wrote_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoint"
    assert not saved_model.holds_checkpoint(directory)
    saved_model.remove_checkpoint(directory)  # nothing is there
    write_model(directory / "best", {}, TENSORS)
    assert not saved_model.holds_checkpoint(directory)
    for name in ("last.ckpt", "last-frame_loss=0.5.ckpt", ".segcrf-0123456789abcdef.last.ckpt"):
        (directory / name).touch()
    assert saved_model.holds_checkpoint(directory)
    theirs = ["epoch=3.ckpt", "last-v1.ckpt", "notes.txt"]
    for name in theirs:
        (directory / name).touch()
    saved_model.remove_checkpoint(directory)
    assert sorted(path.name for path in directory.iterdir()) == theirs
    write_model(directory / "best", {}, TENSORS)
    (directory / "best" / "notes.txt").touch()
    saved_model.remove_checkpoint(directory)
    assert tensors_in(directory / "best").exists()

    write_model(tmp_path / "other" / "best", {}, TENSORS)
    saved_model.remove_checkpoint(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_is_no_model_is_rejected(tmp_path: Path) -> None:
    def rejected(match: str) -> None:
        with pytest.raises(ValueError, match=match):
            read_model(tmp_path / "model")

    rejected(r"expected a model folder with config\.json, found no such folder\. Give the folder")
    (tmp_path / "model").mkdir()
    rejected("found an empty folder")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"")
    rejected(r"found \['pytorch_model.bin'\]")
    (tmp_path / "model" / "pytorch_model.bin").unlink()

    write_model(tmp_path / "model", {}, TENSORS)
    tensors = tensors_in(tmp_path / "model")
    whole = tensors.read_bytes()
    for part in (b"", whole[:4], whole[:40], whole[:-1]):
        tensors.write_bytes(part)
        rejected(f"found {len(part)} bytes that are not .*cut short or damaged")
    tensors.write_bytes(whole)

    path = tmp_path / "model" / "config.json"
    config = path.read_text()
    path.write_text(config[:-5])
    rejected("expected JSON, found something else")
    for foreign in ("[]", "{}", '{"format": "bert"}'):
        path.write_text(foreign)
        rejected("expected the format 'segcrf-segmenter', found .*belongs to another program")
    path.write_text(json.dumps(json.loads(config) | {"format_version": saved_model.FORMAT_VERSION + 1}))
    rejected(r"expected format version 1, found 2, written by segcrf .*Install that version")


def test_numbers_that_are_not_finite_are_rejected_by_name(tmp_path: Path) -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        bad = TENSORS["a"].clone()
        bad[1, 2] = value
        write_model(tmp_path / "model", {}, TENSORS | {"a": bad})
        with pytest.raises(ValueError, match=rf"tensor a\[1, 2\]: expected finite numbers, found {value}. .* damaged"):
            read_model(tmp_path / "model")
        if value == -torch.inf:
            assert torch.equal(read_model(tmp_path / "model", forbidding=("a",))[1]["a"], bad)
            continue
        with pytest.raises(ValueError, match=rf"tensor a\[1, 2\]: expected finite numbers or -inf, found {value}"):
            read_model(tmp_path / "model", forbidding=("a",))
    write_model(tmp_path / "model", {}, {"scale": torch.tensor(torch.nan)})
    with pytest.raises(ValueError, match="tensor scale: expected finite"):
        read_model(tmp_path / "model")
