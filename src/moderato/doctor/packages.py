"""Which of moderato's extras are installed, and what the others would bring."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from moderato.assemble import Workshop
from moderato.doctor import Finding

BRINGS = {
    "server": "the service and its API keys: moderato serve, demo, keys",
    "evaluate": "moderato evaluate and calibrate, Parquet, charts",
    "postgres": "the store in Postgres",
    "traces": "OpenTelemetry traces of the service",
    "openvino": "the runtime openvino, on Intel's and AMD's processors",
    "torch": "the runtime torch, on graphics cards too; reading LAION's head for ViT-H/14",
}
"""What each extra is for; those for developers are left out."""


def examine(workshop: Workshop) -> Iterator[Finding]:
    """moderato itself, then the extras."""
    yield Finding("moderato", "well", f"{version('moderato')} on Python {platform.python_version()}")
    for extra, brings in BRINGS.items():
        if missing := [package for package in _packages(extra) if not _is_installed(package)]:
            lacking = f"{brings} (without {', '.join(missing)})"
            yield Finding(extra, "note", lacking, f"pip install 'moderato[{extra}]'")
        else:
            yield Finding(extra, "well", brings)


def _packages(extra: str) -> Iterator[str]:
    """What an extra installs, as the metadata of the installed moderato has it (PEP 508)."""
    for line in requires("moderato") or []:
        if re.search(rf"""extra\s*==\s*['"]{extra}['"]""", line):
            yield re.split(r"[^\w.-]", line, maxsplit=1)[0]


def _is_installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False
