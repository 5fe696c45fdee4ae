"""Hand-over to hardware tools: a model as the tool takes it, or what stands in the way."""

from anybit.targets.finn.prepare import FinnForm
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.project.write import write_hls4ml_project

__all__ = ["FinnForm", "IoType", "write_hls4ml_project"]
