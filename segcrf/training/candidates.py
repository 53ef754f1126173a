"""Candidates: the encoders and structures that ``"auto"`` stands for, and which of them a race chose."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from segcrf._validation import InputError
from segcrf.data import Recording, write_atomically
from segcrf.losses import Combiner
from segcrf.training.parameters import BUDGETS, STRUCTURES, Parameters
from segcrf.training.recipe import Model, Objective, Recipe

__all__ = ["Candidate", "choose_candidate", "list_candidates"]

# The default first: where validation errors are level, the first one wins. A causal U-Net waits for the end of a coarse
# block, so it cannot run live.
_ENCODERS = ("lstm", "tcn", "unet")
_CAUSAL_ENCODERS = ("lstm", "tcn")
#: The file in the directory of a fit that keeps the result of its race.
RACE_FILE = "race.json"


class Candidate(NamedTuple):
    """An encoder with a structure.

    Attributes:
        encoder: name of the encoder.
        structure: name of the structured layer.
    """

    encoder: str
    structure: str

    def __str__(self) -> str:
        return f"{self.encoder} + {self.structure}"


def list_candidates(parameters: Parameters) -> list[Candidate]:
    """Return what the parameters leave open: one candidate where neither encoder nor structure is ``"auto"``.

    Args:
        parameters: checked parameters of a Segmenter.

    Example:
        >>> [str(each) for each in list_candidates(Parameters(encoder="tcn", structure="auto"))]
        ['tcn + linear-chain', 'tcn + semi-markov']
    """
    encoders = (parameters.encoder if isinstance(parameters.encoder, str) else "custom",)
    if encoders == ("auto",):
        encoders = _ENCODERS if parameters.bidirectional else _CAUSAL_ENCODERS
    structures = STRUCTURES if parameters.structure == "auto" else (parameters.structure,)
    return [Candidate(encoder, structure) for structure in structures for encoder in encoders]


def choose_candidate(
    entrants: Mapping[Candidate, Callable[[], tuple[Model, Objective, Combiner]]],
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    *,
    budget: str,
    resume: bool,
) -> tuple[Candidate, str]:
    """Return the candidate that wins a race, and a note with the errors of each round.

    The result is kept in the directory of the fit, so that a resumed fit need not run the race again.

    Args:
        entrants: for each candidate what returns a new model, objective and combiner.
        recipe: how to train later.
        recordings: those for training, and those for validation.
        budget: name of a budget.
        resume: take the result from the directory if it is of the same fit.

    Raises:
        InputError: there are no validation recordings; or all trainings failed.
    """
    from segcrf.training.selection import race

    if not recordings[1]:
        got, expected = "'auto' without validation recordings", "validation recordings to choose by"
        advice = "give some, or a validation_fraction above 0, or name an encoder and a structure"
        raise InputError("encoder", got, expected, advice)
    path = None if recipe.directory is None else Path(recipe.directory) / RACE_FILE
    same = json.loads(json.dumps(recipe.fingerprint))
    kept = _read(path) if resume and path is not None else {}
    if kept.get("fingerprint") == same and {"candidate", "note"} <= {*kept}:
        return Candidate(*kept["candidate"]), kept["note"]
    steps = BUDGETS[budget]
    silent = replace(recipe, directory=None, progress=False)
    winner, rounds = race(entrants, silent, recordings, steps=steps)
    texts = [
        f"{steps * 2**number} steps: " + ", ".join(f"{error:.3f} {name}" for name, error in errors.items())
        for number, errors in enumerate(rounds)
    ]
    note = f"'auto' is {winner}, by validation errors of short trainings ({'; '.join(texts)})"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            text = json.dumps({"fingerprint": same, "candidate": list(winner), "note": note}, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
    return winner, note


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing if it is missing or damaged."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
