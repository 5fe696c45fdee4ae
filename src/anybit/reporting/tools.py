"""tools: what each hardware tool takes of a model, and what native kernels run of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from anybit.analysis.values.input_range import InputRanges
from anybit.errors import AnybitError
from anybit.plan.build import plan_of
from anybit.plan.describe import describe
from anybit.plan.plan import Plan
from anybit.reporting.messages import Messages
from anybit.reporting.model import NativePlan, PlanStep, Tool
from anybit.reporting.text import shown
from anybit.targets.c.prepare import project_of
from anybit.targets.da4ml.prepare import prepare_da4ml
from anybit.targets.finn.prepare import prepare_finn
from anybit.targets.handover import Handover
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from anybit.targets.project import Project


@dataclass(frozen=True)
class Planned:
    """A model and its integer plan, which more than one target begins with."""

    model: ir.Model

    @cached_property
    def _plan(self) -> Plan | AnybitError:
        try:
            return plan_of(self.model)
        except AnybitError as error:
            return error

    def plan(self) -> Plan:
        """The plan.

        Raises:
            AnybitError: As `plan_of`.
        """
        if isinstance(self._plan, AnybitError):
            raise self._plan
        return self._plan


def tools_of(
    model: ir.Model, planned: Planned, messages: Messages, *, input_ranges: InputRanges | None = None
) -> tuple[Tool, ...]:
    """What the hardware tools say of a model by their rules; `prepare_finn` and `prepare_hls4ml` run it as well.

    Args:
        model: The model as it was read; it stays as it is.
        planned: Its integer plan.
        messages: Where what they say belongs.
        input_ranges: What its inputs are fed, for the tool whose number formats depend on that.
    """
    calls: dict[str, Callable[[], Handover | Project]] = {
        "FINN": lambda: prepare_finn(model, compared=False),
        "hls4ml": lambda: prepare_hls4ml(model, input_ranges=input_ranges, compared=False),
        "da4ml": lambda: prepare_da4ml(model),
        "C": lambda: project_of(model, lambda _: planned.plan()),
    }
    return tuple(_tool(name, call, messages) for name, call in calls.items())


def _tool(name: str, prepare: Callable[[], Handover | Project], messages: Messages) -> Tool:
    try:
        made = prepare()
    except AnybitError as error:
        return Tool(name, ready=False, rewrites=0, messages=messages.refusals((error.diagnosis,)))
    return Tool(name, made.ready, len(made.rewrites), messages.findings(made.findings))


def native_plan(planned: Planned, messages: Messages, block_of_tensor: Mapping[str, int]) -> NativePlan:
    """The integer plan of a model: its layers, and what of it is none and why.

    Args:
        planned: The model as it was read.
        messages: Where refusals belong.
        block_of_tensor: Index of the block that makes a tensor, by its name.
    """
    try:
        plan = describe(planned.plan())
    except AnybitError as error:
        return NativePlan(0, 0, 0, (), messages.refusals((error.diagnosis,)))
    steps = (
        PlanStep(
            kind=s.kind,
            tensor=shown(s.tensor),
            element=s.element,
            macs=s.macs,
            weight_bits=s.weight_bits,
            epilogue=s.epilogue,
            block=block_of_tensor.get(s.tensor),
        )
        for s in plan.steps
    )
    return NativePlan(plan.macs, plan.arena, len(plan.nodes), tuple(steps), messages.refusals(plan.refusals))
