"""Decisions: what Brevitas' code asks of numbers while it runs, noted in one run and answered alike while it is traced.

QuantTensors carry their scale, zero point and bit width along, and Brevitas branches on them: whether two scales are
equal, whether a zero point is 0, whether key, query and value are one tensor. While a module is traced there are no
numbers to ask. They are constants of a calibrated module, so that a run on the example gives the answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from brevitas.quant_tensor import QuantTensor
from torch.overrides import TorchFunctionMode

from anybit.errors import FrontEndError

_TENSOR: Any = torch.Tensor
_QUESTIONS = frozenset((_TENSOR.__bool__, _TENSOR.item, _TENSOR.data_ptr, torch.allclose))
"""What makes numbers of tensors, of the functions that Brevitas calls."""


class Decisions:
    """The answers to the questions of one run of a module, in their order.

    Only those that Brevitas' own modules ask are noted: what the code around them makes of the values of tensors may
    depend on the inputs, and is left to torch.export, which refuses it.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._answers: list[tuple[Any, Any]] = []

    def note(self, *inputs: Any) -> None:
        """Runs the module, and notes what it asks."""
        self._answers.clear()
        with torch.no_grad(), _Noting(self._answers):
            self._module(*inputs)

    @contextmanager
    def given(self) -> Generator[None]:
        """Answers, for as long as it lasts, what each run of the module asks as in the run that was noted."""
        answering = _Answering(self._answers)
        hook = self._module.register_forward_pre_hook(answering.begin)
        try:
            with answering:
                yield
        finally:
            hook.remove()


@contextmanager
def noted_or_given(answers: list[tuple[Any, Any]]) -> Generator[None]:
    """Notes what the code inside asks where it runs, and answers it alike where torch.export traces it.

    What a step of a loop asks belongs to the step: it is traced once, however often it runs.
    """
    if torch.compiler.is_exporting():
        with _Answering(answers):
            yield
        return
    answers.clear()
    with _Noting(answers):
        yield


class _Noting(TorchFunctionMode):
    def __init__(self, answers: list[tuple[Any, Any]]) -> None:
        super().__init__()
        self._answers = answers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = _done(self, func, types, args, kwargs or {})
        if func in _QUESTIONS and _asked_by_brevitas():
            self._answers.append((func, answer))
        return answer


class _Answering(TorchFunctionMode):
    def __init__(self, answers: list[tuple[Any, Any]]) -> None:
        super().__init__()
        self._answers = answers
        self._next = 0

    def begin(self, *_: Any) -> None:
        """A hook before each run of the module: it may be traced more than once."""
        self._next = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _QUESTIONS or not _asked_by_brevitas():
            return _done(self, func, types, args, kwargs or {})
        if self._next >= len(self._answers) or self._answers[self._next][0] is not func:
            raise FrontEndError(
                "the module takes another way when it is traced than when it runs",
                got=f"{func.__name__} in Brevitas' code",
                hint="let its forward not depend on what ran before",
            )
        self._next += 1
        return self._answers[self._next - 1][1]


def _done(mode: TorchFunctionMode, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """The function's result. What QuantTensors do in its place is listened to as well; torch alone would not."""
    for kind in types:
        if issubclass(kind, QuantTensor):
            with mode:
                handler: Any = kind
                return handler.__torch_function__(func, types, args, kwargs)
    return func(*args, **kwargs)


def _asked_by_brevitas() -> bool:
    """Whether the innermost code outside of torch and of this module is Brevitas'."""
    frame: Any = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and not name.startswith(("torch.", "contextlib")) and name != "torch":
            return name == "brevitas" or name.startswith("brevitas.")
        frame = frame.f_back
    return False
