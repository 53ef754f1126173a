"""Small files as they exist in the wild. Each holds the recording of :func:`signal`, or one that must be asked about.

A file is described by its name and by what it says; ``options`` is what the user must state (the command that then
works). ``write`` makes it in a folder and returns the paths for ``read_recordings``.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

FRAMES, RATE = 40, 50.0
LABELS = ["rest"] * 15 + ["walk"] * 25


def signal() -> np.ndarray:
    """(40, 2) values with two decimals; the last rows hold numbers of 0 to 9 and beyond 1000."""
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=(FRAMES, 2)), 2)
    values[-1] = (1234.5, -0.25)
    return values


def times() -> np.ndarray:
    return np.arange(FRAMES) / RATE


def frame() -> pd.DataFrame:
    a, b = signal().T
    return pd.DataFrame({"time": times(), "a": a, "b": b, "label": LABELS})


def stamps(form: str, start: str = "2024-05-31 09:59:59.5") -> list[str]:
    dates = pd.date_range(start, periods=FRAMES, freq="20ms")
    return [date.strftime(form)[:-3] if form.endswith("%f") else date.strftime(form) for date in dates]


def text(table: pd.DataFrame, separator: str = ",", decimal: str = ".") -> str:
    return table.to_csv(sep=separator, decimal=decimal, index=False, lineterminator="\n")


class Messy(NamedTuple):
    """A file, and what is expected of it.

    Attributes:
        write: makes it in a folder, and returns the paths.
        options: what the user has to state, as the command line names it.
        rejected: whether the file is an error without these options.
        labelled: whether it holds labels.
        timed: whether it holds times.
    """

    write: Callable[[Path], Any]
    options: tuple[str, ...] = ()
    rejected: bool = False
    labelled: bool = True
    timed: bool = True


def file(name: str, content: str | Callable[[], str], encoding: str = "utf-8") -> Callable[[Path], Any]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes((content if isinstance(content, str) else content()).encode(encoding))
        return path

    return write


def with_column(name: str, values: Any, place: int = 0) -> pd.DataFrame:
    table = frame()
    table.insert(place, name, values)
    return table


def dated(values: list[str], name: str = "time") -> pd.DataFrame:
    return frame().assign(time=values).rename(columns={"time": name})


def renamed(**names: str) -> pd.DataFrame:
    return frame().rename(columns=names)


def gz(folder: Path) -> Path:
    with gzip.open(folder / "walk.csv.gz", "wt") as stream:
        stream.write(text(frame()))
    return folder / "walk.csv.gz"


def excel(folder: Path) -> Path:
    with pd.ExcelWriter(folder / "walk.xlsx") as writer:
        frame().to_excel(writer, sheet_name="Walk", index=False, startrow=3)
        pd.DataFrame().to_excel(writer, sheet_name="Empty")
    return folder / "walk.xlsx"


def split_by_ten(folder: Path) -> Path:
    """Four recordings in a folder, with files that are no signals."""
    for number in range(4):
        frame()[10 * number : 10 * number + 10].to_csv(folder / f"part{number + 8}.csv", index=False)
    (folder / "README.md").write_text("about")
    (folder / ".hidden.csv").write_text("a\nx\n")
    return folder


def dataset(folder: Path) -> Path:
    frame().assign(recording="walk").to_parquet(folder / "set", partition_cols=["recording"])
    return folder / "set"


def npz(folder: Path) -> Path:
    np.savez(folder / "walk.npz", X=signal(), y=np.array(LABELS), fs=RATE)
    return folder / "walk.npz"


def mat(folder: Path) -> Path:
    from scipy.io import savemat

    a, b = signal().T
    savemat(folder / "walk.mat", {"data": {"a": a, "b": b, "fs": RATE}})
    return folder / "walk.mat"


def mat_of_hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "walk.mat", "w", userblock_size=512) as archive:
        archive["X"] = signal().T  # MATLAB holds the axes in reverse
        archive["fs"] = np.array([[RATE]])
    with (folder / "walk.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return folder / "walk.mat"


def wav(folder: Path) -> Path:
    import soundfile

    soundfile.write(folder / "walk.wav", signal(), int(RATE), subtype="DOUBLE")
    return folder / "walk.wav"


def edf(folder: Path, ending: str = "edf") -> Path:
    import pyedflib

    kind = pyedflib.FILETYPE_EDFPLUS if ending == "edf" else pyedflib.FILETYPE_BDFPLUS
    largest = 32767 if ending == "edf" else 8388607
    with pyedflib.EdfWriter(str(folder / f"walk.{ending}"), 2, file_type=kind) as writer:
        for place, name in enumerate("ab"):
            writer.setSignalHeader(place, {
                "label": name, "dimension": "g", "sample_frequency": 40, "physical_min": -1638.4,
                "physical_max": 1638.3, "digital_min": -largest - 1, "digital_max": largest,
                "transducer": "", "prefilter": "",
            })  # fmt: skip
        writer.writeSamples([np.ascontiguousarray(column) for column in signal().T])
    return folder / f"walk.{ending}"


def wfdb(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb as package

        package.wrsamp(
            "walk", fs=RATE, units=["g", "g"], sig_name=["a", "b"], p_signal=signal(), fmt=["32", "32"],
            write_dir=str(folder),
        )  # fmt: skip
    return folder / "walk.hea"


def nwb(folder: Path) -> Path:
    from datetime import datetime, timezone

    from pynwb import NWBHDF5IO, NWBFile, TimeSeries

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = NWBFile("walk", "walk", datetime(2024, 5, 31, tzinfo=timezone.utc))
        content.add_acquisition(TimeSeries(name="acc", data=signal(), unit="g", rate=RATE))
        with NWBHDF5IO(str(folder / "walk.nwb"), "w") as io:
            io.write(content)
    return folder / "walk.nwb"


def netcdf(folder: Path, engine: str = "h5netcdf") -> Path:
    import xarray

    data = xarray.DataArray(signal(), {"time": times(), "axis": ["a", "b"]}, ("time", "axis"), "acc", {"units": "g"})
    data.to_dataset().to_netcdf(folder / "walk.nc", engine=engine)
    return folder / "walk.nc"


def npy(folder: Path) -> Path:
    np.save(folder / "walk.npy", signal())
    return folder / "walk.npy"


def feather(folder: Path) -> Path:
    frame().to_feather(folder / "walk.feather")
    return folder / "walk.feather"


def parquet(folder: Path) -> Path:
    dated(stamps("%Y-%m-%d %H:%M:%S.%f")).astype({"time": "datetime64[ns]"}).to_parquet(folder / "walk.parquet")
    return folder / "walk.parquet"


def with_a_bad_file(folder: Path) -> list[Path]:
    (folder / "walk.csv").write_text(text(frame()))
    (folder / "broken.csv").write_text(text(frame()).replace(LABELS[0], '"rest', 1))
    return [folder / "walk.csv", folder / "broken.csv"]


def grouped() -> str:
    """Every number with a comma has exactly three digits behind it."""
    a, b = np.arange(FRAMES) + 1000, np.arange(FRAMES) % 7
    return "a;b\n" + "".join(f"{x // 1000},{x % 1000:03d};{y}\n" for x, y in zip(a, b, strict=True))


def lines(*before: str, table: str | None = None) -> str:
    return "\n".join([*before, table if table is not None else text(frame())])


def bare(separator: str) -> str:
    """Times and channels, without header and labels."""
    return io.StringIO(text(frame().drop(columns="label"), separator)).read().partition("\n")[2]


COMMENTED = ["# Device: logger 3", "# Rate: 50 Hz", ""]
UNITS = "\n".join(["time,a,b,label", "s,g,m/s^2,-", *text(frame()).splitlines()[1:], ""])
SECONDS = [second for second in range(4) for _ in range(10)]
MS = (times() * 1000).round().astype(int)

MESSY: dict[str, Messy] = {
    "plain": Messy(file("walk.csv", text(frame()))),
    "German spreadsheet": Messy(file("walk.csv", text(renamed(time="Zeit", a="Höhe", b="Größe"), ";", ","), "cp1252")),
    "semicolons": Messy(file("walk.csv", text(frame(), ";"))),
    "tabs in a text file": Messy(file("walk.txt", text(frame(), "\t"))),
    "bars": Messy(file("walk.csv", text(frame(), "|"))),
    "columns of white space": Messy(
        file("walk.txt", frame().drop(columns="label").to_string(index=False)), labelled=False
    ),
    "decimal commas in quotes": Messy(file("walk.csv", text(frame(), ",", ","))),
    "decimal commas and points for thousands": Messy(
        file("walk.csv", lambda: text(frame(), ";", ",").replace("1234,5", "1.234,5"))
    ),
    "commas for thousands": Messy(file("walk.csv", lambda: text(frame()).replace("1234.5", '"1,234.5"'))),
    "commas with two readings": Messy(file("walk.csv", grouped()), ("--decimal", ","), rejected=True),
    "UTF-8 with a mark": Messy(file("walk.csv", text(frame()), "utf-8-sig")),
    "UTF-16": Messy(file("walk.csv", text(frame(), "\t").replace("\t", ","), "utf-16")),
    "UTF-16 without a mark": Messy(file("walk.csv", text(frame()), "utf-16-le")),
    "lines of Windows": Messy(file("walk.csv", text(frame()).replace("\n", "\r\n"))),
    "lines of old Macs": Messy(file("walk.csv", text(frame()).replace("\n", "\r"))),
    "comments before the header": Messy(file("walk.csv", lines(*COMMENTED))),
    "header in a comment": Messy(file("walk.csv", lambda: "# time,a,b,label\n" + text(frame()).partition("\n")[2])),
    "lines of a device before the header": Messy(file("walk.csv", lines("Device: logger 3", "Rate: 50 Hz", ""))),
    "row of units": Messy(file("walk.csv", UNITS)),
    "units in the header": Messy(file("walk.csv", text(renamed(time="Time (s)", a="acc x [g]", b="acc y [g]")))),
    "names in quotes": Messy(
        file("walk.csv", lambda: text(frame()).replace("time,a,b,label", '"time", "a", "b", "label"'))
    ),
    "names with blanks and capitals": Messy(file("walk.csv", lambda: text(renamed(time=" TIME", label="Label ")))),
    "separators at the ends": Messy(file("walk.csv", lambda: text(frame()).replace("\n", ",\n"))),
    "separators at the ends of rows only": Messy(
        file("walk.csv", lambda: text(frame()).replace("\n", ",\n").replace("label,\n", "label\n", 1))
    ),
    "empty lines": Messy(file("walk.csv", lambda: text(frame()).replace("walk\n", "walk\n\n", 3) + "\n\n")),
    "row numbers of pandas": Messy(file("walk.csv", lambda: frame().to_csv())),
    "a name twice": Messy(file("walk.csv", lambda: text(renamed(b="a")))),
    "no header": Messy(file("walk.csv", bare(",")), labelled=False, timed=False),
    "words, an empty column and a counter": Messy(
        file("walk.csv", text(with_column("note", "ok").assign(nothing="", index=range(FRAMES))))
    ),
    "ISO times with a zone": Messy(
        file("walk.csv", text(dated([s + "+02:00" for s in stamps("%Y-%m-%dT%H:%M:%S.%f")])))
    ),
    "dates with points": Messy(file("walk.csv", text(dated(stamps("%d.%m.%Y %H:%M:%S.%f"), "Zeitstempel"), ";"))),
    "dates that a day beyond 12 explains": Messy(file("walk.csv", text(dated(stamps("%d/%m/%Y %H:%M:%S.%f"))))),
    "dates with two readings": Messy(
        file("walk.csv", text(dated(stamps("%d/%m/%Y %H:%M:%S.%f", "2024-06-05 10:00:00")))),
        ("--dates", "dmy"), rejected=True,
    ),
    "AM and PM": Messy(
        file("walk.csv", text(dated([s + " PM" for s in stamps("%m/%d/%Y %I:%M:%S.%f", "2024-05-31 12:59:59.5")])))
    ),
    "months by name": Messy(file("walk.csv", text(dated(stamps("%d-%b-%Y %H:%M:%S.%f"))))),
    "times of day past midnight": Messy(
        file("walk.csv", text(dated(stamps("%H:%M:%S.%f", "2024-05-31 23:59:59.5"))))
    ),
    "date and time in two columns": Messy(
        file("walk.csv", text(with_column("Date", "31.05.2024").assign(time=stamps("%H:%M:%S.%f"))))
    ),
    "milliseconds of an epoch": Messy(file("walk.csv", text(frame().assign(time=1_717_149_600_000 + MS)))),
    "seconds that repeat": Messy(
        file("walk.csv", text(frame().assign(time=SECONDS))), ("--time", "", "--sampling-rate", "10"), rejected=True
    ),
    "a word among numbers": Messy(
        file("walk.csv", lambda: text(with_column("c", ["1.5"] * 9 + ["overload"] + ["1"] * 30))),
        ("--channels", "a,b"), rejected=True,
    ),
    "signs for missing values": Messy(
        file("walk.csv", lambda: text(with_column("c", ["-", "n/a", "1"] + [""] * 37, 3)))
    ),
    "labels that are not called so": Messy(file("walk.csv", text(renamed(label="activity"))), ("--label", "activity")),
    "compressed": Messy(gz),
    "workbook": Messy(excel),
    "feather": Messy(feather),
    "parquet": Messy(parquet),
    "parquet in parts": Messy(dataset),
    "npy": Messy(npy, labelled=False, timed=False),
    "npz": Messy(npz),
    "MATLAB": Messy(mat, labelled=False),
    "MATLAB 7.3": Messy(mat_of_hdf5, labelled=False),
    "sound": Messy(wav, labelled=False),
    "EDF": Messy(edf, labelled=False),
    "BDF": Messy(lambda folder: edf(folder, "bdf"), labelled=False),
    "WFDB": Messy(wfdb, labelled=False),
    "NWB": Messy(nwb, labelled=False),
    "NetCDF": Messy(netcdf, labelled=False),
    "NetCDF 3": Messy(lambda folder: netcdf(folder, "scipy"), labelled=False),
}  # fmt: skip
