"""IoType: how tensors travel between the layers of an hls4ml project."""

from __future__ import annotations

import enum


class IoType(enum.Enum):
    """How hls4ml hands tensors from layer to layer."""

    PARALLEL = "parallel"
    """All elements at once, each layer unrolled."""
    STREAM = "stream"
    """Packets of one element a channel, one position after the other, through FIFOs: for larger convolutional nets."""

    @property
    def option(self) -> str:
        """What hls4ml's ``io_type`` is set to."""
        return f"io_{self.value}"
