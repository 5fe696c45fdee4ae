"""The elements of small tensors of integers, as formulas: what is computed from shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from anybit.cleanup.sizes.formula import ONE, Formula
from anybit.cleanup.sizes.shapes import slice_parameters
from anybit.cleanup.sizes.symbolic import Contents, ContentsRule, SymbolicSizes, constants
from anybit.graph.constants import constant

_ZERO = Formula(0)
_LONGEST = 64  # elements of a tensor that is filled, or whose elements are not known
_Pairwise = Callable[[Formula, Formula, SymbolicSizes], Formula | None]
_WIDE = (ir.DataType.INT32, ir.DataType.INT64)


def contents_rule(op_type: str) -> ContentsRule | None:
    """The rule of a standard operator, None if there is none."""
    return _RULES.get(op_type)


def _shape(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    shape = sizes.shape(node.inputs[0])
    start, end = (node.attributes[n].as_int() if n in node.attributes else None for n in ("start", "end"))
    return None if shape is None else shape[start:end]


def _size(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    shape = sizes.shape(node.inputs[0])
    return None if shape is None else (sizes.formulas.product(shape),)


def _same(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    """Operators that at most rename positions: what they make has at most one axis, if what they are given has."""
    return sizes.contents(node.inputs[0])


def _reshaped(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    shape = sizes.shape(node.outputs[0])
    return sizes.contents(node.inputs[0]) if shape is not None and len(shape) < 2 else None


def _cast(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    contents, target = sizes.contents(node.inputs[0]), node.attributes.get_int("to", 0)
    if contents is None or target in _WIDE:
        return contents  # no tensor has 2^31 elements along an axis
    return tuple(map(_truth(sizes), contents)) if target == ir.DataType.BOOL else None


def _truth(sizes: SymbolicSizes) -> Callable[[Formula | None], Formula | None]:
    def truth(formula: Formula | None) -> Formula | None:
        if formula is None or formula.number is not None:
            return None if formula is None else Formula(int(formula.number != 0))
        return None if sizes.formulas.equal(formula, _ZERO) is None else ONE

    return truth


def _concat(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    parts: list[Formula | None] = []
    for value in node.inputs:
        contents, shape = sizes.contents(value), sizes.shape(value)
        if shape is None or len(shape) != 1:
            return None
        length = shape[0].number
        if contents is None and (length is None or length > _LONGEST):
            return None
        parts += contents if contents is not None else [None] * (length or 0)
    return tuple(parts)


def _gather(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    contents, indices = sizes.contents(node.inputs[0]), sizes.numbers(node.inputs[1])
    shape = sizes.shape(node.inputs[1])
    if contents is None or indices is None or shape is None or len(shape) > 1:
        return None
    inside = all(-len(contents) <= index < len(contents) for index in indices)
    return tuple(contents[index] for index in indices) if inside else None


def _slice(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    contents, parameters = sizes.contents(node.inputs[0]), slice_parameters(node, sizes)
    if contents is None or parameters is None or len(parameters) != 1:
        return None
    start, end, _, step = parameters[0]
    if step < 0 and end < -len(contents):
        return contents[start::step]
    return contents[start:end:step] if step else None


def _pairwise(combine: _Pairwise) -> ContentsRule:
    """The rule of an operator of two inputs that are broadcast."""

    def rule(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
        if len(node.inputs) != 2:
            return None
        left, right = (sizes.contents(v) for v in node.inputs)
        if left is None or right is None or not (len(left) == len(right) or 1 in (len(left), len(right))):
            return None
        length = max(len(left), len(right)) if left and right else 0
        pairs = [(left[k % len(left)], right[k % len(right)]) for k in range(length)]
        return tuple(None if a is None or b is None else combine(a, b, sizes) for a, b in pairs)

    return rule


def _sum(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula:
    return sizes.formulas.add(a, b)


def _difference(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula:
    return sizes.formulas.add(a, sizes.formulas.negative(b))


def _product(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula:
    del sizes
    return a * b


def _quotient(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula | None:
    """Division of integers rounds towards 0: down, where both are positive."""
    formulas = sizes.formulas
    return formulas.floor(a, b) if formulas.positive(b) and (a == _ZERO or formulas.positive(a)) else None


def _equality(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula | None:
    equal = sizes.formulas.equal(a, b)
    return None if equal is None else Formula(int(equal))


def _order(*, swapped: bool, reached: bool) -> _Pairwise:
    """a > b, of the operands or swapped ones; reached: a >= b."""

    def combine(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula | None:
        left, right = (b, a) if swapped else (a, b)
        exceeds = sizes.formulas.exceeds(left, right, by=0 if reached else 1)
        return None if exceeds is None else Formula(int(exceeds))

    return combine


def _both(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula | None:
    del sizes
    return a * b if None not in (a.number, b.number) else None


def _either(a: Formula, b: Formula, sizes: SymbolicSizes) -> Formula | None:
    del sizes
    return Formula(int(bool(a.number or b.number))) if None not in (a.number, b.number) else None


def _not(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    contents = sizes.contents(node.inputs[0])
    known = [None if f is None or f.number is None else Formula(int(not f.number)) for f in contents or ()]
    return None if contents is None else tuple(known)


def _where(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    condition, left, right = (sizes.contents(v) for v in node.inputs[:3])
    if condition is None or left is None or right is None or not (condition and left and right):
        return None
    lengths = {len(condition), len(left), len(right)} - {1}
    if len(lengths) > 1:
        return None
    chosen: list[Formula | None] = []
    for k in range(max(lengths, default=1)):
        decided = condition[k % len(condition)]
        a, b = left[k % len(left)], right[k % len(right)]
        is_true = None if decided is None else decided.number
        chosen.append((a if a == b else None) if is_true is None else a if is_true else b)
    return tuple(chosen)


def _product_of_all(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    contents, shape = sizes.contents(node.inputs[0]), sizes.shape(node.inputs[0])
    known = [f for f in contents or () if f is not None]
    if contents is None or len(known) < len(contents) or shape is None or len(shape) != 1:
        return None
    return (sizes.formulas.product(known),)


def _filled(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    shape, value = sizes.numbers(node.inputs[0]), node.attributes.get("value")
    if shape is None or len(shape) > 1 or value is None:
        return None
    element, length = constants(value.as_tensor().numpy()), shape[0] if shape else 1
    return element * length if element is not None and len(element) == 1 and 0 <= length <= _LONGEST else None


def _constant(node: ir.Node, sizes: SymbolicSizes) -> Contents | None:
    del sizes
    return constants(constant(node.outputs[0]))


_RULES: Mapping[str, ContentsRule] = {
    "Add": _pairwise(_sum),
    "And": _pairwise(_both),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Div": _pairwise(_quotient),
    "Equal": _pairwise(_equality),
    "Gather": _gather,
    "Greater": _pairwise(_order(swapped=False, reached=False)),
    "GreaterOrEqual": _pairwise(_order(swapped=False, reached=True)),
    "Identity": _same,
    "Less": _pairwise(_order(swapped=True, reached=False)),
    "LessOrEqual": _pairwise(_order(swapped=True, reached=True)),
    "Mul": _pairwise(_product),
    "Not": _not,
    "Or": _pairwise(_either),
    "ReduceProd": _product_of_all,
    "Reshape": _reshaped,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _same,
    "Sub": _pairwise(_difference),
    "Unsqueeze": _reshaped,
    "Where": _where,
}
