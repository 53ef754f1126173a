"""Convert the files of each data set to arrays of one layout.

Each function takes the folder of the downloaded files and the content of ``meta.json``. It returns the arrays of
``tidy.npz``: per recording, a signal ``X/<id>`` (T, F) and classes ``y/<id>`` (T,) int8, -1 = unlabelled. Some data
sets also have regression targets ``r/<id>`` (T, R), NaN = unknown, and states ``s/<id>``.

No function unpickles anything.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of identifiers, signals and classes, which changes with any bit of them.

    Regression targets are left out, since a filter may round them differently on another processor.
    """
    total = hashlib.sha256()
    for key in sorted(key for key in arrays if key.startswith(("X/", "y/"))):
        array = arrays[key]
        total.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def gesture_phase(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return coordinates and phases of the raw files, with velocities and accelerations as targets."""
    classes, channels = meta["classes"], len(meta["channels_names"])
    spelt = {name: code for code, name in enumerate(classes)} | {"Preparação": classes.index("Preparation")}
    arrays: Arrays = {}
    for path in sorted(folder.glob("data_files/raw/*_raw.csv")):
        name = path.name.removesuffix("_raw.csv")
        rows, moving_rows = _rows(path), _rows(folder / f"data_files/processed/{name}_va3.csv")
        arrays[f"X/{name}"] = np.array([row[:channels] for row in rows], dtype=np.float64).astype(np.float32)
        arrays[f"y/{name}"] = np.array([spelt[row[-1]] for row in rows], dtype=np.int8)
        moving = np.array([row[:-1] for row in moving_rows], dtype=np.float64)
        targets = np.full((len(rows), moving.shape[1]), np.nan, np.float32)
        targets[len(rows) - len(moving) :] = moving  # a velocity needs the frames before it
        arrays[f"r/{name}"] = targets
    return arrays


def _rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file without its header, for any line ending."""
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.reader(file))[1:]


def mocap6(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return the sequences of the MATLAB file."""
    from scipy.io import loadmat

    content = loadmat(folder / "mocap6.mat", squeeze_me=True)
    if list(content["ActionNames"]) != meta["classes"] or list(content["ChannelNames"]) != meta["channels_names"]:
        raise ValueError("mocap6.mat has other actions or channels than meta.json")
    arrays: Arrays = {}
    for sequence in content["DataBySeq"]:
        name = str(sequence["filename"])
        arrays[f"X/{name}"] = sequence["X"].astype(np.float32)
        arrays[f"y/{name}"] = (sequence["TrueZ"].astype(np.int64) - 1).astype(np.int8)
    return arrays


def eye_lookatpoint(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return gaze and events, with velocity as target by a filter of 19 frames (Savitzky and Golay, 1964)."""
    from scipy.signal import savgol_filter

    code_of_event = np.array([-1, 0, 1, 2, -1, 3], dtype=np.int8)  # undefined, fixation, saccade, PSO, -, blink
    arrays: Arrays = {}
    for path in sorted(folder.glob("etdata/lookAtPoint_EL/*.npy")):
        name = path.stem.rsplit("_", 1)[1]
        source = np.load(path, allow_pickle=False)
        signal = np.stack([source["x"], source["y"]], axis=1).astype(np.float32)
        lost = np.isnan(signal)
        bridged = np.stack([_bridge(channel) for channel in signal.T], axis=1)
        velocity = savgol_filter(bridged.astype(np.float64), 19, 2, deriv=1, delta=1 / meta["rate_hz"], axis=0)
        velocity[lost] = np.nan
        arrays[f"X/{name}"] = signal
        arrays[f"y/{name}"] = code_of_event[source["evt"]]
        arrays[f"r/{name}"] = velocity.astype(np.float32)
    return arrays


def _bridge(values: Array) -> Array:
    """Return values with NaN interpolated linearly."""
    lost = np.isnan(values)
    bridged = values.copy()
    bridged[lost] = np.interp(np.flatnonzero(lost), np.flatnonzero(~lost), values[~lost])
    return bridged


def nilm_devicescope(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return the joined months of each house; the power of an appliance determines whether it is on."""
    appliances = list(meta["state_rule"]["threshold_W"])
    order = ("threshold_W", "min_on_steps", "fill_off_steps")
    rules = [[meta["state_rule"][key][appliance] for key in order] for appliance in appliances]
    several = meta["classes"].index("several")
    months: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("Data/*.gzip")):
        months.setdefault(path.name.rsplit("_", 1)[0], []).append(path)
    arrays: Arrays = {}
    for house, paths in sorted(months.items()):
        rows = np.concatenate([_measurements(path, ("Aggregate", *appliances)) for path in paths])
        if (np.diff(rows["Time"].astype("datetime64[m]")) != np.timedelta64(1, "m")).any():
            raise ValueError(f"{house} has gaps between its minutes")
        total, parts = rows["power"][:, :1], rows["power"][:, 1:]
        states = np.stack([_state(power, *rule) for power, rule in zip(parts.T, rules, strict=True)], axis=1)
        running = states.sum(1)
        arrays[f"X/{house}"] = total.astype(np.float32)
        labels = np.select([running == 0, running == 1], [0, states.argmax(1) + 1], several)
        arrays[f"y/{house}"] = labels.astype(np.int8)
        arrays[f"r/{house}"] = parts.astype(np.float32)
        arrays[f"s/{house}"] = states
    return arrays


def _measurements(path: Path, meters: tuple[str, ...]) -> Array:
    """Return time and power from a compressed CSV file that must have a column for each meter."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header = file.readline().strip().split(",")
        if header != ["Time", *meters]:
            raise ValueError(f"{path.name} has columns {header}, expected {['Time', *meters]}")
        return np.loadtxt(file, delimiter=",", dtype=[("Time", "U19"), ("power", np.float64, (len(meters),))])


def _state(power: Array, threshold: float, min_on: int, fill_off: int) -> Array:
    """Return where power reaches the threshold, with short breaks filled and then short runs dropped."""
    on = power >= threshold
    for start, end in _runs(~on):
        if start > 0 and end < len(on) and end - start <= fill_off:
            on[start:end] = True
    for start, end in _runs(on):
        if end - start < min_on:
            on[start:end] = False
    return on


def _runs(mask: Array) -> Array:
    """Return start and exclusive end of each run of true values."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def sleep_edf20(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return the basic features, from half an hour before sleep to half an hour after it."""
    features, margin = 18, 30 * 60 // meta["epoch_s"]
    wake = meta["classes"].index("W")
    arrays: Arrays = {}
    for path in sorted(folder.glob("data/processed/sleep_edf_subjects/*.npz")):
        with np.load(path, allow_pickle=False) as source:
            signal, stages = source["X"], source["y"]
        asleep = np.flatnonzero(stages != wake)
        kept = slice(max(0, asleep[0] - margin), asleep[-1] + 1 + margin)
        arrays[f"X/{path.stem}"] = signal[kept, :features].astype(np.float32)
        arrays[f"y/{path.stem}"] = stages[kept].astype(np.int8)
    return arrays


def emg_gestures(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return every fifth of the values, which are held each millisecond: the armband measures at 200 Hz."""
    milliseconds = 1000 // meta["rate_hz"]
    volts = 1e-5
    arrays: Arrays = {}
    for path in sorted(folder.glob("EMG_data_for_gestures-master/*/*_raw_data_*.txt")):
        name = f"{path.parent.name}_{path.name[0]}"
        rows = np.loadtxt(path, delimiter="\t", skiprows=1)
        time = rows[:, 0]
        held = np.searchsorted(time, np.arange(time[0], time[-1], milliseconds), side="right") - 1
        arrays[f"X/{name}"] = np.rint(rows[held, 1:9] / volts).astype(np.int8)
        arrays[f"y/{name}"] = (rows[held, 9] - 1).astype(np.int8)
    return arrays


def ecg_ludb(folder: Path, meta: Mapping[str, Any]) -> Arrays:
    """Return three leads in millivolts, and the waves marked on lead II."""
    arrays: Arrays = {}
    headers = sorted(folder.glob("data/*.hea"), key=lambda path: int(path.stem))
    for header in headers:
        signal = _leads(header, meta["channels_names"])
        arrays[f"X/{header.stem}"] = signal.astype(np.float16)
        arrays[f"y/{header.stem}"] = _waves(_marks(header.with_suffix(".ii")), len(signal))
    return arrays


def _leads(header: Path, leads: list[str]) -> Array:
    """Return the signals of a record in WFDB format 16: int16, with the leads of a frame side by side.

    Source: header(5) and signal(5), WFDB Applications Guide, PhysioNet.
    """
    lines = header.read_text(encoding="utf-8").splitlines()
    count, frames = int(lines[0].split()[1]), int(lines[0].split()[3])
    raw = np.fromfile(header.with_suffix(".dat"), dtype="<i2").reshape(frames, count)
    scaled: dict[str, Array] = {}
    for column, line in enumerate(lines[1 : 1 + count]):
        _, storage, gain, *_, lead = line.split()
        units = re.fullmatch(r"([\d.]+)\((-?\d+)\)/mV", gain)
        if storage != "16" or units is None:
            raise ValueError(f"{header.name}: lead {lead} is stored as {storage} {gain}, expected 16 gain(baseline)/mV")
        scaled[lead] = (raw[:, column] - int(units[2])) / float(units[1])
    return np.stack([scaled[lead] for lead in leads], axis=1)


_BEGIN, _END, _SKIP = 39, 40, 59
_WAVES = {24: 1, 1: 2, 27: 3}  # P, normal beat (QRS), T


def _marks(path: Path) -> Iterator[tuple[int, int]]:
    """Yield frames and codes from WFDB's annotation format.

    A word has 6 bits of code above 10 bits of frames since the previous mark. A skip precedes a longer distance: the
    next two words have its frames, upper half first.

    Source: annot(5), WFDB Applications Guide, PhysioNet.
    """
    frame = 0
    words = iter(np.fromfile(path, dtype="<u2").tolist())
    for word in words:
        code, passed = word >> 10, word & 0x3FF
        if code == 0:
            return
        if code == _SKIP:
            frame += next(words) << 16 | next(words)
        elif code in (_BEGIN, _END, *_WAVES):
            frame += passed
            yield frame, code
        else:
            raise ValueError(f"{path.name} has a mark of code {code}, expected {(_BEGIN, _END, _SKIP, *_WAVES)}")


def _waves(marks: Iterator[tuple[int, int]], frames: int) -> Array:
    """Return the classes of the frames. A wave without a marked begin starts at its peak."""
    labels = np.full(frames, -1, np.int8)
    begin: int | None = None
    wave, last = 0, 0
    for frame, code in marks:
        if code == _BEGIN:
            begin = frame
        elif code == _END:
            if begin is None:
                raise ValueError(f"a wave ends at frame {frame} without a begin or a peak")
            if (labels >= 0).any():
                labels[last:begin] = 0
            labels[begin : frame + 1] = wave
            begin, last = None, frame + 1
        else:
            wave = _WAVES[code]
            begin = frame if begin is None else begin
    return labels
