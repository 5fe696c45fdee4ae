"""Which operators there are: the built-in ones, those registered in code, those that installed packages declare.

A package declares an operator by an entry point of the group ``anybit.operators`` whose value is an `Operator`.
A model file can never cause an import.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from anybit.arguments import checked
from anybit.errors import UsageError
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.channels_last.average_pool import AVERAGE_POOL
from anybit.ops.channels_last.batch_normalization import BATCH_NORMALIZATION
from anybit.ops.channels_last.conv import CONV
from anybit.ops.channels_last.global_average_pool import GLOBAL_AVERAGE_POOL
from anybit.ops.channels_last.max_pool import MAX_POOL
from anybit.ops.finn.debug_marker import DEBUG_MARKER
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.finn.xnor_popcount_mat_mul import XNOR_POPCOUNT_MAT_MUL
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.im2col import IM2COL
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.operator import Operator
from anybit.ops.quant import QUANT
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL
from anybit.ops.records import refuse_unusable
from anybit.ops.trunc import TRUNC, TRUNC_1

QUANTIZERS = (QUANT, BIPOLAR_QUANT, FLOAT_QUANT, TRUNC)
"""Our operators that round each element of X to numbers of a format; see `anybit.ops.calls.is_call`."""

ENTRY_POINT_GROUP = "anybit.operators"

_operators: dict[tuple[str, str], list[Operator]] = {}


class OperatorWarning(UserWarning):
    """An installed package declares an operator that cannot be registered; models without it are not affected."""


@checked
def register(operator: Operator) -> None:
    """Makes an operator known to every later call; registering an equal record again does nothing.

    Raises:
        UsageError: The record cannot work, or another one stands for the same domain, name and version already.
    """
    refuse_unusable(operator)
    names = (operator.name, *operator.aliases)
    for name in names:
        known = _of_version(operator.domain, name, operator.since)
        if known not in (None, operator):
            raise UsageError(
                "an operator of this name and version is registered already",
                node=f"{operator.domain}::{name} version {operator.since}",
                hint="choose another domain or version",
            )
    for name in names:
        if _of_version(operator.domain, name, operator.since) is None:
            versions = _operators.setdefault((operator.domain, name), [])
            versions.append(operator)
            versions.sort(key=lambda o: o.since)


def _of_version(domain: str, name: str, since: int) -> Operator | None:
    return next((o for o in _operators.get((domain, name), ()) if o.since == since), None)


@cache
def _load_entry_points() -> None:
    """Registers what installed packages declare; one that cannot work is left out with a warning."""
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            register(_declared(entry_point))
        except UsageError as error:
            warnings.warn(f"an operator is left out: {error}", OperatorWarning, stacklevel=2)


def _declared(entry_point: EntryPoint) -> Operator:
    where = f"{ENTRY_POINT_GROUP} '{entry_point.name}'"
    try:
        operator = entry_point.load()
    except Exception as error:
        raise UsageError(
            "an entry point cannot be loaded",
            node=where,
            got=repr(error),
            hint="repair or remove the package that declares it",
        ) from error
    if not isinstance(operator, Operator):
        raise UsageError(
            "an entry point does not lead to an operator",
            node=where,
            got=type(operator).__name__,
            expected="anybit.Operator",
        )
    return operator


def find_operator(domain: str, name: str, version: int) -> Operator | None:
    """The record that gives `name` its meaning at this domain version, None if there is none."""
    _load_entry_points()
    known = [o for o in _operators.get((domain, name), ()) if o.since <= version]
    return known[-1] if known else None


def operators() -> tuple[Operator, ...]:
    """All known records, without their aliases, by domain, name and version."""
    _load_entry_points()
    return tuple(o for (_, name), versions in sorted(_operators.items()) for o in versions if o.name == name)


_GENERAL = (QUANT, BIPOLAR_QUANT, TRUNC_1, TRUNC, FLOAT_QUANT, MULTI_THRESHOLD, IM2COL, QUANT_AVG_POOL)
_FINN = (XNOR_POPCOUNT_MAT_MUL, MAX_POOL_NHWC, DEBUG_MARKER)
_CHANNELS_LAST = (CONV, MAX_POOL, AVERAGE_POOL, GLOBAL_AVERAGE_POOL, BATCH_NORMALIZATION)

for _operator in (*_GENERAL, *_FINN, *_CHANNELS_LAST):
    register(_operator)
