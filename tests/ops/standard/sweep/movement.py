"""Operators that move elements and compute none: shapes, slices, pads, concatenation."""

from __future__ import annotations

import numpy as np

from tests.ops.standard.sweep.case import Case, case, flags, integers, ints, normal, scalar

_X = normal(2, 3, 4)
_TYPES = (np.float64, np.float16, np.int8, np.int32, np.int64, np.uint8, np.bool_)


def _axes() -> list[Case]:
    cases: list[Case] = []
    unit = normal(1, 3, 1, 2, 1)
    for axes in ((0,), (0, 2), (4, 0), (2, 4, 0)):
        cases += [case("Squeeze", unit, until=12, axes=list(axes)), case("Squeeze", unit, ints(*axes), since=13)]
    for axes in ((-1,), (-1, -3), (-3, -5), (0, -1)):
        cases += [case("Squeeze", unit, since=11, until=12, axes=list(axes))]
        cases += [case("Squeeze", unit, ints(*axes), since=13)]
    cases += [case("Squeeze", unit), case("Squeeze", normal(1, 1)), case("Squeeze", _X), case("Squeeze", normal(1, 0))]
    for axes in ((0,), (2,), (0, 2), (2, 0), (1, 4), (4, 3, 0)):
        cases += [case("Unsqueeze", _X, until=12, axes=list(axes)), case("Unsqueeze", _X, ints(*axes), since=13)]
    for axes in ((-1,), (-2, -1), (-1, -2), (-1, 0), (0, -1, 2), (-3,), (-5, 1)):
        cases += [case("Unsqueeze", _X, since=11, until=12, axes=list(axes))]
        cases += [case("Unsqueeze", _X, ints(*axes), since=13)]
    cases += [case("Unsqueeze", normal(), until=12, axes=[0]), case("Unsqueeze", normal(), ints(0, 1), since=13)]
    cases += [
        case("Unsqueeze", normal(4), since=11, until=12, axes=[-2, -1]),
        case("Unsqueeze", normal(0, 2), ints(1), since=13),
    ]
    for name in ("Squeeze", "Unsqueeze"):
        cases += [case(name, normal(1, 3).astype(d), until=12, axes=[0]) for d in _TYPES]
        cases += [case(name, normal(1, 3).astype(d), ints(0), since=13) for d in _TYPES]
    return cases


def _shapes() -> list[Case]:
    cases = [
        case("Reshape", _X, ints(*s)) for s in ((6, 4), (-1,), (0, -1), (2, 0, 2, 2), (0, 0, 0), (4, -1, 3), (1, -1, 1))
    ]
    cases += [case("Reshape", normal(0, 3), ints(*s)) for s in ((0, 3), (0, 1, 3), (-1, 3))]
    cases += [case("Reshape", normal(0, 3), ints(*s), since=14, allowzero=1) for s in ((3, 0), (0, 0, 5))]
    cases += [
        case("Reshape", normal(1), ints()),
        case("Reshape", normal(), ints(1, 1)),
        case("Reshape", _X.astype(np.int8), ints(-1)),
    ]
    cases += [case("Flatten", _X, axis=a) for a in (0, 1, 2, 3)] + [case("Flatten", _X)]
    cases += [case("Flatten", _X, axis=a, since=11) for a in (-1, -2, -3)] + [
        case("Flatten", normal(5), axis=0),
        case("Flatten", normal(5)),
    ]
    cases += [case("Flatten", normal(0, 3)), case("Flatten", _X.astype(np.int32), axis=2, since=9)]
    cases += [case("Transpose", _X), case("Transpose", _X, perm=[1, 2, 0]), case("Transpose", normal(3), perm=[0])]
    cases += [
        case("Transpose", normal(2, 3, 4, 5), perm=[0, 2, 3, 1]),
        case("Transpose", normal()),
        case("Transpose", normal(2, 0)),
    ]
    cases += [case("Transpose", normal(3, 2).astype(d)) for d in _TYPES]
    for name in ("Shape", "Size"):
        cases += [case(name, x) for x in (_X, normal(), normal(0, 2), _X.astype(np.int8), flags(3))]
    for at in (
        {"start": 1},
        {"end": 2},
        {"start": -1},
        {"start": -9, "end": 9},
        {"start": 1, "end": -1},
        {"start": 2, "end": 1},
    ):
        cases += [case("Shape", _X, since=15, **at)]
    cases += [
        case("Expand", normal(3, 1), ints(*s), since=8) for s in ((2, 3, 4), (3, 4), (1,), (1, 1), (3, 1), (2, 1, 1))
    ]
    cases += [
        case("Expand", normal(), ints(2, 2), since=8),
        case("Expand", normal(1), ints(0), since=8),
        case("Expand", normal(2), ints(), since=8),
    ]
    cases += [
        case("Expand", integers(3, 1, dtype=d), ints(3, 2), since=8) for d in (np.int32, np.int64, np.int8, np.bool_)
    ]
    cases += [case("Tile", _X, ints(*r)) for r in ((1, 1, 1), (2, 1, 3), (1, 0, 2))]
    cases += [
        case("Tile", normal(3).astype(d), ints(2))
        for d in (np.int32, np.int64, np.float64, np.bool_, np.int8, np.uint8)
    ]
    cases += [case("Tile", normal(), ints())]
    return cases


def _joined_and_cut() -> list[Case]:
    a, b = normal(2, 3), normal(2, 1)
    cases = [
        case("Concat", a, b, axis=1),
        case("Concat", a, a, a, axis=0),
        case("Concat", a, axis=1),
        case("Concat", a, b, axis=-1, since=11),
    ]
    cases += [
        case("Concat", normal(2, 0), a, axis=1),
        case("Concat", normal(2, 3, 4), normal(2, 1, 4), axis=-2, since=11),
    ]
    cases += [case("Concat", a.astype(d), b.astype(d), axis=1) for d in _TYPES]
    cases += [case("Concat", np.array(["a"]), np.array(["b", "c"]), axis=0)]
    x = normal(6, 5)
    cases += [case("Split", x, outputs=n, until=17) for n in (1, 2, 3)]
    cases += [
        case("Split", x, outputs=2, until=12, split=[2, 3], axis=1),
        case("Split", x, outputs=3, until=12, split=[1, 0, 5]),
    ]
    cases += [
        case("Split", x, outputs=2, since=11, until=12, split=[2, 3], axis=-1),
        case("Split", x, outputs=5, axis=1, until=17),
    ]
    cases += [
        case("Split", x, ints(2, 3), outputs=2, since=13, axis=-1),
        case("Split", x, ints(1, 0, 5), outputs=3, since=13),
    ]
    cases += [
        case("Split", x, outputs=n, since=18, axis=a, num_outputs=n)
        for n, a in ((1, 0), (2, 0), (3, -1), (2, 1), (5, 1))
    ]
    cases += [
        case("Split", integers(6, dtype=d), ints(2, 4), outputs=2, since=13)
        for d in (np.int32, np.int64, np.uint8, np.bool_)
    ]
    y = normal(4, 6, 5)
    for starts, ends, axes in (
        ((0,), (2,), (0,)),
        ((1, -3), (4, 99), (0, 2)),
        ((-99,), (-1,), (1,)),
        ((3,), (1,), (1,)),
        ((1, 2), (3, 4), None),
        ((2, 0), (5, 9), (2, 1)),
        ((0, 0), (-1, -2), (1, 0)),
    ):
        given = {} if axes is None else {"axes": list(axes)}
        cases += [case("Slice", y, until=9, starts=list(starts), ends=list(ends), **given)]
        cases += [case("Slice", y, *(ints(*v) for v in (starts, ends, *(() if axes is None else (axes,)))), since=10)]
    for start, end, axis, step in (
        (-1, -99, 1, -1),
        (5, 0, 1, -2),
        (0, 99, 2, 3),
        (99, -99, 2, -1),
        (4, 1, 1, 1),
        (1, 4, 1, -1),
        (0, 2**62, 0, 2**40),
        (-1, -(2**62), -1, -1),
    ):
        cases += [case("Slice", y, ints(start), ints(end), ints(axis), ints(step), since=10)]
    cases += [
        case("Slice", y, ints(1, 0), ints(3, 9), None, ints(1, 2), since=10),
        case("Slice", y, *(v.astype(np.int32) for v in (ints(1), ints(3), ints(-2), ints(2))), since=10),
    ]
    cases += [case("Slice", normal(0, 3), ints(0), ints(5), ints(0), since=10)]
    cases += [
        case("Slice", integers(6, dtype=d), ints(4), ints(0), ints(0), ints(-1), since=10)
        for d in (*_TYPES[1:], np.float64)
    ]
    return cases


def _padded() -> list[Case]:
    x = normal(3, 4, 5)
    cases: list[Case] = []
    for mode, since in (("constant", 7), ("reflect", 7), ("edge", 7), ("wrap", 19)):
        for pads in (
            (0, 0, 0, 0, 0, 0),
            (0, 1, 2, 0, 3, 1),
            (1, 0, 0, 2, 0, 4),
            (0, -1, 1, 0, 0, -2),
            (-1, -1, 0, 0, -1, 2),
            (0, 0, -2, 0, 0, -1),
        ):
            cases += [
                case("Pad", x, until=10, mode=mode, pads=list(pads)),
                case("Pad", x, ints(*pads), since=max(11, since), mode=mode),
            ]
        cases += [case("Pad", x, ints(1, 2, 0, 1), None, ints(2, 0), since=max(18, since), mode=mode)]
        cases += [case("Pad", x, ints(1, -1, 0, 1), None, ints(-1, -3), since=max(18, since), mode=mode)]
        cases += [case("Pad", normal(4), ints(2, 3), since=max(11, since), mode=mode)]
    cases = [c for c in cases if c.since <= c.until and not (c.until == 10 and c.attributes["mode"] == "wrap")]
    cases += [
        case("Pad", x, until=10, pads=[1, 0, 0, 0, 2, 0], value=1.5),
        case("Pad", x, ints(1, 0, 0, 0, 2, 0), scalar(1.5), since=11),
    ]
    cases += [
        case("Pad", x, ints(1, 0, 0, 0, 2, -3), scalar(1.5), since=11),
        case("Pad", normal(0, 2), ints(1, 1, 2, 0), scalar(2.0), since=11),
    ]
    cases += [
        case("Pad", x, ints(5, 3), scalar(1.5), np.array([2], np.int32), since=18),
        case("Pad", normal(2, 0, 3), ints(0, 0, 1, 0, 0, 1), since=11),
    ]
    cases += [
        case("Pad", integers(2, 3, low=0, dtype=d), ints(1, 0, 0, 2), scalar(1, d), since=13)
        for d in (np.int8, np.int32, np.int64, np.uint8, np.float64, np.bool_)
    ]
    cases += [case("Pad", x.astype(np.float16), ints(1, 0, 0, 0, 2, 0), since=13, mode="edge")]
    return cases


def _rearranged() -> list[Case]:
    cases: list[Case] = []
    x = normal(2, 12, 4, 6)
    for block in (1, 2):
        cases += [case("DepthToSpace", x, blocksize=block), case("SpaceToDepth", x, blocksize=block)]
        cases += [case("DepthToSpace", x, blocksize=block, since=11, mode=mode) for mode in ("DCR", "CRD")]
    cases += [case(n, x.astype(np.float64), blocksize=2) for n in ("DepthToSpace", "SpaceToDepth")]
    y = normal(4, 5, 3)
    for at in ({}, {"batch_axis": 1, "time_axis": 0}, {"batch_axis": 0, "time_axis": 1}):
        batch = y.shape[at.get("batch_axis", 1)]
        lengths = np.minimum(integers(batch, low=1, high=4), y.shape[at.get("time_axis", 0)])
        cases += [case("ReverseSequence", y, lengths, since=10, **at)]
    cases += [
        case("ReverseSequence", y[:, :, 0].astype(d), ints(1, 2, 3, 4, 4), since=10)
        for d in (np.int32, np.int64, np.int8)
    ]
    for upper in (0, 1):
        for shape in ((3, 4), (4, 3), (2, 3, 3), (2, 0, 3)):
            cases += [case("Trilu", normal(*shape), since=14, upper=upper)]
            cases += [
                case("Trilu", normal(*shape), scalar(k, np.int64), since=14, upper=upper) for k in (-7, -1, 0, 1, 2, 9)
            ]
        cases += [case("Trilu", integers(3, 3, dtype=d), since=14, upper=upper) for d in (np.int64, np.float64)]
    cases += [case("Trilu", normal(3, 3), ints(1), since=14), case("Trilu", normal(3, 4), since=14)]
    for shape, axes in (((4, 2, 7), None), ((3,), [1]), ((5, 2), [0, 2]), ((5, 2), [-1, -3]), ((2, 5), [2, 0])):
        cases += [
            case("CenterCropPad", normal(3, 4, 5), ints(*shape), since=18, **({} if axes is None else {"axes": axes}))
        ]
    cases += [case("Col2Im", normal(1, 4 * 2, 6), ints(3, 4), ints(2, 2), since=18)]
    cases += [case("Col2Im", normal(2, 9, 4), ints(5, 5), ints(3, 3), since=18, strides=[2, 2])]
    cases += [case("Col2Im", normal(1, 9, 25), ints(5, 5), ints(3, 3), since=18, pads=[1, 1, 1, 1])]
    cases += [case("Col2Im", normal(1, 4, 16), ints(5, 6), ints(2, 2), since=18, dilations=[1, 2])]
    cases += [
        case("Col2Im", normal(1, 8, 8), ints(3, 3, 3), ints(2, 2, 2), since=18),
        case("Col2Im", normal(1, 6, 4), ints(5), ints(2), since=18),
    ]
    return cases


CASES = [*_axes(), *_shapes(), *_joined_and_cut(), *_padded(), *_rearranged()]
