"""TensorNumbers: what is known of the tensors of one hub model so far, while they are numbered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.exact.integer_functions import (
    Function,
    Kernel,
    Key,
    Number,
    Root,
    digest,
    kernel_of,
)
from anybit.ops.evaluate import known_value
from anybit.ops.zero_sign import ZeroSign, zero_sign

_SAME_SCALE = 2.0**-40  # share by which two ways to compute a scale in float64 may be apart


@dataclass
class TensorNumbers:
    """The numbers of the tensors of one hub model that are known so far.

    Attributes:
        values: Analysis of the model.
        roots: Integers by what they are computed from; shared between the models that are compared.
        functions: Functions of integers by structure, shared likewise: a tensor that one model computes from integers
            is the same function where the other one computes it from floats in the same way.
        numbers: By tensor.
        constants: Arrays that tensors hold, None for those that vary.
    """

    values: Values
    roots: dict[Key, Root]
    functions: dict[Key, Function]
    numbers: dict[ir.Value, Number] = field(default_factory=dict[ir.Value, Number], init=False)
    constants: dict[ir.Value, Array | None] = field(default_factory=dict[ir.Value, Array | None], init=False)

    @property
    def opsets(self) -> dict[str, int]:
        """Versions of the operators of the model, by their domain."""
        return self.values.model.opset_imports

    def of(self, value: ir.Value | None) -> Number:
        """The keys of a tensor, and how its elements follow from integers; a constant is numbered by its array."""
        if value is None:
            return Number(b"absent", b"absent", b"absent")
        if value not in self.numbers:
            array = self.constant(value)
            key = bits = digest("unknown", id(self), id(value))
            if array is not None:
                key, bits = digest("constant", without_zero_signs(array)), digest("bits", array)
            self.numbers[value] = Number(key, key, bits)
        return self.numbers[value]

    def kernel(self, value: ir.Value) -> Kernel | None:
        """The integers of a quantised tensor, all of one zero point; None if it has none."""
        function, grid = self.of(value).function, self.values[value].grid
        return None if function is None or grid is None else kernel_of(function, grid.scale.reshape(-1))

    def operand(self, value: ir.Value) -> Kernel | None:
        """The integers that a product multiplies: those of a quantised tensor, or those that a mean stands for."""
        rounded, grid = self.of(value).enclosure, self.values[value].grid
        if rounded is None or rounded.integers is None:
            return self.kernel(value)
        kernel = kernel_of(rounded.integers, np.ones(1))
        if kernel is None or grid is None or grid.scale.size > 1 or not grid.is_centred:
            return None
        units = kernel.scale * rounded.scale / grid.scale.reshape(-1)  # in which the analysis counts
        factor = np.rint(units)
        if not (np.abs(units / factor - 1) < _SAME_SCALE).all():
            return None
        return replace(kernel, scale=kernel.scale * rounded.scale, factor=int(factor[0]))

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of a tensor that is constant, or that constants alone make; None for one that varies."""
        if value is None:
            return None
        if value not in self.constants:
            self.constants[value] = known_value(value, self.opsets)
        return self.constants[value]

    def zero_sign_of(self, node: ir.Node, place: int) -> ZeroSign:
        """What the node makes of the sign of zeros of an input, which may have none."""
        value = node.inputs[place]
        known = None if value is None else self.values.tensors.get(value)
        if known is not None and ((known.lo > 0).all() or (known.hi < 0).all()):
            return ZeroSign.ENDED
        return zero_sign(node, place, self.opsets)

    def root(self, key: Key, lo: Float64s, hi: Float64s, step: int = 1, offset: Float64s | None = None) -> Root:
        """Integers of a key; see `known_root`."""
        return self.known_root(Root(key, lo, hi, step, np.zeros(1) if offset is None else offset))

    def known_root(self, root: Root) -> Root:
        """The root of this key that another tensor has already, in either model; else this one."""
        return self.roots.setdefault(root.key, root)


def without_zero_signs(array: Array) -> Array:
    """The same numbers, with +0 in place of -0."""
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        return array + np.zeros((), array.dtype) if array.dtype.kind == "f" else array


def output_key(key: Key, index: int) -> Key:
    """The key of one output of a node."""
    return digest(key, index)
