"""check_operators: the operators, and their shapes, that FINN's own steps make hardware of in a QONNX model.

An allow-list, measured on FINN 0.10.1+ (main 39f0c9a6) with its default step list, up to the estimates: whatever is not
here stops a step, leaves a piece of the network outside of the one partition that FINN builds, or comes out wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, Refusal, Severity
from anybit.exact.integer_layers import PRODUCTS
from anybit.graph.annotations import annotated_number_format
from anybit.graph.constants import constant
from anybit.graph.walk import label, reads, shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.targets.finn.pools import streams, windows_of
from anybit.targets.finn.windows import is_padded_pixel, sees_padding_alone

_AFFINE = frozenset(("Add", "BatchNormalization", "Div", "Mul", "Sub"))
_RESHAPING = frozenset(("Flatten", "Reshape"))
_MATRIX, _IMAGE = 2, 4
_TWICE = 2


class _Kind(enum.Enum):
    """What a tensor is to FINN."""

    REAL = "real"
    """What the host computes: nothing of the hardware is in it."""
    STATED = "stated"
    """Integers that are fed, and scalar arithmetic on them, which FINN moves behind the first product."""
    LEVELS = "levels"
    """Integers times a scale, as a quantiser makes them."""
    SUMS = "sums"
    """What a layer hands to the thresholds of the next quantiser."""


@dataclass(frozen=True)
class _WeightLevels:
    """Quantised weights as a product reads them.

    Attributes:
        quantizer: What makes them.
        scale: By element.
        levels: By element, a whole number.
    """

    quantizer: Quantizer
    scale: Array
    levels: Array


def check_operators(model: ir.Model) -> list[Finding]:
    """What stands in the way of the operators of a hub model, each node named."""
    walk = _OperatorWalk(model)
    findings = [f for node in model.graph for f in walk.node(node)]
    findings += walk.skipped()
    if not walk.has_hardware:
        findings.append(
            Finding(
                rule="no-hardware",
                problem="there is no product of integers",
                hint="quantise weights and inputs, or state the integer format of an input (--input-type)",
            )
        )
    return findings


def _finding(rule: str, node: ir.Node, problem: str, *, got: object = "", expected: str = "") -> Finding:
    return Finding(
        rule=rule,
        problem=problem,
        node=label(node),
        got=str(got),
        expected=expected,
        hint="hand over the dialect (--form dialect), whose build.py has the steps for what it takes",
    )


class _OperatorWalk:
    """The graph from inputs to outputs.

    Attributes:
        has_hardware: Whether there was a product of integers.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._kinds: dict[ir.Value, _Kind] = {}
        self._computed = set[ir.Value]()  # a product is in them
        self._between: list[ir.Node] = []  # pools and reshapes of images that a product is in
        self._has_windows = False
        self.has_hardware = False
        for value in model.graph.inputs:
            stated = annotated_number_format(value)
            self._kinds[value] = _Kind.STATED if stated is not None and stated.is_integer else _Kind.REAL

    def node(self, node: ir.Node) -> Iterator[Finding]:
        """What stands in the way of one node."""
        flowing = [v for v in reads(node) if v in self._kinds]
        if not flowing:
            return
        kinds = [self._kinds[v] for v in flowing]
        for output in node.outputs:
            self._kinds[output] = self._made(node, kinds)
        self._note(node, flowing)
        yield from self._of(node, flowing, kinds)
        yield from self._forks(node)

    def _note(self, node: ir.Node, flowing: list[ir.Value]) -> None:
        """Remembers where products are, and what FINN takes care of only where a convolution has windows."""
        computed = any(v in self._computed for v in flowing)
        if computed or (node.domain == "" and node.op_type in PRODUCTS):
            self._computed.update(node.outputs)
        if node.domain == "" and node.op_type == "Conv":
            self._has_windows |= _has_windows(node)
        moves = node.op_type in _RESHAPING or node.op_type == "MaxPool"
        if computed and moves and len(shape_of(flowing[0]) or ()) == _IMAGE:
            self._between.append(node)

    def skipped(self) -> Iterator[Finding]:
        """Pools and reshapes between products, which the steps leave on the host where no convolution has windows."""
        if self._has_windows:
            return
        for node in self._between:
            if _leads_to_product(node):
                yield _finding(
                    "windows",
                    node,
                    "FINN's steps leave it on the host where all convolutions are of one pixel",
                    got=node.op_type,
                    expected="a convolution with a kernel, a stride or a padding",
                )

    def _made(self, node: ir.Node, kinds: list[_Kind]) -> _Kind:
        if is_call(node, QUANT, BIPOLAR_QUANT):
            return _Kind.LEVELS
        if all(k is _Kind.REAL for k in kinds):
            return _Kind.REAL
        keeps = node.op_type in _RESHAPING or node.op_type in ("MaxPool", "Identity", "Dropout")
        if keeps or (node.op_type in _AFFINE and kinds[0] is _Kind.STATED):
            return kinds[0]
        return _Kind.SUMS

    def _of(self, node: ir.Node, flowing: list[ir.Value], kinds: list[_Kind]) -> Iterator[Finding]:
        if node.op_type in ("Identity", "Dropout"):
            return
        if is_call(node, QUANT, BIPOLAR_QUANT):
            if kinds[0] is _Kind.LEVELS:
                yield _finding("levels", node, "a quantiser of levels, with no product in front of it")
            return
        if len(flowing) > 1:
            yield _finding("join", node, "FINN's own steps have no layer for two tensors", got=node.op_type)
            return
        real = kinds[0] is _Kind.REAL
        if node.domain == "" and node.op_type in PRODUCTS:
            yield from self._product(node, flowing[0], real=real)
        elif node.domain == "" and node.op_type in _AFFINE:
            yield from self._affine(node, flowing[0], kinds[0])
        elif node.domain == "" and node.op_type == "Relu":
            yield from self._relu(node)
        elif node.domain == "" and node.op_type in _RESHAPING:
            yield from _reshape(node, kinds[0])
        elif node.domain == "" and node.op_type == "MaxPool":
            yield from _max_pool(node, kinds[0])
        else:
            yield _finding("no-form", node, "FINN's own steps have no form of this operator", got=node.op_type)

    def _product(self, node: ir.Node, x: ir.Value, *, real: bool) -> Iterator[Finding]:
        weights = node.inputs[1]
        if x is weights or weights is None or known_value(weights, self._model.opset_imports) is None:
            yield _finding("join", node, "FINN's own steps have no layer for two tensors", got=node.op_type)
            return
        if real:
            yield Finding(
                rule="real-input",
                problem="it reads real numbers, and runs on the host",
                node=label(node),
                hint="state the integer format of the model's input (--input-type), if it has one",
                severity=Severity.WARNING,
            )
            return
        self.has_hardware = True
        rank = len(shape_of(x) or ())
        expected = _IMAGE if node.op_type == "Conv" else _MATRIX
        if rank != expected:
            yield _finding("rank", node, "axes of what a product reads", got=rank, expected=str(expected))
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1:
            group = node.attributes.get_int("group", 1)
            yield _finding("group", node, "groups of a convolution", got=group, expected="1")
        elif node.op_type == "Conv" and tuple(shape_of(weights) or ())[:2] == (1, 1):
            problem = "a convolution of one channel to one, which FINN takes for depthwise"
            yield _finding("group", node, problem, got="1 group", expected="more channels in or out")
        if node.op_type == "Conv" and is_padded_pixel(node):
            pads = list(node.attributes.get_ints("pads", ()))
            yield _finding(
                "pads", node, "padding of a kernel of one pixel, which FINN drops", got=pads, expected="none"
            )
        if node.op_type == "Conv" and sees_padding_alone(node):
            yield _finding("kernel", node, "a kernel that is larger than an image of one row or column")
        yield from self._weight_scale(node, weights)

    def _weight_scale(self, node: ir.Node, weights: ir.Value) -> Iterator[Finding]:
        found = self._weights(weights)
        if found is not None and not found.levels.any():
            yield _finding("zero-weights", node, "all weights of a product are 0: FINN has no accumulator for it")
        if found is None or not np.ptp(found.scale):
            return
        scale, across = found.scale, 0 if node.op_type == "Conv" else found.scale.ndim - 1
        within = tuple(axis for axis in range(scale.ndim) if axis != across)
        if np.ptp(scale, axis=within).any():
            yield _finding(
                "weight-scale",
                node,
                "scales of its weights",
                got="several within an output channel",
                expected="one number, or one for each output channel",
            )

    def _weights(self, value: ir.Value | None) -> _WeightLevels | None:
        """The quantised weights that a product reads, behind transpositions; None where no quantiser makes them."""
        maker = None if value is None else value.producer()
        if maker is None or value is None:
            return None
        if maker.op_type == "Transpose" and maker.domain == "":
            inner = self._weights(maker.inputs[0])
            given = maker.attributes.get("perm")
            axes = None if given is None else tuple(given.as_ints())
            return inner and _WeightLevels(inner.quantizer, inner.scale.transpose(axes), inner.levels.transpose(axes))
        quantizer, values = read_quant(maker, self._model), known_value(value, self._model.opset_imports)
        if not is_call(maker, QUANT, BIPOLAR_QUANT) or isinstance(quantizer, Refusal) or values is None:
            return None
        return _WeightLevels(
            quantizer, np.broadcast_to(quantizer.scale, values.shape), np.rint(values / quantizer.scale)
        )

    def _affine(self, node: ir.Node, x: ir.Value, kind: _Kind) -> Iterator[Finding]:
        by_channel = any(c.size > 1 for v in node.inputs if v is not None and (c := constant(v)) is not None)
        if (kind is _Kind.LEVELS and node.outputs[0].uses()) or (kind is _Kind.STATED and by_channel):
            yield _finding("levels", node, "arithmetic on levels, with no product in front of it", got=node.op_type)
        if node.op_type == "Div" and node.inputs[1] is x:
            yield _finding("no-form", node, "FINN's own steps have no form of a division by a tensor", got=x.name)
        if kind is _Kind.REAL or not node.outputs[0].uses():  # what nothing reads is computed by the host
            return
        rank = len(shape_of(x) or ())
        if node.op_type != "BatchNormalization" and any(not _is_by_channel(v, rank) for v in node.inputs if v is not x):
            yield _finding(
                "constant",
                node,
                "a constant that is none by channel",
                got=", ".join(str(list(shape_of(v) or ())) for v in node.inputs if v is not None and v is not x),
                expected="one number, or one for each channel",
            )
        if self._falls(node, x):
            yield _finding(
                "negative",
                node,
                "arithmetic that falls while the sums rise",
                got=node.op_type,
                expected="factors above 0, or weights whose format holds their negatives",
            )

    def _falls(self, node: ir.Node, x: ir.Value) -> bool:
        """Whether a result falls where a sum rises, in a way that FINN's steps cannot bring into the weights."""
        if node.op_type == "Sub" and node.inputs[1] is x:
            return True
        if (_sign(node, x) >= 0).all():
            return False
        sign, at = np.ones(1), node
        while at.op_type in _AFFINE:
            flowing = next((v for v in at.inputs if v in self._kinds), None)
            maker = None if flowing is None else flowing.producer()
            if flowing is None or maker is None:
                return True
            sign, at = sign * _sign(at, flowing), maker
        return at.op_type not in PRODUCTS or not self._holds_negatives(at, sign)

    def _holds_negatives(self, product: ir.Node, sign: Array) -> bool:
        """Whether the format of a product's weights holds them with other signs by channel."""
        weights = self._weights(product.inputs[1])
        if weights is None:
            return False
        across = (-1, *(1,) * (weights.levels.ndim - 1)) if product.op_type == "Conv" else (1, -1)
        turned, quantizer = weights.levels * sign.reshape(across), weights.quantizer
        holds = (turned >= quantizer.lo.min()) & (turned <= quantizer.hi.max())
        return bool(quantizer.is_bipolar or holds.all())

    def _relu(self, node: ir.Node) -> Iterator[Finding]:
        behind = [user for user, _ in node.outputs[0].uses()]
        if not behind or any(not is_call(user, QUANT, BIPOLAR_QUANT) for user in behind):
            yield _finding("relu", node, "a Relu that no quantiser follows", expected="an unsigned Quant behind it")

    def _forks(self, node: ir.Node) -> Iterator[Finding]:
        for output in node.outputs:
            if self._kinds[output] is not _Kind.REAL and len(output.uses()) + output.is_graph_output() >= _TWICE:
                yield _finding(
                    "fork", node, "FINN's own steps have no layer for a fork", got=f"readers of {output.name}"
                )


def _has_windows(conv: ir.Node) -> bool:
    """Whether a convolution is more than a product at each pixel."""
    ones = [n for name in ("kernel_shape", "strides") for n in conv.attributes.get_ints(name, ())]
    return any(n != 1 for n in ones) or any(conv.attributes.get_ints("pads", ()))


def _leads_to_product(node: ir.Node) -> bool:
    waiting, seen = list(node.outputs), set[ir.Value]()
    while waiting:
        value = waiting.pop()
        readers = [] if value in seen else [user for user, _ in value.uses()]
        seen.add(value)
        if any(user.op_type in PRODUCTS for user in readers):
            return True
        waiting += [v for user in readers for v in user.outputs]
    return False


def _is_by_channel(value: ir.Value | None, rank: int) -> bool:
    """Whether a constant is one number, or one for each channel of a tensor of so many axes."""
    array = None if value is None else constant(value)
    if array is None or array.size == 1:
        return True
    channels = array.ndim - (rank - 1 if rank == _IMAGE else 1)
    return array.ndim <= rank and all(n == 1 for axis, n in enumerate(array.shape) if axis != channels)


def _sign(node: ir.Node, x: ir.Value) -> Array:
    """By channel, or one for all: the sign of what a node multiplies a tensor by."""
    others = node.inputs[1:2] if node.op_type == "BatchNormalization" else [v for v in node.inputs if v is not x]
    factor = constant(others[0]) if others and node.op_type not in ("Add", "Sub") else None
    return np.ones(1) if factor is None else np.sign(factor.reshape(-1))


def _reshape(node: ir.Node, kind: _Kind) -> Iterator[Finding]:
    before, after = (None if v is None else shape_of(v) for v in (node.inputs[0], node.outputs[0]))
    if kind is _Kind.SUMS and len(before or ()) == _IMAGE and _leads_to_product(node):
        yield _finding("flatten", node, "sums of an image that are flattened", expected="a quantiser in front of it")
    if kind is _Kind.REAL or (
        before is not None and after is not None and len(after) == _MATRIX and before[0] == after[0]
    ):
        return
    yield _finding("reshape", node, "a reshape", got=f"{before} to {after}", expected="a matrix of one row an image")


def _max_pool(node: ir.Node, kind: _Kind) -> Iterator[Finding]:
    if kind not in (_Kind.LEVELS, _Kind.STATED):
        yield _finding("pool", node, "a MaxPool of what is not quantised", expected="a quantiser in front of it")
    if not streams(node):
        kernel, strides = windows_of(node)
        yield _finding(
            "pool",
            node,
            "windows of a MaxPool",
            got=f"kernel {list(kernel)}, strides {list(strides)}",
            expected="strides equal to the kernel, no padding, and images that windows fill",
        )
