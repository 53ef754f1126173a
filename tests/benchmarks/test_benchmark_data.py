"""Recordings are downloaded whole and right or not at all, and converted as recorded."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
from scipy.io import savemat

from benchmarks import data
from benchmarks.data import convert
from benchmarks.data.__main__ import main
from benchmarks.data.sources import SOURCES, Source, SourceFile

NAME = "sleep_edf20"  # its files are the shortest to make
FILES = tuple(f"data/processed/sleep_edf_subjects/SC400{night}E0.npz" for night in (1, 2))


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on this machine; `cut` names a path, and its connection ends half way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut = ""
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        self.server.requests.append(path)
        if not (self.server.folder / path).is_file():
            self.send_error(404)
            return
        content = (self.server.folder / path).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if path == self.server.cut else content)

    def log_message(self, *_: Any) -> None:
        """The test says what went wrong."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "served"
    write_nights(folder)
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no folder of data sets, and no proxy between here and the server."""
    monkeypatch.delenv("SEGCRF_DATA", raising=False)
    monkeypatch.setenv("SEGCRF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def source(server: Server, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The source of a data set of two nights that the server has."""
    return put_source(server.folder, server.url, monkeypatch)


def put_source(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Source:
    expected = convert.digest(SOURCES[NAME].convert(folder, SOURCES[NAME].meta))
    made = dataclasses.replace(SOURCES[NAME], url=url, digest=expected)
    files = tuple(recorded(folder, path) for path in FILES)
    monkeypatch.setattr(Source, "files", lambda _: files)
    monkeypatch.setitem(SOURCES, NAME, made)  # type: ignore[arg-type]
    return made


def recorded(folder: Path, path: str) -> SourceFile:
    content = (folder / path).read_bytes()
    return SourceFile(hashlib.sha256(content).hexdigest(), len(content), path)


def write_nights(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for path in FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / path, X=rng.normal(size=(200, 72)), y=np.repeat([0, 2, 3, 0], [80, 20, 25, 75]))


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -------------------------------------------------------------------------------------------------------- where it is


def test_folder_of_SEGCRF_DATA_is_used_and_nothing_is_downloaded(
    cache: Path, server: Server, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / NAME).mkdir(parents=True)
    (tmp_path / "mine" / NAME / "tidy.npz").touch()
    monkeypatch.setenv("SEGCRF_DATA", str(tmp_path / "mine"))
    assert data.folder(NAME) == tmp_path / "mine" / NAME
    with pytest.raises(data.DataMissingError, match=r"SEGCRF_DATA names .*mine, which has no mocap6/tidy.npz"):
        data.folder("mocap6")
    assert not server.requests and not cache.exists()


def test_without_leave_to_download_the_message_says_how(cache: Path, server: Server, source: Source) -> None:
    with pytest.raises(data.DataMissingError, match=rf"set SEGCRF_DATA .*benchmarks.data {NAME}.* from {server.url}"):
        data.folder(NAME, download=False)
    assert not server.requests and not cache.exists()


def test_unknown_name(cache: Path) -> None:
    with pytest.raises(ValueError, match="no data set is called 'sleep', expected one of gesture_phase, "):
        data.folder("sleep")


def test_cache_is_in_the_home_directory_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGCRF_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert data.cache() == tmp_path / ".cache" / "segcrf"
    monkeypatch.setenv("SEGCRF_CACHE", str(tmp_path / "other"))
    assert data.cache() == tmp_path / "other"


# ----------------------------------------------------------------------------------------------------------- download


def test_download_converts_once(cache: Path, server: Server, source: Source) -> None:
    loaded = data.load(NAME)
    assert server.requests == list(FILES)
    assert list(loaded.signals) == ["SC4001E0", "SC4002E0"]
    assert loaded.signals["SC4001E0"].shape == (165, 18) and loaded.rate == 1 / 30
    assert files_in(cache / "data") == [f"{NAME}/meta.json", f"{NAME}/tidy.npz"]
    meta = json.loads((cache / "data" / NAME / "meta.json").read_text(encoding="utf-8"))
    assert meta["source"] == server.url and meta["licence"] == source.licence
    assert data.folder(NAME, download=False) == cache / "data" / NAME
    assert len(server.requests) == 2


def test_download_of_file_addresses(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nights(tmp_path / "copy")
    put_source(tmp_path / "copy", (tmp_path / "copy").as_uri(), monkeypatch)
    assert data.load(NAME).classes == ("W", "N1", "N2", "N3", "REM")


@pytest.mark.parametrize("change", [b"", b"other", b"more"], ids=["empty", "other", "longer"])
def test_other_content_is_rejected_and_not_kept(cache: Path, server: Server, source: Source, change: bytes) -> None:
    path = server.folder / FILES[0]
    path.write_bytes(path.read_bytes() + change if change == b"more" else change)
    with pytest.raises(data.ChecksumError, match=rf"{FILES[0]} is not the recorded file: SHA-256 .*SEGCRF_DATA"):
        data.folder(NAME)
    assert files_in(cache) == []


def test_connection_that_ends_early_leaves_nothing_and_the_next_try_resumes(
    cache: Path, server: Server, source: Source
) -> None:
    server.cut = FILES[1]
    with pytest.raises(data.DataMissingError, match=rf"{FILES[1]} \(the connection ended after .*SEGCRF_DATA"):
        data.folder(NAME)
    assert files_in(cache) == [f"downloads/{NAME}/{FILES[0]}"]
    server.cut = ""
    server.requests.clear()
    data.folder(NAME)
    assert server.requests == [FILES[1]]


def test_damaged_download_is_loaded_again(cache: Path, server: Server, source: Source) -> None:
    kept = cache / "downloads" / NAME / FILES[0]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(len((server.folder / FILES[0]).read_bytes())))
    data.folder(NAME)
    assert server.requests == list(FILES)


def test_offline_names_the_address(cache: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setitem(SOURCES, NAME, dataclasses.replace(source, url=url))  # type: ignore[arg-type]
    with pytest.raises(data.DataMissingError, match=rf"{NAME} is missing .* from {url}/{FILES[0]} .*SEGCRF_DATA"):
        data.folder(NAME)
    assert files_in(cache) == []


def test_absent_file_names_the_answer(cache: Path, server: Server, source: Source) -> None:
    (server.folder / FILES[0]).unlink()
    with pytest.raises(data.DataMissingError, match=r"HTTP Error 404"):
        data.folder(NAME)


def test_conversion_to_other_arrays_is_rejected_and_not_kept(
    cache: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, NAME, dataclasses.replace(source, digest="0" * 64))  # type: ignore[arg-type]
    with pytest.raises(data.ChecksumError, match=f"{NAME} was converted to other signals or classes"):
        data.folder(NAME)
    assert not (cache / "data").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupt_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    """Ctrl-C while a server that never ends its answer is half way."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        script = (
            "from pathlib import Path; from benchmarks.data import download, sources\n"
            f"url = 'http://127.0.0.1:{listening.getsockname()[1]}/file'\n"
            "file = sources.SourceFile('0' * 64, 10_000_000, 'file')\n"
            f"download.fetch(url, file, Path({str(cache / 'file')!r}), 'name')\n"
        )
        root = Path(__file__).parents[2]
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, cwd=root)
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(5_000_000))
            wait_until(lambda: any(path.stat().st_size for path in cache.glob("file*.part")))
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert files_in(cache) == []


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# -------------------------------------------------------------------------------------------------------- command line


def test_command_downloads(
    cache: Path, source: Source, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["data", NAME])
    main()
    assert capsys.readouterr().out == f"{NAME} {cache / 'data' / NAME}\n"


def test_command_lists(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["data"])
    main()
    printed = capsys.readouterr().out
    for source in SOURCES.values():
        assert f"{source.name}: not here\n" in printed and source.url in printed and source.licence in printed


def test_command_says_what_is_wrong(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["data", "sleep"])
    with pytest.raises(SystemExit, match="no data set is called 'sleep'"):
        main()


# ---------------------------------------------------------------------------------------------------------- registry


@pytest.mark.parametrize("name", SOURCES)
def test_source_is_complete(name: str) -> None:
    source, files = SOURCES[name], SOURCES[name].files()
    assert source.url.startswith("https://") and not source.url.endswith("/")
    assert all(len(file.sha256) == 64 and file.size > 0 for file in files)
    assert len({file.path for file in files}) == len(files) > 0
    assert not any(Path(file.path).is_absolute() or ".." in Path(file.path).parts for file in files)
    assert source.contents and source.licence and source.citation and source.derived and len(source.digest) == 64


@pytest.mark.parametrize("name", SOURCES)
def test_recordings_at_hand_are_those_recorded(name: str, data_folder: Callable[[str], Path]) -> None:
    folder, source = data_folder(name), SOURCES[name]
    with np.load(folder / "tidy.npz", allow_pickle=False) as arrays:
        assert convert.digest({key: arrays[key] for key in arrays.files if key[0] in "Xy"}) == source.digest
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    assert {key: meta[key] for key in source.meta} == source.meta


def test_load_marks_unlabelled_frames_as_PyTorch_does(data_folder: Callable[[str], Path]) -> None:
    data_folder("ecg_ludb")
    loaded = data.load("ecg_ludb", download=False)
    values = np.unique(np.concatenate(list(loaded.labels.values())))
    assert values.tolist() == [data.UNLABELLED, *range(len(loaded.classes))]


def test_digest_shows_any_difference() -> None:
    arrays = {"X/a": np.zeros((3, 1), np.float32), "y/a": np.zeros(3, np.int8), "r/a": np.zeros((3, 1))}
    same = convert.digest(arrays)
    assert convert.digest(dict(reversed(arrays.items()))) == same
    assert convert.digest(arrays | {"y/a": np.array([0, 0, 1], np.int8)}) != same
    assert convert.digest(arrays | {"X/a": np.zeros((3, 1), np.float64)}) != same
    assert convert.digest(arrays | {"X/b": arrays["X/a"]}) != same


# -------------------------------------------------------------------------------------------------------- conversions


def converted(name: str, folder: Path) -> dict[str, convert.Array]:
    return SOURCES[name].convert(folder, SOURCES[name].meta)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_gesture_phase(tmp_path: Path) -> None:
    raw = [[*range(row, row + 18), 5_702_026 + row, phase] for row, phase in enumerate(["Rest", "Preparação", "Hold"])]
    moving = [[*range(100 * row, 100 * row + 32), "D"] for row in (1, 2)]
    lines = lambda rows: [",".join(map(str, row)) for row in [["header"], *rows]]  # noqa: E731
    put(tmp_path / "data_files/raw/b1_raw.csv", "\r\n".join(lines(raw)).encode("utf-8-sig"))
    put(tmp_path / "data_files/processed/b1_va3.csv", "\r".join(lines(moving)).encode())
    arrays = converted("gesture_phase", tmp_path)
    npt.assert_array_equal(arrays["X/b1"], [row[:18] for row in raw])
    npt.assert_array_equal(arrays["y/b1"], [0, 1, 3])
    npt.assert_array_equal(arrays["r/b1"], [[np.nan] * 32, *(row[:32] for row in moving)])


def test_mocap6(tmp_path: Path) -> None:
    meta = SOURCES["mocap6"].meta
    names = lambda key: np.array(meta[key], dtype=object)  # noqa: E731
    sequences = np.zeros(2, dtype=[(key, object) for key in ("X", "TrueZ", "filename")])
    for row, name in enumerate(("13_29", "14_06")):
        sequences[row] = (np.full((4, 12), row + 0.5), np.array([[1], [1], [12], [12]], np.uint8), name)
    content = {"DataBySeq": sequences, "ActionNames": names("classes"), "ChannelNames": names("channels_names")}
    savemat(tmp_path / "mocap6.mat", content)
    arrays = converted("mocap6", tmp_path)
    assert list(arrays) == ["X/13_29", "y/13_29", "X/14_06", "y/14_06"]
    npt.assert_array_equal(arrays["X/14_06"], np.full((4, 12), 1.5, np.float32))
    npt.assert_array_equal(arrays["y/14_06"], [0, 0, 11, 11])
    savemat(tmp_path / "mocap6.mat", content | {"ActionNames": names("classes")[::-1]})
    with pytest.raises(ValueError, match="other actions or channels"):
        converted("mocap6", tmp_path)


def test_eye_lookatpoint(tmp_path: Path) -> None:
    source = np.zeros(60, dtype=[("t", "<f8"), ("x", "<f4"), ("y", "<f4"), ("status", "?"), ("evt", "u1")])
    source["x"], source["y"] = np.arange(60) * 0.002, 1 - np.arange(60) * 0.001  # 2 and -1 degrees per second
    source["x"][30:32] = source["y"][30:32] = np.nan
    source["evt"][:6] = [0, 1, 2, 3, 5, 5]
    path = tmp_path / "etdata/lookAtPoint_EL/lookAtPoint_EL_S4.npy"
    path.parent.mkdir(parents=True)
    np.save(path, source)
    arrays = converted("eye_lookatpoint", tmp_path)
    npt.assert_array_equal(arrays["X/S4"], np.stack([source["x"], source["y"]], axis=1))
    npt.assert_array_equal(arrays["y/S4"][:7], [-1, 0, 1, 2, 3, 3, -1])
    lost = np.isnan(arrays["r/S4"])
    npt.assert_array_equal(lost, np.isnan(arrays["X/S4"]))
    npt.assert_allclose(arrays["r/S4"][~lost[:, 0]], np.tile([[2, -1]], (58, 1)), rtol=1e-4)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "etdata/lookAtPoint_EL/lookAtPoint_EL_S1.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        converted("eye_lookatpoint", tmp_path)


def test_nilm_devicescope(tmp_path: Path) -> None:
    power = np.zeros((60, 5))
    power[:, 0] = np.arange(60)
    power[0:2, 1] = 1000.0, 999.0  # kettle: the threshold counts, below it does not
    power[10:45, 2] = 10.0  # dishwasher: a run of 35 minutes
    power[20:40, 2] = 0.0  # with a break that is filled
    power[50:55, 3] = 500.0  # washing machine: a run too short to count
    power[30:33, 4] = 200.0, 0.0, 200.0  # microwave, beside the dishwasher
    write_months(tmp_path, power)
    arrays = converted("nilm_devicescope", tmp_path)
    expected = np.zeros(60)
    expected[0], expected[10:45], expected[30:33] = 1, 2, 5
    npt.assert_array_equal(arrays["y/REFIT_House2"], expected)
    npt.assert_array_equal(arrays["X/REFIT_House2"], power[:, :1])
    npt.assert_array_equal(arrays["r/REFIT_House2"], power[:, 1:])
    npt.assert_array_equal(arrays["s/REFIT_House2"].sum(0), [1, 35, 0, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"later": 1}, "REFIT_House2 has gaps"), ({"header": "Time,Aggregate,Shower"}, "House2_2014-12.gzip has columns")],
)
def test_nilm_devicescope_rejects(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_months(tmp_path, np.zeros((60, 5)), **change)
    with pytest.raises(ValueError, match=message):
        converted("nilm_devicescope", tmp_path)


def write_months(
    folder: Path,
    power: convert.Array,
    later: int = 0,
    header: str = "Time,Aggregate,Kettle,Dishwasher,WashingMachine,Microwave",
) -> None:
    """Two files, before and after midnight of New Year."""
    start = np.datetime64("2014-12-31T23:30:00")
    for month, part, offset in (("2014-12", power[:30], 0), ("2015-01", power[30:], 30 + later)):
        times = [str(start + np.timedelta64(60 * (offset + row), "s")).replace("T", " ") for row in range(len(part))]
        rows = [",".join([time, *map(str, values.tolist())]) for time, values in zip(times, part, strict=True)]
        put(folder / f"Data/REFIT_House2_{month}.gzip", gzip.compress("\n".join([header, *rows, ""]).encode()))


def test_sleep_edf20(tmp_path: Path) -> None:
    write_nights(tmp_path)
    arrays = converted("sleep_edf20", tmp_path)
    with np.load(tmp_path / FILES[0]) as source:
        npt.assert_array_equal(arrays["X/SC4001E0"], source["X"][20:185, :18].astype(np.float32))
        npt.assert_array_equal(arrays["y/SC4001E0"], source["y"][20:185])


def test_emg_gestures(tmp_path: Path) -> None:
    times = [1, 5, 6, 7, 8, 9, 10, 11, 14, 16]  # a value holds until the next; some rows are lost
    volts = [-1, -1, 2, 2, 2, 2, 2, -128, -128, 127]
    marks = [0, 0, 1, 1, 1, 1, 1, 7, 7, 7]
    rows = [[time, *[f"{value}e-05"] * 8, mark] for time, value, mark in zip(times, volts, marks, strict=True)]
    text = "\n".join("\t".join(map(str, row)) for row in [["header"], *rows, [17, *["0"] * 8, 0]])
    put(tmp_path / "EMG_data_for_gestures-master/07/2_raw_data_18-50_22.03.16.txt", text.encode())
    arrays = converted("emg_gestures", tmp_path)
    npt.assert_array_equal(arrays["X/07_2"], np.repeat([[-1], [2], [-128], [127]], 8, axis=1))
    npt.assert_array_equal(arrays["y/07_2"], [-1, 0, 6, 6])


def test_ecg_ludb(tmp_path: Path) -> None:
    leads = ("i", "ii", "v2", "v5")
    signals = [f"1.dat 16 {100 + row}({row})/mV 0 0 0 0 0 {lead}" for row, lead in enumerate(leads)]
    raw = np.arange(3000 * 4, dtype="<i2").reshape(3000, 4)
    put(tmp_path / "data/1.hea", "\n".join(["1 4 500 3000", *signals, "#<age>: 51"]).encode())
    put(tmp_path / "data/1.dat", raw.tobytes())
    begin, end, p, normal, t = 39, 40, 24, 1, 27
    marks = [(10, normal), (20, end), (30, begin), (35, t), (40, end), (2000, begin), (2005, p), (2010, end)]
    put(tmp_path / "data/1.ii", annotation(marks))
    arrays = converted("ecg_ludb", tmp_path)
    npt.assert_array_equal(arrays["X/1"][:, 0], ((raw[:, 1] - 1) / 101).astype(np.float16))
    expected = np.full(3000, -1)
    expected[10:2011] = 0
    expected[10:21], expected[30:41], expected[2000:2011] = 2, 3, 1
    npt.assert_array_equal(arrays["y/1"], expected)


def annotation(marks: list[tuple[int, int]]) -> bytes:
    """WFDB's annotation format, written by its description."""
    words: list[int] = []
    before = 0
    for frame, code in marks:
        passed, before = frame - before, frame
        if passed > 1023:
            words += [59 << 10, passed >> 16, passed & 0xFFFF]
            passed = 0
        words.append(code << 10 | passed)
    return np.array([*words, 0], dtype="<u2").tobytes()


@pytest.mark.parametrize(
    ("marks", "message"),
    [([(10, 22)], "1.ii has a mark of code 22"), ([(10, 40)], "a wave ends at frame 10 without a begin or a peak")],
)
def test_ecg_ludb_rejects_marks(tmp_path: Path, marks: list[tuple[int, int]], message: str) -> None:
    leads = "\n".join(f"1.dat 16 100(0)/mV 0 0 0 0 0 {lead}" for lead in ("ii", "v2", "v5"))
    put(tmp_path / "data/1.hea", f"1 3 500 20\n{leads}\n".encode())
    put(tmp_path / "data/1.dat", bytes(20 * 3 * 2))
    put(tmp_path / "data/1.ii", annotation(marks))
    with pytest.raises(ValueError, match=message):
        converted("ecg_ludb", tmp_path)
