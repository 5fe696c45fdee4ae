"""One-feature models of forks and of binary networks."""

from __future__ import annotations

from collections.abc import Callable

from tests.targets.hls4ml.feature import Feature
from tests.targets.hls4ml.nets import Net, then


def _forks() -> list[Feature]:
    def fork(first: Callable[[Net], Net], second: Callable[[Net], Net], net: Net, op_type: str = "Add") -> Net:
        at = net.at
        left = first(net).at
        net.at = at
        return second(net).add(left, op_type)

    def same(net: Net) -> Net:
        return net

    found = []
    for scale, tolerance in ((0.25, 0.0), (0.3, 1e-3)):
        step = 0.125 if scale == 0.25 else 0.1

        def q(net: Net, s=scale) -> Net:
            return net.quant(s if s == 0.25 or net.at == "x" else 0.77 * s)

        found += [
            Feature(
                f"residual {scale}",
                lambda q=q: fork(lambda n: q(n.dense(6, 6)), same, q(Net(6))).dense(6, 4),
                tolerance,
                step=step,
            ),
            Feature(
                f"residual of a product {scale}",
                lambda q=q: fork(lambda n: q(n).dense(6, 6), same, q(Net(6)).dense(6, 6)),
                tolerance,
                step=step,
            ),
            Feature(
                f"two quantisers of a product {scale}",
                lambda q=q: fork(q, lambda n: n.quant(0.5, bits=3), q(Net(6)).dense(6, 6)).dense(6, 4),
                tolerance,
                refused="ties" if tolerance else None,  # 40 x 0.3 x 0.125 = 3 x 0.5
                step=step,
            ),
            Feature(
                f"two quantisers of the input {scale}",
                lambda q=q: fork(q, lambda n: n.quant(0.5, bits=3), Net(6)).dense(6, 4),
                tolerance,
                step=step,
            ),
            Feature(
                f"two products of a quantiser {scale}",
                lambda q=q: fork(lambda n: n.dense(6, 4), lambda n: n.dense(6, 4), q(Net(6))),
                tolerance,
                step=step,
            ),
            Feature(
                f"quantiser and Relu of a product {scale}",
                lambda q=q: fork(q, lambda n: n.op("Relu"), q(Net(6)).dense(6, 6)),
                tolerance,
                step=step,
            ),
            Feature(
                f"bias forks {scale}",
                lambda q=q: fork(q, same, then(q(Net(6)).dense(6, 6), "Add", 0.5)),
                tolerance,
                step=step,
            ),
            Feature(
                f"two biases added {scale}",
                lambda q=q: fork(
                    lambda n: then(n.dense(6, 4), "Add", [1, 2, 3, 4]),
                    lambda n: then(n.dense(6, 4), "Add", [0.5, 1, 0.25, 0]),
                    q(Net(6)),
                ),
                tolerance,
                step=step,
            ),
        ]
        for op_type in ("Sub", "Mul", "Max", "Min"):
            found.append(
                Feature(
                    f"{op_type} of two products {scale}",
                    lambda q=q, o=op_type: fork(lambda n: n.dense(6, 4), lambda n: n.dense(6, 4), q(Net(6)), o),
                    tolerance,
                    step=step,
                )
            )
    found.append(Feature("concat", lambda: _concat(fork, Net(6).quant())))
    found.append(Feature("output in the middle", _middle))
    return found


def _binary() -> list[Feature]:
    close = 1e-3
    found = [
        Feature("bipolar activations", lambda: Net(6).bipolar().dense(6, 4)),
        Feature("bipolar weights", lambda: Net(6).quant().dense(6, 4, scale=1.0, bits=0)),
        Feature("bipolar both", lambda: Net(6).bipolar().dense(6, 4, scale=1.0, bits=0)),
        Feature("bipolar scale", lambda: Net(6).bipolar(0.3).dense(6, 4, scale=0.7, bits=0), close),
        Feature("bipolar two layers", lambda: Net(6).bipolar().dense(6, 4, 1.0, 0).bipolar().dense(4, 3, 1.0, 0)),
        Feature("signed one bit", lambda: Net(6).quant(0.5, bits=1).dense(6, 4)),
        Feature("signed one bit with zero point", lambda: Net(6).quant(0.5, 0.5, bits=1).dense(6, 4)),
        Feature("bipolar at the end", lambda: Net(6).quant().dense(6, 4).bipolar()),
        Feature("bipolar of scale 1/2 at the end", lambda: Net(6).quant().dense(6, 4).bipolar(0.5)),
        Feature("bipolar then quantiser", lambda: Net(6).bipolar().quant(1.0, bits=2).dense(6, 4)),
        Feature("bipolar then bias", lambda: then(Net(6).bipolar(), "Add", 0.5).dense(6, 4)),
        Feature("bipolar then Relu", lambda: Net(6).bipolar().op("Relu").dense(6, 4)),
        Feature("bipolar residual", _bipolar_residual),
        Feature("bipolar of three layers", _three_binary),
    ]
    for negative in (False, True):
        found += [
            Feature(
                f"norm before bipolar, negative {negative}",
                lambda n=negative: Net(6).bipolar().dense(6, 8, 1.0, 0).norm(8, negative=n).bipolar().dense(8, 4),
            ),
            Feature(
                f"norm before bipolar of 4 bits, negative {negative}",
                lambda n=negative: Net(6).quant().dense(6, 8).norm(8, negative=n).bipolar().dense(8, 4),
            ),
            Feature(
                f"factor of the input before bipolar, negative {negative}",
                lambda n=negative: then(Net(4).quant(), "Mul", [1, 2, -1 if n else 1, 0.5]).bipolar().dense(4, 3),
            ),
        ]
    return found


def _concat(fork, net: Net) -> Net:
    at = net.at
    left = net.dense(6, 3).at
    net.at = at
    right = net.dense(6, 2).at
    net.at = left
    return net.op("Concat", right, axis=1)


def _middle() -> Net:
    net = Net(6).quant().dense(6, 6)
    middle = net.at
    net.quant().dense(6, 4)
    net.outputs = (middle, net.at)
    return net


def _bipolar_residual() -> Net:
    net = Net(6).bipolar()
    at = net.at
    return net.dense(6, 6).add(at)


def _three_binary() -> Net:
    net = Net(6).bipolar()
    for _ in range(3):
        net.dense(6, 6, 1.0, 0).norm(6, negative=True).bipolar()
    return net.dense(6, 4)


FORKS = [*_forks(), *_binary()]
