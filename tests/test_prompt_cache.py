"""Prompts are embedded once: kept in memory and on disk, bounded, shared by processes, and never a reason to fail."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moderato.encoders import PromptCache
from moderato.encoders._prompt_cache import Row


def row(number: float) -> Row:
    return np.full(4, number, np.float32)


def rows(numbers: range) -> dict[str, Row]:
    return {f"text {number}": row(number) for number in numbers}


def known(cache: PromptCache, numbers: range, space: str = "space") -> list[int]:
    """Which of the numbered texts it knows; every row it gives must be the right one."""
    found = cache.get(space, [f"text {number}" for number in numbers])
    assert all(np.array_equal(values, row(int(text.split()[1]))) for text, values in found.items())
    return sorted(int(text.split()[1]) for text in found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "prompts.sqlite"


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_was_put_is_known_and_nothing_else(file: Path, on_disk: bool) -> None:
    cache = PromptCache(file if on_disk else None)
    cache.put("space", rows(range(3)))
    assert known(cache, range(5)) == [0, 1, 2]
    assert known(cache, range(5), "other space") == []
    assert file.exists() == on_disk


def test_another_cache_on_the_same_file_knows_it_too_bit_for_bit(file: Path) -> None:
    odd = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    PromptCache(file).put("space", {"ünï ☂\n": odd, "": row(1)})
    found = PromptCache(file).get("space", ["ünï ☂\n", "", "else"])
    assert found.keys() == {"ünï ☂\n", ""}
    assert found["ünï ☂\n"].dtype == np.float32
    assert np.array_equal(found["ünï ☂\n"], odd)


def test_a_row_put_again_is_the_new_one(file: Path) -> None:
    PromptCache(file).put("space", {"text": row(1)})
    PromptCache(file).put("space", {"text": row(2)})
    assert np.array_equal(PromptCache(file).get("space", ["text"])["text"], row(2))


def test_memory_keeps_what_was_used_last() -> None:
    cache = PromptCache(None, in_memory=4)
    cache.put("space", rows(range(4)))
    known(cache, range(1))
    cache.put("space", rows(range(4, 6)))
    assert known(cache, range(6)) == [0, 3, 4, 5]


def test_disk_keeps_what_came_last(file: Path) -> None:
    cache = PromptCache(file, on_disk=10)
    for start in range(0, 40, 5):
        cache.put("space", rows(range(start, start + 5)))
    assert known(PromptCache(file), range(40)) == list(range(30, 40))


def test_what_memory_let_go_comes_back_from_disk(file: Path) -> None:
    cache = PromptCache(file, in_memory=2)
    cache.put("space", rows(range(8)))
    assert known(cache, range(8)) == list(range(8))


def spoilt(file: Path, how: str) -> None:
    """A place where no database can be, whoever asks (root may write into read-only folders)."""
    if how == "the folder is a file":
        file.parent.write_bytes(b"")
        return
    file.parent.mkdir()
    if how == "a folder":
        file.mkdir()
    elif how == "not a database":
        file.write_bytes(b"this is no database at all, however long one reads in it" * 99)
    elif how == "cut off":
        PromptCache(file).put("space", rows(range(500)))
        file.write_bytes(file.read_bytes()[:5000])
    elif how == "another table":
        with sqlite3.connect(file) as database:
            database.execute("CREATE TABLE kept (something TEXT)")
        database.close()
    elif how == "read-only":
        PromptCache(file).put("space", rows(range(500, 501)))
        with sqlite3.connect(file) as database:
            database.execute("CREATE TRIGGER no BEFORE INSERT ON kept BEGIN SELECT RAISE(ABORT, 'read-only'); END")
        database.close()


@pytest.mark.parametrize(
    "how", ["the folder is a file", "a folder", "not a database", "cut off", "another table", "read-only"]
)
def test_a_database_that_cannot_be_used_is_given_up_with_one_warning(
    file: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt(file, how)
    cache = PromptCache(file)
    with caplog.at_level(logging.WARNING):
        assert known(cache, range(3)) == []
        cache.put("space", rows(range(3)))
        assert known(cache, range(4)) == [0, 1, 2]
        cache.put("space", rows(range(3, 4)))
    assert known(cache, range(4)) == [0, 1, 2, 3]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(file) in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o500)
    cache = PromptCache(tmp_path / "prompts.sqlite")
    cache.put("space", rows(range(3)))
    assert known(cache, range(4)) == [0, 1, 2]
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("blob", [b"odd", None], ids=repr)
def test_a_damaged_row_is_not_given(file: Path, blob: bytes | None) -> None:
    PromptCache(file).put("space", rows(range(2)))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE kept SET value = ? WHERE key LIKE '%text 0%'", (blob,))
    database.close()
    assert 0 not in known(PromptCache(file), range(2))


def test_threads_may_read_and_write_at_once(file: Path) -> None:
    cache, start = PromptCache(file, in_memory=50), threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait()
        for step in range(10):
            numbers = range(100 * thread + step, 100 * thread + step + 3)
            cache.put("space", rows(numbers))
            assert known(cache, numbers) == list(numbers)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(known(PromptCache(file), range(800))) == 8 * 12


WRITER = """
import sys
import numpy as np
from pathlib import Path
from moderato.encoders import PromptCache
cache = PromptCache(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    cache.put("space", {f"text {number}": np.full(4, number, np.float32)})
"""


def test_processes_may_write_at_once(file: Path) -> None:
    spans = [(0, 40), (30, 70), (60, 100)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, str(file), str(first), str(last)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for first, last in spans
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, complaints = writer.communicate(timeout=30)
        assert (writer.returncode, complaints) == (0, "")
    assert known(PromptCache(file), range(100)) == list(range(100))
