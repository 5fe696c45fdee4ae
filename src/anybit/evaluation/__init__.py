"""Models on data sets: data, metrics, statistics of activations."""

from anybit.evaluation.evaluate import Journal
from anybit.evaluation.images import ImageFolder
from anybit.evaluation.metrics import Metric, ScoredSamples

__all__ = ["ImageFolder", "Journal", "Metric", "ScoredSamples"]
