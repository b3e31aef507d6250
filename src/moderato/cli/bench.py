"""Measure every runtime and precision on this machine, and keep which is the fastest that changes no verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from moderato import plugins
from moderato.assemble import DEFAULT_POLICY, Workshop
from moderato.bench.choose import EXACT, RUNTIMES
from moderato.bench.gate import Comparison, Flip
from moderato.bench.measure import Candidate, Plan, Subject, measure, steps
from moderato.bench.pictures import Album, check_enough, fill, pictures_in
from moderato.bench.record import Entry, Machine, Row, Speed, keep, processor, read
from moderato.cli._options import Json
from moderato.cli._output import print_json, print_line, print_table, progress_bar, titled, watched
from moderato.errors import MissingExtra, RequestError, SettingsError, visible
from moderato.policy import read_policy
from moderato.settings import read_settings
from moderato.tasks import view_of

_SAMPLES = Path(str(files("moderato") / "samples"))
_MOST_VIEWS = 256
_SHOWN = 10  # flips in a terminal; --json has all


def bench(
    policy: Annotated[str, typer.Option(metavar="NAME|FILE", help="Whose encoders, and verdicts.")] = DEFAULT_POLICY,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="This encoder alone; all of the policy's without it.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Pictures like yours, to calibrate int8 by and to compare verdicts on."),
    ] = None,
    batches: Annotated[str, typer.Option(metavar="N,N", help="Views a call.")] = "1,8,16",
    seconds: Annotated[float, typer.Option(min=0, help="For each cell, and as many for the exact way beside it.")] = 2,
    json: Json = False,
) -> None:
    """Measure every runtime and precision here; the settings `runtime` and `precision` at `auto` then follow it.

    Each is measured in turns with float32 in ONNX Runtime, and passes when embeddings and verdicts stay what they are
    there. What passes is judged by the policy named: bench with the one you serve. int8 needs pictures of yours.
    """
    settings = read_settings()
    workshop = Workshop(settings.model_copy(update=dict(zip(("runtime", "precision"), EXACT, strict=True))))
    plan = Plan(_numbers(batches), seconds, Machine(processor(), settings.threads))
    found, passed = pictures_in(pictures) if pictures else (sorted(_SAMPLES.iterdir()), 0)
    judged_by = read_policy(policy)
    moderator = workshop.moderator(judged_by)
    judge = moderator.ready(judged_by)
    names = [encoder] if encoder else judged_by.encoders
    specs = {name: need.spec for name, need in judge.needs.items()}
    specs |= {name: view_of(moderator.encoder(name), judged_by.fit) for name in names if name not in specs}
    subjects = [_subject(workshop, name) for name in names]
    others = {name: partial(workshop.encoder, name) for name in judge.needs if name not in names}
    with Album(pictures, specs, passed=passed) as album:
        fill(album, found, settings.media, watched)
        check_enough(album)
        with progress_bar() as progress:
            task = progress.add_task("", total=steps(subjects, others, plan))
            tell = lambda done, what: progress.update(task, description=what, completed=done)  # noqa: E731
            entries = list(measure(subjects, others, album, judge, plan, tell))
        replaced = _keep(workshop.choices.file, entries)
        for entry in entries:
            _print_values(entry, album) if json else _print(entry, album, replaced.get(entry.key))


def _numbers(text: str) -> tuple[int, ...]:
    """Batch sizes. Raises `RequestError` for what is none."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= _MOST_VIEWS for part in parts):
        raise RequestError(f"--batches {text}: name numbers of views from 1 to {_MOST_VIEWS}, as in 1,8,16.")
    return tuple(sorted({int(part) for part in parts}))


def _subject(workshop: Workshop, name: str) -> Subject:
    """An encoder and all ways in which it can be run here, the exact one first."""
    ways, absent = [EXACT], dict[str, str]()
    for runtime in plugins.names(RUNTIMES):
        try:
            offered = plugins.load(RUNTIMES, runtime).precisions()
            ways += [(runtime, precision) for precision in offered if (runtime, precision) != EXACT]
        except MissingExtra as error:
            absent[runtime] = f"not installed: {str(error).rpartition(': ')[2]}"
        except Exception as error:  # noqa: BLE001  a library that cannot be loaded says so in ways of its own
            absent[runtime] = f"left out: it cannot be loaded ({type(error).__name__}: {error})."
    candidates = [Candidate(*way, partial(_workshop(workshop, *way).encoder, name)) for way in ways]
    return Subject(name, workshop.space(name), tuple(candidates), absent, workshop.choices.keep_ranges)


def _workshop(workshop: Workshop, runtime: str, precision: str) -> Workshop:
    """The same, where encoders are run in one way."""
    return Workshop(workshop.settings.model_copy(update={"runtime": runtime, "precision": precision}))


def _keep(file: Path, entries: Sequence[Entry]) -> dict[str, Entry]:
    """Keep them; returns by their keys those that were there before."""
    before = {entry.key: entry for entry in read(file)}
    try:
        keep(file, entries)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}): the choice is not kept.") from error
    return before


def _print_values(entry: Entry, album: Album) -> None:
    print_json({**asdict(entry), "unread": album.unread, "passed": album.passed})


def _print(entry: Entry, album: Album, before: Entry | None) -> None:
    machine = entry.machine
    print_line(f"\n'{visible(entry.encoder)}' on {machine.processor}, {_count(machine.threads, 'thread')}\n")
    print_table(_table([row for row in entry.rows if row.speeds]))
    print_line(f"\n{_judged_by(entry)}\n")
    for row in entry.rows:
        if row.why_not:
            print_line(f"{row.name} is left out: {row.why_not}")
        if row.compared and row.compared.flips:
            _print_list(f"{row.name} changes these verdicts:", map(_flipped, row.compared.flips))
    for runtime, why in entry.absent.items():
        print_line(f"{runtime} is {why}")
    if album.place and album.unread:
        _print_list(
            f"{_count(len(album.unread), 'file')} could not be scanned and count nowhere:",
            (f"{name}: {reason}" for name, reason in album.unread.items()),
        )
    print_line(f"\n'auto' is now {entry.choice} for '{visible(entry.encoder)}'. {entry.why}")
    if before and before.place and not entry.place:
        print_line(f"Before, measured on pictures of {visible(before.place)}, it was {before.choice}.")


def _table(rows: Sequence[Row]) -> Table:
    """A line for each way; quartiles in brackets."""
    batches = [speed.batch for speed in rows[0].speeds]
    titles = ["ms by 1" if batch == 1 else f"views/s by {batch}" for batch in batches]
    table = titled("", *titles, "times as fast", "MiB", "most", "error", "flips", "passes")
    for row in rows:
        assert row.memory
        assert row.compared
        table.add_row(
            row.name,
            *map(_speed, row.speeds),
            f"{row.ratio:.2f}",
            f"{row.memory.opened:.0f}",
            f"{row.memory.peak:.0f}",
            f"{row.compared.parity.centred:.1e}",
            _flips(row.compared),
            "no" if row.why_not else "yes",
        )
    return table


def _flips(found: Comparison) -> str:
    if not found.judged:
        return "not judged"
    return f"{len(found.flips)} of {found.judged}, up to {found.most_flips:.1%}"


def _speed(speed: Speed) -> str:
    ends = (speed.seconds, speed.low, speed.high)
    middle, low, high = (1000 * value for value in ends) if speed.batch == 1 else (1 / value for value in ends)
    low, high = sorted((low, high))
    return escape(f"{middle:.1f} [{low:.1f}, {high:.1f}]")


def _judged_by(entry: Entry) -> str:
    """What the errors and flips rest on."""
    if not entry.place:
        return (
            f"Compared on {_count(entry.pictures, 'built-in drawing')}: enough to see that a precision computes what "
            "it should, not how often verdicts change. --pictures FOLDER compares on pictures of yours."
        )
    flagged = next((row.compared.flagged for row in entry.rows if row.compared), 0)
    return (
        f"Compared on {_count(entry.pictures, 'picture')} of {visible(entry.place)}, of which the policy "
        f"'{visible(entry.policy)}' flags {flagged}; {entry.calibrated_by} others calibrated int8."
    )


def _flipped(flip: Flip) -> str:
    scores = " → ".join("none" if score is None else f"{score:.4f}" for score in (flip.score_before, flip.score_after))
    return f"{flip.picture}: {flip.before} → {flip.after} ({flip.label} {scores})"


def _print_list(title: str, lines: Iterable[str]) -> None:
    print_line(title)
    every = list(lines)
    for line in every[:_SHOWN]:
        print_line(f"  {visible(line)}")
    if len(every) > _SHOWN:
        print_line(f"  … and {len(every) - _SHOWN} more; --json has all")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
