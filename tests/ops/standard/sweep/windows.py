"""Convolutions and pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.standard.sweep.case import Case, case, integers, normal, scalar

_CORNERS: tuple[dict[str, Any], ...] = (
    {},
    {"strides": [2, 1]},
    {"pads": [1, 0, 0, 1]},
    {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    {"dilations": [2, 1]},
    {"dilations": [2, 2], "pads": [2, 1, 0, 2], "strides": [1, 2]},
    {"auto_pad": "VALID", "strides": [2, 2]},
    {"auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
)


def _convolutions() -> list[Case]:
    cases: list[Case] = []
    x, w, b = normal(2, 4, 7, 6), normal(6, 4, 3, 2), normal(6)
    for at in _CORNERS:
        cases += [
            case("Conv", x, w, since=7, tolerance=5, **at),
            case("Conv", x, w, b, kernel_shape=[3, 2], tolerance=5, **at),
        ]
        cases += [case("ConvTranspose", x, normal(4, 3, 3, 2), tolerance=5, **at)]
    cases += [
        case("Conv", x, normal(6, 2, 3, 2), group=2, tolerance=5),
        case("Conv", x, normal(8, 1, 3, 3), group=4, tolerance=5, pads=[1] * 4),
    ]
    cases += [
        case("Conv", normal(1, 2, 9), normal(3, 2, 4), tolerance=5, strides=[2], pads=[1, 2]),
        case("Conv", normal(1, 2, 4, 5, 4), normal(3, 2, 2, 3, 2), tolerance=5),
    ]
    cases += [
        case("Conv", normal(0, 2, 5), normal(3, 2, 2)),
        case("Conv", x.astype(np.float16), w.astype(np.float16), tolerance=5),
    ]
    cases += [
        case("ConvTranspose", x, normal(4, 3, 2, 2), normal(6), group=2, tolerance=5),
        case("ConvTranspose", normal(1, 2, 5), normal(2, 3, 3), strides=[2], output_padding=[1], tolerance=5),
    ]
    cases += [
        case("ConvTranspose", x, normal(4, 3, 3, 3), strides=[2, 3], output_shape=[14, 17], tolerance=5),
        case(
            "ConvTranspose",
            x,
            normal(4, 3, 3, 3),
            strides=[2, 3],
            output_shape=[14, 17],
            auto_pad="SAME_UPPER",
            tolerance=5,
        ),
    ]
    cases += [
        case(
            "ConvTranspose",
            normal(1, 2, 3, 2, 3),
            normal(2, 2, 2, 2, 2),
            strides=[2, 1, 2],
            pads=[1, 0, 0, 0, 0, 1],
            tolerance=5,
        )
    ]
    x8, w8 = integers(2, 4, 7, 6, low=0, high=255, dtype=np.uint8), integers(6, 4, 3, 2, low=-9, dtype=np.int8)
    for at in _CORNERS:
        cases += [case("ConvInteger", x8, w8.astype(np.uint8), scalar(7, np.uint8), since=10, **at)]
    cases += [
        case("ConvInteger", x8, w8.astype(np.uint8), since=10),
        case("ConvInteger", x8, w8.astype(np.uint8), scalar(7, np.uint8), scalar(3, np.uint8), since=10),
    ]
    offsets, mask = normal(1, 2 * 2 * 2, 4, 4) * np.float32(0.5), normal(1, 4, 4, 4)
    cases += [
        case("DeformConv", normal(1, 2, 5, 5), normal(3, 2, 2, 2), offsets, since=19, tolerance=20),
        case("DeformConv", normal(1, 2, 5, 5), normal(3, 2, 2, 2), offsets, normal(3), mask, since=19, tolerance=20),
    ]
    cases += [
        case(
            "DeformConv",
            normal(1, 2, 5, 5),
            normal(4, 1, 2, 2),
            normal(1, 16, 3, 3) * np.float32(0.5),
            normal(4),
            None,
            since=19,
            group=2,
            offset_group=2,
            strides=[2, 2],
            pads=[1, 0, 0, 1],
            tolerance=20,
        )
    ]
    cases += [
        case(
            "DeformConv",
            normal(2, 2, 6, 6),
            normal(2, 2, 2, 2),
            normal(2, 8, 4, 4),
            None,
            normal(2, 4, 4, 4),
            since=19,
            dilations=[2, 2],
            tolerance=20,
        )
    ]
    cases += [
        case(
            "CausalConvWithState",
            normal(2, 3, 5),
            normal(3, 1, 3),
            normal(3),
            normal(2, 3, 2),
            since=27,
            outputs=2,
            tolerance=5,
        ),
        case("CausalConvWithState", normal(2, 3, 5), normal(3, 1, 3), since=27, outputs=2, tolerance=5),
        case(
            "CausalConvWithState",
            normal(2, 3, 5),
            normal(3, 1, 3),
            normal(3),
            since=27,
            outputs=2,
            activation="silu",
            tolerance=5,
        ),
    ]
    return cases


def _pools() -> list[Case]:
    cases: list[Case] = []
    x = normal(2, 3, 7, 6)
    for at in _CORNERS:
        dilated = "dilations" in at
        largest = [2, 1] if "pads" in at and dilated else [1, 1]
        kernel = [3, 2] if largest == [1, 1] else [3, 3]
        given = {"kernel_shape": kernel, **at}
        cases += [case("MaxPool", x, since=10 if dilated else 7, **given)]
        for ceil_mode in (0, 1):
            for order in (0, 1):
                cases += [case("MaxPool", x, outputs=2, since=10, storage_order=order, ceil_mode=ceil_mode, **given)]
            cases += [case("MaxPool", x, since=10, ceil_mode=ceil_mode, **given)]
            for padded in (0, 1):
                cases += [
                    case(
                        "AveragePool",
                        x,
                        since=19 if dilated else 10,
                        ceil_mode=ceil_mode,
                        count_include_pad=padded,
                        **given,
                    )
                ]
        cases += [
            case("AveragePool", x, since=19 if dilated else 7, **given),
            case("LpPool", x, since=18 if dilated else 7, p=3, **given),
            case("LpPool", x, since=18 if dilated else 7, **given),
        ]
        cases += [case("LpPool", x, since=18, ceil_mode=1, p=1, **given)]
    cases += [
        case("MaxPool", normal(2, 3, 9), outputs=2, since=8, kernel_shape=[3], strides=[2]),
        case("MaxPool", normal(1, 2, 4, 5, 4), outputs=2, since=8, kernel_shape=[2, 2, 3], storage_order=0),
    ]
    cases += [
        case(
            "MaxPool", integers(1, 2, 4, 5, low=0, high=3).astype(np.float32), outputs=2, since=8, kernel_shape=[2, 3]
        ),
        case("MaxPool", x, kernel_shape=[2, 2]),
    ]
    cases += [
        case("MaxPool", integers(2, 2, 5, 5, low=0, dtype=d), since=12, kernel_shape=[3, 3], pads=[1] * 4)
        for d in (np.int8, np.uint8)
    ]
    cases += [
        case("MaxPool", integers(2, 2, 5, 5, low=0, dtype=d), since=12, outputs=2, kernel_shape=[3, 3], pads=[1] * 4)
        for d in (np.int8, np.uint8)
    ]
    cases += [
        case("MaxPool", x.astype(d), kernel_shape=[3, 2], since=8, outputs=n)
        for d in (np.float64, np.float16)
        for n in (1, 2)
    ]
    cases += [
        case("AveragePool", x.astype(np.float16), kernel_shape=[3, 2]),
        case("AveragePool", normal(1, 2, 9), kernel_shape=[3]),
        case(
            "AveragePool", normal(1, 2, 4, 5, 4), kernel_shape=[2, 2, 2], pads=[1, 0, 0, 0, 1, 1], count_include_pad=1
        ),
    ]
    cases += [
        case(f"Global{name}Pool", normal(2, 3, *s))
        for name in ("Average", "Max", "Lp")
        for s in ((5,), (3, 4), (2, 3, 2), (1, 1))
    ]
    cases += [case("GlobalLpPool", x, p=p) for p in (1, 2, 3)] + [
        case(f"Global{n}Pool", x.astype(np.float16)) for n in ("Average", "Max", "Lp")
    ]
    cases += [
        case("LpPool", normal(1, 2, 9), kernel_shape=[3], strides=[2]),
        case("LpPool", normal(1, 2, 4, 5, 4), kernel_shape=[2, 2, 3], p=2),
    ]
    rois = np.array([[0, 0, 0, 3, 3], [1, 1, 2, 6, 5], [0, 4, 4, 2, 2]], np.float32)
    cases += [case("MaxRoiPool", normal(2, 3, 7, 6), rois, pooled_shape=[2, 2], spatial_scale=s) for s in (1.0, 0.5)]
    cases += [case("MaxUnpool", normal(1, 1, 2, 2), np.array([[[[0, 2], [4, 8]]]]), since=9, kernel_shape=[2, 2])]
    pooled, indices = normal(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]])
    cases += [
        case("MaxUnpool", pooled, indices, since=9, kernel_shape=[2, 2], strides=[2, 2]),
        case(
            "MaxUnpool",
            normal(2, 2, 3),
            np.array([[[1, 2, 5], [6, 9, 11]], [[12, 15, 16], [19, 21, 22]]]),
            since=9,
            kernel_shape=[2],
            strides=[2],
        ),
    ]
    return cases


CASES = [*_convolutions(), *_pools()]
