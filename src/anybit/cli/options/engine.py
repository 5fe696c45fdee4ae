"""EngineOption: what executes a model, by its name on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from anybit.engines.engine import Engine

EngineOption = Annotated[str, typer.Option("--engine", help=f"One of {', '.join(e.value for e in Engine)}.")]
