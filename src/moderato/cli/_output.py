"""How answers look in a terminal: tables for people, lines of JSON for programs, a bar while they wait."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from moderato.errors import visible
from moderato.types import ACTIONS, Classification, Reason, Verdict

T = TypeVar("T")

COLOURS = {"allow": "green", "review": "yellow", "block": "red"}

_A_HANDFUL = 5
_PIPE_WIDTH = 200
_SHOWN = 4  # labels in one cell


def print_json(values: Mapping[str, Any]) -> None:
    """One object, one line; flushed, so that a pipe sees it at once."""
    line = json.dumps(values, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # a terminal that lacks a letter, a name that is no UTF-8
        line = json.dumps(values)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def watched(answers: Iterable[T], total: int) -> Iterator[T]:
    """The same answers, behind a progress bar when there is a terminal and more than a handful."""
    with progress_bar(hidden=total <= _A_HANDFUL) as progress:
        yield from progress.track(answers, total=total, description="pictures")


def progress_bar(*, hidden: bool = False) -> Progress:
    """A bar on stderr that is gone when it is done; none where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal)


def print_table(table: Table) -> None:
    """On standard output; where that is no terminal, names are not folded at its width."""
    console = Console(emoji=False)
    if not console.is_terminal:
        console = Console(emoji=False, width=_PIPE_WIDTH)
    console.print(table)


def titled(*titles: str, whole_words: bool = False) -> Table:
    """An empty table with these columns; what is too wide for one is folded, words of a title only if they may be."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        least = max(map(len, title.split()), default=0) if whole_words else None
        table.add_column(title, overflow="fold", min_width=least)
    return table


def print_line(text: str) -> None:
    """On standard output, as it is."""
    Console(soft_wrap=True, markup=False, emoji=False, highlight=False).print(text)


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """A row for each verdict: what was decided, and why."""
    table = titled("picture", "action", "why")
    for verdict in verdicts:
        action = f"[{COLOURS[verdict.action]}]{verdict.action}[/]"
        table.add_row(escape(visible(verdict.source)), action, escape(_why(verdict)))
    return table


def classification_table(answers: Iterable[Classification]) -> Table:
    """A row for each picture: its label, and the likeliest ones."""
    table = titled("picture", "prediction", "probabilities")
    for answer in answers:
        shown = answer.unscannable or _scores(answer.probabilities)
        table.add_row(escape(visible(answer.source)), escape(answer.prediction or "unscannable"), escape(shown))
    return table


def print_summary(actions: Iterable[str], started: float) -> None:
    """How many pictures met which action, how fast; on stderr."""
    counts = Counter(actions)
    seconds = perf_counter() - started
    parts = ", ".join(f"{counts[action]} {action}" for action in reversed(ACTIONS) if counts[action])
    total = counts.total()
    Console(stderr=True).print(
        f"{total} {'picture' if total == 1 else 'pictures'}: {parts} ({total / seconds:.1f} a second)", highlight=False
    )


def print_notes(notes: Iterable[tuple[str, ...]]) -> None:
    """Every different note once, on stderr."""
    for note in dict.fromkeys(note for group in notes for note in group):
        Console(stderr=True).print(f"[dim]Note: {escape(note)}[/]", highlight=False)


def _why(verdict: Verdict) -> str:
    if verdict.unscannable:
        return f"unscannable: {verdict.unscannable}"
    if verdict.reasons:
        return ", ".join(map(_reason, verdict.reasons))
    return f"highest: {_scores(verdict.scores, 1)}"


def _reason(reason: Reason) -> str:
    when = f" at {reason.time:.1f} s" if reason.time else ""
    return f"{reason.label} {reason.score:.2f} ≥ {reason.threshold:.2f}{when}"


def _scores(scores: Mapping[str, float], shown: int = _SHOWN) -> str:
    highest = sorted(scores.items(), key=lambda item: -item[1])
    more = f" … and {len(highest) - shown} more" if len(highest) > shown > 1 else ""
    return ", ".join(f"{label} {score:.3f}" for label, score in highest[:shown]) + more
