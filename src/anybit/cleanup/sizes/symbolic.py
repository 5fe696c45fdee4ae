"""SymbolicSizes: the shapes of all tensors, and the contents of small tensors of integers, as formulas."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.sizes.formula import Formula, Formulas
from anybit.graph.constants import constant
from anybit.graph.walk import is_made_up, subgraphs
from anybit.io.shapes import Inference

Shape = tuple[Formula, ...]
Contents = tuple[Formula | None, ...]

_MOST_ELEMENTS = 64  # of a tensor that is read as sizes
_VENDOR = frozenset((("com.microsoft", "DynamicQuantizeLSTM"),))  # other domains' operators that have a rule
_SIZES = ("int32", "int64", "bool")  # element types of such tensors; narrower ones wrap around


class SymbolicSizes:
    """What is known of the sizes in a model: formulas in the free dimensions of its inputs, each at least 1.

    Args:
        model: Its nodes are walked once, in order.
        inference: What onnx has inferred of it, which stands where no rule knows more.
        shape_rules: By operator, the shapes of its outputs.
        contents_rules: By operator, the elements of its first output.
    """

    def __init__(
        self,
        model: ir.Model,
        inference: Inference,
        shape_rules: Callable[[str], ShapeRule | None],
        contents_rules: Callable[[str], ContentsRule | None],
    ) -> None:
        self.formulas = Formulas()
        self.opset = model.opset_imports.get("", 1)
        self._inference = inference
        self._free = _free(model.graph)
        self._shapes: dict[ir.Value, Shape | None] = {}
        self._contents: dict[ir.Value, Contents | None] = {}
        self._shape_rules, self._contents_rules = shape_rules, contents_rules
        self._walk(model.graph)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The dimensions of a tensor; None where the rank is not known."""
        if value is None:
            return None
        if value not in self._shapes:
            self._shapes[value] = self._inferred(value)
        return self._shapes[value]

    def contents(self, value: ir.Value | None) -> Contents | None:
        """The elements of a tensor of at most one axis, None for one that is not known; None for other tensors."""
        if value is None:
            return None
        if value not in self._contents:
            self._contents[value] = constants(constant(value))
        return self._contents[value]

    def numbers(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The elements, if all are known numbers."""
        contents = self.contents(value)
        known = [f.number for f in contents or () if f is not None]
        numbers = tuple(n for n in known if n is not None)
        return numbers if contents is not None and len(numbers) == len(contents) else None

    def integers(self, node: ir.Node, name: str, position: int) -> tuple[int, ...] | None:
        """Integers that are an attribute of older versions of an operator, and an input of newer ones."""
        attribute = node.attributes.get(name)
        if attribute is not None and not attribute.is_ref():
            return tuple(attribute.as_ints())
        return self.numbers(node.inputs[position]) if len(node.inputs) > position else None

    def _walk(self, graph: ir.Graph) -> None:
        for node in graph:
            for inner in subgraphs(node):
                self._walk(inner)
            if node.domain != "" and (node.domain, node.op_type) not in _VENDOR:
                continue
            shapes_of, contents_of = self._shape_rules(node.op_type), self._contents_rules(node.op_type)
            for output, shape in zip(node.outputs, () if shapes_of is None else shapes_of(node, self), strict=False):
                self._shapes[output] = self._refined(output, shape)
            if contents_of is not None:
                output = node.outputs[0]
                self._contents[output] = _held(output.dtype, _short(contents_of(node, self)))

    def _refined(self, value: ir.Value, shape: Shape | None) -> Shape | None:
        """A shape by a rule, with the numbers that onnx knows."""
        inferred = self._inferred(value)
        if shape is None or inferred is None or len(shape) != len(inferred):
            return inferred
        pairs = zip(shape, inferred, strict=True)
        return tuple(self.formulas.take_as_size(i if i.number is not None else s) for s, i in pairs)

    def _inferred(self, value: ir.Value) -> Shape | None:
        array = constant(value)
        if array is not None:
            return tuple(Formula(size) for size in array.shape)
        shape = self._inference.proven(value)
        return None if shape is None else tuple(self._dimension(value, axis, d) for axis, d in enumerate(shape))

    def _dimension(self, value: ir.Value, axis: int, size: int | ir.SymbolicDim) -> Formula:
        if isinstance(size, int):
            return Formula(size)
        # The names that onnx gives itself are those of one run of its inference, and it ran twice.
        key = self._free.get(size.value or "", (value, axis))
        return self.formulas.take_as_size(self.formulas.unknown(key))


ShapeRule = Callable[[ir.Node, SymbolicSizes], Sequence[Shape | None]]
"""The shapes of the outputs of a node, as far as they are known."""
ContentsRule = Callable[[ir.Node, SymbolicSizes], Contents | None]
"""The elements of its first output."""


def _free(graph: ir.Graph) -> dict[str, Hashable]:
    """By name of a free dimension of the inputs its unknown: the name, or input and axis where the name is made up."""
    found: dict[str, Hashable] = {}
    for value in graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            name = None if isinstance(size, int) else size.value
            if name is not None:
                found.setdefault(name, (value, axis) if is_made_up(name) else name)
    return found


def _short(contents: Iterable[Formula | None] | None) -> Contents | None:
    found = None if contents is None else tuple(contents)
    return None if found is None or len(found) > _MOST_ELEMENTS else found


def _held(dtype: ir.DataType | None, contents: Contents | None) -> Contents | None:
    """What is computed, as far as the element type holds it: other integers wrap around."""
    if contents is None or dtype is None or not dtype.is_integer():
        return contents
    limits = np.iinfo(dtype.numpy())
    numbers = (None if f is None else f.number for f in contents)
    pairs = zip(contents, numbers, strict=True)
    return tuple(f if n is None or limits.min <= n <= limits.max else None for f, n in pairs)


def constants(array: Array | None) -> Contents | None:
    """The elements of a constant that may be read as sizes."""
    if array is None or array.ndim > 1 or array.size > _MOST_ELEMENTS or array.dtype.name not in _SIZES:
        return None
    return tuple(Formula(int(n)) for n in array.reshape(-1))
