"""What every test gets: no network but loopback, no environment of the machine's, its own data folder.

And for those that ask: `run`, the command line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

sys.path.insert(0, str(Path(__file__).parent))  # pictures.py and its like

from commands import Ended, Run
from moderato.cli import main


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
