"""Log lines: JSON for programs, plain for a terminal; each of a request's has the request's id, and its trace's.

A request has one line of its own when it ended. No line holds a query, a URL or the name of a picture.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

from moderato.errors import visible
from moderato.server.paths import FOR_ALL
from moderato.server.records import Record, current

_REQUESTS = logging.getLogger("moderato.requests")
_QUIET = FOR_ALL | {"/metrics"}


def set_up(style: Literal["auto", "json", "text"]) -> None:
    """Send every log line of this process to stderr: moderato's own from INFO, others' from WARNING.

    `auto` is text on a terminal, JSON elsewhere.
    """
    in_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_note_request)
    handler.setFormatter(JsonLines() if in_json else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("moderato").setLevel(logging.INFO)


@contextmanager
def around(record: Record, headers: Mapping[str, str]) -> Iterator[None]:
    """Write one line about a request when it has ended. Probes that find all well are told only to who debugs."""
    try:
        yield
    finally:
        level = logging.INFO
        if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            level = logging.ERROR
        elif record.route in _QUIET and record.status < HTTPStatus.BAD_REQUEST:
            level = logging.DEBUG
        _REQUESTS.log(level, "%s", _sentence(record), extra={"facts": _facts(record)})


def _facts(record: Record) -> dict[str, Any]:
    facts = {
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "fault": record.fault,
        "seconds": round(record.seconds, 6),
        "pictures": record.pictures,
        "actions": dict(record.actions),
        "unscannable": dict(record.unscannable),
        "key": record.key,
    }
    return {name: value for name, value in facts.items() if value not in (None, {})}


def _sentence(record: Record) -> str:
    counted = ", ".join(f"{name} {count}" for name, count in {**record.actions, **record.unscannable}.items())
    fault = f" {record.fault}" if record.fault else ""
    pictures = f", pictures {record.pictures}" if record.pictures else ""
    return (
        f"{record.method} {record.route} {record.status}{fault} in {record.seconds:.3f} s{pictures}"
        f"{f' ({counted})' if counted else ''}{f', key {record.key}' if record.key else ''}"
    )


def _note_request(line: logging.LogRecord) -> bool:
    """Give a line the ids of the request that it was written for."""
    record = current()
    line.request_id = record.id if record else None
    line.trace_id = record.trace if record else None
    return True


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, ids, and what is known beside."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("request_id", "trace_id"):
            if found := getattr(record, name, None):
                line[name] = found
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()


class TextLines(logging.Formatter):
    """A line for a person: the time, the level where it is not INFO, the message, the request's id."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        request = getattr(record, "request_id", None)
        told = "\n".join(map(visible, record.getMessage().split("\n")))
        line = f"{datetime.fromtimestamp(record.created):%H:%M:%S} {level}{told}{f' [{request}]' if request else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
