"""Which tensors carry the batch on axis 0, and whether samples stay apart from input to output.

A model exported for a batch of 1 means its samples one by one. It may be run on more at once only if no operator
mixes samples: this is proven operator by operator here, never assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.errors import Refusal
from anybit.graph.constants import constant, fed_inputs
from anybit.graph.walk import label
from anybit.ops.calls import is_call, traits_of
from anybit.ops.channels_last.average_pool import AVERAGE_POOL
from anybit.ops.channels_last.batch_normalization import BATCH_NORMALIZATION
from anybit.ops.channels_last.conv import CONV
from anybit.ops.channels_last.global_average_pool import GLOBAL_AVERAGE_POOL
from anybit.ops.channels_last.max_pool import MAX_POOL
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.finn.xnor_popcount_mat_mul import XNOR_POPCOUNT_MAT_MUL
from anybit.ops.im2col import IM2COL
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL
from anybit.ops.traits import standard

_PER_AXIS = frozenset(("QuantizeLinear", "DequantizeLinear"))
_PER_SAMPLE = frozenset(
    """AveragePool Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool GlobalMaxPool
    GroupNormalization InstanceNormalization LpPool LRN QLinearConv SpaceToDepth""".split()
)
_ONE_AXIS = frozenset("ArgMax ArgMin Hardmax LayerNormalization LogSoftmax LpNormalization Softmax TopK".split())
_REDUCTIONS = frozenset(
    """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare""".split()
)

BATCH = "batch"
"""Stands for the batch size in a known shape vector."""

_Entry = int | str


@dataclass(frozen=True)
class BatchPlan:
    """Proof that the batch is free, and what encodes the old one.

    Attributes:
        size: Batch size that the model was exported with; None if it is symbolic already.
        reshapes: Reshape nodes whose constant target begins with that size.
        batched: Tensors that carry the batch on axis 0.
    """

    size: int | None
    reshapes: tuple[ir.Node, ...]
    batched: frozenset[ir.Value]


def plan_batch(model: ir.Model) -> BatchPlan | Refusal:
    """Proves that axis 0 of every input is a batch whose samples no operator mixes; shapes must be inferred.

    An input that has a default is no batch: all samples share it, as they share a weight.

    Returns:
        The plan, or the first node that stands in the way.
    """
    inputs = fed_inputs(model.graph)
    sizes = {_first_dimension(v) for v in inputs}
    nameless = "?" in sizes and len(inputs) > 1  # each may be of a size of its own
    if len(sizes) != 1 or None in sizes or nameless:
        return Refusal(
            problem="inputs have no common first dimension",
            got=sorted(map(str, sizes)).__str__(),
            expected="one batch size",
        )
    (size,) = sizes
    proof = _Proof(size if isinstance(size, int) else None, model.opset_imports)
    proof.batched.update(inputs)
    seen: set[ir.Node] = set()
    for node in model.graph:
        if any(v is not None and v.producer() is not None and v.producer() not in seen for v in node.inputs):
            return Refusal(problem="reads a tensor that is made later", node=label(node), hint="sort the graph")
        seen.add(node)
        problem = proof.visit(node)
        if problem is not None:
            return Refusal(problem=problem, node=label(node), hint="feed the batch size of the model")
    for output in model.graph.outputs:
        if output not in proof.batched:
            return Refusal(problem="an output has no batch axis", node=f"output '{output.name}'")
    return BatchPlan(proof.size, tuple(proof.reshapes), frozenset(proof.batched))


def _first_dimension(value: ir.Value) -> int | str | None:
    if value.shape is None or not value.shape.rank():
        return None
    first = value.shape[0]
    return first if isinstance(first, int) else first.value or "?"


@dataclass
class _Proof:
    size: int | None
    opsets: Mapping[str, int]
    batched: set[ir.Value] = field(default_factory=set[ir.Value])
    vectors: dict[ir.Value, tuple[_Entry, ...]] = field(default_factory=dict[ir.Value, tuple[_Entry, ...]])
    reshapes: list[ir.Node] = field(default_factory=list[ir.Node])

    def visit(self, node: ir.Node) -> str | None:
        """What is wrong with the node, if anything; its outputs join the batched values or the known vectors."""
        inputs = [v for v in node.inputs if v is not None]
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
            return "operators with subgraphs are not followed"
        numbers = inputs[:1] if node.op_type == "CastLike" else inputs  # of the other input it takes the type alone
        carrying = [v for v in numbers if v in self.batched]
        if self._follow_vector(node, inputs):
            return None
        if any(v in self.vectors and BATCH in self.vectors[v] for v in inputs) and node.op_type != "Reshape":
            return "computes with the batch size"
        if not carrying:
            return None
        rule = _rule(node, self.opsets)
        if rule is None:
            return "not known to keep samples apart"
        problem = rule(self, node)
        if problem is None:
            self.batched.update(node.outputs)
        return problem

    def _follow_vector(self, node: ir.Node, inputs: Sequence[ir.Value]) -> bool:
        """Evaluates Shape, Gather, Concat and the like on shapes that contain the batch size."""
        if node.domain != "":
            return False
        if node.op_type == "Shape" and inputs[0] in self.batched:
            shape = inputs[0].shape
            if shape is None or not all(isinstance(d, int) for d in list(shape)[1:]):
                return False
            whole: tuple[_Entry, ...] = (BATCH, *(int(str(d)) for d in list(shape)[1:]))
            start, end = _attribute(node, "start", 0), _attribute(node, "end", len(whole))
            self.vectors[node.outputs[0]] = whole[start:end]
            return True
        known = [self._vector(v) for v in inputs]
        if not any(v in self.vectors for v in inputs) or known[0] is None:
            return False
        result = _evaluate_vector(node, known)
        if result is not None:
            self.vectors[node.outputs[0]] = result
        return result is not None

    def _vector(self, value: ir.Value) -> tuple[_Entry, ...] | None:
        if value in self.vectors:
            return self.vectors[value]
        array = constant(value)
        if array is None or array.dtype.kind not in "iu" or array.size > 64:
            return None
        return tuple(int(i) for i in array.reshape(-1))

    # One method for each way in which a family of operators can keep samples apart.

    def elementwise(self, node: ir.Node) -> str | None:
        ranks = {v.shape.rank() if v.shape is not None else -1 for v in node.inputs if v in self.batched}
        if len(ranks) != 1 or -1 in ranks:
            return "operands with a batch differ in rank"
        (rank,) = ranks
        if node.op_type in _PER_AXIS and _attribute(node, "axis", 1) in (0, -rank):
            return "has a scale of its own for each sample"
        for value in node.inputs:
            if value is None or value in self.batched:
                continue
            shape = value.shape
            if shape is None or shape.rank() > rank or (shape.rank() == rank and shape[:1] != (1,)):
                return f"operand '{value.name}' has values of its own along the batch"
        return None

    def first_only(self, node: ir.Node) -> str | None:
        if any(v in self.batched for v in node.inputs[1:]):
            return "a parameter depends on the batch"
        return self.by_the_first(node)

    def by_the_first(self, node: ir.Node) -> str | None:
        return None if node.inputs[0] in self.batched else "the first input has no batch"

    def max_pool(self, node: ir.Node) -> str | None:
        indices = node.outputs[1] if len(node.outputs) > 1 else None
        if indices is not None and (indices.uses() or indices.is_graph_output()):
            return "indices count through all samples"
        return self.first_only(node)

    def batch_normalization(self, node: ir.Node) -> str | None:
        if len(node.outputs) > 1 or _attribute(node, "training_mode", 0):
            return "takes its statistics from the batch"
        return self.first_only(node)

    def matmul(self, node: ir.Node) -> str | None:
        left, right = node.inputs[:2]
        if any(v in self.batched for v in node.inputs[2:]):
            return "a parameter depends on the batch"
        if any(_may_tell_samples_apart(v, left) for v in node.inputs[2:3]):
            return "the zero points have values of their own along the batch"
        if left is None or right is None or left.shape is None or right.shape is None:
            return "shapes are not known"
        first, second = left.shape.rank(), right.shape.rank()
        if left in self.batched and right in self.batched:
            return None if first == second >= 3 else "contracts the batch"
        if left in self.batched:
            free = first >= 2 and (second <= 2 or second < first or (second == first and right.shape[0] == 1))
            return None if free else "the weights have values of their own along the batch"
        return None if second >= 3 and (first < second or left.shape[0] == 1) else "contracts the batch"

    def gemm(self, node: ir.Node) -> str | None:
        if _attribute(node, "transA", 0):
            return "contracts the batch"
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and (bias.shape is None or (bias.shape.rank() == 2 and bias.shape[0] != 1)):
            return "the bias has values of its own along the batch"
        return self.first_only(node)

    def one_axis(self, node: ir.Node) -> str | None:
        default = 1 if node.op_type in ("Softmax", "LogSoftmax", "Hardmax") else -1
        axis = _attribute(node, "axis", 0 if node.op_type in ("ArgMax", "ArgMin") else default)
        return self._not_axis_0(node, [axis])

    def cumulative_sum(self, node: ir.Node) -> str | None:
        axis = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return "may act on the batch axis" if axis is None else self._not_axis_0(node, [int(axis.reshape(-1)[0])])

    def reduction(self, node: ir.Node) -> str | None:
        axes = _axes(node, 1)
        return "reduces over the batch" if axes is None else self._not_axis_0(node, axes)

    def some_axes(self, node: ir.Node) -> str | None:
        axes = _axes(node, 3 if node.op_type == "Slice" else 1)
        if axes is None:
            return "may act on the batch axis"
        return self._not_axis_0(node, axes, output=node.op_type == "Unsqueeze")

    def axis_attribute(self, node: ir.Node) -> str | None:
        if node.op_type == "Concat" and any(v not in self.batched for v in node.inputs):
            return "joins tensors with and without a batch"
        return self._not_axis_0(node, [_attribute(node, "axis", 0)])

    def gather(self, node: ir.Node) -> str | None:
        axis = _attribute(node, "axis", 0)
        data, indices = node.inputs[:2]
        if data not in self.batched:
            return None if axis == 0 else "the batch is not on axis 0 behind it"
        return "picks by sample" if indices in self.batched else self._not_axis_0(node, [axis])

    def transpose(self, node: ir.Node) -> str | None:
        permutation = node.attributes.get("perm")
        return None if permutation is not None and list(permutation.as_ints()[:1]) == [0] else "moves the batch axis"

    def flatten(self, node: ir.Node) -> str | None:
        return None if _attribute(node, "axis", 1) == 1 else "merges the batch with another axis"

    def pad(self, node: ir.Node) -> str | None:
        pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        amounts = (
            list(pads)
            if pads is not None
            else list(node.attributes["pads"].as_ints())
            if "pads" in node.attributes
            else []
        )
        plain = (
            self.first_only(node) is None
            and len(node.inputs) < 4
            and amounts
            and not amounts[0]
            and not amounts[len(amounts) // 2]
        )
        return None if plain else "may pad the batch axis"

    def resize(self, node: ir.Node) -> str | None:
        scales = next(
            (c for v in node.inputs[1:] if (c := constant(v)) is not None and c.size and c.dtype.kind == "f"), None
        )
        if "axes" in node.attributes:
            return "may resize the batch axis"
        if any(v in self.batched for v in node.inputs[1:]):
            return "a parameter depends on the batch"
        rank = node.inputs[0].shape.rank() if node.inputs[0] is not None and node.inputs[0].shape is not None else -1
        return None if scales is not None and scales.size == rank and scales[0] == 1 else "may resize the batch axis"

    def reshape(self, node: ir.Node) -> str | None:
        source = node.inputs[0]
        target = self._vector(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
        if source is None or target is None or not target or BATCH in target[1:]:
            return "the new shape is not known"
        first = target[0]
        if first == BATCH or (first == 0 and not _attribute(node, "allowzero", 0)):
            return None
        if 0 in target and _attribute(node, "allowzero", 0):
            return "the new shape is empty"
        if first == -1:
            return None if self._same_sample(source, target) else "may merge samples"
        if first != self.size:
            return "the new shape has another first dimension"
        self.reshapes.append(node)
        return None

    def _same_sample(self, source: ir.Value, target: Sequence[_Entry]) -> bool:
        if source.shape is None or not all(isinstance(d, int) for d in list(source.shape)[1:]):
            return False
        old, new = 1, 1
        for d in list(source.shape)[1:]:
            old *= int(str(d))
        for d in target[1:]:
            new *= int(d)
        return old == new and new > 0

    def _not_axis_0(self, node: ir.Node, axes: Sequence[int], *, output: bool = False) -> str | None:
        if node.op_type != "Concat" and any(v in self.batched for v in node.inputs[1:]):
            return "a parameter depends on the batch"
        value = node.outputs[0] if output else node.inputs[0]
        if value is None or value.shape is None:
            return "rank is not known"
        rank = value.shape.rank()
        return "acts on the batch axis" if any(a % rank == 0 for a in axes if rank) else None


_Rule = Callable[[_Proof, ir.Node], str | None]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(standard(lambda t: t.elementwise) | _PER_AXIS, _Proof.elementwise),
    **dict.fromkeys(_PER_SAMPLE, _Proof.first_only),
    **dict.fromkeys(_ONE_AXIS, _Proof.one_axis),
    **dict.fromkeys(_REDUCTIONS, _Proof.reduction),
    "BatchNormalization": _Proof.batch_normalization,
    "CastLike": _Proof.by_the_first,
    "CumSum": _Proof.cumulative_sum,
    "Dropout": _Proof.first_only,
    "MatMul": _Proof.matmul,
    "MaxPool": _Proof.max_pool,
    "MatMulInteger": _Proof.matmul,
    "Gemm": _Proof.gemm,
    "Slice": _Proof.some_axes,
    "Squeeze": _Proof.some_axes,
    "Unsqueeze": _Proof.some_axes,
    "Concat": _Proof.axis_attribute,
    "Split": _Proof.axis_attribute,
    "Gather": _Proof.gather,
    "Transpose": _Proof.transpose,
    "Flatten": _Proof.flatten,
    "Pad": _Proof.pad,
    "Resize": _Proof.resize,
    "Reshape": _Proof.reshape,
}
_FIRST_ONLY = (
    *(MULTI_THRESHOLD, IM2COL, QUANT_AVG_POOL, MAX_POOL_NHWC),
    *(AVERAGE_POOL, BATCH_NORMALIZATION, CONV, GLOBAL_AVERAGE_POOL, MAX_POOL),
)
"""Our operators that work on each sample of their first input."""


def _may_tell_samples_apart(zero_point: ir.Value | None, factor: ir.Value | None) -> bool:
    """Whether the zero points of the rows of a first factor may differ along its first axis."""
    if zero_point is None:
        return False
    if zero_point.shape is None or factor is None or factor.shape is None:
        return True
    rank, axes = zero_point.shape.rank(), factor.shape.rank()
    rows = rank == 1 and axes == 2  # [M] is [M, 1]
    return (rows or rank == axes) and zero_point.shape[0] != 1


def _rule(node: ir.Node, opsets: Mapping[str, int]) -> _Rule | None:
    if node.domain == "":
        return _RULES.get(node.op_type)
    if traits_of(node, opsets).elementwise:
        return _Proof.elementwise
    if is_call(node, XNOR_POPCOUNT_MAT_MUL):
        return _Proof.matmul
    return _Proof.first_only if is_call(node, *_FIRST_ONLY) else None


def _attribute(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    stated = attribute is not None and attribute.type == ir.AttributeType.INT and not attribute.is_ref()
    return attribute.as_int() if attribute is not None and stated else default


def _axes(node: ir.Node, position: int) -> Sequence[int] | None:
    if "axes" in node.attributes:
        return node.attributes["axes"].as_ints()
    array = constant(node.inputs[position]) if len(node.inputs) > position else None
    return None if array is None or not array.size else [int(a) for a in array.reshape(-1)]


def _evaluate_vector(node: ir.Node, known: Sequence[tuple[_Entry, ...] | None]) -> tuple[_Entry, ...] | None:
    first = known[0]
    if first is None:
        return None
    match node.op_type:
        case "Cast" | "Identity" | "Unsqueeze" | "Squeeze":
            return first
        case "Concat":
            return tuple(e for v in known if v is not None for e in v) if None not in known else None
        case "Gather":
            picks = known[1]
            if picks is None or not all(isinstance(i, int) and -len(first) <= i < len(first) for i in picks):
                return None
            return tuple(first[int(i)] for i in picks)
        case "Slice" if all(v is not None and len(v) == 1 and isinstance(v[0], int) for v in known[1:]):
            start, end, *rest = (int(v[0]) for v in known[1:] if v is not None)
            step = rest[1] if len(rest) > 1 else 1
            return first[start:end:step]
        case _:
            return None
