"""Sampling, boxes and signals."""

from __future__ import annotations

import numpy as np

from tests.ops.standard.sweep.case import Case, case, ints, normal, positive, scalar


def _samples() -> list[Case]:
    cases: list[Case] = []
    x, grid = normal(2, 2, 4, 5), np.tanh(normal(2, 3, 3, 2)) * np.float32(1.3)
    for mode, old in (("linear", "bilinear"), ("nearest", "nearest"), ("cubic", "bicubic")):
        for padding in ("zeros", "border", "reflection"):
            for aligned in (0, 1):
                at = {"padding_mode": padding, "align_corners": aligned}
                cases += [
                    case("GridSample", x, grid, since=16, until=19, mode=old, tolerance=5, **at),
                    case("GridSample", x, grid, since=20, mode=mode, tolerance=5, **at),
                ]
    cases += [case("GridSample", x, grid, since=16, tolerance=5)]
    cases += [
        case("GridSample", normal(1, 2, 3, 4, 3), np.tanh(normal(1, 2, 3, 2, 3)), since=20, mode=m, tolerance=5)
        for m in ("linear", "nearest")
    ]
    cases += [
        case("AffineGrid", normal(1, 2, 3, dtype=np.float64), ints(1, 1, 3, 4), since=20, until=20, align_corners=1)
    ]
    for size in ((1, 1, 3, 4), (2, 3, 5, 2)):
        cases += [
            case("AffineGrid", normal(size[0], 2, 3), ints(*size), since=20, align_corners=a, tolerance=5)
            for a in (0, 1)
        ]
    cases += [
        case("AffineGrid", normal(1, 3, 4), ints(1, 1, 2, 3, 4), since=20, align_corners=a, tolerance=5) for a in (0, 1)
    ]
    rois, batch = np.float32([[0, 0, 3, 3], [1, 0.5, 4.2, 3.7], [-1, 1, 2, 5]]), ints(0, 1, 1)
    for mode in ("avg", "max"):
        for at in ({}, {"sampling_ratio": 2}, {"output_height": 2, "output_width": 3}, {"spatial_scale": 0.5}):
            cases += [
                case("RoiAlign", normal(2, 2, 5, 6), rois, batch, since=10, until=15, mode=mode, tolerance=5, **at)
            ]
            cases += [
                case(
                    "RoiAlign",
                    normal(2, 2, 5, 6),
                    rois,
                    batch,
                    since=16,
                    mode=mode,
                    coordinate_transformation_mode=c,
                    tolerance=5,
                    **at,
                )
                for c in ("half_pixel", "output_half_pixel")
            ]
    boxes = np.float32(
        [[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1], [1, 101, 0, 100]]]
    )
    scores = np.float32([[[0.9, 0.75, 0.6, 0.95, 0.5, 0.3], [0.3, 0.2, 0.4, 0.1, 0.8, 0.7]]])
    for given in (
        (),
        (scalar(2, np.int64),),
        (scalar(3, np.int64), scalar(0.5)),
        (ints(3), np.float32([0.5]), np.float32([0.4])),
        (scalar(3, np.int64), scalar(0.5), scalar(0.4)),
    ):
        cases += [case("NonMaxSuppression", boxes, scores, *given, since=10, center_point_box=c) for c in (0, 1)]
    cases += [case("NonMaxSuppression", boxes, scores, scalar(3, np.int64), since=10)]
    return cases


def _signals() -> list[Case]:
    cases: list[Case] = []
    for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        for periodic in (0, 1):
            cases += [
                case(name, scalar(n, d), since=17, periodic=periodic, tolerance=10)
                for n, d in ((10, np.int64), (7, np.int32))
            ]
        cases += [
            case(name, scalar(8, np.int64), since=17, tolerance=10),
            case(name, scalar(8, np.int64), since=17, output_datatype=11, tolerance=1e6),
        ]
    cases += [case("DFT", normal(2, 5, 3, 1), since=17, until=19, tolerance=10)]
    real, complex_ = normal(2, 8, 1), normal(2, 6, 2)
    for at in ({}, {"inverse": 1}):
        cases += [
            case("DFT", complex_, since=17, until=19, axis=1, tolerance=10, **at),
            case("DFT", complex_, None, scalar(1, np.int64), since=20, tolerance=10, **at),
        ]
        cases += [
            case("DFT", complex_, scalar(n, np.int64), since=17, until=19, axis=1, tolerance=10, **at) for n in (4, 8)
        ] + [
            case("DFT", complex_, scalar(n, np.int64), scalar(1, np.int64), since=20, tolerance=10, **at)
            for n in (4, 8)
        ]
    for onesided in (0, 1):
        cases += [
            case("DFT", real, since=17, until=19, axis=1, onesided=onesided, tolerance=10),
            case("DFT", real, None, scalar(1, np.int64), since=20, onesided=onesided, tolerance=10),
        ]
    cases += [
        case("DFT", normal(2, 5, 3, 1), since=17, until=19, axis=2, tolerance=10),
        case("DFT", normal(2, 5, 3, 1), None, scalar(-2, np.int64), since=20, tolerance=10),
        case("DFT", normal(2, 5, 3, 1), since=20, tolerance=10),
        case("DFT", real.astype(np.float64), since=17, until=19, axis=1, tolerance=10),
    ]
    signal = normal(2, 32, 1)
    for onesided in (0, 1):
        cases += [
            case(
                "STFT",
                signal,
                scalar(8, np.int64),
                np.hanning(16).astype(np.float32),
                scalar(16, np.int64),
                since=17,
                onesided=onesided,
                tolerance=20,
            ),
            case(
                "STFT",
                signal,
                scalar(8, np.int64),
                np.hanning(16).astype(np.float32),
                since=17,
                onesided=onesided,
                tolerance=20,
            ),
            case(
                "STFT",
                signal,
                scalar(4, np.int64),
                None,
                scalar(16, np.int64),
                since=17,
                onesided=onesided,
                tolerance=20,
            ),
        ]
    cases += [
        case(
            "STFT",
            normal(2, 30, 2),
            scalar(5, np.int64),
            None,
            scalar(10, np.int64),
            since=17,
            onesided=0,
            tolerance=20,
        ),
        case("STFT", normal(1, 32, 1), scalar(6, np.int64), positive(8), since=17, tolerance=20),
        case(
            "STFT",
            normal(2, 32, 1, dtype=np.float64),
            scalar(8, np.int64),
            None,
            scalar(16, np.int64),
            since=17,
            tolerance=20,
        ),
    ]
    cases += [
        case(
            "MelWeightMatrix",
            scalar(8, np.int64),
            scalar(16, np.int64),
            scalar(8192, np.int64),
            scalar(0.0),
            scalar(4096.0),
            since=17,
            tolerance=10,
        ),
        case(
            "MelWeightMatrix",
            scalar(8, np.int64),
            scalar(64, np.int64),
            scalar(16000, np.int64),
            scalar(20.0),
            scalar(7000.0),
            since=17,
            tolerance=10,
        ),
    ]
    return cases


CASES = [*_samples(), *_signals()]
