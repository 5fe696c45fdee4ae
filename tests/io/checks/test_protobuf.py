"""What `load` takes has no findings, however few looks at its messages that took."""

from __future__ import annotations

import onnx
import pytest
from google.protobuf.message import DecodeError

from anybit.errors import ModelFileError
from anybit.io.checks.protobuf import file_findings, refusal_findings
from anybit.io.reading import read_proto
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import small_seeds
from tests.models import mlp

_MUTANTS = 500


def test_a_mutant_that_is_read_has_nothing_that_a_look_at_each_message_finds():
    seeds = small_seeds()
    read = 0
    for index in range(_MUTANTS):
        try:
            proto = onnx.ModelProto.FromString(mutated(seeds, f"looks:{index}"))
            reading = read_proto(proto, None, "mutant")
        except (DecodeError, ModelFileError):
            continue
        if reading.model is None:
            assert reading.findings
            continue
        read += 1
        assert not [*file_findings(proto, "mutant", elsewhere={}), *refusal_findings(proto, "mutant")]
    assert read > _MUTANTS // 4


@pytest.mark.parametrize("place", ["name", "op_type", "domain", "doc_string", "input", "output", "attribute"])
def test_text_of_a_node_that_is_none_is_named(place):
    marker = "marker\x7f"
    proto = mlp()
    node = next(n for n in proto.graph.node if n.attribute)
    match place:
        case "input" | "output":
            getattr(node, place)[0] = marker
        case "attribute":
            node.attribute[0].doc_string = marker
        case _:
            setattr(node, place, marker)
    data = proto.SerializeToString().replace(marker.encode(), b"marker\xff")
    reading = read_proto(onnx.ModelProto.FromString(data), None, "file")
    assert reading.model is None
    assert isinstance(reading.error, ModelFileError)
    assert any(f.rule in ("text", "attribute") for f in reading.findings)
