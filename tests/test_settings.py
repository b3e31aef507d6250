from __future__ import annotations

from pathlib import Path

import pytest

from moderato.errors import SettingsError
from moderato.settings import read_settings


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
