"""Writes calibrations into a policy file, and leaves everything else in it as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from moderato.errors import PolicyError
from moderato.policy import read_policy


def write_platt(file: Path, platt: Mapping[str, tuple[float, float]]) -> None:
    """Set `platt` of these labels; comments, order and line ends stay. The file is replaced whole or not at all.

    Raises `PolicyError` where it cannot be read or written, or where the result would not be the same policy.
    """
    try:
        document = tomlkit.parse(file.read_bytes().decode("utf-8"))
    except (OSError, ValueError, TOMLKitError) as error:
        raise PolicyError(f"{file}: not a readable TOML file ({error}).") from error
    labels: Any = document["labels"]
    for name, (slope, shift) in platt.items():
        labels[name]["platt"] = [slope, shift]
    _replace(file, tomlkit.dumps(document).encode("utf-8"), platt)


def _replace(file: Path, content: bytes, platt: Mapping[str, tuple[float, float]]) -> None:
    file = file.resolve()  # what a link points to is replaced, not the link
    before = read_policy(file)
    wanted = {
        name: label.model_copy(update={"platt": platt[name]}) if name in platt else label
        for name, label in before.labels.items()
    }
    written = file.with_name(f".{file.stem}.{os.getpid()}.toml")
    try:
        written.write_bytes(content)
        if read_policy(written) != before.model_copy(update={"labels": wanted}):
            raise PolicyError(f"{file}: its layout could not be kept; put the values in by hand: {dict(platt)}.")
        written.chmod(file.stat().st_mode)
        written.replace(file)
    except OSError as error:
        raise PolicyError(f"{file} cannot be written ({error.strerror}).") from error
    finally:
        written.unlink(missing_ok=True)
