"""The documentation as pages: the Markdown files that come with the server, each rendered once.

Every heading and every row of a table that begins with a name in code has an anchor: `#what-is-masked`,
`#keys-timeout` for the key `timeout` in the part `Keys`, `#RAPIDFLOW_BIND`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from rapidflow_web.pipeline.language import PIPELINE, STEP
from rapidflow_web.web import assets

if TYPE_CHECKING:
    from markdown_it.token import Token

NAMES = (
    "pipelines", "repositories", "webhooks", "notifications", "cli", "settings", "security", "operations",
    "cluster",
    "scaling",
)  # fmt: skip
"""The documents that are shown, in this order."""
_API = "api"
"""What describes the API has a page of its own, made of what programs read."""
_LINK = re.compile(r"([a-z]+)\.md(#.*)?")
_NO_WORD = re.compile(r"[^\w\- ]")


@dataclass(slots=True)
class Part:
    """A heading with its anchor, and the names in the tables below it by their anchors."""

    level: int
    anchor: str
    title: Markup
    names: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a page shows it."""

    name: str
    title: str
    body: Markup
    parts: Sequence[Part]


def every(prefix: str) -> list[Document]:
    """All documents, with links for a server below a path `prefix`. Reads and renders their files."""
    return [document(prefix, name) for name in NAMES]


def document(prefix: str, name: str) -> Document:
    """A document by its name. Reads and renders its file."""
    # Only where somebody reads it: it takes 2 MB.
    from markdown_it import MarkdownIt

    text = (assets.folder("docs") / f"{name}.md").read_text("utf-8")
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    # The page has the title in its head.
    title, tokens = tokens[1].content, tokens[3:]
    parts, heads, column = [Part(1, "", Markup())], list[str](), 0
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            parts.append(_part(token, tokens[place + 1]))
        elif token.type == "thead_open":
            heads = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            heads.append(tokens[place + 1].content)
        elif token.type == "td_open":
            token.attrSet("data-head", heads[column])  # where a narrow page has no row of heads
            column += 1
        elif token.type == "inline":
            if tokens[place - 1].type == "td_open" and tokens[place - 2].type == "tr_open":
                _name_row(token, parts[-1])
            token.children = list(_leading(token.children or (), prefix))
        elif token.type == "fence":
            token.type = "code_block"  # the same markup whether a language is given or not
        if token.type == "code_block":
            token.attrSet("tabindex", "0")
    body = markdown.renderer.render(tokens, markdown.options, {})
    return Document(name, title, Markup(body), parts)  # noqa: S704, HTML in the text is escaped


def anchor_of(problem_field: str) -> str:
    """Where `pipelines` tells of the field that a problem of a definition is about."""
    first, *others = re.sub(r"\[\d+\]", "", problem_field).split(".")
    if first == "steps" and "[" in problem_field:
        key = others[0] if others else ""
        return f"keys-of-a-step-{key}" if key in STEP else "keys-of-a-step"
    return f"keys-{first}" if first in PIPELINE else "keys"


def slug(text: str) -> str:
    """The anchor of a heading, as forges make them."""
    return _NO_WORD.sub("", text.lower()).replace(" ", "-")


def _part(opening: Token, inline: Token) -> Part:
    plain = "".join(child.content for child in inline.children or ())
    anchor = slug(plain)
    opening.attrSet("id", anchor)
    return Part(int(opening.tag[1]), anchor, escape(plain))


def _name_row(inline: Token, part: Part) -> None:
    """Gives the names in the first cell of a row an anchor each."""
    for child in inline.children or ():
        name = child.content
        if child.type == "code_inline" and name[0].isalpha() and name not in part.names:
            part.names[name] = _NO_WORD.sub("", name) if name.isupper() else slug(f"{part.anchor} {name}")
            child.attrSet("id", part.names[name])


def _leading(tokens: Sequence[Token], prefix: str) -> Iterator[Token]:
    """The tokens of a line. Links between documents lead to pages; those to other files are none."""
    dropped = False
    for token in tokens:
        if token.type == "link_open":
            address = str(token.attrGet("href") or "")
            if (match := _LINK.fullmatch(address)) is not None:
                page = "api" if match[1] == _API else f"docs/{match[1]}"
                token.attrSet("href", f"{prefix}/ui/{page}{match[2] or ''}")
            dropped = match is None and not address.startswith(("#", "https://"))
        if not (dropped and token.type in ("link_open", "link_close")):
            yield token
