"""LinearChain: the contract of structures, decoding in the user's sense, and long recordings."""

from __future__ import annotations

from typing import Any

from contract import StructureContract
from oracle import Enumeration, chain
from strategies import Case, chain_case, chains

from segcrf import LinearChain


class TestLinearChain(StructureContract):
    cases = chains()

    def example(self) -> Case:
        case = chain_case(seed=3, lengths=(4, 3), num_frames=5, num_classes=3)
        transitions = case.potentials["transitions"].clone()
        transitions[0, 1] = -float("inf")
        return case.having(transitions=transitions)

    def make(self, case: Case, backend: str, **options: Any) -> LinearChain:
        return LinearChain(**case.potentials, lengths=case.lengths, backend=backend, **case.options, **options)

    def enumerate(self, case: Case) -> list[Enumeration]:
        shared = [case.potentials[name].numpy() for name in ("transitions", "start", "end")]
        return [
            chain(case.emissions[b, :length].detach().numpy(), *shared) for b, length in enumerate(case.lengths.tolist())
        ]
