"""Show why a picture got its verdict, label by label, and where it was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moderato.assemble import DEFAULT_POLICY, Workshop
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_notes, print_table, titled, verdict_table
from moderato.cli._sources import expand
from moderato.errors import RequestError, Unscannable
from moderato.explain import Explanation, Ground, Likeness, draw_heatmap
from moderato.explain import explain as explained
from moderato.media.load import Sendable, load
from moderato.moderator import Moderator
from moderato.settings import read_settings


def explain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a URL, or - (stdin).")],
    policy: Annotated[str, typer.Option(metavar="NAME|FILE", help="A policy, or a .toml file.")] = DEFAULT_POLICY,
    heatmap: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw where in the picture the label was seen.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The heatmap's label; the foremost of the verdict without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Show for one picture every label: its score, thresholds, best prompt and best anchor."""
    if label and not heatmap:
        raise RequestError("--label says what --heatmap draws; name a file for it.")
    found = expand([source])
    if len(found) != 1:
        raise RequestError(f"{source} holds {len(found)} pictures; explain looks at one.")
    moderator = Workshop(read_settings()).moderator(policy, keep=True)
    loaded = _loaded(moderator, found[0])
    explanation = explained(moderator, loaded)
    if json:
        print_json(explanation.to_dict())
    else:
        print_table(verdict_table([explanation.verdict]))
        print_notes([explanation.verdict.notes])
        print_table(_table(explanation))
    if heatmap and not explanation.grounds:
        Console(stderr=True).print("No heatmap: the picture is unscannable.")
    elif heatmap:
        _draw(moderator, loaded, label, heatmap)


def _loaded(moderator: Moderator, source: Sendable) -> Sendable:
    """Its bytes, so that both the table and the heatmap are of one picture; itself where they cannot be had."""
    try:
        return load(source, moderator.limits, moderator.fetching)
    except Unscannable:
        return source


def _draw(moderator: Moderator, source: Sendable, label: str | None, file: Path) -> None:
    drawn, png = draw_heatmap(moderator, source, label)
    try:
        file.write_bytes(png)
    except OSError as error:
        raise RequestError(f"{file} cannot be written ({error.strerror}).") from error
    Console(stderr=True, markup=False).print(
        f"{file}: where '{drawn}' was seen, red the most. It says where in this picture, not how much.", highlight=False
    )


def _table(explanation: Explanation) -> Table:
    table = titled("label", "score", "review", "block", "nearest prompt or head", "nearest anchor", "evidence")
    for ground in sorted(explanation.grounds, key=lambda ground: -ground.score):
        thresholds = ["" if value is None else f"≥ {value:.2f}" for value in (ground.review, ground.block)]
        table.add_row(
            escape(ground.label),
            f"{ground.score:.3f}",
            *thresholds,
            escape(_spoke_for(ground)),
            escape(_likeness(ground.anchor)),
            escape(ground.evidence.partition(":")[0]),
        )
    return table


def _spoke_for(ground: Ground) -> str:
    return f"{ground.head}: {ground.output}" if ground.head else _likeness(ground.prompt)


def _likeness(likeness: Likeness | None) -> str:
    return f"{likeness.text} ({likeness.cosine:.3f})" if likeness else ""
