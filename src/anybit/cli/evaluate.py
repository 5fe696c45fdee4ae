"""anybit evaluate: how right a model is over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.options.engine import EngineOption
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, progress
from anybit.cli.zoo_tables import print_evaluation


def evaluate(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help=".npz, .npy or a folder of images by class.", show_default=False)],
    labels: Annotated[
        str | None, typer.Option(help="Key of the labels in the .npz file, or an .npy file with them.")
    ] = None,
    metric: Annotated[str, typer.Option(help="accuracy or squared-error.")] = "accuracy",
    top: Annotated[int, typer.Option(help="A label counts among so many of the highest scores.")] = 1,
    output: Annotated[str | None, typer.Option(help="Output to judge, where there are several.")] = None,
    engine: EngineOption = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Samples in one run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at once; else one for each core.")] = None,
    json: JsonOption = False,
) -> None:
    """How right a model is over a data set: the share of samples whose highest score has their label, or the error."""
    from anybit.evaluation.datasets import open_data

    session = anybit.Session(model, engine=engine, threads=1)
    samples = open_data(session.required, data, labels).samples
    with progress(f"judging {model.name}", samples) as advance:
        found = anybit.evaluate(
            session,
            data,
            labels,
            metric=metric,
            top=top,
            output=output,
            batch_size=batch_size,
            workers=workers,
            progress=advance,
        )
    if json:
        print_json(found)
    else:
        print_evaluation(found)
