"""Token ids as CLIP has them. What transformers says of the same texts is in `test_reference.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as tokenizer_models

from models import END, START, VOCABULARY, edit_json, write_tokenizer
from moderato.encoders._tokenize import Tokenize
from moderato.errors import WeightsError
from vits import write_siglip_tokenizer

CONTEXT = 16
FIRST, LAST = VOCABULARY - 2, VOCABULARY - 1


@pytest.fixture(scope="module", params=[True, False], ids=["tokenizer.json", "vocab.json and merges.txt"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, whole=request.param)
    return folder


@pytest.fixture(scope="module")
def tokenize(folder: Path) -> Tokenize:
    return Tokenize(folder, CONTEXT, VOCABULARY)


def test_a_text_stands_between_start_and_end(tokenize: Tokenize) -> None:
    ids = tokenize(["a photo of a cat"])
    assert ids.dtype == np.int64
    assert ids[0, 0] == FIRST
    assert ids[0, -1] == LAST
    assert ids.shape == (1, 7)  # every word is one token
    assert ids[0, 1] == ids[0, 4]


def test_shorter_texts_are_filled_with_zeros(tokenize: Tokenize) -> None:
    ids = tokenize(["a photo of a cat", "cat", ""])
    assert ids[1].tolist() == [FIRST, ids[0, 5], LAST, 0, 0, 0, 0]
    assert ids[2].tolist() == [FIRST, LAST, 0, 0, 0, 0, 0]


def test_a_long_text_loses_its_tail_and_keeps_its_end(tokenize: Tokenize) -> None:
    (long,) = tokenize(["cat dog " * 50])
    (short,) = tokenize(["cat dog " * 7])
    assert long.tolist() == short.tolist()
    assert len(long) == CONTEXT
    assert long[-1] == LAST


@pytest.mark.parametrize("length", [CONTEXT - 3, CONTEXT - 2, CONTEXT - 1])
def test_a_text_that_just_fits_is_whole(tokenize: Tokenize, length: int) -> None:
    (ids,) = tokenize(["cat " * length])
    assert len(ids) == min(length + 2, CONTEXT)
    assert ids[-1] == LAST


@pytest.mark.parametrize("text", ["A CAT in a café", "  a\t\n cat in a  café ", "a cat in a cafe\u0301"])
def test_case_space_and_composition_do_not_matter(tokenize: Tokenize, text: str) -> None:
    assert np.array_equal(tokenize([text]), tokenize(["a cat in a café"]))
    assert not np.array_equal(tokenize([text]), tokenize(["acat in a café"]))


def test_no_texts_are_no_rows(tokenize: Tokenize) -> None:
    assert tokenize([]).shape == (0, 0)


def test_both_forms_of_the_files_give_the_same_ids(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        write_tokenizer(tmp_path / name, whole=name == "whole")
    whole, parts = (Tokenize(tmp_path / name, CONTEXT, VOCABULARY) for name in ("whole", "parts"))
    texts = ["it's a cat's", "日本語 🙂", "1234", "", "café NAÏVE!!!", "under_score", "x" * 500]
    assert np.array_equal(whole(texts), parts(texts))


@settings(deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=4))
def test_any_texts_become_rows_that_start_and_end(tokenize: Tokenize, texts: list[str]) -> None:
    ids = tokenize(texts)
    assert ids.shape[0] == len(texts)
    assert 2 <= ids.shape[1] <= CONTEXT
    assert (ids[:, 0] == FIRST).all()
    assert ((ids == LAST).sum(axis=1) >= 1).all()
    assert ((ids >= 0) & (ids < VOCABULARY)).all()


def test_padding_and_truncation_of_the_file_itself_are_not_used(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    plain = Tokenize(tmp_path, CONTEXT, VOCABULARY)(["a cat", "a cat on the beach with people"])
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(pad_id=LAST, pad_token=END, length=12)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert np.array_equal(Tokenize(tmp_path, CONTEXT, VOCABULARY)(["a cat", "a cat on the beach with people"]), plain)


def test_byte_pairs_know_every_word(tokenize: Tokenize) -> None:
    assert not tokenize.knows_nothing_of("cat")
    assert not tokenize.knows_nothing_of("xyzzy 日本語")


def test_whole_words_may_all_be_unknown(tmp_path: Path) -> None:
    ids = {"<pad>": 0, "[UNK]": 1, "cat": 2, START: 3, END: 4}
    tokenizer = Tokenizer(tokenizer_models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 3), (END, 4)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenize = Tokenize(tmp_path, CONTEXT, 5)
    assert tokenize(["cat dog"]).tolist() == [[3, 2, 1, 4]]
    assert not tokenize.knows_nothing_of("a cat")
    assert tokenize.knows_nothing_of("a dog")
    assert tokenize.knows_nothing_of("")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    write_siglip_tokenizer(folder, VOCABULARY)
    return folder


def filled(folder: Path, canonical: bool = True) -> Tokenize:
    return Tokenize(folder, CONTEXT, VOCABULARY, filled=True, canonical=canonical)


def test_siglips_texts_end_and_are_filled_up(siglip: Path) -> None:
    ids = filled(siglip)(["a photo of a cat", "", "cat " * 40])
    end, filling = 1, 0
    assert ids.shape == (3, CONTEXT)
    assert ids[0].tolist().index(end) == 8  # five words, and a space before all but the second a, which has its own
    assert set(ids[0, 9:]) == {filling}
    assert ids[1].tolist() == [end] + [filling] * (CONTEXT - 1)
    assert (ids[2, -1], ids[2, 0]) == (end, ids[0, 7])
    assert (ids[2, :-1] > 3).all()


@pytest.mark.parametrize("text", ["A Cat, in a café!", "a_cat in (a) café.", " a cat\t\nin a   'café' "])
def test_siglips_texts_lose_case_and_punctuation(siglip: Path, text: str) -> None:
    assert np.array_equal(filled(siglip)([text]), filled(siglip)(["a cat in a café"]))
    assert not np.array_equal(filled(siglip, canonical=False)([text]), filled(siglip)(["a cat in a café"]))


@pytest.mark.parametrize(("stated", "filling"), [("<unk>", 3), ({"content": "<eos>", "lstrip": False}, 1), (None, 0)])
def test_the_filling_is_what_the_tokenizers_config_says(
    siglip: Path, stated: object, filling: int, tmp_path: Path
) -> None:
    write_siglip_tokenizer(tmp_path, VOCABULARY)
    edit_json(tmp_path / "tokenizer_config.json", lambda config: config.update(pad_token=stated))
    assert filled(tmp_path)(["cat"])[0, -1] == filling
    (tmp_path / "tokenizer_config.json").unlink()
    assert np.array_equal(filled(tmp_path)(["cat"]), filled(siglip)(["cat"]))


@pytest.mark.parametrize("content", [b'{"pad_token": "<nothing>"}', b'{"pad_token": 7}', b'{"pad_token": {}}', b"no"])
def test_a_filling_that_is_no_token_is_refused(content: bytes, tmp_path: Path) -> None:
    write_siglip_tokenizer(tmp_path, VOCABULARY)
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"tokenizer_config\.json: (pad_token should be a token|not a readable JSON)"
    ):
        filled(tmp_path)


def test_a_tokenizer_of_another_family_is_refused(siglip: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match="a start and an end token around a text; it adds 1 tokens"):
        Tokenize(siglip, CONTEXT, VOCABULARY)
    with pytest.raises(WeightsError, match="one end token behind a text; it adds 2 tokens"):
        filled(folder)


def refused(folder: Path, *parts: str) -> None:
    with pytest.raises(WeightsError) as raised:
        Tokenize(folder, CONTEXT, VOCABULARY)
    for part in (str(folder), *parts):
        assert part in str(raised.value)


def test_a_folder_without_tokenizer_is_refused_with_the_names_of_the_files(tmp_path: Path) -> None:
    refused(tmp_path, "tokenizer.json", "vocab.json", "merges.txt")
    (tmp_path / "vocab.json").write_text("{}")
    refused(tmp_path, "tokenizer.json", "vocab.json", "merges.txt")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_damaged_tokenizer_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    refused(tmp_path, "cannot be read")


@pytest.mark.parametrize(("name", "content"), [
    ("vocab.json", b"{}"), ("vocab.json", b"no"), ("merges.txt", b"a b c\n"), ("merges.txt", b"qq zz\n"),
])  # fmt: skip
def test_damaged_vocabularies_and_merges_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, whole=False)
    (tmp_path / name).write_bytes(content)
    refused(tmp_path, "cannot be read")


def test_a_vocabulary_beyond_the_tower_is_refused_with_both_figures(folder: Path) -> None:
    with pytest.raises(WeightsError, match="ids up to 639, the text tower only 600"):
        Tokenize(folder, CONTEXT, 600)


def test_a_tokenizer_that_frames_nothing_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    edit_json(tmp_path / "tokenizer.json", lambda tokenizer: tokenizer.update(post_processor=None))
    refused(tmp_path, "a start and an end token around a text", "adds 0 tokens")
