"""report: the page of a model: one HTML file that needs nothing else, and that no name in a model can change."""

from __future__ import annotations

import os
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from anybit.analysis.values.input_range import InputRanges
from anybit.arguments import checked_apart
from anybit.errors import UsageError
from anybit.io.load import ModelSource
from anybit.quantization import Front, Sensitivity
from anybit.reporting.changes import Changes, changes_of
from anybit.reporting.describe import describe
from anybit.reporting.frame import environment, policy, theme
from anybit.reporting.model import Report
from anybit.runtime.session import Inputs

if TYPE_CHECKING:
    from jinja2 import Template

_SCRIPTS = (
    "dom.js",
    "bits.js",
    "legend.js",
    "charts.js",
    "layout.js",
    "camera.js",
    "boxes.js",
    "map.js",
    "graph.js",
    "detail.js",
    "losses.js",
    "layers.js",
    "targets.js",
    "plan.js",
    "changes.js",
    "search.js",
    "app.js",
)
_TABS = {
    "changes": "Changes",
    "graph": "Graph",
    "cost": "Bits",
    "targets": "Targets",
    "plan": "Native",
    "loss": "Sensitivity",
    "findings": "Findings",
}
_SOURCE_MAP = "//# sourceMappingURL="  # a file beside the library's, which a page would look for


@checked_apart("data", "input_ranges")
def report(
    model: ModelSource,
    data: Inputs | None = None,
    *,
    name: str | None = None,
    input_ranges: InputRanges | None = None,
    before: ModelSource | None = None,
    sensitivity: Sensitivity | None = None,
    front: Front | None = None,
    targets: bool = True,
) -> str:
    """One self-contained HTML page: graph, where the bits are, what each target takes, native plan, findings.

    The page loads nothing: its policy forbids that, and allows no script but its own. Weights are summarised, not
    embedded. The same model, data and version make the same page. That of a broken model lists what is wrong with it
    first. With an earlier model it shows both graphs, what changed, and where the results depart.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it stays as it is.
        data: Arrays by input name, samples along the first axis, or one array for a single input: what quantised
            activations hold on it is shown beside what is proven.
        name: What the page calls the model; without it the name of its file, or of its graph.
        input_ranges: By input name, the smallest and the largest value that is fed (see `analyse`).
        before: An earlier model to compare with, on the data, or on samples drawn at random.
        sensitivity: What `anybit.sensitivity` measured: a column of the layers, a colour of the graph, a table.
        front: The plans that `anybit.quantization.pareto_front` found: a plot.
        targets: Whether formats, hardware tools and native kernels are asked, which takes most of the time.

    Raises:
        ModelFileError: The source is no ONNX model at all.
        InputError: The data does not fit the model.
        UsageError: A range is empty, does not fit its input, or names no input; or data is a path, not an array.
        UnsupportedError: jinja2 is not installed; or data is given, and an operator cannot be run.

    Example:
        >>> html = report("model.onnx")            # doctest: +SKIP
        >>> html = report("w4.onnx", before="float.onnx")            # doctest: +SKIP
    """
    if isinstance(data, str | bytes | os.PathLike):
        expected = "arrays by input name, or one array"
        raise UsageError("data of a report", got=repr(data), expected=expected, hint="read it with numpy.load")
    template = _template()  # first: what is missing is said before the work is done
    folders = _folders(model, before)
    described = describe(
        model,
        data,
        name=name or folders[0],
        input_ranges=input_ranges,
        sensitivity=sensitivity,
        front=front,
        targets=targets,
    )
    if before is None:
        return _rendered(template, described)
    earlier = describe(before, name=folders[1], input_ranges=input_ranges, targets=False)
    return _rendered(template, described, earlier, changes_of(earlier, described, (before, model), data))


def _folders(model: ModelSource, before: ModelSource | None) -> tuple[str | None, str | None]:
    """What two files of one name are called, to tell them apart: each with the folder that it is in."""
    if not isinstance(model, str | os.PathLike) or not isinstance(before, str | os.PathLike):
        return None, None
    later, earlier = Path(model).resolve(), Path(before).resolve()
    if later.name != earlier.name or later == earlier:
        return None, None
    return f"{later.parent.name}/{later.name}", f"{earlier.parent.name}/{earlier.name}"


def render(described: Report) -> str:
    """The page of a described model.

    Raises:
        UnsupportedError: jinja2 is not installed.
    """
    return _rendered(_template(), described)


def _template() -> Template:
    return environment().from_string(_text("assets", "page.html"))


def _rendered(
    template: Template, described: Report, before: Report | None = None, changes: Changes | None = None
) -> str:
    style = theme() + _text("assets", "page.css")
    script = "(() => {\n" + "\n".join(_text("assets", s) for s in _SCRIPTS) + "})();\n"
    library = _text("vendor", "dagre.min.js").partition(_SOURCE_MAP)[0]
    return template.render(
        report=described,
        before=before,
        tabs=[(name, title) for name, title in _TABS.items() if _is_shown(name, described, before)],
        policy=policy(style, library, script),
        style=style,
        script=script,
        library=library,
        licence=_text("vendor", "dagre.LICENSE.txt"),
        data={
            "report": asdict(described),
            "before": None if before is None else asdict(before),
            "changes": None if changes is None else asdict(changes),
        },
    )


def _is_shown(tab: str, described: Report, before: Report | None) -> bool:
    shown = {
        "changes": before is not None,
        "targets": bool(described.formats),
        "plan": described.plan is not None,
        "loss": described.losses is not None or bool(described.front),
    }
    return shown.get(tab, True)


def _text(folder: str, name: str) -> str:
    return (files("anybit.reporting") / folder / name).read_text("utf-8")
