"""Runs hls4ml on many models: a script for hls4ml's own environment, which knows nothing of anybit.

    python client.py jobs.json

jobs.json is a list of jobs ``{"model", "inputs", "names", "outputs", "config", "io_type"}``: a model file, an .npz with
an array for each input, the .npz to write, what hls4ml is told. Each model is converted; then all are compiled into one
library, each in a namespace of its own, as most of the time of a compiler goes into the headers that they share.
A job that fails writes no outputs; its error goes into ``<outputs>.error``.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import hls4ml
import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

_COMPILER = ["g++", "-std=c++17", "-fPIC", "-w", "-fno-gnu-unique", "-shared", "-O0"]
_SHARED = ("ap_fixed.h", "ap_int.h", "hls_stream.h", "nnet_utils/nnet_helpers.h", "nnet_utils/nnet_types.h")
_OWN = "nnet_utils/nnet_code_gen.h"  # the only one of nnet_utils that is made for the model
_WRITTEN = "(?:myproject|parameters|defines|weights)"  # what is a project's own, beside that header
_FOLDER = "std::string weights_folder;\n#define WEIGHTS_DIR weights_folder\n"
_TRACE = """namespace nnet {
bool trace_enabled = false;
std::map<std::string, void *> *trace_outputs = nullptr;
size_t trace_type_size = sizeof(double);
}
"""


def convert(job: dict, folder: Path):
    """hls4ml's project for a model, written into a folder."""
    model = ModelWrapper(job["model"])
    converted = hls4ml.converters.convert_from_onnx_model(
        model, output_dir=str(folder), hls_config=job["config"], backend="Vitis", io_type=job["io_type"]
    )
    converted.write()
    return converted


def source(model, folder: Path, number: int) -> str:
    """The project and a function that calls it, in a namespace, with the include guards taken back behind it."""
    own = [*sorted((folder / "firmware").glob("*.h")), *sorted((folder / "firmware/weights").glob("*.h"))]
    own.append(folder / "firmware" / _OWN)
    guards = [m[1] for path in own if (m := re.search(r"^#ifndef (\w+_H_?)$", path.read_text(), re.MULTILINE))]
    text = (folder / "myproject_bridge.cpp").read_text()
    wrapper = re.search(r"^void myproject_double\(.*?^}", text, re.MULTILINE | re.DOTALL)[0]
    wrapper = wrapper.replace("myproject_double(", f"model_{number}(", 1)
    return "\n".join(
        (
            f"namespace m{number} {{",
            "namespace nnet { using namespace ::nnet; }",
            f'#include "{folder}/firmware/myproject.cpp"',
            f'extern "C" {wrapper}',
            "}",
            *(f"#undef {g}" for g in guards),
        )
    )


def compiled(projects: dict[int, tuple[object, Path]], folder: Path) -> ctypes.CDLL:
    """One library of all projects."""
    first = next(iter(projects.values()))[1] / "firmware"
    headers = list(_SHARED)
    for _, project in projects.values():
        text = (project / "firmware/parameters.h").read_text()
        headers += [h for h in re.findall(r'^#include "(nnet_utils/[^"]+)"', text, re.MULTILINE) if h != _OWN]
    parts = ["#include <algorithm>", "#include <array>", "#include <iostream>", "#include <map>", "#include <string>"]
    parts += ["#include <tuple>", _FOLDER]
    parts += [f'#include "{h}"' for h in dict.fromkeys(headers)]
    parts.append(_TRACE)
    parts += [source(model, project, number) for number, (model, project) in projects.items()]
    parts.append('extern "C" void set_weights_folder(const char *folder) { weights_folder = folder; }\n')
    folder.mkdir()
    (folder / "all.cpp").write_text("\n".join(parts))
    library = folder / "all.so"
    command = [
        *_COMPILER,
        f"-I{first}/ap_types",
        f"-I{first}",
        str(folder / "all.cpp"),
        "-o",
        str(library),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = [line for line in done.stderr.splitlines() if "error" in line or f"{folder.parent}/p" in line]
        raise RuntimeError("\n".join(["g++:", *shown]))
    return ctypes.CDLL(str(library))


def run(model, folder: Path, library: ctypes.CDLL, number: int, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a project for each sample, flat."""
    library.set_weights_folder(str(folder / "firmware/weights").encode())
    function = getattr(library, f"model_{number}")
    sizes = [int(np.prod(v.shape)) for v in model.get_output_variables()]
    results = [np.zeros((len(inputs[0]), size)) for size in sizes]
    pointer = np.ctypeslib.ndpointer(ctypes.c_double, flags="C_CONTIGUOUS")
    function.argtypes, function.restype = [pointer] * (len(inputs) + len(sizes)), None
    for row in range(len(inputs[0])):
        function(*(np.ascontiguousarray(x[row], np.float64) for x in inputs), *(y[row] for y in results))
    return results


def failed(job: dict) -> None:
    Path(job["outputs"] + ".error").write_text(traceback.format_exc())


def main(jobs: list[dict]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        projects = {}
        for number, job in enumerate(jobs):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    projects[number] = (convert(job, folder / f"p{number}"), folder / f"p{number}")
            except Exception:  # noqa: BLE001  whatever it is, it is what the test wants to know
                failed(job)
        for number, library in libraries(projects, jobs, folder).items():
            job, (model, project) = jobs[number], projects[number]
            child = os.fork()  # an assertion in the C++ ends the process
            if child:
                ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if ended:
                    Path(job["outputs"] + ".error").write_text(f"the emulation ended with {ended}")
                continue
            try:
                feeds = dict(np.load(job["inputs"]))
                np.savez(job["outputs"], *run(model, project, library, number, [feeds[n] for n in job["names"]]))
            except Exception:  # noqa: BLE001
                failed(job)
            os._exit(0)


def libraries(projects: dict, jobs: list[dict], folder: Path) -> dict[int, ctypes.CDLL]:
    """The library of each project: one for all, without those that the compiler names in its errors."""
    attempt = 0
    while projects:
        attempt += 1
        try:
            return dict.fromkeys(projects, compiled(projects, folder / f"all{attempt}"))
        except RuntimeError as error:
            named = {
                int(n) for n in re.findall(rf"{folder}/p(\d+)/firmware/{_WRITTEN}", str(error))
            } & projects.keys() or {*projects}
            for number in named:
                failed(jobs[number])
                del projects[number]
    return {}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(json.loads(Path(sys.argv[1]).read_text()))
