"""CreatePartitions and InlinePartitions: there and back, and what cannot be a partition."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.errors import InvalidModelError, ModelFileError, UsageError
from anybit.passes import CreatePartitions, InlinePartitions
from tests.counting import calls
from tests.models import mlp, model, samples


def diamond() -> onnx.ModelProto:
    """a -> (b, c) -> d, named as layers are; b and c share a weight."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "stem/a"),
        helper.make_node("MatMul", ["a", "w"], ["b"], "left/b"),
        helper.make_node("MatMul", ["a", "w"], ["c"], "right/c"),
        helper.make_node("Neg", ["c"], ["n"], "right/n"),
        helper.make_node("Add", ["b", "n"], ["y"], "head/d"),
    ]
    w = np.arange(9, dtype=np.float32).reshape(3, 3)
    return model(nodes, {"w": w}, inputs={"x": ["N", 3]}, outputs=["y", "c"])


def graph_of(loaded) -> list[tuple[str, list[str], list[str]]]:
    rows = [(n.op_type, [str(v.name) for v in n.inputs], [str(o.name) for o in n.outputs]) for n in loaded.graph]
    return sorted(rows)


PATTERNS = {"stem": ["stem/*"], "branches": ["left/*", "right/*"]}


def test_groups_become_functions_and_nodes_again():
    source = diamond()
    folded = anybit.apply(source, [CreatePartitions(PATTERNS)]).model
    assert [n.op_type for n in folded.graph] == ["stem", "branches", "Add"]
    branches = folded.graph[1]
    assert [v.name for v in branches.inputs] == ["a", "w"]
    assert [v.name for v in branches.outputs] == ["b", "c", "n"]
    assert anybit.check(folded) == ()
    onnx.checker.check_model(anybit.to_proto(folded))
    x = samples(4, 3)
    for name, expected in anybit.run(source, x).items():
        for engine in ("reference", "onnxruntime"):
            np.testing.assert_array_equal(anybit.run(folded, x, engine=engine)[name], expected)
    again = anybit.apply(anybit.to_proto(folded), [InlinePartitions()]).model
    assert graph_of(again) == graph_of(anybit.load(source))
    assert not again.functions
    some = anybit.apply(folded, ["inline-partitions:names=stem"]).model
    assert {n.op_type for n in some.graph} == {"Relu", "branches", "Add"}


def test_tensors_inside_keep_their_names():
    folded = anybit.apply(diamond(), [CreatePartitions({"all": ["*"]})]).model
    assert [n.op_type for n in folded.graph] == ["all"]
    again = anybit.apply(anybit.to_proto(folded), [InlinePartitions()]).model
    assert graph_of(again) == graph_of(anybit.load(diamond()))
    assert {n.name for n in again.graph} == {n.name for n in diamond().graph.node}


def test_annotated_nodes_and_the_command_lines_spelling(tmp_path):
    loaded = anybit.load(mlp())
    for node in loaded.graph:
        node.metadata_props["device"] = "fpga" if node.op_type in ("Quant", "MatMul") else "host"
    with pytest.raises(InvalidModelError, match="depends on itself"):
        anybit.apply(loaded, ["create-partitions:annotation=device"])
    list(loaded.graph)[-1].metadata_props["device"] = "host"
    folded = anybit.apply(loaded, ["create-partitions:annotation=device"]).model
    assert [n.op_type for n in folded.graph] == ["fpga", "host"]
    x = samples(1, 6)
    np.testing.assert_array_equal(anybit.run(folded, x)["y"], anybit.run(loaded, x)["y"])
    text = 'create-partitions:patterns={"first": ["matmul", "x*"]}'
    assert "first" in [n.op_type for n in anybit.apply(loaded, [text]).model.graph]


def test_files_of_their_own(tmp_path):
    source, folder = diamond(), tmp_path / "parts"
    split = anybit.apply(source, [CreatePartitions(PATTERNS, folder=str(folder))]).model
    assert [n.op_type for n in split.graph] == ["GenericPartition", "GenericPartition", "Add"]
    assert sorted(p.name for p in folder.iterdir()) == ["partition_branches.onnx", "partition_stem.onnx"]
    assert not split.graph.initializers
    kept = anybit.apply(split, [InlinePartitions()])
    assert not kept.steps[0].modified
    assert len(kept.steps[0].notes) == 2
    again = anybit.apply(split, [f"inline-partitions:folder={folder}"]).model
    assert graph_of(again) == graph_of(anybit.load(source))
    assert str(again.graph.outputs[0].name) == "y"


def test_no_file_outside_of_the_folder_is_opened(tmp_path):
    folder, outside = tmp_path / "parts", tmp_path / "secret.onnx"
    split = anybit.apply(diamond(), [CreatePartitions({"stem": ["stem/a"]}, folder=str(folder))]).model
    anybit.save(diamond(), outside)
    split.graph[0].attributes["model"] = (
        anybit.load(split)
        .graph[0]
        .attributes["model"]
        .__class__("model", split.graph[0].attributes["model"].type, f"../{outside.name}")
    )
    with pytest.raises(ModelFileError):
        anybit.apply(split, [InlinePartitions(folder=str(folder))])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"patterns": {"p": ["nothing*"]}}, UsageError, "matches no node"),
        ({"patterns": {"p": ["left/b"], "q": ["left/*"]}}, UsageError, "two partitions"),
        ({"patterns": {"../p": ["left/b"]}}, UsageError, "name of a partition"),
        ({"patterns": {"..": ["left/b"]}}, UsageError, "name of a partition"),
        ({"patterns": {"p": ["stem/a", "head/d"]}}, InvalidModelError, "partition 'p'"),
    ],
)
def test_what_is_no_partition(options, error, text):
    with pytest.raises(error, match=text):
        anybit.apply(diamond(), [CreatePartitions(**options)])
    with pytest.raises(UsageError, match="no partition"):
        anybit.apply(diamond(), [InlinePartitions(names=("p",))])


def test_nothing_to_do_and_names_that_are_taken():
    assert not anybit.apply(diamond(), [CreatePartitions()]).steps[0].modified
    folded = anybit.apply(diamond(), [CreatePartitions({"p": ["stem/a"]})]).model
    with pytest.raises(UsageError, match="has a partition"):
        anybit.apply(folded, [CreatePartitions({"p": ["left/b"]})])
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])], "g", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    node = helper.make_node("If", ["c"], ["y"], "choice", then_branch=branch, else_branch=branch)
    chosen = model([node], {"c": np.array(True)}, inputs={"x": [1, 3]}, outputs=["y"])
    with pytest.raises(InvalidModelError, match="subgraphs"):
        anybit.apply(chosen, [CreatePartitions({"p": ["choice"]})])


def test_many_partitions_of_a_long_chain_are_linear():
    def cost(count: int) -> int:
        nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(count)]
        loaded = anybit.load(model(nodes, {}, inputs={"t0": [1]}, outputs=[f"t{count}"]))
        tens = {f"p{k}": [f"n{i}" for i in range(10 * k, 10 * k + 10)] for k in range(count // 10)}
        return calls(lambda: InlinePartitions()(CreatePartitions(tens)(loaded).model))

    cost(10)
    assert cost(1000) < 5 * cost(250)
