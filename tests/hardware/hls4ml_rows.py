"""The rows of hls4ml."""

from __future__ import annotations

from collections.abc import Iterator

import anybit
from tests.hardware.row import Row, verdict
from tests.hardware.sources import Source


def rows(source: Source) -> Iterator[Row]:
    """A row; the emulation is compiled in the tests of this target, not here."""
    handover = anybit.prepare_hls4ml(source.load(), logits=True)
    yield Row(
        f"{source.group}/{source.name}",
        "hls4ml",
        "qonnx",
        "parallel",
        verdict(handover.findings),
        None if handover.comparison is None else handover.comparison.equal,
        widths=handover.precision or "" if handover.ready else "",
    )
