"""checked: arguments of public functions, held against their annotations before anything is done with them."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from anybit.errors import LimitError, UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NUMBERS: Mapping[Any, tuple[type, ...]] = {int: (Integral,), float: (Real,), bool: (bool, np.bool_)}


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes a function refuse arguments that are of another kind than their annotation says.

    Numbers of numpy count as numbers, and integers as floats; a text is no sequence of texts. Iterables that are used
    up by a look at them are not looked into.

    Raises:
        UsageError: By the function, with the name of the argument, before it does anything.

    Example:
        >>> @checked
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> double("2")
        Traceback (most recent call last):
        ...
        anybit.errors.UsageError: double: argument 'number': got '2', expected int
    """
    return checked_apart()(function)


def checked_apart(*names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """The same, apart from the parameters of these names: the function itself says more of what is wrong with them."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        return _checked(function, frozenset(names))

    return decorate


def _checked(function: Callable[_P, _R], apart: frozenset[str]) -> Callable[_P, _R]:
    signature = inspect.signature(function)

    @cache
    def hints() -> Mapping[str, Any]:
        return typing.get_type_hints(function)

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UsageError(f"arguments of {function.__name__}", got=error) from None
        for name, value in given.items():
            if name not in apart and not _fits(value, hints().get(name, Any)):
                raise UsageError(
                    f"argument '{name}'",
                    node=function.__name__,
                    got=repr(value)[:100],
                    expected=signature.parameters[name].annotation,
                )
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise LimitError("out of memory", node=function.__name__, got=error) from error

    return call


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint is None or hint is types.NoneType:
        return value is None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in arguments)
    if origin is None:
        return _is_instance(value, hint)
    if origin is collections.abc.Callable:
        return callable(value)
    if not isinstance(value, origin) or isinstance(value, str | bytes):
        return False
    if issubclass(origin, collections.abc.Mapping):
        key, item = arguments
        return all(_fits(k, key) and _fits(v, item) for k, v in value.items())
    if origin is tuple and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if isinstance(value, collections.abc.Collection) and not isinstance(value, np.ndarray):
        return all(_fits(v, arguments[0]) for v in value)
    return True


def _is_instance(value: Any, hint: Any) -> bool:
    if hint in (int, float) and isinstance(value, bool):
        return False
    return not isinstance(hint, type) or isinstance(value, _NUMBERS.get(hint, (hint,)))
