"""convert_opset: a model in another version of the standard operators, by onnx's converter, weights left out of it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter

from anybit.errors import UnsupportedError
from anybit.ops.schemas import register_schemas

_SMALL = 1024  # initializers up to this many bytes go along: adapters read scales, pads and axes


def convert_opset(model: ir.Model, version: int) -> ir.Model:
    """A copy of the model at another opset; weights are shared with it, annotations kept.

    Args:
        model: Model without model-local functions.
        version: Version of the standard domain.

    Raises:
        UnsupportedError: onnx cannot convert one of the operators.
    """
    register_schemas()
    large = {
        name: v.const_value
        for name, v in model.graph.initializers.items()
        if v.const_value is not None and v.const_value.nbytes > _SMALL
    }
    slim = model.clone()
    for name in large:
        value = slim.graph.initializers.pop(name)
        value.const_value = None
        slim.graph.inputs.append(value)
    try:
        proto = version_converter.convert_version(ir.to_proto(slim), version)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise UnsupportedError(
            f"cannot convert the model from opset {model.opset_imports.get('')} to {version}",
            got=str(error).splitlines()[0],
        ) from error
    converted = ir.from_proto(proto)
    _restore(converted, model, large)
    return converted


def _restore(converted: ir.Model, model: ir.Model, large: dict[str, ir.TensorProtocol]) -> None:
    graph = converted.graph
    for value in [v for v in graph.inputs if v.name in large]:
        value.const_value = large[str(value.name)]
        graph.inputs.remove(value)
        graph.register_initializer(value)
    known = {v.name: v for v in _values(model.graph)}
    for value in _values(graph):
        if value.name in known:
            value.meta.update(known[value.name].meta)
    converted.metadata_props.update(model.metadata_props)
    converted.meta.update(model.meta)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(o for n in graph.all_nodes() for o in n.outputs)]
