"""Settings: the only reader of the environment.

Each option is written once, in the dataclass of the module that uses it; this class nests those. `Limits.max_bytes` is
`MODERATO_MEDIA__MAX_BYTES`. A misspelt name is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from moderato.errors import SettingsError, nearest
from moderato.media import Limits
from moderato.media.fetch import FetchOptions
from moderato.media.workers import WorkerOptions
from moderato.store.embeddings import CacheOptions
from moderato.types import Precision

_PREFIX = "MODERATO_"


def _data_folder() -> Path:
    """Where programs keep their data: https://specifications.freedesktop.org/basedir-spec/latest/."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "moderato"


@dataclass(frozen=True)
class Varies:
    """In an annotation: a default that differs from machine to machine, in words."""

    words: str


@dataclass(frozen=True)
class ServeOptions:
    """What the HTTP service accepts."""

    max_images: Annotated[int, Field(ge=1)] = 32
    """Pictures in one request."""
    max_labels: Annotated[int, Field(ge=1)] = 128
    """Labels in one request."""
    max_label: Annotated[int, Field(ge=1)] = 1000
    """Characters in a label; encoders read some 77 tokens of it."""
    max_body: Annotated[int, Field(ge=1)] = 64 * 2**20
    """Bytes of one request."""
    head_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which a client must have sent the head of a request; the connection of a slower one is closed."""
    body_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which the body of a request must have come; a slower client is answered 408 and hung up on."""
    max_waiting: Annotated[int, Field(ge=1)] = 32
    """Pictures that wait for their turn, beside those being worked on; more are answered 429, as is bulk beyond half of
    it. Bulk is what comes with the header `Priority: u=4` to `u=7` (RFC 9218): it is done when nothing else waits."""
    deadline: Annotated[float, Field(gt=0)] = 60.0
    """Seconds in which a request is answered once its body has come; what takes longer is given up and answered 429."""
    traces: str = ""
    """Where a collector takes OpenTelemetry traces by OTLP over HTTP, as in `http://127.0.0.1:4318`; none are made
    without it."""
    log: Literal["auto", "json", "text"] = "auto"
    """Log lines on stderr: one JSON object each, or plain; `auto` is plain on a terminal and JSON elsewhere."""


@dataclass(frozen=True)
class DialectOption:
    """What can be chosen about each dialect."""

    meanings: Path | None = None
    """A file of your own in the place of the shipped mapping of policy labels to the vendor's categories."""


def _by_name(value: Any) -> Any:
    """`name=value,name=value` as a dictionary."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if not all(name.strip() and found.strip() for name, _, found in pairs):
        raise ValueError("write bucket=folder or bucket=URL, several with commas between them")
    return {name.strip(): found.strip() for name, _, found in pairs}


@dataclass(frozen=True)
class AWSOptions(DialectOption):
    """What AWS's clients may name instead of sending it."""

    buckets: Annotated[Mapping[str, str], BeforeValidator(_by_name)] = field(default_factory=dict)
    """What stands for each S3 bucket: a folder, or its URL at an S3-compatible store, as in
    `photos=/srv/photos,avatars=https://minio.example/avatars`. An `S3Object` of any other bucket is refused."""
    region: str = "us-east-1"
    """The region that requests to those stores are signed for."""
    access_key: str = ""
    """The access key id for those stores, which are asked without a signature where it is left out."""
    secret_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    """Its secret access key."""


@dataclass(frozen=True)
class OpenAIOptions(DialectOption):
    """What can be chosen where OpenAI's own contract and ours differ."""

    text: Literal["refused", "unjudged"] = "refused"
    """Text alone, which is not judged here: 400, or zeros that say so."""
    images: Literal["merged", "one"] = "merged"
    """Several pictures in one input: the highest score of each category, or OpenAI's own 400."""


@dataclass(frozen=True)
class DialectOptions:
    """The options of each dialect that has a mapping."""

    aws: AWSOptions = AWSOptions()
    azure: DialectOption = DialectOption()
    google: DialectOption = DialectOption()
    misskey: DialectOption = DialectOption()
    openai: OpenAIOptions = OpenAIOptions()
    sightengine: DialectOption = DialectOption()

    @property
    def meanings(self) -> dict[str, Path | None]:
        """The user's own mapping of each dialect."""
        return {one.name: getattr(self, one.name).meanings for one in fields(self)}


class Settings(BaseSettings):
    """Everything that can be set; every field is an environment variable of the same name behind `MODERATO_`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    data: Annotated[Path, Varies("`moderato` in `$XDG_DATA_HOME`, or in `~/.local/share`")] = Field(
        default_factory=_data_folder
    )
    """moderato's own folder: records of model files, embeddings of prompts, and of pictures where they are kept."""
    store: str = ""
    """The database of API keys and their limits, as a URL: `postgresql+psycopg://user:password@host/name`. Without one
    it is the file `store.sqlite` in the data folder; several machines behind one address need Postgres."""
    keep: bool = True
    """Whether `evaluate`, `calibrate`, `explain` and `policies test` keep the embeddings of pictures they saw (not the
    pictures), in `embeddings.sqlite`, at most 1 GiB: looking again then takes seconds."""
    models: Path | None = None
    """A folder of model files that is looked into before anything is downloaded."""
    runtime: str = "auto"
    """What executes encoders: `onnx`, `openvino` or `torch`; `auto` is what `moderato bench` found fastest here of all
    that changes no verdict, and `onnx` until it was run."""
    precision: Literal["auto", Precision] = "auto"
    """What encoders of pictures multiply in; `auto` as above, `fp32` until `moderato bench` was run."""
    threads: Annotated[int, Field(ge=1), Varies("all that this process may use")] = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    )
    """Cores to use, for the encoder and for preparing pictures."""
    rows: Annotated[int, Field(ge=1, le=256)] = 16
    """Views that one call of an encoder takes at most."""
    media: Limits = Limits()
    fetch: FetchOptions = FetchOptions()
    prepare: WorkerOptions = WorkerOptions()
    cache: CacheOptions = CacheOptions()
    serve: ServeOptions = ServeOptions()
    dialects: DialectOptions = DialectOptions()

    @property
    def database(self) -> str:
        """The URL of the store."""
        return self.store or f"sqlite:///{self.data.expanduser().absolute() / 'store.sqlite'}"

    @field_validator("fetch", mode="before")
    @classmethod
    def _hosts_by_commas(cls, value: Any) -> Any:
        """`MODERATO_FETCH__ALLOW_HOSTS=media.internal,10.1.0.0/16`."""
        if isinstance(value, dict) and isinstance(hosts := value.get("allow_hosts"), str):
            return {**value, "allow_hosts": tuple(host.strip() for host in hosts.split(",") if host.strip())}
        return value


def is_set(variable: str) -> bool:
    """Whether the environment has a variable, or its group as a whole, in whichever case."""
    parts = variable.upper().split("__")
    here = {name.upper() for name in os.environ}
    return any("__".join(parts[:count]) in here for count in range(1, len(parts) + 1))


def read_settings() -> Settings:
    """The settings of this process. Raises `SettingsError` naming the variable and what would be right."""
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable.split("__")[0].upper() not in known:
            raise SettingsError(f"{variable} is not a setting. {nearest(variable, known)}")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors(include_url=False)))) from None
    except UnreadableError as error:
        raise SettingsError(f"A setting cannot be read: {error}. A group's options are set one by one.") from error


def _sentence(problem: Mapping[str, Any]) -> str:
    variable = _PREFIX + "__".join(map(str, problem["loc"])).upper()
    return f"{variable} is {problem['input']!r}: {problem['msg']}."
