from collections.abc import Sequence
from typing import Any, Self

version: str

def isa() -> str: ...
def isas() -> tuple[str, ...]: ...
def departing() -> tuple[str, ...]: ...

class Net:
    def __new__(
        cls,
        tensors: Sequence[Sequence[int]],
        steps: Sequence[tuple[int, Sequence[int], Sequence[Any]]],
        inputs: Sequence[tuple[str, int, Sequence[int]]],
        outputs: Sequence[tuple[str, int, Sequence[int]]],
        arena: int,
        empty: Any,
        float32: Any,
        isa: str,
        threads: int,
    ) -> Self: ...
    def run(self, feeds: Any) -> Any: ...
    def times(self, feeds: Any) -> tuple[int, ...] | None: ...
