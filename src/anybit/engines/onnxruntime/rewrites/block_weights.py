"""Weights of up to 4 bits for ONNX Runtime as they are: blocks of integers with a scale, multiplied in float.

    y = x @ (scale * (byte half - 8)),  MatMulNBits with accuracy level 1

Nothing of x is rounded: sums are float32 sums as before. A net that is larger than the caches waits for its weights;
an eighth of the memory is read in a third of the time where a sample is one row, in 0.8 to 1 of it where it is many.
Smaller nets gain nothing and are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.quantizers.quantizer import read_quant

_DOMAIN = "com.microsoft"
_EXACT = 1  # the level at which activations stay float32; at level 4 they become bytes
_WORTHWHILE = 1 << 26  # bytes of float32 weights, taken together: more than the caches of a processor
_SMALLEST = 1 << 16  # elements of a weight that counts
_BITS = 4
_ZERO = 1 << _BITS - 1  # what a half byte holds for 0
_BLOCKS = (128, 64, 32, 16)


@dataclass(frozen=True)
class _Product:
    """A MatMul whose second operand is a quantiser of a constant."""

    node: ir.Node
    quantizer: ir.Node
    weights: npt.NDArray[np.float32]


def use_block_weights(model: ir.Model) -> None:
    """Replaces MatMul(x, Quant(w)) where x is not quantised to bytes, if the weights together are large.

    Conditions: float32, integers between -8 and 7, a scale that is the same over 16 rows or more of a column.

    Args:
        model: Hub model whose constants are folded, weight quantisers kept; changed in place.
    """
    found = [p for n in all_nodes(model.graph) if (p := _product(n)) is not None]
    if sum(p.weights.nbytes for p in found) < _WORTHWHILE:
        return
    with Editor(model, rule="blocks") as edit:
        for product in found:
            _replace(product, model, edit)


def _product(node: ir.Node) -> _Product | None:
    if node.domain != "" or node.op_type != "MatMul" or node.inputs[1] is None:
        return None
    quantizer = node.inputs[1].producer()
    weights = constant(quantizer.inputs[0]) if quantizer is not None and quantizer.inputs else None
    if quantizer is None or weights is None or weights.ndim != 2 or weights.dtype != np.float32:
        return None
    return None if weights.size < _SMALLEST else _Product(node, quantizer, weights)


def _replace(product: _Product, model: ir.Model, edit: Editor) -> None:
    quantizer = read_quant(product.quantizer, model)
    if isinstance(quantizer, Refusal) or not quantizer.has_integer_zero_point:
        return
    lo, hi = quantizer.lo - quantizer.zero_point, quantizer.hi - quantizer.zero_point
    rows, columns = product.weights.shape
    scale = np.broadcast_to(quantizer.scale, product.weights.shape)
    block = _block(scale)
    if block is None or (lo < -_ZERO).any() or (hi >= _ZERO).any():
        return
    halves = (quantizer.integers(product.weights) - quantizer.zero_point + _ZERO).astype(np.uint8).T
    count = -(-rows // block)
    halves = np.pad(halves, ((0, 0), (0, count * block - rows)), constant_values=_ZERO)
    packed = (halves[:, 0::2] | halves[:, 1::2] << _BITS).reshape(columns, count, block // 2)
    scales = np.ascontiguousarray(scale[::block].T).reshape(-1)
    old = product.node.outputs[0]
    operands = [edit.constant(f"{old.name}/{key}", a) for key, a in (("blocks", packed), ("scales", scales))]
    sizes = {"K": rows, "N": columns, "bits": _BITS, "block_size": block, "accuracy_level": _EXACT}
    attributes: dict[str, ir.Attr] = {key: ir.AttrInt64(key, value) for key, value in sizes.items()}
    made = edit.node(
        "MatMulNBits",
        [product.node.inputs[0], *operands],
        f"{old.name}/product",
        like=old,
        domain=_DOMAIN,
        attributes=attributes,
    )
    edit.replace(old, made)
    edit.remove(product.node)
    model.opset_imports.setdefault(_DOMAIN, 1)


def _block(scale: npt.NDArray[np.float32]) -> int | None:
    """The largest number of rows over which each column has one scale; None if it is smaller than a block may be."""
    if scale.strides[0] == 0:
        return _BLOCKS[0]
    changes = np.flatnonzero((scale[1:] != scale[:-1]).any(axis=1)) + 1
    return next((b for b in _BLOCKS if not (changes % b).any()), None)
