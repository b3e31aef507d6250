"""`moderato serve --workers`: several processes on one port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from servers import PNG, wait_until

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "moderato")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [SCRIPT, "serve", *arguments, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            for one in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                one.kill()
            process.kill()


@contextmanager
def two() -> Iterator[tuple[subprocess.Popen[str], str]]:
    with started("--policy", "demo", "--workers", "2") as process:
        assert process.stdout
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        wait_until(lambda: workers_of(found[0]) == {"1", "2"})
        yield process, found[0]


def workers_of(url: str) -> set[str]:
    """Who answers: each request has a connection of its own, which whichever worker takes."""
    texts = [httpx.get(f"{url}/metrics", trust_env=False).text for _ in range(20)]
    told = [set(re.findall(r'^moderato_[a-z_]+\{[^}]*worker="(\d+)"', text, re.MULTILINE)) for text in texts]
    assert all(len(one) == 1 for one in told)
    return set.union(*told)


def test_two_answer_on_one_port_and_both_stop_when_told() -> None:
    with two() as (process, url):
        answer = httpx.post(f"{url}/v1/check", files={"images": ("a.png", PNG)}, trust_env=False)
        assert answer.json()["results"][0]["policy"] == "demo"
        everyone = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in said
        wait_until(lambda: not any(one.is_running() for one in everyone))


def test_one_that_is_killed_is_replaced() -> None:
    with two() as (process, url):
        (victim, *_) = (
            one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())
        )
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(victim.pid))
        wait_until(lambda: workers_of(url) == {"1", "2"})
        assert httpx.post(f"{url}/v1/check", files={"images": ("a.png", PNG)}, trust_env=False).status_code == 200


def test_they_do_not_outlive_whoever_started_them() -> None:
    with two() as (process, url):
        everyone = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        wait_until(lambda: not any(one.is_running() for one in everyone))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/healthz", trust_env=False)


def test_what_keeps_one_from_starting_is_said_once(tmp_path: Path) -> None:
    policy = tmp_path / "none.toml"
    policy.write_text('name = "x"\nencoder = "tiny"\n[labels.knife]\nhead = "./none.safetensors"\nreview = 0.5\n')
    with started("--policy", str(policy), "--workers", "3") as process:
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 2
        assert said.count("Error:") == 1
        assert "Traceback" not in said
