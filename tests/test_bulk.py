"""Scores of stored embeddings: all rows in order, in little memory, continued after a cut, none for what has none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import Run
from moderato.bulk import _part
from moderato.bulk.score import Report, score_shards
from moderato.errors import MissingExtra, RequestError
from moderato.heads import Head, dense
from moderato.layers import Linear, Network, Relu
from moderato.shards import open_shards

DIM = 8
RANDOM = np.random.RandomState(6)


def unit_rows(count: int, dim: int = DIM) -> NDArray[np.float32]:
    rows = RANDOM.standard_normal((count, dim)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def trained(labels: int = 1, dim: int = DIM, unit: bool = True) -> Head:
    random = np.random.RandomState(labels)
    layers = [
        Linear(random.standard_normal((gives, reads)).astype(np.float32), random.standard_normal(gives).astype("f4"))
        for reads, gives in ((dim, 5), (5, labels))
    ]
    network = Network((layers[0], Relu(), layers[1]), "sigmoid", unit)
    return Head("h", "test/space", tuple("abcdef"[:labels]), network)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards, one of them empty, the tenth after the second."""
    (tmp_path / "in").mkdir()
    for i, count in ((0, 300), (1, 0), (2, 77), (10, 123)):
        np.save(tmp_path / "in" / f"emb_{i}.npy", unit_rows(count).astype(np.float16))
    return tmp_path / "in"


def everything(folder: Path) -> NDArray[np.float16]:
    return np.concatenate([np.load(folder / f"emb_{i}.npy") for i in (0, 1, 2, 10)])


def read_table(file: Path) -> dict[str, NDArray[np.float32]]:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(file)
    return {name: table.column(name).to_numpy() for name in table.column_names}


# ---- what is written ----


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("rows", [1, 50, None])
def test_all_rows_of_all_shards_in_order(folder: Path, tmp_path: Path, labels: int, rows: int | None) -> None:
    head = trained(labels)
    report = score_shards(head, open_shards(folder), tmp_path / "x.npy", rows=rows)
    expected = head.score(everything(folder))
    found = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.float32, (500,) if labels == 1 else (500, labels))
    np.testing.assert_allclose(found.reshape(500, labels), expected, atol=1e-6)
    assert not np.allclose(np.roll(found, 1, axis=0).reshape(500, labels), expected, atol=1e-2)
    assert replace(report, seconds=0) == Report(rows=500, resumed=0, not_finite=0, seconds=0)
    assert {file.name for file in tmp_path.iterdir()} == {"in", "x.npy"}


@pytest.mark.parametrize("labels", [1, 3])
def test_a_table_has_a_column_for_each_label(folder: Path, tmp_path: Path, labels: int) -> None:
    pytest.importorskip("pyarrow")
    head = trained(labels)
    score_shards(head, open_shards(folder), tmp_path / "x.parquet", rows=64)
    found = read_table(tmp_path / "x.parquet")
    assert tuple(found) == head.labels
    np.testing.assert_allclose(np.stack([*found.values()], axis=1), head.score(everything(folder)), atol=1e-6)
    assert {file.name for file in tmp_path.iterdir()} == {"in", "x.parquet"}


def test_no_rows_are_an_empty_file(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", unit_rows(0))
    assert score_shards(trained(), open_shards(tmp_path / "e.npy"), tmp_path / "x.npy").rows == 0
    assert np.load(tmp_path / "x.npy").shape == (0,)


def test_rows_that_are_not_finite_have_no_score_and_are_counted(tmp_path: Path) -> None:
    rows = unit_rows(40)
    rows[3, 1], rows[8, 0], rows[39, 7] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "e.npy", rows)
    for name in ("x.npy", "x.parquet"):
        report = score_shards(trained(2), open_shards(tmp_path / "e.npy"), tmp_path / name, rows=7)
        assert report.not_finite == 3
    found = np.load(tmp_path / "x.npy")
    assert [*np.isnan(found).all(axis=1).nonzero()[0]] == [3, 8, 39]
    assert [*np.isnan(found).any(axis=1).nonzero()[0]] == [3, 8, 39]
    assert [*np.isnan(read_table(tmp_path / "x.parquet")["a"]).nonzero()[0]] == [3, 8, 39]


def test_progress_is_told_to_the_end(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    score_shards(trained(), open_shards(folder), tmp_path / "x.npy", progress=lambda *step: told.append(step))
    assert told[-1] == (500, 500)


# ---- cut off, and continued ----


class Cut(Exception):
    pass


class CutHead(Head):
    """Fails at the n-th piece."""

    pieces = 0

    def score(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:  # type: ignore[override]
        CutHead.pieces -= 1
        if CutHead.pieces < 0:
            raise Cut
        return super().score(embeddings)


def cut_after(pieces: int, head: Head, folder: Path, output: Path) -> None:
    CutHead.pieces = pieces
    cutting = CutHead(head.name, head.encoder, head.labels, head.network)
    with pytest.raises(Cut):
        score_shards(cutting, open_shards(folder), output, rows=50)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_what_was_cut_off_goes_on_where_it_was(folder: Path, tmp_path: Path, name: str) -> None:
    head = trained(2)
    for pieces in (0, 1, 7, 2):
        cut_after(pieces, head, folder, tmp_path / name)
        assert not (tmp_path / name).exists()
    report = score_shards(head, open_shards(folder), tmp_path / name, rows=50)
    assert (report.rows, report.resumed) == (500, 6 * 50 + 77 + 2 * 50)
    expected = head.score(everything(folder))
    found = np.load(tmp_path / name) if name == "x.npy" else np.stack([*read_table(tmp_path / name).values()], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert {file.name for file in tmp_path.iterdir()} == {"in", name}


def test_rows_without_scores_are_counted_across_a_cut(tmp_path: Path) -> None:
    rows = unit_rows(200)
    rows[[10, 190]] = np.nan
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "e.npy", rows)
    cut_after(2, trained(), tmp_path / "in", tmp_path / "x.npy")
    report = score_shards(trained(), open_shards(tmp_path / "in"), tmp_path / "x.npy")
    assert (report.resumed, report.not_finite) == (100, 2)


@pytest.mark.parametrize("change", ["head", "embeddings", "record", "damaged record", "part"])
def test_what_changed_since_is_begun_anew(
    folder: Path, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    output, head = tmp_path / "x.npy", trained()
    cut_after(4, head, folder, output)
    if change == "head":
        head = replace(head, labels=("other",))
    elif change == "embeddings":
        np.save(folder / "emb_0.npy", unit_rows(300).astype(np.float16))
        os.utime(folder / "emb_0.npy", (1, 1))
    elif change == "record":
        (tmp_path / "x.npy.part.json").unlink()
    elif change == "damaged record":
        (tmp_path / "x.npy.part.json").write_text('{"job": {}, "done": "many"}')
    else:
        (tmp_path / "x.npy.part").write_bytes((tmp_path / "x.npy.part").read_bytes()[:100])
    report = score_shards(head, open_shards(folder), output)
    assert report.resumed == 0
    np.testing.assert_allclose(np.load(output), head.score(everything(folder))[:, 0], atol=1e-6)
    said = [record.getMessage() for record in caplog.records]
    if change in ("head", "embeddings"):
        assert said == [f"{output} is begun anew: the {change} changed since it was cut off."]
    else:
        assert len(said) == (change == "part")


SCRIPT = """
import sys, time
from pathlib import Path
from moderato.bulk import score
from moderato.heads import dense
from moderato.shards import open_shards
score._SAVED_EVERY_S = 0.01
class Slow(type(dense.read(Path(sys.argv[1])))):
    def score(self, rows):
        time.sleep(0.002)
        return super().score(rows)
head = dense.read(Path(sys.argv[1]))
head = Slow(head.name, head.encoder, head.labels, head.network)
print(score.score_shards(head, open_shards(Path(sys.argv[2])), Path(sys.argv[3]), rows=20).resumed)
"""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """Killed at moments of no one's choosing, again and again, until it is through."""
    (tmp_path / "in").mkdir()
    rows = unit_rows(4000)
    np.save(tmp_path / "in" / "e.npy", rows)
    head = trained(2)
    dense.write(head, tmp_path / "h.safetensors")
    output, record = tmp_path / "x.npy", tmp_path / "x.npy.part.json"
    command = [sys.executable, "-c", SCRIPT, *map(str, (tmp_path / "h.safetensors", tmp_path / "in", output))]
    done, kills = 0, 0
    while not output.exists():
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
            while run.poll() is None:
                time.sleep(0.01)
                if record.exists() and (now := json.loads(record.read_text())["done"]) > done + 900:
                    run.send_signal(signal.SIGKILL)
                    run.wait()
                    done, kills = now, kills + 1
    assert kills >= 2
    np.testing.assert_allclose(np.load(output), head.score(rows), atol=1e-6)
    assert not record.exists()


def test_two_runs_do_not_write_the_same_output(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.npy"
    with (
        _part.open_part(output, (500,), {"head": "h"}),
        pytest.raises(RequestError, match="being written by another run"),
    ):
        score_shards(trained(), open_shards(folder), output)
    assert score_shards(trained(), open_shards(folder), output).rows == 500


# ---- what cannot be done ----


def test_embeddings_of_another_size(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"emb_0.npy holds embeddings of 8 numbers, 'h' reads 9.*test/space"):
        score_shards(trained(dim=9), open_shards(folder), tmp_path / "x.npy")


def test_a_head_that_reads_rows_as_projected_refuses_unit_ones(folder: Path, tmp_path: Path) -> None:
    head = trained(unit=False)
    with pytest.raises(RequestError, match="were brought to unit length"):
        score_shards(head, open_shards(folder), tmp_path / "x.npy")
    np.save(tmp_path / "e.npy", 3 * unit_rows(20))
    assert score_shards(head, open_shards(tmp_path / "e.npy"), tmp_path / "x.npy").rows == 20


def test_outputs_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    shards = open_shards(folder)
    for name, complaint in (("x.csv", "written as .npy or .parquet"), ("no/x.npy", "cannot be written")):
        with pytest.raises(RequestError, match=complaint):
            score_shards(trained(), shards, tmp_path / name)
    before = (folder / "emb_0.npy").read_bytes()
    with pytest.raises(RequestError, match=r"emb_0\.npy is one of the files to score"):
        score_shards(trained(), shards, folder / "emb_0.npy")
    assert (folder / "emb_0.npy").read_bytes() == before


def test_a_table_without_pyarrow_is_refused_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "moderato.shards.parquet", raising=False)
    with pytest.raises(MissingExtra, match="pyarrow"):
        score_shards(trained(), open_shards(folder), tmp_path / "x.parquet")
    assert {file.name for file in tmp_path.iterdir()} == {"in"}


def test_a_file_that_loses_its_end_meanwhile(folder: Path, tmp_path: Path) -> None:
    shards = open_shards(folder)
    last = folder / "emb_10.npy"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(RequestError, match=r"emb_10\.npy: cut off"):
        score_shards(trained(), shards, tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()


# ---- the command ----


def test_the_command_scores_a_folder_and_says_what_it_did(folder: Path, tmp_path: Path, run: Run) -> None:
    rows = np.load(folder / "emb_2.npy")
    rows[[5, 70]] = np.nan
    np.save(folder / "emb_2.npy", rows)
    dense.write(trained(2), tmp_path / "h.safetensors")
    ended = run("score", "--head", tmp_path / "h.safetensors", "--embeddings", folder, "--output", tmp_path / "x.npy")
    assert (ended.code, ended.out) == (0, "")
    assert f"{tmp_path}/x.npy: 500 rows, " in ended.err
    assert ", 2 without a score (not finite)" in ended.err
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), trained(2).score(everything(folder)), atol=1e-6)


def test_the_command_goes_on_and_says_so(folder: Path, tmp_path: Path, run: Run) -> None:
    dense.write(trained(2), tmp_path / "h.safetensors")
    cut_after(3, dense.read(tmp_path / "h.safetensors"), folder, tmp_path / "x.parquet")
    ended = run(
        "score", "--head", tmp_path / "h.safetensors", "--embeddings", folder, "--output", tmp_path / "x.parquet"
    )
    assert "500 rows, 150 of them from an earlier run" in ended.err


def test_the_command_complains_like_all_others(folder: Path, tmp_path: Path, run: Run) -> None:
    dense.write(trained(dim=9), tmp_path / "h.safetensors")
    head, output = tmp_path / "h.safetensors", tmp_path / "x.npy"
    for arguments, complaint in (
        (("--head", "laion-nsfw-b23", "--embeddings", folder), "Did you mean 'laion-nsfw-b32'"),
        (("--head", head, "--embeddings", tmp_path / "none"), "there is no such file or folder"),
        (("--head", head, "--embeddings", folder), "'h' reads 9"),
        (("--head", "q16-b32", "--embeddings", folder), "Name yours"),
    ):
        assert complaint in run("score", *arguments, "--output", output).complaint


# ---- memory ----

PEAK = r"""
import re, sys
from pathlib import Path
from moderato.bulk.score import score_shards
from moderato.heads import dense
from moderato.shards import open_shards
def peak():  # getrusage would count what the process was forked from
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
head, shards = dense.read(Path(sys.argv[1])), open_shards(Path(sys.argv[2]))
head.score(next(shards[0].chunks(4)))
before = peak()
score_shards(head, shards, Path(sys.argv[3]), rows=eval(sys.argv[4]))
print(peak() - before)
"""


def sparse_npy(file: Path, rows: int, dim: int) -> None:
    """Zeros that take no room on the disk."""
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": (rows, dim)})
        stream.truncate(stream.tell() + rows * dim * 2)


def packed_npz(file: Path, rows: int, dim: int) -> None:
    np.savez_compressed(file, embeddings=np.zeros((rows, dim), np.float16))


def one_group(file: Path, rows: int, dim: int) -> None:
    """A table whose rows are all in one group."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    flat = pa.array(np.random.default_rng(1).standard_normal(rows * dim, dtype=np.float32))
    table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, dim)})
    pq.write_table(table, file, row_group_size=rows, compression="none", use_dictionary=False)


@pytest.fixture(
    params=[("x.npy", sparse_npy, 250_000), ("x.npz", packed_npz, 150_000), ("x.parquet", one_group, 50_000)]
)
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A file, and how many MiB of numbers are in it."""
    name, write, rows = request.param
    write(tmp_path / name, rows, 512)
    yield tmp_path / name, rows * 512 * (4 if name == "x.parquet" else 2) >> 20
    (tmp_path / name).unlink()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak there")
def test_memory_does_not_grow_with_the_file(large: tuple[Path, int], tmp_path: Path) -> None:
    file, size = large
    dense.write(trained(dim=512), tmp_path / "h.safetensors")
    command = [sys.executable, "-c", PEAK, *map(str, (tmp_path / "h.safetensors", file, tmp_path / "o.npy"))]
    in_pieces, at_once = (
        int(subprocess.run([*command, rows], capture_output=True, text=True, check=True).stdout)
        for rows in ("None", "10**9")
    )
    assert in_pieces < 48 < size < at_once
