"""Reductions, ArgMax and ArgMin, cumulative sums and products, softmax and losses."""

from __future__ import annotations

import numpy as np

from tests.ops.standard.sweep.case import NEWEST, Case, case, flags, integers, ints, normal, positive, scalar

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_AXES_AS_INPUT = {"Sum": 13}  # the others: 18


def _reductions() -> list[Case]:
    cases: list[Case] = []
    x = positive(2, 3, 4)
    for short in _REDUCTIONS:
        name, since = f"Reduce{short}", _AXES_AS_INPUT.get(short, 18)
        for keepdims in (0, 1):
            cases += [case(name, x, until=since - 1, axes=axes, keepdims=keepdims) for axes in ([1], [2, 0], [0, 1, 2])]
            cases += [
                case(name, x, since=11, until=since - 1, axes=axes, keepdims=keepdims) for axes in ([-1], [-1, 0])
            ]
            cases += [
                case(name, x, ints(*axes), since=since, keepdims=keepdims)
                for axes in ((1,), (2, 0), (-1,), (-1, 0), (0, 1, 2), ())
            ]
            cases += [case(name, x, keepdims=keepdims), case(name, positive(), keepdims=keepdims)]
            cases += [case(name, positive(5), keepdims=keepdims)]
        cases += [case(name, x), case(name, x, ints(), since=since, noop_with_empty_axes=1)]
        cases += [case(name, x, since=since, noop_with_empty_axes=1)]
        cases += [case(name, x, ints(1), since=since, noop_with_empty_axes=1)]
        for dtype in (np.float64, np.int32):
            y = integers(3, 4, low=1, high=3, dtype=dtype)
            last = 27 if short in ("LogSum", "LogSumExp") and dtype == np.int32 else NEWEST
            cases += [case(name, y, until=since - 1, axes=[1]), case(name, y, ints(1), since=since, until=last)]
        cases += [case("ReduceMean", integers(5, 4, dtype=np.int32), ints(1), since=18)]
        cases += [case(name, x.astype(np.float16), until=since - 1, axes=[1])]
        cases += [case(name, x.astype(np.float16), ints(1), since=since)]
        if short not in ("Max", "Min", "Mean"):
            cases += [case(name, positive(2, 0, 3), ints(1), since=since), case(name, positive(0), since=since)]
    for name in ("ReduceMax", "ReduceMin"):
        cases += [case(name, integers(3, 4, dtype=d), ints(1), since=18) for d in (np.int64, np.int8)]
        cases += [case(name, integers(3, 4, low=0, dtype=np.uint8), ints(0), since=18)]
        cases += [case(name, integers(3, 4, dtype=d), since=12, until=17, axes=[1]) for d in (np.int64, np.int8)]
        cases += [case(name, flags(3, 4), ints(1), since=20), case(name, normal(2, 3, 4), ints(1, -1), since=18)]
    for name in ("ReduceSum", "ReduceProd"):
        cases += [case(name, integers(3, 4, dtype=np.int64), ints(1), since=18)]
    cases += [
        case(f"Reduce{n}", normal(2, 3, 4), ints(0, 2), since=18) for n in ("L1", "L2", "LogSumExp", "Mean", "Prod")
    ]
    cases += [case("ReduceLogSumExp", normal(2, 3) * 200, ints(1), since=18)]
    return cases


def _positions() -> list[Case]:
    tied = integers(2, 5, 4, low=0, high=2).astype(np.float32)
    cases: list[Case] = []
    for name in ("ArgMax", "ArgMin"):
        for keepdims in (0, 1):
            cases += [case(name, tied, axis=axis, keepdims=keepdims) for axis in (0, 1, 2)]
            cases += [case(name, tied, axis=-1, keepdims=keepdims, since=11)]
            cases += [case(name, tied, axis=-2, keepdims=keepdims, since=12, select_last_index=1)]
        cases += [case(name, tied), case(name, tied[0, 0])]
        cases += [case(name, integers(4, 5, dtype=np.int32), axis=1)]
        cases += [case(name, integers(4, 5, dtype=d), axis=1, since=13) for d in (np.int8, np.int64, np.float64)]
        cases += [case(name, integers(4, 5, low=0, dtype=np.uint8), axis=1, since=13)]
    return cases


def _cumulative() -> list[Case]:
    cases: list[Case] = []
    for name, since in (("CumSum", 11), ("CumProd", 26)):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                given = {"exclusive": exclusive, "reverse": reverse}
                cases += [case(name, normal(2, 3, 4), scalar(a, np.int64), since=since, **given) for a in (0, 1, -1)]
                cases += [case(name, normal(5), scalar(0, np.int32), since=since, **given)]
                cases += [
                    case(name, integers(2, 3, dtype=d), scalar(1, np.int64), since=since, **given)
                    for d in (np.int32, np.int64, np.float64)
                ]
        cases += [case(name, normal(2, 0, 4), scalar(1, np.int64), since=since)]
    cases += [case("CumSum", normal(2, 3), ints(a), since=11) for a in (1, -1)]  # not a scalar, as some write it
    return cases


def _softmax() -> list[Case]:
    cases: list[Case] = []
    x = normal(2, 3, 4, 2)
    for name in ("Softmax", "LogSoftmax", "Hardmax"):
        cases += [case(name, x)] + [case(name, x, axis=a) for a in (0, 1, 2, 3)]
        cases += [case(name, x, axis=a, since=11) for a in (-1, -2, -4)]
        cases += [case(name, normal(5), axis=0), case(name, normal(2, 3) * 500, axis=1)]
        cases += [case(name, normal(0, 3), axis=1)]
        if name != "Hardmax":
            cases += [case(name, normal(2, 3, dtype=np.float64), axis=1)]
        cases += [case(name, normal(2, 3, dtype=np.float16), axis=1)]
    cases += [case("Hardmax", integers(3, 6, low=0, high=2).astype(np.float32), axis=1)]
    return cases


def _losses() -> list[Case]:
    cases: list[Case] = []
    targets = integers(3, low=0, high=4)
    spatial = integers(3, 2, 2, low=0, high=4)
    weights = positive(5)
    for reduction in ("none", "sum", "mean"):
        for given in ((), (weights,)):
            for ignored in ({}, {"ignore_index": 2}, {"ignore_index": -100}):
                at = {"reduction": reduction, **ignored}
                scores = np.log(positive(3, 5))
                cases += [case("NegativeLogLikelihoodLoss", scores, targets, *given, since=12, **at)]
                cases += [case("NegativeLogLikelihoodLoss", normal(3, 5, 2, 2), spatial, *given, since=12, **at)]
                cases += [
                    case("SoftmaxCrossEntropyLoss", normal(3, 5), targets, *given, since=12, outputs=n, **at)
                    for n in (1, 2)
                ]
                cases += [
                    case("SoftmaxCrossEntropyLoss", normal(3, 5, 2, 2), spatial, *given, since=12, outputs=2, **at)
                ]
    cases += [case("SoftmaxCrossEntropyLoss", normal(3, 5), targets.astype(np.int32), since=12)]
    return cases


CASES = [*_reductions(), *_positions(), *_cumulative(), *_softmax(), *_losses()]
