"""Operators of one's own: the record in which everything about one stands together.

`anybit.register` makes an `Operator` known to every function.
"""

from anybit.ops.operator import DOMAIN, Attribute, Bounds, Call, GridBounds, Input, Layout, Operator, Types
from anybit.ops.registry import register
from anybit.ops.traits import Monotone, MonotoneProof, Movement, Traits

__all__ = [
    "DOMAIN",
    "Attribute",
    "Bounds",
    "Call",
    "GridBounds",
    "Input",
    "Layout",
    "Monotone",
    "MonotoneProof",
    "Movement",
    "Operator",
    "Traits",
    "Types",
    "register",
]
