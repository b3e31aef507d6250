"""List, show, check and test policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moderato.assemble import Workshop, check_policy
from moderato.cards import encoder_card, encoder_names, head_card, head_names
from moderato.cli._options import Json
from moderato.cli._output import COLOURS, print_json, print_table, titled, watched
from moderato.cli._sources import expand
from moderato.errors import RequestError, nearest
from moderato.media.load import Sendable, name_of
from moderato.policy import Label, Policy, read_policy, shipped_policies
from moderato.settings import read_settings
from moderato.types import ACTIONS, Verdict

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_policies(json: Json = False) -> None:
    """The policies that come with moderato."""
    policies = [read_policy(name) for name in shipped_policies()]
    if json:
        for policy in policies:
            print_json(policy.model_dump())
        return
    table = titled("policy", "encoder", "labels", "what it is for")
    for policy in policies:
        table.add_row(policy.name, ", ".join(policy.encoders), str(len(policy.labels)), policy.description)
    print_table(table)


@app.command()
def show(policy: Annotated[str, typer.Argument(metavar="NAME|FILE")], json: Json = False) -> None:
    """What a policy looks for, from which score it acts, and what is known about that."""
    read = read_policy(policy)
    if json:
        print_json(read.model_dump())
        return
    console = Console()
    console.print(f"[bold]{escape(read.name)}[/]: {escape(read.description)}", highlight=False)
    console.print(
        f"encoder {escape(', '.join(read.encoders))}, fit {read.fit or 'its own'}, unscannable: {read.unscannable}\n"
    )
    print_table(_labels(read))
    if read.anchors:
        console.print(f"\nWhere nothing else is said: rather than {escape(', '.join(read.anchors))}.", style="dim")
    for name, limits in _limits(read).items():
        console.print(f"\n[bold]{name}[/]: {escape(limits)}", highlight=False)


@app.command()
def check(file: Annotated[str, typer.Argument(metavar="FILE")]) -> None:
    """Read a policy file and say whether it holds."""
    read = read_policy(file)
    check_policy(read)
    encoders = escape(", ".join(read.encoders))
    Console().print(f"{escape(file)} holds: {len(read.labels)} labels for {encoders}.", highlight=False)


@app.command("test")
def run_cases(
    file: Annotated[str, typer.Argument(metavar="NAME|FILE")],
    cases: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folders named allow, review, block and unscannable, with pictures in them."),
    ],
    json: Json = False,
) -> None:
    """Judge pictures whose action is known: every one must come out in the action its folder is named after.

    Exit code 1 when one does not.
    """
    expected = _cases(cases)
    moderator = Workshop(read_settings()).moderator(file, keep=True)
    verdicts = watched(moderator.check_many(source for source, _ in expected), len(expected))
    wrong = 0
    table = titled("picture", "expected", "found", "why")
    for (source, wanted), verdict in zip(expected, verdicts, strict=True):
        found = "unscannable" if verdict.unscannable else verdict.action
        wrong += found != wanted
        if json:
            print_json({"source": name_of(source), "expected": wanted, "found": found, "holds": found == wanted})
        elif found != wanted:
            colour = COLOURS[verdict.action]
            table.add_row(escape(name_of(source)), wanted, f"[{colour}]{found}[/]", escape(_because(verdict)))
    if table.row_count:
        print_table(table)
    Console(stderr=json).print(
        f"{escape(file)}: {len(expected) - wrong} of {len(expected)} cases hold.", highlight=False
    )
    if wrong:
        raise typer.Exit(1)


def _cases(folder: Path) -> list[tuple[Sendable, str]]:
    """Every picture in the folders of the actions, with the action expected."""
    actions = (*ACTIONS, "unscannable")
    try:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise RequestError(f"--cases {folder} cannot be read ({error.strerror}).") from error
    for path in folders:
        if path.name not in actions:
            raise RequestError(f"{path}: a folder of cases is named after an action. {nearest(path.name, actions)}")
    expected = [(source, path.name) for path in folders for source in _pictures(path)]
    if not expected:
        raise RequestError(f"{folder} holds no cases: put pictures into {folder / 'allow'}, {folder / 'block'} ...")
    return expected


def _pictures(folder: Path) -> list[Sendable]:
    return expand([str(folder)]) if any(folder.rglob("*")) else []


def _because(verdict: Verdict) -> str:
    if verdict.unscannable:
        return verdict.unscannable
    if verdict.reasons:
        reason = verdict.reasons[0]
        return f"{reason.label} {reason.score:.3f} ≥ {reason.threshold:g}"
    label = max(verdict.scores, key=lambda name: verdict.scores[name])
    return f"highest: {label} {verdict.scores[label]:.3f}"


def _heads(policy: Policy) -> list[str]:
    """Heads that are not the classifier of their own encoder."""
    named = {label.head: policy.encoder_of(name) for name, label in policy.labels.items() if label.head}
    return [head for head, encoder in named.items() if head != encoder]


def _limits(policy: Policy) -> dict[str, str]:
    """What is known against everything the policy relies on."""
    encoders = {name: encoder_card(name).limits for name in policy.encoders if name in encoder_names()}
    return encoders | {name: head_card(name).limits for name in _heads(policy) if name in head_names()}


def _labels(policy: Policy) -> Table:
    table = titled("label", "review", "block", "evidence", "looks for")
    for name, label in policy.labels.items():
        thresholds = ["" if value is None else f"≥ {value:.2f}" for value in (label.review, label.block)]
        table.add_row(escape(name), *thresholds, escape(label.evidence), _looks_for(policy, name, label))
    return table


def _looks_for(policy: Policy, name: str, label: Label) -> str:
    if label.head:
        return escape(f"head {label.head}" + (f", output {label.output}" if label.output else ""))
    anchors = f"\n[dim]rather than {escape(', '.join(label.anchors))}[/]" if label.anchors else ""
    return escape(", ".join(policy.prompts_of(name))) + anchors
