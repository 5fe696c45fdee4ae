"""CostModel: what a plan costs, as a function of the bits of its tensors, without writing the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.cost.cost import work_of
from anybit.analysis.cost.layer import Layer, Stored
from anybit.analysis.cost.macs import contractions, operands_of
from anybit.errors import UnsupportedError
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.io.save import to_proto
from anybit.ops.traits import MOVING
from anybit.quantization.plan import Plan
from anybit.quantization.prepare import Prepared

_FLOAT_BITS = 32
_STORED_BITS = (2, 4, 8, 16)  # of the integer types of ONNX
_QUANTIZER_BYTES = 640  # that a quantiser and its parameters take in a file, with long names
_PACKED_BYTES = 1024  # that the nodes of packed weights take; weights that would gain less are stored as floats


@dataclass(frozen=True)
class Width:
    """The bits of a tensor: chosen, or known.

    Attributes:
        tensor: The tensor whose bits are chosen; None where they are known.
        bits: The bits where they are known.
    """

    tensor: str | None
    bits: int = _FLOAT_BITS

    def of(self, bits: Mapping[str, int]) -> int:
        """The bits under a choice."""
        return self.bits if self.tensor is None else bits[self.tensor]


@dataclass(frozen=True)
class ProductCost:
    """Multiply-accumulates of two tensors: they cost macs * left * right bit operations."""

    left: Width
    right: Width
    macs: int


@dataclass(frozen=True)
class StoredCost:
    """A tensor that is kept: it costs elements * width bits."""

    width: Width
    elements: int


@dataclass(frozen=True)
class CostModel:
    """What a plan costs, as `anybit.cost` counts it in the model that is written.

    Attributes:
        products: Multiply-accumulates.
        weights: Constants that are multiplied or looked up.
        activations: Other tensors that multiply-accumulates read.
        other_bytes: Bytes of the file apart from the weights whose bits are chosen.
        open: A node whose products or operands are not counted, as their shapes are not known; None if there is none.
    """

    products: tuple[ProductCost, ...]
    weights: tuple[StoredCost, ...]
    activations: tuple[StoredCost, ...]
    other_bytes: int
    open: str | None = None

    def refuse_open(self) -> None:
        """Refuses a count of products where a node has some that are not known.

        Raises:
            UnsupportedError: A node multiplies tensors whose shapes are not known.
        """
        if self.open is not None:
            raise UnsupportedError(
                "a budget needs the shapes of all products",
                node=self.open,
                hint="fix the shapes of the inputs, or name weight-bits or file-size alone",
            )

    def costs(self, bits: Mapping[str, int]) -> dict[str, int]:
        """The costs under a choice of bits, by the names that `CostBudget` has for them."""
        return {
            "bops": sum(p.macs * p.left.of(bits) * p.right.of(bits) for p in self.products),
            "weight_bits": sum(s.elements * s.width.of(bits) for s in self.weights),
            "activation_bits": sum(s.elements * s.width.of(bits) for s in self.activations),
            "file_size": self.other_bytes
            + sum(stored_bytes(s.elements, s.width.of(bits)) for s in self.weights if s.width.tensor is not None),
        }


def stored_bytes(elements: int, bits: int) -> int:
    """Bytes of weights in a file: in the smallest integer type that holds them, or as floats where that is shorter."""
    width = next((b for b in _STORED_BITS if b >= bits), _FLOAT_BITS)
    return min(-(-elements * width // 8) + _PACKED_BYTES, elements * _FLOAT_BITS // 8)


def cost_model(prepared: Prepared, plan: Plan, groups: Iterable[tuple[str, ...]] = ()) -> CostModel:
    """The costs of a plan of the model as a function of the bits of the tensors that it quantises.

    Args:
        prepared: The model.
        plan: Which tensors are quantised.
        groups: Tensors that have their bits in common: the first one stands for all.
    """
    chosen = {t.tensor: t.tensor for t in (*plan.activations, *plan.weights) if t.bits is not None}
    chosen |= {tensor: group[0] for group in groups for tensor in group if tensor in chosen}
    model = prepared.work.clone()
    _, _, work = work_of(model)
    reader = _Reader(chosen)
    for layer in work.layers:
        reader.read(layer)
    proto_bytes = to_proto(prepared.model).ByteSize()
    weights = tuple(reader.weights.values())
    floats = sum(s.elements for s in weights if s.width.tensor is not None) * _FLOAT_BITS // 8
    other = proto_bytes - floats + _QUANTIZER_BYTES * len(chosen)
    return CostModel(tuple(reader.products), weights, tuple(reader.activations.values()), other, reader.open)


class _Reader:
    def __init__(self, chosen: Mapping[str, str]) -> None:
        self.chosen = chosen
        self.products: list[ProductCost] = []
        self.weights: dict[Hashable, StoredCost] = {}
        self.activations: dict[Hashable, StoredCost] = {}
        self.open: str | None = None

    def read(self, layer: Layer) -> None:
        node = layer.node
        if layer.products is None:
            self.open = self.open or label(node)
        counted = () if layer.products is None else contractions(node) or ()
        for contraction, product in zip(counted, layer.products or (), strict=False):
            left, right = (_input(node, i) for i in (contraction.left, contraction.right))
            first, second = product.formats
            if constant(left) is not None and constant(right) is None:
                first, second = second, first
            widths = self._width(left, first.bits), self._width(right, second.bits)
            self.products.append(ProductCost(*widths, product.macs))
        indices = operands_of(node) or (0,)
        operands = [v for i in indices if i < len(node.inputs) and (v := node.inputs[i]) is not None]
        constants = [v for v in operands if constant(v) is not None]
        others = [v for v in operands if constant(v) is None]
        self._store(self.weights, constants, layer.weights or ())
        self._store(self.activations, others, layer.activations or ())

    def _store(self, kept: dict[Hashable, StoredCost], values: list[ir.Value], stored: tuple[Stored, ...]) -> None:
        for value, one in zip(values, stored, strict=False):
            if one.elements is None:
                self.open = self.open or f"tensor '{value.name}'"
            else:
                kept[one.key] = StoredCost(self._width(value, one.bits), one.elements)

    def _width(self, value: ir.Value | None, known: int) -> Width:
        found = None if value is None else self._width_of(value)
        return found or Width(None, known)

    def _width_of(self, value: ir.Value) -> Width | None:
        """The choice that decides the bits of a tensor: its own, or that of the tensor whose elements it holds."""
        current: ir.Value | None = value
        while current is not None:
            if str(current.name) in self.chosen:
                return Width(self.chosen[str(current.name)])
            node = current.producer()
            if node is None or node.domain != "" or node.op_type not in MOVING:
                return None
            current = node.inputs[0]
        return None


def _input(node: ir.Node, index: int | None) -> ir.Value | None:
    return None if index is None or index >= len(node.inputs) else node.inputs[index]
