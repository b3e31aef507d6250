"""The wheel, built and installed into an environment of its own: what a user gets is whole."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel, and moderato's dependencies from this environment, but not this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    inner = folder / "env" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(inner),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([*pip, "--disable-pip-version-check"], check=True, capture_output=True)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    # A path in a .pth file is searched, but its own .pth files (an editable checkout) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return inner


def test_the_installed_package_is_whole_and_judges(python: Path, tmp_path: Path) -> None:
    moderato = python.parent / "moderato"
    environment = {"MODERATO_DATA": str(tmp_path), "PATH": ""}
    samples = subprocess.run(
        [python, "-c", "import moderato, pathlib; print(pathlib.Path(moderato.__file__).parent)"],
        check=True, capture_output=True, text=True, env=environment, cwd=tmp_path,
    ).stdout.strip()  # fmt: skip
    assert samples.startswith(str(python.parent.parent))
    done = subprocess.run(
        [moderato, "check", "--policy", "demo", "--json", f"{samples}/samples"],
        check=True, capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(verdicts) >= 5
    listed = subprocess.run([moderato, "policies", "list"], check=True, capture_output=True, text=True, env=environment)
    assert all(name in listed.stdout for name in ("demo", "standard", "thesis"))


def test_the_installed_package_can_be_examined(python: Path, tmp_path: Path) -> None:
    environment = {"MODERATO_DATA": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [python.parent / "moderato", "doctor"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert "No format that moderato reads would be unscannable here." in done.stdout
