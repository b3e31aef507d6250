from __future__ import annotations

import re
from pathlib import Path

import pytest

from commands import Run
from moderato.errors import SettingsError
from moderato.settings import Settings, read_settings


def test_options_of_the_modules_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATO_DATA", str(tmp_path))
    monkeypatch.setenv("MODERATO_MEDIA__MAX_BYTES", "5")
    monkeypatch.setenv("MODERATO_FETCH__ALLOW_HOSTS", "media.internal, 10.1.0.0/16")
    settings = read_settings()
    assert settings.data == tmp_path
    assert settings.media.max_bytes == 5
    assert settings.fetch.allow_hosts == ("media.internal", "10.1.0.0/16")


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("MODERATO_MEDIA__MAX_BITES", "5", "MODERATO_MEDIA__MAX_BITES"),
        ("MODERATO_MEDIA__MAX_BYTES", "many", "MODERATO_MEDIA__MAX_BYTES is 'many'"),
        ("MODERATO_THREDS", "2", "MODERATO_THREDS is not a setting. Did you mean 'MODERATO_THREADS'"),
        ("MODERATO_FETCH__TIMEOUT", "-1", "MODERATO_FETCH__TIMEOUT is '-1'"),
        ("MODERATO_MEDIA__MAX_FRAMES", "0", "MODERATO_MEDIA__MAX_FRAMES is '0'"),
        ("MODERATO_THREADS", "0", "MODERATO_THREADS is '0'"),
        ("MODERATO_FETCH__ALLOW_HOSTS", "http://x/", "allow_hosts is not a host"),
        ("MODERATO_FETCH", "media.internal", "set one by one"),
    ],
)
def test_a_misspelt_or_wrong_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=complaint.replace("[", r"\[")):
        read_settings()


def test_the_data_folder_follows_the_freedesktop_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MODERATO_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert read_settings().data == tmp_path / "moderato"


# Printed


def test_the_page_of_settings_is_what_the_code_says(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("MODERATO_ROWS", "3")  # what is set here is no part of it
    page = Path(__file__).parent.parent / "docs" / "settings.md"
    assert run("settings", "--markdown").out == page.read_text(), "moderato settings --markdown > docs/settings.md"


def test_every_setting_is_explained_and_can_be_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("settings", "--json").lines
    assert {line["variable"].split("__")[0] for line in found} == {
        f"MODERATO_{name.upper()}" for name in Settings.model_fields
    }
    for line in found:
        assert re.fullmatch(r"[^.].*\.", line["about"]), line["variable"]
        assert line["type"], line["variable"]
        if line["value"]:
            monkeypatch.setenv(line["variable"], line["value"])
    assert [line["value"] for line in run("settings", "--json").lines] == [line["value"] for line in found]


def test_a_setting_says_where_it_comes_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_ROWS", "16")  # as the default has it
    monkeypatch.setenv("moderato_fetch__allow_hosts", "a.internal,10.0.0.0/8")
    monkeypatch.setenv("MODERATO_CACHE", '{"where": "off"}')
    found = {line["variable"]: (line["value"], line["origin"]) for line in run("settings", "--json").lines}
    assert found["MODERATO_ROWS"] == ("16", "environment")
    assert found["MODERATO_FETCH__ALLOW_HOSTS"] == ("a.internal,10.0.0.0/8", "environment")
    assert found["MODERATO_CACHE__WHERE"] == ("off", "environment")
    assert found["MODERATO_KEEP"] == ("true", "default")
    row = next(line for line in run("settings").out.splitlines() if "ALLOW_HOSTS" in line)
    assert row.split() == ["MODERATO_FETCH__ALLOW_HOSTS", "a.internal,10.0.0.0/8", "environment"]


@pytest.mark.parametrize("option", [[], ["--json"]], ids=str)
@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("MODERATO_DIALECTS__AWS__SECRET_KEY", "geheim", "(not shown)"),
        (
            "MODERATO_STORE",
            "postgresql+psycopg://me:ge/heim@host:5432/name",
            "postgresql+psycopg://me:***@host:5432/name",
        ),
        (
            "MODERATO_STORE",
            "postgresql://host/name?user=me&password=geheim",
            "postgresql://host/name?user=me&password=***",
        ),
        ("MODERATO_SERVE__TRACES", "http://me:geheim@host:4318", "http://me:***@host:4318"),
        ("MODERATO_DIALECTS__AWS__BUCKETS", "a=https://k:geheim@host/a", "a=https://k:***@host/a"),
    ],
)
def test_secrets_are_not_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: list[str], variable: str, value: str, shown: str
) -> None:
    monkeypatch.setenv(variable, value)
    ended = run("settings", *option)
    assert shown in ended.out
    assert "heim" not in ended.out + ended.err


def test_a_wrong_setting_is_refused_when_settings_are_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_ROWS", "0")
    assert "MODERATO_ROWS is '0'" in run("settings").complaint
