"""A server on loopback that serves files well or badly, and cards of them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from anybit.zoo.card import Card, DataSet, File, Quantization, Role, Source


@dataclass
class Server:
    """What it serves, how, and what it was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    lengths: bool = True
    breaks_after: int | None = None
    breaks: int = 1
    sent: list[tuple[str, int]] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def serving() -> Generator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = state.files.get(self.path.lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self._ranged() else 0
            state.sent.append((self.path.lstrip("/"), start))
            if start >= len(data) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if state.lengths:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = len(data)
            if state.breaks_after is not None and state.breaks > 0:
                state.breaks -= 1
                end = min(end, start + state.breaks_after)
            self.wfile.write(data[start:end])

        def _ranged(self) -> bool:
            return state.ranges and "Range" in self.headers

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_of(data: bytes, *urls: str, name: str = "model.onnx", pinned: bool = True, sized: bool = True) -> File:
    return File(
        name=name,
        role=Role.MODEL,
        urls=urls,
        sha256=sha256(data) if pinned else None,
        size=len(data) if sized and pinned else None,
    )


def card_of(*files: File, name: str = "net", **others: Any) -> Card:
    given: dict[str, Any] = {
        "name": name,
        "task": "image classification",
        "data_set": DataSet(name="digits"),
        "source": Source(name="a test"),
        "licence": "Apache-2.0",
        "input": "floats",
        "framework": "none",
        "quantization": Quantization(weights="INT2", activations="UINT2"),
        "files": files,
    }
    return Card(**given | others)


def write_catalogue(folder: Path, *cards: Card) -> Path:
    from anybit.zoo.catalogue import encoded

    path = folder / "catalogue.json"
    path.write_bytes(encoded(cards))
    return path
