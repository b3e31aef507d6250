"""What the README shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moderato import plugins
from moderato.policy import read_policy

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "an orange cat" in capsys.readouterr().out


def test_the_policies_of_the_readme_hold(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    labels = set()
    for block in blocks("toml"):
        file.write_text(block)
        labels |= set(read_policy(file).labels)
    assert labels == {"weapons", "nsfw", "inappropriate", "explicit"}


def test_the_readme_names_commands_that_exist() -> None:
    named = {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("moderato ")}
    assert named <= set(plugins.names("moderato.cli"))


def test_every_target_of_the_makefile_is_explained() -> None:
    targets = re.findall(r"^([a-z-]+):(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "install", "test", "test-reference", "check", "bench"} <= {name for name, _ in targets}
    assert all("## " in rest for _, rest in targets)


def test_linked_files_exist() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), f"{document}: {target}"
