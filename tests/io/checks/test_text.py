"""Texts of a file that are not UTF-8 are found wherever they are, by the parser and by the walk."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from anybit.errors import ModelFileError
from anybit.io.checks.text import is_utf8, text_findings
from anybit.io.load import load
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import small_seeds

_MARKER = "marker"
_BROKEN = b"mark\xffr"
_MUTANTS = 500


def _paths(
    message: Descriptor, path: tuple[FieldDescriptor, ...] = (), seen: frozenset[Descriptor] = frozenset()
) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The ways from a message to each of the texts inside it, each kind of message once on a way."""
    for field in message.fields:
        if field.type == field.TYPE_STRING:
            yield (*path, field)
        elif field.type == field.TYPE_MESSAGE and field.message_type not in seen:
            yield from _paths(field.message_type, (*path, field), seen | {message})


# Whatever way leads to a message, its fields are looked at in the same manner: one way to each field is enough.
_FIELDS = {path[-1].full_name: path for path in _paths(onnx.ModelProto.DESCRIPTOR)}


def _with_marker(path: tuple[FieldDescriptor, ...]) -> bytes:
    model = onnx.ModelProto()
    part: Message = model
    for field in path[:-1]:
        inner = getattr(part, field.name)
        part = inner if isinstance(inner, Message) else inner.add()
    last = path[-1].name
    if isinstance(getattr(part, last), str):
        setattr(part, last, _MARKER)
    else:
        getattr(part, last).append(_MARKER)
    return model.SerializeToString()


@pytest.mark.parametrize("name", sorted(_FIELDS))
def test_no_field_is_overlooked(name):
    data = _with_marker(_FIELDS[name])
    broken = data.replace(_MARKER.encode(), _BROKEN)
    assert data.count(_MARKER.encode()) == 1
    assert is_utf8(data)
    assert not list(text_findings(onnx.ModelProto.FromString(data), "file"))
    assert not is_utf8(broken)
    (finding,) = text_findings(onnx.ModelProto.FromString(broken), "file")
    assert finding.rule == "text"
    assert _FIELDS[name][-1].name in finding.problem


def test_the_parser_and_the_walk_agree_about_mutants():
    seeds = small_seeds()
    broken = 0
    for index in range(_MUTANTS):
        data = mutated(seeds, f"texts:{index}")
        try:
            proto = onnx.ModelProto.FromString(data)
        except DecodeError:
            assert not is_utf8(data)
            continue
        assert is_utf8(data) is not any(True for _ in text_findings(proto, "mutant"))
        broken += not is_utf8(data)
    assert broken


def test_the_node_of_a_text_is_named():
    node = onnx.helper.make_node("Relu", ["x"], ["y"], "first", doc_string=_MARKER)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    with pytest.raises(ModelFileError, match=r"Relu 'first'.*'doc_string' is no text"):
        load(model.SerializeToString().replace(_MARKER.encode(), _BROKEN))


def test_a_message_in_memory_is_looked_at_too():
    node = onnx.helper.make_node("Relu", ["x"], ["y"], "first", doc_string=_MARKER)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    broken = onnx.ModelProto.FromString(model.SerializeToString().replace(_MARKER.encode(), _BROKEN))
    with pytest.raises(ModelFileError, match="is no text"):
        load(broken)
