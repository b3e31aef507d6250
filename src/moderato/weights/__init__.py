"""Model files, named by a hub repo or by URL → a local folder that holds them, fetched once.

They are looked for in the user's own folder (`Store.models`), in moderato's (`data/models/NAME`), in the Hugging Face
cache; only then are they downloaded. What is first seen under a name is recorded in `data/records/NAME.json`, and
checked ever after. That holds for the user's own folder too: thresholds and stored embeddings only mean something for
the very weights they were made with, so others must not pass under the same name unnoticed.

Downloads do not go through `hf_hub_download`: since 1.18 it begins anew after a kill (its pull request 4306), it
keeps retrying when there is no network, checks no hashes over HTTP, and its user agent describes the machine. A
file at the hub is a URL with a hash, so one small downloader serves both. Endpoint, token, timeout, offline mode and
cache are still huggingface_hub's (HF_ENDPOINT, HF_TOKEN, HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_OFFLINE, HF_HOME).
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import httpx
from filelock import FileLock, Timeout
from huggingface_hub import constants

from moderato.errors import CardError, WeightsError
from moderato.files import replacing
from moderato.weights._download import download, public
from moderato.weights._files import File, HashError, check, copy
from moderato.weights._hub import authorization, cached_path, find_at_hub, find_cached


@dataclass(frozen=True)
class HubFiles:
    """Files of a Hugging Face repo. Raises CardError for names that cannot be a repo's or a file's."""

    repo: str
    files: tuple[tuple[str, ...], ...]
    """Each entry is one needed file: a list of alternatives, of which the first that exists is taken."""
    optional: tuple[str, ...] = ()
    """Taken when they are there. Nothing may depend on them: a folder or a cache without them is complete."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(\w[\w.-]*/)?\w[\w.-]*", self.repo):
            raise CardError(f"'{self.repo}' is not a Hugging Face repo (ORG/REPO)")
        _check_names([*self.optional, *sum(self.files, ())])


@dataclass(frozen=True)
class UrlFile:
    """One file at a URL. Raises CardError for what cannot be a URL or a SHA-256."""

    url: str
    sha256: str | None = None
    """Its hash; None: the one that is seen first is recorded, and checked ever after."""

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise CardError(f"'{self.url}' is not a URL (https://HOST/PATH/FILE)")
        if self.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise CardError(f"'{self.sha256}' is not a SHA-256 (64 digits, 0-9 and a-f)")
        _check_names([self.file])

    @property
    def file(self) -> str:
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


@dataclass(frozen=True)
class Store:
    """Where model files are kept. Safe to use from many threads and processes at once."""

    data: Path
    """moderato's own folder: the records, and the files that were downloaded or brought."""
    models: Path | None = None
    """A folder to look in first. Its files are used where they lie, and never written."""
    offline: bool = False
    """Download nothing. HF_HUB_OFFLINE has the same effect."""
    progress: bool = True
    """Show a bar on stderr while downloading, when that is a terminal."""

    def path(self, name: str, origin: HubFiles | UrlFile) -> Path:
        """The folder that holds the files of `name`; those that are missing are downloaded.

        Raises WeightsError when they cannot be had (it says why, and the ways out) or are not the ones recorded.
        """
        model = _Model(self, name, origin)
        with model.translated():
            try:
                return model.folder(online=not (self.offline or constants.HF_HUB_OFFLINE))
            except _OfflineError:
                raise model.refusal("offline mode is set") from None

    def present(self, name: str, origin: HubFiles | UrlFile) -> Path | None:
        """Where the files lie now, None when one is missing: nothing is downloaded, waited for or written.

        Raises WeightsError when there are files that cannot be read, or are not the ones recorded.
        """
        model = _Model(self, name, origin)
        with model.translated():
            found = model.found(model.record())
            return found[0] if found else model.cached()

    def bring(self, name: str, origin: HubFiles | UrlFile, folder: Path) -> Path:
        """Copies the files of `name` from `folder`, where they may lie loose, and returns the folder of the copies.

        Raises WeightsError when one is missing, is not the one recorded, or cannot be copied.
        """
        model = _Model(self, name, origin)
        with model.translated():
            return model.bring(folder)


class _OfflineError(Exception):
    """A file is missing, and the network may not be used."""


@dataclass(frozen=True)
class _Record:
    source: str
    commit: str | None = None
    files: Mapping[str, File] = field(default_factory=dict)

    def hashes(self) -> dict[str, str | None]:
        return {file: of.sha256 for file, of in self.files.items()}


class _Model:
    """One name in one store, while its files are being had."""

    needed: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()

    def __init__(self, store: Store, name: str, origin: HubFiles | UrlFile) -> None:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise CardError(f"'{name}' cannot name a model: letters, digits and . + - _ only")
        self.store, self.name, self.origin = store, name, origin
        self.own = store.data.absolute() / "models" / name
        self.book = store.data.absolute() / "records" / f"{name}.json"
        if isinstance(origin, HubFiles):
            self.needed, self.optional = origin.files, origin.optional
            self.folders = [name, origin.repo, origin.repo.rpartition("/")[2]]
            self.page = f"{public(constants.ENDPOINT)}/{origin.repo}"
            self.blank = _Record(origin.repo)
        else:
            self.needed = ((origin.file,),)
            self.folders = ["", name] if origin.sha256 else [name]  # without a hash a name tells too little
            self.page = public(origin.url)
            known = f" sha256:{origin.sha256}" if origin.sha256 else ""
            self.blank = _Record(self.page + known, files={origin.file: File(origin.sha256)})
        self.wanted = self.names()  # what an error is about

    def names(self, folder: Path = Path()) -> str:
        return ", ".join(" or ".join(str(folder / file) for file in entry) for entry in self.needed)

    def choose(self, there: Callable[[str], bool]) -> list[str]:
        """The files to take where `there` says which exist; none when a needed one does not."""
        needed = [next(filter(there, entry), "") for entry in self.needed]
        return list(dict.fromkeys([*needed, *filter(there, self.optional)])) if all(needed) else []

    def chosen_in(self, folder: Path) -> list[str]:
        return self.choose(lambda file: (folder / file).is_file())

    def mentioned(self, files: Collection[str]) -> frozenset[str]:
        return frozenset(self.optional).union(*self.needed).intersection(files)

    def folder(self, online: bool, patience: float = -1) -> Path:
        while True:
            known = self.record()
            found = self.found(known)
            if found and found[1] == known:
                return found[0]  # the ordinary start: nothing is read, locked or written
            try:
                with self.locked(patience):
                    if self.record() != known:
                        continue  # another process or thread was here
                    folder, seen = found or self.pulled(known, online)
                    self.save(seen)
                    return folder
            except OSError as error:
                # Another is writing, or only stamps are new: a container's data may well be read-only.
                if found and (isinstance(error, Timeout) or found[1].hashes() == known.hashes()):
                    return found[0]
                raise

    def found(self, known: _Record) -> tuple[Path, _Record] | None:
        theirs = [self.store.models.absolute() / sub for sub in self.folders] if self.store.models else []
        for folder in (*theirs, self.own):
            files = self.chosen_in(folder)
            # What is missing from our own folder can be had again; a lack in the user's is for the user to decide.
            if files and (folder != self.own or self.mentioned(known.files).issubset(files)):
                return folder, self.seen(folder, files, known)
        return None

    def seen(self, folder: Path, files: list[str], known: _Record) -> _Record:
        """The record with these files in it. Raises WeightsError when they are not the ones it has."""
        way_out = f"Put the recorded file there, or delete {self.book} if the change is wanted."
        if isinstance(self.origin, UrlFile) and self.origin.sha256:
            way_out = "Its card knows no other."
        for file in self.mentioned(known.files).difference(files):
            raise WeightsError(f"{self.name}: {file} is recorded, but {folder} holds {', '.join(files)}. {way_out}")
        checked = {}
        for file in files:
            try:
                checked[file] = check(folder / file, known.files.get(file, File()))
            except HashError as error:
                if folder == self.own:
                    way_out = f"Delete it and run `moderato models pull {self.name}`. {way_out}"
                raise WeightsError(f"{self.name}: {folder / file} has changed: {error}. {way_out}") from None
        return replace(known, files={**known.files, **checked})

    def cached(self) -> Path | None:
        """Where the Hugging Face cache has them all."""
        if isinstance(self.origin, UrlFile):
            return None
        revision = self.record().commit or constants.DEFAULT_REVISION
        commit, files = find_cached(self.origin.repo, set(sum(self.needed, ())), revision)
        chosen = self.choose(files.__contains__)
        place = cached_path(self.origin.repo, chosen[0], commit) if chosen else None
        return place.parents[chosen[0].count("/")] if place else None

    def pulled(self, known: _Record, online: bool) -> tuple[Path, _Record]:
        plan = self.plan(known, online)
        if plan != known:
            self.save(plan)  # first of all, so that a pull cut short goes on at the same commit
        taken = dict(plan.files)
        for file in sorted(self.mentioned(plan.files)):
            if not (self.own / file).is_file():
                self.wanted = file
                taken[file] = self.take(file, plan, online)
        return self.own, self.seen(self.own, self.chosen_in(self.own), replace(plan, files=taken))

    def plan(self, known: _Record, online: bool) -> _Record:
        """Which files are to be had, and at which commit."""
        if isinstance(self.origin, UrlFile) or (known.commit and self.choose(known.files.__contains__)):
            return known
        revision = known.commit or constants.DEFAULT_REVISION
        names = {*self.optional, *sum(self.needed, ())}
        commit, files = find_cached(self.origin.repo, names, revision)
        if not self.choose(files.__contains__):
            if not online:
                raise _OfflineError
            commit, files = find_at_hub(self.origin.repo, names, revision)
        chosen = self.choose(files.__contains__)
        if not chosen:
            raise ValueError("the repo does not have them all")
        return replace(known, commit=commit, files={file: files[file] for file in chosen} | dict(known.files))

    def take(self, file: str, plan: _Record, online: bool) -> File:
        target, expected = self.own / file, plan.files[file]
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.origin, HubFiles) and (cached := cached_path(self.origin.repo, file, str(plan.commit))):
            with suppress(HashError):  # a damaged cache is no reason to fail while there is a hub
                return copy(cached, target, expected, link=True)
        if not online:
            raise _OfflineError
        if isinstance(self.origin, UrlFile):
            return download(self.origin.url, {}, target, expected, self.store.progress)
        url = f"{constants.ENDPOINT}/{self.origin.repo}/resolve/{plan.commit}/{quote(file)}"
        return download(url, authorization(), target, expected, self.store.progress)

    def bring(self, folder: Path) -> Path:
        place = next(filter(self.chosen_in, [folder, *(folder / sub for sub in self.folders)]), None)
        if not place:
            raise WeightsError(f"{self.name}: {folder} does not hold {self.wanted}")
        with self.locked():
            files = self.chosen_in(place)
            seen = self.seen(place, files, self.record())
            self.save(seen)  # first of all, so that a copy cut short is only completed by what belongs to it
            copies = {file: copy(place / file, self.own / file, seen.files[file]) for file in files}
            self.save(replace(seen, files={**seen.files, **copies}))
        return self.own

    @contextmanager
    def locked(self, patience: float = -1) -> Iterator[None]:
        self.book.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.book.with_suffix(".lock"), timeout=patience):
            yield

    def record(self) -> _Record:
        try:
            facts = json.loads(self.book.read_bytes())
            files = {file: File(**of) for file, of in facts["files"].items()}
            record = _Record(facts["source"], facts["commit"], files)
        except FileNotFoundError:
            return self.blank
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{self.name}: {self.book} is damaged; delete it to record the files anew") from error
        if record.source != self.blank.source:
            raise WeightsError(
                f"{self.name}: {record.source} is recorded, but the card names {self.blank.source}. "
                f"Delete {self.book} and {self.own} if the change is wanted."
            )
        return record

    def save(self, record: _Record) -> None:
        with replacing(self.book) as part:
            part.write_text(json.dumps(asdict(record), indent=2))

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The one place where the exceptions of others become ours."""
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
            raise self.refusal(_because(error)) from error

    def refusal(self, reason: str) -> WeightsError:
        folder = self.store.models or Path("DIR")
        lines = [
            f"{self.name}: {self.wanted} cannot be had from {self.page}: {reason}.",
            *["  another hub:   HF_ENDPOINT=https://MIRROR"] * isinstance(self.origin, HubFiles),
            f"  a folder:      MODERATO_MODELS={folder} with {self.names(folder / self.name)}",
            f"  or copy once:  moderato models pull {self.name} --from DIR",
            "  no download:   --policy demo (check, serve), --encoder tiny (classify, embed)",
        ]
        return WeightsError("\n".join(lines))


def _check_names(files: Iterable[str]) -> None:
    for file in files:
        # A card may be a stranger's: nothing is to be written outside the model's folder.
        if not re.fullmatch(r"\w[\w .+@=-]*(/\w[\w .+@=-]*)*", file):
            raise CardError(f"'{file}' cannot be a file in a model folder")


def _because(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        code = error.response.headers.get("X-Error-Code") or error.response.reason_phrase
        hint = ". HF_TOKEN may help, once its terms are accepted" if error.response.status_code in (401, 403) else ""
        return f"{error.response.url.host} answers {error.response.status_code} {code}{hint}"
    if isinstance(error, httpx.TransportError):
        return f"cannot reach {error.request.url.host} ({str(error) or type(error).__name__})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return str(error) or type(error).__name__
