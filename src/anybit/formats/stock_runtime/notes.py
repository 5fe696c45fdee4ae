"""stock_notes: where stock ONNX Runtime, at its default options, computes something else than an exact file says.

Each rule is a rewriting that was seen to change results, or to end in a model that is refused, in ONNX Runtime 1.32 on
x86; `anybit.formats.stock_runtime.forms` has written what there is another form for. Results that move by the rounding
of float sums alone, and levels that such a sum decides by chance, are no departure; levels of sums on ties are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.formats.dialect import Note
from anybit.formats.stock_runtime import products as stock_products
from anybit.formats.stock_runtime import rules as stock_rules
from anybit.formats.stock_runtime.graph import MOVES, Place
from anybit.graph.walk import all_nodes
from anybit.ops.calls import operator_of

_RULES: tuple[Callable[[Place], Iterator[Note]], ...] = (
    stock_products.block_weights,
    stock_products.rounded_constants,
    stock_products.integer_bias,
    stock_rules.softmax,
    stock_rules.by_channel,
    stock_rules.moved_past,
    stock_rules.small_types,
    stock_rules.pair_of_words,
    stock_products.overflow,
    stock_products.saturation,
    stock_products.saturated_operator,
    stock_rules.ties,
    stock_products.scaled_product,
    stock_products.scaled_sums,
)


def stock_notes(model: ir.Model) -> tuple[Note, ...]:
    """A note for each node of a model of standard operators that stock ONNX Runtime may compute otherwise.

    Args:
        model: What a writer made; shapes are inferred where there are none.
    """
    nodes = [n for n in all_nodes(model.graph) if n.domain == "" or operator_of(n, model.opset_imports) is not None]
    read = [n for n in nodes if n.op_type in stock_rules.FUSED | MOVES]
    infer_missing(model, [v for n in read for v in (*n.inputs[:1], *n.outputs)])
    opset = model.opset_imports.get("", 1)
    places = [Place(n, opset) for n in nodes]
    firsts = [next((note for rule in _RULES for note in rule(place)), None) for place in places]
    return tuple(note for note in firsts if note is not None)
