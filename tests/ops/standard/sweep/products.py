"""Matrix products, whatever they are called."""

from __future__ import annotations

import numpy as np

from tests.ops.standard.sweep.case import Case, case, integers, normal, scalar


def _products() -> list[Case]:
    cases: list[Case] = []
    pairs = (
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((2, 1, 2, 3), (5, 3, 4)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
    )
    cases += [case("MatMul", normal(*a), normal(*b), tolerance=5) for a, b in pairs]
    cases += [case("MatMul", integers(2, 3, dtype=d), integers(3, 4, dtype=d), since=9) for d in (np.int32, np.int64)]
    cases += [
        case("MatMul", integers(2, 3, low=0, dtype=d), integers(3, 4, low=0, dtype=d), since=9)
        for d in (np.uint32, np.uint64)
    ]
    cases += [
        case("MatMul", normal(2, 3, dtype=d), normal(3, 4, dtype=d), tolerance=5) for d in (np.float16, np.float64)
    ]
    for ta in (0, 1):
        for tb in (0, 1):
            a, b = normal(*((3, 2) if ta else (2, 3))), normal(*((4, 3) if tb else (3, 4)))
            cases += [
                case("Gemm", a, b, normal(*c), transA=ta, transB=tb, alpha=0.5, beta=-2.0, tolerance=5)
                for c in ((4,), (2, 4), (2, 1), (1,), ())
            ]
            cases += [case("Gemm", a, b, since=11, transA=ta, transB=tb, tolerance=5)]
    cases += [
        case("Gemm", normal(0, 3), normal(3, 2), normal(2)),
        case("Gemm", *(normal(*s, dtype=np.float64) for s in ((2, 3), (3, 4), (4,)))),
    ]
    cases += [
        case("Gemm", normal(2, 0), normal(0, 3), normal(3)),
        case("Gemm", *(normal(*s, dtype=np.float16) for s in ((2, 3), (3, 4), (4,))), tolerance=5),
    ]
    a8, b8 = integers(3, 5, low=0, high=255, dtype=np.uint8), integers(5, 4, low=-128, high=127, dtype=np.int8)
    cases += [
        case("MatMulInteger", a8, b8, since=10),
        case("MatMulInteger", a8, b8, scalar(9, np.uint8), scalar(-3, np.int8), since=10),
        case("MatMulInteger", a8, b8, scalar(9, np.uint8), integers(4, dtype=np.int8), since=10),
        case("MatMulInteger", np.stack([a8, a8]), b8, since=10),
    ]
    for equation, shapes in (
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("bij,bjk->bik", ((2, 2, 3), (2, 3, 4))),
        ("ii->i", ((3, 3),)),
        ("ij->ji", ((2, 3),)),
        ("ij->", ((2, 3),)),
        ("i,j", ((2,), (3,))),
        ("...ij,...jk->...ik", ((2, 2, 3), (2, 3, 4))),
        ("ij", ((2, 3),)),
        ("ba", ((2, 3),)),
        ("i,i,i->i", ((3,), (3,), (3,))),
        ("ij , jk -> ik", ((2, 3), (3, 4))),
    ):
        cases += [case("Einsum", *(normal(*s) for s in shapes), since=12, equation=equation, tolerance=5)]
    cases += [
        case("Einsum", integers(2, 3, dtype=d), integers(3, 4, dtype=d), since=12, equation="ij,jk->ik")
        for d in (np.int32, np.int64, np.float64)
    ]
    square = normal(2, 3, 3)
    cases += [
        case("Det", square, since=11),
        case("Det", square[0], since=11),
        case("Det", normal(1, 2, 4, 4), since=11, tolerance=10),
    ]
    return cases


CASES = _products()
