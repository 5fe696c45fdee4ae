"""Hand-over to hardware tools: a model as the tool takes it, or what stands in the way."""

from anybit.targets.finn.prepare import FinnForm
from anybit.targets.finn.project.write import write_finn_project
from anybit.targets.hls4ml.io_type import IoType
from anybit.targets.hls4ml.project.write import write_hls4ml_project

__all__ = ["FinnForm", "IoType", "write_finn_project", "write_hls4ml_project"]
