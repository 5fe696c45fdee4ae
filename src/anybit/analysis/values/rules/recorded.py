"""bounds_of_record: the rule that the record of an operator brings along, see `Operator.bounds`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, TensorValues, bounded, checked_grid
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rule
from anybit.ops.calls import call_of, form_findings
from anybit.ops.operator import Bounds, GridBounds, Operator


def bounds_of_record(operator: Operator) -> Rule | None:
    """The rule of an operator by its record; None where the record has none."""
    of = operator.bounds
    if of is None:
        return None

    def rule(site: NodeContext) -> TensorValues:
        finding = next(form_findings(site.node, operator), None)
        if finding is not None:
            raise NotFollowed(f"the call does not fit the operator: {finding.problem}")
        known = {f.name: a for i, f in enumerate(operator.inputs) if (a := site.constant(i)) is not None}
        call = replace(call_of(site.node, operator), constants=known)
        return _values(of(call, *(None if v is None else _bounds(v) for v in site.inputs)), site)

    return rule


def _bounds(values: TensorValues) -> Bounds:
    grid = values.grid
    integers = (
        None if grid is None else GridBounds(scale=grid.scale, zero_point=grid.zero_point, lo=grid.lo, hi=grid.hi)
    )
    return Bounds(lo=values.lo, hi=values.hi, grid=integers)


def _values(made: object, site: NodeContext) -> TensorValues:
    if not isinstance(made, Bounds):
        raise NotFollowed(f"the bounds of its record are {type(made).__name__}, expected Bounds")
    lo, hi = _array(made.lo, site), _array(made.hi, site)
    if np.isnan(lo).any() or np.isnan(hi).any() or (lo > hi).any():
        raise NotFollowed("the bounds of its record are no interval")
    if made.grid is None:
        return bounded(lo, hi)
    parts = (made.grid.scale, made.grid.zero_point, made.grid.lo, made.grid.hi)
    scale, zero_point, least, most = (_array(part, site) for part in parts)
    whole = np.isfinite([least.min(), least.max(), most.min(), most.max()]).all() and np.isfinite(zero_point).all()
    if not whole or not (np.isfinite(scale) & (scale > 0)).all():
        return bounded(lo, hi)
    if any((a != np.floor(a)).any() for a in (least, most)) or (least > most).any():
        raise NotFollowed("the grid of its record has no whole ends, or none in order")
    return bounded(lo, hi, checked_grid(IntegerGrid(scale, zero_point, least, most)))


def _array(bound: npt.ArrayLike, site: NodeContext) -> Float64s:
    array = np.asarray(bound, np.float64)
    shape = site.output_shapes[0]
    if not array.size or (shape is not None and array.ndim > len(shape)):
        raise NotFollowed("the bounds of its record do not broadcast to the output")
    return array
