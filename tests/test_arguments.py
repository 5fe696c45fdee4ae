"""Arguments of public functions: whatever is no argument is a UsageError, for every function and every parameter."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anybit
from anybit.arguments import checked
from anybit.errors import LimitError, UsageError
from tests.models import mlp
from tests.public import public_functions

WRONG = (None, 3, object(), "nonsense", [], {}, -1.5, (1,), b"x", [None], {1: 2})
MODEL = mlp().SerializeToString()


PUBLIC = public_functions()
RIGHT: Mapping[str, Any] = {
    "model": MODEL, "source": MODEL, "first": MODEL, "second": MODEL, "a": MODEL, "b": MODEL, "replacement": MODEL,
    "to": "qcdq", "text": "INT4", "passes": ["sort-nodes"], "outputs": ["h"], "data": np.zeros((1, 6), np.float32),
    "tensor": "x", "axes": ["N", "C"], "number_format": "INT4", "sparsity": {"zeros": 1},
}  # fmt: skip


def _arguments(function: Callable[..., Any], folder: Path) -> dict[str, Any]:
    """What the function needs at least."""
    needed = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    by_place = {"path": folder / "m.onnx", "inputs": {"x": np.zeros((1, 6), np.float32)}, "operator": None}
    if "outputs" in needed:
        by_place["inputs"] = ["x"]
    return {name: RIGHT.get(name, by_place.get(name)) for name in needed}


@pytest.mark.parametrize(
    ("name", "parameter"), [(n, p) for n, f in sorted(PUBLIC.items()) for p in inspect.signature(f).parameters]
)
def test_what_is_no_argument_is_a_usage_error(name, parameter, tmp_path):
    function = PUBLIC[name]
    for wrong in WRONG:
        arguments = _arguments(function, tmp_path) | {parameter: wrong}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                function(**arguments)
            except anybit.AnybitError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_function_looks_at_its_arguments(name):
    function = PUBLIC[name]
    if not inspect.signature(function).parameters:
        return
    with pytest.raises(UsageError, match=name.rpartition(".")[2]):
        function(nothing_of_this_name=1)


@checked
def called(
    number: int,
    *,
    share: float = 0.5,
    names: Sequence[str] = (),
    by_name: Mapping[str, Sequence[int | str]] | None = None,
    flag: bool = False,
    call: Callable[[int], None] | None = None,
    pair: tuple[int, str] = (1, ""),
    any_kind: Any = None,
    items: Iterable[int] = (),
) -> int:
    return number


@pytest.mark.parametrize(
    "right",
    [
        {"number": np.int64(3)},
        {"number": 3, "share": 1},
        {"number": 3, "share": np.float32(0.25)},
        {"number": 3, "names": ["a", "b"]},
        {"number": 3, "names": ()},
        {"number": 3, "by_name": {"a": [1, "N"]}},
        {"number": 3, "flag": np.bool_(True)},
        {"number": 3, "call": print},
        {"number": 3, "pair": (2, "b"), "any_kind": object()},
        {"number": 3, "items": iter([1])},
        {"number": 3, "items": {1, 2}},
    ],
)
def test_arguments_of_the_right_kind(right):
    assert called(**right) == 3


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"number": "3"}, "number"),
        ({"number": True}, "number"),
        ({"number": 3.0}, "number"),
        ({"number": None}, "number"),
        ({"number": 3, "share": "much"}, "share"),
        ({"number": 3, "share": False}, "share"),
        ({"number": 3, "names": "ab"}, "names"),
        ({"number": 3, "names": [1]}, "names"),
        ({"number": 3, "by_name": {"a": "b"}}, "by_name"),
        ({"number": 3, "by_name": {"a": [None]}}, "by_name"),
        ({"number": 3, "by_name": [("a", [1])]}, "by_name"),
        ({"number": 3, "flag": 1}, "flag"),
        ({"number": 3, "call": 3}, "call"),
        ({"number": 3, "pair": (1,)}, "pair"),
        ({"number": 3, "pair": ("a", "b")}, "pair"),
        ({"number": 3, "items": 5}, "items"),
        ({"number": 3, "other": 5}, "other"),
        ({}, "number"),
    ],
)
def test_arguments_of_another_kind_are_named(wrong, name):
    with pytest.raises(UsageError, match=f"called.*{name}|{name}.*called|arguments of called"):
        called(**wrong)


def test_memory_that_is_not_there_is_a_limit():
    @checked
    def hungry(elements: int) -> np.ndarray:
        return np.empty(elements, np.uint8)

    with pytest.raises(LimitError, match="hungry: out of memory: got Unable to allocate"):
        hungry(1 << 62)
