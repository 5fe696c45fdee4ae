"""Normalisations, recurrent layers, attention and their helpers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.standard.sweep.case import Case, case, flags, integers, normal, positive


def _normalizations() -> list[Case]:
    x, c = normal(2, 3, 4, 5), normal(3)
    statistics = (c, normal(3) + 1, normal(3) * np.float32(0.1), positive(3))
    cases = [case("BatchNormalization", x, *(normal(3, 4, 5) for _ in range(3)), positive(3, 4, 5), until=8, spatial=0)]
    cases += [
        case("BatchNormalization", v, *statistics, epsilon=1e-3)
        for v in (x, normal(4, 3), normal(2, 3, 5), normal(0, 3, 2))
    ]
    cases += [case("BatchNormalization", x, *statistics)]
    narrow = x.astype(np.float16)
    cases += [
        case("BatchNormalization", narrow, *statistics, since=15, outputs=n, training_mode=n // 2) for n in (1, 3)
    ]
    cases += [case("BatchNormalization", x, *statistics, since=14, outputs=3, training_mode=1, momentum=0.8)]
    cases += [case("BatchNormalization", *(v.astype(d) for v in (x, *statistics))) for d in (np.float64, np.float16)]
    cases += [
        case("InstanceNormalization", v, c, normal(3) + 1, epsilon=1e-3, tolerance=5) for v in (x, normal(2, 3, 5))
    ]
    cases += [
        case("InstanceNormalization", x, c, c, tolerance=5),
        case("InstanceNormalization", *(v.astype(np.float16) for v in (x, c, c))),
    ]
    for axis, shape in ((-1, (5,)), (1, (3, 4, 5)), (-2, (4, 5)), (0, (2, 3, 4, 5)), (3, (5,))):
        for outputs in (1, 2, 3):
            cases += [
                case(
                    "LayerNormalization",
                    x,
                    normal(*shape),
                    normal(*shape) + 1,
                    since=17,
                    axis=axis,
                    outputs=outputs,
                    epsilon=1e-3,
                    tolerance=5,
                )
            ]
        cases += [case("LayerNormalization", x, normal(*shape), since=17, axis=axis, outputs=3, tolerance=5)]
        cases += [case("RMSNormalization", x, normal(*shape), since=23, axis=axis, tolerance=5)]
    cases += [
        case("LayerNormalization", x, normal(5), since=17),
        case("LayerNormalization", *(v.astype(np.float16) for v in (x, normal(5), normal(5))), since=17, outputs=3),
        case(
            "LayerNormalization",
            *(v.astype(np.float64) for v in (x, normal(5), normal(5))),
            since=17,
            outputs=3,
            tolerance=1e6,
        ),
    ]
    cases += [case("LayerNormalization", x, normal(5), None, since=17, outputs=3, unnamed=(1,), tolerance=5)]
    cases += [
        case("RMSNormalization", x, normal(5), since=23, epsilon=1e-2),
        case("RMSNormalization", *(v.astype(np.float16) for v in (x, normal(5))), since=23),
    ]
    six = normal(2, 6, 4)
    cases += [
        case("GroupNormalization", six, normal(3), normal(3) + 1, since=18, until=20, num_groups=3, tolerance=5),
        case("GroupNormalization", six, normal(6), normal(6) + 1, since=21, num_groups=3, epsilon=1e-3, tolerance=5),
        case("GroupNormalization", normal(2, 6, 3, 2), normal(6), normal(6) + 1, since=21, num_groups=2, tolerance=5),
    ]
    cases += [case("LRN", x, size=s, alpha=0.5, beta=0.6, bias=1.5) for s in (1, 3, 5)] + [case("LRN", x, size=3)]
    cases += [case("LpNormalization", x, p=p, axis=a) for p in (1, 2) for a in (-1, 0, 2)] + [
        case("LpNormalization", x),
        case("LpNormalization", x.astype(np.float64), axis=1),
    ]
    cases += [
        case("MeanVarianceNormalization", x, since=9, tolerance=5),
        case("MeanVarianceNormalization", x, since=9, axes=[2, 3], tolerance=5),
        case("MeanVarianceNormalization", x, since=9, axes=[1], tolerance=5),
    ]
    return cases


_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


# ONNX Runtime takes 0 where Affine, ScaledTanh and ThresholdedRelu are given no parameters, the standard 1.
_ACTIVATIONS: dict[str, dict[str, list[float]]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "LeakyRelu": {},
    "HardSigmoid": {},
    "Elu": {},
    "Softsign": {},
    "Softplus": {},
    "Affine": {"activation_alpha": [0.8], "activation_beta": [0.1]},
    "ThresholdedRelu": {"activation_alpha": [0.2]},
    "ScaledTanh": {"activation_alpha": [1.2], "activation_beta": [0.6]},
}


def _recurrent() -> list[Case]:
    cases: list[Case] = []
    for name in _GATES:
        for direction in ("forward", "reverse", "bidirectional"):
            cases += [
                _layer(name, direction),
                _layer(name, direction, states=True),
                _layer(name, direction, bias=False),
            ]
            cases += [
                _layer(name, direction, lengths=(4, 2, 1)),
                _layer(name, direction, lengths=(1, 0, 3), states=True),
                _layer(name, direction, clip=0.3),
            ]
            cases += [_layer(name, direction, lengths=(2, 2, 2), clip=0.5, states=True)]
            if name == "GRU":
                cases += [_layer(name, direction, linear_before_reset=1, lengths=ls) for ls in (None, (4, 1, 2))]
            if name == "LSTM":
                cases += [
                    _layer(name, direction, peepholes=True, states=True),
                    _layer(name, direction, input_forget=1),
                    _layer(name, direction, peepholes=True, lengths=(3, 1, 4), clip=0.7),
                ]
        rest = _DEFAULTS[name][1:]
        for first, given in _ACTIVATIONS.items():
            cases += [_layer(name, "forward", activations=names, **given) for names in ([first, *rest], [*rest, first])]
        cases += [_layer(name, "bidirectional", activations=["Relu", *_DEFAULTS[name][1:], *_DEFAULTS[name]])]
        cases += [
            _layer(name, "forward", activations=["LeakyRelu", *_DEFAULTS[name][1:]], activation_alpha=[0.3]),
            _layer(
                name,
                "forward",
                activations=["HardSigmoid", *_DEFAULTS[name][1:]],
                activation_alpha=[0.3],
                activation_beta=[0.6],
            ),
        ]
        cases += [
            _layer(
                name,
                "forward",
                activations=[*_DEFAULTS[name][1:], "ScaledTanh"],
                activation_alpha=[1.2],
                activation_beta=[0.6],
            )
        ]
        cases += [
            _layer(
                name,
                "bidirectional",
                activations=["HardSigmoid", *_DEFAULTS[name][1:], "LeakyRelu", *_DEFAULTS[name][1:]],
                activation_alpha=[0.3, 0.1],
                activation_beta=[0.6],
            )
        ]
        cases += [_layer(name, "forward", outputs=1), _layer(name, "forward", unnamed=(0,))]
    return cases


def _layer(
    name: str,
    direction: str,
    *,
    states: bool = False,
    bias: bool = True,
    peepholes: bool = False,
    lengths: tuple[int, ...] | None = None,
    outputs: int | None = None,
    unnamed: tuple[int, ...] = (),
    dtype: Any = np.float32,
    **attributes: Any,
) -> Case:
    """A layer of 4 steps, 3 samples, 2 features, 5 units."""
    d, g = (2 if direction == "bidirectional" else 1), _GATES[name]
    inputs: list[Any] = [
        normal(4, 3, 2),
        normal(d, 5 * g, 2, scale=0.5),
        normal(d, 5 * g, 5, scale=0.5),
        normal(d, 10 * g) if bias else None,
    ]
    inputs += [None if lengths is None else np.array(lengths, np.int32), normal(d, 3, 5) if states else None]
    if name == "LSTM":
        inputs += [normal(d, 3, 5, scale=0.5) if states else None, normal(d, 15) if peepholes else None]
    while inputs[-1] is None:
        inputs.pop()
    inputs = [x.astype(dtype) if x is not None and x.dtype == np.float32 else x for x in inputs]
    count = outputs or (3 if name == "LSTM" else 2)
    return case(
        name, *inputs, outputs=count, unnamed=unnamed, tolerance=5, hidden_size=5, direction=direction, **attributes
    )


def _attention() -> list[Case]:
    cases: list[Case] = []
    q, k, v = normal(2, 4, 3, 8), normal(2, 4, 5, 8), normal(2, 4, 5, 6)
    cases += [
        case("Attention", q, k, v, since=23, tolerance=5, **at)
        for at in ({}, {"scale": 0.3}, {"is_causal": 1}, {"softcap": 2.0})
    ]
    cases += [
        case("Attention", q, k, v, m, since=23, tolerance=5)
        for m in (normal(3, 5), flags(3, 5) | np.eye(3, 5, dtype=bool), normal(2, 1, 3, 5))
    ]
    cases += [case("Attention", q, normal(2, 2, 5, 8), normal(2, 2, 5, 6), since=23, tolerance=5)]
    cases += [
        case(
            "Attention",
            normal(2, 3, 32),
            normal(2, 5, 16),
            normal(2, 5, 12),
            since=23,
            q_num_heads=4,
            kv_num_heads=2,
            tolerance=5,
        )
    ]
    cases += [
        case("Attention", q, k, v, None, normal(2, 4, 2, 8), normal(2, 4, 2, 6), since=23, outputs=3, tolerance=5)
    ]
    cases += [
        case("Attention", q, k, v, since=23, outputs=4, unnamed=(1, 2), qk_matmul_output_mode=m, tolerance=5)
        for m in (0, 1, 2, 3)
    ]
    rotated, angles = normal(2, 4, 3, 8), normal(10, 4)
    cases += [
        case(
            "RotaryEmbedding",
            rotated,
            np.cos(angles),
            np.sin(angles),
            integers(2, 3, low=0, high=9),
            since=23,
            interleaved=i,
        )
        for i in (0, 1)
    ]
    cases += [case("RotaryEmbedding", rotated, np.cos(normal(2, 3, 4)), np.sin(normal(2, 3, 4)), since=23)]
    cases += [
        case(
            "RotaryEmbedding",
            normal(2, 3, 32),
            np.cos(angles),
            np.sin(angles),
            integers(2, 3, low=0, high=9),
            since=23,
            num_heads=4,
        )
    ]
    cases += [
        case(
            "RotaryEmbedding",
            rotated,
            np.cos(normal(10, 2)),
            np.sin(normal(10, 2)),
            integers(2, 3, low=0, high=9),
            since=23,
            rotary_embedding_dim=4,
        )
    ]
    packed = {"q_num_heads": 2, "kv_num_heads": 1}
    lq, lk, lv, past, decay, beta = (
        normal(2, 4, 16),
        normal(2, 4, 8),
        normal(2, 4, 6),
        normal(2, 1, 8, 6),
        -positive(2, 4, 1),
        positive(2, 4, 1) / 4,
    )
    for rule, inputs in (("linear", ()), ("gated", (decay,)), ("delta", (None, beta)), ("gated_delta", (decay, beta))):
        cases += [
            case(
                "LinearAttention",
                lq,
                lk,
                lv,
                state,
                *inputs,
                since=27,
                outputs=2,
                update_rule=rule,
                tolerance=20,
                **packed,
            )
            for state in (None, past)
        ]
    return cases


CASES = [*_normalizations(), *_recurrent(), *_attention()]
