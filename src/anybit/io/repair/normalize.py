"""normalize: one spelling for what files write in many ways. Each repair is recorded, see `repairs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from anybit.arguments import checked
from anybit.arrays import Array
from anybit.errors import Finding, InvalidModelError, Severity, UsageError
from anybit.graph.constants import constant, drop_unused, new_initializer
from anybit.graph.names import Names
from anybit.graph.order import read_too_early, sort
from anybit.graph.walk import all_graphs, all_nodes, label
from anybit.io.functions import drop_embedded
from anybit.io.packed import unpack
from anybit.io.repair.defaults import read_defaults
from anybit.io.repair.dimensions import repair_dimensions
from anybit.io.repair.pads import has_pad_attributes, pad_obstacle, pads_to_inputs
from anybit.ops.calls import is_call
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import find_operator
from anybit.ops.trunc import TRUNC
from anybit.rounding import Rounding

_ALIASES = ("onnx.brevitas", "finn.custom_op.general")
_FINN = "finn"  # also the domain of FINN's hardware layers, which carry the attribute `backend`
_STANDARD_ALIAS = "ai.onnx"
_REGION_REQUIRED = (11, 12)
"""First and last version at which Resize must have the input roi."""
REPAIRS = "anybit/repairs"
"""Key of a model's metadata, in memory only, under which its repairs are."""
ORDER = "anybit/order"
"""Key of the findings about the order of nodes that the source of a model had."""


@dataclass(frozen=True)
class Repair:
    """Something in a file that was put right without changing what the model means.

    Attributes:
        rule: Short stable name of the repair.
        text: What was changed.
        count: In how many places.
    """

    rule: str
    text: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.text} ({self.count} places)" if self.count > 1 else self.text


@checked
def repairs(model: ir.Model) -> tuple[Repair, ...]:
    """What `load` put right in this model."""
    return model.meta.get(REPAIRS, ())


def sort_graphs(model: ir.Model) -> tuple[Finding, ...]:
    """Sorts graphs and functions in place, as engines do; what has a cycle stays, for `check` to name it.

    Returns:
        What stood before the node that makes its input.
    """
    found: list[Finding] = []
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        early = read_too_early(graph)
        if not early:
            continue
        try:
            sort(graph)
        except InvalidModelError:
            continue
        found += [_order_finding(*pair) for pair in early]
    return tuple(found)


def note_order(model: ir.Model, early: Sequence[Finding]) -> None:
    """Records that nodes were sorted: as a repair, and for `check` as findings about the source."""
    if early:
        model.meta[ORDER] = tuple(early)
        repair = Repair("order", "node before the node that makes its input: sorted", len(early))
        model.meta[REPAIRS] = (*repairs(model), repair)


def _order_finding(node: ir.Node, value: ir.Value) -> Finding:
    return Finding(
        rule="order",
        problem=f"input '{value.name}' is made later",
        node=label(node),
        severity=Severity.WARNING,
        hint="sort the graph topologically",
    )


def normalize(model: ir.Model, *, overridable: bool | None = None) -> ir.Model:
    """Repairs the model in place and returns it; doing it again changes nothing.

    Args:
        model: Any model.
        overridable: Whether initializers that are inputs too are defaults; see `load`.

    Raises:
        InvalidModelError: The model contradicts itself in a way that has no obvious repair.
    """
    note_order(model, sort_graphs(model))
    done: dict[str, Repair] = {r.rule: r for r in repairs(model)}

    def record(rule: str, text: str) -> None:
        known = done.get(rule)
        done[rule] = Repair(rule, text if known is None else known.text, 1 if known is None else known.count + 1)

    drop_embedded(model)
    everything = [n for graph in (model.graph, *model.functions.values()) for n in all_nodes(graph)]
    # A call of a model-local function means what the function says, whatever its name.
    nodes = [n for n in everything if n.op_identifier() not in model.functions]
    own = sum(n.op_identifier() not in model.functions for n in all_nodes(model.graph))
    _name_graph(model, record)
    _domains(model, nodes, {domain for domain, _, _ in model.functions}, record)
    _opset_imports(model, everything, nodes, record)
    _drop_undefined(model, everything, record)
    read_defaults(model, record, overridable=overridable)
    repair_dimensions(model, record)
    unpack(model)
    names = Names.of_tensors(model)
    for position, node in enumerate(nodes):
        if not node.outputs:
            continue  # a call of nothing, which `check` names
        if node.domain == DOMAIN:
            _operator_name(node, record)
            _rounding_mode(node, record)
            _parameters(model.graph if position < own else None, node, names, record)
        elif node.domain == "" and node.op_type == "Resize":
            _region(model, model.graph if position < own else None, node, names, record)
        elif has_pad_attributes(node):
            _pads(model, model.graph if position < own else None, node, names, record)
    model.meta[REPAIRS] = tuple(done.values())
    return model


_Record = Callable[[str, str], None]


def _name_graph(model: ir.Model, record: _Record) -> None:
    if not model.graph.name:
        model.graph.name = "graph"
        record("graph-name", "graph without a name: called 'graph'")


def _domains(model: ir.Model, nodes: Sequence[ir.Node], called: set[str], record: _Record) -> None:
    for node in nodes:
        if node.domain == _STANDARD_ALIAS:
            node.domain = ""
            record("standard-domain", "domain ai.onnx written as the empty name")
        elif node.domain in _ALIASES or _is_quantizer_of_finn(node):
            record(f"domain {node.domain}", f"domain {node.domain} read as {DOMAIN}")
            node.domain = DOMAIN
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        if _STANDARD_ALIAS in imports:
            version = imports.pop(_STANDARD_ALIAS)
            imports[""] = max(version, imports.get("", version))
        for alias in (*_ALIASES, _FINN):
            if alias not in imports or (alias == _FINN and any(n.domain == _FINN for n in nodes)):
                continue
            if alias not in called or any(n.domain == DOMAIN for n in nodes):
                imports.setdefault(DOMAIN, imports[alias])
            if alias not in called:
                del imports[alias]


def _drop_undefined(model: ir.Model, everything: Sequence[ir.Node], record: _Record) -> None:
    """A stated element type of UNDEFINED says nothing."""
    roots = (model.graph, *(f.graph for f in model.functions.values()))
    inputs = [v for root in roots for graph in all_graphs(root) for v in graph.inputs]
    for value in (*inputs, *(o for node in everything for o in node.outputs)):
        if value.dtype == ir.DataType.UNDEFINED:
            value.type = None
            record("undefined-type", "element type UNDEFINED read as none")


def _is_quantizer_of_finn(node: ir.Node) -> bool:
    return (
        node.domain == _FINN and "backend" not in node.attributes and find_operator(DOMAIN, node.op_type, 1) is not None
    )


def _opset_imports(model: ir.Model, everything: Sequence[ir.Node], nodes: Sequence[ir.Node], record: _Record) -> None:
    truncs = [n for n in nodes if is_call(n, TRUNC)]
    for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
        used = {n.domain for n in everything}
        for domain in sorted(used - imports.keys()):
            if imports is not model.opset_imports:
                version = model.opset_imports.get(domain, 1)
            else:
                version = _opset_of(model) if domain == "" else 1
                record(f"import {domain}", f"missing opset import of '{domain}': version {version} assumed")
            imports[domain] = version
        version = _trunc_version(truncs)
        if version is not None and imports.get(DOMAIN) != version:
            record("trunc-version", f"Trunc has the inputs of version {version}: domain imported as such")
            imports[DOMAIN] = version
        if "" in imports and next(iter(imports)) != "":
            ordered = {"": imports.pop(""), **imports}
            imports.clear()
            imports.update(ordered)


def _opset_of(model: ir.Model) -> int:
    """The standard opset that was current when the file's format was."""
    versions = [row[2] for row in onnx.helper.VERSION_TABLE if row[1] <= model.ir_version]
    return max(versions, default=1)


def _trunc_version(truncs: Iterable[ir.Node]) -> int | None:
    """The version that all Trunc nodes of a model have the number of inputs of, if there is one."""
    counts = {len(n.inputs) for n in truncs}
    return {5: 1, 6: 2}.get(counts.pop()) if len(counts) == 1 else None


def _operator_name(node: ir.Node, record: _Record) -> None:
    operator = find_operator(DOMAIN, node.op_type, 1)
    if operator is not None and operator.name != node.op_type:
        record(f"name {node.op_type}", f"{node.op_type} read as {operator.name}")
        node.op_type = operator.name


def _rounding_mode(node: ir.Node, record: _Record) -> None:
    attribute = node.attributes.get("rounding_mode")
    if attribute is None or attribute.is_ref() or not isinstance(attribute.value, str):
        return
    try:
        mode = Rounding.parse(attribute.value).value
    except UsageError:
        return  # `check` names it; nothing is guessed here
    if mode != attribute.value:
        record(f"rounding {attribute.value}", f"rounding_mode {attribute.value} written as {mode}")
        node.attributes["rounding_mode"] = ir.AttrString("rounding_mode", mode)


def _parameters(graph: ir.Graph | None, node: ir.Node, names: Names, record: _Record) -> None:
    """Zero points and bit widths as float32 constants; the old ones may be shared and stay untouched."""
    operator = find_operator(DOMAIN, node.op_type, 1)
    if operator is None:
        return
    for index, formal in enumerate(operator.inputs[: len(node.inputs)]):
        value = node.inputs[index]
        if value is None and formal.name == "zeropt":
            zero = _new_constant(graph, node, names.fresh(f"{node.outputs[0].name}_zeropt"), np.zeros((), np.float32))
            node.replace_input_with(index, zero)
            record("zero-point", "missing zero point: 0")
        if value is None or not (formal.name == "zeropt" or formal.name.endswith("bitwidth")):
            continue
        array = constant(value)
        if array is None or array.dtype.kind == "f":
            continue
        replacement = _new_constant(graph, node, names.fresh(f"{value.name}_float"), array.astype(np.float32))
        replacement.meta.update(value.meta)
        node.replace_input_with(index, replacement)
        record(f"integer {formal.name}", f"{formal.name} of type {array.dtype} made float32")
        drop_unused(value)


def _region(model: ir.Model, graph: ir.Graph | None, node: ir.Node, names: Names, record: _Record) -> None:
    """Resize of versions 11 and 12 must have its second input, which only one of its modes reads."""
    version = _version_for(model, graph, node)
    if not _REGION_REQUIRED[0] <= version <= _REGION_REQUIRED[1] or len(node.inputs) < 2 or node.inputs[1] is not None:
        return
    mode = node.attributes.get("coordinate_transformation_mode")
    if mode is None or mode.value != "tf_crop_and_resize":
        empty = _new_constant(graph, node, names.fresh(f"{node.outputs[0].name}_roi"), np.zeros(0, np.float32))
        node.replace_input_with(1, empty)
        record("region", "missing roi of Resize, which does not read it: empty")


def _pads(model: ir.Model, graph: ir.Graph | None, node: ir.Node, names: Names, record: _Record) -> None:
    """Pad of opset 11 or later in the form of older ones."""
    if pad_obstacle(node, _version_for(model, graph, node)) is None:
        pads_to_inputs(node, lambda name, array: _new_constant(graph, node, names.fresh(name), array))
        record("pad-attributes", "Pad with attributes of an older opset: written as inputs")


def _version_for(model: ir.Model, graph: ir.Graph | None, node: ir.Node) -> int:
    """The version of the standard operators for a node of the model's graph, or of a function."""
    imports = model.opset_imports if node.graph is None or graph is not None else node.graph.opset_imports
    return imports.get("", model.opset_imports.get("", 1))


def _new_constant(graph: ir.Graph | None, node: ir.Node, name: str, array: Array) -> ir.Value:
    """An initializer of the model's graph; for a node of a function, which does not see it, a Constant node."""
    if graph is not None:
        return new_initializer(graph, name, array)
    made = ir.node("Constant", [], {"value": ir.tensor(array, name=name)})
    made.outputs[0].name = name
    node.prepend(made)
    return made.outputs[0]
