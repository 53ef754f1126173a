"""How tests expect an input error: by its fields, not by its prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from segcrf._validation import InputError, InputTypeError

__all__ = ["rejects"]


@contextmanager
def rejects(
    argument: str | None = None,
    *,
    got: str | None = None,
    expected: str | None = None,
    advice: str | None = None,
    recording: int | str | None = None,
    frame: int | None = None,
    kind: type[InputError] | type[InputTypeError] = InputError,
) -> Iterator[None]:
    """Expect an error of ``kind`` with these fields; text fields are regular expressions to search for."""
    with pytest.raises(kind) as raised:
        yield
    error = raised.value
    for name, pattern in {"argument": argument, "got": got, "expected": expected, "advice": advice}.items():
        found = getattr(error, name)
        assert pattern is None or re.search(pattern, found), f"{name}: {found!r} does not match {pattern!r}: {error}"
    assert recording is None or error.recording == recording, f"recording {error.recording!r}: {error}"
    assert frame is None or error.frame == frame, f"frame {error.frame!r}: {error}"
