"""read_convolution: a Conv node whose weights are known, as a pass that rewrites it needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.attributes import integers
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.quant import QUANT

_QUANTIZERS = (QUANT, BIPOLAR_QUANT, FLOAT_QUANT)
_KNOWN = "an initializer, or a quantiser of initializers"


@dataclass(frozen=True)
class Weight:
    """A weight that is known: an initializer, or a quantiser of one.

    Attributes:
        array: The initializer, before any quantiser.
        quantizer: The quantiser, None where there is none.
        parameters: The quantiser's further inputs.
        values: What the operator is given: `array`, quantised.
    """

    array: Array
    values: Array
    quantizer: ir.Node | None = None
    parameters: tuple[Array, ...] = ()


def read_weight(value: ir.Value | None, opset_imports: dict[str, int]) -> Weight | None:
    """The weight behind a value, None where it is neither an initializer nor a quantiser of initializers."""
    array = constant(value)
    if array is not None:
        return Weight(array, array)
    node = None if value is None else value.producer()
    operator = None if node is None else operator_of(node, opset_imports)
    if node is None or operator is None or not is_call(node, *_QUANTIZERS):
        return None
    inputs = [a for a in map(constant, node.inputs) if a is not None]
    if len(inputs) != len(node.inputs) or any(a.is_ref() for a in node.attributes.values()):
        return None
    try:
        values = operator.evaluate(inputs, call_of(node, operator).attributes)
    except (TypeError, ValueError):
        return None  # `check` says what is wrong with the quantiser
    return Weight(inputs[0], values, node, tuple(inputs[1:]))


def moved_weight(edit: Editor, weight: Weight, wish: str, move: Callable[[Array], Array]) -> ir.Value:
    """A new weight whose elements are those of `weight` in other places; its quantiser's parameters move along."""
    moved = edit.constant(wish, np.ascontiguousarray(move(weight.array)))
    if weight.quantizer is None:
        return moved
    old, name = weight.quantizer, str(moved.name)
    inputs: list[ir.Value] = [moved]
    for value, array in zip(old.inputs[1:], weight.parameters, strict=True):
        if array.size == 1 and value is not None:
            inputs.append(value)  # one number for all elements: it may be shared
            continue
        spread = squeezed(move(np.broadcast_to(array, weight.array.shape)))
        inputs.append(edit.constant(f"{name}_{len(inputs)}", spread))
    node = ir.node(
        old.op_type,
        inputs,
        {n: a.value for n, a in old.attributes.items()},
        domain=old.domain,
        name=f"{name}_quant",
    )
    quantized = node.outputs[0]
    quantized.name = edit.name(f"{name}_quantized")
    quantized.type = old.outputs[0].type
    quantized.meta.update(old.outputs[0].meta)
    edit.insert(node, after=old, of=old)
    return quantized


def squeezed(array: Array) -> Array:
    """The array with one entry along each axis on which all entries are equal; it broadcasts to the same."""
    for axis in range(array.ndim):
        first = array.take([0], axis) if array.shape[axis] else array
        if (array == first).all():
            array = first
    return np.ascontiguousarray(array)


@dataclass(frozen=True)
class Convolution:
    """A Conv node over two or more dimensions whose numbers are all known.

    Attributes:
        weight: Its weight, of shape (outputs, inputs / groups, kernel ...).
        bias: Its bias, None where it has none.
        groups: Number of groups.
        strides: Steps along each spatial axis.
        dilations: Distances of the kernel's elements.
        pads: Zeros before, then zeros after, along each spatial axis.
    """

    weight: Weight
    bias: Array | None
    groups: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Size of the kernel."""
        return self.weight.array.shape[2:]

    @property
    def reach(self) -> tuple[int, ...]:
        """Distance from the first to the last element of the dilated kernel."""
        return tuple((k - 1) * d for k, d in zip(self.kernel, self.dilations, strict=True))


def read_convolution(node: ir.Node, opset_imports: dict[str, int]) -> Convolution | Refusal:
    """The node's numbers, or why they are not known."""
    weight = read_weight(node.inputs[1], opset_imports)
    if weight is None:
        return Refusal(problem="the weight is not constant", node=label(node), expected=_KNOWN)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    bias_weight = read_weight(bias, opset_imports)
    if bias is not None and bias_weight is None:
        return Refusal(problem="the bias is not constant", node=label(node), expected=_KNOWN)
    spatial = weight.array.ndim - 2
    strides, dilations = (integers(node, name, (1,) * spatial) for name in ("strides", "dilations"))
    pads = _pads(node, weight.array.shape[2:], strides, dilations)
    if pads is None:
        return Refusal(problem="padding depends on the size of the input", node=label(node), got="auto_pad")
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    return Convolution(weight, None if bias_weight is None else bias_weight.values, groups, strides, dilations, pads)


def _pads(
    node: ir.Node, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    automatic = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    match automatic:
        case "NOTSET":
            pads = integers(node, "pads", (0,) * 2 * len(kernel))
            return pads[: len(kernel)], pads[len(kernel) :]
        case "VALID":
            return (0,) * len(kernel), (0,) * len(kernel)
        case _ if set(strides) == {1}:
            reach = np.array([(k - 1) * d for k, d in zip(kernel, dilations, strict=True)])
            half = reach // 2
            before = half if automatic == "SAME_UPPER" else reach - half
            return _tuple(before), _tuple(reach - before)
        case _:
            return None


def _tuple(array: npt.NDArray[np.int_]) -> tuple[int, ...]:
    return tuple(int(x) for x in array)
