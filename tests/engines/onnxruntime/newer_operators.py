"""One-node models of every operator version newer than opset 21, from the test cases that come with onnx."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from tests.strategies import Array

OLD = 21
"""The opset that bodies of our operators are written in, and models are brought to if nothing stands against it."""


@dataclass(frozen=True)
class Case:
    """A model, what it is fed and, where onnx states it, what comes out."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Any]
    expected: dict[str, Any] | None

    @property
    def op_type(self) -> str:
        """Operator of the first node."""
        return self.model.graph.node[0].op_type

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return next(o.version for o in self.model.opset_import if o.domain == "")


@cache
def cases() -> tuple[Case, ...]:
    """The cases of onnx with one node of the standard domain, on tensors."""
    found: list[Case] = []
    np.random.seed(0)  # onnx draws its inputs from it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        graph, imports = case.model.graph, case.model.opset_import
        if len(graph.node) != 1 or [o.domain for o in imports] != [""] or "Optional" in graph.node[0].op_type:
            continue
        ins, outs = ([_array(t) for t in tensors] for tensors in case.data_sets[0])
        if any(a is None for a in (*ins, *outs)):
            continue  # sequences and optionals
        feeds = dict(zip([v.name for v in graph.input], ins, strict=True))
        expected = dict(zip([v.name for v in graph.output], outs, strict=True))
        found.append(Case(case.name, case.model, feeds, expected))
    return tuple(found)


def newer() -> list[Case]:
    """Of each operator version above 21 and each number of inputs and outputs a few cases."""
    chosen: dict[tuple[Any, ...], list[Case]] = defaultdict(list)
    for case in cases():
        node = case.model.graph.node[0]
        if case.opset > OLD:
            kinds = tuple(sorted({str(np.asarray(a).dtype) for a in case.feeds.values()}))
            chosen[case.op_type, case.opset, len(node.input), len(node.output), kinds].append(case)
    return [c for group in chosen.values() for c in group[:2]]


def retyped() -> list[Case]:
    """For each type that an operator takes anew at a version above 21 one of its cases in this type."""
    by_operator: dict[str, list[Case]] = defaultdict(list)
    for case in cases():
        by_operator[case.op_type].append(case)
    made: list[Case] = []
    for schema, variable, kind in new_types():
        attempts = (_retyped(c, schema, variable, kind) for c in by_operator[schema.name])
        first = next((c for c in attempts if c is not None), None)
        if first is not None:
            made.append(first)
    return made


def new_types() -> Iterator[tuple[onnx.defs.OpSchema, str, str]]:
    """Each operator version above 21, type variable and type of tensors that the version before did not have."""
    known: dict[str, list[onnx.defs.OpSchema]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            known[schema.name].append(schema)
    for versions in known.values():
        ordered = sorted(versions, key=lambda s: s.since_version)
        for before, schema in zip([None, *ordered], ordered, strict=False):
            if schema.since_version <= OLD:
                continue
            old = {} if before is None else {c.type_param_str: c.allowed_type_strs for c in before.type_constraints}
            for constraint in schema.type_constraints:
                variable = constraint.type_param_str
                for kind in sorted(set(constraint.allowed_type_strs) - set(old.get(variable, ()))):
                    if kind.startswith("tensor(") and "complex" not in kind and "string" not in kind:
                        yield schema, variable, kind[len("tensor(") : -1]


def element_type(name: str) -> int:
    """The number of a type of the schemas' spelling."""
    return onnx.TensorProto.DataType.Value({"float": "FLOAT", "double": "DOUBLE"}.get(name, name.upper()))


def _array(tensor: Any) -> Array | None:
    if isinstance(tensor, onnx.TensorProto):
        return numpy_helper.to_array(tensor)
    return np.asarray(tensor) if isinstance(tensor, np.ndarray | np.generic) else None


def _retyped(case: Case, schema: onnx.defs.OpSchema, variable: str, kind: str) -> Case | None:
    """The case at the version of the schema, with tensors of another type in the place of one type variable."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    proto.opset_import[0].version = schema.since_version
    proto.ir_version = 13
    number = element_type(kind)
    dtype = helper.tensor_dtype_to_np_dtype(number)
    node, feeds = proto.graph.node[0], dict(case.feeds)
    moved = [n for n, f in _formals(node.input, schema.inputs) if f.type_str == variable and n in feeds]
    made = [n for n, f in _formals(node.output, schema.outputs) if f.type_str == variable]
    targets = [a for a in node.attribute if a.name in ("to", "output_dtype", "dtype")]
    if not moved and not (made and targets):
        return None
    for name in moved:
        with np.errstate(all="ignore"):
            feeds[name] = feeds[name].astype(np.float32).astype(dtype)
    for attribute in targets if made and not moved else ():
        attribute.i = number
    for info in (*proto.graph.input, *proto.graph.output):
        if info.name in (*moved, *made):
            info.type.tensor_type.elem_type = number
    try:
        onnx.checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None
    return Case(f"{schema.name}-{schema.since_version}-{kind}", proto, feeds, None)


def _formals(names: Any, formals: Any) -> Iterator[tuple[str, Any]]:
    for position, name in enumerate(names):
        if name:
            yield name, formals[min(position, len(formals) - 1)]
