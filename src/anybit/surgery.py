"""Parts of models: cut out, put in place of a node, joined one behind the other; and their attributes by name."""

from anybit.passes.surgery.configuration import configuration
from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.passes.surgery.inline_submodel import inline_submodel
from anybit.passes.surgery.merge_models import merge_models

__all__ = [
    "configuration",
    "extract_submodel",
    "inline_submodel",
    "merge_models",
]
