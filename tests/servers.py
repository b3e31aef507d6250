"""Live servers on loopback: the service itself, and a small web that keeps files. And what every door must refuse."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import uvicorn

from moderato.assemble import Workshop
from moderato.media.fetch import FetchOptions
from moderato.server.app import create_app
from moderato.server.desk import Desk
from moderato.settings import ServeOptions, Settings
from moderato.store.database import Database
from moderato.store.keys import Keys
from pictures import encoded, photo

MOST_BYTES = 2**20
"""Of one request to the service of a test that has no other limit."""


Lines = Callable[[], list[dict[str, Any]]]
"""What was logged so far, in JSON."""


def service(data: Path, options: ServeOptions = ServeOptions(), allow_hosts: tuple[str, ...] = ()) -> Desk:  # noqa: B008
    """The toy encoder and the demo policy, whatever the environment says; `data` is where prompts are kept."""
    settings = Settings.model_construct(data=data, fetch=FetchOptions(timeout=5, allow_hosts=allow_hosts))
    workshop = Workshop(settings)
    moderator = workshop.moderator("demo")
    with patch("huggingface_hub.constants.HF_HUB_CACHE", str(data / "hub")):  # whatever models this machine has
        return Desk(moderator, workshop.policies_here(moderator.policy), options)


@contextmanager
def listening(service: Desk) -> Iterator[httpx.Client]:
    """A client of the service, which listens on a free port until the block ends."""
    ours = socket.create_server(("127.0.0.1", 0))
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # every answer would wait 40 ms without it
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [ours]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        url = f"http://127.0.0.1:{ours.getsockname()[1]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Served:
    """A `moderato serve` of its own: where it answers, what it logs, and keys where it asks for them."""

    url: str
    log: Path
    key: str = ""
    revoked: str = ""
    used_up: str = ""


@contextmanager
def serving(data: Path, *arguments: str, with_keys: bool = False, **settings: str) -> Iterator[Served]:
    """`moderato serve` with the demo policy, these arguments and settings, as a process of its own."""
    keys = _keys(data) if with_keys else {}
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MODERATO_", "HF_"))}
    environment = {**usual, "MODERATO_DATA": str(data), "HF_HUB_CACHE": str(data / "hub"), **settings}
    command = [str(Path(sys.executable).parent / "moderato"), "serve", "--policy", "demo", "--port", "0", *arguments]
    log = data / "log"
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr, env=environment) as process:
        try:
            wait_until(lambda: process.poll() is not None or " on http://" in log.read_text())
            url = re.search(r" on (http://\S+);", log.read_text())
            assert url, log.read_text()
            yield Served(url[1], log, **keys)
        finally:
            process.terminate()


def _keys(data: Path) -> dict[str, str]:
    """A key that is good, and two that are not any more."""
    database = Database(f"sqlite:///{data / 'store.sqlite'}")
    keys = Keys(database)
    made = {name: keys.create(name, "me")[1] for name in ("key", "revoked")}
    keys.revoke("revoked", "me")
    made["used_up"] = keys.create("used_up", "me", quota=1)[1]
    database.close()
    return made


def wait_until(holds: object, seconds: float = 20) -> None:
    """Return once `holds()` is true; fail after so many seconds."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


@contextmanager
def web(files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a web server with these files, by path; 404 for all else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has `width` times `height` pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"\0")), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PNG = encoded(photo(96, 64))

BROKEN: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "empty: the file has no bytes."),
    "truncated.jpg": (
        encoded(photo(320, 240), "JPEG")[:2000],
        "truncated: the JPEG file ends before the picture does.",
    ),
    "truncated.png": (PNG[: len(PNG) // 2], "truncated: the PNG file ends before the picture does."),
    "page.jpg": (
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        "not_a_picture: the file is an HTML page, not a picture in a format known here.",
    ),
    "bomb.png": (bomb(30_000, 30_000), "too_many_pixels: the picture is far larger than any that can be decoded."),
    "large.png": (bomb(9_100, 9_100), "too_many_pixels: 9100 x 9100 pixels; the limit is 80,000,000 in all."),
    "wide.png": (bomb(60_000, 10), "too_wide: 60000 x 10 pixels; the limit for a side is 32,000."),
}
"""Files that cannot be scanned, and the one reason that is given for each."""
