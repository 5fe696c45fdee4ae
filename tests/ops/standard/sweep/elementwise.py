"""Functions of one number, arithmetic, comparison and logic with broadcasting, casts."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.ops.standard.sweep.case import Case, case, flags, integers, normal, positive, scalar

_SHAPES = ((2, 3, 4), (5,), (), (0, 3))
_FLOATS = (np.float32, np.float16, np.float64)
_INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
_SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 88.9, -104.0, 1e30, -1e30, 0.5, -2.5], np.float32)


def _one_number() -> list[Case]:
    """Operators of one input and no attributes, with what they take besides float32."""
    everywhere = {
        "Abs": (np.float64, *_INTEGERS),
        "Ceil": (np.float64,),
        "Cos": (np.float64,),
        "Exp": (np.float64,),
        "Floor": (np.float64,),
        "Neg": (np.float64, np.int8, np.int32, np.int64),
        "Relu": (np.float64,),
        "Sigmoid": (np.float64,),
        "Sin": (np.float64,),
        "Softplus": (),
        "Softsign": (),
        "Tanh": (np.float64,),
        "Tan": (),
        "Atan": (),
        "Identity": (np.float64, *_INTEGERS, np.bool_),
    }
    later = {
        "Asinh": (9, ()),
        "Sinh": (9, ()),
        "Cosh": (9, ()),
        "Erf": (9, ()),
        "Sign": (9, (np.float64, *_INTEGERS)),
        "Round": (11, (np.float64,)),
        "HardSwish": (14, ()),
        "Mish": (18, ()),
        "IsNaN": (9, (np.float64,)),
        "IsInf": (10, (np.float64,)),
    }
    table = {name: (7, dtypes) for name, dtypes in everywhere.items()} | later
    cases = [case(name, normal(*shape) * 3, since=since) for name, (since, _) in table.items() for shape in _SHAPES]
    cases += [case(name, _SPECIAL, since=since) for name, (since, _) in table.items() if name != "Tan"]
    cases += [
        case(name, (normal(3, 5) * 3).astype(dtype), since=since)
        for name, (since, dtypes) in table.items()
        for dtype in dtypes
    ]
    cases += [
        case(name, normal(3, 5, dtype=np.float16), since=20 if name == "IsInf" else since)
        for name, (since, _) in table.items()
    ]
    unit = np.tanh(normal(3, 4))
    cases += [case(name, unit) for name in ("Acos", "Asin")]
    cases += [case("Atanh", unit, since=9), case("Acosh", positive(3, 4) + 1, since=9)]
    cases += [
        case(name, positive(*shape, dtype=dtype))
        for name in ("Log", "Reciprocal", "Sqrt")
        for shape in _SHAPES
        for dtype in (np.float32, np.float64)
    ]
    cases += [case(name, _SPECIAL) for name in ("Log", "Reciprocal", "Sqrt")]
    cases += [case("Round", np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997], np.float32), since=11)]
    cases += [case("Relu", integers(3, 4, dtype=d), since=14) for d in (np.int8, np.int32)]
    return cases


def _with_attributes() -> list[Case]:
    x = normal(2, 3, 4) * 2
    cases = [case(name, v) for name in ("Elu", "HardSigmoid", "LeakyRelu", "Selu") for v in (x, _SPECIAL)]
    cases += [
        case(name, normal(), since=since)
        for name, since in (
            ("Elu", 7),
            ("HardSigmoid", 7),
            ("LeakyRelu", 7),
            ("Selu", 7),
            ("Celu", 12),
            ("Gelu", 20),
            ("Shrink", 9),
            ("ThresholdedRelu", 10),
        )
    ]
    cases += [case(name, normal(3, 4, dtype=np.float16)) for name in ("Elu", "HardSigmoid", "LeakyRelu", "Selu")]
    cases += [
        case("Elu", x, alpha=0.7),
        case("HardSigmoid", x, alpha=0.3, beta=0.4),
        case("LeakyRelu", x, alpha=-0.3),
        case("Selu", x, alpha=1.1, gamma=2.0),
        case("Celu", x, since=12),
        case("Celu", x, since=12, alpha=2.5),
        case("ThresholdedRelu", x, since=10),
        case("ThresholdedRelu", x, since=10, alpha=0.25),
        case("Shrink", x, since=9),
        case("Shrink", x, since=9, lambd=0.8, bias=0.3),
        *(case("Shrink", integers(9, low=0, dtype=d), since=9, lambd=1.5, bias=1.0) for d in _INTEGERS),
        case("Gelu", x, since=20),
        case("Gelu", x, since=20, approximate="tanh"),
        case("Gelu", x.astype(np.float16), since=20),
        case("Swish", x, since=24),
        case("Swish", x, since=24, alpha=0.5),
        case("Swish", normal(), since=24),
        case("IsInf", _SPECIAL, since=10, detect_negative=0),
        case("IsInf", _SPECIAL, since=10, detect_positive=0),
        case("IsInf", _SPECIAL, since=10, detect_positive=0, detect_negative=0),
        case("Not", flags(3, 4)),
        case("Not", flags()),
        case("Clip", x, since=7, until=10, min=-0.5, max=0.75),
        case("Clip", x, since=7, until=10, max=0.75),
        case("Clip", x, since=7, until=10),
    ]
    for dtype, since in ((np.float32, 11), (np.float64, 12), (np.int8, 12), (np.int64, 12), (np.uint8, 12)):
        y, low, high = (x * 4).astype(dtype), scalar(1, dtype), scalar(3, dtype)
        cases += [case("Clip", y, low, high, since=since), case("Clip", y, low, since=since)]
        cases += [case("Clip", y, None, high, since=since), case("Clip", y, since=since)]
        cases += [case("Clip", y, high, low, since=since)]  # min above max: max wins
    cases += [case("PRelu", x, slope) for slope in (normal(3, 1), normal(2, 3, 4), normal(1), normal(4))]
    return cases


_PAIRS = (((2, 3, 4), (4,)), ((2, 3, 4), (3, 1)), ((3, 1), (1, 4)), ((), (2, 2)), ((), ()), ((0, 3), (3,)))


def _two_numbers() -> list[Case]:
    cases: list[Case] = []
    for name in ("Add", "Sub", "Mul", "Div"):
        for a, b in _PAIRS:
            cases.append(case(name, normal(*a), positive(*b)))
        for dtype in (np.float64, np.int32, np.int64):
            cases.append(case(name, integers(3, 4, dtype=dtype), integers(4, low=1, dtype=dtype)))
            cases.append(case(name, integers(3, 4, dtype=dtype), integers(4, low=-9, high=-1, dtype=dtype)))
        cases.append(case(name, normal(3, dtype=np.float16), positive(3, dtype=np.float16)))
        for dtype in (np.int8, np.uint8, np.int16, np.uint16):
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            x, y = integers(40, low=low, high=high, dtype=dtype), integers(40, low=1, high=high, dtype=dtype)
            cases.append(case(name, x, y, since=14))
    zeros = np.array([0.0, -0.0, 1.0, -1.0], np.float32)
    cases.append(case("Div", zeros[:, None], zeros[None]))
    return cases


def _comparisons() -> list[Case]:
    cases: list[Case] = []
    for name, since in (("Equal", 7), ("Greater", 7), ("Less", 7), ("GreaterOrEqual", 12), ("LessOrEqual", 12)):
        dtypes = (np.float32, np.float64, np.int32, np.int64)
        for a, b in _PAIRS:
            x, y = integers(*a, low=-1, high=1), integers(*b, low=-1, high=1)
            for dtype in dtypes:
                first = {"Greater": 9, "Less": 9}.get(name, since) if dtype != np.float32 else since
                only = dtype in (np.float32, np.float64) and name == "Equal"
                cases.append(case(name, x.astype(dtype), y.astype(dtype), since=max(first, 11) if only else first))
        cases.append(case(name, _SPECIAL[:, None], _SPECIAL[None], since=11 if name == "Equal" else since))
    cases += [case("Equal", flags(3, 4), flags(4))]
    cases += [case("Equal", np.array(["a", "b", "c"]), np.array(["a", "x", "c"]), since=19)]
    return cases


def _bits() -> list[Case]:
    cases: list[Case] = []
    for name in ("And", "Or", "Xor"):
        cases += [case(name, flags(*a), flags(*b)) for a, b in _PAIRS]
    for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        cases += [case(name, integers(3, 4, low=0, dtype=d), integers(4, low=0, dtype=d), since=18) for d in _INTEGERS]
    cases += [case("BitwiseNot", integers(3, 4, low=0, dtype=d), since=18) for d in _INTEGERS]
    for direction in ("LEFT", "RIGHT"):
        for dtype in (np.uint8, np.uint32, np.uint64):
            x, y = integers(9, low=0, high=255, dtype=dtype), integers(9, low=0, high=7, dtype=dtype)
            cases.append(case("BitShift", x, y, since=11, direction=direction))
    return cases


def _powers() -> list[Case]:
    cases = [case("Pow", positive(*a), normal(*b)) for a, b in _PAIRS]
    cases += [case("Pow", normal(3, 4), scalar(e)) for e in (2.0, 3.0, 0.0, -1.0, 0.5)]
    for base in (np.float32, np.float64, np.int32, np.int64):
        for exponent in (np.float32, np.float64, np.int32, np.int64):
            x, e = integers(3, 4, low=1, high=6, dtype=base), integers(4, low=0, high=5, dtype=exponent)
            cases.append(case("Pow", x, e, since=12))
    units = np.array([1, -1, 2, -7])
    cases += [case("Pow", units.astype(d), np.array([[-1], [-2], [3]], d), since=12) for d in (np.int32, np.int64)]
    return cases


def _remainders() -> list[Case]:
    cases: list[Case] = []
    for dtype in _INTEGERS:
        low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -9
        x, y = integers(30, low=low, dtype=dtype), integers(30, low=1, high=8, dtype=dtype)
        divisors = (y,) if low == 0 else (y, (-y).astype(dtype))
        cases += [case("Mod", x, d, since=10, fmod=f) for d in divisors for f in (0, 1)]
    for dtype in _FLOATS:
        cases.append(case("Mod", normal(30, dtype=dtype) * dtype(5), positive(30, dtype=dtype), since=10, fmod=1))
        cases.append(case("Mod", normal(30, dtype=dtype) * dtype(5), -positive(30, dtype=dtype), since=10, fmod=1))
    return cases


def _many() -> list[Case]:
    a, b, c = normal(2, 3, 4), normal(3, 1), normal(4)
    cases = [
        case(name, *inputs, since=8) for name in ("Max", "Min", "Mean", "Sum") for inputs in ((a,), (a, b), (a, b, c))
    ]
    cases += [case(name, a, a + 1, a * 2) for name in ("Max", "Min", "Mean", "Sum")]
    cases += [case(name, _SPECIAL[:, None], _SPECIAL[None], since=12) for name in ("Max", "Min")]
    for dtype in (np.int32, np.int64, np.uint32, np.uint64, np.int8, np.uint8, np.float64, np.float16):
        low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -9
        x, y = integers(3, 4, low=low, dtype=dtype), integers(4, low=low, dtype=dtype)
        cases += [case(name, x, y, since=12) for name in ("Max", "Min")]
    for dtype in (np.float32, np.float64, np.int64, np.int32, np.uint8):
        cases.append(
            case("Where", flags(2, 3, 1), integers(3, 4, low=0, dtype=dtype), integers(1, low=0, dtype=dtype), since=9)
        )
    cases.append(case("Where", flags(3), np.array(["a", "b", "c"]), np.array(["x"]), since=9))
    cases.append(case("Where", flags(), normal(0, 2), normal(2), since=9))
    return cases


def _casts() -> list[Case]:
    numbers = {
        np.float32: 1,
        np.float16: 10,
        np.float64: 11,
        np.int8: 3,
        np.int32: 6,
        np.int64: 7,
        np.uint8: 2,
        np.uint32: 12,
        np.bool_: 9,
    }
    cases: list[Case] = []
    for source in numbers:
        low = 0 if source in (np.bool_, np.uint8, np.uint32) else -9
        x = (normal(12) * 7 + (20 if low == 0 else 0)).astype(source)
        for target, code in numbers.items():
            cases.append(case("Cast", np.abs(x) if target in (np.uint8, np.uint32) and low else x, to=code))
            cases.append(
                case(
                    "CastLike",
                    np.abs(x) if target in (np.uint8, np.uint32) and low else x,
                    np.zeros(1, target),
                    since=15,
                )
            )
    x = np.array([1.0, -2.5, 0.00390625, 447.0, 449.0, 1e6, -1e6, np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-9], np.float32)
    cases += [case("Cast", x, since=19, to=code, saturate=flag) for code in (17, 18, 19, 20) for flag in (1, 0)]
    cases += [case("Cast", x, since=13, to=16), case("Cast", x.astype(ml_dtypes.bfloat16), since=13, to=1)]
    cases += [case("Cast", np.array(["1.5", "-2", "1e3", "NaN", "INF"]), since=9, to=code) for code in (1, 11)]
    cases += [case("Cast", np.array(["15", "-2"]), since=9, to=code) for code in (6, 7)]
    cases += [
        case("Cast", integers(5), since=9, to=8),
        case("Cast", np.array([1.5, 0.1, np.nan, np.inf, 1e20], np.float32), since=9, to=8),
    ]
    cases += [case("BitCast", normal(6), since=26, to=6), case("BitCast", integers(6, dtype=np.int32), since=26, to=1)]
    return cases


_GROUPS = (
    _one_number,
    _with_attributes,
    _two_numbers,
    _comparisons,
    _bits,
    _powers,
    _remainders,
    _many,
    _casts,
)
CASES = [made for group in _GROUPS for made in group()]
