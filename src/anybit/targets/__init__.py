"""Hand-over to hardware tools: a model as the tool takes it, or what stands in the way."""

from anybit.targets.finn.prepare import FinnForm

__all__ = ["FinnForm"]
