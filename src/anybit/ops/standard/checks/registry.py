"""findings_of_standard: everything that is wrong with a call of an operator of ONNX, or of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import onnx_ir as ir

from anybit.errors import Finding
from anybit.ops.standard.checks import (
    attention,
    block_weights,
    byte_operators,
    contrib_schemas,
    control_flow,
    convolution,
    elementwise,
    linear_quantization,
    matrix_products,
    n_grams,
    pooling,
)
from anybit.ops.standard.checks.call import StandardCall, standard_call
from anybit.ops.standard.checks.contrib_schemas import contrib_signature
from anybit.ops.standard.checks.signature import (
    Signature,
    foreign_attributes,
    form_findings,
    signature_findings,
    standard_signature,
    standard_signatures,
)
from anybit.ops.standard.checks.split import split_findings

_Rule = Callable[[StandardCall], Iterable[Finding]]

STANDARD: Mapping[str, _Rule] = {
    "QuantizeLinear": linear_quantization.quantize_linear,
    "DequantizeLinear": linear_quantization.dequantize_linear,
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "DeformConv": convolution.deform_conv,
    "ConvInteger": convolution.conv_integer,
    "QLinearConv": convolution.qlinear_conv,
    "Gemm": matrix_products.gemm,
    "MatMul": matrix_products.matmul,
    "MatMulInteger": matrix_products.matmul_integer,
    "QLinearMatMul": matrix_products.qlinear_matmul,
    "AveragePool": pooling.pool,
    "LpPool": pooling.pool,
    "MaxPool": pooling.pool,
    "MaxUnpool": pooling.max_unpool,
    "GlobalAveragePool": pooling.global_pool,
    "GlobalLpPool": pooling.global_pool,
    "GlobalMaxPool": pooling.global_pool,
    "PRelu": elementwise.prelu,
    "Clip": elementwise.clip,
    "Attention": attention.attention,
    "TfIdfVectorizer": n_grams.tf_idf_vectorizer,
}
"""The rules of standard operators that their signatures do not say."""

CONTRIB: Mapping[str, _Rule] = {
    "QuantizeLinear": linear_quantization.contrib_quantize_linear,
    "DequantizeLinear": linear_quantization.contrib_dequantize_linear,
    "QLinearConv": convolution.qlinear_conv,
    "QLinearAdd": byte_operators.binary,
    "QLinearMul": byte_operators.binary,
    "MulInteger": byte_operators.binary,
    "QLinearLeakyRelu": byte_operators.unary,
    "QLinearSigmoid": byte_operators.unary,
    "QLinearSoftmax": byte_operators.softmax,
    "QLinearAveragePool": pooling.qlinear_average_pool,
    "QLinearGlobalAveragePool": pooling.qlinear_global_average_pool,
    "QLinearReduceMean": byte_operators.reduce_mean,
    "ReduceSumInteger": byte_operators.reduce_mean,
    "QLinearConcat": byte_operators.concat,
    "QLinearWhere": byte_operators.where,
    "QGemm": matrix_products.qgemm,
    "MatMulInteger16": matrix_products.matmul_integer_16,
    "DynamicQuantizeMatMul": matrix_products.dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matrix_products.dynamic_quantize_matmul,
    "MatMulNBits": block_weights.matmul_nbits,
    "MatMulBnb4": block_weights.matmul_bnb4,
    "GatherBlockQuantized": block_weights.gather_block_quantized,
    "QAttention": attention.qattention,
    "DynamicQuantizeLSTM": attention.dynamic_quantize_lstm,
}
"""The same of ONNX Runtime's operators."""


def findings_of_standard(node: ir.Node, opset_imports: Mapping[str, int]) -> Iterator[Finding]:
    """Everything that is wrong with a call of an operator of ONNX or ONNX Runtime; nothing for one that is not known.

    Shapes and types are those that the values have: infer them before. What is not known is no finding, nor is what
    depends on an attribute that a function gets from its caller.
    """
    signature = _signature(node, opset_imports)
    if signature is None:
        return
    yield from signature_findings(node, signature)
    yield from control_flow.body_findings(node, signature)
    yield from split_findings(node)
    rule = (STANDARD if node.domain == "" else CONTRIB).get(node.op_type)
    if rule is not None and not any(a.is_ref() for a in node.attributes.values()):
        yield from rule(standard_call(node, signature, opset_imports.get(node.domain, 1)))


def form_findings_of_standard(node: ir.Node, opset_imports: Mapping[str, int]) -> Iterator[Finding]:
    """Inputs, outputs, attributes and bodies of such a call that are missing, too many or of another kind.

    A standard operator that its opset does not have yet, or no longer, has the form of one of its versions.
    """
    signature = _signature(node, opset_imports)
    signatures = (signature,) if signature is not None else () if node.domain else standard_signatures(node.op_type)
    found = [[*form_findings(node, s), *control_flow.body_findings(node, s), *split_findings(node)] for s in signatures]
    if all(found):
        yield from chain.from_iterable(found[:1])
    if not node.domain:
        for other in signatures[:1]:
            yield from foreign_attributes(node, other)


def _signature(node: ir.Node, opset_imports: Mapping[str, int]) -> Signature | None:
    match node.domain:
        case "":
            return standard_signature(node.op_type, opset_imports.get("", 1))
        case contrib_schemas.DOMAIN:
            return contrib_signature(node.op_type)
        case _:
            return None
