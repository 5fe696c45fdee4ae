"""ModelWrapper and DataType in the place of those of the qonnx package, over anybit's passes, formats and files.

A script changes one import. The model is held as an ``onnx.ModelProto``, since such scripts edit its nodes in place;
passes of anybit are given a copy. What stands for the rest of the package is said in docs/migration-from-qonnx.md.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from anybit.compat.data_type import DataType
from anybit.compat.graph_cleanup import clean_graph, describe_initializers
from anybit.errors import UsageError
from anybit.graph.annotations import parse_layout, parse_sparsity
from anybit.io.load import load
from anybit.io.save import save, to_proto
from anybit.number_formats import parse_number_format
from anybit.ops.registry import find_operator
from anybit.passes.apply import apply

_T = TypeVar("_T")
_FORMAT, _LAYOUT, _SPARSITY = "finn_datatype", "tensor_layout", "tensor_sparsity"
_CUSTOM = ("qonnx.", "finn")


class Transformation(Protocol):
    """What `ModelWrapper.transform` applies until it says that it changed nothing."""

    def apply(self, model: Any) -> tuple[Any, bool]: ...


class CustomOp:
    """A node with its attributes by name; those left out have the defaults of the operator."""

    def __init__(self, node: onnx.NodeProto, version: int) -> None:
        self.onnx_node = node
        operator = find_operator(node.domain, node.op_type, version)
        self._defaults = {} if operator is None else {a.name: a.default for a in operator.attributes}

    def get_nodeattr(self, name: str) -> Any:
        known = {a.name: helper.get_attribute_value(a) for a in self.onnx_node.attribute}
        if name not in known and name not in self._defaults:
            raise UsageError("attribute", node=self.onnx_node.name, got=repr(name), expected=", ".join(self._defaults))
        value = known.get(name, self._defaults.get(name))
        return value.decode() if isinstance(value, bytes) else value

    def set_nodeattr(self, name: str, value: Any) -> None:
        kept = [a for a in self.onnx_node.attribute if a.name != name]
        del self.onnx_node.attribute[:]
        self.onnx_node.attribute.extend([*kept, helper.make_attribute(name, value)])


class ModelWrapper:
    """A model with the methods of the package's class; see docs/migration-from-qonnx.md for what each is here.

    Args:
        onnx_model_proto: Path, bytes or ``onnx.ModelProto``; an ``onnx_ir.Model`` is taken, too.
        make_deepcopy: Work on a copy of the ``onnx.ModelProto``, else edits are seen in it.
        fix_float64: Make float64 tensors float32 before each transformation.
        fix_missing_initializer_valueinfo: Give initializers a ``ValueInfoProto``, which the package's functions read.
    """

    def __init__(
        self,
        onnx_model_proto: str | bytes | onnx.ModelProto | ir.Model,
        make_deepcopy: bool = False,
        fix_float64: bool = False,
        fix_missing_initializer_valueinfo: bool = True,
    ) -> None:
        if isinstance(onnx_model_proto, onnx.ModelProto):
            self._model_proto = copy.deepcopy(onnx_model_proto) if make_deepcopy else onnx_model_proto
        else:
            self._model_proto = to_proto(load(onnx_model_proto))
        self.fix_float64, self._given = fix_float64, 0
        self.temporary_fix_oldstyle_domain()
        if fix_missing_initializer_valueinfo:
            describe_initializers(self.graph)

    def temporary_fix_oldstyle_domain(self) -> None:
        for node in self.graph.node:
            if node.domain in ("finn", "finn.custom_op.general"):
                backend = any(a.name == "backend" and a.s == b"fpgadataflow" for a in node.attribute)
                node.domain = "finn.custom_op.fpgadataflow" if backend else "qonnx.custom_op.general"

    @property
    def graph(self) -> onnx.GraphProto:
        return self._model_proto.graph

    @graph.setter
    def graph(self, value: onnx.GraphProto) -> None:
        self._model_proto.graph.CopyFrom(value)

    @property
    def model(self) -> onnx.ModelProto:
        return self._model_proto

    @model.setter
    def model(self, value: onnx.ModelProto) -> None:
        self._model_proto = value

    def save(self, filename: str | os.PathLike[str]) -> None:
        save(self._model_proto, Path(filename))

    def analysis(self, analysis_fxn: Callable[..., _T], apply_to_subgraphs: bool = False) -> _T:
        return analysis_fxn(self, True) if apply_to_subgraphs else analysis_fxn(self)

    def transform(
        self,
        transformation: Transformation | ir.passes.PassBase | str,
        make_deepcopy: bool = True,
        cleanup: bool = True,
        apply_to_subgraphs: bool = False,
        use_preorder_traversal: bool = True,
    ) -> ModelWrapper:
        """A transformation of the package or of a script until it changes nothing; a pass of anybit, once."""
        made = copy.deepcopy(self) if make_deepcopy else self
        if self.fix_float64:
            made._model_proto.CopyFrom(to_proto(apply(made._model_proto, ["double-to-float"]).model))
        if isinstance(transformation, str | ir.passes.PassBase):  # it visits subgraphs by itself
            made._model_proto.CopyFrom(to_proto(apply(made._model_proto, [transformation]).model))
            return made
        options = (make_deepcopy, cleanup, True, use_preorder_traversal)
        if apply_to_subgraphs and not use_preorder_traversal:
            made.transform_subgraphs(transformation, *options)
        changed = True
        while changed:
            result, changed = transformation.apply(made)
            made.model = result.model  # some of the package's make a wrapper of their own class
        if cleanup:
            made.cleanup()
        if apply_to_subgraphs and use_preorder_traversal:
            made.transform_subgraphs(transformation, *options)
        return made

    def transform_subgraphs(self, transformation: Transformation, *options: bool, **named: bool) -> None:
        for attribute in (a for n in self.graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH):
            inner = self.make_subgraph_modelwrapper(attribute.g).transform(transformation, *options, **named)
            attribute.g.CopyFrom(inner.graph)

    def cleanup(self) -> ModelWrapper:
        clean_graph(self.graph)
        return self

    def make_subgraph_modelwrapper(self, subgraph: onnx.GraphProto) -> ModelWrapper:
        return ModelWrapper(helper.make_model(subgraph, opset_imports=list(self._model_proto.opset_import)))

    def get_metadata_prop(self, key: str) -> str | None:
        return next((p.value for p in self.graph.metadata_props if p.key == key), None)

    def set_metadata_prop(self, key: str, value: str) -> None:
        known = next((p for p in self.graph.metadata_props if p.key == key), None)
        (self.graph.metadata_props.add(key=key) if known is None else known).value = value

    def get_opset_imports(self) -> dict[str, int]:
        return {o.domain: o.version for o in self._model_proto.opset_import}

    def set_opset_import(self, domain: str, version: int) -> None:
        known = next((o for o in self._model_proto.opset_import if o.domain == domain), None)
        (self._model_proto.opset_import.add(domain=domain) if known is None else known).version = version

    def _infos(self) -> Iterator[onnx.ValueInfoProto]:
        yield from (*self.graph.value_info, *self.graph.input, *self.graph.output)

    def get_all_tensor_names(self) -> list[str]:
        return list(dict.fromkeys([*(i.name for i in self._infos()), *(t.name for t in self.graph.initializer)]))

    def get_first_global_in(self) -> str:
        return self.graph.input[0].name

    def get_first_global_out(self) -> str:
        return self.graph.output[0].name

    def make_new_valueinfo_name(self) -> str:
        """A name that no tensor has, and that no later call gives again."""
        taken = set(self.get_all_tensor_names()) | {t for n in self.graph.node for t in (*n.input, *n.output)}
        self._given += 1
        while f"new_tensor_{self._given}" in taken:
            self._given += 1
        return f"new_tensor_{self._given}"

    def get_tensor_valueinfo(self, tensor_name: str) -> onnx.ValueInfoProto | None:
        return next((i for i in self._infos() if i.name == tensor_name), None)

    def get_tensor_shape(self, tensor_name: str, fix_missing_init_shape: bool = False) -> list[int] | None:
        if fix_missing_init_shape:
            describe_initializers(self.graph)
        info, stored = self.get_tensor_valueinfo(tensor_name), self._stored(tensor_name)
        if info is not None and info.type.tensor_type.HasField("shape"):
            return [d.dim_value for d in info.type.tensor_type.shape.dim]
        return None if stored is None else list(stored.dims)

    def set_tensor_shape(self, tensor_name: str, tensor_shape: Sequence[int], dtype: int | None = None) -> None:
        info = self.get_tensor_valueinfo(tensor_name)
        kind = onnx.TensorProto.FLOAT if info is None else info.type.tensor_type.elem_type
        made = helper.make_tensor_value_info(tensor_name, kind if dtype is None else dtype, list(tensor_shape))
        (self.graph.value_info.add() if info is None else info).CopyFrom(made)

    def check_all_tensor_shapes_specified(self, fix_missing_init_shape: bool = False) -> bool:
        if fix_missing_init_shape:
            describe_initializers(self.graph)
        names = {t for n in self.graph.node for t in (*n.input, *n.output) if t}
        return all(self.get_tensor_shape(name) is not None for name in names)

    def _stored(self, tensor_name: str) -> onnx.TensorProto | None:
        return next((t for t in self.graph.initializer if t.name == tensor_name), None)

    def get_initializer(self, tensor_name: str, return_dtype: bool = False) -> Any:
        stored = self._stored(tensor_name)
        array = None if stored is None else numpy_helper.to_array(stored)
        return (array, None if stored is None else stored.data_type) if return_dtype else array

    def set_initializer(self, tensor_name: str, tensor_value: npt.NDArray[Any]) -> None:
        made, known = numpy_helper.from_array(np.asarray(tensor_value), tensor_name), self._stored(tensor_name)
        (self.graph.initializer.add() if known is None else known).CopyFrom(made)
        self.set_tensor_shape(tensor_name, made.dims, made.data_type)

    def del_initializer(self, initializer_name: str) -> None:
        stored = self._stored(initializer_name)
        if stored is not None:
            self.graph.initializer.remove(stored)

    def rename_tensor(self, old_name: str, new_name: str) -> None:
        for thing in (i for i in (*self._infos(), *self.graph.initializer) if i.name == old_name):
            thing.name = new_name
        for annotation in (a for a in self.graph.quantization_annotation if a.tensor_name == old_name):
            annotation.tensor_name = new_name
        for names in (names for n in self.graph.node for names in (n.input, n.output)):
            for place in [i for i, name in enumerate(names) if name == old_name]:
                names[place] = new_name

    def make_empty_exec_context(self) -> dict[str, npt.NDArray[Any] | None]:
        context: dict[str, npt.NDArray[Any] | None] = {"": None}
        for info in self._infos():
            kind, shape = info.type.tensor_type.elem_type, self.get_tensor_shape(info.name) or []
            context[info.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind))
        return context | {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}

    def _statement(self, tensor_name: str, key: str) -> str | None:
        stated = (a for a in self.graph.quantization_annotation if a.tensor_name == tensor_name)
        return next((e.value for a in stated for e in a.quant_parameter_tensor_names if e.key == key), None)

    def _state(self, tensor_name: str, key: str, text: str | None) -> None:
        known = next((a for a in self.graph.quantization_annotation if a.tensor_name == tensor_name), None)
        annotation = self.graph.quantization_annotation.add(tensor_name=tensor_name) if known is None else known
        kept = [e for e in annotation.quant_parameter_tensor_names if e.key != key]
        if text is not None:
            kept.append(onnx.StringStringEntryProto(key=key, value=text))
        del annotation.quant_parameter_tensor_names[:]
        annotation.quant_parameter_tensor_names.extend(kept)

    def get_tensor_datatype(self, tensor_name: str) -> DataType:
        info = self.get_tensor_valueinfo(tensor_name)
        is_half = info is not None and info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        name = self._statement(tensor_name, _FORMAT) or ("FLOAT16" if is_half else "FLOAT32")
        return DataType(parse_number_format(name))

    def set_tensor_datatype(self, tensor_name: str, datatype: Any) -> None:
        """States a format: one of this module, of the package, of anybit, or its text; None takes it away."""
        text = None if datatype is None else str(getattr(datatype, "name", datatype))
        self._state(tensor_name, _FORMAT, None if text is None else str(parse_number_format(text)))

    def get_tensor_layout(self, tensor_name: str) -> list[str] | None:
        stated = self._statement(tensor_name, _LAYOUT)
        return None if stated is None else list(parse_layout(stated, tensor_name) or ())

    def set_tensor_layout(self, tensor_name: str, data_layout: list[str]) -> None:
        self._state(tensor_name, _LAYOUT, repr(list(data_layout)))

    def get_tensor_sparsity(self, tensor_name: str) -> dict[str, Any] | None:
        stated = self._statement(tensor_name, _SPARSITY)
        return None if stated is None else dict(parse_sparsity(stated, tensor_name) or {})

    def set_tensor_sparsity(self, tensor_name: str, sparsity_dict: dict[str, Any]) -> None:
        self._state(tensor_name, _SPARSITY, repr(dict(sparsity_dict)))

    def find_producer(self, tensor_name: str) -> onnx.NodeProto | None:
        return next((n for n in self.graph.node if tensor_name in n.output), None)

    def find_consumers(self, tensor_name: str) -> list[onnx.NodeProto]:
        return [n for n in self.graph.node for name in n.input if name == tensor_name]

    def find_consumer(self, tensor_name: str) -> onnx.NodeProto | None:
        return next(iter(self.find_consumers(tensor_name)), None)

    def get_tensor_fanout(self, tensor_name: str) -> int:
        return sum(tensor_name in n.input for n in self.graph.node)

    def find_upstream(
        self, tensor_name: str, finder_fxn: Callable[[onnx.NodeProto], bool], keep_if_not_found: bool = False
    ) -> list[onnx.NodeProto] | None:
        visited: list[onnx.NodeProto] = []
        while (node := self.find_producer(tensor_name)) is not None:
            visited.append(node)
            if finder_fxn(node):
                return visited
            if not node.input:
                return visited if keep_if_not_found else None
            tensor_name = node.input[0]
        return visited if keep_if_not_found else []

    def find_direct_successors(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        return [user for name in node.output for user in self.find_consumers(name)] or None

    def find_direct_predecessors(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        return [maker for name in node.input if (maker := self.find_producer(name)) is not None] or None

    def is_fork_node(self, node: onnx.NodeProto) -> bool:
        exposed = any(node.output[0] == v.name for v in self.graph.output)
        return len(self.find_direct_successors(node) or ()) + exposed > 1

    def is_join_node(self, node: onnx.NodeProto) -> bool:
        fed = any(node.input[0] == v.name for v in self.graph.input)
        return len(self.find_direct_predecessors(node) or ()) + fed > 1

    def get_nodes_by_op_type(self, op_type: str) -> list[onnx.NodeProto]:
        return [n for n in self.graph.node if n.op_type == op_type]

    def get_finn_nodes(self) -> list[onnx.NodeProto]:
        return [n for n in self.graph.node if n.domain.startswith(_CUSTOM)]

    def get_non_finn_nodes(self) -> list[onnx.NodeProto]:
        return [n for n in self.graph.node if not n.domain.startswith(_CUSTOM)]

    def get_node_index(self, node: onnx.NodeProto) -> int | None:
        return next((i for i, n in enumerate(self.graph.node) if n == node), None)

    def get_node_from_name(self, node_name: str) -> onnx.NodeProto | None:
        return next((n for n in self.graph.node if n.name == node_name), None)

    def get_customop_wrapper(self, node: onnx.NodeProto, fallback_customop_version: int = 1) -> CustomOp:
        return CustomOp(node, self.get_opset_imports().get(node.domain, fallback_customop_version))
