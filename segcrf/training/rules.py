"""Decoding rules: those that validation recordings choose among, and the one that holds without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segcrf._validation import InputTypeError, check_choice
from segcrf.nn import DecodingRule

__all__ = ["DECODINGS", "OPTIMIZED", "candidate_rules", "check_decoding", "default_rule"]

#: What ``decoding=`` may be by name, with the values of ``by_frame`` that it allows.
DECODINGS = {"auto": (False, True), "sequence": (False,), "frame": (True,)}
#: What ``optimize=`` may be, with the scores of validation recordings that are averaged and maximised.
OPTIMIZED = {
    "bands": ("accuracy", "edit", "f1"),
    "f1@50": ("f1",),
    "edit": ("edit",),
    "accuracy": ("accuracy",),
    "boundary": ("boundary",),
}
# Factors by which decoding may weigh the signal beyond the weight that the likelihood found best.
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# What a model without validation recordings decodes by. Measured on validation recordings (benchmarks.rules): by frame
# with this factor is the best single rule over all data sets, 2 points of F1@50 ahead of the most probable sequence.
USUAL_FACTOR = 1.0


def candidate_rules(
    decoding: str | DecodingRule | Mapping[str, Any], max_delay: int | None = None, optimize: str = "bands"
) -> tuple[DecodingRule, ...]:
    """Return the rules that validation recordings choose among, the default rule first.

    Args:
        decoding: as of :class:`segcrf.Segmenter`; a rule is the only candidate.
        max_delay: likewise. Under a delay ``"auto"`` leaves the rules by frame: their answer is exact, and exports run
            it too, while a sequence that is decided early commits to a part of the labellings.
        optimize: likewise. For ``"accuracy"``, ``"auto"`` also leaves the rules by frame: the most probable class of
            each frame has the least expected number of wrong frames. For the other scores the labelling of least
            expected error is not known in closed form, so validation recordings choose.

    Example:
        >>> len(candidate_rules("auto")), len(candidate_rules("frame")), len(candidate_rules(DecodingRule(3.0)))
        (12, 6, 1)
    """
    if isinstance(decoding, str):
        ways = DECODINGS[decoding]
        if decoding == "auto" and (max_delay is not None or optimize == "accuracy"):
            ways = DECODINGS["frame"]
        rules = [DecodingRule(factor, by_frame, max_delay) for factor in FACTORS for by_frame in ways]
        return tuple(sorted(rules, key=lambda rule: rule != default_rule(decoding, max_delay)))
    return (default_rule(decoding, max_delay),)


def default_rule(decoding: str | DecodingRule | Mapping[str, Any], max_delay: int | None = None) -> DecodingRule:
    """Return the rule of a model that has no validation recordings to choose one.

    Args:
        decoding: as of :class:`segcrf.Segmenter`.
        max_delay: likewise; a rule with a delay of its own keeps it.

    Example:
        >>> default_rule("auto")
        DecodingRule(factor=1.0, by_frame=True, max_delay=None)
    """
    if isinstance(decoding, str):
        return DecodingRule(USUAL_FACTOR, DECODINGS[decoding][-1], max_delay)
    rule = decoding if isinstance(decoding, DecodingRule) else DecodingRule(**decoding)
    return rule if rule.max_delay is not None else replace(rule, max_delay=max_delay)


def check_decoding(value: Any, name: str) -> None:
    """Raise for what is neither a name, nor a decoding rule or its fields.

    Raises:
        InputError: an unknown name, or a field out of range.
        InputTypeError: something else.
    """
    if isinstance(value, str):
        check_choice(value, name, tuple(DECODINGS))
        return
    if isinstance(value, Mapping):
        unknown = [field for field in value if field not in DecodingRule.__dataclass_fields__]  # pyright: ignore[reportUnknownVariableType]
        if not unknown:
            DecodingRule(**value)
            return
    if not isinstance(value, DecodingRule):
        expected = f"one of {', '.join(map(repr, DECODINGS))}, or a segcrf.nn.DecodingRule"
        raise InputTypeError(name, repr(value), expected, "give DecodingRule(factor=..., by_frame=...)")
