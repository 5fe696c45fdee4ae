"""The application: its commands, and what happens to errors."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from types import TracebackType
from typing import Annotated, Any

import typer

from anybit import __version__
from anybit.cli.bench import bench
from anybit.cli.check import check
from anybit.cli.clean import clean
from anybit.cli.compare import compare
from anybit.cli.convert import convert
from anybit.cli.cost import cost
from anybit.cli.evaluate import evaluate
from anybit.cli.explain import explain
from anybit.cli.info import info
from anybit.cli.late_imports import import_late
from anybit.cli.passes import apply, configuration, passes
from anybit.cli.plan import plan
from anybit.cli.prepare import prepare
from anybit.cli.quantization.quantize import quantize
from anybit.cli.quantization.sensitivity import sensitivity
from anybit.cli.ranges import ranges
from anybit.cli.report import report
from anybit.cli.run import run
from anybit.cli.stats import stats
from anybit.cli.terminal.examples import examples_of
from anybit.cli.terminal.output import say
from anybit.cli.terminal.streams import standard_streams
from anybit.cli.types import types
from anybit.cli.verify import verify
from anybit.cli.zoo import zoo
from anybit.errors import AnybitError

MISUSE = 2
"""Exit code for misuse and for input that cannot be read."""
BUG = 70
"""Exit code for what no input should cause: EX_SOFTWARE of sysexits.h."""

_REPORT = "please report it to the project, with the command, the model and what --debug prints"

app = typer.Typer(
    name="anybit",
    help="Arbitrary-precision quantised neural networks in ONNX: check, clean, analyse, convert, run and compare them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # markup would take brackets in help for its own, and rich twice the time
)
for command in (
    info,
    check,
    explain,
    clean,
    passes,
    apply,
    configuration,
    run,
    compare,
    types,
    ranges,
    cost,
    stats,
    evaluate,
    quantize,
    sensitivity,
    convert,
    verify,
    plan,
    report,
    bench,
):
    app.command(epilog=examples_of(command.__name__))(command)
app.add_typer(prepare)
app.add_typer(zoo)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"anybit {__version__}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]  (typer calls it)
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del debug, version  # `main` takes --debug out of the arguments itself, so that it may stand anywhere


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """One line for what anybit warns of; others as Python shows them."""
    if category.__module__.partition(".")[0] == "anybit":
        say(f"anybit: warning: {message}", error=True)
    else:
        say(*warnings.formatwarning(message, category, filename, lineno).rstrip("\n").split("\n"), error=True)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, whose messages hold names of the model."""
    say(*"".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n"), error=True)


class _Log(logging.Handler):
    """What libraries log where nobody else takes it, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), error=True)


def main() -> None:
    """Runs the command line; an error that anybit knows is one line on stderr and exit code 2, any other one a bug."""
    import_late()
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    warnings.showwarning = _show_warning
    sys.excepthook = _show_traceback
    logging.lastResort = _Log(logging.WARNING)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of broken models, of which `check` says more
    try:
        with standard_streams():
            app(arguments)
    except AnybitError as error:
        if "--debug" in sys.argv:
            raise
        say(f"anybit: {error}", error=True)
        raise SystemExit(MISUSE) from None
    except MemoryError as error:
        if "--debug" in sys.argv:
            raise
        say(f"anybit: out of memory: {error}" if str(error) else "anybit: out of memory", error=True)
        raise SystemExit(MISUSE) from None
    except Exception as error:  # noqa: BLE001  (nothing is hidden: it is said to be a bug, and --debug shows all of it)
        if "--debug" in sys.argv:
            sys.excepthook(type(error), error, error.__traceback__)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"anybit: this is a bug of anybit: {text}; {_REPORT}", error=True)
        raise SystemExit(BUG) from None


if __name__ == "__main__":
    main()
