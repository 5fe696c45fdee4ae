"""Names that hls4ml can write into C++."""

from __future__ import annotations

import re

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


def rewrite_names(repairs: Repairs) -> None:
    """Names nodes and tensors by operator and number, and an input whose name is no free identifier of C++."""
    NameTensors()(repairs.model)
    graph = repairs.model.graph
    names = Names.of_tensors(repairs.model)
    nodes = {str(n.name) for n in graph}
    for number, value in enumerate(graph.inputs):
        old = str(value.name)
        legal = _IDENTIFIER.fullmatch(old) and old not in _TAKEN and old not in nodes
        if legal and not _GENERATED.fullmatch(old):
            continue
        value.name = names.fresh(f"input_{number}")
        repairs.done.append(
            Rewrite(
                problem="its name cannot stand in C++, or hls4ml has another use for it",
                node=f"input '{old}'",
                got=f"now '{value.name}'",
            )
        )
