"""URL → Source, without letting whoever wrote the URL into the network around us.

Each hop looks its host up once, refuses it unless every address is public, and connects to an address that was checked:
a DNS answer that changes afterwards deceives nobody. httpx reads the URL, but its client does not fetch it, as it would
look names up itself and bound the time of each read instead of the whole.
"""

from __future__ import annotations

import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread
from time import monotonic
from typing import Annotated

import httpcore
import httpx
from annotated_types import Ge, Gt

from moderato.errors import FetchError, LimitError, SettingsError
from moderato.types import Source

_NOT_PUBLIC = [  # what `is_global` lets through, be it in some versions of Python only
    ip_network("168.63.129.16"),  # Azure's WireServer: a global address where a machine there finds its secrets
    ip_network("192.0.0.0/24"),  # IETF protocol assignments, RFC 6890: port control (RFC 7723), Oracle's metadata
    ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ip_network("224.0.0.0/4"),  # multicast, RFC 5771
    ip_network("2001::/23"),  # IETF protocol assignments, RFC 2928: Teredo (RFC 4380), which wraps IPv4 addresses
    ip_network("2002::/16"),  # 6to4, RFC 3056, which wraps IPv4 addresses
    ip_network("3fff::/20"),  # documentation, RFC 9637
]
_UNICAST = IPv6Network("2000::/3")  # RFC 4291 §2.4: outside are no public hosts, but many wrapped IPv4 addresses
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: how a network without IPv4 reaches public IPv4 addresses
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f.]*:[0-9a-f:.]*")  # RFC 1035 §2.3.4
_HEADERS = [("User-Agent", "moderato"), ("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]


@dataclass(frozen=True)
class FetchOptions:
    """How far fetching may go.

    Raises SettingsError where `allow_hosts` names what no host can be.
    """

    timeout: Annotated[float, Gt(0)] = 10.0
    """Seconds for one picture, from looking up its host to its last byte, redirects included."""

    max_redirects: Annotated[int, Ge(0)] = 3
    """How many redirects are followed. Each is checked like the first URL."""

    allow_hosts: tuple[str, ...] = ()
    """Hosts that may be reached although they are not on the public internet: names (`media.internal`), addresses
    (`10.1.2.3`) or networks (`10.1.0.0/16`), without scheme or port. A name does not cover the names below it."""

    def __post_init__(self) -> None:
        for entry in self.allow_hosts:
            if not _network(entry) and (":" in entry or not _HOST.fullmatch(_plain(entry))):
                right = "a name, an address or a network, such as media.internal, 10.1.2.3 or 10.1.0.0/16"
                raise SettingsError(f"'{entry}' in allow_hosts is not a host. Write {right}.")


def fetch(url: str, options: FetchOptions = FetchOptions(), max_bytes: int = 20 * 2**20) -> Source:
    """The file at an http or https URL, of at most `max_bytes` after decompression; its name is the URL.

    Raises FetchError (`forbidden_url`, `forbidden_address`, `unfetchable`) or LimitError (`too_many_bytes`). Their
    texts name the host and no more of the URL, as paths and queries carry secrets.
    """
    deadline = monotonic() + options.timeout
    target = _read_url(url)
    for _ in range(options.max_redirects + 1):
        with _get(target, options, deadline) as response:
            location = _location(response)
            if location is None:
                return Source(_body(response, max_bytes), name=url)
        target = _read_url(location, base=target)
    raise FetchError("unfetchable", f"More than {options.max_redirects} redirects (MODERATO_FETCH__MAX_REDIRECTS).")


def _read_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        target = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: from IDNA, urllib and lone surrogates
        raise _forbidden("cannot be read") from error
    if target.scheme not in ("http", "https"):
        raise _forbidden("is neither http nor https")
    if target.userinfo:
        raise _forbidden("carries a user name or a password")
    port_exists = target.port is None or 0 < target.port < 65536
    if not (port_exists and _HOST.fullmatch(_host(target))):
        raise _forbidden("names no host, or a host or port that cannot exist")
    return target


def _forbidden(why: str) -> FetchError:
    return FetchError("forbidden_url", f"The URL {why}. It should look like https://example.com/picture.jpg.")


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _host(url: httpx.URL) -> str:
    return _plain(url.raw_host.decode("ascii"))  # `url.host` would decode xn--, and fail on bad ones


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    if (left := deadline - monotonic()) <= 0:
        raise TimeoutError
    return left


def _look_up(url: httpx.URL, deadline: float) -> list[str]:
    """Every address of the URL's host. In a thread, for the resolver knows no timeout; a late answer is left behind."""
    answer: Future[list[str]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(_host(url), None, type=socket.SOCK_STREAM)
            answer.set_result([str(address[0]) for *_, address in found])
        except OSError as error:
            answer.set_exception(error)

    Thread(target=ask, name="look-up", daemon=True).start()
    return answer.result(_left(deadline))


@cache
def _network(entry: str) -> IPv4Network | IPv6Network | None:
    with suppress(ValueError):
        return ip_network(entry, strict=False)
    return None


def _may_be_reached(address: IPv4Address | IPv6Address, allow_hosts: tuple[str, ...]) -> bool:
    if address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFF_FFFF)
    address = getattr(address, "ipv4_mapped", None) or address  # RFC 4291 §2.5.5.2
    if any(address in network for network in map(_network, allow_hosts) if network):
        return True
    usual = address.version == 4 or address in _UNICAST
    return usual and address.is_global and not any(address in network for network in _NOT_PUBLIC)


def _addresses(url: httpx.URL, options: FetchOptions, deadline: float) -> list[str]:
    """The addresses of the URL's host. Raises FetchError unless all may be reached."""
    found = _look_up(url, deadline)
    if _host(url) in map(_plain, options.allow_hosts):
        return found
    if not all(_may_be_reached(ip_address(address), options.allow_hosts) for address in found):
        raise FetchError(  # the address stays unsaid: what our DNS knows is not for the sender
            "forbidden_address",
            f"{_host(url)} is not on the public internet. If it may be reached, add it to MODERATO_FETCH__ALLOW_HOSTS.",
        )
    return found


def _connect(addresses: list[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first address that answers. A silent one leaves their share of time to those after it."""
    for untried in range(len(addresses), 1, -1):
        with suppress(OSError):
            return socket.create_connection((addresses[-untried], port), _left(deadline) / untried)
    return socket.create_connection((addresses[-1], port), _left(deadline))


_trust = cache(httpx.create_ssl_context)


def _secured(sock: socket.socket, url: httpx.URL, deadline: float) -> socket.socket:
    if url.scheme == "http":
        return sock
    sock.settimeout(_left(deadline))
    return _trust().wrap_socket(sock, server_hostname=_host(url))


class _Stream(httpcore.NetworkStream):
    """A socket as httpcore wants it, but with one deadline for everything."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()


@contextmanager
def _get(url: httpx.URL, options: FetchOptions, deadline: float) -> Iterator[httpcore.Response]:
    """An open answer. Also the one place where the errors of others become ours."""
    host = url.netloc.decode("ascii")
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    try:
        addresses = _addresses(url, options, deadline)
        with _connect(addresses, target.origin.port, deadline) as plain, _secured(plain, url, deadline) as sock:
            connection = httpcore.HTTP11Connection(target.origin, _Stream(sock, deadline))
            with connection.stream("GET", target, headers=[("Host", host), *_HEADERS]) as response:
                yield response
    except (OSError, httpcore.ProtocolError, zlib.error, _AnswerError) as error:
        raise FetchError("unfetchable", f"{url.scheme}://{host} {_complaint(error, options.timeout)}.") from error


def _complaint(error: Exception, timeout: float) -> str:
    match error:
        case _AnswerError():
            return str(error)
        case TimeoutError():
            return f"did not send the whole file within {timeout:g} seconds (MODERATO_FETCH__TIMEOUT)"
        case ssl.SSLCertVerificationError():
            return f"has a certificate that cannot be trusted: {error.verify_message.rstrip('.')}"
        case OSError():
            return f"cannot be reached, or broke off: {error.strerror or error}"
    return "sent what is damaged or not proper HTTP, or broke off"


class _AnswerError(Exception):
    """What the host did wrong, as the end of a sentence."""


def _header(response: httpcore.Response, name: bytes) -> bytes:
    return next((value.strip() for key, value in response.headers if key.lower() == name), b"")


def _location(response: httpcore.Response) -> str | None:
    """Where a redirect leads, None for an answer that is the file."""
    if response.status == 200:
        return None
    location = _header(response, b"location")
    if response.status not in (301, 302, 303, 307, 308) or not location:
        raise _AnswerError(f"answered with status {response.status} and not with a file")
    return location.decode(errors="replace")


def _body(response: httpcore.Response, max_bytes: int) -> bytes:
    too_many = LimitError("too_many_bytes", f"The file is larger than {max_bytes} bytes (MODERATO_MEDIA__MAX_BYTES).")
    if int(_header(response, b"content-length") or 0) > max_bytes:
        raise too_many
    data = bytearray()
    for chunk in _decoded(response, max_bytes):
        data += chunk
        if len(data) > max_bytes:
            raise too_many
    return bytes(data)


def _decoded(response: httpcore.Response, max_bytes: int) -> Iterator[bytes]:
    encoding = _header(response, b"content-encoding").lower()
    if encoding in (b"", b"identity"):
        yield from response.iter_stream()
        return
    if encoding not in (b"gzip", b"x-gzip"):  # gzip comes unasked from storage that keeps files so
        raise _AnswerError("sent the file compressed, and not as gzip")
    inflater = zlib.decompressobj(wbits=31)  # 31: gzip (RFC 1952) and nothing else
    for chunk in response.iter_stream():
        yield inflater.decompress(chunk, max_bytes + 1)  # one byte too many is enough to refuse the rest
        if inflater.eof:
            return
    raise zlib.error("the end is missing")
