"""Print every setting: what it is here, and whether the environment or the default says so."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from rich.markup import escape

from moderato.cli._options import Json
from moderato.cli._output import print_json, print_table, titled
from moderato.errors import visible
from moderato.settings import Settings, Varies, is_set, read_settings

_HEAD = """\
# Settings

Every setting is an environment variable. `moderato settings` prints what each is where you are, and whether it was set;
a misspelt name is refused by every command. This page is what `moderato settings --markdown` prints.
"""
_FOOT = """\
## Of others

Downloads heed Hugging Face's own `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE` and `HF_HUB_DOWNLOAD_TIMEOUT`;
traces heed OpenTelemetry's `OTEL_…`.
"""


@dataclass(frozen=True)
class _Setting:
    """One variable: what can be written into it, what it is here and what it would be, and what it is about."""

    variable: str
    value: str
    default: str
    origin: Literal["environment", "default"]
    type: str
    about: str


@dataclass(frozen=True)
class _Group:
    """The settings of one class, whose docstring says what they have in common."""

    prefix: str
    about: str
    settings: tuple[_Setting, ...]


def settings(
    json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The page docs/settings.md: all of them, explained.")
    ] = False,
) -> None:
    """Every setting: what it is here, and whether the environment or the default says so. Secrets are not shown."""
    if markdown:
        typer.echo(_page(_groups(Settings, Settings.model_construct())), nl=False)
        return
    found = [one for group in _groups(Settings, read_settings()) for one in group.settings]
    if json:
        for one in found:
            print_json(asdict(one))
        return
    table = titled("setting", "here", "from", "default")
    for one in found:
        default = "" if one.origin == "default" else one.default
        table.add_row(one.variable, escape(visible(one.value)), one.origin, escape(default))
    print_table(table)


def _groups(options: type, values: object, prefix: str = "MODERATO_") -> Iterator[_Group]:
    """A class of options with those nested in it. `values` is what they are, of the same class."""
    own: list[_Setting] = []
    nested: list[tuple[type, object, str]] = []
    abouts = _docstrings(options)
    defaults = Settings.model_construct() if options is Settings else options()
    for name, hint in _hints(options).items():
        variable, value = f"{prefix}{name.upper()}", getattr(values, name)
        if is_dataclass(hint) and isinstance(hint, type):
            nested.append((hint, value, f"{variable}__"))
            continue
        default = _varying(hint) or _written(getattr(defaults, name))
        origin: Literal["environment", "default"] = "environment" if is_set(variable) else "default"
        own.append(_Setting(variable, _written(value), default, origin, _in_words(hint), abouts[name]))
    if own:
        yield _Group(prefix, (inspect.getdoc(options) or "").split("\n\n")[0].replace("\n", " "), tuple(own))
    for below in nested:
        yield from _groups(*below)


def _hints(options: type) -> dict[str, Any]:
    """The annotation of each field, with what is annotated."""
    hints = get_type_hints(options, include_extras=True)
    names = Settings.model_fields if options is Settings else [field.name for field in fields(options)]
    return {name: hints[name] for name in names}


def _docstrings(options: type) -> dict[str, str]:
    """What stands under each field in the source; Python itself does not keep it."""
    found: dict[str, str] = {}
    for owner in options.__mro__:
        if owner.__module__.startswith("moderato."):
            body = ast.parse(dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
            for field, below in pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    found.setdefault(ast.unparse(field.target), " ".join(ast.literal_eval(below.value).split()))
    return found


def _varying(hint: Any) -> str:
    """A default of which only words are the same everywhere; nothing for the others."""
    return next((one.words for one in _constraints(hint) if isinstance(one, Varies)), "")


def _constraints(hint: Any) -> list[Any]:
    """What an annotation says beyond the type; pydantic's Field may hold several."""
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return [part for extra in extras for part in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]


def _in_words(hint: Any) -> str:
    """What can be written, as in `a whole number, at least 1`."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    alternatives = [one for one in get_args(kind) if one is not NoneType]
    if NoneType in get_args(kind):
        (kind,) = alternatives
    if get_origin(kind) is Literal:
        *some, last = (f"`{one}`" for one in get_args(kind))
        return f"{', '.join(some)} or {last}"
    return _KINDS[get_origin(kind) or kind] + _bounds(_constraints(hint))


_KINDS: dict[Any, str] = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    SecretStr: "text, never shown",
    tuple: "several, with commas between them",
    Mapping: "`name=value`, several with commas between them",
}


_PASSWORD = re.compile(r"(//[^/?:@]*:)[^@]*(@)|(password=)[^&]*")
"""In a URL: before its host, or as the parameter that Postgres's driver reads."""


def _bounds(constraints: Iterable[Any]) -> str:
    words = ""
    for one in constraints:
        if isinstance(one, Ge):
            words += f", {one.ge} or more"
        elif isinstance(one, Gt):
            words += f", above {one.gt}"
        elif isinstance(one, Le):
            words += f", at most {one.le}"
    return words


def _written(value: Any) -> str:
    """As one would write it into the environment; passwords are left out."""
    match value:
        case None:
            return ""
        case SecretStr():
            return "(not shown)" if value.get_secret_value() else ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value)
        case Mapping():
            return ",".join(f"{name}={_written(one)}" for name, one in value.items())
    return _PASSWORD.sub(r"\1\3***\2", str(value))


def _page(groups: Iterable[_Group]) -> str:
    parts = [_HEAD]
    for group in groups:
        parts.append(f"## `{group.prefix}…`\n\n{group.about}\n")
        rows = [
            f"| `{one.variable}` | {one.type} | {_quoted(one.default)} | {one.about.replace('|', chr(92) + '|')} |"
            for one in group.settings
        ]
        parts.append("\n".join(["| variable | what to write | default | what it is |", "|---|---|---|---|", *rows, ""]))
    return "\n".join([*parts, _FOOT])


def _quoted(default: str) -> str:
    return default if not default or " " in default else f"`{default}`"
