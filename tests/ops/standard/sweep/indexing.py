"""Gathering, scattering, selecting, and tensors made from scratch."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from tests.ops.standard.sweep.case import Case, case, flags, integers, ints, normal, scalar

_TYPES = (np.float64, np.float16, np.int8, np.int32, np.int64, np.uint8, np.bool_)


# What ONNX Runtime has kernels for: types of the indices and of the depth.
_ONE_HOTS = {
    (np.int64, np.dtype(np.int64)),
    (np.int64, np.dtype(np.float32)),
    (np.int64, np.dtype(np.int32)),
    (np.int32, np.dtype(np.int32)),
    (np.int32, np.dtype(np.float32)),
    (np.float32, np.dtype(np.float32)),
}


def _gathers() -> list[Case]:
    x = normal(3, 4, 5)
    cases: list[Case] = []
    for indices in (ints(0, 2), scalar(1, np.int64), np.array([[0, 1], [2, 2]]), np.array([2, 0], np.int32), ints()):
        cases += [case("Gather", x, indices, axis=a) for a in (0, 1, 2)] + [case("Gather", x, indices)]
        cases += [case("Gather", x, indices, axis=-2, since=11)]
    cases += [case("Gather", x, ints(-1, 0, -3), since=11, axis=1), case("Gather", normal(0, 3), ints(1, 2), axis=1)]
    cases += [case("Gather", integers(4, dtype=d), ints(3, 0)) for d in _TYPES] + [
        case("Gather", np.array(["a", "b"]), ints(1))
    ]
    for axis, shape in (
        (0, (2, 4, 5)),
        (1, (3, 2, 5)),
        (2, (3, 4, 7)),
        (-1, (3, 4, 2)),
        (0, (2, 2, 3)),
        (1, (3, 9, 5)),
        (1, (2, 3, 1)),
    ):
        n = x.shape[axis]
        cases += [case("GatherElements", x, integers(*shape, low=-n, high=n - 1), axis=axis, since=11)]
    cases += [case("GatherElements", normal(3, 4), integers(3, 2, low=-4, high=3), axis=1, since=11)]
    cases += [
        case("GatherElements", normal(3, 4), integers(2, 4, low=0, high=2), since=11),
        case("GatherElements", normal(5), ints(4, -5, 0), since=11),
    ]
    cases += [
        case("GatherElements", normal(3, 4), integers(1, 1, low=0, high=2, dtype=np.int32), since=11),
        case("GatherElements", normal(3, 4), integers(0, 4), since=11),
    ]
    cases += [case("GatherElements", normal(2, 3, 4, 2), integers(2, 3, 1, 2, low=0, high=3), axis=2, since=11)]
    cases += [
        case("GatherElements", integers(4, 3, dtype=d), integers(4, 3, low=0, high=2), axis=1, since=11) for d in _TYPES
    ]
    cases += [
        case("GatherND", x, i, since=11)
        for i in (
            np.array([[0, 1], [2, 3]]),
            np.array([[0, 1, 2]]),
            np.array([1]),
            np.array([[-1, -2]]),
            np.array([[[0], [1]]]),
        )
    ]
    cases += [
        case("GatherND", normal(2, 3, 4), i, since=12, batch_dims=1)
        for i in (np.array([[1], [2]]), np.array([[[0, 1]], [[2, -1]]]))
    ]
    cases += [case("GatherND", normal(2, 3, 4), integers(2, 3, 1, low=0, high=3), since=12, batch_dims=2)]
    cases += [case("GatherND", integers(4, 3, dtype=d), np.array([[0, 1]]), since=11) for d in _TYPES]
    return cases


def _scatters() -> list[Case]:
    x = normal(3, 4)
    cases: list[Case] = []
    for name, since, until in (("Scatter", 9, 10), ("ScatterElements", 11, 99)):
        at = {"since": since, "until": until}
        cases += [case(name, x, np.array([[1, 0, 2, 0], [0, 2, 1, 2]]), normal(2, 4), **at)]
        cases += [case(name, x, np.array([[1, 3], [0, 2], [3, 0]]), normal(3, 2), axis=1, **at)]
        cases += [
            case(name, x, np.array([[1, 3]], np.int32), normal(1, 2), axis=1, **at),
            case(name, normal(5), ints(1, 3), normal(2), **at),
        ]
        cases += [case(name, normal(2, 3, 4), np.array([[[1, 0]], [[0, 1]]]), normal(2, 1, 2), axis=0, **at)]
        cases += [
            case(name, integers(3, 2, dtype=d), np.array([[1, 0]]), integers(1, 2, dtype=d), **at) for d in _TYPES
        ]
        cases += [case(name, x, np.zeros((0, 4), np.int64), normal(0, 4), **at)]
    cases += [
        case("ScatterElements", x, np.array([[-1, 3 - 4], [0, -2], [-4, 1]])[:, 1:], normal(3, 1), axis=-1, since=11)
    ]
    repeated = np.array([[1, 1, 0], [0, 2, 2], [3, 3, 3]])
    for reduction, first in (("add", 16), ("mul", 16), ("max", 18), ("min", 18)):
        cases += [
            case(
                "ScatterElements",
                d(1) * x.astype(d),
                repeated,
                normal(3, 3).astype(d),
                axis=1,
                since=first,
                reduction=reduction,
            )
            for d in (np.float32, np.float64, np.int32, np.int64)
        ]
        pairs = np.array([[0, 1], [2, 3], [0, 1], [-1, -1]])
        cases += [
            case("ScatterND", x.astype(d), pairs, normal(4).astype(d), since=first, reduction=reduction)
            for d in (np.float32, np.int64)
        ]
        cases += [case("ScatterND", x, np.array([[1], [1]]), normal(2, 4), since=first, reduction=reduction)]
    cases += [case("ScatterElements", x, np.array([[1, 0, 2, 0]]), normal(1, 4), since=16, reduction="none")]
    cases += [
        case("ScatterND", x, i, normal(*s), since=11)
        for i, s in (
            (np.array([[1], [0]]), (2, 4)),
            (np.array([[1, 2], [0, -1]]), (2,)),
            (np.array([2]), (4,)),
            (np.array([[[0], [1]]]), (1, 2, 4)),
            (np.zeros((0, 1), np.int64), (0, 4)),
        )
    ]
    cases += [
        case("ScatterND", integers(4, 2, dtype=d), np.array([[1]]), integers(1, 2, dtype=d), since=11) for d in _TYPES
    ]
    cases += [
        case("TensorScatter", normal(2, 4, 3), normal(2, 2, 3), ints(1, 2), since=24, axis=1),
        case("TensorScatter", normal(2, 4, 3), normal(2, 2, 3), ints(3, 2), since=24, axis=1, mode="circular"),
    ]
    cases += [
        case("TensorScatter", normal(2, 4, 3), normal(2, 2, 3), since=24, axis=-2),
        case("TensorScatter", normal(2, 4, 3), normal(2, 2, 3), ints(1, 2), since=24),
    ]
    return cases


def _selections() -> list[Case]:
    x = integers(3, 4, low=-3, high=3).astype(np.float32)
    cases = [
        case("NonZero", v, since=9)
        for v in (
            x,
            x.astype(np.int64),
            x.astype(np.int32),
            flags(2, 3, 2),
            np.zeros((2, 2), np.float32),
            x.astype(np.uint8),
            normal(0, 3),
        )
    ]
    cases += [
        case("Compress", x, np.array([True, False, True]), since=9, axis=0),
        case("Compress", x, np.array([False, True, True]), since=9, axis=1),
    ]
    cases += [
        case("Compress", x, np.array([False, True, False, True, True]), since=9),
        case("Compress", x, np.array([True, False, True]), since=11, axis=-2),
        case("Compress", x, np.array([False]), since=9, axis=1),
    ]
    y = normal(3, 6)
    cases += [case("TopK", y, until=9, outputs=2, k=2, **at) for at in ({}, {"axis": 0}, {"axis": 1})]
    for axis, k in ((-1, 3), (0, 2), (1, 6), (1, 0)):
        cases += [case("TopK", y, ints(k), since=10, outputs=2, axis=axis)]
        cases += [case("TopK", y, ints(k), since=11, outputs=2, axis=axis, largest=flag) for flag in (0, 1)]
    tied = integers(2, 9, low=0, high=3)
    for d in (np.float32, np.float64, np.int32, np.int64, np.float16):
        cases += [case("TopK", tied.astype(d), ints(5), since=11, outputs=2, largest=flag) for flag in (0, 1)]
    tied2 = integers(2, 7, 2, low=0, high=2).astype(np.float32)
    cases += [case("TopK", tied2, ints(4), since=11, outputs=2, axis=1, largest=flag) for flag in (0, 1)]
    for values in (
        tied[0],
        tied[0].astype(np.float32),
        integers(3, 5, low=0, high=2).astype(np.int64),
        np.array(["b", "a", "b"]),
    ):
        for s in (0, 1):
            cases += [case("Unique", values, since=11, outputs=4, sorted=s)]
    matrix = np.array([[1, 0, 0], [1, 0, 0], [2, 3, 4]], np.float32)
    cases += [case("Unique", matrix, since=11, outputs=4, axis=a, sorted=s) for a in (0, 1, -1) for s in (0, 1)]
    cases += [
        case("Unique", tied, since=11),
        case("Unique", tied, since=11, outputs=3, unnamed=(1,)),
        case("Unique", tied, since=11, outputs=4, unnamed=(1, 2)),
        case("Unique", tied.astype(np.int8)[0], since=11),
    ]
    for dtype in (np.int64, np.int32, np.float32):
        indices = np.array([[0, 2], [-1, 5]], dtype)
        for depth in (scalar(4, np.int64), ints(4), scalar(4.0), scalar(4, np.int32), np.array([4], np.float32)):
            if (dtype, depth.dtype) not in _ONE_HOTS:
                continue
            cases += [case("OneHot", indices, depth, np.array([2, 5], np.float32), since=9, axis=a) for a in (-1, 0, 1)]
    cases += [
        case("OneHot", ints(0, 2), scalar(3, np.int64), np.array([0, 1], d), since=9) for d in (np.int64, np.float32)
    ]
    cases += [
        case("OneHot", ints(-1, -4, 3), scalar(3, np.int64), np.array([0, 1], np.float32), since=11),
        case("OneHot", ints(0, 1), scalar(3, np.int64), np.array([0, 1], np.float32), since=11, axis=-2),
    ]
    return cases


def _made() -> list[Case]:
    cases = [
        case("Range", scalar(a, d), scalar(b, d), scalar(s, d), since=11)
        for a, b, s in ((0, 5, 1), (3, 10, 4), (10, 1, -3), (5, 5, 1), (5, 2, 1))
        for d in (np.float32, np.float64, np.int32, np.int64, np.int16)
    ]
    cases += [
        case("Range", scalar(0.1), scalar(1.0), scalar(0.1), since=11),
        case("Range", scalar(0.0), scalar(1.0), scalar(0.3), since=11),
    ]
    cases += [case("ConstantOfShape", ints(*s), since=9) for s in ((2, 3), (0, 2), (), (4,))]
    cases += [
        case("ConstantOfShape", ints(2, 2), since=9, value=numpy_helper.from_array(np.array([3]).astype(d)))
        for d in _TYPES
    ]
    cases += [
        case("EyeLike", normal(3, 4), since=9, **at)
        for at in ({}, {"k": 1}, {"k": -2}, {"k": 9}, {"dtype": 7}, {"dtype": 11, "k": 1})
    ]
    cases += [case("EyeLike", integers(4, 3, dtype=d), since=9) for d in (np.int32, np.int64, np.float64)]
    array = normal(2, 3)
    cases += [
        case("Constant", value=numpy_helper.from_array(array)),
        case("Constant", value=numpy_helper.from_array(ints(1, 2))),
        case("Constant", since=12, value_float=1.5),
        case("Constant", since=12, value_floats=[1.5, -2.0]),
        case("Constant", since=12, value_int=3),
        case("Constant", since=12, value_ints=[3, 4]),
        case("Constant", since=12, value_string="a"),
        case("Constant", since=12, value_strings=["a", "b"]),
    ]
    return cases


CASES = [*_gathers(), *_scatters(), *_selections(), *_made()]
