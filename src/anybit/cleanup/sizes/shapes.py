"""The shapes of what standard operators make, as formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from anybit.cleanup.sizes.formula import ONE, Formula
from anybit.cleanup.sizes.symbolic import Shape, ShapeRule, SymbolicSizes
from anybit.ops.traits import BROADCASTING, UNARY

_LONGEST = 2**31 - 1  # an end from here on is the end of the axis
_NOTHING: tuple[Shape | None, ...] = ()


def shape_rule(op_type: str) -> ShapeRule | None:
    """The rule of a standard operator, None if there is none."""
    return _RULES.get(op_type)


def _same(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    return (sizes.shape(node.inputs[0]),)


def _broadcast(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    shapes = [sizes.shape(v) for v in node.inputs]
    known = [s for s in shapes if s is not None]
    return (joint_shape(known) if len(known) == len(shapes) else None,)


def joint_shape(shapes: Sequence[Shape]) -> Shape | None:
    """The shape that tensors are broadcast to; None where it depends on the unknown sizes."""
    rank = max(map(len, shapes), default=0)
    joint: list[Formula] = []
    for axis in range(rank):
        met = {s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0} - {ONE}
        numbers = {f for f in met if f.number is not None}
        if len(numbers) > 1 or (not numbers and len(met) > 1):
            return None
        joint.append(next(iter(numbers or met), ONE))
    return tuple(joint)


def _dynamic_quantize(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    return sizes.shape(node.inputs[0]), (), ()


def _shape(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    shape = sizes.shape(node.inputs[0])
    start, end = (node.attributes[n].as_int() if n in node.attributes else None for n in ("start", "end"))
    return (None if shape is None else (Formula(len(shape[start:end])),),)


def _window(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    """Convolutions and pools."""
    x, pooled = sizes.shape(node.inputs[0]), "Pool" in node.op_type
    kernel = node.attributes.get_ints("kernel_shape", ())
    weights = None if pooled else sizes.shape(node.inputs[1])
    if weights is not None and not kernel:
        kernel = [f.number or 0 for f in weights[2:]]
    if x is None or len(x) != len(kernel) + 2 or not all(kernel) or node.attributes.get_int("ceil_mode", 0):
        return _NOTHING
    if weights is not None and len(weights) != len(x):
        return _NOTHING
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return _NOTHING
    rank = len(kernel)
    pads = node.attributes.get_ints("pads", (0,) * 2 * rank)
    strides = node.attributes.get_ints("strides", (1,) * rank)
    dilations = node.attributes.get_ints("dilations", (1,) * rank)
    if len(pads) != 2 * rank or not len(strides) == len(dilations) == rank or min(strides, default=1) < 1:
        return _NOTHING
    formulas, spatial = sizes.formulas, list[Formula]()
    for axis, size in enumerate(x[2:]):
        slack = pads[axis] + pads[axis + rank] - (dilations[axis] * (kernel[axis] - 1) + 1)
        steps = formulas.floor(formulas.add(size, Formula(slack)), Formula(strides[axis]))
        spatial.append(formulas.add(steps, ONE))
    channels = x[1] if pooled else None if weights is None else weights[0]
    return _NOTHING if channels is None else ((x[0], channels, *spatial),)


def _global_pool(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x = sizes.shape(node.inputs[0])
    return (None if x is None else (*x[:2], *(ONE for _ in x[2:])),)


def _matmul(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    a, b = (sizes.shape(v) for v in node.inputs[:2])
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return _NOTHING
    stack = joint_shape([a[:-2], b[:-2]])
    return (None if stack is None else (*stack, a[-2], b[-1]),)


def _gemm(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    a, b = (sizes.shape(v) for v in node.inputs[:2])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return _NOTHING
    transposed = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]
    return ((a[1 if transposed[0] else 0], b[0 if transposed[1] else 1]),)


def _recurrent(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, hidden = sizes.shape(node.inputs[0]), node.attributes.get_int("hidden_size", 0)
    if x is None or len(x) != 3 or not hidden or node.attributes.get_int("layout", 0):
        return _NOTHING
    directions = Formula(2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1)
    last = (directions, x[1], Formula(hidden))
    return (x[0], *last[:1], x[1], last[2]), last, last


def _transpose(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x = sizes.shape(node.inputs[0])
    if x is None:
        return _NOTHING
    order = node.attributes.get_ints("perm", range(len(x))[::-1])
    return (tuple(x[axis] for axis in order) if sorted(order) == list(range(len(x))) else None,)


def _reshape(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x = sizes.shape(node.inputs[0])
    target = sizes.contents(node.inputs[1]) if len(node.inputs) > 1 else None
    if x is None or target is None or node.attributes.get_int("allowzero", 0):
        return _NOTHING
    dimensions = [x[axis] if f is not None and f.number == 0 and axis < len(x) else f for axis, f in enumerate(target)]
    open_axes = [axis for axis, f in enumerate(dimensions) if f is None or not sizes.formulas.positive(f)]
    if len(open_axes) == 1:
        others = sizes.formulas.product(f for axis, f in enumerate(dimensions) if axis != open_axes[0] and f)
        dimensions[open_axes[0]] = sizes.formulas.product(x).divided_by(others)
    known = tuple(f for f in dimensions if f is not None and sizes.formulas.positive(f))
    return (known if len(known) == len(dimensions) else None,)


def _flatten(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x = sizes.shape(node.inputs[0])
    if x is None:
        return _NOTHING
    axis = node.attributes.get_int("axis", 1)
    axis += len(x) if axis < 0 else 0
    return (tuple(sizes.formulas.product(part) for part in (x[:axis], x[axis:])),)


def _squeeze(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, axes = sizes.shape(node.inputs[0]), sizes.integers(node, "axes", 1)
    if x is None or axes is None:
        return _NOTHING
    gone = {axis % max(len(x), 1) for axis in axes}
    return (tuple(f for axis, f in enumerate(x) if axis not in gone),)


def _unsqueeze(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, axes = sizes.shape(node.inputs[0]), sizes.integers(node, "axes", 1)
    if x is None or axes is None:
        return _NOTHING
    rank = len(x) + len(axes)
    new, left = {axis % rank for axis in axes}, iter(x)
    return (tuple(ONE if axis in new else next(left) for axis in range(rank)) if len(new) == len(axes) else None,)


def _concat(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    shapes = [sizes.shape(v) for v in node.inputs]
    known = [s for s in shapes if s is not None]
    axis = node.attributes.get_int("axis", 0)
    if len(known) < len(shapes) or len({len(s) for s in known}) != 1 or not -len(known[0]) <= axis < len(known[0]):
        return _NOTHING
    axis %= len(known[0])
    joined = list(known[0])
    joined[axis] = sizes.formulas.add(*(s[axis] for s in known))
    for place in range(len(joined)):
        numbers = [s[place] for s in known if s[place].number is not None]
        joined[place] = numbers[0] if numbers and place != axis else joined[place]
    return (tuple(joined),)


def _gather(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, indices = (sizes.shape(v) for v in node.inputs[:2])
    axis = node.attributes.get_int("axis", 0)
    if x is None or indices is None or not -len(x) <= axis < len(x):
        return _NOTHING
    axis %= len(x)
    return ((*x[:axis], *indices, *x[axis + 1 :]),)


def _slice(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x = sizes.shape(node.inputs[0])
    parameters = slice_parameters(node, sizes)
    if x is None or parameters is None:
        return _NOTHING
    shape = list(x)
    for start, end, axis, step in parameters:
        kept = _kept(shape[axis], start, end, step)
        if kept is None:
            return _NOTHING
        shape[axis] = kept
    return (tuple(shape),)


def slice_parameters(node: ir.Node, sizes: SymbolicSizes) -> list[tuple[int, int, int, int]] | None:
    """Start, end, axis and step of each axis that a Slice of constant parameters cuts; None for another one."""
    x = sizes.shape(node.inputs[0])
    if x is None or len(node.inputs) < 3:
        return None
    given = [sizes.numbers(v) if v is not None else () for v in (*node.inputs[1:], None, None)[:4]]
    starts, ends, axes, steps = given
    if starts is None or ends is None or axes is None or steps is None:
        return None
    axes = tuple(axis % max(len(x), 1) for axis in axes) or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) == len(set(axes)) or len(axes) > len(x):
        return None
    return list(zip(starts, ends, axes, steps, strict=True))


def _kept(size: Formula, start: int, end: int, step: int) -> Formula | None:
    if size.number is not None:
        return Formula(len(range(size.number)[start:end:step])) if step else None
    if step < 1 or end < _LONGEST or start < 0:
        return None
    if start == 0 and step == 1:
        return size
    return None


def _split(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, parts = sizes.shape(node.inputs[0]), sizes.integers(node, "split", 1)
    axis = node.attributes.get_int("axis", 0)
    if x is None or not -len(x) <= axis < len(x) or parts is None or len(parts) != len(node.outputs):
        return _NOTHING
    axis %= len(x)
    return tuple((*x[:axis], Formula(part), *x[axis + 1 :]) for part in parts)


def _reduce(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, axes = sizes.shape(node.inputs[0]), sizes.integers(node, "axes", 1)
    if x is None or not axes:
        return _NOTHING
    gone, kept = {axis % max(len(x), 1) for axis in axes}, node.attributes.get_int("keepdims", 1)
    return (tuple(ONE if axis in gone else f for axis, f in enumerate(x) if kept or axis not in gone),)


def _pad(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
    x, pads = sizes.shape(node.inputs[0]), sizes.integers(node, "pads", 1)
    if x is None or pads is None or len(pads) != 2 * len(x):
        return _NOTHING
    both = zip(x, pads[: len(x)], pads[len(x) :], strict=True)
    return (tuple(sizes.formulas.add(size, Formula(before + after)) for size, before, after in both),)


def _by_contents(position: int) -> ShapeRule:
    """The rule of operators one of whose inputs is the shape of what they make."""

    def rule(node: ir.Node, sizes: SymbolicSizes) -> Sequence[Shape | None]:
        contents = sizes.contents(node.inputs[position])
        known = [f for f in contents or () if f is not None and sizes.formulas.positive(f)]
        if contents is None or len(known) < len(contents):
            return _NOTHING
        if node.op_type == "Expand":
            x = sizes.shape(node.inputs[0])
            return (None if x is None else joint_shape([x, tuple(known)]),)
        return (tuple(known),)

    return rule


_SAME = """BatchNormalization Clip CumSum DequantizeLinear Hardmax InstanceNormalization LRN LayerNormalization
    LogSoftmax LpNormalization MeanVarianceNormalization QuantizeLinear Softmax""".split()
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()
_RULES: Mapping[str, Callable[[ir.Node, SymbolicSizes], Sequence[Shape | None]]] = {
    **dict.fromkeys(BROADCASTING, _broadcast),
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool"), _window),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("MatMul", "MatMulInteger"), _matmul),
    **dict.fromkeys(("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), _reduce),
    "Concat": _concat,
    "ConstantOfShape": _by_contents(0),
    "DynamicQuantizeLinear": _dynamic_quantize,
    "Expand": _by_contents(1),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
