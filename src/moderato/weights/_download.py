"""One file from one URL, whole and checked; what a cut leaves is continued."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

import httpx
from huggingface_hub import constants

from moderato.weights._files import File, HashError, settle

_CONNECT_S = 3  # per address, and a host may have eight: without a network the error has to come within seconds
_PATIENCE = 3  # attempts in a row that bring nothing, once a download has begun to flow

Show = Callable[[int, int | None], None]


def public(url: str) -> str:
    """A URL without what may be secret: credentials and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_client() -> httpx.Client:
    """An HTTP client with moderato's time limits."""
    timeout = httpx.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=_CONNECT_S)
    # Not compressed: a range or a length would be that of something else.
    headers = {"User-Agent": "moderato", "Accept-Encoding": "identity"}
    return httpx.Client(timeout=timeout, headers=headers, follow_redirects=True)


def download(url: str, headers: Mapping[str, str], target: Path, expected: File, progress: bool) -> File:
    """The file at `url`, whole and checked. A cut leaves a `.part`, where the next run goes on."""
    # Its hash in its name: it is only continued by the file that it is the beginning of.
    part = target.with_name(f"{target.name}.{(expected.sha256 or '')[:16]}.part")
    if not expected.sha256:
        part.unlink(missing_ok=True)
    resumed, patience = _size(part) > 0, 0
    logging.getLogger(__name__).info("downloading %s from %s", target.name, public(url))
    with open_client() as client, _bar(target.name, progress) as show:
        while True:
            before = _size(part)
            try:
                _receive(client, url, headers, part, show)
                break
            except httpx.TransportError:
                patience = _PATIENCE if _size(part) > before else patience - 1
                if patience <= 0:
                    raise
                sleep(1 + _PATIENCE - patience)
    if not expected.sha256 and expected.size not in (None, _size(part)):
        raise ValueError(f"{expected.size} bytes expected, {_size(part)} received")
    try:
        return settle(part, target, expected)
    except HashError:
        if not resumed:
            raise
    return download(url, headers, target, expected, progress)  # what was there was damaged or of another file


def _receive(client: httpx.Client, url: str, headers: Mapping[str, str], part: Path, show: Show) -> None:
    start = _size(part)
    resume = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", url, headers={**headers, **resume}) as response:
        if start and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None  # nothing follows: it is whole, or its hash will say that it is not
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            start = 0
        elif start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            return _receive(client, url, headers, part, show)
        length = response.headers.get("Content-Length")
        with part.open("ab" if start else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                show(file.tell(), start + int(length) if length else None)
            file.flush()
            os.fsync(file.fileno())
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _bar(label: str, progress: bool) -> Iterator[Show]:
    if not (progress and sys.stderr and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console  # only a terminal needs it
    from rich.progress import DownloadColumn, Progress

    with Progress(*Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
