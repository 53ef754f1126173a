"""The error of a table file: an input error that also carries the file and the row."""

from __future__ import annotations

from segcrf._validation import InputError

__all__ = ["TableError"]


class TableError(InputError):
    """A table that cannot be used. Its text is one sentence, made of its fields.

    Attributes:
        argument: what is wrong, such as ``"column 'ax'"``; ``""``: the file as a whole.
        got: what the table has, as a phrase.
        expected: what is accepted, as a phrase.
        advice: the next step, or ``""``.
        file: the path of the table.
        row: the row, counted as a spreadsheet counts: the header of a CSV file is row 1; or None.
        recording: name of the recording, or None.
        frame: index of the frame in its recording, or None; the text names the row instead if it is known.
        fixes: options of the command line that solve the problem, such as ``(("--dates", "dmy"),)``; several are
            alternatives.

    Example:
        >>> str(TableError("column 'ax'", "'two'", "a number", "correct the value", file="walk.csv", row=4))
        "walk.csv: row 4, column 'ax': got 'two', expected a number; correct the value"
    """

    def __init__(  # the fields of InputError, and two more
        self,
        argument: str,
        got: str,
        expected: str,
        advice: str = "",
        *,
        file: object = "table",
        row: int | None = None,
        recording: int | str | None = None,
        frame: int | None = None,
    ) -> None:
        super().__init__(argument, got, expected, advice, recording=recording, frame=frame)
        self.file, self.row = str(file), row
        self.fixes: tuple[tuple[str, ...], ...] = ()

    def fixed_by(self, *fixes: tuple[str, ...]) -> TableError:
        """Return the error itself, with options of the command line that solve the problem.

        Args:
            fixes: options with their values; several are alternatives.
        """
        self.fixes = fixes
        return self

    @property
    def place(self) -> str:
        """The file, recording, row or frame, and argument, as far as they are known."""
        recording = "" if self.recording is None else f"recording {self.recording!r}"
        frame = "" if self.frame is None else f"frame {self.frame}"
        row = frame if self.row is None else f"row {self.row}"
        inside = ", ".join(part for part in (recording, row, self.argument) if part)
        return f"{self.file}: {inside}" if inside else self.file
