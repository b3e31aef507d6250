"""Embeddings in files: read in pieces, the same numbers whatever the kind; what is wrong is said, and in which file."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from moderato import plugins
from moderato.errors import MissingExtra, RequestError
from moderato.shards import Shard, open_shards, read_table

Array = NDArray[Any]
ROWS = np.random.RandomState(4).standard_normal((53, 6)).astype(np.float32)


def write_npy(file: Path, rows: Array) -> Path:
    np.save(file, rows)
    return file


def write_npz(file: Path, rows: Array, **columns: Array) -> Path:
    np.savez(file, embeddings=rows, **columns)
    return file


def write_packed(file: Path, rows: Array) -> Path:
    np.savez_compressed(file, embeddings=rows)
    return file


def write_parquet(file: Path, rows: Any, *, fixed: bool = True, group: int = 20, **columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    if isinstance(rows, np.ndarray):
        flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
        wide = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
        rows = wide if fixed else pa.ListArray.from_arrays(pa.array(offsets), flat)
    names = columns.pop("names", ["embedding"])
    pq.write_table(pa.table([rows, *columns.values()], [*names, *columns]), file, row_group_size=group)
    return file


WRITERS: dict[str, tuple[str, Callable[..., Path]]] = {
    "npy": ("x.npy", write_npy),
    "npz": ("x.npz", write_npz),
    "packed npz": ("x.npz", write_packed),
    "parquet": ("x.parquet", write_parquet),
    "parquet, lists of any length": ("x.parquet", lambda file, rows: write_parquet(file, rows, fixed=False)),
}


@pytest.fixture(params=WRITERS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Array], Path]:
    name, writer = WRITERS[request.param]
    return lambda rows: writer(tmp_path / name, rows)


def whole(shard: Shard, rows: int = 10, start: int = 0) -> Array:
    return np.concatenate([*shard.chunks(rows, start), np.empty((0, shard.dim), np.float16)])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_every_kind_gives_the_same_rows_in_pieces(write: Callable[[Array], Path], dtype: str) -> None:
    rows = ROWS.astype(dtype)
    (shard,) = open_shards(write(rows))
    assert (shard.rows, shard.dim) == (53, 6)
    for count in (1, 7, 53, 1000):
        chunks = [*shard.chunks(count)]
        assert max(map(len, chunks)) <= count
        assert {chunk.dtype for chunk in chunks} == {rows.dtype}
        np.testing.assert_array_equal(np.concatenate(chunks), rows)


@pytest.mark.parametrize("start", [0, 1, 19, 20, 21, 40, 52, 53])
def test_reading_may_begin_anywhere(write: Callable[[Array], Path], start: int) -> None:
    (shard,) = open_shards(write(ROWS))
    np.testing.assert_array_equal(whole(shard, 8, start), ROWS[start:])


def test_a_file_without_rows(write: Callable[[Array], Path]) -> None:
    (shard,) = open_shards(write(ROWS[:0]))
    assert (shard.rows, [*shard.chunks(5)]) == (0, [])


def test_npy_in_other_byte_order_and_version(tmp_path: Path) -> None:
    (shard,) = open_shards(write_npy(tmp_path / "x.npy", ROWS.astype(">f4")))
    np.testing.assert_array_equal(whole(shard), ROWS)
    with (tmp_path / "y.npy").open("wb") as stream:
        np.lib.format.write_array(stream, ROWS, version=(2, 0))
    np.testing.assert_array_equal(whole(open_shards(tmp_path / "y.npy")[0]), ROWS)


# ---- folders ----


def test_a_folder_is_its_files_in_natural_order(tmp_path: Path) -> None:
    for i in (10, 2, 1, 0):
        write_npy(tmp_path / f"img_emb_{i}.npy", np.full((i + 1, 4), i, np.float16))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.npz").write_text("x")
    shards = open_shards(tmp_path)
    assert [shard.path.name for shard in shards] == [f"img_emb_{i}.npy" for i in (0, 1, 2, 10)]
    assert [shard.rows for shard in shards] == [1, 2, 3, 11]


def test_an_empty_file_among_others_is_no_obstacle(tmp_path: Path) -> None:
    import pyarrow as pa

    write_parquet(tmp_path / "1.parquet", pa.array([], pa.list_(pa.float32())))
    write_parquet(tmp_path / "2.parquet", ROWS, fixed=False)
    assert [(shard.rows, shard.dim) for shard in open_shards(tmp_path)] == [(0, 0), (53, 6)]


def test_folders_that_hold_no_shards_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no file of embeddings in it"):
        open_shards(tmp_path)
    write_npy(tmp_path / "1.npy", ROWS)
    write_npy(tmp_path / "2.npy", ROWS[:, :5].copy())
    with pytest.raises(RequestError, match=r"2\.npy holds embeddings of 5 numbers, .*1\.npy of 6"):
        open_shards(tmp_path)
    write_npz(tmp_path / "3.npz", ROWS)
    with pytest.raises(RequestError, match=r"several kinds \(.npy, .npz\)"):
        open_shards(tmp_path)


def test_what_is_no_file_of_embeddings(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(RequestError, match=r"x\.csv: embeddings are read from .npy, .npz, .parquet"):
        open_shards(tmp_path / "x.csv")
    with pytest.raises(RequestError, match=r"none\.npy: there is no such file"):
        open_shards(tmp_path / "none.npy")


# ---- columns ----


def test_columns_beside_embeddings(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    sources, labels = [f"ü {i}.jpg" for i in range(53)], [*range(53)]
    npz = write_npz(tmp_path / "x.npz", ROWS, sources=np.array(sources), labels=np.array(labels))
    parquet = write_parquet(tmp_path / "x.parquet", ROWS, source=pa.array(sources), label=pa.array(labels))
    for file in (npz, parquet):
        (shard,) = open_shards(file)
        assert shard.column("source") == sources
        assert shard.column("label") == [str(label) for label in labels]
        assert shard.column("other") is None
    assert open_shards(write_npy(tmp_path / "x.npy", ROWS))[0].column("source") is None


def test_what_embed_writes_is_read(tmp_path: Path) -> None:
    names = np.array(["a.jpg", "b.jpg"], dtype=np.str_)
    np.savez(tmp_path / "x.npz", embeddings=ROWS[:2], sources=names, failed=names[:0], reasons=names[:0])
    (shard,) = open_shards(tmp_path / "x.npz")
    assert shard.column("source") == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(whole(shard), ROWS[:2])


def test_columns_that_do_not_fit(tmp_path: Path) -> None:
    for labels, complaint in ((np.array(["a"]), r"labels has the shape \(1,\)"), (np.array([{}] * 53), "pickled")):
        (shard,) = open_shards(write_npz(tmp_path / "x.npz", ROWS, labels=labels))
        with pytest.raises(RequestError, match=complaint):
            shard.column("label")


def test_bytes_and_missing_values_in_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    (npz,) = open_shards(write_npz(tmp_path / "x.npz", ROWS[:2], labels=np.array([b"a", b"\xff"])))
    assert npz.column("label") == ["a", "\ufffd"]
    (parquet,) = open_shards(write_parquet(tmp_path / "x.parquet", ROWS[:2], label=pa.array(["a", None])))
    assert parquet.column("label") == ["a", ""]


# ---- Parquet's own ----


def test_a_table_without_embeddings(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    file = write_parquet(
        tmp_path / "x.parquet", pa.array(["a.jpg", "b.jpg"]), names=["source"], label=pa.array([1, None])
    )
    assert read_table(file, ["label", "source"]) == {"label": ["1", ""], "source": ["a.jpg", "b.jpg"]}
    with pytest.raises(RequestError, match=r"x\.parquet: there is no column 'other'"):
        read_table(file, ["source", "other"])
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RequestError, match=r"x\.parquet: not a whole Parquet file"):
        read_table(file, ["source"])


def test_the_column_of_embeddings_is_found(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    other = pa.array([[1.0]] * 53)
    (shard,) = open_shards(write_parquet(tmp_path / "1.parquet", ROWS, names=["clip"], n=pa.array([*range(53)])))
    np.testing.assert_array_equal(whole(shard), ROWS)
    (shard,) = open_shards(write_parquet(tmp_path / "2.parquet", ROWS, other=other))
    np.testing.assert_array_equal(whole(shard), ROWS)
    for names, more in ((["clip"], {"other": other}), (["clip"], {})):
        rows = ROWS if more else pa.array([*range(53)])
        with pytest.raises(RequestError, match=r"3\.parquet: it should have a column 'embedding' .*clip"):
            open_shards(write_parquet(tmp_path / "3.parquet", rows, names=names, **more))


@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
def test_lists_and_numbers_that_are_missing_are_nan(tmp_path: Path, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    types = {
        "fixed": pa.list_(pa.float32(), 2),
        "list": pa.list_(pa.float32()),
        "large": pa.large_list(pa.float64()),
    }
    lists = [None, [1, 2], [3, None], None, [5, 6]]
    (shard,) = open_shards(write_parquet(tmp_path / "x.parquet", pa.array(lists, types[kind]), group=3))
    expected = [[np.nan] * 2, [1, 2], [3, np.nan], [np.nan] * 2, [5, 6]]
    for rows in (1, 2, 5):
        np.testing.assert_array_equal(whole(shard, rows), expected)
        np.testing.assert_array_equal(whole(shard, rows, 2), expected[2:])


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    lists = [[1.0, 2.0], None, [3.0, 4.0], [5.0]]
    (shard,) = open_shards(write_parquet(tmp_path / "x.parquet", pa.array(lists), group=2))
    with pytest.raises(RequestError, match=r"x\.parquet: row 3 has 1 numbers in embedding, the first has 2"):
        whole(shard)


def test_without_pyarrow_only_parquet_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet, npy = tmp_path / "x.parquet", write_npy(tmp_path / "x.npy", ROWS)
    parquet.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "moderato.shards.parquet", raising=False)
    with pytest.raises(MissingExtra, match="pyarrow"):
        open_shards(parquet)
    assert open_shards(npy)


# ---- damage and malice ----


def test_arrays_that_are_no_embeddings(tmp_path: Path) -> None:
    wrong: list[tuple[Array, str]] = [
        (np.array([[{}]]), "pickled objects, which are never read"),
        (ROWS.astype(np.int32), "holds int32; embeddings are float16, float32 or float64"),
        (np.array([["a"]]), "holds <U1"),
        (ROWS[0], r"the shape \(6,\)"),
        (ROWS[None], r"the shape \(1, 53, 6\)"),
        (ROWS[:, :0], r"the shape \(53, 0\)"),
        (np.asfortranarray(ROWS), "column by column"),
    ]
    for array, complaint in wrong:
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        np.savez(tmp_path / "x.npz", embeddings=array)
        for file in (tmp_path / "x.npy", tmp_path / "x.npz"):
            with pytest.raises(RequestError, match=complaint) as error:
                open_shards(file)
            assert str(error.value).startswith(str(file))


def test_an_archive_without_embeddings(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", vectors=ROWS)
    with pytest.raises(RequestError, match="no array 'embeddings' in it; it has vectors"):
        open_shards(tmp_path / "x.npz")


def test_a_file_cut_off_anywhere(write: Callable[[Array], Path]) -> None:
    file = write(ROWS)
    content = file.read_bytes()
    for length in (0, 5, 20, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(RequestError, match=file.name):
            [*open_shards(file)[0].chunks(10)]


def test_a_file_cut_off_after_it_was_opened(tmp_path: Path) -> None:
    file = write_npy(tmp_path / "x.npy", ROWS)
    (shard,) = open_shards(file)
    chunks = shard.chunks(10)
    next(chunks)
    file.write_bytes(file.read_bytes()[:-24])
    with pytest.raises(RequestError, match=r"x\.npy: cut off in row 52"):
        [*shard.chunks(10)]


def test_damaged_bytes_in_an_archive_are_noticed(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "x.npz", np.tile(ROWS, (300, 1)))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (shard,) = open_shards(file)
    with pytest.raises(RequestError, match=r"x\.npz: cannot be read \(Bad CRC"):
        [*shard.chunks(10)]


def test_headers_that_lie(tmp_path: Path) -> None:
    content = write_npy(tmp_path / "x.npy", ROWS).read_bytes()
    for old, new in (
        (b"(53, 6), }           ", b"(5300000000000, 6), }"),
        (b"(53, 6)", b"(53, 6 "),
        (b"(53, 6)", b"(-3, 6)"),
        (b"'<f4'", b"'<q4'"),
        (b"NUMPY", b"numpy"),
    ):
        assert content.count(old) == 1
        file = tmp_path / "y.npy"
        file.write_bytes(content.replace(old, new))
        with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
            archive.write(file, "embeddings.npy")
        for lying in (file, tmp_path / "y.npz"):
            with pytest.raises(RequestError, match=lying.name):
                open_shards(lying)


def test_every_kind_of_shard_is_a_plugin() -> None:
    assert plugins.names("moderato.shards") == ("npy", "npz", "parquet")
