"""anybit bench: speed by engine and batch size beside the peers that are installed; accuracy on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.terminal.output import FINDINGS, JsonOption, ModelArgument, print_json, print_table, progress, say
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.benchmarking.bench import Bench
    from anybit.evaluation.evaluate import Evaluation

_PEERS = 3
_MILLISECONDS = 1000


def bench(
    model: ModelArgument,
    engine: Annotated[
        str, typer.Option(help="Engines, with commas; the others are compared with the first.")
    ] = "auto,onnxruntime",
    batch_size: Annotated[str, typer.Option(help="Samples in one run, with commas.")] = "1,64",
    threads: Annotated[int, typer.Option(help="Threads inside an operator.")] = 1,
    rounds: Annotated[int, typer.Option(help="Turns of each contender; 0 measures no speed.")] = 11,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Whether other tools take part.")] = True,
    data: Annotated[
        Path | None, typer.Option(help=".npz, .npy or a folder of images by class: accuracy of each engine.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Key of the labels in the .npz file, or an .npy file with them.")
    ] = None,
    metric: Annotated[str, typer.Option(help="accuracy or squared-error.")] = "accuracy",
    top: Annotated[int, typer.Option(help="A label counts among so many of the highest scores.")] = 1,
    json: JsonOption = False,
) -> None:
    """Throughput and latency by engine and batch size, medians of contenders that take turns, on random inputs.

    Peers are the model in ONNX Runtime as float emulation and in its QCDQ form, and the qonnx executor where it is
    installed. With --data each engine is also judged over the whole data set, on all cores. Exit code 1 if an engine
    of anybit departs from the first one.
    """
    engines = [e.strip() for e in engine.split(",") if e.strip()]
    if data is None and (labels is not None or not rounds):
        raise UsageError("nothing to do" if not rounds else "--labels", got="no --data", expected="a data set")
    if threads < 1 or rounds < 0:
        raise UsageError("threads and rounds", got=f"{threads} and {rounds}", expected="1 or more, 0 or more")
    speed = _speed(model, engines, _numbers(batch_size), threads=threads, rounds=rounds, peers=peers)
    judged: dict[str, Evaluation] = {}
    for name in engines if data is not None else ():
        session = anybit.Session(model, engine=name, threads=1)
        with progress(f"judging {name}", None) as advance:
            judged[name] = anybit.evaluate(session, Path(data or ""), labels, metric=metric, top=top, progress=advance)
    if json:
        print_json({"speed": speed, "accuracy": judged})
    else:
        _print(speed, judged)
    ours = [a for a in (() if speed is None else speed.agreements) if a.contender in engines]
    results = {(e.samples, e.correct, e.correct_in_top) for e in judged.values()}
    if len(results) > 1 or not all(a.agrees for a in ours):
        raise typer.Exit(FINDINGS)


def _numbers(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise UsageError("batch size", got=repr(text), expected="whole numbers with commas, as 1,64") from None


def _speed(
    model: Path, engines: list[str], batch_sizes: list[int], *, threads: int, rounds: int, peers: bool
) -> Bench | None:
    if not rounds:
        return None

    turns = rounds * len(set(batch_sizes)) * (len(engines) + (_PEERS if peers else 0))
    with progress("timing", turns, unit="turns") as advance:
        return anybit.bench(
            model,
            engines=engines,
            batch_sizes=batch_sizes,
            threads=threads,
            rounds=rounds,
            with_peers=peers,
            progress=advance,
        )


def _print(speed: Bench | None, judged: dict[str, Evaluation]) -> None:
    if speed is not None:
        best = {t.batch_size: t.latency for t in reversed(speed.timings) if t.contender == speed.timings[0].contender}
        rows = [
            (
                t.contender,
                t.batch_size,
                t.latency * _MILLISECONDS,
                round(t.throughput),
                t.latency / best[t.batch_size],
            )
            for t in speed.timings
        ]
        cores = "1 thread" if speed.threads == 1 else f"{speed.threads} threads"
        title = f"Speed in {cores}: medians of {speed.rounds} alternating rounds after a warm-up"
        print_table(title, ("engine", "batch", "ms a run", "samples/s", f"time, {rows[0][0]} = 1"), rows)
        found = speed.agreements
        agreed = [(a.contender, "yes" if a.agrees else "no", a.elements, a.departing, a.largest) for a in found]
        columns = ("engine", "agrees", "elements", "departing", "largest difference")
        print_table(f"\nOutputs beside those of {rows[0][0]}", columns, agreed)
        for name, reason in speed.absent.items():
            say(f"left out: {name}: {reason}")
    if judged:
        rows = [
            (name, e.samples, e.score, e.correct, e.correct_in_top, round(e.throughput), e.batch_size, e.workers)
            for name, e in judged.items()
        ]
        some = next(iter(judged.values()))
        kind = some.metric if isinstance(some.metric, str) else some.metric.value
        top = f"in top {some.top}"
        columns = ("engine", "samples", kind, "correct", top, "samples/s", "batch", "runs at once")
        print_table("\nOver the data set", columns, rows)
