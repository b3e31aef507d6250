"""What our labels mean in a vendor's words: `meanings/NAME.toml`, or a file of the user's own in its place.

The keys::

    [categories]                              # what the vendor calls it = any of the labels that a policy may score
    violence = ["violence", "weapons"]        # the category's score is the highest of those that the policy has

    [levels]                                  # where the vendor answers steps: the lowest score of each, ascending
    POSSIBLE = 0.4

A category that is left out, or none of whose labels the policy scores, is not judged.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, cast

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderato import plugins
from moderato.errors import SettingsError, nearest
from moderato.policy import Policy, read_policy, shipped_policies
from moderato.types import ACTIONS, Action, Verdict

_SHIPPED = Path(__file__).parent / "meanings"

Labels = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    categories: Annotated[dict[str, Labels], Field(min_length=1)]
    levels: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}


@dataclass(frozen=True)
class Meanings:
    """One dialect's mapping, checked: which of our labels each of its categories is."""

    categories: Mapping[str, Sequence[str]]
    levels: Mapping[str, float] = field(default_factory=dict)

    def labels(self, category: str, scored: Iterable[str]) -> list[str]:
        """Those of the scored labels that the category is; none: it is not judged."""
        meant = self.categories.get(category, ())
        return [label for label in scored if label in meant]

    def score(self, category: str, verdict: Verdict) -> float | None:
        """The highest score of the category's labels, 0..1; None: it is not judged."""
        return max((verdict.scores[label] for label in self.labels(category, verdict.scores)), default=None)

    def action(self, category: str, verdict: Verdict) -> Action:
        """The hardest action for which one of the category's labels is the reason."""
        meant = self.categories.get(category, ())
        actions = [reason.action for reason in verdict.reasons if reason.label in meant]
        return max(actions, key=ACTIONS.index, default="allow")

    def level(self, score: float) -> str:
        """The highest level that the score reaches. The first level starts at 0."""
        return [name for name, lowest in self.levels.items() if score >= lowest][-1]


def read_meanings(
    name: str, categories: Iterable[str], levels: Sequence[str] = (), own: Path | None = None
) -> Meanings:
    """The mapping of a dialect that knows these categories and, in ascending order, these levels.

    Raises `SettingsError` naming the file, the key, and the nearest right spelling.
    """
    file = own or _SHIPPED / f"{name}.toml"
    try:
        read = _File.model_validate(tomllib.loads(file.read_text("utf-8-sig")))
    except FileNotFoundError:
        raise SettingsError(f"{file}: there is no such file.") from None
    except ValidationError as error:
        problems = (f"{file}: {'.'.join(map(str, found['loc']))}: {found['msg']}." for found in error.errors())
        raise SettingsError("\n".join(problems)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{file}: not a readable TOML file ({error}).") from error
    known = set(categories)
    for category in read.categories:
        if category not in known:
            raise SettingsError(f"{file}: categories has '{category}'. {nearest(category, known)}")
    _check_levels(file, read.levels, levels)
    return Meanings(read.categories, read.levels)


def _check_levels(file: Path, read: Mapping[str, float], levels: Sequence[str]) -> None:
    if list(read) != list(levels):
        raise SettingsError(
            f"{file}: levels has {', '.join(read) or 'nothing'}; it needs {', '.join(levels) or 'none'}."
        )
    edges = list(read.values())
    if edges and (edges[0] != 0 or edges != sorted(edges)):
        raise SettingsError(f"{file}: levels must begin at 0 and rise; they are {', '.join(map(str, edges))}.")


def read_all(files: Mapping[str, Path | None], policies: Iterable[Policy]) -> dict[str, Meanings]:
    """The mapping of every dialect that has `CATEGORIES` (and `LEVELS`), by name.

    `files` are the user's own; a label in one must be known to some policy, served or shipped. Raises `SettingsError`.
    """
    found = {}
    for name, module in plugins.modules("moderato.server.dialects").items():
        if hasattr(module, "CATEGORIES"):
            found[name] = _read(name, module, files.get(name))
            if own := files.get(name):
                _check_labels(own, found[name], policies)
    return found


def _read(name: str, module: ModuleType, own: Path | None) -> Meanings:
    return read_meanings(name, module.CATEGORIES, getattr(module, "LEVELS", ()), own)


def _check_labels(file: Path, meanings: Meanings, policies: Iterable[Policy]) -> None:
    known = {label for policy in (*policies, *map(read_policy, shipped_policies())) for label in policy.labels}
    for category, labels in meanings.categories.items():
        for label in labels:
            if label not in known:
                raise SettingsError(
                    f"{file}: categories.{category} has '{label}', a label of no policy. {nearest(label, known)}"
                )


def meanings_of(request: Request, name: str) -> Meanings:
    """The mapping of a dialect as this service read it when it started."""
    return cast("dict[str, Meanings]", request.app.state.meanings)[name]


def not_judged(request: Request, policy: Policy) -> dict[str, list[str]]:
    """By dialect, the categories that are never answered, as a policy scores no label of theirs.

    Nor of one below them, where the dialect has `PARENTS`, by category: it answers a category with all above it.
    """
    known = plugins.modules("moderato.server.dialects")
    return {name: _unjudged(known[name], meanings, policy) for name, meanings in request.app.state.meanings.items()}


def _unjudged(dialect: ModuleType, meanings: Meanings, policy: Policy) -> list[str]:
    parents: Mapping[str, str] = getattr(dialect, "PARENTS", {})
    answered = set()
    for category in dialect.CATEGORIES:
        above = category if meanings.labels(category, policy.labels) else ""
        while above:
            answered.add(above)
            above = parents.get(above, "")
    return [category for category in dialect.CATEGORIES if category not in answered]
