"""What hls4ml computes for prepared models: its emulation, run by `client.py` in an environment of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import anybit
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.project.document import hls_config
from tests.environments import run_script

REQUIREMENTS = ("hls4ml[onnx]==1.3.0", "qonnx==1.0.0")
CLIENT = Path(__file__).with_name("client.py")


@dataclass(frozen=True)
class Job:
    """A model for hls4ml, and what to feed it."""

    handover: Hls4mlHandover
    inputs: dict[str, npt.NDArray[np.float32]]


def emulate(jobs: list[Job], python: Path, folder: Path) -> list[list[npt.NDArray[np.float64]] | str]:
    """For each job the outputs of all samples, flat; or the error that hls4ml or its compiler ended with."""
    listed = []
    for number, job in enumerate(jobs):
        configuration = job.handover.configuration
        assert configuration is not None
        anybit.save(job.handover.model, folder / f"{number}.onnx", external_data=False)
        np.savez(folder / f"{number}_in.npz", **job.inputs)
        listed.append(
            {
                "model": str(folder / f"{number}.onnx"),
                "inputs": str(folder / f"{number}_in.npz"),
                "names": list(job.inputs),
                "outputs": str(folder / f"{number}_out.npz"),
                "config": hls_config(configuration),
                "io_type": configuration.io_type.option,
            }
        )
    (folder / "jobs.json").write_text(json.dumps(listed))
    run_script(python, CLIENT, str(folder / "jobs.json"), timeout=1800)
    return [_result(Path(job["outputs"])) for job in listed]


def _result(path: Path) -> list[npt.NDArray[np.float64]] | str:
    if not path.exists():
        return Path(f"{path}.error").read_text()
    with np.load(path) as archive:
        return [archive[name] for name in archive.files]
