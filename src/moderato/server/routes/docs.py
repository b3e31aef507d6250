"""`GET /docs`: the API on one page, from the same description as /openapi.json, with nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

router = APIRouter(include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .3rem }}
code, pre {{ font: 14px/1.45 ui-monospace, monospace }}
pre {{ padding: .8rem; overflow-x: auto; border-radius: 6px }}
pre {{ background: color-mix(in srgb, currentColor 7%, transparent) }}
.method {{ display: inline-block; min-width: 3.6rem; font-weight: 700; color: #2468b4 }}
table {{ border-collapse: collapse; width: 100% }} td {{ padding: .25rem .8rem .25rem 0; vertical-align: top }}
td:first-child {{ white-space: nowrap }} small {{ opacity: .75 }}
</style></head><body><h1>{title} <small>{version}</small></h1><p>{description}</p>
<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>{operations}</body></html>"""


@router.get("/")
async def home() -> RedirectResponse:
    """Where a browser lands."""
    return RedirectResponse("docs")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Every route: what it does, what it takes, a line to try it with."""
    schema = request.app.openapi()
    facts = {key: escape(str(value)) for key, value in schema["info"].items()}
    operations = "".join(_operation(schema, str(request.base_url).rstrip("/"), *item) for item in _operations(schema))
    return HTMLResponse(_PAGE.format(operations=operations, **facts))


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _operation(schema: dict[str, Any], base: str, method: str, path: str, operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    rows = "".join(_field(name, facts) for name, facts in _fields(schema, content).items())
    return (
        f'<h2><span class="method">{method}</span> <code>{escape(path)}</code></h2>'
        f"<p>{escape(operation.get('description', ''))}</p>"
        + (f"<table>{rows}</table>" if rows else "")
        + f"<pre>{escape(' '.join(('curl', *operation.get('x-curl', '').splitlines(), base + path)))}</pre>"
    )


def _fields(schema: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = next(iter(content.values()))["schema"] if content else {}
    if "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    fields: dict[str, Any] = body.get("properties", {})
    return fields


def _field(name: str, facts: dict[str, Any]) -> str:
    kinds = [kind.get("type", "object") for kind in facts.get("anyOf", [facts])]
    default = f", {json.dumps(facts['default'])} without it" if facts.get("default") is not None else ""
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(' or '.join(kinds) + default)}</td></tr>"
