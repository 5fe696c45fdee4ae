"""What onnx-ir logs of a model that it reads: names in it are shown as they are in all that anybit says."""

from __future__ import annotations

import logging

from anybit.errors import visible


class VisibleNames(logging.Filter):
    """Makes of each message one line that can be printed."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = visible(record.getMessage()), ()
        return True


_VISIBLE = VisibleNames()


def show_names() -> None:
    """Applies `VisibleNames` to the loggers of onnx-ir that name tensors and nodes; once is as good as often."""
    for module in ("serde", "_core", "_cloner", "passes.common.shape_inference"):
        logging.getLogger(f"onnx_ir.{module}").addFilter(_VISIBLE)
