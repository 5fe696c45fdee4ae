"""describe: a plan as a reader sees it, a line a step."""

from __future__ import annotations

from dataclasses import dataclass

from anybit.errors import Refusal
from anybit.plan.plan import Compare, Epilogue, Plan, Product, Requantize, Step


@dataclass(frozen=True)
class StepSummary:
    """One step of a plan.

    Attributes:
        kind: What it does.
        tensor: The tensor of the model that it makes.
        elements: Of one sample.
        element: What they are.
        macs: Multiplications for one sample.
        weight_bits: Bit width of its weights; None where it has none.
        epilogue: How levels come from sums.
        offset: The first byte of what it makes in the arena of one sample; -1 where the caller holds it.
    """

    kind: str
    tensor: str
    elements: int
    element: str
    macs: int
    weight_bits: int | None
    epilogue: str
    offset: int


@dataclass(frozen=True)
class PlanSummary:
    """What `anybit plan` says of a model.

    Attributes:
        inputs: Tensors that the plan reads.
        outputs: Tensors that it makes for what is behind it.
        macs: Multiplications for one sample.
        arena: Bytes of memory for what lies between, for one sample.
        steps: The layers, in order.
        nodes: The nodes of the model that it computes.
        refusals: What of the model is no plan, and why.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    arena: int
    steps: tuple[StepSummary, ...]
    nodes: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    def __str__(self) -> str:
        lines = [
            f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}: {self.macs:,} MACs, arena {self.arena:,} bytes"
        ]
        lines += [f"{s.tensor} = {s.kind} : {s.elements} {s.element} {s.epilogue}".rstrip() for s in self.steps]
        return "\n".join([*lines, *(f"no plan: {r}" for r in self.refusals)])


def describe(plan: Plan) -> PlanSummary:
    """The steps of a plan as text or JSON shows them, with the nodes that are in none."""
    return PlanSummary(
        inputs=tuple(p.name for p in plan.inputs),
        outputs=tuple(p.name for p in plan.outputs),
        macs=plan.macs,
        arena=plan.arena,
        steps=tuple(_summary(plan, step) for step in plan.steps),
        nodes=plan.nodes,
        refusals=plan.refusals,
    )


def _summary(plan: Plan, step: Step) -> StepSummary:
    tensor, product = plan.tensors[step.y], step if isinstance(step, Product) else None
    return StepSummary(
        kind=_kind(step),
        tensor=tensor.name,
        elements=tensor.elements,
        element=tensor.element.value,
        macs=0 if product is None else product.macs,
        weight_bits=None if product is None else product.bits,
        epilogue=_epilogue(step),
        offset=tensor.offset,
    )


def _kind(step: Step) -> str:
    if not isinstance(step, Product):
        return type(step).__name__.lower()
    if step.window.size == step.window.output and step.window.kernel == (1, 1) and step.window.size[1] == 1:
        return "matrix product"
    outputs, rows, columns, channels = step.weights.shape
    name = "depthwise" if channels == 1 and step.group > 1 else "convolution"
    return f"{name} {rows}x{columns}, {step.channels} to {outputs}"


def _epilogue(step: Step) -> str:
    if isinstance(step, Compare):
        return f"{step.thresholds.shape[1]} thresholds"
    epilogue = step.epilogue if isinstance(step, Product | Requantize) else None
    return "" if epilogue is None else _told(epilogue)


def _told(epilogue: Epilogue) -> str:
    if epilogue.thresholds is None:
        return "multiplier"
    selected, _, count = epilogue.thresholds.values.shape
    return f"{count} thresholds" + (f" for each of {selected} levels" if selected > 1 else "")
