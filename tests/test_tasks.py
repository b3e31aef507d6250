"""Policies whose labels are scored by several encoders and heads: each encoder sees each view once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import HALVES, SHAPES, write_open_clip
from moderato.encoders import Encoder, open_encoder
from moderato.errors import PolicyError, WeightsError
from moderato.heads import Head
from moderato.layers import Linear, Network
from moderato.media import Limits, prepare
from moderato.moderator import Moderator
from moderato.policy import Policy, read_policy
from moderato.store.embeddings import EmbeddingCache
from moderato.types import Encoded, Place, Rows, Source, Views
from pictures import animation, encoded, photo

PICTURES = [Source(encoded(photo(96, 64, seed)), f"{seed}.png") for seed in range(5)]
BAD = Source(b"nothing", "bad")


def linear(encoder: Encoder, *labels: str, seed: int = 0, unit: bool = True) -> Head:
    random = np.random.RandomState(seed)
    weight = random.standard_normal((len(labels), encoder.dim)).astype(np.float32)
    network = Network((Linear(weight, np.zeros(len(labels), np.float32)),), "sigmoid", unit)
    return Head(f"head-{seed}", encoder.identity, labels, network)


class House:
    """Two random CLIPs under the names `quick` and `patch14`, and heads for them; counts what encoders are shown."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoders = {
            name: open_encoder(write_open_clip(folder / name, SHAPES[name]), name=name) for name in ("quick", "patch14")
        }
        self.heads: dict[str, Head] = {
            "nsfw": linear(self.encoders["quick"], "nsfw", "sfw"),
            "one": linear(self.encoders["quick"], "single", seed=1),
            "far": linear(self.encoders["patch14"], "weapon", seed=2, unit=False),
        }
        self.opened: Counter[str] = Counter()
        self.shown: Counter[str] = Counter()
        self.cache: EmbeddingCache | None = None
        for name, encoder in self.encoders.items():
            monkeypatch.setattr(encoder, "project", self._counting(name, encoder))

    def _counting(self, name: str, encoder: Encoder) -> Any:
        project = encoder.project

        def counted(views: Views) -> Rows:
            self.shown[name] += len(views)
            return project(views)

        return counted

    def encoder(self, name: str) -> Encoder:
        self.opened[name] += 1
        return self.encoders[name]

    def head(self, name: str, file: str | None) -> Head:
        self.opened[name] += 1
        return self.heads[name]

    def moderator(self, policy: Policy) -> Moderator:
        return Moderator(policy, self.encoder, self.head, lambda name: ["a house"], seen=self.cache)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def policy(labels: dict[str, Any], **more: Any) -> Policy:
    values = {"name": "mine", "encoder": "quick", "fit": "squash", "anchors": ["a house", "a tree"], **more}
    return Policy.model_validate({**values, "labels": labels})


BOTH = policy(
    {
        "cat": {"review": 0.5},
        "nsfw": {"head": "nsfw", "review": 0.1},
        "harmless": {"head": "nsfw", "output": "sfw"},
        "anything": {"head": "one"},
        "weapon": {"head": "far", "encoder": "patch14", "block": 0.0},
        "dog": {"encoder": "patch14"},
    }
)


def test_every_encoder_is_opened_once_and_sees_every_view_once(house: House) -> None:
    moderator = house.moderator(BOTH)
    verdicts = list(moderator.check_many(PICTURES))
    assert house.opened == {"quick": 1, "patch14": 1, "nsfw": 1, "one": 1, "far": 1}
    assert house.shown == {"quick": 5, "patch14": 5}
    assert [list(verdict.scores) for verdict in verdicts] == [list(BOTH.labels)] * 5


def test_scores_are_those_of_each_head_on_its_own_encoder(house: House) -> None:
    moderator = house.moderator(BOTH)
    for name, label, column in (("quick", "nsfw", 0), ("quick", "harmless", 1), ("patch14", "weapon", 0)):
        only = policy({label: BOTH.labels[label].model_dump(exclude_none=True)})
        alone = [verdict.scores[label] for verdict in house.moderator(only).check_many(PICTURES)]
        assert alone == pytest.approx([verdict.scores[label] for verdict in moderator.check_many(PICTURES)], abs=1e-6)
        assert column < len(house.heads[BOTH.labels[label].head or ""].labels)
        assert name == (BOTH.encoder_of(label))


def test_a_head_trained_on_rows_before_unit_length_gets_them_so(house: House) -> None:
    encoder, head = house.encoders["patch14"], house.heads["far"]
    (verdict,) = house.moderator(BOTH).check_many(PICTURES[:1])
    spec = replace(encoder.view, fit="squash")
    views = prepare(PICTURES[0].data, [spec], Limits()).views[spec]
    rows = encoder.project(Views(np.stack([view.pixels for view in views])))
    assert abs(np.linalg.norm(rows) - 1) > 0.1  # else this test could not tell
    assert verdict.scores["weapon"] == pytest.approx(float(head.score(rows)[0, 0]), abs=1e-6)


def test_the_verdict_carries_the_fingerprints_of_all_it_rests_on(house: House) -> None:
    verdict = house.moderator(BOTH).check(PICTURES[0])
    marks = verdict.fingerprints
    assert set(marks.encoders) == set(marks.views) == {"quick", "patch14"}
    assert marks.views["quick"] == "32 px, squash, bicubic"
    named = {name: label.head for name, label in BOTH.labels.items() if label.head}
    assert marks.heads == {label: house.heads[head].fingerprint for label, head in named.items()}
    assert marks.source == PICTURES[0].digest
    assert house.moderator(BOTH).check(BAD).fingerprints.source is None


def test_frames_and_views_are_told_apart_for_each_encoder(house: House) -> None:
    wide = policy(BOTH.model_dump(exclude_none=True)["labels"], fit="cover")
    sources = [Source(encoded(photo(300, 40)), "strip"), Source(animation("GIF"), "moving")]
    together = list(house.moderator(wide).check_many([*sources, BAD, PICTURES[0]]))
    alone = [house.moderator(wide).check(source) for source in [*sources, BAD, PICTURES[0]]]
    assert together[2].unscannable
    for found, expected in zip(together, alone, strict=True):
        assert found.scores == pytest.approx(expected.scores, abs=1e-5)
        assert [reason.box for reason in found.reasons] == [reason.box for reason in expected.reasons]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (
            {"weapon": {"head": "far"}},
            r"labels.weapon.head is 'head-2', which reads embeddings of sha256:.*'quick', is",
        ),
        ({"nsfw": {"head": "nsfw", "output": "nfsw"}}, r"has no output 'nfsw'. Did you mean 'nsfw'\? Known: nsfw, sfw"),
        ({"nudity": {"head": "nsfw"}}, r"labels.nudity.output: 'head-0' has no output 'nudity'"),
        ({"cat": {"head": "quick"}}, r"is the encoder 'quick' itself, but that classifies nothing"),
    ],
)
def test_what_does_not_fit_together_is_refused_when_the_policy_is_made_ready(
    house: House, labels: dict[str, Any], complaint: str
) -> None:
    moderator = house.moderator(policy(labels))
    with pytest.raises(PolicyError, match=complaint):
        moderator.ready(moderator.policy)


def test_a_head_of_another_size_is_refused(house: House) -> None:
    far = linear(house.encoders["patch14"], "nsfw")
    house.heads["nsfw"] = replace(far, encoder=house.encoders["quick"].identity)
    with pytest.raises(PolicyError, match=r"labels.nsfw.head reads 48 numbers; an embedding of 'quick' has 32"):
        house.moderator(policy({"nsfw": {"head": "nsfw"}})).check(PICTURES[0])


def test_what_was_encoded_once_is_never_encoded_again(house: House, tmp_path: Path) -> None:
    house.cache = EmbeddingCache(tmp_path / "kept" / "embeddings.sqlite")
    sources = [*PICTURES, Source(animation("GIF"), "moving"), BAD]
    first = list(house.moderator(BOTH).check_many(sources))
    shown = house.shown.copy()
    second = list(house.moderator(BOTH).check_many(sources))
    assert house.shown == shown
    assert second == first
    other = policy({"cat": {"review": 0.9}, "new": {"head": "one"}})
    assert [verdict.scores["cat"] for verdict in house.moderator(other).check_many(sources) if verdict.scores] == [
        pytest.approx(verdict.scores["cat"]) for verdict in first if verdict.scores
    ]
    assert house.shown == shown


def test_another_way_of_cutting_views_is_another_entry(house: House, tmp_path: Path) -> None:
    house.cache = EmbeddingCache(tmp_path / "embeddings.sqlite")
    house.moderator(policy({"cat": {}})).check(PICTURES[0])
    house.moderator(policy({"cat": {}}, fit="cover")).check(PICTURES[0])
    assert house.shown["quick"] == 1 + 2  # 96 x 64 takes two squares


def test_a_damaged_cache_costs_only_time(house: House, tmp_path: Path) -> None:
    file = tmp_path / "embeddings.sqlite"
    file.write_bytes(b"this is no database" * 100)
    house.cache = EmbeddingCache(file)
    assert house.moderator(policy({"cat": {}})).check(PICTURES[0]).scores
    assert house.moderator(policy({"cat": {}})).check(PICTURES[0]).scores


def test_time_is_told_by_stage(house: House) -> None:
    moderator = house.moderator(BOTH)
    list(moderator.check_many(PICTURES))
    assert set(moderator.times.seconds) == {"load", "prepare", "encode", "score"}
    assert all(seconds > 0 for seconds in moderator.times.seconds.values())


def test_the_shipped_policies_with_heads_name_what_there_is() -> None:
    assert read_policy("nsfw").labels["nsfw"].head == "marqo-nsfw-384"
    assert read_policy("laion").encoders == ["openai-b32"]


def test_a_score_that_is_no_number_never_passes_as_safe(house: House) -> None:
    head = house.heads["nsfw"]
    broken = Linear(np.full((2, 32), 3e38, np.float32), np.full(2, -3e38, np.float32))
    house.heads["nsfw"] = replace(
        head, network=Network((broken, Linear(np.eye(2, dtype="f4"), broken.bias)), "softmax")
    )
    moderator = house.moderator(policy({"nsfw": {"head": "nsfw", "review": 0.5}}))
    with pytest.raises(WeightsError, match="gives scores that are no numbers: its weights are damaged"):
        moderator.check(PICTURES[0])


class NoNumber:
    """A layer that fails on one row."""

    arrays = ()

    def __init__(self, row: Any) -> None:
        self.row = row

    def __call__(self, rows: Any) -> Any:
        return np.where(np.abs(rows - self.row).max(axis=1, keepdims=True) < 1e-5, np.float32(np.nan), rows)


def test_a_picture_whose_score_is_no_number_is_unscannable_and_takes_no_other_with_it(house: House) -> None:
    head, seen = house.heads["nsfw"], house.encoders["quick"]
    spec = replace(seen.view, fit="squash")
    odd = seen.encode(Views(np.stack([prepare(PICTURES[1].data, [spec], Limits()).views[spec][0].pixels])))
    layers = (NoNumber(odd[0]), *head.network.layers)
    house.heads["nsfw"] = replace(head, network=Network(layers, "sigmoid"))
    good, bad, last = house.moderator(policy({"nsfw": {"head": "nsfw", "review": 0.5}})).check_many(PICTURES[:3])
    assert bad.unscannable == "no_score: the score of nsfw is no number."
    assert (bad.action, good.unscannable, last.unscannable) == ("review", None, None)


def test_another_configuration_of_the_same_weights_is_another_entry(house: House, tmp_path: Path) -> None:
    house.cache = EmbeddingCache(tmp_path / "embeddings.sqlite")
    house.moderator(policy({"cat": {}})).check(PICTURES[0])
    folder = write_open_clip(tmp_path / "other", replace(SHAPES["quick"], normal=HALVES))
    other = open_encoder(folder, name="quick", identity=house.encoders["quick"].identity)
    assert other.space != house.encoders["quick"].space
    house.encoders["quick"] = other
    alone = House.moderator(house, policy({"cat": {}})).check(PICTURES[0])
    house.cache = None
    assert alone.scores == house.moderator(policy({"cat": {}})).check(PICTURES[0]).scores


@pytest.mark.parametrize(
    "spoil", [lambda value: value[:-40], lambda value: value[:-4] + b"\0\0\xc0\x7f", lambda value: b""]
)
def test_a_damaged_entry_is_made_anew(house: House, tmp_path: Path, spoil: Any) -> None:
    file = tmp_path / "embeddings.sqlite"
    house.cache = EmbeddingCache(file)
    expected = house.moderator(policy({"cat": {}})).check(PICTURES[0])
    with closing(sqlite3.connect(file)) as database, database:
        ((value,),) = database.execute("SELECT value FROM kept").fetchall()
        database.execute("UPDATE kept SET value = ?", (spoil(value),))
    assert house.moderator(policy({"cat": {}})).check(PICTURES[0]) == expected
    assert house.shown["quick"] == 2


def test_the_cache_stays_below_its_bytes(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "embeddings.sqlite", max_bytes=400_000)
    rows = Rows(np.ones((1, 512), np.float32))
    for batch in range(30):
        cache.put({f"{batch} {i}": Encoded((Place((0, 0, 1, 1)),), rows, (1, 1)) for i in range(20)})
    assert (tmp_path / "embeddings.sqlite").stat().st_size < 800_000
    assert len(cache.get(["29 19"])) == 1
    assert cache.get(["0 0"]) == {}


def test_two_folders_of_one_name_are_refused(house: House) -> None:
    house.encoders["patch14"].name = "quick"
    with pytest.raises(PolicyError, match=r"two encoders are called 'quick' \(quick, patch14\). Rename one"):
        house.moderator(BOTH).ready(BOTH)
