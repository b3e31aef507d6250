from __future__ import annotations

import base64
import threading
from pathlib import Path

import numpy as np
import pytest

import moderato
from moderato.assemble import Workshop
from moderato.media.load import Base64, Url
from moderato.moderator import Moderator
from moderato.policy import policy_of_labels, read_policy
from moderato.settings import Settings
from moderato.types import Rows, Source, Views
from pictures import animation, encoded, photo

BAD = Source(b"<html></html>", "bad")


@pytest.fixture
def moderator(tmp_path: Path) -> Moderator:
    return Workshop(Settings(data=tmp_path / "data", rows=8, threads=2)).moderator("demo")


def pictures(count: int) -> list[Source]:
    return [Source(encoded(photo(96, 64, seed)), f"{seed}.png") for seed in range(count)]


class Counted:
    """Counts the calls of an encoder, and the views in each."""

    def __init__(self, moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        encoder = moderator.encoder("tiny")
        project = encoder.project

        def counted(views: Views) -> Rows:
            self.calls.append(len(views))
            return project(views)

        monkeypatch.setattr(encoder, "project", counted)


def test_load_and_check_are_two_lines() -> None:
    verdict = moderato.load("demo").check(encoded(photo()))
    assert verdict.action in ("allow", "review", "block")
    assert set(verdict.scores) == {"knife", "pistol", "bottle", "cigarette", "skull"}
    marks = verdict.fingerprints
    assert marks.encoders == {"tiny": "moderato/tiny-1"}
    assert marks.views == {"tiny": "48 px, squash, bicubic"}
    assert marks.heads == {}
    assert (len(marks.source or ""), len(marks.policy)) == (64, 64)


def test_many_pictures_take_few_encoder_calls(moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(moderator, monkeypatch)
    assert len(list(moderator.check_many(pictures(20)))) == 20
    assert counted.calls == [8, 8, 4]


def test_policies_and_labels_share_rows(moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = moderator.ready(read_policy("demo"))
    labels = moderator.ready(policy_of_labels(["a cat", "a fish"], "tiny", fit="squash"))
    counted = Counted(moderator, monkeypatch)
    mixed = list(moderator.run((source, task) for source in pictures(4) for task in (demo, labels)))
    assert counted.calls == [8]
    assert [verdict.policy for verdict in mixed] == ["demo", "labels"] * 4
    alone = list(moderator.check_many(pictures(4)))
    assert [verdict.scores for verdict in mixed[::2]] == [pytest.approx(verdict.scores, abs=1e-5) for verdict in alone]


def test_batch_is_single(moderator: Moderator) -> None:
    together = list(moderator.check_many(pictures(11)))
    for source, verdict in zip(pictures(11), together, strict=True):
        single = moderator.check(source)
        assert single.source == verdict.source == source.name
        assert single.scores == pytest.approx(verdict.scores, abs=1e-5)


def test_a_bad_picture_is_its_own_affair(moderator: Moderator) -> None:
    good, bad, last = moderator.check_many([pictures(1)[0], BAD, pictures(2)[1]])
    assert bad.unscannable == "not_a_picture: the file is an HTML page, not a picture in a format known here."
    assert (bad.action, bad.scores, bad.reasons) == ("review", {}, ())
    assert good.unscannable is None
    assert last.source == "1.png"


@pytest.mark.parametrize("action", ["allow", "review", "block"])
def test_the_policy_says_what_happens_to_the_unscannable(moderator: Moderator, action: str) -> None:
    policy = read_policy("demo").model_copy(update={"unscannable": action})
    assert moderator.check(BAD, policy).action == action


def test_sources_are_read_as_they_are_needed(moderator: Moderator) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield pictures(1)[0]

    verdicts = moderator.check_many(endless())  # type: ignore[arg-type]
    for _ in range(5):
        next(verdicts)
    assert taken < 100


def test_every_way_of_sending_gives_the_same_scores(moderator: Moderator, tmp_path: Path) -> None:
    data = encoded(photo())
    (tmp_path / "a.png").write_bytes(data)
    text = base64.encodebytes(data).decode()
    ways = [
        data,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Source(data, "x"),
        Base64(text),
        Base64(f"data:;base64,{text}"),
    ]
    first, *others = moderator.check_many(ways)
    assert first.unscannable is None
    assert all(other.scores == pytest.approx(first.scores, abs=1e-5) for other in others)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (Path("nowhere.png"), "unreadable"),
        (Path(), "unreadable"),
        (Base64("@@@"), "bad_base64"),
        (Base64("nonsense,AAAA"), "bad_base64"),
        (Base64(""), "empty"),
        (Url("/etc/hostname"), "forbidden_url"),
        (Url("file:///etc/hostname"), "forbidden_url"),
        (Url("http://127.0.0.1:9/x.png"), "forbidden_address"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_read_says_why(moderator: Moderator, sent: object, code: str) -> None:
    verdict = moderator.check(sent)  # type: ignore[arg-type]
    assert (verdict.unscannable or "").startswith(f"{code}: ")


def test_animations_are_judged_by_their_worst_frame(moderator: Moderator) -> None:
    frames = moderator.check(animation("GIF"))
    assert frames.unscannable is None
    times = {reason.time for reason in moderator.check(animation("GIF"), _reviewing_everything()).reasons}
    looked_at = np.linspace(0, 19, 8).round() / 10
    assert all(np.abs(looked_at - time).min() < 0.02 for time in times)


def _reviewing_everything() -> moderato.Policy:
    demo = read_policy("demo")
    labels = {name: label.model_copy(update={"review": 0.0, "block": None}) for name, label in demo.labels.items()}
    return demo.model_copy(update={"labels": labels})


def test_small_pictures_are_judged_with_a_note(moderator: Moderator) -> None:
    verdict = moderator.check(encoded(photo(40, 30)))
    assert verdict.scores
    assert any("40 x 30" in note for note in verdict.notes)


def test_labels_without_a_known_word_mean_nothing_and_say_so(moderator: Moderator) -> None:
    answer = moderator.classify(encoded(photo()), ["zxqv", "a red knife"])
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert [note for note in answer.notes if "'zxqv'" in note]
    assert not [note for note in answer.notes if "'a red knife'" in note]


def test_independent_labels_do_not_share(moderator: Moderator) -> None:
    picture = encoded(photo())
    alone = moderator.classify(picture, ["a knife"], independent=True)
    among = moderator.classify(picture, ["a knife", "a cat"], independent=True)
    assert alone.probabilities["a knife"] == pytest.approx(among.probabilities["a knife"], abs=1e-6)


def test_embeddings_are_rows_of_unit_length_and_failures_keep_their_place(moderator: Moderator) -> None:
    rows = list(moderator.embed_many([pictures(1)[0], BAD, Source(animation("GIF"), "moving")]))
    assert rows[1].embedding is None
    assert rows[1].unscannable
    for row in (rows[0], rows[2]):
        assert row.embedding is not None
        assert row.embedding.dtype == np.float32
        assert np.linalg.norm(row.embedding) == pytest.approx(1, abs=1e-5)


def test_threads_never_mix_their_answers(moderator: Moderator) -> None:
    sources = pictures(6)
    expected = {source.name: moderator.check(source).scores for source in sources}
    wrong: list[str] = []

    def judge(mine: list[Source]) -> None:
        for source, verdict in zip(mine, moderator.check_many(mine), strict=True):
            if verdict.source != source.name or verdict.scores != pytest.approx(expected[source.name], abs=1e-5):
                wrong.append(source.name)

    threads = [threading.Thread(target=judge, args=(sources[i:] + sources[:i],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
