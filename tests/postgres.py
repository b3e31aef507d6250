"""A Postgres of the tests' own: on a Unix socket, as a user that is not root, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from servers import wait_until


def programs() -> Path | None:
    """The folder with Postgres's programs, if they are on this machine."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def postgres(bin_folder: Path) -> Iterator[str]:
    """The URL of a fresh server, without the database's name."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # pytest's own folders make paths too long for a socket
    who = _who()
    try:
        if who:
            shutil.chown(folder, who["user"], who["group"])
        init = [
            bin_folder / "initdb",
            "-D",
            folder / "data",
            "-U",
            "moderato",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **who)
        serve = [bin_folder / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-F"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(serve, stdout=log, stderr=log, cwd=folder, **who)
        try:
            wait_until(lambda: server.poll() is not None or _answers(folder))
            assert server.poll() is None, (folder / "log").read_text()
            yield f"postgresql+psycopg://moderato@/{{name}}?host={folder}"
        finally:
            server.send_signal(2)  # ends sessions and stops
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(folder: Path) -> bool:
    try:
        psycopg.connect(host=str(folder), user="moderato", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _who() -> dict[str, Any]:
    """Postgres refuses to run as root; then it is run as the user that its package made, or as nobody."""
    if os.getuid():
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
