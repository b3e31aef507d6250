"""HTML that cannot be broken by what is put into it: every text is escaped where an element is made."""

from __future__ import annotations

from html import escape

from moderato.errors import visible


class Html(str):
    """Text that is HTML already."""


def element(tag: str, /, *children: object, **attributes: object) -> Html:
    """`<tag …>children</tag>`; children that are not `Html` are text. `class_` is the attribute `class`.

    Children and attributes that are None are left out, and so are attributes that are False.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{written}>{joined(*children)}</{tag}>")


def void(tag: str, /, **attributes: object) -> Html:
    """An element without an end tag: `<img …>`."""
    return Html(element(tag, **attributes).removesuffix(f"</{tag}>"))


def joined(*children: object) -> Html:
    """Children one after another."""
    parts = (child if isinstance(child, Html) else _escaped(child) for child in children if child is not None)
    return Html("".join(parts))


def _escaped(text: object) -> str:
    return escape(visible(str(text)))
