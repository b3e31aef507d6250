"""A local server that behaves like the Hugging Face hub, as far as its clients go: listings, files, redirects to a CDN.

It keeps every commit of every repo, counts what it is asked, and misbehaves on demand: it can cut, dawdle, refuse,
forget how to answer a range, and forget the facts that only the real hub sends.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

LARGE = 10_000
"""From this size on, a file is kept as LFS: a redirect to the CDN, and a SHA-256 in the listing."""


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class Hub:
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """repo → commit → file → bytes; the last commit is main."""
    plain: dict[str, bytes] = field(default_factory=dict)
    """path → bytes: an ordinary web server beside the hub."""
    asked: list[Asked] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    """path → the status that every request for it gets."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next bodies of large files are cut."""
    pause: float = 0.0
    """Seconds between 64 KB."""
    ranges: bool = True
    skew: int = 0
    """How far beyond the range that was asked for the answer begins."""
    modest: bool = False
    """Like a simple mirror: no hashes in the listing."""

    def put(self, repo: str, files: dict[str, bytes]) -> str:
        """A new commit of `repo`, which becomes its main."""
        known = self.commits.setdefault(repo, {})
        commit = hashlib.sha1(f"{repo} {len(known)}".encode()).hexdigest()
        known[commit] = files
        return commit

    def fetched(self, file: str) -> list[Asked]:
        """The requests that were sent (some of) the bytes of `file`, by the end of its path or by its hash."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.endswith(file) and asked.sent]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Hub:
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.pause = 0.0
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients are killed in the middle of an answer here; that is no news."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.asked = Asked(self.command, unquote(urlsplit(self.path).path), dict(self.headers))
            hub.asked.append(self.asked)
            path = self.asked.path
            if path in hub.status:
                self.answer(hub.status[path], b"")
            elif path in hub.plain:
                self.body(hub.plain[path], {"ETag": f'"{len(hub.plain[path])}"'})
            elif match := re.fullmatch(r"/api/models/(.+)/revision/([^/]+)", path):
                self.listing(*match.groups())
            elif match := re.fullmatch(r"/((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", path):
                self.file(*match.groups())
            elif match := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
                self.blob(match[1])
            else:
                self.refuse(404, "EntryNotFound")

        do_HEAD = do_GET  # noqa: N815

        def commit(self, repo: str, revision: str) -> str | None:
            if repo not in hub.commits:
                # The real one says 401 to strangers, so as not to tell which private repos exist.
                self.refuse(401, "RepoNotFound")
                return None
            commit = [*hub.commits[repo]][-1] if revision == "main" else revision
            if commit not in hub.commits[repo]:
                self.refuse(404, "RevisionNotFound")
                return None
            return commit

        def listing(self, repo: str, revision: str) -> None:
            if commit := self.commit(repo, revision):
                files = hub.commits[repo][commit].items()
                siblings = [{"rfilename": file, **({} if hub.modest else _facts(content))} for file, content in files]
                self.answer(200, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode())

        def file(self, repo: str, revision: str, file: str) -> None:
            if not (commit := self.commit(repo, revision)):
                return None
            if repo in hub.gated and "Authorization" not in self.headers:
                return self.refuse(401, "GatedRepo")
            if file not in hub.commits[repo][commit]:
                return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            content = hub.commits[repo][commit][file]
            if len(content) < LARGE:
                blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                return self.body(content, {"X-Repo-Commit": commit, "ETag": f'"{blob}"'})
            sha256 = hashlib.sha256(content).hexdigest()
            linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
            # Another host name, so that clients must not hand it the token.
            cdn = hub.url.replace("127.0.0.1", "localhost")
            return self.answer(302, b"", {"X-Repo-Commit": commit, **linked, "Location": f"{cdn}/cdn/{sha256}?sig=x"})

        def blob(self, sha256: str) -> None:
            for commits in hub.commits.values():
                for files in commits.values():
                    for content in files.values():
                        if hashlib.sha256(content).hexdigest() == sha256:
                            return self.body(content, {"ETag": f'"{sha256}"'})
            return self.refuse(404, "EntryNotFound")

        def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
            self.answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

        def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def body(self, content: bytes, headers: dict[str, str]) -> None:
            total, start = len(content), 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if asked and hub.ranges:
                start = int(asked[1]) + hub.skew
                if start >= total:
                    return self.answer(416, b"", {"Content-Range": f"bytes */{total}"})
                headers = {**headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
            content = content[start:]
            self.send_response(206 if "Content-Range" in headers else 200)
            for key, value in {**headers, "Content-Length": str(len(content)), "Accept-Ranges": "bytes"}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return None
            cut = hub.cuts.pop(0) if hub.cuts and total >= LARGE else len(content)
            for at in range(0, min(cut, len(content)), 1 << 16):
                chunk = content[at : min(at + (1 << 16), cut)]
                self.wfile.write(chunk)
                self.asked.sent += len(chunk)
                time.sleep(hub.pause)
            self.close_connection = cut < len(content) or self.close_connection
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _facts(content: bytes) -> dict[str, object]:
    facts: dict[str, object] = {"size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
    if len(content) >= LARGE:
        facts["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 133}
    return facts
