"""docs/performance.md, made of the committed results: `python -m benchmarks.report`.

The prose is in `benchmarks/performance.md`, with names in braces where tables and figures belong; every figure that was
measured comes from a record, so that the page cannot say anything else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import charts, records
from benchmarks.aims import aims
from benchmarks.cost import BUSY, core_rates, rented, sold
from benchmarks.plan import ROUNDS
from benchmarks.records import RESULTS, Record
from benchmarks.timing import Result, three, told

_ROOT = Path(__file__).parent.parent
PAGE = _ROOT / "docs" / "performance.md"
"""What is rendered."""
CHARTS = PAGE.parent / "performance"
"""Its drawings."""
TEMPLATE = Path(__file__).parent / "performance.md"
"""Its prose."""

_MISSING = "*Not measured yet.*"
_SIZE = "640 x 480"
_ENCODERS = ("ViT-B/32", "ViT-L/14")


def main() -> None:
    """Render the page, draw, and print what was aimed at."""
    found = records.read(RESULTS)
    PAGE.write_text(render(found))
    draw(found, CHARTS)
    table = Table(box=None)
    for column in _AIMS:
        table.add_column(column)
    for aim in aims(found):
        table.add_row(*(cell.replace("**", "") for cell in aim.cells()))
    Console().print(table)


def render(found: Mapping[str, Record]) -> str:
    """The page, of these records."""
    blocks = {name: block(found) for name, block in _BLOCKS.items()}
    plain = {name: _results(found[name].results) if name in found else _MISSING for name in ROUNDS}
    return TEMPLATE.read_text().format_map({**plain, **blocks})


def draw(found: Mapping[str, Record], folder: Path) -> None:
    """The drawings that there are records for."""
    folder.mkdir(exist_ok=True)
    if "path" in found:
        for encoder in _measured(found["path"]):
            charts.path(found["path"], encoder, _SIZE, folder / chart_of(encoder))
    if "soak" in found:
        charts.soak(found["soak"], folder / "soak.svg")


def chart_of(encoder: str) -> str:
    """The file of an encoder's bars."""
    return f"{encoder.lower().replace('/', '-')}.svg"


def _machine(found: Mapping[str, Record]) -> str:
    """Where and when, by benchmark; those of one machine together."""
    by_facts: dict[str, list[str]] = {}
    for name, record in found.items():
        facts = [*record.machine.values(), *(f"{key} {value}" for key, value in record.versions.items()), record.date]
        by_facts.setdefault(", ".join(facts), []).append(f"{name} (a quick look)" if record.quick else name)
    return _table(
        ("benchmarks", "where, with what, when"), ((", ".join(names), facts) for facts, names in by_facts.items())
    )


def _caution(found: Mapping[str, Record]) -> str:
    if any(record.quick for record in found.values()):
        return "**These are the figures of a quick look, with few rounds: they show the way, not what is reached.**"
    return ""


_AIMS = ("aim", "wanted", "reached", "")


def _aims(found: Mapping[str, Record]) -> str:
    return _table(_AIMS, (aim.cells() for aim in aims(found)))


def _path(found: Mapping[str, Record]) -> str:
    """Drawings and tables, an encoder and a size each."""
    if "path" not in found:
        return _MISSING
    record, parts = found["path"], []
    for encoder in _measured(record):
        parts.append(f"![Pictures a second with {encoder}](performance/{chart_of(encoder)})")
        for size in dict.fromkeys(result.about["size"] for result in record.find(encoder=encoder)):
            rows = (
                (*_side(result), result.compared, result.note) for result in record.find(encoder=encoder, size=size)
            )
            heads = (
                f"{encoder}, JPEG of {size}",
                "pictures a second",
                "ms a picture",
                "quartiles",
                "against the thesis",
                "encoding",
            )
            parts.append(_table(heads, rows))
    return "\n\n".join(parts)


def _side(result: Result) -> tuple[str, str, str, str]:
    low, high = result.quartiles
    name = result.what.split("to probabilities, ")[-1]
    milliseconds = [three(1000 * value) for value in (result.median, low, high)]
    return (name, three(1 / result.median), milliseconds[0], f"{milliseconds[1]} - {milliseconds[2]}")


def _measured(record: Record) -> list[str]:
    return [encoder for encoder in _ENCODERS if record.find(encoder=encoder)]


def _encode(found: Mapping[str, Record]) -> str:
    if "encode" not in found:
        return _MISSING
    record = found["encode"]
    shares = {_key(result): result for result in record.results if result.unit == "share"}
    rows = []
    for result in record.results:
        if "runtime" not in result.about or result.unit != "s":
            continue
        about, share = result.about, shares[_key(result)]
        name = f"{about['encoder']}, {about['runtime']} {about['precision']}"
        _, _, *milliseconds = _side(result)
        rows.append((name, str(about["batch"]), *milliseconds, result.compared, told(share.median, "share")))
    heads = ("views to embeddings", "batch", "ms a view", "quartiles", "against transformers", "share of the product")
    return _table(heads, rows)


def _key(result: Result) -> tuple[object, ...]:
    return tuple(result.about.get(name) for name in ("encoder", "runtime", "precision", "batch"))


def _peaks(found: Mapping[str, Record]) -> str:
    if "encode" not in found:
        return _MISSING
    return _results(result for result in found["encode"].results if "peak" in result.about)


def _profile(found: Mapping[str, Record]) -> str:
    if "profile" not in found:
        return _MISSING
    results = found["profile"].results
    return _crossed(results, "kind", "precision", lambda result: f"{told(result.median, 's')}, {result.note}")


def _memory(found: Mapping[str, Record]) -> str:
    """A table each for what lies in a process, in a service, on the disk."""
    if "memory" not in found:
        return _MISSING
    by_place: dict[str, list[Result]] = {}
    for result in found["memory"].results:
        by_place.setdefault(result.about["where"].split(",")[0], []).append(result)
    return "\n\n".join(_crossed(results, "what", "where", _median) for results in by_place.values())


def _median(result: Result) -> str:
    return told(result.median, result.unit)


def _cost(found: Mapping[str, Record]) -> str:
    """A row for a machine, a column for a precision; dollars for a thousand at each share of the day."""
    if "path" not in found:
        return _MISSING
    rates = core_rates(found["path"], _ENCODERS[0], _SIZE)
    rows = []
    for one in rented():
        name = f"[{one.name}]({one.source}), {one.kind}, {one.cores} core{'s' if one.cores > 1 else ''}"
        costs = (", ".join(f"${one.thousand(core_rate, busy):.4f}" for busy in BUSY) for _, core_rate in rates.values())
        rows.append((name, f"${one.hour:.4f} an hour", one.date, *costs))
    for vendor in sold():
        prices = (f"${vendor.thousand:.2f}",) * len(rates)
        rows.append((f"[{vendor.name}]({vendor.source})", "a thousand pictures", vendor.date, *prices))
    sides = (f"{_ENCODERS[0]}, {result.about['runtime']} {precision}" for precision, (result, _) in rates.items())
    return _table(("where", "price", "as of", *sides), rows)


def _soak(found: Mapping[str, Record]) -> str:
    if "soak" not in found:
        return _MISSING
    record = found["soak"]
    rows = _results([*record.find(soak="grown"), *record.find(soak="answers")])
    return f"![Memory over time](performance/soak.svg)\n\n{rows}"


def _published(_: Mapping[str, Record]) -> str:
    entries = tomllib.loads((Path(__file__).parent / "published.toml").read_text())["gpu"]
    rows = ((f"[{one['name']}]({one['source']})", one["with"], f"{one['rate']:,}", str(one["date"])) for one in entries)
    return _table(("who", "with what", "a second", "as of"), rows)


def _crossed(results: Sequence[Result], row: str, column: str, cell: Callable[[Result], str]) -> str:
    """A row and a column for each value of what results are about."""
    cells = {(result.about[row], result.about[column]): cell(result) for result in results}
    rows, columns = (list(dict.fromkeys(result.about[key] for result in results)) for key in (row, column))
    return _table(("", *columns), ((name, *(cells.get((name, what), "") for what in columns)) for name in rows))


def _results(results: Iterable[Result]) -> str:
    return _table(("what", "median", "quartiles", "against", "compared"), (result.row() for result in results))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_BLOCKS: Mapping[str, Callable[[Mapping[str, Record]], str]] = {
    "machine": _machine,
    "caution": _caution,
    "aims": _aims,
    "path": _path,
    "encode": _encode,
    "peaks": _peaks,
    "profile": _profile,
    "memory": _memory,
    "cost": _cost,
    "cost_size": lambda _: _SIZE,
    "busy": lambda _: " and ".join(told(share, "share") for share in BUSY),
    "soak": _soak,
    "published": _published,
}


if __name__ == "__main__":
    main()
