"""connected: Ray, with the cluster at an address."""

from __future__ import annotations

import socket
from importlib import import_module
from typing import Any

from anybit.errors import UnsupportedError

_SECONDS = 10  # to wait for an answer


def connected(address: str, *, parts: tuple[str, ...] = ()) -> Any:
    """The package `ray`, connected with a cluster; a connection that there is stays.

    Args:
        address: Where the cluster answers, "auto" for the one of this machine.
        parts: Modules of it that must be installed as well.

    Raises:
        UnsupportedError: Ray is not installed, or no cluster answers.
    """
    try:
        ray = import_module("ray")
        for name in parts:
            import_module(name)
    except ImportError as error:
        raise UnsupportedError("a package is missing", got=str(error.name), hint="pip install 'anybit[ray]'") from error
    if ray.is_initialized():
        return ray
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())[:300]
        raise UnsupportedError("no Ray cluster answers", node=address, got=text) from error
    return ray
