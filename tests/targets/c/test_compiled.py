"""The C of plans, compiled and run: every output is that of the reference, bit by bit."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import Severity
from anybit.targets.project import Project
from tests.integration.corpus import CORPUS, needs_corpus
from tests.models import PROJECT, model, parameters, quant
from tests.plan.nets import random_net
from tests.targets.c.compilers import COMPILERS, CORTEX, GCC, Compiler

MODELS = PROJECT / "src" / "anybit" / "zoo" / "models"
WHOLE = [p.parent.name for p in sorted(MODELS.glob("*/model.onnx")) if "transformer" not in p.parent.name]
SLOW = "digits_resnet_mixed"  # ten seconds: a threshold of a million is looked for
QUICK = [name for name in WHOLE if name != SLOW]
REAL = ("jet_mlp_6b", "tfc_1w1a", "trunc_avgpool_floor")
NETS = 12
TIES = {"ties_up": "ROUND", "ties_floor": "FLOOR"}


def odd_net():
    """Two inputs, one with a scale by channel; a residual product, an output that is one of its inputs' levels."""
    nodes = [
        quant("a", "aq"),
        quant("b", "bq", signed=0),
        helper.make_node("Mul", ["aq", "bq"], ["m"], name="int"),
        quant("m", "mq"),
        helper.make_node("Concat", ["mq", "aq"], ["c"], axis=1),
        quant("w", "wq"),
        helper.make_node("MatMul", ["c", "wq"], ["s"]),
        quant("s", "y", narrow=1),
    ]
    constants = {"w": np.random.default_rng(0).integers(-7, 8, (8, 5)).astype(np.float32)}
    constants |= parameters("aq", scale=0.25) | parameters("bq", scale=0.5, bits=3.0) | parameters("mq", scale=0.25)
    constants |= parameters("wq", scale=1.0) | parameters("y", scale=3.0, bits=5.0)
    return model(nodes, constants, inputs={"a": ["N", 4], "b": ["N", 4]}, outputs=["y", "mq", "aq"])


@cache
def prepared(name: str) -> Project:
    if name == "odd":
        return anybit.prepare_c(odd_net(), name="odd")
    if name.startswith("net_"):
        return anybit.prepare_c(random_net(int(name[4:])), name=name)
    place = MODELS / name if name in WHOLE else CORPUS / name
    return anybit.prepare_c(place / "model.onnx", name=name, logits=True)


def run_together(projects: list[Project], compiler: Compiler, folder: Path, *options: str) -> str:
    """What the test programs of several projects print, as one program."""
    sources: list[Path] = []
    for project in projects:
        project.write(folder / project.name)
        test = folder / project.name / f"test_{project.name}.c"
        test.write_text(
            test.read_text().replace("int main(void)", f"int run_{project.name}(void);\nint run_{project.name}(void)")
        )
        sources += [folder / project.name / f"{project.name}.c", test]
    names = [p.name for p in projects]
    declared = "".join(f"int run_{n}(void);\n" for n in names)
    calls = " + ".join(f"run_{n}()" for n in names)
    (folder / "main.c").write_text(f"{declared}int main(void)\n{{\n    return {calls};\n}}\n")
    return compiler.output(compiler.program([*sources, folder / "main.c"], folder / "program", *options))


def all_right(printed: str, count: int) -> bool:
    return len(re.findall(r"^\w+: \d+ samples, 0 wrong$", printed, flags=re.MULTILINE)) == count


@pytest.mark.parametrize("name", [*QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])
def test_a_shipped_model_is_written(name):
    project = prepared(name)
    assert project.ready
    assert set(project.files) == {f"{name}.h", f"{name}.c", f"test_{name}.c", "CMakeLists.txt"}
    assert project.figures["elements that are another number there"] == 0


def test_shipped_models_compute_what_the_reference_does(tmp_path):
    GCC.need()
    assert all_right(run_together([prepared(n) for n in (*QUICK, "odd")], GCC, tmp_path), len(QUICK) + 1)


def test_random_nets_compute_what_the_reference_does(tmp_path):
    GCC.need()
    whole = [p for p in (prepared(f"net_{seed}") for seed in range(NETS)) if p.ready]
    assert len(whole) > NETS // 2
    assert all_right(run_together(whole, GCC, tmp_path), len(whole))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda c: c.name)
def test_every_compiler_and_processor_gives_the_same(compiler, tmp_path):
    compiler.need()
    names = ("digits_cnn_4w4a", "digits_resnet_mixed", "keywords_conv_4w4a", "friedman_mlp_4w6a", "odd")
    projects = [prepared(n) for n in names]
    assert all_right(run_together(projects, compiler, tmp_path), len(projects))


@needs_corpus
@pytest.mark.slow
def test_real_models_compute_what_their_plan_does(tmp_path):
    GCC.need()
    projects = [prepared(n) for n in REAL]
    assert all(p.ready for p in projects)
    assert all_right(run_together(projects, GCC, tmp_path), len(projects))


def test_the_integer_part_has_no_float(tmp_path):
    CORTEX.need()
    project = prepared("digits_cnn_4w4a")
    project.write(tmp_path / "p")
    source = tmp_path / "p" / f"{project.name}.c"
    flash, ram = CORTEX.sizes(source, tmp_path / "o.o", f"-D{project.name.upper()}_FLOAT=0")
    assert project.figures["flash: constants, bytes"] < flash < 9100
    assert ram == project.figures["RAM: arena on integers, bytes"] == 1536
    symbols = (tmp_path / "o.o").read_bytes()
    assert b"__aeabi_f" not in symbols
    assert b"__aeabi_d" not in symbols
    assert b"malloc" not in symbols


def test_what_is_no_plan_is_refused_by_name():
    project = anybit.prepare_c(MODELS / "assignments_transformer_4w8a" / "model.onnx")
    assert not project.ready
    assert not project.files
    assert any("Softmax 'node_softmax'" in str(f) and f.severity is Severity.ERROR for f in project.findings)
