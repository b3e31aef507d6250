"""docs/performance.md says what the committed results say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from benchmarks import charts, records, report
from benchmarks.aims import aims
from benchmarks.cost import core_rates, rented
from benchmarks.plan import ROUNDS
from benchmarks.records import RESULTS, Record
from benchmarks.timing import Result, alternating_each, told

FOUND = records.read(RESULTS)


def record(benchmark: str, *results: Result) -> Record:
    return Record(benchmark, "", "2026-01-01", False, {"cores": "2 cores"}, {}, list(results))


def path(seconds: float, runtime: str, precision: str) -> Result:
    about = {"encoder": "ViT-B/32", "size": "640 x 480", "runtime": runtime, "precision": precision}
    return Result("a, to probabilities, b", [seconds], "the thesis", [1.0], about=about)


def test_the_page_is_what_the_results_render_to() -> None:
    assert report.PAGE.read_text() == report.render(FOUND), "run python -m benchmarks.report"


def test_the_drawings_are_of_the_results() -> None:
    drawn = {file.name: file.read_text() for file in report.CHARTS.glob("*.svg")}
    linked = set(re.findall(r"\(performance/(.+?)\)", report.PAGE.read_text()))
    assert set(drawn) == linked
    for name, text in drawn.items():
        assert charts.digest(FOUND["soak" if name == "soak.svg" else "path"]) in text, name


def test_other_results_make_another_page() -> None:
    slower = {
        **FOUND,
        "path": dataclasses.replace(
            FOUND["path"],
            results=[
                dataclasses.replace(one, values=[2 * value for value in one.values]) for one in FOUND["path"].results
            ],
        ),
    }
    assert report.render(slower) != report.render(FOUND)
    assert charts.digest(slower["path"]) != charts.digest(FOUND["path"])


def test_no_measured_figure_is_written_by_hand() -> None:
    prose = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->|\{\w+\}", "", report.TEMPLATE.read_text(), flags=re.DOTALL)
    assert re.findall(r"\d[\d.,]*", prose) == []


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    page = report.render({})
    assert "Not measured yet" in page
    assert all(aim.cells()[-1] == "not measured" for aim in aims({}))


def test_every_benchmark_has_its_place_on_the_page() -> None:
    template = report.TEMPLATE.read_text()
    assert [name for name in ROUNDS if f"{{{name}}}" not in template] == []


def test_an_aim_is_met_or_missed_by_so_much() -> None:
    met, missed, _ = aims({"path": record("path", path(0.4, "onnx", "fp32"), path(0.25, "onnx", "bf16"))})[:3]
    assert met.cells()[2:] == ("2.5 x (onnx)", "met")
    assert missed.cells()[2:] == ("4 x (onnx)", "**missed** by 20 %")


def test_more_than_the_machine_can_do_is_not_believed() -> None:
    about = {"encoder": "ViT-B/32", "batch": 16, "runtime": "onnx", "precision": "fp32"}
    for share, verdict in ((0.9, "met"), (0.72, "**missed** by 10 %"), (1.3, "not credible, disturbed")):
        found = record("encode", Result("", [0.1], about=about), Result("", [share], unit="share", about=about))
        assert aims({"encode": found})[3].cells()[-1] == verdict


def test_the_fastest_runtime_of_a_precision_counts() -> None:
    found = record("path", path(0.5, "onnx", "fp32"), path(0.25, "openvino", "fp32"))
    assert aims({"path": found})[0].by == "openvino"
    assert core_rates(found, "ViT-B/32", "640 x 480")["fp32"][1] == 2.0


def test_a_thousand_pictures_cost_the_price_of_the_time_they_take() -> None:
    machine = dataclasses.replace(rented()[0], hour=0.36, cores=2)
    assert machine.thousand(core_rate=5.0, busy=1.0) == pytest.approx(0.01)
    assert machine.thousand(core_rate=5.0, busy=0.5) == pytest.approx(0.02)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record("path", path(0.123456789, "onnx", "fp32"), Result("size", [1.5, 2.0], unit="MB", note="so"))
    written.write(tmp_path)
    (read,) = records.read(tmp_path).values()
    assert read.results[0].values == [0.12346]
    assert dataclasses.replace(read, results=[]) == dataclasses.replace(written, results=[])
    assert read.results[1] == written.results[1]


def test_better_is_less_time_and_more_a_second() -> None:
    assert Result("a", [1.0, 2.0, 4.0], "b", [4.0, 4.0, 4.0]).ratio == 2.0
    assert Result("a", [1.0, 2.0, 4.0], "b", [4.0, 4.0, 4.0], unit="/s").ratio == 0.5
    assert Result("a", [2.0], "b", [1.0]).compared == "takes 2.00 x as long"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0413, "s", "41.3 ms"),
        (1.25, "s", "1.25 s"),
        (0.83, "share", "83 %"),
        (1234.5, "MB", "1,234 MB"),
        (24.2, "/s", "24.2 /s"),
    ],
)
def test_values_are_told_with_three_digits(value: float, unit: str, said: str) -> None:
    assert told(value, unit) == said


def test_sides_take_turns() -> None:
    order: list[str] = []
    taken = alternating_each(2, (1, lambda: order.append("a")), (4, lambda: order.append("b")))
    assert "".join(order) == "ababab"
    assert [len(seconds) for seconds in taken] == [2, 2]


@pytest.mark.reference
def test_what_stays_in_memory_is_told_apart_from_what_comes_and_goes() -> None:
    soak = pytest.importorskip("benchmarks.soak")  # needs torch for its weights
    comes_and_goes = [500.0 + 250 * (look % 20 < 10) for look in range(400)]
    stays = [value + look / 10 for look, value in enumerate(comes_and_goes)]
    looks = [
        {"seconds": 5.0 * n, "server": a, "all": b} for n, (a, b) in enumerate(zip(comes_and_goes, stays, strict=True))
    ]
    grown = [result.values[0] for result in soak.told(looks, {"/healthz 200": 3}, 0) if result.about["soak"] == "grown"]
    assert grown == [0.0, pytest.approx(20.0, abs=1), 0]
