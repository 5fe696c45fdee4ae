"""refuse_observers: quantisers that pass on what they read, because they observe or wait, are named with the cure."""

from __future__ import annotations

import torch

from anybit.errors import FrontEndError

_MOST = 3  # modules that a message names


def refuse_observers(module: torch.nn.Module) -> None:
    """Refuses modules whose quantisers do not quantise yet.

    Raises:
        FrontEndError: One of them only observes, or waits for more steps; the message names it.
    """
    observing: list[str] = []
    for path, child in module.named_modules():
        if getattr(child, "observer_only", False):
            observing.append(path)
    if observing:
        raise FrontEndError(
            "a quantiser only observes, and passes on what it reads",
            node=_named(observing),
            got="observer_only = True",
            expected="False",
            hint="calibration_mode leaves it on where quantisers share a tensor_quant: after the calibration, "
            "`for m in model.modules(): if hasattr(m, 'observer_only'): m.observer_only = False`",
        )
    for path, child in module.named_modules():
        steps = getattr(child, "quant_delay_steps", 0)
        if isinstance(steps, int) and steps > 0:
            raise FrontEndError(
                "a quantiser waits, and passes on what it reads",
                node=_named([path]),
                got=f"quant_delay_steps = {steps}",
                expected="0",
                hint="run the module so many times more, or set quant_delay_steps = 0 on this module",
            )


def _named(paths: list[str]) -> str:
    listed = ", ".join(f"'{p}'" for p in paths[:_MOST])
    return f"module {listed}" if len(paths) <= _MOST else f"module {listed} and {len(paths) - _MOST} more"
