"""compared_with_module: a hub model against the module that it was made of, on random and extreme inputs."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.utils import _pytree

from anybit.arrays import Array
from anybit.errors import FrontEndError
from anybit.frontends.agreement import Imported, Scatter, compared, extreme
from anybit.frontends.comparison.lockstep import Recording
from anybit.frontends.torch.capture import quietly
from anybit.frontends.torch.captured import path_of
from anybit.frontends.torch.free_axes import Tensors
from anybit.frontends.torch.recording import Traced
from anybit.runtime.compare import FLOAT_TOLERANCE

_SAMPLES = 4  # at least, with those of the example
_BEYOND = 1  # samples that are run again far beyond all ranges, and with zeros


def compared_with_module(
    traced: Traced,
    module: torch.nn.Module,
    batches: Sequence[Mapping[str, Array]],
    *,
    fixed: bool,
    tolerance: float | None,
    quiet: bool,
) -> Imported:
    """The model, if it is the module: on the example, on random inputs like it, and on extreme ones.

    The captured graph must give the module's own numbers, bit for bit; and the model what the captured graph gives, see
    `anybit.frontends.comparison.lockstep`.

    Args:
        traced: The model.
        module: Its source.
        batches: What both are fed, by the model's names, the arguments in order.
        fixed: Whether samples cannot be run one by one.
        tolerance: As `from_torch` has it.
        quiet: Likewise.

    Raises:
        FrontEndError: One of them departs.
    """
    drawing = [path_of(node) for node in traced.captured.module.graph.nodes if _draws(node)]
    if drawing:  # where it leaves out little, it may give the same numbers many times
        raise _random(drawing)
    framework = _Module(module, traced, 0.0 if tolerance is None else tolerance)
    scatter = framework.scatter(batches[0], fixed=fixed)
    return compared(traced.model, framework, batches, tolerance=tolerance, scatter=scatter, quiet=quiet)


@dataclass(frozen=True)
class _Module:
    """Runs a module on arrays, in the order of its arguments."""

    module: torch.nn.Module
    traced: Traced
    tolerance: float

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[Recording, list[Array]]:
        inputs = _tensors(feeds)
        recording, results = self.traced.record(inputs)
        wanted = self._run(self.module, inputs)
        given = [_array(r, index) for index, r in enumerate(results)]
        if len(given) != len(wanted) or not all(map(self._same, given, wanted)):
            self._refuse(inputs, given, wanted)
        return recording, wanted

    def _same(self, a: Array, b: Array) -> bool:
        if a.shape != b.shape or np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return a.shape == b.shape
        return _departing(a, b, max(self.tolerance, FLOAT_TOLERANCE)) == 0

    def _refuse(self, inputs: Sequence[torch.Tensor], given: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Names the first module that gives what nothing in the captured graph is, or other numbers each time."""
        first, second = self._digests(inputs), self._digests(inputs)
        random = [path for path, digest in first.items() if second.get(path) != digest]
        if random:
            raise _random(random)
        known: set[bytes] = set()
        self.traced.visit(inputs, lambda t: known.add(_digest(t)))
        unknown = [path for path, digest in first.items() if digest not in known]
        counts = [_departing(a, b, FLOAT_TOLERANCE) for a, b in zip(given, wanted, strict=False) if a.shape == b.shape]
        raise FrontEndError(
            "the captured graph departs from the module",
            node=_named(unknown),
            got=f"{sum(counts):,} of {sum(w.size for w in wanted):,} elements of the outputs",
            expected="the module's own numbers",
            hint="freeze what changes from run to run; see that its quantisers do not observe",
        )

    def _digests(self, inputs: Sequence[torch.Tensor]) -> dict[str, bytes]:
        """What stands for the first tensor that each module gives, by its path, in the order in which they end."""
        found: dict[str, bytes] = {}

        def leave(path: str) -> Callable[[Any, Any, Any], None]:
            def hook(module: Any, inputs: Any, result: Any) -> None:
                del module, inputs
                tensor = next((t for t in _pytree.tree_leaves(result) if isinstance(t, torch.Tensor)), None)
                if tensor is not None:
                    found.setdefault(path, _digest(tensor))

            return hook

        hooks = [child.register_forward_hook(leave(path)) for path, child in self.module.named_modules()]
        try:
            self._run(self.module, inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def scatter(self, feeds: Mapping[str, Array], *, fixed: bool) -> Scatter | None:
        """How far the module departs from itself."""
        inputs = _tensors(feeds)
        wanted = self._run(self.module, inputs)
        elements = sum(a.size for a in wanted)
        alone = None if fixed else self._one_by_one(inputs, wanted)
        return Scatter(elements, alone, self._float64(inputs, wanted))

    def _one_by_one(self, inputs: Sequence[torch.Tensor], wanted: Sequence[Array]) -> int | None:
        pieces = [self._run(self.module, [t[i : i + 1] for t in inputs]) for i in range(len(inputs[0]))]
        joined = [np.concatenate(column) for column in zip(*pieces, strict=True) if column[0].ndim]
        if [a.shape for a in joined] != [a.shape for a in wanted]:
            return None
        return sum(_departing(a, b, FLOAT_TOLERANCE) for a, b in zip(joined, wanted, strict=True))

    def _float64(self, inputs: Sequence[torch.Tensor], wanted: Sequence[Array]) -> int | None:
        wide = [t.double() if t.is_floating_point() else t for t in inputs]
        try:
            with redirect_stderr(io.StringIO()):  # where torch.fx prints what fails, too
                given = self._run(copy.deepcopy(self.module).double(), wide)
        except (RuntimeError, TypeError, AssertionError, FrontEndError):  # it fixes float32 somewhere
            return None
        return sum(_departing(a, b, FLOAT_TOLERANCE) for a, b in zip(given, wanted, strict=True))

    def _run(self, module: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> list[Array]:
        with torch.no_grad(), quietly():
            leaves: list[Any] = _pytree.tree_leaves(module(*(t.clone() for t in tensors)))
        return [_array(leaf, index) for index, leaf in enumerate(leaves)]


def _array(leaf: Any, index: int) -> Array:
    if not isinstance(leaf, torch.Tensor):
        raise FrontEndError(
            "a result is no tensor", node=f"output {index}", got=type(leaf).__name__, expected="a tensor"
        )
    return leaf.detach().cpu().numpy()


_DRAWING = (
    "bernoulli",
    "exponential",
    "multinomial",
    "normal",
    "rand",
    "uniform",
)  # what names of operators begin with


def _draws(node: fx.Node) -> bool:
    """Whether a node of a captured graph is an operator of torch that draws random numbers."""
    name = str(node.target).removeprefix("aten.")
    return node.op == "call_function" and name != str(node.target) and name.startswith(_DRAWING)


def _random(paths: Sequence[str]) -> FrontEndError:
    return FrontEndError(
        "the module gives other numbers each time that it runs",
        node=_named(paths),
        expected="the same numbers for the same inputs",
        hint="switch off what draws random numbers, such as dropout or stochastic depth traced while training",
    )


def _named(paths: Sequence[str]) -> str:
    """The first of these modules, the outermost only where there is no other."""
    return f"module '{next((p for p in paths if p), '(root)')}'"


def _departing(a: Array, b: Array, tolerance: float) -> int:
    """How many elements differ by more than this share of the largest magnitude."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        gap = np.where(same, 0.0, np.abs(left - right))
    size = np.abs(right[np.isfinite(right)]).max(initial=0.0)
    return int((~(gap <= tolerance * size)).sum())


def _digest(tensor: torch.Tensor) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes()).digest()


def _tensors(feeds: Mapping[str, Array]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(a)) for a in feeds.values()]


def samples(names: Sequence[str], inputs: Tensors, *, fixed: bool, seed: int = 0) -> list[dict[str, Array]]:
    """The example with random samples behind it, normal like its floats, drawn from its other elements; extremes."""
    generator = np.random.default_rng(seed)
    arrays = {name: t.detach().cpu().numpy() for name, t in zip(names, inputs, strict=True)}
    if any(a.ndim == 0 or len(a) == 0 for a in arrays.values()):
        return [arrays]
    size = len(inputs[0])
    if fixed:
        like = {name: _like(a, generator) for name, a in arrays.items()}
        both = extreme(arrays)
        return [arrays, like, *({n: a[k * size : (k + 1) * size] for n, a in both.items()} for k in (1, 2))]
    missing = max(_SAMPLES - size, 1)
    like = {name: np.concatenate([_like(a, generator)] * -(-missing // size))[:missing] for name, a in arrays.items()}
    normal = {name: np.concatenate([a[:_SAMPLES], like[name]]) for name, a in arrays.items()}
    far = {name: a[_BEYOND:] for name, a in extreme({n: a[:_BEYOND] for n, a in normal.items()}).items()}
    return [normal, far]


def _like(array: Array, generator: np.random.Generator) -> Array:
    if array.dtype.kind != "f":
        return generator.choice(array.reshape(-1), array.shape)
    spread = float(array.std()) or 1.0
    return (array.mean() + spread * generator.standard_normal(array.shape)).astype(array.dtype)
