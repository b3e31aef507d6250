"""An nginx of the tests' own: in the foreground, on a free port of loopback, gone afterwards."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import wait_until

DOCUMENTED = re.findall(r"```nginx\n(.*?)```", (Path(__file__).parent.parent / "docs" / "proxy.md").read_text(), re.S)[
    0
]
"""The lines that users are told to write."""


@dataclass(frozen=True)
class Proxy:
    """Where it answers, and what it writes."""

    url: str
    access_log: Path
    error_log: Path


def program() -> str | None:
    """nginx, if it is on this machine."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx(nginx_: str, folder: Path, upstream: str, *changes: tuple[str, str]) -> Iterator[Proxy]:
    """The documented lines in front of `upstream`, without TLS; `changes` are (old, new) of their text."""
    port = _free_port()
    proxy = Proxy(f"http://127.0.0.1:{port}", folder / "access.log", folder / "error.log")
    lines = DOCUMENTED
    for old, new in (*changes, ("443 ssl", f"127.0.0.1:{port}"), ("http://127.0.0.1:8000", upstream)):
        assert old in lines, old
        lines = lines.replace(old, new)
    config = configuration(folder, re.sub(r" *ssl_certificate.*\n", "", lines))
    with subprocess.Popen(command(nginx_, folder, config)) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(port))
            assert process.poll() is None, proxy.error_log.read_text()
            yield proxy
        finally:
            process.terminate()


def configuration(folder: Path, lines: str) -> Path:
    """A file with these lines in the http block, that writes into this folder and nowhere else."""
    for log in ("access_log", "error_log"):
        lines = re.sub(rf"({log}) \S+\.log", rf"\1 {folder / log.replace('_', '.')}", lines)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    owner = "" if os.getuid() else "user root;\n"  # its usual one may not read a folder of the tests
    file = folder / "nginx.conf"
    file.write_text(f"{owner}daemon off;\npid {folder}/pid;\nevents {{}}\nhttp {{\n{temporary}{lines}\n}}\n")
    return file


def command(nginx_: str, folder: Path, config: Path, *more: str) -> list[str]:
    """How it is called."""
    return [nginx_, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log"), *more]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port: int = ours.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
