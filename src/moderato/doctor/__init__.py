"""What works of this installation and what does not. Each module here examines a part of it, and is that part's name.

A part has `examine(workshop)`, which yields what it finds, one `Finding` a line. It fetches nothing, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from moderato import plugins
from moderato.assemble import Workshop
from moderato.errors import MissingExtra, ModeratoError

__all__ = ["Finding", "State", "examine", "unscannable"]

State = Literal["well", "wrong", "note"]
"""`wrong` is what a person must mend. A `note` is a fact, or something that is not here and need not be."""

_PICTURES = "pictures"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was found, and the line that would mend or bring it, where there is one."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(workshop: Workshop) -> Iterator[tuple[str, Finding]]:
    """Everything that is found, each with its part, in the order of the parts' names. Raises nothing."""
    for part in plugins.names(__name__):
        for finding in _examined(part, workshop):
            yield part, finding


def unscannable(found: Iterable[tuple[str, Finding]]) -> str:
    """The sentence that says which of the formats moderato reads it could not read here."""
    broken = [finding.name for part, finding in found if part == _PICTURES and finding.state == "wrong"]
    if broken:
        return f"Unscannable here: {', '.join(broken)}."
    return "No format that moderato reads would be unscannable here."


def _examined(part: str, workshop: Workshop) -> Iterator[Finding]:
    try:
        yield from plugins.load(__name__, part).examine(workshop)
    except MissingExtra as error:
        yield Finding(part, "note", str(error))
    except ModeratoError as error:
        yield Finding(part, "wrong", str(error))
    except Exception as error:  # noqa: BLE001  whatever is broken here, the rest is still worth knowing
        yield Finding(part, "wrong", f"cannot be examined: {type(error).__name__}: {error}")
