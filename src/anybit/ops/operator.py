"""Operator: the one record in which everything about an operator stands together."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anybit.errors import Finding
from anybit.graph.attributes import AttributeValue
from anybit.number_formats import NumberFormat
from anybit.ops.traits import NO_TRAITS, Traits

if TYPE_CHECKING:
    import onnxscript
    from onnx.shape_inference import InferenceContext
from anybit.arrays import Array

DOMAIN = "qonnx.custom_op.general"


class Types(enum.Enum):
    """Element types that an input takes; the values are ONNX type strings."""

    FLOAT = ("tensor(float)", "tensor(double)", "tensor(float16)")
    WITHIN_DOUBLE = (*FLOAT, *(f"tensor({kind}{width})" for kind in ("int", "uint") for width in (8, 16, 32)))
    NUMERIC = (
        *FLOAT,
        *(f"tensor({kind}{width})" for kind in ("int", "uint") for width in (8, 16, 32, 64)),
    )


@dataclass(frozen=True)
class Input:
    """One formal input of an operator; one that may be left out stands behind those that may not."""

    name: str
    types: Types = Types.NUMERIC
    description: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Attribute:
    """One attribute; without a default it must be given.

    Attributes:
        name: Its name.
        kind: ``int``, ``float``, ``str``, ``tuple[int, ...]`` (or ``tuple``), ``tuple[float, ...]``,
            ``tuple[str, ...]``, or ``numpy.ndarray`` for a tensor.
        default: What it is where a node does not give it.
        description: For people.
    """

    name: str
    kind: type[AttributeValue]
    default: AttributeValue | None = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One use of an operator in a model, as its rules see it.

    Attributes:
        node: How messages name the node.
        attributes: Every attribute, defaults filled in.
        constants: By input name, the value where it is constant in the model.
        shapes: By input name, the shape where its rank is known; unknown dimensions are None.
    """

    node: str
    attributes: Mapping[str, AttributeValue]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int | None, ...]]

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute that is a list of integers; empty where there is none."""
        value = self.attributes.get(name, ())
        return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()

    def finding(self, rule: str, problem: str, *, got: object, expected: str, hint: str = "") -> Finding:
        """An error about this node."""
        return Finding(rule=rule, problem=problem, node=self.node, got=str(got), expected=expected, hint=hint)


def no_findings(call: Call) -> Iterable[Finding]:
    """The rule of an operator that has none beyond its inputs and attributes."""
    del call
    return ()


def no_format(call: Call) -> NumberFormat | None:
    """The number format of an operator whose output is in no particular one."""
    del call
    return None


@dataclass(frozen=True, kw_only=True)
class GridBounds:
    """value = scale * (integer - zero_point), lo <= integer <= hi: the integers behind a quantised tensor.

    Attributes:
        scale: Positive; as all of these it is float64 and broadcasts to the tensor.
        lo: Smallest integer.
        hi: Largest one.
        zero_point: The integer of 0; behind a bias it is a fraction.
    """

    scale: npt.ArrayLike
    lo: npt.ArrayLike
    hi: npt.ArrayLike
    zero_point: npt.ArrayLike = 0.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """lo <= value <= hi for every element of a tensor that is not NaN.

    Attributes:
        lo: Lower bound, -inf where none is known; float64, broadcasts to the tensor.
        hi: Upper bound, inf where none is known.
        grid: The integers behind the tensor; None where it is not a quantised quantity.
    """

    lo: npt.ArrayLike
    hi: npt.ArrayLike
    grid: GridBounds | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an operator follows when tensors get their channels as the last axis; its output follows with them.

    Attributes:
        inputs: Positions of the inputs that get them, too; the others stay as they are.
        attribute: The text attribute by which the operator is told where the channels are, "NCHW" or "NHWC" and the
            like by rank; empty where it means the same in any order of axes.
    """

    inputs: tuple[int, ...] = (0,)
    attribute: str = ""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Everything that anybit knows about one operator.

    Attributes:
        name: ``op_type`` of its nodes, as it is written.
        domain: Domain of its nodes.
        since: First domain version with this meaning; a later record of the same name replaces it from there on.
        aliases: Further names that are read as this operator.
        inputs: Formal inputs, in order.
        attributes: Attributes with their defaults.
        outputs: Formal outputs, in order; a call may leave out those behind the first.
        reference: The meaning, in numpy: called with the inputs by position and every attribute by name; returns
            the output, or a tuple of them where there are several. float16 inputs are its own to widen (see `widened`).
        body: The same meaning as an onnxscript function, by which stock runtimes run it; None if there is none, and
            then only the reference engine can. The body of a float16 call is given float32, that of an integer one
            float64, and its result becomes float32.
        infer: ONNX type and shape inference; the default gives the first output the first input's type and shape.
        traits: What the operator is like, such as element by element; the default claims nothing.
        bounds: What the first output can hold: called with the `Call` and by position with the `Bounds` of each input,
            None for one left out. It has to hold for the reference and for the body. Without it, and of further
            outputs, nothing is known.
        layout: How it follows a change of layout; None where it does not. An elementwise operator follows by itself.
        check: Rules beyond number and type of inputs and attributes.
        number_format: Format of the integers behind the output where the call fixes it.
    """

    name: str
    inputs: tuple[Input, ...]
    reference: Callable[..., Array | tuple[Array, ...]]
    domain: str = DOMAIN
    since: int = 1
    aliases: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    outputs: tuple[str, ...] = ("Y",)
    body: onnxscript.OnnxFunction[..., Any] | None = None
    traits: Traits = NO_TRAITS
    bounds: Callable[..., Bounds] | None = None
    layout: Layout | None = None
    infer: Callable[[InferenceContext], None] | None = None
    check: Callable[[Call], Iterable[Finding]] = no_findings
    number_format: Callable[[Call], NumberFormat | None] = no_format
    doc: str = ""

    def evaluate(self, inputs: Iterable[Array], attributes: Mapping[str, AttributeValue]) -> Array:
        """The first output of the reference for these inputs; attributes left out take their defaults.

        NaN, also a signalling one, and what overflows is answered, not warned of.
        """
        return self.results(inputs, attributes)[0]

    def results(self, inputs: Iterable[Array], attributes: Mapping[str, AttributeValue]) -> tuple[Array, ...]:
        """All outputs of the reference for these inputs; see `evaluate`.

        Raises:
            ValueError: The reference gives another number of outputs than the record states.
        """
        values = {a.name: attributes.get(a.name, a.default) for a in self.attributes}
        with np.errstate(all="ignore"):
            made = self.reference(*inputs, **values)
        results = made if isinstance(made, tuple) else (made,)
        if len(results) != len(self.outputs):
            expected = ", ".join(self.outputs)
            raise ValueError(f"the reference of {self.name} gives {len(results)} outputs, expected {expected}")
        return results


def widened(x: npt.ArrayLike) -> npt.NDArray[np.floating[Any]]:
    """X in the type that operators compute in: float16 as float32 (exactly), float32 and float64 as they are.

    Raises:
        TypeError: X is not floating point; the quantisers are defined on real numbers only.
    """
    array = np.asarray(x)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise TypeError(f"X is {array.dtype}, expected float16, float32 or float64")
    return array
