"""Passes: model to model, one a file. Each is an ``onnx_ir`` pass, so that they compose with those of onnx-ir.

The classes of all passes are public here, those of `anybit.cleanup` included, and the types of their options.
`anybit.apply` also takes their names as the command line spells them. A class is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybit.cleanup.convert_opset import ConvertOpset
    from anybit.cleanup.fix_defaults import FixDefaults
    from anybit.cleanup.fold_branches import FoldBranches
    from anybit.cleanup.fold_constants import FoldConstants
    from anybit.cleanup.fold_shapes import FoldShapes
    from anybit.cleanup.fold_transpose import FoldTranspose
    from anybit.cleanup.fusion.batch_norm_to_affine import BatchNormToAffine
    from anybit.cleanup.fusion.fold_batch_norm import FoldBatchNorm
    from anybit.cleanup.fusion.fuse_linear import FuseLinear
    from anybit.cleanup.infer_shapes import InferShapes
    from anybit.cleanup.merge_equal_nodes import MergeEqualNodes
    from anybit.cleanup.merge_initializers import MergeInitializers
    from anybit.cleanup.merge_movements import MergeMovements
    from anybit.cleanup.merge_quantizers import MergeQuantizers
    from anybit.cleanup.merge_slices import MergeSlices
    from anybit.cleanup.remove_identities import RemoveIdentities
    from anybit.cleanup.remove_unused import RemoveUnused
    from anybit.cleanup.set_batch import SetBatch
    from anybit.cleanup.set_input_shape import SetInputShape
    from anybit.cleanup.sort_nodes import SortNodes
    from anybit.passes.layout.channels_last.plan import Domain
    from anybit.passes.layout.conv_1d_rules import UnitAxis
    from anybit.passes.layout.conv_1d_to_2d import Conv1dTo2d
    from anybit.passes.layout.quant_avg_pool_to_channels_last import QuantAvgPoolToChannelsLast
    from anybit.passes.layout.to_channels_last import ToChannelsLast
    from anybit.passes.lowering.average_pool_to_integer import AveragePoolToInteger
    from anybit.passes.lowering.conv_to_matmul import ConvToMatMul
    from anybit.passes.lowering.div_to_mul import DivToMul
    from anybit.passes.lowering.extract_conv_bias import ExtractConvBias
    from anybit.passes.lowering.extract_quant_scale import ExtractQuantScale
    from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul
    from anybit.passes.lowering.pad_to_inputs import PadToInputs
    from anybit.passes.lowering.rebalance_im2col import RebalanceIm2Col
    from anybit.passes.lowering.resize_conv_to_deconv import ResizeConvToDeconv
    from anybit.passes.lowering.sub_to_add import SubToAdd
    from anybit.passes.lowering.subpixel_to_deconv import SubpixelToDeconv
    from anybit.passes.pruning.mask_channels import MaskChannels
    from anybit.passes.pruning.prune_by_magnitude import PruneByMagnitude
    from anybit.passes.pruning.prune_channels import PruneChannels
    from anybit.passes.surgery.apply_configuration import ApplyConfiguration
    from anybit.passes.surgery.create_partitions import CreatePartitions
    from anybit.passes.surgery.expose_tensors import ExposeTensors
    from anybit.passes.surgery.inline_partitions import InlinePartitions
    from anybit.passes.surgery.insert_identity import InsertIdentity, Side
    from anybit.passes.surgery.insert_quantizers import InsertQuantizers, QuantizerSettings
    from anybit.passes.surgery.insert_top_k import InsertTopK
    from anybit.passes.surgery.name_tensors import NameStyle, NameTensors
    from anybit.passes.surgery.sort_commutative import SortCommutative
    from anybit.passes.surgery.unique_parameters import UniqueParameters
    from anybit.passes.types.annotate_layouts import AnnotateLayouts
    from anybit.passes.types.annotate_types import AnnotateTypes
    from anybit.passes.types.double_to_float import DoubleToFloat
    from anybit.passes.types.quantize_parameters import QuantizeParameters

_HOMES = {
    "AnnotateLayouts": "anybit.passes.types.annotate_layouts",
    "AnnotateTypes": "anybit.passes.types.annotate_types",
    "ApplyConfiguration": "anybit.passes.surgery.apply_configuration",
    "AveragePoolToInteger": "anybit.passes.lowering.average_pool_to_integer",
    "BatchNormToAffine": "anybit.cleanup.fusion.batch_norm_to_affine",
    "Conv1dTo2d": "anybit.passes.layout.conv_1d_to_2d",
    "ConvToMatMul": "anybit.passes.lowering.conv_to_matmul",
    "ConvertOpset": "anybit.cleanup.convert_opset",
    "CreatePartitions": "anybit.passes.surgery.create_partitions",
    "DivToMul": "anybit.passes.lowering.div_to_mul",
    "Domain": "anybit.passes.layout.channels_last.plan",
    "DoubleToFloat": "anybit.passes.types.double_to_float",
    "ExposeTensors": "anybit.passes.surgery.expose_tensors",
    "ExtractConvBias": "anybit.passes.lowering.extract_conv_bias",
    "ExtractQuantScale": "anybit.passes.lowering.extract_quant_scale",
    "FixDefaults": "anybit.cleanup.fix_defaults",
    "FoldBatchNorm": "anybit.cleanup.fusion.fold_batch_norm",
    "FoldBranches": "anybit.cleanup.fold_branches",
    "FoldConstants": "anybit.cleanup.fold_constants",
    "FoldShapes": "anybit.cleanup.fold_shapes",
    "FuseLinear": "anybit.cleanup.fusion.fuse_linear",
    "FoldTranspose": "anybit.cleanup.fold_transpose",
    "GemmToMatMul": "anybit.passes.lowering.gemm_to_matmul",
    "InferShapes": "anybit.cleanup.infer_shapes",
    "InlinePartitions": "anybit.passes.surgery.inline_partitions",
    "InsertIdentity": "anybit.passes.surgery.insert_identity",
    "InsertQuantizers": "anybit.passes.surgery.insert_quantizers",
    "InsertTopK": "anybit.passes.surgery.insert_top_k",
    "MaskChannels": "anybit.passes.pruning.mask_channels",
    "MergeEqualNodes": "anybit.cleanup.merge_equal_nodes",
    "MergeInitializers": "anybit.cleanup.merge_initializers",
    "MergeMovements": "anybit.cleanup.merge_movements",
    "MergeQuantizers": "anybit.cleanup.merge_quantizers",
    "MergeSlices": "anybit.cleanup.merge_slices",
    "NameStyle": "anybit.passes.surgery.name_tensors",
    "NameTensors": "anybit.passes.surgery.name_tensors",
    "PadToInputs": "anybit.passes.lowering.pad_to_inputs",
    "PruneByMagnitude": "anybit.passes.pruning.prune_by_magnitude",
    "PruneChannels": "anybit.passes.pruning.prune_channels",
    "QuantAvgPoolToChannelsLast": "anybit.passes.layout.quant_avg_pool_to_channels_last",
    "QuantizeParameters": "anybit.passes.types.quantize_parameters",
    "QuantizerSettings": "anybit.passes.surgery.insert_quantizers",
    "RebalanceIm2Col": "anybit.passes.lowering.rebalance_im2col",
    "RemoveIdentities": "anybit.cleanup.remove_identities",
    "RemoveUnused": "anybit.cleanup.remove_unused",
    "ResizeConvToDeconv": "anybit.passes.lowering.resize_conv_to_deconv",
    "SetBatch": "anybit.cleanup.set_batch",
    "SetInputShape": "anybit.cleanup.set_input_shape",
    "Side": "anybit.passes.surgery.insert_identity",
    "SortCommutative": "anybit.passes.surgery.sort_commutative",
    "SortNodes": "anybit.cleanup.sort_nodes",
    "SubToAdd": "anybit.passes.lowering.sub_to_add",
    "SubpixelToDeconv": "anybit.passes.lowering.subpixel_to_deconv",
    "ToChannelsLast": "anybit.passes.layout.to_channels_last",
    "UniqueParameters": "anybit.passes.surgery.unique_parameters",
    "UnitAxis": "anybit.passes.layout.conv_1d_rules",
}

__all__ = [
    "AnnotateLayouts",
    "AnnotateTypes",
    "ApplyConfiguration",
    "AveragePoolToInteger",
    "BatchNormToAffine",
    "Conv1dTo2d",
    "ConvToMatMul",
    "ConvertOpset",
    "CreatePartitions",
    "DivToMul",
    "Domain",
    "DoubleToFloat",
    "ExposeTensors",
    "ExtractConvBias",
    "ExtractQuantScale",
    "FixDefaults",
    "FoldBatchNorm",
    "FoldBranches",
    "FoldConstants",
    "FoldShapes",
    "FoldTranspose",
    "FuseLinear",
    "GemmToMatMul",
    "InferShapes",
    "InlinePartitions",
    "InsertIdentity",
    "InsertQuantizers",
    "InsertTopK",
    "MaskChannels",
    "MergeEqualNodes",
    "MergeInitializers",
    "MergeMovements",
    "MergeQuantizers",
    "MergeSlices",
    "NameStyle",
    "NameTensors",
    "PadToInputs",
    "PruneByMagnitude",
    "PruneChannels",
    "QuantAvgPoolToChannelsLast",
    "QuantizeParameters",
    "QuantizerSettings",
    "RebalanceIm2Col",
    "RemoveIdentities",
    "RemoveUnused",
    "ResizeConvToDeconv",
    "SetBatch",
    "SetInputShape",
    "Side",
    "SortCommutative",
    "SortNodes",
    "SubToAdd",
    "SubpixelToDeconv",
    "ToChannelsLast",
    "UniqueParameters",
    "UnitAxis",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
