"""Bodies on arrays that are long enough for the vectorised loops of the engine, whose ends differ from their middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anybit.ops.operator import Operator
from anybit.ops.registry import operators
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import FLOATS, MODES, near

PARAMETERS: dict[tuple[str, int], list[list[Any]]] = {
    ("Quant", 1): [[0.1, 0.0, 4], [0.25, 3.5, 8], [1.7, 0.0, 1], [3.0, 5.0, 32]],
    ("BipolarQuant", 1): [[0.3]],
    ("Trunc", 1): [[0.1, 0.0, 8, 4], [0.25, 3.0, 8, 6]],
    ("Trunc", 2): [[0.1, 0.0, 8, 0.8, 4], [0.25, 3.0, 8, 1.0, 26]],
    ("FloatQuant", 1): [[1.0, 4, 3, 7, 448.0], [0.3, 2, 1, 1, 6.0]],
    ("MultiThreshold", 1): [[[[-0.5, 0.0, 0.25, 2.5]]]],
}
CASES = [
    (operator, parameters)
    for operator in operators()
    for parameters in PARAMETERS.get((operator.name, operator.since), [])
]


@pytest.mark.parametrize("run", [run_body, run_expanded, run_folded])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("operator", "parameters"), CASES, ids=lambda v: getattr(v, "name", None))
def test_long_arrays(run: Any, dtype: Any, operator: Operator, parameters: list[Any]) -> None:
    rng = np.random.default_rng(0)
    scale = np.asarray(1.0 if operator.name == "MultiThreshold" else parameters[0], np.float64)
    x = near(rng, rng.integers(-40, 300, (3, 7, 211)), scale, np.zeros(()), dtype)
    inputs = [x, *(np.asarray(p).astype(dtype) for p in parameters)]
    has_mode = any(a.name == "rounding_mode" for a in operator.attributes)
    for mode in MODES if has_mode else [None]:
        attributes = {} if mode is None else {"rounding_mode": mode}
        assert_same(run(operator, inputs, attributes), operator.evaluate(inputs, attributes))


def test_every_built_in_operator_is_tried() -> None:
    assert {(o.name, o.since) for o, _ in CASES} == set(PARAMETERS)
