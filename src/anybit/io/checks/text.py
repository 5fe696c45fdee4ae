"""is_utf8, text_findings: whether every text of the protobuf of a model is UTF-8.

ONNX's messages are of the syntax proto2, whose parsers take any bytes for a text; Python hands over `bytes` then, which
nothing can compare, print or write. The parser of proto3 looks at each text, in no more time than it takes to parse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import onnx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from anybit.errors import Finding
from anybit.io.protos import node_label


def is_utf8(data: bytes) -> bool:
    """Whether all texts of a serialised model are UTF-8.

    Args:
        data: Bytes of an ``onnx.ModelProto``.
    """
    try:
        _strict_model().FromString(data)
    except DecodeError:
        return False
    return True


@cache
def _strict_model() -> type[Message]:
    """ONNX's messages as proto3 reads them."""
    file = descriptor_pb2.FileDescriptorProto.FromString(onnx.ModelProto.DESCRIPTOR.file.serialized_pb)
    file.syntax = "proto3"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(onnx.ModelProto.DESCRIPTOR.full_name))


def text_findings(proto: onnx.ModelProto, where: str) -> Iterator[Finding]:
    """A finding for each field of a text, wherever it is, that is not UTF-8, with the node or tensor that has it.

    Args:
        proto: Model as it was parsed.
        where: How messages name the model.
    """
    waiting: list[tuple[Message, str]] = [(proto, where)]
    while waiting:
        message, place = waiting.pop()
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING:
                if not are_text((value,) if isinstance(value, str | bytes) else value):
                    yield no_text(f"'{field.name}'", place)
            elif field.type == field.TYPE_MESSAGE:
                parts = (value,) if isinstance(value, Message) else value
                waiting += ((part, _place(part, place)) for part in parts)


def are_text(texts: Iterable[object]) -> bool:
    """Whether all of them are text, of a class of its own or not."""
    return all(issubclass(kind, str) for kind in set(map(type, texts)))


def no_text(what: str, where: str) -> Finding:
    """The finding that bytes which are no text are there where protobuf should hand over text."""
    return Finding(rule="text", problem=f"{what} is no text", node=where, expected="UTF-8")


def _place(message: Message, outer: str) -> str:
    """How messages name a part of a model."""
    match message:
        case onnx.NodeProto():
            return node_label(message)
        case onnx.TensorProto() | onnx.ValueInfoProto():
            return f"tensor '{message.name}'"
        case onnx.FunctionProto():
            return f"function '{message.domain}::{message.name}'"
        case _:
            return outer
