"""flatten: a model as one graph that can be walked from inputs to outputs."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.cleanup.sort_nodes import SortNodes
from anybit.errors import UnsupportedError
from anybit.graph.order import refuse_undefined
from anybit.io.functions import INLINING_ERRORS
from anybit.io.load import ModelSource, load
from anybit.io.repair.normalize import normalize


def flattened(source: ModelSource) -> ir.Model:
    """A copy of the model without model-local functions, its nodes sorted.

    Raises:
        ModelFileError: The model cannot be read.
        InvalidModelError: The graph has a cycle, or a tensor that nothing makes.
        UnsupportedError: A model-local function cannot be inlined.
    """
    model = load(source)
    flatten(model)
    return model


def flatten(model: ir.Model) -> None:
    """Puts the nodes of model-local functions in the place of their calls and sorts all nodes, in place.

    Raises:
        InvalidModelError: The graph has a cycle, or a tensor that nothing makes.
        UnsupportedError: A model-local function cannot be inlined.
    """
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        refuse_undefined(graph)
    SortNodes()(model)
    if model.functions:
        _inline_functions(model)


def _inline_functions(model: ir.Model) -> None:
    try:
        InlinePass()(model)
    except INLINING_ERRORS as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise UnsupportedError("a model-local function cannot be inlined", got=cause) from error
    normalize(model)  # attributes that a call gives to the nodes of a function are known only now
