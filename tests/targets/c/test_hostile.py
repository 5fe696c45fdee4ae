"""C of models whose names are hostile, of inputs that stand for nothing, and of places that cannot be written."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import ModelFileError, UsageError
from tests.models import model, parameters, quant
from tests.targets.c.compilers import GCC

NAMES = ("*/ int evil(void); /*", "for", "??/\n#include <stdio.h>", "größe\\", '"%s', "a" * 300, "", "a.b", "a b", "_A")


def hostile(x: str, y: str, *, title: str = "test"):
    nodes = [
        quant(x, "xq", prefix="xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["s*/"]),
        quant("s*/", y, prefix="yq"),
    ]
    constants = {"w": np.eye(3, 2, dtype=np.float32)} | parameters("xq") | parameters("wq", scale=1.0)
    found = model(nodes, constants | parameters("yq", scale=2.0), inputs={x: ["N", 3]}, outputs=[y])
    found.graph.name = title
    return found


def test_names_get_into_no_code(tmp_path):
    GCC.need()
    sources = []
    for index, name in enumerate(NAMES):
        project = anybit.prepare_c(hostile(name or "x", f"{name}y", title=name or "net"))
        text = "".join(v.decode() for v in project.files.values())
        assert project.ready
        assert "evil(void)" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert "??" not in text
        folder = tmp_path / str(index)
        project.write(folder)
        sources.append(folder / f"{project.name}.c")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", project.name)
    GCC.program([*sources[:1], tmp_path / "0" / sources[0].with_name(f"test_{sources[0].name}").name], tmp_path / "t")
    names = [s.name for s in sources]
    for index, source in enumerate(sources):
        if names.index(source.name) == index:
            GCC.program([source], tmp_path / f"{index}.o", "-c", "-fno-sanitize=all")


def test_bytes_and_floats_that_stand_for_nothing_are_answered(tmp_path):
    GCC.need()
    anybit.prepare_c(hostile("x", "y"), name="net").write(tmp_path / "net")
    (tmp_path / "main.c").write_text(
        '#include "net/net.h"\n#include <math.h>\n#include <stdio.h>\n'
        "int main(void)\n{\n    const uint8_t good[3] = {0, 15, 7}, bad[3] = {0, 16, 7};\n"
        "    const float nan[3] = {0.0f, NAN, 1.0f}, far[3] = {INFINITY, -INFINITY, 1e30f};\n"
        "    uint8_t y[2] = {9, 9};\n    float z[2] = {9.0f, 9.0f};\n"
        '    printf("%d %d ", net_run(bad, y), net_run_float(nan, z));\n    printf("%d %d ", y[0], z[0] == 9.0f);\n'
        '    printf("%d %d\\n", net_run(good, y), net_run_float(far, z));\n    return 0;\n}\n'
    )
    program = GCC.program([tmp_path / "net" / "net.c", tmp_path / "main.c"], tmp_path / "program")
    assert GCC.output(program).split() == ["1", "2", "9", "1", "0", "0"]


@pytest.mark.parametrize("name", ["", "Net", "int8", "a-b", "9", "a" * 40, "strange", "net\n"])
def test_a_name_that_cannot_begin_identifiers_is_refused(name):
    with pytest.raises(UsageError, match="name of the project"):
        anybit.prepare_c(hostile("x", "y"), name=name)


def test_a_folder_with_something_else_in_it_is_kept(tmp_path):
    project = anybit.prepare_c(hostile("x", "y"), name="net")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ModelFileError, match="no earlier project"):
        project.write(tmp_path / "mine")
    project.write(tmp_path / "new")
    project.write(tmp_path / "new")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "new"]
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", "a\0b"):
        with pytest.raises(ModelFileError):
            project.write(tmp_path / place)
