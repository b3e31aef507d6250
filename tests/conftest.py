"""What every test gets: no network but loopback, no environment of the machine's, its own data folder.

And for those that ask: `run`, the command line; `desk`, `client` and `site`, a service of one module's tests, a plain
client of it, and the web that it may fetch from; `lines`, what is logged.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pytest_socket import socket_allow_hosts

sys.path.insert(0, str(Path(__file__).parent))  # pictures.py and its like

from commands import Ended, Run
from moderato.cli import main
from moderato.server import logs
from moderato.server.desk import Desk
from moderato.settings import ServeOptions
from pictures import KNIFE
from servers import BROKEN, MOST_BYTES, Lines, listening, service, web


@pytest.fixture(autouse=True)
def loopback_only() -> None:
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("MODERATO_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODERATO_DATA", str(tmp_path / "data"))


@pytest.fixture
def logging_anew() -> Iterator[None]:
    """`set_up` changes the logging of the whole process."""
    root, ours = logging.getLogger(), logging.getLogger("moderato")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def lines(logging_anew: None, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The JSON lines so far."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.set_up("auto")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`moderato` with these arguments, in this process and on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def called(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["moderato", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return called


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The demo policy, for requests of at most `MOST_BYTES`, fetching from this machine too."""
    return service(tmp_path_factory.mktemp("data"), ServeOptions(max_body=MOST_BYTES), allow_hosts=("127.0.0.1",))


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[httpx.Client]:
    """A plain client of the `desk`, which listens until the module's tests have run."""
    with listening(desk) as client:
        yield client


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of a web with a picture, and a page that is called one."""
    with web({"/knife.png": KNIFE, "/page.jpg": BROKEN["page.jpg"][0]}) as url:
        yield url
