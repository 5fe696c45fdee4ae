"""lost_annotations: what a file's quantisation annotations say that no tensor of the graph can carry."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from anybit.errors import Finding, Severity
from anybit.io.protos import graphs

LOST_ANNOTATIONS = "anybit/lost annotations"
"""Key of a model's metadata, in memory only, under which the findings about its file are."""


def lost_annotations(proto: onnx.ModelProto) -> Iterator[Finding]:
    """Annotations of tensors that do not exist, which say nothing, and second ones that contradict the first."""
    for graph in graphs(proto):
        if not graph.quantization_annotation:
            continue
        names = {v.name for v in (*graph.input, *graph.initializer)} | {o for node in graph.node for o in node.output}
        stated: dict[tuple[str, str], str] = {}
        for annotation in graph.quantization_annotation:
            if annotation.tensor_name not in names:
                yield Finding(
                    rule="annotation",
                    problem="an annotation of a tensor that does not exist",
                    node=f"tensor '{annotation.tensor_name}'",
                    severity=Severity.WARNING,
                    hint="remove it, or correct the name",
                )
                continue
            yield from _contradictions(annotation, stated)


def _contradictions(annotation: onnx.TensorAnnotation, stated: dict[tuple[str, str], str]) -> Iterator[Finding]:
    for entry in annotation.quant_parameter_tensor_names:
        first = stated.setdefault((annotation.tensor_name, entry.key), entry.value)
        if first != entry.value:
            yield Finding(
                rule="annotation",
                problem=f"two annotations '{entry.key}' that differ",
                node=f"tensor '{annotation.tensor_name}'",
                got=f"{first!r} and {entry.value!r}",
                expected="one",
            )
