"""Deliveries of other programs, by Standard Webhooks: `push` with `ref`, `before` and `after`."""

from __future__ import annotations

from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import TAG, Change, Read, neither_branch_nor_tag

_TYPES = ("push", "tag", "delete")


def read(body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`.

    The fields stand in `data`, as Standard Webhooks recommend, or in the body itself. The type may have
    something in front, like `git.push`. GitHub's form has objects for people, which are passed over.
    """
    kind = body["type"].text_or_none()
    word = kind.rpartition(".")[2] if kind else None
    if word not in (None, *_TYPES):
        return Read((), f"nothing is built for the type '{kind}': send one of {', '.join(_TYPES)}")
    data = body["data"] or body
    ref = data["ref"].ref()
    is_tag = ref.startswith(TAG)
    if (nothing := neither_branch_nor_tag(ref)) is not None:
        return nothing
    after = data["after"].commit()
    gone = word == "delete" or (after is None and bool(data["after"]))
    change = Change(
        kind="delete" if gone else "tag" if is_tag else "push",
        ref=ref,
        before=data["before"].commit(),
        after=None if gone else after,
        sender=_words(data["sender"]),
        title=_words(data["title"]),
    )
    return Read((change,))


def _words(field: Field) -> str | None:
    return (field.words() or None) if isinstance(field.value, str) else None
