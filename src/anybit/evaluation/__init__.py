"""Models on data sets: data, metrics, statistics of activations."""

from anybit.evaluation.images import ImageFolder
from anybit.evaluation.metrics import Metric

__all__ = ["ImageFolder", "Metric"]
