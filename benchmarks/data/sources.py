"""List the sources of the labelled recordings: addresses, licences, authors and checksums.

``checksums/<name>.txt`` has a line for each file of a data set: SHA-256, bytes, path below :attr:`Source.url`. An
address on GitHub names a commit, so that its content is fixed; the checksums are of that commit. Those of PhysioNet's
``ludb`` agree with its own ``SHA256SUMS.txt``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import convert

CHECKSUMS = Path(__file__).parent / "checksums"


@dataclass(frozen=True)
class SourceFile:
    """File to download, with its checksum and size."""

    sha256: str
    size: int
    path: str


@dataclass(frozen=True)
class Source:
    """Origin of a data set.

    Args:
        name: name of the data set.
        contents: description in one line.
        url: base address of its files.
        licence: the licence as far as known, with its source.
        citation: the publication to cite.
        derived: parts that the conversion leaves out, changes or adds.
        meta: content of ``meta.json``.
        convert: reads the files below a folder and returns the arrays of ``tidy.npz``.
        digest: expected digest of the conversion, see :func:`benchmarks.data.convert.digest`.
    """

    name: str
    contents: str
    url: str
    licence: str
    citation: str
    derived: str
    meta: Mapping[str, Any]
    convert: Callable[[Path, Mapping[str, Any]], dict[str, convert.Array]]
    digest: str

    def files(self) -> tuple[SourceFile, ...]:
        """Return the files to download."""
        lines = (CHECKSUMS / f"{self.name}.txt").read_text(encoding="utf-8").splitlines()
        rows = (line.split(maxsplit=2) for line in lines)
        return tuple(SourceFile(sha256, int(size), path) for sha256, size, path in rows)


def _github(repository: str, commit: str) -> str:
    return f"https://raw.githubusercontent.com/{repository}/{commit}"


_SOURCES = (
    Source(
        name="gesture_phase",
        contents="Kinect coordinates of hands, wrists, head and spine of three people telling stories; gesture phases",
        url=_github("Fmelle/Gesture-Phase-Segmentation", "78dd0d6ce1050740faf3252d6af81a9714d1dbe1"),
        licence="CC BY 4.0 as listed by the UCI repository (not verified: the copy has no licence file)",
        citation="Madeo, Wagner, Peres, Gesture Phase Segmentation, UCI Machine Learning Repository, 2014",
        derived="The 32 velocities and accelerations are regression targets, NaN in the first frames, which lack them. "
        "A Portuguese spelling of Preparation is mapped to it.",
        meta={
            "classes": ["Rest", "Preparation", "Stroke", "Hold", "Retraction"],
            "channels_names": [f"{part}{axis}" for part in ("lh", "rh", "h", "s", "lw", "rw") for axis in "xyz"],
            "regression": [str(number) for number in range(1, 33)],
            "rate_hz": "about 25-30 (Kinect; raw files carry a timestamp)",
            "group": "letter = user, digit = story",
        },
        convert=convert.gesture_phase,
        digest="ff8a21950b42da3643261fcdbec883d55c691490445512d9ac4b13ab7437e5fa",
    ),
    Source(
        name="mocap6",
        contents="joint angles of two people doing exercises, 10 Hz; twelve exercises",
        url=_github("michaelchughes/mocap6dataset", "0fbfc4d2e13c55e30970aaebc73c90092679f4e1"),
        licence="BSD-2-Clause; motion capture from mocap.cs.cmu.edu",
        citation="Fox, Hughes, Sudderth, Jordan, Joint modeling of multiple time series via the beta process with "
        "application to motion capture segmentation, Annals of Applied Statistics 8(3), 2014",
        derived="Classes start at 0.",
        meta={
            "classes": [
                *("JumpJack", "Jog", "Squat", "KneeRaise", "ArmCircle", "Twist", "SideReach", "Box", "UpDown"),
                *("ToeTouchOneHand", "SideBend", "ToeTouchTwoHands"),
            ],
            "channels_names": [
                *("root.ty", "lowerback.rx", "lowerback.ry", "upperneck.ry", "rhumerus.rz", "rradius.rx"),
                *("lhumerus.rz", "lradius.rx", "rtibia.rx", "rfoot.rx", "ltibia.rx", "lfoot.rx"),
            ],
            "rate_hz": 10,
            "group": "first two digits of the id = subject",
        },
        convert=convert.mocap6,
        digest="509d41f6d45ac3fa88c96bb84d82e04b7dbb66b21292abcada34c07a3659c3b0",
    ),
    Source(
        name="eye_lookatpoint",
        contents="gaze of six people, EyeLink at 1 kHz; fixations, saccades, post-saccadic oscillations, blinks",
        url=_github("r-zemblys/irf", "65f12eae6e5a6878b75a869a85ce36f0fc9117ea"),
        licence="MIT",
        citation="Zemblys, Niehorster, Komogortsev, Holmqvist, Using machine learning to detect events in "
        "eye-tracking data, Behavior Research Methods 50(1), 2018",
        derived="Undefined events are unlabelled. Regression targets are velocities by a Savitzky-Golay filter (19 "
        "frames, order 2), NaN where gaze was lost. S3 has only rough labels of saccades and blinks.",
        meta={
            "classes": ["fixation", "saccade", "pso", "blink"],
            "channels_names": ["x_deg", "y_deg"],
            "regression": ["vx_deg_s", "vy_deg_s (derived)"],
            "rate_hz": 1000,
            "group": "one recording per participant; S3 has only rough saccade/blink labels (README of the source)",
        },
        convert=convert.eye_lookatpoint,
        digest="e76f010c11d1bfbc4906593488e870d73a3430f5c5e3374ce95a08234cc7da2f",
    ),
    Source(
        name="nilm_devicescope",
        contents="power of three houses and of four appliances each minute; the appliance that is on",
        url=_github("adrienpetralia/DeviceScope", "8952215536be236f1eeeb618cc75a341afbb4994"),
        licence="Apache-2.0 (the copy); CC BY 4.0 (REFIT; UK-DALE: not verified)",
        citation="Murray, Stankovic, Stankovic, An electrical load measurements dataset of United Kingdom households "
        "(REFIT), Scientific Data 4, 2017; Kelly, Knottenbelt, The UK-DALE dataset, Scientific Data 2, 2015",
        derived="The class is derived from the power of the appliances, not annotated by people: power of at least a "
        "threshold, short breaks filled, short runs dropped. House 2 of REFIT begins in March 2014, since meters "
        "are dead before.",
        meta={
            "classes": ["none", "Kettle", "Dishwasher", "WashingMachine", "Microwave", "several"],
            "channels_names": ["aggregate_W"],
            "regression": ["Kettle_W", "Dishwasher_W", "WashingMachine_W", "Microwave_W"],
            "states": "s/<id> = bool [T,4] on/off per appliance",
            "rate": "1 min, no gaps",
            "group": "house",
            "state_rule": {
                "threshold_W": {"Kettle": 1000, "Dishwasher": 10, "WashingMachine": 20, "Microwave": 200},
                "min_on_steps": {"Kettle": 1, "Dishwasher": 30, "WashingMachine": 30, "Microwave": 1},
                "fill_off_steps": {"Kettle": 0, "Dishwasher": 30, "WashingMachine": 5, "Microwave": 1},
            },
        },
        convert=convert.nilm_devicescope,
        digest="003fa4ad2ee1f8c5d3b90b5a8ba2e1b95335b0f607fadcfab5cae0f8e73be5da",
    ),
    Source(
        name="sleep_edf20",
        contents="band powers and similar features of two EEG channels per 30 s, 20 nights of ten people; sleep stages",
        url=_github("matteo-omizzolo/sleep-EDF", "a30daa3f95dce819b363077403753f740020a486"),
        licence="ODC-By 1.0 (Sleep-EDF Expanded 1.0.0, PhysioNet); MIT (the features)",
        citation="Kemp, Zwinderman, Tuk, Kamphuisen, Oberyé, Analysis of a sleep-dependent neuronal feedback loop, "
        "IEEE Transactions on Biomedical Engineering 47(9), 2000",
        derived="The first 18 of 72 features are kept: the others are differences and rolling statistics of these. "
        "Recordings are cut to half an hour of wake before and after sleep. The source drops epochs without a stage, "
        "so that a few neighbouring frames are more than 30 seconds apart.",
        meta={
            "classes": ["W", "N1", "N2", "N3", "REM"],
            "epoch_s": 30,
            "group": "characters 3-5 of the id = subject (10 subjects, 2 nights each)",
        },
        convert=convert.sleep_edf20,
        digest="6a4d650c0225af1b782efb962ebdf4da9894447335922266a8963c6f8c7d7ee9",
    ),
    Source(
        name="emg_gestures",
        contents="electromyogram of the forearm, eight electrodes at 200 Hz; gestures of the hand",
        url=_github("poxlox/sEMG_Gestures", "6e2b3ff3f9dad225cb7879439c59b6bfaac339cc"),
        licence="CC BY 4.0 as listed by the UCI repository (not verified: the copy has no licence file)",
        citation="Lobov, Krilova, Kastalskiy, Kazantsev, Makarov, Latent factors limiting the performance of "
        "sEMG-interfaces, Sensors 18(4):1122, 2018",
        derived="63 of the 72 files are kept, without those of 4 MiB and more. The kept ones have no extended palm. "
        "The source repeats values of the armband each millisecond; one per 5 ms is kept. Unmarked frames are "
        "unlabelled.",
        meta={
            "classes": [
                *("rest", "fist", "wrist flexion", "wrist extension", "radial deviation", "ulnar deviation"),
                "extended palm",
            ],
            "channels_names": [f"emg{number}" for number in range(8)],
            "rate_hz": 200,
            "unit": "1e-5 V, int8",
            "group": "first two digits = subject, last = series",
        },
        convert=convert.emg_gestures,
        digest="5dfbf8f94024db7805c68229268f82880cb29ef52a18dce5ddb34aff1e30dece",
    ),
    Source(
        name="ecg_ludb",
        contents="electrocardiograms of 200 people, ten seconds at 500 Hz; P wave, QRS complex, T wave",
        url="https://physionet.org/files/ludb/1.0.1",
        licence="ODC-By 1.0",
        citation="Kalyakulina et al., LUDB: A new open-access validation tool for electrocardiogram delineation "
        "algorithms, IEEE Access 8, 2020; Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, "
        "Circulation 101(23), 2000",
        derived="Leads II, V2 and V5 of twelve are kept, with the marks on lead II. Frames before the first and after "
        "the last marked wave are unlabelled, since the annotators skip the beats at the edges.",
        meta={
            "classes": ["none", "P", "QRS", "T"],
            "channels_names": ["ii", "v2", "v5"],
            "rate_hz": 500,
            "unit": "mV, float16",
            "group": "one 10-s record per person",
        },
        convert=convert.ecg_ludb,
        digest="de05d3f2280e1a6a4e01acae4a0dd26c4edd6a7387c96fbe492f777e0581b3c4",
    ),
)

#: The sources by name.
SOURCES: Mapping[str, Source] = {source.name: source for source in _SOURCES}
