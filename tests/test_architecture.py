"""The house rules that a tool does not know."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import moderato
from moderato.errors import CallerError, ModeratoError, OperatorError, Overloaded

SRC = Path(moderato.__file__).parent
MODULES = sorted(SRC.rglob("*.py"))
FORBIDDEN = {"utils", "helpers", "common", "core", "base", "manager", "service", "engine", "misc", "models"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_no_file_is_longer_than_400_lines() -> None:
    assert [path.name for path in MODULES if len(path.read_text().splitlines()) > 400] == []


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{path.name}:{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno > 60
    ]
    assert long == []


def test_no_folder_and_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for path in MODULES if path.parent.name != "cli"} | {path.parent.name for path in MODULES}
    assert names & FORBIDDEN == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_every_module_and_public_thing_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    bare = [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    assert [
        node.name for node in tree.body if isinstance(node, kinds) and node.name in bare and not ast.get_docstring(node)
    ] == []


def test_what_is_exported_is_what_is_public() -> None:
    assert sorted(moderato.__all__) == sorted(set(moderato.__all__))
    assert all(hasattr(moderato, name) for name in moderato.__all__)
    assert len(moderato.__all__) <= 14


def test_every_error_says_who_can_put_it_right() -> None:
    def leaves(kind: type[ModeratoError]) -> set[type[ModeratoError]]:
        return {kind} | {leaf for child in kind.__subclasses__() for leaf in leaves(child)}

    for kind in leaves(ModeratoError) - {ModeratoError}:
        assert issubclass(kind, CallerError | OperatorError | Overloaded)


def test_the_import_is_light() -> None:
    heavy = run(
        "import sys, moderato\n"
        "print([name for name in ('onnx', 'onnxruntime', 'fastapi', 'torch') if name in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_help_loads_neither_a_runtime_nor_the_server() -> None:
    code = (
        "import sys\nsys.argv = ['moderato', '--help']\nfrom moderato.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('onnx', 'onnxruntime', 'fastapi', 'uvicorn') if name in sys.modules])"
    )
    assert run(code).strip().endswith("[]")
