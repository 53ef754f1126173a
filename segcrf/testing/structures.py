"""The contract of every structure: each query against enumeration, and what may not change an answer.

A test class subclasses :class:`StructureContract` and supplies ``cases`` (a Hypothesis strategy), ``example`` (one
fixed case) and ``make``. Every test runs on every backend.
"""

from __future__ import annotations

from segcrf.testing.enumeration_contract import EnumerationContract
from segcrf.testing.invariance_contract import InvarianceContract

__all__ = ["StructureContract"]


class StructureContract(EnumerationContract, InvarianceContract):
    """What a distribution over label sequences owes its user."""
