"""What is evaluated on: every form it may have, and everything that may be wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from moderato.errors import RequestError
from moderato.evaluate.dataset import Dataset, open_dataset
from moderato.evaluate.judging import Answer, judge_by_head, merge
from moderato.heads import Head
from moderato.layers import Linear, Network
from pictures import encoded, photo

ROWS = np.eye(4, 6, dtype=np.float32)


def drawn(folder: Path, *names: str, seed: int = 0) -> None:
    """A different picture under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo(40, 30, seed=seed + number)))


def complaint(place: Path) -> str:
    with pytest.raises(RequestError) as caught:
        open_dataset(str(place))
    return str(caught.value)


def pairs(data: Dataset) -> list[tuple[str, str]]:
    return sorted(zip(data.names, data.truths, strict=True))


# Folders of pictures


def test_a_folder_names_the_label_of_all_that_is_below_it(tmp_path: Path) -> None:
    drawn(tmp_path, "knife/a.png", "knife/deep/er/b.png", "house/c.png")
    data = open_dataset(str(tmp_path))
    assert pairs(data) == [("house/c.png", "house"), ("knife/a.png", "knife"), ("knife/deep/er/b.png", "knife")]
    assert data.sources is not None
    assert all(isinstance(source, Path) and source.is_file() for source in data.sources)
    assert data.notes == ()


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    drawn(tmp_path, "knife/a.png")
    (tmp_path / "skull").mkdir()
    data = open_dataset(str(tmp_path))
    assert dict(data.labels) == {"knife": 1}
    assert data.notes == ("The folder 'skull' holds no picture.",)


def test_a_broken_picture_stays_and_what_is_none_is_passed_over_aloud(tmp_path: Path) -> None:
    drawn(tmp_path, "knife/a.png", "loose.png")
    (tmp_path / "knife" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "knife" / "notes.txt").write_text("mine")
    (tmp_path / "knife" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    drawn(tmp_path, ".git/x.png")
    data = open_dataset(str(tmp_path))
    assert pairs(data) == [("knife/a.png", "knife"), ("knife/broken.jpg", "knife")]
    assert data.notes == ("Files passed over because they are no pictures or stand under no label: 2.",)


def test_a_picture_without_an_ending_is_known_by_its_bytes(tmp_path: Path) -> None:
    drawn(tmp_path, "knife/picture")
    assert len(open_dataset(str(tmp_path))) == 1


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/kn\xefve"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/\xff.png")).write_bytes(encoded(photo(40, 30)))
    data = open_dataset(str(tmp_path))
    assert os.fsencode(data.names[0]) == b"kn\xefve/\xff.png"
    assert data.sources is not None
    assert Path(data.sources[0]).is_file()


def test_a_folder_without_labelled_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "knife").mkdir()
    assert "there is no labelled picture" in complaint(tmp_path)
    assert "'knife' holds no picture" in complaint(tmp_path)


def test_a_place_that_is_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in complaint(tmp_path / "nowhere")
    (tmp_path / "set.txt").write_text("")
    assert "a folder with a folder for each label" in complaint(tmp_path / "set.txt")


# Tables


def test_a_csv_names_files_beside_it_and_urls(tmp_path: Path) -> None:
    drawn(tmp_path, "pictures/a.png")
    table = tmp_path / "set.csv"
    table.write_text("\ufeffid,Label,source\n1, knife ,pictures/a.png\n\n2,house,https://example.org/b.jpg\n", "utf-8")
    data = open_dataset(str(table))
    assert data.truths == ("knife", "house")
    assert data.sources == (tmp_path / "pictures/a.png", "https://example.org/b.jpg")


def test_a_csv_with_names_that_are_no_utf8(tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_bytes(b"source,label\n\xff.png,knife\n")
    assert os.fsencode(open_dataset(str(table)).names[0]) == b"\xff.png"


def test_rows_that_say_the_same_twice_count_once(tmp_path: Path) -> None:
    table = tmp_path / "set.csv"
    table.write_text("source,label\na.png,knife\na.png,knife\na.png,sharp\n")
    data = open_dataset(str(table))
    assert pairs(data) == [("a.png", "knife"), ("a.png", "sharp")]
    assert data.notes == ("Rows that say again what an earlier one says: 1.",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has nothing"),
        ("file,label\na,b\n", "source and label; it has file, label"),
        ("source,label\na.png,\n", "no label in row 1"),
        ("source,label\n ,knife\n", "row 1 names no source"),
        ("source,label\na.png\n", "line 2: it has 1 of the 2 columns"),
        ("source,label\n", "there is no labelled picture"),
        ('source,label\n"' + "a" * 200_000 + '",b\n', "cannot be read as CSV"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "set.csv"
    table.write_text(text)
    assert words in complaint(table)
    assert "set.csv" in complaint(table)


# Embeddings


def test_a_npy_for_each_label(tmp_path: Path) -> None:
    np.save(tmp_path / "knife.npy", ROWS[:3])
    np.save(tmp_path / "house.npy", ROWS[3:].astype(np.float16))
    np.save(tmp_path / "skull.npy", ROWS[:0])
    data = open_dataset(str(tmp_path))
    assert data.sources is None
    assert data.rows is not None
    assert (data.rows.dtype, data.rows.shape) == (np.float32, (4, 6))
    assert dict(data.labels) == {"knife": 3, "house": 1}
    assert data.names[:2] == ("house.npy[0]", "knife.npy[0]")
    assert data.notes == ("'skull.npy' has no row.",)
    assert np.array_equal(data.rows[1:], ROWS[:3])


def test_the_layout_of_laion_s_own_test_set(tmp_path: Path) -> None:
    for label, rows in (("porn-testset", ROWS[:2]), ("neutral-testset", ROWS[2:])):
        for part in ("img_emb", "text_emb"):
            (tmp_path / label / part).mkdir(parents=True)
            np.save(tmp_path / label / part / f"{part}_0.npy", rows)
    data = open_dataset(str(tmp_path))
    assert dict(data.labels) == {"porn-testset": 2, "neutral-testset": 2}


def test_embeddings_of_two_sizes_or_among_pictures_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "knife.npy", ROWS)
    np.save(tmp_path / "house.npy", ROWS[:, :5])
    assert "rows of 6 numbers" in complaint(tmp_path)
    drawn(tmp_path, "skull/a.png")
    assert "pictures and embeddings" in complaint(tmp_path)


def test_an_archive_with_labels(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, embeddings=ROWS, labels=np.array(["a", "b", "a", "b"]), sources=np.array(list("wxyz")))
    data = open_dataset(str(file))
    assert data.truths == ("a", "b", "a", "b")
    assert data.names == ("w", "x", "y", "z")


def test_an_archive_with_numbers_for_labels(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, embeddings=ROWS, labels=np.array([0, 1, 0, 1]))
    data = open_dataset(str(file))
    assert (data.truths, data.names[0]) == (("0", "1", "0", "1"), "set.npz[0]")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"embeddings": ROWS}, "not an array 'labels'"),
        ({"labels": np.array(["a"])}, "embeddings"),
        ({"embeddings": ROWS, "labels": np.array(["a", "b"])}, "labels"),
        ({"embeddings": ROWS, "labels": np.array(["a", "b", " ", "c"])}, "no label in row 3"),
        ({"embeddings": ROWS[:0], "labels": np.array([], dtype=str)}, "no labelled picture"),
        ({"embeddings": ROWS, "labels": np.array([{}, {}, {}, {}])}, "pickle"),
    ],
)
def test_an_archive_that_cannot_be_used_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **arrays)
    assert words in complaint(file)


def test_files_that_only_look_like_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"PK no archive")
    assert "set.npz" in complaint(tmp_path / "set.npz")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "knife.npy").write_bytes(b"\x93NUMPY\x01\x00")
    assert "knife.npy" in complaint(tmp_path / "sub")
    np.save(tmp_path / "single.npy", ROWS)
    assert "a .npy for each label" in complaint(tmp_path / "single.npy")


def test_parquet_with_embeddings_and_labels(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "set.parquet"
    pq.write_table(pa.table({"embedding": list(ROWS), "label": ["a", "b", "a", "b"]}), file)
    data = open_dataset(str(file))
    assert data.truths == ("a", "b", "a", "b")
    assert data.rows is not None
    assert np.array_equal(data.rows, ROWS)


def test_parquet_of_sources_and_labels(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "set.parquet"
    pq.write_table(pa.table({"source": ["a.png", "b.png"], "label": ["knife", "house"]}), file)
    data = open_dataset(str(file))
    assert data.truths == ("knife", "house")
    assert data.sources == (tmp_path / "a.png", tmp_path / "b.png")
    pq.write_table(pa.table({"file": ["a.png"], "label": ["knife"]}), file)
    assert "source" in complaint(file) or "embedding" in complaint(file)


# One entry for each picture


def entries(*truths: str) -> Dataset:
    names = tuple(f"{number}.png" for number in range(len(truths)))
    return Dataset("set", names, truths, tuple(map(Path, names)), None)


def test_copies_of_a_picture_count_once_with_all_their_labels() -> None:
    answers = [Answer((0.9,), "block", digest=digest) for digest in ("x", "y", "x", "x")]
    judged = merge(entries("knife", "house", "knife", "sharp"), ("knife",), answers)
    assert [(picture.name, picture.truths) for picture in judged.pictures] == [
        ("0.png", ("knife", "sharp")),
        ("1.png", ("house",)),
    ]
    assert judged.copies == {"2.png": "0.png", "3.png": "0.png"}
    assert judged.scores.shape == (2, 1)
    assert judged.truth(["sharp"]).tolist() == [True, False]


def test_what_cannot_be_scanned_is_kept_apart() -> None:
    answers = [Answer(None, "review", "unreadable: it is gone."), Answer((0.1,), "allow", digest="x")]
    judged = merge(entries("knife", "house"), ("knife",), answers)
    assert [picture.name for picture in judged.pictures] == ["1.png"]
    (failed,) = judged.unscannable
    assert (failed.picture.name, failed.picture.truths) == ("0.png", ("knife",))
    assert failed.reason == "unreadable: it is gone."


def test_nothing_that_could_be_scanned_is_no_crash() -> None:
    judged = merge(entries("knife"), ("knife", "skull"), [Answer(None, "review", "broken")])
    assert judged.scores.shape == (0, 2)
    assert judged.truth(["knife"]).shape == (0,)


def test_a_head_scores_rows_without_an_encoder_and_never_a_row_that_is_none() -> None:
    weights = np.zeros((1, 6), np.float32)
    weights[0, 0] = 9
    head = Head("mine", "somebody/space", ("nsfw",), Network((Linear(weights, np.zeros(1, "f4")),), "sigmoid"))
    rows = np.concatenate([ROWS[:3], np.zeros((1, 6), "f4"), np.full((1, 6), np.nan, "f4"), ROWS[:1]])
    names = tuple("abcdef")
    judged, cost = judge_by_head(head, 0.9, Dataset("set", names, ("x",) * 6, None, rows))
    assert judged.scores[:, 0].round(3).tolist() == [1.0, 0.5, 0.5]
    assert judged.actions == ("review", "allow", "allow")
    assert [item.picture.name for item in judged.unscannable] == ["d", "e"]
    assert judged.copies == {"f": "a"}
    assert cost.stages == {}
    with pytest.raises(RequestError, match="rows of 5 numbers; those of 'mine' have 6"):
        judge_by_head(head, 0.9, Dataset("set", names, ("x",) * 6, None, rows[:, :5]))
