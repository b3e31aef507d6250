"""`moderato bench`: what is measured, what passes the gate, what is kept, and what `auto` makes of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import bad_runtimes
from commands import Run
from moderato import encoders, plugins
from moderato.assemble import Workshop
from moderato.bench import choose as choosing
from moderato.bench.choose import RUNTIMES, Choices
from moderato.bench.gate import MOST_FLIPS, Comparison, Flip, _flip, compare, enough, refusal, upper_bound
from moderato.bench.measure import Candidate, Plan, Subject, measure, steps
from moderato.bench.pictures import LEAST, MOST, Album, check_enough, fill, pictures_in
from moderato.bench.record import MADE, Entry, Machine, Row, Speed, best, find, keep, processor, read
from moderato.bench.worker import Memory, Worker
from moderato.cards import encoder_card
from moderato.encoders import Parity
from moderato.errors import ExecutionError, SettingsError
from moderato.evaluate.intervals import bounds
from moderato.media import Limits
from moderato.policy import read_policy
from moderato.settings import read_settings
from moderato.tasks import Judge
from moderato.types import Fingerprints, Reason, Rows, Verdict, Views, ViewSpec
from pictures import encoded, photo

TINY = encoder_card("tiny").folder
HERE = Machine(processor(), 1)
SPEC = ViewSpec(48, fit="squash")


# --- the gate ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "total"), [(0, 1), (0, 32), (0, 72), (1, 72), (3, 200), (31, 32), (199, 200), (20, 512)]
)
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, total: int) -> None:
    _, high = bounds(np.array([hits]), total)
    assert upper_bound(hits, total) == pytest.approx(float(high[0]), abs=1e-9)


def test_where_all_changed_or_nothing_was_drawn_all_may_change() -> None:
    assert upper_bound(5, 5) == upper_bound(0, 0) == 1


def test_72_pictures_without_a_change_are_enough() -> None:
    assert enough() == 72
    assert upper_bound(0, 72) <= MOST_FLIPS < upper_bound(0, 71)


def flip(before: str = "review", after: str = "block") -> Flip:
    return Flip("a.png", before, after, "knife", 0.6, 0.95)  # type: ignore[arg-type]


EQUAL = Parity(1e-6, 1e-6)
SOUND = Comparison(EQUAL, judged=200, flagged=40, most_flips=upper_bound(0, 200))


@pytest.mark.parametrize(
    ("precision", "found", "own", "said"),
    [
        ("fp32", SOUND, True, None),
        ("bf16", SOUND, True, None),
        ("int8", SOUND, True, None),
        ("fp32", replace(SOUND, parity=Parity(0.01, 0)), True, "of their spread off"),
        ("bf16", replace(SOUND, parity=Parity(0, 0.5)), True, "of their spread off"),
        ("int8", replace(SOUND, parity=Parity(float("nan"), 0)), True, "of their spread off"),
        ("bf16", replace(SOUND, flips=(flip("block", "allow"),)), True, "it allows 1 picture that fp32 does not"),
        ("bf16", replace(SOUND, flips=(flip(),), most_flips=upper_bound(1, 200)), True, None),
        ("bf16", replace(SOUND, flips=(flip(),) * 9, most_flips=upper_bound(9, 200)), True, "9 of 200 verdicts change"),
        ("bf16", Comparison(EQUAL, 8, 5, (), upper_bound(0, 8)), False, None),
        ("bf16", Comparison(EQUAL, 8, 5, (flip(),), upper_bound(1, 8)), False, "1 of 8 verdicts change"),
        ("bf16", Comparison(EQUAL), True, None),
        ("int8", SOUND, False, "--pictures FOLDER"),
        ("int8", Comparison(EQUAL), True, "does not use this encoder"),
        ("int8", replace(SOUND, flagged=9), True, "flags 9 of the pictures"),
        ("int8", replace(SOUND, judged=32, most_flips=upper_bound(0, 32)), True, "72 held out would show"),
    ],
)
def test_what_passes(precision: str, found: Comparison, own: bool, said: str | None) -> None:
    why_not = refusal(precision, found, own)  # type: ignore[arg-type]
    assert (why_not is None) if said is None else (said in (why_not or ""))


@pytest.fixture
def workshop() -> Workshop:
    return Workshop(read_settings().model_copy(update={"runtime": "onnx", "precision": "fp32", "threads": 1}))


@pytest.fixture
def judge(workshop: Workshop) -> Judge:
    policy = read_policy("demo")
    return workshop.moderator(policy).ready(policy)


@pytest.fixture
def album() -> Iterator[Album]:
    """The built-in drawings."""
    samples = Path(choosing.__file__).parent.parent / "samples"
    with Album(None, {"tiny": SPEC}) as album:
        fill(album, sorted(samples.iterdir()), Limits(), lambda files, _: files)
        yield album


def test_flips_are_counted_right_and_named(album: Album, judge: Judge) -> None:
    """The row of the cat is given to the knife, and that of the skull to the house."""
    rows = judge.needs["tiny"].encoder.project(album.views("tiny"))
    at = {Path(picture.name).stem: picture.views["tiny"].start for picture in album.pictures}
    changed = rows.copy()
    changed[at["knife"]], changed[at["house"]] = rows[at["cat"]], rows[at["skull"]]
    found_by = compare("tiny", Rows(changed), {"tiny": rows}, album.judged, judge)
    found = {Path(flip.picture).stem: (flip.before, flip.after, flip.label, flip.is_silent) for flip in found_by.flips}
    assert found == {"knife": ("block", "allow", "knife", True), "house": ("allow", "review", "skull", False)}
    assert (found_by.judged, found_by.flagged) == (8, 5)
    assert found_by.most_flips == pytest.approx(upper_bound(2, 8))
    assert refusal("bf16", found_by, True)


def test_the_label_named_is_the_one_that_did_it() -> None:
    """Another score moved more, below its threshold."""
    marks = Fingerprints(policy="x")
    scores = [{"knife": 0.1, "skull": 0.45}, {"knife": 0.4, "skull": 0.55}]
    reason = Reason("skull", 0.55, 0.5, "review", (0, 0, 1, 1), 0.0)
    before = Verdict("a.png", "allow", "x", (), scores[0], fingerprints=marks)
    after = Verdict("a.png", "review", "x", (reason,), scores[1], fingerprints=marks)
    assert _flip(before, after) == Flip("a.png", "allow", "review", "skull", 0.45, 0.55)
    gone = replace(before, action="review", scores={}, unscannable="no_score: the score is no number.")
    assert _flip(after, gone) == Flip("a.png", "review", "review", "skull", 0.55, None)


def test_the_same_rows_flip_nothing(album: Album, judge: Judge) -> None:
    rows = judge.needs["tiny"].encoder.project(album.views("tiny"))
    found = compare("tiny", rows, {"tiny": rows}, album.judged, judge)
    assert (found.parity, found.flips, found.judged) == (Parity(0, 0), (), 8)


def test_an_encoder_that_the_policy_does_not_use_is_judged_by_its_embeddings_alone(album: Album, judge: Judge) -> None:
    rows = judge.needs["tiny"].encoder.project(album.views("tiny"))
    other = replace(judge, needs={})
    assert compare("tiny", rows, {"tiny": rows}, album.judged, other) == Comparison(Parity(0, 0))


# --- pictures ---------------------------------------------------------------------------------------------------------


def folder_of(path: Path, count: int, side: int = 24) -> Path:
    path.mkdir()
    for i in range(count):
        (path / f"{i:03}.png").write_bytes(encoded(photo(side, side, seed=i)))
    return path


def filled(place: Path) -> Album:
    found, passed = pictures_in(place)
    album = Album(place, {"tiny": SPEC}, passed=passed)
    album.__enter__()
    fill(album, found, Limits(), lambda files, _: files)
    return album


def test_the_same_folder_is_always_divided_alike_and_no_picture_is_on_both_sides(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "own", 70)
    (place / "again.png").write_bytes((place / "003.png").read_bytes())
    (place / "broken.png").write_bytes((place / "004.png").read_bytes()[:90])
    (place / "notes.txt").write_text("no picture")
    with filled(place) as album, filled(place) as again:
        check_enough(album)
        assert [p.name for p in album.calibrating] == [p.name for p in again.calibrating]
        assert len(album.calibrating) == len(album.judged) == 35
        assert {p.digest for p in album.calibrating}.isdisjoint(p.digest for p in album.judged)
        assert (list(album.unread), album.passed) == ([str(place / "broken.png")], 2)


def test_every_picture_finds_its_own_views(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "own", 5)
    (place / "wide.png").write_bytes(encoded(photo(200, 30, seed=9)))
    found, _ = pictures_in(place)
    with Album(place, {"tiny": replace(SPEC, fit="cover"), "other": replace(SPEC, side=32)}) as album:
        fill(album, found, Limits(), lambda files, _: files)
        assert len(album.views("tiny")) > 6
        assert album.views("other").shape == (6, 32, 32, 3)
        for picture in album.pictures:
            alone = filled_alone(Path(picture.name), album.specs)
            assert np.array_equal(album.part("tiny", [picture]), alone["tiny"])
            assert np.array_equal(album.part("other", [picture]), alone["other"])
            assert len(picture.places["tiny"]) == len(alone["tiny"])


def filled_alone(file: Path, specs: dict[str, ViewSpec]) -> dict[str, Views]:
    with Album(None, specs) as album:
        fill(album, [file], Limits(), lambda files, _: files)
        return {name: Views(np.array(album.views(name))) for name in specs}


def test_of_a_large_folder_the_same_pictures_are_taken_every_time(tmp_path: Path) -> None:
    place = tmp_path / "many"
    place.mkdir()
    data = encoded(photo(8, 8))
    for i in range(MOST + 20):
        (place / f"{i}.png").write_bytes(data)
    first, _ = pictures_in(place)
    assert len(first) == MOST
    assert pictures_in(place)[0] == first


@pytest.mark.parametrize(
    ("count", "complaint"), [(None, "there is no such folder"), (0, "there is no picture in it"), (9, "at least 64")]
)
def test_a_folder_that_shows_nothing_is_refused(run: Run, tmp_path: Path, count: int | None, complaint: str) -> None:
    place = tmp_path / "own" if count is None else folder_of(tmp_path / "own", count)
    said = run("bench", "--policy", "demo", "--pictures", place).complaint
    assert complaint in said
    assert str(place) in said


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_worker_answers_as_the_encoder_and_tells_its_memory() -> None:
    encoder = encoders.open_encoder(TINY, threads=1)
    views = Views(np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8))
    with Worker(partial(encoders.open_encoder, TINY, threads=1)) as worker:
        assert worker.open(views[:1]) == encoder.runtime.VERSION
        assert np.array_equal(worker.project(views), encoder.project(views))
        memory = worker.memory()
        assert 20 < memory.opened <= memory.peak < 4000
        assert 0 < worker.time(views, 0.01) < 1


@pytest.mark.parametrize(
    ("opened", "complaint"),
    [
        (partial(encoders.open_encoder, Path("/nowhere")), "nowhere"),
        (partial(bad_runtimes.broken, TINY), "OSError: no such device"),
        (partial(bad_runtimes.killed, TINY), "its process died (killed"),
        (partial(bad_runtimes.gone, TINY), "its process died (exit code 3"),
    ],
)
def test_what_fails_elsewhere_is_a_sentence_here(opened: Callable[[], object], complaint: str) -> None:
    with Worker(opened) as worker, pytest.raises(ExecutionError) as caught:  # type: ignore[arg-type]
        worker.open(Views(np.zeros((1, 48, 48, 3), np.uint8)))
    assert complaint in str(caught.value)


# --- all of it --------------------------------------------------------------------------------------------------------

EXACTLY = partial(encoders.open_encoder, TINY, name="tiny", identity="tiny", threads=1)
PLAN = Plan((1, 4), 0.02, HERE)


def measured(album: Album, judge: Judge, *candidates: Candidate, absent: dict[str, str] | None = None) -> Entry:
    subject = Subject("tiny", "here", (Candidate("onnx", "fp32", EXACTLY), *candidates), absent or {}, print)
    told: list[int] = []
    (entry,) = measure([subject], {}, album, judge, PLAN, lambda done, _: told.append(done))
    assert told == sorted(told)
    assert told[-1] == steps([subject], {}, PLAN) - 1
    return entry


def test_what_is_wrong_fails_the_gate_however_fast_it_is(album: Album, judge: Judge) -> None:
    entry = measured(
        album,
        judge,
        Candidate("swift", "bf16", partial(bad_runtimes.blind, TINY)),
        Candidate("noisy", "bf16", partial(bad_runtimes.noisy, TINY, 0.5)),
        Candidate("again", "fp32", EXACTLY),
        absent={"openvino": "not installed: pip install 'moderato[openvino]'"},
    )
    rows = {row.name: row for row in entry.rows}
    assert list(rows) == ["onnx fp32", "swift bf16", "noisy bf16", "again fp32"]
    assert list(entry.absent) == ["openvino"]
    assert rows["swift bf16"].ratio > 2
    assert "of their spread off" in (rows["swift bf16"].why_not or "")
    assert "of their spread off" in (rows["noisy bf16"].why_not or "")
    assert rows["again fp32"].why_not is None
    assert rows["again fp32"].compared == rows["onnx fp32"].compared
    assert entry.choice in ("onnx fp32", "again fp32")
    assert "swift bf16 is faster, but its embeddings" in entry.why
    assert [speed.batch for speed in rows["onnx fp32"].speeds] == [1, 4]
    assert all(speed.low <= speed.seconds <= speed.high for row in entry.rows for speed in row.speeds)


def test_what_rounds_a_little_passes(album: Album, judge: Judge) -> None:
    entry = measured(album, judge, Candidate("noisy", "bf16", partial(bad_runtimes.noisy, TINY, 0.005)))
    assert entry.rows[1].why_not is None
    assert 0.001 < entry.rows[1].compared.parity.centred < 0.02


def test_int8_is_not_run_without_pictures(album: Album, judge: Judge) -> None:
    entry = measured(album, judge, Candidate("swift", "int8", partial(bad_runtimes.killed, TINY)))
    assert "--pictures FOLDER" in (entry.rows[1].why_not or "")
    assert entry.rows[1].speeds == ()
    assert entry.choice == "onnx fp32"


def test_a_way_that_crashes_is_a_line_and_the_others_go_on(album: Album, judge: Judge) -> None:
    entry = measured(
        album,
        judge,
        Candidate("deadly", "fp32", partial(bad_runtimes.killed, TINY)),
        Candidate("again", "fp32", EXACTLY),
    )
    assert entry.rows[1].why_not == (
        "it cannot be run here: its process died (killed, as a machine does that has no memory left)."
    )
    assert entry.rows[2].speeds


# --- what is kept -----------------------------------------------------------------------------------------------------


def row(runtime: str, precision: str, ratio: float, why_not: str | None = None, version: str = "1") -> Row:
    speeds = (Speed(1, 0.01, 0.009, 0.011, ratio), Speed(8, 0.01, 0.009, 0.011, ratio))
    return Row(runtime, precision, version, speeds, Memory(100, 120), SOUND, why_not)


ROWS = (
    row("onnx", "fp32", 1),
    row("swift", "fp32", 1.2),
    row("swift", "bf16", 2.4),
    row("swift", "int8", 4, "it allows 1 picture that fp32 does not allow."),
    row("calm", "bf16", 2),
)


@pytest.mark.parametrize(
    ("runtime", "precision", "chosen"),
    [
        ("auto", "auto", "swift bf16"),
        ("onnx", "auto", "onnx fp32"),
        ("calm", "auto", "calm bf16"),
        ("auto", "fp32", "swift fp32"),
        ("auto", "int8", "swift int8"),  # whoever names a precision wants it
        ("absent", "auto", None),
        ("auto", "fp16", None),
    ],
)
def test_the_fastest_that_passes_is_chosen_within_what_is_named(
    runtime: str, precision: str, chosen: str | None
) -> None:
    if chosen is None:
        with pytest.raises(LookupError):
            best(ROWS, runtime, precision)
    else:
        assert best(ROWS, runtime, precision).name == chosen


def test_what_is_hardly_faster_does_not_replace_what_is_exact() -> None:
    assert best((row("onnx", "fp32", 1), row("swift", "bf16", 1.04))).name == "onnx fp32"
    assert best((row("onnx", "fp32", 1), row("swift", "bf16", 1.06))).name == "swift bf16"


def entry(**changes: object) -> Entry:
    made_here = Entry("tiny", "space", HERE, MADE, "2026-01-01T00:00:00+00:00", "demo", None, 8, 0, "", ROWS, {})
    return replace(made_here, **changes).decided()  # type: ignore[arg-type]


def test_entries_are_kept_and_replace_those_of_the_same_encoder_here(tmp_path: Path) -> None:
    file = tmp_path / "data" / "bench.json"
    elsewhere = entry(machine=Machine("another", 8))
    keep(file, [entry(policy="old"), elsewhere])
    keep(file, [entry(policy="new"), entry(encoder="other", space="other")])
    assert read(file) == [elsewhere, entry(policy="new"), entry(encoder="other", space="other")]
    assert json.loads(file.read_text())[0]["choice"] == "swift bf16"


@pytest.mark.parametrize("text", ["", "{}", "[{}]", "\x00", '[{"encoder": 1}]'])
def test_a_damaged_file_is_as_none_and_is_written_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(text)
    assert read(file) == []
    keep(file, [entry()])
    assert read(file) == [entry()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": "of other weights"}, "measured with other weights"),
        ({"machine": Machine("another", 1)}, "on another machine"),
        ({"machine": Machine(processor(), 2)}, "with other threads"),
        ({"made": "0"}, "another version of moderato"),
        ({"encoder": "another", "space": "another"}, "never measured"),
    ],
)
def test_a_stale_entry_is_not_found(changes: dict[str, object], said: str) -> None:
    found = find([entry(**changes)], "tiny", "space", HERE)
    assert isinstance(found, str)
    assert said in found
    assert find([entry(**changes), entry()], "tiny", "space", HERE) == entry()


# --- auto -------------------------------------------------------------------------------------------------------------

SWIFT = """
from moderato.encoders import onnx
from moderato.encoders.onnx import open_patches, open_text
VERSION = "swift 1"
def precisions():
    return ("fp32", "bf16")
def open_vision(tower, threads, precision="fp32", ranges=None):
    return onnx.open_vision(tower, threads)
"""


@pytest.fixture
def swift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A runtime beside the others."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "swift.py").write_text(SWIFT)
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(tmp_path / "plugins")])
    plugins.names.cache_clear()
    choosing._said.cache_clear()
    yield
    plugins.names.cache_clear()


@pytest.fixture
def house(swift: None) -> Workshop:
    return Workshop(read_settings().model_copy(update={"threads": 1}))


def store(house: Workshop, *rows: Row, **changes: object) -> None:
    keep(house.choices.file, [entry(**{"space": house.space("tiny"), "rows": rows, **changes})])


FAST = (row("onnx", "fp32", 1), row("swift", "bf16", 2, version="swift 1"))


def test_auto_is_the_default_and_exact_until_something_was_measured(house: Workshop) -> None:
    assert (house.settings.runtime, house.settings.precision) == ("auto", "auto")
    assert house.encoder("tiny").execution == "onnx fp32"


def test_what_was_measured_is_used_and_stands_in_the_verdict(house: Workshop) -> None:
    store(house, *FAST)
    encoder = house.encoder("tiny")
    assert encoder.execution == "swift bf16"
    assert "2026-01-01" in house.execution("tiny").why
    verdict = house.moderator("demo").check(encoded(photo(60, 60)))
    assert verdict.fingerprints.runtimes == {"tiny": "swift bf16"}
    assert verdict.fingerprints.encoders == {"tiny": encoder.identity}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": "other"}, "other weights"),
        ({"machine": Machine("another", 1)}, "another machine"),
        ({"made": "0"}, "another version of moderato"),
        ({"rows": (FAST[0], replace(FAST[1], version="swift 0"))}, "measured with swift 0"),
        ({"rows": (FAST[0], row("gone", "bf16", 2))}, "measured with 1"),
    ],
)
def test_what_is_stale_is_not_used_and_that_is_said_once(
    house: Workshop, caplog: pytest.LogCaptureFixture, changes: dict[str, object], said: str
) -> None:
    store(house, *FAST, **changes)
    with caplog.at_level(logging.WARNING):
        assert [house.encoder("tiny").execution for _ in range(3)] == ["onnx fp32"] * 3
    assert said in house.execution("tiny").why
    assert [said in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize("now", ["those", "others", "none", "damaged"])
def test_int8_is_chosen_with_the_ranges_alone_that_were_judged(house: Workshop, now: str) -> None:
    """Another bench that was cut off before its gate leaves other ranges behind."""
    drawn = np.random.default_rng(0).integers(0, 256, (2, 4, 48, 48, 3), dtype=np.uint8)
    judged, others = (house.encoder("tiny").collect_ranges([Views(views)]) for views in drawn)
    fast = row("onnx", "int8", 2, version=encoders.onnx.VERSION)
    store(house, FAST[0], fast, ranges=judged.digest)
    if now != "none":
        house.choices.keep_ranges(others if now == "others" else judged)
    if now == "damaged":
        (file,) = (house.settings.data / "ranges").iterdir()
        file.write_bytes(file.read_bytes()[:500])
    encoder = house.encoder("tiny")
    assert encoder.execution == ("onnx int8" if now == "those" else "onnx fp32")
    assert len(encoder.encode(Views(drawn[0]))) == 4


@pytest.mark.parametrize(
    ("settings", "execution"),
    [
        ({"runtime": "onnx"}, "onnx fp32"),
        ({"runtime": "onnx", "precision": "fp32"}, "onnx fp32"),
        ({"precision": "fp32"}, "onnx fp32"),
        ({"runtime": "swift", "precision": "fp32"}, "swift fp32"),
        ({"runtime": "swift"}, "swift bf16"),
    ],
)
def test_what_is_set_wins(house: Workshop, settings: dict[str, str], execution: str) -> None:
    store(house, *FAST)
    named = Workshop(house.settings.model_copy(update=settings))
    assert named.encoder("tiny").execution == execution


def test_a_precision_that_is_named_is_had_from_the_first_runtime_that_offers_it(swift: None, tmp_path: Path) -> None:
    found = Choices(tmp_path, 1, "auto", "bf16").execution("tiny", str)
    assert "bf16" in choosing.offered(found.runtime)
    with pytest.raises(ExecutionError, match="No runtime that is installed here offers fp8"):
        Choices(tmp_path, 1, "auto", "fp8").execution("tiny", str)  # type: ignore[arg-type]


def test_both_settings_named_read_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bench.json").write_text("damaged")  # reading it would warn
    never = partial(pytest.fail, "asked")
    assert Choices(tmp_path, 1, "swift", "bf16").execution("tiny", never).precision == "bf16"
    assert not caplog.records


def test_a_precision_that_there_is_not_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_PRECISION", "fp8")
    with pytest.raises(SettingsError, match="MODERATO_PRECISION is 'fp8'"):
        read_settings()


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_the_choice_and_why_and_keeps_them(run: Run, tmp_path: Path) -> None:
    ended = run("bench", "--policy", "demo", "--batches", "1,4", "--seconds", "0.05")
    assert ended.code == 0
    said = " ".join(ended.out.split())
    assert "ms by 1" in said
    assert "views/s by 4" in said
    assert "onnx fp32" in said
    assert "Compared on 8 built-in drawings" in said
    assert "'auto' is now" in said
    (kept,) = read(tmp_path / "data" / "bench.json")
    assert (kept.encoder, kept.policy, kept.place, kept.pictures) == ("tiny", "demo", None, 8)
    assert kept.choice in said
    assert kept.why in said


@pytest.fixture
def onnx_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other runtime: each takes seconds to import."""
    every = plugins.names
    monkeypatch.setattr(plugins, "names", lambda package: ("onnx",) if package == RUNTIMES else every(package))


@pytest.mark.usefixtures("onnx_alone")
def test_json_has_all_and_what_could_not_be_read(run: Run, tmp_path: Path) -> None:
    place = folder_of(tmp_path / "own", LEAST)
    (place / "broken.png").write_bytes((place / "004.png").read_bytes()[:90])
    ended = run("bench", "--policy", "demo", "--pictures", place, "--batches", "2", "--seconds", "0.02", "--json")
    (line,) = ended.lines
    assert list(line["unread"]) == [str(place / "broken.png")]
    assert (line["pictures"], line["calibrated_by"], line["place"]) == (LEAST // 2, LEAST // 2, str(place))
    assert line["rows"][0]["runtime"] == "onnx"
    assert line["rows"][0]["compared"]["parity"] == {"centred": 0, "offset": 0}


@pytest.mark.usefixtures("onnx_alone")
def test_ranges_are_kept_and_int8_that_is_named_is_run_with_them(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "one.png"
    picture.write_bytes(encoded(photo(60, 60)))
    monkeypatch.setenv("MODERATO_PRECISION", "int8")
    assert "moderato bench --pictures FOLDER" in run("check", picture, "--policy", "demo").complaint
    place = folder_of(tmp_path / "own", LEAST)
    ended = run("bench", "--policy", "demo", "--pictures", place, "--batches", "1", "--seconds", "0.02", "--json")
    assert any(row["precision"] == "int8" and row["speeds"] for row in ended.lines[0]["rows"])
    (line,) = run("check", picture, "--policy", "demo", "--json").lines
    assert line["fingerprints"]["runtimes"]["tiny"].endswith(" int8")


@pytest.mark.usefixtures("onnx_alone")
def test_what_was_measured_on_own_pictures_is_not_replaced_unsaid(run: Run, tmp_path: Path) -> None:
    place = folder_of(tmp_path / "own", LEAST)
    first = run("bench", "--policy", "demo", "--pictures", place, "--batches", "1", "--seconds", "0.02")
    assert f"{LEAST // 2} others calibrated int8" in first.out
    again = run("bench", "--policy", "demo", "--batches", "1", "--seconds", "0.02")
    assert f"Before, measured on pictures of {place}, it was" in again.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--batches", "1,many"), "name numbers of views from 1 to 256"),
        (("--batches", "0"), "name numbers of views from 1 to 256"),
        (("--encoder", "nix"), "nix"),
        (("--policy", "nix"), "There is no policy 'nix'"),
    ],
)
def test_wrong_usage_is_a_sentence(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    assert complaint in run("bench", "--policy", "demo", *arguments).complaint
