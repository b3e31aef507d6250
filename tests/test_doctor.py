"""The doctor says what is well, and each fault, planted, is one line of its own and not a crash."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alembic import command
from sqlalchemy import create_engine, text

import hostile
from commands import Ended, Run
from moderato.doctor import machine, packages
from moderato.doctor.pictures import REFUSED, SAMPLES
from moderato.doctor.runtimes import _GOLDEN
from moderato.encoders import onnx
from moderato.errors import DecodeError
from moderato.media import Limits, _formats, prepare
from moderato.media.decode import _MOVING
from moderato.store.database import migrations

ROOT = Path(__file__).parent.parent
DEVELOPERS = {"bench", "check", "reference", "test"}


def lines(ended: Ended, part: str) -> dict[str, dict[str, Any]]:
    """What was found of one part, by name."""
    assert "Traceback" not in ended.err
    return {line["name"]: line for line in ended.lines if line["part"] == part}


def states(ended: Ended, part: str) -> dict[str, str]:
    return {name: line["state"] for name, line in lines(ended, part).items()}


# All of it


def test_where_all_is_well_it_says_so_and_exits_with_0(run: Run) -> None:
    ended = run("doctor")
    assert ended.code == 0
    assert "✗" not in ended.out
    assert ended.out.endswith("\nNo format that moderato reads would be unscannable here.\n")


def test_it_changes_nothing(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert run("doctor").code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_part_that_fails_in_its_own_way_is_a_line_and_the_others_are_still_looked_at(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("moderato.doctor.data.examine", failing)
    ended = run("doctor", "--json")
    assert ended.code == 2
    assert lines(ended, "data")["data"]["detail"] == "cannot be examined: ZeroDivisionError: planted"
    assert states(ended, "runtimes")["onnx computes"] == "well"


# Pictures


def test_there_is_a_small_sample_of_every_format_moderato_reads() -> None:
    found = {_formats.sniff(sample.data) for sample in SAMPLES}
    assert found == {name for _, name in _formats._MAGIC} | {"WEBP", "AVIF", "HEIF"}
    assert {_formats.sniff(sample.data) for sample in SAMPLES if sample.frames > 1} == set(_MOVING)
    assert max(len(sample.data) for sample in SAMPLES) < 1200


def test_what_is_said_to_be_refused_is_refused() -> None:
    beginnings = {
        "videos": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PDF": b"%PDF-1.7",
        "archives": b"PK\x03\x04",
        "text and web pages": b"<!doctype html>",
        "camera raw": b"FUJIFILMCCD-RAW 0201",
        "JPEG XL": b"\xff\x0a\xfa\x1f\x01\x90",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "PSD": b"8BPS\0\1",
        "ICO": b"\0\0\1\0\1\0",
    }
    assert set(beginnings) == set(REFUSED)
    for data in beginnings.values():
        with pytest.raises(DecodeError, match="not_a_picture"):
            prepare(data + bytes(64), [], Limits())


def test_what_cannot_be_decoded_here_is_told_with_what_would_mend_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderato.doctor.pictures.prepare", hostile.lacking)
    broken = ["animated GIF", "WebP", "animated WebP", "AVIF", "animated AVIF", "HEIC", "BMP"]
    ended = run("doctor", "--json")
    assert ended.code == 2
    found = lines(ended, "pictures")
    assert [name for name, line in found.items() if line["state"] == "wrong"] == broken
    assert found["AVIF"]["detail"] == "corrupt: the AVIF data is damaged (its header makes no sense)."
    assert found["HEIC"]["detail"] == "crash: its decoder crashed on it."
    assert found["BMP"]["detail"] == "its decoder fails: ZeroDivisionError: planted"
    assert found["WebP"]["detail"] == "decodes into other colours than were drawn"
    assert found["animated GIF"]["detail"] == "1 of its 2 frames are seen"
    assert found["AVIF"]["remedy"] == "pip install --force-reinstall pillow"
    assert found["HEIC"]["remedy"] == "pip install --force-reinstall pi-heif"
    table = run("doctor")
    assert table.code == 2
    assert table.out.endswith(f"\nUnscannable here: {', '.join(broken)}.\n")


def test_limits_that_leave_nothing_are_told_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_MEDIA__MAX_BYTES", "150")
    found = lines(run("doctor", "--json"), "pictures")
    assert found["JPEG"]["detail"] == "too_many_bytes: the file has 318 bytes; the limit is 150."
    assert found["JPEG"]["remedy"].startswith("raise MODERATO_MEDIA__")
    assert found["PNG"]["state"] == "well"
    assert "files over 150 bytes" in found["beyond limits"]["detail"]


# Runtimes

Wrong = Callable[[np.ndarray], np.ndarray]


def planted(monkeypatch: pytest.MonkeyPatch, opened: str, wrong: Wrong) -> None:
    """What comes out of the runtime `onnx` goes through `wrong`."""
    honest = getattr(onnx, opened)

    def opening(*asked: Any, **options: Any) -> Any:
        run = honest(*asked, **options)
        return lambda rows: wrong(run(rows))

    monkeypatch.setattr(onnx, opened, opening)


@pytest.mark.parametrize("opened", ["open_vision", "open_text"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda rows: rows[::-1],
        lambda rows: rows + 0.02 * np.abs(rows).max(),
        lambda rows: np.round(rows, 1),
        lambda rows: rows * np.nan,
        lambda rows: rows[:, :-1],
        lambda rows: 1 // 0,
    ],
    ids=["other order", "shifted", "coarse", "no numbers", "misshapen", "raises"],
)
def test_a_runtime_that_computes_something_else_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, opened: str, wrong: Wrong
) -> None:
    planted(monkeypatch, opened, wrong)
    ended = run("doctor", "--json")
    assert ended.code == 2
    assert lines(ended, "runtimes")["onnx computes"]["state"] == "wrong"
    assert "MODERATO_RUNTIME" in lines(ended, "runtimes")["onnx computes"]["remedy"]


def test_what_another_order_of_additions_changes_is_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(
        monkeypatch, "open_vision", lambda rows: rows * (1 + 1e-5 * np.sin(np.arange(rows.size)).reshape(rows.shape))
    )
    assert states(run("doctor", "--json"), "runtimes")["onnx computes"] == "well"


def test_a_runtime_that_does_not_exist_is_told_with_the_nearest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_RUNTIME", "onx")
    ended = run("doctor", "--json")
    assert ended.code == 2
    assert "Did you mean 'onnx'?" in lines(ended, "runtimes")["onx"]["detail"]
    assert states(ended, "runtimes")["onnx"] == "well"


@pytest.mark.reference
def test_the_golden_embeddings_are_those_of_the_code_that_trained_the_encoder(tmp_path: Path) -> None:
    from tools.doctor.__main__ import _write_golden

    _write_golden(tmp_path / "golden.npz")
    with np.load(tmp_path / "golden.npz") as made, np.load(_GOLDEN) as stored:
        steps = np.abs(made["views"].astype(int) - stored["views"])  # a machine resizes by Pillow or by its double
        assert steps.max() <= 1
        assert (steps > 0).mean() < 0.01
        assert made["embeddings"] == pytest.approx(stored["embeddings"], abs=5e-4)
        assert made["texts"] == pytest.approx(stored["texts"], abs=1e-5)


# What is not installed


def without(*absent: str) -> subprocess.CompletedProcess[str]:
    """The doctor in a process that cannot import these packages."""
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({absent!r}))\n"
        "sys.argv = ['moderato', 'doctor']\n"
        "from moderato.cli import main\n"
        "main()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_it_runs_without_any_extra_and_says_what_they_would_bring() -> None:
    optional = ("alembic", "fastapi", "opentelemetry", "prometheus_client", "psycopg", "pyarrow", "scipy", "sqlalchemy")
    ended = without(*optional, "matplotlib", "psutil", "sklearn", "starlette", "torch", "uvicorn")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "pip install 'moderato[server]'" in ended.stdout


def test_a_runtime_whose_library_is_missing_is_told_not_raised() -> None:
    ended = without("onnxruntime")
    assert ended.returncode == 2
    assert ended.stderr == ""
    assert "✗  runtimes  onnx" in ended.stdout
    assert "needs the package 'onnxruntime'" in ended.stdout


def test_every_extra_for_users_is_explained() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(packages.BRINGS) == set(extras) - DEVELOPERS


def test_a_missing_extra_is_a_note_with_the_line_that_brings_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_is_installed", lambda package: package != "uvicorn")
    ended = run("doctor", "--json")
    assert ended.code == 0
    found = lines(ended, "packages")
    assert (found["server"]["state"], found["server"]["remedy"]) == ("note", "pip install 'moderato[server]'")
    assert "without uvicorn" in found["server"]["detail"]
    assert found["postgres"]["state"] == "well"


# Weights, the data folder, the store


def test_policies_name_what_they_lack_and_the_command_that_fetches_it(run: Run) -> None:
    ended = run("doctor", "--json")
    found = lines(ended, "weights")
    assert found["demo"]["state"] == "well"
    assert found["laion"]["state"] == "note"
    assert found["laion"]["remedy"] == "moderato models pull openai-b32 laion-nsfw-b32"


def test_weights_that_are_damaged_must_be_mended(run: Run, tmp_path: Path) -> None:
    records = tmp_path / "data" / "records"
    records.mkdir(parents=True)
    (records / "openai-b32.json").write_text("{")
    ended = run("doctor", "--json")
    assert ended.code == 2
    assert "is damaged" in lines(ended, "weights")["standard"]["detail"]
    assert states(ended, "weights")["nsfw"] == "note"


def test_a_folder_of_models_that_is_none_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATO_MODELS", str(tmp_path / "none"))
    assert states(run("doctor", "--json"), "weights")["folder"] == "wrong"


def test_a_data_folder_that_cannot_be_written_must_be_mended(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODERATO_DATA", str(tmp_path / "file" / "data"))
    ended = run("doctor", "--json")
    assert ended.code == 2
    assert "cannot be written (Not a directory)" in lines(ended, "data")["folder"]["detail"]


def test_a_full_disk_must_be_mended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    assert states(run("doctor", "--json"), "data") == {"folder": "well", "space": "wrong"}


def test_a_store_with_keys_is_well(run: Run) -> None:
    assert states(run("doctor", "--json"), "keys") == {"database": "note"}
    assert run("keys", "create", "--name", "web").code == 0
    assert states(run("doctor", "--json"), "keys") == {"database": "well"}


def test_an_older_store_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    engine = create_engine(f"sqlite:///{tmp_path / 'data' / 'store.sqlite'}")
    with engine.connect() as connection, connection.begin():
        command.upgrade(migrations(connection), "keys_1")
    (found,) = lines(run("doctor", "--json"), "keys").values()
    assert found["state"] == "note"
    assert "brought up to date when used" in found["detail"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "keys_1"
    engine.dispose()


def test_a_store_that_is_newer_or_none_at_all_must_be_mended(run: Run, tmp_path: Path) -> None:
    run("keys", "create", "--name", "web")
    file = tmp_path / "data" / "store.sqlite"
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    engine.dispose()
    newer = run("doctor", "--json")
    assert newer.code == 2
    assert "newer moderato" in lines(newer, "keys")["keys"]["detail"]
    file.write_bytes(b"no database at all" * 99)
    assert "cannot be used" in lines(run("doctor", "--json"), "keys")["keys"]["detail"]


# The machine

X86 = "processor : 0\nmodel name : A Chip\nflags : fpu sse2 avx2 avx512f avx512_vnni\n\nprocessor : 1\nmodel name : B\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, str]], None]:
    """A /proc and a /sys/fs/cgroup made of these files."""

    def written(texts: dict[str, str]) -> None:
        for name, content in texts.items():
            file = tmp_path / "root" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    monkeypatch.setattr(machine, "_PROC", tmp_path / "root" / "proc")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "root" / "cgroup")
    return written


@pytest.mark.parametrize(
    ("cpuinfo", "state", "detail"),
    [
        (X86, "well", "A Chip: AVX2, AVX-512, VNNI"),
        (ARM, "well", ": NEON, dotprod, BF16"),
        ("model name : Old\nflags : fpu sse2\n", "note", "Old: neither AVX2 nor NEON, so encoders are slow"),
        ("", "note", "what it can do is not told"),
    ],
    ids=["x86", "arm", "old", "unknown"],
)
def test_the_processor_is_told(files: Any, cpuinfo: str, state: str, detail: str) -> None:
    files({"proc/cpuinfo": cpuinfo})
    found = machine._processor()
    assert found.state == state
    assert detail in found.detail


@pytest.mark.parametrize(
    "texts",
    [
        {
            "proc/self/cgroup": "0::/pod/own\n",
            "cgroup/pod/cpu.max": "50000 100000\n",
            "cgroup/pod/own/cpu.max": "max 9\n",
        },
        {"proc/self/cgroup": "0::/elsewhere\n", "cgroup/cpu.max": "50000 100000\n"},
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/own\n3:memory:/\n",
            "cgroup/cpu/own/cpu.cfs_quota_us": "50000\n",
            "cgroup/cpu/own/cpu.cfs_period_us": "100000\n",
            "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["above", "container", "version 1"],
)
def test_a_cgroup_that_allows_fewer_cores_than_are_used_is_told(
    files: Any, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]
) -> None:
    files(texts)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    found = machine._cores(4)
    assert (found.state, found.remedy) == ("note", "MODERATO_THREADS=1")
    assert "the time of 0.5" in found.detail
    assert machine._cores(1).state == "well"


def test_memory_is_told_with_the_least_that_a_cgroup_allows(files: Any) -> None:
    meminfo = {"proc/meminfo": "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\n"}
    files(meminfo)
    assert machine._memory().detail == "8.0 GiB, of which 4.0 GiB free"
    files({"proc/self/cgroup": "0::/a/b\n", "cgroup/a/memory.max": "2147483648\n", "cgroup/a/b/memory.max": "max\n"})
    assert machine._memory().detail.endswith("a cgroup allows 2.0 GiB")


def test_where_there_is_no_proc_the_rest_is_still_told(files: Any) -> None:
    assert [machine._processor().state, machine._memory().state] == ["note", "note"]
    assert machine._cores(1).state == "well"
