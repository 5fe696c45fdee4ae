"""The rules of `anybit.repairs`: what `load` puts right without changing what the model means."""

from __future__ import annotations

from anybit.rules.rule import RuleOrigin, rules

_SAVED = "Nothing has to be done. A saved model has the repair in it."

REPAIR_RULES = rules(
    RuleOrigin.REPAIR,
    ("domain", "Operators of another domain are read as those of `qonnx.custom_op.general`.", _SAVED),
    ("name", "An operator has another name for the same meaning, such as IntQuant for Quant.", _SAVED),
    ("rounding", "A rounding mode is spelt in another way, such as HALF_EVEN for ROUND.", _SAVED),
    ("integer", "A zero point or bit width is stored in another type than float32; it was made float32.", _SAVED),
    ("dimension-name", "One name stood for dimensions of different sizes; they are read as unknown.", _SAVED),
    ("fed-initializer", "An initializer of a subgraph has the name of an input that is always fed.", _SAVED),
    ("graph-name", "The graph has no name, which onnx refuses; it is called `graph`.", _SAVED),
    (
        "initializer-inputs",
        (
            "Initializers are also listed as inputs of the graph, as exporters of IR version 3 had to do, "
            "and a caller could feed them."
        ),
        "They are read as constants. To feed them, load with `overridable=True`.",
    ),
    ("negative-dimension", "A dimension is negative, as some exporters write an unknown one.", _SAVED),
    ("order", "A node stands before the node that makes its input; the graph was sorted.", _SAVED),
    ("pad-attributes", "A Pad has the attributes of an older opset; they were written as inputs.", _SAVED),
    ("region", "A Resize has no region of interest, and reads none; an empty one was written.", _SAVED),
    ("sparse", "Sparse tensors were made dense.", _SAVED),
    ("standard-domain", "The domain `ai.onnx` is the standard one, which is written as the empty name.", _SAVED),
    ("training-info", "Information for training was dropped: it has no part in inference.", _SAVED),
    (
        "trunc-version",
        "A Trunc has the inputs of another version than the model imports; the domain is imported as that version.",
        _SAVED,
    ),
    ("undefined-type", "A tensor is stated to have the element type UNDEFINED; it is read as no statement.", _SAVED),
    ("zero-batch", "The batch is 0, as some exporters write an unknown one.", _SAVED),
    ("zero-point", "A quantiser has no zero point; it is 0.", _SAVED),
)
