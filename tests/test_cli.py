"""The command line: in this process where that tells the same, as a process where it matters."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO

import httpx
import numpy as np
import pytest

from commands import Ended, Run
from moderato.cards import encoder_card
from moderato.cli._listen import listening
from moderato.types import ACTIONS
from pictures import encoded, photo
from servers import BROKEN, PNG, web

COMMANDS = [
    *(
        "bench",
        "calibrate",
        "check",
        "classify",
        "demo",
        "doctor",
        "embed",
        "evaluate",
        "explain",
        "models",
        "policies",
        "score",
        "serve",
        "settings",
    ),
]
DIM = encoder_card("tiny").dim
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "moderato")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def pictures(here: Path) -> Path:
    """A folder of two pictures, one in a folder below, a broken one, and two files that are none."""
    (here / "some" / "deep").mkdir(parents=True)
    (here / "some" / "b.png").write_bytes(PNG)
    (here / "some" / "a.jpg").write_bytes(BROKEN["truncated.jpg"][0])
    (here / "some" / "deep" / "c").write_bytes(encoded(photo(64, 64), "WEBP"))
    (here / "some" / "notes.txt").write_text("no picture")
    (here / "some" / "data.json").write_text("{}")
    return here / "some"


def policy(folder: Path, **thresholds: float) -> Path:
    """A policy for the toy with one label. A threshold of 0 is always met."""
    file = folder / "own.toml"
    facts = "\n".join(f"{action} = {threshold}" for action, threshold in thresholds.items())
    file.write_text(f'name = "own"\nencoder = "tiny"\nanchors = ["a house"]\n[labels.knife]\n{facts}\n')
    return file


# What moderato is


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['moderato', '--help']\n"
        "from moderato.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    text, _, modules = ended.stdout.strip().rpartition("\n")
    assert not {"onnxruntime", "onnx", "fastapi", "starlette", "uvicorn", "torch"} & set(
        re.findall(r"'(\w+)'", modules)
    )
    for command in COMMANDS:
        assert re.search(rf"\b{command}\s+[A-Z]", text), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    ended = run(command, "--help")
    assert ended.code == 0
    assert f"moderato {command}" in ended.out


def test_version_is_printed(run: Run) -> None:
    assert run("--version").out.strip() == version("moderato")


@pytest.mark.parametrize(
    "arguments",
    [["chekc"], ["check"], ["check", "--nope"], ["classify", "a.png"], ["serve", "--port", "99999"]],
    ids=str,
)
def test_wrong_usage_exits_with_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).complaint


# Sources


def test_a_folder_is_walked_broken_pictures_reported_and_other_files_counted_aloud(run: Run, pictures: Path) -> None:
    ended = run("check", pictures, "--policy", "demo", "--json")
    assert ended.code == 0
    assert [Path(line["source"]).name for line in ended.lines] == ["a.jpg", "b.png", "c"]
    assert [line["unscannable"] for line in ended.lines] == [BROKEN["truncated.jpg"][1], None, None]
    assert ended.lines[0]["action"] == "review"
    assert "passed over 2 files" in ended.err


def test_a_glob_in_quotes_is_expanded_and_nothing_it_names_is_passed_over(run: Run, pictures: Path) -> None:
    ended = run("check", "some/*.*", "--policy", "demo", "--json")
    assert [Path(line["source"]).name for line in ended.lines] == ["a.jpg", "b.png", "data.json", "notes.txt"]
    assert ended.lines[3]["unscannable"].startswith("not_a_picture: the file is plain text")
    assert len(run("check", "some/**/c", "--policy", "demo", "--json").lines) == 1


def test_a_file_whose_name_looks_like_a_glob_is_that_file(run: Run, here: Path) -> None:
    (here / "a[1]*.png").write_bytes(PNG)
    (line,) = run("check", "a[1]*.png", "--policy", "demo", "--json").lines
    assert (line["source"], line["unscannable"]) == ("a[1]*.png", None)


def test_a_dash_is_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PNG)))
    (line,) = run("check", "-", "--policy", "demo", "--json").lines
    assert (line["source"], line["unscannable"]) == ("-", None)


@pytest.mark.parametrize("hosts", ["127.0.0.1", "media.internal, 127.0.0.0/8"])
def test_a_url_is_fetched_from_a_host_that_is_allowed(run: Run, hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_FETCH__ALLOW_HOSTS", hosts)
    with web({"/a.png": PNG}) as site:
        ended = run("check", f"{site}/a.png", f"{site}/b.png", "--policy", "demo", "--json")
    assert ended.code == 0, ended.err
    assert [line["source"] for line in ended.lines] == [f"{site}/a.png", f"{site}/b.png"]
    assert ended.lines[0]["unscannable"] is None
    assert "status 404" in ended.lines[1]["unscannable"]


def test_a_private_url_is_unscannable_and_names_the_setting_that_would_allow_it(run: Run) -> None:
    (line,) = run("check", "http://127.0.0.1:9/a.png", "--policy", "demo", "--json").lines
    assert line["unscannable"].startswith("forbidden_address: 127.0.0.1 ")
    assert "MODERATO_FETCH__ALLOW_HOSTS" in line["unscannable"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_has_the_same_reason_in_the_table_and_in_json(run: Run, here: Path, name: str) -> None:
    data, reason = BROKEN[name]
    (here / name).write_bytes(data)
    assert f"review  unscannable: {reason}" in run("check", name, "--policy", "demo").out
    assert run("check", name, "--policy", "demo", "--json").lines[0]["unscannable"] == reason
    (line,) = run("classify", name, "--encoder", "tiny", "--labels", "a fish", "--json").lines
    assert line == {"source": name, "prediction": None, "probabilities": {}, "unscannable": reason}


@pytest.mark.parametrize("name", ["missing.png", "missing/*.png", "file:///etc/hostname"])
def test_a_source_that_is_nothing_is_named(run: Run, here: Path, name: str) -> None:
    assert f"{name}: there is no such file, folder or URL." in run("check", name, "--policy", "demo").complaint


def test_an_empty_name_is_not_the_working_directory(run: Run, pictures: Path) -> None:
    assert "no such file" in run("check", "", "--policy", "demo").complaint  # "$UNSET" in a script


def test_a_folder_without_pictures_says_so(run: Run, here: Path) -> None:
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("no picture")
    for folder in ("empty", "."):
        assert "There is no picture" in run("check", folder, "--policy", "demo").complaint


@pytest.mark.parametrize("name", ["[red]", "[", "[bold]x", ":fire:"])
def test_names_that_look_like_markup_are_names(run: Run, here: Path, name: str) -> None:
    (here / name).mkdir()
    (here / name / "a.png").write_bytes(PNG)
    (here / name / "notes.txt").write_text("no picture")
    ended = run("check", name, "--policy", "demo")
    assert ended.code == 0
    assert f"{name}/a.png  " in ended.out
    assert f"{name}: passed over 1 file" in ended.err


@pytest.mark.parametrize("name", ["[/foo]", "\\[/foo]", "[red]x", "x\\"])
def test_an_error_repeats_what_was_wrong_as_it_was_written(run: Run, here: Path, name: str) -> None:
    assert f"{name}: there is no such file" in run("check", name, "--policy", "demo").complaint
    assert f"'{name}'" in run("check", ".", "--policy", name).complaint + run("models", "show", name).complaint


# check


@pytest.mark.parametrize("fail_on", ACTIONS)
@pytest.mark.parametrize("met", ACTIONS)
def test_fail_on_exits_with_1_only_when_the_action_is_met_or_exceeded(
    run: Run, here: Path, met: str, fail_on: str
) -> None:
    (here / "a.png").write_bytes(PNG)
    file = policy(here, **({} if met == "allow" else {met: 0.0}))
    ended = run("check", "a.png", "--policy", file, "--fail-on", fail_on, "--json")
    assert [line["action"] for line in ended.lines] == [met]
    assert ended.code == int(ACTIONS.index(met) >= ACTIONS.index(fail_on))


@pytest.mark.parametrize("action", ACTIONS)
def test_the_unscannable_meet_the_action_that_the_policy_gives_them(run: Run, here: Path, action: str) -> None:
    (here / "a.png").write_bytes(b"")
    file = policy(here)
    file.write_text(f'unscannable = "{action}"\n' + file.read_text())
    ended = run("check", "a.png", "--policy", file, "--fail-on", action)
    assert ended.code == 1
    assert re.search(rf"a\.png +{action} +unscannable: empty", ended.out)


def test_the_table_says_what_was_decided_and_why(run: Run, here: Path) -> None:
    (here / "a.png").write_bytes(PNG)
    ended = run("check", "a.png", "a.png", "--policy", policy(here, review=0.0))
    assert ended.out.splitlines()[0].split() == ["picture", "action", "why"]
    assert len(re.findall(r"^a\.png +review +knife [01]\.\d\d ≥ 0\.00", ended.out, re.MULTILINE)) == 2
    assert "2 pictures: 2 review" in ended.err


def test_a_verdict_in_json_has_every_field(run: Run, here: Path) -> None:
    (here / "ä.png").write_bytes(encoded(photo(32, 32)))
    ended = run("check", "ä.png", "--policy", policy(here, block=0.0), "--json")
    (line,) = ended.lines
    assert '"source": "ä.png"' in ended.out
    assert list(line)[:5] == ["source", "action", "policy", "reasons", "scores"]
    assert line["policy"] == "own"
    (reason,) = line["reasons"]
    assert reason["score"] == line["scores"]["knife"]
    assert (reason["label"], reason["action"], reason["threshold"]) == ("knife", "block", 0)
    assert "smaller than" in line["notes"][0]
    assert set(line["fingerprints"]) == {"source", "views", "encoders", "texts", "heads", "runtimes", "policy"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "demmo"], "no policy 'demmo'. Did you mean 'demo'? Known: demo, laion, nsfw, standard, thesis."),
        (["--policy", "none.toml"], "none.toml: there is no such file."),
        (["--policy", "a.png"], "named by its .toml file"),
        (["--policy", "key.toml"], "labels.knife.revew is not a key here. Did you mean 'review'?"),
        (["--policy", "bad.toml"], "bad.toml: not a readable TOML file"),
        (["--policy", "encoder.toml"], "no encoder 'tinny'. Did you mean 'tiny'?"),
        (["--policy", "demo", "--fail-on", "blok"], "Did you mean 'block'?"),
    ],
)
def test_a_wrong_policy_or_action_is_refused_with_the_nearest_right_one(
    run: Run, here: Path, arguments: list[str], words: str
) -> None:
    (here / "a.png").write_bytes(PNG)
    text = policy(here, review=0.5).read_text()
    (here / "key.toml").write_text(text.replace("review", "revew"))
    (here / "encoder.toml").write_text(text.replace("tiny", "tinny"))
    (here / "bad.toml").write_bytes(b"\xff")
    assert words in run("check", "a.png", *arguments).complaint


@pytest.mark.parametrize("more", [["--json"], []], ids=["JSON", "table"])
def test_a_terminal_that_knows_ascii_only_is_shown_every_name(here: Path, more: list[str]) -> None:
    names = ["ä.png", os.fsdecode(b"\xff.png")] if sys.platform == "linux" else ["ä.png"]
    for name in names:
        Path(name).write_bytes(PNG)
    ended = subprocess.run(
        [SCRIPT, "check", *names, "--policy", policy(here, review=0.0), *more],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )
    assert ended.returncode == 0, ended.stderr
    if more:
        assert [json.loads(line)["source"] for line in ended.stdout.splitlines()] == names
    else:
        assert ended.stdout.count("review") >= len(names)


# classify


@pytest.mark.parametrize("more", [[], ["--independent"], ["--fit", "squash"], ["--fit", "cover"]], ids=str)
def test_classify_gives_every_label_a_probability_in_its_order(run: Run, here: Path, more: list[str]) -> None:
    (here / "a.png").write_bytes(PNG)
    ended = run("classify", "a.png", "--encoder", "tiny", "--labels", "a fish, ein Käse ,,猫", "--json", *more)
    (line,) = ended.lines
    assert list(line)[:3] == ["source", "prediction", "probabilities"]
    assert list(line["probabilities"]) == ["a fish", "ein Käse", "猫"]
    assert line["prediction"] == max(line["probabilities"], key=lambda label: line["probabilities"][label])
    if "--independent" not in more:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "knows no word of '猫'" in " ".join(line["notes"])


def test_classify_prints_a_table_and_its_notes_once(run: Run, here: Path) -> None:
    (here / "a.png").write_bytes(PNG)
    ended = run("classify", "a.png", "a.png", "--encoder", "tiny", "--labels", "a fish, zzyzx")
    assert ended.out.splitlines()[0].split() == ["picture", "prediction", "probabilities"]
    assert ended.err.count("knows no word of 'zzyzx'") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoder", "tinny", "--labels", "a"], "no encoder 'tinny'. Did you mean 'tiny'?"),
        (["--encoder", ".", "--labels", "a"], "no known architecture"),
        (["--encoder", "tiny", "--labels", " , ,"], "at least one label"),
        (["--encoder", "tiny", "--labels", ""], "at least one label"),
        (["--encoder", "tiny", "--labels", "a", "--fit", "sqash"], "Did you mean 'squash'?"),
    ],
)
def test_a_wrong_encoder_no_label_or_a_wrong_fit_is_refused(
    run: Run, here: Path, arguments: list[str], words: str
) -> None:
    (here / "a.png").write_bytes(PNG)
    assert words in run("classify", "a.png", *arguments).complaint


# embed


def test_embeddings_of_pictures_are_written_with_those_that_failed(run: Run, pictures: Path, here: Path) -> None:
    ended = run("embed", pictures, "--encoder", "tiny", "--output", "rows.npz")
    assert ended.code == 0
    assert f"a.jpg: unscannable: {BROKEN['truncated.jpg'][1]}" in ended.err
    assert "passed over 2 files" in ended.err
    with np.load(here / "rows.npz") as file:
        rows = file["embeddings"]
        assert (rows.dtype, rows.shape) == (np.float32, (2, DIM))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        assert [Path(source).name for source in file["sources"]] == ["b.png", "c"]
        assert [Path(source).name for source in file["failed"]] == ["a.jpg"]
        assert list(file["reasons"]) == [BROKEN["truncated.jpg"][1]]


def test_embeddings_of_texts_are_written_or_printed(run: Run, here: Path) -> None:
    asked = ["--text", "a red fish", "--text", "猫", "--encoder", "tiny"]
    printed = run("embed", *asked).lines
    assert [line["text"] for line in printed] == ["a red fish", "猫"]
    assert run("embed", *asked, "--output", "rows.npz").code == 0
    with np.load(here / "rows.npz") as file:
        assert (file["embeddings"].dtype, file["embeddings"].shape) == (np.float32, (2, DIM))
        np.testing.assert_allclose(file["embeddings"], [line["embedding"] for line in printed], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(file["embeddings"], axis=1), 1, atol=1e-5)
        assert list(file["texts"]) == ["a red fish", "猫"]


def test_when_every_picture_fails_the_file_is_still_whole(run: Run, here: Path) -> None:
    (here / "a.png").write_bytes(b"")
    run("embed", "a.png", "--encoder", "tiny", "--output", "rows.npz")
    with np.load(here / "rows.npz") as file:
        assert file["embeddings"].shape == (0, DIM)
        assert list(file["failed"]) == ["a.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of the two"),
        (["a.png", "--text", "a"], "one of the two"),
        (["a.png", "--output", "rows.csv"], "as .npz"),
        (["a.png", "--output", "nowhere/[/x].npz"], "nowhere/[/x].npz cannot be written"),
        (["a.png", "--fit", "x"], "cover, crop, squash"),
    ],
)
def test_a_wrong_use_of_embed_is_refused(run: Run, here: Path, arguments: list[str], words: str) -> None:
    (here / "a.png").write_bytes(PNG)
    assert words in run("embed", "--encoder", "tiny", *arguments).complaint


# policies and models


def test_policies_are_listed_shown_and_checked(run: Run, here: Path) -> None:
    listed = run("policies", "list").out
    assert all(re.search(rf"^{name} +\S+ +\d+ ", listed, re.MULTILINE) for name in ("demo", "standard", "thesis"))
    shown = run("policies", "show", "demo").out
    assert all(word in shown for word in ("knife", "0.90", "drawings of tools/tiny", "toy", "unscannable: review"))
    assert "own.toml holds: 1 labels for tiny." in run("policies", "check", policy(here)).out


def test_a_policy_that_no_picture_could_be_judged_by_does_not_hold(run: Run, here: Path) -> None:
    file = policy(here)
    assert "Did you mean 'review'?" in run("policies", "check", policy(here, revew=0.5)).complaint
    file.write_text(policy(here).read_text().replace("tiny", "tinny"))
    assert "no encoder 'tinny'" in run("policies", "check", file).complaint


def test_models_are_listed_and_shown_with_their_limits(run: Run) -> None:
    listed = run("models", "list").out
    assert re.search(r"^tiny +yes ", listed, re.MULTILINE)
    assert re.search(r"^openai-b32 +224 px ", listed, re.MULTILINE)
    shown = run("models", "show", "openai-b32").out
    assert all(word in shown for word in ("openai/ViT-B-32", "MIT", "512", "Limits."))
    assert (Path(run("models", "path", "tiny").out.strip()) / "open_clip_model.safetensors").is_file()
    assert "Did you mean 'openai-b32'?" in run("models", "show", "openai-b3").complaint


# What the operator set up


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MODERATO_THREAD", "1", "Did you mean 'MODERATO_THREADS'?"),
        ("MODERATO_THREADS", "0", "MODERATO_THREADS is '0'"),
        ("MODERATO_THREADS", "many", "MODERATO_THREADS is 'many'"),
        ("MODERATO_MEDIA__MAX_BYTE", "1", "MODERATO_MEDIA__MAX_BYTE"),
        ("MODERATO_MEDIA__MAX_BYTES", "1 MB", "MODERATO_MEDIA__MAX_BYTES is '1 MB'"),
        ("MODERATO_MEDIA", "x", "media"),
        ("MODERATO_FETCH__ALLOW_HOSTS", "http://a/b", "not a host"),
        ("MODERATO_RUNTIME", "onx", "Did you mean 'onnx'?"),
    ],
)
def test_a_setting_that_is_misspelt_or_wrong_is_named(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    (here / "a.png").write_bytes(PNG)
    monkeypatch.setenv(name, value)
    assert words in run("check", "a.png", "--policy", "demo").complaint


def test_a_data_folder_that_cannot_be_used_costs_only_the_cache(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a.png").write_bytes(PNG)
    monkeypatch.setenv("MODERATO_DATA", str(here / "a.png"))
    assert run("check", "a.png", "--policy", "demo").code == 0


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["check", "a.png"], "--policy demo"),
        (["classify", "a.png", "--labels", "a"], "--encoder tiny"),
        (["embed", "a.png"], "--encoder tiny"),
        (["serve", "--port", "0"], "--policy demo"),
    ],
)
def test_weights_that_cannot_be_had_name_the_file_the_hub_the_reason_and_ways_out(
    here: Path, arguments: list[str], way_out: str
) -> None:
    (here / "a.png").write_bytes(PNG)
    ended = subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(here)},
    )
    said = Ended(ended.returncode, ended.stdout, ended.stderr).complaint
    for words in (
        "open_clip_model.safetensors",
        "huggingface.co/",
        "offline",
        "HF_ENDPOINT",
        "MODERATO_MODELS",
        way_out,
    ):
        assert words in said


# serve and demo


def test_serve_stays_on_this_machine_unless_told_otherwise(run: Run) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        assert "--open" in run("serve", "--policy", "demo", "--host", host).complaint


@pytest.mark.parametrize("command", [["serve", "--policy", "demo"], ["demo"]], ids=["serve", "demo"])
def test_a_busy_port_gives_a_sentence_with_the_remedy(run: Run, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        said = run(*command, "--port", port).complaint
    assert f"Port {port} is in use" in said
    assert "--port" in said


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command, running; killed if it is still there at the end."""
    with subprocess.Popen([SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(stream: IO[str] | None, words: str) -> str:
    """What is printed up to the line with these words."""
    assert stream
    said = ""
    for line in stream:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def stopped(process: subprocess.Popen[str]) -> str:
    """What is still said after Ctrl-C, which must end it quietly."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=10)
    assert process.returncode in (0, 130)
    assert "Traceback" not in said
    return said


def test_serve_answers_where_it_says_and_stops_on_ctrl_c() -> None:
    with started("serve", "--policy", "demo", "--port", "0") as process:
        said = until(process.stdout, "http://")
        url = re.findall(r"http://127\.0\.0\.1:\d+", said)[0]
        assert httpx.get(f"{url}/healthz", trust_env=False).text == "ok"
        answer = httpx.post(f"{url}/v1/check", files={"images": ("a.png", PNG)}, trust_env=False)
        assert answer.json()["results"][0]["policy"] == "demo"
        stopped(process)


def test_the_demo_shows_verdicts_within_five_seconds_and_every_line_it_prints_works(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    begun = time.monotonic()
    with started("demo") as process:
        said = until(process.stdout, "Ctrl-C")
        assert time.monotonic() - begun < 5
        assert re.search(r"^picture +action +why", said, re.MULTILINE)
        assert re.search(r"^knife\.png +(allow|review|block) +\S", said, re.MULTILINE)
        tried = dict(re.findall(r"^# (.+)\n(.+)$", said, re.MULTILINE))
        runnable = {what: line for what, line in tried.items() if shutil.which("curl") or "curl " not in line}
        answers = {what: _sh(line) for what, line in runnable.items()}
        stopped(process)
    assert len(tried) >= 6
    assert "knife.png" in answers["the same from the command line"]
    assert "pistol" in answers["what a policy says"]
    if not shutil.which("curl"):
        pytest.skip("the other lines need curl")
    assert json.loads(answers["judge a picture"])["results"][0]["source"] == "knife.png"
    (classified,) = json.loads(answers["labels of your own"])["results"]
    assert sum(classified["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert json.loads(answers["the thesis's API"])["result"]["original_payload"]["classifier"] == "clip"
    assert len(json.loads(answers["the thumbnail moderator's API"])["result"]) == 2
    assert all(json.loads(answers[what]) for what, line in tried.items() if "curl " in line)


@pytest.mark.parametrize("name", ["o'brien", "two words", "a;b", "$HOME", "ä"])
def test_the_demos_lines_can_be_pasted_wherever_it_is_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    demo = importlib.import_module("moderato.cli.demo")
    monkeypatch.setattr(demo, "_SAMPLES", here / name)
    lines = list(demo._lines("http://127.0.0.1:8000").values())
    assert shlex.split(next(line for line in lines if " check " in line))[-1] == str(here / name)
    subprocess.run(["sh", "-n", "-c", "\n".join(lines)], check=True, timeout=10)


def _sh(line: str) -> str:
    ended = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, (line, ended.stderr)
    return ended.stdout


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listening("127.0.0.1", 0) as ours:
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
