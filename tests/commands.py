"""The command line called in this process, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaint(self) -> str:
        """The error message of wrong usage, on one line."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        assert self.out == ""
        return " ".join(self.err.split())


Run = Callable[..., Ended]
