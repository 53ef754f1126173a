"""All problems of all files in one report."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from segcrf._validation import InputError, InputTypeError
from segcrf.data.readers.errors import TableError

__all__ = ["Problems", "ReadingError"]

_SHOWN = 20


class ReadingError(TableError):
    """Several problems of tables. Its text has a line for each, the worst first.

    Attributes:
        problems: the errors, the worst first. The other fields are those of the first one.
    """

    def __init__(self, problems: Sequence[Exception]) -> None:
        self.problems = tuple(problems)
        first = next((each for each in problems if isinstance(each, TableError)), None)
        if first is None:
            super().__init__("", "unusable files", "tables of recordings")
        else:
            super().__init__(first.argument, first.got, first.expected, first.advice, file=first.file, row=first.row)
            self.recording, self.frame = first.recording, first.frame
        self.fixes = _fixes_of_all(problems)

    def __str__(self) -> str:
        shown = [f"  {number}. {each}" for number, each in enumerate(self.problems[:_SHOWN], start=1)]
        more = len(self.problems) - _SHOWN
        return "\n".join([f"{len(self.problems)} problems", *shown, *([f"  and {more} more"] if more > 0 else [])])


class Problems:
    """A list of problems that is raised as one error.

    Example:
        >>> problems = Problems()
        >>> with problems.kept():
        ...     raise TableError("column 'ax'", "'two'", "a number", file="walk.csv", row=4)
        >>> len(problems.found)
        1
    """

    def __init__(self) -> None:
        self.found: list[Exception] = []

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """Keep an error of the block, and go on behind it."""
        try:
            yield
        except ReadingError as error:
            self.found.extend(error.problems)
        except (InputError, InputTypeError, OSError, ImportError) as error:
            self.found.append(error)

    def raise_any(self) -> None:
        """Raise the problem, or all of them in one error.

        Raises:
            ReadingError: there is more than one problem.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ReadingError(sorted(self.found, key=_rank))


def _fixes_of_all(problems: Sequence[Exception]) -> tuple[tuple[str, ...], ...]:
    """Return the options that solve all problems together, or nothing if one has no such option."""
    merged: dict[str, str] = {}
    for problem in problems:
        fixes = problem.fixes if isinstance(problem, TableError) else ()
        if not fixes:
            return ()
        for option, value in zip(fixes[0][::2], fixes[0][1::2], strict=True):
            if option == "--channels" and option in merged:
                value = ",".join(name for name in merged[option].split(",") if name in value.split(","))
            merged[option] = value
    return () if "" in (merged.get("--channels"),) else (tuple(part for pair in merged.items() for part in pair),)


def _rank(error: Exception) -> int:
    """Return 0 for a file that cannot be read, 1 for a column or a header, 2 for a cell."""
    if not isinstance(error, TableError) or error.argument == "":
        return 0
    return 1 if error.row is None else 2
