"""DebugMarker: a tensor under a second name, by which tools compare it with another model's.   Y = X."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import Finding
from anybit.ops.bodies.traced import traced_when_needed
from anybit.ops.operator import Attribute, Bounds, Call, Input, Layout, Operator, Types
from anybit.ops.traits import Monotone, Movement, Traits


def reference(x: npt.ArrayLike, *, export_debug_name: str) -> Array:
    """Y = X.

    Args:
        x: Any shape, any numbers; Y has its type.
        export_debug_name: The second name of the tensor; of no effect on the numbers.

    Example:
        >>> reference(np.float32([1, 2]), export_debug_name="layer1").tolist()
        [1.0, 2.0]
    """
    del export_debug_name
    return np.array(x)


@traced_when_needed()
def body(script, op):
    """The operator passes X on."""

    @script
    def body(X, export_debug_name: str):
        return op.Identity(X)

    return body


def bounds(call: Call, x: Bounds) -> Bounds:
    """The output has the bounds of X."""
    del call
    return x


def check(call: Call) -> Iterable[Finding]:
    """The call has a finding where its second name is empty."""
    if not call.attributes["export_debug_name"]:
        yield call.finding("name", "export_debug_name", got="''", expected="a name")


DEBUG_MARKER = Operator(
    name="DebugMarker",
    doc="A tensor under a second name, by which it is compared with that of another model.",
    inputs=(Input("X", Types.NUMERIC),),
    attributes=(Attribute("export_debug_name", str, None, "the second name of the tensor"),),
    reference=reference,
    traits=Traits(
        elementwise=True,
        movement=Movement.ORDER,
        keeps_channels=True,
        monotone=(Monotone.RISING,),
        finite=True,
        homogeneous=True,
    ),
    body=body,
    bounds=bounds,
    layout=Layout(),
    check=check,
)
