"""The contract of every format of bands: what is written is read, to the resolution of the format.

A test class subclasses :class:`FormatContract` and supplies ``ending``, ``write`` and ``read``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from segcrf import UNLABELLED, InputError, Segments
from segcrf.testing.errors import rejects

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FormatContract"]

#: Names that a careless reader or writer changes: it splits them, drops zeros, or takes a word for a missing value.
HARD_NAMES = (
    *("a,b", "a;b", "a\tb", 'say "a"', "it's", "a\nb", "a\r\nb", "a\\nb", "two words", "two  spaces"),
    *("007", "7", "00", "nan", "NaN", "NA", "None", "null", "inf", "true", "1e5", "1_000", "2024-01-01"),
    *("#a", "=1+1", "-", "<a>", "&amp;", "{a}", "%s", "naïve", "рука", "手", "🚶", "e\u0301", "\ufeffa"),
)
COLUMNS = ["recording", "start", "end", "label"]
SAMPLING_RATES = (1.0, 30.0, 250.0, 100 / 3)

Labels = Sequence[Sequence[int]]


@st.composite
def names(draw: st.DrawFn, count: int) -> list[str]:
    """Draw different names of classes or recordings, without white space around them, which formats may strip.

    A number that is not written in digits alone, such as "-1" or "2.0", is left out: where labels are numbers of
    classes, tables write them so.
    """
    free = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
        lambda name: name == name.strip() and name.isprintable() and (name.isdecimal() or not _is_number(name))
    )
    return draw(st.lists(st.one_of(st.sampled_from(HARD_NAMES), free), min_size=count, max_size=count, unique=True))


class FormatContract:
    """What a format of bands owes its user. Times are in seconds, and bands are half-open."""

    #: Ending of the file's name, such as ``".csv"``.
    ending: str
    #: Largest change of a time by writing and reading it, in seconds; 0: none.
    resolution: float = 0.0
    #: Characters that a name cannot hold in this format. ``write`` raises :class:`~segcrf.InputError` for each of them.
    unwritable: str = ""
    #: Characters that a name of a recording cannot hold beside these.
    unwritable_recordings: str = ""
    #: Most recordings in one file. Where it is 1, a recording has the name of its file.
    most_recordings: int = 3

    def write(self, bands: pd.DataFrame, file: Path) -> None:
        """Write a table with the columns recording, start, end, label and perhaps confidence; replace the file."""
        raise NotImplementedError

    def read(self, file: Path) -> pd.DataFrame:
        """Return the table of a file: recording, start, end and label at least."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ what comes back
    @given(data=st.data())
    def test_bands_come_back(self, data: st.DataObject) -> None:
        labels = data.draw(_labels(self.most_recordings))
        classes = data.draw(names(3))
        recordings = data.draw(names(len(labels))) if self.most_recordings > 1 else ["one"]
        rate = data.draw(st.sampled_from(SAMPLING_RATES))
        bands = Segments.from_labels(labels).to_table(classes=classes, recordings=recordings, sampling_rate=rate)
        self._check(bands)

    @given(data=st.data())
    def test_labels_of_frames_come_back(self, data: st.DataObject) -> None:
        self._check_frames(data.draw(_labels(self.most_recordings)))

    def test_unlabelled_frames_stay_unlabelled(self) -> None:
        none = UNLABELLED
        labels = [[none, none, 1, 1, none, 1, 0, none], [2], [none]]
        self._check_frames(labels[: self.most_recordings])

    @pytest.mark.parametrize("name", HARD_NAMES)
    def test_a_name_of_a_class_comes_back_or_is_rejected(self, name: str) -> None:
        self._check(self._one_second([name, "rest"]))
        self._check(self._one_second([name]))

    @pytest.mark.parametrize("name", HARD_NAMES)
    def test_a_name_of_a_recording_comes_back_or_is_rejected(self, name: str) -> None:
        if self.most_recordings > 1:
            bands = Segments.from_labels([[0], [0]]).to_table(classes=["a"], recordings=[name, "other"])
            self._check(bands)

    def test_bands_of_one_class_that_touch_stay_apart(self) -> None:
        starts = [[True, False, True, False]]
        self._check(Segments.from_labels([[0, 0, 0, 0]], starts).to_table(classes=["a"], recordings=["one"]))

    def test_times_keep_their_digits_in_a_long_recording(self) -> None:
        bands = self._one_second(["a", "b"])
        for start in (0.1 + 0.2, 1 / 3, 1e5 + 1 / 3):
            self._check(bands.assign(start=bands["start"] + start, end=bands["end"] + start))

    def test_no_bands_are_no_error(self) -> None:
        self._check(self._one_second(["a"]).iloc[:0])

    # -------------------------------------------------------------------------------------------------------- writing
    def test_a_file_is_replaced(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"one{self.ending}"
            self.write(self._one_second(["a", "b", "c"]), file)
            self.write(self._one_second(["d"]), file)
            assert list(self.read(file)["label"]) == ["d"]
            assert list(Path(folder).iterdir()) == [file]

    def test_writing_leaves_the_table_as_it_is(self) -> None:
        bands = self._one_second(["a", "b"])
        before = bands.copy()
        self._again(bands)
        assert bands.equals(before)

    def test_a_confidence_disturbs_nothing(self) -> None:
        bands = self._one_second(["a", "b"])
        self._compare(self._again(bands.assign(confidence=[0.5, 1.0])), bands)

    # -------------------------------------------------------------------------------------------------- damaged files
    def test_a_file_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="missing"):
            self.read(tmp_path / f"missing{self.ending}")

    @pytest.mark.parametrize("content", [b"\x00" * 100, b"\xff\xfe\xfd\xfc", b"<" * 1000, b'"'])
    def test_a_file_of_something_else_is_rejected(self, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / f"one{self.ending}"
        file.write_bytes(content)
        with rejects():
            self.read(file)

    @pytest.mark.parametrize("seed", range(4))
    def test_a_damaged_file_is_a_table_or_an_input_error(self, seed: int, tmp_path: Path) -> None:
        """Cut a file, change its bytes and repeat parts of it: no other error comes out."""
        self._damage(50, seed, tmp_path)

    @pytest.mark.slow
    def test_many_damaged_files_are_tables_or_input_errors(self, tmp_path: Path) -> None:
        self._damage(5000, 4, tmp_path)

    # --------------------------------------------------------------------------------------------------------- helpers
    def _damage(self, times: int, seed: int, folder: Path) -> None:
        """Read so many damaged files."""
        file, random = folder / f"one{self.ending}", np.random.default_rng(seed)
        quoted = "".join(letter for letter in 'say "b"' if letter not in self.unwritable)
        self.write(self._one_second(["a", quoted, "c"]), file)
        whole = file.read_bytes()
        for _ in range(times):
            file.write_bytes(_damaged(whole, random))
            try:
                found = set(self.read(file).columns)
            except InputError:
                found = set(COLUMNS)
            assert found >= set(COLUMNS)

    def _one_second(self, classes: Sequence[str]) -> pd.DataFrame:
        """Return bands of one second each, one per class, in a recording called one."""
        labels = np.arange(len(classes))
        return Segments.from_labels([labels]).to_table(classes=classes, recordings=["one"], sampling_rate=1.0)

    def _again(self, bands: pd.DataFrame) -> pd.DataFrame:
        """Write bands and read them."""
        with tempfile.TemporaryDirectory() as folder:
            stem = "bands" if self.most_recordings > 1 or not len(bands) else bands["recording"].iloc[0]
            file = Path(folder) / f"{stem}{self.ending}"
            self.write(bands, file)
            return self.read(file)

    def _check(self, bands: pd.DataFrame) -> None:
        """Write bands and read them; where a name holds an unwritable character, expect an error instead."""
        recordings = "".join(bands["recording"])
        written = set("".join([*bands["label"], recordings]))
        if written & set(self.unwritable) or set(recordings) & set(self.unwritable_recordings):
            with rejects():
                self._again(bands)
            return
        self._compare(self._again(bands), bands)

    def _check_frames(self, labels: Labels) -> None:
        """Compare labels with those that come back as a table in seconds: this needs the unit and half-open ends."""
        rate = min(SAMPLING_RATES[2], 0.25 / self.resolution if self.resolution else np.inf)
        recordings = ["one", "two", "three"][: len(labels)]
        known: dict[str, Any] = {"classes": ["a", "b", "c"], "recordings": recordings, "sampling_rate": rate}
        found = Segments.from_table(self._again(Segments.from_labels(labels).to_table(**known))[COLUMNS], **known)
        for got, expected in zip(found.to_labels([len(own) for own in labels]), labels, strict=True):
            assert got.tolist() == list(expected)

    def _compare(self, found: pd.DataFrame, bands: pd.DataFrame) -> None:
        for column in ("recording", "label"):
            assert [*found[column]] == [*bands[column]], column
        for column in ("start", "end"):
            got, expected = (np.asarray(table[column], dtype=np.float64) for table in (found, bands))
            np.testing.assert_allclose(got, expected, rtol=0.0, atol=self.resolution, err_msg=column)


@st.composite
def _labels(draw: st.DrawFn, most_recordings: int) -> list[list[int]]:
    """Draw labels of up to three classes, with unlabelled frames, for some recordings."""
    own = st.lists(st.sampled_from([UNLABELLED, 0, 1, 2]), min_size=1, max_size=12)
    return draw(st.lists(own, min_size=1, max_size=most_recordings))


def _is_number(name: str) -> bool:
    """Return whether Python reads a word as a number."""
    try:
        float(name)
    except ValueError:
        return False
    return True


def _damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with one to three damages: cut off, overwritten, repeated or removed."""
    damaged = bytearray(content)
    for _ in range(random.integers(1, 4)):
        first, last = sorted(random.integers(0, len(damaged) + 1, 2).tolist())
        kind = random.integers(4)
        if kind == 0:
            del damaged[last:]
        elif kind == 1:
            damaged[first : first + 4] = random.bytes(len(damaged[first : first + 4]))
        elif kind == 2:
            damaged[last:last] = damaged[first:last]
        else:
            del damaged[first:last]
    return bytes(damaged)
