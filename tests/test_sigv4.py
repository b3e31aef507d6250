"""Signatures as AWS's own client makes them, and as AWS's documentation computes one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from moderato.server._sigv4 import IncompleteSignature, InvalidSignature, Sent, Signed, read_authorization, verify

KEY = "moderato_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "RekognitionService.DetectModerationLabels"}


def signed_by_botocore(
    url: str = "http://moderato.internal:8000/",
    body: bytes = b'{"Image": {}}',
    headers: dict[str, str] = HEADERS,
    token: str | None = None,
    service: str = "rekognition",
    method: str = "POST",
) -> Sent:
    """A request as it goes over the wire."""
    request = AWSRequest(method, url, headers=dict(headers), data=body)
    SigV4Auth(Credentials(KEY, KEY, token), service, "eu-west-3").add_auth(request)
    parts = urlsplit(url)
    sent = {"host": parts.netloc, **{name.lower(): value for name, value in request.headers.items()}}
    wire = [(name.encode(), value.encode()) for name, value in sent.items()]
    return Sent(method, parts.path.encode(), parts.query.encode(), wire, body)


def authorization(sent: Sent) -> Signed:
    return read_authorization(dict(sent.headers)[b"authorization"].decode())


def check(sent: Sent, now: float | None = None, service: str = "rekognition") -> None:
    verify(authorization(sent), sent, datetime.now(UTC).timestamp() if now is None else now, service)


def changed(sent: Sent, name: bytes, value: bytes) -> Sent:
    return replace(sent, headers=[(known, value if known == name else old) for known, old in sent.headers])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/",
        "https://moderato.internal/rekognition",
        "https://moderato.internal/a/prefix/",
        "http://h//double//slash/",
        "http://h/with%20space/%C3%A9/a+b~c",
        "http://h/x/../y/./z",
        "http://h/(odd)!'*/",
        "http://h/?b=2&a=1&a=%20&empty=",
    ],
)
def test_what_botocore_signs_is_verified(url: str) -> None:
    sent = signed_by_botocore(url)
    check(sent)
    with pytest.raises(InvalidSignature):
        check(replace(sent, path=sent.path + b"x"))


def test_tokens_unicode_spaces_and_empty_bodies_are_verified() -> None:
    check(signed_by_botocore(token="a session token"))
    check(signed_by_botocore(headers={**HEADERS, "x-amz-meta-odd": "  many    spaces  "}))
    check(signed_by_botocore(body=b""))
    check(signed_by_botocore(body=bytes(range(256)) * 1000))


def test_header_values_over_the_wire_twice_are_joined() -> None:
    sent = signed_by_botocore(headers={**HEADERS, "x-amz-meta-list": "a,b"})
    rest = [pair for pair in sent.headers if pair[0] != b"x-amz-meta-list"]
    check(replace(sent, headers=[*rest, (b"x-amz-meta-list", b" a "), (b"x-amz-meta-list", b"b")]))


def test_the_announced_digest_of_the_body_must_be_right() -> None:
    sent = signed_by_botocore()
    check(replace(sent, headers=[*sent.headers, (b"x-amz-content-sha256", _digest(sent.body))]))
    for wrong in (b"UNSIGNED-PAYLOAD", _digest(b"another"), b"\xff"):
        with pytest.raises(InvalidSignature):
            check(replace(sent, headers=[*sent.headers, (b"x-amz-content-sha256", wrong)]))


def test_any_change_of_what_was_signed_is_noticed() -> None:
    sent = signed_by_botocore()
    check(sent)
    for other in _changes(sent).values():
        with pytest.raises(InvalidSignature, match="does not match"):
            check(other)
    with pytest.raises(InvalidSignature):
        verify(replace(authorization(sent), key="moderato_another"), sent, datetime.now(UTC).timestamp())
    with pytest.raises(InvalidSignature):
        verify(replace(authorization(sent), region="us-east-1"), sent, datetime.now(UTC).timestamp())


def _changes(sent: Sent) -> dict[str, Sent]:
    return {
        "body": replace(sent, body=sent.body + b" "),
        "method": replace(sent, method="PUT"),
        "query": replace(sent, query=b"a=1"),
        "host": changed(sent, b"host", b"elsewhere"),
        "target": changed(sent, b"x-amz-target", b"RekognitionService.DetectLabels"),
        "without a signed header": replace(sent, headers=[pair for pair in sent.headers if pair[0] != b"x-amz-target"]),
    }


def test_times_and_services_that_are_not_ours_are_refused() -> None:
    sent, now = signed_by_botocore(), datetime.now(UTC).timestamp()
    check(sent, now + 890)
    check(sent, now - 890)
    for moment in (now + 910, now - 910):
        with pytest.raises(InvalidSignature, match="not the time here"):
            check(sent, moment)
    for odd in (b"", b"20261121", b"yesterday"):
        with pytest.raises(InvalidSignature):
            check(changed(sent, b"x-amz-date", odd))
    with pytest.raises(InvalidSignature, match="rekognition"):
        check(signed_by_botocore(service="s3"))


@pytest.mark.parametrize("headers", [("host",), ("x-amz-date",), ("content-type", "x-amz-target")])
def test_host_and_time_must_be_signed(headers: tuple[str, ...]) -> None:
    sent = signed_by_botocore()
    with pytest.raises(InvalidSignature, match="host and x-amz-date"):
        verify(replace(authorization(sent), headers=headers), sent, datetime.now(UTC).timestamp())


def test_the_right_signature_is_never_told() -> None:
    sent = signed_by_botocore()
    wrong = replace(authorization(sent), signature="0" * 64)
    with pytest.raises(InvalidSignature) as caught:
        verify(wrong, sent, datetime.now(UTC).timestamp())
    assert authorization(sent).signature not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=K/20261121/eu/rekognition/aws4_request",
        "AWS4-HMAC-SHA256 Credential=K, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=K/20261121/eu/rekognition/aws4_request, SignedHeaders=host, Signature=12",
        "AWS4-HMAC-SHA256 Credential=K/today/eu/rekognition/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-ECDSA-P256-SHA256 Credential=K/20261121/rekognition/aws4_request, SignedHeaders=host, Signature=00",
    ],
)
def test_a_header_that_is_no_signature_is_incomplete(header: str) -> None:
    with pytest.raises(IncompleteSignature):
        read_authorization(header)


def test_the_example_of_the_documentation() -> None:
    """https://docs.aws.amazon.com/general/latest/gr/signature-version-4.html: `ListUsers` of IAM."""
    header = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )
    wire = [
        (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),
        (b"host", b"iam.amazonaws.com"),
        (b"x-amz-date", b"20150830T123600Z"),
    ]
    sent = Sent("GET", b"/", b"Action=ListUsers&Version=2010-05-08", wire, b"")
    # there the secret is another than the id
    signed = replace(read_authorization(header), key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    moment = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
    verify(signed, sent, moment, "iam")
    with pytest.raises(InvalidSignature):
        verify(signed, replace(sent, query=b"Action=ListUsers&Version=2010-05-09"), moment, "iam")


def _digest(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()
