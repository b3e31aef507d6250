"""What labels mean in the vendors' words: the shipped mappings, a user's own, and what is wrong with one."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from moderato import plugins
from moderato.errors import SettingsError
from moderato.policy import read_policy, shipped_policies
from moderato.server.app import create_app
from moderato.server.dialects._meanings import read_all, read_meanings
from moderato.server.dialects.aws import PARENTS
from moderato.settings import DialectOption, DialectOptions, read_settings
from moderato.types import Fingerprints, Reason, Verdict
from pictures import KNIFE
from servers import listening, service

VERDICT = Verdict(
    source="a.png",
    action="block",
    policy="mine",
    reasons=(
        Reason("gun", 0.9, 0.8, "block", (0, 0, 1, 1), 0.0),
        Reason("fight", 0.6, 0.5, "review", (0, 0, 1, 1), 0.0),
    ),
    scores={"gun": 0.9, "fight": 0.6, "cat": 0.99},
    fingerprints=Fingerprints(policy="x"),
)


def written(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_a_category_has_the_highest_score_and_the_hardest_action_of_its_labels(tmp_path: Path) -> None:
    file = written(tmp_path, '[categories]\nviolence = ["fight", "gun", "war"]\ngore = ["blood"]\npets = ["cat"]\n')
    meanings = read_meanings("x", ["violence", "gore", "pets", "hate"], own=file)
    assert meanings.score("violence", VERDICT) == 0.9
    assert meanings.action("violence", VERDICT) == "block"
    assert (meanings.score("pets", VERDICT), meanings.action("pets", VERDICT)) == (0.99, "allow")
    for category in ("gore", "hate"):  # no label of the policy, and none at all
        assert (meanings.score(category, VERDICT), meanings.action(category, VERDICT)) == (None, "allow")


def test_levels_are_reached_from_their_lowest_score_on(tmp_path: Path) -> None:
    file = written(tmp_path, '[categories]\na = ["b"]\n[levels]\nlow = 0.0\nmiddle = 0.5\nhigh = 0.9\n')
    meanings = read_meanings("x", ["a"], ("low", "middle", "high"), file)
    assert [meanings.level(score) for score in (0, 0.49, 0.5, 0.9, 1)] == ["low", "low", "middle", "high", "high"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "categories: Field required"),
        ("[categories]\n", "categories: Dictionary should have at least 1 item"),
        ("[categories]\nviolence = []\n", "categories.violence: List should have at least 1 item"),
        ('[categories]\nviolence = ["a", ""]\n', "categories.violence.1: String should have at least 1"),
        ('[categories]\nviolence = "a"\n', "categories.violence: Input should be a valid list"),
        ("[categories]\nviolence = [1]\n", "categories.violence.0: Input should be a valid string"),
        ('[categories]\nviolense = ["a"]\n', "categories has 'violense'. Did you mean 'violence'?"),
        ('[kategories]\nviolence = ["a"]\n', "kategories: Extra inputs"),
        ('[categories]\nviolence = ["a"]\n[levels]\nhigh = 0\n', "levels has high; it needs none"),
        ("[categories", "not a readable TOML file"),
        ("\x00", "not a readable TOML file"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_meanings("x", ["violence", "gore"], own=file)
    assert str(caught.value).startswith(str(file))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("levels", "complaint"),
    [
        ("low = 0.0", "it needs low, high"),
        ("high = 0.0\nlow = 0.5", "it needs low, high"),
        ("low = 0.1\nhigh = 0.5", "begin at 0 and rise"),
        ("low = 0.0\nhigh = 2", "levels.high"),
    ],
)
def test_wrong_levels_are_refused(tmp_path: Path, levels: str, complaint: str) -> None:
    file = written(tmp_path, f'[categories]\na = ["b"]\n[levels]\n{levels}\n')
    with pytest.raises(SettingsError, match=complaint):
        read_meanings("x", ["a"], ("low", "high"), file)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        read_meanings("x", ["a"], own=tmp_path / "none.toml")


def test_every_label_of_a_shipped_mapping_is_one_of_a_shipped_policy() -> None:
    known = {label for name in shipped_policies() for label in read_policy(name).labels}
    shipped = read_all({}, [])
    modules = plugins.modules("moderato.server.dialects")
    assert set(shipped) == {name for name, module in modules.items() if hasattr(module, "CATEGORIES")}
    assert {"openai", "misskey", "sightengine"} <= set(shipped)
    for name, meanings in shipped.items():
        labels = {label for meant in meanings.categories.values() for label in meant}
        assert labels <= known, name


def test_a_label_that_no_policy_has_is_refused_when_the_service_starts(tmp_path: Path) -> None:
    ours = service(tmp_path)
    file = written(tmp_path, '[categories]\nviolence = ["nife"]\n')
    ours.dialects = DialectOptions(openai=type(ours.dialects.openai)(file))
    with pytest.raises(SettingsError, match=r"categories.violence has 'nife', a label of no policy.*'knife'"):
        create_app(ours)


def test_a_policy_of_ones_own_serves_a_dialect_by_a_mapping_of_ones_own(tmp_path: Path) -> None:
    ours = service(tmp_path)
    ours.policies["mine"] = ours.moderator.policy.model_copy(
        update={"name": "mine", "labels": {"guns": ours.moderator.policy.labels["pistol"]}}
    )
    ours.dialects = DialectOptions(misskey=DialectOption(written(tmp_path, '[categories]\nPorn = ["guns"]\n')))
    with listening(ours) as client:
        told = client.get("/v1/policies").json()["not_judged"]
    assert told["mine"]["misskey"] == ["Drawing", "Hentai", "Sexy"]
    assert told["demo"]["misskey"] == ["Drawing", "Hentai", "Porn", "Sexy"]
    assert "violence" not in told["demo"]["openai"]
    assert "violence" in told["mine"]["openai"]


def test_a_category_above_one_that_is_judged_is_judged_where_the_dialect_answers_it_too(client: httpx.Client) -> None:
    told = set(client.get("/v1/policies").json()["not_judged"]["demo"]["aws"])
    assert not told & {"Violence", "Weapons", "Visually Disturbing", "Drugs & Tobacco", "Alcohol"}
    assert {"Explicit", "Explicit Nudity", "Crashes", "Products", "Alcohol Use"} <= told
    asked = {"Image": {"Bytes": base64.b64encode(KNIFE).decode()}, "MinConfidence": 0}
    target = {"X-Amz-Target": "RekognitionService.DetectModerationLabels"}
    answered = client.post("/", json=asked, headers=target).json()["ModerationLabels"]
    assert {label["Name"] for label in answered} == set(PARENTS) - told


def test_dialects_are_set_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATO_DIALECTS__OPENAI__TEXT", "unjudged")
    monkeypatch.setenv("MODERATO_DIALECTS__MISSKEY__MEANINGS", str(tmp_path / "mine.toml"))
    dialects = read_settings().dialects
    assert (dialects.openai.text, dialects.openai.images, dialects.openai.meanings) == ("unjudged", "merged", None)
    assert dialects.meanings["misskey"] == tmp_path / "mine.toml"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODERATO_DIALECTS__OPENAI__TEXT", "judged"),
        ("MODERATO_DIALECTS__OPENAI__TEKST", "unjudged"),
        ("MODERATO_DIALECTS__OPENAY__TEXT", "unjudged"),
        ("MODERATO_DIALECTS__MISSKEY__IMAGES", "one"),
        ("MODERATO_DIALECTS__OPENAI", "unjudged"),
        ("MODERATO_DIALECTS", "openai"),
    ],
)
def test_a_misspelt_or_wrong_option_of_a_dialect_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match="DIALECTS|group"):
        read_settings()
