"""Does one thing again and again, and is killed, or its disk is full, at the first, second, ... change that it makes.

Run as ``LD_PRELOAD=faults.so python driver.py SCENARIO FOLDER [STEP]``; prints how many changes there were.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from abc import ABC, abstractmethod
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx

from anybit import load, save
from anybit.cli.app import app
from anybit.errors import AnybitError
from anybit.io.load import load as load_again
from tests.models import mlp, samples

KILL, FAIL = 1, 2
SIGKILL, REFUSED, ESCAPED, WRONG = 9, 2, 3, 4
LIBRARY = ctypes.CDLL(None)


class Scenario(ABC):
    """Something that changes files below a folder.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def prepare(self) -> None:
        """Makes what is there before; the folder is empty."""

    @abstractmethod
    def run(self) -> None:
        """Makes the change."""

    @abstractmethod
    def check(self) -> None:
        """What holds after each end: all is as before, or as after the change; then the change succeeds."""


def command(*arguments: object) -> None:
    with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(null):
        app([str(a) for a in arguments], standalone_mode=False)


def net(seed: int, **options: Any) -> onnx.ModelProto:
    """A model whose weights are others for each seed."""
    proto = mlp(**options)
    (tensor,) = (t for t in proto.graph.initializer if t.name == "w")
    tensor.CopyFrom(onnx.numpy_helper.from_array(samples(*tensor.dims, seed=seed), "w"))
    return proto


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(path: Path) -> dict[str, bytes]:
    """All initializers, as bytes; ONNX's own reader would do as well, but takes what is too long."""
    return {n: v.const_value.numpy().tobytes() for n, v in load_again(path).graph.initializers.items()}


class Clean(Scenario):
    """A command that writes one file over another one."""

    arguments: ClassVar = ("clean",)

    def prepare(self) -> None:
        source, target = self.root.parent / f"{type(self).__name__}.onnx", self.root / "out.onnx"
        onnx.save(mlp(), source)
        self.source, self.target = source, target
        command(*self.arguments, source, "-o", target)
        self.new = target.read_bytes()
        self.old = net(1).SerializeToString()
        target.write_bytes(self.old)

    def run(self) -> None:
        command(*self.arguments, self.source, "-o", self.target)

    def check(self) -> None:
        assert self.target.read_bytes() in (self.old, self.new)
        self.run()
        assert self.target.read_bytes() == self.new
        assert names_in(self.root) == ["out.onnx"]


class Convert(Clean):
    arguments: ClassVar = ("convert", "--to", "qcdq", "--no-check")


class Save(Scenario):
    """External data over external data: the model and its data change together."""

    before: ClassVar = True
    after: ClassVar = True

    def prepare(self) -> None:
        self.path = self.root / "m.onnx"
        models = [load(net(seed, hidden=300)) for seed in (0, 1)]
        self.model = models[1]
        save(self.model, self.path, external_data=self.after)
        self.names = names_in(self.root)
        self.new = weights(self.path)
        for name in self.names:
            (self.root / name).unlink()
        save(models[0], self.path, external_data=self.before)
        self.old = weights(self.path)
        assert self.old != self.new
        self.obsolete = set(names_in(self.root))

    def run(self) -> None:
        save(self.model, self.path, external_data=self.after)

    def check(self) -> None:
        found = weights(self.path)
        assert found in (self.old, self.new)
        onnx.load(self.path)
        self.run()
        assert weights(self.path) == self.new
        left = set(names_in(self.root))
        assert left >= set(self.names)
        assert left - set(self.names) <= self.obsolete  # nobody knows any more whose data they were


class SaveInside(Save):
    after: ClassVar = False


class SaveBeside(Save):
    before: ClassVar = False


class Fetch(Scenario):
    """A download of a pinned and of an unpinned file."""

    def prepare(self) -> None:
        import requests  # noqa: F401  (once, not in every process)

        import anybit.zoo.store  # noqa: F401
        from tests.zoo.server import card_of, file_of, serving

        self.data = np.random.default_rng(0).bytes(200_000)
        if not hasattr(self, "serving"):
            self.serving = serving()
            self.server = self.serving.__enter__()
            self.server.files["m"] = self.data
        url = self.server.url("m")
        self.cards = [card_of(file_of(self.data, url, pinned=pinned), name=f"n{pinned}") for pinned in (True, False)]

    def run(self) -> None:
        from anybit.zoo.store import Store

        for card in self.cards:
            Store(self.root).fetch(card, accept_unpinned=True)

    def check(self) -> None:
        from anybit.zoo.store import State, Store

        for card in self.cards:
            for state in Store(self.root).states(card):
                assert state.state is not State.DAMAGED
                assert not state.path.exists() or state.path.read_bytes() == self.data
        self.run()
        states = [s.state for card in self.cards for s in Store(self.root).states(card)]
        assert states == [State.SOUND] * 2


class Evaluate(Scenario):
    """An evaluation with a journal, which the next one continues."""

    def prepare(self) -> None:
        import anybit.engines.onnxruntime.backend
        import anybit.zoo.evaluate  # noqa: F401  (once, not in every process)

        self.model, self.data = self.root.parent / "e.onnx", self.root.parent / "e.npz"
        onnx.save(mlp(batch="N"), self.model)
        np.savez(self.data, x=samples(24, 6), labels=np.arange(24) % 8)

    def _evaluate(self, journal: Path) -> tuple[int, float]:
        from anybit.zoo.evaluate import evaluate
        from anybit.zoo.options import Options

        found = evaluate(self.model, self.data, options=Options(batch_size=8, workers=1), journal=journal)
        return found.samples, found.score

    def run(self) -> None:
        self._evaluate(self.root / "j")

    def check(self) -> None:
        expected = self._evaluate(self.root / "whole")
        found = self._evaluate(self.root / "j")
        assert found == expected
        assert (self.root / "j").read_bytes() == (self.root / "whole").read_bytes()


class Site(Scenario):
    """Pages over those of an earlier site."""

    def _write(self, *names: str) -> None:
        from anybit.zoo.site import write_site
        from tests.zoo.server import card_of, file_of

        cards = [card_of(file_of(b"", "http://localhost/m"), name=name) for name in names]
        write_site(cards, self.root / "site")

    def prepare(self) -> None:
        self._write("old", "older")

    def run(self) -> None:
        self._write("new", "newer")

    def check(self) -> None:
        pages = names_in(self.root / "site" / "models")
        assert pages in (["old.html", "older.html"], ["new.html", "newer.html"])
        assert all(f'models/{name}"' in (self.root / "site" / "index.html").read_text() for name in pages)
        self.run()
        assert names_in(self.root) == ["site"]


class Add(Scenario):
    """A model into a catalogue, in the place of an earlier one."""

    def prepare(self) -> None:
        self.model, self.data = self.root.parent / "a.onnx", self.root.parent / "a.npz"
        np.savez(self.data, x=samples(8, 6), labels=np.arange(8))
        self.models = [net(seed, batch="N") for seed in (0, 1)]

    def _add(self, number: int) -> None:
        from anybit.zoo.add import About, add

        onnx.save(self.models[number], self.model)
        about = About("net", "a task", "a set", "a test", "MIT", summary=f"number {number}")
        add(self.model, self.data, self.root / "zoo", about, with_data=True, replace=True)

    def run(self) -> None:
        self._add(1)

    def check(self) -> None:
        from anybit.zoo.catalogue import open_catalogue
        from anybit.zoo.store import State, Store

        if (self.root / "zoo" / "net").exists():
            (card,) = open_catalogue(self.root / "zoo").cards.values()
            assert {s.state for s in Store(self.root / "cache").states(card)} == {State.SOUND}
        self._add(0)
        self._add(1)
        assert names_in(self.root / "zoo") == [".lock", "catalogue.json", "net"]


SCENARIOS = {kind.__name__: kind for kind in (Clean, Convert, Save, SaveInside, SaveBeside, Fetch, Evaluate, Site, Add)}


def forked(scenario: Scenario, number: int, mode: int) -> int:
    """Runs the scenario in a process of its own; returns its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = ESCAPED
    try:
        LIBRARY.faults_arm(os.fsencode(scenario.root), ctypes.c_long(number), mode)
        scenario.run()
        status = 0
    except AnybitError as error:
        status = REFUSED if "\n" not in str(error) else ESCAPED
    finally:
        os._exit(status) if status != ESCAPED else None
        import traceback

        traceback.print_exc()
        os._exit(status)
    return 0


def checked(scenario: Scenario) -> int:
    """Checks what is there in a process of its own, so that this one never makes a session."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        scenario.check()
        os._exit(0)
    except BaseException:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    os._exit(WRONG)


def main(name: str, folder: Path, step: int) -> None:
    root = folder / "root"
    scenario = SCENARIOS[name](root)
    counts = []
    for mode in (KILL, FAIL):
        for number in range(1, 10_000, step):
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            scenario.prepare()
            status = forked(scenario, number, mode)
            expected = [SIGKILL] if mode == KILL else [REFUSED << 8, 0]  # what cannot be tidied up is no failure
            finished = status == 0 and (mode == KILL or number > counts[0])
            if not finished and status not in expected:
                raise SystemExit(f"{name}, change {number}, mode {mode}: ended with {status}")
            if checked(scenario):
                raise SystemExit(f"{name}, change {number}, mode {mode}: what is left is wrong")
            if finished:
                counts.append(number - 1)
                break
    print(*counts)  # noqa: T201
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
