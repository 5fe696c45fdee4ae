"""failure: what went wrong in a module, or while torch looked into it, with a hint that fits the cause."""

from __future__ import annotations

import re

from anybit.errors import FrontEndError

_LONGEST = 300  # characters of torch's own message

_CAUSES = {
    r"Cache\b|past_key_values": "call the module with use_cache=False, or give and return keys and values as tensors",
    r"(?i)vmap|batching rule|batched ?tensor": "write the module for a whole batch, without torch.vmap",
    r"higher_order\.(cond|map|while_loop|scan)|FunctionalTensorMode": (
        "quantise in front of torch.cond and behind it, or compute both branches and choose by torch.where"
    ),
    r"Constraints violated|specialized|marked .* as dynamic": (
        "the module fixes what was to be free: export with dynamic_batch=False, or leave it out of dynamic_shapes"
    ),
    r"was assigned during export|mutat": "register what forward changes as a buffer, or let it not change it",
    r"\.numpy\(\)|numpy|data pointer|data_ptr": "use torch's operators, which can be captured, in the place of numpy's",
    r"(?i)data.?dependent|guard on|_local_scalar_dense|nonzero|cond\b": (
        "replace what depends on the values of tensors by torch.where or torch.cond"
    ),
    r"(?i)sizes? of tensor|shape|size mismatch|dimension|out of (range|bounds)": "see that the example fits the module",
}
"""Hints by what torch's message says; the first that fits."""


def failure(problem: str, error: Exception, *, path: str | None = None) -> FrontEndError:
    """The error of the module at this path; None where it is not known."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return FrontEndError(
        problem,
        node="" if path is None else f"module '{path.removesuffix('.export_handler') or '(root)'}'",
        got=text[:_LONGEST],
        hint=next((hint for pattern, hint in _CAUSES.items() if re.search(pattern, text)), ""),
    )
