"""What a Hugging Face repo holds: asked of the cache on this machine, of the hub's listing, or file by file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import quote

import httpx
from huggingface_hub import constants

from moderato.weights._download import open_client, public
from moderato.weights._files import File

_NO_LISTING = (404, 405, 501)


def cached_path(repo: str, file: str, revision: str) -> Path | None:
    """The file in the Hugging Face cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache  # takes 0.1 s, and an ordinary start does without

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def find_cached(repo: str, files: Iterable[str], revision: str) -> tuple[str, dict[str, File]]:
    """What the Hugging Face cache has of `revision`, and which commit that is."""
    commit, known = revision, {}
    for file in files:
        if path := cached_path(repo, file, revision):
            commit = path.parents[file.count("/")].name  # .../snapshots/COMMIT/FILE
            blob = path.resolve().name  # of a large file, its hash
            known[file] = File(blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None)
    return commit, known


def find_at_hub(repo: str, files: Collection[str], revision: str) -> tuple[str, dict[str, File]]:
    """What the hub has of `revision`, and which commit that is: by its listing, or by asking for each of `files`.

    The hub itself lists; a mirror may know nothing but `resolve/`.
    """
    try:
        return _listed(repo, revision)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _NO_LISTING or not (found := _asked_for(repo, files, revision)):
            raise
        return found


def _listed(repo: str, revision: str) -> tuple[str, dict[str, File]]:
    url = f"{constants.ENDPOINT}/api/models/{repo}/revision/{revision}"
    with open_client() as client:
        response = client.get(url, params={"blobs": "true"}, headers=authorization())
        response.raise_for_status()
    try:
        facts = response.json()
        files = {of["rfilename"]: File((of.get("lfs") or {}).get("sha256"), of.get("size")) for of in facts["siblings"]}
        return re.fullmatch(r"[0-9a-f]{40}", facts["sha"])[0], files  # type: ignore[index]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{public(url)} does not answer like a hub") from error


def _asked_for(repo: str, files: Collection[str], revision: str) -> tuple[str, dict[str, File]] | None:
    """The same from the headers of each file; a large one's are on the redirect to where its bytes lie."""
    commit, known = "", {}
    with open_client() as client:
        for file in files:
            url = f"{constants.ENDPOINT}/{repo}/resolve/{revision}/{quote(file)}"
            response = client.head(url, headers=authorization(), follow_redirects=False)
            headers = response.headers
            if response.is_error or "X-Repo-Commit" not in headers:
                continue
            commit = headers["X-Repo-Commit"]
            tag = headers.get("X-Linked-Etag", headers.get("ETag", "")).removeprefix("W/").strip('"')
            size = headers.get("X-Linked-Size", headers.get("Content-Length", ""))
            sha256 = tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None
            known[file] = File(sha256, int(size) if size.isdigit() else None)
    return (commit, known) if known and re.fullmatch(r"[0-9a-f]{40}", commit) else None


def authorization() -> dict[str, str]:
    """The header with the user's token; none without a token."""
    from huggingface_hub import get_token  # takes 0.1 s, and an ordinary start does without

    try:
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    except Exception as error:  # it may ask a network, and what it raises is not documented
        raise ValueError(f"the Hugging Face token cannot be had ({error})") from error
    return {"Authorization": f"Bearer {token}"} if token else {}
