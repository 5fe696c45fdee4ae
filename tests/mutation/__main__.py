"""python -m tests.mutation: changes one line of a module at a time, and says which changes no test notices."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path

from tests.mutation.judge import ROOT, Verdict, judging
from tests.mutation.mutants import Mutant, mutants_of

_ROOMS = ("exact", "quantizers", "ops", "analysis/values")
_PATIENCE = 5  # times the processor time, for mutants that were not decided in it


def main() -> None:
    """Prints each mutant that survives, and how many were caught; the exit code is 1 if one survived."""
    arguments = _arguments()
    chosen = _chosen(arguments.only or _ROOMS, arguments.seed, arguments.mutants)
    counts: dict[str, Counter[Verdict]] = {}
    with judging(seconds=arguments.seconds) as judge:
        undecided: list[tuple[int, Path, Mutant]] = []
        for number, (module, mutant) in enumerate(chosen[arguments.first :], arguments.first):
            verdict = judge.judge(module, mutant)
            if verdict is Verdict.UNDECIDED:
                undecided.append((number, module, mutant))
            else:
                counts.setdefault(module.parent.as_posix(), Counter())[verdict] += 1
            _say(number, verdict, module, mutant)
        for number, module, mutant in undecided:
            verdict = judge.judge(module, mutant, patience=_PATIENCE)
            counts.setdefault(module.parent.as_posix(), Counter())[verdict] += 1
            _say(number, verdict, module, mutant)
    for room, verdicts in sorted(counts.items()):
        print(f"{room}: " + ", ".join(f"{count} {verdict.value}" for verdict, count in verdicts.items()))
    raise SystemExit(any(verdicts[Verdict.SURVIVED] for verdicts in counts.values()))


def _say(number: int, verdict: Verdict, module: Path, mutant: Mutant) -> None:
    print(f"{number:4} {verdict.value:9} {module}:{mutant.line}", flush=True)
    if verdict in {Verdict.SURVIVED, Verdict.UNDECIDED}:
        print(f"     - {mutant.old.strip()}\n     + {mutant.new.strip()}", flush=True)


def _chosen(rooms: tuple[str, ...], seed: int, count: int) -> list[tuple[Path, Mutant]]:
    """Mutants at random: first the room, then the line, so that no room and no long line is overlooked."""
    generator = random.Random(seed)  # noqa: S311 - which lines are tried, no secret
    lines: list[list[list[tuple[Path, Mutant]]]] = []
    for room in rooms:
        folder = ROOT / "src/anybit" / room
        found = [folder] if folder.suffix else folder.rglob("*.py")
        paths = sorted(p for p in found if not {"standard", "channels_last", "contributed"} & {*p.parts})
        by_line: dict[tuple[Path, int], list[tuple[Path, Mutant]]] = {}
        for path in (p.relative_to(ROOT) for p in paths):
            for mutant in mutants_of((ROOT / path).read_text()):
                by_line.setdefault((path, mutant.line), []).append((path, mutant))
        lines.append(generator.sample([*by_line.values()], len(by_line)))
    picked: list[tuple[Path, Mutant]] = []
    for number in range(count):
        room = lines[number % len(lines)]
        if room:
            picked.append(generator.choice(room.pop()))
    return picked


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of mutants")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--mutants", type=int, default=200, help="how many")
    parser.add_argument("--seconds", type=float, default=120, help="processor time of the tests of one mutant")
    parser.add_argument("--only", nargs="*", default=(), help="folders and modules of src/anybit")
    return parser.parse_args()


if __name__ == "__main__":
    main()
