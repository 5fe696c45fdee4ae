"""The rules of `anybit.prepare_finn` and `anybit.prepare_hls4ml`: what stands in the way of the tool."""

from __future__ import annotations

from anybit.rules.rule import RuleOrigin, rules

FINN_RULES = rules(
    RuleOrigin.FINN,
    (
        "add-formats",
        "An Add joins two branches of integers of different formats; FINN streams one format.",
        "Give both quantisers one bit width and one signedness: `anybit quantize --target finn` does.",
    ),
    (
        "bias",
        "The bias of a layer is made by a quantiser, which FINN's conversion of QONNX does not take.",
        "Hand over the dialect (the default form), in which the bias is in the thresholds.",
    ),
    (
        "bipolar-only",
        "The only quantiser is BipolarQuant, and FINN's builder looks for Quant nodes before it converts a model.",
        "Hand over the dialect (the default form), or call FINN's conversion by hand.",
    ),
    (
        "bipolar-padding",
        "A convolution pads numbers that are -1 or 1 with 0, for which one bit has no code.",
        "Quantise its input to two bits, or let it pad nothing.",
    ),
    (
        "comparison",
        "The prepared model gives other outputs than its source: nothing is written.",
        "Please report it with the model: this should not happen. The finding names the output.",
    ),
    (
        "concat-axis",
        "A Concat joins integers along another axis than the channels; FINN streams channels.",
        "Join channels, or do it on the host.",
    ),
    (
        "concat-formats",
        (
            "A Concat joins integers of different formats, or sums, whose formats FINN minimises one by one in the "
            "end; it streams one format."
        ),
        "Quantise what is joined, and give all quantisers one bit width and one signedness.",
    ),
    (
        "constant",
        "Arithmetic behind a product has a constant of another shape than one number, or one for each channel.",
        "Give it one number for each channel, or hand over the dialect.",
    ),
    (
        "default",
        "An input has a default value, of which FINN makes a constant.",
        "Make it a constant with the pass fix-defaults, or an input without a default.",
    ),
    (
        "dynamic-shape",
        "The shape of an input is not known; hardware is built for one shape.",
        "Set it with `anybit clean --input-shape x=1,3,32,32`.",
    ),
    (
        "flatten",
        "A quantiser stands behind a reshape of an image, where FINN does not find its layer.",
        "Put the quantiser in front of the reshape.",
    ),
    (
        "fork",
        "Several layers read one tensor, and FINN's default steps have no layer that copies a stream.",
        "Hand over the dialect (the default form), whose build.py has the steps for what it takes.",
    ),
    (
        "format",
        "A layer has no form of integer products and thresholds; the finding says what is in the way.",
        "Quantise the input and the weights of the layer, and use functions that rise or fall behind it.",
    ),
    (
        "group",
        (
            "A convolution has groups, but is not depthwise; or, in FINN's own reading of QONNX, it is, as one of one "
            "channel to one is, too."
        ),
        "Use one group, or hand over the dialect (the default form), which takes one for each channel.",
    ),
    (
        "join",
        "A layer reads two computed tensors, as a residual does, which FINN's default steps make no hardware of.",
        "Hand over the dialect (the default form), whose build.py has the steps for what it takes.",
    ),
    (
        "kernel",
        "A kernel is larger than an image of one row or column, which it sees with padding around it.",
        "Crop the kernel to what it sees, as the dialect (the default form) does, or pad nothing along that axis.",
    ),
    (
        "layout",
        "A Transpose between integer layers, or at the end, is none between channels first and channels last.",
        "Leave the order of the axes to the host.",
    ),
    (
        "levels",
        "Arithmetic or a quantiser stands on levels with no product in front of it, where FINN's steps do not move it.",
        "Hand over the dialect (the default form), whose build.py has the steps for what it takes.",
    ),
    (
        "negative",
        (
            "Arithmetic behind a product falls where its sums rise, and the format of the weights does not hold their "
            "negatives (as 4 bits hold no 8), so that FINN's own steps leave the factor -1 in between."
        ),
        "Quantise the weights to a narrow range, or hand over the dialect, which has signs in the weights.",
    ),
    (
        "no-form",
        "FINN has no form of the operator.",
        "Cut it off with `--logits` where it stands at the end, and apply it on the host.",
    ),
    (
        "no-hardware",
        "There is no layer of integers: nothing would be built.",
        "Quantise the weights and the inputs: `anybit info` shows what is quantised.",
    ),
    (
        "not-integer",
        "A part of the model stays in real numbers, and runs on the host. It is a warning.",
        "Quantise its input if it is meant to be hardware.",
    ),
    (
        "one-bit",
        "An activation has a signed quantiser of one bit, of which FINN makes other numbers.",
        "Use BipolarQuant.",
    ),
    (
        "operand",
        "An operand of a layer is not made by a quantiser.",
        "Quantise it, or hand over the dialect.",
    ),
    (
        "opset",
        "The model is older than opset 11, and cannot be brought to it.",
        "Export it at opset 13 or later.",
    ),
    (
        "pads",
        "A kernel of one pixel has padding, which FINN's lowering of convolutions drops.",
        "Pad nothing there, or hand over the dialect (the default form), which writes a second pixel of zeros.",
    ),
    (
        "parameters",
        "The scale, zero point or bit width of a quantiser is not constant, or is none that can be read.",
        "Export the model in evaluation mode, so that they are constants.",
    ),
    (
        "pool",
        (
            "FINN has no layer for the windows or the padding of a MaxPool; its default steps take none that overlap, "
            "nor one of what is not quantised."
        ),
        "Pad unsigned numbers alike on both sides, without dilations; hand over the dialect (the default form).",
    ),
    (
        "pool-stride",
        "The windows of a MaxPool leave gaps.",
        "Make strides at most as large as the kernel.",
    ),
    (
        "quantiser",
        (
            "A quantiser cannot become thresholds: it does not stand between integer layers, or a function "
            "in front of it neither rises nor falls."
        ),
        "Quantise in front of and behind integer layers only, by functions that rise or fall.",
    ),
    (
        "rank",
        "A convolution is not one of images, or a product or quantiser has other than two or four axes.",
        "Apply the pass conv-1d-to-2d; flatten what is not an image.",
    ),
    (
        "real-between",
        "A node of real numbers stands between two integer layers, where hardware has no place for it.",
        "Quantise what it computes, so that thresholds can stand for it.",
    ),
    (
        "real-input",
        "A layer reads real numbers, and runs on the host. It is a warning.",
        "State the integer format of the model's input (`--input-type`), if it has one.",
    ),
    (
        "relu",
        "A quantiser behind a Relu is signed or narrow, which FINN's conversion of QONNX refuses.",
        "Make it unsigned and not narrow, or hand over the dialect.",
    ),
    (
        "reshape",
        "A reshape gives something else than a matrix of one row an image.",
        "Flatten each image, or hand over the dialect (the default form).",
    ),
    (
        "resize",
        "A Resize does something else than FINN's layer, which repeats the pixels of a square image, or of one column.",
        "Enlarge by a whole number, the same for both axes, and take the nearest pixel.",
    ),
    (
        "rounding",
        "FINN rounds to nearest, whatever the mode says.",
        "Train with ROUND, or hand over the dialect, whose thresholds have any mode in them.",
    ),
    (
        "scale",
        "The scale of an activation is no single number.",
        "Use one scale for the tensor, or hand over the dialect.",
    ),
    (
        "signed",
        "A quantiser that is not behind a Relu is unsigned, which FINN's conversion of QONNX refuses.",
        "Make it signed, or hand over the dialect.",
    ),
    (
        "ties",
        (
            "A sum can lie half-way between two levels, where float32 and the tool's integers round to different ones. "
            "It is a warning: the count says how many sums do. In FINN's own reading of QONNX numbers "
            "half-way go up, at any scale."
        ),
        "Use scales that are powers of two, which are exact in the dialect.",
    ),
    (
        "weight-scale",
        "The scales of the weights of a layer vary within an output channel.",
        "Use one scale, or one for each output channel.",
    ),
    (
        "width",
        "An activation has more than 8 bits, and so more thresholds than FINN takes.",
        "Quantise it to 8 bits or fewer.",
    ),
    (
        "windows",
        (
            "A pool or a Flatten stands between products where all convolutions are of one pixel, which FINN leaves on "
            "the host."
        ),
        "Hand over the dialect (the default form).",
    ),
    (
        "zero-point",
        "A zero point is not 0.",
        "Train with symmetric quantisers, or hand over the dialect.",
    ),
    (
        "zero-weights",
        "All weights of a product are 0, and FINN has no accumulator for it.",
        "Take the layer out of the network.",
    ),
)

HLS4ML_RULES = rules(
    RuleOrigin.HLS4ML,
    (
        "batch",
        "The batch cannot be made one sample, as hls4ml needs it; the finding says which node is in the way.",
        "Export the model for a batch of one.",
    ),
    (
        "bit-width",
        "A bit width is above what hls4ml gives a number.",
        "Use fewer bits.",
    ),
    (
        "comparison",
        "The prepared model gives other outputs than its source: nothing is written.",
        "Please report it with the model: this should not happen. The finding names the output.",
    ),
    (
        "concat",
        "Something other than two computed tensors is joined, or not along the last axis.",
        "Join two at a time, along the channels with channels last.",
    ),
    (
        "constant",
        "A constant is not finite, does not fit the tensor that it meets, or is a quantised one that is no weights.",
        "Fold it into a layer (`anybit clean`, pass fold-batch-norm), or correct its shape.",
    ),
    (
        "dilation",
        "A convolution has dilations.",
        "Write the zeros into the kernel: hls4ml has no dilated convolution.",
    ),
    (
        "float-weights",
        "Weights have no quantiser, so that hls4ml rounds them to its default precision. It is a warning.",
        "Quantise them, so that their format is part of the model.",
    ),
    (
        "groups",
        "A convolution has groups, but is not depthwise.",
        "Use one group, or one for each channel.",
    ),
    (
        "inputs",
        "The model has not exactly one input.",
        "Cut it with `anybit.surgery.extract_submodel`, or join the inputs.",
    ),
    (
        "layout",
        "A convolution, pool or transpose is not of images with channels last.",
        "`anybit prepare hls4ml` brings most nets into this layout; what is left is named.",
    ),
    (
        "narrow",
        "An unsigned range gives up its largest integer, which hls4ml's types do not.",
        "Use the whole range.",
    ),
    (
        "operator",
        "hls4ml does not have the operator.",
        "Cut the model there (`anybit.surgery.extract_submodel`); `--logits` leaves a Softmax at the end out.",
    ),
    (
        "output",
        "An output is an input, a quantised input or a constant: no layer makes it.",
        "Remove the output, or let a layer compute it.",
    ),
    (
        "pool",
        "The window of a pool has dilations or ceil mode, or an average counts a varying number of elements.",
        "Let windows lie inside of the tensor, or count the padding.",
    ),
    (
        "precision",
        "The model needs more bits than hls4ml gives an input.",
        "Bring constants and scales closer together, or state the ranges of the inputs.",
    ),
    (
        "quantizer",
        "The scale, zero point or bit width of a quantiser is not constant, or is none that can be read.",
        "Export the model in evaluation mode, so that they are constants.",
    ),
    (
        "rounding",
        "A quantiser rounds by a mode that hls4ml does not have.",
        "Use ROUND or FLOOR.",
    ),
    (
        "scale",
        "A scale is no single power of two, a zero point is not 0, or a bipolar grid has a scale other than 1.",
        "Train with power-of-two scales, or quantise with `anybit quantize --target hls4ml`.",
    ),
    (
        "shape",
        "A shape or type is not what hls4ml takes: float32, static, and one sample.",
        "Set shapes with `anybit clean --input-shape`; the finding names the tensor.",
    ),
    (
        "size",
        "The net is larger than any whose emulation was compared in this io type. It is a warning.",
        "Compare what it makes before you rely on it; io_stream needs less memory of g++ than io_parallel.",
    ),
    (
        "slope",
        "The slope of a LeakyRelu needs more bits than hls4ml gives it.",
        "Use a slope with few bits: the finding names one near it.",
    ),
    (
        "stream",
        (
            "In io_stream hls4ml pads no pools, takes windows that lie side by side, copies a stream for seven readers "
            "at most, and is wrong for kernels of one row that skip rows, or depthwise ones of one pixel that skip any."
        ),
        "Ask for io_parallel: `--io-type parallel`.",
    ),
    (
        "table",
        "hls4ml approximates the function by a table, whose error is large.",
        "Cut the function off with `--logits`, or replace it by one that is exact.",
    ),
    (
        "ties",
        (
            "A number can lie half-way between two levels, before a quantiser behind a factor that is no short binary "
            "fraction, which hls4ml rounds. Where sums of integers lie there, and the model has one level for each, "
            "the factor is replaced by one with the same levels. An error where it has none, as float32 rounds the "
            "summands themselves (scales such as 0.3 in front of 0.2); a warning where an input may lie there, or "
            "sums come as near by chance."
        ),
        "Use scales that are powers of two, which are exact, or whose ratio is no simple fraction.",
    ),
    (
        "weights",
        "The operands of a product stand in another order than data first, constant weights second.",
        "Transpose the product.",
    ),
    (
        "window",
        "The window of a convolution is not written out, or the convolution has a bias of its own.",
        "Write kernel_shape, strides and pads; the pass extract-conv-bias takes the bias out.",
    ),
    (
        "zero-levels",
        "A quantiser makes 0 of all that comes to it, less than half of its step; hls4ml's emulation stops there.",
        "Take the layer out of the network, or give the quantiser a smaller scale.",
    ),
    (
        "zero-weights",
        "All weights of a product are 0, and hls4ml makes no sum of none.",
        "Take the layer out of the network.",
    ),
)
