"""Convolutions, pools, matrix products, attention, slopes and bounds that a clause of their specification forbids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.ops.standard.checks.variants import MICROSOFT, Variant, floats, signed, sums, unsigned

_GEOMETRY = (
    ("kernel-shape", {"kernel_shape": [5, 5]}),
    ("kernel-shape", {"kernel_shape": [3]}),
    ("kernel-shape", {"kernel_shape": [3, 3, 3]}),
    ("strides", {"strides": [1]}),
    ("strides", {"strides": [1, 1, 1]}),
    ("strides", {"strides": [0, 1]}),
    ("strides", {"strides": [1, -1]}),
    ("dilations", {"dilations": [1]}),
    ("dilations", {"dilations": [0, 1]}),
    ("dilations", {"dilations": [1, -1]}),
    ("pads", {"pads": [1, 1]}),
    ("pads", {"pads": [0, 0, 0, -1]}),
    ("pads", {"pads": [1, 1, 1, 1], "auto_pad": "SAME_UPPER"}),
    ("pads", {"pads": [0, 0, 0, 0], "auto_pad": "VALID"}),
    ("attribute", {"auto_pad": "SAME"}),
    ("attribute", {"auto_pad": "same_upper"}),
    ("attribute", {"strides": 2}),
    ("attribute", {"stride": [1, 1]}),
    ("group", {"group": 0}),
    ("group", {"group": -1}),
)
_IMAGE = (1, 4, 6, 6)


def _elementwise() -> Iterator[Variant]:
    for opset in (7, 9, 16, 21):
        for x, slope in (((1, 1), (3,)), ((2, 1, 2), (4, 1)), ((2, 3), (2, 2, 3)), ((2, 4), (3,)), ((2, 3), (1, 1, 1))):
            runs = "" if x == (2, 4) else "it enlarges the output"
            yield Variant("PRelu", (floats(*x), floats(*slope)), {}, opset, rule="slope", runs=runs)

    for opset in (11, 12, 13, 21):
        for bound in ((3,), (2, 3), (1, 1)):
            yield Variant("Clip", (floats(2, 3), floats(*bound)), {}, opset, rule="operand-shape")
            yield Variant("Clip", (floats(2, 3), floats(), floats(*bound)), {}, opset, rule="operand-shape")


def _attention() -> Iterator[Variant]:
    q, k, one = floats(4, 3, 4, 8), floats(4, 3, 6, 8), floats(1, 3, 6, 8)
    for opset in (23, 24):
        for keys, values in ((one, one), (k, one), (one, k)):
            yield Variant("Attention", (q, keys, values), {}, opset, rule="operand-shape")
    for lengths in (np.ones(7, np.int64), np.ones(1, np.int64)):
        yield Variant("Attention", (q, k, k, None, None, None, lengths), {}, 24, rule="operand-shape")


def _n_grams() -> Iterator[Variant]:
    given = {
        "mode": "TF",
        "min_gram_length": 1,
        "max_gram_length": 2,
        "max_skip_count": 1,
        "ngram_indexes": [0, 1, 2, 3],
    }
    x = np.array([[1, 2, 1, 2]])
    for counts in ([0, 2**62], [0, 7], [3, 2], [-1, 2], [1000, -2, 9223372036854775807]):
        pool = {"pool_int64s": [1, 2, 1, 2, 2, 1], "ngram_counts": counts}
        yield Variant("TfIdfVectorizer", (x,), {**given, **pool}, 9, rule="attribute")


def _convolutions() -> Iterator[Variant]:
    for opset in (11, 21, 22):
        for rule, attributes in _GEOMETRY:
            yield Variant("Conv", (floats(*_IMAGE), floats(8, 4, 3, 3)), attributes, opset, rule=rule)
    for rule, attributes in _GEOMETRY:
        weights = (8, 4, 3, 3)
        yield Variant("ConvInteger", (unsigned(*_IMAGE), signed(*weights)), attributes, rule=rule)
        yield _qlinear(rule, **attributes)
        yield Variant("ConvTranspose", (floats(*_IMAGE), floats(4, 8, 3, 3)), attributes, rule=rule)
    for weights, rule, attributes in (
        ((8, 3, 3, 3), "channels", {}),
        ((8, 4, 3, 3), "channels", {"group": 2}),
        ((9, 2, 3, 3), "group", {"group": 2}),
        ((8, 4, 3), "operand-shape", {}),
        ((8, 4, 3, 3, 3), "operand-shape", {}),
        ((8, 4, 7, 7), "kernel-shape", {}),
        ((8, 4, 5, 3), "kernel-shape", {"dilations": [2, 1]}),
        ((8, 4, 9, 9), "kernel-shape", {"pads": [1, 1, 1, 1]}),
        ((8, 4, 0, 3), "kernel-shape", {}),
    ):
        yield Variant("Conv", (floats(*_IMAGE), floats(*weights)), attributes, rule=rule)
        yield Variant("ConvInteger", (unsigned(*_IMAGE), signed(*weights)), attributes, rule=rule)
        yield _qlinear(rule, w=signed(*weights), **attributes)
    yield Variant("Conv", (floats(1, 4), floats(8, 4)), rule="operand-shape")
    for bias in ((7,), (1,), (), (8, 1)):
        yield Variant("Conv", (floats(*_IMAGE), floats(8, 4, 3, 3), floats(*bias)), rule="bias-shape")
        yield Variant("ConvTranspose", (floats(*_IMAGE), floats(4, 8, 3, 3), floats(*bias)), rule="bias-shape")
        yield _qlinear("bias-shape", bias=sums(*bias))
    yield Variant("Conv", (floats(*_IMAGE), floats(8, 4, 3, 3, dtype=np.float16)), rule="element-type")
    yield Variant("Conv", (unsigned(*_IMAGE), unsigned(8, 4, 3, 3)), rule="element-type")


def _transposed() -> Iterator[Variant]:
    x, w = floats(*_IMAGE), floats(4, 8, 3, 3)
    yield Variant("ConvTranspose", (x, floats(5, 8, 3, 3)), rule="channels")
    yield Variant("ConvTranspose", (x, w), {"group": 3}, rule="group")
    yield Variant("ConvTranspose", (x, floats(4, 3, 3, 3), floats(3)), {"group": 2}, rule="bias-shape")
    for rule, attributes in (
        ("output-padding", {"output_padding": [1]}),
        ("output-padding", {"output_padding": [1, 1]}),
        ("output-padding", {"output_padding": [2, 2], "strides": [2, 2]}),
        ("output-padding", {"output_padding": [-1, 0]}),
        ("pads", {"pads": [4, 0, 4, 0]}),
        ("output-shape", {"output_shape": [8]}),
        ("output-shape", {"output_shape": [1, 8, 8, 8]}),
    ):
        yield Variant("ConvTranspose", (x, w), attributes, rule=rule)


def _qlinear(
    rule, *, x=None, w=None, w_scale=None, w_zero=None, bias=None, runs="", domain="", **attributes
) -> Variant:
    image = unsigned(*_IMAGE) if x is None else x
    weights = signed(8, 4, 3, 3) if w is None else w
    scale, zero = floats() if w_scale is None else w_scale, signed() if w_zero is None else w_zero
    inputs = (
        image,
        floats(),
        unsigned(),
        weights,
        scale,
        zero,
        floats(),
        unsigned(),
        *([] if bias is None else [bias]),
    )
    return Variant("QLinearConv", inputs, attributes, domain=domain, rule=rule, runs=runs)


def _qlinear_parameters() -> Iterator[Variant]:
    yield _qlinear("scale-shape", w_scale=floats(7), w_zero=signed(7))
    yield _qlinear("scale-shape", w_scale=floats(8, 1), w_zero=signed(8, 1))
    yield _qlinear("scale-shape", w_scale=floats(8, 1, 1, 1), w_zero=signed(8, 1, 1, 1))
    text = "scale and zero point have the same shape"
    yield _qlinear("zero-point-shape", w_scale=floats(8), runs=text)
    yield _qlinear("zero-point-shape", w_zero=signed(8), runs=text)
    yield _qlinear("element-type", w_zero=unsigned())
    yield _qlinear("element-type", w_scale=floats(dtype=np.float16))
    yield _qlinear("element-type", bias=floats(8))
    yield _qlinear("element-type", bias=np.ones(8, np.int64))
    yield _qlinear("channels", x=unsigned(1, 6, 6, 5), domain=MICROSOFT, channels_last=1)
    good = list(_qlinear("").inputs)
    for position, wrong, rule in (
        (1, floats(4), "scale-shape"),
        (1, floats(1, 1), "scale-shape"),
        (2, unsigned(4), "zero-point-shape"),
        (2, signed(), "element-type"),
        (2, None, "inputs"),
        (5, None, "inputs"),
        (6, floats(8), "scale-shape"),
        (7, unsigned(8), "zero-point-shape"),
        (7, sums(), "element-type"),
    ):
        yield Variant("QLinearConv", (*good[:position], wrong, *good[position + 1 :]), rule=rule)
    yield Variant("QLinearConv", tuple(good[:7]), rule="inputs")
    x, w = unsigned(*_IMAGE), signed(8, 4, 3, 3)
    for zeros, rule in (
        ((unsigned(4),), "zero-point-shape"),
        ((unsigned(1, 1),), "zero-point-shape"),
        ((signed(),), "element-type"),
        ((unsigned(), signed(7)), "zero-point-shape"),
        ((unsigned(), signed(8, 1, 1, 1)), "zero-point-shape"),
    ):
        yield Variant("ConvInteger", (x, w, *zeros), rule=rule)


def _pools() -> Iterator[Variant]:
    x = floats(*_IMAGE)
    text = "pads and auto_pad are not used together"
    for kind in ("MaxPool", "AveragePool", "LpPool"):
        for rule, attributes in _GEOMETRY[2:12]:
            given = {"kernel_shape": [2, 2], **attributes}
            if kind != "MaxPool" and "dilations" in attributes:
                continue
            yield Variant(kind, (x,), given, rule=rule)
        yield Variant(kind, (x,), {"kernel_shape": [2]}, rule="kernel-shape")
        yield Variant(kind, (x,), {"kernel_shape": [0, 2]}, rule="kernel-shape")
        yield Variant(kind, (x,), {"kernel_shape": [9, 9]}, rule="kernel-shape")
        yield Variant(kind, (x,), {}, rule="attribute")
        yield Variant(kind, (floats(1, 4),), {"kernel_shape": [2]}, rule="operand-shape")
        padded = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "auto_pad": "SAME_UPPER"}
        yield Variant(kind, (x,), padded, rule="pads", runs=text)
    for kind in ("GlobalAveragePool", "GlobalMaxPool"):
        yield Variant(kind, (floats(1, 4),), rule="operand-shape")
    yield Variant("MaxPool", (x,), {"kernel_shape": [2, 2], "storage_order": 2}, rule="attribute")
    yield Variant("MaxPool", (x,), {"kernel_shape": [2, 2], "ceil_mode": 2}, rule="attribute", runs="a flag")


def _matrices() -> Iterator[Variant]:
    a, b = unsigned(3, 5), signed(5, 7)
    for inputs, rule in (
        ((a, signed(4, 7)), "operand-shape"),
        ((unsigned(2, 3, 5), signed(3, 5, 7)), "operand-shape"),
        ((unsigned(), signed(5)), "operand-shape"),
        ((a, np.ones((5, 7), np.int16)), "element-type"),
        ((a, b, signed()), "element-type"),
        ((a, b, None, unsigned()), "element-type"),
        ((a, b, unsigned(5)), "zero-point-shape"),
        ((a, b, unsigned(1, 5)), "zero-point-shape"),
        ((a, b, unsigned(), signed(5)), "zero-point-shape"),
        ((a, b, unsigned(), signed(5, 7)), "zero-point-shape"),
        ((a, b, unsigned(), signed(5, 1)), "zero-point-shape"),
        ((unsigned(2, 3, 5), signed(2, 5, 7), unsigned(3)), "zero-point-shape"),
        ((unsigned(2, 3, 5), signed(2, 5, 7), unsigned(), signed(7)), "zero-point-shape"),
        ((unsigned(2, 3, 5), signed(2, 5, 7), unsigned(), signed(1, 1, 7)), "zero-point-shape"),
        ((unsigned(5), b, unsigned(5)), "zero-point-shape"),
        ((a, signed(5), unsigned(), signed(5)), "zero-point-shape"),
    ):
        yield Variant("MatMulInteger", inputs, rule=rule)
    for shapes, rule in (
        (((3, 5), (4, 7)), "operand-shape"),
        (((2, 2, 255), (2, 3)), "operand-shape"),
        (((4,), (5,)), "operand-shape"),
        (((2, 3, 5), (3, 5, 7)), "operand-shape"),
        (((), (5,)), "operand-shape"),
    ):
        for dtype in (np.float32, np.int64):
            yield Variant("MatMul", tuple(np.ones(s, dtype) for s in shapes), rule=rule)
    for shapes, attributes, rule in (
        (((3, 5), (4, 7)), {}, "operand-shape"),
        (((3, 5), (5, 7)), {"transA": 1}, "operand-shape"),
        (((3, 5), (5, 7)), {"transB": 1}, "operand-shape"),
        (((2, 3, 5), (5, 7)), {}, "operand-shape"),
        (((5,), (5, 7)), {}, "operand-shape"),
        (((3, 5), (5, 7), (3,)), {}, "bias-shape"),
        (((3, 5), (5, 7), (1, 3, 7)), {}, "bias-shape"),
        (((5, 3), (7, 5), (7, 3)), {"transA": 1, "transB": 1}, "bias-shape"),
    ):
        for opset in (11, 21):
            yield Variant("Gemm", tuple(np.ones(s, np.float32) for s in shapes), attributes, opset, rule=rule)
    good = (a, floats(), unsigned(), b, floats(), signed(), floats(), unsigned())
    text = "scale and zero point have the same shape"
    half = floats(dtype=np.float16)
    for changes, rule, opset, runs in (
        ({3: signed(4, 7)}, "operand-shape", 21, ""),
        ({1: floats(5), 2: unsigned(5)}, "scale-shape", 21, ""),
        ({4: floats(5), 5: signed(5)}, "scale-shape", 21, ""),
        ({4: floats(7)}, "zero-point-shape", 21, text),
        ({5: signed(7)}, "zero-point-shape", 21, text),
        ({4: floats(7), 5: signed(1, 7)}, "zero-point-shape", 21, text),
        ({6: floats(7), 7: unsigned(7)}, "scale-shape", 21, ""),
        ({6: floats(3), 7: unsigned(3)}, "scale-shape", 21, ""),
        ({2: signed()}, "element-type", 21, ""),
        ({7: sums()}, "element-type", 21, ""),
        ({2: None}, "inputs", 21, ""),
        ({1: half}, "element-type", 21, ""),
        ({1: half, 4: half, 6: half}, "element-type", 10, ""),
    ):
        inputs = tuple(changes.get(k, v) for k, v in enumerate(good))
        yield Variant("QLinearMatMul", inputs, {}, opset, rule=rule, runs=runs)


VARIANTS = (
    *_elementwise(),
    *_attention(),
    *_n_grams(),
    *_convolutions(),
    *_transposed(),
    *_qlinear_parameters(),
    *_pools(),
    *_matrices(),
)
