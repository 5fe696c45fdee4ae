"""Parts of models: cut out, put in place of a node, and joined one behind the other."""

from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.passes.surgery.inline_submodel import inline_submodel
from anybit.passes.surgery.merge_models import merge_models

__all__ = [
    "extract_submodel",
    "inline_submodel",
    "merge_models",
]
