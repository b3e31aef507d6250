"""How commands become a desk: the port is taken first, then everything is opened, then it answers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import closing

import uvicorn

from moderato.assemble import Workshop
from moderato.errors import SettingsError
from moderato.server import heap, logs
from moderato.server.app import create_app
from moderato.server.connections import prompt
from moderato.server.desk import Desk
from moderato.settings import Settings, read_settings
from moderato.store.keys import Keys

_PORT = 8000
_LAST_PORT = 65535
_TRIES = 100
_PATIENCE = 5  # seconds beyond the deadline of a request in which one that was accepted is answered when stopped


def listening(host: str, port: int | None, *, fallback: bool = False) -> socket.socket:
    """A socket on the port, 8000 without one; with `fallback`, on the next free one.

    Raises `SettingsError` when the port is taken or the address is not this machine's.
    """
    first = _PORT if port is None else port
    for candidate in range(first, min(_LAST_PORT, first + _TRIES) + 1 if fallback else first + 1):
        try:
            ours = socket.create_server((host, candidate), family=_family(host), backlog=2048)
            # asyncio does this only for sockets that it made itself; without it every answer waits 40 ms for an ACK.
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return ours
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(f"Nothing can listen on {host}, port {candidate} ({error.strerror}).") from error
    other = first + 1 if first < _LAST_PORT else first - 1
    raise SettingsError(
        f"Port {first} is in use. Name another with --port (make run PORT={other}), or stop what listens there."
    )


def serve_on(
    ours: socket.socket,
    policy: str,
    encoder: str | None,
    started: Callable[[], object] = lambda: None,
    keys: Keys | None = None,
    open_to_all: bool = False,
    settings: Settings | None = None,
    worker: str = "",
) -> None:
    """Answer on the socket until stopped; `started` is called once requests are answered. `keys` let callers in.

    Without keys only this machine is answered, unless it is `open_to_all`. `worker` names one of several processes.
    Raises `OperatorError` here, rather than at the first request, when something cannot be opened.
    """
    settings = settings or read_settings()
    logs.set_up(settings.serve.log)
    heap.return_what_is_freed()
    workshop = Workshop(settings)
    with closing(workshop.workers()) as workers:
        moderator = workshop.moderator(policy, encoder, workers=workers, seen=workshop.cache())
        moderator.warm_up()
        desk = Desk(moderator, workshop.policies_here(moderator.policy), settings.serve, settings.dialects, worker)
        desk.answered.set()
        patience = int(settings.serve.deadline) + _PATIENCE
        app = create_app(desk, keys, open_to_all=open_to_all)
        config = uvicorn.Config(
            app,
            http=prompt(settings.serve.head_seconds),
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=patience,
        )
        _Server(config, started).run(sockets=[ours])


class _Server(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise SettingsError(f"{host} is no address of this machine ({error.strerror}).") from error
