"""python -m tests.fuzz: damages models and calls every public function on them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.fuzz.mutate import mutated
from tests.fuzz.runner import Result, fuzz
from tests.fuzz.seeds import nightly_seeds, small_seeds
from tests.fuzz.worker import Escape, Plan, read_seeds


def main() -> None:
    """Prints each escape, and a table at the end; the exit code is 1 if there was one."""
    arguments = _arguments()
    seeds = arguments.seeds or Path(tempfile.mkdtemp(prefix="anybit-fuzz-"))
    if not any(seeds.iterdir()):
        for number, data in enumerate(nightly_seeds() if arguments.nightly else small_seeds()):
            (seeds / f"{number:05}.onnx").write_bytes(data)
    others = None if arguments.others == "all" else float(arguments.others)
    plan = Plan(seeds, arguments.seed, others, only=tuple(arguments.only))
    print(f"seed {plan.seed}, {sum(1 for _ in seeds.iterdir())} models in {seeds}", flush=True)
    keeper = _Keeper(arguments.out, plan)
    result = fuzz(
        plan,
        first=arguments.first,
        count=arguments.mutants,
        seconds=arguments.seconds,
        workers=arguments.workers,
        report=keeper.report,
        progress=_print_counts,
    )
    _print_counts(result)
    for (what, place), escapes in result.places.items():
        print(f"{len(escapes):6} {what} {place}: {escapes[0].call}, mutant {escapes[0].index}")
    raise SystemExit(bool(result.escapes))


def _print_counts(result: Result) -> None:
    counts = f"{result.mutants} mutants, {result.calls} calls"
    print(f"{counts}, {len(result.escapes)} escapes from {len(result.places)} places", flush=True)


class _Keeper:
    """Prints each escape, and writes the first mutant of each place, at once: a run may be ended at any time."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._seen = set[tuple[str, str]]()

    def report(self, escape: Escape) -> None:
        """Is called for each escape."""
        print(f"  {escape.index} {escape.call}: {escape.what} {escape.place}", flush=True)
        place = (escape.what, escape.place or escape.call)
        if place in self._seen:
            return
        self._seen.add(place)
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{escape.what}_{self._plan.seed}_{escape.index}"
        mutant = mutated(read_seeds(self._plan.seeds), self._plan.key(escape.index))
        (self._folder / f"{name}.onnx").write_bytes(mutant)
        (self._folder / f"{name}.txt").write_text(f"{escape.call} {escape.place}\n{escape.text}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--mutants", type=int, help="how many")
    parser.add_argument("--seconds", type=float, help="how long")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--others", default="1", help="other public calls of each mutant; or all")
    parser.add_argument("--only", nargs="*", default=(), help="names of the calls to make instead")
    parser.add_argument("--nightly", action="store_true", help="with an example of each operator, and the real models")
    parser.add_argument("--seeds", type=Path, help="folder of models to damage; filled if it is empty")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for what was found")
    return parser.parse_args()


if __name__ == "__main__":
    main()
