"""The rules of the other analyses, and of the errors that functions raise."""

from __future__ import annotations

from anybit.rules.rule import RuleOrigin, rules

OTHER_RULES = (
    *rules(
        RuleOrigin.COST,
        (
            "cost",
            (
                "A figure of a node is not known, because a shape is free or its operator has no count, or the "
                "figures are of one sample of a batch."
            ),
            "State the shape of the inputs: `anybit clean --input-shape`.",
        ),
    ),
    *rules(
        RuleOrigin.REPORT,
        (
            "range",
            "The analysis of values did not follow a node: its output has the widest bounds.",
            "The finding says why. Operators of your own can bring a rule: the `bounds` of their record.",
        ),
    ),
)

ERROR_RULES = rules(
    RuleOrigin.ERROR,
    (
        "AnybitError",
        (
            "The root of all errors that anybit raises on purpose; the command line prints it as one line, "
            "with exit code 2."
        ),
        "Catch it to catch all of them; `error.diagnosis` has node, got, expected and hint.",
    ),
    (
        "FrontEndError",
        "A module, layer or quantiser cannot be converted, or its conversion gives other numbers.",
        "The text names the module by its path, and what to do.",
    ),
    (
        "InputError",
        "Data fed to a model do not fit its inputs, or a name is none of the model's.",
        "`anybit info` lists inputs with shapes and types.",
    ),
    (
        "InvalidModelError",
        "A model was read but cannot be given a meaning.",
        "`anybit check` lists all that is wrong with it at once.",
    ),
    (
        "LimitError",
        "A model asks for more memory, or for more steps of a loop, than the limits allow.",
        "Raise the limit with `anybit.limits`, or the environment variable ANYBIT_MEMORY, if you trust the model.",
    ),
    (
        "ModelFileError",
        "A file, or bytes, cannot be read as an ONNX model, or a place cannot be written.",
        "Look whether the file is whole, and whether its external data lie beside it.",
    ),
    (
        "UnknownTensorError",
        "A tensor that the model does not have is asked for by name. It is a KeyError, too.",
        "`anybit types` lists the names of all tensors.",
    ),
    (
        "UnsupportedError",
        "An operator, version or engine is none that this installation can run.",
        "Register the operator, upgrade onnx or onnxruntime, or install the extra that the text names.",
    ),
    (
        "UsageError",
        "An argument or option makes no sense, such as an unknown rounding mode.",
        "The text says what is expected.",
    ),
)
