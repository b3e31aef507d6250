"""What every test gets: no network but loopback, no environment of the machine's, its own data folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

sys.path.insert(0, str(Path(__file__).parent))  # pictures.py and its like


@pytest.fixture(autouse=True)
def loopback_only() -> None:
    socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("MODERATO_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODERATO_DATA", str(tmp_path / "data"))
