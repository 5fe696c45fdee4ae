"""PadToInputs: amounts and value of a Pad as inputs, the form since opset 11."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.constants import new_initializer
from anybit.graph.editor import EditResult
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes
from anybit.io.repair.pads import has_pad_attributes, pad_finding, pad_obstacle, pads_to_inputs


@dataclass(frozen=True)
class PadToInputs(ir.passes.InPlacePass):
    """Turns the attributes of Pad nodes into inputs, where a model of opset 11 or later still has the old form.

    Before: ``y = Pad(x, pads=[0,1,0,1], value=2.0)``; after: ``y = Pad(x, [0,1,0,1], 2.0)``. At an older opset the
    attributes are the only form: convert the opset instead. `load` repairs such nodes as well: the pass is for models
    that were built in memory.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset = model.opset_imports.get("", 1)
        names = Names.of_tensors(model)
        modified, notes = False, list[Finding]()
        for node in (n for n in all_nodes(model.graph) if has_pad_attributes(n)):
            problem = pad_obstacle(node, opset)
            if problem is None:
                pads_to_inputs(node, lambda name, array: new_initializer(model.graph, names.fresh(name), array))
                modified = True
            else:
                notes.append(problem)
        for node in (n for f in model.functions.values() for n in all_nodes(f) if has_pad_attributes(n)):
            problem = "it is inside a function, which holds no constants"
            notes.append(pad_finding(node, problem, "inline the function"))
        return EditResult(model, modified, tuple(notes))
