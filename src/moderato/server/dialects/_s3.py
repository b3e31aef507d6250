"""Where the object of an S3 bucket lies here: in a folder, or at an S3-compatible store, under a signed URL.

The URL carries AWS's Signature Version 4 in its query, good for a minute, so that fetching it is fetching any other.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from moderato.media.load import Sendable, Url
from moderato.server._sigv4 import ALGORITHM, sign
from moderato.settings import AWSOptions

_SECONDS = 60  # from signing to asking, which is the same moment but for the two clocks
_USUAL_PORTS = {"http": ":80", "https": ":443"}


def find(options: AWSOptions, bucket: str, name: str, version: str | None = None) -> Sendable | None:
    """What to load for an object; None: this bucket is not known here, or there is no such object in its folder.

    What lies outside of a bucket, by dots or by links, is not in it.
    """
    place = options.buckets.get(bucket)
    if place is None:
        return None
    if "://" not in place:
        return None if version else _file(Path(place), name)  # a folder has no versions
    if {".", ".."} & set(name.split("/")):
        return None
    url = f"{place.rstrip('/')}/{quote(name, safe='/~')}"
    query = {"versionId": version} if version else {}
    if options.access_key:
        url = presigned(url, options, datetime.now(UTC), query)
    elif query:
        url = f"{url}?{urlencode(query)}"
    return Url(url, f"s3://{bucket}/{name}")


def _file(folder: Path, name: str) -> Path | None:
    try:
        file = (folder / name).resolve()
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError):  # ValueError: what no file can be called
        return None


def presigned(url: str, options: AWSOptions, now: datetime, query: dict[str, str] | None = None) -> str:
    """The URL, already quoted and without a query, with one that lets whoever has it GET the object."""
    parts = urlsplit(url)
    host = parts.netloc.lower().removesuffix(_USUAL_PORTS.get(parts.scheme, ":"))  # as it is sent in `Host`
    when, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{options.region}/s3/aws4_request"
    signed = {
        **(query or {}),
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{options.access_key}/{scope}",
        "X-Amz-Date": when,
        "X-Amz-Expires": str(_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    asked = urlencode(sorted(signed.items()), quote_via=quote, safe="~")
    canonical = f"GET\n{parts.path}\n{asked}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    signature = sign(options.secret_key.get_secret_value().encode(), when, scope, canonical.encode())
    return f"{url}?{asked}&X-Amz-Signature={signature}"
