"""The worked example of docs/evaluation.md gives the numbers that stand there."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from moderato.cli import main
from moderato.policy import read_policy

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
NEAR = 0.03  # another processor may see a drawing or two differently


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0]


def table(first: str) -> dict[str, list[list[float]]]:
    """The rows of the table whose head begins so: numbers of each cell by the row's name."""
    lines = PAGE[PAGE.index(f"| {first} |".replace("|  |", "| |")) :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: [numbers(cell) for cell in cells] for name, *cells in rows}


def numbers(text: str) -> list[float]:
    """All numbers in a text, 1,364 being one and 154, 575 two."""
    joined = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", joined)]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's first block draws."""
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(ROOT))
        exec(compile(block("python"), "evaluation.md", "exec"), {})
    return folder / "drawings"


@pytest.fixture
def here(drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's drawings and policy, in which its commands are run."""
    (tmp_path / "drawings").symlink_to(drawings)
    monkeypatch.setenv("MODERATO_DATA", str(drawings.parent / "data"))  # a second evaluation encodes nothing
    (tmp_path / "mine.toml").write_text(block("toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, command: str, *more: str) -> None:
    """A command that stands on the page, in this process."""
    assert command in PAGE
    monkeypatch.setattr(sys, "argv", [*command.split(), *more])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, command


def figure(values: dict[str, Any]) -> list[float]:
    return [values["value"], values["low"], values["high"]]


def test_the_policy_is_measured_as_the_page_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(
        *(monkeypatch, "moderato evaluate drawings --policy demo --prevalence 0.001 --report report.html"),
        *("--json", "found.json"),
    )
    found = json.loads((here / "found.json").read_text())
    points = {point["name"]: point for point in found["overall"]}
    points |= {f"{label['label']}: {point['name']}": point for label in found["labels"] for point in label["points"]}
    shown = table("")
    assert set(shown) == set(points)
    for name, cells in shown.items():
        for cell, key in zip(cells, ("recall", "fpr", "precision_at_prevalence"), strict=False):
            assert figure(points[name][key]) == pytest.approx(cell, abs=NEAR), (name, key)
        assert figure(points[name]["reviews_per_10000"]) == pytest.approx(cells[3], abs=NEAR * 10_000 / 3), name
    said = " ".join(line.removeprefix("> ") for line in PAGE.splitlines() if line.startswith("> "))
    assert numbers(" ".join(found["summary"])) == pytest.approx(numbers(said), rel=0.5)
    assert points["flagged"]["accuracy"]["value"] == pytest.approx(0.965, abs=NEAR)
    assert (here / "report.html").stat().st_size > 100_000


def test_the_comparison_is_as_the_page_says(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(
        *(monkeypatch, "moderato evaluate drawings --compare demo mine.toml --prevalence 0.001"),
        *("--json", "found.json"),
    )
    (knife,) = [s for s in json.loads((here / "found.json").read_text())["sections"] if s["label"] == "knife"]
    rows = {row["name"]: row for row in knife["differences"]}
    for name, (first, second, difference) in table("knife").items():
        assert [rows[name]["first"], rows[name]["second"]] == pytest.approx([*first, *second], abs=NEAR), name
        assert figure(rows[name]["difference"]) == pytest.approx(difference, abs=2 * NEAR), name


def test_the_calibration_is_as_the_page_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run(monkeypatch, "moderato calibrate drawings --policy mine.toml")
    out = capsys.readouterr().out
    platt = read_policy("mine.toml").labels["knife"].platt
    assert platt == pytest.approx(numbers(re.search(r"platt = (\[.*?\])", PAGE)[1]), abs=0.2)  # type: ignore[index]
    assert (here / "mine.toml").read_text().startswith(block("toml").rstrip())
    (line,) = [line for line in out.splitlines() if line.startswith("knife")]
    cells = [numbers(cell) for cell in re.split(r"  +", line.strip())]
    shown = table("label")["knife"]
    assert cells[1] == shown[0]
    for cell, expected in zip(cells[3:], shown[1:], strict=True):
        assert cell == pytest.approx(expected, abs=NEAR)
    place = float(re.search(r"decisions as before: review = (\S+)", out)[1])  # type: ignore[index]
    assert place == pytest.approx(0.006269, rel=0.3)
    run(monkeypatch, "moderato evaluate drawings", "--policy", "mine.toml", "--json", "found.json")
    (knife,) = json.loads((here / "found.json").read_text())["labels"]
    said = re.search(r"false alarms fall to (\S+) % of the harmless pictures and (\S+) % of the knives", PAGE)
    assert said
    found = [100 * knife["points"][0][key]["value"] for key in ("fpr", "recall")]
    assert found == pytest.approx([float(number) for number in said.groups()], abs=100 * NEAR)
