"""Hand-over to hardware tools: a model as the tool takes it, or what stands in the way."""

from anybit.targets.finn.prepare import FinnForm
from anybit.targets.finn.project.write import write_finn_project

__all__ = ["FinnForm", "write_finn_project"]
