"""Builder: a random graph, node by node; each node runs on samples at once, so that its shape is known and its
numbers stay moderate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from anybit.errors import AnybitError
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node
from tests.models import DOMAIN
from tests.strategies import Array

BATCH = 2
_LARGEST = 1e5
_MAX_ELEMENTS = 600


@cache
def _exists(op_type: str, opset: int) -> bool:
    try:
        onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return False
    return True


class Unfit(Exception):  # noqa: N818  (no error: the step is left out)
    """The step does not suit the graph."""


@dataclass
class Builder:
    """The graph so far.

    Attributes:
        rng: Where all that is random comes from.
        dtype: Float type of the model.
        opset: Version of the standard domain.
        samples: By tensor, its value for one input of `BATCH` samples.
        pool: Tensors that later nodes may read, the oldest first.
    """

    rng: np.random.Generator
    dtype: Any
    opset: int
    version: int = 2
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    initializers: dict[str, Array] = field(default_factory=dict[str, Array])
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list[onnx.ValueInfoProto])
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    samples: dict[str, Array] = field(default_factory=dict[str, Array])
    pool: list[str] = field(default_factory=list[str])
    weights: list[str] = field(default_factory=list[str])
    functions: list[onnx.FunctionProto] = field(default_factory=list[onnx.FunctionProto])
    count: int = 0

    @property
    def opsets(self) -> dict[str, int]:
        return {"": self.opset, DOMAIN: self.version}

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def input(self, shape: Sequence[int], lo: float, hi: float, *, free_batch: bool) -> None:
        """Adds an input of this range to the graph."""
        name = self.fresh("x")
        first = "N" if free_batch else shape[0]
        tensor_type = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        self.inputs.append(helper.make_tensor_value_info(name, tensor_type, [first, *shape[1:]]))
        self.ranges[name] = (lo, hi)
        self.samples[name] = self.rng.uniform(lo, hi, shape).astype(self.dtype)
        self.pool.append(name)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Adds an initializer, of the graph's float type unless told otherwise."""
        name = self.fresh("c")
        self.initializers[name] = self.samples[name] = np.asarray(value).astype(dtype or self.dtype)
        return name

    def pick(self, fits: Callable[[Array], bool] = lambda _: True, *, rank: int | None = None) -> str:
        """A float tensor of the pool that fits, rather a late one."""
        names = [
            n
            for n in self.pool
            if self.samples[n].dtype == self.dtype
            and (rank is None or self.samples[n].ndim == rank)
            and fits(self.samples[n])
        ]
        if not names:
            raise Unfit
        return names[max(len(names) - int(self.rng.geometric(0.6)), 0)]

    def node(
        self, op_type: str, inputs: Sequence[str], *, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Adds a node and runs it on the samples.

        Raises:
            Unfit: It does not run, or its numbers or tensors are too large.
        """
        if not domain and not _exists(op_type, self.opset):
            raise Unfit
        names = [self.fresh(op_type.lower()) for _ in range(outputs)]
        proto = helper.make_node(op_type, list(inputs), names, name=names[0], domain=domain, **attributes)
        values = [ir.Value(name=n) if n else None for n in inputs]
        node = ir.node(op_type, values, attributes, domain=domain, num_outputs=outputs)
        try:
            with np.errstate(all="ignore"):
                results = evaluate_node(node, [self.samples[n] if n else None for n in inputs], self.opsets)
        except (*EVALUATION_ERRORS, AnybitError) as error:
            raise Unfit from error
        return self.adopt(proto, results or ())

    def adopt(self, proto: onnx.NodeProto, results: Sequence[Array]) -> list[str]:
        """Adds a node whose results are known.

        Raises:
            Unfit: Its numbers or tensors are too large.
        """
        if len(results) < len(proto.output):
            raise Unfit
        for array in results:
            numeric = array.dtype.kind in "iuf"
            moderate = not numeric or (np.isfinite(array).all() and np.abs(array).max(initial=0) < _LARGEST)
            if not moderate or not 0 < array.size <= _MAX_ELEMENTS:
                raise Unfit
        self.nodes.append(proto)
        self.samples.update(zip(proto.output, results, strict=False))
        return list(proto.output)

    def put(self, op_type: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node, and its outputs to the pool; the first one is returned."""
        names = self.node(op_type, inputs, outputs=outputs, **attributes)
        self.pool.extend(names)
        return names[0]

    def attempt(self, step: Callable[[Builder], None]) -> None:
        """Adds a step, or nothing at all where it does not fit."""
        nodes, pool, weights, functions = map(len, (self.nodes, self.pool, self.weights, self.functions))
        try:
            step(self)
        except Unfit:
            del self.nodes[nodes:], self.pool[pool:], self.weights[weights:], self.functions[functions:]

    def model(self) -> onnx.ModelProto:
        """The model; every tensor that nothing reads is an output."""
        if not self.nodes:
            self.node("Identity", [self.pool[0]])
        read = {name for node in self.nodes for name in node.input} | {
            name
            for node in self.nodes
            for attribute in node.attribute
            for inner in attribute.g.node
            for name in inner.input
        }
        produced = [name for node in self.nodes for name in node.output]
        outputs = [n for n in produced if n not in read]
        graph = helper.make_graph(
            self.nodes,
            "random",
            self.inputs,
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(self.samples[n].dtype), None)
                for n in outputs
            ],
            [numpy_helper.from_array(a, n) for n, a in self.initializers.items() if n in read],
        )
        imports = [helper.make_opsetid(d, v) for d, v in self.opsets.items()]
        imports += [helper.make_opsetid("tests", 1)] if self.functions else []
        return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=self.functions)
