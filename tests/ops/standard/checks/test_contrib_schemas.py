"""The schemas of ONNX Runtime's operators are those that it states itself."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from anybit.ops.standard.checks import registry
from anybit.ops.standard.checks.contrib_schemas import DOMAIN, contrib_signature
from anybit.ops.standard.checks.signature import Formal

_STATED = {s.name: s for s in get_all_operator_schema() if s.domain == DOMAIN}


@pytest.mark.parametrize("op_type", registry.CONTRIB)
def test_inputs_outputs_and_attributes_are_those_of_onnx_runtime(op_type: str):
    signature, stated = contrib_signature(op_type), _STATED[op_type]
    assert signature is not None
    types = {t.type_param_str: t.allowed_type_strs for t in stated.type_constraints}
    for formals, expected in ((signature.inputs, stated.inputs), (signature.outputs, stated.outputs)):
        assert [_formal(f) for f in formals] == [_stated_formal(f, types) for f in expected]
    assert signature.input_counts == (stated.min_input, stated.max_input)
    assert signature.output_counts == (stated.min_output, stated.max_output)
    attributes = {name: (a.kind, a.required, a.default) for name, a in signature.attributes.items()}
    assert attributes == {name: _stated_attribute(a) for name, a in stated.attributes.items()}


def _formal(formal: Formal) -> tuple[str, set[str], bool]:
    return formal.name, {f"tensor({t})" for t in formal.types}, formal.required


def _stated_formal(formal: Any, types: dict[str, list[str]]) -> tuple[str, set[str], bool]:
    option = str(formal.option).rsplit(".", 1)[-1]
    return formal.name, set(types.get(formal.typeStr, [formal.typeStr])), option == "Single"


def _stated_attribute(attribute: Any) -> tuple[str, bool, Any]:
    default = onnx.AttributeProto.FromString(attribute._default_value or b"")
    value = onnx.helper.get_attribute_value(default) if default.type else None
    value = value.decode() if isinstance(value, bytes) else value
    value = pytest.approx(value) if isinstance(value, float) else value
    return str(attribute.type).rsplit(".", 1)[-1], attribute.required, value
