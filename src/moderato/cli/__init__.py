"""The command line. A command is the module of its name, imported when it is called.

A module holds a function of its own name, or, for a command with commands of its own, a Typer called `app`. Exit codes:
0 done, 1 what `--fail-on` asks about was met, 2 wrong usage or configuration, 70 a fault in moderato itself.
"""

from __future__ import annotations

import ast
import io
import logging
import os
import sys
import traceback
from importlib.resources import files

import typer
from rich.console import Console
from rich.text import Text

from moderato import plugins
from moderato.errors import ModeratoError

_PACKAGE = "moderato.cli"


def main() -> None:
    """Run the command that the arguments name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter, a name that is no UTF-8
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    names = plugins.names(_PACKAGE)
    called = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in names else None
    try:
        _commands(names, called)()
    except ModeratoError as error:
        Console(stderr=True, soft_wrap=True).print(Text.assemble(("Error:", "red"), " ", str(error)), highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception:  # noqa: BLE001  a fault of ours must not look like what --fail-on asks about
        traceback.print_exc()
        sys.exit(70)


def _commands(names: tuple[str, ...], called: str | None) -> typer.Typer:
    root = typer.Typer(
        help="Decides whether a picture may be shown, on your own machine.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    root.callback()(_version)
    for name in names:
        if name != called:
            root.command(name, help=_summary(name))(_never)
        elif hasattr(module := plugins.load(_PACKAGE, name), "app"):
            root.add_typer(module.app, name=name, help=_summary(name))
        else:
            root.command(name, no_args_is_help=False)(getattr(module, name))
    return root


def _summary(name: str) -> str:
    """The first line of a command's module, read and not imported: `--help` must not load what commands need."""
    source = (files(_PACKAGE) / f"{name}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]


def _never() -> None:
    """Stands for a command that was not called."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # 30 ms that only this option needs

        typer.echo(version("moderato"))
        raise typer.Exit


def _version(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Holds the options of `moderato` itself."""
