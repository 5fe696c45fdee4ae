"""Rules of the attributes that convolutions and pools share: kernel_shape, strides, dilations, pads, auto_pad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anybit.errors import Finding
from anybit.ops.standard.checks.call import Shape, StandardCall

_MODES = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def check_windows(call: StandardCall, axes: int | None) -> Iterator[Finding]:
    """One positive number for each spatial axis, two pads that are not negative, a known automatic mode.

    Args:
        call: The call.
        axes: Number of spatial axes, None where it is not known.
    """
    for name in ("kernel_shape", "strides", "dilations"):
        yield from check_lengths(call, name, axes, least=1)
    yield from check_lengths(call, "pads", None if axes is None else 2 * axes, least=0)
    mode = call.text("auto_pad")
    if mode and mode not in _MODES:
        yield call.finding("attribute", "attribute 'auto_pad'", got=repr(mode), expected=", ".join(_MODES))


def check_lengths(call: StandardCall, name: str, length: int | None, *, least: int) -> Iterator[Finding]:
    """A list of so many integers from `least` up; an empty one stands for the default."""
    values, rule = call.integers(name), name.replace("_", "-")
    if values and length is not None and len(values) != length:
        yield call.finding(
            rule,
            f"length of attribute '{name}'",
            got=len(values),
            expected=str(length),
            hint=f"the tensor has {length // 2 if name == 'pads' else length} spatial axes",
        )
    if values and min(values) < least:
        expected = "positive numbers" if least else "numbers from 0 up"
        yield call.finding(rule, f"attribute '{name}'", got=list(values), expected=expected)


def check_one_padding(call: StandardCall, *, zeros_too: bool) -> Iterator[Finding]:
    """`pads` and `auto_pad` are not used together; where zeros are harmless, they are let pass."""
    mode, pads = call.text("auto_pad"), call.integers("pads")
    if mode in _MODES[1:] and (any(pads) or (pads and zeros_too)):
        yield call.finding(
            "pads", f"attribute 'pads' beside auto_pad {mode}", got=list(pads), expected="one of the two"
        )


def check_extent(call: StandardCall, spatial: Shape, kernel: Sequence[int | None]) -> Iterator[Finding]:
    """The dilated kernel is not larger than the padded input: no window would be inside."""
    if call.text("auto_pad") in ("SAME_UPPER", "SAME_LOWER") or len(kernel) != len(spatial):
        return
    axes = len(spatial)
    pads = call.integers("pads") if call.text("auto_pad") != "VALID" else ()
    dilations = call.integers("dilations")
    for axis, (size, taps) in enumerate(zip(spatial, kernel, strict=True)):
        if size is None or taps is None or not size or taps < 1:
            continue
        padded = size + (pads[axis] + pads[axis + axes] if len(pads) == 2 * axes else 0)
        extent = (taps - 1) * (dilations[axis] if len(dilations) == axes else 1) + 1
        if extent > padded:
            yield call.finding(
                "kernel-shape",
                f"extent of the kernel along spatial axis {axis}",
                got=extent,
                expected=f"at most the padded input, {padded}",
            )
