"""Names that hls4ml can write into C++."""

from __future__ import annotations

import re

import onnx_ir as ir

from anybit.graph.names import Names
from anybit.passes.surgery.name_tensors import NameTensors
from anybit.targets.handover import Rewrite
from anybit.targets.hls4ml.repairs import Repairs

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")  # macros have capitals
_OF_HLS4ML = frozenset(
    ("input", "output", "std", "nnet", "hls", "ap_fixed", "ap_ufixed", "ap_int", "ap_uint", "myproject")
)
_OF_CPP = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const consteval
    constexpr constinit const_cast continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or
    or_eq private protected public register reinterpret_cast requires return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename union unsigned using
    virtual void volatile wchar_t while xor xor_eq main
    """.split()
)
_TAKEN = _OF_CPP | _OF_HLS4ML
_GENERATED = re.compile(r".*_t|(layer|config|w|b|s|t)\d+.*|.*_config\d+")


def _is_free(name: str) -> bool:
    """Whether a name can stand in C++, and hls4ml has no other use for it."""
    return bool(_IDENTIFIER.fullmatch(name)) and name not in _TAKEN and not _GENERATED.fullmatch(name)


def rewrite_names(repairs: Repairs) -> None:
    """Names nodes and tensors by operator and number, and an input whose name is no free identifier of C++."""
    NameTensors()(repairs.model)
    graph = repairs.model.graph
    names = Names.of_tensors(repairs.model)
    nodes = {str(n.name) for n in graph}
    for number, value in enumerate(graph.inputs):
        old = str(value.name)
        if _is_free(old) and old not in nodes:
            continue
        value.name = names.fresh(f"input_{number}")
        repairs.done.append(
            Rewrite(
                problem="its name cannot stand in C++, or hls4ml has another use for it",
                node=f"input '{old}'",
                got=f"now '{value.name}'",
            )
        )
    for node in repairs.nodes("Reshape", "Flatten"):
        _name_after_node(repairs, node, names)


def _name_after_node(repairs: Repairs, node: ir.Node, names: Names) -> None:
    """Gives a Reshape and its output one name: in io_stream hls4ml looks the one up by the other."""
    output = node.outputs[0]
    old = str(output.name)
    if not output.is_graph_output() or not _is_free(old):
        output.name = names.fresh(str(node.name))
    node.name = output.name
    if output.is_graph_output() and old != output.name:
        problem = "its name cannot stand in C++, or hls4ml has another use for it"
        repairs.done.append(Rewrite(problem=problem, node=f"output '{old}'", got=f"now '{output.name}'"))
