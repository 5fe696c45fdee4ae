"""What the quantisation examples begin with: a float ONNX classifier of digits, trained by scikit-learn in seconds."""

import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training pixels, test pixels (0 .. 1), training labels, test labels."""
    digits = load_digits()
    pixels = (digits.data / 16).astype(np.float32)
    return tuple(train_test_split(pixels, digits.target, test_size=360, random_state=0, stratify=digits.target))


def trained() -> onnx.ModelProto:
    """64 pixels, two hidden layers of 32 with Relu, 10 scores; float32."""
    pixels, _, labels, _ = data()
    net = MLPClassifier((32, 32), alpha=1e-3, learning_rate_init=3e-3, max_iter=60, random_state=0)
    warnings.simplefilter("ignore", ConvergenceWarning)  # sixty rounds are enough here
    net.fit(pixels, labels)
    nodes, constants, x = [], [], "pixels"
    for number, (weights, bias) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        last = number == len(net.coefs_) - 1
        names = f"weights{number}", f"bias{number}"
        for name, array in zip(names, (weights, bias), strict=True):
            constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        made = "scores" if last else f"sums{number}"
        nodes.append(helper.make_node("Gemm", [x, *names], [made], name=f"layer{number}"))
        if not last:
            x = f"features{number}"
            nodes.append(helper.make_node("Relu", [made], [x], name=f"relu{number}"))
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])]
        for name, size in (("pixels", 64), ("scores", 10))
    ]
    graph = helper.make_graph(nodes, "digits", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> str:
    return f"{(scores.argmax(axis=1) == labels).mean():.2%} of {len(labels)} test images"
