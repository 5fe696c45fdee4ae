"""The rules of `anybit.check`."""

from __future__ import annotations

from anybit.rules.rule import RuleOrigin, rules

CHECK_RULES = rules(
    RuleOrigin.CHECK,
    (
        "annotation",
        (
            "The file states a number format or a layout for a tensor that does not exist, that does not "
            "hold its values or that cannot be read; or it states two that differ."
        ),
        (
            "Correct or remove the annotation: `anybit.annotations` sets and clears it, the pass annotate-"
            "types writes the formats that follow from the operators."
        ),
    ),
    (
        "attribute",
        "An attribute of a node is missing, unknown, of another type, or has a value that the operator does not allow.",
        (
            "Export the model again with the value that the finding expects. An unknown attribute is a "
            "warning: it has no meaning, and may be removed."
        ),
    ),
    (
        "axis",
        "An axis lies outside of the tensor, or is none that this operator can work along.",
        "Give an axis from -rank to rank - 1. A scale for each channel of an older opset needs opset 13.",
    ),
    (
        "bias-shape",
        "The bias of a product has neither one element nor one for each output channel.",
        "Reshape the bias to one number an output channel.",
    ),
    (
        "bit-width",
        (
            "The bit width of a quantiser is no positive integer, or is wider than the operator allows. A "
            "learned bit width that was exported before it was rounded is the usual reason."
        ),
        "Round the bit width when the model is exported, and export it as a constant.",
    ),
    (
        "block-size",
        "Blocks of weights that share a scale do not fit the tensor, or the block size is no positive integer.",
        (
            "Choose a block size that the scales were made for: their length is that of the axis divided by"
            " it, rounded up."
        ),
    ),
    (
        "body",
        (
            "The body of a Loop, Scan or If takes or gives another number of tensors than the node hands to"
            " it, or a loop has no end."
        ),
        "Give the body as many inputs and outputs as the node has; give a loop a trip count or a condition.",
    ),
    (
        "broadcast",
        (
            "A scale, zero point or bit width does not broadcast to the tensor that is quantised. A vector "
            "aligns with the *last* axis, so that one scale a channel of a convolution needs the shape (C, "
            "1, 1)."
        ),
        "Reshape the parameter so that its channels lie on the axis of the tensor's channels.",
    ),
    (
        "channels",
        (
            "The input of a convolution or normalisation has another number of channels than the weights or"
            " parameters are made for."
        ),
        "Look whether the layout is channels last, and whether `group` is what the weights were trained with.",
    ),
    (
        "cycle",
        "A node needs, by way of others, what it computes itself.",
        "Correct the names of tensors: `got` shows the way around.",
    ),
    (
        "dilations",
        "The dilations of a convolution or pool are not one positive integer for each spatial axis.",
        "Give one number for each spatial axis, or leave the attribute out.",
    ),
    (
        "element-type",
        (
            "A tensor has an element type that the operator does not take, two tensors that must agree do "
            "not, or the file states another type than the operators give."
        ),
        (
            "Insert a Cast, or export the model in a type that the finding names. A false statement of the "
            "file is a warning; infer-shapes writes the true one."
        ),
    ),
    (
        "file",
        "The file cannot be read: it is no ONNX file, it is cut off, or data beside it is missing.",
        "Copy the file again, with its external data, which has to lie in the folder of the model.",
    ),
    (
        "flag",
        "An attribute that says yes or no is neither 0 nor 1.",
        "Write 1 for yes and 0 for no.",
    ),
    (
        "function",
        (
            "A function of the model has no name, shares it with another one, or has two tensors or "
            "attributes of one name."
        ),
        "Rename one of them, or let the exporter inline functions.",
    ),
    (
        "group",
        "The number of groups of a convolution does not divide its channels.",
        "Set `group` to what the weights were trained with: 1, or the number of channels for a depthwise one.",
    ),
    (
        "input-shape",
        "The attribute `input_shape` of Im2Col is no shape, or another one than that of its input.",
        "State the shape (N, H, W, C) of the input.",
    ),
    (
        "inputs",
        "A node has more or fewer inputs than its operator takes, or leaves one out that is needed.",
        (
            "Give the inputs that the finding names, in their order. A Trunc of five inputs is version 1, "
            "one of seven version 2 of the domain."
        ),
    ),
    (
        "kernel",
        "The attribute `kernel_shape` does not fit the weights or the number of spatial axes.",
        "Write the kernel of the weights, one extent for each spatial axis.",
    ),
    (
        "kernel-shape",
        "The kernel differs from that of the weights, or is larger than the padded input, so that no window fits in.",
        "Write the kernel of the weights; if it is too large, the input shape of the model is smaller than intended.",
    ),
    (
        "layout",
        "The layout of a node is none that the operator knows.",
        "Use one of the layouts that the finding lists, such as NCHW or NHWC.",
    ),
    (
        "model",
        "The model was read and cannot be given a meaning.",
        "The text of the finding names the node; most often another finding gives the reason.",
    ),
    (
        "name",
        "A DebugMarker has no name to mark its tensor by.",
        "Set `export_debug_name`, or remove the node.",
    ),
    (
        "node-name",
        "Two nodes have the same name, so that findings and options by name cannot tell them apart.",
        "Rename them, for instance by the pass name-tensors.",
    ),
    (
        "number-format",
        "The attribute `out_dtype` of MultiThreshold is no number format.",
        "Write a format such as UINT4, INT2 or BIPOLAR.",
    ),
    (
        "operand-shape",
        "The operands of a product, pool or quantised operator do not fit each other.",
        "Compare `got` with `expected`: a missing Transpose or a batch that was made constant are the usual reasons.",
    ),
    (
        "operator",
        "Nobody knows the operator: neither ONNX at this opset, nor anybit, nor the functions of the model.",
        "Register it as an `anybit.Operator` if it is yours; else correct its domain, or raise the opset.",
    ),
    (
        "opset",
        "The model imports a version of operators that is not known, or two versions of one domain.",
        "Export at an opset from 13 to 21, change it by the pass convert-opset, or upgrade onnx or anybit.",
    ),
    (
        "order",
        "A node stands before the node that makes its input. `load` sorts such a graph.",
        "Save the model again: the saved file is sorted.",
    ),
    (
        "output-padding",
        "The attribute `output_padding` of a ConvTranspose is not smaller than its stride or dilation.",
        "Give one number for each spatial axis, smaller than the stride.",
    ),
    (
        "output-type",
        "The output type of a QuantizeLinear contradicts its zero point, or is none that the operator makes.",
        "Leave the attribute `output_dtype` or the zero point out.",
    ),
    (
        "outputs",
        "A node has more outputs than its operator makes.",
        "Remove the names of outputs that the operator does not have.",
    ),
    (
        "overflow",
        "A FloatQuant does not saturate, and its format has neither infinity nor NaN for what overflows.",
        "Set `saturation`, `has_inf` or `has_nan` to 1.",
    ),
    (
        "padding",
        "The attribute `auto_pad` has a value that is not known.",
        "Write NOTSET, VALID, SAME_UPPER or SAME_LOWER.",
    ),
    (
        "pads",
        "Pads are not two numbers for each spatial axis, stand beside `auto_pad`, or leave nothing of the output.",
        "Give the pads before each axis and then those behind, or `auto_pad` alone.",
    ),
    (
        "pad-to-inputs",
        "A Pad has its pads as attributes, as before opset 11, and could not be rewritten.",
        "Convert the opset with the pass convert-opset, or export the model again.",
    ),
    (
        "rank",
        "A tensor has another number of axes than the operator works on.",
        "Reshape the tensor, or look whether the layout of the model is the one that the operator means.",
    ),
    (
        "recursion",
        "A function of the model calls itself, by way of others or directly.",
        "ONNX has no recursion: write it as a Loop.",
    ),
    (
        "rounding-mode",
        "The rounding mode of a quantiser is unknown, or is spelt in a way that function bodies do not know.",
        "Write ROUND, CEIL, FLOOR, UP, DOWN, HALF_UP or HALF_DOWN.",
    ),
    (
        "scale",
        "A scale is zero, negative, infinite or no number.",
        (
            "A scale of 0 comes from a channel whose weights are all 0, or that no sample reached: give it "
            "any positive number."
        ),
    ),
    (
        "scale-shape",
        "A scale of a standard quantised operator has neither one element nor one for each entry of the axis.",
        "Set `axis` to the axis of the channels; before opset 13 there is one scale for the whole tensor.",
    ),
    (
        "shape",
        (
            "The shape of a tensor is not known although those of its inputs are, the file states another "
            "one than the operators give, or the rows of two matrices do not fit."
        ),
        (
            "State the shape of inputs (`anybit clean --input-shape`). A false statement of the file is a "
            "warning; infer-shapes writes the true one."
        ),
    ),
    (
        "size",
        "Calls of functions stand for more nodes than the limit.",
        "Write what is repeated as a Loop, or inline the functions where they are few.",
    ),
    (
        "slope",
        "The slope of a PRelu does not broadcast to its input.",
        "Reshape the slope to (C, 1, 1), or to one element.",
    ),
    (
        "strides",
        "The strides of a convolution or pool are not one positive integer for each spatial axis.",
        "Give one number for each spatial axis, or leave the attribute out.",
    ),
    (
        "tensor",
        "The data of a tensor does not fill its shape, has no known type, or lies at a place that does not exist.",
        "Write the model again. External data that was moved or cut off is the usual reason.",
    ),
    (
        "tensor-name",
        "Two tensors have one name, or one has none, so that it is not known which one a node reads.",
        "Rename one of them.",
    ),
    (
        "text",
        "A name is no text in UTF-8.",
        "Write the model again with names in UTF-8.",
    ),
    (
        "thresholds",
        "The thresholds of a MultiThreshold do not have the shape (channels or 1, steps), or are no exact numbers.",
        "Give one row for all channels, or one for each channel of X.",
    ),
    (
        "undefined",
        "A node or an output of the graph reads a tensor that nothing makes.",
        "Correct the name, or add the missing node or initializer.",
    ),
    (
        "windows",
        (
            "Attributes of windows (strides, pads, dilations) have another length than the operator needs, "
            "or negative numbers."
        ),
        "Give one number for each spatial axis; pads have two.",
    ),
    (
        "zero-point",
        "A zero point is infinite or no number, or a tensor of int32 has one that is not 0.",
        "Give a finite zero point; of int32 subtract it in front.",
    ),
    (
        "zero-point-shape",
        "A zero point has another shape than its scale.",
        "Repeat the shorter one of the two.",
    ),
)
