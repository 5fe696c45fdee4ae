"""Every standard operator at every version from 7 on, by the reference engine and by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from onnx import defs

from tests.ops.standard.sweep import (
    containers,
    elementwise,
    images,
    indexing,
    left_out,
    movement,
    normalization,
    products,
    quantization,
    reductions,
    resizing,
    windows,
)
from tests.ops.standard.sweep.case import NEWEST, OLDEST, Case
from tests.ops.standard.sweep.comparing import difference
from tests.ops.standard.sweep.running import by_folding, by_inference, by_onnx_runtime, by_reference

_FAMILIES = (
    containers,
    elementwise,
    images,
    indexing,
    movement,
    normalization,
    products,
    quantization,
    reductions,
    resizing,
    windows,
)
_CASES: dict[str, list[Case]] = {}
for _family in _FAMILIES:
    for _case in _family.CASES:
        _CASES.setdefault(_case.op_type, []).append(_case)


def _versions() -> dict[str, list[int]]:
    """The opsets from 7 on at which each operator means, or may mean, something else; and the newest that has it."""
    versions: dict[str, set[int]] = {}
    gone: dict[str, int] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions.setdefault(schema.name, set()).add(max(schema.since_version, OLDEST))
    for name, found in versions.items():
        if defs.get_schema(name).deprecated:
            gone[name] = defs.get_schema(name).since_version
            found.remove(gone[name])
        found.add(gone.get(name, NEWEST + 1) - 1)
    return {name: sorted(found) for name, found in versions.items()}


_VERSIONS = _versions()


def _at(name: str, opset: int) -> list[Case]:
    return [c for c in _CASES[name] if c.since <= opset <= c.until]


_RUNS = [(name, opset) for name in sorted(_CASES) for opset in _VERSIONS[name] if _at(name, opset)]


@pytest.mark.parametrize(("name", "opset"), _RUNS)
def test_an_operator_computes_what_onnx_runtime_does(name: str, opset: int) -> None:
    cases = _at(name, opset)
    ours = by_reference(cases, opset)
    theirs = by_onnx_runtime(cases, min(opset, left_out.NEWEST_KERNEL.get(name, opset)))
    wrong = [
        f"{case}: {text}"
        for case, mine, expected in zip(cases, ours, theirs, strict=True)
        for text in (difference(a, b, case.tolerance) for a, b in zip(mine, expected, strict=True))
        if text
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "opset"), _RUNS)
def test_the_inferred_shapes_are_those_of_the_results(name: str, opset: int) -> None:
    cases = _at(name, opset)
    wrong = [
        f"{case}: {shape} inferred, {result.shape} computed"
        for case, shapes, results in zip(cases, by_inference(cases, opset), by_reference(cases, opset), strict=True)
        for shape, result in zip(shapes, results, strict=True)
        if shape is not None and isinstance(result, np.ndarray) and not _is_of_shape(result, shape)
    ]
    assert not wrong, "\n".join(wrong)


def _is_of_shape(result: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    return len(shape) == result.ndim and all(d in (None, n) for d, n in zip(shape, result.shape, strict=True))


@pytest.mark.parametrize("name", sorted(_CASES))
def test_constant_folding_computes_the_same(name: str) -> None:
    for opset in (_VERSIONS[name][0], _VERSIONS[name][-1]):
        cases = [c for c in _at(name, opset) if not c.unnamed and _is_numeric(c.inputs)]
        expected = by_reference(cases, opset)
        cases = [c for c, results in zip(cases, expected, strict=True) if _is_numeric(results)]
        for folded, wanted in zip(by_folding(cases, opset), by_reference(cases, opset), strict=True):
            for a, b in zip(folded, wanted, strict=True):
                assert not difference(a, b, 0)


def _is_numeric(values: Iterable[object]) -> bool:
    return all(x is None or (isinstance(x, np.ndarray) and x.dtype.kind not in "OU") for x in values)


def test_every_operator_has_cases_or_a_reason() -> None:
    assert _VERSIONS.keys() - left_out.OPERATORS.keys() == _CASES.keys()


def test_every_version_has_cases_or_a_reason() -> None:
    every = {(name, opset) for name in _CASES for opset in _VERSIONS[name]}
    assert every - set(_RUNS) == left_out.VERSIONS.keys()
