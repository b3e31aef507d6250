"""See drawings moderated, with no download: the built-in encoder, the demo policy, the service left running."""

from __future__ import annotations

import shlex
import sys
import threading
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import httpx
import typer
from pydantic import TypeAdapter
from rich.console import Console

from moderato.cli._listen import listening, serve_on
from moderato.cli._output import print_table, verdict_table
from moderato.types import Verdict

_POLICY = "demo"
_SAMPLES = Path(str(files("moderato") / "samples"))


def demo(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; 8000 or the next free one without it.")
    ] = None,
) -> None:
    """Start the service with the built-in toy encoder, let it judge a few drawings, and leave it running."""
    ours = listening("127.0.0.1", port, fallback=port is None)
    url = f"http://127.0.0.1:{ours.getsockname()[1]}"
    serve_on(ours, _POLICY, encoder=None, started=lambda: threading.Thread(target=_show, args=(url,)).start())


def _show(url: str) -> None:
    console = Console()
    pictures = sorted(_SAMPLES.iterdir())
    uploads = [("images", (picture.name, picture.read_bytes())) for picture in pictures]
    answer = httpx.post(f"{url}/v1/check", files=uploads, timeout=60, trust_env=False)
    if answer.status_code != httpx.codes.OK:
        console.print(f"The samples were refused: {answer.json()['detail']}", markup=False)
        return
    verdicts = TypeAdapter(list[Verdict]).validate_python(answer.json()["results"])
    console.print(f"\n{len(verdicts)} drawings from {_SAMPLES}, judged by the policy '{_POLICY}':\n", highlight=False)
    print_table(verdict_table(verdicts))
    console.print(
        f"\nThe service is listening on [bold]{url}[/]. Paste a line into another terminal:\n", highlight=False
    )
    for what, line in _lines(url).items():
        console.print(f"[dim]# {what}[/]")
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print("\nThe built-in encoder is a toy for drawings. Ctrl-C stops the service.\n", highlight=False)


def _lines(url: str) -> dict[str, str]:
    """Things to try next, as shell lines for Linux and macOS, whose zsh takes a pasted # for a word and no comment."""
    knife, cat = _quoted(_SAMPLES / "knife.png"), _quoted(_SAMPLES / "cat.png")
    moderato = _quoted(Path(sys.argv[0]).absolute())
    encoded = f'$(base64 < {cat} | tr -d "\\n")'
    return {
        "judge a picture": f"curl -s -F images=@{knife} {url}/v1/check",
        "labels of your own": f"curl -s -F images=@{cat} -F 'labels=a cat, a dog, a house' {url}/v1/classify",
        "the thesis's API": f"curl -s -F image=@{cat} -F 'classes=an orange cat, a red knife' {url}/classify/",
        "the thumbnail moderator's API": (
            f'printf \'{{"image_data": "%s", "labels": ["a cat", "a knife"]}}\' "{encoded}" | curl -s -d @- {url}/'
        ),
        "the same from the command line": f"{moderato} check --policy demo {_quoted(_SAMPLES)}",
        "what a policy says": f"{moderato} policies show demo",
        f"the whole API, for a person at {url}/docs, for a program": f"curl -s {url}/openapi.json",
    }


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
