"""AWS Signature Version 4, verified.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

The access key id and the secret are both the API key: then a store of hashes suffices, because the request itself
brings what its signature is made with. The signature still binds host, path, time and body, as AWS's clients expect.
"""

from __future__ import annotations

import hmac
import re
from calendar import timegm
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from posixpath import normpath
from time import strptime
from urllib.parse import quote

from moderato.errors import Unauthenticated

ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW = 15 * 60  # seconds that a client's clock may be off
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=([^,/\s]+)/(\d{{8}})/([^,/\s]+)/([^,/\s]+)/aws4_request"
    r"\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)


class IncompleteSignature(Unauthenticated):
    """The `Authorization` header is not one of Signature Version 4. `code` is AWS's word."""

    code = "IncompleteSignatureException"


class InvalidSignature(Unauthenticated):
    """The signature is not that of this request, or is too old. `code` is AWS's word."""

    code = "InvalidSignatureException"


@dataclass(frozen=True)
class Signed:
    """What a signature is said to be over, and made with."""

    key: str
    """Access key id, which is the secret too."""
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str


@dataclass(frozen=True)
class Sent:
    """A request as it came over the wire: nothing decoded, nothing parsed. Header names are lower case."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


def read_authorization(header: str) -> Signed:
    """The parts of an `Authorization` header. Raises `IncompleteSignature`."""
    parts = _AUTHORIZATION.fullmatch(header)
    if not parts:
        raise IncompleteSignature("The Authorization header is no complete AWS signature, version 4.", given=True)
    key, date, region, service, headers, signature = parts.groups()
    return Signed(key, date, region, service, tuple(headers.lower().split(";")), signature)


def verify(signed: Signed, sent: Sent, now: float, service: str = "rekognition") -> None:
    """Check that the request is the one that was signed. Raises `InvalidSignature`; what would be right is not told."""
    values = _values(sent.headers)
    when = values.get("x-amz-date", "")
    if not {"host", "x-amz-date"} <= set(signed.headers) or signed.service != service:
        raise InvalidSignature(f"The signature must be for '{service}', over host and x-amz-date.", given=True)
    if not when.startswith(signed.date) or abs(_seconds(when) - now) > _SKEW:
        raise InvalidSignature("Signature expired or not yet current: x-amz-date is not the time here.", given=True)
    body = sha256(sent.body).hexdigest()
    announced = values.get("x-amz-content-sha256", body)
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    canonical = _canonical(signed, sent, values, body).encode("latin-1")
    right = sign(signed.key.encode("latin-1"), when, scope, canonical)
    if not hmac.compare_digest(right, signed.signature) or not hmac.compare_digest(announced.encode(), body.encode()):
        raise InvalidSignature(
            "The request signature we calculated does not match the signature you provided. The secret access key is "
            "the same as the access key id here; a proxy in front must pass Host and path on as they came.",
            given=True,
        )


def _values(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Trimmed, inner spaces made one; those of a name that comes more than once, joined."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1"), []).append(" ".join(value.decode("latin-1").split()))
    return {name: ",".join(several) for name, several in values.items()}


def _seconds(when: str) -> float:
    try:
        return timegm(strptime(when, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return float("-inf")


def _canonical(signed: Signed, sent: Sent, values: dict[str, str], body: str) -> str:
    pairs = sorted(
        (name, value) for name, _, value in (p.partition("=") for p in sent.query.decode("latin-1").split("&"))
    )
    query = "&".join(f"{name}={value}" for name, value in pairs if name)
    headers = "".join(f"{name}:{values.get(name, '')}\n" for name in signed.headers)
    return "\n".join((sent.method, _path(sent.path), query, headers, ";".join(signed.headers), body))


def _path(raw: bytes) -> str:
    """Dots and repeated slashes resolved, then quoted once more than on the wire."""
    path = raw.decode("latin-1")
    resolved = "/" + normpath(path or "/").lstrip("/")
    return quote(resolved + "/" if path.endswith("/") and resolved != "/" else resolved, safe="/~", encoding="latin-1")


def sign(secret: bytes, when: str, scope: str, canonical: bytes) -> str:
    """The signature, in hex, of a canonical request: `scope` is DATE/REGION/SERVICE/aws4_request."""
    text = "\n".join((ALGORITHM, when, scope, sha256(canonical).hexdigest()))
    key = b"AWS4" + secret
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key.hex()
