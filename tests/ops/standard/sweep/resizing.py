"""Resize and Upsample: modes, coordinate transformations, scales and sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.standard.sweep.case import Case, case, integers, ints, normal

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def _resizes() -> list[Case]:
    cases: list[Case] = []
    x = normal(1, 2, 4, 6)
    for mode in ("nearest", "linear"):
        for scales in ((1, 1, 2, 3), (1, 1, 1, 1), (1, 1, 1.5, 2.25)):
            cases += [
                case("Upsample", x, np.array(scales, np.float32), since=9, until=9, mode=mode),
                case("Upsample", x, until=8, mode=mode, scales=[float(s) for s in scales]),
            ]
        for scales in ((1, 1, 2, 3), (1, 1, 0.5, 0.6), (1, 1, 1.5, 0.7)):
            cases += [case("Resize", x, np.array(scales, np.float32), since=10, until=10, mode=mode)]
    for mode in ("nearest", "linear", "cubic"):
        for transform in _COORDINATES:
            first = 19 if transform == "half_pixel_symmetric" else 11
            at: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
            for scales in ((1, 1, 2, 3), (1, 1, 0.5, 0.6), (1, 1, 1.5, 0.75), (1, 1, 0.25, 1)):
                cases += [
                    case("Resize", x, np.float32([]), np.array(scales, np.float32), since=first, until=12, **at),
                    case("Resize", x, None, np.array(scales, np.float32), since=max(13, first), **at),
                ]
            for sizes in ((1, 2, 8, 6), (1, 2, 3, 9), (1, 2, 1, 1), (1, 2, 5, 4)):
                cases += [case("Resize", x, None, None, ints(*sizes), since=max(13, first), **at)]
    return cases


def _resize_options() -> list[Case]:
    cases: list[Case] = []
    x = normal(1, 2, 4, 6)
    cases += [
        case("Resize", x, np.float32([1, 1, 2, 2]), since=10, until=10),
        case("Resize", x, np.float32([]), np.float32([1, 1, 2, 1.5]), since=11),
        case("Upsample", x, np.float32([1, 1, 2, 2]), since=9, until=9),
        case("Upsample", x, until=8, scales=[1.0, 1.0, 2.0, 2.0]),
    ]
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for transform in _COORDINATES[:4]:
            cases += [
                case(
                    "Resize",
                    x,
                    None,
                    np.float32(s),
                    since=13,
                    mode="nearest",
                    nearest_mode=rounding,
                    coordinate_transformation_mode=transform,
                )
                for s in ((1, 1, 2, 3), (1, 1, 0.5, 0.7))
            ]
    for at in ({"cubic_coeff_a": -0.5}, {"exclude_outside": 1}, {"cubic_coeff_a": -0.5, "exclude_outside": 1}):
        cases += [
            case("Resize", x, None, np.float32(s), since=13, mode="cubic", **at)
            for s in ((1, 1, 2, 3), (1, 1, 0.8, 0.6))
        ]
    for mode in ("linear", "cubic"):
        cases += [
            case("Resize", x, None, np.float32(s), since=18, mode=mode, antialias=1, **at)
            for s in ((1, 1, 0.5, 0.6), (1, 1, 0.3, 1.0), (1, 1, 2, 0.5))
            for at in ({}, {"exclude_outside": 1} if mode == "cubic" else {})
        ]
    for policy in ("stretch", "not_larger", "not_smaller"):
        cases += [
            case(
                "Resize",
                x,
                None,
                None,
                ints(7, 8),
                since=18,
                mode="linear",
                axes=[2, 3],
                keep_aspect_ratio_policy=policy,
            ),
            case(
                "Resize",
                x,
                None,
                None,
                ints(5, 3),
                since=18,
                mode="nearest",
                axes=[3, 2],
                keep_aspect_ratio_policy=policy,
            ),
        ]
    roi = np.float32([0, 0, 0.2, 0.1, 1, 1, 0.9, 0.7])
    cases += [
        case(
            "Resize",
            x,
            roi,
            None,
            ints(1, 2, 5, 5),
            since=13,
            mode=m,
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=2.5,
        )
        for m in ("linear", "nearest")
    ]
    cases += [
        case(
            "Resize",
            x,
            np.float32([0, 0, -0.3, 0.1, 1, 1, 1.2, 1.4]),
            None,
            ints(1, 2, 5, 5),
            since=13,
            mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=2.5,
        )
    ]
    cases += [
        case("Resize", normal(1, 2, 5), None, np.float32([1, 1, 2]), since=13, mode=m) for m in ("nearest", "linear")
    ]
    cases += [
        case("Resize", normal(1, 1, 3, 4, 3), None, np.float32([1, 1, 2, 1.5, 2]), since=13, mode=m)
        for m in ("nearest", "linear")
    ]
    cases += [
        case("Resize", normal(4, 6), None, np.float32([2, 1.5]), since=13, mode=m)
        for m in ("nearest", "linear", "cubic")
    ]
    cases += [
        case(
            "Resize",
            integers(1, 1, 4, 6, low=0, high=200, dtype=d),
            None,
            np.float32([1, 1, 2, 2]),
            since=13,
            mode="nearest",
        )
        for d in (np.int8, np.uint8, np.int32)
    ]
    cases += [
        case(
            "Resize",
            integers(1, 1, 4, 6, low=0, high=100, dtype=d),
            None,
            np.float32([1, 1, 2, 1.5]),
            since=13,
            mode="linear",
        )
        for d in (np.int8, np.uint8, np.int32)
    ]
    cases += [case("Resize", x.astype(np.float16), None, np.float32([1, 1, 2, 1.5]), since=13, mode="linear")]
    return cases


CASES = [*_resizes(), *_resize_options()]
