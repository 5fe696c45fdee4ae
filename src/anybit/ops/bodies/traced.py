"""Bodies of operators: what they mean as a function of ONNX operators, traced when a graph first needs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    import onnxscript

DOMAIN = "anybit"
"""Domain in which bodies are traced, at version 1."""


class Body:
    """An onnxscript function that is traced when it is first asked for.

    Loading onnxscript and tracing all operators takes longer than most commands take for the rest, and few need a body.
    """

    def __init__(self, define: Callable[..., Any], helpers: tuple[Body, ...]) -> None:
        """Keeps the function that defines the body, and the bodies that it calls; nothing is traced yet."""
        self._define = define
        self._helpers = helpers
        self.__doc__ = define.__doc__

    @cached_property
    def traced(self) -> onnxscript.OnnxFunction[..., Any]:
        """The body as a function of onnxscript, traced at the first call."""
        from onnxscript import script
        from onnxscript.onnx_opset import opset21
        from onnxscript.values import Opset

        helpers = [helper.traced for helper in self._helpers]
        function = self._define(script(Opset(DOMAIN, 1), default_opset=opset21), opset21, *helpers)
        function.function_ir.doc_string = self.__doc__
        return function

    @property
    def function_ir(self) -> Any:
        """The traced graph, as `onnxscript.OnnxFunction` has it."""
        return self.traced.function_ir

    def to_function_proto(self) -> onnx.FunctionProto:
        """The function as it is stored in a model, as `onnxscript.OnnxFunction` gives it."""
        return self.traced.to_function_proto()


def traced_when_needed(*helpers: Body) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function that defines a body one.

    Args:
        *helpers: Bodies that it calls.

    Returns:
        A decorator of a function of onnxscript's decorator `script`, of `op`, the operators that the body is written
        in, and of the helpers, which returns the decorated body. It makes a `Body`, typed as what it stands for.
    """
    return lambda define: Body(define, helpers)
