"""Paths of processors that the tests have not: by emulated instructions, and by another processor emulated as a whole.

The oracle is the plan's numpy executor, whose sums are of 64 bits. SIMDe (Debian's libsimde-dev) emulates AVX512-VNNI
and AVX-VNNI, `emulated.hpp` the tiles of AMX, qemu (qemu-user, g++-aarch64-linux-gnu) a processor with NEON.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from anybit.plan import execute
from tests.engines.native import cases
from tests.engines.native.layers import (
    binary_layers,
    filtered_layer,
    lined_layer,
    nearly_lined_layer,
    random_layer,
    samples_of,
)
from tests.installed import need
from tests.models import PROJECT
from tests.plan.test_plan import planned, planned_net

pytestmark = pytest.mark.slow

SOURCES = PROJECT / "native" / "cpp"
HERE = Path(__file__).parent
FLAGS = ("-std=c++20", "-ffp-contract=off", "-w", f"-I{SOURCES}", f"-I{HERE}")
COMMON = ("read", "compile", "execute", "isa", "selftest", "scalar", "two_levels")
VECTORS = ("amx", "avx512vpopcntdq", "avx512vnni", "avxvnni")
EMULATED = ("-O0", "-mavx2", '-DANYBIT_EMULATED="emulated.hpp"')
# What must stand in the machine code of a path, and what must not where it could reach other paths.
INSTRUCTIONS = {
    "amx": ("tdpbusd", "ldtilecfg", "tilerelease", "vpdpbusd"),
    "avx512vpopcntdq": ("vpdpbusd", "vpopcntd"),
    "avx512vnni": ("vpdpbusd",),
    "avxvnni": ("{vex} vpdpbusd",),
}


def _run(*command: str | Path, given: bytes | None = None) -> bytes:
    ended = subprocess.run([str(c) for c in command], input=given, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]
    return ended.stdout


def _built(compiler: str, names: Sequence[str], folder: Path, *flags: str) -> Path:
    """The driver with these files of the kernels."""
    sources = [HERE / "driver.cpp", *(SOURCES / f"{name}.cpp" for name in names)]
    objects = [folder / f"{source.stem}.o" for source in sources]
    with ThreadPoolExecutor(2) as pool:
        commands = [(compiler, *FLAGS, *flags, "-c", s, "-o", o) for s, o in zip(sources, objects, strict=True)]
        list(pool.map(lambda command: _run(*command), commands))
    _run(compiler, *(f for f in flags if f == "-static"), *objects, "-pthread", "-o", folder / "driver")
    return folder / "driver"


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The driver on emulated instructions."""
    need("g++", why="instructions by SIMDe, of libsimde-dev", files=[Path("/usr/include/simde")])
    if " avx2 " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("SIMDe is compiled for AVX2, which this processor has not")
    return _built("g++", (*COMMON, *VECTORS), tmp_path_factory.mktemp("emulated"), *EMULATED)


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The driver for aarch64."""
    need("aarch64-linux-gnu-g++", "qemu-aarch64", why="NEON")
    return _built("aarch64-linux-gnu-g++", (*COMMON, "neon"), tmp_path_factory.mktemp("arm"), "-O1", "-static")


@pytest.fixture(scope="module")
def written():
    """Plans with inputs: random layers, random nets, shipped models."""
    layers = [*map(random_layer, range(60)), *map(lined_layer, range(30))]
    layers += [*map(filtered_layer, range(12)), *map(binary_layers, range(12)), *map(nearly_lined_layer, range(12))]
    found = [(plan, samples_of(plan, n)) for plan in layers for n in (1, 18)]
    nets = [*map(planned_net, range(12)), planned("digits_cnn_2w2a"), planned("digits_cnn_4w4a")]
    for seed, plan in enumerate(nets):
        rng = np.random.default_rng(seed)
        for samples in (1, 17):
            x = {p.name: (rng.normal(size=(samples, *p.shape)) * 3).astype(np.float32) for p in plan.inputs}
            found.append((plan, x))
    return found, cases.written(found), [execute(plan, x) for plan, x in found]


def _compared(outputs: bytes, written) -> None:
    found, _, wanted = written
    for place, ((plan, x), expected) in enumerate(zip(found, wanted, strict=True)):
        made, outputs = cases.read(plan, outputs, len(next(iter(x.values()))))
        for name, array in expected.items():
            np.testing.assert_array_equal(made[name], array, err_msg=f"case {place}")
    assert not outputs


@pytest.mark.parametrize("path", VECTORS)
def test_vector_paths_are_exact_on_emulated_instructions(path, emulated, written):
    _compared(_run(emulated, path, given=written[1]), written)


def test_neon_is_exact_on_an_emulated_processor(arm, written):
    _compared(_run("qemu-aarch64", arm, "neon", given=written[1]), written)


def test_no_path_departs_where_instructions_are_right(emulated):
    assert _run(emulated).decode().split("\n") == [*VECTORS, "scalar", ""]


def test_a_path_whose_instructions_are_wrong_is_found_out(emulated):
    folder = emulated.parent
    wrong = (*FLAGS, *EMULATED, "-DANYBIT_EMULATED_WRONG")
    _run("g++", *wrong, "-c", SOURCES / "avxvnni.cpp", "-o", folder / "wrong.o")
    rest = [folder / f"{name}.o" for name in ("driver", *COMMON, *VECTORS) if name != "avxvnni"]
    _run("g++", *rest, folder / "wrong.o", "-pthread", "-o", folder / "wrong")
    assert "avxvnni departs" in _run(folder / "wrong").decode()


@pytest.mark.parametrize("path", VECTORS)
def test_the_instructions_of_a_path_are_really_made_and_stay_in_it(path, tmp_path):
    need("g++", "objdump", why="instructions of a path")
    made = tmp_path / "made.o"
    _run("g++", *FLAGS, "-O1", "-fPIC", "-c", SOURCES / f"{path}.cpp", "-o", made)
    code = _run("objdump", "-d", "--no-show-raw-insn", made).decode()
    for instruction in INSTRUCTIONS[path]:
        assert instruction in code
    # What the linker may keep for all paths, weak symbols in sections of their own, has none of these registers.
    shared = [f for f in code.split("Disassembly of section ")[1:] if f.startswith(".text._Z")]
    for function in shared:
        assert "ymm" not in function
        assert "zmm" not in function
        assert "tmm" not in function
