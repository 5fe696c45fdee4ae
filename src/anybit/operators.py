"""Operators of one's own: the record in which everything about one stands together.

`anybit.register` makes an `Operator` known to every function.
"""

from anybit.ops.operator import DOMAIN, Attribute, Call, Input, Operator, Types
from anybit.ops.registry import register

__all__ = [
    "DOMAIN",
    "Attribute",
    "Call",
    "Input",
    "Operator",
    "Types",
    "register",
]
